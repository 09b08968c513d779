"""What the readers share: splits, folders, labels of concepts, and the optional files of boxes and styles."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vwlib.concepts import Concept
from vwlib.datasets.pictures import BOXES, IMAGE_SUFFIXES, STYLES, FileExample, is_picture_name, picture_sizes
from vwlib.datasets.reading import name_some, picture_name, read_box, read_json, shown, tell, tell_left_out
from vwlib.examples import Example
from vwlib.files import write_whole

SPLITS = ("train", "test")
PHOTOS = "photos"  # the dataset name of own photos


class AnnotatedObject(NamedTuple):
    """An object of a picture: its class in the dataset's own words and its box (left, top, right, bottom) in px."""

    label: str
    box: Sequence[float]
    ignored: bool = False


def files_split(split: str) -> str:
    """The name that the files give to a split. Raises ValueError for an unknown one."""
    if split not in SPLITS:
        raise ValueError(f"'{split}' is no split: there are {' and '.join(SPLITS)}.")
    return "train" if split == "train" else "val"


def find_folder(root: Path, lack: str, *candidates: str, holding: str = ".") -> Path:
    """The first of the candidates below `root` that holds a folder. Raises FileNotFoundError where none does."""
    if not root.is_dir():
        raise FileNotFoundError(f"The folder {root} is missing.")
    for candidate in candidates:
        if (root / candidate / holding).is_dir():
            return root / candidate
    raise FileNotFoundError(f"The folder {root} holds {lack}: {root / candidates[0] / holding} is missing.")


def read_boxes(folder: Path) -> dict[str, list[list[float]]]:
    """The boxes (left, top, right, bottom) of each picture below a folder by its `boxes.json`, if there is one.

    Raises ValueError for a malformed file, one that names something else than pictures there, or one of them twice.
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
        if not os.path.isfile(folder / name):
            raise ValueError(f"{file} gives boxes to {given}, which is not there.")
        if not is_picture_name(name):
            raise ValueError(f"{file} gives boxes to {given}, which is no picture ({', '.join(IMAGE_SUFFIXES)}).")
        if name in boxes:
            raise ValueError(f"{file} names {name} twice.")
        try:
            boxes[name] = [read_box(row) for row in rows] if isinstance(rows, list) else [read_box(rows)]
        except ValueError as error:
            raise ValueError(f"{file} gives {given} no boxes of four numbers ({error}).") from error
    return boxes


def write_boxes(folder: Path, boxes: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Write `boxes.json` into a folder: the boxes (left, top, right, bottom) of each picture on a line."""
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(rows)}" for name, rows in boxes.items())
    write_whole(folder / BOXES, ("{\n" + lines + "\n}\n").encode())


def refuse_repeated(file: Path, kind: str, values: Iterable[str], field: str = "id") -> None:
    """Raise ValueError for the first value that comes twice."""
    seen = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{file}: two {kind} have the {field} {shown(value) if field != 'id' else value}.")
        seen.add(value)


