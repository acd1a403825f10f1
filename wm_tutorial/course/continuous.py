"""Where the parts of chapter 14 belong in an agent: from the reader's signature to the package's, as in `own`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wm_tutorial import dynamics, imagination
from wm_tutorial.actor_critic import BoundedNormal
from wm_tutorial.data import Array, Spaces, State, Trajectory
from wm_tutorial.mistakes.part import Function
from wm_tutorial.networks import flatten_leading
from wm_tutorial.parts import Replacement
from wm_tutorial.world_model import WorldModel

LOW, HIGH = 0.1, 1.0  # what the standard deviation of the package's policy lies between


def _bounded_normal(mine: Function) -> list[Replacement]:
    def bounded(cls: type[BoundedNormal], mean: Tensor, std: Tensor) -> BoundedNormal:
        (raw_mean, leading), (raw_std, _) = (flatten_leading(x, keep=1) for x in (mean, std))
        return cls(*(x.reshape(*leading, -1) for x in mine(raw_mean, raw_std, LOW, HIGH)))

    return [Replacement(BoundedNormal, "bounded", classmethod(bounded))]


def _normal_log_prob(mine: Function) -> list[Replacement]:
    return [Replacement(BoundedNormal, "log_prob", lambda self, value: mine(self.mean, self.std, value))]


def _normal_entropy(mine: Function) -> list[Replacement]:
    return [Replacement(BoundedNormal, "entropy", lambda self: mine(self.std))]


def _scaled_action(mine: Function) -> list[Replacement]:
    package = Spaces.decode_action

    def decode_action(self: Spaces, action: Array) -> Array:
        if self.action_kind == "discrete":
            return package(self, action)
        low, high = np.asarray(self.action_low, np.float64), np.asarray(self.action_high, np.float64)
        given = (torch.from_numpy(np.array(x, np.float64)) for x in (action, low, high))
        scaled: Array = mine(*given).numpy()
        return np.clip(scaled, low, high)  # rounding may lead a little outside

    return [Replacement(Spaces, "decode_action", decode_action)]


def _executed_action(mine: Function) -> list[Replacement]:
    def executed(action: Tensor) -> Any:
        given, leading = flatten_leading(action, keep=1)
        return mine(given).reshape(*leading, -1)

    return [Replacement(dynamics, "executed", executed)]


def _pathwise_dream(mine: Function) -> list[Replacement]:
    package = imagination._imagine

    def imagine(model: WorldModel, policy: Any, start: State, horizon: int, differentiable: bool) -> Trajectory:
        if not differentiable:
            return package(model, policy, start, horizon, differentiable)
        memory = start.memory.shape[-1]

        def says(feature: Tensor) -> tuple[Tensor, Tensor]:
            distribution = policy(feature)
            return distribution.mean, distribution.std

        def step(feature: Tensor, action: Tensor) -> Tensor:
            return model.imagine(State.split(feature, memory), action).feature

        count, size = says(start.feature)[0].shape
        dreamed = mine(start.feature, says, step, torch.randn(count, horizon, size))
        reward, continue_ = model.reward(dreamed["latent"]).mean[:, 1:], model.continues(dreamed["latent"]).mean
        return Trajectory(State.split(dreamed["latent"], memory), dreamed["action"], reward, continue_)

    return [Replacement(imagination, "_imagine", imagine)]


PLACES: dict[str, Callable[[Function], list[Replacement]]] = {
    "bounded_normal": _bounded_normal,
    "normal_log_prob": _normal_log_prob,
    "normal_entropy": _normal_entropy,
    "scaled_action": _scaled_action,
    "executed_action": _executed_action,
    "pathwise_dream": _pathwise_dream,
}
DRAWS = ("pathwise_dream",)
