"""A lighthouse to be kept through the fog, and the exact numbers to judge a keeper by. Chapter 19 builds it from words.

| keeper of `wm_tutorial/Lighthouse-v0`               | expected return | known from            |
|-----------------------------------------------------|-----------------|-----------------------|
| the best keeper                                     | 81.23           | `best_light`, exact   |
| the rule of thumb: carry at 2, wipe at 3, else tend | 56.25           | `policy_light`, exact |
| random actions                                      | -2.54           | `policy_light`, exact |

Importing this module registers the world, and `wm_tutorial/LighthouseDict-v0`, which is the same one and shows its
parts by name. Shape letters: O oil in the lamp, 0 to 10; S soot on the glass, 0 to 4; W the weather; A actions.
"""

from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from wm_tutorial.errors import InputError
from wm_tutorial.worlds.known import Array, Info

TEND, CARRY, WIPE = range(3)  # the actions
CLEAR, FALLING, FOG = range(3)  # the weather: clear sky; clear, and the barometer falls; fog
TANK = 10  # hours of oil in clear weather
LOAD = 5  # of oil, that the keeper carries up in one hour
BLACK = 4  # soot through which no fog can be pierced
BURNS = (1, 1, 2)  # oil an hour, in each weather: in fog the flame is turned up, which is what makes soot
CHANGE = np.array([[0.8, 0.2, 0.0], [0.2, 0.0, 0.8], [0.3, 0.0, 0.7]])  # (W, W) of the weather, from hour to hour
HOURS = 100  # of an episode, by registration

Seen: TypeAlias = Any  # of `Lighthouse` an array (6,), of `LighthouseDict` a dict


class Lighthouse(gym.Env[Seen, np.int64]):
    """Keep a lamp alight, and its glass clean, where fog comes and goes.

    Every hour the keeper does one thing: 0 tends the lamp, 1 carries oil up (5, as far as there is room), 2 wipes the
    glass. Then the weather changes, and the lamp burns 1 oil, in fog 2; in fog the soot on the glass grows by 1, unless
    it is being wiped. Before fog comes, the barometer falls for an hour.

    Reward, for the hour that has passed: 1 if the lamp was tended under a clear sky; in fog 3 if it was tended behind a
    glass that is not black (soot below 4), and 0 behind a black one. Whoever carries or wipes leaves the lamp turned
    down: 0 under a clear sky, -3 in fog. A lamp without oil goes out: reward 0, and the episode ends. An episode begins
    with a full tank, a clean glass and a clear sky, and has at most 100 hours by registration; that limit truncates and
    is no terminal.

    Observation: (6,) float32 in 0..1: oil / 10, soot / 4, the lamp (1 if it was tended, 0 if it was left alone),
    and the weather one-hot. The attributes `oil`, `soot`, `lamp` and `weather` are the same in whole numbers. Oil, soot
    and weather are the state; the lamp decides nothing of what comes, but without it nobody could tell from what is
    seen what was paid for, and a reward head reads nothing else. Raises InputError for an unknown action.

    Source: ours.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own type)
    oil: int
    soot: int
    lamp: int
    weather: int

    def __init__(self) -> None:
        self.observation_space: spaces.Space[Any] = spaces.Box(0.0, 1.0, (6,), np.float32)
        self.action_space = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Seen, Info]:
        """A full tank, a clean glass, the lamp as it should be, and a clear sky; there are no options."""
        super().reset(seed=seed)
        self.oil, self.soot, self.lamp, self.weather = TANK, 0, 1, CLEAR
        return self._seen(), {}

    def step(self, action: np.int64) -> tuple[Seen, float, bool, bool, Info]:
        """One hour; raise InputError for an action other than 0, 1 and 2."""
        if not self.action_space.contains(action):
            raise InputError(f"the action is {action!r}; it must be the integer 0 (tend), 1 (carry) or 2 (wipe)")
        self.weather = int(self.np_random.choice(3, p=CHANGE[self.weather]))
        self.oil, self.soot = after(self.oil, self.soot, int(action), self.weather)
        self.lamp = int(action == TEND)
        return self._seen(), paid(self.oil, self.soot, int(action), self.weather), self.oil == 0, False, {}

    def _seen(self) -> Seen:
        gauges = [self.oil / TANK, self.soot / BLACK, self.lamp]
        return np.array([*gauges, *np.eye(3)[self.weather]], np.float32)


class LighthouseDict(Lighthouse):
    """The same world; its observation is a dict: "gauges" (3,) float32 in 0..1, and "weather": 0, 1 or 2."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Dict(gauges=spaces.Box(0.0, 1.0, (3,), np.float32), weather=spaces.Discrete(3))

    def _seen(self) -> Seen:
        return {"gauges": super()._seen()[:3], "weather": np.int64(self.weather)}


