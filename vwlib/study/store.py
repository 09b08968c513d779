"""The study on disk: finished chunks while it runs, and the published tables and banks. Every file appears whole or not
at all.

Below a root, for each profile:

| file | holds |
|---|---|
| `results/<profile>/trials.parquet` | the scores, one row a word and evaluation |
| `results/<profile>/study.json` | the settings, what each chunk came from, the failed words and the files' checksums |
| `results/<profile>/runs.jsonl` | the run log: chunk, seconds, host, commit, time |
| `words/<profile>/<task>.safetensors` | the bank of a task: its learned words by `word_id` |
| `words/README.md` | the banks' card |
| `chunks/<profile>/` | finished chunks, of the project's own store in the cache; not needed once the others are there |
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from vwlib.concepts import TASKS
from vwlib.files import write_whole, writing_to
from vwlib.paths import CACHE, DATA
from vwlib.settings import Profile
from vwlib.study.bank import bank_file
from vwlib.study.digest import as_words
from vwlib.study.plan import REFERENCES, Chunk, chunk_digests, make_plan, settings_of
from vwlib.tools.card import write_card
from vwlib.words import Framework, Word, load_words, pack_words

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

#: After so many seconds a temporary file is nobody's: writing one takes less than a minute, even to a slow shared
#: folder.
ABANDONED = 3600
#: What every line of the run log says of a chunk: how many words of how many steps, and the seconds of learning and of
#: scoring them on all tasks.
NOTED = ("chunk", "kind", "task", "words", "steps", "learning", "scoring")


@dataclass(frozen=True)
class Part:
    """What a chunk came to: its words, the rows of its scores, and the ids of the words that diverged."""

    words: list[Word] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Progress:
    """How far a chunk is that is finished: how many of its words are learned and scored, and the ids of those that
    diverged.
    """

    finished: int
    failed: list[str]


def pack_part(part: Part) -> bytes:
    """A part as the content of a safetensors file, with a checksum among its metadata; the same part gives the same
    bytes.
    """
    described = json.dumps(
        {"words": {word.word_id: word.provenance for word in part.words}, "rows": part.rows, "failed": part.failed},
        sort_keys=True,
        allow_nan=False,
    )
    tensors = {word.word_id: np.ascontiguousarray(word.vectors) for word in part.words}
    content = json.dumps({"part": described, "checksum": _checksum(described, tensors)})
    return save_arrays(tensors, {"content": content})


def unpack_part(content: bytes, framework: Framework = "pt") -> Part:
    """The part in a file's content; `framework` as for `vwlib.words.load_words`.

    Raises ValueError where it is truncated or altered.
    """
    try:
        tensors = load_arrays(content)
        length = int.from_bytes(content[:8], "little")
        held = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["content"])
        if held["checksum"] != _checksum(held["part"], tensors):
            raise ValueError("its checksum does not fit its content")
        part = json.loads(held["part"])
        words = [Word(_as(framework, tensors[key]), **part["words"][key]) for key in part["words"]]
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueError(str(error).splitlines()[0]) from error
    return Part(words, part["rows"], part["failed"])


def _as(framework: Framework, vectors: np.ndarray) -> Tensor:
    if framework == "np":
        return vectors  # type: ignore[return-value]  # who only looks at words has no need of torch
    import torch

    return torch.from_numpy(vectors.copy())


def _checksum(described: str, tensors: Mapping[str, np.ndarray] = MappingProxyType({})) -> str:
    digest = hashlib.sha256(described.encode())
    for key in sorted(tensors):
        digest.update(key.encode() + tensors[key].tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Store:
    """The files of one profile's study below `root`."""

    profile: Profile
    root: Path = DATA
    framework: Framework = "pt"  # of the words' vectors

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
        return bank_file(self.root, self.profile.name, task)

    @property
    def chunk_folder(self) -> Path:
        """Where finished chunks lie."""
        return (CACHE if self.root == DATA else self.root) / "chunks" / self.profile.name

    def chunk_file(self, chunk: Chunk) -> Path:
        """A finished chunk; its name says what it came from, so that chunks of other settings lie beside it unharmed."""
        return self.chunk_folder / f"{chunk.name}-{chunk_digests(self.profile, chunk)[1]}.safetensors"

    def tidy(self) -> None:
        """Remove what processes that were killed while writing have left; what another process may still be writing
        stays.
        """
        for folder in (self.chunk_folder, self.results, self.bank_file(TASKS[0]).parent):
            for path in folder.glob(".*.partial"):
                with suppress(OSError):  # another process tidies as well, or the folder is not ours to tidy
                    if time.time() - path.stat().st_mtime > ABANDONED:
                        path.unlink()

    # --- chunks -----------------------------------------------------------------------------------------------------

    def save(self, chunk: Chunk, part: Part) -> None:
        """Keep a finished chunk."""
        write_whole(self.chunk_file(chunk), pack_part(part))

    def load(self, chunk: Chunk) -> Part | None:
        """A finished chunk, from its own file or out of what is published; None where it is missing.

        A damaged file is named in the log and counts as missing.
        """
        path = self.chunk_file(chunk)
        try:
            return unpack_part(path.read_bytes(), self.framework)
        except (FileNotFoundError, NotADirectoryError):
            return self._published(chunk)
        except ValueError as error:
            log.warning("%s is damaged (%s); it is computed again.", path, error)
            return None

    def load_all(self) -> dict[Chunk, Part | None]:
        """Every chunk of the plan in its order, None where it is missing or damaged."""
        return {chunk: self.load(chunk) for chunk in make_plan(self.profile)}

    def progress(self) -> dict[Chunk, Progress | None]:
        """How far every chunk of the plan is, in its order, None where it is missing or damaged.

        What is published and whole is not read: its checksums vouch for it.
        """
        return {chunk: self._progress(chunk) for chunk in make_plan(self.profile)}

    def _progress(self, chunk: Chunk) -> Progress | None:
        is_published = (
            self._digests(chunk) == chunk_digests(self.profile, chunk) and not self.chunk_file(chunk).exists()
        )
        whole = is_published and {self.table_file, *map(self.bank_file, TASKS)} <= self._intact
        if whole and not self._summary["failed"]:
            return Progress(len(chunk.trials) if chunk.kind != REFERENCES else 0, [])
        part = self.load(chunk)
        return Progress(len(part.words), part.failed) if part else None

    # --- what is published ------------------------------------------------------------------------------------------

    @cached_property
    def _summary(self) -> dict[str, Any]:
        try:
            summary = json.loads(self.summary_file.read_text())
            if summary.pop("checksum") != _checksum(json.dumps(summary, sort_keys=True)):
                raise ValueError("its checksum does not fit its content")
            return summary
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning(
                "%s is damaged or was altered (%s); what it vouches for is made again.", self.summary_file, error
            )
            return {}

    @cached_property
    def _intact(self) -> set[Path]:
        """The published files that are there and are what was published; a difference is named in the log."""
        intact = set()
        for path in (self.table_file, *map(self.bank_file, TASKS)):
            expected = self._summary.get("files", {}).get(self._label(path))
            if expected and path.exists():
                if hashlib.sha256(path.read_bytes()).hexdigest() == expected:
                    intact.add(path)
                else:
                    log.warning(
                        "%s is damaged or was altered: its checksum is not the published one. What it held is made again.",
                        path,
                    )
        return intact

    @property
    def unfit(self) -> list[str]:
        """The published files that are missing, or not what was published, or of other settings, by their place below
        the root.
        """
        current = all(self._digests(chunk) == chunk_digests(self.profile, chunk) for chunk in make_plan(self.profile))
        lost = [] if current else [self.summary_file]
        return [
            self._label(path)
            for path in (*lost, self.table_file, *map(self.bank_file, TASKS))
            if path not in self._intact
        ]

    def _label(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    @cached_property
    def bank(self) -> dict[str, Word]:
        """The published words by `word_id`; those of a damaged file are left out."""
        return {
            word.word_id: word
            for task in TASKS
            if self.bank_file(task) in self._intact
            for word in load_words(self.bank_file(task), self.framework)
        }

    @cached_property
    def _rows(self) -> dict[tuple[str, ...], list[dict[str, Any]]]:
        """The published rows of each word, and of each dataset's floors and ceilings on a task; none where the table is
        damaged.
        """
        if self.table_file not in self._intact:
            return {}
        rows: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for row in pq.read_table(self.table_file).to_pylist():
            key = (row["word_id"],) if row["word_id"] else (REFERENCES, row["dataset"], row["evaluated_on"])
            rows.setdefault(key, []).append(
                {name: value for name, value in row.items() if value is not None or name == "delta"}
            )
        return rows

    def _published(self, chunk: Chunk) -> Part | None:
        if self._digests(chunk) != chunk_digests(self.profile, chunk):
            return None
        if chunk.kind == REFERENCES:
            rows = self._rows.get((REFERENCES, chunk.dataset, chunk.task))
            return Part(rows=rows) if rows else None
        ids = self._known_ids(chunk)
        failed = [word_id for word_id in ids if word_id in self._summary["failed"]]
        learned = [word_id for word_id in ids if word_id not in failed]
        if all(word_id in self.bank and (word_id,) in self._rows for word_id in learned):
            by_target = [row for word_id in learned for row in self._rows[(word_id,)]]
            return Part([self.bank[word_id] for word_id in learned], by_target, failed)
        return None

    def _digests(self, chunk: Chunk) -> tuple[str | None, str | None]:
        """What a chunk's published words came from, and its words and scores; None where it is not published."""
        words, scores = self._summary.get("chunks", {}).get(chunk.name, (None, None))
        return words, scores

    def known_words(self, chunk: Chunk) -> list[Word] | None:
        """A chunk's words, where all of them are in the bank already and only their scores are missing."""
        if chunk.kind == REFERENCES or self._digests(chunk)[0] != chunk_digests(self.profile, chunk)[0]:
            return None
        ids = self._known_ids(chunk)
        return [self.bank[word_id] for word_id in ids] if all(word_id in self.bank for word_id in ids) else None

    def _known_ids(self, chunk: Chunk) -> list[str]:
        """The id of each of a chunk's words: of those that it may have, the one that is published."""
        failed = self._summary.get("failed", [])
        return [
            next((word_id for word_id in ids if word_id in self.bank or word_id in failed), ids[0])
            for ids in word_ids(self.profile, chunk)
        ]

    def publish(self, parts: Mapping[Chunk, Part | None] | None = None) -> None:
        """Write the table, the banks, `study.json` and the banks' card from the finished chunks in the plan's order.

        `parts` are those, where they were read already. Raises ValueError while a chunk is missing.
        """
        plan = make_plan(self.profile)
        parts = self.load_all() if parts is None else parts
        missing = [chunk.name for chunk in plan if parts[chunk] is None]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(plan)} chunks are missing, the first {missing[0]}; run `vwlib study --profile {self.profile.name}`."
            )
        whole = [part for chunk in plan if (part := parts[chunk])]
        files = {self.table_file: pack_table([row for part in whole for row in part.rows])}
        for task in TASKS:
            files[self.bank_file(task)] = pack_words(
                [word for part in whole for word in part.words if word.task == task]
            )
        summary: dict[str, Any] = {
            "words": sum(len(part.words) for part in whole),
            "failed": sorted(word_id for part in whole for word_id in part.failed),
            "chunks": {chunk.name: chunk_digests(self.profile, chunk) for chunk in plan},
            "files": {self._label(path): hashlib.sha256(content).hexdigest() for path, content in files.items()},
            "settings": settings_of(self.profile),
        }
        summary["checksum"] = _checksum(json.dumps(summary, sort_keys=True))
        files[self.summary_file] = (
            json.dumps(summary, indent=1, sort_keys=True) + "\n"
        ).encode()  # last: it vouches for the others
        for path, content in files.items():
            if not path.exists() or path.read_bytes() != content:
                write_whole(path, content)
        write_card(self.root)

    # --- the run log ------------------------------------------------------------------------------------------------

    @property
    def log_file(self) -> Path:
        """The run log."""
        return self.results / "runs.jsonl"

    def note(self, record: dict[str, Any]) -> None:
        """Add a line to the run log; one short write, so that two processes do not mix theirs."""
        with writing_to(self.results), self.log_file.open("ab+") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            torn = file.read(1) not in (b"", b"\n")  # a process was killed, or the disk full, in the middle of a line
            file.write(("\n" * torn + json.dumps(record, sort_keys=True) + "\n").encode())

    def notes(self) -> pd.DataFrame:
        """The run log as a table, of the columns `NOTED`; empty where there is none. Lines that are not whole are
        passed over.
        """
        lines = self.log_file.read_text(errors="replace").splitlines() if self.log_file.exists() else []
        return pd.DataFrame([record for line in lines if (record := _noted(line))], columns=list(NOTED))


def _noted(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and record.keys() >= set(NOTED) else None


def word_ids(profile: Profile, chunk: Chunk) -> list[tuple[str, ...]]:
    """The ids that each of a chunk's words may have, one for each precision that the profile leaves to the machine;
    none for floors and ceilings.
    """
    if chunk.kind == REFERENCES:
        return []
    nothing = np.empty((len(chunk.trials), profile.vectors, 0))
    left_open = chunk.task == "generation" and profile.generator.precision == "auto"
    precisions = ("bfloat16", "float32") if left_open else (None,)
    found = [as_words(chunk.task, profile, chunk.trials, nothing, precision) for precision in precisions]
    return [tuple(word.word_id for word in words) for words in zip(*found, strict=True)]


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
