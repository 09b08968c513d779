"""Summaries of the table of trials: figures 3 and 6 as numbers."""

from __future__ import annotations

import pandas as pd

from vwlib.ledger.statistics import mean_estimate
from vwlib.trials import is_diagonal

COLUMNS = ["trials", "evaluated_on", "trained_on", "mean", "low", "high", "n"]


def summarise_grid(table: pd.DataFrame, world: str) -> pd.DataFrame:
    """The mean score of every target and source with its 95 % interval, over all trials and over those off the diagonal.

    The interval is that of `two_way_clustered_estimate`: trials share concepts and anchors.
    """
    rows = []
    for name, chosen in (("all", table), ("off-diagonal", table[~is_diagonal(table, world)])):
        for (target, source), group in chosen.groupby(["evaluated_on", "trained_on"], sort=False):
            found = mean_estimate(group)
            rows.append((name, target, source, found.value, *found.interval(), len(group)))
    return pd.DataFrame(rows, columns=COLUMNS)


def summarise_study(table: pd.DataFrame, world: str) -> pd.DataFrame:
    """`summarise_grid` of each dataset and delta (missing: unconstrained words, floor and ceiling)."""
    parts = []
    for (dataset, delta), rows in table.groupby(["dataset", "delta"], sort=False, dropna=False):
        parts.append(summarise_grid(rows, world).assign(dataset=dataset, delta=delta))
    return pd.concat(parts, ignore_index=True)
