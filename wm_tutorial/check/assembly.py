"""Checks of chapter 12: what the whole agent has and the parts before it have not."""

from wm_tutorial.check.diagnosis import examine
from wm_tutorial.mistakes.assembly import REPLAY_RETURNS, SLOW_UPDATE, WRITE_BACK
from wm_tutorial.mistakes.optim import CLIP_BY_SHARE, LAPROP
from wm_tutorial.mistakes.part import Function


def replay_returns(function: Function) -> bool:
    """Check `replay_returns(reward, is_last, is_terminal, bootstrap, gamma, lam)`: returns of real rows.

    reward       (B, T) r_0 .. r_{T-1}, on arriving in each row
    is_last      (B, T) bool, an episode ends in this row, for whatever reason
    is_terminal  (B, T) bool, it ended because nothing more can be earned
    bootstrap    (B, T) what was imagined to be earned after each row
    gamma, lam   numbers from 0 to 1
    ->           (B, T - 1) R_0 .. R_{T-2}; what stands in a row that is last does not matter

    check.replay_returns(my_replay_returns)
    """
    return examine(REPLAY_RETURNS, function)


def slow_update(function: Function) -> bool:
    """Check `slow_update(slow, critic, rate)`: one tensor of the slow critic, a step nearer to the critic's.

    slow    any shape, of the slow critic
    critic  the same shape, of the critic
    rate    how far it moves, in 0..1
    ->      the same shape, without gradient

    check.slow_update(my_slow_update)
    """
    return examine(SLOW_UPDATE, function)


def clip_by_share(function: Function) -> bool:
    """Check `clip_by_share(gradient, parameter, clip, smallest)`: a gradient no longer than a share of its parameter.

    gradient   any shape
    parameter  the same shape
    clip       the share
    smallest   a parameter shorter than this counts as this long
    ->         the gradient, its length at most clip * max(smallest, length of the parameter)

    check.clip_by_share(my_clip_by_share)
    """
    return examine(CLIP_BY_SHARE, function)


def laprop(function: Function) -> bool:
    """Check `laprop(gradient, average, square, updates, betas, eps)`: one step of LaProp.

    gradient  any shape
    average   the same shape, of the gradients so far, each divided by its size
    square    the same shape, the average of their squares
    updates   1 in the first update
    betas     the shares of average and square that stay
    eps       added to the root of the square
    ->        direction, new average, new square; the parameter then loses lr * direction

    check.laprop(my_laprop)
    """
    return examine(LAPROP, function)


def write_back(function: Function) -> bool:
    """Check `write_back(stored, number, added, states)`: newer states, in the places of those that a replay holds.

    stored  (L, D) a ring: row n lies at position n % L
    number  (B, T) whole numbers, the rows of a batch, no row twice
    added   how many rows were ever added; the ring holds the newest L of them
    states  (B, T, D) newer states of these rows
    ->      (L, D) the ring with them, except for rows that it no longer holds; without gradient

    check.write_back(my_write_back)
    """
    return examine(WRITE_BACK, function)
