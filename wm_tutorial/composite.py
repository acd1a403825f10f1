"""Environments that return several things at once, or take several: dicts, tuples, and arrays of classes.

All other rooms know one observation and one action. This one stands between them and the many:

observation  Each part has the encoder and the decoder it would have if it were all there is. The embeddings are joined,
             and the decoder's losses, named decoder/camera, add up. From the environment to the encoder all parts of a
             row lie in one record, as the bytes they are: rows, replay, batches and checkpoints stay arrays, which need
             not know how many parts there are, and an image takes no more room than its pixels.
action       One vector, which the dynamics see as they see any: the parts side by side, classes one-hot and numbers
             brought to -1..1. Given the state every part is chosen on its own, so the policy factorises:
             log-probabilities and entropies of its factors add up.

Parts follow each other as Gymnasium's spaces list them: a Dict made of a plain dict is sorted by its keys.

Sources: danijar/dreamerv3 `dreamerv3/rssm.py`, Encoder and Decoder, which have one network for all vectors and one for
all images; `embodied/jax/heads.py`, DictHead. PufferAI/PufferLib `pufferlib/emulation.py` packs observations so, too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from wm_tutorial.config import Config
from wm_tutorial.data import Array, Factor, Spaces
from wm_tutorial.encoder import make_encoder
from wm_tutorial.errors import InputError
from wm_tutorial.heads import Image, OneOf, SymlogVector, make_decoder

Keys: TypeAlias = tuple[str | int, ...]

# --- Spaces -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """One of the things that are observed at once, or done at once.

    path     where it lies: keys of dicts, places in tuples; () for the only one
    kind     observed are vectors, images and discrete numbers; done are continuous and discrete ones
    shape    as the environment has it; () for one number
    classes  of discrete numbers, how many values each may have
    low      the lowest value of each discrete or continuous number
    high     the highest
    dtype    of the numbers as the environment has them

    Raises ValueError if these do not fit together.
    """

    path: Keys
    kind: Literal["vector", "image", "discrete", "continuous"]
    shape: tuple[int, ...]
    classes: tuple[int, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    dtype: str = "float32"

    def __post_init__(self) -> None:
        bounds = self.numbers if self.kind in ("discrete", "continuous") else 0
        counts = self.numbers if self.kind == "discrete" else 0
        fits = (len(self.classes), len(self.low), len(self.high)) == (counts, bounds, bounds)
        if not fits or min((*self.shape, *self.classes), default=1) < 1 or np.dtype(self.dtype).kind not in "biuf":
            raise ValueError(f"{self} does not fit together")

    @property
    def name(self) -> str:
        """For losses, titles and errors: `arm/camera`; empty for the only one."""
        return "/".join(map(str, self.path))

    @property
    def numbers(self) -> int:
        """How many numbers the environment gives or takes."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """How many numbers the networks see of it: of each discrete one as many as it has classes."""
        return sum(self.classes) if self.classes else self.numbers

    @property
    def factors(self) -> tuple[Factor, ...]:
        """What is chosen independently of each other, where it is an action."""
        if self.kind == "discrete":
            return tuple(("discrete", classes) for classes in self.classes)
        return (("continuous", self.size),)

    @cached_property
    def alone(self) -> Spaces:
        """The spaces of an environment that has nothing else to observe, or nothing else to be done."""
        match self.kind:
            case "continuous":
                return Spaces("vector", (1,), "continuous", self.size, self.low, self.high)
            case "image":
                return _observing("image", (*self.shape, 1)[:3], self.shape)
            case "discrete":
                return _observing("discrete", (self.size,), ())
        return _observing("vector", (self.size,), self.shape)

    @property
    def stored(self) -> tuple[Any, tuple[int, ...]]:
        """Type and shape in which an observation is kept: classes are kept as numbers, not as one-hot."""
        if self.kind == "discrete":
            return np.int32, (self.numbers,)
        return self.alone.obs_dtype, self.alone.obs_shape

    def encode(self, native: Sequence[Any]) -> Array:
        """N observations as the environment returns them -> as they are kept, (N, ...).

        Raises:
            InputError: for one of another shape or type, or out of range, as `Spaces.encode_obs` does.
        """
        if self.kind != "discrete":
            return self.alone.encode_obs(native)
        _observing("vector", (self.numbers,), self.shape).encode_obs(native)  # only asked whether they are numbers
        numbers = np.stack([np.asarray(obs, np.float64).reshape(-1) for obs in native])  # (N, numbers)
        wrong = (numbers < self.low) | (numbers > self.high) | (numbers != np.floor(numbers))
        if wrong.any():
            row, i = np.argwhere(wrong)[0]
            low, high = self.low[i], self.high[i]
            raise InputError(
                f"the observation {numbers[row, i]:.6g}; it must be a whole number from {low:g} to {high:g}."
            )
        return (numbers - self.low).astype(np.int32)

    def one_hot(self, stored: Tensor) -> Tensor:
        """Discrete numbers as they are kept, (..., numbers) -> one-hot vectors side by side, (..., O)."""
        before = torch.tensor([0, *self.classes[:-1]], device=stored.device).cumsum(0)
        hot = torch.zeros(*stored.shape[:-1], self.size, device=stored.device)
        return hot.scatter_(-1, stored + before, 1.0)

    def decode(self, action: Array) -> Array:
        """Of actions (N, A), what belongs to this part -> the numbers (N, ...) that the environment wants."""
        if self.kind == "continuous":
            return self.alone.decode_action(action)
        each = np.split(action, np.cumsum(self.classes[:-1]), axis=-1)
        numbers: Array = np.stack([one.argmax(-1) for one in each], axis=-1) + np.array(self.low)
        return numbers

    def __str__(self) -> str:
        """For error messages."""
        classes = f" of {self.classes} classes" if self.classes else ""
        return f"{self.name or 'one'} ({self.kind} {self.shape}{classes})"


@dataclass(frozen=True)
class CompositeSpaces(Spaces):
    """Spaces of several parts, of which an observation is one record of bytes; make them with `of`.

    An observation (N, O) is uint8, where O counts the bytes of all its parts; `unpack` has the parts again.

    obs_parts     what is observed at once
    action_parts  what is done at once
    """

    obs_parts: tuple[Part, ...] = ()
    action_parts: tuple[Part, ...] = ()

    @classmethod
    def of(cls, obs_parts: Sequence[Part], action_parts: Sequence[Part]) -> Self:
        """Spaces of these parts.

        Raises:
            InputError: if there are none, or two have one name.
        """
        for what, parts in (("observations", obs_parts), ("actions", action_parts)):
            names = [part.name for part in parts]
            if len({*names}) < max(1, len(names)) or ("" in names and len(names) > 1):
                raise InputError(f"The {what} have the parts {names}; there must be at least one, each with its name.")
        return cls(
            obs_kind="composite",
            obs_shape=(_record(obs_parts).itemsize,),
            action_kind="composite",
            action_size=sum(part.size for part in action_parts),
            action_low=tuple(low for part in action_parts for low in part.low),
            action_high=tuple(high for part in action_parts for high in part.high),
            obs_parts=tuple(obs_parts),
            action_parts=tuple(action_parts),
        )

    @property
    def obs_dtype(self) -> np.dtype[Any]:
        """How observations are kept in memory."""
        return np.dtype(np.uint8)

    @property
    def factors(self) -> tuple[Factor, ...]:
        """What is chosen independently of each other, in the order of an action's numbers."""
        return tuple(factor for part in self.action_parts for factor in part.factors)

    def encode_obs(self, native: Sequence[Any]) -> Array:
        """N observations as the environment returns them -> (N, O) uint8, as `Spaces.encode_obs`."""
        return self._packed([[_found(obs, part.path) for obs in native] for part in self.obs_parts])

    def encode_given(self, obs: Any) -> tuple[Array, bool]:
        """One observation, or each part of it of N stacked -> (1 or N, O), and whether it was N."""
        parts = [_found(obs, part.path) for part in self.obs_parts]
        first, shape = self.obs_parts[0], np.shape(parts[0])
        many = shape != first.shape and shape[1:] == first.shape
        if many and {np.shape(part)[:1] for part in parts} != {shape[:1]}:
            raise InputError(f"parts of {[len(np.atleast_1d(part)) for part in parts]} observations.")
        return self._packed([list(part) if many else [part] for part in parts]), many

    def _packed(self, columns: list[list[Any]]) -> Array:
        """N observations of each part -> (N, O)."""
        packed = np.zeros(len(columns[0]), _record(self.obs_parts))
        for i, (part, column) in enumerate(zip(self.obs_parts, columns, strict=True)):
            try:
                packed[str(i)] = part.encode(column)
            except InputError as error:
                raise InputError(f"under {part.name!r} {error}" if part.path else str(error)) from error
        return packed.view(np.uint8).reshape(len(packed), -1)

    def unpack(self, obs: Tensor) -> list[Tensor]:
        """Observations (..., O) -> what its encoder sees of each part: (..., size), or images (..., H, W, C) uint8."""
        fields: Any = _record(self.obs_parts).fields
        parts = []
        for i, part in enumerate(self.obs_parts):
            field, begin = fields[str(i)][:2]
            bytes_ = obs[..., begin : begin + field.itemsize].contiguous()
            numbers = bytes_.view(getattr(torch, field.base.name)).reshape(*obs.shape[:-1], *field.shape)
            parts.append(part.one_hot(numbers) if part.kind == "discrete" else numbers)
        return parts

    def shown(self, obs: Tensor) -> Tensor:
        """Of observations (..., O) what a dream is drawn of: the first image, or all numbers side by side if none."""
        return self.first_image(self.unpack(obs))

    def first_image(self, parts: Sequence[Tensor]) -> Tensor:
        """The first image among tensors of all parts; all of them side by side if none is an image."""
        images = [x for part, x in zip(self.obs_parts, parts, strict=True) if part.kind == "image"]
        return images[0] if images else torch.cat(list(parts), -1)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the numbers that `shown` shows; empty for an image."""
        if any(part.kind == "image" for part in self.obs_parts):
            return ()
        entries = [(part.name or "entry", i, part.size) for part in self.obs_parts for i in range(part.size)]
        return tuple(f"{name} {i}" if size > 1 else name for name, i, size in entries)

    def decode_action(self, action: Array) -> Array:
        """Actions (N, A) -> the numbers of N actions side by side, (N, ...) float64; `structured` orders them."""
        each = np.split(action, np.cumsum([part.size for part in self.action_parts[:-1]]), axis=-1)
        numbers = [part.decode(one) for part, one in zip(self.action_parts, each, strict=True)]
        return np.concatenate(numbers, axis=-1, dtype=np.float64)

    def structured(self, native: Array) -> Any:
        """The numbers of one action -> the structure that the environment takes; of N (N, ...) -> each part stacked."""
        each = np.split(native, np.cumsum([part.numbers for part in self.action_parts[:-1]]), axis=-1)
        placed = [
            (part.path, numbers.reshape((*native.shape[:-1], *part.shape)).astype(part.dtype)[()])
            for part, numbers in zip(self.action_parts, each, strict=True)
        ]
        return _nested(placed)

    def __str__(self) -> str:
        """For error messages."""
        observed, done = (", ".join(map(str, parts)) for parts in (self.obs_parts, self.action_parts))
        return f"observations {observed}; actions {done}"


def _observing(kind: Literal["vector", "image", "discrete"], shape: tuple[int, ...], native: tuple[int, ...]) -> Spaces:
    """Spaces of which only the observation is meant; the action is any."""
    return Spaces(kind, shape, "discrete", 1, (0.0,), (0.0,), native_shape=native)


def _record(parts: Sequence[Part]) -> np.dtype[Any]:
    """How all parts of an observation lie in memory, each at a place where numbers of its type can be read."""
    return np.dtype([(str(i), *part.stored) for i, part in enumerate(parts)], align=True)


def _found(obs: Any, path: Keys) -> Any:
    """What lies at `path` in a nest of dicts and tuples."""
    for key in path:
        try:
            obs = obs[key]
        except (KeyError, IndexError, TypeError) as error:
            raise InputError(f"an observation without {'/'.join(map(str, path))!r}.") from error
    return obs


def _nested(placed: Sequence[tuple[Keys, Any]]) -> Any:
    """Values and their paths -> the nest of dicts and tuples that they lie in."""
    if not placed[0][0]:
        return placed[0][1]
    below: dict[str | int, list[tuple[Keys, Any]]] = {}
    for (key, *rest), value in placed:
        below.setdefault(key, []).append((tuple(rest), value))
    nest = {key: _nested(inside) for key, inside in below.items()}
    return nest if isinstance(placed[0][0][0], str) else tuple(nest.values())


# --- Observations: one encoder and one decoder for each part ----------------------------------------------------------


class CompositeEncoder(nn.Module):
    """Each part through an encoder of its own, their embeddings side by side: (..., O) -> (..., E)."""

    def __init__(self, spaces: CompositeSpaces, config: Config) -> None:
        super().__init__()
        self.spaces = spaces
        each = [
            make_encoder(part.alone, config.hidden, config.layers, config.conv_depth, config.norm)
            for part in spaces.obs_parts
        ]
        self.encoders = nn.ModuleList(each)
        self.outputs = sum(encoder.outputs for encoder in each)

    def forward(self, obs: Tensor) -> Tensor:
        """(..., O) -> (..., E)."""
        parts = self.spaces.unpack(obs)
        return torch.cat([encoder(part) for encoder, part in zip(self.encoders, parts, strict=True)], -1)


@dataclass(frozen=True)
class EachOneOf:
    """Several predicted classes, independent of each other.

    logits   (..., O) of all classes side by side
    classes  how many belong to each
    """

    logits: Tensor
    classes: tuple[int, ...]

    @property
    def mean(self) -> Tensor:
        """The probability of each class, (..., O)."""
        return self._log_probabilities().exp()

    def loss(self, target: Tensor) -> Tensor:
        """Cross-entropy (...) in nats against one-hot targets side by side (..., O), summed."""
        return -(target * self._log_probabilities()).sum(-1)

    def _log_probabilities(self) -> Tensor:
        """(..., O). All at once: one row of a matrix for each, filled up with classes that are impossible."""
        rows, most = len(self.classes), max(self.classes)
        places = [row * most + i for row, classes in enumerate(self.classes) for i in range(classes)]
        filled = self.logits.new_full((*self.logits.shape[:-1], rows * most), -torch.inf)
        filled[..., places] = self.logits
        return torch.log_softmax(filled.reshape(*filled.shape[:-1], rows, most), -1).flatten(-2)[..., places]


@dataclass(frozen=True)
class Reconstruction:
    """A predicted observation of several parts.

    spaces  whose parts they are
    parts   the prediction of each
    """

    spaces: CompositeSpaces
    parts: tuple[SymlogVector | OneOf | EachOneOf | Image, ...]

    @property
    def mean(self) -> Tensor:
        """What a dream is drawn of: the first image (..., H, W, C) in 0..1, or all numbers side by side if none."""
        return self.spaces.first_image([part.mean for part in self.parts])

    def losses(self, target: Tensor) -> dict[str, Tensor]:
        """How far each part is from that of observations (..., O): a loss (...) under the name of each."""
        named = zip(self.spaces.obs_parts, self.parts, self.spaces.unpack(target), strict=True)
        return {f"decoder/{part.name}".rstrip("/"): predicted.loss(seen) for part, predicted, seen in named}


class CompositeDecoder(nn.Module):
    """Features (..., D + Z) to every part of the observation, each by a decoder of its own."""

    def __init__(self, spaces: CompositeSpaces, config: Config, memory: int, latent: int) -> None:
        super().__init__()
        self.spaces = spaces
        self.decoders = nn.ModuleList(make_decoder(part.alone, config, memory, latent) for part in spaces.obs_parts)

    def forward(self, feature: Tensor) -> Reconstruction:
        """(..., D + Z) -> the prediction of each part."""
        predicted = [decoder(feature) for decoder in self.decoders]
        several = [
            EachOneOf(prediction.logits, part.classes) if len(part.classes) > 1 else prediction
            for part, prediction in zip(self.spaces.obs_parts, predicted, strict=True)
        ]
        return Reconstruction(self.spaces, tuple(several))


# --- Actions: the policy factorises -----------------------------------------------------------------------------------


class Chosen(Protocol):
    """A distribution over one factor of an action, (..., its size)."""

    @property
    def mode(self) -> Tensor: ...  # noqa: D102

    def sample(self) -> Tensor: ...  # noqa: D102

    def rsample(self) -> Tensor: ...  # noqa: D102

    def log_prob(self, value: Tensor) -> Tensor: ...  # noqa: D102

    def entropy(self) -> Tensor: ...  # noqa: D102


@dataclass(frozen=True)
class Joint:
    """Independent distributions, whose samples lie side by side.

    factors  the distributions
    sizes    how many numbers of an action belong to each
    """

    factors: tuple[Chosen, ...]
    sizes: tuple[int, ...]

    @property
    def mode(self) -> Tensor:
        """The most likely action, (..., A)."""
        return torch.cat([factor.mode for factor in self.factors], -1)

    def sample(self) -> Tensor:
        """An action (..., A), without gradient."""
        return torch.cat([factor.sample() for factor in self.factors], -1)

    def rsample(self) -> Tensor:
        """An action (..., A) that passes its gradient on to the distributions."""
        return torch.cat([factor.rsample() for factor in self.factors], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability, or log-density, (...) of actions (..., A): the sum over all factors."""
        each = zip(self.factors, torch.split(value, list(self.sizes), -1), strict=True)
        return torch.stack([factor.log_prob(one) for factor, one in each]).sum(0)

    def entropy(self) -> Tensor:
        """Entropy (...) in nats: the sum over all factors."""
        return torch.stack([factor.entropy() for factor in self.factors]).sum(0)
