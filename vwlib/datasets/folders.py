"""Folders of pictures, one for each thing: DreamBooth's subjects and own photos."""

import os
from collections.abc import Sequence
from pathlib import Path

from vwlib.concepts import Concept
from vwlib.datasets.pictures import BOXES, is_picture_name, list_images
from vwlib.datasets.reading import tell, tell_left_out
from vwlib.datasets.source import PHOTOS, Source, files_split, find_folder, read_boxes
from vwlib.examples import Example


def read_dreambooth(root: Path, concepts: Sequence[Concept], split: str) -> list[Example]:
    """DreamBooth's folders, one per subject; boxes only from `boxes.json` (the paper's were OWL-v2's, checked by hand).

    A folder `test` next to `dataset` holds the test images. The published data has none: there the last third of a
    subject's images by name, rounded down but at least one, is held out (1 of 4 or 5, 2 of 6).
    """
    part = files_split(split)
    subjects = find_folder(root, "no DreamBooth subjects", "dataset", ".")
    source = Source("DreamBooth", root, concepts)
    examples = []
    for concept in concepts:
        if (root / "test").is_dir():
            paths = list_images((subjects if part == "train" else root / "test") / concept.label)
        else:
            paths = _held_out(subjects / concept.label, part)
        examples += [source.boxed_apart(path, concept) for path in paths]
    return examples


def read_photos(folder: Path | str, name: str | None = None, split: str | None = None) -> list[Example]:
    """Own photos of one thing, called `name` or by its folder's name; boxes only from `boxes.json`.

    Without a `split` all of them, otherwise split as DreamBooth's published data.
    """
    folder = Path(folder)
    examples = _read_thing(folder, folder, name or folder.resolve().name, split)
    _tell_boxes_above(folder)
    return examples


def read_things(root: Path, split: str) -> list[Example]:
    """Photos of several things, each in a folder in `root` with its name.

    Raises FileNotFoundError if there is no such folder, and as `read_photos` does.
    """
    entries = sorted(root.iterdir()) if root.is_dir() else []
    folders = [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    if not folders:
        raise FileNotFoundError(f"The folder {root} holds no folder of pictures for each thing.")
    if loose := [entry.name for entry in entries if is_picture_name(entry.name) and entry.is_file()]:
        tell_left_out(root, "pictures outside the things' folders", loose)
    return [example for folder in folders for example in _read_thing(root, folder, folder.name, split)]


def _read_thing(root: Path, folder: Path, name: str, split: str | None) -> list[Example]:
    """The photos in `folder`; their boxes are there or in a folder above it, up to `root`."""
    concept = Concept(PHOTOS, name, "", name, name, "", "")
    source = Source(PHOTOS, root, [concept])
    paths = _held_out(folder, files_split(split)) if split else list_images(folder)
    return [source.boxed_apart(path, concept) for path in paths]


def _held_out(folder: Path, part: str) -> list[Path]:
    """The pictures of one thing to test on, the last third by name but at least one, or the others to train on.

    Raises ValueError if there are fewer than two.
    """
    paths = list_images(folder)
    if len(paths) < 2:
        raise ValueError(f"{folder} holds 1 image, but 2 are needed: one for training and one for testing.")
    held_out = max(1, len(paths) // 3)
    return paths[:-held_out] if part == "train" else paths[-held_out:]


def _tell_boxes_above(folder: Path) -> None:
    """Log that a `boxes.json` above a folder of own photos, with boxes for them, is not read."""
    place = folder.resolve()
    for above in place.parents[:2]:
        if os.path.isfile(above / BOXES):
            try:
                names = list(read_boxes(above))
            except (ValueError, FileNotFoundError):
                continue  # it may be anything
            if any((above / name).is_relative_to(place) for name in names):
                tell(f"{above / BOXES} has boxes for pictures in {folder}, but is not read; put {BOXES} there.")
