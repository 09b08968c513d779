"""How often 95 % intervals of mean scores hold the truth, near 0 and 1 too: `python benchmarks/coverage.py`.

Scores are shares of a word's 50 test images. The logit of a trial's true score is that of all concepts, plus a part of
its concept (standard deviation 2), of its anchor (0.3) and of its own (0.5): ten concepts from ten anchors each, and
120 from three. `concepts` 0 or 1 alone: every concept's words either work or fail, which no logit describes.

Candidates, all from the ledger's clustered standard error: Student's t; t on the logit; Wilson's interval with as many
trials as have that error; the same with at most three for each concept; and the ledger's own, with a concept more at
each limit. The ledger's own is the simplest that holds the truth in at least 93 % everywhere.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import expit, logit

from vwlib.ledger.estimate import Estimate
from vwlib.ledger.statistics import mean_estimate

DRAWS, IMAGES = 400, 50
SPREADS = (2.0, 0.5, 0.3)  # of concepts, trials and anchors, as logits
CENTRES = (-5, -3, 0, 3, 5)  # the logit of all concepts
TABLE = Path(__file__).with_name("coverage.csv")


def trials(rng: np.random.Generator, concepts: int, anchors: int, centre: float, all_or_none: bool) -> pd.DataFrame:
    """A table of trials; with three anchors each concept has its own."""
    shape = (concepts, anchors)
    of_anchor = rng.normal(0, SPREADS[2], (1 if anchors > 3 else concepts, anchors))
    of_concept = rng.normal(0, SPREADS[0], (concepts, 1))
    chance = expit(centre + of_concept + of_anchor + rng.normal(0, SPREADS[1], shape))
    value = rng.binomial(IMAGES, chance) / IMAGES
    if all_or_none:
        value = np.broadcast_to((rng.random((concepts, 1)) < truth(centre)).astype(float), shape)
    c, a = np.indices(shape)
    names = a if anchors > 3 else c * anchors + a
    return pd.DataFrame({"dataset": "all", "concept": c.ravel(), "anchor": names.ravel(), "value": value.ravel()})


def truth(centre: float) -> float:
    """The mean over all concepts, by Gauss and Hermite's quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(101)
    return float(weights @ expit(centre + np.hypot.reduce(SPREADS) * nodes) / weights.sum())


def wilson(found: Estimate, most: float) -> tuple[float, float]:
    """Wilson's interval of as many trials as have the error, at most `most`."""
    m, z = found.value, stats.t.ppf(0.975, found.df)
    n = max(1.0, min(most, m * (1 - m) / max(found.se, 1e-9) ** 2))
    middle, reach = (m + z**2 / (2 * n)) / (1 + z**2 / n), z * np.sqrt(m * (1 - m) / n + z**2 / (4 * n**2))
    return middle - reach / (1 + z**2 / n), middle + reach / (1 + z**2 / n)


def intervals(table: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Every candidate's interval of one table."""
    plain, ledger = mean_estimate(table, limits=(-np.inf, np.inf)), mean_estimate(table)
    m = np.clip(plain.value, 1e-6, 1 - 1e-6)
    reach = stats.t.ppf(0.975, plain.df) * plain.se
    on_logit = tuple(expit(logit(m) + sign * reach / (m * (1 - m))) for sign in (-1, 1))
    few = wilson(plain, 3 * table["concept"].nunique())
    return {
        "t": (plain.value - reach, plain.value + reach),
        "t on the logit": on_logit,
        "Wilson": wilson(plain, np.inf),
        "Wilson, three a concept": few,
        "ledger": ledger.interval(),
    }


def main() -> None:
    """Measure and write the table."""
    rng, rows = np.random.default_rng(0), []
    for concepts, anchors in ((10, 10), (120, 3)):
        for centre in CENTRES:
            for all_or_none in (False, True):
                found = [intervals(trials(rng, concepts, anchors, centre, all_or_none)) for _ in range(DRAWS)]
                for method in found[0]:
                    low, high = np.array([one[method] for one in found]).T
                    held = ((low <= truth(centre)) & (truth(centre) <= high)).mean()
                    width = (high.clip(0, 1) - low.clip(0, 1)).mean()
                    kind = "0 or 1" if all_or_none else "logits"
                    rows.append((concepts, anchors, kind, truth(centre), method, held, width))
    columns = ["concepts", "anchors", "scores", "mean", "method", "coverage", "width"]
    table = pd.DataFrame(rows, columns=columns).round(3)
    table.to_csv(TABLE, index=False)
    print(table.groupby("method", sort=False)["coverage"].min().rename("lowest coverage"))


if __name__ == "__main__":
    main()
