"""What an experiment is, and what it may read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from vwlib.learn import learn_trials, raise_if_diverged
from vwlib.models import TASKS, Frozen, TaskModel
from vwlib.paths import DATA
from vwlib.settings import ExperimentSettings, Profile
from vwlib.study.plan import WORDS, make_plan, study_digest
from vwlib.study.store import Store
from vwlib.trials import Trial, is_diagonal, make_trials
from vwlib.words import Word

#: The name of the study's own table, which experiments may need and `vwlib study` makes.
TRIALS = "trials"
Case = Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Sources:
    """What an experiment may read beside models and images: the study's words and scores, and the tables of other
    experiments.
    """

    profile: Profile
    root: Path = DATA
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)  # those that the experiment needs, by name

    @cached_property
    def store(self) -> Store:
        """The study's store."""
        return Store(self.profile, self.root)

    def words(self, task: str, dataset: str, delta: float | None = None) -> list[Word]:
        """The study's words of a task and dataset, unconstrained or within `delta`; those that diverged are left out.

        Raises FileNotFoundError that names the command where they were not learned yet.
        """
        chunks = [
            c for c in make_plan(self.profile) if (c.kind, c.task, c.dataset, c.delta) == (WORDS, task, dataset, delta)
        ]
        parts = [self.store.load(chunk) for chunk in chunks]
        if not parts or any(part is None for part in parts):
            radius = "unconstrained words" if delta is None else f"words of delta {delta:g}"
            raise FileNotFoundError(
                f"The {task} study of {dataset} has no {radius} yet; run `vwlib study --profile {self.profile.name}`."
            )
        return [word for part in parts if part for word in part.words]

    def grid(
        self, task: str, dataset: str, delta: float | None = None, own: bool = False, count: int | None = None
    ) -> list[Word]:
        """Those of `words` that are of the first concepts and anchors, as many as `ExperimentSettings.grid` says, or
        `count`.

        Words that start at their concept's own anchor are left out, unless `own` asks for them.
        """
        wanted = {
            (trial.concept, trial.anchor) for trial in small_grid(self.profile, task, dataset, own=own, count=count)
        }
        return [word for word in self.words(task, dataset, delta) if (word.concept, word.anchor) in wanted]

    @cached_property
    def trials(self) -> pd.DataFrame:
        """The study's table of scores."""
        return pd.read_parquet(self.store.table_file)


Compute = Callable[[Profile, Case, Sources], pd.DataFrame]


def uses(*settings: str, version: int = 1) -> Callable[[Compute], Compute]:
    """Say, beside a computation, on which fields of `ExperimentSettings` its rows depend, and the version of its
    algorithm.

    The table is made again where one of these fields changes, or the version, which goes up by one with each change of
    code that changes a row; the other experiments' tables stay as they are. A computation that says nothing depends on
    all fields.
    Raises ValueError for a name that is no field.
    """
    for name in settings:
        if name not in ExperimentSettings.model_fields:
            raise ValueError(
                f"'{name}' is no field of ExperimentSettings; there are {', '.join(ExperimentSettings.model_fields)}."
            )

    def declare(compute: Compute) -> Compute:
        vars(compute).update(settings=frozenset(settings), version=version)
        return compute

    return declare


def _nothing(_: Profile) -> Any:
    return None


@dataclass(frozen=True)
class Experiment:
    """One table of the expensive stage: computed case by case, stored, read by the pages."""

    name: str  # of its table
    says: str  # what it is, in a sentence that names its source
    compute: Compute  # the rows of one case
    cases: Callable[[Profile], list[dict[str, str]]]
    needs: tuple[str, ...] = ()  # tables that it reads: "trials" for the study's words or scores, or other experiments'
    inputs: Callable[[Profile], Any] = _nothing  # what else its rows depend on, as plain data

    @property
    def settings(self) -> frozenset[str]:
        """The fields of `ExperimentSettings` on which its rows depend, as `uses` says beside the computation."""
        return vars(self.compute).get("settings", frozenset(ExperimentSettings.model_fields))

    @property
    def version(self) -> int:
        """The version of its algorithm."""
        return vars(self.compute).get("version", 1)


def case_name(case: Case) -> str:
    """A name for people and files, unique within an experiment."""
    return "-".join(case.values()).replace(" ", "_") or "all"


