"""The dynamics step, imagination, lambda returns and the two losses of the behaviour."""

from typing import Any

import torch
from torch import Tensor

from wm_tutorial.check.asking import Answer, Arguments, Call, Function, Mistake, Part, Rule
from wm_tutorial.check.diagnosis import examine
from wm_tutorial.check.inputs import uniform, variations
from wm_tutorial.latents import LOGVAR_RANGE, OneHot
from wm_tutorial.returns import lambda_returns as right_lambda_returns

# The dynamics step ----------------------------------------------------------------------------------------------------

LOW, HIGH = LOGVAR_RANGE


def _bounded(logvar: Tensor) -> Tensor:
    return LOW + (HIGH - LOW) * torch.sigmoid(logvar)


def right_dynamics_step(latent: Tensor, action: Tensor, net: Function) -> tuple[Tensor, Tensor]:
    """Mean and logvar (B, Z) of the next latent, given latent (B, Z), action (B, A) and a network."""
    mean, logvar = net(torch.cat([latent, action], -1)).chunk(2, -1)
    return mean, _bounded(logvar)


def _with_bound(bound: Function) -> Function:
    def step(latent: Tensor, action: Tensor, net: Function) -> tuple[Tensor, Tensor]:
        mean, logvar = net(torch.cat([latent, action], -1)).chunk(2, -1)
        return mean, bound(logvar)

    return step


def _swapped_halves(latent: Tensor, action: Tensor, net: Function) -> tuple[Tensor, Tensor]:
    logvar, mean = net(torch.cat([latent, action], -1)).chunk(2, -1)
    return mean, _bounded(logvar)


def _every_other(latent: Tensor, action: Tensor, net: Function) -> tuple[Tensor, Tensor]:
    raw = net(torch.cat([latent, action], -1))
    return raw[..., ::2], _bounded(raw[..., 1::2])


def _action_first(latent: Tensor, action: Tensor, net: Function) -> tuple[Tensor, Tensor]:
    mean, logvar = net(torch.cat([action, latent], -1)).chunk(2, -1)
    return mean, _bounded(logvar)


def _residual(latent: Tensor, action: Tensor, net: Function) -> tuple[Tensor, Tensor]:
    mean, logvar = right_dynamics_step(latent, action, net)
    return latent + mean, logvar


def _network(seed: int, inputs: int, outputs: int, dtype: torch.dtype) -> Rule:
    into, out = uniform(seed, inputs, 8, dtype=dtype), uniform(seed + 1, 8, outputs, dtype=dtype)
    return Rule(f"(B, {inputs}) -> (B, {outputs})", lambda x: torch.tanh(x @ into) @ out)


def _step_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    batch, size = shape
    size += 1  # with a latent of one number, many mistakes are none
    return {
        "latent": uniform(seed, batch, size, dtype=dtype),
        "action": torch.eye(3, dtype=dtype)[torch.arange(batch) % 3],
        "net": _network(seed + 2, size + 3, 2 * size, dtype),
    }


