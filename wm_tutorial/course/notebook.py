"""What the notebooks of the course share: their first cell, and figures, films and tables with a caption.

from wm_tutorial.course import notebook

notebook.begin("0.2.0")
with notebook.figure(height=3.0) as (figure, axes):
    axes.plot(steps, error)
notebook.show(figure, caption="The error grows.", alt="Error against steps, from 0.1 at step 1 to 2.3 at step 15.")
"""

import base64
import html
import platform
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from wm_tutorial import figures, instruments
from wm_tutorial.agent import Agent
from wm_tutorial.data import Dream
from wm_tutorial.errors import InputError
from wm_tutorial.figures import WIDTH, Plot
from wm_tutorial.play import page
from wm_tutorial.runs.run import Run

PAD = 0.08  # inches around each plot, where the edge of a figure can be seen
# An SVG in a page is as dark as the page says it is, and where the page says nothing as dark as the system. JupyterLab
# says it; what the website, exported notebooks, VS Code and Colab know is said here. Untrusted notebooks lose this.
DARK = ":is([data-theme=dark],[data-jp-theme-light=false],.vscode-dark,[theme=dark])"
FOLLOW = f"<style>.wm-figure img{{color-scheme:light}}{DARK} .wm-figure img{{color-scheme:dark}}</style>"
# A GIF has the colours that it has. Over it lies a pane that turns what is behind it into its opposite: paper becomes
# #121212, ink bright, and blue stays blue. Holes in it leave pictures as they are. `film.js` of the website does more.
NIGHT_FALLS = (
    f"<style>.wm-night{{display:none}}@media screen{{{DARK} .wm-figure img+.wm-night{{display:block;position:absolute;"
    f"inset:0;backdrop-filter:invert(.93) hue-rotate(180deg)}}{DARK} .wm-figure div:has(>img+.wm-night){{"
    "clip-path:inset(1px)}}</style>"  # the pane leaves a share of a pixel free
)
# An instrument is seen once it runs (`instruments/kit.js` says so), and its picture until then and on paper.
LIVE = (
    "<style>@media screen{.wm-instrument.wm-live iframe{display:block!important}"
    ".wm-instrument.wm-live figure{display:none!important}}</style>"
)
HIDDEN = "display: none; width: 100%; max-width: 760px; border: 0"
CAPTION = "margin-top: 0.4em; font-size: 0.9em"


def begin(written_for: str, seed: int = 0) -> None:
    """The first cell of a chapter: print versions and device, use one thread, and start from a fixed seed.

    Raises:
        InputError: if the package installed is not the version that the chapter was written for.
    """
    if (installed := version("wm_tutorial")) != written_for:
        raise InputError(
            f"This notebook was written for wm_tutorial {written_for}, but {installed} is installed. Install the other "
            f"one, or open the notebooks that came with {installed}."
        )
    torch.set_num_threads(1)  # the same numbers on every machine, whatever its number of cores
    torch.manual_seed(seed)
    np.random.seed(seed)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "gymnasium"))
    print(f"wm_tutorial {installed}, Python {platform.python_version()}, {libraries}; device: cpu")
    sys.stdout.flush()


@contextmanager
def figure(rows: int = 1, columns: int = 1, height: float = 3.0, **options: Any) -> Iterator[tuple[Plot, Any]]:
    """A figure of book width in the style of the house, for the duration of a `with` block that draws into it.

    height   in inches; the width is 7
    options  of matplotlib's `Figure.subplots`, such as `sharey=True` or `width_ratios=[2, 1]`

    Gives the figure and what `subplots` gives: one Axes, or an array of them.
    """
    with figures.house_style():
        drawn = Plot(figsize=(WIDTH, height), layout=ConstrainedLayoutEngine(w_pad=PAD, h_pad=PAD))
        yield drawn, drawn.subplots(rows, columns, **options)


@dataclass(frozen=True)
class Shown:
    """Something with a caption that a notebook shows.

    as_html   for notebooks and the book
    as_text   for a terminal, and for those who cannot see
    """

    as_html: str
    as_text: str

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.as_html, "text/plain": self.as_text}


def show(figure: Figure, caption: str, alt: str | None = None) -> Shown:
    """A figure with its caption and alternative text, as the last expression of a cell.

    alt  what the figure shows, with its main numbers; those of `wm_tutorial.figures` bring their own

    Raises:
        InputError: if the caption or the alternative text is missing.
    """
    drawn = figures.to_svg(figure).encode()
    return _captioned(drawn, "svg+xml", caption, figures.alt_text(figure) if alt is None else alt)


def show_film(dream: Dream, caption: str, fps: float = 10.0) -> Shown:
    """The film of a dream with its caption, as the last expression of a cell."""
    gif, alt = _film(dream, fps)
    return _captioned(gif, "gif", caption, alt)


