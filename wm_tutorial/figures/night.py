"""An animated GIF on a dark page: what is turned into its opposite there, and which pictures in it are not."""

from io import BytesIO
from typing import TypeAlias

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from wm_tutorial.data import Array
from wm_tutorial.figures.sketches import EYES_OPEN, REALITY
from wm_tutorial.figures.style import FAINT, GREY, INK, PAPER, SEEN

Box: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom lie outside

SMALLEST = 50  # pixels of a side of what counts as a picture
FILLED = 0.95  # of a picture; a cloud of dots is none
NEAR = 8  # distance of two colours, each 0..255, that count as the same
BY_DAY = (INK, GREY, FAINT, PAPER, SEEN, REALITY.sky, EYES_OPEN.sky, REALITY.faint)  # have an opposite


def kept(gif: bytes) -> list[Box]:
    """The pictures in a film that stay as they are on a dark page, such as those of a camera, or a sky at night.

    Its last frame decides. What is drawn by day is not among them: there evening falls.
    """
    image = Image.open(BytesIO(gif))
    image.seek(getattr(image, "n_frames", 1) - 1)
    pixels = np.asarray(image.convert("RGB")).astype(int)
    solid = (pixels != pixels[0, 0]).any(-1)
    return [box for box in _rectangles(_whole(solid)) if _is_picture(solid, box) and not _is_day(pixels, box)]


def turned(gif: bytes) -> str:
    """A `clip-path` of CSS, in percent of the film: everything but the pictures that stay as they are."""
    width, height = Image.open(BytesIO(gif)).size
    outlines = [(0, 0, width, height), *kept(gif)]
    corners = [(x, y) for a, b, c, d in outlines for x, y in ((a, b), (c, b), (c, d), (a, d), (a, b))]
    # Between two outlines the path goes through the corner where it began, there and back.
    corners = [place for i, place in enumerate(corners) for place in ([place, (0, 0)] if i % 5 == 4 else [place])]
    told = ",".join(f"{100 * x / width:.4g}% {100 * y / height:.4g}%" for x, y in corners)
    return f"polygon(evenodd,{told})"


def _whole(solid: Array) -> Array:
    """Where the upper left corner of a square can lie that is solid everywhere: (height - 49, width - 49)."""
    if min(solid.shape) < SMALLEST:
        return np.zeros((0, 0), bool)
    n, sums = SMALLEST, np.pad(solid.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return np.asarray(sums[n:, n:] - sums[:-n, n:] - sums[n:, :-n] + sums[:-n, :-n] == n * n)


def _rectangles(whole: Array, left: int = 0, top: int = 0) -> list[Box]:
    """The rectangles in which these squares lie, cut apart where an empty column or row is between them."""
    for axis in (0, 1):
        used = np.flatnonzero(whole.any(axis))
        if not len(used):
            return []
        parts = np.split(used, np.flatnonzero(np.diff(used) > 1) + 1)
        if len(parts) > 1 or len(used) < whole.shape[1 - axis]:
            cut = [(part[0], whole[:, part] if axis == 0 else whole[part]) for part in parts]
            places = [(left + first, top) if axis == 0 else (left, top + first) for first, _ in cut]
            return [box for (_, part), place in zip(cut, places, strict=True) for box in _rectangles(part, *place)]
    height, width = whole.shape
    return [(int(left), int(top), int(left) + width + SMALLEST - 1, int(top) + height + SMALLEST - 1)]


def _is_picture(solid: Array, box: Box) -> bool:
    left, top, right, bottom = box
    return bool(solid[top:bottom, left:right].mean() > FILLED)


def _is_day(pixels: Array, box: Box) -> bool:
    """Whether the colour that a picture has most of is one that has an opposite."""
    left, top, right, bottom = box
    colors, counts = np.unique(pixels[top:bottom, left:right].reshape(-1, 3), axis=0, return_counts=True)
    most = colors[counts.argmax()]
    return any(np.linalg.norm(most - 255 * np.array(to_rgb(color))) < NEAR for color in BY_DAY)
