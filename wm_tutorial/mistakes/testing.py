"""Tests, and mistakes that tests miss; chapter 15.

Shape letters: R rows of a stream, B batch, T sequence length, H horizon.
"""

from collections.abc import Callable
from contextlib import suppress
from types import NoneType
from typing import Any, TypeAlias

import torch
from torch import Tensor

from wm_tutorial.mistakes.bug import Bug
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.n_steps import DISCOUNT, LAM, REWARD, VALUE
from wm_tutorial.mistakes.part import (
    Answer,
    Arguments,
    Candidate,
    Function,
    Mistake,
    Part,
    Rule,
    differentiate,
    of_wrong,
)
from wm_tutorial.mistakes.returns import BUGS as OF_RETURNS
from wm_tutorial.mistakes.returns import LAMBDA_RETURNS
from wm_tutorial.returns import lambda_returns as right_lambda_returns

Case: TypeAlias = tuple[Tensor, Tensor, Tensor, float]  # reward, discount, value, lambda

# What must hold in every stream of rows -------------------------------------------------------------------------------


def right_row_faults(reward: Tensor, is_first: Tensor, is_last: Tensor, is_terminal: Tensor) -> Tensor:
    """(R,) each -> (4,) int64: rows that are paid and first, terminal and not last, first after no last, last before
    no first; what lies outside of the stream is not held against it."""
    return torch.stack([
        (is_first & (reward != 0)).sum(),
        (is_terminal & ~is_last).sum(),
        (is_first[1:] & ~is_last[:-1]).sum(),
        (is_last[:-1] & ~is_first[1:]).sum(),
    ])  # fmt: skip


def _faults(
    paid: Function = lambda r, f: f & (r != 0),
    ends: Function = lambda last, terminal: terminal & ~last,
    begins: Function = lambda f, last: f[1:] & ~last[:-1],
    follows: Function = lambda f, last: last[:-1] & ~f[1:],
    count: Function = torch.sum,
) -> Function:
    """`right_row_faults` with another piece."""

    def faults(reward: Tensor, is_first: Tensor, is_last: Tensor, is_terminal: Tensor) -> Tensor:
        found = [paid(reward, is_first), ends(is_last, is_terminal)]
        found += [begins(is_first, is_last), follows(is_first, is_last)]
        return torch.stack([count(one) for one in found])

    return faults


def _stream(seed: int, rows: int) -> Arguments:
    """Flags by chance, so that every fault occurs, and some rewards are 0, some negative."""

    def drawn(number: int) -> Tensor:
        return uniform(seed + number, rows, dtype=torch.float64)

    return {
        "reward": drawn(0) * (drawn(1) > -0.5),
        "is_first": drawn(2) > 0.4,
        "is_last": drawn(3) > 0.4,
        "is_terminal": drawn(4) > 0.8,
    }


