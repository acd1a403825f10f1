"""Inputs to try a function on."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

SHAPES = ((3, 5), (4, 4), (2, 1), (1, 16))  # one with equal sides, one of a single step, one of a single sequence


def uniform(seed: int, *shape: int, dtype: torch.dtype, low: float = -2.0, high: float = 2.0) -> Tensor:
    """Numbers between `low` and `high`; the global generator stays where it is."""
    return low + (high - low) * torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def variations() -> Iterator[tuple[int, tuple[int, int], torch.dtype]]:
    """Seed, the first two sizes, and dtype of each input."""
    for seed, shape in enumerate(SHAPES):
        for dtype in (torch.float32, torch.float64):
            yield 10 * seed, shape, dtype


def one_later(fill: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Every column one step later: column t becomes what t - 1 was."""
    return lambda x: torch.cat([fill(x[:, :1]), x[:, :-1]], 1)


def one_sooner(fill: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Every column one step sooner: column t becomes what t + 1 was."""
    return lambda x: torch.cat([x[:, 1:], fill(x[:, -1:])], 1)


LATER = (one_later(torch.clone), one_later(torch.zeros_like))
SOONER = (one_sooner(torch.clone), one_sooner(torch.zeros_like))


def going_on(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """1, or 0 at an end; the first step is none."""
    goes_on = (uniform(seed, *shape, dtype=dtype) < 1.2).to(dtype)
    goes_on[:, 0] = 1.0
    return goes_on
