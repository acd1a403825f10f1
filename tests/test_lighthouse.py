"""The lighthouse is kept hour by hour, and compared with its exact numbers, which are found in other ways, too."""

import subprocess
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from wm_tutorial.errors import InputError
from wm_tutorial.worlds import lighthouse
from wm_tutorial.worlds.known import Array
from wm_tutorial.worlds.lighthouse import (
    BLACK,
    CARRY,
    CHANGE,
    CLEAR,
    FALLING,
    FOG,
    STATES,
    TANK,
    TEND,
    WIPE,
    Lighthouse,
    LighthouseDict,
    best_light,
    policy_light,
)

NAMES = ("wm_tutorial/Lighthouse-v0", "wm_tutorial/LighthouseDict-v0")
STANDARD_ERRORS = 4.0  # seeds are fixed, so a test that passes once passes always
RANDOM = np.full((*STATES, 3), 1 / 3)
OIL, SOOT, _ = np.indices(STATES)
RULE = np.where(OIL <= 2, CARRY, np.where(SOOT >= 3, WIPE, TEND))


def kept(action: int, weather: int, oil: int = 6, soot: int = 1) -> tuple[Any, ...]:
    """An hour that begins with this oil and soot, and in which this weather comes."""
    world = Lighthouse()
    world.reset(seed=0)
    world.oil, world.soot = oil, soot
    world.weather = {CLEAR: CLEAR, FALLING: CLEAR, FOG: FALLING}[weather]  # from which it can come
    while True:
        before = world.oil, world.soot, world.weather
        seen, reward, terminated, truncated, _ = world.step(np.int64(action))
        if world.weather == weather:
            assert not truncated
            gauges = [world.oil / 10, world.soot / 4, action == TEND]
            np.testing.assert_allclose(seen, [*gauges, *np.eye(3)[weather]], rtol=1e-6)
            return world.oil, world.soot, reward, terminated
        world.oil, world.soot, world.weather = before


def lived(name: str, seed: int) -> list[Any]:
    env = gym.make(name)
    env.action_space.seed(0)
    rows: list[Any] = [env.reset(seed=seed)[0]]
    for _ in range(80):
        *outcome, _ = env.step(env.action_space.sample())
        rows.append(outcome)
        if outcome[2] or outcome[3]:
            rows.append(env.reset()[0])  # later episodes follow from the first seed
    return rows


@pytest.mark.parametrize("name", NAMES)
def test_follows_the_gymnasium_api(name: str) -> None:
    check_env(gym.make(name).unwrapped)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_decides_everything(name: str) -> None:
    assert repr(lived(name, 3)) == repr(lived(name, 3))
    assert repr(lived(name, 3)) != repr(lived(name, 4))


def test_the_dict_shows_the_same_world_by_name() -> None:
    for vector, parts in zip(lived(NAMES[0], 5), lived(NAMES[1], 5), strict=True):
        (seen, *outcome), (named, *others) = (x if isinstance(x, list) else [x] for x in (vector, parts))
        assert outcome == others
        np.testing.assert_array_equal(seen, [*named["gauges"], *np.eye(3, dtype=np.float32)[named["weather"]]])


def test_importing_and_reloading_registers_without_a_warning() -> None:
    program = """if True:
        import importlib, sys
        import gymnasium
        import wm_tutorial.worlds.lighthouse
        importlib.reload(wm_tutorial.worlds.lighthouse)
        gymnasium.make("wm_tutorial/Lighthouse-v0").reset(seed=0)
    """
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARN" not in done.stderr


@pytest.mark.parametrize(
    ("action", "weather", "oil", "soot", "reward"),
    [
        (TEND, CLEAR, 5, 1, 1.0), (TEND, FALLING, 5, 1, 1.0), (TEND, FOG, 4, 2, 3.0),
        (CARRY, CLEAR, 9, 1, 0.0), (CARRY, FOG, 8, 2, -3.0), (WIPE, CLEAR, 5, 0, 0.0), (WIPE, FOG, 4, 0, -3.0),
    ],
)  # fmt: skip
def test_an_hour_is_what_the_words_say(action: int, weather: int, oil: int, soot: int, reward: float) -> None:
    assert kept(action, weather) == (oil, soot, reward, False)


def test_what_is_paid_can_be_read_from_what_is_seen() -> None:
    """A reward head reads the state that is arrived at, and no action; with the lamp hidden it could not."""
    told: dict[Any, set[float]] = {}
    hidden: dict[Any, set[float]] = {}
    for seed in range(20):
        for seen, reward, *_ in (row for row in lived(NAMES[0], seed) if isinstance(row, list)):
            told.setdefault(tuple(seen), set()).add(reward)
            hidden.setdefault((*seen[:2], *seen[3:]), set()).add(reward)
    assert max(map(len, told.values())) == 1
    assert max(map(len, hidden.values())) == 2


