"""The scripts of the explorer and of the map of layers on small pages of their own, which need no built book."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from visits import Visit, serious_violations, serving, visiting, weight

from vwlib.book.pages.explorer import DIVERGED, OTHER, Explorer
from vwlib.book.pages.layers import LayerMap
from vwlib.concepts import TASKS
from vwlib.experiments.sheets import sheet_of
from vwlib.paths import ROOT

pytestmark = pytest.mark.browser

CONCEPTS, ANCHORS = ["cup", "dog"], ["bell", "cow"]


def explorer_index(named: list[int]) -> dict[str, Any]:
    """A study of two concepts and two anchors of one dataset, whose pictures bear the names `named`."""
    scores = {task: [0.5, 0.25, 0.75, 1.0] for task in TASKS}
    group = {
        "sheet": "words.webp",
        "named": named,
        "boxes": [[100, 100, 500, 500, 70]] * 4,
        "scores": scores,
        "moved": [1.5] * 4,
    }
    group |= {"nearest": [[0, 1]] * 4, "at": [[300, 300, 700, 700]] * 4}
    beside = {name: {"sheet": f"{name}.webp", "named": [0, 1], "scores": scores} for name in ("anchor", "name")}
    dataset = {
        "concepts": CONCEPTS,
        "anchors": ANCHORS,
        "own": CONCEPTS,
        "tests": "tests.webp",
        "truth": [[[0, 0, 900, 900]]] * 2,
        **beside,
    }
    words = {"words": [*CONCEPTS, *ANCHORS], "at": [100, 100, 900, 900, 200, 800, 800, 200], "share": 0.5}
    shown = {
        "tasks": list(TASKS),
        "colours": dict.fromkeys(TASKS, "#117733"),
        "side": 64,
        "tested": 96,
        "scale": 1000,
        "deltas": [0.5, None],
    }
    groups = {
        f"{name}-{task}-{delta}": group for name in ("COCO", "PASCAL") for task in TASKS for delta in ("0.5", "free")
    }
    return shown | {
        "datasets": {"COCO": dataset, "PASCAL": dataset},
        "groups": groups,
        "maps": dict.fromkeys(TASKS, words),
    }


def write_page(root: Path, body: str, script: str) -> None:
    """A page of the book's folders with one of its scripts."""
    static = root / "_static" / "explorer"
    static.mkdir(parents=True)
    for name in (script, "name-points.js", "explorer.css"):
        (root / "_static" / name).write_text((ROOT / "book" / "_static" / name).read_text())
    for name in ("words", "anchor", "name", "tests"):
        (static / f"{name}.webp").write_bytes(sheet_of([[None, None], [None, None]]))
    head = '<meta charset="utf-8"><title>page</title><link rel="icon" href="data:,">'
    head += '<link rel="stylesheet" href="../_static/explorer.css">'
    head += f'<script src="../_static/name-points.js"></script><script src="../_static/{script}"></script>'
    (root / "book").mkdir()
    (root / "book" / "page.html").write_text(
        f'<!doctype html><html lang="en"><head>{head}</head><body><main><h1>page</h1>{body}</main></body></html>'
    )


