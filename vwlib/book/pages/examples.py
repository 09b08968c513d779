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
from vwlib.datasets.choose import training_examples
from vwlib.datasets.source import SPLITS
from vwlib.datasets.splits import dataset_folder
from vwlib.examples import Example, load_image
from vwlib.models.loading import resolve
from vwlib.settings import Profile
from vwlib.study.cost import FULL_SIZE, cost_table, rates_of_full_size
from vwlib.study.manifest import entry
from vwlib.study.plan import make_plan
from vwlib.tools.doctor import ORIGINS, read_split
from vwlib.tools.weights import fetch_command

#: The folder of each dataset below a folder of real samples, as in the paper's profile.
SAMPLE_FOLDERS = {"ImageNet": "imagenet", "DreamBooth": "dreambooth", "COCO": "coco", "PASCAL": "voc"}
#: How each dataset says what its pictures show.
_FORMATS = {
    "ImageNet": "a folder for each class; XML for the boxes",
    "DreamBooth": "a folder for each subject; boxes.json for the boxes",
    "COCO": "one JSON for all pictures of a split",
    "PASCAL": "one XML for each picture; lists for the splits",
}


@dataclass(frozen=True)
class Holdings:
    """What is at hand of a dataset: its folder, and its examples by split."""

    dataset: str
    folder: Path
    examples: dict[str, list[Example]]


def holdings(profile: Profile, samples: str = "") -> list[Holdings]:
    """Whatever is there of the four datasets below a folder of real samples; without one, of the profile's own
    datasets.

    Raises FileNotFoundError where there is nothing of any of them.
    """
    world = "paper" if samples else profile.world
    found = []
    for dataset in DATASETS:
        folder = resolve(samples) / SAMPLE_FOLDERS[dataset] if samples else dataset_folder(profile, dataset)
        if not folder.is_dir():
            continue
        examples = {split: read_split(dataset, folder, concepts_of(dataset, world), split)[0] for split in SPLITS}
        found.append(Holdings(dataset, folder, examples))
    if not any(examples for held in found for examples in held.examples.values()):
        raise FileNotFoundError(
            f"There is no picture of {', '.join(DATASETS)} in {resolve(samples) if samples else 'the folders of the profile'}."
        )
    return found


def describe_holdings(profile: Profile, samples: str = "") -> str:
    """What kind of pictures the page shows, in a sentence or two."""
    if samples:
        return "The pictures on this page are samples of the real datasets, far fewer than a study needs."
    if profile.data:
        return "The pictures on this page are the real datasets'."
    return (
        "The pictures on this page are not photographs: they are the generated datasets that stand for the real ones, in the same formats. "
        "With real ones on your disk, name their folder in the parameter samples."
    )


def holdings_table(found: Sequence[Holdings]) -> pd.DataFrame:
    """How many pictures, concepts and boxes there are of each dataset, one row a dataset."""
    rows = []
    for held in found:
        train, test = (held.examples[split] for split in SPLITS)
        every = [*train, *test]
        boxes, ignored = sum(len(e.boxes) for e in every), sum(len(e.ignored_boxes) for e in every)
        rows.append(
            (held.dataset, _FORMATS[held.dataset], len(train), len(test), len({e.label for e in every}), boxes, ignored)
        )
    columns = ["dataset", "format", "training images", "test images", "concepts", "boxes", "boxes that do not count"]
    return pd.DataFrame(rows, columns=columns).set_index("dataset")


def file_kinds(found: Sequence[Holdings]) -> pd.DataFrame:
    """How the pictures are stored: a row for each dataset, file format, colour mode and EXIF orientation, with the
    number of pictures.
    """
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for held in found:
        for example in {e.path: e for split in SPLITS for e in held.examples[split]}.values():
            with Image.open(example.path) as file:
                turned = file.getexif().get(0x0112, 1)
                counts[
                    held.dataset, str(file.format), file.mode, "upright" if turned == 1 else f"turned (EXIF {turned})"
                ] += 1
    rows = [(*kind, count) for kind, count in sorted(counts.items(), key=lambda item: DATASETS.index(item[0][0]))]
    return pd.DataFrame(rows, columns=["dataset", "format", "mode", "stored", "pictures"]).set_index("dataset")


def several(held: Holdings, count: int, seed: int = 0) -> list[Example]:
    """`count` training examples, drawn with `seed`, each of another concept as long as there are such."""
    order = [held.examples["train"][i] for i in np.random.default_rng(seed).permutation(len(held.examples["train"]))]
    rank: Counter[str] = Counter()
    ranked: list[tuple[int, int, Example]] = []
    for example in order:
        ranked.append((rank[example.label], len(ranked), example))
        rank[example.label] += 1
    return [example for *_, example in sorted(ranked, key=lambda item: item[:2])[:count]]


def box_table(rows: Sequence[Sequence[Example]]) -> pd.DataFrame:
    """The boxes of rows of examples, for `figures.labelled_grid`: `row`, `image`, `left`, `top`, `right`, `bottom` in
    px, and `kind`.

    The kind is "label" for the largest box of the image's own concept, "ignored" for boxes that do not count, "other"
    for the rest.
    """
    found = []
    for row, examples in enumerate(rows):
        for column, example in enumerate(examples):
            areas = (example.boxes[:, 2:] - example.boxes[:, :2]).prod(1) * [
                name == example.label for name in example.names
            ]
            for index, box in enumerate(example.boxes):
                found.append((row, column, *map(float, box), "label" if index == areas.argmax() else "other"))
            found += [(row, column, *map(float, box), "ignored") for box in example.ignored_boxes]
    return pd.DataFrame(found, columns=["row", "image", "left", "top", "right", "bottom", "kind"])


