"""The layers of text encoders: words of the stored study and plain real words in them, and in sentences where each of
them acts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from vwlib.book.figures.style import CONCEPT_COLOURS
from vwlib.book.pages.scripts import SCALE, embed
from vwlib.experiments.base import vectors_of
from vwlib.experiments.encoder import own_words
from vwlib.experiments.layer_statistics import label_words, tsne_of_layers
from vwlib.layers import (
    block_contributions,
    contributions_to_direction,
    draw_truncated,
    evenly_spaced,
    hidden_states,
    projection_on_concept_direction,
)
from vwlib.models import TASKS, Generator, TaskModel, load_model
from vwlib.study.compat import carry
from vwlib.study.digest import trials_of
from vwlib.study.read import StoredStudy, TrialWords
from vwlib.trials import Trial, is_diagonal

#: What pages call the kinds of words of the experiments' tables; a "swap" puts the concept's own word in the anchor's
#: place.
KINDS = {"learned": "learned", "transferred": "transferred", "swap": "real words"}
REAL = KINDS["swap"]
#: What a page says where scripts do not run.
PLAIN = "The map to point at needs JavaScript. The figures above show the same words."


def words_in(
    study: StoredStudy, dataset: str, source: str, task: str, delta: float | None
) -> tuple[Tensor, pd.DataFrame]:
    """Vectors (word, vector, d) of a dataset's words in a task's model, and their labels: those learned for `source`,
    mapped where that is another task.

    The source `REAL` gives the concept's own word in the place of every anchor. Raises ValueError where the study has
    no such words.
    """
    learned = task if source == REAL else source
    words = [word for word in study.bank.values() if (word.task, word.dataset, word.delta) == (learned, dataset, delta)]
    if not words:
        radius = "without constraint" if delta is None else f"within delta {delta:g}"
        raise ValueError(
            f"The study of profile '{study.profile.name}' has no {learned} words of {dataset} {radius}; it has the radii {study.deltas}."
        )
    concepts, anchors = study.concepts(dataset), study.anchors(dataset)
    words.sort(key=lambda word: (concepts.index(word.concept), anchors.index(word.anchor)))
    trials = trials_of(words)
    vectors = (
        own_words(study.profile, task, trials)
        if source == REAL
        else carry(study.profile, vectors_of(words), source, task)
    )
    return vectors, label_words(trials, study.profile.world)


def layer_points(
    study: StoredStudy,
    dataset: str,
    rows: dict[str, tuple[str, str]],
    delta: float | None,
    layers: int = 4,
    random_state: int = 0,
) -> pd.DataFrame:
    """Figures 7 and 12 to 18: `tsne_of_layers` of all words of a dataset, at evenly spaced layers.

    `rows` gives each row of panels, by its label, a source (`words_in`) and the task in whose encoder its words stand;
    `words` holds the label.
    """
    parts = []
    for label, (source, task) in rows.items():
        model = load_model(task, study.profile)
        vectors, words = words_in(study, dataset, source, task, delta)
        chosen = evenly_spaced(len(model.blocks), layers)
        parts.append(
            tsne_of_layers(hidden_states(model, vectors), words, chosen, random_state=random_state).assign(words=label)
        )
    return pd.concat(parts, ignore_index=True)


@dataclass(frozen=True)
class LayerMap:
    """Figures 7 and 12 to 18 to point at: every word of `layer_points` with its name, a slider over the layers.
    `_static/layers.js` brings it to life.
    """

    points: pd.DataFrame

    @property
    def index(self) -> dict[str, Any]:
        """What the script shows: for each row of panels its words, as places in the lists of concepts and anchors, and
        their places at each layer.
        """
        concepts, anchors = (list(self.points[column].unique()) for column in ("concept", "anchor"))
        rows = {}
        for label, points in self.points.groupby("words", sort=False):
            layers = {int(layer): group for layer, group in points.groupby("layer")}
            first = next(iter(layers.values()))
            words = [
                [concepts.index(concept), anchors.index(anchor)]
                for concept, anchor in zip(first["concept"], first["anchor"], strict=True)
            ]
            rows[str(label)] = {
                "words": words,
                "layers": list(layers),
                "at": [_places(group) for group in layers.values()],
            }
        return {"concepts": concepts, "anchors": anchors, "colours": CONCEPT_COLOURS, "scale": SCALE, "rows": rows}

    def _repr_html_(self) -> str:
        return f'<div class="layers"><noscript><p>{PLAIN}</p></noscript>{embed(self.index, "layers-data")}</div>'

    def __repr__(self) -> str:
        return f"LayerMap of {', '.join(map(str, self.points['words'].unique()))}"


def _places(points: pd.DataFrame) -> list[int]:
    """x, y, x, y, ... as whole numbers up to `SCALE`, with a margin."""
    at = points[["x", "y"]].to_numpy()
    low, high = at.min(0), at.max(0)
    return [
        round(SCALE * (0.03 + 0.94 * share)) for share in ((at - low) / np.maximum(high - low, 1e-9)).ravel().tolist()
    ]


def ways(study: StoredStudy, dataset: str, delta: float | None) -> pd.DataFrame:
    """B2: `vwlib.layers.projection_on_concept_direction` in all three encoders, of words learned there, of words mapped there, and of
    real words.

    Off the diagonal, in the order learned, real, transferred. Columns `task`, `source` and `kind` say which words they
    are.
    """
    parts = []
    for found in _standing(study, dataset, delta):
        here, start, end = (hidden_states(found.model, v) for v in (found.vectors, found.anchors, found.owners))
        parts.append(found.label(projection_on_concept_direction(here, start, end, found.words)))
    return pd.concat(parts, ignore_index=True).sort_values("kind", key=_order, kind="stable", ignore_index=True)


def ways_by_part(study: StoredStudy, dataset: str, delta: float | None) -> pd.DataFrame:
    """B2: `vwlib.layers.contributions_to_direction` of the words of `ways`, with its columns."""
    parts = []
    for found in _standing(study, dataset, delta):
        added, before = (block_contributions(found.model, v) for v in (found.vectors, found.anchors))
        start, end = (hidden_states(found.model, v)[-1] for v in (found.anchors, found.owners))
        parts.append(found.label(contributions_to_direction(added, before, start, end, found.words)))
    return pd.concat(parts, ignore_index=True).sort_values("kind", key=_order, kind="stable", ignore_index=True)


@dataclass(frozen=True)
class _Standing:
    """Words off the diagonal in one task's encoder, with the vectors (word, vector, d) of their anchors and of their
    concepts' own words.
    """

    model: TaskModel
    source: str
    words: pd.DataFrame
    vectors: Tensor
    anchors: Tensor
    owners: Tensor

    def label(self, table: pd.DataFrame) -> pd.DataFrame:
        kind = "swap" if self.source == REAL else "learned" if self.source == self.model.task else "transferred"
        return table.assign(task=self.model.task, source=self.source, kind=KINDS[kind])


def _standing(study: StoredStudy, dataset: str, delta: float | None) -> Iterator[_Standing]:
    for task in TASKS:
        model = load_model(task, study.profile)
        for source in (*TASKS, REAL):
            vectors, words = words_in(study, dataset, source, task, delta)
            off = ~is_diagonal(words, study.profile.world)
            vectors, words = vectors[torch.tensor(off.tolist())], words[off].reset_index(drop=True)
            trials = [Trial(w.dataset, w.concept, w.anchor) for w in words.itertuples()]
            anchors = model.embeddings_of([trial.anchor for trial in trials], study.profile.vectors)
            yield _Standing(model, source, words, vectors, anchors, own_words(study.profile, task, trials))


def strip_words(
    study: StoredStudy, dataset: str, delta: float | None, concept: str = "", anchor: str = ""
) -> TrialWords:
    """The words of one concept and anchor; where they are not named, of the dataset's first concept, and of the next
    concept's anchor.

    Raises ValueError where the study has no such trial.
    """
    concepts, anchors = study.concepts(dataset), study.anchors(dataset)
    concept = concept or concepts[0]
    following = (concepts.index(concept) + 1) % len(anchors) if concept in concepts else 0
    return study.words_of(dataset, concept, anchor or anchors[following], delta)


def draw_strip(
    study: StoredStudy, words: TrialWords, pictures: int = 8, seed: int = 0
) -> tuple[list[list[Image.Image]], list[str], list[str]]:
    """Figure 7's strip, with its baselines: a picture for each text and number of blocks, all from the same noise; then
    the labels of rows and columns.

    At most `pictures` numbers of blocks, evenly spaced. The texts are the anchor word, the words learned for each task
    (mapped, where it is another than generation) and the concept's own word.
    """
    model = load_model("generation", study.profile)
    assert isinstance(model, Generator)
    anchor = model.embeddings_of([words.trial.anchor], study.profile.vectors)
    texts = {f"anchor word\n({words.trial.anchor})": anchor}
    texts |= {
        f"learned for\n{source}": carry(study.profile, vectors[None], source, "generation")
        for source, vectors in words.vectors.items()
    }
    texts |= {"concept's\nown word": own_words(study.profile, "generation", [words.trial])}
    depth = len(model.blocks)
    blocks = list(range(1, depth + 1)) if depth <= pictures else evenly_spaced(depth, pictures)
    columns = [f"{count} block" + "s" * (count != 1) for count in blocks]
    return draw_truncated(model, torch.cat(list(texts.values())), blocks, seed), list(texts), columns


def of_kinds(table: pd.DataFrame, delta: float | None, kinds: Sequence[str] = tuple(KINDS)) -> pd.DataFrame:
    """The rows of an experiment's table for words within `delta` (None: unconstrained) and for real words, which have
    none; `kind` as pages call it.
    """
    chosen = table[(table["delta"].isna() if delta is None else table["delta"] == delta) | (table["kind"] == "swap")]
    return (
        chosen[chosen["kind"].isin(kinds)]
        .assign(kind=lambda rows: rows["kind"].map(KINDS))
        .sort_values("kind", key=_order, kind="stable")
    )


def of_dataset(table: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """The rows of one dataset; of the table's first one where it has none of that."""
    return table[table["dataset"] == (dataset if dataset in set(table["dataset"]) else table["dataset"].iloc[0])]


def _order(kinds: pd.Series) -> pd.Series:
    return kinds.map({name: place for place, name in enumerate((KINDS["learned"], REAL, KINDS["transferred"]))})
