"""An image and what it shows, and the reading of pictures as cameras, phones and datasets store them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image, ImageOps

pillow_heif.register_heif_opener()  # phones write HEIF, often under the name of another format

#: The longest side of a picture in units of the shortest. No model sees anything in a thinner one.
LONGEST = 100
#: The most px of a picture: as many as phones take (108 million). Reading one fills almost a gigabyte.
MOST_PIXELS = 110_000_000

_STRIP = 256  # rows of a transparent picture that are put on white at once
_NO_BOXES = np.zeros((0, 4), np.float32)


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
    #: (box, 4), VOC's difficult objects and COCO's crowds: neither right nor wrong
    ignored_boxes: np.ndarray = field(default_factory=lambda: _NO_BOXES)
    ignored_names: list[str] = field(default_factory=list)
    style: str | None = None  #: drawing style of the main object; None for photographs
    #: (width, height) in px that the annotation states, while it is not yet compared with the picture
    size: tuple[int, int] | None = None

    def image(self) -> Image.Image:
        """The picture, upright and RGB; read anew at every call."""
        return load_image(self.path)

    def boxes_of(self, concept: str) -> np.ndarray:
        """The boxes (box, 4) of one concept."""
        return self.boxes[[name == concept for name in self.names]]


class Pictures(Sequence[Image.Image]):
    """The pictures of examples, each read when asked for: photographs are large, and models take one at a time."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: Any) -> Any:
        """The picture at an index, or the unread pictures of a slice."""
        return Pictures(self.examples[index]) if isinstance(index, slice) else self.examples[index].image()


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
