"""The estimators, and the tests by which the claims are judged.

Trials of a grid share concepts and anchors, so means are estimated by `two_way_clustered_estimate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf, nan
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from vwlib.ledger.estimate import Estimate, evaluate, limits_of, names_in
from vwlib.ledger.schemas import PAIR_SEPARATOR

#: How many cases of a claim must hold.
QUANTIFIERS = ("all", "most", "half", "any")


def two_way_clustered_estimate(
    arms: Mapping[str, pd.DataFrame],
    quantity: str,
    units: Sequence[str] = ("concept", "anchor"),
    stratum: str | None = "dataset",
    measure: str | Mapping[str, str] = "value",
    paired_arms: Sequence[Sequence[str]] = (),
    share: str = "",
    limits: tuple[float, float] = (-inf, inf),
    pairs: bool = False,
) -> Estimate:
    """Estimate an expression of the means of several arms, each a table of trials with columns `units`, `stratum` and
    `measure` (a column, or one for each arm).

    Trials of one cell (a value of each unit) are averaged first; then cells, then strata. Arms of a group of
    `paired_arms` (by default one group of all) are compared on the cells and strata that they share. With a `share` the
    quantity is that of the cells ("words") or of the first unit's values ("concepts") in which the expression is above
    zero; a tie is not above. `limits` are those of one trial's measure.

    Cells that share a first unit, such as a concept, are not independent, whatever their stratum, nor are those that
    share a second one: the variance is that of both clusterings less that of cells (Cameron, Gelbach and Miller 2011),
    of the quantity made linear in the arms' means. With `pairs` a value of the second unit names two anchors, such as
    "car and dog"; its variance is then that of leaving out one anchor after the other, with all its pairs (jackknife).

    A mean within limits is not symmetric near them, and a few concepts seldom show how far others can lie. Its interval
    is that of the concepts and two more, one at each limit, as Agresti and Coull (1998) do for a share of trials, and
    so is that of a difference that is the same throughout. `benchmarks/coverage.py` measures how often it holds.

    Raises ValueError for a name in `quantity` that is no arm, and where an arm has no trial, or none that it shares
    with the others.
    """
    if unknown := names_in(quantity) - set(arms):
        raise ValueError(f"'{quantity}' names '{min(unknown)}', which is no arm.")
    names, cells = list(arms), _cells_of(arms, units, stratum, measure)
    for group in paired_arms or [names]:
        members = np.isin(names, group)
        shared = ~np.isnan(cells.means[members]).any(axis=0)
        if not shared.any():
            raise ValueError(f"The arms {', '.join(group)} have no trial in common.")
        cells.means[np.ix_(members, ~shared)] = nan
    trials = int((cells.counts * ~np.isnan(cells.means)).sum(axis=1).min())
    if share:
        cells = cells.of_rows() if share == "concepts" else cells
        found = evaluate(quantity, dict(zip(names, cells.means, strict=True)))
        cells = cells._replace(means=np.where(np.isnan(found), nan, found > 0)[None])
        names, quantity, limits = ["above"], "above", (0.0, 1.0)
    cells = cells.chosen(~np.isnan(cells.means).all(axis=0))
    means, variance, df = _variances(names, cells, quantity, pairs)
    value, limits = float(evaluate(quantity, means)[0]), limits_of(quantity, names, *limits)
    se = float(np.sqrt(max(variance["crossed"], variance["cells"]))) if df else inf
    estimate = Estimate(value, se, df, trials, *limits, None, means)
    careful = (len(names) == 1 or se < 1e-9) and df and np.isfinite(limits).all()
    return _with_two_more(estimate, len(np.unique(cells.rows))) if careful else estimate


def _with_two_more(mean: Estimate, n: int) -> Estimate:
    """The estimate of a mean of `n` independent units with two more, one at each limit."""
    low, high = mean.low, mean.high
    centre = (n * mean.value + low + high) / (n + 2)
    squares = mean.se**2 * n * (n - 1) + n * (mean.value - centre) ** 2 + (low - centre) ** 2 + (high - centre) ** 2
    return replace(mean, centre=centre, se=float(np.sqrt(squares / ((n + 2) * (n + 1)))), df=mean.df + 2)


def over_trainings(estimates: Sequence[Estimate]) -> Estimate:
    """One estimate of a quantity that was measured on several trainings of a model, whose interval holds for others.

    The trainings share their trials, so the squared standard errors are averaged; to them comes the variance between
    trainings, over their number. Degrees of freedom are Satterthwaite's. Raises ValueError for fewer than two.
    """
    if len(estimates) < 2:
        raise ValueError("One training says nothing of others; two are needed.")
    values = np.array([estimate.value for estimate in estimates])
    within = float(np.mean([estimate.se**2 for estimate in estimates]))
    between, first = float(values.var(ddof=1)) / len(values), estimates[0]
    parts = (within**2 / min(estimate.df for estimate in estimates), between**2 / (len(values) - 1))
    df = (within + between) ** 2 / sum(parts) if sum(parts) else 0
    n, middle = sum(estimate.n for estimate in estimates), float(np.mean([one.middle for one in estimates]))
    return Estimate(float(values.mean()), float(np.sqrt(within + between)), df, n, first.low, first.high, middle)


def mean_estimate(
    table: pd.DataFrame, measure: str = "value", limits: tuple[float, float] = (0, 1), pairs: bool = False
) -> Estimate:
    """`two_way_clustered_estimate` of the mean of a grid's shares or scores."""
    return two_way_clustered_estimate({"mean": table}, "mean", measure=measure, limits=limits, pairs=pairs)


