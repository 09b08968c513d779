"""The finished study, for reading: its table of scores and its learned words. Nothing is computed here."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from vwlib.concepts import TASKS
from vwlib.lab import Grid
from vwlib.learn import Learned
from vwlib.settings import Profile
from vwlib.study.digest import digest_folder
from vwlib.study.store import Store, results_root
from vwlib.trials import Trial
from vwlib.words import Word

Names = Sequence[str]


@dataclass(frozen=True)
class TrialWords:
    """A trial and its learned vectors (vector, d), in each source model by task."""

    trial: Trial
    vectors: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class StoredStudy:
    """The study of a profile. Words that diverged are neither in its table nor in its bank."""

    profile: Profile
    table: pd.DataFrame  #: a row for each trial and evaluation
    bank: dict[str, Word]  #: by `word_id`
    failed: int = 0  #: words that diverged

    @property
    def datasets(self) -> list[str]:
        """The datasets of the study, in its order."""
        return list(self._names)

    @cached_property
    def deltas(self) -> list[float]:
        """The radii of the study's balls."""
        return sorted(map(float, self.table["delta"].dropna().unique()))

    def concepts(self, dataset: str) -> list[str]:
        """A dataset's concepts, in the study's order."""
        return self._names.get(dataset, ([], []))[0]

    def anchors(self, dataset: str) -> list[str]:
        """A dataset's anchor words, in the study's order."""
        return self._names.get(dataset, ([], []))[1]

    @cached_property
    def _names(self) -> dict[str, tuple[list[str], list[str]]]:
        """Each dataset's concepts and anchors; asked for with every word, while the table is long."""
        groups = self.table.groupby("dataset", sort=False)
        return {str(name): (list(rows["concept"].unique()), list(rows["anchor"].unique())) for name, rows in groups}

    @cached_property
    def _by_trial(self) -> dict[tuple[str, str, str, float | None], dict[str, Word]]:
        """The words of each dataset, concept, anchor and delta, by task."""
        words: dict[tuple[str, str, str, float | None], dict[str, Word]] = {}
        for word in self.bank.values():
            words.setdefault((word.dataset, word.concept, word.anchor, word.delta), {})[word.task] = word
        return words

    def available(self, datasets: Sequence[str]) -> list[str]:
        """Those of the datasets that the study has; its first where it has none of them."""
        return [dataset for dataset in datasets if dataset in self.datasets] or self.datasets[:1]

    def check_radius(self, delta: float) -> None:
        """Raise ValueError unless the study has balls of a radius."""
        self._check("delta", delta, self.deltas)

    def _check(self, kind: str, value: object, known: Sequence[object]) -> None:
        if value not in known:
            names = ", ".join("unconstrained" if name is None else str(name) for name in known)
            raise ValueError(f"The study of profile '{self.profile.name}' has no {kind} '{value}'; it has {names}.")

    def words_of(self, dataset: str, concept: str, anchor: str, delta: float | None = None) -> TrialWords:
        """The words of one trial, without those that diverged. Raises ValueError where there is no such trial."""
        self._check("dataset", dataset, self.datasets)
        self._check("concept", concept, self.concepts(dataset))
        self._check("anchor", anchor, self.anchors(dataset))
        self._check("delta", delta, [*self.deltas, None])
        words = self._by_trial.get((dataset, concept, anchor, delta), {})
        seed = next((word.seed for word in words.values()), 0)
        vectors = {task: words[task].vectors for task in TASKS if task in words}
        return TrialWords(Trial(dataset, concept, anchor, delta, seed), vectors)

    def learned(self, trials: Sequence[Trial]) -> dict[str, Learned]:
        """The words of trials by task, where the study has all of them; else nothing. Their losses are not stored."""
        found = [self._by_trial.get((t.dataset, t.concept, t.anchor, t.delta), {}) for t in trials]
        for trial, words in zip(trials, found, strict=True):
            if any(task not in words or words[task].seed != trial.seed for task in TASKS):
                return {}
        losses = torch.empty(0, len(trials))
        return {task: Learned(torch.stack([words[task].vectors for words in found]), losses) for task in TASKS}

    def grid(
        self, dataset: str, concepts: Names = (), anchors: Names = (), delta: float | None = None, most: int = 6
    ) -> list[list[TrialWords]]:
        """The words of concepts (rows) from anchors (columns), by default the first `most`. Raises as `words_of`."""
        rows, columns = concepts or self.concepts(dataset)[:most], anchors or self.anchors(dataset)[:most]
        return [[self.words_of(dataset, concept, anchor, delta) for anchor in columns] for concept in rows]

    def off_diagonal_examples(
        self, datasets: Sequence[str], count: int, delta: float | None = None
    ) -> list[TrialWords]:
        """The words of each dataset's first `count` concepts, from the next one's anchor, if none diverged."""
        examples = []
        for dataset in datasets:
            concepts, anchors = self.concepts(dataset), self.anchors(dataset)
            following = [anchors[(row + 1) % len(anchors)] for row in range(len(concepts))]
            trials = [self.words_of(dataset, *pair, delta) for pair in zip(concepts, following, strict=True)]
            examples += [words for words in trials if len(words.vectors) == len(TASKS)][:count]
        return examples


def words_of_grid(grid: Grid, rows: Sequence[int]) -> list[TrialWords]:
    """The words of chosen trials of a live grid."""
    learned = grid.learned.items()
    return [TrialWords(grid.trials[row], {task: found.vectors[row] for task, found in learned}) for row in rows]


def study_of(profile: Profile, root: Path | None = None) -> StoredStudy:
    """The published study of a profile. Raises FileNotFoundError if it is missing, ValueError if it is damaged."""
    store, command = Store(profile, root or results_root(profile)), f"`vwlib study --profile {profile.name}`"
    if not store.table_file().exists():
        raise FileNotFoundError(f"The study of profile '{profile.name}' is not stored here; {command} makes it.")
    table, bank = pd.read_parquet(store.table_file()), store.bank
    words = f"words of profile '{profile.name}'"
    if not set(table["word_id"].dropna()) <= bank.keys():
        raise ValueError(f"The stored {words} are damaged or incomplete; {command} mends them.")
    for task in TASKS:
        weights = {word.model for word in bank.values() if word.task == task}
        if weights - {digest_folder(profile.models[task].source)}:
            raise ValueError(f"The stored {task} {words} were learned with other weights; {command} learns them anew.")
    return StoredStudy(profile, table, bank, len(store.failed))
