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

# Each slide in turn with all its fragments: its number and height, what sticks out of it or is cut, what lies below the
# arrows and the number, and what it lacks.
MEASURE = """() => Reveal.getSlides().map((slide, n) => {
    const at = Reveal.getIndices(slide), size = Reveal.getConfig();
    Reveal.slide(at.h, at.v, 99);
    const scale = Reveal.getScale(), box = slide.getBoundingClientRect(), out = [], below = [];
    const right = box.left + size.width * scale + 1, bottom = box.top + size.height * scale + 1;
    const cut = (one) => {
        const style = getComputedStyle(one), wide = one.scrollWidth > one.clientWidth + 1;
        const tall = one.scrollHeight > one.clientHeight + 1;
        const whole = one.matches("pre, td, th, figure");
        return one.clientWidth && ((wide && (whole || style.overflowX !== "visible"))
            || (tall && style.overflowY !== "visible"));
    };
    const seen = [];
    for (const one of slide.querySelectorAll("*")) {
        const it = one.getBoundingClientRect();
        if (one.closest("mjx-assistive-mml, script, style") || !it.width) continue;
        if (cut(one) || it.right > right || it.bottom > bottom || it.left < box.left - 1) out.push(one.tagName);
        if (one.matches("img, canvas, svg, iframe")) seen.push(it);
        for (const text of [...one.childNodes].filter((part) => part.nodeType === 3 && part.data.trim())) {
            const range = document.createRange();
            range.selectNodeContents(text);
            seen.push(...range.getClientRects());
        }
    }
    for (const over of document.querySelectorAll(".controls, .slide-number")) {
        const it = over.getBoundingClientRect();
        below.push(...seen.filter((one) => one.right > it.left && one.bottom > it.top && one.left < it.right));
    }
    const images = [...slide.querySelectorAll("img")];
    const lacking = images.filter((image) => !image.naturalWidth || !image.alt).length;
    const heading = Boolean(slide.querySelector("h1, h2"));
    const bare = seen.length < 2;
    return { n, height: Math.round(box.height / scale), out, below: below.length, lacking, heading, bare };
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
    for one in slides:
        assert one == {**one, "out": [], "below": 0, "lacking": 0, "heading": True, "bare": False}
        assert one["height"] <= 700, one
    raw = "() => [...document.querySelectorAll('.slides :is(p, li)')].filter(e => e.textContent.includes('$')).length"
    assert shown.evaluate(raw) == 0  # all mathematics is set; one chapter has none
    loose = "() => [...document.querySelectorAll(':not(.whole) > mjx-container')].map(e => e.nextSibling?.data ?? '')"
    signs = tuple(".,;:!?)")  # no line begins with those behind a formula
    assert not [behind for behind in shown.evaluate(loose) if behind.startswith(signs)]
    assert not shown.evaluate("() => document.querySelectorAll('mjx-merror, [data-mjx-error]').length")


def test_the_answer_to_a_prediction_is_not_seen_before_one_asks_for_it(shown: Any) -> None:
    asked = shown.evaluate(ASK)
    assert len(asked) >= 2 and all(not before and after for before, after in asked)


@pytest.mark.parametrize("shown", DECKS[:1], indirect=True)
def test_one_arrow_leads_through_all_slides(shown: Any) -> None:
    there, seen = shown.evaluate("() => Reveal.getTotalSlides()"), set()
    for _ in range(6 * there):  # a slide, and the fragments on it
        seen.add(shown.evaluate("() => Reveal.getSlidePastCount()"))
        shown.keyboard.press("ArrowRight")
    assert seen == set(range(there))
