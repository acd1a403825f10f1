"""Every figure and film that the command line and the chapters show.

The figures share one palette and carry their own alternative text. They never touch pyplot, your backend or your
rcParams. A notebook shows them at book width; `save` writes them to disk, `film` writes an animated GIF.

Where a dream is shown, blue is what happened, vermilion is what the model believes, and dotted grey is what one gets
without a model. Shape letters: T rows, O observation entries, H horizon, N imagined starts; images are
(height, width, channels).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar

import numpy as np
from matplotlib import colormaps, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.gridspec import SubplotSpec
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyBboxPatch
from matplotlib.path import Path as Outline
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import ArrayLike
from PIL import Image

from wm_tutorial.errors import InputError, OutputError
from wm_tutorial.rows import Array

# --- Colours, style, alternative text ---------------------------------------------------------------------------------

# Okabe & Ito 2008, "Color Universal Design": told apart with every common form of colour blindness.
BLUE, VERMILION, GREEN, ORANGE, PURPLE = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7"
INK, GREY, FAINT = "#1F2A37", "#667080", "#D5D9DE"  # text, secondary text, grid
PAPER, SEEN, NIGHT = "#FDFCFA", "#E8EDF2", "#1B2240"  # opaque, so that figures can be read on dark pages too
TRUTH, MODEL, PERSISTENCE = BLUE, VERMILION, GREY

WIDTH = 7.0  # inches: 700 pixels in the book
PNG_DPI, FILM_DPI = 150, 100
MAX_PANELS = 8  # more entries of an observation than this are left out
IMAGE_COLUMNS = 8
RUNNING_MEAN = 20  # episodes
MISTAKE_NONE = "no mistake"

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


def _house_style() -> AbstractContextManager[None]:
    """The same look whatever the user has set; what the user has set is back afterwards."""
    return style.context(STYLE, after_reset=True)


def _styled(function: Callable[P, R]) -> Callable[P, R]:
    @wraps(function)
    def in_house_style(*args: P.args, **kwargs: P.kwargs) -> R:
        with _house_style():
            return function(*args, **kwargs)

    return in_house_style


class Plot(Figure):
    """A figure that knows its alternative text, and that a notebook shows at book width without pyplot."""

    alt: str = ""

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        png = BytesIO()
        with _house_style():
            self.savefig(png, format="png", dpi=PNG_DPI)
        width = round(100 * self.get_figwidth())
        return {"image/png": png.getvalue()}, {"image/png": {"width": width, "alt": self.alt}}


def alt_text(figure: Figure) -> str:
    """What a figure made here shows, main numbers included; empty for a figure made elsewhere."""
    return figure.alt if isinstance(figure, Plot) else ""


@_styled
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
    _write(path, lambda: figure.savefig(path, format="png", dpi=dpi, metadata={"Description": alt}))
    return path


def _write(path: Path, write: Callable[[], object]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write()
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error}): choose another place, or make room there") from error


# --- What is compared -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Dream:
    """One real episode beside the model's open-loop prediction of it.

    obs                 (T, O) float32 in the environment's units, or (T, height, width, channels) uint8
    predicted_obs       (T, O), or (T, height, width, channels) in 0..1
    reward              (T,)  predicted_reward (T,)
    continue_           (T,)  1 - terminal; predicted_continue (T,) is a probability
    context             rows the model saw, 1..T-1: until then it reconstructs, from then on it knows only the actions
    environment         Gymnasium id
    names               of the O entries, with units; empty where there are none

    Raises InputError if the arrays do not fit together, hold something that is no finite number, or leave nothing to
    predict.
    """

    obs: Array
    predicted_obs: Array
    reward: Array
    predicted_reward: Array
    continue_: Array
    predicted_continue: Array
    context: int
    environment: str
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_shapes()
        rows = len(self.obs)
        if not 1 <= self.context < rows:
            raise InputError(
                f"context is {self.context}; with {rows} rows give 1 to {rows - 1}: some are seen, some imagined"
            )
        for name in ("obs", "predicted_obs", "reward", "predicted_reward", "continue_", "predicted_continue"):
            if not np.isfinite(getattr(self, name)).all():
                raise InputError(f"{name} holds a value that is no finite number: look for where the model diverged")
        if self.is_image and not -0.01 <= self.predicted_obs.min() <= self.predicted_obs.max() <= 1.01:
            low, high = self.predicted_obs.min(), self.predicted_obs.max()
            raise InputError(
                f"predicted_obs spans {low:.3g} to {high:.3g}; predicted images lie in 0..1: divide by 255"
            )

    def _check_shapes(self) -> None:
        shape, is_uint8 = self.obs.shape, self.obs.dtype == np.uint8
        if len(shape) not in (2, 4) or shape[0] < 2 or 0 in shape or (self.is_image and not is_uint8):
            raise InputError(
                f"obs is {self.obs.dtype} of shape {shape}; give one episode of at least 2 rows, (T, O) for vectors or "
                "(T, height, width, channels) uint8 for images, without a batch axis"
            )
        if self.predicted_obs.shape != shape:
            raise InputError(f"predicted_obs has shape {self.predicted_obs.shape}, obs {shape}: give both alike")
        for name in ("reward", "predicted_reward", "continue_", "predicted_continue"):
            if (given := getattr(self, name).shape) != shape[:1]:
                raise InputError(f"{name} has shape {given}; obs has {shape[0]} rows: give ({shape[0]},)")
        if self.names and (self.is_image or len(self.names) != shape[1]):
            raise InputError(
                f"names holds {len(self.names)} names and obs has shape {shape}; give one name for each entry "
                "of a vector, and none for images"
            )

    @property
    def is_image(self) -> bool:
        """Whether the observations are images."""
        return self.obs.ndim == 4

    @property
    def truth(self) -> Array:
        """`obs` in the units of `predicted_obs`: the same for vectors, 0..1 for images."""
        return self.obs / 255.0 if self.is_image else self.obs

    @property
    def persistence(self) -> Array:
        """The prediction that needs no model, of the shape of `truth`: the last row seen, held from then on."""
        return self.truth[np.minimum(np.arange(len(self.obs)), self.context - 1)]

    @property
    def model_error(self) -> Array:
        """Root mean squared error of each row over all entries or pixels, (T,), in the units of `truth`."""
        return _row_error(self.truth, self.predicted_obs)

    @property
    def persistence_error(self) -> Array:
        """The same for `persistence`; 0 in the context, where nothing is predicted. (T,)."""
        return _row_error(self.truth, self.persistence)


def _row_error(truth: Array, prediction: Array) -> Array:
    squared: Array = (prediction - truth).reshape(len(truth), -1) ** 2
    error: Array = np.sqrt(squared.mean(axis=1))
    return error


# --- Drawings of environments -----------------------------------------------------------------------------------------


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


# --- Open loop: the figure --------------------------------------------------------------------------------------------


@_styled
def open_loop(dream: Dream) -> Plot:
    """What the model predicted beside what happened, and whether that beats holding the last row seen.

    Vectors: a panel for each of the first 8 entries. Images: truth, model and absolute error at about 8 rows. Below,
    for both: reward, the probability that the episode goes on, and the root mean squared error of each row.
    """
    panels = _panels(dream)
    lines = -(-len(panels) // 2)
    frames = [_frames_height(dream)] if dream.is_image else []
    figure = Plot(figsize=(WIDTH, sum(frames) + 1.05 * lines + 2.3), layout="constrained")
    grid = figure.add_gridspec(len(frames) + lines + 1, 2, height_ratios=[*frames, *[1.0] * lines, 1.6])
    if dream.is_image:
        _frames(figure, grid[0, :], dream)
    for i, (name, truth, model, persistence) in enumerate(panels):
        line, columns = _seat(i, len(panels))
        axes = figure.add_subplot(grid[len(frames) + line, columns])
        _compare(axes, dream, truth, model, persistence, name)
        axes.tick_params(labelbottom=line == lines - 1 or columns == WHOLE_LINE)
    axes.set_ylim(-0.08, 1.12)  # the last panel shows a probability
    _error_panel(figure.add_subplot(grid[-1, :]), dream)
    _heading(figure, dream)
    figure.alt = _open_loop_alt(dream)
    return figure


def _panels(dream: Dream) -> list[tuple[str, Array, Array, Array | None]]:
    """Name, truth (T,), model (T,) and persistence (T,) of what is drawn as lines: entries, reward, continue."""
    entries = dream.names or tuple(f"entry {i}" for i in range(0 if dream.is_image else dream.obs.shape[1]))
    truth, model, held = dream.truth, dream.predicted_obs, dream.persistence
    return [
        *((name, truth[:, i], model[:, i], held[:, i]) for i, name in enumerate(entries[:MAX_PANELS])),
        ("reward", dream.reward, dream.predicted_reward, None),
        ("probability that the episode goes on", dream.continue_, dream.predicted_continue, None),
    ]


WHOLE_LINE = slice(0, 2)


def _seat(panel: int, panels: int) -> tuple[int, slice]:
    """Line and columns of a panel on a page two panels wide; an odd one out comes first, and gets the whole line."""
    if panels % 2 and panel == 0:
        return 0, WHOLE_LINE
    line, column = divmod(panel + panels % 2, 2)
    return line, slice(column, column + 1)


def _heading(figure: Figure, dream: Dream) -> None:
    left_out = 0 if dream.is_image else max(dream.obs.shape[1] - MAX_PANELS, 0)
    title = dream.environment + (f"  ({left_out} more entries are left out)" if left_out else "")
    keys = [
        Line2D([], [], color=TRUTH, lw=2.4, label="truth"),
        Line2D([], [], color=MODEL, lw=1.5, label="model"),
        Line2D([], [], color=PERSISTENCE, lw=1.4, ls=":", label="last seen value, held"),
    ]
    font = FontProperties(weight="bold", size=10)
    look = {"labelcolor": "linecolor", "title_fontproperties": font, "alignment": "left"}
    figure.legend(handles=keys, loc="outside upper left", ncols=3, title=title, **look)


def _mark_context(axes: Axes, dream: Dream, labels: bool = False) -> None:
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
    _mark_context(axes, dream)
    if persistence is not None:
        last = dream.context - 1
        axes.plot(rows[last:], persistence[last:], color=PERSISTENCE, lw=1.4, ls=":", label="last seen value")
    axes.plot(rows, truth, color=TRUTH, lw=2.4, alpha=0.9, label="truth")
    axes.plot(rows, model, color=MODEL, lw=1.5, label="model")
    axes.set_ylim(_limits(truth, model))
    axes.set_title(title)


def _limits(truth: Array, model: Array) -> tuple[float, float]:
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
    axes.set_ylim(0, 1.25 * max(model.max(), persistence.max(), 1e-9))
    _mark_context(axes, dream, labels=True)
    axes.set_title(f"error of the observation (root mean square over its {'pixels' if dream.is_image else 'entries'})")
    axes.set_xlabel("row t")


# --- Open loop: images ------------------------------------------------------------------------------------------------


def _views(dream: Dream) -> dict[str, Array]:
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
    for line, (name, frames) in enumerate(_views(dream).items()):
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
    names = ", ".join(name for name, *_ in _panels(dream))
    return (
        f"Open-loop prediction in {_where(dream)}, {len(dream.obs)} rows. "
        f"{'Strips of frames and line' if dream.is_image else 'Line'} plots ({names}) compare truth and model. "
        f"{_errors_alt(dream)}"
    )


def _errors_alt(dream: Dream) -> str:
    context, model, held = dream.context, dream.model_error, dream.persistence_error
    return (
        f"The model sees the first {context} rows and imagines the other {len(model) - context} from the actions "
        f"alone; over these its root mean squared error is {_text(_pooled(model[context:]))}, and that of holding the "
        f"last seen row {_text(_pooled(held[context:]))}; in the last row {_text(model[-1])} and {_text(held[-1])}."
    )


def _where(dream: Dream) -> str:
    return dream.environment or "an environment without a name"


def _pooled(error: Array) -> float:
    """Root mean squared errors of several rows -> that of all of them together."""
    return float(np.sqrt((error**2).mean()))


def _text(number: float) -> str:
    """For labels and alternative text: 12,345 or 0.123."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


