"""B10: do only common concepts transfer? The study's concepts beside nouns that pretraining showed a quarter as often
or less.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from vwlib.concepts import DATASETS, Concept, concepts_of
from vwlib.experiments.base import Case, Sources, learn_anew, trial_rows, uses
from vwlib.experiments.drawn import Drawn, draw_examples, image_counts
from vwlib.miniature.captions import OWN_NAME, names_of
from vwlib.miniature.pool import noun_weights
from vwlib.miniature.scenes import HELD_OUT_STYLE, PRETRAINING_STYLES, Drawing
from vwlib.miniature.sprites import STYLES, Sprites, load_sprites
from vwlib.models import TASKS, Frozen, TaskModel, load_model
from vwlib.settings import Profile
from vwlib.study.compat import carry
from vwlib.trials import Trial

COLUMNS = [
    "dataset",
    "concept",
    "anchor",
    "nouns",
    "trained_on",
    "evaluated_on",
    "frequency",
    "gain",
    "floor",
    "ceiling",
]


def name_frequency(sprites: Sprites) -> dict[str, float]:
    """The miniature's pretraining: the share of captions in which a word names the main object, for every name of every
    noun.

    Scenes draw nouns by `vwlib.miniature.pool.noun_weights`, those of the denoiser alone show concepts more often still
    and are not counted. A caption says the noun itself with probability `OWN_NAME`, else any of its names alike
    (`vwlib.miniature.captions`).
    """
    found: dict[str, float] = {}
    names = names_of(sprites)
    for noun, weight in zip(sprites.nouns, noun_weights(sprites.nouns), strict=True):
        for name in names[noun]:
            share = (1 - OWN_NAME) / len(names[noun]) + (OWN_NAME if name == noun else 0.0)
            found[name] = found.get(name, 0.0) + float(weight) * share
    return found


def log_frequencies(profile: Profile, concepts: Sequence[Concept]) -> dict[str, float]:
    """How common the concepts' names are in training, to base 10, by concept.

    The miniature's captions are known. Those of the paper's models are not: there the rank of the anchor's token in
    CLIP's vocabulary, which lists merges from the most to the least frequent, stands in (by Zipf's law frequency falls
    as one over the rank).
    """
    if profile.world == "miniature":
        known = name_frequency(load_sprites())
        return {c.name: float(np.log10(known[c.prompt_name])) for c in concepts}
    vocabulary = load_model("classification", profile).vocabulary
    return {c.name: -float(np.log10(1 + vocabulary.token_of(c.anchor))) for c in concepts}


@uses("rarer", "test_images")
def frequency(profile: Profile, case: Case, sources: Sources) -> pd.DataFrame:
    """B10: `gain`, the score of unconstrained mapped words over their anchor's in the target, and the log `frequency`
    of the concept's name.

    `nouns` "concepts": the study's words. "rarer": words for nouns that are no concept of the miniature, of which
    pretraining shows each a quarter as often or less, learned here from pictures in the dataset's layout. `floor` and
    `ceiling` are the scores of anchor and own name.
    """
    if case["nouns"] == "rarer":
        return _rarer(profile, case["dataset"], case["task"])
    table = sources.trials
    table = table[(table["dataset"] == case["dataset"]) & table["delta"].isna()]
    cell = ["dataset", "concept", "anchor", "evaluated_on"]
    mapped = table[table["trained_on"].isin(TASKS) & (table["trained_on"] != table["evaluated_on"])]
    for name, reference in (("floor", "anchor"), ("ceiling", "name")):
        mapped = mapped.join(table[table["trained_on"] == reference].set_index(cell)["value"].rename(name), on=cell)
    common = log_frequencies(profile, concepts_of(case["dataset"], profile.world))
    rows = mapped.assign(gain=mapped["value"] - mapped["floor"], frequency=mapped["concept"].map(common))
    return rows.assign(nouns="concepts")[COLUMNS].reset_index(drop=True)


def cases(profile: Profile) -> list[dict[str, str]]:
    """In the miniature the first dataset alone, ImageNet, whose layout the rarer nouns' pictures have; else every
    dataset.
    """
    if profile.world != "miniature":
        return [{"nouns": "concepts", "dataset": dataset} for dataset in profile.study.datasets]
    first = profile.study.datasets[0]
    return [
        {"nouns": "concepts", "dataset": first},
        *({"nouns": "rarer", "dataset": first, "task": task} for task in TASKS),
    ]


def rarer_nouns(count: int) -> list[str]:
    """Nouns of the miniature's language that are no concept, from all over the list."""
    concepts = {concept.prompt_name for dataset in DATASETS for concept in concepts_of(dataset, "miniature")}
    others = [noun for noun in load_sprites().nouns if noun not in concepts]
    return [others[index] for index in np.linspace(0, len(others) - 1, count).round().astype(int)]


