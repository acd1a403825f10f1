"""Environments whose every number is known in advance: what each row says, and that an episode can be lived again."""

import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from helpers import STANDARD_ERRORS
from hypothesis import given
from hypothesis import strategies as st
from scripted import Array, Fixed, Forgetful, Scripted, Seeded, Space, Troupe, assert_same, memory, tiny

from wm_tutorial.data import Row
from wm_tutorial.envs import Environments, EnvSource, describe, make_env, name_of
from wm_tutorial.errors import EnvironmentFailure, InputError
from wm_tutorial.runs.dream import dream
from wm_tutorial.trainer import Trainer

Moment = tuple[list[float], float, bool, bool, bool]  # obs, reward, is_first, is_last, is_terminal


def walk(environments: Environments, steps: int, actions: Array | None = None) -> list[Row]:
    """The row of the reset and those of `steps` steps; actions (steps, N, A), the first one always if not given."""
    rows = [environments.reset()]
    first = np.eye(environments.spaces.action_size, dtype=np.float32)[np.zeros(len(environments), int)]
    for t in range(steps):
        rows.append(environments.step(rows[-1], first if actions is None else actions[t]))
    return rows


def stream(rows: list[Row], i: int) -> list[Moment]:
    """What one stream consists of."""
    return [
        (
            row.obs[i].tolist(),
            float(row.reward[i]),
            bool(row.is_first[i]),
            bool(row.is_last[i]),
            bool(row.is_terminal[i]),
        )
        for row in rows
    ]


def as_dicts(rows: Sequence[Row]) -> list[dict[str, Array]]:
    return [{field.name: getattr(row, field.name) for field in fields(row)} for row in rows]


# --- The index convention ---------------------------------------------------------------------------------------------

Y, N = True, False


def test_every_row_of_four_episodes_by_hand() -> None:
    """Two steps to a true end; one step into a time limit; one step to a true end; three steps into a time limit."""
    rows = walk(Environments(lambda: Scripted([2, -1, 1, -3]), 1, (0,)), 12)
    assert stream(rows, 0) == [
        #  obs   reward first last terminal
        ([0, 0], 0.0, Y, N, N),
        ([0, 1], 1.0, N, N, N),
        ([0, 2], 2.0, N, Y, Y),
        ([1, 0], 0.0, Y, N, N),
        ([1, 1], 11.0, N, Y, N),
        ([2, 0], 0.0, Y, N, N),
        ([2, 1], 21.0, N, Y, Y),
        ([3, 0], 0.0, Y, N, N),
        ([3, 1], 31.0, N, N, N),
        ([3, 2], 32.0, N, N, N),
        ([3, 3], 33.0, N, Y, N),
        ([4, 0], 0.0, Y, N, N),
        ([4, 1], 41.0, N, N, N),
    ]


def expected(script: Sequence[int], rows: int) -> list[Moment]:
    """The same, for any script: written down episode by episode, then cut off."""
    moments: list[Moment] = []
    for episode in range(rows):
        length = script[episode % len(script)]
        moments.append(([episode, 0], 0.0, Y, N, N))
        for step in range(1, abs(length) + 1):
            last = step == abs(length)
            moments.append(([episode, step], 10.0 * episode + step, N, last, last and length > 0))
    return moments[:rows]


class Both(Scripted):
    """Is over for both reasons at once, whatever its script says."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = super().step(action)
        over = terminated or truncated
        return obs, reward, over, over, info


def test_an_end_in_the_last_step_of_a_time_limit_is_an_end() -> None:
    """Terminated and truncated at once, as Gymnasium's TimeLimit returns it: nothing more can be earned."""
    by_hand = [
        ([0, 0], 0.0, Y, N, N),
        ([0, 1], 1.0, N, N, N),
        ([0, 2], 2.0, N, Y, Y),
        ([1, 0], 0.0, Y, N, N),
        ([1, 1], 11.0, N, Y, Y),
        ([2, 0], 0.0, Y, N, N),
    ]
    assert stream(walk(Environments(lambda: Both([2, -1]), 1, (0,)), 5), 0) == by_hand
    limited = Environments(lambda: gym.wrappers.TimeLimit(Scripted([2]), 2), 1, (0,))
    assert stream(walk(limited, 3), 0) == by_hand[:4]


