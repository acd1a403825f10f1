"""Slides from the notebooks: what is on them, what is not, and that they need nothing from a network.

How they look is tested in a browser, in book/tests/test_slides_browser.py.
"""

import re
from pathlib import Path

import pytest
import slides
from course import chapters, code_cells, has, markdown, read
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

EACH = pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem[:2])


def kinds(deck: NotebookNode) -> list[str]:
    return [cell.metadata.slideshow.slide_type for cell in deck.cells]


def pictures(notebook: NotebookNode) -> list[str]:
    """What a notebook shows as figures with captions, solutions and checks aside, in their order."""
    cells = [cell for cell in code_cells(notebook) if not any(has(cell, tag) for tag in ("exercise", "solution"))]
    shown = [output.get("data", {}).get("text/html", "") for cell in cells for output in cell.outputs]
    return [html for html in shown if "<figure" in html]


@EACH
def test_a_deck_has_every_figure_equation_and_prediction_and_no_solution(path: Path) -> None:
    notebook = read(path)
    deck = slides.deck(notebook)
    told = markdown(deck)
    assert pictures(deck) == pictures(notebook)
    assert len(slides.PREDICT.findall(told)) == markdown(notebook).count("Predict, then run") >= 2
    before = [cell.source.partition("### Exercise")[0] for cell in notebook.cells if cell.cell_type == "markdown"]
    text = slides.DETAILS.sub("", "\n\n".join(before)).partition("\n## Quiz")[0]
    for equation in re.findall(r"\$\$.+?\$\$", text, re.DOTALL):
        assert equation in told
    assert "### Exercise" not in told and "Hint 1" not in told and "solved_" not in told
    assert not any(cell.source for cell in code_cells(deck)), "code stays in the notebook"
    assert "](" not in re.sub(r"\$[^$]+\$|`[^`]+`", "", told), "nothing to be followed in a room"


@EACH
def test_the_answer_is_a_fragment_behind_its_question_and_every_slide_has_a_heading(path: Path) -> None:
    deck = slides.deck(read(path))
    answered = 0
    for n, cell in enumerate(deck.cells):
        if cell.metadata.slideshow.slide_type in ("slide", "subslide"):
            assert re.match(r"##? \S", cell.source)
        if slides.PREDICT.search(cell.source):
            until = next(m for m in range(n + 1, len(deck.cells)) if "slide" in kinds(deck)[m])
            behind = deck.cells[n + 1 : until]
            assert behind and {one.metadata.slideshow.slide_type for one in behind} == {"fragment"}
            assert behind[-1].cell_type == "markdown" and behind[-1].source
            answered += 1
    assert answered >= 2


def test_what_an_answer_shows_comes_after_it() -> None:
    figure = new_output("display_data", {"text/html": '<figure class="wm-figure"><img alt="a"></figure>'})
    printed = new_output("stream", name="stdout", text="0.5\n")
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# 99 · Title\n\n**What you will be able to do**\n\n- a\n\n9 minutes"),
            new_markdown_cell("## One\n\nText.\n\n**Predict, then run.** Which one?"),
            new_code_cell("secret()", outputs=[printed, figure]),
            new_markdown_cell("<details><summary>What happened</summary>\n\nThis one.\n\n</details>\n\n## Quiz"),
            new_markdown_cell("$$x$$"),
            new_markdown_cell("## What you built\n\n- a thing\n\n## References"),
        ]
    )
    deck = slides.deck(notebook)
    assert kinds(deck) == ["slide", "slide", "-", "fragment", "fragment", "subslide", "-", "slide", "-"]
    assert [cell.source for cell in deck.cells if cell.cell_type == "markdown"] == [
        "# 99 · Title\n\n**What you will be able to do**\n\n- a", "## One", "**Predict, then run.** Which one?",
        "This one.", "## One", "## What you built", "- a thing",
    ]  # fmt: skip
    assert deck.cells[3].outputs == [printed] and deck.cells[6].outputs == [figure]


