"""How far a study is and what it costs (words × steps × measured seconds), without the models.

Every number comes from the study's files, its run log, which has a line for each computed chunk, or a file of
measurements.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import pandas as pd

from vwlib.concepts import TASKS
from vwlib.files import writing_to
from vwlib.paths import DATA, ROOT
from vwlib.settings import Profile
from vwlib.study.formats import ChunkResult
from vwlib.study.plan import WORDS, Chunk, make_plan, word_count
from vwlib.study.store import Store

BENCHMARK = ROOT / "benchmarks" / "results.json"  # `make bench`
FULL_SIZE = DATA / "results" / "paper" / "full_size.json"  # `make test-full`
#: The models in that file, of each task, and the steps, words and denoising steps that it measures.
_NAMES, _STEPS, _WORDS, _DRAWING = ("generator", "detector", "classifier"), 3, 2, 2


@dataclass(frozen=True)
class Rates:
    """Measured seconds, by task."""

    step: dict[str, float]  #: of one step of one word
    scoring: dict[str, float]  #: of scoring one word of that task on all tasks
    source: str  #: where they were measured


def rates_of_log(runs: pd.DataFrame) -> Rates | None:
    """Rates of a run log: medians over its chunks; None until a chunk of words of every task is in it."""
    words = runs[(runs["kind"] == WORDS) & (runs["words"] > 0)]
    learned = words[words["learning"] > 0]  # where only scores were missing nothing was learned
    step = (learned["learning"] / learned["words"] / learned["steps"]).groupby(learned["task"]).median()
    scoring = (words["scoring"] / words["words"]).groupby(words["task"]).median()
    if set(step.index) < set(TASKS):
        return None
    return Rates(step.astype(float).to_dict(), scoring.astype(float).to_dict(), f"the run log of {len(words)} chunks")


def rates_of_benchmark(file: Path) -> Rates | None:
    """Rates of the miniature's models, measured at the most words that were learned at once; None without the file."""
    if not file.exists():
        return None
    records = sorted(json.loads(file.read_text()), key=lambda record: record["words"])
    most = {record["task"]: record for record in records}
    scoring = sum(record["scoring_seconds"] for record in most.values())
    step = {task: 1 / record["steps_per_second"] / record["words"] for task, record in most.items()}
    return Rates(step, dict.fromkeys(most, scoring), "the benchmark")


def rates_of_full_size(profile: Profile, file: Path) -> Rates | None:
    """Rates of the paper's models, measured with random weights; None without all three of them.

    One word learned there on one image and was scored on pictures of two denoising steps. For the generator that is
    scaled to the profile's batch, pictures and steps; the others learn from cached features, whose batch costs nothing.
    """
    measured = json.loads(file.read_text()) if file.exists() else {}
    if not measured.keys() >= set(_NAMES):
        return None
    drawing = profile.generator.images_per_word * profile.generator.inference_steps / _DRAWING
    step, scoring = {}, 0.0
    for task, name in zip(TASKS, _NAMES, strict=True):
        seconds, draws = measured[name]["seconds"], task == "generation"
        images = profile.learning[task].batch if draws else 1
        step[task] = seconds[f"{_STEPS} steps"] / _STEPS * images
        scoring += seconds["evaluate"] / _WORDS * (drawing if draws else 1)
    return Rates(step, dict.fromkeys(TASKS, scoring), "the models at full size, one word at a time")


def measured_rates(profile: Profile, runs: pd.DataFrame) -> Rates:
    """The best rates of a profile: of its run log, the benchmark or the models at full size; else ValueError."""
    paper = profile.world == "paper"
    rates = rates_of_log(runs) or (rates_of_full_size(profile, FULL_SIZE) if paper else rates_of_benchmark(BENCHMARK))
    if rates is None:
        command = f"make {'test-full' if paper else 'bench'}"
        study = f"`vwlib study --profile {profile.name}` until a chunk of every task is finished"
        raise ValueError(f"Nothing was measured yet: run `{command}`, or {study}.")
    return rates


def cost_table(
    chunks: Sequence[Chunk], profile: Profile, rates: Rates, speed: float = 1.0, processes: int = 1
) -> pd.DataFrame:
    """Hours of each task's words on `processes` machines that are `speed` times as fast as the measured one.

    Raises ValueError for a speed that is not positive and finite.
    """
    if not 0 < speed < inf:
        raise ValueError(f"The speed, relative to the measured machine, must be a number above 0 (got {speed:g}).")
    rows = []
    for task in TASKS:
        words, steps = word_count(chunk for chunk in chunks if chunk.task == task), profile.learning[task].steps
        hours = words * (steps * rates.step[task] + rates.scoring[task]) / 3600 / speed / processes
        rows.append((task, words, steps, rates.step[task] / speed, rates.scoring[task] / speed, hours))
    columns = ["task", "words", "steps", "seconds a step and word", "seconds of scoring a word", "hours"]
    return pd.DataFrame(rows, columns=columns).set_index("task")


#: What every line says of a chunk; `learning` and `scoring` are seconds.
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
    records = []
    for line in lines:
        with suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict) and record.keys() >= set(COLUMNS):
                records.append(record)
    return pd.DataFrame(records, columns=list(COLUMNS))


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
    """`cost_table` of a profile's whole study, whose weights and datasets need not be there, and its sum, as text."""
    rates = measured_rates(profile, read_run_log(store.log_file))
    table = cost_table(make_plan(profile), profile, rates, speed, processes)
    hours = f"{table['hours'].sum():,.1f} hours for {table['words'].sum():,} words"
    sizes = f"speed {speed:g}, {processes} at a time"
    return f"{table.to_string(float_format='{:.3g}'.format)}\n{hours}, by {rates.source}; {sizes}."
