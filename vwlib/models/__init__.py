"""The model of each task, behind one interface: `load_model(task, profile)`.

Nothing here imports a library that takes seconds until a model is loaded.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from vwlib.models.loading import DIFFUSERS, OPEN_CLIP, TRANSFORMERS, resolve
from vwlib.settings import Profile

if TYPE_CHECKING:
    from vwlib.models.base import TaskModel

#: The adapter of each task unless `Profile.adapters` names another: a module of this package, a class, and its `files`.
ADAPTERS = {
    "generation": ("generation", "Generator", DIFFUSERS),
    "detection": ("detection", "Detector", TRANSFORMERS),
    "classification": ("classification", "Classifier", OPEN_CLIP),
}


def load_model(task: str, profile: Profile) -> TaskModel:
    """Load the model of a task, by the adapter that the profile names, else by that of `ADAPTERS`.

    Raises ValueError for an unknown task and an adapter that does not fit, FileNotFoundError for missing weights and a
    missing adapter.
    """
    return find_adapter(task, profile).load(profile)


def find_adapter(task: str, profile: Profile) -> type[TaskModel]:
    """The adapter of a task: a class of this package, or of the file that the profile names as "file.py:Class".

    Raises ValueError for an unknown task, a file that cannot be run and a class that is not an adapter of the task, and
    FileNotFoundError for a missing file. The file's path starts from the project's root.
    """
    if task not in ADAPTERS:
        raise ValueError(f"'{task}' is no task; choose from {', '.join(ADAPTERS)}.")
    if task not in profile.adapters:
        return usual_adapter(task)
    from vwlib.models.base import TaskModel

    file, _, name = profile.adapters[task].rpartition(":")
    adapter = getattr(_run(resolve(file)), name, None)
    if not (isinstance(adapter, type) and issubclass(adapter, TaskModel) and adapter.task == task):
        raise ValueError(f"'{name}' in {resolve(file)} is not a TaskModel with task = '{task}'.")
    return adapter


def usual_adapter(task: str) -> type[TaskModel]:
    """The library's own adapter of a task."""
    module, name, _ = ADAPTERS[task]
    return getattr(import_module(f"{__name__}.{module}"), name)


@lru_cache
def _run(path: Path) -> ModuleType:
    """The module in a file, run once per process."""
    if not path.is_file():
        raise FileNotFoundError(f"The adapter's file {path} is missing.")
    name = f"vwlib_adapter_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up by name
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the file does
        raise ValueError(f"The adapter's file {path} cannot be run: {type(error).__name__}: {error}") from error
    return module
