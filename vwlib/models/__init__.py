"""The three models and the judge, behind one interface: `load_model(task, profile)`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from vwlib.concepts import TASKS

if TYPE_CHECKING:
    from vwlib.models.base import Frozen, Score, TaskModel
    from vwlib.models.classification import Classifier
    from vwlib.models.detection import Detector
    from vwlib.models.generation import Generator
    from vwlib.models.judge import Judge
    from vwlib.settings import Profile

M = TypeVar("M")

__all__ = [
    "LOADERS",
    "TASKS",
    "Classifier",
    "Detector",
    "Frozen",
    "Generator",
    "Judge",
    "Score",
    "TaskModel",
    "load_classifier",
    "load_detector",
    "load_generator",
    "load_judge",
    "load_model",
    "load_models",
    "load_second_judge",
]

#: Where the classes come from. They bring along libraries that take seconds to import, which nobody needs who only
#: reads a table or a word.
_CLASSES = {
    "Frozen": "base",
    "Score": "base",
    "TaskModel": "base",
    "Classifier": "classification",
    "Detector": "detection",
    "Generator": "generation",
    "Judge": "judge",
}


def __getattr__(name: str) -> Any:
    if name in _CLASSES:
        return getattr(import_module(f"vwlib.models.{_CLASSES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@lru_cache(maxsize=2)
def load_judge(profile: Profile) -> Classifier:
    """The judge of generations."""
    from vwlib.models.classification import Classifier
    from vwlib.models.device import find_device

    return Classifier.load(profile.judge, profile.prompt, find_device(profile.device))


@lru_cache(maxsize=2)
def load_second_judge(profile: Profile) -> Judge | None:
    """The judge of another kind, where the profile has one."""
    from vwlib.models.device import find_device
    from vwlib.models.judge import Judge

    return Judge.open(profile.second_judge, find_device(profile.device)) if profile.second_judge else None


@lru_cache(maxsize=2)
def _load_generator(profile: Profile) -> Generator:
    from vwlib.models.device import find_device
    from vwlib.models.generation import Generator

    judges = load_judge(profile), load_second_judge(profile)
    return Generator.load(profile.generator, judges[0], profile.prompt, judges[1], find_device(profile.device))


@lru_cache(maxsize=2)
def _load_detector(profile: Profile) -> Detector:
    from vwlib.models.detection import Detector
    from vwlib.models.device import find_device

    return Detector.load(profile.detector, profile.prompt, find_device(profile.device))


@lru_cache(maxsize=2)
def _load_classifier(profile: Profile) -> Classifier:
    from vwlib.models.classification import Classifier
    from vwlib.models.device import find_device

    return Classifier.load(profile.classifier, profile.prompt, find_device(profile.device))


#: What loads the model of each task, where the profile's `adapters` name nothing else. An adapter of your own may take
#: a place here before anything is loaded, for this process alone.
LOADERS: dict[str, Callable[[Profile], TaskModel]] = {
    "generation": _load_generator,
    "detection": _load_detector,
    "classification": _load_classifier,
}


def load_model(task: str, profile: Profile) -> TaskModel:
    """The model of a task, loaded once per process: by the adapter that the profile names, else by what stands in
    `LOADERS`.

    Raises ValueError for an unknown task and an adapter that does not fit, FileNotFoundError for missing weights and a
    missing adapter.
    """
    if task not in LOADERS:
        raise ValueError(f"'{task}' is no task; choose from {', '.join(TASKS)}.")
    if named := profile.adapters.get(task):
        from vwlib.models.adapters import load_adapter

        return load_adapter(named, task, profile)
    return LOADERS[task](profile)


def load_generator(profile: Profile) -> Generator:
    """The generator, with its judges.

    Raises ValueError where an adapter that is no `Generator` took its place.
    """
    from vwlib.models.generation import Generator

    return _of_kind(Generator, "generation", profile)


def load_detector(profile: Profile) -> Detector:
    """The detector.

    Raises ValueError where an adapter that is no `Detector` took its place.
    """
    from vwlib.models.detection import Detector

    return _of_kind(Detector, "detection", profile)


def load_classifier(profile: Profile) -> Classifier:
    """The classifier.

    Raises ValueError where an adapter that is no `Classifier` took its place.
    """
    from vwlib.models.classification import Classifier

    return _of_kind(Classifier, "classification", profile)


def _of_kind(kind: type[M], task: str, profile: Profile) -> M:
    """The model of a task, where more is asked of it than of every `TaskModel`."""
    model = load_model(task, profile)
    if not isinstance(model, kind):
        raise ValueError(
            f"The {task} model of the profile '{profile.name}' is a {type(model).__name__}, and this needs a {kind.__name__} or a class derived from it."
        )
    return model


def load_models(profile: Profile) -> dict[str, TaskModel]:
    """All three models by task."""
    return {task: load_model(task, profile) for task in TASKS}
