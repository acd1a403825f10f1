"""A small game of pixels in which rocks fall on where you stand, and the exact numbers to judge a player by.

| player of `wm_tutorial/Rockfall-v0`                | steps of 100  | known from                   |
|----------------------------------------------------|---------------|------------------------------|
| the best player                                    | 100           | `best_survival`, exact       |
| any player who acts on the latest picture alone,   | at most 27.50 | `memoryless_survival`, exact |
| and makes no chance moves                          |               |                              |
| random actions                                     | 18.14         | `policy_survival`, exact     |

Importing this module registers the game. Shape letters: R the row of the rock, 0 to 7, and 8 for an empty sky; C its
column; P positions of the player; A actions; D ways to move in the dark.
"""

import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from wm_tutorial.errors import InputError
from wm_tutorial.worlds.known import Array, Info
from wm_tutorial.worlds.pixels import Picture

ROWS, COLUMNS = 8, 8
EMPTY = ROWS  # the row of a rock that is not there
MOVES = (-1, 0, 1)  # of actions 0, 1, 2
CHANCE = 0.25  # that a rock breaks off, in a step in which none is there
REACH = 1  # columns to each side of its middle that a rock covers
STEPS = 100

CELL = 2  # pixels
SIZE = ROWS * CELL
BLACK, LIGHT = (0, 0, 0), (45, 45, 45)
ROCK, PLAYER = (230, 159, 0), (25, 96, 255)  # orange and blue, which colour-blind eyes can tell apart,
HIT = (255, 255, 255)  # and their sum


