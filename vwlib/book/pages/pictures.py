"""Pictures, boxes and scores of images for `vwlib.book.figures`."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torchvision.ops import box_iou, nms

from vwlib.examples import Example
from vwlib.lab import Grid, carry
from vwlib.models import Classifier, Detector, Generator, load_model
from vwlib.settings import Profile
from vwlib.study.read import TrialWords
from vwlib.trials import is_diagonal, load_material


def found_boxes(model: Detector, examples: Sequence[Example], features: Tensor, overlap: float = 0.5) -> pd.DataFrame:
    """What the detector finds for text features (row, image, d), and the true boxes: the table that
    `figures.draw_detections` takes.

    On each image the best boxes that overlap each other by at most `overlap`, as many as the image has true boxes of
    its concept; in px.
    """
    frozen = model.prepare(examples)
    scores = model.detect(features.flatten(0, 1), frozen).unflatten(
        0, features.shape[:2]
    )  # (row, image of the query, image, region)
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
def word_scores(
    model: Classifier, examples: Sequence[Example], concept: str, names: dict[str, str], words: dict[str, Tensor]
) -> pd.DataFrame:
    """Mean cosine of a concept's images with the other concepts' names and with one word: the table that
    `figures.score_panels` takes.

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
def encode_trial(task: str, profile: Profile, words: TrialWords) -> Tensor:
    """What a task's text encoder makes of a trial: the anchor word, the words learned for each task, carried here, and
    the concept's name (text, ...).
    """
    model, trial = load_model(task, profile), words.trial
    name = load_material(profile, trial.dataset).names[trial.concept]
    plain = model.encode_prompts([profile.prompt.format(trial.anchor), profile.prompt.format(name)])
    learned = [
        model.encode_words(carry(profile, vectors[None], source, task)) for source, vectors in words.vectors.items()
    ]
    return torch.cat([plain[:1], *learned, plain[1:]])


def draw_trials(
    profile: Profile, chosen: Sequence[TrialWords], targets: bool = False
) -> tuple[list[list[Image.Image | None]], list[list[str]]]:
    """Figure 4: for each trial a picture for each text of `encode_trial`, all from the same noise, and the name that
    the judge gives to each.

    With `targets` each row begins with a training image of the concept, about which the judge is not asked.
    """
    model = load_model("generation", profile)
    assert isinstance(model, Generator)
    pictures: list[list[Image.Image | None]] = []
    verdicts = []
    for words in chosen:
        material = load_material(profile, words.trial.dataset)
        drawn = [row[0] for row in model.generate(encode_trial("generation", profile, words), 1, words.trial.seed)]
        target = [example.image() for example in first_of(material.train, [words.trial.concept])] if targets else []
        pictures.append([*target, *drawn])
        verdicts.append([*("" for _ in target), *named(model.judge, drawn, material.names)])
    return pictures, verdicts


def detect_trials(profile: Profile, chosen: Sequence[TrialWords]) -> tuple[list[Image.Image], pd.DataFrame]:
    """Figure 4 for the detector: a test image of each trial's concept, and the boxes that it finds on it for each text
    of `encode_trial`.

    The table is that of `found_boxes`, with a row for each text.
    """
    model = load_model("detection", profile)
    assert isinstance(model, Detector)
    examples = [
        example
        for words in chosen
        for example in first_of(load_material(profile, words.trial.dataset).test, [words.trial.concept])
    ]
    features = torch.stack([encode_trial("detection", profile, words) for words in chosen], dim=1)
    return [example.image() for example in examples], found_boxes(model, examples, features)


@torch.no_grad()
def draw_grid(
    profile: Profile, grid: Sequence[Sequence[TrialWords]], seed: int = 0
) -> tuple[list[list[Image.Image | None]], list[list[str]]]:
    """Figures 5 and 8 to 11: a picture for each generation word of a grid, all from the same noise, and the names that
    the judge gives them.

    A word that diverged has no picture and no name.
    """
    model = load_model("generation", profile)
    assert isinstance(model, Generator)
    pictures: list[list[Image.Image | None]] = [[None] * len(row) for row in grid]
    verdicts = [[""] * len(row) for row in grid]
    places = [(y, x) for y, row in enumerate(grid) for x, words in enumerate(row) if "generation" in words.vectors]
    states = model.encode_words(torch.stack([grid[y][x].vectors["generation"] for y, x in places]))
    for (y, x), (drawn,) in zip(places, model.generate(states, 1, seed), strict=True):
        pictures[y][x] = drawn
        (verdicts[y][x],) = named(model.judge, [drawn], load_material(profile, grid[y][x].trial.dataset).names)
    return pictures, verdicts


def named_rightly(
    profile: Profile, grid: Sequence[Sequence[TrialWords]], verdicts: Sequence[Sequence[str]]
) -> tuple[int, int]:
    """How many pictures of `draw_grid` the judge gives their concept's name, and of how many."""
    asked = [
        (words.trial, verdict)
        for row, line in zip(grid, verdicts, strict=True)
        for words, verdict in zip(row, line, strict=True)
        if verdict
    ]
    right = [verdict == load_material(profile, trial.dataset).names[trial.concept] for trial, verdict in asked]
    return sum(right), len(right)


@torch.no_grad()
def detect_grid(
    profile: Profile, grid: Sequence[Sequence[TrialWords]]
) -> tuple[list[list[Image.Image | None]], pd.DataFrame]:
    """Figures 5 and 8 to 11 for the detector: a test image of each row's concept, and what every detection word of the
    row finds on it.

    The table is that of `found_boxes`, `image` being the column. A word that diverged has no image.
    """
    model = load_model("detection", profile)
    assert isinstance(model, Detector)
    images: list[list[Image.Image | None]] = []
    boxes = []
    for y, row in enumerate(grid):
        examples = first_of(load_material(profile, row[0].trial.dataset).test, [row[0].trial.concept])
        images.append([examples[0].image() if "detection" in words.vectors else None for words in row])
        places = [x for x, image in enumerate(images[-1]) if image is not None]
        if places:
            features = model.encode_words(torch.stack([row[x].vectors["detection"] for x in places]))
            found = found_boxes(model, examples, features[:, None])
            boxes.append(found.assign(row=y, image=found["row"].map(dict(enumerate(places)))))
    return images, pd.concat(boxes, ignore_index=True)


def hits(boxes: pd.DataFrame, overlap: float = 0.5) -> tuple[int, int]:
    """On how many of the images in a table of `found_boxes` the best box overlaps a true one by at least `overlap`
    (IoU), and of how many.
    """
    sides = ["left", "top", "right", "bottom"]
    right = []
    for _, image in boxes.groupby(["row", "image"]):
        best = image.sort_values("score", ascending=False)[sides].head(1).to_numpy()
        truth = image.loc[image["score"].isna(), sides].to_numpy()
        right.append(len(truth) > 0 and bool((box_iou(torch.tensor(best), torch.tensor(truth)) >= overlap).any()))
    return sum(right), len(right)
