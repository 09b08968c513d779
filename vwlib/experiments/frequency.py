"""Do only common concepts transfer? The study's concepts beside nouns that pretraining showed less often."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from vwlib.concepts import DATASETS, TASKS, Concept, concepts_of
from vwlib.experiments.base import PAIR, Case, Cases, Experiment, Size, Sources
from vwlib.experiments.drawn import Drawn, draw_examples, image_counts
from vwlib.experiments.words import trial_rows, values_of, with_split
from vwlib.lab import Lab
from vwlib.ledger.schemas import TableSchema
from vwlib.miniature.captions import OWN_NAME, names_of
from vwlib.miniature.pool import noun_weights
from vwlib.miniature.scenes import HELD_OUT_STYLE, PRETRAINING_STYLES, Drawing
from vwlib.miniature.sprites import STYLES, Sprites, load_sprites
from vwlib.settings import Profile
from vwlib.study.store import TRIALS
from vwlib.trials import DatasetSplit, Trial

CELL = ["dataset", "concept", "anchor"]
COLUMNS = [*CELL, "nouns", "trained_on", "evaluated_on", "frequency", "gain", "floor", "ceiling"]


def cases(profile: Profile) -> Cases:
    """In the miniature the first dataset alone, whose layout the rarer nouns' pictures have; else every dataset."""
    if profile.world != "miniature":
        return [{"nouns": "concepts", "dataset": dataset} for dataset in profile.study.datasets]
    first = profile.study.datasets[0]
    rarer = [{"nouns": "rarer", "dataset": first, "task": task} for task in TASKS]
    return [{"nouns": "concepts", "dataset": first}, *rarer]


def transfer_by_frequency(lab: Lab, case: Case, sources: Sources) -> Iterator[pd.DataFrame]:
    """Transfer beside how common a concept is in training.

    `gain` is the score of unconstrained mapped words over their anchor's (`floor`), `ceiling` that of the own name,
    `frequency` the logarithm of the name's. `nouns` "concepts": the study's words. "rarer": words for nouns that are no
    concept of the miniature, learned here from pictures in the dataset's layout.
    """
    if case["nouns"] == "rarer":
        yield from _rarer(lab, case["dataset"], case["task"], sources)
        return
    table = sources.trials
    table = table[(table["dataset"] == case["dataset"]) & table["delta"].isna()]
    cell = [*CELL, "evaluated_on"]
    mapped = table[table["trained_on"].isin(TASKS) & (table["trained_on"] != table["evaluated_on"])]
    for name, reference in (("floor", "anchor"), ("ceiling", "name")):
        mapped = mapped.join(table[table["trained_on"] == reference].set_index(cell)["value"].rename(name), on=cell)
    common = log_frequencies(lab, concepts_of(case["dataset"], lab.profile.world))
    rows = mapped.assign(gain=mapped["value"] - mapped["floor"], frequency=mapped["concept"].map(common))
    yield rows.assign(nouns="concepts")[COLUMNS]


def log_frequencies(lab: Lab, concepts: Sequence[Concept]) -> dict[str, float]:
    """How common the concepts' names are in training, to base 10, by concept.

    The miniature's captions are known. For the paper's models one over the rank of the anchor's token in CLIP's
    vocabulary stands in (Zipf's law), which lists merges from the most to the least frequent.
    """
    if lab.profile.world == "miniature":
        known = name_frequency(load_sprites())
        return {c.name: float(np.log10(known[c.prompt_name])) for c in concepts}
    vocabulary = lab.model("classification").vocabulary
    return {c.name: -float(np.log10(1 + vocabulary.token_of(c.anchor))) for c in concepts}


