"""What chapter 09 builds is what the package has, and the world it fits is the one the exact filter knows."""

import numpy as np
import pytest
import torch
from chapters import definitions
from torch import Tensor

from wm_tutorial.data import State
from wm_tutorial.dynamics import RSSM, BlockGRU
from wm_tutorial.latents import GaussianLatent
from wm_tutorial.networks import BlockLinear
from wm_tutorial.worlds import LinearGaussian, kalman_filter, steady_state_error

CHAPTER = definitions("09_memory")


def test_the_gates_are_the_packages() -> None:
    core = BlockGRU(memory=12, latent=3, action=2, hidden=5, blocks=4)
    memory, mixed = torch.randn(2, 6, 12)
    reset, candidate, update = (x.flatten(1) for x in core.gates(core.split(mixed)).chunk(3, -1))
    torch.testing.assert_close(
        CHAPTER["solved_gated_update"](memory, reset, candidate, update), core.gated(memory, mixed)
    )


def test_block_linear_is_the_packages() -> None:
    layer, x = BlockLinear(4, 3, 5), torch.randn(6, 4, 3)
    torch.nn.init.normal_(layer.bias)
    ours = CHAPTER["solved_block_linear"](x.flatten(1), layer.weight, layer.bias)
    torch.testing.assert_close(ours, layer(x).flatten(1))


def test_step_and_sequence_are_the_packages_loop() -> None:
    """With the draws of the latents taken alike, episodes beginning in the middle, and a start that is not zero."""
    dynamics = RSSM(BlockGRU(8, 3, 2, 6, blocks=2), 4, GaussianLatent(3), 8, hidden=6)
    embedding, action, start = torch.randn(5, 7, 4), torch.randn(5, 7, 2), torch.randn(5, 11)
    is_first, before = torch.rand(5, 7) < 0.3, torch.randn(5, 2)

    def step(state: Tensor, previous: Tensor, first: Tensor, embedded: Tensor) -> Tensor:
        halves = CHAPTER["solved_rssm_step"](
            state[:, :8], state[:, 8:], previous, first, embedded,
            lambda h, z, a: dynamics.remember(State(h, z), a),
            lambda h, e: dynamics.posterior_given(h, e).sample(),
        )  # fmt: skip
        return torch.cat(halves, -1)

    torch.manual_seed(0)
    ours = CHAPTER["solved_observe_sequence"](embedding, action, is_first, start, before, step)
    torch.manual_seed(0)
    previous = torch.cat([before[:, None], action[:, :-1]], 1)
    theirs, _, _ = dynamics.observe(embedding, previous, is_first, State.split(start, 8))
    assert torch.equal(ours, theirs.feature)


def test_the_linear_world_of_the_chapter_is_the_packages() -> None:
    """Under the exact filter its error is the least there is, as it would not be in any other world."""
    system = LinearGaussian(hidden_velocity=True)
    CHAPTER["system"] = system
    seen, force, _ = CHAPTER["play"](300, seed=5)
    rows = zip(seen.numpy(), force.numpy(), strict=True)
    errors = [kalman_filter(system, o, a).predicted_mean[10:] - o[10:] for o, a in rows]
    assert np.square(errors).mean() == pytest.approx(steady_state_error(system).item(), rel=0.03)


def test_the_gated_units_predict_a_row_from_the_rows_before_it_alone() -> None:
    seen, force = torch.randn(1, 6, 1).requires_grad_(), torch.randn(1, 6, 1).requires_grad_()
    _, predicted = CHAPTER["Gated"]()(seen, force)
    for given in (seen, force):
        (gradient,) = torch.autograd.grad(predicted[0, 3, 0], given, retain_graph=True)
        assert gradient[0, :, 0].ne(0).tolist() == [True] * 3 + [False] * 3