lengths = st.integers(-4, 4).filter(bool)


@given(scripts=st.lists(st.lists(lengths, min_size=1, max_size=4), min_size=1, max_size=3), steps=st.integers(0, 25))
def test_every_row_of_any_episodes_in_any_number_of_streams(scripts: list[list[int]], steps: int) -> None:
    rows = walk(Environments(Troupe(*scripts), len(scripts), (0,)), steps)
    for i, script in enumerate(scripts):
        assert stream(rows, i) == expected(script, steps + 1)


def test_the_columns_have_the_types_the_replay_keeps() -> None:
    for row in walk(Environments(Troupe([1], [3]), 2, (0,)), 3):
        assert [row.obs.dtype, row.reward.dtype] == [np.float32, np.float32]
        assert [row.is_first.dtype, row.is_last.dtype, row.is_terminal.dtype] == [bool] * 3
        assert [row.obs.shape, row.reward.shape, row.is_first.shape] == [(2, 2), (2,), (2,)]


def test_a_row_does_not_change_when_the_next_one_arrives() -> None:
    environments = Environments(Troupe([1], [2, -1]), 2, (0,))
    rows = walk(environments, 6)
    then = [{name: column.copy() for name, column in row.items()} for row in as_dicts(rows)]
    for _ in range(4):
        environments.step(rows[-1], np.eye(2, dtype=np.float32))
    assert_same(as_dicts(rows), then)


@given(script=st.lists(lengths, min_size=1, max_size=4), steps=st.integers(1, 20))
def test_an_action_leads_to_the_next_row_and_the_one_given_at_a_last_row_is_ignored(
    script: list[int], steps: int
) -> None:
    source = Troupe(script, action_space=Box(-1.0, 1.0, (1,), np.float32))
    actions = np.linspace(-0.9, 0.9, steps, dtype=np.float32).reshape(steps, 1, 1)
    rows = walk(Environments(source, 1, (0,)), steps, actions)
    taken = [a[0, 0] for a, row in zip(actions, rows, strict=False) if not row.is_last[0]]
    assert np.concatenate(source.built[0].taken or [[]]).tolist() == pytest.approx(taken, abs=1e-6)


def test_each_stream_gets_its_own_action() -> None:
    source = Troupe([9], action_space=Discrete(3))
    walk(Environments(source, 3, (0,)), 2, np.eye(3, dtype=np.float32)[[[2, 0, 1], [1, 1, 0]]])
    assert [env.taken for env in source.built] == [[2, 1], [0, 1], [1, 0]]


