"""What is found by trying every class: the exact gradient of an expectation, and what independence costs."""

import itertools
import math

import torch
from torch import Tensor
from torch.nn import functional

from wm_tutorial.mistakes.categorical import CLASSES, right_straight_through
from wm_tutorial.mistakes.inputs import uniform
from wm_tutorial.mistakes.part import Function, Mistake, Part, Rule

# The exact gradient ---------------------------------------------------------------------------------------------------


def _combinations(logits: Tensor) -> Tensor:
    """Every choice of a class by each variable, as one-hot vectors: (K^S, S, K)."""
    variables, classes = logits.shape[-2:]
    choices = torch.tensor(list(itertools.product(range(classes), repeat=variables)))
    return functional.one_hot(choices, classes).to(logits)


def _gradient_of(expectation: Function) -> Function:
    """The gradient, in the logits, of what `expectation` makes of logits and function, row by row."""

    def gradient(logits: Tensor, function: Function) -> Tensor:
        leaf = logits.detach().clone().requires_grad_()
        return torch.autograd.grad(expectation(leaf, function).sum(), leaf)[0]

    return gradient


def _worth(z: Tensor, logits: Tensor, function: Function) -> Tensor:
    """What `function` says of one choice z (S, K), for every row: (B,)."""
    worth: Tensor = function(z.expand_as(logits))
    return worth


def _weighted(weight: Function, combinations: Function = _combinations) -> Function:
    """The expectation, with another weight for each choice, of log-probabilities (B, S) of its classes."""

    def expectation(logits: Tensor, function: Function) -> Tensor:
        chances = logits.log_softmax(-1)
        each = [weight((chances * z).sum(-1)) * _worth(z, logits, function) for z in combinations(logits)]
        return torch.stack(each).sum(0)

    return expectation


def _product(log_chances: Tensor) -> Tensor:
    return log_chances.sum(-1).exp()


right_expected_gradient = _gradient_of(_weighted(_product))


def _one_at_a_time(logits: Tensor, function: Function) -> Tensor:
    """Each variable is enumerated while the others stay at their probabilities."""
    probabilities, total = logits.softmax(-1), logits.new_zeros(len(logits))
    for s in range(logits.shape[1]):
        for k in range(logits.shape[2]):
            z = probabilities.detach().clone()
            z[:, s] = torch.eye(logits.shape[2]).to(logits)[k]
            total = total + probabilities[:, s, k] * function(z)
    return total


def _straight_through(logits: Tensor, function: Function) -> Tensor:
    """The straight-through gradient, averaged over all choices."""
    p = logits.softmax(-1)
    each = [
        (p.detach() * z).sum(-1).prod(-1) * function(right_straight_through(p, z.expand_as(p)))
        for z in _combinations(logits)
    ]
    return torch.stack(each).sum(0)


def _in_probabilities(logits: Tensor, function: Function) -> Tensor:
    leaf = logits.softmax(-1).detach().requires_grad_()
    each = [(leaf * z).sum(-1).prod(-1) * _worth(z, logits, function) for z in _combinations(logits)]
    return torch.autograd.grad(torch.stack(each).sum(), leaf)[0]


def _function(seed: int, variables: int, dtype: torch.dtype) -> Rule:
    first, second = uniform(seed, variables * CLASSES, 6, dtype=dtype), uniform(seed + 1, 6, dtype=dtype)
    return Rule(f"(B, {variables}, {CLASSES}) -> (B,)", lambda z: torch.tanh(z.flatten(1) @ first) @ second)


EXPECTED_GRADIENT = Part(
    name="expected_gradient",
    right=right_expected_gradient,
    batched=("logits",),
    cases=tuple(
        {"logits": uniform(seed, *shape, CLASSES, dtype=dtype), "function": _function(seed, shape[1], dtype)}
        for seed, shape in enumerate(((1, 2), (3, 2), (2, 3), (4, 4), (2, 1)))
        for dtype in (torch.float32, torch.float64)
    ),
    mistakes={
        "gradient_of_the_middle": Mistake(
            "the function is asked about the probabilities themselves, a mixture that is never drawn.",
            "the function of an average is one call, the average of the function is as many as there are choices.",
            (_gradient_of(lambda logits, f: f(logits.softmax(-1))),),
        ),
        "gradient_unweighted": Mistake(
            "every choice counts the same; each must count as often as it is drawn.",
            "the gradient of a logarithm is at hand from REINFORCE, where sampling does the weighing.",
            (_gradient_of(_weighted(lambda log_chances: log_chances.sum(-1))),),
        ),
        "gradient_chances_added": Mistake(
            "the chances of the variables are added; a choice of all of them has the product.",
            "log-probabilities are added, probabilities are multiplied.",
            (_gradient_of(_weighted(lambda log_chances: log_chances.exp().sum(-1))),),
        ),
        "gradient_of_equal_choices": Mistake(
            "only choices in which all variables agree are counted.",
            "one loop over the classes runs where one loop for each variable is needed.",
            (_gradient_of(_weighted(_product, lambda x: _combinations(x)[:: sum(x.shape[-1] ** i for i in range(
                x.shape[-2]))])),),
        ),
        "gradient_one_variable_at_a_time": Mistake(
            "each variable is enumerated while the others stay mixtures; the function is asked about what never is.",
            "S loops of K are quicker than K^S combinations, and the same for one variable, or a linear function.",
            (_gradient_of(_one_at_a_time),),
        ),
        "gradient_straight_through": Mistake(
            "this is the straight-through gradient, averaged over all choices: exactly what it is to be compared with.",
            "the slope of the function was used; the exact gradient needs its values alone.",
            (_gradient_of(_straight_through),),
        ),
        "gradient_in_probabilities": Mistake(
            "the gradient is that in the probabilities; softmax lies between them and the logits.",
            "the sum is written in probabilities, and they are the first tensor at hand.",
            (_in_probabilities,),
        ),
        "gradient_sign": Mistake(
            "the sign is the other one.",
            "a loss is made smaller; here the gradient itself is asked for.",
            (lambda logits, f: -right_expected_gradient(logits, f),),
        ),
        "gradient_over_batch": Mistake(
            "the gradient is that of the mean over the batch; every row keeps its own.",
            "mean() before backward() is a habit.",
            (lambda logits, f: right_expected_gradient(logits, f) / len(logits),),
        ),
    },
)  # fmt: skip


