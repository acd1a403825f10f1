"""`make nbgrader` and `make otter`: the chapters as assignments for two graders, from the one set of notebooks.

    python tools/assignments.py nbgrader             build/nbgrader: a course folder with every chapter in source/
    python tools/assignments.py otter 06 07          build/otter: a folder for each chapter, for `otter assign`
    python tools/assignments.py nbgrader --seed 7    the hidden inputs come from this number

Here the solution stands inside of the function that students write, between the marks of either tool, which takes it
out.
An exercise is worth one point. Its check is the test; behind it stand hidden ones, which students are not handed: the
function must be their own, and where this installation has the grader (`wm_tutorial.grade`), it must be right on inputs
that are drawn from the seed. `teaching/` says how to go on with what is written here.
"""

import argparse
import ast
import importlib.util
import re
import shutil
from pathlib import Path

from course import NOTEBOOKS, ROOT, chapters, has, read, used, write
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_raw_cell
from student import copy

from wm_tutorial.course.copy import OUTSIDE
from wm_tutorial.course.exercises import Exercise, exercises_of

BUILD = ROOT / "build"
BESIDE = {
    "../book/results": "book/results",
    "../tests/golden": "tests/golden",
}  # what chapters read, and where it is put
NBGRADER = ("### BEGIN SOLUTION", "### END SOLUTION", "")
OTTER = (
    "# BEGIN SOLUTION NO PROMPT",
    "# END SOLUTION",
    '""" # BEGIN PROMPT\nraise NotImplementedError("Exercise {number}")\n""" # END PROMPT',
)
CONFIG = """\
import os

os.environ["WM_TUTORIAL_PROGRESS"] = "off"  # a notebook that is graded does not add to the grader's own score
c = get_config()
c.CourseDirectory.course_id = "world_models"
# what is left of an exercise when its solution is taken out
c.ClearSolutions.code_stub = {"python": 'raise NotImplementedError("still to be written")'}
c.ExecutePreprocessor.timeout = 1800  # seconds for one cell; whole agents learn in chapters 08, 12 and 13
c.ExecutePreprocessor.startup_timeout = 300
"""
OTTER_CONFIG = """\
# ASSIGNMENT CONFIG
name: {name}
generate:
  pdf: false
  zips: false
  seed: 0
export_cell: false
init_cell: true
check_all_cell: false
tests:
  ok_format: false
"""


# --- One function of a stub and its solution --------------------------------------------------------------------------


def merged(notebook: NotebookNode, place: int, exercise: Exercise, marks: tuple[str, str, str]) -> str:
    """The cell to write in, at a place, with the lines of the solution between the marks in each of its functions."""
    stub, _, solution = (cell.source for cell in notebook.cells[place : place + 3])
    names, around = names_of(notebook), beside(notebook, place)
    functions = {node.name: node for node in ast.parse(solution).body if isinstance(node, ast.FunctionDef)}
    solved = {reader: functions[name] for name, reader in names.items() if name in functions}
    begin, end, left = marks
    lines, out = stub.splitlines(), []
    for node in ast.parse(stub).body:
        first, last = node.lineno - 1, node.end_lineno or node.lineno
        if isinstance(node, ast.FunctionDef):
            docstring = node.body[0].end_lineno or node.body[0].lineno
            answer = solved[node.name]
            body = _brought(around, answer) + solution.splitlines()[answer.body[0].end_lineno : answer.end_lineno]
            body = [re.sub(r"\bsolved_\w+", lambda name: names.get(name[0], name[0]), line) for line in body]
            prompt = left.format(number=exercise.number).splitlines()
            out += ["", "", *lines[first:docstring], f"    {begin}", *body, f"    {end}"]
            out += [f"    {line}" for line in prompt]
        else:
            out += lines[first:last]
    return "\n".join(out).strip()


