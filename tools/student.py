"""`make student` and `make solutions`: the course as folders that stand alone, made from the one set of notebooks.

    python tools/student.py                 build/student: without the solutions
    python tools/student.py --solutions     build/solutions: the notebooks as they are

Each folder holds the notebooks, the package and whatever else the text links to. The two differ in nothing but the
solutions and the output of exercises.
"""

import shutil
import sys
from pathlib import Path

from course import NOTEBOOKS, ROOT, chapters, links, read, write

from wm_tutorial.course.copy import student

BESIDE = ["LICENSE", "constraints.txt", "pyproject.toml", "wm_tutorial"]
README = """\
# wm_tutorial: {title}

{about}

With Python 3.11 or newer, in this folder:

    python3 -m venv .venv
    .venv/bin/pip install -c constraints.txt -e ".[notebooks]"
    .venv/bin/jupyter lab notebooks

On Windows, write `.venv\\Scripts\\` for `.venv/bin/`. On Linux more than 5 GB arrive, because PyTorch brings
libraries for NVIDIA GPUs along; it is 1.5 GB if its build for CPUs is installed between the first line and the second:
`.venv/bin/pip install -c constraints.txt torch --index-url ADDRESS`, with the ADDRESS that https://pytorch.org shows
for "CPU". Nothing is downloaded once this is done. Begin with the first notebook:

{contents}
"""
STUDENT = """\
The exercises are yours to write: each is a function that raises `NotImplementedError`, followed by a check. The check
says in one line that your function is right, or what is wrong with it. Everything else runs as it is, whether an
exercise is solved or not."""
SOLUTIONS = """\
The exercises are solved. The solutions are collapsed: click on the bar at the left of such a cell to see one."""


def build(folder: Path, solutions: bool, notebooks: Path = NOTEBOOKS) -> None:
    """Write the course into `folder`, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    beside = set(BESIDE)
    titles = []
    for path in chapters(folder=notebooks):
        notebook = read(path)
        write(notebook if solutions else student(notebook), folder / "notebooks" / path.name)
        inside = ((NOTEBOOKS / link).resolve() for link in links(notebook))
        beside |= {str(found.relative_to(ROOT)) for found in inside if found.suffix != ".ipynb"}
        titles.append(f"- [{notebook.cells[0].source.splitlines()[0].lstrip('# ')}](notebooks/{path.name})")
    for name in sorted(beside):
        copy(ROOT / name, folder / name)
    title, about = ("the course, with solutions", SOLUTIONS) if solutions else ("the course", STUDENT)
    (folder / "README.md").write_text(README.format(title=title, about=about, contents="\n".join(titles)))


def copy(source: Path, target: Path) -> None:
    """A file or a folder, without what Python leaves behind."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    else:
        shutil.copy(source, target)


if __name__ == "__main__":
    wanted = ROOT / "build" / ("solutions" if "--solutions" in sys.argv else "student")
    build(wanted, solutions="--solutions" in sys.argv)
    print(f"{wanted.relative_to(ROOT)}: {len(chapters())} chapter(s) and all they need; begin with its README.md")
