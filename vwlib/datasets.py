"""Readers of the four real on-disk formats, and the choice of training and test images.

| dataset | layout below its folder | image's label | boxes |
|---|---|---|---|
| ImageNet | `ILSVRC/{Data,Annotations}/CLS-LOC/{train/<wnid>,val}`, or `{train,val}/<wnid>` alone | its class | CLS-LOC XML, where an image has one |
| DreamBooth | `dataset/<subject>`, perhaps `test/<subject>` | its subject | none, or `boxes.json` |
| COCO | `annotations/instances_{train,val}2017.json`, `{train,val}2017` (or 2014) | class of its largest box | the json |
| PASCAL | `VOCdevkit/VOC2012/{Annotations,JPEGImages,ImageSets/Main}` | class of its largest box | VOC XML |

Two optional files lie beside the data, keyed by each image's path below the dataset's folder: `boxes.json` gives boxes
(left, top, right, bottom) to images that have no others, and `styles.json` the drawing style of generated images.
Whatever is missing or broken raises FileNotFoundError or ValueError with one sentence that names the file.

The published annotations have flaws of their own, which are mended: boxes that reach beyond the picture are clipped, corners
in the wrong order (ImageNet) are put in order, and boxes without an area (COCO, ImageNet) are left out. In `boxes.json`, which
a person writes, the same is refused.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from vwlib.concepts import Concept, find_dataset

SPLITS = ("train", "test")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
PHOTOS = "photos"  # the dataset name of own photos
BOXES = "boxes.json"
#: Datasets that hold every picture there is of one thing: a word is learned from as many as there are, up to the wanted number.
FEWER_ALLOWED = ("DreamBooth", PHOTOS)

_ORIENTATION = 0x0112  # EXIF tag
_NO_BOXES = np.zeros((0, 4), np.float32)


@dataclass(frozen=True, eq=False)
class Example:
    """An image and what it shows.

    Boxes are float32 (box, 4): left, top, right, bottom in px of the upright image, from 0, right and bottom exclusive,
    clipped to the image. Only objects of the concepts asked for have one.
    """

    dataset: str
    path: Path
    label: str  # concept that the image as a whole shows
    boxes: np.ndarray = field(default_factory=lambda: _NO_BOXES)  # (box, 4), the targets
    names: list[str] = field(default_factory=list)  # concept of each box
    ignored_boxes: np.ndarray = field(default_factory=lambda: _NO_BOXES)  # (box, 4), VOC's difficult objects and COCO's crowds: neither right nor wrong
    ignored_names: list[str] = field(default_factory=list)
    style: str | None = None  # drawing style of the main object; None for photographs
    size: tuple[int, int] | None = None  # (width, height) in px that the annotation states, where it was not yet compared with the picture

    def image(self) -> Image.Image:
        """The picture, upright and RGB; read anew at every call."""
        return load_image(self.path)

    def boxes_of(self, concept: str) -> np.ndarray:
        """The boxes (box, 4) of one concept."""
        return self.boxes[[name == concept for name in self.names]]


def load_image(path: Path) -> Image.Image:
    """Read a picture upright (EXIF orientation applied) and as RGB; transparent parts turn white.

    Raises FileNotFoundError where it is missing and ValueError where it cannot be read to its end.
    """
    with _opened(path) as file:
        picture = ImageOps.exif_transpose(file)  # the first picture of a multi-picture file
        if picture.mode.startswith("I;16"):
            picture = picture.point(lambda value: value / 257, "L")  # Pillow would clip 16-bit grey at 255
        if picture.has_transparency_data:
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
        return picture.convert("RGB")


def load_dataset(dataset: str, root: Path | str, concepts: Sequence[Concept], split: str) -> list[Example]:
    """All images of one split that show one of the concepts, in a fixed order; `split` is "train" or "test".

    Raises ValueError for an unknown dataset or split and for malformed files, FileNotFoundError for missing ones.
    """
    return _READERS[find_dataset(dataset)](Path(root), concepts, split)


def read_voc(root: Path, concepts: Sequence[Concept], split: str) -> list[Example]:
    """PASCAL VOC 2012: train is `ImageSets/Main/train.txt`, test is `val.txt` (the annotations of VOC's own test set are not public).

    The label is the class of the largest box. Images whose largest box shows no concept are left out. Parts of objects
    (`<part>`) are not read; difficult objects go to `ignored_boxes` and do not count for the label.
    """
    part = _part(split)
    devkit = _find_folder(root, "no VOC devkit", "VOCdevkit/VOC2012", "VOC2012", ".", holding="ImageSets/Main")
    source = _Source("PASCAL", root, concepts)
    listing = devkit / "ImageSets" / "Main" / f"{part}.txt"
    examples = []
    for stem in (line.split()[0] for line in _read(listing).decode(errors="replace").splitlines() if line.strip()):
        _inside(listing, stem)
        size, objects = _read_xml(devkit / "Annotations" / f"{stem}.xml", first=1)
        examples.append(source.example(devkit / "JPEGImages" / f"{stem}.jpg", objects, size))
    return source.some(examples, listing)


def read_coco(root: Path, concepts: Sequence[Concept], split: str) -> list[Example]:
    """COCO instances of 2017, or of 2014 where those are absent: train is the training set, test the validation set.

    The label is the class of the largest box. Images whose largest box shows no concept are left out. Crowd regions go to
    `ignored_boxes` and do not count for the label.
    """
    part = _part(split)
    annotations = _find_folder(root, "no COCO annotations", "annotations")
    source = _Source("COCO", root, concepts)
    file = next((file for year in (2017, 2014) if (file := annotations / f"instances_{part}{year}.json").exists()), annotations / f"instances_{part}2017.json")
    content = _read_json(file)
    try:
        categories = {category["id"]: category["name"] for category in content["categories"]}
        objects: dict[int, list[_Object]] = {}
        for annotation in content["annotations"]:
            left, top, width, height = (float(number) for number in annotation["bbox"])
            box = _finite((left, top, left + width, top + height))
            thing = _Object(categories[annotation["category_id"]], box, bool(annotation.get("iscrowd")))
            objects.setdefault(annotation["image_id"], []).append(thing)
        images = sorted((image["id"], str(image["file_name"]), (int(image["width"]), int(image["height"]))) for image in content["images"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{file} is no COCO instances file ({type(error).__name__}: {_one_line(error)}).") from error
    if lacking := [concept.label for concept in concepts if concept.label not in categories.values()]:
        raise ValueError(f"{file} has no category '{lacking[0]}'.")
    folder = root / file.stem.removeprefix("instances_")
    return source.some([source.example(folder / _inside(file, name), objects.get(key, []), size) for key, name, size in images], file)


def read_imagenet(root: Path, concepts: Sequence[Concept], split: str) -> list[Example]:
    """ImageNet's CLS-LOC: train is the training set, test the validation set.

    Images lie in a folder per class or, as the validation set does, flat with the class in each image's XML. Images without
    XML have no boxes. Boxes count from 0, right and bottom exclusive. The XML's size may be that of a scaled copy: boxes are
    taken as shares of it.
    """
    part = _part(split)
    data = _find_folder(root, "no ImageNet images", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", ".", holding=part)
    annotations = (data.parents[1] if data.name == "CLS-LOC" else data) / "Annotations" / "CLS-LOC" / part
    images = data / part
    source = _Source("ImageNet", root, concepts)
    examples = []
    if part == "train" or any((images / concept.label).is_dir() for concept in concepts):
        for concept in concepts:
            for path in list_images(images / concept.label):
                candidates = (annotations / concept.label / f"{path.stem}.xml", annotations / f"{path.stem}.xml")
                xml = next((file for file in candidates if file.exists()), None)
                size, objects = _to_upright(path, *_read_xml(xml)) if xml else (None, [])
                examples.append(source.example(path, objects, size, concept.name))
    else:
        for path in list_images(images):
            size, objects = _read_xml(annotations / f"{path.stem}.xml")
            if any(thing.label in source.names for thing in objects):
                size, objects = _to_upright(path, size, objects)
                examples.append(source.example(path, objects, size))
    return source.some(examples, images)


def read_dreambooth(root: Path, concepts: Sequence[Concept], split: str) -> list[Example]:
    """DreamBooth's folders, one per subject; boxes only from `boxes.json` (the paper's were OWL-v2's, checked by hand).

    Where a folder `test` lies beside `dataset`, it holds the test images. The published data has none: there the last third
    of a subject's images by name, rounded down but at least one, is held out for testing (1 of 4 or 5, 2 of 6).
    """
    part = _part(split)
    subjects = _find_folder(root, "no DreamBooth subjects", "dataset", ".")
    source = _Source("DreamBooth", root, concepts)
    examples = []
    for concept in concepts:
        if (root / "test").is_dir():
            paths = list_images((subjects if part == "train" else root / "test") / concept.label)
        else:
            paths = _split(subjects / concept.label, part)
        examples += [source.boxed_apart(path, concept) for path in paths]
    return examples


def read_photos(folder: Path | str, name: str | None = None, split: str | None = None) -> list[Example]:
    """Own photos of one thing, which is called `name` or, without one, as its folder is; boxes only from `boxes.json`.

    Without a `split` all of them; with one, the last third is held out for testing as DreamBooth's are.
    """
    folder = Path(folder)
    name = name or folder.resolve().name
    concept = Concept(PHOTOS, name, "", name, name, "", "")
    source = _Source(PHOTOS, folder, [concept])
    return [source.boxed_apart(path, concept) for path in (_split(folder, _part(split)) if split else list_images(folder))]


def read_things(root: Path, split: str) -> list[Example]:
    """Photos of several things, those of each in a folder of its own below `root` that bears its name.

    Raises FileNotFoundError where there is no such folder, and otherwise as `read_photos` does.
    """
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith(".")) if root.is_dir() else []
    if not folders:
        raise FileNotFoundError(f"The folder {root} holds no folder of pictures for each thing.")
    return [example for folder in folders for example in read_photos(folder, split=split)]


def _split(folder: Path, part: str) -> list[Path]:
    """The pictures of one thing to train on or, the last third by name but at least one, to test on.

    Raises ValueError where there are not two.
    """
    paths = list_images(folder)
    if len(paths) < 2:
        raise ValueError(f"{folder} holds 1 image, but 2 are needed: one for training and one for testing.")
    held_out = max(1, len(paths) // 3)
    return paths[:-held_out] if part == "train" else paths[-held_out:]


_READERS = {"ImageNet": read_imagenet, "DreamBooth": read_dreambooth, "COCO": read_coco, "PASCAL": read_voc}


def list_images(folder: Path) -> list[Path]:
    """The pictures of a folder, by name.

    Raises FileNotFoundError where the folder is missing and ValueError where it holds no picture.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"The folder {folder} is missing.")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."))
    if not paths:
        raise ValueError(f"The folder {folder} holds no picture ({', '.join(IMAGE_SUFFIXES)}).")
    return paths