# --- Open loop: the film ----------------------------------------------------------------------------------------------

Update: TypeAlias = Callable[[int], None]  # moves what it drew to a row

NO_DITHER = Image.Dither.NONE
BELOW = 46  # pixels of the film under its last panel, for the numbers of the axis
EYE_OPEN = Outline(
    [(-1, 0), (0, 1.05), (1, 0), (0, -1.05), (-1, 0)],
    [Outline.MOVETO, Outline.CURVE3, Outline.CURVE3, Outline.CURVE3, Outline.CURVE3],
)
EYE_CLOSED = Outline(
    [(-1, 0), (0, -1.05), (1, 0), (-0.62, -0.38), (-0.85, -0.75), (0, -0.53), (0, -1), (0.62, -0.38), (0.85, -0.75)],
    [Outline.MOVETO, Outline.CURVE3, Outline.CURVE3] + [Outline.MOVETO, Outline.LINETO] * 3,
)


@_styled
def film(dream: Dream, path: str | Path, fps: float = 10.0) -> str:
    """Write an animated GIF with one frame for each row, and return its alternative text.

    Images: truth, model and error side by side. Vectors: growing lines of the first 8 entries, below two pictures,
    reality and the agent's dream, where `SKETCHES` knows the environment. At row `context` the dream's eyes close.
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
    _write(path, lambda: first.save(path, format="GIF", comment=alt.encode(), **options))
    return alt


@_styled
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
    pictures = dream.is_image or dream.environment in SKETCHES
    views = "Reality and the agent's dream side by side" if pictures else "Lines of reality and of the agent's dream"
    return f"{views}, {len(dream.obs)} rows of {_where(dream)}. {_errors_alt(dream)}"


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
    panels = _panels(dream)[:-2]  # the last two are reward and continue
    lines = -(-len(panels) // 2)
    top, height = 260 if sketch else 92, 74
    pitch = 124 if len(panels) % 2 else 106  # an odd one out has numbers below
    figure = _film_figure(top + pitch * (lines - 1) + height + BELOW)
    updates = _pictures(figure, dream, sketch) if sketch else []
    _caption(figure, 20, 50, "reality", TRUTH)
    _caption(figure, 360, 50, "the agent's dream", MODEL)
    updates.append(_eyes(figure, dream, 514, 50))
    for i, (name, truth, model, _) in enumerate(panels):
        line, columns = _seat(i, len(panels))
        left, right = 58 + 340 * columns.start, 340 * columns.stop
        axes = _place(figure, left, top + line * pitch, right - left, height)
        _mark_context(axes, dream)
        axes.set_ylim(_limits(truth, model))
        axes.set_title(name)
        axes.tick_params(labelbottom=line == lines - 1 or columns == WHOLE_LINE)
        axes.set_xlabel("row t" if line == lines - 1 else "")
        updates += [_growing(axes, truth, TRUTH, 2.4), _growing(axes, model, MODEL, 1.5)]
    return figure, updates


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
        color = GREY if is_open else NIGHT
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
    for left, (name, frames) in zip(lefts, _views(dream).items(), strict=True):
        _caption(figure, left, 50, *titles[name])
        axes = _place(figure, left, 62, width, height)
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
        updates.append(_screen(axes, frames, dream.context if name == "model" else len(frames)))
    axes = _place(figure, 58, 62 + height + 58, 622, 74)
    _mark_context(axes, dream)
    axes.set_ylim(0, 1.2 * max(dream.model_error.max(), 1e-9))
    axes.set_title("root mean squared error of the pixels")
    axes.set_xlabel("row t")
    return figure, [*updates, _growing(axes, dream.model_error, MODEL, 1.8)]


def _screen(axes: Axes, frames: Array, closes: int) -> Update:
    """Frames (T, height, width, 3), with a border that from row `closes` on says that they are imagined."""
    picture = axes.imshow(frames[0], interpolation="nearest", aspect="auto")

    def move(row: int) -> None:
        picture.set_data(frames[row])
        axes.spines[:].set(visible=True, color=MODEL if row >= closes else FAINT, linewidth=4 if row >= closes else 1)

    return move


# --- Learning curves --------------------------------------------------------------------------------------------------

Record: TypeAlias = Mapping[str, Any]


def _of_kind(records: Iterable[Record], kind: str, *keys: str) -> list[Record]:
    """The records of a kind; InputError if one lacks a key."""
    chosen = [record for record in records if record.get("kind") == kind]
    for record in chosen:
        if missing := [key for key in keys if key not in record]:
            raise InputError(
                f"a record of kind {kind!r} holds {sorted(record)}, but no {', '.join(missing)}: give the lines of a "
                "metrics.jsonl as the trainer writes them"
            )
    return chosen


def _no_records(records: Sequence[Record], wanted: str) -> InputError:
    kinds = sorted({str(record.get("kind")) for record in records})
    given = f"{len(records)} records of the kinds {', '.join(kinds)}" if records else "no records"
    return InputError(f"got {given}; this figure needs {wanted}: give the lines of a metrics.jsonl, and train longer")


def _running_mean(values: Array, window: int) -> Array:
    """Mean of each value and the `window` - 1 before it, fewer at the start: (N,) -> (N,)."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - window, 0)
    mean: Array = (total[last] - total[first]) / (last - first)
    return mean


