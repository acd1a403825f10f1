"""How the website looks: one typeface, headings in an order that can be seen, one colour of links."""

import pytest
from test_browser import ALL, CHAPTERS, DESK, PHONE, Visit, address, browser, pytestmark, visit  # noqa: F401 (fixtures)

TYPEFACE = "Atkinson Hyperlegible Next"
# Of every link that is neither a button nor a card nor a term of the glossary: its colour.
LINKS = """() => [...document.querySelectorAll('article a')]
    .filter(a => a.offsetHeight && a.textContent.trim())
    .filter(a => !a.matches('.headerlink, .sd-btn, .sd-card-title a, [href*="#term-"], .only-light, .only-dark'))
    .map(a => getComputedStyle(a.querySelector('code, span') ?? a).color)"""


@pytest.mark.parametrize("name", ["index", *CHAPTERS[4:5], "zoo"])
def test_words_are_set_in_the_typeface_that_comes_with_the_book(visit: Visit, name: str) -> None:  # noqa: F811
    page = visit.open(name if name in ALL else f"notebooks/{name}")
    loaded = "() => document.fonts.ready.then(all => [...all].filter(f => f.status === 'loaded').map(f => f.family))"
    assert any(TYPEFACE in family for family in page.evaluate(loaded))
    for part in ("article p", "article h1", ".bd-sidebar-primary a", "footer p"):
        assert TYPEFACE in page.locator(part).first.evaluate("e => getComputedStyle(e).fontFamily").partition(",")[0]
    assert not visit.complaints  # among them requests that leave the site


@pytest.mark.skipif(len(CHAPTERS) < 5, reason="the chapter is not there yet")
def test_the_order_of_headings_can_be_seen(visit: Visit) -> None:  # noqa: F811
    page = visit.open(f"notebooks/{CHAPTERS[4]}")
    page.set_viewport_size(DESK)
    size = "e => parseFloat(getComputedStyle(e).fontSize)"
    sizes = [page.locator(f"article {level}").first.evaluate(size) for level in ("h1", "h2", "h3")]
    text = page.locator("article p").first.evaluate(size)
    assert all(larger > 1.15 * smaller for larger, smaller in zip(sizes, [*sizes[1:], text], strict=True))
    weight = "e => Number(getComputedStyle(e).fontWeight)"
    weights = [page.locator(f"article {level}").first.evaluate(weight) for level in ("h1", "h2", "h3")]
    assert weights == sorted(weights, reverse=True) and weights[-1] >= 600


@pytest.mark.parametrize("name", ["index", *CHAPTERS[4:5], "zoo", "bibliography", "api/kl"])
def test_links_have_one_colour(visit: Visit, name: str) -> None:  # noqa: F811
    page = visit.open(name if name in ALL else f"notebooks/{name}")
    for mode in ("light", "dark"):
        visit.switch(mode)
        found = page.evaluate(LINKS)
        assert found and len(set(found)) == 1, (mode, set(found))


def test_no_sign_of_another_font_lies_on_the_title_of_a_warning(visit: Visit) -> None:  # noqa: F811
    title = visit.open("api/kl").locator(".admonition.warning > .admonition-title").first
    assert title.evaluate("e => getComputedStyle(e, '::after').content") == "none"


@pytest.mark.skipif("notebooks/07_actor_critic" not in ALL, reason="the chapter is not there yet")
def test_what_is_folded_says_whether_it_is_code_or_what_it_shows(visit: Visit) -> None:  # noqa: F811
    page = visit.open("notebooks/07_actor_critic")
    for kind, within in (("code", ".cell_input"), ("figure", ".wm-figure"), ("table", "table"), ("output", ".output")):
        folds = page.locator(f"details.hide:has(> summary:has-text('Show the {kind}'))")
        assert folds.count() == folds.filter(has=page.locator(within)).count(), kind
        assert folds.count() > (2 if kind in ("code", "figure") else 0), kind
    assert page.locator(".cell summary:has-text('content'), .cell summary:has-text('source')").count() == 0


@pytest.mark.skipif("notebooks/15_bug_zoo" not in ALL, reason="the chapter is not there yet")
def test_what_goes_on_at_the_side_fades_there_until_its_end_is_seen(visit: Visit) -> None:  # noqa: F811
    page = visit.open("notebooks/15_bug_zoo")
    page.wait_for_timeout(500)
    assert page.locator("article .goes-on:visible").count() == 0  # on a desk all is seen
    page.set_viewport_size(PHONE)
    page.wait_for_timeout(500)
    fading = page.locator("article .goes-on:visible")
    assert fading.count() > 3
    goes_on = "box => box.clientWidth > 200 && box.scrollWidth > box.clientWidth + box.scrollLeft"
    assert all(box.evaluate(goes_on) for box in fading.element_handles())
    figure = page.locator("article figure.goes-on:visible").first.element_handle()
    figure.evaluate("box => { box.scrollLeft = box.scrollWidth; }")
    page.wait_for_timeout(300)
    assert "goes-on" not in figure.get_attribute("class")
