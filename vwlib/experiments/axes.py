"""Scores of words along other axes: how far a ball reaches towards the concept's own word, and drawing styles."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from pydantic import PositiveFloat

from vwlib.concepts import TASKS, concepts_of
from vwlib.experiments.base import EACH, Case, Cases, Experiment, Size, Sources, per
from vwlib.experiments.displacements import radii as study_radii
from vwlib.experiments.words import (
    grid_trials,
    images_of,
    off_diagonal,
    trial_rows,
    values_of,
    vectors_of,
    with_features,
)
from vwlib.lab import Lab
from vwlib.learn import radii
from vwlib.ledger.schemas import TRIAL, TableSchema
from vwlib.miniature.scenes import HELD_OUT_STYLE
from vwlib.settings import Profile
from vwlib.study.digest import trials_of
from vwlib.study.store import FRESH, TRIALS
from vwlib.trials import Trial


def ways(lab: Lab, case: Case, sources: Sources) -> Iterator[pd.DataFrame]:
    """How far a ball of delta reaches on the way from the anchor to the concept's word (a second axis for figure 6).

    `share` is the ball's radius over the distance of the two words: from 1 on the ball holds the concept's own word.
    `value` is the score on the word's own task, off the diagonal. The study's words have its deltas; a small grid of
    the detector's and the classifier's is learned here at the `wider` ones.
    """
    task, dataset = case["task"], case["dataset"]
    table = sources.trials[(sources.trials[["trained_on", "evaluated_on"]] == task).all(axis=1)]
    value_of = table.set_index("word_id")["value"]
    for delta in study_radii(lab.profile):
        words = sources.words(task, dataset, delta)
        scores = dict(zip(trials_of(words), (value_of[word.word_id] for word in words), strict=True))
        trials = off_diagonal(lab.profile, list(scores))
        yield _on_the_way(lab, task, trials, np.array([scores[trial] for trial in trials], float))
    if task != "generation":
        grid = grid_trials(lab.profile, dataset, sources.sizes.grid[task])
        trials = [replace(trial, delta=delta) for delta in sources.sizes.wider for trial in grid]
        learned = lab.learn(task, trials, progress=False).vectors
        yield _on_the_way(lab, task, trials, values_of(lab, task, learned, trials))


def _on_the_way(lab: Lab, task: str, trials: list[Trial], values: np.ndarray) -> pd.DataFrame:
    """Scores beside the share of the way that each trial's ball reaches; missing for unconstrained words."""
    model = lab.model(task)
    own = {(c.dataset, c.name): c.anchor for t in trials for c in concepts_of(t.dataset, lab.profile.world)}
    anchors = model.embeddings_of([trial.anchor for trial in trials])[:, 0]
    goals = model.embeddings_of([own[trial.dataset, trial.concept] for trial in trials])[:, 0]
    share = (radii(model, trials) / (goals - anchors).norm(dim=-1)).double().numpy()
    return trial_rows(trials, task=task, share=np.where(np.isinf(share), np.nan, share), value=values)


def style_cases(profile: Profile) -> Cases:
    """The models that are scored on test images, with every dataset of every grid; photographs have no style."""
    cases = per("task", "dataset", fresh=True)(profile) if profile.world == "miniature" else []
    return [case for case in cases if case["task"] != "generation"]


def styles(lab: Lab, case: Case, sources: Sources) -> Iterator[pd.DataFrame]:
    """Scores on test images of the drawing style that no training saw, and on the others.

    `style` is "held out" or "seen", on whose images alone an unconstrained word is scored; `trained_on` is a task,
    "anchor" or "name". A DreamBooth subject has one style in all images.
    """
    task, dataset = case["task"], case["dataset"]
    features = lab.features(task, dataset, "test")
    held_out = np.array([example.style == HELD_OUT_STYLE for example in lab.split(dataset).test])
    for style, chosen in (("held out", held_out), ("seen", ~held_out)):
        own = images_of(features, np.flatnonzero(chosen).tolist())
        part = with_features(lab, task, dataset, own, "test")
        for source in TASKS:
            words = [word for word in sources.words(source, dataset) if word.concept in own.concepts]
            if not words:
                continue
            trials, vectors = trials_of(words), lab.transfer(vectors_of(words), source, task)
            value = values_of(part, task, vectors, trials)
            yield trial_rows(trials, trained_on=source, evaluated_on=task, style=style, value=value)
            if source == task:
                found = pd.DataFrame(part.reference_rows(task, trials)).astype({"delta": float})
                yield found[[*TRIAL, "trained_on", "evaluated_on", "value"]].assign(style=style)


_WIDER = Size("wider", tuple[PositiveFloat, ...], (1.5, 2.0, 3.0), (2.0,), "deltas beyond the study's")
_REACHED = TableSchema("how far a ball reaches to the concept's word", (*TRIAL, "task", "share", "value"), ("value",))
_STYLES = TableSchema("scores by drawing style", (*TRIAL, "trained_on", "evaluated_on", "style", "value"), ("value",))
WAYS = Experiment("ways", ways, EACH, (TRIALS,), ("grid",), (_WIDER,), _REACHED)
BY_STYLE = Experiment("styles", styles, style_cases, (TRIALS, FRESH), schema=_STYLES)
