"""The game is played, looked at, and compared with its exact numbers."""

import itertools
import subprocess
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
from gymnasium.utils.env_checker import check_env

from wm_tutorial.errors import InputError
from wm_tutorial.worlds.known import Array
from wm_tutorial.worlds.pixels import (
    BALL,
    CAUGHT,
    PADDLE,
    WALL,
    CatchInTheDark,
    Picture,
    _bound_from,
    best_catches,
    memoryless_bound,
    policy_catches,
)

NAME = "wm_tutorial/CatchInTheDark-v0"
MIDDLE = 3
ALWAYS = {"row": range(8), "column": range(7), "velocity": (-1, 0, 1), "paddle": range(7)}
STANDARD_ERRORS = 4.0  # seeds are fixed, so a test that passes once passes always
LEFT, STAY, RIGHT = 0, 1, 2

Actions = npt.NDArray[np.intp]


def assert_mean_is(wanted: Any, samples: Array) -> None:
    """The mean of independent samples (T, ...) is what it should be, within the error bars of a mean."""
    error = samples.std(axis=0) / np.sqrt(len(samples))
    assert np.all(np.abs(samples.mean(axis=0) - wanted) <= STANDARD_ERRORS * error)


def game_at(**state: int) -> CatchInTheDark:
    """A game in a hidden state of our choice: row, column, velocity, paddle."""
    game = CatchInTheDark()
    game.reset(seed=0)
    for name, value in state.items():
        setattr(game, name, value)
    return game


def where(picture: Picture, colour: tuple[int, int, int]) -> list[tuple[int, int]]:
    """The pixels of a colour, as (height, width)."""
    return [(int(y), int(x)) for y, x in np.argwhere((picture == colour).all(axis=-1))]


def cell(row: int, column: int) -> list[tuple[int, int]]:
    """The pixels of a cell, in the same order: two by two, behind a wall of one."""
    return [(2 * row + y, 1 + 2 * column + x) for y in range(2) for x in range(2)]


def from_pictures(first: Actions, second: Actions, dark: Actions, landed: Actions) -> Array:
    """A player (R, C, V, P, A) who acts on the latest picture alone.

    Actions for the pictures with the ball in row 0, row 1, none and row 7: (C, P), (C, P), (P,), (C, P).
    """
    actions = np.zeros((8, 7, 3, 7), np.intp)
    actions[0], actions[1], actions[2:7], actions[7] = first[:, None], second[:, None], dark, landed[:, None]
    return np.eye(3)[actions]


RANDOM = np.full((8, 7, 3, 7, 3), 1 / 3)


# --- As a Gymnasium environment ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("render_mode", [None, "rgb_array"])
def test_follows_the_gymnasium_api(render_mode: str | None) -> None:
    check_env(gym.make(NAME, render_mode=render_mode).unwrapped)


def test_importing_and_reloading_registers_without_a_warning() -> None:
    program = """if True:
        import importlib, sys
        import gymnasium
        import wm_tutorial.worlds.pixels
        importlib.reload(wm_tutorial.worlds.pixels)
        del sys.modules["wm_tutorial.worlds.pixels"]
        import wm_tutorial.worlds.pixels
        gymnasium.make("wm_tutorial/CatchInTheDark-v0").reset(seed=0)
    """
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARN" not in done.stderr


def test_importing_the_package_is_enough() -> None:
    program = "import gymnasium, wm_tutorial; gymnasium.make('wm_tutorial/CatchInTheDark-v0').reset(seed=0)"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_a_seed_decides_everything() -> None:
    def play(seed: int) -> Any:
        env = gym.make(NAME)
        env.action_space.seed(0)  # the same actions for every seed
        rows = [env.reset(seed=seed)[0].ravel()]
        for _ in range(100):
            picture, *outcome, _ = env.step(env.action_space.sample())
            rows.append(np.append(picture, outcome))
            if outcome[2]:
                rows.append(env.reset()[0].ravel())  # later episodes follow from the first seed
        return np.concatenate(rows).tolist()

    assert play(3) == play(3)
    assert play(3) != play(4)


def test_an_episode_is_ten_balls_and_ends_by_its_time_limit() -> None:
    env = gym.make(NAME)
    env.reset(seed=0)
    rows, ends = [], []
    for _ in range(80):
        _, _, *end, _ = env.step(1)
        rows.append(env.unwrapped.row)  # type: ignore[attr-defined]
        ends.append(tuple(end))
    assert rows == [1, 2, 3, 4, 5, 6, 7, 0] * 10
    assert ends == [(False, False)] * 79 + [(False, True)]


