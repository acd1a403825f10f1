"""Returns of n steps, and how much each counts in the lambda return."""

import torch
from torch import Tensor

from wm_tutorial.mistakes.inputs import SOONER, going_on, uniform, variations
from wm_tutorial.mistakes.part import Arguments, Mistake, Part, of_wrong

# Whatever the return is: (reward, discount, value, lam or n) ----------------------------------------------------------

REWARD, DISCOUNT, VALUE, LAM = range(4)


# n-step returns -------------------------------------------------------------------------------------------------------


def right_n_step_return(reward: Tensor, discount: Tensor, value: Tensor, n: int) -> Tensor:
    """G_0^(n) (B,): n rewards, then the value of the state arrived at; arrays (B, H) of the arriving states."""
    total = value[:, n - 1]
    for j in reversed(range(n)):
        total = reward[:, j] + discount[:, j] * total
    return total


def _n_step_sum(reward: Tensor, discount: Tensor, n: int) -> Tensor:
    """The n rewards of it, without the value."""
    return right_n_step_return(reward, discount, torch.zeros_like(reward), n)


def _n_step_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    return {
        "reward": uniform(seed, *shape, dtype=dtype),
        "discount": 0.9 * going_on(seed + 2, shape, dtype),
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
        "one_step_short": Mistake(
            "one reward too few is summed.",
            "range(1, n) ends before n.",
            (lambda r, d, v, n: right_n_step_return(r, d, v, n - 1) if n > 1 else v[:, 0],),
        ),
        "continue_missing": Mistake(
            "the first discount is used for all steps, so rewards after an end count.",
            "gamma ** k is the formula of an endless task; here each step brings its own factor, 0 at an end.",
            of_wrong(right_n_step_return, DISCOUNT, lambda d: d[:, :1].expand_as(d)),
        ),
        "discounted_from_the_first": Mistake(
            "the first reward is discounted too, and every later one once too often or with the next step's factor.",
            "cumprod(discount) begins with d_1; but r_1 is multiplied by nothing, r_2 by d_1, r_3 by d_1 d_2.",
            (lambda r, d, v, n: d[:, 0] * right_n_step_return(r, SOONER[0](d), v, n),
             lambda r, d, v, n: (r[:, :n] * d[:, :n].cumprod(1)).sum(1) + d[:, :n].prod(1) * v[:, n - 1]),
        ),
        "value_one_too_far": Mistake(
            "it goes on with the value of s_{n+1}; n rewards end in s_n.",
            "value[:, n] is v_n where arrays begin with s_0; here column 0 is v_1, so v_n is value[:, n - 1].",
            (lambda r, d, v, n: _n_step_sum(r, d, n) + d[:, :n].prod(1) * v[:, n],
             *of_wrong(right_n_step_return, VALUE, SOONER[0])),
        ),
        "value_undiscounted": Mistake(
            "the value at the end is not discounted; it comes n steps later.",
            "the factor is multiplied up for the rewards, and forgotten after the loop.",
            (lambda r, d, v, n: _n_step_sum(r, d, n) + v[:, n - 1],),
        ),
        "value_discounted_too_little": Mistake(
            "the value at the end has too few of its n discounts.",
            "r_n has n - 1 of them, and the value comes after it.",
            (lambda r, d, v, n: _n_step_sum(r, d, n) + d[:, : n - 1].prod(1) * v[:, n - 1],
             lambda r, d, v, n: _n_step_sum(r, d, n) + d[:, 0] * v[:, n - 1],
             lambda r, d, v, n: _n_step_sum(r, d, n) + d[:, n - 1] * v[:, n - 1]),
        ),
        "rewards_undiscounted": Mistake(
            "the rewards are not discounted, only the value is.",
            "a sum of rewards is quickly written; each waits longer than the one before.",
            (lambda r, d, v, n: r[:, :n].sum(1) + d[:, :n].prod(1) * v[:, n - 1],),
        ),
        "last_value": Mistake(
            "it goes on with the value at the horizon, whatever n is.",
            "value[:, -1] is where the whole sequence ends; n steps end in s_n.",
            of_wrong(right_n_step_return, VALUE, lambda v: v[:, -1:].expand_as(v)),
        ),
        "n_ignored": Mistake(
            "all rewards are summed, not n of them.",
            "the loop runs over reward.shape[1], as in other returns.",
            (lambda r, d, v, n: right_n_step_return(r, d, v, r.shape[1]),),
        ),
        "not_cumulative": Mistake(
            "each reward has one discount, its own step's, and not all up to it.",
            "r_3 waits for two steps: it is worth d_1 d_2, and an end before it must count.",
            (lambda r, d, v, n: r[:, 0] + (d[:, : n - 1] * r[:, 1:n]).sum(1) + d[:, n - 1] * v[:, n - 1],),
        ),
        "loop_forwards": Mistake(
            "the loop runs forwards, so the first reward is discounted most.",
            "walking back from the value, the last step comes first: reversed(range(n)).",
            (lambda r, d, v, n: right_n_step_return(r[:, :n].flip(1), d[:, :n].flip(1), v[:, :n], n),),
        ),
    },
)  # fmt: skip


