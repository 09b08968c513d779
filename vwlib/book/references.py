"""A Sphinx extension for the list of references: entries named as the text cites them, and roles that browsers know for
a list and its items.

docutils calls an entry a "doc-biblioentry", a role that was withdrawn, so that screen readers are told of a list
without items.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pybtex.database import Entry
from pybtex.plugin import register_plugin
from pybtex.style.formatting.plain import Style as Plain
from pybtex.style.labels import BaseLabelStyle
from sphinx.application import Sphinx


class AuthorYearLabels(BaseLabelStyle):
    """Labels of the form in which the text cites: one author, two, or the first of several, and the year."""

    def format_labels(self, sorted_entries: Iterable[Entry]) -> Iterator[str]:
        for entry in sorted_entries:
            names = [
                " ".join(map(str, [*person.rich_prelast_names, *person.rich_last_names]))
                for person in entry.persons["author"]
            ]
            yield f"{' and '.join(names) if len(names) < 3 else f'{names[0]} et al.'}, {entry.fields['year']}"


class AuthorYear(Plain):
    """The plain style of references with `AuthorYearLabels`, in the order of the labels."""

    default_label_style = AuthorYearLabels
    default_sorting_style = "author_year_title"


def name_items(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Call each reference of a page that is about to be written an item of its list."""
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls when it loads the extension."""
    register_plugin("pybtex.style.formatting", "author_year", AuthorYear, force=True)
    app.connect("html-page-context", name_items)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
