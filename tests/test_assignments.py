"""One source, three ways out: what nbgrader and otter are given, by itself and with the real tools.

The real tools are looked for in .venv-nbgrader and .venv-otter (`make graders` installs them there), or where the
variables WM_TUTORIAL_NBGRADER and WM_TUTORIAL_OTTER say.
"""

import ast
import builtins
import csv
import functools
import json
import os
import shutil
import subprocess
import symtable
from collections.abc import Callable
from pathlib import Path

import assignments
import pytest
from course import ROOT, chapters, code_cells, has, read, write
from nbformat import NotebookNode, validate

from wm_tutorial import check
from wm_tutorial.course.exercises import exercises_of
from wm_tutorial.grade.exercises import chapters as graded_chapters
from wm_tutorial.grade.extract import Notebook

(CHAPTER,) = chapters(["06"])
EXERCISES = exercises_of(CHAPTER)
EACH = pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem[:2])


def tool(name: str) -> Path:
    """The command of a grader, in an environment of its own; the test is skipped where there is none."""
    found = Path(os.environ.get(f"WM_TUTORIAL_{name.upper()}", ROOT / f".venv-{name}" / "bin" / name))
    if not found.exists():
        pytest.skip(f"{name} is not installed: `make graders` does it, or WM_TUTORIAL_{name.upper()} names its command")
    return found


def run(command: Path, *words: object, at: Path) -> str:
    """Run a command of a grader, which imports this package and keeps no progress."""
    settings = {
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "WM_TUTORIAL_PROGRESS": "off",
        "JUPYTER_PLATFORM_DIRS": "1",
        "OMP_NUM_THREADS": "1",
    }
    words = tuple(map(str, words))
    done = subprocess.run([command, *words], cwd=at, env=os.environ | settings, capture_output=True, text=True)
    assert done.returncode == 0, f"{command.name} {' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@functools.cache
def needed(path: Path) -> dict[str, str]:
    """What the exercises of a chapter need of its other cells, by their ids; the grader of the course knows it."""
    source = assignments.for_nbgrader(path)
    (chapter,) = [one for one in graded_chapters() if one.name == path.stem]
    notebook = Notebook.read(json.dumps(source), chapter)
    answers = [(notebook.answer(exercise), exercise) for exercise in chapter.exercises]
    needs = [one for answer, asked in answers if answer for one in notebook.needed(answer, asked)]
    lines = {(one.place, one.line) for one in needs if one.place >= 0}
    found: dict[str, str] = {}
    for one in notebook.statements:
        if (one.place, one.line) in lines and not has(cell := source.cells[one.place], "exercise"):
            found[cell.id] = f"{found.get(cell.id, '')}{one.source}\n"
    return found


def cut(path: Path, folder: Path) -> Path:
    """A folder with a chapter that keeps its first cell, its exercises and what these need: it runs in seconds."""
    notebook = read(path)
    kept = {code_cells(notebook)[0].id: code_cells(notebook)[0].source} | needed(path)
    for n, cell in enumerate(notebook.cells):
        if has(cell, "exercise"):
            kept |= {one.id: one.source for one in notebook.cells[n - 1 : n + 3]}
    notebook.cells = [cell for cell in notebook.cells if cell.id in kept]
    for cell in notebook.cells:
        cell.source = kept[cell.id]
    write(notebook, folder / path.name)
    return folder


# --- What is written --------------------------------------------------------------------------------------------------


def functions_of(source: str) -> dict[str, str]:
    return {node.name: ast.unparse(node) for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}


@EACH
def test_for_nbgrader_each_exercise_has_its_solution_inside_and_a_locked_check_that_raises(path: Path) -> None:
    notebook = assignments.for_nbgrader(path, seed=5)
    validate(notebook)
    ids = [cell.metadata.nbgrader.grade_id for cell in code_cells(notebook) if "nbgrader" in cell.metadata]
    assert len(ids) == len(set(ids)) == 2 * len(exercises_of(path))
    stubs = [cell for cell in code_cells(notebook) if has(cell, "exercise")]
    checks = [cell for cell in code_cells(notebook) if has(cell, "check")]
    for exercise, stub, asked in zip(exercises_of(path), stubs, checks, strict=True):
        about = asked.metadata.nbgrader
        assert stub.metadata.nbgrader.solution and about.grade and about.locked and about.points == 1
        assert stub.source.count("### BEGIN SOLUTION") == stub.source.count("### END SOLUTION") >= 1
        assert exercise.function in functions_of(stub.source)
        assert f"assert check.{exercise.check}({exercise.function})" in asked.source
        seen, _, unseen = asked.source.partition("### BEGIN HIDDEN TESTS")
        assert "__module__" not in seen and f"{exercise.function}.__module__" in unseen
        ast.parse(asked.source)
    everything = "\n".join(cell.source for cell in notebook.cells)
    assert "solved_" not in everything and "](../wm_tutorial" not in everything
    assert not any(cell.outputs for cell in code_cells(notebook))


