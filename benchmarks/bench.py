"""Words per second of `vwlib` and of the plain loop, in one run on one machine: `make bench`.

Writes `results.json`, a list of records, and `results.svg` into this folder. Every measurement runs in a process of its
own, one after the other: its peak memory is its own. Both sides use the same weights, images, precision and number of
threads. Ours takes the profile's steps, rate and batch, the plain loop those of `YARDSTICK`, which stay the same. Times
are of the processor, so that whatever else the machine does hardly counts.

| field | is |
|---|---|
| `words` | words learned; as in the study at most `words_at_once` of them in one pass |
| `words_per_second`, `plain_words_per_second` | learning all steps, with the features of images; scoring not counted |
| `ratio` | the first by the second, where both take the plain loop's images: what a pass is worth |
| `ratio_to_accuracy` | ours ends at the plain loop's score, less `CLOSE`; null where it never has that |
| `plain_score`, `steps_to_score` | that score, on the task's test, and after how many steps ours has it and keeps it |
| `score`, `steps_taken` | ours at its end, and after how many steps of `steps` words stop, on average |
| `steps_per_second` | steps of all the words together |
| `scoring_seconds` | of scoring one word on the task's own test |
| `peak_memory_mb` | of learning and scoring |
| `matmul_share`, `plain_matmul_share` | share of the machine's measured matrix-product peak that a step reaches |
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import torch
from matplotlib.figure import Figure
from plain_loop import learn_one_word
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from vwlib.book.figures.style import TASK_COLOURS, TASK_MARKERS, WIDTH, theme
from vwlib.concepts import TASKS, concepts_of
from vwlib.datasets.splits import open_lab
from vwlib.files import write_whole
from vwlib.lab import Lab
from vwlib.learn import Learned
from vwlib.settings import Learning, Profile, load_profile
from vwlib.study.digest import precision_here
from vwlib.trials import Trial, make_trials

HERE = Path(__file__).parent
DATASET = "COCO"
SIZES = (1, 10, 100)  # words
#: Steps, rate and batch of the plain loop: how the first edition learned its words.
YARDSTICK: dict[str, Any] = {"steps": 100, "rate": 0.01, "batch": 8}
CLOSE = 0.02  # what counts as the same score: less than half of the noise of some hundred pictures
STEPS = 12  # timed at each size, after a warm-up; a step costs the same from first to last
REPEATS = 3
JUDGED = 20  # words that both sides learn to the end and that are scored
#: After which shares of the steps ours are scored.
KEPT = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.25, 1.5)
#: For trying the code: the numbers mean nothing.
QUICK: dict[str, Any] = {"sizes": (1, 2), "timed": 1, "repeats": 1, "judged": 1}


def trials_of(profile: Profile, count: int) -> list[Trial]:
    """The first words of the dataset's grid of ten concepts and ten anchors."""
    known = concepts_of(DATASET, profile.world)
    return make_trials(profile, DATASET, [c.name for c in known], [c.anchor for c in known])[:count]


def judged_trials(profile: Profile, count: int) -> list[Trial]:
    """Words for all concepts, from the next one's anchor and then from the one after: none starts at what it learns."""
    known = concepts_of(DATASET, profile.world)
    further = [(known[row], known[(row + ahead) % len(known)]) for ahead in (1, 2) for row in range(len(known))]
    return [Trial(DATASET, concept.name, other.anchor) for concept, other in further][:count]


def ours(
    lab: Lab, task: str, trials: Sequence[Trial], steps: int, keep: Sequence[int] = (), **changes: Any
) -> list[Learned]:
    """Learn words as the study does, at most `words_at_once` in one pass."""
    size = lab.profile.study.words_at_once[task]
    parts = [trials[start : start + size] for start in range(0, len(trials), size)]
    how: dict[str, Any] = {"steps": steps, "snapshots": keep, "allow_divergence": True, "progress": False}
    return [lab.learn(task, part, **how | changes) for part in parts]


def plain(lab: Lab, task: str, trial: Trial, steps: int) -> Tensor:
    """Learn one word (vector, d) by the plain loop."""
    return learn_one_word(lab.model(task), lab.split(DATASET).train, trial, **YARDSTICK | {"steps": steps})


def seconds_a_step(run: Callable[[int], object], steps: int, repeats: int) -> float:
    """Seconds of one step of `run(steps)`: the median of several, what is done once per run taken off."""
    run(1)
    timed = []
    for _ in range(repeats):
        start = time.process_time()
        run(1)
        once = time.process_time()
        run(1 + steps)
        timed.append((time.process_time() - once - (once - start)) / steps)
    return max(statistics.median(timed), 1e-9)  # noise may exceed a single step


