"""What notebooks share: the first cell fails or fixes, and what is shown carries its words and its bytes."""

import base64
import io
import re
from html.parser import HTMLParser
from importlib.metadata import version
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image

import wm_tutorial
from wm_tutorial import figures
from wm_tutorial.agent import Agent
from wm_tutorial.config import make_config
from wm_tutorial.course import notebook
from wm_tutorial.course.notebook import Shown
from wm_tutorial.data import Dream, Spaces
from wm_tutorial.errors import InputError
from wm_tutorial.play import page


class Read(HTMLParser):
    """The tags of a page, with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def picture(shown: Shown) -> tuple[str, bytes, str]:
    """The kind of the picture of a figure, its bytes, and its alternative text."""
    (attributes,) = (attributes for tag, attributes in Read(shown.as_html).tags if tag == "img")
    kind, data = str(attributes["src"]).split(";base64,")
    return kind.removeprefix("data:image/"), base64.b64decode(data, validate=True), str(attributes["alt"])


def moving(shown: Shown) -> tuple[Image.Image, str]:
    """A film, as a browser decodes it, and its alternative text."""
    kind, data, alt = picture(shown)
    image = Image.open(io.BytesIO(data))
    assert kind == str(image.format).lower() == "gif"
    return image, alt


# --- The first cell ---------------------------------------------------------------------------------------------------


def test_begin_tells_the_versions_and_the_device(capsys: pytest.CaptureFixture[str]) -> None:
    notebook.begin(wm_tutorial.__version__)
    printed = capsys.readouterr().out
    assert printed.startswith(f"wm_tutorial {version('wm_tutorial')}, Python 3.") and printed.endswith("device: cpu\n")
    assert f"torch {version('torch')}, numpy {version('numpy')}, gymnasium {version('gymnasium')};" in printed


def test_begin_starts_every_notebook_from_the_same_random_numbers_and_one_thread() -> None:
    def draw(**seed: int) -> tuple[float, float]:
        notebook.begin(wm_tutorial.__version__, **seed)
        return torch.rand(()).item(), float(np.random.rand())

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert draw() == draw(seed=0) and torch.get_num_threads() == 1
        assert set(draw()).isdisjoint(draw(seed=1))
    finally:
        torch.set_num_threads(threads)


def test_begin_refuses_another_version_of_the_package_and_says_what_to_do() -> None:
    with pytest.raises(InputError, match=r"written for wm_tutorial 0\.0\.9, but \S+ is installed\. Install the other"):
        notebook.begin("0.0.9")


# --- Figures and films ------------------------------------------------------------------------------------------------


def test_a_figure_is_drawn_in_the_style_of_the_house_and_leaves_the_reader_s_alone() -> None:
    mine = dict(mpl.rcParams)
    with notebook.figure(height=2.0) as (figure, axes):
        axes.plot([0.0, 1.0], color=figures.BLUE)
    shown = notebook.show(figure, caption="It rises.", alt="A line from 0 to 1.")
    assert dict(mpl.rcParams) == mine
    kind, data, _ = picture(shown)
    assert kind == "svg+xml" and data.decode() == figures.to_svg(figure)
    drawn = ElementTree.fromstring(data)
    assert drawn.get("viewBox") == "0 0 504 144"  # 7 by 2 inches of 72 points
    paper, sheet = drawn.find(".//{*}path[@d]"), drawn[0].text or ""
    assert paper is not None and paper.get("d") == "M 0 144 L 504 144 L 504 0 L 0 0 z"  # opaque: read on any page
    assert f".{paper.get('class')}{{fill:{figures.PAPER}}}" in sheet and f"stroke:{figures.BLUE}" in sheet


def test_a_figure_is_dark_where_the_page_is_and_shown_without_a_stylesheet_too() -> None:
    with notebook.figure() as (figure, _):
        pass
    shown = notebook.show(figure, "So dark.", "Nothing, in the colours of the page.").as_html
    assert re.search(
        r"<style>\.wm-figure img\{color-scheme:light\}:is\(([^)]+)\) \.wm-figure img\{color-scheme:dark\}", shown
    )
    safe = re.sub("<style>.*?</style>", "", shown)  # what JupyterLab leaves of an untrusted notebook
    assert safe.startswith('<figure class="wm-figure"') and picture(Shown(safe, ""))[0] == "svg+xml"


def test_nothing_is_cut_off_and_a_margin_is_left() -> None:
    with notebook.figure(1, 2, height=2.0, sharey=True) as (figure, axes):
        for one in axes:
            one.set(title="gjy" * 5, xlabel="gjy (s)", ylabel="gjy (m)")
    notebook.show(figure, "Two.", "Two.")
    drawn = io.BytesIO()
    with figures.house_style():
        figure.savefig(drawn, format="png", dpi=120)  # as it was shown, in pixels
    pixels = np.asarray(Image.open(drawn).convert("RGB")).astype(int)
    inside = (np.abs(pixels - pixels[0, 0]).max(-1) > 8).nonzero()
    for place, length in zip(inside, pixels.shape[:2], strict=True):
        assert place.min() >= 0.04 * 120 and place.max() < length - 0.04 * 120


def test_rows_columns_and_options_are_those_of_subplots() -> None:
    with notebook.figure(2, 3, height=4.0, width_ratios=[2, 1, 1], sharex=True) as (figure, axes):
        axes[0, 0].set_xlim(0, 7)
    assert axes.shape == (2, 3) and axes[1, 0].get_xlim() == (0, 7)
    assert axes[0, 0].get_gridspec().get_width_ratios() == [2, 1, 1]
    assert figure.get_size_inches().tolist() == [7.0, 4.0]


def test_words_of_a_figure_are_words_whatever_signs_are_in_them() -> None:
    with notebook.figure() as (figure, _):
        pass
    shown = notebook.show(figure, caption='a < b & "c"', alt='KL > 0.1, "so" & <b>')
    page = Read(shown.as_html)
    assert [tag for tag, _ in page.tags] == ["style", "figure", "img", "figcaption"]
    assert page.text[1:] == ['a < b & "c"'] and picture(shown)[2] == 'KL > 0.1, "so" & <b>'
    assert shown._repr_mimebundle_(include=None, exclude=None) == {
        "text/html": shown.as_html,
        "text/plain": 'a < b & "c"\n[KL > 0.1, "so" & <b>]',
    }


def test_a_figure_of_the_package_brings_its_own_words_unless_told_otherwise() -> None:
    figure = figures.open_loop(DREAM)
    assert picture(notebook.show(figure, "A dream."))[2] == figures.alt_text(figure) != ""
    assert picture(notebook.show(figure, "A dream.", alt="Mine."))[2] == "Mine."


@pytest.mark.parametrize(("caption", "alt"), [("", "what it shows"), ("what to see", " "), ("what to see", None)])
def test_a_figure_without_words_is_refused(caption: str, alt: str | None) -> None:
    with notebook.figure() as (figure, _):
        pass
    with pytest.raises(InputError, match="needs a caption and an alternative text: give caption="):
        notebook.show(figure, caption, alt)


T = 5
DREAM = Dream(
    np.arange(T * 2, dtype=np.float32).reshape(T, 2), np.zeros((T, 2)), *np.ones((4, T)), context=2, environment=""
)


def test_a_film_has_a_frame_for_each_row_and_its_own_words() -> None:
    shown = notebook.show_film(DREAM, "It moves.", fps=5.0)
    image, alt = moving(shown)
    assert (image.format, image.n_frames, image.info["duration"]) == ("GIF", T, 200)
    assert alt.startswith("Film, one frame for each row.") and Read(shown.as_html).text[-1] == "It moves."


def test_any_other_gif_is_shown_byte_for_byte() -> None:
    gif = io.BytesIO()
    Image.new("P", (3, 2)).save(gif, "GIF")
    shown = notebook.show_gif(gif.getvalue(), "Small.", "Six black pixels.")
    assert f"data:image/gif;base64,{base64.b64encode(gif.getvalue()).decode()}" in shown.as_html
    assert moving(shown)[1] == "Six black pixels."


# --- Tables -----------------------------------------------------------------------------------------------------------


def test_a_table_rounds_fractions_lines_numbers_up_at_the_right_and_escapes_words() -> None:
    shown = notebook.table(["what", "nats"], [["KL(q<p)", 1.23456], ["long name", np.float32(0.5)], ["count", 12345]])
    assert shown.as_text == "what        nats\nKL(q<p)     1.23\nlong name    0.5\ncount      12345"
    page = Read(shown.as_html)
    assert page.text == ["what", "nats", "KL(q<p)", "1.23", "long name", "0.5", "count", "12345"]
    assert [tag for tag, _ in page.tags] == ["table", "tr", "th", "th", *["tr", "td", "td"] * 3]
    sides = re.findall("text-align: (left|right)", shown.as_html)
    assert sides == ["left", "right"] * 4


def test_a_column_with_a_word_among_its_numbers_begins_at_the_left() -> None:
    assert notebook.table(["a", "b"], [[1, 1.5], ["-", 10]]).as_text == "a    b\n1  1.5\n-   10"


def test_a_table_without_rows_has_its_header() -> None:
    assert notebook.table(["a", "b"], []).as_text == "a  b"


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(InputError, match=r"The header has 2 columns, and this row 3: \[3, 4, 5\]"):
        notebook.table(["a", "b"], [[1, 2], (3, 4, 5)])


def test_an_agent_to_play_with_is_whole_in_its_cell() -> None:
    agent = Agent(Spaces("vector", (4,), "discrete", 2, (0.0,), (1.0,)), make_config("guide"))
    shown = notebook.play(agent)
    ((tag, attributes),) = Read(shown.as_html).tags
    assert tag == "iframe"
    assert attributes["srcdoc"] == page(agent)
    assert attributes["title"]
    assert "browser" in shown.as_text


def test_without_scripts_an_agent_to_play_with_is_a_film() -> None:
    agent = Agent(Spaces("vector", (4,), "discrete", 2, (0.0,), (1.0,)), make_config("guide"))
    ((_, attributes),) = Read(notebook.play(agent, DREAM).as_html).tags
    still = attributes["srcdoc"].partition("<noscript>")[2].partition("</noscript>")[0]
    shown = Read(notebook.show_film(DREAM, "caption").as_html).tags
    (image,) = (given for tag, given in Read(still).tags if tag == "img")
    assert (image["src"], image["alt"]) == next((given["src"], given["alt"]) for tag, given in shown if tag == "img")
    assert "main { display: none; }" in still
