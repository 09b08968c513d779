"""Experiments on the layers of the text encoder (section 5.2): the numbers of `vwlib.layers` for all words, with a
plain swap of real words beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor

from vwlib.concepts import concepts_of, find_concept
from vwlib.experiments.base import Case, Sources, lighter, off_diagonal, trial_rows, uses, vectors_of
from vwlib.experiments.layer_statistics import (
    cluster_agreement,
    flip_layers,
    label_words,
    probe_scores,
    truncation_scores,
)
from vwlib.layers import hidden_states
from vwlib.models import TASKS, load_model
from vwlib.models.base import CachedFeatures, TaskModel
from vwlib.settings import Profile
from vwlib.study.compat import carry, load_material, prepared
from vwlib.study.digest import trials_of
from vwlib.trials import Trial
from vwlib.words import Word


@dataclass(frozen=True)
class WordSet:
    """Words that stand in one encoder: learned for its task, learned for another and mapped ("transferred"), or plain
    real words ("swap").
    """

    kind: str
    trained_on: str  # the task, or "name" for real words
    trials: list[Trial]
    vectors: Tensor  # (word, vector, d)


def word_sets(
    profile: Profile, case: Case, sources: Sources, deltas: Sequence[float | None], small: bool = False
) -> Iterator[WordSet]:
    """All words of a dataset in a task's encoder, or only those of the small grid: for each delta the learned and the
    transferred ones, then the swap.

    The swap has a row for each concept and anchor, as the others have: the concept's own word in the anchor's place,
    whatever that is.
    """
    task, dataset = case["task"], case["dataset"]

    def of(source: str, delta: float | None) -> list[Word]:
        if not small:
            return sources.words(source, dataset, delta)
        # The grid of the task in whose encoder they stand, whatever they were learned for.
        wanted = {(word.concept, word.anchor) for word in sources.grid(task, dataset, delta)}
        return [word for word in sources.words(source, dataset, delta) if (word.concept, word.anchor) in wanted]

    trials: dict[tuple[str, str], Trial] = {}
    for delta in deltas:
        for source in (task, *(other for other in TASKS if other != task)):
            if words := of(source, delta):
                kind = "learned" if source == task else "transferred"
                yield WordSet(kind, source, trials_of(words), carry(profile, vectors_of(words), source, task))
            trials |= {(word.concept, word.anchor): Trial(dataset, word.concept, word.anchor) for word in words}
    plain = list(trials.values())
    yield WordSet("swap", "name", plain, own_words(profile, task, plain))


def own_words(profile: Profile, task: str, trials: Sequence[Trial]) -> Tensor:
    """The single real word of each trial's concept, as often as a learned word has vectors: (word, vector, d)."""
    owners = [find_concept(trial.concept, trial.dataset, profile.world).anchor for trial in trials]
    return load_model(task, profile).embeddings_of(owners, profile.vectors)


@uses("near", "draws")
def clusters(profile: Profile, case: Case, sources: Sources) -> pd.DataFrame:
    """Figures 7 and 12 to 18: `vwlib.layers.cluster_agreement` of all words near their anchors, and of all
    unconstrained ones, in one task's encoder.

    `trained_on` tells transferred words apart.
    """
    model = load_model(case["task"], profile)
    tables = []
    for found in word_sets(profile, case, sources, [profile.experiments.near, None]):
        words = label_words(found.trials, profile.world)
        agreement = cluster_agreement(hidden_states(model, found.vectors), words, draws=profile.experiments.draws)
        (delta,) = {trial.delta for trial in found.trials}
        tables.append(
            agreement.assign(
                dataset=case["dataset"], task=case["task"], kind=found.kind, trained_on=found.trained_on, delta=delta
            )
        )
    return pd.concat([table.astype({"delta": float}) for table in tables], ignore_index=True)


def depths(model: TaskModel, profile: Profile) -> list[int]:
    """To how many blocks an encoder is cut: every number, but for the generator, whose pictures take long, only evenly
    spaced ones.
    """
    blocks = len(model.blocks)
    if model.task != "generation":
        return list(range(blocks + 1))
    return sorted({round(step) for step in np.linspace(0, blocks, profile.experiments.generation_depths)})


