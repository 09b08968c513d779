"""Readers of the four real on-disk formats and of own photos, and the choice of training and test images.

* ImageNet: `ILSVRC/{Data,Annotations}/CLS-LOC/{train/<wnid>,val}`, or `{train,val}/<wnid>` alone; boxes in XML or
  `boxes.json`
* DreamBooth: `dataset/<subject>`, perhaps `test/<subject>`; boxes in `boxes.json`
* COCO: `annotations/instances_{train,val}2017.json`, `{train,val}2017` (or 2014); boxes in the json
* PASCAL: `VOCdevkit/VOC2012/{Annotations,JPEGImages,ImageSets/Main}`; boxes in VOC XML

An ImageNet or DreamBooth image is labelled by its class or subject, a COCO or PASCAL image by its largest box.

Two optional files name images by their path below their folder. `boxes.json`, in the dataset's folder or in any folder
between it and the image, gives boxes (left, top, right, bottom) to images without others. `styles.json`, in the
dataset's folder, gives the drawing style of generated images.

Numbers, ids and flags may be text. Pictures may have any suffix that Pillow reads, in any case. Classes may be called
as in the dataset or as in the book (aeroplane, airplane). An image without a stated size (absent, empty, 0 or -1) has
its picture's.

Missing or broken files raise FileNotFoundError or ValueError with one sentence that names the file; so do two images of
one id or file, an object without a box or a class, and invalid values. The log names once what is left out: files that
are no pictures, annotations of unlisted images, and boxes without an area. Boxes that reach beyond the picture are
clipped, corners in the wrong order (ImageNet) are swapped, and boxes without an area (COCO, ImageNet) are left out; in
`boxes.json`, which a person writes, the same flaws are refused.
"""

from collections.abc import Sequence
from pathlib import Path

from vwlib.concepts import FRESH, Concept, find_dataset
from vwlib.datasets.coco import read_coco
from vwlib.datasets.folders import read_dreambooth
from vwlib.datasets.imagenet import read_imagenet
from vwlib.datasets.voc import read_voc
from vwlib.examples import Example

#: Where the real datasets are published, how big they are, and which of their files are needed.
ORIGINS = {
    "ImageNet": "ILSVRC2012 CLS-LOC with its Annotations (image-net.org after registration, or Kaggle's "
    "imagenet-object-localization-challenge; 155 GB)",
    "DreamBooth": "github.com/google/dreambooth (110 MB), its folder `dataset`",
    "COCO": "train2017.zip, val2017.zip and annotations_trainval2017.zip from cocodataset.org (20 GB)",
    "PASCAL": "VOCtrainval_11-May-2012.tar from the PASCAL VOC site (2 GB)",
}
_READERS = {"ImageNet": read_imagenet, "DreamBooth": read_dreambooth, "COCO": read_coco, "PASCAL": read_voc}


def load_dataset(dataset: str, root: Path | str, concepts: Sequence[Concept], split: str) -> list[Example]:
    """All images of one split that show one of the concepts, in a fixed order; `split` is "train" or "test".

    Raises ValueError for an unknown dataset or split and for malformed files, FileNotFoundError for missing ones.
    """
    return _READERS[FRESH.get(dataset) or find_dataset(dataset)](Path(root), concepts, split)


def read_split(
    dataset: str, folder: Path, concepts: Sequence[Concept], split: str
) -> tuple[list[Example], dict[str, str]]:
    """The examples of a split that can be read, and a sentence about each concept that cannot."""
    try:
        return load_dataset(dataset, folder, concepts, split), {}
    except (ValueError, FileNotFoundError) as error:
        if dataset not in ("ImageNet", "DreamBooth"):  # the annotations of all classes are in the same files
            return [], dict.fromkeys((concept.name for concept in concepts), str(error))
    examples, problems = [], {}
    for concept in concepts:  # each has a folder of its own
        try:
            examples += load_dataset(dataset, folder, [concept], split)
        except (ValueError, FileNotFoundError) as error:
            problems[concept.name] = str(error)
    return examples, problems
