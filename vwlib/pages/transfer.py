"""A grid of trials: its summary, beside the paper's, and what it comes to."""

from __future__ import annotations

import pandas as pd

from vwlib.models import TASKS
from vwlib.pages.tables import span


def grid_table(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary of a grid for reading: a row for each target and source, with both intervals of the trials off the diagonal."""
    parts = {name: part.set_index(["evaluated_on", "trained_on"]) for name, part in summary.groupby("trials", sort=False)}
    off = parts["off-diagonal"].reindex(parts["all"].index)
    shown = {
        "all trials": parts["all"]["mean"],
        "off-diagonal": off["mean"],
        "interval, independent": [span(*row) for row in off[["low", "high"]].itertuples(index=False)],
        "interval, crossed": [span(*row) for row in off[["crossed_low", "crossed_high"]].itertuples(index=False)],
    }
    return pd.DataFrame(shown, index=parts["all"].index).rename_axis(["scored on", "learned for"])


def transfer_findings(summary: pd.DataFrame) -> dict[str, int | float | str]:
    """What the six transfers come to, in numbers and names for the text; `summary` is `summarise_grid`'s for one kind of trials.

    A transfer's gain is its mean minus the floor, the anchor word's mean in the target. `below_own` counts the transfers whose crossed
    interval ends below the mean of the target's own words, `above_floor` those whose interval begins above the floor.
    """
    cells = summary.set_index(["trained_on", "evaluated_on"])
    pairs = [(source, target) for target in TASKS for source in TASKS if source != target]
    gains = pd.Series({pair: cells.loc[pair, "mean"] - cells.loc[("anchor", pair[1]), "mean"] for pair in pairs})
    by_source = gains.groupby(level=0).mean().sort_values(ascending=False)
    best = gains.idxmax()
    return {
        "transfers": len(pairs),
        "below_own": sum(bool(cells.loc[pair, "crossed_high"] < cells.loc[(pair[1], pair[1]), "mean"]) for pair in pairs),
        "above_floor": sum(bool(cells.loc[pair, "crossed_low"] > cells.loc[("anchor", pair[1]), "mean"]) for pair in pairs),
        "best_source": best[0],
        "best_target": best[1],
        "best_mean": float(cells.loc[best, "mean"]),
        "best_floor": float(cells.loc[("anchor", best[1]), "mean"]),
        "best_own": float(cells.loc[(best[1], best[1]), "mean"]),
        "order": ", ".join(f"{source} ({gain:+.2f})" for source, gain in by_source.items()),
        "own_low": float(min(cells.loc[(task, task), "mean"] for task in TASKS)),
        "own_high": float(max(cells.loc[(task, task), "mean"] for task in TASKS)),
    }


def comparison_table(comparison: pd.DataFrame) -> pd.DataFrame:
    """The comparison of `vwlib.paper.beside_paper` for reading."""
    spans = {
        who: [f"{mean:.2f}\u00a0({span(low, high)})" for mean, low, high in comparison[[f"mean_{who}", f"low_{who}", f"high_{who}"]].itertuples(index=False)]
        for who in ("paper", "ours")
    }
    return pd.DataFrame(
        {
            "scored on": comparison["evaluated_on"],
            "learned for": comparison["trained_on"],
            "paper": spans["paper"],
            "here": spans["ours"],
            "difference": comparison["difference"].map("{:+.2f}".format),
            "holds the paper's mean": comparison["within"].map({True: "yes", False: "no"}),
        }
    )
