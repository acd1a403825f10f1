"""An environment of one's own: what it shows, what it pays, and the class around both; chapter 19.

Shape letters: B states, T steps, N actions of an episode.
"""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from wm_tutorial.mistakes.bug import Bug
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Answer, Arguments, Function, Mistake, Part, Rule

# What is shown --------------------------------------------------------------------------------------------------------


def right_lighthouse_observation(oil: Tensor, soot: Tensor, lamp: Tensor, weather: Tensor) -> Tensor:
    """(B,) whole numbers each -> (B, 6) float32 in 0..1: oil / 10, soot / 4, the lamp, and the weather one-hot."""
    sky = torch.nn.functional.one_hot(weather, 3)
    return torch.cat([torch.stack([oil / 10, soot / 4, lamp], 1), sky], 1).float()


def _whole(seed: int, count: int, most: int) -> Tensor:
    return uniform(seed, count, dtype=torch.float64, low=0.0, high=most + 1.0).floor().clamp(max=most).long()


def _gauges(seed: int, count: int) -> Arguments:
    most = {"oil": 10, "soot": 4, "lamp": 1, "weather": 2}
    return {name: _whole(seed + i, count, top) for i, (name, top) in enumerate(most.items())}


LIGHTHOUSE_OBSERVATION = Part(
    name="lighthouse_observation",
    right=right_lighthouse_observation,
    batched=("oil", "soot", "lamp", "weather"),
    cases=(
        {
            "oil": torch.tensor([10, 5, 2]),
            "soot": torch.tensor([0, 1, 4]),
            "lamp": torch.tensor([1, 0, 1]),
            "weather": torch.tensor([0, 1, 2]),
        },
        *(_gauges(3 + 7 * seed, count) for seed, count in enumerate((5, 8, 1, 12))),
    ),
    mistakes={
        "weather_as_a_size": Mistake(
            "the weather is one number, as if fog were twice a falling barometer.",
            "it is stored as 0, 1, 2; but these are names, and a network that sees a size must first unlearn it.",
            (lambda o, s, f, w: torch.stack([o / 10, s / 4, f, w / 2], 1),
             lambda o, s, f, w: torch.stack([o / 10, s / 4, f, w.float()], 1),
             lambda o, s, f, w: torch.stack([o / 10, s / 4, f, w / 2, 0 * f, 0 * f], 1),
             lambda o, s, f, w: torch.stack([o / 10, s / 4, f, w, 0 * f, 0 * f], 1)),
        ),
        "weather_missing": Mistake(
            "the weather is not shown, so nobody can prepare for fog.",
            "the gauges come to mind first, since they are numbers already.",
            (lambda o, s, f, w: torch.stack([o / 10, s / 4, f], 1),),
        ),
        "lamp_missing": Mistake(
            "the lamp is not shown, so nobody can tell from what is seen what the hour was paid for.",
            "it decides nothing of what comes; but a reward head reads a state, and no action.",
            (lambda o, s, f, w: torch.cat([torch.stack([o / 10, s / 4], 1), torch.eye(3)[w]], 1),),
        ),
        "not_scaled": Mistake(
            "oil and soot are shown in their own units, outside of the bounds 0 and 1.",
            "the network is trusted to learn any scale; it begins as if all numbers were about as large as 1.",
            (lambda o, s, f, w: torch.cat([torch.stack([o, s, f], 1), torch.nn.functional.one_hot(w, 3)], 1).float(),),
        ),
        "one_scale_for_all": Mistake(
            "soot is divided by the size of the tank.",
            "one constant is quickly written for all; but a glass is black at 4.",
            (lambda o, s, f, w: right_lighthouse_observation(o, 0.4 * s, f, w),),
        ),
        "other_bounds": Mistake(
            "the numbers lie in -1..1, and the space says 0..1.",
            "many recipes centre their inputs; what counts is that space and numbers say the same.",
            (lambda o, s, f, w: 2 * right_lighthouse_observation(o, s, f, w) - 1,),
        ),
        "bounds_exchanged": Mistake(
            "oil is divided by 4, the most soot, and soot by 10, the most oil.",
            "two bounds, two columns; numbers above 1 give it away.",
            (lambda o, s, f, w: right_lighthouse_observation(2.5 * o, 0.4 * s, f, w),),
        ),
    },
)  # fmt: skip


