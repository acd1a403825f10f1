"""Who has nothing but the wheel has the course, too: `wm-tutorial notebooks DIR`, and its checks work there."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from course import NOTEBOOKS, chapters, code_cells, links, read
from ipykernel.ipkernel import IPythonKernel

from wm_tutorial import cli
from wm_tutorial.course.copy import copy_course, folder_of_notebooks, student
from wm_tutorial.errors import InputError, OutputError

ROOT = NOTEBOOKS.parent

# In a process of its own: the cells of a chapter down to its first check, as a kernel would run them.
TO_THE_FIRST = """\
import json, sys
import wm_tutorial
print(wm_tutorial.__file__)
space = {}
for cell in json.load(open(sys.argv[1], encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        exec("".join(cell["source"]), space)
        if sys.argv[2] in cell["metadata"].get("tags", []):
            break
"""


def without_links(notebook: nbformat.NotebookNode) -> list[tuple[str, object]]:
    """Every cell without its words."""
    return [(cell.cell_type, cell.get("outputs") if cell.cell_type == "code" else None) for cell in notebook.cells]


def test_a_copy_has_every_chapter_and_differs_in_links_that_would_lead_nowhere(tmp_path: Path) -> None:
    written = copy_course(tmp_path / "new" / "course", solutions=True)
    assert [path.name for path in written] == [path.name for path in chapters()]
    for copied, original in zip(map(read, written), map(read, chapters()), strict=True):
        nbformat.validate(copied)
        assert without_links(copied) == without_links(original)
        assert copied.metadata.kernelspec == original.metadata.kernelspec
        for cell, other in zip(copied.cells, original.cells, strict=True):
            assert cell.source == other.source or ("](../" in other.source and cell.cell_type == "markdown")
        assert all((written[0].parent / link).exists() for link in links(copied))


def test_a_copy_says_of_its_language_what_its_kernel_says_so_that_opening_it_changes_nothing(tmp_path: Path) -> None:
    for copied in map(read, copy_course(tmp_path)):
        assert copied.metadata.language_info == IPythonKernel.language_info


def test_a_link_out_of_the_folder_becomes_the_name_of_the_file(tmp_path: Path) -> None:
    text = "[`wm_tutorial/kl.py`](../wm_tutorial/kl.py#L1), [the zoo](../wm_tutorial/zoo), [next](01_b.ipynb)"
    cells = [nbformat.v4.new_markdown_cell(text)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "00_a.ipynb")
    (copied,) = copy_course(tmp_path / "copy", source=tmp_path)
    assert read(copied).cells[0].source == "`wm_tutorial/kl.py`, the zoo (`wm_tutorial/zoo`), [next](01_b.ipynb)"


def test_students_get_what_make_student_writes(tmp_path: Path) -> None:
    for copied in map(read, copy_course(tmp_path)):
        assert not any("solution" in cell.metadata.get("tags", []) for cell in copied.cells)
    for copied, original in zip(sorted(tmp_path.iterdir()), chapters(), strict=True):
        assert code_cells(read(copied)) == code_cells(student(read(original))) != code_cells(read(original))


def test_a_file_of_a_reader_is_never_overwritten_and_nothing_is_half_copied(tmp_path: Path) -> None:
    mine = tmp_path / chapters()[3].name
    mine.write_text("my solutions")
    with pytest.raises(InputError, match=rf"already holds {mine.name}, perhaps with your work .* another folder"):
        copy_course(tmp_path)
    assert mine.read_text() == "my solutions" and list(tmp_path.iterdir()) == [mine]


def test_a_place_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot be written to .*file.*Choose another folder"):
        copy_course(tmp_path / "file" / "course")


def test_the_command_says_how_to_begin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.command_line(["notebooks", str(tmp_path / "my course")])()
    told = capsys.readouterr().out
    first = tmp_path / "my course" / chapters()[0].name
    assert f'jupyter lab "{first}"' in told and "pip install" in told and first.exists()
    command = cli.command_line(["notebooks", "x", "--solutions"])
    assert isinstance(command, cli.Notebooks) and command.solutions


def test_a_clone_copies_its_own_notebooks() -> None:
    assert folder_of_notebooks() == NOTEBOOKS


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What installing the wheel puts into an environment: nothing of the repository beside it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site-packages")
    return folder / "site-packages"


def test_a_wheel_brings_the_agents_that_chapters_open_with(installed: Path, tmp_path: Path) -> None:
    code = "from wm_tutorial.course import story; print(story.__file__, story.show('01').as_text, sep=chr(10))"
    where, caption, alt = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert Path(where).is_relative_to(installed)
    assert caption.startswith("Broken: ") and alt.startswith("[Film of one episode")


@pytest.mark.parametrize(("options", "says"), [([], "still to be written"), (["--solutions"], "right, in all")])
def test_a_wheel_brings_the_course_and_its_checks_work(
    options: list[str], says: str, installed: Path, tmp_path: Path
) -> None:
    def python(*words: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(installed)}
        return subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
        ).stdout

    assert f"{len(chapters())} chapters are in course" in python("-m", "wm_tutorial", "notebooks", "course", *options)
    copied = tmp_path / "course" / "06_lambda_returns.ipynb"
    where, *_, last = python("-c", TO_THE_FIRST, str(copied), "solution" if options else "check").splitlines()
    assert Path(where).is_relative_to(installed) and says in last
    assert json.loads(copied.read_text(encoding="utf-8"))["nbformat"] == 4
