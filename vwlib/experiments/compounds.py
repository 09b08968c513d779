"""Is the word learned from pictures of an orange cat orange plus cat? Section 1."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from pydantic import PositiveInt
from torch import Tensor

from vwlib.experiments.base import Experiment, ExperimentCase, Size, Sources
from vwlib.experiments.drawn import COLOURS, LAYOUT, Drawn, draw_examples, image_counts, tasks_of_the_miniature
from vwlib.experiments.words import with_split
from vwlib.lab import Lab
from vwlib.layers import hidden_states
from vwlib.ledger.schemas import TableSchema
from vwlib.miniature.scenes import PRETRAINING_STYLES, Drawing
from vwlib.models.base import TaskModel
from vwlib.trials import DatasetSplit, Trial

NOUNS = ("cat", "car", "umbrella", "bottle", "boat")
STARTS = ("phone", "bicycle")  # anchors that are neither part


def compute(lab: Lab, case: ExperimentCase, sources: Sources) -> pd.DataFrame:
    """Words of one vector, learned from tinted drawings in all combinations of some colours and nouns, so that only
    both parts together tell a compound from the others.

    `residual` is the share of the offset from the anchor outside the span of the parts' embeddings, after the anchor's
    own direction is removed; `text_residual` the same of the text encoder's output. `best` is the residual of the two
    words that explain the word best; `value` the compound's score among the others. The yardstick, `kind` "held-out",
    is the mean of the same for the parts' own real words, each rebuilt from the two other words that do it best.
    """
    task, counts = case["task"], image_counts(lab.profile, sources.sizes.test_images)
    colours, nouns = (names[:n] for names, n in zip((COLOURS, NOUNS), sources.sizes.compounds, strict=True))
    parts = {f"{colour} {noun}": (colour, noun) for colour, noun in itertools.product(colours, nouns)}
    train, test = (
        [example for pair in parts.values() for example in compound_examples(pair, count, split)]
        for split, count in enumerate(counts)
    )
    own = with_split(lab, DatasetSplit(LAYOUT, {label: label for label in parts}, train, test))
    trials = [Trial(LAYOUT, label, anchor) for label in parts for anchor in STARTS]
    learned = own.learn(task, trials, progress=False, vectors=1).vectors
    algebra, rows = Algebra.of(lab.model(task)), []
    for trial, vector, score in zip(trials, learned[:, 0], own.evaluate(task, learned, trials), strict=True):
        pair = parts[trial.concept]
        found = algebra.residuals(vector, trial.anchor, pair)
        best = algebra.residual(vector, trial.anchor, algebra.best_two(vector, trial.anchor, ()))
        rows.append((trial.concept, trial.anchor, "learned", *found, best, score.value))
        found = algebra.held_out_residuals(trial.anchor, pair)
        rows.append((trial.concept, trial.anchor, "held-out", *found, found[0], np.nan))
    columns = ["concept", "anchor", "kind", "residual", "text_residual", "best", "value"]
    return pd.DataFrame(rows, columns=columns).assign(task=task)


def compound_examples(parts: tuple[str, str], count: int, split: int) -> list[Drawn]:
    """Scenes of a noun tinted in a colour, in the styles of pretraining in turn."""
    colour, noun = parts
    drawings = [Drawing(noun, PRETRAINING_STYLES[index % len(PRETRAINING_STYLES)], colour) for index in range(count)]
    return draw_examples(f"{colour} {noun}", drawings, (split, COLOURS.index(colour), NOUNS.index(noun)))


@dataclass(frozen=True)
class Algebra:
    """Explaining a word by other words of a model."""

    model: TaskModel
    words: list[str]
    rows: Tensor  # their embeddings (word, d)
    outputs: Tensor  # what the text encoder makes of each, (word, d)

    @classmethod
    def of(cls, model: TaskModel) -> Algebra:
        """With the words of a model's vocabulary."""
        known = model.vocabulary.words()
        words = sorted(known)
        rows = model.word_table()[[known[word] for word in words]].cpu()
        return cls(model, words, rows, hidden_states(model, rows[:, None])[-1])

    def row(self, word: str) -> Tensor:
        """A word's embedding (d)."""
        return self.rows[self.words.index(word)]

    def residuals(self, vector: Tensor, anchor: str, parts: Sequence[str]) -> tuple[float, float]:
        """`residual` and `text_residual`."""
        return self.residual(vector, anchor, parts), self.text_residual(vector, anchor, parts)

    def residual(self, vector: Tensor, anchor: str, parts: Sequence[str]) -> float:
        """The share of the offset from the anchor to `vector` (d), beside the anchor's own direction, that the words of
        `parts` leave unexplained.
        """
        chosen = [self.words.index(word) for word in (anchor, *parts)]
        return unexplained(vector - self.row(anchor), self.rows[chosen] - self.rows.mean(0))

    def text_residual(self, vector: Tensor, anchor: str, parts: Sequence[str]) -> float:
        """The same of the text encoder's output at the end of text."""
        chosen = [self.words.index(word) for word in (anchor, *parts)]
        output = hidden_states(self.model, vector[None, None])[-1, 0]
        return unexplained(output - self.outputs[chosen[0]], self.outputs[chosen] - self.outputs.mean(0))

    def held_out_residuals(self, anchor: str, parts: Sequence[str]) -> tuple[float, float]:
        """The mean `residuals` of the parts' own real words, each explained by the two best other words."""
        found = [
            self.residuals(self.row(word), anchor, self.best_two(self.row(word), anchor, (word,))) for word in parts
        ]
        residual, text_residual = np.mean(found, axis=0)
        return residual, text_residual

    def best_two(self, vector: Tensor, anchor: str, without: Sequence[str]) -> list[str]:
        """Orthogonal matching pursuit: the two words that, after leaving the anchor, explain the offset to `vector` (d)
        best, one after the other.
        """
        centred = (self.rows - self.rows.mean(0)).double()
        offset = (vector - self.row(anchor)).double()
        chosen = [self.words.index(anchor)]
        banned = [*chosen, *(self.words.index(word) for word in without)]
        for _ in range(2):
            basis = torch.linalg.qr(centred[chosen].T).Q  # (d, word)
            rest = offset - basis @ (basis.T @ offset)
            others = centred - centred @ basis @ basis.T  # what each word adds
            fit = (others @ rest).abs() / others.norm(dim=-1).clamp(min=1e-9)
            fit[[*banned, *chosen]] = -1
            chosen.append(int(fit.argmax()))
        return [self.words[index] for index in chosen[1:]]


