"""A real episode, and the same episode dreamed: the model sees the beginning, then goes on from the actions alone."""

import dataclasses
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from wm_tutorial.agent import Agent
from wm_tutorial.config import LARGEST_SEED, integers
from wm_tutorial.data import DREAM, Array, Batch, Dream, Row
from wm_tutorial.envs import Environments, EnvSource, make_env
from wm_tutorial.errors import InputError
from wm_tutorial.randomness import isolated_random

# What the entries of well-known observations are called, for the labels of figures.
OBSERVATION_NAMES = {
    "CartPole-v1": ("cart position (m)", "cart velocity (m/s)", "pole angle (rad)", "pole velocity (rad/s)"),
    "wm_tutorial/PositionOnlyCartPole-v0": ("cart position (m)", "pole angle (rad)"),
    "Pendulum-v1": ("cos angle", "sin angle", "velocity (rad/s)"),
    "MountainCar-v0": ("position", "velocity"),
    "MountainCarContinuous-v0": ("position", "velocity"),
    "Acrobot-v1": (
        *("cos of the first angle", "sin of the first angle", "cos of the second angle", "sin of the second angle"),
        *("first velocity (rad/s)", "second velocity (rad/s)"),
    ),
    "wm_tutorial/LinearGaussian-v0": ("position", "velocity"),
}

EPISODES_TRIED = 20


class EpisodesTooShort(InputError):
    """Every episode ends before there is anything to dream."""


def live(agent: Agent, source: EnvSource, rows: int, seed: int, greedy: bool = False) -> Batch:
    """One episode of at most `rows` rows as a batch of one sequence, (1, T, ...), with sampled actions or greedy ones.

    Among the first episodes it is the first that is long enough, or else the longest.
    """
    return _live(agent, source, rows, seed, filmed=False, greedy=greedy)[0]


def _live(
    agent: Agent, source: EnvSource, rows: int, seed: int, filmed: bool, greedy: bool = False
) -> tuple[Batch, Array | None]:
    """The same, and what the environment drew of each row: (T, height, width, 3) uint8, or None where it draws none."""
    longest: list[tuple[Row, torch.Tensor, Array | None]] = []
    seen = with_camera(source) if filmed else source
    with worlds_of(agent, seen, 1, seed) as environments, isolated_random(agent.device, seed):
        row, carry = environments.reset(), agent.initial(1)
        for _ in range(EPISODES_TRIED):
            episode: list[tuple[Row, torch.Tensor, Array | None]] = []
            while len(episode) < rows:
                carry = agent.policy(row, carry, greedy)
                episode.append((row, carry.action, environments.picture() if filmed else None))
                row = environments.step(row, carry.action.numpy(force=True))
                if row.is_first[0]:
                    break
            longest = max(longest, episode, key=len)
            if len(longest) == rows:
                break
    batch, pictures = as_batch(agent, [lived[:2] for lived in longest]), [picture for *_, picture in longest]
    shapes = {None if picture is None else picture.shape for picture in pictures}
    return batch, np.stack([p for p in pictures if p is not None]) if len(shapes) == 1 and None not in shapes else None


def with_camera(source: EnvSource) -> EnvSource:
    """The same environment, made to draw itself if Gymnasium knows how; a callable has made that choice itself."""
    if not isinstance(source, str):
        return source

    def build() -> gym.Env[Any, Any]:
        env = make_env(source)
        if "rgb_array" in env.metadata.get("render_modes", ()):
            env.close()
            env = make_env(source, render_mode="rgb_array")
        return env

    return build


@contextmanager
def worlds_of(agent: Agent, source: EnvSource, count: int, seed: int) -> Iterator[Environments]:
    """Environments of episodes that training never sees; closed whatever happens.

    Raises:
        InputError: if the agent was made for others.
    """
    with closing(Environments(source, count, (DREAM, seed))) as environments:
        agent.check_fits(environments.spaces)
        yield environments


