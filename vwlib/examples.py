"""An image and what it shows, as models and the study read it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_NO_BOXES = np.zeros((0, 4), np.float32)


@dataclass(frozen=True, eq=False)
class Example(ABC):
    """An image and what it shows; subclasses say where the picture is, `vwlib.datasets.pictures.FileExample` in a file.

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

    @abstractmethod
    def image(self) -> Image.Image:
        """The picture, upright and RGB."""

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
