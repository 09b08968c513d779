"""A Sphinx extension for the pages about the library: docstrings, which are plain text with a little Markdown, as
Sphinx reads them.

Single backticks are Sphinx's own affair (`default_role` in `_config.yml`). What is left is a Markdown table, and the
fields of data classes and settings, which are described by the comment behind each.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import is_dataclass
from typing import Any

from sphinx.application import Sphinx


def as_list_table(rows: list[str]) -> list[str]:
    """A Markdown table, a line a row, as reStructuredText; the second line parts head from body."""
    table = [".. list-table::", "   :header-rows: 1", ""]
    for row in (rows[0], *rows[2:]):
        cells = [cell.strip() for cell in row.strip().strip("|").split("|")]
        table += [
            f"   {'*' if first else ' '} - {cell}"
            for first, cell in zip([True] + [False] * len(cells), cells, strict=False)
        ]
    return [*table, ""]


def without_markdown_tables(lines: list[str]) -> list[str]:
    """Lines of a docstring, each run of lines that begin with `|` made a table."""
    rest: list[str] = []
    rows: list[str] = []
    for line in [*lines, ""]:
        if line.startswith("|"):
            rows.append(line)
            continue
        rest += [*as_list_table(rows), line] if rows else [line]
        rows = []
    return rest[:-1]


def explains_itself(thing: object) -> bool:
    """Whether a class needs no arguments in its heading: its fields are the arguments and are listed below, or it is an
    interface, which nobody calls.
    """
    return inspect.isclass(thing) and (
        is_dataclass(thing) or hasattr(thing, "model_fields") or getattr(thing, "_is_protocol", False)
    )


def describe_fields(thing: type) -> list[str]:
    """A line for each field that the class itself names: name, type, and the comment behind it in the source.

    A field with a comment before it, `#:`, is left out: Sphinx describes it by itself.
    """
    source = inspect.getsource(thing)
    comments = dict(re.findall(r"^ {4}(\w+): .*?  # (.+)$", source, flags=re.MULTILINE))
    described = re.findall(r"^ {4}#: .*\n {4}(\w+):", source, flags=re.MULTILINE)
    told = []
    for name, kind in inspect.get_annotations(thing).items():
        if name in (*described, "model_config") or name.startswith("_"):
            continue
        plain = re.sub(
            r"Annotated\[([^,]+), \w+\(.*?\)\]",
            r"\1",
            kind if isinstance(kind, str) else inspect.formatannotation(kind),
        )
        note = comments.get(name, "").replace("*", r"\*")
        told.append(f"* ``{name}`` (``{plain}``)" + (f": {note}" if note else ""))
    return told


def rewrite(app: Sphinx, what: str, name: str, thing: Any, options: object, lines: list[str]) -> None:
    """A docstring that is about to be read, in place; a class with fields gets their list at the end."""
    lines[:] = without_markdown_tables(lines)
    if what == "class" and (fields := describe_fields(thing)):
        lines += ["", *fields, ""]


def shorten(
    app: Sphinx, what: str, name: str, thing: Any, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """The arguments in a heading, or none."""
    return ("", None) if explains_itself(thing) else (signature, returned)


def flatten_arguments(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Arguments on a line each are no list of definitions, as which Sphinx writes them: screen readers would miss the
    terms.
    """
    if "body" in context:
        context["body"] = re.sub(r'<dl>(?=\s*<dd><em class="sig-param">)', '<dl role="presentation">', context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls when it loads the extension."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", rewrite)
    app.connect("autodoc-process-signature", shorten)
    app.connect("html-page-context", flatten_arguments)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
