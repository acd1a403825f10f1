"""How a class is graded: the seed of the hidden variants, limits, and what each exercise is worth. One TOML file."""

import dataclasses
import re
import secrets
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wm_tutorial.checkpoint import write_text
from wm_tutorial.errors import InputError
from wm_tutorial.grade.sandbox import Limits

TEXT = """\
# How `wm-tutorial grade` grades. Change it, and run the same command again: only what is affected runs once more.

# Of the hidden variants. Whoever knows it knows them: keep this file to yourself.
seed = {seed}

# Chapters that count, also for those who have not handed them in: ["04", "06"]. Empty: all that anybody handed in.
chapters = []

[limits] # for one exercise of one submission
seconds = {limits.seconds} # of computing
wait = {limits.wait} # seconds on the clock
memory = {limits.memory} # megabytes beyond Python and its libraries

[points]
each = 1 # for an exercise that is not named below
# "4.3" = 2
"""


@dataclass(frozen=True)
class Settings:
    """What the file says.

    seed      of the hidden variants
    chapters  two digits each; none for those that were handed in
    each      points of an exercise
    points    of those with other points, by number
    """

    seed: int
    chapters: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    each: float = 1.0
    points: dict[str, float] = field(default_factory=dict)

    def worth(self, number: str) -> float:
        """Points of the exercise with this number."""
        return self.points.get(number, self.each)


def read(path: Path) -> Settings:
    """The settings in a file, which is written with a new seed if there is none.

    Raises:
        InputError: if something in it is not what it must be.
    """
    if not path.exists():
        write_text(path, TEXT.format(seed=secrets.randbelow(2**48), limits=Limits()))
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}. Mend it, or remove it to begin with a new one.") from error
    known = {"seed", "chapters", "limits", "points"}
    if unknown := sorted(told.keys() - known):
        raise InputError(f"{path} has {unknown[0]!r}; it may have {', '.join(sorted(known))}.")
    points = _section(path, told, "points")
    each = points.pop("each", 1)
    numbers = {name: _number(path, name, value) for name, value in points.items()}
    if strange := [name for name in numbers if not re.fullmatch(r"\d+\.\d+", name)]:
        raise InputError(f'{path} gives points to {strange[0]!r}; write the number of an exercise, such as "4.3" = 2.')
    limits = _section(path, told, "limits")
    if strange := sorted(limits.keys() - {one.name for one in dataclasses.fields(Limits)}):
        raise InputError(f"{path} limits {strange[0]!r}; it may limit seconds, wait and memory.")
    whole = {name: _whole(path, name, value, 1) for name, value in limits.items()}
    return Settings(
        seed=_whole(path, "seed", told.get("seed"), 0),
        chapters=_chapters(path, told.get("chapters", [])),
        limits=Limits(**whole),
        each=_number(path, "each", each),
        points=numbers,
    )


def _section(path: Path, told: dict[str, Any], name: str) -> dict[str, Any]:
    section = told.get(name, {})
    if not isinstance(section, dict):
        raise InputError(f"{path}: [{name}] is a section with lines of its own, and here it is {section!r}.")
    return dict(section)


def _number(path: Path, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
        raise InputError(f"{path}: {name} is {value!r}; it must be a number of points, 0 or more.")
    return float(value)


def _whole(path: Path, name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{path}: {name} is {value!r}; it must be a whole number, {least} or more.")
    return value


def _chapters(path: Path, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and re.fullmatch(r"\d\d", one) for one in value):
        raise InputError(f'{path}: chapters is {value!r}; it must be a list of two digits each, such as ["04", "06"].')
    return tuple(value)
