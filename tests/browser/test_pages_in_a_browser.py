"""Every page of the built book in a real browser, on a desktop and on a phone, by day and by night."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from visits import (
    DESKTOP,
    PHONE,
    Visit,
    altered_pictures,
    cut_off,
    serious_violations,
    serving,
    visiting,
    weight,
    wider_than_the_screen,
    without_alternative,
)

pytestmark = pytest.mark.browser

#: A page with a fault of every kind that is looked for.
FAULTY = """<!doctype html><html lang="en"><title>faulty</title><script src="gone.js"></script>
<script>nothing()</script>
<img src="https://example.org/x.png"><main><article><p style="color: #eee">pale</p><div style="width: 900px">wide</div>
<img src="picture.svg" alt="picture.svg" style="filter: contrast(2)"></article></main></html>"""


def test_a_page_loads_without_errors_missing_files_or_other_hosts(visit: Visit) -> None:
    assert visit.complaints == []


def test_every_picture_has_an_alternative_text(visit: Visit) -> None:
    assert without_alternative(visit.page) == []


def test_a_page_is_accessible(visit: Visit) -> None:
    visit.page.set_viewport_size(DESKTOP)
    visit.page.emulate_media(color_scheme="light")
    assert serious_violations(visit.page) == []


def test_a_page_is_legible_in_the_dark_and_its_pictures_are_as_they_were(visit: Visit) -> None:
    visit.page.set_viewport_size(DESKTOP)
    visit.page.emulate_media(color_scheme="dark")
    visit.page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    assert serious_violations(visit.page, "color-contrast", "link-in-text-block") == []
    assert altered_pictures(visit.page) == []


def test_a_page_fits_a_narrow_screen(visit: Visit) -> None:
    visit.page.set_viewport_size(PHONE)
    assert not wider_than_the_screen(visit.page)
    assert cut_off(visit.page) == []


def test_faults_are_found(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(FAULTY)
    (tmp_path / "picture.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    with serving(tmp_path) as site, visiting(browser, site, "index.html") as visit:
        assert {complaint.split(":")[0] for complaint in visit.complaints} == {"404", "console", "other host", "script"}
        assert len(without_alternative(visit.page)) == 2
        assert {text.split(":")[0] for text in serious_violations(visit.page)} == {"color-contrast", "image-alt"}
        assert len(altered_pictures(visit.page)) == 1
        visit.page.set_viewport_size(PHONE)
        assert wider_than_the_screen(visit.page)
        assert cut_off(visit.page) == ["DIV  wide"]


def test_the_ledger_is_searched_and_sorted(browser: Any, site: str, book: Path) -> None:
    if not (book / "book" / "07_the_claims.html").exists():
        pytest.skip("The built book has no ledger.")
    with visiting(browser, site, "book/07_the_claims.html") as visit:
        rows = visit.page.locator("table.ledger > tbody > tr:visible")
        every = rows.count()
        visit.page.get_by_label("search the claims").fill("detector")
        assert 0 < rows.count() < every
        visit.page.get_by_label("search the claims").fill("")
        visit.page.get_by_role("button", name="no.", exact=True).click()
        assert rows.first.get_attribute("id") == "claim-1"


@pytest.fixture
def explorer(browser: Any, site: str, book: Path) -> Iterator[Visit]:
    """The explorer's page; whatever is loaded later counts too."""
    if not (book / "book" / "explorer.html").exists():
        pytest.skip("The built book has no explorer.")
    with visiting(browser, site, "book/explorer.html") as visit:
        yield visit
        visit.page.wait_for_load_state("networkidle")
        assert visit.complaints == []