def test_every_ball_is_equally_likely() -> None:
    game, kinds = CatchInTheDark(), np.eye(21)
    drawn: dict[str, list[Array]] = {"first": [], "next": []}
    game.reset(seed=0)
    for _ in range(4000):
        game.row = 7
        game.step(np.int64(1))
        drawn["next"].append(kinds[3 * game.column + game.velocity + 1])
        game.reset()
        drawn["first"].append(kinds[3 * game.column + game.velocity + 1])
    for balls in drawn.values():
        assert_mean_is(1 / 21, np.stack(balls))


# --- The rules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "velocity", "path"),
    [
        (4, 0, [4, 4, 4, 4, 4, 4, 4, 4]),
        (0, 1, [0, 1, 2, 3, 4, 5, 6, 5]),
        (5, 1, [5, 6, 5, 4, 3, 2, 1, 0]),
        (2, -1, [2, 1, 0, 1, 2, 3, 4, 5]),
        (0, -1, [0, 1, 2, 3, 4, 5, 6, 5]),  # at a wall already, and so as if it had come from there
    ],
)
def test_a_ball_falls_one_row_a_step_and_bounces(column: int, velocity: int, path: list[int]) -> None:
    game = game_at(column=column, velocity=velocity)
    places = [(game.row, game.column)]
    for _ in range(7):
        game.step(np.int64(1))
        places.append((game.row, game.column))
    assert places == list(enumerate(path))


def test_the_paddle_moves_by_a_cell_and_stops_at_the_walls() -> None:
    game = game_at(paddle=5)
    moves = [RIGHT, RIGHT, STAY, *[LEFT] * 8, RIGHT]
    cells = []
    for move in moves:
        game.step(np.int64(move))
        cells.append(game.paddle)
    assert cells == [6, 6, 6, 5, 4, 3, 2, 1, 0, 0, 0, 1]


def test_the_reward_is_for_a_ball_and_a_paddle_that_arrive_in_the_same_cell() -> None:
    for row, column, paddle, move in itertools.product(range(8), range(7), range(7), range(3)):
        game = game_at(row=row, column=column, velocity=0, paddle=paddle)
        _, reward, terminated, truncated, info = game.step(np.int64(move))
        arrived = min(max(paddle + move - 1, 0), 6)
        assert (reward, terminated, truncated, info) == (float(row == 6 and column == arrived), False, False, {})


# --- The pictures -----------------------------------------------------------------------------------------------------


def test_everything_is_drawn_where_it_is_and_nothing_else() -> None:
    for row, column, paddle in itertools.product(*(ALWAYS[name] for name in ("row", "column", "paddle"))):
        picture = game_at(row=row, column=column, paddle=paddle)._draw()
        lit, caught = row in (0, 1, 7), row == 7 and column == paddle
        assert where(picture, BALL) == (cell(row, column) if lit and not caught else [])
        assert where(picture, CAUGHT) == (cell(7, paddle) if caught else [])
        assert where(picture, PADDLE) == ([] if caught else cell(7, paddle))
        assert where(picture, WALL) == [(y, x) for y in range(16) for x in (0, 15)]
        empty = picture.max(axis=-1) < 50
        assert (~empty).sum() == 32 + 4 * (1 + (lit and not caught))


def pictures(rows: Any) -> dict[tuple[int, ...], bytes]:
    """The picture of every hidden state (row, column, velocity, paddle) in these rows."""
    names = list(ALWAYS)
    return {
        state: game_at(**dict(zip(names, state, strict=True)))._draw().tobytes()
        for state in itertools.product(rows, *(ALWAYS[name] for name in names[1:]))
    }


def test_no_picture_shows_a_velocity() -> None:
    shown = pictures(range(8))
    for (row, column, velocity, paddle), picture in shown.items():
        assert picture == shown[row, column, -velocity, paddle] == shown[row, column, 0, paddle]


def test_in_the_dark_the_paddle_is_all_there_is() -> None:
    by_paddle: dict[int, set[bytes]] = {}
    for (_, _, _, paddle), picture in pictures(range(2, 7)).items():
        by_paddle.setdefault(paddle, set()).add(picture)
    assert [len(seen) for seen in by_paddle.values()] == [1] * 7
    assert len(set.union(*by_paddle.values())) == 7


def test_in_the_light_a_picture_tells_everything_but_the_velocity() -> None:
    shown = pictures((0, 1, 7))
    assert len(set(shown.values())) == len(shown) / 3


def test_the_observation_is_the_picture_after_the_step() -> None:
    game = CatchInTheDark()
    np.testing.assert_array_equal(game.reset(seed=0)[0], game._draw())
    for _ in range(20):
        np.testing.assert_array_equal(game.step(np.int64(2))[0], game._draw())


def test_changing_a_picture_does_not_change_the_game() -> None:
    game = CatchInTheDark()
    picture, _ = game.reset(seed=0)
    kept = picture.copy()
    picture[:] = 0
    np.testing.assert_array_equal(game._draw(), kept)


