"""Words per second of `vwlib` beside the plain loop, in one run on one machine: `make bench`.

Writes `benchmarks/results.json` and `benchmarks/speed.png`. Every measurement runs in a process of its own, one after the other, so
that its peak memory is its own; both sides use the same weights, images, steps, batch, precision and number of threads.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from vwlib.concepts import concepts_of
from vwlib.models import TASKS, load_model
from vwlib.optimise import Trial, learn_words
from vwlib.profiles import Profile, load_profile
from vwlib.study import load_material, make_trials, prepared

HERE = Path(__file__).parent
DATASET = "COCO"
STEPS = 12  # timed at each size, after a warm-up; a step costs the same from first to last
SIZES = {"generation": (1, 4, 16, 25), "detection": (1, 10, 100), "classification": (1, 10, 100)}


def trials_of(profile: Profile, count: int) -> list[Trial]:
    """The first words of the dataset's grid of ten concepts and ten anchors."""
    known = concepts_of(DATASET, profile.world)
    return make_trials(profile, DATASET, [c.name for c in known], [c.anchor for c in known])[:count]


def seconds_a_step(run: Callable[[int], object], steps: int) -> float:
    """Seconds of one step of `run(steps)`: the median of three, what is done once per run taken off."""
    run(1)
    timed = []
    for _ in range(3):
        start = time.perf_counter()
        run(1)
        once = time.perf_counter()
        run(1 + steps)
        timed.append((time.perf_counter() - once - (once - start)) / steps)
    return statistics.median(timed)


def matmul_peak(precision: str, size: int = 1536) -> float:
    """Floating-point operations a second of a large matrix product: what this machine can do at most."""
    a, b = (torch.randn(size, size, dtype=getattr(torch, precision)) for _ in range(2))
    a @ b
    timed = []
    for _ in range(5):
        start = time.perf_counter()
        a @ b
        timed.append(time.perf_counter() - start)
    return 2 * size**3 / min(timed)


def measure(profile: Profile, task: str, words: int, plain: bool) -> dict[str, float]:
    """Seconds a step, preparation, floating-point operations and peak memory of learning `words` words at once, or of the plain loop."""
    model, settings, trials = load_model(task, profile), profile.learning[task], trials_of(profile, words)
    precision = profile.generator.precision if task == "generation" else "float32"
    start = time.perf_counter()
    frozen = None if plain else prepared(task, profile, DATASET, "train")
    prepare = time.perf_counter() - start

    def run(steps: int) -> object:
        if plain:
            from plain_loop import learn_one_word

            return learn_one_word(model, load_material(profile, DATASET).train, trials[0], steps=steps, rate=settings.rate, batch=settings.batch)
        return learn_words(model, frozen, trials, steps=steps, rate=settings.rate, batch=settings.batch, progress=False)

    seconds = seconds_a_step(run, STEPS)
    with FlopCounterMode(display=False) as counter:
        run(1)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds_a_step": seconds,
        "prepare": prepare,
        "peak_memory_mb": memory,
        "matmul_share": counter.get_total_flops() / seconds / matmul_peak(precision),
    }


def in_own_process(task: str, words: int, plain: bool, threads: int) -> dict[str, float]:
    """`measure` in a fresh interpreter."""
    command = [sys.executable, __file__, "--measure", task, str(words), str(int(plain))]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"Measuring {task} with {words} words failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def bench(profile: Profile, threads: int) -> list[dict[str, float | str | int]]:
    """One record for each task and number of words."""
    records: list[dict[str, float | str | int]] = []
    for task in TASKS:
        steps = profile.learning[task].steps
        plain = in_own_process(task, 1, True, threads)
        plain_rate = 1 / (steps * plain["seconds_a_step"])
        for words in SIZES[task]:
            ours = in_own_process(task, words, False, threads)
            rate = words / (ours["prepare"] + steps * ours["seconds_a_step"])
            records.append(
                {
                    "task": task,
                    "words": words,
                    "words_per_second": rate,
                    "plain_words_per_second": plain_rate,
                    "ratio": rate / plain_rate,
                    "steps_per_second": 1 / ours["seconds_a_step"],
                    "peak_memory_mb": ours["peak_memory_mb"],
                    "matmul_share": ours["matmul_share"],
                    "plain_matmul_share": plain["matmul_share"],
                    "steps": steps,
                    "threads": threads,
                }
            )
            print(f"{task:15} {words:4} words at once: {rate:8.3f} words/s, {rate / plain_rate:6.1f} times the plain loop", flush=True)
    return records


def main() -> None:
    """Measure everything and write the records, or make the one measurement asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="miniature")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--measure", nargs=3, metavar=("TASK", "WORDS", "PLAIN"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    profile = load_profile(chosen.profile)
    if chosen.measure:
        task, words, plain = chosen.measure
        print(json.dumps(measure(profile, task, int(words), plain == "1")))
        return
    records = bench(profile, chosen.threads)
    result = {"machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}", "records": records}
    (chosen.out / "results.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
