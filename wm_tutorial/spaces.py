"""Which spaces are accepted, what the networks must know of them, and what to do about the others."""

import warnings
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces as gym_spaces

from wm_tutorial.composite import CompositeSpaces, Keys, Part
from wm_tutorial.data import Spaces
from wm_tutorial.errors import CheckpointError, InputError

# Sizes that tell images from other arrays: a picture has at least so many pixels a side, and at most so many channels.
SMALLEST_SIDE, MOST_CHANNELS = 8, 16
LARGEST_IMAGE = 128 * 128  # pixels; an update on Atari's 210 x 160 takes 17 seconds of a CPU


def describe(obs_space: gym.Space[Any], action_space: gym.Space[Any]) -> Spaces:
    """What the networks must know about these spaces.

    One Box or Discrete on each side makes `Spaces`; with a Dict, Tuple, MultiDiscrete or MultiBinary on any side they
    are `CompositeSpaces`.

    Raises:
        InputError: for any other space, and for images that would be misread: floats, channels first, a stack of
            frames. The message has the wrapper that mends it.
    """
    several = (gym_spaces.Dict, gym_spaces.Tuple, gym_spaces.MultiDiscrete, gym_spaces.MultiBinary)
    if isinstance(obs_space, several) or isinstance(action_space, several):
        observed = [_observed(path, space) for path, space in _leaves(obs_space)]
        return CompositeSpaces.of(observed, [_done(path, space) for path, space in _leaves(action_space)])
    return Spaces(**_describe_observations(obs_space), **_describe_actions(action_space))


def check_actions(space: gym.Space[Any], actions: Any) -> None:
    """Raise CheckpointError unless a file holds a list of actions of this space, as plain numbers."""
    for action in actions if isinstance(actions, list) else [None]:
        numbers = action if isinstance(action, list) else [action]  # not nested: that could be of any size
        flat = {type(number) for number in numbers} <= {int, float}
        if not flat or not np.array_equal(taken := np.asarray(action, space.dtype), np.asarray(action)):
            raise CheckpointError(f"{action!s:.200} is no action of this environment")
        if not space.contains(taken):
            raise CheckpointError(f"{action!s:.200} is no action of this environment")


def warn_of_large_images(spaces: Spaces) -> None:
    """Say before learning begins that it will be slow, and what helps."""
    parts, does = [spaces], "ResizeObservation(env, (64, 64))"
    if isinstance(spaces, CompositeSpaces):
        parts, does = [part.alone for part in spaces.obs_parts], "TransformObservation, for that part"
    for height, width in {part.obs_shape[:2] for part in parts if part.obs_kind == "image"}:
        if height * width > LARGEST_IMAGE:
            warnings.warn(
                f"The images have {height} x {width} pixels: each update takes {height * width / 64**2:.0f} times as "
                "long as with 64 x 64, and as much more memory. Make them smaller: "
                f"gymnasium.wrappers.{does}.",
                stacklevel=3,
            )


def _leaves(space: gym.Space[Any], path: Keys = ()) -> Iterator[tuple[Keys, gym.Space[Any]]]:
    """The spaces that dicts and tuples are made of, each with the way to it."""
    inside: list[tuple[Any, gym.Space[Any]]]
    match space:
        case gym_spaces.Dict():
            inside = list(space.spaces.items())
        case gym_spaces.Tuple():
            inside = list(enumerate(space.spaces))
        case _:
            yield path, space
            return
    if not inside or (isinstance(space, gym_spaces.Dict) and not all(isinstance(key, str) for key, _ in inside)):
        raise InputError(
            f"The space {space} has the keys {[key for key, _ in inside]}; there must be at least one, and those of a "
            "Dict must be text."
        )
    for key, part in inside:
        yield from _leaves(part, (*path, key))


def _observed(path: Keys, space: gym.Space[Any]) -> Part:
    if part := _classes(path, space):
        return part
    told = _describe_observations(space, path)
    return Part(path, told["obs_kind"], space.shape or ())


