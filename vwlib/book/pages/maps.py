"""Kinds of transfer map: on held-out words, and on learned ones (E1)."""

from __future__ import annotations

import pandas as pd

from vwlib.book.pages.tables import span
from vwlib.ledger.statistics import holm, two_way_clustered_estimate
from vwlib.maps import PAPER_MAP

MARGIN = 0.1  # of a score: kinds whose words differ by less for sure carry them alike


def kind_table(quality: pd.DataFrame) -> pd.DataFrame:
    """For each kind of map the means over pairs of what `vwlib.transfer.quality_of_kinds` measures; how many pairs it
    explains better than the paper's.
    """
    columns = ["r2_fitted", "r2", "cosine", "top1", "top5"]
    pairs = quality.groupby(["map", "source", "target"], sort=False)[columns].mean()
    shown, better = pairs.groupby(level="map", sort=False).mean(), better_pairs(quality)
    return shown.assign(
        **{"pairs better than the paper's": [f"{better[kind]}" if kind in better else "" for kind in shown.index]}
    )


def better_pairs(quality: pd.DataFrame) -> pd.Series:
    """For each kind of map but the paper's, in how many pairs it explains more of the held-out words' variance."""
    r2 = quality.groupby(["source", "target", "map"], sort=False)["r2"].mean().unstack("map")
    return r2.drop(columns=PAPER_MAP).gt(r2[PAPER_MAP], axis=0).sum()


def kind_sentence(quality: pd.DataFrame) -> str:
    """Which kind of map explains held-out words best, and which finds them most often, beside the paper's; `quality` as
    in `kind_table`.
    """
    shown, pairs = kind_table(quality), quality[["source", "target"]].drop_duplicates().shape[0]
    best, finds = shown["r2"].idxmax(), shown["top1"].idxmax()
    beside = "" if finds == PAPER_MAP else f", where {PAPER_MAP} has {shown['top1'][PAPER_MAP]:.1%}"
    found = f"The right word is the nearest most often with {finds} ({shown['top1'][finds]:.1%}{beside})."
    if best == PAPER_MAP:
        return f"Over the {pairs} pairs no kind explains more of held-out words' variance than the paper's, {PAPER_MAP} ({shown['r2'][PAPER_MAP]:.2f}). {found}"
    told = (
        f"Over the {pairs} pairs {best} explains the largest share of held-out words' variance ({shown['r2'][best]:.2f}"
    )
    return f"{told}, where {PAPER_MAP} has {shown['r2'][PAPER_MAP]:.2f}), and more than {PAPER_MAP} in {better_pairs(quality)[best]} of them. {found}"


def compare_kinds(table: pd.DataFrame) -> pd.DataFrame:
    """E1: for each kind of map but the paper's, how much higher words score than the same words carried by the paper's,
    over all pairs.

    `table` is that of the experiment `map_kinds`. `difference` with its 95 % interval `low` to `high`; `p`, two-sided
    and corrected for the number of kinds (Holm); `alike`, whether the difference is for sure within `MARGIN`.
    """
    arms = {str(kind): rows for kind, rows in table.groupby("map", sort=False)}
    found = {
        kind: two_way_clustered_estimate({"kind": rows, "paper": arms[PAPER_MAP]}, "kind - paper", limits=(0, 1))
        for kind, rows in arms.items()
        if kind != PAPER_MAP
    }
    rows = [
        (e.value, *e.interval(), min(1.0, 2 * min(e.p_above(0), e.p_below(0))), e.p_within(-MARGIN, MARGIN) < 0.05)
        for e in found.values()
    ]
    compared = pd.DataFrame(rows, pd.Index(list(found), name="map"), ["difference", "low", "high", "p", "alike"])
    return compared.assign(p=holm(compared["p"].to_numpy()))


def gain_table(table: pd.DataFrame) -> pd.DataFrame:
    """E1 for reading: each kind of map's mean score and gain over the anchor word, beside `compare_kinds`."""
    shown = table.groupby("map", sort=False)[["r2", "value", "gain"]].mean()
    compared = compare_kinds(table)
    beside = pd.DataFrame(
        {
            f"less {PAPER_MAP}": compared["difference"].map("{:+.2f}".format),
            "interval": [span(*row) for row in compared[["low", "high"]].itertuples(index=False)],
            "p": compared["p"],
            f"alike within {MARGIN:g}": compared["alike"].map({True: "yes", False: "no"}),
        }
    )
    return shown.join(beside).rename(
        columns={"r2": "r2 of held-out words", "value": "score", "gain": "gain over the anchor"}
    )


def gain_sentence(table: pd.DataFrame) -> str:
    """E1: whether another kind of map carries learned words better than the paper's; `table` as in `compare_kinds`."""
    gains, compared = table.groupby("map", sort=False)["gain"].mean(), compare_kinds(table)
    words = len(table[["dataset", "concept", "anchor", "trained_on"]].drop_duplicates())
    low, high, clear = gains.idxmin(), gains.idxmax(), compared["p"] < 0.05
    better, worse = (int((clear & side).sum()) for side in (compared["difference"] > 0, compared["difference"] < 0))
    told = f"The {words} words gain {gains[PAPER_MAP]:+.2f} over their anchors in the two other models when carried by {PAPER_MAP}"
    told += f", and between {gains[low]:+.2f} ({low}) and {gains[high]:+.2f} ({high}) over all kinds."
    counts = f"{better} carry them clearly better than {PAPER_MAP}, {worse} clearly worse, and {int(compared['alike'].sum())} alike"
    return f"{told} Of the {len(compared)} other kinds, {counts} (within {MARGIN:g})."
