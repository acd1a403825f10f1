"""The chapters as files, and the words the tools and the tests share for what is in one."""

import ast
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"
RESULTS = ROOT / "book" / "results" / "chapters.json"


def chapters(names: list[str] | None = None, folder: Path = NOTEBOOKS) -> list[Path]:
    """The chapters in their order, or those whose file name begins with one of `names`, such as "02".

    Raises:
        SystemExit: if no chapter has one of these names.
    """
    every = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    for name in names or []:
        if not any(path.name.startswith(name) for path in every):
            raise SystemExit(f"No chapter begins with {name!r}; there are: {', '.join(path.stem for path in every)}.")
    return [path for path in every if names is None or not names or path.name.startswith(tuple(names))]


def read(path: Path) -> NotebookNode:
    """The notebook as it is on disk."""
    return nbformat.read(path, as_version=4)


def write(notebook: NotebookNode, path: Path) -> None:
    """The notebook to disk; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def has(cell: NotebookNode, tag: str) -> bool:
    """Whether a cell carries a tag."""
    return tag in cell.metadata.get("tags", [])


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells with code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def markdown(notebook: NotebookNode) -> str:
    """All text of the chapter."""
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def links(notebook: NotebookNode) -> set[str]:
    """The relative links of the text, without what follows a #."""
    targets = re.findall(r"\]\(([^)\s]+)\)", markdown(notebook)) + re.findall(r'href="([^"]+)"', markdown(notebook))
    return {path for target in targets if not re.match(r"\w+:", target) and (path := target.partition("#")[0])}


def bound(source: str) -> set[str]:
    """The names that a cell gives to functions and classes."""
    return {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def used(source: str) -> set[str]:
    """The names a cell mentions."""
    return {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