ROW_FAULTS = Part(
    name="row_faults",
    right=right_row_faults,
    cases=(
        {
            "reward": torch.tensor([1.0, 0.0, -1.0, 0.0, 2.0]),
            "is_first": torch.tensor([True, False, False, True, True]),
            "is_last": torch.tensor([False, True, True, False, True]),
            "is_terminal": torch.tensor([False, False, True, True, False]),
        },
        *(_stream(seed + 3, 3 + shape[0] * shape[1]) for seed, shape, _ in variations()),
    ),
    mistakes={
        "time_limit_held_against_it": Mistake(
            "a last row that is not terminal counts as a fault; it is a time limit.",
            "terminal implies last, and not the other way round.",
            (_faults(ends=lambda last, end: last & ~end), _faults(ends=lambda last, end: last ^ end)),
        ),
        "only_gains": Mistake(
            "a first row with a negative reward passes.",
            "reward > 0 comes to mind first; a cost before any action is as wrong.",
            (_faults(paid=lambda r, f: f & (r > 0)),),
        ),
        "beginning_held_against_it": Mistake(
            "the first row of the stream counts as a fault, because no last one stands before it.",
            "a row is put in front so that the lengths fit; what was before the stream, nobody knows.",
            (_faults(begins=lambda f, last: f & ~torch.cat([last[:1] & False, last[:-1]])),),
        ),
        "end_held_against_it": Mistake(
            "the last row of the stream counts as a fault, because no first one follows it.",
            "a row is put behind so that the lengths fit; the next one may still come.",
            (_faults(follows=lambda f, last: last & ~torch.cat([f[1:], f[:1] & False])),),
        ),
        "stream_closed_to_a_ring": Mistake(
            "the last row of the stream is compared with its first one.",
            "roll brings what falls out at one end back in at the other.",
            (_faults(begins=lambda f, last: f & ~last.roll(1), follows=lambda f, last: last & ~f.roll(-1)),
             _faults(begins=lambda f, last: f & ~last.roll(1)), _faults(follows=lambda f, last: last & ~f.roll(-1))),
        ),
        "same_row_compared": Mistake(
            "first and last are compared in one row; a last row comes before a first one.",
            "the columns stand side by side; the neighbour in time is one row further.",
            (_faults(begins=lambda f, last: f & ~last, follows=lambda f, last: last & ~f),),
        ),
        "wrong_neighbour": Mistake(
            "the row after a first one is asked whether it is last, and the one before a last whether it is first.",
            "[1:] and [:-1] have changed places.",
            (_faults(begins=lambda f, last: f[:-1] & ~last[1:], follows=lambda f, last: last[1:] & ~f[:-1]),),
        ),
        "both_counted_as_one": Mistake(
            "a first without a last and a last without a first are one number.",
            "!= finds both; which of the two it is tells where to look.",
            (_faults(begins=lambda f, last: f[1:] != last[:-1], follows=lambda f, last: f[1:] != last[:-1]),),
        ),
        "any_for_how_many": Mistake(
            "it says whether there is a fault, and not how many.",
            "any is enough to fail a test; the count tells a slip from a system.",
            (_faults(count=lambda found: found.any().long()),),
        ),
    },
)  # fmt: skip


# Who depends on whom --------------------------------------------------------------------------------------------------


def right_reach(function: Function, x: Tensor, other: Tensor) -> Tensor:
    """(T, T) bool: whether column j of the result changes once column i of `x` is that of `other`."""
    before, rows = function(x), []
    for i in range(x.shape[1]):
        changed = x.clone()
        changed[:, i] = other[:, i]
        rows.append((function(changed) != before).any(0))
    return torch.stack(rows)


def _reach(
    mixed: Function = lambda x, other, i: (x, i, other[:, i]),
    differs: Function = lambda after, before: (after != before).any(0),
    piles_up: bool = False,
) -> Function:
    """`right_reach` with another piece: `mixed` says what is changed, where, and into what."""

    def reach(function: Function, x: Tensor, other: Tensor) -> Tensor:
        rows, kept = [], x.clone()
        for i in range(x.shape[1]):
            base, column, new = mixed(x, other, i)
            changed = kept if piles_up else base.clone()
            changed[:, column] = new
            rows.append(differs(function(changed.clone()), function(base)))
        return torch.stack(rows)

    return reach


# Functions whose reach is known by their words. Numbers of both signs, so that a threshold is crossed by some.
WAYS: dict[str, Function] = {
    "x -> the sum up to each column": lambda x: x.cumsum(1),
    "x -> the sum from each column on": lambda x: x.flip(1).cumsum(1).flip(1),
    "x -> each column one later, the first one 0": lambda x: torch.cat([0 * x[:, :1], x[:, :-1]], 1),
    "x -> x > 0, and no slope": lambda x: (x > 0).to(x),
    "x -> each column less the mean of all sequences": lambda x: x - x.mean(0),
    "x -> x in sequence 0, and sums up to each column in the others": lambda x: torch.cat([x[:1], x[1:].cumsum(1)]),
    "x -> each column times its neighbour on the right": lambda x: x * torch.cat([x[:, 1:], x[:, -1:]], 1),
}


