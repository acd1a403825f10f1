"""Run by the Pythons of the environments that `make graders` has made, for tests/test_assignments.py.

.venv-nbgrader/bin/python tests/real_graders.py nbgrader FOLDER     FOLDER as `make nbgrader` writes it
.venv-otter/bin/python tests/real_graders.py otter FOLDER           as `make otter` does

Every chapter in FOLDER is handed in twice: with the solutions, as they stand in its source, and unsolved, as it is
handed out. Points and the most that there are come as one line of JSON, after a line for each chapter. Both are called
from Python: their commands, which another test tries, compute for five seconds each before they begin.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Points = tuple[float, float]


def nbgrader(course: Path) -> Iterator[tuple[str, Points, Points]]:
    """Name of a chapter, points of the solutions, points of the unsolved chapter."""
    from nbgrader.apps import NbGraderAPI
    from traitlets.config.loader import PyFileConfigLoader

    config = PyFileConfigLoader("nbgrader_config.py", path=str(course)).load_config()
    config.CourseDirectory.root = str(course)
    api = NbGraderAPI(config=config)

    def points(student: str, name: str) -> Points:
        done(api.autograde(name, student))
        graded = api.get_submission(name, student)
        return graded["score"], graded["max_score"]

    for source in sorted((course / "source").iterdir()):
        name = source.name
        done(api.generate_assignment(name))
        for student, folder in (("alice", source), ("bob", course / "release" / name)):
            shutil.copytree(folder, course / "submitted" / student / name)
        yield name, points("alice", name), points("bob", name)


def done(told: dict[str, Any]) -> None:
    """Raises RuntimeError with nbgrader's own words if it has failed."""
    if not told["success"]:
        raise RuntimeError(f"{told.get('error')}\n{told.get('log')}")


def otter(folder: Path) -> Iterator[tuple[str, Points, Points]]:
    """The same for otter."""
    from otter.api import grade_submission
    from otter.assign import main as assign

    def points(notebook: Path, grader: Path) -> Points:
        graded = grade_submission(str(notebook), str(grader), quiet=True)
        return graded.total, graded.possible

    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        file, dist = f"{place.name}.ipynb", place / "dist"
        assign(str(place / file), str(dist), no_pdfs=True, no_run_tests=True)
        (grader,) = (dist / "autograder").glob("*.zip")
        yield place.name, points(dist / "autograder" / file, grader), points(dist / "student" / file, grader)


if __name__ == "__main__":
    grader, where = {"nbgrader": nbgrader, "otter": otter}[sys.argv[1]], Path(sys.argv[2]).absolute()
    found = {}
    for chapter, solved, unsolved in grader(where):
        print(chapter, solved, unsolved, flush=True)
        found[chapter] = {"solved": solved, "unsolved": unsolved}
    print(json.dumps(found))
