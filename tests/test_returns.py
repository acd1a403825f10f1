"""Lambda returns against a table worked out by hand, an independent formulation, and every classic mistake."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from wm_tutorial.errors import InputError, NonFiniteError
from wm_tutorial.returns import ReturnNormalizer, lambda_returns

# Five imagined steps, lam = 1/4. Column j belongs to the arriving state j + 1. Worked backwards from R_5 = v_5 = 16:
#   R_4 = 8 + 0.5 (0.75 * 16 + 0.25 * 16)    = 16
#   R_3 = 0 + 0.0 (...)                      = 0       the episode ends on arriving in state 4
#   R_2 = 2 + 0.5 (0.75 * 4  + 0.25 * 0)     = 3.5
#   R_1 = 4 + 1.0 (0.75 * 2  + 0.25 * 3.5)   = 6.375
#   R_0 = 1 + 0.5 (0.75 * 8  + 0.25 * 6.375) = 4.796875
REWARD = [1.0, 4.0, 2.0, 0.0, 8.0]
DISCOUNT = [0.5, 1.0, 0.5, 0.0, 0.5]
VALUE = [8.0, 2.0, 4.0, 12.0, 16.0]
LAM = 0.25
RETURNS = [4.796875, 6.375, 3.5, 0.0, 16.0]


def batch(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def n_step_returns_weighted(reward: list[float], discount: list[float], value: list[float], lam: float) -> list[float]:
    """The same returns, as Sutton & Barto 2018 (equation 12.3) define them: a weighted sum of n-step returns.

    G_t^(n) = sum_{k=1..n} d_{t+1} .. d_{t+k-1} r_{t+k} + d_{t+1} .. d_{t+n} v_{t+n}; weights (1 - lam) lam^(n-1), and
    lam^(N-1) for the longest.
    """
    horizon = len(reward)
    returns = []
    for t in range(horizon):
        longest = horizon - t
        total = 0.0
        for n in range(1, longest + 1):
            rewards = sum(math.prod(discount[t : t + k - 1]) * reward[t + k - 1] for k in range(1, n + 1))
            n_step = rewards + math.prod(discount[t : t + n]) * value[t + n - 1]
            total += (lam ** (n - 1) if n == longest else (1 - lam) * lam ** (n - 1)) * n_step
        returns.append(total)
    return returns


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, float]:
    """Reward, discount and value (B, H), and lam."""
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 7)))
    numbers = hnp.arrays("float64", shape, elements=st.floats(-10, 10))
    discount = hnp.arrays("float64", shape, elements=st.floats(0, 1))
    reward, discount, value = (torch.as_tensor(draw(part)) for part in (numbers, discount, numbers))
    return reward, discount, value, draw(st.floats(0, 1))


def random_problem(seed: int, b: int = 3, h: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    reward, value = rng.normal(size=(2, b, h))
    return torch.as_tensor(reward), torch.as_tensor(rng.uniform(0.5, 1.0, (b, h))), torch.as_tensor(value)


# --- Exact answers ----------------------------------------------------------------------------------------------------


def test_worked_table() -> None:
    assert lambda_returns(batch(REWARD), batch(DISCOUNT), batch(VALUE), LAM).tolist() == [RETURNS]


def test_one_step_is_reward_plus_discounted_bootstrap_for_any_lam() -> None:
    for lam in (0.0, 0.3, 1.0):
        assert lambda_returns(batch([2.0]), batch([0.5]), batch([10.0]), lam).item() == pytest.approx(7.0)


def test_agrees_with_the_reference_implementation() -> None:
    """Made by running danijar/dreamerv3, whose arrays have a column for state 0 too; its trace stops at `last`."""
    continuing = 0.996996996996997
    reward = batch(
        [-0.13210485875606537, 0.6404226422309875, 0.10490011423826218, -0.5356693863868713],
        [1.3040000200271606, 0.9470809698104858, -0.7037352323532104, -1.2654215097427368],
    )
    value = batch(
        [1.3664634227752686, -0.6651946902275085, 0.35151007771492004, 0.9034701585769653],
        [-0.7434992790222168, -0.9217253923416138, -0.4577258229255676, 0.22019512951374054],
    )
    terminal, lam = batch([0, 0, 0, 0], [0, 0, 1, 0]), 0.95
    expected = batch(
        [-0.08555760979652405, -0.022774457931518555, 0.4682145416736603, 0.365087628364563],
        [1.4891300201416016, 0.2345922589302063, -0.7037352323532104, -1.0458877086639404],
    )
    discount = continuing * (1 - terminal)
    ours = lambda_returns(reward, discount, value, lam)
    torch.testing.assert_close(ours[1], expected[1], rtol=1e-6, atol=1e-6)
    # In sequence 0 an episode is cut (not ended) on arriving in state 2: its return stops there, with v_2.
    torch.testing.assert_close(ours[0, 2:], expected[0, 2:], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        lambda_returns(reward[:1, :2], discount[:1, :2], value[:1, :2], lam), expected[:1, :2], rtol=1e-6, atol=1e-6
    )


@given(problems())
def test_is_the_weighted_sum_of_n_step_returns(problem: tuple[Tensor, Tensor, Tensor, float]) -> None:
    *arrays, lam = problem
    by_definition = [n_step_returns_weighted(*rows, lam) for rows in zip(*(a.tolist() for a in arrays), strict=True)]
    torch.testing.assert_close(lambda_returns(*arrays, lam), batch(*by_definition), rtol=1e-10, atol=1e-9)


@given(problems())
def test_lam_zero_looks_one_step_ahead(problem: tuple[Tensor, Tensor, Tensor, float]) -> None:
    reward, discount, value, _ = problem
    torch.testing.assert_close(lambda_returns(reward, discount, value, 0.0), reward + discount * value)


@given(problems())
def test_lam_one_sums_all_rewards_and_uses_only_the_last_value(problem: tuple[Tensor, Tensor, Tensor, float]) -> None:
    reward, discount, value, _ = problem
    returns = lambda_returns(reward, discount, value, 1.0)
    horizon = reward.shape[1]
    for t in range(horizon):
        survival = torch.cumprod(discount[:, t:], dim=1)  # d_{t+1}, d_{t+1} d_{t+2}, ...
        before = torch.cat([torch.ones_like(survival[:, :1]), survival[:, :-1]], dim=1)
        expected = (before * reward[:, t:]).sum(1) + survival[:, -1] * value[:, -1]
        torch.testing.assert_close(returns[:, t], expected, rtol=1e-10, atol=1e-9)
    torch.testing.assert_close(returns[:, 0], lambda_returns(reward, discount, 0 * value, 1.0)[:, 0] + (
        torch.prod(discount, 1) * value[:, -1]
    ))  # fmt: skip


def test_a_constant_reward_and_its_fixed_point() -> None:
    gamma, horizon = 0.9, 15
    fixed = torch.full((2, horizon), 1 / (1 - gamma), dtype=torch.float64)
    for lam in (0.0, 0.95, 1.0):
        returns = lambda_returns(torch.ones_like(fixed), gamma * torch.ones_like(fixed), fixed, lam)
        torch.testing.assert_close(returns, fixed)


# --- Properties -------------------------------------------------------------------------------------------------------


@given(problems(), st.floats(-3, 3))
def test_linear_in_rewards_and_values(problem: tuple[Tensor, Tensor, Tensor, float], factor: float) -> None:
    reward, discount, value, lam = problem
    only_reward = lambda_returns(reward, discount, 0 * value, lam)
    only_value = lambda_returns(0 * reward, discount, value, lam)
    both = lambda_returns(factor * reward, discount, value, lam)
    torch.testing.assert_close(both, factor * only_reward + only_value, rtol=1e-9, atol=1e-9)


@given(problems(), st.data())
def test_a_discount_of_zero_cuts_off_the_future(
    problem: tuple[Tensor, Tensor, Tensor, float], data: st.DataObject
) -> None:
    reward, discount, value, lam = problem
    end = data.draw(st.integers(0, reward.shape[1] - 1), "column of the end")
    discount[:, end] = 0.0
    returns = lambda_returns(reward, discount, value, lam)
    torch.testing.assert_close(returns[:, end], reward[:, end], rtol=0, atol=0)
    reward[:, end + 1 :], value[:, end:], discount[:, end + 1 :] = 77.0, -55.0, 0.3
    torch.testing.assert_close(lambda_returns(reward, discount, value, lam)[:, : end + 1], returns[:, : end + 1])


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("column", range(6))
def test_column_t_reaches_the_returns_up_to_t_and_no_later_one(which: int, column: int) -> None:
    """Column t holds r_{t+1}, d_{t+1}, v_{t+1}: part of R_0 .. R_t, and of nothing after."""
    arrays = list(random_problem(seed=column))
    before = lambda_returns(*arrays, 0.7)
    arrays[which] = arrays[which].clone()
    arrays[which][1, column] = 0.25
    changed = lambda_returns(*arrays, 0.7) != before
    assert changed[1].tolist() == [t <= column for t in range(6)]
    assert not changed[[0, 2]].any()  # sequences do not mix


@given(problems())
def test_returns_lie_between_what_the_rewards_and_values_allow(problem: tuple[Tensor, Tensor, Tensor, float]) -> None:
    _, discount, value, lam = problem
    returns = lambda_returns(torch.zeros_like(value), discount, value, lam)
    assert (returns <= value.amax(1, keepdim=True).clamp(min=0) + 1e-9).all()
    assert (returns >= value.amin(1, keepdim=True).clamp(max=0) - 1e-9).all()


# --- The classic mistakes, each of which gives other numbers ----------------------------------------------------------


def recursion(step: Callable[[int, float], float], bootstrap: float) -> list[float]:
    returns, following = [], bootstrap
    for t in reversed(range(5)):
        following = step(t, following)
        returns.append(following)
    return returns[::-1]


def departing_value(t: int, following: float) -> float:
    """v_t, the value of the state that is left, where v_{t+1} belongs."""
    v_t = [3.0, *VALUE][t]
    return REWARD[t] + DISCOUNT[t] * ((1 - LAM) * v_t + LAM * following)


def lost_reward_share(t: int, following: float) -> float:
    return LAM * (REWARD[t] + DISCOUNT[t] * following) + (1 - LAM) * DISCOUNT[t] * VALUE[t]


def right(t: int, following: float) -> float:
    return REWARD[t] + DISCOUNT[t] * ((1 - LAM) * VALUE[t] + LAM * following)


def swapped_lam(t: int, following: float) -> float:
    return REWARD[t] + DISCOUNT[t] * (LAM * VALUE[t] + (1 - LAM) * following)


def departing_discount(t: int, following: float) -> float:
    return REWARD[t] + [1.0, *DISCOUNT][t] * ((1 - LAM) * VALUE[t] + LAM * following)


WRONG = {
    "v_t for v_{t+1}": recursion(departing_value, VALUE[-1]),
    "lost (1 - lam) of each reward": recursion(lost_reward_share, VALUE[-1]),
    "bootstrap from v_{H-1}": recursion(right, VALUE[-2]),
    "lam and 1 - lam swapped": recursion(swapped_lam, VALUE[-1]),
    "d_t for d_{t+1}": recursion(departing_discount, VALUE[-1]),
    "reversed time": RETURNS[::-1],
}


@pytest.mark.parametrize("mistake", WRONG)
def test_each_mistake_shows_in_the_table(mistake: str) -> None:
    assert recursion(right, VALUE[-1]) == RETURNS
    ours = lambda_returns(batch(REWARD), batch(DISCOUNT), batch(VALUE), LAM)[0].tolist()
    assert max(abs(a - b) for a, b in zip(WRONG[mistake], ours, strict=True)) > 0.3


# --- Errors -----------------------------------------------------------------------------------------------------------


def test_shapes_that_do_not_fit_are_named() -> None:
    ones = torch.ones(2, 3)
    for arguments in [(ones[:, :2], ones, ones), (ones, ones[:1], ones), (ones, ones, torch.ones(2, 4))]:
        with pytest.raises(InputError, match="arriving states"):
            lambda_returns(*arguments, 0.9)
    for shape in [(3,), (2, 0), (2, 3, 1)]:
        with pytest.raises(InputError, match=r"\(B, H\)"):
            lambda_returns(*[torch.ones(shape)] * 3, 0.9)
    with pytest.raises(InputError, match=r"value \(2, 4\)"):
        lambda_returns(ones, ones, torch.ones(2, 4), 0.9)


@pytest.mark.parametrize("lam", [-0.01, 1.01, math.nan])
def test_lam_outside_its_range_is_refused(lam: float) -> None:
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        lambda_returns(torch.ones(1, 2), torch.ones(1, 2), torch.ones(1, 2), lam)


def test_of_many_lams_the_one_outside_its_range_is_named() -> None:
    with pytest.raises(InputError, match=r"lam=1\.5;"):
        lambda_returns(torch.ones(1, 3), torch.ones(1, 3), torch.ones(1, 3), torch.tensor([[0.5, 1.5, -2.0]]))


def test_a_lambda_of_another_precision_leaves_returns_in_that_of_the_rewards() -> None:
    problem = batch(REWARD).float(), batch(DISCOUNT).float(), batch(VALUE).float()
    lam = torch.full_like(problem[0], LAM)
    returns = lambda_returns(*problem, lam.double())
    assert returns.dtype == problem[0].dtype == torch.float32
    torch.testing.assert_close(returns, lambda_returns(*problem, lam))


def test_returns_are_computed_where_the_rewards_are() -> None:
    """Also the number `lam` goes there, and not to the device on which new tensors are made."""
    problem = batch(REWARD), batch(DISCOUNT), batch(VALUE)
    with torch.device("meta"):
        returns = lambda_returns(*problem, LAM)
    assert returns.tolist() == [RETURNS]


# --- The normaliser ---------------------------------------------------------------------------------------------------


def test_the_scale_is_a_moving_average_of_percentiles_from_zero() -> None:
    rng = np.random.default_rng(0)
    normalizer = ReturnNormalizer(decay=0.9)
    low = high = 0.0
    for step in range(12):
        returns = rng.normal(loc=step, scale=20.0, size=(7, 5)).astype(np.float32)
        scale = normalizer.update(torch.from_numpy(returns))
        low = 0.9 * low + 0.1 * np.percentile(returns, 5)
        high = 0.9 * high + 0.1 * np.percentile(returns, 95)
        assert normalizer.low.item() == pytest.approx(low, rel=1e-5)
        assert normalizer.high.item() == pytest.approx(high, rel=1e-5)
        assert scale.item() == normalizer.scale.item() == pytest.approx(max(1.0, high - low), rel=1e-5)
    assert high - low > 20  # so the maximum above was not always the floor


def test_the_default_is_the_reference_5th_to_95th_percentile_with_rate_one_percent() -> None:
    normalizer = ReturnNormalizer()
    normalizer.update(torch.arange(101.0) * 1000)
    assert normalizer.low.item() == pytest.approx(50.0)
    assert normalizer.high.item() == pytest.approx(950.0)
    normalizer.update(torch.arange(101.0) * 1000)
    assert normalizer.scale.item() == pytest.approx((0.99 + 1.0) * 900.0)


def test_small_returns_are_never_blown_up() -> None:
    normalizer = ReturnNormalizer(decay=0.0)
    assert normalizer.update(torch.linspace(0.0, 1e-3, 100)).item() == 1.0
    assert normalizer.update(torch.full((100,), 1e6)).item() == 1.0  # large, but all alike
    assert normalizer.update(torch.linspace(0.0, 10.0, 101)).item() == pytest.approx(9.0)
    assert ReturnNormalizer(floor=0.1, decay=0.0).update(torch.linspace(0.0, 0.01, 100)).item() == pytest.approx(0.1)


def test_a_few_extreme_returns_do_not_set_the_scale() -> None:
    returns = torch.linspace(0.0, 10.0, 101)
    extreme = returns.clone()
    extreme[0], extreme[-1] = -1e9, 1e9
    assert ReturnNormalizer(decay=0.0).update(extreme).item() == pytest.approx(9.0)


def test_the_scale_carries_no_gradient() -> None:
    returns = torch.linspace(0.0, 100.0, 50, requires_grad=True)
    assert not ReturnNormalizer(decay=0.0).update(returns).requires_grad


def test_a_saved_normaliser_goes_on_as_if_it_had_not_been_saved() -> None:
    normalizer, restored = ReturnNormalizer(), ReturnNormalizer()
    normalizer.update(torch.linspace(-500.0, 3000.0, 64))
    restored.load_state_dict(normalizer.state_dict())
    more = torch.linspace(-100.0, 9000.0, 64)
    assert restored.update(more).item() == normalizer.update(more).item() > 1.0
    assert not list(normalizer.parameters())  # nothing an optimiser could move


def test_asking_for_the_next_range_changes_nothing_until_it_is_kept() -> None:
    normalizer, returns = ReturnNormalizer(decay=0.5), torch.linspace(0.0, 100.0, 101)
    range_ = normalizer.after(returns)
    assert range_.tolist() == pytest.approx([2.5, 47.5]) and normalizer.range.tolist() == [0.0, 0.0]
    assert normalizer.scale_of(range_).item() == pytest.approx(45.0) and normalizer.scale.item() == 1.0
    normalizer.keep(range_)
    assert normalizer.range.tolist() == range_.tolist() and normalizer.scale.item() == pytest.approx(45.0)


def test_the_normaliser_takes_returns_of_any_floating_type() -> None:
    scales = [
        ReturnNormalizer(decay=0.0).update(torch.linspace(0, 100, 101, dtype=dtype))
        for dtype in (torch.float32, torch.float64)
    ]
    assert scales[0].item() == pytest.approx(90.0) and torch.equal(scales[0], scales[1])


@pytest.mark.parametrize("place", range(3))
def test_whole_numbers_are_refused_since_lam_would_be_rounded(place: int) -> None:
    given = [torch.ones(1, 2), torch.ones(1, 2), torch.ones(1, 2)]
    given[place] = given[place].long()
    with pytest.raises(InputError, match=r"of torch.int64; give floats"):
        lambda_returns(*given, 0.9)


@pytest.mark.parametrize("discount", [5.0, -1.0, 1.001])
def test_a_discount_that_is_none_is_refused(discount: float) -> None:
    with pytest.raises(InputError, match=r"a discount of .*must lie in \[0, 1\]"):
        lambda_returns(torch.ones(1, 2), torch.tensor([[1.0, discount]]), torch.ones(1, 2), 0.9)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize("place", ["reward", "discount", "value"])
def test_what_is_no_number_is_named(place: str, wrong: float) -> None:
    given = {name: torch.ones(1, 2) for name in ("reward", "discount", "value")}
    given[place][0, 1] = wrong
    with pytest.raises(NonFiniteError, match=f"a {place} of {wrong}"):
        lambda_returns(**given, lam=0.9)


def test_of_a_normalizer_only_the_range_is_saved() -> None:
    """Which percentiles it takes is no state: what was saved before they were a buffer can still be read."""
    normalizer = ReturnNormalizer(decay=0.0, percentiles=(0.0, 1.0))
    normalizer.update(torch.tensor([2.0, 5.0, 9.0]))
    assert {name: value.item() for name, value in normalizer.state_dict().items()} == {"low": 2.0, "high": 9.0}