DYNAMICS_STEP = Part(
    name="dynamics_step",
    right=right_dynamics_step,
    container=tuple,
    returns=("mean", "logvar"),
    batched=("latent", "action"),
    gradient_to=("latent", "action"),
    cases=(
        {
            "latent": torch.tensor([[1.0, 2.0]]),
            "action": torch.tensor([[0.0, 1.0]]),
            "net": Rule("x -> [x0 + x3, x1 - x3, x0 - x2, x3]", lambda x: torch.stack(
                [x[:, 0] + x[:, 3], x[:, 1] - x[:, 3], x[:, 0] - x[:, 2], x[:, 3]], -1)),
        },
        *(_step_case(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "action_ignored": Mistake(
            "the prediction does not depend on the action, so imagination cannot compare actions.",
            "the loss falls all the same wherever the next state is much like this one.",
            (lambda latent, action, net: right_dynamics_step(latent, torch.zeros_like(action), net),),
        ),
        "dynamics_ignore_latent": Mistake(
            "the prediction does not depend on the latent.",
            "the latent was overwritten, or masked, before it was used.",
            (lambda latent, action, net: right_dynamics_step(torch.zeros_like(latent), action, net),),
        ),
        "action_before_latent": Mistake(
            "the network gets action and latent in the other order.",
            "a network that is trained so would learn it so; one that was trained on (latent, action) cannot know.",
            (_action_first,),
        ),
        "mean_logvar_swapped": Mistake(
            "the first half of the output is the mean, the second one logvar; here they are swapped or interleaved.",
            "both have the same shape, so nothing complains.",
            (_swapped_halves, _every_other),
        ),
        "logvar_unbounded": Mistake(
            f"logvar is whatever the network says; it belongs between {LOW:g} and {HIGH:g}.",
            "it goes well until one batch in which a variance vanishes or explodes.",
            (_with_bound(lambda logvar: logvar),),
        ),
        "logvar_clamped": Mistake(
            "logvar is cut off at the bounds, where it then gets no gradient and stays.",
            "clamp is the shortest way to a bound; low + (high - low) * sigmoid(x) has a slope everywhere.",
            (_with_bound(lambda logvar: logvar.clamp(LOW, HIGH)),),
        ),
        "logvar_tanh": Mistake(
            "tanh in place of the sigmoid: half of the values lie outside of the bounds.",
            "both squash; tanh to -1..1, the sigmoid to 0..1.",
            (_with_bound(lambda logvar: LOW + (HIGH - LOW) * logvar.tanh()),),
        ),
        "logvar_exponentiated": Mistake(
            "the variance or the standard deviation is returned in place of logvar.",
            "the next thing that is needed is a standard deviation; sample and KL take logvar and do that themselves.",
            (_with_bound(lambda logvar: _bounded(logvar).exp()),
             _with_bound(lambda logvar: (0.5 * _bounded(logvar)).exp()),
             _with_bound(torch.exp), _with_bound(lambda logvar: (0.5 * logvar).exp())),
        ),
        "residual_added": Mistake(
            "the latent is added to the predicted mean.",
            "networks that predict a change are common; this one predicts the next latent itself.",
            (_residual,),
        ),
        "latent_detached": Mistake(
            "no gradient reaches the latent, so predicting well never shapes what is predicted from.",
            "the latent was detached as in imagination, where the model must not learn.",
            (lambda latent, action, net: right_dynamics_step(latent.detach(), action, net),),
        ),
    },
)  # fmt: skip


def dynamics_step(function: Function) -> bool:
    """Check `dynamics_step(latent, action, net)`: the prior of the next latent.

    latent  (B, Z)
    action  (B, A)
    net     a function (B, Z + A) -> (B, 2 Z): call it once on latent and action side by side, in this order
    ->      a tuple (mean, logvar), each (B, Z): the first half of the output as it is, and the second half x brought
            between -10 and 2 as -10 + 12 sigmoid(x); with gradient to latent and action

    check.dynamics_step(my_dynamics_step)
    """
    return examine(DYNAMICS_STEP, function)


# Imagination ----------------------------------------------------------------------------------------------------------


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


def _never_looking_again(
    start: Tensor, policy: Function, step: Function, reward: Function, horizon: int
) -> dict[str, Tensor]:
    return right_imagination(start, lambda _: policy(start), step, reward, horizon)


def _never_moving_on(
    start: Tensor, policy: Function, step: Function, reward: Function, horizon: int
) -> dict[str, Tensor]:
    return right_imagination(start, policy, lambda _, action: step(start, action), reward, horizon)


def _of_horizon(change: int) -> Function:
    return lambda start, policy, step, reward, horizon: right_imagination(start, policy, step, reward, horizon + change)


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


def _asking_twice(start: Tensor, policy: Function, step: Function, reward: Function, horizon: int) -> dict[str, Tensor]:
    latents, actions = [start], []
    for _ in range(horizon):
        actions.append(policy(latents[-1]))
        latents.append(step(latents[-1], policy(latents[-1])))
    return _trajectory(latents, actions, reward)


def _asking_again(start: Tensor, policy: Function, step: Function, reward: Function, horizon: int) -> dict[str, Tensor]:
    latents = [start]
    for _ in range(horizon):
        latents.append(step(latents[-1], policy(latents[-1])))
    return _trajectory(latents, [policy(z) for z in latents[:-1]], reward)


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
            (_asking_twice, _asking_again),
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
            (_of_horizon(-1),),
        ),
        "horizon_long": Mistake(
            "one step too many is imagined.",
            "H + 1 states are counted as H + 1 steps.",
            (_of_horizon(1),),
        ),
        "imagined_reward_departing": Mistake(
            "column t of the reward is that of s_t; it must be that of s_{t+1}, which the action leads to.",
            "state, action and reward are written down together, before the step; r_H is lost and r_0 is nobody's.",
            (_edited(lambda right, policy, reward: {"reward": _rewards(reward, right["latent"][:, :-1])}),),
        ),
        "reward_of_all_states": Mistake(
            "the start has a reward too: there are H + 1, where only the H arriving states have one.",
            "the reward head is called on all states at once; drop the first.",
            (_edited(lambda right, policy, reward: {"reward": _rewards(reward, right["latent"])}),),
        ),
        "imagined_action_late": Mistake(
            "column t of the actions is the one that led to s_t; it must be the one chosen in s_t.",
            "state and action are written down together after the step.",
            (_late_action(torch.zeros_like), _late_action(lambda action: action)),
        ),
        "policy_sees_next_state": Mistake(
            "the action is chosen in the state that follows: a_t is the policy's answer to s_{t+1}.",
            "the step comes before the policy in the loop.",
            (_edited(lambda right, policy, reward: {"action": _actions(policy, right["latent"][:, 1:])}),
             _acting_on_what_follows),
        ),
        "policy_sees_start_only": Mistake(
            "the policy is asked about the start at every step.",
            "the action is computed before the loop, or in it from the wrong variable.",
            (_never_looking_again,),
        ),
        "state_not_carried": Mistake(
            "every step begins at the start again.",
            "the loop calls step on `start` and not on the state it has reached.",
            (_never_moving_on,),
        ),
    },
)  # fmt: skip


