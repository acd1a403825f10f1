"""Put the instruments as they are now into the chapters, with the data that the chapters have; nothing is run.

python tools/instruments.py         after a change in wm_tutorial/instruments
"""

import html
import json
import re
from typing import Any

from course import chapters, code_cells, read, write
from nbformat import NotebookNode

from wm_tutorial.course import notebook

CALL = re.compile(r'notebook\.instrument\(\s*"(\w+)"')
FRAME = re.compile(r'<iframe srcdoc="([^"]+)"')
DATA = re.compile(r"^Instruments\[.*?\]\(panel, (.*)\);$", re.MULTILINE)


def name_of(cell: NotebookNode) -> str:
    """The instrument that a cell shows; empty if it shows none."""
    found = CALL.search(cell.source)
    return found[1] if found else ""


def data_of(page: str) -> dict[str, Any]:
    """What the page of an instrument was given."""
    data: dict[str, Any] = json.loads(DATA.findall(page)[-1].replace("<\\/", "</"))
    return data


def shown_page(cell: NotebookNode) -> str:
    """The page in the output of a cell that shows an instrument."""
    (output,) = cell.outputs
    return html.unescape(FRAME.findall(output.data["text/html"])[0])


def refresh(cell: NotebookNode) -> None:
    """Replace what a cell shows."""
    shown = notebook.instrument(name_of(cell), data_of(shown_page(cell)))
    cell.outputs[0].data = shown._repr_mimebundle_()


def main() -> None:
    """All chapters; one whose instruments are as they should be is not touched."""
    for path in chapters():
        chapter = read(path)
        before = [cell.outputs[0].data["text/html"] for cell in code_cells(chapter) if name_of(cell)]
        cells = [cell for cell in code_cells(chapter) if name_of(cell)]
        for cell in cells:
            refresh(cell)
        if before != [cell.outputs[0].data["text/html"] for cell in cells]:
            write(chapter, path)
            print(f"{path.name}: {len(cells)}")


if __name__ == "__main__":
    main()
