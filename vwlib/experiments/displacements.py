"""How far learned words lie from their anchors, and which words are nearest: figure 5, sections 1 and 6."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from vwlib.experiments.base import Experiment, ExperimentCase, Sources, per
from vwlib.experiments.words import vectors_of
from vwlib.lab import Lab
from vwlib.learn import ball_radius
from vwlib.ledger.schemas import TRIAL, TableSchema
from vwlib.models.base import TaskModel
from vwlib.settings import Profile
from vwlib.study.digest import trials_of
from vwlib.study.tables import TRIALS
from vwlib.trials import Trial


def radii(profile: Profile) -> list[float | None]:
    """Unconstrained, and every delta of the study."""
    return [None, *profile.study.deltas]


def compute(lab: Lab, case: ExperimentCase, sources: Sources) -> pd.DataFrame:
    """`displacement_table` of all the study's words of a case's dataset and task. Where the case names a `source`, that
    task's words are mapped (equation 3) into the model of `task`.
    """
    task, source = case["task"], case.get("source", case["task"])
    tables = []
    for delta in radii(lab.profile):
        if words := sources.words(source, case["dataset"], delta):
            vectors = lab.transfer(vectors_of(words), source, task)
            tables.append(displacement_table(lab.model(task), trials_of(words), vectors))
    table = pd.concat(tables, ignore_index=True)
    return table.rename(columns={"task": "evaluated_on"}).assign(trained_on=source) if "source" in case else table


def nearest_words(vectors: Tensor, model: TaskModel, count: int = 5) -> list[list[str]]:
    """The model's own words nearest to each vector (vector, d), nearest first."""
    words = model.vocabulary.words()
    names, ids = list(words), list(words.values())
    order = torch.cdist(vectors.float(), model.word_table()[ids]).topk(count, largest=False).indices
    return [[names[i] for i in row] for row in order]


def displacement_table(model: TaskModel, trials: Sequence[Trial], vectors: Tensor) -> pd.DataFrame:
    """The distance of each vector of each word (word, vector, d) from its anchor, and the word nearest to it.

    One row a vector; `distance` is in units of delta, the anchor's distance to its nearest other word.
    """
    table, known = model.word_table(), model.vocabulary.words()
    rows = []
    for trial, word in zip(trials, vectors, strict=True):
        anchor = model.vocabulary.token_of(trial.anchor)
        ids = sorted({*known.values(), anchor})
        unit = ball_radius(table[ids], ids.index(anchor), 1.0)
        for number, (vector, nearest) in enumerate(zip(word, nearest_words(word, model, 1), strict=True), 1):
            distance = float((vector - table[anchor]).norm()) / unit
            of = (model.task, trial.dataset, trial.concept, trial.anchor, trial.delta, trial.seed, number)
            rows.append((*of, distance, nearest[0], nearest[0] == trial.anchor))
    columns = ["task", "dataset", "concept", "anchor", "delta", "seed", "vector", "distance", "nearest", "is_anchor"]
    return pd.DataFrame(rows, columns=columns).astype({"delta": float})


DISPLACEMENTS = Experiment(
    "displacements",
    "How far learned words lie from their anchor, and which word is nearest (figure 5, section 6).",
    compute,
    per("task", "dataset"),
    needs=(TRIALS,),
    schema=TableSchema(
        "learned words' distance from their anchor",
        (*TRIAL, "task", "distance", "nearest", "is_anchor"),
        shares=("is_anchor", "names_concept"),
    ),
)
MAPPED_DISPLACEMENTS = Experiment(
    "mapped_displacements",
    "The same of mapped words in the target model (section 1).",
    compute,
    per("source", "task", "dataset"),
    needs=(TRIALS,),
    schema=TableSchema(
        "mapped words' nearest words in the target model",
        (*TRIAL, "trained_on", "evaluated_on", "is_anchor"),
        shares=("is_anchor",),
    ),
)
