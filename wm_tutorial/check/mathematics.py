"""Symlog, two-hot, samples and divergences."""

import torch
from torch import Tensor

from wm_tutorial.check.asking import Answer, Arguments, Call, Function, Mistake, Part, differentiate
from wm_tutorial.check.diagnosis import examine
from wm_tutorial.check.inputs import uniform, variations
from wm_tutorial.kl import gaussian_kl as right_gaussian_kl
from wm_tutorial.transforms import symexp as right_symexp
from wm_tutorial.transforms import symlog as right_symlog

# symlog and symexp ----------------------------------------------------------------------------------------------------

SYMLOG = Part(
    name="symlog",
    right=right_symlog,
    batched=("x",),
    cases=(
        {"x": torch.tensor([-100.0, -1.0, 0.0, 1.0, 100.0])},
        *({"x": uniform(seed, *shape, dtype=dtype, low=-50, high=50)} for seed, shape, dtype in variations()),
    ),
    mistakes={
        "symlog_sign_lost": Mistake(
            "the sign of x does not come back: -1 and 1 become the same.",
            "ln(1 + |x|) is remembered, the sign(x) in front of it is not.",
            (lambda x: torch.log1p(x.abs()),),
        ),
        "symlog_one_missing": Mistake(
            "ln|x| in place of ln(1 + |x|): it has no value at 0, and another sign below 1.",
            "the 1 looks as if it could not matter; it is what makes symlog(x) about x near 0.",
            (lambda x: x.sign() * x.abs().log(), lambda x: torch.where(x < 0, -1, 1) * x.abs().log()),
        ),
        "symlog_abs_missing": Mistake(
            "the logarithm is taken of 1 + x, which is no number below -1.",
            "it works on the positive numbers people try first.",
            (lambda x: torch.log1p(x), lambda x: x.sign() * torch.log1p(x)),
        ),
        "symlog_base": Mistake(
            "the logarithm has another base than e.",
            "log10 and log2 squash just as well, but symexp is no longer the inverse.",
            (lambda x: x.sign() * torch.log10(1 + x.abs()), lambda x: x.sign() * torch.log2(1 + x.abs())),
        ),
        "symlog_of_target_forgotten": Mistake(
            "x comes back as it is; nothing is squashed.",
            "near 0 symlog(x) is about x, so small numbers look right.",
            (lambda x: x.clone(),),
        ),
        "symexp_for_symlog": Mistake(
            "symexp is the inverse of what is asked for.",
            "the two names are easily swapped.",
            (right_symexp,),
        ),
    },
)

SYMEXP = Part(
    name="symexp",
    right=right_symexp,
    batched=("x",),
    cases=(
        {"x": torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])},
        *({"x": uniform(seed, *shape, dtype=dtype, low=-5, high=5)} for seed, shape, dtype in variations()),
    ),
    mistakes={
        "symexp_sign_lost": Mistake(
            "the sign of x does not come back: -1 and 1 become the same.",
            "exp(|x|) - 1 is remembered, the sign(x) in front of it is not.",
            (lambda x: torch.expm1(x.abs()),),
        ),
        "symexp_one_missing": Mistake(
            "exp|x| in place of exp|x| - 1: nothing near 0 can be reached.",
            "exp undoes ln, and the 1 inside of symlog's ln is forgotten.",
            (lambda x: x.sign() * x.abs().exp(), lambda x: torch.where(x < 0, -1, 1) * x.abs().exp()),
        ),
        "symexp_abs_missing": Mistake(
            "exp is taken of x and not of |x|: no number below -1 can be reached.",
            "it works on the positive numbers people try first.",
            (lambda x: torch.expm1(x), lambda x: x.sign() * torch.expm1(x)),
        ),
        "symexp_forgotten": Mistake(
            "x comes back as it is; nothing is unsquashed.",
            "near 0 symexp(x) is about x, so small numbers look right.",
            (lambda x: x.clone(),),
        ),
        "symlog_for_symexp": Mistake(
            "symlog is the inverse of what is asked for.",
            "the two names are easily swapped.",
            (right_symlog,),
        ),
    },
)


