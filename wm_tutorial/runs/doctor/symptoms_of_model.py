"""Causes for which a run does not learn, seen in what its model knows and dreams: as in `symptoms_of_records`."""

from collections.abc import Callable

import numpy as np

from wm_tutorial.runs.doctor.evidence_of_model import Known
from wm_tutorial.runs.doctor.evidence_of_replay import Stored
from wm_tutorial.runs.doctor.finding import Finding, Told, cause

COLLAPSED, UNEXPLAINED = 0.05, 0.8  # nats; error of a decoded observation in deviations, where saying the mean has 1


@cause(
    "posterior collapsed",
    "world model",
    why="The latent has stopped telling what is seen: what is imagined from it has nothing to do with the world.",
    remedy="A larger --decoder-scale, a smaller --representation-scale, some --free-nats. Look whether the observation "
    "reaches the posterior.",
    chapter="04_kl",
)
def posterior_collapsed(told: Told, known: Known) -> str | None:
    """The posterior says what the prior says, and observations are not explained."""
    if known.divergence > COLLAPSED or known.seen < UNEXPLAINED:
        return None
    return (
        f"The posterior is {known.divergence:.2g} nats from the prior. Observations are decoded with an error of "
        f"{known.seen:.2f} deviations, where saying the mean has 1."
    )


@cause(
    "observation not in the state",
    "world model",
    why="What the state does not hold, no reward, no value and no policy can depend on.",
    remedy="A larger --decoder-scale or --world-model-lr, or more updates. Look whether the decoder's loss is in the "
    "sum, and whether the encoder learns.",
    chapter="01_encoder",
)
def observation_unexplained(told: Told, known: Known) -> str | None:
    """Observations cannot be decoded from the states inferred from them, though the posterior is not collapsed."""
    if known.seen < UNEXPLAINED or posterior_collapsed(told, known):
        return None
    return f"Observations are decoded with an error of {known.seen:.2f} deviations, where saying the mean has 1."


@cause(
    "states remember the episode before",
    "world model",
    why="What is seen at a beginning is explained by an episode that has nothing to do with it.",
    remedy="Where is_first is set, begin with the empty state and with no action: in the dynamics' observe, in the row "
    "that is first, not in the one before it or after it.",
    chapter="02_dynamics",
)
def remembers_over_resets(told: Told, known: Known) -> str | None:
    """What is expected at a beginning, or after it, depends on the rows before it."""
    if not known.remembered:
        return None
    return (
        f"From a beginning on, in {known.remembered:.0%} of the rows other states are expected after another episode."
    )


REDRAWN = 0.005  # share of states; of a latent of 8 variables with 1 % of chance in each it is at least 0.05


@cause(
    "latent drawn without chance",
    "world model",
    why="What the model is unsure of it takes for certain: dreams from one state are all alike, and the policy learns "
    "to live in the one that never comes.",
    remedy="Draw z from the posterior, with new random numbers each time: no mode, no mean, no noise kept from before.",
    chapter="01_encoder",
)
def drawn_without_chance(told: Told, known: Known) -> str | None:
    """Observed twice, the same rows have the same latents, though these have chance in them."""
    if known.redrawn > REDRAWN or (told.config.latent == "categorical" and not told.config.unimix):
        return None
    return f"Rows of the replay were observed twice, and {known.redrawn:.1%} of their latents differ."


ON_THE_FLOOR = 0.9  # share of states whose KL lies below the free nats


@cause(
    "KL on its free nats",
    "world model",
    why="Below the free nats the prior has no gradient, and stays as wrong as they allow.",
    remedy="--free-nats 0, as in the small sizes of DreamerV3.",
    chapter="04_kl",
)
def prior_not_taught(told: Told, known: Known) -> str | None:
    """Nearly every state is below its free nats, and dreams are no better than expecting no change."""
    if not told.config.free_nats or known.floor < ON_THE_FLOOR or known.dreamed is None or known.persistence is None:
        return None
    if known.dreamed < known.persistence:
        return None
    return (
        f"{known.floor:.0%} of the states lie below the {told.config.free_nats:g} free nats. Dreams are off by "
        f"{known.dreamed:.2f} deviations, and expecting no change by {known.persistence:.2f}."
    )


OTHERWISE, ALLOWED = 2.0, 0.5  # how many times a logged KL may be one that is measured anew; and nats beyond that