def _done(path: Keys, space: gym.Space[Any]) -> Part:
    if part := _classes(path, space):
        return part
    told = _describe_actions(space, path)
    return Part(path, "continuous", space.shape or (), (), told["action_low"], told["action_high"], str(space.dtype))


def _classes(path: Keys, space: gym.Space[Any]) -> Part | None:
    """A part of discrete numbers; None if the space is another one. What is yes or no is a class of two."""
    counts: Any
    start: Any
    match space:
        case gym_spaces.Discrete():
            counts, start = [space.n], [space.start]
        case gym_spaces.MultiDiscrete():
            counts, start = space.nvec.reshape(-1), space.start.reshape(-1)
        case gym_spaces.MultiBinary():
            counts, start = np.full(np.prod(space.shape), 2), np.zeros(np.prod(space.shape))
        case _:
            return None
    low, high = np.array(start, float), np.array(start, float) + counts - 1.0
    classes = tuple(map(int, counts))
    return Part(
        path, "discrete", space.shape or (), classes, tuple(low.tolist()), tuple(high.tolist()), str(space.dtype)
    )


def _describe_observations(space: gym.Space[Any], path: Keys = ()) -> dict[str, Any]:
    """The half of `Spaces` that is observed, of one space; `path` is where it lies in a Dict or Tuple."""
    match space:
        case gym_spaces.Discrete():
            return {
                "obs_kind": "discrete", "obs_shape": (int(space.n),), "obs_start": int(space.start), "native_shape": ()
            }  # fmt: skip
        case gym_spaces.Box() if 0 in space.shape or np.dtype(space.dtype).kind not in "biuf":
            pass
        case gym_spaces.Box():
            if mended := _mended(space, path):
                raise InputError(mended)
            is_image = space.dtype == np.uint8 and len(space.shape) in (2, 3)
            return {
                "obs_kind": "image" if is_image else "vector",
                "obs_shape": (*space.shape, 1)[:3] if is_image else (int(np.prod(space.shape)),),
                "native_shape": space.shape,
            }
    raise InputError(
        f"The observation space{_under(path)} is {space}; accepted are Box of at least one number (vectors, or uint8 "
        "images of height x width x channels), Discrete, MultiDiscrete, MultiBinary, and Dict and Tuple of these. "
        f"{_way_out(space, path)}"
    )


def _way_out(space: gym.Space[Any], path: Keys) -> str:
    """How a space that is not understood becomes one that is."""
    keeps = f"; or gymnasium.wrappers.FilterObservation keeps what lies beside {path[0]!r}" if path else ""
    match space:
        case gym_spaces.Text():
            seen = "env.observation_space" + _indexed(path)
            change = f"gymnasium.spaces.flatten({seen}, {{}})"
            does = _transformation(path, change, f"gymnasium.spaces.flatten_space({seen})")
            return f"{does} writes its characters as numbers{keeps}."
        case gym_spaces.Sequence():
            does = "fill it up to its greatest length"
        case gym_spaces.Graph():
            does = "write its nodes and edges as arrays, filled up to their greatest number"
        case _:
            does = "bring it into that form"
    return f"A gymnasium.wrappers.TransformObservation can {does}{keeps}."


def _transformation(path: Keys, change: str, space: str) -> str:
    """Code that changes what lies at `path` of an observation, `{}` in `change`, and all else stays."""

    def replaced(nest: str, spaces: str, way: Keys, inner: str) -> str:
        if not way:
            return inner
        key, rest = way[0], way[1:]
        each = f"{nest}{spaces}"
        inner = replaced(f"{nest}[{key!r}]", spaces, rest, inner)
        if isinstance(key, str):
            nested = f"{{**{each}, {key!r}: {inner}}}"
        else:
            nested = f"(*{each}[:{key}], {inner}, *{each}[{key + 1}:])"
        kind = "Dict" if isinstance(key, str) else "Tuple"
        return f"gymnasium.spaces.{kind}({nested})" if spaces else nested

    changed = replaced("obs", "", path, change.format("obs" + _indexed(path)))
    described = replaced("env.observation_space", ".spaces", path, space)
    return f"gymnasium.wrappers.TransformObservation(env, lambda obs: {changed}, {described})"


