"""A folder of pages in a headless browser, and what is wrong with a page there."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from vwlib.paths import ROOT

#: The built book and its pages.
BOOK = ROOT / "_build" / "html"
PAGES = [
    path.relative_to(BOOK).as_posix()
    for path in (*sorted(BOOK.glob("book/**/*.html")), BOOK / "search.html")
    if path.exists()
]
#: Programs that Playwright can drive; it need not bring its own.
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}  # px


class _Quiet(SimpleHTTPRequestHandler):
    """Text is sent compressed, as GitHub Pages sends it."""

    def send_head(self) -> Any:
        path = Path(self.translate_path(self.path))
        if path.suffix not in {".css", ".html", ".js", ".json", ".svg"} or not path.is_file():
            return super().send_head()
        content = gzip.compress(path.read_bytes())
        self.send_response(200)
        for name, value in {
            "Content-Type": self.guess_type(path),
            "Content-Encoding": "gzip",
            "Content-Length": str(len(content)),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        return io.BytesIO(content)

    def log_message(self, *_: object) -> None:
        """Nothing: what fails is told by the browser."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a folder, served on this machine."""
    server = ThreadingHTTPServer(("localhost", 0), partial(_Quiet, directory=folder))
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Visit:
    """An open page, and whatever it complained about while it was loaded."""

    page: Any
    complaints: list[str] = field(default_factory=list)


@contextmanager
def visiting(browser: Any, site: str, path: str) -> Iterator[Visit]:
    """A page of a site, loaded on a desktop in the light theme; requests to other hosts are noted and refused."""
    context = browser.new_context(viewport=DESKTOP, color_scheme="light")
    visit = Visit(context.new_page())
    page, complain = visit.page, visit.complaints.append
    page.on("console", lambda message: message.type == "error" and complain(f"console: {message.text}"))
    page.on("pageerror", lambda error: complain(f"script: {error}"))
    page.on("response", lambda response: response.status >= 400 and complain(f"{response.status}: {response.url}"))
    page.on(
        "request",
        lambda request: (
            request.url.startswith((f"{site}/", "data:", "blob:")) or complain(f"other host: {request.url}")
        ),
    )
    page.route(lambda url: not url.startswith(f"{site}/"), lambda route: route.abort())
    try:
        page.goto(f"{site}/{path}", wait_until="networkidle")
        page.add_style_tag(content="* { transition: none !important }")  # else colours are measured while they fade
        yield visit
    finally:
        context.close()


def serious_violations(page: Any, *rules: str) -> list[str]:
    """What axe-core finds on a page, by all of its rules or by those named: violations that it calls serious or
    critical, with their place.
    """
    from axe_playwright_python.sync_playwright import Axe

    # Preloading fetches style sheets again, some from the wrong folder.
    options = {"resultTypes": ["violations"], "preload": False} | ({"runOnly": list(rules)} if rules else {})
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{violation['id']}: {node['target']} {node['failureSummary']}"
        for violation in found
        if violation["impact"] in {"serious", "critical"}
        for node in violation["nodes"]
    ]


def cut_off(page: Any) -> list[str]:
    """What reaches beyond the right edge of the screen and cannot be scrolled to by itself."""
    return page.evaluate("""() => {
        const edge = document.documentElement.clientWidth + 1;
        const moves = (element) => /auto|scroll/.test(getComputedStyle(element).overflowX);
        const scrolls = (element) => element && (moves(element) || scrolls(element.parentElement));
        const sticksOut = (element) => element.getBoundingClientRect().right > edge && element.checkVisibility();
        const main = document.querySelector("main") || document.body;
        return Array.from(main.querySelectorAll("*"))
            .filter((element) => sticksOut(element) && !scrolls(element))
            .map((element) => `${element.tagName} ${element.className} ${element.textContent.trim().slice(0, 40)}`);
    }""")


def wider_than_the_screen(page: Any) -> bool:
    """Whether the page as a whole scrolls sideways."""
    return page.evaluate("document.scrollingElement.scrollWidth > document.documentElement.clientWidth")


def without_alternative(page: Any) -> list[str]:
    """Pictures whose alternative text is missing or only the name of a file."""
    return page.evaluate(r"""() => Array.from(document.images)
        .filter(({alt, src}) => !alt.trim() || /\.(png|svg|jpe?g|webp)$/i.test(alt) || src.includes(alt))
        .map((image) => image.src)""")


def weight(page: Any) -> int:
    """Bytes of a page with all that it has loaded so far, as the server sent them."""
    return page.evaluate("""() => ["navigation", "resource"]
        .flatMap((kind) => performance.getEntriesByType(kind))
        .reduce((sum, entry) => sum + entry.encodedBodySize, 0)""")


def altered_pictures(page: Any) -> list[str]:
    """Pictures of the page's text that the theme filters, so that they do not look as they are."""
    return page.evaluate("""() => Array.from(document.querySelectorAll("article img"))
        .filter((image) => getComputedStyle(image).filter !== "none").map((image) => image.src)""")
