"""Causes for which a run does not learn, seen in what its replay holds: as in `symptoms_of_records`."""

from collections.abc import Callable

import numpy as np

from wm_tutorial.runs.doctor.evidence_of_replay import Stored
from wm_tutorial.runs.doctor.finding import Finding, Told, cause

MATCHED = 0.9  # share of the episodes in the replay that metrics.jsonl must tell of, too


@cause(
    "replay tells another story",
    "experience",
    why="The agent learns from rewards or rows that never were so: some are lost, doubled, changed or moved.",
    remedy="Compare, row by row, what Environments.step returns with what Replay.add is given and Replay.columns hold.",
    chapter="08_trainer",
)
def stored_otherwise(told: Told, stored: Stored) -> str | None:
    """Episodes in the replay have lengths and returns that no episode had which was lived."""
    lived = {(record["length"], f"{record['return']:.6g}") for record in told.of("episode")}
    matched = [(steps, f"{total:.6g}") in lived for steps, total, _ in stored.episodes]
    if len(matched) < 5 or not lived or np.mean(matched) >= MATCHED:
        return None
    steps, total, _ = stored.episodes[matched.index(False)]
    return (
        f"{1.0 - np.mean(matched):.0%} of its {len(matched)} whole episodes have a length and a return that no episode "
        f"of training had, such as {steps} steps with a return of {total:.4g}."
    )


@cause(
    "steps not as counted",
    "experience",
    why="Budget, updates and learning rates go by steps that were not taken so, or rows are lost on their way.",
    remedy="Look at Trainer.collect. Each time, a row of every environment goes into the replay, and those that are "
    "not the last of an episode count as steps.",
    chapter="08_trainer",
)
def steps_miscounted(told: Told, stored: Stored) -> str | None:
    """The rows ever stored are not one for each step, and one for the last row of each episode."""
    ends = len(told.of("episode"))
    expected = told.step + ends
    if not told.records or abs(stored.rows - expected) <= 3 * stored.streams + 0.02 * expected:
        return None
    return f"{stored.rows:,} rows were stored; {told.step:,} steps and {ends:,} ends of episodes make {expected:,}."


REACH = 0.5  # of the rows held: that of SEQUENCES drawn anywhere is nearly all


@cause(
    "sequences not as stored",
    "experience",
    why="The model learns from rows in another order, from too few of them, or always from the same ones.",
    remedy="Hold what Replay.sample returns against Replay.columns: as many rows as --sequence-length says, each "
    "followed by the next of its stream, from anywhere between the oldest and the newest.",
    chapter="08_trainer",
)
def handed_otherwise(told: Told, stored: Stored) -> str | None:
    """The sequences that are handed out are shorter than asked, not what stands in the replay, or from a part of it."""
    if (handed := stored.handed) is None:
        return None
    if handed.length != told.config.sequence_length:
        return (
            f"Sequences of {told.config.sequence_length} rows were asked for, and ones of {handed.length} handed out."
        )
    if handed.torn:
        return f"{handed.torn:.0%} of the rows handed out are not those that stand in their place in the replay."
    if handed.reach < REACH:
        return f"All rows handed out lie within {handed.reach:.0%} of those held."
    return None


REPEATED = 0.15  # share of rows; above ALL of them the world stands still
ALL = 0.95


@cause(
    "rows repeat themselves",
    "experience",
    why="The model learns that actions often do nothing.",
    remedy="Print the observations of ten steps of the environment, and of ten rows of the replay: rows may be stored "
    "twice, or the environment return an old observation. A world that often stands still is no fault.",
    chapter="08_trainer",
)
def rows_repeated(told: Told, stored: Stored) -> str | None:
    """Many vectors that are observed are exactly the vector before."""
    if stored.repeated is None or not REPEATED <= stored.repeated <= ALL:
        return None
    return f"{stored.repeated:.0%} of the rows show exactly what the row before them shows."


@cause(
    "no row is terminal",
    "experience",
    why="The model never learns that anything is over: a fall costs nothing, and values bootstrap beyond it.",
    remedy="Store what env.step calls `terminated` as is_terminal, beside the flag that the episode is over.",
    chapter="08_trainer",
)
def never_terminal(told: Told, stored: Stored) -> str | None:
    """Episodes end sooner or later, so not by a limit on time, and none by a termination."""
    lengths = [length for length, *_ in stored.episodes]
    if len(lengths) < 10 or any(terminal for *_, terminal in stored.episodes):
        return None
    if sum(length < max(lengths) for length in lengths) < len(lengths) / 2:
        return None
    return f"{len(lengths)} episodes ended, after {min(lengths)} to {max(lengths)} steps, and none by a termination."


RENEWED = 0.9  # share of the ends