def unexplained(offset: Tensor, words: Tensor) -> float:
    """The share of `offset` (d), without the direction of the first of `words` (word, d), that is outside the span of
    all of them; in [0, 1].
    """
    beside, outside = (_outside(offset.double(), words[:count].double()) for count in (1, len(words)))
    return float((outside / beside.clamp(min=1e-30)).clamp(0, 1))


def _outside(offset: Tensor, basis: Tensor) -> Tensor:
    """The squared length of the part of `offset` (d) outside the span of `basis` (word, d)."""
    inside = torch.linalg.lstsq(basis.T, offset[:, None], driver="gelsd").solution
    return (offset - (basis.T @ inside)[:, 0]).square().sum()


EXPERIMENTS = (
    Experiment(
        name="compounds",
        question="What the words of an orange cat's parts leave unexplained of its own (section 1).",
        compute=compute,
        cases=tasks_of_the_miniature,
        shared=("test_images",),
        sizes=(
            Size(
                "compounds",
                tuple[PositiveInt, PositiveInt],
                (3, 3),
                smoke=(2, 2),
                what="colours and nouns in compounds",
            ),
        ),
        schema=TableSchema(
            "what compounds leave unexplained",
            ("task", "concept", "kind", "residual"),
            shares=("residual",),
            units=("concept",),
            stratum="task",
        ),
    ),
)
