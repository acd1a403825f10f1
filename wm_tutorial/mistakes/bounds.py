"""Continuous actions and their bounds: what is executed, in which units, and the way a gradient takes through them."""

import torch
from torch import Tensor

from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Answer, Arguments, Call, Function, Mistake, Part, Rule, differentiate

# In the units of the environment --------------------------------------------------------------------------------------


def right_scaled_action(action: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Actions (N, A) of a policy, clipped to -1..1, as numbers between low (A,) and high (A,)."""
    share = (action.clamp(-1, 1) + 1) / 2
    return low + share * (high - low)


def _affine(action: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Without the clip."""
    return low + (action + 1) / 2 * (high - low)


def _scale_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    low = uniform(seed + 1, shape[1], dtype=dtype, low=-3.0, high=1.0)
    return {
        "action": uniform(seed, *shape, dtype=dtype),
        "low": low,
        "high": low + uniform(seed + 2, shape[1], dtype=dtype, low=0.5, high=4.0),
    }


SCALED_ACTION = Part(
    name="scaled_action",
    right=right_scaled_action,
    batched=("action",),
    cases=(
        {
            "action": torch.tensor([[-1.0, 0.0, 1.0], [0.5, -3.0, 2.0]]),
            "low": torch.tensor([-2.0, 0.0, 10.0]),
            "high": torch.tensor([2.0, 4.0, 30.0]),
        },
        *(_scale_case(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "action_not_clipped": Mistake(
            "a sample outside of -1..1 leaves the bounds of the environment.",
            "most samples lie inside, and many environments clip in silence.",
            (_affine,),
        ),
        "action_not_scaled": Mistake(
            "the action is clipped, and not scaled: a torque of 2 is out of reach, or 1 means something else.",
            "where the bounds are -1 and 1 it makes no difference.",
            (lambda action, low, high: action.clamp(-1, 1), lambda action, low, high: action.clamp(low, high),
             lambda action, low, high: action),
        ),
        "action_times_high": Mistake(
            "it is multiplied by the upper bound: right only where the lower one is its negative.",
            "torques and forces are mostly symmetric; pedals and valves are not.",
            (lambda action, low, high: action.clamp(-1, 1) * high, lambda action, low, high: action * high,
             lambda action, low, high: (action * high).clamp(low, high),
             lambda action, low, high: (action.clamp(-1, 1) * high).maximum(low)),
        ),
        "action_from_0": Mistake(
            "the action is taken for a share from 0 to 1: all below 0 is lost, or goes below the bound.",
            "a share of the range is the natural thing to scale; a policy's actions lie in -1..1.",
            (lambda action, low, high: low + action.clamp(0, 1) * (high - low),
             lambda action, low, high: low + action.clamp(-1, 1) * (high - low)),
        ),
        "action_not_halved": Mistake(
            "the 2 is missing under (a + 1): half of the actions lie beyond the upper bound.",
            "a + 1 runs from 0 to 2, and looks as if it ended at 1.",
            (lambda action, low, high: low + (action.clamp(-1, 1) + 1) * (high - low),
             lambda action, low, high: (low + (action + 1) * (high - low)).clamp(low, high)),
        ),
        "bounds_exchanged": Mistake(
            "low and high have changed places: every push goes the other way.",
            "both are given, and nothing but their order tells them apart.",
            (lambda action, low, high: right_scaled_action(action, high, low),),
        ),
        "middle_forgotten": Mistake(
            "the action is scaled by half the range, and the middle of the range is not added.",
            "where the bounds are symmetric the middle is 0.",
            (lambda action, low, high: action.clamp(-1, 1) * (high - low) / 2,),
        ),
        "one_range_for_all": Mistake(
            "all actions share the widest range; each has its own.",
            "low.min() and high.max() are numbers, and numbers fit everywhere.",
            (lambda action, low, high: right_scaled_action(action, low.min(), high.max()),
             lambda action, low, high: right_scaled_action(action, low[0], high[0])),
        ),
        "squashed_again": Mistake(
            "the sample goes through another tanh, or a sigmoid: the bounds are never reached, and the middle changes.",
            "a tanh bounds, too; the mean has had one, and log-densities are those of the sample as it was drawn.",
            (lambda action, low, high: right_scaled_action(torch.tanh(action), low, high),
             lambda action, low, high: right_scaled_action(2 * torch.sigmoid(action) - 1, low, high)),
        ),
        "clipped_after_stretching": Mistake(
            "the action is stretched first and then clipped to -1..1, the bounds of the policy and not of the motor.",
            "the clip is right where it stands in the policy; after the stretch other bounds hold.",
            (lambda action, low, high: (low + (action + 1) / 2 * (high - low)).clamp(-1, 1),),
        ),
    },
)  # fmt: skip


# As it is executed ----------------------------------------------------------------------------------------------------


def right_executed_action(action: Tensor) -> Tensor:
    """Actions (N, A) cut off at -1 and 1, with a slope beyond the bounds, too."""
    return action / action.detach().abs().clamp(min=1)


EXECUTED_ACTION = Part(
    name="executed_action",
    right=right_executed_action,
    batched=("action",),
    gradient_to=("action",),
    cases=(
        {"action": torch.tensor([[0.5, -2.0, 4.0]])},
        *({"action": uniform(seed, *shape, dtype=dtype, low=-3.0, high=3.0)} for seed, shape, dtype in variations()),
    ),
    mistakes={
        "slope_cut_off": Mistake(
            "beyond the bounds the slope is 0: a gradient through the dynamics ends at each action that was clipped.",
            "clamp has the right numbers; and where the divisor is not detached, a / |a| has no slope either.",
            (lambda action: action.clamp(-1, 1), lambda action: action / action.abs().clamp(min=1)),
        ),
        "slope_of_one": Mistake(
            "beyond the bounds the slope is 1: an action far outside pulls as much as one inside.",
            "that is straight-through; here the slope is 1 / |a|, that of the division.",
            (lambda action: action + (action.clamp(-1, 1) - action).detach(),),
        ),
        "action_detached": Mistake(
            "no gradient comes through at all.",
            "the divisor is to be detached, not the action.",
            (lambda action: right_executed_action(action.detach()),),
        ),
        "all_divided_by_the_largest": Mistake(
            "all actions are divided by the size of the largest, or by their length; each counts by itself.",
            "normalising a vector is a habit; then one action that is cut off shortens the others.",
            (lambda action: action / action.detach().abs().amax(-1, keepdim=True).clamp(min=1),
             lambda action: action / action.detach().norm(dim=-1, keepdim=True).clamp(min=1),
             lambda action: action / action.detach().abs().max().clamp(min=1)),
        ),
        "inside_divided_too": Mistake(
            "actions inside of the bounds are divided as well: only their sign is left.",
            "the divisor must be at least 1.",
            (lambda action: action / action.detach().abs(), torch.sign),
        ),
        "squashed": Mistake(
            "a tanh squashes all actions; those inside of the bounds are executed as they are.",
            "tanh bounds and has a slope everywhere; but it is another action.",
            (torch.tanh,),
        ),
        "not_cut_off": Mistake(
            "actions beyond the bounds are left as they are: the model is asked about what never happens.",
            "the environment clips; the model has only ever seen what was clipped.",
            (lambda action: action,),
        ),
    },
)  # fmt: skip


# A dream that a gradient can go back through --------------------------------------------------------------------------


def _dream(
    see: Function = torch.Tensor.detach,
    act: Function = lambda mean, std, noise: mean + std * noise,
    hand_on: Function = lambda state: state,
    noise_of: Function = lambda noise, t: noise[:, t],
    taken: Function = lambda action: action,
) -> Function:
    """The right dream with one piece exchanged."""

    def dream(start: Tensor, policy: Function, step: Function, noise: Tensor) -> dict[str, Tensor]:
        latents, actions = [start], []
        for t in range(noise.shape[1]):
            actions.append(act(*policy(see(latents[-1])), noise_of(noise, t)))
            latents.append(step(hand_on(latents[-1]), taken(actions[-1])))
        return {"latent": torch.stack(latents, 1), "action": torch.stack(actions, 1)}

    return dream


right_pathwise_dream = _dream()


def _open_policy(latent: Tensor) -> Tensor:
    return latent


def _shifted(start: Tensor, policy: Function, step: Function, noise: Tensor) -> dict[str, Tensor]:
    """The policy is asked in the state that is arrived at, with the action before."""
    latents, actions = [start], [policy(start.detach())[0] + policy(start.detach())[1] * noise[:, 0]]
    for t in range(noise.shape[1]):
        latents.append(step(latents[-1], actions[-1]))
        mean, std = policy(latents[-1].detach())
        actions.append(mean + std * noise[:, t])
    return {"latent": torch.stack(latents, 1), "action": torch.stack(actions[1:], 1)}


def _without(name: str, rows: slice) -> Function:
    def dream(*given: Function | Tensor) -> dict[str, Tensor]:
        dreamed: dict[str, Tensor] = right_pathwise_dream(*given)
        return dreamed | {name: dreamed[name][:, rows]}

    return dream


def _dream_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    batch, horizon = shape
    actor, spread, mover, push = (uniform(seed + i, 2, 2, dtype=dtype) for i in (1, 2, 3, 4))
    return {
        "start": uniform(seed, batch, 2, dtype=dtype),
        "policy": Rule(
            "(B, 2) -> two of (B, 2)", lambda z: (torch.tanh(z @ actor), 0.1 + 0.9 * torch.sigmoid(z @ spread))
        ),
        "step": Rule("(B, 2), (B, 2) -> (B, 2)", lambda z, a: torch.tanh(z @ mover + a @ push)),
        "noise": uniform(seed + 5, batch, horizon, 2, dtype=dtype),
    }


def _with_slopes(call: Call, arguments: Arguments) -> Answer:
    """The dream, and how its states move when all means, or all standard deviations, do."""
    policy, leaf = arguments["policy"], torch.zeros(2, dtype=arguments["start"].dtype, requires_grad=True)

    def moved(state: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = policy(state)
        return mean + leaf[0], std + leaf[1]

    answer, tracked = call(arguments), call(arguments | {"policy": Rule(str(policy), moved)})["latent"]
    slopes = torch.zeros_like(leaf)
    if tracked.requires_grad:
        weights = torch.linspace(0.5, 1.5, tracked.numel()).to(tracked)  # differences cannot cancel
        (slopes,) = differentiate((weights * tracked.flatten()).sum(), [leaf])
    return answer | {"the gradient that reaches mean and std of the policy": slopes}


PATHWISE_DREAM = Part(
    name="pathwise_dream",
    right=right_pathwise_dream,
    measure=_with_slopes,
    container=dict,
    returns=("latent", "action"),
    batched=("start", "noise"),
    gradient_to=("start", "noise"),
    cases=(
        {
            "start": torch.tensor([[1.0]]),
            "policy": Rule("z -> mean -z, std 0.5", lambda z: (-z, torch.full_like(z, 0.5))),
            "step": Rule("z, a -> 2 z + a", lambda z, a: 2 * z + a),
            "noise": torch.tensor([[[1.0], [0.0], [-2.0]]]),
        },
        *(_dream_case(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "dream_action_detached": Mistake(
            "the action is detached, as torch's sample() gives it: no gradient reaches the policy from what follows.",
            "sample() and rsample() draw the same numbers; in REINFORCE the first one is right.",
            (_dream(act=lambda mean, std, noise: (mean + std * noise).detach()),),
        ),
        "dream_cut_between_steps": Mistake(
            "the state is detached before each step: an action answers for the next state, and for nothing later.",
            "the detach belongs to what the policy sees, and was written one line too early.",
            (_dream(hand_on=torch.Tensor.detach),),
        ),
        "dream_all_detached": Mistake(
            "no gradient is left: states and actions are numbers.",
            "imagination under no_grad is what REINFORCE wants.",
            (lambda *given: {name: x.detach() for name, x in right_pathwise_dream(*given).items()},),
        ),
        "policy_input_open": Mistake(
            "the policy's input is not detached. That is the whole derivative of the dream, later actions answering to "
            "earlier ones; asked for here is the one that the agent takes, which leaves this way out.",
            "one detach fewer, and mathematics is on its side; the chapter measures what the detach costs.",
            (_dream(see=_open_policy),),
        ),
        "noise_of_first_step": Mistake(
            "the same noise is used in every step.",
            "it was drawn before the loop, and its axis of time forgotten.",
            (_dream(noise_of=lambda noise, t: noise[:, 0]),),
        ),
        "noise_missing": Mistake(
            "the mean is taken, without noise: nothing is explored, and std gets no gradient.",
            "the mean is the best action; an expectation is over all of them.",
            (_dream(act=lambda mean, std, noise: mean),),
        ),
        "noise_not_scaled": Mistake(
            "the noise is not multiplied by std, or by its square or its root.",
            "a normal is written with its variance, and drawn with its standard deviation.",
            tuple(_dream(act=lambda mean, std, noise, wrong=wrong: mean + wrong(std) * noise)
                  for wrong in (torch.ones_like, torch.square, torch.sqrt, torch.exp)),
        ),
        "noise_detached": Mistake(
            "only the mean carries gradient: std never learns from what its noise led to.",
            "noise looks like a constant; multiplied by std it is none.",
            (_dream(act=lambda mean, std, noise: mean + (std * noise).detach()),
             _dream(act=lambda mean, std, noise: mean + std.detach() * noise)),
        ),
        "dream_mean_detached": Mistake(
            "only std carries gradient: the mean never learns.",
            "mean and std come from one call, and one of them was computed as a number.",
            (_dream(act=lambda mean, std, noise: mean.detach() + std * noise),),
        ),
        "action_of_arriving_state": Mistake(
            "the action that is written down beside a state is the one of the next.",
            "it was chosen at the end of the loop; the convention is: a_t is chosen in s_t.",
            (_shifted,),
        ),
        "start_or_end_missing": Mistake(
            "a state is missing: there must be H + 1, s_0 .. s_H.",
            "the loop appends what it makes, and not where it began; or it appends before it steps.",
            (_without("latent", slice(1, None)), _without("latent", slice(-1))),
        ),
        "clipped_before_noted": Mistake(
            "the actions are clipped; the step does that itself, with a slope.",
            "an action is known to lie in -1..1; a sample need not.",
            (_dream(act=lambda mean, std, noise: (mean + std * noise).clamp(-1, 1)),
             _dream(taken=lambda action: action.clamp(-1, 1))),
        ),
    },
)  # fmt: skip

PARTS = (SCALED_ACTION, EXECUTED_ACTION, PATHWISE_DREAM)
BUGS = ()
