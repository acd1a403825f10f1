"""The index convention, as data. Everything in this package agrees on it:

    row t of a sequence:   o_t  r_t  first_t  last_t  terminal_t   arrive together (what the environment returned)
                           a_t                                     chosen after seeing o_t

so r_t is the reward for a_{t-1}, and the first row of an episode has reward 0. `last` marks the end of an episode for
any reason; `terminal` only a true end, after which nothing more can be earned. A time limit is last, not terminal.

Spaces describe an environment; a Row is what environments returned, a Batch what the model learns from, a State what it
infers, a Trajectory what it imagines, and a Dream lies beside what happened. Nothing here knows how they come about.

Shape letters in comments: B batch, T sequence length, H horizon, N environments or imagined starts, A action size,
D deterministic size, Z latent size, F feature size, E embedding size, O observation size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_tutorial.errors import InputError

Array = NDArray[Any]
Factor: TypeAlias = tuple[Literal["discrete", "continuous"], int]  # the kind and size of what is chosen at once

# Seeds are lists of numbers; the first one keeps these apart, so that no evaluation repeats a training episode.
COLLECT, EVALUATE, DREAM = 0, 1, 2

FLOAT32_MAX = float(np.finfo(np.float32).max)

# --- What environments return -----------------------------------------------------------------------------------------


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
    native_shape  of an observation as the environment returns it; None if all that is known is `obs_shape`

    Of several observations or actions at once, both kinds are "composite": these are `composite.CompositeSpaces`.
    """

    obs_kind: Literal["vector", "image", "discrete", "composite"]
    obs_shape: tuple[int, ...]
    action_kind: Literal["discrete", "continuous", "composite"]
    action_size: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    obs_start: int = 0
    native_shape: tuple[int, ...] | None = field(default=None, compare=False)

    @property
    def obs_dtype(self) -> np.dtype[Any]:
        """How observations are kept in memory."""
        return np.dtype(np.uint8 if self.obs_kind == "image" else np.float32)

    @property
    def factors(self) -> tuple[Factor, ...]:
        """What is chosen independently of each other: here one action."""
        assert self.action_kind != "composite"
        return ((self.action_kind, self.action_size),)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the numbers of an observation; empty where they have none."""
        return ()

    def shown(self, obs: Tensor) -> Tensor:
        """Of observations (..., O) what a dream is drawn of: here all."""
        return obs

    def encode_obs(self, native: Sequence[Any]) -> Array:
        """N observations as the environment returns them -> (N, O) float32 or (N, H, W, C) uint8.

        Raises:
            InputError: for one of another shape, of numbers of another kind, or out of range. Nothing is converted that
                could mean something else: an image of floats in 0..1 would be black.
        """
        numbers = np.stack([self._numbers(obs) for obs in native])
        if self.obs_kind == "discrete":
            return one_hot(numbers.astype(int) - self.obs_start, self.obs_shape[0])
        return numbers.reshape(-1, *self.obs_shape).astype(self.obs_dtype)

    def encode_given(self, obs: Any) -> tuple[Array, bool]:
        """One observation, or N stacked -> (1 or N, ...), and whether it was N; raises as `encode_obs` does."""
        shape = np.shape(obs)
        many = shape != () and not self.has_shape(shape) and shape[0] > 0 and self.has_shape(shape[1:])
        return self.encode_obs(obs if many else [obs]), many

    def has_shape(self, shape: tuple[int, ...]) -> bool:
        """Whether one observation, as the environment returns it, may have this shape."""
        if self.obs_kind == "discrete":
            return shape == ()
        if self.native_shape is not None:
            return shape == self.native_shape
        return shape == self.obs_shape or (*shape, 1) == self.obs_shape

    def _numbers(self, obs: Any) -> Array:
        """One observation as an array, after a close look."""
        try:
            numbers = np.asarray(obs)
        except ValueError as error:
            raise InputError(f"an observation that is no array of numbers: {error}.") from error
        if not self.has_shape(numbers.shape):
            expected = () if self.obs_kind == "discrete" else self.native_shape or self.obs_shape
            raise InputError(f"an observation of shape {numbers.shape}; it must be of shape {expected}.")
        low, high, what, kinds = -FLOAT32_MAX, FLOAT32_MAX, "a number", "biuf"
        if self.obs_kind == "image":
            low, high, what, kinds = 0, 255, "whole numbers", "iu"
        elif self.obs_kind == "discrete":
            low, high, what = self.obs_start, self.obs_start + self.obs_shape[0] - 1, "a whole number"
        must = f"it must be {what} from {low:.6g} to {high:.6g}"
        if numbers.dtype.kind not in kinds:
            span = f", from {numbers.min():.3g} to {numbers.max():.3g}" if numbers.dtype.kind in "bf" else ""
            raise InputError(f"an observation of type {numbers.dtype}{span}; {must}.")
        with np.errstate(over="ignore"):  # what is too large for 64 bits becomes infinite
            wide = numbers if self.obs_kind == "image" else numbers.astype(np.float64)
        wrong = ~((low <= wide) & (wide <= high))  # infinities and numbers that are none lie in no range
        if self.obs_kind == "discrete":
            wrong |= wide != np.floor(wide)
        if wrong.any():
            raise InputError(f"the observation {numbers[wrong].flat[0]}; {must}.")
        return numbers

    def decode_action(self, action: Array) -> Array:
        """Actions (N, A) -> N actions as the environment wants them: integers (N,) or floats (N, A) within bounds."""
        if self.action_kind == "discrete":
            chosen: Array = action.argmax(-1) + int(self.action_low[0])
            return chosen
        low, high = np.asarray(self.action_low), np.asarray(self.action_high)
        share = ((np.clip(action, -1.0, 1.0) + 1.0) / 2.0).astype(np.float64)
        scaled: Array = low * (1.0 - share) + high * share  # high - low may be more than a number can say
        return np.clip(scaled, low, high)

    def structured(self, native: Array) -> Any:
        """One action that `decode_action` has decoded, or N, in the form that whoever acts is given."""
        return native.astype(np.float32) if self.action_kind == "continuous" else native

    def __str__(self) -> str:
        """For error messages."""
        return f"{self.obs_kind} observations {self.obs_shape}, {self.action_size} {self.action_kind} actions"


def one_hot(index: Array, size: int) -> Array:
    """Indices (N,) -> (N, size) float32, with a single 1 in each row."""
    rows = np.zeros((len(index), size), np.float32)
    rows[np.arange(len(index)), index] = 1.0
    return rows


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


# --- What the model infers, learns from, and imagines -----------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """The model's state s_t = (h_t, z_t).

    memory  (..., D)  h_t, the deterministic path; D = 0 for a model without memory
    latent  (..., Z)  z_t, a sample
    """

    memory: Tensor
    latent: Tensor

    @cached_property
    def feature(self) -> Tensor:
        """What heads, actor and critic see: (..., D + Z)."""
        return torch.cat([self.memory, self.latent], -1)

    @classmethod
    def split(cls, feature: Tensor, memory_size: int) -> Self:
        """The state (...) whose feature (..., D + Z) this is."""
        state = cls(*feature.tensor_split([memory_size], dim=-1))
        state.__dict__["feature"] = feature  # known already
        return state

    def __getitem__(self, index: object) -> Self:
        """Index the leading axes, as with a tensor."""
        return type(self)(self.memory[index], self.latent[index])  # type: ignore[index]

    def detach(self) -> Self:
        """The same numbers, through which no gradient flows."""
        return type(self)(self.memory.detach(), self.latent.detach())

    def flatten(self) -> Self:
        """Merge all leading axes into one."""
        return type(self)(self.memory.flatten(0, -2), self.latent.flatten(0, -2))


def stack(states: list[State], dim: int) -> State:
    """Stack states along a new axis."""
    return State(torch.stack([s.memory for s in states], dim), torch.stack([s.latent for s in states], dim))


@dataclass(frozen=True)
class Batch:
    """B sequences of T rows, cut out of the streams anywhere.

    obs              (B, T, O) float32 or (B, T, H, W, C) uint8
    action           (B, T, A)  a_t, chosen after seeing o_t
    previous_action  (B, T, A)  a_{t-1}, what led to row t
    reward           (B, T)     r_t, for a_{t-1}
    is_first         (B, T) bool
    is_last          (B, T) bool
    is_terminal      (B, T) bool
    start            (B)        the state the agent was in one row before the sequence
    """

    obs: Tensor
    action: Tensor
    previous_action: Tensor
    reward: Tensor
    is_first: Tensor
    is_last: Tensor
    is_terminal: Tensor
    start: State

    def rows(self, begin: int, end: int) -> "Batch":
        """Rows begin .. end-1; sequences keep their start, so `begin` must be 0 for it to be true."""
        cut = {f.name: getattr(self, f.name)[:, begin:end] for f in fields(self) if f.name != "start"}
        return replace(self, **cut)


@dataclass(frozen=True)
class Place:
    """Where the rows of a batch lie in the streams: stream (B,), and the age-independent row number (B, T)."""

    stream: Array
    number: Array


@dataclass(frozen=True)
class Trajectory:
    """H imagined steps from each of N starts. Column t of `state` is s_t; s_0 is the start.

    state      (N, H + 1)     s_0 .. s_H
    action     (N, H, A)      a_0 .. a_{H-1}: a_t is chosen in s_t and leads to s_{t+1}
    reward     (N, H)         r_1 .. r_H, on arriving in s_1 .. s_H
    continue_  (N, H + 1)     probability that the episode goes on after s_0 .. s_H
    """

    state: State
    action: Tensor
    reward: Tensor
    continue_: Tensor

    def discount(self, gamma: float) -> Tensor:
        """d_1 .. d_H = gamma times continue of the arriving state: (N, H)."""
        return gamma * self.continue_[:, 1:]

    def weight(self, gamma: float) -> Tensor:
        """How much each step counts, (N, H): the discounted probability that the episode still runs in s_0 .. s_{H-1}.

        Steps imagined after a predicted end, and starts that are themselves an end, count next to nothing.

        Source: danijar/dreamerv3 `dreamerv3/agent.py:402`.
        """
        start, later = self.continue_[:, :1], gamma * self.continue_[:, 1:-1]
        return torch.cumprod(torch.cat([start, later], dim=1), dim=1)


# --- A dream beside what happened -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Dream:
    """One real episode beside the model's open-loop prediction of it.

    obs                 (T, O) float32 in the environment's units, or (T, height, width, channels) uint8
    predicted_obs       (T, O), or (T, height, width, channels) in 0..1
    reward              (T,)  predicted_reward (T,)
    continue_           (T,)  1 - terminal; predicted_continue (T,) is a probability
    context             rows the model saw, 1..T-1: until then it reconstructs, from then on it knows only the actions
    environment         Gymnasium id
    names               of the O entries, with units; empty where there are none
    frames              (T, height, width, 3) uint8, what happened as the environment draws it; None where it cannot

    Raises InputError if the arrays do not fit together, hold something that is no finite number, or leave nothing to
    predict.
    """

    obs: Array
    predicted_obs: Array
    reward: Array
    predicted_reward: Array
    continue_: Array
    predicted_continue: Array
    context: int
    environment: str
    names: tuple[str, ...] = ()
    frames: Array | None = None

    def __post_init__(self) -> None:
        self._check_shapes()
        rows = len(self.obs)
        if not 1 <= self.context < rows:
            raise InputError(
                f"context is {self.context}; with {rows} rows give 1 to {rows - 1}: some are seen, some imagined"
            )
        for name in ("obs", "predicted_obs", "reward", "predicted_reward", "continue_", "predicted_continue"):
            if not np.isfinite(getattr(self, name)).all():
                raise InputError(f"{name} holds a value that is no finite number: look for where the model diverged")
        if self.is_image and not -0.01 <= self.predicted_obs.min() <= self.predicted_obs.max() <= 1.01:
            low, high = self.predicted_obs.min(), self.predicted_obs.max()
            raise InputError(
                f"predicted_obs spans {low:.3g} to {high:.3g}; predicted images lie in 0..1: divide by 255"
            )

    def _check_shapes(self) -> None:
        shape, is_uint8 = self.obs.shape, self.obs.dtype == np.uint8
        if len(shape) not in (2, 4) or shape[0] < 2 or 0 in shape or (self.is_image and not is_uint8):
            raise InputError(
                f"obs is {self.obs.dtype} of shape {shape}; give one episode of at least 2 rows, (T, O) for vectors or "
                "(T, height, width, channels) uint8 for images, without a batch axis"
            )
        if self.predicted_obs.shape != shape:
            raise InputError(f"predicted_obs has shape {self.predicted_obs.shape}, obs {shape}: give both alike")
        for name in ("reward", "predicted_reward", "continue_", "predicted_continue"):
            if (given := getattr(self, name).shape) != shape[:1]:
                raise InputError(f"{name} has shape {given}; obs has {shape[0]} rows: give ({shape[0]},)")
        if (frames := self.frames) is not None and (
            frames.dtype != np.uint8 or frames.ndim != 4 or (len(frames), frames.shape[-1]) != (len(self.obs), 3)
        ):
            raise InputError(
                f"frames is {frames.dtype} of shape {frames.shape}; give (T, height, width, 3) uint8, one of each of "
                f"the {len(self.obs)} rows, or None"
            )
        if self.names and (self.is_image or len(self.names) != shape[1]):
            raise InputError(
                f"names holds {len(self.names)} names and obs has shape {shape}; give one name for each entry "
                "of a vector, and none for images"
            )

    @property
    def is_image(self) -> bool:
        """Whether the observations are images."""
        return self.obs.ndim == 4

    @property
    def is_class(self) -> bool:
        """Whether the observations are one of O classes: one-hot, and predicted by probabilities."""
        if self.is_image or self.obs.shape[1] < 2:
            return False
        one_hot = ((self.obs == 0) | (self.obs == 1)).all() and (self.obs.sum(1) == 1).all()
        return bool(one_hot and self.predicted_obs.min() >= 0 and np.allclose(self.predicted_obs.sum(1), 1, atol=1e-3))

    @property
    def truth(self) -> Array:
        """`obs` in the units of `predicted_obs`: the same for vectors, 0..1 for images."""
        return self.obs / 255.0 if self.is_image else self.obs

    @property
    def persistence(self) -> Array:
        """The prediction that needs no model, of the shape of `truth`: the last row seen, held from then on."""
        return self.truth[np.minimum(np.arange(len(self.obs)), self.context - 1)]

    @property
    def model_error(self) -> Array:
        """Root mean squared error of each row over all entries or pixels, (T,), in the units of `truth`."""
        return _row_error(self.truth, self.predicted_obs)

    @property
    def persistence_error(self) -> Array:
        """The same for `persistence`; 0 in the context, where nothing is predicted. (T,)."""
        return _row_error(self.truth, self.persistence)


@dataclass(frozen=True, eq=False)
class Narrowing:
    """One search for a plan, iteration by iteration, beside what then happened: one number of each row.

    paths        (I, J, H + 1)  what J candidates of I iterations would lead to, from the row that is planned in on
    returns      (I, J)  what each would earn
    elites       (I, J) bool, which of them the plan was then refitted to
    happened     (L,)  what the agent met from the same row on, planning anew in each; at most H + 1 rows
    row          the row that is planned in
    name         of the number, with its unit
    environment  Gymnasium id

    Raises InputError if the arrays do not fit together, or hold something that is no finite number.
    """

    paths: Array
    returns: Array
    elites: Array
    happened: Array
    row: int
    name: str
    environment: str

    def __post_init__(self) -> None:
        shape, rows = self.paths.shape, self.happened.shape
        fits = len(shape) == 3 and 0 not in shape and self.returns.shape == self.elites.shape == shape[:2]
        if not fits or self.elites.dtype != np.bool_ or len(rows) != 1 or not 1 <= rows[0] <= shape[2]:
            raise InputError(
                f"paths {shape}, returns {self.returns.shape}, elites {self.elites.shape} ({self.elites.dtype}) and "
                f"happened {rows} do not fit: give (I, J, H + 1), (I, J), (I, J) bool, and (L,) of at most H + 1 rows"
            )
        for name in ("paths", "returns", "happened"):
            if not np.isfinite(getattr(self, name)).all():
                raise InputError(f"{name} holds a value that is no finite number: look for where the model diverged")


def _row_error(truth: Array, prediction: Array) -> Array:
    # in 64 bits: the square of 1e19 is no number in 32
    squared: Array = (prediction.astype(np.float64) - truth).reshape(len(truth), -1) ** 2
    error: Array = np.sqrt(squared.mean(axis=1))
    return error