def _step_axis(axes: Axes, ticks: int = 5) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(ticks, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step + 0:,.0f}" if step == round(step) else ""))


@_styled
def return_curve(records: Sequence[Record]) -> Plot:
    """Returns against environment steps: each training episode, their running mean, and the evaluations.

    records: lines of metrics.jsonl; those of kind "episode" (step, return) and "evaluation" (step, mean, returns)
    count. An evaluation is marked at its mean, with a bar from the 10th to the 90th percentile of its episodes. Raises
    InputError if there are none of either kind.
    """
    episodes = _of_kind(records, "episode", "step", "return")
    evaluations = _of_kind(records, "evaluation", "step", "mean", "returns")
    if not episodes and not evaluations:
        raise _no_records(records, 'some of kind "episode" or "evaluation"')
    figure = Plot(figsize=(WIDTH, 3.7), layout="constrained")
    axes = figure.add_subplot()
    said = []
    if episodes:
        said.append(_draw_episodes(axes, episodes))
    if evaluations:
        said.append(_draw_evaluations(axes, evaluations))
    axes.margins(x=0.02)
    axes.set(xlabel="environment steps", ylabel="return of an episode")
    _step_axis(axes)
    figure.legend(loc="outside upper left", ncols=3, handlelength=1.6, columnspacing=1.6)
    figure.alt = "Returns against environment steps. " + " ".join(said)
    return figure


