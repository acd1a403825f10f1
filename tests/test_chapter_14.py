"""What a reader of chapter 14 builds is what the package has, and what it calls exact is exact."""

import math

import pytest
import torch
from chapters import definitions
from helpers import uniform
from torch import Tensor

from wm_tutorial.actor_critic import BoundedNormal
from wm_tutorial.data import Spaces
from wm_tutorial.dynamics import executed
from wm_tutorial.mistakes.bounds import right_pathwise_dream

CHAPTER = definitions("14_continuous_actions")
SEEDS = range(3)


def with_gradient(function: object, *given: Tensor) -> tuple[Tensor, ...]:
    """Answers, and the gradient of all inputs."""
    leaves = [x.clone().requires_grad_() for x in given]
    answer = function(*leaves)  # type: ignore[operator]
    answers = answer if isinstance(answer, tuple) else (answer,)
    total = torch.stack([(torch.linspace(0.5, 1.5, x.numel()) * x.flatten()).sum() for x in answers]).sum()
    return *answers, *torch.autograd.grad(total, leaves)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_bounded_normal_agrees(seed: int) -> None:
    raw = uniform(4, 3, seed=seed, low=-4, high=4), uniform(4, 3, seed=seed + 10, low=-6, high=4)

    def package(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        policy = BoundedNormal.bounded(mean, std)
        return policy.mean, policy.std

    def ours(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        answer: tuple[Tensor, Tensor] = CHAPTER["solved_bounded_normal"](mean, std, 0.1, 1.0)
        return answer

    torch.testing.assert_close(with_gradient(ours, *raw), with_gradient(package, *raw))


@pytest.mark.parametrize("seed", SEEDS)
def test_log_density_and_entropy_agree(seed: int) -> None:
    mean, action = uniform(4, 3, 2, seed=seed, low=-1, high=1), uniform(4, 3, 2, seed=seed + 1, low=-3, high=3)
    std = uniform(4, 3, 2, seed=seed + 2, low=0.1, high=1)
    ours = with_gradient(CHAPTER["solved_normal_log_prob"], mean, std, action)
    theirs = with_gradient(lambda m, s, a: BoundedNormal(m, s).log_prob(a), mean, std, action)
    torch.testing.assert_close(ours, theirs)
    ours = with_gradient(CHAPTER["solved_normal_entropy"], std)
    torch.testing.assert_close(ours, with_gradient(lambda s: BoundedNormal(mean, s).entropy(), std))


def test_actions_in_the_units_of_the_environment_and_as_executed_agree() -> None:
    action = uniform(50, 2, seed=0, low=-2, high=2)
    spaces = Spaces("vector", (1,), "continuous", 2, (-2.0, 10.0), (2.0, 30.0))
    ours = CHAPTER["solved_scaled_action"](action, torch.tensor(spaces.action_low), torch.tensor(spaces.action_high))
    torch.testing.assert_close(ours, torch.from_numpy(spaces.decode_action(action.numpy())).float())
    torch.testing.assert_close(
        with_gradient(CHAPTER["solved_executed_action"], action), with_gradient(executed, action)
    )


def test_the_dream_agrees_with_its_gradient() -> None:
    start, noise = uniform(4, 2, seed=1), uniform(4, 5, 2, seed=2)

    def policy(state: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tanh(state.flip(-1)), 0.1 + state.sigmoid()

    def step(state: Tensor, action: Tensor) -> Tensor:
        return torch.tanh(state + 0.5 * action)

    def dreamed(function: object) -> object:
        def answer(start: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
            both = function(start, policy, step, noise)  # type: ignore[operator]
            return both["latent"], both["action"]

        return answer

    ours = with_gradient(dreamed(CHAPTER["solved_pathwise_dream"]), start, noise)
    torch.testing.assert_close(ours, with_gradient(dreamed(right_pathwise_dream), start, noise))


def test_the_exact_return_of_the_linear_world_is_what_happens() -> None:
    """Against 200,000 lives, and its gradient against the difference of two returns."""
    torch.manual_seed(0)
    matrix, theta = torch.tensor(CHAPTER["LinearGaussian"]().A), torch.tensor([-0.3, -0.5, 0.2, -0.7]).double()
    exact = _expected(theta, matrix, 6)
    x, total = torch.randn(200_000, 2).double(), torch.zeros(200_000).double()
    push = torch.tensor(CHAPTER["LinearGaussian"]().B[:, 0])
    for _ in range(6):
        noise = torch.randn(len(x)).double()
        action = x @ theta[:2] + theta[2] + theta[3].exp() * noise
        x = x @ matrix.T + action[:, None] * push + 0.15 * torch.randn(len(x), 2).double()
        total += torch.exp(-(x[:, 0] ** 2))
    assert abs(total.mean() - exact) < 4 * total.std() / math.sqrt(len(total))
    gradient = _scope()["exact_gradient"](theta, matrix, 6)
    for i, slope in enumerate(gradient):
        nudge = 1e-5 * torch.eye(4).double()[i]
        up, down = (_expected(theta + sign * nudge, matrix, 6) for sign in (1, -1))
        assert slope.item() == pytest.approx((up - down).item() / 2e-5, rel=1e-4, abs=1e-7)


def _scope() -> dict[str, object]:
    """The functions of the linear world, with the matrices that they read."""
    system = CHAPTER["LinearGaussian"]()
    CHAPTER.update(PUSH=torch.tensor(system.B[:, 0]), Q=torch.tensor(system.Q))
    return CHAPTER


def _expected(theta: Tensor, matrix: Tensor, steps: int) -> Tensor:
    mean, spread = torch.zeros(2).double(), torch.eye(2).double()
    found: Tensor = _scope()["expected_return"](theta, matrix, mean, spread, steps)  # type: ignore[operator]
    return found
