"""Trials and what they are learned from: which words, from which images, under which settings. Nothing here imports
what learns or scores.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vwlib import datasets
from vwlib.concepts import DATASETS, concepts_of, find_anchor, find_concept, find_dataset
from vwlib.datasets import load_dataset
from vwlib.datasets.choose import test_examples, training_examples
from vwlib.datasets.folders import read_things
from vwlib.datasets.photos import own_examples, photo_settings
from vwlib.datasets.source import PHOTOS, SPLITS
from vwlib.examples import Example
from vwlib.files import write_whole
from vwlib.miniature.world import ensure_world
from vwlib.models.loading import digest_files, digest_folder, resolve
from vwlib.models.precision import precision_of
from vwlib.settings import Profile
from vwlib.words import Word

if TYPE_CHECKING:
    import pandas as pd
    import torch

#: The version of the learning algorithm, of `learn_words` and of every adapter's `losses`. A change of code after which
#: the same settings give other words raises it by one; stored words of another version are then learned anew
#: (`vwlib.study.plan`).
LEARNING = 1


@dataclass(frozen=True)
class Trial:
    """One word to learn: for which concept, from which anchor word, how far it may go (None: anywhere), with which
    seed.
    """

    dataset: str
    concept: str
    anchor: str
    delta: float | None = None
    seed: int = 0

    def stream(self) -> torch.Generator:
        """The trial's own random stream, the same alone or among others."""
        import torch

        text = f"{self.dataset}/{self.concept}/{self.anchor}/{self.delta}/{self.seed}"
        return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big"))


@dataclass(frozen=True)
class Material:
    """The images of one dataset that a profile asks for; `names` maps each concept to its name in prompts."""

    dataset: str
    names: dict[str, str]
    train: list[Example]
    test: list[Example]


def dataset_folder(profile: Profile, dataset: str) -> Path:
    """Where a dataset lies: the profile's folder or, in the miniature's world, its own, written at first use.

    Raises ValueError where the profile is of another world and names no folder.
    """
    if dataset in profile.data:
        return resolve(profile.data[dataset])
    if profile.world != "miniature":
        raise ValueError(f"{unnamed_folder(profile, dataset)}.")
    return ensure_world() / dataset


def unnamed_folder(profile: Profile, dataset: str) -> str:
    """A sentence about a dataset of which the profile names no folder, without its full stop."""
    return (
        f"The profile '{profile.name}' names no folder of the dataset {dataset}; set '{dataset}' in the table [{profile.name}.data] "
        f"of the file that VWLIB_SETTINGS names, or `data` in load_profile"
    )


@lru_cache(maxsize=8)
def load_material(profile: Profile, dataset: str) -> Material:
    """Read one dataset and choose training and test images of its concepts: one of the four, or one of `MATERIALS`.

    Raises ValueError and FileNotFoundError as `vwlib.datasets` does.
    """
    if dataset in MATERIALS:
        return MATERIALS[dataset](profile)
    dataset = find_dataset(dataset)
    concepts = concepts_of(dataset, profile.world)
    folder = dataset_folder(profile, dataset)
    pool = load_dataset(dataset, folder, concepts, "train")
    names = {concept.name: concept.prompt_name for concept in concepts}
    train = [example for name in names for example in training_examples(pool, name, profile.train_images)]
    return Material(
        dataset,
        names,
        train,
        test_examples(load_dataset(dataset, folder, concepts, "test"), names, profile.test_images),
    )


def _own_material(profile: Profile) -> Material:
    """The profile's own photos of one thing, before the pictures of the other things that it is told from."""
    photos = photo_settings(profile)
    if photos.beside in DATASETS:
        others = load_material(profile, photos.beside)
    else:
        pools = {split: read_things(resolve(photos.beside), split) for split in SPLITS}
        known = list(dict.fromkeys(example.label for example in pools["train"]))
        train = [example for name in known for example in training_examples(pools["train"], name, profile.train_images)]
        others = Material(
            PHOTOS, {name: name for name in known}, train, test_examples(pools["test"], known, profile.test_images)
        )
    names = {concept: name for concept, name in others.names.items() if photos.name not in (concept, name)}
    if not names:
        raise ValueError(
            f"There is nothing in {photos.beside} to tell '{photos.name}' from; name a dataset or a folder with other things."
        )
    own = {split: own_examples(profile, split) for split in SPLITS}
    train = [
        *training_examples(own["train"], photos.name, profile.train_images),
        *(example for example in others.train if example.label in names),
    ]
    test = [
        *test_examples(own["test"], [photos.name], profile.test_images),
        *(example for example in others.test if example.label in names),
    ]
    return Material(PHOTOS, {photos.name: photos.name} | names, train, test)