def as_batch(agent: Agent, episode: list[tuple[Row, torch.Tensor]]) -> Batch:
    """Rows of B streams and the actions chosen after them -> a batch of B sequences, (B, T, ...)."""
    rows, actions = zip(*episode, strict=True)

    def column(name: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([getattr(row, name) for row in rows], axis=1)).to(actions[0].device)

    action = torch.stack(actions, dim=1)
    carry = agent.initial(len(action))
    return Batch(
        obs=column("obs"),
        action=action,
        previous_action=torch.cat([carry.action.unsqueeze(1), action[:, :-1]], dim=1),
        reward=column("reward"),
        is_first=column("is_first"),
        is_last=column("is_last"),
        is_terminal=column("is_terminal"),
        start=carry.state,
    )


def dream(
    agent: Agent, source: EnvSource, context: int = 5, horizon: int = 45, seed: int = 0, filmed: bool = False
) -> Dream:
    """Live one episode, then let the model predict it: it sees `context` rows, then only the actions.

    Args:
        agent: what acts, and whose model dreams.
        source: the environment.
        context: rows seen, at least 1.
        horizon: rows dreamed after them, at least 1; fewer if every episode is shorter.
        seed: of the episode; never one of training.
        filmed: whether the environment draws each row as well, where it can (a callable: where the environment that it
            builds has `render_mode="rgb_array"`).

    Raises:
        InputError: if context or horizon is below 1, or `seed` not in 0 .. 2**63 - 1.
        EpisodesTooShort: if every episode ends within the context.
    """
    context, horizon, seed = integers(context=context, horizon=horizon, seed=seed)
    if context < 1 or horizon < 1 or not 0 <= seed <= LARGEST_SEED:
        raise InputError(
            f"dream was asked for a context of {context}, a horizon of {horizon} and seed {seed}; "
            "give at least 1 of each, and a seed of 0 or more, up to 2**63 - 1."
        )
    batch, frames = _live(agent, source, context + horizon, seed, filmed)
    if (rows := batch.obs.shape[1]) <= context:
        raise EpisodesTooShort(
            f"The longest of {EPISODES_TRIED} episodes has {rows} rows; give a context below {rows}."
        )
    with isolated_random(agent.device, seed):
        prediction = agent.world_model.open_loop(batch, context)
    environment = source if isinstance(source, str) else ""
    return Dream(
        obs=agent.spaces.shown(batch.obs)[0].numpy(force=True),
        predicted_obs=prediction.obs[0].numpy(force=True),
        reward=batch.reward[0].numpy(force=True),
        predicted_reward=prediction.reward[0].numpy(force=True),
        continue_=1.0 - batch.is_terminal[0].float().numpy(force=True),
        predicted_continue=prediction.continue_[0].numpy(force=True),
        context=context,
        environment=environment,
        names=OBSERVATION_NAMES.get(environment, agent.spaces.names),
        frames=frames,
    )


@dataclass(frozen=True)
class OpenLoopErrors:
    """Root mean squared errors of open-loop predictions, each after 1, 2, ... H steps without an observation (H,).

    obs          of the observation, in standard deviations of each of its entries
    reward       of the reward, in its own unit
    persistence  of the last observation seen, taken for a prediction; in the unit of `obs`
    """

    obs: tuple[float, ...]
    reward: tuple[float, ...]
    persistence: tuple[float, ...]


def open_loop_errors(
    agent: Agent, source: EnvSource, episodes: int = 100, context: int = 5, horizon: int = 15, seed: int = 0
) -> OpenLoopErrors:
    """How far predictions from actions alone are from what happened, in episodes of random actions.

    Random actions, because the episodes are then the same for every agent: one that plays well visits other states,
    and its errors could not be compared. The model sees `context` rows from the beginning of each episode.

    Raises:
        InputError: if `episodes`, `context` or `horizon` is below 1, or `seed` not in 0 .. 2**63 - 1.
        EpisodesTooShort: if hardly any episode of random actions has context + horizon rows.
    """
    episodes, context, horizon, seed = integers(episodes=episodes, context=context, horizon=horizon, seed=seed)
    if min(episodes, context, horizon) < 1 or not 0 <= seed <= LARGEST_SEED:
        raise InputError(
            f"open_loop_errors was asked for {episodes} episodes, a context of {context}, a horizon of {horizon} and "
            f"seed {seed}; give at least 1 of each, and a seed of 0 or more, up to 2**63 - 1."
        )
    batch = random_episodes(agent, source, episodes, context + horizon, seed)
    with isolated_random(agent.device, seed):
        predicted = agent.world_model.open_loop(batch, context)
    truth = agent.spaces.shown(batch.obs)
    truth = truth / 255.0 if truth.dtype == torch.uint8 else truth
    unit = truth.flatten(0, 1).std(0)
    unit = unit.where(unit > 0, 1.0)  # what never changes cannot be measured by how much it does
    last_seen = truth[:, context - 1 : context].expand_as(truth)

    def errors(difference: torch.Tensor) -> tuple[float, ...]:
        return tuple(difference[:, context:].square().movedim(1, 0).flatten(1).mean(1).sqrt().tolist())

    return OpenLoopErrors(
        obs=errors((predicted.obs - truth) / unit),
        reward=errors(predicted.reward - batch.reward),
        persistence=errors((last_seen - truth) / unit),
    )


