"""The miniature's four datasets, written to disk in the formats of the real ones and read back by `vwlib.datasets`.

| dataset | an image shows | style |
|---|---|---|
| ImageNet | one large object, by its category | any |
| DreamBooth | one *instance*: the same recoloured drawing in every image; place and ground vary | mostly held out |
| COCO | four to six objects in clutter; the main one, the largest, is the concept | any |
| PASCAL | one to three objects; the main one, the largest, is the concept | any |

Training images use the styles of pretraining. One test image in six, the number of styles, is drawn entirely in the
style that is held out of pretraining; eight of DreamBooth's ten drawings are of that style. `styles.json` gives the
style of each image's main object. Each other object of COCO and PASCAL scenes is another of the dataset's concepts with
probability 0.15, otherwise a noun that nobody would call by the name of one of its concepts.

Groups of fresh concepts are datasets too, each in the layout and format of one of the four. Validation images, on which
settings are chosen, are further test images of the four datasets, in a folder of their own.

A scene depends on the seed, its dataset, concept, split and index alone: adding images changes none of the others.
"""

import hashlib
import itertools
import json
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from vwlib.concepts import DATASETS, FRESH, Concept, concepts_of
from vwlib.files import writing_folder
from vwlib.miniature import WORLD
from vwlib.miniature.scenes import HELD_OUT_STYLE, LAYOUTS, PRETRAINING_STYLES, Drawing, Scene, compose, random_drawing
from vwlib.miniature.sprites import STYLES, Sprites, load_sprites, read_nouns
from vwlib.paths import CACHE, MINIATURE

SPLITS = ("train", "test", "validation")
TRAIN, TEST, VALIDATION = 8, 50, 16  # images per concept
INSTANCE_TRAIN = 6  # training images of a DreamBooth subject, the most that the published data has
OTHER_CONCEPT = 0.15  # probability that an object beside the main one is another of the dataset's concepts
QUALITY = 95  # of the JPEGs
_VERSION = 9  # part of the folder's name: raise it when the same settings make other images

#: The drawing of each DreamBooth subject.
INSTANCES = {noun: Drawing(noun, **drawing) for noun, drawing in WORLD["instances"].items()}


@dataclass(frozen=True)
class WorldImage:
    """A scene of a dataset and where it belongs; `index` counts the images of its concept in its split."""

    concept: Concept
    split: str
    index: int
    scene: Scene


def ensure_world(
    root: Path | None = None,
    *,
    dataset: str = "",
    size: int = 96,
    seed: int = 0,
    train: int = TRAIN,
    test: int = TEST,
    validation: bool = False,
) -> Path:
    """The folder of the four datasets in `root` (by default the cache), each under its own name; written at first use.

    `size` is the images' side in px, `train` and `test` are images per concept (DreamBooth: at most 6 for training).
    With a `dataset` that is none of the four it holds that one alone, a group of fresh concepts; with `validation`
    their validation images, as test images, and none for training. The folder appears whole or not at all.
    """
    root, train, test = root or CACHE / "datasets", *((0, VALIDATION) if validation else (train, test))
    what = f"-{dataset}" if dataset in FRESH else "-validation" if validation else ""
    world = root / f"miniature-{size}px-seed{seed}-{train}+{test}-{_digest(dataset)}{what}"
    if world.is_dir():
        return world
    sizes = {"size": size, "seed": seed, "train": train, "test": test, "validation": validation}
    try:
        with writing_folder(world) as partial:
            for name in tqdm([dataset] if dataset in FRESH else DATASETS, desc="miniature datasets", unit="dataset"):
                write_dataset(name, partial / name, **sizes)
    except OSError:
        if not world.is_dir():  # otherwise another process was faster and wrote the same
            raise
    return world


def write_dataset(dataset: str, folder: Path, **sizes: Any) -> None:
    """Write one dataset into `folder` in its real format; `sizes` are those of `world_images`."""
    images = list(world_images(dataset, **sizes))
    paths = _WRITERS[FRESH.get(dataset, dataset)](folder, images)
    styles = {path: image.scene.objects[0].drawing.style for path, image in zip(paths, images, strict=True)}
    _write_json(folder / "styles.json", styles)
    for path, image in zip(paths, images, strict=True):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        image.scene.image.save(folder / path, "JPEG", quality=QUALITY)


