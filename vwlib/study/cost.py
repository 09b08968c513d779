"""What a study costs: words × steps × measured seconds. Every number comes from a run log or a file of measurements."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

import pandas as pd

from vwlib.concepts import TASKS
from vwlib.paths import DATA, ROOT
from vwlib.settings import Profile
from vwlib.study.plan import WORDS, Chunk, word_count

BENCHMARK = ROOT / "benchmarks" / "results.json"  # `make bench`
FULL_SIZE = DATA / "results" / "paper" / "full_size.json"  # `make test-full`
#: The model of each task in the file of full-size measurements, and what one measurement there was taken with.
_FULL_SIZE_NAMES = dict(zip(TASKS, ("generator", "detector", "classifier"), strict=True))
_FULL_SIZE_STEPS, _FULL_SIZE_WORDS, _FULL_SIZE_DRAWING = 3, 2, 2


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
    if not measured.keys() >= set(_FULL_SIZE_NAMES.values()):
        return None
    drawing = profile.generator.images_per_word * profile.generator.inference_steps / _FULL_SIZE_DRAWING
    step, scoring = {}, 0.0
    for task, name in _FULL_SIZE_NAMES.items():
        seconds, draws = measured[name]["seconds"], task == "generation"
        images = profile.learning[task].batch if draws else 1
        step[task] = seconds[f"{_FULL_SIZE_STEPS} steps"] / _FULL_SIZE_STEPS * images
        scoring += seconds["evaluate"] / _FULL_SIZE_WORDS * (drawing if draws else 1)
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