@cause(
    "KL not as logged",
    "world model",
    why="What the losses call the divergence of a state is another number: against the other losses it weighs as many "
    "times too much or too little.",
    remedy="Look over what it is summed, and over what it is a mean: a sum over the latents of a state, and a mean "
    "over states and sequences.",
    chapter="04_kl",
)
def divergence_logged_otherwise(told: Told, known: Known) -> str | None:
    """The KL of sequences from the replay is not what the last lines of losses say, give or take its free nats."""
    if (logged := told.lately("dynamics")) is None:
        return None
    least, most = known.divergence, known.divergence + told.config.free_nats
    if least / OTHERWISE - ALLOWED <= logged <= most * OTHERWISE + ALLOWED:
        return None
    return f"The losses say {logged:.4g} nats; of sequences in the replay the KL is {known.divergence:.4g}."


STILLNESS = 0.2  # deviations by which observations change while a dream lasts, or it is no test


@cause(
    "dream worse than persistence",
    "world model",
    why="Actor and critic learn in a world that is not the one they will act in.",
    remedy="More updates, or a larger --world-model-lr. Look at the previous action and at resets in the dynamics; "
    "wm-tutorial dream RUN shows where it goes astray.",
    chapter="02_dynamics",
)
def dream_worse_than_persistence(told: Told, known: Known) -> str | None:
    """Dreams are further from what happened than the last observation that was seen."""
    if known.dreamed is None or known.persistence is None or known.persistence < STILLNESS:
        return None
    if known.dreamed < known.persistence:
        return None
    return (
        f"Dreams from the actions of the replay are off by {known.dreamed:.2f} deviations; who expects no change is "
        f"off by {known.persistence:.2f}."
    )


DEAF, RIGHT = (
    0.95,
    0.3,
)  # error as a share of that with the actions of others; below which a dream is right all the same
MOVED = 0.25  # how far actions move a dream, as a share of how far they move a straight line that is right


@cause(
    "dream deaf to actions",
    "world model",
    why="A policy cannot learn what its actions do where they do nothing, or the wrong thing.",
    remedy="Look whether the action before a row reaches its prior, in learning and in imagination: that action, and "
    "not the one before it or after it. A world that does not answer actions is no fault.",
    chapter="02_dynamics",
)
def dream_deaf_to_actions(told: Told, known: Known) -> str | None:
    """Other actions do not move a dream, though they move a straight line; or its error, where no line is right."""
    if known.dreamed is None or known.misled is None or known.moved is None or known.dreamed < RIGHT:
        return None
    seen = f"Dreams are off by {known.dreamed:.2f} deviations; with the actions of others by {known.misled:.2f}."
    if known.line and known.line[0] < RIGHT:
        if known.moved >= MOVED * known.line[1] or known.line[1] < RIGHT:
            return None
        return (
            f"{seen} These move it by {known.moved:.2f}, and a straight line through the replay by {known.line[1]:.2f}."
        )
    return None if known.dreamed < DEAF * known.misled else seen


REWARD = 1.05  # error of the reward, in deviations: saying the mean has 1


@cause(
    "reward not known",
    "world model",
    why="This head pays what is imagined: the policy learns to earn something else than the world pays.",
    remedy="Look which row's reward the head learns (that on arriving), and how numbers are coded. A larger "
    "--reward-scale.",
    chapter="03_heads",
)
def reward_unknown(told: Told, known: Known) -> str | None:
    """The reward head is worse than who always says the mean."""
    if known.reward < REWARD:
        return None
    return f"Rewards are predicted with an error of {known.reward:.2f} deviations, where saying the mean has 1."


APART_BY, OF_RANGE = 0.1, 0.1  # shares of the larger of two returns, and of the range of returns


def _differ_in(one: float, another: float, known: Known) -> bool:
    """Whether two mean returns differ by more than a tenth, and by more than means of some hundred dreams may."""
    return abs(one - another) > max(APART_BY * max(abs(one), abs(another)), OF_RANGE * (known.spread or 0.0))


@cause(
    "returns not as imagined anew",
    "behaviour",
    why="What actor and critic are told of a dream is not what happens in it.",
    remedy="Look what imagination and the lambda returns are given: rewards and ends on arriving, gamma once, a "
    "bootstrap at the horizon. check.lambda_returns(mine) names mistakes in their sum.",
    chapter="06_lambda_returns",
)
def imagined_otherwise(told: Told, known: Known) -> str | None:
    """Lambda returns of dreams of the same parts, added up once more, are not what the last losses say."""
    logged = told.ever("imagined return")
    if known.imagined is None or len(logged) < 2:
        return None
    last, further = logged[-1], 2.0 * logged[-1] - logged[-2]  # as far again: returns rise from line to line
    nearest = float(np.clip(known.imagined[0], min(last, further), max(last, further)))
    if not _differ_in(nearest, known.imagined[0], known):
        return None
    return f"The losses say that imagined returns are {last:.4g}; imagined anew they are {known.imagined[0]:.4g}."