# What is paid ---------------------------------------------------------------------------------------------------------


def right_shaped_reward(reward: Tensor, potential: Tensor, terminated: Tensor, gamma: float) -> Tensor:
    """r_{t+1} + gamma Phi(s_{t+1}) - Phi(s_t), (B, T), where the potential of a terminal state is 0."""
    return reward + gamma * potential[:, 1:] * ~terminated - potential[:, :-1]


def _shaping_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    last = torch.arange(shape[1]) == shape[1] - 1
    return {
        "reward": uniform(seed, *shape, dtype=dtype),
        "potential": uniform(seed + 1, shape[0], shape[1] + 1, dtype=dtype),
        # after a terminal state nothing comes: a row holds one episode, and only its last state may be one
        "terminated": (torch.arange(shape[0])[:, None] % 2 == seed // 10 % 2) & last,
        "gamma": 0.75,
    }


SHAPED_REWARD = Part(
    name="shaped_reward",
    right=right_shaped_reward,
    batched=("reward", "potential", "terminated"),
    cases=(
        {
            "reward": torch.tensor([[0.0, 0.0, 1.0]]),
            "potential": torch.tensor([[1.0, 2.0, 4.0, 8.0]]),
            "terminated": torch.tensor([[False, False, True]]),
            "gamma": 0.5,
        },
        *(_shaping_case(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "bonus_for_being_there": Mistake(
            "each step pays for where it leads, so it pays to stay there.",
            "a small prize for a good state looks harmless; collected every hour it outweighs what it was to lead to.",
            (lambda r, p, e, g: r + p[:, 1:], lambda r, p, e, g: r + g * p[:, 1:],
             lambda r, p, e, g: r + g * p[:, 1:] * ~e),
        ),
        "bonus_for_leaving": Mistake(
            "each step pays for the state that it departs from.",
            "potential[:, :-1] has as many columns as the reward; column t of it is s_t, and the reward is r_{t+1}.",
            (lambda r, p, e, g: r + p[:, :-1],),
        ),
        "potential_not_discounted": Mistake(
            "the potential arrived at is not discounted, so the best policy changes.",
            "without discount the terms cancel in pairs; with a discount they cancel only if it is in them.",
            (lambda r, p, e, g: r + p[:, 1:] * ~e - p[:, :-1],),
        ),
        "potential_of_an_end": Mistake(
            "a terminal state keeps its potential, so it pays to end the episode in a good place.",
            "the array has a number there; but after an end nothing is left to hope for.",
            (lambda r, p, e, g: r + g * p[:, 1:] - p[:, :-1],),
        ),
        "discount_and_end_missing": Mistake(
            "the plain difference: neither discounted nor cut at an end.",
            "progress is a difference; it leaves the best policy alone only in tasks without discount and end.",
            (lambda r, p, e, g: r + p[:, 1:] - p[:, :-1],),
        ),
        "difference_reversed": Mistake(
            "the difference has the wrong sign: going backwards pays.",
            "before minus after, as in a cost.",
            (lambda r, p, e, g: r + p[:, :-1] - g * p[:, 1:] * ~e, lambda r, p, e, g: r + p[:, :-1] - g * p[:, 1:],
             lambda r, p, e, g: r + p[:, :-1] - p[:, 1:]),
        ),
        "help_left_out_at_the_end": Mistake(
            "where the episode ends all of the help is left out; what was given on the way has to be paid back there.",
            "only the potential of the terminal state is 0, and that of the state before is still taken away.",
            (lambda r, p, e, g: r + (g * p[:, 1:] - p[:, :-1]) * ~e,),
        ),
        "departing_potential_discounted": Mistake(
            "gamma stands at the potential of the state that is left; it belongs to the one arrived in.",
            "what comes one step later is worth gamma of it.",
            (lambda r, p, e, g: r + p[:, 1:] * ~e - g * p[:, :-1],),
        ),
    },
)  # fmt: skip


# The class ------------------------------------------------------------------------------------------------------------

Returned = tuple[Any, float, bool, bool, dict[str, Any]]


class _Greenhouse(gym.Env[Any, Any]):
    """A bed of soil to be kept moist; `check.greenhouse` has its rules in words. Mistakes below change a piece each."""

    def __init__(self, hours: int) -> None:
        self.hours = hours
        self.observation_space = gym.spaces.Box(0.0, 1.0, (2,), np.float32)
        self.action_space = gym.spaces.Box(0.0, 2.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.begin()
        return self.seen(), {}

    def begin(self) -> None:
        self.water, self.hour, self.sun = 5.0, 0, self.drawn()

    def drawn(self) -> float:
        return float(self.np_random.random())

    def litres(self, action: Any) -> float:
        return float(np.clip(action[0], 0.0, 2.0))

    def step(self, action: Any) -> Returned:
        before = self.seen(), self.worth()
        self.hour += 1
        self.flow(self.litres(action))
        return self.told(before)

    def flow(self, litres: float) -> None:
        self.water = max(min(self.water + litres, 10.0) - 2.0 * self.sun, 0.0)
        self.sun = self.drawn()

    def told(self, before: tuple[Any, float]) -> Returned:
        dry = self.water == 0.0
        return self.seen(), self.worth(), dry, self.hour >= self.hours and not dry, {}

    def seen(self) -> Any:
        return np.array([self.water / 10, self.sun], np.float32)

    def worth(self) -> float:
        return 1.0 - abs(self.water - 5.0) / 5.0


def _lived(env: Any, seed: int, actions: Tensor) -> tuple[list[Any], list[list[float]], bool, bool]:
    """An episode: what was seen (copies), reward and flags, and whether it stayed as it was and in its space."""
    seen, _ = env.reset(seed=seed)
    kept, copies, rows = [seen], [np.array(seen)], list[list[float]]()
    for action in actions.numpy():
        seen, reward, terminated, truncated, _ = env.step(action.copy())
        kept.append(seen)
        copies.append(np.array(seen))
        rows.append([float(reward), float(terminated), float(truncated)])
        if terminated or truncated:
            break
    stays = all(np.array_equal(now, then) for now, then in zip(kept, copies, strict=True))
    return copies, rows, stays, all(env.observation_space.contains(one) for one in copies)


def _same(one: Any, other: Any) -> bool:
    return (
        len(one[0]) == len(other[0])
        and all(np.array_equal(a, b) for a, b in zip(one[0], other[0], strict=True))
        and bool(one[1] == other[1])
    )


def _played(source: Function, hours: int, seed: int, actions: Tensor) -> Answer:
    """What an environment does, as tensors; rows after the end of the episode hold -1."""
    env = source(hours)
    first, again = _lived(env, seed, actions), _lived(env, seed, actions)
    fresh = _lived(source(hours), seed, actions)
    count, repeats = len(actions), _same(first, fresh)
    size = first[0][0].size
    obs, rows = torch.full((count + 1, size), -1.0), torch.full((count, 3), -1.0)
    if repeats:  # otherwise every number is another one each time
        seen = np.stack([np.asarray(one, np.float32).reshape(-1) for one in first[0]])
        obs[: len(seen)] = torch.from_numpy(seen)
        rows[: len(first[1])] = torch.tensor(first[1])
    return {
        "same seed, same episode": torch.tensor(repeats),
        "a second episode like the first": torch.tensor(not repeats or _same(first, again)),
        "observations stay as they were": torch.tensor(not repeats or first[2]),
        "observations in their space": torch.tensor(not repeats or first[3]),
        "obs": obs,
        "reward": rows[:, 0],
        "terminated": rows[:, 1],
        "truncated": rows[:, 2],
    }


def player(hours: int, seed: int, actions: Tensor) -> Rule:
    """What plays an environment: made of a limit in hours, the seed of its episodes, and actions (N, 1)."""

    def play(source: Function) -> Answer:
        return _played(source, hours, seed, actions)

    shown = ", ".join(f"{x:.3g}" for x in actions.flatten().tolist()[:8])
    return Rule(f"play: {hours} hours at most, seed {seed}, actions {shown} ..", play)


def _greenhouse_case(seed: int, hours: int, low: float, high: float) -> Arguments:
    return {"play": player(hours, seed, uniform(seed, hours + 3, 1, dtype=torch.float32, low=low, high=high))}


def with_(cls: type[_Greenhouse] = _Greenhouse, **pieces: Any) -> Function:
    """An answer to the exercise whose class has other pieces."""
    changed = type("Changed", (cls,), pieces)
    return lambda play: play(changed)


def _unseeded(self: Any, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
    self.begin()
    return self.seen(), {}


def _own_generator(self: Any, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
    self.rng = np.random.default_rng()
    return _unseeded(self)


def _never_begun(*pieces: str) -> Function:
    """Pieces of the state that only the first reset sets."""

    def begin(self: Any) -> None:
        kept = {name: getattr(self, name) for name in pieces if hasattr(self, name)}
        _Greenhouse.begin(self)
        for name, value in kept.items():
            setattr(self, name, value)

    return with_(begin=begin)


def _in_place(self: Any) -> Any:
    if not hasattr(self, "buffer"):
        self.buffer = np.zeros(2, np.float32)
    self.buffer[:] = self.water / 10, self.sun
    return self.buffer


def _told(**changed: Any) -> Function:
    """What `step` returns, of which some is another thing: functions of the environment and of what was before."""

    def told(self: Any, before: Any) -> Returned:
        seen, worth, terminated, truncated, info = _Greenhouse.told(self, before)
        got = {"seen": seen, "worth": worth, "terminated": terminated, "truncated": truncated}
        got |= {name: change(self, before, got) for name, change in changed.items()}
        return got["seen"], got["worth"], got["terminated"], got["truncated"], info

    return with_(told=told)


def _flow(change: Function) -> Function:
    return with_(flow=change)


def _sun_first(self: Any, litres: float) -> None:
    self.sun = self.drawn()
    self.water = max(min(self.water + litres, 10.0) - 2.0 * self.sun, 0.0)


def _overflowing(self: Any, litres: float) -> None:
    self.water = max(self.water + litres - 2.0 * self.sun, 0.0)
    self.sun = self.drawn()


GREENHOUSE = Part(
    name="greenhouse",
    right=lambda play: play(_Greenhouse),
    cases=(
        _greenhouse_case(1, 12, 0.6, 1.4),
        _greenhouse_case(2, 9, -1.0, 3.5),
        _greenhouse_case(4, 30, -1.0, 0.5),
        _greenhouse_case(6, 14, 1.5, 2.5),
        _greenhouse_case(4, 4, -1.0, 0.5),  # the soil is dry in the last hour
    ),
    container=dict,
    returns=("same seed, same episode", "a second episode like the first", "observations stay as they were",
             "observations in their space", "obs", "reward", "terminated", "truncated"),
    mistakes={
        "reset_ignores_the_seed": Mistake(
            "the same seed gives other episodes.",
            "super().reset(seed=seed) is the line that makes self.np_random; np.random and a generator of one's own "
            "never hear of the seed.",
            (with_(reset=_unseeded), with_(reset=_own_generator, drawn=lambda self: float(self.rng.random())),
             with_(drawn=lambda self: float(np.random.default_rng().random()))),
        ),
        "one_seed_for_all": Mistake(
            "whatever the seed, the episode is that of seed 0.",
            "a seed written into the class makes its first tests repeat; then the agent learns one day by heart.",
            (with_(reset=lambda self, *, seed=None, options=None: _Greenhouse.reset(self, seed=0)),),
        ),
        "state_kept_across_episodes": Mistake(
            "an episode begins with what the one before has left.",
            "what is set in __init__ is set once; everything that an episode changes belongs into reset.",
            (_never_begun("water"), _never_begun("hour"), _never_begun("water", "hour")),
        ),
        "observation_aliased": Mistake(
            "what was returned before changes afterwards: every observation is one and the same array.",
            "writing into a buffer saves an allocation; whoever stores observations then stores the last one only.",
            (with_(seen=_in_place),),
        ),
        "reward_of_the_departing_state": Mistake(
            "an hour is paid for the water there was before it.",
            "the reward is computed first; r_{t+1} belongs to the state arrived in, together with o_{t+1}.",
            (_told(worth=lambda self, before, got: before[1]),),
        ),
        "observation_one_late": Mistake(
            "step returns what was seen before it.",
            "the observation is taken at the head of step.",
            (_told(seen=lambda self, before, got: before[0]),),
        ),
        "limit_as_terminated": Mistake(
            "the time limit is reported as terminated, so the agent learns that the world ends after so many hours.",
            "older environments had one flag, done; truncated is the one for clocks, and does not end the future.",
            (_told(terminated=lambda self, before, got: got["terminated"] or got["truncated"],
                   truncated=lambda *_: False),
             _told(terminated=lambda self, before, got: got["terminated"] or got["truncated"])),
        ),
        "end_as_truncated": Mistake(
            "dry soil is reported as truncated, so the agent learns that life goes on after it.",
            "one flag for both kinds of end, and the wrong one.",
            (_told(truncated=lambda self, before, got: got["terminated"] or got["truncated"],
                   terminated=lambda *_: False),),
        ),
        "both_flags": Mistake(
            "in the last hour dry soil is reported as truncated, too.",
            "two conditions, two flags, and both may be true at once; the soil is dry whatever the clock says.",
            (_told(truncated=lambda self, before, got: self.hour >= self.hours),),
        ),
        "never_terminated": Mistake(
            "nothing ends the episode but the clock.",
            "the plant is dead, and goes on being paid; an end is a cost only if it is one.",
            (_told(terminated=lambda *_: False, truncated=lambda self, before, got: self.hour >= self.hours),),
        ),
        "limit_one_late": Mistake(
            "the episode has one hour too many.",
            "hour > hours is true one step after hour == hours.",
            (_told(truncated=lambda self, before, got: self.hour > self.hours and not got["terminated"]),),
        ),
        "limit_one_early": Mistake(
            "the episode has one hour too few.",
            "the first observation is counted as an hour; an episode of n steps has n + 1 observations.",
            (_told(truncated=lambda self, before, got: self.hour >= self.hours - 1 and not got["terminated"]),),
        ),
        "action_not_clipped": Mistake(
            "the tap gives more than 2 litres, or takes water away.",
            "the space is a promise of whoever acts, and noise or another library may not keep it.",
            (with_(litres=lambda self, action: float(action[0])),
             with_(litres=lambda self, action: min(float(action[0]), 2.0)),
             with_(litres=lambda self, action: max(float(action[0]), 0.0))),
        ),
        "soil_overflows": Mistake(
            "the soil holds more than 10 litres.",
            "min(.., 10) is forgotten; then observations leave their space.",
            (_flow(_overflowing),),
        ),
        "sun_of_the_next_hour": Mistake(
            "the soil dries by a sun that nobody has seen yet.",
            "the new sun is drawn first; what an hour does must follow from what was seen, or it is chance.",
            (_flow(_sun_first),),
        ),
        "sun_in_info_only": Mistake(
            "the sun is not observed; what stands in info, no agent sees.",
            "info looks like a second channel; it is for people, and the package drops it.",
            (with_(seen=lambda self: np.array([self.water / 10], np.float32)),),
        ),
        "water_in_litres": Mistake(
            "the water is shown in litres, outside of the space.",
            "the state is in litres; the space promises 0..1.",
            (with_(seen=lambda self: np.array([self.water, self.sun], np.float32)),),
        ),
        "float64": Mistake(
            "observations are float64, and the space says float32.",
            "np.array makes float64 of Python's numbers.",
            (with_(seen=lambda self: np.array([self.water / 10, self.sun])),),
        ),
    },
)  # fmt: skip


PARTS: tuple[Part, ...] = (LIGHTHOUSE_OBSERVATION, SHAPED_REWARD, GREENHOUSE)
BUGS: tuple[Bug, ...] = ()
