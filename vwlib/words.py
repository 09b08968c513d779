"""Learned words and where they come from: kept as safetensors, and exported for other programs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vwlib.files import write_whole


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
    prompt: str
    precision: str  # of the frozen model's matrix products
    model: str  # digest of the model's weights
    images: str  # digest of the concept's training images and of those that it is told from

    @property
    def provenance(self) -> dict[str, str | int | float | None]:
        """Everything but the vectors."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "vectors"}

    @property
    def word_id(self) -> str:
        """A hash of everything that determines the word: the same trial with the same settings has the same id."""
        determined = self.provenance | {"vectors": len(self.vectors)}
        return hashlib.sha256(json.dumps(determined, sort_keys=True).encode()).hexdigest()[:16]


def pack_words(words: Sequence[Word]) -> bytes:
    """Words as the content of a safetensors file, keyed by `word_id`; the same words give the same bytes, in whatever order."""
    # One entry of metadata for all words: safetensors writes several in an order that changes from run to run.
    described = json.dumps({word.word_id: word.provenance for word in words}, sort_keys=True)
    return save({word.word_id: word.vectors.contiguous().clone() for word in words}, {"words": described})


def save_words(words: Sequence[Word], path: Path) -> None:
    """Write words to one file; it appears whole or not at all."""
    write_whole(path, pack_words(words))


def load_words(path: Path) -> list[Word]:
    """Read words back.

    Raises FileNotFoundError for a missing file and ValueError for one that is damaged or holds something else.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; learn the words first.")
    try:
        with safe_open(path, "pt") as file:
            described = json.loads((file.metadata() or {})["words"])
            return [Word(file.get_tensor(key), **described[key]) for key in sorted(file.keys())]
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged or holds no learned words: {str(error).splitlines()[0]}") from error


def export_textual_inversion(word: Word, token: str, path: Path) -> None:
    """Write a generation word as `learned_embeds.safetensors`, which diffusers' `load_textual_inversion` reads.

    The file has the single key `token` with the vectors (vector, d). Raises ValueError for a word of another task.
    """
    if word.task != "generation":
        raise ValueError(f"Only a generation word can be loaded into a Stable Diffusion pipeline; this one was learned for {word.task}.")
    write_whole(path, save({token: word.vectors.float().contiguous().clone()}))
