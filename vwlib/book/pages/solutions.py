"""What the tables of the experiments say of the solutions near an anchor, of how they are learned, and of what they
hold, in sentences.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from vwlib.book.pages.tables import span
from vwlib.ledger.estimate import Estimate
from vwlib.ledger.statistics import two_way_clustered_estimate, slope_estimate
from vwlib.models import TASKS
from vwlib.trials import is_diagonal


def sweep_sentence(table: pd.DataFrame, task: str) -> str:
    """Claim 54: how much the score still rises in the second half of the steps, at the task's own learning rate;
    `table` is that of `rates`.
    """
    own = table[(table["task"] == task) & (table["factor"] == 1)].dropna(subset=["value"])
    counts = np.sort(own["steps"].unique())
    half = counts[counts <= counts[-1] / 2][-1] if (counts <= counts[-1] / 2).any() else counts[0]
    arms = {"half": own[own["steps"] == half], "all": own[own["steps"] == counts[-1]]}
    rise = two_way_clustered_estimate(arms, "all - half", limits=(0, 1))
    means = {name: rows["value"].mean() for name, rows in arms.items()}
    return (
        f"{task.capitalize()} words score {means['half']:.2f} after {half} steps and {means['all']:.2f} after {counts[-1]}, "
        f"a change of {_signed(rise)}{_failed(table, task)}."
    )


def _failed(table: pd.DataFrame, task: str) -> str:
    lost = table[(table["task"] == task) & table["value"].isna()]
    if lost.empty:
        return ""
    rates = ", ".join(f"{factor:g}" for factor in sorted(lost["factor"].unique()))
    return f"; {len(lost)} scores are missing, where words diverged at {rates} times that rate"


#: The kinds of random offsets in the table `perturbations`, in words.
RANDOM = {
    "random": "in any direction",
    "random, vocabulary": "that vary as the vocabulary does",
    "random, word": "towards another word",
}


def random_sentence(table: pd.DataFrame, task: str, delta: float) -> str:
    """B4, control K5: how often the output is still the anchor's, for learned words and for random offsets as long;
    `table` is that of `perturbations`.
    """
    own = table[(table["task"] == task) & (table["delta"] == delta)]
    learned = own[own["kind"] == "optimised"]
    told = []
    for kind, what in RANDOM.items():
        random = own[own["kind"] == kind]
        if len(learned) and len(random):
            more = two_way_clustered_estimate(
                {"random": random, "optimised": learned}, "random - optimised", measure="kept", limits=(0, 1)
            )
            told.append(f"{random['kept'].mean():.0%} of those {what} (a difference of {_signed(more)})")
    if not told:
        return f"There are no {task} words within δ = {delta:g} to compare."
    return (
        f"In {task}, the output is still the anchor's for {learned['kept'].mean():.0%} of the learned words within δ = {delta:g}; of random offsets as long, "
        f"for {'; '.join(told)}."
    )


def reach_table(table: pd.DataFrame) -> pd.DataFrame:
    """B4: mean cosine with a random direction of the encoder's output, of the anchor and of what learning reaches
    within each radius.
    """
    rows = []
    for task in [task for task in TASKS if task in set(table["task"])]:
        own = table[table["task"] == task]
        reached = own.groupby(own["delta"].map("δ = {:g}".format).where(own["delta"].notna(), "free"), sort=False)[
            "cosine"
        ].mean()
        rows.append({"encoder of": task, "anchor": own["start"].mean(), **reached})
    return pd.DataFrame(rows)


def segment_sentence(table: pd.DataFrame, task: str) -> str:
    """Claim 39: whether the score dips half way between two solutions, on the straight way and on the curve; `table` is
    that of `segments`.
    """
    own = table[table["task"] == task]
    arms = {kind: own[own["kind"] == kind] for kind in ("ends", "middle")}
    if any(rows.empty for rows in arms.values()):
        return f"There are no two {task} words that do their concept to go between."
    dip = two_way_clustered_estimate(arms, "ends - middle", limits=(0, 1), pairs=True)
    ends, middle = (rows.set_index(["dataset", "concept", "anchor"])["value"] for rows in arms.values())
    lost = (ends - middle > 0.1).mean()
    ways = "the better of both ways" if (own["kind"] == "curve").any() else "the straight way"
    return (
        f"Half way between two {task} words of one concept the score on {ways} is {middle.mean():.2f}, at the ends {ends.mean():.2f}: "
        f"a dip of {_signed(dip)}. Of the {len(ends)} pairs {lost:.0%} lose more than 0.1."
    )


def likeness_sentence(table: pd.DataFrame) -> str:
    """Claim 40: whether words from two anchors draw the same picture from the same noise; `table` is that of
    `likeness`.
    """
    arms = {kind.split()[0]: rows for kind, rows in table.groupby("kind")}
    if not arms:
        return "There are no two words of one concept from different anchors whose pictures could be compared."
    more = two_way_clustered_estimate(arms, "same - other", measure="cosine", pairs=True)
    means = {kind: rows["cosine"].mean() for kind, rows in arms.items()}
    return (
        f"Pictures that two anchors' words draw of one concept have a mean cosine of {means['same']:.2f} from the same noise and of {means['other']:.2f} "
        f"from different noises, in the judge's features: a difference of {_signed(more)}."
    )


def agreement_of_boxes(table: pd.DataFrame) -> str:
    """Claim 41: whether words from two anchors find the same boxes, beside the anchors themselves; `table` is that of
    `agreement`.
    """
    arms = dict(tuple(table.groupby("kind")))
    if not arms:
        return "There are no two words of one concept from different anchors whose boxes could be compared."
    more = two_way_clustered_estimate(arms, "learned - anchors", measure="agrees", limits=(0, 1), pairs=True)
    means = {kind: rows["agrees"].mean() for kind, rows in arms.items()}
    return (
        f"The best boxes of two anchors' words for one concept overlap by half or more in {means['learned']:.0%} of its test images, those of the two anchors "
        f"themselves in {means['anchors']:.0%}: a difference of {_signed(more)}."
    )


def instance_sentence(table: pd.DataFrame) -> str:
    """Claim 21: whether pictures drawn with a word for one instance are nearest to it among five of its category;
    `table` is that of `instances`.
    """
    if table.empty:
        return "There are no instances of one category to tell apart: the miniature can draw them, photographs of them are not at hand."
    found = two_way_clustered_estimate({"found": table}, "found", measure="found", limits=(0, 1))
    low, high = found.interval()
    return f"Of pictures drawn with words learned for one instance, {found.value:.0%} ({low:.0%}\u00a0to\u00a0{high:.0%}) are nearest to it among its category's."


def spread_sentence(table: pd.DataFrame) -> str:
    """E3: whether scores vary more with the training images than with the anchor; `table` is that of `spreads`."""
    arms = {kind: table[table["kind"] == kind] for kind in ("data", "start")}
    found = {kind: rows["spread"].mean() for kind, rows in arms.items()}
    more = two_way_clustered_estimate(arms, "data - start", measure="spread")
    return (
        f"The scores' standard deviation is {found['data']:.3f} over resampled training images and {found['start']:.3f} over anchors, "
        f"a difference of {more.value:+.3f} ({' to '.join(f'{end:+.3f}' for end in more.interval())})."
    )


def offset_sentence(table: pd.DataFrame) -> str:
    """Section 1: whether two models learn the same of a concept, and the control K2, two trainings of one model;
    `table` is that of `offsets`.
    """
    across = two_way_clustered_estimate({"cosine": table[table["kind"] == "models"]}, "cosine", measure="cosine", limits=(-1, 1))
    told = f"Between two models the mean cosine is {_signed(across)}"
    seeds = table[table["kind"] == "seeds"]
    if seeds.empty:
        return f"{told}. The second training of the classifier, with which to compare, is not here; `vwlib pretrain classifier_twin` makes it."
    within = two_way_clustered_estimate({"cosine": seeds}, "cosine", measure="cosine", limits=(-1, 1))
    return f"{told}; between two trainings of one model it is {_signed(within)}."


def compound_sentence(table: pd.DataFrame, task: str) -> str:
    """B3: what a compound's parts leave unexplained of its word; `table` is that of `compounds`."""
    own = table[table["task"] == task]
    if own.empty:
        return f"In {task} there are no compounds: drawings can be tinted, photographs cannot."
    learned, real = (own[own["kind"] == kind] for kind in ("learned", "held-out"))
    parts, best, others = learned["residual"].mean(), learned["best"].mean(), real["residual"].mean()
    return (
        f"In {task}, its two parts leave {parts:.0%} of a compound's learned word unexplained, the best two words {best:.0%}; of a part's own word the "
        f"best two others leave {others:.0%}. The compounds' mean score on their task is {learned['value'].mean():.2f}."
    )


def frequency_sentence(table: pd.DataFrame, world: str) -> str:
    """Claim 22: how the gain of carried words changes with how often captions name the thing; `table` is that of
    `frequency`.

    Off the diagonal. Nouns of one dataset are about as frequent as each other, so that this is in effect a comparison
    of the frequent with the rare ones.
    """
    try:
        slope = slope_estimate(table[~is_diagonal(table, world)], "frequency", "gain")
    except ValueError as error:
        return f"There is no slope to be had: {error}"
    low, high = slope.interval()
    way = "rises" if low > 0 else "falls" if high < 0 else "neither rises nor falls for sure"
    things = table["concept"].nunique()
    return (
        f"Over {things} things, the gain {way} with how often captions name them: by {slope.value:+.2f} for each tenfold ({span(low, high)}), "
        "as between frequent and rare nouns."
    )


def _signed(found: Estimate) -> str:
    low, high = found.interval()
    return f"{found.value:+.2f} ({low:+.2f}\u00a0to\u00a0{high:+.2f})"
