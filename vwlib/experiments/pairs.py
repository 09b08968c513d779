"""Words of one concept from two anchors: pictures, boxes and ways between them (section 5.1, figures 5 and 8 to 11)."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from vwlib.experiments.base import COUNT, EACH, SCORED_OFTEN, Case, Experiment, Size, Sources, per
from vwlib.experiments.words import anchors_of, images_of, learn_on_loss, pairs_of, trial_rows, values_of, vectors_of
from vwlib.lab import Lab
from vwlib.learn import raise_if_diverged
from vwlib.ledger.claims import load_settings
from vwlib.ledger.schemas import TRIAL, TableSchema
from vwlib.study.digest import trials_of
from vwlib.study.store import TRIALS
from vwlib.trials import Trial, random_stream
from vwlib.words import Word

COLUMNS = ["dataset", "concept", "anchor", "kind", "cosine"]
#: The share of its concept's own name's score with which a word counts as a solution.
SOLVES = load_settings().solves


@torch.no_grad()
def likeness(lab: Lab, case: Case, sources: Sources) -> pd.DataFrame:
    """Likeness of pictures that two anchors' words draw from the same noise (figures 5, 10 and 11).

    `cosine` of the judge's features of two words' pictures, a mean over some noises; `anchor` names the pair.
    """
    dataset, generator, count = case["dataset"], lab.generator, sources.sizes.noises
    words = sources.grid("generation", dataset, sources.sizes.near, count=max(sources.sizes.grid.values()))
    pairs, rows = pairs_of(words), list[tuple[object, ...]]()
    if pairs:
        pictures = generator.generate(generator.encode_words(vectors_of(words)), count)
        features = generator.judge.encode_images([picture for drawn in pictures for picture in drawn])
        features = features.cpu().view(len(words), count, -1)
    for i, j, pair in pairs:
        cosines = features[i] @ features[j].T  # (noise, noise)
        same = float(cosines.diagonal().mean())
        other = float((cosines.sum() - cosines.diagonal().sum()) / (count * (count - 1)))
        for kind, cosine in (("same noise", same), ("other noise", other)):
            rows.append((dataset, pair.concept, pair.anchor, kind, cosine))
    return pd.DataFrame(rows, columns=COLUMNS)


def agreement(lab: Lab, case: Case, sources: Sources) -> pd.DataFrame:
    """Whether two anchors' words find the same boxes (figures 5, 8 and 9).

    `agrees` is the share of a concept's test images in which the best boxes of both overlap by half or more; `anchor`
    names the pair. `kind` is "learned", or "anchors": the same of the two anchor words themselves.
    """
    from torchvision.ops import box_iou  # takes a second to import, and pages read this module for its schemas

    dataset, words = case["dataset"], sources.words("detection", case["dataset"], sources.sizes.near)
    anchors = anchors_of(lab, "detection", trials_of(words))
    vectors = {"learned": vectors_of(words), "anchors": anchors}
    boxes = {kind: best_boxes(lab, dataset, found, words) for kind, found in vectors.items()}
    rows = []
    for i, j, pair in pairs_of(words):
        for kind, found in boxes.items():
            share = float((box_iou(found[i], found[j]).diagonal() >= 0.5).float().mean())
            rows.append((dataset, pair.concept, pair.anchor, kind, share, len(found[i])))
    return pd.DataFrame(rows, columns=["dataset", "concept", "anchor", "kind", "agrees", "images"])


@torch.no_grad()
def best_boxes(lab: Lab, dataset: str, vectors: Tensor, words: Sequence[Word]) -> list[Tensor]:
    """For each word its likeliest box (image, 4) in every test image of its concept."""
    model, features, found = lab.detector, lab.features("detection", dataset, "test"), []
    for word, feature in zip(words, model.encode_words(vectors), strict=True):
        own = images_of(features, features.indices_of(word.concept).tolist())
        best = model.detect(feature[None], own)[0].argmax(-1)
        found.append(own.tensors["box"][torch.arange(len(best)), best].cpu())
    return found


def segments(lab: Lab, case: Case, sources: Sources) -> pd.DataFrame:
    """Scores between two solutions of a concept, on the straight way and on a curve (section 5.1).

    A solution is an unconstrained word that scores at least `SOLVES` of what the concept's own name does. `t` goes from
    0 at the first anchor's to 1 at the second's. `kind` is "segment" and "curve" (one row a point), "ends" (their mean)
    and "middle" (half way, the higher of both). The curve is a parabola whose bend is learned on the task's loss.
    """
    task, dataset, few = case["task"], case["dataset"], sources.reduced(lab)
    words = solutions_of(task, dataset, sources)
    pairs = pairs_of(words)
    if not pairs:
        return pd.DataFrame(columns=["dataset", "concept", "anchor", "task", "kind", "t", "value"])
    trials, anchors = [trial for _, _, trial in pairs], [words[i].anchor for i, _, _ in pairs]
    one, other = vectors_of([words[i] for i, _, _ in pairs]), vectors_of([words[j] for _, j, _ in pairs])
    shares = np.linspace(0, 1, sources.sizes.points)
    lines = {"segment": (one + other) / 2}
    if task != "generation":
        lines["curve"] = learn_bends(lab, task, trials, anchors, one, other)
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
    """Points (word, vector, d) at `share` (word,) of parabolas from `one` to `other` with a control point `bend`."""
    t = share.to(one)[:, None, None]
    return (1 - t) ** 2 * one + 2 * t * (1 - t) * bend + t**2 * other


def learn_bends(
    lab: Lab, task: str, trials: Sequence[Trial], anchors: Sequence[str], one: Tensor, other: Tensor
) -> Tensor:
    """Control points (word, vector, d) with which the loss is low all along the parabola; they start half way."""
    model, dataset, settings = lab.model(task), trials[0].dataset, lab.profile.learning[task]
    features, concepts = lab.features(task, dataset, "train"), [trial.concept for trial in trials]
    streams = [random_stream(dataset, number, anchor, None, 0) for number, anchor in enumerate(anchors)]
    start = model.embeddings_of(anchors, one.shape[1])
    # What is learned begins at the anchor; the bend is that and `shift`.
    shift = (one + other) / 2 - start
    fixed = {name: part.to(model.device) for name, part in {"one": one, "other": other, "shift": shift}.items()}

    def batches() -> Iterator[dict[str, Tensor]]:
        while True:
            share = torch.cat([torch.rand(1, generator=stream) for stream in streams])
            yield model.draw_batch(concepts, features, streams, settings.batch) | fixed | {"share": share}

    def loss(vectors: Tensor, batch: dict[str, Tensor]) -> Tensor:
        points = on_parabola(batch["one"], vectors + batch["shift"], batch["other"], batch["share"])
        return model.losses(points, batch)

    free = torch.full((len(trials),), torch.inf)
    learned = learn_on_loss(model, loss, start, free, batches(), settings.steps, settings.rate)
    raise_if_diverged(learned, task, trials)
    return learned.vectors + shift


_NOISES = Size("noises", COUNT, 8, 2, "noises from which two words' pictures are compared")
_COSINES = TableSchema("similarity of generations from two anchors", tuple(COLUMNS), pairs=True)
_SHARES = TableSchema("overlap of detections from two anchors", (*TRIAL[:3], "kind", "agrees"), ("agrees",), pairs=True)
LIKENESS = Experiment("likeness", likeness, per("dataset"), (TRIALS,), ("grid", "near"), (_NOISES,), _COSINES)
AGREEMENT = Experiment("agreement", agreement, per("dataset"), (TRIALS,), ("near",), schema=_SHARES)
# `kind` is "ends" or "middle", of the segment, or of the curve where that is higher.
_SCORES = TableSchema(
    "scores between two solutions of a concept", (*TRIAL[:3], "task", "kind", "value"), ("value",), pairs=True
)
_POINTS = Size("points", COUNT, 9, 3, "points on the segment between two solutions, with its ends")
SEGMENTS = Experiment("segments", segments, EACH, (TRIALS,), SCORED_OFTEN, (_POINTS,), _SCORES)
