"""Symlog and two-hot: numbers of any size."""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from wm_tutorial.heads import SymlogVector
from wm_tutorial.mistakes.bug import DREAMER_V3, TORCHRL, Bug
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Function, Mistake, Part
from wm_tutorial.transforms import TwoHot
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
        {"x": torch.tensor([-1e30, 1e30])},
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
            (
                lambda x: x.sign() * x.abs().log(),
                lambda x: torch.where(x < 0, -1, 1) * x.abs().log(),
                lambda x: x.sign() * (x.abs() + 1e-8).log(),
            ),
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
        "symlog_of_exp": Mistake(
            "this is ln(1 + exp|x|), the softplus, which squashes nothing and overflows.",
            "log1p is known from ln(1 + exp(x)), the loss of a logit.",
            (lambda x: x.sign() * x.abs().exp().log1p(), lambda x: x.sign() * softplus(x.abs())),
        ),
        "symlog_one_twice": Mistake(
            "the logarithm is taken of 2 + |x|.",
            "log1p(x) adds the 1 itself.",
            (lambda x: x.sign() * torch.log1p(1 + x.abs()),),
        ),
        "asinh_for_symlog": Mistake(
            "this is asinh, which squashes alike and has another inverse.",
            "both are odd and logarithmic; far away asinh(x) is about ln(2 |x|).",
            (torch.asinh,),
        ),
        "symlog_square_overflows": Mistake(
            "numbers beyond 1e19 become infinite: their square is no 32-bit number.",
            "|x| is taken as the root of x squared.",
            (
                lambda x: x.sign() * x.square().sqrt().log1p(),
                lambda x: x.sign() * (x.square() + 2 * x.abs()).log1p() / 2,
            ),
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
        {"x": torch.tensor([-1e-6, 1e-8, 1e-7])},
    ),
    tolerance=(1e-4, 0.0),  # relative, so that tiny numbers count
    mistakes={
        "symexp_sign_lost": Mistake(
            "the sign of x does not come back: -1 and 1 become the same.",
            "exp(|x|) - 1 is remembered, the sign(x) in front of it is not.",
            (lambda x: torch.expm1(x.abs()), lambda x: x.abs().exp() - 1),
        ),
        "symexp_one_missing": Mistake(
            "exp|x| in place of exp|x| - 1: nothing near 0 can be reached.",
            "exp undoes ln, and the 1 inside of symlog's ln is forgotten.",
            (lambda x: x.sign() * x.abs().exp(), lambda x: torch.where(x < 0, -1, 1) * x.abs().exp()),
        ),
        "symexp_abs_missing": Mistake(
            "exp is taken of x and not of |x|: no number below -1 can be reached.",
            "it works on the positive numbers people try first.",
            (
                lambda x: torch.expm1(x),
                lambda x: x.sign() * torch.expm1(x),
                lambda x: x.exp() - 1,
                lambda x: x.sign() * (x.exp() - 1),
            ),
        ),
        "symexp_tiny_lost": Mistake(
            "tiny numbers are lost: in 32 bits exp(1e-8) is 1, and exp(1e-8) - 1 is 0.",
            "exp(|x|) - 1 is the formula as it is written; torch.expm1 computes it without the 1 in between.",
            (lambda x: x.sign() * (x.abs().exp() - 1),),
        ),
        "symexp_one_elsewhere": Mistake(
            "the 1 is taken off in the wrong place; it belongs to exp|x|, before the sign.",
            "with several brackets the 1 slips into the exponent, or out of the sign.",
            (
                lambda x: x.sign() * (x.abs() - 1).exp(),
                lambda x: x.sign() * x.abs().exp() - 1,
                lambda x: x.abs().exp() - x.sign(),
            ),
        ),
        "symexp_one_twice": Mistake(
            "the 1 is taken off twice.",
            "expm1 takes it off itself.",
            (lambda x: x.sign() * (x.abs().expm1() - 1),),
        ),
        "symexp_base": Mistake(
            "the power has another base than e.",
            "it would be the inverse of a log10 or a log2.",
            (lambda x: x.sign() * (10 ** x.abs() - 1), lambda x: x.sign() * (2 ** x.abs() - 1)),
        ),
        "sinh_for_symexp": Mistake(
            "this is sinh, the inverse of asinh.",
            "both are odd and exponential; far away sinh(x) is half as large.",
            (torch.sinh,),
        ),
        "symlog_for_symexp": Mistake(
            "symlog is the inverse of what is asked for.",
            "the two names are easily swapped.",
            (right_symlog,),
        ),
    },
)


# two-hot --------------------------------------------------------------------------------------------------------------


def right_two_hot(x: Tensor, bins: Tensor) -> Tensor:
    """A number as weights of the two bins beside it: (B,), (K,) -> (B, K)."""
    return _two_hot(*_clamped(x, bins), len(bins))


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


