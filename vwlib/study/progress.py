"""How far a study is, and what the rest takes: from its files and its run log, which has a line for each computed chunk
with the seconds that it took. The models are not needed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from vwlib.files import writing_to
from vwlib.settings import Profile
from vwlib.study.cost import cost_table, measured_rates, rates_of_log
from vwlib.study.formats import ChunkResult
from vwlib.study.plan import Chunk, make_plan, word_count
from vwlib.study.store import Store

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


@dataclass(frozen=True)
class Status:
    """How far a study is."""

    words: int  # in all
    finished: int  # of them
    failed: list[str]  # ids of words that diverged, each with its chunk
    missing: list[str]  # chunks
    invalid_files: list[str]  # published files that are missing or altered
    hours_left: float | None  # in one process; None where nothing was timed yet

    def __str__(self) -> str:
        lines = [f"{self.finished:,} of {self.words:,} words are learned and scored; {len(self.failed)} failed."]
        lines += [f"  failed: {word}" for word in self.failed]
        if self.missing:
            left = self.hours_left
            hours = "unknown before a chunk of every task" if left is None else f"{left:.1f} hours in one process"
            lines.append(f"{len(self.missing)} chunks are missing, the first {self.missing[0]}; time left: {hours}.")
        elif self.invalid_files:
            lines.append(f"Missing or altered: {', '.join(self.invalid_files)}; `vwlib study` writes them again.")
        return "\n".join(lines)


def status(store: Store, results: Mapping[Chunk, ChunkResult | None] | None = None) -> Status:
    """What of a study is done, failed and missing; `results` are its chunks where they were read already."""
    invalid_files = store.invalid_files if results is None else []
    results = store.load_all() if results is None else results
    finished = {chunk: result for chunk, result in results.items() if result}
    missing = [chunk for chunk in results if chunk not in finished]
    failed = [f"{word_id} ({chunk.name})" for chunk, result in finished.items() for word_id in result.failed]
    rates = rates_of_log(read_run_log(store.log_file))
    return Status(
        words=word_count(results),
        finished=sum(len(result.words) for result in finished.values()),
        failed=failed,
        missing=[chunk.name for chunk in missing],
        invalid_files=invalid_files,
        hours_left=float(cost_table(missing, store.profile, rates)["hours"].sum()) if rates else None,
    )


def estimate(profile: Profile, store: Store, speed: float = 1.0, processes: int = 1) -> str:
    """What a whole study would take on `processes` machines, each `speed` times as fast as the measured one.

    Weights and datasets need not be there. Raises ValueError as `measured_rates` and `cost_table` do.
    """
    rates = measured_rates(profile, read_run_log(store.log_file))
    table = cost_table(make_plan(profile), profile, rates, speed, processes)
    hours = f"{table['hours'].sum():,.1f} hours for {table['words'].sum():,} words"
    sizes = f"speed {speed:g}, {processes} at a time"
    return f"{table.to_string(float_format='{:.3g}'.format)}\n{hours}, by {rates.source}; {sizes}."