@EACH
def test_for_otter_each_exercise_is_a_question_with_a_shown_and_a_hidden_test(path: Path) -> None:
    notebook = assignments.for_otter(path, seed=5)
    validate(notebook)
    raw = [cell.source for cell in notebook.cells if cell.cell_type == "raw"]
    assert raw[0].startswith("# ASSIGNMENT CONFIG") and "ok_format: false" in raw[0]
    asked = [text for text in raw if text.startswith("# BEGIN QUESTION")]
    assert len(asked) == len(exercises_of(path)) and all("all_or_nothing: true" in text for text in asked)
    everything = "\n".join(cell.source for cell in notebook.cells)
    assert everything.count("hidden: true") == len(asked) and "solved_" not in everything
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


def test_a_merged_function_is_right_and_without_its_solution_still_to_be_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stubs = [cell.source for cell in code_cells(assignments.for_nbgrader(CHAPTER)) if has(cell, "exercise")]
    for exercise, stub in zip(EXERCISES, stubs, strict=True):
        space: dict[str, object] = {"torch": __import__("torch")}
        exec(stub, space)
        assert getattr(check, exercise.check)(space[exercise.function]), exercise
    assert capsys.readouterr().out.count("right, in all") == len(EXERCISES)


def test_a_solution_that_calls_another_one_calls_what_the_reader_wrote() -> None:
    stubs = [cell.source for cell in code_cells(assignments.for_nbgrader(chapters(["11"])[0])) if has(cell, "exercise")]
    assert "my_two_hot(x, bins)" in stubs[2].partition("### BEGIN SOLUTION")[2]


def test_a_solution_brings_along_what_only_solutions_import_and_its_helpers(tmp_path: Path) -> None:
    """Chapter 16, but only a solution imports torch; 16.5 has a helper: both go inside, and out with the solution."""
    (path,) = chapters(["16"])
    notebook, imported = read(path), "import torch\n\n"
    for cell in code_cells(notebook):
        cell.source = cell.source.removeprefix(imported)
    first = next(cell for cell in code_cells(notebook) if has(cell, "solution") and "torch." in cell.source)
    first.source = imported + first.source
    write(notebook, tmp_path / path.name)
    stubs = [
        cell.source for cell in code_cells(assignments.for_nbgrader(tmp_path / path.name)) if has(cell, "exercise")
    ]
    for source in (stubs[2], stubs[4]):
        assert "    import torch\n" in source.partition("### BEGIN SOLUTION")[2]
    assert "    def places_of(values):\n" in stubs[4] and not any("import" in source for source in stubs[:2])


@EACH
def test_a_function_with_its_solution_has_all_the_names_it_needs(path: Path) -> None:
    """From the cells above it, in the chapter as graders run it: without the folded solutions."""
    notebook, there = assignments.for_nbgrader(path), set(dir(builtins))
    for cell in code_cells(notebook):
        table = symtable.symtable(cell.source, path.name, "exec")
        there |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
        if has(cell, "exercise"):
            for name, source in functions_of(cell.source).items():
                space = symtable.symtable(source, name, "exec").get_children()
                asked = {symbol.get_name() for part in space for symbol in part.get_symbols() if symbol.is_global()}
                assert asked <= there, (name, asked - there)


