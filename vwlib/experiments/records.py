"""Experiments that only look into the study's own records: its scores beside how common a concept is, and its run log."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from vwlib.concepts import Concept, concepts_of
from vwlib.experiments.base import Case, Sources
from vwlib.miniature.captions import names_of
from vwlib.miniature.pool import noun_weights
from vwlib.miniature.sprites import Sprites, load_sprites
from vwlib.models import TASKS, load_classifier
from vwlib.plan import make_plan
from vwlib.profiles import Profile

SECONDS_A_DAY = 24 * 60 * 60


def name_frequency(sprites: Sprites) -> dict[str, float]:
    """The miniature's pretraining: the share of captions in which a word names the main object, for every name of every noun.

    Scenes draw nouns by `vwlib.miniature.pool.noun_weights`. A caption says the noun itself with probability 0.6, else any of its
    names alike (`vwlib.miniature.captions.describe`).
    """
    found: dict[str, float] = {}
    names = names_of(sprites)
    for noun, weight in zip(sprites.nouns, noun_weights(sprites.nouns), strict=True):
        for name in names[noun]:
            share = 0.4 / len(names[noun]) + (0.6 if name == noun else 0.0)
            found[name] = found.get(name, 0.0) + float(weight) * share
    return found


def log_frequencies(profile: Profile, concepts: Sequence[Concept]) -> dict[str, float]:
    """How common the concepts' names are in training, to base 10, by concept.

    The miniature's captions are known. Those of the paper's models are not: there the rank of the anchor's token in CLIP's vocabulary,
    which lists merges from the most to the least frequent, stands in (by Zipf's law frequency falls as one over the rank).
    """
    if profile.world == "miniature":
        known = name_frequency(load_sprites())
        return {c.name: float(np.log10(known[c.prompt_name])) for c in concepts}
    vocabulary = load_classifier(profile).vocabulary
    return {c.name: -float(np.log10(1 + vocabulary.token_of(c.anchor))) for c in concepts}


def frequency(profile: Profile, case: Case, sources: Sources) -> pd.DataFrame:
    """B10: `gain`, the score of unconstrained mapped words over their anchor's in the target, and the concept's log `frequency`."""
    table = sources.trials
    table = table[(table["dataset"] == case["dataset"]) & table["delta"].isna()]
    cell = ["dataset", "concept", "anchor", "evaluated_on"]
    floor = table[table["trained_on"] == "anchor"].set_index(cell)["value"].rename("floor")
    mapped = table[table["trained_on"].isin(TASKS) & (table["trained_on"] != table["evaluated_on"])].join(floor, on=cell)
    common = log_frequencies(profile, concepts_of(case["dataset"], profile.world))
    rows = mapped.assign(gain=mapped["value"] - mapped["floor"], frequency=mapped["concept"].map(common))
    return rows[["dataset", "concept", "anchor", "trained_on", "evaluated_on", "frequency", "gain"]].reset_index(drop=True)


def timing(profile: Profile, _: Case, sources: Sources) -> pd.DataFrame:
    """Appendix D: the `days` that the study took in one process, from the run log; no row while the log lacks a chunk of it."""
    notes = sources.store.notes().drop_duplicates("chunk", keep="last")
    plan = {chunk.name for chunk in make_plan(profile)}
    notes = notes[notes["chunk"].isin(plan)]
    seconds = float(notes[[column for column in ("seconds", "learning", "scoring") if column in notes]].astype(float).to_numpy().sum())
    rows = [(seconds / SECONDS_A_DAY, len(notes))] if len(notes) == len(plan) else []
    return pd.DataFrame(rows, columns=["days", "chunks"]).astype({"days": float, "chunks": int})