def _rarer(profile: Profile, dataset: str, source: str) -> pd.DataFrame:
    """Words learned for one task, scored on the two others as the study scores its own."""
    nouns, starts = profile.experiments.rarer
    anchors = [concept.anchor for concept in concepts_of(dataset, profile.world)][:starts]
    trials = [Trial(dataset, noun, anchor) for noun in rarer_nouns(nouns) for anchor in anchors]
    train, test = (
        _pictures(rarer_nouns(nouns), dataset, count, split) for split, count in enumerate(image_counts(profile))
    )
    model = load_model(source, profile)
    learned = learn_anew(model, profile, model.prepare(train), trials)
    common = name_frequency(load_sprites())
    tables = []
    for target in (task for task in TASKS if task != source):
        other = load_model(target, profile)
        frozen = other.prepare(test) if target != "generation" else Frozen([], {})
        found = {name: _scores(other, vectors, trials, frozen) for name, vectors in _references(other, trials).items()}
        found["gain"] = _scores(other, carry(profile, learned, source, target), trials, frozen) - found["floor"]
        frequencies = [np.log10(common[trial.concept]) for trial in trials]
        tables.append(
            trial_rows(trials, nouns="rarer", trained_on=source, evaluated_on=target, frequency=frequencies, **found)
        )
    return pd.concat(tables, ignore_index=True)[COLUMNS]


def _pictures(nouns: Sequence[str], dataset: str, count: int, split: int) -> list[Drawn]:
    """Scenes of each noun in the styles of pretraining in turn; as in the datasets, every sixth test image in the style
    that is held out of it.
    """
    held_out = [split == 1 and index % len(STYLES) == 0 for index in range(count)]
    styles = [
        HELD_OUT_STYLE if held else PRETRAINING_STYLES[index % len(PRETRAINING_STYLES)]
        for index, held in enumerate(held_out)
    ]
    found = []
    for number, noun in enumerate(nouns):
        found += draw_examples(noun, [Drawing(noun, style) for style in styles], (4 + split, number), dataset)
    return found


def _references(model: TaskModel, trials: Sequence[Trial]) -> dict[str, list[Tensor]]:
    """For each trial the vectors (vector, d) of its anchor ("floor") and of its noun's own name ("ceiling")."""
    table = model.word_table()
    texts = {"floor": [trial.anchor for trial in trials], "ceiling": [trial.concept for trial in trials]}
    return {name: [table[model.vocabulary.encode(text)] for text in found] for name, found in texts.items()}


def _scores(
    model: TaskModel, vectors: Sequence[Tensor] | Tensor, trials: Sequence[Trial], frozen: Frozen
) -> np.ndarray:
    """Table 1's metric (word,), with the trials' own nouns as the names to choose from; names differ in how many tokens
    they have.
    """
    names = {trial.concept: trial.concept for trial in trials}
    values = np.empty(len(trials))
    for length in {len(word) for word in vectors}:
        rows = [row for row, word in enumerate(vectors) if len(word) == length]
        scores = model.evaluate(
            torch.stack([vectors[row] for row in rows]), [trials[row].concept for row in rows], names, frozen
        )
        values[rows] = [score.value for score in scores]
    return values
