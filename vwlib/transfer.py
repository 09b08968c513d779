"""Moving words between models: a map between their word tables, the paper's linear one (section 3, equations 1 to 3) or
another kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from vwlib.maps import MAPS, PAPER_MAP, Affine, Carry, fit_map
from vwlib.models.base import TaskModel


@dataclass(frozen=True)
class TransferMap:
    """A map from a source model's word embeddings to a target model's. `carry` moves vectors, `kind` is its name in
    `vwlib.maps.MAPS`.
    """

    source: str
    target: str
    carry: Carry
    kind: str = PAPER_MAP

    def __call__(self, vectors: Tensor) -> Tensor:
        """Equation 3: move vectors (..., d_source) into the target's space (..., d_target)."""
        return self.carry(vectors)

    @property
    def matrix(self) -> Tensor:
        """The matrix (d_source, d_target) of a linear map, without the offset that some kinds have.

        Raises ValueError for a map that is not linear.
        """
        if not isinstance(self.carry, Affine):
            raise ValueError(f"A map of kind '{self.kind}' is not linear and has no matrix.")
        return self.carry.matrix


def shared_words(*models: TaskModel) -> list[str]:
    """The whole words that all the models have as single tokens and met in training, sorted."""
    return sorted(set.intersection(*(set(model.vocabulary.words()) for model in models)))


def embeddings_of(model: TaskModel, words: list[str]) -> Tensor:
    """The model's embeddings (word, d) of single-token words."""
    ids = model.vocabulary.words()
    return model.word_table()[[ids[word] for word in words]]


def fit_transfer(
    source: TaskModel, target: TaskModel, words: list[str] | None = None, kind: str = PAPER_MAP, seed: int = 0
) -> TransferMap:
    """The transfer map from one model to another, fitted on all words that both know, or on `words`; `kind` is one of
    `vwlib.maps.MAPS`.

    Raises ValueError for a kind that there is not, and where there are too few words for it.
    """
    words = words or shared_words(source, target)
    return TransferMap(
        source.task, target.task, fit_map(kind, embeddings_of(source, words), embeddings_of(target, words), seed), kind
    )


def ordered_pairs(models: dict[str, TaskModel]) -> list[tuple[str, str]]:
    """All six ordered pairs of the three tasks."""
    return [(source, target) for source in models for target in models if source != target]


def fit_all(models: dict[str, TaskModel]) -> dict[tuple[str, str], TransferMap]:
    """The transfer maps of all ordered pairs of models."""
    return {pair: fit_transfer(models[pair[0]], models[pair[1]]) for pair in ordered_pairs(models)}


def retrieval(mapped: Tensor, table: Tensor, truth: Tensor, at: int = 1) -> Tensor:
    """Whether the true word is among the `at` nearest words, by Euclidean distance: bool (word,).

    `mapped` (word, d), `table` (candidate, d), `truth` (word,) indexes the candidates.
    """
    nearest = torch.cdist(mapped, table).topk(at, largest=False).indices
    return (nearest == truth[:, None]).any(1)


