"""What chapter 10 defines computes the same as what it is named after, gradients included."""

import math
from collections.abc import Callable

import pytest
import torch
from chapters import definitions
from helpers import uniform
from torch import Tensor

from wm_tutorial.kl import categorical_kl
from wm_tutorial.latents import OneHot
from wm_tutorial.mistakes.categorical import right_categorical_sample, right_straight_through, right_unimix
from wm_tutorial.mistakes.enumeration import right_expected_gradient, right_price_of_independence

CHAPTER = definitions("10_discrete_latents")
SEEDS = range(3)


def assert_agree(ours: Callable[..., Tensor], right: Callable[..., Tensor], leaf: Tensor, *given: object) -> None:
    """The same numbers, and the same gradient in the first input."""
    answers = []
    for function in (ours, right):
        tracked = leaf.clone().requires_grad_()
        answer = function(tracked, *given)
        weights = torch.linspace(0.5, 1.5, answer.numel()).reshape(answer.shape)
        answers.append((answer, torch.autograd.grad((weights * answer).sum(), tracked)[0]))
    torch.testing.assert_close(*answers)


def logits(seed: int) -> Tensor:
    return uniform(4, 3, 5, seed=seed, low=-3, high=3)


@pytest.mark.parametrize("seed", SEEDS)
def test_categorical_sample_agrees(seed: int) -> None:
    probabilities, numbers = logits(seed).softmax(-1), uniform(4, 3, seed=seed + 10, low=0, high=1)
    ours = CHAPTER["solved_categorical_sample"](probabilities, numbers)
    assert torch.equal(ours, right_categorical_sample(probabilities, numbers))


@pytest.mark.parametrize("seed", SEEDS)
def test_straight_through_agrees(seed: int) -> None:
    probabilities = logits(seed).softmax(-1)
    torch.manual_seed(seed)
    drawn = OneHot(probabilities).sample()
    assert_agree(CHAPTER["solved_straight_through"], right_straight_through, probabilities, drawn)
    assert torch.equal(CHAPTER["solved_straight_through"](probabilities, drawn), drawn)  # bit for bit


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5])
def test_unimix_agrees(share: float) -> None:
    assert_agree(CHAPTER["solved_unimix"], right_unimix, logits(1), share)
    mixed = OneHot.mixed(logits(1), share).probabilities
    torch.testing.assert_close(CHAPTER["solved_unimix"](logits(1), share), mixed)


@pytest.mark.parametrize("seed", SEEDS)
def test_categorical_kl_agrees(seed: int) -> None:
    def package(posterior: Tensor, prior: Tensor, share: float) -> Tensor:
        return categorical_kl(*(OneHot.mixed(x, share).logits for x in (posterior, prior)))

    assert_agree(CHAPTER["solved_categorical_kl"], package, logits(seed), logits(seed + 10), 0.01)


def test_the_exact_gradient_agrees() -> None:
    direction = uniform(6, seed=5, low=-1, high=1)

    def function(z: Tensor) -> Tensor:
        return torch.sin(z.flatten(1) @ direction)

    given = uniform(4, 2, 3, seed=2, low=-2, high=2)
    ours, right = (f(given, function) for f in (CHAPTER["solved_expected_gradient"], right_expected_gradient))
    torch.testing.assert_close(ours, right)


def test_the_price_of_independence_agrees() -> None:
    joint = uniform(4, 9, seed=3, low=-2, high=2).softmax(-1).reshape(4, 3, 3)
    copies = torch.diag(torch.tensor([0.5, 0.5, 0.0])).unsqueeze(0)  # a fair coin told twice
    ours = CHAPTER["solved_price_of_independence"](torch.cat([joint, copies]))
    torch.testing.assert_close(ours, right_price_of_independence(torch.cat([joint, copies])))
    assert ours[-1].item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("target", [1.0, 0.2, -0.5])
def test_the_three_gradients_of_the_picture_are_those_of_the_parts(target: float) -> None:
    """Exact: by enumeration. Straight through: torch's gradient of both samples, weighted with their chances."""
    places = torch.tensor([-2.0, 0.0, 0.4, 3.0])
    both = torch.stack([torch.zeros_like(places), places], -1).unsqueeze(1)  # logits of left, right: (N, 1, 2)
    says = torch.tensor([-1.0, 1.0])

    def loss(z: Tensor) -> Tensor:
        return ((z * says).sum((-2, -1)) - target) ** 2

    found = CHAPTER["gradients"](places, target)
    torch.testing.assert_close(found["exact"][0], right_expected_gradient(both, loss)[:, 0, 1])
    leaf = both.clone().requires_grad_()
    probabilities = leaf.softmax(-1)
    chance = probabilities.detach()[:, 0]  # (N, 2)
    outcomes = []
    for z in torch.eye(2):
        through = right_straight_through(probabilities, z.expand_as(probabilities))
        outcomes.append(torch.autograd.grad(loss(through).sum(), leaf, retain_graph=True)[0][:, 0, 1])
    each = torch.stack(outcomes, -1)
    mean = (chance * each).sum(-1)
    torch.testing.assert_close(found["straight-through"][0], mean)
    torch.testing.assert_close(found["straight-through"][1], (chance * (each - mean[:, None]) ** 2).sum(-1).sqrt())
    torch.testing.assert_close(found["REINFORCE"][0], found["exact"][0])
