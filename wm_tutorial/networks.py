"""The layers every part is made of."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

Norm: TypeAlias = Literal["layer", "rms"]

# A normal distribution cut at two standard deviations keeps 0.8796 of its own; dividing restores unit variance.
TRUNCATION = 1.0 / 0.87962566


def initialise(weight: Tensor, fan_in: int, scale: float = 1.0) -> None:
    """Fill `weight` from a truncated normal distribution of standard deviation scale / sqrt(fan_in).

    It is cut where the normal distribution it is made from has two standard deviations.

    Source: danijar/dreamerv3 `embodied/jax/nets.py:144-197`.
    """
    if scale == 0.0:
        nn.init.zeros_(weight)
        return
    deviation = TRUNCATION * scale / math.sqrt(fan_in)
    nn.init.trunc_normal_(weight, std=deviation, a=-2.0 * deviation, b=2.0 * deviation)


def linear(inputs: int, outputs: int, scale: float = 1.0) -> nn.Linear:
    """A linear layer, initialised; `scale=0` makes its output exactly zero at first."""
    layer = nn.Linear(inputs, outputs)
    initialise(layer.weight, inputs, scale)
    nn.init.zeros_(layer.bias)
    return layer


def normalise(size: int, norm: Norm) -> nn.Module:
    """Normalisation of the last axis: of mean and deviation ("layer"), or of the root mean square alone ("rms")."""
    return nn.RMSNorm(size, eps=1e-4) if norm == "rms" else nn.LayerNorm(size)


def block(inputs: int, outputs: int, norm: Norm = "layer") -> nn.Sequential:
    """The layer used everywhere: linear, normalisation (of the layer, or of its root mean square), SiLU."""
    return nn.Sequential(linear(inputs, outputs), normalise(outputs, norm), nn.SiLU())


class BlockLinear(nn.Module):
    """A linear layer with a block-diagonal matrix: (..., blocks, inputs) -> (..., blocks, outputs).

    Critical: the fan-in that sets the initial size counts the inputs of all blocks together.
    Source: danijar/dreamerv3 `embodied/jax/nets.py:187-197`, BlockLinear.
    """

    def __init__(self, blocks: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(blocks, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(blocks, outputs))
        initialise(self.weight, blocks * inputs)

    def forward(self, x: Tensor) -> Tensor:
        """(..., blocks, inputs) -> (..., blocks, outputs)."""
        flat, leading = flatten_leading(x, keep=2)
        y = torch.baddbmm(self.bias.unsqueeze(1), flat.transpose(0, 1), self.weight).transpose(0, 1)
        return y.reshape(*leading, *y.shape[1:])


class MLP(nn.Sequential):
    """`layers` blocks of `hidden` units and a linear output: (..., inputs) -> (..., outputs)."""

    def __init__(
        self, inputs: int, hidden: int, layers: int, outputs: int, scale: float = 1.0, norm: Norm = "layer"
    ) -> None:
        sizes = [inputs, *[hidden] * layers]
        blocks = [block(a, b, norm) for a, b in pairwise(sizes)]
        super().__init__(*blocks, linear(sizes[-1], outputs, scale))


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of an image (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def conv(inputs: int, outputs: int, scale: float = 1.0, kernel: int = 5) -> nn.Conv2d:
    """A convolution that keeps height and width, initialised."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    initialise(layer.weight, inputs * kernel * kernel, scale)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def conv_stages(height: int, width: int) -> int:
    """How often an image is halved until its short side is about 4 pixels: 16 -> 2, 64 -> 4."""
    return max(1, round(math.log2(min(height, width) / 4)))


def halved(size: int, times: int) -> int:
    """The size left after halving `times` times, rounding up."""
    return int(-(-size // 2**times))


class ConvEncoder(nn.Sequential):
    """Images (N, C, H, W) -> (N, E): convolve, halve, normalise, activate, once per stage; then flatten."""

    def __init__(self, shape: tuple[int, int, int], channels: Sequence[int]) -> None:
        height, width, colours = shape
        layers: list[nn.Module] = []
        for inputs, outputs in zip([colours, *channels[:-1]], channels, strict=True):
            pool = nn.MaxPool2d(2, ceil_mode=True)
            layers += [conv(inputs, outputs), pool, ChannelNorm(outputs), nn.SiLU()]
        super().__init__(*layers, nn.Flatten())
        self.outputs = channels[-1] * halved(height, len(channels)) * halved(width, len(channels))


class ConvDecoder(nn.Module):
    """(N, inputs) -> images (N, C, H, W) before the sigmoid: the mirror image of `ConvEncoder`."""

    def __init__(self, inputs: int, shape: tuple[int, int, int], channels: Sequence[int]) -> None:
        super().__init__()
        self.height, self.width, colours = shape
        stages = len(channels)
        self.smallest = (channels[-1], halved(self.height, stages), halved(self.width, stages))
        self.start = block(inputs, math.prod(self.smallest))
        layers: list[nn.Module] = []
        for a, b in zip(channels[:0:-1], channels[-2::-1], strict=True):
            layers += [nn.Upsample(scale_factor=2), conv(a, b), ChannelNorm(b), nn.SiLU()]
        self.stack = nn.Sequential(*layers, nn.Upsample(scale_factor=2), conv(channels[0], colours))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) -> (N, C, H, W)."""
        image: Tensor = self.stack(self.start(x).unflatten(-1, self.smallest))
        return image[..., : self.height, : self.width]  # odd sizes were rounded up on the way down


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """What is computed inside passes gradient through `module` to its inputs, but none to its parameters."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def flatten_leading(x: Tensor, keep: int) -> tuple[Tensor, torch.Size]:
    """Merge all but the last `keep` axes, for layers that know one batch axis; also returns the merged shape."""
    leading = x.shape[: x.dim() - keep]
    return x.reshape(-1, *x.shape[x.dim() - keep :]), leading
