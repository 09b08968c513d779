"""Own photos of one thing as a dataset of a profile: some to learn from, the rest to test on, each with a box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
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

    The thing is called `name` or, without one, as its folder is. It is told from the things of `beside`, which is one
    of the four datasets or a folder with a folder of pictures for each thing; one that bears its name is left out.
    Folders start from the project's root. Raises FileNotFoundError where a folder is missing.
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
    """Which photos a profile has. Raises ValueError where it has none."""
    if profile.photos is None:
        raise ValueError(f"The profile '{profile.name}' has no '{PHOTOS}': give it a folder with `with_photos` first.")
    return profile.photos


def own_examples(profile: Profile, split: str, detector: Callable[[], Detector]) -> list[Example]:
    """The profile's own photos of one split, all with boxes as far as the detector finds any.

    `detector` loads it, if a photo has no box.
    Raises ValueError where none has a box, and otherwise ValueError and FileNotFoundError as `vwlib.datasets` does.
    """
    photos = photo_settings(profile)
    examples = read_photos(resolve(photos.folder), photos.name, split)
    if not all(len(example.boxes) for example in examples):
        examples = with_boxes(detector(), examples)
    if not any(len(example.boxes) for example in examples):
        advice = f"give them boxes in a file {BOXES} beside them"
        raise ValueError(f"The detector finds no '{photos.name}' in the pictures of {photos.folder}; {advice}.")
    return examples


def with_boxes(detector: Detector, examples: Sequence[Example]) -> list[Example]:
    """The examples, each with a box: its own or, where it has none, the one that the detector proposes for its label.

    A proposal without an area is left out.
    """
    bare = [example for example in examples if not len(example.boxes)]
    proposals = propose_boxes(detector, bare, {example.label: example.label for example in bare})
    proposed = {example.path: box for example, box in zip(bare, proposals, strict=True)}
    boxed = []
    for example in examples:
        left, top, right, bottom = proposed.get(example.path, (0, 0, 0, 0))
        if left < right and top < bottom:
            example = replace(example, boxes=np.array([[left, top, right, bottom]], np.float32), names=[example.label])
        boxed.append(example)
    return boxed


def propose_boxes(detector: Detector, examples: Sequence[Example], names: dict[str, str]) -> list[list[float]]:
    """For each picture the box (left, top, right, bottom) in px that the detector finds likeliest to show its concept.

    `names` gives the prompt name of each concept. Pictures are read one at a time, since photographs are large. A
    progress bar appears after half a second.
    """
    bar = tqdm(examples, desc="looking for boxes", unit="picture", delay=0.5, leave=False)
    return [best_box(detector, example, names[example.label]) for example in bar]


def best_box(detector: Detector, example: Example, name: str) -> list[float]:
    """The box (left, top, right, bottom) in px, clipped to the picture, that most likely shows a thing by name."""
    from vwlib.models.base import CachedFeatures  # brings torch along

    image = example.image()
    found, text = detector.encode_images([image]), detector.encode_names([name])
    best = detector.detect(text, CachedFeatures([example.label], found))[0, 0].argmax()
    edges = (found["box"][0, best] * max(image.size)).tolist()
    return [round(min(max(edge, 0), side), 1) for edge, side in zip(edges, image.size * 2, strict=True)]


def describe_photos(profile: Profile) -> str:
    """A notice: how many photos a profile has, how they are split, and where their boxes are from."""
    photos = photo_settings(profile)
    train, test = (read_photos(resolve(photos.folder), photos.name, split) for split in SPLITS)
    bare = sum(not len(example.boxes) for example in (*train, *test))
    taken = min(len(train), profile.train_images), min(len(test), profile.test_images)
    split = f"{taken[0]} to learn from, and {taken[1]} held out for testing"
    boxes = "All have boxes in boxes.json."
    if bare:
        boxes = (
            f"{bare} of them have no box in boxes.json: for these the detector proposes a box for '{photos.name}', so "
            "its score says how far a word agrees with that name, not with you. `vwlib boxes --photos` writes the "
            "proposals for you to correct."
        )
    return f"There are {len(train) + len(test)} pictures of the thing: {split}. {boxes}"
