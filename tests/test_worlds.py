"""The worlds are compared with answers found another way: conditioning, enumeration, simulation, CartPole itself."""

import itertools
import math
import subprocess
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from wm_tutorial.errors import InputError
from wm_tutorial.worlds import (
    Corridor,
    Fork,
    LinearGaussian,
    LinearSystem,
    PaidCartPole,
    fixed_point,
    kalman_filter,
    memoryless_error,
    open_loop_prediction,
    policy_values,
    steady_state_error,
    value_iteration,
)
from wm_tutorial.worlds.known import Array

WORLDS: list[tuple[str, dict[str, Any]]] = [
    ("wm_tutorial/PositionOnlyCartPole-v0", {}),
    ("wm_tutorial/PaidCartPole-1e-3-v0", {}),
    ("wm_tutorial/PaidCartPole-1e3-v0", {}),
    ("wm_tutorial/PaidCartPole-1e6-v0", {}),
    ("wm_tutorial/LinearGaussian-v0", {}),
    ("wm_tutorial/LinearGaussian-v0", {"hidden_velocity": True}),
    ("wm_tutorial/Corridor-v0", {}),
    ("wm_tutorial/Corridor-v0", {"length": 3, "slip": 0.0}),
    ("wm_tutorial/Fork-v0", {}),
    ("wm_tutorial/Fork-v0", {"right": 0.9}),
]
STANDARD_ERRORS = 4.0  # seeds are fixed, so a test that passes once passes always


# --- As Gymnasium environments ----------------------------------------------------------------------------------------


# A Gaussian observation has no bounds; the checker would like every Box to have some.
@pytest.mark.filterwarnings(r"ignore:.*A Box observation space (minimum|maximum) value is:UserWarning")
@pytest.mark.parametrize(("name", "arguments"), WORLDS)
def test_follows_the_gymnasium_api(name: str, arguments: dict[str, Any]) -> None:
    check_env(gym.make(name, **arguments).unwrapped)


def test_importing_and_reloading_registers_without_a_warning() -> None:
    program = """if True:
        import importlib, sys
        import gymnasium
        import wm_tutorial.worlds.known
        importlib.reload(wm_tutorial.worlds.known)
        del sys.modules["wm_tutorial.worlds.known"]
        import wm_tutorial.worlds.known
        gymnasium.make("wm_tutorial/Corridor-v0").reset(seed=0)
    """
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARN" not in done.stderr


@pytest.mark.parametrize(("name", "arguments"), WORLDS)
def test_a_seed_decides_everything(name: str, arguments: dict[str, Any]) -> None:
    def play(seed: int) -> list[Any]:
        env = gym.make(name, **arguments)
        env.action_space.seed(0)  # the same actions for every seed
        observation, _ = env.reset(seed=seed)
        rows = [np.atleast_1d(observation)]
        for _ in range(60):
            observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            rows.append(np.append(observation, [reward, terminated, truncated]))
            if terminated or truncated:
                rows.append(np.atleast_1d(env.reset()[0]))  # later episodes follow from the first seed
        return list(np.concatenate(rows))

    assert play(3) == play(3)
    if arguments != {"length": 3, "slip": 0.0}:  # which has no chance in it: one start, no slips
        assert play(3) != play(4)


@pytest.mark.parametrize(
    ("name", "limit", "arguments"),
    [
        ("wm_tutorial/LinearGaussian-v0", 100, {}),
        ("wm_tutorial/Corridor-v0", 50, {"length": 40, "slip": 0.0}),
    ],
)
def test_a_time_limit_truncates_and_does_not_terminate(name: str, limit: int, arguments: dict[str, Any]) -> None:
    env = gym.make(name, **arguments)
    env.reset(seed=0)
    there_and_back = itertools.cycle([env.action_space.sample()] if name.count("Linear") else [0, 1])
    ends = [env.step(action)[2:4] for action, _ in zip(there_and_back, range(limit), strict=False)]
    assert ends == [(False, False)] * (limit - 1) + [(False, True)]


