"""The experiments' tables on disk: finished cases while they run, then one file a table. Every file appears whole or
not at all.

| file below the root | holds |
|---|---|
| `results/<profile>/<name>.parquet` | the table of an experiment |
| `results/<profile>/experiments.json` | for each table its checksum, its rows, and a digest of what it was made from |
| `chunks/<profile>/experiments/<name>/<digest>/` | finished cases, of the project's own store in the cache; not needed
once the table is there |
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import logging
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from vwlib.experiments.base import TRIALS, Case, Experiment, case_name, digest_of
from vwlib.files import write_whole
from vwlib.experiments.schemas import SCHEMAS
from vwlib.paths import CACHE, DATA
from vwlib.settings import Profile
from vwlib.study.store import Store

log = logging.getLogger(__name__)
RECORDS = "experiments.json"
STUDY = "study.json"  # the study's own summary, beside it


def pack_frame(table: pd.DataFrame) -> bytes:
    """A table as the content of a parquet file; the same rows give the same bytes."""
    buffer = io.BytesIO()
    content = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(content, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def unpack_frame(content: bytes) -> pd.DataFrame:
    """The table in a file's content.

    Raises ValueError where it is truncated or altered.
    """
    try:
        return pq.read_table(pa.BufferReader(content), page_checksum_verification=True).to_pandas()
    except (pa.ArrowException, OSError, zlib.error) as error:
        raise ValueError(str(error).splitlines()[0]) from error


def results_folder(profile: str, root: Path = DATA) -> Path:
    """Where a profile's tables lie."""
    return root / "results" / profile


def command(name: str, profile: str) -> str:
    """What makes a table."""
    return f"`vwlib study --profile {profile}`" if name == TRIALS else f"`vwlib experiments {name} --profile {profile}`"


def read_records(profile: str, root: Path = DATA) -> dict[str, Any]:
    """What is written down of each table; nothing where the file is missing, or damaged, which is named in the log."""
    path = results_folder(profile, root) / RECORDS
    try:
        found = json.loads(path.read_text())
        return found if isinstance(found, dict) else {}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:
        log.warning("%s is damaged (%s); its tables count as missing.", path, error)
        return {}


