"""Distributions over latents: how they are parameterised, sampled with gradients, and compared."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self, TypeAlias

import torch
from torch import Tensor

from wm_tutorial.kl import categorical_kl, gaussian_kl
from wm_tutorial.networks import widen

# exp(-10 / 2) = 0.007 and exp(2 / 2) = 2.7: a standard deviation can neither vanish nor explode.
LOGVAR_RANGE = (-10.0, 2.0)


@dataclass(frozen=True)
class Gaussian:
    """A diagonal Gaussian.

    mean    (..., Z)
    logvar  (..., Z)  natural logarithm of the variance
    """

    mean: Tensor
    logvar: Tensor

    @property
    def mode(self) -> Tensor:
        """The most likely value, (..., Z)."""
        return self.mean

    def sample(self) -> Tensor:
        """A sample (..., Z) that is differentiable in mean and logvar.

        Source: the reparameterisation of Kingma & Welling 2014 (arXiv 1312.6114), section 2.4.
        """
        return self.mean + torch.exp(0.5 * self.logvar) * torch.randn_like(self.mean)

    def kl(self, other: Self) -> Tensor:
        """KL(self || other) in nats, summed over Z: (...)."""
        return gaussian_kl(self.mean, self.logvar, other.mean, other.logvar)

    def detach(self) -> Self:
        """The same distribution, through which no gradient flows."""
        return type(self)(self.mean.detach(), self.logvar.detach())


@dataclass(frozen=True)
class GaussianLatent:
    """The rule that turns a network's output into a `Gaussian` over `size` latents."""

    size: int

    @property
    def parameters(self) -> int:
        """How many numbers the network must supply: one mean and one log-variance per latent."""
        return 2 * self.size

    def __call__(self, raw: Tensor) -> Gaussian:
        """Raw network output (..., 2 Z) -> Gaussian over (..., Z), its log-variance kept inside `LOGVAR_RANGE`."""
        mean, logvar = widen(raw).chunk(2, dim=-1)
        low, high = LOGVAR_RANGE
        return Gaussian(mean, low + (high - low) * torch.sigmoid(logvar))


@dataclass(frozen=True)
class OneHot:
    """A categorical distribution whose samples are one-hot vectors.

    probabilities  (..., K)
    """

    probabilities: Tensor

    @classmethod
    def mixed(cls, logits: Tensor, unimix: float) -> Self:
        """Mix a share `unimix` of the uniform distribution into softmax(logits), so no class becomes impossible.

        Source: Hafner et al. 2023 (arXiv 2301.04104), "1% unimix".
        """
        classes = logits.shape[-1]
        # For a few classes, softmax along the last axis is many times slower on a CPU than along another one.
        shares = torch.softmax(logits, -1) if classes > 16 or logits.dim() < 2 else torch.softmax(logits.mT, -2).mT
        return cls((1.0 - unimix) * shares + unimix / classes)

    @cached_property
    def logits(self) -> Tensor:
        """Log-probabilities, (..., K)."""
        tiny = torch.finfo(self.probabilities.dtype).tiny  # without unimix a probability can round to 0
        return torch.log(self.probabilities.clamp(min=tiny))

    @property
    def mode(self) -> Tensor:
        """The most likely class as a one-hot vector, (..., K)."""
        return self._one_hot(self.probabilities.argmax(-1, keepdim=True))

    def sample(self) -> Tensor:
        """A one-hot sample (..., K), without gradient.

        One uniform number per variable: the class in whose share of the interval from 0 to 1 it falls.
        """
        upper = self.probabilities.detach().cumsum(-1)
        uniform = torch.rand_like(upper[..., :1])
        index = (upper <= uniform).sum(-1, keepdim=True)
        return self._one_hot(index.clamp_(max=upper.shape[-1] - 1))  # the shares may sum to a little less than 1

    def rsample(self) -> Tensor:
        """A sample (..., K) that passes its gradient straight through to the probabilities.

        Critical: forward it is the one-hot sample, backward the probabilities, the uniform share included.
        Source: Bengio et al. 2013 (arXiv 1308.3432); Hafner et al. 2021 (arXiv 2010.02193), algorithm 1.
        """
        nothing = self.probabilities - self.probabilities.detach()  # zero, with the gradient of the probabilities
        return self.sample() + nothing

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability (...) of one-hot vectors (..., K)."""
        return (self.logits * value).sum(-1)

    def entropy(self) -> Tensor:
        """Entropy (...) in nats."""
        return -(self.probabilities * self.logits).sum(-1)

    def _one_hot(self, index: Tensor) -> Tensor:
        return torch.zeros_like(self.probabilities).scatter_(-1, index, 1.0)


@dataclass(frozen=True)
class Categoricals:
    """S independent categorical distributions over K classes each, whose samples are S one-hot vectors, flattened.

    one_hot  the distributions, (..., S, K)
    """

    one_hot: OneHot

    @property
    def logits(self) -> Tensor:
        """Log-probabilities, (..., S, K)."""
        return self.one_hot.logits

    @property
    def mode(self) -> Tensor:
        """The most likely classes, (..., S K)."""
        return self.one_hot.mode.flatten(-2)

    def sample(self) -> Tensor:
        """A sample (..., S K) that passes its gradient straight through to the probabilities."""
        return self.one_hot.rsample().flatten(-2)

    def entropy(self) -> Tensor:
        """Entropy (...) in nats, summed over S."""
        return self.one_hot.entropy().sum(-1)

    def kl(self, other: Self) -> Tensor:
        """KL(self || other) in nats, summed over S: (...)."""
        return categorical_kl(self.logits, other.logits)

    def detach(self) -> Self:
        """The same distributions, through which no gradient flows."""
        return type(self)(OneHot(self.one_hot.probabilities.detach()))


@dataclass(frozen=True)
class CategoricalLatent:
    """The rule that turns a network's output into `Categoricals`: `variables` of `classes` each, a share mixed uniform.

    Source: Hafner et al. 2023 (arXiv 2301.04104), "1% unimix"; danijar/dreamerv3 `dreamerv3/rssm.py:173-176`.
    """

    variables: int
    classes: int
    unimix: float = 0.01

    @property
    def size(self) -> int:
        """Numbers in a sample: S K."""
        return self.variables * self.classes

    @property
    def parameters(self) -> int:
        """How many numbers the network must supply."""
        return self.size

    def __call__(self, raw: Tensor) -> Categoricals:
        """Raw network output (..., S K) -> distributions over (..., S, K)."""
        logits = widen(raw).reshape(*raw.shape[:-1], self.variables, self.classes)
        return Categoricals(OneHot.mixed(logits, self.unimix))


LatentRule: TypeAlias = GaussianLatent | CategoricalLatent
Distribution: TypeAlias = Gaussian | Categoricals
