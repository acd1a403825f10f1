"""Handed-in work as it really comes: strange names, broken zips, notebooks that nobody wrote by hand, odd Python.

None of it may stop the grading of a class, and no right function may lose its points to the way it was handed in.
"""

import csv
import io
import json
import os
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from classroom import CHAPTERS, EXERCISES, KL, code, handed_out, written

from wm_tutorial.errors import InputError
from wm_tutorial.grade import collect as collecting
from wm_tutorial.grade import exercises, extract, honesty, report
from wm_tutorial.grade import settings as settings_of
from wm_tutorial.grade.collect import Submission, collect
from wm_tutorial.grade.extract import Notebook, plain
from wm_tutorial.grade.judge import Graded, Verdict, file_name, judge
from wm_tutorial.grade.remote import Stable
from wm_tutorial.grade.sandbox import Limits

LIMITS = Limits(seconds=30, wait=600)  # nothing here uses them up, on a busy machine neither
FOUR = json.dumps(handed_out("04"))
CHECK = "check.gaussian_kl(gaussian_kl)"
RIGHT = """
def gaussian_kl(a, b, c, d):
    return 0.5 * (d - b + ((b - d).exp() + (a - c) ** 2 * (-d).exp()) - 1).sum(-1)
"""


@pytest.fixture(scope="module")
def stable() -> Iterator[Stable]:
    os.environ["WM_SECRET_OF_THE_TEACHER"] = "seed 1234"
    try:
        with Stable() as warm:
            yield warm
    finally:
        del os.environ["WM_SECRET_OF_THE_TEACHER"]


def graded(stable: Stable, *cells: str) -> Graded:
    text = json.dumps({"cells": [code(one) for one in cells]})
    return judge(Submission("ann", "ann.ipynb", text, chapter=CHAPTERS["04"]), stable, 5, LIMITS)


def first(stable: Stable, *cells: str) -> Verdict:
    return graded(stable, *cells).verdicts[0]


def pages_of(folder: Path, one: Graded) -> str:
    """The results of one notebook are written and read again; returns every page."""
    assert Graded.of_json(one.as_json().encode().decode()) == one
    report.write(folder, [one], [CHAPTERS["04"]], settings_of.Settings(1), None, [])
    return "\n".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.html"))


# --- What a student says ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("raise ValueError('\\ud800 half of a character')", "half of a character"),
        ("raise ValueError('\\x00\\x1b[31m bell \\u202e backwards')", "backwards"),
        ("return 10**10000", "a number of more than 300 digits"),
        ("return type('A' * 10**6, (), {})()", "it must be a tensor"),
    ],
)
def test_whatever_a_function_says_can_be_written_down(
    statement: str, words: str, stable: Stable, tmp_path: Path
) -> None:
    one = graded(stable, f"def gaussian_kl(*x):\n    {statement}", CHECK)
    assert words in one.verdicts[0].words
    page = pages_of(tmp_path, one)
    assert not {"\x00", "\x1b", "\u202e"} & set(page) and len(page) < 10**5


@pytest.mark.parametrize(
    "name", ["\udcff\udcfe", "x" * 251, "ü" * 200, "a\tb", "=1+1", " =1+1", "\x00", "<b>", "con/../..", ""]
)
def test_whatever_a_student_is_called_there_is_a_page(name: str, tmp_path: Path) -> None:
    one = Graded(name, "04_kl", f"{name}.ipynb", "key", [Verdict("4.1", "right")], flags=[name], notes=[name])
    assert "1 of 4 points" in pages_of(tmp_path, one)
    (page,) = (tmp_path / "students").iterdir()
    assert len(os.fsencode(page.name)) < 200
    (row,) = csv.DictReader(io.StringIO((tmp_path / "gradebook.csv").read_text(encoding="utf-8")))
    assert row["4.1"] == "1" and not row["student"].lstrip().startswith("=")


def test_two_long_names_have_two_pages() -> None:
    assert file_name("x" * 251) != file_name("x" * 252)
    assert file_name("Ann-Marie O. Ünal") == "Ann-Marie O. Ünal"


def test_nothing_of_the_teacher_stands_in_the_environment(stable: Stable) -> None:
    words = first(stable, "import os\ndef gaussian_kl(*x):\n    raise ValueError(sorted(os.environ))", CHECK).words
    assert "PATH" in words and "SECRET" not in words


def test_a_clock_that_stands_still_is_not_the_graders(stable: Stable) -> None:
    began = time.monotonic()
    source = """
import time, signal
time.monotonic = time.time = time.perf_counter = lambda: 0.0
def gaussian_kl(*x):
    signal.alarm(0)
    while True:
        signal.pause() if hasattr(signal, "nothing") else time.sleep(1000)
"""
    text = json.dumps({"cells": [code(source), code(CHECK)]})
    one = judge(Submission("a", "a", text, chapter=CHAPTERS["04"]), stable, 5, Limits(seconds=2, wait=1))
    assert "it had not answered after 1 seconds" in one.verdicts[0].words and time.monotonic() - began < 60


