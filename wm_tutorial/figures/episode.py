"""A whole episode of CartPole as a film that follows the page: a light or dark SVG in which the cart and its pole move.

An animated GIF of 500 steps would be heavy, and light on a dark page. Here the browser moves what was drawn once, by
keyframes in the stylesheet of the SVG. Who asks for less motion sees the last moment at rest.
"""

from xml.etree import ElementTree

import numpy as np
from matplotlib.axes import Axes

from wm_tutorial.data import Array
from wm_tutorial.errors import InputError
from wm_tutorial.figures.sketches import HINGE, REALITY, TRACK, draw_cart_pole
from wm_tutorial.figures.style import FAINT, GREY, INK, TRUTH, WIDTH, Plot, styled
from wm_tutorial.figures.svg import MOVING, SVG, to_svg

CART_POLE_LIMIT = 500  # steps, after which Gymnasium ends an episode
TICK = 0.02  # seconds of a step
POSES = 120  # keyframes at most; between them the browser moves everything evenly
SHORTEST, LONGEST, HOLD = 2.0, 8.0, 3.0  # seconds that an episode takes, and that its last moment stays
LOW, HIGH = -0.25, 1.9  # metres that the picture shows
POINTS = 72.0  # an inch has as many, and the SVG counts in them
CART, POLE, BAR, END = (f"{MOVING}{part}" for part in ("cart", "pole", "bar", "end"))


@styled
def cart_pole_film(obs: Array, title: str) -> tuple[str, str]:
    """The film of an episode and its alternative text.

    obs    (T + 1, 4), what CartPole-v1 returned from the first row of an episode to its last
    title  a few words in the film, above the picture

    It plays a whole episode in 2 to 8 seconds, holds its last moment for 3, and begins again. Raises InputError for
    observations of another shape, or of more than 500 steps.
    """
    if obs.ndim != 2 or obs.shape[1] != 4 or not 2 <= len(obs) <= CART_POLE_LIMIT + 1:
        raise InputError(
            f"obs has the shape {obs.shape}; it must be (T + 1, 4), the rows of an episode of CartPole of 1 to "
            f"{CART_POLE_LIMIT} steps."
        )
    steps, ending = len(obs) - 1, how_it_ended(obs)
    seconds = float(np.clip(steps * TICK, SHORTEST, LONGEST))
    drawn = Plot(figsize=(WIDTH, 2.9))
    scene = drawn.add_axes((0.02, 0.225, 0.96, 0.675), facecolor=REALITY.sky, xticks=[], yticks=[])
    scene.spines[:].set(visible=True, color=FAINT)
    _draw_what_moves(scene)
    half = (HIGH - LOW) / 2 * scene.bbox.width / scene.bbox.height  # a metre is as long sideways as upwards
    scene.set(xlim=(-half, half), ylim=(LOW, HIGH))
    drawn.text(0.02, 0.95, title, va="center", weight="bold", fontsize=10)
    drawn.text(0.98, 0.95, _pace(steps, seconds), va="center", ha="right", color=GREY)
    scene.text(0.5, 0.9, ending, transform=scene.transAxes, ha="center", va="center", color=INK, gid=END, fontsize=10)
    line = drawn.add_axes((0.05, 0.15, 0.9, 0.03), xlim=(0, CART_POLE_LIMIT), ylim=(0, 1), yticks=[], xlabel="step")
    line.grid(False)
    line.axvspan(0, CART_POLE_LIMIT, color=FAINT, lw=0)
    line.axvspan(0, steps, color=TRUTH, lw=0, gid=BAR)
    film = _set_in_motion(to_svg(drawn), _stylesheet(obs, scene, line, seconds))
    return film, f"Film of one episode of CartPole, with a cart and its pole as they moved: {ending}."


