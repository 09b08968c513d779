"""Experiments that only look something up: the words that models share, and the study's run log."""

from __future__ import annotations

import pandas as pd

from vwlib.experiments.base import Case, Sources, uses
from vwlib.models import load_models
from vwlib.settings import Profile
from vwlib.study.plan import make_plan
from vwlib.transfer import ordered_pairs, shared_words

SECONDS_A_DAY = 24 * 60 * 60


@uses()
def vocabulary(profile: Profile, _: Case, __: Sources) -> pd.DataFrame:
    """Section 3: how many `entries` two models' vocabularies have in common, how many of these are `words`, and the
    dimensions `d` of the source's.
    """
    models = load_models(profile)
    rows = []
    for y, x in ordered_pairs(models):
        entries = models[y].vocabulary.entries.keys() & models[x].vocabulary.entries.keys()
        rows.append((y, x, len(entries), len(shared_words(models[y], models[x])), models[y].table.embedding_dim))
    return pd.DataFrame(rows, columns=["source", "target", "entries", "words", "d"])


@uses()
def timing(profile: Profile, _: Case, sources: Sources) -> pd.DataFrame:
    """Appendix D: the `days` that the study took in one process, from the run log; no row while the log lacks a chunk
    of it.
    """
    notes = sources.store.notes().drop_duplicates("chunk", keep="last")
    plan = {chunk.name for chunk in make_plan(profile)}
    notes = notes[notes["chunk"].isin(plan)]
    seconds = float(notes[["learning", "scoring"]].astype(float).to_numpy().sum())
    rows = [(seconds / SECONDS_A_DAY, len(notes))] if len(notes) == len(plan) else []
    return pd.DataFrame(rows, columns=["days", "chunks"]).astype({"days": float, "chunks": int})
