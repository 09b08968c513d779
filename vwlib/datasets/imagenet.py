"""ImageNet's images for classification and localisation (CLS-LOC)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vwlib.concepts import Concept
from vwlib.datasets.pictures import FolderIndex, list_images, to_upright
from vwlib.datasets.source import AnnotatedObject, Source, files_split, find_folder
from vwlib.datasets.voc import read_annotation
from vwlib.examples import Example


def read_imagenet(root: Path, concepts: Sequence[Concept], split: str) -> list[Example]:
    """ImageNet's CLS-LOC: train is the training set, test the validation set.

    Images lie in a folder per class or, as the validation set does, flat with the class in each image's XML. Images
    without XML have no boxes but those of `boxes.json`. Boxes count from 0, right and bottom exclusive. The XML's size
    may be that of a scaled copy: boxes are taken as shares of it. A size of another shape is refused.
    """
    part = files_split(split)
    data = find_folder(root, "no ImageNet images", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", ".", holding=part)
    above = data.parents[1] if data.name == "CLS-LOC" else data
    annotations = FolderIndex(above / "Annotations" / "CLS-LOC" / part, (".xml",))
    source = Source("ImageNet", root, concepts)
    images = data / part
    by_class = part == "train" or any((images / concept.label).is_dir() for concept in concepts)
    examples = _of_classes(source, images, annotations) if by_class else _flat(source, images, annotations)
    return source.checked(examples, images)


def _of_classes(source: Source, images: Path, annotations: FolderIndex) -> list[Example | None]:
    """The examples of a folder per class."""
    examples = []
    for concept in source.concepts:
        for path in list_images(images / concept.label):
            xml = [*annotations.find(f"{concept.label}/{path.stem}"), *annotations.find(path.stem)]
            if xml:
                stated, objects, _ = read_annotation(xml[0])
                examples.append(_example(source, path, stated, objects, concept.name))
            else:
                examples.append(source.boxed_apart(path, concept))
    return examples


def _flat(source: Source, images: Path, annotations: FolderIndex) -> list[Example | None]:
    """The examples of one folder of all classes."""
    examples = []
    for path in list_images(images):
        xml = annotations.find(path.stem) or [annotations.folder / f"{path.stem}.xml"]
        stated, objects, _ = read_annotation(xml[0])
        if any(source.concept_of(thing.label) for thing in objects):
            examples.append(_example(source, path, stated, objects))
    return examples


def _example(
    source: Source, path: Path, stated: tuple[int, int] | None, objects: list[AnnotatedObject], label: str | None = None
) -> Example | None:
    """An example whose objects are in px of a picture of the `stated` size, perhaps a copy."""
    size, boxes = to_upright(path, stated, np.array([thing.box for thing in objects], float).reshape(-1, 4))
    moved = [thing._replace(box=box) for thing, box in zip(objects, boxes, strict=True)]
    return source.example(path, moved, size, label)
