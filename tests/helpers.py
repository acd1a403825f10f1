"""What several test files share: small models, batches with known content, gradient routing, and noise on a script."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from wm_tutorial.config import Config
from wm_tutorial.data import Batch, Spaces, State

STANDARD_ERRORS = 4.0  # seeds are fixed, so a test that passes once passes always

VECTORS = Spaces("vector", (3,), "discrete", 2, (0.0,), (1.0,))
IMAGES = Spaces("image", (8, 9, 2), "discrete", 2, (0.0,), (1.0,))
CONTINUOUS = Spaces("vector", (3,), "continuous", 2, (-1.0, -1.0), (1.0, 1.0))

SMALL = replace(Config(), hidden=8, layers=1, latent_size=4, conv_depth=2, free_nats=0.0)


def uniform(*shape: int, seed: int, low: float = -1.0, high: float = 1.0) -> Tensor:
    """Numbers between `low` and `high` that leave the global generator alone."""
    return low + (high - low) * torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def random_batch(spaces: Spaces, batch: int, length: int, memory: int = 0, latent: int = 4, seed: int = 0) -> Batch:
    """One episode without end in every sequence; actions and rewards are anything."""
    if spaces.obs_kind == "image":
        obs = uniform(batch, length, *spaces.obs_shape, seed=seed, low=0, high=256).to(torch.uint8)
    else:
        obs = uniform(batch, length, *spaces.obs_shape, seed=seed, low=-3, high=3)
    action = uniform(batch, length + 1, spaces.action_size, seed=seed + 1)
    no = torch.zeros(batch, length, dtype=torch.bool)
    return Batch(
        obs=obs,
        action=action[:, 1:],
        previous_action=action[:, :-1],
        reward=uniform(batch, length, seed=seed + 2),
        is_first=no,
        is_last=no,
        is_terminal=no,
        start=State(uniform(batch, memory, seed=seed + 3), uniform(batch, latent, seed=seed + 4)),
    )


class Through(nn.Module):
    """A part that computes what it is told to, without parameters."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter a value of its own: layers that start at zero would hide where gradients flow."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.6 * torch.randn(parameter.shape, generator=generator) + 0.1)
    return module


def receivers(loss: Tensor, parts: dict[str, nn.Module]) -> set[str]:
    """Names of the parts in which every parameter receives gradient from `loss`; in the others none may."""
    reached = set[str]()
    if not loss.requires_grad:
        return reached
    for name, part in parts.items():
        parameters = list(part.parameters())
        gradients = torch.autograd.grad(loss.sum(), parameters, retain_graph=True, allow_unused=True)
        moved = [gradient is not None and bool(gradient.any()) for gradient in gradients]
        assert all(moved) or not any(moved), f"only some parameters of {name} receive gradient: {moved}"
        if all(moved):
            reached.add(name)
    return reached


def depends(output: Tensor, given: Tensor) -> list[list[int]]:
    """For each row t of `output` (B, T, ...) the rows of `given` (B, T, ...) it depends on, found through gradients."""
    rows = []
    for t in range(output.shape[1]):
        (gradient,) = torch.autograd.grad(
            output[:, t].sum(), given, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        rows.append(torch.nonzero(gradient.flatten(2).any(-1).any(0)).flatten().tolist())
    return rows


def assert_independent(samples: Tensor) -> None:
    """Of samples (B, T, V), all of the same V variables: no two are drawn together.

    Neither two variables of a row, nor a variable in two rows of a sequence or in two sequences.
    """
    standard = (samples - samples.mean((0, 1))) / samples.std((0, 1))
    pairs = {
        "variables": (standard[..., :-1], standard[..., 1:]),
        "rows": (standard[:, :-1], standard[:, 1:]),
        "sequences": (standard[:-1], standard[1:]),
    }
    for name, (one, other) in pairs.items():
        products = (one * other).double()
        assert abs(products.mean().item()) < STANDARD_ERRORS / products.numel() ** 0.5, f"{name} are drawn together"


@contextmanager
def scripted_noise(noise: Tensor) -> Iterator[None]:
    """Replace Gaussian noise by `noise` (B, T, Z), given out at once or, when asked for (B, Z), row by row."""
    rows = iter(noise.unbind(1))

    def draw(like: Tensor) -> Tensor:
        return noise if like.shape == noise.shape else next(rows)

    with patch("torch.randn_like", draw):
        yield
