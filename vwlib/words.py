"""Learned words with all that determined them, saved and loaded as safetensors."""

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

from vwlib.files import write_whole

if TYPE_CHECKING:
    from torch import Tensor

#: Vectors are read as tensors of torch, which takes seconds to import, or as arrays of numpy.
Framework = Literal["pt", "np"]


@dataclass(frozen=True)
class Word:
    """A learned word: `vectors` (vector, d) in float32, and everything that determined them."""

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
    patience: int | None = None  #: steps without a lower loss after which the word stopped; None: it never did
    strata: int | None = None  #: of the times of noising in a batch; None: one

    @property
    def provenance(self) -> dict[str, str | int | float | None]:
        """Everything but the vectors, and but what was learned in the usual way."""
        named = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "vectors"}
        return {name: value for name, value in named.items() if value is not None or name not in _OPTIONAL}

    @property
    def word_id(self) -> str:
        """A hash of everything that determines the word: the same trial with the same settings has the same id."""
        determined = self.provenance | {"vectors": len(self.vectors)}
        return hashlib.sha256(json.dumps(determined, sort_keys=True).encode()).hexdigest()[:16]


#: The types that a field of the provenance may have, by its annotation.
_TYPES = {"str": (str,), "int": (int,), "float": (int, float), "float | None": (int, float, type(None))}
_TYPES["int | None"] = (int,)
_OPTIONAL = {field.name for field in fields(Word) if field.default is None}
_FIELDS = {field.name: _TYPES[str(field.type)] for field in fields(Word) if field.name != "vectors"}


def pack_words(words: Sequence[Word]) -> bytes:
    """Words as a safetensors file, keyed by `word_id`; the same words give the same bytes, whatever their order."""
    from safetensors.torch import save

    # One entry of metadata for all words: safetensors writes several in an order that changes from run to run.
    described = json.dumps({word.word_id: word.provenance for word in words}, sort_keys=True)
    return save({word.word_id: word.vectors.contiguous().clone() for word in words}, {"words": described})


def save_words(words: Sequence[Word], path: Path) -> None:
    """Write words to one file; it appears whole or not at all."""
    write_whole(path, pack_words(words))


def load_words(path: Path, framework: Framework = "pt") -> list[Word]:
    """Read words. Raises FileNotFoundError for a missing file and ValueError for one that holds anything else."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; learn the words first.")
    if not path.is_file():
        raise ValueError(f"{path} is not a file of words, such as `vwlib learn` writes.")
    try:
        with safe_open(path, framework) as file:
            keys, described = sorted(file.keys()), (file.metadata() or {}).get("words")
            if described is not None:
                origins = json.loads(described)
                return [_checked(key, file.get_tensor(key), origins) for key in keys]
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}).") from error
    except (SafetensorError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is damaged or holds no learned words (it may be a pickle): {reason}") from error
    if len(keys) == 1 and re.fullmatch(r"emb_params|<[^<>]+>", keys[0]):
        raise ValueError(f"{path} holds an exported embedding ({keys[0]}); name the words file that it was made from.")
    raise ValueError(f"{path} holds no learned words, but {len(keys):,} tensors, such as {', '.join(keys[:1])}.")


def _checked(key: str, vectors: Tensor, origins: Any) -> Word:
    """A word from its tensor and the provenance of all words in its file. Raises ValueError if the two do not fit."""
    origin = origins.get(key) if isinstance(origins, dict) else None
    if not isinstance(origin, dict) or origin.keys() | _OPTIONAL != _FIELDS.keys():
        raise ValueError(f"the word {key} lacks the provenance that words have.")
    for name, value in origin.items():
        types = _FIELDS[name]
        infinite = isinstance(value, float) and not math.isfinite(value)
        if not isinstance(value, types) or isinstance(value, bool) or infinite:
            raise ValueError(f"the word {key} has the {name} {value!r}.")
    if vectors.ndim != 2 or "float" not in str(vectors.dtype):
        raise ValueError(f"the word {key} is of shape {tuple(vectors.shape)} and type {vectors.dtype}.")
    return Word(vectors, **origin)