def matmul_peak(precision: str, size: int = 1536) -> float:
    """Floating-point operations a second of a large matrix product: what this machine can do at most."""
    a, b = (torch.randn(size, size, dtype=getattr(torch, precision)) for _ in range(2))
    a @ b
    timed = []
    for _ in range(5):
        start = time.process_time()
        a @ b
        timed.append(time.process_time() - start)
    return 2 * size**3 / min(timed)


def measure_ours(lab: Lab, task: str, words: int, timed: int, repeats: int) -> dict[str, float]:
    """What learning and scoring `words` words costs."""
    trials = trials_of(lab.profile, words)
    lab.model(task)
    start = time.process_time()
    lab.features(task, DATASET, "train")
    prepare = time.process_time() - start
    seconds = seconds_a_step(lambda steps: ours(lab, task, trials, steps), timed, repeats)
    vectors = torch.cat([learned.vectors for learned in ours(lab, task, trials, 1)])
    lab.evaluate(task, vectors[:1], trials[:1])  # reads the test images
    start = time.process_time()
    lab.evaluate(task, vectors, trials)
    return {
        "seconds_a_step": seconds,
        "prepare": prepare,
        "scoring_seconds": (time.process_time() - start) / words,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,  # Linux counts in KiB
        "matmul_share": matmul_share(lab.profile, task, lambda: ours(lab, task, trials, 1), seconds),
    }


def measure_plain(lab: Lab, task: str, timed: int, repeats: int) -> dict[str, float]:
    """What a step of the plain loop costs."""
    (trial,) = trials_of(lab.profile, 1)
    lab.split(DATASET)
    seconds = seconds_a_step(lambda steps: plain(lab, task, trial, steps), timed, repeats)
    share = matmul_share(lab.profile, task, lambda: plain(lab, task, trial, 1), seconds)
    return {"seconds_a_step": seconds, "matmul_share": share}


def matmul_share(profile: Profile, task: str, step: Callable[[], object], seconds: float) -> float:
    """Which share of the machine's peak a step reaches that takes so many seconds."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / seconds / matmul_peak(precision_here(task, profile))


def measure_score(lab: Lab, task: str, judged: int) -> dict[str, float | None]:
    """The plain loop's mean score after all its steps, and the fewest steps from which on ours is never below it.

    Ours goes on for longer than its own steps where it may need to, and its words never stop by themselves there.
    """
    trials, steps = judged_trials(lab.profile, judged), lab.profile.learning[task].steps

    def mean_score(vectors: Tensor) -> float:
        return statistics.fmean(found.value for found in lab.evaluate(task, vectors, trials))

    target = mean_score(torch.stack([plain(lab, task, trial, YARDSTICK["steps"]) for trial in trials]))
    keep = sorted({max(1, round(share * steps)) for share in KEPT})
    learned = ours(lab, task, trials, keep[-1], keep, patience=None)
    scores = {count: mean_score(torch.cat([part.snapshots[count] for part in learned])) for count in keep}
    stopped = ours(lab, task, trials, steps)
    return {
        "plain_score": target,
        "steps_to_score": steps_to(target - CLOSE, scores),
        "score": mean_score(torch.cat([part.vectors for part in stopped])),
        "steps_taken": statistics.fmean(count for part in stopped for count in part.steps.tolist()),
    }


def steps_to(target: float, scores: dict[int, float]) -> int | None:
    """The fewest steps from which on no score is below the target; None where the last one is below."""
    found = None
    for count in sorted(scores, reverse=True):
        if scores[count] < target:
            break
        found = count
    return found


MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "ours": measure_ours,
    "plain": measure_plain,
    "score": measure_score,
}


def in_own_process(what: str, profile: Profile, *arguments: Any) -> dict[str, Any]:
    """One of `MEASURES` in a fresh interpreter."""
    asked = json.dumps([what, profile.name, profile.generator.precision, *arguments])
    command = [sys.executable, __file__, "--measure", asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"Measuring {what} {arguments} failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def in_this_process(profile: Profile) -> Callable[..., dict[str, Any]]:
    """What runs each of `MEASURES` here, with one lab."""
    lab = open_lab(profile)
    return lambda what, _, *arguments: MEASURES[what](lab, *arguments)


def bench(
    profile: Profile,
    run: Callable[..., dict[str, Any]] = in_own_process,
    *,
    sizes: Sequence[int],
    timed: int,
    repeats: int,
    judged: int,
) -> list[dict[str, Any]]:
    """One record for each task and number of words."""
    records = []
    for task in TASKS:
        yardstick, target = run("plain", profile, task, timed, repeats), run("score", profile, task, judged)
        for words in sizes:
            cost = run("ours", profile, task, words, timed, repeats)
            figures = compared(cost, yardstick, target, words, profile.learning[task])
            precision = precision_here(task, profile)
            records.append({"task": task, "words": words, "precision": precision} | figures)
            rate, ratio = figures["words_per_second"], figures["ratio"]
            print(f"{task:15} {words:4} words: {rate:8.3f} words/s, {ratio:6.1f} times the plain loop", flush=True)
    return records


def compared(
    ours: dict[str, float], plain: dict[str, float], target: dict[str, Any], words: int, learning: Learning
) -> dict[str, Any]:
    """The figures of a record, from the three measurements."""

    def rate(steps: float) -> float:
        return words / (ours["prepare"] + steps * ours["seconds_a_step"])

    plain_rate, enough = 1 / (YARDSTICK["steps"] * plain["seconds_a_step"]), target["steps_to_score"]
    return {
        "words_per_second": rate(target["steps_taken"]),
        "plain_words_per_second": plain_rate,
        "ratio": rate(YARDSTICK["steps"] * YARDSTICK["batch"] / learning.batch) / plain_rate,
        "ratio_to_accuracy": rate(enough) / plain_rate if enough else None,
        "steps_per_second": 1 / ours["seconds_a_step"],
        "peak_memory_mb": ours["peak_memory_mb"],
        "matmul_share": ours["matmul_share"],
        "plain_matmul_share": plain["matmul_share"],
        "scoring_seconds": ours["scoring_seconds"],
        **learning.model_dump(exclude_none=True),
        **target,
        "threads": torch.get_num_threads(),
        "machine": f"{processor()}, {os.cpu_count()} cores, torch {torch.__version__}",
    }


def processor() -> str:
    """The processor's name and the instructions that torch uses of it."""
    file = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.+)$", file.read_text() if file.exists() else "", re.MULTILINE)
    return f"{names[0] if names else platform.machine()} with {torch.backends.cpu.get_cpu_capability()}"


