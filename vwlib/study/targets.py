"""Where a user says what to write: nothing that exists is lost, and what cannot be written is refused at once."""

import os
import stat
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from vwlib.files import not_writable
from vwlib.words import load_words

Kind = Literal["nothing", "file", "folder", "dead link", "special file"]


def kind_of(path: Path) -> Kind:
    """What a path names, links followed. Raises OSError and ValueError for what cannot be looked up."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "dead link" if path.is_symlink() else "nothing"
    except OSError as error:
        raise OSError(f"{path} cannot be looked up ({error.strerror or error}).") from error
    except ValueError as error:  # a null byte, or half of a character
        raise ValueError(f"{str(path)!r} cannot be the name of a file: {error}.") from error
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "special file"


def check_target(path: Path, overwrite: bool = False, sources: Iterable[Path] = (), example: str = "") -> None:
    """Check, without a change, that a file may be written; `example` is a name for it in a folder. Links are followed.

    Raises IsADirectoryError for a folder, FileExistsError without `overwrite` and for one of or below the `sources`,
    ValueError for a dead link or a special file, and OSError if the folder cannot be written to.
    """
    kind = kind_of(path)
    if kind == "folder":
        raise IsADirectoryError(f"{path} is a folder; name a file{f', such as {path / example}' if example else ''}.")
    if kind in ("dead link", "special file"):
        raise ValueError(f"{path} is a {kind}; name a file.")
    if kind == "file":
        for source in filter(Path.exists, sources):
            below = source.is_dir() and path.resolve().is_relative_to(source.resolve())
            if below or path.samefile(source):
                raise FileExistsError(f"{path} is or belongs to the input {source}; it is not overwritten.")
        if not overwrite:
            raise FileExistsError(f"{path} exists; name another file, or use `--overwrite` (overwrite=True).")
        if not os.access(path, os.W_OK):
            raise PermissionError(f"{path} is protected against writing; name another file.")
    check_writable(path.resolve().parent)


def check_writable(folder: Path) -> None:
    """Check that files can be made in a folder, or in the nearest existing one above it. Raises OSError if not."""
    above = next(place for place in (folder, *folder.parents) if kind_of(place) != "nothing")
    trial = above / f".{uuid.uuid4().hex[:12]}.partial"
    try:
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise not_writable(folder, error) from error


def check_words_file(path: Path) -> None:
    """Check that words can be added to a file or the file be made. Raises as `load_words` and `check_target` do."""
    if kind_of(path) == "file":
        load_words(path)
    check_target(path, overwrite=True, example="words.safetensors")
