"""Is there a way between two solutions of a concept on which every word is a solution? Section 5.1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from vwlib.experiments.base import COUNT, Experiment, ExperimentCase, Size, Sources, per
from vwlib.experiments.words import pairs_of, trial_rows, values_of, vectors_of
from vwlib.lab import Lab
from vwlib.learn import learn_words, raise_if_diverged
from vwlib.ledger.claims import load_settings
from vwlib.ledger.schemas import PAIR_SEPARATOR, TableSchema
from vwlib.study.tables import TRIALS
from vwlib.trials import Trial, random_stream
from vwlib.words import Word

#: The share of its concept's own name's score with which a word counts as a solution.
SOLVES = load_settings().solves


def compute(lab: Lab, case: ExperimentCase, sources: Sources) -> pd.DataFrame:
    """Scores on the straight segment between two of a concept's solutions from different anchors, and on a curve that
    may avoid a dip.

    A solution is an unconstrained word that scores at least `SOLVES` of what the concept's own name does. `anchor`
    names the pair; `t` goes from 0 at the one to 1 at the other. `kind` is "segment" and "curve" (one row a point),
    "ends" (their mean) and "middle", half way: of segment or curve what scores higher. The curve is a parabola whose
    bend is learned, as a word is, on the task's loss at random points of it; pictures take too long for that.
    """
    task, dataset, few = case["task"], case["dataset"], sources.reduced(lab)
    words = solutions_of(task, dataset, sources)
    pairs = list(pairs_of(words))
    if not pairs:
        return pd.DataFrame(columns=["dataset", "concept", "anchor", "task", "kind", "t", "value"])
    one, other = (vectors_of([words[pair[side]] for pair in pairs]) for side in (0, 1))
    trials = [Trial(dataset, words[i].concept, f"{words[i].anchor}{PAIR_SEPARATOR}{words[j].anchor}") for i, j in pairs]
    shares = np.linspace(0, 1, sources.sizes.points)
    lines = {"segment": (one + other) / 2}
    if task != "generation":
        lines["curve"] = learn_bends(lab, task, trials, [words[i].anchor for i, _ in pairs], one, other)
    tables, scores = [], {}
    for kind, bend in lines.items():
        points = torch.cat([on_parabola(one, bend, other, torch.full((len(pairs),), t)) for t in shares])
        scores[kind] = values_of(few, task, points, trials * len(shares)).reshape(len(shares), len(pairs))
        for t, values in zip(shares, scores[kind], strict=True):
            tables.append(trial_rows(trials, task=task, kind=kind, t=float(t), value=values))
    straight = scores["segment"]
    middle = np.max([values[len(shares) // 2] for values in scores.values()], axis=0)
    tables.append(trial_rows(trials, task=task, kind="ends", t=np.nan, value=(straight[0] + straight[-1]) / 2))
    tables.append(trial_rows(trials, task=task, kind="middle", t=0.5, value=middle))
    return pd.concat(tables, ignore_index=True).drop(columns="delta")


def solutions_of(task: str, dataset: str, sources: Sources) -> list[Word]:
    """The unconstrained words of the grid that score at least `SOLVES` of what their concept's own name does."""
    own = sources.trials[(sources.trials["evaluated_on"] == task) & (sources.trials["dataset"] == dataset)]
    names = own[own["trained_on"] == "name"].groupby("concept")["value"].mean()
    scores = own[own["trained_on"] == task].set_index("word_id")["value"]
    words = sources.grid(task, dataset, own=True)
    return [word for word in words if scores[word.word_id] >= SOLVES * names[word.concept] > 0]


def on_parabola(one: Tensor, bend: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Points (word, vector, d) of parabolas from `one` to `other` with a control point `bend`; straight where it is
    their mean. `share` is (word,).
    """
    t = share.to(one)[:, None, None]
    return (1 - t) ** 2 * one + 2 * t * (1 - t) * bend + t**2 * other


def learn_bends(
    lab: Lab, task: str, trials: Sequence[Trial], anchors: Sequence[str], one: Tensor, other: Tensor
) -> Tensor:
    """Control points (word, vector, d) with which the task's loss is low all along the parabola; they start half way
    between its ends.
    """
    model, dataset, settings = lab.model(task), trials[0].dataset, lab.profile.learning[task]
    features, concepts = lab.features(task, dataset, "train"), [trial.concept for trial in trials]
    streams = [random_stream(dataset, number, anchor, None, 0) for number, anchor in enumerate(anchors)]
    start = model.embeddings_of(anchors, one.shape[1])
    # What is learned begins at the anchor; the bend is that and `shift`.
    ends = {name: part.to(model.device) for name, part in (("one", one), ("other", other))}
    shift = (one + other) / 2 - start

    def batches() -> Iterator[dict[str, Tensor]]:
        while True:
            share = torch.cat([torch.rand(1, generator=stream) for stream in streams])
            drawn = model.draw_batch(concepts, features, streams, settings.batch)
            yield drawn | ends | {"share": share, "shift": shift.to(model.device)}

    def loss(vectors: Tensor, batch: dict[str, Tensor]) -> Tensor:
        points = on_parabola(batch["one"], vectors + batch["shift"], batch["other"], batch["share"])
        return model.losses(points, batch)

    learned = learn_words(
        loss,
        start.to(model.device),
        torch.full((len(trials),), torch.inf, device=model.device),
        batches(),
        steps=settings.steps,
        lr=settings.rate,
        parts=partial(model.memory.map_in_batches, "learning bends"),
    )
    raise_if_diverged(learned, task, trials)
    return learned.vectors + shift


SEGMENTS = Experiment(
    "segments",
    "Scores between two solutions of a concept, on the straight way and on a curve (section 5.1).",
    compute,
    per("task", "dataset"),
    needs=(TRIALS,),
    shared=("grid", "test_images", "pictures"),
    sizes=(Size("points", COUNT, 9, 3, "points on the segment between two solutions, with its ends"),),
    # `kind` is "ends" or "middle", of the segment, or of the curve where that is higher.
    schema=TableSchema(
        "scores between two solutions of a concept",
        ("dataset", "concept", "anchor", "task", "kind", "value"),
        shares=("value",),
        pairs=True,
    ),
)
