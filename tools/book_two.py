"""The sources of the website for Jupyter Book 2: a weekly workflow builds them, so that the move stays possible.

    python tools/book_two.py
    cd book/_build/two && jupyter book build --html --strict

They are those of `make book`. What is written here is the table of contents as version 2 reads it, and the few words of
a page that only version 1 knows: a button becomes a link, and cards keep the distance that their theme gives them.
"""

import re
from pathlib import Path
from typing import Any

import yaml

import book

TWO = book.BUILD / "two"


def project(contents: dict[str, Any], config: dict[str, Any], source: Path) -> dict[str, Any]:
    """A myst.yml from the table of contents and the configuration of version 1."""

    def entry(of: dict[str, Any]) -> dict[str, Any]:
        (name,) = (of["file"] + end for end in (".md", ".ipynb") if (source / (of["file"] + end)).exists())
        sections = [entry(section) for section in of.get("sections", [])]
        return {"file": name} | ({"children": sections} if sections else {})

    parts = [{"title": part["caption"], "children": list(map(entry, part["chapters"]))} for part in contents["parts"]]
    return {
        "version": 1,
        "project": {
            "title": config["title"],
            "authors": [{"name": config["author"]}],
            "bibliography": config["bibtex_bibfiles"],
            "toc": [entry({"file": contents["root"]}), *parts],
        },
        "site": {"template": "book-theme"},
    }


def as_read_by_two(text: str) -> str:
    """A page without what version 2 does not know."""
    button = r"^```\{button-ref\} (\S+)\n(?::.*\n)*(.+)\n```$"
    return re.sub(r"^:gutter: .*\n", "", re.sub(button, r"[\2](\1.ipynb)", text, flags=re.M), flags=re.M)


def write(folder: Path = TWO) -> None:
    """Gather the pages in `folder`, with the file that version 2 begins with."""
    book.gather(folder)
    contents, config = (yaml.safe_load((folder / name).read_text()) for name in ("_toc.yml", "_config.yml"))
    for name in ("_toc.yml", "_config.yml"):
        (folder / name).unlink()
    for page in folder.glob("*.md"):
        page.write_text(as_read_by_two(page.read_text()))
    (folder / "myst.yml").write_text(yaml.safe_dump(project(contents, config, folder), sort_keys=False))


if __name__ == "__main__":
    write()
    print(TWO.relative_to(book.ROOT))