def how_it_ended(obs: Array) -> str:
    """When and why, in words: from the last row of an episode (T + 1, 4)."""
    steps, (position, _, angle, _) = len(obs) - 1, obs[-1]
    if abs(position) > TRACK:
        why = "the cart has left its rail"
    elif abs(angle) > np.radians(12):
        why = f"the pole leans {abs(np.degrees(angle)):.0f}° to the {'right' if angle > 0 else 'left'}"
    elif steps == CART_POLE_LIMIT:
        why = "time is up, and the pole stands"
    else:
        why = "the film stops here"
    return f"after {steps} steps {why}"


def _draw_what_moves(axes: Axes) -> None:
    """The cart in the middle, its pole upright: the browser moves them from there."""
    before = set(axes.get_children())
    draw_cart_pole(axes, 0.0, 0.0, REALITY)
    rail = {line for line in axes.lines if line.get_color() == REALITY.faint}
    for number, part in enumerate(part for part in axes.get_children() if part not in before | rail):
        part.set_gid(f"{POLE if part.get_label() == 'pole' else CART}_{number}")


def _pace(steps: int, seconds: float) -> str:
    factor = seconds / (steps * TICK)
    if 0.95 < factor < 1.05:
        return "as fast as it was"
    return f"{factor:.1f} times slower" if factor > 1 else f"{1 / factor:.1f} times faster"


def _stylesheet(obs: Array, scene: Axes, line: Axes, seconds: float) -> str:
    """Keyframes: the cart is moved, the pole moved and turned about its hinge, the bar of steps drawn out."""
    whole = seconds + HOLD
    rows = np.unique(np.linspace(0, len(obs) - 1, POSES).round().astype(int))
    scale = POINTS / scene.figure.dpi
    metre = (scene.transData.transform((1, 0)) - scene.transData.transform((0, 0)))[0] * scale
    shift, turn = obs[:, 0] * metre, np.degrees(obs[:, 2])

    def keyframes(name: str, pose: list[str]) -> str:
        times = 100 * rows / (len(obs) - 1) * seconds / whole
        frames = "".join(f"{time:.2f}%{{transform:{pose[row]}}}" for time, row in zip(times, rows, strict=True))
        return f"@keyframes {name}{{{frames}to{{transform:{pose[-1]}}}}}"

    moved = [f"translate({x:.1f}px)" for x in shift]
    turned = [f"{move} rotate({angle:.1f}deg)" for move, angle in zip(moved, turn, strict=True)]
    end = 100 * seconds / whole
    hinge, left = _place(scene, 0.0, HINGE), _place(line, 0.0, 0.0)
    return (
        f".cart,.pole,.bar,.end{{animation:{whole:.2f}s linear infinite}}"
        f".cart{{transform:{moved[-1]};animation-name:cart}}{keyframes('cart', moved)}"
        f".pole{{transform:{turned[-1]};transform-origin:{hinge};animation-name:pole}}{keyframes('pole', turned)}"
        f".bar{{transform-origin:{left};animation-name:bar}}@keyframes bar{{0%{{transform:scaleX(0)}}"
        f"{end:.2f}%,to{{transform:none}}}}"
        f".end{{animation-name:end}}@keyframes end{{0%,{end:.2f}%{{opacity:0}}{end + 0.01:.2f}%,to{{opacity:1}}}}"
        "@media(prefers-reduced-motion:reduce){.cart,.pole,.bar,.end{animation:none}}"
    )


def _place(axes: Axes, x: float, y: float) -> str:
    """A place of a plot in the SVG, whose y runs downward."""
    pixels: Array = axes.transData.transform((x, y))
    scale = POINTS / axes.figure.dpi
    return f"{pixels[0] * scale:.2f}px {(axes.figure.bbox.height - pixels[1]) * scale:.2f}px"


def _set_in_motion(svg: str, stylesheet: str) -> str:
    """Let the parts that were marked follow the stylesheet."""
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        if element.get("id", "").startswith(MOVING):
            element.set("class", element.attrib.pop("id").removeprefix(MOVING).partition("_")[0])
    sheet = root.find(f"{SVG}style")
    assert sheet is not None and sheet.text  # to_svg writes one
    sheet.text += stylesheet
    return ElementTree.tostring(root, encoding="unicode")
