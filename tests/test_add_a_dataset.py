"""The page that adds a dataset: its code runs as it stands there, and its command exists."""

import re
import shlex
import tempfile

import numpy as np
import pytest
import typer

from vwlib.cli import app
from vwlib.datasets import load_image
from vwlib.paths import ROOT
from vwlib.study import MATERIALS

PAGE = (ROOT / "book" / "add_a_dataset.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"`?(vwlib (?:learn|doctor) [^`\n]*)", PAGE)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """What the page's code has defined once it has run, block after block."""
    names: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("page")))
        patch.setitem(MATERIALS, "discs", None)
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
    assert set(zip(table["trained_on"], table["evaluated_on"], strict=True)) >= {("classification", "classification"), ("classification", "detection")}


def test_the_folder_of_photos_is_read(page):
    assert page["mine"].photos.name == "guitar" and page["describe_photos"](page["mine"]).startswith("There are 8 pictures")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_pages_commands_are_understood(command):
    words = shlex.split(command)[1:]
    group = typer.main.get_command(app)
    with group.make_context("vwlib", words, resilient_parsing=True) as context:
        name, chosen, rest = group.resolve_command(context, words)
        given = chosen.make_context(name, rest).params
    assert given["profile"] == "paper" if name == "doctor" else (ROOT / given["images"]).is_dir() and given["beside"] == "COCO"