# What independence costs ----------------------------------------------------------------------------------------------


def _independent(joint: Tensor) -> Tensor:
    """What two variables with the same odds would do if neither knew of the other: (B, K, K)."""
    return joint.sum(-1, keepdim=True) * joint.sum(-2, keepdim=True)


def _entropy(probabilities: Tensor) -> Tensor:
    each: Tensor = torch.special.entr(probabilities)
    return each.flatten(1).sum(-1)


def right_price_of_independence(joint: Tensor) -> Tensor:
    """KL(joint || product of its marginals) in nats: (B, K, K) -> (B,)."""
    return _entropy(joint.sum(-1)) + _entropy(joint.sum(-2)) - _entropy(joint)


def _tables(seed: int, batch: int, classes: int, dtype: torch.dtype) -> Tensor:
    return uniform(seed, batch, classes * classes, dtype=dtype).softmax(-1).view(batch, classes, classes)


PRICE_OF_INDEPENDENCE = Part(
    name="price_of_independence",
    right=right_price_of_independence,
    batched=("joint",),
    cases=(
        {"joint": torch.tensor([[[0.5, 0.0], [0.0, 0.5]], [[0.25, 0.25], [0.25, 0.25]]])},
        {"joint": torch.tensor([[[0.7, 0.0, 0.0], [0.0, 0.2, 0.1], [0.0, 0.0, 0.0]]], dtype=torch.float64)},
        *(
            {"joint": _tables(seed, batch, classes, dtype)}
            for seed, (batch, classes) in enumerate(((3, 3), (2, 4), (1, 2), (4, 2)))
            for dtype in (torch.float32, torch.float64)
        ),
    ),
    mistakes={
        "price_log_of_zero": Mistake(
            "the logarithm of 0 makes it not a number; what never happens costs nothing.",
            "0 ln 0 is 0 on paper, and 0 times minus infinity for a computer.",
            (lambda joint: (joint * (joint.log() - _independent(joint).log())).sum((-2, -1)),
             lambda joint: (joint * (joint / _independent(joint)).log()).sum((-2, -1))),
        ),
        "price_reversed": Mistake(
            "the two have changed places: this is what an independent world would pay for expecting the copies.",
            "a KL has a direction; things happen as the first one says, here the joint distribution.",
            (lambda joint: (_independent(joint) * (_independent(joint).log() - joint.log())).sum((-2, -1)),
             lambda joint: (torch.xlogy(_independent(joint), _independent(joint))
                            - torch.xlogy(_independent(joint), joint)).sum((-2, -1))),
        ),
        "price_joint_entropy": Mistake(
            "this is the entropy of the joint distribution: what is to be told, not what is told twice.",
            "the three entropies look alike, and one of them alone is easily taken for the whole.",
            (_entropy,),
        ),
        "price_of_both": Mistake(
            "the entropies of both variables are added, and that of the pair is not taken away.",
            "this is all that the independent prior pays; asked is what it pays too much.",
            (lambda joint: _entropy(joint.sum(-1)) + _entropy(joint.sum(-2)),),
        ),
        "price_from_uniform": Mistake(
            "the joint distribution is compared with the uniform one; the prior knows the odds of each variable.",
            "for fair coins both are the same.",
            (lambda joint: math.log(joint[0].numel()) - _entropy(joint),),
        ),
        "price_of_one_axis": Mistake(
            "the same variable is taken twice: one of the two marginals is summed over the wrong axis.",
            "sum(-1) leaves the first variable and sum(-2) the second.",
            tuple(lambda joint, axis=axis: 2 * _entropy(joint.sum(axis)) - _entropy(joint) for axis in (-1, -2)),
        ),
        "price_sign": Mistake(
            "the sign is the other one; a divergence is never negative.",
            "an entropy has a minus in front, a divergence has none.",
            (lambda joint: -right_price_of_independence(joint),),
        ),
        "price_in_bits": Mistake(
            "the answer is in bits; 1 bit is ln 2 nats.",
            "log2 is the habit where coins are counted.",
            (lambda joint: right_price_of_independence(joint) / math.log(2),),
        ),
        "price_averaged": Mistake(
            "the mean over the cells of the table in place of their sum.",
            "losses are averaged, mostly; here the joint probabilities are the weights already.",
            (lambda joint: right_price_of_independence(joint) / joint[0].numel(),),
        ),
        "price_over_batch": Mistake(
            "the sum runs over the batch too.",
            "sum() without an axis sums everything.",
            (lambda joint: right_price_of_independence(joint).sum(),),
        ),
    },
)  # fmt: skip

PARTS = (EXPECTED_GRADIENT, PRICE_OF_INDEPENDENCE)

BUGS = ()
