"""Learning words: many at once, one Adam, each within its ball. Nothing but the word vectors is a parameter."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from tqdm.auto import tqdm

from vwlib.models.base import Frozen, TaskModel


@dataclass(frozen=True)
class Trial:
    """One word to learn: for which concept, from which anchor word, how far it may go (None: anywhere), with which seed."""

    dataset: str
    concept: str
    anchor: str
    delta: float | None = None
    seed: int = 0

    def stream(self) -> torch.Generator:
        """The trial's own random stream, the same alone or among others."""
        text = f"{self.dataset}/{self.concept}/{self.anchor}/{self.delta}/{self.seed}"
        return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big"))


@dataclass(frozen=True)
class Learned:
    """What learning gave: `vectors` (word, vector, d), the `losses` (step, word) on the way, and the words `after` some of the steps."""

    vectors: Tensor
    losses: Tensor
    after: dict[int, Tensor] = field(default_factory=dict)

    @property
    def finite(self) -> Tensor:
        """Which words are numbers, bool (word,); the others have diverged."""
        return torch.isfinite(self.vectors).all(-1).all(-1)


def ball_radius(table: Tensor, token: int, delta: float) -> float:
    """Equation 4: `delta` times the distance from a word's embedding to the nearest other word's; `table` is (vocab, d)."""
    distances = (table - table[token]).norm(dim=-1)
    distances[token] = torch.inf
    return delta * float(distances.min())


def project_to_ball(vectors: Tensor, centre: Tensor, radius: Tensor) -> Tensor:
    """Equation 4's constraint: move each vector to the nearest point of the l2 ball around its anchor.

    `vectors` (word, vector, d), `centre` (word, d), `radius` (word,), infinite where a word is unconstrained.
    """
    offset = vectors - centre[:, None]
    length = offset.norm(dim=-1, keepdim=True)
    limit = radius[:, None, None]
    return torch.where(length > limit, centre[:, None] + offset * (limit / length.clamp(min=1e-12)), vectors)


def radii(model: TaskModel, trials: Sequence[Trial]) -> Tensor:
    """The radius of each trial's ball (word,), infinite for the unconstrained; the nearest word is sought among the words that the model knows."""
    tokens = [model.vocabulary.token_of(trial.anchor) for trial in trials]
    known = sorted({*model.vocabulary.words().values(), *tokens})
    table = model.word_table()[known]
    return torch.tensor([torch.inf if t.delta is None else ball_radius(table, known.index(token), t.delta) for t, token in zip(trials, tokens, strict=True)])


def learn_words(
    model: TaskModel,
    frozen: Frozen,
    trials: Sequence[Trial],
    *,
    steps: int,
    rate: float,
    vectors: int = 4,
    batch: int = 8,
    keep: Collection[int] = (),
    progress: bool = True,
) -> Learned:
    """Section 3: learn one word per trial by Adam on the task's own loss (table 1), all trials at once.

    Adam acts on each number alone and every trial draws from its own stream, so a word does not depend on its
    companions, not even when one of them diverges. With a `delta` the word is projected onto its ball after each step.
    After each number of steps in `keep` the words are what so many steps would have learned: they are kept in `Learned.after`.
    Raises ValueError for an anchor that is not a single token.
    """
    table = model.word_table()
    tokens = [model.vocabulary.token_of(trial.anchor) for trial in trials]
    centre = table[tokens].clone()  # (word, d)
    radius = radii(model, trials)
    words = torch.nn.Parameter(centre[:, None].repeat(1, vectors, 1))
    optimiser = torch.optim.Adam([words], lr=rate, betas=(0.9, 0.999), eps=1e-8)
    streams = [trial.stream() for trial in trials]
    concepts = [trial.concept for trial in trials]
    history = torch.empty(steps, len(trials))
    after: dict[int, Tensor] = {}
    for step in tqdm(range(steps), desc=f"{model.task} words", unit="step", disable=not progress, leave=False):
        losses = model.losses(words, concepts, frozen, streams, batch)
        optimiser.zero_grad(set_to_none=True)
        losses.sum().backward()
        optimiser.step()
        with torch.no_grad():
            words.copy_(project_to_ball(words, centre, radius))
        history[step] = losses.detach()
        if step + 1 in keep:
            after[step + 1] = words.detach().clone()
    return Learned(words.detach(), history, after)
