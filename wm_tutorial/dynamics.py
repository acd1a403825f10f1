"""The state of the model and how it moves: what is expected next (prior), and what is inferred (posterior)."""

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
        executed = action.clamp(-1.0, 1.0)  # a continuous sample may lie outside; the environment clips it
        return self.latent(self.prior_net(torch.cat([state.latent, executed], -1)))

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

    def compile_steps(self) -> None:
        """Fuse what is repeated in every imagined step; sampling stays outside, so random numbers stay the same."""
        self.prior_net.compile()

    def imagine(self, state: State, action: Tensor) -> State:
        """Sample the next state without an observation: (..., D + Z), (..., A) -> (..., D + Z)."""
        return State(state.memory, self.prior(state, action).sample())


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

    def mix_matrices(self) -> tuple[Tensor, ...]:
        """The matrix of `mix`, taken apart once for a whole sequence: for the latent, for the action."""
        latent, action = self.mix.weight.T.tensor_split([self.latent_size])
        return latent, action

    def embed_action(self, action: Tensor, mix: tuple[Tensor, ...]) -> Tensor:
        """What the action alone adds to the mix, for a whole sequence at once: (..., A) -> (..., hidden)."""
        return action.clamp(-1.0, 1.0) @ mix[1] + self.mix.bias

    def forward(self, state: State, action: Tensor) -> Tensor:
        """h_{t-1}, z_{t-1} (B) and a_{t-1} (B, A) -> h_t (B, D)."""
        mix = self.mix_matrices()
        return self.advance(state, self.embed_action(action, mix), mix)

    def advance(self, state: State, from_action: Tensor, mix: tuple[Tensor, ...]) -> Tensor:
        """The same, with what does not depend on the state done before: a_{t-1} adds (B, hidden) to the mix."""
        mixed = functional.silu(self.mix_norm(torch.addmm(from_action, state.latent, mix[0])))
        return widen(self.cell(mixed, state.memory))


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

    def split(self, memory: Tensor) -> Tensor:
        """(..., D) -> (..., blocks, D / blocks)."""
        return memory.reshape(*memory.shape[:-1], self.blocks, -1)

    def mix_matrices(self) -> tuple[Tensor, ...]:
        """The matrices of `mix`, taken apart once for a whole sequence.

        Returns:
            For each block's own memory (blocks, D / blocks, D / blocks); and for what all blocks share: the embedded
            memory and latent (2 hidden, D), the embedded action (hidden, D).
        """
        hidden = self.hidden
        own, shared = self.mix.weight.tensor_split([-3 * hidden], dim=1)
        state, action = shared.transpose(0, 1).flatten(1).tensor_split([2 * hidden])
        return own, state, action

    def embed_action(self, action: Tensor, mix: tuple[Tensor, ...]) -> Tensor:
        """What the action alone adds to the mix, for a whole sequence at once: (..., A) -> (..., D)."""
        embedded: Tensor = self.action_in(action.clamp(-1.0, 1.0))
        return embedded @ mix[2] + self.mix.bias.flatten()

    def forward(self, state: State, action: Tensor) -> Tensor:
        """h_{t-1}, z_{t-1} (B) and a_{t-1} (B, A) -> h_t (B, D)."""
        mix = self.mix_matrices()
        return self.advance(state, self.embed_action(action, mix), mix)

    def advance(self, state: State, from_action: Tensor, mix: tuple[Tensor, ...]) -> Tensor:
        """The same, with what does not depend on the state done before: a_{t-1} adds (B, D) to the mix."""
        memory = state.memory
        shared = torch.cat([self.memory_in(memory), self.latent_in(state.latent)], -1)
        from_own = torch.bmm(self.split(memory).transpose(0, 1), mix[0]).transpose(0, 1).flatten(1)
        mixed = functional.silu(self.mix_norm(torch.addmm(from_action, shared, mix[1]) + from_own))
        reset, candidate, update = self.gates(self.split(mixed)).chunk(3, dim=-1)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate).flatten(-2)
        update = torch.sigmoid(update - 1.0).flatten(-2)  # at first, remember
        return torch.lerp(memory, widen(candidate), widen(update))