# --- Observations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0, 3, -2])
def test_discrete_observations_become_one_hot(start: int) -> None:
    space = Discrete(4, start=start)
    for index in range(4):
        (row,) = walk(Environments(lambda: Fixed(space, observation=start + index), 2, (0,)), 0)  # noqa: B023
        assert row.obs.dtype == np.float32
        assert row.obs.tolist() == [[float(k == index) for k in range(4)]] * 2


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3)])
def test_images_stay_bytes_and_get_a_channel_axis(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    environments = Environments(lambda: Fixed(Box(0, 255, shape, np.uint8), observation=image), 2, (0,))
    assert (environments.spaces.obs_kind, environments.spaces.obs_shape) == ("image", (*shape, 1)[:3])
    for row in walk(environments, 2):
        assert row.obs.dtype == np.uint8
        assert_same(row.obs, np.stack([image, image]).reshape(2, *(*shape, 1)[:3]))


@pytest.mark.parametrize(
    ("space", "value"),
    [
        (Box(-9, 9, (2, 3), np.float32), np.arange(6.0).reshape(2, 3)),
        (Box(-9, 9, (2, 3), np.float64), np.arange(6.0).reshape(2, 3)),
        (Box(-9, 9, (2, 3), np.float16), np.arange(6.0).reshape(2, 3)),
        (Box(0, 255, (6,), np.uint8), np.arange(6)),  # memory of a game: bytes, but no image
        (Box(-9, 9, (1, 2, 3), np.int16), np.arange(6).reshape(1, 2, 3)),
    ],
)
def test_other_boxes_become_flat_vectors_of_floats(space: Box, value: Array) -> None:
    environments = Environments(lambda: Fixed(space, observation=value.astype(space.dtype)), 2, (0,))
    assert (environments.spaces.obs_kind, environments.spaces.obs_shape) == ("vector", (6,))
    for row in walk(environments, 1):
        assert_same(row.obs, np.tile(np.arange(6, dtype=np.float32), (2, 1)))


def test_a_box_without_axes_is_one_number() -> None:
    (row,) = walk(Environments(lambda: Fixed(Box(-9, 9, (), np.float32), observation=np.float32(4)), 1, (0,)), 0)
    assert row.obs.tolist() == [[4.0]]


@pytest.mark.parametrize(
    ("space", "observation", "shown"),
    [
        (memory(2), [1.0, np.nan], "nan"),
        (memory(2), [np.inf, 0.0], "inf"),
        (Box(-np.inf, np.inf, (2,), np.float64), [0.0, -1e300], r"-1e\+300"),  # no number in the 32 bits it is kept in
        (Discrete(3), 3, "3"),
        (Discrete(3, start=2), 1, "1"),  # as an index from the end it would be the last but one
    ],
)
@pytest.mark.parametrize("when", [0, 3])
def test_an_observation_that_is_none_is_refused(space: Space, observation: Any, shown: str, when: int) -> None:
    environments = Environments(
        lambda: Fixed(space, observation=np.asarray(observation, space.dtype), odd=lambda step: step == when), 2, (0,)
    )
    with pytest.raises(EnvironmentFailure, match=rf"returned the observation {shown}.*from -?\d"):
        walk(environments, 4)


@pytest.mark.parametrize(("reward", "shown"), [(np.nan, "nan"), (-np.inf, "-inf"), (1e300, r"1e\+300")])
def test_a_reward_that_is_no_number_in_32_bits_is_refused(reward: float, shown: str) -> None:
    environments = Environments(lambda: Fixed(memory(1), reward=reward, odd=lambda step: step == 2), 2, (0,))
    walk(environments, 1)
    with pytest.raises(EnvironmentFailure, match=f"returned the reward {shown}"):
        walk(environments, 4)


# --- Actions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0, 1, -3])
def test_discrete_actions_begin_where_the_space_begins(start: int) -> None:
    source = Troupe([99], action_space=Discrete(3, start=start))
    walk(Environments(source, 1, (0,)), 3, np.eye(3, dtype=np.float32)[:, None])
    assert source.built[0].taken == [start, start + 1, start + 2]
    assert all(source.built[0].action_space.contains(action) for action in source.built[0].taken)


def test_continuous_actions_are_scaled_to_the_bounds_and_clipped() -> None:
    low, high = np.array([[-1.0, 2.0, 0.0], [3.0, 2.5, 10.0]], np.float32)
    space = Box(low, high, dtype=np.float32)
    source = Troupe([99], action_space=space)
    actions = [[-1, -1, -1], [1, 1, 1], [0, 0, 0], [-0.5, 0.5, 0.2], [-7, 7, -1.001], [9, -9, 1e9]]
    walk(Environments(source, 1, (0,)), 6, np.array(actions, np.float32)[:, None])
    taken = source.built[0].taken
    assert [action.tolist() for action in taken] == [
        [-1.0, 2.0, 0.0],
        [3.0, 2.5, 10.0],
        [1.0, 2.25, 5.0],
        [0.0, 2.375, 6.0],
        [-1.0, 2.5, 0.0],
        [3.0, 2.0, 10.0],
    ]
    assert all(space.contains(action) for action in taken)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_continuous_actions_have_the_type_of_the_space_and_never_leave_it(dtype: type) -> None:
    rng = np.random.default_rng(0)
    bounds = rng.normal(size=(2, 40)) * 10.0 ** rng.uniform(-3.0, 3.0, (2, 40))  # low + (high - low) may exceed high
    low, high = np.sort(bounds.astype(dtype), axis=0)
    space = Box(low, high, dtype=dtype)
    source = Troupe([99], action_space=space)
    walk(Environments(source, 2, (0,)), 20, rng.normal(0.0, 2.0, (20, 2, 40)).astype(np.float32))
    for action in source.built[0].taken:
        assert action.dtype == dtype
        assert space.contains(action)


def test_discrete_actions_are_given_as_integers_that_can_be_keys() -> None:
    """Gymnasium's own tabular environments look actions up in a dict."""
    source = Troupe([99])
    walk(Environments(source, 1, (0,)), 1)
    assert {0: "left"}[source.built[0].taken[0]] == "left"


def test_random_actions_reach_every_action_and_both_bounds() -> None:
    rng = np.random.default_rng(0)
    discrete = Environments(lambda: Scripted(action_space=Discrete(3, start=5)), 300, (0,)).random_action(rng)
    assert discrete.dtype == np.float32
    assert_same(np.sort(discrete, 1), np.tile(np.array([0, 0, 1], np.float32), (300, 1)))
    assert (discrete.sum(0) > 60).all()
    box = Box(-5.0, 50.0, (2,), np.float32)
    continuous = Environments(lambda: Scripted(action_space=box), 300, (0,)).random_action(rng)
    assert continuous.dtype == np.float32
    assert (continuous.min(0) < -0.95).all() and (continuous.max(0) > 0.95).all() and (abs(continuous) <= 1).all()
    assert abs(continuous.mean(0)).max() < 0.15
    # Each number of each environment by a chance of its own.
    chances = (discrete[:, 0], continuous[:, 0], continuous[:, 1])
    pairs = [*((chance[1:], chance[:-1]) for chance in chances), continuous.T]
    assert all(abs(np.corrcoef(*pair)[0, 1]) < STANDARD_ERRORS / 300**0.5 for pair in pairs)


# --- Where environments come from -------------------------------------------------------------------------------------


def test_an_id_and_a_callable_give_the_same_rows() -> None:
    def build() -> gym.Env[Any, Any]:
        return gym.make("CartPole-v1", disable_env_checker=True)

    by_id, by_callable = (Environments(source, 2, (0, 7)) for source in ("CartPole-v1", build))
    assert by_id.spaces == by_callable.spaces
    assert_same(as_dicts(walk(by_id, 40)), as_dicts(walk(by_callable, 40)))


def test_classes_are_callables_too() -> None:
    assert len(Environments(Scripted, 3, (0,))) == 3


def test_the_time_limit_of_an_id_is_no_terminal() -> None:
    gym.register("ScriptedForThreeSteps-v0", lambda: Scripted([9]), max_episode_steps=3)
    rows = walk(Environments("ScriptedForThreeSteps-v0", 1, (0,)), 4)
    assert [bool(row.is_last[0]) for row in rows] == [N, N, N, Y, N]
    assert not any(row.is_terminal.any() for row in rows)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("CartPole-v1", "CartPole-v1"),
        ("ALE/Pong-v5", "Pong-v5"),
        ("package.module:Name With/Spaces & more-v0", "Spaces-more-v0"),
        (Scripted, "Scripted"),
        (lambda: Scripted(), "lambda"),
        (partial(Scripted), "partial"),
    ],
)
def test_names_can_be_folders(source: EnvSource, name: str) -> None:
    assert name_of(source) == name


