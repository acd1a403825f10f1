"""`make pdf`: the course as one PDF, printed by Chromium from the website that `make book` built.

    python tools/book_pdf.py                        book/_build/course.pdf
    python tools/book_pdf.py notebooks/04_kl.html   only that page, or those

Each page of the contents is printed alone, since what Chromium takes grows faster than the length of a page. Then they
are joined: links lead from each to the others on paper, too, and headings are the outline. The reference of the
package, room by room, stays on the screen.
"""

import html
import posixpath
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

HTML = Path(__file__).parent.parent / "book" / "_build" / "html"
PDF = HTML.parent / "course.pdf"
TITLE = "World models, from the first row to DreamerV3"
MARGINS = {"top": "18mm", "bottom": "18mm", "left": "16mm", "right": "16mm"}
ELSEWHERE = "course:"  # in front of a link from one page of the contents to another, until they are joined
STYLE = """<style>
  html { font-size: 80%; }
  body { min-height: 0; }
  article { max-width: 100%; }
  .headerlink, .copybtn, .film-bar, .zoo-filter, .letters { display: none; }
  .cell:has(.wm-quiz) .cell_input { display: none; }
  .wm-quiz details { break-inside: avoid; }
</style>
<script src="_static/film.js"></script>"""  # films stand at their end
ATTRIBUTE = re.compile(r'\b(id|href|src)="([^"]*)"')
PLACE = re.compile(r'\bid="([^"]*)"')
HEADING = re.compile(
    r'<section[^>]* id="([^"]*)">\s*(?:<span[^>]*></span>\s*)*<h([12])>(.*?)(?:<a class="headerlink"|</h)', re.DOTALL
)


def listed(folder: Path) -> list[str]:
    """The pages in the order of the contents, the front page first."""
    links = re.findall(r'<a class="reference internal" href="([\w/]+\.html)">', (folder / "index.html").read_text())
    return list(dict.fromkeys(["index.html", *(link for link in links if not link.startswith("api/"))]))


def anchor(name: str, place: str) -> str:
    """What a place of a page is called in the course; a page itself is the place "" of it."""
    return f"{name.removesuffix('.html').replace('/', '-')}--{place}"


def article(folder: Path, name: str, pages: set[str]) -> str:
    """What a page says, folded parts open, with places and links as they are called in the course."""
    told = (folder / name).read_text().partition('<article class="bd-article">')[2].partition("</article>")[0]
    here = posixpath.dirname(name)

    def changed(found: re.Match[str]) -> str:
        attribute, target = found.groups()
        if attribute == "id":
            return f'id="{anchor(name, target)}"'
        if re.match(r"[a-z]+:", target):
            return found[0]
        path, _, place = target.partition("#")
        path = posixpath.normpath(posixpath.join(here, path)) if path else name
        if attribute == "src":
            return f'src="{path}"'
        if path not in pages:
            return ""
        return f'href="{"#" if path == name else ELSEWHERE}{anchor(path, place)}"'

    told = re.sub(r"<iframe.*?</iframe>", "", told, flags=re.DOTALL)  # what can be played
    told = re.sub(r"<details(?! open)", "<details open", told).replace("url(#", f"url(#{anchor(name, '')}")
    return f'<article class="bd-article" id="{anchor(name, "")}">{re.sub(ATTRIBUTE, changed, told)}</article>'


def headings(told: str) -> list[tuple[str, int, str]]:
    """The place, level and words of each heading that the outline has."""
    found = HEADING.findall(told)
    return [(place, int(level), html.unescape(re.sub(r"<[^>]*>", "", words)).strip()) for place, level, words in found]


