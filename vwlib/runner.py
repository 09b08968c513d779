"""Running the study: chunk after chunk in this process, or on a Dask cluster. What is finished is never computed again."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm.auto import tqdm

from vwlib.models import TASKS
from vwlib.paths import DATA, ROOT
from vwlib.plan import REFERENCES, Chunk, make_plan, word_count
from vwlib.profiles import Profile
from vwlib.store import Part, Store
from vwlib.study import as_words, carry, learn_whatever_comes, reference_rows, score, score_rows
from vwlib.words import Word

if TYPE_CHECKING:
    from distributed import Client


def compute(profile: Profile, chunk: Chunk, known: Sequence[Word] | None = None) -> Part:
    """Experiments 1 and 2 for one chunk: learn its words, unless they are `known`, and score each on all three tasks.

    A word that diverges is neither kept nor scored, but named in `Part.failed`.
    """
    if chunk.kind == REFERENCES:
        return Part(rows=reference_rows(chunk.task, profile, chunk.trials))
    if known is None:
        learned = learn_whatever_comes(chunk.task, profile, chunk.trials, progress=False)
        everything, finite = as_words(chunk.task, profile, chunk.trials, learned.vectors), learned.finite.tolist()
        known = [word for word, fine in zip(everything, finite, strict=True) if fine]
        failed = [word.word_id for word, fine in zip(everything, finite, strict=True) if not fine]
        trials = [trial for trial, fine in zip(chunk.trials, finite, strict=True) if fine]
    else:
        failed, trials = [], list(chunk.trials)
    if not known:
        return Part(failed=failed)
    vectors = torch.stack([word.vectors for word in known])
    by_target = []
    for target in TASKS:
        scores = score(target, profile, carry(profile, vectors, chunk.task, target), trials)
        by_target.append(score_rows(profile, trials, chunk.task, target, scores, [word.word_id for word in known]))
    return Part(list(known), [row for rows in zip(*by_target, strict=True) for row in rows], failed)


def work(profile: Profile, store: Store, chunk: Chunk) -> float:
    """Compute one chunk into the store; returns the seconds that it took."""
    start = time.perf_counter()
    with threads(profile.study.threads):
        store.save(chunk, compute(profile, chunk, store.known_words(chunk)))
    seconds = time.perf_counter() - start
    when = datetime.now(UTC).isoformat(timespec="seconds")
    record = {"chunk": chunk.name, "kind": chunk.kind, "task": chunk.task, "words": len(chunk.trials), "seconds": round(seconds, 2)}
    store.note(record | {"host": socket.gethostname(), "commit": commit(), "finished": when})
    return seconds


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with `count` threads: sums depend on how many share them, and the study's bytes must not."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def commit() -> str | None:
    """The commit of the working copy, if it is one."""
    found = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


@dataclass(frozen=True)
class Status:
    """How far a study is: words in all, finished and failed, and the names of the chunks that are missing."""

    words: int
    finished: int
    failed: list[str]
    missing: list[str]
    seconds_left: float | None  # None where nothing was timed yet

    def __str__(self) -> str:
        lines = [f"{self.finished:,} of {self.words:,} words are learned and scored; {len(self.failed)} failed."]
        lines += [f"  failed: {sentence}" for sentence in self.failed]
        if self.missing:
            left = "unknown before the first chunk" if self.seconds_left is None else f"{self.seconds_left / 3600:.1f} hours in one process"
            lines.append(f"{len(self.missing)} chunks are missing, the first {self.missing[0]}; time left: {left}.")
        return "\n".join(lines)


def status(profile: Profile, store: Store) -> Status:
    """What of a profile's study is done, failed and missing, and how long the rest will take."""
    plan = make_plan(profile)
    parts = {chunk: store.load(chunk) for chunk in plan}
    finished = sum(len(part.words) for part in parts.values() if part)
    failed = [f"{name} ({chunk.name})" for chunk, part in parts.items() if part for name in part.failed]
    missing = [chunk for chunk, part in parts.items() if part is None]
    return Status(word_count(plan), finished, failed, [chunk.name for chunk in missing], _seconds(store, missing))


