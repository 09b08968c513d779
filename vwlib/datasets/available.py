"""What of a dataset is there, where not all of it has to be; and where the real datasets are published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vwlib.concepts import Concept
from vwlib.datasets import load_dataset
from vwlib.examples import Example

#: Where the real datasets are published, how big they are, and which of their files are needed.
ORIGINS = {
    "ImageNet": "ILSVRC2012 CLS-LOC with its Annotations (image-net.org after registration, or Kaggle's "
    "imagenet-object-localization-challenge; 155 GB)",
    "DreamBooth": "github.com/google/dreambooth (110 MB), its folder `dataset`",
    "COCO": "train2017.zip, val2017.zip and annotations_trainval2017.zip from cocodataset.org (20 GB)",
    "PASCAL": "VOCtrainval_11-May-2012.tar from the PASCAL VOC site (2 GB)",
}


def read_split(
    dataset: str, folder: Path, concepts: Sequence[Concept], split: str
) -> tuple[list[Example], dict[str, str]]:
    """Whatever examples there are of a split, and a sentence for each concept with which something is wrong."""
    try:
        return load_dataset(dataset, folder, concepts, split), {}
    except (ValueError, FileNotFoundError) as error:
        if dataset not in ("ImageNet", "DreamBooth"):  # the annotations of all classes are in the same files
            return [], dict.fromkeys((concept.name for concept in concepts), str(error))
    examples, complaints = [], {}
    for concept in concepts:  # a class a folder: some may be there
        try:
            examples += load_dataset(dataset, folder, [concept], split)
        except (ValueError, FileNotFoundError) as error:
            complaints[concept.name] = str(error)
    return examples, complaints
