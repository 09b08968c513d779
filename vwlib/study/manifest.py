"""Which images a profile trains and tests on, with checksums, so that two users can tell that theirs are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vwlib.concepts import DATASETS
from vwlib.datasets.splits import dataset_folder, load_split
from vwlib.examples import Example
from vwlib.files import write_whole
from vwlib.settings import Profile
from vwlib.study.digest import hash_file
from vwlib.study.targets import check_target

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

    def images(self) -> dict[tuple[str, str, Split, str], Image]:
        """The images by dataset, concept, split and path."""
        return {
            (dataset, concept, split, path): image
            for dataset, concepts in self.datasets.items()
            for concept, splits in concepts.items()
            for split, images in splits.items()
            for path, image in images.items()
        }


def check_manifest_file(file: Path, overwrite: bool = False) -> None:
    """Raise FileExistsError unless the file is new or, with `overwrite`, a manifest; and as `check_target` does."""
    check_target(file, overwrite, example="manifest.json")
    if file.is_file():
        try:
            Manifest.load(file)
        except ValueError as error:
            raise FileExistsError(f"{error} It is not replaced.") from error


def make_manifest(profile: Profile, datasets: Iterable[str] = DATASETS) -> Manifest:
    """The manifest of all images that a profile chooses. Raises as `vwlib.datasets` does."""
    chosen: dict[str, dict[str, dict[Split, dict[str, Image]]]] = {}
    for dataset in datasets:
        folder, images = dataset_folder(profile, dataset), load_split(profile, dataset)
        splits: dict[Split, Sequence[Example]] = {"train": images.train, "test": images.test}
        for split, examples in splits.items():
            for example in examples:
                path = example.path.relative_to(folder).as_posix()
                of_concept = chosen.setdefault(dataset, {}).setdefault(example.label, {})
                of_concept.setdefault(split, {})[path] = entry(example)
    return Manifest(profile=profile.name, datasets=chosen)


def differences(manifest: Manifest, profile: Profile) -> list[str]:
    """A sentence for each image that is not the manifest's. Raises ValueError where that is of another profile."""
    if manifest.profile != profile.name:
        raise ValueError(f"The manifest is of the profile '{manifest.profile}', not of '{profile.name}'.")
    here, there, found = make_manifest(profile, manifest.datasets).images(), manifest.images(), []
    for key in there | here:
        dataset, concept, split, path = key
        if difference := _difference(there.get(key), here.get(key), dataset_folder(profile, dataset) / path):
            found.append(f"{dataset}, {concept}, {split}: {path} {difference}.")
    return found


def _difference(listed: Image | None, chosen: Image | None, path: Path) -> str:
    if listed is None:
        return "is chosen here, though the manifest does not list it"
    if chosen is None:
        return f"is {'not chosen' if path.exists() else 'missing'} here, though the manifest lists it"
    if chosen.file != listed.file:
        return f"is another file here (SHA-256 {chosen.file[:12]}…, in the manifest {listed.file[:12]}…)"
    return "" if chosen.boxes == listed.boxes else "has other boxes here"


def entry(example: Example) -> Image:
    """What a manifest says of an example. Raises FileNotFoundError where its picture is missing."""
    boxes, ignored = example.boxes.round(2).tolist(), example.ignored_boxes.round(2).tolist()  # to a hundredth of a px
    annotation = json.dumps([example.names, boxes, example.ignored_names, ignored])
    return Image(file=hash_file(example.path), boxes=hashlib.sha256(annotation.encode()).hexdigest())
