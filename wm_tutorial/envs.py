"""Gymnasium environments -> rows of the index convention."""

import re
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np

from wm_tutorial.data import FLOAT32_MAX, Array, Row, Spaces, one_hot
from wm_tutorial.errors import CheckpointError, EnvironmentFailure, InputError
from wm_tutorial.spaces import describe

EnvSource: TypeAlias = str | Callable[[], gym.Env[Any, Any]]


class SeededEpisodes(gym.Wrapper[Any, Any, Any, Any]):
    """Gives every episode a seed of its own and remembers its actions.

    An environment cannot be written to a file, but an episode can be lived again: from its seed and its actions.
    That is how a run that was stopped goes on as if it had not been.

    Nobody here reads the infos of an environment, so they are left out, whatever they are.
    """

    def __init__(self, env: gym.Env[Any, Any], seed: tuple[int, ...]) -> None:
        super().__init__(env)
        self.seed, self.episode, self.actions = seed, -1, list[Any]()
        self.over = False

    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode."""
        self.episode, self.actions, self.over = self.episode + 1, [], False
        state = np.random.SeedSequence([*self.seed, self.episode]).generate_state(1)
        try:
            returned: Any = self.env.reset(seed=int(state[0]))
        except TypeError as error:
            if "unexpected keyword argument 'seed'" not in str(error):
                raise
            raise EnvironmentFailure(f"The environment's reset takes no seed. {OLD_API}") from error
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise EnvironmentFailure(f"The environment's reset returned {_form(returned)}. {OLD_API}")
        return returned[0], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take an action; after the end of an episode, begin the next one instead."""
        if self.over:
            return self.reset()[0], 0.0, False, False, {}
        action = np.asarray(action, self.action_space.dtype)[()]  # just as it will be when lived again
        returned: Any = self.env.step(action.copy())  # the environment may do with its own what it likes
        if not isinstance(returned, tuple) or len(returned) != 5:
            raise EnvironmentFailure(f"The environment's step returned {_form(returned)}. {OLD_API}")
        obs, reward, terminated, truncated, _ = returned
        self.actions.append(action)
        ends = bool(_one_number("terminated", terminated)), bool(_one_number("truncated", truncated))
        self.over = any(ends)
        return obs, _one_number("reward", reward), *ends, {}

    def relive(self, episode: int, actions: list[Any]) -> Any:
        """Go to where `actions` led in `episode`; returns the observation there."""
        try:
            self.episode = episode - 1
            obs, _ = self.reset()
            for action in actions:
                obs, *_ = self.step(action)
            return obs
        except BaseException:
            self.episode, self.actions = episode, actions  # still where it is to be
            raise


OLD_API = (
    "Gymnasium's reset(seed=..., options=...) returns an observation and an info, and its step an observation, a "
    "reward, terminated, truncated and an info. Environments of older gym differ: change them, or adapt them with "
    "shimmy.GymV21CompatibilityV0(env=...) of the package shimmy."
)


def _form(returned: Any) -> str:
    return f"{len(returned)} values" if isinstance(returned, tuple) else f"one {type(returned).__name__}"


def _one_number(what: str, given: Any) -> float:
    """A reward or flag as a float, whatever array it comes in."""
    array = np.asarray(given)
    try:
        if array.dtype.kind in "SU":
            raise TypeError("text")
        number = float(array.item())
    except (TypeError, ValueError, OverflowError) as error:
        raise EnvironmentFailure(f"The environment returned the {what} {given!r}; it must be one number.") from error
    if not -FLOAT32_MAX <= number <= FLOAT32_MAX:  # infinities and numbers that are none lie in no range
        low, high = -FLOAT32_MAX, FLOAT32_MAX
        raise EnvironmentFailure(
            f"The environment returned the {what} {number}; it must be a number from {low:g} to {high:g}."
        )
    return number


def make_env(source: EnvSource, **options: Any) -> gym.Env[Any, Any]:
    """Build one environment from a Gymnasium id or a callable.

    Raises:
        InputError: if Gymnasium does not know the id or cannot build it, or the callable raises or returns something
            else; and for wrappers with running statistics, such as NormalizeObservation and NormalizeReward, with which
            training, evaluation and a resumed run would see different numbers.
    """
    env = _built(source, **options)
    try:
        _check_memoryless(env)
    except InputError:
        _close(env)
        raise
    return env


