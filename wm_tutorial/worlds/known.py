"""Small worlds with exact answers, so that a learned model can be compared with the truth.

Importing this module registers them. Shape letters: T rows, N state size, M observation size, A action
size (Corridor: number of actions), S cells, H rows predicted open loop.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from wm_tutorial.errors import InputError

Array = npt.NDArray[np.float64]
Observation = npt.NDArray[np.float32]
Info = dict[str, Any]


def fixed_point(update: Callable[[Array], Array], start: Array) -> Array:
    """Repeat x <- update(x) until nothing changes: so the equations of Bellman, Riccati and Lyapunov are solved here.

    Raises InputError if it grows without bound, or has not settled after 100,000 repetitions.
    """
    x = start
    with np.errstate(over="ignore", invalid="ignore"):  # what grows without bound is reported below
        for _ in range(100_000):
            x, previous = update(x), x
            if not np.all(np.isfinite(x)):
                break
            if np.max(np.abs(x - previous)) <= 1e-12 * max(1.0, np.max(np.abs(x))):
                return x
    raise InputError(
        "the iteration does not settle; it needs a discount below 1, or a linear system in which what is not observed"
        " dies out (eigenvalues of A inside the unit circle): use a smaller discount, a smaller A, or observe more"
    )


# --- Position-only CartPole -------------------------------------------------------------------------------------------


class PositionOnlyCartPole(CartPoleEnv):
    """CartPole that shows where things are and hides how fast they move.

    Observation: (2,) float32, cart position in metres within +-4.8 and pole angle in radians within +-0.42. Actions,
    rewards, ends, rendering and the 500-step limit are those of CartPole-v1. One observation no longer tells which way
    the pole is falling; two do, so an agent needs memory.

    Source: Barto, Sutton & Anderson 1983, "Neuronlike adaptive elements that can solve difficult learning control
    problems" (the cart-pole); Gymnasium's `CartPoleEnv` (the code).
    """

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode=render_mode)
        # Twice the limits that end an episode, as in CartPole-v1, so that the last observation is inside.
        high = np.array([2 * self.x_threshold, 2 * self.theta_threshold_radians], dtype=np.float32)
        self.observation_space = spaces.Box(-high, high, dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Observation, Info]:
        """As CartPole-v1."""
        observation, info = super().reset(seed=seed, options=options)
        return _positions(observation), info

    def step(self, action: int | npt.NDArray[Any]) -> tuple[Observation, float, bool, bool, Info]:
        """As CartPole-v1."""
        observation, *outcome = super().step(action)  # type: ignore[no-untyped-call]
        return _positions(observation), *outcome


def _positions(observation: Observation) -> Observation:
    """Cart position, cart velocity, pole angle, pole angular velocity (4,) -> position and angle (2,)."""
    return observation[[0, 2]]


class PaidCartPole(CartPoleEnv):
    """CartPole that pays `times` for every step in place of 1: one task, with rewards of any size.

    Observations, actions, ends, rendering and the 500-step limit are those of CartPole-v1; a return divided by `times`
    compares with its. `TransformReward` does this to any environment; here it has an id, so that a command can name it
    and a result can say what it was measured on: `wm_tutorial/PaidCartPole-1e6-v0` pays a million.

    Raises:
        InputError: if `times` is no finite number.

    Source: Gymnasium's `CartPoleEnv`; rewards multiplied, as in van Hasselt et al. 2016 (arXiv 1602.07714).
    """

    def __init__(self, times: float = 1.0, render_mode: str | None = None) -> None:
        if not math.isfinite(times):
            raise InputError(f"rewards are multiplied by times={times}; it must be a finite number, such as 1e3")
        super().__init__(render_mode=render_mode)
        self.times = times

    def step(self, action: int | npt.NDArray[Any]) -> tuple[Observation, float, bool, bool, Info]:
        """As CartPole-v1, with another reward."""
        observation, reward, *outcome = super().step(action)  # type: ignore[no-untyped-call]
        return observation, self.times * reward, *outcome


# --- The linear-Gaussian world, and the filter that is exactly right about it -----------------------------------------


@dataclass(eq=False)
class LinearSystem:
    """A hidden state moved by a matrix, an action and noise, and seen through another matrix and noise.

        x_0 ~ N(initial_mean, initial_covariance)
        x_{t+1} = A x_t + B a_t + w_t,    w_t ~ N(0, Q)
        o_t     = C x_t + v_t,            v_t ~ N(0, R)

    Its three methods are the arrows of every world model in this package: `predict` is the step of the dynamics,
    `observe` the decoder, `update` the posterior. Here each is exact. Raises InputError if the shapes do not fit.

    Source: Kalman 1960, "A new approach to linear filtering and prediction problems".
    """

    A: Array  # (N, N)
    B: Array  # (N, A)
    C: Array  # (M, N)
    Q: Array  # (N, N) covariance of the process noise
    R: Array  # (M, M) covariance of the measurement noise
    initial_mean: Array  # (N,)
    initial_covariance: Array  # (N, N)

    def __post_init__(self) -> None:
        n, m = len(self.initial_mean), len(self.C)
        wanted = {"A": (n, n), "B": (n, self.B.shape[-1]), "C": (m, n), "Q": (n, n), "R": (m, m)}
        for name, shape in (wanted | {"initial_mean": (n,), "initial_covariance": (n, n)}).items():
            if (given := getattr(self, name).shape) != shape:
                raise InputError(f"{name} has shape {given}, but initial_mean and C ask for {shape}: reshape {name}")

    def predict(self, mean_t: Array, covariance_t: Array, a_t: Array) -> tuple[Array, Array]:
        """Belief about x_t (N,), (N, N) and action a_t (A,) -> belief about x_{t+1}: the prior of the next row."""
        return self.A @ mean_t + self.B @ a_t, self.A @ covariance_t @ self.A.T + self.Q

    def observe(self, mean_t: Array, covariance_t: Array) -> tuple[Array, Array]:
        """Belief about x_t (N,), (N, N) -> what it says of o_t: mean (M,), covariance (M, M)."""
        return self.C @ mean_t, self.C @ covariance_t @ self.C.T + self.R

    def update(self, mean_t: Array, covariance_t: Array, o_t: Array) -> tuple[Array, Array]:
        """Prior of x_t (N,), (N, N) and the observation o_t (M,) -> posterior of x_t."""
        expected_t, innovation_covariance_t = self.observe(mean_t, covariance_t)
        gain_t = covariance_t @ self.C.T @ np.linalg.inv(innovation_covariance_t)  # (N, M): how far to trust a surprise
        return mean_t + gain_t @ (o_t - expected_t), covariance_t - gain_t @ self.C @ covariance_t


class LinearGaussian(LinearSystem, gym.Env[Observation, Observation]):
    """A damped oscillator (position, velocity), period about 11 steps, pushed by a force in [-1, 1] and by noise.

    Observation: (2,) float32, position and velocity, or (1,), position, with `hidden_velocity=True`. Both are of order
    1 under random forces. Reward: exp(-position**2) of the arriving true state, in (0, 1]; its expectation under a
    Gaussian belief has a closed form. Never terminates; 100 steps by registration. `info["state"]` is the true state
    (2,). The matrices are attributes: `env.unwrapped.A`, and so on.

    Mean squared one-step error under uniform random forces, relative to the Kalman filter's (each component divided
    by its variance, then summed; exact, from the steady-state covariances):

    | predictor of o_{t+1}                                              | both observed | velocity hidden |
    |-------------------------------------------------------------------|---------------|-----------------|
    | Kalman filter: all of o_0..o_t, a_0..a_t (`steady_state_error`)   | 1             | 1               |
    | best linear function of o_t and a_t alone (`memoryless_error`)    | 1.007         | 7.4             |
    | o_t itself (persistence)                                          | 15            | 8.4             |

    So memory buys almost nothing when both are observed, and nearly everything when the velocity is hidden.
    """

    def __init__(self, hidden_velocity: bool = False) -> None:
        observed = 1 if hidden_velocity else 2
        super().__init__(
            A=np.array([[0.8, 0.5], [-0.5, 0.8]]),  # a rotation by 0.56 radians that keeps 94 % of the amplitude
            B=np.array([[0.2], [0.7]]),
            C=np.eye(observed, 2),
            Q=0.15**2 * np.eye(2),
            R=0.05**2 * np.eye(observed),
            initial_mean=np.zeros(2),
            initial_covariance=np.eye(2),
        )
        self.observation_space = spaces.Box(-np.inf, np.inf, (observed,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Observation, Info]:
        """Draw x_0 from the initial distribution; there are no options."""
        super().reset(seed=seed)
        self.state = self.np_random.multivariate_normal(self.initial_mean, self.initial_covariance)
        return self._measure(), {"state": self.state.copy()}

    def step(self, action: Observation) -> tuple[Observation, float, bool, bool, Info]:
        """Raise InputError for a force outside [-1, 1]: clipping it silently would make the world nonlinear."""
        force = np.asarray(action, dtype=np.float64)
        if force.shape != (1,) or not np.abs(force[0]) <= 1.0:
            raise InputError(f"the action is {action!r}; it must be one force, shape (1,), in [-1, 1]: clip it first")
        expected = self.A @ self.state + self.B @ force
        self.state = self.np_random.multivariate_normal(expected, self.Q)
        reward = float(np.exp(-(self.state[0] ** 2)))
        return self._measure(), reward, False, False, {"state": self.state.copy()}

    def _measure(self) -> Observation:
        return self.np_random.multivariate_normal(self.C @ self.state, self.R).astype(np.float32)


class FilteredRows(NamedTuple):
    """What `kalman_filter` knows in each row: a prediction before o_t is seen, a posterior after."""

    predicted_mean: Array  # (T, M) of o_t given o_0..o_{t-1}, a_0..a_{t-1}
    predicted_covariance: Array  # (T, M, M)
    filtered_mean: Array  # (T, N) of x_t given o_0..o_t, a_0..a_{t-1}
    filtered_covariance: Array  # (T, N, N)


def kalman_filter(system: LinearSystem, observation: npt.ArrayLike, action: npt.ArrayLike) -> FilteredRows:
    """The exact belief about a linear-Gaussian system, row by row.

    observation (T, M) and action (T, A) are rows of the index convention: a_t was chosen after seeing o_t. The
    prediction in row t uses observations up to t-1 and actions up to a_{t-1}; row 0 is predicted from the initial
    distribution, and the last action is not used. One sequence, no reset inside. Raises InputError on other shapes.

    Source: Kalman 1960; the same recursion in Särkkä 2013, "Bayesian Filtering and Smoothing", theorem 4.2.
    """
    observation, action = _rows(system, observation, action)
    prior_t = system.initial_mean, system.initial_covariance
    rows = []
    for o_t, a_t in zip(observation, action, strict=True):
        predicted_t = system.observe(*prior_t)
        posterior_t = system.update(*prior_t, o_t)
        rows.append((*predicted_t, *posterior_t))
        prior_t = system.predict(*posterior_t, a_t)  # of row t+1
    return FilteredRows(*(np.stack(column) for column in zip(*rows, strict=True)))


def open_loop_prediction(
    system: LinearSystem, observation: npt.ArrayLike, action: npt.ArrayLike, context: int
) -> tuple[Array, Array]:
    """Watch `context` rows, then close the eyes: the exact prediction of every later row from the actions alone.

    observation (T, M), action (T, A) as in `kalman_filter`, 1 <= context < T. Returns the mean (H, M) and covariance
    (H, M, M) of o_t for the rows t = context..T-1, so H = T - context; they compare with observation[context:], which
    is not used. Raises InputError on other shapes or another context.
    """
    observation, action = _rows(system, observation, action)
    if not 1 <= context < len(observation):
        rows = len(observation)
        raise InputError(
            f"context is {context}; with {rows} rows give 1 to {rows - 1}, so that at least one is left to predict"
        )
    *_, mean, covariance = kalman_filter(system, observation[:context], action[:context])
    belief_t = mean[-1], covariance[-1]  # row context - 1
    predicted = []
    for a_t in action[context - 1 : -1]:
        belief_t = system.predict(*belief_t, a_t)  # of row t+1
        predicted.append(system.observe(*belief_t))
    means, covariances = zip(*predicted, strict=True)
    return np.stack(means), np.stack(covariances)


def steady_state_error(system: LinearSystem) -> Array:
    """Covariance (M, M) of the Kalman filter's one-step prediction error after many rows.

    Its trace is the least mean squared error that any predictor of o_{t+1} from o_0..o_t, a_0..a_t can reach. The
    covariances in the filter do not depend on the data: `update`, then `predict`, repeated until nothing changes, is
    the Riccati recursion. Raises InputError if it does not settle.
    """
    prior = fixed_point(lambda covariance: _next_prior(system, covariance), system.initial_covariance)
    return system.C @ prior @ system.C.T + system.R


def memoryless_error(system: LinearSystem, action_variance: float = 1 / 3) -> Array:
    """Covariance (M, M) of the error that the best linear predictor of o_{t+1} from o_t and a_t alone makes.

    action_variance: of each component of actions drawn independently of everything; 1/3 is uniform in [-1, 1]. Such a
    predictor is a filter that starts every row afresh from the stationary distribution of x_t, whose covariance solves
    the Lyapunov equation X = A X A' + action_variance B B' + Q. Raises InputError if there is none.
    """
    drive = action_variance * system.B @ system.B.T + system.Q
    stationary = fixed_point(lambda covariance: system.A @ covariance @ system.A.T + drive, system.initial_covariance)
    return system.C @ _next_prior(system, stationary) @ system.C.T + system.R


def _next_prior(system: LinearSystem, prior_covariance: Array) -> Array:
    """Covariance (N, N) of the prior in the next row, whatever is observed and done in this one."""
    no_state, no_action, no_observation = (np.zeros(n) for n in (*system.B.shape, len(system.C)))
    posterior = system.update(no_state, prior_covariance, no_observation)
    return system.predict(*posterior, no_action)[1]


def _rows(system: LinearSystem, observation: npt.ArrayLike, action: npt.ArrayLike) -> tuple[Array, Array]:
    o, a = np.asarray(observation, dtype=np.float64), np.asarray(action, dtype=np.float64)
    m, n_actions = len(system.C), system.B.shape[1]
    if o.ndim != 2 or len(o) == 0 or o.shape != (len(o), m) or a.shape != (len(o), n_actions):
        raise InputError(
            f"observation {o.shape} and action {a.shape} do not fit; this system takes (T, {m}) and (T, {n_actions})"
            " with the same T >= 1: give one sequence, with an action in every row"
        )
    return o, a


# --- The corridor, and the values that are exactly right about it -----------------------------------------------------


class Corridor(gym.Env[np.int64, np.int64]):
    """A row of cells with a small reward at the left end and a large one, further for most, at the right end.

    Observation: the cell, 0 to length-1. Action 0 moves left, 1 right; with probability `slip` the opposite happens.
    Arriving at the left end pays 0.2, at the right end 1, and both end the episode (terminal); everything else pays 0.
    Starts uniformly among the inner cells. 50 steps by registration: that limit truncates and is no terminal, so the
    tables and the values below know nothing of it. A patient agent goes right, an impatient one takes what is near.

    The tables are the environment, which draws from them: `transition` (S, A, S) probabilities, where terminal cells
    lead to themselves; `reward` (S,) and `terminal` (S,) bool of the ARRIVING cell, as in the index convention.
    Raises InputError for length below 3, for slip outside [0, 1], and for an unknown action.
    """

    def __init__(self, length: int = 6, slip: float = 0.1) -> None:
        if length < 3:
            raise InputError(f"length is {length}; it must be 3 or more, two ends and a cell to start in: try 6")
        if not 0.0 <= slip <= 1.0:
            raise InputError(f"slip is {slip}; it is a probability, from 0 (never) to 1 (always): try 0.1")
        cells = np.arange(length)
        self.terminal = (cells == 0) | (cells == length - 1)
        self.reward = np.zeros(length)
        self.reward[0], self.reward[-1] = 0.2, 1.0
        self.transition = np.zeros((length, 2, length))
        self.transition[self.terminal, :, self.terminal] = 1.0
        for cell in cells[1:-1]:
            self.transition[cell, 0, [cell - 1, cell + 1]] = 1.0 - slip, slip
            self.transition[cell, 1, [cell - 1, cell + 1]] = slip, 1.0 - slip
        self.observation_space = spaces.Discrete(length)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[np.int64, Info]:
        """Draw an inner cell; there are no options."""
        super().reset(seed=seed)
        self.cell = self.np_random.integers(1, len(self.terminal) - 1)
        return self.cell, {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, Info]:
        """Draw the next cell from `transition`; raise InputError for an action that is neither 0 nor 1."""
        if not self.action_space.contains(action):
            raise InputError(f"the action is {action!r}; it must be the integer 0 (left) or 1 (right)")
        self.cell = np.int64(self.np_random.choice(len(self.terminal), p=self.transition[self.cell, action]))
        return self.cell, float(self.reward[self.cell]), bool(self.terminal[self.cell]), False, {}


def value_iteration(
    transition: Array, reward: Array, terminal: npt.NDArray[np.bool_], discount: float
) -> tuple[Array, npt.NDArray[np.intp]]:
    """The best values (S,) any policy can reach, and a greedy policy (S,) that reaches them: one action for each state.

    transition (S, A, S), reward (S,) and terminal (S,) bool as in `Corridor`, both of the arriving state; discount in
    [0, 1). The value of a terminal state is 0 (nothing follows it), and its action means nothing. Raises InputError.

    Source: Bellman 1957, "Dynamic Programming"; Sutton & Barto 2018, equation 4.10.
    """
    _check_tables(transition, reward, terminal, discount)

    def action_values(values: Array) -> Array:  # (S,) -> (S, A)
        return transition @ (reward + discount * values)

    values = fixed_point(lambda v: np.where(terminal, 0.0, action_values(v).max(axis=1)), np.zeros(len(reward)))
    return values, action_values(values).argmax(axis=1)


def policy_values(
    transition: Array, reward: Array, terminal: npt.NDArray[np.bool_], policy: Array, discount: float
) -> Array:
    """The exact values (S,) of a policy (S, A), whose rows are probabilities of the actions.

    The other arguments as in `value_iteration`. Bellman's equation for a fixed policy is linear, V = P (r + discount V)
    where the state is not terminal and V = 0 where it is, so one linear solve answers it. Raises InputError.

    Source: Sutton & Barto 2018, equation 4.4.
    """
    _check_tables(transition, reward, terminal, discount)
    if policy.shape != transition.shape[:2] or not _are_probabilities(policy):
        raise InputError(
            f"policy has shape {policy.shape}; it must be {transition.shape[:2]}, with rows that are probabilities"
            " and sum to 1: for one action in each state give np.eye(number_of_actions)[actions]"
        )
    arrival = np.einsum("sa,sax->sx", policy, transition)  # (S, S) under this policy
    arrival[terminal] = 0.0  # nothing follows a terminal state
    return np.linalg.solve(np.eye(len(reward)) - discount * arrival, arrival @ reward)


def _check_tables(transition: Array, reward: Array, terminal: npt.NDArray[np.bool_], discount: float) -> None:
    fit = transition.ndim == 3 and transition.shape[::2] == (len(reward),) * 2 and terminal.shape == reward.shape
    if not fit or terminal.dtype != np.bool_ or not _are_probabilities(transition):
        raise InputError(
            f"transition {transition.shape}, reward {reward.shape} and terminal {terminal.shape} ({terminal.dtype}) do"
            " not fit; they must be (S, A, S) with probabilities that sum to 1 along the last axis, (S,), and (S,)"
            " bool: take those of a Corridor as a pattern"
        )
    if not 0.0 <= discount < 1.0:
        raise InputError(f"discount is {discount}; it must be at least 0 and below 1 to keep values finite: try 0.99")


def _are_probabilities(table: Array) -> bool:
    return bool(np.all(table >= 0.0) and np.allclose(table.sum(axis=-1), 1.0))


# --- The fork, and what its news is worth -----------------------------------------------------------------------------


class Fork(gym.Env[Observation, np.int64]):
    """A road that forks: two futures from one state and one action, and chance alone decides.

    Observation: (2,) float32, how far along the road, 0 to 1, and on which side: 0 before the fork, then -1 (left) or 1
    (right) to the end. Six rows: rows 0 and 1 lie before the fork, rows 2 to 5 behind it. Nobody is ever in the middle.
    The two actions change nothing. The end of the right-hand road pays 1, that of the left one nothing; both terminate.

    Exactly known: the side is 1 with probability `right`; its mean, 2 `right` - 1, is the best guess in squared error
    and never true; row 2 brings `news` nats, the least KL that prior and posterior can have there, and every other row
    none. Raises InputError for a probability outside [0, 1], and for an unknown action.
    """

    ROWS, FORKED = 6, 2  # rows of an episode, and the first one behind the fork

    def __init__(self, right: float = 0.5) -> None:
        if not 0.0 <= right <= 1.0:
            raise InputError(f"right is {right}; it is a probability, from 0 (never) to 1 (always): try 0.5")
        self.right = right
        self.observation_space = spaces.Box(np.array([0, -1], np.float32), np.array([1, 1], np.float32))
        self.action_space = spaces.Discrete(2)

    @property
    def news(self) -> float:
        """What the side tells, in nats: the entropy of the coin."""
        odds = np.array([self.right, 1.0 - self.right])
        return float(-np.sum(odds[odds > 0] * np.log(odds[odds > 0])))

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Observation, Info]:
        """Back to the beginning of the road; there are no options."""
        super().reset(seed=seed)
        self.row, self.side = 0, 0
        return self._observation(), {}

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, Info]:
        """Walk on; raise InputError for an action that is neither 0 nor 1."""
        if not self.action_space.contains(action):
            raise InputError(f"the action is {action!r}; it must be the integer 0 or 1, which do the same")
        self.row += 1
        if self.row == self.FORKED:
            self.side = 1 if self.np_random.random() < self.right else -1
        ends = self.row == self.ROWS - 1
        return self._observation(), float(ends and self.side == 1), ends, False, {}

    def _observation(self) -> Observation:
        return np.array([self.row / (self.ROWS - 1), self.side], dtype=np.float32)


# --- Registration -----------------------------------------------------------------------------------------------------


def _register(name: str, made: type, limit: int | None, threshold: float | None, **options: float) -> None:
    """Tell Gymnasium, unless it knows: a second import, or a reload in a notebook, would warn."""
    if (full := f"wm_tutorial/{name}-v0") not in gym.registry:
        point = f"{__name__}:{made.__name__}"
        gym.register(full, point, reward_threshold=threshold, max_episode_steps=limit, kwargs=options)


_register("PositionOnlyCartPole", PositionOnlyCartPole, 500, 475.0)
_register("LinearGaussian", LinearGaussian, 100, None)
_register("Corridor", Corridor, 50, None)
_register("Fork", Fork, None, None)
for _times in ("1e-3", "1e3", "1e6"):
    _register(f"PaidCartPole-{_times}", PaidCartPole, 500, 475.0 * float(_times), times=float(_times))
