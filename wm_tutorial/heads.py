"""What the world model says about a state: the observation, the reward, and whether the episode goes on.

All heads explain the state that is arrived at: reward head at s_t gives r_t, the reward for the action a_{t-1}.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wm_tutorial.config import Config
from wm_tutorial.data import Spaces
from wm_tutorial.networks import MLP, ConvDecoder, Norm, conv_channels, flatten_leading
from wm_tutorial.transforms import TwoHot, symexp, symexp_bins, symlog


@dataclass(frozen=True)
class SquaredError:
    """A predicted number with a squared-error loss.

    mean  (...)
    unit  the size in which errors are counted
    """

    mean: Tensor
    unit: float = 1.0

    def __getitem__(self, index: Any) -> Self:
        """Some of the predictions."""
        return type(self)(self.mean[index], self.unit)

    def loss(self, target: Tensor) -> Tensor:
        """Squared distance to `target`, in units: (...)."""
        return ((self.mean - target) / self.unit) ** 2


@dataclass(frozen=True)
class SymlogVector:
    """A predicted vector, compared in symlog space so that large entries do not drown small ones.

    symlog_mean  (..., O)
    """

    symlog_mean: Tensor

    @property
    def mean(self) -> Tensor:
        """The prediction in the units of the observation, (..., O)."""
        return symexp(self.symlog_mean)

    def loss(self, target: Tensor) -> Tensor:
        """Squared distance in symlog space, summed over the vector: (...)."""
        return ((self.symlog_mean - symlog(target)) ** 2).sum(-1)


@dataclass(frozen=True)
class OneOf:
    """A predicted class, such as the cell of a grid.

    logits  (..., O)
    """

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """The probability of each class, (..., O): what is expected of the one-hot observation."""
        return torch.softmax(self.logits, -1)

    def loss(self, target: Tensor) -> Tensor:
        """Cross-entropy (...) in nats against one-hot targets (..., O).

        Source: danijar/dreamerv3 `dreamerv3/rssm.py`, Decoder: "categorical" for discrete observations; no unimix.
        """
        return -(target * torch.log_softmax(self.logits, -1)).sum(-1)


@dataclass(frozen=True)
class Image:
    """A predicted image.

    mean  (..., H, W, C) in 0..1
    """

    mean: Tensor

    def loss(self, target: Tensor) -> Tensor:
        """Squared distance to a uint8 image, both scaled to 0..1, summed over pixels and channels: (...)."""
        return ((self.mean - target.float() / 255.0) ** 2).sum((-3, -2, -1))


@dataclass(frozen=True)
class Bernoulli:
    """The probability of "yes".

    logit  (...)
    """

    logit: Tensor

    @property
    def mean(self) -> Tensor:
        """The probability, (...)."""
        return torch.sigmoid(self.logit)

    def loss(self, target: Tensor) -> Tensor:
        """Cross-entropy (...) in nats against a target in [0, 1]."""
        return F.binary_cross_entropy_with_logits(self.logit, target, reduction="none")


class ScalarHead(nn.Module):
    """Features (..., F) to one number, which the network gives in multiples of `unit`.

    A network whose output must grow to hundreds spends its whole training growing, one small step after another, and
    says the same number everywhere. In the right unit all it has to say is of order one.

    The output layer starts at zero: no opinion before there is evidence.
    Source of the zero start: Hafner et al. 2023 (arXiv 2301.04104), "zero-initialised".
    """

    def __init__(self, features: int, hidden: int, layers: int, unit: float = 1.0, norm: Norm = "layer") -> None:
        super().__init__()
        self.net = MLP(features, hidden, layers, outputs=1, scale=0.0, norm=norm)
        self.unit = unit

    def forward(self, feature: Tensor) -> SquaredError:
        """(..., F) -> predictions (...)."""
        return SquaredError(self.unit * self.net(feature).squeeze(-1), self.unit)


class TwoHotHead(nn.Module):
    """Features (..., F) to one number of any size. The output layer starts at zero, which means the number 0."""

    bins: Tensor

    def __init__(self, features: int, hidden: int, layers: int, bins: int, norm: Norm = "layer") -> None:
        super().__init__()
        self.net = MLP(features, hidden, layers, outputs=bins, scale=0.0, norm=norm)
        self.register_buffer("bins", symexp_bins(bins), persistent=False)

    def forward(self, feature: Tensor) -> TwoHot:
        """(..., F) -> predictions (...)."""
        return TwoHot(self.net(feature), self.bins)


class ContinueHead(nn.Module):
    """Features (..., F) to the probability that the episode goes on after this state."""

    def __init__(self, features: int, hidden: int, layers: int, norm: Norm = "layer") -> None:
        super().__init__()
        self.net = MLP(features, hidden, layers, outputs=1, norm=norm)

    def forward(self, feature: Tensor) -> Bernoulli:
        """(..., F) -> probabilities (...)."""
        return Bernoulli(self.net(feature).squeeze(-1))


class VectorDecoder(nn.Module):
    """Features (..., F) to the observation vector."""

    def __init__(self, features: int, hidden: int, layers: int, outputs: int, norm: Norm = "layer") -> None:
        super().__init__()
        self.net = MLP(features, hidden, layers, outputs, norm=norm)

    def forward(self, feature: Tensor) -> SymlogVector:
        """(..., F) -> vectors (..., O)."""
        return SymlogVector(self.net(feature))


class OneHotDecoder(nn.Module):
    """Features (..., F) to the class that is observed."""

    def __init__(self, features: int, hidden: int, layers: int, outputs: int, norm: Norm = "layer") -> None:
        super().__init__()
        self.net = MLP(features, hidden, layers, outputs, norm=norm)

    def forward(self, feature: Tensor) -> OneOf:
        """(..., F) -> classes (..., O)."""
        return OneOf(self.net(feature))


class ImageDecoder(nn.Module):
    """Features (..., D + Z) to the observed image."""

    def __init__(self, memory: int, latent: int, shape: tuple[int, int, int], config: Config) -> None:
        super().__init__()
        channels = conv_channels(shape[0], shape[1], config.conv_depth)
        self.net = ConvDecoder(memory, latent, config.hidden, shape, channels, config.memory_blocks, config.norm)

    def forward(self, feature: Tensor) -> Image:
        """(..., D + Z) -> images (..., H, W, C)."""
        flat, leading = flatten_leading(feature, keep=1)
        pixels: Tensor = torch.sigmoid(self.net(flat)).movedim(1, -1)
        return Image(pixels.reshape(*leading, *pixels.shape[1:]))


def make_scalar_head(config: Config, features: int, layers: int, unit: float = 1.0) -> ScalarHead | TwoHotHead:
    """The head for rewards or values that `config` asks for; `unit` matters to squared errors only."""
    if config.heads == "two-hot":
        return TwoHotHead(features, config.hidden, layers, config.bins, config.norm)
    return ScalarHead(features, config.hidden, layers, unit, config.norm)


def make_decoder(
    spaces: Spaces, config: Config, memory: int, latent: int
) -> VectorDecoder | OneHotDecoder | ImageDecoder:
    """The decoder that fits the observations, for states of `memory` and `latent` numbers (D and Z)."""
    if spaces.obs_kind == "image":
        height, width, channels = spaces.obs_shape
        return ImageDecoder(memory, latent, (height, width, channels), config)
    kind = OneHotDecoder if spaces.obs_kind == "discrete" else VectorDecoder
    return kind(memory + latent, config.hidden, config.layers, spaces.obs_shape[0], config.norm)
