"""What chapter 03 defines computes the same as what it is named after."""

import pytest
import torch
from chapters import definitions
from helpers import uniform

from wm_tutorial.heads import Bernoulli
from wm_tutorial.mistakes.heads import right_continue_loss, right_continue_target, right_false_death_value

CHAPTER = definitions("03_heads")


@pytest.mark.parametrize("seed", range(3))
def test_continue_loss_agrees(seed: int) -> None:
    logit, target = uniform(3, 4, seed=seed, low=-5, high=5), uniform(3, 4, seed=seed + 10, low=0, high=1)
    for right in (right_continue_loss(logit, target), Bernoulli(logit).loss(target)):
        torch.testing.assert_close(CHAPTER["solved_continue_loss"](logit, target), right)


@pytest.mark.parametrize("seed", range(3))
def test_continue_target_agrees(seed: int) -> None:
    last, terminal = (uniform(4, 5, seed=seed + i, low=0, high=1) > 0.6 for i in range(2))
    torch.testing.assert_close(
        CHAPTER["solved_continue_target"](last, terminal, 0.9), right_continue_target(last, terminal, 0.9)
    )


@pytest.mark.parametrize("seed", range(3))
def test_false_death_value_agrees(seed: int) -> None:
    reward, limit = uniform(5, seed=seed).double(), uniform(5, seed=seed + 10, low=1, high=500).double()
    torch.testing.assert_close(
        CHAPTER["solved_false_death_value"](reward, limit, 0.99), right_false_death_value(reward, limit, 0.99)
    )
