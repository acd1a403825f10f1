"""Gymnasium environments -> rows of the index convention."""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from functools import partial
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium import spaces as gym_spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from wm_tutorial.data import Array, Row, Spaces
from wm_tutorial.errors import EnvironmentFailure, InputError

EnvSource: TypeAlias = str | Callable[[], gym.Env[Any, Any]]

FLOAT32_MAX = float(np.finfo(np.float32).max)


class SeededEpisodes(gym.Wrapper[Any, Any, Any, Any]):
    """Gives every episode a seed of its own and remembers its actions.

    An environment cannot be written to a file, but an episode can be lived again: from its seed and its actions.
    That is how a run that was stopped goes on as if it had not been.
    """

    def __init__(self, env: gym.Env[Any, Any], seed: tuple[int, ...]) -> None:
        super().__init__(env)
        self.seed, self.episode, self.actions = seed, -1, list[Any]()
        self.over = False

    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode."""
        self.episode, self.actions, self.over = self.episode + 1, [], False
        state = np.random.SeedSequence([*self.seed, self.episode]).generate_state(1)
        return self.env.reset(seed=int(state[0]))

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take an action; after the end of an episode, begin the next one instead."""
        if self.over:
            obs, info = self.reset()
            return obs, 0.0, False, False, info
        action = np.asarray(action, self.action_space.dtype)[()]  # just as it will be when lived again
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.actions.append(action)
        self.over = bool(terminated or truncated)
        return obs, reward, terminated, truncated, info

    def relive(self, episode: int, actions: list[Any]) -> Any:
        """Go to where `actions` led in `episode`; returns the observation there."""
        self.episode = episode - 1
        obs, _ = self.reset()
        for action in actions:
            obs, *_ = self.step(action)
        return obs


def make_env(source: EnvSource, **options: Any) -> gym.Env[Any, Any]:
    """Build one environment from a Gymnasium id or a callable.

    Raises:
        InputError: if Gymnasium does not know the id or cannot build it, or the callable raises or returns something
            else.
    """
    if isinstance(source, str):
        try:
            return gym.make(source, disable_env_checker=True, **options)
        except Exception as error:
            raise InputError(
                f"Gymnasium cannot make {source!r}: {error} "
                "Give an id from gymnasium.pprint_registry(), or a callable that returns a gymnasium.Env."
            ) from error
    if not callable(source):
        raise InputError(
            f"The environment is {source!r}; give a Gymnasium id such as 'CartPole-v1', or a callable "
            "that returns a new gymnasium.Env each time, such as lambda: MyEnv()."
        )
    try:
        env = source()
    except Exception as error:
        raise InputError(
            f"The callable raised {type(error).__name__}: {str(error).rstrip('.')}. "
            "It must return a new gymnasium.Env each time."
        ) from error
    if not isinstance(env, gym.Env):
        raise InputError(f"The callable returned {type(env).__name__}; it must return a gymnasium.Env.")
    return env


def describe(obs_space: gym.Space[Any], action_space: gym.Space[Any]) -> Spaces:
    """What the networks must know about these spaces.

    Raises:
        InputError: for any space other than Box and Discrete observations and actions.
    """
    return Spaces(**_describe_observations(obs_space), **_describe_actions(action_space))


def _describe_observations(space: gym.Space[Any]) -> dict[str, Any]:
    match space:
        case gym_spaces.Discrete():
            return {"obs_kind": "discrete", "obs_shape": (int(space.n),), "obs_start": int(space.start)}
        case gym_spaces.Box() if 0 in space.shape:
            pass
        case gym_spaces.Box() if space.dtype == np.uint8 and len(space.shape) in (2, 3):
            return {"obs_kind": "image", "obs_shape": (*space.shape, 1)[:3]}
        case gym_spaces.Box():
            return {"obs_kind": "vector", "obs_shape": (int(np.prod(space.shape)),)}
    raise InputError(
        f"The observation space is {space}; accepted are Discrete, and Box of at least one number (vectors, or uint8 "
        "images of height x width x channels). gymnasium.wrappers.FlattenObservation turns Dict and Tuple into a Box."
    )


def _describe_actions(space: gym.Space[Any]) -> dict[str, Any]:
    match space:
        case gym_spaces.Discrete():
            first, last = float(space.start), float(space.start + space.n - 1)
            return {
                "action_kind": "discrete",
                "action_size": int(space.n),
                "action_low": (first,),
                "action_high": (last,),
            }
        case gym_spaces.Box(shape=(size,)) if size and space.is_bounded() and np.issubdtype(space.dtype, np.floating):
            low, high = tuple(map(float, space.low)), tuple(map(float, space.high))
            return {"action_kind": "continuous", "action_size": len(low), "action_low": low, "action_high": high}
    raise InputError(
        f"The action space is {space}; accepted are Discrete, and Box of one axis of floats with finite bounds. "
        "A gymnasium.wrappers.TransformAction can bring yours into that form."
    )


def _check(what: str, numbers: Array, low: float, high: float) -> None:
    # Infinities and numbers that are none lie in no range.
    if (wrong := ~((low <= numbers) & (numbers <= high))).any():
        raise EnvironmentFailure(
            f"The environment returned the {what} {numbers[wrong][0]}; it must be a number from {low:g} to {high:g}."
        )


