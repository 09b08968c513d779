"""Readers of the four real on-disk formats, and the choice of training and test images.

* ImageNet: `ILSVRC/{Data,Annotations}/CLS-LOC/{train/<wnid>,val}`, or `{train,val}/<wnid>` alone. A picture's label is
  its class; boxes come from CLS-LOC XML, where there is any, or `boxes.json`.
* DreamBooth: `dataset/<subject>`, perhaps `test/<subject>`. The label is the subject; boxes come from `boxes.json`.
* COCO: `annotations/instances_{train,val}2017.json` and `{train,val}2017` (or 2014). The label is the class of the
  largest box; boxes come from the json.
* PASCAL: `VOCdevkit/VOC2012/{Annotations,JPEGImages,ImageSets/Main}`. The label is the class of the largest box; boxes
  come from VOC XML.

Two optional files lie beside the data: `boxes.json` gives boxes (left, top, right, bottom) to images that have no
others, and
`styles.json` the drawing style of generated images. Both are keyed by each image's path below the folder in which they
lie;
`styles.json` lies in the dataset's folder, `boxes.json` there or in any folder between it and the image.
Whatever is missing or broken raises FileNotFoundError or ValueError with one sentence that names the file.

Files are read as people have them. Numbers, ids and flags may be text; ids are joined as text. Pictures bear any suffix
that
Pillow reads, in any case. Classes may be called as the dataset calls them or as the book does (aeroplane, airplane). An
image
without a stated size (absent, empty, 0 or -1) has its picture's own. Nothing is dropped in silence: two images of one
id or one
file, an object without a box or without a class, and a value that means nothing are refused, because an object that is
left
out changes what its picture shows; files that are no pictures, annotations of images that are not listed and boxes
without an
area are left out, counted and named once in the log.

The published annotations have flaws of their own, which are mended: boxes that reach beyond the picture are clipped,
corners
in the wrong order (ImageNet) are put in order, and boxes without an area (COCO, ImageNet) are left out. In
`boxes.json`, which
a person writes, the same is refused.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any, overload

import numpy as np
import pillow_heif
from PIL import Image, ImageOps

from vwlib.concepts import Concept, find_dataset
from vwlib.datasets.reading import (
    is_file,
    name_some,
    one_line,
    picture_name,
    read_json,
    read_lines,
    read_xml,
    shown,
    tell,
)

pillow_heif.register_heif_opener()  # what phones write; often under the name of another format

SPLITS = ("train", "test")
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".avif", ".heic", ".heif"),
)
PHOTOS = "photos"  # the dataset name of own photos
BOXES = "boxes.json"
STYLES = "styles.json"
#: Datasets that hold every picture there is of one thing: a word is learned from as many as there are, up to the wanted
#: number.
FEWER_ALLOWED = ("DreamBooth", PHOTOS)
#: By how many times a picture may be longer than wide: no model sees anything in a thinner one, and preparing it takes
#: gigabytes.
LONGEST = 100
#: How many px a picture may have: as many as phones take (108 million), which fill almost a gigabyte while it is read.
MOST_PIXELS = 110_000_000

_ORIENTATION = 0x0112  # EXIF tag
_STRIP = 256  # rows of a transparent picture that are put on white at once
_NO_BOXES = np.zeros((0, 4), np.float32)
_FLAGS = {"": False, "0": False, "no": False, "false": False, "1": True, "yes": True, "true": True}


@dataclass(frozen=True, eq=False)
class Example:
    """An image and what it shows.

    Boxes are float32 (box, 4): left, top, right, bottom in px of the upright image, from 0, right and bottom exclusive,
    clipped to the image. Only objects of the concepts asked for have one.
    """

    dataset: str
    path: Path
    label: str  #: concept that the image as a whole shows
    boxes: np.ndarray = field(default_factory=lambda: _NO_BOXES)  #: (box, 4), the targets
    names: list[str] = field(default_factory=list)  #: concept of each box
    ignored_boxes: np.ndarray = field(
        default_factory=lambda: _NO_BOXES
    )  #: (box, 4), VOC's difficult objects and COCO's crowds: neither right nor wrong
    ignored_names: list[str] = field(default_factory=list)
    style: str | None = None  #: drawing style of the main object; None for photographs
    #: (width, height) in px that the annotation states, where it was not yet compared with the picture
    size: tuple[int, int] | None = None

    def image(self) -> Image.Image:
        """The picture, upright and RGB; read anew at every call."""
        return load_image(self.path)

    def boxes_of(self, concept: str) -> np.ndarray:
        """The boxes (box, 4) of one concept."""
        return self.boxes[[name == concept for name in self.names]]


class Pictures(Sequence[Image.Image]):
    """The pictures of examples, each read only when it is asked for: photographs are large, and models look at them one
    by one.
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Image.Image]:
        return (example.image() for example in self.examples)  # of which none is held while the next is read

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...

    @overload
    def __getitem__(self, index: slice) -> Pictures: ...

    def __getitem__(self, index: int | slice) -> Image.Image | Pictures:
        return Pictures(self.examples[index]) if isinstance(index, slice) else self.examples[index].image()


