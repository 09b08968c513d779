"""Running the study: chunk after chunk in this process, or on a Dask cluster. What is finished is never computed again."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

import torch
from tqdm.auto import tqdm

from vwlib.datasets.splits import open_lab
from vwlib.lab import Lab
from vwlib.learn import Learned
from vwlib.models.loading import altered_weights
from vwlib.models.memory import find_device
from vwlib.paths import DATA, ROOT
from vwlib.settings import Profile
from vwlib.study.digest import as_words, trials_of
from vwlib.study.plan import REFERENCES, Chunk, make_plan, word_count
from vwlib.study.progress import Status, status_of
from vwlib.study.store import Part, Progress, Store

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)


def learn_chunk(lab: Lab, chunk: Chunk) -> Part:
    """A chunk's words, and the ids of those that diverged; no words if the chunk is floors and ceilings."""
    if chunk.kind == REFERENCES:
        return Part()
    learned = lab.learn(chunk.task, chunk.trials, allow_divergence=True, progress=False)
    words = as_words(chunk.task, lab.profile, chunk.trials, learned.vectors)
    finite = learned.finite.tolist()
    return Part(
        [word for word, is_finite in zip(words, finite, strict=True) if is_finite],
        failed=[word.word_id for word, is_finite in zip(words, finite, strict=True) if not is_finite],
    )


def score_chunk(lab: Lab, chunk: Chunk, learned: Part) -> Part:
    """A chunk's learned words with the rows of their scores on all three tasks, or of its floors and ceilings."""
    if chunk.kind == REFERENCES:
        return Part(rows=lab.run_trials(chunk.trials, [], [chunk.task]).rows)
    if not learned.words:
        return learned
    vectors = torch.stack([word.vectors for word in learned.words])
    known = {chunk.task: Learned(vectors, torch.empty(0, len(vectors)))}
    grid = lab.run_trials(trials_of(learned.words), [chunk.task], learned=known, references=False)
    of_word = [grid.rows[start :: len(learned.words)] for start in range(len(learned.words))]
    rows = [row | {"word_id": word.word_id} for word, own in zip(learned.words, of_word, strict=True) for row in own]
    return Part(learned.words, rows, learned.failed)


