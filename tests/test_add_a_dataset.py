"""The page that adds a dataset: its code runs as it stands there, and its command exists."""

import dataclasses
import re
import shlex
import tempfile

import numpy as np
import pandas as pd
import pytest
import typer

from vwlib.book.pages.transfer import grid_table
from vwlib.datasets.pictures import load_image
from vwlib.datasets.splits import CUSTOM_DATASETS, dataset_folder, load_split
from vwlib.ledger.summary import is_diagonal, summarise_grid
from vwlib.paths import ROOT
from vwlib.settings import load_profile
from vwlib.tools import doctor
from vwlib.tools.cli import app

PAGE = (ROOT / "book" / "add_a_dataset.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"`?(vwlib (?:learn|doctor) [^`\n]*)", PAGE)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """What the page's code has defined once it has run, block after block."""
    names: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("page")))
        patch.setitem(CUSTOM_DATASETS, "discs", None)
        for number, block in enumerate(BLOCKS):
            exec(compile(block, f"add_a_dataset.md, block {number + 1}", "exec"), names)
        yield names


def test_the_reader_gives_each_picture_with_its_box(page):
    train, test = (list(page["read_boxes"](page["folder"] / "boxes.csv", split)) for split in ("train", "test"))
    assert (len(train), len(test)) == (16, 8) and {example.label for example in train} == {"moon", "tomato"}
    assert all(example.boxes.shape == (1, 4) and example.names == [example.label] for example in (*train, *test))


def test_a_box_holds_its_disc_and_nothing_but_its_disc(page):
    for example in page["discs"](page["mine"]).train:
        picture = np.asarray(load_image(example.path))
        shown = np.argwhere((picture != picture[0, 0]).any(-1))  # (row, column)
        (top, left), (bottom, right) = shown.min(0), shown.max(0) + 1
        assert example.boxes.tolist() == [[left, top, right, bottom]]


def test_the_pages_word_is_learned_and_scored(page):
    table = page["grid"].table
    assert set(table["dataset"]) == {"discs"} and table["value"].between(0, 1).all()
    assert set(zip(table["trained_on"], table["evaluated_on"], strict=True)) >= {
        ("classification", "classification"),
        ("classification", "detection"),
    }


def test_the_datasets_words_are_summarised(page):
    summary = summarise_grid(page["grid"].table, "miniature").set_index(["trials", "evaluated_on", "trained_on"])
    cell = ("detection", "classification")
    assert (summary.loc[("all", *cell), "n"], summary.loc[("off-diagonal", *cell), "n"]) == (4, 2)
    scores = page["grid"].table.query("evaluated_on == 'detection' and trained_on == 'classification'")
    assert summary.loc[("all", *cell), "mean"] == pytest.approx(scores["value"].mean())
    off = scores[scores["concept"] != scores["anchor"]]
    assert summary.loc[("off-diagonal", *cell), "mean"] == pytest.approx(off["value"].mean())
    assert len(grid_table(summary.reset_index())) == 2 * 3  # two tasks; anchor, name and the words learned


def test_words_of_ones_own_and_of_the_four_stand_in_one_table():
    rows = [
        ("discs", "moon", "moon"),
        ("discs", "moon", "tomato"),
        ("photos", "my cat", "cat"),
        ("DreamBooth", "moon", "moon"),
    ]
    rows += [("COCO", "laptop", "laptop"), ("ImageNet", "sombrero", "hat"), ("COCO", "laptop", "scissors")]
    table = pd.DataFrame(rows, columns=["dataset", "concept", "anchor"], index=range(5, 12))
    known = is_diagonal(table, "paper")
    assert known.index.equals(table.index)
    assert known.tolist() == [True, False, False, False, True, True, False]


def test_a_dataset_that_a_profile_does_not_name_is_refused():
    paper = load_profile("paper")
    lacking = paper.model_copy(update={"data": {name: folder for name, folder in paper.data.items() if name != "COCO"}})
    for ask in (dataset_folder, load_split):
        with pytest.raises(ValueError, match=r"'paper'.*COCO.*\[paper\.data\]"):
            ask(lacking, "COCO")
    (found,) = doctor.data(lacking, "COCO")
    assert found.state == "missing" and "[paper.data]" in found.text
    assert dataset_folder(lacking, "PASCAL").name == "voc"


def test_the_miniature_writes_what_its_profile_does_not_name():
    profile = load_profile("smoke", data={"COCO": "elsewhere"})
    assert dataset_folder(profile, "COCO") == ROOT / "elsewhere"
    assert dataset_folder(profile, "PASCAL").is_dir()


def test_a_words_row_names_the_map_that_moved_it(page):
    trials, word = page["trials"][:1], {"classification": page["grid"].learned["classification"]}
    first = dataclasses.replace(word["classification"], vectors=word["classification"].vectors[:1])
    learned = {"classification": first}
    grid = page["lab"].run_trials(
        trials, ["classification"], ["classification", "detection"], kind="procrustes", learned=learned, progress=False
    )
    named = grid.table.set_index(["trained_on", "evaluated_on"])["map"].to_dict()
    assert named.pop(("classification", "detection")) == "procrustes" and set(named.values()) == {"none"}
    vectors = page["lab"].transfer(first.vectors, "classification", "detection", "procrustes")
    (score,) = page["lab"].evaluate("detection", vectors, trials)
    there = grid.table.query("trained_on == 'classification' and evaluated_on == 'detection'")
    assert there["value"].tolist() == [score.value]


def test_the_folder_of_photos_is_read(page):
    assert page["mine"].photos.name == "guitar" and "8 pictures" in page["describe_photos"](page["mine"])


@pytest.mark.parametrize("command", COMMANDS)
def test_the_pages_commands_are_understood(command):
    words = shlex.split(command)[1:]
    group = typer.main.get_command(app)
    with group.make_context("vwlib", words, resilient_parsing=True) as context:
        name, chosen, rest = group.resolve_command(context, words)
        given = chosen.make_context(name, rest).params
    if name == "doctor":
        assert given["profile"] == "paper"
    else:
        assert (ROOT / given["images"]).is_dir() and given["beside"] == "COCO"
