"""How good an agent is: the returns of whole episodes, in environments of their own."""

from dataclasses import dataclass

import numpy as np

from wm_tutorial.agent import Agent
from wm_tutorial.config import LARGEST_SEED, integers
from wm_tutorial.data import EVALUATE
from wm_tutorial.envs import Environments, EnvSource
from wm_tutorial.errors import EnvironmentFailure, InputError
from wm_tutorial.randomness import isolated_random

# An episode of an evaluation with more steps than this has no end: Atari's, the longest in use, have 27,000.
LONGEST_EPISODE = 30_000


@dataclass(frozen=True)
class Evaluation:
    """Returns of complete episodes.

    returns  undiscounted return of each episode
    lengths  steps of each episode
    greedy   whether the most likely actions were taken, or sampled ones
    """

    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    greedy: bool

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))

    @property
    def std(self) -> float:
        """Standard deviation of the returns between episodes."""
        return float(np.std(self.returns))

    def __str__(self) -> str:
        """For people."""
        actions = "greedy" if self.greedy else "sampled"
        episodes = f"{len(self.returns)} episodes, {actions} actions"
        return f"return {self.mean:.1f} ± {self.std:.1f} (mean and standard deviation of {episodes})"


def evaluate(agent: Agent, source: EnvSource, episodes: int, seed: int, greedy: bool = True) -> Evaluation:
    """Let the agent act in environments of its own, and learn nothing.

    Every environment contributes the same number of episodes, or one more: whoever takes the first that finish
    prefers short ones. Neither the agent nor any random state outside is changed.

    Raises:
        InputError: if `episodes` is below 1, `seed` not in 0 .. 2**63 - 1, or the environment does not fit the agent.
        EnvironmentFailure: if an episode does not end within 30,000 steps.
    """
    episodes, seed = integers(episodes=episodes, seed=seed)
    if episodes < 1 or not 0 <= seed <= LARGEST_SEED:
        raise InputError(
            f"evaluate was asked for {episodes} episodes of seed {seed}; give at least 1, and a seed of 0 or more, up "
            "to 2**63 - 1."
        )
    streams = min(episodes, 100)
    left = np.full(streams, episodes // streams) + (np.arange(streams) < episodes % streams)  # episodes to go
    environments = Environments(source, streams, (EVALUATE, seed))
    agent.check_fits(environments.spaces)
    returns, lengths = [], []
    running = np.zeros((2, streams))  # return and length of the running episodes
    row, carry = environments.reset(), agent.initial(streams)
    with isolated_random(carry.action.device, seed):
        while left.any():
            carry = agent.policy(row, carry, greedy)
            row = environments.step(row, carry.action.numpy(force=True))
            running += np.where(row.is_first, 0.0, [row.reward, np.ones(streams)])
            if (running[1] > LONGEST_EPISODE).any():
                raise EnvironmentFailure(
                    f"An episode has not ended after {LONGEST_EPISODE:,} steps, and only whole episodes have a return. "
                    "Give the environment a time limit: gymnasium.wrappers.TimeLimit(env, max_episode_steps=1000)."
                )
            for i in np.flatnonzero(row.is_last & (left > 0)):
                returns.append(float(running[0, i]))
                lengths.append(int(running[1, i]))
                left[i] -= 1
            running[:, row.is_last] = 0.0
    environments.close()
    return Evaluation(tuple(returns), tuple(lengths), greedy)