def symlog(function: Function) -> bool:
    """Check `symlog(x)`: sign(x) ln(1 + |x|), any shape -> the same shape.

    check.symlog(my_symlog)
    """
    return examine(SYMLOG, function)


def symexp(function: Function) -> bool:
    """Check `symexp(x)`: sign(x) (exp(|x|) - 1), any shape -> the same shape.

    check.symexp(my_symexp)
    """
    return examine(SYMEXP, function)


# two-hot --------------------------------------------------------------------------------------------------------------


def right_two_hot(x: Tensor, bins: Tensor) -> Tensor:
    """A number as weights of the two bins beside it: (B,), (K,) -> (B, K)."""
    x = x.clamp(bins[0], bins[-1])
    below, share_above = _place(x, bins)
    return _two_hot(below, share_above, len(bins))


def right_two_hot_mean(probabilities: Tensor, bins: Tensor) -> Tensor:
    """The expected number: (B, K), (K,) -> (B,)."""
    return probabilities @ bins


def _place(x: Tensor, bins: Tensor, right: bool = False) -> tuple[Tensor, Tensor]:
    """The bin below x, and how far x is on the way to the one above; a number on a bin counts to its left or right."""
    below = torch.searchsorted(bins, x.contiguous(), right=right).clamp(1, len(bins) - 1) - 1
    return below, (x - bins[below]) / (bins[below + 1] - bins[below])


def _two_hot(below: Tensor, share_above: Tensor, bins: int, shift: int = 0) -> Tensor:
    answer = share_above.new_zeros(len(below), bins)
    for bin_, share in ((below, 1 - share_above), (below + 1, share_above)):
        answer.scatter_add_(1, (bin_ + shift).clamp(0, bins - 1)[:, None], share[:, None])
    return answer


def _clamped(x: Tensor, bins: Tensor, right: bool = False) -> tuple[Tensor, Tensor]:
    return _place(x.clamp(bins[0], bins[-1]), bins, right)


def _swapped(right: bool) -> Function:
    def two_hot(x: Tensor, bins: Tensor) -> Tensor:
        below, share_above = _clamped(x, bins, right)
        return _two_hot(below, 1 - share_above, len(bins))

    return two_hot


def _shifted(shift: int) -> Function:
    return lambda x, bins: _two_hot(*_clamped(x, bins), len(bins), shift)


def _rounded(shares: Function, right: bool = False) -> Function:
    def two_hot(x: Tensor, bins: Tensor) -> Tensor:
        below, share_above = _clamped(x, bins, right)
        return _two_hot(below, shares(share_above), len(bins))

    return two_hot


def _spread_bins(seed: int, dtype: torch.dtype) -> Tensor:
    """Seven bins, symmetric around 0, farther and farther apart."""
    positive = uniform(seed, 3, dtype=dtype, low=0.5, high=1.5).cumsum(0).expm1()
    return torch.cat([-positive.flip(0), positive.new_zeros(1), positive])


BINS = torch.tensor([-4.0, -1.0, 0.0, 1.0, 4.0])

