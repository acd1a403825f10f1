"""Environments that somebody else steps: a vector environment of Gymnasium, or a process of its own for each.

    environments("CartPole-v1", 4, seed)                       one after the other, in this process: `envs.Environments`
    environments("CartPole-v1", 4, seed, "processes")          side by side, each in its own process; the same rows
    environments("CartPole-v1", 4, seed, envpool_of)           whatever engine `envpool_of(count, seed)` builds

All of them speak rows.
"""

import multiprocessing
import signal
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from functools import partial
from multiprocessing.connection import wait
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

from wm_tutorial.data import Array, Row
from wm_tutorial.envs import Environments, EnvSource, SeededEpisodes, make_env
from wm_tutorial.errors import EnvironmentFailure, InputError
from wm_tutorial.spaces import describe

AnyVector: TypeAlias = VectorEnv[Any, Any, Any]
VectorSource: TypeAlias = str | AnyVector | Callable[[int, int], AnyVector]  # of strings, "processes"


def environments(
    source: EnvSource, count: int, seed: tuple[int, ...], vector: VectorSource | None = None
) -> Environments:
    """N environments to collect experience in.

    Args:
        source: what they are; with a `vector`, what the agent is evaluated in.
        count: how many.
        seed: of all of them.
        vector: "processes", a vector environment, or a callable (count, seed) that builds one; None for this process.

    Raises:
        InputError: if they cannot be built or used.
    """
    if vector is None:
        return Environments(source, count, seed)
    if isinstance(vector, str):
        if vector != "processes":
            raise InputError(
                f"vector is {vector!r}; give 'processes', a vector environment or a callable that builds one."
            )
        return Processes(source, count, seed)
    return VectorEnvironments(source, count, seed, vector)


@dataclass
class Stream:
    """Where one of N environments is.

    unwrapped     one of its kind, closed; it has the name
    action_space  of its actions
    episode       the number of the running episode
    actions       those taken in it, if it can be lived again
    """

    unwrapped: gym.Env[Any, Any]
    action_space: gym.Space[Any]
    episode: int = -1
    actions: list[Any] = field(default_factory=list)