class Rockfall(gym.Env[Picture, np.int64]):
    """A rock falls on the column you stand in, unseen on its way: be elsewhere when it comes down.

    Every step the player on the bottom row moves: action 0 left, 1 stay, 2 right. If no rock is there, one breaks off
    with a chance of 1/4, three columns wide, in the top row above the player. Then it falls one row a step. Only the
    top row and the bottom row are lit; in rows 1 to 6 the rock is in the dark, and pictures differ in nothing but the
    player. Whoever stands under it when it arrives in the bottom row is hit, which ends the episode; after that step
    the rock is gone. So one has to remember where the rock is, and one learns of it too late to get away in one step.

    Reward: 1 for every step, the last one too. Every rock can be escaped: two columns away are enough.

    Observation: (16, 16, 3) uint8; a cell is 2 x 2 pixels. Where a rock hits, it is white. The player starts in any
    column, all equally likely, under an empty sky. An episode has at most 100 steps by registration; that limit
    truncates and is no terminal. The attributes `row` (8 for an empty sky), `column` and `player` are the hidden
    state. `render_mode="rgb_array"`: the same picture, (256, 256, 3). Raises InputError for an unknown action or
    render mode.

    Source: ours, in the spirit of Doom's TakeCover as in Ha & Schmidhuber 2018 (arXiv 1803.10122), section 4.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 6}  # noqa: RUF012 (Gymnasium's own type)
    row: int  # of the rock, 0 to 7, or 8 if there is none
    column: int  # of its middle, 0 to 7
    player: int  # its column, 0 to 7

    def __init__(self, render_mode: str | None = None) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise InputError(f"render_mode is {render_mode!r}; it must be None or 'rgb_array'")
        self.render_mode = render_mode
        self.observation_space = spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self.action_space = spaces.Discrete(len(MOVES))

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Picture, Info]:
        """Put the player anywhere under an empty sky; there are no options."""
        super().reset(seed=seed)
        self.player, self.row, self.column = int(self.np_random.integers(COLUMNS)), EMPTY, 0
        return self._draw(), {}

    def step(self, action: np.int64) -> tuple[Picture, float, bool, bool, Info]:
        """Move the player and the rock; raise InputError for an action other than 0, 1 and 2."""
        if not self.action_space.contains(action):
            raise InputError(f"the action is {action!r}; it must be the integer 0 (left), 1 (stay) or 2 (right)")
        self.player = _move(self.player, int(action))
        if self.row < ROWS - 1:
            self.row += 1
        elif self.np_random.random() < CHANCE:
            self.row, self.column = 0, self.player
        else:
            self.row = EMPTY
        return self._draw(), 1.0, self._is_hit(), False, {}

    def render(self) -> Picture | None:
        """The observation with every pixel 16 x 16 as large, or None without a render mode."""
        if self.render_mode is None:
            return None
        return self._draw().repeat(16, axis=0).repeat(16, axis=1)

    def _is_hit(self) -> bool:
        return self.row == ROWS - 1 and abs(self.player - self.column) <= REACH

    def _draw(self) -> Picture:
        picture = np.full((SIZE, SIZE, 3), BLACK, np.uint8)
        picture[:CELL] = LIGHT
        picture[-CELL:] = LIGHT
        picture[-CELL:, self.player * CELL : (self.player + 1) * CELL] = PLAYER
        if self.row in (0, ROWS - 1):
            left, right = max(self.column - REACH, 0), min(self.column + REACH, COLUMNS - 1) + 1
            rows = slice(self.row * CELL, (self.row + 1) * CELL)
            picture[rows, left * CELL : right * CELL] = HIT if self._is_hit() else ROCK
        return picture


def _move(player: int, action: int) -> int:
    """Where the player is after an action: the walls stop it."""
    return min(max(player + MOVES[action], 0), COLUMNS - 1)


# --- The exact answers ------------------------------------------------------------------------------------------------

AFTER = np.array([[_move(player, action) for action in range(len(MOVES))] for player in range(COLUMNS)])  # (P, A)
SAFE = np.abs(np.arange(COLUMNS)[:, None] - np.arange(COLUMNS)) > REACH  # (C, P)


def policy_survival(policy: Array, steps: int = STEPS) -> float:
    """The exact expected return of `steps` steps, from the game's own starts.

    policy (R + 1, C, P, A): probabilities of the actions in each hidden state, row 8 for an empty sky. A player who
    does not see all of that state is one whose probabilities do not vary along the axes it does not see. Raises
    InputError if the policy has another shape or rows that are no probabilities.

    Source: iterative policy evaluation, Sutton & Barto 2018, equation 4.5, from the last step back.
    """
    shape = (ROWS + 1, COLUMNS, COLUMNS, len(MOVES))
    if policy.shape != shape or not (np.all(policy >= 0.0) and np.allclose(policy.sum(axis=-1), 1.0)):
        raise InputError(
            f"policy has shape {policy.shape}; it must be {shape}, rows with the empty sky, columns, players and"
            " actions, with probabilities that sum to 1: for one action in each state give np.eye(3)[actions]"
        )
    values = np.zeros(shape[:-1])
    for _ in range(steps):
        values = (policy * _action_values(values)).sum(axis=-1)
    return float(values[EMPTY, 0].mean())


def best_survival(steps: int = STEPS) -> tuple[float, npt.NDArray[np.intp]]:
    """The most steps any player can expect of `steps`, and a policy (R + 1, C, P) that reaches it.

    A player who remembers the pictures knows the whole hidden state.

    Source: value iteration with a horizon; Bellman 1957, "Dynamic Programming".
    """
    values = np.zeros((ROWS + 1, COLUMNS, COLUMNS))
    policy = np.zeros(values.shape, np.intp)
    for _ in range(steps):
        action_values = _action_values(values)
        values, policy = action_values.max(axis=-1), action_values.argmax(axis=-1)
    return float(values[EMPTY, 0].mean()), policy


def _action_values(values: Array) -> Array:
    """Steps to expect from each hidden state and action (R + 1, C, P, A), from those of the states after."""
    alive = values.copy()
    alive[ROWS - 1] *= SAFE  # whoever is hit has nothing more to expect
    aimed = np.diagonal(values[0])  # (P,) of a rock right above
    arriving = np.empty((*values.shape, len(MOVES)))
    arriving[: ROWS - 1] = alive[1:ROWS][:, :, AFTER]
    arriving[ROWS - 1 :] = CHANCE * aimed[AFTER] + (1.0 - CHANCE) * alive[EMPTY, 0][AFTER]
    wanted: Array = 1.0 + arriving
    wanted[ROWS - 1][~SAFE] = 0.0  # nobody acts there: the episode is over
    return wanted


def memoryless_survival(steps: int = STEPS) -> float:
    """The most steps that a player can expect who acts on the latest picture alone and makes no chance moves.

    In the dark all that is seen is the player's own column, so there are 3^8 ways to move there (D); an empty sky is
    dark, too. For each of them, what to do under a rock and beside one on the ground is found by value iteration. That
    choice may even know how many steps are left: what is found is a bound that no such player exceeds.
    """
    dark = np.array(list(itertools.product(range(len(MOVES)), repeat=COLUMNS)))
    goes = AFTER[np.arange(COLUMNS), dark]  # (D, P) where a move in the dark leads
    each = np.arange(len(goes))[:, None, None]
    landing = np.broadcast_to(AFTER, (len(goes), COLUMNS, len(MOVES)))  # (D, P, A) after the one move in the light
    for _ in range(ROWS - 2):
        landing = goes[each, landing]
    safe = SAFE[np.arange(COLUMNS)[:, None], landing]
    # By steps left, for each column: what to expect under an empty sky, under a rock, beside one on the ground.
    waiting, under, ground = (np.zeros((steps + 1, *goes.shape)) for _ in range(3))
    for left in range(1, steps + 1):
        coming = 1.0 + CHANCE * under[left - 1] + (1.0 - CHANCE) * waiting[left - 1]
        waiting[left] = coming[each[..., 0], goes]
        ground[left] = coming[:, AFTER].max(axis=-1)
        fall = min(left, ROWS - 1)
        under[left] = fall + (safe * ground[left - fall][each, landing]).max(axis=-1)
    return float(waiting[steps].mean(axis=-1).max())


# --- Registration -----------------------------------------------------------------------------------------------------

_ID = "wm_tutorial/Rockfall-v0"
if _ID not in gym.registry:  # a second import, or a reload in a notebook, would warn
    gym.register(_ID, f"{__name__}:Rockfall", reward_threshold=90.0, max_episode_steps=STEPS)
