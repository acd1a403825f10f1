"""From rewards and values to returns, and returns of any size to advantages of one size."""

import torch
from torch import Tensor, nn

from wm_tutorial.errors import InputError, NonFiniteError


def lambda_returns(reward: Tensor, discount: Tensor, value: Tensor, lam: float | Tensor) -> Tensor:
    """Returns R_0 .. R_{H-1} of the states an action was taken in.

        R_t = r_{t+1} + d_{t+1} * ((1 - lam) * v_{t+1} + lam * R_{t+1}),    R_H = v_H

    Critical: all three inputs belong to the arriving states 1..H, so column j holds r_{j+1}, d_{j+1} and v_{j+1}.
    The value of the state that is left, v_t, is no argument: it cannot be used by mistake.

    Args:
        reward: (B, H) reward on arriving.
        discount: (B, H) gamma times the probability that the episode goes on, in [0, 1].
        value: (B, H) critic's value of the arriving state; its last column is the bootstrap.
        lam: in [0, 1]; 0 looks one step ahead, 1 sums all rewards and bootstraps once. (B, H) for one of its own on
            each arriving: 0 where a sequence breaks off, so that nothing from beyond the break comes in.

    Returns:
        (B, H).

    Raises:
        InputError: if the shapes differ, the horizon is empty, the numbers are integers, or a discount or `lam` lies
            outside [0, 1].
        NonFiniteError: if a reward, discount or value is infinite or not a number.

    Source: Hafner et al. 2023 (arXiv 2301.04104), "Critic learning"; danijar/dreamerv3 `dreamerv3/agent.py:482-490`.
    """
    lam = (lam.to(reward) if isinstance(lam, Tensor) else torch.full_like(reward, lam)).expand_as(reward)
    _check(reward, discount, value, lam)
    one_step = reward + discount * (1.0 - lam) * value
    following = value[:, -1]
    returns = []
    for t in reversed(range(reward.shape[1])):
        following = one_step[:, t] + discount[:, t] * lam[:, t] * following
        returns.append(following)
    return torch.stack(returns[::-1], dim=1)


def _check(reward: Tensor, discount: Tensor, value: Tensor, lam: Tensor) -> None:
    """Raise one error for inputs of `lambda_returns` from which a wrong number would come."""
    if not reward.shape == discount.shape == value.shape or reward.dim() != 2 or reward.shape[1] == 0:
        raise InputError(
            f"lambda_returns got reward {tuple(reward.shape)}, discount {tuple(discount.shape)} and value "
            f"{tuple(value.shape)}; all three must be (B, H) with H >= 1, taken at the arriving states 1..H."
        )
    for name, given in {"reward": reward, "discount": discount, "value": value}.items():
        if not given.is_floating_point():
            raise InputError(f"lambda_returns got a {name} of {given.dtype}; give floats, such as {name}.float().")
        if not given.isfinite().all():
            raise NonFiniteError(f"lambda_returns got a {name} of {given[~given.isfinite()][0].item()}")
    if (outside := (discount < 0.0) | (discount > 1.0)).any():
        raise InputError(f"lambda_returns got a discount of {discount[outside][0].item():g}; it must lie in [0, 1].")
    if (outside := ~((lam >= 0.0) & (lam <= 1.0))).any():
        raise InputError(f"lambda_returns got lam={lam[outside][0].item()}; it must lie in [0, 1].")


class ReturnNormalizer(nn.Module):
    """Tracks the 5th to 95th percentile range of returns, so that advantages have one size for any reward.

    Small returns are never blown up: the scale stays at least `floor`.

    Source: Hafner et al. 2023 (arXiv 2301.04104), "Actor learning"; danijar/dreamerv3
    `embodied/jax/utils.py`, Normalize.
    """

    low: Tensor
    high: Tensor
    percentiles: Tensor

    def __init__(self, decay: float = 0.99, floor: float = 1.0, percentiles: tuple[float, float] = (0.05, 0.95)):
        super().__init__()
        self.decay, self.floor = decay, floor
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        # on the device: a copy from Python in every update would make the device wait, and fit into no CUDA graph
        self.register_buffer("percentiles", torch.tensor(percentiles), persistent=False)

    @property
    def range(self) -> Tensor:
        """The tracked percentiles, low and high: (2,)."""
        return torch.stack([self.low, self.high])

    @property
    def scale(self) -> Tensor:
        """What returns are divided by (), at least `floor`."""
        return self.scale_of(self.range)

    def scale_of(self, range_: Tensor) -> Tensor:
        """What returns would be divided by () with another range (2,), at least `floor`."""
        return (range_[1] - range_[0]).clamp(min=self.floor)

    @torch.no_grad()
    def after(self, returns: Tensor) -> Tensor:
        """The range (2,) that taking in a batch of returns (any shape) leads to; nothing is changed."""
        found = torch.quantile(returns.flatten().to(self.low), self.percentiles)
        return self.range.lerp(found, 1.0 - self.decay)

    @torch.no_grad()
    def keep(self, range_: Tensor) -> None:
        """Go on from a range (2,)."""
        self.low.copy_(range_[0])
        self.high.copy_(range_[1])

    def update(self, returns: Tensor) -> Tensor:
        """Take in a batch of returns (any shape) and give the scale ()."""
        self.keep(self.after(returns))
        return self.scale
