"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Make a folder for what is written inside.

    Raises OSError in one sentence where it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"{folder} cannot be written to ({reason}). What is finished is kept: make room or permit writing, and run again.") from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it: it appears whole or not at all, and a failure leaves nothing behind.

    Raises OSError in one sentence where the folder cannot be written to.
    """
    # Processes on several machines may write the same file, and have the same id.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.partial")
    with writing_to(path.parent):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # a full disk may show only here
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def writing_folder(folder: Path) -> Iterator[Path]:
    """A new folder to fill under a temporary name, renamed to `folder` at the end: it appears whole or not at all.

    Raises FileExistsError where there is one already, and OSError in one sentence where it cannot be written.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists already; name a new folder.")
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.partial")
    with writing_to(folder.parent):
        try:
            temporary.mkdir()
            yield temporary
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
