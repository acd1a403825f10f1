"""Returns: R_t = r_{t+1} + d_{t+1} ((1 - lambda) v_{t+1} + lambda R_{t+1})."""

from typing import Any

import torch
from torch import Tensor

from wm_tutorial import returns
from wm_tutorial.actor_critic import ActorCritic
from wm_tutorial.data import Trajectory
from wm_tutorial.mistakes.bug import DREAMER_V3, GUIDE, Bug, Replaces, in_the_place_of
from wm_tutorial.mistakes.inputs import LATER, SOONER, going_on, uniform, variations
from wm_tutorial.mistakes.n_steps import (
    DISCOUNT,
    LAM,
    LAMBDA_WEIGHTS,
    N_STEP_RETURN,
    REWARD,
    VALUE,
    geometric,
    right_lambda_weights,
    right_n_step_return,
)
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part, of_wrong
from wm_tutorial.returns import lambda_returns as right_lambda_returns


def _ending(x: Tensor, last: Tensor) -> Tensor:
    """Another last column."""
    return torch.cat([x[:, :-1], last], 1)


# Lambda returns -------------------------------------------------------------------------------------------------------


def _mix(r: Tensor, d: Tensor, v: Tensor, lam: Tensor, following: Tensor) -> Tensor:
    return r + d * ((1 - lam) * v + lam * following)


def _mix_losing_reward(r: Tensor, d: Tensor, v: Tensor, lam: Tensor, following: Tensor) -> Tensor:
    return (1 - lam) * v + lam * (r + d * following)


def _backwards(
    mix: Function = _mix,
    bootstrap: Function = lambda value: value[:, -1],
    mixed: Function = lambda value: value,
) -> Function:
    """R_t = mix(r, d, v, lam, R_{t+1}), with the given beginning, and with v made of the values."""

    def returns(reward: Tensor, discount: Tensor, value: Tensor, lam: float | Tensor) -> Tensor:
        lams = torch.as_tensor(lam).to(reward).expand_as(reward)  # the package has one of its own for some steps
        following, v, out = bootstrap(value), mixed(value), []
        for t in reversed(range(reward.shape[1])):
            following = mix(reward[:, t], discount[:, t], v[:, t], lams[:, t], following)
            out.append(following)
        return torch.stack(out[::-1], 1)

    return returns


def _of_reversed(returns: Function) -> Function:
    return lambda reward, discount, value, lam: returns(reward.flip(1), discount.flip(1), value.flip(1), lam)


def _reversed(returns: Function) -> Function:
    return lambda *given: returns(*given).flip(1)


