"""The lighthouse that a reader of chapter 19 writes is the package's, hour by hour, and what it calls best is best."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from chapters import definitions
from helpers import uniform

from wm_tutorial import worlds
from wm_tutorial.mistakes import PARTS
from wm_tutorial.worlds import lighthouse

CHAPTER = definitions("19_your_own_environment")
STATES = list(np.ndindex(lighthouse.STATES))


def test_the_numbers_of_the_words_agree() -> None:
    for name in ("TEND", "CARRY", "WIPE", "CLEAR", "FALLING", "FOG", "TANK", "LOAD", "BLACK", "HOURS"):
        assert CHAPTER[name] == getattr(lighthouse, name)


def test_every_hour_that_there_can_be_agrees() -> None:
    for oil, soot, weather in STATES:
        for action in range(3):
            there = CHAPTER["after"](oil, soot, action, weather)
            assert there == lighthouse.after(oil, soot, action, weather)
            assert CHAPTER["paid"](*there, action, weather) == lighthouse.paid(*there, action, weather)


@pytest.mark.parametrize("name", ["Lighthouse", "LighthouseDict"])
@pytest.mark.parametrize("seed", range(3))
def test_the_class_that_is_written_agrees(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Episodes of one seed and the same actions, until it is over and begun anew."""
    monkeypatch.setitem(CHAPTER[name].step.__globals__, "CHANGE", lighthouse.CHANGE)
    ours: Any = CHAPTER[name]()
    package: Any = getattr(worlds, name)()
    assert ours.observation_space == package.observation_space and ours.action_space == package.action_space
    rng = np.random.default_rng(seed)
    seen = [world.reset(seed=seed) for world in (ours, package)]
    assert repr(seen[0]) == repr(seen[1])
    for action in rng.choice(3, 200, p=[0.5, 0.3, 0.2]):
        seen = [world.step(action) for world in (ours, package)]
        assert repr(seen[0]) == repr(seen[1])
        if seen[0][2]:
            assert repr(ours.reset()) == repr(package.reset())


def test_the_change_of_the_weather_agrees() -> None:
    """The table stands in a cell as np.array(..), which is no constant to `definitions`."""
    from course import NOTEBOOKS, code_cells, read

    cells = code_cells(read(NOTEBOOKS / "19_your_own_environment.ipynb"))
    (cell,) = (cell for cell in cells if "CHANGE = " in cell.source)
    space: dict[str, Any] = {}
    exec(cell.source, space)
    np.testing.assert_array_equal(space["CHANGE"], lighthouse.CHANGE)


def test_the_best_for_the_real_reward_is_worth_nearly_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CHAPTER["best_for"].__globals__, "CHANGE", lighthouse.CHANGE)
    keeper = CHAPTER["best_for"](lighthouse.REWARDS)
    best = lighthouse.best_light()[0]
    assert best - 3.0 < CHAPTER["worth"](keeper) <= best
    np.testing.assert_allclose(CHAPTER["worth"](keeper), lighthouse.policy_light(np.eye(3)[keeper]))


def test_a_potential_changes_no_best_keeper(monkeypatch: pytest.MonkeyPatch) -> None:
    """For any potential, not only that of the chapter; an empty tank has none."""
    monkeypatch.setitem(CHAPTER["best_for"].__globals__, "CHANGE", lighthouse.CHANGE)
    plain = CHAPTER["best_for"](lighthouse.REWARDS)[1:]
    for seed in range(3):
        potential = np.random.default_rng(seed).uniform(-2, 2, lighthouse.STATES)
        potential[0] = 0.0
        arrived = potential.reshape(-1)[lighthouse.ARRIVED]
        shaped = lighthouse.REWARDS + CHAPTER["GAMMA"] * arrived - potential[..., None, None]
        assert (CHAPTER["best_for"](shaped)[1:] == plain).mean() > 0.99


def test_the_shaped_reward_agrees() -> None:
    reward, potential = uniform(3, 4, seed=0, low=-1, high=1), uniform(3, 5, seed=1, low=-1, high=1)
    ends = uniform(3, 4, seed=2) > 0.7
    ours = CHAPTER["solved_shaped_reward"](reward, potential, ends, 0.9)
    torch.testing.assert_close(ours, PARTS["shaped_reward"].right(reward, potential, ends, 0.9))


def test_running_statistics_are_those_of_all_that_was_seen() -> None:
    class Told(gym.Env[Any, Any]):
        observation_space = gym.spaces.Box(0.0, 1.0, (6,), np.float64)

    running = CHAPTER["Running"](Told())
    told = np.random.default_rng(0).uniform(size=(20, 6))
    for n, one in enumerate(told, 1):
        seen = running.observation(one)
        deviation = np.sqrt(np.maximum(told[:n].var(0), 1e-4))
        np.testing.assert_allclose(seen, (one - told[:n].mean(0)) / deviation, atol=1e-6)
    np.testing.assert_array_equal(CHAPTER["Running"](Told()).observation(told[3]), np.zeros(6))
