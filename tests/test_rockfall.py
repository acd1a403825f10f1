"""The game is played, looked at, and compared with its exact numbers, which are found in other ways, too."""

import subprocess
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from wm_tutorial.errors import InputError
from wm_tutorial.worlds.known import Array
from wm_tutorial.worlds.rockfall import (
    EMPTY,
    HIT,
    PLAYER,
    ROCK,
    Rockfall,
    best_survival,
    memoryless_survival,
    policy_survival,
)

NAME = "wm_tutorial/Rockfall-v0"
LEFT, STAY, RIGHT = 0, 1, 2
STANDARD_ERRORS = 4.0  # seeds are fixed, so a test that passes once passes always
RANDOM = np.full((9, 8, 8, 3), 1 / 3)


def game_at(**state: int) -> Rockfall:
    """A game in a hidden state of our choice: row, column, player."""
    game = Rockfall()
    game.reset(seed=0)
    for name, value in state.items():
        setattr(game, name, value)
    return game


def cells(picture: Array, colour: tuple[int, int, int]) -> set[tuple[int, int]]:
    """The cells of a colour, as (row, column); each must be two by two pixels."""
    pixels = (picture == colour).all(axis=-1)
    blocks = pixels.reshape(8, 2, 8, 2).swapaxes(1, 2).reshape(8, 8, 4)
    assert (blocks.all(axis=-1) | ~blocks.any(axis=-1)).all()
    return {(int(row), int(column)) for row, column in np.argwhere(blocks.all(axis=-1))}


def play(policy: Array, episodes: int, seed: int) -> Array:
    """Returns of a player who knows the hidden state, in the registered game."""
    env, rng, returns = gym.make(NAME), np.random.default_rng(seed), []
    for episode in range(episodes):
        env.reset(seed=1000 * seed + episode)
        game: Any = env.unwrapped
        total, over = 0.0, False
        while not over:
            chances = policy[game.row, game.column, game.player]
            _, reward, terminated, truncated, _ = env.step(rng.choice(3, p=chances))
            total += float(reward)
            over = terminated or truncated
        returns.append(total)
    return np.array(returns)


@pytest.mark.parametrize("render_mode", [None, "rgb_array"])
def test_follows_the_gymnasium_api(render_mode: str | None) -> None:
    check_env(gym.make(NAME, render_mode=render_mode).unwrapped)


def test_a_seed_decides_everything() -> None:
    def lived(seed: int) -> list[Any]:
        env = gym.make(NAME)
        env.action_space.seed(0)  # the same actions for every seed
        rows = [env.reset(seed=seed)[0].tolist()]
        for _ in range(60):
            picture, *outcome, _ = env.step(env.action_space.sample())
            rows.append([picture.tolist(), *outcome])
            if outcome[1] or outcome[2]:
                rows.append(env.reset()[0].tolist())  # later episodes follow from the first seed
        return rows

    assert lived(3) == lived(3)
    assert lived(3) != lived(4)


def test_importing_and_reloading_registers_without_a_warning() -> None:
    program = """if True:
        import importlib, sys
        import gymnasium
        import wm_tutorial.worlds.rockfall
        importlib.reload(wm_tutorial.worlds.rockfall)
        gymnasium.make("wm_tutorial/Rockfall-v0").reset(seed=0)
    """
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARN" not in done.stderr


def test_an_episode_is_a_hundred_steps_at_most_and_no_terminal() -> None:
    env = gym.make(NAME)
    env.reset(seed=0)
    game: Any = env.unwrapped
    ends = []
    for _ in range(100):
        game.row = EMPTY
        ends.append(env.step(STAY)[2:4])
    assert ends == [(False, False)] * 99 + [(False, True)]


def test_the_pictures_with_a_camera_are_the_observations_enlarged() -> None:
    game = Rockfall(render_mode="rgb_array")
    seen, _ = game.reset(seed=1)
    drawn = game.render()
    assert drawn is not None and drawn.shape == (256, 256, 3)
    np.testing.assert_array_equal(drawn[8::16, 8::16], seen)


