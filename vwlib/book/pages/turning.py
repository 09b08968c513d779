"""Where words turn from their anchor to their concept, in tables and in sentences, always beside a plain swap of two
real words.

Tables of several kinds of words come from `vwlib.book.pages.of_kinds`, or have its names in their column `kind`.
"""

from __future__ import annotations

from math import inf, isinf

import numpy as np
import pandas as pd

from vwlib.book.pages.layers import KINDS, REAL
from vwlib.book.pages.tables import span
from vwlib.layers import evenly_spaced, turning_point
from vwlib.ledger.estimate import Estimate
from vwlib.ledger.statistics import two_way_clustered_estimate, slope_estimate
from vwlib.models import TASKS

#: Section 5.2: the layers that the paper shows; it finds words grouped by anchor at all of them but the last, where
#: they are grouped by concept.
PAPER_LAYERS = {"generation": (1, 8, 16, 24), "detection": (1, 4, 8, 12), "classification": (1, 4, 8, 12)}
LEARNED, TRANSFERRED = KINDS["learned"], KINDS["transferred"]
#: The columns that hold a word's turn, and what a turn there is.
TURNS = {
    "crossing": "score higher for their concept than for their anchor",
    "probe": "pass with the probe for their concept rather than their anchor",
    "half": "go half as far towards their concept as they ever do",
}


def later_than_real(turns: pd.DataFrame, task: str, kind: str = LEARNED, column: str = "crossing") -> Estimate:
    """Claim 43: of the words of a kind that turn, the share that do so later than the concept's real word in the same
    anchor's place, ties counting half.

    A word that never turns acts at no layer and is left out; a real word that never does is later than any that does.
    Raises ValueError where no word turns in a place where there is a real one too.
    """
    return two_way_clustered_estimate(_turned(turns, task, kind, column), "words - real", measure=column, sign_test=True)


def _turned(turns: pd.DataFrame, task: str, kind: str, column: str) -> dict[str, pd.DataFrame]:
    own = turns[turns["task"] == task]
    words, real = own[own["kind"] == kind].dropna(subset=[column]), own[own["kind"] == REAL]
    return {"words": words, "real": real.assign(**{column: real[column].fillna(own["depth"].max() + 1)})}


def turn_table(turns: pd.DataFrame, column: str = "crossing") -> pd.DataFrame:
    """For each task and kind of words: the layer by which half of them have turned, the share that never turn, and of
    the others that later than real words.

    Those that turn at the same layer count half; beside it stand the share without them and theirs.
    """
    rows = []
    for task in [task for task in TASKS if task in set(turns["task"])]:
        own = turns[turns["task"] == task]
        for kind, words in own.groupby("kind", sort=False):
            later = "–"
            if kind != REAL and words[column].notna().any():
                found = later_than_real(turns, task, kind, column)
                later = f"{found.value:.0%}\u00a0({_percent(*found.interval())}; {found.strict:.0%} strictly, {found.ties:.0%} tie)"
            rows.append(
                (
                    task,
                    kind,
                    len(words),
                    own["depth"].max(),
                    _place(_median(words[column])),
                    f"{words[column].isna().mean():.0%}",
                    later,
                )
            )
    columns = ["encoder of", "words", "number", "blocks", "half have turned at", "never turn", "later than real words"]
    return pd.DataFrame(rows, columns=columns)


def part_table(parts: pd.DataFrame) -> pd.DataFrame:
    """B2: which share of the way to the concept attention and MLPs have taken words, and both together; `parts` is the
    table of `ways_by_part`.
    """
    rows = []
    for task in [task for task in TASKS if task in set(parts["task"])]:
        for kind, words in parts[parts["task"] == task].groupby("kind", sort=False):
            arms = dict(tuple(words.groupby("part")))
            found = [two_way_clustered_estimate(arms, quantity) for quantity in ("attention", "MLP", "attention + MLP")]
            rows.append((task, kind, *(f"{one.value:.2f}\u00a0({span(*one.interval())})" for one in found)))
    return pd.DataFrame(rows, columns=["encoder of", "words", "by attention", "by MLPs", "the whole way"])


def turn_sentence(turns: pd.DataFrame, task: str, column: str = "crossing") -> str:
    """Whether the learned words of a task act late, and whether plain real words act as late: what the finding of
    figure 7 is about.

    `column` is one of `TURNS`.
    """
    own = turns[turns["task"] == task]
    depth = int(own["depth"].max())
    learned, real = (_median(own.loc[own["kind"] == kind, column]) for kind in (LEARNED, REAL))
    told = f"In the {task} encoder, of {depth} blocks, {_reached('learned words', learned, TURNS[column])}, and {_reached('real words', real, 'do')}"
    turned = int(own.loc[own["kind"] == LEARNED, column].notna().sum())
    if not turned:
        return f"{told}. No learned word does, so that there is no layer at which one acts."
    found = later_than_real(turns, task, LEARNED, column)
    low, high = found.interval()
    layers = two_way_clustered_estimate(_turned(turns, task, LEARNED, column), "words - real", measure=column).value
    told += (
        f"; of the {turned} learned words that do, {found.strict:.0%} are later than the real word in the same place and {found.ties:.0%} turn at the "
        f"same layer (with these counted half {found.value:.0%}, {_percent(low, high)}), in the mean by {layers:+.1f} layers."
    )
    if isinf(real):
        return f"{told} Most real words never do, so this measure cannot tell where in this encoder a word acts."
    clearly = (
        "Learned words act later than real ones here."
        if low > 0.5
        else "Learned words act earlier than real ones here."
        if high < 0.5
        else ""
    )
    return " ".join([told, clearly or "That is no clear difference.", _swap_sentence(real, depth)])


