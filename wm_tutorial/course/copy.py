"""The notebooks as files: where they lie, the version for students, and a copy of the course for a reader.

A notebook is JSON, read here as plain dicts, so that a copy needs no library of Jupyter.
"""

import json
import re
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, TypeVar

from wm_tutorial.errors import InputError, OutputError

Notebook = TypeVar("Notebook", bound=MutableMapping[str, Any])

OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)\s#]+)[^)\s]*\)")  # a link that leaves the folder of the notebooks


def folder_of_notebooks() -> Path:
    """The notebooks of this installation: a wheel brings them along, a clone has them beside the package.

    Raises:
        InputError: if there are none.
    """
    brought, beside = Path(__file__).with_name("notebooks"), Path(__file__).parents[2] / "notebooks"
    for folder in (brought, beside):
        if any(folder.glob("[0-9][0-9]_*.ipynb")):
            return folder
    raise InputError(
        f"This installation has no notebooks, neither in {brought} nor in {beside}. Install the wheel of wm_tutorial, "
        "or its repository with `pip install -e .`."
    )


# --- The version for students -----------------------------------------------------------------------------------------


def student(notebook: Notebook) -> Notebook:
    """The notebook (changed in place) as a student gets it: no solutions, and checks that have not run."""
    notebook["cells"] = [cell for cell in notebook["cells"] if not _has(cell, "solution")]
    for cell in notebook["cells"]:
        if _has(cell, "exercise") or _has(cell, "check"):
            cell["outputs"], cell["execution_count"] = [], None
    return notebook


def _has(cell: Any, tag: str) -> bool:
    return tag in cell["metadata"].get("tags", [])


# --- A copy of the course ---------------------------------------------------------------------------------------------


def copy_course(folder: Path, solutions: bool = False, source: Path | None = None) -> list[Path]:
    """Write every chapter into `folder`, with exercises to solve or with their solutions, and return the new files.

    Links to files that are not copied become the names of these files, and the Python that the notebooks tell of is
    this one: to open a copy in JupyterLab is not to change it. `source` is where the notebooks come from: those of
    this installation if left out.

    Raises:
        InputError: if a file of that name is there already: it may hold a reader's work, so nothing is written at all.
        OutputError: if the folder cannot be written.
    """
    folder = folder.expanduser()
    chapters = sorted((source or folder_of_notebooks()).glob("[0-9][0-9]_*.ipynb"))
    if taken := [path.name for path in chapters if (folder / path.name).exists()]:
        raise InputError(
            f"{folder} already holds {', '.join(taken)}, perhaps with your work in it, so nothing was copied. "
            "Choose another folder."
        )
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in chapters:
            notebook = _read(path)
            notebook["metadata"]["language_info"] = language_of_this_python()
            if not solutions:
                student(notebook)
            for cell in notebook["cells"]:
                if cell["cell_type"] == "markdown":
                    cell["source"] = OUTSIDE.sub(_name_of_the_file, cell["source"])
            with (folder / path.name).open("x", encoding="utf-8", newline="\n") as file:  # never another one's
                file.write(_as_text(notebook))
            written.append(folder / path.name)
    except OSError as error:
        raise OutputError(f"The course cannot be written to {folder}: {error}. Choose another folder.") from error
    return written


def language_of_this_python() -> dict[str, Any]:
    """What a kernel of this Python says of itself. JupyterLab calls a notebook that says something else unsaved."""
    return {
        "codemirror_mode": {"name": "ipython", "version": 3}, "file_extension": ".py", "mimetype": "text/x-python",
        "name": "python", "nbconvert_exporter": "python", "pygments_lexer": "ipython3",
        "version": sys.version.split()[0],
    }  # fmt: skip


def _name_of_the_file(link: re.Match[str]) -> str:
    said, path = link.groups()
    return said if path in said else f"{said} (`{path}`)"


def _read(path: Path) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
    return notebook


def _as_text(notebook: dict[str, Any]) -> str:
    """As Jupyter writes it: sorted keys, and text as a list of lines."""
    for cell in notebook["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False) + "\n"
