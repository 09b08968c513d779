"""The study's plan: every word of a profile, in chunks that are computed in one go. The same profile gives the same plan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from vwlib.concepts import concepts_of
from vwlib.models import TASKS
from vwlib.models.loading import digest_files, digest_folder
from vwlib.optimise import Trial
from vwlib.profiles import Profile
from vwlib.study import load_material, make_trials, training_digest

WORDS, REFERENCES = "words", "references"


@dataclass(frozen=True)
class Chunk:
    """Trials that are computed together: the words of one task (`kind` "words"), or the floor and ceiling on one task ("references")."""

    kind: str
    task: str
    dataset: str
    delta: float | None
    number: int
    trials: tuple[Trial, ...]

    @property
    def name(self) -> str:
        """A name for people and files, unique in a plan."""
        constraint = "" if self.kind == REFERENCES else "-free" if self.delta is None else f"-delta{self.delta:g}"
        return f"{self.kind}-{self.task}-{self.dataset}{constraint}-{self.number:02d}"


@lru_cache(maxsize=8)
def make_plan(profile: Profile) -> tuple[Chunk, ...]:
    """All chunks of a profile's study: floors and ceilings, then experiment 1 (unconstrained words), then experiment 2 (every delta).

    Raises ValueError for an unknown dataset.
    """
    return (*_references(profile), *_words(profile, None), *(chunk for delta in profile.study.deltas for chunk in _words(profile, delta)))


def _trials(profile: Profile, dataset: str, delta: float | None) -> list[Trial]:
    known = concepts_of(dataset, profile.world)
    concepts = [concept.name for concept in known[: profile.study.concepts]]
    return make_trials(profile, dataset, concepts, [concept.anchor for concept in known[: profile.study.anchors]], delta)


def _references(profile: Profile) -> Iterator[Chunk]:
    for dataset in profile.study.datasets:
        for task in TASKS:
            yield Chunk(REFERENCES, task, dataset, None, 0, tuple(_trials(profile, dataset, None)))


def _words(profile: Profile, delta: float | None) -> Iterator[Chunk]:
    for task in TASKS:
        size = profile.study.words_at_once[task]
        for dataset in profile.study.datasets:
            trials = _trials(profile, dataset, delta)
            for start in range(0, len(trials), size):
                yield Chunk(WORDS, task, dataset, delta, start // size, tuple(trials[start : start + size]))


def word_count(plan: tuple[Chunk, ...]) -> int:
    """How many words a plan learns."""
    return sum(len(chunk.trials) for chunk in plan if chunk.kind == WORDS)


@lru_cache(maxsize=4)
def settings_of(profile: Profile) -> dict[str, Any]:
    """Everything that determines a study's words and scores: settings, and digests of weights and images in place of their folders."""
    settings = json.loads(profile.model_dump_json(exclude={"data", "concepts", "anchors"}))
    for model in ("generator", "detector", "classifier", "judge"):
        settings[model].pop("source")
        settings[model]["weights"] = digest_folder(getattr(profile, model).source)
    settings["images"] = {
        dataset: {
            "train": training_digest(profile, dataset),
            "test": digest_files([example.path for example in load_material(profile, dataset).test]),
        }
        for dataset in profile.study.datasets
    }
    return settings


def study_digest(profile: Profile) -> str:
    """A short hash of `settings_of`: studies with the same one have the same words and scores."""
    return hashlib.sha256(json.dumps(settings_of(profile), sort_keys=True).encode()).hexdigest()[:16]
