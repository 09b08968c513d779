"""What the page on the real thing shows: the pictures at hand, how they are read and chosen, and what a run with the
paper's models takes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from PIL import Image

from vwlib.concepts import DATASETS, concepts_of
from vwlib.datasets.available import read_split
from vwlib.datasets.choose import training_examples
from vwlib.datasets.source import SPLITS
from vwlib.datasets.splits import dataset_folder
from vwlib.examples import Example, load_image
from vwlib.models.loading import resolve
from vwlib.settings import Profile
from vwlib.study.manifest import entry
from vwlib.study.plan import make_plan
from vwlib.study.progress import FULL_SIZE, cost_table, rates_of_full_size

#: The folder of each dataset below a folder of real samples, as in the paper's profile, and how the dataset says what
#: its pictures show.
FORMATS = {
    "ImageNet": ("imagenet", "a folder for each class; XML for the boxes"),
    "DreamBooth": ("dreambooth", "a folder for each subject; boxes.json for the boxes"),
    "COCO": ("coco", "one JSON for all pictures of a split"),
    "PASCAL": ("voc", "one XML for each picture; lists for the splits"),
}


@dataclass(frozen=True)
class DatasetOnDisk:
    """What there is of a dataset: its folder, and its examples by split."""

    dataset: str
    folder: Path
    examples: dict[str, list[Example]]

    @property
    def most_pictured(self) -> str:
        """The concept of most training images."""
        return Counter(example.label for example in self.examples["train"]).most_common(1)[0][0]


def datasets_on_disk(profile: Profile, samples: str = "") -> list[DatasetOnDisk]:
    """Whatever is there of the four datasets below a folder of real samples; without one, of the profile's own
    datasets.

    Raises FileNotFoundError where there is nothing of any of them.
    """
    world = "paper" if samples else profile.world
    found = []
    for dataset, (name, _) in FORMATS.items():
        folder = resolve(samples) / name if samples else dataset_folder(profile, dataset)
        if folder.is_dir():
            examples = {split: read_split(dataset, folder, concepts_of(dataset, world), split)[0] for split in SPLITS}
            found.append(DatasetOnDisk(dataset, folder, examples))
    if not any(examples for held in found for examples in held.examples.values()):
        where = resolve(samples) if samples else "the folders of the profile"
        raise FileNotFoundError(f"There is no picture of {', '.join(DATASETS)} in {where}.")
    return found


def holdings_table(found: Sequence[DatasetOnDisk]) -> pd.DataFrame:
    """How many pictures, concepts and boxes there are of each dataset, one row a dataset."""
    rows = []
    for held in found:
        train, test = (held.examples[split] for split in SPLITS)
        every = [*train, *test]
        boxes, ignored = sum(len(e.boxes) for e in every), sum(len(e.ignored_boxes) for e in every)
        concepts = len({e.label for e in every})
        rows.append((held.dataset, FORMATS[held.dataset][1], len(train), len(test), concepts, boxes, ignored))
    columns = ["dataset", "format", "training images", "test images", "concepts", "boxes", "boxes that do not count"]
    return pd.DataFrame(rows, columns=columns).set_index("dataset")


def file_kinds(found: Sequence[DatasetOnDisk]) -> pd.DataFrame:
    """How the pictures are stored: a row for each dataset, file format, colour mode and EXIF orientation, with the
    number of pictures.
    """
    rows = []
    for held in found:
        for path in {example.path for split in SPLITS for example in held.examples[split]}:
            with Image.open(path) as file:
                turned = file.getexif().get(0x0112, 1)
                stored = "upright" if turned == 1 else f"turned (EXIF {turned})"
                rows.append((held.dataset, str(file.format), file.mode, stored))
    table = pd.DataFrame(rows, columns=["dataset", "format", "mode", "stored"])
    counts = table.value_counts().rename("pictures").reset_index().sort_values("pictures", ascending=False)
    return counts.sort_values("dataset", key=lambda names: names.map(DATASETS.index), kind="stable").set_index(
        "dataset"
    )


def sample_examples(held: DatasetOnDisk, count: int, seed: int = 0) -> list[Example]:
    """`count` training examples, drawn with `seed`, each of another concept as long as there are such."""
    train = held.examples["train"]
    order = np.random.default_rng(seed).permutation(len(train))
    labels = pd.Series([train[i].label for i in order])
    turns = labels.groupby(labels).cumcount().argsort(kind="stable")
    return [train[order[place]] for place in turns[:count]]


def box_table(rows: Sequence[Sequence[Example]]) -> pd.DataFrame:
    """The boxes of rows of examples, for `figures.labelled_grid`: `row`, `image`, `left`, `top`, `right`, `bottom` in
    px, and `kind`.

    The kind is "label" for the largest box of the image's own concept, "ignored" for boxes that do not count, "other"
    for the rest.
    """
    found = []
    for row, examples in enumerate(rows):
        for column, example in enumerate(examples):
            areas = (example.boxes[:, 2:] - example.boxes[:, :2]).prod(1)
            areas = areas * [name == example.label for name in example.names]
            for index, box in enumerate(example.boxes):
                found.append((row, column, *map(float, box), "label" if index == areas.argmax() else "other"))
            found += [(row, column, *map(float, box), "ignored") for box in example.ignored_boxes]
    return pd.DataFrame(found, columns=["row", "image", "left", "top", "right", "bottom", "kind"])


def storage_variants(picture: Image.Image) -> dict[str, tuple[Image.Image, Image.Image]]:
    """The same picture stored in five ways that real datasets hold: as it comes out of a plain decoder, and as
    `load_image` reads it.
    """
    grey = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    cut = picture.convert("RGBA")
    cut.putalpha(Image.linear_gradient("L").rotate(90).resize(picture.size))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = {
        "greyscale": (picture.convert("L"), "JPEG", {}),
        "CMYK": (picture.convert("CMYK"), "JPEG", {}),
        "turned (EXIF 6)": (picture.transpose(Image.Transpose.ROTATE_90), "JPEG", {"exif": exif}),
        "transparent": (cut, "PNG", {}),
        "16-bit grey": (Image.fromarray(grey), "PNG", {}),
    }
    copies = {}
    with TemporaryDirectory() as folder:
        for name, (copy, kind, settings) in stored.items():
            path = Path(folder) / f"copy.{kind.lower()}"
            copy.save(path, kind, **settings)
            with Image.open(path) as file:
                copies[name] = file.convert("RGB"), load_image(path)
    return copies


def choice_table(found: Sequence[DatasetOnDisk], count: int) -> pd.DataFrame:
    """The choice of `count` training images of each dataset's most pictured concept, one row a dataset: how many were
    chosen, or why none were.
    """
    rows = []
    for held in found:
        concept = held.most_pictured
        there = [example for example in held.examples["train"] if example.label == concept]
        boxed = sum(len(example.boxes_of(concept)) > 0 for example in there)
        try:
            chosen = f"{len(training_examples(there, concept, count))} chosen"
        except ValueError as error:
            chosen = str(error)
        rows.append((held.dataset, concept, len(there), boxed, chosen))
    columns = ["dataset", "concept", "training images", "with boxes", f"choice of {count}"]
    return pd.DataFrame(rows, columns=columns).set_index("dataset")


def manifest_table(found: Sequence[DatasetOnDisk], count: int, digits: int = 16) -> pd.DataFrame:
    """What a manifest notes of the training images of one concept: the first dataset's that has enough; the first
    `digits` of each checksum.
    """
    columns = ["dataset", "concept", "file", "SHA-256 of the file", "SHA-256 of the boxes"]
    for held in found:
        try:
            chosen = training_examples(held.examples["train"], held.most_pictured, count)
        except ValueError:
            continue
        notes = [(example.path.relative_to(held.folder).as_posix(), entry(example)) for example in chosen]
        rows = [
            (held.dataset, held.most_pictured, name, note.file[:digits], note.boxes[:digits]) for name, note in notes
        ]
        return pd.DataFrame(rows, columns=columns)
    return pd.DataFrame(columns=columns)


def weights_table(profile: Profile) -> pd.DataFrame:
    """What a profile's models are copies of: one row a model, with the size of what there is to fetch."""
    models = profile.models.items()
    rows = [(role, model.hub or "the project's own", model.gigabytes, model.source) for role, model in models]
    return pd.DataFrame(rows, columns=["role", "repository", "GB", "folder"]).set_index("role")


