"""Learned words and where they come from: kept as safetensors, listed and found again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import pandas as pd
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
    images: str  # digest of the dataset's training images and their boxes: the concept's, and those that it is told from

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
    except (SafetensorError, KeyError, TypeError, OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged or holds no learned words: {str(error).splitlines()[0]}") from error


def words_table(words: Sequence[Word]) -> pd.DataFrame:
    """Words as a table, one row a word: its id, the columns of its provenance but those of `_HASHES`, and how many `vectors` of `d` numbers it has."""
    rows = [{"word_id": word.word_id, **word.provenance, "vectors": word.vectors.shape[0], "d": word.vectors.shape[1]} for word in words]
    columns = ["word_id", *(field.name for field in fields(Word) if field.name != "vectors"), "vectors", "d"]
    return pd.DataFrame(rows, columns=columns).drop(columns=_HASHES).astype({"delta": float})


#: What a table of words for people leaves out: hashes, and settings that are the same for a whole task.
_HASHES = ["model", "images", "rate", "batch", "prompt", "precision"]


def read_delta(text: str) -> float | Literal["free"] | None:
    """What `choose_words` takes, from text: a number, "free", or nothing.

    Raises ValueError for anything else.
    """
    if text in ("", "free"):
        return "free" if text else None
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"'{text}' is no delta: give the radius of a ball, such as 0.5, or free.") from None


def choose_words(
    words: Sequence[Word], task: str = "", dataset: str = "", concept: str = "", anchor: str = "", delta: float | Literal["free"] | None = None
) -> list[Word]:
    """The words of a task, dataset, concept, anchor and delta, as far as these are given; "free" are the unconstrained ones.

    Raises ValueError for a name that no word has, so that a slip of the pen is no empty list.
    """
    wanted: dict[str, object] = {name: value for name, value in (("task", task), ("dataset", dataset), ("concept", concept), ("anchor", anchor)) if value}
    if delta is not None:
        wanted["delta"] = None if delta == "free" else delta
    for name, value in wanted.items():
        known = dict.fromkeys(word.provenance[name] for word in words)
        if value not in known:
            there = ", ".join("free" if other is None else str(other) for other in known)
            raise ValueError(f"No word has the {name} '{'free' if value is None else value}'; there are {there}.")
    return [word for word in words if all(word.provenance[name] == value for name, value in wanted.items())]


def find_word(words: Sequence[Word], word_id: str) -> Word:
    """The word of that id, or of the only id that begins so.

    Raises ValueError where there is none or more than one.
    """
    found = [word for word in words if word_id and word.word_id.startswith(word_id)]
    if len(found) != 1:
        several = f"{len(found)} words have ids that begin with '{word_id}'" if found else f"There is no word with the id '{word_id}' among {len(words):,}"
        raise ValueError(f"{several}; `vwlib words` lists them.")
    return found[0]
