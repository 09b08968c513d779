"""How well transfer maps carry ordinary words that they were not fitted on (section 3.1)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from vwlib.experiments.base import Experiment, ExperimentCase, Sources, single_case
from vwlib.lab import Lab
from vwlib.ledger.schemas import TableSchema
from vwlib.maps import MAPS, PAPER_MAP, fit_map
from vwlib.models.base import TaskModel
from vwlib.transfer import fit_transfer, shared_words, token_ids


def retrieval(mapped: Tensor, table: Tensor, truth: Tensor, at: int = 1) -> Tensor:
    """Whether the true word is among the `at` nearest words, by Euclidean distance: bool (word,).

    `mapped` (word, d), `table` (candidate, d), `truth` (word,) indexes the candidates.
    """
    nearest = torch.cdist(mapped, table).topk(at, largest=False).indices
    return (nearest == truth[:, None]).any(1)


def held_out_quality(
    source: TaskModel, target: TaskModel, folds: int = 5, seed: int = 0, kind: str = PAPER_MAP
) -> pd.DataFrame:
    """The quality of a map on words that it was not fitted on, by cross-validation over the shared words.

    One row per word: `word`, `fold`, `r2` of the fold (against the mean of the words fitted on), `r2_fitted` of the
    words fitted on, `cosine`, `error` (distance to the true embedding, in units of that word's distance to its nearest
    shared word), `top1` and `top5` (whether the word is the nearest, or among the five nearest, of all shared words),
    and `chance1` and `chance5`, which guessing would give.
    """
    words = shared_words(source, target)
    y, x = (model.word_table()[token_ids(model, words)] for model in (source, target))
    spacing = nearest_distances(x)
    fold_of = torch.from_numpy(np.random.default_rng(seed).permutation(len(words)) % folds)
    frames = []
    for fold in range(folds):
        test, train = (fold_of == fold).nonzero()[:, 0], (fold_of != fold).nonzero()[:, 0]
        mapping, mean = fit_map(kind, y[train], x[train], seed), x[train].mean(0)
        mapped = mapping(y[test])
        columns = {
            "word": [words[i] for i in test],
            "fold": fold,
            "r2": _explained(mapped, x[test], mean),
            "r2_fitted": _explained(mapping(y[train]), x[train], mean),
            "cosine": F.cosine_similarity(mapped, x[test]).numpy(),
            "error": ((mapped - x[test]).norm(dim=-1) / spacing[test]).numpy(),
            "top1": retrieval(mapped, x, test, 1).numpy(),
            "top5": retrieval(mapped, x, test, 5).numpy(),
        }
        frames.append(pd.DataFrame(columns))
    chance = {"chance1": 1 / len(words), "chance5": 5 / len(words)}
    table = pd.concat(frames, ignore_index=True)
    return table.assign(source=source.task, target=target.task, words=len(words), **chance)


def _explained(mapped: Tensor, truth: Tensor, mean: Tensor) -> float:
    return float(1 - (mapped - truth).pow(2).sum() / (truth - mean).pow(2).sum())


def quality_of_all(
    models: Mapping[str, TaskModel], folds: int = 5, seed: int = 0, kind: str = PAPER_MAP
) -> pd.DataFrame:
    """`held_out_quality` of all ordered pairs, one below the other."""
    pairs = itertools.permutations(models, 2)
    tables = [held_out_quality(models[source], models[target], folds, seed, kind) for source, target in pairs]
    return pd.concat(tables, ignore_index=True)


def quality_of_kinds(
    models: Mapping[str, TaskModel], kinds: Sequence[str] = (), folds: int = 5, seed: int = 0
) -> pd.DataFrame:
    """`quality_of_all` for several maps, by default all; the column `map` names the map."""
    tables = [quality_of_all(models, folds, seed, kind).assign(map=kind) for kind in kinds or MAPS]
    return pd.concat(tables, ignore_index=True)


def nearest_distances(table: Tensor, at_once: int = 4096) -> Tensor:
    """The distance (word,) of each row of `table` (word, d) to the nearest other row: the unit of a ball's delta.

    `at_once` rows are compared with all at a time: all distances of CLIP's 33,000 whole words would take 4 GB.
    """
    nearest = []
    for rows in torch.arange(len(table)).split(at_once):
        distances = torch.cdist(table[rows], table)
        distances[torch.arange(len(rows)), rows] = torch.inf
        nearest.append(distances.min(1).values)
    return torch.cat(nearest)


def held_out_neighbours(source: TaskModel, target: TaskModel, words: Sequence[str], count: int = 3) -> pd.DataFrame:
    """The `count` shared words nearest to each of `words` after a map that was not fitted on them, one row per word.

    Raises ValueError for a word that the two models do not share.
    """
    known = shared_words(source, target)
    if unknown := [word for word in words if word not in known]:
        raise ValueError(f"The {source.task} and the {target.task} model do not share the word '{unknown[0]}'.")
    mapping = fit_transfer(source, target, [word for word in known if word not in words])
    mapped = mapping(source.embeddings_of(words)[:, 0])
    candidates = target.word_table()[token_ids(target, known)]
    order = torch.cdist(mapped, candidates).topk(count, largest=False).indices
    columns = [f"nearest {k + 1}" for k in range(count)]
    return pd.DataFrame([[known[i] for i in row] for row in order], pd.Index(words, name="word"), columns)


def compute(lab: Lab, _: ExperimentCase, __: Sources) -> pd.DataFrame:
    """`quality_of_all`: one row per held-out word and ordered pair of models."""
    return quality_of_all(lab.models)


HELD_OUT = Experiment(
    "maps",
    "Words held out from the transfer maps (section 3.1).",
    compute,
    single_case,
    schema=TableSchema(
        "held-out words through the transfer maps",
        ("word", "source", "target", "top1"),
        shares=("top1",),
        units=("word",),
        stratum=None,
    ),
)
