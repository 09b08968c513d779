"""Experiments on the solutions near an anchor: against random offsets, on the way from one to another, and side by
side.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torchvision.ops import box_iou

from vwlib.controls import DIRECTIONS, random_like
from vwlib.experiments.base import Case, Sources, lighter, pairs_of, small_grid, trial_rows, uses, vectors_of
from vwlib.experiments.layer_statistics import label_words
from vwlib.learn import learn_words, radii, raise_if_diverged
from vwlib.ledger.statistics import AND
from vwlib.models import Frozen, load_detector, load_generator, load_model
from vwlib.settings import Profile
from vwlib.study.compat import load_material, prepared
from vwlib.study.digest import trials_of
from vwlib.trials import Trial, random_stream
from vwlib.words import Word

#: The share of its concept's own name's score with which a word counts as a solution.
SOLVES = 0.5


def scores_by_concept(task: str, profile: Profile, dataset: str, vectors: Tensor) -> np.ndarray:
    """Table 1's metric of words (word, vector, d) asked for each of a dataset's concepts: (word, concept)."""
    names = load_material(profile, dataset).names
    test = prepared(task, profile, dataset, "test") if task != "generation" else Frozen([], {})
    asked = list(names) * len(vectors)
    scores = load_model(task, profile).evaluate(vectors.repeat_interleave(len(names), 0), asked, names, test)
    return np.array([score.value for score in scores]).reshape(len(vectors), len(names))


@uses("grid", "test_images", "pictures", "random_offsets")
def perturbations(profile: Profile, case: Case, sources: Sources) -> pd.DataFrame:
    """B4, control K5: learned words ("optimised") and words whose offsets are as long but random; does the output stay
    the anchor's (`kept`)?

    It does where the word is better at its anchor's concept than at any other of the dataset, by table 1's metric.
    `kind` is "random" for directions alike in all dimensions, and "random, vocabulary" and "random, word" for the
    further ones of `vwlib.controls.DIRECTIONS`. `value` is the score for the concept that the optimised word was
    learned for, `anchor_value` that for the anchor's.
    """
    task, dataset, fewer = case["task"], case["dataset"], lighter(profile)
    order = list(load_material(fewer, dataset).names)
    tables = []
    for delta in profile.study.deltas:
        words = sources.grid(task, dataset, delta)
        if not words:
            continue
        trials, labels = trials_of(words), label_words(trials_of(words), profile.world)
        own, anchor = ([order.index(name) for name in labels[column]] for column in ("concept", "anchor_concept"))
        for kind, draw, vectors in _offset_kinds(task, profile, words):
            scores = scores_by_concept(task, fewer, dataset, vectors)
            rows = np.arange(len(words))
            others = scores.copy()
            others[rows, anchor] = -np.inf
            measured = {
                "value": scores[rows, own],
                "anchor_value": scores[rows, anchor],
                "kept": scores[rows, anchor] > others.max(1),
            }
            tables.append(trial_rows(trials, task=task, kind=kind, draw=draw, **measured))
    return pd.concat(tables, ignore_index=True)


def _offset_kinds(task: str, profile: Profile, words: Sequence[Word]) -> list[tuple[str, int, Tensor]]:
    vectors, anchors = vectors_of(words), [word.anchor for word in words]
    found = [("optimised", 0, vectors)]
    for direction in DIRECTIONS:
        kind, draws = (
            ("random", profile.experiments.random_offsets)
            if direction == DIRECTIONS[0]
            else (f"random, {direction}", 1)
        )
        found += [
            (kind, draw, random_like(load_model(task, profile), vectors, anchors, draw, direction))
            for draw in range(draws)
        ]
    return found


@uses("grid", "reach")
def reach(profile: Profile, case: Case, _: Sources) -> pd.DataFrame:
    """B4: how near a word within its anchor's ball comes to a random direction of the encoder's output, which means
    nothing.

    `cosine` of text feature and direction after learning towards it, and that of the anchor's own `start`. For the
    detector and the classifier, whose text encoders end in one feature; `concept` numbers the directions.
    """
    task, dataset, model = case["task"], case["dataset"], load_model(case["task"], profile)
    targets, steps = profile.experiments.reach
    anchors = sorted({trial.anchor for trial in small_grid(profile, task, dataset)})
    grid = list(itertools.product(anchors, range(targets), (*profile.study.deltas, None)))
    trials = [Trial(dataset, f"direction {number + 1}", anchor, delta) for anchor, number, delta in grid]
    start = model.embeddings_of([trial.anchor for trial in trials], profile.vectors)
    start = start.to(model.device)
    with torch.no_grad():
        before = model.encode_words(start)
    random = torch.randn(targets, before.shape[-1], generator=torch.Generator().manual_seed(0))
    directions = torch.nn.functional.normalize(random, dim=-1).to(before)[[number for _, number, _ in grid]]

    def loss(vectors: Tensor, batch: dict[str, Tensor]) -> Tensor:
        return 1 - (model.encode_words(vectors) * batch["direction"]).sum(-1)

    batches = itertools.repeat({"direction": directions})
    radius = radii(model, trials).to(model.device)
    parts = partial(model.memory.map_in_batches, "learning towards directions")
    learned = learn_words(loss, start, radius, batches, steps=steps, lr=profile.learning[task].rate, parts=parts)
    with torch.no_grad():
        after = model.encode_words(learned.vectors)
    cosines = {
        name: (features * directions).sum(-1).cpu().double().numpy()
        for name, features in (("cosine", after), ("start", before))
    }
    return trial_rows(trials, task=task, **cosines)


@uses("grid", "test_images", "pictures", "points")
def segments(profile: Profile, case: Case, sources: Sources) -> pd.DataFrame:
    """Section 5.1: scores on the straight segment between two of a concept's solutions from different anchors, and on a
    curve that may avoid a dip.

    A solution is an unconstrained word that scores at least `SOLVES` of what the concept's own name does. `anchor`
    names the pair; `t` goes from 0 at the one to 1 at the other. `kind` is "segment" and "curve" (one row a point),
    "ends" (their mean) and "middle", half way: of segment or curve what scores higher. The curve is a parabola whose
    bend is learned, as a word is, on the task's loss at random points of it; pictures take too long for that.
    """
    task, dataset = case["task"], case["dataset"]
    words = solutions_of(task, dataset, sources)
    pairs = list(pairs_of(words))
    if not pairs:
        return pd.DataFrame(columns=["dataset", "concept", "anchor", "task", "kind", "t", "value"])
    one, other = (vectors_of([words[pair[side]] for pair in pairs]) for side in (0, 1))
    trials = [Trial(dataset, words[i].concept, f"{words[i].anchor}{AND}{words[j].anchor}") for i, j in pairs]
    shares = np.linspace(0, 1, profile.experiments.points)
    lines = {"segment": (one + other) / 2}
    if task != "generation":
        lines["curve"] = learn_bends(task, profile, trials, [words[i].anchor for i, _ in pairs], one, other)
    tables, scores = [], {}
    for kind, bend in lines.items():
        points = torch.cat([on_parabola(one, bend, other, torch.full((len(pairs),), t)) for t in shares])
        values = scores[kind] = own_scores(task, lighter(profile), trials * len(shares), points).reshape(
            len(shares), len(pairs)
        )
        tables += [
            trial_rows(trials, task=task, kind=kind, t=float(t), value=row)
            for t, row in zip(shares, values, strict=True)
        ]
    straight = scores["segment"]
    middle = np.max([values[len(shares) // 2] for values in scores.values()], axis=0)
    tables.append(trial_rows(trials, task=task, kind="ends", t=np.nan, value=(straight[0] + straight[-1]) / 2))
    tables.append(trial_rows(trials, task=task, kind="middle", t=0.5, value=middle))
    return pd.concat(tables, ignore_index=True).drop(columns="delta")


def solutions_of(task: str, dataset: str, sources: Sources) -> list[Word]:
    """The unconstrained words of the small grid that do their task: they score at least `SOLVES` of what their
    concept's own name does.
    """
    own = sources.trials[(sources.trials["evaluated_on"] == task) & (sources.trials["dataset"] == dataset)]
    names = own[own["trained_on"] == "name"].groupby("concept")["value"].mean()
    scores = own[own["trained_on"] == task].set_index("word_id")["value"]
    words = sources.grid(task, dataset, own=True)
    return [word for word in words if scores[word.word_id] >= SOLVES * names[word.concept] > 0]


def own_scores(task: str, profile: Profile, trials: Sequence[Trial], vectors: Tensor) -> np.ndarray:
    """Table 1's metric of words (word, vector, d) on their own task and concept: (word,)."""
    dataset = trials[0].dataset
    test = prepared(task, profile, dataset, "test") if task != "generation" else Frozen([], {})
    scores = load_model(task, profile).evaluate(
        vectors, [trial.concept for trial in trials], load_material(profile, dataset).names, test
    )
    return np.array([score.value for score in scores])


