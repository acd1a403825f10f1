"""The page of an instrument, whole in one text."""

import html
import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from wm_tutorial.errors import InputError
from wm_tutorial.figures.style import BLUE, DARK, FAINT, GREEN, GREY, INK, ORANGE, PAPER, PURPLE, SEEN, VERMILION
from wm_tutorial.figures.svg import shade

HERE = Path(__file__).parent

INSTRUMENTS = {
    "two_bells": "Two bells, two divergences",
    "lambda_returns": "Lambda, gamma and the critic",
    "slopes": "Three ways to bound a number",
    "open_loop": "Context and horizon",
    "fork": "A dart at the fork",
    "two_hot": "A number as two weights",
    "temperature": "The temperature of a dream",
    "narrowing": "A plan that narrows",
}
COLORS = {
    "ink": INK, "soft": GREY, "faint": FAINT, "paper": PAPER, "seen": SEEN,
    "blue": BLUE, "vermilion": VERMILION, "green": GREEN, "orange": ORANGE, "purple": PURPLE,
}  # fmt: skip
DIGITS = 5  # of a fraction in the data: more cannot be seen
LARGEST = 40_000  # characters of data: a notebook is read over a network, too


def page(name: str, data: Mapping[str, Any] | None = None) -> str:
    """An instrument as a page that needs no other file and no network.

    Args:
        name: one of INSTRUMENTS.
        data: what its file `name.js` says it reads: numbers, rounded to 5 digits, strings, lists and dicts.

    Raises:
        InputError: if there is no such instrument, a number is not finite, or the data take more than 40 kB.
    """
    if name not in INSTRUMENTS:
        raise InputError(f"There is no instrument {name!r}; there are {', '.join(INSTRUMENTS)}.")
    return Template((HERE / "page.html").read_text()).substitute(
        title=html.escape(INSTRUMENTS[name]),
        colors=_colors(),
        style=(HERE / "kit.css").read_text(),
        scripts="\n".join(_script(part) for part in ("maths", "kit", name)),
        name=name,
        data=_written(name, data or {}),
    )


def _script(part: str) -> str:
    """A file of JavaScript without its indentation and comments, which a notebook need not carry."""
    lines = (line.strip() for line in (HERE / f"{part}.js").read_text().splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


def _written(name: str, data: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(rounded(data), allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"The data of the instrument {name} cannot be written as JSON ({error}): give finite numbers, strings, "
            "lists and dicts; tensor.tolist() makes a list."
        ) from error
    if len(text) > LARGEST:
        raise InputError(
            f"The data of the instrument {name} take {len(text):,} characters, more than {LARGEST:,}: give fewer."
        )
    return text.replace("</", "<\\/")


def rounded(value: Any) -> Any:
    """Fractions with DIGITS digits, as a page holds them."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list | tuple) else value


def _colors() -> str:
    """The palette of the figures as custom properties, light and dark; words in colours that can be read."""
    modes = {":root": False, ':root[data-theme="dark"]': True}
    lines = []
    for selector, dark in modes.items():
        said = [f"color-scheme: {'dark' if dark else 'light'}"]
        for name, color in COLORS.items():
            said.append(f"--{name}: {DARK[color] if dark else color}")
            if name not in ("ink", "soft", "faint", "paper", "seen"):
                said.append(f"--{name}-word: {shade(color, 'word', dark)}")
        lines.append(f"{selector} {{ {'; '.join(said)}; }}")
    return "\n".join(lines)