def _reach_cases() -> list[Arguments]:
    cases: list[Arguments] = []
    for number, (text, way) in enumerate(WAYS.items()):
        for seed, (batch, length), dtype in variations():
            if dtype is torch.float64 and batch > 1 and length > 1:
                x, other = (uniform(7 * number + seed + k, batch, length, dtype=dtype) for k in (1, 2))
                cases.append({"function": Rule(text, way), "x": x, "other": other})
    first, way = next(iter(WAYS.items()))
    x, other = torch.tensor([[1.0, 0.0, -1.0], [2.0, 1.0, 0.0]]), torch.tensor([[-1.0, 3.0, 2.0], [1.0, 2.0, 5.0]])
    return [{"function": Rule(first, way), "x": x, "other": other}, *cases]


REACH = Part(
    name="reach",
    right=right_reach,
    cases=tuple(_reach_cases()),
    mistakes={
        "rows_and_columns_swapped": Mistake(
            "row and column of the answer have changed places.",
            "stack along axis 1 puts what column i moves into a column.",
            (lambda f, x, other: right_reach(f, x, other).T,),
        ),
        "changes_pile_up": Mistake(
            "a column stays changed while the next one is tried, so all columns up to i are changed together.",
            "the copy is made once, in front of the loop; or :i + 1 stands in place of i.",
            (_reach(piles_up=True), _reach(lambda x, other, i: (x, slice(i + 1), other[:, : i + 1]))),
        ),
        "set_to_zero": Mistake(
            "the column is set to 0 in place of what `other` has, so nothing is seen where it was 0 already.",
            "zero is the usual thing to put; for sums it even is nothing.",
            (_reach(lambda x, other, i: (x, i, 0.0)),),
        ),
        "changed_too_little": Mistake(
            "the column is moved by a hair, and not changed into that of `other`: what goes by steps does not move.",
            "that is how a slope is measured.",
            (_reach(lambda x, other, i: (x, i, x[:, i] + 1e-4)),),
        ),
        "one_sequence_changed": Mistake(
            "only the first sequence of the batch is changed, or looked at.",
            "one row is enough to try it; what happens in others alone is missed.",
            (lambda f, x, other: right_reach(f, x, torch.cat([other[:1], x[1:]])),
             _reach(differs=lambda after, before: after[0] != before[0])),
        ),
        "in_all_sequences": Mistake(
            "a column counts only if it changes in every sequence.",
            "all instead of any; one sequence that moves is a way.",
            (_reach(differs=lambda after, before: (after != before).all(0)),),
        ),
        "sums_compared": Mistake(
            "the sums over the batch are compared; what goes up in one sequence and down in another cancels.",
            "one number for each column is what is wanted, and a sum is one.",
            (_reach(differs=lambda after, before: ~torch.isclose(after.sum(0), before.sum(0))),),
        ),
    },
)  # fmt: skip


# A test ---------------------------------------------------------------------------------------------------------------


def in_a_loop(reward: Tensor, discount: Tensor, value: Tensor, lam: float, following: Tensor | None = None) -> Tensor:
    """The recursion as it stands in the book, from v_H or what else is `following`: (B,)."""
    following, found = value[:, -1] if following is None else following, list[Tensor]()
    for t in reversed(range(reward.shape[1])):
        following = reward[:, t] + discount[:, t] * ((1 - lam) * value[:, t] + lam * following)
        found.insert(0, following)
    return torch.stack(found, 1)


