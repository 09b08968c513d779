"""The book that `make book` built, and a browser; where one of the two is missing, its tests are skipped with a
sentence.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from visits import BOOK, BROWSERS, PAGES, Visit, serving, visiting


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    reason = "Playwright is not installed: `pip install -e '.[test]'` installs it."
    api = pytest.importorskip("playwright.sync_api", reason=reason)
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("There is no browser: Debian's package chromium, for example, has one.")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def book() -> Path:
    if not PAGES:
        pytest.skip("There is no book in _build/html: `make book` builds it.")
    return BOOK


@pytest.fixture(scope="session")
def site(book: Path) -> Iterator[str]:
    with serving(book) as address:
        yield address


@pytest.fixture(scope="module", params=PAGES or [None])
def visit(request: pytest.FixtureRequest, browser: Any, site: str) -> Iterator[Visit]:
    """Each page of the book, loaded once for all tests of a file."""
    with visiting(browser, site, request.param) as visit:
        yield visit
