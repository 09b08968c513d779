"""What the experiments find about solutions: what can be reached, what lies between two of them, and compounds."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from vwlib.book.figures.style import tasks_in
from vwlib.book.pages.experiments import claim_table
from vwlib.ledger.estimate import Estimate

#: What pages call the arms of claim 49: words with random offsets of three kinds, and learned words.
OFFSET_ARMS = {"isotropic": "random", "vocabulary": "random", "word": "random", "optimised": "learned"}


def reach_table(table: pd.DataFrame) -> pd.DataFrame:
    """Mean cosine of the text feature with a random direction: the anchor's, and what learning reaches in each radius.

    `table` is that of the experiment `reach`.
    """
    radius = table["delta"].map("δ = {:g}".format).where(table["delta"].notna(), "free")
    rows = []
    for task in tasks_in(table):
        own = table["task"] == task
        reached = table[own].groupby(radius[own], sort=False)["cosine"].mean()
        rows.append({"encoder of": task, "anchor": table.loc[own, "start"].mean(), **reached})
    return pd.DataFrame(rows)


def segment_table(table: pd.DataFrame, cases: Mapping[str, Estimate]) -> pd.DataFrame:
    """Claim 39: mean scores of pairs of solutions and half way between them, and the share that lose more than 0.1.

    `table` is that of the experiment `segments`, `cases` what the ledger finds in it. Half way is the better of the
    straight line and, where there is one, the curve.
    """
    shares = claim_table(cases, "lose more than 0.1", "words for", ".0%").rename(columns={"trials": "pairs"})
    means = table.groupby(["task", "kind"])["value"].mean().unstack().reindex(columns=["ends", "middle"])
    return shares.join(means.rename(columns={"middle": "half way"}), on="words for")


def compound_table(table: pd.DataFrame, cases: Mapping[str, Estimate]) -> pd.DataFrame:
    """Claim 28: the share of a compound's word that its parts, or the best two words, leave unexplained.

    `table` is that of the experiment `compounds`, `cases` what the ledger finds in it.
    """
    names = {"learned": "by its two parts", "real": "a part's word by the best two others"}
    columns = {"best": "by the best two words", "value": "score of the compounds"}
    learned = table[table["kind"] == "learned"].reindex(columns=["task", *columns]).groupby("task").mean()
    claim = claim_table(cases, "difference", "words for", arms=names)
    return claim.join(learned.rename(columns=columns), on="words for")
