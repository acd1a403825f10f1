"""Symlog and two-hot."""

import torch
from torch import Tensor

from wm_tutorial.check.diagnosis import examine
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Function, Mistake, Part
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