def _draw_episodes(axes: Axes, episodes: Sequence[Record]) -> str:
    steps = np.array([record["step"] for record in episodes])
    returns = np.array([record["return"] for record in episodes], float)
    mean = _running_mean(returns, RUNNING_MEAN)
    axes.plot(steps, returns, "o", color=BLUE, ms=3.5, mec="none", alpha=0.25, label="training episode")
    axes.plot(steps, mean, color=BLUE, lw=1.8, label=f"mean of the last {RUNNING_MEAN}")
    return (
        f"{len(returns)} training episodes up to step {_text(steps[-1])}, between {_text(returns.min())} and "
        f"{_text(returns.max())}; the mean of the last {min(len(returns), RUNNING_MEAN)} is {_text(mean[-1])}."
    )


def _draw_evaluations(axes: Axes, evaluations: Sequence[Record]) -> str:
    steps = np.array([record["step"] for record in evaluations])
    mean = np.array([record["mean"] for record in evaluations], float)
    low, high = np.array([np.percentile(record["returns"], (10, 90)) for record in evaluations]).T
    axes.vlines(steps, low, high, color=VERMILION, lw=4, alpha=0.3)
    label = "evaluation (mean, 10th to 90th percentile)"
    axes.plot(steps, mean, "D-", color=VERMILION, lw=1, ms=5, mec=PAPER, label=label)
    best = int(mean.argmax())
    return (
        f"{len(mean)} evaluations: the last, at step {_text(steps[-1])}, has mean {_text(mean[-1])} (10th to 90th "
        f"percentile {_text(low[-1])} to {_text(high[-1])}); the best, at step {_text(steps[best])}, "
        f"{_text(mean[best])}."
    )


