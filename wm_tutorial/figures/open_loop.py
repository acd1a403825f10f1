"""A dream as a figure: what the model predicted beside what happened, and whether that beats holding the last row seen.

Shape letters: T rows, O observation entries; images are (height, width, channels).
"""

from typing import Literal, TypeAlias

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.gridspec import SubplotSpec
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from wm_tutorial.data import Array, Dream, Narrowing
from wm_tutorial.figures.style import (
    GREY,
    INK,
    MODEL,
    PERSISTENCE,
    SEEN,
    TRUTH,
    WIDTH,
    Plot,
    short,
    styled,
)

MAX_PANELS = 8  # more entries of an observation than this are left out
IMAGE_COLUMNS = 8
Panel: TypeAlias = tuple[str, Array, Array, Array | None]  # name, and (T,) each: truth, model, persistence


@styled
def open_loop(dream: Dream) -> Plot:
    """What the model predicted beside what happened, and whether that beats holding the last row seen.

    Vectors: a panel for each of the first 8 entries. Images: truth, model and absolute error at about 8 rows. Below,
    for both: reward, the probability that the episode goes on, and the root mean squared error of each row.
    """
    panels = panels_of(dream)
    lines = -(-len(panels) // 2)
    frames = [_frames_height(dream)] if dream.is_image else []
    figure = Plot(figsize=(WIDTH, sum(frames) + 1.05 * lines + 2.3), layout="constrained")
    grid = figure.add_gridspec(len(frames) + lines + 1, 2, height_ratios=[*frames, *[1.0] * lines, 1.6])
    if dream.is_image:
        _frames(figure, grid[0, :], dream)
    for i, (name, truth, model, persistence) in enumerate(panels):
        line, columns = seat(i, len(panels))
        axes = figure.add_subplot(grid[len(frames) + line, columns])
        _compare(axes, dream, truth, model, persistence, name)
        axes.tick_params(labelbottom=line == lines - 1 or columns == WHOLE_LINE)
    axes.set_ylim(-0.08, 1.12)  # the last panel shows a probability
    _error_panel(figure.add_subplot(grid[-1, :]), dream)
    _heading(figure, dream)
    figure.alt = _open_loop_alt(dream)
    return figure


def panels_of(dream: Dream) -> list[Panel]:
    """What is drawn as lines: entries, reward, continue.

    Of a discrete observation that is its class, and the class the model holds most likely.
    """
    if dream.is_class:
        told, guessed, last = (x.argmax(1) for x in (dream.truth, dream.predicted_obs, dream.persistence))
        return [("observation (class)", told, guessed, last), *_outcomes(dream)]
    entries = dream.names or tuple(f"entry {i}" for i in range(0 if dream.is_image else dream.obs.shape[1]))
    truth, model, held = dream.truth, dream.predicted_obs, dream.persistence
    return [
        *((name, truth[:, i], model[:, i], held[:, i]) for i, name in enumerate(entries[:MAX_PANELS])),
        *_outcomes(dream),
    ]


def _outcomes(dream: Dream) -> list[tuple[str, Array, Array, Array | None]]:
    return [
        ("reward", dream.reward, dream.predicted_reward, None),
        ("probability that the episode goes on", dream.continue_, dream.predicted_continue, None),
    ]


WHOLE_LINE = slice(0, 2)


def seat(panel: int, panels: int) -> tuple[int, slice]:
    """Line and columns of a panel on a page two panels wide; an odd one out comes first, and gets the whole line."""
    if panels % 2 and panel == 0:
        return 0, WHOLE_LINE
    line, column = divmod(panel + panels % 2, 2)
    return line, slice(column, column + 1)


def _heading(figure: Figure, dream: Dream) -> None:
    left_out = 0 if dream.is_image or dream.is_class else max(dream.obs.shape[1] - MAX_PANELS, 0)
    title = dream.environment + (f"  ({left_out} more entries are left out)" if left_out else "")
    keys = [
        Line2D([], [], color=TRUTH, lw=2.4, label="truth"),
        Line2D([], [], color=MODEL, lw=1.5, label="model"),
        Line2D([], [], color=PERSISTENCE, lw=1.4, ls=":", label="last seen value, held"),
    ]
    font = FontProperties(weight="bold", size=10)
    look = {"labelcolor": "linecolor", "title_fontproperties": font, "alignment": "left"}
    figure.legend(handles=keys, loc="outside upper left", ncols=3, title=title, **look)


def mark_context(axes: Axes, dream: Dream, labels: bool = False) -> None:
    """Shade the rows that were seen: row context - 1 is the last of them, so the edge lies half a row after it."""
    edge = dream.context - 0.5
    axes.set_xlim(-0.5, len(dream.obs) - 0.5)
    axes.axvspan(-0.5, edge, color=SEEN, lw=0, zorder=0)
    axes.axvline(edge, color=GREY, lw=0.8, zorder=1)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}".replace("-", "\N{MINUS SIGN}")))
    if labels:
        _name_sides(axes, edge, 0.97, "top")


def _name_sides(axes: Axes, edge: float, height: float, va: Literal["top", "bottom"]) -> None:
    """Say what lies left and right of the context's edge, at a height in the panel."""
    place = axes.get_xaxis_transform()
    axes.text(edge, height, "seen  ", transform=place, ha="right", va=va, color=GREY)
    axes.text(edge, height, "  imagined", transform=place, ha="left", va=va, color=GREY)


