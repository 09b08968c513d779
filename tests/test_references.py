"""The list of references is a list to screen readers."""

from types import SimpleNamespace
from typing import Any, cast

from sphinx.application import Sphinx

from vwlib.references import name_items, setup


def test_each_reference_is_an_item_of_its_list() -> None:
    context: dict[str, Any] = {"body": '<div role="list"><div class="citation" id="id1" role="doc-biblioentry">One.</div></div>'}
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
