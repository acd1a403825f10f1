"""What the teacher gets: a CSV for the gradebook, a page for each student, and a page for the class."""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from wm_tutorial.checkpoint import write_text
from wm_tutorial.grade import pages
from wm_tutorial.grade.collect import Submission
from wm_tutorial.grade.exercises import Chapter, Exercise
from wm_tutorial.grade.judge import Graded, Verdict, file_name
from wm_tutorial.grade.sandbox import Walls
from wm_tutorial.grade.settings import Settings
from wm_tutorial.mistakes import PARTS

SHOWN = 12  # names of students behind a misconception


def write(
    out: Path,
    graded: Sequence[Graded],
    counted: Sequence[Chapter],
    settings: Settings,
    walls: Walls | None,
    strangers: Sequence[Submission],
) -> None:
    """Write everything into `out`.

    strangers  notebooks that belong to no chapter

    Raises:
        OutputError: if that cannot be.
    """
    by_student: dict[str, dict[str, Graded]] = defaultdict(dict)
    for one in graded:
        by_student[one.student][one.chapter] = one
    students = dict(sorted(by_student.items()))
    write_text(out / "gradebook.csv", gradebook(students, counted, settings))
    names = {student: f"{file_name(student)}.html" for student in students}
    for student, theirs in students.items():
        (out / "students").mkdir(parents=True, exist_ok=True)
        write_text(out / "students" / names[student], student_page(student, theirs, counted, settings))
    write_text(out / "class.html", class_page(students, counted, settings, walls, strangers, names))


def points_of(verdict: Verdict, settings: Settings) -> float:
    """All or nothing."""
    return settings.worth(verdict.number) if verdict.state == "right" else 0.0


def _exercises(counted: Sequence[Chapter]) -> list[tuple[Chapter, Exercise]]:
    return [(chapter, exercise) for chapter in counted for exercise in chapter.exercises]


def _verdicts(theirs: dict[str, Graded]) -> dict[str, Verdict]:
    return {verdict.number: verdict for one in theirs.values() for verdict in one.verdicts}


# --- For the gradebook ------------------------------------------------------------------------------------------------


def gradebook(students: dict[str, dict[str, Graded]], counted: Sequence[Chapter], settings: Settings) -> str:
    """A line for each student: points per exercise, their sum, what could be had, and how many flags there are."""
    numbers = [exercise.number for _, exercise in _exercises(counted)]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["student", *numbers, "points", "of", "flags"])
    most = sum(map(settings.worth, numbers))
    for student, theirs in students.items():
        verdicts = _verdicts(theirs)
        points = [points_of(verdicts[number], settings) if number in verdicts else 0.0 for number in numbers]
        flagged = sum(len(one.flags) for one in theirs.values())
        flagged += sum(verdict.state == "not counted" or bool(verdict.mark) for verdict in verdicts.values())
        writer.writerow([_as_text(student), *(f"{x:g}" for x in (*points, sum(points), most)), flagged])
    return file.getvalue()


def _as_text(student: str) -> str:
    """A name that a spreadsheet does not take for a formula."""
    shown = pages.readable(student)
    return f"'{shown}" if shown.lstrip().startswith(("=", "+", "-", "@")) or student.startswith(("\t", "\r")) else shown


# --- For a student ----------------------------------------------------------------------------------------------------


def student_page(student: str, theirs: dict[str, Graded], counted: Sequence[Chapter], settings: Settings) -> str:
    """Points, and for each exercise the words of its check with the line to look at."""
    verdicts, parts, total, most = _verdicts(theirs), [], 0.0, 0.0
    for chapter in counted:
        parts.append(f"<h2>{pages.text(chapter.title)}</h2>")
        one = theirs.get(chapter.name)
        parts.append(pages.items(one.notes if one else []))
        for exercise in chapter.exercises:
            verdict = verdicts.get(exercise.number, Verdict(exercise.number, "missing", "not handed in."))
            points, of = points_of(verdict, settings), settings.worth(exercise.number)
            total, most = total + points, most + of
            parts += _told(exercise, verdict, points, of)
    return pages.page(f"{student}: {total:g} of {most:g} points", *parts)


def _told(exercise: Exercise, verdict: Verdict, points: float, of: float) -> list[str]:
    kind = "right" if verdict.state == "right" else "other"
    parts = [
        f'<div class="{kind}">',
        f"<h3>{pages.text(f'{exercise.number} {exercise.title}: {points:g} of {of:g}')}</h3>",
    ]
    if verdict.state == "right":
        parts.append(pages.paragraph("Right, in the cases of the check and in others."))
    else:
        parts.append(f"<pre>{pages.text(verdict.words)}</pre>")
        if verdict.mistake or verdict.state == "wrong":
            parts.append(pages.paragraph(f"To read again: “{exercise.section}”."))
    if verdict.cell and verdict.state in ("wrong", "not counted"):
        parts.append(pages.paragraph(f"{verdict.cell}, line {verdict.line}:", "quiet"))
        parts.append(pages.code(verdict.source, verdict.first, verdict.line))
    return [*parts, "</div>"]


# --- For the class ----------------------------------------------------------------------------------------------------


