"""Finding a model's files, and saying plainly what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import diffusers
import transformers
from safetensors import SafetensorError

from vwlib.paths import ROOT


def resolve(source: str) -> Path:
    """A local folder as an absolute path; relative ones start from the project's root."""
    return (ROOT / source).resolve()


def check_folder(source: str, *files: str) -> Path:
    """The folder `source`, once all of `files` are in it.

    Raises FileNotFoundError that names what is missing.
    """
    folder = resolve(source)
    if not folder.is_dir():
        raise FileNotFoundError(f"The model folder {folder} is missing; restore it from the repository or train it with `make pretrain`.")
    for file in files:
        if not (folder / file).exists():
            raise FileNotFoundError(f"{folder / file} is missing; restore it from the repository or train the model with `make pretrain`.")
    return folder


def seen_words(folder: Path) -> frozenset[str] | None:
    """The words that the model met in training, from its `words.json`; None where there is no such file."""
    file = folder / "words.json"
    return frozenset(json.loads(file.read_text())) if file.exists() else None


@contextmanager
def strict_loading(folder: Path) -> Iterator[None]:
    """Load without progress bars, and turn a library's complaint about weights into one sentence that names the folder.

    Raises ValueError where a file is truncated or a tensor is missing or of another shape.
    """
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    except (RuntimeError, ValueError, OSError, SafetensorError) as error:
        raise ValueError(f"The weights in {folder} are damaged or do not fit its configuration: {str(error).strip().splitlines()[0]}") from error
