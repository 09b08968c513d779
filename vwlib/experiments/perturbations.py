"""Does a random offset keep an anchor's meaning where a learned one of the same length changes it? Control K5."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from vwlib.experiments.base import COUNT, Experiment, ExperimentCase, Size, Sources, per
from vwlib.experiments.controls import DIRECTIONS, random_like
from vwlib.experiments.layer_statistics import label_words
from vwlib.experiments.words import trial_rows, values_of, vectors_of
from vwlib.lab import Lab
from vwlib.ledger.schemas import TRIAL, TableSchema
from vwlib.study.digest import trials_of
from vwlib.study.tables import TRIALS
from vwlib.trials import Trial
from vwlib.words import Word


def compute(lab: Lab, case: ExperimentCase, sources: Sources) -> pd.DataFrame:
    """Learned words ("optimised"), and words whose offsets are as long but random.

    An output is `kept`, still the anchor's, where the word is better at its anchor's concept than at any other of the
    dataset, by table 1's metric. `kind` is "random" for directions alike in all dimensions, and "random, vocabulary"
    and "random, word" for the further ones of `vwlib.experiments.controls.DIRECTIONS`. `value` is the score for the
    concept that the optimised word was learned for, `anchor_value` that for the anchor's.
    """
    task, dataset, few = case["task"], case["dataset"], sources.reduced(lab)
    order = list(few.split(dataset).names)
    tables = []
    for delta in lab.profile.study.deltas:
        words = sources.grid(task, dataset, delta)
        if not words:
            continue
        trials, labels = trials_of(words), label_words(trials_of(words), lab.profile.world)
        own, anchor = ([order.index(name) for name in labels[column]] for column in ("concept", "anchor_concept"))
        for kind, draw, vectors in _offset_kinds(lab, task, words, sources.sizes.random_offsets):
            scores = scores_by_concept(few, task, dataset, vectors)
            rows = np.arange(len(words))
            others = scores.copy()
            others[rows, anchor] = -np.inf
            measured = {
                "value": scores[rows, own],
                "anchor_value": scores[rows, anchor],
                "kept": scores[rows, anchor] > others.max(1),
            }
            tables.append(trial_rows(trials, task=task, kind=kind, draw=draw, **measured))
    return pd.concat(tables, ignore_index=True)


def _offset_kinds(lab: Lab, task: str, words: Sequence[Word], isotropic: int) -> list[tuple[str, int, Tensor]]:
    vectors, anchors = vectors_of(words), [word.anchor for word in words]
    kinds = [("optimised", 0, vectors)]
    for direction in DIRECTIONS:
        name, draws = ("random", isotropic) if direction == DIRECTIONS[0] else (f"random, {direction}", 1)
        for draw in range(draws):
            kinds.append((name, draw, random_like(lab.model(task), vectors, anchors, draw, direction)))
    return kinds


def scores_by_concept(lab: Lab, task: str, dataset: str, vectors: Tensor) -> np.ndarray:
    """Table 1's metric of words (word, vector, d) for each of a dataset's concepts: (word, concept)."""
    names = lab.split(dataset).names
    asked = [Trial(dataset, name, "") for name in names] * len(vectors)
    values = values_of(lab, task, vectors.repeat_interleave(len(names), 0), asked)
    return values.reshape(len(vectors), len(names))


PERTURBATIONS = Experiment(
    "perturbations",
    "Learned words and random offsets of the same length (control K5).",
    compute,
    per("task", "dataset"),
    needs=(TRIALS,),
    shared=("grid", "test_images", "pictures"),
    sizes=(
        Size(
            "random_offsets",
            COUNT,
            2,
            1,
            "random words for each learned one, alike in all dimensions; of each further kind there is one",
        ),
    ),
    # `kind` is "optimised" or one of random offsets; `kept` says whether the output is still the anchor's.
    schema=TableSchema(
        "random and optimised offsets of equal length", (*TRIAL, "task", "kind", "kept"), shares=("kept",)
    ),
)