# --- Position-only CartPole -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_position_only_cartpole_is_cartpole_without_its_velocities(seed: int) -> None:
    ours, theirs = gym.make("wm_tutorial/PositionOnlyCartPole-v0"), gym.make("CartPole-v1")
    theirs.action_space.seed(seed)
    hidden, full = ours.reset(seed=seed)[0], theirs.reset(seed=seed)[0]
    ended: Any = False
    while not ended:
        np.testing.assert_array_equal(hidden, full[[0, 2]])
        action = theirs.action_space.sample()
        hidden, *our_outcome = ours.step(action)
        full, *their_outcome = theirs.step(action)
        assert our_outcome == their_outcome  # reward, terminated, truncated, info
        ended = their_outcome[1] or their_outcome[2]
    np.testing.assert_array_equal(hidden, full[[0, 2]])
    assert ours.observation_space.contains(hidden)


def test_position_only_cartpole_keeps_the_limit_and_the_pictures() -> None:
    ours = gym.make("wm_tutorial/PositionOnlyCartPole-v0", render_mode="rgb_array")
    theirs = gym.make("CartPole-v1", render_mode="rgb_array")
    assert ours.spec is not None and theirs.spec is not None
    assert ours.spec.max_episode_steps == theirs.spec.max_episode_steps == 500
    assert ours.spec.reward_threshold == theirs.spec.reward_threshold
    assert ours.metadata == theirs.metadata
    pictures = []
    for env in (ours, theirs):
        env.reset(seed=0)
        pictures.append(np.asarray(env.render()))
        env.close()
    np.testing.assert_array_equal(pictures[0], pictures[1])


# --- CartPole, paid otherwise -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", ["1e-3", "1e3", "1e6"])
def test_paid_cartpole_is_cartpole_with_its_rewards_multiplied_by_what_its_id_says(times: str) -> None:
    ours, theirs = gym.make(f"wm_tutorial/PaidCartPole-{times}-v0"), gym.make("CartPole-v1")
    assert ours.spec is not None and theirs.spec is not None and theirs.spec.reward_threshold is not None
    assert ours.spec.reward_threshold == pytest.approx(float(times) * theirs.spec.reward_threshold)
    assert ours.spec.max_episode_steps == theirs.spec.max_episode_steps == 500
    assert ours.observation_space == theirs.observation_space and ours.metadata == theirs.metadata
    theirs.action_space.seed(0)
    np.testing.assert_array_equal(ours.reset(seed=0)[0], theirs.reset(seed=0)[0])
    ended: Any = False
    while not ended:
        action = theirs.action_space.sample()
        (ours_seen, paid, *our_ends), (seen, reward, *their_ends) = ours.step(action), theirs.step(action)
        np.testing.assert_array_equal(ours_seen, seen)
        assert paid == float(times) * float(reward) and our_ends == their_ends  # terminated, truncated, info
        ended = their_ends[0] or their_ends[1]


@pytest.mark.parametrize("times", [math.inf, math.nan])
def test_paid_cartpole_refuses_to_multiply_by_what_is_no_finite_number(times: float) -> None:
    with pytest.raises(InputError, match=f"times={times}"):
        PaidCartPole(times)


# --- The Kalman filter against one large joint Gaussian ---------------------------------------------------------------


def random_system(seed: int) -> tuple[LinearSystem, Array, Array]:
    """A system of random sizes, and five rows of observations (5, M) and actions (5, A)."""
    rng = np.random.default_rng(seed)
    n, a, m = rng.integers(1, 4, size=3)

    def covariance(size: int) -> Array:
        root = rng.normal(size=(size, size))
        return root @ root.T + 0.1 * np.eye(size)

    system = LinearSystem(
        A=rng.normal(size=(n, n)),
        B=rng.normal(size=(n, a)),
        C=rng.normal(size=(m, n)),
        Q=covariance(n),
        R=covariance(m),
        initial_mean=rng.normal(size=n),
        initial_covariance=covariance(n),
    )
    return system, rng.normal(size=(5, m)), rng.normal(size=(5, a))


