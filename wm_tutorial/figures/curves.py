"""Learning curves, losses, seeds side by side, imagined trajectories, and what mistakes do.

Shape letters: H horizon, N imagined starts.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import ArrayLike

from wm_tutorial.data import Array
from wm_tutorial.errors import InputError
from wm_tutorial.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PAPER,
    PERSISTENCE,
    PURPLE,
    VERMILION,
    WIDTH,
    Plot,
    give_room,
    short,
    styled,
)

RUNNING_MEAN = 20  # episodes
MISTAKE_NONE = "no mistake"

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


@styled
def return_curve(records: Sequence[Record], measured: Mapping[int, tuple[ArrayLike, ArrayLike]] | None = None) -> Plot:
    """Returns against environment steps: each training episode, their running mean, and the evaluations.

    records: lines of metrics.jsonl; those of kind "episode" (step, return) and "evaluation" (step, mean, returns)
    count. An evaluation is marked at its mean, with a bar from the 10th to the 90th percentile of its episodes.
    measured: the curves of other seeds, as `seed_curves` takes them: from their lowest to their highest, a grey band.
    Raises InputError if there are no records of either kind.
    """
    episodes = _of_kind(records, "episode", "step", "return")
    evaluations = _of_kind(records, "evaluation", "step", "mean", "returns")
    if not episodes and not evaluations:
        raise _no_records(records, 'some of kind "episode" or "evaluation"')
    figure = Plot(figsize=(WIDTH, 3.7), layout="constrained")
    axes = figure.add_subplot()
    said = []
    if measured:
        said.append(_draw_band(axes, measured))
    if episodes:
        said.append(_draw_episodes(axes, episodes))
    if evaluations:
        said.append(_draw_evaluations(axes, evaluations))
    axes.margins(x=0.02)
    axes.set(xlabel="environment steps", ylabel="return of an episode")
    give_room(axes)
    _step_axis(axes)
    figure.legend(loc="outside upper left", ncols=2 if measured else 3, handlelength=1.6, columnspacing=1.6)
    figure.alt = "Returns against environment steps. " + " ".join(said)
    return figure


def _draw_band(axes: Axes, measured: Mapping[int, tuple[ArrayLike, ArrayLike]]) -> str:
    steps, means = _common_steps([_curve(seed, *curve) for seed, curve in measured.items()])
    label = f"{len(measured)} measured seeds, lowest to highest"
    axes.fill_between(steps, means.min(axis=0), means.max(axis=0), color=GREY, alpha=0.25, lw=0, label=label)
    return (
        f"A grey band from the lowest to the highest of {len(measured)} measured seeds; at step {short(steps[-1])} it "
        f"reaches from {short(means[:, -1].min())} to {short(means[:, -1].max())}."
    )


def _draw_episodes(axes: Axes, episodes: Sequence[Record]) -> str:
    steps = np.array([record["step"] for record in episodes])
    returns = np.array([record["return"] for record in episodes], float)
    mean = _running_mean(returns, RUNNING_MEAN)
    axes.plot(steps, returns, "o", color=BLUE, ms=3.5, mec="none", alpha=0.25, label="training episode")
    axes.plot(steps, mean, color=BLUE, lw=1.8, label=f"mean of the last {RUNNING_MEAN}")
    return (
        f"{len(returns)} training episodes up to step {short(steps[-1])}, between {short(returns.min())} and "
        f"{short(returns.max())}; the mean of the last {min(len(returns), RUNNING_MEAN)} is {short(mean[-1])}."
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
        f"{len(mean)} evaluations: the last, at step {short(steps[-1])}, has mean {short(mean[-1])} (10th to 90th "
        f"percentile {short(low[-1])} to {short(high[-1])}); the best, at step {short(steps[best])}, "
        f"{short(mean[best])}."
    )


@styled
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
        said.append(f"{name} from {short(values[0])} to {short(values[-1])}")
    figure.supxlabel("environment steps", fontsize=9, color=GREY)
    figure.alt = f"Training losses against environment steps, first to last record: {', '.join(said)}."
    return figure


def _draw_loss(axes: Axes, steps: Array, values: Array, name: str) -> None:
    axes.plot(steps, values, color=BLUE, lw=1.2, marker="o" if len(values) == 1 else None)
    if values.min() > 0 and values.max() > 30 * values.min():
        axes.set_yscale("log")
    give_room(axes)
    axes.set_title(name)
    axes.set_title(short(values[-1]), loc="right", color=BLUE)


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


@styled
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
        f"An imagined trajectory of {horizon} steps. Its rewards sum to {short(reward.sum())}; the probability that "
        f"the episode goes on is {short(continue_.min())} at its lowest. In the first state the value is "
        f"{short(value[0])} and the lambda return {short(returns[0])}; the value of the last state, {short(value[-1])},"
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
    give_room(axes)
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
    give_room(axes)
    _label_ends(axes, {"value": (value[-1], INK), "lambda\nreturn": (returns[-1], GREEN)}, gap=0.16)


# --- Seeds ------------------------------------------------------------------------------------------------------------


@styled
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
    give_room(axes)
    _step_axis(axes)
    reached = _draw_threshold(axes, threshold, [own_means for _, own_means in seeds.values()])
    many = len(seeds) > 1
    _label_ends(axes, {f"mean of\n{len(seeds)} seeds,\n95 % interval" if many else "1 seed": (mean[-1], BLUE)})
    interval = f" (bootstrap 95 % interval {short(low[-1])} to {short(high[-1])})" if many else ""
    figure.alt = (
        f"Evaluation return against environment steps, {len(seeds)} seeds. At step {short(steps[-1])} their mean is "
        f"{short(mean[-1])}{interval}, the lowest seed {short(means[:, -1].min())}, the highest "
        f"{short(means[:, -1].max())}.{reached}"
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
    axes.annotate(  # on the right and below the line: what has learned is above it by then
        f"threshold {short(threshold)}", (1, threshold), (-4, -3), axes.get_yaxis_transform(),
        textcoords="offset points", ha="right", va="top",
    )  # fmt: skip
    reached = sum(bool((own >= threshold).any()) for own in means)
    return f" {reached} of {len(means)} seeds reached the threshold of {short(threshold)} at least once."


# --- What mistakes do -------------------------------------------------------------------------------------------------


@styled
def mistakes(summary: Mapping[str, Any]) -> Plot:
    """Losses, open-loop errors and return of agents that learned with a mistake: one line each, one dot per seed.

    The 1-step and 15-step errors are those of observations, in their standard deviations.

    summary: of `wm_tutorial.zoo.experiment.summarise`, the finished code first. A band marks its seeds, a dotted line
    what one gets without a model, by expecting no change. An arrowhead stands for what lies beyond the edge.
    """
    panels = {
        "loss": "model loss",
        "error_1": "1-step error",
        "error_15": "15-step error",
        "reward_error": "reward error",
        "return": "return",
    }
    figure, told = _by_seed(summary["bugs"], panels, summary["persistence"])
    where, steps = summary["environment"], summary["steps"]
    figure.alt = f"What mistakes do to an agent on {where} in {steps:,} steps, means over seeds. {told}"
    return figure


@styled
def divergences(summary: Mapping[str, Any]) -> Plot:
    """Both divergences, before free nats, of agents that learned by one or the other; one line each, a dot per seed.

    summary: as for `mistakes`, with "forward" for KL(posterior || prior) and "backward" for KL(prior || posterior), the
    mean over states in nats, beside "error_15" and "return".
    """
    panels = {
        "forward": "KL(post. || prior)",
        "backward": "KL(prior || post.)",
        "error_15": "15-step error",
        "return": "return",
    }
    figure, told = _by_seed(summary["bugs"], panels)
    figure.alt = (
        f"Both divergences of posterior and prior, in nats, of agents on {summary['environment']} after "
        f"{summary['steps']:,} steps, means over seeds. {told}"
    )
    return figure


def _by_seed(
    rows: Mapping[str, Any], panels: Mapping[str, str], without_a_model: Mapping[str, float] | None = None
) -> tuple[Plot, str]:
    """A line for each row, the first the sound one, a panel for each number, a dot for each seed; and that in words."""
    height, mark = (0.32, 13) if len(rows) < 30 else (0.2, 9)
    figure = Plot(figsize=(WIDTH, 1.3 + height * len(rows)), layout="constrained")
    every = figure.subplots(1, len(panels), sharey=True)
    for axes, (key, title) in zip(every, panels.items(), strict=True):
        healthy = next(iter(rows.values()))[key]["seeds"]
        axes.axvspan(min(healthy), max(healthy), color=BLUE, alpha=0.15, lw=0)
        if without_a_model and key in without_a_model:
            axes.axvline(without_a_model[key], color=PERSISTENCE, lw=1.2, ls=":")
        least, most = _window([row[key]["seeds"] for row in rows.values()], below_zero=key == "return")
        for line, (name, row) in enumerate(rows.items()):
            color = BLUE if name == next(iter(rows)) else VERMILION
            seeds = row[key]["seeds"]
            inside = [seed for seed in seeds if least <= seed <= most]
            for marker, at in (
                ("o", inside),
                (">", [most] * (max(seeds) > most)),
                ("<", [least] * (min(seeds) < least)),
            ):
                if at:
                    axes.plot(at, [line] * len(at), marker, color=color, ms=4.5, mec="none", alpha=0.55)
            if least <= row[key]["mean"] <= most:
                axes.plot(row[key]["mean"], line, "|", color=color, ms=mark, mew=2)
        axes.set_title(title)
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.12)
        axes.xaxis.set_major_locator(MaxNLocator(2))
        if key != "return":
            axes.set_xlim(left=0.0)
    every[0].set_yticks(range(len(rows)), [MISTAKE_NONE, *list(rows)[1:]])
    every[0].set_ylim(len(rows) - 0.5, -0.5)
    first, *others = (
        f"{name}: " + ", ".join(f"{panels[k]} {short(row[k]['mean'])}" for k in panels) for name, row in rows.items()
    )
    return figure, f"{MISTAKE_NONE}, {first}. " + ". ".join(others) + "."


def _window(rows: Sequence[Sequence[float]], below_zero: bool) -> tuple[float, float]:
    """From where to where seeds are drawn in their place: to fifteen times the size of the first row, the sound one."""
    far = 15.0 * max(map(abs, rows[0]))
    near = [seed for row in rows for seed in row if abs(seed) <= far]
    return min(near) if below_zero else 0.0, max(near)


INNOCENT = (0.5, 2.0)  # a loss between these multiples of the finished code's alarms nobody
LARGEST_MULTIPLE = 100.0


@styled
def innocent_losses(rows: Mapping[str, Mapping[str, float]]) -> Plot:
    """The return of agents that learned with a mistake against each loss of their model: which losses stay innocent.

    rows: mistake -> its mean return, as "return", and losses as multiples of those without a mistake; those come first.
    A dot is a mistake. In the band a loss looks like that of the finished code; who is in it everywhere is vermilion.
    """
    sound, *others = rows.values()
    losses = [name for name in sound if name != "return"]
    figure = Plot(figsize=(WIDTH, 2.9), layout="constrained")
    every = np.atleast_1d(figure.subplots(1, len(losses), sharey=True))
    multiples = np.array([[row[name] for name in losses] for row in others]).reshape(-1, len(losses))
    returns = np.array([row["return"] for row in others])
    quiet = ((multiples > INNOCENT[0]) & (multiples < INNOCENT[1])).all(1)
    for axes, name, column in zip(every, losses, multiples.T, strict=True):
        multiple = column.clip(1 / LARGEST_MULTIPLE, LARGEST_MULTIPLE)
        axes.axvspan(*INNOCENT, color=BLUE, alpha=0.15, lw=0)
        axes.axhline(sound["return"], color=BLUE, lw=1.2)
        axes.plot(multiple[~quiet], returns[~quiet], "o", color=GREY, ms=4.5, mec="none", alpha=0.55)
        axes.plot(multiple[quiet], returns[quiet], "o", color=VERMILION, ms=4.5, mec="none", alpha=0.55)
        axes.set_xscale("log")
        axes.set_xlim(0.8 / LARGEST_MULTIPLE, 1.25 * LARGEST_MULTIPLE)
        axes.set_xticks([0.01, 1, 100], ["0.01", "1", "100"])
        axes.minorticks_off()
        axes.set_title(name)
    every[0].set_ylabel("return")
    figure.supxlabel("loss, as a multiple of the finished code's")
    earned = f", with returns of {short(returns[quiet].min())} to {short(returns[quiet].max())}" if quiet.any() else ""
    figure.alt = (
        f"Return against each loss, a dot for each of {len(others)} mistakes. {int(quiet.sum())} of them keep every "
        f"loss within the band{earned}; that of the finished code is {short(sound['return'])}."
    )
    return figure
