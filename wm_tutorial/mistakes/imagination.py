"""Imagination: the policy acts inside of the model."""

import functools
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from wm_tutorial import imagination as package
from wm_tutorial.actor_critic import BoundedNormal
from wm_tutorial.data import Trajectory
from wm_tutorial.latents import OneHot
from wm_tutorial.mistakes.alignment import later
from wm_tutorial.mistakes.bug import DREAMER_V3, GUIDE, NAVIX, Bug, Replaces, in_the_place_of
from wm_tutorial.mistakes.inputs import LATER, uniform, variations
from wm_tutorial.mistakes.n_steps import REWARD
from wm_tutorial.mistakes.part import Answer, Arguments, Call, Function, Mistake, Part, Rule, of_wrong
from wm_tutorial.mistakes.returns import LAMBDA_RETURNS
from wm_tutorial.world_model import WorldModel


def right_imagination(
    start: Tensor, policy: Function, step: Function, reward: Function, horizon: int
) -> dict[str, Tensor]:
    """`horizon` steps from `start` (B, Z): s_0 .. s_H, a_0 .. a_{H-1}, r_1 .. r_H."""
    latents, actions = [start], []
    for _ in range(horizon):
        actions.append(policy(latents[-1]))
        latents.append(step(latents[-1], actions[-1]))
    return _trajectory(latents, actions, reward)


def _trajectory(latents: list[Tensor], actions: list[Tensor], reward: Function) -> dict[str, Tensor]:
    return {
        "latent": torch.stack(latents, 1),
        "action": torch.stack(actions, 1),
        "reward": torch.stack([reward(latent) for latent in latents[1:]], 1),
    }


def _edited(edit: Function) -> Function:
    """Right imagination, of which something is written down wrongly."""

    def imagination(start: Tensor, policy: Function, step: Function, reward: Function, horizon: int) -> Any:
        trajectory = right_imagination(start, policy, step, reward, horizon)
        return trajectory | edit(trajectory, policy, reward)

    return imagination


def _rewards(reward: Function, latent: Tensor) -> Tensor:
    return torch.stack([reward(z) for z in latent.unbind(1)], 1)


def _actions(policy: Function, latent: Tensor) -> Tensor:
    return torch.stack([policy(z) for z in latent.unbind(1)], 1)


def _reward_of(number: int, right: dict[str, Tensor], policy: Function, reward: Function) -> dict[str, Tensor]:
    return {"reward": reward(right["latent"][:, number])[:, None].expand_as(right["reward"])}


def _late_action(first: Function) -> Function:
    return _edited(lambda right, policy, reward: {
        "action": torch.cat([first(right["action"][:, :1]), right["action"][:, :-1]], 1)})  # fmt: skip


def _acting_on_what_follows(
    start: Tensor, policy: Function, step: Function, reward: Function, horizon: int
) -> dict[str, Tensor]:
    latents, actions, action = [start], [], torch.zeros_like(policy(start))
    for _ in range(horizon):
        latents.append(step(latents[-1], action))
        action = policy(latents[-1])
        actions.append(action)
    return _trajectory(latents, actions, reward)


def _acting_one_behind(
    start: Tensor, policy: Function, step: Function, reward: Function, horizon: int
) -> dict[str, Tensor]:
    latents, actions, action = [start], [], policy(start)
    for _ in range(horizon):
        latents.append(step(latents[-1], action))
        action = policy(latents[-1])
        actions.append(action)
    return _trajectory(latents, actions, reward)


