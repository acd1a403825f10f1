"""`check.report()`: what a reader has done, over all chapters, in one small file of the reader's own."""

import multiprocessing
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import report_cells
import torch
from course import NOTEBOOKS, chapters, code_cells, markdown, read, write
from nbformat.v4 import new_code_cell

from wm_tutorial import check
from wm_tutorial.check import progress
from wm_tutorial.check.progress import VARIABLE
from wm_tutorial.course.exercises import exercises_in
from wm_tutorial.errors import InputError

REWARDS = torch.tensor([1.0, 2.0, 4.0])


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of a reader who has done nothing yet, in a new kernel."""
    monkeypatch.setattr(progress, "_noted", {})
    monkeypatch.setenv(VARIABLE, str(tmp_path / "mine" / "progress.txt"))
    yield tmp_path / "mine" / "progress.txt"


def worth(reward, gamma):
    return sum(gamma**n * one for n, one in enumerate(reward))


def wrong(reward, gamma):
    return reward.sum()


wrong.__name__ = "worth"


def solved_worth(reward, gamma):
    return worth(reward, gamma)


def stub(reward, is_first, is_last):
    raise NotImplementedError("Exercise 0.2")


stub.__name__ = "returns_in"


def told(capsys: pytest.CaptureFixture[str], chapter: str | None = "00") -> str:
    """What a report says."""
    capsys.readouterr()
    check.report(chapter)
    return capsys.readouterr().out


def test_a_report_tells_right_from_tried_and_not_tried(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.discounted_return(worth) and not check.episode_returns(lambda a, b, c: a) and not file.exists()
    check.episode_returns(stub)
    said = told(capsys)
    assert "Chapter 00: 1 of 3 exercises right, 0 tried, 2 not tried" in said
    assert "right      0.1  what an episode is worth" in said and "not tried  0.2" in said
    assert "hand in the file 00_start_here.ipynb" in said and f"Kept in {file}" in said
    total = len(exercises_in(NOTEBOOKS))
    assert f"All chapters: 1 of {total} exercises right, 0 tried, {total - 1} not tried" in said
    assert len(file.read_text().splitlines()) == 1 and file.read_text().startswith("0.1 right 20")


def test_a_wrong_function_is_tried_and_later_right_and_stays_so(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check.discounted_return(wrong)
    assert "1 tried" in told(capsys)
    check.discounted_return(worth)
    check.discounted_return(wrong)  # spoilt afterwards
    assert "1 of 3 exercises right, 0 tried" in told(capsys)
    assert [line.split()[:2] for line in file.read_text().splitlines()] == [["0.1", "tried"], ["0.1", "right"]]
    before = file.read_bytes()
    assert "1 of 3" in told(capsys) and file.read_bytes() == before  # nothing new, nothing written


def test_solutions_and_other_functions_do_not_count(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check.discounted_return(solved_worth)
    check.discounted_return(lambda reward, gamma: worth(reward, gamma))
    assert "0 of 3 exercises right, 0 tried" in told(capsys) and not file.exists()


def test_two_exercises_with_one_check_are_two(capsys: pytest.CaptureFixture[str]) -> None:
    asked = [one for one in exercises_in(NOTEBOOKS) if one.check == "lambda_returns"]
    assert [one.number for one in asked] == ["6.3", "6.4"]
    function = check.PARTS["lambda_returns"].right

    def returns_without_a_loop(*given):
        return function(*given)

    check.lambda_returns(returns_without_a_loop)
    said = told(capsys, "06")
    assert "not tried  6.3" in said and "right      6.4" in said


def test_the_next_kernel_and_another_chapter_know_of_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check.discounted_return(worth)
    check.report("00")
    monkeypatch.setattr(progress, "_noted", {})  # a new kernel
    assert "All chapters: 1 of " in told(capsys, "06")
    assert "  00: 1 of 3 exercises right" in told(capsys, None)


def _report(file: Path, number: int) -> None:
    progress._keep(file, [f"{number}.{n} right 2026-01-01" for n in range(1, 6)], False)


def test_notebooks_at_once_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "new" / "progress.txt"
    every = [multiprocessing.get_context("fork").Process(target=_report, args=(file, n)) for n in range(8)]
    for one in every:
        one.start()
    for one in every:
        one.join()
    assert progress._read(file) == {f"{n}.{m}": "right" for n in range(8) for m in range(1, 6)}


def test_what_is_no_line_of_it_is_left_alone(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.parent.mkdir()
    file.write_bytes(b"my notes\n\xff\xfe\n99.9 right\n0.2 rig")  # the last one was cut off
    check.discounted_return(worth)
    assert "1 of 3 exercises right" in told(capsys)
    assert file.read_bytes().startswith(b"my notes\n\xff\xfe\n99.9 right\n0.2 rig\n0.1 right 20")


def test_where_nothing_can_be_written_the_report_is_given_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file" / "progress.txt"))
    check.discounted_return(worth)
    said = told(capsys)
    assert "1 of 3 exercises right" in said and "Not kept beyond this session" in said and VARIABLE in said
    monkeypatch.setenv(VARIABLE, "off")
    assert "1 of 3 exercises right" in told(capsys) and list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_by_default_it_lies_in_the_home_of_the_reader(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: tmp_path))
    assert progress._file() == tmp_path / ".wm_tutorial" / "progress.txt"


def test_another_chapter_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"no chapter '77' with exercises; there are: 00, 01"):
        check.report("77")


# --- The cell in the chapters -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem[:2])
def test_every_chapter_ends_with_the_cell_and_shows_what_it_prints_to_a_new_reader(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = code_cells(read(path))[-1]
    assert cell.source == f'check.report("{path.name[:2]}")'
    exercises = re.findall(r"^### Exercise (\d+\.\d+)", markdown(read(path)), re.MULTILINE)
    capsys.readouterr()
    exec(cell.source, {"check": check})
    said = capsys.readouterr().out
    assert said == cell.outputs[0].text
    assert f"0 of {len(exercises)} exercises right" in said and all(f"  {one}  " in said for one in exercises)
    assert f"hand in the file {path.name}" in said and "All chapters" not in said  # so a new chapter changes no other


def test_the_tool_puts_the_cell_in_without_running_it_and_leaves_it_where_it_is(tmp_path: Path) -> None:
    for path in chapters():
        shutil.copy(path, tmp_path)
    assert report_cells.main(tmp_path) == []
    copy = tmp_path / chapters(["14"])[0].name  # at the bounds of what a chapter may be
    notebook, committed = read(copy), read(copy)
    at = notebook.cells.index(code_cells(notebook)[-1])
    del notebook.cells[at - 1 : at + 1]
    write(notebook, copy)
    assert report_cells.main(tmp_path) == [copy.stem]
    assert read(copy) == committed


def test_code_below_the_quiz_is_refused_since_nothing_is_run(tmp_path: Path) -> None:
    for path in chapters():
        shutil.copy(path, tmp_path)
    copy = tmp_path / chapters(["06"])[0].name
    notebook = read(copy)
    notebook.cells.append(new_code_cell("1 + 1"))
    write(notebook, copy)
    with pytest.raises(SystemExit, match="has to be run anew"):
        report_cells.main(tmp_path)
