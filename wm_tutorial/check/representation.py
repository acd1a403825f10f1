"""What a latent keeps of the observation."""

import torch
from torch import Tensor

from wm_tutorial.check.diagnosis import examine
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Function, Mistake, Part

# The share of a sample that the observation decides -------------------------------------------------------------------


def right_signal_share(mean: Tensor, logvar: Tensor) -> Tensor:
    """Of the variance of a sampled latent, the share that its mean contributes: (B, Z), (B, Z) -> (Z,)."""
    signal, noise = mean.var(0, correction=0), logvar.exp().mean(0)
    return signal / (signal + noise)


def _share(signal: Function, noise: Function) -> Function:
    """The share, with one of its two variances computed otherwise."""

    def share(mean: Tensor, logvar: Tensor) -> Tensor:
        moved, blurred = signal(mean), noise(logvar)
        answer: Tensor = moved / (moved + blurred)
        return answer

    return share


def _spread(mean: Tensor) -> Tensor:
    return mean.var(0, correction=0)


def _blur(logvar: Tensor) -> Tensor:
    return logvar.exp().mean(0)


SIGNAL_SHARE = Part(
    name="signal_share",
    right=right_signal_share,
    cases=(
        {"mean": torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]]), "logvar": torch.zeros(3, 2)},
        *(
            {"mean": uniform(seed, *shape, dtype=dtype), "logvar": uniform(seed + 1, *shape, dtype=dtype)}
            for seed, shape, dtype in variations()
            if shape[0] > 1  # one row has no spread
        ),
    ),
    mistakes={
        "share_logvar_for_variance": Mistake(
            "logvar is used as if it were the variance.",
            "its name is read past the log; the variance is exp(logvar).",
            (_share(_spread, lambda logvar: logvar.mean(0)),),
        ),
        "share_deviation_for_variance": Mistake(
            "the noise is a standard deviation, the signal a variance.",
            "exp(logvar / 2) is what a sample needs; variances are what adds up.",
            (_share(_spread, lambda logvar: (0.5 * logvar).exp().mean(0)),),
        ),
        "share_mean_of_logvar": Mistake(
            "logvar is averaged and then exponentiated: the noise comes out too small.",
            "the two look exchangeable; the mean of exp is never below the exp of the mean.",
            (_share(_spread, lambda logvar: logvar.mean(0).exp()),),
        ),
        "share_not_centred": Mistake(
            "the mean of the squares stands where the variance belongs: a latent that never moves counts as signal.",
            "both agree wherever latents are centred at 0, which nothing here asks for.",
            (_share(lambda mean: mean.square().mean(0), _blur),),
        ),
        "share_axis": Mistake(
            "variances are taken over the latents of a row; they belong over the rows, one number for each latent.",
            "the last axis is the one that most functions here reduce.",
            (lambda mean, logvar: right_signal_share(mean.mT, logvar.mT),),
        ),
        "share_correction": Mistake(
            "the signal is divided by B - 1, the noise by B, and the two no longer add up to the variance of samples.",
            "Tensor.var divides by B - 1 unless it is told correction=0.",
            (_share(lambda mean: mean.var(0), _blur),),
        ),
        "share_of_noise": Mistake(
            "this is signal over noise, not signal over the whole: it grows beyond 1.",
            "a ratio of signal to noise is the better-known quantity.",
            (lambda mean, logvar: _spread(mean) / _blur(logvar),),
        ),
        "share_swapped": Mistake(
            "this is the share of the noise: 1 for a latent that says nothing.",
            "the two shares sum to 1, and each is easily taken for the other.",
            (lambda mean, logvar: 1 - right_signal_share(mean, logvar),),
        ),
    },
)


def signal_share(function: Function) -> bool:
    """Check `signal_share(mean, logvar)`: how much of a sampled latent the observation decides.

    mean    (B, Z) of the latents of B observations
    logvar  (B, Z) natural logarithm of their variances
    ->      (Z,) the variance of the means over the B rows, divided by itself plus the mean of the B variances;
            every average over rows divides by B

    check.signal_share(my_signal_share)
    """
    return examine(SIGNAL_SHARE, function)
