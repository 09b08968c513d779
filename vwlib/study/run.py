"""Running the study: chunk after chunk, in this process or on a Dask cluster. Finished chunks are kept."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm

from vwlib.concepts import TASKS
from vwlib.datasets.splits import open_lab
from vwlib.lab import Lab
from vwlib.learn import Learned
from vwlib.models.memory import find_device
from vwlib.paths import DATA, ROOT
from vwlib.settings import Profile
from vwlib.study.digest import altered_weights, as_words, trials_of
from vwlib.study.formats import ChunkResult
from vwlib.study.plan import REFERENCES, Chunk, make_plan, word_count
from vwlib.study.progress import Status, append_run, status
from vwlib.study.store import Store, results_root

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)


def learn_chunk(lab: Lab, chunk: Chunk) -> ChunkResult:
    """A chunk's words, and the ids of those that diverged; no words where the chunk is floors and ceilings."""
    if chunk.kind == REFERENCES:
        return ChunkResult()
    learned = lab.learn(chunk.task, chunk.trials, allow_divergence=True, progress=False)
    words = as_words(chunk.task, lab.profile, chunk.trials, learned.vectors)
    finite = list(zip(words, learned.finite.tolist(), strict=True))
    return ChunkResult(
        [word for word, is_one in finite if is_one], failed=[w.word_id for w, is_one in finite if not is_one]
    )


def score_chunk(lab: Lab, chunk: Chunk, learned: ChunkResult) -> ChunkResult:
    """A chunk's learned words with the rows of their scores on all three tasks, or of its floors and ceilings."""
    if chunk.kind == REFERENCES:
        return ChunkResult(rows=lab.reference_rows(chunk.task, chunk.trials))
    if not learned.words:
        return learned
    count, vectors = len(learned.words), torch.stack([word.vectors for word in learned.words])
    words = {chunk.task: Learned(vectors, torch.empty(0, count))}
    grid = lab.run_trials(trials_of(learned.words), [chunk.task], learned=words, references=False, progress=False)
    rows = [
        grid.rows[target * count + row] | {"word_id": word.word_id}
        for row, word in enumerate(learned.words)
        for target in range(len(TASKS))
    ]
    return ChunkResult(learned.words, rows, learned.failed)


