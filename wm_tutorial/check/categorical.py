"""The checks of categorical latents, and of what is found by trying every class (chapter 10)."""

from wm_tutorial.check.diagnosis import examine
from wm_tutorial.mistakes.categorical import CATEGORICAL_SAMPLE, STRAIGHT_THROUGH, UNIMIX
from wm_tutorial.mistakes.enumeration import EXPECTED_GRADIENT, PRICE_OF_INDEPENDENCE
from wm_tutorial.mistakes.part import Function


def categorical_sample(function: Function) -> bool:
    """Check `categorical_sample(probabilities, uniform)`: one class of each variable, from a uniform number.

    probabilities  (B, S, K) of S categorical variables with K classes
    uniform        (B, S) numbers from 0 to 1, one for each variable
    ->             (B, S, K) one-hot, of the dtype of the probabilities: the class in whose share of the interval from 0
                   to 1 the number falls, the shares laid one behind the other, the first class first

    check.categorical_sample(my_categorical_sample)
    """
    return examine(CATEGORICAL_SAMPLE, function)


def straight_through(function: Function) -> bool:
    """Check `straight_through(probabilities, sample)`: a one-hot sample that passes its gradient to the probabilities.

    probabilities  (B, S, K)
    sample         (B, S, K) one-hot, without gradient
    ->             (B, S, K) the numbers of the sample, the gradient of the probabilities

    check.straight_through(my_straight_through)
    """
    return examine(STRAIGHT_THROUGH, function)


def unimix(function: Function) -> bool:
    """Check `unimix(logits, share)`: probabilities of which a share is uniform.

    logits  (B, S, K) of S categorical variables with K classes, as a network gives them
    share   of the uniform distribution, 0.01 in DreamerV3
    ->      (B, S, K), with gradient to the logits

    check.unimix(my_unimix)
    """
    return examine(UNIMIX, function)


def expected_gradient(function: Function) -> bool:
    """Check `expected_gradient(logits, function)`: how an expectation changes with each logit, by trying everything.

    logits    (B, S, K) of S independent categorical variables with K classes
    function  a function: one-hot (B, S, K) -> (B,); ask it about every one of the K^S choices
    ->        (B, S, K) the gradient, in each row's logits, of that row's expected value of the function

    check.expected_gradient(my_expected_gradient)
    """
    return examine(EXPECTED_GRADIENT, function)


def price_of_independence(function: Function) -> bool:
    """Check `price_of_independence(joint)`: the nats that a prior with independent variables pays in vain.

    joint  (B, K, K) probabilities of two variables of K classes, how often each pair of classes occurs; some are 0
    ->     (B,) KL(joint || product of its two marginals), at least 0

    check.price_of_independence(my_price_of_independence)
    """
    return examine(PRICE_OF_INDEPENDENCE, function)