def test_several_streams_need_several_environments() -> None:
    one = Scripted()
    with pytest.raises(InputError, match="new one each time"):
        Environments(lambda: one, 2, (0,))
    Environments(lambda: one, 1, (0,))


def test_all_environments_have_the_same_spaces() -> None:
    sizes = iter([2, 2, 3])
    with pytest.raises(InputError, match=r"different spaces.*\(2,\).*\(3,\)"):
        Environments(lambda: Fixed(memory(next(sizes))), 3, (0,))


def test_what_the_environment_raises_comes_with_its_cause() -> None:
    class Broken(Scripted):
        def step(self, action: Any) -> Any:
            raise OSError("the wire is cut")

    with pytest.raises(EnvironmentFailure, match=r"OSError.*the wire is cut") as caught:
        walk(Environments(Broken, 2, (0,)), 1)
    assert isinstance(caught.value.__cause__, OSError)


def test_an_id_takes_options() -> None:
    assert make_env("CartPole-v1", render_mode="rgb_array").render_mode == "rgb_array"


def test_what_is_known_of_the_spaces() -> None:
    spaces = describe(Discrete(3, start=4), Box(np.array([-1.0, 0.5]), np.array([2.0, 0.75]), dtype=np.float64))
    assert (spaces.obs_kind, spaces.obs_shape, spaces.obs_start) == ("discrete", (3,), 4)
    assert (spaces.action_kind, spaces.action_size) == ("continuous", 2)
    assert (spaces.action_low, spaces.action_high) == ((-1.0, 0.5), (2.0, 0.75))
    assert str(spaces) == "discrete observations (3,), 2 continuous actions"


