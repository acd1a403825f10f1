"""What is read as an image, what as a vector or a class, and that nothing is read as something else."""

import re
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from scripted import Fixed, memory, tiny

from wm_tutorial.agent import Agent
from wm_tutorial.data import Spaces
from wm_tutorial.envs import Environments
from wm_tutorial.errors import InputError
from wm_tutorial.spaces import describe
from wm_tutorial.trainer import Trainer

MISREAD = {
    "stacked colours": (Box(0, 255, (4, 84, 84, 3), np.uint8), (84, 84, 12)),
    "stacked greys": (Box(0, 255, (4, 84, 84), np.uint8), (84, 84, 4)),
    "channels first": (Box(0, 255, (3, 64, 48), np.uint8), (64, 48, 3)),
    "floats in 0..1": (Box(0.0, 1.0, (64, 48, 3), np.float32), (64, 48, 3)),
    "floats in 0..255": (Box(0.0, 255.0, (64, 48, 1), np.float32), (64, 48, 1)),
    "floats in -1..1": (Box(-1.0, 1.0, (64, 48, 3), np.float32), (64, 48, 3)),
    "floats with channels first": (Box(0.0, 1.0, (3, 64, 48), np.float32), (64, 48, 3)),
    "a stack of floats": (Box(0.0, 1.0, (4, 20, 20, 1), np.float32), (20, 20, 4)),
    "grey floats": (Box(0.0, 1.0, (64, 48), np.float32), (64, 48)),
    "planes of yes and no": (Box(0, 1, (10, 10, 4), np.bool_), (10, 10, 4)),
    "bytes of 0 and 1": (Box(0, 1, (10, 10, 4), np.uint8), (10, 10, 4)),
}


@pytest.mark.parametrize("name", MISREAD)
def test_images_that_would_be_misread_are_refused_with_a_wrapper_that_mends_them(name: str) -> None:
    space, shape = MISREAD[name]
    with pytest.raises(InputError, match=re.escape(str(space.shape))) as caught:
        describe(space, Discrete(2))
    found = re.search(r"(gymnasium\.wrappers\.TransformObservation\(.*np\.uint8\)\))", str(caught.value))
    assert found, caught.value
    base = Fixed(space)
    env = eval(found[1], {"gymnasium": gym, "env": base, "np": np})
    assert describe(env.observation_space, Discrete(2)).obs_shape == (*shape, 1)[:3]
    obs, _ = env.reset()
    assert obs.dtype == np.uint8 and obs.shape == shape and env.observation_space.contains(obs)
    (low,), (high,) = np.unique(space.low), np.unique(space.high)
    brightness = (base.usual.astype(float).mean() - low) / (float(high) - float(low))
    assert obs.mean() / 255 == pytest.approx(brightness, abs=0.01)  # neither black nor white


@pytest.mark.parametrize(
    "space", [Box(-1, 1, (5, 7), np.float32), Box(0, 1, (20,), np.float32), Box(-9, 9, (1, 2, 3), np.int16), memory(3)]
)
def test_tables_and_vectors_are_no_images(space: Box) -> None:
    assert describe(space, Discrete(2)).obs_kind == "vector"


def test_large_images_are_warned_of_before_learning_begins() -> None:
    env = lambda: Fixed(Box(0, 255, (210, 160, 3), np.uint8))  # noqa: E731
    with pytest.warns(UserWarning, match=r"210 x 160 pixels.*ResizeObservation\(env, \(64, 64\)\)"):
        Trainer(env, tiny(capacity=20))


# --- act --------------------------------------------------------------------------------------------------------------

IMAGE = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)


def agent_of(space: gym.Space[Any]) -> Agent:
    return Trainer(lambda: Fixed(space), tiny()).agent


@pytest.mark.parametrize(
    ("obs", "said"),
    [
        (IMAGE / 255, "type float64, from 0 to 1"),
        (IMAGE.astype(np.float32), "type float32"),
        (IMAGE > 9, "type bool"),
        (IMAGE.transpose(2, 0, 1), r"shape \(3, 8, 9\); it must be of shape \(8, 9, 3\)"),
        (IMAGE.transpose(1, 0, 2), r"shape \(9, 8, 3\)"),
        (IMAGE * np.nan, "type float64"),
        (IMAGE.astype(int) + 1, "the observation 256"),
        (-IMAGE.astype(int), "the observation -"),
        (IMAGE[..., :1], r"shape \(8, 9, 1\)"),
    ],
)
def test_images_act_does_not_guess_at(obs: Any, said: str) -> None:
    with pytest.raises(InputError, match=f"act was given .*{said}"):
        agent_of(Box(0, 255, (8, 9, 3), np.uint8)).act(obs)


@pytest.mark.parametrize("obs", [2.7, "3", np.nan, 9, -1, None, [1, 2.5], b"1", 1 + 2j, 10**40, {}, [[1]]])
def test_classes_act_does_not_guess_at(obs: Any) -> None:
    with pytest.raises(InputError, match="act was given"):
        agent_of(Discrete(4)).act(obs)


@pytest.mark.parametrize(
    "obs", [np.zeros((3, 2)), np.zeros(6), [[1, 2], [3]], [["a", "b", "c"]] * 2, 1j * np.ones((2, 3))]
)
def test_tables_act_does_not_guess_at(obs: Any) -> None:
    with pytest.raises(InputError, match="act was given"):
        agent_of(Box(-1, 1, (2, 3), np.float32)).act(obs)


@pytest.mark.parametrize("space", [memory(3), Discrete(4), Box(0, 255, (8, 9, 3), np.uint8), memory(1), Box(-1, 1, ())])
def test_act_takes_several_observations_and_gives_as_many_actions(space: Any) -> None:
    agent = agent_of(space)
    space.seed(0)
    seen = [space.sample() for _ in range(3)]
    action, carry = agent.act(np.stack(seen))
    action, after = agent.act(np.stack(seen), carry, first=np.array([False, True, False]))
    for i, begins in enumerate([False, True, False]):
        one, alone = agent.act(seen[i])
        one, alone = agent.act(seen[i], None if begins else alone)
        assert one == action[i]
        np.testing.assert_allclose(alone.state.latent[0], after.state.latent[i], atol=1e-5)


def test_act_refuses_a_carry_of_something_else() -> None:
    agent = agent_of(memory(3))
    _, carry = agent.act(np.zeros((2, 3)))
    for wrong in (carry, agent.initial(2), "state", 3, (carry.state, carry.action)):
        with pytest.raises(InputError, match=r"carry is .*act returned"):
            agent.act(np.zeros(3), wrong)
    for options in ({"greedy": "no"}, {"first": "no"}, {"first": [True, False]}):
        with pytest.raises(InputError, match="must be True or False"):
            agent.act(np.zeros(3), **options)


# --- Numbers at the edge ----------------------------------------------------------------------------------------------


def test_many_classes_take_no_square_of_their_number() -> None:
    environments = Environments(lambda: Fixed(Discrete(100_000), Discrete(100_000), observation=99_999), 1, (0,))
    row = environments.reset()
    row = environments.step(row, environments.random_action(np.random.default_rng(0)))
    assert row.obs.shape == (1, 100_000) and row.obs[0, -1] == 1.0 == row.obs.sum()


def test_bounds_may_be_as_wide_as_numbers_reach() -> None:
    most = float(np.finfo(np.float64).max)
    spaces = Spaces("vector", (1,), "continuous", 1, (-most,), (most,))
    taken = spaces.decode_action(np.array([[-1.0], [0.0], [1.0], [0.5]], np.float32))
    np.testing.assert_allclose(taken.ravel(), [-most, 0.0, most, most / 2])
