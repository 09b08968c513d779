"""Pictures in files: reading them as phones and datasets store them, and where boxes lie once they are upright."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pillow_heif
from PIL import Image, ImageOps

from vwlib.datasets.reading import tell_left_out
from vwlib.examples import Example

pillow_heif.register_heif_opener()  # phones write HEIF, often under the name of another format

#: The longest side of a picture in units of the shortest. No model sees anything in a thinner one.
LONGEST = 100
#: The most px of a picture: as many as phones take (108 million). Reading one fills almost a gigabyte.
MOST_PIXELS = 110_000_000
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".avif", ".heic", ".heif"),
)
BOXES = "boxes.json"
STYLES = "styles.json"

_ORIENTATION = 0x0112  # EXIF tag
_STRIP = 256  # rows of a transparent picture that are put on white at once


@dataclass(frozen=True, eq=False)
class FileExample(Example):
    """An example whose picture is the file at its `path`; it is read anew at every call."""

    def image(self) -> Image.Image:
        """The picture, upright and RGB. Raises as `load_image`."""
        return load_image(self.path)


def load_image(path: Path) -> Image.Image:
    """Read a picture upright (EXIF orientation applied) and as RGB; transparent parts turn white.

    Raises FileNotFoundError for a missing file. Raises ValueError for a picture that cannot be read to its end, has
    more than `MOST_PIXELS` or is more than `LONGEST` times longer than wide.
    """
    with open_picture(path) as file:
        ImageOps.exif_transpose(file, in_place=True)  # the first picture of a multi-picture file
        return _as_rgb(file)


def _as_rgb(picture: Image.Image) -> Image.Image:
    """The picture as RGB, on white. Raises ValueError for pixels of 32 bits, which have no common scale."""
    if picture.mode in ("I", "F"):
        raise ValueError(f"its pixels are numbers of 32 bits (mode {picture.mode}), which have no common scale")
    if picture.mode.startswith("I;16"):
        grey = np.asarray(picture).astype(np.uint16)  # in the byte order of the machine
        picture = Image.fromarray(grey).point(lambda value: value / 257, "L")  # Pillow would clip 16-bit grey at 255
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    white = Image.new("RGB", picture.size, "white")
    for top in range(0, picture.height, _STRIP):  # all at once would take several times the picture's memory
        strip = picture.crop((0, top, picture.width, min(top + _STRIP, picture.height))).convert("RGBA")
        ground = Image.new("RGBA", strip.size, "white")
        white.paste(Image.alpha_composite(ground, strip).convert("RGB"), (0, top))
    return white


@contextmanager
def open_picture(path: Path) -> Iterator[Image.Image]:
    """The picture at `path`, opened. Every error, also one raised inside, becomes one sentence.

    Raises FileNotFoundError and ValueError as `load_image` does.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"The image {path} is no picture, but a folder or a device.")
    problem = "is truncated or no picture"
    too_large = f"has more than {MOST_PIXELS // 10**6} million px; scale it down"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow warns of, it reads all the same
            with Image.open(path) as file:
                width, height = file.size
                if max(width, height) > LONGEST * min(width, height):
                    problem = f"is more than {LONGEST} times as long as wide in px; cut it"
                elif width * height > MOST_PIXELS:
                    problem = too_large
                else:
                    yield file
                    return
                raise ValueError(f"{width} × {height}")
    except FileNotFoundError:
        raise FileNotFoundError(f"The image {path} is missing.") from None
    except Exception as error:  # whatever a decoder makes of broken bytes
        problem = too_large if isinstance(error, Image.DecompressionBombError) else problem
        raise ValueError(f"The image {path} {problem} ({' '.join(str(error).split())}).") from error


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
        tell_left_out(folder, "files that are no pictures", others)
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
    """Whether it is a file or a broken link, which is refused when it is opened, but no folder or device."""
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
