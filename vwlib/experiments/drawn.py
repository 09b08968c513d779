"""Experiments on things that are drawn for them in the miniature's styles: compounds of a colour and a noun, and
instances of a category.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from vwlib.concepts import concepts_of
from vwlib.examples import Example
from vwlib.experiments.base import Case, Sources, learn_anew, trial_rows, uses
from vwlib.layers import activations
from vwlib.miniature.scenes import HELD_OUT_STYLE, LAYOUTS, PRETRAINING_STYLES, Drawing, compose
from vwlib.miniature.sprites import load_sprites
from vwlib.models import TASKS, TaskModel, load_generator, load_model
from vwlib.settings import Profile
from vwlib.trials import Trial

SIZE = 96  # px of a drawn scene's side, as in the miniature's datasets
COLOURS = ("orange", "blue", "green", "purple", "red")
COMPOUND_NOUNS = ("cat", "car", "umbrella", "bottle", "boat")
COMPOUND_STARTS = ("phone", "bicycle")  # anchors that are neither part
DATASET = "DreamBooth"  # whose layout the scenes have


@dataclass(frozen=True, eq=False)
class Drawn(Example):
    """An example whose picture is in memory."""

    picture: Image.Image | None = None

    def image(self) -> Image.Image:
        """The picture."""
        assert self.picture is not None
        return self.picture


def draw_examples(
    label: str, drawings: Sequence[Drawing], seed: tuple[int, ...], dataset: str = DATASET
) -> list[Drawn]:
    """One scene for each drawing, in a dataset's layout, all of them called `label`; place and background vary with
    `seed`.
    """
    found = []
    for index, drawing in enumerate(drawings):
        scene = compose(np.random.default_rng((*seed, index)), load_sprites(), [drawing], LAYOUTS[dataset], SIZE)
        box = np.array([scene.objects[0].box], np.float32)
        found.append(Drawn(dataset, Path(f"{label} {index}"), label, box, [label], picture=scene.image))
    return found


def in_the_miniature(profile: Profile) -> list[dict[str, str]]:
    """Each task where the models know the miniature's drawings; no case elsewhere, since photographs cannot be drawn."""
    return [{"task": task} for task in TASKS] if profile.world == "miniature" else []


# --- compounds
# ----------------------------------------------------------------------------------------------------------


@uses("compounds", "test_images")
def compounds(profile: Profile, case: Case, _: Sources) -> pd.DataFrame:
    """B3, section 1: is the word learned from pictures of an orange cat orange plus cat?

    Words of one vector, learned of tinted drawings in all combinations of some colours and nouns, so that only both
    parts together tell a compound from the others. `residual`: of the way from the anchor, where the word started, to
    the word, and beside the anchor's own direction, the share that the parts leave unexplained. The yardstick, `kind`
    "held-out", is the mean of the same for the parts' own real words, each rebuilt from the two other words that do it
    best. `best`: the compound's word, rebuilt likewise;
    `text_residual`: of
    the text encoder's output in place of the words; `value`: the compound's score on its task, among the others.
    """
    task, model = case["task"], load_model(case["task"], profile)
    colours, nouns = (
        names[:count] for names, count in zip((COLOURS, COMPOUND_NOUNS), profile.experiments.compounds, strict=True)
    )
    parts = {f"{colour} {noun}": (colour, noun) for colour, noun in itertools.product(colours, nouns)}
    train, test = (
        [e for label in parts for e in compound_examples(parts[label], count, split)]
        for split, count in enumerate(image_counts(profile))
    )
    trials = [Trial(DATASET, label, anchor) for label in parts for anchor in COMPOUND_STARTS]
    learned = learn_anew(model, profile, model.prepare(train), trials, vectors=1)
    scores = model.evaluate(
        learned, [trial.concept for trial in trials], {label: label for label in parts}, model.prepare(test)
    )
    algebra = Algebra.of(model)
    rows = []
    for trial, vector, score in zip(trials, learned[:, 0], scores, strict=True):
        pair = parts[trial.concept]
        explained = {
            "residual": algebra.residual(vector, trial.anchor, pair),
            "text_residual": algebra.text_residual(vector, trial.anchor, pair),
        }
        chosen = algebra.best_two(vector, trial.anchor, ())
        rows.append({"concept": trial.concept, "anchor": trial.anchor, "kind": "learned", **explained})
        rows[-1] |= {"best": algebra.residual(vector, trial.anchor, chosen), "value": score.value}
        held_out = []
        for word in pair:
            vector = algebra.row(word)
            chosen = algebra.best_two(vector, trial.anchor, (word,))
            held_out.append(
                (algebra.residual(vector, trial.anchor, chosen), algebra.text_residual(vector, trial.anchor, chosen))
            )
        residual, text_residual = np.mean(held_out, axis=0)
        rows.append(
            {
                "concept": trial.concept,
                "anchor": trial.anchor,
                "kind": "held-out",
                "residual": residual,
                "text_residual": text_residual,
            }
        )
        rows[-1] |= {"best": residual, "value": np.nan}
    return pd.DataFrame(rows).assign(task=task)


def image_counts(profile: Profile) -> tuple[int, int]:
    """How many pictures of a thing are drawn to learn from and to test on."""
    return profile.train_images, min(profile.test_images, profile.experiments.test_images)


def compound_examples(parts: tuple[str, str], count: int, split: int) -> list[Drawn]:
    """Scenes of a noun tinted in a colour, in the styles of pretraining in turn."""
    colour, noun = parts
    drawings = [Drawing(noun, PRETRAINING_STYLES[index % len(PRETRAINING_STYLES)], colour) for index in range(count)]
    return draw_examples(f"{colour} {noun}", drawings, (split, COLOURS.index(colour), COMPOUND_NOUNS.index(noun)))


