"""One submission, judged: each exercise in a process of its own, first as the check does, then on hidden variants."""

import ast
import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from wm_tutorial.check.diagnosis import problem_of
from wm_tutorial.grade import honesty
from wm_tutorial.grade.collect import Submission
from wm_tutorial.grade.exercises import Chapter, Exercise
from wm_tutorial.grade.extract import Notebook, Statement, folded, name_of
from wm_tutorial.grade.hidden import hidden_parts
from wm_tutorial.grade.remote import Remote, Stable, Task
from wm_tutorial.grade.sandbox import Limits
from wm_tutorial.mistakes import PARTS

FORMAT = 1  # of the results; another one is graded anew
DRAWS = 3  # of hidden variants, of which two must fail: one that fails by a last digit alone is no mistake
State: TypeAlias = Literal["right", "wrong", "unsolved", "not counted", "missing", "unreadable"]
TOLD = re.compile(r"^\s*(given|expected|got) .*$\n?", re.MULTILINE)  # numbers of a hidden variant
LONGEST = 120  # characters of a file's name that a student gives
KNOWN = re.compile(r"Known mistake (\w+):")


@dataclass
class Verdict:
    """What became of one exercise.

    words    of the check, for the student
    mistake  the name of the known one
    cell     where to look, and `line` in it
    source   of the function, which begins at the line `first` of its cell
    mark     something that the teacher may want to know
    """

    number: str
    state: State
    words: str = ""
    mistake: str = ""
    cell: str = ""
    line: int = 0
    first: int = 0
    source: str = ""
    mark: str = ""


@dataclass
class Graded:
    """A notebook with its verdicts; `key` tells whether it has to be graded again."""

    student: str
    chapter: str
    file: str
    key: str
    verdicts: list[Verdict]
    flags: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> str:
        """For the folder of results."""
        return json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"  # in ASCII: a student may write anything

    @classmethod
    def of_json(cls, text: str) -> "Graded":
        """Raises ValueError, KeyError or TypeError if it is none."""
        told: dict[str, Any] = json.loads(text)
        return cls(**told | {"verdicts": [Verdict(**verdict) for verdict in told["verdicts"]]})


def key_of(submission: Submission, seed: int, limits: Limits) -> str:
    """Changes with everything that a verdict depends on."""
    chapter = submission.chapter
    course = [chapter.name, sorted(chapter.given), chapter.stubs, repr(chapter.exercises)] if chapter else []
    told = [FORMAT, course, seed, asdict(limits), submission.text, submission.brought, submission.notes]
    return hashlib.sha256(json.dumps(told, allow_nan=False).encode()).hexdigest()


def file_name(student: str) -> str:
    """A student's name as that of a file, on any system; two students never share one."""
    plain = re.sub(r"[^\w.@ +-]", "_", student)[:LONGEST].strip(". ")
    digest = hashlib.sha256(student.encode(errors="surrogatepass")).hexdigest()
    return plain if plain == student and len(plain.encode()) <= LONGEST else f"{plain[: LONGEST // 4]}-{digest[:8]}"


def judge(submission: Submission, stable: Stable, seed: int, limits: Limits) -> Graded:
    """Every exercise of a notebook that belongs to a chapter."""
    chapter = submission.chapter
    assert chapter is not None
    graded = Graded(submission.student, chapter.name, submission.file, key_of(submission, seed, limits), [])
    graded.notes = list(submission.notes)
    try:
        notebook = Notebook.read(submission.text, chapter)
    except (ValueError, RecursionError) as error:
        graded.verdicts = all_of(chapter, "unreadable", f"the file is no notebook to be graded: {error}.")
        return graded
    graded.flags = honesty.flags(notebook, submission.brought)
    graded.verdicts = [_judged(exercise, notebook, stable, seed, limits) for exercise in chapter.exercises]
    return graded


def all_of(chapter: Chapter, state: State, words: str) -> list[Verdict]:
    """The same verdict on every exercise of a chapter."""
    return [Verdict(exercise.number, state, words) for exercise in chapter.exercises]


