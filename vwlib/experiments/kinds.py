"""E1: does another kind of map carry learned words better than the paper's?"""

from __future__ import annotations

import pandas as pd

from vwlib.experiments.base import Case, Sources, lighter, trial_rows, uses, vectors_of
from vwlib.experiments.solutions import own_scores
from vwlib.maps import MAPS
from vwlib.models import load_model
from vwlib.settings import Profile
from vwlib.study.compat import carry
from vwlib.study.digest import trials_of
from vwlib.transfer import held_out_quality


def kinds_known(_: Profile) -> list[str]:
    """The kinds of map that there are; with another one the table is made again."""
    return list(MAPS)


@uses("grid", "test_images", "pictures")
def map_kinds(profile: Profile, case: Case, sources: Sources) -> pd.DataFrame:
    """E1: a grid of the study's unconstrained words, off the diagonal, carried by each kind of map and scored in the
    target.

    `map` names the kind; `value` is the word's score, `gain` that score less its anchor word's, the `floor`. The map's
    own quality stands beside: `r2` and `top1` of ordinary words held out from it, as `vwlib.transfer.held_out_quality`
    measures them.
    """
    source, target = case["source"], case["task"]
    here, there, fewer = load_model(source, profile), load_model(target, profile), lighter(profile)
    quality = {kind: held_out_quality(here, there, kind=kind)[["r2", "top1"]].mean() for kind in MAPS}
    tables = []
    for dataset in profile.study.datasets:
        words = sources.grid(source, dataset)
        if not words:
            continue
        trials = trials_of(words)
        anchors = there.word_table()[[there.vocabulary.token_of(trial.anchor) for trial in trials]][:, None]
        floor = own_scores(target, fewer, trials, anchors)
        for kind, found in quality.items():
            value = own_scores(target, fewer, trials, carry(profile, vectors_of(words), source, target, kind))
            of = {"trained_on": source, "evaluated_on": target, "map": kind, "r2": found["r2"], "top1": found["top1"]}
            tables.append(trial_rows(trials, **of, value=value, floor=floor, gain=value - floor))
    return pd.concat(tables, ignore_index=True)