@dataclass(frozen=True)
class Divergences:
    """How far posterior and prior are from each other, in nats: means over states, before any free nats.

    forward   KL(posterior || prior), the one that the world model learns by
    backward  KL(prior || posterior), the arguments swapped
    """

    forward: float
    backward: float


def kl_both_ways(agent: Agent, source: EnvSource, episodes: int = 100, rows: int = 20, seed: int = 0) -> Divergences:
    """Both divergences in the first rows of episodes of random actions, which are the same for every agent.

    A logged KL is at least its free nats, and of an agent that learned by another divergence it is that one. Here all
    are asked for the same two numbers. The first row, before which there was nothing to predict from, is left out.

    Raises:
        InputError: if `episodes` is below 1, `rows` below 2, or `seed` not in 0 .. 2**63 - 1.
        EpisodesTooShort: if hardly any episode of random actions has so many rows.
    """
    episodes, rows, seed = integers(episodes=episodes, rows=rows, seed=seed)
    if episodes < 1 or rows < 2 or not 0 <= seed <= LARGEST_SEED:
        raise InputError(
            f"kl_both_ways was asked for {episodes} episodes of {rows} rows and seed {seed}; give at least 1 episode, "
            "2 rows, and a seed of 0 or more, up to 2**63 - 1."
        )
    batch, model = random_episodes(agent, source, episodes, rows, seed), agent.world_model
    with torch.no_grad(), isolated_random(agent.device, seed):
        observed = model.encoder(batch.obs), batch.previous_action, batch.is_first, batch.start
        _, posterior, prior = model.dynamics.observe(*observed)
        forward, backward = posterior.kl(prior), prior.kl(posterior)  # type: ignore[arg-type]  # both of one kind
    return Divergences(*(float(kl[:, 1:].mean()) for kl in (forward, backward)))


def random_episodes(agent: Agent, source: EnvSource, episodes: int, rows: int, seed: int) -> Batch:
    """The first `rows` rows of as many episodes of random actions, (B, T, ...): the first long enough in each stream.

    Raises:
        EpisodesTooShort: if a stream has none in 100 * `rows` rows.
    """
    rng, device = np.random.default_rng([DREAM, seed]), agent.initial(1).action.device
    lived: list[tuple[Row, torch.Tensor]] = []
    begun, chosen = np.zeros(episodes, int), np.full(episodes, -1)  # where the running episode, and the one kept, begin
    with worlds_of(agent, source, episodes, seed) as environments:
        row = environments.reset()
        while (chosen < 0).any():
            if len(lived) == 100 * rows:
                raise EpisodesTooShort(
                    f"Of {episodes} streams of random actions {int((chosen < 0).sum())} have no episode of {rows} "
                    "rows; lower context or horizon."
                )
            begun[row.is_first] = len(lived)
            action = environments.random_action(rng)
            lived.append((row, torch.from_numpy(action).to(device)))
            chosen = np.where((chosen < 0) & (len(lived) - begun == rows), begun, chosen)
            row = environments.step(row, action)
    everything = as_batch(agent, lived)
    columns = torch.from_numpy(chosen)[:, None] + torch.arange(rows)

    def kept(x: torch.Tensor) -> torch.Tensor:
        return x[torch.arange(episodes)[:, None], columns]

    fields = {f.name: kept(getattr(everything, f.name)) for f in dataclasses.fields(Batch) if f.name != "start"}
    return Batch(**fields, start=everything.start)
