"""Checks of chapter 15: what must hold in rows, who depends on whom, a test, and a mistake that no number shows."""

from wm_tutorial.check.diagnosis import examine
from wm_tutorial.mistakes.part import Function
from wm_tutorial.mistakes.testing import REACH, RETURNS_TEST, ROW_FAULTS, SILENT_MISTAKE


def row_faults(function: Function) -> bool:
    """Check `row_faults(reward, is_first, is_last, is_terminal)`: what no stream of rows may hold, counted.

    reward       (R,) on arriving in each row
    is_first     (R,) bool, an episode begins
    is_last      (R,) bool, an episode ends
    is_terminal  (R,) bool, and nothing more could have been earned
    ->           (4,) int64, how many rows are first and paid (reward not 0); terminal and not last; first, and the row
                 before is not last; last, and the row after is not first. What is outside of the stream counts nothing.

    check.row_faults(my_row_faults)
    """
    return examine(ROW_FAULTS, function)


def reach(function: Function) -> bool:
    """Check `reach(function, x, other)`: which column of a result depends on which column of its input.

    function  a function: (B, T) -> (B, T)
    x         (B, T)
    other     (B, T) other numbers
    ->        (T, T) bool: row i, column j says whether column j of the result changes in any sequence once column i of
              x alone is that of other

    check.reach(my_reach)
    """
    return examine(REACH, function)


def returns_test(function: Function) -> bool:
    """Check `returns_test(lambda_returns)`: a test, tried on functions that are right, and on others that are wrong.

    lambda_returns  a function that is called as lambda_returns(reward, discount, value, lam): (B, H) each, and a number
    ->              nothing; it raises an AssertionError unless the function is right

    The right functions compute in different ways, so that last digits differ.

    check.returns_test(my_returns_test)
    """
    return examine(RETURNS_TEST, function)


def silent_mistake(function: Function) -> bool:
    """Check `silent_mistake(show)`: write a mistake and a test within, hand both to `show`, and return what it returns.

    show  a function: show(mistake, test) -> what is true of the two

    mistake(log_prob, returns, value), (B, H) each -> (B, H): the loss of an actor at each imagined step, which is
    -(returns - value) log_prob with gradient to log_prob alone. The mistake has its numbers, and another gradient.
    test(loss) raises if such a loss is wrong, and passes every right one.

    check.silent_mistake(my_silent_mistake)
    """
    return examine(SILENT_MISTAKE, function)
