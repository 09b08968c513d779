"""The results on disk: finished pieces while a run goes on, then the published tables and words. Every file appears
whole or not at all.

Below a root, for each profile:

- `results/<profile>/trials.parquet`: the study's scores, one row a word and evaluation
- `results/<profile>/study.json`: the settings, what each chunk came from, the failed words and the files' checksums
- `results/<profile>/runs.jsonl`: the run log: chunk, seconds, host, commit, time
- `words/<profile>/<task>.safetensors`: the bank of a task: its learned words by `word_id`
- `fresh.parquet`, `fresh.json` and `fresh-<task>.safetensors` beside these: the same of the grid of fresh concepts
- `results/<profile>/<name>.parquet`: the table of an experiment
- `results/<profile>/experiments.json`: for each such table its checksum, rows, and a digest of what it was made from
- `chunks/<profile>/`: finished chunks, and cases of experiments; the project's own are in the cache
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from vwlib.concepts import TASKS
from vwlib.files import write_whole
from vwlib.paths import CACHE, DATA
from vwlib.settings import Profile, load_profile
from vwlib.study import formats
from vwlib.study.formats import ChunkResult, read_file, read_json, sha256
from vwlib.study.plan import REFERENCES, Chunk, chunk_digests, make_plan, settings_of, word_ids
from vwlib.words import Framework, Word, load_words, pack_words

log = logging.getLogger(__name__)

#: The names of the grids' tables: the study's own, and that of fresh concepts.
TRIALS, FRESH = GRIDS = "trials", "fresh"


def results_root(profile: Profile) -> Path:
    """The root of a profile's results: the project's data or, with `compute_on_demand`, the cache."""
    return CACHE / "on_demand" if profile.study.compute_on_demand else DATA


#: Temporary files are removed after so many seconds: writing one takes less than a minute, even to a slow folder.
ABANDONED = 3600


@dataclass(frozen=True, eq=False)
class Store:
    """The files of one profile's grid and experiments below `root`."""

    profile: Profile
    root: Path = DATA
    framework: Framework = "pt"  #: of the words' vectors

    @property
    def results(self) -> Path:
        """The folder of the tables."""
        return self.root / "results" / self.profile.name

    @property
    def grid(self) -> str:
        """The name of the grid's own table."""
        return self.profile.study.table

    def of(self, table: str) -> Store:
        """The store of the grid that has a table; of an experiment's table this one."""
        return next((replace(self, profile=p) for p in self.profile.grids if p.study.table == table), self)

    def table_file(self, name: str = "") -> Path:
        """A table, by default the grid's own."""
        return self.results / f"{name or self.grid}.parquet"

    @property
    def summary_file(self) -> Path:
        """The grid's settings, failures and checksums."""
        return self.results / f"{'study' if self.grid == TRIALS else self.grid}.json"

    @property
    def records_file(self) -> Path:
        """What each experiment's table was made from."""
        return self.results / "experiments.json"

    @property
    def log_file(self) -> Path:
        """The run log."""
        return self.results / "runs.jsonl"

    @property
    def chunk_folder(self) -> Path:
        """The folder of finished pieces."""
        return (CACHE if self.root == DATA else self.root) / "chunks" / self.profile.name

    def case_file(self, table: str, digest: str, case: str) -> Path:
        """A finished case of an experiment's table, which is made from what `digest` says."""
        return self.chunk_folder / "experiments" / table / digest / f"{case}.parquet"

    def bank_file(self, task: str) -> Path:
        """The learned words of a task."""
        name = task if self.grid == TRIALS else f"{self.grid}-{task}"
        return self.root / "words" / self.profile.name / f"{name}.safetensors"

    def chunk_file(self, chunk: Chunk) -> Path:
        """A finished chunk. Its name has the digest of what it came from: chunks of other settings have other names."""
        return self.chunk_folder / f"{chunk.name}-{chunk_digests(self.profile, chunk)[1]}.safetensors"

    def save(self, chunk: Chunk, result: ChunkResult) -> None:
        """Keep a finished chunk."""
        write_whole(self.chunk_file(chunk), formats.pack_chunk(result))

    def load(self, chunk: Chunk) -> ChunkResult | None:
        """A finished chunk, from its file or the published ones; None where it is missing or damaged (see the log)."""
        path = self.chunk_file(chunk)
        if not path.exists():
            return self._published(chunk)
        return read_file(path, lambda content: formats.unpack_chunk(content, self.framework))

    def load_all(self) -> dict[Chunk, ChunkResult | None]:
        """Every chunk of the plan in its order, None where it is missing or damaged."""
        return {chunk: self.load(chunk) for chunk in make_plan(self.profile)}

    def remove_stale_temporaries(self) -> None:
        """Remove what killed processes left half written; what another process may still be writing stays."""
        for folder in (self.chunk_folder, self.results, self.bank_file(TASKS[0]).parent):
            for path in folder.glob(".*.partial"):
                with suppress(OSError):  # another process may remove it too, or the folder may be read-only
                    if time.time() - path.stat().st_mtime > ABANDONED:
                        path.unlink()

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What `summary_file` says; nothing where it is missing, or damaged, which is named in the log."""
        summary = read_json(self.summary_file)
        if summary and summary.pop("checksum", "") != sha256(json.dumps(summary, sort_keys=True).encode()):
            log.warning("%s is damaged or was altered; what it vouches for is made again.", self.summary_file)
            return {}
        return summary

    def record(self, name: str) -> dict[str, Any]:
        """What is written down of a table: its `sha256`, of an experiment's also `rows`, `digest` and `needs`."""
        if name in GRIDS:
            return {"sha256": self.of(name).summary.get("files", {}).get(self._label(self.table_file(name)))}
        return read_json(self.records_file).get(name, {})

    def trouble(self, name: str) -> str:
        """What is wrong with a table's file: "missing", "damaged" or nothing."""
        path, record = self.table_file(name), self.record(name)
        if not record or not path.exists():
            return "missing"
        return "" if sha256(path.read_bytes()) == record.get("sha256") else "damaged"

    def checksum(self, name: str) -> str:
        """The checksum of a table, for a grid's that of its summary. Raises FileNotFoundError if it is missing."""
        self._check_exists(name, path := self._vouching_file(name))
        return sha256(path.read_bytes())

    def _vouching_file(self, name: str) -> Path:
        return self.of(name).summary_file if name in GRIDS else self.table_file(name)

    def read_table(self, name: str) -> pd.DataFrame:
        """A published table: an experiment's, or one of `GRIDS`.

        Raises FileNotFoundError that names the command where it is missing, and ValueError where it was damaged. A
        table that was made from other tables than those beside it is named in the log.
        """
        path, record, command = self.table_file(name), self.record(name), self._command(name)
        self._check_exists(name, path)
        content = path.read_bytes()
        if sha256(content) != record.get("sha256"):
            raise ValueError(f"{path} is damaged or was altered: its checksum is another; {command} makes it again.")
        for needed, checksum in record.get("needs", {}).items():
            if self._vouching_file(needed).exists() and self.checksum(needed) != checksum:
                log.warning("The table '%s' was made from another '%s'; %s makes it again.", name, needed, command)
        return formats.unpack_table(content)

    def publish_table(self, name: str, cases: Sequence[pd.DataFrame], **record: Any) -> None:
        """Write an experiment's table from its cases' rows; `record` says what it is and what it was made from."""
        table = pd.concat([case for case in cases if len(case)] or list(cases[:1]), ignore_index=True)
        content = formats.pack_table(table)
        write_whole(self.table_file(name), content)
        record |= {"rows": len(table), "cases": len(cases), "sha256": sha256(content)}
        with _alone(self.results):
            write_whole(self.records_file, formats.pack_json(read_json(self.records_file) | {name: record}))

    def _command(self, name: str) -> str:
        return f"`vwlib {'study' if name in GRIDS else f'experiments {name}'} --profile {self.profile.name}`"

    def _check_exists(self, name: str, path: Path) -> None:
        if not path.exists():
            table = f"The table '{name}' of profile '{self.profile.name}'"
            raise FileNotFoundError(f"{table} is missing; {self._command(name)} makes it.")

    def _label(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    @cached_property
    def _intact(self) -> set[Path]:
        """The published files of the study that have their published checksum; another checksum is named in the log."""
        intact = set()
        for path in self._study_files:
            expected = self.summary.get("files", {}).get(self._label(path))
            if expected and path.exists():
                if sha256(path.read_bytes()) == expected:
                    intact.add(path)
                else:
                    log.warning("%s is damaged or was altered; what it held is made again.", path)
        return intact

    @property
    def _study_files(self) -> list[Path]:
        return [self.table_file(), *map(self.bank_file, TASKS)]

    @property
    def invalid_files(self) -> list[str]:
        """The study's published files that are missing, altered or of other settings, by their path below the root."""
        current = all(self._digests(chunk) == chunk_digests(self.profile, chunk) for chunk in make_plan(self.profile))
        lost = [path for path in self._study_files if path not in self._intact]
        return [self._label(path) for path in ([] if current else [self.summary_file]) + lost]

    @property
    def failed(self) -> list[str]:
        """The ids of the published study's words that diverged."""
        return self.summary.get("failed", [])

    @cached_property
    def bank(self) -> dict[str, Word]:
        """The published words by `word_id`; those of a damaged file are left out."""
        files = [file for file in map(self.bank_file, TASKS) if file in self._intact]
        return {word.word_id: word for file in files for word in load_words(file, self.framework)}

    @cached_property
    def _rows(self) -> dict[tuple[str, ...], list[dict[str, Any]]]:
        """The published rows of each word, and of each dataset's floors and ceilings on a task."""
        rows: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        if self.table_file() in self._intact:
            for row in pq.read_table(self.table_file()).to_pylist():
                key = (row["word_id"],) if row["word_id"] else (REFERENCES, row["dataset"], row["evaluated_on"])
                given = {name: value for name, value in row.items() if value is not None or name == "delta"}
                rows.setdefault(key, []).append(given)
        return rows

    def _published(self, chunk: Chunk) -> ChunkResult | None:
        if self._digests(chunk) != chunk_digests(self.profile, chunk):
            return None
        if chunk.kind == REFERENCES:
            rows = self._rows.get((REFERENCES, chunk.dataset, chunk.task))
            return ChunkResult(rows=rows) if rows else None
        ids = self._known_ids(chunk)
        failed = [word_id for word_id in ids if word_id in self.failed]
        learned = [word_id for word_id in ids if word_id not in failed]
        if not all(word_id in self.bank and (word_id,) in self._rows for word_id in learned):
            return None
        rows = [row for word_id in learned for row in self._rows[(word_id,)]]
        return ChunkResult([self.bank[word_id] for word_id in learned], rows, failed)

    def _digests(self, chunk: Chunk) -> tuple[str | None, str | None]:
        """What a chunk's published words came from, and its words and scores; None where it is not published."""
        words, scores = self.summary.get("chunks", {}).get(chunk.name, (None, None))
        return words, scores

    def cached_words(self, chunk: Chunk) -> list[Word] | None:
        """A chunk's words, where the bank has all of them and only their scores are missing."""
        if chunk.kind == REFERENCES or self._digests(chunk)[0] != chunk_digests(self.profile, chunk)[0]:
            return None
        ids = self._known_ids(chunk)
        return [self.bank[word_id] for word_id in ids] if all(word_id in self.bank for word_id in ids) else None

    def _known_ids(self, chunk: Chunk) -> list[str]:
        """The id of each of a chunk's words: of those that it may have, the one that is published."""
        return [
            next((word_id for word_id in ids if word_id in self.bank or word_id in self.failed), ids[0])
            for ids in word_ids(self.profile, chunk)
        ]

    def publish(self, results: Mapping[Chunk, ChunkResult | None] | None = None) -> None:
        """Write the table of scores, the banks and `study.json` from the finished chunks (`results`, if already read).

        Raises ValueError while a chunk is missing.
        """
        plan = make_plan(self.profile)
        results = self.load_all() if results is None else results
        finished = [result for chunk in plan if (result := results[chunk])]
        if missing := [chunk.name for chunk in plan if results[chunk] is None]:
            command = f"`vwlib study --profile {self.profile.name}`"
            raise ValueError(f"{len(missing)} chunks are missing, the first {missing[0]}; run {command}.")
        words = [word for result in finished for word in result.words]
        files = {self.table_file(): formats.pack_scores([row for result in finished for row in result.rows])}
        files |= {self.bank_file(task): pack_words([word for word in words if word.task == task]) for task in TASKS}
        summary: dict[str, Any] = {
            "words": len(words),
            "failed": sorted(word_id for result in finished for word_id in result.failed),
            "chunks": {chunk.name: chunk_digests(self.profile, chunk) for chunk in plan},
            "files": {self._label(path): sha256(content) for path, content in files.items()},
            "settings": settings_of(self.profile),
        }
        summary["checksum"] = sha256(json.dumps(summary, sort_keys=True).encode())
        for path, content in files.items():
            _write_if_changed(path, content)
        _write_if_changed(self.summary_file, formats.pack_json(summary))  # last: it vouches for the others


def read_table(name: str, profile: str, root: Path = DATA) -> pd.DataFrame:
    """`Store.read_table` for the profile of that name."""
    return Store(load_profile(profile), root).read_table(name)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time: two that add to one file must not lose each other's records."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # which unlocks


def _write_if_changed(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        write_whole(path, content)


def bank_of(profile: Profile, root: Path | None = None, framework: Framework = "pt") -> list[Word]:
    """The published words of a profile, of all grids and tasks. Raises FileNotFoundError without any, else as
    `load_words`.
    """
    stores = [Store(grid, root or results_root(profile)) for grid in profile.grids]
    files = [file for store in stores for file in map(store.bank_file, TASKS) if file.exists()]
    if not files:
        command = f"vwlib study --profile {profile.name}" + (f" --store {shlex.quote(str(root))}" if root else "")
        place = stores[0].bank_file(TASKS[0]).parent
        raise FileNotFoundError(f"There are no words of profile '{profile.name}' in {place}; `{command}` makes them.")
    return [word for file in files for word in load_words(file, framework)]


def words_at(
    file: Path | None, profile: str | None = None, root: Path | None = None, framework: Framework = "pt"
) -> list[Word]:
    """The words of a file or, without one, of a profile's bank. Raises as `load_words` and `bank_of` do."""
    return load_words(file, framework) if file else bank_of(load_profile(profile), root, framework)
