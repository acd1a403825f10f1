"""What people may ask for: paths, whole numbers, and runs in which something is learned."""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from operator import index
from pathlib import Path
from typing import Any

from wm_tutorial.config import Config
from wm_tutorial.errors import InputError

LARGEST = 2**63 - 1


def path_of(path: Any) -> Path:
    """The path that was given, with ~ for the home of the user.

    Raises:
        InputError: if it is empty, holds a character that no path has, or is something else.
    """
    told = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
    if not isinstance(told, str) or not told or "\0" in told:
        raise InputError(f"The path is {path!r}; give a folder, such as 'runs/mine'.")
    try:
        return Path(told).expanduser()
    except RuntimeError as error:
        raise InputError(f"The path is {told!r}, and that home folder is unknown here; write it out.") from error


def whole_number(name: str, value: Any, least: int = -LARGEST) -> int:
    """`value` as an int, of NumPy or Python.

    Raises:
        InputError: if it is none (text, a fraction, True), below `least`, or beyond 2**63 - 1.
    """
    try:
        number = index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or not least <= number <= LARGEST:
        low = f"from {least} " if least > -LARGEST else ""
        raise InputError(f"{name} is {value!r}; it must be a whole number {low}up to 2**63 - 1.")
    return number


def whole_numbers(name: str, values: Iterable[Any], least: int = 0) -> list[int]:
    """Several of them, each once; raises InputError for none, or if one is no whole number."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"{name} are {values!r}; give several whole numbers, such as (0, 1, 2).")
    numbers = list(dict.fromkeys(whole_number(name, value, least) for value in values))
    if not numbers:
        raise InputError(f"{name} are empty; give at least one whole number.")
    return numbers


def check_learns(config: Config) -> None:
    """Raise InputError for a run that would end before its first update, unless it asks for none."""
    if not config.updates_per_step:
        return
    most = config.steps + config.envs - 1  # the last step is one of all environments
    if (most - config.prefill) * config.updates_per_step < 1:
        raise InputError(
            f"steps is {config.steps} and prefill {config.prefill}: all steps would be random, and nothing learned. "
            f"Give more than {config.prefill + round(1 / config.updates_per_step)} steps, or a smaller prefill."
        )
    if 2 * most < config.envs * config.sequence_length:  # even if every second row were a reset
        raise InputError(
            f"steps is {config.steps}, in {config.envs} environments: none would see a sequence of sequence_length "
            f"{config.sequence_length}, and nothing be learned. Give at least {config.envs * config.sequence_length} "
            "steps, or shorter sequences."
        )


def tell(text: object) -> None:
    """Print a line at once. That nobody reads any more is no reason to end a run."""
    with suppress(OSError, ValueError):
        print(text, flush=sys.stdout is not None)