def load_image(path: Path) -> Image.Image:
    """Read a picture upright (EXIF orientation applied) and as RGB; transparent parts turn white.

    Raises FileNotFoundError where it is missing and ValueError where it cannot be read to its end, has more than
    `MOST_PIXELS` or is more than `LONGEST` times longer than wide.
    """
    with _opened(path) as file:
        ImageOps.exif_transpose(file, in_place=True)  # the first picture of a multi-picture file
        return _as_rgb(file)


def _as_rgb(picture: Image.Image) -> Image.Image:
    """The picture as RGB, on white.

    Raises ValueError for pixels of 32 bits, which have no common scale.
    """
    if picture.mode in ("I", "F"):
        raise ValueError(f"its pixels are numbers of 32 bits (mode {picture.mode}), which have no common scale")
    if picture.mode.startswith("I;16"):
        grey = np.asarray(picture).astype(np.uint16)  # in the byte order of the machine
        picture = Image.fromarray(grey).point(lambda value: value / 257, "L")  # Pillow would clip 16-bit grey at 255
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    # In strips: the picture, the ground and their composite would take several times its memory.
    white = Image.new("RGB", picture.size, "white")
    for top in range(0, picture.height, _STRIP):
        strip = picture.crop((0, top, picture.width, min(top + _STRIP, picture.height))).convert("RGBA")
        ground = Image.new("RGBA", strip.size, "white")
        white.paste(Image.alpha_composite(ground, strip).convert("RGB"), (0, top))
    return white


def load_dataset(dataset: str, root: Path | str, concepts: Sequence[Concept], split: str) -> list[Example]:
    """All images of one split that show one of the concepts, in a fixed order; `split` is "train" or "test".

    Raises ValueError for an unknown dataset or split and for malformed files, FileNotFoundError for missing ones.
    """
    return _READERS[find_dataset(dataset)](Path(root), concepts, split)


def read_voc(root: Path, concepts: Sequence[Concept], split: str) -> list[Example]:
    """PASCAL VOC 2012: train is `ImageSets/Main/train.txt`, test is `val.txt` (the annotations of VOC's own test set
    are not public).

    A line of the list is a name, perhaps with a suffix, perhaps followed by VOC's score (-1, 0 or 1). Pictures may have
    any suffix. The label is the class of the largest box. Images whose largest box shows no concept are left out. Parts
    of objects (`<part>`) are not read; difficult objects go to `ignored_boxes` and do not count for the label.
    """
    part = _part(split)
    devkit = _find_folder(root, "no VOC devkit", "VOCdevkit/VOC2012", "VOC2012", ".", holding="ImageSets/Main")
    source = _Source("PASCAL", root, concepts)
    listing = devkit / "ImageSets" / "Main" / f"{part}.txt"
    examples: list[Example | None] = []
    paths: list[Path] = []
    annotations, pictures = _Folder(devkit / "Annotations", (".xml",)), _Folder(devkit / "JPEGImages", IMAGE_SUFFIXES)
    for stem in _listed(listing, annotations):
        file = annotations.find(stem)[0]
        size, objects, filename = _read_xml(file, first=1)
        paths.append(_pictured(pictures, stem, filename, file))
        examples.append(source.example(paths[-1], objects, size))
    _refuse_repeated(listing, "annotations", map(str, paths), "picture")
    return source.some(examples, listing)


def read_coco(root: Path, concepts: Sequence[Concept], split: str) -> list[Example]:
    """COCO instances of 2017, or of 2014 where those are absent: train is the training set, test the validation set.

    The label is the class of the largest box. Images whose largest box shows no concept are left out. Crowd regions go
    to `ignored_boxes` and do not count for the label.
    """
    part = _part(split)
    annotations = _find_folder(root, "no COCO annotations", "annotations")
    source = _Source("COCO", root, concepts)
    file = next(
        (file for year in (2017, 2014) if (file := annotations / f"instances_{part}{year}.json").exists()),
        annotations / f"instances_{part}2017.json",
    )
    categories, images, objects = _coco_entries(file, source)
    known = {name.casefold() for name in categories}
    if lacking := [c.label for c in concepts if not known & {c.label.casefold(), c.name.casefold()}]:
        raise ValueError(f"{file} has no category '{lacking[0]}'.")
    folder = root / file.stem.removeprefix("instances_")
    sized = ((folder / name, objects.get(key, []), size) for key, name, size in images)
    return source.some([source.example(*one) for one in sized], file)


