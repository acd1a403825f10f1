"""LaProp with adaptive gradient clipping and warm-up: one optimiser, without tuning, for everything."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from wm_tutorial.config import Config


class LaProp(torch.optim.Optimizer):
    """Normalise the gradient first, then average it: the other way round than Adam.

    Each tensor's gradient is first clipped to a share of the tensor's own norm, so no layer is ever thrown far.

    Args:
        params: parameters, or groups of them.
        lr: after warm-up.
        betas: decay of the average gradient and of the average squared gradient.
        eps: added to the root of the latter.
        clip: largest norm of a gradient, as a share of its tensor's norm.
        smallest: norm below which a tensor is treated as if it had this norm.
        warmup: updates over which the learning rate rises linearly from 0; the first update changes nothing.

    Source: Ziyin et al. 2020 (arXiv 2002.04839); Brock et al. 2021 (arXiv 2102.06171), adaptive gradient clipping;
    danijar/dreamerv3 `embodied/jax/opt.py:109-164`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 4e-5,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-20,
        clip: float = 0.3,
        smallest: float = 1e-3,
        warmup: int = 1000,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "clip": clip, "smallest": smallest, "warmup": warmup}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state["updates"] = 0
            state["average"] = torch.zeros_like(parameter)
            state["average_square"] = torch.zeros_like(parameter)
        lr = group["lr"] * min(1.0, state["updates"] / group["warmup"] if group["warmup"] else 1.0)
        state["updates"] += 1
        gradient = clip_by_share(parameter.grad, parameter, group["clip"], group["smallest"])
        direction, state["average"], state["average_square"] = laprop_direction(
            gradient, state["average"], state["average_square"], state["updates"], group["betas"], group["eps"]
        )
        parameter -= lr * direction


def clip_by_share(gradient: Tensor, parameter: Tensor, clip: float, smallest: float) -> Tensor:
    """The gradient, no longer than `clip` times its parameter, which counts as at least `smallest` long."""
    largest = clip * parameter.norm().clamp(min=smallest)
    shortened: Tensor = gradient * (largest / gradient.norm().clamp(min=1e-30)).clamp(max=1.0)
    return shortened


def laprop_direction(
    gradient: Tensor, average: Tensor, average_square: Tensor, updates: int, betas: tuple[float, float], eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Direction of the step, and the two averages with this gradient taken in; `updates` counts this one."""
    beta, beta_square = betas
    average_square = average_square.lerp(gradient**2, 1.0 - beta_square)
    deviation = (average_square / (1.0 - beta_square**updates)).sqrt()
    average = average.lerp(gradient / (deviation + eps), 1.0 - beta)
    return average / (1.0 - beta**updates), average, average_square


def make_optimizer(config: Config, groups: Iterable[dict[str, Any]]) -> torch.optim.Optimizer:
    """The optimiser that `config` asks for, over groups of parameters with learning rates of their own."""
    if config.optimizer == "laprop":
        return LaProp(groups, warmup=config.warmup)
    return torch.optim.Adam(groups, fused=True)
