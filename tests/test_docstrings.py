"""Docstrings as the book shows them: tables, fields, and plain text that Sphinx reads without complaint."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Annotated, Any, Protocol, cast

import pytest
from docutils.core import publish_doctree
from pydantic import BaseModel, Field
from sphinx.application import Sphinx

from vwlib.book.docstrings import (
    as_list_table,
    describe_fields,
    flatten_arguments,
    rewrite,
    setup,
    shorten,
    without_markdown_tables,
)
from vwlib.paths import ROOT

APP = cast(Sphinx, None)


@dataclass
class Picture:
    """A picture."""

    path: str
    boxes: list = field(default_factory=list)  # (box, 4), in px * 1
    #: How wide.
    width: int = 3
    _seen: bool = False  # nobody's business

    def area(self) -> int:
        return self.width


class Settings(BaseModel):
    rate: Annotated[float, Field(gt=0)] = 1.0  # learning rate


class Interface(Protocol):
    task: str


def test_a_markdown_table_becomes_a_list_table():
    assert as_list_table(["| a | b |", "|---|---|", "| `1` | two |"]) == [
        *(".. list-table::", "   :header-rows: 1", ""),
        *("   * - a", "     - b", "   * - `1`", "     - two", ""),
    ]


def test_lines_beside_a_table_stay_as_they_are():
    lines = without_markdown_tables(["Before.", "", "| a |", "|---|", "| 1 |", "", "Behind."])
    assert lines[:2] == ["Before.", ""] and lines[-2:] == ["", "Behind."] and "   * - 1" in lines
    assert without_markdown_tables(["| a |", "|---|"])[3] == "   * - a"


def test_fields_are_told_with_type_and_comment():
    assert describe_fields(Picture) == ["* ``path`` (``str``)", r"* ``boxes`` (``list``): (box, 4), in px \* 1"]
    assert describe_fields(Settings) == ["* ``rate`` (``float``): learning rate"]


def test_a_class_gets_its_fields_below_its_docstring_and_a_function_nothing():
    lines = ["A picture."]
    rewrite(APP, "class", "Picture", Picture, None, lines)
    assert lines[0] == "A picture." and lines[2].startswith("* ``path``")
    rewrite(APP, "function", "area", Picture.area, None, lines := ["Its area."])
    assert lines == ["Its area."]


def test_only_what_is_called_keeps_its_arguments_in_the_heading():
    for thing in (Picture, Settings, Interface):
        assert shorten(APP, "class", "", thing, None, "(path)", None) == ("", None)
    assert shorten(APP, "function", "", Picture.area, None, "()", "int") == ("()", "int")


def test_sphinx_calls_it_for_docstrings_and_headings():
    connected: list[tuple[str, object]] = []
    loaded: list[str] = []
    fake: Any = SimpleNamespace(connect=lambda *event: connected.append(event), setup_extension=loaded.append)
    assert setup(fake)["parallel_read_safe"] and loaded == ["sphinx.ext.autodoc"]
    assert connected == [
        ("autodoc-process-docstring", rewrite),
        ("autodoc-process-signature", shorten),
        ("html-page-context", flatten_arguments),
    ]


def test_arguments_on_a_line_each_are_no_definitions_without_terms():
    context: dict[str, Any] = {
        "body": '<dl class="py"><dt>f(<dl>\n<dd><em class="sig-param">a</em></dd></dl>)</dt><dd>Does.</dd></dl><dl>\n<dt>b</dt><dd>c</dd></dl>'
    }
    flatten_arguments(APP, "index", "page.html", context, None)
    assert (
        context["body"].count("<dl>") == 1
        and '<dl role="presentation">\n<dd><em class="sig-param">a' in context["body"]
    )
    flatten_arguments(APP, "search", "search.html", context := {"title": "Search"}, None)
    assert context == {"title": "Search"}


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.relative_to(ROOT).as_posix()) for path in sorted((ROOT / "vwlib").rglob("*.py"))],
)
def test_every_docstring_is_read_without_complaint(path):
    things = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    ]
    for docstring in filter(None, map(ast.get_docstring, things)):
        text = "\n".join([".. default-role:: literal", "", *without_markdown_tables(docstring.splitlines())])
        publish_doctree(text, settings_overrides={"halt_level": 2, "report_level": 5})  # 2: warnings are errors
