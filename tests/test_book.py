"""The builder of the book, on notebooks of a few lines."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from typer.testing import CliRunner

from vwlib.book import build as book
from vwlib.book.siblings import Run, list_runs
from vwlib.tools.cli import app

PARAMETERS = new_code_cell('profile = "miniature"  # smoke, miniature or paper', metadata={"tags": ["parameters"]})

ONE = [Run(Path("book/one.ipynb"), Path("book/one.ipynb"), {})]


def write_chapter(path: Path, *sources: str) -> Path:
    """A chapter with a title, a parameters cell and one code cell for each source."""
    cells = [new_markdown_cell(f"# {path.stem}"), PARAMETERS, *map(new_code_cell, sources)]
    notebook = new_notebook(
        cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A book of a first page and one chapter, with the settings of the real one."""
    (tmp_path / "_config.yml").write_text((book.ROOT / "_config.yml").read_text())
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\nchapters:\n  - file: book/one\n")
    shutil.copytree(book.ROOT / "book" / "_static", tmp_path / "book" / "_static")
    (tmp_path / "book" / "references.bib").write_bytes((book.ROOT / "book" / "references.bib").read_bytes())
    (tmp_path / "book" / "index.md").write_text("# A small book\n\nOne chapter: {doc}`one`.\n")
    write_chapter(tmp_path / "book" / "one.ipynb", "print(profile * 2)")
    (tmp_path / "vwlib").mkdir()
    (tmp_path / "vwlib" / "words.py").write_text("K = 4\n")
    return tmp_path


def test_execute_runs_in_this_environment_and_in_the_notebooks_folder(tmp_path: Path) -> None:
    source = write_chapter(tmp_path / "one.ipynb", "import os, sys", "print(sys.executable, os.getcwd(), profile)")
    notebook = book.execute(source, tmp_path / "out" / "one.ipynb", {"profile": "smoke"}, {"inputs": "abc"})
    assert notebook.cells[-1].outputs[0].text == f"{sys.executable} {tmp_path} smoke\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["one.ipynb"]
    assert book.read_inputs(tmp_path / "out" / "one.ipynb") == "abc"
    assert str(tmp_path) not in str(notebook.metadata)


def test_a_failing_cell_is_named_and_the_earlier_copy_kept(tmp_path: Path) -> None:
    source = write_chapter(tmp_path / "one.ipynb", "word = 1", "word = 1", "\nword / 0", "word = 2")
    target = tmp_path / "out" / "one.ipynb"
    target.parent.mkdir()
    target.write_text("the earlier copy")
    with pytest.raises(
        book.BookError, match=r"^one.ipynb stopped in cell 5 \(`word / 0`\) with ZeroDivisionError: division by zero$"
    ):
        book.execute(source, target, {"profile": "smoke"})
    assert target.read_text() == "the earlier copy"
    assert sorted(path.name for path in target.parent.iterdir()) == ["one.failed.ipynb", "one.ipynb"]
    write_chapter(source, "word = 1")
    book.execute(source, target, {"profile": "smoke"})
    assert [path.name for path in target.parent.iterdir()] == ["one.ipynb"]


def test_a_killed_kernel_is_reported(tmp_path: Path) -> None:
    source = write_chapter(tmp_path / "one.ipynb", "import os", "os._exit(9)")
    with pytest.raises(book.BookError, match=r"^one.ipynb could not be run to its end"):
        book.execute(source, tmp_path / "out" / "one.ipynb", {})
    assert list((tmp_path / "out").iterdir()) == []


def test_an_unknown_parameter_is_refused_before_the_run(tmp_path: Path) -> None:
    source = write_chapter(tmp_path / "one.ipynb", "1")
    with pytest.raises(book.BookError, match=r"^one.ipynb has no parameter 'profil'; it has profile.$"):
        book.execute(source, tmp_path / "out.ipynb", {"profil": "smoke"})
    assert not (tmp_path / "out.ipynb").exists()


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        (new_code_cell("1"), "cell 1 was never executed"),
        (
            new_code_cell("1", execution_count=1, outputs=[nbformat.v4.new_output("error", ename="KeyError")]),
            "cell 1 holds an error (KeyError)",
        ),
        (
            new_markdown_cell("!", metadata={"tags": [book.ERROR_MARKER_TAG]}),
            "cell 1 is papermill's mark of a failed run",
        ),
    ],
)
def test_find_problems(cell: nbformat.NotebookNode, problem: str) -> None:
    assert book.find_problems(new_notebook(cells=[cell])) == [problem]


def test_find_problems_passes_what_ran_or_is_not_to_run() -> None:
    cells = [
        new_markdown_cell("text"),
        new_code_cell("1", execution_count=1),
        new_code_cell(""),
        new_code_cell("1", metadata={"tags": ["skip-execution"]}),
    ]
    assert book.find_problems(new_notebook(cells=cells)) == []


