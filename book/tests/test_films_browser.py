"""Films of the chapters in Chromium: stopped, moved through, the same as recorded, and at home in the dark."""

import base64
import html
import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence
from test_browser import CHAPTERS, PHONE, Visit, address, browser, pytestmark  # noqa: F401 (fixtures)

from wm_tutorial.course import notebook

NOTEBOOKS = Path(__file__).parent.parent.parent / "notebooks"
PICTURE = re.compile(r'<img src="data:image/([\w+]+);base64,([^"]+)" alt="([^"]*)"')
SHOWN = "canvas => canvas.toDataURL('image/png').split(',')[1]"
PAPER = (18, 18, 18)  # of a figure on a dark page


def films(name: str) -> list[tuple[str, bytes, str]]:
    """What a chapter shows that moves: its kind, the file, and what it says to those who cannot see it."""
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]
    shown = "".join("".join(out.get("data", {}).get("text/html", "")) for c in cells for out in c.get("outputs", []))
    found = [(kind, base64.b64decode(file), html.unescape(alt)) for kind, file, alt in PICTURE.findall(shown)]
    return [film for film in found if film[0] == "gif" or b"@keyframes" in film[1]]


FILMS = {name: found for name in CHAPTERS if (found := films(name))} if CHAPTERS else {}


def opened(visit: Visit, name: str) -> list[Any]:
    """The players of a chapter, in the order of the page."""
    page = visit.open(f"notebooks/{name}")
    total, seen = len(FILMS[name]), 0
    while seen < total:  # each is made as it comes near
        page.evaluate("() => document.querySelectorAll('article .wm-figure').forEach(f => f.scrollIntoView())")
        for figure in page.locator("article .wm-figure").all():
            if figure.is_visible():  # what stands in for an instrument where scripts are off is not
                figure.scroll_into_view_if_needed()
                page.wait_for_timeout(30)
        assert page.locator(".not-played").count() == 0
        if (found := page.locator(".film").count()) == seen:
            page.wait_for_timeout(500)
        seen = found
    return list(page.locator(".film").all())


def move(film: Any, place: float) -> None:
    """Drag the bar of a film to a place, as a share of all of it."""
    film.locator("input").evaluate(
        "(bar, share) => { bar.value = Math.floor(share * bar.max); bar.dispatchEvent(new Event('input')); }", place
    )


def canvas(film: Any) -> np.ndarray:
    """What a film of pictures shows: (height, width, 3)."""
    image = Image.open(BytesIO(base64.b64decode(film.locator("canvas").evaluate(SHOWN)))).convert("RGB")
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("name", FILMS)
def test_a_film_shows_what_was_recorded_and_is_as_dark_as_its_page(browser: Any, address: str, name: str) -> None:  # noqa: F811
    visit = Visit(browser, address, color_scheme="light")
    players = opened(visit, name)
    assert len(players) == len(FILMS[name])
    for film, (kind, file, alt) in zip(players, FILMS[name], strict=True):
        assert film.locator("[role=img]").get_attribute("aria-label") == alt
        if kind != "gif":
            continue
        with Image.open(BytesIO(file)) as recorded:
            last = recorded.n_frames - 1  # type: ignore[attr-defined]
            for number in (0, last // 3, last):
                move(film, number / last + 1e-9)
                assert film.locator("output").inner_text() == f"{number + 1} of {last + 1}"
                recorded.seek(number)
                visit.page.evaluate("() => { document.documentElement.dataset.theme = 'light'; }")
                light = canvas(film)
                np.testing.assert_array_equal(light, np.asarray(recorded.convert("RGB")))
                visit.page.evaluate("() => { document.documentElement.dataset.theme = 'dark'; }")
                dark = canvas(film)
                assert np.abs(dark[0, 0] - PAPER).max() <= 3
                assert (dark.min(axis=2) > 200).mean() < 0.1  # no slab: only letters and lines are white
                words = light.max(axis=2) < 90
                flipped = words & (np.abs(dark - light).max(axis=2) > 60)  # all but what lies in pictures
                assert not flipped.any() or dark[flipped].mean() > 140
    assert not visit.complaints
    visit.context.close()


def test_pictures_in_a_film_keep_their_colours_in_the_dark(browser: Any, address: str) -> None:  # noqa: F811
    visit = Visit(browser, address, color_scheme="light")
    (film,) = opened(visit, "13_pixels")
    move(film, 0.66)
    light = canvas(film)
    visit.page.evaluate("() => { document.documentElement.dataset.theme = 'dark'; }")
    dark = canvas(film)
    same = (light == dark).all(axis=2)
    assert same[70:260, 25:190].all()  # reality, as the agent is given it
    assert (light.max(axis=2) < 5).sum() > 10_000 and not (dark.min(axis=2) > 200)[70:260, 25:680].sum() > 3000
    visit.context.close()


def test_a_film_is_stopped_moved_through_and_goes_on(browser: Any, address: str) -> None:  # noqa: F811
    visit = Visit(browser, address, viewport=PHONE)
    for name in ("00_start_here", "04_kl"):  # the first is a GIF, the first of the other an SVG
        film = opened(visit, name)[0]
        film.scroll_into_view_if_needed()
        button, bar = film.locator("button"), film.locator("input")
        assert button.inner_text() == "Pause"
        before = bar.input_value()
        visit.page.wait_for_timeout(600)
        assert bar.input_value() != before
        button.focus()
        visit.page.keyboard.press("Enter")
        assert button.inner_text() == "Play"
        before = bar.input_value()
        visit.page.wait_for_timeout(400)
        assert bar.input_value() == before
        move(film, 0.1)
        first = film.locator(".film-picture").screenshot()
        bar.focus()
        for _ in range(1 if name == "00_start_here" else 20):
            visit.page.keyboard.press("ArrowRight")
        assert float(bar.input_value()) > float(bar.get_attribute("max")) / 10
        assert film.locator(".film-picture").screenshot() != first
        assert re.search(r"\d( s)? of \d", str(bar.get_attribute("aria-valuetext")))
        button.click()
        visit.page.wait_for_timeout(400)
        assert button.inner_text() == "Pause"
        box = film.locator(".film-bar").bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]
    assert not visit.complaints
    visit.context.close()


