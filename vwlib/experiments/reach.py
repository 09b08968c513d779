"""How near does a word within its ball come to a random direction of the encoder's output?"""

from __future__ import annotations

import itertools
from functools import partial

import pandas as pd
import torch
from torch import Tensor

from vwlib.experiments.base import PAIR, Experiment, ExperimentCase, Size, Sources, per
from vwlib.experiments.words import grid_trials, trial_rows
from vwlib.lab import Lab
from vwlib.learn import learn_words, radii
from vwlib.settings import Profile
from vwlib.trials import Trial


def cases(profile: Profile) -> list[dict[str, str]]:
    """The detector and the classifier, whose text encoders end in one feature, on each dataset."""
    return [case for case in per("task", "dataset")(profile) if case["task"] != "generation"]


def compute(lab: Lab, case: ExperimentCase, sources: Sources) -> pd.DataFrame:
    """Words learned towards random directions of the text encoder's output, which mean nothing.

    `cosine` is that of text feature and direction after learning, `start` that of the anchor itself; `concept` numbers
    the directions.
    """
    task, dataset, model = case["task"], case["dataset"], lab.model(case["task"])
    targets, steps = sources.sizes.reach
    anchors = sorted({trial.anchor for trial in grid_trials(lab.profile, dataset, sources.sizes.grid[task])})
    grid = list(itertools.product(anchors, range(targets), (*lab.profile.study.deltas, None)))
    trials = [Trial(dataset, f"direction {number + 1}", anchor, delta) for anchor, number, delta in grid]
    start = model.embeddings_of([trial.anchor for trial in trials], lab.profile.vectors)
    start = start.to(model.device)
    with torch.no_grad():
        before = model.encode_words(start)
    random = torch.randn(targets, before.shape[-1], generator=torch.Generator().manual_seed(0))
    directions = torch.nn.functional.normalize(random, dim=-1).to(before)[[number for _, number, _ in grid]]

    def loss(vectors: Tensor, batch: dict[str, Tensor]) -> Tensor:
        return 1 - (model.encode_words(vectors) * batch["direction"]).sum(-1)

    learned = learn_words(
        loss,
        start,
        radii(model, trials).to(model.device),
        itertools.repeat({"direction": directions}),
        steps=steps,
        lr=lab.profile.learning[task].rate,
        parts=partial(model.memory.map_in_batches, "learning towards directions"),
    )
    with torch.no_grad():
        after = model.encode_words(learned.vectors)
    found = {"cosine": after, "start": before}
    cosines = {name: (features * directions).sum(-1).cpu().double().numpy() for name, features in found.items()}
    return trial_rows(trials, task=task, **cosines)


REACH = Experiment(
    "reach",
    "How near a word within its ball comes to a random direction of the encoder's output.",
    compute,
    cases,
    shared=("grid",),
    sizes=(Size("reach", PAIR, (8, 100), (2, 3), "random directions for each anchor, and steps towards them"),),
)