def _shared(share: Function, *rights: bool) -> tuple[Function, ...]:
    """Another share for the bin above, made of the right one, with numbers on a bin counted to either side."""

    def two_hot(x: Tensor, bins: Tensor, right: bool) -> Tensor:
        below, share_above = _clamped(x, bins, right)
        return _two_hot(below, share(share_above), len(bins))

    return tuple(lambda x, bins, right=right: two_hot(x, bins, right) for right in rights)


def _shifted(shift: int) -> Function:
    return lambda x, bins: _two_hot(*_clamped(x, bins), len(bins), shift)


def _spread_bins(seed: int, dtype: torch.dtype) -> Tensor:
    """Seven bins, symmetric around 0, farther and farther apart."""
    positive = uniform(seed, 3, dtype=dtype, low=0.5, high=1.5).cumsum(0).expm1()
    return torch.cat([-positive.flip(0), positive.new_zeros(1), positive])


SIDES = (False, True)  # of a number on a bin: it counts to its left, or to its right
BINS = torch.tensor([-4.0, -1.0, 0.0, 1.0, 4.0])


def _as_if_even(x: Tensor, bins: Tensor) -> Tensor:
    place = ((x - bins[0]) / (bins[-1] - bins[0])).clamp(0, 1) * (len(bins) - 1)
    return (1 - (place.unsqueeze(-1) - torch.arange(len(bins))).abs()).clamp_min(0).to(x)


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
        "two_hot_target_squashed": Mistake(
            "the number is squashed with symlog, the bins are not.",
            "with evenly spaced bins targets are squashed first; bins that are symexp-spaced have done that already.",
            (lambda x, bins: right_two_hot(right_symlog(x), bins),),
        ),
        "two_hot_nearest": Mistake(
            "all weight lies on one bin, so numbers between two bins are lost.",
            "that is what one-hot classification does; the second bin is what keeps the number exact.",
            (*_shared(torch.round, False), *_shared(lambda s: (s >= 0.5).to(s), False), *_shared(torch.floor, False),
             *_shared(torch.ceil, False), *_shared(torch.zeros_like, *SIDES), *_shared(torch.ones_like, *SIDES)),
        ),
        "two_hot_weights_swapped": Mistake(
            "the two weights are swapped: the farther bin gets more.",
            "the distance to a bin is taken for its weight; the weight is the distance to the other one.",
            _shared(lambda s: 1 - s, *SIDES),
        ),
        "two_hot_halves": Mistake(
            "both bins get one half, wherever between them the number lies.",
            "two-hot is read as two ones, normalised.",
            _shared(lambda s: torch.full_like(s, 0.5), *SIDES),
        ),
        "two_hot_not_clamped": Mistake(
            "a number beyond the last bin gets weights below 0 and above 1.",
            "the formula works inside of the bins, and no number beyond them was tried; clamp x to them first.",
            (lambda x, bins: _two_hot(*_place(x, bins), len(bins)),),
        ),
        "two_hot_as_if_even": Mistake(
            "the shares are reckoned as if the bins were evenly spaced.",
            "a straight formula from the first bin to the last; the bins of symexp lie ever further apart.",
            (_as_if_even,),
        ),
    },
)  # fmt: skip


def _mean_left_in_symlog(probabilities: Tensor, bins: Tensor) -> Tensor:
    return probabilities @ right_symlog(bins)


def _mean_in_symlog(probabilities: Tensor, bins: Tensor) -> Tensor:
    """The expected squashed number, unsquashed: not the expected number."""
    return right_symexp(_mean_left_in_symlog(probabilities, bins))


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
            (_mean_in_symlog,),
        ),
        "symexp_twice": Mistake(
            "the bins are in the units of the number already, and the mean is expanded once more.",
            "with evenly spaced bins a symexp follows; with symexp-spaced ones it does not.",
            (lambda probabilities, bins: right_symexp(probabilities @ bins),
             lambda probabilities, bins: probabilities @ right_symexp(bins)),
        ),
        "softmax_twice": Mistake(
            "a softmax is taken of what are probabilities already.",
            "a network gives logits; here they have been turned into probabilities before.",
            (lambda probabilities, bins: probabilities.softmax(-1) @ bins,),
        ),
        "two_hot_mode": Mistake(
            "the most likely bin in place of the mean.",
            "argmax is how a classification is read.",
            (lambda probabilities, bins: bins[probabilities.argmax(-1)],),
        ),
    },
)  # fmt: skip


# In the package -------------------------------------------------------------------------------------------------------

LOSS = TwoHot.loss


def loss_in_symlog_space(prediction: TwoHot, target: Tensor) -> Tensor:
    """The target is split between two bins as if they were as far apart as their logarithms."""
    return LOSS(TwoHot(prediction.logits, right_symlog(prediction.bins)), right_symlog(target))