def joint_gaussian(system: LinearSystem, action: Array) -> tuple[Array, Array, int]:
    """Mean and covariance of (x_0, ..., x_{T-1}, o_0, ..., o_{T-1}) given all actions, and where the o begin.

    Every x_t and o_t is a matrix times all the noise there is, (x_0 - its mean, w_0..w_{T-2}, v_0..v_{T-1}), plus
    something known; so the covariance of everything is that matrix, the covariance of the noise, and its transpose.
    """
    rows, n, m = len(action), len(system.A), len(system.C)
    sizes = [n] + [n] * (rows - 1) + [m] * rows
    parts = [system.initial_covariance] + [system.Q] * (rows - 1) + [system.R] * rows
    starts = np.cumsum([0, *sizes])
    noise = np.zeros((starts[-1], starts[-1]))
    pick = []  # pick[i] @ noise is the i-th part of the noise
    for i, part in enumerate(parts):
        block = slice(starts[i], starts[i + 1])
        noise[block, block] = part
        pick.append(np.eye(starts[-1])[block])
    known, mixing = [system.initial_mean], [pick[0]]
    for t in range(rows - 1):
        known.append(system.A @ known[t] + system.B @ action[t])
        mixing.append(system.A @ mixing[t] + pick[1 + t])
    known += [system.C @ known[t] for t in range(rows)]
    mixing += [system.C @ mixing[t] + pick[rows + t] for t in range(rows)]
    everything = np.concatenate(mixing)
    return np.concatenate(known), everything @ noise @ everything.T, rows * n


def condition(mean: Array, covariance: Array, wanted: slice, seen: slice, value: Array) -> tuple[Array, Array]:
    """Mean and covariance of a part of a Gaussian vector given another part."""
    gain = np.linalg.solve(covariance[seen, seen], covariance[seen, wanted]).T
    return (
        mean[wanted] + gain @ (value - mean[seen]),
        covariance[wanted, wanted] - gain @ covariance[seen, wanted],
    )