def draw(records: pd.DataFrame) -> Figure:
    """Left, words per second beside the plain loop's (dashed); right, what learning costs against how many words are
    learned, with a line of slope one.
    """
    theme()
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    rate, cost = figure.subplots(1, 2)
    for task, own in records.groupby("task", sort=False):
        look = {"color": TASK_COLOURS[task], "marker": TASK_MARKERS[task]}
        rate.loglog(own["words"], own["words_per_second"], label=task, **look)
        rate.loglog(own["words"], own["plain_words_per_second"], color=TASK_COLOURS[task], linestyle="--")
        seconds = own["words"] / own["words_per_second"]
        cost.loglog(own["words"], seconds, **look)
        slope_one = seconds.iloc[-1] * own["words"] / own["words"].iloc[-1]
        cost.loglog(own["words"], slope_one, color="#767676", linewidth=0.8, linestyle=":")
    rate.set(xlabel="words learned together", ylabel="words per second")
    cost.set(xlabel="words learned together", ylabel="seconds in all")
    figure.legend(loc="outside lower center", ncols=len(TASKS))
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure everything and write records and figure, or make the one measurement asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="miniature", help="whose models and settings")
    parser.add_argument("--precision", default="auto", help="of the generator's products")
    quick = "the profile smoke, few words and a step each, in one process: to try the code"
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--out", type=Path, default=HERE, help="folder of results.json and results.svg")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.measure:
        what, name, precision, *rest = json.loads(chosen.measure)
        profile = load_profile(name, device="cpu", generator={"precision": precision})
        torch.set_num_threads(profile.study.threads)
        print(json.dumps(MEASURES[what](open_lab(profile), *rest)))
        return
    name, generator = "smoke" if chosen.quick else chosen.profile, {"precision": chosen.precision}
    profile = load_profile(name, device="cpu", generator=generator)  # the plain loop knows no other device
    torch.set_num_threads(profile.study.threads)
    settings: dict[str, Any] = {"sizes": SIZES, "timed": STEPS, "repeats": REPEATS, "judged": JUDGED}
    records = bench(profile, in_this_process(profile), **QUICK) if chosen.quick else bench(profile, **settings)
    write_whole(chosen.out / "results.json", (json.dumps(records, indent=1) + "\n").encode())
    picture = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "bench"}):
        draw(pd.DataFrame(records)).savefig(picture, format="svg", metadata={"Date": None})
    write_whole(chosen.out / "results.svg", picture.getvalue())


if __name__ == "__main__":
    main()
