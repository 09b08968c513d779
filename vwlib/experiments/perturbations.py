"""Random directions: offsets as long as learned ones (a control), and targets of a word within its ball."""

import itertools
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import normalize

from vwlib.experiments.base import COUNT, EACH, PAIR, SCORED_OFTEN, Case, Cases, Experiment, Size, Sources
from vwlib.experiments.controls import DIRECTIONS, random_like
from vwlib.experiments.layer_statistics import label_words
from vwlib.experiments.words import anchors_of, grid_trials, learn_on_loss, trial_rows, values_of, vectors_of
from vwlib.lab import Lab
from vwlib.learn import radii
from vwlib.ledger.schemas import TRIAL, TableSchema
from vwlib.settings import Profile
from vwlib.study.digest import trials_of
from vwlib.study.store import TRIALS
from vwlib.trials import Trial


def perturbations(lab: Lab, case: Case, sources: Sources) -> Iterator[pd.DataFrame]:
    """Learned words and random offsets of the same length (a control).

    An output is `kept`, still the anchor's, where the word is better at its anchor's concept than at any other of the
    dataset, by table 1's metric. `kind` is "optimised", "random" (alike in all dimensions), or "random, " and a further
    one of `DIRECTIONS`. `value` is the score for the learned concept, `anchor_value` that for the anchor's.
    """
    task, dataset, few = case["task"], case["dataset"], sources.reduced(lab)
    order = list(few.split(dataset).names)
    for delta in lab.profile.study.deltas:
        words = sources.grid(task, dataset, delta)
        if not words:
            continue
        trials, rows = trials_of(words), np.arange(len(words))
        labels = label_words(trials, lab.profile.world)
        own, anchor = ([order.index(name) for name in labels[column]] for column in ("concept", "anchor_concept"))
        random, anchors = sources.sizes.random_offsets, [trial.anchor for trial in trials]
        kinds = [("optimised", 0, vectors := vectors_of(words))]
        for direction, draw in [(DIRECTIONS[0], draw) for draw in range(random)] + [(d, 0) for d in DIRECTIONS[1:]]:
            name = "random" if direction == DIRECTIONS[0] else f"random, {direction}"
            kinds.append((name, draw, random_like(lab.model(task), vectors, anchors, draw, direction)))
        for kind, draw, drawn in kinds:
            scores = scores_by_concept(few, task, dataset, drawn)
            others = scores.copy()
            others[rows, anchor] = -np.inf
            value, anchor_value = scores[rows, own], scores[rows, anchor]
            measured = {"value": value, "anchor_value": anchor_value, "kept": anchor_value > others.max(1)}
            yield trial_rows(trials, task=task, kind=kind, draw=draw, **measured)


def scores_by_concept(lab: Lab, task: str, dataset: str, vectors: Tensor) -> np.ndarray:
    """Table 1's metric of words (word, vector, d) for each of a dataset's concepts: (word, concept)."""
    names = lab.split(dataset).names
    asked = [Trial(dataset, name, "") for name in names] * len(vectors)
    values = values_of(lab, task, vectors.repeat_interleave(len(names), 0), asked)
    return values.reshape(len(vectors), len(names))


def reach_cases(profile: Profile) -> Cases:
    """The detector and the classifier, whose text encoders end in one feature, on each dataset."""
    return [case for case in EACH(profile) if case["task"] != "generation"]


@torch.no_grad()
def reach(lab: Lab, case: Case, sources: Sources) -> pd.DataFrame:
    """How near a word within its ball comes to a random direction of the encoder's output.

    `cosine` is that of text feature and direction after learning, `start` that of the anchor itself; `concept` numbers
    the directions.
    """
    task, dataset, model = case["task"], case["dataset"], lab.model(case["task"])
    targets, steps = sources.sizes.reach
    anchors = sorted({trial.anchor for trial in grid_trials(lab.profile, dataset, sources.sizes.grid[task])})
    grid = list(itertools.product(anchors, range(targets), (*lab.profile.study.deltas, None)))
    trials = [Trial(dataset, f"direction {number + 1}", anchor, delta) for anchor, number, delta in grid]
    start = anchors_of(lab, task, trials).to(model.device)
    before = model.encode_words(start)
    random = torch.randn(targets, before.shape[-1], generator=torch.Generator().manual_seed(0))
    directions = normalize(random, dim=-1).to(before)[[number for _, number, _ in grid]]

    def loss(vectors: Tensor, batch: dict[str, Tensor]) -> Tensor:
        return 1 - (model.encode_words(vectors) * batch["direction"]).sum(-1)

    batches, rate = itertools.repeat({"direction": directions}), lab.profile.learning[task].rate
    with torch.enable_grad():
        learned = learn_on_loss(model, loss, start, radii(model, trials), batches, steps, rate)
    found = {"cosine": model.encode_words(learned.vectors), "start": before}
    cosines = {name: (features * directions).sum(-1).cpu().double().numpy() for name, features in found.items()}
    return trial_rows(trials, task=task, **cosines)


_OFFSETS = "random words for each learned one, alike in all dimensions; of each further kind there is one"
_RANDOM = Size("random_offsets", COUNT, 2, 1, _OFFSETS)
# `kind` is "optimised" or one of random offsets; `kept` says whether the output is still the anchor's.
_KEPT = TableSchema("random and optimised offsets of equal length", (*TRIAL, "task", "kind", "kept"), shares=("kept",))
PERTURBATIONS = Experiment("perturbations", perturbations, EACH, (TRIALS,), SCORED_OFTEN, (_RANDOM,), _KEPT)
_TARGETS = Size("reach", PAIR, (8, 100), (2, 3), "random directions for each anchor, and steps towards them")
REACH = Experiment("reach", reach, reach_cases, shared=("grid",), sizes=(_TARGETS,))
