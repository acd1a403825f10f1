"""What all figures share: one palette for light and dark pages, one style, alternative text, and how they are written.

They never touch pyplot, your backend or your rcParams. A notebook shows them at book width; `save` writes them to disk.

Where a dream is shown, blue is what happened, vermilion is what the model believes, and dotted grey is what one gets
without a model.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from wm_tutorial.errors import InputError, OutputError

# Okabe & Ito 2008, "Color Universal Design": told apart with every common form of colour blindness.
BLUE, VERMILION, GREEN, ORANGE, PURPLE = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7"
INK, GREY, FAINT = "#1F2A37", "#667080", "#D5D9DE"  # text, secondary text, grid
PAPER, SEEN, NIGHT = "#FDFCFA", "#E8EDF2", "#1B2240"  # opaque, so that figures can be read on any page
TRUTH, MODEL, PERSISTENCE = BLUE, VERMILION, GREY

# What takes the place of each on a dark page (`svg.py`). The five colours are told apart better than those above.
DARK = {
    BLUE: "#559EFF", VERMILION: "#F55100", GREEN: "#66ECD1", ORANGE: "#F6B53E", PURPLE: "#BA739A",
    INK: "#E6EAF0", GREY: "#A3ADBA", FAINT: "#3A424D", PAPER: "#121212", SEEN: "#222B36", NIGHT: NIGHT,
}  # fmt: skip
READABLE = 4.5  # WCAG 2.2, success criterion 1.4.3: words against what is behind them

WIDTH = 7.0  # inches: 700 pixels in the book
PNG_DPI, FILM_DPI = 150, 100

STYLE: dict[str, Any] = {
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": GREY,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.0,
    "axes.titley": 1.0,  # not searched for in each frame of a film
    "axes.labelsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.xmargin": 0.0,
    "font.size": 9.0,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "svg.fonttype": "path",  # letters as outlines: they look the same whatever fonts a reader has
    "svg.hashsalt": "wm_tutorial",  # the same figure is the same file
    "lines.solid_capstyle": "round",
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": GREY,
    "ytick.labelcolor": GREY,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "ytick.major.size": 0.0,
}

P = ParamSpec("P")
R = TypeVar("R")


def contrast(one: str, other: str) -> float:
    """How far two colours "#RRGGBB" are apart in brightness, from 1 to 21. Source: WCAG 2.2, "contrast ratio"."""
    dark, bright = sorted((_luminance(one), _luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def apart(color: str, other: str, ratio: float = READABLE) -> str:
    """`color`, mixed with as little black or white as it takes for a contrast of `ratio` to `other`."""
    towards = (0.0, 0.0, 0.0) if _luminance(other) > 0.18 else (1.0, 1.0, 1.0)
    mixed = color
    for share in range(0, 101, 2):
        rgb = [(share * t + (100 - share) * c) / 100 for c, t in zip(to_rgb(color), towards, strict=True)]
        mixed = to_hex((rgb[0], rgb[1], rgb[2])).upper()
        if contrast(mixed, other) >= ratio:
            break
    return mixed


def house_style() -> AbstractContextManager[None]:
    """The same look whatever the user has set; what the user has set is back afterwards."""
    return style.context(STYLE, after_reset=True)


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """A function that draws in the style of the house."""

    @wraps(function)
    def in_house_style(*args: P.args, **kwargs: P.kwargs) -> R:
        with house_style():
            return function(*args, **kwargs)

    return in_house_style


def give_room(axes: Axes, share: float = 0.02) -> None:
    """Widen a height that is less than `share` of its numbers: what hardly moves shall not look as if it did."""
    if axes.get_yscale() == "linear":
        low, high = axes.get_ylim()
        lacking = share * max(abs(low), abs(high)) - (high - low)
        if lacking > 0:
            axes.set_ylim(low - lacking / 2, high + lacking / 2)


class Plot(Figure):
    """A figure that knows its alternative text, and that a notebook shows at book width without pyplot."""

    alt: str = ""

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        png = BytesIO()
        with house_style():
            self.savefig(png, format="png", dpi=PNG_DPI)
        width = round(100 * self.get_figwidth())
        return {"image/png": png.getvalue()}, {"image/png": {"width": width, "alt": self.alt}}


def alt_text(figure: Figure) -> str:
    """What a figure made here shows, main numbers included; empty for a figure made elsewhere."""
    return figure.alt if isinstance(figure, Plot) else ""


@styled
def save(figure: Figure, path: str | Path, alt: str | None = None, dpi: int = PNG_DPI) -> Path:
    """Write a PNG whose metadata hold the alternative text as "Description"; missing folders are made.

    alt: instead of `alt_text(figure)`. Returns the path. Raises InputError if there is no alternative text or the name
    does not end in .png, OutputError if the file cannot be written.
    """
    path = Path(path)
    alt = alt_text(figure) if alt is None else alt
    if not alt:
        raise InputError("the figure has no alternative text: give alt='what the figure shows, with its main numbers'")
    if path.suffix.lower() != ".png":
        raise InputError(f"the file is {path.name!r}; figures are saved as PNG: give a name that ends in .png")
    write_file(path, lambda: figure.savefig(path, format="png", dpi=dpi, metadata={"Description": alt}))
    return path


def write_file(path: Path, write: Callable[[], object]) -> None:
    """Call `write`, which writes to `path`; missing folders are made, and OutputError says what went wrong."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write()
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error}): choose another place, or make room there") from error


def short(number: float) -> str:
    """For labels and alternative text: 12,345 or 0.123."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