def odd_copies(picture: Image.Image) -> dict[str, tuple[Image.Image, Image.Image]]:
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


def choice_table(found: Sequence[Holdings], count: int) -> pd.DataFrame:
    """The choice of `count` training images of each dataset's most pictured concept, one row a dataset: how many were
    chosen, or why none were.
    """
    rows = []
    for held in found:
        concept, there = Counter(example.label for example in held.examples["train"]).most_common(1)[0]
        boxed = sum(
            len(example.boxes_of(concept)) > 0 for example in held.examples["train"] if example.label == concept
        )
        try:
            chosen = f"{len(training_examples(held.examples['train'], concept, count))} chosen"
        except ValueError as error:
            chosen = str(error)
        rows.append((held.dataset, concept, there, boxed, chosen))
    return pd.DataFrame(
        rows, columns=["dataset", "concept", "training images", "with boxes", f"choice of {count}"]
    ).set_index("dataset")


def manifest_table(found: Sequence[Holdings], count: int, digits: int = 16) -> pd.DataFrame:
    """What a manifest notes of the training images of one concept: the first dataset's that has enough; the first
    `digits` of each checksum.
    """
    for held in found:
        concept = Counter(example.label for example in held.examples["train"]).most_common(1)[0][0]
        try:
            chosen = training_examples(held.examples["train"], concept, count)
        except ValueError:
            continue
        notes = [(example.path.relative_to(held.folder).as_posix(), entry(example)) for example in chosen]
        rows = [(held.dataset, concept, name, note.file[:digits], note.boxes[:digits]) for name, note in notes]
        return pd.DataFrame(rows, columns=["dataset", "concept", "file", "SHA-256 of the file", "SHA-256 of the boxes"])
    return pd.DataFrame(columns=["dataset", "concept", "file", "SHA-256 of the file", "SHA-256 of the boxes"])


def weights_table(profile: Profile) -> pd.DataFrame:
    """What a profile's models are copies of: one row a model, with the size of what there is to fetch."""
    rows = [
        (role, model.hub or "the project's own", model.gigabytes, model.source)
        for role, model in profile.models.items()
    ]
    return pd.DataFrame(rows, columns=["role", "repository", "GB", "folder"]).set_index("role")


def full_size_table(file: Path = FULL_SIZE) -> pd.DataFrame:
    """What `make test-full` measured, one row a model; empty where it has not run."""
    measured = json.loads(file.read_text()) if file.exists() else {}
    rows = []
    for name, result in measured.items():
        if "parameters" not in result:
            continue
        steps = next(seconds for part, seconds in result["seconds"].items() if part.endswith("steps"))
        parts = (result["seconds"]["load"], result["seconds"]["prepare"], steps, result["seconds"]["evaluate"])
        rows.append((name, result["parameters"] / 1e6, result["pixels"], *parts, result["peak_gb"], result["threads"]))
    columns = [
        "model",
        "parameters (M)",
        "px",
        "load (s)",
        "prepare 2 images (s)",
        "3 steps (s)",
        "evaluate (s)",
        "peak memory (GB)",
        "threads",
    ]
    return pd.DataFrame(rows, columns=columns).set_index("model")


def paper_costs(profile: Profile, speed: float = 1.0, file: Path = FULL_SIZE) -> pd.DataFrame:
    """Hours of figure 3's words and of the whole study, a row for each task and in all; empty where `make test-full`
    has not measured.
    """
    rates, plan = rates_of_full_size(profile, file), make_plan(profile)
    if rates is None:
        return pd.DataFrame(
            columns=["words of figure 3", "hours of figure 3", "words of the study", "hours of the study"]
        )
    free, whole = (
        cost_table(chunks, profile, rates, speed) for chunks in ([chunk for chunk in plan if chunk.delta is None], plan)
    )
    table = pd.DataFrame(
        {
            f"{what} of {name}": part[what]
            for name, part in (("figure 3", free), ("the study", whole))
            for what in ("words", "hours")
        }
    )
    table.loc["in all"] = table.sum()
    return table.astype({name: int for name in table if name.startswith("words")})


def commands(profile: Profile) -> str:
    """All commands from an empty folder to figure 3 at a profile, from its own settings."""
    fetched = [model for model in profile.models.values() if model.hub]
    total = sum(model.gigabytes or 0 for model in fetched)
    lines = [
        "# The project and its environment",
        "git clone https://github.com/visual-words/visual-words && cd visual-words",
    ]
    lines += ["python3 -m venv .venv && . .venv/bin/activate", "pip install --editable '.[grid]'", ""]
    lines += [f"# The weights, {total:.0f} GB", *(fetch_command(model) for model in fetched), ""]
    lines += ["# Weights that come pickled become safetensors, the only form that is loaded"]
    lines += [
        f"vwlib convert {model.source}"
        for model in fetched
        if any(name.startswith(("pytorch_model", "open_clip_*")) for name in model.fetch)
    ]
    lines += ["", "# The datasets, from their own sites, into these folders"]
    lines += [f"# {profile.data[dataset]}: {origin}" for dataset, origin in ORIGINS.items() if dataset in profile.data]
    name = f"--profile {profile.name}"
    lines += ["", "# DreamBooth has no boxes: the detector proposes, you correct boxes.json", f"vwlib boxes {name}", ""]
    lines += [
        "# What is ready, what is missing, and which images were chosen",
        f"vwlib doctor {name}",
        f"vwlib manifest manifest.json {name}",
        "",
    ]
    lines += [
        "# Learn and score every word, those of figure 3 first; it may be stopped and started again",
        f"vwlib study {name}",
        "",
    ]
    lines += ["# Figure 3", f"papermill book/04_are_words_transferable.ipynb figure_3.ipynb -p profile {profile.name}"]
    return "\n".join(lines)