def class_page(
    students: dict[str, dict[str, Graded]],
    counted: Sequence[Chapter],
    settings: Settings,
    walls: Walls | None,
    strangers: Sequence[Submission],
    names: dict[str, str],
) -> str:
    """What to talk about next, how every exercise went, and what a teacher has to look at."""
    parts = [pages.paragraph(f"{len(students)} students, {len(counted)} chapters.")]
    parts += ["<h2>What was misunderstood</h2>", *_misconceptions(students, counted)]
    parts += ["<h2>How each exercise went</h2>", _exercise_table(students, counted)]
    if flags := _flags(students):
        parts += ["<h2>To look at</h2>", pages.table(("student", "where", "what"), flags)]
    if strangers:
        why = [f"{one.file}: {'; '.join(one.notes) or 'no chapter of the course'}" for one in strangers]
        parts += ["<h2>Not graded</h2>", pages.items(why)]
    parts += ["<h2>Points</h2>", _points_table(students, counted, settings, names)]
    told = str(walls) if walls else "Everything had been graded before; nothing was run."
    return pages.page("The class", *parts, "<h2>How it was run</h2>", pages.paragraph(told))


def misconceptions(
    students: dict[str, dict[str, Graded]], counted: Sequence[Chapter]
) -> list[tuple[Exercise, Chapter, str, list[str]]]:
    """Known mistakes by exercise, with who made them; the most frequent first."""
    made: dict[tuple[str, str], list[str]] = defaultdict(list)
    for student, theirs in students.items():
        for verdict in _verdicts(theirs).values():
            if verdict.mistake:
                made[verdict.number, verdict.mistake].append(student)
    where = {exercise.number: (exercise, chapter) for chapter, exercise in _exercises(counted)}
    found = [(*where[number], name, who) for (number, name), who in made.items() if number in where]
    return sorted(found, key=lambda one: (-len(one[3]), one[0].number, one[2]))


def _misconceptions(students: dict[str, dict[str, Graded]], counted: Sequence[Chapter]) -> list[str]:
    parts = []
    tried = _tried(students)
    for exercise, chapter, name, who in misconceptions(students, counted):
        mistake = PARTS[exercise.part].mistakes[name]
        heading = (
            f"{name}, in {exercise.number} ({exercise.title}): {len(who)} of {tried[exercise.number]} who tried it"
        )
        shown = ", ".join(who[:SHOWN]) + (", …" if len(who) > SHOWN else "")
        parts += [
            f"<h3>{pages.text(heading)}</h3>",
            pages.paragraph(mistake.story[:1].upper() + mistake.story[1:]),
            pages.paragraph(f"Why it happens: {mistake.why}"),
            pages.paragraph(f"Treated in chapter {chapter.number}, “{exercise.section}”."),
            pages.paragraph(shown, "quiet"),
        ]
    unnamed = Counter(
        (verdict.number, verdict.words.partition("\n")[0])
        for theirs in students.values()
        for verdict in _verdicts(theirs).values()
        if verdict.state == "wrong" and not verdict.mistake
    )
    if unnamed:
        rows = [(count, number, words) for (number, words), count in unnamed.most_common()]
        parts += ["<h3>Wrong in ways that have no name</h3>", pages.table(("how often", "exercise", "words"), rows)]
    return parts or [pages.paragraph("Nothing that has a name, and nothing else.")]


def _tried(students: dict[str, dict[str, Graded]]) -> Counter[str]:
    """How many have written something for each exercise."""
    return Counter(
        verdict.number
        for theirs in students.values()
        for verdict in _verdicts(theirs).values()
        if verdict.state in ("right", "wrong", "not counted")
    )


def _exercise_table(students: dict[str, dict[str, Graded]], counted: Sequence[Chapter]) -> str:
    states: dict[str, Counter[str]] = defaultdict(Counter)
    for theirs in students.values():
        for verdict in _verdicts(theirs).values():
            states[verdict.number][verdict.state] += 1
    columns = ("right", "wrong", "unsolved", "not counted", "missing", "unreadable")
    rows = [
        (f"{exercise.number} {exercise.title}", exercise.section, *(states[exercise.number][name] for name in columns))
        for _, exercise in _exercises(counted)
    ]
    return pages.table(("exercise", "section", *columns), rows)


def _flags(students: dict[str, dict[str, Graded]]) -> list[tuple[str, str, str]]:
    rows = []
    for student, theirs in students.items():
        for one in theirs.values():
            rows += [(student, one.file, what) for what in (*one.flags, *one.notes)]
            for verdict in one.verdicts:
                if verdict.state == "not counted":
                    rows.append((student, f"{verdict.number}, {verdict.cell}", verdict.words))
                if verdict.mark:
                    rows.append((student, f"{verdict.number}, {verdict.cell}", verdict.mark))
    return rows


def _points_table(
    students: dict[str, dict[str, Graded]], counted: Sequence[Chapter], settings: Settings, names: dict[str, str]
) -> str:
    rows = []
    for student, theirs in students.items():
        verdicts = _verdicts(theirs)
        each = [
            sum(
                points_of(verdicts[exercise.number], settings)
                for exercise in chapter.exercises
                if exercise.number in verdicts
            )
            for chapter in counted
        ]
        rows.append((student, *each, sum(each), pages.link(names[student], f"students/{quote(names[student])}")))
    return pages.table(("student", *(chapter.number for chapter in counted), "points", "page"), rows)