def read_imagenet(root: Path, concepts: Sequence[Concept], split: str) -> list[Example]:
    """ImageNet's CLS-LOC: train is the training set, test the validation set.

    Images lie in a folder per class or, as the validation set does, flat with the class in each image's XML. Images
    without XML have no boxes but those of `boxes.json`. Boxes count from 0, right and bottom exclusive. The XML's size
    may be that of a scaled copy: boxes are taken as shares of it. A size of another shape is refused.
    """
    part = _part(split)
    data = _find_folder(root, "no ImageNet images", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", ".", holding=part)
    above = data.parents[1] if data.name == "CLS-LOC" else data
    annotations = _Folder(above / "Annotations" / "CLS-LOC" / part, (".xml",))
    images = data / part
    source = _Source("ImageNet", root, concepts)
    examples: list[Example | None] = []
    if part == "train" or any((images / concept.label).is_dir() for concept in concepts):
        for concept in concepts:
            for path in list_images(images / concept.label):
                xml = [*annotations.find(f"{concept.label}/{path.stem}"), *annotations.find(path.stem)]
                if not xml:
                    examples.append(source.boxed_apart(path, concept))
                    continue
                stated, things, _ = _read_xml(xml[0])
                size, things = _to_upright(path, stated, things)
                examples.append(source.example(path, things, size, concept.name))
    else:
        for path in list_images(images):
            xml = annotations.find(path.stem) or [annotations.folder / f"{path.stem}.xml"]
            stated, things, _ = _read_xml(xml[0])
            if any(source.concept_of(thing.label) for thing in things):
                size, things = _to_upright(path, stated, things)
                examples.append(source.example(path, things, size))
    return source.some(examples, images)


def read_dreambooth(root: Path, concepts: Sequence[Concept], split: str) -> list[Example]:
    """DreamBooth's folders, one per subject; boxes only from `boxes.json` (the paper's were OWL-v2's, checked by hand).

    Where a folder `test` lies beside `dataset`, it holds the test images. The published data has none: there the last
    third of a subject's images by name, rounded down but at least one, is held out for testing (1 of 4 or 5, 2 of 6).
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
    examples = _photos(folder, folder, name or folder.resolve().name, split)
    _tell_boxes_above(folder)
    return examples


def _photos(root: Path, folder: Path, name: str, split: str | None) -> list[Example]:
    """Own photos in `folder`, whose boxes stand there or in a folder above it up to `root`."""
    concept = Concept(PHOTOS, name, "", name, name, "", "")
    source = _Source(PHOTOS, root, [concept])
    paths = _split(folder, _part(split)) if split else list_images(folder)
    return [source.boxed_apart(path, concept) for path in paths]


def _tell_boxes_above(folder: Path) -> None:
    """Name a `boxes.json` above a folder of own photos that has boxes for them, as DreamBooth's has: it is not read."""
    place = folder.resolve()
    for above in place.parents[:2]:
        if is_file(above / BOXES):
            try:
                names = list(read_boxes(above))
            except (ValueError, FileNotFoundError):
                continue  # it may be anything
            if any((above / name).is_relative_to(place) for name in names):
                tell(f"{above / BOXES} has boxes for pictures in {folder}, but is not read; {BOXES} lies beside them.")


def read_things(root: Path, split: str) -> list[Example]:
    """Photos of several things, those of each in a folder of its own below `root` that bears its name.

    Raises FileNotFoundError where there is no such folder, and otherwise as `read_photos` does.
    """
    folders = (
        sorted(folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))
        if root.is_dir()
        else []
    )
    if not folders:
        raise FileNotFoundError(f"The folder {root} holds no folder of pictures for each thing.")
    if loose := [path.name for path in sorted(root.iterdir()) if is_picture_name(path.name) and path.is_file()]:
        tell(f"{root}: {len(loose)} pictures that lie in no thing's folder are not read: {name_some(loose)}.")
    return [example for folder in folders for example in _photos(root, folder, folder.name, split)]


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
    """The pictures of a folder, by name; whatever else lies there, hidden files and our own apart, is named in the log.

    Raises FileNotFoundError where the folder is missing and ValueError where it holds no picture.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"The folder {folder} is missing.")
    pictures, others = [], []
    for entry in _entries(folder):
        if is_picture_name(entry.name) and not entry.name.startswith(".") and _may_be_file(entry):
            pictures.append(folder / entry.name)
        elif entry.name not in (BOXES, STYLES) and not entry.name.startswith("."):
            others.append(entry.name + "/" * entry.is_dir())
    if not pictures:
        raise ValueError(f"The folder {folder} holds no picture ({', '.join(IMAGE_SUFFIXES)}).")
    if others:
        count = "1 file is no picture that is" if len(others) == 1 else f"{len(others)} files are no picture that is"
        tell(f"{folder}: {count} read: {name_some(others)}.")
    return pictures


def is_picture_name(name: str) -> bool:
    """Whether a file of this name is taken for a picture."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name; nothing where there is no such folder.

    Raises ValueError where it may not be looked at.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ValueError(f"The folder {folder} cannot be read ({error.strerror}).") from error


