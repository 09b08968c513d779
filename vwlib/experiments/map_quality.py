"""How well transfer maps carry words: ordinary ones that they were not fitted on, and learned ones (section 3)."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from vwlib.experiments.base import SCORED_OFTEN, Case, Cases, Experiment, Sources, per
from vwlib.experiments.words import anchors_of, trial_rows, values_of, vectors_of
from vwlib.lab import Lab
from vwlib.ledger.schemas import TableSchema
from vwlib.maps import MAPS, PAPER_MAP, fit_map
from vwlib.models.base import TaskModel
from vwlib.settings import Profile
from vwlib.study.digest import trials_of
from vwlib.study.store import TRIALS
from vwlib.transfer import fit_transfer, shared_words, token_ids


def retrieval(mapped: Tensor, table: Tensor, truth: Tensor, at: int = 1) -> Tensor:
    """Whether row `truth` (word,) is among the `at` of `table` (candidate, d) nearest to `mapped` (word, d)."""
    nearest = torch.cdist(mapped, table).topk(at, largest=False).indices
    return (nearest == truth[:, None]).any(1)


def held_out_quality(
    source: TaskModel, target: TaskModel, folds: int = 5, seed: int = 0, kind: str = PAPER_MAP
) -> pd.DataFrame:
    """The quality of a map on words that it was not fitted on, by cross-validation over the shared words.

    One row per word: `fold`, `r2` of the fold (against the mean of the words fitted on), `r2_fitted` of these,
    `cosine`, `error` (distance to the true embedding, in units of that word's distance to its nearest shared word),
    `top1` and `top5` (whether it is among the nearest of all shared words), `chance1` and `chance5` of guessing.
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
    of = {"source": source.task, "target": target.task, "words": len(words)}
    return pd.concat(frames, ignore_index=True).assign(**of, chance1=1 / len(words), chance5=5 / len(words))


def _explained(mapped: Tensor, truth: Tensor, mean: Tensor) -> float:
    return float(1 - (mapped - truth).pow(2).sum() / (truth - mean).pow(2).sum())


def quality_of_all(
    models: Mapping[str, TaskModel], folds: int = 5, seed: int = 0, kind: str = PAPER_MAP
) -> pd.DataFrame:
    """`held_out_quality` of all ordered pairs, one below the other."""
    pairs = itertools.permutations(models.values(), 2)
    return pd.concat([held_out_quality(*pair, folds, seed, kind) for pair in pairs], ignore_index=True)


def quality_of_kinds(
    models: Mapping[str, TaskModel], kinds: Sequence[str] = (), folds: int = 5, seed: int = 0
) -> pd.DataFrame:
    """`quality_of_all` for several maps, by default all; the column `map` names the map."""
    kinds = kinds or list(MAPS)
    return pd.concat([quality_of_all(models, folds, seed, kind).assign(map=kind) for kind in kinds], ignore_index=True)


def nearest_distances(table: Tensor, at_once: int = 4096) -> Tensor:
    """The distance (word,) of each row of `table` (word, d) to the nearest other row, `at_once` rows at a time."""
    nearest = []
    for rows in torch.arange(len(table)).split(at_once):
        distances = torch.cdist(table[rows], table)
        distances[torch.arange(len(rows)), rows] = torch.inf
        nearest.append(distances.min(1).values)
    return torch.cat(nearest)


def held_out_neighbours(source: TaskModel, target: TaskModel, words: Sequence[str], count: int = 3) -> pd.DataFrame:
    """The `count` words nearest to each of `words`, by a map not fitted on them. ValueError: a word not shared."""
    known = shared_words(source, target)
    if unknown := [word for word in words if word not in known]:
        raise ValueError(f"The {source.task} and the {target.task} model do not share the word '{unknown[0]}'.")
    mapping = fit_transfer(source, target, [word for word in known if word not in words])
    mapped = mapping(source.embeddings_of(words)[:, 0])
    candidates = target.word_table()[token_ids(target, known)]
    order = torch.cdist(mapped, candidates).topk(count, largest=False).indices
    columns = [f"nearest {k + 1}" for k in range(count)]
    return pd.DataFrame([[known[i] for i in row] for row in order], pd.Index(words, name="word"), columns)


def held_out(lab: Lab, _: Case, __: Sources) -> pd.DataFrame:
    """Words held out from the transfer maps (section 3.1)."""
    return quality_of_all(lab.models)


def kind_cases(profile: Profile) -> Cases:
    """Every ordered pair of tasks; at profile smoke every third one, since a network takes seconds to fit."""
    return per("source", "task")(profile)[:: 3 if profile.name == "smoke" else 1]


def map_kinds(lab: Lab, case: Case, sources: Sources) -> Iterator[pd.DataFrame]:
    """Words transferred by other kinds of map than the paper's.

    A grid of the study's unconstrained words. `map` names the kind; `value` is the score in the target, `gain` what it
    exceeds the anchor word's, the `floor`, by; `r2` and `top1` are the map's own on held-out words.
    """
    source, target, few = case["source"], case["task"], sources.reduced(lab)
    models = lab.model(source), lab.model(target)
    quality = {kind: held_out_quality(*models, kind=kind)[["r2", "top1"]].mean() for kind in MAPS}
    for dataset in lab.profile.study.datasets:
        words = sources.grid(source, dataset)
        if not words:
            continue
        trials = trials_of(words)
        floor = values_of(few, target, anchors_of(lab, target, trials, 1), trials)
        for kind, found in quality.items():
            value = values_of(few, target, lab.transfer(vectors_of(words), source, target, kind), trials)
            of = {"trained_on": source, "evaluated_on": target, "map": kind, "r2": found["r2"], "top1": found["top1"]}
            yield trial_rows(trials, **of, value=value, floor=floor, gain=value - floor)


def vocabulary(lab: Lab, _: Case, __: Sources) -> pd.DataFrame:
    """Words that two models share (section 3).

    How many `entries` of their vocabularies, how many of these are whole `words`, and the source's dimensions `d`.
    """
    rows = []
    for one, other in itertools.permutations(lab.models.values(), 2):
        entries = one.vocabulary.entries.keys() & other.vocabulary.entries.keys()
        rows.append((one.task, other.task, len(entries), len(shared_words(one, other)), one.table.embedding_dim))
    return pd.DataFrame(rows, columns=["source", "target", "entries", "words", "d"])


_WORDS = TableSchema(
    "held-out words through the transfer maps", ("word", "source", "target", "top1"), ("top1",), ("word",), None
)
# Only the paper's models decide the paper's claim.
_SHARED = TableSchema("words that two models share", ("source", "target", "entries", "words", "d"), (), (), None)
HELD_OUT = Experiment("maps", held_out, per(), schema=_WORDS)
MAP_KINDS = Experiment("map_kinds", map_kinds, kind_cases, (TRIALS,), SCORED_OFTEN, inputs=lambda _: list(MAPS))
VOCABULARY = Experiment("vocabulary", vocabulary, per(), schema=_SHARED)