def world_images(
    dataset: str, *, size: int = 96, seed: int = 0, train: int = TRAIN, test: int = TEST, validation: bool = False
) -> Iterator[WorldImage]:
    """Every image of a dataset in the order of its files: by split, then by index, then by concept.

    With `validation` the test images are those of that split.
    """
    counts = {"train": min(train, INSTANCE_TRAIN) if dataset == "DreamBooth" else train, "test": test}
    sprites = load_sprites()
    for split, count in counts.items():
        for index in range(count):
            for concept in concepts_of(dataset, "miniature"):
                drawn = "validation" if validation and split == "test" else split
                scene = make_scene(sprites, concept, drawn, index, size=size, seed=seed)
                yield WorldImage(concept, split, index, scene)


def make_scene(sprites: Sprites, concept: Concept, split: str, index: int, *, size: int = 96, seed: int = 0) -> Scene:
    """One scene of `size` × `size` px whose largest box is the concept's; the same arguments give the same scene."""
    concepts = [other.prompt_name for other in concepts_of(concept.dataset, "miniature")]
    dataset = (*DATASETS, *FRESH).index(concept.dataset)
    rng = np.random.default_rng((seed, dataset, concepts.index(concept.prompt_name), SPLITS.index(split), index))
    layout = LAYOUTS[FRESH.get(concept.dataset, concept.dataset)]
    styles = (HELD_OUT_STYLE,) if split != "train" and index % len(STYLES) == 0 else PRETRAINING_STYLES
    while True:
        if concept.dataset == "DreamBooth":
            drawings = [INSTANCES[concept.prompt_name]]
        else:
            nouns = [concept.prompt_name]
            for _ in range(int(rng.integers(layout.objects[0], layout.objects[1] + 1)) - 1):
                known = concepts if rng.random() < OTHER_CONCEPT else _fillers(concept.dataset)
                options = [noun for noun in known if noun not in nouns]
                nouns.append(options[rng.integers(len(options))])
            drawings = [random_drawing(rng, [noun], styles, tinted=0) for noun in nouns]
        scene = compose(rng, sprites, drawings, layout, size)
        # Otherwise the image's label would be wrong: a square object can have a larger box than a long, thin main one.
        if all(placed.area < scene.objects[0].area for placed in scene.objects[1:]):
            return scene


@lru_cache
def _fillers(dataset: str) -> list[str]:
    """Nouns for the objects that are no concept."""
    return list(unrelated_nouns([concept.prompt_name for concept in concepts_of(dataset, "miniature")])["noun"])


def unrelated_nouns(concepts: Iterable[str]) -> pd.DataFrame:
    """The rows of the noun list that are of the language and that nobody would call by the name of a concept."""
    excluded = {name for concept in concepts for name in (concept, *WORLD["kin"].get(concept, ()))}
    table = read_nouns()
    return table[(table["use"] == "language") & ~table["noun"].isin(excluded) & ~table["category"].isin(excluded)]


def _digest(dataset: str) -> str:
    """A short name for what the images are made from."""
    content = hashlib.sha256(str(_VERSION).encode())
    for file in ("nouns.csv", "sprites.parquet", *(["fresh.csv"] if dataset in FRESH else [])):
        content.update((MINIATURE / file).read_bytes())
    return content.hexdigest()[:8]


def _write_imagenet(folder: Path, images: list[WorldImage]) -> list[str]:
    paths, number = [], itertools.count(1)  # of the test images
    for image in images:
        wnid = image.concept.label
        if image.split == "train":
            part, stem = f"train/{wnid}", f"{wnid}_{image.index + 1}"
        else:
            part, stem = "val", f"ILSVRC2012_val_{next(number):08d}"
        names = [wnid for _ in image.scene.objects]
        xml = folder / "ILSVRC" / "Annotations" / "CLS-LOC" / part / f"{stem}.xml"
        _write_xml(xml, image.scene, Path(part).name, stem, names, first=0)
        paths.append(f"ILSVRC/Data/CLS-LOC/{part}/{stem}.JPEG")
    lines = sorted({f"{image.concept.label} {image.concept.prompt_name}\n" for image in images})
    _write_text(folder / "LOC_synset_mapping.txt", "".join(lines))
    return paths


def _write_dreambooth(folder: Path, images: list[WorldImage]) -> list[str]:
    parts = {"train": "dataset", "test": "test"}
    paths = [f"{parts[image.split]}/{image.concept.label}/{image.index:02d}.jpg" for image in images]
    boxes = ([placed.box for placed in image.scene.objects] for image in images)
    _write_json(folder / "boxes.json", dict(zip(paths, boxes, strict=True)))
    lines = [f"{concept.label},{concept.prompt_name}\n" for concept in concepts_of("DreamBooth", "miniature")]
    _write_text(folder / "dataset" / "prompts_and_classes.txt", "Classes\n\nsubject_name,class\n" + "".join(lines))
    return paths