def test_what_is_narrow_is_shown_in_large_letters() -> None:
    def tags(**output: str) -> list[str]:
        kind = {"text/html": output["html"]} if "html" in output else None
        shown = new_output("display_data", kind) if kind else new_output("stream", name="stdout", text=output["text"])
        return list(slides._output(shown).metadata.tags)

    assert tags(text="x" * slides.LARGE + "\n") == ["large"] and tags(text="x\n" + "x" * (slides.LARGE + 1)) == []
    row = "<tr><th>a name</th><td class='n'><b>{}</b></td></tr>"
    wide = "x" * (slides.LARGE - len("a name") - 2 * 3)
    assert tags(html="<table>" + row.format(1) + row.format(wide) + "</table>") == ["large"]
    assert tags(html="<table>" + row.format(1) + row.format(f"{wide}x") + "</table>") == []
    assert tags(html="<figure><img></figure>") == []


@pytest.mark.parametrize(
    ("text", "last", "left"),
    [
        ("One. Two is longer. Three.", False, "One."),
        ("One. Two is longer. Three.", True, "Three."),
        ("A sentence too long for it. Two.", False, "A sentence too long for it."),
        ("One.\n\nTwo.", False, "One.\n\nTwo."),
        ("One.\n\nTwo, which is long.", False, "One."),
        ("One.\n\nTwo.", True, "One.\n\nTwo."),
        ("- first\n- second\n- third", False, "- first"),
        ("It is. Look here:", False, "It is."),
        ("By 0.5 $x$. Next", False, "By 0.5 $x$."),
    ],
)  # fmt: skip
def test_texts_are_cut_after_whole_sentences(text: str, last: bool, left: str) -> None:
    assert slides.shortened(text, 12, last) == left


@pytest.mark.parametrize("path", chapters(["04", "18"]), ids=lambda path: path.stem[:2])
def test_a_page_asks_for_nothing_but_the_files_beside_it(path: Path) -> None:
    page = slides.page(read(path), path.stem)
    asked = re.findall(r"""<(?:script|link|img|iframe)[^>]*?(?:src|href)="([^"]+)""", page)
    assert {one for one in asked if not one.startswith("data:")} == {
        "slides.css", "mathjax/tex-svg.js", "reveal/dist/reveal.js", "reveal/dist/reveal.css",
        "reveal/dist/theme/white.css",
    }  # fmt: skip
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//|@import|url\(["']?(?:https?:)?//""", page)
    assert f"width: {slides.SIZE[0]}, height: {slides.SIZE[1]}" in page


def test_a_package_that_is_missing_is_named() -> None:
    with pytest.raises(SystemExit, match="no_such_package is not installed; `make slides` installs"):
        slides._package("no_such_package")


def test_what_the_pages_ask_for_is_copied_beside_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("reveal.js", "reveal.css", "theme/white.css", "theme/fonts/source-sans-pro/a.woff"):
        place = tmp_path / "sphinx_revealjs" / "_static" / "revealjs" / "dist" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    (tmp_path / "sphinx_revealjs" / "_static" / "revealjs" / "LICENSE").touch()
    (tmp_path / "sphinx-mathjax-offline" / "static" / "mathjax").mkdir(parents=True)
    (tmp_path / "sphinx-mathjax-offline" / "static" / "mathjax" / "tex-svg.js").touch()
    monkeypatch.setattr(slides, "_package", tmp_path.joinpath)
    slides.main(["06"], tmp_path / "out")
    page = (tmp_path / "out" / "06_lambda_returns.html").read_text()
    for asked in re.findall(r"""<(?:script|link)[^>]*?(?:src|href)="([^"]+)""", page):
        assert (tmp_path / "out" / asked).is_file(), asked
    assert 'href="06_lambda_returns.html">06 · Lambda returns' in (tmp_path / "out" / "index.html").read_text()
