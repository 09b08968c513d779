"""The three models and the judge, behind one interface: `load_model(task, profile)`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from vwlib.concepts import TASKS

if TYPE_CHECKING:
    from vwlib.models.base import Frozen, Score, TaskModel
    from vwlib.models.classification import Classifier
    from vwlib.models.detection import Detector
    from vwlib.models.generation import Generator
    from vwlib.models.judge import Judge
    from vwlib.profiles import Profile

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

#: Where the classes come from. They bring along libraries that take seconds to import, which nobody needs who only reads a table or a word.
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
def load_generator(profile: Profile) -> Generator:
    """The generator, with its judges."""
    from vwlib.models.device import find_device
    from vwlib.models.generation import Generator

    judges = load_judge(profile), load_second_judge(profile)
    return Generator.load(profile.generator, judges[0], profile.prompt, judges[1], find_device(profile.device))


@lru_cache(maxsize=2)
def load_detector(profile: Profile) -> Detector:
    """The detector."""
    from vwlib.models.detection import Detector
    from vwlib.models.device import find_device

    return Detector.load(profile.detector, profile.prompt, find_device(profile.device))


@lru_cache(maxsize=2)
def load_classifier(profile: Profile) -> Classifier:
    """The classifier."""
    from vwlib.models.classification import Classifier
    from vwlib.models.device import find_device

    return Classifier.load(profile.classifier, profile.prompt, find_device(profile.device))


#: What loads the model of each task. An adapter of your own takes a place here before anything is loaded.
LOADERS: dict[str, Callable[[Profile], TaskModel]] = {"generation": load_generator, "detection": load_detector, "classification": load_classifier}


def load_model(task: str, profile: Profile) -> TaskModel:
    """The model of a task, loaded once per process.

    Raises ValueError for an unknown task, FileNotFoundError for missing weights.
    """
    if task not in LOADERS:
        raise ValueError(f"'{task}' is no task; choose from {', '.join(TASKS)}.")
    return LOADERS[task](profile)


def load_models(profile: Profile) -> dict[str, TaskModel]:
    """All three models by task."""
    return {task: load_model(task, profile) for task in TASKS}