def training_examples(examples: Sequence[Example], concept: str, count: int = 8, seed: int = 0) -> list[Example]:
    """`count` images of a concept to learn a word from, drawn with `seed` from the examples of a training split.

    Where some of the concept's images have boxes, only those are drawn, so that all three tasks learn from the same images.
    DreamBooth and own photos have few images of a thing: there all are taken if there are fewer than `count`.

    Raises ValueError where there are too few and where a picture is not of the size that its annotation states,
    FileNotFoundError where a picture is missing.
    """
    usable = _usable(examples, concept)
    enough = min(count, 1) if usable and usable[0].dataset in FEWER_ALLOWED else count
    if len(usable) < enough:
        boxed = " with boxes" if any(len(example.boxes) for example in usable) else ""
        raise ValueError(f"Too few training images of '{concept}'{boxed}: {len(usable)} found, {enough} needed.")
    return [_fitted(example) for example in _draw(usable, count, seed)]


def test_examples(examples: Sequence[Example], concepts: Iterable[str], count: int | None = None, seed: int = 0) -> list[Example]:
    """Up to `count` images of each concept, all of them without a count, from the examples of a test split.

    As in training, where some of a concept's images have boxes, only those are taken. The images stand in the order of the
    concepts, each concept's in the order of `examples`.

    Raises ValueError where a concept has none, and otherwise as `training_examples` does.
    """
    chosen = []
    for concept in concepts:
        usable = _usable(examples, concept)
        if not usable:
            raise ValueError(f"Too few test images of '{concept}': 0 found, 1 needed.")
        drawn = {example.path for example in _draw(usable, len(usable) if count is None else count, seed)}
        chosen += [_fitted(example) for example in usable if example.path in drawn]
    return chosen


