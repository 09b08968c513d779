"""Every chapter runs with the parameters of the smallest profile, shows a result that is known, and refuses parameters
that it does not know.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from vwlib.book import execute as book
from vwlib.book.build import glued_values, list_chapters
from vwlib.paths import ROOT

CHAPTERS = [ROOT / chapter for chapter in list_chapters()]
#: A number that each chapter glues, and between what it lies at profile smoke.
NUMBERS = {
    "the_method": ("shared", 412, 1000),  # words that two models know
    "01_models_and_words": ("shared", 412, 412),  # words that all three models know
    "02_transfer_maps": ("control_top1", 1, 1),  # a rotated copy of a model
    "03_learning_a_word": ("free_distance", 0.1, 2),  # after five steps
    "04_are_words_transferable": ("words", 12, 12),  # 2 concepts, 2 anchors, 3 tasks
    "05_solutions_are_everywhere": ("ball_distance", 0.1, 0.5),  # within its ball
    "06_the_final_layers": ("near", 0.5, 0.5),
    "07_the_claims": ("claims", 57, 57),
    "08_the_real_thing": ("count", 8, 8),
    "09_your_own_word": ("others_count", 10, 10),
}
#: What stands in the outputs of those that glue none.
TEXTS = {
    "explorer": "explorer-data",
    "appendix_datasets": "sombrero",
    "appendix_hyperparameters": "optimisation steps",
    "appendix_deviations": "<table",
    "appendix_provenance": "numpy",
}

pytestmark = pytest.mark.notebook


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_runs_at_smoke(chapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VWLIB_PROFILE", "smoke")
    notebook = book.execute(chapter, tmp_path / chapter.name, {"profile": "smoke"})
    assert book.find_problems(notebook) == []
    if chapter.stem in TEXTS:
        assert TEXTS[chapter.stem] in str([cell.get("outputs") for cell in notebook.cells])
    else:
        name, low, high = NUMBERS[chapter.stem]
        assert low <= glued_values(notebook)[name] <= high + 1e-6


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
