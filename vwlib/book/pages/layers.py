"""Words of the stored study and plain real words in the text encoders, layer by layer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from vwlib.book.figures.style import CONCEPT_COLOURS
from vwlib.book.pages.tables import SCALE, embed
from vwlib.concepts import TASKS
from vwlib.experiments.encoder import own_words
from vwlib.experiments.layer_statistics import (
    contributions_to_direction,
    evenly_spaced,
    label_words,
    projection_on_concept_direction,
    tsne_of_layers,
)
from vwlib.lab import Lab
from vwlib.layers import block_contributions, hidden_states, truncated
from vwlib.ledger.summary import is_diagonal
from vwlib.models.base import TaskModel
from vwlib.study.read import StoredStudy, TrialWords
from vwlib.trials import Trial

#: What pages call the kinds of words in the experiments' tables, in the order of figures and tables. Real words are the
#: baseline: the concept's own word in the anchor's place.
KINDS = {"learned": "learned", "swap": "real words", "transferred": "transferred"}
REAL = KINDS["swap"]
#: What a page says where scripts do not run.
PLAIN = "The map to point at needs JavaScript. The figures above show the same words."


def words_in(
    lab: Lab, study: StoredStudy, dataset: str, source: str, task: str, delta: float | None
) -> tuple[Tensor, pd.DataFrame]:
    """A dataset's words in a task's model: their vectors (word, vector, d) and their labels.

    They were learned for `source`, and are mapped where that is another task. The source `REAL` gives the concept's own
    word in the place of every anchor. Raises ValueError where the study has no such words.
    """
    learned = task if source == REAL else source
    grid = study.grid(dataset, study.concepts(dataset), study.anchors(dataset), delta)
    words = [words for row in grid for words in row if learned in words.vectors]
    trials = [one.trial for one in words]
    if source == REAL:
        vectors = own_words(lab, task, trials)
    else:
        vectors = lab.transfer(torch.stack([one.vectors[source] for one in words]), source, task)
    return vectors, label_words(trials, study.profile.world)


def layer_points(
    lab: Lab,
    study: StoredStudy,
    dataset: str,
    rows: dict[str, tuple[str, str]],
    delta: float | None,
    layers: int = 4,
    random_state: int = 0,
) -> pd.DataFrame:
    """Figures 7 and 12 to 18: t-SNE of all words of a dataset at evenly spaced layers (`tsne_of_layers`).

    `rows` gives a source (`words_in`) and an encoder's task for each label in the column `words`.
    """
    tables = []
    for label, (source, task) in rows.items():
        vectors, words = words_in(lab, study, dataset, source, task, delta)
        states = hidden_states(lab.model(task), vectors)
        points = tsne_of_layers(states, words, evenly_spaced(len(states) - 1, layers), random_state=random_state)
        tables.append(points.assign(words=label))
    return pd.concat(tables, ignore_index=True)


@dataclass(frozen=True)
class LayerMap:
    """Figures 7 and 12 to 18 for the pointer: the words of `layer_points`, with a slider (`_static/layers.js`)."""

    points: pd.DataFrame

    @property
    def index(self) -> dict[str, Any]:
        """Words by row of panels, as positions among concepts and anchors, and their places at each layer."""
        concepts, anchors = (list(self.points[column].unique()) for column in ("concept", "anchor"))
        rows = {}
        for label, points in self.points.groupby("words", sort=False):
            layers = {int(layer): group for layer, group in points.groupby("layer")}
            words = next(iter(layers.values()))[["concept", "anchor"]].to_numpy()
            numbers = [[concepts.index(concept), anchors.index(anchor)] for concept, anchor in words]
            rows[str(label)] = {"words": numbers, "layers": list(layers), "at": list(map(_places, layers.values()))}
        return {"concepts": concepts, "anchors": anchors, "colours": CONCEPT_COLOURS, "scale": SCALE, "rows": rows}

    def _repr_html_(self) -> str:
        return f'<div class="layers"><noscript><p>{PLAIN}</p></noscript>{embed(self.index, "layers-data")}</div>'

    def __repr__(self) -> str:
        return f"LayerMap of {', '.join(map(str, self.points['words'].unique()))}"


def _places(points: pd.DataFrame) -> list[int]:
    """x, y, x, y, ... as whole numbers up to `SCALE`, with a margin."""
    at = points[["x", "y"]].to_numpy()
    shares = (at - at.min(0)) / np.maximum(np.ptp(at, axis=0), 1e-9)
    return [round(SCALE * (0.03 + 0.94 * share)) for share in shares.ravel().tolist()]


def projections(lab: Lab, study: StoredStudy, dataset: str, delta: float | None) -> pd.DataFrame:
    """How far words have moved from anchor to concept at each layer, in all encoders, off the diagonal.

    `task`, `source` and `kind` say whether they were learned there, mapped there, or are real words.
    """
    tables = []
    for model, words, *vectors in _encoders(lab, study, dataset, delta):
        states, start, end = (hidden_states(model, v) for v in vectors)
        tables.append(projection_on_concept_direction(states, start, end, words))
    return in_order(pd.concat(tables, ignore_index=True))


def contributions(lab: Lab, study: StoredStudy, dataset: str, delta: float | None) -> pd.DataFrame:
    """What attention and MLPs contribute to the same words' last projections: `contributions_to_direction`."""
    tables = []
    for model, words, vectors, anchors, concepts in _encoders(lab, study, dataset, delta):
        outputs, before = (block_contributions(model, v) for v in (vectors, anchors))
        start, end = (hidden_states(model, v)[-1] for v in (anchors, concepts))
        tables.append(contributions_to_direction(outputs, before, start, end, words))
    return in_order(pd.concat(tables, ignore_index=True))