def _solved(links: Function, last: Function = lambda d, v, lam: lam * d * v) -> Function:
    """The returns as a linear system: `links` makes the matrix of lam d, `last` adds what is known of R_H."""

    def returns(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
        known = reward + (1 - lam) * discount * value
        known = _ending(known, known[:, -1:] + last(discount[:, -1:], value[:, -1:], lam))
        one = torch.eye(reward.shape[1], dtype=reward.dtype)
        solution: Tensor = torch.linalg.solve(one - links(lam * discount), known)
        return solution

    return returns


def _returns_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    return {
        "reward": uniform(seed, *shape, dtype=dtype),
        "discount": 0.9 * going_on(seed + 2, shape, dtype) * uniform(seed + 3, *shape, dtype=dtype, low=0.5, high=1.0),
        "value": uniform(seed + 1, *shape, dtype=dtype, low=-5.0, high=5.0),
        "lam": 0.95 - 0.02 * seed,
    }


def _in_the_package(function: Function) -> Replaces:
    return in_the_place_of(returns, "lambda_returns", function)


LAMBDA_RETURNS = Part(
    name="lambda_returns",
    right=right_lambda_returns,
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
        "value_one_too_far": Mistake(
            "the mix takes the value one column further, which is v_{t+2}.",
            "value[:, t + 1] is right for arrays that begin at the state that is left; these begin one later.",
            of_wrong(right_lambda_returns, VALUE, *SOONER),
        ),
        "bootstrap_for_last_return": Mistake(
            "the last return is the last value itself; the last reward and discount are skipped.",
            "R_H = v_H is written into the last column, which is R_{H-1}.",
            (lambda r, d, v, lam: right_lambda_returns(
                _ending(r, torch.zeros_like(r[:, -1:])), _ending(d, torch.ones_like(d[:, -1:])), v, lam),),
        ),
        "reward_one_too_far": Mistake(
            "the reward is taken one column further, which is r_{t+2}.",
            "reward[:, t + 1] is right for arrays that begin at the state that is left; these begin one later.",
            of_wrong(right_lambda_returns, REWARD, *SOONER),
        ),
        "reward_discounted": Mistake(
            "the reward on arriving is discounted too, once too often.",
            "the discount is put in front of all that comes later; but r_{t+1} comes at once.",
            (_backwards(lambda r, d, v, lam, following: d * (r + (1 - lam) * v + lam * following)),),
        ),
        "lambda_ignored": Mistake(
            "lam plays no part: this is the one-step target, or the sum of all rewards.",
            "one of the two ends of the mix is what other algorithms use.",
            of_wrong(right_lambda_returns, LAM, lambda lam: 0.0, lambda lam: 1.0),
        ),
        "link_discount_shifted": Mistake(
            "R_{t+1} is linked to R_t by d_{t+2}; all that follows r_{t+1} is discounted by d_{t+1}.",
            "of H discounts only H - 1 stand above the diagonal; the one to leave out is the last, not the first.",
            (_solved(lambda links: torch.diag_embed(links[:, 1:], offset=1)),),
        ),
        "links_on_the_diagonal": Mistake(
            "each return is linked to itself and not to the next one.",
            "diag_embed without an offset fills the diagonal itself.",
            (_solved(torch.diag_embed),),
        ),
        "links_below_the_diagonal": Mistake(
            "each return leans on the one before it: the links are below the diagonal, or the matrix is transposed.",
            "rows are equations, columns are unknowns: R_{t+1} in the equation of R_t is right of the diagonal.",
            (_solved(lambda links: torch.diag_embed(links[:, :-1], offset=-1)),
             _solved(lambda links: torch.diag_embed(links[:, 1:], offset=-1))),
        ),
        "links_added": Mistake(
            "the links have the other sign: what follows is taken away from a return.",
            "on one side of the equation with R_t, the term of R_{t+1} is negative.",
            (_solved(lambda links: -torch.diag_embed(links[:, :-1], offset=1)),),
        ),
        "last_value_in_part": Mistake(
            "what v_H adds to the last return is not lam d v_H.",
            "R_H = v_H is known, but in the last equation it keeps its factors lam and d.",
            (_solved(lambda links: torch.diag_embed(links[:, :-1], offset=1), lambda d, v, lam: d * v),
             _solved(lambda links: torch.diag_embed(links[:, :-1], offset=1), lambda d, v, lam: lam * v)),
        ),
        "one_share_undiscounted": Mistake(
            "only one of the two shares is discounted; d stands before the whole bracket.",
            "the bracket is multiplied out, and d is forgotten in one of its terms.",
            (_backwards(lambda r, d, v, lam, following: r + (1 - lam) * v + lam * d * following),
             _backwards(lambda r, d, v, lam, following: r + d * (1 - lam) * v + lam * following)),
        ),
        "share_missing": Mistake(
            "the value counts fully: its factor 1 - lam is missing, so the shares sum to more than 1.",
            "r + d v is the target of one step, and what lam adds is put on top of it.",
            (_backwards(lambda r, d, v, lam, following: r + d * (v + lam * following)),
             _backwards(lambda r, d, v, lam, following: r + d * (v + lam * following), lambda v: 0 * v[:, -1])),
        ),
        "reward_of_one_share": Mistake(
            "only the share 1 - lam of each reward counts.",
            "the one-step target r + d v is multiplied by 1 - lam as a whole; both shares are paid r.",
            (_backwards(lambda r, d, v, lam, following: (1 - lam) * (r + d * v) + lam * d * following),),
        ),
        "bootstrap_discounted": Mistake(
            "the recursion begins with d v_H; it is v_H, and the first step back discounts it.",
            "what comes later is worth less, but that is already in the formula.",
            (lambda r, d, v, lam: _backwards(bootstrap=lambda v: d[:, -1] * v[:, -1])(r, d, v, lam),),
        ),
        "bootstrap_from_the_front": Mistake(
            "the recursion begins with the first value, and it must be the last.",
            "value[:, 0] is the first that is at hand; the loop runs from the end.",
            (_backwards(bootstrap=lambda value: value[:, 0]),),
        ),
        "discount_cumulative": Mistake(
            "the discounts are multiplied up before the recursion, which does so itself.",
            "a sum of rewards needs d_1 d_2 ..; the recursion gathers one factor in each step.",
            of_wrong(right_lambda_returns, DISCOUNT, lambda d: d.cumprod(1)),
        ),
    },
)  # fmt: skip


