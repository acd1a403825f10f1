"""The exercises of the chapters, read from the notebooks: what each is called, and what its check is asked.

A task, a cell to write in and its check follow one another in a chapter. Nothing of the package is needed here, so that
the tools of the website, which have no torch, can read this file as well.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

TASK = re.compile(r"^### Exercise (\d+\.\d+): (.+)\n+(★☆☆|★★☆|★★★) · (\d+) minutes", re.MULTILINE)
CHECK = re.compile(r"check\.(\w+)\((\w+)\)\s*$")


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    number    such as "6.3"
    title     what it is about
    stars     how hard it is
    minutes   how long it should take
    check     the name of its check
    function  what the reader's function is called there
    file      the chapter, such as "06_lambda_returns.ipynb"
    """

    number: str
    title: str
    stars: str
    minutes: int
    check: str
    function: str
    file: str

    @property
    def chapter(self) -> str:
        """Such as "06"."""
        return self.file[:2]


def exercises_of(chapter: Path) -> list[Exercise]:
    """The exercises of one chapter, in their order."""
    cells = json.loads(chapter.read_text(encoding="utf-8"))["cells"]
    found = []
    for task, _, check in zip(cells, cells[1:], cells[2:], strict=False):
        asked, called = TASK.search("".join(task["source"])), CHECK.search("".join(check["source"]))
        if task["cell_type"] == "markdown" and asked and called:
            number, title, stars, minutes = asked.groups()
            found.append(Exercise(number, title, stars, int(minutes), called[1], called[2], chapter.name))
    return found


def exercises_in(folder: Path) -> list[Exercise]:
    """The exercises of all chapters in a folder, in their order."""
    return [one for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")) for one in exercises_of(path)]
