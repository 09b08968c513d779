"""One run: its models, images, cached features and maps, and the trials that it runs with them (section 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from torch import Tensor

from vwlib.concepts import TASKS
from vwlib.learn import Learned, learn_trials, raise_if_diverged
from vwlib.maps import PAPER_MAP
from vwlib.models import load_model, usual_adapter
from vwlib.models.base import CachedFeatures, Score, TaskModel
from vwlib.settings import Profile
from vwlib.transfer import TransferMap, fit_transfer
from vwlib.trials import DatasetSplit, Trial

if TYPE_CHECKING:
    from vwlib.models.classification import Classifier
    from vwlib.models.detection import Detector
    from vwlib.models.generation import Generator

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Grid:
    """Trials, the words learned for them by source task, and one row for each trial and evaluation."""

    trials: list[Trial]
    learned: dict[str, Learned]
    rows: list[dict[str, Any]]

    @cached_property
    def table(self) -> pd.DataFrame:
        """The rows as a table."""
        return pd.DataFrame(self.rows)


class Lab:
    """What one run has loaded, in plain dicts. Everything is loaded or computed when it is first asked for.

    `read_split` reads a dataset for a profile; `vwlib.datasets.splits.open_lab` makes a lab with the usual one. What
    you put into a dict beforehand is used as it is, say a model of your own in `loaded`.
    """

    def __init__(self, profile: Profile, read_split: Callable[[Profile, str], DatasetSplit]) -> None:
        self.profile, self.read_split = profile, read_split
        self.loaded: dict[str, TaskModel] = {}  # by task
        self.splits: dict[str, DatasetSplit] = {}  # by dataset
        self.cached: dict[tuple[str, str, Split], CachedFeatures] = {}  # by task, dataset and split
        self.maps: dict[tuple[str, str, str], TransferMap] = {}  # by source, target and kind of map

    def model(self, task: str) -> TaskModel:
        """The model of a task. Raises ValueError for an unknown task and FileNotFoundError for missing weights."""
        if task not in self.loaded:
            self.loaded[task] = load_model(task, self.profile)
        return self.loaded[task]

    @property
    def models(self) -> dict[str, TaskModel]:
        """The models of all tasks."""
        return {task: self.model(task) for task in TASKS}

    @property
    def generator(self) -> Generator:
        """The generator. Raises ValueError if a model of another class takes its place."""
        return self._usual_model("generation")

    @property
    def detector(self) -> Detector:
        """The detector. Raises ValueError if a model of another class takes its place."""
        return self._usual_model("detection")

    @property
    def classifier(self) -> Classifier:
        """The classifier. Raises ValueError if a model of another class takes its place."""
        return self._usual_model("classification")

    def _usual_model(self, task: str) -> Any:
        model, usual = self.model(task), usual_adapter(task)
        if not isinstance(model, usual):
            found = f"The {task} model of the profile '{self.profile.name}' is a {type(model).__name__}"
            raise ValueError(f"{found}, and this needs a {usual.__name__} or a class derived from it.")
        return model

    def split(self, dataset: str) -> DatasetSplit:
        """The images of a dataset. Raises ValueError and FileNotFoundError as `read_split` does."""
        if dataset not in self.splits:
            self.splits[dataset] = self.read_split(self.profile, dataset)
        return self.splits[dataset]

    def features(self, task: str, dataset: str, split: Split) -> CachedFeatures:
        """A model's features of a dataset's images; no features for a model that is not judged on test images."""
        key = task, dataset, split
        if key not in self.cached:
            model, images = self.model(task), self.split(dataset)
            examples = images.train if split == "train" else images.test if model.needs_test_images else []
            self.cached[key] = model.cache_features(examples) if examples else CachedFeatures([], {})
        return self.cached[key]

    def transfer_map(self, source: str, target: str, kind: str = PAPER_MAP) -> TransferMap:
        """Equations 1 and 2: the map from a source model's words to a target's, fitted on all words that both know."""
        key = source, target, kind
        if key not in self.maps:
            self.maps[key] = fit_transfer(self.model(source), self.model(target), kind=kind)
        return self.maps[key]

    def transfer(self, vectors: Tensor, source: str, target: str, kind: str = PAPER_MAP) -> Tensor:
        """Equation 3: a source model's word vectors (..., d_source) as the target's (..., d_target)."""
        return vectors if source == target else self.transfer_map(source, target, kind)(vectors)

    def learn(
        self, task: str, trials: Sequence[Trial], allow_divergence: bool = False, progress: bool = True, **changes: Any
    ) -> Learned:
        """Section 3: learn the words of trials of one dataset for one task.

        The profile gives the settings; `changes` replace some of those of `vwlib.learn.learn_trials`.
        Raises FloatingPointError if a word diverges, unless `allow_divergence`.
        """
        chosen = self.profile.learning[task]
        settings = {"steps": chosen.steps, "lr": chosen.rate, "batch": chosen.batch, "patience": chosen.patience}
        settings["vectors"] = self.profile.vectors
        features = self.features(task, trials[0].dataset, "train")
        learned = learn_trials(self.model(task), features, trials, progress=progress, **(settings | changes))
        if not allow_divergence:
            raise_if_diverged(learned, task, trials)
        return learned

    def evaluate(self, task: str, vectors: Tensor, trials: Sequence[Trial]) -> list[Score]:
        """Table 1: the metric of each trial's word (word, vector, d of the task's model) on the task's test images."""
        dataset = trials[0].dataset
        features, names = self.features(task, dataset, "test"), self.split(dataset).names
        return self.model(task).evaluate(vectors, [t.concept for t in trials], names, features, seed=trials[0].seed)

    def run_trials(
        self,
        trials: Sequence[Trial],
        sources: Sequence[str] = TASKS,
        targets: Sequence[str] = TASKS,
        *,
        kind: str = PAPER_MAP,
        learned: Mapping[str, Learned] = MappingProxyType({}),
        references: bool = True,
        progress: bool = True,
    ) -> Grid:
        """Section 4: learn every trial's word for each source task and score it on every target task.

        A word is scored as it is on its own task, and mapped with a map of `kind` on the others. `references` adds the
        scores of the anchors and of the concepts' names. Words that are `learned` already are not learned again.
        Raises FloatingPointError if a word diverges.
        """
        trials, rows = list(trials), list[dict[str, Any]]()
        words = {source: learned.get(source) or self.learn(source, trials, progress=progress) for source in sources}
        for target in targets:
            rows += self.reference_rows(target, trials) if references else []
            for source, result in words.items():
                scores = self.evaluate(target, self.transfer(result.vectors, source, target, kind), trials)
                rows += self.rows(trials, source, target, scores, kind)
        return Grid(trials, words, rows)

    def reference_rows(self, target: str, trials: Sequence[Trial]) -> list[dict[str, Any]]:
        """The floor and the ceiling of a target task: the anchor word, and the words of the concept's own name.

        The floor is the anchor as one word, as in a prompt (a control); a learned word starts as `profile.vectors`
        copies of it. Each concept's name is scored once for all its trials.
        """
        model, names = self.model(target), self.split(trials[0].dataset).names
        anchors = model.embeddings_of([trial.anchor for trial in trials])
        rows = self.rows(trials, "anchor", target, self.evaluate(target, anchors, trials))
        for concept in dict.fromkeys(trial.concept for trial in trials):
            same = [trial for trial in trials if trial.concept == concept]
            vectors = model.word_table()[model.vocabulary.encode(names[concept])][None]
            rows += self.rows(same, "name", target, self.evaluate(target, vectors, same[:1]) * len(same))
        return rows

    def rows(
        self, trials: Sequence[Trial], source: str, target: str, scores: Sequence[Score], kind: str = PAPER_MAP
    ) -> list[dict[str, Any]]:
        """One row per trial: words of `source` (a task, "anchor" or "name") scored on `target`."""
        mapped = source in TASKS and source != target
        learning = self.profile.learning.get(source)
        return [
            {
                "study": self.profile.name,
                "dataset": trial.dataset,
                "concept": trial.concept,
                "anchor": trial.anchor,
                "trained_on": source,
                "delta": trial.delta,
                "seed": trial.seed,
                "evaluated_on": target,
                "metric": score.metric,
                "value": score.value,
                "n": score.n,
                "map": kind if mapped else "none",
                "steps": learning.steps if learning else 0,
                "word_id": None,
                **score.more,
            }
            for trial, score in zip(trials, scores, strict=True)
        ]