TWO_HOT = Part(
    name="two_hot",
    right=right_two_hot,
    batched=("x",),
    cases=(
        {"x": torch.tensor([0.25, 3.0, -2.0]), "bins": BINS},
        *(
            {"x": uniform(seed, shape[0], dtype=dtype, low=-15, high=15), "bins": _spread_bins(seed, dtype)}
            for seed, shape, dtype in variations()
        ),
        {"x": torch.tensor([-9.0, -4.0, 0.0, 1.0, 4.0, 9.0]), "bins": BINS},  # on a bin, and beyond the last ones
    ),
    mistakes={
        "two_hot_in_symlog": Mistake(
            "the number is split in symlog space; its mean over the bins is then not the number.",
            "bins are drawn evenly spaced in symlog space, so that is where people measure the distances.",
            (lambda x, bins: right_two_hot(right_symlog(x), right_symlog(bins)),),
        ),
        "two_hot_target_squashed": Mistake(
            "the number is squashed with symlog, the bins are not.",
            "with evenly spaced bins targets are squashed first; bins that are symexp-spaced have done that already.",
            (lambda x, bins: right_two_hot(right_symlog(x), bins),),
        ),
        "two_hot_off_by_one": Mistake(
            "the weights are right, one bin beside their place.",
            "searchsorted gives the bin above; the one below is that minus 1.",
            (_shifted(1), _shifted(-1), lambda x, bins: right_two_hot(x, bins).roll(1, 1),
             lambda x, bins: right_two_hot(x, bins).roll(-1, 1)),
        ),
        "two_hot_nearest": Mistake(
            "all weight lies on one bin, so numbers between two bins are lost.",
            "that is what one-hot classification does; the second bin is what keeps the number exact.",
            (_rounded(torch.round), _rounded(lambda s: (s >= 0.5).to(s)),
             _rounded(torch.floor), _rounded(torch.ceil), _rounded(torch.zeros_like), _rounded(torch.ones_like),
             _rounded(torch.zeros_like, right=True), _rounded(torch.ones_like, right=True)),
        ),
        "two_hot_weights_swapped": Mistake(
            "the two weights are swapped: the farther bin gets more.",
            "the distance to a bin is taken for its weight; the weight is the distance to the other one.",
            (_swapped(False), _swapped(True)),
        ),
        "two_hot_halves": Mistake(
            "both bins get one half, wherever between them the number lies.",
            "two-hot is read as two ones, normalised.",
            (_rounded(lambda s: torch.full_like(s, 0.5)), _rounded(lambda s: torch.full_like(s, 0.5), right=True)),
        ),
        "two_hot_not_clamped": Mistake(
            "a number beyond the last bin gets weights below 0 and above 1.",
            "the formula works inside of the bins, and no number beyond them was tried; clamp x to them first.",
            (lambda x, bins: _two_hot(*_place(x, bins), len(bins)),),
        ),
    },
)  # fmt: skip

TWO_HOT_MEAN = Part(
    name="two_hot_mean",
    right=right_two_hot_mean,
    batched=("probabilities",),
    cases=(
        {"probabilities": torch.tensor([[0.0, 0.25, 0.5, 0.25, 0.0], [0.0, 0.0, 0.0, 0.5, 0.5]]), "bins": BINS},
        *(
            {"probabilities": uniform(seed, shape[0], 7, dtype=dtype).softmax(-1), "bins": _spread_bins(seed, dtype)}
            for seed, shape, dtype in variations()
        ),
    ),
    mistakes={
        "two_hot_mean_in_symlog": Mistake(
            "the mean is taken in symlog space and expanded afterwards.",
            "so it is done where a network predicts one squashed number; the mean of what is squashed is not the "
            "squashed mean.",
            (lambda probabilities, bins: right_symexp(probabilities @ right_symlog(bins)),),
        ),
        "symexp_forgotten": Mistake(
            "the mean is left in symlog space.",
            "the last symexp is in another function in most programs.",
            (lambda probabilities, bins: probabilities @ right_symlog(bins),),
        ),
        "symexp_twice": Mistake(
            "the bins are in the units of the number already, and the mean is expanded once more.",
            "with evenly spaced bins a symexp follows; with symexp-spaced ones it does not.",
            (lambda probabilities, bins: right_symexp(probabilities @ bins),
             lambda probabilities, bins: probabilities @ right_symexp(bins)),
        ),
        "two_hot_mode": Mistake(
            "the most likely bin in place of the mean.",
            "argmax is how a classification is read.",
            (lambda probabilities, bins: bins[probabilities.argmax(-1)],),
        ),
    },
)  # fmt: skip


