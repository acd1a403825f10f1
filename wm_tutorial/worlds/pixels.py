"""A small game of pixels that cannot be played from one picture, and the exact numbers to judge a player by.

| player of `wm_tutorial/CatchInTheDark-v0`           | catches of 10 | known from                 |
|-----------------------------------------------------|---------------|----------------------------|
| the best player                                     | 10            | `best_catches`, exact      |
| any player who acts on the latest picture alone     | at most 8.10  | `memoryless_bound`, proved |
| of those, the best that a search has found          | 6.65          | `policy_catches`, exact    |
| of those, follows the ball in the light, then stays | 3.21          | `policy_catches`, exact    |
| random actions                                      | 1.43          | `policy_catches`, exact    |

Importing this module registers the game. Shape letters: R rows of the field, C columns, V velocities, P positions of
the paddle, A actions.
"""

import itertools
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from wm_tutorial.errors import InputError
from wm_tutorial.worlds.known import Array, Info

Picture: TypeAlias = npt.NDArray[np.uint8]

ROWS, COLUMNS = 8, 7
BALLS = 10
LIT_ROWS = (0, 1, ROWS - 1)  # two pictures to tell a velocity, and one to see how it went
VELOCITIES = (-1, 0, 1)
MOVES = (-1, 0, 1)  # of actions 0, 1, 2

CELL = 2  # pixels
SIZE = ROWS * CELL  # the field is a column narrower than it is high: a wall of one pixel on either side
BLACK, LIGHT, WALL = (0, 0, 0), (45, 45, 45), (110, 110, 110)
BALL, PADDLE = (230, 159, 0), (25, 96, 255)  # orange and blue, which colour-blind eyes can tell apart,
CAUGHT = (255, 255, 255)  # and their sum


def _fall(column: int, velocity: int) -> tuple[int, int]:
    """Where a ball is one row further down, and how it moves on from there: it bounces off the walls."""
    if not 0 <= column + velocity < COLUMNS:
        velocity = -velocity
    return column + velocity, velocity


def _move(paddle: int, action: int) -> int:
    """Where the paddle is after an action: the walls stop it."""
    return min(max(paddle + MOVES[action], 0), COLUMNS - 1)


def _empty_field() -> Picture:
    field = np.full((SIZE, SIZE, 3), BLACK, np.uint8)
    for row in LIT_ROWS:
        field[row * CELL : (row + 1) * CELL] = LIGHT
    field[:, [0, -1]] = WALL
    return field


EMPTY_FIELD = _empty_field()


