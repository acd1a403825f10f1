"""Categorical latents: how a class is drawn, which gradient it passes on, and the share that is uniform."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part, of_wrong

CLASSES = 3


def _probabilities(seed: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Distributions (B, S, K)."""
    return uniform(seed, *shape, CLASSES, dtype=dtype).softmax(-1)


# A class from a uniform number ----------------------------------------------------------------------------------------


def _one_hot(index: Tensor, like: Tensor) -> Tensor:
    """Classes (B, S) as one-hot vectors; what lies beyond the first or the last class is the first or the last."""
    classes = like.shape[-1]
    return functional.one_hot(index.clamp(0, classes - 1), classes).to(like)


def _index(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """How many classes lie wholly below the number: (B, S)."""
    return (probabilities.cumsum(-1) <= uniform.unsqueeze(-1)).sum(-1)


def right_categorical_sample(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """The class in whose share of the interval from 0 to 1 the number falls: (B, S, K), (B, S) -> (B, S, K)."""
    return _one_hot(_index(probabilities, uniform), probabilities)


def favourite(probabilities: Tensor, *_: Tensor) -> Tensor:
    """The most likely class, whatever was drawn."""
    return _one_hot(probabilities.argmax(-1), probabilities)


def _of_index(index: Function) -> Function:
    """A sample of the class that `index` finds."""
    return lambda p, u: _one_hot(index(p, u), p)


def _within_its_share(probabilities: Tensor, uniform: Tensor) -> Tensor:
    upper, u = probabilities.cumsum(-1), uniform.unsqueeze(-1)
    return ((upper - probabilities <= u) & (u < upper)).to(probabilities)


CATEGORICAL_SAMPLE = Part(
    name="categorical_sample",
    right=right_categorical_sample,
    batched=("probabilities", "uniform"),
    cases=(
        {
            "probabilities": torch.tensor([[[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]]),
            "uniform": torch.tensor([[0.6, 0.05]]),
        },
        *(
            {
                "probabilities": _probabilities(seed, shape, dtype),
                "uniform": uniform(seed + 1, *shape, dtype=dtype, low=0.0, high=1.0),
            }
            for seed, shape, dtype in variations()
        ),
        # a class that cannot be has no share, and 0 is a number that torch.rand draws
        {"probabilities": torch.tensor([[[0.0, 0.75, 0.25]]]), "uniform": torch.tensor([[0.0]])},
        # rounded shares sum to a little less than 1, and the number may lie above them
        {"probabilities": torch.tensor([[[0.25, 0.25, 0.4999999]]]), "uniform": torch.tensor([[0.99999994]])},
    ),
    mistakes={
        "sample_shares_not_summed": Mistake(
            "the number is compared with each class's own probability; the shares lie one behind the other.",
            "the cumulative sum is the one step that no formula of the distribution shows.",
            (_of_index(lambda p, u: (p > u.unsqueeze(-1)).long().argmax(-1)),
             _of_index(lambda p, u: (p <= u.unsqueeze(-1)).sum(-1))),
        ),
        "sample_one_late": Mistake(
            "the class after the right one is chosen.",
            "the shares were counted by their lower ends, and the first of these, 0, is always below the number.",
            (_of_index(lambda p, u: _index(p, u) + 1),),
        ),
        "sample_one_early": Mistake(
            "the class before the right one is chosen, and the last one never.",
            "the number of shares below is the index already; nothing needs to be subtracted.",
            (_of_index(lambda p, u: _index(p, u) - 1),),
        ),
        "sample_from_an_empty_share": Mistake(
            "a number that lies just where a share ends gets the class that has ended, and 0 a class that cannot be.",
            "< and <= differ for one number in millions; the share of a class begins with its lower end.",
            (_of_index(lambda p, u: (p.cumsum(-1) < u.unsqueeze(-1)).sum(-1)),),
        ),
        "sample_over_variables": Mistake(
            "the shares are added up over the variables (-2) and not over the classes (-1).",
            "(S, K) and (K, S) look alike, and a sum along either runs.",
            (_of_index(lambda p, u: (p.cumsum(-2) <= u.unsqueeze(-1)).sum(-1)),),
        ),
        "sample_uniform_shared": Mistake(
            "one number decides for all variables of a state, or for all states.",
            "it was taken from the first place, and broadcasting fills in the rest: independent choices become one.",
            of_wrong(right_categorical_sample, 1, lambda u: u[:, :1].expand_as(u), lambda u: u[:1].expand_as(u)),
        ),
        "sample_from_the_end": Mistake(
            "the shares are laid out from the last class on; here the first class comes first.",
            "the odds are the same; but the same number has to give the same class.",
            of_wrong(right_categorical_sample, 1, lambda u: 1 - u),
        ),
        "sample_not_drawn": Mistake(
            "the probabilities themselves come back: no class was chosen.",
            "they have the right shape and the right mean; a model that lives on mixtures never sees a choice.",
            (lambda p, u: p,),
        ),
        "sample_all_from_there": Mistake(
            "the class and all behind it are 1; one-hot means one.",
            "the comparison is true from the right class on, and was taken for the answer.",
            (lambda p, u: (p.cumsum(-1) > u.unsqueeze(-1)).to(p),),
        ),
        "sample_softmax_twice": Mistake(
            "a softmax runs over what are probabilities already, and flattens them.",
            "networks give logits, and most functions take them.",
            of_wrong(right_categorical_sample, 0, lambda p: p.softmax(-1)),
        ),
        "sample_nearest": Mistake(
            "the class is chosen whose probability is nearest to the number.",
            "the number is looked up among the probabilities; it has to be among their sums.",
            (_of_index(lambda p, u: (p - u.unsqueeze(-1)).abs().argmin(-1)),),
        ),
        "sample_none": Mistake(
            "no class is chosen where the number lies above the sum of the shares, which rounding leaves below 1.",
            "on paper the shares fill the interval; in float32 a tiny gap remains at its end.",
            (_within_its_share,),
        ),
    },
)  # fmt: skip


# Straight through -----------------------------------------------------------------------------------------------------


def right_straight_through(probabilities: Tensor, sample: Tensor) -> Tensor:
    """The sample, with the gradient of the probabilities: (B, S, K), (B, S, K) -> (B, S, K)."""
    return sample + probabilities - probabilities.detach()


def _drawn(seed: int, shape: tuple[int, ...], dtype: torch.dtype) -> Arguments:
    probabilities = _probabilities(seed, shape, dtype)
    numbers = uniform(seed + 1, *shape, dtype=dtype, low=0.0, high=1.0)
    return {"probabilities": probabilities, "sample": right_categorical_sample(probabilities, numbers)}


STRAIGHT_THROUGH = Part(
    name="straight_through",
    right=right_straight_through,
    batched=("probabilities", "sample"),
    gradient_to=("probabilities",),
    cases=(
        {
            "probabilities": torch.tensor([[[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]]),
            "sample": torch.tensor([[[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]]),
        },
        *(_drawn(*variation) for variation in variations()),
    ),
    mistakes={
        "straight_through_wrong_side": Mistake(
            "forward it is the probabilities and not the sample: detach() is on the other term.",
            "the two terms differ by one detach(), and either order runs and learns.",
            (lambda p, z: p + z - z.detach(), lambda p, z: p),
        ),
        "straight_through_sign": Mistake(
            "the gradient has the other sign: whatever helped is made less likely.",
            "of the two terms that cancel, the one without detach() is the one that must be added.",
            (lambda p, z: z - p + p.detach(),),
        ),
        "straight_through_not_detached": Mistake(
            "the probabilities are added and not taken away again: the answer is no longer one-hot.",
            "one of the two terms that cancel is missing.",
            (lambda p, z: z + p,),
        ),
        "straight_through_drawn_only": Mistake(
            "only the class that was drawn gets a gradient; all classes must.",
            "the one-hot vector was multiplied, and its zeros stop the gradient.",
            (lambda p, z: z * (1 + p - p.detach()),),
        ),
        "straight_through_scaled": Mistake(
            "the 1 of the sample is replaced by its probability.",
            "sample times probabilities lets gradient through, and is no longer the sample.",
            (lambda p, z: z * p,),
        ),
        "straight_through_logs": Mistake(
            "the gradient goes to the log-probabilities, and so is divided by the probabilities.",
            "logits are what the network gives; but sample and probabilities are what is alike.",
            (lambda p, z: z + p.log() - p.log().detach(),),
        ),
        "straight_through_sample_ignored": Mistake(
            "the most likely class comes back in place of the one that was drawn.",
            "argmax makes a one-hot vector of probabilities, and no die is thrown.",
            (lambda p, z: favourite(p) + p - p.detach(),),
        ),
        "gradient_of_the_drawn_alone": Mistake(
            "only the class that was drawn gets a gradient, and one divided by its probability.",
            "sample * p / p.detach() has the right numbers; the slope of p - p.detach() is 1 for every class.",
            (lambda p, z: z * (p / p.detach()),),
        ),
    },
)


def without_gradient(probabilities: Tensor, sample: Tensor) -> Tensor:
    """The sample alone."""
    return sample


# A share of the uniform distribution ----------------------------------------------------------------------------------


def right_unimix(logits: Tensor, share: float) -> Tensor:
    """Probabilities (B, S, K) of logits (B, S, K), of which `share` is uniform."""
    return (1 - share) * logits.softmax(-1) + share / logits.shape[-1]


def without_share(logits: Tensor, share: float) -> Tensor:
    """The network's own probabilities."""
    return logits.softmax(-1)


UNIMIX = Part(
    name="unimix",
    right=right_unimix,
    batched=("logits",),
    gradient_to=("logits",),
    cases=(
        {"logits": torch.tensor([[[0.0, 0.0, 3.0], [1.0, 0.0, 0.0]]]), "share": 0.1},
        *(
            {"logits": 2 * uniform(seed, *shape, CLASSES, dtype=dtype), "share": 0.01 + 0.01 * seed}
            for seed, shape, dtype in variations()
        ),
    ),
    mistakes={
        "unimix_after": Mistake(
            "the mixing happens to logits or log-probabilities, not to probabilities.",
            "logits are what is passed on everywhere; only probabilities can be mixed.",
            (lambda x, share: ((1 - share) * x + share / x.shape[-1]).softmax(-1),
             lambda x, share: ((1 - share) * x.log_softmax(-1) - share * math.log(x.shape[-1])).exp()),
        ),
        "unimix_not_divided": Mistake(
            "every class gets the whole uniform share: the probabilities sum to more than 1.",
            "the share is added without dividing it by the number of classes.",
            (lambda x, share: (1 - share) * x.softmax(-1) + share,),
        ),
        "unimix_added": Mistake(
            "the uniform share is added, and the other one is not made smaller: the probabilities sum to more than 1.",
            "for 1 % the factor 0.99 seems not to matter.",
            (lambda x, share: x.softmax(-1) + share / x.shape[-1],),
        ),
        "unimix_exchanged": Mistake(
            "share is taken for the part of the network, and the rest is uniform; it is the other way round.",
            "which of two shares a name means is a convention: here it is the one of the uniform distribution.",
            (lambda x, share: right_unimix(x, 1 - share),),
        ),
        "unimix_clamped": Mistake(
            "small probabilities are lifted to a floor, and the others stay: the sum is more than 1, and a class below "
            "the floor gets no gradient.",
            "a floor also keeps the logarithm finite.",
            (lambda x, share: x.softmax(-1).clamp(min=share / x.shape[-1]),),
        ),
        "unimix_outside_the_gradient": Mistake(
            "the numbers are mixed, and the gradient is that of the unmixed softmax.",
            "the mixing was put into the forward pass alone, with the softmax straight through it.",
            (lambda x, share: x.softmax(-1) + (right_unimix(x, share) - x.softmax(-1)).detach(),),
        ),
        "unimix_detached": Mistake(
            "no gradient reaches the logits.",
            "the probabilities are taken for a table to draw from; the KL and the sample must move them.",
            (lambda x, share: right_unimix(x, share).detach(),
             lambda x, share: (1 - share) * x.softmax(-1).detach() + share / x.shape[-1]),
        ),
        "unimix_logarithm": Mistake(
            "log-probabilities come back.",
            "the KL needs them next; here the probabilities themselves are asked for.",
            (lambda x, share: right_unimix(x, share).log(),),
        ),
        "softmax_over_variables": Mistake(
            "the softmax runs over the variables (-2) and not over the classes (-1).",
            "(S, K) and (K, S) look alike, most of all when S equals K.",
            (lambda x, share: (1 - share) * x.softmax(-2) + share / x.shape[-1],
             lambda x, share: (1 - share) * x.softmax(-2) + share / x.shape[-2]),
        ),
        "softmax_over_everything": Mistake(
            "one softmax runs over all classes of all variables; each variable has one of its own.",
            "the network gives S times K numbers in a row, and a softmax of them works without a complaint.",
            (lambda x, share: (1 - share) * x.flatten(-2).softmax(-1).view_as(x) + share / x.shape[-1],
             lambda x, share: right_unimix(x.flatten(-2), share).view_as(x)),
        ),
    },
)  # fmt: skip


PARTS = (CATEGORICAL_SAMPLE, STRAIGHT_THROUGH, UNIMIX)

BUGS = ()
