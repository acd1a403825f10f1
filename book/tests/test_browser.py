"""The website as a reader meets it, in Chromium: `make book`, then `make browser`."""

import os
import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

HTML = Path(os.environ.get("WM_BOOK", Path(__file__).parent.parent / "_build" / "html"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

try:
    from playwright import sync_api as playwright
except ImportError:
    playwright = None

if not (HTML / "index.html").exists():
    MISSING = "it is not built; `make book` builds it"
elif playwright is None:
    MISSING = "playwright is not installed; `make browser` installs it"
elif CHROMIUM is None:
    MISSING = "there is no Chromium; on Debian `apt install chromium` installs it"
else:
    MISSING = ""
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"The website was NOT tested in a browser: {MISSING}.")

CHAPTERS = sorted(path.stem for path in (HTML / "notebooks").glob("*.html"))
PAGES = [
    "index",
    *sorted(path.stem for path in HTML.glob("*.html") if path.stem not in ("index", "genindex", "search")),
]
REFERENCE = sorted(path.stem for path in (HTML / "api").glob("*.html"))
ALL = [*PAGES, *(f"notebooks/{name}" for name in CHAPTERS), *(f"api/{name}" for name in REFERENCE)]
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and says nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        """Called for every request."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(HTML)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


class Visit:
    """A page, and what it complained about. Nothing outside of this machine can be reached."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.address, self.complaints = address, []
        self.context = browser.new_context(**({"viewport": DESK} | options))
        self.context.set_default_timeout(60_000)
        self.context.route("**/*", self.stay)
        self.page = self.context.new_page()
        self.page.on("console", self.heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("response", lambda got: got.status >= 400 and self.complaints.append(f"{got.status} {got.url}"))

    def stay(self, route: Any) -> None:
        """Let requests to the site through, and note those that would leave it."""
        if route.request.url.startswith((self.address, "data:", "blob:")):
            route.continue_()
        else:
            self.complaints.append(f"asks for {route.request.url}")
            route.abort()

    def heard(self, message: Any) -> None:
        """Note what the console calls an error."""
        if message.type == "error":
            self.complaints.append(message.text)

    def open(self, name: str) -> Any:
        """Go to a page, and wait until its mathematics is set."""
        self.page.goto(f"{self.address}/{name}.html", wait_until="load")
        self.page.evaluate("() => window.MathJax && MathJax.startup ? MathJax.startup.promise : null")
        return self.page

    def switch(self, mode: str) -> None:
        """To light or dark, at once: a colour on its way from one to the other is not the one to be judged."""
        self.page.add_style_tag(content="* { transition: none !important }")
        self.page.evaluate(
            f"() => Object.assign(document.documentElement.dataset, {{ theme: '{mode}', mode: '{mode}' }})"
        )


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Visit]:
    visiting = Visit(browser, address)
    yield visiting
    visiting.context.close()


def test_there_is_a_front_page() -> None:
    assert "index" in PAGES and "glossary" in PAGES


@pytest.fixture(scope="module", params=ALL)
def loaded(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Visit]:
    """Each page in turn, loaded once for all that is asked of it."""
    visiting = Visit(browser, address)
    visiting.open(request.param)
    yield visiting
    visiting.context.close()


def test_a_page_loads_without_complaints(loaded: Visit) -> None:
    assert not loaded.complaints


def test_every_picture_is_there_and_has_an_alternative_text(loaded: Visit) -> None:
    pictures = loaded.page.evaluate(
        """async () => {
            const found = [...document.querySelectorAll('article img, main img')];
            for (const image of found) { image.loading = 'eager'; await image.decode().catch(() => null); }
            return found.map(i => [i.src.slice(0, 80), (i.alt || '').trim().length, i.naturalWidth]);
        }"""
    )
    for source, words, width in pictures:
        assert words > 0, f"no alternative text: {source}"
        assert width > 0, f"not there: {source}"


def test_all_mathematics_is_set(loaded: Visit) -> None:
    formulas, rendered = loaded.page.evaluate(
        "() => [document.querySelectorAll('.math').length, document.querySelectorAll('.math mjx-container').length]"
    )
    assert rendered >= formulas
    assert bool(formulas) == loaded.page.evaluate("() => !!window.MathJax")  # 1 MB only where it is needed
    assert loaded.page.locator("mjx-merror").count() == 0


def test_no_line_begins_with_the_full_stop_behind_a_formula(loaded: Visit) -> None:
    loaded.page.set_viewport_size(PHONE)
    torn = loaded.page.evaluate(
        """() => [...document.querySelectorAll('span.math')].flatMap(e => {
            const behind = e.nextSibling?.data ?? '', sign = document.createRange();
            if (!/^[.,;:!?)]/.test(behind)) return [];
            sign.setStart(e.nextSibling, 0);
            sign.setEnd(e.nextSibling, 1);
            return sign.getBoundingClientRect().left < e.getBoundingClientRect().left ? [behind] : [];
        })"""
    )
    assert not torn


def test_nothing_is_wider_than_a_phone(loaded: Visit) -> None:
    loaded.page.set_viewport_size(PHONE)
    wide = loaded.page.evaluate(
        """() => {
            const root = document.documentElement, scrolls = e => {
                for (let p = e; p && p !== document.body; p = p.parentElement)
                    if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(p).overflowX)) return true;
                return false;
            };
            return [...document.querySelectorAll('article *')]
                .filter(e => e.getBoundingClientRect().right > root.clientWidth + 1 && !scrolls(e))
                .map(e => e.tagName + '.' + e.className + ': ' + e.textContent.trim().slice(0, 60)).slice(0, 5)
                .concat(root.scrollWidth > root.clientWidth ? ['the page scrolls sideways: ' + root.scrollWidth] : []);
        }"""
    )
    assert not wide


def test_mathematics_is_set_where_there_is_some(visit: Visit) -> None:
    page = visit.open("paper_map")
    assert page.locator("mjx-container").count() > 5


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_the_card_of_symbols_is_printed_on_one_sheet(visit: Visit, paper: str) -> None:
    printed = visit.open("symbols").pdf(format=paper)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1


@pytest.mark.skipif(not CHAPTERS, reason="no chapter is there yet")
@pytest.mark.parametrize("name", CHAPTERS)
def test_a_solution_is_folded_and_opens_on_a_click(visit: Visit, name: str) -> None:
    page = visit.open(f"notebooks/{name}")
    folded = page.locator(".tag_solution")
    assert folded.count() >= 2
    code = folded.first.locator("pre").first
    assert not code.is_visible()
    folded.first.locator("summary").first.click()
    assert code.is_visible()


# How far the code of each box goes beyond it, with or without lines that are wrapped. A drawing of letters is no code
# and may be moved sideways on a phone.
HIDDEN = """wrapped => [...document.querySelectorAll(wrapped ? 'article div.highlight pre' : 'div.cell_input pre')]
    .filter(box => !box.closest('.cell_output'))
    .filter(box => innerWidth >= 600 || !box.closest('.highlight-text, .highlight-none')).map(box => {
        for (let p = box; p; p = p.parentElement) if (p.tagName === 'DETAILS') p.open = true;
        box.style.whiteSpace = wrapped ? '' : 'pre';
        return box.scrollWidth - box.clientWidth;
    })"""


@pytest.mark.skipif(not CHAPTERS, reason="no chapter is there yet")
@pytest.mark.parametrize("name", CHAPTERS)
def test_code_fits_into_its_box_and_is_wrapped_on_a_phone_and_on_paper(visit: Visit, name: str) -> None:
    page = visit.open(f"notebooks/{name}")
    for width in (1440, 1280, 1024):
        page.set_viewport_size({"width": width, "height": 900})
        assert max(page.evaluate(HIDDEN, False)) <= 1, width  # pixel, and no line is wrapped
        assert max(page.evaluate(HIDDEN, True)) <= 1, width
    page.set_viewport_size(PHONE)
    assert max(page.evaluate(HIDDEN, True)) <= 1
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 700, "height": 900})
    assert max(page.evaluate(HIDDEN, True)) <= 1
    shown = page.evaluate(
        "() => [...document.querySelectorAll('.cell_output pre')].map(b => b.scrollWidth - b.clientWidth)"
    )
    assert max(shown, default=0) <= 1


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_code_of_a_page_is_not_hidden(loaded: Visit, size: dict[str, int]) -> None:
    loaded.page.set_viewport_size(size)
    assert max(loaded.page.evaluate(HIDDEN, True), default=0) <= 1


