"""How far a study is, and what the rest of it takes: read from its files and its run log, without the models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vwlib.settings import Profile
from vwlib.study.cost import cost_table, measured_rates, rates_of_log, seconds_of
from vwlib.study.formats import ChunkResult
from vwlib.study.plan import Chunk, make_plan, word_count
from vwlib.study.runlog import read_run_log
from vwlib.study.store import Store


@dataclass(frozen=True)
class Status:
    """How far a study is."""

    words: int  # in all
    finished: int  # of them
    failed: list[str]  # ids of words that diverged, each with its chunk
    missing: list[str]  # chunks
    invalid_files: list[str]  # published files that are missing or altered
    seconds_left: float | None  # None where nothing was timed yet

    def __str__(self) -> str:
        lines = [f"{self.finished:,} of {self.words:,} words are learned and scored; {len(self.failed)} failed."]
        lines += [f"  failed: {word}" for word in self.failed]
        if self.missing:
            hours = "unknown before a chunk of every task"
            if self.seconds_left is not None:
                hours = f"{self.seconds_left / 3600:.1f} hours in one process"
            lines.append(f"{len(self.missing)} chunks are missing, the first {self.missing[0]}; time left: {hours}.")
        elif self.invalid_files:
            lines.append(f"Missing or altered: {', '.join(self.invalid_files)}; `vwlib study` writes them again.")
        return "\n".join(lines)


def status(store: Store, results: Mapping[Chunk, ChunkResult | None] | None = None) -> Status:
    """What of a study is done, failed and missing, and how long the rest will take.

    `results` are its chunks where they were read and published already.
    """
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
        seconds_left=seconds_of(missing, store.profile, rates) if rates else None,
    )


def estimate(profile: Profile, store: Store, speed: float = 1.0, processes: int = 1) -> str:
    """What a profile's whole study would take on `processes` machines, each `speed` times as fast as the measured one.

    Neither weights nor datasets need be there. Raises ValueError where nothing was measured yet, and for a speed that
    is not positive and finite.
    """
    rates = measured_rates(profile, read_run_log(store.log_file))
    table = cost_table(make_plan(profile), profile, rates, speed, processes)
    hours = f"{table['hours'].sum():,.1f} hours for {table['words'].sum():,} words"
    sizes = f"speed {speed:g}, {processes} at a time"
    return f"{table.to_string(float_format='{:.3g}'.format)}\n{hours}, by {rates.source}; {sizes}."
