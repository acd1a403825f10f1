"""Squash numbers of any size into a range that a network can predict, and back."""

import torch
from torch import Tensor


def symlog(x: Tensor) -> Tensor:
    """sign(x) ln(1 + |x|): close to x around zero, logarithmic far away. Any shape.

    Source: Hafner et al. 2023 (arXiv 2301.04104), equation 9.
    """
    sign = _sign(x)
    return sign * torch.log1p(sign * x)


def symexp(x: Tensor) -> Tensor:
    """sign(x) (exp(|x|) - 1), the inverse of `symlog`. Any shape.

    Source: Hafner et al. 2023 (arXiv 2301.04104), equation 9.
    """
    sign = _sign(x)
    return sign * torch.expm1(sign * x)


def _sign(x: Tensor) -> Tensor:
    """-1 or 1. Not `torch.sign`: its 0 at 0 stops the gradient just where a head that starts at zero begins."""
    return torch.where(x < 0, -torch.ones_like(x), torch.ones_like(x))
