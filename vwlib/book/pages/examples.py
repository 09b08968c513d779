"""The page on the real thing: pictures at hand, how they are read and chosen, what the paper's models take."""

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
from vwlib.datasets import read_split
from vwlib.datasets.choose import training_examples
from vwlib.datasets.pictures import load_image
from vwlib.datasets.source import SPLITS
from vwlib.datasets.splits import dataset_folder
from vwlib.examples import Example
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
    def every(self) -> list[Example]:
        """The examples of all splits."""
        return [example for split in SPLITS for example in self.examples[split]]

    @property
    def most_pictured(self) -> str:
        """The concept of most training images."""
        return Counter(example.label for example in self.examples["train"]).most_common(1)[0][0]

    def choose(self, count: int) -> list[Example]:
        """`count` training images of that concept; raises ValueError where there are too few."""
        return training_examples(self.examples["train"], self.most_pictured, count)


def datasets_on_disk(profile: Profile, samples: str = "") -> list[DatasetOnDisk]:
    """Whatever is there of the four datasets below a folder of real samples; without one, of the profile's own
    datasets. Raises FileNotFoundError where there is nothing of any of them.
    """
    world, found = "paper" if samples else profile.world, []
    for dataset, (name, _) in FORMATS.items():
        folder = resolve(samples) / name if samples else dataset_folder(profile, dataset)
        if folder.is_dir():
            examples = {split: read_split(dataset, folder, concepts_of(dataset, world), split)[0] for split in SPLITS}
            found.append(DatasetOnDisk(dataset, folder, examples))
    if not any(held.every for held in found):
        where = resolve(samples) if samples else "the folders of the profile"
        raise FileNotFoundError(f"There is no picture of {', '.join(DATASETS)} in {where}.")
    return found


def holdings_table(found: Sequence[DatasetOnDisk]) -> pd.DataFrame:
    """How many pictures, concepts and boxes there are of each dataset, one row a dataset."""
    rows = {
        held.dataset: {
            "format": FORMATS[held.dataset][1],
            "training images": len(held.examples["train"]),
            "test images": len(held.examples["test"]),
            "concepts": len({example.label for example in held.every}),
            "boxes": sum(len(example.boxes) for example in held.every),
            "boxes that do not count": sum(len(example.ignored_boxes) for example in held.every),
        }
        for held in found
    }
    return pd.DataFrame(rows).T.rename_axis("dataset")


def file_kinds(found: Sequence[DatasetOnDisk]) -> pd.DataFrame:
    """The number of pictures for each dataset, file format, colour mode and EXIF orientation, a row each."""
    rows = []
    for held in found:
        for path in {example.path for example in held.every}:
            with Image.open(path) as file:
                turned = file.getexif().get(0x0112, 1)
                stored = "upright" if turned == 1 else f"turned (EXIF {turned})"
                rows.append((DATASETS.index(held.dataset), held.dataset, str(file.format), file.mode, stored))
    table = pd.DataFrame(rows, columns=["place", "dataset", "format", "mode", "stored"])
    counts = table.value_counts().rename("pictures").reset_index()
    counts = counts.sort_values(["place", "pictures"], ascending=[True, False], kind="stable")
    return counts.drop(columns="place").set_index("dataset")


def sample_examples(held: DatasetOnDisk, count: int, seed: int = 0) -> list[Example]:
    """`count` training examples, drawn with `seed`, each of another concept as long as there are such."""
    train = held.examples["train"]
    order = np.random.default_rng(seed).permutation(len(train))
    labels = pd.Series([train[i].label for i in order])
    turns = labels.groupby(labels).cumcount().argsort(kind="stable")
    return [train[order[place]] for place in turns[:count]]


def box_table(rows: Sequence[Sequence[Example]]) -> pd.DataFrame:
    """The boxes of rows of examples, for `labelled_grid`: place, edges in px, and `kind`.

    The kind is "label" for the largest box of the image's concept, "ignored" if it does not count, else "other".
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
    """A picture stored in five ways that real datasets hold: from a plain decoder, and as `load_image` reads it."""
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
    """How many training images of each dataset's most pictured concept can be chosen, or why none; one row each."""
    rows = {}
    for held in found:
        concept = held.most_pictured
        images = [example for example in held.examples["train"] if example.label == concept]
        try:
            chosen = f"{len(held.choose(count))} chosen"
        except ValueError as error:
            chosen = str(error)
        boxed = sum(len(example.boxes_of(concept)) > 0 for example in images)
        rows[held.dataset] = (concept, len(images), boxed, chosen)
    columns = ["concept", "training images", "with boxes", f"choice of {count}"]
    return pd.DataFrame(rows, columns).T.rename_axis("dataset")


def manifest_table(found: Sequence[DatasetOnDisk], count: int, digits: int = 16) -> pd.DataFrame:
    """What a manifest notes of one concept's training images: the first dataset's that has enough of them."""
    rows: list[tuple[str, ...]] = []
    for held in found:
        try:
            chosen = [] if rows else held.choose(count)
        except ValueError:
            continue
        for example in chosen:
            name, note = example.path.relative_to(held.folder).as_posix(), entry(example)
            rows.append((held.dataset, held.most_pictured, name, note.file[:digits], note.boxes[:digits]))
    return pd.DataFrame(rows, columns=["dataset", "concept", "file", "SHA-256 of the file", "SHA-256 of the boxes"])


def full_size_table(file: Path = FULL_SIZE) -> pd.DataFrame:
    """What `make test-full` measured, one row a model; empty where it has not run."""
    measured = json.loads(file.read_text()) if file.exists() else {}
    rows = {}
    for name, result in measured.items():
        if "parameters" in result:
            seconds = result["seconds"]
            rows[name] = {
                "parameters (M)": result["parameters"] / 1e6,
                "px": result["pixels"],
                "load (s)": seconds["load"],
                "prepare 2 images (s)": seconds["prepare"],
                "3 steps (s)": next(seconds[part] for part in seconds if part.endswith("steps")),
                "evaluate (s)": seconds["evaluate"],
                "peak memory (GB)": result["peak_gb"],
                "threads": result["threads"],
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def paper_costs(profile: Profile, speed: float = 1.0, file: Path = FULL_SIZE) -> pd.DataFrame:
    """Hours of figure 3's words and of the whole study by task; empty where `make test-full` has not measured."""
    rates, plan = rates_of_full_size(profile, file), make_plan(profile)
    if rates is None:
        return pd.DataFrame()
    table = pd.DataFrame()
    for name, chunks in (("figure 3", [chunk for chunk in plan if chunk.delta is None]), ("the study", plan)):
        cost = cost_table(chunks, profile, rates, speed)
        table[f"words of {name}"], table[f"hours of {name}"] = cost["words"], cost["hours"]
    table.loc["in all"] = table.sum()
    return table.astype({name: int for name in table if name.startswith("words")})
