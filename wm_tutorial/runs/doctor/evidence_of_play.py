"""What a doctor can know of how an agent acts: new episodes, lived greedily, with sampled actions, and by chance.

In environments of their own, with random numbers of their own; nothing in the run is changed.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch

from wm_tutorial.agent import Agent, Carry
from wm_tutorial.data import Array, Row
from wm_tutorial.envs import Environments, EnvSource
from wm_tutorial.randomness import isolated_random
from wm_tutorial.runs.doctor.evidence_of_model import error
from wm_tutorial.runs.doctor.evidence_of_replay import LENGTH, paying_rows, straight_line
from wm_tutorial.runs.dream import as_batch, worlds_of
from wm_tutorial.trainer import Trainer
from wm_tutorial.vector import VectorEnvironments

EPISODES = 32  # lived, of each way to act
LONGEST = 501  # rows of an episode that are lived at most


@dataclass(frozen=True)
class Lived:
    """New episodes, in environments and with seeds that training never sees.

    greedy, sampled, chance  the return of each episode, acting in these ways; that of at most LONGEST rows
    starts     how many different observations the sampled ones begin with
    promised   the critic's value, mean over the rows of the sampled ones; None if there is no critic
    paid       what was then earned, discounted, mean over the same rows, with the critic's value where one was cut
    acting     error of the observation, decoded from the states that were inferred while acting; as `Known.seen`
    observing  the same, from the states that are inferred from the same rows as a sequence
    bent       as `Stored.bent`, of that way to act of which a straight line is furthest from the rows
    paying     as `Stored.paying`, lowest and highest of the ways to act
    """

    greedy: tuple[float, ...]
    sampled: tuple[float, ...]
    chance: tuple[float, ...]
    starts: int
    promised: float | None = None
    paid: float | None = None
    acting: float | None = None
    observing: float | None = None
    bent: float | None = None
    paying: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Played:
    """Rows of N streams with what was carried after each, the action taken then, and of each stream's first episode its
    steps and return.
    """

    rows: list[tuple[Row, Carry]]
    actions: list[Array]
    steps: Array
    returns: Array
    over: Array


def lived(agent: Agent, source: EnvSource, simulators: int, longest: int = LONGEST, seed: int = 0) -> Lived:
    """Live an episode in each of `simulators` environments greedily, with sampled actions, and by chance.

    Raises:
        EnvironmentFailure: if an environment raises.
        InputError: if it does not fit the agent, or cannot be built.
    """
    play_ = partial(play, agent, source, simulators, longest, seed)
    greedy, sampled, chance = play_("greedy"), play_("sampled"), play_("chance")
    paying = [paying_rows(column(p, "reward"), column(p, "is_first")) for p in (greedy, sampled, chance)]
    values: dict[str, float | None] = {}
    if agent.spaces.obs_kind == "vector":
        lines = [
            straight_line(column(p, "obs"), np.stack(p.actions, axis=1), column(p, "is_first"))
            for p in (greedy, sampled, chance)
        ]
        values["bent"] = max((line[1] for line in lines if line is not None), default=None)
    if hasattr(agent.world_model, "observe"):  # V and M of 2018 are no world model that could be asked so
        rows = sampled.rows[: 4 * LENGTH]
        batch = as_batch(agent, [(row, carry.action) for row, carry in rows])
        acting = torch.stack([carry.state.feature for _, carry in rows], dim=1)
        with torch.no_grad(), isolated_random(agent.device, seed):
            decode, shown = agent.world_model.decode, agent.spaces.shown(batch.obs)
            values["acting"] = error(decode(acting).mean, shown)
            values["observing"] = error(decode(agent.world_model.observe(batch).feature).mean, shown)
        if agent.config.behaviour == "actor-critic":
            values["promised"], values["paid"] = promises(agent, sampled)
    return Lived(
        greedy=tuple(greedy.returns.tolist()),
        sampled=tuple(sampled.returns.tolist()),
        chance=tuple(chance.returns.tolist()),
        starts=len({obs.tobytes() for obs in sampled.rows[0][0].obs}),
        paying=(min(paying), max(paying)),
        **values,
    )


def play(
    agent: Agent,
    source: EnvSource,
    simulators: int,
    longest: int,
    seed: int,
    way: Literal["greedy", "sampled", "chance"],
) -> Played:
    """The first episode of each stream, of at most `longest` rows; streams that are through go on with others."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[Row, Carry]] = []
    actions: list[Array] = []
    steps, returns, over = np.zeros(simulators, int), np.zeros(simulators), np.zeros(simulators, bool)
    with worlds_of(agent, source, simulators, seed) as environments, isolated_random(agent.device, seed):
        row, carry = environments.reset(), agent.initial(simulators)
        while len(rows) < longest:
            if way == "chance":
                action = environments.random_action(rng)
            else:
                carry = agent.policy(row, carry, way == "greedy")
                action = carry.action.numpy(force=True)
            rows.append((row, carry))
            actions.append(action)
            if over.all() and len(rows) >= LENGTH:
                break
            row = environments.step(row, action)
            steps += ~over
            returns += np.where(over, 0.0, row.reward)
            over |= row.is_last
    return Played(rows, actions, steps, returns, over)


def column(played: Played, name: str) -> Array:
    """What all rows say of one thing, (N, T, ...)."""
    return np.stack([getattr(row, name) for row, _ in played.rows], axis=1)


@torch.no_grad()
def promises(agent: Agent, played: Played) -> tuple[float, float]:
    """The critic's value and the discounted return, each a mean over the rows of the first episode of each stream."""
    value = torch.stack([agent.behaviour.critic(c.state.feature).mean for _, c in played.rows]).numpy(force=True)
    reward = np.stack([row.reward for row, _ in played.rows])
    terminal = np.stack([row.is_terminal for row, _ in played.rows])
    promised, paid = [], []
    for i, count in enumerate(played.steps):
        count = min(count, len(value) - 1)
        following = 0.0 if terminal[count, i] else float(value[count, i])
        for t in reversed(range(count)):
            following = float(reward[t + 1, i]) + agent.config.discount * following
            paid.append(following)
            promised.append(float(value[t, i]))
    return float(np.mean(promised)), float(np.mean(paid))


def at_once(trainer: Trainer) -> tuple[int, int]:
    """How many environments may be open for a look, and for how many rows: there may be but one, and a plan is slow."""
    many = EPISODES if trainer.config.envs > 1 else 1
    return (min(many, 4), 5 * LENGTH) if trainer.config.behaviour == "planner" else (many, LONGEST)


def time_limit(environments: Environments) -> int | None:
    """Steps after which Gymnasium's wrapper cuts an episode short; None without one, or where somebody else steps."""
    env: Any = None if isinstance(environments, VectorEnvironments) else environments.streams[0]
    while isinstance(env, gym.Wrapper):
        if isinstance(env, gym.wrappers.TimeLimit):
            return env._max_episode_steps
        env = env.env
    return None
