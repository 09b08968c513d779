"""Days that the study took (appendix D)."""

from __future__ import annotations

import pandas as pd

from vwlib.experiments.base import Case, Experiment, Sources, per
from vwlib.lab import Lab
from vwlib.ledger.schemas import TableSchema
from vwlib.study.plan import make_plan
from vwlib.study.progress import read_run_log
from vwlib.study.store import TRIALS


def timing(lab: Lab, _: Case, sources: Sources) -> pd.DataFrame:
    """Days that the study took (appendix D).

    The `days` of all its `chunks` in one process, from the run log; no row while it lacks a chunk.
    """
    log = read_run_log(sources.store.log_file).drop_duplicates("chunk", keep="last")
    plan = {chunk.name for chunk in make_plan(lab.profile)}
    log = log[log["chunk"].isin(plan)]
    seconds = float(log[["learning", "scoring"]].astype(float).to_numpy().sum())
    rows = [(seconds / (24 * 60 * 60), len(log))] if len(log) == len(plan) else []
    return pd.DataFrame(rows, columns=["days", "chunks"]).astype({"days": float, "chunks": int})


_DAYS = TableSchema("days that the study took", ("days",), units=(), stratum=None)
TIMING = Experiment("timing", timing, per(), (TRIALS,), schema=_DAYS)
