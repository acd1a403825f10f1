"""What makes the website one that can be used: read by everyone, searched, filtered, downloaded, followed, printed."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import book_zoo
import pytest
from test_browser import (  # noqa: F401 (fixtures)
    ALL,
    CHAPTERS,
    DESK,
    HTML,
    PHONE,
    Visit,
    address,
    browser,
    pytestmark,
    visit,
)

ROOT = Path(__file__).parent.parent.parent
BUGS = {bug.name: bug for bug in book_zoo.bugs()}

# What students ask, and the pages of which one must be among the first three that are found.
QUESTIONS = {
    "why is my KL zero": "04_kl",
    "what are free nats": "04_kl",
    "posterior collapse": "04_kl",
    "what is the lambda return": "06_lambda_returns",
    "GAE": "06_lambda_returns",
    "is a time limit the same as death": "03_heads 08_trainer convention",
    "why do errors of a dream compound": "02_dynamics 05_imagination",
    "when is the memory reset": "09_memory convention",
    "straight-through gradient": "10_discrete_latents",
    "what is symlog": "11_rewards_of_any_size",
    "why two-hot instead of a squared error": "11_rewards_of_any_size",
    "REINFORCE baseline advantage": "07_actor_critic",
    "my policy stays random, entropy": "07_actor_critic troubleshooting",
    "slow critic, target network": "12_dreamer_v3",
    "how many updates per step, the train ratio": "08_trainer 12_dreamer_v3",
    "learning from pixels": "13_pixels",
    "bounded continuous actions": "14_continuous_actions",
    "cross-entropy method": "18_planet",
    "train on my own environment": "19_your_own_environment how_to_use",
    "how do I install it": "how_to_use",
    "does it solve CartPole": "results 08_trainer",
    "how long does a chapter take": "run_times index",
    "grade submissions of a class": "grading",
    "how to cite": "cite",
}


# --- For everyone -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*ALL, "search"])
def test_no_page_shuts_somebody_out(browser: Any, address: str, name: str) -> None:  # noqa: F811
    """No serious or critical violation that axe-core can find, in light and in dark."""
    axe = (files("axe_playwright_python") / "axe.min.js").read_text()
    reading = Visit(browser, address)
    page = reading.open(name)
    page.evaluate(axe)
    for mode in ("light", "dark"):
        reading.switch(mode)
        found = page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")["violations"]
        severe = [
            f"{fault['id']}: {node['html'][:120]}"
            for fault in found
            if fault["impact"] in ("serious", "critical")
            for node in fault["nodes"]
        ]
        assert not severe, (mode, severe)
    reading.context.close()


# --- The search -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_finds_its_page_among_the_first_three(visit: Visit, question: str) -> None:  # noqa: F811
    page = visit.page
    page.goto(f"{visit.address}/search.html?q={question.replace(' ', '+')}")
    page.wait_for_selector("ol.search li a")
    links = page.eval_on_selector_all("ol.search li", "items => items.map(i => i.querySelector('a').href)")
    first = [link.rpartition("/")[2].partition(".")[0] for link in links[:3]]
    assert set(QUESTIONS[question].split()) & set(first), first
    if question == next(iter(QUESTIONS)):
        assert first[0] == "04_kl"
    assert not visit.complaints


def test_an_excerpt_is_prose_with_the_words_that_were_asked_for(visit: Visit) -> None:  # noqa: F811
    page = visit.page
    page.goto(f"{visit.address}/search.html?q=new_zeros+import+torch")
    page.wait_for_selector("#search-results [role=status]")
    excerpts = page.locator("ol.search p").all_inner_texts()
    assert excerpts and not [text for text in excerpts if "import torch" in text]  # with which all code begins
    page.goto(f"{visit.address}/search.html?q=free+nats")
    assert {text.lower() for text in page.locator("ol.search mark").all_inner_texts()} >= {"free", "nats"}
    page.goto(f"{visit.address}/search.html?q=xyzzy")
    assert "Nothing was found" in page.inner_text("#search-results")


# --- The bug zoo ------------------------------------------------------------------------------------------------------


def test_the_zoo_can_be_narrowed_down_and_is_whole_without_scripts(browser: Any, address: str) -> None:  # noqa: F811
    reading = Visit(browser, address)
    page = reading.open("zoo")
    shown = "() => [...document.querySelectorAll('table.zoo tbody tr')].filter(r => r.offsetHeight > 0).length"
    assert page.evaluate(shown) == len(BUGS)
    page.select_option(".zoo-filter select", "kl")
    of_kl = sum(bug.breaks.startswith("kl.") for bug in BUGS.values())
    assert page.evaluate(shown) == of_kl and page.inner_text(".zoo-filter output") == f"{of_kl} of {len(BUGS)}"
    page.fill(".zoo-filter input", "collapse")
    assert 0 < page.evaluate(shown) < of_kl
    reading.context.close()
    plain = Visit(browser, address, java_script_enabled=False, viewport=PHONE)
    page = plain.page
    page.goto(f"{address}/zoo.html")
    row = page.locator("table.zoo tr", has=page.locator("#kl_reversed"))
    text = row.inner_text()
    bug = BUGS["kl_reversed"]
    assert bug.symptom in text and bug.innocent in text and "test_kl.py" in text
    summary = json.loads((ROOT / "book" / "results" / "mistakes" / "cartpole" / "summary.json").read_text())["bugs"]
    wrong, sound = (book_zoo.short(summary[name]["return"]["mean"]) for name in ("kl_reversed", "none"))
    assert f"return {wrong} ({sound})" in text  # both on ten seeds
    box = row.bounding_box()
    assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]
    plain.context.close()


# --- Weight, downloads, progress --------------------------------------------------------------------------------------


def test_the_front_page_is_light(visit: Visit) -> None:  # noqa: F811
    got: list[Any] = []
    visit.page.on("response", lambda response: got.append(response))
    visit.page.goto(f"{visit.address}/index.html", wait_until="networkidle")
    loaded = {response.url: len(response.body()) for response in got}
    of_page = {url: size for url, size in loaded.items() if "/_static/play/" not in url}
    assert sum(of_page.values()) < 600_000, sorted(of_page.items(), key=lambda item: -item[1])[:8]
    assert not [url for url in loaded if "fontawesome" in url or "mathjax" in url or "searchindex" in url]


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_is_downloaded_as_it_is_in_the_repository(visit: Visit, name: str) -> None:  # noqa: F811
    page = visit.open(f"notebooks/{name}")
    link = page.locator("a.btn-download-source-button").get_attribute("href")
    assert (
        page.request.get(f"{visit.address}/notebooks/{link}").text() == (ROOT / f"notebooks/{name}.ipynb").read_text()
    )


def test_a_finished_chapter_is_ticked_until_it_is_not(visit: Visit) -> None:  # noqa: F811
    first, second = CHAPTERS[:2]
    page = visit.open(f"notebooks/{first}")
    page.locator(".finish input").check()
    page = visit.open(f"notebooks/{second}")
    ticked = page.locator(".bd-sidebar-primary a.finished")
    assert ticked.count() == 1 and first in str(ticked.get_attribute("href"))
    assert not page.locator(".finish input").is_checked()
    assert json.loads(page.evaluate("() => localStorage.getItem('wm-finished')")) == [first[:2]]
    page = visit.open(f"notebooks/{first}")
    page.locator(".finish input").uncheck()
    assert page.locator("a.finished").count() == 0


# --- What every page has ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_page_has_a_licence_a_picture_and_one_title(visit: Visit, name: str) -> None:  # noqa: F811
    page = visit.page
    page.goto(f"{visit.address}/{name}.html", wait_until="domcontentloaded")
    assert "MIT licence" in page.inner_text("footer.bd-footer-content")
    assert page.locator("h1").count() == 1
    cover = page.get_attribute("meta[property='og:image']", "content")
    for picture in (cover, page.get_attribute("link[rel='icon'], link[rel='shortcut icon']", "href")):
        assert ((HTML / name).parent / str(picture)).resolve().exists()


def test_what_is_typed_into_the_search_begins_after_the_lens(visit: Visit) -> None:  # noqa: F811
    page = visit.open("cite")
    page.keyboard.press("Control+k")
    lens = page.locator("dialog .bd-search > :is(i, svg)").first.bounding_box()
    typed = page.locator("dialog .bd-search input")
    padding = typed.evaluate("box => parseFloat(getComputedStyle(box).paddingLeft)")
    assert lens["x"] + lens["width"] <= typed.bounding_box()["x"] + padding


def test_the_glossary_leads_to_its_letters_and_back_to_the_chapters(visit: Visit) -> None:  # noqa: F811
    page = visit.open("glossary")
    page.set_viewport_size(DESK)
    page.click(".letters a:text('P')")
    assert abs(page.locator("section#p h2").bounding_box()["y"]) < 150
    entry = page.locator("dl#term-prior")
    assert "notebooks/02_dynamics.html" in entry.inner_html()
    assert page.locator("section#glossary h3").count() == 0
