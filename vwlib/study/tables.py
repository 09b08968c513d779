"""The published tables of a profile, each with its checksum, and the finished cases of unfinished ones."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from vwlib.files import write_whole
from vwlib.paths import CACHE, DATA
from vwlib.settings import Profile, load_profile
from vwlib.study.formats import pack_json, pack_table, read_json, sha256, unpack_table

log = logging.getLogger(__name__)
#: The name of the study's own table.
TRIALS = "trials"


def results_root(profile: Profile) -> Path:
    """The root of a profile's results: the project's data or, with `compute_on_demand`, the cache."""
    return CACHE / "on_demand" if profile.study.compute_on_demand else DATA


@dataclass(frozen=True, eq=False)
class Tables:
    """The files of one profile's tables below `root`."""

    profile: Profile
    root: Path = DATA

    @property
    def results(self) -> Path:
        """The folder of the tables."""
        return self.root / "results" / self.profile.name

    def table_file(self, name: str = TRIALS) -> Path:
        """A table."""
        return self.results / f"{name}.parquet"

    @property
    def summary_file(self) -> Path:
        """The study's settings, failures and checksums."""
        return self.results / "study.json"

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

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What `study.json` says; nothing where it is missing, or damaged, which is named in the log."""
        summary = read_json(self.summary_file)
        if summary and summary.pop("checksum", "") != sha256(json.dumps(summary, sort_keys=True).encode()):
            log.warning("%s is damaged or was altered; what it vouches for is made again.", self.summary_file)
            return {}
        return summary

    def record(self, name: str) -> dict[str, Any]:
        """What is written down of a table: its `sha256`, of an experiment's also `rows`, `digest` and `needs`."""
        if name == TRIALS:
            return {"sha256": self.summary.get("files", {}).get(self._label(self.table_file()))}
        return read_json(self.records_file).get(name, {})

    def trouble(self, name: str) -> str:
        """What is wrong with a table's file: "missing", "damaged" or nothing."""
        path, record = self.table_file(name), self.record(name)
        if not record or not path.exists():
            return "missing"
        return "" if sha256(path.read_bytes()) == record.get("sha256") else "damaged"

    def checksum(self, name: str) -> str:
        """The checksum of a table, for the study that of `study.json`. Raises FileNotFoundError if it is missing."""
        self._check_exists(name, path := self._vouching_file(name))
        return sha256(path.read_bytes())

    def _vouching_file(self, name: str) -> Path:
        return self.summary_file if name == TRIALS else self.table_file(name)

    def read_table(self, name: str) -> pd.DataFrame:
        """A published table: an experiment's, or the study's "trials".

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
        return unpack_table(content)

    def publish_table(self, name: str, cases: Sequence[pd.DataFrame], **record: Any) -> None:
        """Write an experiment's table from its cases' rows; `record` says what it is and what it was made from."""
        table = pd.concat([case for case in cases if len(case)] or list(cases[:1]), ignore_index=True)
        content = pack_table(table)
        write_whole(self.table_file(name), content)
        record |= {"rows": len(table), "cases": len(cases), "sha256": sha256(content)}
        with _alone(self.results):
            write_whole(self.records_file, pack_json(read_json(self.records_file) | {name: record}))

    def _command(self, name: str) -> str:
        return f"`vwlib {'study' if name == TRIALS else f'experiments {name}'} --profile {self.profile.name}`"

    def _check_exists(self, name: str, path: Path) -> None:
        if not path.exists():
            table = f"The table '{name}' of profile '{self.profile.name}'"
            raise FileNotFoundError(f"{table} is missing; {self._command(name)} makes it.")

    def _label(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def read_table(name: str, profile: str, root: Path = DATA) -> pd.DataFrame:
    """`Tables.read_table` for the profile of that name."""
    return Tables(load_profile(profile), root).read_table(name)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time: two that add to one file must not lose each other's records."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # which unlocks