class CatchInTheDark(gym.Env[Picture, np.int64]):
    """A ball falls, and only the first two and the last of its eight rows are lit: catch it where it comes down.

    The ball starts in one of 7 columns with velocity -1, 0 or +1, all equally likely. Every step it falls one row and
    moves by its velocity, bouncing off the walls, and the paddle on the bottom row moves: action 0 left, 1 stay,
    2 right. In rows 2 to 6 the ball is in the dark; the paddle always shows. When the ball arrives in the bottom row
    the reward is 1 if the paddle arrives in the same cell and 0 if not, and the step after brings the next ball.
    One picture never shows a velocity, and in the dark pictures differ in nothing but the paddle.

    Every ball can be caught from anywhere: stay in row 0, tell the velocity in row 1, and six moves cross the field.

    Observation: (16, 16, 3) uint8; a cell is 2 x 2 pixels, the walls are one pixel wide. A caught ball is white.
    An episode is 10 balls, 80 steps by registration. That limit truncates and is no terminal: the game itself has no
    end, and nothing in a picture could say that one is near. The paddle starts in the middle. The attributes `row`,
    `column`, `velocity` and `paddle` are the hidden state. `render_mode="rgb_array"`: the same picture, (256, 256, 3).
    Raises InputError for an unknown action or render mode.

    Source: ours; the ball and paddle are those of Catch in Mnih et al. 2014, "Recurrent Models of Visual Attention".
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 6}  # noqa: RUF012 (Gymnasium's own type)
    row: int  # of the ball, 0 to 7
    column: int  # of the ball, 0 to 6
    velocity: int  # of the ball, columns per step
    paddle: int  # its column, 0 to 6

    def __init__(self, render_mode: str | None = None) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise InputError(f"render_mode is {render_mode!r}; it must be None or 'rgb_array'")
        self.render_mode = render_mode
        self.observation_space = spaces.Box(0, 255, EMPTY_FIELD.shape, np.uint8)
        self.action_space = spaces.Discrete(len(MOVES))

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Picture, Info]:
        """Put the paddle in the middle and draw a ball; there are no options."""
        super().reset(seed=seed)
        self.paddle = COLUMNS // 2
        self._new_ball()
        return self._draw(), {}

    def step(self, action: np.int64) -> tuple[Picture, float, bool, bool, Info]:
        """Move the paddle and the ball; raise InputError for an action other than 0, 1 and 2."""
        if not self.action_space.contains(action):
            raise InputError(f"the action is {action!r}; it must be the integer 0 (left), 1 (stay) or 2 (right)")
        self.paddle = _move(self.paddle, int(action))
        if self.row == ROWS - 1:
            self._new_ball()
            return self._draw(), 0.0, False, False, {}
        self.row += 1
        self.column, self.velocity = _fall(self.column, self.velocity)
        caught = self.row == ROWS - 1 and self.column == self.paddle
        return self._draw(), float(caught), False, False, {}

    def render(self) -> Picture | None:
        """The observation with every pixel 16 x 16 as large, or None without a render mode."""
        if self.render_mode is None:
            return None
        return self._draw().repeat(16, axis=0).repeat(16, axis=1)

    def _new_ball(self) -> None:
        self.row = 0
        self.column = int(self.np_random.integers(COLUMNS))
        self.velocity = VELOCITIES[self.np_random.integers(len(VELOCITIES))]

    def _draw(self) -> Picture:
        picture = EMPTY_FIELD.copy()
        _fill(picture, ROWS - 1, self.paddle, PADDLE)
        if self.row in LIT_ROWS:
            caught = self.row == ROWS - 1 and self.column == self.paddle
            _fill(picture, self.row, self.column, CAUGHT if caught else BALL)
        return picture


def _fill(picture: Picture, row: int, column: int, colour: tuple[int, int, int]) -> None:
    left = 1 + column * CELL  # past the wall
    picture[row * CELL : (row + 1) * CELL, left : left + CELL] = colour


# --- The exact answers ------------------------------------------------------------------------------------------------

BALL_AFTER = np.array([[_fall(column, ball) for ball in VELOCITIES] for column in range(COLUMNS)])  # (C, V, 2)
PADDLE_AFTER = np.array([[_move(paddle, action) for action in range(len(MOVES))] for paddle in range(COLUMNS)])


def policy_catches(policy: Array, steps: int = BALLS * ROWS) -> Array:
    """The exact expected number of catches (P,) in `steps` steps, for each position the paddle can start from.

    policy (R, C, V, P, A): probabilities of the actions in each hidden state. A player who does not see all of that
    state is one whose probabilities do not vary along the axes it does not see. Index 3 of the result is the game as
    it starts. Raises InputError if the policy has another shape or rows that are no probabilities.

    Source: iterative policy evaluation, Sutton & Barto 2018, equation 4.5, from the last step back.
    """
    shape = (ROWS, COLUMNS, len(VELOCITIES), COLUMNS, len(MOVES))
    if policy.shape != shape or not (np.all(policy >= 0.0) and np.allclose(policy.sum(axis=-1), 1.0)):
        raise InputError(
            f"policy has shape {policy.shape}; it must be {shape}, rows, columns, velocities, paddle positions and"
            " actions, with probabilities that sum to 1: for one action in each state give np.eye(3)[actions]"
        )
    values = np.zeros(shape[1:4])
    for row in _rows_from_the_last(steps):
        values = (policy[row] * _action_values(row, values)).sum(axis=-1)
    mean: Array = values.mean(axis=(0, 1))
    return mean


def best_catches(steps: int = BALLS * ROWS) -> tuple[Array, npt.NDArray[np.intp]]:
    """The most catches any player of the pictures can expect, and a policy that reaches it.

    Returns the expected catches (P,) in `steps` steps for each position the paddle can start from, and for each hidden
    state what to do there when many steps are left, (R, C, V, P) actions. A player who remembers the pictures knows
    that hidden state, but for the velocity in row 0; so that action does not depend on it.

    Raises InputError for steps below 8, which not every row is part of.

    Source: value iteration with a horizon; Bellman 1957, "Dynamic Programming".
    """
    if steps < ROWS:
        raise InputError(f"steps is {steps}; it must be {ROWS} or more, one ball: try {BALLS * ROWS}")
    values = np.zeros((COLUMNS, len(VELOCITIES), COLUMNS))
    policy = np.zeros((ROWS, *values.shape), np.intp)
    for row in _rows_from_the_last(steps):
        action_values = _action_values(row, values)
        if row == 0:  # the velocity is not known yet: choose by the mean over it
            action_values = np.broadcast_to(action_values.mean(axis=1, keepdims=True), action_values.shape)
        values, policy[row] = action_values.max(axis=-1), action_values.argmax(axis=-1)
    return values.mean(axis=(0, 1)), policy


def _rows_from_the_last(steps: int) -> list[int]:
    """The row the ball is in before each step, last step first."""
    return [step % ROWS for step in reversed(range(steps))]


def _action_values(row: int, values: Array) -> Array:
    """Catches to expect from each state of a row and action (C, V, P, A), from those of the states after (C, V, P)."""
    if row == ROWS - 1:  # a new ball follows, whatever this one did
        return np.broadcast_to(values.mean(axis=(0, 1))[PADDLE_AFTER], (*values.shape, len(MOVES)))
    caught = np.eye(COLUMNS)[:, None, :] if row == ROWS - 2 else 0.0
    column_after, velocity_after = BALL_AFTER[..., 0], BALL_AFTER[..., 1] + 1  # velocity -1 has index 0
    arriving: Array = (values + caught)[column_after, velocity_after]
    return arriving[:, :, PADDLE_AFTER]


def memoryless_bound() -> float:
    """Catches per ball, 17/21, that no player who acts on the latest picture alone can exceed, even by chance moves.

    Such a player can still keep a little in mind, by where it puts the paddle; the one that a search has found does.
    The bound is what the best player would catch with three gifts: it starts every ball where it likes best; in row 1
    it knows that start; and in rows 2 to 6 it can go from any position to any other at most five cells away, as if it
    had a clock. Then each decision is made once a ball, so the expected catch is linear in the probabilities of each,
    and some player who makes no chance moves is the best.
    """
    return max(_bound_from(start) for start in range(COLUMNS))


def _bound_from(start: int) -> float:
    """The bound for one start of the paddle: the best over all first moves, second moves and ways (W) in the dark."""
    ends = [range(max(p - 5, 0), min(p + 5, COLUMNS - 1) + 1) if abs(p - start) <= 2 else [p] for p in range(COLUMNS)]
    ways = np.array(list(itertools.product(*ends)))  # (W, P): where each position at the end of row 1 leads
    hits = ways[:, :, None] == np.arange(COLUMNS)  # (W, P, C)
    # A ball seen in a column of row 1 started next to it at most, so first moves go together three columns at a time:
    # `best` has the most catches so far (W,) for each pair of first moves, in the column before and in this one.
    moves = range(len(MOVES))
    best = {(None, move): np.zeros(len(ways)) for move in moves}
    for seen in range(COLUMNS):
        following: dict[Any, Array] = {}
        for (before, here), catches in best.items():
            for after in moves if seen + 1 < COLUMNS else [None]:
                total = catches + _catches_seen_in(seen, [before, here, after], start, hits)
                following[here, after] = np.maximum(total, following.get((here, after), 0.0))
        best = following
    return float(max(catches.max() for catches in best.values())) / (COLUMNS * len(VELOCITIES))


def _catches_seen_in(seen: int, first_moves: list[int | None], start: int, hits: npt.NDArray[np.bool_]) -> Array:
    """How many of the balls seen in one column of row 1 are caught (W,), with the best second move for each picture.

    first_moves: in the columns seen - 1, seen, seen + 1; None past a wall. hits (W, P, C).
    """
    landings: dict[int, list[int]] = {}  # of the balls that make the same picture, by the paddle in it
    for (column, move), ball in itertools.product(enumerate(first_moves, seen - 1), VELOCITIES):
        if move is not None and _fall(column, ball)[0] == seen:
            landings.setdefault(_move(start, move), []).append(_landing(column, ball))
    catches = np.zeros(len(hits))
    for paddle, columns in landings.items():
        catches += hits[:, PADDLE_AFTER[paddle]][:, :, columns].sum(axis=-1).max(axis=-1)
    return catches


def _landing(column: int, velocity: int) -> int:
    """Where a ball in row 0 comes down."""
    for _ in range(ROWS - 1):
        column, velocity = _fall(column, velocity)
    return column


# --- Registration -----------------------------------------------------------------------------------------------------

_ID = "wm_tutorial/CatchInTheDark-v0"
if _ID not in gym.registry:  # a second import, or a reload in a notebook, would warn
    gym.register(_ID, f"{__name__}:CatchInTheDark", reward_threshold=9.0, max_episode_steps=BALLS * ROWS)
