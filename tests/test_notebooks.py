"""Every chapter runs with the parameters of the smallest profile, and refuses parameters that it does not know."""

from __future__ import annotations

from pathlib import Path

import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from vwlib import book
from vwlib.paths import ROOT

CHAPTERS = [ROOT / chapter for chapter in book.list_chapters()]

pytestmark = pytest.mark.notebook


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_runs_at_smoke(chapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VWLIB_PROFILE", "smoke")
    notebook = book.execute(chapter, tmp_path / chapter.name, {"profile": "smoke"})
    assert book.find_problems(notebook) == []


WRONG = [pytest.param(path, {"profil": "smoke"}, "profil", id=f"{path.stem}-name") for path in CHAPTERS]
WRONG += [pytest.param(path, {"profile": value}, str(value), id=f"{path.stem}-{value}") for path in CHAPTERS[:1] for value in ("huge", 3)]


@pytest.mark.parametrize(("chapter", "parameters", "named"), WRONG)
def test_chapter_refuses_wrong_parameters(chapter: Path, parameters: dict[str, object], named: str, tmp_path: Path) -> None:
    with pytest.raises(PapermillExecutionError) as failure:
        papermill.execute_notebook(chapter, tmp_path / "out.ipynb", parameters, kernel_name="python3", cwd=chapter.parent, progress_bar=False)
    assert named in failure.value.evalue
    assert failure.value.exec_count <= 4  # before anything is computed
