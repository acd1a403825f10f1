"""How the state of the model moves: what is expected next (prior), and what an observation tells of it (posterior).

Without memory first, then with it. `scan.py` holds a quicker way through a sequence that gives the same.
"""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from wm_tutorial.config import Config
from wm_tutorial.data import State, stack
from wm_tutorial.errors import InputError
from wm_tutorial.latents import CategoricalLatent, Distribution, GaussianLatent, LatentRule
from wm_tutorial.networks import MLP, BlockLinear, Norm, block, linear, normalise, widen


def mask(keep: Tensor, x: Tensor) -> Tensor:
    """Set x (..., N) to zero where `keep` (...) is false."""
    return x.masked_fill(~keep.unsqueeze(-1), 0.0)


def forget(is_first: Tensor, state: State) -> State:
    """The state (B, ...) before a row: zeros where an episode begins in it (B)."""
    return State(mask(~is_first, state.memory), mask(~is_first, state.latent))


def executed(action: Tensor) -> Tensor:
    """An action (..., A) as the environment executes it, between -1 and 1: a continuous sample may lie outside.

    Critical: beyond the bounds the numbers are those of `clamp`, but not the slope. Of a new policy's samples a quarter
    lie there, and a gradient that is to come back through the dynamics would end at each of them.

    Source: danijar/dreamerv3 `dreamerv3/rssm.py:137`.
    """
    return action / action.detach().abs().clamp(min=1.0)


def previous(first: Tensor, sequence: Tensor) -> Tensor:
    """Shift a sequence (B, T, N) one row later; `first` (B, N) becomes row 0."""
    return torch.cat([first.unsqueeze(1), sequence[:, :-1]], dim=1)


class FeedForward(nn.Module):
    """Dynamics without memory: z_t is inferred from o_t alone and predicted from (z_{t-1}, a_{t-1}).

    Simple and quick, and right wherever one observation tells all there is to know. Where it does not
    (velocities hidden, a past frame matters), no amount of training helps.
    """

    memory_size = 0

    def __init__(
        self, embedding: int, action_size: int, latent: LatentRule, hidden: int, layers: int, norm: Norm = "layer"
    ) -> None:
        super().__init__()
        self.latent = latent
        self.latent_size = latent.size
        self.posterior_net = linear(embedding, latent.parameters)
        self.prior_net = MLP(latent.size + action_size, hidden, layers, latent.parameters, norm=norm)

    def initial(self, batch: int) -> State:
        """The state before anything was seen: zeros, (B, ...)."""
        parameter = self.posterior_net.weight
        return State(parameter.new_zeros(batch, 0), parameter.new_zeros(batch, self.latent_size))

    def posterior(self, embedding: Tensor) -> Distribution:
        """What the observation says about the latent: (..., E) -> distribution over (..., Z)."""
        return self.latent(self.posterior_net(embedding))

    def prior(self, state: State, action: Tensor) -> Distribution:
        """What is expected after `action` (..., A) in `state` (...): distribution over the next latent (..., Z)."""
        return self.latent(self.prior_net(torch.cat([state.latent, executed(action)], -1)))

    def observe(
        self, embedding: Tensor, action: Tensor, is_first: Tensor, start: State
    ) -> tuple[State, Distribution, Distribution]:
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
        memory = latent.new_zeros(*latent.shape[:2], 0)
        before = forget(is_first, State(memory, previous(start.latent, latent)))
        prior = self.prior(before, mask(~is_first, action))
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

    def compile_steps(self) -> None:
        """Fuse what is repeated in every imagined step; sampling stays outside, so random numbers stay the same."""
        self.prior_net.compile()


class GRU(nn.Module):
    """The deterministic path h_t as a plain gated recurrent unit (Cho et al. 2014, arXiv 1406.1078).

    Source: Hafner et al. 2019 (arXiv 1811.04551), "Recurrent state-space model".
    """

    def __init__(self, memory: int, latent: int, action: int, hidden: int, norm: Norm = "layer") -> None:
        super().__init__()
        self.latent_size = latent
        self.mix = linear(latent + action, hidden)
        self.mix_norm = normalise(hidden, norm)
        self.cell = nn.GRUCell(hidden, memory)

    def forward(self, state: State, action: Tensor) -> Tensor:
        """h_{t-1}, z_{t-1} (B) and a_{t-1} (B, A) -> h_t (B, D)."""
        mixed = self.mix(torch.cat([state.latent, executed(action)], -1))  # (B, hidden)
        return widen(self.cell(functional.silu(self.mix_norm(mixed)), state.memory))


