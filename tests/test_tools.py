"""The tools of the course and the rules for its chapters, tried on a chapter in small: `sample.py`."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import changed
import chapters as chapter_rules
import navigate
import nbformat
import pytest
import torch
from chapters import RULES, bounds, definitions_of
from course import RESULTS, chapters, code_cells, has, links, markdown, read, write
from navigate import with_links, without_links
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from run_notebooks import alike, check, check_all, clean, execute, main, normalise
from sample import LISTED, NAME, OPENED, QUIZ, sample
from student import build

from wm_tutorial.course.copy import student

Spoil: TypeAlias = Callable[[NotebookNode], object]
Complaints: TypeAlias = Callable[[NotebookNode], list[tuple[str, str]]]

BROKEN = new_notebook(cells=[new_markdown_cell("# 08"), new_code_cell("x = 0"), new_code_cell("y = 1\ny / x")])


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sample and a chapter that breaks off, after `make notebooks` ran in it."""
    folder = tmp_path_factory.mktemp("course")
    write(sample(), folder / f"{NAME}.ipynb")
    write(BROKEN, folder / "08_broken.ipynb")
    assert main([], folder, folder / "chapters.json") == 1
    return folder


@pytest.fixture
def ran(course: Path) -> NotebookNode:
    return read(course / f"{NAME}.ipynb")


# --- make notebooks ---------------------------------------------------------------------------------------------------


def test_a_chapter_that_ran_shows_what_its_cells_say(ran: NotebookNode) -> None:
    cells = code_cells(ran)
    assert [cell.execution_count for cell in cells] == list(range(1, len(code_cells(sample())) + 1))
    assert cells[4].outputs[0].text == "1.5\n"
    assert [output.data["text/plain"] for cell in cells if has(cell, "check") for output in cell.outputs[1:]] == [
        "False"
    ] * 3
    assert [cell.outputs[1].data["text/plain"] for cell in cells if has(cell, "solution")] == ["True"] * 3


def test_what_it_cost_is_recorded_for_chapters_that_ran(course: Path) -> None:
    costs = json.loads((course / "chapters.json").read_text())
    assert list(costs) == [NAME]
    assert 0.5 < costs[NAME]["cpu_seconds"] < 60 and costs[NAME]["wall_seconds"] > 0.5
    assert 100 < costs[NAME]["peak_megabytes"] < 3000  # torch alone takes more than 100


def test_a_chapter_that_breaks_off_stays_as_it_was_and_its_error_is_told(
    course: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert read(course / "08_broken.ipynb") == BROKEN
    write(BROKEN, tmp_path / "08_broken.ipynb")
    assert main(["08"], tmp_path, tmp_path / "chapters.json") == 1
    printed = capfd.readouterr().err
    assert printed == "08_broken.ipynb: cell 3 raised ZeroDivisionError: division by zero\n    y = 1\n    y / x\n"


def test_names_choose_chapters(course: Path) -> None:
    assert [path.stem for path in chapters(folder=course)] == [NAME, "08_broken"]
    assert [path.stem for path in chapters(["08"], course)] == ["08_broken"]
    with pytest.raises(SystemExit, match=r"No chapter begins with '09'; there are: 07_sample, 08_broken\."):
        chapters(["07", "09"], course)


def test_normalising_leaves_what_readers_see_and_tools_need(ran: NotebookNode) -> None:
    assert [cell.id for cell in ran.cells] == [f"07-{number:02d}" for number in range(1, len(ran.cells) + 1)]
    assert [cell.source for cell in ran.cells] == [cell.source for cell in sample().cells]
    kept = [
        {name: value for name, value in cell.metadata.items() if name != "lines_to_next_cell"}
        | ({"collapsed": True} if "outputs_hidden" in cell.metadata.get("jupyter", {}) else {})
        for cell in sample().cells
    ]
    assert [cell.metadata for cell in ran.cells] == kept
    assert ran.metadata.kernelspec.name == "python3" and "version" not in ran.metadata.language_info


def test_a_chapter_is_cleaned_without_being_run_and_a_clean_one_is_not_touched(course: Path, tmp_path: Path) -> None:
    path, ran = tmp_path / f"{NAME}.ipynb", read(course / f"{NAME}.ipynb")
    untidy = nbformat.from_dict(ran)
    untidy.cells[0].id, untidy.cells[1].metadata["collapsed"], untidy.metadata["editor"] = "abc", True, "some"
    write(untidy, path)
    assert list(chapter_rules.execution(untidy, NAME))
    clean(path)
    assert read(path) == ran and not list(chapter_rules.execution(read(path), NAME))
    path.write_text(path.read_text().replace("\n", "\n\n", 1))  # as JSON the same
    before = path.read_text()
    clean(path)
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("text", "other", "same"),
    [
        ("0.486 and 3", "0.487  and 3", True),
        ("0.486", "0.488", False),
        ("-0.00", "0.00", True),
        ("[1. 2.5]", "[1. 2.6]", True),
        ("[1. 2.5]", "[2. 2.5]", False),
        ("row 3", "row 4", False),
        ("1.0e-05", "1.1e-05", True),
        ("1.0e-05", "1.1e-04", False),
        ("0.5", "0.5 nats", False),
        ("0.5", "0.5 0.5", False),
    ],
)
def test_outputs_are_alike_when_a_fraction_is_rounded_to_its_neighbour(text: str, other: str, same: bool) -> None:
    assert alike(text, other) is same


