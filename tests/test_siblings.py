"""The same chapter for other datasets: which runs there are, labels that differ, and pages that build strictly side by
side.
"""

import copy
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from vwlib.book import build as book
from vwlib.book import siblings
from vwlib.book.siblings import Run, extend_toc, list_runs, relabel
from vwlib.paths import ROOT

TEXT = """(ch-one)=
# One

See {numref}`fig-one`, {eq}`eq-one`, {ref}`this <ch-one>`, {numref}`fig-elsewhere` and {doc}`index`; fig-one is also a word.

```{math}
:label: eq-one
a = b
```"""


def chapter() -> nbformat.NotebookNode:
    shown = {"mystnb": {"figure": {"caption": "A caption.", "name": "fig-one"}, "image": {"alt": "One bar."}}}
    draw = "import matplotlib.pyplot as plt\nplt.bar([0], [1]);"
    cells = [
        new_markdown_cell(TEXT),
        new_code_cell('profile: str = ""\ndataset: str = "COCO"', metadata={"tags": ["parameters"]}),
        new_code_cell("print('of', dataset)"),
        new_code_cell(draw, metadata=shown),
        new_markdown_cell("See {numref}`fig-one` again."),
    ]
    return new_notebook(
        cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A book of a first page and a chapter with siblings."""
    monkeypatch.setattr(siblings, "CHAPTERS", ("one",))
    (tmp_path / "book" / "_static").mkdir(parents=True)
    notebook = chapter()
    notebook.cells[0].source = TEXT.replace(", {numref}`fig-elsewhere`", "")
    nbformat.write(notebook, tmp_path / "book" / "one.ipynb")
    (tmp_path / "book" / "index.md").write_text("# A small book\n\n{numref}`fig-one`\n")
    (tmp_path / "book" / "references.bib").write_text("")
    for name in ("_config.yml", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    for path in (ROOT / "book" / "_static").iterdir():
        (tmp_path / "book" / "_static" / path.name).write_bytes(path.read_bytes())
    chapters = [{"caption": "All", "numbered": True, "chapters": [{"file": "book/one"}]}]
    (tmp_path / "_toc.yml").write_text(yaml.safe_dump({"format": "jb-book", "root": "book/index", "parts": chapters}))
    return tmp_path


def test_a_chapter_has_a_sibling_for_each_further_dataset_of_the_study(project: Path) -> None:
    runs = list_runs([Path("book/one.ipynb")], "miniature", project)
    assert [run.page.name for run in runs] == [
        "one.ipynb",
        "one--ImageNet.ipynb",
        "one--DreamBooth.ipynb",
        "one--PASCAL.ipynb",
    ]
    assert (
        runs[0].parameters == {}
        and runs[1].parameters == {"dataset": "ImageNet"}
        and {run.source.name for run in runs} == {"one.ipynb"}
    )
    assert len(list_runs([Path("book/one.ipynb")], "smoke", project)) == 1, "its study has one dataset"


def test_the_books_own_chapters_with_siblings_exist_and_choose_a_dataset() -> None:
    chapters = [page for page in book.list_chapters() if page.stem in siblings.CHAPTERS]
    assert len(list_runs(chapters, "miniature", ROOT)) == 4 * len(siblings.CHAPTERS)


def test_labels_and_what_refers_to_them_get_the_datasets_name() -> None:
    sibling = relabel(copy.deepcopy(chapter()), "PASCAL")
    first, last = sibling.cells[0].source, sibling.cells[-1].source
    assert first.startswith("(ch-one-pascal)=\n# One: PASCAL\n") and ":label: eq-one-pascal\n" in first
    assert (
        "{numref}`fig-one-pascal`, {eq}`eq-one-pascal`, {ref}`this <ch-one-pascal>`, {numref}`fig-elsewhere` and {doc}`index`; fig-one is"
        in first
    )
    assert (
        sibling.cells[3].metadata.mystnb.figure.name == "fig-one-pascal"
        and last == "See {numref}`fig-one-pascal` again."
    )


def test_no_label_of_a_sibling_is_one_of_its_chapter() -> None:
    for name in siblings.CHAPTERS:
        source = nbformat.read(ROOT / "book" / f"{name}.ipynb", as_version=4)
        sibling = relabel(copy.deepcopy(source), "PASCAL")
        before, after = (
            {c.metadata.mystnb.figure.name for c in n.cells if "figure" in c.metadata.get("mystnb", {})}
            for n in (source, sibling)
        )
        assert before and not before & after
        assert sum("{numref}`" in c.source for c in sibling.cells) == sum(
            "-pascal`" in c.source and "{numref}`" in c.source for c in sibling.cells
        )


@pytest.mark.parametrize("name", siblings.CHAPTERS)
def test_a_sibling_bears_with_a_study_that_has_not_its_dataset(name: str) -> None:
    source = "\n".join(
        cell.source
        for cell in nbformat.read(ROOT / "book" / f"{name}.ipynb", as_version=4).cells
        if cell.cell_type == "code"
    )
    assert "(dataset,) = study.present([chapter.dataset])" in source and source.count("chapter.dataset") == 1


def test_siblings_are_a_part_behind_that_of_their_chapter() -> None:
    toc = yaml.safe_load(
        "{root: index, parts: [{caption: A, chapters: [{file: book/zero}]}, {caption: B, chapters: [{file: book/one}]}, {caption: C, chapters: []}]}"
    )
    one = Path("book/one.ipynb")
    extended = extend_toc(toc, [Run(one, one, {}), Run(one, one.with_stem("one--COCO"), {"dataset": "COCO"})])
    assert [part["caption"] for part in extended["parts"]] == ["A", "B", siblings.CAPTION, "C"]
    assert extended["parts"][2]["chapters"] == [{"file": "book/one--COCO"}] and len(toc["parts"]) == 3
    assert extend_toc(toc, [Run(one, one, {})]) == toc


def test_siblings_build_strictly_and_their_buttons_lead_to_their_chapter(project: Path) -> None:
    html = book.build_book("miniature", root=project).parent
    page = (html / "book" / "one--PASCAL.html").read_text()
    assert "One: PASCAL" in page and "of PASCAL" in page and "of COCO" not in page
    assert (
        "lab/tree/book/one.ipynb" in page and "lab/tree/book/one--" not in page and "edit/main/book/one.ipynb" in page
    )
    assert 'href="../_sources/book/one--PASCAL.ipynb"' in page, "what is downloaded is the executed page itself"
    assert book.find_stale("miniature", project) == []
