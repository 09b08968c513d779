"""The committed example of own photos: pictures of one orange guitar, with boxes, drawn as DreamBooth's instances are.

The drawing's style is held out of pretraining and its colour is turned, so that no model has seen it; no other dataset
shows it. The turn is small, as in `world.INSTANCES` and for the same reason: of a green or a blue guitar the denoiser
makes no guitar (of turns by 0.07, 0.45, 0.6 and 0.93, words learned for generation from "bell" came to 1, 0, 0 and 0.5
of four pictures).
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np

from vwlib.files import write_whole
from vwlib.miniature.scenes import HELD_OUT_STYLE, LAYOUTS, Drawing, compose
from vwlib.miniature.sprites import load_sprites
from vwlib.paths import DATA

EXAMPLE = DATA / "example" / "guitar"
THING = Drawing("guitar", HELD_OUT_STYLE, hue=0.07)


def write_example(folder: Path = EXAMPLE, count: int = 8, size: int = 96, seed: int = 1) -> Path:
    """Draw `count` pictures of `size` × `size` px, and write them with their boxes.

    The same arguments give the same pictures.
    """
    boxes = {}
    for number in range(count):
        scene = compose(np.random.default_rng((seed, number)), load_sprites(), [THING], LAYOUTS["DreamBooth"], size)
        buffer = io.BytesIO()
        scene.image.save(buffer, "PNG", optimize=True)
        write_whole(folder / f"{number:02d}.png", buffer.getvalue())
        boxes[f"{number:02d}.png"] = [list(scene.objects[0].box)]
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(rows)}" for name, rows in boxes.items())
    write_whole(folder / "boxes.json", ("{\n" + lines + "\n}\n").encode())
    return folder