def test_a_rock_is_seen_in_the_top_and_the_bottom_row_only() -> None:
    game = game_at(row=0, column=3, player=3)
    assert cells(game._draw(), ROCK) == {(0, 2), (0, 3), (0, 4)}
    assert cells(game._draw(), PLAYER) == {(7, 3)}
    empty = game_at(row=EMPTY, column=0, player=5)._draw()
    for row in range(1, 7):  # the same picture, wherever the rock is in the dark
        np.testing.assert_array_equal(game_at(row=row, column=5, player=5)._draw(), empty)
    game = game_at(row=6, column=3, player=6)
    picture, _, hit, *_ = game.step(np.int64(STAY))
    assert not hit and cells(picture, ROCK) == {(7, 2), (7, 3), (7, 4)} and cells(picture, PLAYER) == {(7, 6)}


@pytest.mark.parametrize(("away", "hit"), [(0, True), (1, True), (2, False), (-1, True), (-2, False)])
def test_two_columns_away_are_enough(away: int, hit: bool) -> None:
    picture, reward, terminated, truncated, _ = game_at(row=6, column=3, player=3 + away).step(np.int64(STAY))
    assert (terminated, truncated, reward) == (hit, False, 1.0)
    assert bool(cells(picture, HIT)) == hit


def test_a_rock_breaks_off_above_the_player_with_a_chance_of_a_quarter() -> None:
    game, fell = Rockfall(), []
    game.reset(seed=0)
    for _ in range(4000):
        game.row, game.player = EMPTY, 4
        game.step(np.int64(RIGHT))
        fell.append(game.row == 0)
        assert game.row in (0, EMPTY) and (game.row == EMPTY or game.column == game.player == 5)
    assert abs(np.mean(fell) - 0.25) < STANDARD_ERRORS * np.sqrt(0.25 * 0.75 / 4000)


def test_the_walls_stop_the_player() -> None:
    for player, action in ((0, LEFT), (7, RIGHT)):
        game = game_at(row=3, column=3, player=player)
        game.step(np.int64(action))
        assert game.player == player


@pytest.mark.parametrize("action", [3, -1, 1.0, "left"])
def test_other_actions_are_refused(action: Any) -> None:
    with pytest.raises(InputError, match=r"it must be the integer 0 \(left\)"):
        game_at().step(action)


def test_other_cameras_are_refused() -> None:
    with pytest.raises(InputError, match="render_mode is 'human'; it must be None or 'rgb_array'"):
        Rockfall(render_mode="human")


# --- The exact answers ------------------------------------------------------------------------------------------------


def test_random_play_earns_what_was_computed() -> None:
    returns = play(RANDOM, 1500, seed=1)
    error = returns.std() / np.sqrt(len(returns))
    assert abs(returns.mean() - policy_survival(RANDOM)) < STANDARD_ERRORS * error
    assert policy_survival(RANDOM) == pytest.approx(18.1448, abs=1e-4)  # the number of the table


def test_the_best_player_is_never_hit() -> None:
    survival, actions = best_survival()
    assert survival == 100.0
    assert policy_survival(np.eye(3)[actions]) == 100.0
    np.testing.assert_array_equal(play(np.eye(3)[actions], 30, seed=2), 100.0)


def test_a_player_without_memory_is_far_from_both() -> None:
    assert memoryless_survival() == pytest.approx(27.5, abs=1e-4)  # the number of the table


def test_no_memoryless_player_exceeds_the_bound_and_some_come_near() -> None:
    """One is found by changing one choice at a time: under a rock, in the dark, beside a rock on the ground."""

    def survival(choices: Array) -> float:
        actions = np.broadcast_to(choices[1], (9, 8, 8)).copy()
        actions[0], actions[7] = choices[0], choices[2]
        return policy_survival(np.eye(3)[actions], steps=40)

    rng = np.random.default_rng(0)
    choices = rng.integers(3, size=(3, 8))
    found = survival(choices)
    for _ in range(600):
        changed = choices.copy()
        changed[rng.integers(3), rng.integers(8)] = rng.integers(3)
        if (after := survival(changed)) >= found:
            choices, found = changed, after
    assert 0.8 * memoryless_survival(40) < found <= memoryless_survival(40) + 1e-9


def test_what_is_no_policy_is_refused() -> None:
    for wrong in (RANDOM[:8], 2 * RANDOM, -RANDOM):
        with pytest.raises(InputError, match="policy has shape"):
            policy_survival(wrong)
