"""A dream as a film: one frame for each row, in which the agent closes its eyes."""

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path as Outline
from matplotlib.text import Text
from PIL import Image

from wm_tutorial.data import Array, Dream
from wm_tutorial.errors import InputError
from wm_tutorial.figures.open_loop import (
    WHOLE_LINE,
    Panel,
    errors_alt,
    limits,
    mark_context,
    panels_of,
    seat,
    views,
    where,
)
from wm_tutorial.figures.sketches import EYES_CLOSED, EYES_OPEN, REALITY, SHADOW, SKETCHES, Light, Sketch
from wm_tutorial.figures.style import (
    FAINT,
    FILM_DPI,
    GREY,
    INK,
    MODEL,
    PAPER,
    TRUTH,
    WIDTH,
    Plot,
    styled,
    write_file,
)

Update: TypeAlias = Callable[[int], None]  # moves what it drew to a row

NO_DITHER = Image.Dither.NONE
HEIGHT = 74  # pixels of a panel
BELOW = 46  # pixels of the film under its last panel, for the numbers of the axis
EYE_OPEN = Outline(
    [(-1, 0), (0, 1.05), (1, 0), (0, -1.05), (-1, 0)],
    [Outline.MOVETO, Outline.CURVE3, Outline.CURVE3, Outline.CURVE3, Outline.CURVE3],
)
EYE_CLOSED = Outline(
    [(-1, 0), (0, -1.05), (1, 0), (-0.62, -0.38), (-0.85, -0.75), (0, -0.53), (0, -1), (0.62, -0.38), (0.85, -0.75)],
    [Outline.MOVETO, Outline.CURVE3, Outline.CURVE3] + [Outline.MOVETO, Outline.LINETO] * 3,
)


@styled
def film(dream: Dream, path: str | Path, fps: float = 10.0) -> str:
    """Write an animated GIF with one frame for each row, and return its alternative text.

    Images: truth, model and error side by side. Vectors: growing lines of the first 8 entries, below two pictures,
    reality and the agent's dream, where `SKETCHES` knows the environment; elsewhere beside what the environment drew
    of itself, if the dream has it. At row `context` the dream's eyes close.
    Takes about 0.1 s a row.

    fps: rows a second, at most 50 (browsers play faster ones slowly). The last frame stays for two seconds. Missing
    folders are made. Raises InputError for another fps or a name that does not end in .gif, OutputError if the file
    cannot be written.
    """
    path = Path(path)
    if not 0.0 < fps <= 50.0:
        raise InputError(f"fps is {fps}; a GIF plays more than 0 and at most 50 frames a second: try 10")
    if path.suffix.lower() != ".gif":
        raise InputError(f"the film is {path.name!r}; films are animated GIFs: give a name that ends in .gif")
    figure, update = _stage(dream)
    rows, samples = range(len(dream.obs)), sorted({0, dream.context - 1, dream.context, len(dream.obs) - 1})
    # One palette and no dithering: what does not move stays identical, and the file small.
    palette = _palette([_snapshot(figure, update, row) for row in samples])
    first, *others = (_snapshot(figure, update, row).quantize(palette=palette, dither=NO_DITHER) for row in rows)
    durations = [round(1000 / fps)] * len(others) + [2000]
    alt = f"Film, one frame for each row. {_film_alt(dream)}"
    options = {"save_all": True, "append_images": others, "duration": durations, "loop": 0, "optimize": True}
    write_file(path, lambda: first.save(path, format="GIF", comment=alt.encode(), **options))
    return alt


@styled
def still(dream: Dream, row: int) -> Plot:
    """One frame of the film. Raises InputError for a row outside 0..T-1."""
    if not 0 <= row < len(dream.obs):
        raise InputError(f"row is {row}; the dream has {len(dream.obs)} rows: give 0 to {len(dream.obs) - 1}")
    figure, update = _stage(dream)
    update(row)
    figure.alt = f"Row {row} of a film, {_state(dream, row)}. {_film_alt(dream)}"
    return figure


def _snapshot(figure: Figure, update: Update, row: int) -> Image.Image:
    update(row)
    pixels = BytesIO()
    figure.savefig(pixels, format="rgba", dpi=FILM_DPI)
    return Image.frombuffer("RGBA", figure.canvas.get_width_height(), pixels.getvalue()).convert("RGB")


def _palette(samples: Sequence[Image.Image]) -> Image.Image:
    """An image that holds the 200 colours which serve all samples best."""
    sheet = Image.fromarray(np.concatenate([np.asarray(sample) for sample in samples]))
    return sheet.quantize(200, Image.Quantize.MEDIANCUT)


def _state(dream: Dream, row: int) -> str:
    return "eyes open" if row < dream.context else "eyes closed, imagining"


def _film_alt(dream: Dream) -> str:
    views = "Lines of reality and of the agent's dream"
    if dream.is_image or dream.environment in SKETCHES:
        views = "Reality and the agent's dream side by side"
    elif dream.frames is not None:
        views = "Reality as the environment draws it, beside lines of reality and of the agent's dream"
    return f"{views}, {len(dream.obs)} rows of {where(dream)}. {errors_alt(dream)}"


