"""symlog and symexp against numbers worked out by hand, and against what makes them useful."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from wm_tutorial.transforms import TwoHot, symexp, symexp_bins, symlog

# (x, symlog(x)); e^2 - 1 = 6.389...
PAIRS = [(0.0, 0.0), (math.e - 1.0, 1.0), (1.0, math.log(2.0)), (-1.0, -math.log(2.0)), (-(math.e**2 - 1.0), -2.0)]


def double(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


@pytest.mark.parametrize(("x", "squashed"), PAIRS)
def test_exact_values(x: float, squashed: float) -> None:
    assert symlog(double(x)).item() == pytest.approx(squashed, abs=1e-15)
    assert symexp(double(squashed)).item() == pytest.approx(x, abs=1e-14)


@pytest.mark.parametrize("x", [1e-3, 1e-5, 1e-8, -1e-8, -1e-20])
def test_small_numbers_keep_all_their_digits_in_single_precision(x: float) -> None:
    # log(1 + 1e-8) in float32 is 0: only log1p and expm1 keep small numbers apart.
    second_order = -x * abs(x) / 2
    assert symlog(torch.tensor(x)).item() == pytest.approx(x + second_order, rel=1e-6)
    assert symexp(torch.tensor(x)).item() == pytest.approx(x - second_order, rel=1e-6)


def test_large_numbers_become_their_logarithm() -> None:
    assert symlog(torch.tensor([1e6, -1e30])).tolist() == pytest.approx(
        [6 * math.log(10), -30 * math.log(10)], rel=1e-6
    )


@given(st.floats(-1e12, 1e12))
def test_symexp_undoes_symlog(x: float) -> None:
    assert symexp(symlog(double(x))).item() == pytest.approx(x, rel=1e-13, abs=1e-300)


@given(st.floats(-25.0, 25.0))
def test_symlog_undoes_symexp(y: float) -> None:
    assert symlog(symexp(double(y))).item() == pytest.approx(y, rel=1e-13, abs=1e-300)


@given(st.floats(-1e30, 1e30))
def test_odd_and_never_larger(x: float) -> None:
    squashed = symlog(double(x)).item()
    assert symlog(double(-x)).item() == -squashed
    assert abs(squashed) <= abs(x)
    y = min(abs(x), 50.0)
    assert symexp(double(-y)).item() == -symexp(double(y)).item()


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_strictly_increasing(x: float, more: float) -> None:
    low, high = symlog(double(x, x + more)).tolist()
    assert low < high
    low, high = symexp(double(x / 1e5, (x + more) / 1e5)).tolist()
    assert low < high


def slope(function: Callable[[Tensor], Tensor], x: float) -> float:
    point = double(x).requires_grad_()
    function(point).sum().backward()
    assert point.grad is not None
    return point.grad.item()


@pytest.mark.parametrize("x", [-1e6, -3.0, -1e-9, 1e-9, 0.5, 3.0, 1e6])
def test_slope_of_symlog(x: float) -> None:
    assert slope(symlog, x) == pytest.approx(1.0 / (1.0 + abs(x)), rel=1e-12)


@pytest.mark.parametrize("x", [-3.0, -1e-9, 1e-9, 0.5, 3.0])
def test_slope_of_symexp(x: float) -> None:
    assert slope(symexp, x) == pytest.approx(math.exp(abs(x)), rel=1e-12)


@pytest.mark.parametrize("zero", [0.0, -0.0])
@pytest.mark.parametrize("function", [symlog, symexp])
def test_slope_at_exactly_zero_is_one(function: Callable[[Tensor], Tensor], zero: float) -> None:
    # With torch.sign, which is 0 at 0, it would be 0: a head that starts at zero would never leave it.
    assert slope(function, zero) == 1.0


# --- Two-hot ----------------------------------------------------------------------------------------------------------


def test_some_of_the_predictions_are_predictions_of_the_same_numbers() -> None:
    logits = torch.linspace(-1.0, 1.0, 2 * 3 * 5).reshape(2, 3, 5)
    prediction = TwoHot(logits, symexp_bins(5))
    some = prediction[:, :-1]
    assert isinstance(some, TwoHot)
    torch.testing.assert_close(some.mean, prediction.mean[:, :-1])
    torch.testing.assert_close(some.loss(torch.ones(2, 2)), prediction.loss(torch.ones(2, 3))[:, :-1])
