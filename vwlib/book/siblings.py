"""Sibling pages: a chapter executed once more for each other dataset. Their labels get the dataset's name, since a book
must not have a label twice.

Also a Sphinx extension, for the buttons of sibling pages: what they launch and edit is their chapter, which alone lies
in the repository.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import papermill
from nbformat import NotebookNode
from sphinx.application import Sphinx

from vwlib.settings import load_profile

#: Chapters whose figures are mostly of one dataset, chosen by the parameter `dataset`, and that read the stored study,
#: so that another run takes little.
CHAPTERS = ("06_the_final_layers",)
CAPTION = "The results of other datasets"
_JOINT = "--"


class Run(NamedTuple):
    """A notebook to execute: its source, the page that it becomes, both relative to the project's root, and its
    parameters beside the profile.
    """

    source: Path
    page: Path
    parameters: dict[str, str]


def list_runs(chapters: Sequence[Path], profile: str, root: Path) -> list[Run]:
    """Every chapter, and after those of `CHAPTERS` their siblings, one for each further dataset of the profile's study."""
    runs = []
    for chapter in chapters:
        runs.append(Run(chapter, chapter, {}))
        if chapter.stem in CHAPTERS:
            usual = papermill.inspect_notebook(str(root / chapter))["dataset"]["default"].strip("\"'")
            others = [dataset for dataset in load_profile(profile).study.datasets if dataset != usual]
            runs += [
                Run(chapter, chapter.with_stem(f"{chapter.stem}{_JOINT}{dataset}"), {"dataset": dataset})
                for dataset in others
            ]
    return runs


def relabel(notebook: NotebookNode, dataset: str) -> NotebookNode:
    """Give a sibling's title, figures, equations and other labels, and what refers to them on the page, the name of its
    dataset.
    """
    figures = [
        cell.metadata["mystnb"]["figure"] for cell in notebook.cells if "figure" in cell.metadata.get("mystnb", {})
    ]
    texts = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    labels = {figure["name"] for figure in figures}
    for cell in texts:
        labels |= set(re.findall(r"^(?:\(|:label: )([\w-]+)(?:\)=)?$", cell.source, flags=re.MULTILINE))
    for figure in figures:
        figure["name"] = f"{figure['name']}-{dataset.lower()}"
    for cell in texts:
        for label in labels:
            places = rf"(^\(|^:label: |\{{(?:eq|numref|ref)\}}`|<){re.escape(label)}(?=\)=$|$|`|>)"
            cell.source = re.sub(places, rf"\g<1>{label}-{dataset.lower()}", cell.source, flags=re.MULTILINE)
    texts[0].source = re.sub(r"^# (.+)$", rf"# \1: {dataset}", texts[0].source, count=1, flags=re.MULTILINE)
    return notebook


def extend_toc(toc: dict[str, Any], runs: Sequence[Run]) -> dict[str, Any]:
    """The table of contents with the siblings as a part of their own, behind the part that has their chapters.

    As sections of the chapters they would stand behind buttons without a name, which screen readers cannot tell.
    """
    siblings = [run for run in runs if run.parameters]
    chapters = {run.source.with_suffix("").as_posix() for run in siblings}
    parts = []
    for part in toc.get("parts", []):
        parts.append(part)
        if chapters & {entry.get("file") for entry in part.get("chapters", [])}:
            parts.append(
                {"caption": CAPTION, "chapters": [{"file": run.page.with_suffix("").as_posix()} for run in siblings]}
            )
    return toc | {"parts": parts} if siblings else toc


def lead_to_chapter(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Let the buttons of a sibling page lead to its chapter's source."""

    def led(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: led(part) for key, part in value.items()}
        if isinstance(value, list):
            return [led(part) for part in value]
        return value.replace(page, page.split(_JOINT)[0]) if isinstance(value, str) and "://" in value else value

    if _JOINT in page and "header_buttons" in context:
        context["header_buttons"] = led(context["header_buttons"])


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls when it loads the extension; the theme must have made its buttons before."""
    app.connect("html-page-context", lead_to_chapter, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
