"""Choosing the images that a word is learned from and tested on."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from vwlib.datasets.pictures import to_upright
from vwlib.datasets.source import PHOTOS
from vwlib.examples import Example

#: Datasets with few pictures of each thing: a word may be learned from fewer than the wanted number.
FEWER_ALLOWED = ("DreamBooth", PHOTOS)


def training_examples(examples: Sequence[Example], concept: str, count: int = 8, seed: int = 0) -> list[Example]:
    """`count` images of a concept to learn a word from, drawn with `seed` from the examples of a training split.

    If some of the concept's images have boxes, only those are drawn, so all three tasks learn from the same images.
    DreamBooth and own photos may have fewer than `count`. Raises ValueError for too few images and for a picture whose
    size is not that of its annotation, FileNotFoundError for a missing picture.
    """
    usable = _usable(examples, concept)
    enough = min(count, 1) if usable and usable[0].dataset in FEWER_ALLOWED else count
    if len(usable) < enough:
        boxed = " with boxes" if any(len(example.boxes) for example in usable) else ""
        raise ValueError(f"Too few training images of '{concept}'{boxed}: {len(usable)} found, {enough} needed.")
    return [_fitted(example) for example in _draw(usable, count, seed)]


def test_examples(
    examples: Sequence[Example], concepts: Iterable[str], count: int | None = None, seed: int = 0
) -> list[Example]:
    """Up to `count` images of each concept, without a count all, from the examples of a test split.

    They are chosen and refused as in `training_examples`, in the order of the concepts and within each in the order of
    `examples`. Raises ValueError for a concept without images.
    """
    chosen = []
    for concept in concepts:
        usable = _usable(examples, concept)
        if not usable:
            raise ValueError(f"Too few test images of '{concept}': 0 found, 1 needed.")
        drawn = {example.path for example in _draw(usable, len(usable) if count is None else count, seed)}
        chosen += [_fitted(example) for example in usable if example.path in drawn]
    return chosen


test_examples.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test by its name


def _usable(examples: Iterable[Example], concept: str) -> list[Example]:
    shown = [example for example in examples if example.label == concept]
    return [example for example in shown if len(example.boxes_of(concept))] or shown


def _draw(examples: list[Example], count: int, seed: int) -> list[Example]:
    return [examples[i] for i in np.random.default_rng(seed).permutation(len(examples))[:count]]


def _fitted(example: Example) -> Example:
    """The example with its boxes in px of the picture, which may be scaled or turned since it was annotated.

    Only chosen pictures are opened: a dataset has many more.
    """
    if example.size is None:
        return example
    both = np.concatenate([example.boxes, example.ignored_boxes])
    boxes = to_upright(example.path, example.size, both)[1].astype(np.float32)
    count = len(example.boxes)
    return replace(example, boxes=boxes[:count], ignored_boxes=boxes[count:], size=None)
