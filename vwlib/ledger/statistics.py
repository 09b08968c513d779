"""The estimators, and the tests by which the claims are judged.

Trials of a grid share concepts and anchors, so means are estimated by `two_way_clustered_estimate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import inf, nan
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from vwlib.ledger.estimate import Estimate, evaluate, interval_without_spread, limits_of, names_in
from vwlib.ledger.schemas import PAIR_SEPARATOR

#: How many cases of a claim must hold.
QUANTIFIERS = ("all", "most", "half", "any")

_SCHEMES = ("cells", "rows", "columns")


def two_way_clustered_estimate(
    arms: Mapping[str, pd.DataFrame],
    quantity: str,
    units: Sequence[str] = ("concept", "anchor"),
    stratum: str | None = "dataset",
    measure: str = "value",
    paired_arms: Sequence[Sequence[str]] = (),
    sign_test: bool = False,
    limits: tuple[float, float] = (-inf, inf),
    draws: int = 1000,
    seed: int = 0,
    pairs: bool = False,
) -> Estimate:
    """Estimate an expression of the means of several arms, each a table of trials with columns `units`, `stratum` and
    `measure`.

    Trials of one cell (a value of each unit) are averaged first; then cells, then strata. Arms of a group of
    `paired_arms` (by default one group of all) are compared on the cells and strata that they share. With `sign_test`
    the quantity is taken in every cell, and its estimate is the share of cells where it is positive, zeros counting
    half. `limits` are those of one trial's measure. Where all cells are equal, the independent units are the first of
    `units`, concepts, and not the trials.

    Units are resampled within strata, the same for all arms. Resampling whole concepts, whole anchors and single cells
    gives three variances, and the first two less the third is that of a crossed design (two-way clustering: Cameron,
    Gelbach and Miller 2011). One unit fewer is drawn than there are, which makes the variance unbiased (Rao and Wu
    1988).

    With `pairs` a value of the second unit names two anchors, such as "car and dog". Pairs that share an anchor are not
    independent, so the variance is that of leaving out one anchor after the other (the jackknife), with all its pairs.

    Raises ValueError for a name in `quantity` that is no arm, and where an arm has no trial, or none that it shares
    with the others.
    """
    if unknown := names_in(quantity) - set(arms):
        raise ValueError(f"'{quantity}' names '{min(unknown)}', which is no arm.")
    names, cells = list(arms), _cells_of(arms, units, stratum, measure)
    for group in paired_arms or [names]:
        members = [names.index(name) for name in group]
        shared = (cells.counts[members] > 0).all(axis=0)
        if not shared.any():
            raise ValueError(f"The arms {', '.join(group)} have no trial in common.")
        cells.means[np.ix_(np.array(members), ~shared)] = nan
    there = ~np.isnan(cells.means)
    trials = int((cells.counts * there).sum(axis=1).min())
    independent = min(len(np.unique(cells.clusters[rows])) for rows in there)
    means, ties = cells.means, 0.0
    if sign_test:
        signs = np.sign(evaluate(quantity, dict(zip(names, means, strict=True))))
        known = ~np.isnan(signs)
        ties = float(pd.Series(signs[known] == 0).groupby(cells.strata[known]).mean().mean())
        names, means, quantity, limits = ["positive"], (signs / 2 + 0.5)[None], "positive", (0, 1)
    parts = [_Stratum.of(cells, means, cells.strata == number, pairs) for number in range(cells.strata.max() + 1)]
    parts = [part for part in parts if part.means.size]
    variance = _variances(names, quantity, parts, draws, seed)
    crossed = variance["rows"] + variance["columns"] - variance["cells"] if len(units) > 1 else variance["cells"]
    df = sum(part.df for part in parts)
    se = float(np.sqrt(max(crossed, variance["cells"]))) if df else inf
    average = dict(zip(names, _over_strata([part.average for part in parts], parts).tolist(), strict=True))
    value = float(evaluate(quantity, average)[0])
    return Estimate(value, se, df, trials, *limits_of(quantity, names, *limits), independent, ties, average)


def mean_estimate(
    table: pd.DataFrame, measure: str = "value", limits: tuple[float, float] = (0, 1), pairs: bool = False
) -> Estimate:
    """`two_way_clustered_estimate` of the mean of a grid's shares or scores."""
    return two_way_clustered_estimate({"mean": table}, "mean", measure=measure, limits=limits, pairs=pairs)