def test_the_explorer_answers_clicks_and_keys_and_its_address_says_what_it_shows(explorer: Visit) -> None:
    page, title = explorer.page, explorer.page.locator(".explorer-title")
    chosen = page.locator(".explorer-grid button[aria-pressed=true]")
    buttons = page.locator(".explorer-grid button")
    buttons.last.click()
    rows, columns = (page.locator(f".explorer-grid {part} th").count() for part in ("tbody", "thead"))
    assert chosen.count() == 1 and buttons.count() == rows * columns
    last = title.inner_text()
    chosen.press("ArrowRight")  # from the last column to the first
    assert (
        title.inner_text() != last
        and page.evaluate("document.activeElement")
        and chosen.evaluate("element => element === document.activeElement")
    )
    page.get_by_label("detection", exact=True).check()
    assert "for detection" in title.inner_text() and page.locator(".explorer-map .learned").count() > 0
    slider = page.get_by_label("radius")
    slider.focus()
    slider.press("Home")
    assert "within δ" in title.inner_text()
    address, shown = page.url, title.inner_text()
    page.goto("about:blank")
    page.goto(address, wait_until="networkidle")
    assert title.inner_text() == shown


def test_the_explorer_loads_a_sheet_only_when_it_is_asked_for(explorer: Visit, book: Path) -> None:
    page = explorer.page
    entries = "performance.getEntriesByType('resource')"
    loaded = f"{entries}.filter(entry => entry.name.includes('/explorer/')).map(entry => entry.name)"
    before = page.evaluate(loaded)
    page.get_by_label("detection", exact=True).check()
    page.wait_for_load_state("networkidle")
    after = page.evaluate(loaded)
    assert len(before) == 4 and len(after) == 5, "the words', the anchors' and the names' pictures, and the test images"
    everything = [book / "book" / "explorer.html", *(book / "_static" / "explorer").iterdir()]
    assert sum(file.stat().st_size for file in everything) < 5e6


def test_the_explorer_shows_words_of_every_dataset(explorer: Visit) -> None:
    page = explorer.page
    names = page.get_by_label("dataset").locator("option").all_inner_texts()
    for name in reversed(names):
        page.get_by_label("dataset").select_option(name)
        page.wait_for_load_state("networkidle")
        assert f"#{name}/" in page.url and "learned from" in page.locator(".explorer-title").inner_text()
        assert (
            page.locator(".explorer-grid button.right").count() > 0
            and page.locator(".explorer-grid button[aria-pressed=true]").count() == 1
        )
    assert weight(page) < 5e6, "of a page with all that it has loaded, text compressed"


def test_the_map_of_layers_slides_and_changes_colours(browser: Any, site: str, book: Path) -> None:
    if not (book / "book" / "06_the_final_layers.html").exists():
        pytest.skip("The built book has no chapter on layers.")
    with visiting(browser, site, "book/06_the_final_layers.html") as visit:
        point = visit.page.locator(".layers circle").first
        place, colour = point.get_attribute("style"), point.get_attribute("fill")
        slider = visit.page.get_by_label("layer", exact=False).and_(visit.page.locator("input[type=range]"))
        slider.press("End")
        assert point.get_attribute("style") != place and " from " in (point.locator("title").text_content() or "")
        visit.page.locator(".layers").get_by_label("anchor").check()
        legend = visit.page.locator(".layers-legend li")
        assert legend.count() == len(
            {
                *visit.page.locator(".layers circle").evaluate_all(
                    "points => points.map(point => point.getAttribute('fill'))"
                )
            }
        )
        assert colour and visit.complaints == []


def test_a_picture_opens_large(browser: Any, site: str, book: Path) -> None:
    with visiting(browser, site, "book/01_models_and_words.html") as visit:
        links = visit.page.locator("a.open-large")
        assert links.count() > 0
        file = links.first.get_attribute("href") or ""
        assert (book / file.removeprefix(f"{site}/")).is_file()


def test_a_search_finds_pages(browser: Any, site: str) -> None:
    with visiting(browser, site, "search.html?q=anchor") as visit:
        results = visit.page.locator("#search-results li")
        results.first.wait_for()
        assert results.count() > 1
        assert visit.complaints == []
