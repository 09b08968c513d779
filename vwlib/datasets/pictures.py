"""Pictures in folders: which files are pictures, how large they are, and where a box lies once one is upright."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from vwlib.datasets.reading import name_some, tell
from vwlib.examples import open_picture

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".avif", ".heic", ".heif"),
)
BOXES = "boxes.json"
STYLES = "styles.json"

_ORIENTATION = 0x0112  # EXIF tag


def list_images(folder: Path) -> list[Path]:
    """The pictures of a folder, by name. The log names other files, except hidden ones, boxes.json and styles.json.

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
    """Whether the suffix is that of a picture."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder, by name; none where it is missing. Raises ValueError where it may not be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ValueError(f"The folder {folder} cannot be read ({error.strerror}).") from error


def _may_be_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file or a broken link, which is refused where it is opened; no folder and no device."""
    return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))


class FolderIndex:
    """The files of a folder, and of those below it, by name without suffix. Suffixes may be in any case."""

    def __init__(self, folder: Path, suffixes: Sequence[str]) -> None:
        self.folder, self.suffixes = folder, suffixes
        #: Each folder is listed once: annotations come by the ten thousand.
        self._listed: dict[PurePosixPath, dict[str, list[Path]]] = {}

    def find(self, name: str) -> list[Path]:
        """The files of this name, which may lead into a folder; suffixes in lower case come first."""
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


def picture_sizes(path: Path) -> tuple[tuple[int, int], tuple[int, int], int]:
    """Size (width, height) in px of the picture as stored, its size upright, and its EXIF orientation."""
    with open_picture(path) as file:
        size, orientation = file.size, file.getexif().get(_ORIENTATION, 1)
        turned = (size[1], size[0]) if orientation in (5, 6, 7, 8) else size
        if file.format == "TIFF":  # Pillow gives its upright size
            size, turned = turned, size
    return size, turned, orientation


def to_upright(path: Path, size: tuple[int, int] | None, boxes: np.ndarray) -> tuple[tuple[int, int], np.ndarray]:
    """The upright picture's size and the boxes (box, 4) in its px, from boxes in px of a copy of `size`.

    The copy may be scaled, and may not yet be turned upright. Raises ValueError where the picture is of another shape.
    """
    stored, upright, orientation = picture_sizes(path)
    if size is None or size == upright:
        return upright, boxes
    if min(_misfit(size, stored), _misfit(size, upright)) > 1:
        real, stated = (" × ".join(map(str, sides)) for sides in (upright, size))
        problem = f"is {real} px, but its annotation is for {stated} px; one of the two is not the original"
        raise ValueError(f"The image {path} {problem}.")
    left, top, right, bottom = (boxes.astype(float) / [*size, *size]).T
    if orientation in (6, 8) and (size[0] > size[1]) == (stored[0] > stored[1]):  # annotated as it is stored
        if orientation == 6:
            left, top, right, bottom = 1 - bottom, left, 1 - top, right
        else:
            left, top, right, bottom = top, 1 - right, bottom, 1 - left
    return upright, np.stack([left, top, right, bottom], -1) * [*upright, *upright]


def _misfit(size: tuple[int, int], other: tuple[int, int]) -> float:
    """Scale the larger size to the longer side of the smaller; return the largest difference of their sides in px."""
    small, large = sorted((size, other), key=max)
    scale = max(small) / max(large)
    return max(abs(a * scale - b) for a, b in zip(large, small, strict=True))
