"""Writing files so that a reader never sees half of one, and so that nothing is lost where a user says what to write."""

from __future__ import annotations

import json
import os
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from vwlib.paths import CACHE

Kind = Literal["nothing", "file", "folder", "dead link", "no ordinary file"]


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises ValueError in one sentence where it cannot be read."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(f"{path} cannot be read as JSON: {reason}.") from error


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Make a folder for what is written inside.

    Raises OSError in one sentence where it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise OSError(_not_writable(folder, str(error.strerror or error))) from error


def _not_writable(folder: Path, reason: str) -> str:
    advice = "What is finished is kept: make room or permit writing, and run again."
    if folder.is_relative_to(CACHE):
        advice += (
            " It holds what can be made again: the environment variable VWLIB_CACHE names another folder for that."
        )
    return f"{folder} cannot be written to ({reason}). {advice}"


def kind_of(path: Path) -> Kind:
    """What a path names; a link is what it leads to. A device, a socket or a pipe is no ordinary file.

    Raises OSError in one sentence for a path that cannot be looked up, and ValueError for one that no file can have.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "dead link" if path.is_symlink() else "nothing"
    except OSError as error:
        raise OSError(f"{path} cannot be looked up ({error.strerror or error}).") from error
    except ValueError as error:  # a null byte, or half of a character
        raise ValueError(f"{str(path)!r} is no name of a file: {error}.") from error
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "no ordinary file"


def check_target(path: Path, overwrite: bool = False, sources: Iterable[Path] = (), example: str = "") -> None:
    """That a file may be written where a user says; changes nothing. `example` is a name for it in a folder.

    Links are followed, here and by `write_whole`: what a link leads to counts. A file that is there may be replaced
    with `overwrite` alone, and one of the `sources`, or a file in a folder of theirs, never. Raises IsADirectoryError
    for a folder, FileExistsError for a file that may not be replaced, ValueError for what is no ordinary file, and
    OSError where the folder cannot be written to; each in one sentence.
    """
    kind = kind_of(path)
    if kind == "folder":
        raise IsADirectoryError(f"{path} is a folder; name a file{f', such as {path / example}' if example else ''}.")
    if kind in ("dead link", "no ordinary file"):
        told = "a link that leads nowhere" if kind == "dead link" else "no ordinary file"
        raise ValueError(f"{path} is {told}; name a file.")
    if kind == "file":
        real = path.resolve()
        for source in sources:
            if source.exists() and (
                path.samefile(source) or (source.is_dir() and real.is_relative_to(source.resolve()))
            ):
                raise FileExistsError(
                    f"{path} is what is read, or one of its files ({source}); it is not overwritten. Name another file."
                )
        if not overwrite:
            raise FileExistsError(
                f"{path} is there already; name another file, or replace it with `--overwrite` (overwrite=True)."
            )
        if not os.access(path, os.W_OK):
            raise PermissionError(f"{path} is protected against writing; name another file.")
    check_writable(path.resolve().parent)


def check_writable(folder: Path) -> None:
    """That files can be written in a folder, which may still be missing; a file is made there, or in the nearest folder
    above, and removed.

    Raises OSError in one sentence where they cannot.
    """
    above = next(place for place in (folder, *folder.parents) if kind_of(place) != "nothing")
    trial = above / f".{uuid.uuid4().hex[:12]}.partial"
    try:
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise OSError(_not_writable(folder, str(error.strerror or error))) from error


def write_whole(path: Path, content: bytes, overwrite: bool = True) -> None:
    """Write a file under a temporary name and rename it: it appears whole or not at all, and a failure leaves nothing
    behind.

    A link stays, and the file that it leads to is written. Without `overwrite` a file that is there meanwhile is not
    replaced. Raises FileExistsError in that case, and OSError in one sentence where the folder cannot be written to.
    """
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    temporary = _beside(path, "partial")
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
        raise FileExistsError(f"{path} is there by now; it was not replaced.")


def _beside(path: Path, what: str) -> Path:
    """A name in the same folder that no other process takes, on this machine or another: they may have the same id."""
    return path.with_name(f".{path.name[:50]}.{uuid.uuid4().hex[:12]}.{what}")


def _place(temporary: Path, path: Path, overwrite: bool) -> bool:
    """Give a finished file its name; without `overwrite` only where nothing has it yet, which is said."""
    if not overwrite:
        try:
            os.link(temporary, path)  # unlike a renaming it never replaces anything
            return True
        except FileExistsError:
            return False
        except OSError:  # a file system on which a file has one name only
            if path.exists():
                return False
    temporary.rename(path)
    return True


@contextmanager
def writing_folder(folder: Path, overwrite: bool = False) -> Iterator[Path]:
    """A new folder to fill under a temporary name, renamed to `folder` at the end: it appears whole or not at all.

    With `overwrite` it takes the place of the one that is there, which is removed when all is written.
    Raises FileExistsError where there is one otherwise, and OSError in one sentence where it cannot be written.
    """
    if (folder.exists() or folder.is_symlink()) and not overwrite:
        raise FileExistsError(f"{folder} exists already; name a new folder.")
    folder = folder.resolve()
    temporary, old = _beside(folder, "partial"), _beside(folder, "old")
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
