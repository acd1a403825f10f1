"""Inputs to try a function on."""

from collections.abc import Iterator

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
