"""The quick way through a sequence: the same RSSM, with fewer operators in the loop.

`dynamics.RSSM` says what is computed; here everything that does not depend on the row before is done once for all rows,
and matrices that multiply several inputs side by side are taken apart for it. tests/test_scan.py holds both equal,
gradients included. Where a part of the package is replaced (`parts.py`) the readable loop runs, and so the replacement.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from wm_tutorial.data import State, stack
from wm_tutorial.dynamics import GRU, RSSM, BlockGRU, executed, forget, mask
from wm_tutorial.latents import Distribution
from wm_tutorial.networks import widen
from wm_tutorial.parts import any_replaced


class Matrices(NamedTuple):
    """The matrix `mix` of a recurrent unit, taken apart by what it multiplies.

    own     each block's own memory (blocks, D / blocks, D / blocks); a plain GRU has none
    state   the state: of a block GRU the embedded memory and latent (2 hidden, D), of a GRU the latent (Z, hidden)
    action  the action: of a block GRU embedded (hidden, D), of a GRU as it is (A, hidden)
    """

    own: Tensor | None
    state: Tensor
    action: Tensor


def matrices_of(core: BlockGRU | GRU) -> Matrices:
    """Take the matrix apart, once for a whole sequence."""
    if isinstance(core, GRU):
        return Matrices(None, *core.mix.weight.T.tensor_split([core.latent_size]))
    own, shared = core.mix.weight.tensor_split([-3 * core.hidden], dim=1)
    state, action = shared.transpose(0, 1).flatten(1).tensor_split([2 * core.hidden])
    return Matrices(own, state, action)


def action_part(core: BlockGRU | GRU, action: Tensor, matrices: Matrices) -> Tensor:
    """What the action alone adds to the mix, for a whole sequence at once: (..., A) -> (..., D or hidden)."""
    if isinstance(core, GRU):
        return executed(action) @ matrices.action + core.mix.bias
    embedded: Tensor = core.action_in(executed(action))
    return embedded @ matrices.action + core.mix.bias.flatten()


def memory_after(core: BlockGRU | GRU, state: State, from_action: Tensor, matrices: Matrices) -> Tensor:
    """h_t (B, D) from s_{t-1} (B) and what a_{t-1} adds to the mix."""
    if isinstance(core, GRU):
        mixed = functional.silu(core.mix_norm(torch.addmm(from_action, state.latent, matrices.state)))
        return widen(core.cell(mixed, state.memory))
    assert matrices.own is not None
    shared = torch.cat([core.memory_in(state.memory), core.latent_in(state.latent)], -1)  # (B, 2 hidden)
    from_own = torch.bmm(core.split(state.memory).transpose(0, 1), matrices.own).transpose(0, 1).flatten(1)  # (B, D)
    mixed = functional.silu(core.mix_norm(torch.addmm(from_action, shared, matrices.state) + from_own))
    return core.gated(state.memory, mixed)


class QuickRSSM(RSSM):
    """The RSSM that agents are made of: the parameters, the random draws and the results of `dynamics.RSSM`."""

    def remember(self, state: State, action: Tensor) -> Tensor:
        """h_t (B, D) after `action` (B, A) in `state` (B)."""
        if any_replaced():
            return super().remember(state, action)
        matrices = matrices_of(self.core)
        return memory_after(self.core, state, action_part(self.core, action, matrices), matrices)

    def observe(
        self, embedding: Tensor, action: Tensor, is_first: Tensor, start: State
    ) -> tuple[State, Distribution, Distribution]:
        """Infer the states of a sequence; only what depends on the row before stays in the loop."""
        if any_replaced():
            return super().observe(embedding, action, is_first, start)
        first, *_ = self.posterior_layers
        from_memory, from_embedding = first.weight.T.tensor_split([self.memory_size])
        embedded = embedding @ from_embedding + first.bias  # (B, T, hidden)
        matrices = matrices_of(self.core)
        actions = action_part(self.core, mask(~is_first, action), matrices)  # (B, T, D)
        state, states, posteriors = start, [], []
        # unbind, not [:, t]: the gradient of an index is as large as what it was taken from
        for embedded_t, action_t, is_first_t in zip(*(x.unbind(1) for x in (embedded, actions, is_first)), strict=True):
            memory, raw = self.row(forget(is_first_t, state), action_t, embedded_t, matrices, from_memory)
            state = State(memory, self.latent(raw).sample())
            states.append(state)
            posteriors.append(raw)
        observed = stack(states, dim=1)
        return observed, self.latent(torch.stack(posteriors, dim=1)), self.prior_given(observed.memory)

    def row(
        self, state: State, from_action: Tensor, embedded: Tensor, matrices: Matrices, from_memory: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What one row adds to the sequence: h_t (B, D), and the raw parameters of the posterior of z_t."""
        memory = memory_after(self.core, state, from_action, matrices)
        _, norm, activation, out = self.posterior_layers
        return memory, out(activation(norm(torch.addmm(embedded, memory, from_memory))))

    @property
    def posterior_layers(self) -> tuple[nn.Linear, nn.Module, nn.Module, nn.Module]:
        """Linear, normalisation, activation, and the linear layer of the outputs."""
        hidden, out = self.posterior_net.children()
        first, norm, activation = hidden.children()
        assert isinstance(first, nn.Linear)
        return first, norm, activation, out

    def imagine(self, state: State, action: Tensor) -> State:
        """Sample the next state without an observation: (B, D + Z), (B, A) -> (B, D + Z)."""
        if any_replaced():
            return super().imagine(state, action)
        memory, raw = self.expect(state, action)
        return State(memory, self.latent(raw).sample())

    def expect(self, state: State, action: Tensor) -> tuple[Tensor, Tensor]:
        """h_t (B, D) after an imagined action (B, A), and the raw parameters of the prior of z_t."""
        memory = self.remember(state, action)
        return memory, self.prior_net(memory)

    def compile_steps(self) -> None:
        """Fuse what is repeated in every step; sampling stays outside, so random numbers stay the same."""
        self.row, self.expect = torch.compile(self.row), torch.compile(self.expect)  # type: ignore[method-assign]
