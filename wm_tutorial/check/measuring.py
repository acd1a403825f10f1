"""Checks of chapter 16: what a handful of trained agents says."""

from wm_tutorial.check.diagnosis import examine
from wm_tutorial.mistakes.measuring import CHOSEN, INTERQUARTILE, INTERVAL, MATCHED, RANKS
from wm_tutorial.mistakes.part import Function


def agents_interval(function: Function) -> bool:
    """Check `agents_interval(returns, draws, level)`: the bootstrap interval of the mean over agents.

    returns  (N, E) of E episodes of each of N agents
    draws    (B, N) which agents each of B draws takes, from 0 to N - 1, with repetition
    level    share of the draws inside the interval, such as 0.95
    ->       a tuple (low, high), both (): of the means of the draws, the quantiles that leave half of the rest at each
             end, interpolated as torch's `quantile` does

    check.agents_interval(my_agents_interval)
    """
    return examine(INTERVAL, function)


def interquartile_mean(function: Function) -> bool:
    """Check `interquartile_mean(scores)`: the mean of the middle half of all numbers.

    scores  (M, N) of M tasks and N seeds, on one scale
    ->      () the mean without the lowest and the highest quarter of the count, rounded down

    check.interquartile_mean(my_interquartile_mean)
    """
    return examine(INTERQUARTILE, function)


def matched_differences(function: Function) -> bool:
    """Check `matched_differences(new_seeds, new, old_seeds, old)`: how far the new agents are ahead, seed by seed.

    new_seeds  (S,) whole numbers, in any order
    new        (S,) returns
    old_seeds  (R,) whole numbers, in any order
    old        (R,) returns
    ->         (K,) new minus old of each seed that both have, by ascending seed

    check.matched_differences(my_matched_differences)
    """
    return examine(MATCHED, function)


def promised_and_kept(function: Function) -> bool:
    """Check `promised_and_kept(tuning, fresh)`: what the best of many options promised, and what it kept.

    tuning  (K, S) returns of K settings on S seeds that choose among them
    fresh   (K, R) returns of the same settings on R other seeds
    ->      a tuple (promised, kept), both (): the mean return of the chosen setting on the tuning seeds, and on the
            fresh ones

    check.promised_and_kept(my_promised_and_kept)
    """
    return examine(CHOSEN, function)


def rank_correlation(function: Function) -> bool:
    """Check `rank_correlation(one, other)`: Spearman's, from -1 to 1.

    one    (N,) numbers
    other  (N,) numbers of the same things
    ->     () the correlation of their places in order; equal numbers share the mean of their places

    check.rank_correlation(my_rank_correlation)
    """
    return examine(RANKS, function)
