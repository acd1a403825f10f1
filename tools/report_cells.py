"""The cell below the quiz of every chapter, which says what a reader has done and what to hand in.

    python tools/report_cells.py            write it into every chapter; needed again when a chapter is new
    python tools/report_cells.py DIRECTORY  into the chapters there

It is the last code cell of a chapter, and what it shows to somebody who has done nothing yet is known without running
it, so nothing has to be executed anew. A chapter that has the cell is left as it is, but for what the cell shows.
"""

import sys
from pathlib import Path

from course import NOTEBOOKS, chapters, code_cells, read, write
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from run_notebooks import normalise

from wm_tutorial.check.progress import told
from wm_tutorial.course.exercises import exercises_in

WORDS = "What have you done, and what is left? The next cell keeps the score, in a file of yours."


def source(number: str) -> str:
    """The code of the cell in a chapter, which has imported `check` for its exercises."""
    return f'check.report("{number}")'


def add(notebook: NotebookNode, number: str, shown: str) -> None:
    """Put the cell, and a line of text before it, below the quiz; `shown` is what it prints."""
    if not any(cell.source == source(number) for cell in code_cells(notebook)):
        quiz = max(n for n, cell in enumerate(notebook.cells) if cell.cell_type == "code" and "quiz(" in cell.source)
        notebook.cells[quiz + 1 : quiz + 1] = [new_markdown_cell(WORDS), new_code_cell(source(number))]
    (cell,) = (cell for cell in code_cells(notebook) if cell.source == source(number))
    if cell is not code_cells(notebook)[-1]:
        raise SystemExit(f"Chapter {number} has code below its quiz, so it has to be run anew: make notebooks.")
    cell.execution_count = len(code_cells(notebook))
    cell.outputs = [new_output("stream", name="stdout", text=shown + "\n")]
    normalise(notebook, number)


def main(folder: Path = NOTEBOOKS) -> list[str]:
    """Write the cell into all chapters of a folder that have exercises; returns the names of those that changed."""
    every, changed = exercises_in(folder), []
    nothing_yet = {one.number: "not tried" for one in every}
    for path in chapters(folder=folder):
        number = path.name[:2]
        if number not in {one.chapter for one in every}:
            continue
        notebook, before = read(path), read(path)
        add(notebook, number, told(every, nothing_yet, number))
        if notebook != before:
            write(notebook, path)
            changed.append(path.stem)
    return changed


if __name__ == "__main__":
    print(*(main(*map(Path, sys.argv[1:2])) or ["every chapter has its report"]), sep="\n")
