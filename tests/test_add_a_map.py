"""The page that adds a map: its code runs as it stands there, and its commands exist."""

import re
import shlex

import pytest
import torch
import typer

from vwlib.maps import MAPS
from vwlib.paths import ROOT
from vwlib.tools.cli import app

PAGE = (ROOT / "book" / "add_a_map.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def page():
    """What the page's code has defined once it has run, block after block."""
    names: dict = {}
    known = dict(MAPS)
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"add_a_map.md, block {number + 1}", "exec"), names)
    yield names
    MAPS.clear()
    MAPS.update(known)


def test_a_map_takes_ten_lines():
    assert 0 < sum(bool(line.strip()) for line in BLOCKS[0].splitlines()) <= 10


def test_the_pages_map_is_compared_and_carries_a_word(page):
    assert (
        set(page["quality"]["map"]) == {"linear", "neighbours"}
        and page["quality"].groupby(["source", "target"]).ngroups == 6
    )
    assert page["vectors"].shape[:2] == (1, 1) and torch.isfinite(page["vectors"]).all()


def test_the_pages_map_sends_a_word_to_the_mean_of_its_neighbours(page):
    source = torch.tensor([[float(n)] for n in range(10)])
    mapping = page["fit_neighbours"](source, 2 * source, 0)
    assert mapping(torch.tensor([[[5.0]], [[0.0]]])).tolist() == [[[10.0]], [[4.0]]]


def test_the_pages_command_is_understood():
    group = typer.main.get_command(app)
    (command,) = re.findall(r"^(vwlib .*)$", PAGE, flags=re.MULTILINE)
    with group.make_context("vwlib", shlex.split(command)[1:], resilient_parsing=True) as context:
        name, chosen, rest = group.resolve_command(context, shlex.split(command)[1:])
        assert chosen.make_context(name, rest).params["profile"] == "miniature"
