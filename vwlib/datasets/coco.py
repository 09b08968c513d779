"""COCO's instances, and any dataset that is written as COCO's JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

from vwlib.concepts import Concept
from vwlib.datasets.reading import picture_name, read_box, read_flag, read_json, read_size, shown, tell_left_out
from vwlib.datasets.source import AnnotatedObject, Source, files_split, find_folder, refuse_repeated
from vwlib.examples import Example

_T = TypeVar("_T")


def read_coco(root: Path, concepts: Sequence[Concept], split: str) -> list[Example]:
    """COCO instances of 2017 or, without those, of 2014: train is the training set, test the validation set.

    The label is the class of the largest box; images whose largest box shows no concept are left out. Crowd regions go
    to `ignored_boxes` and do not count for the label. Ids are compared as text: 7, 7.0 and "7" are the same.
    """
    part = files_split(split)
    annotations = find_folder(root, "no COCO annotations", "annotations")
    files = [annotations / f"instances_{part}{year}.json" for year in (2017, 2014)]
    file = next((file for file in files if file.exists()), files[0])
    folder = root / file.stem.removeprefix("instances_")
    source = Source("COCO", root, concepts)
    entries = _Entries(file)
    categories = _read_categories(entries)
    known = {name.casefold() for name in categories.values()}
    if lacking := [c.label for c in concepts if not known & {c.label.casefold(), c.name.casefold()}]:
        raise ValueError(f"{file} has no category '{lacking[0]}'.")
    images = _read_images(entries, folder)
    objects = _read_objects(entries, categories, {key for key, _, _ in images})
    examples = (source.example(folder / name, objects.get(key, []), size) for key, name, size in images)
    return source.checked(examples, file)


class _Entries:
    """The three lists of a COCO file. Raises ValueError if one is missing."""

    def __init__(self, file: Path) -> None:
        self.file, content = file, read_json(file)
        self.lists: dict[str, list[dict[str, Any]]] = {}
        for key in ("categories", "images", "annotations"):
            entries = content.get(key) if isinstance(content, dict) else None
            if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
                raise ValueError(f"{file} is no COCO instances file (it has no list of '{key}').")
            self.lists[key] = entries

    def read(self, key: str, kind: str) -> Iterator[_Entry]:
        """The entries of a list, one after another."""
        return (_Entry(self.file, kind, number, entry) for number, entry in enumerate(self.lists[key], 1))


@dataclass(frozen=True)
class _Entry:
    """An entry of a list; its errors name it."""

    file: Path
    kind: str
    number: int  #: its place in the list, from 1
    content: dict[str, Any]

    def __str__(self) -> str:
        if self.content.get("id") is None:
            return f"{self.kind} number {self.number}, which has no id,"
        return f"the {self.kind} with the id {shown(self.content['id'])}"

    def error(self, problem: str) -> ValueError:
        """The error to raise about this entry."""
        return ValueError(f"{self.file}: {self} {problem}.")

    def key(self, field: str = "id") -> str:
        """An id as text. Raises ValueError unless it is a number or a text."""
        value = self.content.get(field)
        if isinstance(value, str) and value.strip():
            return value.strip()
        if isinstance(value, float) and isfinite(value):
            return f"{int(value)}" if value == int(value) else repr(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        raise self.error(f"has the {field} {shown(value)}, which is neither a number nor a text")

    def text(self, field: str) -> str:
        """A text. Raises ValueError if there is none."""
        value = self.content.get(field)
        if isinstance(value, str) and value.strip():
            return value
        problem = f"has the {field} {shown(value)}, which is no text"
        raise self.error(f"has no {field}" if value in (None, "") else problem)

    def parsed(self, fields: str, read: Callable[[dict[str, Any]], _T]) -> _T:
        """What `read` makes of the content. Raises ValueError if its `fields` are invalid."""
        try:
            return read(self.content)
        except ValueError as error:
            raise self.error(f"has a {fields} of no meaning ({error})") from error


def _read_categories(entries: _Entries) -> dict[str, str]:
    """The name of each category, by id. Raises ValueError for a repeated id and for a category without a name."""
    pairs = [(entry.key(), entry.text("name").strip()) for entry in entries.read("categories", "category")]
    refuse_repeated(entries.file, "categories", (key for key, _ in pairs))
    return dict(pairs)


def _read_images(entries: _Entries, folder: Path) -> list[tuple[str, str, tuple[int, int] | None]]:
    """Id, file name and size (width, height) of the images, by id; size as in `read_size`.

    Raises ValueError for a repeated id or file, and for an image without a name.
    """
    images = []
    for entry in entries.read("images", "image"):
        size = entry.parsed("width or height", lambda image: read_size([image.get("width"), image.get("height")]))
        images.append((entry.key(), picture_name(entries.file, entry.text("file_name"), folder), size))
    refuse_repeated(entries.file, "images", (key for key, _, _ in images))
    refuse_repeated(entries.file, "images", (name for _, name, _ in images), "file_name")
    return sorted(images, key=lambda image: _order(image[0]))


def _order(key: str) -> tuple[bool, int, str]:
    """Ids in order: numbers by size, then texts."""
    number = key.removeprefix("-")
    return (False, int(key), key) if number.isascii() and number.isdigit() and len(key) < 1000 else (True, 0, key)


def _read_objects(entries: _Entries, categories: dict[str, str], images: set[str]) -> dict[str, list[AnnotatedObject]]:
    """The objects by the id of their image; annotations of unlisted images are left out and counted in the log.

    Raises ValueError for a repeated id, an unknown category, and an invalid box or flag.
    """
    objects: dict[str, list[AnnotatedObject]] = {}
    strays = []
    for entry in entries.read("annotations", "annotation"):
        image, category = entry.key("image_id"), entry.key("category_id")
        if category not in categories:
            given = shown(entry.content["category_id"])
            raise entry.error(f"has the category_id {given}, which is none of the categories")
        if image not in images:
            strays.append(str(entry))
        elif entry.content.get("bbox") in (None, []):
            raise entry.error("has no bbox; give it one, or take it out")
        else:
            box, ignored = entry.parsed("bbox or iscrowd", _read_box)
            objects.setdefault(image, []).append(AnnotatedObject(categories[category], box, ignored))
    named = (entry for entry in entries.read("annotations", "annotation") if entry.content.get("id") is not None)
    refuse_repeated(entries.file, "annotations", (entry.key() for entry in named))
    if strays:
        tell_left_out(entries.file, "annotations of unlisted images", strays)
    return objects


def _read_box(annotation: dict[str, Any]) -> tuple[list[float], bool]:
    """Edges (left, top, right, bottom) of COCO's (left, top, width, height), and whether it is a crowd's."""
    left, top, width, height = read_box(annotation["bbox"])
    return read_box([left, top, left + width, top + height]), read_flag(annotation.get("iscrowd"))