def test_a_black_glass_pays_nothing_in_fog_and_one_under_a_clear_sky() -> None:
    assert kept(TEND, FOG, soot=BLACK - 1) == (4, BLACK, 0.0, False)
    assert kept(TEND, CLEAR, soot=BLACK) == (5, BLACK, 1.0, False)


def test_a_full_tank_takes_no_more_and_an_empty_one_ends_the_episode() -> None:
    assert kept(CARRY, CLEAR, oil=TANK)[0] == TANK - 1
    assert kept(TEND, FOG, oil=2)[::3] == (0, True) and kept(TEND, FOG, oil=1)[2:] == (0.0, True)
    assert kept(CARRY, FOG, oil=1)[::3] == (4, False)


def test_an_episode_is_a_hundred_hours_at_most_and_no_terminal() -> None:
    env = gym.make(NAMES[0])
    env.reset(seed=0)
    ends = []
    for _ in range(100):
        env.unwrapped.oil = TANK  # type: ignore[attr-defined]
        ends.append(env.step(TEND)[2:4])
    assert ends == [(False, False)] * 99 + [(False, True)]


def test_what_was_returned_before_stays_as_it_was() -> None:
    for world in (Lighthouse(), LighthouseDict()):
        seen, _ = world.reset(seed=0)
        before = repr(seen)
        world.step(np.int64(TEND))
        assert repr(seen) == before


@pytest.mark.parametrize("action", [3, -1, 1.0, "wipe"])
def test_other_actions_are_refused(action: Any) -> None:
    world = Lighthouse()
    world.reset(seed=0)
    with pytest.raises(InputError, match=r"it must be the integer 0 \(tend\), 1 \(carry\) or 2 \(wipe\)"):
        world.step(action)


# --- The exact answers ------------------------------------------------------------------------------------------------


def play(policy: Array, episodes: int, seed: int) -> Array:
    """Returns of a keeper in the registered world."""
    env, rng, returns = gym.make(NAMES[0]), np.random.default_rng(seed), []
    for episode in range(episodes):
        env.reset(seed=1000 * seed + episode)
        world: Any = env.unwrapped
        total, over = 0.0, False
        while not over:
            _, reward, terminated, truncated, _ = env.step(
                rng.choice(3, p=policy[world.oil, world.soot, world.weather])
            )
            total += float(reward)
            over = terminated or truncated
        returns.append(total)
    return np.array(returns)


@pytest.mark.parametrize(
    ("policy", "episodes", "exact"),
    [(RANDOM, 800, -2.5439), (np.eye(3)[RULE], 200, 56.2536), (np.eye(3)[best_light()[1]], 200, 79.6139)],
    ids=["random", "rule of thumb", "the first hour's best, in every hour"],
)
def test_play_earns_what_was_computed(policy: Array, episodes: int, exact: float) -> None:
    returns = play(policy, episodes, seed=1)
    error = returns.std() / np.sqrt(len(returns))
    assert policy_light(policy) == pytest.approx(exact, abs=1e-3)
    assert abs(returns.mean() - exact) < STANDARD_ERRORS * error


def test_the_best_keeper_by_trying_everything() -> None:
    """Four hours, every action in every weather, without a table of values."""

    def worth(oil: int, soot: int, weather: int, hours: int) -> float:
        if hours == 0 or oil == 0:
            return 0.0
        found = []
        for action in range(3):
            total = 0.0
            for coming in np.flatnonzero(CHANGE[weather]):
                there = lighthouse.after(oil, soot, action, int(coming))
                paid = lighthouse.paid(*there, action, int(coming))
                total += CHANGE[weather, coming] * (paid + worth(*there, int(coming), hours - 1))
            found.append(total)
        return max(found)

    for hours in range(5):
        assert best_light(hours)[0] == pytest.approx(worth(TANK, 0, CLEAR, hours), abs=1e-12)
    assert best_light()[0] == pytest.approx(81.2300, abs=1e-3)  # the number of the table


def test_no_keeper_is_better_than_the_best() -> None:
    rng, best = np.random.default_rng(0), best_light(30)[0]
    for _ in range(50):
        assert policy_light(rng.dirichlet([0.3] * 3, STATES), hours=30) <= best + 1e-9
    assert policy_light(np.eye(3)[best_light()[1]]) < best_light()[0]  # near the end one would save no oil


def test_the_barometer_is_worth_looking_at() -> None:
    """The best keeper prepares where the barometer falls: what the rule of thumb, which does not look, cannot."""
    _, best = best_light()
    assert best[5, 2, CLEAR] == CARRY and best[5, 2, FOG] == TEND and best[5, 3, FALLING] == WIPE


def test_what_is_no_policy_is_refused() -> None:
    for wrong in (RANDOM[:8], 2 * RANDOM, -RANDOM):
        with pytest.raises(InputError, match="policy has shape"):
            policy_light(wrong)
