"""An estimate with its interval and p values, and the expressions of means that are estimated."""

import ast
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import inf, isfinite, nan
from types import CodeType

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """A quantity with its standard error `se`, `df` degrees of freedom, `n` trials, and the limits of what it can be.

    `centre` is where its interval and tests stand, for a mean of scores nearer to the middle than the value
    (`vwlib.ledger.statistics.two_way_clustered_estimate`). Where nothing varies, nothing follows.
    """

    value: float
    se: float
    df: float
    n: int
    low: float = -inf
    high: float = inf
    centre: float | None = None  #: where not given, the value
    means: Mapping[str, float] = field(default_factory=dict)  #: of the arms, on the cells that they share

    @property
    def middle(self) -> float:
        """Where its interval stands."""
        return self.value if self.centre is None else self.centre

    def interval(self) -> tuple[float, float]:
        """The 95 % interval of Student's t, within the limits; the limits themselves where nothing is known."""
        if not self._known:
            return self.low, self.high
        reach = float(stats.t.ppf(0.975, self.df)) * self.se
        return max(self.middle - reach, self.low), min(self.middle + reach, self.high)

    def p_above(self, bound: float) -> float:
        """One-sided p value of the null hypothesis that the quantity is at most `bound`; 1 where nothing is known."""
        return float(stats.t.sf((self.middle - bound) / self.se, self.df)) if self._known else 1.0

    def p_below(self, bound: float) -> float:
        """One-sided p value of the null hypothesis that the quantity is at least `bound`; 1 where nothing is known."""
        turned = replace(self, value=-self.value, centre=-self.middle, low=-self.high, high=-self.low)
        return turned.p_above(-bound)

    def p_within(self, low: float, high: float) -> float:
        """Two one-sided tests: p value of the null hypothesis that the quantity is not between `low` and `high`."""
        return max(self.p_above(low), self.p_below(high))

    def p_outside(self, low: float, high: float) -> float:
        """P value of the null hypothesis that the quantity is between `low` and `high`; the clearer side counts."""
        return min(self.p_below(low), self.p_above(high))

    def detectable(self) -> float:
        """How far beyond a bound a true value is found nine times in ten by the 95 % interval; NaN without spread."""
        return float((stats.t.ppf(0.975, self.df) + stats.norm.ppf(0.9)) * self.se) if self._known else nan

    @property
    def _known(self) -> bool:
        varies = 1e-9 < self.se < inf  # rounding leaves some
        return isfinite(self.value) and varies and self.df >= 1


@lru_cache(maxsize=256)
def names_in(expression: str) -> frozenset[str]:
    """The names in an arithmetic expression, such as the arms of "mapped - floor". Raises ValueError where it is no
    expression, and where it holds more than names, numbers and + - * /.
    """
    allowed = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.Name, ast.Constant, ast.Load)
    try:
        nodes = list(ast.walk(ast.parse(expression, mode="eval")))
    except SyntaxError:
        raise ValueError(f"'{expression}' is no expression") from None
    if not all(isinstance(node, allowed) for node in nodes):
        raise ValueError(f"'{expression}' may only add, subtract, multiply and divide arms")
    return frozenset(node.id for node in nodes if isinstance(node, ast.Name))


@lru_cache(maxsize=256)
def _compiled(expression: str) -> CodeType:
    names_in(expression)  # nothing but arithmetic is evaluated
    return compile(expression, "<quantity>", "eval")


def evaluate(quantity: str, means: Mapping[str, float | np.ndarray]) -> np.ndarray:
    """An expression such as "mapped - floor" of arms' means or resampled means; division by zero is no error."""
    arrays = {name: np.atleast_1d(np.asarray(mean, float)) for name, mean in means.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(eval(_compiled(quantity), {"__builtins__": {}}, arrays), float)


def limits_of(quantity: str, arms: Sequence[str], low: float, high: float) -> tuple[float, float]:
    """The smallest and largest value of an expression whose arms lie in [low, high]; infinite where it divides by what
    may be zero. Sums and products of distinct arms take their extremes where each arm does.
    """
    if not (isfinite(low) and isfinite(high)):
        return -inf, inf
    corners = np.array(list(itertools.product((low, high), repeat=len(arms)))).T
    values = evaluate(quantity, dict(zip(arms, corners, strict=True)))
    return (float(values.min()), float(values.max())) if np.isfinite(values).all() else (-inf, inf)
