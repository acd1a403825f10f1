"""How far the posterior is from the prior: two closed forms, balancing, and free nats."""

from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

from wm_tutorial.errors import InputError


def gaussian_kl(posterior_mean: Tensor, posterior_logvar: Tensor, prior_mean: Tensor, prior_logvar: Tensor) -> Tensor:
    """KL(posterior || prior) in nats between diagonal Gaussians, summed over the last axis.

    Critical: the first distribution is the one samples come from. The evidence lower bound asks for this order; with
    the arguments swapped the prior is rewarded for being narrow instead of right.

    Shapes: four tensors (..., Z) -> (...). Leading axes may broadcast, the last one is the same in all four.

    Raises:
        InputError: if the last axes differ.

    Source: Kingma & Welling 2014 (arXiv 1312.6114), appendix B, for a general second Gaussian.
    """
    _check_last_axes("gaussian_kl", 1, posterior_mean, posterior_logvar, prior_mean, prior_logvar)
    squared_distance = (posterior_mean - prior_mean) ** 2 / torch.exp(prior_logvar)
    variance_ratio = torch.exp(posterior_logvar - prior_logvar)
    return 0.5 * (prior_logvar - posterior_logvar + variance_ratio + squared_distance - 1.0).sum(-1)


def categorical_kl(log_posterior: Tensor, log_prior: Tensor) -> Tensor:
    """KL(posterior || prior) in nats between S independent categorical distributions, summed over S and classes.

    Shapes: log-probabilities (..., S, K), already normalised (and mixed with the uniform) -> (...). Leading axes may
    broadcast, S and K are the same in both.

    Raises:
        InputError: if they are not.
    """
    _check_last_axes("categorical_kl", 2, log_posterior, log_prior)
    return (log_posterior.exp() * (log_posterior - log_prior)).sum((-2, -1))


def _check_last_axes(function: str, axes: int, *given: Tensor) -> None:
    """What is summed over must not be broadcast: each number would count several times."""
    if any(x.dim() < axes for x in given) or len({x.shape[x.dim() - axes :] for x in given}) > 1:
        raise InputError(
            f"{function} got tensors of shapes {', '.join(str(tuple(x.shape)) for x in given)}; the last "
            f"{'axis, Z,' if axes == 1 else 'two axes, S and K,'} must be the same in all."
        )


class Latent(Protocol):
    """What a distribution over latents must offer to be compared with another of its kind."""

    def kl(self, other: Self) -> Tensor:
        """KL(self || other) in nats, summed over the latent axes: (B, T)."""
        ...

    def detach(self) -> Self:
        """The same distribution, through which no gradient flows."""
        ...


Distribution = TypeVar("Distribution", bound=Latent)


def balanced_kl(
    posterior: Distribution, prior: Distribution, free_nats: float, of_mean: bool = False
) -> tuple[Tensor, Tensor]:
    """The same divergence twice, each time teaching one side only.

    The first, KL(sg(posterior) || prior), moves the prior towards what was observed: this is how the dynamics learn.
    The second, KL(posterior || sg(prior)), keeps the representation predictable. Below `free_nats` both are
    constant, with exactly zero gradient, so that a latent may always carry that much for free.

    Critical: the threshold applies to each state's divergence, after the sum over latents and before any mean.
    DreamerV1 applies it to the mean over all states instead (`of_mean`; danijar/dreamer `dreamer.py`, `_train`): then
    one surprising state lets all others be pulled, too.

    Weighted 1 and 1, the two have the gradient of the plain divergence; V2 weights them 0.8 and 0.2, V3 1 and 0.1.

    Returns:
        (dynamics, representation), each (B, T) in nats and never below `free_nats`.

    Source: Hafner et al. 2023 (arXiv 2301.04104), "World model learning"; danijar/dreamerv3
    `dreamerv3/rssm.py:120-133`.
    """
    dynamics = posterior.detach().kl(prior)
    representation = posterior.kl(prior.detach())
    if of_mean:
        dynamics, representation = (kl.mean().expand_as(kl) for kl in (dynamics, representation))
    return dynamics.clamp(min=free_nats), representation.clamp(min=free_nats)
