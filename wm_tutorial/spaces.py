"""Which spaces are accepted, what the networks must know of them, and what to do about the others."""

import warnings
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces as gym_spaces

from wm_tutorial.data import Spaces
from wm_tutorial.errors import InputError

# Sizes that tell images from other arrays: a picture has at least so many pixels a side, and at most so many channels.
SMALLEST_SIDE, MOST_CHANNELS = 8, 16
LARGEST_IMAGE = 128 * 128  # pixels; an update on Atari's 210 x 160 takes 17 seconds of a CPU


def describe(obs_space: gym.Space[Any], action_space: gym.Space[Any]) -> Spaces:
    """What the networks must know about these spaces.

    Raises:
        InputError: for any space other than Box and Discrete, and for images that would be misread: floats, channels
            first, a stack of frames. The message has the wrapper that mends it.
    """
    return Spaces(**_describe_observations(obs_space), **_describe_actions(action_space))


def warn_of_large_images(spaces: Spaces) -> None:
    """Say before learning begins that it will be slow, and what helps."""
    height, width, *_ = (*spaces.obs_shape, 1)
    if spaces.obs_kind == "image" and height * width > LARGEST_IMAGE:
        warnings.warn(
            f"The images have {height} x {width} pixels: each update takes {height * width / 64**2:.0f} times as long "
            "as with 64 x 64, and as much more memory. Make them smaller: "
            "gymnasium.wrappers.ResizeObservation(env, (64, 64)).",
            stacklevel=3,
        )


def _describe_observations(space: gym.Space[Any]) -> dict[str, Any]:
    match space:
        case gym_spaces.Discrete():
            return {
                "obs_kind": "discrete", "obs_shape": (int(space.n),), "obs_start": int(space.start), "native_shape": ()
            }  # fmt: skip
        case gym_spaces.Box() if 0 in space.shape or np.dtype(space.dtype).kind not in "biuf":
            pass
        case gym_spaces.Box():
            if mended := _mended(space):
                raise InputError(mended)
            is_image = space.dtype == np.uint8 and len(space.shape) in (2, 3)
            return {
                "obs_kind": "image" if is_image else "vector",
                "obs_shape": (*space.shape, 1)[:3] if is_image else (int(np.prod(space.shape)),),
                "native_shape": space.shape,
            }
    raise InputError(
        f"The observation space is {space}; accepted are Discrete, and Box of at least one number (vectors, or uint8 "
        f"images of height x width x channels). {_way_out(space)}"
    )


def _way_out(space: gym.Space[Any]) -> str:
    """How a space that is no Box becomes one."""
    parts = space.spaces.items() if isinstance(space, gym_spaces.Dict) else ()
    if images := [name for name, part in parts if isinstance(part, gym_spaces.Box) and len(part.shape) > 1]:
        return (
            "gymnasium.wrappers.FlattenObservation would make one vector of it, images and all. Choose the image: "
            f"gymnasium.wrappers.TransformObservation(env, lambda obs: obs[{images[0]!r}], "
            f"env.observation_space[{images[0]!r}])."
        )
    return (
        "gymnasium.wrappers.FlattenObservation turns Dict, Tuple, MultiDiscrete and MultiBinary into a Box; of a Dict, "
        "gymnasium.wrappers.FilterObservation keeps some entries."
    )


def _mended(space: gym_spaces.Box) -> str:
    """What is wrong with a Box that would be misread, and the wrapper that mends it; empty if nothing is."""
    shape, is_bytes = space.shape, space.dtype == np.uint8
    if len(shape) < 2 or not (is_bytes or _is_picture(space)):
        return ""
    steps, change, said = shape, "obs", []
    if len(shape) == 4:
        said.append("a stack of images; the frames of a stack must be channels of one image")
        steps, change = (*shape[1:3], shape[0] * shape[3]), "np.concatenate(obs, axis=-1)"
    elif len(shape) > 4:
        return f"The observation space is {space}, of {len(shape)} axes; an image has height, width and channels."
    elif len(shape) == 3 and shape[0] < min(shape[1:]) and shape[0] <= MOST_CHANNELS:
        said.append("read as height x width x channels, and looks like an image with its channels first")
        steps, change = (*shape[1:], shape[0]), "np.moveaxis(obs, 0, -1)"
    if not is_bytes or space.high.max() <= 1:
        said.append("not of whole numbers from 0 to 255, as the pixels of images are")
        change = f"({_as_bytes(space, change)}).astype(np.uint8)"
    if not said:
        return ""
    way_out = "" if is_bytes else " If it is no image, gymnasium.wrappers.FlattenObservation(env) makes a vector of it."
    return (
        f"The observation space is {_short(space)}: {', and '.join(said)}. gymnasium.wrappers.TransformObservation("
        f"env, lambda obs: {change}, gymnasium.spaces.Box(0, 255, {tuple(map(int, steps))}, np.uint8)) "
        f"turns it into one that is understood.{way_out}"
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


def _describe_actions(space: gym.Space[Any]) -> dict[str, Any]:
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
        f"The action space is {space}; accepted are Discrete, and Box of one axis of floats with finite bounds. "
        "A gymnasium.wrappers.TransformAction can bring yours into that form."
    )
