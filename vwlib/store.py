"""The study on disk: finished chunks while it runs, and the published tables and banks. Every file appears whole or not at all.

Below a root, for each profile:

| file | holds |
|---|---|
| `results/<profile>/trials.parquet` | the scores, one row a word and evaluation |
| `results/<profile>/study.json` | the settings, the failed words and the files' checksums |
| `results/<profile>/runs.jsonl` | the run log: chunk, seconds, host, commit, time |
| `words/<profile>/<task>.safetensors` | the bank of a task: its learned words by `word_id` |
| `chunks/<profile>/<digest>/` | finished chunks, of the project's own store in the cache; not needed once the others are there |
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from vwlib.files import write_whole, writing_to
from vwlib.models import TASKS
from vwlib.paths import CACHE, DATA
from vwlib.plan import REFERENCES, Chunk, make_plan, settings_of, study_digest
from vwlib.profiles import Profile
from vwlib.study import as_words
from vwlib.words import Word, load_words, pack_words

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """What a chunk came to: its words, the rows of its scores, and the ids of the words that diverged."""

    words: list[Word] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def pack_part(part: Part) -> bytes:
    """A part as the content of a safetensors file, with a checksum among its metadata; the same part gives the same bytes."""
    described = json.dumps(
        {"words": {word.word_id: word.provenance for word in part.words}, "rows": part.rows, "failed": part.failed}, sort_keys=True, allow_nan=False
    )
    tensors = {word.word_id: word.vectors.contiguous().clone() for word in part.words}
    content = json.dumps({"part": described, "checksum": _checksum(described, tensors)})
    return save_tensors(tensors, {"content": content})


def unpack_part(content: bytes) -> Part:
    """The part in a file's content.

    Raises ValueError where it is truncated or altered.
    """
    try:
        tensors = load_tensors(content)
        length = int.from_bytes(content[:8], "little")
        held = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["content"])
        if held["checksum"] != _checksum(held["part"], tensors):
            raise ValueError("its checksum does not fit its content")
        part = json.loads(held["part"])
        words = [Word(tensors[key], **part["words"][key]) for key in part["words"]]
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueError(str(error).splitlines()[0]) from error
    return Part(words, part["rows"], part["failed"])


def _checksum(described: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(described.encode())
    for key in sorted(tensors):
        digest.update(key.encode() + tensors[key].numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Store:
    """The files of one profile's study below `root`."""

    profile: Profile
    root: Path = DATA

    @property
    def results(self) -> Path:
        """The folder of the tables."""
        return self.root / "results" / self.profile.name

    @property
    def table_file(self) -> Path:
        """The table of scores."""
        return self.results / "trials.parquet"

    @property
    def summary_file(self) -> Path:
        """Settings, failures and checksums."""
        return self.results / "study.json"

    def bank_file(self, task: str) -> Path:
        """The learned words of a task."""
        return self.root / "words" / self.profile.name / f"{task}.safetensors"

    @cached_property
    def chunk_folder(self) -> Path:
        """Where finished chunks of this very study lie; another study's lie elsewhere."""
        root = CACHE if self.root == DATA else self.root
        return root / "chunks" / self.profile.name / study_digest(self.profile)

    # --- chunks -----------------------------------------------------------------------------------------------------

    def save(self, chunk: Chunk, part: Part) -> None:
        """Keep a finished chunk."""
        write_whole(self.chunk_folder / f"{chunk.name}.safetensors", pack_part(part))

    def load(self, chunk: Chunk) -> Part | None:
        """A finished chunk, from its own file or out of what is published; None where it is missing.

        A damaged file is named in the log and counts as missing.
        """
        path = self.chunk_folder / f"{chunk.name}.safetensors"
        try:
            return unpack_part(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return self._published(chunk)
        except ValueError as error:
            log.warning("%s is damaged (%s); it is computed again.", path, error)
            return None

    def finished(self, chunk: Chunk) -> bool:
        """Whether a chunk need not be computed."""
        return self.load(chunk) is not None

    # --- what is published ------------------------------------------------------------------------------------------

    @cached_property
    def _summary(self) -> dict[str, Any]:
        try:
            summary = json.loads(self.summary_file.read_text())
            return summary if {"files", "failed", "digest"} <= summary.keys() else {}
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except ValueError as error:
            log.warning("%s is damaged (%s); the study is checked chunk by chunk.", self.summary_file, error)
            return {}

    def _intact(self, path: Path) -> bool:
        """Whether a published file is there and is what was published; a difference is named in the log."""
        expected = self._summary.get("files", {}).get(self._label(path))
        if expected is None or not path.exists():
            return False
        if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            log.warning("%s is damaged or was altered: its checksum is not the published one. What it held is computed again.", path)
            return False
        return True

    def _label(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    @cached_property
    def bank(self) -> dict[str, Word]:
        """The published words by `word_id`; those of a damaged file are left out."""
        return {word.word_id: word for task in TASKS if self._intact(self.bank_file(task)) for word in load_words(self.bank_file(task))}

    @cached_property
    def _rows(self) -> dict[tuple[str, ...], list[dict[str, Any]]]:
        """The published rows of each chunk-wise key; none where the table is damaged or belongs to other settings."""
        if self._summary.get("digest") != study_digest(self.profile) or not self._intact(self.table_file):
            return {}
        rows: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for row in pq.read_table(self.table_file).to_pylist():
            key = (row["word_id"],) if row["word_id"] else (REFERENCES, row["dataset"], row["evaluated_on"])
            rows.setdefault(key, []).append({name: value for name, value in row.items() if value is not None or name == "delta"})
        return rows

    def _published(self, chunk: Chunk) -> Part | None:
        if not self._summary:
            return None
        if chunk.kind == REFERENCES:
            rows = self._rows.get((REFERENCES, chunk.dataset, chunk.task))
            return Part(rows=rows) if rows else None
        ids = word_ids(self.profile, chunk)
        failed = [word_id for word_id in ids if word_id in self._summary["failed"]]
        learned = [word_id for word_id in ids if word_id not in failed]
        if all(word_id in self.bank and (word_id,) in self._rows for word_id in learned):
            by_target = [row for word_id in learned for row in self._rows[(word_id,)]]
            return Part([self.bank[word_id] for word_id in learned], by_target, failed)
        return None

    def known_words(self, chunk: Chunk) -> list[Word] | None:
        """A chunk's words, where all of them are in the bank already and only their scores are missing."""
        ids = word_ids(self.profile, chunk)
        return [self.bank[word_id] for word_id in ids] if all(word_id in self.bank for word_id in ids) else None

    def publish(self) -> None:
        """Write the table, the banks and `study.json` from the finished chunks, in the plan's order.

        Raises ValueError while a chunk is missing.
        """
        plan = make_plan(self.profile)
        parts = [self.load(chunk) for chunk in plan]
        missing = [chunk.name for chunk, part in zip(plan, parts, strict=True) if part is None]
        if missing:
            raise ValueError(f"{len(missing)} of {len(plan)} chunks are missing, the first {missing[0]}; run `vwlib study --profile {self.profile.name}`.")
        whole = [part for part in parts if part is not None]
        files = {self.table_file: pack_table([row for part in whole for row in part.rows])}
        for task in TASKS:
            files[self.bank_file(task)] = pack_words([word for part in whole for word in part.words if word.task == task])
        for path, content in files.items():
            if not path.exists() or path.read_bytes() != content:
                write_whole(path, content)
        summary = {
            "digest": study_digest(self.profile),
            "words": sum(len(part.words) for part in whole),
            "failed": sorted(word_id for part in whole for word_id in part.failed),
            "files": {self._label(path): hashlib.sha256(content).hexdigest() for path, content in files.items()},
            "settings": settings_of(self.profile),
        }
        write_whole(self.summary_file, (json.dumps(summary, indent=1, sort_keys=True) + "\n").encode())

    # --- the run log ------------------------------------------------------------------------------------------------

    @property
    def log_file(self) -> Path:
        """The run log."""
        return self.results / "runs.jsonl"

    def note(self, record: dict[str, Any]) -> None:
        """Add a line to the run log; one short write, so that two processes do not mix theirs."""
        with writing_to(self.results), self.log_file.open("a") as file:
            file.write(json.dumps(record, sort_keys=True) + "\n")

    def notes(self) -> pd.DataFrame:
        """The run log as a table; empty where there is none."""
        if not self.log_file.exists():
            return pd.DataFrame(columns=["chunk", "task", "kind", "words", "seconds"])
        return pd.DataFrame([json.loads(line) for line in self.log_file.read_text().splitlines() if line.endswith("}")])


def word_ids(profile: Profile, chunk: Chunk) -> list[str]:
    """The ids of a chunk's words, before they are learned."""
    nothing = torch.empty(len(chunk.trials), 0, 0)
    return [word.word_id for word in as_words(chunk.task, profile, chunk.trials, nothing)] if chunk.kind != REFERENCES else []


#: The table's columns in order (design.md, section 7); metrics' further figures follow.
COLUMNS = {
    "study": pa.string(),
    "dataset": pa.string(),
    "concept": pa.string(),
    "anchor": pa.string(),
    "trained_on": pa.string(),
    "delta": pa.float64(),
    "seed": pa.int64(),
    "evaluated_on": pa.string(),
    "metric": pa.string(),
    "value": pa.float64(),
    "n": pa.int64(),
    "map": pa.string(),
    "steps": pa.int64(),
    "word_id": pa.string(),
}


def pack_table(rows: Sequence[dict[str, Any]]) -> bytes:
    """The table of scores as the content of a parquet file; the same rows give the same bytes."""
    extra = sorted({name for row in rows for name in row} - COLUMNS.keys())
    schema = pa.schema([*COLUMNS.items(), *((name, pa.float64()) for name in extra)])
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema), buffer, compression="zstd")
    return buffer.getvalue()
