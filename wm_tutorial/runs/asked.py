"""What people may ask for: paths, whole numbers, and runs in which something is learned."""

import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from wm_tutorial.checkpoint import user_path
from wm_tutorial.config import LARGEST_SEED, Config, integers
from wm_tutorial.errors import InputError


def path_of(path: Any) -> Path:
    """The folder that was given, with ~ for the home of the user.

    Raises:
        InputError: if it is empty, or no path.
    """
    try:
        if path == "":
            raise InputError("The path is ''.")
        return user_path(path)
    except InputError as error:
        raise InputError(f"{error} Here, give a folder, such as 'runs/mine'.") from error


def whole_number(name: str, value: Any, least: int = -LARGEST_SEED) -> int:
    """`value` as an int, of NumPy or Python.

    Raises:
        InputError: if it is none (text, a fraction, True), below `least`, or beyond 2**63 - 1.
    """
    (number,) = integers(**{name: value})
    if not least <= number <= LARGEST_SEED:
        low = f"from {least} " if least > -LARGEST_SEED else ""
        raise InputError(f"{name} is {number}; it must be a whole number {low}up to 2**63 - 1.")
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