def test_what_a_chapter_reads_is_put_beside_it(tmp_path: Path) -> None:
    (written,) = assignments.build("nbgrader", tmp_path / "out", ["09"])
    assert "../book/results" not in written.read_text()
    assert list((written.parent / "book" / "results" / "position-only-guide").glob("*.safetensors"))
    settings = (tmp_path / "out" / "nbgrader_config.py").read_text()
    assert "startup_timeout" in settings and 'os.environ["WM_TUTORIAL_PROGRESS"] = "off"' in settings
    (written,) = assignments.build("otter", tmp_path / "out", ["09"])
    assert "files: [book]" in written.read_text() and (written.parent / "book").is_dir()


# --- With the real tools ----------------------------------------------------------------------------------------------


def handed_out(path: Path) -> NotebookNode:
    """What students get, in which nothing of solutions or hidden tests is left."""
    notebook = read(path)
    everything = json.dumps(notebook)
    assert "__module__" not in everything and "hidden_parts" not in everything
    for name, body in functions_of(
        "\n\n".join(cell.source for cell in code_cells(notebook) if "def my_" in cell.source)
    ).items():
        assert not name.startswith("my_") or "NotImplementedError" in body
    return notebook


def in_nbgrader(path: Path, notebooks: Path, course: Path) -> None:
    """A chapter goes through nbgrader: 0 of n points without, n of n with the solutions."""
    nbgrader, name = tool("nbgrader"), path.stem
    (source,) = assignments.build("nbgrader", course, [path.name], seed=7, notebooks=notebooks)
    run(nbgrader, "generate_assignment", name, at=course)
    released = course / "release" / name
    handed_out(released / path.name)
    for student, folder in (("alice", source.parent), ("bob", released)):
        shutil.copytree(folder, course / "submitted" / student / name)
    run(nbgrader, "autograde", name, "--create", at=course)
    run(nbgrader, "export", at=course)
    rows = {row["student_id"]: row for row in csv.DictReader((course / "grades.csv").read_text().splitlines())}
    most = float(len(exercises_of(path)))
    assert {student: (float(row["score"]), float(row["max_score"])) for student, row in rows.items()} == {
        "alice": (most, most),
        "bob": (0.0, most),
    }


def in_otter(path: Path, notebooks: Path, folder: Path) -> None:
    """The same with otter."""
    otter = tool("otter")
    (master,) = assignments.build("otter", folder, [path.name], seed=7, notebooks=notebooks)
    run(otter, "assign", "--no-run-tests", "--no-pdfs", master.name, "dist", at=master.parent)
    dist = master.parent / "dist"
    handed_out(dist / "student" / master.name)
    (grader,) = (dist / "autograder").glob("*.zip")
    most = float(len(exercises_of(path)))
    for who, points in (("autograder", most), ("student", 0.0)):
        (folder / who).mkdir()
        run(otter, "run", "-a", grader, "-o", folder / who, "--no-logo", dist / who / master.name, at=folder)
        tests = json.loads((folder / who / "results.json").read_text())["tests"]
        tests = [one for one in tests if one.get("max_score")]
        assert (sum(one["score"] for one in tests), sum(one["max_score"] for one in tests)) == (points, most)


@pytest.mark.parametrize("grader", ["nbgrader", "otter"])
def test_every_unsolved_chapter_gets_0_of_n_and_its_solutions_n_of_n(grader: str, tmp_path: Path) -> None:
    """Of each chapter runs what its exercises need: all of them take minutes of computing."""
    python = tool(grader).with_name("python")
    for path in chapters():
        cut(path, tmp_path / "short")
    written = assignments.build(grader, tmp_path / "out", [], seed=7, notebooks=tmp_path / "short")
    told = run(python, Path(__file__).with_name("real_graders.py"), grader, tmp_path / "out", at=tmp_path)
    most = {path.stem: len(exercises_of(path)) for path in chapters()}
    assert json.loads(told.splitlines()[-1]) == {
        name: {"solved": [n, n], "unsolved": [0, n]} for name, n in most.items()
    }
    for path in written:
        place = tmp_path / "out" / "release" / path.stem if grader == "nbgrader" else path.parent / "dist" / "student"
        handed_out(place / path.name)


@pytest.mark.parametrize("grader", [in_nbgrader, in_otter])
def test_a_whole_chapter_goes_through_each(grader: Callable[[Path, Path, Path], None], tmp_path: Path) -> None:
    """Every cell of the cheapest one runs, as in a class; of the others, those that the exercises need."""
    grader(CHAPTER, CHAPTER.parent, tmp_path / "whole")
