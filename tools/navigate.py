"""The last lines of every chapter: to the one before, to the one after, and to all of them.

    python tools/navigate.py            write them into every chapter; needed again when a chapter is new or renamed
    python tools/navigate.py DIRECTORY  into the chapters there

JupyterLab has no such links. The website has its own, and leaves these out.
"""

import re
import sys
from pathlib import Path

from course import NOTEBOOKS, chapters, read, write
from nbformat import NotebookNode

# A rule, which no text of a chapter has, and what follows it to the end of the cell.
LINKS = re.compile(r"\n+---\n\n(?:\[[←\d][^\n]*\n\n)?Chapters: [^\n]*\s*$")


def without_links(text: str) -> str:
    """The text of a last cell without the links."""
    return LINKS.sub("", text).rstrip()


def with_links(text: str, name: str, titles: dict[str, str]) -> str:
    """The text of the last cell of the chapter `name`, with its links; `titles` are those of all chapters, by name."""
    before = [other for other in titles if other < name]
    after = [other for other in titles if other > name]
    ways = [f"[← {short(titles[other])}]({other}.ipynb)" for other in before[-1:]]
    ways += [f"[{short(titles[other])} →]({other}.ipynb)" for other in after[:1]]
    every = [*(f"[{n[:2]}]({n}.ipynb)" for n in before), f"**{name[:2]}**", *(f"[{n[:2]}]({n}.ipynb)" for n in after)]
    parts = [without_links(text), "---", *([" · ".join(ways)] if ways else []), f"Chapters: {' · '.join(every)}"]
    return "\n\n".join(parts)


def short(title: str) -> str:
    """The title of a chapter without what it says after the colon."""
    return title.lstrip("# ").partition(":")[0]


def titles(folder: Path = NOTEBOOKS) -> dict[str, str]:
    """The title of each chapter, by the name of its file, in their order."""
    return {path.stem: read(path).cells[0].source.splitlines()[0] for path in chapters(folder=folder)}


def link_chapter(notebook: NotebookNode, name: str, every: dict[str, str]) -> None:
    """Write the links into the last cell of a chapter, which is Markdown."""
    notebook.cells[-1].source = with_links(notebook.cells[-1].source, name, every)


def main(folder: Path = NOTEBOOKS) -> list[str]:
    """Link all chapters of a folder; returns the names of those that changed."""
    every, changed = titles(folder), []
    for path in chapters(folder=folder):
        notebook, before = read(path), read(path)
        link_chapter(notebook, path.stem, every)
        if notebook != before:
            write(notebook, path)
            changed.append(path.stem)
    return changed


if __name__ == "__main__":
    print(*(main(*map(Path, sys.argv[1:2])) or ["every chapter has its links"]), sep="\n")
