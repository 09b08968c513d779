"""Boxes for pictures that have none: the detector proposes, a person corrects the file.

The paper made its DreamBooth boxes in the same way: OWL-v2, asked for the subject's name, then checked by hand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from vwlib.concepts import concepts_of
from vwlib.datasets import load_dataset
from vwlib.datasets.folders import read_photos
from vwlib.datasets.photos import propose_boxes
from vwlib.datasets.pictures import BOXES
from vwlib.datasets.source import SPLITS, read_boxes
from vwlib.datasets.splits import dataset_folder, open_lab
from vwlib.examples import Example
from vwlib.files import write_whole
from vwlib.settings import Profile

DATASET = "DreamBooth"  # the only one of the four that has no boxes


def box_pictures(profile: Profile, photos: Path | None = None) -> str:
    """Propose boxes for the profile's DreamBooth pictures, or for a folder of own photos named after the thing, and
    return a notice of how many there are.

    Raises ValueError and FileNotFoundError as `vwlib.datasets` does.
    """
    if photos is not None:
        root, examples = photos, read_photos(photos)
        names = {example.label: example.label for example in examples}
    else:
        root, concepts = dataset_folder(profile, DATASET), concepts_of(DATASET, profile.world)
        examples = [example for split in SPLITS for example in load_dataset(DATASET, root, concepts, split)]
        names = {concept.name: concept.prompt_name for concept in concepts}
    unboxed = [example for example in examples if not len(example.boxes)]
    boxes = propose_boxes(open_lab(profile).detector, unboxed, names) if unboxed else []
    added = write_proposals(root, unboxed, boxes) if unboxed else 0
    units = "(left, top, right, bottom) in px of the upright picture"
    return f"{added} of {len(examples)} pictures got a box in {root / BOXES}; check them there, {units}."


def write_proposals(root: Path, examples: Sequence[Example], boxes: Sequence[Sequence[float]]) -> int:
    """Add boxes to `boxes.json` beside the data, a line a picture, and return how many were added.

    Boxes that the file has stay: a person may have corrected them. A box without an area is not written. Raises
    ValueError where the file is malformed.
    """
    known = read_boxes(root)
    added = {}
    for example, (left, top, right, bottom) in zip(examples, boxes, strict=True):
        name = example.path.relative_to(root).as_posix()
        if name not in known and left < right and top < bottom:
            added[name] = [[left, top, right, bottom]]
    lines = [f"{json.dumps(name)}: {json.dumps(rows)}" for name, rows in sorted((known | added).items())]
    write_whole(root / BOXES, ("{\n" + ",\n".join(lines) + "\n}\n").encode())
    return len(added)
