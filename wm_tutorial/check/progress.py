"""The score of a reader: which exercises are right, tried, or still to be written, over all chapters.

from wm_tutorial import check
check.report("06")

A check itself writes nothing to disk: what it found is remembered until the kernel ends. `report` adds it to a small
file in the reader's home, plain text, a line for each exercise that was tried or got right, such as

    6.3 right 2026-05-04

Lines are only ever added, each in one piece, so that two notebooks at once cannot lose each other's. An exercise that
was right once stays right. The environment variable WM_TUTORIAL_PROGRESS names another file, or says "off".
"""

import os
import re
from datetime import date
from pathlib import Path
from typing import Any

from wm_tutorial.course.copy import folder_of_notebooks
from wm_tutorial.course.exercises import Exercise, exercises_in
from wm_tutorial.errors import InputError

VARIABLE = "WM_TUTORIAL_PROGRESS"
STATES = ("not tried", "tried", "right")  # the later one counts
LINE = re.compile(r"(\d+\.\d+) (tried|right)\b.*")

_noted: dict[tuple[str, str], str] = {}  # by check and name of the function: the best that this kernel has seen


def note(check: str, function: Any, state: str) -> None:
    """Remember what a check found, for the next report."""
    key = check, str(getattr(function, "__name__", ""))
    _noted[key] = max(state, _noted.get(key, state), key=STATES.index)


def report(chapter: str | None = None) -> None:
    """Print which exercises are right, tried or not tried, and what to hand in, and keep it in the reader's file.

    chapter  such as "06": its exercises one by one; without it, one line for each chapter that was begun

    An exercise counts by the function that its check is called with in the chapter, such as `my_lambda_returns`:
    solutions, which have names of their own, and other functions do not.

    Raises:
        InputError: if there is no such chapter.
    """
    every = exercises_in(folder_of_notebooks())
    chapters = sorted({one.chapter for one in every})
    if chapter is not None and chapter not in chapters:
        raise InputError(f"There is no chapter {chapter!r} with exercises; there are: {', '.join(chapters)}.")
    file = _file()
    before = _read(file)
    best = {
        one.number: max(
            _noted.get((one.check, one.function), "not tried"), before.get(one.number, "not tried"), key=STATES.index
        )
        for one in every
    }
    print(told(every, best, chapter))
    news = [number for number, state in best.items() if state != before.get(number, "not tried")]
    if said := _keep(file, [f"{number} {best[number]} {date.today()}" for number in news], bool(before)):
        print(said)


def told(every: list[Exercise], states: dict[str, str], chapter: str | None) -> str:
    """The report as text; who has done nothing yet is told of the chapter alone."""
    lines = []
    begun = sorted({one.chapter for one in every if states[one.number] != "not tried"})
    if chapter is not None:
        ours = [one for one in every if one.chapter == chapter]
        lines.append(f"Chapter {chapter}: {_counts(ours, states)}")
        width = max(len(one.number) for one in ours)
        lines += [f"  {states[one.number]:9}  {one.number:{width}}  {one.title}" for one in ours]
        lines.append(f"To hand in: save this notebook, and hand in the file {ours[0].file}.")
    if begun or chapter is None:
        lines.append(f"All chapters: {_counts(every, states)}")
    if chapter is None:
        lines += [f"  {name}: {_counts([one for one in every if one.chapter == name], states)}" for name in begun]
    return "\n".join(lines)


def _counts(exercises: list[Exercise], states: dict[str, str]) -> str:
    right, tried, rest = (sum(states[one.number] == state for one in exercises) for state in reversed(STATES))
    return f"{right} of {len(exercises)} exercises right, {tried} tried, {rest} not tried"


# --- The file ---------------------------------------------------------------------------------------------------------


def _file() -> Path | None:
    """Where progress is kept; None if the reader switched it off, or has no home."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return None if named.strip() in ("", "off") else Path(named).expanduser()
    try:
        return Path.home() / ".wm_tutorial" / "progress.txt"
    except RuntimeError:
        return None


def _read(file: Path | None) -> dict[str, str]:
    """The best state of each exercise; a line that says something else is left alone."""
    if file is None:
        return {}
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    best: dict[str, str] = {}
    for number, state in (found.groups() for line in lines if (found := LINE.fullmatch(line.strip()))):
        best[number] = max(state, best.get(number, state), key=STATES.index)
    return best


def _keep(file: Path | None, lines: list[str], begun: bool) -> str:
    """Add lines to the file, all in one piece; returns what is to be said about it."""
    if file is None:
        return "" if not lines else f"Not kept beyond this session: {VARIABLE} says so, or there is no home folder."
    if not lines:
        return f"Kept in {file}." if begun else ""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torn = file.exists() and not file.read_bytes().endswith(b"\n")  # a line that a crash cut off
        piece = ("\n" if torn else "") + "".join(f"{line}\n" for line in lines)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND  # the system puts the piece at the end, whoever else writes
        descriptor = os.open(file, flags, 0o644)
        try:
            os.write(descriptor, piece.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        return (
            f"Not kept beyond this session: {file} cannot be written ({error.strerror}). Name another file in the "
            f"environment variable {VARIABLE}."
        )
    return f"Kept in {file}: plain text, yours to read, to carry along or to delete."