def two_hot(function: Function) -> bool:
    """Check `two_hot(x, bins)`: numbers as weights of the two bins beside each.

    x     (B,)  any numbers; those beyond the last bins count as the last bins
    bins  (K,)  rising, in the units of x, at any distances
    ->    (B, K), the weights of a number sum to 1

    check.two_hot(my_two_hot)
    """
    return examine(TWO_HOT, function)


def two_hot_mean(function: Function) -> bool:
    """Check `two_hot_mean(probabilities, bins)`: the expected number.

    probabilities  (B, K)
    bins           (K,) in the units of the number
    ->             (B,)

    check.two_hot_mean(my_two_hot_mean)
    """
    return examine(TWO_HOT_MEAN, function)


# A reparameterised sample ---------------------------------------------------------------------------------------------

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


# Divergences ----------------------------------------------------------------------------------------------------------


def _gaussian_kl(
    log_std_of: Function = lambda logvar: 0.5 * logvar,
    half: float = 0.5,
    constant: float = 1.0,
    power: int = 2,
    scale: Function = lambda variance: variance,
) -> Function:
    """KL(p || q), with one piece of the formula exchanged."""

    def kl(mean_p: Tensor, logvar_p: Tensor, mean_q: Tensor, logvar_q: Tensor) -> Tensor:
        log_p, log_q = log_std_of(logvar_p), log_std_of(logvar_q)
        distance = (mean_p - mean_q) ** power / scale((2 * log_q).exp())
        each: Tensor = 2 * (log_q - log_p) + (2 * (log_p - log_q)).exp() + distance - constant
        return half * each.sum(-1)

    return kl


def _summed(kl: Tensor) -> Tensor:
    """The sum over the batch, in every row of it."""
    return kl.sum().expand_as(kl)


def _elementwise_gaussian_kl(mean_p: Tensor, logvar_p: Tensor, mean_q: Tensor, logvar_q: Tensor) -> Tensor:
    split = (x.unsqueeze(-1) for x in (mean_p, logvar_p, mean_q, logvar_q))
    return right_gaussian_kl(*split)


def _gaussian(seed: int, shape: tuple[int, ...], dtype: torch.dtype) -> Arguments:
    names = ("mean_p", "logvar_p", "mean_q", "logvar_q")
    return {name: uniform(seed + i, *shape, dtype=dtype) for i, name in enumerate(names)}


