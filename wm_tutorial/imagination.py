"""Rolling the policy inside the model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from wm_tutorial.dynamics import State
from wm_tutorial.networks import frozen
from wm_tutorial.world_model import WorldModel


@dataclass(frozen=True)
class Trajectory:
    """H imagined steps from each of N starts. Column t of `state` is s_t; s_0 is the start.

    state      (N, H + 1)     s_0 .. s_H
    action     (N, H, A)      a_0 .. a_{H-1}: a_t is chosen in s_t and leads to s_{t+1}
    reward     (N, H)         r_1 .. r_H, on arriving in s_1 .. s_H
    continue_  (N, H + 1)     probability that the episode goes on after s_0 .. s_H
    """

    state: State
    action: Tensor
    reward: Tensor
    continue_: Tensor

    def discount(self, gamma: float) -> Tensor:
        """d_1 .. d_H = gamma times continue of the arriving state: (N, H)."""
        return gamma * self.continue_[:, 1:]

    def weight(self, gamma: float) -> Tensor:
        """How much each step counts, (N, H): the discounted probability that the episode still runs in s_0 .. s_{H-1}.

        Steps imagined after a predicted end, and starts that are themselves an end, count next to nothing.

        Source: danijar/dreamerv3 `dreamerv3/agent.py:402`.
        """
        start, later = self.continue_[:, :1], gamma * self.continue_[:, 1:-1]
        return torch.cumprod(torch.cat([start, later], dim=1), dim=1)


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
