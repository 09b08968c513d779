"""Readers of the four real on-disk formats and of own photos, and the choice of training and test images.

* ImageNet: `ILSVRC/{Data,Annotations}/CLS-LOC/{train/<wnid>,val}`, or `{train,val}/<wnid>` alone; boxes in XML or
  `boxes.json`
* DreamBooth: `dataset/<subject>`, perhaps `test/<subject>`; boxes in `boxes.json`
* COCO: `annotations/instances_{train,val}2017.json`, `{train,val}2017` (or 2014); boxes in the json
* PASCAL: `VOCdevkit/VOC2012/{Annotations,JPEGImages,ImageSets/Main}`; boxes in VOC XML

An ImageNet or DreamBooth image is labelled by its class or subject, a COCO or PASCAL image by its largest box.

Two optional files give more. `boxes.json` gives boxes (left, top, right, bottom) to images that have no others; it lies
in the dataset's folder or in any folder between it and the image. `styles.json` in the dataset's folder gives the
drawing style of generated images. Both name an image by its path below the folder in which they lie.

Files are read as people have them. Numbers, ids and flags may be text. Pictures may have any suffix that Pillow reads,
in any case. Classes may be called as the dataset calls them or as the book does (aeroplane, airplane). An image without
a stated size (absent, empty, 0 or -1) has its picture's own.

Nothing is dropped silently. Whatever is missing or broken raises FileNotFoundError or ValueError with one sentence that
names the file; so do two images of one id or file, an object without a box or a class, and a value that means nothing,
because an object left out changes what its picture shows. The log names once what is left out: files that are no
pictures, annotations of unlisted images, and boxes without an area.

Known flaws of the published annotations are mended: boxes that reach beyond the picture are clipped, corners in the
wrong order (ImageNet) are put in order, and boxes without an area (COCO, ImageNet) are left out. In `boxes.json`, which
a person writes, the same flaws are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vwlib.concepts import Concept, find_dataset
from vwlib.datasets.coco import read_coco
from vwlib.datasets.folders import read_dreambooth
from vwlib.datasets.imagenet import read_imagenet
from vwlib.datasets.voc import read_voc
from vwlib.examples import Example

_READERS = {"ImageNet": read_imagenet, "DreamBooth": read_dreambooth, "COCO": read_coco, "PASCAL": read_voc}


def load_dataset(dataset: str, root: Path | str, concepts: Sequence[Concept], split: str) -> list[Example]:
    """All images of one split that show one of the concepts, in a fixed order; `split` is "train" or "test".

    Raises ValueError for an unknown dataset or split and for malformed files, FileNotFoundError for missing ones.
    """
    return _READERS[find_dataset(dataset)](Path(root), concepts, split)
