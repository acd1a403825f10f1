"""Causes for which a run does not learn, seen in its metrics and options: each a pure function.

A function returns a `Finding` where its cause shows, and None where it does not. The numbers that decide stand above
it. They were set on short runs, sound ones and ones with a mistake of the zoo; `benchmarks/doctor.py` judges them on
others.
"""

import math
from collections.abc import Callable

import numpy as np

from wm_tutorial.runs.doctor.finding import ENOUGH, Finding, Told, cause, standard_error

ROUNDING = 0.01  # share by which the mean of exact numbers may differ from them, in bfloat16, too


@cause(
    "KL that cannot be",
    "world model",
    why="The model learns by another divergence than it is meant to: the order of its arguments, its sign, its "
    "free nats or its stop-gradients are not what the options say.",
    remedy="Hold balanced_kl against chapter 4: check.kl_balance(mine) names the mistake.",
    chapter="04_kl",
)
def divergence_impossible(told: Told) -> str | None:
    """A logged KL lies below its free nats, or its two terms differ, which are one number that teaches two sides."""
    floor, dynamics, representation = told.config.free_nats, told.ever("dynamics"), told.ever("representation")
    if (low := min(dynamics + representation, default=floor)) < floor - ROUNDING * max(floor, 0.1):
        return f"A KL of {low:.3g} nats was logged; with free_nats {floor:g} none can lie below {floor:g}."
    pairs = zip(dynamics, representation, strict=False)
    if (apart := max((abs(d - r) / max(d, 0.01) for d, r in pairs), default=0.0)) > ROUNDING:
        return f"The losses dynamics and representation differ by {apart:.0%}; both are the KL of posterior from prior."
    return None


@cause(
    "entropy that cannot be",
    "behaviour",
    why="The policy is another distribution than the options say. Without its share of chance, or the bounds of its "
    "deviation, it can stop exploring for good.",
    remedy="Look at Actor.forward: policy_unimix for discrete actions, BoundedNormal for continuous ones.",
    chapter="07_actor_critic",
)
def entropy_impossible(told: Told) -> str | None:
    """A logged entropy lies outside of what the policy can have, with its actions and its share of chance."""
    if not (bounds := entropy_bounds(told)) or not (entropy := told.ever("entropy")):
        return None
    low, high = bounds
    slack = ROUNDING * (high - low) + 1e-6
    for number in (min(entropy), max(entropy)):
        if not low - slack <= number <= high + slack:
            return (
                f"An entropy of {number:.3f} nats was logged; these actions and options allow {low:.3f} to {high:.3f}."
            )
    return None


def entropy_bounds(told: Told) -> tuple[float, float] | None:
    """The lowest and the highest entropy, in nats, that the policy can have; None if it has none, or is unknown."""
    if told.spaces is None or told.config.behaviour != "actor-critic":
        return None
    each = [factor_bounds(kind, size, told.config.policy_unimix) for kind, size in told.spaces.factors]
    return sum(low for low, _ in each), sum(high for _, high in each)


def factor_bounds(kind: str, count: int, unimix: float) -> tuple[float, float]:
    """The lowest and the highest entropy, in nats, of one factor of the policy."""
    if kind == "continuous":  # deviations from 0.1 to 1
        high = count * 0.5 * math.log(2.0 * math.pi * math.e)
        return high + count * math.log(0.1), high
    rest = unimix / count  # of each action that the policy would never take
    shares = np.array([1.0 - rest * (count - 1), *[rest] * (count - 1)])
    shares = shares[shares > 0.0]
    return float(-(shares * np.log(shares)).sum()), math.log(count)


def entropy_share(told: Told) -> float | None:
    """How far the policy's entropy lies, lately, on the way from the lowest it can be (0) to the highest (1)."""
    bounds, entropy = entropy_bounds(told), told.lately("entropy")
    if bounds is None or entropy is None or bounds[1] - bounds[0] < 1e-6:
        return None
    return (entropy - bounds[0]) / (bounds[1] - bounds[0])


