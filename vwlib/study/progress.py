"""How far a study is, and what the rest of it takes: read from its files and its run log, without the models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from vwlib.settings import Profile
from vwlib.study.cost import cost_table, measured_rates, rates_of_log, seconds_of
from vwlib.study.plan import Chunk, make_plan, word_count
from vwlib.study.store import Progress, Store


@dataclass(frozen=True)
class Status:
    """How far a study is: words in all, finished and failed, the chunks that are missing, and the published files that
    are missing or altered.
    """

    words: int
    finished: int
    failed: list[str]
    missing: list[str]
    unfit: list[str]
    seconds_left: float | None  # None where nothing was timed yet

    def __str__(self) -> str:
        lines = [f"{self.finished:,} of {self.words:,} words are learned and scored; {len(self.failed)} failed."]
        lines += [f"  failed: {sentence}" for sentence in self.failed]
        if self.missing:
            left = (
                "unknown before a chunk of every task"
                if self.seconds_left is None
                else f"{self.seconds_left / 3600:.1f} hours in one process"
            )
            lines.append(f"{len(self.missing)} chunks are missing, the first {self.missing[0]}; time left: {left}.")
        elif self.unfit:
            lines.append(f"Missing or altered: {', '.join(self.unfit)}; `vwlib study` writes them again.")
        return "\n".join(lines)


def status(profile: Profile, store: Store) -> Status:
    """What of a profile's study is done, failed and missing, and how long the rest will take."""
    return status_of(profile, store, store.progress(), store.unfit)


def status_of(profile: Profile, store: Store, parts: Mapping[Chunk, Progress | None], unfit: list[str]) -> Status:
    """The same of what is known of each chunk already."""
    finished = sum(part.finished for part in parts.values() if part)
    failed = [f"{name} ({chunk.name})" for chunk, part in parts.items() if part for name in part.failed]
    missing = [chunk for chunk, part in parts.items() if part is None]
    rates = rates_of_log(store.notes())
    left = seconds_of(missing, profile, rates) if rates else None
    return Status(word_count(tuple(parts)), finished, failed, [chunk.name for chunk in missing], unfit, left)


def estimate(profile: Profile, store: Store, speed: float = 1.0, processes: int = 1) -> str:
    """What a profile's whole study would take on `processes` machines, each `speed` times as fast as the one that was
    measured.

    Neither weights nor datasets need be there. Raises ValueError where nothing was measured yet, and for a speed that
    is none.
    """
    if not 0 < speed < inf:
        raise ValueError(
            f"The speed is {speed}, but it is a number above 0: how many times as fast as the measured machine."
        )
    rates = measured_rates(profile, store.notes())
    table = cost_table(make_plan(profile), profile, rates, speed, processes)
    total = f"{table['hours'].sum():,.1f} hours for {table['words'].sum():,} words"
    return f"{table.to_string(float_format='{:.3g}'.format)}\n{total}, by {rates.source}; speed {speed:g}, {processes} at a time."
