"""A page of text shows a chapter's figure with the words that stand for it, and says what is wrong where it cannot."""

import base64
import io
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from vwlib.book.chapter_figure import read_figure


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), "teal").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """A folder with an executed chapter that has the figures `fig-one`, and `fig-none` without a picture."""
    told = {"alt": "A teal field.", "classes": "dark-light"}
    picture = new_output("display_data", {"image/png": base64.b64encode(png()).decode(), "text/plain": "<Figure>"})
    cells = [
        new_code_cell(
            "1",
            metadata={"mystnb": {"figure": {"name": "fig-one", "caption": "One."}, "image": told}},
            outputs=[picture],
        ),
        new_code_cell("2", metadata={"mystnb": {"figure": {"name": "fig-none", "caption": "None."}}}),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "04_chapter.ipynb")
    return tmp_path


def build(pages: Path, text: str) -> str:
    """The page `index` with `text`, as HTML; warnings stop it."""
    (pages / "index.md").write_text(f"# Title\n\n{text}\n")
    (pages / "conf.py").write_text(
        "extensions = ['myst_parser', 'vwlib.book.chapter_figure']\nnumfig = True\nexclude_patterns = ['*.ipynb']\n"
    )
    with docutils_namespace():
        out = pages / "_build" / "html"
        Sphinx(pages, pages, out, pages / "_build" / "doctrees", "html", status=None, warningiserror=True).build()
    return (out / "index.html").read_text()


def test_the_picture_comes_with_its_words_a_caption_and_a_number(pages: Path):
    html = build(
        pages,
        "```{chapter-figure} 04_chapter.ipynb#fig-one\n:name: fig-here\n:width: 50%\n\nIts *caption*.\n```\n\nSee {numref}`fig-here`.",
    )
    assert 'alt="A teal field."' in html and "dark-light" in html and "width: 50%" in html
    assert "Its <em>caption</em>." in html and 'id="fig-here"' in html and html.count("Fig. 1") == 2
    assert [file.read_bytes() for file in (pages / "_build" / "html" / "_images").iterdir()] == [png()]


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ("04_chapter.ipynb#fig-two", "has no figure 'fig-two'"),
        ("04_chapter.ipynb#fig-none", "was not executed"),
        ("05.ipynb#fig-one", "No such file"),
    ],
)
def test_a_figure_that_is_not_there_stops_the_build_with_a_sentence(pages: Path, wanted: str, sentence: str):
    with pytest.raises(Exception, match=sentence):
        build(pages, f"```{{chapter-figure}} {wanted}\n\nCaption.\n```")


def test_the_last_picture_of_the_cell_is_taken(pages: Path):
    assert read_figure(pages / "04_chapter.ipynb", "fig-one") == (
        png(),
        {"alt": "A teal field.", "classes": "dark-light"},
    )
