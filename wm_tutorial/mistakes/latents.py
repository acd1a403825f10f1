"""Latents: how they are sampled, and what a sample keeps of the observation."""

import torch
from torch import Tensor

from wm_tutorial.latents import Categoricals, Gaussian
from wm_tutorial.mistakes.bug import DREAMER_V3, Bug
from wm_tutorial.mistakes.categorical import (
    CATEGORICAL_SAMPLE,
    STRAIGHT_THROUGH,
    favourite,
    right_straight_through,
    without_gradient,
)
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Answer, Arguments, Call, Function, Mistake, Part, differentiate
from wm_tutorial.parts import Replacement

# A reparameterised sample ---------------------------------------------------------------------------------------------

CALLS, ROWS = 100, 25
EXCESS = "three times ln(standard deviation / exp(logvar / 2)), averaged over the latents,"


def right_sample(mean: Tensor, logvar: Tensor) -> Tensor:
    """A sample (..., Z), differentiable in both."""
    return mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)


def statistics(call: Call, arguments: Arguments) -> Answer:
    """What many samples (B, Z) of one Gaussian per column tell, and how they move with mean and logvar."""
    batch = {name: row.expand(ROWS, -1).contiguous() for name, row in arguments.items()}
    samples = []
    for _ in range(CALLS):
        (answer,) = call(batch).values()
        # Of the sample itself only shape and dtype can be compared, and whether it is made of numbers.
        sample = torch.where(answer.isfinite(), 0.0, torch.nan).to(answer)
        if sample.shape != batch["mean"].shape or not sample.is_floating_point() or sample.isnan().any():
            return {"the sample": sample}
        samples.append(answer.double())
    drawn = torch.stack(samples)  # (CALLS, ROWS, Z)
    noise = drawn - drawn.mean((0, 1))
    width = noise.square().mean((0, 1)).sqrt()
    together = (noise * noise.roll(1, -1)).mean((0, 1)) / (width * width.roll(1, -1))
    # Three times the logarithm: 10 % too wide is then beyond the tolerance, and chance is not, unless noise is shared.
    shared = drawn.std(1).mean() < 0.5 * drawn.std(0).mean() or together.nan_to_num().abs().mean() > 0.5
    excess = 3.0 * (width.clamp(min=1e-3).log() - 0.5 * arguments["logvar"].double()).mean() * (not shared)
    tracked = {name: value.clone().requires_grad_() for name, value in batch.items()}
    slope_in_mean, slope_in_logvar = _slopes(call, tracked)
    return {
        "the sample": sample,
        "the standard deviation from call to call": drawn.std(0).mean(0),
        "the standard deviation from row to row of a batch": drawn.std(1).mean(0),
        "the mean of many samples": drawn.mean((0, 1)),
        EXCESS: excess,
        "the correlation of the noise of neighbouring latents": together.nan_to_num(),
        "the mean fourth power of the noise, in standard deviations,": (noise / width).pow(4).mean((0, 1)).nan_to_num(),
        "the gradient in mean": slope_in_mean,
        "the gradient in logvar, divided by (sample - mean) / 2,": slope_in_logvar,
    }


def _expected_statistics(arguments: Arguments) -> Answer:
    mean, std = arguments["mean"].double(), (0.5 * arguments["logvar"].double()).exp()
    return {
        "the sample": torch.zeros(ROWS, len(mean), dtype=arguments["mean"].dtype),
        "the standard deviation from call to call": std,
        "the standard deviation from row to row of a batch": std,
        "the mean of many samples": mean,
        EXCESS: mean.new_zeros(()),
        "the correlation of the noise of neighbouring latents": torch.zeros_like(mean),
        "the mean fourth power of the noise, in standard deviations,": torch.full_like(mean, 3.0),  # of a Gaussian
        "the gradient in mean": torch.ones_like(mean),
        "the gradient in logvar, divided by (sample - mean) / 2,": torch.ones_like(mean),
    }


def _slopes(call: Call, given: Arguments) -> Tensor:
    """Of one sample in mean and logvar, averaged over the batch: (2, Z). Both are 1 where it is right."""
    (answer,) = call(given).values()
    half = (answer - given["mean"]).detach() / 2
    if not answer.requires_grad:
        return torch.zeros(2, half.shape[-1], dtype=torch.float64)
    leaves = [given["mean"], given["logvar"]]
    in_mean, in_logvar = differentiate(answer.sum(), leaves)
    ratio = torch.where(half.abs() > 1e-3, in_logvar / half, 1.0)  # too near to the mean, nothing can be told
    return torch.stack([in_mean, ratio]).double().mean(1)


