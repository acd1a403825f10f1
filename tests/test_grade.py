"""Grading a class: who is right loses no point, nothing that is brought along wins one, and a teacher can read it.

The class of `classroom.py` is graded once; what a process may not do has tests of its own in test_grade_walls.py.
"""

import csv
import dataclasses
import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from classroom import CHAPTERS, CLASS, EXERCISES, KL, RETURNS, cell, code, hand_in, handed_out, written

from wm_tutorial import cli
from wm_tutorial.check.diagnosis import problem_of
from wm_tutorial.errors import InputError
from wm_tutorial.grade import exercises, honesty, report, run
from wm_tutorial.grade import settings as settings_of
from wm_tutorial.grade.answer import owner_of
from wm_tutorial.grade.collect import Submission, collect
from wm_tutorial.grade.extract import Notebook, folded, names_in, plain
from wm_tutorial.grade.hidden import hidden_parts
from wm_tutorial.grade.judge import Graded, Verdict, judge
from wm_tutorial.grade.remote import Stable
from wm_tutorial.grade.sandbox import Limits
from wm_tutorial.mistakes import PARTS

SECONDS = 6  # of computing: only who never ends uses them up, on a busy machine too; and nobody waits for the clock
LIMITS = Limits(seconds=SECONDS, wait=600)
SETTINGS = f'seed = 1\n[limits]\nseconds = {SECONDS}\nwait = 600\n[points]\n"4.1" = 2.5\n'