def _judged(exercise: Exercise, notebook: Notebook, stable: Stable, seed: int, limits: Limits) -> Verdict:
    answer = notebook.answer(exercise)
    if answer is None or answer.stub:
        return _without_answer(exercise, notebook, answer)
    verdict = Verdict(exercise.number, "wrong", cell=answer.file, line=_last(answer), source=answer.source)
    verdict.first = answer.line
    needed = notebook.needed(answer, exercise)
    if taken := honesty.borrowed(needed, exercise, notebook):
        verdict.state, verdict.words = "not counted", f"{taken}; the exercise is to write it."
        return verdict
    if folded(answer, exercise):
        verdict.mark = "the folded solution as it stands"
    verdict.words = _asked(exercise, notebook, verdict, stable, seed, limits)
    if verdict.words and verdict.state == "wrong":
        _follow_through(exercise, notebook, verdict, stable, seed, limits)
    if not verdict.words:
        verdict.state = "right"
    elif verdict.words.startswith("still to be written"):
        verdict.state = "unsolved"
    if found := KNOWN.search(verdict.words):
        verdict.mistake = found[1]
    return verdict


def _follow_through(
    exercise: Exercise, notebook: Notebook, verdict: Verdict, stable: Stable, seed: int, limits: Limits
) -> None:
    """A function that is wrong only because it calls that of an earlier exercise has all its points."""
    answer = notebook.answer(exercise)
    assert answer is not None
    needed = {id(one) for one in notebook.needed(answer, exercise)}
    for other in notebook.chapter.exercises:
        own = notebook.answer(other)
        if other is exercise or own is None or own is answer or id(own) not in needed:
            continue
        mended = notebook.with_solution(other, answer)
        trial = Verdict(exercise.number, "wrong")
        if mended and not _asked(exercise, mended, trial, stable, seed, limits) and trial.state == "wrong":
            verdict.words, verdict.state = "", "right"
            verdict.mark = f"right, once the function of exercise {other.number} that it calls is"
            return


def _last(answer: Statement) -> int:
    """The line in which the function returns last: where what is wrong has arrived, if no line is known better."""
    first = answer.node.lineno
    returns = [node.lineno for node in ast.walk(answer.node) if isinstance(node, ast.Return)]
    return answer.line + max(returns, default=first) - min(first, answer.line)


def _without_answer(exercise: Exercise, notebook: Notebook, stub: Statement | None) -> Verdict:
    """Nothing was written, or it is not Python."""
    for place, cell in notebook.cells:
        if place in notebook.broken and (cell.get("id") == exercise.cell or _defines(cell, exercise)):
            words = f"the cell is not Python: {notebook.broken[place]}."
            return Verdict(exercise.number, "wrong", words, cell=name_of(place), line=_line(notebook.broken[place]))
    if stub is not None:
        return Verdict(exercise.number, "unsolved", "still to be written.")
    return Verdict(exercise.number, "unsolved", f"there is no function {exercise.function} in the notebook.")


def _defines(cell: dict[str, Any], exercise: Exercise) -> bool:
    return bool(re.search(rf"^def {exercise.function}\b", "".join(cell.get("source", "")), re.MULTILINE))


def _line(broken: str) -> int:
    found = re.match(r"line (\d+)", broken)
    return int(found[1]) if found else 0


def _asked(exercise: Exercise, notebook: Notebook, verdict: Verdict, stable: Stable, seed: int, limits: Limits) -> str:
    """What is wrong, or nothing: as in the check, then on hidden variants."""
    answer = notebook.answer(exercise)
    assert answer is not None
    needed = notebook.needed(answer, exercise)
    task = Task(
        name=next(name for name in notebook.names(exercise) if name in answer.binds),
        arguments=len(PARTS[exercise.part].cases[0]),
        statements=[{"file": one.file, "line": one.line, "source": one.source} for one in needed],
        files={one.file: notebook.text(one.file) for one in needed},
        finished=honesty.finished(exercise.part),
    )
    with Remote(stable, limits) as function:
        words = function.load(task) or problem_of(PARTS[exercise.part], function)
        if not words:
            failed = []
            for draw in range(DRAWS):
                if problem := problem_of(hidden_parts(seed, draw)[exercise.part], function):
                    failed.append(problem)
                if not failed or function.stopped or len(failed) == 2:
                    break
            if len(failed) == 2 or (failed and function.stopped):
                words = f"right in all cases of the check, and wrong on other inputs: {TOLD.sub('', failed[0]).strip()}"
        if function.finished:
            verdict.state = "not counted"
        if function.raised and function.raised.kind == "PermissionError":
            verdict.mark = f"the system refused it: {function.raised.text}"
        if words and function.raised and function.raised.line:
            if function.raised.file != verdict.cell:
                verdict.first, verdict.source = 1, task.files.get(function.raised.file, "")
            verdict.cell, verdict.line = function.raised.file, function.raised.line
        return words.strip()