#: Datasets beside the paper's four, by name, each with what makes its material of a profile: a profile's own photos,
#: and what you put here.
MATERIALS: dict[str, Callable[[Profile], Material]] = {PHOTOS: _own_material}


def make_trials(
    profile: Profile,
    dataset: str,
    concepts: Sequence[str] = (),
    anchors: Sequence[str] = (),
    delta: float | None = None,
    seed: int = 0,
) -> list[Trial]:
    """The grid of concepts × anchors; without names the first `profile.concepts` concepts and the anchors of the first
    `profile.anchors`.

    Raises ValueError for a concept or an anchor word that the dataset does not have.
    """
    dataset = find_dataset(dataset)
    known = concepts_of(dataset, profile.world)
    chosen = [find_concept(name, dataset, profile.world).name for name in concepts] or [
        c.name for c in known[: profile.concepts]
    ]
    words = [find_anchor(word, dataset, profile.world) for word in anchors] or [
        c.anchor for c in known[: profile.anchors]
    ]
    return [Trial(dataset, concept, anchor, delta, seed) for concept, anchor in itertools.product(chosen, words)]


def digest_examples(examples: Sequence[Example]) -> str:
    """A short hash of images, labels and boxes: a corrected box changes what is learned as much as another picture."""
    told = json.dumps(
        [(e.label, e.boxes.tolist(), e.names, e.ignored_boxes.tolist(), e.ignored_names) for e in examples]
    )
    return hashlib.sha256((digest_files([example.path for example in examples]) + told).encode()).hexdigest()[:16]


@lru_cache(maxsize=16)
def material_digests(profile: Profile, dataset: str) -> tuple[str, str]:
    """Short names for the training and the test images that a profile chooses from a dataset, and for what they show.

    The miniature's own datasets do not change, so theirs are kept beside them: to read all their pictures takes
    seconds.
    """
    file = None
    if dataset in DATASETS and dataset not in profile.data and profile.world == "miniature":
        readers = digest_files(sorted(Path(datasets.__file__).parent.glob("*.py")))
        file = ensure_world() / f".digests-{dataset}-{profile.train_images}-{profile.test_images}-{readers}.json"
        with suppress(OSError, ValueError):
            train, test = json.loads(file.read_text())
            return str(train), str(test)
    material = load_material(profile, dataset)
    found = digest_examples(material.train), digest_examples(material.test)
    if file:
        with suppress(OSError):
            write_whole(file, json.dumps(found).encode())
    return found


def training_digest(profile: Profile, dataset: str) -> str:
    """A short name for the training images that a profile chooses from a dataset, and for what they show."""
    return material_digests(profile, dataset)[0]


def precision_here(task: str, profile: Profile) -> str:
    """What a task's words are learned in on this machine; only the generator computes in another precision than
    float32.
    """
    if task != "generation":
        return "float32"
    if profile.generator.precision != "auto":
        return profile.generator.precision  # without asking torch for a device
    from vwlib.models.device import find_device

    return precision_of(profile.generator, str(find_device(profile.device)))


def as_words(
    task: str, profile: Profile, trials: Sequence[Trial], vectors: Iterable[Any], precision: str | None = None
) -> list[Word]:
    """Learned vectors (word, vector, d) with all that determined them; `precision` is that of this machine, unless they
    were learned in another.
    """
    settings = profile.learning[task]
    precision = precision or precision_here(task, profile)
    learning = (settings.steps, settings.rate, settings.batch, profile.prompt, precision)
    model = digest_folder(profile.model_of(task).source)
    return [
        Word(
            word,
            task,
            t.dataset,
            t.concept,
            t.anchor,
            t.delta,
            t.seed,
            profile.name,
            *learning,
            model,
            training_digest(profile, t.dataset),
        )
        for word, t in zip(vectors, trials, strict=True)
    ]


def trials_of(words: Sequence[Word]) -> list[Trial]:
    """The trials that gave words."""
    return [Trial(word.dataset, word.concept, word.anchor, word.delta, word.seed) for word in words]


def is_diagonal(table: pd.DataFrame, world: str) -> pd.Series:
    """Whether a row's anchor is its concept's own anchor word, so that the word starts at what it is to learn.

    The four datasets say which word that is; in one of `MATERIALS` it is the concept's name.
    """
    import pandas as pd

    four = [dataset for dataset in table["dataset"].unique() if dataset.lower() in map(str.lower, DATASETS)]
    own = {(dataset, c.name): c.anchor for dataset in four for c in concepts_of(dataset, world)}
    rows = zip(table["dataset"], table["concept"], table["anchor"], strict=True)
    same = [
        anchor == (own.get((dataset, concept)) if dataset in four else concept) for dataset, concept, anchor in rows
    ]
    return pd.Series(same, table.index, dtype=bool)