# The weights of lambda ------------------------------------------------------------------------------------------------


def right_lambda_weights(horizon: int, lam: float) -> Tensor:
    """How much the 1-step .. H-step returns count in the lambda return, (H,); they sum to 1."""
    return _last(geometric(1.0 - lam, horizon, lam), lam ** (horizon - 1))


def geometric(first: float, horizon: int, lam: float) -> Tensor:
    """`first`, and lam times as much from one step to the next: (H,)."""
    return first * lam ** torch.arange(horizon, dtype=torch.float32)


def _last(weights: Tensor, last: float) -> Tensor:
    return torch.cat([weights[:-1], torch.tensor([last])])


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
            (lambda horizon, lam: geometric(1.0 - lam, horizon, lam),),
        ),
        "normalised": Mistake(
            "the weights are divided by their sum; what is left over belongs to the longest return alone.",
            "dividing by the sum is the usual way to make weights sum to 1.",
            (lambda horizon, lam: geometric(1.0, horizon, lam) / geometric(1.0, horizon, lam).sum(),
             lambda horizon, lam: geometric(1.0 - lam, horizon, lam) / geometric(1.0 - lam, horizon, lam).sum()),
        ),
        "share_missing": Mistake(
            "the factor 1 - lam is missing, so the weights sum to more than 1.",
            "lam^(n-1) alone says how fast the weights fall.",
            (lambda horizon, lam: geometric(1.0, horizon, lam),),
        ),
        "one_power_too_many": Mistake(
            "the powers begin with lam^1; the one-step return has the weight 1 - lam.",
            "n is counted from 1, its power from 0.",
            (lambda horizon, lam: geometric((1.0 - lam) * lam, horizon, lam),
             lambda horizon, lam: torch.cat([geometric((1.0 - lam) * lam, horizon - 1, lam),
                                             torch.tensor([lam**horizon])]),
             lambda horizon, lam: _last(geometric((1.0 - lam) * lam, horizon, lam), lam ** (horizon - 1))),
        ),
        "last_power_too_high": Mistake(
            "the last weight is lam^H; it must be lam^(H-1).",
            "H steps were taken, but at the last nobody decides to walk on: those who take it are lam^(H-1).",
            (lambda horizon, lam: _last(geometric(1.0 - lam, horizon, lam), lam**horizon),),
        ),
        "rest_in_the_wrong_amount": Mistake(
            "the last weight is not what the others leave over, so the weights do not sum to 1.",
            "the rest takes the place of the formula's last weight; it is not 1 and not added to it.",
            (lambda horizon, lam: _last(geometric(1.0 - lam, horizon, lam), 1.0),
             lambda horizon, lam: _last(geometric(1.0 - lam, horizon, lam), (2.0 - lam) * lam ** (horizon - 1))),
        ),
        "rest_as_one_more": Mistake(
            "there are H + 1 weights: the rest has a place of its own.",
            "who is still walking after H steps asks the critic there, with those who stop: one return, one weight.",
            (lambda horizon, lam: torch.cat([geometric(1.0 - lam, horizon, lam), torch.tensor([lam**horizon])]),),
        ),
        "reversed": Mistake(
            "the weights are in the other order: the first is that of the one-step return.",
            "the recursion runs from the end, and lists that were filled on the way lie the wrong way round.",
            (lambda horizon, lam: right_lambda_weights(horizon, lam).flip(0),),
        ),
    },
)  # fmt: skip
