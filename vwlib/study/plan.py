"""The study's plan: every word of a grid, in chunks that are computed together, and what they come from.

A profile stands for its grid `study`; `Profile.grids` are those that stand for each of its grids.
"""

import hashlib
import itertools
import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

import vwlib.trials
from vwlib.concepts import TASKS, concepts_of
from vwlib.settings import Profile
from vwlib.study.digest import as_words, digest_folder, split_digests
from vwlib.trials import Trial

WORDS, REFERENCES = "words", "references"


@dataclass(frozen=True)
class Chunk:
    """Trials that are computed together: a task's words (`kind` "words"), or its floor and ceiling ("references")."""

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
    """All chunks of a study, in order: floors and ceilings, unconstrained words, those of every delta."""
    chunks, names = [], profile.study.datasets
    for dataset, task in itertools.product(names, TASKS):
        chunks.append(Chunk(REFERENCES, task, dataset, None, 0, _trials(profile, dataset, None)))
    for delta, task, dataset in itertools.product((None, *profile.study.deltas), TASKS, names):
        trials, size = _trials(profile, dataset, delta), profile.study.words_at_once[task]
        for number, start in enumerate(range(0, len(trials), size)):
            chunks.append(Chunk(WORDS, task, dataset, delta, number, trials[start : start + size]))
    return tuple(chunks)


def _trials(profile: Profile, dataset: str, delta: float | None) -> tuple[Trial, ...]:
    known, study = concepts_of(dataset, profile.world), profile.study
    shared = tuple(concept.anchor for concept in known)
    return tuple(
        Trial(dataset, concept.name, anchor, delta, study.seed)
        for concept in known[: study.concepts]
        for anchor in (concept.anchors or shared)[: study.anchors]
    )


def word_count(chunks: Iterable[Chunk]) -> int:
    """How many words chunks learn."""
    return sum(len(chunk.trials) for chunk in chunks if chunk.kind == WORDS)


def settings_of(profile: Profile) -> dict[str, Any]:
    """By dataset, everything that determines a study's words and scores, and nothing else.

    Models enter by their weights and by the file and function of an adapter, pictures by their content; folders,
    sources and the sizes of live grids do not count.
    """
    return {dataset: _settings(profile, dataset) for dataset in profile.study.datasets}


@lru_cache(maxsize=32)
def _settings(profile: Profile, dataset: str) -> dict[str, Any]:
    """`settings_of` for one dataset; the chunks of the others do not depend on it."""
    train, test = split_digests(profile, dataset)
    adapters = {task: named.rpartition("/")[2] for task, named in profile.adapters.items()}
    drawing = profile.generator.model_dump(include={"image_size", "inference_steps", "guidance", "images_per_word"})
    # "auto" counts as bfloat16: which of the two a machine chooses makes other vectors, but the same scores within
    # pictures' noise, so that a study can be continued on any machine. Each word says in which it was learned.
    asked = profile.generator.precision.replace("auto", "bfloat16")
    return ({"adapters": adapters} if adapters else {}) | {
        "world": profile.world,
        "prompt": profile.prompt,
        "vectors": profile.vectors,
        "learning": {task: learning.model_dump(exclude_none=True) for task, learning in profile.learning.items()},
        "drawing": drawing | {"precision": asked},
        "threads": profile.study.threads,
        "weights": {role: digest_folder(model.source) for role, model in profile.models.items()},
        "train": train,
        "test": test,
    }


@lru_cache(maxsize=4096)
def chunk_digests(profile: Profile, chunk: Chunk) -> tuple[str, str]:
    """What a chunk's words come from, and what its words and scores come from, each as a short hash.

    A chunk with the same second digest is never computed again. Its trials are part of both, because floating-point
    sums depend on which words are learned together; the rest of the plan is not, so that a study may grow and keep what
    it has. Of the code only `vwlib.trials.LEARNING` counts, from its second version on.
    """
    settings = _settings(profile, chunk.dataset)
    content: dict[str, Any] = {"kind": chunk.kind, "task": chunk.task, "profile": profile.name}
    content["trials"] = [astuple(trial) for trial in chunk.trials]
    content["learning"] = settings["learning"].get(chunk.task) if chunk.kind == WORDS else None
    if chunk.kind == WORDS and vwlib.trials.LEARNING > 1:
        content["algorithm"] = vwlib.trials.LEARNING
    words = {key: settings[key] for key in ("world", "prompt", "vectors", "threads", "train")}
    precision = settings["drawing"]["precision"] if chunk.task == "generation" else "float32"
    source = {"weights": settings["weights"][chunk.task], "precision": precision}
    if chunk.task in settings.get("adapters", {}):
        source["adapter"] = settings["adapters"][chunk.task]
    scores = {key: value for key, value in settings.items() if key != "learning"}
    return _digest([content, words, source]), _digest([content, scores])


def word_ids(profile: Profile, chunk: Chunk) -> list[tuple[str, ...]]:
    """The ids that each of a chunk's words may have: one for each precision that the profile leaves to the machine."""
    if chunk.kind == REFERENCES:
        return []
    nothing = np.empty((len(chunk.trials), profile.vectors, 0))
    left_open = chunk.task == "generation" and profile.generator.precision == "auto"
    precisions = ("bfloat16", "float32") if left_open else (None,)
    found = [as_words(chunk.task, profile, chunk.trials, nothing, precision) for precision in precisions]
    return [tuple(word.word_id for word in words) for words in zip(*found, strict=True)]


def study_digest(profile: Profile) -> str:
    """A short hash of a whole study: on one kind of processor the same one means the same bytes."""
    return _digest([chunk_digests(profile, chunk) for chunk in make_plan(profile)])


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
