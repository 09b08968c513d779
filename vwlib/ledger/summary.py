"""Summaries of the table of trials: figures 3 and 6 as numbers."""

from collections.abc import Sequence

import pandas as pd

from vwlib.concepts import DATASETS, concepts_of
from vwlib.ledger.statistics import mean_estimate, mean_interval


def summarise_grid(table: pd.DataFrame, world: str, by: Sequence[str] = ()) -> pd.DataFrame:
    """The mean of every target and source with its 95 % interval, over all trials and over those off the diagonal.

    Columns of `by`, for whose groups there are rows of their own, then `trials` ("all" or "off-diagonal"),
    `evaluated_on`, `trained_on`, `mean`, `low`, `high`, and `n`. For comparison with the paper, `independent_low` and
    `independent_high` are the interval as it computes it, as if trials were independent.
    """
    keys = [*by, "evaluated_on", "trained_on"]
    rows = []
    for trials, chosen in (("all", table), ("off-diagonal", table[~is_diagonal(table, world)])):
        for key, group in chosen.groupby(keys, sort=False, dropna=False):
            found = mean_estimate(group)
            rows.append((trials, *key, found.value, *found.interval(), *mean_interval(group["value"])[1:], len(group)))
    estimated = ["mean", "low", "high", "independent_low", "independent_high", "n"]
    return pd.DataFrame(rows, columns=["trials", *keys, *estimated])


def summarise_study(table: pd.DataFrame, world: str) -> pd.DataFrame:
    """`summarise_grid` of each dataset and delta (missing: unconstrained words, floor and ceiling)."""
    return summarise_grid(table, world, ["dataset", "delta"])


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
