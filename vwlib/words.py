"""Learned words and where they come from: kept as safetensors, and exported for other programs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


@dataclass(frozen=True)
class Word:
    """A learned word: `vectors` (vector, d) in float32 and all that determined them."""

    vectors: Tensor
    task: str
    dataset: str
    concept: str
    anchor: str
    delta: float | None  # ball radius in units of the anchor's distance to its nearest word; None: unconstrained
    seed: int
    profile: str
    steps: int
    rate: float
    batch: int
    model: str  # fingerprint of the model's word table

    @property
    def provenance(self) -> dict[str, str | int | float | None]:
        """Everything but the vectors."""
        return {key: value for key, value in asdict(self).items() if key != "vectors"}

    @property
    def word_id(self) -> str:
        """A hash of everything that determines the word: the same trial with the same settings has the same id."""
        return hashlib.sha256(json.dumps(self.provenance, sort_keys=True).encode()).hexdigest()[:16]


def fingerprint(table: Tensor) -> str:
    """A short hash of a word table (vocab, d), by which a word recognises the model it was learned in."""
    return hashlib.sha256(table.detach().float().contiguous().numpy().tobytes()).hexdigest()[:16]


def save_words(words: Sequence[Word], path: Path) -> None:
    """Write words to one safetensors file, keyed by `word_id`; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.partial")
    metadata = {word.word_id: json.dumps(word.provenance, sort_keys=True) for word in words}
    try:
        save_file({word.word_id: word.vectors.clone() for word in words}, temporary, dict(sorted(metadata.items())))
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_words(path: Path) -> list[Word]:
    """Read words back.

    Raises FileNotFoundError for a missing file and ValueError for one that is damaged or holds something else.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; learn the words first.")
    try:
        with safe_open(path, "pt") as file:
            described = file.metadata() or {}
            return [Word(file.get_tensor(key), **json.loads(described[key])) for key in sorted(file.keys())]
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged or holds no learned words: {str(error).splitlines()[0]}") from error


def export_textual_inversion(word: Word, token: str, path: Path) -> None:
    """Write a generation word as `learned_embeds.safetensors`, which diffusers' `load_textual_inversion` reads.

    The file has the single key `token` with the vectors (vector, d). Raises ValueError for a word of another task.
    """
    if word.task != "generation":
        raise ValueError(f"Only a generation word can be loaded into a Stable Diffusion pipeline; this one was learned for {word.task}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({token: word.vectors.float().clone()}, path)
