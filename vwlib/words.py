"""Learned words and where they come from: kept as safetensors, listed and found again."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from safetensors import SafetensorError, safe_open

from vwlib.files import check_target, kind_of, write_whole

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

#: What vectors are read as: tensors of torch, or arrays of numpy for who only looks at them, since torch takes seconds
#: to import.
Framework = Literal["pt", "np"]


@dataclass(frozen=True)
class Word:
    """A learned word: `vectors` (vector, d) in float32 and all that determined them."""

    vectors: Tensor
    task: str
    dataset: str
    concept: str
    anchor: str
    delta: float | None  #: ball radius in units of the anchor's distance to its nearest word; None: unconstrained
    seed: int
    profile: str
    steps: int
    rate: float
    batch: int
    prompt: str
    precision: str  #: of the frozen model's matrix products
    model: str  #: digest of the model's weights
    #: digest of the dataset's training images and their boxes: the concept's, and those that it is told from
    images: str

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
    """Words as the content of a safetensors file, keyed by `word_id`; the same words give the same bytes, in whatever
    order.
    """
    from safetensors.torch import save

    # One entry of metadata for all words: safetensors writes several in an order that changes from run to run.
    described = json.dumps({word.word_id: word.provenance for word in words}, sort_keys=True)
    return save({word.word_id: word.vectors.contiguous().clone() for word in words}, {"words": described})


def save_words(words: Sequence[Word], path: Path) -> None:
    """Write words to one file; it appears whole or not at all."""
    write_whole(path, pack_words(words))


def load_words(path: Path, framework: Framework = "pt") -> list[Word]:
    """Read words back, their vectors as tensors of torch ("pt") or arrays of numpy ("np").

    Raises FileNotFoundError for a missing file and ValueError for one that is damaged or holds something else.
    """
    kind = kind_of(path)
    if kind == "nothing":
        raise FileNotFoundError(f"{path} is missing; learn the words first.")
    if kind != "file":
        told = {"folder": "a folder", "dead link": "a link that leads nowhere"}.get(kind, kind)
        raise ValueError(f"{path} is {told}; name a words file, such as `vwlib learn` writes.")
    try:
        with safe_open(path, framework) as file:
            keys, held = sorted(file.keys()), (file.metadata() or {}).get("words")
            if held is not None:
                described = json.loads(held)
                return [_checked(key, file.get_tensor(key), described) for key in keys]
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}).") from error
    except (SafetensorError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} {_damage(path)}: {str(error).splitlines()[0]}") from error
    raise ValueError(f"{path} holds {_instead_of_words(keys)}")


def check_words_file(path: Path) -> None:
    """That words can be added to a file, or the file be made; it changes nothing.

    Raises ValueError for a file that holds something else, and otherwise as `vwlib.files.check_target` does.
    """
    if kind_of(path) == "file":
        load_words(path)
    check_target(path, overwrite=True, example="words.safetensors")


def _instead_of_words(keys: list[str]) -> str:
    """What a safetensors file without provenance holds, by the names of its tensors; web interfaces call an embedding's
    `emb_params`.
    """
    if len(keys) == 1 and (keys[0] == "emb_params" or re.fullmatch(r"<[^<>]+>", keys[0])):
        name = "" if keys[0] == "emb_params" else f" ({keys[0]})"
        return (
            f"an exported embedding{name}, not words with their origin; name the words file that it was written from."
        )
    return f"no learned words, but {len(keys):,} tensors{f', the first {keys[0]}' if keys else ''}."


def _damage(path: Path) -> str:
    """What is wrong with a file that cannot be read, as far as its first bytes tell: torch writes pickles as zip files."""
    with path.open("rb") as file:
        is_pickle = file.read(4) in (b"PK\x03\x04", b"\x80\x02}q")
    return "is a pickle, and words are kept as safetensors" if is_pickle else "is damaged or holds no learned words"


def _checked(key: str, vectors: Tensor, described: Any) -> Word:
    """A word from its tensor and the provenance of all words in its file.

    Raises ValueError where the two do not fit each other, and for a value that its field cannot have.
    """
    if (
        not isinstance(described, dict)
        or not isinstance(origin := described.get(key), dict)
        or origin.keys() != _FIELDS.keys()
    ):
        raise ValueError(f"the word {key} has no provenance, or another one than words have.")
    for name, kinds in _FIELDS.items():
        value = origin[name]
        if (
            not isinstance(value, kinds)
            or isinstance(value, bool)
            or (isinstance(value, float) and not math.isfinite(value))
        ):
            raise ValueError(f"the word {key} has the {name} {value!r}.")
    if vectors.ndim != 2 or "float" not in str(vectors.dtype):
        raise ValueError(
            f"the word {key} is no table of vectors, but of shape {tuple(vectors.shape)} and type {vectors.dtype}."
        )
    return Word(vectors, **origin)


def words_table(words: Sequence[Word]) -> pd.DataFrame:
    """Words as a table, one row a word: its id, the columns of its provenance but those of `_HASHES`, and how many
    `vectors` of `d` numbers it has.
    """
    import pandas as pd

    rows = [
        {"word_id": word.word_id, **word.provenance, "vectors": word.vectors.shape[0], "d": word.vectors.shape[1]}
        for word in words
    ]
    columns = ["word_id", *(field.name for field in fields(Word) if field.name != "vectors"), "vectors", "d"]
    return pd.DataFrame(rows, columns=columns).drop(columns=_HASHES).astype({"delta": float})


#: What the fields of a word's provenance may be.
_FIELDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(
        ("task", "dataset", "concept", "anchor", "profile", "prompt", "precision", "model", "images"), (str,)
    ),
    **dict.fromkeys(("seed", "steps", "batch"), (int,)),
    "rate": (int, float),
    "delta": (int, float, type(None)),
}
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
    words: Sequence[Word],
    task: str = "",
    dataset: str = "",
    concept: str = "",
    anchor: str = "",
    delta: float | Literal["free"] | None = None,
) -> list[Word]:
    """The words of a task, dataset, concept, anchor and delta, as far as these are given; "free" are the unconstrained
    ones.

    Raises ValueError for a name that no word has, so that a slip of the pen is no empty list.
    """
    wanted: dict[str, object] = {
        name: value
        for name, value in (("task", task), ("dataset", dataset), ("concept", concept), ("anchor", anchor))
        if value
    }
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
        several = (
            f"{len(found)} words have ids that begin with '{word_id}'"
            if found
            else f"There is no word with the id '{word_id}' among {len(words):,}"
        )
        raise ValueError(f"{several}; `vwlib words` lists them.")
    return found[0]