def _may_be_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file, or a link to one that is missing, which is told where it is opened; no folder and no
    device.
    """
    return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))


class _Folder:
    """The files of a folder, and of those below it, by their name without one of some suffixes, which may be of any
    case.
    """

    def __init__(self, folder: Path, suffixes: Sequence[str]) -> None:
        self.folder, self.suffixes = folder, suffixes
        self._listed: dict[
            PurePosixPath, dict[str, list[Path]]
        ] = {}  # listed once: annotations come by the ten thousand

    def find(self, name: str) -> list[Path]:
        """The files of this name, which may lead into a folder; those first whose suffix is in small letters."""
        path = PurePosixPath(name)
        if path.parent not in self._listed:
            here = self._listed.setdefault(path.parent, {})
            for entry in _entries(self.folder / path.parent):
                stem, suffix = os.path.splitext(entry.name)
                if suffix.lower() in self.suffixes:
                    here.setdefault(stem, []).append(self.folder / path.parent / entry.name)
            for files in here.values():
                files.sort(key=lambda file: file.suffix not in self.suffixes)
        return self._listed[path.parent].get(path.name, [])


def training_examples(examples: Sequence[Example], concept: str, count: int = 8, seed: int = 0) -> list[Example]:
    """`count` images of a concept to learn a word from, drawn with `seed` from the examples of a training split.

    Where some of the concept's images have boxes, only those are drawn, so that all three tasks learn from the same
    images. DreamBooth and own photos have few images of a thing: there all are taken if there are fewer than `count`.

    Raises ValueError where there are too few and where a picture is not of the size that its annotation states,
    FileNotFoundError where a picture is missing.
    """
    usable = _usable(examples, concept)
    enough = min(count, 1) if usable and usable[0].dataset in FEWER_ALLOWED else count
    if len(usable) < enough:
        boxed = " with boxes" if any(len(example.boxes) for example in usable) else ""
        raise ValueError(f"Too few training images of '{concept}'{boxed}: {len(usable)} found, {enough} needed.")
    return [_fitted(example) for example in _draw(usable, count, seed)]


def test_examples(
    examples: Sequence[Example], concepts: Iterable[str], count: int | None = None, seed: int = 0
) -> list[Example]:
    """Up to `count` images of each concept, all of them without a count, from the examples of a test split.

    As in training, where some of a concept's images have boxes, only those are taken. The images stand in the order of
    the concepts, each concept's in the order of `examples`.

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
    """The example with its boxes in px of the picture itself, which is opened only now: a dataset has many more than
    are chosen.

    A copy of the dataset may be scaled, and a picture may have been annotated before it was turned upright.
    """
    if example.size is None:
        return example
    both = np.concatenate([example.boxes, example.ignored_boxes])
    things = [_Object("", (float(a), float(b), float(c), float(d))) for a, b, c, d in both]
    boxes = np.array([thing.box for thing in _to_upright(example.path, example.size, things)[1]], np.float32).reshape(
        -1, 4
    )
    return replace(example, boxes=boxes[: len(example.boxes)], ignored_boxes=boxes[len(example.boxes) :], size=None)


