"""Every link of the built book that stays within it leads to a page, and to a place on it, that exists. Needs no
browser.
"""

from __future__ import annotations

from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from visits import PAGES

pytestmark = pytest.mark.browser


class Places(HTMLParser):
    """The links of a page, and the ids to which others may lead."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.ids: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, _: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links |= {value for name, value in attrs if name in ("href", "src") and value}
        self.ids |= {value for name, value in attrs if name in ("id", "name") and value}


@cache
def places(page: Path) -> Places:
    return Places(page)


def dead_links(page: Path) -> list[str]:
    """Those links of a page that lead nowhere in its own site."""
    dead = []
    for link in places(page).links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        on_page = parts.fragment and target.suffix == ".html"
        if not target.exists() or (on_page and unquote(parts.fragment) not in places(target).ids):
            dead.append(link)
    return sorted(dead)


@pytest.mark.parametrize("name", PAGES or [None])
def test_links_within_the_book_lead_somewhere(book: Path, name: str) -> None:
    assert dead_links(book / name) == []


def test_the_first_page_leads_into_the_book(book: Path) -> None:
    assert 'url=book/index.html"' in (book / "index.html").read_text()


def test_dead_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "one.html").write_text(
        '<p id="here"><a href="two.html#there">1</a> <a href="#here">2</a> <a href="#gone">3</a> <img src="no.png">'
    )
    (tmp_path / "two.html").write_text('<a href="one.html#gone">1</a> <a href="https://example.org/">2</a>')
    assert dead_links(tmp_path / "one.html") == ["#gone", "no.png", "two.html#there"]
    assert dead_links(tmp_path / "two.html") == ["one.html#gone"]
