"""Words of things that are drawn for them: compounds of a colour and a noun (section 1), instances (section 4.4), and
nouns that pretraining showed less often than the study's concepts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from vwlib.concepts import DATASETS, TASKS, Concept, concepts_of
from vwlib.examples import Example
from vwlib.experiments.base import PAIR, Case, Cases, Experiment, Size, Sources, per
from vwlib.experiments.words import trial_rows, values_of_texts, with_split
from vwlib.lab import Lab
from vwlib.layers import hidden_states
from vwlib.ledger.schemas import TRIAL, TableSchema
from vwlib.miniature.captions import OWN_NAME
from vwlib.miniature.pool import noun_weights
from vwlib.miniature.scenes import HELD_OUT_STYLE, LAYOUTS, PRETRAINING_STYLES, Drawing, compose
from vwlib.miniature.sprites import STYLES, Sprites, load_sprites
from vwlib.models.base import TaskModel
from vwlib.settings import Profile
from vwlib.study.store import TRIALS
from vwlib.trials import DatasetSplit, Trial

SIDE = 96  # px of a drawn scene, as in the miniature's datasets
COLOURS = ("orange", "blue", "green", "purple", "red")
LAYOUT = "DreamBooth"  # the dataset whose layout the scenes have, unless another is named


@dataclass(frozen=True, eq=False)
class Drawn(Example):
    """An example whose picture is in memory."""

    picture: Image.Image | None = None

    def image(self) -> Image.Image:
        """The picture."""
        assert self.picture is not None
        return self.picture


def draw_examples(label: str, drawings: Sequence[Drawing], seed: tuple[int, ...], dataset: str = LAYOUT) -> list[Drawn]:
    """One scene for each drawing, in a dataset's layout, all called `label`; `seed` varies place and background."""
    examples = []
    for index, drawing in enumerate(drawings):
        scene = compose(np.random.default_rng((*seed, index)), load_sprites(), [drawing], LAYOUTS[dataset], SIDE)
        box = np.array([scene.objects[0].box], np.float32)
        examples.append(Drawn(dataset, Path(f"{label} {index}"), label, box, [label], picture=scene.image))
    return examples


def in_the_miniature(*keys: str) -> Callable[[Profile], Cases]:
    """The cases of `per` where the models know the miniature's drawings; none elsewhere: photographs are not drawn."""
    return lambda profile: per(*keys)(profile) if profile.world == "miniature" else []


def image_counts(profile: Profile, test_images: int) -> tuple[int, int]:
    """How many pictures of a thing are drawn to learn from and to test on."""
    return profile.train_images, min(profile.test_images, test_images)


NOUNS = ("cat", "car", "umbrella", "bottle", "boat")
STARTS = ("phone", "bicycle")  # anchors that are neither part


def compounds(lab: Lab, case: Case, sources: Sources) -> pd.DataFrame:
    """What the words of an orange cat's parts leave unexplained of its own (section 1).

    Words of one vector are learned from tinted drawings of all combinations. `residual` is the share of the offset from
    the anchor outside the span of the parts' embeddings, without the anchor's own direction; `text_residual` the same
    of the text encoder's output; `best` the residual of the two best words; `value` the compound's score. The
    yardstick, `kind` "held-out", is the mean for the parts' own words, each rebuilt from the two best other words.
    """
    task, counts = case["task"], image_counts(lab.profile, sources.sizes.test_images)
    colours, nouns = (names[:n] for names, n in zip((COLOURS, NOUNS), sources.sizes.compounds, strict=True))
    parts = {f"{colour} {noun}": (colour, noun) for colour, noun in itertools.product(colours, nouns)}
    train, test = (
        [example for pair in parts.values() for example in compound_examples(pair, count, split)]
        for split, count in enumerate(counts)
    )
    own = with_split(lab, DatasetSplit(LAYOUT, {label: label for label in parts}, train, test))
    trials = [Trial(LAYOUT, label, anchor) for label in parts for anchor in STARTS]
    learned = own.learn(task, trials, progress=False, vectors=1).vectors
    algebra, rows = Algebra.of(lab.model(task)), []
    for trial, vector, score in zip(trials, learned[:, 0], own.evaluate(task, learned, trials), strict=True):
        pair = parts[trial.concept]
        found = algebra.residuals(vector, trial.anchor, pair)
        best = algebra.residual(vector, trial.anchor, algebra.best_two(vector, trial.anchor, ()))
        rows.append((trial.concept, trial.anchor, "learned", *found, best, score.value))
        found = algebra.held_out_residuals(trial.anchor, pair)
        rows.append((trial.concept, trial.anchor, "held-out", *found, found[0], np.nan))
    columns = ["concept", "anchor", "kind", "residual", "text_residual", "best", "value"]
    return pd.DataFrame(rows, columns=columns).assign(task=task)


