"""Summaries of the table of trials: figures 3 and 6 as numbers."""

from __future__ import annotations

import pandas as pd

from vwlib.concepts import DATASETS, concepts_of
from vwlib.ledger.statistics import mean_estimate

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


def is_diagonal(table: pd.DataFrame, world: str) -> pd.Series:
    """Whether the anchor of each row is its concept's own anchor word, so that the word starts at what it is to learn.

    The concept's own anchor in a dataset that is none of the four is the concept's name.
    """
    own = {(dataset.lower(), c.name): c.anchor for dataset in DATASETS for c in concepts_of(dataset, world)}
    four = {dataset.lower() for dataset in DATASETS}
    rows = zip(table["dataset"], table["concept"], table["anchor"], strict=True)
    same = [
        anchor == (own.get((dataset.lower(), concept)) if dataset.lower() in four else concept)
        for dataset, concept, anchor in rows
    ]
    return pd.Series(same, table.index, dtype=bool)