test_examples.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test by its name


def _usable(examples: Iterable[Example], concept: str) -> list[Example]:
    shown = [example for example in examples if example.label == concept]
    return [example for example in shown if len(example.boxes_of(concept))] or shown


def _draw(examples: list[Example], count: int, seed: int) -> list[Example]:
    return [examples[i] for i in np.random.default_rng(seed).permutation(len(examples))[:count]]


def _fitted(example: Example) -> Example:
    """The example with its boxes in px of the picture itself, which is opened only now: a dataset has many more than are chosen.

    A copy of the dataset may be scaled, and a picture may have been annotated before it was turned upright.
    """
    if example.size is None:
        return example
    stored, upright, _ = _sizes(example.path)
    if min(_misfit(example.size, stored), _misfit(example.size, upright)) > 1:
        real, stated = (" × ".join(map(str, size)) for size in (upright, example.size))
        raise ValueError(f"The image {example.path} is {real} px, but its annotation is for {stated} px; one of the two is not the original.")
    both = np.concatenate([example.boxes, example.ignored_boxes])
    things = [_Object("", (float(a), float(b), float(c), float(d))) for a, b, c, d in both]
    boxes = np.array([thing.box for thing in _to_upright(example.path, example.size, things)[1]], np.float32).reshape(-1, 4)
    return replace(example, boxes=boxes[: len(example.boxes)], ignored_boxes=boxes[len(example.boxes) :], size=None)


