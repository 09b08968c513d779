"""The explorer: every word of the stored study to look at, without a kernel (`_static/explorer.js`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from vwlib.book.figures.style import TASK_COLOURS
from vwlib.book.pages.experiments import tables_or_stand_in
from vwlib.book.pages.study import study_or_stand_in
from vwlib.book.pages.tables import SCALE, embed
from vwlib.concepts import TASKS, concepts_of
from vwlib.datasets.splits import load_split
from vwlib.experiments.sheets import SIDE, sheet_of
from vwlib.experiments.words import vectors_of
from vwlib.models import load_model
from vwlib.settings import Profile, load_profile
from vwlib.study.read import StoredStudy

#: Below the folder of the book's pages, where the sheets of pictures lie.
FOLDER = "explorer"
TESTED = 96  # px of a test image's side on its sheet
#: In the place of a concept: there is no picture, or the judge calls it something that the study does not learn.
DIVERGED, OTHER = -1, -2
#: What a page says where scripts do not run.
PLAIN = (
    "The explorer needs JavaScript. The chapters on transfer and on solutions show some of the same words; "
    "the released tables have all their scores."
)


@dataclass(frozen=True)
class Explorer:
    """An index of datasets, groups of words and maps of words; the pictures are files (`explorer_files`)."""

    index: dict[str, Any]

    def _repr_html_(self) -> str:
        plain, data = f"<noscript><p>{escape(PLAIN)}</p></noscript>", embed(self.index, "explorer-data")
        return f'<div class="explorer" data-folder="../_static/{FOLDER}">{plain}{data}</div>'

    def __repr__(self) -> str:
        return f"Explorer of {sum(len(group['named']) for group in self.index['groups'].values()):,} words"


def explorer_sources(profile: Profile) -> tuple[StoredStudy, dict[str, pd.DataFrame], str]:
    """A profile's study, its tables `sheets` and `displacements`, and a notice; all of smoke's where one is missing.

    Raises FileNotFoundError where nothing can stand in, and ValueError where a file was damaged.
    """
    study, notice = study_or_stand_in(profile)
    tables, missing = tables_or_stand_in(profile, ["sheets", "displacements"])
    if missing and study.profile == profile:
        study, _ = study_or_stand_in(load_profile("smoke"))
    return study, tables, missing or notice


def make_explorer(study: StoredStudy, tables: dict[str, pd.DataFrame]) -> Explorer:
    """The explorer of a study and of its experiments' tables `sheets` and `displacements`.

    A group is a dataset, task and radius. Its lists have one entry a word, concepts outermost: the place in the list of
    concepts of what the judge calls its picture (`DIVERGED` and `OTHER` for none of them), the box found, its score on
    each task, how far its vectors lie from the anchor (their median), and the vectors' nearest words and places on the
    map of the model's words.
    """
    maps = {task: WordMap.of(study, task) for task in TASKS}
    sheets, moves = tables["sheets"], tables["displacements"].rename(columns={"task": "trained_on"})
    groups = {}
    for row in sheets[sheets["trained_on"].isin(TASKS) & sheets["dataset"].isin(study.datasets)].to_dict("records"):
        of, concepts = (row["dataset"], row["trained_on"], row["delta"]), list(row["concepts"])
        cells = pd.MultiIndex.from_product([concepts, list(row["anchors"])], names=["concept", "anchor"])
        own, found = _rows_of(moves, *of), maps[row["trained_on"]]
        groups[key_of(*of)] = {
            "sheet": f"{key_of(*of)}.webp",
            "named": _named(row["named"], concepts),
            "boxes": [[int(number) for number in box] for box in row["boxes"]],
            "scores": _scores(_rows_of(study.table, *of), cells),
            "moved": _rounded(own.groupby(cells.names)["distance"].median().reindex(cells), 2),
            "nearest": found.nearest(own, cells),
            "at": found.places(study, cells, *of),
        }
    return Explorer(
        {
            "tasks": list(TASKS),
            "colours": TASK_COLOURS,
            "side": SIDE,
            "tested": TESTED,
            "scale": SCALE,
            "deltas": [*study.deltas, None],
            "datasets": {name: _dataset(study, name, sheets[sheets["dataset"] == name]) for name in study.datasets},
            "groups": groups,
            "maps": {task: found.index for task, found in maps.items()},
        }
    )


def key_of(dataset: str, trained_on: str, delta: float) -> str:
    """The name of a group, and of the file of its sheet; `delta` is NaN for unconstrained words."""
    return f"{dataset}-{trained_on}-{'free' if np.isnan(delta) else f'{delta:g}'}"


def explorer_files(study: StoredStudy, sheets: pd.DataFrame) -> dict[str, bytes]:
    """The sheets by file name: of each group, of anchor words, of concepts' own names, and of the test images."""
    groups = zip(sheets["dataset"], sheets["trained_on"], sheets["delta"], sheets["sheet"], strict=True)
    files = {f"{key_of(*of)}.webp": sheet for *of, sheet in groups}
    for dataset in study.datasets:
        images = [example.image() for example in _tests(study, dataset)]
        files[f"{dataset}-tests.webp"] = sheet_of([images], TESTED)
    return files