def beside(notebook: NotebookNode, place: int) -> list[tuple[ast.stmt, str]]:
    """Imports and helpers of the solutions up to that of the exercise at a place, with their text; what no cell has."""
    code = [cell for cell in notebook.cells[: place + 3] if cell.cell_type == "code"]
    given = {ast.unparse(node) for cell in code if not has(cell, "solution") for node in ast.parse(cell.source).body}
    return [
        (node, ast.get_source_segment(cell.source, node) or "")
        for cell in code
        if has(cell, "solution")
        for node in ast.parse(cell.source).body
        if ast.unparse(node) not in given and not getattr(node, "name", "").startswith("solved_")
    ]


def _brought(around: list[tuple[ast.stmt, str]], answer: ast.FunctionDef) -> list[str]:
    """The lines of those that the function of a solution needs: they go inside, and are taken out with it."""
    wanted, lines = used(ast.unparse(answer)), list[str]()
    for node, text in reversed(around):
        if _binds(node) & wanted:
            wanted |= used(text)
            lines = [f"    {line}".rstrip() for line in text.splitlines()] + lines
    return lines


def _binds(node: ast.stmt) -> set[str]:
    """The names that an import, a helper or a constant gives a value."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    stored = {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
    return {node.name} if isinstance(node, ast.FunctionDef | ast.ClassDef) else stored


def hidden(exercise: Exercise, seed: int) -> list[str]:
    """The lines of the hidden test."""
    function, name = exercise.function, exercise.check
    lines = [f"assert not {function}.__module__.startswith('wm_tutorial'), 'this is the package\\'s own function'"]
    if importlib.util.find_spec("wm_tutorial.grade"):
        lines += [
            "from wm_tutorial.check.diagnosis import examine",
            "from wm_tutorial.grade.hidden import hidden_parts",
            f"assert examine(hidden_parts({seed}, 0)[{name!r}], {function}), 'wrong on inputs that were not shown'",
        ]
    return lines


def cells_of(path: Path) -> tuple[NotebookNode, list[tuple[Exercise, int]]]:
    """A chapter without its outputs, and where the cell to write in of each exercise is."""
    notebook = read(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.source = re.sub("|".join(map(re.escape, BESIDE)), lambda place: BESIDE[place[0]], cell.source)
        else:
            cell.source = OUTSIDE.sub(lambda link: f"{link[1]} (`{link[2]}`)", cell.source)
    places = [n for n, cell in enumerate(notebook.cells) if has(cell, "exercise")]
    return notebook, list(zip(exercises_of(path), places, strict=True))


def names_of(notebook: NotebookNode) -> dict[str, str]:
    """What the solutions of a chapter call its functions, and what readers call them."""
    stubs = [cell.source for cell in notebook.cells if has(cell, "exercise")]
    functions = [node.name for stub in stubs for node in ast.parse(stub).body if isinstance(node, ast.FunctionDef)]
    return {f"solved_{name.removeprefix('my_')}": name for name in functions}


# --- nbgrader ---------------------------------------------------------------------------------------------------------


def for_nbgrader(path: Path, seed: int = 0) -> NotebookNode:
    """The chapter as the source of an assignment, from which nbgrader takes out what is not to be seen."""
    notebook, exercises = cells_of(path)
    answers = [merged(notebook, place, exercise, NBGRADER) for exercise, place in exercises]
    for (exercise, place), answer in zip(exercises, answers, strict=True):
        stub, check = notebook.cells[place : place + 2]
        key = exercise.number.replace(".", "-")
        stub.source = answer
        *before, call = check.source.splitlines()
        tests = ["### BEGIN HIDDEN TESTS", *hidden(exercise, seed), "### END HIDDEN TESTS"]
        check.source = "\n".join([*before, f"assert {call}, 'see the line above'", *tests])
        stub.metadata.nbgrader = _cell(f"exercise-{key}", solution=True)
        check.metadata.nbgrader = _cell(f"check-{key}", grade=True)
    notebook.cells = [cell for cell in notebook.cells if not has(cell, "solution")]
    return notebook


def _cell(grade_id: str, solution: bool = False, grade: bool = False) -> dict[str, object]:
    told = {"grade_id": grade_id, "solution": solution, "grade": grade, "locked": grade, "task": False}
    return told | {"schema_version": 3} | ({"points": 1} if grade else {})


# --- otter ------------------------------------------------------------------------------------------------------------


def for_otter(path: Path, seed: int = 0) -> NotebookNode:
    """The chapter as the master of `otter assign`, which takes out solutions and hidden tests."""
    notebook, exercises = cells_of(path)
    places = {place: exercise for exercise, place in exercises}
    files = [place for place in BESIDE.values() if any(place in cell.source for cell in notebook.cells)]
    folders = ", ".join(sorted({place.partition("/")[0] for place in files}))
    config = OTTER_CONFIG.format(name=path.stem) + (f"files: [{folders}]\n" if files else "")
    cells = [new_raw_cell(config)]
    for n, cell in enumerate(notebook.cells):
        if has(cell, "solution"):
            continue
        if n not in places:
            cells.append(cell)
            continue
        exercise, key = places[n], places[n].number.replace(".", "_")
        answer = merged(notebook, n, exercise, OTTER)
        head = f"def test_{key}({exercise.function}):"
        shown = [head, "    from wm_tutorial import check", f"    assert check.{exercise.check}({exercise.function})"]
        unseen = ['""" # BEGIN TEST CONFIG', "hidden: true", '""" # END TEST CONFIG', head.replace("(", "_unseen(", 1)]
        cells += [
            new_raw_cell(f"# BEGIN QUESTION\nname: exercise_{key}\npoints: 1\nall_or_nothing: true\ncheck_cell: false"),
            new_raw_cell("# BEGIN SOLUTION"),
            new_code_cell(answer, metadata=cell.metadata),
            new_raw_cell("# END SOLUTION"),
            new_raw_cell("# BEGIN TESTS"),
            new_code_cell("\n".join(shown)),
            new_code_cell("\n".join([*unseen, *(f"    {line}" for line in hidden(exercise, seed))])),
            new_raw_cell("# END TESTS"),
            new_raw_cell("# END QUESTION"),
        ]
    notebook.cells = cells
    for n, cell in enumerate(notebook.cells):
        cell.id = f"{path.name[:2]}-{n:03d}"
    return notebook