def full_size_table(file: Path = FULL_SIZE) -> pd.DataFrame:
    """What `make test-full` measured, one row a model; empty where it has not run."""
    measured = json.loads(file.read_text()) if file.exists() else {}
    rows = []
    for name, result in measured.items():
        if "parameters" in result:
            seconds = result["seconds"]
            steps = next(seconds[part] for part in seconds if part.endswith("steps"))
            row = {"model": name, "parameters (M)": result["parameters"] / 1e6, "px": result["pixels"]}
            row |= {"load (s)": seconds["load"], "prepare 2 images (s)": seconds["prepare"], "3 steps (s)": steps}
            row |= {"evaluate (s)": seconds["evaluate"], "peak memory (GB)": result["peak_gb"]}
            rows.append(row | {"threads": result["threads"]})
    return pd.DataFrame(rows).set_index("model") if rows else pd.DataFrame()


def paper_costs(profile: Profile, speed: float = 1.0, file: Path = FULL_SIZE) -> pd.DataFrame:
    """Hours of figure 3's words and of the whole study, a row for each task and in all; empty where `make test-full`
    has not measured.
    """
    rates, plan = rates_of_full_size(profile, file), make_plan(profile)
    if rates is None:
        return pd.DataFrame()
    parts = {"figure 3": [chunk for chunk in plan if chunk.delta is None], "the study": plan}
    costs = {name: cost_table(chunks, profile, rates, speed) for name, chunks in parts.items()}
    table = pd.DataFrame(
        {f"{what} of {name}": cost[what] for name, cost in costs.items() for what in ("words", "hours")}
    )
    table.loc["in all"] = table.sum()
    return table.astype({name: int for name in table if name.startswith("words")})
