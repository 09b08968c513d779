"""How well transfer maps carry words: ordinary ones that they were not fitted on, and learned ones (section 3)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from vwlib.experiments.base import Experiment, ExperimentCase, Sources, per, single_case
from vwlib.experiments.words import trial_rows, values_of, vectors_of
from vwlib.lab import Lab
from vwlib.ledger.schemas import TableSchema
from vwlib.maps import MAPS, PAPER_MAP, fit_map
from vwlib.models.base import TaskModel
from vwlib.settings import Profile
from vwlib.study.digest import trials_of
from vwlib.study.tables import TRIALS
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


def held_out(lab: Lab, _: ExperimentCase, __: Sources) -> pd.DataFrame:
    """`quality_of_all`: one row per held-out word and ordered pair of models."""
    return quality_of_all(lab.models)


def known_kinds(_: Profile) -> list[str]:
    """The kinds of map that there are; with another one the table is made again."""
    return list(MAPS)


def map_kinds(lab: Lab, case: ExperimentCase, sources: Sources) -> pd.DataFrame:
    """A grid of the study's unconstrained words, off the diagonal, transferred by each kind of map.

    `map` names the kind; `value` is the word's score in the target, `gain` that score less its anchor word's, the
    `floor`. `r2` and `top1` are the map's own `held_out_quality` on held-out words.
    """
    source, target, few = case["source"], case["task"], sources.reduced(lab)
    models = lab.model(source), lab.model(target)
    quality = {kind: held_out_quality(*models, kind=kind)[["r2", "top1"]].mean() for kind in MAPS}
    tables = []
    for dataset in lab.profile.study.datasets:
        words = sources.grid(source, dataset)
        if not words:
            continue
        trials = trials_of(words)
        floor = values_of(few, target, models[1].embeddings_of([t.anchor for t in trials]), trials)
        for kind, found in quality.items():
            value = values_of(few, target, lab.transfer(vectors_of(words), source, target, kind), trials)
            of = {"trained_on": source, "evaluated_on": target, "map": kind, "r2": found["r2"], "top1": found["top1"]}
            tables.append(trial_rows(trials, **of, value=value, floor=floor, gain=value - floor))
    return pd.concat(tables, ignore_index=True)


def vocabulary(lab: Lab, _: ExperimentCase, __: Sources) -> pd.DataFrame:
    """How many `entries` two models' vocabularies share, how many of these are whole `words`, and the source's
    dimensions `d`.
    """
    models, rows = lab.models, []
    for source, target in itertools.permutations(models, 2):
        one, other = models[source], models[target]
        entries = one.vocabulary.entries.keys() & other.vocabulary.entries.keys()
        rows.append((source, target, len(entries), len(shared_words(one, other)), one.table.embedding_dim))
    return pd.DataFrame(rows, columns=["source", "target", "entries", "words", "d"])


HELD_OUT = Experiment(
    "maps",
    "Words held out from the transfer maps (section 3.1).",
    held_out,
    single_case,
    schema=TableSchema(
        "held-out words through the transfer maps",
        ("word", "source", "target", "top1"),
        shares=("top1",),
        units=("word",),
        stratum=None,
    ),
)
MAP_KINDS = Experiment(
    "map_kinds",
    "Words transferred by other kinds of map than the paper's.",
    map_kinds,
    per("source", "task"),
    needs=(TRIALS,),
    shared=("grid", "test_images", "pictures"),
    inputs=known_kinds,
)
VOCABULARY = Experiment(
    "vocabulary",
    "Words that two models share (section 3).",
    vocabulary,
    single_case,
    # Only the paper's models decide the paper's claim.
    schema=TableSchema(
        "words that two models share", ("source", "target", "entries", "words", "d"), units=(), stratum=None
    ),
)