def compound_examples(parts: tuple[str, str], count: int, split: int) -> list[Drawn]:
    """Scenes of a noun tinted in a colour, in the styles of pretraining in turn."""
    colour, noun = parts
    drawings = [Drawing(noun, PRETRAINING_STYLES[index % len(PRETRAINING_STYLES)], colour) for index in range(count)]
    return draw_examples(f"{colour} {noun}", drawings, (split, COLOURS.index(colour), NOUNS.index(noun)))


@dataclass(frozen=True)
class Algebra:
    """Explaining a word by other words of a model."""

    model: TaskModel
    words: list[str]
    rows: Tensor  # their embeddings (word, d)
    outputs: Tensor  # what the text encoder makes of each, (word, d)

    @classmethod
    def of(cls, model: TaskModel) -> Algebra:
        """With the words of a model's vocabulary."""
        known = model.vocabulary.words()
        words = sorted(known)
        rows = model.word_table()[[known[word] for word in words]].cpu()
        return cls(model, words, rows, hidden_states(model, rows[:, None])[-1])

    def at(self, *words: str) -> list[int]:
        """The rows of words."""
        return [self.words.index(word) for word in words]

    def row(self, word: str) -> Tensor:
        """A word's embedding (d)."""
        return self.rows[self.words.index(word)]

    def residuals(self, vector: Tensor, anchor: str, parts: Sequence[str]) -> tuple[float, float]:
        """`residual`, and the same of the text encoder's output at the end of text."""
        chosen, output = self.at(anchor, *parts), hidden_states(self.model, vector[None, None])[-1, 0]
        text = unexplained(output - self.outputs[chosen[0]], self.outputs[chosen] - self.outputs.mean(0))
        return self.residual(vector, anchor, parts), text

    def residual(self, vector: Tensor, anchor: str, parts: Sequence[str]) -> float:
        """The share of the offset from the anchor to `vector` (d) that anchor and `parts` do not explain."""
        return unexplained(vector - self.row(anchor), self.rows[self.at(anchor, *parts)] - self.rows.mean(0))

    def held_out_residuals(self, anchor: str, parts: Sequence[str]) -> tuple[float, float]:
        """The mean `residuals` of the parts' own real words, each explained by the two best other words."""
        own = {word: self.row(word) for word in parts}
        found = [self.residuals(row, anchor, self.best_two(row, anchor, (word,))) for word, row in own.items()]
        residual, text_residual = np.mean(found, axis=0)
        return residual, text_residual

    def best_two(self, vector: Tensor, anchor: str, without: Sequence[str]) -> list[str]:
        """Orthogonal matching pursuit: the two words that explain the offset from the anchor to `vector` (d) best."""
        centred = (self.rows - self.rows.mean(0)).double()
        offset = (vector - self.row(anchor)).double()
        chosen, banned = self.at(anchor), self.at(anchor, *without)
        for _ in range(2):
            basis = torch.linalg.qr(centred[chosen].T).Q  # (d, word)
            rest = offset - basis @ (basis.T @ offset)
            others = centred - centred @ basis @ basis.T  # what each word adds
            fit = (others @ rest).abs() / others.norm(dim=-1).clamp(min=1e-9)
            fit[[*banned, *chosen]] = -1
            chosen.append(int(fit.argmax()))
        return [self.words[index] for index in chosen[1:]]


def unexplained(offset: Tensor, words: Tensor) -> float:
    """The share of `offset` (d), without the direction of the first of `words` (word, d), outside their span."""
    beside, outside = (_outside(offset.double(), words[:count].double()) for count in (1, len(words)))
    return float((outside / beside.clamp(min=1e-30)).clamp(0, 1))


def _outside(offset: Tensor, basis: Tensor) -> Tensor:
    """The squared length of the part of `offset` (d) outside the span of `basis` (word, d)."""
    inside = torch.linalg.lstsq(basis.T, offset[:, None], driver="gelsd").solution
    return (offset - (basis.T @ inside)[:, 0]).square().sum()


