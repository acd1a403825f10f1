"""Each instrument at its opening, as a figure: what is seen where scripts are not run, on paper and on slides."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.layout_engine import ConstrainedLayoutEngine

from wm_tutorial.errors import InputError
from wm_tutorial.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    MODEL,
    ORANGE,
    PERSISTENCE,
    PURPLE,
    SEEN,
    TRUTH,
    VERMILION,
    WIDTH,
    Plot,
    styled,
)
from wm_tutorial.instruments.page import rounded
from wm_tutorial.kl import gaussian_kl
from wm_tutorial.returns import lambda_returns

Data = Mapping[str, Any]


@styled
def still(name: str, data: Data | None = None) -> Plot:
    """The instrument `name` as it opens, with its alternative text.

    Raises:
        InputError: if there is no such instrument.
    """
    if name not in STILLS:
        raise InputError(f"There is no instrument {name!r}; there are {', '.join(STILLS)}.")
    figure = Plot(figsize=(WIDTH, 2.6), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))
    figure.alt = STILLS[name](figure, rounded(data or {}))  # so that both say the same
    return figure


def _two_bells(figure: Plot, data: Data) -> str:
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    x = np.linspace(-6, 6, 241)
    for name, mean, std, color, style in (("q", 0.0, 1.0, BLUE, "-"), ("p", 1.0, 2.0, ORANGE, "--")):
        density = np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))
        left.fill_between(x, density, color=color, alpha=0.3, lw=0)
        left.plot(x, density, color=color, ls=style, lw=2, label=f"{name}: mean {mean:g}, deviation {std:g}")
    left.set(xlabel="x", ylabel="density", ylim=(0, 0.55))
    left.legend(fontsize=8)
    logs = torch.tensor([[0.0], [2.0 * np.log(2.0)]])
    means = torch.tensor([[0.0], [1.0]])
    both = gaussian_kl(means, logs, means.flip(0), logs.flip(0)).tolist()
    colors = [GREY if both[0] <= data.get("free", 0.0) else PURPLE, PURPLE]  # below its free nats nobody is taught
    right.bar(["KL(q ‖ p)", "KL(p ‖ q)"], both, color=colors, width=0.5)
    for place, value in enumerate(both):
        right.text(place, value + 0.04, f"{value:.3f}", ha="center")
    right.set(ylabel="nats", ylim=(0, 1.8))
    free = ""
    if data.get("free") is not None:
        right.plot([-0.45, 0.45], [data["free"]] * 2, color=VERMILION, ls="--")
        free = f" A dashed line stands at {data['free']:g} free nats: below it nobody is taught, and a bar is grey."
    return f"Two bells and bars of their divergences: KL(q || p) {both[0]:.3f}, KL(p || q) {both[1]:.3f} nats.{free}"


def _lambda_returns(figure: Plot, data: Data) -> str:
    left, right = figure.subplots(1, 2)
    gamma, lam = list(data["errors"])[data["gamma"]], 0.5
    reward, value = torch.tensor(data["reward"]), torch.tensor(data["value"])
    discount = torch.full_like(reward, float(gamma))
    answers = [_n_steps(reward, discount, value, n) for n in range(1, len(reward) + 1)]
    mixed = lambda_returns(reward[None], discount[None], value[None], lam)[0, 0].item()
    for n, answer in enumerate(answers, 1):
        left.plot([0, n], [n, n], color=GREY, lw=1.5)
        left.plot(range(1, n + 1), [n] * n, "o", color=BLUE, ms=5)
        left.text(n + 0.3, n, f"{answer:.2f}", va="center")
    left.set(xlabel="steps", ylabel="lane", xlim=(-0.1, 6.4), ylim=(5.6, 0.4))
    left.set(title=f"λ = {lam:g}, γ = {gamma}: R₀ = {mixed:.2f}")
    parts = np.array(data["errors"][gamma]) @ [data["wrong"] ** power for power in range(3)]  # (lambdas, 2)
    whole = np.sqrt(parts.sum(1))
    for y, color, style, label in (
        (whole, INK, "-", "whole"),
        (np.sqrt(parts[:, 0]), VERMILION, "--", "bias"),
        (np.sqrt(parts[:, 1]), BLUE, ":", "luck"),
    ):
        right.plot(data["lams"], y, color=color, ls=style, lw=2, label=label)
    best = data["lams"][int(whole.argmin())]
    right.plot(best, whole.min(), "o", color=GREEN, ms=8)
    right.set(xlabel="λ", ylabel="error (rewards)", ylim=(0, None))
    right.set(title=f"a critic wrong by {data['wrong']:g}: best λ {best:g}")
    right.legend(fontsize=8)
    told = ", ".join(f"{answer:.2f}" for answer in answers)
    return f"Five lanes with the returns {told}, and the error of a target against lambda, least at {best:g}."


def _n_steps(reward: torch.Tensor, discount: torch.Tensor, value: torch.Tensor, n: int) -> float:
    """The return of the first n of H steps, each (H,)."""
    return lambda_returns(reward[None, :n], discount[None, :n], value[None, :n], 1.0)[0, 0].item()


def _slopes(figure: Plot, data: Data) -> str:
    left, right = figure.subplots(1, 2)
    x = torch.linspace(-20, 20, 401, dtype=torch.float64, requires_grad=True)
    for name, y, color, style in (
        ("clamp", x.clamp(-10, 2), GREY, "--"),
        ("tanh", -4 + 6 * torch.tanh(x / 6), GREEN, ":"),
        ("sigmoid", -10 + 12 * torch.sigmoid(x), BLUE, "-"),
    ):
        (slope,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
        left.plot(x.detach(), y.detach(), style, color=color, label=name)
        right.plot(x.detach(), slope.clamp(min=1e-9), style, color=color)
    left.set(xlabel="network output", ylabel="log-variance")
    right.set(xlabel="network output", ylabel="slope (logarithmic)", yscale="log", ylim=(3e-9, 20))
    left.legend()
    return "Clamp, tanh and sigmoid between -10 and 2, and their slopes on a logarithmic axis: that of the clamp ends."


def _open_loop(figure: Plot, data: Data) -> str:
    axes = figure.subplots()
    real, context, entry = np.array(data["real"]), data["context"], data["entry"]
    dream = np.array(data["dreams"][str(context)])[: data["horizon"]]
    rows = np.arange(context, context + len(dream))
    errors = [
        float(np.sqrt(np.mean(((guess - real[rows]) / data["scale"]) ** 2))) for guess in (dream, real[context - 1])
    ]
    axes.axvspan(0, context - 0.5, color=SEEN, lw=0)
    axes.plot(real[:, entry], color=TRUTH, label="reality")
    axes.plot(rows, dream[:, entry], color=MODEL, ls="--", label="the dream")
    axes.plot(rows, np.full(len(rows), real[context - 1, entry]), color=PERSISTENCE, ls=":", label="nothing changes")
    axes.set(xlabel="row", ylabel=data["names"][entry], title=f"{context} rows seen, {len(dream)} dreamed")
    axes.legend(fontsize=8)
    return (
        f"The {data['names'][entry]} in reality and in a dream, row by row. After {context} rows the dream is off by "
        f"{errors[0]:.2f} standard deviations over {len(dream)} rows, and holding the last row by {errors[1]:.2f}."
    )


def _fork(figure: Plot, data: Data) -> str:
    told, half, latents = [], data["half"], data["latents"]
    for axes, (name, one) in zip(figure.subplots(1, len(latents), sharey=True), latents.items(), strict=True):
        ends, sides = np.array(one["ends"]), np.array(one["sides"])
        edges = np.concatenate([[0.0], ends])
        axes.axhspan(-half, half, color=SEEN, lw=0)
        if one["bell"]:
            axes.plot((edges[:-1] + edges[1:]) / 2, sides[0], color=BLUE)
        else:
            axes.hlines(sides[0], edges[:-1], edges[1:], color=BLUE, lw=2)
        axes.set(title=name, xlabel="dart", xlim=(0, 1), ylim=(-1.7, 1.7))
        axes.set_xticks([0, 1])
        share = float((np.diff(edges) * (np.abs(sides) < half)).sum(1).mean())
        told.append(f"{share:.0%} ({name})")
    figure.axes[0].set(ylabel="side in the row of the fork")
    return f"The side to which each place of a dart leads. Between the roads lie, over all darts, {', '.join(told)}."


def _two_hot(figure: Plot, data: Data) -> str:
    axes = figure.subplots()
    limit, count, x = data.get("limit", 3), data.get("count", 7), data.get("x", 3)
    places = np.linspace(-limit, limit, count)
    bins = np.sign(places) * np.expm1(np.abs(places))
    right = int(np.clip(np.searchsorted(bins, x), 1, count - 1))
    weights = np.zeros(count)
    weights[right] = (x - bins[right - 1]) / (bins[right] - bins[right - 1])
    weights[right - 1] = 1 - weights[right]
    axes.bar(places, weights, width=0.25, color=PURPLE)
    axes.axvline(np.sign(x) * np.log1p(abs(x)), color=BLUE, lw=2)
    axes.set_xticks(places, [f"{one:.2f}" for one in bins])
    axes.set(xlabel="bins, evenly spaced in symlog", ylabel="weight", ylim=(0, 1), title=f"the target is {x:g}")
    told = f"{weights[right - 1]:.3f} on {bins[right - 1]:.2f} and {weights[right]:.3f} on {bins[right]:.2f}"
    return f"Seven bins and the target {x:g}, whose weights are {told}." if count == 7 else f"Weights: {told}."


def _temperature(figure: Plot, data: Data) -> str:
    left, right = figure.subplots(1, 2)
    one = {key: np.array(value) for key, value in data["numbers"][data["opening"]].items()}
    weight, std = np.exp(one["logWeight"]), np.exp(one["logStd"])
    x = np.linspace((one["mean"] - 4 * std).min(), (one["mean"] + 4 * std).max(), 300)
    each = np.exp(-0.5 * ((x[:, None] - one["mean"]) / std) ** 2) / (std * np.sqrt(2 * np.pi))
    left.fill_between(x, each @ weight, color=GREY, alpha=0.35, lw=0)
    left.plot(x, each @ weight, color=GREY, ls="--")
    left.set(xlabel="a number of z", ylabel="density", title="as learned: a temperature of 1")
    right.bar(range(1, len(weight) + 1), np.sort(weight)[::-1], color=GREY)
    right.set(xlabel="bell, the likeliest first", ylabel="weight", ylim=(0, 1))
    return f"The density of one number of z, and the weights of its bells, of which the largest is {weight.max():.2f}."


def _narrowing(figure: Plot, data: Data) -> str:
    iterations = len(data["noise"])
    aim, mean, std = np.array(data["aim"]), np.zeros(2), np.ones(2)
    for number, axes in enumerate(figure.subplots(1, iterations, sharex=True, sharey=True)):
        candidates = np.clip(mean + std * np.array(data["noise"][number])[:60], -1, 1)
        best = candidates[np.argsort(((candidates - aim) ** 2).sum(1))[:8]]
        mean, std = best.mean(0), np.sqrt(best.var(0) + 1e-6)
        axes.plot(*candidates.T, ".", ms=3, color=GREY)
        axes.plot(*best.T, ".", ms=5, color=VERMILION)
        axes.plot(*aim, "+", ms=11, mew=2, color=BLUE)
        axes.set(title=f"iteration {number + 1}", xlim=(-1.1, 1.1), ylim=(-1.1, 1.1))
    return f"Sixty candidates close in on the best plan in {iterations} iterations, to a deviation of {std.mean():.3f}."


STILLS: dict[str, Callable[[Plot, Data], str]] = {
    "two_bells": _two_bells,
    "lambda_returns": _lambda_returns,
    "slopes": _slopes,
    "open_loop": _open_loop,
    "fork": _fork,
    "two_hot": _two_hot,
    "temperature": _temperature,
    "narrowing": _narrowing,
}
