"""The course on paper: `make pdf`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_browser import HTML, pytestmark  # noqa: F401 (skips without a website or a Chromium)

TOOLS = Path(__file__).parent.parent.parent / "tools"
PAGES = ["how_to_use.html", "notebooks/05_imagination.html", "glossary.html"]
# In a process of its own: playwright runs once in one.
PRINT = "import sys, book_pdf, pathlib; book_pdf.print_pdf(sys.argv[3:], *map(pathlib.Path, sys.argv[1:3]))"


def test_pages_are_joined_with_their_links_and_nothing_is_folded(tmp_path: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    out = tmp_path / "course.pdf"
    told = subprocess.run(
        [sys.executable, "-c", PRINT, out, HTML, *PAGES], cwd=TOOLS, check=True, text=True, capture_output=True
    )
    assert told.stdout.splitlines()[1] == " 2 of 3: notebooks/05_imagination.html"
    read = pypdf.PdfReader(out)
    text = [sheet.extract_text() for sheet in read.pages]
    first = [read.get_destination_page_number(item) for item in read.outline if not isinstance(item, list)]
    chapter, glossary = first[1:]
    assert first[0] == 0 and "Imagination" in text[chapter] and "Glossary" in text[glossary]
    # "Hide the code" is for the screen; what it hides is on paper, and so are hints.
    assert not re.findall(r"(?:Show|Hide) the (?:code|figure|table|film|output|quiz|solution)\b", "".join(text))
    assert "def solved_imagination(" in "".join(text[chapter:glossary])
    # Code goes on on the next page: with cells in one piece and letters as large as on a screen these were 36 sheets.
    assert glossary - chapter < 25
    numbers = {sheet.indirect_reference.idnum: number for number, sheet in enumerate(read.pages)}
    links = [link.get_object() for sheet in read.pages[chapter:glossary] for link in sheet.annotations or []]
    leads = [numbers[link["/Dest"][0].get_object().indirect_reference.idnum] for link in links if "/Dest" in link]
    assert sum(number >= glossary for number in leads) > 5  # terms
    assert not [link for link in links if "course:" in str(link)]
