"""A search for a plan as a figure: what the candidates of each iteration would lead to, and what then happened."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from wm_tutorial.data import Narrowing
from wm_tutorial.figures.open_loop import where
from wm_tutorial.figures.style import GREY, MODEL, TRUTH, WIDTH, Plot, give_room, short, styled

MOST_PANELS, PANELS_A_LINE = 6, 3
MOST_PATHS = 100  # more lines than this are one surface


@styled
def narrowing(found: Narrowing) -> Plot:
    """The candidates' imagined paths narrow from iteration to iteration; beside them what the agent then met.

    A panel for each iteration, of many the first, the last and some between: at most 6. Elites, to which the next
    candidates were fitted, are vermilion, the others grey; of more than 100 candidates the first 100 are drawn.
    """
    iterations = len(found.paths)
    shown = np.unique(np.linspace(0, iterations - 1, min(iterations, MOST_PANELS)).round().astype(int))
    columns = 2 if len(shown) == 4 else min(len(shown), PANELS_A_LINE)
    lines = -(-len(shown) // columns)
    figure = Plot(figsize=(WIDTH, 1.9 * lines + 0.7), layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axes, i in zip(grid.flat, shown, strict=False):
        _draw(axes, found, int(i))
    for axes in grid.flat[len(shown) :]:
        axes.set_axis_off()
    for axes in grid.flat[: len(shown)][-columns:]:  # those with no other below them
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("row t")
    give_room(grid[0, 0])
    keys = [
        Line2D([], [], color=GREY, lw=1.0, label="candidates"),
        Line2D([], [], color=MODEL, lw=1.2, label="elites"),
        Line2D([], [], color=TRUTH, lw=2.4, label="what happened, planning anew in each row"),
    ]
    title = f"{found.environment}  {found.name}".strip()
    figure.legend(
        handles=keys, loc="outside upper left", ncols=3, title=title, labelcolor="linecolor", alignment="left"
    )
    figure.alt = _alt(found)
    return figure


def _draw(axes: Axes, found: Narrowing, i: int) -> None:
    """The candidates of one iteration, the elites on top."""
    rows = found.row + np.arange(found.paths.shape[2])
    paths, elites = found.paths[i, :MOST_PATHS], found.elites[i, :MOST_PATHS]
    for path in paths[~elites]:
        axes.plot(rows, path, color=GREY, lw=0.6, alpha=0.35)
    for path in paths[elites]:
        axes.plot(rows, path, color=MODEL, lw=0.8, alpha=0.7)
    axes.plot(rows[: len(found.happened)], found.happened, color=TRUTH, lw=2.4, alpha=0.9)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_title(f"iteration {i + 1}: mean return {short(found.returns[i].mean())}")


def _alt(found: Narrowing) -> str:
    first, last = (float(found.paths[i, :, -1].std()) for i in (0, -1))
    return (
        f"A search for a plan in {where(found)}: {found.paths.shape[1]} candidates of {found.paths.shape[2] - 1} steps "
        f"in {len(found.paths)} iterations. From the first to the last the standard deviation between their ends "
        f"({found.name}) goes from {short(first)} to {short(last)}, and their mean imagined return from "
        f"{short(found.returns[0].mean())} to {short(found.returns[-1].mean())}."
    )