def _of_std(std: Function) -> Function:
    return lambda mean, logvar: mean + std(logvar) * torch.randn_like(mean)


def _of_noise(noise: Function) -> Function:
    return lambda mean, logvar: mean + torch.exp(0.5 * logvar) * noise(mean)


MEAN = torch.tensor([0.0, 1.0, -1.0, 2.0, 3.0])
STD = torch.tensor([0.25, 0.5, 0.75, 1.25, 1.5])


def _in_the_package(function: Function) -> tuple[Replacement, ...]:
    return (Replacement(Gaussian, "sample", lambda gaussian: function(gaussian.mean, gaussian.logvar)),)


SAMPLE = Part(
    name="sample",
    right=right_sample,
    cases=(
        {"mean": MEAN, "logvar": 2.0 * STD.log()},
        {"mean": MEAN.double().flip(0), "logvar": 2.0 * (0.6 * STD.double()).log()},
    ),
    measure=statistics,
    expected=_expected_statistics,
    tolerance=(0.15, 0.1),
    mistakes={
        "sample_logvar_for_std": Mistake(
            "the noise is scaled with logvar itself.",
            "the network's output is taken for the standard deviation.",
            (_of_std(lambda logvar: logvar), _of_std(lambda logvar: 0.5 * logvar)),
        ),
        "sample_std_missing": Mistake(
            "the noise is not scaled: its standard deviation is 1 everywhere.",
            "randn already gives noise, and a mean added to it looks complete.",
            (_of_std(torch.ones_like),),
        ),
        "sample_noise_shared": Mistake(
            "all rows of a batch get the same noise.",
            "the noise was drawn with the shape of one row, and broadcasting fills in the rest.",
            (_of_noise(lambda mean: torch.randn_like(mean[0])), _of_noise(lambda mean: torch.randn_like(mean[0, 0]))),
        ),
        "sample_noise_shared_by_latents": Mistake(
            "all latents of a row get the same noise.",
            "the noise was drawn once per row, as (B, 1), and broadcasting fills in the rest.",
            (_of_noise(lambda mean: torch.randn_like(mean[:, :1])),),
        ),
        "sample_uniform_noise": Mistake(
            "the noise is uniform.",
            "torch.rand and torch.randn differ by one letter; a Gaussian needs the second, centred or not.",
            (_of_noise(torch.rand_like), _of_noise(lambda mean: torch.rand_like(mean) - 0.5),
             _of_noise(lambda mean: 2 * torch.rand_like(mean) - 1)),
        ),
        "sample_root_twice": Mistake(
            "the root is taken twice: the noise is scaled with exp(logvar / 4).",
            "the half in the exponent is the square root already.",
            (_of_std(lambda logvar: (0.25 * logvar).exp()),),
        ),
        "sample_mean_scaled": Mistake(
            "the mean is multiplied by the standard deviation, too.",
            "a bracket is in the wrong place: only the noise is scaled.",
            (lambda mean, logvar: (mean + torch.randn_like(mean)) * (0.5 * logvar).exp(),),
        ),
        "sample_mean_missing": Mistake(
            "the mean is not added: all samples lie around 0.",
            "the noise with its scale looks like a sample already.",
            (lambda mean, logvar: right_sample(0.0 * mean, logvar),),
        ),
        "sample_noise_missing": Mistake(
            "the standard deviation is added as it is, without noise.",
            "the formula has three factors, and the die is the one without a name in the network's output.",
            (lambda mean, logvar: mean + (0.5 * logvar).exp(),),
        ),
        "sample_mean_detached": Mistake(
            "gradient reaches logvar and not the mean.",
            "the mean is taken for a number that is only looked at; it learns from what the sample does.",
            (lambda mean, logvar: right_sample(mean.detach(), logvar),),
        ),
        "sample_std_detached": Mistake(
            "gradient reaches the mean and not logvar, so the width is never learned from what the sample does.",
            "the noise is made in a block without gradient, its scale along with it.",
            (lambda mean, logvar: right_sample(mean, logvar.detach()),),
        ),
    },
)  # fmt: skip


# The share of a sample that the observation decides -------------------------------------------------------------------


def _spread(mean: Tensor) -> Tensor:
    return mean.var(0, correction=0)