def work(lab: Lab, store: Store, chunk: Chunk) -> None:
    """Compute one chunk into the store, unless another process was faster, and note in the run log what it took."""
    part = store.load(chunk)
    if part is not None and not part.failed:
        return
    with threads(lab.profile.study.threads):
        start = time.perf_counter()
        known = store.known_words(chunk)
        learned = learn_chunk(lab, chunk) if known is None else Part(known)
        half = time.perf_counter()
        store.save(chunk, score_chunk(lab, chunk, learned))
        end = time.perf_counter()
    store.note(
        {
            "chunk": chunk.name,
            "kind": chunk.kind,
            "task": chunk.task,
            "words": len(chunk.trials),
            "steps": lab.profile.learning[chunk.task].steps,
            "learning": round(half - start, 3) if known is None else 0,
            "scoring": round(end - half, 3),
            "host": socket.gethostname(),
            "commit": commit(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with `count` threads: sums depend on how many share them, and on one kind of processor the study's bytes
    must not.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def commit() -> str | None:
    """The commit of the working copy, if it is one."""
    found = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None


def run_study(
    profile: Profile,
    root: Path = DATA,
    *,
    workers: int = 0,
    scheduler: str | None = None,
    retry_failed: bool = False,
    progress: bool = True,
) -> Status:
    """Compute whatever is missing of a profile's study, and publish its table and banks.

    In this process by default; on `workers` local processes, or on the Dask cluster at `scheduler`, whose workers see
    the same folders. `retry_failed` computes the chunks with diverged words again. Killed at any point, the next run
    goes on. Weights that are not the originals, where those are known, are named in the log before anything is
    computed.
    Raises OSError where the store cannot be written to.
    """
    store = Store(profile, root)
    store.tidy()
    parts = store.load_all()
    todo = [chunk for chunk, part in parts.items() if part is None or (retry_failed and part.failed)]
    for role, settings in profile.models.items() if todo else ():
        for file in altered_weights(settings):
            log.warning("%s: %s is not the original; results will not be the paper's model's.", role, file)
    # Each run has an order of its own, so that several on one folder seldom compute the same chunk at the same time.
    SystemRandom().shuffle(todo)
    total, done = word_count(tuple(parts)), word_count(tuple(parts)) - word_count(tuple(todo))
    with tqdm(total=total, initial=done, desc=f"{profile.name} study", unit="word", disable=not progress) as bar:
        for chunk in (
            _on_cluster(profile, store, todo, workers, scheduler)
            if workers or scheduler
            else _in_process(profile, store, todo)
        ):
            parts[chunk] = store.load(chunk)
            bar.update(len(chunk.trials) if chunk.kind != REFERENCES else 0)
            bar.set_postfix_str(chunk.name, refresh=True)
    store.publish(parts)
    finished = {chunk: Progress(len(part.words), part.failed) if part else None for chunk, part in parts.items()}
    return status_of(profile, store, finished, unfit=[])


def _in_process(profile: Profile, store: Store, todo: Sequence[Chunk]) -> Iterator[Chunk]:
    lab = open_lab(profile)
    for chunk in todo:
        work(lab, store, chunk)
        yield chunk


@lru_cache(maxsize=1)
def lab_of_worker(profile: str) -> Lab:
    """The lab of a worker's process, which keeps models and images loaded from chunk to chunk."""
    return open_lab(Profile.model_validate_json(profile))


def work_remotely(profile: str, root: str, name: str) -> str:
    """A worker's task: one chunk, by name, into the shared store."""
    lab = lab_of_worker(profile)
    chunk = next(chunk for chunk in make_plan(lab.profile) if chunk.name == name)
    work(lab, Store(lab.profile, Path(root)), chunk)
    return name


def _on_cluster(
    profile: Profile, store: Store, todo: Sequence[Chunk], workers: int, scheduler: str | None
) -> Iterator[Chunk]:
    """Chunks as Dask tasks, in the order in which they finish; a lost worker's chunk goes to another.

    Raises ModuleNotFoundError where Dask is not installed.
    """
    try:
        from distributed import KilledWorker, as_completed
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Running on several processes needs Dask: pip install 'vwlib[grid]'.") from error
    if not todo:
        return  # no cluster for nothing
    by_name = {chunk.name: chunk for chunk in todo}
    # A local worker sees one GPU only, its own, whichever number the profile's has here.
    settings = profile if scheduler or not visible_gpus(profile) else profile.model_copy(update={"device": "cuda"})
    with connected(profile, workers, scheduler) as client:
        client.wait_for_workers(1)  # a cluster's jobs may still wait in its queue
        # Some clusters announce their GPUs; one task at a time then takes one.
        gpus = any(
            "GPU" in worker.get("resources", {}) for worker in client.scheduler_info(n_workers=-1)["workers"].values()
        )
        futures = client.map(
            work_remotely,
            [settings.model_dump_json()] * len(todo),
            [str(store.root)] * len(todo),
            list(by_name),
            pure=False,
            retries=1,
            resources={"GPU": 1} if gpus else None,
        )
        for future in as_completed(futures):
            try:
                yield by_name[future.result()]
            except KilledWorker as error:
                raise ConnectionError(
                    f"Workers were lost again and again, perhaps out of memory ({error}). What is finished is kept."
                ) from error


@contextmanager
def connected(profile: Profile, workers: int, scheduler: str | None) -> Iterator[Client]:
    """A client of the cluster at `scheduler`, or of a new local one of `workers` processes, on GPUs each with one of
    its own.

    Raises ValueError where more processes are asked for than there are GPUs.
    """
    from distributed import Client, LocalCluster, Nanny, Scheduler, SpecCluster

    if scheduler:
        with Client(scheduler) as client:
            yield client
        return
    environment = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(profile.study.threads))
    gpus = visible_gpus(profile)
    cluster: SpecCluster
    if not gpus:
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,
            dashboard_address=None,
            env=environment,
        )
    elif workers > len(gpus):
        raise ValueError(
            f"{workers} workers were asked for, but each takes a GPU of its own and there are {len(gpus)}; ask for at most so many."
        )
    else:
        options = {
            "nthreads": 1,
            "memory_limit": 0,
            "host": "127.0.0.1",
            "dashboard": False,
            "resources": {"GPU": 1},
            "silence_logs": logging.WARNING,
        }
        specs = [
            {"cls": Nanny, "options": options | {"env": environment | {"CUDA_VISIBLE_DEVICES": gpu}}}
            for gpu in gpus[:workers]
        ]
        manager = {"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard": False, "dashboard_address": ":0"}}
        cluster = SpecCluster(workers=dict(enumerate(specs)), scheduler=manager, silence_logs=logging.WARNING)
    with cluster, Client(cluster) as client:
        yield client


def visible_gpus(profile: Profile) -> list[str]:
    """The GPUs that a profile's device stands for, as CUDA_VISIBLE_DEVICES names them: all that this process sees, or
    the one it names.

    None where the device is the CPU.
    """
    device = find_device(profile.device)
    if device.type != "cuda":
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").replace(" ", "")
    gpus = named.split(",") if named else [str(index) for index in range(torch.cuda.device_count())]
    return gpus[: torch.cuda.device_count()] if device.index is None else [gpus[device.index]]
