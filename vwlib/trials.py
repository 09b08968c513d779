"""What words are learned from: trials, and the images of a dataset that a run uses.

Nothing here imports torch, which takes seconds: plans and lists of words need these types alone.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vwlib.concepts import concepts_of, find_anchor, find_concept, find_dataset
from vwlib.examples import Example
from vwlib.settings import Profile

if TYPE_CHECKING:
    import torch

#: The version of the learning algorithm: of `vwlib.learn` and of every adapter's `draw_batch` and `losses`. A change of
#: code after which the same settings give other words raises it by one; stored words of another version are then
#: learned anew (`vwlib.study.plan`).
LEARNING = 1


@dataclass(frozen=True)
class Trial:
    """One word to learn: for which concept, from which anchor word, how far it may go (None: anywhere), which seed."""

    dataset: str
    concept: str
    anchor: str
    delta: float | None = None
    seed: int = 0

    def stream(self) -> torch.Generator:
        """The trial's own random stream, the same alone or among others."""
        return random_stream(self.dataset, self.concept, self.anchor, self.delta, self.seed)


def random_stream(*key: object) -> torch.Generator:
    """A random stream that the text of `key` alone determines."""
    import torch

    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


@dataclass(frozen=True)
class DatasetSplit:
    """The images of one dataset that a profile asks for; `names` maps each concept to its name in prompts."""

    dataset: str
    names: dict[str, str]
    train: Sequence[Example]
    test: Sequence[Example]


def make_trials(
    profile: Profile,
    dataset: str,
    concepts: Sequence[str] = (),
    anchors: Sequence[str] = (),
    delta: float | None = None,
    seed: int = 0,
) -> list[Trial]:
    """The grid of concepts × anchors; by default the profile's first concepts and its first anchors.

    Raises ValueError for a concept or an anchor word that the dataset does not have.
    """
    dataset = find_dataset(dataset)
    known = concepts_of(dataset, profile.world)
    concepts = [find_concept(name, dataset, profile.world).name for name in concepts]
    anchors = [find_anchor(word, dataset, profile.world) for word in anchors]
    concepts = concepts or [concept.name for concept in known[: profile.concepts]]
    anchors = anchors or [concept.anchor for concept in known[: profile.anchors]]
    return [Trial(dataset, concept, anchor, delta, seed) for concept, anchor in itertools.product(concepts, anchors)]