def _misfit(size: tuple[int, int], other: tuple[int, int]) -> float:
    """By how many px the shorter sides differ when the larger of two sizes is scaled to the longer side of the smaller."""
    small, large = sorted((size, other), key=max)
    scale = max(small) / max(large)
    return max(abs(a * scale - b) for a, b in zip(large, small, strict=True))


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
        """The concept's name for each of the dataset's own labels, and for each name of the book's, in small letters."""
        ours = {concept.name.casefold(): concept.name for concept in self.concepts}
        return ours | {concept.label.casefold(): concept.name for concept in self.concepts}

    def concept_of(self, label: str) -> str | None:
        """The concept's name for a label; None where it is no concept's."""
        return self.names.get(label.casefold())

    @cached_property
    def without_area(self) -> list[str]:
        """The pictures of concepts' boxes without an area, which are left out."""
        return []

    @cached_property
    def only_ignored(self) -> list[str]:
        """The pictures whose objects are all neither right nor wrong, which have no label."""
        return []

    @cached_property
    def styles(self) -> dict[str, str]:
        """The drawing styles of `styles.json`, by picture."""
        file = self.root / STYLES
        content = read_json(file, unique=True) if file.exists() else {}
        if not isinstance(content, dict) or not all(isinstance(style, str) for style in content.values()):
            raise ValueError(f"{file} is no list of styles by picture, such as {{'a.png': 'flat'}}.")
        return {picture_name(file, name, self.root): style for name, style in content.items()}

    @cached_property
    def boxes(self) -> dict[Path, dict[str, list[list[float]]]]:
        """The boxes of every `boxes.json` that was read, by its folder."""
        return {}

    def boxes_of(self, path: Path) -> tuple[Path, list[list[float]]]:
        """The boxes of a picture, and the `boxes.json` that gives them: in its folder or in one above, up to the
        dataset's.

        Raises ValueError where two files give it different ones.
        """
        found: tuple[Path, list[list[float]]] = (self.root / BOXES, [])
        for folder in (above for above in path.parents if above.is_relative_to(self.root)):
            if folder not in self.boxes:
                self.boxes[folder] = read_boxes(folder)
            rows = self.boxes[folder].get(path.relative_to(folder).as_posix(), [])
            if rows and found[1] and rows != found[1]:
                raise ValueError(
                    f"{found[0]} and {folder / BOXES} give different boxes to {path.name}; keep one of them."
                )
            found = (folder / BOXES, rows) if rows else found
        return found

    def example(
        self, path: Path, objects: list[_Object], size: tuple[int, int] | None, label: str | None = None
    ) -> Example | None:
        """The example of an image of `size` (width, height) px, or None where neither `label` nor its largest box is a
        concept.
        """
        ours = [index for index, thing in enumerate(objects) if self.concept_of(thing.label)]
        if label is None and not ours:
            return None
        edges = size or (_sizes(path)[1] if objects else (0, 0))
        boxes = (
            np.array([thing.box for thing in objects], float)
            .reshape(-1, 4)
            .clip(0, [*edges, *edges])
            .astype(np.float32)
        )
        areas = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1)
        self.without_area.extend(path.name for index in ours if not areas[index] > 0)
        if label is None:
            counted = [index for index, thing in enumerate(objects) if areas[index] > 0 and not thing.ignored]
            largest = max(counted, key=lambda index: areas[index], default=None)
            label = self.concept_of(objects[largest].label) if largest is not None else None
            if largest is None:
                self.only_ignored.append(path.name)
            if label is None:
                return None
        kept = [index for index in ours if areas[index] > 0]
        targets = [index for index in kept if not objects[index].ignored]
        ignored = [index for index in kept if objects[index].ignored]
        names = [self.concept_of(thing.label) or "" for thing in objects]
        style = self.styles.get(path.relative_to(self.root).as_posix())
        named = [names[i] for i in targets], [names[i] for i in ignored]
        return Example(self.dataset, path, label, boxes[targets], named[0], boxes[ignored], named[1], style, size)

    def boxed_apart(self, path: Path, concept: Concept) -> Example:
        """The example of an image of `concept` whose boxes, if it has any, stand in `boxes.json`."""
        file, rows = self.boxes_of(path)
        size = _sizes(path)[1] if rows else (0, 0)
        for left, top, right, bottom in rows:
            if not (left < right and top < bottom and left < size[0] and top < size[1] and right > 0 and bottom > 0):
                box = ", ".join(f"{edge:g}" for edge in (left, top, right, bottom))
                picture = f"{path.name}, which is {size[0]} × {size[1]} px"
                raise ValueError(f"{file}: [{box}] is no box (left, top, right, bottom) within {picture}.")
        objects = [_Object(concept.label, (left, top, right, bottom)) for left, top, right, bottom in rows]
        example = self.example(path, objects, None, concept.name)
        assert example is not None  # it has a label
        return example

    def some(self, examples: Iterable[Example | None], where: Path) -> list[Example]:
        """The examples that are not None. Boxes that were left out are named in the log.

        Raises ValueError where there are none.
        """
        found = [example for example in examples if example is not None]
        if not found:
            why = (
                f"; all objects in {name_some(self.only_ignored)} are difficult, crowds or without an area"
                if self.only_ignored
                else ""
            )
            raise ValueError(f"{where} lists no image that shows {', '.join(dict.fromkeys(self.names.values()))}{why}.")
        if self.without_area:
            count = (
                "1 box without an area is"
                if len(self.without_area) == 1
                else f"{len(self.without_area)} boxes without an area are"
            )
            tell(f"{where}: {count} left out, in {name_some(list(dict.fromkeys(self.without_area)))}.")
        if self.only_ignored:
            tell(
                f"{where}: all objects in {name_some(self.only_ignored)} are difficult, crowds or without an area; they have no label and are left out."
            )
        if self.dataset in ("COCO", "PASCAL") and is_file(self.root / BOXES):
            tell(f"{self.root / BOXES} is not read: boxes of {self.dataset} stand in its annotations.")
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


