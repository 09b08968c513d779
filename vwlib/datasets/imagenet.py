"""ImageNet's images for classification and localisation (CLS-LOC)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vwlib.concepts import Concept
from vwlib.datasets.pictures import FolderIndex, list_images, to_upright
from vwlib.datasets.source import Source, files_split, find_folder
from vwlib.datasets.voc import read_annotation
from vwlib.examples import Example


def read_imagenet(root: Path, concepts: Sequence[Concept], split: str) -> list[Example]:
    """ImageNet's CLS-LOC: train is the training set, test the validation set.

    Images are in a folder per class or, as in the validation set, in one folder with the class in each image's XML.
    Images without XML have the boxes of `boxes.json`. Boxes count from 0, right and bottom exclusive, in px of the
    XML's size, which may be that of a scaled copy; a size of another shape is refused.
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
            examples.append(_example(source, path, xml[0], concept) if xml else source.boxed_apart(path, concept))
    return examples


def _flat(source: Source, images: Path, annotations: FolderIndex) -> list[Example | None]:
    """The examples of one folder of all classes."""
    examples = []
    for path in list_images(images):
        xml = annotations.find(path.stem) or [annotations.folder / f"{path.stem}.xml"]
        examples.append(_example(source, path, xml[0]))
    return examples


def _example(source: Source, path: Path, xml: Path, concept: Concept | None = None) -> Example | None:
    """The example of an image with its annotation, of a known concept or of its largest box's."""
    stated, objects, _ = read_annotation(xml)
    if concept is None and not any(source.concept_of(thing.label) for thing in objects):
        return None  # the picture need not be opened
    size, boxes = to_upright(path, stated, np.array([thing.box for thing in objects], float).reshape(-1, 4))
    moved = [thing._replace(box=box) for thing, box in zip(objects, boxes, strict=True)]
    return source.example(path, moved, size, concept.name if concept else None)
