"""Mistakes in R_t = r_{t+1} + d_{t+1} ((1 - lambda) v_{t+1} + lambda R_{t+1})."""

import torch
from torch import Tensor

from wm_tutorial.actor_critic import ActorCritic
from wm_tutorial.check.returns import LAMBDA_RETURNS
from wm_tutorial.config import Config
from wm_tutorial.data import Trajectory
from wm_tutorial.mistakes.bug import DREAMER_V3, GUIDE, Bug

RETURNS = ActorCritic.returns

TABLE = "test_returns.py::test_worked_table"


def returns_of_departing_values(behaviour: ActorCritic, trajectory: Trajectory, value: Tensor) -> Tensor:
    """The recursion mixes in v_t for v_{t+1}, and with it loses the share 1 - lambda of every reward."""
    discount, lam = trajectory.discount(behaviour.config.imagined_discount), behaviour.config.lam
    following, reached = value[:, -1], []
    for t in reversed(range(trajectory.reward.shape[1])):
        following = (1.0 - lam) * value[:, t] + lam * (trajectory.reward[:, t] + discount[:, t] * following)
        reached.append(following)
    return torch.stack(reached[::-1], dim=1)


def returns_bootstrapped_early(behaviour: ActorCritic, trajectory: Trajectory, value: Tensor) -> Tensor:
    """The last state reached is never valued: its place is taken by the value of the one before."""
    return RETURNS(behaviour, trajectory, torch.cat([value[:, :-1], value[:, -2:-1]], dim=1))


def returns_of_unshifted_values(behaviour: ActorCritic, trajectory: Trajectory, value: Tensor) -> Tensor:
    """v_t stands where v_{t+1} belongs; the bootstrap is right."""
    discount, lam = trajectory.discount(behaviour.config.imagined_discount), behaviour.config.lam
    following, reached = value[:, -1], []
    for t in reversed(range(trajectory.reward.shape[1])):
        following = trajectory.reward[:, t] + discount[:, t] * ((1.0 - lam) * value[:, t] + lam * following)
        reached.append(following)
    return torch.stack(reached[::-1], dim=1)


def discount_without_continue(trajectory: Trajectory, gamma: float) -> Tensor:
    """gamma alone."""
    return torch.full_like(trajectory.reward, gamma)


GAMMA_ONCE = "test_axes.py::test_gamma_is_either_in_the_continue_probability_or_beside_it"

