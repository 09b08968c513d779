"""Means with intervals, and the tests by which the claims are judged.

Trials of a grid share concepts and anchors, so they are not independent. Tests therefore start from an `Estimate`,
whose standard error comes of resampling concepts, anchors and cells (`crossed_estimate`), and which gives intervals and
p values by Student's t.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, nan

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

NEEDS = ("all", "most", "half", "any")
#: Between the two anchors that a pair is named after.
AND = " and "


def mean_interval(
    values: Sequence[float] | np.ndarray, confidence: float = 0.95, share: bool | None = None
) -> tuple[float, float, float]:
    """Mean and t interval of independent values, as (mean, low, high).

    Equal values have no spread. For shares, values in [0, 1], the interval is then that of `unseen_interval`; for
    others, and for a single one, it is the mean itself. Without being told by `share`, values that are all 0 or all 1
    are taken for shares.

    Raises ValueError where there is no value.
    """
    values = np.asarray(values, float)
    if not len(values):
        raise ValueError("There is no value to average.")
    mean = float(values.mean())
    if len(values) < 2 or np.ptp(values) == 0:
        return (mean, *_equal_values(values, confidence, share))
    from statsmodels.stats.weightstats import (
        DescrStatsW,  # statsmodels takes a second to import, and many pages do without
    )

    low, high = DescrStatsW(values).tconfint_mean(alpha=1 - confidence)
    return mean, float(low), float(high)


def unseen_interval(
    value: float, n: int, low: float = 0, high: float = 1, confidence: float = 0.95
) -> tuple[float, float]:
    """How far from `value` the mean of a quantity within [low, high] may lie when all of `n` trials gave `value`.

    Of the trials not yet made, a part may give the lowest value, or the highest. The largest part that n trials still
    miss with probability (1 - confidence) / 2 is 1 - ((1 - confidence) / 2) ** (1 / n). For n of n successes, or none,
    this is Clopper and Pearson's interval.
    """
    seen = ((1 - confidence) / 2) ** (1 / n)
    return low + (value - low) * seen, high - (high - value) * seen


def _equal_values(values: np.ndarray, confidence: float, share: bool | None) -> tuple[float, float]:
    value = float(values[0])
    if share is None:
        share = value in (0, 1)
    # Without spread a t interval would have no width, as if ten successes of ten proved that there is never a failure.
    return unseen_interval(value, len(values), confidence=confidence) if share else (value, value)


def crossed_interval(
    table: pd.DataFrame, value: str = "value", confidence: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of `value` and a bootstrap interval that resamples concepts and anchors, as (mean, low, high).

    The trials of a grid share concepts and anchors, so they are not independent; `table` has columns `concept` and
    `anchor`. A grid may have holes; a resample that drew nothing but holes is drawn anew. Where all are 0 or all 1, the
    interval is that of `unseen_interval` with as many trials as there are concepts: what the next concept would do is
    not known from ten anchors of this one.

    Raises ValueError where there is no value at all.
    """
    if table[value].isna().all():
        raise ValueError(f"There is no '{value}' to average.")
    grid = table.pivot_table(index="concept", columns="anchor", values=value, aggfunc="mean").to_numpy()
    found = grid[~np.isnan(grid)]
    if np.ptp(found) == 0:
        return (float(found[0]), *_equal_values(found[: len(grid)], confidence, None))
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
        rows.append(
            {
                **dict(zip(by, key if isinstance(key, tuple) else (key,), strict=True)),
                "mean": mean,
                "low": low,
                "high": high,
                "n": len(group),
            }
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Estimate:
    """A quantity with its standard error `se`, `df` degrees of freedom, `n` trials, and the limits of what it can be.

    Without spread its interval and p values are those of as many equal trials as there are independent `units`, such as
    concepts (`unseen_interval`): two that agree are no proof, and a hundred trials of ten concepts are no hundred.
    Without spread and without limits nothing follows. A sign test's quantity counts ties half; `ties` is their share,
    so that `strict` is the share without them.
    """

    value: float
    se: float
    df: float
    n: int
    low: float = -inf
    high: float = inf
    units: int | None = None  # where not given, every trial is one
    ties: float = 0.0

    @property
    def strict(self) -> float:
        """A sign test's share of trials in which the quantity is positive, ties not counted."""
        return self.value - self.ties / 2

    @property
    def independent(self) -> int:
        """How many independent units the trials are of."""
        return self.n if self.units is None else self.units

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """The interval of Student's t, within the limits; the limits themselves where nothing is known."""
        if not self._known:
            return self.low, self.high
        if self._equal:
            low = (
                unseen_interval(self.value, self.independent, low=self.low, confidence=confidence)[0]
                if isfinite(self.low)
                else -inf
            )
            return low, unseen_interval(self.value, self.independent, high=self.high, confidence=confidence)[
                1
            ] if isfinite(self.high) else inf
        reach = float(stats.t.ppf((1 + confidence) / 2, self.df)) * self.se
        return max(self.value - reach, self.low), min(self.value + reach, self.high)

    def p_above(self, bound: float) -> float:
        """One-sided p value of the null hypothesis that the quantity is at most `bound`; 1 where nothing is known."""
        if not self._known:
            return 1.0
        if not self._equal:
            return float(stats.t.sf((self.value - bound) / self.se, self.df))
        if self.value <= bound or not isfinite(self.low):
            return 1.0
        return (
            max(bound - self.low, 0.0) / (self.value - self.low)
        ) ** self.independent  # all of them missed the low part

    def p_below(self, bound: float) -> float:
        """One-sided p value of the null hypothesis that the quantity is at least `bound`; 1 where nothing is known."""
        return replace(self, value=-self.value, low=-self.high, high=-self.low).p_above(-bound)

    def p_within(self, low: float, high: float) -> float:
        """Two one-sided tests: p value of the null hypothesis that the quantity is not between `low` and `high`."""
        return max(self.p_above(low), self.p_below(high))

    def p_outside(self, low: float, high: float) -> float:
        """P value of the null hypothesis that the quantity is between `low` and `high`: it cannot lie on both sides, so
        the clearer side counts.
        """
        return min(self.p_below(low), self.p_above(high))

    def detectable(self, power: float = 0.9, alpha: float = 0.05) -> float:
        """How far beyond a bound the quantity must truly lie for its 95 % interval to clear the bound with probability
        `power`; NaN without spread.
        """
        if not self._known or self._equal:
            return nan
        return float((stats.t.ppf(1 - alpha / 2, self.df) + stats.norm.ppf(power)) * self.se)

    @property
    def _known(self) -> bool:
        return isfinite(self.value) and isfinite(self.se) and self.df >= 1

    @property
    def _equal(self) -> bool:
        return self.se < 1e-9  # rounding leaves some


def verdict(estimate: Estimate, above: str, below: str, unclear: str, zero: float = 0.0) -> str:
    """The words for an estimate: `above` or `below`, where its 95 % interval lies wholly there, else `unclear`."""
    low, high = estimate.interval()
    return above if low > zero else below if high < zero else unclear


def evaluate(quantity: str, means: Mapping[str, float | np.ndarray]) -> np.ndarray:
    """An arithmetic expression in the names of arms, such as "mapped - floor" or "mapped / own", of their means or
    resampled means.

    Division by zero gives infinity or NaN, not an error.
    """
    return (
        pd.DataFrame({name: np.atleast_1d(np.asarray(mean, float)) for name, mean in means.items()})
        .eval(quantity)
        .to_numpy(float)
    )


def limits_of(quantity: str, arms: Sequence[str], low: float, high: float) -> tuple[float, float]:
    """The smallest and largest value of an expression whose arms lie in [low, high]; infinite where it divides by what
    may be zero.

    Sums and products of distinct arms take their extremes where each arm does.
    """
    if not (isfinite(low) and isfinite(high)):
        return -inf, inf
    corners = np.array(list(itertools.product((low, high), repeat=len(arms)))).T
    values = evaluate(quantity, dict(zip(arms, corners, strict=True)))
    return (float(values.min()), float(values.max())) if np.isfinite(values).all() else (-inf, inf)


def crossed_estimate(
    arms: Mapping[str, pd.DataFrame],
    quantity: str,
    units: Sequence[str] = ("concept", "anchor"),
    stratum: str | None = "dataset",
    measure: str = "value",
    together: Sequence[Sequence[str]] = (),
    positive: bool = False,
    limits: tuple[float, float] = (-inf, inf),
    draws: int = 1000,
    seed: int = 0,
    pairs: bool = False,
) -> Estimate:
    """Estimate an expression of the means of several arms, each a table of trials with columns `units`, `stratum` and
    `measure`.

    Trials of one cell (a value of each unit) are averaged first; then cells, then strata. Arms of a group of `together`
    (by default one group of all) are compared on the cells and strata that they share. With `positive` the quantity is
    taken in every cell, and its estimate is the share of cells where it is positive, zeros counting half: a sign test.
    `limits` are those of one trial's measure. Where all cells are equal, the independent units are the first of
    `units`, concepts, and not the trials.

    Units are resampled within strata, the same for all arms. Resampling whole concepts, whole anchors and single cells
    gives three variances, and the first two less the third is that of a crossed design (Cameron, Gelbach and Miller
    2011); a bootstrap that resamples concepts and anchors at once counts the trials' own noise three times. One unit
    fewer is drawn than there are, which makes the variance unbiased (Rao and Wu 1988).

    With `pairs` a value of the second unit names two anchors, such as "car and dog". Pairs that share an anchor are not
    independent, so the variance is that of leaving out one anchor after the other (the jackknife), with all its pairs.

    Raises ValueError for a name in `quantity` that is no arm, and where an arm has no trial, or none that it shares
    with the others.
    """
    counted = {name: _cells(name, table, units, stratum, measure) for name, table in arms.items()}
    cells = {name: cell["mean"] for name, cell in counted.items()}
    for group in together or [list(arms)]:
        shared = pd.concat([cells[name] for name in group], axis=1, join="inner").index
        if shared.empty:
            raise ValueError(f"The arms {', '.join(group)} have no trial in common.")
        cells |= {name: cells[name].loc[shared] for name in group}
    trials = min(int(counted[name].loc[cell.index, "count"].sum()) for name, cell in cells.items())
    independent = min(cell.index.droplevel(list(range(2, cell.index.nlevels))).nunique() for cell in cells.values())
    ties = 0.0
    if positive:
        signs = np.sign(pd.DataFrame(cells).eval(quantity))
        cells, quantity, limits = {"positive": signs / 2 + 0.5}, "positive", (0, 1)
        ties = float((signs == 0).groupby(level=0).mean().mean())
    rng = np.random.default_rng(seed)
    strata = [
        _Stratum.of(
            {name: cell.loc[[key]] for name, cell in cells.items() if key in cell.index}, len(units), draws, rng, pairs
        )
        for key in _strata(cells)
    ]
    value = float(
        evaluate(
            quantity, {name: float(np.mean([s.means[name] for s in strata if name in s.means])) for name in cells}
        )[0]
    )
    variance = {}
    for scheme in ("rows", "columns", "cells"):
        resampled = {
            name: np.mean([s.resampled[scheme][name] for s in strata if name in s.means], axis=0) for name in cells
        }
        variance[scheme] = _variance(evaluate(quantity, resampled))
    crossed = variance["rows"] + variance["columns"] - variance["cells"] if len(units) > 1 else variance["cells"]
    low, high = limits_of(quantity, list(cells), *limits)
    df = sum(s.df for s in strata)
    return Estimate(
        value, float(np.sqrt(max(crossed, variance["cells"]))) if df else inf, df, trials, low, high, independent, ties
    )


def _cells(name: str, table: pd.DataFrame, units: Sequence[str], stratum: str | None, measure: str) -> pd.DataFrame:
    """Mean and number of the trials of each cell."""
    table = pd.DataFrame(
        {
            "stratum": table[stratum] if stratum else "all",
            **{unit: table[unit] for unit in units},
            "value": table[measure].astype(float),
        }
    )
    cells = table.dropna().groupby(["stratum", *units], observed=True)["value"].agg(["mean", "count"])
    if cells.empty:
        raise ValueError(f"There is no trial for '{name}'.")
    return cells


def _strata(cells: Mapping[str, pd.Series]) -> list[str]:
    return sorted(set().union(*(cell.index.get_level_values(0) for cell in cells.values())))


def _variance(resampled: np.ndarray) -> float:
    finite = resampled[np.isfinite(resampled)]
    # A ratio whose divisor is often zero, or a few cells that are seldom drawn: the spread of the rest would look too
    # small.
    return float(finite.var(ddof=1)) if len(finite) > 0.95 * len(resampled) else inf


@dataclass(frozen=True)
class _Stratum:
    """The arms of one stratum: their means, their resampled means (draw,) by scheme, and degrees of freedom."""

    means: dict[str, float]
    resampled: dict[str, dict[str, np.ndarray]]
    df: int

    @classmethod
    def of(
        cls, cells: dict[str, pd.Series], ways: int, draws: int, rng: np.random.Generator, pairs: bool = False
    ) -> _Stratum:
        grid = pd.DataFrame(cells)
        levels = {"cells": np.arange(len(grid))}
        levels["rows"] = grid.index.get_level_values(1).factorize()[0]
        levels["columns"] = (
            grid.index.get_level_values(2).factorize()[0] if ways > 1 and not pairs else np.zeros(len(grid), int)
        )
        resampled = {}
        for scheme, level in levels.items():
            count = int(level.max()) + 1
            weights = (
                rng.multinomial(count - 1, np.full(count, 1 / count), size=draws) if count > 1 else np.ones((draws, 1))
            )
            resampled[scheme] = {name: _weighted_means(weights, grid[name].to_numpy(), level) for name in grid}
        sizes = [int(levels[scheme].max()) for scheme in (("rows", "columns") if ways > 1 else ("cells",))]
        if pairs:
            ends = [set(name.split(AND)) for name in grid.index.get_level_values(2)]
            anchors = sorted(set().union(*ends))
            if len(anchors) > 2:
                without = np.array([[float(anchor not in pair) for pair in ends] for anchor in anchors])
                noise = rng.standard_normal((draws, len(anchors)))
                resampled["columns"] = {name: _jackknife_means(without, noise, grid[name].to_numpy()) for name in grid}
                sizes.append(len(anchors) - 1)
        return cls(grid.mean().to_dict(), resampled, min((size for size in sizes if size), default=0))


def _weighted_means(weights: np.ndarray, values: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Means (draw,) of values (cell,) when each cell counts as often as its level's weight (draw, level); NaN where
    none is drawn.
    """
    present = ~np.isnan(values)
    total, count = (
        np.bincount(level[present], part, minlength=weights.shape[1])
        for part in (values[present], np.ones(present.sum()))
    )
    with np.errstate(invalid="ignore"):
        return (weights @ total) / (weights @ count)


def _jackknife_means(without: np.ndarray, noise: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means (draw,) of values (cell,) that vary as the jackknife says, so that expressions of several arms can be taken
    of them.

    `without` (unit, cell) is 1 for the cells that are left without a unit, `noise` (draw, unit) of variance 1 and the
    same for all arms.
    """
    present = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        left = (without[:, present] @ values[present]) / without[:, present].sum(1)
    return values[present].mean() + noise @ (left - left.mean()) * np.sqrt((len(left) - 1) / len(left))


def design_effect(table: pd.DataFrame, measure: str = "value", draws: int = 1000, seed: int = 0) -> float:
    """Claim 53: by how much the variance of a grid's mean is larger than if its trials were independent; NaN where they
    are all equal.

    `table` has columns `concept`, `anchor` and `measure`. The expected value is 1 for independent trials, so one grid's
    may be below.
    """
    part = _Stratum.of(
        {measure: _cells(measure, table, ("concept", "anchor"), None, measure)["mean"]},
        2,
        draws,
        np.random.default_rng(seed),
    )
    rows, columns, cells = (part.resampled[scheme][measure].var(ddof=1) for scheme in ("rows", "columns", "cells"))
    return float((rows + columns - cells) / cells) if cells else nan


def slope_estimate(
    table: pd.DataFrame, x: str, measure: str = "value", group: str = "concept", within: Sequence[str] = ()
) -> Estimate:
    """Trend: slope of `measure` on `x`, by generalised estimating equations with the trials of a `group` as correlated.

    The standard error is the bias-reduced robust one, which does not need the correlation to be right. With `within`,
    the trend is that within the groups of those columns: what differs between them, such as two datasets, is taken off
    both variables first.
    Raises ValueError for fewer than four groups and where `x` is the same throughout.
    """
    table = table.dropna(subset=[x, measure]).astype({x: float, measure: float})
    if within:
        means = table.groupby(list(within), dropna=False)[[x, measure]].transform("mean")
        table = table.assign(**{x: table[x] - means[x], measure: table[measure] - means[measure]})
    groups = table[group].nunique()
    if groups < 4:
        raise ValueError(f"A trend needs four {group}s or more; there are {groups}.")
    if np.ptp(table[x]) < 1e-12:
        raise ValueError(f"'{x}' is the same throughout, so there is no trend.")
    codes = table[group].factorize()[0]
    order = np.argsort(codes, kind="stable")
    from statsmodels.genmod.cov_struct import Exchangeable
    from statsmodels.genmod.generalized_estimating_equations import GEE
    from statsmodels.tools import add_constant

    model = GEE(
        table[measure].to_numpy(float)[order],
        add_constant(table[x].to_numpy(float)[order]),
        groups=codes[order],
        cov_struct=Exchangeable(),
    )
    fitted = model.fit(cov_type="bias_reduced")
    return Estimate(float(fitted.params[1]), float(fitted.bse[1]), groups - 2, len(table))


def pooled_estimate(values: ArrayLike, low: ArrayLike, high: ArrayLike, confidence: float = 0.95) -> Estimate:
    """The mean of several results that come with intervals of their own, such as one for each dataset.

    The larger of two standard errors counts, that of the results' spread and that of their intervals, with one degree
    of freedom fewer than there are results: a single result is no basis. Raises ValueError where there is none.
    """
    found = np.asarray(values, float)
    if not len(found):
        raise ValueError("There is no result to pool.")
    widths = (np.asarray(high, float) - np.asarray(low, float)) / (2 * stats.norm.ppf((1 + confidence) / 2))
    within = float(np.sqrt((widths**2).sum())) / len(found)
    between = float(found.std(ddof=1)) / np.sqrt(len(found)) if len(found) > 1 else inf
    return Estimate(float(found.mean()), max(within, between), len(found) - 1, len(found))


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's adjusted p values, in the order of `p`: with those below alpha, all claims at once are right with
    probability 1 - alpha.
    """
    if not len(p):
        return np.empty(0)
    from statsmodels.stats.multitest import multipletests

    gc.freeze()  # statsmodels collects garbage after each call, and would go through all that torch has loaded
    try:
        return multipletests(p, method="holm")[1]
    finally:
        gc.unfreeze()


def combined_p(p: Sequence[float], need: str = "all") -> float:
    """One p value for several cases: that "all", "most" (more than half), at least "half" or at least one ("any") are
    as claimed.

    Raises ValueError for another need and where there is no case.
    """
    if need not in NEEDS:
        raise ValueError(f"'{need}' is no need; choose from {', '.join(NEEDS)}.")
    if not len(p):
        raise ValueError("There is no p value to combine.")
    if need == "all":
        return float(max(p))  # the largest of the p values needs no correction: all must be small at once
    wanted = {"most": len(p) // 2 + 1, "half": (len(p) + 1) // 2, "any": 1}[need]
    return float(np.sort(holm(p))[wanted - 1])


def trials_per_arm(one: float, other: float, power: float = 0.9, alpha: float = 0.05) -> int:
    """How many independent trials each of two arms needs so that a one-sided test tells these shares apart with
    probability `power`.
    """
    low, high = sorted((one, other))
    from statsmodels.stats.proportion import samplesize_proportions_2indep_onetail

    return int(np.ceil(samplesize_proportions_2indep_onetail(high - low, low, power, alpha=alpha)))