def _built(source: EnvSource, **options: Any) -> gym.Env[Any, Any]:
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
        env: Any = source()
    except Exception as error:
        raise InputError(
            f"The callable raised {type(error).__name__}: {str(error).rstrip('.')}. "
            "It must return a new gymnasium.Env each time."
        ) from error
    if not isinstance(env, gym.Env):
        old = any(base.__module__.partition(".")[0] == "gym" for base in type(env).__mro__)
        raise InputError(
            f"The callable returned {type(env).__name__}; it must return a gymnasium.Env."
            + (f" This one is of gym, the older package. {OLD_API}" if old else "")
        )
    return env


def _close(env: gym.Env[Any, Any]) -> None:
    """Nothing that an environment does when it is closed can end a run."""
    with suppress(Exception):
        env.close()


def _close_all(envs: Sequence[gym.Env[Any, Any]]) -> None:
    for env in envs:
        _close(env)


def layers(env: gym.Env[Any, Any]) -> Iterator[gym.Env[Any, Any]]:
    """The wrappers of an environment from the outside in, and last the environment itself."""
    yield env
    while isinstance(env, gym.Wrapper):
        env = env.env
        yield env


def _check_memoryless(env: gym.Env[Any, Any]) -> None:
    """Refuse wrappers that change what they return by statistics of all they have seen."""
    for layer in layers(env):
        running = any(type(part).__name__ == "RunningMeanStd" for part in getattr(layer, "__dict__", {}).values())
        if running and getattr(layer, "update_running_mean", True):
            raise InputError(
                f"The environment is wrapped in {type(layer).__name__}, which scales by statistics of all it has seen: "
                "training, evaluation and a run that is resumed would see other numbers in the same situation. Leave "
                "it away: the agent squashes observations by symlog, and scales returns by their percentiles. "
                "gymnasium.wrappers.TransformObservation and TransformReward scale by constants; statistics that "
                "move no more (update_running_mean = False) are accepted, too."
            )


def name_of(source: EnvSource) -> str:
    """A name for folders and titles: the id without its namespace, or the name of the callable."""
    name = source if isinstance(source, str) else getattr(source, "__name__", type(source).__name__)
    return re.sub(r"[^\w.-]+", "-", name.split("/")[-1]).strip("-") or "environment"


def spelling(source: EnvSource) -> str | None:
    """How the command line names an environment: its id, or module:callable; None for what cannot be imported."""
    if isinstance(source, str):
        return source
    if name := getattr(source, "spelling", None):
        return str(name)
    module, path = getattr(source, "__module__", "__main__"), str(getattr(source, "__qualname__", "<>"))
    return None if module == "__main__" or "<" in path else f"{module}:{path}"


def stored_source(stored: Any, folder: Path) -> str:
    """The id of the environment that a run was started on, if it may be made without a person naming it.

    Raises:
        InputError: if it was no id, or one for which Gymnasium imports a module.
        CheckpointError: if it is something else.
    """
    if stored is None:
        raise InputError(
            f"The run in {folder} was started with a callable; give the environment again (env=..., or on the command "
            "line --env module:callable)."
        )
    if not isinstance(stored, str):
        raise CheckpointError(f"The checkpoint in {folder} names {stored!s:.200} for its environment, which is no id.")
    if ":" in stored:
        raise InputError(
            f"The run in {folder} is one of the environment {stored!r:.200}, for which a module is imported, and files "
            "do not decide which code runs here. If you trust the module, name it yourself: env=... or --env ... ."
        )
    return stored


class StructuredActions(gym.ActionWrapper[Any, Any, Any]):
    """Takes the numbers of an action of several parts in one row, and gives the environment the structure it wants.

    So the actions of a stream are numbers in a row, whatever the environment takes, and can be written to a file.
    """

    def __init__(self, env: gym.Env[Any, Any], spaces: Spaces) -> None:
        super().__init__(env)
        self.spaces = spaces
        self.action_space = gym.spaces.Box(np.array(spaces.action_low), np.array(spaces.action_high), dtype=np.float64)

    def action(self, action: Array) -> Any:
        """(numbers,) -> dicts, tuples and arrays."""
        return self.spaces.structured(action)