BUGS = (
    Bug(
        name="value_departing",
        story="The lambda return mixes v_t where v_{t+1} belongs and loses (1 - lambda) of each reward.",
        symptom="A part of each value is its own target: the critic is slow, and advantages shrink by lambda.",
        innocent="The critic's loss: it fits the wrong target well.",
        source=f"{GUIDE}, imagined returns",
        breaks="returns.lambda_returns, R_t",
        caught_by=(
            "test_actor_critic.py::test_the_actors_loss_on_a_trajectory",
            "test_actor_critic.py::test_the_critics_loss_on_a_trajectory",
        ),
        replaces=((ActorCritic, "returns", returns_of_departing_values),),
    ),
    Bug(
        name="bootstrap_early",
        story="The return bootstraps from the value before the last state.",
        symptom="The consequence of the last action is invisible; short horizons learn badly.",
        innocent="Every loss.",
        source=f"{GUIDE}, imagined returns",
        breaks="returns.lambda_returns, R_H",
        caught_by=("test_actor_critic.py::test_the_critics_loss_on_a_trajectory",),
        replaces=((ActorCritic, "returns", returns_bootstrapped_early),),
    ),
    Bug(
        name="value_unshifted",
        story="The lambda return mixes v_t where v_{t+1} belongs, because everything in the code has the index t.",
        symptom="A part of each value is its own future: wrong wherever values change, above all for small lambda.",
        innocent="The critic's loss: it fits the wrong target well.",
        source=f"{DREAMER_V3}181",
        breaks="returns.lambda_returns, v_{t+1}",
        caught_by=(
            "test_actor_critic.py::test_the_actors_loss_on_a_trajectory",
            "test_actor_critic.py::test_the_critics_loss_on_a_trajectory",
        ),
        replaces=((ActorCritic, "returns", returns_of_unshifted_values),),
    ),
    Bug(
        name="reward_share_lost",
        story="Only lambda of each reward is counted: it was put inside the bracket of the long return.",
        symptom="Values are too small by the factor lambda.",
        innocent="The critic's loss, and the policy wherever only the order of returns matters.",
        source=f"{GUIDE}, imagined returns",
        breaks="returns.lambda_returns, r_{t+1}",
        caught_by=(TABLE, "test_returns.py::test_a_constant_reward_and_its_fixed_point"),
        replaces=LAMBDA_RETURNS.made_in_package("reward_share_lost", form=2),
    ),
    Bug(
        name="bootstrap_missing",
        story="The recursion begins with 0, as if nothing could be earned after the horizon.",
        symptom="Values stop growing at about what fits into one horizon; nothing further away is ever sought.",
        innocent="The critic's loss, which is even lower.",
        source="https://github.com/danijar/dreamerv2/issues/25",
        breaks="returns.lambda_returns, R_H",
        caught_by=(TABLE, "test_returns.py::test_one_step_is_reward_plus_discounted_bootstrap_for_any_lam"),
        replaces=LAMBDA_RETURNS.made_in_package("bootstrap_missing"),
    ),
    Bug(
        name="time_reversed",
        story="The returns were computed from the last to the first, and are stacked in that order.",
        symptom="The first state is given the return of the last one.",
        innocent="Every loss; where returns hardly change over a horizon even the values.",
        source="https://github.com/danijar/dreamerv3/issues/102",
        breaks="returns.lambda_returns, R_0 .. R_{H-1}",
        caught_by=(TABLE, "test_returns.py::test_column_t_reaches_the_returns_up_to_t_and_no_later_one"),
        replaces=LAMBDA_RETURNS.made_in_package("time_reversed"),
    ),
    Bug(
        name="lambda_swapped",
        story="lambda and 1 - lambda have changed places.",
        symptom="Almost everything rests on the critic's next value; rewards travel back one step per update.",
        innocent="The critic's loss, which is lower: one-step targets are smooth.",
        source="https://github.com/Eclectic-Sheep/sheeprl/issues/302",
        breaks="returns.lambda_returns, lambda",
        caught_by=(TABLE, "test_returns.py::test_lam_zero_looks_one_step_ahead"),
        replaces=LAMBDA_RETURNS.made_in_package("lambda_swapped"),
    ),
    Bug(
        name="discount_missing",
        story="Returns are not discounted: gamma is neither in the continue probability nor beside it.",
        symptom="Values grow without a bound wherever episodes are long.",
        innocent="World model losses, and for the first thousand updates everything else.",
        source="https://github.com/juliusfrost/dreamer-pytorch/pull/59",
        breaks="config.Config.imagined_discount, d_{t+1}",
        caught_by=(GAMMA_ONCE, "test_actor_critic.py::test_the_critics_loss_on_a_trajectory"),
        replaces=((Config, "imagined_discount", property(lambda config: 1.0)),),
        needs={"discount_in_continue": False},
    ),
    Bug(
        name="discount_twice",
        story="gamma is in the target of the continue head, and imagination multiplies with gamma once more.",
        symptom="The agent is as shortsighted as with gamma squared.",
        innocent="Every loss.",
        source="https://github.com/juliusfrost/dreamer-pytorch/pull/59",
        breaks="config.Config.imagined_discount, d_{t+1}",
        caught_by=(GAMMA_ONCE,),
        replaces=((Config, "imagined_discount", property(lambda config: config.discount)),),
        needs={"discount_in_continue": True},
    ),
    Bug(
        name="continue_ignored",
        story="The predicted end of an episode does not cut the return.",
        symptom="Dying costs nothing: the agent counts on rewards of a life after death.",
        innocent="Every loss, the continue loss first of all.",
        source="https://github.com/danijar/dreamer/issues/3",
        breaks="data.Trajectory.discount, d_{t+1}",
        caught_by=("test_imagination.py::test_discounts_belong_to_the_states_arrived_at",),
        replaces=((Trajectory, "discount", discount_without_continue),),
    ),
)