def after(oil: int, soot: int, action: int, weather: int) -> tuple[int, int]:
    """Oil and soot at the end of an hour with this action in this weather."""
    if action == CARRY:
        oil = min(oil + LOAD, TANK)
    if action == WIPE:
        soot = 0
    elif weather == FOG:
        soot = min(soot + 1, BLACK)
    return max(oil - BURNS[weather], 0), soot


def paid(oil: int, soot: int, action: int, weather: int) -> float:
    """What an hour pays: oil, soot and weather as they are at its end, and what was done in it."""
    if oil == 0:
        return 0.0
    if weather == FOG:
        return -3.0 if action != TEND else 3.0 if soot < BLACK else 0.0
    return 1.0 if action == TEND else 0.0


# --- The exact answers ------------------------------------------------------------------------------------------------

STATES = (TANK + 1, BLACK + 1, 3)  # (O, S, W)


def policy_light(policy: Array, hours: int = HOURS) -> float:
    """The exact expected return of `hours` hours, from the world's own start.

    policy (O, S, W, A): probabilities of the actions in each state. Raises InputError if the policy has another shape
    or rows that are no probabilities.

    Source: iterative policy evaluation, Sutton & Barto 2018, equation 4.5, from the last hour back.
    """
    shape = (*STATES, 3)
    if policy.shape != shape or not (np.all(policy >= 0.0) and np.allclose(policy.sum(axis=-1), 1.0)):
        raise InputError(
            f"policy has shape {policy.shape}; it must be {shape}, oil, soot, weather and actions, with probabilities "
            "that sum to 1: for one action in each state give np.eye(3)[actions]"
        )
    values = np.zeros(STATES)
    for _ in range(hours):
        values = (policy * _action_values(values)).sum(axis=-1)
    return float(values[TANK, 0, CLEAR])


def best_light(hours: int = HOURS) -> tuple[float, npt.NDArray[np.intp]]:
    """The most that any keeper can expect in `hours` hours, and what to do (O, S, W) in the first of them.

    Source: value iteration with a horizon; Bellman 1957, "Dynamic Programming".
    """
    values, policy = np.zeros(STATES), np.zeros(STATES, np.intp)
    for _ in range(hours):
        action_values = _action_values(values)
        values, policy = action_values.max(axis=-1), action_values.argmax(axis=-1)
    return float(values[TANK, 0, CLEAR]), policy


def _table() -> tuple[Array, npt.NDArray[np.intp]]:
    """Of each state, action and weather to come (O, S, W, A, W): what is paid, and the number of the state after."""
    rewards, arrived = np.zeros((*STATES, 3, 3)), np.zeros((*STATES, 3, 3), np.intp)
    for oil, soot, weather, action, coming in np.ndindex(rewards.shape):
        there = *after(oil, soot, action, coming), coming
        rewards[oil, soot, weather, action, coming] = paid(*there[:2], action, coming)
        arrived[oil, soot, weather, action, coming] = np.ravel_multi_index(there, STATES)
    return rewards, arrived


REWARDS, ARRIVED = _table()


def _action_values(values: Array) -> Array:
    """What is to be expected of each state and action (O, S, W, A), from what is of the states after."""
    alive = values.copy()
    alive[0] = 0.0  # an empty tank ends the episode
    worth = (REWARDS + alive.reshape(-1)[ARRIVED]) * CHANGE[:, None]
    expected: Array = worth.sum(axis=-1)
    expected[0] = 0.0  # nobody acts there
    return expected


# --- Registration -----------------------------------------------------------------------------------------------------

for _name in ("Lighthouse", "LighthouseDict"):
    if (_id := f"wm_tutorial/{_name}-v0") not in gym.registry:  # a second import would warn
        gym.register(_id, f"{__name__}:{_name}", reward_threshold=70.0, max_episode_steps=HOURS)