@dataclass
class Source:
    """What the examples of one dataset folder have in common."""

    dataset: str
    root: Path
    concepts: Sequence[Concept]
    without_area: list[str] = field(default_factory=list)  #: pictures of concepts' boxes without an area
    only_ignored: list[str] = field(default_factory=list)  #: pictures without an object that counts
    boxes: dict[Path, dict[str, list[list[float]]]] = field(default_factory=dict)  #: of each boxes.json, by its folder

    @cached_property
    def names(self) -> dict[str, str]:
        """The concept's name for each label of the dataset and each name of the book, in lower case."""
        ours = {concept.name.casefold(): concept.name for concept in self.concepts}
        return ours | {concept.label.casefold(): concept.name for concept in self.concepts}

    @cached_property
    def styles(self) -> dict[str, str]:
        """The drawing styles of `styles.json`, by picture."""
        file = self.root / STYLES
        content = read_json(file, unique=True) if file.exists() else {}
        if not isinstance(content, dict) or not all(isinstance(style, str) for style in content.values()):
            raise ValueError(f"{file} is no list of styles by picture, such as {{'a.png': 'flat'}}.")
        return {picture_name(file, name, self.root): style for name, style in content.items()}

    def concept_of(self, label: str) -> str | None:
        """The concept's name for a label; None if it is no concept's."""
        return self.names.get(label.casefold())

    def boxes_of(self, path: Path) -> tuple[Path, list[list[float]]]:
        """The `boxes.json` of a picture, in its folder or above, up to the dataset's, and the boxes that it gives.

        Raises ValueError if two files give different ones.
        """
        found: tuple[Path, list[list[float]]] = (self.root / BOXES, [])
        for folder in (above for above in path.parents if above.is_relative_to(self.root)):
            if folder not in self.boxes:
                self.boxes[folder] = read_boxes(folder)
            rows = self.boxes[folder].get(path.relative_to(folder).as_posix(), [])
            if rows and found[1] and rows != found[1]:
                files = f"{found[0]} and {folder / BOXES}"
                raise ValueError(f"{files} give different boxes to {path.name}; keep one of them.")
            found = (folder / BOXES, rows) if rows else found
        return found

    def example(
        self, path: Path, objects: Sequence[AnnotatedObject], size: tuple[int, int] | None, label: str | None = None
    ) -> Example | None:
        """The example of an image of `size` (width, height) px, by default labelled by its largest box that counts.

        None if that box shows no concept.
        """
        names = [self.concept_of(thing.label) for thing in objects]
        if label is None and not any(names):
            return None
        edges = size or (picture_sizes(path)[1] if objects else (0, 0))
        given = np.array([thing.box for thing in objects], float).reshape(-1, 4)
        boxes = given.clip(0, [*edges, *edges]).astype(np.float32)
        areas = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1)
        ours = np.array([name is not None for name in names], bool)
        ignored = np.array([thing.ignored for thing in objects], bool)
        self.without_area += [path.name] * int((ours & ~(areas > 0)).sum())
        if label is None:
            counted = np.where(ignored, 0, areas)
            if not counted.any():
                self.only_ignored.append(path.name)
                return None
            label = names[int(counted.argmax())]
            if label is None:
                return None
        kept = ours & (areas > 0)
        targets, others = np.flatnonzero(kept & ~ignored), np.flatnonzero(kept & ignored)
        named = [[names[index] or "" for index in rows] for rows in (targets, others)]
        style = self.styles.get(path.relative_to(self.root).as_posix())
        return FileExample(self.dataset, path, label, boxes[targets], named[0], boxes[others], named[1], style, size)

    def boxed_apart(self, path: Path, concept: Concept) -> Example:
        """The example of an image of `concept` whose boxes, if it has any, stand in `boxes.json`."""
        file, rows = self.boxes_of(path)
        size = picture_sizes(path)[1] if rows else (0, 0)
        for left, top, right, bottom in rows:
            if not (left < right and top < bottom and left < size[0] and top < size[1] and right > 0 and bottom > 0):
                box = ", ".join(f"{edge:g}" for edge in (left, top, right, bottom))
                picture = f"{path.name}, which is {size[0]} × {size[1]} px"
                raise ValueError(f"{file}: [{box}] is no box (left, top, right, bottom) within {picture}.")
        example = self.example(path, [AnnotatedObject(concept.label, row) for row in rows], None, concept.name)
        assert example is not None  # it has a label
        return example

    def checked(self, examples: Iterable[Example | None], where: Path) -> list[Example]:
        """The examples that are not None. The log names what was left out. Raises ValueError if there are none."""
        found = [example for example in examples if example is not None]
        ignored = f"all objects in {name_some(self.only_ignored)} are difficult, crowds or without an area"
        if not found:
            why = f"; {ignored}" if self.only_ignored else ""
            raise ValueError(f"{where} lists no image that shows {', '.join(dict.fromkeys(self.names.values()))}{why}.")
        if self.without_area:
            tell_left_out(where, "boxes without an area", self.without_area)
        if self.only_ignored:
            tell(f"{where}: {ignored}; they have no label and are left out.")
        if self.dataset in ("COCO", "PASCAL") and os.path.isfile(self.root / BOXES):
            tell(f"{self.root / BOXES} is not read: the boxes of {self.dataset} are in its annotations.")
        return found