class VectorEnvironments(Environments):
    """N environments that an engine of its own steps, speaking rows.

    The engine must begin the next episode at the step after the last one of an episode (next-step autoreset), so that
    no observation is lost. It is seeded once, and goes on by itself: a run that is resumed begins new episodes, under a
    seed of their own, instead of the ones that were running.

    Raises:
        InputError: if the engine is none, steps another number of environments, begins episodes otherwise, has other
            spaces than `source`, or takes actions of several parts.
    """

    def __init__(
        self, source: EnvSource, count: int, seed: tuple[int, ...], vector: AnyVector | Callable[[int, int], AnyVector]
    ) -> None:
        self.seed, self.count, self.vector = seed, count, vector
        sample = make_env(source)  # an agent is evaluated in others than it learns in, so they must be of one kind
        with suppress(Exception):
            sample.close()
        self.spaces = describe(sample.observation_space, sample.action_space)
        if self.spaces.action_kind == "composite":
            raise InputError(
                f"vector steps environments whose actions are a Discrete or Box, and these are {sample.action_space}: "
                "leave vector out."
            )
        self.streams: list[Any] = [Stream(sample.unwrapped, sample.action_space) for _ in range(count)]
        self._held: list[Any] = []
        self.close = weakref.finalize(self, _close, self._held)
        try:
            self._build(0)
        except BaseException:
            self.close()
            raise

    @property
    def engine(self) -> Any:
        """What steps them, a `VectorEnv`."""
        return self._held[0]

    def _build(self, episodes: int) -> None:
        """Have the engine where the seeds of its environments depend on how many episodes were begun before."""
        (state,) = np.random.SeedSequence([*self.seed, episodes]).generate_state(1)
        self.number = int(state) // 2  # engines take 31 bits
        if isinstance(self.vector, VectorEnv):
            self._held[:] = [self.vector]
        else:
            _close(self._held)
            self._held[:] = [self._called(self.vector)]
        _check(self.engine, self.count)
        spaces = describe(self.engine.single_observation_space, self.engine.single_action_space)
        if spaces != self.spaces:
            raise InputError(
                f"The vector environment has {spaces}, and the environment that the agent is evaluated in "
                f"{self.spaces}; they must be the same."
            )

    def _called(self, build: Any) -> AnyVector:
        if not callable(build):
            raise InputError(
                f"vector is {build!r}; give 'processes', a gymnasium.vector.VectorEnv, or a callable (count, seed) "
                "that builds one."
            )
        try:
            built: AnyVector = build(self.count, self.number)
        except Exception as error:
            raise InputError(
                f"The callable for a vector of {self.count} environments raised {type(error).__name__}: "
                f"{str(error).rstrip('.')}. It is called with their number and a seed."
            ) from error
        return built

    def reset(self) -> Row:
        """Begin an episode in every environment."""
        for stream in self.streams:
            stream.episode, stream.actions = stream.episode + 1, []
        obs, _ = self._guard(partial(self.engine.reset, seed=self.number))
        nothing = np.zeros(len(self), bool)
        return Row(self._encode_all(obs), np.zeros(len(self), np.float32), ~nothing, nothing, nothing)

    def step(self, row: Row, action: Array) -> Row:
        """Take `action` (N, A) after `row`; where `row` was the last of its episode, begin another instead.

        Raises:
            EnvironmentFailure: if an environment raises, its process ends, or it returns what cannot be used.
        """
        space = self.streams[0].action_space
        natives = [np.asarray(native, space.dtype)[()] for native in self.spaces.decode_action(action)]
        empty: Any = create_empty_array(space, len(self))
        batch = concatenate(space, natives, empty)
        obs, reward, terminated, truncated, _ = self._guard(partial(self.engine.step, batch))
        begins = row.is_last.copy()
        reward = np.where(begins, 0.0, np.asarray(reward, np.float64).reshape(len(self)))
        if not (np.abs(reward) <= np.finfo(np.float32).max).all():
            raise EnvironmentFailure(f"The vector environment returned the rewards {reward}; each must be a number.")
        is_terminal = np.asarray(terminated, bool).reshape(len(self)) & ~begins
        is_last = is_terminal | (np.asarray(truncated, bool).reshape(len(self)) & ~begins)
        seen = Row(self._encode_all(obs), reward.astype(np.float32), begins, is_last, is_terminal)
        for stream, begin, native in zip(self.streams, begins, natives, strict=True):
            self._remember(stream, begin, native)
        return seen

    def _remember(self, stream: Stream, begins: bool, native: Any) -> None:
        """Where a stream is after a step: of an engine's episodes, only how many there were."""
        stream.episode += int(begins)  # a file takes no number of NumPy

    def restore(self, state: list[dict[str, Any]], row: Row) -> Row:
        """Begin new episodes, under other seeds than before; returns their first row."""
        for stream, saved in zip(self.streams, state, strict=True):
            stream.episode = saved["episode"]
        self._build(1 + sum(stream.episode for stream in self.streams))
        return self.reset()

    def _encode_all(self, obs: Any) -> Array:
        """The observations of all environments, checked and copied, (N, ...)."""
        natives = iterate(batch_space(self.engine.single_observation_space, len(self)), obs)
        try:
            return self.spaces.encode_obs(list(natives)).copy()
        except InputError as error:
            raise EnvironmentFailure(f"The vector environment returned {error}") from error

    def _guard(self, call: Callable[[], Any]) -> Any:
        """Turn whatever the engine raises into one error that says so."""
        with _quiet():
            return super()._guard(call)


class Processes(VectorEnvironments):
    """N environments, each in a process of its own, for simulators that are slow: the rows are those of `Environments`.

    A run may change between the two whenever it is resumed, since every episode has its seed here, too. What the
    environments return travels from process to process: one that is quick is slower so.

    Critical: the processes import the module that was started as a script. What trains must stand below
    `if __name__ == "__main__":` there. The callable of an environment, or its class, travels there by pickle.
    """

    def __init__(self, source: EnvSource, count: int, seed: tuple[int, ...]) -> None:
        super().__init__(source, count, seed, partial(_processes, source, seed))

    def _remember(self, stream: Stream, begins: bool, native: Any) -> None:
        if begins:
            stream.episode, stream.actions = stream.episode + 1, []
        else:
            stream.actions.append(native)

    def restore(self, state: list[dict[str, Any]], row: Row) -> Row:
        """Go back to where `state` was taken, as `Environments.restore` does."""
        for stream, saved in zip(self.streams, state, strict=True):
            dtype = stream.action_space.dtype
            stream.episode, stream.actions = saved["episode"], [np.asarray(a, dtype)[()] for a in saved["actions"]]
        places = [(stream.episode, stream.actions) for stream in self.streams]
        columns = {f.name: getattr(row, f.name).copy() for f in fields(row)}
        forgotten = []
        for i, (seen, over) in enumerate(self._guard(partial(self.engine.call, "go_to", places))):
            if not np.array_equal(self._encode(seen)[0], row.obs[i]) or over != row.is_last[i]:
                forgotten.append(i)
        if forgotten:
            begun = self._guard(partial(self.engine.call, "begin_if", forgotten))
            for i in forgotten:
                self.streams[i].episode, self.streams[i].actions = self.streams[i].episode + 1, []
                columns["obs"][i], columns["reward"][i], columns["is_first"][i] = self._encode(begun[i])[0], 0.0, True
                columns["is_last"][i] = columns["is_terminal"][i] = False
        return Row(**columns)

    def _guard(self, call: Callable[[], Any]) -> Any:
        try:
            return super()._guard(call)
        except EnvironmentFailure as error:
            if isinstance(error.__cause__, EOFError | OSError) and (codes := self._ended_badly()):
                raise EnvironmentFailure(
                    f"The process of an environment has ended (exit code {', '.join(map(str, codes))}): its simulator "
                    "crashed, or it was killed. If it did not even begin: what trains must stand below "
                    '`if __name__ == "__main__":` in a script.'
                ) from error
            raise

    def _ended_badly(self) -> list[int]:
        """The exit codes of processes that ended without a word; those that tell of an error end with 0."""
        processes = getattr(self.engine, "processes", [])
        wait([process.sentinel for process in processes], timeout=2)
        return [process.exitcode for process in processes if process.exitcode]


