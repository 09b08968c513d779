"""Scores after fewer steps and at other learning rates: section 4, appendix E."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pydantic import PositiveFloat

from vwlib.experiments.base import Experiment, ExperimentCase, Size, Sources, single_case
from vwlib.experiments.words import grid_trials, trial_rows, values_of
from vwlib.lab import Lab
from vwlib.ledger.schemas import TableSchema
from vwlib.settings import Profile


def cases(profile: Profile) -> list[dict[str, str]]:
    """Every task and dataset at the task's own rate; at other rates the generator, which takes long, learns from the
    first dataset only.
    """
    return [
        {"task": task, "dataset": dataset, "factor": f"{factor:g}"}
        for task in profile.learning
        for dataset in profile.study.datasets
        for factor in FACTORS.of(profile)
        if factor == 1 or task != "generation" or dataset == profile.study.datasets[0]
    ]


def compute(lab: Lab, case: ExperimentCase, sources: Sources) -> pd.DataFrame:
    """Scores of unconstrained words after fewer `steps` and at other learning rates.

    `rate` is Adam's, `factor` its multiple of the task's own. A word that diverged has no value.
    """
    task, dataset, factor, few = case["task"], case["dataset"], float(case["factor"]), sources.reduced(lab)
    settings, trials = lab.profile.learning[task], grid_trials(lab.profile, dataset, sources.sizes.grid[task])
    steps, rate = [max(1, round(share * settings.steps)) for share in sources.sizes.step_shares], factor * settings.rate
    changes = {"steps": max(steps), "lr": rate, "snapshots": steps}
    learned = lab.learn(task, trials, allow_divergence=True, progress=False, **changes)
    tables = []
    for count, vectors in sorted(learned.snapshots.items()):
        finite = learned.finite_after(count)
        values = np.full(len(trials), np.nan)
        if finite.any():
            kept = [trial for trial, is_finite in zip(trials, finite.tolist(), strict=True) if is_finite]
            values[finite.numpy()] = values_of(few, task, vectors[finite], kept)
        tables.append(trial_rows(trials, task=task, steps=count, rate=rate, factor=factor, value=values))
    return pd.concat(tables, ignore_index=True).drop(columns="delta")


def own_rates(_: Lab, __: ExperimentCase, sources: Sources) -> pd.DataFrame:
    """The rows of `rates` at each task's own rate, with which the study learns."""
    table = sources.tables["rates"]
    return table[table["factor"] == 1].reset_index(drop=True)


FACTORS = Size(
    "rates", tuple[PositiveFloat, ...], (0.25, 1.0, 4.0), (1.0, 4.0), "learning rates, in units of the task's own"
)
SHARES = Size(
    "step_shares",
    tuple[PositiveFloat, ...],
    (0.125, 0.25, 0.5, 0.75, 1.0),
    (0.4, 1.0),
    "shares of the task's own number of steps",
)
RATES = Experiment(
    "rates",
    "Scores after fewer steps and at other learning rates (section 4, appendix E).",
    compute,
    cases,
    shared=("grid", "test_images", "pictures"),
    sizes=(FACTORS, SHARES),
)
SWEEP = Experiment(
    "sweep",
    "Scores after fewer steps, at the tasks' own rates (section 4).",
    own_rates,
    single_case,
    needs=("rates",),
    schema=TableSchema(
        "scores after fewer steps", ("dataset", "concept", "anchor", "task", "steps", "value"), shares=("value",)
    ),
)
