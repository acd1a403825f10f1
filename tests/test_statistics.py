"""What is said about a handful of agents, computed another way, and what must hold of it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wm_tutorial.errors import InputError
from wm_tutorial.runs.statistics import bootstrap_interval, interquartile_mean, matched_differences, rank_correlation

NUMBERS = st.lists(st.integers(-50, 50), min_size=2, max_size=30)


@given(NUMBERS)
def test_the_middle_half_is_what_is_left_when_the_ends_are_taken_away_one_by_one(values: list[int]) -> None:
    left = list(values)
    for _ in range(len(values) // 4):
        left.remove(min(left))
        left.remove(max(left))
    assert interquartile_mean(values) == pytest.approx(sum(left) / len(left))


def test_tasks_are_sorted_together_and_an_axis_apart() -> None:
    scores = np.array([[9.0, 1.0, 4.0, 3.0], [2.0, 30.0, 5.0, 0.0]])
    assert interquartile_mean(scores) == np.mean([2, 3, 4, 5])
    np.testing.assert_array_equal(interquartile_mean(scores, axis=1), [3.5, 3.5])


def places(values: list[int]) -> list[float]:
    """The mean of the places when ties go to the first, and when they go to the last."""
    first = sorted(range(len(values)), key=lambda i: (values[i], i))
    last = sorted(range(len(values)), key=lambda i: (values[i], -i))
    return [(first.index(i) + last.index(i)) / 2 for i in range(len(values))]


@given(st.data(), NUMBERS)
def test_ranks_are_correlated_and_ties_share_the_mean_of_theirs(data: st.DataObject, one: list[int]) -> None:
    other = data.draw(st.lists(st.integers(-3, 3), min_size=len(one), max_size=len(one)))
    if len(set(one)) == 1 or len(set(other)) == 1:
        with pytest.raises(InputError, match="no order"):
            rank_correlation(one, other)
    else:
        assert rank_correlation(one, other) == pytest.approx(np.corrcoef(places(one), places(other))[0, 1])


def test_the_interval_covers_the_mean_as_often_as_it_says_for_many_values() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        low, high = bootstrap_interval(list(rng.normal(3.0, 2.0, 30)))
        covered += low <= 3.0 <= high
    assert 0.90 < covered / 200 < 0.98  # percentile intervals of 30 values are a little narrow


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert bootstrap_interval([7.0] * 5) == (7.0, 7.0)


def test_the_interval_has_the_quantiles_of_all_draws_there_can_be() -> None:
    """Of three values there are 27 equally likely draws."""
    values = np.array([0.0, 1.0, 5.0])
    every = np.stack(np.meshgrid(values, values, values)).reshape(3, -1).mean(0)
    for level in (0.5, 0.8, 0.95):
        exact = np.percentile(every, [50 - 50 * level, 50 + 50 * level], method="inverted_cdf")
        assert bootstrap_interval(values, level=level) == pytest.approx(tuple(exact))
    assert bootstrap_interval(values, np.median, 0.99) == (0.0, 5.0)


def test_seeds_are_matched_by_number_and_only_shared_ones_count() -> None:
    np.testing.assert_array_equal(
        matched_differences({3: 30.0, 1: 11.0, 2: 25.0}, {1: 10.0, 4: 40.0, 3: 20.0}), [1, 10]
    )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: bootstrap_interval([]), "at least one finite number"),
        (lambda: bootstrap_interval([1.0, float("nan")]), "finite"),
        (lambda: bootstrap_interval([[1.0, 2.0]]), "one for each agent"),
        (lambda: bootstrap_interval([1.0, 2.0], level=95), "above 0 and below 1"),
        (lambda: interquartile_mean([]), "at least one"),
        (lambda: matched_differences({1: 2.0}, {2: 2.0}), "No seed was measured for both"),
        (lambda: rank_correlation([1, 2, 3], [1, 2]), "no common order"),
        (lambda: rank_correlation([1], [1]), "at least 2"),
        (lambda: rank_correlation([1, 1], [1, 2]), "nothing to compare"),
    ],
)
def test_what_says_nothing_is_refused(wrong: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        wrong()  # type: ignore[operator]


def test_tensors_may_be_given() -> None:
    assert float(interquartile_mean(torch.tensor([1.0, 2.0, 3.0, 100.0]))) == 2.5