def design_effect(table: pd.DataFrame, measure: str = "value") -> float:
    """Claim 53: how much larger the variance of a grid's mean is than if its trials were independent; NaN if all equal.

    `table` has columns `concept`, `anchor` and `measure`. The expected value is 1 for independent trials.
    """
    cells = _cells_of({"mean": table}, ("concept", "anchor"), None, measure)
    _, variance, _ = _variances(["mean"], cells, "mean", pairs=False)
    return variance["crossed"] / variance["cells"] if variance["cells"] > 1e-18 else nan


def mean_interval(values: ArrayLike) -> tuple[float, float, float]:
    """Mean and 95 % t interval of independent values, as (mean, low, high).

    The paper takes the trials of a grid for independent. Only what is set beside the paper's own intervals, or what
    truly is independent, is estimated so. The interval of equal values is the mean itself, but where all are 0 or all
    are 1 it is Clopper and Pearson's. Raises ValueError where there is no value.
    """
    found = np.asarray(values, float)
    if not len(found):
        raise ValueError("There is no value to average.")
    mean = float(found.mean())
    if np.ptp(found) == 0:
        missed = 1 - 0.025 ** (1 / len(found))
        return mean, mean - missed * (mean == 1), mean + missed * (mean == 0)
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
    """The cells of all arms."""

    strata: np.ndarray  #: (cell,) the number of its stratum
    rows: np.ndarray  #: (cell,) the number of its first unit, the same in every stratum
    columns: np.ndarray  #: (cell,) its second unit, the same for all where there is one unit only
    means: np.ndarray  #: (arm, cell), NaN where an arm has no trial
    counts: np.ndarray  #: (arm, cell) trials

    def chosen(self, which: np.ndarray) -> _Cells:
        """Some of the cells."""
        return _Cells(*(part[..., which] for part in self))

    def of_rows(self) -> _Cells:
        """The means of each stratum's first units, as cells."""
        known, cell = np.unique(self.strata * (self.rows.max() + 1) + self.rows, return_inverse=True)
        there, first = ~np.isnan(self.means), np.unique(cell, return_index=True)[1]
        total, count = (
            np.array([np.bincount(cell, weights, len(known)) for weights in part])
            for part in (np.where(there, self.means, 0), there)
        )
        with np.errstate(invalid="ignore"):
            return _Cells(self.strata[first], self.rows[first], np.zeros(len(known)), total / count, count)