def _blur(logvar: Tensor) -> Tensor:
    return logvar.exp().mean(0)


def _deviation(mean: Tensor) -> Tensor:
    return mean.std(0, correction=0)


def _unbiased_deviation(mean: Tensor) -> Tensor:
    return mean.std(0)


def _mean_deviation(logvar: Tensor) -> Tensor:
    return (0.5 * logvar).exp().mean(0)


def right_signal_share(mean: Tensor, logvar: Tensor) -> Tensor:
    """Of the variance of a sampled latent, the share that its mean contributes: (B, Z), (B, Z) -> (Z,)."""
    signal, noise = _spread(mean), _blur(logvar)
    return signal / (signal + noise)


def _unbiased(mean: Tensor) -> Tensor:
    return mean.var(0)


def _share(signal: Function = _spread, noise: Function = _blur) -> Function:
    """The share, with one of its two variances computed otherwise."""
    return lambda mean, logvar: signal(mean) / (signal(mean) + noise(logvar))


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
            (_share(noise=lambda logvar: logvar.mean(0)),),
        ),
        "share_deviation_for_variance": Mistake(
            "standard deviations stand where variances belong; they do not add up.",
            "exp(logvar / 2) is what a sample needs; variances are what adds up.",
            (
                *(
                    _share(signal, noise)
                    for signal in (_spread, _unbiased, _deviation, _unbiased_deviation)
                    for noise in (_mean_deviation, lambda logvar: _blur(logvar).sqrt())
                ),
                *(_share(signal) for signal in (_deviation, _unbiased_deviation)),
            ),
        ),
        "share_mean_of_logvar": Mistake(
            "the average is taken too early, of logvar or of deviations: the noise comes out too small.",
            "the two look exchangeable; the mean of exp is never below the exp of the mean.",
            tuple(
                _share(signal, noise)
                for signal in (_spread, _unbiased)
                for noise in (lambda logvar: logvar.mean(0).exp(), lambda logvar: _mean_deviation(logvar).square())
            ),
        ),
        "share_not_centred": Mistake(
            "the mean of the squares stands where the variance belongs: a latent that never moves counts as signal.",
            "both agree wherever latents are centred at 0, which nothing here asks for.",
            (_share(signal=lambda mean: mean.square().mean(0)),),
        ),
        "share_axis": Mistake(
            "variances are taken over the latents of a row; they belong over the rows, one number for each latent.",
            "the last axis is the one that most functions here reduce.",
            (
                lambda mean, logvar: right_signal_share(mean.mT, logvar.mT),
                lambda mean, logvar: _share(_unbiased)(mean.mT, logvar.mT),
            ),
        ),
        "share_correction": Mistake(
            "the signal is divided by B - 1, the noise by B, and the two no longer add up to the variance of samples.",
            "Tensor.var divides by B - 1 unless it is told correction=0.",
            (_share(signal=_unbiased),),
        ),
        "share_of_noise": Mistake(
            "this is signal over noise, not signal over the whole: it grows beyond 1.",
            "a ratio of signal to noise is the better-known quantity.",
            (lambda mean, logvar: _spread(mean) / _blur(logvar), lambda mean, logvar: _unbiased(mean) / _blur(logvar)),
        ),
        "share_averaged_late": Mistake(
            "each row gets a share of its own, and these are averaged; the noise is to be averaged first.",
            "a mean of ratios looks like the ratio of means.",
            (lambda mean, logvar: (_spread(mean) / (_spread(mean) + logvar.exp())).mean(0),),
        ),
        "share_noise_of_all": Mistake(
            "the noise is averaged over the latents, too: a clear latent pays for a blurred one.",
            "mean() without an axis averages over everything.",
            (_share(noise=lambda logvar: logvar.exp().mean()),),
        ),
        "share_noise_summed": Mistake(
            "the noise is summed over the rows: the more rows, the smaller the share.",
            "sum(0) and mean(0) differ by a factor that nothing else in the formula has.",
            (_share(noise=lambda logvar: logvar.exp().sum(0)),),
        ),
        "share_swapped": Mistake(
            "this is the share of the noise: 1 for a latent that says nothing.",
            "the two shares sum to 1, and each is easily taken for the other.",
            (
                lambda mean, logvar: 1 - right_signal_share(mean, logvar),
                lambda mean, logvar: 1 - _share(_unbiased)(mean, logvar),
            ),
        ),
    },
)


# In the package -------------------------------------------------------------------------------------------------------


