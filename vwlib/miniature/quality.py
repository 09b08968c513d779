"""How good the miniature's models are, on images and scenes that no training saw: `vwlib quality`."""

import json
import math
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jinja2 import Template
from PIL import Image
from safetensors.numpy import load_file
from torchmetrics.detection import MeanAveragePrecision

from vwlib.concepts import DATASETS, TASKS, concepts_of
from vwlib.examples import Pictures
from vwlib.lab import Lab
from vwlib.layers import truncated
from vwlib.miniature.geometry import table_geometry
from vwlib.miniature.scenes import HELD_OUT_STYLE, LAYOUTS, PRETRAINING_STYLES, Drawing, compose
from vwlib.miniature.sprites import load_sprites
from vwlib.models.base import TaskModel
from vwlib.models.classification import Classifier
from vwlib.models.detection import Detector
from vwlib.models.generation import Generator
from vwlib.paths import MINIATURE
from vwlib.settings import MODELS
from vwlib.trials import Trial

PHOTO_DATASETS = ("ImageNet", "COCO", "PASCAL")  # by category; DreamBooth's things are instances
#: What the models must be like, by model, "table" and "own_words".
CRITERIA: dict[str, dict[str, float]] = tomllib.loads((MINIATURE / "criteria.toml").read_text(encoding="utf-8"))
WORDS_LEARNED = 6  # of each dataset and task, to see whether words do their task


def noun_images() -> pd.DataFrame:
    """Six new pictures of every noun, three in the held-out style: columns `label` (the noun), `style`, `image`."""
    sprites, rows = load_sprites(), []
    for index, noun in enumerate(sprites.nouns):
        for k in range(6):
            rng = np.random.default_rng((4, index, k))
            style = HELD_OUT_STYLE if k % 2 else PRETRAINING_STYLES[rng.integers(len(PRETRAINING_STYLES))]
            scene = compose(rng, sprites, [Drawing(noun, style)], LAYOUTS["ImageNet"], 96)
            rows.append({"label": noun, "style": style, "image": scene.image})
    return pd.DataFrame(rows)


def ten_way(model: Classifier, lab: Lab, datasets: Sequence[str] = PHOTO_DATASETS) -> pd.DataFrame:
    """Zero-shot naming of test images among their dataset's ten concept names: columns `dataset`, `style`, `right`."""
    frames = []
    for dataset in datasets:
        split = lab.split(dataset)
        names = list(split.names.values())
        choice = [names[index] for index in model.classify(Pictures(split.test), names)]
        right = [a == split.names[example.label] for a, example in zip(choice, split.test, strict=True)]
        styles = [example.style for example in split.test]
        frames.append(pd.DataFrame({"dataset": dataset, "style": styles, "right": right}))
    return pd.concat(frames, ignore_index=True)


def _by_style(table: pd.DataFrame) -> dict[str, float]:
    """The share of right names (columns `style`, `right`) in the held-out style and in the others."""
    held_out = table["style"] == HELD_OUT_STYLE
    shares = {"held_out_style": table.loc[held_out, "right"], "pretraining_styles": table.loc[~held_out, "right"]}
    return {key: float(right.mean()) for key, right in shares.items()}


def measure_classifier(model: Classifier, lab: Lab) -> dict:
    """Ten-way and all-noun accuracy of the classifier; ten-way is the mean over three datasets."""
    by_dataset, drawn, nouns = ten_way(model, lab), noun_images(), load_sprites().nouns
    choice = [nouns[index] for index in model.classify(list(drawn["image"]), nouns)]
    drawn["right"] = drawn["label"] == choice
    means = by_dataset.groupby("dataset")["right"].mean()
    return {
        "ten_way": float(means.mean()),
        "all_nouns": float(drawn["right"].mean()),
        "ten_way_by_dataset": means.to_dict(),
        "ten_way_by_style": _by_style(by_dataset),
        "all_nouns_by_style": _by_style(drawn),
        "counts": {"concept_images": len(by_dataset), "nouns": len(nouns), "noun_images": len(drawn)},
    }