@dataclass(frozen=True, eq=False)
class Tables:
    """The files of one profile's experiments below `root`."""

    profile: Profile
    root: Path = DATA

    def file(self, name: str) -> Path:
        """The table of an experiment."""
        return results_folder(self.profile.name, self.root) / f"{name}.parquet"

    def checksum(self, name: str) -> str:
        """The checksum of a table that another one needs; the study's is that of its summary, which names table and
        banks.

        Raises FileNotFoundError that names the command where it is missing.
        """
        path = Store(self.profile, self.root).summary_file if name == TRIALS else self.file(name)
        if not path.exists():
            raise FileNotFoundError(
                f"The table '{name}' of the profile '{self.profile.name}' is missing; {command(name, self.profile.name)} makes it."
            )
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def digest(self, experiment: Experiment) -> str:
        """A digest of all that an experiment's table is to be made from now."""
        return digest_of(self.profile, experiment, {name: self.checksum(name) for name in experiment.needs})

    def trouble(self, experiment: Experiment) -> str:
        """Why a table must be computed, in a word: "missing", "damaged", "stale" (made from something else); nothing
        where it need not be.
        """
        record = read_records(self.profile.name, self.root).get(experiment.name)
        if record is None or not self.file(experiment.name).exists():
            return "missing"
        if hashlib.sha256(self.file(experiment.name).read_bytes()).hexdigest() != record.get("sha256"):
            return "damaged"
        try:
            return "" if self.digest(experiment) == record.get("digest") else "stale"
        except FileNotFoundError:  # it was made from a table that is gone
            return "stale"

    # --- cases ------------------------------------------------------------------------------------------------------

    def case_file(self, experiment: Experiment, case: Case) -> Path:
        """Where the rows of a finished case lie; those made from something else lie elsewhere."""
        root = CACHE if self.root == DATA else self.root
        return (
            root
            / "chunks"
            / self.profile.name
            / "experiments"
            / experiment.name
            / self.digest(experiment)
            / f"{case_name(case)}.parquet"
        )

    def load_case(self, experiment: Experiment, case: Case) -> pd.DataFrame | None:
        """The rows of a finished case; None where it is missing or damaged, which is named in the log."""
        path = self.case_file(experiment, case)
        try:
            return unpack_frame(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            log.warning("%s is damaged (%s); it is computed again.", path, error)
            return None

    def save_case(self, experiment: Experiment, case: Case, rows: pd.DataFrame) -> None:
        """Keep the rows of a finished case."""
        write_whole(self.case_file(experiment, case), pack_frame(rows))

    # --- whole tables -----------------------------------------------------------------------------------------------

    def publish(self, experiment: Experiment, parts: Sequence[pd.DataFrame]) -> None:
        """Write an experiment's table from its cases' rows, and what it was made from."""
        table = pd.concat([part for part in parts if len(part)] or list(parts[:1]), ignore_index=True)
        content = pack_frame(table)
        write_whole(self.file(experiment.name), content)
        record = {
            "says": experiment.says,
            "rows": len(table),
            "cases": len(parts),
            "sha256": hashlib.sha256(content).hexdigest(),
            "digest": self.digest(experiment),
            "needs": {name: self.checksum(name) for name in experiment.needs},
        }
        path = results_folder(self.profile.name, self.root) / RECORDS
        with _alone(path.parent):
            records = read_records(self.profile.name, self.root) | {experiment.name: record}
            write_whole(path, (json.dumps(records, indent=1, sort_keys=True) + "\n").encode())


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time: what two of them add to one file, each on top of what it has read, must not be lost."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # which unlocks


def read_table(name: str, profile: str, root: Path = DATA) -> pd.DataFrame:
    """A stored table of a profile by name: an experiment's, or the study's "trials".

    Raises FileNotFoundError that names the command where it is missing, and ValueError where it was damaged or altered.
    A table that was made from other tables than those that lie beside it is named in the log.
    """
    path = results_folder(profile, root) / f"{name}.parquet"
    if not path.exists():
        raise FileNotFoundError(
            f"The table '{name}' of the profile '{profile}' is missing; {command(name, profile)} makes it."
        )
    content = path.read_bytes()
    beside = STUDY if name == TRIALS else RECORDS
    record = (
        {"sha256": _study_checksum(path), "needs": {}} if name == TRIALS else read_records(profile, root).get(name, {})
    )
    if hashlib.sha256(content).hexdigest() != record.get("sha256"):
        raise ValueError(
            f"{path} is damaged or was altered: its checksum is not the one in {beside}; {command(name, profile)} makes it again."
        )
    for needed, checksum in record["needs"].items():
        other = path.with_name(STUDY if needed == TRIALS else f"{needed}.parquet")
        if other.exists() and hashlib.sha256(other.read_bytes()).hexdigest() != checksum:
            log.warning(
                "The table '%s' was made from another '%s' than the one beside it; %s makes it again.",
                name,
                needed,
                command(name, profile),
            )
    return unpack_frame(content)


def read_tables(profile: str, root: Path = DATA) -> dict[str, pd.DataFrame]:
    """The stored tables of a profile that the ledger judges by, by name; none where it has no results.

    Raises ValueError where one was damaged or altered, as `read_table` does.
    """
    return {
        path.stem: read_table(path.stem, profile, root)
        for path in sorted(results_folder(profile, root).glob("*.parquet"))
        if path.stem == TRIALS or path.stem in SCHEMAS
    }


def _study_checksum(trials: Path) -> str | None:
    try:
        files = json.loads(trials.with_name(STUDY).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return next((checksum for name, checksum in files.items() if name.endswith(trials.name)), None)