def work(lab: Lab, store: Store, chunk: Chunk) -> None:
    """Compute one chunk into the store, unless another process was faster, and note in the run log what it took."""
    result = store.load(chunk)
    if result is not None and not result.failed:
        return
    with threads(lab.profile.study.threads):
        start = time.perf_counter()
        words = store.cached_words(chunk)
        learned = learn_chunk(lab, chunk) if words is None else ChunkResult(words)
        half = time.perf_counter()
        store.save(chunk, score_chunk(lab, chunk, learned))
        end = time.perf_counter()
    record = {
        "chunk": chunk.name,
        "kind": chunk.kind,
        "task": chunk.task,
        "words": len(chunk.trials),
        "steps": lab.profile.learning[chunk.task].steps,
        "learning": round(half - start, 3) if words is None else 0,
        "scoring": round(end - half, 3),
        "host": socket.gethostname(),
        "commit": commit(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    append_run(store.log_file, record)


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
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None


def run_study(
    profile: Profile,
    root: Path = DATA,
    *,
    workers: int = 0,
    scheduler: str | None = None,
    retry_failed: bool = False,
    progress: bool = True,
) -> Status:
    """Compute whatever is missing of a profile's grid, and publish its table and banks. Killed, the next run goes on.

    In this process, on `workers` local processes, or on the Dask cluster at `scheduler`, whose workers see the same
    folders. `retry_failed` computes chunks with diverged words again. Weights that are not the originals are named in
    the log. Raises OSError where the store cannot be written to.
    """
    store = Store(profile, root)
    store.remove_stale_temporaries()
    results = store.load_all()
    todo = [chunk for chunk, result in results.items() if result is None or (retry_failed and result.failed)]
    for role, settings in profile.models.items() if todo else ():
        for file in altered_weights(settings):
            log.warning("%s: %s is not the original; results will not be the paper's model's.", role, file)
    # Each run has an order of its own, so that several on one folder seldom compute the same chunk at the same time.
    SystemRandom().shuffle(todo)
    total, name = word_count(results), f"{profile.name}, {profile.study.table}"
    with tqdm(total=total, initial=total - word_count(todo), desc=name, unit="word", disable=not progress) as bar:
        for chunk in _finished(store, todo, workers, scheduler):
            results[chunk] = store.load(chunk)
            bar.update(word_count((chunk,)))
            bar.set_postfix_str(chunk.name, refresh=True)
    store.publish(results)
    return status(store, results)


def _finished(store: Store, todo: list[Chunk], workers: int, scheduler: str | None) -> Iterator[Chunk]:
    """The chunks, each once it is computed."""
    if workers or scheduler:
        yield from run_on_cluster(store, todo, workers, scheduler)
        return
    lab = open_lab(store.profile)
    for chunk in todo:
        work(lab, store, chunk)
        yield chunk


def ensure_study(profile: Profile, root: Path | None = None) -> Path:
    """The root of a profile's results. Grids with `compute_on_demand` are computed there where they are missing."""
    root = root or results_root(profile)
    for grid in profile.grids:
        if grid.study.compute_on_demand:
            run_study(grid, root, progress=False)
    return root


@lru_cache(maxsize=1)
def _lab(profile: Profile) -> Lab:
    """A worker's models and images stay loaded in its process."""
    return open_lab(profile)


def work_remotely(profile: str, root: str, name: str) -> str:
    """A worker's task: one chunk, by name, into the shared store."""
    settings = Profile.model_validate_json(profile)
    chunk = next(chunk for chunk in make_plan(settings) if chunk.name == name)
    work(_lab(settings), Store(settings, Path(root)), chunk)
    return name


def run_on_cluster(store: Store, todo: Sequence[Chunk], workers: int, scheduler: str | None) -> Iterator[Chunk]:
    """Chunks as Dask tasks, in the order in which they finish; a lost worker's chunk goes to another.

    Raises ModuleNotFoundError where Dask is not installed, and ConnectionError where workers are lost again and again.
    """
    try:
        from distributed import KilledWorker, as_completed
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Running on several processes needs Dask: pip install 'vwlib[grid]'.") from error
    if not todo:
        return  # no cluster for nothing
    by_name, profile = {chunk.name: chunk for chunk in todo}, store.profile
    # A local worker sees one GPU only, its own, whichever number the profile's has here.
    settings = profile if scheduler or not visible_gpus(profile) else profile.model_copy(update={"device": "cuda"})
    with connected(profile, workers, scheduler) as client:
        client.wait_for_workers(1)  # a cluster's jobs may still wait in its queue
        # Some clusters announce their GPUs; one task at a time then takes one.
        known = client.scheduler_info(n_workers=-1)["workers"].values()
        one = {"GPU": 1} if any("GPU" in worker.get("resources", {}) for worker in known) else None
        task = partial(work_remotely, settings.model_dump_json(), str(store.root))
        futures = client.map(task, list(by_name), pure=False, retries=1, resources=one)
        for future in as_completed(futures):
            try:
                yield by_name[future.result()]
            except KilledWorker as error:
                lost = f"Workers were lost again and again, perhaps out of memory ({error})."
                raise ConnectionError(f"{lost} What is finished is kept.") from error


@contextmanager
def connected(profile: Profile, workers: int, scheduler: str | None) -> Iterator[Client]:
    """A client of the cluster at `scheduler`, or of a new local one of `workers` processes, each on its own GPU if any.

    Raises ValueError where more processes are asked for than there are GPUs.
    """
    from distributed import Client, LocalCluster

    if scheduler:
        with Client(scheduler) as client:
            yield client
        return
    environment = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(profile.study.threads))
    gpus = visible_gpus(profile)
    if gpus and len(gpus) < workers:
        raise ValueError(f"{workers} workers were asked for; each takes a GPU of its own and there are {len(gpus)}.")
    plain = {"threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None, "env": environment}
    on_gpus = _cluster_on_gpus(gpus[:workers], environment) if gpus else None
    with on_gpus or LocalCluster(n_workers=workers, **plain) as cluster, Client(cluster) as client:
        yield client


def _cluster_on_gpus(gpus: Sequence[str], environment: dict[str, str]) -> Any:
    """A local cluster of a worker for each GPU, which alone the worker sees."""
    from distributed import Nanny, Scheduler, SpecCluster

    options = {"nthreads": 1, "memory_limit": 0, "host": "127.0.0.1", "dashboard": False, "resources": {"GPU": 1}}
    options["silence_logs"] = logging.WARNING
    own = [options | {"env": environment | {"CUDA_VISIBLE_DEVICES": gpu}} for gpu in gpus]
    workers = {index: {"cls": Nanny, "options": options} for index, options in enumerate(own)}
    manager = {"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard": False, "dashboard_address": ":0"}}
    return SpecCluster(workers=workers, scheduler=manager, silence_logs=logging.WARNING)


def visible_gpus(profile: Profile) -> list[str]:
    """A profile's GPUs, as CUDA_VISIBLE_DEVICES names them: all visible ones, the one its device names, or none."""
    device = find_device(profile.device)
    if device.type != "cuda":
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").replace(" ", "")
    gpus = named.split(",") if named else [str(index) for index in range(torch.cuda.device_count())]
    return gpus[: torch.cuda.device_count()] if device.index is None else [gpus[device.index]]