def instances(lab: Lab, _: Case, sources: Sources) -> Iterator[pd.DataFrame]:
    """Instances of a category told apart in pictures of their words (section 4.4).

    Each is one drawing in one colour and in the style that no model saw, the i-th learned from the i-th unrelated
    anchor. One row a picture: `found`, whether the judge's feature is nearest to pictures of its own instance among the
    category's; `named`, whether the judge calls it by its category among the dataset's names.
    """
    model, known = lab.generator, concepts_of(LAYOUT, lab.profile.world)
    categories, count = sources.sizes.instances
    kinds = [(concept, number) for concept in known[:categories] for number in range(count)]
    train_count, test_count = image_counts(lab.profile, sources.sizes.test_images)
    train, trials, centres = list[Drawn](), list[Trial](), []
    for concept, number in kinds:
        train += instance_examples(concept.prompt_name, number, train_count, 0)
        anchors = [other.anchor for other in known if other.anchor != concept.anchor]
        trials.append(Trial(LAYOUT, train[-1].label, anchors[number]))
        test = instance_examples(concept.prompt_name, number, test_count, 1)
        centres.append(model.judge.encode_images([example.image() for example in test]).cpu().mean(0))
    own = with_split(lab, DatasetSplit(LAYOUT, {trial.concept: trial.concept for trial in trials}, train, []))
    learned = own.learn("generation", trials, progress=False).vectors
    with torch.no_grad():
        drawn = model.generate(model.encode_words(learned), lab.profile.generator.images_per_word)
    names = [concept.prompt_name for concept in known]
    for (concept, number), trial, pictures in zip(kinds, trials, drawn, strict=True):
        start = kinds.index((concept, 0))
        nearest = (model.judge.encode_images(pictures).cpu() @ torch.stack(centres[start : start + count]).T).argmax(1)
        called = model.judge.classify(pictures, names).cpu() == names.index(concept.prompt_name)
        of = [Trial(LAYOUT, concept.name, trial.anchor)] * len(pictures)
        yield trial_rows(of, instance=number, found=(nearest == number).numpy(), named=called.numpy())


def instance_examples(noun: str, number: int, count: int, split: int) -> list[Drawn]:
    """Scenes of one instance, which is called after its colour."""
    drawings = [Drawing(noun, HELD_OUT_STYLE, COLOURS[number])] * count
    return draw_examples(f"{COLOURS[number]} {noun}", drawings, (2 + split, number))


_RESIDUALS = TableSchema(
    "what compounds leave unexplained",
    ("task", "concept", "kind", "residual", "best", "value"),
    ("residual", "best"),
    ("concept",),
    "task",
)
# `found` says whether a picture is nearest to its own instance among those of its category.
_FOUND = TableSchema("instances told apart in generations", (*TRIAL, "found", "named"), shares=("found", "named"))
_PARTS = Size("compounds", PAIR, (3, 3), (2, 2), "colours and nouns in compounds")
_COUNTS = Size("instances", PAIR, (4, 5), (2, 2), "categories, and instances of each")
COMPOUNDS = Experiment(
    "compounds", compounds, in_the_miniature("task"), shared=("test_images",), sizes=(_PARTS,), schema=_RESIDUALS
)
INSTANCES = Experiment(
    "instances", instances, in_the_miniature(), shared=("test_images",), sizes=(_COUNTS,), schema=_FOUND
)


CELL = ["dataset", "concept", "anchor"]
COLUMNS = [*CELL, "nouns", "trained_on", "evaluated_on", "frequency", "gain", "floor", "ceiling"]


def frequency_cases(profile: Profile) -> Cases:
    """In the miniature the first dataset alone, whose layout the rarer nouns' pictures have; else every dataset."""
    if profile.world != "miniature":
        return [{"nouns": "concepts", "dataset": dataset} for dataset in profile.study.datasets]
    first = profile.study.datasets[0]
    rarer = [{"nouns": "rarer", "dataset": first, "task": task} for task in TASKS]
    return [{"nouns": "concepts", "dataset": first}, *rarer]


def frequency_gains(lab: Lab, case: Case, sources: Sources) -> Iterator[pd.DataFrame]:
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
    names = sprites.names
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
        found = {name: values_of_texts(own, target, vectors, trials) for name, vectors in words.items()}
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


_NOUNS = Size("rarer", PAIR, (10, 2), (2, 2), "nouns that are no concept, and anchors to learn them from")
# `frequency` is the logarithm to base 10 of the share of training captions that name the concept.
_GAINS = TableSchema("transfer beside training frequency", (*CELL, "trained_on", "evaluated_on", "frequency", "gain"))
FREQUENCY = Experiment("frequency", frequency_gains, frequency_cases, (TRIALS,), ("test_images",), (_NOUNS,), _GAINS)