def name_of(source: EnvSource) -> str:
    """A name for folders and titles: the id without its namespace, or the name of the callable."""
    name = source if isinstance(source, str) else getattr(source, "__name__", type(source).__name__)
    return re.sub(r"[^\w.-]+", "-", name.split("/")[-1]).strip("-") or "environment"


class Environments:
    """N environments stepped side by side, speaking rows.

    Each environment is a stream of rows: when an episode ends, the next row of its stream begins another one
    (next-step autoreset), and the action given for that row is ignored.
    """

    def __init__(self, source: EnvSource, count: int, seed: tuple[int, ...]) -> None:
        built = [make_env(source) for _ in range(count)]
        self.spaces = describe(built[0].observation_space, built[0].action_space)
        if len({id(env.unwrapped) for env in built}) < count:
            raise InputError("The callable returned one environment twice; it must build a new one each time.")
        first, *others = [(env.observation_space, env.action_space) for env in built]
        if different := [spaces for spaces in others if spaces != first]:
            raise InputError(
                "The callable returned environments with different spaces (observations, actions): "
                f"{first}, then {different[0]}. It must return the same kind each time."
            )
        self.streams = [SeededEpisodes(env, (*seed, i)) for i, env in enumerate(built)]
        self.vector = SyncVectorEnv(
            [lambda env=env: env for env in self.streams],  # type: ignore[misc]
            autoreset_mode=AutoresetMode.NEXT_STEP,
        )

    def __len__(self) -> int:
        """How many environments there are."""
        return len(self.streams)

    def reset(self) -> Row:
        """Begin an episode in every environment."""
        obs, _ = self._guard(self.vector.reset)
        nothing = np.zeros(len(self), bool)
        return Row(self._encode(obs), np.zeros(len(self), np.float32), ~nothing, nothing, nothing)

    def step(self, row: Row, action: Array) -> Row:
        """Take `action` (N, A) after `row`; where `row` was the last of its episode, begin another instead.

        Raises:
            EnvironmentFailure: if an environment raises, or returns an observation or reward that cannot be used.
        """
        obs, reward, terminated, truncated, _ = self._guard(lambda: self.vector.step(self.spaces.decode_action(action)))
        _check("reward", reward, -FLOAT32_MAX, FLOAT32_MAX)
        return Row(
            obs=self._encode(obs),
            reward=reward.astype(np.float32),
            is_first=row.is_last.copy(),
            is_last=terminated | truncated,
            is_terminal=terminated,
        )

    def random_action(self, rng: np.random.Generator) -> Array:
        """Uniformly random actions (N, A)."""
        if self.spaces.action_kind == "discrete":
            return np.eye(self.spaces.action_size, dtype=np.float32)[
                rng.integers(self.spaces.action_size, size=len(self))
            ]
        return rng.uniform(-1.0, 1.0, (len(self), self.spaces.action_size)).astype(np.float32)

    def picture(self) -> Array | None:
        """What the first environment draws of where it is, (height, width, 3) uint8; None if it draws nothing.

        A picture is an extra: an environment that fails to draw is one that draws nothing.
        """
        env = self.streams[0].env
        if env.render_mode != "rgb_array":
            return None
        with suppress(Exception):
            picture = np.asarray(env.render())
            if picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[-1] == 3:
                return picture.copy()
        return None

    def state(self) -> list[dict[str, Any]]:
        """Where every environment is: its episode and the actions taken in it."""
        return [{"episode": s.episode, "actions": [np.asarray(a).tolist() for a in s.actions]} for s in self.streams]

    def restore(self, state: list[dict[str, Any]], row: Row) -> Row:
        """Go back to where `state` was taken, at `row`, by living the running episodes again.

        An environment that does not repeat itself (it is not a function of seed and actions) begins a new episode.

        Returns:
            `row`, with a first row where a new episode had to begin.
        """
        self.reset()
        columns = {f.name: getattr(row, f.name).copy() for f in fields(row)}
        for i, (stream, saved) in enumerate(zip(self.streams, state, strict=True)):
            actions = [np.asarray(action, stream.action_space.dtype) for action in saved["actions"]]
            obs = self._guard(partial(stream.relive, saved["episode"], actions))
            if not np.array_equal(self._encode(obs)[0], row.obs[i]) or stream.over != row.is_last[i]:
                obs, _ = self._guard(stream.reset)
                columns["obs"][i], columns["reward"][i], columns["is_first"][i] = self._encode(obs)[0], 0.0, True
                columns["is_last"][i] = columns["is_terminal"][i] = False
        return Row(**columns)

    def close(self) -> None:
        """Close every environment."""
        self.vector.close()

    def _encode(self, native: Any) -> Array:
        low, high = -FLOAT32_MAX, FLOAT32_MAX
        if self.spaces.obs_kind == "discrete":
            low, high = self.spaces.obs_start, self.spaces.obs_start + self.spaces.obs_shape[0] - 1
        _check("observation", np.asarray(native, float), low, high)
        return self.spaces.encode_obs(native)

    def _guard(self, call: Callable[[], Any]) -> Any:
        """Turn whatever an environment raises into one error that says so."""
        try:
            return call()
        except Exception as error:
            raise EnvironmentFailure(
                f"The environment raised {type(error).__name__}: {str(error).rstrip('.')}."
            ) from error