def _cells_of(
    arms: Mapping[str, pd.DataFrame], units: Sequence[str], stratum: str | None, measure: str | Mapping[str, str]
) -> _Cells:
    parts: list[list[np.ndarray]] = []
    for number, (name, table) in enumerate(arms.items()):
        value = table[measure if isinstance(measure, str) else measure[name]].to_numpy(float)
        keys = [table[stratum].to_numpy() if stratum else np.full(len(table), "all"), *(table[u] for u in units)]
        there = ~np.isnan(value)
        if not there.any():
            raise ValueError(f"There is no trial for '{name}'.")
        parts.append([np.asarray(key)[there] for key in (*keys, value, np.full(len(table), number))])
    *keys, values, arm = (np.concatenate(part) for part in zip(*parts, strict=True))
    codes, labels = zip(*(pd.factorize(key, sort=True) for key in keys), strict=True)
    shape = [len(label) for label in labels]
    known, cell = np.unique(np.ravel_multi_index(codes, shape), return_inverse=True)
    counts, totals = (
        np.bincount(arm * len(known) + cell, weights, len(arms) * len(known)).reshape(len(arms), -1)
        for weights in (None, values)
    )
    with np.errstate(invalid="ignore"):
        means = totals / counts
    strata, rows, *columns = np.unravel_index(known, shape)
    return _Cells(strata, rows, labels[2][columns[0]] if columns else np.zeros(len(known)), means, counts)


def _variances(
    names: Sequence[str], cells: _Cells, quantity: str, pairs: bool
) -> tuple[dict[str, float], dict[str, float], int]:
    """The arms' means; the quantity's variance with cells as independent ("cells") and clustered both ways ("crossed");
    and its degrees of freedom, in each stratum those of rows or columns (for pairs, of anchors), whichever are fewer.
    """
    there, strata = ~np.isnan(cells.means), cells.strata
    sums, counts = (
        np.array([np.bincount(strata, weights) for weights in part])
        for part in (np.where(there, cells.means, 0), there)
    )
    with np.errstate(invalid="ignore"):
        within = sums / counts  # (arm, stratum)
    means = dict(zip(names, np.nanmean(within, axis=1).tolist(), strict=True))  # over the strata that an arm has
    effect = np.zeros(len(strata))  # what each cell adds to the quantity, beside what its stratum's mean does
    for name, values, mean, count in zip(names, cells.means, within, counts, strict=True):
        ends = [evaluate(quantity, means | {name: means[name] + step})[0] for step in (1e-5, -1e-5)]
        if not np.isfinite(ends).all():  # it divides by nothing
            return means, {"cells": inf, "crossed": inf}, 0
        weight = (ends[0] - ends[1]) / 2e-5 / (count > 0).sum()
        effect += np.nan_to_num((values - mean[strata]) / np.maximum(count, 1)[strata]) * weight
    rows, columns = cells.rows, pd.factorize(cells.columns)[0]

    def squares(labels: np.ndarray) -> float:
        """The sum over clusters of squared effects; each stratum's are enlarged for how few clusters it has."""
        known = _distinct(strata, labels)[strata]
        return float((np.bincount(labels, effect * np.sqrt(known / np.maximum(known - 1, 1))) ** 2).sum())

    found, sizes = {"cells": squares(np.arange(len(strata))), "crossed": squares(rows)}, [_distinct(strata, rows)]
    if columns.any():
        added, size = _jackknife(effect, cells) if pairs else (squares(columns), _distinct(strata, columns))
        found["crossed"] += added - found["cells"]
        sizes.append(size)
    fewest = np.where(np.array(sizes) > 1, sizes, np.inf).min(axis=0)
    df, concepts = int(fewest[np.isfinite(fewest)].sum() - np.isfinite(fewest).sum()), len(np.unique(rows))
    return means, found, min(df, concepts - 1) if concepts > 1 else df


def _distinct(strata: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many labels each stratum has."""
    return np.bincount(
        np.unique(strata * (labels.max() + 1) + labels) // (labels.max() + 1), minlength=strata.max() + 1
    )


def _jackknife(effect: np.ndarray, cells: _Cells) -> tuple[float, np.ndarray]:
    """The variance of leaving out one anchor after the other, with all its pairs, and each stratum's anchors."""
    variance, sizes = 0.0, np.ones(cells.strata.max() + 1, int)
    for stratum in np.unique(cells.strata):
        own = cells.strata == stratum
        ends = [set(name.split(PAIR_SEPARATOR)) for name in cells.columns[own]]
        anchors = sorted(set().union(*ends))
        kept = np.array([[anchor not in pair for pair in ends] for anchor in anchors], float)
        if kept.any(axis=1).all():
            sizes[stratum] = len(anchors)
            left = kept @ effect[own] * own.sum() / kept.sum(axis=1)
            variance += (1 - 1 / len(anchors)) * float(((left - left.mean()) ** 2).sum())
    return variance, sizes
