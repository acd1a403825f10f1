"""One source, three ways out: what nbgrader and otter are given, by itself and with the real tools.

The real tools are looked for in .venv-nbgrader and .venv-otter (`make graders` installs them there), or where the
variables WM_TUTORIAL_NBGRADER and WM_TUTORIAL_OTTER say.
"""

import ast
import csv
import json
import os
import shutil
import subprocess
from pathlib import Path

import assignments
import pytest
from course import ROOT, chapters, code_cells, has, read, write
from nbformat import NotebookNode, validate

from wm_tutorial import check
from wm_tutorial.course.exercises import exercises_of

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


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with chapter 06, cut down to its first cell and its exercises, so that it runs in seconds."""
    notebook, folder = read(CHAPTER), tmp_path_factory.mktemp("short")
    kept = []
    for n, cell in enumerate(notebook.cells):
        if cell.source.startswith("import torch\n\nREWARD") or cell is code_cells(notebook)[0]:
            kept.append(cell)
        if has(cell, "exercise"):
            kept += notebook.cells[n - 1 : n + 3]
    notebook.cells = kept
    write(notebook, folder / CHAPTER.name)
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


def test_nbgrader_gives_0_of_n_to_the_unsolved_chapter_and_n_of_n_to_the_solutions(short: Path, tmp_path: Path) -> None:
    nbgrader, course, name = tool("nbgrader"), tmp_path / "course", CHAPTER.stem
    (source,) = assignments.build("nbgrader", course, [], seed=7, notebooks=short)
    run(nbgrader, "generate_assignment", name, at=course)
    released = course / "release" / name / CHAPTER.name
    handed_out(released)
    for student, file in (("alice", source), ("bob", released)):
        (course / "submitted" / student / name).mkdir(parents=True)
        shutil.copy(file, course / "submitted" / student / name)
    run(nbgrader, "autograde", name, "--create", at=course)
    run(nbgrader, "export", at=course)
    rows = {row["student_id"]: row for row in csv.DictReader((course / "grades.csv").read_text().splitlines())}
    most = float(len(EXERCISES))
    assert {student: (float(row["score"]), float(row["max_score"])) for student, row in rows.items()} == {
        "alice": (most, most),
        "bob": (0.0, most),
    }


def test_otter_gives_0_of_n_to_the_unsolved_chapter_and_n_of_n_to_the_solutions(short: Path, tmp_path: Path) -> None:
    otter, folder = tool("otter"), tmp_path / "otter"
    (master,) = assignments.build("otter", folder, [], seed=7, notebooks=short)
    run(otter, "assign", "--no-run-tests", "--no-pdfs", master.name, "dist", at=master.parent)
    dist = master.parent / "dist"
    handed_out(dist / "student" / master.name)
    (grader,) = (dist / "autograder").glob("*.zip")
    most = float(len(EXERCISES))
    for who, points in (("autograder", most), ("student", 0.0)):
        (tmp_path / who).mkdir()
        run(otter, "run", "-a", grader, "-o", tmp_path / who, "--no-logo", dist / who / master.name, at=tmp_path)
        tests = json.loads((tmp_path / who / "results.json").read_text())["tests"]
        tests = [one for one in tests if one.get("max_score")]
        assert (sum(one["score"] for one in tests), sum(one["max_score"] for one in tests)) == (points, most)
