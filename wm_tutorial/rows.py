"""The index convention, as data. Everything in this package agrees on it:

    row t of a sequence:   o_t  r_t  first_t  last_t  terminal_t   arrive together (what the environment returned)
                           a_t                                     chosen after seeing o_t

so r_t is the reward for a_{t-1}, and the first row of an episode has reward 0. `last` marks the end of an episode for
any reason; `terminal` only a true end, after which nothing more can be earned. A time limit is last, not terminal.

Shape letters in comments: B batch, T sequence length, H horizon, N environments or imagined starts, A action size,
D deterministic size, Z latent size, F feature size, E embedding size, O observation size.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Spaces:
    """What the networks must know about an environment, and how its numbers become theirs.

    obs_kind      vectors are float32, images uint8 in 0..255, discrete observations become one-hot vectors
    obs_shape     (O,) for vectors and discrete observations, (H, W, C) for images
    action_kind   discrete actions are one-hot vectors (A,), continuous ones lie in -1..1
    action_size   A: how many discrete actions, or how many continuous ones
    action_low    lowest native value of each continuous action (A,), or the first discrete one
    action_high   highest native value of each continuous action (A,), or the last discrete one
    obs_start     the first native value of a discrete observation
    """

    obs_kind: Literal["vector", "image", "discrete"]
    obs_shape: tuple[int, ...]
    action_kind: Literal["discrete", "continuous"]
    action_size: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    obs_start: int = 0

    @property
    def obs_dtype(self) -> np.dtype[Any]:
        """How observations are kept in memory."""
        return np.dtype(np.uint8 if self.obs_kind == "image" else np.float32)

    def encode_obs(self, native: Any) -> Array:
        """N observations as the environment returns them -> (N, O) float32 or (N, H, W, C) uint8."""
        if self.obs_kind == "discrete":
            one_hot: Array = np.eye(self.obs_shape[0], dtype=np.float32)
            index: Array = np.asarray(native, int).reshape(-1) - self.obs_start
            if (index < 0).any():
                raise IndexError(f"observation {np.asarray(native)} lies below the first one, {self.obs_start}")
            return np.take(one_hot, index, axis=0)
        return np.asarray(native).reshape(-1, *self.obs_shape).astype(self.obs_dtype)

    def decode_action(self, action: Array) -> Array:
        """Actions (N, A) -> N actions as the environment wants them: integers (N,) or floats (N, A) within bounds."""
        low, high = np.asarray(self.action_low), np.asarray(self.action_high)
        if self.action_kind == "discrete":
            chosen: Array = action.argmax(-1) + int(low[0])
            return chosen
        scaled: Array = low + (np.clip(action, -1.0, 1.0) + 1.0) / 2.0 * (high - low)
        return np.clip(scaled, low, high)

    def __str__(self) -> str:
        """For error messages."""
        return f"{self.obs_kind} observations {self.obs_shape}, {self.action_size} {self.action_kind} actions"


@dataclass(frozen=True)
class Row:
    """What N environments returned, together, at one row.

    obs          (N, O) float32 or (N, H, W, C) uint8
    reward       (N,) float32, for the action before
    is_first     (N,) bool, an episode begins
    is_last      (N,) bool, an episode ends, for whatever reason
    is_terminal  (N,) bool, it ended because nothing more can be earned
    """

    obs: Array
    reward: Array
    is_first: Array
    is_last: Array
    is_terminal: Array