def _stage(dream: Dream) -> tuple[Plot, Update]:
    """The figure of a film, and how to move it to a row."""
    figure, updates = (_image_stage if dream.is_image else _vector_stage)(dream)
    _caption(figure, 20, 20, dream.environment, INK).set_fontweight("bold")
    clock = _caption(figure, 680, 20, "", GREY, ha="right")

    def update(row: int) -> None:
        seen = row < dream.context
        clock.set_text(f"row {row}, " + ("seen" if seen else f"step {row - dream.context + 1} of the dream"))
        for move in updates:
            move(row)

    return figure, update


def _pixels(figure: Figure) -> tuple[float, float]:
    width, height = figure.get_size_inches() * FILM_DPI
    return float(width), float(height)


def _film_figure(height: float) -> Plot:
    return Plot(figsize=(WIDTH, height / FILM_DPI), dpi=FILM_DPI)


def _place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in pixels, from the upper left corner: pixels of images then fall on pixels of the film."""
    total_width, total_height = _pixels(figure)
    bottom = total_height - top - height
    return figure.add_axes((left / total_width, bottom / total_height, width / total_width, height / total_height))


def _caption(figure: Figure, left: float, top: float, text: str, color: str, **style: Any) -> Text:
    width, height = _pixels(figure)
    return figure.text(left / width, 1 - top / height, text, color=color, va="center", fontsize=10, **style)


def _vector_stage(dream: Dream) -> tuple[Plot, list[Update]]:
    """Pictures where the environment can be drawn, and below them a panel of growing lines for each entry."""
    sketch = SKETCHES.get(dream.environment)
    if sketch is None and dream.frames is not None:
        return _filmed_stage(dream, dream.frames)
    panels = panels_of(dream)[:-2]  # the last two are reward and continue
    lines = -(-len(panels) // 2)
    top = 260 if sketch else 92
    pitch = 124 if len(panels) % 2 else 106  # an odd one out has numbers below
    figure = _film_figure(top + pitch * (lines - 1) + HEIGHT + BELOW)
    updates = _pictures(figure, dream, sketch) if sketch else []
    updates.append(_sides(figure, dream))
    for i, panel in enumerate(panels):
        line, columns = seat(i, len(panels))
        left, right = 58 + 340 * columns.start, 340 * columns.stop
        is_last, alone = line == lines - 1, columns == WHOLE_LINE
        updates += _panel(figure, dream, panel, (left, top + line * pitch, right - left), is_last or alone, is_last)
    return figure, updates


def _filmed_stage(dream: Dream, frames: Array) -> tuple[Plot, list[Update]]:
    """What the environment drew on the left; right of it and below, as the agent sees it, lines of the entries."""
    panels, pitch, top = panels_of(dream)[:-2], 106, 92
    below = max(len(panels) - 4, 0) // 2  # so many stand under the picture, beside the last of the others
    lines = len(panels) - below
    side = 320  # of a square that the picture fits into
    scale = side / max(frames.shape[1:3])
    height, width = (round(length * scale) for length in frames.shape[1:3])
    figure = _film_figure(max(top + pitch * (lines - 1) + HEIGHT + BELOW, 72 + height + 20))
    axes = _place(figure, 20 + (side - width) / 2, 72, width, height)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    updates = [_sides(figure, dream), _screen(axes, frames, len(frames), "antialiased")]
    for i, panel in enumerate(panels):
        left, line = (398, i) if i < lines else (58, i - below)
        is_last = line == lines - 1
        updates += _panel(figure, dream, panel, (left, top + line * pitch, 282), is_last, is_last)
    return figure, updates


def _sides(figure: Figure, dream: Dream) -> Update:
    """Name reality on the left and the dream on the right, with its eyes."""
    _caption(figure, 20, 50, "reality", TRUTH)
    _caption(figure, 360, 50, "the agent's dream", MODEL)
    return _eyes(figure, dream, 514, 50)


def _panel(
    figure: Figure, dream: Dream, panel: Panel, place: tuple[float, float, float], numbered: bool, named: bool
) -> list[Update]:
    """Growing lines of one entry, at `place`: left, top and width in pixels."""
    name, truth, model, _ = panel
    axes = _place(figure, *place, HEIGHT)
    mark_context(axes, dream)
    axes.set_ylim(limits(truth, model))
    axes.set_title(name)
    axes.tick_params(labelbottom=numbered)
    axes.set_xlabel("row t" if named else "")
    return [_growing(axes, truth, TRUTH, 2.4), _growing(axes, model, MODEL, 1.5)]


def _growing(axes: Axes, values: Array, color: str, width: float) -> Update:
    """A line (T,) that has been drawn up to a row, with a dot at its end."""
    (line,) = axes.plot([], [], color=color, lw=width)
    (dot,) = axes.plot([], [], "o", color=color, ms=5, mec=PAPER, mew=0.8, clip_on=False)
    low, high = axes.get_ylim()

    def move(row: int) -> None:
        line.set_data(np.arange(row + 1), values[: row + 1])
        dot.set_data([row], [values[row]])
        dot.set_visible(bool(low <= values[row] <= high))

    return move


def _pictures(figure: Figure, dream: Dream, sketch: Sketch) -> list[Update]:
    """Reality on the left, the dream on the right: by day while its eyes are open, at night when they are closed."""
    left, right = (_place(figure, x, 62, 320, 158) for x in (20, 360))
    for axes in (left, right):
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)

    def move(row: int) -> None:
        _picture(left, sketch, dream.obs[row], REALITY)
        asleep = row >= dream.context
        _picture(right, sketch, dream.predicted_obs[row], EYES_CLOSED if asleep else EYES_OPEN, dream.obs[row])

    return [move]


def _picture(axes: Axes, sketch: Sketch, observation: Array, light: Light, truth: Array | None = None) -> None:
    for artist in (*axes.lines, *axes.patches, *axes.collections, *axes.images, *axes.texts):
        artist.remove()
    axes.set_facecolor(light.sky)
    if light is EYES_CLOSED and truth is not None:
        x, y = np.random.default_rng(8).uniform(size=(2, 26))  # stars, in the upper part of the sky
        axes.scatter(x, 0.35 + 0.65 * y, s=1.2, color="#F5EFD6", alpha=0.7, lw=0, transform=axes.transAxes)
        axes.text(0.98, 0.05, "shadow: reality", color="#8F9AC9", fontsize=8, ha="right", transform=axes.transAxes)
        sketch(axes, truth, SHADOW)
    sketch(axes, observation, light)
    _fill_panel(axes)


def _fill_panel(axes: Axes) -> None:
    """Widen the limits in one direction, until a metre is as long upwards as sideways."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    pixels_wide, pixels_high = axes.bbox.size
    unit = max((right - left) / pixels_wide, (top - bottom) / pixels_high)
    wider, higher = unit * pixels_wide - (right - left), unit * pixels_high - (top - bottom)
    axes.set(xlim=(left - wider / 2, right + wider / 2), ylim=(bottom - higher / 2, top + higher / 2))