@pytest.mark.parametrize("seed", range(20))
def test_kalman_filter_is_conditioning_on_the_past(seed: int) -> None:
    system, observation, action = random_system(seed)
    n, m = len(system.A), len(system.C)
    mean, covariance, begin = joint_gaussian(system, action)
    rows = kalman_filter(system, observation, action)
    for t in range(len(observation)):
        x_t, o_t = slice(t * n, (t + 1) * n), slice(begin + t * m, begin + (t + 1) * m)
        before, until = slice(begin, begin + t * m), slice(begin, begin + (t + 1) * m)
        predicted = condition(mean, covariance, o_t, before, observation[:t].ravel())
        filtered = condition(mean, covariance, x_t, until, observation[: t + 1].ravel())
        for found, wanted in zip([row[t] for row in rows], [*predicted, *filtered], strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("context", [1, 2, 4])
@pytest.mark.parametrize("seed", range(8))
def test_open_loop_prediction_is_conditioning_on_the_context(seed: int, context: int) -> None:
    system, observation, action = random_system(seed)
    m = len(system.C)
    mean, covariance, begin = joint_gaussian(system, action)
    seen = slice(begin, begin + context * m)
    found = open_loop_prediction(system, observation, action, context)
    for i, t in enumerate(range(context, len(observation))):
        o_t = slice(begin + t * m, begin + (t + 1) * m)
        wanted = condition(mean, covariance, o_t, seen, observation[:context].ravel())
        np.testing.assert_allclose(found[0][i], wanted[0], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(found[1][i], wanted[1], rtol=1e-6, atol=1e-6)


def test_one_row_open_loop_is_the_filters_next_prediction() -> None:
    system, observation, action = random_system(0)
    rows = kalman_filter(system, observation, action)
    for context in range(1, 5):
        mean, covariance = open_loop_prediction(system, observation, action, context)
        np.testing.assert_array_equal(mean[0], rows.predicted_mean[context])
        np.testing.assert_array_equal(covariance[0], rows.predicted_covariance[context])


# --- Causality: the index convention ----------------------------------------------------------------------------------


@pytest.mark.parametrize("t", range(5))
def test_what_arrives_or_is_done_in_row_t_changes_no_prediction_up_to_row_t(t: int) -> None:
    system, observation, action = random_system(1)
    changed = np.arange(5)[:, None] == t
    before = kalman_filter(system, observation, action)
    other_observation = kalman_filter(system, observation + changed, action)
    other_action = kalman_filter(system, observation, action + changed)

    def rows_that_differ(a: Array, b: Array) -> list[int]:
        return np.flatnonzero(np.any(a != b, axis=1)).tolist()

    later = list(range(t + 1, 5))
    assert rows_that_differ(before.predicted_mean, other_observation.predicted_mean) == later
    assert rows_that_differ(before.filtered_mean, other_observation.filtered_mean) == [t, *later]
    assert rows_that_differ(before.predicted_mean, other_action.predicted_mean) == later
    assert rows_that_differ(before.filtered_mean, other_action.filtered_mean) == later


def test_open_loop_prediction_sees_the_context_and_the_actions_only() -> None:
    system, observation, action = random_system(1)
    rows = np.arange(5)[:, None]
    mean, _ = open_loop_prediction(system, observation, action, context=2)  # rows 2, 3, 4
    np.testing.assert_array_equal(open_loop_prediction(system, observation + (rows >= 2), action, 2)[0], mean)
    np.testing.assert_array_equal(open_loop_prediction(system, observation, action + (rows == 4), 2)[0], mean)
    moved = open_loop_prediction(system, observation, action + (rows == 2), 2)[0] != mean  # a_2 moves rows 3 and 4
    assert moved.any(axis=1).tolist() == [False, True, True]


# --- The linear-Gaussian world, simulated -----------------------------------------------------------------------------


class Simulation:
    """One long sequence under uniform random forces, and what the Kalman filter makes of it."""

    def __init__(self, hidden_velocity: bool, rows: int = 6000) -> None:
        self.world = LinearGaussian(hidden_velocity=hidden_velocity)
        self.world.action_space.seed(1)  # not the seed of reset, or forces and noise would be the same random numbers
        self.action = np.stack([self.world.action_space.sample() for _ in range(rows)]).astype(np.float64)
        first, info = self.world.reset(seed=0)
        observation, state, reward = [first], [info["state"]], [0.0]
        for a_t in self.action[:-1]:
            o, r, _, _, info = self.world.step(a_t.astype(np.float32))
            observation.append(o)
            state.append(info["state"])
            reward.append(r)
        self.observation, self.state, self.reward = np.array(observation, np.float64), np.array(state), np.array(reward)
        self.filtered = kalman_filter(self.world, self.observation, self.action)
        self.innovation = self.observation - self.filtered.predicted_mean


@pytest.fixture(scope="module", params=[False, True], ids=["both-observed", "velocity-hidden"])
def simulation(request: pytest.FixtureRequest) -> Simulation:
    return Simulation(request.param)


def assert_mean_is(wanted: Any, samples: Array) -> None:
    """The mean of independent samples (T, ...) is what it should be, within the error bars of a mean."""
    error = samples.std(axis=0) / np.sqrt(len(samples))
    assert np.all(np.abs(samples.mean(axis=0) - wanted) <= STANDARD_ERRORS * error)


def outer(a: Array, b: Array) -> Array:
    return a[:, :, None] * b[:, None, :]


def test_simulated_noise_has_the_covariances_it_claims(simulation: Simulation) -> None:
    world, state = simulation.world, simulation.state
    process = state[1:] - state[:-1] @ world.A.T - simulation.action[:-1] @ world.B.T
    measurement = simulation.observation - state @ world.C.T
    assert_mean_is(0.0, process)
    assert_mean_is(0.0, measurement)
    assert_mean_is(world.Q, outer(process, process))
    assert_mean_is(world.R, outer(measurement, measurement))
    assert_mean_is(0.0, outer(process, measurement[1:]))


def test_a_new_episode_starts_from_the_initial_distribution() -> None:
    world = LinearGaussian()
    start = np.stack([world.reset(seed=seed)[1]["state"] for seed in range(500)])
    assert_mean_is(world.initial_mean, start)
    assert_mean_is(world.initial_covariance, outer(start, start))


def test_innovations_are_white_and_as_large_as_predicted(simulation: Simulation) -> None:
    roots = np.linalg.cholesky(simulation.filtered.predicted_covariance)
    white = np.linalg.solve(roots, simulation.innovation[..., None])[..., 0]  # (T, M), identity covariance if exact
    assert_mean_is(0.0, white)
    assert_mean_is(np.eye(white.shape[1]), outer(white, white))
    for lag in range(1, 6):
        assert_mean_is(0.0, outer(white[lag:], white[:-lag]))
        assert_mean_is(0.0, outer(white[lag:], simulation.observation[:-lag]))
        assert_mean_is(0.0, outer(white[lag:], simulation.action[:-lag]))


def test_a_filter_with_the_wrong_action_row_is_not_white(simulation: Simulation) -> None:
    """The off-by-one that the index convention forbids would be seen by the test above."""
    late = kalman_filter(simulation.world, simulation.observation, np.roll(simulation.action, 1, axis=0))
    innovation = simulation.observation - late.predicted_mean
    with pytest.raises(AssertionError):
        assert_mean_is(0.0, outer(innovation[1:], simulation.action[:-1]))


def test_steady_state_error_is_the_error_measured_in_the_long_run(simulation: Simulation) -> None:
    error = steady_state_error(simulation.world)
    np.testing.assert_allclose(simulation.filtered.predicted_covariance[-1], error, rtol=1e-9, atol=1e-12)
    late = simulation.innovation[100:]
    assert_mean_is(error, outer(late, late))


def test_steady_state_of_a_scalar_system_solves_the_riccati_equation_by_hand() -> None:
    # x' = x + w, o = x + v with Q = 2 and R = 1: the prior variance solves p = p / (p + 1) + 2, so p = 1 + sqrt(3).
    one = np.eye(1)
    system = LinearSystem(A=one, B=one, C=one, Q=2 * one, R=one, initial_mean=np.zeros(1), initial_covariance=one)
    np.testing.assert_allclose(steady_state_error(system), 2 + np.sqrt(3))


def test_memoryless_error_is_that_of_a_regression_on_the_latest_row(simulation: Simulation) -> None:
    latest = np.hstack([simulation.observation, simulation.action])[:-1]
    following = simulation.observation[1:]
    residual = following - latest @ np.linalg.lstsq(latest, following)[0]
    blocks = outer(residual, residual)[99:].reshape(
        59, 100, *simulation.world.R.shape
    )  # residuals remember, blocks do not
    assert_mean_is(memoryless_error(simulation.world), blocks.mean(axis=1))


@pytest.mark.parametrize(("hidden_velocity", "memoryless", "persistence"), [(False, 1.007, 15), (True, 7.4, 8.4)])
def test_the_ratios_in_the_docstring(hidden_velocity: bool, memoryless: float, persistence: float) -> None:
    world = LinearGaussian(hidden_velocity=hidden_velocity)
    drive = world.B @ world.B.T / 3 + world.Q
    # The Lyapunov equation as a linear system in the entries of X, which no iteration has touched.
    stationary = np.linalg.solve(np.eye(4) - np.kron(world.A, world.A), drive.ravel()).reshape(2, 2)
    change = world.A - np.eye(2)  # o_{t+1} - o_t = C ((A - I) x_t + B a_t + w_t) + v_{t+1} - v_t
    of_persistence = world.C @ (change @ stationary @ change.T + drive) @ world.C.T + 2 * world.R
    variance = world.C @ stationary @ world.C.T + world.R

    def normalised(error: Array) -> float:
        return float(np.sum(error.diagonal() / variance.diagonal()))

    kalman = normalised(steady_state_error(world))
    assert normalised(memoryless_error(world)) / kalman == pytest.approx(
        memoryless, abs=0.05 if hidden_velocity else 0.0005
    )
    assert normalised(of_persistence) / kalman == pytest.approx(persistence, abs=0.05 if hidden_velocity else 0.5)
    assert np.all((stationary.diagonal() > 0.5) & (stationary.diagonal() < 2.0))  # observations of order 1


def test_reward_is_that_of_the_arriving_true_state(simulation: Simulation) -> None:
    np.testing.assert_allclose(simulation.reward[1:], np.exp(-(simulation.state[1:, 0] ** 2)), rtol=1e-12)


def test_expected_reward_has_the_closed_form_of_a_gaussian_belief(simulation: Simulation) -> None:
    mean = simulation.filtered.predicted_mean[:, 0]
    variance = simulation.filtered.predicted_covariance[:, 0, 0] - simulation.world.R[0, 0]
    expected = np.exp(-(mean**2) / (1 + 2 * variance)) / np.sqrt(1 + 2 * variance)
    surprise = (simulation.reward - expected)[1:]
    assert_mean_is(0.0, surprise)
    assert_mean_is(0.0, surprise * mean[1:] ** 2)


def test_changing_the_state_in_info_does_not_change_the_world() -> None:
    touched, left_alone = LinearGaussian(), LinearGaussian()
    force = np.zeros(1, dtype=np.float32)
    touched.reset(seed=0)[1]["state"] += 5.0
    touched.step(force)[4]["state"] += 5.0
    left_alone.reset(seed=0)
    left_alone.step(force)
    np.testing.assert_array_equal(touched.step(force)[0], left_alone.step(force)[0])


# --- The corridor -----------------------------------------------------------------------------------------------------


def test_corridor_transition_row_by_hand() -> None:
    corridor = Corridor()
    np.testing.assert_allclose(corridor.transition[2], [[0, 0.9, 0, 0.1, 0, 0], [0, 0.1, 0, 0.9, 0, 0]])
    np.testing.assert_allclose(corridor.transition.sum(axis=2), 1.0)
    assert corridor.reward.tolist() == [0.2, 0, 0, 0, 0, 1]
    assert corridor.terminal.tolist() == [True, False, False, False, False, True]


def test_corridor_moves_as_its_tables_say() -> None:
    corridor, draws = Corridor(length=5, slip=0.2), 1500
    corridor.reset(seed=0)
    for cell, action in itertools.product([1, 2, 3], [0, 1]):
        arrived = np.zeros((draws, 5))
        for i in range(draws):
            corridor.cell = np.int64(cell)
            observation, reward, terminated, truncated, _ = corridor.step(np.int64(action))
            assert (reward, terminated, truncated) == (corridor.reward[observation], observation in (0, 4), False)
            arrived[i, observation] = 1.0
        assert_mean_is(corridor.transition[cell, action], arrived)


def test_corridor_starts_uniformly_among_its_inner_cells() -> None:
    corridor = Corridor()
    starts = np.array([corridor.reset(seed=seed)[0] for seed in range(800)])
    assert_mean_is([0, 0.25, 0.25, 0.25, 0.25, 0], np.eye(6)[starts])


def test_corridor_ends_are_terminal_and_not_truncated() -> None:
    env = gym.make("wm_tutorial/Corridor-v0", length=3, slip=0.0)
    for action, payment in [(0, 0.2), (1, 1.0)]:
        env.reset(seed=0)
        assert env.step(action)[1:4] == (payment, True, False)


def test_corridor_values_by_hand() -> None:
    three = Corridor(length=3)
    values, policy = value_iteration(three.transition, three.reward, three.terminal, 0.9)
    np.testing.assert_allclose(values, [0, 0.9 * 1.0 + 0.1 * 0.2, 0])
    assert policy[1] == 1
    # Without slips the values of always going right are powers of the discount: cell 4 is one step from the reward.
    six = Corridor(slip=0.0)
    right = np.eye(2)[np.ones(6, dtype=int)]
    values = policy_values(six.transition, six.reward, six.terminal, right, 0.5)
    np.testing.assert_allclose(values, [0, 0.125, 0.25, 0.5, 1.0, 0])


def test_patience_decides_which_end_to_walk_to() -> None:
    corridor = Corridor()
    tables = corridor.transition, corridor.reward, corridor.terminal
    assert value_iteration(*tables, 0.5)[1][1:-1].tolist() == [0, 1, 1, 1]
    assert value_iteration(*tables, 0.9)[1][1:-1].tolist() == [1, 1, 1, 1]


def random_tables(seed: int) -> tuple[Array, Array, Any]:
    """Four states, three actions, the last state terminal: (S, A, S), (S,), (S,)."""
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(4), size=(4, 3)), rng.normal(size=4), np.arange(4) == 3


@pytest.mark.parametrize("discount", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("world", ["corridor", "slippery", 0, 1, 2])
def test_value_iteration_is_the_best_of_all_policies(world: str | int, discount: float) -> None:
    if isinstance(world, int):
        tables = random_tables(world)
    else:
        corridor = Corridor(slip=0.1 if world == "corridor" else 0.6)
        tables = corridor.transition, corridor.reward, corridor.terminal
    states, actions, _ = tables[0].shape
    values, greedy = value_iteration(*tables, discount)
    every = [
        policy_values(*tables, np.eye(actions)[list(policy)], discount)
        for policy in itertools.product(range(actions), repeat=states)
    ]
    np.testing.assert_allclose(values, np.max(every, axis=0), atol=1e-9)
    np.testing.assert_allclose(policy_values(*tables, np.eye(actions)[greedy], discount), values, atol=1e-9)
    assert np.all(values[tables[2]] == 0.0)


def test_policy_values_are_the_returns_of_the_environment_itself() -> None:
    corridor, discount, episodes = Corridor(), 0.8, 1200
    policy = np.tile([0.3, 0.7], (6, 1))
    values = policy_values(corridor.transition, corridor.reward, corridor.terminal, policy, discount)
    rng = np.random.default_rng(0)
    corridor.reset(seed=1)  # not the seed of rng, or actions and slips would be the same random numbers
    for start in (1, 3):
        returns = np.zeros(episodes)
        for i in range(episodes):
            corridor.cell, weight, terminated = np.int64(start), 1.0, False
            while not terminated:
                cell = corridor.cell
                _, reward, terminated, _, _ = corridor.step(np.int64(rng.random() < policy[cell, 1]))
                returns[i] += weight * reward
                weight *= discount
        assert_mean_is(values[start], returns)


# --- Arguments that cannot be used ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"length": 2}, "length is 2.*3 or more.*try 6"),
        ({"slip": -0.1}, r"slip is -0\.1.*from 0.*to 1.*try"),
        ({"slip": 1.5}, r"slip is 1\.5"),
        ({"slip": float("nan")}, "slip is nan"),
    ],
)
def test_corridor_refuses(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Corridor(**arguments)


def test_unknown_actions_are_refused() -> None:
    corridor, linear = Corridor(), LinearGaussian()
    corridor.reset(seed=0), linear.reset(seed=0)
    for action in (2, -1, 0.5):
        with pytest.raises(InputError, match=r"0 \(left\) or 1 \(right\)"):
            corridor.step(action)  # type: ignore[arg-type]
    for force in ([1.5], [float("nan")], [0.1, 0.1], 0.1):
        with pytest.raises(InputError, match="one force"):
            linear.step(np.array(force, dtype=np.float32))


@pytest.mark.parametrize("name", ["A", "B", "C", "Q", "R", "initial_mean", "initial_covariance"])
def test_a_linear_system_refuses_a_matrix_that_does_not_fit(name: str) -> None:
    system: dict[str, Array] = dict(A=np.eye(2), B=np.eye(2, 1), C=np.eye(1, 2), Q=np.eye(2), R=np.eye(1))
    system |= dict(initial_mean=np.zeros(2), initial_covariance=np.eye(2))
    LinearSystem(**system)
    with pytest.raises(InputError, match=r"has shape .* ask for .* reshape"):
        LinearSystem(**(system | {name: np.zeros((3, 3))}))


@pytest.mark.parametrize(
    ("observation", "action"),
    [
        ((5, 3), (5, 1)),
        ((5, 2), (5, 2)),
        ((5, 2), (4, 1)),
        ((0, 2), (0, 1)),
        ((5,), (5, 1)),
        ((1, 5, 2), (1, 5, 1)),
        ((), ()),
    ],
)
def test_kalman_filter_refuses_rows_that_do_not_fit(observation: tuple[int, ...], action: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"takes \(T, 2\) and \(T, 1\)"):
        kalman_filter(LinearGaussian(), np.zeros(observation), np.zeros(action))


@pytest.mark.parametrize("context", [-1, 0, 5, 6])
def test_open_loop_prediction_refuses_a_context_without_a_row_on_each_side(context: int) -> None:
    with pytest.raises(InputError, match=f"context is {context}; with 5 rows give 1 to 4"):
        open_loop_prediction(LinearGaussian(), np.zeros((5, 2)), np.zeros((5, 1)), context)


def test_errors_that_never_settle_are_refused() -> None:
    one = np.eye(1)
    unseen = LinearSystem(A=1.1 * one, B=one, C=0 * one, Q=one, R=one, initial_mean=one[0], initial_covariance=one)
    for error in (steady_state_error, memoryless_error):
        with pytest.raises(InputError, match="does not settle"):
            error(unseen)
    with pytest.raises(InputError, match="does not settle"):
        fixed_point(lambda x: -x, one)  # bounded, and never still


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"transition": np.ones((3, 2, 3))}, "probabilities that sum to 1"),
        ({"transition": np.eye(3)}, "do not fit"),
        ({"transition": np.ones((3, 2, 1))}, "do not fit"),
        ({"reward": np.zeros(4)}, "do not fit"),
        ({"terminal": np.zeros(4, dtype=bool)}, "do not fit"),
        ({"terminal": np.zeros(3)}, r"\(float64\) do not fit.*bool"),
        ({"discount": 1.0}, r"discount is 1\.0.*below 1.*try"),
        ({"discount": -0.1}, r"discount is -0\.1"),
        ({"discount": float("nan")}, "discount is nan"),
        ({"policy": np.ones((3, 2))}, "policy has shape.*sum to 1"),
        ({"policy": np.array([2.0, -1.0]) * np.ones((3, 1))}, "policy has shape"),
        ({"policy": np.array([0, 1, 0])}, r"give np\.eye"),
    ],
)
def test_tables_that_do_not_fit_are_refused(change: dict[str, Any], words: str) -> None:
    corridor = Corridor(length=3)
    arguments: dict[str, Any] = {name: getattr(corridor, name) for name in ("transition", "reward", "terminal")}
    arguments |= {"policy": np.full((3, 2), 0.5), "discount": 0.9} | change
    with pytest.raises(InputError, match=words):
        policy_values(**arguments)
    if "policy" not in change:
        arguments.pop("policy")
        with pytest.raises(InputError, match=words):
            value_iteration(**arguments)


