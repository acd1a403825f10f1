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


@pytest.mark.parametrize("count", [3, 5, 41, 255])
def test_bins_rise_from_the_smallest_to_the_largest_by_way_of_zero_and_are_symmetric(count: int) -> None:
    bins = symexp_bins(count)
    assert (bins.diff() > 0).all()  # none stands there twice
    assert bins[count // 2] == 0.0 and torch.equal(bins, -bins.flip(0))
    assert bins[-1].item() == pytest.approx(math.exp(20) - 1, rel=1e-5)
    assert symlog(bins.double()).diff().tolist() == pytest.approx([40.0 / (count - 1)] * (count - 1), rel=1e-4)
    assert TwoHot(torch.zeros(count), bins).mean == 0.0  # of a head that knows nothing


def test_one_prediction_can_be_compared_with_several_targets() -> None:
    """Log-probabilities are computed once; a part of the predictions has its own."""
    logits = torch.linspace(-1.0, 1.0, 2 * 3 * 5).reshape(2, 3, 5)
    bins, targets = symexp_bins(5), (torch.full((2, 3), 4.0), torch.tensor(-7.0).expand(2, 3))
    prediction = TwoHot(logits, bins)
    for target in targets:
        torch.testing.assert_close(prediction.loss(target), TwoHot(logits, bins).loss(target))
    part = prediction[:, 1:]
    assert part.log_probabilities.shape == (2, 2, 5) and part.mean.shape == (2, 2)
    torch.testing.assert_close(part.loss(targets[0][:, 1:]), prediction.loss(targets[0])[:, 1:])
    torch.testing.assert_close(part.mean, prediction.mean[:, 1:])


def test_a_target_that_is_not_a_number_gives_a_loss_that_is_none_either() -> None:
    """It does not stop a run with an error about an index, and it does not pass for a number: the loss shows it."""
    loss = TwoHot(torch.zeros(2, 5), symexp_bins(5)).loss(torch.tensor([math.nan, 1.0]))
    assert loss.isnan().tolist() == [True, False]