# --- Seeds ------------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_rows_and_another_one_others() -> None:
    one, same, other = (as_dicts(walk(Environments("CartPole-v1", 3, seed), 60)) for seed in [(0, 5), (0, 5), (0, 6)])
    assert_same(one, same)
    assert not np.array_equal(one[0]["obs"], other[0]["obs"])


def test_every_episode_of_every_stream_is_another_one() -> None:
    rows = walk(Environments("CartPole-v1", 3, (0, 5)), 60)
    starts = [tuple(obs) for row in rows for obs in row.obs[row.is_first]]
    assert len(starts) > 10
    assert len(set(starts)) == len(starts)


def test_a_stream_does_not_depend_on_how_many_run_beside_it() -> None:
    alone, beside = (walk(Environments("CartPole-v1", count, (0, 5)), 30) for count in (1, 4))
    assert stream(alone, 0) == stream(beside, 0)


def test_training_evaluation_and_dreams_never_meet_the_same_episode() -> None:
    troupe = Troupe([6], [-8])
    trainer = Trainer(troupe, tiny(seed=3, prefill=1000))
    for _ in range(60):
        trainer.collect()
    trainer.evaluate(9)
    trainer.evaluate(9, seed=4)
    dream(trainer.agent, troupe, seed=3)
    dream(trainer.agent, troupe, seed=4)
    seeds = [seed for env in troupe.built for seed in env.seeds]
    assert len(troupe.built) == 2 + 9 + 9 + 1 + 1
    assert len(seeds) > 40
    assert None not in seeds
    assert len(set(seeds)) == len(seeds)


# --- Living an episode again ------------------------------------------------------------------------------------------


