"""How far do scores spread over resampled images, and over starts? Section 5.1."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from pydantic import PositiveInt

from vwlib.concepts import concepts_of
from vwlib.experiments.base import Experiment, ExperimentCase, Size, Sources, per
from vwlib.experiments.words import trial_rows, values_of, with_features
from vwlib.lab import Lab
from vwlib.ledger.schemas import TableSchema
from vwlib.models.base import CachedFeatures
from vwlib.settings import Profile
from vwlib.trials import Trial


def compute(lab: Lab, case: ExperimentCase, sources: Sources) -> pd.DataFrame:
    """How far the scores of a concept's classification words spread over resampled training images, and over starts.

    Every concept is learned from several unrelated anchors, each from the same resamples of its training images (drawn
    with replacement). `kind` "data": the standard deviation over resamples at one anchor. "start": at the same
    resample, of this anchor's score against those of the others, the root of half the mean squared difference, which
    estimates the same thing. Each resample has a seed of its own.
    """
    task, dataset, starts = "classification", case["dataset"], sources.sizes.starts
    trials = unrelated_starts(lab.profile, dataset, sources.sizes.grid[task], starts)
    features, scores = lab.features(task, dataset, "train"), []
    for seed in range(sources.sizes.resamples):
        other = with_features(lab, task, dataset, resampled(features, seed))
        learned = other.learn(task, [replace(trial, seed=seed) for trial in trials], progress=False)
        scores.append(values_of(lab, task, learned.vectors, trials))
    values = np.array(scores).reshape(len(scores), -1, starts)  # (resample, concept, start)
    between = (values[..., :, None] - values[..., None, :]) ** 2  # (resample, concept, start, start)
    start = np.sqrt(between.sum(-1).mean(0) / (starts - 1) / 2)
    spreads = {"data": values.std(axis=0, ddof=1), "start": start}
    tables = [trial_rows(trials, kind=kind, spread=spread.ravel()) for kind, spread in spreads.items()]
    return pd.concat(tables, ignore_index=True).drop(columns="delta")


def unrelated_starts(profile: Profile, dataset: str, concepts: int, starts: int) -> list[Trial]:
    """For each of the first `concepts` a trial from each of the first `starts` anchors that are not its own."""
    known = concepts_of(dataset, profile.world)
    return [
        Trial(dataset, concept.name, anchor)
        for concept in known[:concepts]
        for anchor in [other.anchor for other in known if other.anchor != concept.anchor][:starts]
    ]


def resampled(features: CachedFeatures, seed: int) -> CachedFeatures:
    """As many of each concept's images as there are, drawn with replacement."""
    rng = np.random.default_rng(seed)
    own = [features.indices_of(concept) for concept in dict.fromkeys(features.concepts)]
    rows = torch.cat([rows[torch.from_numpy(rng.integers(len(rows), size=len(rows))).to(rows.device)] for rows in own])
    tensors = {key: tensor[rows.to(tensor.device)] for key, tensor in features.tensors.items()}
    return CachedFeatures([features.concepts[row] for row in rows.tolist()], tensors)


EXPERIMENTS = (
    Experiment(
        name="spreads",
        question="Spread of scores over resampled images and over starts (section 5.1).",
        compute=compute,
        cases=per("dataset"),
        shared=("grid",),
        sizes=(
            Size("resamples", PositiveInt, 5, smoke=2, what="resamples of the training images"),
            Size("starts", PositiveInt, 5, smoke=2, what="anchors beside them"),
        ),
        schema=TableSchema(
            "spread of scores over data and over starts", ("dataset", "concept", "anchor", "kind", "spread")
        ),
    ),
)
