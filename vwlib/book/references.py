"""A Sphinx extension for the list of references: docutils gives an entry the withdrawn role "doc-biblioentry", so that
screen readers hear of a list without items.
"""

from typing import Any

from sphinx.application import Sphinx


def name_items(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Call each reference of a page that is about to be written an item of its list."""
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls when it loads the extension."""
    app.connect("html-page-context", name_items)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
