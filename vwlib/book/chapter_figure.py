"""A Sphinx extension for pages of text: a figure of an executed chapter, with its alternative text and a caption of the
page's own.

MyST-NB's `glue` brings a chapter's numbers to another page, and its pictures too, but those without the words that
stand for them.
"""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import Any, ClassVar

import nbformat
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def read_figure(notebook: Path, name: str) -> tuple[bytes, dict[str, Any]]:
    """The picture (PNG) under the label `name` in an executed notebook, and what the notebook says of it: `alt` and
    `classes`.

    Raises ValueError where the notebook has no such figure, or was not executed.
    """
    for cell in nbformat.read(notebook, as_version=4).cells:
        told = cell.metadata.get("mystnb", {})
        if told.get("figure", {}).get("name") == name:
            pictures = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
            if not pictures:
                raise ValueError(f"{notebook.name} was not executed: its figure '{name}' has no picture.")
            return base64.b64decode(pictures[-1]), dict(told.get("image", {}))
    raise ValueError(f"{notebook.name} has no figure '{name}'.")


class ChapterFigure(SphinxDirective):
    """`chapter-figure` with a notebook beside the page, `#` and a figure's label there; the text below is the caption.

    Options: `name`, its label on this page; `width`, of the picture.
    """

    required_arguments = 1
    has_content = True
    option_spec: ClassVar = {"name": directives.unchanged, "width": directives.length_or_percentage_or_unitless}

    def run(self) -> list[nodes.Node]:
        """The figure; Sphinx calls it where a page has the directive."""
        chapter, _, label = self.arguments[0].partition("#")
        _, notebook = self.env.relfn2path(chapter)
        self.env.note_dependency(notebook)
        try:
            picture, told = read_figure(Path(notebook), label)
        except (OSError, ValueError) as error:
            raise self.error(f"chapter-figure: {error}") from error
        # Beside what MyST-NB writes of the notebooks' own pictures: Sphinx takes pictures from anywhere, by their way
        # from the sources.
        folder = Path(self.env.app.outdir).parent / "jupyter_execute"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{hashlib.sha256(picture).hexdigest()}.png"
        file.write_bytes(picture)
        uri = os.path.relpath(file, Path(self.env.doc2path(self.env.docname)).parent)
        image = nodes.image(uri=uri, alt=told.get("alt", ""), classes=str(told.get("classes", "")).split())
        if "width" in self.options:
            image["width"] = self.options["width"]
        figure = nodes.figure("", image, align="default")
        figure += nodes.caption("", "", *self.parse_inline("\n".join(self.content))[0])
        self.add_name(figure)
        return [figure]


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls when it loads the extension."""
    app.add_directive("chapter-figure", ChapterFigure)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
