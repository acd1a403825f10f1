"""One whole update in one picture: rows, states, dream, returns and weights, losses; every stop-gradient is a cut.

`ARROWS` is a claim about the code that a test computes: where an arrow runs from `tail` to `head`, gradient of the head
reaches the tail, or it is cut, or there is none to cut, since the tail is made of plain numbers.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from math import hypot
from typing import Literal, TypeAlias

from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from wm_tutorial.errors import InputError
from wm_tutorial.figures.style import FAINT, GREEN, GREY, INK, PAPER, SEEN, VERMILION, WIDTH, Plot, apart, styled

Point: TypeAlias = tuple[float, float]
Kind: TypeAlias = Literal["gradient", "cut", "numbers"]

HEIGHT = 6.5  # inches; one unit of the picture is a hundredth of an inch
BORDER = 358.0  # between the world model, on the left, and the behaviour


@dataclass(frozen=True)
class Box:
    """What one update computes, or what computes it.

    text    what is written in it
    middle  of the box, in hundredths of an inch
    width   in the same units; `height` too
    color   vermilion for the world model, green for the behaviour, ink for data
    """

    text: str
    middle: Point
    width: float
    color: str
    height: float = 40.0


@dataclass(frozen=True)
class Arrow:
    """From a box to one that is computed from it.

    kind    gradient: it flows back along the arrow; cut: it would, and a stop-gradient keeps it from that; numbers:
            what comes along has no gradient
    path    where it runs
    label   what comes along, and `label_at`, the middle of these words
    cut_at  the share of the path after which the scissors sit, on the left of the arrow or, at `side` -1, on its right
    """

    tail: str
    head: str
    kind: Kind
    path: tuple[Point, ...]
    label: str = ""
    label_at: Point = (0.0, 0.0)
    cut_at: float = 0.5
    side: int = 1


BOXES: dict[str, Box] = {
    "rows": Box("rows from the replay", (140, 578), 250, INK, 36),
    "posterior": Box("encoder,\nposterior", (62, 485), 98, VERMILION),
    "states": Box("states $s_t$", (294, 485), 96, VERMILION),
    "prior": Box("prior", (180, 428), 78, VERMILION),
    "heads": Box("heads", (288, 367), 80, VERMILION),
    "representation": Box("representation\nloss", (68, 95), 116, VERMILION),
    "dynamics": Box("dynamics\nloss", (180, 95), 92, VERMILION),
    "predictions": Box("prediction\nlosses", (284, 95), 88, VERMILION),
    "dream": Box("", (530, 470), 300, GREEN, 130),
    "actor": Box("actor", (412, 300), 74, GREEN),
    "weights": Box("weights\n$w_t$", (492, 300), 66, GREEN),
    "critic": Box("critic", (572, 300), 72, GREEN),
    "slow critic": Box("slow\ncritic", (652, 300), 68, GREEN),
    "advantage": Box("advantage\n$R_t - v_t$", (446, 200), 88, GREEN),
    "returns": Box("returns\n$R_t$", (557, 200), 66, GREEN),
    "actor loss": Box("actor\nloss", (421, 95), 100, GREEN),
    "critic loss": Box("critic\nloss", (564, 95), 96, GREEN),
}
ARROWS: tuple[Arrow, ...] = (
    Arrow("rows", "posterior", "numbers", ((62, 560), (62, 505)), "$o_t$", (78, 536)),
    Arrow("rows", "prior", "numbers", ((180, 560), (180, 448)), "$a_{t-1}$", (203, 536)),
    Arrow("posterior", "states", "gradient", ((111, 485), (248, 485)), "sample", (212, 497)),
    Arrow("states", "prior", "gradient", ((262, 465), (262, 440), (219, 440)), "$s_{t-1}$", (240, 452)),
    Arrow("states", "heads", "gradient", ((292, 465), (292, 387))),
    Arrow("heads", "predictions", "gradient", ((288, 347), (288, 115))),
    Arrow("posterior", "representation", "gradient", ((46, 465), (46, 115))),
    Arrow("prior", "dynamics", "gradient", ((196, 408), (196, 115))),
    Arrow("posterior", "dynamics", "cut", ((88, 465), (168, 115)), cut_at=0.72, side=-1),
    Arrow("prior", "representation", "cut", ((164, 408), (74, 115)), cut_at=0.72),
    Arrow("states", "dream", "cut", ((342, 485), (380, 485)), cut_at=0.36),
    Arrow("prior", "dream", "cut", ((219, 420), (380, 420)), cut_at=0.842),
    Arrow("heads", "dream", "cut", ((328, 367), (392, 367), (392, 405)), cut_at=0.265),
    Arrow("dream", "actor", "numbers", ((436, 405), (436, 320))),
    Arrow("actor", "dream", "cut", ((414, 320), (414, 405)), "$a_t$", (399, 336)),
    Arrow("dream", "weights", "numbers", ((492, 405), (492, 320)), "$c_t$", (478, 362)),
    Arrow("dream", "returns", "numbers", ((531, 405), (531, 220)), "$r_t, c_t$", (531, 362)),
    Arrow("dream", "critic", "numbers", ((580, 405), (580, 320))),
    Arrow("dream", "slow critic", "numbers", ((652, 405), (652, 320))),
    Arrow("critic", "returns", "cut", ((557, 280), (557, 220)), "$v_{t+1}$", (579, 246), side=-1),
    Arrow("critic", "advantage", "gradient", ((545, 280), (472, 220)), "$v_t$", (490, 254)),
    Arrow("returns", "advantage", "numbers", ((524, 196), (490, 196))),
    Arrow("actor", "actor loss", "gradient", ((387, 280), (387, 115)), "$\\log\\pi$", (387, 248)),
    Arrow("advantage", "actor loss", "cut", ((425, 180), (425, 115)), cut_at=0.45),
    Arrow("weights", "actor loss", "numbers", ((512, 280), (512, 142), (460, 142), (460, 115))),
    Arrow("weights", "critic loss", "numbers", ((512, 280), (512, 142), (534, 142), (534, 115))),
    Arrow("returns", "critic loss", "numbers", ((560, 180), (560, 115))),
    Arrow("critic", "critic loss", "gradient", ((599, 280), (599, 115))),
    Arrow("slow critic", "critic loss", "numbers", ((630, 280), (630, 134), (608, 134), (608, 115))),
)
# What DreamerV3 adds: the critic learns on real states, too, and through them teaches the world model.
REPLAY_CRITIC_BOX = Box("replay\ncritic loss", (656, 95), 76, GREEN)
REPLAY_CRITIC: tuple[Arrow, ...] = (
    Arrow("rows", "replay critic loss", "numbers", ((265, 578), (690, 578), (690, 115)), "$r_t, c_t$", (440, 578)),
    Arrow("states", "replay critic loss", "gradient", ((336, 465), (336, 55), (656, 55), (656, 75))),
    Arrow("critic", "replay critic loss", "gradient", ((599, 280), (599, 160), (646, 160), (646, 115))),
    Arrow("returns", "replay critic loss", "numbers", ((590, 204), (676, 204), (676, 115))),
    Arrow("slow critic", "replay critic loss", "numbers", ((661, 280), (661, 115))),
)
# Names that stand for several boxes; "scissors" stands for the cut arrows alone.
GROUPS: dict[str, tuple[str, ...]] = {
    "world model": ("posterior", "states", "prior", "heads", "representation", "dynamics", "predictions"),
    "behaviour": (
        *("dream", "actor", "weights", "critic", "slow critic", "advantage", "returns"),
        *("actor loss", "critic loss", "replay critic loss"),
    ),
    "losses": (
        *("representation", "dynamics", "predictions"),
        *("actor loss", "critic loss", "replay critic loss"),
    ),
    "scissors": (),
}  # fmt: skip


@styled
def update_diagram(highlight: Collection[str] = (), replay_critic: bool = False) -> Plot:
    """What one gradient update computes, from rows to losses, and where gradient flows back.

    highlight: names of `BOXES` or `GROUPS`, such as {"dream"}: they, and the arrows that lead to them, are strong and
        the rest is pale. Empty: nothing is singled out.
    replay_critic: with the critic's loss on real sequences, which DreamerV3 has and the agent of Part I has not.

    Raises InputError for other names.
    """
    boxes = BOXES | ({"replay critic loss": REPLAY_CRITIC_BOX} if replay_critic else {})
    arrows = ARROWS + (REPLAY_CRITIC if replay_critic else ())
    if unknown := set(highlight) - set(boxes) - set(GROUPS):
        raise InputError(
            f"There is no {sorted(unknown)[0]!r} in the drawing of an update; there are {', '.join([*boxes, *GROUPS])}."
        )
    lit = {box for name in highlight for box in GROUPS.get(name, (name,))} & set(boxes)
    figure = Plot(figsize=(WIDTH, HEIGHT))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, 100 * WIDTH), ylim=(0, 100 * HEIGHT))
    axes.axis("off")
    _draw_lanes(axes)
    for arrow in arrows:
        strong = arrow.head in lit or ("scissors" in highlight and arrow.kind == "cut")
        _draw_arrow(axes, arrow, boxes[arrow.tail].color, pale=bool(highlight) and not strong)
    for name, box in boxes.items():
        _draw_box(axes, box, lit=name in lit, pale=bool(highlight) and name not in lit)
    _draw_dream(axes, lit="dream" in lit, pale=bool(highlight) and "dream" not in lit)
    _draw_legend(axes)
    figure.alt = _alt(replay_critic, [name for name in (*boxes, "scissors") if name in lit | set(highlight)])
    return figure


def _draw_lanes(axes: Axes) -> None:
    """The two halves of the picture, with their names, and the border between them."""
    for left, width, color, title in (
        (4, 348, VERMILION, "world model: explains rows"),
        (364, 332, GREEN, "behaviour: from dreams"),
    ):
        shape = "round,pad=0,rounding_size=12"
        axes.add_patch(FancyBboxPatch((left, 36), width, 580, shape, fc=SEEN, ec="none", zorder=0))
        axes.text(left + 8, 629, title, color=color, weight="bold", fontsize=11, zorder=4)


def _draw_box(axes: Axes, box: Box, lit: bool, pale: bool) -> None:
    (x, y), width, height = box.middle, box.width, box.height
    face = apart(box.color, PAPER) if lit else PAPER
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            "round,pad=0,rounding_size=8",
            fc=face,
            ec=FAINT if pale else box.color,
            lw=1.6,
            zorder=3,
        )
    )
    ink = PAPER if lit else GREY if pale else INK
    axes.text(x, y - 1, box.text, color=ink, ha="center", va="center", fontsize=10.5, linespacing=1.15, zorder=4)


def _draw_dream(axes: Axes, lit: bool, pale: bool) -> None:
    """Inside its box: s_0, s_1, ... s_H, what leads from one to the next, and what each arrival brings."""
    ink = PAPER if lit else GREY if pale else INK
    line = PAPER if lit else FAINT if pale else GREEN
    axes.text(530, 517, "dream: the model alone", color=ink, ha="center", va="center", fontsize=10.5, zorder=5)
    places = {414.0: "$s_0$", 494.0: "$s_1$", 574.0: "$s_2$", 656.0: "$s_H$"}
    for x, name in places.items():
        axes.add_patch(Circle((x, 466), 17, fc="none", ec=line, lw=1.4, zorder=4))
        axes.text(x, 465, name, color=ink, ha="center", va="center", fontsize=10.5, zorder=5)
    for x, name in ((414.0, "$a_0$"), (494.0, "$a_1$"), (574.0, "$\\ldots$")):
        _line(axes, ((x + 18, 466), (x + 62, 466)), line, 1.2, head=True, zorder=4)
        axes.text(x + 39, 479, name, color=ink, ha="center", va="center", fontsize=10, zorder=5)
    for x, name in ((494.0, "$r_1, c_1$"), (574.0, "$r_2, c_2$"), (656.0, "$r_H, c_H$")):
        axes.text(x, 427, name, color=ink, ha="center", va="center", fontsize=10, zorder=5)


def _draw_arrow(axes: Axes, arrow: Arrow, color: str, pale: bool) -> None:
    if arrow.kind == "numbers":
        _line(axes, arrow.path, FAINT if pale else GREY, 1.1, head=True, dashed=True)
    elif arrow.kind == "gradient":
        _line(axes, arrow.path, FAINT if pale else color, 2.2, head=True)
    else:
        _cut_line(axes, arrow, FAINT if pale else color, FAINT if pale else INK)
    if arrow.label:
        ink = GREY if pale else INK
        words = axes.text(*arrow.label_at, arrow.label, color=ink, ha="center", va="center", fontsize=10, zorder=5)
        words.set_bbox({"fc": SEEN, "ec": "none", "boxstyle": "square,pad=0.08"})


def _line(
    axes: Axes, path: tuple[Point, ...], color: str, width: float, head: bool, dashed: bool = False, zorder: float = 1
) -> None:
    axes.add_patch(
        FancyArrowPatch(
            path=Path(path),
            arrowstyle="-|>,head_length=0.45,head_width=0.24" if head else "-",
            color=color,
            lw=width,
            ls=(0, (3, 2)) if dashed else "-",
            mutation_scale=14,
            joinstyle="round",
            capstyle="butt",
            zorder=zorder,
        )
    )


def _cut_line(axes: Axes, arrow: Arrow, color: str, steel: str) -> None:
    """An arrow with a gap, and scissors in it."""
    before, place, direction, after = _split(arrow.path, arrow.cut_at)
    gap = 4.0
    here = (place[0] - gap * direction[0], place[1] - gap * direction[1])
    there = (place[0] + gap * direction[0], place[1] + gap * direction[1])
    _line(axes, (*before, here), color, 2.2, head=False)
    _line(axes, (there, *after), color, 2.2, head=True)
    normal = (-direction[1] * arrow.side, direction[0] * arrow.side)
    _draw_scissors(axes, place, normal, steel)


def _split(path: tuple[Point, ...], share: float) -> tuple[tuple[Point, ...], Point, Point, tuple[Point, ...]]:
    """A path cut in two: the points before, the place, the direction there, and the points after."""
    legs = list(pairwise(path))
    lengths = [hypot(b[0] - a[0], b[1] - a[1]) for a, b in legs]
    left = share * sum(lengths)
    leg = 0
    while left > lengths[leg]:
        left -= lengths[leg]
        leg += 1
    (x0, y0), (x1, y1) = legs[leg]
    direction = ((x1 - x0) / lengths[leg], (y1 - y0) / lengths[leg])
    place = (x0 + left * direction[0], y0 + left * direction[1])
    return path[: leg + 1], place, direction, path[leg + 1 :]


def _draw_scissors(axes: Axes, place: Point, handles: Point, color: str) -> None:
    """Open scissors whose blades close at `place`; `handles` is the direction, of length 1, in which the grips lie."""
    across = (-handles[1], handles[0])

    def at(along: float, aside: float) -> Point:
        return (
            place[0] + along * handles[0] + aside * across[0],
            place[1] + along * handles[1] + aside * across[1],
        )

    for hand in (-1.0, 1.0):
        (x0, y0), (x1, y1) = at(-6.5, -3.6 * hand), at(12.0, 3.3 * hand)
        axes.plot([x0, x1], [y0, y1], color=color, lw=1.7, solid_capstyle="round", zorder=6)
        axes.add_patch(Circle(at(15.5, 5.0 * hand), 3.7, fc="none", ec=color, lw=1.5, zorder=6))


def _draw_legend(axes: Axes) -> None:
    lines: tuple[tuple[float, Kind, str], ...] = (
        (10, "gradient", "gradient flows back"),
        (262, "cut", "gradient is cut"),
        (478, "numbers", "numbers, no gradient"),
    )
    for x, kind, text in lines:
        arrow = Arrow("", "", kind, ((x, 14), (x + 46, 14)), cut_at=0.42)
        _draw_arrow(axes, arrow, INK, pale=False)
        axes.text(x + 54, 14, text, color=INK, va="center", fontsize=10)


def _alt(replay_critic: bool, lit: list[str]) -> str:
    return (
        "One gradient update. World model, on the left: rows give states through encoder and posterior, and a prior "
        "from the state and action before; heads predict the rows from the states. Prediction losses teach all of "
        "them; of the two KL losses, the gradient of the dynamics loss is cut at its posterior and that of the "
        "representation loss at its prior. Behaviour, on the right: a dream begins in the states and goes on with "
        "prior, heads and actor; scissors cut the gradient on every way into it. Returns and weights are numbers. The "
        "actor loss teaches the actor alone, since its advantage is cut; the critic loss the critic alone, since the "
        "values in its returns are cut."
        + (
            " The replay critic loss, on real states and rewards, teaches the critic and, uncut, the world model."
            if replay_critic
            else ""
        )
        + (f" Highlighted: {', '.join(lit)}." if lit else "")
    )