def _encoders(
    lab: Lab, study: StoredStudy, dataset: str, delta: float | None
) -> Iterator[tuple[TaskModel, pd.DataFrame, Tensor, Tensor, Tensor]]:
    """All words off the diagonal by encoder, with vectors (word, vector, d) of them, their anchors and concepts."""
    for task in TASKS:
        model = lab.model(task)
        for source in (*TASKS, REAL):
            vectors, words = words_in(lab, study, dataset, source, task, delta)
            off = ~is_diagonal(words, study.profile.world).to_numpy()
            kind = source if source == REAL else KINDS["learned" if source == task else "transferred"]
            words = words[off].reset_index(drop=True).assign(task=task, source=source, kind=kind)
            trials = [Trial(word.dataset, word.concept, word.anchor) for word in words.itertuples()]
            anchors = model.embeddings_of([trial.anchor for trial in trials], study.profile.vectors)
            yield model, words, vectors[torch.from_numpy(off)], anchors, own_words(lab, task, trials)


def strip_words(
    study: StoredStudy, dataset: str, delta: float | None, concept: str = "", anchor: str = ""
) -> TrialWords:
    """The words of one concept and anchor; by default the first concept, from the next concept's anchor."""
    concepts, anchors = study.concepts(dataset), study.anchors(dataset)
    concept = concept or concepts[0]
    following = (concepts.index(concept) + 1) % len(anchors) if concept in concepts else 0
    return study.words_of(dataset, concept, anchor or anchors[following], delta)


def draw_strip(lab: Lab, words: TrialWords, pictures: int = 8, seed: int = 0) -> tuple[list, list[str], list[str]]:
    """Figure 7's strip with its baselines: a picture for each text and number of blocks, and labels for both.

    All pictures start from the same noise. The texts are the anchor word, the words learned for each task (mapped,
    where it is another than generation) and the concept's own word. There are at most `pictures` numbers of blocks.
    """
    model, trial, drawn = lab.generator, words.trial, []
    texts = {f"anchor word\n({trial.anchor})": model.embeddings_of([trial.anchor], lab.profile.vectors)}
    for source, vectors in words.vectors.items():
        texts[f"learned for\n{source}"] = lab.transfer(vectors[None], source, "generation")
    texts["concept's\nown word"] = own_words(lab, "generation", [trial])
    depth = len(model.blocks)
    blocks = list(range(1, depth + 1)) if depth <= pictures else evenly_spaced(depth, pictures)
    columns = [f"{count} block" + "s" * (count != 1) for count in blocks]
    for count in blocks:
        with truncated(model, count), torch.no_grad():
            states = model.encode_words(torch.cat(list(texts.values())))
            drawn.append([picture for (picture,) in model.generate(states, 1, seed)])
    return [list(row) for row in zip(*drawn, strict=True)], list(texts), columns


def of_kinds(table: pd.DataFrame, delta: float | None, kinds: Sequence[str] = tuple(KINDS)) -> pd.DataFrame:
    """The rows for words within `delta` (None: unconstrained) and for real words; `kind` becomes as pages call it."""
    within = table["delta"].isna() if delta is None else table["delta"] == delta
    chosen = table[(within | (table["kind"] == "swap")) & table["kind"].isin(kinds)]
    return in_order(chosen.assign(kind=chosen["kind"].map(KINDS)))


def of_dataset(table: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """The rows of one dataset; of the table's first one where it has none of that."""
    return table[table["dataset"] == (dataset if dataset in set(table["dataset"]) else table["dataset"].iloc[0])]


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """The rows in the order of `KINDS`."""
    order = list(KINDS.values())
    return table.sort_values("kind", key=lambda kinds: kinds.map(order.index), kind="stable", ignore_index=True)
