"""Grade a class: what is graded already is kept, the rest runs on all cores, and one that fails costs no other."""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.util import Finalize
from pathlib import Path

from tqdm.auto import tqdm

from wm_tutorial.checkpoint import write_text
from wm_tutorial.errors import InputError
from wm_tutorial.grade import settings as settings_of
from wm_tutorial.grade.collect import Submission, collect
from wm_tutorial.grade.exercises import Chapter, chapters
from wm_tutorial.grade.judge import Graded, all_of, file_name, judge, key_of
from wm_tutorial.grade.remote import Stable
from wm_tutorial.grade.report import write
from wm_tutorial.grade.sandbox import Limits, Walls

SETTINGS = "grade.toml"


def grade(submissions: Path, out: Path, settings: Path | None = None, jobs: int | None = None) -> list[Graded]:
    """Grade what lies in `submissions`, and write points and pages into `out`.

    settings  a TOML file; `grade.toml` in `out` if left out, which is written with a new seed where there is none
    jobs      how many submissions run at a time; one for each core if left out

    Raises:
        InputError: if there is nothing to grade, or the settings are wrong.
        OutputError: if `out` cannot be written.
    """
    if not hasattr(os, "fork"):
        raise InputError(
            "Submissions run in forked processes, which this system does not have. Grade on Linux or macOS."
        )
    every = chapters()
    handed_in = collect(submissions, every)
    told = settings_of.read(settings or out / SETTINGS)
    counted = _counted(every, handed_in, told.chapters)
    known = [one for one in handed_in if one.chapter in counted]
    graded = [kept for one in known if (kept := _kept(one, out, told.seed, told.limits))]
    done = {(one.student, one.chapter) for one in graded}
    waiting = [one for one in known if one.chapter and (one.student, one.chapter.name) not in done]
    walls = None
    if waiting:
        with tempfile.TemporaryDirectory(prefix="wm-grade-") as folder:
            for one, there in _judged(waiting, told.seed, told.limits, jobs or os.cpu_count() or 1, Path(folder)):
                walls = there or walls
                write_text(_place(one, out), one.as_json())
                graded.append(one)
    missing = _missing(handed_in, counted)
    write(out, [*graded, *missing], counted, told, walls, [one for one in handed_in if one.chapter is None])
    return graded


def _counted(every: tuple[Chapter, ...], handed_in: list[Submission], wanted: tuple[str, ...]) -> list[Chapter]:
    numbers = wanted or {one.chapter.number for one in handed_in if one.chapter}
    if unknown := [number for number in wanted if number not in {chapter.number for chapter in every}]:
        raise InputError(f"There is no chapter {unknown[0]}; there are {', '.join(one.number for one in every)}.")
    return [chapter for chapter in every if chapter.number in numbers]


def _missing(handed_in: list[Submission], counted: list[Chapter]) -> list[Graded]:
    """Those who handed in something, and not this chapter."""
    there = {(one.student, one.chapter.name) for one in handed_in if one.chapter}
    students = sorted({one.student for one in handed_in})
    return [
        Graded(student, chapter.name, "", "", all_of(chapter, "missing", "not handed in."))
        for student in students
        for chapter in counted
        if (student, chapter.name) not in there
    ]


# --- Results that are kept --------------------------------------------------------------------------------------------


def _place(one: Graded | Submission, out: Path) -> Path:
    chapter = one.chapter if isinstance(one, Graded) else one.chapter.name if one.chapter else ""
    return out / "results" / file_name(one.student) / f"{chapter}.json"


def _kept(one: Submission, out: Path, seed: int, limits: Limits) -> Graded | None:
    try:
        kept = Graded.of_json(_place(one, out).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kept if kept.key == key_of(one, seed, limits) and kept.student == one.student else None


# --- In parallel ------------------------------------------------------------------------------------------------------

_stable: Stable | None = None  # of this worker


def _begin(folder: Path) -> None:
    global _stable
    _stable = Stable(folder)
    Finalize(None, _stable.__exit__, args=(None, None, None), exitpriority=1)  # it ends before its worker does


def _work(one: Submission, seed: int, limits: Limits) -> tuple[Graded, Walls]:
    assert _stable is not None
    return judge(one, _stable, seed, limits), _stable.walls


def _judged(
    waiting: list[Submission], seed: int, limits: Limits, jobs: int, folder: Path
) -> Iterator[tuple[Graded, Walls | None]]:
    """Each submission as soon as it is graded."""
    with tqdm(total=len(waiting), desc="grading", unit="notebook", file=sys.stderr, leave=False) as bar:
        if jobs == 1:
            with Stable(folder) as stable:
                for one in waiting:
                    try:
                        yield judge(one, stable, seed, limits), stable.walls
                    except Exception as error:  # no other submission shall wait for this one
                        yield _given_up(one, repr(error)), stable.walls
                    bar.update()
            return
        suspects: list[Submission] = []  # one of them has taken a worker down: each runs alone
        while waiting:
            batch = suspects[:1] or waiting
            with _workers(min(jobs, len(batch)), folder) as pool:
                futures = {pool.submit(_work, one, seed, limits): one for one in batch}
                for future in as_completed(futures):
                    try:
                        result: tuple[Graded, Walls | None] = future.result()
                    except BrokenProcessPool as error:
                        if not suspects:
                            continue
                        result = _given_up(batch[0], repr(error)), None
                    except Exception as error:  # no other submission shall wait for this one
                        result = _given_up(futures[future], repr(error)), None
                    waiting = [one for one in waiting if one is not futures[future]]
                    yield result
                    bar.update()
            first = waiting[: 2 * jobs + 1]  # those that were running, and those that were to be next
            suspects = [one for one in suspects if one in waiting] if suspects else first


def _given_up(one: Submission, error: str) -> Graded:
    """A verdict without a key: it is graded again the next time."""
    assert one.chapter is not None
    words = f"the grader itself failed with this notebook ({error}); look at it by hand."
    verdicts = all_of(one.chapter, "unreadable", words)
    return Graded(one.student, one.chapter.name, one.file, "", verdicts, flags=[words])


@contextmanager
def _workers(jobs: int, folder: Path) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(folder,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
