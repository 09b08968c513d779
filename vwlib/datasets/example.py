"""The committed example of own photos: pictures of one orange guitar, with boxes, drawn as DreamBooth's instances are.

No other dataset shows it, and no model has seen it: the drawing's style is held out of pretraining and its hue is
turned. The turn is small, because the denoiser draws no green or blue guitar: turned by 0.07, 0.45, 0.6 and 0.93, words
learned for generation from "bell" scored 1, 0, 0 and 0.5 on four pictures.
"""

import io
from pathlib import Path

import numpy as np

from vwlib.datasets.source import write_boxes
from vwlib.files import write_whole
from vwlib.miniature.scenes import HELD_OUT_STYLE, LAYOUTS, Drawing, compose
from vwlib.miniature.sprites import load_sprites
from vwlib.paths import DATA

EXAMPLE = DATA / "example" / "guitar"
THING = Drawing("guitar", HELD_OUT_STYLE, hue=0.07)


def write_example(folder: Path = EXAMPLE, count: int = 8, size: int = 96, seed: int = 1) -> Path:
    """Draw `count` pictures of `size` × `size` px and write them with their boxes; the same arguments give the same."""
    boxes = {}
    for number in range(count):
        scene = compose(np.random.default_rng((seed, number)), load_sprites(), [THING], LAYOUTS["DreamBooth"], size)
        scene.image.save(buffer := io.BytesIO(), "PNG", optimize=True)
        write_whole(folder / f"{number:02d}.png", buffer.getvalue())
        boxes[f"{number:02d}.png"] = [scene.objects[0].box]
    write_boxes(folder, boxes)
    return folder