@_styled
def losses(records: Sequence[Record]) -> Plot:
    """One small panel for each named loss against environment steps, logarithmic where it spans a factor of 30.

    records: lines of metrics.jsonl; those of kind "train" (step, losses) count. Raises InputError if there are none.
    """
    trained = _of_kind(records, "train", "step", "losses")
    names = list(dict.fromkeys(name for record in trained for name in record["losses"]))
    if not names:
        raise _no_records(records, 'some of kind "train" with named losses')
    columns = min(len(names), 3 if len(names) > 4 else 2)
    lines = -(-len(names) // columns)
    figure = Plot(figsize=(WIDTH, 0.5 + 1.4 * lines), layout="constrained")
    said = []
    for i, name in enumerate(names):
        rows = [record for record in trained if name in record["losses"]]
        values = np.array([record["losses"][name] for record in rows], float)
        axes = figure.add_subplot(lines, columns, i + 1)
        _draw_loss(axes, np.array([record["step"] for record in rows]), values, name)
        _step_axis(axes, ticks=3)
        said.append(f"{name} from {_text(values[0])} to {_text(values[-1])}")
    figure.supxlabel("environment steps", fontsize=9, color=GREY)
    figure.alt = f"Training losses against environment steps, first to last record: {', '.join(said)}."
    return figure


def _draw_loss(axes: Axes, steps: Array, values: Array, name: str) -> None:
    axes.plot(steps, values, color=BLUE, lw=1.2, marker="o" if len(values) == 1 else None)
    if values.min() > 0 and values.max() > 30 * values.min():
        axes.set_yscale("log")
    axes.set_title(name)
    axes.set_title(_text(values[-1]), loc="right", color=BLUE)


def _label_ends(axes: Axes, ends: Mapping[str, tuple[float, str]], gap: float = 0.2) -> None:
    """Write each name at the height (data) where its line ends, at least `gap` of the panel apart. Set limits first."""
    to_panel = axes.transData + axes.transAxes.inverted()
    heights = {name: float(to_panel.transform((axes.get_xlim()[1], y))[1]) for name, (y, _) in ends.items()}
    free = 0.0
    for name in sorted(heights, key=lambda name: heights[name]):
        height = max(heights[name], free)
        free = height + gap
        color = ends[name][1]
        axes.text(1.012, height, name, transform=axes.transAxes, color=color, va="center", linespacing=1.15)


# --- Imagined trajectories --------------------------------------------------------------------------------------------


@_styled
def imagined_trajectory(
    reward: ArrayLike, continue_: ArrayLike, value: ArrayLike, returns: ArrayLike, row: int = 0
) -> Plot:
    """One imagined trajectory s_0 .. s_H: reward, continue probability, value and lambda return.

    reward (H,) belongs to the arriving states 1..H, continue_ (H + 1,) and value (H + 1,) to the states 0..H, returns
    (H,) to 0..H-1, the states in which an action was taken. With a leading axis (N, ...), `row` chooses the trajectory.
    Raises InputError if the shapes do not fit, or for another row.
    """
    reward, continue_, value, returns = (
        _one_trajectory(name, array, row)
        for name, array in {"reward": reward, "continue_": continue_, "value": value, "returns": returns}.items()
    )
    horizon = len(reward)
    if not horizon or (len(continue_), len(value), len(returns)) != (horizon + 1, horizon + 1, horizon):
        raise InputError(
            f"reward has {horizon} steps, continue_ {len(continue_)}, value {len(value)}, returns {len(returns)}; they "
            "must have H, H + 1, H + 1 and H, with H at least 1: reward at the states 1..H, continue_ and value at "
            "0..H, returns at 0..H-1"
        )
    figure = Plot(figsize=(WIDTH, 4.6), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=[1, 1, 2])
    _draw_rewards(top, reward)
    _draw_continues(middle, continue_)
    _draw_values(bottom, value, returns)
    figure.alt = (
        f"An imagined trajectory of {horizon} steps. Its rewards sum to {_text(reward.sum())}; the probability that "
        f"the episode goes on is {_text(continue_.min())} at its lowest. In the first state the value is "
        f"{_text(value[0])} and the lambda return {_text(returns[0])}; the value of the last state, {_text(value[-1])},"
        " stands for all that follows."
    )
    return figure


def _one_trajectory(name: str, array: ArrayLike, row: int) -> Array:
    values = np.asarray(array, float)
    if values.ndim not in (1, 2) or not 0 <= row < len(np.atleast_2d(values)):
        raise InputError(
            f"{name} has shape {values.shape} and row is {row}; give (steps,) and row=0, or (N, steps) and row 0..N-1"
        )
    trajectory: Array = np.atleast_2d(values)[row]
    return trajectory


def _draw_rewards(axes: Axes, reward: Array) -> None:
    arriving = np.arange(1, len(reward) + 1)
    axes.vlines(arriving, 0, reward, color=BLUE, lw=2)
    axes.plot(arriving, reward, "o", color=BLUE, ms=5, label="reward")
    axes.set_title("reward on arriving, $r_1$ .. $r_H$")
    axes.margins(x=0.02, y=0.2)


def _draw_continues(axes: Axes, continue_: Array) -> None:
    axes.plot(np.arange(len(continue_)), continue_, "o-", color=PURPLE, ms=4, lw=1.5, label="continue")
    axes.set(ylim=(-0.08, 1.12), yticks=[0, 0.5, 1])
    axes.set_title("probability that the episode goes on after the state")


def _draw_values(axes: Axes, value: Array, returns: Array) -> None:
    steps = np.arange(len(value))
    left = steps[:-1]
    axes.fill_between(left, value[:-1], returns, returns >= value[:-1], True, color=GREEN, alpha=0.18, lw=0)
    axes.fill_between(left, value[:-1], returns, returns <= value[:-1], True, color=ORANGE, alpha=0.25, lw=0)
    axes.plot(steps, value, "o-", color=INK, ms=4, lw=1.5, mfc=PAPER, label="value")
    axes.plot(left, returns, "o-", color=GREEN, ms=4, lw=1.8, label="lambda return")
    axes.set_title("value $v_0$ .. $v_H$ and lambda return $R_0$ .. $R_{H-1}$; the gap is the advantage")
    axes.set_xlabel("imagined step")
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    axes.margins(x=0.02, y=0.15)
    _label_ends(axes, {"value": (value[-1], INK), "lambda\nreturn": (returns[-1], GREEN)}, gap=0.16)


# --- Seeds ------------------------------------------------------------------------------------------------------------


@_styled
def seed_curves(curves: Mapping[int, tuple[ArrayLike, ArrayLike]], threshold: float | None = None) -> Plot:
    """Evaluation return of several seeds: each a thin line, their mean, and a bootstrap 95 % interval of that mean.

    curves: seed -> (environment steps (N,), mean returns (N,)). Seeds evaluated at other steps are interpolated, over
    the steps that all of them cover. The interval (percentile bootstrap over seeds) needs two seeds, and is too narrow
    for fewer than about ten. threshold: a return to reach, as a dashed line. Raises InputError for no or unfit curves.
    """
    seeds = {seed: _curve(seed, *curve) for seed, curve in curves.items()}
    if not seeds:
        raise InputError("curves is empty; give a mapping of seed -> (steps, means), with at least one seed")
    steps, means = _common_steps(list(seeds.values()))
    mean = means.mean(axis=0)
    low, high = _bootstrap(means)
    figure = Plot(figsize=(WIDTH, 3.7), layout="constrained")
    axes = figure.add_subplot()
    for seed, (own_steps, own_means) in seeds.items():
        axes.plot(own_steps, own_means, color=BLUE, lw=0.8, alpha=0.45, label=f"seed {seed}")
    if len(seeds) > 1:
        axes.fill_between(steps, low, high, color=BLUE, alpha=0.18, lw=0, label="95 % interval")
    axes.plot(steps, mean, color=BLUE, lw=2.4, label="mean")
    axes.margins(x=0.02)
    axes.set(xlabel="environment steps", ylabel="mean return of an evaluation")
    _step_axis(axes)
    reached = _draw_threshold(axes, threshold, [own_means for _, own_means in seeds.values()])
    many = len(seeds) > 1
    _label_ends(axes, {f"mean of\n{len(seeds)} seeds,\n95 % interval" if many else "1 seed": (mean[-1], BLUE)})
    interval = f" (bootstrap 95 % interval {_text(low[-1])} to {_text(high[-1])})" if many else ""
    figure.alt = (
        f"Evaluation return against environment steps, {len(seeds)} seeds. At step {_text(steps[-1])} their mean is "
        f"{_text(mean[-1])}{interval}, the lowest seed {_text(means[:, -1].min())}, the highest "
        f"{_text(means[:, -1].max())}.{reached}"
    )
    return figure


def _curve(seed: int, steps: ArrayLike, means: ArrayLike) -> tuple[Array, Array]:
    x, y = np.asarray(steps, float), np.asarray(means, float)
    if x.ndim != 1 or x.shape != y.shape or not len(x) or (np.diff(x) <= 0).any():
        raise InputError(
            f"seed {seed} has steps {x.shape} and means {y.shape}; give two arrays of one length, with at least one "
            "evaluation and steps that increase"
        )
    return x, y


def _common_steps(seeds: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Curves of S seeds -> the steps (N,) that all cover, and their values there (S, N)."""
    first, last = max(x[0] for x, _ in seeds), min(x[-1] for x, _ in seeds)
    every = np.unique(np.concatenate([x for x, _ in seeds]))
    steps = every[(every >= first) & (every <= last)]
    if not len(steps):
        raise InputError(
            f"one seed starts at step {first:,.0f}, another ends at {last:,.0f}; the mean needs steps that all of them "
            "cover: evaluate them over the same range, or leave one out"
        )
    return steps, np.array([np.interp(steps, x, y) for x, y in seeds])


def _bootstrap(means: Array, draws: int = 2000) -> tuple[Array, Array]:
    """95 % interval of the mean over seeds, (S, N) -> (N,), (N,); the random draws are always the same."""
    chosen = np.random.default_rng(0).integers(len(means), size=(draws, len(means)))
    low, high = np.percentile(means[chosen].mean(axis=1), (2.5, 97.5), axis=0)
    return low, high


def _draw_threshold(axes: Axes, threshold: float | None, means: Sequence[Array]) -> str:
    if threshold is None:
        return ""
    axes.axhline(threshold, color=INK, lw=1, ls=(0, (5, 4)))
    axes.text(0.01, threshold, f"threshold {_text(threshold)}", transform=axes.get_yaxis_transform(), va="bottom")
    reached = sum(bool((own >= threshold).any()) for own in means)
    return f" {reached} of {len(means)} seeds reached the threshold of {_text(threshold)} at least once."


# --- What mistakes do -------------------------------------------------------------------------------------------------


@_styled
def mistakes(summary: Mapping[str, Any]) -> Plot:
    """Losses, open-loop errors and return of agents that learned with a mistake: one line each, one dot per seed.

    The 1-step and 15-step errors are those of observations, in their standard deviations.

    summary: of `wm_tutorial.zoo.experiment.summarise`, the finished code first. A band marks its seeds, a dotted line
    what one gets without a model, by expecting no change.
    """
    rows: Mapping[str, Any] = summary["bugs"]
    panels = {
        "loss": "model loss",
        "error_1": "1-step error",
        "error_15": "15-step error",
        "reward_error": "reward error",
        "return": "return",
    }
    figure = Plot(figsize=(WIDTH, 1.3 + 0.32 * len(rows)), layout="constrained")
    every = figure.subplots(1, len(panels), sharey=True)
    for axes, (key, title) in zip(every, panels.items(), strict=True):
        healthy = next(iter(rows.values()))[key]["seeds"]
        axes.axvspan(min(healthy), max(healthy), color=BLUE, alpha=0.15, lw=0)
        if key in summary["persistence"]:
            axes.axvline(summary["persistence"][key], color=PERSISTENCE, lw=1.2, ls=":")
        for line, (name, row) in enumerate(rows.items()):
            color = BLUE if name == next(iter(rows)) else VERMILION
            seeds = row[key]["seeds"]
            axes.plot(seeds, [line] * len(seeds), "o", color=color, ms=4.5, mec="none", alpha=0.55)
            axes.plot(row[key]["mean"], line, "|", color=color, ms=13, mew=2)
        axes.set_title(title)
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.12)
        axes.xaxis.set_major_locator(MaxNLocator(2))
        if key != "return":
            axes.set_xlim(left=0.0)
    every[0].set_yticks(range(len(rows)), [MISTAKE_NONE, *list(rows)[1:]])
    every[0].set_ylim(len(rows) - 0.5, -0.5)
    first, *others = (
        f"{name}: " + ", ".join(f"{panels[k]} {_text(row[k]['mean'])}" for k in panels) for name, row in rows.items()
    )
    figure.alt = (
        f"What mistakes do to an agent on {summary['environment']} in {summary['steps']:,} steps, means over seeds. "
        f"{MISTAKE_NONE}, {first}. " + ". ".join(others) + "."
    )
    return figure