def documents(folder: Path, pages: list[str]) -> dict[str, str]:
    """What is printed of each page.

    Chromium writes down where a place is if a link of the same page leads there. Links that nobody sees lead to the
    places which other pages ask for.
    """
    articles = {name: article(folder, name, set(pages)) for name in pages}
    asked = set(re.findall(rf'href="{ELSEWHERE}([^"]*)"', "".join(articles.values())))
    told = {}
    for name, text in articles.items():
        head = (folder / name).read_text().partition("</head>")[0]
        head = re.sub(r"<script[^>]*film\.js[^>]*></script>", "", head)
        head = re.sub(r'\b(href|src)="(?:\.\./)*(_static/[^"]+)"', r'\1="\2"', head)
        places = {anchor(name, ""), *(place for place, *_ in headings(text)), *(asked & set(PLACE.findall(text)))}
        unseen = "".join(f'<a href="#{place}"></a>' for place in sorted(places))
        body = f'<body data-theme="light"><main>{text}</main><div hidden>{unseen}</div></body>'
        told[name] = f"{head}{STYLE}</head>{body}</html>"
    return told


def join(parts: list[Path], outline: list[tuple[str, int, str]], out: Path) -> int:
    """One PDF of several, with links between them, and headings as its outline; how many pages it has.

    A place that is not there is the beginning of its page.
    """
    from pypdf import PdfReader, PdfWriter
    from pypdf.generic import ArrayObject, Fit, FloatObject, NameObject, NullObject

    whole = PdfWriter()
    places: dict[str, tuple[Any, float, float]] = {}  # sheet, and points from its lower left corner
    for part in parts:
        read, first = PdfReader(part), len(whole.pages)
        whole.append(read, import_outline=False)
        for name, place in read.named_destinations.items():
            sheet = whole.pages[first + (read.get_destination_page_number(place) or 0)]
            places[name.removeprefix("/")] = sheet.indirect_reference, float(place.left or 0), float(place.top or 0)
    for sheet in whole.pages:
        for note in sheet.annotations or []:
            link = note.get_object()
            target = str(link.get("/Dest") or link.get("/A", {}).get("/URI", ""))
            if "/Dest" in link or target.startswith(ELSEWHERE):
                name = target.removeprefix(ELSEWHERE).removeprefix("/")
                at, left, top = places.get(name) or places[anchor(name.partition("--")[0], "")]
                there = [at, NameObject("/XYZ"), FloatObject(left), FloatObject(top), NullObject()]
                link[NameObject("/Dest")] = ArrayObject(there)
                link.pop("/A", None)
    above = None
    for name, level, words in outline:
        at, left, top = places[name]
        fit = Fit.xyz(left=left, top=top)
        item = whole.add_outline_item(title=words, page_number=at, fit=fit, parent=above if level > 1 else None)
        above = item if level == 1 else above
    whole.add_metadata({"/Title": TITLE})
    whole.write(out)
    return len(whole.pages)


def print_pdf(pages: list[str], out: Path, folder: Path = HTML) -> int:
    """Print these pages into `out`; how many sheets they take."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise SystemExit("There is no Chromium to print with; `make chromium` installs it on Debian.")
    told, page_alone = documents(folder, pages), folder / "print.html"
    with tempfile.TemporaryDirectory() as place, sync_playwright() as started:
        parts = [Path(place) / f"{number}.pdf" for number in range(len(pages))]
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            for number, (name, part) in enumerate(zip(pages, parts, strict=True), start=1):
                print(f"{number:2} of {len(pages)}: {name}", flush=True)
                page_alone.write_text(told[name])
                _print_one(browser, page_alone, part)
        finally:
            page_alone.unlink(missing_ok=True)
            browser.close()
        return join(parts, [one for text in told.values() for one in headings(text)], out)


def _print_one(browser: Any, shown: Path, out: Path) -> None:
    page = browser.new_page(color_scheme="light")
    page.set_default_timeout(300_000)
    page.goto(shown.as_uri(), wait_until="load")
    page.evaluate("() => window.MathJax && MathJax.startup ? MathJax.startup.promise : null")
    page.evaluate("() => wmFilms()")
    page.pdf(path=out, format="A4", margin=MARGINS, print_background=True, tagged=False)
    page.close()


if __name__ == "__main__":
    if not (HTML / "index.html").exists():
        raise SystemExit("The website is not built yet: `make book` first.")
    sheets = print_pdf(sys.argv[1:] or listed(HTML), PDF)
    print(f"{PDF.relative_to(HTML.parent.parent.parent)}: {sheets} pages, {PDF.stat().st_size / 1e6:.0f} MB")
