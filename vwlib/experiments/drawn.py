"""Scenes that experiments draw for themselves in the miniature's styles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vwlib.concepts import TASKS
from vwlib.examples import Example
from vwlib.miniature.scenes import LAYOUTS, Drawing, compose
from vwlib.miniature.sprites import load_sprites
from vwlib.settings import Profile

SIDE = 96  # px of a drawn scene, as in the miniature's datasets
COLOURS = ("orange", "blue", "green", "purple", "red")
LAYOUT = "DreamBooth"  # the dataset whose layout the scenes have, unless another is named


@dataclass(frozen=True, eq=False)
class Drawn(Example):
    """An example whose picture is in memory."""

    picture: Image.Image | None = None

    def image(self) -> Image.Image:
        """The picture."""
        assert self.picture is not None
        return self.picture


def draw_examples(label: str, drawings: Sequence[Drawing], seed: tuple[int, ...], dataset: str = LAYOUT) -> list[Drawn]:
    """One scene for each drawing, in a dataset's layout, all of them called `label`; place and background vary with
    `seed`.
    """
    examples = []
    for index, drawing in enumerate(drawings):
        scene = compose(np.random.default_rng((*seed, index)), load_sprites(), [drawing], LAYOUTS[dataset], SIDE)
        box = np.array([scene.objects[0].box], np.float32)
        examples.append(Drawn(dataset, Path(f"{label} {index}"), label, box, [label], picture=scene.image))
    return examples


def tasks_of_the_miniature(profile: Profile) -> list[dict[str, str]]:
    """Each task where the models know the miniature's drawings; no case elsewhere, since photographs are not drawn."""
    return [{"task": task} for task in TASKS] if profile.world == "miniature" else []


def image_counts(profile: Profile, test_images: int) -> tuple[int, int]:
    """How many pictures of a thing are drawn to learn from and to test on."""
    return profile.train_images, min(profile.test_images, test_images)
