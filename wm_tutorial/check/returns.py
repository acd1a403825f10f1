"""n-step returns, and the weights with which lambda mixes them."""

from typing import Any

import torch
from torch import Tensor

from wm_tutorial import returns
from wm_tutorial.check.diagnosis import examine
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part
from wm_tutorial.parts import Replacement
from wm_tutorial.returns import lambda_returns as right_lambda_returns

# Lambda returns -------------------------------------------------------------------------------------------------------


def _backwards(mix: Function, bootstrap: Function = lambda value: value[:, -1]) -> Function:
    """R_t = mix(r, d, v, lam, R_{t+1}), with the given beginning."""

    def returns(reward: Tensor, discount: Tensor, value: Tensor, lam: float | Tensor) -> Tensor:
        lams = torch.as_tensor(lam).to(reward).expand_as(reward)  # the package has one of its own for some steps
        following, out = bootstrap(value), []
        for t in reversed(range(reward.shape[1])):
            following = mix(reward[:, t], discount[:, t], value[:, t], lams[:, t], following)
            out.append(following)
        return torch.stack(out[::-1], 1)

    return returns


def _right_mix(r: Tensor, d: Tensor, v: Tensor, lam: float | Tensor, following: Tensor) -> Tensor:
    return r + d * ((1 - lam) * v + lam * following)


def _with(change: Function) -> Function:
    """Right returns of wrong inputs."""
    return lambda reward, discount, value, lam: right_lambda_returns(*change(reward, discount, value, lam))


def _later(x: Tensor, first: Tensor) -> Tensor:
    """Every column one step later: column t becomes what t - 1 was."""
    return torch.cat([first, x[:, :-1]], 1)


def _sooner(x: Tensor, last: Tensor) -> Tensor:
    return torch.cat([x[:, 1:], last], 1)