# --- Notebooks that nobody wrote by hand ------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["CELLS", "CHARACTERS", "STATEMENTS"])
def test_a_notebook_that_is_too_large_is_not_looked_at(limit: str) -> None:
    most = getattr(extract, limit)
    cells = {"CELLS": ["x"] * (most + 1), "CHARACTERS": ["#" * most, "x"], "STATEMENTS": ["x = 1\n" * (most + 1)]}
    with pytest.raises(ValueError, match=str(most)):
        Notebook.read(json.dumps({"cells": [code(one) for one in cells[limit]]}), CHAPTERS["04"])


def test_a_cell_that_is_too_deep_for_python_costs_itself_alone(stable: Stable) -> None:
    deep = written("04", KL | {"4.2": "def f(a, b):\n    return " + "-" * 10**5 + "1"})
    one = judge(Submission("ann", "ann", json.dumps(deep), chapter=CHAPTERS["04"]), stable, 5, LIMITS)
    assert [verdict.state for verdict in one.verdicts] == ["right", "wrong", "right", "right"]
    assert "the cell is not Python" in one.verdicts[1].words


@pytest.mark.parametrize(
    "cell",
    ["\n" * 10**5 + "x = 1", "print(" * 10**5, " " * 10**5 + "x", "v = 1\n" + "v = v + 1\n" * 3000, "a?" * 10**5],
    ids=["blank lines", "print(", "blanks", "a chain", "question marks"],
)
def test_no_text_keeps_the_grader_busy(cell: str) -> None:
    began = time.process_time()
    notebook = Notebook.read(json.dumps({"cells": [code(cell), code(RIGHT.replace("0.5", "v"))]}), CHAPTERS["04"])
    answer = notebook.answer(EXERCISES["4.1"])
    assert answer is not None and notebook.needed(answer, EXERCISES["4.1"])
    honesty.flags(notebook, [])
    assert time.process_time() - began < 10


# --- Python as notebooks have it --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "needed"),
    [
        (["v = 1", "v += 1\nv += 2", "v"], ["v = 1", "v += 1", "v += 2"]),
        (["v = 1\nv = v + 1\nv = v * 2", "v"], ["v = 1", "v = v + 1", "v = v * 2"]),
        (["v, w = 1, 2\nv, w = w, v", "v"], ["v, w = 1, 2", "v, w = w, v"]),
        (["v = []\nfor i in range(3):\n    v.append(i)", "v"], ["v = []", "for i in range(3):\n    v.append(i)"]),
        (["v = {}\nv['a'] = 1\nv |= {'b': 2}\ndel v['a']", "v"], None),
        (["class v:\n    half = 1\nv.half += 1", "v.half"], None),
        (["v = 2\nif v > 3:\n    v = 4", "v"], None),
        (["def g(x):\n    return x", "old = g\ndef g(x):\n    return old(x) + 1", "g(1)"], None),
        (["k = 2\ndef g():\n    return k\nv = g()", "v"], None),
        (["v = train()\nv = 1", "v"], ["v = 1"]),
        (["v = 1\nresult = [v]\nresult.append(2)", "v"], ["v = 1"]),
    ],
)
def test_values_are_those_of_the_moment(cells: list[str], needed: list[str] | None) -> None:
    *before, last = cells
    own = f"def gaussian_kl(*x):\n    return {last}"
    notebook = Notebook.read(json.dumps({"cells": [code(one) for one in (*before, own, CHECK)]}), CHAPTERS["04"])
    answer = notebook.answer(EXERCISES["4.1"])
    assert answer is not None
    found = [one.source for one in notebook.needed(answer, EXERCISES["4.1"])]
    if needed is not None:
        assert found == [*needed, own]
    there: dict[str, Any] = {}
    exec("\n".join(found), there)
    everything: dict[str, Any] = {"train": list}
    exec("\n".join([*before, own]), everything)
    assert repr(there["gaussian_kl"]()) == repr(everything["gaussian_kl"]())


def test_a_function_that_counts_its_calls_and_one_with_late_annotations_are_right(stable: Stable) -> None:
    counting = RIGHT.replace("    return", "    global calls\n    calls += 1\n    return")
    assert first(stable, "calls = 0", counting, CHECK).state == "right"
    late = RIGHT.replace("(a, b, c, d)", "(a: Nowhere, b, c, d) -> Elsewhere")
    assert first(stable, f"from __future__ import annotations\n{late}", CHECK).state == "right"


def test_a_percent_sign_that_is_python_stays_and_one_that_is_not_does_nothing() -> None:
    formatted = "x = (\n    '%d'\n    % 3\n)"
    assert plain(formatted) == formatted
    assert plain(f"%matplotlib inline\n{formatted}") == f"pass\n{formatted}"
    assert plain("t = %timeit -o f(x)\nfiles = !ls\ny = 1") == "pass\npass\ny = 1"
    assert plain("\n  x = 1\n  y = 2") == "\nx = 1\ny = 2"