GAUSSIAN_KL = Part(
    name="gaussian_kl",
    right=right_gaussian_kl,
    batched=("mean_p", "logvar_p", "mean_q", "logvar_q"),
    gradient_to=("mean_p", "logvar_p", "mean_q", "logvar_q"),
    cases=(
        {
            "mean_p": torch.tensor([[0.0, 1.0], [2.0, 0.0]]), "logvar_p": torch.tensor([[0.0, 1.0], [-1.0, 0.5]]),
            "mean_q": torch.tensor([[1.0, 1.0], [0.0, 0.0]]), "logvar_q": torch.tensor([[0.0, 0.0], [1.0, 1.0]]),
        },
        *(_gaussian(seed, shape, dtype) for seed, shape, dtype in variations()),
        _gaussian(99, (2, 3, 4), torch.float64),
    ),
    mistakes={
        "kl_reversed": Mistake(
            "KL(q || p) is computed: the two distributions are swapped.",
            "the bars look symmetric, the divergence is not; the first one is where samples come from.",
            (lambda mean_p, logvar_p, mean_q, logvar_q: right_gaussian_kl(mean_q, logvar_q, mean_p, logvar_p),),
        ),
        "kl_negative": Mistake(
            "the sign is the other one; a divergence is never negative.",
            "the bound that is maximised has a minus in front of the KL, the loss that is minimised has a plus.",
            (lambda *given: -right_gaussian_kl(*given),),
        ),
        "kl_half_missing": Mistake(
            "the factor 1/2 is missing.",
            "it stands in front of a long bracket and applies to all of it.",
            (_gaussian_kl(half=1.0),),
        ),
        "kl_log_std_for_logvar": Mistake(
            "logvar is taken for the logarithm of the standard deviation.",
            "many formulas are written in log sigma; logvar is twice that.",
            (_gaussian_kl(log_std_of=lambda logvar: logvar),),
        ),
        "kl_std_for_variance": Mistake(
            "the squared distance is divided by the standard deviation of q, not by its variance.",
            "exp(0.5 * logvar) is at hand from the sample.",
            (_gaussian_kl(scale=torch.sqrt),),
        ),
        "kl_distance_unscaled": Mistake(
            "the squared distance of the means is not divided by the variance of q.",
            "the formula for a standard normal q has no such division: its variance is 1.",
            (_gaussian_kl(scale=torch.ones_like),),
        ),
        "kl_distance_not_squared": Mistake(
            "the distance of the means is not squared.",
            "the square is one small 2 in a long formula.",
            (_gaussian_kl(power=1),),
        ),
        "kl_constant_missing": Mistake(
            "the -1 is missing: two equal distributions must have divergence 0.",
            "constants have no gradient, so training does not notice; free nats do.",
            (_gaussian_kl(constant=0.0),),
        ),
        "kl_prior_ignored": Mistake(
            "the divergence is that from a standard normal, whatever q is.",
            "that is the formula of the variational autoencoder; here the prior is predicted.",
            (lambda mean_p, logvar_p, mean_q, logvar_q: _gaussian_kl()(mean_p, logvar_p, 0 * mean_q, 0 * logvar_q),),
        ),
        "kl_averaged_over_latents": Mistake(
            "the mean over the latents in place of their sum.",
            "losses are averaged, mostly; but information of independent latents adds up, and free nats count the sum.",
            (lambda *given: _elementwise_gaussian_kl(*given).mean(-1),),
        ),
        "kl_not_summed": Mistake(
            "every latent has a number of its own: the sum over the last axis is missing.",
            "each latent's divergence is right, and a mean taken later hides that they were never added.",
            (_elementwise_gaussian_kl,),
        ),
        "kl_over_batch": Mistake(
            "the sum runs over the batch too.",
            "sum() without an axis sums everything; the weight of the KL then grows with the batch.",
            (lambda *given: right_gaussian_kl(*given).sum(), lambda *given: right_gaussian_kl(*given).mean(),
             lambda *given: _elementwise_gaussian_kl(*given).mean(), lambda *given: _summed(right_gaussian_kl(*given))),
        ),
        "kl_posterior_detached": Mistake(
            "no gradient reaches p.",
            "balancing detaches one side at a time; that belongs around this function, not into it.",
            (lambda mean_p, logvar_p, mean_q, logvar_q:
             right_gaussian_kl(mean_p.detach(), logvar_p.detach(), mean_q, logvar_q),),
        ),
        "kl_prior_detached": Mistake(
            "no gradient reaches q, so the dynamics would never learn.",
            "balancing detaches one side at a time; that belongs around this function, not into it.",
            (lambda mean_p, logvar_p, mean_q, logvar_q:
             right_gaussian_kl(mean_p, logvar_p, mean_q.detach(), logvar_q.detach()),),
        ),
        "kl_detached": Mistake(
            "no gradient flows at all: the KL is logged and never learned from.",
            "detach() or no_grad() was there to log the number.",
            (lambda *given: right_gaussian_kl(*given).detach(),),
        ),
    },
)  # fmt: skip


def gaussian_kl(function: Function) -> bool:
    """Check `gaussian_kl(mean_p, logvar_p, mean_q, logvar_q)`: KL(p || q) in nats of diagonal Gaussians.

    all four  (..., Z)
    ->        (...), summed over Z, with gradient to all four

    check.gaussian_kl(my_gaussian_kl)
    """
    return examine(GAUSSIAN_KL, function)


def _mixed(logits: Tensor, unimix: float) -> Tensor:
    """Log-probabilities, with a share of the uniform distribution mixed in."""
    return ((1 - unimix) * logits.softmax(-1) + unimix / logits.shape[-1]).log()


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(-1)  # of each variable


