"""Chapters are run with papermill, each into an executed copy, and again only when something changed on which its
outputs depend: its code, its settings, and whatever files of the project it read (`vwlib.book.reads`).
"""

import hashlib
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import nbformat
import papermill
from jupyter_client.kernelspec import NoSuchKernel
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from papermill.execute import ERROR_MARKER_TAG
from traitlets.config import Config

from vwlib.book.reads import changed, hash_reads
from vwlib.paths import ROOT
from vwlib.settings import load_profile, read_settings

#: The chapter about the other chapters' runs, which waits for them.
LAST = "appendix_provenance"
#: Else every kernel warns that another user of this machine could listen to it.
KERNEL = Config({"KernelManager": {"transport_encryption": "auto"}})


class BookError(ValueError):
    """The book cannot be built; the message says in one sentence where and why."""


def code_of(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells that the source has, without papermill's cell of injected parameters."""
    return [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", [])
    ]


def hash_code(notebook: NotebookNode, profile: str, root: Path = ROOT) -> str:
    """A hash of a chapter's code cells, its profile with the settings of `VWLIB_SETTINGS` and its adapters, and the
    versions of Python and of the pinned packages.
    """
    project = root / "pyproject.toml"
    packages = tomllib.loads(project.read_text())["project"]["dependencies"] if project.exists() else []
    adapters = [(ROOT / named.rpartition(":")[0]).resolve() for named in load_profile(profile).adapters.values()]
    sources = [file.read_text() for file in adapters if file.is_file()]
    cells, settings = [cell.source for cell in code_of(notebook)], read_settings()
    inputs = cells, profile, settings, sources, packages, sys.version_info[:2]
    return hashlib.sha256(repr(inputs).encode()).hexdigest()


def is_current(chapter: Path, executed: Path, profile: str, root: Path = ROOT) -> bool:
    """Whether a chapter's executed copy has the outputs that another run would have."""
    try:
        run = nbformat.read(executed / chapter, as_version=4).metadata.get("vwlib", {})
    except (FileNotFoundError, nbformat.reader.NotJSONError):
        return False
    code = hash_code(nbformat.read(root / chapter, as_version=4), profile, root)
    return run.get("code") == code and not changed(run["reads"], root)


def execute(
    source: Path, target: Path, parameters: dict[str, object], root: Path = ROOT, progress: bool = True
) -> NotebookNode:
    """Run a notebook in this environment's kernel, in its own folder, and write the result whole or not at all.

    Its metadata say below `vwlib` what the result depends on. A run that fails raises BookError that names notebook and
    cell, leaves `target` as it was and keeps what it produced beside it, as `<name>.failed.ipynb`.
    """
    known = papermill.inspect_notebook(str(source))
    for name in parameters:
        if name not in known:
            raise BookError(f"{source.name} has no parameter '{name}'; it has {', '.join(known) or 'none'}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial, failed = (target.with_name(f"{target.stem}.{state}.ipynb") for state in ("partial", "failed"))
    log, start = target.with_suffix(".reads"), time.time()
    profile = str(parameters.get("profile") or load_profile().name)
    record = {"profile": profile, "code": hash_code(nbformat.read(source, as_version=4), profile, root)}
    begin = f"from vwlib.book import reads as _reads; _reads.record({str(log)!r}, {str(root)!r})"
    try:
        notebook = papermill.execute_notebook(
            str(source),
            str(partial),
            parameters,
            kernel_name="python3",
            cwd=str(source.parent),
            config=KERNEL,
            progress_bar=progress,
            extra_arguments=[f"--IPKernelApp.exec_lines={begin}"],
        )
        # Papermill notes where the files lay on this machine, which is no reader's business.
        notebook.metadata.papermill.update(input_path=source.name, output_path=target.name)
        names = set(log.read_text().splitlines()) - {os.path.relpath(target, root)}
        notebook.metadata["vwlib"] = record | {"reads": hash_reads(names, start, root)}
        nbformat.write(notebook, partial)
        partial.replace(target)
        failed.unlink(missing_ok=True)
    except PapermillExecutionError as error:
        partial.replace(failed)
        number, line = locate_cell(source, error)
        raise BookError(
            f"{source.name} stopped in cell {number} (`{line}`) with {error.ename}: {error.evalue}"
        ) from error
    except (DeadKernelError, CellTimeoutError, NoSuchKernel) as error:
        raise BookError(f"{source.name} could not be run to its end: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
    return notebook


def locate_cell(source: Path, error: PapermillExecutionError) -> tuple[int, str]:
    """Number (from 1, as in the source) and first line of the cell that failed."""
    cells = nbformat.read(source, as_version=4).cells
    same = [number for number, cell in enumerate(cells, 1) if cell.source == error.source]
    # Papermill counts from 0 and has put in the injected parameters, which the source does not have.
    number = min(same, key=lambda number: abs(number - error.cell_index), default=error.cell_index)
    return number, next((line.strip() for line in error.source.splitlines() if line.strip()), "")


def find_problems(notebook: NotebookNode) -> list[str]:
    """Reasons not to publish a notebook: Jupyter Book itself builds a page full of errors without a warning."""
    problems = []
    for number, cell in enumerate(notebook.cells, 1):
        tags = cell.metadata.get("tags", [])
        if ERROR_MARKER_TAG in tags:
            problems.append(f"cell {number} is papermill's mark of a failed run")
        if cell.cell_type != "code":
            continue
        errors = [output.ename for output in cell.outputs if output.output_type == "error"]
        problems += [f"cell {number} holds an error ({name})" for name in errors]
        if cell.source.strip() and cell.execution_count is None and "skip-execution" not in tags:
            problems.append(f"cell {number} was never executed")
    return problems


def execute_chapters(
    chapters: Sequence[Path],
    profile: str,
    executed: Path,
    root: Path = ROOT,
    only: Sequence[str] = (),
    jobs: int = 1,
    prepare: Callable[[str], None] | None = None,
) -> None:
    """Bring executed copies up to date, or `only` those of the chapters named; `jobs` chapters run at a time.

    Where one has to run, `prepare` is called with the profile before.
    """
    chosen = [chapter for chapter in chapters if not only or chapter.stem in only]
    last = [chapter for chapter in chosen if chapter.stem == LAST]
    for together in ([chapter for chapter in chosen if chapter not in last], last):
        work: list[Work] = []
        for chapter in together:
            if is_current(chapter, executed, profile, root):
                print(f"{chapter}: unchanged", flush=True)
            else:
                work.append((root / chapter, executed / chapter, {"profile": profile}, root))
        if work and prepare and together is not last:
            prepare(profile)
        for target, seconds in _execute_all(work, jobs):
            print(f"{target.relative_to(executed)}: executed in {seconds:.0f} s", flush=True)


Work = tuple[Path, Path, dict[str, object], Path]  # the arguments of `execute`


def _execute_all(work: Sequence[Work], jobs: int) -> Iterator[tuple[Path, float]]:
    """Execute notebooks, `jobs` at a time, each in a process of its own; gives target and seconds of each that is done.

    The first failure lets those under way finish, and no other begin.
    """
    if min(jobs, len(work)) <= 1:
        for one in work:
            yield _timed(one)
        return
    threads = str(max(1, cores() // jobs))
    with ProcessPoolExecutor(min(jobs, len(work)), get_context("spawn"), _share_cores, (threads,)) as pool:
        try:
            for done in as_completed([pool.submit(_timed, one, False) for one in work]):
                yield done.result()
        except BrokenProcessPool as error:
            raise BookError(
                "A process that ran a chapter was ended from outside, perhaps for want of memory; try --jobs 1."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _timed(work: Work, progress: bool = True) -> tuple[Path, float]:
    start = time.monotonic()
    execute(*work, progress=progress)
    return work[1], time.monotonic() - start


def _share_cores(threads: str) -> None:
    """Let this process' kernels use a share of the cores: as many threads as cores in each of them would wait for each
    other.
    """
    os.environ.setdefault("OMP_NUM_THREADS", threads)


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_ready(profile: str) -> None:
    """Make what several chapters read and would otherwise each make at the same time: the miniature's pictures, and a
    study computed on demand.
    """
    from vwlib.miniature.world import ensure_world
    from vwlib.study.progress import status
    from vwlib.study.store import Store, results_root

    settings = load_profile(profile)
    if settings.world == "miniature":
        ensure_world()
    stores = [Store(grid, results_root(grid)) for grid in settings.grids if grid.study.compute_on_demand]
    if not any(status(store).missing for store in stores):
        return
    if subprocess.run([sys.executable, "-m", "vwlib", "study", "--profile", profile], check=False).returncode:
        raise BookError(f"The study of profile '{profile}' could not be computed; what stopped it stands above.")


def usual_jobs(profile: str) -> int:
    """How many chapters run at a time unless one says otherwise: one a core, at most four; one where models fill a
    GPU.
    """
    return 1 if load_profile(profile).world == "paper" else min(cores(), 4)
