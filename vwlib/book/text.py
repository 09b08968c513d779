"""Text that follows the data: templates beside the chapters, filled in with a run's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from IPython.display import Markdown
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vwlib.paths import ROOT


def render(name: str, folder: Path = ROOT / "book" / "text", **values: Any) -> Markdown:
    """The template `<name>.md.j2` of a folder with its values.

    Raises jinja2.UndefinedError for a value that the template asks for and is not given, jinja2.TemplateNotFound.
    """
    templates = Environment(
        loader=FileSystemLoader(folder), undefined=StrictUndefined, trim_blocks=True, autoescape=False
    )
    return Markdown(templates.get_template(f"{name}.md.j2").render(values))