def _tests(study: StoredStudy, dataset: str) -> list:
    """The first test image of each of the study's concepts."""
    first = {example.label: example for example in reversed(load_split(study.profile, dataset).test)}
    return [first[concept] for concept in study.concepts(dataset)]


def _dataset(study: StoredStudy, dataset: str, sheets: pd.DataFrame) -> dict[str, Any]:
    concepts, anchors = study.concepts(dataset), study.anchors(dataset)
    cells = pd.MultiIndex.from_product([concepts, anchors], names=["concept", "anchor"])
    own_anchor = {concept.name: concept.anchor for concept in concepts_of(dataset, study.profile.world)}
    truth = []
    for example in _tests(study, dataset):
        scale = SCALE / max(example.image().size)
        truth.append([[round(scale * edge) for edge in box] for box in example.boxes_of(example.label).tolist()])
    references = {
        source: {
            "sheet": f"{key_of(dataset, source, np.nan)}.webp",
            "named": _named(sheets[sheets["trained_on"] == source].iloc[0]["named"], concepts),
            "scores": _scores(_rows_of(study.table, dataset, source, np.nan), cells),
        }
        for source in ("anchor", "name")
    }
    own, tests = [own_anchor[concept] for concept in concepts], f"{dataset}-tests.webp"
    return {"concepts": concepts, "anchors": anchors, "own": own, "tests": tests, "truth": truth, **references}


def _named(names: Sequence[str], concepts: list[str]) -> list[int]:
    """The place of each picture's judged name; `OTHER` if it is no concept's, `DIVERGED` if there is no picture."""
    return [concepts.index(name) if name in concepts else OTHER if name else DIVERGED for name in names]


def _rows_of(table: pd.DataFrame, dataset: str, trained_on: str, delta: float) -> pd.DataFrame:
    """The rows of one dataset, source and radius."""
    near = table["delta"].isna() if np.isnan(delta) else table["delta"] == delta
    return table[(table["dataset"] == dataset) & (table["trained_on"] == trained_on) & near]


def _rounded(values: pd.Series, digits: int) -> list[float | None]:
    return [round(float(value), digits) if np.isfinite(value) else None for value in values]


def _scores(rows: pd.DataFrame, cells: pd.MultiIndex) -> dict[str, list[float | None]]:
    """The scores of the words `cells` on each task."""
    tasks = {task: rows[rows["evaluated_on"] == task].set_index(cells.names)["value"] for task in TASKS}
    return {task: _rounded(values.reindex(cells), 3) for task, values in tasks.items()}


@dataclass(frozen=True)
class WordMap:
    """A model's words in the plane of their two principal components."""

    words: list[str]
    rows: np.ndarray  # (word, d)
    plane: PCA
    low: np.ndarray  # (2,), as `high`: the map's edges
    high: np.ndarray

    @classmethod
    def of(cls, study: StoredStudy, task: str) -> WordMap:
        """The map of a task's model, wide enough for nearly all of its words and of the study's."""
        model = load_model(task, study.profile)
        words = sorted(known := model.vocabulary.words())
        rows = model.word_table()[[known[word] for word in words]].cpu().numpy()
        plane = PCA(2, svd_solver="full").fit(rows)
        learned = vectors_of([word for word in study.bank.values() if word.task == task]).flatten(0, 1).numpy()
        low, high = np.quantile(plane.transform(np.concatenate([rows, learned])), [0.005, 0.995], axis=0)
        margin = 0.05 * (high - low)
        return cls(words, rows, plane, low - margin, high + margin)

    def place(self, rows: np.ndarray) -> list[int]:
        """Places of vectors (vector, d), at the map's edge where they lie beyond it."""
        shares = (self.plane.transform(rows) - self.low) / (self.high - self.low)
        return [round(SCALE * share) for share in shares.clip(0, 1).ravel().tolist()]

    @property
    def index(self) -> dict[str, Any]:
        """The map as plain data; `at` has x and y of every word."""
        share = round(float(self.plane.explained_variance_ratio_.sum()), 3)
        return {"words": self.words, "at": self.place(self.rows), "share": share}

    def nearest(self, moves: pd.DataFrame, cells: pd.MultiIndex) -> list[list[int]]:
        """For each word its vectors' nearest words, as places in `words`; none for a word that diverged."""
        number = {word: place for place, word in enumerate(self.words)}
        groups = moves.sort_values("vector").groupby(["concept", "anchor"])["nearest"]
        found = {cell: [number[word] for word in words] for cell, words in groups}
        return [found.get(cell, []) for cell in cells]

    def places(
        self, study: StoredStudy, cells: pd.MultiIndex, dataset: str, task: str, delta: float
    ) -> list[list[int]]:
        """For each word its vectors' places on the map; none for a word that diverged."""
        radius = None if np.isnan(delta) else delta
        words = [study.words_of(dataset, concept, anchor, radius).vectors for concept, anchor in cells]
        return [self.place(found[task].numpy()) if task in found else [] for found in words]
