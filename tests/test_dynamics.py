"""What may depend on what: observations, actions and resets followed through the rows of a sequence."""

import math

import pytest
import torch
from helpers import depends, randomise, scripted_noise, uniform
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from wm_tutorial.config import Config
from wm_tutorial.data import State, stack
from wm_tutorial.dynamics import GRU, RSSM, BlockGRU, FeedForward, executed, make_dynamics, mask, previous
from wm_tutorial.latents import Gaussian, GaussianLatent
from wm_tutorial.networks import BlockLinear, RMSNorm

B, T, E, A, Z = 2, 5, 6, 2, 4


def feed_forward() -> FeedForward:
    return randomise(FeedForward(E, A, GaussianLatent(Z), hidden=8, layers=1))


def rows(seed: int = 0) -> dict[str, Tensor | State]:
    """Arguments of `observe`, without a reset."""
    return {
        "embedding": uniform(B, T, E, seed=seed),
        "action": uniform(B, T, A, seed=seed + 1),
        "is_first": torch.zeros(B, T, dtype=torch.bool),
        "start": State(torch.zeros(B, 0), uniform(B, Z, seed=seed + 2)),
    }


def numbers(observed: tuple[State, Gaussian, Gaussian]) -> Tensor:
    """Everything `observe` returns, side by side: (B, T, ...)."""
    state, posterior, prior = observed
    return torch.cat([state.feature, posterior.mean, posterior.logvar, prior.mean, prior.logvar], -1)


# --- State ------------------------------------------------------------------------------------------------------------


def test_a_feature_is_memory_then_latent() -> None:
    assert State(torch.tensor([[1.0]]), torch.tensor([[2.0, 3.0]])).feature.tolist() == [[1.0, 2.0, 3.0]]


def test_states_are_indexed_flattened_and_stacked_without_mixing_rows() -> None:
    memory, latent = torch.arange(12.0).reshape(2, 3, 2), torch.arange(100.0, 118.0).reshape(2, 3, 3)
    state = State(memory, latent)
    assert state[:, -1].memory.tolist() == [[4, 5], [10, 11]]
    assert state[1, 0].latent.tolist() == [109, 110, 111]
    assert state[torch.tensor([1, 0])].memory[0, 0].tolist() == [6, 7]
    flat = state.flatten()
    assert torch.equal(flat.memory, memory.reshape(6, 2)) and torch.equal(flat.latent, latent.reshape(6, 3))
    again = stack([state[:, t] for t in range(3)], dim=1)
    assert torch.equal(again.memory, memory) and torch.equal(again.latent, latent)


def test_detached_states_are_the_same_numbers_without_gradient() -> None:
    state = State(uniform(2, 1, seed=0).requires_grad_(), uniform(2, 3, seed=1).requires_grad_())
    detached = state.detach()
    assert torch.equal(detached.feature, state.feature) and not detached.feature.requires_grad


def test_mask_keeps_or_clears_whole_rows() -> None:
    x = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert mask(torch.tensor([[True, False]]), x).tolist() == [[[1.0, 2.0], [0.0, 0.0]]]


def test_previous_shifts_a_sequence_one_row_later() -> None:
    sequence = torch.tensor([[[1.0], [2.0], [3.0]], [[4.0], [5.0], [6.0]]])
    shifted = previous(torch.tensor([[10.0], [20.0]]), sequence)
    assert shifted.squeeze(-1).tolist() == [[10, 1, 2], [20, 4, 5]]


# --- Who depends on whom ----------------------------------------------------------------------------------------------


def test_the_initial_state_is_zeros() -> None:
    dynamics = feed_forward()
    initial = dynamics.initial(3)
    assert initial.memory.shape == (3, dynamics.memory_size) and initial.latent.shape == (3, dynamics.latent_size)
    assert not initial.feature.any()
    assert dynamics.double().initial(1).latent.dtype == torch.float64


