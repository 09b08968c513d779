"""Trials: learn words for one task, move them to the others, score them everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from vwlib.learn import Learned, ball_radius, learn_words, refuse_failed
from vwlib.maps import PAPERS
from vwlib.models import TASKS, Frozen, Score, load_model
from vwlib.settings import Profile
from vwlib.transfer import TransferMap, fit_transfer, nearest_words
from vwlib.trials import Trial, load_material


@lru_cache(maxsize=24)
def prepared(task: str, profile: Profile, dataset: str, split: str) -> Frozen:
    """A model's frozen work on a dataset's training or test images, once per process."""
    material = load_material(profile, dataset)
    return load_model(task, profile).prepare(material.train if split == "train" else material.test)


def learn(task: str, profile: Profile, trials: Sequence[Trial], progress: bool = True) -> Learned:
    """Learn the words of trials of one dataset for one task, with the profile's settings.

    Raises FloatingPointError where a word stops being a number.
    """
    learned = learn_whatever_comes(task, profile, trials, progress)
    refuse_failed(learned, task, trials)
    return learned


def learn_whatever_comes(task: str, profile: Profile, trials: Sequence[Trial], progress: bool = True) -> Learned:
    """`learn`, but words that diverge are left as they are; `Learned.finite` tells them."""
    settings = profile.learning[task]
    frozen = prepared(task, profile, trials[0].dataset, "train")
    return learn_words(
        load_model(task, profile),
        frozen,
        trials,
        steps=settings.steps,
        rate=settings.rate,
        batch=settings.batch,
        vectors=profile.vectors,
        progress=progress,
    )


def score(task: str, profile: Profile, vectors: Tensor, trials: Sequence[Trial]) -> list[Score]:
    """Score word vectors (word, vector, d of the task's model) on a task's test images."""
    dataset = trials[0].dataset
    model, names = load_model(task, profile), load_material(profile, dataset).names
    test = prepared(task, profile, dataset, "test") if task != "generation" else Frozen([], {})
    return model.evaluate(vectors, [trial.concept for trial in trials], names, test, seed=trials[0].seed)


@dataclass(frozen=True)
class Grid:
    """Trials, their words in every source model, and the table of scores (design: long form, one row a trial and
    evaluation).
    """

    trials: list[Trial]
    learned: dict[str, Learned]
    table: pd.DataFrame


def run_grid(
    profile: Profile,
    trials: Sequence[Trial],
    sources: Sequence[str] = TASKS,
    targets: Sequence[str] = TASKS,
    progress: bool = True,
    kind: str = PAPERS,
    learned: Mapping[str, Learned] = MappingProxyType({}),
) -> Grid:
    """Experiment 1 (section 4): learn every trial's word for each source task, and score it on every target task.

    A word is scored as it is on its own task and mapped (equation 3, or another `kind` of map) on the others. Beside
    the words stand the floor, the anchor word itself in the target (`trained_on` "anchor"), and the ceiling, the
    concept's own name (`trained_on` "name"). What is `learned` already, say by the study, is not learned again.
    """
    trials = list(trials)
    learned = {source: learned.get(source) or learn(source, profile, trials, progress) for source in sources}
    rows = []
    for target in targets:
        rows += reference_rows(target, profile, trials)
        for source in sources:
            vectors = carry(profile, learned[source].vectors, source, target, kind)
            rows += score_rows(profile, trials, source, target, score(target, profile, vectors, trials), kind=kind)
    return Grid(trials, learned, pd.DataFrame(rows))


def carry(profile: Profile, vectors: Tensor, source: str, target: str, kind: str = PAPERS) -> Tensor:
    """Equation 3: word vectors of the source task's model as the target's, mapped with the map fitted on all shared
    words.
    """
    return vectors if source == target else transfer_map(profile, source, target, kind)(vectors)


@lru_cache(maxsize=48)
def transfer_map(profile: Profile, source: str, target: str, kind: str = PAPERS) -> TransferMap:
    """The transfer map of an ordered pair of tasks, fitted once per process on all words that both models know; `kind`
    is one of `vwlib.maps.MAPS`.
    """
    return fit_transfer(load_model(source, profile), load_model(target, profile), kind=kind)


def displacements(task: str, profile: Profile, trials: Sequence[Trial], vectors: Tensor) -> pd.DataFrame:
    """How far each vector of each learned word (word, vector, d) lies from its anchor, and which word it is nearest to.

    One row a vector; `distance` is in units of delta, the anchor's distance to its nearest other word.
    """
    model = load_model(task, profile)
    table, known = model.word_table(), model.vocabulary.words()
    rows = []
    for trial, word in zip(trials, vectors, strict=True):
        anchor = model.vocabulary.token_of(trial.anchor)
        ids = sorted({*known.values(), anchor})
        unit = ball_radius(table[ids], ids.index(anchor), 1.0)
        for number, (vector, nearest) in enumerate(zip(word, nearest_words(word, model, 1), strict=True), 1):
            distance = float((vector - table[anchor]).norm()) / unit
            of = (task, trial.dataset, trial.concept, trial.anchor, trial.delta, trial.seed, number)
            rows.append((*of, distance, nearest[0], nearest[0] == trial.anchor))
    columns = ["task", "dataset", "concept", "anchor", "delta", "seed", "vector", "distance", "nearest", "is_anchor"]
    return pd.DataFrame(rows, columns=columns).astype({"delta": float})


def reference_rows(target: str, profile: Profile, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Floor and ceiling of a target task: the anchor word, and the words of the concept's own name, in the target's
    table.

    The floor is the anchor as one word, as in a prompt (control K4); a learned word starts as `profile.vectors` copies
    of it. The name is scored once per concept, and its trials share the score.
    """
    model, names = load_model(target, profile), load_material(profile, trials[0].dataset).names
    table = model.word_table()
    anchors = torch.stack([table[model.vocabulary.token_of(t.anchor)] for t in trials])[:, None]
    rows = score_rows(profile, trials, "anchor", target, score(target, profile, anchors, trials))
    for concept in dict.fromkeys(t.concept for t in trials):
        own = [t for t in trials if t.concept == concept]
        vectors = table[model.vocabulary.encode(names[concept])][None]
        rows += score_rows(profile, own, "name", target, score(target, profile, vectors, own[:1]) * len(own))
    return rows


def score_rows(
    profile: Profile,
    trials: Sequence[Trial],
    source: str,
    target: str,
    scores: Sequence[Score],
    word_ids: Sequence[str | None] | None = None,
    kind: str = PAPERS,
) -> list[dict[str, Any]]:
    """Rows of the table of trials (design.md, section 7): one a trial, for words of `source` scored on `target`.

    `kind` is that of the map by which words of another task came, as `carry` was given it.
    """
    carried = source in TASKS and source != target
    steps = profile.learning[source].steps if source in profile.learning else 0
    return [
        {
            "study": profile.name,
            "dataset": t.dataset,
            "concept": t.concept,
            "anchor": t.anchor,
            "trained_on": source,
            "delta": t.delta,
            "seed": t.seed,
            "evaluated_on": target,
            "metric": s.metric,
            "value": s.value,
            "n": s.n,
            "map": kind if carried else "none",
            "steps": steps,
            "word_id": word_id,
            **s.more,
        }
        for t, s, word_id in zip(trials, scores, word_ids or [None] * len(trials), strict=True)
    ]