def read_boxes(folder: Path) -> dict[str, list[list[float]]]:
    """The boxes (left, top, right, bottom) that `boxes.json` in a folder gives to each picture below it; none without
    the file.

    Raises ValueError where the file is malformed or names what is no picture there, or one picture twice.
    """
    file = folder / BOXES
    if not os.path.lexists(file):
        return {}
    content = read_json(file, unique=True)
    if not isinstance(content, dict):
        raise ValueError(f"{file} is no list of boxes by picture.")
    boxes: dict[str, list[list[float]]] = {}
    for given, rows in content.items():
        name = picture_name(file, given, folder)
        if not is_file(folder / name):
            raise ValueError(f"{file} gives boxes to {given}, which is not there.")
        if not is_picture_name(name):
            raise ValueError(f"{file} gives boxes to {given}, which is no picture ({', '.join(IMAGE_SUFFIXES)}).")
        if name in boxes:
            raise ValueError(f"{file} names {name} twice.")
        try:
            boxes[name] = [_four(row) for row in rows] if isinstance(rows, list) else [_four(rows)]
        except ValueError as error:
            raise ValueError(f"{file} gives {given} no boxes of four numbers ({error}).") from error
    return boxes


_Entry = dict[str, Any]
_Image = tuple[str, str, tuple[int, int] | None]  # id, file, size


def _coco_entries(file: Path, source: _Source) -> tuple[list[str], list[_Image], dict[str, list[_Object]]]:
    """The names of the categories, the images in the order of their ids, and the objects by the id of their image.

    Ids are compared as text, so that 7 and "7" are one. Raises ValueError for whatever is repeated, lacks something or
    is of no meaning, with the entry's id; annotations of images that are not listed are counted in the log.
    """
    content = read_json(file)
    lists: dict[str, list[_Entry]] = {}
    for key in ("categories", "images", "annotations"):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError(f"{file} is no COCO instances file (it has no list of '{key}').")
        lists[key] = entries
    categories = {
        _id(file, "category", e, n): _text(file, "category", e, n, "name").strip()
        for n, e in enumerate(lists["categories"], 1)
    }
    _refuse_repeated(file, "categories", (_id(file, "category", e, n) for n, e in enumerate(lists["categories"], 1)))
    folder = source.root / file.stem.removeprefix("instances_")
    images = []
    for number, entry in enumerate(lists["images"], 1):
        key, name = _id(file, "image", entry, number), _text(file, "image", entry, number, "file_name")
        images.append((key, picture_name(file, name, folder), _coco_size(file, entry, number)))
    _refuse_repeated(file, "images", (key for key, _, _ in images))
    _refuse_repeated(file, "images", (name for _, name, _ in images), "file_name")
    objects: dict[str, list[_Object]] = {key: [] for key, _, _ in images}
    strays = []
    for number, entry in enumerate(lists["annotations"], 1):
        key, category = (_id(file, "annotation", entry, number, field) for field in ("image_id", "category_id"))
        if category not in categories:
            called = _called("annotation", entry, number)
            raise ValueError(
                f"{file}: {called} has the category_id {shown(entry['category_id'])}, which is none of the categories."
            )
        if key not in objects:
            strays.append(_called("annotation", entry, number))
            continue
        if entry.get("bbox") in (None, []):
            raise ValueError(
                f"{file}: {_called('annotation', entry, number)} has no bbox; give it one, or take it out."
            )
        try:
            left, top, width, height = _four(entry["bbox"])
            box = _finite((left, top, left + width, top + height))
            ignored = _flag(entry.get("iscrowd"))
        except ValueError as error:
            raise ValueError(
                f"{file}: {_called('annotation', entry, number)} has a bbox or iscrowd of no meaning ({error})."
            ) from error
        objects[key].append(_Object(categories[category], box, ignored))
    _refuse_repeated(
        file, "annotations", (_id(file, "annotation", e, 0) for e in lists["annotations"] if e.get("id") is not None)
    )
    if strays:
        count = "1 annotation is of an image" if len(strays) == 1 else f"{len(strays)} annotations are of images"
        tell(f"{file}: {count} that it does not list, and left out: {name_some(strays)}.")
    return [*categories.values()], sorted(images, key=lambda image: _order(image[0])), objects


def _called(kind: str, entry: _Entry, number: int) -> str:
    """How a sentence calls an entry of a COCO file: by its id or, without one, by its place, counted from 1."""
    return (
        f"the {kind} with the id {shown(entry['id'])}"
        if entry.get("id") is not None
        else f"{kind} number {number}, which has no id,"
    )


