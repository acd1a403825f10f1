"""A reparameterised sample."""

import torch
from torch import Tensor

from wm_tutorial.check.diagnosis import examine
from wm_tutorial.latents import Gaussian
from wm_tutorial.mistakes.part import Answer, Arguments, Call, Function, Mistake, Part, differentiate
from wm_tutorial.parts import Replacement

CALLS, ROWS = 100, 25


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
    tracked = {name: value.clone().requires_grad_() for name, value in batch.items()}
    slope_in_mean, slope_in_logvar = _slopes(call, tracked)
    return {
        "the sample": sample,
        "the standard deviation from call to call": drawn.std(0).mean(0),
        "the standard deviation from row to row of a batch": drawn.std(1).mean(0),
        "the mean of many samples": drawn.mean((0, 1)),
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


MEAN = torch.tensor([0.0, 1.0, -1.0, 2.0, 3.0])
STD = torch.tensor([0.25, 0.5, 0.75, 1.25, 1.5])


def _in_the_package(function: Function) -> tuple[Replacement, ...]:
    return (Replacement(Gaussian, "sample", lambda gaussian: function(gaussian.mean, gaussian.logvar)),)


SAMPLE = Part(
    name="sample",
    right=right_sample,
    place=_in_the_package,
    cases=(
        {"mean": MEAN, "logvar": 2.0 * STD.log()},
        {"mean": MEAN.double().flip(0), "logvar": 2.0 * (0.6 * STD.double()).log()},
    ),
    measure=statistics,
    expected=_expected_statistics,
    tolerance=(0.15, 0.1),
    mistakes={
        "variance_for_deviation": Mistake(
            "the noise is scaled with exp(logvar), the variance.",
            "exp undoes the log, and the square root that turns a variance into a standard deviation is forgotten.",
            (_of_std(torch.exp),),
        ),
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
            (lambda mean, logvar: mean + torch.exp(0.5 * logvar) * torch.randn_like(mean[0]),),
        ),
        "sample_noise_shared_by_latents": Mistake(
            "all latents of a row get the same noise.",
            "the noise was drawn once per row, as (B, 1), and broadcasting fills in the rest.",
            (lambda mean, logvar: mean + torch.exp(0.5 * logvar) * torch.randn_like(mean[:, :1]),),
        ),
        "sample_uniform_noise": Mistake(
            "the noise is uniform between 0 and 1.",
            "torch.rand and torch.randn differ by one letter.",
            (lambda mean, logvar: mean + torch.exp(0.5 * logvar) * torch.rand_like(mean),),
        ),
        "mode_for_sample": Mistake(
            "the mean is returned, without noise.",
            "the mean predicts best; but a model that never sees noise need not make its latents robust to it.",
            (lambda mean, logvar: mean, lambda mean, logvar: mean + 0.0 * logvar),
        ),
        "sample_without_gradient": Mistake(
            "the sample carries no gradient, so decoder and rewards teach the encoder nothing.",
            "torch.normal and Normal.sample() draw without gradient; mean + std * noise, or rsample(), keeps it.",
            (lambda mean, logvar: right_sample(mean, logvar).detach(),
             lambda mean, logvar: torch.normal(mean, torch.exp(0.5 * logvar))),
        ),
        "sample_std_detached": Mistake(
            "gradient reaches the mean and not logvar, so the width is never learned from what the sample does.",
            "the noise is made in a block without gradient, its scale along with it.",
            (lambda mean, logvar: right_sample(mean, logvar.detach()),),
        ),
    },
)  # fmt: skip


def sample(function: Function) -> bool:
    """Check `sample(mean, logvar)`: a reparameterised sample of a diagonal Gaussian.

    mean    (B, Z)
    logvar  (B, Z) natural logarithm of the variance
    ->      (B, Z), with gradient to both, and noise of its own in every number

    Samples are random, so their statistics are compared: a right function passes whatever generator it uses.

    check.sample(my_sample)
    """
    return examine(SAMPLE, function)
