"""The list of references is a list to screen readers, and its entries are called as the text cites them."""

import re
from types import SimpleNamespace
from typing import Any, cast

from pybtex.database import parse_file
from sphinx.application import Sphinx

from vwlib.book.references import AuthorYear, name_items, setup
from vwlib.paths import ROOT


def test_each_reference_is_an_item_of_its_list() -> None:
    context: dict[str, Any] = {
        "body": '<div role="list"><div class="citation" id="id1" role="doc-biblioentry">One.</div></div>'
    }
    name_items(cast(Sphinx, None), "index", "page.html", context, None)
    assert context["body"] == '<div role="list"><div class="citation" id="id1" role="listitem">One.</div></div>'


def test_a_page_without_text_is_left_alone() -> None:
    context: dict[str, Any] = {"title": "Search"}
    name_items(cast(Sphinx, None), "search", "search.html", context, None)
    assert context == {"title": "Search"}


def test_sphinx_calls_it_for_every_page() -> None:
    connected: list[tuple[str, object]] = []
    assert setup(cast(Sphinx, SimpleNamespace(connect=lambda *event: connected.append(event))))["parallel_write_safe"]
    assert connected == [("html-page-context", name_items)]


def test_entries_are_called_as_the_text_cites_them() -> None:
    library = parse_file(str(ROOT / "book" / "references.bib"), bib_format="bibtex")
    labels = {entry.key: entry.label for entry in AuthorYear().format_bibliography(library)}
    assert labels["holm1979simple"] == "Holm, 1979" and labels["trabucco2024understanding"] == "Trabucco et al., 2024"
    assert labels["vandermaaten2008visualizing"] == "van der Maaten and Hinton, 2008"
    assert len(set(labels.values())) == len(labels), "two entries cannot be told apart by author and year"


def test_the_settings_ask_for_that_style() -> None:
    assert re.search(r"bibtex_default_style: author_year\b", (ROOT / "_config.yml").read_text())
