"""What an experiment is, and what its computation gets."""

import hashlib
import inspect
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
from pydantic import PositiveInt, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from vwlib.concepts import TASKS
from vwlib.experiments.words import grid_trials, reduced
from vwlib.lab import Lab
from vwlib.ledger.schemas import TableSchema
from vwlib.paths import DATA
from vwlib.settings import Profile
from vwlib.study.plan import WORDS, make_plan, study_digest
from vwlib.study.store import Store
from vwlib.words import Word

Case = Mapping[str, str]
Cases = list[dict[str, str]]
COUNT = PositiveInt  # what a size may be: one number, or two
PAIR = tuple[PositiveInt, PositiveInt]


@dataclass(frozen=True)
class Size:
    """How much an experiment takes of something; `[<profile>.experiments]` of a settings file overrides it by name."""

    name: str
    kind: Any  #: the type that a value must have
    value: Any
    smoke: Any  #: the value at profile smoke
    what: str  #: it counts

    def of(self, profile: Profile) -> Any:
        """Its value in a profile. Raises ValueError for an override of another type."""
        usual = self.smoke if profile.name == "smoke" else self.value
        try:
            return TypeAdapter(self.kind).validate_python(profile.experiments.own.get(self.name, usual))
        except ValidationError as error:
            reason = error.errors()[0]["msg"].lower()
            raise ValueError(f"Profile '{profile.name}', setting 'experiments.{self.name}': {reason}.") from error


@dataclass(frozen=True, eq=False)
class Sources:
    """What an experiment reads beside models and images: the study's results and other experiments' tables."""

    profile: Profile
    root: Path = DATA
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)  #: those that the experiment needs, by name
    sizes: SimpleNamespace = field(default_factory=SimpleNamespace)  #: of the experiment
    labs: dict[tuple[int, int], Lab] = field(default_factory=dict)  #: reduced ones, which a run's experiments share

    @cached_property
    def stores(self) -> list[Store]:
        """The stores of the study's grids, the paper's first."""
        return [Store(grid, self.root) for grid in self.profile.grids]

    @cached_property
    def trials(self) -> pd.DataFrame:
        """The table of scores of the paper's grid."""
        return pd.read_parquet(self.stores[0].table_file())

    def words(self, task: str, dataset: str, delta: float | None = None) -> list[Word]:
        """The study's words of a task and dataset, unconstrained or within `delta`, without those that diverged.

        Raises FileNotFoundError that names the command where they were not learned yet.
        """
        wanted = (WORDS, task, dataset, delta)
        results = [
            store.load(chunk)
            for store in self.stores
            for chunk in make_plan(store.profile)
            if (chunk.kind, chunk.task, chunk.dataset, chunk.delta) == wanted
        ]
        if not results or None in results:
            words = "unconstrained words" if delta is None else f"words of delta {delta:g}"
            command = f"`vwlib study --profile {self.profile.name}`"
            raise FileNotFoundError(f"The {task} study of {dataset} has no {words} yet; run {command}.")
        return [word for result in results if result for word in result.words]

    def seed_of(self, dataset: str) -> int:
        """The seed of the words of a dataset, from which on their pictures' noises are counted."""
        return next(store.profile.study.seed for store in self.stores if dataset in store.profile.study.datasets)

    def grid(
        self, task: str, dataset: str, delta: float | None = None, own: bool = False, count: int | None = None
    ) -> list[Word]:
        """Those of `words` that are of `grid_trials` with `count` (by default the size `grid`) and `own`."""
        trials = grid_trials(self.profile, dataset, count or self.sizes.grid[task], own)
        wanted = {(trial.concept, trial.anchor) for trial in trials}
        return [word for word in self.words(task, dataset, delta) if (word.concept, word.anchor) in wanted]

    def reduced(self, lab: Lab) -> Lab:
        """The lab with fewer test images of a concept and pictures of a word, for words that are scored many times."""
        key = self.sizes.test_images, self.sizes.pictures
        if key not in self.labs:
            self.labs[key] = reduced(lab, *key)
        return self.labs[key]


#: Computes a case's rows, in one table or in several, one below the other.
Compute = Callable[[Lab, Case, Sources], pd.DataFrame | Iterable[pd.DataFrame]]


@dataclass(frozen=True)
class Experiment:
    """One table of the expensive stage: computed case by case, stored, read by the pages.

    The docstring of `compute` begins with what it asks. `version` goes up by one with each change of code that changes
    a row: the stored table is then stale.
    """

    name: str  #: of its table
    compute: Compute
    cases: Callable[[Profile], Cases]
    needs: tuple[str, ...] = ()  #: tables that it reads: `TRIALS` for the study's words or scores, or experiments'
    shared: tuple[str, ...] = ()  #: the fields of `ExperimentSettings` that it uses
    sizes: tuple[Size, ...] = ()  #: its own
    schema: TableSchema | None = None  #: where the ledger reads the table
    version: int = 1
    inputs: Callable[[Profile], Any] = lambda _: None  #: what else its rows depend on, as plain data

    @property
    def question(self) -> str:
        """What it asks, in a sentence."""
        return " ".join((inspect.getdoc(self.compute) or "").split("\n\n")[0].split())

    def rows(self, lab: Lab, case: Case, sources: Sources) -> pd.DataFrame:
        """The rows of one case."""
        found = self.compute(lab, case, sources)
        return found if isinstance(found, pd.DataFrame) else pd.concat(found, ignore_index=True)

    def sizes_of(self, profile: Profile) -> SimpleNamespace:
        """The shared and the own sizes that it uses, in a profile; others it cannot read. Raises as `Size.of` does."""
        shared = {name: getattr(profile.experiments, name) for name in self.shared}
        return SimpleNamespace(**shared, **{size.name: size.of(profile) for size in self.sizes})

    def digest(self, tables: Store) -> str:
        """A hash of all that the table depends on. Raises FileNotFoundError where it lacks a table that it needs."""
        content = {
            "study": study_digest(tables.profile),
            "settings": to_jsonable_python(vars(self.sizes_of(tables.profile))),
            "version": self.version,
            "needs": {name: tables.checksum(name) for name in self.needs},
            "inputs": self.inputs(tables.profile),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def case_name(case: Case) -> str:
    """A name for people and files, unique within an experiment."""
    return "-".join(case.values()).replace(" ", "_") or "all"


def per(*keys: str, fresh: bool = False) -> Callable[[Profile], Cases]:
    """A case for every value of some of `task`, `source` (another task) and `dataset`; of none a single case.

    Datasets are those of the paper's grid, with `fresh` those of all grids.
    """

    def cases(profile: Profile) -> Cases:
        datasets = [name for grid in (profile.grids if fresh else [profile]) for name in grid.study.datasets]
        values: dict[str, Sequence[str]] = {"task": TASKS, "source": TASKS, "dataset": datasets}
        found = [dict(zip(keys, case, strict=True)) for case in itertools.product(*(values[key] for key in keys))]
        return [case for case in found if case.get("source", "") != case.get("task", " ")]

    return cases


#: The cases of most experiments, and the settings of those that score words many times.
EACH, SCORED_OFTEN = per("task", "dataset"), ("grid", "test_images", "pictures")
