"""The whole agent in one picture: the map that the chapters come back to."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from wm_tutorial.errors import InputError
from wm_tutorial.figures.style import BLUE, GREEN, GREY, INK, PAPER, SEEN, VERMILION, WIDTH, Plot, apart, styled

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A part in the picture.

    text     what is written in it
    chapter  where it is built, empty for what is not
    middle   of the box, in units of the picture (14 wide, 7 high)
    color    of its edge, and of its face where it is lit
    width    in the same units
    """

    text: str
    chapter: str
    middle: Point
    color: str
    width: float = 2.5


# What happens for real is blue, what the model believes vermilion, what is learned inside it green.
BOXES: dict[str, Box] = {
    "environment": Box("environment", "", (1.7, 5.3), BLUE, 2.3),
    "replay": Box("replay", "08", (1.7, 2.3), BLUE, 2.3),
    "encoder": Box("encoder", "01", (5.1, 2.3), VERMILION),
    "state": Box("state $s_t$", "", (5.1, 3.8), VERMILION),
    "dynamics": Box("dynamics", "02, 04", (5.1, 5.3), VERMILION),
    "heads": Box("heads", "03", (8.1, 3.8), VERMILION, 2.2),
    "imagination": Box("imagination", "05", (12.1, 5.3), GREEN, 2.7),
    "critic": Box("returns, critic", "06, 07", (12.1, 3.8), GREEN, 2.7),
    "actor": Box("actor", "07", (12.1, 2.3), GREEN, 2.7),
}
HEIGHT = 0.86
FRAMES: tuple[tuple[str, float, float, str], ...] = (
    ("what happens", 0.1, 2.95, BLUE),
    ("world model: explains what happened", 3.55, 5.9, VERMILION),
    ("behaviour: from dreams", 10.3, 3.6, GREEN),
)


@styled
def agent_diagram(lit: Collection[str] = ()) -> Plot:
    """The agent as a map: what happens, the world model that explains it, the behaviour that is learned inside it.

    lit: names of `BOXES` to fill, such as {"encoder"} where the encoder is built. Raises InputError for other names.
    """
    if unknown := set(lit) - set(BOXES):
        raise InputError(f"There is no {sorted(unknown)[0]!r} in the diagram; there are {', '.join(BOXES)}.")
    figure = Plot(figsize=(WIDTH, 3.5))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, 14), ylim=(0.2, 7.0))
    axes.axis("off")
    for title, left, width, color in FRAMES:
        corners = FancyBboxPatch(
            (left, 1.45), width, 4.75, "round,pad=0,rounding_size=0.2", fc=SEEN, ec="none", zorder=0
        )
        axes.add_patch(corners)
        axes.text(left + 0.1, 6.42, title, color=color, weight="bold", fontsize=9)
    for name, box in BOXES.items():
        _draw_box(axes, box, name in lit)
    _draw_arrows(axes)
    figure.alt = (
        "The agent as a map. Environment and replay: what happens. Encoder, dynamics, state and heads: the world "
        "model, which learns from sequences out of the replay. Imagination, returns and critic, actor: the behaviour, "
        "which learns from states imagined by the model. The actor's actions go back to the environment."
        + (f" Lit: {', '.join(name for name in BOXES if name in lit)}." if lit else "")
    )
    return figure


def _draw_box(axes: Axes, box: Box, lit: bool) -> None:
    (x, y), width = box.middle, box.width
    shape = "round,pad=0,rounding_size=0.14" if box.chapter or box.color == BLUE else "round,pad=0,rounding_size=0.42"
    face = apart(box.color, PAPER) if lit else PAPER
    axes.add_patch(
        FancyBboxPatch((x - width / 2, y - HEIGHT / 2), width, HEIGHT, shape, fc=face, ec=box.color, lw=1.4, zorder=2)
    )
    ink = PAPER if lit else INK
    if not box.chapter:
        axes.text(x, y, box.text, color=ink, ha="center", va="center", zorder=3)
        return
    axes.text(x, y + 0.14, box.text, color=ink, ha="center", va="center", zorder=3)
    axes.text(x, y - 0.24, f"chapter {box.chapter}", color=ink if lit else GREY, ha="center", va="center", fontsize=6.5)
    axes.texts[-1].set_zorder(3)


def _draw_arrows(axes: Axes) -> None:
    def arrow(begin: Point, end: Point, **style: Any) -> None:
        options = {
            "arrowstyle": "-|>",
            "color": INK,
            "lw": 1.1,
            "shrinkA": 0,
            "shrinkB": 0,
            "mutation_scale": 9,
            **style,
        }
        axes.annotate("", end, begin, arrowprops=options, zorder=1)

    def label(x: float, y: float, text: str, **style: Any) -> None:
        axes.text(x, y, text, color=GREY, fontsize=7.5, **style)

    arrow((1.7, 4.87), (1.7, 2.73))
    label(1.83, 3.8, "rows\n$o_t\\ r_t\\ \\ldots\\ a_t$", va="center")
    arrow((2.85, 2.3), (3.85, 2.3))
    label(2.95, 1.57, "sequences", ha="right")
    arrow((5.1, 2.73), (5.1, 3.37))
    label(5.22, 3.05, "sees $o_t$", va="center")
    arrow((4.6, 4.87), (4.6, 4.23))
    label(4.5, 4.55, "expects", va="center", ha="right")
    arrow((5.6, 4.23), (5.6, 4.87))
    label(5.72, 4.55, "$s_{t-1}, a_{t-1}$", va="center")
    arrow((6.35, 3.8), (7.0, 3.8))
    label(8.1, 2.9, "explain $o_t$,\n$r_t$, end or not", ha="center", va="center")
    arrow((6.35, 5.3), (10.75, 5.3), color=GREEN)
    label(7.93, 5.4, "rolled forward, eyes closed", ha="center", va="bottom")
    arrow((12.1, 4.87), (12.1, 4.23), color=GREEN)
    label(12.22, 4.55, "worth it?", va="center")
    arrow((12.1, 3.37), (12.1, 2.73), color=GREEN)
    label(12.22, 3.05, "do more of that", va="center")
    axes.plot([12.1, 12.1, 0.27, 0.27], [1.87, 0.95, 0.95, 5.3], color=INK, lw=1.1, zorder=1)
    arrow((0.27, 5.3), (0.55, 5.3))
    label(6.5, 0.45, "acts: $a_t$, in the real environment again", ha="center", va="bottom")