def design_effect(table: pd.DataFrame, measure: str = "value", draws: int = 1000, seed: int = 0) -> float:
    """Claim 53: how much larger the variance of a grid's mean is than if its trials were independent; NaN if all equal.

    `table` has columns `concept`, `anchor` and `measure`. The expected value is 1 for independent trials.
    """
    cells = _cells_of({"mean": table}, ("concept", "anchor"), None, measure)
    part = _Stratum.of(cells, cells.means, cells.strata == 0, pairs=False)
    variance = _variances(["mean"], "mean", [part], draws, seed)
    crossed = variance["rows"] + variance["columns"] - variance["cells"]
    return crossed / variance["cells"] if variance["cells"] else nan


def mean_interval(values: ArrayLike) -> tuple[float, float, float]:
    """Mean and 95 % t interval of independent values, as (mean, low, high).

    The paper takes the trials of a grid for independent. Only what is set beside the paper's own intervals, or what
    truly is independent, is estimated so. The interval of equal values is the mean itself, but that of
    `interval_without_spread` where all are 0 or all are 1. Raises ValueError where there is no value.
    """
    found = np.asarray(values, float)
    if not len(found):
        raise ValueError("There is no value to average.")
    mean = float(found.mean())
    if np.ptp(found) == 0:
        return (mean, *(interval_without_spread(mean, len(found)) if mean in (0, 1) else (mean, mean)))
    reach = float(stats.t.ppf(0.975, len(found) - 1) * stats.sem(found))
    return mean, mean - reach, mean + reach


def verdict(estimate: Estimate, above: str, below: str, unclear: str, zero: float = 0.0) -> str:
    """The words for an estimate: `above` or `below`, where its 95 % interval lies wholly there, else `unclear`."""
    low, high = estimate.interval()
    return above if low > zero else below if high < zero else unclear


def slope_estimate(
    table: pd.DataFrame, x: str, measure: str = "value", group: str = "concept", within: Sequence[str] = ()
) -> Estimate:
    """Trend: slope of `measure` on `x`, by generalised estimating equations with the trials of a `group` as correlated.

    The standard error is the bias-reduced robust one, which does not need the correlation to be right. With `within`,
    the trend is that within the groups of those columns: differences between them, such as between two datasets, are
    taken off both variables first.
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
    # statsmodels takes a second to import, and many pages do without.
    from statsmodels.genmod.cov_struct import Exchangeable
    from statsmodels.genmod.generalized_estimating_equations import GEE

    codes = pd.factorize(table[group])[0]
    order = np.argsort(codes, kind="stable")
    design = np.column_stack([np.ones(len(table)), table[x]])[order]
    model = GEE(table[measure].to_numpy()[order], design, groups=codes[order], cov_struct=Exchangeable())
    fitted = model.fit(cov_type="bias_reduced")
    return Estimate(float(fitted.params[1]), float(fitted.bse[1]), groups - 2, len(table))


def pooled_estimate(values: ArrayLike, low: ArrayLike, high: ArrayLike) -> Estimate:
    """The mean of several results that come with 95 % intervals of their own, such as one for each dataset.

    The larger of two standard errors counts, that of the results' spread and that of their intervals, with one degree
    of freedom fewer than there are results: a single result is no basis. Raises ValueError where there is none.
    """
    found = np.asarray(values, float)
    if not len(found):
        raise ValueError("There is no result to pool.")
    widths = (np.asarray(high, float) - np.asarray(low, float)) / (2 * stats.norm.ppf(0.975))
    within = float(np.sqrt((widths**2).sum())) / len(found)
    between = float(found.std(ddof=1)) / np.sqrt(len(found)) if len(found) > 1 else inf
    return Estimate(float(found.mean()), max(within, between), len(found) - 1, len(found))


def holm(p: ArrayLike) -> np.ndarray:
    """Holm's adjusted p values, in the order of `p`: controls the familywise error rate."""
    p = np.asarray(p, float)
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return adjusted