def held_out_quality(
    source: TaskModel, target: TaskModel, folds: int = 5, seed: int = 0, kind: str = PAPER_MAP
) -> pd.DataFrame:
    """How well a kind of map carries words that it was not fitted on, by cross-validation over the shared words.

    One row a word: `word`, `fold`, `r2` (of the fold, against the mean of the words fitted on; `r2_fitted`: of those
    words), `cosine`, `error` (distance to the true embedding, in units of that word's distance to its nearest shared
    word), and whether the word itself is the nearest (`top1`) or among the five nearest (`top5`) of all shared words;
    `chance1` and `chance5` are what guessing would give.
    """
    words = shared_words(source, target)
    y, x = embeddings_of(source, words), embeddings_of(target, words)
    spacing = nearest_distances(x)
    fold_of = np.random.default_rng(seed).permutation(len(words)) % folds
    frames = []
    for fold in range(folds):
        test = torch.from_numpy(np.flatnonzero(fold_of == fold))
        train = torch.from_numpy(np.flatnonzero(fold_of != fold))
        mapping, mean = fit_map(kind, y[train], x[train], seed), x[train].mean(0)
        mapped = mapping(y[test])
        residual, spread = (mapped - x[test]).pow(2).sum(), (x[test] - mean).pow(2).sum()
        fitted = 1 - (mapping(y[train]) - x[train]).pow(2).sum() / (x[train] - mean).pow(2).sum()
        frames.append(
            pd.DataFrame(
                {
                    "word": [words[i] for i in test],
                    "fold": fold,
                    "r2": float(1 - residual / spread),
                    "r2_fitted": float(fitted),
                    "cosine": F.cosine_similarity(mapped, x[test]).numpy(),
                    "error": ((mapped - x[test]).norm(dim=-1) / spacing[test]).numpy(),
                    "top1": retrieval(mapped, x, test, 1).numpy(),
                    "top5": retrieval(mapped, x, test, 5).numpy(),
                }
            )
        )
    table = pd.concat(frames, ignore_index=True)
    return table.assign(
        source=source.task, target=target.task, words=len(words), chance1=1 / len(words), chance5=5 / len(words)
    )


def quality_of_all(models: dict[str, TaskModel], folds: int = 5, seed: int = 0, kind: str = PAPER_MAP) -> pd.DataFrame:
    """`held_out_quality` of all ordered pairs, one below the other."""
    return pd.concat(
        [
            held_out_quality(models[source], models[target], folds, seed, kind)
            for source, target in ordered_pairs(models)
        ],
        ignore_index=True,
    )


def quality_of_kinds(
    models: dict[str, TaskModel], kinds: Sequence[str] = (), folds: int = 5, seed: int = 0
) -> pd.DataFrame:
    """`quality_of_all` for several kinds of map, or all; the column `map` names the kind."""
    return pd.concat(
        [quality_of_all(models, folds, seed, kind).assign(map=kind) for kind in kinds or MAPS], ignore_index=True
    )


def nearest_distances(table: Tensor, at_once: int = 4096) -> Tensor:
    """The distance (word,) of each row of `table` (word, d) to the nearest other row: the unit of a ball's delta.

    All distances of CLIP's 33,000 whole words would take 4 GB; `at_once` rows are compared with all at a time.
    """
    nearest = []
    for rows in torch.arange(len(table)).split(at_once):
        distances = torch.cdist(table[rows], table)
        distances[torch.arange(len(rows)), rows] = torch.inf
        nearest.append(distances.min(1).values)
    return torch.cat(nearest)


def held_out_neighbours(source: TaskModel, target: TaskModel, words: Sequence[str], count: int = 3) -> pd.DataFrame:
    """Where words land that the map was not fitted on: one row a word, with the `count` nearest of the shared words in
    the target.

    Raises ValueError for a word that the two models do not share.
    """
    known = shared_words(source, target)
    for word in words:
        if word not in known:
            raise ValueError(f"'{word}' is no word that the {source.task} and the {target.task} model share.")
    mapping = fit_transfer(source, target, [word for word in known if word not in words])
    order = (
        torch.cdist(mapping(embeddings_of(source, list(words))), embeddings_of(target, known))
        .topk(count, largest=False)
        .indices
    )
    return pd.DataFrame(
        [[known[i] for i in row] for row in order],
        pd.Index(words, name="word"),
        [f"nearest {k + 1}" for k in range(count)],
    )


def nearest_words(vectors: Tensor, model: TaskModel, count: int = 5) -> list[list[str]]:
    """The model's own words nearest to each vector (vector, d), nearest first."""
    words = model.vocabulary.words()
    names, ids = list(words), list(words.values())
    order = torch.cdist(vectors.float(), model.word_table()[ids]).topk(count, largest=False).indices
    return [[names[i] for i in row] for row in order]
