"""Own photos of one thing as a dataset of a profile: some to learn from, the others to test on, each with a box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import tqdm

from vwlib.concepts import DATASETS, find_dataset
from vwlib.datasets.folders import read_photos
from vwlib.datasets.pictures import BOXES
from vwlib.datasets.source import PHOTOS, SPLITS
from vwlib.examples import Example
from vwlib.models.loading import resolve
from vwlib.settings import PhotoSettings, Profile

if TYPE_CHECKING:
    from vwlib.models.detection import Detector


def with_photos(profile: Profile, folder: str, name: str = "", beside: str = "DreamBooth") -> Profile:
    """The profile with a folder of own photos as its dataset "photos".

    The thing is called `name` or by its folder's name. It is told from the things of `beside`, one of the four datasets
    or a folder with a folder of pictures for each; one with its name is left out. Folders are relative to the project's
    root. Raises FileNotFoundError for a missing folder.
    """
    root = resolve(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"The folder {root} is missing; name one with some pictures of one thing.")
    if beside.lower() in map(str.lower, DATASETS):
        beside = find_dataset(beside)
    elif not beside or not resolve(beside).is_dir():
        neither = f"neither one of {', '.join(DATASETS)} nor a folder with a folder of pictures for each thing"
        raise FileNotFoundError(f"'{beside}' is {neither}.")
    photos = PhotoSettings(folder=str(root), name=name.strip() or root.name.replace("_", " "), beside=beside)
    return profile.model_copy(update={"photos": photos})


def photo_settings(profile: Profile) -> PhotoSettings:
    """Which photos a profile has. Raises ValueError if it has none."""
    if profile.photos is None:
        raise ValueError(f"The profile '{profile.name}' has no '{PHOTOS}': give it a folder with `with_photos` first.")
    return profile.photos


def own_examples(profile: Profile, split: str, detector: Callable[[], Detector]) -> list[Example]:
    """The profile's own photos of one split; `detector` loads the model that proposes boxes for photos without any.

    Raises ValueError if no photo gets a box, and ValueError and FileNotFoundError as `vwlib.datasets` does.
    """
    photos = photo_settings(profile)
    examples = read_photos(resolve(photos.folder), photos.name, split)
    if bare := [example for example in examples if not len(example.boxes)]:
        proposed = propose_boxes(detector(), bare, {photos.name: photos.name})
        boxes = {path: np.array([box], np.float32) for path, box in proposed.items()}
        examples = [replace(e, boxes=boxes[e.path], names=[e.label]) if e.path in boxes else e for e in examples]
    if not any(len(example.boxes) for example in examples):
        advice = f"give them boxes in a file {BOXES} beside them"
        raise ValueError(f"The detector finds no '{photos.name}' in the pictures of {photos.folder}; {advice}.")
    return examples


def propose_boxes(detector: Detector, examples: Sequence[Example], names: dict[str, str]) -> dict[Path, list[float]]:
    """The box (left, top, right, bottom) in px that most likely shows each picture's concept, if it has an area.

    `names` gives the prompt name of each concept.
    """
    bar = tqdm(examples, desc="looking for boxes", unit="picture", delay=0.5, leave=False)
    # One at a time: photographs are large.
    boxes = {example.path: best_box(detector, example, names[example.label]) for example in bar}
    return {path: box for path, box in boxes.items() if box[0] < box[2] and box[1] < box[3]}


def best_box(detector: Detector, example: Example, name: str) -> list[float]:
    """The box (left, top, right, bottom) in px, clipped to the picture, that most likely shows a thing by name."""
    from vwlib.models.base import CachedFeatures  # brings torch along

    image = example.image()
    found, text = detector.encode_images([image]), detector.encode_names([name])
    best = detector.detect(text, CachedFeatures([example.label], found))[0, 0].argmax()
    edges = (found["box"][0, best] * max(image.size)).tolist()
    return [round(min(max(edge, 0), side), 1) for edge, side in zip(edges, image.size * 2, strict=True)]


def describe_photos(profile: Profile) -> str:
    """A notice: how many photos a profile has, how they are split, and where their boxes come from."""
    photos = photo_settings(profile)
    train, test = (read_photos(resolve(photos.folder), photos.name, split) for split in SPLITS)
    bare = sum(not len(example.boxes) for example in (*train, *test))
    taken = min(len(train), profile.train_images), min(len(test), profile.test_images)
    split = f"{taken[0]} to learn from, and {taken[1]} held out for testing"
    boxes = f"All have boxes in {BOXES}."
    if bare:
        boxes = (
            f"{bare} of them have no box in {BOXES}: for these the detector proposes one for '{photos.name}', so its "
            "score measures agreement with that name, not with you. `vwlib boxes --photos` writes the proposals for "
            "you to correct."
        )
    return f"There are {len(train) + len(test)} pictures of the thing: {split}. {boxes}"
