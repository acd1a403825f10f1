"""Every figure and film that the command line and the chapters show.

from wm_tutorial import figures

figures.save(figures.open_loop(dream), "dream.png")
figures.film(dream, "dream.gif")
"""

from wm_tutorial.figures.curves import (
    INNOCENT,
    divergences,
    imagined_trajectory,
    innocent_losses,
    losses,
    mistakes,
    return_curve,
    seed_curves,
)
from wm_tutorial.figures.diagram import agent_diagram
from wm_tutorial.figures.episode import CART_POLE_LIMIT, cart_pole_film
from wm_tutorial.figures.film import film, still
from wm_tutorial.figures.night import turned
from wm_tutorial.figures.open_loop import open_loop
from wm_tutorial.figures.plan import narrowing
from wm_tutorial.figures.recording import check_recording, recording
from wm_tutorial.figures.sketches import (
    EYES_CLOSED,
    EYES_OPEN,
    REALITY,
    SHADOW,
    SKETCHES,
    Light,
    Sketch,
    draw_cart_pole,
    draw_pendulum,
)
from wm_tutorial.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    MODEL,
    NIGHT,
    ORANGE,
    PAPER,
    PERSISTENCE,
    PURPLE,
    SEEN,
    TRUTH,
    VERMILION,
    WIDTH,
    Plot,
    alt_text,
    house_style,
    save,
)
from wm_tutorial.figures.svg import to_svg
from wm_tutorial.figures.update import update_diagram

__all__ = [
    "BLUE", "CART_POLE_LIMIT", "EYES_CLOSED", "EYES_OPEN", "FAINT", "GREEN", "GREY", "INK", "INNOCENT", "MODEL",
    "NIGHT", "ORANGE", "PAPER", "PERSISTENCE", "PURPLE", "REALITY", "SEEN", "SHADOW", "SKETCHES", "TRUTH",
    "VERMILION", "WIDTH", "Light", "Plot", "Sketch", "agent_diagram", "alt_text", "cart_pole_film", "check_recording",
    "divergences", "draw_cart_pole", "draw_pendulum", "film", "house_style", "imagined_trajectory", "innocent_losses",
    "losses", "mistakes", "narrowing", "open_loop", "recording", "return_curve", "save", "seed_curves", "still",
    "to_svg", "turned", "update_diagram",
]  # fmt: skip
