"""Means with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from statsmodels.stats.weightstats import DescrStatsW


def mean_interval(values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean and t interval of independent values, as (mean, low, high); with fewer than two values the interval is the mean itself."""
    values = np.asarray(values, float)
    mean = float(values.mean())
    if len(values) < 2 or np.ptp(values) == 0:
        return mean, mean, mean
    low, high = DescrStatsW(values).tconfint_mean(alpha=1 - confidence)
    return mean, float(low), float(high)


def crossed_interval(table: pd.DataFrame, value: str = "value", confidence: float = 0.95, draws: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Mean of `value` and a bootstrap interval that resamples concepts and anchors, as (mean, low, high).

    The trials of a grid share concepts and anchors, so they are not independent; `table` has columns `concept` and `anchor`.
    A grid may have holes; a resample that drew nothing but holes is drawn anew.

    Raises ValueError where there is no value at all.
    """
    if table[value].isna().all():
        raise ValueError(f"There is no '{value}' to average.")
    grid = table.pivot_table(index="concept", columns="anchor", values=value, aggfunc="mean").to_numpy()
    rng = np.random.default_rng(seed)
    means = np.empty(0)
    while len(means) < draws:
        rows, columns = (rng.integers(length, size=(draws, length)) for length in grid.shape)
        resamples = grid[rows[:, :, None], columns[:, None, :]].reshape(draws, -1)
        means = np.concatenate([means, np.nanmean(resamples[~np.isnan(resamples).all(1)], axis=1)])
    low, high = np.quantile(means[:draws], [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(np.nanmean(grid)), float(low), float(high)


def summarise(table: pd.DataFrame, by: Sequence[str], value: str = "value") -> pd.DataFrame:
    """Mean and interval of each group: columns of `by`, then `mean`, `low`, `high` and `n`."""
    rows = []
    for key, group in table.groupby(list(by), sort=False, observed=True):
        mean, low, high = mean_interval(group[value])
        rows.append({**dict(zip(by, key if isinstance(key, tuple) else (key,), strict=True)), "mean": mean, "low": low, "high": high, "n": len(group)})
    return pd.DataFrame(rows)
