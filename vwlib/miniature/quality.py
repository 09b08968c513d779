"""How good the miniature's models are, on images and scenes that no training saw: `vwlib quality`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jinja2 import Template
from PIL import Image
from safetensors.numpy import load_file
from torchmetrics.detection import MeanAveragePrecision

from vwlib.concepts import DATASETS
from vwlib.examples import Example, Pictures
from vwlib.lab import Lab
from vwlib.miniature.scenes import HELD_OUT_STYLE, LAYOUTS, PRETRAINING_STYLES, Drawing, compose
from vwlib.miniature.sprites import load_sprites
from vwlib.models.classification import Classifier
from vwlib.models.detection import Detector
from vwlib.models.generation import Generator
from vwlib.paths import MINIATURE
from vwlib.settings import MODELS

PHOTO_DATASETS = ("ImageNet", "COCO", "PASCAL")  # by category; DreamBooth's things are instances
TARGETS = {
    "classifier": {"ten_way": 0.90, "all_nouns": 0.50},
    "detector": {"ap50": 0.65, "map": 0.40},
    "generator": {"ten_way": 0.90, "all_nouns": 0.50},
    "judge": {"ten_way": 0.95},
}


def noun_images(per_noun: int = 6, size: int = 96, seed: int = 4) -> pd.DataFrame:
    """New pictures of every noun, half of them in the held-out style: columns `noun`, `style`, `image`."""
    sprites, rows = load_sprites(), []
    for index, noun in enumerate(sprites.nouns):
        for k in range(per_noun):
            rng = np.random.default_rng((seed, index, k))
            style = HELD_OUT_STYLE if k % 2 else PRETRAINING_STYLES[rng.integers(len(PRETRAINING_STYLES))]
            scene = compose(rng, sprites, [Drawing(noun, style)], LAYOUTS["ImageNet"], size)
            rows.append({"noun": noun, "style": style, "image": scene.image})
    return pd.DataFrame(rows)


def share_right(
    model: Classifier,
    images: Sequence[Image.Image],
    labels: Sequence[str],
    styles: Sequence[str | None],
    names: Sequence[str],
) -> pd.DataFrame:
    """Whether the model names each image rightly among `names`: columns `label`, `held_out`, `right`."""
    choice = [names[index] for index in model.classify(images, names)]
    right = [a == b for a, b in zip(choice, labels, strict=True)]
    return pd.DataFrame({"label": labels, "held_out": [s == HELD_OUT_STYLE for s in styles], "right": right})


def ten_way(model: Classifier, lab: Lab, datasets: Sequence[str] = PHOTO_DATASETS) -> pd.DataFrame:
    """Zero-shot naming of test images among the ten concept names of their dataset, with a column `dataset`."""
    frames = []
    for dataset in datasets:
        split = lab.split(dataset)
        labels = [split.names[example.label] for example in split.test]
        images, styles = Pictures(split.test), [example.style for example in split.test]
        right = share_right(model, images, labels, styles, list(split.names.values()))
        frames.append(right.assign(dataset=dataset))
    return pd.concat(frames, ignore_index=True)


def _shares(table: pd.DataFrame) -> dict[str, float]:
    return {
        "held_out_style": float(table.loc[table["held_out"], "right"].mean()),
        "pretraining_styles": float(table.loc[~table["held_out"], "right"].mean()),
    }


def _counts(concept_images: int, nouns: int, noun_images: int) -> dict[str, int]:
    return {"concept_images": concept_images, "nouns": nouns, "noun_images": noun_images}


def measure_classifier(model: Classifier, lab: Lab) -> dict:
    """Ten-way and all-noun accuracy of the classifier; ten-way is the mean over three datasets."""
    by_dataset = ten_way(model, lab)
    nouns = noun_images()
    images, labels, styles = (list(nouns[column]) for column in ("image", "noun", "style"))
    everything = share_right(model, images, labels, styles, load_sprites().nouns)
    means = by_dataset.groupby("dataset")["right"].mean()
    return {
        "ten_way": float(means.mean()),
        "all_nouns": float(everything["right"].mean()),
        "ten_way_by_dataset": means.to_dict(),
        "ten_way_by_style": _shares(by_dataset),
        "all_nouns_by_style": _shares(everything),
        "counts": _counts(len(by_dataset), everything["label"].nunique(), len(everything)),
    }


def measure_judge(model: Classifier, lab: Lab) -> dict:
    """The classifier's figures for the judge, and its ten-way accuracy on DreamBooth's instances."""
    instances = ten_way(model, lab, ("DreamBooth",))
    return measure_classifier(model, lab) | {"ten_way_dreambooth": float(instances["right"].mean())}


def measure_detector(model: Detector, lab: Lab, dataset: str = "COCO") -> dict:
    """Average precision of the ten concept names as queries on a dataset's test scenes, as COCO scores it."""
    split = lab.split(dataset)
    frozen = model.cache_features(split.test)
    with torch.no_grad():
        features = model.encode_names(split.names.values())
    scores = model.detect(features, frozen)  # (name, image, region)
    order = list(split.names)
    metric = MeanAveragePrecision(backend="faster_coco_eval")
    for row, example in enumerate(split.test):
        best = scores[:, row].flatten().topk(100)
        found = {
            "boxes": frozen.tensors["box"][row, best.indices % scores.shape[2]],
            "scores": best.values,
            "labels": best.indices // scores.shape[2],
        }
        metric.update([found], [_truth(example, order)])
    result = metric.compute()
    boxes = sum(len(example.names) for example in split.test)
    return {
        "ap50": float(result["map_50"]),
        "map": float(result["map"]),
        "counts": {"images": len(split.test), "boxes": boxes, "queries": len(order)},
    }