GONE, UNTOUCHED = 0.01, 0.98  # of that share


@cause(
    "entropy gone",
    "behaviour",
    why="A policy that always does the same sees nothing new, and never learns that something else is better.",
    remedy="A larger --entropy-scale or --policy-unimix, or a smaller --actor-lr.",
    chapter="07_actor_critic",
)
def entropy_gone(told: Told) -> str | None:
    """The policy has hardly any chance left, and the last evaluation half of what the best one had above chance."""
    share, means, chance = entropy_share(told), told.evaluations(), told.chance()
    if share is None or share > GONE or not means or not chance:
        return None
    above, most = means[-1] - np.mean(chance), max(means) - np.mean(chance)
    if above > 0.5 * most and most > 2.0 * standard_error(chance):
        return None
    return (
        f"The policy keeps {max(share, 0.0):.1%} of the entropy it can have. The last evaluation is {means[-1]:.4g}, "
        f"the best was {max(means):.4g}, and chance earns {np.mean(chance):.4g}."
    )


@cause(
    "policy is still chance",
    "behaviour",
    why="Nothing has told the policy which actions are better: its advantages are noise, or weigh too little beside "
    "the entropy, or never reach it.",
    remedy="Look at the actor's gradient in metrics.jsonl and at the advantages. A smaller --entropy-scale, a larger "
    "--actor-lr. check.policy_loss(mine) names mistakes in its loss.",
    chapter="07_actor_critic",
)
def policy_untouched(told: Told) -> str | None:
    """The policy is as random as at the start, after updates enough."""
    share = entropy_share(told)
    if share is None or share < UNTOUCHED or told.updates < ENOUGH:
        return None
    return f"After {told.updates:,} updates the policy's entropy is {share:.1%} of the way up to that of pure chance."


@cause(
    "updates not as asked",
    "training",
    why="With fewer updates the agent learns less from what it lived; with more, or too early ones, it learns a small "
    "piece of the world by heart.",
    remedy="Look at Trainer.updates_due: it counts the steps of all environments, less those of the prefill.",
    chapter="08_trainer",
)
def updates_miscounted(told: Told) -> str | None:
    """By some line there were more or fewer updates than the options ask for: by more than 2 %, and than a few."""
    config = told.config
    for line in told.of("train"):
        due = max(0.0, (line["step"] - config.prefill) * config.updates_per_step)
        if abs(line["updates"] - due) > max(0.02 * due, config.envs * config.updates_per_step + 2):
            return (
                f"{line['updates']:,} updates by step {line['step']:,}; prefill {config.prefill:,} and "
                f"updates_per_step {config.updates_per_step:g} ask for {due:,.0f}."
            )
    return None


STILL = 1e-7  # norm of a gradient


def _still(told: Told, part: str) -> str | None:
    norm = told.lately(f"{part} gradient")
    return None if norm is None or norm > STILL else f"The norm of its gradient is {norm:.1g}."


@cause(
    "world model without gradient",
    "world model",
    why="It stays as it is, whatever its losses say.",
    remedy="Look for a detach, a no_grad or a clamp between the losses and the parameters.",
    chapter="03_heads",
)
def model_stands_still(told: Told) -> str | None:
    """The world model receives no gradient."""
    return _still(told, "world model")


@cause(
    "actor or critic without gradient",
    "behaviour",
    why="It stays as it is, whatever its loss says.",
    remedy="Look for a detach or a no_grad between the loss and the parameters, and whether its advantages are all 0.",
    chapter="07_actor_critic",
)
def behaviour_stands_still(told: Told) -> str | None:
    """Actor or critic receives no gradient."""
    return _still(told, "actor") or _still(told, "critic")