def whole(_: Profile) -> list[dict[str, str]]:
    """The cases of an experiment that is computed in one go."""
    return [{}]


def each(*keys: str) -> Callable[[Profile], list[dict[str, str]]]:
    """Cases for every value of some of `task`, `source` (another task than `task`) and `dataset`."""

    def cases(profile: Profile) -> list[dict[str, str]]:
        values: dict[str, Sequence[str]] = {"task": TASKS, "source": TASKS, "dataset": profile.study.datasets}
        found: list[dict[str, str]] = [{}]
        for key in keys:
            found = [case | {key: value} for case in found for value in values[key]]
        return [case for case in found if case.get("source", "") != case.get("task", " ")]

    return cases


def small_grid(profile: Profile, task: str, dataset: str, own: bool = False, count: int | None = None) -> list[Trial]:
    """The unconstrained trials of the first concepts and anchors of a dataset, as many as `ExperimentSettings.grid`
    says for the task, or `count`.

    Off the diagonal, unless `own` asks for words that start at their concept's own anchor too.
    """
    count = count or profile.experiments.grid[task]
    trials = make_trials(profile.model_copy(update={"concepts": count, "anchors": count}), dataset)
    return trials if own else off_diagonal(profile, trials)


def off_diagonal(profile: Profile, trials: Sequence[Trial]) -> list[Trial]:
    """The trials whose anchor is not their concept's own."""
    own = is_diagonal(
        pd.DataFrame([{"dataset": t.dataset, "concept": t.concept, "anchor": t.anchor} for t in trials]), profile.world
    )
    return [trial for trial, same in zip(trials, own.tolist(), strict=True) if not same]


@lru_cache(maxsize=4)
def lighter(profile: Profile) -> Profile:
    """The profile with fewer test images and pictures, for experiments that score a word many times."""
    fewer = {"test_images": min(profile.test_images, profile.experiments.test_images)}
    generator = profile.generator.model_copy(update={"images_per_word": profile.experiments.pictures})
    return profile.model_copy(update=fewer | {"generator": generator})


def learn_anew(
    model: TaskModel, profile: Profile, frozen: Frozen, trials: Sequence[Trial], vectors: int | None = None
) -> Tensor:
    """Words (word, vector, d) learned with the settings of the model's task, of `vectors` vectors or as many as the
    profile says.

    Raises FloatingPointError where one stops being a number.
    """
    chosen, count = profile.learning[model.task], vectors or profile.vectors
    settings = {"steps": chosen.steps, "lr": chosen.rate, "batch": chosen.batch, "vectors": count}
    learned = learn_trials(model, frozen, trials, progress=False, **settings)
    raise_if_diverged(learned, model.task, trials)
    return learned.vectors


def vectors_of(words: Sequence[Word]) -> Tensor:
    """The vectors (word, vector, d) of words of one task."""
    return torch.stack([word.vectors for word in words])


def trial_rows(trials: Sequence[Trial], **columns: Any) -> pd.DataFrame:
    """One row a trial: dataset, concept, anchor, delta (NaN where unconstrained), and further columns."""
    rows = [{"dataset": t.dataset, "concept": t.concept, "anchor": t.anchor, "delta": t.delta} for t in trials]
    return (
        pd.DataFrame(rows, columns=["dataset", "concept", "anchor", "delta"]).astype({"delta": float}).assign(**columns)
    )


def pairs_of(words: Sequence[Word]) -> Iterator[tuple[int, int]]:
    """Rows of any two words of one concept, from different anchors."""
    for i, one in enumerate(words):
        for j, other in enumerate(words[:i]):
            if one.concept == other.concept:
                yield j, i


def digest_of(profile: Profile, experiment: Experiment, needed: Mapping[str, str]) -> str:
    """A short hash of all that an experiment's table depends on; `needed` gives the digest of each table that it reads.

    Of the experiments' settings only those count that this one uses, so that a new one makes no other table stale.
    """
    content = {
        "study": study_digest(profile),
        "settings": profile.experiments.model_dump(mode="json", include=set(experiment.settings)),
        "version": experiment.version,
        "needs": dict(needed),
        "inputs": experiment.inputs(profile),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