def through_a_file(state: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Nothing but numbers, lists and dicts: a checkpoint runs no code."""
    back: list[dict[str, Any]] = json.loads(json.dumps(state))
    assert back == state
    return back


def stepped(environments: Environments, row: Row, actions: Array) -> list[Row]:
    rows = [row]
    for action in actions:
        rows.append(environments.step(rows[-1], action))
    return rows


WORLDS: dict[str, tuple[EnvSource, int]] = {
    "CartPole": ("CartPole-v1", 2),
    "Pendulum": ("Pendulum-v1", 1),
    "discrete": (Seeded, 2),
    "discrete from 1": (lambda: Seeded(Discrete(5, start=1)), 5),
    "continuous": (lambda: Seeded(Box(-1.0, 2.0, (2,), np.float32)), 2),
    "continuous, 64 bits": (lambda: Seeded(Box(-1.0, 2.0, (2,), np.float64)), 2),
    "corridor": ("wm_tutorial/Corridor-v0", 2),
    "frozen lake": (lambda: gym.make("FrozenLake-v1", disable_env_checker=True), 4),
}


@pytest.mark.parametrize("name", WORLDS)
def test_running_episodes_are_lived_again_exactly(name: str) -> None:
    """Stopped after any number of steps, three streams go on as if nothing had happened."""
    source, size = WORLDS[name]
    rng, steps = np.random.default_rng(0), 45
    one_hot = np.eye(size, dtype=np.float32)[rng.integers(size, size=(steps, 3))]
    continuous = rng.normal(0.0, 0.7, (steps, 3, size)).astype(np.float32)
    never_stopped = Environments(source, 3, (0, 1))
    actions = one_hot if never_stopped.spaces.action_kind == "discrete" else continuous
    rows = walk(never_stopped, steps, actions)
    if name != "Pendulum":  # episodes of 200 steps
        assert any(row.is_last.any() and not row.is_last.all() for row in rows)
    for stop in range(0, steps, 4 if name == "Pendulum" else 1):
        stopped = Environments(source, 3, (0, 1))
        state = through_a_file((walk(stopped, stop, actions), stopped.state())[1])
        resumed = Environments(source, 3, (0, 1))
        row = resumed.restore(state, rows[stop])
        assert through_a_file(resumed.state()) == state
        end = min(steps, stop + 15)
        assert_same(as_dicts(stepped(resumed, row, actions[stop:end])), as_dicts(rows[stop : end + 1]))


def test_an_environment_that_does_not_repeat_itself_begins_a_new_episode() -> None:
    environments = Environments(Forgetful, 3, (0,))
    row = walk(environments, 7)[-1]
    assert not row.is_first.all()
    state = environments.state()
    before = {name: column.copy() for name, column in as_dicts([row])[0].items()}
    resumed = Environments(Forgetful, 3, (0,))
    new = resumed.restore(state, row)
    assert new.is_first.all()
    assert not new.is_last.any() and not new.is_terminal.any() and not new.reward.any()
    assert (new.obs[:, 1] == 0).all()  # the step within the episode
    assert not np.isin(new.obs[:, 0], row.obs[:, 0]).any()
    assert_same(as_dicts([row])[0], before)  # the old row was not written over
    for row in stepped(resumed, new, np.tile(np.eye(2, dtype=np.float32)[:1], (12, 3, 1)))[1:]:
        assert (row.is_first == (row.obs[:, 1] == 0)).all()


def test_only_streams_that_cannot_be_lived_again_begin_anew() -> None:
    kinds = [Seeded, Forgetful, Seeded]

    def source() -> Callable[[], Seeded]:
        remaining = iter(kinds)
        return lambda: next(remaining)()

    environments = Environments(source(), 3, (0,))
    row = walk(environments, 4)[-1]
    new = Environments(source(), 3, (0,)).restore(environments.state(), row)
    assert stream([new], 0) == stream([row], 0)
    assert stream([new], 2) == stream([row], 2)
    assert stream([new], 1)[0][2:] == (Y, N, N)


def test_an_episode_whose_end_does_not_repeat_itself_begins_anew() -> None:
    """The observations are the same the second time, but the episode is not over where it was."""
    one, other = (Environments(lambda: Fixed(memory(1), length=n), 1, (0,)) for n in (3, 4))  # noqa: B023
    for steps in (3, 4):
        row = walk(one if steps == 3 else other, steps)[-1]
        assert row.is_last[0]
    longer = Environments(lambda: Fixed(memory(1), length=9), 1, (0,))
    row = walk(one, 3)[-1]
    new = longer.restore(one.state(), row)
    assert stream([new], 0)[0][1:] == (0.0, Y, N, N)
    assert not any(row.is_last[0] for row in stepped(longer, new, np.eye(2, dtype=np.float32)[[[0]] * 8]))


def test_closing_closes_every_environment() -> None:
    source = Troupe([3])
    environments = Environments(source, 3, (0,))
    environments.reset()
    environments.close()
    assert all(env.closed for env in source.built)


# --- Environments of all kinds ----------------------------------------------------------------------------------------


class Odd(Seeded):
    """An environment that `change` makes odd: it sees each result of step and may return another."""

    def __init__(self, change: Callable[[int, tuple[Any, ...]], Any]) -> None:
        super().__init__()
        self.change, self.calls = change, 0

    def step(self, action: Any) -> Any:
        self.calls += 1
        return self.change(self.calls, super().step(action))


INFOS: dict[str, Callable[[int], Any]] = {
    "lengths that vary": lambda n: {"path": np.arange(n)},
    "None, then text": lambda n: {"why": None if n % 2 else "because"},
    "dict beside None": lambda n: {"more": {"a": 1} if n % 3 else None},
    "large numbers": lambda n: {"count": 2**80},
    "None": lambda n: None,
    "no dict": lambda n: [n],
}


@pytest.mark.parametrize("name", INFOS)
def test_infos_are_not_looked_at(name: str) -> None:
    info = INFOS[name]
    plain, odd = (
        as_dicts(walk(Environments(source, 4, (0,)), 30))
        for source in (Seeded, lambda: Odd(lambda n, returned: (*returned[:4], info(n))))
    )
    assert_same(odd, plain)


@pytest.mark.parametrize("wrap", [lambda x: np.array([x]), np.array, np.float32, lambda x: np.array([[x]])])
def test_a_reward_is_one_number_of_any_shape(wrap: Callable[[float], Any]) -> None:
    plain, odd = (
        as_dicts(walk(Environments(source, 2, (0,)), 30))
        for source in (Seeded, lambda: Odd(lambda n, r: (r[0], wrap(r[1]), *r[2:])))
    )
    assert_same(odd, plain)


WRONG: dict[str, tuple[Callable[[tuple[Any, ...]], Any], str]] = {
    "reward of two numbers": (lambda r: (r[0], [1.0, 2.0], *r[2:]), "the reward .1.0, 2.0.; it must be one number"),
    "reward in words": (lambda r: (r[0], "3", *r[2:]), "the reward '3'; it must be one number"),
    "no reward": (lambda r: (r[0], None, *r[2:]), "the reward None; it must be one number"),
    "reward beyond floats": (lambda r: (r[0], 10**400, *r[2:]), "the reward 1000.*; it must be one number"),
    "complex reward": (lambda r: (r[0], 1j, *r[2:]), "the reward 1j; it must be one number"),
    "no flag": (lambda r: (*r[:3], None, {}), "the truncated None"),
    "flag in words": (lambda r: (*r[:2], "no", False, {}), "the terminated 'no'"),
    "flag that is no number": (lambda r: (*r[:2], np.nan, False, {}), "the terminated nan"),
    "another shape": (lambda r: (r[0][:2], *r[1:]), r"of shape \(2,\); it must be of shape \(3,\)"),
    "a batch axis": (lambda r: (r[0][None], *r[1:]), r"of shape \(1, 3\); it must be of shape \(3,\)"),
    "no observation": (lambda r: (None, *r[1:]), r"of shape \(\)"),
    "observation in words": (lambda r: (["a", "b", "c"], *r[1:]), "an observation of type <U1"),
    "ragged": (lambda r: ([[1], [1, 2], [3]], *r[1:]), "no array of numbers"),
    "a dict": (lambda r: ({"x": r[0]}, *r[1:]), r"of shape \(\)"),
    "an empty observation": (lambda r: ([], *r[1:]), r"of shape \(0,\)"),
    "four values": (lambda r: (r[0], r[1], r[2], {}), "step returned 4 values.*older gym.*shimmy"),
    "only an observation": (lambda r: r[0], "step returned one ndarray"),
    "nothing": (lambda r: None, "step returned one NoneType"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_a_step_may_not_return_is_one_error(name: str) -> None:
    change, said = WRONG[name]
    environments = Environments(lambda: Odd(lambda n, r: change(r)), 2, (0,))
    with pytest.raises(EnvironmentFailure, match=said):
        walk(environments, 3)


@pytest.mark.parametrize("kind", ["no seed", "only an observation"])
def test_the_interface_of_older_gym_is_named(kind: str) -> None:
    class Old(Seeded):
        def reset(self, **options: Any) -> Any:
            if kind == "no seed" and options:
                raise TypeError("Old.reset() got an unexpected keyword argument 'seed'")
            return super().reset(**options)[0]

    with pytest.raises(EnvironmentFailure, match=r"reset (takes no seed|returned one ndarray).*older gym.*shimmy"):
        Environments(Old, 1, (0,)).reset()


def test_an_environment_may_do_with_its_action_what_it_likes(tmp_path: Any) -> None:
    """What is remembered, learned from and lived again is the action that was taken."""

    class Careless(Seeded):
        def step(self, action: Any) -> Any:
            returned = super().step(action)
            action *= 0.5
            return returned

    box = Box(-1.0, 2.0, (2,), np.float32)
    sources: list[EnvSource] = [lambda: Careless(box), lambda: Seeded(box)]
    actions = np.random.default_rng(0).uniform(-1, 1, (9, 2, 2)).astype(np.float32)
    given = actions.copy()
    states = []
    for source in sources:
        environments = Environments(source, 2, (0,))
        row = walk(environments, 9, actions)[-1]
        states.append(environments.state())
        again = Environments(source, 2, (0,))
        assert_same(as_dicts([again.restore(environments.state(), row)]), as_dicts([row]))
    assert_same(states[0], states[1])
    assert_same(actions, given)


def test_environments_may_share_the_array_of_their_observations() -> None:
    shared = np.zeros(3, np.float32)

    class Sharing(Seeded):
        def observation(self) -> Any:
            shared[:] = super().observation()
            return shared

    one, other = (as_dicts(walk(Environments(source, 3, (0,)), 20)) for source in (Sharing, Seeded))
    assert_same(one, other)


@pytest.mark.parametrize("wrapper", [gym.wrappers.NormalizeObservation, gym.wrappers.NormalizeReward])
def test_wrappers_with_statistics_of_their_own_are_refused(wrapper: Any) -> None:
    built: list[Scripted] = []

    def source() -> Any:
        built.append(Scripted())
        return gym.wrappers.TimeLimit(wrapper(built[-1]), 5)

    with pytest.raises(InputError, match=rf"{wrapper.__name__}.*evaluation.*symlog.*TransformObservation"):
        Environments(source, 2, (0,))
    assert [env.closed for env in built] == [True]

    def frozen() -> Any:
        env = wrapper(Scripted())
        env.update_running_mean = False
        return env

    Environments(frozen, 2, (0,)).close()


class Stuck(Scripted):
    """Cannot be closed."""

    closings = 0

    def close(self) -> None:
        type(self).closings += 1
        raise AttributeError("no window")


def test_closing_never_raises_and_happens_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stuck, "closings", 0)
    environments = Environments(Stuck, 3, (0,))
    environments.close()
    environments.close()
    assert environments.closed and Stuck.closings == 3


def test_environments_nobody_uses_any_more_are_closed() -> None:
    troupe = Troupe([3])
    Environments(troupe, 3, (0,)).reset()
    assert [env.closed for env in troupe.built] == [True] * 3


def test_what_was_built_is_closed_when_building_fails() -> None:
    built: list[Scripted] = []

    def source() -> Scripted:
        if len(built) == 2:
            raise OSError("no licence left")
        built.append(Scripted())
        return built[-1]

    with pytest.raises(InputError, match="no licence left"):
        Environments(source, 3, (0,))
    assert [env.closed for env in built] == [True, True]
