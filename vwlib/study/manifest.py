"""Which images a profile trains and tests on, written down with checksums, so that two users can tell that theirs are
the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vwlib.concepts import DATASETS
from vwlib.datasets.splits import dataset_folder, load_split
from vwlib.examples import Example
from vwlib.files import write_whole
from vwlib.models.loading import hash_file
from vwlib.settings import Profile
from vwlib.study.targets import check_target, kind_of

Split = Literal["train", "test"]
Checksum = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Image(BaseModel):
    """An image's file and what its annotation says of the concept, both as SHA-256."""

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
        """Read it back.

        Raises FileNotFoundError where it is missing and ValueError where it is no manifest.
        """
        if not file.exists():
            raise FileNotFoundError(f"The manifest {file} is missing; `vwlib manifest {file}` writes one.")
        try:
            return cls.model_validate_json(file.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            where = " -> ".join(map(str, first["loc"])) or "as a whole"
            raise ValueError(f"{file} is no manifest: {where}: {first['msg'].lower()}.") from error


def check_manifest_file(file: Path, overwrite: bool = False) -> None:
    """That a manifest may be written there: a new file or, with `overwrite`, one that holds an earlier manifest; so no
    dataset's own file.

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
        for concept, split, name, example in _chosen(profile, dataset):
            chosen.setdefault(dataset, {}).setdefault(concept, {}).setdefault(split, {})[name] = entry(example)
    return Manifest(profile=profile.name, datasets=chosen)


def differences(manifest: Manifest, profile: Profile) -> list[str]:
    """A sentence for each image that is not the manifest's; none where all images are the same.

    Raises ValueError where the manifest is of another profile, and ValueError and FileNotFoundError as `vwlib.datasets`
    does.
    """
    if manifest.profile != profile.name:
        raise ValueError(f"The manifest is of the profile '{manifest.profile}', not of '{profile.name}'.")
    found = []
    for dataset, concepts in manifest.datasets.items():
        here = {(concept, split, name): example for concept, split, name, example in _chosen(profile, dataset)}
        there = {
            (concept, split, name): image
            for concept, splits in concepts.items()
            for split, images in splits.items()
            for name, image in images.items()
        }
        for key, image in there.items():
            where = f"{dataset}, {key[0]}, {key[1]}: {key[2]}"
            if key not in here:
                missing = "is missing" if not (dataset_folder(profile, dataset) / key[2]).exists() else "is not chosen"
                found.append(f"{where} {missing} here, though the manifest lists it.")
            elif (real := digest(here[key].path)) != image.file:
                found.append(
                    f"{where} is another file here (SHA-256 {real[:12]}…, in the manifest {image.file[:12]}…)."
                )
            elif _digest_boxes(here[key]) != image.boxes:
                found.append(f"{where} has other boxes here.")
        found += [
            f"{dataset}, {key[0]}, {key[1]}: {key[2]} is chosen here, though the manifest does not list it."
            for key in here
            if key not in there
        ]
    return found


def entry(example: Example) -> Image:
    """What the manifest notes of an example.

    Raises FileNotFoundError where its picture is missing.
    """
    return Image(file=digest(example.path), boxes=_digest_boxes(example))


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits.

    Raises FileNotFoundError where it is missing.
    """
    if not path.exists():
        raise FileNotFoundError(f"The file {path} is missing.")
    return hash_file(path)


def _chosen(profile: Profile, dataset: str) -> Iterator[tuple[str, Split, str, Example]]:
    """Concept, split, path below the dataset's folder and example of every image that a profile chooses."""
    folder, material = dataset_folder(profile, dataset), load_split(profile, dataset)
    splits: tuple[tuple[Split, list[Example]], ...] = (("train", material.train), ("test", material.test))
    for split, examples in splits:
        for example in examples:
            yield example.label, split, example.path.relative_to(folder).as_posix(), example


def _digest_boxes(example: Example) -> str:
    """The SHA-256 of an example's names and boxes, these to a hundredth of a px."""
    content = [
        example.names,
        example.boxes.round(2).tolist(),
        example.ignored_names,
        example.ignored_boxes.round(2).tolist(),
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
