"""The exercises of the course, read from its own notebooks: what a handed-in one is compared with."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from wm_tutorial.course.copy import folder_of_notebooks

Cell: TypeAlias = dict[str, Any]

HEADING = re.compile(r"^#{2,4} (.+)$", re.MULTILINE)
NAMED = re.compile(r"Exercise (\d+\.\d+): (.+)")
ASKED = re.compile(r"^check\.(\w+)\((\w+)\)", re.MULTILINE)


@dataclass(frozen=True)
class Exercise:
    """One function that students write.

    number    "4.1"
    title     of the exercise
    part      the name of its check
    function  the name it has in the notebook
    section   of the chapter that treats it
    cell      id of the cell to write in
    check     id of the cell with the check
    solution  the folded one
    """

    number: str
    title: str
    part: str
    function: str
    section: str
    cell: str
    check: str
    solution: str


@dataclass(frozen=True)
class Chapter:
    """A notebook of the course.

    name       "04_kl"
    title      as its heading has it
    exercises  in order
    given      what stands in the cells that are not to be written in
    stubs      what stands in those that are
    ids        of its cells
    """

    name: str
    title: str
    exercises: tuple[Exercise, ...]
    given: frozenset[str]
    stubs: tuple[str, ...]
    ids: frozenset[str]

    @property
    def number(self) -> str:
        """Two digits."""
        return self.name[:2]


@cache
def chapters(folder: Path | None = None) -> tuple[Chapter, ...]:
    """Every chapter that has exercises."""
    paths = sorted((folder or folder_of_notebooks()).glob("[0-9][0-9]_*.ipynb"))
    return tuple(chapter for path in paths if (chapter := _chapter(path)).exercises)


def _chapter(path: Path) -> Chapter:
    cells: list[Cell] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    title = next((match[1] for cell in cells if (match := re.match(r"# (.+)", text_of(cell)))), path.stem)
    return Chapter(
        name=path.stem,
        title=title,
        exercises=tuple(_exercises(cells)),
        given=frozenset(text_of(cell).strip() for cell in cells if not tagged(cell, "exercise", "solution")),
        stubs=tuple(text_of(cell) for cell in cells if tagged(cell, "exercise")),
        ids=frozenset(str(cell.get("id")) for cell in cells),
    )


def _exercises(cells: list[Cell]) -> Iterator[Exercise]:
    section = number = title = ""
    code: list[Cell] = []
    for cell in cells:
        if cell["cell_type"] == "markdown":
            for heading in HEADING.findall(text_of(cell)):
                if named := NAMED.match(heading):
                    number, title = named.groups()
                else:
                    section = heading
            continue
        code.append(cell)
        if tagged(cell, "solution") and len(code) > 2 and (asked := ASKED.search(text_of(code[-2]))):
            check, exercise = code[-2], code[-3]
            yield Exercise(
                number, title, asked[1], asked[2], section, str(exercise.get("id")), str(check.get("id")), text_of(cell)
            )


def text_of(cell: Cell) -> str:
    """The source of a cell, which a notebook keeps as text or as lines."""
    source = cell.get("source", "")
    if isinstance(source, list):
        return "".join(map(str, source))
    return source if isinstance(source, str) else ""


def tagged(cell: Cell, *tags: str) -> bool:
    """Whether a cell carries one of these tags."""
    metadata = cell.get("metadata")
    there = metadata.get("tags", []) if isinstance(metadata, dict) else []
    return isinstance(there, list) and any(tag in there for tag in tags)


def shape_of(source: str, name: str) -> str:
    """A function without what does not change what it does: its name, docstring and annotations; "" if it is none."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return ""
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            for inside in ast.walk(node):
                if isinstance(inside, ast.FunctionDef):
                    inside.returns = None
                if isinstance(inside, ast.arg):
                    inside.annotation = None
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:]
            node.name = "_"
            return ast.dump(node)
    return ""