@uses("near", "grid", "test_images", "pictures", "generation_depths")
def truncation(profile: Profile, case: Case, sources: Sources) -> pd.DataFrame:
    """Figure 7 as numbers: `vwlib.layers.truncation_scores` of the small grid's words, near their anchors and
    unconstrained.
    """
    task, dataset, fewer = case["task"], case["dataset"], lighter(profile)
    model, names = load_model(task, fewer), load_material(fewer, dataset).names
    test = prepared(task, fewer, dataset, "test") if task != "generation" else CachedFeatures([], {})
    tables = []
    for found in word_sets(profile, case, sources, [profile.experiments.near, None], small=True):
        words = (
            label_words(found.trials, profile.world)
            .assign(kind=found.kind, trained_on=found.trained_on)
            .astype({"delta": float})
        )
        tables.append(truncation_scores(model, found.vectors, words, names, test, depths(model, profile)))
    return pd.concat(tables, ignore_index=True)


@uses("near", "grid")
def probes(profile: Profile, case: Case, sources: Sources) -> pd.DataFrame:
    """B8: `vwlib.layers.probe_scores` of the small grid's words, near their anchors and unconstrained."""
    model = load_model(case["task"], profile)
    own = {concept.name: concept.anchor for concept in concepts_of(case["dataset"], profile.world)}
    tables = []
    for found in word_sets(profile, case, sources, [profile.experiments.near, None], small=True):
        words = (
            label_words(found.trials, profile.world)
            .assign(kind=found.kind, trained_on=found.trained_on)
            .astype({"delta": float})
        )
        tables.append(probe_scores(model, found.vectors, words, own))
    return pd.concat(tables, ignore_index=True)


@uses()
def crossings(_: Profile, case: Case, sources: Sources) -> pd.DataFrame:
    """Section 5.2: `flip_layers` of the table `truncation`."""
    table = sources.tables["truncation"]
    return flip_layers(table[(table["task"] == case["task"]) & (table["dataset"] == case["dataset"])])


def leaning(layers: Tensor, anchors: Tensor, concepts: Tensor) -> Tensor:
    """At each layer, how much nearer words are to their concept's own word than to their anchor: (layer, word), from -1
    at the anchor to 1 at the concept.

    All activations are (layer, word, d), of the words and of the two real words in the same prompt.
    """
    from_anchor, from_concept = ((layers - real).norm(dim=-1) for real in (anchors, concepts))
    return (from_anchor - from_concept) / (from_anchor + from_concept)


@uses()
def disagreement(profile: Profile, case: Case, sources: Sources) -> pd.DataFrame:
    """Section 5.2, appendix A: how differently the first and the last layer see a word (the difference of `leaning`),
    and its score in other models.

    Words of delta 1 and unconstrained, among which there are both those that transfer and those that do not.
    `disagreement` is 2 for a word that the first layer takes for its anchor and the last one for its concept; `value`
    is the mean over the two other tasks.
    """
    task, dataset, model = case["task"], case["dataset"], load_model(case["task"], profile)
    table = sources.trials
    mapped = table[(table["trained_on"] == task) & (table["evaluated_on"] != task)].groupby("word_id")["value"].mean()
    tables = []
    for delta in (*(d for d in (max(profile.study.deltas, default=None),) if d is not None), None):
        words = sources.words(task, dataset, delta)
        off = set(off_diagonal(profile, trials_of(words)))
        words = [word for word, trial in zip(words, trials_of(words), strict=True) if trial in off]
        trials = trials_of(words)
        anchors = model.embeddings_of([trial.anchor for trial in trials], profile.vectors)
        states = [
            hidden_states(model, vectors) for vectors in (vectors_of(words), anchors, own_words(profile, task, trials))
        ]
        leans = leaning(*states)
        found = trial_rows(
            trials,
            task=task,
            disagreement=(leans[-1] - leans[1]).double().numpy(),
            first=leans[1].numpy(),
            last=leans[-1].numpy(),
        )
        tables.append(found.assign(value=[mapped[word.word_id] for word in words]))
    return pd.concat(tables, ignore_index=True)
