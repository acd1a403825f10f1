"""Drawings of environments, for films: what an observation looks like to a person."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyBboxPatch

from wm_tutorial.data import Array
from wm_tutorial.figures.style import INK, MODEL, NIGHT, TRUTH


@dataclass(frozen=True)
class Light:
    """The colours of a drawing: `sky` behind it, `solid` bodies, `faint` surroundings, `accent` for what matters."""

    sky: str
    solid: str
    faint: str
    accent: str


REALITY = Light(sky="#EFF4F8", solid=INK, faint="#A9B4C0", accent=TRUTH)
EYES_OPEN = Light(sky="#FBF1E8", solid=INK, faint="#A9B4C0", accent=MODEL)
EYES_CLOSED = Light(sky=NIGHT, solid="#B9C2E0", faint="#5A6592", accent="#FF8B3D")
SHADOW = Light(sky="#2E376A", solid="#2E376A", faint="#2E376A", accent="#2E376A")  # of reality, in the dream

# Draws one observation (O,) onto empty axes and sets the limits that it needs; they are widened to an equal aspect.
Sketch: TypeAlias = Callable[[Axes, Array, Light], None]

TRACK = 2.4  # metres: the episode ends beyond
POLE = 1.0  # metres, from the hinge to the tip
HINGE = 0.42  # metres above the rail
SIGHT = 2.9  # metres to each side that the picture shows


def draw_cart_pole(axes: Axes, position: float, angle: float, light: Light) -> None:
    """A cart on its rail, with its pole.

    position: of the cart, metres from the middle. angle: of the pole, radians from upright, clockwise.
    Source: Gymnasium's `CartPoleEnv` for the sizes and the direction of the angle.
    """
    axes.set(xlim=(-SIGHT, SIGHT), ylim=(-0.35, 1.75))
    axes.plot([-TRACK, TRACK], [0, 0], color=light.faint, lw=2.5, zorder=1)
    for end in (-TRACK, TRACK):
        axes.plot([end, end], [-0.06, 0.2], color=light.faint, lw=2.5, zorder=1)
    for wheel in (-0.17, 0.17):
        axes.add_patch(Circle((position + wheel, 0.09), 0.075, fc=light.sky, ec=light.solid, lw=1.6, zorder=2))
    round_box = "round,pad=0,rounding_size=0.06"
    axes.add_patch(FancyBboxPatch((position - 0.32, 0.15), 0.64, 0.27, round_box, fc=light.solid, ec="none", zorder=3))
    tip = position + POLE * np.sin(angle), HINGE + POLE * np.cos(angle)
    axes.plot([position, tip[0]], [HINGE, tip[1]], color=light.accent, lw=5.5, zorder=4, label="pole")
    axes.plot([position], [HINGE], "o", color=light.sky, ms=3.5, zorder=5)
    if position > SIGHT:
        axes.text(0.95 * SIGHT, 0.25, f"{position:.1f} m →", color=light.accent, ha="right")
    if position < -SIGHT:
        axes.text(-0.95 * SIGHT, 0.25, f"← {position:.1f} m", color=light.accent, ha="left")


def draw_pendulum(axes: Axes, observation: Array, light: Light) -> None:
    """A pendulum: observation (3,) of cos(angle), sin(angle), angular velocity; upright is 0, anticlockwise positive.

    The bob stands where the observation says, so a prediction whose cosine and sine fit no angle leaves the circle.
    Source: Gymnasium's `PendulumEnv`.
    """
    tip = -observation[1], observation[0]
    axes.set(xlim=(-1.35, 1.35), ylim=(-1.35, 1.35))
    axes.add_patch(Circle((0, 0), 1.0, fc="none", ec=light.faint, lw=0.8, ls=(0, (2, 3)), zorder=1))
    axes.plot([0, tip[0]], [0, tip[1]], color=light.accent, lw=4.5, zorder=3, label="rod")
    axes.plot([0], [0], "o", color=light.solid, ms=7, zorder=4)
    axes.plot([tip[0]], [tip[1]], "o", color=light.accent, mec=light.sky, mew=1.2, ms=13, zorder=4)


# Environment id -> its drawing. Add your own, and films show it.
SKETCHES: dict[str, Sketch] = {
    "CartPole-v1": lambda axes, obs, light: draw_cart_pole(axes, obs[0], obs[2], light),
    "wm_tutorial/PositionOnlyCartPole-v0": lambda axes, obs, light: draw_cart_pole(axes, obs[0], obs[1], light),
    "Pendulum-v1": draw_pendulum,
}