@dataclasses.dataclass
class School:
    """The class after it was graded."""

    folder: Path
    graded: dict[str, Graded]

    def verdict(self, student: str, number: str) -> Verdict:
        return next(one for one in self.graded[student].verdicts if one.number == number)

    def read(self, name: str) -> str:
        return (self.folder / "out" / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> School:
    folder = tmp_path_factory.mktemp("school")
    hand_in(folder / "in")
    (folder / "out").mkdir()
    (folder / "out" / "grade.toml").write_text(SETTINGS)
    done = run.grade(folder / "in", folder / "out", jobs=1)
    return School(folder, {one.student: one for one in done})


@pytest.fixture(scope="module")
def stable() -> Iterator[Stable]:
    with Stable() as warm:
        yield warm


# --- What each of the class gets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("student", CLASS)
def test_each_of_the_class_gets_the_points_it_should(student: str, school: School) -> None:
    verdicts = school.graded[student].verdicts
    told = "\n".join(f"{one.number} {one.state}: {one.words}" for one in verdicts)
    assert tuple(int(one.state == "right") for one in verdicts) == CLASS[student].gets, told


def test_the_note_on_the_trial_lists_what_each_should_get_and_what_each_got(school: School) -> None:
    note = (Path(__file__).parent.parent / "teaching" / "trial.md").read_text()
    rows = re.findall(r"^\| (\w+) \| (\d\d) \| .+ \| ([01 ]+) \| ([01 ]+) \|$", note, re.MULTILINE)
    should = [(name, handed.chapter, " ".join(map(str, handed.gets))) for name, handed in CLASS.items()]
    assert [row[:3] for row in rows] == should and len(rows) == 24
    states = {name: [verdict.state for verdict in one.verdicts] for name, one in school.graded.items()}
    assert [row[3] for row in rows] == [" ".join(str(int(one == "right")) for one in states[row[0]]) for row in rows]


@pytest.mark.parametrize("student", [name for name, handed in CLASS.items() if handed.names])
def test_known_mistakes_are_named_as_in_the_check(student: str, school: School) -> None:
    for number, name in CLASS[student].names.items():
        verdict = school.verdict(student, number)
        assert verdict.mistake == name
        story = PARTS[EXERCISES[number].part].mistakes[name].story
        assert f"Known mistake {name}: {story}" in verdict.words


@pytest.mark.parametrize("student", CLASS)
def test_what_is_brought_along_is_flagged_and_nobody_else_is(student: str, school: School) -> None:
    one = school.graded[student]
    said = [*one.flags, *(v.mark for v in one.verdicts if v.mark)]
    said += [v.words for v in one.verdicts if v.state == "not counted"]
    for words in CLASS[student].flagged:
        assert any(words in line for line in said), said
    if not CLASS[student].flagged and student != "tom":
        assert not said


@pytest.mark.parametrize(
    ("student", "number", "words"),
    [
        ("mia", "4.2", f"it had not answered after {SECONDS} seconds of computing"),
        ("nils", "7.1", "allocate"),
        ("lea", "6.2", "the cell is not Python: line 1"),
        ("kim", "2.1", "the file is no notebook"),
        ("jan", "4.1", "still to be written"),
        ("sam", "6.1", "right in all cases of the check, and wrong on other inputs"),
        ("tom", "4.3", "it calls wm_tutorial.kl.balanced_kl, the finished function of the package"),
    ],
)
def test_others_are_told_what_became_of_their_function(student: str, number: str, words: str, school: School) -> None:
    assert words in school.verdict(student, number).words


def test_no_number_of_a_hidden_variant_is_told(school: School) -> None:
    words = school.verdict("sam", "6.1").words
    assert not re.search(r"\b(given|expected|got)\b", words)


def test_the_line_to_look_at_is_where_it_raised_or_what_it_returned(school: School) -> None:
    raised, wrong = school.verdict("nils", "7.1"), school.verdict("olga", "4.1")
    assert raised.source.splitlines()[raised.line - raised.first].strip() == "return torch.zeros(10**6, 10**6) + logits"
    assert wrong.source.splitlines()[wrong.line - wrong.first].startswith("    return 0.5 *")


# --- What the teacher reads -------------------------------------------------------------------------------------------


def test_the_gradebook_weighs_each_exercise_as_the_settings_say(school: School) -> None:
    rows = {row["student"]: row for row in csv.DictReader(io.StringIO(school.read("gradebook.csv")))}
    assert list(rows) == sorted(CLASS)
    assert rows["bela"]["4.1"] == "2.5" and rows["bela"]["points"] == "5.5"
    assert rows["chen"]["points"] == "4" and rows["chen"]["4.1"] == "0"
    assert {row["of"] for row in rows.values()} == {"15.5"}
    assert rows["tom"]["flags"] == "3" and rows["ada"]["flags"] == "0"


def test_the_page_of_the_class_tells_what_was_misunderstood_and_where_it_is_treated(school: School) -> None:
    page = school.read("class.html")
    for words in (
        "kl_reversed, in 4.1 (the KL of a whole latent): 1 of 6 who tried it",
        "Treated in chapter 04, “Two Gaussians”.",
    ):
        assert words in page
    assert "How it was run" in page and "Around each submission: limits on computing time" in page
    assert "it takes wm_tutorial.mistakes" in page


def test_the_most_frequent_misconception_comes_first() -> None:
    def one(student: str, number: str, name: str) -> Graded:
        return Graded(student, "04_kl", "", "", [Verdict(number, "wrong", mistake=name)])

    made = [("a", "4.2", "estimator_plain"), ("b", "4.1", "kl_reversed"), ("c", "4.1", "kl_reversed")]
    students = {student: {"04_kl": one(student, number, name)} for student, number, name in made}
    found = report.misconceptions(students, [CHAPTERS["04"]])
    assert [(name, who) for _, _, name, who in found] == [("kl_reversed", ["b", "c"]), ("estimator_plain", ["a"])]


def test_the_page_of_a_student_has_the_words_of_the_check_and_the_function(school: School) -> None:
    page = school.read("students/olga.html")
    assert "Known mistake kl_reversed:" in page and "To read again: “Two Gaussians”." in page
    assert re.search(r"<mark> +2 +return 0\.5 \*", page)
    assert "chapter" not in school.read("students/ada.html").split("4.1")[0] or "not handed in." in page


def test_what_students_write_is_only_text_on_the_pages(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    verdict = Verdict("4.1", "wrong", f"it raised {evil}", cell=evil, line=1, first=1, source=evil)
    graded = [Graded(evil, "04_kl", evil, "", [verdict], flags=[evil], notes=[evil])]
    report.write(tmp_path, graded, [CHAPTERS["04"]], settings_of.Settings(1), None, [])
    pages = [path.read_text() for path in tmp_path.rglob("*.html")]
    assert len(pages) == 2 and all(evil not in page and "&lt;script&gt;" in page for page in pages)


def test_a_name_is_neither_a_formula_nor_a_path(tmp_path: Path) -> None:
    graded = [Graded(name, "04_kl", "", "", [Verdict("4.1", "right")]) for name in ("=1+1", "../up", "_/up")]
    report.write(tmp_path, graded, [CHAPTERS["04"]], settings_of.Settings(1), None, [])
    assert "\n'=1+1," in (tmp_path / "gradebook.csv").read_text()
    assert all(path.parent == tmp_path / "students" for path in (tmp_path / "students").iterdir())
    assert len(list((tmp_path / "students").iterdir())) == 3


# --- Again ------------------------------------------------------------------------------------------------------------


def only(school: School, monkeypatch: pytest.MonkeyPatch, settings: str = SETTINGS) -> list[str]:
    """Whom another call would run."""
    asked: list[str] = []

    def noted(waiting: list[Any], *_: Any) -> Iterator[Any]:
        asked.extend(one.student for one in waiting)
        yield from ()

    monkeypatch.setattr(run, "_judged", noted)
    (school.folder / "again.toml").write_text(settings)
    run.grade(school.folder / "in", school.folder / "out", school.folder / "again.toml")
    return sorted(asked)


def test_what_is_graded_is_not_run_again_and_the_pages_stay(school: School, monkeypatch: pytest.MonkeyPatch) -> None:
    before = school.read("gradebook.csv")
    assert only(school, monkeypatch) == []
    assert school.read("gradebook.csv") == before


def test_other_points_run_nothing_again(school: School, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(school, monkeypatch, SETTINGS.replace("2.5", "3")) == []
    assert {row["of"] for row in csv.DictReader(io.StringIO(school.read("gradebook.csv")))} == {"16"}


def test_another_seed_runs_all_again(school: School, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(school, monkeypatch, SETTINGS.replace("seed = 1", "seed = 2")) == sorted(CLASS)


def test_only_a_notebook_that_changed_runs_again(school: School, monkeypatch: pytest.MonkeyPatch) -> None:
    path = school.folder / "in" / "jan" / "04_kl.ipynb"
    before = path.read_text()
    path.write_text(json.dumps(written("04", KL)))
    assert only(school, monkeypatch) == ["jan"]
    path.write_text(before)


# --- A worker that ends -----------------------------------------------------------------------------------------------


class Pool:
    """Workers of which one ends whenever it is given `bad`; then nothing else of the batch comes back."""

    def __init__(self, jobs: int) -> None:
        self.broken = False

    def submit(self, function: Callable[..., Any], one: Any, *_: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        self.broken = self.broken or one.student == "bad"
        if self.broken:
            future.set_exception(BrokenProcessPool("gone"))
        else:
            future.set_result((Graded(one.student, "04_kl", "", "", []), None))
        return future


def test_a_notebook_that_takes_the_grader_down_costs_no_other(
    school: School, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    @contextmanager
    def workers(jobs: int, folder: Path) -> Iterator[Pool]:
        yield Pool(jobs)

    monkeypatch.setattr(run, "_workers", workers)
    (one,) = [one for one in collect(school.folder / "in", exercises.chapters()) if one.student == "bela"]
    waiting = [dataclasses.replace(one, student=name) for name in ("a", "b", "bad", "c", "d", "e", "f", "g", "h")]
    found = {graded.student: graded for graded, _ in run._judged(waiting, 1, LIMITS, 2, tmp_path)}
    assert sorted(found) == ["a", "b", "bad", "c", "d", "e", "f", "g", "h"]
    assert [name for name, graded in found.items() if graded.flags] == ["bad"]


def test_two_workers_grade_as_one_does(school: School, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for student in ("rosa", "hana", "lea"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{student}.ipynb").write_text(CLASS[student].notebook())
    (tmp_path / "grade.toml").write_text(SETTINGS)
    for one in run.grade(tmp_path / "in", tmp_path / "out", tmp_path / "grade.toml", jobs=2):
        assert one.verdicts == school.graded[one.student].verdicts
    monkeypatch.setattr(run, "_judged", pytest.fail)  # another process has written the results, and this one knows them
    assert len(run.grade(tmp_path / "in", tmp_path / "out", tmp_path / "grade.toml")) == 3


# --- Every exercise of every chapter ----------------------------------------------------------------------------------


def as_submission(notebook: dict[str, Any], number: str) -> Submission:
    return Submission("someone", "file", json.dumps(notebook), chapter=CHAPTERS[number])


@pytest.mark.parametrize("number", CHAPTERS)
def test_an_untouched_chapter_gets_nothing_and_the_folded_solutions_get_all(number: str, stable: Stable) -> None:
    untouched = judge(as_submission(handed_out(number), number), stable, 5, LIMITS)
    assert {(one.state, one.words) for one in untouched.verdicts} == {("unsolved", "still to be written.")}
    assert not untouched.flags
    notebook = handed_out(number)
    for exercise in CHAPTERS[number].exercises:
        function = exercise.solution.partition("\n\n\ncheck.")[0].replace("def solved_", "def own_")
        source = function.replace("solved_two_hot(", "own_two_hot(")  # 11.3 calls 11.1, so it is another one then
        cell(notebook, exercise.cell)["source"] = source
        own = re.findall(r"^def (own_\w+)\(", source, re.MULTILINE)[0]
        cell(notebook, exercise.check)["source"] = f"check.{exercise.part}({own})"
    solved = judge(as_submission(notebook, number), stable, 5, LIMITS)
    assert {one.state for one in solved.verdicts} == {"right"}, [one.words for one in solved.verdicts if one.words]
    marked = [one.number for one in solved.verdicts if one.mark == "the folded solution as it stands"]
    assert [one.number for one in solved.verdicts] == sorted([*marked, *({"11.3"} if number == "11" else ())])


def test_every_function_that_a_check_accepts_is_right_on_hidden_variants() -> None:
    """False blame is worse than a missed mistake: of three draws two must fail before anyone is blamed."""
    from test_check import EQUIVALENT, PACKAGE

    torch.set_num_threads(1)
    blamed = {}
    for part, function in [*EQUIVALENT, *PACKAGE.items()]:
        if first := problem_of(hidden_parts(3, 0)[part], function):
            again = [problem_of(hidden_parts(3, draw)[part], function) for draw in (1, 2)]
            if any(again):
                blamed[part, function.__name__] = first
    assert not blamed


@pytest.mark.parametrize("part", PARTS)
def test_every_check_has_inputs_that_nobody_has_seen(part: str) -> None:
    def inputs(cases: Any) -> set[str]:
        return {
            repr([torch.as_tensor(x).tolist() for x in case.values() if isinstance(x, torch.Tensor)]) for case in cases
        }

    def numbers(cases: Any) -> set[str]:
        return {repr(sorted(case.items(), key=str)) for case in cases}

    visible, hidden, other = PARTS[part].cases, hidden_parts(1, 0)[part].cases, hidden_parts(2, 0)[part].cases
    of = inputs if any(isinstance(x, torch.Tensor) for x in visible[0].values()) else numbers
    assert of(hidden) - of(visible) and of(other) - of(hidden)


def test_the_second_import_leaves_the_first_as_it_was() -> None:
    import wm_tutorial.mistakes

    before = {name: part.cases for name, part in PARTS.items()}
    hidden_parts(11, 0)
    assert wm_tutorial.mistakes.PARTS is PARTS
    assert all(PARTS[name].cases is cases for name, cases in before.items())


@pytest.mark.parametrize("part", honesty.FINISHED)
def test_what_is_called_finished_is_a_function_of_the_package(part: str) -> None:
    assert part in PARTS
    for dotted in honesty.finished(part):
        owner, name = owner_of(dotted)
        assert name in vars(owner), dotted


def borrowed(*cells: str) -> str:
    notebook = Notebook.read(json.dumps({"cells": [code(one) for one in cells]}), CHAPTERS["04"])
    answer = notebook.answer(EXERCISES["4.1"])
    assert answer is not None
    return honesty.borrowed(notebook.needed(answer, EXERCISES["4.1"]), EXERCISES["4.1"], notebook)


@pytest.mark.parametrize(
    "cells",
    [
        ["from wm_tutorial.kl import gaussian_kl"],
        ["import wm_tutorial.kl", "gaussian_kl = wm_tutorial.kl.gaussian_kl"],
        ["from wm_tutorial import kl as other", "def gaussian_kl(*x):\n    return other.gaussian_kl(*x)"],
        ["def gaussian_kl(*x):\n    from wm_tutorial.kl import gaussian_kl as it\n    return it(*x)"],
        ["from wm_tutorial.kl import gaussian_kl as it", "def helper(*x):\n    return it(*x)", "gaussian_kl = helper"],
        ["from wm_tutorial import check", "gaussian_kl = check.PARTS['gaussian_kl'].right"],
        ["from wm_tutorial.course.own import finished", "gaussian_kl = finished()['gaussian_kl']"],
    ],
)
def test_the_finished_function_is_found_under_any_name(cells: list[str]) -> None:
    assert "wm_tutorial" in borrowed(*cells)


def test_what_the_chapter_itself_imports_is_nobodys_answer() -> None:
    own = "def gaussian_kl(*x):\n    return symlog(x[0]) - checkpoint.user_path"
    given = "from wm_tutorial.kl import gaussian_kl as finished\nfrom wm_tutorial import checkpoint, kl"
    assert borrowed(given, "from wm_tutorial.transforms import symlog", own, "kl.gaussian_kl(1)") == ""


def test_a_function_that_calls_an_earlier_wrong_one_has_its_points_and_one_that_is_wrong_itself_has_not(
    school: School, stable: Stable
) -> None:
    assert school.verdict("rosa", "4.3").state == "right" and school.verdict("rosa", "4.1").state == "wrong"
    both = KL | {"4.1": KL["4.1"].replace(".sum(-1)", ".mean(-1)"), "4.3": KL["4.3"].replace("(1 - alpha)", "alpha")}
    verdicts = judge(as_submission(written("04", both), "04"), stable, 5, LIMITS).verdicts
    assert [one.state for one in verdicts] == ["wrong", "right", "wrong", "right"]
    unsolved = {number: source for number, source in KL.items() if number != "4.1"}
    verdicts = judge(as_submission(written("04", unsolved), "04"), stable, 5, LIMITS).verdicts
    assert [one.state for one in verdicts] == ["unsolved", "right", "right", "right"]


# --- What of a notebook an exercise needs -----------------------------------------------------------------------------


def taken(number: str, *cells: str) -> list[str]:
    """The statements that the exercise of a notebook with these cells needs."""
    chapter = CHAPTERS[number[:-2].zfill(2)]
    notebook = Notebook.read(json.dumps({"cells": [code(one) for one in cells]}), chapter)
    answer = notebook.answer(EXERCISES[number])
    assert answer is not None
    return [one.source for one in notebook.needed(answer, EXERCISES[number])]


def test_only_what_the_function_needs_is_run_in_order() -> None:
    assert taken(
        "4.4",
        "import torch, os\nimport nowhere\ntorch.manual_seed(0)",
        "LIMIT = []\nLIMIT.append(1)\nOTHER = train_for_an_hour()",
        "def above(x, free_nats):\n    return helper(x) > free_nats",
        "def teaching_share(kl, free_nats):\n    OTHER = 1\n    return above(kl, free_nats * LIMIT[0]).double().mean()",
        "def helper(x):\n    return torch.sum(x, -1)",
        "check.teaching_share(teaching_share)",
        "LIMIT.append(2)",
    ) == [
        "import torch",
        "LIMIT = []",
        "LIMIT.append(1)",
        "def above(x, free_nats):\n    return helper(x) > free_nats",
        "def teaching_share(kl, free_nats):\n    OTHER = 1\n    return above(kl, free_nats * LIMIT[0]).double().mean()",
        "def helper(x):\n    return torch.sum(x, -1)",
    ]


def test_the_last_function_before_the_check_counts_and_a_stub_only_if_there_is_no_other() -> None:
    first, last = "def teaching_share(kl, n):\n    return 1", "def teaching_share(kl, n):\n    return 2"
    stub = 'def teaching_share(kl, free_nats):\n    """The share."""\n    raise NotImplementedError("Exercise 4.4")'
    check = "check.teaching_share(teaching_share)"
    assert taken("4.4", first, last, check) == [last]
    assert taken("4.4", stub, check, first) == [first]
    assert taken("4.4", first, check, stub) == [first]
    assert taken("4.4", first, check, last) == [first]
    assert taken("4.4", first, check, last, check) == [last]
    assert taken("4.4", stub, check) == [stub]


def test_commands_of_ipython_do_nothing_and_lines_keep_their_numbers() -> None:
    assert plain("%matplotlib inline\nx = 1\n  !ls\nx?\ny = 'a?'") == "pass\nx = 1\n  pass\npass\ny = 'a?'"
    assert plain("%%bash\nrm -rf x") == "" and plain("%%time\nx = 1") == "pass\nx = 1"
    assert plain("y = 7 \\\n    % 2\nz = '''\n%d'''") is not None


def test_names_of_functions_inside_are_told_from_those_around() -> None:
    source = "def f(a):\n    b = a + c\n    return [b for d in e if g(d)]\n"
    assert names_in(source) == ({"f"}, set(), {"c", "e", "g"})


def test_a_folded_solution_is_known_by_what_it_does_and_not_by_its_name() -> None:
    exercise = EXERCISES["6.3"]
    copied = exercise.solution.partition("\n\n\ncheck.")[0].replace("solved_", "my_")
    for source, known in (
        (copied, True),
        (copied.replace("(B, H)", "mine"), True),
        (copied.replace("-1, -1", "-1, -2"), False),
    ):
        notebook = Notebook.read(json.dumps({"cells": [code(source)]}), CHAPTERS["06"])
        answer = notebook.answer(exercise)
        assert answer is not None and folded(answer, exercise) == known
    assert not folded(Notebook.read(json.dumps(written("06", RETURNS)), CHAPTERS["06"]).answer(exercise), exercise)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"cells": 3}', '{"cells": [1, {"cell_type": "code", "source": 7, "metadata": 3}]}', "[" * 10**5],
)
def test_what_is_no_notebook_is_said_to_be_none(text: str, stable: Stable) -> None:
    one = as_submission({}, "04")
    one.text = text
    assert {verdict.state for verdict in judge(one, stable, 1, LIMITS).verdicts} <= {"unreadable", "unsolved"}


# --- What was handed in -----------------------------------------------------------------------------------------------


def found(folder: Path) -> list[tuple[str, str]]:
    return [(one.student, one.chapter.number if one.chapter else "") for one in collect(folder, exercises.chapters())]


def test_folders_zips_and_files_of_students_are_read(tmp_path: Path) -> None:
    four, six = json.dumps(handed_out("04")), json.dumps(handed_out("06"))
    for name in ("ann/04_kl.ipynb", "ann/deep/mine.ipynb", "ann/.ipynb_checkpoints/04_kl.ipynb", "bob_04_kl.ipynb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(six if "mine" in name else four)
    with zipfile.ZipFile(tmp_path / "cy.zip", "w") as archive:
        archive.writestr("../../06.ipynb", six)
        archive.writestr("__MACOSX/04.ipynb", four)
    (tmp_path / "dan.zip").write_bytes(b"PK no zip")
    (tmp_path / "eve").mkdir()
    (tmp_path / "eve" / "holiday.ipynb").write_text(json.dumps({"cells": [code("print(1)")]}))
    assert found(tmp_path) == [("ann", "04"), ("ann", "06"), ("bob", "04"), ("cy", "06"), ("dan", ""), ("eve", "")]


def test_the_tree_of_nbgrader_is_read(tmp_path: Path) -> None:
    for place in ("source/kl", "release/kl", "submitted/ann/kl", "submitted/bob/kl"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "04_kl.ipynb").write_text(json.dumps(handed_out("04")))
    assert found(tmp_path) == found(tmp_path / "submitted") == [("ann", "04"), ("bob", "04")]


def test_of_several_notebooks_the_latest_is_graded_and_files_beside_it_are_flagged(tmp_path: Path) -> None:
    (tmp_path / "ann" / "wm_tutorial").mkdir(parents=True)
    (tmp_path / "ann" / "wm_tutorial" / "kl.py").write_text("gaussian_kl = print")
    for when, name in enumerate(("new", "old")):
        (tmp_path / "ann" / f"{name}.ipynb").write_text(json.dumps(handed_out("04")))
        os.utime(tmp_path / "ann" / f"{name}.ipynb", (10**9 - when, 10**9 - when))
    (one,) = collect(tmp_path, exercises.chapters())
    assert one.notes == ["graded ann/new.ipynb, the latest of 2; not ann/old.ipynb"]
    assert one.brought == ["wm_tutorial/kl.py"]


def test_a_folder_without_a_notebook_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no notebook"):
        collect(tmp_path, exercises.chapters())
    with pytest.raises(InputError, match="is no folder"):
        collect(tmp_path / "nowhere", exercises.chapters())


# --- Settings and the command -----------------------------------------------------------------------------------------


def test_settings_are_written_once_with_a_seed_of_their_own(tmp_path: Path) -> None:
    first, second = (settings_of.read(tmp_path / name) for name in ("a.toml", "b.toml"))
    assert first.seed != second.seed and first == settings_of.read(tmp_path / "a.toml")
    assert first.limits == Limits() and first.worth("4.1") == 1.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "seed is None"),
        ("seed = true", "seed is True"),
        ("seed = 1\nsed = 2", "has 'sed'"),
        ("seed = 1\nchapters = [4]", "two digits"),
        ('seed = 1\n[points]\n"4" = 1', "the number of an exercise"),
        ('seed = 1\n[points]\n"4.1" = -1', "0 or more"),
        ("seed = 1\npoints = 3", "a section"),
        ("seed = 1\n[limits]\nhours = 1", "limits 'hours'"),
        ("seed = 1\n[limits]\nseconds = 0", "1 or more"),
        ("seed = ", "cannot be read"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_in_words(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "grade.toml").write_text(text)
    with pytest.raises(InputError, match=re.escape(words)):
        settings_of.read(tmp_path / "grade.toml")


def test_the_command_grades_and_says_where_the_pages_lie(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "ann.ipynb").write_text(json.dumps(handed_out("04")))
    cli.command_line(["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--jobs", "1"])()
    assert "class.html" in capsys.readouterr().out
    assert (tmp_path / "out" / "gradebook.csv").read_text().splitlines()[1] == "ann,0,0,0,0,0,4,0"
