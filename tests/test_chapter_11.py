"""What a reader of chapter 11 builds is what the package has."""

import pytest
import torch
from chapters import definitions
from torch import Tensor

from wm_tutorial.returns import ReturnNormalizer
from wm_tutorial.transforms import TwoHot, symexp_bins

CHAPTER = "11_rewards_of_any_size"
BINS = symexp_bins(15)


@pytest.fixture(scope="module")
def targets() -> Tensor:
    return torch.tensor([-1e12, -300.0, -0.01, 0.0, 0.2, 1.0, 5000.0, 1e12])


def test_weights_mean_and_slope_agree(targets: Tensor) -> None:
    chapter = definitions(CHAPTER)
    logits = torch.randn(len(targets), 15, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weights = chapter["solved_two_hot"](targets, BINS)
    loss = TwoHot(logits, BINS).loss(targets)
    torch.testing.assert_close(-(weights * logits.log_softmax(-1)).sum(-1), loss)
    (slope,) = torch.autograd.grad(loss.sum(), logits)
    torch.testing.assert_close(chapter["solved_two_hot_slope"](logits.detach(), targets, BINS), slope)
    said = chapter["solved_two_hot_mean"](logits.detach().softmax(-1), BINS)
    torch.testing.assert_close(said, TwoHot(logits.detach(), BINS).mean, rtol=1e-4, atol=100.0)  # of 5e8


def test_the_mean_of_two_hot_weights_is_the_number(targets: Tensor) -> None:
    chapter, inside = definitions(CHAPTER), targets.double().clamp(BINS[0].item(), BINS[-1].item())
    weights = chapter["solved_two_hot"](inside, BINS.double())
    torch.testing.assert_close(chapter["solved_two_hot_mean"](weights, BINS.double()), inside)


def test_range_and_advantage_agree() -> None:
    chapter, normalizer = definitions(CHAPTER), ReturnNormalizer()
    range_ = torch.zeros(2)
    for seed, size in enumerate((0.1, 20.0, 3e4)):
        returns = size * torch.rand(16, 15, generator=torch.Generator().manual_seed(seed))
        range_ = chapter["solved_return_range"](range_, returns, normalizer.decay)
        scale = normalizer.update(returns)
        torch.testing.assert_close(range_, normalizer.range)
        advantage = chapter["solved_scaled_advantage"](returns, returns.mean(), range_, normalizer.floor)
        torch.testing.assert_close(advantage, (returns - returns.mean()) / scale)
