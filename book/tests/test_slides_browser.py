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

# Each slide in turn with all its fragments: its number, its size, and the elements of it that stick out.
MEASURE = """() => Reveal.getSlides().map((slide, n) => {
    const at = Reveal.getIndices(slide);
    Reveal.slide(at.h, at.v, 99);
    const scale = Reveal.getScale(), box = slide.getBoundingClientRect();
    const size = Reveal.getConfig(), out = [];
    for (const one of slide.querySelectorAll("*")) {
        const it = one.getBoundingClientRect();
        if (!it.width || one.closest("mjx-assistive-mml") || one.closest("svg") !== one.closest("mjx-container svg")) continue;
        if (it.right > box.left + size.width * scale + 1 || it.bottom > box.top + size.height * scale + 1 || it.left < box.left - 1
            || one.matches("pre, td, figure") && one.scrollWidth > one.clientWidth + 1) out.push(one.tagName);
    }
    const images = [...slide.querySelectorAll("img")].filter((image) => !image.naturalWidth || !image.alt).length;
    return { n, height: Math.round(box.height / scale), words: slide.textContent.trim().length, out, images,
        heading: Boolean(slide.querySelector("h1, h2")) };
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
    assert len(slides) > 10 and not shown.asked and not shown.failed
    faults = [one for one in slides if one["height"] > 700 or one["out"] or one["images"] or not one["heading"]]
    assert not faults
    assert shown.evaluate("() => document.querySelectorAll('mjx-container').length") >= 3
    assert not shown.evaluate("() => document.querySelectorAll('mjx-merror, [data-mjx-error]').length")


def test_the_answer_to_a_prediction_is_not_seen_before_one_asks_for_it(shown: Any) -> None:
    hidden = """() => Reveal.getSlides().filter((slide) => slide.textContent.includes("Predict, then run")).map((slide) => {
        const at = Reveal.getIndices(slide), fragments = [...slide.querySelectorAll(".fragment")];
        const seen = () => fragments.map((one) => getComputedStyle(one).visibility === "visible");
        Reveal.slide(at.h, at.v, -1);
        const before = seen();
        Reveal.next();
        return [before.length, before.some(Boolean), seen()[0]];
    })"""
    asked = shown.evaluate(hidden)
    assert len(asked) >= 2
    assert all(count >= 1 and not before and after for count, before, after in asked)