def _forwards(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
    following, out = value[:, -1], []
    for t in range(reward.shape[1]):
        following = _right_mix(reward[:, t], discount[:, t], value[:, t], lam, following)
        out.append(following)
    return torch.stack(out, 1)


def _departing_value_and_lost_reward(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
    left = _later(value, torch.zeros_like(value[:, :1]))
    following, out = value[:, -1], []
    for t in reversed(range(reward.shape[1])):
        following = (1 - lam) * left[:, t] + lam * (reward[:, t] + discount[:, t] * following)
        out.append(following)
    return torch.stack(out[::-1], 1)


def _last_value_for_last_return(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
    out = [value[:, -1]]
    for t in reversed(range(reward.shape[1] - 1)):
        out.append(_right_mix(reward[:, t], discount[:, t], value[:, t], lam, out[-1]))
    return torch.stack(out[::-1], 1)


def _departing_value(first: Function) -> Function:
    """v_t in the mix, the right bootstrap."""

    def returns(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
        left = _later(value, first(value[:, :1]))
        following, out = value[:, -1], []
        for t in reversed(range(reward.shape[1])):
            following = _right_mix(reward[:, t], discount[:, t], left[:, t], lam, following)
            out.append(following)
        return torch.stack(out[::-1], 1)

    return returns


def _returns_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    going_on = (uniform(seed + 2, *shape, dtype=dtype) < 1.2).to(dtype)
    going_on[:, 0] = 1.0
    return {
        "reward": uniform(seed, *shape, dtype=dtype),
        "discount": 0.9 * going_on * uniform(seed + 3, *shape, dtype=dtype, low=0.5, high=1.0),
        "value": uniform(seed + 1, *shape, dtype=dtype, low=-5.0, high=5.0),
        "lam": 0.95 - 0.02 * seed,
    }


def _in_the_package(function: Function) -> tuple[Replacement, ...]:
    """The names of a reader's arguments are free, those of the package's are not."""

    def lambda_returns(reward: Tensor, discount: Tensor, value: Tensor, lam: float | Tensor) -> Any:
        return function(reward, discount, value, lam)

    return (Replacement(returns, "lambda_returns", lambda_returns),)


LAMBDA_RETURNS = Part(
    name="lambda_returns",
    right=right_lambda_returns,
    place=_in_the_package,
    batched=("reward", "discount", "value"),
    cases=(
        {
            "reward": torch.tensor([[1.0, 4.0, 2.0, 0.0, 8.0]]),
            "discount": torch.tensor([[0.5, 0.5, 0.5, 0.0, 0.5]]),
            "value": torch.tensor([[8.0, 2.0, 4.0, 12.0, 16.0]]),
            "lam": 0.25,
        },
        *(_returns_case(seed, shape, dtype) for seed, shape, dtype in variations()),
        *(_returns_case(7, (3, 4), torch.float64) | {"lam": lam} for lam in (0.0, 1.0)),
    ),
    mistakes={
        "value_unshifted": Mistake(
            "the mix takes v_t, the value of the state that is left, in place of v_{t+1}.",
            "states and values are stored from t on, so the same index looks right; here column t of all three inputs "
            "belongs to the state arrived at.",
            (_departing_value(lambda first: first), _departing_value(torch.zeros_like),
             _with(lambda r, d, v, lam: (r, d, _later(v, v[:, :1]), lam)),
             _with(lambda r, d, v, lam: (r, d, _later(v, torch.zeros_like(v[:, :1])), lam))),
        ),
        "value_departing": Mistake(
            "v_t is mixed with the return that follows it, and only the share lam of each reward counts.",
            "(1 - lam) v_t + lam (r + d R) looks like the mix; but what it mixes must be two estimates of one state.",
            (_departing_value_and_lost_reward,),
        ),
        "value_one_too_far": Mistake(
            "the mix takes the value one column further, which is v_{t+2}.",
            "value[:, t + 1] is right for arrays that begin at the state that is left; these begin one later.",
            (_with(lambda r, d, v, lam: (r, d, _sooner(v, v[:, -1:]), lam)),
             _with(lambda r, d, v, lam: (r, d, _sooner(v, torch.zeros_like(v[:, -1:])), lam))),
        ),
        "reward_share_lost": Mistake(
            "only the share lam of each reward counts; the share 1 - lam of it is lost.",
            "lam is put in front of all that follows the value; the reward belongs in front of the bracket.",
            (_backwards(lambda r, d, v, lam, following: (1 - lam) * v + lam * (r + d * following)),
             _backwards(lambda r, d, v, lam, following: (1 - lam) * d * v + lam * (r + d * following)),
             _backwards(lambda r, d, v, lam, following: d * (1 - lam) * v + lam * r + d * lam * following)),
        ),
        "bootstrap_missing": Mistake(
            "nothing is expected beyond the horizon: the recursion begins with 0 and not with the last value.",
            "zero is the usual beginning of a sum.",
            (_backwards(_right_mix, lambda value: torch.zeros_like(value[:, -1])),
             _with(lambda r, d, v, lam: (r, d, torch.cat([v[:, :-1], torch.zeros_like(v[:, -1:])], 1), lam))),
        ),
        "bootstrap_early": Mistake(
            "the recursion begins with the value of the state before the last.",
            "one value per action is computed, so the last state reached is never valued.",
            (_backwards(_right_mix, lambda value: value[:, -2]),
             _with(lambda r, d, v, lam: (r, d, torch.cat([v[:, :-1], v[:, -2:-1]], 1), lam)),
             _with(lambda r, d, v, lam: (r, d, torch.cat([v[:, :-1], _later(v, 0 * v[:, :1])[:, -1:]], 1), lam))),
        ),
        "bootstrap_for_last_return": Mistake(
            "the last return is the last value itself; the last reward and discount are skipped.",
            "R_H = v_H is written into the last column, which is R_{H-1}.",
            (_last_value_for_last_return,),
        ),
        "time_reversed": Mistake(
            "time runs the wrong way: the returns come out in reverse order, or the loop runs forwards.",
            "the loop has to run from the end, and its list has to be turned round once more afterwards.",
            (lambda *given: right_lambda_returns(*given).flip(1), _forwards, lambda *given: _forwards(*given).flip(1),
             _with(lambda r, d, v, lam: (r.flip(1), d.flip(1), v.flip(1), lam))),
        ),
        "discount_missing": Mistake(
            "the future is not discounted, and goes on after an end.",
            "the discount is the only input that can be left out while everything keeps its size.",
            (_with(lambda r, d, v, lam: (r, torch.ones_like(d), v, lam)),),
        ),
        "continue_ignored": Mistake(
            "the discount is the same everywhere, so a future counts that comes after an end.",
            "a constant gamma is what the formula of an endless task has; here d = gamma * continue, 0 at an end.",
            (_with(lambda r, d, v, lam: (r, d.amax().expand_as(d), v, lam)),),
        ),
        "discount_departing": Mistake(
            "the discount is that of the state that is left; it must be that of the one arrived at.",
            "`done` is stored with the state it was noticed in, one row before.",
            (_with(lambda r, d, v, lam: (r, _later(d, d[:, :1]), v, lam)),
             _with(lambda r, d, v, lam: (r, _later(d, torch.ones_like(d[:, :1])), v, lam)),
             _with(lambda r, d, v, lam: (r, _later(d, d.amax().expand_as(d[:, :1])), v, lam))),
        ),
        "imagined_reward_departing": Mistake(
            "the reward is r_t, that of the state that is left; it must be r_{t+1}.",
            "r_t is what many textbooks call the reward for a_t.",
            (_with(lambda r, d, v, lam: (_later(r, r[:, :1]), d, v, lam)),
             _with(lambda r, d, v, lam: (_later(r, torch.zeros_like(r[:, :1])), d, v, lam))),
        ),
        "reward_one_too_far": Mistake(
            "the reward is taken one column further, which is r_{t+2}.",
            "reward[:, t + 1] is right for arrays that begin at the state that is left; these begin one later.",
            (_with(lambda r, d, v, lam: (_sooner(r, r[:, -1:]), d, v, lam)),
             _with(lambda r, d, v, lam: (_sooner(r, torch.zeros_like(r[:, -1:])), d, v, lam))),
        ),
        "reward_discounted": Mistake(
            "the reward on arriving is discounted too, once too often.",
            "the discount is put in front of all that comes later; but r_{t+1} comes at once.",
            (_backwards(lambda r, d, v, lam, following: d * (r + (1 - lam) * v + lam * following)),),
        ),
        "lambda_swapped": Mistake(
            "lam and 1 - lam are swapped.",
            "which of the two is the longer look ahead is easily forgotten: lam = 0 looks one step ahead.",
            (_with(lambda r, d, v, lam: (r, d, v, 1 - lam)),),
        ),
        "lambda_ignored": Mistake(
            "lam plays no part: this is the one-step target, or the sum of all rewards.",
            "one of the two ends of the mix is what other algorithms use.",
            (_with(lambda r, d, v, lam: (r, d, v, 0.0)), _with(lambda r, d, v, lam: (r, d, v, 1.0))),
        ),
    },
)  # fmt: skip


def lambda_returns(function: Function) -> bool:
    """Check `lambda_returns(reward, discount, value, lam)`: the returns of imagined steps.

    reward    (B, H) r_1 .. r_H, on arriving
    discount  (B, H) d_1 .. d_H, gamma times continue of the arriving state
    value     (B, H) v_1 .. v_H, of the arriving state; the last one is the bootstrap
    lam       a number from 0 to 1
    ->        (B, H) R_0 .. R_{H-1}, where R_t = r_{t+1} + d_{t+1} ((1 - lam) v_{t+1} + lam R_{t+1}) and R_H = v_H

    check.lambda_returns(my_lambda_returns)
    """
    return examine(LAMBDA_RETURNS, function)


# n-step returns -------------------------------------------------------------------------------------------------------


def right_n_step_return(reward: Tensor, discount: Tensor, value: Tensor, n: int) -> Tensor:
    """G_0^(n) (B,): n rewards, then the value of the state arrived at; arrays (B, H) of the arriving states."""
    total = value[:, n - 1]
    for j in reversed(range(n)):
        total = reward[:, j] + discount[:, j] * total
    return total


def _of(change: Function) -> Function:
    """The right return of wrong inputs."""
    return lambda reward, discount, value, n: right_n_step_return(*change(reward, discount, value, n))


def _one_later(x: Tensor, first: Tensor) -> Tensor:
    return torch.cat([first, x[:, :-1]], 1)


def _discounted_from_the_first(reward: Tensor, discount: Tensor, value: Tensor, n: int) -> Tensor:
    return discount[:, 0] * right_n_step_return(reward, _one_sooner(discount), value, n)


def _one_sooner(x: Tensor) -> Tensor:
    return torch.cat([x[:, 1:], x[:, -1:]], 1)


def _n_step_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    going_on = (uniform(seed + 2, *shape, dtype=dtype) < 1.2).to(dtype)
    going_on[:, 0] = 1.0
    return {
        "reward": uniform(seed, *shape, dtype=dtype),
        "discount": 0.9 * going_on,
        "value": uniform(seed + 1, *shape, dtype=dtype),
        "n": (shape[1] + 1) // 2,
    }


N_STEP_RETURN = Part(
    name="n_step_return",
    right=right_n_step_return,
    batched=("reward", "discount", "value"),
    cases=(
        {
            "reward": torch.tensor([[2.0, 8.0, 4.0, 6.0]]),
            "discount": torch.tensor([[0.5, 0.5, 0.25, 0.5]]),
            "value": torch.tensor([[4.0, 12.0, 16.0, 10.0]]),
            "n": 3,
        },
        *(_n_step_case(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "bootstrap_missing": Mistake(
            "the value after the last reward is missing: nothing is expected after n steps.",
            "a sum of n rewards is what the name says; what comes after them is the critic's part.",
            (_of(lambda r, d, v, n: (r, d, torch.zeros_like(v), n)),),
        ),
        "bootstrap_early": Mistake(
            "it goes on with the value of the state before the last one that is reached.",
            "n rewards end in s_n, and in an array that begins with s_1 that is column n - 1.",
            (_of(lambda r, d, v, n: (r, d, _one_later(v, v[:, :1]), n)),
             _of(lambda r, d, v, n: (r, d, _one_later(v, torch.zeros_like(v[:, :1])), n))),
        ),
        "one_step_short": Mistake(
            "one reward too few is summed.",
            "range(1, n) ends before n.",
            (_of(lambda r, d, v, n: (r, d, v, n - 1) if n > 1 else (0 * r, torch.ones_like(d), v, 1)),),
        ),
        "discount_missing": Mistake(
            "the future is not discounted, and goes on after an end.",
            "the discount is the only input that can be left out while everything keeps its size.",
            (_of(lambda r, d, v, n: (r, torch.ones_like(d), v, n)),),
        ),
        "continue_missing": Mistake(
            "the first discount is used for all steps, so rewards after an end count.",
            "gamma ** k is the formula of an endless task; here each step brings its own factor, 0 at an end.",
            (_of(lambda r, d, v, n: (r, d[:, :1].expand_as(d), v, n)),),
        ),
        "discounted_from_the_first": Mistake(
            "the first reward is discounted too, and every later one once too often or with the next step's factor.",
            "cumprod(discount) begins with d_1; but r_1 is multiplied by nothing, r_2 by d_1, r_3 by d_1 d_2.",
            (_discounted_from_the_first,
             lambda reward, discount, value, n:
                 (reward[:, :n] * discount[:, :n].cumprod(1)).sum(1) + discount[:, :n].prod(1) * value[:, n - 1]),
        ),
    },
)  # fmt: skip


def n_step_return(function: Function) -> bool:
    """Check `n_step_return(reward, discount, value, n)`: n rewards, then the critic.

    reward    (B, H) r_1 .. r_H, on arriving
    discount  (B, H) d_1 .. d_H, gamma times continue of the arriving state
    value     (B, H) v_1 .. v_H, of the arriving state
    n         from 1 to H
    ->        (B,) r_1 + d_1 r_2 + d_1 d_2 r_3 + .. + d_1 .. d_{n-1} r_n + d_1 .. d_n v_n

    check.n_step_return(my_n_step_return)
    """
    return examine(N_STEP_RETURN, function)


# The weights of lambda ------------------------------------------------------------------------------------------------


def right_lambda_weights(horizon: int, lam: float) -> Tensor:
    """How much the 1-step .. H-step returns count in the lambda return, (H,); they sum to 1."""
    weights = (1.0 - lam) * lam ** torch.arange(horizon, dtype=torch.float32)
    weights[-1] = lam ** (horizon - 1)
    return weights


def _geometric(first: float, horizon: int, lam: float) -> Tensor:
    return first * lam ** torch.arange(horizon, dtype=torch.float32)


def _normalised(horizon: int, lam: float) -> Tensor:
    weights = _geometric(1.0, horizon, lam)
    return weights / weights.sum()


LAMBDA_WEIGHTS = Part(
    name="lambda_weights",
    right=right_lambda_weights,
    cases=(
        {"horizon": 4, "lam": 0.5},
        *({"horizon": horizon, "lam": lam} for horizon, lam in ((5, 0.95), (15, 0.8), (3, 0.0), (3, 1.0), (1, 0.7))),
    ),
    mistakes={
        "rest_missing": Mistake(
            "the longest return has too little weight, so the weights do not sum to 1.",
            "(1 - lam) lam^(n-1) is the formula of an endless sum; at the horizon, all that is left goes to the last.",
            (lambda horizon, lam: _geometric(1.0 - lam, horizon, lam),),
        ),
        "normalised": Mistake(
            "the weights are divided by their sum; what is left over belongs to the longest return alone.",
            "dividing by the sum is the usual way to make weights sum to 1.",
            (_normalised,),
        ),
        "share_missing": Mistake(
            "the factor 1 - lam is missing, so the weights sum to more than 1.",
            "lam^(n-1) alone says how fast the weights fall.",
            (lambda horizon, lam: _geometric(1.0, horizon, lam),),
        ),
        "one_power_too_many": Mistake(
            "the powers begin with lam^1; the one-step return has the weight 1 - lam.",
            "n is counted from 1, its power from 0.",
            (lambda horizon, lam: _geometric((1.0 - lam) * lam, horizon, lam),
             lambda horizon, lam: torch.cat([_geometric((1.0 - lam) * lam, horizon - 1, lam),
                                             torch.tensor([lam**horizon])])),
        ),
        "lambda_swapped": Mistake(
            "lam and 1 - lam have changed places: the one-step return has the weight lam.",
            "which of the two trusts the critic is a convention; here lam = 0 does.",
            (lambda horizon, lam: right_lambda_weights(horizon, 1.0 - lam),),
        ),
        "reversed": Mistake(
            "the weights are in the other order: the first is that of the one-step return.",
            "the recursion runs from the end, and lists that were filled on the way lie the wrong way round.",
            (lambda horizon, lam: right_lambda_weights(horizon, lam).flip(0),),
        ),
    },
)  # fmt: skip


def lambda_weights(function: Function) -> bool:
    """Check `lambda_weights(horizon, lam)`: how much each n-step return counts in the lambda return of s_0.

    horizon  H, at least 1
    lam      a number from 0 to 1
    ->       (H,) float32, the weights of the returns of 1, 2, .. H steps

    check.lambda_weights(my_lambda_weights)
    """
    return examine(LAMBDA_WEIGHTS, function)
