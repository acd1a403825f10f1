"""Checks of chapter 11: the slope of a two-hot loss, the range of returns, and what advantages are divided by."""

from wm_tutorial.check.diagnosis import examine
from wm_tutorial.mistakes.part import Function
from wm_tutorial.mistakes.scale import RETURN_RANGE, SCALED_ADVANTAGE, TWO_HOT_SLOPE


def two_hot_slope(function: Function) -> bool:
    """Check `two_hot_slope(logits, x, bins)`: the slope of a two-hot loss, without autograd.

    logits  (B, K) as a network gives them
    x       (B,) numbers to be predicted, some of them beyond the last bins
    bins    (K,) rising
    ->      (B, K) the slope of the cross-entropy of each number in its logits

    check.two_hot_slope(my_two_hot_slope)
    """
    return examine(TWO_HOT_SLOPE, function)


def return_range(function: Function) -> bool:
    """Check `return_range(range_, returns, decay)`: the range of returns, after one more batch.

    range_   (2,) the 5th and the 95th percentile, as tracked so far
    returns  (N, H) of the batch
    decay    the share of the range that stays, in 0..1
    ->       (2,) the range with the percentiles of all N H returns taken in, without gradient

    check.return_range(my_return_range)
    """
    return examine(RETURN_RANGE, function)


def scaled_advantage(function: Function) -> bool:
    """Check `scaled_advantage(returns, value, range_, floor)`: how much better than expected, in units of the range.

    returns  (N, H) R_0 .. R_{H-1}
    value    (N, H) v_0 .. v_{H-1}
    range_   (2,) low and high end of the returns
    floor    the least that is divided by
    ->       (N, H) (returns - value) / max(floor, high - low)

    check.scaled_advantage(my_scaled_advantage)
    """
    return examine(SCALED_ADVANTAGE, function)