def _by_chance(call: Call, arguments: Arguments) -> Answer:
    """The answer, and whether it hangs together where policy or step draw: nobody may have been asked twice."""
    answer = call(arguments)
    wanted = right_imagination(**arguments)
    if any(answer[name].shape != x.shape or answer[name].dtype != x.dtype for name, x in wanted.items()):
        return answer  # there is nothing to compare yet
    step, reward = arguments["step"], arguments["reward"]

    def draws(rule: Function) -> Rule:
        def drawing(*given: Tensor) -> Tensor:
            said: Tensor = rule(*given)
            return said + torch.rand_like(said)

        return Rule("one that draws by chance", drawing)

    drawn = call(arguments | {"policy": draws(arguments["policy"])})
    left, action = drawn["latent"][:, :-1].unbind(1), drawn["action"].unbind(1)
    reached = torch.stack([step(z, a) for z, a in zip(left, action, strict=True)], 1)
    answer["distance of each state to what its action leads to, where actions are drawn,"] = (
        drawn["latent"][:, 1:] - reached
    )
    drawn = call(arguments | {"step": draws(step)})
    answer["distance of each reward to that of its state, where states are drawn,"] = drawn["reward"] - _rewards(
        reward, drawn["latent"][:, 1:]
    )
    return answer


def _imagination_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    batch, horizon = shape
    actor, mover, mover_of_action = (uniform(seed + i, 2, 2, dtype=dtype) for i in (1, 2, 3))
    worth = uniform(seed + 4, 2, dtype=dtype)
    return {
        "start": uniform(seed, batch, 2, dtype=dtype),
        "policy": Rule("(B, 2) -> (B, 2)", lambda z: torch.tanh(z @ actor + 0.3)),
        "step": Rule("(B, 2), (B, 2) -> (B, 2)", lambda z, a: torch.tanh(z @ mover + a @ mover_of_action)),
        "reward": Rule("(B, 2) -> (B,)", lambda z: z @ worth),
        "horizon": horizon,
    }


