"""The player in Chromium: it computes what PyTorch computes, and keys, fingers and eyes do what they say."""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "tests"))
from test_browser import HTML, PHONE, Visit, address, browser, pytestmark, visit  # noqa: F401 (fixtures)
from test_play import AGENTS, LIVE, life, made

from wm_tutorial.play import page, weights
from wm_tutorial.play.whole import HERE

STATE = "({ open: player.open, steps: player.world.steps, held: player.held, closed: player.closedFor, said: %s })"
NOW = f"() => {STATE % 'document.querySelector(`[data-wm=said]`).textContent'}"


@pytest.mark.parametrize("kind", AGENTS)
def test_the_browser_computes_what_pytorch_computes(kind: str, visit: Visit) -> None:  # noqa: F811
    agent = made(*AGENTS[kind])
    given, answers = life(agent)
    given["file"] = base64.b64encode(weights(agent, half=False)).decode()
    script = LIVE.replace("console.log(JSON.stringify({ answers, left: uniform.length + normal.length }));", "")
    model = (HERE / "model.js").read_text()
    visit.page.set_content("<p>nothing</p>")
    got = visit.page.evaluate(f"(given) => {{ {model}\n{script}\nreturn answers; }}", given)
    np.testing.assert_allclose(got, answers, rtol=1e-4, atol=1e-4)


@pytest.fixture
def playing(visit: Visit, tmp_path: Path) -> Any:  # noqa: F811
    """The page of the front, alone, standing still."""
    file = HTML / "_static" / "play" / "cartpole.html"
    visit.page.goto(f"{visit.address}/_static/play/{file.name}")
    visit.page.evaluate("() => player.run(false)")
    return visit.page


def step(page: Any, times: int = 1) -> dict[str, Any]:
    """Let so many steps pass; returns what there is then."""
    page.evaluate(f"() => {{ for (let i = 0; i < {times}; i++) player.step(); }}")
    now: dict[str, Any] = page.evaluate(NOW)
    return now


def test_the_agent_of_the_front_page_balances_the_pole(playing: Any) -> None:
    playing.evaluate("() => { player.world.random = () => 0.5; player.reset(); }")
    assert "pole stands" in step(playing, 500)["said"]


def test_an_arrow_acts_as_long_as_it_is_held(playing: Any) -> None:
    playing.focus("[data-wm=stage]")
    playing.keyboard.down("ArrowRight")
    playing.evaluate("() => player.run(false)")
    assert playing.evaluate(NOW)["held"] == 1
    before = playing.evaluate("() => player.world.state[1]")
    step(playing, 3)
    assert playing.evaluate("() => player.world.state[1]") > before + 0.5  # m/s: pushed to the right three times
    assert playing.evaluate("() => player.last") == 1
    playing.keyboard.up("ArrowRight")
    assert playing.evaluate(NOW)["held"] is None
    box = playing.locator("[data-action=ArrowLeft]").bounding_box()
    playing.mouse.move(box["x"] + 5, box["y"] + 5)
    playing.mouse.down()
    assert playing.evaluate(NOW)["held"] == 0
    playing.mouse.up()
    assert playing.evaluate(NOW)["held"] is None


def test_closed_eyes_see_nothing_of_reality(playing: Any) -> None:
    def dreamed(moved: float) -> list[float]:
        """What is dreamed after ten steps to the right, with reality moved aside in the first of them."""
        found: list[float] = playing.evaluate(
            """(moved) => {
                player.agent.normal = () => 0;
                player.world.random = () => 0.5;
                player.reset();
                for (let i = 0; i < 5; i++) player.step();
                player.eyes(EYES);
                player.held = 1;
                player.world.state = player.world.state.map((x, i) => x + (i === 0 ? moved : 0));
                for (let i = 0; i < 10; i++) player.step();
                player.held = null;
                return [...player.dreamed];
            }""".replace("EYES", eyes),
            moved,
        )
        return found

    eyes = "false"
    assert dreamed(0.0) == dreamed(1.0)
    eyes = "true"
    assert abs(dreamed(0.0)[0] - dreamed(1.0)[0]) > 0.5
    playing.evaluate("() => player.reset()")
    step(playing, 2)
    playing.click("[data-wm=eyes]")
    assert step(playing, 3) | {"said": ""} == {"open": False, "steps": 5, "held": None, "closed": 3, "said": ""}
    assert playing.locator("[data-wm=eyes]").get_attribute("aria-pressed") == "true"


