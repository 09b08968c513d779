"""Words that stop where their loss falls no more: what a patience costs and saves."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from pydantic import PositiveInt
from torch import Tensor

from vwlib.experiments.base import EACH, SCORED_OFTEN, Case, Experiment, Size, Sources
from vwlib.experiments.words import VALIDATION_NOISE, grid_trials, trial_rows, validation_split, values_of, with_reader
from vwlib.lab import Lab
from vwlib.learn import still_learning
from vwlib.ledger.schemas import TRIAL, TableSchema


def stopping(lab: Lab, case: Case, sources: Sources) -> Iterator[pd.DataFrame]:
    """Scores and steps of words that stop where their loss falls no more, by the patience (section 3).

    Unconstrained words and words near their anchor take all steps once; as a word's own losses decide where it stops,
    that run has the words of every patience. `patience` 0 is of all steps. Words are scored as those of `rates`, since
    a patience is chosen by it too. A word that diverged has no value.
    """
    task, dataset = case["task"], case["dataset"]
    few, steps = with_reader(sources.reduced(lab), validation_split), lab.profile.learning[task].steps
    grid = grid_trials(lab.profile, dataset, sources.sizes.grid[task])
    trials = [replace(trial, delta=delta) for delta in (None, sources.sizes.near) for trial in grid]
    every = {"patience": None, "snapshots": range(1, steps + 1)}
    learned = lab.learn(task, trials, allow_divergence=True, progress=False, **every)
    for patience in (0, *sources.sizes.patiences):
        taken = steps_taken(learned.losses, patience)
        vectors = torch.stack([learned.snapshots[step][row] for row, step in enumerate(taken.tolist())])
        values, finite = np.full(len(trials), np.nan), learned.finite.numpy()
        if finite.any():
            kept = [replace(t, seed=VALIDATION_NOISE) for t, is_finite in zip(trials, finite, strict=True) if is_finite]
            values[finite] = values_of(few, task, vectors[learned.finite], kept)
        yield trial_rows(trials, task=task, patience=patience, steps=taken.numpy(), value=values)


def steps_taken(losses: Tensor, patience: int) -> Tensor:
    """After how many steps each word stops whose losses (step, word) all steps gave: int (word,)."""
    if not patience:
        return torch.full(losses.shape[1:], len(losses))
    learns = torch.stack([still_learning(losses[:step], patience) for step in range(1, len(losses))])
    return 1 + learns.int().cumprod(0).sum(0)


_PATIENCES = Size("patiences", tuple[PositiveInt, ...], (5, 10, 15, 20), (2,), "steps without a lower loss")
_STOPPED = TableSchema("scores of words that stopped", (*TRIAL, "task", "patience", "steps", "value"), ("value",))
STOPPING = Experiment(
    "stopping", stopping, EACH, shared=(*SCORED_OFTEN, "near"), sizes=(_PATIENCES,), schema=_STOPPED, version=2
)
