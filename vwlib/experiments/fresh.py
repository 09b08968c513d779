"""The fresh concepts: 120 nouns on which nothing was chosen, in twelve groups of ten, drawn once by a rule.

Candidates are the nouns of the language that share no name with one of the forty concepts. In an order
drawn from `SEED` each goes to the first group that has room, fewer than two nouns of its category, and none that shares
a name with it. A concept's anchors are the next three of its group, the first coming after the last.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from vwlib.concepts import DATASETS, FRESH, concepts_of
from vwlib.miniature import WORLD
from vwlib.miniature.world import unrelated_nouns
from vwlib.paths import MINIATURE

SEED, SIZE, ANCHORS, OF_CATEGORY = 18, 10, 3, 2
FILE = MINIATURE / "fresh.csv"


def draw_fresh() -> pd.DataFrame:
    """The table in `FILE`: columns `group`, `layout`, `noun`, `label` (in the files of its layout), `anchors`."""
    forty = [concept.prompt_name for dataset in DATASETS for concept in concepts_of(dataset, "miniature")]
    candidates = unrelated_nouns(forty)
    candidates = candidates[[not _share_a_name(noun, forty) for noun in candidates["noun"]]]
    groups: dict[str, list[Any]] = {group: [] for group in FRESH}
    for row in candidates.iloc[np.random.default_rng(SEED).permutation(len(candidates))].itertuples():
        members = next((members for members in groups.values() if len(members) < SIZE and _fits(row, members)), None)
        if members is not None:
            members.append(row)
    rows = []
    for number, (group, members) in enumerate(groups.items(), 1):
        nouns = [member.noun for member in members]
        for place, noun in enumerate(nouns):
            label = f"n9998{number:02d}{place:02d}" if FRESH[group] == "ImageNet" else noun
            anchors = [nouns[(place + step) % SIZE] for step in range(1, ANCHORS + 1)]
            rows.append((group, FRESH[group], noun, label, " ".join(anchors)))
    return pd.DataFrame(rows, columns=["group", "layout", "noun", "label", "anchors"])


def _fits(row: Any, members: Sequence[Any]) -> bool:
    named = _share_a_name(row.noun, [one.noun for one in members])
    return not named and sum(one.category == row.category for one in members) < OF_CATEGORY


def _share_a_name(noun: str, others: Sequence[str]) -> bool:
    kin = WORLD["kin"]
    return any(noun in kin.get(other, ()) or other in kin.get(noun, ()) for other in others)


if __name__ == "__main__":  # python -m vwlib.experiments.fresh, for maintainers
    draw_fresh().to_csv(FILE, index=False)