def test_a_fall_is_told_and_begins_anew(playing: Any) -> None:
    playing.evaluate("() => { player.held = 0; }")
    said = ""
    for _ in range(60):
        said = step(playing)["said"]
        if "In reality" in said:
            break
    assert "the pole leans too far" in said
    steps = playing.evaluate(NOW)["steps"]
    assert step(playing, 60)["steps"] < steps + 5  # it has begun again


def test_who_wants_no_motion_gets_none(browser: Any, address: str) -> None:  # noqa: F811
    still = Visit(browser, address, reduced_motion="reduce")
    still.page.goto(f"{address}/_static/play/cartpole.html")
    still.page.wait_for_timeout(500)
    assert still.page.evaluate(NOW)["steps"] == 0
    assert still.page.inner_text("[data-wm=pause]") == "Go on"
    still.page.click("[data-wm=pause]")
    still.page.wait_for_timeout(500)
    assert still.page.evaluate(NOW)["steps"] > 2
    assert not still.complaints
    still.context.close()


def test_another_agent_takes_over(visit: Visit) -> None:  # noqa: F811
    page_ = visit.page
    page_.goto(f"{visit.address}/_static/play/mistakes.html")
    page_.evaluate("() => player.run(false)")
    angle = "() => { player.world.random = () => 1; player.reset(); return player.dreamed[2]; }"
    assert abs(page_.evaluate(angle) - 0.05) < 0.02  # it sees the lean that there is
    page_.select_option("[data-wm=agent]", "posterior blind")
    assert abs(page_.evaluate(angle) - 0.05) > 0.02  # and this one does not
    assert page_.locator("[data-wm=agent] option").count() == 9


@pytest.mark.parametrize("size", [{"width": 1440, "height": 900}, {"width": 1024, "height": 768}, PHONE])
def test_the_front_page_begins_with_chapter_00_and_the_dream(browser: Any, address: str, size: Any) -> None:  # noqa: F811
    front = Visit(browser, address, viewport=size)
    opened = front.open("index")
    start = opened.locator("a.start")
    assert start.get_attribute("href") == "notebooks/00_start_here.html"
    frame = opened.locator("iframe.play")
    assert start.bounding_box()["y"] < frame.bounding_box()["y"] < 0.6 * size["height"]
    opened.wait_for_timeout(1500)
    inside = opened.frames[1]
    high = inside.evaluate("() => document.body.scrollHeight")
    assert abs(frame.bounding_box()["height"] - high) <= 2  # nothing is cut off, nothing scrolls
    assert inside.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    assert inside.evaluate("() => player.world.steps + player.lines.length") > 2  # it plays
    for mode in ("dark", "light"):
        opened.evaluate(f"() => document.documentElement.dataset.theme = '{mode}'")
        opened.wait_for_timeout(300)
        assert inside.evaluate("() => document.documentElement.dataset.theme") == mode
        sky = inside.evaluate(
            "() => [...player.find('real').getContext('2d').getImageData(9, 9, 1, 1).data.slice(0, 3)]"
        )
        assert max(sky) < 120 if mode == "dark" else min(sky) > 200
    family = inside.evaluate("() => getComputedStyle(document.body).fontFamily")
    assert family.startswith('"Atkinson') and inside.evaluate("f => document.fonts.check('15px ' + f)", family)
    assert not front.complaints
    front.context.close()


def test_a_page_works_from_a_folder_without_a_server(browser: Any, address: str, tmp_path: Path) -> None:  # noqa: F811
    path = tmp_path / "dream.html"
    path.write_text(page(made(*AGENTS["pictures with a memory"])))
    context = browser.new_context()
    alone, complaints = context.new_page(), []
    alone.on("pageerror", lambda error: complaints.append(str(error)))
    alone.goto(path.as_uri())
    alone.wait_for_timeout(1000)
    assert json.dumps(alone.evaluate(NOW)["open"]) == "true"
    assert not complaints
    context.close()


def test_without_scripts_there_is_a_film(browser: Any, address: str) -> None:  # noqa: F811
    plain = Visit(browser, address, java_script_enabled=False)
    plain.page.goto(f"{address}/_static/play/cartpole.html")
    film = plain.page.locator("noscript img")
    assert film.is_visible() and film.bounding_box()["height"] > 300
    assert not plain.page.locator("main").is_visible() and not plain.complaints
    plain.context.close()
