"""What a handful of trained agents says about all that could have been trained: means, intervals, differences, ranks.

The agents are the sample, never their episodes: a thousand episodes of one agent say nothing about the next one.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from wm_tutorial.errors import InputError

Array = npt.NDArray[np.float64]

BOOTSTRAP_DRAWS = 10_000


def bootstrap_interval(
    values: npt.ArrayLike, statistic: Callable[..., Array] = np.mean, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of what `statistic` says about all agents, from one number of each (N,).

    Too narrow for fewer than about ten values: of five that are normally distributed, a 95 % interval holds the true
    mean in about 83 of 100 cases, and in far fewer where one agent in five fails altogether (chapter 16 counts). Always
    the same draws, so that the same values give the same interval.

    Args:
        values: one number of each agent, such as the mean return of its episodes.
        statistic: of an array (.., N) over its last axis, with the keyword `axis`, such as `np.mean`.
        level: share of the draws inside the interval, above 0 and below 1.

    Raises:
        InputError: if `values` is not a row of at least one finite number, or `level` not between 0 and 1.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.
    """
    sample = _row("values", values)
    if not 0 < level < 1:
        raise InputError(f"level is {level!r}; give a share above 0 and below 1, such as 0.95.")
    draws = np.random.default_rng(0).choice(sample, (BOOTSTRAP_DRAWS, len(sample)))
    low, high = np.percentile(statistic(draws, axis=1), (50 - 50 * level, 50 + 50 * level))
    return float(low), float(high)


def interquartile_mean(values: npt.ArrayLike, axis: int | None = None) -> Array:
    """The mean of the middle half: the lowest and the highest quarter are left out, rounded down.

    Less moved by one lucky or broken run than the mean, less noisy than the median. What it leaves out is not to be
    forgotten: an agent that fails once in five is not in it.

    Args:
        values: any shape; of several tasks on one scale (tasks, seeds), all numbers are sorted together.
        axis: along which one; None for all numbers together.

    Raises:
        InputError: if there is no number.

    Source: Agarwal et al. 2021, arXiv 2108.13264, section 4.3.
    """
    sample = np.asarray(values, dtype=np.float64)
    sample, axis = (sample.ravel(), 0) if axis is None else (sample, axis)
    count = sample.shape[axis]
    if not count:
        raise InputError("There is no value to take the mean of; give at least one.")
    middle = np.sort(sample, axis=axis).take(range(count // 4, count - count // 4), axis=axis)
    return np.asarray(middle.mean(axis=axis))


def matched_differences(new: Mapping[int, float], old: Mapping[int, float]) -> Array:
    """By how much the new agents are ahead, seed by seed, (K,) in the order of the seeds that both have.

    Args:
        new: seed -> return.
        old: seed -> return of the agents compared with.

    Raises:
        InputError: if they have no seed in common.
    """
    shared = sorted(new.keys() & old.keys())
    if not shared:
        raise InputError(
            f"No seed was measured for both: {sorted(new)} and {sorted(old)}. Train both on the same seeds."
        )
    return np.array([new[seed] - old[seed] for seed in shared], dtype=np.float64)


def rank_correlation(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Spearman's: how far two rows of numbers (N,) put the same things in the same order, from -1 to 1.

    Equal numbers share the mean of their places.

    Raises:
        InputError: if they are not of the same length, at least 2, or all numbers of one are equal: that is no order.

    Source: Spearman 1904, The Proof and Measurement of Association between Two Things.
    """
    first, second = _row("one", one), _row("other", other)
    if len(first) != len(second) or len(first) < 2:
        raise InputError(
            f"{len(first)} and {len(second)} numbers have no common order; give as many of both, at least 2."
        )
    if not (np.ptp(first) and np.ptp(second)):
        raise InputError("All numbers of a row are equal, so they are in no order; there is nothing to compare.")
    return float(np.corrcoef(_places(first), _places(second))[0, 1])


def _places(values: Array) -> Array:
    """Places from 0 in ascending order; equal numbers share the mean of theirs."""
    below = (values[:, None] > values).sum(1)
    return np.asarray(below + ((values[:, None] == values).sum(1) - 1) / 2)


def _row(name: str, values: npt.ArrayLike) -> Array:
    row = np.asarray(values, dtype=np.float64)
    if row.ndim != 1 or not row.size or not np.isfinite(row).all():
        raise InputError(f"{name} is {values!r}; give a row of at least one finite number, one for each agent.")
    return row
