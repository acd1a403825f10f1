"""What all figures share: one palette, one style, alternative text, and how they are written.

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
from matplotlib.figure import Figure

from wm_tutorial.errors import InputError, OutputError

# Okabe & Ito 2008, "Color Universal Design": told apart with every common form of colour blindness.
BLUE, VERMILION, GREEN, ORANGE, PURPLE = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7"
INK, GREY, FAINT = "#1F2A37", "#667080", "#D5D9DE"  # text, secondary text, grid
PAPER, SEEN, NIGHT = "#FDFCFA", "#E8EDF2", "#1B2240"  # opaque, so that figures can be read on dark pages too
TRUTH, MODEL, PERSISTENCE = BLUE, VERMILION, GREY

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
