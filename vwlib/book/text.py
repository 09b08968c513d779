"""Text that follows the data: templates beside the chapters, filled in with a run's numbers."""

import re
import shlex
from pathlib import Path
from typing import Any

from IPython.display import Markdown
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from vwlib.paths import ROOT

TEXTS = ROOT / "book" / "text"


def template(name: str, folder: Path = TEXTS) -> Template:
    """The template `<name>.md.j2` of a folder; its macros are attributes of its `module`.

    Beside Jinja's filters there are `quote`, a shell's, and `code`, which makes HTML of what stands in backticks.
    Raises jinja2.TemplateNotFound.
    """
    templates = Environment(
        loader=FileSystemLoader(folder), undefined=StrictUndefined, trim_blocks=True, autoescape=False
    )
    templates.filters["quote"] = lambda value: shlex.quote(str(value))
    templates.filters["code"] = lambda value: re.sub(r"`([^`]+)`", r"<code>\1</code>", str(value))
    return templates.get_template(f"{name}.md.j2")


def fill(name: str, folder: Path = TEXTS, **values: Any) -> str:
    """A template with its values.

    Raises jinja2.UndefinedError for a value that the template asks for and is not given, jinja2.TemplateNotFound.
    """
    return template(name, folder).render(values)


def render(name: str, folder: Path = TEXTS, **values: Any) -> Markdown:
    """A template with its values, as a page shows it; raises as `fill` does."""
    return Markdown(fill(name, folder, **values))
