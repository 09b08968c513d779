"""Experiments that learn words anew: with other rates and fewer steps, and from resampled images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from vwlib.concepts import concepts_of
from vwlib.experiments.base import Case, Sources, learn_anew, lighter, small_grid, trial_rows, uses
from vwlib.experiments.solutions import own_scores
from vwlib.learn import learn_trials
from vwlib.models import Frozen, load_model
from vwlib.settings import Profile
from vwlib.study.compat import prepared
from vwlib.trials import Trial


@uses("grid", "test_images", "pictures", "rates", "step_shares")
def rates(profile: Profile, case: Case, _: Sources) -> pd.DataFrame:
    """Section 4, appendix E: scores of unconstrained words after fewer `steps` and at other learning rates.

    `rate` is Adam's, `factor` its multiple of the task's own. A word that diverged has no value.
    """
    task, factor = case["task"], float(case["factor"])
    settings, trials = profile.learning[task], small_grid(profile, task, case["dataset"])
    steps = sorted({max(1, round(share * settings.steps)) for share in profile.experiments.step_shares})
    learned = learn_trials(
        load_model(task, profile),
        prepared(task, profile, case["dataset"], "train"),
        trials,
        steps=max(steps),
        lr=factor * settings.rate,
        batch=settings.batch,
        vectors=profile.vectors,
        snapshots=steps,
        progress=False,
    )
    tables = []
    for count, vectors in sorted(learned.snapshots.items()):
        finite = learned.finite_after(count)
        values = np.full(len(trials), np.nan)
        if finite.any():
            fine = [trial for trial, known in zip(trials, finite.tolist(), strict=True) if known]
            values[finite.cpu().numpy()] = own_scores(task, lighter(profile), fine, vectors[finite])
        tables.append(
            trial_rows(trials, task=task, steps=count, rate=factor * settings.rate, factor=factor, value=values)
        )
    return pd.concat(tables, ignore_index=True).drop(columns="delta")


def rate_cases(profile: Profile) -> list[dict[str, str]]:
    """Every task and dataset at the task's own rate; at other rates the generator, which takes long, learns from the
    first dataset only.
    """
    return [
        {"task": task, "dataset": dataset, "factor": f"{factor:g}"}
        for task in profile.learning
        for dataset in profile.study.datasets
        for factor in profile.experiments.rates
        if factor == 1 or task != "generation" or dataset == profile.study.datasets[0]
    ]


@uses()
def sweep(_: Profile, __: Case, sources: Sources) -> pd.DataFrame:
    """Section 4: the rows of `rates` at each task's own rate, with which the study learns."""
    table = sources.tables["rates"]
    return table[table["factor"] == 1].reset_index(drop=True)


@uses("grid", "resamples", "starts")
def spreads(profile: Profile, case: Case, _: Sources) -> pd.DataFrame:
    """E3: how far the scores of a concept's classification words spread over resampled training images, and over
    starts.

    Every concept is learned from several unrelated anchors, each from the same resamples of its training images (drawn
    with replacement). `kind` "data": the standard deviation over resamples at one anchor. "start": at the same
    resample, of this anchor's score against those of the others, the root of half the mean squared difference, which
    estimates the same thing. Each resample has a seed of its own.
    """
    task = "classification"
    frozen, trials = prepared(task, profile, case["dataset"], "train"), unrelated_starts(profile, case["dataset"])
    model, scores = load_model(task, profile), []
    for number in range(profile.experiments.resamples):
        learned = learn_anew(
            model, profile, resampled(frozen, number), [replace(trial, seed=number) for trial in trials]
        )
        scores.append(own_scores(task, profile, trials, learned))
    values = np.array(scores).reshape(len(scores), -1, profile.experiments.starts)  # (resample, concept, start)
    between = (values[..., :, None] - values[..., None, :]) ** 2  # (resample, concept, start, start)
    start = np.sqrt(between.sum(-1).mean(0) / (values.shape[-1] - 1) / 2)
    tables = [
        trial_rows(trials, kind=kind, spread=spread.ravel())
        for kind, spread in (("data", values.std(axis=0, ddof=1)), ("start", start))
    ]
    return pd.concat(tables, ignore_index=True).drop(columns="delta")


def unrelated_starts(profile: Profile, dataset: str) -> list[Trial]:
    """For each of the first concepts a trial from each of the first anchors that are not its own, as many as
    `ExperimentSettings.starts`.
    """
    known = concepts_of(dataset, profile.world)
    return [
        Trial(dataset, concept.name, anchor)
        for concept in known[: profile.experiments.grid["classification"]]
        for anchor in [other.anchor for other in known if other.anchor != concept.anchor][: profile.experiments.starts]
    ]


def resampled(frozen: Frozen, seed: int) -> Frozen:
    """As many of each concept's images as there are, drawn with replacement."""
    rng = np.random.default_rng(seed)
    own = [frozen.rows_of(concept) for concept in dict.fromkeys(frozen.concepts)]
    rows = torch.cat([rows[torch.from_numpy(rng.integers(len(rows), size=len(rows))).to(rows.device)] for rows in own])
    return Frozen(
        [frozen.concepts[row] for row in rows.tolist()],
        {key: tensor[rows.to(tensor.device)] for key, tensor in frozen.tensors.items()},
    )