def name_frequency(sprites: Sprites) -> dict[str, float]:
    """The share of the miniature's captions in which a word names the main object, for every name of every noun.

    Scenes draw nouns by `noun_weights`; those of the denoiser alone are not counted. A caption says the noun itself
    with probability `OWN_NAME`, else any of its names alike.
    """
    frequency: dict[str, float] = {}
    names = names_of(sprites)
    for noun, weight in zip(sprites.nouns, noun_weights(sprites.nouns), strict=True):
        for name in names[noun]:
            share = (1 - OWN_NAME) / len(names[noun]) + (OWN_NAME if name == noun else 0.0)
            frequency[name] = frequency.get(name, 0.0) + float(weight) * share
    return frequency


def rarer_nouns(count: int) -> list[str]:
    """Nouns of the miniature's language that are no concept, from all over the list."""
    concepts = {concept.prompt_name for dataset in DATASETS for concept in concepts_of(dataset, "miniature")}
    others = [noun for noun in load_sprites().nouns if noun not in concepts]
    return [others[index] for index in np.linspace(0, len(others) - 1, count).round().astype(int)]


def _rarer(lab: Lab, dataset: str, source: str, sources: Sources) -> Iterator[pd.DataFrame]:
    """Words learned for one task, scored on the two others as the study scores its own."""
    count, starts = sources.sizes.rarer
    nouns = rarer_nouns(count)
    anchors = [concept.anchor for concept in concepts_of(dataset, lab.profile.world)][:starts]
    trials = [Trial(dataset, noun, anchor) for noun in nouns for anchor in anchors]
    counts = image_counts(lab.profile, sources.sizes.test_images)
    train, test = (_pictures(nouns, dataset, images, split) for split, images in enumerate(counts))
    own = with_split(lab, DatasetSplit(dataset, {noun: noun for noun in nouns}, train, test))
    learned = own.learn(source, trials, progress=False).vectors
    common = name_frequency(load_sprites())
    frequencies = [np.log10(common[trial.concept]) for trial in trials]
    for target in (task for task in TASKS if task != source):
        model, names = lab.model(target), {"floor": [t.anchor for t in trials], "ceiling": [t.concept for t in trials]}
        words = {name: [model.word_table()[model.vocabulary.encode(text)] for text in names[name]] for name in names}
        words["gain"] = list(lab.transfer(learned, source, target))
        found = {name: _values(own, target, vectors, trials) for name, vectors in words.items()}
        found["gain"] -= found["floor"]
        of = {"nouns": "rarer", "trained_on": source, "evaluated_on": target, "frequency": frequencies}
        yield trial_rows(trials, **of, **found)[COLUMNS]


def _pictures(nouns: Sequence[str], dataset: str, count: int, split: int) -> list[Drawn]:
    """Scenes of each noun in the styles of pretraining in turn; every sixth test image in the style held out of it."""
    styles = [PRETRAINING_STYLES[index % len(PRETRAINING_STYLES)] for index in range(count)]
    if split == 1:
        styles[:: len(STYLES)] = [HELD_OUT_STYLE] * len(styles[:: len(STYLES)])
    return [
        scene
        for number, noun in enumerate(nouns)
        for scene in draw_examples(noun, [Drawing(noun, style) for style in styles], (4 + split, number), dataset)
    ]


def _values(lab: Lab, task: str, vectors: Sequence[Tensor], trials: Sequence[Trial]) -> np.ndarray:
    """Table 1's metric (word,) of words that differ in how many vectors they have."""
    values = np.empty(len(trials))
    for length in {len(word) for word in vectors}:
        rows = [row for row, word in enumerate(vectors) if len(word) == length]
        values[rows] = values_of(lab, task, torch.stack([vectors[row] for row in rows]), [trials[row] for row in rows])
    return values


_NOUNS = Size("rarer", PAIR, (10, 2), (2, 2), "nouns that are no concept, and anchors to learn them from")
# `frequency` is the logarithm to base 10 of the share of training captions that name the concept.
_GAINS = TableSchema("transfer beside training frequency", (*CELL, "frequency", "gain"))
FREQUENCY = Experiment("frequency", transfer_by_frequency, cases, (TRIALS,), ("test_images",), (_NOUNS,), _GAINS)
