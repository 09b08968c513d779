"""Experiments on word tables alone: where learned and mapped words lie, and how well maps carry words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch.nn.functional as F
from torch import Tensor

from vwlib.controls import twin_of
from vwlib.experiments.base import Case, Sources, trial_rows, uses, vectors_of
from vwlib.learn import ball_radius
from vwlib.models import TASKS, TaskModel, load_model, load_models
from vwlib.models.loading import digest_folder
from vwlib.settings import Profile
from vwlib.study.compat import carry, learn
from vwlib.study.digest import trials_of
from vwlib.transfer import fit_transfer, nearest_words, ordered_pairs, quality_of_all
from vwlib.trials import Trial


def every_delta(profile: Profile) -> list[float | None]:
    """Unconstrained, and every delta of the study."""
    return [None, *profile.study.deltas]


@uses()
def displacements(profile: Profile, case: Case, sources: Sources) -> pd.DataFrame:
    """Section 6, figure 5: `displacement_table` of all the study's words."""
    tables = []
    for delta in every_delta(profile):
        words = sources.words(case["task"], case["dataset"], delta)
        if words:
            tables.append(displacement_table(load_model(case["task"], profile), trials_of(words), vectors_of(words)))
    return pd.concat(tables, ignore_index=True)


@uses()
def mapped_displacements(profile: Profile, case: Case, sources: Sources) -> pd.DataFrame:
    """Section 1: the same of the words that equation 3 moves to another model, against the same anchor there."""
    tables = []
    for delta in every_delta(profile):
        words = sources.words(case["source"], case["dataset"], delta)
        if words:
            mapped = carry(profile, vectors_of(words), case["source"], case["task"])
            tables.append(displacement_table(load_model(case["task"], profile), trials_of(words), mapped))
    return (
        pd.concat(tables, ignore_index=True).rename(columns={"task": "evaluated_on"}).assign(trained_on=case["source"])
    )


def displacement_table(model: TaskModel, trials: Sequence[Trial], vectors: Tensor) -> pd.DataFrame:
    """The distance of each vector of each word (word, vector, d) from its anchor, and the word nearest to it.

    One row per vector; `distance` is in units of delta, the anchor's distance to its nearest other word.
    """
    table, known = model.word_table(), model.vocabulary.words()
    rows = []
    for trial, word in zip(trials, vectors, strict=True):
        anchor = model.vocabulary.token_of(trial.anchor)
        ids = sorted({*known.values(), anchor})
        unit = ball_radius(table[ids], ids.index(anchor), 1.0)
        for number, (vector, nearest) in enumerate(zip(word, nearest_words(word, model, 1), strict=True), 1):
            distance = float((vector - table[anchor]).norm()) / unit
            of = (model.task, trial.dataset, trial.concept, trial.anchor, trial.delta, trial.seed, number)
            rows.append((*of, distance, nearest[0], nearest[0] == trial.anchor))
    columns = ["task", "dataset", "concept", "anchor", "delta", "seed", "vector", "distance", "nearest", "is_anchor"]
    return pd.DataFrame(rows, columns=columns).astype({"delta": float})


@uses()
def maps(profile: Profile, _: Case, __: Sources) -> pd.DataFrame:
    """Section 3.1: `vwlib.transfer.quality_of_all`, words that the maps were not fitted on."""
    return quality_of_all(load_models(profile))


def twin_weights(profile: Profile) -> str | None:
    """A digest of the classifier's other training (control K2); None where there is none."""
    twin = twin_of(profile)
    return digest_folder(twin.classifier.source) if twin else None


@uses("grid")
def offsets(profile: Profile, case: Case, sources: Sources) -> pd.DataFrame:
    """Section 1: cosine of what two models learned for a concept from one anchor, the offset of one mapped into the
    other.

    `kind` "models": two of the three tasks' models, all of the study's unconstrained words. "seeds": the classifier and
    its other training (control K2), whose words are learned here; without it there are no such rows.
    """
    if case["kind"] == "seeds":
        return _seed_cosines(profile, case["dataset"], sources)
    words = {task: {(w.concept, w.anchor): w for w in sources.words(task, case["dataset"])} for task in TASKS}
    tables = []
    for source, target in ordered_pairs(load_models(profile)):
        both = [key for key in words[source] if key in words[target]]
        one, other = [words[source][key] for key in both], [words[target][key] for key in both]
        trials = trials_of(one)
        mapped = carry(profile, offsets_of(source, profile, trials, vectors_of(one)), source, target)
        cosines = cosines_of(mapped, offsets_of(target, profile, trials, vectors_of(other)))
        tables.append(trial_rows(trials, kind="models", source=source, target=target, cosine=cosines))
    return pd.concat(tables, ignore_index=True)


def offset_cases(profile: Profile) -> list[dict[str, str]]:
    """The datasets, between models and, where there is a second training of the classifier, between seeds."""
    return [
        {"kind": kind, "dataset": dataset}
        for kind in ("models", *["seeds"] * (twin_of(profile) is not None))
        for dataset in profile.study.datasets
    ]


def _seed_cosines(profile: Profile, dataset: str, sources: Sources) -> pd.DataFrame:
    task, twin = "classification", twin_of(profile)
    assert twin is not None
    words = sources.grid(task, dataset)
    trials = trials_of(words)
    own = offsets_of(task, profile, trials, vectors_of(words))
    others = offsets_of(task, twin, trials, learn(task, twin, trials, progress=False).vectors)
    models = load_model(task, profile), load_model(task, twin)
    tables = []
    for name, there, one, other in (
        ("to the twin", fit_transfer(*models), own, others),
        ("from the twin", fit_transfer(*models[::-1]), others, own),
    ):
        tables.append(trial_rows(trials, kind="seeds", source=task, target=name, cosine=cosines_of(there(one), other)))
    return pd.concat(tables, ignore_index=True)


def offsets_of(task: str, profile: Profile, trials: Sequence[Trial], vectors: Tensor) -> Tensor:
    """What was added to the anchor, (word, vector, d)."""
    model = load_model(task, profile)
    return vectors - model.word_table()[[model.vocabulary.token_of(t.anchor) for t in trials]][:, None]


def cosines_of(one: Tensor, other: Tensor) -> np.ndarray:
    """Cosines (word,) of two words' vectors (word, vector, d), taken as one long vector each: a vector's place in the
    prompt counts.
    """
    return F.cosine_similarity(one.flatten(1), other.flatten(1)).double().numpy()