def measure_detector(model: Detector, lab: Lab) -> dict:
    """Average precision of the ten concept names as queries on COCO's test scenes, as COCO scores it."""
    split = lab.split("COCO")
    cached = model.cache_features(split.test)
    with torch.no_grad():
        features = model.encode_names(split.names.values())
    scores = model.detect(features, cached)  # (name, image, region)
    order = list(split.names)
    metric = MeanAveragePrecision(backend="faster_coco_eval")
    for row, example in enumerate(split.test):
        best = scores[:, row].flatten().topk(100)
        boxes = cached.tensors["box"][row, best.indices % scores.shape[2]]
        labels = torch.tensor([order.index(name) for name in example.names], dtype=torch.long)
        truth = {"boxes": torch.as_tensor(example.boxes) / max(example.image().size), "labels": labels}
        found = {"boxes": boxes, "scores": best.values, "labels": best.indices // scores.shape[2]}
        metric.update([found], [truth])
    result = metric.compute()
    counts = {"images": len(split.test), "boxes": sum(len(e.names) for e in split.test), "queries": len(order)}
    return {"ap50": float(result["map_50"]), "map": float(result["map"]), "counts": counts}


def measure_generator(model: Generator, lab: Lab) -> dict:
    """How often the judge names what was drawn for a concept's name, among its dataset's ten names and among all nouns.

    `every_noun` is the same for the names of all nouns, among all nouns.
    """
    nouns = load_sprites().nouns
    names = {dataset: list(lab.split(dataset).names.values()) for dataset in DATASETS}
    drawn = {dataset: _draw(model, ten, 10) for dataset, ten in names.items()}
    rights = {dataset: _share_recognised(model, drawn[dataset], ten, ten) for dataset, ten in names.items()}
    known = {dataset: _share_recognised(model, drawn[dataset], ten, nouns) for dataset, ten in names.items()}
    every = _draw(model, nouns, 4)
    images = sum(map(len, drawn.values()))
    return {
        "ten_way": float(np.mean(list(rights.values()))),
        "all_nouns": float(np.mean(list(known.values()))),
        "every_noun": _share_recognised(model, every, nouns, nouns),
        "ten_way_by_dataset": rights,
        "all_nouns_by_dataset": known,
        "counts": {"concept_images": images, "nouns": len(nouns), "noun_images": len(every)},
    }


def _draw(model: Generator, names: Sequence[str], images: int) -> list[Image.Image]:
    with torch.no_grad():
        states = model.encode_names(names)
    return [picture for pictures in model.generate(states, images) for picture in pictures]


def _share_recognised(model: Generator, drawn: Sequence[Image.Image], names: list[str], among: list[str]) -> float:
    """The share of pictures, equally many of each name, for which the judge chooses that name `among` others."""
    choice = model.judge.classify(drawn, among).view(len(names), -1)
    return float((choice == torch.tensor([among.index(name) for name in names])[:, None]).float().mean())


def flip_share(model: TaskModel, lab: Lab, dataset: str = "COCO") -> float:
    """The share of its blocks after which a model takes one real word in the place of another, on average over pairs.

    Both are concepts' own words. A word has taken effect from the number of blocks on from which a text encoder cut to
    as many, or more, scores it higher as its concept than as the other.
    """
    concepts = concepts_of(dataset, "miniature")
    labels, size = [concept.name for concept in concepts], len(concepts)
    vectors = model.embeddings_of([concept.anchor for concept in concepts], lab.profile.vectors)
    features, names = lab.features(model.task, dataset, "test"), lab.split(dataset).names
    ahead = []
    for blocks in range(1, len(model.blocks) + 1):
        with truncated(model, blocks):
            scores = model.evaluate(vectors.repeat_interleave(size, 0), labels * size, names, features)
        value = torch.tensor([score.value for score in scores]).view(size, size)  # (word, as which concept)
        ahead.append(value.diagonal()[:, None] > value)
    late = torch.stack(ahead).flip(0).cumprod(0).sum(0)  # from how many of the last numbers of blocks on
    first = len(model.blocks) + 1 - late[~torch.eye(size, dtype=torch.bool)]
    return float(first[first <= len(model.blocks)].float().mean() / len(model.blocks))


def own_words(lab: Lab, task: str) -> float:
    """The mean score, on their own task, of words learned without a limit, each from another concept's word."""
    values: list[float] = []
    for number, dataset in enumerate(DATASETS):
        concepts = concepts_of(dataset, "miniature")
        pairs = [(a, b) for a in concepts for b in concepts if a is not b]
        chosen = np.random.default_rng((7, number)).choice(len(pairs), WORDS_LEARNED, replace=False)
        trials = [Trial(dataset, pairs[i][0].name, pairs[i][1].anchor) for i in chosen]
        values += [score.value for score in lab.evaluate(task, lab.learn(task, trials).vectors, trials)]
    return float(np.mean(values))


def measure_table(model: TaskModel, lab: Lab) -> dict:
    """The geometry of a model's word table, the depth that it uses, and what learned words reach on its task."""
    table = model.word_table()[sorted(model.vocabulary.words().values())]
    words = {"flip_share": flip_share(model, lab), "own_words": own_words(lab, model.task)}
    return table_geometry(table).figures() | words


def measure(lab: Lab) -> dict:
    """Measure the models, write `quality.json` and a model card in each model's folder, and return the figures."""
    judge = lab.generator.judge
    instances = float(ten_way(judge, lab, ("DreamBooth",))["right"].mean())
    figures = {
        "classifier": measure_classifier(lab.classifier, lab),
        "detector": measure_detector(lab.detector, lab),
        "generator": measure_generator(lab.generator, lab),
        "judge": measure_classifier(judge, lab) | {"ten_way_dreambooth": instances},
        "geometry": {task: measure_table(model, lab) for task, model in lab.models.items()},
    }
    quality = json.loads(json.dumps(figures), parse_float=lambda number: round(float(number), 4))
    (MINIATURE / "quality.json").write_text(json.dumps(quality, indent=2, sort_keys=True) + "\n")
    for name in quality.keys() - {"geometry"}:
        (MODELS / name / "README.md").write_text(model_card(name, quality[name]))
    return quality


def model_card(name: str, figures: dict) -> str:
    """The model's README, from its files and measured figures."""
    folder = MODELS / name
    weights = sorted(folder.rglob("*.safetensors"))
    parameters = sum(tensor.size for file in weights for tensor in load_file(file).values())
    template = Template((Path(__file__).parent / "model_card.md.j2").read_text(encoding="utf-8"))
    card = template.render(
        name=name,
        parameters=parameters,
        size=sum(file.stat().st_size for file in weights),
        steps=json.loads((folder / "training.json").read_text())["steps"],
        styles=PRETRAINING_STYLES,
        held_out=HELD_OUT_STYLE,
        rows=[(key, figures[key], target) for key, target in CRITERIA[name].items()],
        counts=json.dumps(figures["counts"]),
    )
    return f"{card}\n"


def missed(quality: dict) -> list[str]:
    """One sentence for each figure that is below its target or missing."""
    found = [
        (name, figure, quality.get(name, {}).get(figure, math.nan), bar)
        for name, bars in CRITERIA.items()
        if name not in ("table", "own_words")
        for figure, bar in bars.items()
    ]
    table = CRITERIA["table"]
    for task in TASKS:
        of = quality.get("geometry", {}).get(task, {})
        directions = max(table["directions"], table["directions_per_dimension"] * of.get("dimension", 0))
        bars = {"participation_ratio": directions, "own_words": CRITERIA["own_words"][task]}
        bars |= {figure: table[figure] for figure in ("nearest", "words_per_dimension", "flip_share")}
        found += [(task, figure, of.get(figure, math.nan), bar) for figure, bar in bars.items()]
    return [
        f"{name}: {figure} is {value:.3f}, the target is {bar:.2f}."
        for name, figure, value, bar in found
        if not value >= bar
    ]