@cause(
    "gradient always clipped",
    "training",
    why="The largest loss decides alone where an update leads, and without Adam how far, too.",
    remedy="Look which loss is large in metrics.jsonl, and whether it falls. A smaller weight of it; a larger --clip.",
    chapter="08_trainer",
    hint=True,
)
def gradient_clipped(told: Told) -> str | None:
    """The gradient of a part is longer than it is clipped to, in most lines of the second half."""
    if told.updates < ENOUGH:  # the first updates are long in every run
        return None
    for part in ("world model", "actor", "critic"):
        norms = told.ever(f"{part} gradient")
        if norms and (norm := float(np.median(norms[len(norms) // 2 :]))) > told.config.clip:
            return f"The gradient of the {part} has a norm of {norm:.3g}, and is clipped to {told.config.clip:g}."
    return None


UNIT = 4.0  # how many times smaller values may be than the returns they are learned from, or larger; slow ones lag


@cause(
    "critic in another unit",
    "behaviour",
    why="What surpasses values that are far too low looks good, and everything falls short of ones that are too high: "
    "the policy is praised or blamed for what it did not decide.",
    remedy="Look at what the critic learns (returns in their own unit, not divided by their range), at the parameters "
    "that its optimiser holds, and at the slow critic.",
    chapter="07_actor_critic",
)
def critic_in_another_unit(told: Told) -> str | None:
    """Values and the returns that they are learned from have different sizes, or signs."""
    value, returns = told.lately("value"), told.lately("imagined return")
    if value is None or returns is None or told.updates < ENOUGH:
        return None
    apart, size = abs(value - returns), max(abs(value), abs(returns))
    if size < 1.0 or apart < (1.0 - 1.0 / UNIT) * size:
        return None
    return f"Values are {value:.3g} on average, and the imagined returns that they are learned from {returns:.3g}."


@cause(
    "return was higher before",
    "outcome",
    why="What was learned has been lost again. Small agents waver; a critic that lags behind, or believes the dream "
    "alone, makes it worse.",
    remedy="Another --seed tells whether it was chance. Then a smaller --actor-lr, or --replay-critic-scale above 0.",
    chapter="07_actor_critic",
    hint=True,
)
def return_lost(told: Told) -> str | None:
    """The last evaluation keeps less than half of what the best one had above chance."""
    means, chance = told.evaluations(), told.chance()
    if len(means) < 3 or not chance:
        return None
    best, last, start = max(means), means[-1], float(np.mean(chance))
    if best - start < 3.0 * standard_error(chance) or last - start > 0.5 * (best - start):
        return None
    return f"The last evaluation is {last:.4g}, the best was {best:.4g}, and chance earns {start:.4g}."


@cause(
    "learning rates ended early",
    "training",
    why="The run ended because its schedule did, and not because there was nothing left to learn.",
    remedy="Train anew with more --steps, so that learning rates fall more slowly; or resume with more.",
    chapter="08_trainer",
    hint=True,
)
def ended_too_early(told: Told) -> str | None:
    """Returns were still rising in the last fifth of the run, in which the learning rates fell to nothing."""
    steps, episodes = told.config.steps, told.of("episode")
    if told.config.final_lr > 0.1 or told.step < steps or told.config.prefill > 0.6 * steps:
        return None
    late = [r["return"] for r in episodes if r["step"] > 0.9 * steps]
    before = [r["return"] for r in episodes if 0.7 * steps < r["step"] <= 0.8 * steps]
    rise = float(np.mean(late) - np.mean(before)) if late and before else 0.0
    if rise <= 2.0 * math.hypot(standard_error(late), standard_error(before)):
        return None
    return (
        f"Returns of training rose from {np.mean(before):.4g} to {np.mean(late):.4g} in the last fifth of the run, "
        f"while the learning rates fell to {told.config.final_lr:g} of themselves."
    )


OF_RECORDS: tuple[Callable[[Told], Finding | None], ...] = (
    divergence_impossible,
    entropy_impossible,
    entropy_gone,
    policy_untouched,
    updates_miscounted,
    model_stands_still,
    behaviour_stands_still,
    gradient_clipped,
    critic_in_another_unit,
    return_lost,
    ended_too_early,
)
