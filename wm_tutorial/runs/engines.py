"""Engines of others that step many environments, as `train(..., vector=...)` takes them.

    train("CartPole-v1", vector=EnvPool("CartPole-v1"))                    environments in C++, many at a time
    train(MyEnv, vector=Puffer(MyEnv, "Multiprocessing"))                  any environment, in processes of PufferLib

Both begin an episode at the step after the end of the last one, so that no observation is lost. They are imported when
they are used: `pip install "wm_tutorial[envpool]"`; PufferLib's `pufferlib-core` asks for an older PyTorch than this
package is tested with, and is installed without what it asks for, `pip install --no-deps pufferlib-core==3.0.23`.
"""

import os
import warnings
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from wm_tutorial.envs import EnvSource, SeededEpisodes, make_env
from wm_tutorial.errors import InputError
from wm_tutorial.vector import AnyVector, VectorSource

PACKAGES = {"envpool": "envpool", "puffer": "pufferlib-core"}  # whose version belongs to a result
BACKENDS = ("Serial", "Multiprocessing")


@dataclass(frozen=True)
class EnvPool:
    """Builds the environments of EnvPool that have this id: `EnvPool("CartPole-v1")(count, seed)`.

    name     an id of EnvPool, such as "CartPole-v1" or "Pong-v5"; often, not always, that of Gymnasium
    options  of `envpool.make`, such as {"num_threads": 4} or {"max_episode_steps": 200}
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, count: int, seed: int) -> AnyVector:
        """`count` environments; raises InputError without EnvPool, or if it has none of this id."""
        try:
            import envpool
        except ImportError as error:
            raise InputError(
                'EnvPool is not installed: pip install "wm_tutorial[envpool]", on Linux or macOS with a Python that it '
                "has a wheel for."
            ) from error
        if self.name not in (known := envpool.list_all_envs()):
            similar = ", ".join(name for name in known if name.partition("-")[0] == self.name.partition("-")[0])
            raise InputError(f"EnvPool has no {self.name!r}" + (f"; it has {similar}." if similar else "."))
        seed %= 2**31 - count  # it adds the number of an environment, in 32 bits
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*precision lowered by casting")  # of the bounds of its own spaces
            return _Seeded(envpool.make(self.name, env_type="gymnasium", num_envs=count, seed=seed, **self.options))


class _Seeded(VectorWrapper):
    """An engine whose seed was given when it was made, and whose `reset` takes none; its spaces are built only once."""

    def __init__(self, env: AnyVector) -> None:
        super().__init__(env)
        self.single_observation_space, self.single_action_space = env.single_observation_space, env.single_action_space
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)
        self.action_space = batch_space(self.single_action_space, env.num_envs)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in each."""
        return self.env.reset(options=options)


@dataclass(frozen=True)
class Puffer:
    """Builds environments that PufferLib steps: `Puffer("CartPole-v1")(count, seed)`.

    Each episode has a seed of its own, as in `wm_tutorial.envs`: PufferLib alone would give the second environment of
    one process the seed of the first of the next.

    Critical: a process of "Multiprocessing" that dies is not noticed there, and whoever waits for it waits for ever.
    `vector="processes"` notices.

    source   a Gymnasium id, or a callable that returns a new environment
    backend  "Serial", or "Multiprocessing" for processes that share memory and wait by looking again and again
    workers  how many processes, each with as many environments; as many as there are cores, if None
    """

    source: EnvSource
    backend: str = "Serial"
    workers: int | None = None

    def __call__(self, count: int, seed: int) -> AnyVector:
        """`count` environments; raises InputError without PufferLib, or for another backend or number of processes."""
        try:
            import pufferlib.vector
        except ImportError as error:
            raise InputError(
                "PufferLib is not installed: pip install --no-deps pufferlib-core==3.0.23. (Its release 3.0.0 has to "
                "be compiled, and 4.0 steps no environments of Python.)"
            ) from error
        if self.backend not in BACKENDS:
            raise InputError(f"backend is {self.backend!r}; there are {' and '.join(map(repr, BACKENDS))}.")
        options = {}
        if self.backend == "Multiprocessing":
            cores = self.workers or os.cpu_count() or 1
            workers = next(number for number in range(min(cores, count), 0, -1) if count % number == 0)
            if self.workers not in (None, workers):
                raise InputError(f"workers is {self.workers}, which does not divide {count} environments.")
            options = {"num_workers": workers, "overwork": True}  # it counts cores without their second threads
        builds = [partial(_puffer_env, self.source, (seed, i)) for i in range(count)]
        empty: Any = [[]] * count, [{}] * count
        return FromPuffer(pufferlib.vector.make(builds, *empty, backend=self.backend, num_envs=count, **options))


def _puffer_env(source: EnvSource, episodes: tuple[int, int], buf: Any = None, seed: Any = None) -> Any:
    from pufferlib.emulation import GymnasiumPufferEnv

    return GymnasiumPufferEnv(SeededEpisodes(make_env(source), episodes), buf=buf)


class FromPuffer(VectorEnv[Any, Any, Any]):
    """What PufferLib steps, with the interface of Gymnasium. Its memory is shared: what is returned is a copy."""

    def __init__(self, stepped: Any) -> None:
        self.stepped, self.num_envs = stepped, stepped.num_envs
        self.single_observation_space = stepped.single_observation_space
        self.single_action_space = stepped.single_action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in each."""
        obs, _ = self.stepped.reset(seed or 0)
        return np.array(obs), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step each, or begin its next episode."""
        obs, rewards, terminals, truncations, _ = self.stepped.step(actions)
        return np.array(obs), np.array(rewards), np.array(terminals), np.array(truncations), {}

    def close_extras(self, **_: Any) -> None:
        """End its processes, if it has some."""
        self.stepped.close()
        for process in getattr(self.stepped, "processes", []):
            process.join()


def called_engine(vector: VectorSource | None) -> str | None:
    """What an engine is called in results: "processes", "envpool", the name of a function; None if there is none."""
    if vector is None or isinstance(vector, str):
        return vector
    if isinstance(vector, EnvPool | Puffer):
        return type(vector).__name__.lower()
    return getattr(vector, "__name__", type(vector).__name__)