IMAGINATION = Part(
    name="imagination",
    right=right_imagination,
    container=dict,
    returns=("latent", "action", "reward"),
    batched=("start",),
    measure=_by_chance,
    cases=(
        {
            "start": torch.tensor([[1.0]]),
            "policy": Rule("z -> z + 1", lambda z: z + 1),
            "step": Rule("z, a -> z + a", lambda z, a: z + a),
            "reward": Rule("z -> 10 z", lambda z: 10 * z[:, 0]),
            "horizon": 5,
        },
        *(_imagination_case(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "policy_asked_twice": Mistake(
            "the action that is written down is another draw than the one that was taken.",
            "asking the policy again looks harmless, and is while it always answers the same; a policy draws.",
            (lambda start, policy, step, *rest:
             right_imagination(start, policy, lambda state, _: step(state, policy(state)), *rest),
             _edited(lambda right, policy, reward: {"action": _actions(policy, right["latent"][:, :-1])})),
        ),
        "start_missing": Mistake(
            "the start is not among the states: there must be H + 1, s_0 .. s_H.",
            "the loop appends what it makes, and the start is not made in it; the actor learns in s_0 too.",
            (_edited(lambda right, policy, reward: {"latent": right["latent"][:, 1:]}),),
        ),
        "last_state_missing": Mistake(
            "the last state is not among the states: there must be H + 1, s_0 .. s_H.",
            "the loop appends before it steps; but the value of s_H is what the return goes on from.",
            (_edited(lambda right, policy, reward: {"latent": right["latent"][:, :-1]}),
             _edited(lambda right, policy, reward: {
                 "latent": right["latent"][:, :-1], "reward": _rewards(reward, right["latent"][:, :-1])})),
        ),
        "horizon_short": Mistake(
            "one step too few is imagined.",
            "H states are counted, where H steps are asked for: H + 1 states.",
            of_wrong(right_imagination, 4, lambda horizon: horizon - 1),
        ),
        "horizon_long": Mistake(
            "one step too many is imagined.",
            "H + 1 states are counted as H + 1 steps.",
            of_wrong(right_imagination, 4, lambda horizon: horizon + 1),
        ),
        "reward_of_all_states": Mistake(
            "the start has a reward too: there are H + 1, where only the H arriving states have one.",
            "the reward head is called on all states at once; drop the first.",
            (_edited(lambda right, policy, reward: {"reward": _rewards(reward, right["latent"])}),),
        ),
        "policy_sees_next_state": Mistake(
            "the action is chosen in the state that follows: a_t is the policy's answer to s_{t+1}.",
            "the step comes before the policy in the loop.",
            (_edited(lambda right, policy, reward: {"action": _actions(policy, right["latent"][:, 1:])}),
             _acting_on_what_follows, _acting_one_behind),
        ),
        "one_action_too_many": Mistake(
            "there are H + 1 actions; the last state is only arrived at, and nothing leads to the start.",
            "arrays of one length are convenient; but there is one more state than there are actions.",
            (_edited(lambda right, policy, reward: {"action": _actions(policy, right["latent"])}),
             _edited(lambda right, policy, reward: {
                 "action": torch.cat([torch.zeros_like(right["action"][:, :1]), right["action"]], 1)})),
        ),
        "states_one_late": Mistake(
            "the state that was left is written down again, and the last one reached is lost.",
            "the loop appends the old variable and not the new one.",
            (_edited(lambda right, policy, reward: {
                "latent": torch.cat([right["latent"][:, :1], right["latent"][:, :-1]], 1)}),),
        ),
        "reward_of_one_state": Mistake(
            "every step is paid as the same state; r_{t+1} is the reward of s_{t+1}.",
            "the reward is asked of `start`, or of the last state after the loop.",
            tuple(_edited(functools.partial(_reward_of, number)) for number in (0, -1)),
        ),
        "reward_summed": Mistake(
            "the rewards are summed up on the way; each step has its own.",
            "a return is a sum; it is made of these later.",
            (_edited(lambda right, policy, reward: {"reward": right["reward"].cumsum(1)}),),
        ),
        "policy_sees_start_only": Mistake(
            "the policy is asked about the start at every step.",
            "the action is computed before the loop, or in it from the wrong variable.",
            (lambda start, policy, *rest: right_imagination(start, lambda _: policy(start), *rest),),
        ),
        "state_not_carried": Mistake(
            "every step begins at the start again.",
            "the loop calls step on `start` and not on the state it has reached.",
            (lambda start, policy, step, *rest:
             right_imagination(start, policy, lambda _, action: step(start, action), *rest),
             lambda start, policy, step, *rest:
             right_imagination(start, lambda _: policy(start), lambda _, action: step(start, action), *rest)),
        ),
    },
)  # fmt: skip


# In the package -------------------------------------------------------------------------------------------------------

IMAGINE = package.imagine
IMAGINE_STEPS = package._imagine


@dataclass(frozen=True)
class Instead:
    """A distribution over actions that says `action`, whenever it is asked to draw one."""

    action: Tensor

    def sample(self) -> Tensor:
        """The action."""
        return self.action

    rsample = sample


def acting(choose: Callable[[OneHot | BoundedNormal], Tensor]) -> Replaces:
    """In imagination the policy's actions are not drawn."""
    return in_the_place_of(package, "imagine", lambda model, policy, *others:
        IMAGINE(model, lambda feature: Instead(choose(policy(feature))), *others))  # fmt: skip


def probabilities(policy: OneHot | BoundedNormal) -> Tensor:
    """The dynamics are fed action probabilities, inputs they never saw: the data has one-hot actions."""
    return policy.probabilities if isinstance(policy, OneHot) else policy.mean


def remembering(edit: Callable[[WorldModel, Trajectory], dict[str, Any]]) -> Replaces:
    """Of what was imagined, something is written down wrongly."""

    def imagine(model: WorldModel, *others: Any) -> Trajectory:
        trajectory = IMAGINE_STEPS(model, *others)
        return replace(trajectory, **edit(model, trajectory))

    return in_the_place_of(package, "_imagine", imagine)


def rewards_of_departing_states(model: WorldModel, trajectory: Trajectory) -> dict[str, Any]:
    """The reward head is asked about s_0 .. s_{H-1}, the states that are left."""
    return {"reward": model.reward(trajectory.state.feature).mean[:, :-1]}


def actions_one_step_late(model: WorldModel, trajectory: Trajectory) -> dict[str, Any]:
    """Beside each state stands the action that led to it, not the one that was chosen in it."""
    return {"action": later(trajectory.action.transpose(0, 1)).transpose(0, 1)}


SAMPLED = "test_imagination.py::test_imagined_actions_are_drawn_from_the_policy"

PARTS = (IMAGINATION,)

BUGS = (
    Bug(
        name="imagined_reward_departing",
        story="In imagination the reward head is asked about the state an action leaves, not the one it leads to.",
        symptom="An action is praised for what was there before it; the last action is never judged at all.",
        innocent="World model losses, and the critic's loss.",
        source="https://github.com/danijar/dreamerv3/issues/70", breaks="imagination.imagine, r_{t+1}",
        caught_by=("test_imagination.py::test_the_reward_belongs_to_the_state_that_is_arrived_at",),
        replaces=remembering(rewards_of_departing_states),
        forms={
            IMAGINATION: Mistake(
                "column t of the reward is that of s_t; it must be that of s_{t+1}, which the action leads to.",
                "state, action and reward are written down together, before the step; r_H is lost and r_0 is nobody's.",
                (_edited(lambda right, policy, reward: {"reward": _rewards(reward, right["latent"][:, :-1])}),),
            ),
            LAMBDA_RETURNS: Mistake(
                "the reward is r_t, that of the state that is left; it must be r_{t+1}.",
                "r_t is what many textbooks call the reward for a_t.",
                of_wrong(LAMBDA_RETURNS.right, REWARD, *LATER),
            ),
        },
    ),
    Bug(
        name="imagined_action_late",
        story="An imagined state is paired with the action that led to it, so the policy is asked about another one.",
        symptom="The policy learns which action was good in the state before.",
        innocent="World model losses, the critic's loss and the entropy.",
        source=NAVIX, breaks="imagination.imagine, a_t",
        caught_by=("test_imagination.py::test_states_and_actions_follow_each_other",),
        replaces=remembering(actions_one_step_late),
        forms={IMAGINATION: Mistake(
            "column t of the actions is the one that led to s_t; it must be the one chosen in s_t.",
            "state and action are written down together after the step.",
            (_late_action(torch.zeros_like), _late_action(lambda action: action)),
        )},
    ),
    Bug(
        name="actions_as_probabilities",
        story="Imagined actions are softmax probabilities instead of samples.",
        symptom="Dreams drift from reality, because the dynamics never saw such actions.",
        innocent="World model losses: they never see imagination.",
        source=f"{GUIDE}, imagine_ahead", breaks="imagination.imagine, a_t",
        caught_by=("test_imagination.py::test_a_trajectory_of_the_real_model[discrete]", SAMPLED),
        replaces=acting(probabilities),
    ),
    Bug(
        name="imagined_actions_greedy",
        story="Imagined actions are the most likely ones, not samples.",
        symptom="An action that is not the favourite is never tried in a dream, so the first favourite stays.",
        innocent="World model losses; returns in dreams are higher than with samples.",
        source=f"{DREAMER_V3}133", breaks="imagination.imagine, a_t",
        caught_by=(SAMPLED,), replaces=acting(lambda policy: policy.mode),
    ),
    Bug(
        name="actor_teaches_the_dynamics",
        story="The gradient that comes back through the dynamics to the actions also moves the dynamics.",
        symptom="The model learns to dream of rewards: imagined returns rise, real ones do not.",
        innocent="The actor's loss falls as it never did.",
        source="https://github.com/danijar/dreamer/issues/3", breaks="imagination.imagine, frozen world model",
        caught_by=("test_imagination.py::test_gradients_through_the_dynamics_move_the_policy_and_not_the_model",),
        replaces=((package, "frozen", lambda module: nullcontext()),), needs={"policy_gradient": "dynamics"},
    ),
)  # fmt: skip