def imagination(function: Function) -> bool:
    """Check `imagination(start, policy, step, reward, horizon)`: the policy acts for H steps inside the model.

    start    (B, Z) s_0
    policy   a function: state (B, Z) -> action (B, A)
    step     a function: state (B, Z), action (B, A) -> next state (B, Z)
    reward   a function: state (B, Z) -> reward (B,) for arriving in it
    horizon  H
    ->       a dict: "latent" (B, H + 1, Z), s_0 .. s_H; "action" (B, H, A), a_0 .. a_{H-1}, a_t chosen in s_t;
             "reward" (B, H), r_1 .. r_H

    check.imagination(my_imagination)
    """
    return examine(IMAGINATION, function)


# Lambda returns -------------------------------------------------------------------------------------------------------


def _backwards(mix: Function, bootstrap: Function = lambda value: value[:, -1]) -> Function:
    """R_t = mix(r, d, v, lam, R_{t+1}), with the given beginning."""

    def returns(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
        following, out = bootstrap(value), []
        for t in reversed(range(reward.shape[1])):
            following = mix(reward[:, t], discount[:, t], value[:, t], lam, following)
            out.append(following)
        return torch.stack(out[::-1], 1)

    return returns


def _right_mix(r: Tensor, d: Tensor, v: Tensor, lam: float, following: Tensor) -> Tensor:
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


# Losses ---------------------------------------------------------------------------------------------------------------


def _log_prob(logits: Tensor, action: Tensor) -> Tensor:
    return (logits.log_softmax(-1) * action).sum(-1)


def _entropy(logits: Tensor) -> Tensor:
    return -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)


def right_policy_loss(
    logits: Tensor, action: Tensor, returns: Tensor, value: Tensor, weight: Tensor, entropy_scale: float
) -> Tensor:
    """REINFORCE with a baseline and an entropy bonus, per imagined step: (B, H)."""
    advantage = (returns - value).detach()
    return -weight.detach() * (_log_prob(logits, action) * advantage + entropy_scale * _entropy(logits))


def _policy_loss(
    likelihood: Function = _log_prob,
    advantage: Function = lambda returns, value: (returns - value).detach(),
    weight: Function = lambda weight: weight.detach(),
    entropy: Function = _entropy,
    sign: float = -1.0,
) -> Function:
    """The right loss with one piece exchanged."""

    def loss(
        logits: Tensor, action: Tensor, returns: Tensor, value: Tensor, weights: Tensor, entropy_scale: float
    ) -> Tensor:
        gain = likelihood(logits, action) * advantage(returns, value) + entropy_scale * entropy(logits)
        weighted: Tensor = sign * weight(weights) * gain
        return weighted

    return loss


def _of_advantage(change: Function) -> Function:
    """The right loss of other advantages."""
    return _policy_loss(advantage=lambda returns, value: change((returns - value).detach()))


def _standard(advantage: Tensor, correction: int) -> Tensor:
    return (advantage - advantage.mean()) / (advantage.std(correction=correction) + 1e-8)


def _ratio(logits: Tensor, action: Tensor) -> Tensor:
    log_prob = _log_prob(logits, action)
    return (log_prob - log_prob.detach()).exp()


