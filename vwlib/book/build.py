"""The book's pages: the present texts with the outputs of the executed chapters, built and checked with Jupyter Book.

The sources in `book/` carry no outputs. `vwlib.book.execute` runs the chapters into `_build/executed/<profile>/`. The
pages are laid out in `_build/stage/` as they lie in the repository, so that a page's launch button finds its source,
and built there: a changed text alone, and all of them where another page may show the change. `_build/html/` is
replaced only when everything went well.
"""

import ast
import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from vwlib.book.execute import BookError, code_of, execute_chapters, find_problems, is_current, usual_jobs
from vwlib.book.reads import hash_read
from vwlib.paths import ROOT
from vwlib.settings import load_profile

#: The chapter whose pictures are files that its script loads one by one.
EXPLORER = "explorer"
#: The card of the learned words (`vwlib.tools.card`), which a page includes.
CARD = Path("data/words/README.md")
#: Beside the built pages: the hash of what they were built from.
INPUTS = ".inputs"
#: What other pages show of a page: headings, labels, names of figures, what it cites.
_SHARED = re.compile(
    rb'^\s*"?(#+ .*|\(.+\)=.*|:(?:name|label): .*)$|("name": ".*?")|(\{cite[^`]*`[^`]*`)', re.MULTILINE
)


def list_pages(root: Path = ROOT) -> list[Path]:
    """The source files that `_toc.yml` names, in reading order, relative to `root`."""

    def names(entry: dict) -> Iterator[str]:
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


def find_stale(profile: str = "miniature", root: Path = ROOT) -> list[str]:
    """Reasons not to publish the built pages, a sentence each: chapters of which something has changed since they were
    executed, pages built from others.
    """
    chapters, executed = list_chapters(root), root / "_build" / "executed" / profile
    found = [
        f"{chapter} has not been executed at profile {profile} since its code, or something that it reads, changed."
        for chapter in chapters
        if not is_current(chapter, executed, profile, root)
    ]
    if found or built_from(root / "_build" / "html") != hash_pages(page_files(chapters, executed, root), root):
        found.append("The pages in _build/html were not built from the present texts and executed chapters.")
    return found


def built_from(html: Path) -> str:
    """The hash of what pages were built from; nothing where there are none."""
    return (html / INPUTS).read_text() if (html / INPUTS).exists() else ""


def check_chapters(chapters: Sequence[Path], executed: Path) -> None:
    """Raise BookError at the first executed copy that is missing or not fit to be published."""
    for chapter in chapters:
        if not (executed / chapter).exists():
            raise BookError(f"{chapter} has not been executed at this profile; run `vwlib book` without --only once.")
        for problem in find_problems(nbformat.read(executed / chapter, as_version=4)):
            raise BookError(f"{chapter} cannot be published: {problem}.")


def glued_values(notebook: NotebookNode) -> dict[str, Any]:
    """The plain numbers and texts that a notebook glued, by name."""
    values = {}
    for output in (output for cell in code_of(notebook) for output in cell.outputs):
        if name := output.get("metadata", {}).get("scrapbook", {}).get("name"):
            shown = {kind.removeprefix("application/papermill.record/"): text for kind, text in output.data.items()}
            try:
                values[name] = shown.get("text/markdown") or ast.literal_eval(shown["text/plain"])
            except (ValueError, SyntaxError):
                continue  # a figure or a table
    return {name: value for name, value in values.items() if isinstance(value, str | int | float)}


def write_numbers(chapters: Sequence[Path], executed: Path, profile: str, root: Path = ROOT) -> None:
    """Write what the chapters glued to `numbers.json`: with the profile's results, or, where those are not kept, beside
    the executed chapters. A file that is the same stays as it is.
    """
    found = {
        f"{chapter.stem}.{name}": value
        for chapter in chapters
        for name, value in glued_values(nbformat.read(executed / chapter, as_version=4)).items()
    }
    results = root / "data" / "results" / profile
    file = (results if results.is_dir() else executed) / "numbers.json"
    text = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    if not file.exists() or file.read_text() != text:
        partial = file.with_suffix(".partial")
        partial.write_text(text)
        partial.replace(file)