@pytest.mark.skipif(not CHAPTERS, reason="no chapter is there yet")
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_a_figure_is_as_dark_as_its_page_whatever_the_system_is(browser: Any, address: str, mode: str) -> None:
    visit = Visit(browser, address, color_scheme="light" if mode == "dark" else "dark")
    visit.context.add_init_script(f"localStorage.setItem('mode', '{mode}'); localStorage.setItem('theme', '{mode}')")
    page = visit.open(f"notebooks/{CHAPTERS[0]}")
    figure = page.locator('.wm-figure img[src^="data:image/svg"]').first
    figure.scroll_into_view_if_needed()
    corner = Image.open(BytesIO(figure.screenshot())).convert("RGB").getpixel((8, 8))
    red, green, blue = map(
        int, re.findall(r"\d+", page.evaluate("() => getComputedStyle(document.body).backgroundColor"))[:3]
    )
    assert max(abs(c - p) for c, p in zip(corner, (red, green, blue), strict=True)) <= 5
    assert (max(corner) < 50) == (mode == "dark")
    visit.context.close()


@pytest.mark.skipif(not CHAPTERS, reason="no chapter is there yet")
def test_every_block_of_code_can_be_copied(visit: Visit) -> None:
    page = visit.open(f"notebooks/{CHAPTERS[0]}")
    page.wait_for_selector("button.copybtn", state="attached")
    blocks = page.evaluate("() => document.querySelectorAll('div.highlight pre').length")
    assert page.locator("button.copybtn").count() == blocks > 3


def test_dark_mode_switches_and_stays(browser: Any, address: str) -> None:
    visit = Visit(browser, address, color_scheme="light")
    page = visit.open("index")

    def background() -> str:
        return str(page.evaluate("() => getComputedStyle(document.body).backgroundColor"))

    shown = {page.evaluate("() => document.documentElement.dataset.theme"): background()}
    for _ in range(2):
        page.locator("button.theme-switch-button").first.click()
        shown[page.evaluate("() => document.documentElement.dataset.theme")] = background()
    assert set(shown) == {"light", "dark"} and shown["light"] != shown["dark"]
    chosen = page.evaluate("() => document.documentElement.dataset.mode")
    visit.open("glossary")
    assert page.evaluate("() => document.documentElement.dataset.mode") == chosen
    visit.context.close()