def _id(file: Path, kind: str, entry: _Entry, number: int, field: str = "id") -> str:
    """An id as text: 7, 7.0 and "7" are one.

    Raises ValueError where an entry has none.
    """
    value = entry.get(field)
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, float) and isfinite(value):
        return f"{int(value)}" if value == int(value) else repr(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError(
        f"{file}: {_called(kind, entry, number)} has the {field} {shown(value)}, which is neither a number nor a text."
    )


def _order(key: str) -> tuple[bool, int, str]:
    """Ids in order: numbers by size, then texts."""
    number = key.removeprefix("-")
    return (False, int(key), key) if number.isascii() and number.isdigit() and len(key) < 1000 else (True, 0, key)


def _text(file: Path, kind: str, entry: _Entry, number: int, field: str) -> str:
    """A text of an entry. Raises ValueError where it has none."""
    value = entry.get(field)
    if not isinstance(value, str) or not value.strip():
        lack = f"no {field}" if value in (None, "") else f"the {field} {shown(value)}, which is no text"
        raise ValueError(f"{file}: {_called(kind, entry, number)} has {lack}.")
    return value


def _coco_size(file: Path, entry: _Entry, number: int) -> tuple[int, int] | None:
    """Width and height of an image; None where they are absent, empty, 0 or less. Raises ValueError for what is no
    number.
    """
    try:
        return _size([entry.get("width"), entry.get("height")])
    except ValueError as error:
        raise ValueError(
            f"{file}: {_called('image', entry, number)} has a width or height of no meaning ({error})."
        ) from error


def _refuse_repeated(file: Path, kind: str, values: Iterable[str], field: str = "id") -> None:
    """Raise ValueError for the first value that comes twice."""
    seen = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{file}: two {kind} have the {field} {shown(value) if field != 'id' else value}.")
        seen.add(value)


def _listed(listing: Path, annotations: _Folder) -> list[str]:
    """The names of a VOC list.

    A name may have blanks in it; what stands behind a blank is a score only where there is no annotation of the whole
    line.
    Raises FileNotFoundError where a name has no annotation, ValueError where it comes twice or leads out of the folder.
    """
    names = []
    for line in read_lines(listing):
        name = picture_name(listing, line, annotations.folder)
        scored = picture_name(listing, re.sub(r"\s+(-1|0|1)$", "", line), annotations.folder)
        bare = [
            os.path.splitext(one)[0] for one in (name, scored) if is_picture_name(one) or one.lower().endswith(".xml")
        ]
        found = next((one for one in (name, scored, *bare) if annotations.find(one)), None)
        if found is None:
            raise FileNotFoundError(f"The annotation file {annotations.folder / f'{scored}.xml'} is missing.")
        names.append(found)
    _refuse_repeated(listing, "lines", names, "name")
    return names


def _pictured(pictures: _Folder, stem: str, filename: str, file: Path) -> Path:
    """The picture of an annotation `file`: of its own name or, where there is none or several, what the annotation
    calls it.

    Raises ValueError where it remains unclear. A picture that is missing is told where it is opened.
    """
    found = pictures.find(stem)
    if len(found) == 1:
        return found[0]
    usual = pictures.folder / f"{stem}.jpg"
    if usual in found:
        return usual
    named = usual.parent / PurePosixPath(filename.replace("\\", "/")).name
    if is_picture_name(named.name) and is_file(named):
        return named
    if found:
        several = name_some([path.name for path in found])
        raise ValueError(f"{file}: there are several pictures of that name ({several}); its <filename> must name one.")
    return usual


def _read_xml(path: Path, first: int = 0) -> tuple[tuple[int, int] | None, list[_Object], str]:
    """Size (width, height), objects and picture's name of a VOC-like annotation.

    `first` is the index of the first pixel: 1 for VOC, whose corners are inclusive, and 0 for ImageNet, whose are
    edges.
    Raises FileNotFoundError where it is missing and ValueError, with the tag, where something is missing or of no
    meaning.
    """
    annotation = read_xml(path)
    objects = []
    try:
        size = _size([annotation.findtext(f"size/{side}") for side in ("width", "height")])
        things = annotation.findall("object")
        if not things and (annotation.tag != "annotation" or next(annotation.iter("object"), None) is not None):
            raise ValueError(f"its <{annotation.tag}> has no <object> directly below it")
        for thing in things:
            label = (thing.findtext("name") or "").strip()
            if not label:
                raise ValueError("an object has no <name>")
            if len(boxes := thing.findall("bndbox")) != 1:
                raise ValueError(f"the object '{label}' has {'several' if boxes else 'no'} <bndbox>")
            left, top, right, bottom = (
                _edge(label, edge, boxes[0].findtext(edge)) for edge in ("xmin", "ymin", "xmax", "ymax")
            )
            left, right, top, bottom = *sorted((left, right)), *sorted((top, bottom))
            objects.append(
                _Object(label, (left - first, top - first, right, bottom), _flag(thing.findtext("difficult")))
            )
    except ValueError as error:
        raise ValueError(f"{path} is no valid annotation ({error}).") from error
    return size, objects, (annotation.findtext("filename") or "").strip()


def _edge(label: str, edge: str, value: str | None) -> float:
    """An edge of an object's box. Raises ValueError where it is missing or no number."""
    try:
        return _number(value)
    except ValueError as error:
        raise ValueError(f"the <{edge}> of the object '{label}': {error}") from error


def _number(value: object) -> float:
    """A number, or the number that a text says. Raises ValueError for anything else, and for one without end."""
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            if isfinite(number := float(value)):
                return number
        except (ValueError, OverflowError):
            pass
    raise ValueError(f"{shown(value)} is no number")


def _four(row: object) -> list[float]:
    """The four numbers of a box. Raises ValueError where it has others."""
    if not isinstance(row, list) or len(row) != 4:
        raise ValueError(f"{shown(row)} is no box")
    return [value if type(value) is int and abs(value) < 2**53 else _number(value) for value in row]


def _flag(value: object) -> bool:
    """What a number, a text or a truth value says of being difficult or a crowd; nothing is no. Raises ValueError for
    anything else.
    """
    text = "" if value is None else str(value).strip().lower()
    if isinstance(value, int | float | str | None) and (text := text.removesuffix(".0")) in _FLAGS:
        return _FLAGS[text]
    raise ValueError(f"{shown(value)} is neither 0 nor 1")


def _size(sides: Sequence[object], most: int = 10_000_000) -> tuple[int, int] | None:
    """Width and height in px; None where one is absent, empty, 0 or less. Raises ValueError for what is no number of
    px.
    """
    numbers = [
        0.0 if value is None or (isinstance(value, str) and not value.strip()) else _number(value) for value in sides
    ]
    if max(numbers) > most:
        raise ValueError(f"{max(numbers):g} px is more than any picture has")
    width, height = (int(number) for number in numbers)
    return (width, height) if width > 0 and height > 0 else None


def _finite(numbers: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """The four edges of a box. Raises ValueError where one is none."""
    if not all(map(isfinite, numbers)):
        raise ValueError(f"{', '.join(f'{number:g}' for number in numbers)} is no box")
    return numbers


def _to_upright(
    path: Path, size: tuple[int, int] | None, objects: list[_Object]
) -> tuple[tuple[int, int], list[_Object]]:
    """Size and objects in px of the upright picture, from objects in px of a copy of `size`, perhaps one not yet turned
    upright.

    Raises ValueError where the picture is of another shape than `size`.
    """
    stored, upright, orientation = _sizes(path)
    if size is None or size == upright:
        return upright, objects
    if min(_misfit(size, stored), _misfit(size, upright)) > 1:
        real, stated = (" × ".join(map(str, sides)) for sides in (upright, size))
        raise ValueError(
            f"The image {path} is {real} px, but its annotation is for {stated} px; one of the two is not the original."
        )
    turned = orientation in (6, 8) and (size[0] > size[1]) == (
        stored[0] > stored[1]
    )  # annotated on the picture as it is stored
    moved = []
    for thing in objects:
        left, top, right, bottom = (edge / size[axis % 2] for axis, edge in enumerate(thing.box))
        if turned:
            left, top, right, bottom = (
                (1 - bottom, left, 1 - top, right) if orientation == 6 else (top, 1 - right, bottom, 1 - left)
            )
        moved.append(
            _Object(
                thing.label,
                (left * upright[0], top * upright[1], right * upright[0], bottom * upright[1]),
                thing.ignored,
            )
        )
    return upright, moved


def _sizes(path: Path) -> tuple[tuple[int, int], tuple[int, int], int]:
    """Size (width, height) px of the picture as it is stored, its size upright, and its EXIF orientation."""
    with _opened(path) as file:
        size, orientation = file.size, file.getexif().get(_ORIENTATION, 1)
        turned = (size[1], size[0]) if orientation in (5, 6, 7, 8) else size
        if file.format == "TIFF":  # Pillow tells its size as it is upright
            size, turned = turned, size
    return size, turned, orientation


class _Refused(ValueError):
    """A sentence of our own about a picture."""


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The picture at `path`, opened; whatever goes wrong with it becomes one sentence."""
    if os.path.exists(path) and not is_file(path):
        raise ValueError(f"The image {path} is no picture, but a folder or a device.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow warns of, it reads all the same
            with Image.open(path) as file:
                width, height = file.size
                if max(width, height) > LONGEST * min(width, height):
                    raise _Refused(
                        f"The image {path} is {width} × {height} px, more than {LONGEST} times as long as wide; cut it."
                    )
                if width * height > MOST_PIXELS:
                    raise _Refused(
                        f"The image {path} is {width} × {height} px, more than {MOST_PIXELS // 10**6} million; scale it down."
                    )
                yield file
    except FileNotFoundError:
        raise FileNotFoundError(f"The image {path} is missing.") from None
    except _Refused:
        raise
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"The image {path} has more than {MOST_PIXELS // 10**6} million px ({one_line(error)}); scale it down."
        ) from error
    except Exception as error:  # whatever a decoder makes of broken bytes
        raise ValueError(f"The image {path} is truncated or no picture ({one_line(error)}).") from error