def _detached_sample(mean: Tensor, logvar: Tensor) -> Tensor:
    return right_sample(mean, logvar).detach()


def _mean(mean: Tensor, logvar: Tensor) -> Tensor:
    return mean


_of_variance = _of_std(torch.exp)


def categorical_sample_without_gradient(distribution: Categoricals) -> Tensor:
    """One-hot samples, through which nothing goes back."""
    return distribution.one_hot.sample().flatten(-2)


def categorical_mode(distribution: Categoricals) -> Tensor:
    """The most likely classes, with the gradient of their probabilities."""
    one_hot = distribution.one_hot
    return (one_hot.mode + one_hot.probabilities - one_hot.probabilities.detach()).flatten(-2)


MOMENTS = "test_latents.py::test_gaussian_samples_have_the_mean_and_the_variance_and_are_independent"

PARTS = (SAMPLE, SIGNAL_SHARE)

BUGS = (
    Bug(
        name="sample_without_gradient",
        story="No gradient passes through the sampled latent: `sample` where a reparameterised one belongs.",
        symptom="Decoder, reward and continue never teach the encoder; the latent keeps nothing of the observation.",
        innocent="The divergence falls to zero, and the losses of the heads fall to those of a constant.",
        source="https://github.com/juliusfrost/dreamer-pytorch/pull/41",
        breaks="latents.Gaussian.sample and latents.Categoricals.sample, gradient",
        caught_by=(
            "test_latents.py::test_gaussian_sample_is_differentiable_exactly",
            "test_axes.py::test_the_gradient_of_a_sample_is_that_of_its_probabilities",
            "test_world_model.py::test_exactly_these_parts_learn_from_each_loss",
        ),
        replaces=(*_in_the_package(_detached_sample), (Categoricals, "sample", categorical_sample_without_gradient)),
        forms={SAMPLE: Mistake(
            "the sample carries no gradient, so decoder and rewards teach the encoder nothing.",
            "torch.normal and Normal.sample() draw without gradient; mean + std * noise, or rsample(), keeps it.",
            (_detached_sample, lambda mean, logvar: torch.normal(mean, torch.exp(0.5 * logvar))),
        ), STRAIGHT_THROUGH: Mistake(
            "the sample carries no gradient, so decoder and rewards teach the encoder nothing.",
            "a drawn class has no slope; its gradient has to be lent to it, and that loan was lost, or cancelled.",
            (without_gradient, lambda p, z: right_straight_through(p, z).detach(), lambda p, z: z + p - p),
        )},
    ),
    Bug(
        name="mode_for_sample",
        story="The most likely latent is taken where one should be sampled.",
        symptom="All dreams from one state are the same dream, and chance does not exist in it.",
        innocent="Decoder, reward and continue losses are lower than with samples.",
        source=f"{DREAMER_V3}133",
        breaks="latents.Gaussian.sample and latents.Categoricals.sample, z",
        caught_by=(MOMENTS, "test_axes.py::test_samples_are_one_hot_and_follow_the_mixed_probabilities"),
        replaces=(*_in_the_package(_mean), (Categoricals, "sample", categorical_mode)),
        forms={SAMPLE: Mistake(
            "the mean is returned, without noise.",
            "the mean predicts best; but a model that never sees noise need not make its latents robust to it.",
            (_mean, lambda mean, logvar: mean + 0.0 * logvar),
        ), CATEGORICAL_SAMPLE: Mistake(
            "the most likely class is chosen, whatever the number is.",
            "argmax is at hand, and predicts best; but then the rare class never happens in a dream.",
            (favourite,),
        )},
    ),
    Bug(
        name="variance_for_deviation",
        story="The noise is scaled by exp(logvar), the variance, instead of exp(logvar / 2).",
        symptom="Samples are not from the distribution whose divergence is paid for; small noise is far too small.",
        innocent="Every loss: the networks adapt.",
        source="https://github.com/rachtsingh/ibp_vae/issues/3",
        breaks="latents.Gaussian.sample, sigma",
        caught_by=(MOMENTS, "test_dynamics.py::test_imagination_samples_from_the_prior"),
        replaces=_in_the_package(_of_variance), needs={"latent": "gaussian"},
        forms={SAMPLE: Mistake(
            "the noise is scaled with exp(logvar), the variance.",
            "exp undoes the log, and the square root that turns a variance into a standard deviation is forgotten.",
            (_of_variance,),
        )},
    ),
)  # fmt: skip
