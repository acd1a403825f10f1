"""Every chapter has the rhythm of the course, its text keeps its promises, and its exercises can be handed out."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chapters import (
    RULES,
    body_lines,
    bounds,
    chapters,
    everything,
    measures,
    squeezed,
    table,
)
from course import NOTEBOOKS, bound, code_cells, has, read
from nbformat import NotebookNode

import wm_tutorial
from wm_tutorial.course.copy import student

CHAPTERS = pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)


# --- Each chapter -----------------------------------------------------------------------------------------------------


@CHAPTERS
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_chapter_keeps_the_rules(path: Path, rule: Callable[[NotebookNode, str], Iterator[str]]) -> None:
    notebook = read(path)
    print(table(measures(notebook, path.stem)) if rule is bounds else rule.__doc__)
    complaints = list(rule(notebook, path.stem))
    assert not complaints, "\n".join(complaints)


@CHAPTERS
def test_a_chapter_takes_about_as_long_as_its_head_says(path: Path) -> None:
    notebook = read(path)
    said = re.search(r"about (\d+) (seconds|minutes) of compute", " ".join(notebook.cells[0].source.split()))
    assert said is not None
    promised = int(said[1]) * (60 if said[2] == "minutes" else 1)
    assert 0.75 <= promised / measures(notebook, path.stem)["CPU seconds"] <= 1.5


@CHAPTERS
def test_a_student_gets_the_chapter_without_its_solutions(path: Path) -> None:
    """Nothing else differs but what exercises show: no other cell needs a solution (RULES: solutions)."""
    given, whole = student(read(path)), read(path)
    hidden = [line for cell in whole.cells if has(cell, "solution") for line in body_lines(cell.source)]
    text = "\n".join(map(everything, given.cells))
    assert hidden and not [line for line in hidden if line in {squeezed(line) for line in text.splitlines()}]
    kept = [cell for cell in whole.cells if not has(cell, "solution")]
    for cell, original in zip(given.cells, kept, strict=True):
        if has(original, "exercise") or has(original, "check"):
            assert not cell.outputs and cell.source == original.source
        else:
            assert cell == original


def public_names() -> set[str]:
    """Functions and classes that a room of the package defines."""
    rooms = [room.name for room in pkgutil.iter_modules(wm_tutorial.__path__) if not room.ispkg]
    return {
        name
        for room in rooms
        for name, value in vars(importlib.import_module(f"wm_tutorial.{room}")).items()
        if (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__ == f"wm_tutorial.{room}"
    }


@CHAPTERS
def test_a_function_named_like_one_of_the_package_has_a_test_that_both_agree(path: Path) -> None:
    shared = {name for cell in code_cells(read(path)) for name in bound(cell.source)} & public_names()
    tests = Path(__file__).with_name(f"test_chapter_{path.name[:2]}.py")
    written = re.findall(r"^def (test_\w+_agrees)\(", tests.read_text() if tests.exists() else "", re.MULTILINE)
    there = {test.replace("_", "").lower() for test in written}
    missing = {name for name in shared if f"test{name}agrees".replace("_", "").lower() not in there}
    assert not missing, f"{tests.name} needs {', '.join(f'test_{name}_agrees' for name in sorted(missing))}"


def test_the_list_of_chapters_is_complete() -> None:
    listed = re.findall(r"\[(.+?)\]\((\d\d_\w+\.ipynb)\)", (NOTEBOOKS / "README.md").read_text())
    assert listed == [(read(path).cells[0].source.splitlines()[0].lstrip("# "), path.name) for path in chapters()]