def with_outputs(source: NotebookNode, executed: NotebookNode) -> NotebookNode:
    """The present text of a chapter with the outputs of its executed copy and its injected parameters. A last line says
    when and how it was executed. Where the code is no longer the same, the text is the executed one too.
    """
    ran, run = code_of(executed), executed.metadata.get("papermill", {})
    if [cell.source for cell in code_of(source)] != [cell.source for cell in ran]:
        source = executed
    notebook = nbformat.from_dict(source | {"cells": []})
    for cell in source.cells:
        if cell.cell_type == "code" and source is not executed:
            done = ran.pop(0)
            cell.update(outputs=done.outputs, execution_count=done.execution_count)
        notebook.cells.append(cell)
        if source is not executed and "parameters" in cell.metadata.get("tags", []):
            notebook.cells += [
                other for other in executed.cells if "injected-parameters" in other.metadata.get("tags", [])
            ]
    if run.get("duration") is not None:
        told = (
            f"*Executed on {datetime.fromisoformat(run['start_time']):%Y-%m-%d} in {run['duration']:.0f} seconds "
            f"by papermill {run['version']}, at profile `{executed.metadata.vwlib.profile}`.*"
        )
        notebook.cells.append(new_markdown_cell(told, id="origin"))
    return notebook


def page_files(chapters: Sequence[Path], executed: Path, root: Path = ROOT) -> dict[Path, bytes]:
    """What the pages are built from, by its place in the repository: settings, texts, pictures, chapters with their
    outputs, and in `book/figures/` those figures of chapters that a text shows too.
    """
    files = {page: (root / page).read_bytes() for page in map(Path, ("_config.yml", "_toc.yml"))}
    files |= {page: (root / page).read_bytes() for page in (*list_pages(root), CARD) if (root / page).exists()}
    for path in sorted((root / "book").rglob("*")):
        relative = path.relative_to(root)
        hidden = any(part.startswith(".") for part in relative.parts)
        if path.is_file() and path.suffix not in (".ipynb", ".j2") and not hidden:
            files[relative] = path.read_bytes()
    texts = b"".join(content for path, content in files.items() if path.suffix == ".md")
    for chapter in chapters:
        source, run = (nbformat.read(folder / chapter, as_version=4) for folder in (root, executed))
        files[chapter] = nbformat.writes(with_outputs(source, run)).encode()
        for cell in code_of(run):
            name = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
            if name and f"figures/{name}.png".encode() in texts:
                picture = next(output.data["image/png"] for output in cell.outputs if "image/png" in output.data)
                files[chapter.parent / "figures" / f"{name}.png"] = base64.b64decode(picture)
    return files


def hash_pages(files: Mapping[Path, bytes], root: Path = ROOT) -> str:
    """A hash of all that the built pages depend on; the library is among it, whose docstrings are pages too."""
    digest = hashlib.sha256()
    for path, content in sorted(files.items()):
        digest.update(f"{path.as_posix()} {hashlib.sha256(content).hexdigest()}\n".encode())
    for path in sorted((root / "vwlib").rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()} {hash_read(path)}\n".encode())
    return digest.hexdigest()


def stage_pages(files: Mapping[Path, bytes], stage: Path) -> None:
    """Lay out what the pages are built from. Unchanged files are left alone, so that their pages are not built again,
    unless another page's change can show in them.
    """
    there = {path.relative_to(stage) for path in stage.rglob("*") if path.is_file()}
    old = {path for path in there if path.parts[0] != "_build" and EXPLORER not in path.parent.parts}
    earlier = {path: (stage / path).read_bytes() for path in old & set(files)}
    altered = [path for path, content in files.items() if earlier.get(path) != content]
    if old - set(files) or any(_shows_elsewhere(path, earlier.get(path), files[path]) for path in altered):
        shutil.rmtree(stage / "_build", ignore_errors=True)
    for path in old - set(files):
        (stage / path).unlink()
    glued = [f"{path.name}::".encode() for path in altered if path.suffix == ".ipynb"]
    taking = [path for path, content in files.items() if any(name in content for name in glued)]
    for path in {*altered, *taking}:
        (stage / path).parent.mkdir(parents=True, exist_ok=True)
        (stage / path).write_bytes(files[path])


