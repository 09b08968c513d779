"""Kinds of transfer map: on held-out words, and on learned ones."""

from __future__ import annotations

import pandas as pd

from vwlib.book.pages.tables import span
from vwlib.ledger.claims import load_settings
from vwlib.ledger.judge import LEVEL
from vwlib.ledger.statistics import holm, two_way_clustered_estimate
from vwlib.maps import PAPER_MAP


def kind_table(quality: pd.DataFrame) -> pd.DataFrame:
    """For each kind of map the means over pairs of what `vwlib.experiments.map_quality.quality_of_kinds` measures, and
    how many pairs it explains better than the paper's.
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
    paper, rows = arms.pop(PAPER_MAP), {}
    for kind, words in arms.items():
        found = two_way_clustered_estimate({"kind": words, "paper": paper}, "kind - paper", limits=(0, 1))
        p = min(1.0, 2 * min(found.p_above(0), found.p_below(0)))
        rows[kind] = (found.value, *found.interval(), p, found.p_within(-margin, margin) < LEVEL)
    columns = ["difference", "low", "high", "p", "alike"]
    compared = pd.DataFrame(list(rows.values()), pd.Index(list(rows), name="map"), columns)
    return compared.assign(p=holm(compared["p"]))


def gain_table(table: pd.DataFrame, compared: pd.DataFrame) -> pd.DataFrame:
    """Each kind of map's mean score and gain over the anchor word for reading, beside `compare_kinds`."""
    shown = table.groupby("map", sort=False)[["r2", "value", "gain"]].mean()
    beside = {
        f"less {PAPER_MAP}": compared["difference"].map("{:+.2f}".format),
        "interval": [span(*row) for row in compared[["low", "high"]].itertuples(index=False)],
        "p": compared["p"],
        "alike": compared["alike"].map({True: "yes", False: "no"}),
    }
    names = {"r2": "r2 of held-out words", "value": "score", "gain": "gain over the anchor"}
    return shown.join(pd.DataFrame(beside)).rename(columns=names)
