"""How much an imagined step counts, and the exact gradient that policy gradients estimate."""

import torch
from torch import Tensor

from wm_tutorial.mistakes.bug import Bug
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part

# The weight of imagined steps -----------------------------------------------------------------------------------------


def right_imagined_weight(continue_: Tensor, gamma: float) -> Tensor:
    """The discounted probability (B, H) that the episode still runs in s_0 .. s_{H-1}; continue_ (B, H + 1)."""
    return torch.cumprod(torch.cat([continue_[:, :1], gamma * continue_[:, 1:-1]], 1), 1)


def _weight_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    batch, horizon = shape
    return {"continue_": uniform(seed, batch, horizon + 1, dtype=dtype, low=0.3, high=1.0), "gamma": 0.9}


IMAGINED_WEIGHT = Part(
    name="imagined_weight",
    right=right_imagined_weight,
    batched=("continue_",),
    cases=(
        {"continue_": torch.tensor([[1.0, 0.5, 1.0, 0.0, 1.0, 0.5]]), "gamma": 0.5},
        *(_weight_case(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "weight_arriving": Mistake(
            "column t is the weight of s_{t+1}; it must be that of s_t, in which the action was taken.",
            "rewards and discounts belong to arriving states; losses belong to the states that are left.",
            (lambda c, gamma: torch.cumprod(gamma * c[:, 1:], 1),
             lambda c, gamma: c[:, :1] * torch.cumprod(gamma * c[:, 1:], 1)),
        ),
        "start_always_counts": Mistake(
            "the first weight is 1 whatever the start is; a start that is itself an end must count nothing.",
            "a product of no factors is 1; but starts come from real sequences, and some of these rows are the last.",
            (lambda c, gamma: torch.cumprod(torch.cat([torch.ones_like(c[:, :1]), gamma * c[:, 1:-1]], 1), 1),),
        ),
        "start_discounted": Mistake(
            "the start is discounted too; gamma comes in with the first step.",
            "gamma * continue of every state looks simpler.",
            (lambda c, gamma: torch.cumprod(gamma * c[:, :-1], 1),),
        ),
        "discount_missing": Mistake(
            "gamma is missing: a step that comes later counts as much.",
            "continue alone says whether the episode still runs.",
            (lambda c, gamma: torch.cumprod(c[:, :-1], 1),),
        ),
        "continue_missing": Mistake(
            "only gamma counts: steps imagined after an end count nearly fully.",
            "powers of gamma are the usual discount.",
            (lambda c, gamma: gamma ** torch.arange(c.shape[1] - 1).to(c).expand_as(c[:, 1:]),),
        ),
        "weights_missing": Mistake(
            "every step counts fully, also one that is imagined after an end.",
            "nothing looks wrong without weights; the agent learns from a life after death.",
            (lambda c, gamma: torch.ones_like(c[:, 1:]),),
        ),
        "weight_over_batch": Mistake(
            "the product runs along the batch and not along time.",
            "axis 0 is time wherever tensors are time first; here it is the batch.",
            (lambda c, gamma: torch.cumprod(torch.cat([c[:, :1], gamma * c[:, 1:-1]], 1), 0),
             lambda c, gamma: torch.cumprod(gamma * c[:, :-1], 0), lambda c, gamma: torch.cumprod(c[:, :-1], 0)),
        ),
        "discount_twice": Mistake(
            "gamma counts twice.",
            "it is multiplied into the continue probability, and into the weight once more.",
            (lambda c, gamma: right_imagined_weight(c, gamma**2),
             lambda c, gamma: right_imagined_weight(gamma * c, gamma)),
        ),
        "not_cumulative": Mistake(
            "each step is weighed by its own continue alone, so the dead rise one step later.",
            "the weight looks like a number of each state; it is one of all the states before it, too.",
            (lambda c, gamma: torch.cat([c[:, :1], gamma * c[:, 1:-1]], 1), lambda c, gamma: c[:, :-1] * gamma,
             lambda c, gamma: c[:, :-1]),
        ),
    },
)  # fmt: skip


# What a dream pays ----------------------------------------------------------------------------------------------------


def right_imagined_return(reward: Tensor, continue_: Tensor) -> Tensor:
    """What is earned (B,) on average until the dream ends; reward (B, H), continue_ (B, H + 1)."""
    return (continue_[:, :-1].cumprod(1) * reward).sum(1)


def _paid(alive: Function) -> Function:
    """The sum of rewards, each multiplied by what `alive` makes of continue_."""
    return lambda reward, continue_: (alive(continue_) * reward).sum(1)


IMAGINED_RETURN = Part(
    name="imagined_return",
    right=right_imagined_return,
    batched=("reward", "continue_"),
    cases=(
        {
            "reward": torch.tensor([[1.0, 2.0, 4.0, 8.0, 16.0]]),
            "continue_": torch.tensor([[1.0, 1.0, 0.5, 1.0, 0.0, 1.0]]),
        },
        *(
            {"reward": uniform(seed + 1, *shape, dtype=dtype)} | {
                name: value for name, value in _weight_case(seed, shape, dtype).items() if name == "continue_"}
            for seed, shape, dtype in variations()
        ),
    ),
    mistakes={
        "continue_missing": Mistake(
            "rewards after an end count fully.",
            "the sum of the rewards is the usual return; real episodes simply stop, imagined ones go on.",
            (_paid(lambda c: 1.0),),
        ),
        "last_reward_lost": Mistake(
            "the reward on arriving in the last state is lost: whether the episode goes on after it does not matter.",
            "reward and continue of one state look as if they belonged together.",
            (_paid(lambda c: c[:, 1:].cumprod(1)), _paid(lambda c: c.cumprod(1)[:, 1:])),
        ),
        "not_cumulative": Mistake(
            "only the state just before counts, so rewards come back one step after an end.",
            "continue looks like a number of each state; whether the dream still runs depends on all before it.",
            (_paid(lambda c: c[:, :-1]), _paid(lambda c: c[:, 1:])),
        ),
    },
)  # fmt: skip


# The gradient of a bandit ---------------------------------------------------------------------------------------------


def right_bandit_gradient(logits: Tensor, reward: Tensor) -> Tensor:
    """The slope (B, A) of the expected reward under softmax(logits)."""
    probability = logits.softmax(-1)
    return probability * (reward - (probability * reward).sum(-1, keepdim=True))


BANDIT_GRADIENT = Part(
    name="bandit_gradient",
    right=right_bandit_gradient,
    batched=("logits", "reward"),
    cases=(
        {"logits": torch.tensor([[2.0, 1.0, 1.0, 1.0]]).log(), "reward": torch.tensor([[10.0, 5.0, 20.0, 0.0]])},
        *(
            {"logits": uniform(seed, *shape, dtype=dtype), "reward": uniform(seed + 1, *shape, dtype=dtype)}
            for seed, shape, dtype in variations()
        ),
    ),
    mistakes={
        "baseline_missing": Mistake(
            "the expected reward is not subtracted: every action with a positive reward is to become more likely.",
            "d(p r)/dp is r; but probabilities sum to 1, so what one gains the others lose.",
            (lambda logits, reward: logits.softmax(-1) * reward,),
        ),
        "plain_mean_subtracted": Mistake(
            "the plain mean of the rewards is subtracted; it must be the mean under the policy.",
            "mean is the shortest average; here actions are not equally likely.",
            (lambda logits, reward: logits.softmax(-1) * (reward - reward.mean(-1, keepdim=True)),),
        ),
        "probability_missing": Mistake(
            "the factor p is missing: an action that is never taken has no slope yet.",
            "reward minus what was expected is the advantage; the slope also asks how often it happens.",
            (lambda logits, reward: reward - (logits.softmax(-1) * reward).sum(-1, keepdim=True),),
        ),
        "minus_forgotten": Mistake(
            "the sign is the other one: this is the slope of a loss.",
            "optimisers descend, and one gets used to the minus; the expected reward is to be climbed.",
            (lambda logits, reward: -right_bandit_gradient(logits, reward),),
        ),
        "of_probabilities": Mistake(
            "this is the slope in the probabilities; it must be the slope in the logits.",
            "the expected reward is linear in the probabilities, with slope r.",
            (lambda logits, reward: reward,),
        ),
    },
)  # fmt: skip

PARTS = (
    IMAGINED_WEIGHT,
    IMAGINED_RETURN,
    BANDIT_GRADIENT,
)
BUGS: tuple[Bug, ...] = ()