@cause(
    "policy worse than chance in its own dream",
    "behaviour",
    why="Whatever the model is like, who learns in it should do well in it: this policy is taught something else.",
    remedy="Look which action is praised for which outcome, that imagined actions are sampled and stand beside the "
    "state they are chosen in, and at the signs of advantage and entropy. check.policy_loss(mine) names mistakes.",
    chapter="07_actor_critic",
)
def worse_in_its_dream(told: Told, known: Known) -> str | None:
    """In dreams from states of the replay random actions earn clearly more than the policy that has learned there."""
    policy, by_chance = known.imagined or (0.0, 0.0)
    if policy >= by_chance or not _differ_in(policy, by_chance, known):
        return None
    return f"In dreams from rows of the replay the policy earns {policy:.4g}, and random actions {by_chance:.4g}."


APART, ENDS_LEAST = 0.75, 10  # share of comparisons in which an end is thought the likelier end; ends looked at
_ENDS = "Nothing in imagination tells the policy to stay away from what ends an episode."


@cause(
    "ends taken for other rows",
    "world model",
    why=_ENDS,
    remedy="Look which row's end the head learns, and whether terminations are stored. A larger --continue-scale, 10 "
    "in the small sizes of DreamerV3, and --decoder-scale.",
    chapter="03_heads",
)
def ends_unknown(told: Told, known: Known) -> str | None:
    """Rows at which an episode terminated look to the model like any others."""
    if known.ends < ENDS_LEAST or known.told_apart >= APART:
        return None
    return (
        f"Of {known.ends} rows at which an episode terminated and as many others, the model finds the former the "
        f"likelier end in {known.told_apart:.0%} of the comparisons; by chance it would be 50%."
    )


@cause(
    "ends underrated",
    "world model",
    why=_ENDS,
    remedy="A larger --continue-scale, 10 in the small sizes of DreamerV3, and --decoder-scale; more updates.",
    chapter="03_heads",
    hint=True,
)
def ends_underrated(told: Told, known: Known) -> str | None:
    """The model tells ends from other rows, but expects most episodes to go on after them."""
    if known.ends < ENDS_LEAST or known.told_apart < APART or known.missed <= 0.5:
        return None
    return f"After {known.missed:.0%} of {known.ends} rows at which an episode terminated the model thinks it goes on."


INVENTED = 0.05  # mean probability of an end in rows that are none, beyond three times the share of rows that are


@cause(
    "ends where there are none",
    "world model",
    why="Imagined returns are cut short: what is earned later seems worth little.",
    remedy="Look what the continue head learns (1 where the episode goes on), that its loss is given a logit, and "
    "that a time limit is no termination.",
    chapter="03_heads",
)
def ends_invented(told: Told, stored: Stored, known: Known) -> str | None:
    """The model expects ends where there are none, far more often than there are any."""
    share = sum(terminal for *_, terminal in stored.episodes) / max(stored.held, 1)
    if known.invented < INVENTED + 3.0 * share:
        return None
    return (
        f"Rows after which the episode goes on are given an end with probability {known.invented:.2f}; {share:.3f} of "
        "all rows are ends."
    )


TOO_SMALL = 0.03  # of rewards, and of the range of returns that advantages would be divided by, were it above 1


@cause(
    "rewards too small",
    "experience",
    why="Advantages are divided by 1 at least: such small ones weigh nothing beside the policy's entropy.",
    remedy="Scale the rewards so that returns differ by 1 or more: gymnasium.wrappers.TransformReward. Or a smaller "
    "--entropy-scale.",
    chapter="11_rewards_of_any_size",
)
def rewards_too_small(told: Told, stored: Stored, known: Known) -> str | None:
    """Rewards and imagined returns are so small that the entropy outweighs them."""
    largest = max(map(abs, stored.rewards))
    if known.spread is None or known.spread >= TOO_SMALL or not 0.0 < largest < TOO_SMALL:
        return None
    return f"The largest reward is {largest:.2g} in size, and imagined returns lie within {known.spread:.2g}."


OF_MODEL: tuple[Callable[[Told, Known], Finding | None], ...] = (
    posterior_collapsed,
    observation_unexplained,
    remembers_over_resets,
    drawn_without_chance,
    prior_not_taught,
    divergence_logged_otherwise,
    dream_worse_than_persistence,
    dream_deaf_to_actions,
    reward_unknown,
    ends_unknown,
    ends_underrated,
    imagined_otherwise,
    worse_in_its_dream,
)
OF_BOTH: tuple[Callable[[Told, Stored, Known], Finding | None], ...] = (ends_invented, rewards_too_small)