def on_parabola(one: Tensor, bend: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Points (word, vector, d) of parabolas from `one` to `other` with a control point `bend`; straight where it is
    their mean. `share` is (word,).
    """
    t = share.to(one)[:, None, None]
    return (1 - t) ** 2 * one + 2 * t * (1 - t) * bend + t**2 * other


def learn_bends(
    task: str, profile: Profile, trials: Sequence[Trial], anchors: Sequence[str], one: Tensor, other: Tensor
) -> Tensor:
    """Control points (word, vector, d) with which the task's loss is low all along the parabola; they start half way
    between its ends.
    """
    model, settings = load_model(task, profile), profile.learning[task]
    features = prepared(task, profile, trials[0].dataset, "train")
    keys = [(trials[0].dataset, number, anchor, None, 0) for number, anchor in enumerate(anchors)]
    streams = [random_stream(*key) for key in keys]
    one, other = one.to(model.device), other.to(model.device)

    def batches() -> Iterator[dict[str, Tensor]]:
        while True:
            share = torch.cat([torch.rand(1, generator=stream) for stream in streams])
            drawn = model.draw_batch([trial.concept for trial in trials], features, streams, settings.batch)
            yield drawn | {"one": one, "other": other, "share": share}

    def loss(bend: Tensor, batch: dict[str, Tensor]) -> Tensor:
        return model.losses(on_parabola(batch["one"], bend, batch["other"], batch["share"]), batch)

    middle, free = (one + other) / 2, torch.full((len(trials),), torch.inf, device=model.device)
    parts = partial(model.memory.map_in_batches, "learning bends")
    learned = learn_words(loss, middle, free, batches(), steps=settings.steps, lr=settings.rate, parts=parts)
    raise_if_diverged(learned, task, trials)
    return learned.vectors


@uses("grid", "near", "noises")
def likeness(profile: Profile, case: Case, sources: Sources) -> pd.DataFrame:
    """Section 5.1, figures 5, 10 and 11: how alike two unrelated anchors' words draw, from the same noise and from
    other noise.

    `cosine` of the judge's features of their pictures, a mean over `ExperimentSettings.noises` noises; `anchor` names
    the pair.
    """
    dataset, model, count = case["dataset"], load_generator(profile), profile.experiments.noises
    words = sources.grid("generation", dataset, profile.experiments.near, count=max(profile.experiments.grid.values()))
    pairs = list(pairs_of(words))
    if not pairs:
        return pd.DataFrame(columns=["dataset", "concept", "anchor", "kind", "cosine"])
    with torch.no_grad():
        pictures = model.generate(model.encode_words(vectors_of(words)), count)
    features = (
        model.judge.encode_images([picture for drawn in pictures for picture in drawn])
        .cpu()
        .view(len(words), count, -1)
    )
    rows = []
    for i, j in pairs:
        cosines = features[i] @ features[j].T  # (noise, noise)
        same = float(cosines.diagonal().mean())
        other = float((cosines.sum() - cosines.diagonal().sum()) / (count * (count - 1)))
        of = (dataset, words[i].concept, f"{words[i].anchor}{AND}{words[j].anchor}")
        rows += [(*of, "same noise", same), (*of, "other noise", other)]
    return pd.DataFrame(rows, columns=["dataset", "concept", "anchor", "kind", "cosine"])


@uses("near")
def agreement(profile: Profile, case: Case, sources: Sources) -> pd.DataFrame:
    """Figures 5, 8 and 9: the share of a concept's test images in which the best boxes of two anchors' words overlap by
    half or more.

    `anchor` names the pair. `kind` is "learned", or "anchors": the same of the two anchor words themselves, since boxes
    agree also where an image shows one thing only.
    """
    dataset, model = case["dataset"], load_detector(profile)
    words, frozen = (
        sources.words("detection", dataset, profile.experiments.near),
        prepared("detection", profile, dataset, "test"),
    )
    plain = model.word_table()[[model.vocabulary.token_of(word.anchor) for word in words]][:, None].repeat(
        1, profile.vectors, 1
    )
    learned_boxes, plain_boxes = (
        best_boxes(profile, frozen, vectors_of(words), words),
        best_boxes(profile, frozen, plain, words),
    )
    rows = []
    for i, j in pairs_of(words):
        for kind, boxes in (("learned", learned_boxes), ("anchors", plain_boxes)):
            share = float((box_iou(boxes[i], boxes[j]).diagonal() >= 0.5).float().mean())
            rows.append(
                (dataset, words[i].concept, f"{words[i].anchor}{AND}{words[j].anchor}", kind, share, len(boxes[i]))
            )
    return pd.DataFrame(rows, columns=["dataset", "concept", "anchor", "kind", "agrees", "images"])


@torch.no_grad()
def best_boxes(profile: Profile, frozen: Frozen, vectors: Tensor, words: Sequence[Word]) -> list[Tensor]:
    """For each word its likeliest box (image, 4) in every prepared image of its concept."""
    model = load_detector(profile)
    found = []
    for word, feature in zip(words, model.encode_words(vectors), strict=True):
        rows = frozen.rows_of(word.concept)
        own = Frozen(
            [word.concept] * len(rows), {key: frozen.tensors[key][rows] for key in ("region", "shift", "scale", "box")}
        )
        best = model.detect(feature[None], own)[0].argmax(-1)
        found.append(own.tensors["box"][torch.arange(len(rows)), best].cpu())
    return found