def right_categorical_kl(logits_p: Tensor, logits_q: Tensor, unimix: float) -> Tensor:
    """KL(p || q) of S independent categorical distributions, both mixed with the uniform one: (..., S, K) -> (...)."""
    return _divergence(_mixed(logits_p, unimix), _mixed(logits_q, unimix)).sum(-1)


def _each_categorical_kl(logits_p: Tensor, logits_q: Tensor, unimix: float) -> Tensor:
    return _divergence(_mixed(logits_p, unimix), _mixed(logits_q, unimix))


def _mixed_by(mix_p: Function, mix_q: Function) -> Function:
    return lambda logits_p, logits_q, unimix: _divergence(mix_p(logits_p, unimix), mix_q(logits_q, unimix)).sum(-1)


def _unmixed(logits: Tensor, unimix: float) -> Tensor:
    return logits.log_softmax(-1)


def _mixed_logits(logits: Tensor, unimix: float) -> Tensor:
    return ((1 - unimix) * logits + unimix / logits.shape[-1]).log_softmax(-1)


def _mixed_log_probabilities(logits: Tensor, unimix: float) -> Tensor:
    return (1 - unimix) * logits.log_softmax(-1) - unimix * torch.tensor(logits.shape[-1]).to(logits).log()


def _mixed_without_division(logits: Tensor, unimix: float) -> Tensor:
    return ((1 - unimix) * logits.softmax(-1) + unimix).log()


def _mixed_over_variables(logits: Tensor, unimix: float) -> Tensor:
    return _mixed(logits.mT, unimix).mT


