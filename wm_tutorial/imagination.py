"""Rolling the policy inside the model."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from wm_tutorial.data import State, Trajectory
from wm_tutorial.networks import frozen
from wm_tutorial.world_model import WorldModel


class Sampled(Protocol):
    """A distribution over actions, as far as imagination needs it."""

    def sample(self) -> Tensor:
        """An action (N, A), without gradient."""
        ...

    def rsample(self) -> Tensor:
        """An action (N, A) that passes its gradient on to the distribution."""
        ...


def imagine(
    world_model: WorldModel,
    policy: Callable[[Tensor], Sampled],
    start: State,
    horizon: int,
    differentiable: bool = False,
) -> Trajectory:
    """Let the policy act for `horizon` steps in the model, from states `start` (N).

    Args:
        differentiable: record how each action moves all that follows, so that the policy can climb the imagined
            return itself (DreamerV1). Otherwise no gradient is recorded, and the policy learns from which sampled
            actions did well (REINFORCE; V2 on discrete actions, V3). The model's parameters receive none either way.
    """
    with torch.set_grad_enabled(differentiable), frozen(world_model):
        return _imagine(world_model, policy, start, horizon, differentiable)


def _imagine(
    world_model: WorldModel, policy: Callable[[Tensor], Sampled], start: State, horizon: int, differentiable: bool
) -> Trajectory:
    state, states, actions = start, [start], []
    for _ in range(horizon):
        distribution = policy(state.feature.detach())  # states are what a policy sees, not what it may bend
        action = distribution.rsample() if differentiable else distribution.sample()
        state = world_model.imagine(state, action)
        actions.append(action)
        states.append(state)
    feature = torch.stack([state.feature for state in states], dim=1)
    return Trajectory(
        state=State.split(feature, start.memory.shape[-1]),
        action=torch.stack(actions, dim=1),
        reward=world_model.reward(feature).mean[:, 1:],  # on arriving
        continue_=world_model.continues(feature).mean,
    )