def _shows_elsewhere(path: Path, before: bytes | None, now: bytes) -> bool:
    """Whether the change of a file can show on pages that do not take numbers from it."""
    if before is None or path.suffix not in (".md", ".ipynb") or path == CARD:
        return True
    return _SHARED.findall(before) != _SHARED.findall(now)


def stage_explorer(stage: Path, executed: Path, profile: str) -> None:
    """Lay out the explorer's sheets of pictures beside the other static files, where its chapter has run since."""
    folder = stage / "book" / "_static" / EXPLORER
    run = hash_read(executed / "book" / f"{EXPLORER}.ipynb")
    if built_from(folder) == run:
        return
    from vwlib.book.pages.explorer import explorer_files, explorer_sources  # needs the models, which take long to load

    study, tables, _ = explorer_sources(load_profile(profile))
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in explorer_files(study, tables["sheets"]).items():
        (folder / name).write_bytes(content)
    (folder / INPUTS).write_text(run)


def run_jupyter_book(stage: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Let this environment's Jupyter Book build the staged pages."""
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(stage), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def build_pages(stage: Path, html: Path, inputs: str) -> None:
    """Build the staged pages strictly and put them in the place of `html`, which a failed build leaves as it was.

    After a failure all pages are built again: Sphinx does not repeat the warnings of a page that it has read.
    """
    run = run_jupyter_book(stage, "-n", "-W", "--keep-going", "-q")
    if run.returncode != 0:
        shutil.rmtree(stage / "_build", ignore_errors=True)
        raise BookError(f"Jupyter Book refused the pages:\n{run.stderr.strip()}".replace(f"{stage}{os.sep}", ""))
    partial = html.with_name("html.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(stage / "_build" / "html", partial)
    (partial / INPUTS).write_text(inputs)
    shutil.rmtree(html, ignore_errors=True)
    partial.rename(html)


def build_book(
    profile: str = "miniature",
    only: list[str] | None = None,
    root: Path = ROOT,
    jobs: int | None = None,
    prepare: Callable[[str], None] | None = None,
) -> Path:
    """Execute the chapters that changed (or `only` those named), check them all, build the pages; returns the first
    page's file.

    With `only`, the other chapters appear as they were last executed at this profile. `jobs` chapters run at a time;
    None: as many as `usual_jobs` says. `prepare` is called with the profile before any is executed.
    """
    chapters = list_chapters(root)
    names = [chapter.stem for chapter in chapters]
    only = [Path(name).stem for name in only or []]
    for name in only:
        if name not in names:
            raise BookError(f"There is no chapter '{name}'; the chapters are {', '.join(names) or 'to be written'}.")
    build = root / "_build"
    executed, stage, html = build / "executed" / profile, build / "stage", build / "html"
    execute_chapters(chapters, profile, executed, root, only, jobs or usual_jobs(profile), prepare)
    check_chapters(chapters, executed)
    write_numbers(chapters, executed, profile, root)
    files = page_files(chapters, executed, root)
    if built_from(html) != (inputs := hash_pages(files, root)):
        stage_pages(files, stage)
        if EXPLORER in names:
            stage_explorer(stage, executed, profile)
        build_pages(stage, html, inputs)
    return html / "index.html"


def check_links(profile: str = "miniature", root: Path = ROOT) -> list[str]:
    """Ask every address outside of the book to which its pages link whether it is there; a sentence for each that is
    not.

    Raises BookError where the chapters have not been executed at this profile, and where Jupyter Book cannot ask.
    """
    chapters, executed = list_chapters(root), root / "_build" / "executed" / profile
    check_chapters(chapters, executed)
    stage = root / "_build" / "links"
    shutil.rmtree(stage, ignore_errors=True)
    stage_pages(page_files(chapters, executed, root), stage)
    run = run_jupyter_book(stage, "--builder", "linkcheck", "--keep-going", "-q")
    answers = stage / "_build" / "html" / "output.json"
    if not answers.exists():
        told = run.stderr.strip().replace(f"{stage}{os.sep}", "")
        raise BookError(f"Jupyter Book could not check the links:\n{told}")
    found = [json.loads(line) for line in answers.read_text().splitlines()]
    return [
        f"{answer['filename']}, line {answer['lineno']}: {answer['uri']} is not there ({answer['info']})."
        for answer in found
        if answer["status"] in ("broken", "timeout")
    ]
