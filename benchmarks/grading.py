"""How long a class takes to grade: the notebooks of the class in tests/classroom.py, again and again under other names.

    python benchmarks/grading.py                     # 300 notebooks of two chapters, two at a time
    python benchmarks/grading.py --notebooks 28      # to see whether it works

Of the fourteen notebooks of chapters 04 and 06 that are handed in in turn, five are right throughout, the others empty,
dishonest or wrong in some exercise, and one never ends, which costs the ten seconds that a function may take. What a
teacher waits for is the time on the clock; where other programs ran beside it, CPU minutes over cores say what it would
have been.
The result is written to book/results/bench/grading.json.
"""

import json
import os
import platform
import resource
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path

import tyro

from wm_tutorial.grade import run

ROOT = Path(__file__).parent.parent
OUT = ROOT / "book" / "results" / "bench" / "grading.json"
CHAPTERS = ("04", "06")
sys.path.insert(0, str(ROOT / "tests"))


@dataclass(frozen=True)
class Measured:
    """What grading took, and on what; `wrong_points` are notebooks that got others than they should."""

    notebooks: int
    chapters: tuple[str, ...]
    jobs: int
    minutes: float
    cpu_minutes: float
    minutes_of_idle_cores: float
    wrong_points: int
    python: str
    cores: int


def measure(notebooks: int = 300, jobs: int = 2, out: Path = OUT) -> Measured:
    """Grade so many notebooks, so many at a time."""
    from classroom import CLASS

    few = [handed for handed in CLASS.values() if handed.chapter in CHAPTERS]
    texts = {id(handed): handed.notebook() for handed in few}
    with tempfile.TemporaryDirectory() as place:
        folder, should = Path(place) / "in", {}
        for number, handed in enumerate(islice(cycle(few), notebooks)):
            student = f"student-{number:04d}"
            (folder / student).mkdir(parents=True)
            (folder / student / f"{handed.chapter}.ipynb").write_text(texts[id(handed)], encoding="utf-8")
            should[student] = handed.gets
        before, began = _cpu(), time.monotonic()
        graded = run.grade(folder, Path(place) / "out", jobs=jobs)
        seconds, cpu = time.monotonic() - began, _cpu() - before
    got = {one.student: tuple(int(verdict.state == "right") for verdict in one.verdicts) for one in graded}
    measured = Measured(
        notebooks,
        CHAPTERS,
        jobs,
        round(seconds / 60, 2),
        round(cpu / 60, 2),
        round(cpu / 60 / jobs, 2),
        sum(got.get(student) != points for student, points in should.items()),
        platform.python_version(),
        os.cpu_count() or 0,
    )
    out.write_text(json.dumps(asdict(measured), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return measured


def _cpu() -> float:
    """CPU seconds of this process and of those it has waited for, submissions included."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    for name, value in asdict(tyro.cli(measure, description=__doc__)).items():
        print(f"{name:22}{value}")
