"""What a chapter reads of the project: modules of the library, tables, models, templates.

A chapter's kernel starts with `record`, which notes every file that is opened. `hash_reads` makes a table of hashes of
them, and `changed` compares it with the present files.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.util import source_from_cache
from pathlib import Path
from typing import Any

#: Results that the build writes itself, and the tables' register, which changes with every one of them.
NO_INPUT = {"numbers.json", "experiments.json"}
ABSENT = "absent"
_WRITES = os.O_WRONLY | os.O_RDWR


def record(log: str, root: str) -> None:
    """From now on write to `log` which files of the project at `root` this process reads, one name a line.

    Below `data` also the folders that it lists, and files that it asks for and that are not there.
    """
    seen: set[str] = set()
    file = open(log, "a")  # noqa: SIM115 - open as long as the process lives
    stat = os.stat

    def note(path: Any, only: str = "") -> None:
        name = name_of(path, root)
        if name is not None and name not in seen and name.startswith(only):
            seen.add(name)
            print(name, file=file, flush=True)

    def heard(event: str, arguments: tuple) -> None:
        if event == "open" and not is_written(*arguments[1:]):
            note(arguments[0])
        elif event in ("os.listdir", "os.scandir"):
            note(arguments[0], only="data")

    def looked_for(path: Any, *arguments: Any, **named: Any) -> os.stat_result:
        try:
            return stat(path, *arguments, **named)
        except FileNotFoundError:
            note(path, only="data")
            raise

    for module in [module for name, module in sys.modules.items() if name.split(".")[0] == "vwlib"]:
        note(module.__file__)
    sys.addaudithook(heard)
    os.stat = looked_for  # no audit event tells of a question whether a file is there


def is_written(mode: str | None, flags: int) -> bool:
    """Whether a file is opened to be written; without a `mode` the `flags` say so."""
    return any(letter in mode for letter in "wax") if mode else bool(flags & _WRITES)


def name_of(path: Any, root: str) -> str | None:
    """A file's name from the project's root, a compiled module's by its source; None for what is no input of a chapter:
    files elsewhere, installed packages, and whatever begins with a dot.
    """
    if not isinstance(path, str | bytes | os.PathLike):
        return None  # a file that is open already
    whole = os.path.abspath(os.fsdecode(path))
    if whole.endswith(".pyc"):
        whole = source_from_cache(whole) if "__pycache__" in whole else whole[:-1]
    parts = Path(os.path.relpath(whole, root)).parts
    outside = any(part.startswith(".") or part in ("site-packages", *NO_INPUT) for part in parts)
    return None if outside or not parts else "/".join(parts)


def hash_read(path: Path) -> str:
    """A hash of a file's content, or of the names in a folder; `ABSENT` where there is nothing."""
    if path.is_dir():
        names = sorted({entry.name for entry in path.iterdir()} - NO_INPUT)
        return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
    if not path.is_file():
        return ABSENT
    about = path.stat()
    return _hash_content(path, about.st_mtime_ns, about.st_size)


@cache
def _hash_content(path: Path, changed: int, size: int) -> str:
    content = path.read_bytes()
    if path.suffix == ".ipynb":  # chapters read each other's code, figures and outputs, and never their texts
        notebook = json.loads(content)
        notebook["cells"] = [cell for cell in notebook["cells"] if cell["cell_type"] != "markdown"]
        content = json.dumps(notebook).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def hash_reads(names: Iterable[str], since: float, root: Path) -> dict[str, str]:
    """The hashes of files by name; none of one that was written after the time `since`, when it may have been read.

    Weights are opened outside of Python: those beside a file of `data` that was opened count as opened too.
    """

    def changed_meanwhile(path: Path) -> bool:
        return path.is_file() and path.stat().st_mtime > since

    paths = {root / name for name in names} - {Path(__file__)}
    folders = {path.parent for path in paths if path.is_relative_to(root / "data")}
    paths |= {weights for folder in folders for weights in folder.glob("*.safetensors")}
    found = {path.relative_to(root).as_posix(): path for path in sorted(paths)}
    return {name: "" if changed_meanwhile(path) else hash_read(path) for name, path in found.items()}


def changed(reads: Mapping[str, str], root: Path) -> list[str]:
    """The files that are no longer as they were read."""
    return [name for name, read in reads.items() if hash_read(root / name) != read]