def test_who_wants_no_motion_sees_the_end_of_a_film_at_rest(browser: Any, address: str) -> None:  # noqa: F811
    visit = Visit(browser, address, reduced_motion="reduce")
    for name in ("00_start_here", "04_kl"):
        for film in opened(visit, name):
            bar = film.locator("input")
            film.scroll_into_view_if_needed()
            visit.page.wait_for_timeout(300)
            assert film.locator("button").inner_text() == "Play"
            assert float(bar.input_value()) >= float(bar.get_attribute("max")) - 20
        film.locator("button").click()
        visit.page.wait_for_timeout(500)
        assert float(bar.input_value()) < float(bar.get_attribute("max"))
    visit.context.close()


def test_an_episode_follows_the_page_and_is_where_its_bar_says(browser: Any, address: str) -> None:  # noqa: F811
    visit = Visit(browser, address, color_scheme="light")
    film = opened(visit, "04_kl")[0]
    where = """film => new DOMMatrix(getComputedStyle(
        film.querySelector('.film-picture').shadowRoot.querySelector('.cart')).transform).e"""
    move(film, 0.0)
    assert abs(film.evaluate(where)) < 5  # points: an episode begins in the middle
    places = set()
    for share in (0.1, 0.3, 0.5):
        move(film, share)
        places.add(round(film.evaluate(where), 1))
    assert len(places) == 3
    for mode, bright in (("dark", False), ("light", True)):
        visit.page.evaluate(f"() => {{ document.documentElement.dataset.theme = '{mode}'; }}")
        picture = Image.open(BytesIO(film.locator(".film-picture").screenshot())).convert("RGB")
        assert (min(picture.getpixel((8, 8))) > 200) == bright
    visit.context.close()


def test_without_scripts_a_film_is_the_image_that_it_was(browser: Any, address: str) -> None:  # noqa: F811
    visit = Visit(browser, address, java_script_enabled=False)
    visit.page.goto(f"{address}/notebooks/00_start_here.html")
    image = visit.page.locator("article img[src^='data:image/gif']").first
    assert image.is_visible() and image.bounding_box()["width"] > 300
    visit.context.close()


def test_in_a_dark_jupyterlab_a_film_is_dark_and_its_night_stays_as_it_is(browser: Any) -> None:  # noqa: F811
    """The page says that it is dark, and the system that it is light."""
    gif = next(file for kind, file, _ in FILMS["05_imagination"] if kind == "gif")
    shown = notebook.show_gif(gif, "A dream.", "A dream.").as_html
    seen = {}
    for light in ("true", "false"):
        page = browser.new_page(color_scheme="light")
        page.set_content(f'<body data-jp-theme-light="{light}">{shown}</body>')
        page.evaluate("() => document.querySelector('.wm-figure img').decode()")
        image = Image.open(BytesIO(page.locator(".wm-figure img").screenshot())).convert("RGB")
        seen[light] = [np.array(image.getpixel(place)) for place in ((350, 240), (100, 75), (372, 75))]
        page.close()
    (paper, day, _), (turned, evening, night) = seen["true"], seen["false"]
    assert min(paper) > 240 and max(turned) < 30 and min(day) > 220 and max(evening) < 50
    frames = ImageSequence.Iterator(Image.open(BytesIO(gif)))  # which of them is shown depends on when one looks
    colors = np.array([frame.convert("RGB").getpixel((372, 75)) for frame in frames])
    assert np.abs(colors - night).max(1).min() <= 3