def test_rendering_enlarges_the_picture_and_keeps_its_colours() -> None:
    game = CatchInTheDark(render_mode="rgb_array")
    picture, _ = game.reset(seed=0)
    large = game.render()
    assert large is not None and large.shape == (256, 256, 3)
    for y, x in itertools.product(range(16), range(16)):
        assert (large[16 * y : 16 * y + 16, 16 * x : 16 * x + 16] == picture[y, x]).all()
    silent = CatchInTheDark()
    silent.reset(seed=0)
    assert silent.render() is None


# --- The best player --------------------------------------------------------------------------------------------------


class Rememberer:
    """Catches every ball from the pictures and what it remembers of them: it knows nothing of the hidden state."""

    def act(self, picture: Picture) -> int:
        """Stay in row 0, tell the velocity in row 1, then walk to where the ball will come down."""
        (ball, paddle) = where(picture, BALL), where(picture, PADDLE)
        if not paddle:  # a ball was caught
            return STAY
        column = (paddle[0][1] - 1) // 2
        if ball and ball[0][0] == 0:
            self.start = self.target = (ball[0][1] - 1) // 2
            return STAY
        if ball and ball[0][0] == 2:
            seen = (ball[0][1] - 1) // 2
            far = seen + 6 * (seen - self.start)  # six rows further down, if there were no walls
            self.target = 6 - abs(6 - abs(far)) if abs(far) <= 12 else 0
        return 1 + int(np.sign(self.target - column))


@pytest.mark.parametrize("seed", range(30))
def test_pictures_and_memory_are_enough_for_every_ball(seed: int) -> None:
    env, player = gym.make(NAME), Rememberer()
    picture, _ = env.reset(seed=seed)
    total, truncated = 0.0, False
    while not truncated:
        picture, reward, _, truncated, _ = env.step(player.act(picture))
        total += float(reward)
    assert total == 10.0


def play(game: CatchInTheDark, policy: Actions, steps: int) -> float:
    total = 0.0
    for _ in range(steps):
        action = policy[game.row, game.column, game.velocity + 1, game.paddle]
        total += game.step(action)[1]
    return total


def test_the_best_player_catches_every_ball_by_tables_and_in_the_game() -> None:
    values, policy = best_catches()
    np.testing.assert_allclose(values, 10.0, rtol=1e-12)
    np.testing.assert_allclose(policy_catches(np.eye(3)[policy]), 10.0, rtol=1e-12)
    for seed in range(30):
        game = CatchInTheDark()
        game.reset(seed=seed)
        assert play(game, policy, 80) == 10.0


def test_the_best_player_catches_every_ball_from_everywhere() -> None:
    _, policy = best_catches()
    for column, velocity, paddle in itertools.product(range(7), (-1, 0, 1), range(7)):
        assert play(game_at(column=column, velocity=velocity, paddle=paddle), policy, 7) == 1.0


def test_the_best_player_does_not_use_a_velocity_that_no_picture_has_shown_yet() -> None:
    _, policy = best_catches()
    assert (policy[0] == policy[0][:, :1]).all()
    assert (policy[1] != policy[1][:, :1]).any()  # from the second picture on it does


@pytest.mark.parametrize(("steps", "balls"), [(8, 1), (14, 1), (15, 2), (16, 2), (79, 10), (80, 10)])
def test_catches_to_expect_count_the_balls_that_come_down_in_time(steps: int, balls: int) -> None:
    np.testing.assert_allclose(best_catches(steps)[0], balls, rtol=1e-12)
    assert policy_catches(RANDOM, steps)[MIDDLE] == pytest.approx(balls / 7, rel=0.03)


# --- Other players ----------------------------------------------------------------------------------------------------


def returns(policy: Array, episodes: int) -> Array:
    """The catches in whole episodes of the registered environment (episodes,)."""
    env, rng = gym.make(NAME), np.random.default_rng(0)
    cumulative, game = policy.cumsum(axis=-1), env.unwrapped
    assert isinstance(game, CatchInTheDark)
    env.reset(seed=1)  # not the seed of rng, or actions and balls would be the same random numbers
    totals = np.zeros(episodes)
    for i in range(episodes):
        truncated = False
        while not truncated:
            chances = cumulative[game.row, game.column, game.velocity + 1, game.paddle]
            _, reward, _, truncated, _ = env.step(int((rng.random() >= chances[:2]).sum()))
            totals[i] += float(reward)
        env.reset()
    return totals


def test_random_players_catch_what_the_tables_say() -> None:
    expected = policy_catches(RANDOM)[MIDDLE]
    assert expected == pytest.approx(1.43, abs=0.005)
    assert_mean_is(expected, returns(RANDOM, 500))


