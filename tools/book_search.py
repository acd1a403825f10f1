"""What the search of the website looks through: the prose of every page, section by section.

The search of Sphinx counts words of code and of tables of contents, too, and shows them in its excerpts. This index has
neither; book/_static/search.js ranks what is in it.
"""

import json
from html.parser import HTMLParser
from pathlib import Path

SKIPPED = {"pre", "script", "style", "svg", "nav", "table", "button", "iframe", "figure"}
SKIPPED_CLASSES = {"headerlink", "toctree-wrapper", "math", "cell_output", "tag_solution"}
EMPTY = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
NOT_PAGES = ("genindex.html", "search.html", "py-modindex.html")


class Sections(HTMLParser):
    """The sections of the article of a page: anchor, heading and prose of each."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.sections: list[list[str]] = []
        self.open: list[str] = []  # tags from the article on
        self.anchors: list[tuple[int, str]] = []  # of the sections that are open, with their depth
        self.skipped = 0  # depth of what is skipped, 0 outside
        self.heading = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called for every tag."""
        given = {name: value or "" for name, value in attrs}
        classes = set(given.get("class", "").split())
        if tag in EMPTY or not (self.open or "bd-article" in classes):
            return
        self.open.append(tag)
        if self.skipped:
            return
        keeps = tag == "table" and "zoo" in classes
        if (tag in SKIPPED and not keeps) or classes & SKIPPED_CLASSES:
            self.skipped = len(self.open)
        elif tag == "section":
            self.anchors.append((len(self.open), given.get("id", "")))
        elif tag in ("h1", "h2", "h3", "h4") and self.anchors:
            self.heading = True
            self.sections.append([self.anchors[-1][1], "", ""])

    def handle_endtag(self, tag: str) -> None:
        """Called for every end of a tag."""
        if not self.open or tag not in self.open:
            return
        while self.open.pop() != tag:
            pass
        if self.skipped > len(self.open):
            self.skipped = 0
        self.heading = self.heading and tag not in ("h1", "h2", "h3", "h4")
        while self.anchors and self.anchors[-1][0] > len(self.open):
            self.anchors.pop()
        if self.sections and not self.skipped and tag in ("p", "li", "dt", "dd", "td"):
            self.sections[-1][2] += " "

    def handle_data(self, data: str) -> None:
        """Called for the text between tags."""
        if self.open and not self.skipped and self.sections:
            self.sections[-1][1 if self.heading else 2] += data


def index(folder: Path, pages: list[Path]) -> str:
    """A script that holds the sections of all pages: [address, title, [[anchor, heading, prose], ...]] of each."""
    told = []
    for path in pages:
        name = path.relative_to(folder).as_posix()
        if name in NOT_PAGES:
            continue
        found = Sections(path.read_text()).sections
        sections = [[anchor, " ".join(heading.split()), " ".join(prose.split())] for anchor, heading, prose in found]
        if sections:
            told.append([name, sections[0][1], sections])
    return f"window.WM_SEARCH = {json.dumps(told, ensure_ascii=False, allow_nan=False, separators=(',', ':'))};\n"