# --- The fork ---------------------------------------------------------------------------------------------------------


def roads(right: float, episodes: int = 2000) -> Array:
    """The side in every row of many episodes, each with its own seed and its own actions: (episodes, 6)."""
    env = Fork(right)
    env.reset(seed=4)
    env.action_space.seed(0)
    sides = np.zeros((episodes, Fork.ROWS))
    for i in range(episodes):
        rows = [env.reset()[0]]
        while len(rows) < Fork.ROWS:
            observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            rows.append(observation)
            assert not truncated and terminated == (len(rows) == Fork.ROWS)
            assert reward == (terminated and observation[1] == 1)
        np.testing.assert_allclose(np.stack(rows)[:, 0], np.arange(Fork.ROWS) / (Fork.ROWS - 1), atol=1e-6)
        sides[i] = np.stack(rows)[:, 1]
    return sides


@pytest.mark.parametrize("right", [0.0, 0.5, 0.9])
def test_the_road_forks_once_and_nobody_is_in_the_middle(right: float) -> None:
    sides = roads(right)
    assert not sides[:, : Fork.FORKED].any()
    assert (np.abs(sides[:, Fork.FORKED :]) == 1).all() and (sides[:, Fork.FORKED :].std(1) == 0).all()
    error = np.sqrt(right * (1 - right) / len(sides))
    assert abs((sides[:, -1] == 1).mean() - right) <= STANDARD_ERRORS * error


@pytest.mark.parametrize(("right", "news"), [(0.5, np.log(2)), (0.9, 0.3250829733914482), (1.0, 0.0)])
def test_the_news_of_the_fork_is_the_entropy_of_its_coin(right: float, news: float) -> None:
    assert Fork(right).news == pytest.approx(news)


@pytest.mark.parametrize("right", [-0.1, 1.1, float("nan")])
def test_a_fork_needs_a_probability(right: float) -> None:
    with pytest.raises(InputError, match=r"it is a probability, from 0 \(never\) to 1 \(always\)"):
        Fork(right)


def test_a_fork_has_two_actions() -> None:
    env = Fork()
    env.reset(seed=0)
    with pytest.raises(InputError, match="it must be the integer 0 or 1"):
        env.step(np.int64(2))
