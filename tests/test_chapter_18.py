"""What a reader of chapter 18 builds is what the package plans with, and what it calls exact is exact."""

from unittest import mock

import gymnasium as gym
import pytest
import torch
from chapters import definitions
from helpers import uniform
from torch import Tensor

from wm_tutorial.data import State
from wm_tutorial.planner import GaussianPlan, elites_of, imagined_returns, plan

CHAPTER = definitions("18_planet")
SEEDS = range(3)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_refit_agrees(seed: int) -> None:
    candidates, earned = uniform(4, 9, 3, 2, seed=seed, low=-1, high=1), uniform(4, 9, seed=seed + 1, low=-3, high=3)
    best = candidates[torch.arange(4)[:, None], elites_of(earned, 3)]
    package = GaussianPlan(torch.zeros(4, 3, 2), torch.ones(4, 3, 2)).refit(best)
    mean, std = CHAPTER["solved_refit"](candidates, earned, 3)
    torch.testing.assert_close((mean, std), (package.mean, package.std))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_whole_search_agrees_in_the_chapters_pendulum(seed: int) -> None:
    """With the same noise and the same world: the same plan."""
    torch.manual_seed(seed)
    noise, start, step = torch.randn(3, 5, 20, 6, 1), CHAPTER["at"](torch.randn(5, 2)), CHAPTER["swing"](1.2)

    def score(actions: Tensor) -> Tensor:
        return imagined_returns(step, start, actions)

    action, mean, std = CHAPTER["solved_cross_entropy"](score, noise, 4)
    drawn = iter(noise)
    with mock.patch.object(torch, "randn", lambda *shape, **kinds: next(drawn)):
        package = plan(step, start, CHAPTER["unknown"](5, 6), 20, 4, 3)
    torch.testing.assert_close((action, mean, std), (package.first, package.mean, package.std))


@pytest.mark.parametrize("seed", SEEDS)
def test_what_candidates_earn_agrees(seed: int) -> None:
    start, actions = uniform(3, 2, seed=seed, low=-1, high=1), uniform(3, 4, 5, 2, seed=seed + 1, low=-1, high=1)
    mover = uniform(2, 2, seed=seed + 2, low=-1, high=1)

    def moved(state: Tensor, action: Tensor) -> Tensor:
        return torch.tanh(state @ mover + action)

    def reward(state: Tensor) -> Tensor:
        return state.sum(-1)

    def continue_(state: Tensor) -> Tensor:
        return torch.sigmoid(3 * state[:, 0])

    def step(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        arrived = moved(state.latent, action)
        return State(state.memory, arrived), reward(arrived), continue_(arrived)

    ours = CHAPTER["solved_candidate_returns"](start, actions, moved, reward, continue_)
    torch.testing.assert_close(ours, imagined_returns(step, CHAPTER["at"](start), actions))


def test_what_is_left_of_a_plan() -> None:
    mean = uniform(3, 4, 2, seed=0, low=-1, high=1)
    left = CHAPTER["solved_shifted_plan"](mean, torch.tensor([False, True, False]))
    assert torch.equal(left[::2, :3], mean[::2, 1:]) and not left[1].any() and not left[:, 3].any()
    assert torch.equal(CHAPTER["warm"](GaussianPlan(mean, 0.1 * mean.abs())).mean[::2], left[::2])


def test_the_pendulum_is_gymnasiums_and_the_bowl_earns_what_it_says() -> None:
    env = gym.make("Pendulum-v1")
    env.reset(seed=0)
    state, step = CHAPTER["at"](torch.tensor(env.unwrapped.state).float()[None]), CHAPTER["swing"]()
    for action in torch.linspace(-1, 1, 50).reshape(50, 1, 1):
        _, reward, *_ = env.step(2 * action[0].numpy())
        state, paid, goes_on = step(state, action)
        assert paid.item() == pytest.approx(reward, abs=1e-2) and goes_on.item() == 1.0
    aim, plans = uniform(2, 3, 2, seed=0, low=-1, high=1), uniform(2, 5, 3, 2, seed=1, low=-1, high=1)
    stepped = imagined_returns(CHAPTER["bowl_step"](aim), CHAPTER["at"](torch.zeros(2, 1)), plans)
    torch.testing.assert_close(stepped, CHAPTER["bowl"](aim)(plans))