def _indexed(path: Keys) -> str:
    return "".join(f"[{key!r}]" for key in path)


def _under(path: Keys) -> str:
    return f" under {'/'.join(map(str, path))!r}" if path else ""


def _mended(space: gym_spaces.Box, path: Keys = ()) -> str:
    """What is wrong with a Box that would be misread, and the wrapper that mends it; empty if nothing is."""
    shape, is_bytes = space.shape, space.dtype == np.uint8
    if len(shape) < 2 or not (is_bytes or _is_picture(space)):
        return ""
    steps, change, said = shape, "{}", []
    if len(shape) == 4:
        said.append("a stack of images; the frames of a stack must be channels of one image")
        steps, change = (*shape[1:3], shape[0] * shape[3]), "np.concatenate({}, axis=-1)"
    elif len(shape) > 4:
        return (
            f"The observation space{_under(path)} is {space}, of {len(shape)} axes; an image has height, width and "
            "channels."
        )
    elif len(shape) == 3 and shape[0] < min(shape[1:]) and shape[0] <= MOST_CHANNELS:
        said.append("read as height x width x channels, and looks like an image with its channels first")
        steps, change = (*shape[1:], shape[0]), "np.moveaxis({}, 0, -1)"
    if not is_bytes or space.high.max() <= 1:
        said.append("not of whole numbers from 0 to 255, as the pixels of images are")
        change = f"({_as_bytes(space, change)}).astype(np.uint8)"
    if not said:
        return ""
    vector = "np.ravel can make a vector of it" if path else "gymnasium.wrappers.FlattenObservation(env) makes a vector"
    way_out = "" if is_bytes else f" If it is no image, {vector}{' in the same way' if path else ' of it'}."
    does = _transformation(path, change, f"gymnasium.spaces.Box(0, 255, {tuple(map(int, steps))}, np.uint8)")
    return (
        f"The observation space{_under(path)} is {_short(space)}: {', and '.join(said)}. {does} turns it into one that "
        f"is understood.{way_out}"
    )


def _is_picture(space: gym_spaces.Box) -> bool:
    """Whether numbers that are no bytes look like an image: two neighbouring axes that are long enough for one."""
    shape, high = space.shape, float(space.high.max())
    if len(shape) == 2:  # as likely a table: only what has the range of pixels
        return min(shape) >= 2 * SMALLEST_SIDE and float(space.low.min()) == 0.0 and high in (1.0, 255.0)
    return any(min(pair) >= SMALLEST_SIDE for pair in pairwise(shape))


def _as_bytes(space: gym_spaces.Box, change: str) -> str:
    """Code that brings pixels to 0..255."""
    low, high = float(space.low.min()), float(space.high.max())
    if not np.isfinite([low, high]).all():
        low, high = 0.0, 1.0  # nobody knows; it is most often so
    if (low, high) == (0.0, 255.0):
        return change
    shifted = f"({change} - {low:g})" if low else change
    return f"{255.0 / (high - low):g} * {shifted}"


def _short(space: gym_spaces.Box) -> str:
    """A Box of many numbers in a few words."""
    return f"Box({space.low.min():g}, {space.high.max():g}, {space.shape}, {space.dtype})"


def _describe_actions(space: gym.Space[Any], path: Keys = ()) -> dict[str, Any]:
    match space:
        case gym_spaces.Discrete():
            first, last = float(space.start), float(space.start + space.n - 1)
            return {
                "action_kind": "discrete",
                "action_size": int(space.n),
                "action_low": (first,),
                "action_high": (last,),
            }
        case gym_spaces.Box(shape=(size,)) if size and space.is_bounded() and np.issubdtype(space.dtype, np.floating):
            low, high = tuple(map(float, space.low)), tuple(map(float, space.high))
            return {"action_kind": "continuous", "action_size": len(low), "action_low": low, "action_high": high}
    raise InputError(
        f"The action space{_under(path)} is {space}; accepted are Discrete, and Box of one axis of floats with finite "
        "bounds, MultiDiscrete, MultiBinary, and Dict and Tuple of these. "
        "A gymnasium.wrappers.TransformAction can bring yours into that form."
    )
