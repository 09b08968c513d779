"""The layers at which words flip from their anchor to their concept, always beside the real-word baseline.

Tables hold several kinds of words in their column `kind`, named as `vwlib.book.pages.layers.KINDS` says.
"""

from math import inf, isinf

import numpy as np
import pandas as pd

from vwlib.book.figures.style import tasks_in
from vwlib.book.pages.layers import KINDS, REAL
from vwlib.book.pages.tables import estimated, with_interval
from vwlib.experiments.layer_statistics import evenly_spaced
from vwlib.ledger.statistics import mean_estimate, two_way_clustered_estimate, verdict

LEARNED = KINDS["learned"]


def flip_table(flips: pd.DataFrame, column: str = "crossing") -> pd.DataFrame:
    """Where words flip: for each task and kind the layer by which half of them have, and the share that never do.

    Of the others, how many flip later than the real word in the same anchor's place (a tie is not later), and how many
    layers later on average. `column` holds the flip's layer: "crossing", "probe" or "half".
    """
    rows = []
    for task in tasks_in(flips):
        here = flips[flips["task"] == task]
        for kind, words in here.groupby("kind", sort=False):
            median = words[column].fillna(inf).sort_values().iloc[(len(words) - 1) // 2]
            half = "never" if isinf(median) else f"{median:g} of {here['depth'].max()}"
            never = f"{words[column].isna().mean():.0%}"
            rows.append((task, kind, len(words), half, never, *_beside_real_words(here, kind, column)))
    columns = ["encoder of", "words", "number", "half have flipped by layer", "never flip"]
    columns += ["flip later than real words", "flip at the same layer", "layers later", "so they flip"]
    return pd.DataFrame(rows, columns=columns)


def _beside_real_words(flips: pd.DataFrame, kind: str, column: str) -> tuple[str, ...]:
    arms = {name: flips[flips["kind"] == chosen] for name, chosen in (("words", kind), ("real", REAL))}
    if kind == REAL or any(rows[column].isna().all() for rows in arms.values()):
        return ("–",) * 4
    later, earlier = (
        two_way_clustered_estimate(arms, quantity, measure=column, share="words")
        for quantity in ("words - real", "real - words")
    )
    layers = two_way_clustered_estimate(arms, "words - real", measure=column)
    neither = "not clearly earlier or later"
    otherwise = verdict(earlier, "earlier", neither, neither, zero=0.5)
    when = verdict(later, "later", otherwise, otherwise, zero=0.5)
    return estimated(later, ".0%"), f"{1 - later.value - earlier.value:.0%}", f"{layers.value:+.1f}", when


def part_table(contributions: pd.DataFrame) -> pd.DataFrame:
    """What attention and MLPs contribute to the concept's direction, from the table of `vwlib.book.pages.layers`."""
    rows = []
    for task in tasks_in(contributions):
        for kind, words in contributions[contributions["task"] == task].groupby("kind", sort=False):
            arms = dict(tuple(words.groupby("part")))
            sums = (two_way_clustered_estimate(arms, quantity) for quantity in ("attention", "MLP", "attention + MLP"))
            rows.append((task, kind, *map(estimated, sums)))
    return pd.DataFrame(rows, columns=["encoder of", "words", "by attention", "by MLPs", "both"])


def grouping_table(agreement: pd.DataFrame, layers: int = 4) -> pd.DataFrame:
    """Section 5.2: what evenly spaced layers group words by, in the paper and here: `cluster_agreement` of one dataset.

    The 95 % interval of the index by concept less that by anchor decides.
    """
    differences, rows = agreement[agreement["by"] == "concept - anchor"], []
    for task in tasks_in(differences):
        here = differences[differences["task"] == task]
        learned, real = (here[here["kind"] == kind].set_index("layer") for kind in (LEARNED, REAL))
        last = int(learned.index.max())
        for layer in evenly_spaced(last, layers):
            paper = "by concept" if layer == last else "by anchor"
            row = learned.loc[layer]
            index = with_interval(row["ari"], row["low"], row["high"], "+.2f")
            rows.append((task, layer, paper, _side(row), index, _side(real.loc[layer])))
    columns = ["encoder of", "layer", "in the paper", "here", "concept less anchor", "real words"]
    return pd.DataFrame(rows, columns=columns)


def _side(row: pd.Series) -> str:
    return "by anchor" if row["high"] < 0 else "by concept" if row["low"] > 0 else "neither clearly"


def truncation_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Claim 45: mean scores with half and all of the blocks, off the diagonal (`truncation_scores`)."""
    off, rows = scores[scores["concept"] != scores["anchor_concept"]], []
    for task in tasks_in(off):
        here = off[off["task"] == task]
        counts = np.sort(here["blocks"].unique())
        half = counts[(counts > 0) & (counts <= counts[-1] / 2)][-1:]
        for kind, words in here.groupby("kind", sort=False):
            stages = (words[words["blocks"].isin(stage)] for stage in (half, counts[-1:]))
            cells = (stage[stage["of"] == of] for stage in stages for of in ("anchor", "concept"))
            rows.append((task, kind, *(estimated(mean_estimate(cell)) if len(cell) else "–" for cell in cells)))
    columns = ["encoder of", "words", "half: anchor", "half: concept", "all: anchor", "all: concept"]
    return pd.DataFrame(rows, columns=columns)