def _without_log_prob(advantage: Function) -> Function:
    """Minus the advantage, and nothing else."""
    return lambda logits, action, returns, value, weight, scale: -weight.detach() * advantage(returns, value)


def _entropy_without_weight(
    logits: Tensor, action: Tensor, returns: Tensor, value: Tensor, weight: Tensor, entropy_scale: float
) -> Tensor:
    gain = _log_prob(logits, action) * (returns - value).detach()
    return -(weight.detach() * gain + entropy_scale * _entropy(logits))


def _one_hot(index: Tensor, logits: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(index, logits.shape[-1]).to(logits)


def _drawn_by_torch(logits: Tensor) -> Tensor:
    index: Tensor = torch.distributions.Categorical(logits=logits).sample()  # type: ignore[no-untyped-call]
    return _one_hot(index, logits)


def _policy_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    logits = uniform(seed, *shape, 3, dtype=dtype)
    return {
        "logits": logits,
        "action": _one_hot(uniform(seed + 1, *shape, 3, dtype=dtype).argmax(-1), logits),
        "returns": uniform(seed + 2, *shape, dtype=dtype),
        "value": uniform(seed + 3, *shape, dtype=dtype),
        "weight": uniform(seed + 4, *shape, dtype=dtype, low=0.1, high=0.9),
        "entropy_scale": 0.3,
    }


POLICY_LOSS = Part(
    name="policy_loss",
    right=right_policy_loss,
    batched=("logits", "action", "returns", "value", "weight"),
    gradient_to=("logits",),
    no_gradient_to=("returns", "value", "weight"),
    cases=(
        {
            "logits": torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 1.0], [0.0, 0.0]]]),
            "action": torch.tensor([[[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]]),
            "returns": torch.tensor([[3.0, 2.0, 2.0, 1.0, 4.0]]),
            "value": torch.tensor([[1.0, 1.0, 4.0, 1.0, 2.0]]),
            "weight": torch.tensor([[1.0, 0.5, 0.5, 0.5, 0.25]]),
            "entropy_scale": 0.5,
        },
        *(_policy_case(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "advantage_not_detached": Mistake(
            "the advantage is not detached, so the actor's loss also moves the critic: lowering it looks like a gain.",
            "returns - value is a plain formula; that it must be a number here, not a function, is not written in it.",
            (_policy_loss(advantage=lambda returns, value: returns - value),
             _policy_loss(advantage=lambda returns, value: returns.detach() - value),
             _policy_loss(advantage=lambda returns, value: returns - value.detach())),
        ),
        "advantage_leaks": Mistake(
            "the loss is minus the advantage, not detached and without log-probability: all it can do is move the "
            "critic.",
            "maximise the advantage is what the text says; lowering the value raises it, too.",
            (_without_log_prob(lambda returns, value: returns - value),),
        ),
        "advantage_not_squeezed": Mistake(
            "every action is praised for the advantages of other steps.",
            "an axis of length 1 broadcasts in silence: (N,) against (N, 1) gives (N, N), and a mean hides it.",
            (_of_advantage(torch.mean), _of_advantage(lambda advantage: advantage.mean(1, keepdim=True)),
             _policy_loss(likelihood=lambda logits, action: _log_prob(logits, action).mean(1, keepdim=True))),
        ),
        "advantages_standardised": Mistake(
            "the advantages are given mean 0 and deviation 1; they count as they are.",
            "many programs do; where nothing depends on the action, noise is then blown up to full size.",
            (_of_advantage(lambda advantage: _standard(advantage, 1)),
             _of_advantage(lambda advantage: _standard(advantage, 0))),
        ),
        "log_prob_missing": Mistake(
            "the loss is minus the advantage: no log-probability ties it to the policy, which never learns.",
            "maximise the advantage is what the text says; without a gradient through the model, only the "
            "log-probability can do that.",
            (_policy_loss(likelihood=lambda logits, action: 1.0),
             _without_log_prob(lambda returns, value: (returns - value).detach())),
        ),
        "ratio_for_log_prob": Mistake(
            "exp(log_prob - log_prob.detach()) in place of the log-probability: the gradient of the gain is right, its "
            "number is not.",
            "that is the ratio of PPO, which is 1 as long as the policy that acted is the one that learns.",
            (_policy_loss(likelihood=_ratio),),
        ),
        "log_prob_of_another_action": Mistake(
            "the log-probability is that of another action than the one that was taken.",
            "argmax is the policy's favourite and a new sample its next try, neither is what it did; and actions that "
            "are shifted a step keep their shape.",
            (_policy_loss(likelihood=lambda logits, action: _log_prob(logits, OneHot.mixed(logits, 0.0).sample())),
             _policy_loss(likelihood=lambda logits, action: _log_prob(logits, _drawn_by_torch(logits))),
             _policy_loss(likelihood=lambda logits, action: _log_prob(logits, _one_hot(logits.argmax(-1), logits))),
             _policy_loss(likelihood=lambda logits, action: _log_prob(logits, action.roll(1, 1))),
             _policy_loss(likelihood=lambda logits, action: _log_prob(logits, action.roll(-1, 1))),
             _policy_loss(likelihood=lambda logits, action: logits.log_softmax(-1).mean(-1)),
             _policy_loss(likelihood=lambda logits, action: logits.log_softmax(-1).sum(-1))),
        ),
        "probability_for_log_prob": Mistake(
            "the probability of the action in place of its logarithm.",
            "the gradient of an expectation is full of probabilities; for samples, the logarithm is what remains.",
            (_policy_loss(likelihood=lambda logits, action: _log_prob(logits, action).exp()),),
        ),
        "logits_for_log_prob": Mistake(
            "the raw logit of the action is taken for its log-probability.",
            "logits are logarithms, up to a constant; the constant is what lowers the other actions.",
            (_policy_loss(likelihood=lambda logits, action: (logits * action).sum(-1)),),
        ),
        "minus_forgotten": Mistake(
            "the sign of the whole loss is the other one: the policy learns to do badly.",
            "the formula is for climbing, the optimiser descends.",
            (_policy_loss(sign=1.0),),
        ),
        "advantage_reversed": Mistake(
            "the advantage is value - returns: what was better than expected is avoided.",
            "as an error of the critic, the difference is often written that way round.",
            (_policy_loss(advantage=lambda returns, value: (value - returns).detach()),),
        ),
        "baseline_missing": Mistake(
            "the returns themselves in place of their advantage over the value.",
            "it is right on average, and so noisy that little is learned.",
            (_policy_loss(advantage=lambda returns, value: returns.detach()),),
        ),
        "entropy_sign": Mistake(
            "entropy has the other sign: the policy is paid for being certain.",
            "one minus for the loss and one inside of the entropy are easily lost.",
            (_policy_loss(entropy=lambda logits: -_entropy(logits)),),
        ),
        "entropy_missing": Mistake(
            "the entropy bonus is missing: the policy stops exploring as soon as something works.",
            "the loss learns without it, for a while.",
            (_policy_loss(entropy=lambda logits: 0.0),),
        ),
        "entropy_unweighted": Mistake(
            "the weight applies to the gain and not to the entropy.",
            "the bonus is added to the finished loss; steps after an imagined end then still count.",
            (_entropy_without_weight,),
        ),
        "weights_missing": Mistake(
            "the weights are missing: steps imagined after an end count fully.",
            "nothing looks wrong without them; the agent learns from a life after death.",
            (_policy_loss(weight=lambda weight: 1.0),),
        ),
        "weight_leaks": Mistake(
            "the weight is not detached: the loss can be lowered by predicting an end.",
            "the weight comes out of the model, with its gradient.",
            (_policy_loss(weight=lambda weight: weight),),
        ),
        "log_prob_detached": Mistake(
            "no gradient reaches the policy through its log-probability.",
            "the log-probability was computed while acting, where no gradient is kept.",
            (_policy_loss(likelihood=lambda logits, action: _log_prob(logits, action).detach()),
             lambda *given: right_policy_loss(*given).detach()),
        ),
    },
)  # fmt: skip


