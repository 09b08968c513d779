"""Do the words of two anchors draw alike and find the same boxes? Section 5.1, figures 5 and 8 to 11."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor
from torchvision.ops import box_iou

from vwlib.experiments.base import COUNT, Experiment, ExperimentCase, Size, Sources, per
from vwlib.experiments.words import pairs_of, vectors_of
from vwlib.lab import Lab
from vwlib.ledger.schemas import PAIR_SEPARATOR, TableSchema
from vwlib.models.base import CachedFeatures
from vwlib.study.tables import TRIALS
from vwlib.words import Word

COLUMNS = ["dataset", "concept", "anchor", "kind", "cosine"]


@torch.no_grad()
def likeness(lab: Lab, case: ExperimentCase, sources: Sources) -> pd.DataFrame:
    """`cosine` of the judge's features of two words' pictures, a mean over some noises; `anchor` names the pair."""
    dataset, generator, count = case["dataset"], lab.generator, sources.sizes.noises
    words = sources.grid("generation", dataset, sources.sizes.near, count=max(sources.sizes.grid.values()))
    pairs = list(pairs_of(words))
    if not pairs:
        return pd.DataFrame(columns=COLUMNS)
    pictures = generator.generate(generator.encode_words(vectors_of(words)), count)
    features = generator.judge.encode_images([picture for drawn in pictures for picture in drawn])
    features = features.cpu().view(len(words), count, -1)
    rows = []
    for i, j in pairs:
        cosines = features[i] @ features[j].T  # (noise, noise)
        same = float(cosines.diagonal().mean())
        other = float((cosines.sum() - cosines.diagonal().sum()) / (count * (count - 1)))
        of = (dataset, words[i].concept, f"{words[i].anchor}{PAIR_SEPARATOR}{words[j].anchor}")
        rows += [(*of, "same noise", same), (*of, "other noise", other)]
    return pd.DataFrame(rows, columns=COLUMNS)


def agreement(lab: Lab, case: ExperimentCase, sources: Sources) -> pd.DataFrame:
    """The share of a concept's test images in which the best boxes of two anchors' words overlap by half or more.

    `anchor` names the pair. `kind` is "learned", or "anchors": the same of the two anchor words themselves, since boxes
    agree also where an image shows one thing only.
    """
    dataset, words = case["dataset"], sources.words("detection", case["dataset"], sources.sizes.near)
    anchors = lab.detector.embeddings_of([word.anchor for word in words], lab.profile.vectors)
    boxes = {
        kind: best_boxes(lab, dataset, vectors, words)
        for kind, vectors in (("learned", vectors_of(words)), ("anchors", anchors))
    }
    rows = []
    for i, j in pairs_of(words):
        pair = (words[i].concept, f"{words[i].anchor}{PAIR_SEPARATOR}{words[j].anchor}")
        for kind, found in boxes.items():
            share = float((box_iou(found[i], found[j]).diagonal() >= 0.5).float().mean())
            rows.append((dataset, *pair, kind, share, len(found[i])))
    return pd.DataFrame(rows, columns=["dataset", "concept", "anchor", "kind", "agrees", "images"])


@torch.no_grad()
def best_boxes(lab: Lab, dataset: str, vectors: Tensor, words: Sequence[Word]) -> list[Tensor]:
    """For each word its likeliest box (image, 4) in every test image of its concept."""
    model, features, found = lab.detector, lab.features("detection", dataset, "test"), []
    for word, feature in zip(words, model.encode_words(vectors), strict=True):
        rows = features.indices_of(word.concept)
        tensors = {key: features.tensors[key][rows] for key in ("region", "shift", "scale", "box")}
        best = model.detect(feature[None], CachedFeatures([word.concept] * len(rows), tensors))[0].argmax(-1)
        found.append(tensors["box"][torch.arange(len(rows)), best].cpu())
    return found


LIKENESS = Experiment(
    "likeness",
    "Likeness of pictures that two anchors' words draw from the same noise (figures 5, 10 and 11).",
    likeness,
    per("dataset"),
    needs=(TRIALS,),
    shared=("grid", "near"),
    sizes=(Size("noises", COUNT, 8, 2, "noises from which two words' pictures are compared"),),
    schema=TableSchema("similarity of generations from two anchors", tuple(COLUMNS), pairs=True),
)
AGREEMENT = Experiment(
    "agreement",
    "Whether two anchors' words find the same boxes (figures 5, 8 and 9).",
    agreement,
    per("dataset"),
    needs=(TRIALS,),
    shared=("near",),
    schema=TableSchema(
        "overlap of detections from two anchors",
        ("dataset", "concept", "anchor", "kind", "agrees"),
        shares=("agrees",),
        pairs=True,
    ),
)