def test_only_changed_inputs_change_the_hash(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chapter = Path("book/one.ipynb")
    before = book.hash_inputs(chapter, "smoke", project)
    (project / "vwlib" / "cli.py").write_text("# no page depends on it\n")
    (project / "book" / "index.md").write_text("# Another text\n")
    assert book.hash_inputs(chapter, "smoke", project) == before
    hashes = {before, book.hash_inputs(chapter, "miniature", project)}
    for name in ("vwlib/words.py", "data/words.csv", "pyproject.toml", "book/one.ipynb"):
        (project / name).parent.mkdir(exist_ok=True)
        with (project / name).open("a") as file:
            file.write(" ")
        hashes.add(book.hash_inputs(chapter, "smoke", project))
    (project / "settings.toml").write_text("[smoke]\nvectors = 3\n")
    monkeypatch.setenv("VWLIB_SETTINGS", str(project / "settings.toml"))
    hashes.add(book.hash_inputs(chapter, "smoke", project))
    assert len(hashes) == 7


def test_pages_in_reading_order_and_a_missing_one_named(project: Path) -> None:
    assert book.list_pages(project) == [Path("book/index.md"), Path("book/one.ipynb")]
    assert book.list_chapters(project) == [Path("book/one.ipynb")]
    (project / "book" / "one.ipynb").unlink()
    with pytest.raises(book.BookError, match=r"^_toc.yml names book/one, which does not exist.$"):
        book.list_pages(project)


def test_pages_of_all_parts_are_listed_in_reading_order(project: Path) -> None:
    write_chapter(project / "book" / "two.ipynb", "1")
    chapters = "".join(f"  - caption: {name}\n    chapters:\n      - file: book/{name}\n" for name in ("two", "one"))
    (project / "_toc.yml").write_text(f"format: jb-book\nroot: book/index\nparts:\n{chapters}")
    assert book.list_pages(project) == [Path("book/index.md"), Path("book/two.ipynb"), Path("book/one.ipynb")]


def test_a_chapter_about_runs_follows_the_others(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_chapter(project / "book" / "appendix_provenance.ipynb", "1")
    chapters = [Run(path, path, {}) for path in (Path("book/one.ipynb"), Path("book/appendix_provenance.ipynb"))]
    executed = project / "_build" / "executed"
    book.execute_chapters(chapters, "smoke", executed, project)
    book.execute_chapters(chapters, "smoke", executed, project)
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "book/one.ipynb: unchanged",
        "book/appendix_provenance.ipynb: unchanged",
    ]
    write_chapter(project / "book" / "one.ipynb", "2")
    book.execute_chapters(chapters, "smoke", executed, project)
    assert "unchanged" not in capsys.readouterr().out


def test_pages_are_refused_when_source_library_or_data_changed_since(project: Path) -> None:
    executed, html = project / "_build" / "executed" / "smoke", project / "_build" / "html"
    (project / "data").mkdir(exist_ok=True)

    def bring_up_to_date() -> None:
        runs = list_runs(book.list_chapters(project), "smoke", project)
        book.execute_chapters(runs, "smoke", executed, project)
        html.mkdir(exist_ok=True)
        (html / book.INPUTS).write_text(book.hash_pages(runs, executed, project))

    assert len(book.find_stale("smoke", project)) == 2, "neither executed nor built"
    for name in ("book/one.ipynb", "vwlib/words.py", "data/words.csv"):
        bring_up_to_date()
        assert book.find_stale("smoke", project) == []
        with (project / name).open("a") as file:
            file.write(" ")
        assert (
            book.find_stale("smoke", project)[0]
            == "book/one.ipynb has not been executed at profile smoke since its source, the library or the data changed."
        )
    bring_up_to_date()
    (project / "book" / "index.md").write_text("# Another text\n")
    assert book.find_stale("smoke", project) == [
        "The pages in _build/html were not built from the present texts and executed chapters."
    ]


def test_a_copy_that_did_not_run_cleanly_is_not_published(project: Path) -> None:
    with pytest.raises(book.BookError, match=r"^book/one.ipynb has not been executed"):
        book.check_chapters(ONE, project / "executed")
    with pytest.raises(book.BookError, match=r"^book/one.ipynb cannot be published: cell 2 was never executed.$"):
        book.check_chapters(ONE, project)


def test_staging_mirrors_the_repository(project: Path) -> None:
    stage = project / "_build" / "stage"
    stage.mkdir(parents=True)
    (stage / "gone.md").write_text("# From an earlier build\n")
    (project / "book" / ".hidden.md").write_text("# No page\n")
    (project / book.CARD).parent.mkdir(parents=True)
    (project / book.CARD).write_text("# The card of the words, which a page includes\n")
    (project / book.CARD).with_name("words.safetensors").write_text("no page")
    write_chapter(project / "executed" / "book" / "one.ipynb", "'the executed copy'")
    book.stage_pages(ONE, stage, project / "executed", project)
    staged = {path.relative_to(stage).as_posix() for path in stage.rglob("*") if path.is_file()}
    static = {
        path.relative_to(project).as_posix() for path in (project / "book" / "_static").rglob("*") if path.is_file()
    }
    assert staged == {
        "_config.yml",
        "_toc.yml",
        "book/index.md",
        "book/one.ipynb",
        "book/references.bib",
        "data/words/README.md",
        *static,
    }
    assert "the executed copy" in (stage / "book" / "one.ipynb").read_text()


def test_an_executed_page_ends_with_when_and_how_it_was_executed(project: Path) -> None:
    executed = book.execute(
        project / "book" / "one.ipynb",
        project / "executed" / "book" / "one.ipynb",
        {"profile": "smoke"},
        {"profile": "smoke"},
    )
    executed.metadata.papermill.update(start_time="2026-11-22T23:59:01.5", duration=75.4, version="2.7.0")
    nbformat.write(executed, project / "executed" / "book" / "one.ipynb")
    book.stage_pages(ONE, project / "stage", project / "executed", project)
    cells = nbformat.read(project / "stage" / "book" / "one.ipynb", as_version=4).cells
    assert (
        cells[-1].source == "*Executed on 2026-11-22 in 75 seconds by papermill 2.7.0, at profile `smoke`.*"
        and len(cells) == len(executed.cells) + 1
    )


def test_build_book(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    html = book.build_book("smoke", root=project).parent
    assert "A small book" in (html / "book" / "index.html").read_text()
    page = (html / "book" / "one.html").read_text()
    assert "smokesmoke" in page
    assert "visual-words/main?urlpath=lab/tree/book/one.ipynb" in page  # the launch button finds the source
    assert "visual-words.css" in page
    assert (html / "_static" / "mathjax" / "tex-chtml.js").exists()  # equations show without a network
    assert "book/one.ipynb: executed" in capsys.readouterr().out

    # A second build does nothing; one whose text is broken fails, again when repeated, and leaves the book as it was.
    before = (html / "book" / "one.html").stat().st_mtime_ns
    assert book.build_book("smoke", root=project).parent == html
    assert (html / "book" / "one.html").stat().st_mtime_ns == before
    assert capsys.readouterr().out == "book/one.ipynb: unchanged\n"
    (project / "book" / "index.md").write_text("# A broken book\n\n{doc}`two`, {doc}`one`\n")
    for _ in range(2):
        with pytest.raises(
            book.BookError,
            match=r"Jupyter Book refused the pages:\n.*book/index.md:3: WARNING: unknown document: 'two'",
        ):
            book.build_book("smoke", root=project)
    assert capsys.readouterr().out == 2 * "book/one.ipynb: unchanged\n"
    assert "A small book" in (html / "book" / "index.html").read_text()


def test_dead_links_are_told(project: Path) -> None:
    (project / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    (project / "book" / "index.md").write_text(
        "# Links\n\n[Nobody](http://localhost:9/) answers at port 9, and {doc}`this <index>` is no address.\n"
    )
    (sentence,) = book.check_links("smoke", project)
    assert sentence.startswith("book/index.md, line 3: http://localhost:9/ is not there (")
    (project / "book" / "index.md").write_text("# No links\n")
    assert book.check_links("smoke", project) == []


def test_an_unknown_chapter_is_named(project: Path) -> None:
    with pytest.raises(book.BookError, match=r"^There is no chapter 'two'; the chapters are one.$"):
        book.build_book("smoke", ["two"], project)


def test_command_line_errors_are_one_sentence(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["sprites", str(tmp_path)])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert result.output.count("\n") == 1
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "error,kind", [(torch.OutOfMemoryError("CUDA out of memory."), SystemExit), (RuntimeError("a fault"), RuntimeError)]
)
def test_memory_that_ran_out_is_one_sentence_and_a_fault_of_the_program_is_not(
    error: Exception, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr("vwlib.settings.load_profile", fail)
    result = CliRunner().invoke(app, ["doctor"])
    assert isinstance(result.exception, kind) and result.output == (
        "Error: CUDA out of memory.\n" if kind is SystemExit else ""
    )


def test_help_names_every_command() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert all(name in result.output for name in ("book", "pretrain", "quality", "sprites"))


def test_several_chapters_run_at_a_time_and_the_first_failure_is_told(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each waits for the other's file, so that one after the other would never end."""
    for one, other in (("one", "two"), ("two", "one")):
        wait = f"import pathlib, time\npathlib.Path('{one}.txt').touch()\nwhile not pathlib.Path('{other}.txt').exists(): time.sleep(0.05)"
        write_chapter(project / "book" / f"{one}.ipynb", wait)
    runs = [Run(path, path, {}) for path in (Path("book/one.ipynb"), Path("book/two.ipynb"))]
    book.execute_chapters(runs, "smoke", project / "executed", project, jobs=2)
    printed = capsys.readouterr().out.splitlines()
    assert sorted(line.split(":")[0] for line in printed) == ["book/one.ipynb", "book/two.ipynb"]
    write_chapter(project / "book" / "two.ipynb", "1 / 0")
    write_chapter(project / "book" / "one.ipynb", "1")
    with pytest.raises(book.BookError, match=r"^two.ipynb stopped in cell 3"):
        book.execute_chapters(runs, "smoke", project / "executed", project, jobs=2)