def loss_one_bin_too_high(prediction: TwoHot, target: Tensor) -> Tensor:
    """Each share goes to the bin above the one it belongs to."""
    return LOSS(TwoHot(prediction.logits.roll(-1, -1), prediction.bins), target)


def loss_against_raw_target(prediction: SymlogVector, target: Tensor) -> Tensor:
    """A squashed prediction is compared with a number that is not."""
    return ((prediction.symlog_mean - target) ** 2).sum(-1)


GOLDEN = "test_golden.py::test_golden_twohot"
SHARED = "test_axes.py::test_two_hot_weights_are_shared_in_the_units_of_the_number"
UNITS = "test_heads.py::test_vectors_are_compared_in_symlog_space_and_shown_in_their_own_units"

PARTS = (SYMLOG, SYMEXP, TWO_HOT, TWO_HOT_MEAN)

BUGS = (
    Bug(
        name="two_hot_in_symlog",
        story="Targets are split, and means taken, in symlog space: the mean of a squashed distribution, unsquashed.",
        symptom="Wherever a reward is uncertain it is underestimated: 0 or 1,000 with equal chances counts as 31.",
        innocent="Reward and critic losses; wherever rewards are certain also the predictions.",
        source=f"{TORCHRL}4065", breaks="transforms.TwoHot, mean and loss",
        caught_by=(GOLDEN, SHARED),
        replaces=(
            (TwoHot, "mean", property(lambda two_hot: _mean_in_symlog(two_hot.logits.softmax(-1), two_hot.bins))),
            (TwoHot, "loss", loss_in_symlog_space),
        ),
        needs={"heads": "two-hot"},
        forms={TWO_HOT: Mistake(
            "the number is split in symlog space; its mean over the bins is then not the number.",
            "bins are drawn evenly spaced in symlog space, so that is where people measure the distances.",
            (lambda x, bins: right_two_hot(right_symlog(x), right_symlog(bins)),),
        )},
    ),
    Bug(
        name="two_hot_off_by_one",
        story="The share of each target goes to the bin above the one it belongs to.",
        symptom="Every prediction is too high by one bin, a third of itself with 63 bins and up; returns grow with it.",
        innocent="Reward and critic losses: the cross-entropy is as low as ever.",
        source=f"{TORCHRL}4065", breaks="transforms.TwoHot.loss, bins",
        caught_by=(GOLDEN, SHARED), replaces=((TwoHot, "loss", loss_one_bin_too_high),),
        needs={"heads": "two-hot"},
        forms={TWO_HOT: Mistake(
            "the weights are right, one bin beside their place.",
            "searchsorted gives the bin above; the one below is that minus 1.",
            (_shifted(1), _shifted(-1), *(lambda x, bins, by=by: right_two_hot(x, bins).roll(by, 1) for by in (1, -1))),
        )},
    ),
    Bug(
        name="symexp_forgotten",
        story="The decoder's prediction is shown as it leaves the network, in symlog space.",
        symptom="Reconstructions and dreams are too small wherever numbers are large; a fast pole never falls.",
        innocent="Every loss, since losses are computed in symlog space.",
        source=f"{DREAMER_V3}83", breaks="heads.SymlogVector.mean, o_t",
        caught_by=(UNITS, "test_world_model.py::test_the_prediction_follows_the_transparent_model_from_its_actions"),
        replaces=((SymlogVector, "mean", property(lambda prediction: prediction.symlog_mean)),),
        forms={
            SYMEXP: Mistake(
                "x comes back as it is; nothing is unsquashed.",
                "near 0 symexp(x) is about x, so small numbers look right.",
                (torch.clone,),
            ),
            TWO_HOT_MEAN: Mistake(
                "the mean is left in symlog space.",
                "the last symexp is in another function in most programs.",
                (_mean_left_in_symlog,),
            ),
        },
    ),
    Bug(
        name="symlog_of_target_forgotten",
        story="The decoder's symlog prediction is compared with the observation itself.",
        symptom="One large entry rules the latent, and what is drawn from a dream is exponentially too large.",
        innocent="The decoder loss falls, and for small observations even the pictures are right.",
        source=f"{DREAMER_V3}83", breaks="heads.SymlogVector.loss, o_t",
        caught_by=(UNITS, "test_world_model.py::test_decoder_loss_is_the_squared_distance_in_symlog_space"),
        replaces=((SymlogVector, "loss", loss_against_raw_target),),
        forms={SYMLOG: Mistake(
            "x comes back as it is; nothing is squashed.",
            "near 0 symlog(x) is about x, so small numbers look right.",
            (torch.clone,),
        )},
    ),
)  # fmt: skip
