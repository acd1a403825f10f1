"""Causes for which a run does not learn, seen in how its agent acts: as in `symptoms_of_records`."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from wm_tutorial.runs.doctor.evidence_of_play import Lived
from wm_tutorial.runs.doctor.evidence_of_replay import Stored
from wm_tutorial.runs.doctor.finding import Finding, Told, cause, standard_error

JUDGED = 5  # episodes without which no mean is compared


@cause(
    "return at chance",
    "outcome",
    why="The agent has not learned to act, or what it learned does not help in the world.",
    remedy="If nothing else is found: more --steps; more random ones before, --prefill, where rewards are rare; a "
    "preset with a memory where one observation does not tell all.",
    chapter="08_trainer",
)
def no_better_than_chance(returns: Sequence[float], chance: Sequence[float]) -> str | None:
    """Returns do not lie above those of random actions, by one standard error of the difference."""
    if min(len(returns), len(chance)) < JUDGED:
        return None
    error = math.hypot(standard_error(returns), standard_error(chance))
    if np.mean(returns) - np.mean(chance) > error:
        return None
    return (
        f"{len(returns)} episodes return {np.mean(returns):.4g} on average; random actions earn {np.mean(chance):.4g}."
    )


def _differ(lived: Lived, better: Sequence[float], worse: Sequence[float]) -> bool:
    """Whether one way to act loses half of what the other earns above chance, beyond three standard errors."""
    if min(len(better), len(worse)) < JUDGED:
        return False
    mean = float(np.mean(better))
    lost, learned = mean - float(np.mean(worse)), mean - float(np.mean(lived.chance))
    error = math.hypot(standard_error(better), standard_error(worse))
    return learned > 3.0 * standard_error(lived.chance) and lost > max(3.0 * error, 0.5 * learned)


def _compared(lived: Lived) -> str:
    greedy, sampled, chance = map(np.mean, (lived.greedy, lived.sampled, lived.chance))
    return f"Greedy actions earn {greedy:.4g}, sampled ones {sampled:.4g} and random ones {chance:.4g}."


@cause(
    "greedy actions worse than sampled",
    "acting",
    why="The most likely action is not the good one: the agent repeats itself where chance would get it out.",
    remedy="Report both returns. Train longer. Look whether acting takes the mode of the policy that was trained.",
    chapter="07_actor_critic",
)
def greedy_worse(told: Told, lived: Lived) -> str | None:
    """The most likely actions earn much less than sampled ones."""
    return _compared(lived) if _differ(lived, lived.sampled, lived.greedy) else None


@cause(
    "sampled actions worse than greedy",
    "behaviour",
    why="Training lives what sampled actions do, so experience looks worse than the agent is.",
    remedy="Report both returns. A smaller --entropy-scale or --policy-unimix, or more updates, let the policy decide.",
    chapter="07_actor_critic",
    hint=True,
)
def sampled_worse(told: Told, lived: Lived) -> str | None:
    """Sampled actions earn much less than the most likely ones."""
    return _compared(lived) if _differ(lived, lived.greedy, lived.sampled) else None


ASTRAY = 1.5  # error of observations decoded from states of acting, as a multiple of that from states of learning


@cause(
    "acts on other states than it learns",
    "acting",
    why="The policy meets states that it was never trained in.",
    remedy="Hold Agent.policy against the dynamics' observe: the state before, the action before, the observation of "
    "now, and a reset where an episode begins.",
    chapter="08_trainer",
)
def acts_on_other_states(told: Told, lived: Lived) -> str | None:
    """The states in which it acts tell less of what is seen than those inferred from the same rows as sequences."""
    if lived.acting is None or lived.observing is None or lived.acting < max(0.2, ASTRAY * lived.observing):
        return None
    return (
        f"Observations are decoded with an error of {lived.acting:.2f} deviations from the states in which it acts, "
        f"and of {lived.observing:.2f} from those inferred from the same rows as sequences."
    )


@cause(
    "episodes begin all alike",
    "experience",
    why="The agent knows the world from a few beginnings only, and is lost where another episode begins.",
    remedy="Begin each episode with another seed: env.reset(seed=...) with the same number begins the same episode.",
    chapter="08_trainer",
)
def starts_all_alike(told: Told, stored: Stored, lived: Lived) -> str | None:
    """In training each environment begins its episodes in one state, while new environments begin in many."""
    count = len(stored.episodes)
    if count < 3 * stored.streams or stored.starts > stored.streams or lived.starts <= stored.streams:
        return None
    return (
        f"{count} episodes of {stored.streams} environments begin with {stored.starts} different observations, and "
        f"{len(lived.sampled)} new ones with {lived.starts}."
    )


BENT, UNBENT = 5.0, 0.02  # error of a line through the replay, as a multiple of that through new rows; deviations
PAYING, PAID = 3.0, 0.05  # how many times fewer or more rows pay than in any new episodes; beyond that, a share of all


@cause(
    "replay unlike the world",
    "experience",
    why="The model learns a world that is not there: rows are missing, doubled, mixed up, beside other actions, or "
    "paid otherwise.",
    remedy="Compare, row by row, what Environments.step is given and returns with what Replay.columns hold.",
    chapter="08_trainer",
)
def unlike_the_world(told: Told, stored: Stored, lived: Lived) -> str | None:
    """A straight line predicts rows much worse than those of new episodes, or far fewer or more of them are paid."""
    least, most = lived.paying
    if not least / PAYING - PAID <= stored.paying <= most * PAYING + PAID:
        return (
            f"In the replay {stored.paying:.0%} of the rows are paid something; in new episodes {least:.0%} to "
            f"{most:.0%} are, however one acts."
        )
    if stored.bent is None or lived.bent is None or stored.bent < max(UNBENT, BENT * lived.bent):
        return None
    return (
        f"A straight line through rows and actions is off by {stored.bent:.3f} deviations in the replay, and by "
        f"{lived.bent:.3f} at most in new episodes."
    )


OVERPROMISED = 2.0  # how many times what was earned; values may lag behind, but not run ahead


@cause(
    "values that are not paid",
    "behaviour",
    why="The policy climbs towards what is only believed: the dream pays more than the world, or never ends.",
    remedy="Look at ends in imagination, at gamma, and where the return bootstraps. --replay-critic-scale above 0 "
    "holds values to what was really earned.",
    chapter="06_lambda_returns",
)
def values_not_paid(told: Told, stored: Stored, lived: Lived) -> str | None:
    """The critic promises far more than the agent then earns."""
    if lived.promised is None or lived.paid is None:
        return None
    if lived.promised - lived.paid < (OVERPROMISED - 1.0) * max(abs(lived.paid), *map(abs, stored.rewards)):
        return None
    return (
        f"The critic promises {lived.promised:.4g} on average, and new episodes then pay {lived.paid:.4g}, discounted."
    )


UNDERPROMISED = 8.0  # how many times less than what was earned; in their first updates values lag behind several times


@cause(
    "values far below what is paid",
    "behaviour",
    why="Whatever surpasses them looks good, so the policy is praised for what it did not decide; and what comes "
    "after the horizon counts for nearly nothing.",
    remedy="Look at what the critic learns (returns in their own unit, not divided by their range), whether returns "
    "bootstrap from it at the horizon, and whether ends cut them. A larger --critic-lr.",
    chapter="06_lambda_returns",
)
def values_far_below(told: Told, stored: Stored, lived: Lived) -> str | None:
    """The critic expects a small part of what the agent then earns, which is much more than any one reward."""
    if lived.promised is None or lived.paid is None or lived.paid < UNDERPROMISED * max(map(abs, stored.rewards)):
        return None
    if lived.promised * UNDERPROMISED > lived.paid:
        return None
    return f"The critic expects {lived.promised:.4g} on average; new episodes then pay {lived.paid:.4g}, discounted."


OF_ACTING: tuple[Callable[[Told, Lived], Finding | None], ...] = (greedy_worse, sampled_worse, acts_on_other_states)
OF_PLAY: tuple[Callable[[Told, Stored, Lived], Finding | None], ...] = (
    starts_all_alike,
    unlike_the_world,
    values_not_paid,
    values_far_below,
)
