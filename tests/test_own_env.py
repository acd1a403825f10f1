"""`check.environment` names the classic mistakes of an environment, and finds nothing in sound ones."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from wm_tutorial import check
from wm_tutorial.errors import InputError

Capture = pytest.CaptureFixture[str]
Returned = tuple[Any, Any, Any, Any, dict[str, Any]]


class Walk(gym.Env[Any, Any]):
    """A sound one: a walk by chance that ends beyond 4."""

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(-8.0, 8.0, (2,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.steps = 0.0, 0
        return self.seen(), {}

    def step(self, action: Any) -> Returned:
        self.place += float(action[0]) + float(self.np_random.normal())
        self.steps += 1
        return self.seen(), -abs(self.place), abs(self.place) > 4.0, False, {}

    def seen(self) -> Any:
        return np.array([np.clip(self.place, -8, 8), min(self.steps / 100, 8)], np.float32)


class Unseeded(Walk):
    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return super().reset()


class GlobalChance(Walk):
    def step(self, action: Any) -> Returned:
        self.place += float(np.random.normal())
        return super().step(action)


class StepsKept(Walk):
    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        steps = getattr(self, "steps", 0)
        super().reset(seed=seed)
        self.steps = steps
        return self.seen(), {}


class Buffered(Walk):
    buffer = np.zeros(2, np.float32)

    def seen(self) -> Any:
        self.buffer[:] = super().seen()
        return self.buffer


class Doubles(Walk):
    def seen(self) -> Any:
        return super().seen().astype(np.float64)


class BeyondBounds(Walk):
    def seen(self) -> Any:
        return 100 * super().seen() + 9


class Clock(Walk):
    def step(self, action: Any) -> Returned:
        seen, reward, *_ = super().step(action)
        return seen, reward, self.steps == 20, False, {}


class WritesIntoActions(Walk):
    def step(self, action: Any) -> Returned:
        action *= 0.5
        return super().step(action)


class OldReset(Walk):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed=seed)[0]


class OldStep(Walk):
    def step(self, action: Any) -> Any:
        seen, reward, terminated, _, info = super().step(action)
        return seen, reward, terminated, info


class Growing(Walk):
    def seen(self) -> Any:
        return np.zeros(2 + self.steps % 2, np.float32)


class NotANumber(Walk):
    def step(self, action: Any) -> Returned:
        return super().step(action)[0], np.log(-1.0 * (self.steps > 2)) if self.steps > 2 else 0.0, False, False, {}


class RewardArray(Walk):
    def step(self, action: Any) -> Returned:
        seen, reward, *rest = super().step(action)
        return seen, np.array([reward]), *rest  # type: ignore[return-value]


def normalised() -> gym.Env[Any, Any]:
    return gym.wrappers.NormalizeObservation(Walk())


MISTAKES: dict[str, tuple[Callable[[], gym.Env[Any, Any]], ...]] = {
    "reset_ignores_the_seed": (Unseeded, GlobalChance),
    "state_kept_across_episodes": (StepsKept,),
    "observation_aliased": (Buffered,),
    "observation_outside_of_its_space": (Doubles, BeyondBounds),
    "limit_as_terminated": (Clock, lambda: Clock()),
    "action_changed": (WritesIntoActions,),
    "old_reset": (OldReset,),
    "old_step": (OldStep,),
    "size_changes": (Growing,),
    "reward_is_an_array": (RewardArray,),
    "statistics_that_move": (normalised,),
}


def said(capsys: Capture, source: Any) -> tuple[bool, str]:
    capsys.readouterr()
    verdict = check.environment(source)
    return verdict, capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "source"), [(name, source) for name, sources in MISTAKES.items() for source in sources]
)
def test_each_mistake_gets_its_name_and_no_other(name: str, source: Any, capsys: Capture) -> None:
    right, out = said(capsys, source)
    assert not right and f"\n  {name}: " in out and out.startswith("environment: 1 found.\n"), out


@pytest.mark.filterwarnings("ignore:invalid value encountered in log:RuntimeWarning")
def test_a_reward_that_is_no_number_is_named(capsys: Capture) -> None:
    right, out = said(capsys, NotANumber)
    assert not right and "reward_not_finite: a reward is nan." in out


@pytest.mark.parametrize(
    "source",
    [
        Walk,
        lambda: gym.wrappers.TimeLimit(Walk(), 5),
        "wm_tutorial/Lighthouse-v0",
        "wm_tutorial/LighthouseDict-v0",
        "wm_tutorial/Corridor-v0",
        "wm_tutorial/Rockfall-v0",
        "wm_tutorial/LinearGaussian-v0",
        "CartPole-v1",
        "Pendulum-v1",
    ],
    ids=lambda source: source if isinstance(source, str) else "a callable",
)
def test_sound_environments_are_not_accused(source: Any, capsys: Capture) -> None:
    right, out = said(capsys, source)
    assert right and out.startswith("environment: nothing wrong was found.\n"), out


def test_two_mistakes_get_two_names(capsys: Capture) -> None:
    class Both(Buffered, StepsKept):
        pass

    right, out = said(capsys, Both)
    assert not right and "2 found." in out and "observation_aliased" in out and "state_kept_across_episodes" in out


def test_what_is_only_worth_knowing_does_not_count(capsys: Capture) -> None:
    class Endless(Walk):
        def step(self, action: Any) -> Returned:
            seen, _, _, _, _ = super().step(action)
            return seen, 0.0, False, False, {"place": self.place}

    right, out = said(capsys, Endless)
    assert right
    for name in ("endless", "one_reward", "numbers_in_info"):
        assert f"worth knowing, {name}: " in out
    assert "no agent sees place" in out


def test_what_is_no_environment_is_refused_in_the_packages_words() -> None:
    with pytest.raises(InputError, match=r"must return a gymnasium\.Env"):
        check.environment(lambda: 3)  # type: ignore[arg-type, return-value]
    with pytest.raises(InputError, match="Gymnasium cannot make"):
        check.environment("NoSuchWorld-v0")
