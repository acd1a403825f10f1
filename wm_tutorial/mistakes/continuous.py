"""Continuous actions: the normal they are drawn from, its log-density and its entropy."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part, of_wrong

SIZE = 3  # actions in each step
CONSTANT = 0.5 * math.log(2.0 * math.pi)  # what a normal log-density always pays, beside ln std


# A normal within bounds -----------------------------------------------------------------------------------------------


def _bounded(
    mean: Function = torch.tanh, share: Function = lambda raw: torch.sigmoid(raw + 2.0), std: Function | None = None
) -> Function:
    """Mean and standard deviation of raw numbers, with one piece exchanged."""

    def bounded(raw_mean: Tensor, raw_std: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
        spread = (high - low) * share(raw_std) + low if std is None else std(raw_std, low, high)
        return mean(raw_mean), spread

    return bounded


right_bounded_normal = _bounded()


def _raw_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    return {
        "raw_mean": uniform(seed, *shape, dtype=dtype, low=-3.0, high=3.0),
        "raw_std": uniform(seed + 1, *shape, dtype=dtype, low=-5.0, high=3.0),
        "low": 0.1 if seed < 20 else 0.2,
        "high": 1.0 if seed < 20 else 0.7,
    }


BOUNDED_NORMAL = Part(
    name="bounded_normal",
    right=right_bounded_normal,
    container=tuple,
    returns=("mean", "std"),
    batched=("raw_mean", "raw_std"),
    gradient_to=("raw_mean", "raw_std"),
    cases=(
        {
            "raw_mean": torch.tensor([[0.0, 2.0, -4.0]]),
            "raw_std": torch.tensor([[-2.0, 0.0, -7.0]]),
            "low": 0.1,
            "high": 1.0,
        },
        *(_raw_case(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "mean_unbounded": Mistake(
            "the mean is left as it is: it may run far out, where every sample is clipped to the same action.",
            "the environment clips anyway; but beyond the bounds nothing tells one mean from another.",
            (_bounded(mean=lambda raw: raw),),
        ),
        "mean_clamped": Mistake(
            "the mean is clamped: once a raw mean is outside, no gradient brings it back.",
            "clamp gives the same range as tanh; its slope outside is exactly 0.",
            (_bounded(mean=lambda raw: raw.clamp(-1, 1)),),
        ),
        "mean_in_0_to_1": Mistake(
            "the mean goes through a sigmoid: it is never negative.",
            "sigmoid and tanh are both known as what brings numbers into bounds.",
            (_bounded(mean=torch.sigmoid),),
        ),
        "std_softplus": Mistake(
            "the standard deviation is a softplus: positive, and without an upper bound.",
            "softplus makes anything positive; an entropy bonus can then be had by ever more spread.",
            tuple(_bounded(std=lambda raw, low, high, shift=shift, floor=floor: functional.softplus(raw + shift)
                           + floor * low) for shift in (0.0, 2.0) for floor in (0.0, 1.0)),
        ),
        "std_exponential": Mistake(
            "the raw number is taken for the logarithm of the standard deviation, or of the variance.",
            "that is what many programs do; it has no bounds, or is clipped to bounds where it has no slope.",
            (_bounded(std=lambda raw, low, high: raw.exp()), _bounded(std=lambda raw, low, high: (raw / 2).exp()),
             _bounded(std=lambda raw, low, high: raw.exp().clamp(low, high))),
        ),
        "std_clamped": Mistake(
            "the standard deviation is clamped: at its bounds it has no slope, and stays there.",
            "clamp(low, high) says what is wanted in one word.",
            (_bounded(std=lambda raw, low, high: raw.clamp(low, high)),
             _bounded(std=lambda raw, low, high: functional.softplus(raw).clamp(low, high)),
             _bounded(std=lambda raw, low, high: torch.sigmoid(raw + 2.0).clamp(low, high))),
        ),
        "std_shift_missing": Mistake(
            "the 2 is not added: a new policy has half of the spread, not nearly all of it.",
            "a sigmoid is at its middle at 0; the shift lets a new policy explore.",
            (_bounded(share=torch.sigmoid), _bounded(share=lambda raw: torch.sigmoid(raw - 2.0))),
        ),
        "std_beyond_high": Mistake(
            "the sigmoid is multiplied by high, and not by high - low: with low added, it ends above high.",
            "from 0 to high is the first range that comes to mind.",
            (_bounded(std=lambda raw, low, high: high * torch.sigmoid(raw + 2.0) + low),),
        ),
        "std_without_floor": Mistake(
            "nothing keeps the standard deviation from zero: low is not added.",
            "low looks like the end that needs no care; at zero a policy has stopped to explore, for ever.",
            (_bounded(std=lambda raw, low, high: high * torch.sigmoid(raw + 2.0)),
             _bounded(std=lambda raw, low, high: (high - low) * torch.sigmoid(raw + 2.0))),
        ),
        "std_upside_down": Mistake(
            "low and high have changed places: a larger raw number gives less spread.",
            "high - (high - low) sigmoid has the right range, too.",
            (_bounded(std=lambda raw, low, high: (low - high) * torch.sigmoid(raw + 2.0) + high),),
        ),
        "variance_for_std": Mistake(
            "the bounded number is taken for a variance, and its root returned; or it is squared.",
            "a normal is written with its variance, and drawn with its standard deviation.",
            (_bounded(std=lambda raw, low, high: ((high - low) * torch.sigmoid(raw + 2.0) + low).sqrt()),
             _bounded(std=lambda raw, low, high: ((high - low) * torch.sigmoid(raw + 2.0) + low).square())),
        ),
        "halves_exchanged": Mistake(
            "mean and standard deviation have changed places.",
            "both are halves of one output; nothing but their order tells them apart.",
            (lambda raw_mean, raw_std, low, high: right_bounded_normal(raw_mean, raw_std, low, high)[::-1],
             lambda raw_mean, raw_std, low, high: right_bounded_normal(raw_std, raw_mean, low, high)),
        ),
    },
)  # fmt: skip


# Log-density and entropy ----------------------------------------------------------------------------------------------


def _each(mean: Tensor, std: Tensor, action: Tensor) -> Tensor:
    """The log-density of each action by itself."""
    return -0.5 * ((action - mean) / std) ** 2 - torch.log(std) - CONSTANT


def right_normal_log_prob(mean: Tensor, std: Tensor, action: Tensor) -> Tensor:
    """Log-density (N, H) of actions (N, H, A) in independent normals, summed over A."""
    return _each(mean, std, action).sum(-1)


def right_normal_entropy(std: Tensor) -> Tensor:
    """Entropy (N, H) in nats of independent normals, summed over A."""
    return (torch.log(std) + CONSTANT + 0.5).sum(-1)


def _density_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    return {
        "mean": uniform(seed, *shape, SIZE, dtype=dtype, low=-0.9, high=0.9),
        "std": uniform(seed + 1, *shape, SIZE, dtype=dtype, low=0.1, high=1.0),
        "action": uniform(seed + 2, *shape, SIZE, dtype=dtype),  # some of them beyond the bounds
    }


DENSITIES = (
    {
        "mean": torch.tensor([[[0.0, 0.0], [0.5, 0.0]]]),
        "std": torch.tensor([[[1.0, 0.25], [0.25, 0.5]]]),
        "action": torch.tensor([[[0.0, 0.0], [1.5, 0.5]]]),
    },
    *(_density_case(seed, shape, dtype) for seed, shape, dtype in variations()),
)


def _squash_correction(size: Function) -> Function:
    """A correction for a tanh that was never taken."""
    return lambda mean, std, action: (_each(mean, std, action) - torch.log(size(action))).sum(-1)


NORMAL_LOG_PROB = Part(
    name="normal_log_prob",
    right=right_normal_log_prob,
    batched=("mean", "std", "action"),
    gradient_to=("mean", "std"),
    cases=DENSITIES,
    mistakes={
        "log_prob_not_summed": Mistake(
            "every action has a log-density of its own; that of a step is their sum.",
            "a distribution of torch answers for each number; in a product with (N, H) it broadcasts, or fails.",
            (_each, lambda *given: right_normal_log_prob(*given).unsqueeze(-1)),
        ),
        "log_prob_averaged": Mistake(
            "log-densities are averaged over the actions of a step; they are independent, so they are summed.",
            "losses are averaged, mostly; here it makes the gradient smaller the more actions there are.",
            (lambda *given: _each(*given).mean(-1),),
        ),
        "log_prob_over_steps": Mistake(
            "the sum runs over the steps, or over everything, and not over the actions of a step.",
            "sum() without an axis is a number, and a number fits everywhere.",
            (lambda *given: _each(*given).sum(), lambda *given: _each(*given).sum(1)),
        ),
        "log_prob_of_clipped": Mistake(
            "it is that of the clipped action; the one that was drawn may lie outside.",
            "the clipped one is what the environment did; but the policy drew the other, and its density answers.",
            of_wrong(right_normal_log_prob, 2, lambda action: action.clamp(-1, 1)),
        ),
        "log_prob_variance_for_std": Mistake(
            "std is taken for a variance, or squared once too often.",
            "libraries differ in what they want: scale, variance, precision.",
            of_wrong(right_normal_log_prob, 1, torch.sqrt, torch.square),
        ),
        "log_prob_exp_of_std": Mistake(
            "std is taken for a logarithm, and exponentiated once more.",
            "most networks give log std; here the bounded std is given.",
            of_wrong(right_normal_log_prob, 1, torch.exp),
        ),
        "log_prob_square_not_halved": Mistake(
            "the one half before the square is missing.",
            "the square is what one remembers of a normal.",
            (lambda mean, std, action: (-(((action - mean) / std) ** 2) - torch.log(std) - CONSTANT).sum(-1),),
        ),
        "log_prob_without_log_std": Mistake(
            "- ln std is missing: the larger the spread, the likelier everything, and the spread only grows.",
            "it is constant as long as std is; here it is learned.",
            (lambda mean, std, action: (-0.5 * ((action - mean) / std) ** 2 - CONSTANT).sum(-1),
             lambda mean, std, action: (-0.5 * ((action - mean) / std) ** 2).sum(-1)),
        ),
        "log_prob_without_constant": Mistake(
            "the constant ln(2 pi) / 2 of each action is missing, or counted once for all of them.",
            "it has no gradient, so no learning shows it; as a number of nats it is wrong.",
            (lambda mean, std, action: (-0.5 * ((action - mean) / std) ** 2 - torch.log(std)).sum(-1),
             lambda mean, std, action: (-0.5 * ((action - mean) / std) ** 2 - torch.log(std)).sum(-1) - CONSTANT),
        ),
        "log_prob_tanh_corrected": Mistake(
            "it is corrected for a tanh of the sample; here only the mean goes through a tanh.",
            "a policy squashed by tanh needs ln(1 - tanh^2) subtracted; a bounded normal is not squashed.",
            (_squash_correction(lambda action: 1 - torch.tanh(action) ** 2),
             *(_squash_correction(lambda action, small=small: 1 - torch.tanh(action) ** 2 + small)
               for small in (1e-6, 1e-7)),
             *(_squash_correction(lambda action, small=small: (1 - action**2).clamp(min=0) + small)
               for small in (1e-6, 1e-7)),
             _squash_correction(lambda action: (1 - action**2).clamp(min=1e-6))),
        ),
        "density_for_log": Mistake(
            "this is the density itself; its logarithm is asked for.",
            "log is the one word of the name that is easily dropped.",
            (lambda *given: right_normal_log_prob(*given).exp(),),
        ),
        "log_prob_sign": Mistake(
            "the sign is the other one: this is the surprise, in nats.",
            "as a loss it is used with a minus; the minus belongs to the loss.",
            (lambda *given: -right_normal_log_prob(*given),),
        ),
        "log_prob_std_detached": Mistake(
            "no gradient reaches std: the policy can move, and never become more certain.",
            "a standard deviation is often a constant.",
            of_wrong(right_normal_log_prob, 1, torch.Tensor.detach),
        ),
        "log_prob_square_over_std": Mistake(
            "the square of the distance is divided by the deviation; the variance belongs there.",
            "one of the two squares of (distance / std)^2 was lost when the fraction was written out.",
            (lambda m, s, a: (-((a - m) ** 2) / (2 * s) - s.log() - math.log(2 * math.pi) / 2).sum(-1),),
        ),
    },
)  # fmt: skip

NORMAL_ENTROPY = Part(
    name="normal_entropy",
    right=right_normal_entropy,
    batched=("std",),
    gradient_to=("std",),
    cases=tuple({"std": case["std"]} for case in DENSITIES),
    mistakes={
        "entropy_not_summed": Mistake(
            "every action has an entropy of its own; that of a step is their sum.",
            "a distribution of torch answers for each number.",
            (lambda std: torch.log(std) + CONSTANT + 0.5,),
        ),
        "entropy_averaged": Mistake(
            "entropies are averaged over the actions of a step; independent ones are summed.",
            "mean stands where sum belongs; then the bonus is an A-th of what its scale says.",
            (lambda std: (torch.log(std) + CONSTANT + 0.5).mean(-1),),
        ),
        "entropy_over_steps": Mistake(
            "the sum runs over the steps, or over everything, and not over the actions of a step.",
            "sum() without an axis is a number, and a number fits everywhere.",
            (lambda std: (torch.log(std) + CONSTANT + 0.5).sum(),
             lambda std: (torch.log(std) + CONSTANT + 0.5).sum(1)),
        ),
        "entropy_kept_positive": Mistake(
            "negative entropies are cut off, or turned positive; that of a density may be negative.",
            "an entropy of classes is never below 0. A density above 1 has a logarithm above 0.",
            (lambda std: right_normal_entropy(std).clamp(min=0), lambda std: right_normal_entropy(std).abs(),
             lambda std: (torch.log(std) + CONSTANT + 0.5).clamp(min=0).sum(-1),
             lambda std: torch.log(1 + std).sum(-1)),
        ),
        "entropy_of_classes": Mistake(
            "- std ln std, as if standard deviations were probabilities.",
            "- p ln p is the entropy one has learned first.",
            (lambda std: -(std * torch.log(std)).sum(-1),),
        ),
        "entropy_half_missing": Mistake(
            "the 1/2 nat of each action that the square brings is missing: this is the surprise at the mean.",
            "ln(2 pi) is copied, and the e in ln(2 pi e) is overlooked.",
            (lambda std: (torch.log(std) + CONSTANT).sum(-1),),
        ),
        "entropy_constant_once": Mistake(
            "the constant is added once; every action has its own.",
            "it stands behind the sum, and is not in it.",
            (lambda std: torch.log(std).sum(-1) + CONSTANT + 0.5,),
        ),
        "entropy_without_constant": Mistake(
            "the constant ln(2 pi e) / 2 of each action is missing.",
            "it has no gradient, so no learning shows it; as a number of nats it is wrong.",
            (lambda std: torch.log(std).sum(-1),),
        ),
        "entropy_variance_for_std": Mistake(
            "std stands where the variance belongs, or the other way round: half, or twice, the logarithm.",
            "the formula is often written with the variance: ln(2 pi e var) / 2.",
            of_wrong(right_normal_entropy, 0, torch.sqrt, torch.square),
        ),
        "entropy_in_bits": Mistake(
            "the logarithms are to the base 2: bits, and not nats.",
            "log2 is the habit where coins are counted.",
            (lambda std: right_normal_entropy(std) / math.log(2),),
        ),
        "entropy_negated": Mistake(
            "the sign is the other one.",
            "an entropy has a minus in front of its logarithm; for a normal it is used up already.",
            (lambda std: -right_normal_entropy(std), lambda std: (CONSTANT + 0.5 - torch.log(std)).sum(-1)),
        ),
        "entropy_detached": Mistake(
            "no gradient reaches std: the bonus is paid, and changes nothing.",
            "a number for the log has been computed where none is kept.",
            (lambda std: right_normal_entropy(std.detach()),),
        ),
    },
)  # fmt: skip

PARTS = (BOUNDED_NORMAL, NORMAL_LOG_PROB, NORMAL_ENTROPY)
BUGS = ()
