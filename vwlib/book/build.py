"""The book: run its chapters with papermill, refuse what did not run cleanly, build the pages and check the links with
Jupyter Book.

The sources in `book/` carry no outputs. Each chapter is executed into `_build/executed/<profile>/` and keeps a hash of
all its outputs depend on, so that a second build runs only what changed. The pages are then laid out in `_build/stage/`
as they lie in the repository, so that a page's launch button finds its source, and built there. `_build/html/` is
replaced only when everything went well.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType

import nbformat
import papermill
import yaml
from jupyter_client.kernelspec import NoSuchKernel
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from papermill.exceptions import PapermillExecutionError
from papermill.execute import ERROR_MARKER_TAG
from traitlets.config import Config

from vwlib.book.siblings import Run, extend_toc, list_runs, relabel
from vwlib.paths import ROOT
from vwlib.settings import load_profile, read_settings, settings_file

#: Library files whose change cannot change a chapter's outputs.
NO_INPUT = {"book.py", "chapter_figure.py", "cli.py", "docstrings.py", "references.py", "siblings.py"}

#: Chapters about the other chapters' runs: executed again whenever one of those before them was.
ABOUT_RUNS = {"appendix_provenance"}

#: The chapter that loads pictures by itself.
EXPLORER = "explorer"

#: The card of the learned words (`vwlib.tools.card`), which a page includes.
CARD = Path("data/words/README.md")

#: Beside the built pages: the hash of what they were built from.
INPUTS = ".inputs"

#: Else every kernel warns that another user of this machine could listen to it.
KERNEL = Config({"KernelManager": {"transport_encryption": "auto"}})


class BookError(ValueError):
    """The book cannot be built; the message says in one sentence where and why."""


def list_pages(root: Path = ROOT) -> list[Path]:
    """The source files that `_toc.yml` names, in reading order, relative to `root`."""

    def names(entry: dict) -> Iterable[str]:
        yield from (entry[key] for key in ("root", "file") if key in entry)
        for key in ("parts", "chapters", "sections"):
            for child in entry.get(key, []):
                yield from names(child)

    pages = []
    for name in names(yaml.safe_load((root / "_toc.yml").read_text())):
        candidates = [Path(name + suffix) for suffix in (".ipynb", ".md", "")]
        page = next((page for page in candidates if (root / page).is_file()), None)
        if page is None:
            raise BookError(f"_toc.yml names {name}, which does not exist.")
        pages.append(page)
    return pages


def list_chapters(root: Path = ROOT) -> list[Path]:
    """The notebooks among the pages: what papermill executes."""
    return [page for page in list_pages(root) if page.suffix == ".ipynb"]


def hash_files(root: Path, paths: Iterable[Path], start: str = "") -> str:
    """A hash of names, relative to `root`, and contents; files that do not exist are left out."""
    digest = hashlib.sha256(start.encode())
    for path in sorted(path for path in paths if path.is_file() and not path.name.startswith(".")):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def hash_inputs(
    chapter: Path, profile: str, root: Path = ROOT, parameters: Mapping[str, str] = MappingProxyType({})
) -> str:
    """A hash of all that a chapter's outputs depend on: its source, profile, settings and further parameters, the
    library, the data, the packages.
    """
    library = [path for path in (root / "vwlib").rglob("*.py") if path.name not in NO_INPUT]
    paths = [root / chapter, root / "pyproject.toml", *library, *(root / "data").rglob("*")]
    settings = [str(read_settings(file))] if (file := settings_file()) else []
    files = [(ROOT / named.rpartition(":")[0]).resolve() for named in load_profile(profile).adapters.values()]
    adapters = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()]
    return hash_files(
        root, paths, " ".join([profile, *parameters.values(), *settings, *adapters, str(sys.version_info[:2])])
    )


def execute(
    source: Path,
    target: Path,
    parameters: dict[str, object],
    record: dict[str, str] | None = None,
    progress: bool = True,
) -> NotebookNode:
    """Run a notebook in this environment's kernel, in its own folder, and write the result whole or not at all.

    `record` is kept in the result's metadata, under `vwlib`. A run that fails raises BookError naming the notebook and
    the cell, leaves `target` as it was and keeps what it produced beside it, as `<name>.failed.ipynb`.
    """
    known = papermill.inspect_notebook(str(source))
    for name in parameters:
        if name not in known:
            raise BookError(f"{source.name} has no parameter '{name}'; it has {', '.join(known) or 'none'}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial, failed = (target.with_name(f"{target.stem}.{state}.ipynb") for state in ("partial", "failed"))
    try:
        notebook = papermill.execute_notebook(
            str(source),
            str(partial),
            parameters,
            kernel_name="python3",
            cwd=str(source.parent),
            config=KERNEL,
            progress_bar=progress,
        )
        # Papermill notes where the files lay on this machine, which is no reader's business.
        notebook.metadata.papermill.update(input_path=source.name, output_path=target.name)
        notebook.metadata["vwlib"] = record or {}
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
        problems += [
            f"cell {number} holds an error ({output.ename})" for output in cell.outputs if output.output_type == "error"
        ]
        if cell.source.strip() and cell.execution_count is None and "skip-execution" not in tags:
            problems.append(f"cell {number} was never executed")
    return problems


def read_inputs(executed: Path) -> str | None:
    """The hash that an executed copy was made from, or None where there is no readable copy."""
    try:
        return nbformat.read(executed, as_version=4).metadata.get("vwlib", {}).get("inputs")
    except (FileNotFoundError, nbformat.reader.NotJSONError):
        return None


def inputs_of(runs: Sequence[Run], number: int, profile: str, executed: Path, root: Path = ROOT) -> str:
    """The hash of all that the run of that number depends on; of one that is about the others, those before it too."""
    run = runs[number]
    inputs = hash_inputs(run.source, profile, root, run.parameters)
    if run.source.stem in ABOUT_RUNS:
        inputs = hash_files(executed, [executed / before.page for before in runs[:number]], inputs)
    return inputs


def execute_chapters(
    runs: Sequence[Run], profile: str, executed: Path, root: Path = ROOT, only: Sequence[str] = (), jobs: int = 1
) -> None:
    """Bring executed copies up to date, or `only` those of the chapters named.

    A chapter is run only if something that it depends on has changed since. `jobs` chapters run at a time; those about
    the others' runs wait for them.
    """
    numbers = [number for number, run in enumerate(runs) if not only or run.source.stem in only]
    about = [number for number in numbers if runs[number].source.stem in ABOUT_RUNS]
    for together in ([number for number in numbers if number not in about], *([number] for number in about)):
        work: list[Work] = []
        for number in together:
            run, inputs = runs[number], inputs_of(runs, number, profile, executed, root)
            if read_inputs(executed / run.page) == inputs:
                print(f"{run.page}: unchanged", flush=True)
            else:
                record = {"inputs": inputs, "profile": profile}
                work.append((root / run.source, executed / run.page, {"profile": profile, **run.parameters}, record))
        for source, seconds in _execute_all(work, jobs):
            print(f"{source.relative_to(executed)}: executed in {seconds:.0f} s", flush=True)


Work = tuple[Path, Path, dict[str, object], dict[str, str]]  # the arguments of `execute`


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
    from vwlib.study.store import Store
    from vwlib.study.tables import results_root

    settings = load_profile(profile)
    if settings.world == "miniature":
        ensure_world()
    if not settings.study.compute_on_demand or not status(Store(settings, results_root(settings))).missing:
        return
    if subprocess.run([sys.executable, "-m", "vwlib", "study", "--profile", profile], check=False).returncode:
        raise BookError(f"The study of profile '{profile}' could not be computed; what stopped it stands above.")


def usual_jobs(profile: str) -> int:
    """How many chapters run at a time unless one says otherwise: one a core, at most four; one where models fill a GPU."""
    return 1 if load_profile(profile).world == "paper" else min(cores(), 4)


def find_stale(profile: str = "miniature", root: Path = ROOT) -> list[str]:
    """Reasons not to publish the built pages, a sentence each: chapters of which something has changed since they were
    executed, pages built from others.
    """
    runs, executed, html = (
        list_runs(list_chapters(root), profile, root),
        root / "_build" / "executed" / profile,
        root / "_build" / "html",
    )
    found = []
    for number, run in enumerate(runs):
        if read_inputs(executed / run.page) != inputs_of(runs, number, profile, executed, root):
            found.append(
                f"{run.page} has not been executed at profile {profile} since its source, the library or the data changed."
            )
    if not (html / INPUTS).exists() or (html / INPUTS).read_text() != hash_pages(runs, executed, root):
        found.append("The pages in _build/html were not built from the present texts and executed chapters.")
    return found


def check_chapters(runs: Sequence[Run], executed: Path) -> None:
    """Raise BookError at the first executed copy that is missing or not fit to be published."""
    for page in (run.page for run in runs):
        if not (executed / page).exists():
            raise BookError(f"{page} has not been executed at this profile; run `vwlib book` without --only once.")
        for problem in find_problems(nbformat.read(executed / page, as_version=4)):
            raise BookError(f"{page} cannot be published: {problem}.")


def page_sources(runs: Sequence[Run], executed: Path, root: Path = ROOT) -> dict[Path, Path]:
    """Settings, texts, pictures and executed chapters, by their place in the repository; siblings lie beside their
    chapters.
    """
    sources = {page: root / page for page in (Path("_config.yml"), Path("_toc.yml"), *list_pages(root))}
    if (root / CARD).exists():
        sources[CARD] = root / CARD
    for path in (root / "book").rglob("*"):
        relative = path.relative_to(root)
        if path.is_file() and path.suffix != ".ipynb" and not any(part.startswith(".") for part in relative.parts):
            sources[relative] = path
    return sources | {run.page: executed / run.page for run in runs}


def hash_pages(runs: Sequence[Run], executed: Path, root: Path = ROOT) -> str:
    """A hash of all that the built pages depend on, the library among it, whose docstrings are pages too; executed
    chapters tell what they were made from.
    """
    return hash_files(
        root, [*page_sources(runs, executed, root).values(), root / "pyproject.toml", *(root / "vwlib").rglob("*.py")]
    )


def stage_pages(runs: Sequence[Run], stage: Path, executed: Path, root: Path = ROOT) -> None:
    """Lay out what pages are built from as it lies in the repository, with siblings among the chapters; each ends with
    `with_origin`.
    """
    shutil.rmtree(stage, ignore_errors=True)
    for relative, source in page_sources(runs, executed, root).items():
        (stage / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, stage / relative)
    for run in runs:
        notebook = nbformat.read(stage / run.page, as_version=4)
        if run.parameters:
            notebook = relabel(notebook, run.parameters["dataset"])
        nbformat.write(with_origin(notebook), stage / run.page)
    toc = stage / "_toc.yml"
    toc.write_text(yaml.safe_dump(extend_toc(yaml.safe_load(toc.read_text()), runs), sort_keys=False))


def with_origin(notebook: NotebookNode) -> NotebookNode:
    """A notebook with a last line that says when and how it was executed, by what papermill and `execute` noted; one
    without their notes as it is.
    """
    ran = notebook.metadata.get("papermill", {})
    if ran.get("duration") is None:
        return notebook
    day = f"{datetime.fromisoformat(ran['start_time']):%Y-%m-%d}"
    told = f"Executed on {day} in {ran['duration']:.0f} seconds by papermill {ran['version']}, at profile `{notebook.metadata.vwlib.profile}`."
    notebook.cells.append(new_markdown_cell(f"*{told}*", id="origin"))
    return notebook


def stage_explorer(stage: Path, profile: str) -> None:
    """Lay out the explorer's sheets of pictures, which its page loads one by one, beside the other static files."""
    from vwlib.book.pages.explorer import (  # only this page needs the models' libraries, which take long to load
        FOLDER,
        explorer_files,
        explorer_sources,
    )

    study, tables, _ = explorer_sources(load_profile(profile))
    folder = stage / "book" / "_static" / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in explorer_files(study, tables["sheets"]).items():
        (folder / name).write_bytes(content)


