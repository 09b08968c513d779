"""The images that a run uses: from the profile's folders, from own photos, or from a dataset of your own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vwlib.concepts import DATASETS, concepts_of
from vwlib.datasets import load_dataset
from vwlib.datasets.choose import test_examples, training_examples
from vwlib.datasets.folders import read_things
from vwlib.datasets.photos import own_examples, photo_settings
from vwlib.datasets.source import PHOTOS, SPLITS
from vwlib.examples import Example
from vwlib.miniature.world import ensure_world
from vwlib.models.loading import resolve
from vwlib.settings import Profile
from vwlib.trials import DatasetSplit

if TYPE_CHECKING:
    from vwlib.lab import Lab
    from vwlib.models.detection import Detector

#: Datasets of your own, by name: each a function that gives the images for a profile.
CUSTOM_DATASETS: dict[str, Callable[[Profile], DatasetSplit]] = {}


def open_lab(profile: Profile) -> Lab:
    """A lab that reads the four datasets, own photos and the `CUSTOM_DATASETS`; its detector proposes missing boxes."""
    from vwlib.lab import Lab

    lab = Lab(profile, lambda profile, dataset: load_split(profile, dataset, lambda: lab.detector))
    return lab


def load_split(profile: Profile, dataset: str, detector: Callable[[], Detector] | None = None) -> DatasetSplit:
    """Read one dataset and choose training and test images of its concepts.

    `detector` gives the model that proposes boxes for own photos without any; by default it is loaded for that.
    Raises ValueError and FileNotFoundError as `vwlib.datasets` does.
    """
    if dataset in CUSTOM_DATASETS:
        return CUSTOM_DATASETS[dataset](profile)
    if dataset == PHOTOS:
        return _split_of_photos(profile, detector)
    concepts = concepts_of(dataset, profile.world)
    dataset, names = concepts[0].dataset, {concept.name: concept.prompt_name for concept in concepts}
    folder = dataset_folder(profile, dataset)
    train, test = (load_dataset(dataset, folder, concepts, split) for split in SPLITS)
    return _chosen(profile, dataset, names, train, test)


def _chosen(
    profile: Profile, dataset: str, names: dict[str, str], train: Sequence[Example], test: Sequence[Example]
) -> DatasetSplit:
    """The training and test images of the concepts in `names` that a profile asks for."""
    chosen = [example for name in names for example in training_examples(train, name, profile.train_images)]
    return DatasetSplit(dataset, names, chosen, test_examples(test, names, profile.test_images))


def dataset_folder(profile: Profile, dataset: str) -> Path:
    """The folder of a dataset: the profile's or, for the miniature, one that is written at first use.

    Raises ValueError if a profile of another world names no folder.
    """
    if dataset in profile.data:
        return resolve(profile.data[dataset])
    if profile.world != "miniature":
        raise ValueError(f"{unnamed_folder(profile, dataset)}.")
    return ensure_world(dataset=dataset) / dataset


def unnamed_folder(profile: Profile, dataset: str) -> str:
    """A sentence about a dataset of which the profile names no folder, without its full stop."""
    return (
        f"The profile '{profile.name}' names no folder of the dataset {dataset}; set '{dataset}' in the table "
        f"[{profile.name}.data] of the file that VWLIB_SETTINGS names, or `data` in load_profile"
    )


def _split_of_photos(profile: Profile, detector: Callable[[], Detector] | None) -> DatasetSplit:
    """The profile's own photos of one thing, then the pictures of the other things that it is told from."""
    photos = photo_settings(profile)
    others = load_split(profile, photos.beside) if photos.beside in DATASETS else _split_of_things(profile)
    names = {concept: name for concept, name in others.names.items() if photos.name not in (concept, name)}
    if not names:
        advice = "name a dataset or a folder with other things"
        raise ValueError(f"There is nothing in {photos.beside} to tell '{photos.name}' from; {advice}.")
    loaded = detector or (lambda: open_lab(profile).detector)
    train, test = (own_examples(profile, split, loaded) for split in SPLITS)
    own = _chosen(profile, PHOTOS, {photos.name: photos.name}, train, test)
    train, test = ([example for example in split if example.label in names] for split in (others.train, others.test))
    return DatasetSplit(PHOTOS, own.names | names, [*own.train, *train], [*own.test, *test])


def _split_of_things(profile: Profile) -> DatasetSplit:
    """The things that own photos are told from, each in a folder of its own."""
    train, test = (read_things(resolve(photo_settings(profile).beside), split) for split in SPLITS)
    return _chosen(profile, PHOTOS, {example.label: example.label for example in train}, train, test)
