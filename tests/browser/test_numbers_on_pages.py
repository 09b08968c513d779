"""Every glued number of the built book is the one in numbers.json, and those about verdicts are the ledger's. Needs no
browser.
"""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pytest

from vwlib.ledger.verdicts import VERDICTS
from vwlib.paths import ROOT

PROFILE = os.environ.get("VWLIB_PROFILE") or "miniature"
RESULTS = ROOT / "data" / "results" / PROFILE
#: Where the build writes what the chapters glued.
NUMBERS = [RESULTS / "numbers.json", ROOT / "_build" / "executed" / PROFILE / "numbers.json"]
SOURCES = [*sorted((ROOT / "book").glob("*.ipynb")), *sorted((ROOT / "book").glob("*.md"))]


class Pasted(HTMLParser):
    """The texts that a page took from notebooks, in order."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.depth = 0
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "span" and "pasted-text" in (dict(attrs).get("class") or "").split():
            self.texts.append("")
            self.depth = 1
        elif self.depth:
            self.depth += tag == "span"

    def handle_endtag(self, tag: str) -> None:
        self.depth -= tag == "span" and self.depth > 0

    def handle_data(self, data: str) -> None:
        if self.depth:
            self.texts[-1] += data


def glued(source: Path) -> list[tuple[str, str]]:
    """Name in numbers.json and format of each text that a page's source takes from a notebook, in order."""
    if source.suffix == ".ipynb":
        cells = [cell.source for cell in nbformat.read(source, as_version=4).cells if cell.cell_type == "markdown"]
    else:
        cells = [source.read_text()]
    found = re.findall(r"\{glue:text\}`(?:(\w+)\.ipynb::)?(\w+):([^`]*)`", "\n".join(cells))
    return [(f"{chapter or source.stem}.{name}", form) for chapter, name, form in found]


def _plain(text: str) -> list[str]:
    """The words of a text, whatever quotes Sphinx has put around them."""
    return text.translate(str.maketrans("‘’“”", "''\"\"")).split()


def differences(source: Path, page: Path, numbers: dict[str, Any]) -> list[str]:
    """Where a built page shows something else than its source and the numbers say."""
    wanted = [f"{numbers[name]:{form}}" if name in numbers else f"no {name}" for name, form in glued(source)]
    shown = Pasted(page).texts
    names = [name for name, _ in glued(source)]
    rows = zip(names, wanted, shown, strict=False)
    wrong = [f"{name}: {there!r} for {want!r}" for name, want, there in rows if _plain(there) != _plain(want)]
    return wrong + ([f"{len(shown)} numbers for {len(wanted)}"] if len(shown) != len(wanted) else [])


@pytest.fixture(scope="module")
def numbers() -> dict[str, Any]:
    file = next((file for file in NUMBERS if file.exists()), None)
    if file is None:
        pytest.skip("There is no numbers.json: `make book` writes it.")
    return json.loads(file.read_text())


@pytest.mark.browser
@pytest.mark.parametrize("source", [source for source in SOURCES if glued(source)], ids=lambda source: source.stem)
def test_glued_numbers_are_those_of_the_chapters(book: Path, numbers: dict[str, Any], source: Path) -> None:
    assert differences(source, book / "book" / f"{source.stem}.html", numbers) == []


@pytest.mark.browser
def test_pages_say_what_the_ledger_says(book: Path, numbers: dict[str, Any]) -> None:
    if not (RESULTS / "claims.json").exists():
        pytest.skip("There are no verdicts: `vwlib claims` writes them.")
    claims = {row["id"]: row for row in json.loads((RESULTS / "claims.json").read_text())}
    verdicts = [row["verdict"] for row in claims.values()]
    names = ("holds", "fails", "unclear", "undecidable")
    assert [numbers[f"07_the_claims.{name}"] for name in names] == [verdicts.count(word) for word in VERDICTS]
    assert numbers["07_the_claims.tests"] == sum(row["p"] is not None for row in claims.values())


def test_a_wrong_or_missing_number_is_found(tmp_path: Path) -> None:
    source, page = tmp_path / "05_page.md", tmp_path / "05_page.html"
    source.write_text("{glue:text}`mean:.2f` of {glue:text}`04_other.ipynb::name:s`, and {glue:text}`share:.0%`")
    numbers = {"05_page.mean": 0.254, "04_other.name": "dog <b>", "05_page.share": 0.5}
    span = '<span class="pasted-text">{}</span>'
    page.write_text(" ".join(map(span.format, ("0.25", "dog &lt;b&gt;", "50%"))))
    assert differences(source, page, numbers) == []
    page.write_text(" ".join(map(span.format, ("0.26", "<span>dog</span> &lt;b&gt;", "50%"))))
    assert differences(source, page, numbers) == ["05_page.mean: '0.26' for '0.25'"]
    page.write_text(" ".join(map(span.format, ("0.25", "dog &lt;b&gt;"))))
    assert differences(source, page, numbers) == ["2 numbers for 3"]
    assert differences(source, page, {}) != []