CATEGORICAL_KL = Part(
    name="categorical_kl",
    right=right_categorical_kl,
    batched=("logits_p", "logits_q"),
    gradient_to=("logits_p", "logits_q"),
    cases=(
        {
            "logits_p": torch.tensor([[[0.0, 0.0, 3.0], [1.0, 0.0, 0.0]]]),
            "logits_q": torch.tensor([[[0.0, 0.0, 0.0], [0.0, 2.0, 0.0]]]),
            "unimix": 0.1,
        },
        *(
            {
                "logits_p": 2 * uniform(seed, *shape, 3, dtype=dtype),
                "logits_q": 2 * uniform(seed + 1, *shape, 3, dtype=dtype),
                "unimix": 0.01 + 0.01 * seed,
            }
            for seed, shape, dtype in variations()
        ),
    ),
    mistakes={
        "unimix_missing": Mistake(
            "no share of the uniform distribution is mixed in.",
            "softmax already gives probabilities; but one that reaches 0 makes the divergence infinite.",
            (_mixed_by(_unmixed, _unmixed),),
        ),
        "unimix_on_one_side": Mistake(
            "only one of the two distributions is mixed with the uniform one.",
            "the mixing is seen as part of the posterior's sample; prior and posterior must both be distributions of "
            "that form.",
            (_mixed_by(_mixed, _unmixed), _mixed_by(_unmixed, _mixed)),
        ),
        "unimix_after": Mistake(
            "the mixing happens to logits, log-probabilities or the divergence, not to probabilities.",
            "logits are what is passed on everywhere; only probabilities can be mixed.",
            (_mixed_by(_mixed_logits, _mixed_logits),
             _mixed_by(_mixed_log_probabilities, _mixed_log_probabilities),
             lambda p, q, unimix: (1 - unimix) * _mixed_by(_unmixed, _unmixed)(p, q, unimix),
             lambda p, q, unimix: (1 - unimix) * _mixed_by(_unmixed, _unmixed)(p, q, unimix) + unimix / p.shape[-1]),
        ),
        "unimix_not_divided": Mistake(
            "every class gets the whole uniform share: the probabilities sum to more than 1.",
            "the share is added without dividing it by the number of classes.",
            (_mixed_by(_mixed_without_division, _mixed_without_division),),
        ),
        "kl_reversed": Mistake(
            "KL(q || p) is computed: the two distributions are swapped.",
            "the bars look symmetric, the divergence is not; the first one is where samples come from. "
            "torch's kl_div takes the second one first.",
            (lambda p, q, unimix: right_categorical_kl(q, p, unimix),),
        ),
        "kl_negative": Mistake(
            "the sign is the other one; a divergence is never negative.",
            "the bound that is maximised has a minus in front of the KL, the loss that is minimised has a plus.",
            (lambda p, q, unimix: -right_categorical_kl(p, q, unimix),),
        ),
        "kl_cross_entropy": Mistake(
            "the cross-entropy is computed: the entropy of p is not subtracted, and equal distributions do not give 0.",
            "with a fixed p both have the same gradient; here p learns too.",
            (lambda p, q, unimix: -(_mixed(p, unimix).exp() * _mixed(q, unimix)).sum((-2, -1)),),
        ),
        "kl_logits_for_log_probabilities": Mistake(
            "the difference of raw logits is taken for the difference of log-probabilities.",
            "logits are logarithms, up to a constant; here the constant matters.",
            (lambda p, q, unimix: (_mixed(p, unimix).exp() * (p - q)).sum((-2, -1)),
             lambda p, q, unimix: (p.softmax(-1) * (p - q)).sum((-2, -1))),
        ),
        "softmax_over_variables": Mistake(
            "the softmax runs over the variables (-2) and not over the classes (-1).",
            "(S, K) and (K, S) look alike, most of all when S equals K.",
            (_mixed_by(_mixed_over_variables, _mixed_over_variables),),
        ),
        "kl_averaged_over_latents": Mistake(
            "the mean over the variables in place of their sum.",
            "losses are averaged, mostly; but information of independent latents adds up, and free nats count the sum.",
            (lambda p, q, unimix: _each_categorical_kl(p, q, unimix).mean(-1),
             lambda p, q, unimix: _each_categorical_kl(p, q, unimix).mean(-1) / p.shape[-1]),
        ),
        "kl_not_summed": Mistake(
            "every variable has a number of its own: the sum over the S variables is missing.",
            "the sum over the classes is part of the formula, the one over the variables is not written there.",
            (_each_categorical_kl,),
        ),
        "kl_over_batch": Mistake(
            "the sum runs over the batch too.",
            "sum() without an axis sums everything; the weight of the KL then grows with the batch.",
            (lambda p, q, unimix: right_categorical_kl(p, q, unimix).sum(),
             lambda p, q, unimix: right_categorical_kl(p, q, unimix).mean(),
             lambda p, q, unimix: _summed(right_categorical_kl(p, q, unimix))),
        ),
        "kl_posterior_detached": Mistake(
            "no gradient reaches p.",
            "balancing detaches one side at a time; that belongs around this function, not into it.",
            (lambda p, q, unimix: right_categorical_kl(p.detach(), q, unimix),),
        ),
        "kl_prior_detached": Mistake(
            "no gradient reaches q, so the dynamics would never learn.",
            "balancing detaches one side at a time; that belongs around this function, not into it.",
            (lambda p, q, unimix: right_categorical_kl(p, q.detach(), unimix),),
        ),
        "kl_detached": Mistake(
            "no gradient flows at all: the KL is logged and never learned from.",
            "detach() or no_grad() was there to log the number.",
            (lambda p, q, unimix: right_categorical_kl(p, q, unimix).detach(),),
        ),
    },
)  # fmt: skip


def categorical_kl(function: Function) -> bool:
    """Check `categorical_kl(logits_p, logits_q, unimix)`: KL(p || q) in nats of S categorical distributions each.

    logits_p, logits_q  (B, S, K) as a network gives them
    unimix              the share of the uniform distribution that is mixed into both, 0.01 in DreamerV3
    ->                  (B,), summed over the S variables, with gradient to both

    check.categorical_kl(my_categorical_kl)
    """
    return examine(CATEGORICAL_KL, function)