def _misfit(size: tuple[int, int], other: tuple[int, int]) -> float:
    """By how many px the shorter side is off when `size` is scaled to the longer side of `other`."""
    scale = max(other) / max(size)
    return max(abs(size[0] * scale - other[0]), abs(size[1] * scale - other[1]))


@dataclass(frozen=True)
class _Object:
    """An annotated object: its class in the dataset's own words and its box (left, top, right, bottom) in px."""

    label: str
    box: tuple[float, float, float, float]
    ignored: bool = False


@dataclass(frozen=True)
class _Source:
    """What the examples of one dataset folder have in common."""

    dataset: str
    root: Path
    concepts: Sequence[Concept]

    @cached_property
    def names(self) -> dict[str, str]:
        """The concept's name for each of the dataset's own labels."""
        return {concept.label: concept.name for concept in self.concepts}

    @cached_property
    def styles(self) -> dict[str, str]:
        return _read_json(file) if (file := self.root / "styles.json").exists() else {}

    @cached_property
    def boxes(self) -> dict[str, list[tuple[float, float, float, float]]]:
        """The boxes of `boxes.json`, which must name pictures that are there."""
        file = self.root / BOXES
        content = _read_json(file) if file.exists() else {}
        if not isinstance(content, dict):
            raise ValueError(f"{file} is no list of boxes by picture.")
        boxes = {}
        for name, rows in content.items():
            if not (self.root / _inside(file, name)).is_file():
                raise ValueError(f"{file} gives boxes to {name}, which is not there.")
            try:
                boxes[name] = [_finite((float(a), float(b), float(c), float(d))) for a, b, c, d in rows]
            except (TypeError, ValueError) as error:
                raise ValueError(f"{file} gives {name} no boxes of four numbers.") from error
        return boxes

    def example(self, path: Path, objects: list[_Object], size: tuple[int, int] | None, label: str | None = None) -> Example | None:
        """The example of an image of `size` (width, height) px, or None where neither `label` nor its largest box is a concept."""
        edges = np.array(size or _sizes(path)[1]) if objects else np.zeros(2)
        boxes = np.array([thing.box for thing in objects], np.float32).reshape(-1, 4).clip(0, [*edges, *edges]).astype(np.float32)
        areas = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1)
        if label is None:
            counted = [index for index, thing in enumerate(objects) if areas[index] > 0 and not thing.ignored]
            largest = max(counted, key=lambda index: areas[index], default=None)
            if largest is None or objects[largest].label not in self.names:
                return None
            label = self.names[objects[largest].label]
        kept = [index for index, thing in enumerate(objects) if areas[index] > 0 and thing.label in self.names]
        targets = [index for index in kept if not objects[index].ignored]
        ignored = [index for index in kept if objects[index].ignored]
        names = [self.names.get(thing.label, "") for thing in objects]
        style = self.styles.get(path.relative_to(self.root).as_posix())
        named = [names[i] for i in targets], [names[i] for i in ignored]
        return Example(self.dataset, path, label, boxes[targets], named[0], boxes[ignored], named[1], style, size)

    def boxed_apart(self, path: Path, concept: Concept) -> Example:
        """The example of an image of `concept` whose boxes, if it has any, stand in `boxes.json`."""
        objects = [_Object(concept.label, box) for box in self.boxes.get(path.relative_to(self.root).as_posix(), [])]
        size = _sizes(path)[1] if objects else (0, 0)
        for left, top, right, bottom in (thing.box for thing in objects):
            if not (left < right and top < bottom and left < size[0] and top < size[1] and right > 0 and bottom > 0):
                box = ", ".join(f"{edge:g}" for edge in (left, top, right, bottom))
                picture = f"{path.name}, which is {size[0]} × {size[1]} px"
                raise ValueError(f"{self.root / BOXES}: [{box}] is no box (left, top, right, bottom) within {picture}.")
        example = self.example(path, objects, None, concept.name)
        assert example is not None  # it has a label
        return example

    def some(self, examples: Iterable[Example | None], where: Path) -> list[Example]:
        """The examples that are not None.

        Raises ValueError where there are none.
        """
        found = [example for example in examples if example is not None]
        if not found:
            raise ValueError(f"{where} lists no image that shows {', '.join(self.names.values())}.")
        return found


