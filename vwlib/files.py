"""Reading and writing files so that no reader ever sees half of one."""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vwlib.paths import CACHE


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises ValueError if it cannot be read."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(f"{path} cannot be read as JSON: {reason}.") from error


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Make a folder for what is written inside the block. Raises OSError, in one sentence, if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise not_writable(folder, error) from error


def not_writable(folder: Path, error: OSError) -> OSError:
    """An error that says in one sentence that a folder cannot be written to."""
    advice = "What is finished is kept: make room or permit writing, and run again."
    if folder.is_relative_to(CACHE):
        advice += " It holds what can be made again: the environment variable VWLIB_CACHE names another folder."
    return OSError(f"{folder} cannot be written to ({error.strerror or error}). {advice}")


def write_whole(path: Path, content: bytes, overwrite: bool = True) -> None:
    """Write a file under a temporary name and rename it: it appears whole or not at all.

    A link stays, and the file that it leads to is written. Raises FileExistsError if the file exists and may not be
    replaced, and OSError if the folder cannot be written to.
    """
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    temporary = _temporary(path, "partial")
    with writing_to(path.parent):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # a full disk may show only here
            placed = _place(temporary, path, overwrite)
        finally:
            temporary.unlink(missing_ok=True)
    if not placed:
        raise FileExistsError(f"{path} exists by now; it was not replaced.")


def _temporary(path: Path, what: str) -> Path:
    """A name in the same folder that no other process takes, on this machine or another."""
    return path.with_name(f".{path.name[:50]}.{uuid.uuid4().hex[:12]}.{what}")


def _place(temporary: Path, path: Path, overwrite: bool) -> bool:
    """Give a finished file its name. Without `overwrite`, return False if another file has it."""
    if not overwrite:
        try:
            os.link(temporary, path)  # unlike a renaming it never replaces anything
            return True
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            if path.exists():
                return False
    temporary.rename(path)
    return True


@contextmanager
def writing_folder(folder: Path, overwrite: bool = False) -> Iterator[Path]:
    """A new folder to fill inside the block under a temporary name: it appears whole or not at all.

    With `overwrite` it replaces an existing one when all is written. Raises FileExistsError otherwise, and OSError if
    it cannot be written.
    """
    if (folder.exists() or folder.is_symlink()) and not overwrite:
        raise FileExistsError(f"{folder} exists already; name a new folder.")
    folder = folder.resolve()
    temporary, old = _temporary(folder, "partial"), _temporary(folder, "old")
    with writing_to(folder.parent):
        try:
            temporary.mkdir()
            yield temporary
            if overwrite and folder.exists():
                folder.rename(old)
            temporary.rename(folder)
        finally:
            if old.exists() and not folder.exists():
                old.rename(folder)
            for remains in (temporary, old):
                shutil.rmtree(remains, ignore_errors=True)