@dataclass(frozen=True)
class Algebra:
    """The words that a model knows, from their mean: `rows` (word, d), and what the text encoder makes of each,
    `outputs` (word, d).
    """

    model: TaskModel
    words: list[str]
    rows: Tensor
    outputs: Tensor

    @classmethod
    def of(cls, model: TaskModel) -> Algebra:
        """The words of a model's vocabulary."""
        known = model.vocabulary.words()
        words = sorted(known)
        rows = model.word_table()[[known[word] for word in words]].cpu()
        return cls(model, words, rows, activations(model, rows[:, None])[-1])

    def row(self, word: str) -> Tensor:
        """A word's embedding (d)."""
        return self.rows[self.words.index(word)]

    def residual(self, vector: Tensor, anchor: str, parts: Sequence[str]) -> float:
        """The share of the way from the anchor to `vector` (d), beside the anchor's own direction, that the words of
        `parts` leave unexplained.
        """
        chosen = [self.words.index(word) for word in (anchor, *parts)]
        return unexplained(vector - self.row(anchor), self.rows[chosen] - self.rows.mean(0))

    def text_residual(self, vector: Tensor, anchor: str, parts: Sequence[str]) -> float:
        """The same of the text encoder's output at the end of text."""
        chosen = [self.words.index(word) for word in (anchor, *parts)]
        output = activations(self.model, vector[None, None])[-1, 0]
        return unexplained(output - self.outputs[chosen[0]], self.outputs[chosen] - self.outputs.mean(0))

    def best_two(self, vector: Tensor, anchor: str, without: Sequence[str]) -> list[str]:
        """Orthogonal matching pursuit: the two words that, after leaving the anchor, explain the way to `vector` (d)
        best, one after the other.
        """
        centred = (self.rows - self.rows.mean(0)).double()
        way = (vector - self.row(anchor)).double()
        chosen = [self.words.index(anchor)]
        banned = [*chosen, *(self.words.index(word) for word in without)]
        for _ in range(2):
            basis = torch.linalg.qr(centred[chosen].T).Q  # (d, word)
            rest = way - basis @ (basis.T @ way)
            others = centred - centred @ basis @ basis.T  # what each word adds
            fit = (others @ rest).abs() / others.norm(dim=-1).clamp(min=1e-9)
            fit[[*banned, *chosen]] = -1
            chosen.append(int(fit.argmax()))
        return [self.words[index] for index in chosen[1:]]


def unexplained(way: Tensor, words: Tensor) -> float:
    """Of what lies of `way` (d) beside the first of `words` (word, d), the share outside the span of all of them; in
    [0, 1].
    """
    beside, outside = (_outside(way.double(), words[:count].double()) for count in (1, len(words)))
    return float((outside / beside.clamp(min=1e-30)).clamp(0, 1))


def _outside(way: Tensor, basis: Tensor) -> Tensor:
    """The squared length of what lies of `way` (d) outside the span of `basis` (word, d)."""
    inside = torch.linalg.lstsq(basis.T, way[:, None], driver="gelsd").solution
    return (way - (basis.T @ inside)[:, 0]).square().sum()


# --- instances
# ----------------------------------------------------------------------------------------------------------


@uses("instances", "test_images")
def instances(profile: Profile, _: Case, __: Sources) -> pd.DataFrame:
    """E8: do words of the generator tell an instance from others of its category?

    Each instance is one drawing in one colour and in the style that no model saw, the i-th of a category learned from
    the i-th unrelated anchor. One row a picture: `found`, whether the judge's feature of it is nearest to those of
    pictures of its own instance, among the category's; `named`, whether the judge calls it by its category, among the
    dataset's names.
    """
    model, known = load_generator(profile), concepts_of(DATASET, profile.world)
    categories, count = profile.experiments.instances
    kinds = [(concept, number) for concept in known[:categories] for number in range(count)]
    train_count, test_count = image_counts(profile)
    train = [e for concept, number in kinds for e in instance_examples(concept.prompt_name, number, train_count, 0)]
    test = {kind: instance_examples(kind[0].prompt_name, kind[1], test_count, 1) for kind in kinds}
    centres = torch.stack([model.judge.encode_images([e.image() for e in test[kind]]).cpu().mean(0) for kind in kinds])
    trials = []
    for concept, number in kinds:
        anchors = [other.anchor for other in known if other.anchor != concept.anchor]
        trials.append(Trial(DATASET, instance_name(concept.prompt_name, number), anchors[number]))
    learned = learn_anew(model, profile, model.prepare(train), trials)
    with torch.no_grad():
        drawn = model.generate(model.encode_words(learned), profile.generator.images_per_word)
    names, tables = [concept.prompt_name for concept in known], []
    for (concept, number), trial, pictures in zip(kinds, trials, drawn, strict=True):
        start = kinds.index((concept, 0))
        nearest = (model.judge.encode_images(pictures).cpu() @ centres[start : start + count].T).argmax(1)
        called = model.judge.classify(pictures, names).cpu() == names.index(concept.prompt_name)
        of = Trial(DATASET, concept.name, trial.anchor)
        tables.append(
            trial_rows([of] * len(pictures), instance=number, found=(nearest == number).numpy(), named=called.numpy())
        )
    return pd.concat(tables, ignore_index=True)


def instance_name(noun: str, number: int) -> str:
    """What an instance is called among the others."""
    return f"{COLOURS[number]} {noun}"


def instance_examples(noun: str, number: int, count: int, split: int) -> list[Drawn]:
    """Scenes of one instance."""
    return draw_examples(
        instance_name(noun, number), [Drawing(noun, HELD_OUT_STYLE, COLOURS[number])] * count, (2 + split, number)
    )
