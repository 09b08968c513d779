"""The appendix's tables hold what the code holds."""

import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from vwlib.book.pages.appendix import concept_table, notes_of, scene_table, study_table
from vwlib.book.pages.origins import chapters_table, machine_table, study_log_table, versions_table
from vwlib.ledger.deviations import substitutions
from vwlib.settings import ExperimentSettings, StudySettings, load_profile
from vwlib.study.progress import append_run
from vwlib.study.store import Store

SMOKE = load_profile("smoke")


def test_the_forty_concepts_stand_beside_their_substitutes() -> None:
    table = concept_table()
    assert len(table) == 40
    differs = (table["in the paper"] != table["in the miniature"]) | (table["its anchor"] != table["anchor"])
    assert differs.sum() == len(substitutions())
    assert set(table.loc[table["in the paper"] == "sombrero", "anchor"]) == {"hat"}


def test_scenes() -> None:
    scenes = scene_table().set_index("scenes")
    assert (scenes.loc["COCO", "things"], scenes.loc["pretraining: portrait", "other things"]) == ("4 to 6", "–")


def test_the_study_of_the_miniature_has_6000_words_and_2160_of_fresh_concepts() -> None:
    words = study_table().set_index("setting")["miniature"]
    assert (words["words"], words["words of fresh concepts"]) == ("6,000", "2,160")


@pytest.mark.parametrize("settings", [StudySettings, ExperimentSettings])
def test_every_setting_has_a_note(settings: type[BaseModel]) -> None:
    notes = notes_of(settings)
    assert list(notes) == list(settings.model_fields)
    assert all(notes.values())
    assert all("=" not in note for note in notes.values())


def test_versions_asked_for_and_installed() -> None:
    table = versions_table().set_index("package")
    assert table.loc["numpy", "asked for"] == table.loc["numpy", "installed"]
    assert table.loc["jupyter-book", "asked for"] == ">=1.0.4.post1,<2"


def test_a_chapters_run_is_read_from_its_executed_copy(tmp_path: Path) -> None:
    folder = tmp_path / "_build" / "executed" / "smoke" / "book"
    for made in (folder, tmp_path / "book"):
        made.mkdir(parents=True)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/one\n")
    (tmp_path / "book" / "one.ipynb").touch()
    assert chapters_table(SMOKE, tmp_path).empty
    tagged = {"parameters": "seed: int = 0  # of the noise\n", "injected-parameters": "seed = 3\n"}
    cells = [{"source": [source], "metadata": {"tags": [tag]}} for tag, source in tagged.items()]
    ran = {"duration": 61.7, "start_time": "2026-03-01T12:00:00+00:00", "version": "2.7.0"}
    (folder / "one.ipynb").write_text(json.dumps({"cells": cells, "metadata": {"papermill": ran}}))
    for name in ("one.failed", "removed_from_the_book"):
        (folder / f"{name}.ipynb").write_text(json.dumps({"cells": [], "metadata": {"papermill": ran}}))
    assert chapters_table(SMOKE, tmp_path).to_numpy().tolist() == [["one", "2026-03-01", "62", "3", "papermill 2.7.0"]]


def test_the_studys_hours_come_from_its_log(tmp_path: Path) -> None:
    assert study_log_table(SMOKE, tmp_path).empty
    for number in range(2):
        note = {
            "chunk": f"part-{number}",
            "kind": "words",
            "task": "detection",
            "words": 4,
            "steps": 5,
            "learning": 1800,
            "scoring": 90,
        }
        append_run(Store(SMOKE, tmp_path).log_file, note)
    assert study_log_table(SMOKE, tmp_path).to_numpy().tolist() == [["words", "detection", 2, 8, "1", "0.05"]]


def test_the_machine() -> None:
    assert machine_table(SMOKE)["cores"].item() > 0