class BlockGRU(nn.Module):
    """The deterministic path h_t: a gated recurrent unit whose large matrices are block-diagonal.

    Source: Hafner et al. 2023 (arXiv 2301.04104), "block-diagonal GRU"; danijar/dreamerv3 `dreamerv3/rssm.py:136-158`.
    """

    def __init__(self, memory: int, latent: int, action: int, hidden: int, blocks: int = 8, norm: Norm = "rms") -> None:
        super().__init__()
        if memory % blocks:
            raise InputError(f"A memory of {memory} does not divide into {blocks} blocks; give a multiple of {blocks}.")
        self.blocks, self.hidden = blocks, hidden
        self.memory_in = block(memory, hidden, norm)
        self.latent_in = block(latent, hidden, norm)
        self.action_in = block(action, hidden, norm)
        self.mix = BlockLinear(blocks, memory // blocks + 3 * hidden, memory // blocks)
        self.mix_norm = normalise(memory, norm)
        self.gates = BlockLinear(blocks, memory // blocks, 3 * memory // blocks)

    def forward(self, state: State, action: Tensor) -> Tensor:
        """h_{t-1}, z_{t-1} (B) and a_{t-1} (B, A) -> h_t (B, D)."""
        memory, latent, action = state.memory, state.latent, executed(action)
        shared = torch.cat(
            [self.memory_in(memory), self.latent_in(latent), self.action_in(action)], -1
        )  # (B, 3 hidden)
        each = shared.unsqueeze(-2).expand(*shared.shape[:-1], self.blocks, -1)  # (B, blocks, 3 hidden)
        mixed = self.mix(torch.cat([self.split(memory), each], -1)).flatten(-2)  # (B, D)
        return self.gated(memory, functional.silu(self.mix_norm(mixed)))

    def gated(self, memory: Tensor, mixed: Tensor) -> Tensor:
        """h_{t-1} and what all inputs together say, both (B, D) -> h_t: how much of each block is replaced, by what."""
        reset, candidate, update = self.gates(self.split(mixed)).chunk(3, dim=-1)  # each (B, blocks, D / blocks)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate).flatten(-2)
        update = torch.sigmoid(update - 1.0).flatten(-2)  # at first, remember
        return torch.lerp(memory, widen(candidate), widen(update))

    def split(self, memory: Tensor) -> Tensor:
        """(..., D) -> (..., blocks, D / blocks)."""
        return memory.reshape(*memory.shape[:-1], self.blocks, -1)


class RSSM(nn.Module):
    """Recurrent state-space model: a deterministic memory h_t, and a latent z_t inferred from it and the observation.

        h_t = f(h_{t-1}, z_{t-1}, a_{t-1})     prior  p(z_t | h_t)     posterior  q(z_t | h_t, o_t)

    The memory is what lets one observation be understood in the light of those before it.

    Source: Hafner et al. 2019 (arXiv 1811.04551); danijar/dreamerv3 `dreamerv3/rssm.py`.
    """

    def __init__(
        self, core: BlockGRU | GRU, embedding: int, latent: LatentRule, memory: int, hidden: int, norm: Norm = "rms"
    ) -> None:
        super().__init__()
        self.core, self.latent, self.latent_size, self.memory_size = core, latent, latent.size, memory
        self.posterior_net = MLP(memory + embedding, hidden, layers=1, outputs=latent.parameters, norm=norm)
        self.prior_net = MLP(memory, hidden, layers=2, outputs=latent.parameters, norm=norm)

    def initial(self, batch: int) -> State:
        """The state before anything was seen: zeros, (B, ...)."""
        weight = self.core.mix.weight
        return State(weight.new_zeros(batch, self.memory_size), weight.new_zeros(batch, self.latent_size))

    def remember(self, state: State, action: Tensor) -> Tensor:
        """h_t (B, D) after `action` (B, A) in `state` (B)."""
        memory: Tensor = self.core(state, action)
        return memory

    def prior_given(self, memory: Tensor) -> Distribution:
        """What is expected of z_t, given h_t (..., D)."""
        return self.latent(self.prior_net(memory))

    def posterior_given(self, memory: Tensor, embedding: Tensor) -> Distribution:
        """What h_t (..., D) and the observation (..., E) say about z_t."""
        return self.latent(self.posterior_net(torch.cat([memory, embedding], -1)))

    def prior(self, state: State, action: Tensor) -> Distribution:
        """What is expected after `action` (B, A) in `state` (B): distribution over the next latent (B, Z)."""
        return self.prior_given(self.remember(state, action))

    def observe(
        self, embedding: Tensor, action: Tensor, is_first: Tensor, start: State
    ) -> tuple[State, Distribution, Distribution]:
        """Infer the states of a sequence, row by row; arguments and result as in `FeedForward.observe`."""
        state, states = start, []
        for t in range(embedding.shape[1]):
            memory = self.remember(forget(is_first[:, t], state), mask(~is_first[:, t], action[:, t]))
            state = State(memory, self.posterior_given(memory, embedding[:, t]).sample())
            states.append(state)
        observed = stack(states, dim=1)
        return observed, self.posterior_given(observed.memory, embedding), self.prior_given(observed.memory)

    def step(self, state: State, action: Tensor, is_first: Tensor, embedding: Tensor, greedy: bool = False) -> State:
        """Infer one state while acting, (B, ...): the same as one row of `observe`, without its loss."""
        memory = self.remember(forget(is_first, state), mask(~is_first, action))
        posterior = self.posterior_given(memory, embedding)
        return State(memory, posterior.mode if greedy else posterior.sample())

    def imagine(self, state: State, action: Tensor) -> State:
        """Sample the next state without an observation: (B, D + Z), (B, A) -> (B, D + Z)."""
        memory = self.remember(state, action)
        return State(memory, self.prior_given(memory).sample())


Recurrent = TypeVar("Recurrent", bound=RSSM)


def make_dynamics(
    config: Config, embedding: int, action_size: int, recurrent: type[Recurrent]
) -> FeedForward | Recurrent:
    """The memory and the latent that `config` asks for; an RSSM is of the class `recurrent`."""
    latent: LatentRule = GaussianLatent(config.latent_size)
    if config.latent == "categorical":
        latent = CategoricalLatent(config.latent_size, config.latent_classes, config.unimix)
    if config.memory == "rssm":
        sizes = config.memory_size, latent.size, action_size, config.hidden
        core: BlockGRU | GRU = GRU(*sizes, config.norm)
        if config.memory_cell == "block-gru":
            core = BlockGRU(*sizes, config.memory_blocks, config.norm)
        return recurrent(core, embedding, latent, config.memory_size, config.hidden, config.norm)
    return FeedForward(embedding, action_size, latent, config.hidden, config.layers, config.norm)