@pytest.fixture
def explorer(browser: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """The small explorer, at the address that the test asks for; nothing may have gone wrong in the end."""
    write_page(tmp_path, Explorer(explorer_index([0, DIVERGED, OTHER, 1]))._repr_html_(), "explorer.js")
    with serving(tmp_path) as site, visiting(browser, site, f"book/page.html{getattr(request, 'param', '')}") as visit:
        yield visit
        assert visit.complaints == []


@pytest.mark.parametrize("explorer", ["#100%", "#a/b", "#COCO/detection/0.5/dog/cow/more"], indirect=True)
def test_an_address_that_names_no_word_shows_the_first(explorer: Visit) -> None:
    assert (
        explorer.page.locator(".explorer-title").inner_text()
        == "cup, learned from cow for generation, without constraint"
    )


@pytest.mark.parametrize("explorer", ["#PASCAL/detection/0.5/dog/bell"], indirect=True)
def test_an_address_that_names_a_word_shows_it(explorer: Visit) -> None:
    assert (
        explorer.page.locator(".explorer-title").inner_text() == "dog, learned from bell for detection, within δ = 0.5"
    )


def test_every_dataset_can_be_chosen(explorer: Visit) -> None:
    select = explorer.page.get_by_label("dataset")
    for name in reversed(select.locator("option").all_inner_texts()):
        select.select_option(name)
        assert f"#{name}/" in explorer.page.url and explorer.page.locator(".explorer-title").inner_text().startswith(
            "cup, learned from cow"
        )


def test_a_page_weighs_what_its_files_weigh(explorer: Visit, tmp_path: Path) -> None:
    files = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert weight(explorer.page) == sum(
        len(content if file.suffix == ".webp" else gzip.compress(content)) for file, content in files.items()
    )


def test_a_picture_of_another_name_did_not_diverge(explorer: Visit) -> None:
    buttons = explorer.page.locator(".explorer-grid button")
    drawn = [button.get_attribute("aria-label").split(", drawn as ")[1] for button in buttons.all()]
    assert drawn == ["cup", "nothing", "another concept", "dog"]
    assert explorer.page.get_by_label("radius").get_attribute("aria-valuetext") == "no limit"
    told = []
    for button in buttons.all():
        button.click()
        told.append(explorer.page.locator(".explorer-pictures figcaption").nth(1).inner_text())
    assert told == [
        f"learned word; {name}" for name in ("judge: cup", "diverged", "judge: another concept", "judge: dog")
    ]


def test_the_map_tells_a_word_under_the_mouse_and_near_a_finger(explorer: Visit) -> None:
    page, told = explorer.page, explorer.page.locator(".explorer-word")
    assert told.inner_text().startswith("Point at a word")
    page.locator(".explorer-map circle.word").nth(2).hover()
    assert told.inner_text() == "bell"
    beside = page.locator(".explorer-map circle.word").nth(3).bounding_box()
    touch = {"pointerType": "touch", "clientX": beside["x"] + 12, "clientY": beside["y"] + 12, "bubbles": True}
    page.locator(".explorer-map svg").dispatch_event("pointerdown", touch)
    assert told.inner_text() == "cow"


@pytest.fixture
def layers(browser: Any, tmp_path: Path) -> Iterator[Visit]:
    """A small map of layers: two concepts from two anchors at two layers."""
    rows = [
        ("own", c, a, layer, x + layer, y)
        for layer in (0, 4)
        for x, c in enumerate(CONCEPTS)
        for y, a in enumerate(ANCHORS)
    ]
    shown = LayerMap(pd.DataFrame(rows, columns=["words", "concept", "anchor", "layer", "x", "y"]))
    write_page(tmp_path, shown._repr_html_(), "layers.js")
    with serving(tmp_path) as site, visiting(browser, site, "book/page.html") as visit:
        yield visit
        assert visit.complaints == [] and serious_violations(visit.page) == []


def faded(visit: Visit) -> list[bool]:
    return visit.page.locator(".layers circle").evaluate_all(
        "points => points.map(point => point.classList.contains('faded'))"
    )


def test_names_in_the_legend_are_buttons_that_lift_their_words(layers: Visit) -> None:
    page, dog = layers.page, layers.page.get_by_role("button", name="dog")
    dog.focus()
    assert faded(layers) == [True, True, False, False] and dog.get_attribute("aria-pressed") == "false"
    dog.press("Enter")
    page.get_by_role("button", name="cup").hover()
    assert dog.get_attribute("aria-pressed") == "true" and faded(layers) == [False, False, True, True]
    page.mouse.move(0, 0)
    page.get_by_role("slider").press("End")
    assert page.get_by_role("button", name="dog").get_attribute("aria-pressed") == "true" and faded(layers) == [
        True,
        True,
        False,
        False,
    ]
    page.get_by_label("anchor").check()
    assert page.locator("button[aria-pressed=true]").count() == 0 and not any(faded(layers))


def test_a_point_of_the_layers_is_told_in_words(layers: Visit) -> None:
    layers.page.locator(".layers circle").nth(2).hover()
    assert layers.page.locator(".layers .explorer-word").inner_text() == "dog from bell"
