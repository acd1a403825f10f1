"""benchmarks/grading.py grades a class, and says what it took and whether anybody got other points than they should."""

import json
import runpy
from pathlib import Path

import pytest

from wm_tutorial.grade import run
from wm_tutorial.grade.judge import Graded

GRADING = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "grading.py"))


def test_notebooks_are_graded_in_turn_and_what_they_got_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def graded(folder: Path, out: Path, jobs: int) -> list[Graded]:
        seen.extend(sorted(path.name for path in folder.rglob("*.ipynb")))
        return []  # nobody got anything

    monkeypatch.setattr(run, "grade", graded)
    measured = GRADING["measure"](15, 3, tmp_path / "grading.json")
    assert len(seen) == 15 and set(seen) == {"04.ipynb", "06.ipynb"}
    assert measured.wrong_points == 15 and measured.jobs == 3
    assert json.loads((tmp_path / "grading.json").read_text())["notebooks"] == 15


def test_the_page_for_teachers_tells_what_was_measured() -> None:
    measured = json.loads(GRADING["OUT"].read_text())
    page = " ".join((GRADING["ROOT"] / "book" / "grading.md").read_text().split())
    told = f"graded {measured['notebooks']} notebooks of two chapters, `--jobs 2`, in {measured['minutes']:.1f} minutes"
    assert told in page and measured["jobs"] == len(measured["chapters"]) == 2
    assert measured["wrong_points"] == 0 and measured["minutes"] < 15
