"""Days that the study took (appendix D)."""

from __future__ import annotations

import pandas as pd

from vwlib.experiments.base import Experiment, ExperimentCase, Sources, single_case
from vwlib.lab import Lab
from vwlib.ledger.schemas import TableSchema
from vwlib.study.plan import make_plan
from vwlib.study.runlog import read_run_log
from vwlib.study.tables import TRIALS

SECONDS_A_DAY = 24 * 60 * 60


def compute(lab: Lab, _: ExperimentCase, sources: Sources) -> pd.DataFrame:
    """The `days` that the study's `chunks` took in one process, from the run log; no row while it lacks a chunk."""
    log = read_run_log(sources.store.log_file).drop_duplicates("chunk", keep="last")
    plan = {chunk.name for chunk in make_plan(lab.profile)}
    log = log[log["chunk"].isin(plan)]
    seconds = float(log[["learning", "scoring"]].astype(float).to_numpy().sum())
    rows = [(seconds / SECONDS_A_DAY, len(log))] if len(log) == len(plan) else []
    return pd.DataFrame(rows, columns=["days", "chunks"]).astype({"days": float, "chunks": int})


TIMING = Experiment(
    "timing",
    "Days that the study took (appendix D).",
    compute,
    single_case,
    needs=(TRIALS,),
    schema=TableSchema("days that the study took", ("days",), units=(), stratum=None),
)