def _part(split: str) -> str:
    """The files' own name of a split."""
    if split not in SPLITS:
        raise ValueError(f"'{split}' is no split: there are {' and '.join(SPLITS)}.")
    return "train" if split == "train" else "val"


def _find_folder(root: Path, lack: str, *candidates: str, holding: str = ".") -> Path:
    if not root.is_dir():
        raise FileNotFoundError(f"The folder {root} is missing.")
    for candidate in candidates:
        if (root / candidate / holding).is_dir():
            return root / candidate
    raise FileNotFoundError(f"The folder {root} holds {lack}: {root / candidates[0] / holding} is missing.")


def _read(path: Path) -> bytes:
    if not path.exists():
        raise FileNotFoundError(f"The annotation file {path} is missing.")
    return path.read_bytes()


def _read_json(path: Path) -> Any:
    try:
        return json.loads(_read(path))
    except ValueError as error:
        raise ValueError(f"{path} is no valid JSON ({_one_line(error)}).") from error


def _read_xml(path: Path, first: int = 0) -> tuple[tuple[int, int] | None, list[_Object]]:
    """Size (width, height) and objects of a VOC-like annotation.

    `first` is the index of the first pixel: 1 for VOC, whose corners are inclusive, and 0 for ImageNet, whose are edges.
    """
    content = _read(path)
    try:
        annotation = ET.fromstring(content)
        width, height = (int(float(annotation.findtext(f"size/{side}", "0"))) for side in ("width", "height"))
        objects = []
        for thing in annotation.findall("object"):
            label = thing.findtext("name", "").strip()
            left, top, right, bottom = _finite(tuple(float(thing.findtext(f"bndbox/{edge}", "missing")) for edge in ("xmin", "ymin", "xmax", "ymax")))
            left, right, top, bottom = *sorted((left, right)), *sorted((top, bottom))
            objects.append(_Object(label, (left - first, top - first, right, bottom), thing.findtext("difficult", "0").strip() == "1"))
    except (ET.ParseError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} is no valid annotation ({_one_line(error)}).") from error
    return (width, height) if width > 0 and height > 0 else None, objects


def _finite(numbers: tuple[float, ...]) -> tuple[float, float, float, float]:
    """The four numbers of a box. Raises ValueError where one is none."""
    a, b, c, d = numbers
    if not all(map(isfinite, numbers)):
        raise ValueError(f"{a:g}, {b:g}, {c:g}, {d:g} is no box")
    return a, b, c, d


def _inside(file: Path, name: str) -> str:
    """The name that `file` gives to a picture.

    Raises ValueError where it would lead out of the dataset's folder.
    """
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or PureWindowsPath(name).drive:
        raise ValueError(f"{file} names a picture outside the dataset: {name}")
    return name


def _to_upright(path: Path, size: tuple[int, int] | None, objects: list[_Object]) -> tuple[tuple[int, int], list[_Object]]:
    """Size and objects in px of the upright picture, from objects in px of a copy of `size`, perhaps one not yet turned upright."""
    stored, upright, orientation = _sizes(path)
    if size is None or size == upright:
        return upright, objects
    turned = orientation in (6, 8) and (size[0] > size[1]) == (stored[0] > stored[1])  # annotated on the picture as it is stored
    moved = []
    for thing in objects:
        left, top, right, bottom = (edge / size[axis % 2] for axis, edge in enumerate(thing.box))
        if turned:
            left, top, right, bottom = (1 - bottom, left, 1 - top, right) if orientation == 6 else (top, 1 - right, bottom, 1 - left)
        moved.append(_Object(thing.label, (left * upright[0], top * upright[1], right * upright[0], bottom * upright[1]), thing.ignored))
    return upright, moved


def _sizes(path: Path) -> tuple[tuple[int, int], tuple[int, int], int]:
    """Size (width, height) px of the picture as it is stored, its size upright, and its EXIF orientation."""
    with _opened(path) as file:
        stored, orientation = file.size, file.getexif().get(_ORIENTATION, 1)
    return stored, (stored[1], stored[0]) if orientation in (5, 6, 7, 8) else stored, orientation


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The picture at `path`, opened; whatever goes wrong with it becomes one sentence."""
    try:
        with Image.open(path) as file:
            yield file
    except FileNotFoundError:
        raise FileNotFoundError(f"The image {path} is missing.") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"The image {path} is truncated or no picture ({_one_line(error)}).") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
