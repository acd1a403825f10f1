"""n-step returns, and the weights with which lambda mixes them."""

import torch
from torch import Tensor

from wm_tutorial.check.asking import Arguments, Function, Mistake, Part
from wm_tutorial.check.diagnosis import examine
from wm_tutorial.check.inputs import uniform, variations

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


def _later(x: Tensor, first: Tensor) -> Tensor:
    return torch.cat([first, x[:, :-1]], 1)


def _discounted_from_the_first(reward: Tensor, discount: Tensor, value: Tensor, n: int) -> Tensor:
    return discount[:, 0] * right_n_step_return(reward, _sooner(discount), value, n)


def _sooner(x: Tensor) -> Tensor:
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
            (_of(lambda r, d, v, n: (r, d, _later(v, v[:, :1]), n)),
             _of(lambda r, d, v, n: (r, d, _later(v, torch.zeros_like(v[:, :1])), n))),
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