def policy_loss(function: Function) -> bool:
    """Check `policy_loss(logits, action, returns, value, weight, entropy_scale)`: REINFORCE, per imagined step.

    logits         (B, H, A) of the policy in s_0 .. s_{H-1}
    action         (B, H, A) one-hot, the actions taken
    returns        (B, H) R_0 .. R_{H-1}
    value          (B, H) v_0 .. v_{H-1}
    weight         (B, H) how much each step counts
    entropy_scale  a number
    ->             (B, H) -weight (log_prob (returns - value) + entropy_scale entropy), with gradient to logits only

    check.policy_loss(my_policy_loss)
    """
    return examine(POLICY_LOSS, function)


def right_critic_loss(value: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted squared error of N predictions: (N, 1), (N,), (N,) -> (N,)."""
    return weight.detach() * (value.squeeze(-1) - target.detach()) ** 2


def _critic_loss(error: Function) -> Function:
    return lambda value, target, weight: weight.detach() * error(value.squeeze(-1) - target.detach())


def _broadcast_critic_loss(value: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    return weight.detach() * (value - target.detach()) ** 2


def _critic_case(seed: int, states: int, dtype: torch.dtype) -> Arguments:
    return {
        "value": uniform(seed, states, 1, dtype=dtype),
        "target": uniform(seed + 1, states, dtype=dtype),
        "weight": uniform(seed + 2, states, dtype=dtype, low=0.1, high=0.9),
    }


CRITIC_LOSS = Part(
    name="critic_loss",
    right=right_critic_loss,
    batched=("value", "target", "weight"),
    gradient_to=("value",),
    no_gradient_to=("target", "weight"),
    cases=(
        {
            "value": torch.tensor([[1.0], [2.0], [0.0], [4.0], [3.0]]),
            "target": torch.tensor([2.0, 2.0, 3.0, 3.0, 5.0]),
            "weight": torch.tensor([1.0, 1.0, 0.5, 0.5, 0.25]),
        },
        *(_critic_case(seed, shape[0], dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "target_leaks": Mistake(
            "the target is not detached: it moves towards the prediction as much as the other way round.",
            "the target was computed from the critic's own values, with their gradient.",
            (lambda value, target, weight: weight.detach() * (value.squeeze(-1) - target) ** 2,),
        ),
        "weight_leaks": Mistake(
            "the weight is not detached: the loss can be lowered by predicting an end.",
            "the weight comes out of the model, with its gradient.",
            (lambda value, target, weight: weight * (value.squeeze(-1) - target.detach()) ** 2,),
        ),
        "target_and_weight_leak": Mistake(
            "neither target nor weight is detached.",
            "both come out of networks, with their gradient; here they are numbers.",
            (lambda value, target, weight: weight * (value.squeeze(-1) - target) ** 2,),
        ),
        "value_not_squeezed": Mistake(
            "(N, 1) against (N,) gives (N, N): every value is compared with every target.",
            "a network for one number gives an axis of length 1; torch broadcasts it in silence, and a mean hides it.",
            (_broadcast_critic_loss, lambda *given: _broadcast_critic_loss(*given).mean(),
             lambda *given: _broadcast_critic_loss(*given).mean(0),
             lambda *given: _broadcast_critic_loss(*given).mean(1),
             lambda value, target, weight: weight.detach() * ((value - target.detach()) ** 2).mean(-1),
             lambda value, target, weight: weight.detach() * ((value - target.detach()) ** 2).mean(),
             lambda value, target, weight: ((value - target.detach()) ** 2).mean()),
        ),
        "weights_missing": Mistake(
            "the weights are missing: steps imagined after an end count fully.",
            "nothing looks wrong without them; the critic learns values of a life after death.",
            (lambda value, target, weight: (value.squeeze(-1) - target.detach()) ** 2,),
        ),
        "weight_squared": Mistake(
            "the weight is inside of the square, so it counts twice.",
            "weighting the error looks the same as weighting its square.",
            (lambda value, target, weight: (weight.detach() * (value.squeeze(-1) - target.detach())) ** 2,),
        ),
        "error_not_squared": Mistake(
            "the error is not squared.",
            "the sign of an error has nothing to descend to; its size leads to the median, not to the mean.",
            (_critic_loss(lambda error: error), _critic_loss(lambda error: -error), _critic_loss(torch.abs)),
        ),
        "error_halved": Mistake(
            "the squared error is halved.",
            "many texts do, so that the derivative has no 2; here it is left out, to compare numbers.",
            (_critic_loss(lambda error: 0.5 * error**2),),
        ),
        "value_detached": Mistake(
            "no gradient reaches the value: the critic never learns.",
            "the wrong side was detached.",
            (lambda value, target, weight: weight * (value.squeeze(-1).detach() - target) ** 2,
             lambda value, target, weight: weight.detach() * (value.squeeze(-1).detach() - target) ** 2,
             lambda *given: right_critic_loss(*given).detach()),
        ),
    },
)  # fmt: skip


def critic_loss(function: Function) -> bool:
    """Check `critic_loss(value, target, weight)`: the critic's weighted squared error, per state.

    value   (N, 1) as a network with one output gives it
    target  (N,) returns
    weight  (N,) how much each state counts
    ->      (N,) weight (value - target)^2, with gradient to value only

    check.critic_loss(my_critic_loss)
    """
    return examine(CRITIC_LOSS, function)
