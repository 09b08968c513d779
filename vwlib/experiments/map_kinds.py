"""Does another kind of map transfer learned words better than the paper's?"""

from __future__ import annotations

import pandas as pd

from vwlib.experiments.base import Experiment, ExperimentCase, Sources, per
from vwlib.experiments.map_quality import held_out_quality
from vwlib.experiments.words import trial_rows, values_of, vectors_of
from vwlib.lab import Lab
from vwlib.maps import MAPS
from vwlib.settings import Profile
from vwlib.study.digest import trials_of
from vwlib.study.tables import TRIALS


def known_kinds(_: Profile) -> list[str]:
    """The kinds of map that there are; with another one the table is made again."""
    return list(MAPS)


def compute(lab: Lab, case: ExperimentCase, sources: Sources) -> pd.DataFrame:
    """A grid of the study's unconstrained words, off the diagonal, transferred by each kind of map.

    `map` names the kind; `value` is the word's score in the target, `gain` that score less its anchor word's, the
    `floor`. `r2` and `top1` are the map's own `held_out_quality` on held-out words.
    """
    source, target, few = case["source"], case["task"], sources.reduced(lab)
    models = lab.model(source), lab.model(target)
    quality = {kind: held_out_quality(*models, kind=kind)[["r2", "top1"]].mean() for kind in MAPS}
    tables = []
    for dataset in lab.profile.study.datasets:
        words = sources.grid(source, dataset)
        if not words:
            continue
        trials = trials_of(words)
        floor = values_of(few, target, models[1].embeddings_of([t.anchor for t in trials]), trials)
        for kind, found in quality.items():
            value = values_of(few, target, lab.transfer(vectors_of(words), source, target, kind), trials)
            of = {"trained_on": source, "evaluated_on": target, "map": kind, "r2": found["r2"], "top1": found["top1"]}
            tables.append(trial_rows(trials, **of, value=value, floor=floor, gain=value - floor))
    return pd.concat(tables, ignore_index=True)


MAP_KINDS = Experiment(
    "map_kinds",
    "Words transferred by other kinds of map than the paper's.",
    compute,
    per("source", "task"),
    needs=(TRIALS,),
    shared=("grid", "test_images", "pictures"),
    inputs=known_kinds,
)