class Placed(SeededEpisodes):
    """One of several environments in processes of their own; the last number of its seed is which."""

    def go_to(self, places: list[tuple[int, list[Any]]]) -> tuple[Any, bool]:
        """Live again where `places` say it was; returns the observation there, and whether the episode is over."""
        return self.relive(*places[self.seed[-1]]), self.over

    def begin_if(self, numbers: list[int]) -> Any:
        """Begin the next episode if it is one of those; returns the observation."""
        return self.reset()[0] if self.seed[-1] in numbers else None


@dataclass(frozen=True)
class _Build:
    """Builds the environment of one process."""

    source: EnvSource
    seed: tuple[int, ...]

    def __call__(self) -> Placed:
        if multiprocessing.parent_process():  # Ctrl-C is a matter of the run, which asks for the end at a safe point
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        return Placed(make_env(self.source), self.seed)


def _processes(source: EnvSource, seed: tuple[int, ...], count: int, _: int) -> AnyVector:
    """A vector of processes. They are not forked from this one, whose threads (PyTorch's) would not come along."""
    if isinstance(source, str):  # registered here, and perhaps not there
        source = partial(gym.make, gym.spec(source), disable_env_checker=True)
    method = "spawn"
    if "forkserver" in multiprocessing.get_all_start_methods():
        method = "forkserver"
        multiprocessing.set_forkserver_preload([__name__])
    builds = [_Build(source, (*seed, i)) for i in range(count)]
    engine: AnyVector = AsyncVectorEnv(builds, context=method, autoreset_mode=AutoresetMode.DISABLED)
    engine.metadata["autoreset_mode"] = AutoresetMode.NEXT_STEP  # by `SeededEpisodes.step`, which can live again, too
    return engine


def _check(engine: Any, count: int) -> None:
    """Raise InputError unless rows can be made of what an engine returns."""
    if not isinstance(engine, VectorEnv):
        raise InputError(f"The vector is a {type(engine).__name__}; it must be a gymnasium.vector.VectorEnv.")
    if engine.num_envs != count:
        raise InputError(
            f"The vector steps {engine.num_envs} environments, and envs is {count}: give envs={engine.num_envs}."
        )
    mode = engine.metadata.get("autoreset_mode")
    if mode not in (AutoresetMode.NEXT_STEP, AutoresetMode.NEXT_STEP.value):
        told = mode.value if isinstance(mode, AutoresetMode) else mode
        reasons = {
            AutoresetMode.SAME_STEP.value: "it begins the next episode in the step that ends one, so that the last "
            "observation of each episode is lost to the model (the mistake terminal_observation_dropped)",
            AutoresetMode.DISABLED.value: "it leaves ended episodes to whoever steps it, and all environments wait",
            None: "its metadata do not say",
        }
        raise InputError(
            f"The vector has autoreset_mode {told!r}: {reasons.get(told, 'which is unknown here')}. It must begin the "
            "next episode at the step after: autoreset_mode=AutoresetMode.NEXT_STEP; of an engine that does so without "
            "saying it, set metadata['autoreset_mode']."
        )


def _close(envs: Sequence[Any]) -> None:
    """Nothing that an engine does when it is closed can end a run; processes that do not end are ended."""
    for engine in envs:
        several = isinstance(engine, AsyncVectorEnv)
        with _quiet(), suppress(Exception):
            engine.close(timeout=5) if several else engine.close()
        if several:
            for process in engine.processes:
                process.terminate()
                process.join()
            engine.closed = True  # or it would try again when it is forgotten, and complain


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, Gymnasium does not print errors that are raised anyway."""
    before, gym.logger.min_level = gym.logger.min_level, gym.logger.ERROR + 1
    try:
        yield
    finally:
        gym.logger.min_level = before