def _film(dream: Dream, fps: float) -> tuple[bytes, str]:
    """The film of a dream as a GIF, and its alternative text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dream.gif"
        alt = figures.film(dream, path, fps)
        return path.read_bytes(), alt


def show_gif(gif: bytes, caption: str, alt: str) -> Shown:
    """Any other animated GIF with its caption and alternative text, as the last expression of a cell."""
    return _captioned(gif, "gif", caption, alt)


def show_svg(svg: str, caption: str, alt: str) -> Shown:
    """A film of `wm_tutorial.figures` that is an SVG, with its caption and alternative text."""
    return _captioned(svg.encode(), "svg+xml", caption, alt)


def play(agent: Agent | Run, dream: Dream | None = None) -> Shown:
    """An agent's dream beside reality, to be played with, as the last expression of a cell.

    dream  one of the agent, whose film is shown where scripts are off; without it a sentence says that they are

    The page lies in the notebook, with all that it needs. An agent in a world of pictures takes some hundred kilobytes,
    one of CartPole about 150; a film as much again.

    Raises:
        InputError: if its world cannot be played in a browser.
    """
    film = None if dream is None else _film(dream, 10.0)
    still = film and (f"data:image/gif;base64,{base64.b64encode(film[0]).decode()}", film[1])
    text = page(agent.agent if isinstance(agent, Run) else agent, film=still)
    height = 590 if 'class="wm wm-picture"' in text else 480
    return Shown(
        f'<iframe srcdoc="{html.escape(text)}" style="width: 100%; max-width: 880px; height: {height}px; border: 0" '
        'title="Reality and the agent\'s dream"></iframe>',
        "An agent's dream beside reality, to be played with in a browser.",
    )


def instrument(name: str, data: Mapping[str, Any] | None = None) -> Shown:
    """An instrument of `wm_tutorial.instruments`, to be moved by hand, as the last expression of a cell.

    The page lies in the notebook with all that it needs. Before it stands its opening as a figure, which it replaces
    where scripts are run; what is printed or read on a page without scripts shows the figure.

    Raises:
        InputError: if there is no such instrument, or its data cannot be written down or are too many.
    """
    text, opening = instruments.page(name, data), instruments.still(name, data)
    title = instruments.INSTRUMENTS[name]
    picture = show(opening, caption=f"{title}: how it opens. In Jupyter and on the website it can be moved.")
    return Shown(
        f'{LIVE}<div class="wm-instrument">{picture.as_html}'
        f'<iframe srcdoc="{html.escape(text)}" title="{html.escape(title)}" style="{HIDDEN}"></iframe></div>',
        picture.as_text,
    )


def _captioned(image: bytes, kind: str, caption: str, alt: str) -> Shown:
    if not caption.strip() or not alt.strip():
        raise InputError(
            "A figure needs a caption and an alternative text: give caption='what to see in it' and "
            "alt='what it shows, with its main numbers'."
        )
    data = base64.b64encode(image).decode()
    style = "width: 100%; height: auto" + ("; display: block" if kind == "gif" else "")
    shown = f'<img src="data:image/{kind};base64,{data}" alt="{html.escape(alt)}" style="{style}">'
    if kind == "gif":
        night = f'<div class="wm-night" style="clip-path: {figures.turned(image)}"></div>'
        shown = f'<div style="position: relative">{shown}{night}</div>'
    return Shown(
        f"{NIGHT_FALLS if kind == 'gif' else FOLLOW}"
        f'<figure class="wm-figure" style="margin: 1em 0; max-width: {100 * WIDTH:.0f}px">{shown}'
        f'<figcaption style="{CAPTION}">{html.escape(caption)}</figcaption></figure>',
        f"{caption}\n[{alt}]",
    )


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Shown:
    """A table, as the last expression of a cell; numbers with a fraction get three digits, the rest stays as it is.

    Columns of numbers end at the right, others begin at the left.

    Raises:
        InputError: if a row has another length than the header.
    """
    if wrong := [row for row in rows if len(row) != len(header)]:
        raise InputError(f"The header has {len(header)} columns, and this row {len(wrong[0])}: {list(wrong[0])}")
    sides = ["right" if all(map(_is_number, column)) else "left" for column in zip(*rows, strict=True)]
    sides = sides or ["left"] * len(header)
    lines = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return Shown(
        f"<table>{''.join(_html_row(line, sides, 'td' if n else 'th') for n, line in enumerate(lines))}</table>",
        "\n".join(_text_row(line, sides, widths) for line in lines),
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number)


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float | np.floating) else str(value)


SUBSCRIPT = re.compile(r"\b([A-Za-z])_(?:\{([^{}]+)\}|\(([^()]+)\)|([a-z]|\d+)(?!\w))")


def with_subscripts(text: str) -> str:
    """HTML in which v_t and v_{t+1} are what they mean: a letter with something small below it."""
    return SUBSCRIPT.sub(lambda found: f"<i>{found[1]}</i><sub>{found[2] or found[3] or found[4]}</sub>", text)


def _html_row(cells: Sequence[str], sides: Sequence[str], tag: str) -> str:
    texts = (with_subscripts(html.escape(cell)) for cell in cells)
    row = (f'<{tag} style="text-align: {side}">{text}</{tag}>' for text, side in zip(texts, sides, strict=True))
    return f"<tr>{''.join(row)}</tr>"


def _text_row(cells: Sequence[str], sides: Sequence[str], widths: Sequence[int]) -> str:
    justify = {"left": str.ljust, "right": str.rjust}
    row = (justify[side](cell, width) for cell, side, width in zip(cells, sides, widths, strict=True))
    return "  ".join(row).rstrip()
