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
    figure.alt = STILLS[name](figure, data or {})
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
    right.bar(["KL(q ‖ p)", "KL(p ‖ q)"], both, color=PURPLE, width=0.5)
    for place, value in enumerate(both):
        right.text(place, value + 0.04, f"{value:.3f}", ha="center")
    right.set(ylabel="nats", ylim=(0, 1.8))
    free = ""
    if data.get("free") is not None:
        right.plot([-0.45, 0.45], [data["free"]] * 2, color=VERMILION, ls="--")
        free = f" A dashed line stands at {data['free']:g} free nats: below it nobody is taught."
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


STILLS: dict[str, Callable[[Plot, Data], str]] = {
    "two_bells": _two_bells,
    "lambda_returns": _lambda_returns,
    "slopes": _slopes,
    "open_loop": _open_loop,
}