def _eyes(figure: Figure, dream: Dream, left: float, top: float) -> Update:
    """An eye at a place in pixels, that closes when the context ends, and what that means."""
    width, height = _pixels(figure)
    eye, pupil = Line2D([], [], mew=1.3, mfc="none", ms=15, ls="none"), Line2D([], [], marker="o", ms=4.5, ls="none")
    for artist in (eye, pupil):
        artist.set_data([left / width], [1 - top / height])
        figure.add_artist(artist)
    state = _caption(figure, left + 15, top, "", INK)
    state.set_fontsize(9)

    def move(row: int) -> None:
        is_open = row < dream.context
        color = GREY if is_open else INK
        eye.set_marker(EYE_OPEN if is_open else EYE_CLOSED)
        eye.set_markeredgecolor(color)
        pupil.set_color(color)
        pupil.set_visible(is_open)
        state.set(text=_state(dream, row), color=color)

    return move


def _image_stage(dream: Dream) -> tuple[Plot, list[Update]]:
    """Truth, model and error at a whole number of screen pixels for each pixel, and the error as a growing line."""
    rows, columns = dream.obs.shape[1:3]
    scale = max(210 // columns, 1) if columns <= 210 else 210 / columns
    width, height = round(columns * scale), round(rows * scale)
    figure = _film_figure(62 + height + 132 + BELOW)
    lefts = [20 + round(i * (660 - width) / 2) for i in range(3)]
    updates = [_eyes(figure, dream, lefts[1] + 10, 62 + height + 18)]
    titles = {"truth": ("reality", TRUTH), "model": ("the agent's dream", MODEL), "error": ("absolute error", INK)}
    for left, (name, frames) in zip(lefts, views(dream).items(), strict=True):
        _caption(figure, left, 50, *titles[name])
        axes = _place(figure, left, 62, width, height)
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
        updates.append(_screen(axes, frames, dream.context if name == "model" else len(frames), "nearest"))
    axes = _place(figure, 58, 62 + height + 58, 622, 74)
    mark_context(axes, dream)
    axes.set_ylim(0, 1.2 * max(dream.model_error.max(), 1e-9))
    axes.set_title("root mean squared error of the pixels")
    axes.set_xlabel("row t")
    return figure, [*updates, _growing(axes, dream.model_error, MODEL, 1.8)]


def _screen(axes: Axes, frames: Array, closes: int, interpolation: Literal["nearest", "antialiased"]) -> Update:
    """Frames (T, height, width, 3), with a border that from row `closes` on says that they are imagined."""
    picture = axes.imshow(frames[0], interpolation=interpolation, aspect="auto")

    def move(row: int) -> None:
        picture.set_data(frames[row])
        axes.spines[:].set(visible=True, color=MODEL if row >= closes else FAINT, linewidth=4 if row >= closes else 1)

    return move
