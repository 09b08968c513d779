"""Pictures, boxes and scores of images for `vwlib.figures`."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torchvision.ops import nms

from vwlib.datasets import Example
from vwlib.models import Classifier, Detector, Generator, load_model
from vwlib.profiles import Profile
from vwlib.study import Grid, carry, is_diagonal, load_material


def found_boxes(model: Detector, examples: Sequence[Example], features: Tensor, overlap: float = 0.5) -> pd.DataFrame:
    """What the detector finds for text features (row, image, d), and the true boxes: the table that `figures.draw_detections` takes.

    On each image the best boxes that overlap each other by at most `overlap`, as many as the image has true boxes of its concept; in px.
    """
    frozen = model.prepare(examples)
    scores = model.detect(features.flatten(0, 1), frozen).unflatten(0, features.shape[:2])  # (row, image of the query, image, region)
    columns = ["row", "image", "left", "top", "right", "bottom", "score"]
    found = []
    for column, example in enumerate(examples):
        truth = example.boxes_of(example.label)
        side = max(example.image().size)
        for row in range(len(features)):
            score, boxes = scores[row, column, column], frozen.tensors["box"][column]
            best = nms(boxes, score, overlap)[: max(1, len(truth))]
            found += [(row, column, *box.tolist(), float("nan")) for box in truth]
            found += [(row, column, *(boxes[region] * side).tolist(), float(score[region])) for region in best]
    return pd.DataFrame(found, columns=columns)


@torch.no_grad()
def name_scores(model: Classifier, examples: Sequence[Example], names: dict[str, str]) -> pd.DataFrame:
    """Cosine of each image with each name in `NAME_PROMPT`: the table that `figures.score_bars` takes."""
    text = model.encode_names(names.values())
    cosine = model.encode_images([example.image() for example in examples]) @ text.T
    rows = [
        (image, names[concept], float(cosine[image, column]), concept == example.label)
        for image, example in enumerate(examples)
        for column, concept in enumerate(names)
    ]
    return pd.DataFrame(rows, columns=["image", "name", "score", "is_true"])


@torch.no_grad()
def word_scores(model: Classifier, examples: Sequence[Example], concept: str, names: dict[str, str], words: dict[str, Tensor]) -> pd.DataFrame:
    """Mean cosine of a concept's images with the other concepts' names and with one word: the table that `figures.score_panels` takes.

    `words` gives the text feature (1, d) of the word that stands in each panel in the place of the concept's name.
    """
    mean = model.encode_images([example.image() for example in examples if example.label == concept]).mean(0)
    others = [name for other, name in names.items() if other != concept]
    rivals = (model.encode_names(others) @ mean).tolist()
    rows = []
    for panel, feature in words.items():
        rows.append((panel, "(word)", float(feature[0] @ mean), True))
        rows += [(panel, name, score, False) for name, score in zip(others, rivals, strict=True)]
    return pd.DataFrame(rows, columns=["panel", "name", "score", "is_true"])


def first_of(examples: Sequence[Example], concepts: Sequence[str], count: int = 1) -> list[Example]:
    """The first `count` examples of each concept, in the order of `concepts`."""
    return [example for concept in concepts for example in [e for e in examples if e.label == concept][:count]]


def one_per_concept(grid: Grid, world: str) -> list[int]:
    """For each concept the first of the grid's trials that starts from another word than the concept's own."""
    rows = pd.DataFrame([{"dataset": t.dataset, "concept": t.concept, "anchor": t.anchor} for t in grid.trials])
    return rows[~is_diagonal(rows, world)].drop_duplicates("concept").index.tolist()


def named(judge: Classifier, pictures: Sequence[Image.Image], names: dict[str, str]) -> list[str]:
    """The name that the judge gives to each picture, choosing among the names of a dataset's concepts."""
    choices = list(names.values())
    return [choices[index] for index in judge.classify(pictures, choices)]


@torch.no_grad()
def draw_trials(profile: Profile, grid: Grid, rows: Sequence[int]) -> tuple[list[list[Image.Image]], list[list[str]]]:
    """Figure 4: one picture a word for chosen trials, all from the same noise, and the name that the judge gives to each picture.

    In each row: the anchor word, the words learned for generation, detection and classification (the last two mapped), the concept's name.
    """
    model, names = load_model("generation", profile), load_material(profile, grid.trials[0].dataset).names
    assert isinstance(model, Generator)
    pictures, verdicts = [], []
    for row in rows:
        trial = grid.trials[row]
        words = [carry(profile, grid.learned[source].vectors[[row]], source, "generation") for source in grid.learned]
        plain = model.encode_prompts([profile.prompt.format(trial.anchor), profile.prompt.format(names[trial.concept])])
        states = torch.cat([plain[:1], *(model.encode_words(vectors) for vectors in words), plain[1:]])
        pictures.append([drawn[0] for drawn in model.generate(states, 1, trial.seed)])
        verdicts.append(named(model.judge, pictures[-1], names))
    return pictures, verdicts
