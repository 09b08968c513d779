"""Words learned anew: with other rates and fewer steps (section 4), from other images and starts (section 5.1); and the
days that the study took (appendix D).
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from pydantic import PositiveFloat

from vwlib.concepts import concepts_of
from vwlib.experiments.base import COUNT, SCORED_OFTEN, Case, Cases, Experiment, Size, Sources, per
from vwlib.experiments.words import (
    VALIDATION_NOISE,
    grid_trials,
    images_of,
    trial_rows,
    validation_split,
    values_of,
    with_features,
    with_reader,
)
from vwlib.lab import Lab
from vwlib.ledger.schemas import TRIAL, TableSchema
from vwlib.models.base import CachedFeatures
from vwlib.settings import Profile
from vwlib.study.plan import make_plan
from vwlib.study.progress import read_run_log
from vwlib.study.store import TRIALS
from vwlib.trials import Trial


def rate_cases(profile: Profile) -> Cases:
    """Every task, dataset and rate; the generator learns at other rates from the first dataset only."""
    return [
        {"task": task, "dataset": dataset, "factor": f"{factor:g}"}
        for task in profile.learning
        for dataset in profile.study.datasets
        for factor in FACTORS.of(profile)
        if factor == 1 or task != "generation" or dataset == profile.study.datasets[0]
    ]


def rates(lab: Lab, case: Case, sources: Sources) -> Iterator[pd.DataFrame]:
    """Scores after fewer steps and at other learning rates (section 4, appendix E), by which both are chosen.

    Words are scored on validation images, and the generator's from noises of their own, so that what is chosen is not
    chosen on what the study is scored with. `rate` is Adam's, `factor` its multiple of the task's own. A word that
    diverged has no value.
    """
    task, dataset, factor = case["task"], case["dataset"], float(case["factor"])
    few = with_reader(sources.reduced(lab), validation_split)
    settings, trials = lab.profile.learning[task], grid_trials(lab.profile, dataset, sources.sizes.grid[task])
    steps, rate = [max(1, round(share * settings.steps)) for share in sources.sizes.step_shares], factor * settings.rate
    changes = {"steps": max(steps), "lr": rate, "snapshots": steps}
    learned = lab.learn(task, trials, allow_divergence=True, progress=False, **changes)
    for count, vectors in sorted(learned.snapshots.items()):
        finite = learned.finite_after(count)
        values = np.full(len(trials), np.nan)
        if finite.any():
            kept = [
                replace(t, seed=VALIDATION_NOISE)
                for t, is_finite in zip(trials, finite.tolist(), strict=True)
                if is_finite
            ]
            values[finite.numpy()] = values_of(few, task, vectors[finite], kept)
        rows = trial_rows(trials, task=task, steps=count, rate=rate, factor=factor, value=values)
        yield rows.drop(columns="delta")


def own_rates(_: Lab, __: Case, sources: Sources) -> pd.DataFrame:
    """Scores after fewer steps, at the tasks' own rates (section 4), with which the study learns."""
    table = sources.tables["rates"]
    return table[table["factor"] == 1].reset_index(drop=True)


def spreads(lab: Lab, case: Case, sources: Sources) -> Iterator[pd.DataFrame]:
    """Spread of scores over resampled images and over starts (section 5.1).

    Every concept's classification word is learned from several unrelated anchors on the same resampled images. `kind`
    "data": the standard deviation over resamples at one anchor. "start": the root of half the mean squared difference
    to the other anchors' scores at the same resample, which estimates the same thing.
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
    for kind, spread in (("data", values.std(axis=0, ddof=1)), ("start", start)):
        yield trial_rows(trials, kind=kind, spread=spread.ravel()).drop(columns="delta")


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
    own = [features.indices_of(concept).tolist() for concept in dict.fromkeys(features.concepts)]
    return images_of(features, [rows[at] for rows in own for at in rng.integers(len(rows), size=len(rows))])


def timing(lab: Lab, _: Case, sources: Sources) -> pd.DataFrame:
    """Days that the study took (appendix D).

    The `days` of all its `chunks` in one process, from the run log; no row while it lacks a chunk.
    """
    log = read_run_log(sources.stores[0].log_file).drop_duplicates("chunk", keep="last")
    plan = {chunk.name for chunk in make_plan(lab.profile)}
    log = log[log["chunk"].isin(plan)]
    seconds = float(log[["learning", "scoring"]].astype(float).to_numpy().sum())
    rows = [(seconds / (24 * 60 * 60), len(log))] if len(log) == len(plan) else []
    return pd.DataFrame(rows, columns=["days", "chunks"]).astype({"days": float, "chunks": int})


_SHARES = tuple[PositiveFloat, ...]
FACTORS = Size("rates", _SHARES, (0.25, 1.0, 4.0), (1.0, 4.0), "learning rates, in units of the task's own")
_STEPS = Size(
    "step_shares", _SHARES, (0.125, 0.25, 0.5, 0.75, 1.0), (0.4, 1.0), "shares of the task's own number of steps"
)
_RESAMPLES = Size("resamples", COUNT, 5, 2, "resamples of the training images")
_STARTS = Size("starts", COUNT, 5, 2, "anchors beside them")
_FEWER = TableSchema("scores after fewer steps", (*TRIAL[:3], "task", "steps", "value"), ("value",))
_SPREAD = TableSchema("spread of scores over data and over starts", ("dataset", "concept", "anchor", "kind", "spread"))
RATES = Experiment("rates", rates, rate_cases, shared=SCORED_OFTEN, sizes=(FACTORS, _STEPS), version=2)
SWEEP = Experiment("sweep", own_rates, per(), ("rates",), schema=_FEWER)
SPREADS = Experiment("spreads", spreads, per("dataset"), (), ("grid",), (_RESAMPLES, _STARTS), _SPREAD)
_DAYS = TableSchema("days that the study took", ("days",), units=(), stratum=None)
TIMING = Experiment("timing", timing, per(), (TRIALS,), schema=_DAYS)