class Environments:
    """N environments stepped side by side, speaking rows.

    Each environment is a stream of rows: when an episode ends, the next row of its stream begins another one
    (next-step autoreset), and the action given for that row is ignored.

    They are closed by `close`, or when nobody uses them any more; neither ever raises.

    Raises:
        InputError: if they cannot be built (`make_env`) or understood (`describe`), or are not of one kind. Those that
            were built already are closed.
    """

    def __init__(self, source: EnvSource, count: int, seed: tuple[int, ...]) -> None:
        built: list[gym.Env[Any, Any]] = []
        self.close = weakref.finalize(self, _close_all, built)  # at most once, and at the latest when Python ends
        try:
            for _ in range(count):
                built.append(make_env(source))
            self.spaces = describe(built[0].observation_space, built[0].action_space)
            _check_alike(built)
        except BaseException:
            self.close()
            raise
        self.seed = seed
        envs = (
            [StructuredActions(env, self.spaces) for env in built] if self.spaces.action_kind == "composite" else built
        )
        self.streams = [SeededEpisodes(env, (*seed, i)) for i, env in enumerate(envs)]

    def __len__(self) -> int:
        """How many environments there are."""
        return len(self.streams)

    @property
    def closed(self) -> bool:
        """Whether they can be used no more."""
        return not self.close.alive

    def reset(self) -> Row:
        """Begin an episode in every environment."""
        obs = np.concatenate([self._begun(stream) for stream in self.streams])
        nothing = np.zeros(len(self), bool)
        return Row(obs, np.zeros(len(self), np.float32), ~nothing, nothing, nothing)

    def begin(self, seed: tuple[int, ...], first: int = 0) -> Row:
        """Let the streams be those of `seed` with the numbers `first` and on, and begin their first episodes."""
        for i, stream in enumerate(self.streams):
            stream.seed, stream.episode = (*seed, first + i), -1
        return self.reset()

    def step(self, row: Row, action: Array) -> Row:
        """Take `action` (N, A) after `row`; where `row` was the last of its episode, begin another instead.

        Raises:
            EnvironmentFailure: if an environment raises, or returns an observation or reward that cannot be used.
        """
        natives = self.spaces.decode_action(action)
        reward, is_terminal, is_last = np.zeros(len(self), np.float32), *np.zeros((2, len(self)), bool)
        obs = []
        for i, (stream, native) in enumerate(zip(self.streams, natives, strict=True)):
            if row.is_last[i]:
                obs.append(self._begun(stream))
                continue
            seen, reward[i], is_terminal[i], truncated, _ = self._guard(partial(stream.step, native))
            is_last[i] = is_terminal[i] or truncated
            obs.append(self._encode(seen))  # a copy, before another environment can write into the same array
        return Row(np.concatenate(obs), reward, row.is_last.copy(), is_last, is_terminal)

    def random_action(self, rng: np.random.Generator) -> Array:
        """Uniformly random actions (N, A)."""
        chosen = [
            one_hot(rng.integers(size, size=len(self)), size)
            if kind == "discrete"
            else rng.uniform(-1.0, 1.0, (len(self), size)).astype(np.float32)
            for kind, size in self.spaces.factors
        ]
        return np.concatenate(chosen, axis=-1)

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
        for i, (stream, saved) in enumerate(zip(self.streams, state, strict=True)):
            stream.seed, stream.episode = (*self.seed, i), saved["episode"]
            stream.actions = [np.asarray(action, stream.action_space.dtype)[()] for action in saved["actions"]]
        columns = {f.name: getattr(row, f.name).copy() for f in fields(row)}
        for i, stream in enumerate(self.streams):
            obs = self._encode(self._guard(partial(stream.relive, stream.episode, stream.actions)))
            if not np.array_equal(obs[0], row.obs[i]) or stream.over != row.is_last[i]:
                columns["obs"][i], columns["reward"][i], columns["is_first"][i] = self._begun(stream)[0], 0.0, True
                columns["is_last"][i] = columns["is_terminal"][i] = False
        return Row(**columns)

    def _begun(self, stream: SeededEpisodes) -> Array:
        """Begin an episode in one stream; returns what is seen there, (1, ...)."""
        return self._encode(self._guard(stream.reset)[0])

    def _encode(self, native: Any) -> Array:
        """One observation, checked and copied, (1, ...)."""
        try:
            return self.spaces.encode_obs([native])
        except InputError as error:
            raise EnvironmentFailure(f"The environment returned {error}") from error

    def _guard(self, call: Callable[[], Any]) -> Any:
        """Turn whatever an environment raises into one error that says so."""
        try:
            return call()
        except EnvironmentFailure:
            raise
        except Exception as error:
            raise EnvironmentFailure(
                f"The environment raised {type(error).__name__}: {str(error).rstrip('.')}."
            ) from error


def _check_alike(built: Sequence[gym.Env[Any, Any]]) -> None:
    """Refuse environments that are one and the same, or of several kinds."""
    if len({id(env.unwrapped) for env in built}) < len(built):
        raise InputError("The callable returned one environment twice; it must build a new one each time.")
    first, *others = [(env.observation_space, env.action_space) for env in built]
    if different := [spaces for spaces in others if spaces != first]:
        raise InputError(
            "The callable returned environments with different spaces (observations, actions): "
            f"{first}, then {different[0]}. It must return the same kind each time."
        )
