"""Squash numbers of any size into a range that a network can predict, and back."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor


def symlog(x: Tensor) -> Tensor:
    """sign(x) ln(1 + |x|): close to x around zero, logarithmic far away. Any shape.

    Source: Hafner et al. 2023 (arXiv 2301.04104), "Robust predictions".
    """
    sign = _sign(x)
    return sign * torch.log1p(sign * x)


def symexp(x: Tensor) -> Tensor:
    """sign(x) (exp(|x|) - 1), the inverse of `symlog`. Any shape.

    Source: Hafner et al. 2023 (arXiv 2301.04104), "Robust predictions".
    """
    sign = _sign(x)
    return sign * torch.expm1(sign * x)


def _sign(x: Tensor) -> Tensor:
    """-1 or 1. Not `torch.sign`: its 0 at 0 stops the gradient just where a head that starts at zero begins."""
    return torch.where(x < 0, -torch.ones_like(x), torch.ones_like(x))


def symexp_bins(count: int) -> Tensor:
    """`count` (odd) numbers from -e^20 to e^20, dense around 0, exactly symmetric: (count,).

    Source: danijar/dreamerv3 `embodied/jax/heads.py:132-144`.
    """
    negative = symexp(torch.linspace(-20.0, 0.0, count // 2 + 1))
    return torch.cat([negative, -negative[:-1].flip(0)])


@dataclass(frozen=True)
class TwoHot:
    """A number of any size, predicted as a distribution over fixed bins.

    A target is split between the two bins beside it, in proportion to how near they are, and the loss is a
    cross-entropy: its gradient has the same size for a reward of 1 and of 10,000.

    Critical: splitting and averaging happen in the units of the number itself, not in symlog space; the mean of a
    squashed distribution is not the squashed mean.

    logits  (..., bins)
    bins    (bins,), symmetric around 0

    Source: Hafner et al. 2023 (arXiv 2301.04104), "Robust predictions"; danijar/dreamerv3
    `embodied/jax/outs.py`, TwoHot.
    """

    logits: Tensor
    bins: Tensor

    def __getitem__(self, index: Any) -> Self:
        """Some of the predictions."""
        return type(self)(self.logits[index], self.bins)

    @cached_property
    def log_probabilities(self) -> Tensor:
        """Of the bins, (..., bins)."""
        return torch.log_softmax(self.logits, -1)

    @cached_property
    def mean(self) -> Tensor:
        """The expected number, (...).

        The bins reach e^20: summed from the middle outwards in pairs, uniform probabilities give exactly 0. The bin in
        the middle is 0 itself and adds nothing.
        """
        middle = len(self.bins) // 2
        probabilities = torch.softmax(self.logits, -1)
        below, above = probabilities[..., :middle].flip(-1), probabilities[..., middle + 1 :]
        return (above - below) @ self.bins[middle + 1 :]

    def loss(self, target: Tensor) -> Tensor:
        """Cross-entropy (...) in nats against targets (...); those beyond the last bins count as the last bins."""
        target = target.detach().clamp(self.bins[0], self.bins[-1])
        above = torch.searchsorted(self.bins, target).clamp(1, len(self.bins) - 1)
        below = above - 1
        share_above = (target - self.bins[below]) / (self.bins[above] - self.bins[below])
        log_probabilities = self.log_probabilities.expand(*target.shape, -1)
        log_below, log_above = log_probabilities.gather(-1, torch.stack([below, above], -1)).unbind(-1)
        return -((1.0 - share_above) * log_below + share_above * log_above)
