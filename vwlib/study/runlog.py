"""The run log: a line for each computed chunk, with the seconds that it took."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from vwlib.files import writing_to

#: What every line says of a chunk: how many words of how many steps, and the seconds of learning and of scoring them on
#: all tasks.
COLUMNS = ("chunk", "kind", "task", "words", "steps", "learning", "scoring")


def append_run(file: Path, record: Mapping[str, Any]) -> None:
    """Add a line to the run log; one short write, so that two processes do not mix theirs."""
    with writing_to(file.parent), file.open("ab+") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - 1))
        torn = log.read(1) not in (b"", b"\n")  # a process was killed in the middle of a line
        log.write(("\n" * torn + json.dumps(record, sort_keys=True) + "\n").encode())


def read_run_log(file: Path) -> pd.DataFrame:
    """The run log as a table of `COLUMNS`; empty where there is none. Lines that are not whole are left out."""
    lines = file.read_text(errors="replace").splitlines() if file.exists() else []
    return pd.DataFrame([record for line in lines if (record := _whole(line))], columns=list(COLUMNS))


def _whole(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and record.keys() >= set(COLUMNS) else None