# --- Both -------------------------------------------------------------------------------------------------------------


def build(tool: str, folder: Path, names: list[str], seed: int = 0, notebooks: Path = NOTEBOOKS) -> list[Path]:
    """Write assignments of some chapters, or of all, into `folder`, which is emptied first; returns the notebooks."""
    shutil.rmtree(folder, ignore_errors=True)
    written = []
    for path in chapters(names, notebooks):
        place = (folder / "source" if tool == "nbgrader" else folder) / path.stem
        notebook = for_nbgrader(path, seed) if tool == "nbgrader" else for_otter(path, seed)
        write(notebook, place / path.name)
        written.append(place / path.name)
        code = "\n".join(cell.source for cell in notebook.cells)
        for source in (p for p in BESIDE.values() if p in code):
            for found in sorted((ROOT / source).iterdir()):
                if found.name in code or source == "tests/golden":
                    copy(found, place / source / found.name)
    if tool == "nbgrader":
        (folder / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    return written


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", choices=("nbgrader", "otter"))
    parser.add_argument("chapters", nargs="*", help="such as 06; all of them if left out")
    parser.add_argument("--seed", type=int, default=0, help="of the hidden inputs")
    asked = parser.parse_args()
    written = build(asked.tool, BUILD / asked.tool, asked.chapters, asked.seed)
    print(*(path.relative_to(ROOT) for path in written), sep="\n")


if __name__ == "__main__":
    main()
