"""How alike do the words of two anchors draw, from the same noise and from other noise? Section 5.1."""

from __future__ import annotations

import pandas as pd
import torch

from vwlib.experiments.base import COUNT, Experiment, ExperimentCase, Size, Sources, per
from vwlib.experiments.words import pairs_of, vectors_of
from vwlib.lab import Lab
from vwlib.ledger.schemas import PAIR_SEPARATOR, TableSchema
from vwlib.study.tables import TRIALS

COLUMNS = ["dataset", "concept", "anchor", "kind", "cosine"]


@torch.no_grad()
def compute(lab: Lab, case: ExperimentCase, sources: Sources) -> pd.DataFrame:
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


LIKENESS = Experiment(
    "likeness",
    "Likeness of pictures that two anchors' words draw from the same noise (figures 5, 10 and 11).",
    compute,
    per("dataset"),
    needs=(TRIALS,),
    shared=("grid", "near"),
    sizes=(Size("noises", COUNT, 8, 2, "noises from which two words' pictures are compared"),),
    schema=TableSchema("similarity of generations from two anchors", tuple(COLUMNS), pairs=True),
)