@cause(
    "ends show the next beginning",
    "experience",
    why="What an episode ended in was never seen: the model knows no fall, and ends look to it like beginnings.",
    remedy="Store what env.step returns with terminated or truncated, and reset after that. A vector environment that "
    "resets at once keeps it in info['final_obs'].",
    chapter="08_trainer",
)
def ends_show_beginnings(told: Told, stored: Stored) -> str | None:
    """The last observation of nearly every episode is exactly the first of the next, though beginnings differ."""
    count = len(stored.episodes)
    if count < 10 or stored.starts < count / 2 or stored.renewed < RENEWED:
        return None
    return f"{stored.renewed:.0%} of {count} episodes end with exactly the observation that the next one begins with."


@cause(
    "time limit stored as a termination",
    "experience",
    why="The model learns that whoever lives long dies, and values nothing beyond the limit: the better the agent, the "
    "more it is told that it fails.",
    remedy="Store what env.step calls `terminated` as is_terminal, and not `terminated or truncated`.",
    chapter="08_trainer",
)
def limit_is_death(told: Told, stored: Stored) -> str | None:
    """Every episode that lived until the limit on time is a termination, where others have ended before it."""
    timed = [terminal for length, _, terminal in stored.episodes if length == told.limit]
    if len(timed) < 3 or len(timed) == len(stored.episodes) or not all(timed):
        return None
    return f"{len(timed)} episodes reached the limit of {told.limit:,} steps, and each is stored as a termination."


USED_MOST = 3000  # times that a row is learned from; PlaNet and DreamerV1 and V2 come to 500 to 1,000
KEPT_LEAST, EPISODES_LEAST = 0.2, 20  # share of all rows that is still held, and whole episodes


@cause(
    "replay too small for its use",
    "experience",
    why="The model learns a few episodes by heart and forgets the rest.",
    remedy="A larger --capacity, or fewer --updates-per-step.",
    chapter="08_trainer",
)
def replay_too_small(told: Told, stored: Stored) -> str | None:
    """The replay has forgotten nearly all that was lived, and holds few episodes; or its rows are used too often."""
    uses = told.updates * told.config.batch_size * told.config.sequence_length / max(stored.rows, 1)
    forgetful = stored.held < KEPT_LEAST * stored.rows and len(stored.episodes) < EPISODES_LEAST
    if not forgetful and uses <= USED_MOST:
        return None
    return (
        f"It holds {stored.held:,} of {stored.rows:,} rows, with {len(stored.episodes)} whole episodes; each row was "
        f"used {uses:,.0f} times on average."
    )


@cause(
    "values beyond the world",
    "behaviour",
    why="The critic believes its own bootstraps, and climbs after values that no world pays.",
    remedy="--discount-in-continue False, a smaller --discount, or --replay-critic-scale above 0. Look whether gamma "
    "and the ends of episodes cut the imagined return.",
    chapter="06_lambda_returns",
)
def values_beyond_the_world(told: Told, stored: Stored) -> str | None:
    """Imagined returns lie above what the highest reward would pay for ever, or below what the lowest would cost."""
    if (returns := told.lately("imagined return")) is None:
        return None
    horizon, (least, most) = 1.0 / (1.0 - told.config.discount), stored.rewards
    low, high = horizon * min(0.0, least), horizon * max(0.0, most)
    slack = 0.1 * (high - low) + 1e-3  # a prediction may be a little wrong
    if low - slack <= returns <= high + slack:
        return None
    return (
        f"Imagined returns are {returns:.4g} on average. Rewards from {least:.3g} to {most:.3g} and discount "
        f"{told.config.discount:g} allow {low:.4g} to {high:.4g}."
    )


TOO_LARGE = 100.0  # a reward, for heads that learn by squared error


@cause(
    "rewards too large",
    "experience",
    why="The square of one large error outweighs everything else there is to learn.",
    remedy="--heads two-hot takes rewards of any size. Or scale them: gymnasium.wrappers.TransformReward.",
    chapter="11_rewards_of_any_size",
)
def rewards_too_large(told: Told, stored: Stored) -> str | None:
    """Rewards are too large for heads that learn by squared error."""
    largest = max(map(abs, stored.rewards))
    if told.config.heads != "squared-error" or largest <= TOO_LARGE:
        return None
    return f"A reward of {largest:.3g} in size, and heads that learn by squared error."


OF_REPLAY: tuple[Callable[[Told, Stored], Finding | None], ...] = (
    stored_otherwise,
    steps_miscounted,
    handed_otherwise,
    rows_repeated,
    never_terminal,
    ends_show_beginnings,
    limit_is_death,
    replay_too_small,
    values_beyond_the_world,
    rewards_too_large,
)