def _write_coco(folder: Path, images: list[WorldImage]) -> list[str]:
    labels = {image.concept.prompt_name: image.concept.label for image in images}
    ids = {noun: number for number, noun in enumerate([*labels, *_fillers(images[0].concept.dataset)], start=1)}
    categories = [{"supercategory": "object", "id": ids[noun], "name": labels.get(noun, noun)} for noun in ids]
    paths = []
    number_of = itertools.count(1)  # annotations are counted through both splits
    for split, part in (("train", "train2017"), ("test", "val2017")):
        entries, annotations = [], []
        for number, image in enumerate(images, start=1):
            if image.split != split:
                continue
            width, height = image.scene.image.size
            paths.append(f"{part}/{number:012d}.jpg")
            entries.append({"id": number, "file_name": f"{number:012d}.jpg", "width": width, "height": height})
            for placed in image.scene.objects:
                left, top, right, bottom = placed.box
                category, box = ids[placed.drawing.noun], [left, top, right - left, bottom - top]
                entry = {"id": next(number_of), "image_id": number, "category_id": category, "bbox": box}
                annotations.append(entry | {"area": placed.area, "iscrowd": 0})
        content = {"info": {"description": "the miniature's COCO"}, "images": entries}
        content |= {"annotations": annotations, "categories": categories}
        _write_json(folder / "annotations" / f"instances_{part}.json", content)
    return paths


def _write_voc(folder: Path, images: list[WorldImage]) -> list[str]:
    devkit = folder / "VOCdevkit" / "VOC2012"
    labels = {image.concept.prompt_name: image.concept.label for image in images}
    stems = [f"2012_{number:06d}" for number in range(1, len(images) + 1)]
    shown = []
    for stem, image in zip(stems, images, strict=True):
        names = [labels.get(placed.drawing.noun, placed.drawing.noun) for placed in image.scene.objects]
        _write_xml(devkit / "Annotations" / f"{stem}.xml", image.scene, "VOC2012", f"{stem}.jpg", names, first=1)
        shown.append(set(names))
    lists = {"train": ("train",), "val": ("test",), "trainval": ("train", "test")}
    for part, splits in lists.items():
        chosen = [index for index, image in enumerate(images) if image.split in splits]
        _write_text(devkit / "ImageSets" / "Main" / f"{part}.txt", "".join(f"{stems[index]}\n" for index in chosen))
        for label in labels.values():
            lines = [f"{stems[index]} {1 if label in shown[index] else -1:2d}\n" for index in chosen]
            _write_text(devkit / "ImageSets" / "Main" / f"{label}_{part}.txt", "".join(lines))
    return [f"VOCdevkit/VOC2012/JPEGImages/{stem}.jpg" for stem in stems]


_WRITERS = {"ImageNet": _write_imagenet, "DreamBooth": _write_dreambooth, "COCO": _write_coco, "PASCAL": _write_voc}


def _write_xml(path: Path, scene: Scene, folder: str, filename: str, names: list[str], first: int) -> None:
    """An annotation in VOC's XML; `first` is the index of the first pixel, as in `datasets.voc.read_annotation`."""
    size = dict(zip(("width", "height", "depth"), (*scene.image.size, 3), strict=True))
    annotation = _element("annotation", {"folder": folder, "filename": filename, "size": size, "segmented": 0})
    for name, placed in zip(names, scene.objects, strict=True):
        left, top, right, bottom = placed.box
        edges = {"xmin": left + first, "ymin": top + first, "xmax": right, "ymax": bottom}
        thing = {"name": name, "pose": "Unspecified", "truncated": 0, "difficult": 0, "bndbox": edges}
        annotation.append(_element("object", thing))
    ET.indent(annotation, "\t")
    _write_text(path, ET.tostring(annotation, encoding="unicode") + "\n")


def _element(tag: str, content: dict | str | int) -> ET.Element:
    element = ET.Element(tag)
    if isinstance(content, dict):
        element.extend(_element(name, value) for name, value in content.items())
    else:
        element.text = str(content)
    return element


def _write_json(path: Path, content: object) -> None:
    _write_text(path, json.dumps(content) + "\n")


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
