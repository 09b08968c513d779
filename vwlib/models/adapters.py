"""Adapters of your own: the function of a file that loads a task's model in the place of this package's loader."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

from vwlib.models.loading import resolve

if TYPE_CHECKING:
    from vwlib.models.base import TaskModel
    from vwlib.settings import Profile

Loader = Callable[["Profile"], "TaskModel"]


def find_adapter(named: str) -> Loader:
    """The function that `named` means, as a profile's `adapters` write it: "file.py:function", the file from the
    project's root.

    Raises FileNotFoundError where there is no such file, and ValueError where it cannot be run or has no such function.
    """
    file, _, name = named.rpartition(":")
    path = resolve(file)
    if not path.is_file():
        raise FileNotFoundError(f"The adapter '{named}' is missing: there is no file {path}.")
    loader = getattr(_run(path), name, None)
    if not callable(loader):
        raise ValueError(f"The adapter '{named}' cannot be loaded: {path} has no function '{name}'.")
    return cast(Loader, loader)


@lru_cache(maxsize=6)
def load_adapter(named: str, task: str, profile: Profile) -> TaskModel:
    """The model of a task that an adapter loads, once per process.

    Raises ValueError where it is another task's, and otherwise what `find_adapter` and the adapter raise.
    """
    model = find_adapter(named)(profile)
    if model.task != task:
        raise ValueError(
            f"The adapter '{named}' loads a model of the task '{model.task}', and the profile wants it for '{task}'."
        )
    return model


@lru_cache
def _run(path: Path) -> ModuleType:
    """The module in a file, run once per process."""
    name = f"vwlib_adapter_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up by name
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the file does
        raise ValueError(f"The adapter's file {path} cannot be run: {type(error).__name__}: {error}") from error
    return module
