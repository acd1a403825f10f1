"""The instruments of the chapters in Chromium: they compute, follow keys, fingers and the page, and stand still."""

import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "tests"))
from course import chapters, code_cells, read
from instruments import data_of, name_of, shown_page
from test_browser import CHAPTERS, PHONE, Visit, address, browser, pytestmark, visit  # noqa: F401 (fixtures)

from wm_tutorial.returns import lambda_returns

# How many pixels of an instrument are beyond its frame
CUT_OFF = """() => [document.documentElement, document.body]
    .flatMap(e => [e.scrollWidth - innerWidth, e.scrollHeight - innerHeight])"""
LIVE = ".wm-instrument.wm-live iframe"
WITH_ONE = ("01_encoder", "02_dynamics", "04_kl", "05_imagination", "06_lambda_returns", "10_discrete_latents")
HERE = [name for name in WITH_ONE if name in CHAPTERS]
EACH = pytest.mark.parametrize("name", HERE)


def frames(page: Any) -> list[Any]:
    """The instruments of a page, once they run."""
    page.wait_for_selector(LIVE)
    page.wait_for_timeout(300)
    return [frame for frame in page.frames if frame.evaluate("() => typeof Instruments !== 'undefined'")]


@EACH
def test_an_instrument_stands_in_for_its_picture_and_fits(browser: Any, address: str, name: str) -> None:  # noqa: F811
    for size in ({"width": 1280, "height": 900}, PHONE):
        reading = Visit(browser, address, viewport=size)
        page = reading.open(f"notebooks/{name}")
        for frame, place in zip(frames(page), page.locator(LIVE).all(), strict=True):
            box = place.bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= size["width"] and box["height"] > 200
            cut = frame.evaluate(CUT_OFF)
            assert max(cut) <= 1, "something is cut off"
            assert not place.locator("xpath=preceding-sibling::figure").is_visible()
        assert not reading.complaints
        reading.context.close()


@EACH
def test_without_scripts_and_on_paper_the_picture_stands_there(browser: Any, address: str, name: str) -> None:  # noqa: F811
    plain = Visit(browser, address, java_script_enabled=False)
    plain.page.goto(f"{address}/notebooks/{name}.html")
    assert plain.page.locator(".wm-instrument figure").first.is_visible()
    assert not plain.page.locator(".wm-instrument iframe").first.is_visible()
    plain.context.close()
    reading = Visit(browser, address)
    page = reading.open(f"notebooks/{name}")
    frames(page)
    page.emulate_media(media="print")
    assert page.locator(".wm-instrument figure").first.is_visible()
    assert not page.locator(".wm-instrument iframe").first.is_visible()
    reading.context.close()


@EACH
def test_an_instrument_shuts_nobody_out_and_is_as_dark_as_the_page(visit: Visit, name: str) -> None:  # noqa: F811
    axe = (files("axe_playwright_python") / "axe.min.js").read_text()
    page = visit.open(f"notebooks/{name}")
    for frame in frames(page):
        frame.evaluate(axe)
        for mode in ("dark", "light"):
            visit.switch(mode)
            page.wait_for_timeout(200)
            assert frame.evaluate("() => document.documentElement.dataset.theme") == mode
            found = frame.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")["violations"]
            assert not [fault["id"] for fault in found if fault["impact"] in ("serious", "critical")], mode


def test_lanes_and_returns_are_those_of_the_package(visit: Visit) -> None:  # noqa: F811
    (frame,) = frames(visit.open("notebooks/06_lambda_returns"))
    frame.evaluate("() => { panel.set('gamma', 0); panel.set('lam', 0.5); }")
    numbers = frame.evaluate("() => panel.numbers")
    reward, value = torch.tensor([[1.0, 5.0, 1.0, 2.0, 0.0]]), torch.tensor([[4.0, 8.0, 6.0, 12.0, 8.0]])
    expected = lambda_returns(reward, torch.full_like(reward, 0.5), value, 0.5)[0].tolist()
    assert numbers["returns"] == pytest.approx(expected, abs=1e-6) and numbers["mixed"] == pytest.approx(
        expected[0], abs=1e-6
    )


def test_the_dart_picks_what_the_prior_of_the_chapter_says(visit: Visit) -> None:  # noqa: F811
    (cell,) = [one for one in code_cells(read(*chapters(["10"]))) if name_of(one)]
    data = data_of(shown_page(cell))
    (frame,) = frames(visit.open("notebooks/10_discrete_latents"))
    for name, one in data["latents"].items():
        ends, sides = torch.tensor(one["ends"], dtype=torch.float64), torch.tensor(one["sides"], dtype=torch.float64)
        inside = (sides.abs() < data["half"]).double() @ ends.diff(prepend=torch.zeros(1))  # (N,)
        frame.get_by_label(name, exact=True).check()
        throw, dart = len(sides), 0.605
        frame.evaluate(f"() => {{ panel.set('throw', {throw}); panel.set('dart', {dart}); }}")
        got = frame.evaluate("() => panel.numbers")
        assert got["piece"] == int((ends <= dart).sum()) and got["side"] == sides[-1, got["piece"]].item()
        assert got["between"] == pytest.approx(inside[-1].item(), abs=1e-6)
        assert got["over"] == pytest.approx(inside.mean().item(), abs=1e-6)
        slider = frame.get_by_label("the dart of one variable")
        slider.press("ArrowLeft")
        assert frame.evaluate("() => panel.values.dart") == pytest.approx(0.6)


def test_keys_move_a_slider_and_a_finger_drags_a_bell(browser: Any, address: str) -> None:  # noqa: F811
    reading = Visit(browser, address, has_touch=True)
    frame = frames(reading.open("notebooks/04_kl"))[0]
    slider = frame.get_by_label("mean of p")
    slider.focus()
    before = frame.evaluate("() => panel.values.meanP")
    slider.press("ArrowRight")
    assert frame.evaluate("() => panel.values.meanP") == pytest.approx(before + 0.1)
    assert slider.get_attribute("aria-valuetext") == f"{before + 0.1:.1f}"
    handle = frame.locator("circle.handle").first  # the top of p
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    reading.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    reading.page.mouse.down()
    reading.page.mouse.move(box["x"] + 60, box["y"] + 40)
    reading.page.mouse.up()
    assert frame.evaluate("() => panel.values.meanP") > before + 0.5
    numbers, values = frame.evaluate("() => [panel.numbers, panel.values]")
    assert numbers["forwards"] == pytest.approx(
        frame.evaluate("(v) => Maths.gaussianKl(v.meanQ, v.stdQ, v.meanP, v.stdP)", values)
    )
    frame.get_by_role("button", name="Start again").click()
    assert frame.evaluate("() => panel.values.meanP") == before
    reading.context.close()


def test_nothing_moves_before_it_is_asked_to_and_all_that_moves_can_be_paused(visit: Visit) -> None:  # noqa: F811
    page = visit.open("notebooks/05_imagination")
    (frame,) = frames(page)
    row = "() => panel.values.row"
    began = frame.evaluate(row)
    page.wait_for_timeout(600)
    assert frame.evaluate(row) == began
    button = frame.get_by_role("button", name="Play the film")
    button.click()
    page.wait_for_timeout(800)
    pause = frame.get_by_role("button", name="Pause")
    pause.click()
    now = frame.evaluate(row)
    assert now > began
    page.wait_for_timeout(500)
    assert frame.evaluate(row) == now