# --- What is changed around a function --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        ("import torch\ntorch.allclose = lambda *x, **y: True", "torch.allclose"),
        ("from torch import testing as t\nt.assert_close = print", "torch.testing.assert_close"),
        ("import numpy as np\nsetattr(np, 'array_equal', print)", "numpy.array_equal"),
        ("import builtins\nbuiltins.print = None", "builtins.print"),
    ],
)
def test_who_changes_a_function_of_a_library_is_flagged(cell: str, what: str) -> None:
    notebook = Notebook.read(json.dumps({"cells": [code(cell)]}), CHAPTERS["04"])
    assert honesty.flags(notebook, []) == [f"cell 1: it changes {what}"]


def test_who_changes_a_setting_is_not() -> None:
    cell = "import torch, numpy as np\ntorch.backends.cudnn.deterministic = True\nnp.random.seed(1)\ntorch.extra = 3"
    notebook = Notebook.read(json.dumps({"cells": [code(cell)]}), CHAPTERS["04"])
    assert honesty.flags(notebook, []) == []


# --- Zips and files ---------------------------------------------------------------------------------------------------


def zipped(path: Path, *members: tuple[str, str]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)


def found(folder: Path) -> list[tuple[str, str]]:
    return [(one.student, one.chapter.number if one.chapter else "") for one in collect(folder, exercises.chapters())]


def test_a_path_in_a_zip_belongs_to_who_handed_it_in(tmp_path: Path) -> None:
    zipped(tmp_path / "ann.zip", ("/etc/04.ipynb", FOUR))
    zipped(tmp_path / "bob.zip", ("../ann/04.ipynb", FOUR))
    assert found(tmp_path) == [("ann", "04"), ("bob", "04")]


def test_a_zip_that_is_broken_in_the_middle_costs_no_other_and_is_told(tmp_path: Path) -> None:
    zipped(tmp_path / "ann.zip", ("04.ipynb", FOUR), ("06.ipynb", json.dumps(handed_out("06"))))
    raw = bytearray((tmp_path / "ann.zip").read_bytes())
    raw[200:260] = bytes(byte ^ 255 for byte in raw[200:260])
    (tmp_path / "ann.zip").write_bytes(raw)
    zipped(tmp_path / "bob.zip", ("04.ipynb", FOUR))
    four, *others = sorted(collect(tmp_path, exercises.chapters()), key=lambda one: one.file)
    assert "cannot be unpacked" in four.notes[0] and not four.text
    assert [(one.student, bool(one.text)) for one in others] == [("ann", True), ("bob", True)]


def test_a_zip_without_a_date_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "ann.zip", "w") as archive:
        member = zipfile.ZipInfo("04.ipynb")
        member.date_time = (1980, 0, 0, 0, 0, 0)
        archive.writestr(member, FOUR)
    assert found(tmp_path) == [("ann", "04")]


def test_a_zip_that_grows_without_end_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "ALTOGETHER", 3 * 10**6)
    blank = " " * 10**6
    zipped(tmp_path / "ann.zip", *((f"{n}.ipynb", blank) for n in range(9)))
    texts = [len(one.text) for one in collect(tmp_path, exercises.chapters())]
    assert sorted(texts) == [0] * 6 + [10**6] * 3
    notes = [note for one in collect(tmp_path, exercises.chapters()) for note in one.notes]
    assert len(notes) == 6 and all("was not unpacked" in note for note in notes)


def test_a_class_in_one_zip_is_read_as_the_folder_in_it(tmp_path: Path) -> None:
    zipped(tmp_path / "class.zip", ("ann/04.ipynb", FOUR), ("bob/deep/04.ipynb", FOUR), ("cy_04_kl.ipynb", FOUR))
    assert found(tmp_path / "class.zip") == [("ann", "04"), ("bob", "04"), ("cy", "04")]
    (tmp_path / "none.zip").write_bytes(b"PK no zip")
    with pytest.raises(InputError, match="no folder"):
        collect(tmp_path / "none.txt", exercises.chapters())


def test_a_file_that_may_not_be_read_is_told_and_a_link_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in" / "ann").mkdir(parents=True)
    (tmp_path / "in" / "ann" / "04_kl.ipynb").write_text(FOUR)
    (tmp_path / "secret.ipynb").write_text(FOUR)
    (tmp_path / "in" / "bob").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "in" / "eve.ipynb").symlink_to(tmp_path / "secret.ipynb")

    def refused(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refused)
    (one,) = collect(tmp_path / "in", exercises.chapters())
    assert one.student == "ann" and one.notes == ["ann/04_kl.ipynb cannot be read: Permission denied"]
