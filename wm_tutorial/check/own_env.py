"""Checks of chapter 19: parts of an environment, a whole one, and any that is handed over.

from wm_tutorial import check
check.environment(MyEnv)
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np

from wm_tutorial.check.diagnosis import examine
from wm_tutorial.envs import EnvSource, make_env
from wm_tutorial.errors import InputError
from wm_tutorial.mistakes.own_env import GREENHOUSE, LIGHTHOUSE_OBSERVATION, SHAPED_REWARD
from wm_tutorial.mistakes.part import Function


def lighthouse_observation(function: Function) -> bool:
    """Check `lighthouse_observation(oil, soot, lamp, weather)`: the lighthouse as a network likes to see it.

    oil      (B,) int64, 0 to 10
    soot     (B,) int64, 0 to 4
    lamp     (B,) int64: 1 it was tended, 0 it was left alone
    weather  (B,) int64: 0 clear, 1 clear and the barometer falls, 2 fog
    ->       (B, 6) float32 in 0..1: oil / 10, soot / 4, the lamp, and the weather one-hot

    check.lighthouse_observation(my_lighthouse_observation)
    """
    return examine(LIGHTHOUSE_OBSERVATION, function)


def shaped_reward(function: Function) -> bool:
    """Check `shaped_reward(reward, potential, terminated, gamma)`: help that leaves the best policy as it is.

    reward      (B, T) r_1 .. r_T
    potential   (B, T + 1) Phi(s_0) .. Phi(s_T), how promising each state looks to you
    terminated  (B, T) bool, whether s_1 .. s_T are terminal; of an episode only the last state can be
    gamma       what a reward one step later is worth
    ->          (B, T) r_{t+1} + gamma Phi(s_{t+1}) - Phi(s_t), where a terminal state has no potential

    check.shaped_reward(my_shaped_reward)
    """
    return examine(SHAPED_REWARD, function)


def greenhouse(function: Function) -> bool:
    """Check `greenhouse(play)`: write a class within, hand it to `play`, and return what that returns.

    play  a function: your class -> what it did. It calls your class with `hours`, the limit on time, lives an episode
          twice and another one in a second instance, and passes actions that may lie outside of the space.

    The class is a gymnasium.Env. The soil holds 0 to 10 litres. reset: 5 litres, hour 0, and a sun that is drawn by
    `float(self.np_random.random())`. step: the tap gives action[0] litres, 0 to 2 of them whatever is asked for, up to
    10 in the soil; then it dries by 2 * sun, down to 0; then the sun of the next hour is drawn. Observation: float32
    [water / 10, sun], in Box(0, 1, (2,)). Reward: 1 - |water - 5| / 5, of the water at the end of the hour. Terminated:
    no water is left. Truncated: `hours` hours have passed, and it is not terminated.

    check.greenhouse(my_greenhouse)
    """
    return examine(GREENHOUSE, function)


# --- Any environment --------------------------------------------------------------------------------------------------

EPISODES, STEPS = 12, 2000  # lived by chance, and the most steps of each
Action: TypeAlias = Any


@dataclass
class Lived:
    """An episode by chance.

    seen     (rows, numbers) what was observed, each row copied at once
    later    the same rows, looked at after the end
    rewards  of each step
    ends     terminated and truncated of the last step
    infos    numbers that stood in the infos
    outside  the first observation that is no member of its space
    """

    seen: np.ndarray
    later: np.ndarray
    rewards: list[float]
    ends: tuple[bool, bool]
    infos: set[str]
    outside: Any = None


def environment(source: EnvSource) -> bool:
    """Look for the classic mistakes in an environment of yours, by living some episodes by chance.

    source  the class, another callable that returns a new one each time, or the id of a registered one

    Prints what it finds, each by name, and returns whether it found nothing. What is only worth knowing is told, too,
    and does not count. Gymnasium's own check_env looks at other things: call it first.

    Raises:
        InputError: if there is no environment, or its spaces cannot be used.
    """
    try:
        make_env(source).close()
    except InputError as error:
        if "statistics" not in str(error):
            raise
        return _told([("statistics_that_move", str(error))], [])
    try:
        wrong, notes = _examined(lambda: make_env(source))
    except _Broken as broken:
        wrong, notes = [broken.args], []
    return _told(wrong, notes)


def _told(wrong: list[tuple[str, ...]], notes: list[tuple[str, ...]]) -> bool:
    print(f"environment: {'nothing wrong was found.' if not wrong else f'{len(wrong)} found.'}")
    for name, story in wrong:
        print(f"  {name}: {story}")
    for name, story in notes:
        print(f"  worth knowing, {name}: {story}")
    return not wrong


class _Broken(Exception):
    """What makes everything else meaningless: its name and its story."""


Said: TypeAlias = list[tuple[str, ...]]


def _examined(make: Callable[[], gym.Env[Any, Any]]) -> tuple[Said, Said]:
    env, other = make(), make()
    actions = _actions(env)
    first, again, fresh = _live(env, 0, actions(0)), _live(env, 0, actions(0)), _live(other, 0, actions(0))
    rest = [_live(env, seed, actions(seed)) for seed in range(1, EPISODES)]
    episodes = [first, *rest]
    wrong = [
        found
        for found in (
            _seed_ignored(first, fresh),
            _state_kept(first, fresh, again),
            _aliased(episodes),
            _outside(episodes),
            _clock(episodes),
        )
        if found
    ]
    env.close()
    other.close()
    return wrong, list(_worth_knowing(episodes))


def _actions(env: gym.Env[Any, Any]) -> Callable[[int], Iterator[Action]]:
    def drawn(seed: int) -> Iterator[Action]:
        env.action_space.seed(seed)
        while True:
            yield env.action_space.sample()

    return drawn


def _live(env: gym.Env[Any, Any], seed: int, actions: Iterator[Action]) -> Lived:
    begun: Any = env.reset(seed=seed)
    if not isinstance(begun, tuple) or len(begun) != 2:
        raise _Broken("old_reset", f"reset returned {type(begun).__name__}; it must return (observation, info).")
    seen, info = begun
    kept, copies, rewards = [seen], [_numbers(seen)], list[float]()
    infos, outside, ends = set(_named(info)), None, (False, False)
    for _ in range(STEPS):
        if outside is None and not env.observation_space.contains(seen):
            outside = seen
        action = next(actions)
        before = _numbers(action)
        stepped: Any = env.step(action)
        if not isinstance(stepped, tuple) or len(stepped) != 5:
            raise _Broken("old_step", "step must return (observation, reward, terminated, truncated, info).")
        seen, reward, terminated, truncated, info = stepped
        if not np.array_equal(before, _numbers(action)):
            raise _Broken("action_changed", "step writes into the action that it is given; work on a copy.")
        if not np.isscalar(reward) and np.ndim(reward) != 0:
            raise _Broken("reward_is_an_array", f"the reward has shape {np.shape(reward)}; it must be a number.")
        if not np.isfinite(reward):
            raise _Broken("reward_not_finite", f"a reward is {reward}.")
        kept.append(seen)
        copies.append(_numbers(seen))
        rewards.append(float(reward))
        infos |= set(_named(info))
        if terminated or truncated:
            ends = bool(terminated), bool(truncated)
            break
    if outside is None and not env.observation_space.contains(seen):
        outside = seen
    sizes = {len(row) for row in copies}
    if len(sizes) > 1:
        raise _Broken("size_changes", f"observations have {sorted(sizes)} numbers; it must always be the same count.")
    return Lived(np.stack(copies), np.stack([_numbers(one) for one in kept]), rewards, ends, infos, outside)


def _numbers(value: Any) -> np.ndarray:
    """All numbers of an observation or an action in one row."""
    if isinstance(value, dict):
        value = [value[name] for name in sorted(value, key=str)]
    if isinstance(value, tuple | list):
        return np.concatenate([_numbers(one) for one in value] or [np.zeros(0)])
    return np.array(value, np.float64).reshape(-1)


def _named(info: Any) -> Iterator[str]:
    for name, value in info.items() if isinstance(info, dict) else ():
        if isinstance(value, int | float | np.generic | np.ndarray) and not isinstance(value, bool | np.bool_):
            yield str(name)


def _same(one: Lived, other: Lived) -> bool:
    return (
        np.array_equal(one.seen, other.seen, equal_nan=True) and one.rewards == other.rewards and one.ends == other.ends
    )


def _seed_ignored(first: Lived, fresh: Lived) -> tuple[str, ...] | None:
    if _same(first, fresh):
        return None
    return (
        "reset_ignores_the_seed",
        "two new environments with one seed and one list of actions part. Call super().reset(seed=seed) first in "
        "reset, and draw everything from self.np_random: no np.random, no random, no generator of your own.",
    )


def _state_kept(first: Lived, fresh: Lived, again: Lived) -> tuple[str, ...] | None:
    if not _same(first, fresh) or _same(first, again):
        return None
    return (
        "state_kept_across_episodes",
        "after an episode, the same seed and actions give another one than in a new environment. Something that "
        "episodes change is set in __init__ and not in reset: a clock, a counter, a list.",
    )


def _aliased(episodes: list[Lived]) -> tuple[str, ...] | None:
    if all(np.array_equal(one.seen, one.later, equal_nan=True) for one in episodes):
        return None
    return (
        "observation_aliased",
        "observations change after they were returned: step writes into an array that it has given away. Return a "
        "new array, or .copy().",
    )


def _outside(episodes: list[Lived]) -> tuple[str, ...] | None:
    found = next((one.outside for one in episodes if one.outside is not None), None)
    if found is None:
        return None
    kind = f" of {found.dtype}" if isinstance(found, np.ndarray) else ""
    return (
        "observation_outside_of_its_space",
        f"{np.array2string(found, precision=3, threshold=8) if isinstance(found, np.ndarray) else found}{kind} is no "
        "member of observation_space. Bounds, shape and dtype of both must say the same.",
    )


def _clock(episodes: list[Lived]) -> tuple[str, ...] | None:
    lengths = {len(one.rewards) for one in episodes}
    if len(lengths) > 1 or lengths == {1} or not all(terminated for (terminated, _) in (one.ends for one in episodes)):
        return None
    return (
        "limit_as_terminated",
        f"all {len(episodes)} episodes, whatever was done in them, were terminated after {lengths.pop()} steps. That "
        "is a clock: return truncated, or leave it to gymnasium.wrappers.TimeLimit. If the task itself ends there, "
        "show the time that is left in the observation.",
    )


def _worth_knowing(episodes: list[Lived]) -> Iterator[tuple[str, ...]]:
    seen, rewards = np.concatenate([one.seen for one in episodes]), np.concatenate([one.rewards for one in episodes])
    if any(one.ends == (False, False) for one in episodes):
        yield "endless", f"an episode had not ended after {STEPS} steps; give it a limit: TimeLimit, max_episode_steps."
    if np.ptp(rewards) == 0.0:
        yield "one_reward", f"every step by chance was paid {rewards[0]:g}: chance alone will not find out what pays."
    if np.abs(rewards).max() > 100.0:
        yield "large_rewards", f"a reward is {rewards[np.abs(rewards).argmax()]:g}; presets with two-hot heads take it."
    if np.all(np.ptp(seen, axis=0) == 0.0):
        yield "nothing_moves", "no number of the observation ever changed."
    names = {name for one in episodes for name in one.infos}
    if names:
        yield (
            "numbers_in_info",
            f"no agent sees {', '.join(sorted(names))}: what it needs belongs into the observation.",
        )