def test_the_posterior_sees_its_own_observation_and_the_prior_the_row_before() -> None:
    given = rows()
    embedding, action = given["embedding"].requires_grad_(), given["action"].requires_grad_()
    start = State(torch.zeros(B, 0), uniform(B, Z, seed=2).requires_grad_())
    state, posterior, prior = feed_forward().observe(**{**given, "start": start})
    own_row, row_before = [[0], [1], [2], [3], [4]], [[], [0], [1], [2], [3]]
    for inferred in (posterior.mean, posterior.logvar, state.latent):
        assert depends(inferred, embedding) == own_row
        assert depends(inferred, action) == [[]] * T  # without memory, the action only changes what is expected
    for expected in (prior.mean, prior.logvar):
        assert depends(expected, embedding) == row_before
        assert depends(expected, action) == own_row  # row t of `action` is a_{t-1}: what led to row t
        for t in range(T):
            (gradient,) = torch.autograd.grad(
                expected[:, t].sum(), start.latent, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            assert gradient.any() == (t == 0)  # only row 0 is expected from the start


def test_sequences_of_a_batch_do_not_mix() -> None:
    dynamics, given = feed_forward(), rows()
    noise = uniform(B, T, Z, seed=9)
    with scripted_noise(noise):
        before = numbers(dynamics.observe(**given))
    other = rows(seed=50)
    for name in ("embedding", "action"):
        given[name] = torch.stack([given[name][0], other[name][1]])
    with scripted_noise(noise):
        after = numbers(dynamics.observe(**given))
    assert torch.equal(after[0], before[0])
    assert not torch.isclose(after[1], before[1]).any()


def test_the_prior_of_a_row_is_what_imagination_draws_from() -> None:
    """Row t is expected from the sampled z_{t-1} and from a_{t-1}, through the same function as in imagination."""
    dynamics, given = feed_forward(), rows()
    state, _, prior = dynamics.observe(**given)
    for t in range(T):
        before = given["start"] if t == 0 else state[:, t - 1]
        again = dynamics.prior(before, given["action"][:, t])
        torch.testing.assert_close(again.mean, prior.mean[:, t])
        torch.testing.assert_close(again.logvar, prior.logvar[:, t])


# --- Resets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", range(T))
def test_nothing_before_the_first_row_of_an_episode_matters(first: int) -> None:
    """Bit for bit: the rows from `first` on are the same whatever the rows before, the start and the action were."""
    dynamics, one, other = feed_forward(), rows(), rows(seed=50)
    other["embedding"][:, first:] = one["embedding"][:, first:]
    other["action"][:, first + 1 :] = one["action"][:, first + 1 :]  # a_{first-1} belongs to the episode before

    def observed(given: dict[str, Tensor | State], reset: bool) -> Tensor:
        is_first = torch.zeros(B, T, dtype=torch.bool)
        is_first[:, first] = reset
        torch.manual_seed(0)
        return numbers(dynamics.observe(**{**given, "is_first": is_first}))

    assert torch.equal(observed(one, True)[:, first:], observed(other, True)[:, first:])
    assert not torch.equal(observed(one, False)[:, first:], observed(other, False)[:, first:])


def test_a_reset_concerns_its_own_row_and_sequence_only() -> None:
    dynamics, given = feed_forward(), rows()
    is_first = torch.zeros(B, T, dtype=torch.bool)
    is_first[1, 3] = True
    noise = uniform(B, T, Z, seed=9)
    with scripted_noise(noise):
        before = numbers(dynamics.observe(**given))
    with scripted_noise(noise):
        after = numbers(dynamics.observe(**{**given, "is_first": is_first}))
    changed = (before != after).any(-1)
    assert changed.tolist() == [[False] * T, [False, False, False, True, False]]


def test_the_first_row_of_an_episode_is_expected_from_nothing() -> None:
    dynamics, given = feed_forward(), rows()
    is_first = torch.ones(B, T, dtype=torch.bool)
    _, _, prior = dynamics.observe(**{**given, "is_first": is_first})
    nothing = dynamics.prior(dynamics.initial(1), torch.zeros(1, A))
    torch.testing.assert_close(prior.mean, nothing.mean.expand(B, T, Z))
    torch.testing.assert_close(prior.logvar, nothing.logvar.expand(B, T, Z))


# --- Acting, and imagining --------------------------------------------------------------------------------------------


def test_row_by_row_while_acting_is_the_same_as_all_at_once() -> None:
    dynamics, given = feed_forward(), rows()
    given["is_first"][0, 2] = True
    noise = uniform(B, T, Z, seed=9)
    with scripted_noise(noise):
        at_once, _, _ = dynamics.observe(**given)
    state, acted = given["start"], []
    with scripted_noise(noise):
        for t in range(T):
            state = dynamics.step(state, given["action"][:, t], given["is_first"][:, t], given["embedding"][:, t])
            acted.append(state)
    together = stack(acted, dim=1)
    torch.testing.assert_close(together.latent, at_once.latent)
    torch.testing.assert_close(together.memory, at_once.memory)


def test_greedy_takes_the_most_likely_latent_and_otherwise_a_sample() -> None:
    dynamics, given = feed_forward(), rows()
    embedding = given["embedding"][:, 0]
    posterior = dynamics.posterior(embedding)
    arguments = (given["start"], given["action"][:, 0], given["is_first"][:, 0], embedding)
    assert torch.equal(dynamics.step(*arguments, greedy=True).latent, posterior.mean)
    noise = uniform(B, 1, Z, seed=9)
    with scripted_noise(noise):
        sampled = dynamics.step(*arguments).latent
    torch.testing.assert_close(sampled, posterior.mean + torch.exp(posterior.logvar / 2) * noise[:, 0])


def test_imagination_samples_from_the_prior() -> None:
    dynamics = feed_forward()
    state = State(torch.zeros(B, 0), uniform(B, Z, seed=0))
    action = uniform(B, A, seed=1)
    prior = dynamics.prior(state, action)
    noise = uniform(B, 1, Z, seed=9)
    with scripted_noise(noise):
        following = dynamics.imagine(state, action)
    torch.testing.assert_close(following.latent, prior.mean + torch.exp(prior.logvar / 2) * noise[:, 0])
    assert following.memory.shape == (B, 0)


def test_the_prior_uses_latent_and_action() -> None:
    dynamics = feed_forward()
    latent, action = uniform(B, Z, seed=0).requires_grad_(), uniform(B, A, seed=1).requires_grad_()
    prior = dynamics.prior(State(torch.zeros(B, 0), latent), action)
    for parameters in (prior.mean, prior.logvar):
        for gradient in torch.autograd.grad(
            parameters.sum(), [latent, action], retain_graph=True, allow_unused=True, materialize_grads=True
        ):
            assert gradient.all()


def test_leading_axes_are_any() -> None:
    dynamics = feed_forward()
    state = State(torch.zeros(2, 3, 5, 0), uniform(2, 3, 5, Z, seed=0))
    action = uniform(2, 3, 5, A, seed=1)
    prior = dynamics.prior(state, action)
    assert prior.mean.shape == (2, 3, 5, Z)
    alone = dynamics.prior(state[1, 2, 4], action[1, 2, 4])
    torch.testing.assert_close(prior.mean[1, 2, 4], alone.mean)


def test_gradients_flow_back_through_imagination() -> None:
    """Needed by agents that learn through the dynamics: the sample is reparameterised."""
    dynamics = feed_forward()
    state = State(torch.zeros(B, 0), uniform(B, Z, seed=0))
    first_action = uniform(B, A, seed=1).requires_grad_()
    following = dynamics.imagine(dynamics.imagine(state, first_action), uniform(B, A, seed=2))
    (gradient,) = torch.autograd.grad(following.latent.sum(), first_action)
    assert gradient.all()


def test_a_continuous_action_counts_as_the_environment_clips_it() -> None:
    model = feed_forward()
    state = State(torch.zeros(1, 0), uniform(1, Z, seed=0))
    outside, edge = model.prior(state, torch.tensor([[3.0, -7.0]])), model.prior(state, torch.tensor([[1.0, -1.0]]))
    assert torch.equal(outside.mean, edge.mean) and torch.equal(outside.logvar, edge.logvar)


def test_a_reset_forgets_even_what_is_not_finite() -> None:
    forgotten = mask(torch.tensor([False, True]), torch.tensor([[math.inf, math.nan], [1.0, 2.0]]))
    assert forgotten.tolist() == [[0.0, 0.0], [1.0, 2.0]]


# --- Memory cells -----------------------------------------------------------------------------------------------------

CELLS = pytest.mark.parametrize("cell", ["gru", "block-gru"])


def core(cell: str) -> GRU | BlockGRU:
    """A memory of 8 numbers for a latent of 3 and an action of 2."""
    made = GRU(8, 3, A, hidden=6) if cell == "gru" else BlockGRU(8, 3, A, hidden=6, blocks=2)
    return randomise(made)


def test_the_plain_gru_on_numbers() -> None:
    """One number of memory, two units that mix: x = silu(normalised(W [z, a] + b)), then the gates one by one."""
    gru = GRU(memory=1, latent=1, action=1, hidden=2, norm="rms")
    with torch.no_grad():
        gru.mix.weight.copy_(torch.tensor([[1.0, 0.5], [-1.0, 2.0]]))
        gru.mix.bias.copy_(torch.tensor([0.1, -0.2]))
        gru.cell.weight_ih.copy_(torch.tensor([[0.3, -0.4], [0.7, 0.2], [-0.6, 0.9]]))  # reset, update, candidate
        gru.cell.weight_hh.copy_(torch.tensor([[0.8], [-0.5], [1.2]]))
        gru.cell.bias_ih.copy_(torch.tensor([0.05, -0.1, 0.2]))
        gru.cell.bias_hh.copy_(torch.tensor([0.15, 0.3, -0.25]))
    h, z, a = 0.6, -1.5, 0.5
    mixed = [1.0 * z + 0.5 * a + 0.1, -1.0 * z + 2.0 * a - 0.2]
    x = [m / math.sqrt((mixed[0] ** 2 + mixed[1] ** 2) / 2 + 1e-4) for m in mixed]
    x = [n / (1 + math.exp(-n)) for n in x]
    reset = 1 / (1 + math.exp(-(0.3 * x[0] - 0.4 * x[1] + 0.05 + 0.8 * h + 0.15)))
    update = 1 / (1 + math.exp(-(0.7 * x[0] + 0.2 * x[1] - 0.1 - 0.5 * h + 0.3)))
    candidate = math.tanh(-0.6 * x[0] + 0.9 * x[1] + 0.2 + reset * (1.2 * h - 0.25))
    after = gru(State(torch.tensor([[h]]), torch.tensor([[z]])), torch.tensor([[a]]))
    assert after.item() == pytest.approx((1 - update) * candidate + update * h, rel=1e-5)


def plainly(core: BlockGRU, state: State, action: Tensor) -> Tensor:
    """The block GRU as its equations stand: every block sees its own memory and all three embedded inputs."""
    inputs = [core.memory_in(state.memory), core.latent_in(state.latent), core.action_in(action)]
    shared = torch.cat(inputs, -1).unsqueeze(1).expand(-1, core.blocks, -1)
    mixed = core.mix(torch.cat([core.split(state.memory), shared], -1)).flatten(1)
    gates = core.gates(core.split(nn.functional.silu(core.mix_norm(mixed))))
    reset, candidate, update = (gate.flatten(1) for gate in gates.chunk(3, -1))
    candidate = torch.tanh(torch.sigmoid(reset) * candidate)
    update = torch.sigmoid(update - 1)
    return update * candidate + (1 - update) * state.memory


def test_the_block_gru_is_the_block_diagonal_formula_with_its_gradient() -> None:
    block_gru = core("block-gru")
    state = State(uniform(5, 8, seed=1).requires_grad_(), uniform(5, 3, seed=2).requires_grad_())
    action = uniform(5, A, seed=3).requires_grad_()
    direction = uniform(5, 8, seed=4)
    leaves = [state.memory, state.latent, action, *block_gru.parameters()]
    assert isinstance(block_gru.mix, BlockLinear)
    found, expected = block_gru(state, action), plainly(block_gru, state, action)
    torch.testing.assert_close(found, expected)
    slopes = (torch.autograd.grad((memory * direction).sum(), leaves) for memory in (found, expected))
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@CELLS
def test_an_action_outside_its_bounds_counts_as_the_bound_the_environment_clips_it_to(cell: str) -> None:
    memory_cell, state = core(cell), State(uniform(2, 8, seed=1), uniform(2, 3, seed=2))
    outside, clipped = torch.tensor([[1.7, -0.3], [-9.0, 0.5]]), torch.tensor([[1.0, -0.3], [-1.0, 0.5]])
    assert torch.equal(memory_cell(state, outside), memory_cell(state, clipped))
    assert not torch.equal(memory_cell(state, clipped), memory_cell(state, clipped / 2))


@given(action=st.floats(-1e6, 1e6, width=32))
def test_an_executed_action_is_the_clipped_one_to_the_last_bit_and_keeps_a_slope(action: float) -> None:
    sampled = torch.tensor([action], requires_grad=True)
    clipped = executed(sampled)
    assert torch.equal(clipped, sampled.clamp(-1.0, 1.0))
    clipped.backward()
    assert sampled.grad is not None
    assert sampled.grad.item() == pytest.approx(1.0 / max(1.0, abs(action)), rel=1e-6)


@CELLS
def test_the_config_chooses_the_cell_and_its_normalisation(cell: str) -> None:
    kinds = {"gru": GRU, "block-gru": BlockGRU}
    for norm, layer in (("layer", nn.LayerNorm), ("rms", RMSNorm)):
        made = make_dynamics(Config(memory="rssm", memory_cell=cell, norm=norm), E, A, RSSM)
        assert isinstance(made, RSSM) and type(made.core) is kinds[cell]
        norms = {type(part) for part in made.modules() if isinstance(part, nn.LayerNorm | RMSNorm)}
        assert norms == {layer}


def test_a_state_is_split_from_the_feature_it_was_joined_to() -> None:
    feature = uniform(2, 3, 7, seed=0)
    for size in (0, 4):
        state = State.split(feature, size)
        assert state.memory.shape[-1] == size and state.feature is feature
        assert torch.equal(torch.cat([state.memory, state.latent], -1), feature)
        assert torch.equal(state[:, 1].feature, feature[:, 1])  # parts do not remember the whole