def test_any_player_catches_what_the_tables_say() -> None:
    _, best = best_catches()
    noisy = 0.6 * np.eye(3)[best] + 0.4 * np.random.default_rng(2).dirichlet(np.ones(3), size=best.shape)
    expected = policy_catches(noisy)[MIDDLE]
    assert 2.0 < expected < 9.0
    assert_mean_is(expected, returns(noisy, 300))


COLUMN, POSITION = np.arange(7)[:, None], np.arange(7)
CHASE: Actions = np.sign(COLUMN - POSITION) + 1  # (C, P)
STILL: Actions = np.ones(7, np.intp)
FOUND = (  # the picture shows the ball in row 0, in row 1, not at all, in row 7
    "1022101221021122210010221000021010121210021010210"
    "0001022200211022102111121010021021021021100001020"
    "1111201"
    "2220000222100121110002201000211100022210002222000"
)


def found_by_search() -> Array:
    """The best player without memory that hill climbing from random ones, a decision at a time, has found."""
    digits = np.array([int(digit) for digit in FOUND])
    first, second, dark, landed = np.split(digits, [49, 98, 105])
    return from_pictures(first.reshape(7, 7), second.reshape(7, 7), dark, landed.reshape(7, 7))


@pytest.mark.parametrize(
    ("policy", "catches"),
    [(from_pictures(CHASE, CHASE, STILL, CHASE), 3.21), (found_by_search(), 6.65)],
    ids=["follows the ball", "found by search"],
)
def test_the_numbers_of_players_without_memory(policy: Array, catches: float) -> None:
    assert policy_catches(policy)[MIDDLE] == pytest.approx(catches, abs=0.005)
    assert_mean_is(policy_catches(policy)[MIDDLE], returns(policy, 200))


def test_without_memory_nobody_reaches_nine_tenths_of_the_best() -> None:
    assert memoryless_bound() == pytest.approx(17 / 21)
    assert 10 * memoryless_bound() < 0.9 * best_catches()[0][MIDDLE]
    assert policy_catches(found_by_search())[MIDDLE] < 10 * memoryless_bound()


def test_the_bound_holds_for_players_who_toss_coins() -> None:
    rng, bound = np.random.default_rng(0), 10 * memoryless_bound()
    for _ in range(20):
        first, second, landed = (rng.dirichlet(0.1 * np.ones(3), size=(7, 7)) for _ in range(3))
        dark = rng.dirichlet(0.1 * np.ones(3), size=7)
        policy = np.zeros((8, 7, 3, 7, 3))
        policy[0], policy[1], policy[2:7], policy[7] = first[:, None], second[:, None], dark, landed[:, None]
        assert policy_catches(policy)[MIDDLE] < bound


def test_the_bound_is_that_of_trying_everything() -> None:
    # From the corner: first moves to cells 0 and 1, second ones to 0, 1 and 2; the best of every choice of all.
    firsts = np.array(list(itertools.product(range(2), repeat=7)))  # (N, C): the cell after the first move
    alike = np.zeros((len(firsts), 7, 2, 7))  # balls by column in row 1, paddle in row 1, and landing
    for column, velocity in itertools.product(range(7), (-1, 0, 1)):
        game = game_at(column=column, velocity=velocity)
        game.step(np.int64(1))
        seen = game.column
        for _ in range(6):
            game.step(np.int64(1))
        alike[np.arange(len(firsts)), seen, firsts[:, column], game.column] += 1
    most = 0.0
    for ends in itertools.product(range(6), range(7), range(7)):  # of the cells 0, 1, 2 in the dark
        caught = alike[..., 0, ends[:2]].max(axis=-1) + alike[..., 1, ends].max(axis=-1)
        most = max(most, caught.sum(axis=-1).max())
    assert _bound_from(0) == pytest.approx(most / 21)


# --- What cannot be used ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", [3, -1, 0.5, "left", None, [1]])
def test_unknown_actions_are_refused(action: Any) -> None:
    game = game_at()
    before = vars(game).copy()
    with pytest.raises(InputError, match=r"0 \(left\), 1 \(stay\) or 2 \(right\)"):
        game.step(action)
    assert vars(game) == before  # a refused action moves nothing


def test_an_unknown_render_mode_is_refused() -> None:
    with pytest.raises(InputError, match=r"render_mode is 'human'.*None or 'rgb_array'"):
        CatchInTheDark(render_mode="human")


@pytest.mark.parametrize("policy", [RANDOM[0], 3 * RANDOM, RANDOM - np.array([1, 0, -1])])
def test_a_policy_that_does_not_fit_is_refused(policy: Array) -> None:
    with pytest.raises(InputError, match=r"policy has shape.*sum to 1.*np\.eye"):
        policy_catches(policy)


@pytest.mark.parametrize("steps", [-1, 0, 7])
def test_steps_too_few_for_a_ball_are_refused(steps: int) -> None:
    with pytest.raises(InputError, match=f"steps is {steps}; it must be 8 or more.*try 80"):
        best_catches(steps)