# In the package -------------------------------------------------------------------------------------------------------

RETURNS = ActorCritic.returns

REWARD_SHARE_LOST = _backwards(lambda r, d, v, lam, following: d * (1 - lam) * v + lam * r + d * lam * following)
BOOTSTRAP_MISSING = _backwards(bootstrap=lambda value: torch.zeros_like(value[:, -1]))
TIME_REVERSED = _reversed(right_lambda_returns)
FORWARDS = _of_reversed(_backwards(bootstrap=lambda value: value[:, 0]))  # the returns come out in reverse order
LAMBDA_SWAPPED = of_wrong(right_lambda_returns, LAM, lambda lam: 1 - lam)


def _ending_early(value: Tensor) -> Tensor:
    """The last state reached is never valued: its place is taken by the value of the one before."""
    return _ending(value, value[:, -2:-1])


def mixing_departing_values(mix: Function) -> Replaces:
    """v_t takes the place of v_{t+1} in the mix; the bootstrap is right."""
    recursion = _backwards(mix, mixed=lambda value: value[:, :-1])

    def wrong(behaviour: ActorCritic, trajectory: Trajectory, value: Tensor) -> Any:
        config = behaviour.config
        return recursion(trajectory.reward, trajectory.discount(config.imagined_discount), value, config.lam)

    return ((ActorCritic, "returns", wrong),)


TABLE = "test_returns.py::test_worked_table"
ACTORS = "test_actor_critic.py::test_the_actors_loss_on_a_trajectory"
CRITICS = "test_actor_critic.py::test_the_critics_loss_on_a_trajectory"

PARTS = (LAMBDA_RETURNS, N_STEP_RETURN, LAMBDA_WEIGHTS)

