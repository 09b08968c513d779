"""Which images a profile trains and tests on, with checksums, so that two users can tell that theirs are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vwlib.concepts import DATASETS
from vwlib.datasets.splits import dataset_folder, load_split
from vwlib.examples import Example
from vwlib.files import write_whole
from vwlib.settings import Profile
from vwlib.study.digest import hash_file
from vwlib.study.targets import check_target, kind_of

Split = Literal["train", "test"]
Checksum = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Image(BaseModel):
    """SHA-256 of an image's file, and of what its annotation says of the concept."""

    model_config = ConfigDict(extra="forbid")

    file: Checksum
    boxes: Checksum


class Manifest(BaseModel):
    """The chosen images: dataset -> concept -> split -> path below the dataset's folder."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    profile: str
    datasets: dict[str, dict[str, dict[Split, dict[str, Image]]]]

    def save(self, file: Path, overwrite: bool = True) -> None:
        """Write it as json; the file appears whole or not at all, and without `overwrite` replaces none."""
        write_whole(file, (self.model_dump_json(indent=1) + "\n").encode(), overwrite)

    @classmethod
    def load(cls, file: Path) -> Manifest:
        """Read it back. Raises FileNotFoundError where it is missing and ValueError where it is no manifest."""
        if not file.exists():
            raise FileNotFoundError(f"The manifest {file} is missing; `vwlib manifest {file}` writes one.")
        try:
            return cls.model_validate_json(file.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            where = " -> ".join(map(str, first["loc"])) or "as a whole"
            raise ValueError(f"{file} is no manifest: {where}: {first['msg'].lower()}.") from error

    def images(self, dataset: str) -> dict[tuple[str, Split, str], Image]:
        """A dataset's images by concept, split and path."""
        return {
            (concept, split, path): image
            for concept, splits in self.datasets.get(dataset, {}).items()
            for split, images in splits.items()
            for path, image in images.items()
        }


def check_manifest_file(file: Path, overwrite: bool = False) -> None:
    """Check that a manifest may be written: to a new file or, with `overwrite`, in the place of an earlier manifest.

    Raises FileExistsError otherwise, and as `vwlib.study.targets.check_target` does.
    """
    check_target(file, overwrite, example="manifest.json")
    if kind_of(file) == "file":
        try:
            Manifest.load(file)
        except ValueError as error:
            raise FileExistsError(f"{error} It is not replaced.") from error


def make_manifest(profile: Profile, datasets: tuple[str, ...] = DATASETS) -> Manifest:
    """The manifest of all images that a profile chooses.

    Raises ValueError and FileNotFoundError as `vwlib.datasets` does.
    """
    chosen: dict[str, dict[str, dict[Split, dict[str, Image]]]] = {}
    for dataset in datasets:
        for concept, split, path, example in _chosen(profile, dataset):
            chosen.setdefault(dataset, {}).setdefault(concept, {}).setdefault(split, {})[path] = entry(example)
    return Manifest(profile=profile.name, datasets=chosen)


def differences(manifest: Manifest, profile: Profile) -> list[str]:
    """A sentence for each image that is not the manifest's; none where all images are the same.

    Raises ValueError where the manifest is of another profile, and ValueError and FileNotFoundError as `vwlib.datasets`
    does.
    """
    if manifest.profile != profile.name:
        raise ValueError(f"The manifest is of the profile '{manifest.profile}', not of '{profile.name}'.")
    found = []
    for dataset in manifest.datasets:
        here = {(concept, split, path): example for concept, split, path, example in _chosen(profile, dataset)}
        there = manifest.images(dataset)
        for key in [*there, *(key for key in here if key not in there)]:
            if difference := _difference(there.get(key), here.get(key), dataset_folder(profile, dataset) / key[2]):
                found.append(f"{dataset}, {key[0]}, {key[1]}: {key[2]} {difference}.")
    return found


def _difference(listed: Image | None, chosen: Example | None, path: Path) -> str:
    if listed is None:
        return "is chosen here, though the manifest does not list it"
    if chosen is None:
        return f"is {'not chosen' if path.exists() else 'missing'} here, though the manifest lists it"
    image = entry(chosen)
    if image.file != listed.file:
        return f"is another file here (SHA-256 {image.file[:12]}…, in the manifest {listed.file[:12]}…)"
    return "" if image.boxes == listed.boxes else "has other boxes here"


def entry(example: Example) -> Image:
    """What the manifest notes of an example. Raises FileNotFoundError where its picture is missing."""
    boxes, ignored = example.boxes.round(2).tolist(), example.ignored_boxes.round(2).tolist()  # to a hundredth of a px
    annotation = json.dumps([example.names, boxes, example.ignored_names, ignored])
    return Image(file=digest(example.path), boxes=hashlib.sha256(annotation.encode()).hexdigest())


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits. Raises FileNotFoundError where it is missing."""
    if not path.exists():
        raise FileNotFoundError(f"The file {path} is missing.")
    return hash_file(path)


def _chosen(profile: Profile, dataset: str) -> Iterator[tuple[str, Split, str, Example]]:
    """Concept, split, path below the dataset's folder and example of every image that a profile chooses."""
    folder, images = dataset_folder(profile, dataset), load_split(profile, dataset)
    splits: dict[Split, Sequence[Example]] = {"train": images.train, "test": images.test}
    for split, examples in splits.items():
        for example in examples:
            yield example.label, split, example.path.relative_to(folder).as_posix(), example
