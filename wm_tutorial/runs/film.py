"""The real environment, as it draws itself (`render_mode="rgb_array"`), filmed while an agent acts in it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from wm_tutorial.agent import Agent
from wm_tutorial.data import EVALUATE, Array
from wm_tutorial.envs import Environments, EnvSource
from wm_tutorial.errors import EnvironmentFailure, InputError
from wm_tutorial.randomness import isolated_random
from wm_tutorial.runs.asked import path_of, whole_number
from wm_tutorial.runs.dream import with_camera, worlds_of

HELD = 1.0  # seconds for which the last picture of an episode stays


@dataclass(frozen=True)
class Filmed:
    """A film, and what happens in it.

    path     the file
    returns  undiscounted return of each episode
    lengths  steps of each episode
    cut      how many episodes went on when they were cut
    """

    path: Path
    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    cut: int = 0

    def __str__(self) -> str:
        """For people."""
        returns = ", ".join(f"{value:.4g}" for value in self.returns)
        told = (
            f"{self.path}: {len(self.returns)} {'episode' if len(self.returns) == 1 else 'episodes'}, return {returns}"
        )
        return told + (f"; {self.cut} of them cut" if self.cut else "")


def film(
    agent: Agent,
    source: EnvSource,
    path: str | Path,
    episodes: int = 1,
    greedy: bool = True,
    seed: int = 0,
    steps: int = 1000,
) -> Filmed:
    """Film whole episodes, one after the other: those that an evaluation of this seed begins with, never of training.

    The same call films the same again. With greedy actions an actor-critic does just what it does in `evaluate`.

    Args:
        agent: who acts.
        source: the environment. A callable must build it with `render_mode="rgb_array"`; an id is asked for that here.
        path: a file to be written, name.gif or name.mp4 (see `figures.recording`).
        episodes: how many, at most 100.
        greedy: the most likely actions instead of samples.
        seed: of the episodes.
        steps: an episode that goes on is cut after so many.

    Raises:
        InputError: for a number or name that cannot be used, or an environment that does not draw itself.
        EnvironmentFailure: if drawing fails.
        OutputError: if the file cannot be written.
    """
    from wm_tutorial import figures  # here and not above: matplotlib is slow to import

    path = figures.check_recording(path_of(path))
    episodes, steps = whole_number("episodes", episodes, 1), whole_number("steps", steps, 1)
    if episodes > 100:
        raise InputError(f"episodes is {episodes}; a film has at most 100.")
    if not isinstance(greedy, bool):
        raise InputError(f"greedy is {greedy!r}; give True for the most likely actions, or False for sampled ones.")
    shooting = _Shooting(agent, source, episodes, greedy, whole_number("seed", seed, 0), steps)
    figures.recording(shooting.frames(), path)
    return Filmed(path, tuple(shooting.returns), tuple(shooting.lengths), shooting.cut)


@dataclass
class _Shooting:
    """A film in the making; `returns`, `lengths` and `cut` grow with its frames."""

    agent: Agent
    source: EnvSource
    episodes: int
    greedy: bool
    seed: int
    steps: int

    def frames(self) -> Iterator[tuple[Array, float]]:
        """Each picture, and for how many seconds it is shown."""
        self.returns, self.lengths, self.cut = list[float](), list[int](), 0
        size = None
        with (
            worlds_of(self.agent, with_camera(self.source), 1, self.seed) as environments,
            isolated_random(self.agent.device, self.seed),
        ):
            env = environments.streams[0].env
            _check_draws(env, self.source)
            seconds = 1.0 / _rate(env)
            for episode in range(self.episodes):
                for frame, is_last in self._episode(environments, env, episode):
                    if size not in (None, frame.shape):
                        raise EnvironmentFailure(
                            f"The environment drew a picture of shape {frame.shape} after those of shape {size}; a "
                            "film needs pictures of one size."
                        )
                    size = frame.shape
                    yield frame, HELD if is_last else seconds

    def _episode(
        self, environments: Environments, env: gym.Env[Any, Any], episode: int
    ) -> Iterator[tuple[Array, bool]]:
        row, carry = environments.begin((EVALUATE, self.seed), episode), self.agent.initial(1)
        earned, length = 0.0, 0
        while True:
            over = bool(row.is_last[0]) or length == self.steps
            yield _picture(env), over
            if over:
                break
            carry = self.agent.policy(row, carry, self.greedy)
            row = environments.step(row, carry.action.numpy(force=True))
            earned, length = earned + float(row.reward[0]), length + 1
        self.returns.append(earned)
        self.lengths.append(length)
        self.cut += not row.is_last[0]


def _check_draws(env: gym.Env[Any, Any], source: EnvSource) -> None:
    """Raise InputError unless the environment was built to draw itself."""
    if env.render_mode == "rgb_array":
        return
    if isinstance(source, str):
        modes = ", ".join(map(str, env.metadata.get("render_modes", ()))) or "none"
        raise InputError(
            f"{source} does not draw itself: its render modes are {modes}, and a film needs rgb_array. "
            "wm-tutorial dream draws what the agent sees of every environment."
        )
    raise InputError(
        f"The environment that the callable built has render_mode {env.render_mode!r}, and a film needs 'rgb_array': "
        "let it build one that draws, such as lambda: MyEnv(render_mode='rgb_array')."
    )


def _picture(env: gym.Env[Any, Any]) -> Array:
    """What the environment draws of where it is, (height, width, 3) uint8; raises EnvironmentFailure if that fails."""
    try:
        picture = np.asarray(env.render())
    except Exception as error:
        raise EnvironmentFailure(
            f"The environment raised {type(error).__name__} when it was to draw itself: {str(error).rstrip('.')}."
        ) from error
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
        raise EnvironmentFailure(
            f"The environment drew {picture.dtype} of shape {picture.shape}; a film needs uint8 of shape (height, "
            "width, 3) from render()."
        )
    return picture.copy()  # it may draw the next one into the same memory


def _rate(env: gym.Env[Any, Any]) -> float:
    """Pictures a second, as the environment says; 30 if it does not."""
    rate = env.metadata.get("render_fps")
    return float(rate) if isinstance(rate, int | float) and rate > 0 else 30.0