def _truth(example: Example, order: list[str]) -> dict[str, torch.Tensor]:
    size = max(example.image().size)
    return {
        "boxes": torch.as_tensor(example.boxes) / size,
        "labels": torch.tensor([order.index(name) for name in example.names], dtype=torch.long),
    }


def measure_generator(model: Generator, lab: Lab, per_concept: int = 10, per_noun: int = 4) -> dict:
    """How often the judge recognises what was drawn for a concept's name: among its dataset's ten names, and among all
    nouns.

    `every_noun` is the same for the names of all nouns, among all nouns.
    """
    nouns = load_sprites().nouns
    rights, known, counts = {}, {}, 0
    for dataset in DATASETS:
        names = list(lab.split(dataset).names.values())
        drawn = _draw(model, names, per_concept)
        rights[dataset] = _share_recognised(model, drawn, names, names)
        known[dataset] = _share_recognised(model, drawn, names, nouns)
        counts += len(drawn)
    drawn = _draw(model, nouns, per_noun)
    return {
        "ten_way": float(np.mean(list(rights.values()))),
        "all_nouns": float(np.mean(list(known.values()))),
        "every_noun": _share_recognised(model, drawn, nouns, nouns),
        "ten_way_by_dataset": rights,
        "all_nouns_by_dataset": known,
        "counts": _counts(counts, len(nouns), len(drawn)),
    }


def _draw(model: Generator, names: Sequence[str], images: int) -> list[Image.Image]:
    with torch.no_grad():
        states = model.encode_names(names)
    return [picture for pictures in model.generate(states, images) for picture in pictures]


def _share_recognised(model: Generator, drawn: Sequence[Image.Image], names: list[str], among: list[str]) -> float:
    """The share of pictures, equally many of each name, in which the judge sees their name `among` some names."""
    choice = model.judge.classify(drawn, among).view(len(names), -1)
    return float((choice == torch.tensor([among.index(name) for name in names])[:, None]).float().mean())


def measure(lab: Lab, models: Sequence[str] = tuple(TARGETS), target: Path = MINIATURE / "quality.json") -> dict:
    """Measure the named models, write `quality.json` and a model card beside each model, and return the figures."""
    measures = {
        "classifier": lambda: measure_classifier(lab.classifier, lab),
        "detector": lambda: measure_detector(lab.detector, lab),
        "generator": lambda: measure_generator(lab.generator, lab),
        "judge": lambda: measure_judge(lab.generator.judge, lab),
    }
    quality = json.loads(target.read_text()) if target.exists() else {}
    for name in models:
        quality[name] = _rounded(measures[name]())
    target.write_text(json.dumps(quality, indent=2, sort_keys=True) + "\n")
    for name in models:
        (MODELS / name / "README.md").write_text(model_card(name, quality[name]))
    return quality


def model_card(name: str, figures: dict) -> str:
    """The model's README, from its files and measured figures."""
    folder = MODELS / name
    weights = sorted(folder.rglob("*.safetensors"))
    parameters = sum(tensor.size for file in weights for tensor in load_file(file).values())
    template = Template((Path(__file__).parent / "model_card.md.j2").read_text(encoding="utf-8"))
    return (
        template.render(
            name=name,
            parameters=parameters,
            size=sum(file.stat().st_size for file in weights),
            steps=json.loads((folder / "training.json").read_text())["steps"],
            styles=PRETRAINING_STYLES,
            held_out=HELD_OUT_STYLE,
            rows=[(key, figures[key], target) for key, target in TARGETS[name].items()],
            counts=json.dumps(figures["counts"]),
        )
        + "\n"
    )


def missed(quality: dict) -> list[str]:
    """One sentence for each figure that is below its target or missing."""
    return [
        f"{name}: {figure} is {quality.get(name, {}).get(figure, math.nan):.3f}, the target is {bar:.2f}."
        for name, bars in TARGETS.items()
        for figure, bar in bars.items()
        if not quality.get(name, {}).get(figure, math.nan) >= bar
    ]


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 4) if isinstance(value, float) else value
