"""What the experiments find about solutions: how they are learned, what lies between them, and what they hold.

Tables take the ledger's verdicts (`judged`) and read the quantities that it judges from there.
"""

from __future__ import annotations

import pandas as pd

from vwlib.book.figures.style import tasks_in
from vwlib.book.pages.experiments import claim_texts

#: The kinds of random offsets in the table `perturbations`, as claim 49 calls them.
RANDOM = {
    "random": "in any direction",
    "random, vocabulary": "in a direction of the vocabulary",
    "random, word": "towards a word",
}
#: The radius at which claim 49 compares them with learned words.
RANDOM_RADIUS = 0.5


def sweep_table(rates: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    """Claim 54: each task's score after the last number of steps and after the one before, at its own learning rate.

    `rates` is the table of that experiment; words that diverged have no value in it.
    """
    changes, rows = claim_texts(judged, 54, "+.3f"), []
    for task in tasks_in(rates):
        words = rates[rates["task"] == task]
        means = words[words["factor"] == 1].groupby("steps")["value"].mean()
        before, last = means.index[-2:][0], means.index[-1]
        diverged = words[words["value"].isna()]
        at = ", ".join(f"{factor:g}" for factor in sorted(diverged["factor"].unique()))
        rows.append(
            {
                "words for": task,
                "score before": f"{means[before]:.2f} after {before} steps",
                "score at the end": f"{means[last]:.2f} after {last} steps",
                "change (claim 54)": changes[task],
                "scores missing": f"{len(diverged)} at {at} times the rate" if len(diverged) else "none",
            }
        )
    return pd.DataFrame(rows)


def random_table(table: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    """Claim 49, control K5: how often the output is still the anchor's, for random offsets and for learned words.

    `table` is that of the experiment `perturbations`. Offsets have the lengths of those of the learned words within
    `RANDOM_RADIUS`.
    """
    near, more, rows = table[table["delta"] == RANDOM_RADIUS], claim_texts(judged, 49, "+.2f"), []
    for task in tasks_in(near):
        kept = near[near["task"] == task].groupby("kind")["kept"].mean()
        rows += [
            (task, name, f"{kept[kind]:.0%}", f"{kept['optimised']:.0%}", more[f"{task}, {name}"])
            for kind, name in RANDOM.items()
            if kind in kept
        ]
    columns = ["words for", "random offsets", "anchor's output", "of learned words", "difference (claim 49)"]
    return pd.DataFrame(rows, columns=columns)


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


def segment_table(table: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    """Claim 39: scores of two solutions and half way between them, and the share of pairs that lose more than 0.1.

    `table` is that of the experiment `segments`. Half way is the better of the straight line and the curve.
    """
    shares, rows = claim_texts(judged, 39, ".0%"), []
    for task in tasks_in(table):
        means = table[table["task"] == task].groupby("kind")["value"].agg(["mean", "size"])
        ends, middle = (f"{means.loc[kind, 'mean']:.2f}" for kind in ("ends", "middle"))
        paths = "line or curve" if "curve" in means.index else "line"
        rows.append((task, paths, means.loc["ends", "size"], ends, middle, shares[task]))
    columns = ["words for", "path", "pairs", "score at the ends", "half way", "lose more than 0.1 (claim 39)"]
    return pd.DataFrame(rows, columns=columns)


def likeness_table(likeness: pd.DataFrame, agreement: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    """Claims 40 and 41: whether two anchors' words for one concept draw the same pictures and find the same boxes.

    The arguments are the tables of the experiments of these names. Each mean stands beside what it is compared with.
    """
    compared = [
        ("pictures, same noise and other noise", "cosine", likeness, ("same noise", "other noise"), 40, ""),
        (
            "best boxes, words and their anchors",
            "agrees",
            agreement,
            ("learned", "anchors"),
            41,
            "more than the anchors",
        ),
    ]
    rows = []
    for name, measure, table, kinds, claim, case in compared:
        means = table.groupby("kind")[measure].mean().reindex(kinds)
        rows.append((name, *means, claim_texts(judged, claim, "+.2f").get(case, "–")))
    return pd.DataFrame(rows, columns=["compared", "first", "second", "difference (claims 40 and 41)"])


def compound_table(table: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    """Claim 28: the share of a compound's word that its parts, or the best two words, leave unexplained.

    `table` is that of the experiment `compounds`; "held-out" are the parts' own words, from the best two others.
    """
    differences, rows = claim_texts(judged, 28, "+.2f"), []
    for task in tasks_in(table):
        means = table[table["task"] == task].groupby("kind")[["residual", "best", "value"]].mean()
        learned, real = means.loc["learned"], means.loc["held-out"]
        rows.append((task, learned["residual"], learned["best"], real["residual"], differences[task], learned["value"]))
    columns = ["words for", "by its two parts", "by the best two words", "a part's word by the best two others"]
    return pd.DataFrame(rows, columns=[*columns, "parts less that (claim 28)", "score of the compounds"])