def _swap_sentence(real: float, depth: int) -> str:
    if real > depth / 2:
        return "A plain swap of two real words acts in the second half of the blocks too: to act late is what this encoder does with any word."
    return "A plain swap of two real words acts in the first half of the blocks."


def never_sentence(turns: pd.DataFrame, task: str) -> str:
    """Claim 46, figure 18: how many of the words mapped into an encoder never turn, beside those learned there and real
    ones.
    """
    own = turns[turns["task"] == task]
    never = own["crossing"].isna().groupby(own["kind"]).mean()
    parts = [
        f"{never[kind]:.0%} of the {name}"
        for kind, name in ((TRANSFERRED, "mapped words"), (LEARNED, "words learned there"), (REAL, "real words"))
    ]
    return f"In the {task} encoder {parts[0]} never turn to their concept at any number of blocks, {parts[1]} and {parts[2]}."


def agreement_sentence(agreement: pd.DataFrame, task: str) -> str:
    """Claims 44 and 47: whether the first and the last layer group learned words by anchor or by concept, and from
    which layer on real words group by concept.

    `agreement` is the table of `vwlib.layers.cluster_agreement` for one dataset.
    """
    leaning = agreement[(agreement["task"] == task) & (agreement["by"] == "concept - anchor")].sort_values("layer")
    learned = leaning[(leaning["kind"] == LEARNED) & (leaning["layer"] > 0)]
    first, last = (f"at layer {row.layer} {_grouped(row)}" for row in (learned.iloc[0], learned.iloc[-1]))
    real = leaning[(leaning["kind"] == REAL) & (leaning["layer"] > 0)]
    turn = turning_point(real["layer"].to_numpy(), (real["low"] > 0).to_numpy())
    real_words = (
        "Real words do not group by concept for sure at the last layer"
        if np.isnan(turn)
        else f"Real words group by concept from layer {turn:g} on"
    )
    return f"In the {task} encoder, learned words group {first}, and {last}. {real_words}."


def _grouped(row: pd.Series) -> str:
    return f"{_side(row)} (index by concept less index by anchor {row['ari']:.2f}, {span(row['low'], row['high'])})"


def _side(row: pd.Series) -> str:
    return "by anchor" if row["high"] < 0 else "by concept" if row["low"] > 0 else "by neither for sure"


def compare_layers(agreement: pd.DataFrame, layers: int = 4) -> pd.DataFrame:
    """Section 5.2: how words are grouped at evenly spaced layers, in the paper by eye and here by the interval of the
    difference of two indices.

    `agreement` is the table of `vwlib.layers.cluster_agreement` for one dataset.
    """
    rows = []
    for task, (*early, last) in PAPER_LAYERS.items():
        found = agreement[
            (agreement["task"] == task) & (agreement["kind"] == LEARNED) & (agreement["by"] == "concept - anchor")
        ].set_index("layer")
        if len(found):
            here = [f"{layer}: {_side(found.loc[layer])}" for layer in evenly_spaced(int(found.index.max()), layers)]
            rows.append((task, f"{', '.join(map(str, early))}: by anchor; {last}: by concept", "; ".join(here)))
    return pd.DataFrame(rows, columns=["encoder of", "paper, at layers", "here, at layers"])


def truncation_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Claim 45: mean scores of anchor and concept with half of the blocks and with all of them, with crossed intervals
    over all datasets.

    `scores` is the table of `vwlib.layers.truncation_scores`; words whose anchor is their concept's own are left out.
    """
    off = scores[scores["concept"] != scores["anchor_concept"]]
    rows = []
    for task in [task for task in TASKS if task in set(off["task"])]:
        counts = np.sort(off.loc[off["task"] == task, "blocks"].unique())
        half, whole = counts[(counts > 0) & (counts <= counts[-1] / 2)][-1:], counts[-1:]
        for kind, words in off[off["task"] == task].groupby("kind", sort=False):
            cells = [
                _mean(words[words["blocks"].isin(stage) & (words["of"] == of)])
                for stage in (half, whole)
                for of in ("anchor", "concept")
            ]
            rows.append((task, kind, *cells))
    return pd.DataFrame(
        rows, columns=["encoder of", "words", "half: anchor", "half: concept", "all: anchor", "all: concept"]
    )


def _mean(words: pd.DataFrame) -> str:
    if words.empty:
        return "–"
    found = two_way_clustered_estimate({"words": words}, "words", limits=(0, 1))
    return f"{found.value:.2f}\u00a0({span(*found.interval())})"


def disagreement_sentence(words: pd.DataFrame, task: str) -> str:
    """Claim 48: whether the score of a task's words in other models falls with the disagreement of first and last layer
    about them.

    `words` is the experiment's table `disagreement`.
    """
    own = words[words["task"] == task]
    told = f"Of {len(own):,} {task} words"
    try:
        slope = slope_estimate(own, "disagreement", within=("dataset", "delta"))
    except ValueError as error:
        return f"{told} there is no slope to be had: {error}"
    low, high = slope.interval()
    way = "falls" if high < 0 else "rises" if low > 0 else "neither falls nor rises for sure"
    return f"{told}, the score in the other models {way} with the disagreement, all else alike: by {slope.value:+.2f} a unit ({span(low, high)})."


def _median(turns: pd.Series) -> float:
    return float(
        turns.fillna(inf).sort_values().iloc[(len(turns) - 1) // 2]
    )  # the layer by which half of them have turned; infinite for never


def _place(median: float) -> str:
    return "never" if isinf(median) else f"{median:g}"


def _reached(words: str, median: float, what: str) -> str:
    return f"most {words} never {what}" if isinf(median) else f"half of the {words} {what} by layer {median:g}"


def _percent(low: float, high: float) -> str:
    return f"{low:.0%}\u00a0to\u00a0{high:.0%}"