def _compare(axes: Axes, dream: Dream, truth: Array, model: Array, persistence: Array | None, title: str) -> None:
    """One number of each row, (T,): as it was, as the model predicts it, and as it was last seen."""
    rows = np.arange(len(truth))
    mark_context(axes, dream)
    if persistence is not None:
        last = dream.context - 1
        axes.plot(rows[last:], persistence[last:], color=PERSISTENCE, lw=1.4, ls=":", label="last seen value")
    axes.plot(rows, truth, color=TRUTH, lw=2.4, alpha=0.9, label="truth")
    axes.plot(rows, model, color=MODEL, lw=1.5, label="model")
    axes.set_ylim(limits(truth, model))
    axes.set_title(title)


def limits(truth: Array, model: Array) -> tuple[float, float]:
    """Room for all of the truth, and for the model as long as it strays by no more than the truth's own range."""
    low, high = float(truth.min()), float(truth.max())
    span = max(high - low, 0.1 * max(abs(low), abs(high)), 1e-3)
    low = max(min(low, float(model.min())), low - span)
    high = min(max(high, float(model.max())), high + span)
    return low - 0.12 * span, high + 0.12 * span


def _error_panel(axes: Axes, dream: Dream) -> None:
    rows, first = np.arange(len(dream.obs)), dream.context - 1
    model, persistence = dream.model_error, dream.persistence_error
    axes.plot(rows[first:], persistence[first:], color=PERSISTENCE, lw=1.4, ls=":", label="last seen value")
    axes.plot(rows, model, color=MODEL, lw=1.8, label="model")
    # at least to a hundredth of what the observation is in size: a model that is right shall look right
    axes.set_ylim(0, 1.25 * max(model.max(), persistence.max(), 0.01 * float(np.abs(dream.truth).max()), 1e-9))
    mark_context(axes, dream, labels=True)
    axes.set_title(f"error of the observation (root mean square over its {'pixels' if dream.is_image else 'entries'})")
    axes.set_xlabel("row t")


# --- Images ---------------------------------------------------------------------------------------------------------


def views(dream: Dream) -> dict[str, Array]:
    """Truth, model and absolute error as colours (T, height, width, 3) in 0..1; the largest error is the brightest."""
    error = np.abs(dream.predicted_obs - dream.truth).mean(axis=-1) / _largest_error(dream)
    return {"truth": _rgb(dream.truth), "model": _rgb(dream.predicted_obs), "error": colormaps["magma"](error)[..., :3]}


def _rgb(images: Array) -> Array:
    """Images (T, height, width, channels) in 0..1 -> colours (T, height, width, 3); of stacked frames, the last."""
    colors: Array = np.clip(images if images.shape[-1] == 3 else images[..., [-1, -1, -1]], 0.0, 1.0)
    return colors


def _largest_error(dream: Dream) -> float:
    """Of a pixel, averaged over its channels; at least 0.001, so that a perfect prediction is black."""
    return max(float(np.abs(dream.predicted_obs - dream.truth).mean(axis=-1).max()), 1e-3)


def _frames_height(dream: Dream) -> float:
    """Inches for three strips of frames at the width of the figure."""
    height, width = map(int, dream.obs.shape[1:3])
    return 3 * (WIDTH - 1.2) / IMAGE_COLUMNS * height / width + 1.2


def _frames(figure: Figure, space: SubplotSpec, dream: Dream) -> None:
    """Three strips of frames, with a common axis of row numbers."""
    rows = np.unique(np.linspace(0, len(dream.obs) - 1, IMAGE_COLUMNS).round().astype(int))
    edge = int((rows < dream.context).sum()) - 0.5
    height = dream.obs.shape[1] / dream.obs.shape[2]  # of a frame, in widths
    strips = space.subgridspec(3, 1, hspace=0.0)
    colors = {"truth": TRUTH, "model": MODEL, "error": INK}
    labels = {"truth": "truth", "model": "model", "error": f"error\n0 to {_largest_error(dream):.2g}"}
    for line, (name, frames) in enumerate(views(dream).items()):
        axes = figure.add_subplot(strips[line])
        axes.axvspan(-0.55, edge, color=SEEN, lw=0, zorder=-1)
        for i, row in enumerate(rows):
            place = (i - 0.47, i + 0.47, -0.47 * height, 0.47 * height)
            axes.imshow(frames[row], extent=place, interpolation="nearest")
        axes.axvline(edge, color=GREY, lw=0.8)
        axes.set(xlim=(-0.55, IMAGE_COLUMNS - 0.45), ylim=(-0.53 * height, 0.53 * height), yticks=[])
        axes.set_ylabel(labels[name], color=colors[name], rotation=0, ha="right", va="center")
        axes.set_xticks(range(len(rows)), [f"row {row}" for row in rows] if name == "error" else [""] * len(rows))
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.grid(False)
        if line == 0:
            _name_sides(axes, edge, 1.02, "bottom")


def _open_loop_alt(dream: Dream) -> str:
    names = ", ".join(name for name, *_ in panels_of(dream))
    return (
        f"Open-loop prediction in {where(dream)}, {len(dream.obs)} rows. "
        f"{'Strips of frames and line' if dream.is_image else 'Line'} plots ({names}) compare truth and model. "
        f"{errors_alt(dream)}"
    )


def errors_alt(dream: Dream) -> str:
    """How far model and persistence are off, in words."""
    context, model, held = dream.context, dream.model_error, dream.persistence_error
    return (
        f"The model sees the first {context} rows and imagines the other {len(model) - context} from the actions "
        f"alone; over these its root mean squared error is {short(_pooled(model[context:]))}, and that of holding the "
        f"last seen row {short(_pooled(held[context:]))}; in the last row {short(model[-1])} and {short(held[-1])}."
    )


def where(dream: Dream | Narrowing) -> str:
    """The environment, for alternative text."""
    return dream.environment or "an environment without a name"


def _pooled(error: Array) -> float:
    """Root mean squared errors of several rows -> that of all of them together."""
    return float(np.sqrt((error**2).mean()))