def combined_p(p: Sequence[float], need: str = "all") -> float:
    """One p value for several cases: that "all", "most" (more than half), at least "half" or at least one ("any") are
    as claimed. Raises ValueError for another need and where there is no case.
    """
    if not len(p):
        raise ValueError("There is no p value to combine.")
    adjusted = p if need == "all" else holm(p)  # all must be small at once, so the largest needs no correction
    return float(np.sort(adjusted)[cases_needed(len(p), need) - 1])


def cases_needed(count: int, need: str) -> int:
    """How many of `count` cases "all", "most", "half" or "any" are; raises ValueError for another word."""
    if need not in QUANTIFIERS:
        raise ValueError(f"'{need}' is no need; choose from {', '.join(QUANTIFIERS)}.")
    return {"all": count, "most": count // 2 + 1, "half": (count + 1) // 2, "any": 1}[need]


class _Cells(NamedTuple):
    """The cells of all arms, sorted by stratum and units."""

    strata: np.ndarray  #: (cell,) the number of its stratum
    clusters: np.ndarray  #: (cell,) the number of its stratum and first unit
    columns: np.ndarray  #: (cell,) its second unit, the same for all where there is one unit only
    means: np.ndarray  #: (arm, cell), NaN where an arm has no trial
    counts: np.ndarray  #: (arm, cell) trials


def _cells_of(arms: Mapping[str, pd.DataFrame], units: Sequence[str], stratum: str | None, measure: str) -> _Cells:
    parts = []
    for number, (name, table) in enumerate(arms.items()):
        keys = {"stratum": table[stratum] if stratum else "all"} | {unit: table[unit] for unit in units}
        part = pd.DataFrame(keys | {"value": table[measure].astype(float), "arm": number}, table.index).dropna()
        if part.empty:
            raise ValueError(f"There is no trial for '{name}'.")
        parts.append(part)
    trials = pd.concat(parts, ignore_index=True)
    codes, labels = zip(*(pd.factorize(trials[key], sort=True) for key in ("stratum", *units)), strict=True)
    shape = [len(label) for label in labels]
    known, cell = np.unique(np.ravel_multi_index(codes, shape), return_inverse=True)
    place = trials["arm"].to_numpy() * len(known) + cell
    counts, totals = (
        np.bincount(place, weights, minlength=len(arms) * len(known)).reshape(len(arms), -1)
        for weights in (None, trials["value"])
    )
    with np.errstate(invalid="ignore"):
        means = totals / counts
    strata, rows, *_ = places = np.unravel_index(known, shape)
    columns = np.asarray(labels[2])[places[2]] if len(units) > 1 else np.zeros(len(known))
    return _Cells(strata, strata * shape[1] + rows, columns, means, counts)


class _Stratum(NamedTuple):
    """The cells of one stratum, and to which level (cell, row or column) each of them belongs."""

    means: np.ndarray  #: (arm, cell), NaN where an arm has no trial
    levels: dict[str, np.ndarray]  #: by scheme, (level, cell): 1 where a cell belongs to it
    without: np.ndarray | None  #: for pairs of three anchors or more, (anchor, cell): 1 where a cell is left without it

    @classmethod
    def of(cls, cells: _Cells, means: np.ndarray, chosen: np.ndarray, pairs: bool) -> _Stratum:
        """Those of the chosen cells in which some arm has a trial; `pairs` as in `two_way_clustered_estimate`."""
        chosen = chosen & ~np.isnan(means).all(axis=0)
        columns = np.zeros(chosen.sum()) if pairs else cells.columns[chosen]
        levels = zip(_SCHEMES, (np.arange(chosen.sum()), cells.clusters[chosen], columns), strict=True)
        without = _left_without_each_anchor(cells.columns[chosen]) if pairs else None
        return cls(means[:, chosen], {scheme: _membership(level) for scheme, level in levels}, without)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many cells, rows, columns and, for pairs, anchors there are."""
        return (*(len(self.levels[scheme]) for scheme in _SCHEMES), 0 if self.without is None else len(self.without))

    @property
    def df(self) -> int:
        """Degrees of freedom: of rows, columns and anchors those that are fewest."""
        return min((size - 1 for size in self.sizes[1:] if size > 1), default=0)

    @property
    def average(self) -> np.ndarray:
        """The mean of each arm, NaN where it has no trial."""
        there = ~np.isnan(self.means)
        with np.errstate(invalid="ignore"):
            return np.where(there, self.means, 0).sum(axis=1) / there.sum(axis=1)

    def resampled(self, scheme: str, weights: Mapping[str, np.ndarray]) -> np.ndarray:
        """Means of the arms (arm, draw) when levels count as often as they are drawn. Those of a jackknife vary as it
        says, so that expressions of several arms can be taken of them.
        """
        without = self.without if scheme == "columns" else None
        member = self.levels[scheme] if without is None else without
        there = ~np.isnan(self.means)
        total, count = np.where(there, self.means, 0) @ member.T, there @ member.T  # (arm, level)
        with np.errstate(invalid="ignore"):
            if without is None:
                return (total @ weights[scheme].T) / (count @ weights[scheme].T)
            left = total / count
            spread = (left - left.mean(axis=1, keepdims=True)) * np.sqrt(1 - 1 / left.shape[1])
        return self.average[:, None] + spread @ weights["anchors"].T


def _membership(level: np.ndarray) -> np.ndarray:
    """For each level, in the order in which they come, 1 for its cells (level, cell)."""
    codes, known = pd.factorize(level)
    return (np.arange(len(known))[:, None] == codes).astype(float)


def _left_without_each_anchor(pairs: Sequence[str]) -> np.ndarray | None:
    """For each anchor, 1 for the pairs that are left without it (anchor, cell); None for fewer than three anchors."""
    ends = [set(name.split(PAIR_SEPARATOR)) for name in pairs]
    anchors = sorted(set().union(*ends))
    return np.array([[float(anchor not in pair) for pair in ends] for anchor in anchors]) if len(anchors) > 2 else None


@lru_cache(maxsize=16)
def _resampling_weights(sizes: tuple[tuple[int, ...], ...], draws: int, seed: int) -> tuple[dict[str, np.ndarray], ...]:
    """For each stratum, how often cells, rows and columns are drawn (draw, level); for pairs the jackknife's noise."""
    rng = np.random.default_rng(seed)
    found = []
    for *counts, anchors in sizes:
        drawn = [rng.multinomial(n - 1, np.full(n, 1 / n), draws) if n > 1 else np.ones((draws, 1)) for n in counts]
        weights = {scheme: times.astype(float) for scheme, times in zip(_SCHEMES, drawn, strict=True)}
        found.append(weights | ({"anchors": rng.standard_normal((draws, anchors))} if anchors else {}))
    return tuple(found)


def _variances(
    arms: Sequence[str], quantity: str, parts: Sequence[_Stratum], draws: int, seed: int
) -> dict[str, float]:
    """The variance of the quantity when cells, rows or columns are resampled."""
    weights = _resampling_weights(tuple(part.sizes for part in parts), draws, seed)
    found = {}
    for scheme in _SCHEMES:
        drawn = [part.resampled(scheme, weight) for part, weight in zip(parts, weights, strict=True)]
        values = evaluate(quantity, dict(zip(arms, _over_strata(drawn, parts), strict=True)))
        finite = values[np.isfinite(values)]
        # A ratio whose divisor is often zero, or a few cells that are seldom drawn: the spread of the rest would look
        # too small.
        found[scheme] = float(finite.var(ddof=1)) if len(finite) > 0.95 * len(values) else inf
    return found


def _over_strata(means: Sequence[np.ndarray], parts: Sequence[_Stratum]) -> np.ndarray:
    """Means over strata (arm, ...), each over those in which the arm has a trial."""
    has = np.array([~np.isnan(part.means).all(axis=1) for part in parts])  # (stratum, arm)
    found = np.array(means)
    has = has.reshape(has.shape + (1,) * (found.ndim - 2))
    return np.where(has, found, 0).sum(axis=0) / has.sum(axis=0)
