"""The contents of the results' files: finished chunks, scores and tables. The same content gives the same bytes."""

import hashlib
import io
import json
import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from vwlib.words import Framework, Word

log = logging.getLogger(__name__)
T = TypeVar("T")

_NUMBERS = {"delta": pa.float64(), "value": pa.float64(), "seed": pa.int64(), "n": pa.int64(), "steps": pa.int64()}
_NAMES = "study dataset concept anchor trained_on delta seed evaluated_on metric value n map steps word_id"
#: The columns of the table of scores in order; metrics' further figures follow.
SCORE_COLUMNS = {name: _NUMBERS.get(name, pa.string()) for name in _NAMES.split()}


@dataclass(frozen=True)
class ChunkResult:
    """A finished chunk: its words, the rows of their scores, and the ids of the words that diverged."""

    words: list[Word] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def pack_chunk(result: ChunkResult) -> bytes:
    """A chunk as the content of a safetensors file, with a checksum among its metadata."""
    words = {word.word_id: word.provenance for word in result.words}
    held = {"words": words, "rows": result.rows, "failed": result.failed}
    described = json.dumps(held, sort_keys=True, allow_nan=False)
    tensors = {word.word_id: np.ascontiguousarray(word.vectors) for word in result.words}
    content = json.dumps({"part": described, "checksum": _checksum(described, tensors)})
    return save_arrays(tensors, {"content": content})


def unpack_chunk(content: bytes, framework: Framework = "pt") -> ChunkResult:
    """The chunk in a file's content; `framework` as in `load_words`. Raises ValueError if it was altered."""
    try:
        tensors: dict[str, Any] = load_arrays(content)
        length = int.from_bytes(content[:8], "little")
        held = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["content"])
        if held["checksum"] != _checksum(held["part"], tensors):
            raise ValueError("its checksum does not fit its content")
        part = json.loads(held["part"])
        if framework == "pt":
            import torch  # takes seconds

            tensors = {key: torch.from_numpy(array.copy()) for key, array in tensors.items()}
        words = [Word(tensors[key], **origin) for key, origin in part["words"].items()]
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueError(str(error).splitlines()[0]) from error
    return ChunkResult(words, part["rows"], part["failed"])


def _checksum(described: str, tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(described.encode())
    for key in sorted(tensors):
        digest.update(key.encode() + tensors[key].tobytes())
    return digest.hexdigest()


def pack_scores(rows: Sequence[dict[str, Any]]) -> bytes:
    """The study's table of scores as the content of a parquet file."""
    extra = sorted({name for row in rows for name in row} - SCORE_COLUMNS.keys())
    schema = pa.schema([*SCORE_COLUMNS.items(), *((name, pa.float64()) for name in extra)])
    return _pack_parquet(pa.Table.from_pylist(list(rows), schema))


def pack_table(table: pd.DataFrame) -> bytes:
    """An experiment's table as the content of a parquet file."""
    content = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    return _pack_parquet(content, write_page_checksum=True)


def _pack_parquet(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", **options)
    return buffer.getvalue()


def unpack_table(content: bytes) -> pd.DataFrame:
    """The table in a parquet file's content. Raises ValueError where it is truncated or altered."""
    try:
        return pq.read_table(pa.BufferReader(content), page_checksum_verification=True).to_pandas()
    except (pa.ArrowException, OSError, zlib.error) as error:
        raise ValueError(str(error).splitlines()[0]) from error


def sha256(content: bytes) -> str:
    """A checksum, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def pack_json(content: Mapping[str, Any]) -> bytes:
    """The content of a JSON file."""
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def read_file(path: Path, unpack: Callable[[bytes], T]) -> T | None:
    """The content of a file; None where it is missing, or damaged, which is named in the log."""
    try:
        return unpack(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        log.warning("%s is damaged (%s); what it held is made again.", path, error)
        return None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file; nothing where it is missing, or damaged, which is named in the log."""
    found = read_file(path, json.loads)
    return found if isinstance(found, dict) else {}