def run_jupyter_book(stage: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Let this environment's Jupyter Book build the staged pages."""
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(stage), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def build_pages(stage: Path, html: Path, inputs: str) -> None:
    """Build the staged pages strictly and put them in the place of `html`, which a failed build leaves as it was.

    All pages are built afresh, which takes seconds: Sphinx alone would neither repeat the warnings of a page that it
    has read before nor renew a page whose numbers come from another one.
    """
    run = run_jupyter_book(stage, "-n", "-W", "--keep-going", "-q")
    if run.returncode != 0:
        raise BookError(f"Jupyter Book refused the pages:\n{run.stderr.strip()}".replace(f"{stage}{os.sep}", ""))
    built = stage / "_build" / "html"
    (built / INPUTS).write_text(inputs)
    shutil.rmtree(html, ignore_errors=True)
    built.rename(html)


def build_book(
    profile: str = "miniature", only: list[str] | None = None, root: Path = ROOT, jobs: int | None = None
) -> Path:
    """Execute the chapters that changed (or `only` those named), check them all, build the pages; returns the first
    page's file.

    With `only`, the other chapters appear as they were last executed at this profile. `jobs` chapters run at a time;
    None: as many as `usual_jobs` says.
    """
    chapters = list_chapters(root)
    names = [chapter.stem for chapter in chapters]
    only = [Path(name).stem for name in only or []]
    for name in only:
        if name not in names:
            raise BookError(
                f"There is no chapter '{name}'; the chapters are {', '.join(names) or 'still to be written'}."
            )
    build = root / "_build"
    executed, stage, html = build / "executed" / profile, build / "stage", build / "html"
    runs = list_runs(chapters, profile, root)
    execute_chapters(runs, profile, executed, root, only, jobs or usual_jobs(profile))
    check_chapters(runs, executed)
    inputs = hash_pages(runs, executed, root)
    if not (html / INPUTS).exists() or (html / INPUTS).read_text() != inputs:
        stage_pages(runs, stage, executed, root)
        if EXPLORER in names:
            stage_explorer(stage, profile)
        build_pages(stage, html, inputs)
    return html / "index.html"


def check_links(profile: str = "miniature", root: Path = ROOT) -> list[str]:
    """Ask every address outside of the book to which its pages link whether it is there; a sentence for each that is
    not.

    Raises BookError where the chapters have not been executed at this profile, and where Jupyter Book cannot ask.
    """
    runs = list_runs(list_chapters(root), profile, root)
    executed, stage = root / "_build" / "executed" / profile, root / "_build" / "links"
    check_chapters(runs, executed)
    stage_pages(runs, stage, executed, root)
    run = run_jupyter_book(stage, "--builder", "linkcheck", "--keep-going", "-q")
    answers = stage / "_build" / "html" / "output.json"
    if not answers.exists():
        raise BookError(
            f"Jupyter Book could not check the links:\n{run.stderr.strip()}".replace(f"{stage}{os.sep}", "")
        )
    found = [json.loads(line) for line in answers.read_text().splitlines()]
    dead = [answer for answer in found if answer["status"] in ("broken", "timeout")]
    return [
        f"{answer['filename']}, line {answer['lineno']}: {answer['uri']} is not there ({answer['info']})."
        for answer in dead
    ]
