"""What chapter 04 defines computes the same as what it is named after, gradients included."""

from collections.abc import Callable

import pytest
import torch
from chapters import definitions
from helpers import uniform
from torch import Tensor

from wm_tutorial import kl
from wm_tutorial.latents import Gaussian
from wm_tutorial.mistakes.balance import right_kl_balance, right_sampled_kl, right_teaching_share

CHAPTER = definitions("04_kl")


def assert_agree(ours: Callable[..., Tensor], right: Callable[..., Tensor], *given: Tensor) -> None:
    """The same numbers, and the same gradients in all inputs."""
    answers = []
    for function in (ours, right):
        leaves = [x.clone().requires_grad_() for x in given]
        answer = function(*leaves)
        weights = torch.linspace(0.5, 1.5, answer.numel()).reshape(answer.shape)
        slopes = torch.autograd.grad((weights * answer).sum(), leaves, allow_unused=True, materialize_grads=True)
        answers.append((answer, *slopes))
    torch.testing.assert_close(*answers)


def four(seed: int) -> list[Tensor]:
    return [uniform(3, 4, 2, seed=10 * seed + i, low=-2, high=2) for i in range(4)]


@pytest.mark.parametrize("seed", range(3))
def test_gaussian_kl_agrees(seed: int) -> None:
    assert_agree(CHAPTER["solved_gaussian_kl"], kl.gaussian_kl, *four(seed))


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("free_nats", [0.0, 1.0, 3.0])
def test_balanced_kl_agrees(free_nats: float, which: int) -> None:
    def of(balanced_kl: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., Tensor]:
        return lambda a, b, c, d: balanced_kl(Gaussian(a, b), Gaussian(c, d), free_nats)[which]

    assert_agree(of(CHAPTER["balanced_kl"]), of(kl.balanced_kl), *four(7))


@pytest.mark.parametrize("seed", range(3))
def test_sampled_kl_agrees(seed: int) -> None:
    assert_agree(
        CHAPTER["solved_sampled_kl"], right_sampled_kl, uniform(6, 3, seed=seed), uniform(6, 3, seed=seed + 10)
    )


@pytest.mark.parametrize("seed", range(3))
def test_kl_balance_agrees(seed: int) -> None:
    ours, right = (lambda *x, f=f: f(*x, 0.8) for f in (CHAPTER["solved_kl_balance"], right_kl_balance))
    assert_agree(ours, right, *four(seed))


@pytest.mark.parametrize("seed", range(3))
def test_teaching_share_agrees(seed: int) -> None:
    each = uniform(4, 5, 3, seed=seed, low=0, high=1)
    torch.testing.assert_close(CHAPTER["solved_teaching_share"](each, 1.5), right_teaching_share(each, 1.5))
