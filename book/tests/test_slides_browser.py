"""The slides as a teacher shows them, in Chromium: `make slides`, then `make browser`. Nothing runs out of a slide."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_browser import CHROMIUM, browser, playwright  # noqa: F401 (a fixture)

SLIDES = Path(os.environ.get("WM_SLIDES", Path(__file__).parent.parent.parent / "build" / "slides"))
DECKS = sorted(path.stem for path in SLIDES.glob("[0-9][0-9]_*.html"))
if not DECKS:
    MISSING = "there are none; `make slides` writes them"
elif playwright is None or CHROMIUM is None:
    MISSING = "Chromium or playwright is not installed; see `make browser` and `make chromium`"
else:
    MISSING = ""
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"The slides were NOT tested in a browser: {MISSING}.")

# Each slide in turn with all its fragments: its number and height, what sticks out of it, and what it lacks.
MEASURE = """() => Reveal.getSlides().map((slide, n) => {
    const at = Reveal.getIndices(slide), size = Reveal.getConfig();
    Reveal.slide(at.h, at.v, 99);
    const scale = Reveal.getScale(), box = slide.getBoundingClientRect(), out = [];
    const right = box.left + size.width * scale + 1, bottom = box.top + size.height * scale + 1;
    for (const one of slide.querySelectorAll("*")) {
        const it = one.getBoundingClientRect();
        const hides = one.matches("pre, td, figure, .jp-OutputArea-output") && one.scrollWidth > one.clientWidth + 1;
        if (one.closest("mjx-assistive-mml") || !it.width) continue;
        if (hides || it.right > right || it.bottom > bottom || it.left < box.left - 1) out.push(one.tagName);
    }
    const lacking = [...slide.querySelectorAll("img")].filter((image) => !image.naturalWidth || !image.alt).length;
    const heading = Boolean(slide.querySelector("h1, h2"));
    return { n, height: Math.round(box.height / scale), out, lacking, heading };
})"""
ASK = """() => Reveal.getSlides().filter((one) => one.textContent.includes("Predict, then run")).map((slide) => {
    const at = Reveal.getIndices(slide), fragments = [...slide.querySelectorAll(".fragment")];
    const seen = () => fragments.map((one) => one.classList.contains("visible"));
    Reveal.slide(at.h, at.v, -1);
    const before = seen();
    Reveal.next();
    return [before.some(Boolean), seen()[0]];
})"""


@pytest.fixture(params=DECKS)
def shown(request: pytest.FixtureRequest, browser: Any) -> Iterator[Any]:  # noqa: F811
    """A deck, opened as a file, with whatever it asked for from elsewhere."""
    page = browser.new_page(viewport={"width": 960, "height": 700})
    page.set_default_timeout(120_000)
    page.asked, page.failed = [], []
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or page.asked.append(request.url))
    page.on("pageerror", lambda error: page.failed.append(str(error)))
    page.on("requestfailed", lambda request: page.failed.append(request.url))
    page.goto((SLIDES / f"{request.param}.html").as_uri())
    page.wait_for_function("() => window.Reveal && Reveal.isReady()")
    yield page
    page.close()


def test_every_slide_fits_and_nothing_is_asked_of_a_network(shown: Any) -> None:
    slides = shown.evaluate(MEASURE)
    assert len(slides) >= 10 and not shown.asked and not shown.failed
    faults = [one for one in slides if one["height"] > 700 or one["out"] or one["lacking"] or not one["heading"]]
    assert not faults
    assert shown.evaluate("() => document.querySelectorAll('mjx-container').length") >= 3
    assert not shown.evaluate("() => document.querySelectorAll('mjx-merror, [data-mjx-error]').length")


def test_the_answer_to_a_prediction_is_not_seen_before_one_asks_for_it(shown: Any) -> None:
    asked = shown.evaluate(ASK)
    assert len(asked) >= 2 and all(not before and after for before, after in asked)
