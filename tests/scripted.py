"""Environments that do what they were told, the smallest run that still is one, and what it means for two to agree."""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from wm_tutorial.checkpoint import METRICS
from wm_tutorial.config import Config, make_config
from wm_tutorial.trainer import Trainer

Array = NDArray[Any]
Space = gym.Space[Any]

TINY: dict[str, Any] = {
    "hidden": 8,
    "layers": 1,
    "latent_size": 4,
    "conv_depth": 2,
    "batch_size": 2,
    "sequence_length": 4,
    "imagined_starts": 8,
    "horizon": 3,
    "envs": 2,
    "prefill": 20,
    "capacity": 400,
    "updates_per_step": 0.25,
    "steps": 60,
    "eval_every": 0,
    "eval_episodes": 2,
    "checkpoint_every": 0,
    "log_every": 20,
}


def tiny(**options: Any) -> Config:
    """A run of less than a second."""
    return make_config(**{**TINY, **options})


def memory(count: int) -> Box:
    """A space for a vector of anything."""
    return Box(-np.inf, np.inf, (count,), np.float32)


class Scripted(gym.Env[Any, Any]):
    """Says where it is: the observation is (episode, step), the reward 10 * episode + step.

    `script` holds the length of each episode, positive if it terminates and negative if it is truncated; after the last
    entry it begins again. `seeds` and `taken` are what was asked of it, `resets` how many episodes it has begun.
    """

    def __init__(self, script: Sequence[int] = (3,), action_space: Space | None = None) -> None:
        self.script, self.episode, self.moment = script, -1, 0
        self.observation_space, self.action_space = memory(2), action_space or Discrete(2)
        self.seeds: list[int | None] = []
        self.taken: list[Any] = []
        self.closed = False

    def observation(self) -> Any:
        return np.array([self.episode, self.moment], np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.moment = self.episode + 1, 0
        self.seeds.append(seed)
        return self.observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        length = self.script[self.episode % len(self.script)]
        assert self.moment < abs(length), "a step after the end of an episode"
        self.moment += 1
        self.taken.append(action)
        over = self.moment == abs(length)
        return self.observation(), 10.0 * self.episode + self.moment, over and length > 0, over and length < 0, {}

    def close(self) -> None:
        self.closed = True


class Troupe:
    """A source of scripted environments: each one built gets the next script, and can be asked afterwards."""

    def __init__(self, *scripts: Sequence[int], action_space: Space | None = None) -> None:
        self.scripts, self.action_space = itertools.cycle(scripts), action_space
        self.built: list[Scripted] = []

    def __call__(self) -> Scripted:
        self.built.append(Scripted(next(self.scripts), self.action_space))
        return self.built[-1]


class Seeded(gym.Env[Any, Any]):
    """Everything it does is a function of its seed and of the actions in exactly the form they were given.

    The observation is (a number drawn from the seed, the step, a sum over the actions); an episode lasts 1 to 9 steps.
    """

    def __init__(self, action_space: Space | None = None) -> None:
        self.observation_space, self.action_space = memory(3), action_space or Discrete(2)
        self.weights = {0: 0.25, 1: -0.5, 2: 1.0, 3: 2.0, 4: 3.5, 5: -4.0}

    def worth(self, action: Any) -> float:
        """Discrete actions are keys, as in Gymnasium's own tabular environments; others count to the last digit."""
        if isinstance(self.action_space, Discrete):
            return self.weights[action]
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        return float(1e6 * np.asarray(action, np.float64).sum() % 1.0)

    def observation(self) -> Any:
        return np.array([self.number, self.moment, self.total], np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.number, self.moment, self.total = self.np_random.uniform(), 0, 0.0
        self.length = int(self.np_random.integers(1, 10))
        self.truncates = bool(self.np_random.integers(2))
        return self.observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.moment += 1
        self.total += self.worth(action) + 0.1 * self.np_random.uniform()
        over = self.moment == self.length
        return self.observation(), self.total, over and not self.truncates, over and self.truncates, {}


class Forgetful(Seeded):
    """Takes no notice of its seed: no episode can be lived again."""

    count = itertools.count()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return super().reset(seed=next(self.count))


class Fixed(gym.Env[Any, Any]):
    """Returns one observation and one reward for ever, from given spaces; can be told to fail."""

    def __init__(
        self,
        observation_space: Space,
        action_space: Space | None = None,
        observation: Any = None,
        reward: float = 1.0,
        length: int = 5,
        odd: Callable[[int], bool] = lambda step: True,
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space or Discrete(2)
        observation_space.seed(0)
        self.usual = observation_space.sample()
        self.odd, self.observation, self.reward, self.length = odd, observation, reward, length
        self.moment = self.total = 0
        self.taken: list[Any] = []

    def now(self) -> Any:
        return self.observation if self.observation is not None and self.odd(self.total) else self.usual

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.moment = 0
        return self.now(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.moment, self.total = self.moment + 1, self.total + 1
        self.taken.append(action)
        return self.now(), self.reward if self.odd(self.total) else 0.0, self.moment == self.length, False, {}


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Where two nests of dicts, lists, arrays and numbers differ, to the last bit."""
    if isinstance(one, torch.Tensor | np.ndarray):
        a, b = np.asarray(one), np.asarray(other)
        if a.dtype != b.dtype or a.shape != b.shape or a.tobytes() != b.tobytes():
            yield path
    elif isinstance(one, dict):
        yield from (f"{path}/{key}" for key in one.keys() ^ other.keys())
        for key in one.keys() & other.keys():
            yield from differences(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, list | tuple):
        if len(one) != len(other):
            yield f"{path} has {len(one)} entries, or {len(other)}"
        for i, (a, b) in enumerate(zip(one, other, strict=False)):
            yield from differences(a, b, f"{path}/{i}")
    elif one != other or type(one) is not type(other):
        yield f"{path}: {one!r}, or {other!r}"


def assert_same(one: Any, other: Any) -> None:
    """Fail, and say where, unless `one` and `other` are the same to the last bit."""
    assert not (found := sorted(differences(one, other))), found


def snapshot(trainer: Trainer) -> dict[str, Any]:
    """A copy of everything a run is, but for the seconds it took."""
    state = trainer.state_dict()
    state["counters"] = {name: value for name, value in state["counters"].items() if name != "seconds"}
    return copied(state)


def copied(nest: Any) -> Any:
    """A copy that shares no memory."""
    if isinstance(nest, torch.Tensor):
        return nest.detach().clone()
    if isinstance(nest, dict):
        return {key: copied(value) for key, value in nest.items()}
    return [copied(value) for value in nest] if isinstance(nest, list | tuple) else nest


def timeless(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records of metrics as they stand in the file, but for the seconds they took."""
    lines = [json.loads(json.dumps(record)) for record in records]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def written(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, every one of which must be whole."""
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}
