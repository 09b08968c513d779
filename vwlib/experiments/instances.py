"""Do words of the generator tell an instance from others of its category? Section 4.4."""

from __future__ import annotations

import pandas as pd
import torch

from vwlib.concepts import concepts_of
from vwlib.experiments.base import PAIR, Experiment, ExperimentCase, Size, Sources
from vwlib.experiments.drawn import COLOURS, LAYOUT, Drawn, draw_examples, image_counts
from vwlib.experiments.words import trial_rows, with_split
from vwlib.lab import Lab
from vwlib.ledger.schemas import TRIAL, TableSchema
from vwlib.miniature.scenes import HELD_OUT_STYLE, Drawing
from vwlib.settings import Profile
from vwlib.trials import DatasetSplit, Trial


def cases(profile: Profile) -> list[dict[str, str]]:
    """One case in the miniature; none elsewhere, since photographs are not drawn."""
    return [{}] if profile.world == "miniature" else []


def compute(lab: Lab, _: ExperimentCase, sources: Sources) -> pd.DataFrame:
    """Each instance is one drawing in one colour and in the style that no model saw, the i-th of a category learned
    from the i-th unrelated anchor.

    One row a picture: `found`, whether the judge's feature of it is nearest to those of pictures of its own instance,
    among the category's; `named`, whether the judge calls it by its category, among the dataset's names.
    """
    model, known = lab.generator, concepts_of(LAYOUT, lab.profile.world)
    categories, count = sources.sizes.instances
    kinds = [(concept, number) for concept in known[:categories] for number in range(count)]
    train_count, test_count = image_counts(lab.profile, sources.sizes.test_images)
    train = [e for concept, number in kinds for e in instance_examples(concept.prompt_name, number, train_count, 0)]
    trials, centres = [], []
    for concept, number in kinds:
        anchors = [other.anchor for other in known if other.anchor != concept.anchor]
        trials.append(Trial(LAYOUT, instance_name(concept.prompt_name, number), anchors[number]))
        test = instance_examples(concept.prompt_name, number, test_count, 1)
        centres.append(model.judge.encode_images([example.image() for example in test]).cpu().mean(0))
    own = with_split(lab, DatasetSplit(LAYOUT, {trial.concept: trial.concept for trial in trials}, train, []))
    learned = own.learn("generation", trials, progress=False).vectors
    with torch.no_grad():
        drawn = model.generate(model.encode_words(learned), lab.profile.generator.images_per_word)
    names, tables = [concept.prompt_name for concept in known], []
    for (concept, number), trial, pictures in zip(kinds, trials, drawn, strict=True):
        start = kinds.index((concept, 0))
        nearest = (model.judge.encode_images(pictures).cpu() @ torch.stack(centres[start : start + count]).T).argmax(1)
        called = model.judge.classify(pictures, names).cpu() == names.index(concept.prompt_name)
        of = [Trial(LAYOUT, concept.name, trial.anchor)] * len(pictures)
        tables.append(trial_rows(of, instance=number, found=(nearest == number).numpy(), named=called.numpy()))
    return pd.concat(tables, ignore_index=True)


def instance_name(noun: str, number: int) -> str:
    """What an instance is called among the others."""
    return f"{COLOURS[number]} {noun}"


def instance_examples(noun: str, number: int, count: int, split: int) -> list[Drawn]:
    """Scenes of one instance."""
    drawings = [Drawing(noun, HELD_OUT_STYLE, COLOURS[number])] * count
    return draw_examples(instance_name(noun, number), drawings, (2 + split, number))


INSTANCES = Experiment(
    "instances",
    "Instances of a category told apart in pictures of their words (section 4.4).",
    compute,
    cases,
    shared=("test_images",),
    sizes=(Size("instances", PAIR, (4, 5), (2, 2), "categories, and instances of each"),),
    # `found` says whether a picture is nearest to its own instance among those of its category.
    schema=TableSchema("instances told apart in generations", (*TRIAL, "found"), shares=("found",)),
)
