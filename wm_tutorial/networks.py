"""The layers every part is made of."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from wm_tutorial.errors import InputError

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


def widen(x: Tensor) -> Tensor:
    """From bfloat16 to float32, in which all but matrix products and hidden layers is computed."""
    return x.float() if x.dtype == torch.bfloat16 else x


def normalise(size: int, norm: Norm) -> nn.Module:
    """Normalisation of the last axis: of mean and deviation ("layer"), or of the root mean square alone ("rms")."""
    return RMSNorm(size, eps=1e-4) if norm == "rms" else nn.LayerNorm(size)


class RMSNorm(nn.RMSNorm):
    """Division by the root mean square of the last axis, computed in float32."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., N) -> (..., N)."""
        return super().forward(widen(x))


def block(inputs: int, outputs: int, norm: Norm = "layer") -> nn.Sequential:
    """The layer used everywhere: linear, normalisation, SiLU."""
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

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        output: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return widen(output)


class ChannelNorm(nn.Module):
    """Normalisation over the channels of each pixel of an image (N, C, H, W).

    Its output lies in memory with the channels last, and convolutions keep it so. Moving the axis is then only another
    view of the same numbers, and the convolutions that follow are up to twice as fast on a CPU.
    """

    def __init__(self, channels: int, norm: Norm = "layer") -> None:
        super().__init__()
        self.norm = normalise(channels, norm)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        y: Tensor = self.norm(x.movedim(1, -1))
        return y.movedim(-1, 1)


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


# How the number of channels grows from stage to stage, in multiples of `depth`.
CHANNEL_GROWTH = (2, 3, 4, 4)


def conv_channels(height: int, width: int, depth: int) -> list[int]:
    """Channels of each stage of an image encoder, largest image first."""
    stages = conv_stages(height, width)
    return [depth * CHANNEL_GROWTH[min(stage, len(CHANNEL_GROWTH) - 1)] for stage in range(stages)]


def halved(size: int, times: int) -> int:
    """The size left after halving `times` times, rounding up."""
    return int(-(-size // 2**times))


class ConvEncoder(nn.Sequential):
    """Images (N, C, H, W) -> (N, E): convolve, halve, normalise, activate, once per stage; then flatten.

    Source: danijar/dreamerv3 `dreamerv3/rssm.py:226-245`.
    """

    def __init__(self, shape: tuple[int, int, int], channels: Sequence[int], norm: Norm = "layer") -> None:
        height, width, colours = shape
        layers: list[nn.Module] = []
        for inputs, outputs in zip([colours, *channels[:-1]], channels, strict=True):
            pool = nn.MaxPool2d(2, ceil_mode=True)
            layers += [conv(inputs, outputs), pool, ChannelNorm(outputs, norm), nn.SiLU()]
        super().__init__(*layers, nn.Flatten())
        self.outputs = channels[-1] * halved(height, len(channels)) * halved(width, len(channels))


class UpsampleConv(nn.Module):
    """Repeat every pixel 2 x 2 times, then convolve with a 5 x 5 kernel: (N, C, H, W) -> (N, C', 2 H, 2 W).

    The repeated image is never made. Among repeated pixels, the 25 taps of the kernel meet only 3 x 3 different ones,
    so their weights are added up first; then one 3 x 3 convolution of the small image gives, for each of its pixels,
    the 2 x 2 pixels in its place. The result is the same, and 9 multiplications take the place of 25.
    """

    taps: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv(inputs, outputs)
        # Seen from the first (0) or second (1) of two equal pixels, tap k lies on this one of three small pixels.
        small = (torch.arange(2).unsqueeze(1) + torch.arange(5) - 2) // 2 + 1  # (2, 5), in 0..2
        self.register_buffer("taps", (small.unsqueeze(-1) == torch.arange(3)).float(), persistent=False)  # (2, 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', 2 H, 2 W)."""
        assert self.conv.bias is not None
        kernels = torch.einsum("oiyx,pya,qxb->opqiab", self.conv.weight, self.taps, self.taps)  # (C', 2, 2, C, 3, 3)
        pixels = functional.conv2d(x, kernels.flatten(0, 2), self.conv.bias.repeat_interleave(4), padding=1)
        return functional.pixel_shuffle(pixels, 2)  # (N, 4 C', H, W) -> (N, C', 2 H, 2 W)


class SmallestImage(nn.Module):
    """Features (N, D + Z) -> the image (N, C, H, W) a decoder starts from; D is 0 for a model without memory.

    Memory and latent each have their own way in, and what they say is added. The memory is large, so its matrix is
    block-diagonal: each block paints channels of its own.

    Source: danijar/dreamerv3 `dreamerv3/rssm.py:308-356`, the layers sp0, sp1, sp2 and spnorm.
    """

    def __init__(
        self, memory: int, latent: int, hidden: int, shape: tuple[int, int, int], blocks: int, norm: Norm = "layer"
    ) -> None:
        super().__init__()
        self.memory, self.shape = memory, shape
        self.blocks = math.gcd(blocks, shape[0])  # fewer blocks where these cannot share the channels evenly
        if memory % self.blocks:
            raise InputError(
                f"memory_size is {memory}, which the image decoder cannot divide into {self.blocks} blocks: give a "
                f"multiple of {self.blocks}, or other memory_blocks (1 always fits)."
            )
        self.from_latent = MLP(latent, 2 * hidden, 1, math.prod(shape), norm=norm)
        self.from_memory = (
            BlockLinear(self.blocks, memory // self.blocks, math.prod(shape) // self.blocks) if memory else None
        )
        self.finish = nn.Sequential(ChannelNorm(shape[0], norm), nn.SiLU())

    def forward(self, feature: Tensor) -> Tensor:
        """(N, D + Z) -> (N, C, H, W)."""
        memory, latent = feature.tensor_split([self.memory], dim=-1)
        total: Tensor = self.from_latent(latent)  # (N, C * H * W)
        if self.from_memory is not None:
            total = total + self.from_memory(memory.reshape(len(memory), self.blocks, -1)).flatten(-2)
        image: Tensor = self.finish(total.reshape(-1, *self.shape))
        return image


class ConvDecoder(nn.Module):
    """Features (N, D + Z) -> images (N, C, H, W) before the sigmoid: the mirror image of `ConvEncoder`.

    Source: danijar/dreamerv3 `dreamerv3/rssm.py:308-356`.
    """

    def __init__(
        self,
        memory: int,
        latent: int,
        hidden: int,
        shape: tuple[int, int, int],
        channels: Sequence[int],
        blocks: int = 1,
        norm: Norm = "layer",
    ) -> None:
        super().__init__()
        self.height, self.width, colours = shape
        stages = len(channels)
        smallest = (channels[-1], halved(self.height, stages), halved(self.width, stages))
        self.start = SmallestImage(memory, latent, hidden, smallest, blocks, norm)
        layers: list[nn.Module] = []
        for inputs, outputs in zip(channels[:0:-1], channels[-2::-1], strict=True):
            layers += [UpsampleConv(inputs, outputs), ChannelNorm(outputs, norm), nn.SiLU()]
        self.stack = nn.Sequential(*layers, UpsampleConv(channels[0], colours))

    def forward(self, feature: Tensor) -> Tensor:
        """(N, D + Z) -> (N, C, H, W)."""
        image = widen(self.stack(self.start(feature)))
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
