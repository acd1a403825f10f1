"""How good an agent is: the returns of whole episodes, in environments of their own."""

import warnings
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

import numpy as np

from wm_tutorial.agent import Agent
from wm_tutorial.ambient import as_usual
from wm_tutorial.config import LARGEST_SEED, integers
from wm_tutorial.data import EVALUATE, Array, Row
from wm_tutorial.envs import Environments, EnvSource
from wm_tutorial.errors import InputError
from wm_tutorial.randomness import isolated_random

# An episode of an evaluation ends here at the latest. Atari's, the longest in use, have 27,000 steps.
LONGEST_EPISODE = 30_000
AT_ONCE = 100  # environments that are played side by side, unless there are to be fewer


@dataclass(frozen=True)
class Evaluation:
    """Returns of complete episodes.

    returns  undiscounted return of each episode
    lengths  steps of each episode
    greedy   whether the most likely actions were taken, or sampled ones
    cut      how many of the episodes had not ended after 30,000 steps: they count with their return so far
    """

    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    greedy: bool
    cut: int = 0

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
        if self.cut:
            episodes += f"; {self.cut} of them cut after {LONGEST_EPISODE:,} steps"
        return f"return {self.mean:.1f} ± {self.std:.1f} (mean and standard deviation of {episodes})"


def evaluate(
    agent: Agent,
    source: EnvSource | Environments,
    episodes: int,
    seed: int,
    greedy: bool = True,
    simulators: int | None = None,
) -> Evaluation:
    """Let the agent act in environments of its own, and learn nothing.

    The episodes are shared out among up to 100 streams, evenly or with one more in some: whoever takes the first that
    finish prefers short ones. Neither the agent nor any random state outside is changed, and the environments are
    closed, whatever happens.

    Args:
        agent: who acts.
        source: the environment; or `Environments`, in which the episodes are then played, and which stay open.
        episodes: how many.
        seed: of the episodes.
        greedy: the most likely actions instead of samples.
        simulators: how many environments are open at once. With fewer than there are streams, they play the streams
            in turns, which takes longer. The episodes are the same.

    An environment without a time limit costs no evaluation: an episode ends after 30,000 steps at the latest, with
    its return so far, and a warning says so.

    Raises:
        InputError: if `episodes` or `simulators` is below 1, `seed` not in 0 .. 2**63 - 1, `greedy` neither True nor
            False, or the environment does not fit the agent.
    """
    episodes, seed, at_once = integers(
        episodes=episodes, seed=seed, simulators=AT_ONCE if simulators is None else simulators
    )
    if min(episodes, at_once) < 1 or not 0 <= seed <= LARGEST_SEED:
        raise InputError(
            f"evaluate was asked for {episodes} episodes of seed {seed}, in {at_once} simulators at once; give at "
            "least 1 of each, and a seed of 0 or more, up to 2**63 - 1."
        )
    if not isinstance(greedy, bool | np.bool_):
        raise InputError(f"greedy is {greedy!r}; give True for the most likely actions, or False for sampled ones.")
    streams = min(episodes, AT_ONCE)
    shares = np.full(streams, episodes // streams) + (np.arange(streams) < episodes % streams)  # episodes of each
    with ExitStack() as stack, isolated_random(agent.device, seed), as_usual():
        if isinstance(source, Environments):
            environments = source
        else:
            count = min(streams, at_once)
            environments = stack.enter_context(closing(Environments(source, count, (EVALUATE, seed))))
        agent.check_fits(environments.spaces)
        played = []
        for first in range(0, streams, len(environments)):
            row = environments.begin((EVALUATE, seed), first)
            left = np.zeros(len(environments), int)
            turn = shares[first : first + len(environments)]
            left[: len(turn)] = turn
            played += _play(agent, environments, row, left, greedy)
    returns, lengths, cut = zip(*played, strict=True)
    if any(cut):
        warnings.warn(
            f"{sum(cut)} of {episodes} episodes had not ended after {LONGEST_EPISODE:,} steps, and were cut there. "
            "Give the environment a time limit: gymnasium.wrappers.TimeLimit(env, max_episode_steps=1000).",
            stacklevel=2,
        )
    return Evaluation(returns, lengths, greedy, sum(cut))


def _play(
    agent: Agent, environments: Environments, row: Row, left: Array, greedy: bool
) -> list[tuple[float, int, bool]]:
    """From `row` on, `left` (N,) episodes in each stream: the return and length of each, and whether it was cut."""
    played = []
    carry = agent.initial(len(environments))
    running = np.zeros((2, len(environments)))  # return and length of the running episodes
    while left.any():
        carry = agent.policy(row, carry, greedy)
        row = environments.step(row, carry.action.numpy(force=True))
        running += np.where(row.is_first, 0.0, [row.reward, np.ones(len(environments))])
        cut = ~row.is_last & (running[1] >= LONGEST_EPISODE)
        row = replace(row, is_last=row.is_last | cut)
        for i in np.flatnonzero(row.is_last & (left > 0)):
            played.append((float(running[0, i]), int(running[1, i]), bool(cut[i])))
            left[i] -= 1
        running[:, row.is_last] = 0.0
    return played