def _seconds(store: Store, chunks: Sequence[Chunk]) -> float | None:
    """How long chunks will take, by the run log's median seconds a word of each kind and task."""
    notes = store.notes()
    if notes.empty:
        return None
    rate = (notes["seconds"] / notes["words"]).groupby([notes["kind"], notes["task"]]).median()
    return float(sum(len(chunk.trials) * rate.get((chunk.kind, chunk.task), rate.mean()) for chunk in chunks))


def run_study(
    profile: Profile, root: Path = DATA, *, workers: int = 0, scheduler: str | None = None, retry_failed: bool = False, progress: bool = True
) -> Status:
    """Compute whatever is missing of a profile's study, and publish its table and banks.

    In this process by default; on `workers` local processes, or on the Dask cluster at `scheduler`, whose workers see the
    same folders. `retry_failed` computes the chunks with diverged words again. Killed at any point, the next run goes on.
    Raises OSError where the store cannot be written to.
    """
    store, plan = Store(profile, root), make_plan(profile)
    parts = {chunk: store.load(chunk) for chunk in plan}
    todo = [chunk for chunk, part in parts.items() if part is None or (retry_failed and part.failed)]
    bar = tqdm(total=word_count(plan), initial=word_count(plan) - word_count(tuple(todo)), desc=f"{profile.name} study", unit="word", disable=not progress)
    with bar:
        for chunk in _in_process(profile, store, todo) if not (workers or scheduler) else _on_cluster(profile, store, todo, workers, scheduler):
            bar.update(len(chunk.trials) if chunk.kind != REFERENCES else 0)
            bar.set_postfix_str(chunk.name, refresh=True)
    Store(profile, root).publish()  # a new one: what was published before may have changed
    return status(profile, Store(profile, root))


def _in_process(profile: Profile, store: Store, todo: Sequence[Chunk]) -> Iterator[Chunk]:
    for chunk in todo:
        work(profile, store, chunk)
        yield chunk


def work_remotely(profile: str, root: str, name: str) -> str:
    """A worker's task: one chunk, by name, into the shared store. Models and images stay loaded in the worker's process."""
    settings = Profile.model_validate_json(profile)
    chunk = next(chunk for chunk in make_plan(settings) if chunk.name == name)
    work(settings, Store(settings, Path(root)), chunk)
    return name


def _on_cluster(profile: Profile, store: Store, todo: Sequence[Chunk], workers: int, scheduler: str | None) -> Iterator[Chunk]:
    """Chunks as Dask tasks, in the order in which they finish; a lost worker's chunk goes to another.

    Raises ModuleNotFoundError where Dask is not installed.
    """
    try:
        from distributed import as_completed
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Running on several processes needs Dask: pip install 'vwlib[grid]'.") from error
    by_name = {chunk.name: chunk for chunk in todo}
    with connected(workers, scheduler, profile.study.threads) as client:
        # Some clusters announce their GPUs; one task at a time then takes one.
        gpus = any("GPU" in worker.get("resources", {}) for worker in client.scheduler_info()["workers"].values())
        futures = client.map(
            work_remotely,
            [profile.model_dump_json()] * len(todo),
            [str(store.root)] * len(todo),
            list(by_name),
            pure=False,
            retries=1,
            resources={"GPU": 1} if gpus else None,
        )
        for future in as_completed(futures):
            yield by_name[future.result()]


@contextmanager
def connected(workers: int, scheduler: str | None, threads_each: int) -> Iterator[Client]:
    """A client of the cluster at `scheduler`, or of a new local one of `workers` processes."""
    from distributed import Client, LocalCluster

    if scheduler:
        with Client(scheduler) as client:
            yield client
        return
    environment = {"OMP_NUM_THREADS": str(threads_each), "MKL_NUM_THREADS": str(threads_each)}
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, memory_limit=0, dashboard_address=None, env=environment) as cluster,
        Client(cluster) as client,
    ):
        yield client
