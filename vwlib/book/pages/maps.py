"""Kinds of transfer map: on held-out words, and on learned ones."""

from __future__ import annotations

import pandas as pd

from vwlib.book.pages.tables import span
from vwlib.ledger.claims import load_settings
from vwlib.ledger.judge import LEVEL
from vwlib.ledger.statistics import holm, two_way_clustered_estimate
from vwlib.maps import PAPER_MAP


def kind_table(quality: pd.DataFrame) -> pd.DataFrame:
    """For each kind of map the means over pairs of what `vwlib.transfer.quality_of_kinds` measures; how many pairs it
    explains better than the paper's.
    """
    columns = ["r2_fitted", "r2", "cosine", "top1", "top5"]
    pairs = quality.groupby(["map", "source", "target"], sort=False)[columns].mean()
    r2 = pairs["r2"].unstack("map")
    better = r2.gt(r2[PAPER_MAP], axis=0).sum().astype(str)
    shown = pairs.groupby(level="map", sort=False).mean()
    return shown.assign(**{"pairs better than the paper's": better.where(better.index != PAPER_MAP, "")})


def compare_kinds(table: pd.DataFrame) -> pd.DataFrame:
    """For each kind of map but the paper's, how much higher words score than the same words mapped by the paper's, over
    all pairs.

    `table` is that of the experiment `map_kinds`. `difference` with its 95 % interval `low` to `high`; `p`, two-sided
    and corrected for the number of kinds (Holm); `alike`, whether the difference is for sure within the margin of
    `data/paper/claims.toml`.
    """
    margin, arms = load_settings().alike, {str(kind): rows for kind, rows in table.groupby("map", sort=False)}
    found = {
        kind: two_way_clustered_estimate({"kind": rows, "paper": arms[PAPER_MAP]}, "kind - paper", limits=(0, 1))
        for kind, rows in arms.items()
        if kind != PAPER_MAP
    }
    rows = [
        (e.value, *e.interval(), min(1.0, 2 * min(e.p_above(0), e.p_below(0))), e.p_within(-margin, margin) < LEVEL)
        for e in found.values()
    ]
    compared = pd.DataFrame(rows, pd.Index(list(found), name="map"), ["difference", "low", "high", "p", "alike"])
    return compared.assign(p=holm(compared["p"]))


def gain_table(table: pd.DataFrame, compared: pd.DataFrame) -> pd.DataFrame:
    """Each kind of map's mean score and gain over the anchor word for reading, beside `compare_kinds`."""
    shown = table.groupby("map", sort=False)[["r2", "value", "gain"]].mean()
    beside = pd.DataFrame(
        {
            f"less {PAPER_MAP}": compared["difference"].map("{:+.2f}".format),
            "interval": [span(*row) for row in compared[["low", "high"]].itertuples(index=False)],
            "p": compared["p"],
            "alike": compared["alike"].map({True: "yes", False: "no"}),
        }
    )
    names = {"r2": "r2 of held-out words", "value": "score", "gain": "gain over the anchor"}
    return shown.join(beside).rename(columns=names)