class RSSM(nn.Module):
    """Recurrent state-space model: a deterministic memory h_t, and a latent z_t inferred from it and the observation.

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

    def prior(self, memory: Tensor) -> Distribution:
        """What is expected of z_t, given h_t (..., D)."""
        return self.latent(self.prior_net(memory))

    def posterior(self, memory: Tensor, embedding: Tensor) -> Distribution:
        """What h_t (..., D) and the observation (..., E) say about z_t."""
        return self.latent(self.posterior_net(torch.cat([memory, embedding], -1)))

    def observe(
        self, embedding: Tensor, action: Tensor, is_first: Tensor, start: State
    ) -> tuple[State, Distribution, Distribution]:
        """Infer the states of a sequence, row by row; arguments and result as in `FeedForward.observe`.

        Only what depends on the row before stays in the loop: actions, embeddings and priors are done at once.
        """
        first = self.posterior_net.get_submodule("0.0")
        assert isinstance(first, nn.Linear)
        from_memory, from_embedding = first.weight.T.tensor_split([self.memory_size])
        embedded = embedding @ from_embedding + first.bias  # (B, T, hidden)
        mix = self.core.mix_matrices()
        actions = self.core.embed_action(mask(~is_first, action), mix)  # (B, T, D)
        state, states, logits = start, [], []
        # unbind, not [:, t]: the gradient of an index is as large as what it was taken from
        for embedded_t, action_t, is_first_t in zip(*(x.unbind(1) for x in (embedded, actions, is_first)), strict=True):
            memory, raw = self.row(forget(is_first_t, state), action_t, embedded_t, mix, from_memory)
            state = State(memory, self.latent(raw).sample())
            states.append(state)
            logits.append(raw)
        observed = stack(states, dim=1)
        return observed, self.latent(torch.stack(logits, dim=1)), self.prior(observed.memory)

    def row(
        self, state: State, from_action: Tensor, embedded: Tensor, mix: tuple[Tensor, ...], from_memory: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What one row adds to the sequence: h_t (B, D), and the raw parameters of the posterior of z_t."""
        memory = self.core.advance(state, from_action, mix)
        hidden = torch.addmm(embedded, memory, from_memory)
        for module in ("0.1", "0.2", "1"):  # what follows the first matrix of the posterior
            hidden = self.posterior_net.get_submodule(module)(hidden)
        return memory, hidden

    def expect(self, state: State, action: Tensor) -> tuple[Tensor, Tensor]:
        """h_t (B, D) after an imagined action (B, A), and the raw parameters of the prior of z_t."""
        memory = self.core(state, action)
        return memory, self.prior_net(memory)

    def compile_steps(self) -> None:
        """Fuse what is repeated in every step; sampling stays outside, so random numbers stay the same."""
        self.row, self.expect = torch.compile(self.row), torch.compile(self.expect)  # type: ignore[method-assign]

    def step(self, state: State, action: Tensor, is_first: Tensor, embedding: Tensor, greedy: bool = False) -> State:
        """Infer one state while acting, (B, ...): the same as one row of `observe`, without its loss."""
        memory = self.core(forget(is_first, state), mask(~is_first, action))
        posterior = self.posterior(memory, embedding)
        return State(memory, posterior.mode if greedy else posterior.sample())

    def imagine(self, state: State, action: Tensor) -> State:
        """Sample the next state without an observation: (B, D + Z), (B, A) -> (B, D + Z)."""
        memory, raw = self.expect(state, action)
        return State(memory, self.latent(raw).sample())


def make_dynamics(config: Config, embedding: int, action_size: int) -> FeedForward | RSSM:
    """The memory and the latent that `config` asks for."""
    latent: LatentRule = GaussianLatent(config.latent_size)
    if config.latent == "categorical":
        latent = CategoricalLatent(config.latent_size, config.latent_classes, config.unimix)
    if config.memory == "rssm":
        sizes = config.memory_size, latent.size, action_size, config.hidden
        core: BlockGRU | GRU = GRU(*sizes, config.norm)
        if config.memory_cell == "block-gru":
            core = BlockGRU(*sizes, config.memory_blocks, config.norm)
        return RSSM(core, embedding, latent, config.memory_size, config.hidden, config.norm)
    return FeedForward(embedding, action_size, latent, config.hidden, config.layers, config.norm)