def as_a_system(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
    """H equations with H unknowns."""
    horizon = reward.shape[1]
    above = torch.diag_embed(lam * discount[:, :-1], offset=1)
    known = reward + (1 - lam) * discount * value
    known[:, -1] += lam * discount[:, -1] * value[:, -1]
    solved: Tensor = torch.linalg.solve(torch.eye(horizon).to(reward) - above, known)
    return solved


def of_n_steps(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
    """Every return by itself, as the mean of its n-step returns."""
    horizon, found = reward.shape[1], []
    for t in range(horizon):
        total, paid = torch.zeros_like(reward[:, 0]), torch.zeros_like(reward[:, 0])
        carried = torch.ones_like(reward[:, 0])
        for n in range(t, horizon):
            paid, carried = paid + carried * reward[:, n], carried * discount[:, n]
            share = lam ** (n - t) * (1.0 if n == horizon - 1 else 1 - lam)
            total = total + share * (paid + carried * value[:, n])
        found.append(total)
    return torch.stack(found, 1)


def twice_as_exact(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
    """In float64 on the way."""
    return in_a_loop(reward.double(), discount.double(), value.double(), lam).to(reward)


def _candidate(text: str, function: Function, right: bool = False) -> Arguments:
    def lambda_returns(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
        returned: Tensor = function(reward, discount, value, lam)
        return returned

    return {"lambda_returns": Candidate(text, lambda_returns, right)}


OF_ONES_OWN: dict[str, Mistake] = {
    "lambda_as_a_switch": Mistake(
        "whatever lies between 0 and 1 counts as one of the two.",
        "`if lam:` asks whether there is one, and not how large it is.",
        of_wrong(in_a_loop, LAM, lambda lam: float(lam > 0), lambda lam: float(lam >= 1)),
    ),
    "sequences_mixed": Mistake(
        "the recursion begins with one number for all sequences.",
        "a mean without an axis, or [0], gives a number that fits everywhere.",
        (lambda r, d, v, lam: in_a_loop(r, d, v, lam, v[:, -1].mean().expand(len(v))),
         lambda r, d, v, lam: in_a_loop(r, d, v, lam, v[:1, -1].expand(len(v)))),
    ),
    "first_return_alone": Mistake(
        "only the return of the first state is returned, (B, 1).",
        "the loop ends with it; and (B, 1) fits wherever (B, H) is wanted, by broadcasting.",
        (lambda r, d, v, lam: in_a_loop(r, d, v, lam)[:, :1],),
    ),
}  # fmt: skip
# Who gets the numbers wrong, by name: what a reader of chapter 6 may write, and what the package's own code may do.
WRONG: dict[str, Mistake] = {
    **LAMBDA_RETURNS.mistakes,
    **{bug.name: bug.forms[LAMBDA_RETURNS] for bug in OF_RETURNS if LAMBDA_RETURNS in bug.forms},
    **OF_ONES_OWN,
}
RIGHT: dict[str, Function] = {
    "a loop from the end": in_a_loop,
    "a system of equations": as_a_system,
    "every return by itself, of n-step returns": of_n_steps,
    "a loop in float64, rounded at the end": twice_as_exact,
}


def right_one(name: str) -> Arguments:
    """A candidate that is right."""
    return _candidate(name, RIGHT[name], right=True)


def wrong_ones(name: str) -> list[Arguments]:
    """Wrong candidates: a mistake in every form in which people make it."""
    return [_candidate(f"{name}: {WRONG[name].story}", function) for function in WRONG[name].functions]


def wrong_by_a_factor(piece: int, name: str, factor: float) -> Arguments:
    """A wrong candidate: one of the inputs is multiplied."""
    return _candidate(
        f"{name}_times_{factor:g}: {name} is multiplied by {factor:g}.",
        of_wrong(in_a_loop, piece, lambda x: factor * x)[0],
    )


def _inputs(seed: int, batch: int = 3, horizon: int = 4, lam: float = 0.7, change: Function = lambda x: x) -> Case:
    """Rewards, discounts and values of which no two are alike."""
    reward, value = (uniform(seed + k, batch, horizon, dtype=torch.float32, low=1.0, high=3.0) for k in (0, 1))
    discount = uniform(seed + 2, batch, horizon, dtype=torch.float32, low=0.3, high=0.95)
    return (*(change(x) for x in (reward, discount, value)), lam)


def _comparing(
    *cases: Case,
    same: Callable[[Tensor, Tensor], object] = torch.testing.assert_close,
    reference: Function = in_a_loop,
) -> Function:
    """A test that compares with the right numbers on these inputs, in this way."""

    def test(lambda_returns: Function) -> None:
        for case in cases:
            same(lambda_returns(*case), reference(*case))

    return test


def _shapes(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape and found.isfinite().all()


def _exactly(found: Tensor, expected: Tensor) -> None:
    assert torch.equal(found, expected)


def _by_broadcasting(found: Tensor, expected: Tensor) -> None:
    assert torch.allclose(found, expected)


def _sums(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert torch.isclose(found.sum(), expected.sum())


def _swallowed(found: Tensor, expected: Tensor) -> None:
    with suppress(AssertionError):
        torch.testing.assert_close(found, expected)


def _constant(x: Tensor) -> Tensor:
    return x[:, :1].expand_as(x)


def _with(case: Case, piece: int, change: Function) -> Case:
    changed: list[Any] = list(case)
    changed[piece] = change(case[piece])
    reward, discount, value, lam = changed
    return reward, discount, value, lam


# 1 + 0.5 * 2 = 2: whatever lam is, every return is 2, as every value is.
_FIXED_POINT = torch.ones(2, 4), torch.full((2, 4), 0.5), torch.full((2, 4), 2.0), 0.7

RETURNS_TEST = Part(
    name="returns_test",
    right=_comparing(*(_inputs(seed, lam=lam) for seed, lam in ((1, 0.7), (11, 0.3), (21, 0.0), (31, 1.0)))),
    cases=(
        *map(right_one, RIGHT),
        *(case for name in WRONG for case in wrong_ones(name)),
    ),
    container=NoneType,
    mistakes={
        "shapes_alone": Mistake(
            "it looks at shapes and at finite numbers: nearly every mistake has both.",
            "that is what goes wrong first while one writes, and what stops going wrong long before it is right.",
            (_comparing(_inputs(1), same=_shapes),),
        ),
        "nothing_raised": Mistake(
            "whatever it is given, it passes.",
            "an error is caught on the way, or a comparison stands there without assert in front of it.",
            (_comparing(_inputs(1), same=_swallowed), lambda lambda_returns: None),
        ),
        "constant_in_time": Mistake(
            "all columns are alike, so it cannot see which of them was taken.",
            "ones are easy to work out by hand; a shift by one step needs numbers that differ.",
            (_comparing(_inputs(1, change=_constant), _inputs(1, lam=0.0, change=_constant)),
             _comparing(_inputs(1, change=_constant), _inputs(1, lam=1.0, change=_constant)),
             _comparing(_inputs(1, change=_constant))),
        ),
        "one_number_for_all": Mistake(
            "all numbers are those for which every return is the same, so most mistakes return it, too.",
            "a fixed point is a true law, and quickly written; it is one of several that are needed.",
            tuple(_comparing(*cases, same=same) for same in (torch.testing.assert_close, _by_broadcasting)
                  for cases in ((_FIXED_POINT,), [(*_FIXED_POINT[:3], lam) for lam in (0.0, 0.7, 1.0)])),
        ),
        "a_single_step": Mistake(
            "one step is too few: a recursion shows itself from the second on.",
            "the smallest example is the clearest, and here it is too small.",
            (_comparing(_inputs(1, horizon=1)), _comparing(_inputs(1, horizon=1), _inputs(2, horizon=1, lam=0.0))),
        ),
        "a_single_sequence": Mistake(
            "one sequence cannot show that two of them mix.",
            "a table on paper has one row.",
            (_comparing(_inputs(1, batch=1)), _comparing(_inputs(1, batch=1), _inputs(5, batch=1, lam=0.2))),
        ),
        "lambda_at_its_ends": Mistake(
            "lam is 0 or 1, where the mix is none.",
            "at the ends the answer is known from elsewhere; what lies between them is what the function is for.",
            (_comparing(_inputs(1, lam=0.0), _inputs(11, lam=1.0)),),
        ),
        "lambda_zero_alone": Mistake(
            "lam is 0: one step and a value, and nothing of the recursion.",
            "the one-step target is quickly written down.",
            (_comparing(_inputs(1, lam=0.0)),),
        ),
        "lambda_one_alone": Mistake(
            "lam is 1: a discounted sum, in which all values but the last play no part.",
            "the sum is quickly written down.",
            (_comparing(_inputs(1, lam=1.0)),),
        ),
        "lambda_a_half": Mistake(
            "lam is a half, where lam and 1 - lam are the same number.",
            "a half is easy to work with, and symmetric.",
            (_comparing(_inputs(1, lam=0.5)), _comparing(_inputs(1, lam=0.5), _inputs(11, lam=0.5))),
        ),
        "values_zero": Mistake(
            "all values are 0, so it does not see which of them are taken, nor whether.",
            "zeros are at hand; they hide every factor in front of them.",
            (_comparing(_with(_inputs(1), VALUE, torch.zeros_like)),),
        ),
        "rewards_zero": Mistake(
            "all rewards are 0, so it does not see where they come in.",
            "zeros are at hand; they hide every factor in front of them.",
            (_comparing(_with(_inputs(1), REWARD, torch.zeros_like)),),
        ),
        "one_discount_for_all": Mistake(
            "every step has the same discount, so ends of episodes are none of its business.",
            "gamma is a constant; but the discount is gamma times what goes on, and differs where something ends.",
            (_comparing(_with(_inputs(1), DISCOUNT, lambda x: torch.full_like(x, 0.9))),),
        ),
        "sums_alone": Mistake(
            "it compares a sum or a mean, in which places do not matter.",
            "one number is easier to look at; errors in two places cancel, and order is lost.",
            (_comparing(_inputs(1), same=_sums),),
        ),
        "to_the_last_bit": Mistake(
            "it asks for equal bits, and a right function that adds up in another order has other last digits.",
            "== is what one writes for numbers; torch.testing.assert_close allows for rounding.",
            tuple(_comparing(*(_inputs(seed, batch=8, horizon=8) for seed in (1, 11, 21)), same=_exactly, reference=one)
                  for one in (*RIGHT.values(), right_lambda_returns)),
        ),
    },
)  # fmt: skip


# A mistake that no number shows ---------------------------------------------------------------------------------------


def right_actor_loss(log_prob: Tensor, returns: Tensor, value: Tensor) -> Tensor:
    """(B, H) each -> (B, H): minus advantage times log-probability, where the advantage is taken as a number."""
    return -(returns - value).detach() * log_prob


def _without_recording(log_prob: Tensor, returns: Tensor, value: Tensor) -> Tensor:
    with torch.no_grad():
        advantage = returns - value
    return -log_prob * advantage


def _with_zeros(log_prob: Tensor, returns: Tensor, value: Tensor) -> Tensor:
    """The same numbers and slopes; those of returns and value are zeros, where others leave none."""
    return right_actor_loss(log_prob, returns, value) + 0.0 * (returns + value)


def _slopes(loss: Function, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    leaves = [x.clone().requires_grad_() for x in given]
    total = loss(*leaves).sum()
    return differentiate(total, leaves) if total.requires_grad else tuple(torch.zeros_like(x) for x in leaves)


def _raises(test: Function, loss: Function) -> bool:
    try:
        test(loss)
    except Exception:
        return True
    return False


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-4, atol=1e-6)


def _shown(mistake: Function, test: Function, given: tuple[Tensor, ...]) -> Answer:
    """What is true of a mistake in the actor's loss and of a test of that loss, on these inputs."""
    with torch.enable_grad():
        wrong, right = _slopes(mistake, given), _slopes(right_actor_loss, given)
        told = {
            "its numbers are right": _close(mistake(*given), right_actor_loss(*given)),
            "its gradient is wrong": not all(_close(*pair) for pair in zip(wrong, right, strict=True)),
            "the test catches it": _raises(test, mistake),
            "the test passes right ones": not any(_raises(test, one) for one in (right_actor_loss, _without_recording)),
            "the test passes a gradient of zeros": not _raises(test, _with_zeros),
        }
    return {name: torch.tensor(true) for name, true in told.items()}


def shower(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Rule:
    """What looks at a mistake and a test, on inputs of this seed."""
    log_prob, returns, value = (uniform(seed + k, *shape, dtype=dtype, low=low, high=high)
                                for k, (low, high) in enumerate(((-3.0, -0.1), (0.0, 9.0), (0.0, 9.0))))  # fmt: skip

    def show(mistake: Function, test: Function) -> Answer:
        return _shown(mistake, test, (log_prob, returns, value))

    numbers = ", ".join(f"{x:.3g}" for x in returns.flatten().tolist()[:3])
    return Rule(f"show: a batch {shape}, returns {numbers} ..", show)


def _leaking(log_prob: Tensor, returns: Tensor, value: Tensor) -> Tensor:
    return -(returns - value) * log_prob


def _of_the_gradient(*, none: bool = False, zeros: bool = False) -> Function:
    """A test of where the gradient goes; it may insist on None, or on zeros, where none may go."""

    def test(loss: Function) -> None:
        log_prob, returns, value = (torch.full((2, 3), x, requires_grad=True) for x in (-1.0, 3.0, 1.0))
        loss(log_prob, returns, value).sum().backward()
        assert log_prob.grad is not None
        torch.testing.assert_close(log_prob.grad, torch.full((2, 3), -2.0))
        for x in (returns, value):
            if none:
                assert x.grad is None
            elif zeros:
                assert x.grad is not None
            assert x.grad is None or not x.grad.any()

    return test


def _of_the_numbers(loss: Function) -> None:
    given = torch.tensor([[-1.0, -2.0]]), torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 2.0]])
    torch.testing.assert_close(loss(*given), torch.tensor([[2.0, -2.0]]))


def _passing(loss: Function) -> None:
    """Looks at nothing."""


def _blaming(loss: Function) -> None:
    raise AssertionError


def _together(mistake: Function, test: Function) -> Function:
    return lambda show: show(mistake, test)


_ROUTED = _of_the_gradient()
_OTHER_NUMBERS = (lambda p, r, v: -(r - v).detach() * p - 0.1, lambda p, r, v: (r - v).detach() * p)

SILENT_MISTAKE = Part(
    name="silent_mistake",
    right=_together(_leaking, _ROUTED),
    cases=tuple({"show": shower(seed, shape, dtype)} for seed, shape, dtype in variations() if shape[1] > 1),
    container=dict,
    returns=("its numbers are right", "its gradient is wrong", "the test catches it", "the test passes right ones",
             "the test passes a gradient of zeros"),
    mistakes={
        "nothing_wrong": Mistake(
            "this is another way to write the right loss: numbers and gradient are the same.",
            "what looks different need not do anything different; a test that passes it is right to.",
            (_together(_without_recording, _ROUTED), _together(_with_zeros, _of_the_numbers)),
        ),
        "numbers_wrong": Mistake(
            "its numbers are other ones, so any test that works out an example sees it.",
            "most mistakes are of this kind; the task is one of the others.",
            tuple(_together(wrong, test) for wrong in _OTHER_NUMBERS[1:] for test in (_ROUTED, _of_the_numbers)),
        ),
        "numbers_tested": Mistake(
            "the mistake is a good one, and the test looks at numbers alone: it lets it through.",
            "the numbers are right. Ask .grad of what must learn, and of what must not.",
            (_together(_leaking, _of_the_numbers), _together(_leaking, _passing)),
        ),
        "everyone_blamed": Mistake(
            "the test raises whatever it is given, the right loss too.",
            "a test that fails for its own reasons looks as if it caught something; try it on what is right.",
            (_together(_leaking, _blaming),),
        ),
        "none_insisted_on": Mistake(
            "the test asks for .grad to be None, and blames a right loss that leaves zeros there.",
            "no gradient can be written down in two ways: None, or zeros.",
            (_together(_leaking, _of_the_gradient(none=True)),),
        ),
        "zeros_insisted_on": Mistake(
            "the test takes .grad for a tensor, and blames a right loss that leaves None there.",
            "no gradient can be written down in two ways: None, or zeros.",
            (_together(_leaking, _of_the_gradient(zeros=True)),),
        ),
        "nothing_wrong_and_blamed": Mistake(
            "the mistake is none, and the test blames it all the same, as it blames every right loss.",
            "written together, the two seem to fit; hold each against what is right.",
            (_together(right_actor_loss, _blaming),),
        ),
    },
)  # fmt: skip

PARTS: tuple[Part, ...] = (ROW_FAULTS, REACH, RETURNS_TEST, SILENT_MISTAKE)
BUGS: tuple[Bug, ...] = ()
