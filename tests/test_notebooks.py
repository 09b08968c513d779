"""Every chapter runs with the parameters of the smallest profile, and refuses parameters that it does not know."""

from __future__ import annotations

from pathlib import Path

import papermill
import pytest
from papermill.exceptions import PapermillExecutionError
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from vwlib.book import execute as book
from vwlib.book.build import list_chapters
from vwlib.paths import ROOT

CHAPTERS = [ROOT / chapter for chapter in list_chapters()]

pytestmark = pytest.mark.notebook


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_runs_at_smoke(chapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VWLIB_PROFILE", "smoke")
    notebook = book.execute(chapter, tmp_path / chapter.name, {"profile": "smoke"})
    assert book.find_problems(notebook) == []


def test_the_layers_of_another_model_have_their_chapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The detector's; a classifier's are those of the adapter in test_add_a_model."""
    monkeypatch.setenv("VWLIB_PROFILE", "smoke")
    notebook = book.execute(
        ROOT / "book" / "06_the_final_layers.ipynb",
        tmp_path / "detection.ipynb",
        {"profile": "smoke", "task": "detection"},
    )
    assert book.find_problems(notebook) == []


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_refuses_an_unknown_parameter_before_anything_is_computed(chapter: Path) -> None:
    """As papermill does it, without a kernel: the parameters' cell, the injected one, and the cell that reads them."""
    cells = parameterize_notebook(load_notebook_node(str(chapter)), {"profil": "smoke"}).cells
    first = [cell for cell in cells if cell.cell_type == "code"][:3]
    assert [tag for cell in first for tag in cell.metadata.get("tags", []) if "parameters" in tag] == [
        "parameters",
        "injected-parameters",
    ]
    sources = [cell.source for cell in first]
    with pytest.raises(ValueError, match="'profil'"):
        exec("\n".join(sources), {"In": ["", *sources]})


@pytest.mark.parametrize("value", ["huge", 3])
def test_a_wrong_value_stops_papermill(value: object, tmp_path: Path) -> None:
    with pytest.raises(PapermillExecutionError) as failure:
        papermill.execute_notebook(
            CHAPTERS[0],
            tmp_path / "out.ipynb",
            {"profile": value},
            kernel_name="python3",
            cwd=ROOT / "book",
            progress_bar=False,
        )
    assert str(value) in failure.value.evalue
    assert failure.value.exec_count <= 4  # before anything is computed
