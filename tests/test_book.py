"""The builder of the book, on notebooks of a few lines."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from typer.testing import CliRunner

from vwlib.book import build as book
from vwlib.book import execute as running
from vwlib.book.execute import BookError
from vwlib.tools.cli import app

PARAMETERS = new_code_cell('profile = "miniature"  # smoke, miniature or paper', metadata={"tags": ["parameters"]})

ONE = Path("book/one.ipynb")


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
    notebook = running.execute(source, tmp_path / "out" / "one.ipynb", {"profile": "smoke"}, tmp_path)
    assert notebook.cells[-1].outputs[0].text == f"{sys.executable} {tmp_path} smoke\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["one.ipynb"]
    assert str(tmp_path) not in str(notebook.metadata)


def test_a_failing_cell_is_named_and_the_earlier_copy_kept(tmp_path: Path) -> None:
    source = write_chapter(tmp_path / "one.ipynb", "word = 1", "word = 1", "\nword / 0", "word = 2")
    target = tmp_path / "out" / "one.ipynb"
    target.parent.mkdir()
    target.write_text("the earlier copy")
    with pytest.raises(
        BookError, match=r"^one.ipynb stopped in cell 5 \(`word / 0`\) with ZeroDivisionError: division by zero$"
    ):
        running.execute(source, target, {"profile": "smoke"})
    assert target.read_text() == "the earlier copy"
    assert sorted(path.name for path in target.parent.iterdir()) == ["one.failed.ipynb", "one.ipynb"]
    write_chapter(source, "word = 1")
    running.execute(source, target, {"profile": "smoke"})
    assert [path.name for path in target.parent.iterdir()] == ["one.ipynb"]


def test_a_killed_kernel_is_reported(tmp_path: Path) -> None:
    source = write_chapter(tmp_path / "one.ipynb", "import os", "os._exit(9)")
    with pytest.raises(BookError, match=r"^one.ipynb could not be run to its end"):
        running.execute(source, tmp_path / "out" / "one.ipynb", {})
    assert list((tmp_path / "out").iterdir()) == []


def test_an_unknown_parameter_is_refused_before_the_run(tmp_path: Path) -> None:
    source = write_chapter(tmp_path / "one.ipynb", "1")
    with pytest.raises(BookError, match=r"^one.ipynb has no parameter 'profil'; it has profile.$"):
        running.execute(source, tmp_path / "out.ipynb", {"profil": "smoke"})
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
            new_markdown_cell("!", metadata={"tags": [running.ERROR_MARKER_TAG]}),
            "cell 1 is papermill's mark of a failed run",
        ),
    ],
)
def test_find_problems(cell: nbformat.NotebookNode, problem: str) -> None:
    assert running.find_problems(new_notebook(cells=[cell])) == [problem]


def test_find_problems_passes_what_ran_or_is_not_to_run() -> None:
    cells = [
        new_markdown_cell("text"),
        new_code_cell("1", execution_count=1),
        new_code_cell(""),
        new_code_cell("1", metadata={"tags": ["skip-execution"]}),
    ]
    assert running.find_problems(new_notebook(cells=cells)) == []


def is_current(project: Path, profile: str = "smoke") -> bool:
    return running.is_current(ONE, project / "executed", profile, project)


def run_one(project: Path, *sources: str) -> None:
    write_chapter(project / ONE, *sources)
    running.execute_chapters([ONE], "smoke", project / "executed", project)


READS = """import os, pathlib
print(pathlib.Path('../data/one.csv').read_text(), os.listdir('../data/folder'))
print(pathlib.Path('../data/two.csv').exists())
with open('../data/written.csv', 'w') as file: print('an output', file=file)"""


@pytest.fixture
def executed(project: Path) -> Path:
    """A project whose chapter has read a table and a folder, looked for a table, and written one."""
    (project / "data" / "folder").mkdir(parents=True)
    for name in ("one.csv", "other.csv"):
        (project / "data" / name).write_text("1")
    run_one(project, READS)
    return project


def test_a_copy_stays_current_whatever_changes_that_its_chapter_did_not_read(executed: Path) -> None:
    assert is_current(executed)
    (executed / "data" / "other.csv").write_text("2")
    (executed / "data" / "written.csv").write_text("3")
    (executed / "vwlib" / "words.py").write_text("K = 5\n")
    (executed / "book" / "index.md").write_text("# Another text\n")
    source = nbformat.read(executed / ONE, as_version=4)
    source.cells[0].source = "# Another sentence"
    nbformat.write(source, executed / ONE)
    assert is_current(executed)


@pytest.mark.parametrize("name", ["data/one.csv", "data/two.csv", "data/folder/new", "book/one.ipynb", "settings.toml"])
def test_a_copy_is_stale_once_something_changes_that_its_chapter_read(
    name: str, executed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "book/one.ipynb":
        write_chapter(executed / name, READS + "\n1")
    else:
        (executed / name).write_text("[smoke]\nvectors = 3\n")
    if name == "settings.toml":
        monkeypatch.setenv("VWLIB_SETTINGS", str(executed / name))
    assert not is_current(executed)


def test_a_copy_is_stale_for_another_profile_and_where_a_file_changed_during_the_run(executed: Path) -> None:
    assert not is_current(executed, "miniature")
    run_one(executed, "import pathlib\ntable = pathlib.Path('../data/one.csv')\ntable.read_text()\ntable.touch()")
    assert not is_current(executed)


def test_the_modules_and_weights_that_a_chapter_loads_are_noted(tmp_path: Path) -> None:
    load = "from vwlib.models import load_model\nfrom vwlib.settings import load_profile\n"
    source = write_chapter(tmp_path / "one.ipynb", load + "load_model('classification', load_profile(profile));")
    notebook = running.execute(source, tmp_path / "out.ipynb", {"profile": "smoke"})
    models = "data/miniature/models/classifier/open_clip_model.safetensors"
    assert {"vwlib/settings.py", "vwlib/models/classification.py", models} <= set(notebook.metadata.vwlib["reads"])
    assert "vwlib/tools/cli.py" not in notebook.metadata.vwlib["reads"]


def test_pages_in_reading_order_and_a_missing_one_named(project: Path) -> None:
    assert book.list_pages(project) == [Path("book/index.md"), Path("book/one.ipynb")]
    assert book.list_chapters(project) == [Path("book/one.ipynb")]
    (project / "book" / "one.ipynb").unlink()
    with pytest.raises(BookError, match=r"^_toc.yml names book/one, which does not exist.$"):
        book.list_pages(project)


def test_pages_of_all_parts_are_listed_in_reading_order(project: Path) -> None:
    write_chapter(project / "book" / "two.ipynb", "1")
    chapters = "".join(f"  - caption: {name}\n    chapters:\n      - file: book/{name}\n" for name in ("two", "one"))
    (project / "_toc.yml").write_text(f"format: jb-book\nroot: book/index\nparts:\n{chapters}")
    assert book.list_pages(project) == [Path("book/index.md"), Path("book/two.ipynb"), Path("book/one.ipynb")]


def test_the_chapter_about_runs_follows_the_others(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    executed, last = project / "_build" / "executed", Path("book/appendix_provenance.ipynb")
    write_chapter(project / last, "print(len(open('../_build/executed/book/one.ipynb').read()))")

    def unchanged() -> list[str]:
        running.execute_chapters([last, ONE], "smoke", executed, project)
        return [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if line.endswith("unchanged")]

    assert unchanged() == []
    assert unchanged() == [str(ONE), str(last)]
    write_chapter(project / ONE, "2")
    assert unchanged() == []


def test_pages_are_refused_when_a_text_or_a_chapter_changed_since(project: Path) -> None:
    executed, html = project / "_build" / "executed" / "smoke", project / "_build" / "html"
    assert len(book.find_stale("smoke", project)) == 2, "neither executed nor built"
    running.execute_chapters([ONE], "smoke", executed, project)
    html.mkdir()
    (html / book.INPUTS).write_text(book.hash_pages(book.page_files([ONE], executed, project), project))
    assert book.find_stale("smoke", project) == []
    (project / "book" / "index.md").write_text("# Another text\n")
    assert len(book.find_stale("smoke", project)) == 1
    write_chapter(project / ONE, "2")
    assert "book/one.ipynb" in book.find_stale("smoke", project)[0]


def test_a_copy_that_did_not_run_cleanly_is_not_published(project: Path) -> None:
    with pytest.raises(BookError, match=r"^book/one.ipynb has not been executed"):
        book.check_chapters([ONE], project / "executed")
    with pytest.raises(BookError, match=r"^book/one.ipynb cannot be published: cell 2 was never executed.$"):
        book.check_chapters([ONE], project)


def figure(name: str) -> nbformat.NotebookNode:
    shown = {"mystnb": {"figure": {"caption": "A caption.", "name": name}, "image": {"alt": "One bar."}}}
    output = nbformat.v4.new_output("display_data", data={"image/png": "cGljdHVyZQ=="})
    return new_code_cell("draw()", metadata=shown, outputs=[output], execution_count=1)


def test_what_pages_are_built_from_lies_as_in_the_repository(project: Path) -> None:
    executed = project / "_build" / "executed"
    for name, content in (("book/.hidden.md", "# No page\n"), (book.CARD, "# A card\n"), ("book/text/a.md.j2", "")):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(content)
    (project / "book" / "index.md").write_text("# A small book\n\n![one bar](figures/fig-one.png) {doc}`one`\n")
    for folder in (project, executed):
        notebook = nbformat.read(write_chapter(folder / ONE, "1"), as_version=4)
        notebook.cells += [figure("fig-one"), figure("fig-two")]
        nbformat.write(notebook, folder / ONE)
    names = {path.as_posix() for path in book.page_files([ONE], executed, project)}
    assert {name for name in names if "_static" not in name} == {
        *("_config.yml", "_toc.yml", "data/words/README.md", "book/index.md", "book/one.ipynb", "book/references.bib"),
        "book/figures/fig-one.png",
    }


def test_a_changed_text_is_shown_with_the_outputs_of_the_run_and_when_it_was(project: Path) -> None:
    executed = running.execute(project / ONE, project / "executed" / ONE, {"profile": "smoke"}, project)
    executed.metadata.papermill.update(start_time="2026-11-22T23:59:01.5", duration=75.4, version="2.7.0")
    source = nbformat.read(project / ONE, as_version=4)
    source.cells[0].source = "# Another title"
    cells = book.with_outputs(source, executed).cells
    assert [cell.cell_type for cell in cells] == ["markdown", "code", "code", "code", "markdown"]
    assert cells[0].source == "# Another title" and cells[3].outputs[0].text == "smokesmoke\n"
    assert all(word in cells[-1].source for word in ("2026-11-22", "75 seconds", "`smoke`"))
    source.cells[2].source = "print('other code')"
    assert "Another title" not in book.with_outputs(source, executed).cells[0].source


def test_glued_numbers_are_written_once(project: Path) -> None:
    glue = "from myst_nb import glue\nglue('b', 0.25, display=False)\nglue('a', 'rises', display=False)\nglue('c', [1])"
    run_one(project, glue)
    (project / "data" / "results" / "smoke").mkdir(parents=True)
    file = project / "data" / "results" / "smoke" / "numbers.json"
    book.write_numbers([ONE], project / "executed", "smoke", project)
    assert json.loads(file.read_text()) == {"one.a": "rises", "one.b": 0.25}
    written = file.stat().st_mtime_ns
    book.write_numbers([ONE], project / "executed", "smoke", project)
    assert file.stat().st_mtime_ns == written and is_current(project)


def staged(project: Path, pages: dict[str, str]) -> set[str]:
    """Stage pages; the names of those that were written."""
    stage, old = project / "_build" / "stage", 1_000_000_000
    files = {Path(name): text.encode() for name, text in pages.items()}
    for path in (stage / name for name in files if (stage / name).exists()):
        os.utime(path, (old, old))
    book.stage_pages(files, stage)
    return {path.as_posix() for path in files if (stage / path).stat().st_mtime != old}


def test_only_what_changed_is_laid_out_again_and_all_where_it_may_show_elsewhere(project: Path) -> None:
    pages = {"book/a.md": "# A\n\nText", "book/b.md": "{glue:text}`c.ipynb::x`", "book/c.ipynb": '"# C\n",\n"x"'}
    built = project / "_build" / "stage" / "_build"
    assert staged(project, pages) == set(pages)
    built.mkdir()
    assert staged(project, pages) == set()
    assert staged(project, pages | {"book/a.md": "# A\n\nOther text"}) == {"book/a.md"}
    assert staged(project, pages | {"book/c.ipynb": '"# C\n",\n"y"'}) == {"book/a.md", "book/b.md", "book/c.ipynb"}
    assert built.exists()
    staged(project, pages | {"book/a.md": "# Another title\n"})
    assert not built.exists()


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
            BookError, match=r"Jupyter Book refused the pages:\n.*book/index.md:3: WARNING: unknown document: 'two'"
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
    with pytest.raises(BookError, match=r"^There is no chapter 'two'; the chapters are one.$"):
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

    monkeypatch.setattr("vwlib.tools.cli.load_profile", fail)
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
        wait = f"import pathlib, time\npathlib.Path('{one}.txt').touch()\n"
        wait += f"while not pathlib.Path('{other}.txt').exists(): time.sleep(0.05)"
        write_chapter(project / "book" / f"{one}.ipynb", wait)
    runs = [Path("book/one.ipynb"), Path("book/two.ipynb")]
    running.execute_chapters(runs, "smoke", project / "executed", project, jobs=2)
    printed = capsys.readouterr().out.splitlines()
    assert sorted(line.split(":")[0] for line in printed) == ["book/one.ipynb", "book/two.ipynb"]
    write_chapter(project / "book" / "two.ipynb", "1 / 0")
    write_chapter(project / "book" / "one.ipynb", "1")
    with pytest.raises(BookError, match=r"^two.ipynb stopped in cell 3"):
        running.execute_chapters(runs, "smoke", project / "executed", project, jobs=2)