def test_a_chapter_can_be_compared_without_nbval_and_nothing_is_written(
    course: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = read(course / f"{NAME}.ipynb")
    (compared, *_) = [cell for cell in notebook.cells if has(cell, "nbval-check-output")]
    free = code_cells(notebook)[0]
    assert "".join(free.source).startswith("from wm_tutorial.course import notebook")
    free.outputs[0].text = "another version\n"  # shown, but not compared
    write(notebook, tmp_path / f"{NAME}.ipynb")
    assert check(tmp_path / f"{NAME}.ipynb") == []
    compared.outputs[0].text = "wrong\n"
    write(notebook, tmp_path / f"{NAME}.ipynb")
    write(BROKEN, tmp_path / "08_broken.ipynb")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert check_all([], tmp_path) == 2
    told = capsys.readouterr().out
    assert "and not\nwrong\n" in told and "08_broken.ipynb: cell 3 raised ZeroDivisionError" in told
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# --- tools/navigate.py ------------------------------------------------------------------------------------------------

TITLES = {"00_a": "# 00 · Start: here", "01_b": "# 01 · Middle", "02_c": "# 02 · End: of it"}


def test_a_chapter_leads_to_its_neighbours_and_to_all_others() -> None:
    assert with_links("Text.", "01_b", TITLES) == (
        "Text.\n\n---\n\n[← 00 · Start](00_a.ipynb) · [02 · End →](02_c.ipynb)\n\n"
        "Chapters: [00](00_a.ipynb) · **01** · [02](02_c.ipynb)"
    )
    assert "\n\n[01 · Middle →](01_b.ipynb)\n\n" in with_links("", "00_a", TITLES)
    assert "\n\n[← 01 · Middle](01_b.ipynb)\n\n" in with_links("", "02_c", TITLES)
    assert with_links("One.", "00_a", {"00_a": "# 00"}) == "One.\n\n---\n\nChapters: **00**"


@pytest.mark.parametrize("name", TITLES)
@pytest.mark.parametrize("text", ["Text.\n\n---\n\nMore.", "- a list\n- [01](01_b.ipynb)"])
def test_links_are_written_once_and_can_be_taken_away(name: str, text: str) -> None:
    linked = with_links(text, name, TITLES)
    assert with_links(linked, name, TITLES | {"03_d": "# 03"}) == with_links(text, name, TITLES | {"03_d": "# 03"})
    assert without_links(linked) == text == without_links(text)


def test_a_folder_of_chapters_is_linked_and_what_has_its_links_is_not_touched(tmp_path: Path) -> None:
    for name, title in TITLES.items():
        cells = [new_markdown_cell(title), new_markdown_cell("## References")]
        write(new_notebook(cells=cells), tmp_path / f"{name}.ipynb")
    assert navigate.main(tmp_path) == list(TITLES)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert navigate.main(tmp_path) == [] and before == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert links(read(tmp_path / "01_b.ipynb")) == {"00_a.ipynb", "02_c.ipynb"}


# --- make check -------------------------------------------------------------------------------------------------------


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A repository in small: three modules, one of them offered by a package, and tests of them."""
    files = {
        "wm_tutorial/__init__.py": "from wm_tutorial.runs.run import train",
        "wm_tutorial/kl.py": "",
        "wm_tutorial/latents.py": "from wm_tutorial import kl",
        "wm_tutorial/runs/__init__.py": "",
        "wm_tutorial/runs/run.py": "from wm_tutorial.latents import Gaussian\ndef train(): ...",
        "tools/student.py": "",
        "benchmarks/ends.py": "",
        "tests/helpers.py": "import torch",
        "tests/test_kl.py": "from wm_tutorial.kl import gaussian_kl",
        "tests/test_latents.py": "def test():\n    from wm_tutorial import latents, kl\n    import helpers",
        "tests/test_trainer.py": "from wm_tutorial import train",
        "tests/test_tools.py": "import student",
        "tests/test_ends.py": "SCRIPT = 'ends.py'",
        "tests/test_book.py": "",
        "tests/test_chapters.py": "import helpers",
        "tests/test_chapter_04.py": "import wm_tutorial.kl as k",
        "notebooks/04_kl.ipynb": "{}",
        "book/cite.md": "",
        "Makefile": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "tests"),
    [
        ("wm_tutorial/kl.py", ["test_kl.py", "test_chapter_04.py", "test_latents.py"]),
        ("wm_tutorial/latents.py", ["test_latents.py"]),
        ("wm_tutorial/runs/run.py", ["test_trainer.py"]),  # through the package, which offers `train`
        ("tests/test_kl.py", ["test_kl.py"]),
        ("tests/helpers.py", ["test_chapters.py", "test_latents.py"]),
        ("tools/student.py", ["test_tools.py"]),
        ("benchmarks/ends.py", ["test_ends.py"]),  # it runs the script that it names
        ("notebooks/04_kl.ipynb", ["test_chapter_04.py", "04_kl.ipynb", "test_chapters.py"]),
        ("book/cite.md", ["test_book.py"]),
        ("tests/test_gone.py", []),
        ("notebooks/09_gone.ipynb", ["test_chapters.py"]),
        ("Makefile", []),
    ],
)
def test_a_changed_file_runs_the_tests_that_use_it_the_nearest_first(house: Path, file: str, tests: list[str]) -> None:
    assert [path.name for path in changed.tests_of([Path(file)], house)] == tests


def test_the_tests_of_two_changed_files_are_run_once(house: Path) -> None:
    both = [Path("wm_tutorial/kl.py"), Path("tests/test_latents.py")]
    assert [path.name for path in changed.tests_of(both, house)] == [
        "test_kl.py",
        "test_latents.py",
        "test_chapter_04.py",
    ]


def test_what_changed_is_what_differs_from_the_last_commit_or_what_that_one_changed(house: Path) -> None:
    def git(*words: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *identity, *words], cwd=house, check=True, capture_output=True)

    git("init")
    git("add", "-A")
    git("commit", "-m", "All")
    (house / "wm_tutorial/kl.py").write_text("x = 1")
    git("commit", "-am", "One")
    assert changed.changed_files(house) == [Path("wm_tutorial/kl.py")]
    (house / "wm_tutorial/latents.py").write_text("x = 1")
    (house / "new.py").write_text("")
    git("add", "wm_tutorial/latents.py")
    (house / "Makefile").unlink()
    assert changed.changed_files(house) == [Path("Makefile"), Path("new.py"), Path("wm_tutorial/latents.py")]


def test_without_a_repository_nobody_knows_what_changed(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"asked of git, and it does not know .*`make test` runs everything"):
        changed.changed_files(tmp_path)


def test_when_the_time_is_up_tests_are_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "test_two.py").write_text("def test_a(): ...\ndef test_b(): assert 0\n")
    for seconds, left_out, status in ((0, {"test_two.py": 2}, 0), (60, {}, 1)):
        deadline = changed.Deadline(seconds)
        options = ["-q", "-p", "no:cacheprovider", "-c", "/dev/null", f"--rootdir={tmp_path}", str(tmp_path)]
        assert pytest.main(options, plugins=[deadline]) == status
        assert {Path(name).name: count for name, count in deadline.left_out.items()} == left_out


def test_a_chapter_that_takes_longer_than_there_is_time_is_known_before() -> None:
    seconds = {name: cost["cpu_seconds"] for name, cost in json.loads(RESULTS.read_text()).items()}
    slow = {name for name in seconds if changed.too_long(Path("notebooks") / f"{name}.ipynb")}
    assert slow == {name for name in seconds if seconds[name] > changed.SECONDS} and 0 < len(slow) < len(seconds)
    assert not changed.too_long(Path("tests/test_trainer.py")) and not changed.too_long(Path("notebooks/99_new.ipynb"))


# --- make student, make solutions -------------------------------------------------------------------------------------


def test_the_two_builds_differ_in_solutions_and_the_output_of_exercises(course: Path, tmp_path: Path) -> None:
    for solutions in (False, True):
        build(tmp_path / str(solutions), solutions, course)
    given, solved = (read(tmp_path / name / "notebooks" / f"{NAME}.ipynb") for name in ("False", "True"))
    assert solved == read(course / f"{NAME}.ipynb")
    kept = [cell for cell in solved.cells if not has(cell, "solution")]
    assert len(kept) == len(solved.cells) - 3
    for cell, other in zip(given.cells, kept, strict=True):
        if has(cell, "exercise") or has(cell, "check"):
            assert cell.outputs == [] and cell.execution_count is None and cell.source == other.source
        else:
            assert cell == other


def test_each_folder_stands_alone(course: Path, tmp_path: Path) -> None:
    build(tmp_path, solutions=False, notebooks=course)
    readme = (tmp_path / "README.md").read_text()
    assert "- [07 · Sample: squeezing numbers](notebooks/07_sample.ipynb)" in readme
    assert all((tmp_path / target).exists() for target in re.findall(r"\]\((.+?)\)", readme))
    needed = links(read(course / f"{NAME}.ipynb"))
    assert "../wm_tutorial/transforms.py" in needed
    assert all((tmp_path / "notebooks" / link).exists() for link in needed)
    assert {"pyproject.toml", "constraints.txt", "LICENSE"} <= {path.name for path in tmp_path.iterdir()}


def test_without_its_solutions_a_chapter_runs_through_and_shows_the_same(course: Path) -> None:
    whole, given = (read(course / f"{NAME}.ipynb") for _ in range(2))
    execute(student(given))
    kept = [cell for cell in code_cells(whole) if not has(cell, "solution")]
    for cell, other in zip(code_cells(given), kept, strict=True):
        assert [said(shown) for shown in cell.outputs] == [said(shown) for shown in other.outputs]
        if has(cell, "check"):
            assert cell.outputs[0].text.endswith("still to be written; it raises NotImplementedError.\n")
            assert cell.outputs[1].data["text/plain"] == "False"


def said(shown: NotebookNode) -> NotebookNode:
    """An output without the number of its cell."""
    return nbformat.from_dict({**shown, "execution_count": None})


# --- What a test takes from a chapter ---------------------------------------------------------------------------------


def test_definitions_are_imports_constants_and_functions_and_nothing_runs(ran: NotebookNode) -> None:
    for cell in code_cells(ran):
        cell.source = cell.source.replace("assert", "never = [].pop()\nassert")
    ran.cells.append(new_code_cell("TWICE = 2 * SIZE\nnever = unknown\nnever.grad = None\nnever[0] = 1"))
    defined = definitions_of(ran)
    assert (defined["SIZE"], defined["STEPS"], defined["TWICE"]) == (10, [1, 2], 20)
    assert defined["halved"](5.0) == 2.5 and defined["solved_symexp"](torch.zeros(2)).tolist() == [0.0, 0.0]
    exercises = {f"{whose}_{name}" for whose in ("my", "solved") for name in ("symlog", "symexp")}
    exercises |= {"lambda_returns", "solved_lambda_returns"}  # of the name of its check
    names = {"math", "torch", "notebook", "check", "Question", "quiz", "halved", "nothing", *exercises}
    assert defined.keys() - {"__builtins__"} == {"SIZE", "STEPS", "TWICE", *names}


# --- The rules --------------------------------------------------------------------------------------------------------


def replace(old: str, new: str) -> Spoil:
    """Change the text or the code, wherever it stands."""

    def spoil(notebook: NotebookNode) -> None:
        assert any(old in cell.source for cell in notebook.cells)
        for cell in notebook.cells:
            cell.source = cell.source.replace(old, new)

    return spoil


def output(old: str, new: str) -> Spoil:
    """Change what the cells show."""

    def spoil(notebook: NotebookNode) -> None:
        before = nbformat.writes(notebook)
        for cell in code_cells(notebook):
            for shown in cell.outputs:
                if "text" in shown:
                    shown.text = shown.text.replace(old, new)
                for kind, value in shown.get("data", {}).items():
                    shown.data[kind] = value.replace(old, new)
        assert before != nbformat.writes(notebook)

    return spoil


def shows(**fields: Any) -> Spoil:
    """Let the third code cell show one thing more."""
    return lambda notebook: code_cells(notebook)[2].outputs.append(nbformat.from_dict(fields))


def cell(tag: str, **change: Any) -> Spoil:
    """Change the metadata of the first cell with this tag."""
    return lambda notebook: next(cell for cell in notebook.cells if has(cell, tag)).metadata.update(change)


def move(first: int, second: int) -> Spoil:
    """Let two cells change places, ids and execution counts aside."""

    def spoil(notebook: NotebookNode) -> None:
        notebook.cells.insert(second, notebook.cells.pop(first))
        normalise(notebook, "07")

    return spoil


def without(first: int, last: int) -> Spoil:
    """Leave cells out."""

    def spoil(notebook: NotebookNode) -> None:
        del notebook.cells[first:last]
        normalise(notebook, "07")
        for number, cell in enumerate(code_cells(notebook), 1):
            cell.execution_count = number

    return spoil


def longer(notebook: NotebookNode) -> None:
    """Six more lines in every cell."""
    for cell in code_cells(notebook):
        cell.source += 6 * "\npass"


def tells(text: str) -> Spoil:
    """One more paragraph of text."""
    return replace("words of prose " * 500, f"{'words of prose ' * 500}\n\n{text}\n")


def asserts_first(notebook: NotebookNode) -> None:
    """A cell of its own, before that which shows the answer to the second question."""
    at = next(n for n, cell in enumerate(notebook.cells) if cell.id == "07-09")
    notebook.cells.insert(at, new_code_cell("assert halved(3.0) == 1.5", id="07-08a"))


HINT = "<details><summary>Hint 2</summary>"
LAST = QUIZ.splitlines()[-2]
SPOILED: dict[str, tuple[str, str, Spoil]] = {
    "too short": ("bounds", "words: ", replace("words of prose " * 500, "few ")),
    "code blocks are no prose": ("bounds", "words: ", replace("words of prose " * 500, f"```\n{'words ' * 2000}\n```")),
    "too long": ("bounds", "words: ", replace("words of prose", "words of a prose that goes on")),
    "long cells": ("bounds", "longest cell: ", replace("SIZE, STEPS", "\n".join(["pass"] * 40 + ["SIZE, STEPS"]))),
    "cells are no small pieces": ("bounds", "median cell: ", longer),
    "few checks": ("bounds", "lines per check: ", longer),
    "two exercises": ("bounds", "exercises: 2, and not 3 to 6", without(11, 15)),
    "one picture": ("bounds", "images: 1, and not 2", without(4, 5)),
    "large": ("bounds", "kilobytes: ", shows(output_type="stream", name="stdout", text="1" * 1_500_000)),
    "no title": ("opening", "title like '# 07 ·", replace("# 07 · Sample", "# Sample")),
    "two aims": ("opening", "list of three or four", replace("- stretch them again\n", "")),
    "no minutes": ("opening", "minutes of study ·", replace("20 minutes", "some time")),
    "no module": ("opening", "minutes of study ·", replace(" · ends in", " · and")),
    "another version": ("opening", 'notebook.begin("0.2.0")', replace("0.2.0", "0.1.0")),
    "no limits": ("closing", "does not end with", replace("## What it still cannot do", "## Outlook")),
    "not at the end": ("closing", "does not end with", replace("## What you built", "## What you built\n\n## More")),
    "asks once": ("closing", "asks 0 times", replace("Predict, then run", "Run")),
    "an answer in sight on the website": ("predictions", "needs the tag hide-output", cell("hide-output", tags=[])),
    "an answer in sight in JupyterLab": ("predictions", "and outputs_hidden", cell("hide-output", jupyter={})),
    "an answer in an assertion": (
        "predictions",
        "cell 07-09 asserts the answer to 07-08 where everybody reads it",
        replace("print(halved", "assert halved(3.0) == 1.5\nprint(halved"),
    ),
    "an answer in an assertion of the cell before": (
        "predictions",
        "cell 07-08a asserts the answer to 07-08 where everybody reads it",
        asserts_first,
    ),
    "an answer that does not open": ("predictions", "no <details><summary>What", replace("It is the first.", "")),
    "the next question before the answer": (
        "predictions",
        "after the question of cell 07-06 no <details>",
        replace(OPENED, "It is the first."),
    ),
    "the answer under the question": (
        "predictions",
        "tells what happened below its own question",
        replace("See [the room]", f"\n\n{OPENED}\n\nSee [the room]"),
    ),
    "an answer to nothing": ("predictions", "nothing is shown between the question of cell 07-06", without(6, 7)),
    "two questions at once": (
        "predictions",
        "asks for two predictions",
        replace("Which one", "Predict, then run. Which one"),
    ),
    "no heading of a quiz": ("quizzes", "'## Quiz' is not the last section", replace("## Quiz", "### Quiz")),
    "a quiz in the middle": ("quizzes", "does not stand under '## Quiz'", move(24, 4)),
    "no quiz": ("quizzes", "0 cells call quiz(...)", without(24, 25)),
    "four questions": ("quizzes", "asks 4 questions", replace(LAST, "")),
    "answers that can be read": ("quizzes", "can be read", cell("hide-input", tags=[])),
    "answers that can be read in JupyterLab": ("quizzes", "can be read", cell("hide-input", jupyter={})),
    "a quiz that is not shown": ("quizzes", "shows no questions", output("wm-quiz", "quiz")),
    "wrong number": ("exercises", "Exercise 7.1 should be Exercise 7.2", replace("Exercise 7.2", "Exercise 7.1")),
    "no stars": ("exercises", "no line like '★☆☆ · 5 minutes'", replace("★★☆ · 5 minutes", "easy")),
    "no signature": ("exercises", "no signature", replace("def my_symexp(x): ...", "my_symexp(x)")),
    "one hint": ("exercises", "hints ['1']", replace(HINT, "<details><summary>Hint</summary>")),
    "hint without empty line": ("exercises", "hints ['1']", replace(f"{HINT}\n", HINT)),
    "solution in sight": ("exercises", "no collapsed cell", cell("solution", jupyter={})),
    "solution not hidden in the book": ("exercises", "no collapsed cell", cell("solution", tags=["solution"])),
    "solution elsewhere": ("exercises", "no collapsed cell", move(13, 10)),
    "solution without its check": (
        "exercises",
        "does not end with 'check.symlog(solved_symlog)'",
        replace("check.symlog(solved_symlog)", "check.symlog(my_symlog)"),
    ),
    "solution over what the reader wrote": (
        "exercises",
        "takes the place of what the reader wrote: my_symlog",
        replace("check.symlog(solved_symlog)", "def my_symlog(x):\n    pass\n\n\ncheck.symlog(solved_symlog)"),
    ),
    "no cell to write in": ("exercises", "no cell with the tag exercise", cell("exercise", tags=[])),
    "a cell to write in that tells more": (
        "exercises",
        "holds 'torch.ones(1)', which is no import",
        replace("def my_symlog(*given):\n", "torch.ones(1)\n\n\ndef my_symlog(*given):\n"),
    ),
    "a cell to write in without a docstring": (
        "exercises",
        "my_symlog is to have a docstring",
        replace('def my_symlog(*given):\n    """Of a number."""\n', "def my_symlog(*given):\n"),
    ),
    "a cell to write in of another exercise": (
        "exercises",
        "does not end with raise NotImplementedError('Exercise 7.1')",
        replace('raise NotImplementedError("Exercise 7.1")', 'raise NotImplementedError("Exercise 7.2")'),
    ),
    "another function": (
        "exercises",
        "the cell to write in has no my_other",
        replace("def my_symlog(x): ...", "def my_other(x): ..."),
    ),
    "unchecked": ("exercises", "no cell with the tags check", cell("check", tags=["nbval-check-output"])),
    "wrong": ("exercises", "and not that it is right", output("True", "False")),
    "solved for the reader": ("exercises", "and not that it is still to be written", output("False", "True")),
    "tag astray": (
        "exercises",
        "3 exercises, but 4 cells with the tag check",
        lambda notebook: code_cells(notebook)[1].metadata.update(tags=["check"]),
    ),
    "needs a solution": (
        "solutions",
        "needs the solution solved_symlog",
        replace("halved(3.0) == 1.5", "solved_symlog(3.0)"),
    ),
    "told in the text": (
        "solutions",
        "stands elsewhere, too: size = torch.expm1(x.abs())",
        replace("words of prose " * 500, "\n    size  = torch.expm1(x.abs())  # so\n"),
    ),
    "told in an output": (
        "solutions",
        "stands elsewhere, too: size = torch.expm1(x.abs())",
        output("1.5\n", "size = torch.expm1(x.abs())\n"),
    ),
    "wide code": ("columns", "a line of 89 columns", replace("SIZE == 10", f"SIZE == 10  # {45 * 'x'}")),
    "wide code in the text": ("columns", "a line of 89 columns", replace("not prose", 89 * "x")),
    "not run": (
        "execution",
        "did not run from top to bottom",
        lambda notebook: code_cells(notebook)[3].update(execution_count=None),
    ),
    "run in another order": ("execution", "did not run from top to bottom", move(4, 6)),
    "error": (
        "execution",
        "shows an error: KeyError: 1",
        shows(output_type="error", ename="KeyError", evalue="1", traceback=[]),
    ),
    "warning": ("execution", "complains: careful", shows(output_type="stream", name="stderr", text="careful")),
    "home": (
        "execution",
        "a place on one machine: /home/me/x.py",
        shows(output_type="stream", name="stdout", text="at /home/me/x.py"),
    ),
    "address": ("execution", "a place on one machine: 0x7f00deadbeef", output("1.5", "<object at 0x7f00deadbeef>")),
    "cell id": (
        "execution",
        "not as `make notebooks` writes them",
        lambda notebook: notebook.cells[0].update(id="abc"),
    ),
    "editor's metadata": ("execution", "not as `make notebooks` writes them", cell("check", collapsed=True)),
    "bare picture": (
        "pictures",
        "shows a bare image/png",
        shows(output_type="display_data", metadata={}, data={"image/png": "iVBO"}),
    ),
    "no alternative text": ("pictures", "no alternative text", output('alt="', 'title="')),
    "empty alternative text": ("pictures", "no alternative text", output('alt="', 'alt="" title="')),
    "no caption": ("pictures", "a figure has no caption", output("figcaption", "div")),
    "picture in the text": ("pictures", "in the text has no alternative", replace("See [the room]", "See ![]")),
    "decimal number out of nowhere": ("numbers", "says 0.17, which no output", tells("It is 0.17 long.")),
    "large number out of nowhere": ("numbers", "says 20,000, which no output", tells("Of 20,000, or so.")),
    "rounded to another number": ("numbers", "says 1.6, which no output", tells("It is 1.6.")),  # 1.5 is printed
    "number in the fold of an answer": (
        "numbers",
        "says 776, which no output",
        tells("<details><summary>What happened</summary>\n\n776 nats.\n\n</details>"),
    ),
    "no way on": ("navigation", "`python tools/navigate.py` writes them", replace("Chapters: **07**", "The end.")),
    "a chapter that is gone": ("navigation", "tools/navigate.py", replace("**07**", "[06](06_gone.ipynb) · **07**")),
    "dead link": ("plain", "../wm_tutorial/nowhere.py leads nowhere", replace("transforms.py)", "nowhere.py)")),
    "directive": ("plain", "directives and roles as they are: ```{note", replace("Which one", "\n```{note}\n")),
    "role": ("plain", "directives and roles as they are: {doc}`", replace("Which one", "See {doc}`x`, which")),
}


@pytest.fixture
def complaints(course: Path, monkeypatch: pytest.MonkeyPatch) -> Complaints:
    """Every complaint about a notebook, beside the rule that makes it."""
    monkeypatch.setattr(chapter_rules, "RESULTS", course / "chapters.json")
    monkeypatch.setattr(chapter_rules, "titles", lambda: LISTED)
    return lambda notebook: [(rule.__name__, said) for rule in RULES for said in rule(notebook, NAME)]


def test_nothing_is_wrong_with_the_sample(ran: NotebookNode, complaints: Complaints) -> None:
    assert complaints(ran) == []


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_sample_is_caught_by_its_rule(name: str, ran: NotebookNode, complaints: Complaints) -> None:
    rule, expected, spoil = SPOILED[name]
    spoil(ran)
    assert any(by == rule and expected in said for by, said in complaints(ran)), complaints(ran)


@pytest.mark.parametrize(
    "text",
    [
        "It is 1.5, or 2.", "`0.17` and $0.17$ and $$0.17$$", "[776](../README.md)", "#### 0.17",
        "Williams 1992 says so.", "See exercise 6.3.", "arXiv 2301.04104", "```\n0.17\n```", "12 of 99",
        "version 0.1.0",
    ],
)  # fmt: skip
def test_a_number_may_stand_where_it_is_printed_or_is_no_result(
    text: str, ran: NotebookNode, complaints: Complaints
) -> None:
    tells(text)(ran)
    assert [complaint for by, complaint in complaints(ran) if by == "numbers"] == []


def test_a_number_that_no_cell_prints_may_stand_if_it_says_why(
    ran: NotebookNode, complaints: Complaints, monkeypatch: pytest.MonkeyPatch
) -> None:
    tells("It stays at 43.5.")(ran)
    monkeypatch.setitem(chapter_rules.UNPRINTED, "07", {"43.5": "of a run in book/results"})
    assert [complaint for by, complaint in complaints(ran) if by == "numbers"] == []


def test_every_exception_for_a_number_is_needed() -> None:
    for name, exceptions in chapter_rules.UNPRINTED.items():
        (path,) = chapters([name])
        assert not [number for number in exceptions if number not in markdown(read(path))]


def test_every_rule_is_tried() -> None:
    assert {rule for rule, _, _ in SPOILED.values()} == {rule.__name__ for rule in RULES}


@pytest.mark.parametrize(
    ("seconds", "chapter", "fine"), [(90, NAME, True), (91, NAME, False), (360, "08_x", True), (361, "08_x", False)]
)
def test_a_chapter_may_take_90_seconds_and_chapter_08_six_minutes(
    seconds: int, chapter: str, fine: bool, ran: NotebookNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "chapters.json").write_text(json.dumps({chapter: {"cpu_seconds": seconds}}))
    monkeypatch.setattr(chapter_rules, "RESULTS", tmp_path / "chapters.json")
    assert (list(bounds(ran, chapter)) == []) is fine


def test_a_chapter_whose_cost_is_not_recorded_is_caught(ran: NotebookNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chapter_rules, "RESULTS", Path("nowhere.json"))
    assert list(bounds(ran, NAME)) == ["CPU seconds: nan, and not 0 to 90"]
