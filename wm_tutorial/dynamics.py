"""The state of the model and how it moves: what is expected next (prior), and what is inferred (posterior)."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from wm_tutorial.latents import Gaussian, GaussianLatent
from wm_tutorial.networks import MLP, linear


@dataclass(frozen=True)
class State:
    """The model's state s_t = (h_t, z_t).

    memory  (..., D)  h_t, the deterministic path; D = 0 for a model without memory
    latent  (..., Z)  z_t, a sample
    """

    memory: Tensor
    latent: Tensor

    @property
    def feature(self) -> Tensor:
        """What heads, actor and critic see: (..., D + Z)."""
        return torch.cat([self.memory, self.latent], -1)

    def __getitem__(self, index: object) -> Self:
        """Index the leading axes, as with a tensor."""
        return type(self)(self.memory[index], self.latent[index])  # type: ignore[index]

    def detach(self) -> Self:
        """The same numbers, through which no gradient flows."""
        return type(self)(self.memory.detach(), self.latent.detach())

    def flatten(self) -> Self:
        """Merge all leading axes into one."""
        return type(self)(self.memory.flatten(0, -2), self.latent.flatten(0, -2))


def stack(states: list[State], dim: int) -> State:
    """Stack states along a new axis."""
    return State(torch.stack([s.memory for s in states], dim), torch.stack([s.latent for s in states], dim))


def mask(keep: Tensor, x: Tensor) -> Tensor:
    """Set x (..., N) to zero where `keep` (...) is false."""
    return x.masked_fill(~keep.unsqueeze(-1), 0.0)


def previous(first: Tensor, sequence: Tensor) -> Tensor:
    """Shift a sequence (B, T, N) one row later; `first` (B, N) becomes row 0."""
    return torch.cat([first.unsqueeze(1), sequence[:, :-1]], dim=1)


class FeedForward(nn.Module):
    """Dynamics without memory: z_t is inferred from o_t alone and predicted from (z_{t-1}, a_{t-1}).

    Simple and quick, and right wherever one observation tells all there is to know. Where it does not
    (velocities hidden, a past frame matters), no amount of training helps.
    """

    memory_size = 0

    def __init__(self, embedding: int, action_size: int, latent: GaussianLatent, hidden: int, layers: int) -> None:
        super().__init__()
        self.latent = latent
        self.latent_size = latent.size
        self.posterior_net = linear(embedding, latent.parameters)
        self.prior_net = MLP(latent.size + action_size, hidden, layers, latent.parameters)

    def initial(self, batch: int) -> State:
        """The state before anything was seen: zeros, (B, ...)."""
        parameter = self.posterior_net.weight
        return State(parameter.new_zeros(batch, 0), parameter.new_zeros(batch, self.latent_size))

    def posterior(self, embedding: Tensor) -> Gaussian:
        """What the observation says about the latent: (..., E) -> Gaussian over (..., Z)."""
        return self.latent(self.posterior_net(embedding))

    def prior(self, state: State, action: Tensor) -> Gaussian:
        """What is expected after `action` (..., A) in `state` (...): Gaussian over the next latent (..., Z)."""
        executed = action.clamp(-1.0, 1.0)  # a continuous sample may lie outside; the environment clips it
        return self.latent(self.prior_net(torch.cat([state.latent, executed], -1)))

    def observe(
        self, embedding: Tensor, action: Tensor, is_first: Tensor, start: State
    ) -> tuple[State, Gaussian, Gaussian]:
        """Infer the states of a sequence.

        Nothing here depends on the step before, so all rows are computed at once.

        Args:
            embedding: (B, T, E) of the observations o_t.
            action: (B, T, A) the action taken before each row, a_{t-1}.
            is_first: (B, T) where an episode begins: whatever came before is forgotten.
            start: (B) the state before row 0.

        Returns:
            States, posterior and prior of every row, (B, T, ...).
        """
        posterior = self.posterior(embedding)
        latent = posterior.sample()
        keep = ~is_first
        memory = latent.new_zeros(*latent.shape[:2], 0)
        before = State(memory, mask(keep, previous(start.latent, latent)))
        prior = self.prior(before, mask(keep, action))
        return State(memory, latent), posterior, prior

    def step(self, state: State, action: Tensor, is_first: Tensor, embedding: Tensor, greedy: bool = False) -> State:
        """Infer one state while acting, (B, ...): the same as one row of `observe`, without its loss.

        Without memory, what came before (`state`, `action`, `is_first`) plays no part.
        """
        posterior = self.posterior(embedding)
        return State(state.memory, posterior.mode if greedy else posterior.sample())

    def imagine(self, state: State, action: Tensor) -> State:
        """Sample the next state without an observation: (..., D + Z), (..., A) -> (..., D + Z)."""
        return State(state.memory, self.prior(state, action).sample())
