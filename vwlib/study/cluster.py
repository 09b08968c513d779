"""The study on several processes: on a new local Dask cluster, on GPUs one worker each, or on one that is there."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vwlib.datasets.splits import open_lab
from vwlib.lab import Lab
from vwlib.models.memory import find_device
from vwlib.settings import Profile
from vwlib.study.plan import Chunk, make_plan
from vwlib.study.run import work
from vwlib.study.store import Store

if TYPE_CHECKING:
    from distributed import Client


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