BUGS = (
    Bug(
        name="value_departing",
        story="The lambda return mixes v_t where v_{t+1} belongs and loses (1 - lambda) of each reward.",
        symptom="A part of each value is its own target: the critic is slow, and advantages shrink by lambda.",
        innocent="The critic's loss: it fits the wrong target well.",
        source=f"{GUIDE}, imagined returns", breaks="returns.lambda_returns, R_t",
        caught_by=(ACTORS, CRITICS), replaces=mixing_departing_values(_mix_losing_reward),
        forms={LAMBDA_RETURNS: Mistake(
            "v_t is mixed with the return that follows it, and only the share lam of each reward counts.",
            "(1 - lam) v_t + lam (r + d R) looks like the mix; but what it mixes must be two estimates of one state.",
            (_backwards(_mix_losing_reward, mixed=LATER[1]),),
        )},
    ),
    Bug(
        name="bootstrap_early",
        story="The return bootstraps from the value before the last state.",
        symptom="The consequence of the last action is invisible; short horizons learn badly.",
        innocent="Every loss.",
        source=f"{GUIDE}, imagined returns", breaks="returns.lambda_returns, R_H",
        caught_by=(CRITICS,),
        replaces=((ActorCritic, "returns", lambda behaviour, trajectory, value:
            RETURNS(behaviour, trajectory, _ending_early(value))),),
        forms={
            LAMBDA_RETURNS: Mistake(
                "the recursion begins with the value of the state before the last.",
                "one value per action is computed, so the last state reached is never valued.",
                (_backwards(bootstrap=lambda value: value[:, -2]),
                 *of_wrong(right_lambda_returns, VALUE, _ending_early, lambda v: _ending(v, LATER[1](v)[:, -1:]))),
            ),
            N_STEP_RETURN: Mistake(
                "it goes on with the value of the state before the last one that is reached.",
                "n rewards end in s_n, and in an array that begins with s_1 that is column n - 1.",
                of_wrong(right_n_step_return, VALUE, *LATER),
            ),
        },
    ),
    Bug(
        name="value_unshifted",
        story="The lambda return mixes v_t where v_{t+1} belongs, because everything in the code has the index t.",
        symptom="A part of each value is its own future: wrong wherever values change, above all for small lambda.",
        innocent="The critic's loss: it fits the wrong target well.",
        source=f"{DREAMER_V3}181", breaks="returns.lambda_returns, v_{t+1}",
        caught_by=(ACTORS, CRITICS), replaces=mixing_departing_values(_mix),
        forms={LAMBDA_RETURNS: Mistake(
            "the mix takes v_t, the value of the state that is left, in place of v_{t+1}.",
            "states and values are stored from t on, so the same index looks right; here column t of all three inputs "
            "belongs to the state arrived at.",
            (*(_backwards(mixed=later) for later in LATER), *of_wrong(right_lambda_returns, VALUE, *LATER)),
        )},
    ),
    Bug(
        name="reward_share_lost",
        story="Only lambda of each reward is counted: it was put inside the bracket of the long return.",
        symptom="Values are too small by the factor lambda.",
        innocent="The critic's loss, and the policy wherever only the order of returns matters.",
        source=f"{GUIDE}, imagined returns", breaks="returns.lambda_returns, r_{t+1}",
        caught_by=(TABLE, "test_returns.py::test_a_constant_reward_and_its_fixed_point"),
        replaces=_in_the_package(REWARD_SHARE_LOST),
        forms={LAMBDA_RETURNS: Mistake(
            "only the share lam of each reward counts; the share 1 - lam of it is lost.",
            "lam is put in front of all that follows the value; the reward belongs in front of the bracket.",
            (_backwards(_mix_losing_reward),
             _backwards(lambda r, d, v, lam, following: (1 - lam) * d * v + lam * (r + d * following)),
             REWARD_SHARE_LOST),
        )},
    ),
    Bug(
        name="bootstrap_missing",
        story="The recursion begins with 0, as if nothing could be earned after the horizon.",
        symptom="Values stop growing at about what fits into one horizon; nothing further away is ever sought.",
        innocent="The critic's loss, which is even lower.",
        source="https://github.com/danijar/dreamerv2/issues/25", breaks="returns.lambda_returns, R_H",
        caught_by=(TABLE, "test_returns.py::test_one_step_is_reward_plus_discounted_bootstrap_for_any_lam"),
        replaces=_in_the_package(BOOTSTRAP_MISSING),
        forms={
            LAMBDA_RETURNS: Mistake(
                "nothing is expected beyond the horizon: the recursion begins with 0 and not with the last value.",
                "zero is the usual beginning of a sum.",
                (BOOTSTRAP_MISSING,
                 *of_wrong(right_lambda_returns, VALUE, lambda v: _ending(v, torch.zeros_like(v[:, -1:])))),
            ),
            N_STEP_RETURN: Mistake(
                "the value after the last reward is missing: nothing is expected after n steps.",
                "a sum of n rewards is what the name says; what comes after them is the critic's part.",
                of_wrong(right_n_step_return, VALUE, torch.zeros_like),
            ),
        },
    ),
    Bug(
        name="time_reversed",
        story="The returns were computed from the last to the first, and are stacked in that order.",
        symptom="The first state is given the return of the last one.",
        innocent="Every loss; where returns hardly change over a horizon even the values.",
        source="https://github.com/danijar/dreamerv3/issues/102",
        breaks="returns.lambda_returns, R_0 .. R_{H-1}",
        caught_by=(TABLE, "test_returns.py::test_column_t_reaches_the_returns_up_to_t_and_no_later_one"),
        replaces=_in_the_package(TIME_REVERSED),
        forms={LAMBDA_RETURNS: Mistake(
            "time runs the wrong way: the returns come out in reverse order, or the loop runs forwards.",
            "the loop has to run from the end, and its list has to be turned round once more afterwards.",
            (TIME_REVERSED, _reversed(FORWARDS), FORWARDS, _of_reversed(right_lambda_returns)),
        )},
    ),
    Bug(
        name="lambda_swapped",
        story="lambda and 1 - lambda have changed places.",
        symptom="Almost everything rests on the critic's next value; rewards travel back one step per update.",
        innocent="The critic's loss, which is lower: one-step targets are smooth.",
        source="https://github.com/Eclectic-Sheep/sheeprl/issues/302",
        breaks="returns.lambda_returns, lambda",
        caught_by=(TABLE, "test_returns.py::test_lam_zero_looks_one_step_ahead"),
        replaces=_in_the_package(*LAMBDA_SWAPPED),
        forms={
            LAMBDA_RETURNS: Mistake(
                "lam and 1 - lam are swapped.",
                "which of the two is the longer look ahead is easily forgotten: lam = 0 looks one step ahead.",
                LAMBDA_SWAPPED,
            ),
            LAMBDA_WEIGHTS: Mistake(
                "lam and 1 - lam have changed places: the one-step return has the weight lam.",
                "which of the two trusts the critic is a convention; here lam = 0 does.",
                (lambda horizon, lam: right_lambda_weights(horizon, 1.0 - lam),
                 lambda horizon, lam: geometric(lam, horizon, 1.0 - lam)),
            ),
        },
    ),
)  # fmt: skip
