"""`make pdf`: the course as one PDF, printed by Chromium from the website that `make book` built.

    python tools/book_pdf.py                        book/_build/course.pdf
    python tools/book_pdf.py notebooks/04_kl.html   only that page, or those

All pages of the contents are put behind one another in one page, so that links lead from each to the others on paper,
too. The reference of the package, room by room, stays on the screen.
"""

import posixpath
import re
import shutil
import sys
from pathlib import Path

HTML = Path(__file__).parent.parent / "book" / "_build" / "html"
PDF = HTML.parent / "course.pdf"
MARGINS = {"top": "18mm", "bottom": "18mm", "left": "16mm", "right": "16mm"}
STYLE = """<style>
  body { min-height: 0; }
  article { max-width: 100%; }
  article + article { break-before: page; }
  .headerlink, .copybtn, .film-bar, .zoo-filter, .letters { display: none; }
</style>
<script src="_static/film.js"></script>"""  # films stand at their end


def listed(folder: Path) -> list[str]:
    """The pages in the order of the contents, the front page first."""
    links = re.findall(r'<a class="reference internal" href="([\w/]+\.html)">', (folder / "index.html").read_text())
    return list(dict.fromkeys(["index.html", *(link for link in links if not link.startswith("api/"))]))


def whole(folder: Path, pages: list[str]) -> str:
    """The articles of these pages in one page, with the head of one that sets formulas."""
    with_formulas = next((name for name in pages if "mathjax/" in (folder / name).read_text()), pages[0])
    head = (folder / with_formulas).read_text().partition("</head>")[0]
    head = re.sub(r"<script[^>]*film\.js[^>]*></script>", "", head)
    head = re.sub(r'\b(href|src)="(?:\.\./)*(_static/[^"]+)"', r'\1="\2"', head)
    articles = (article(folder, name, set(pages)) for name in pages)
    return f'{head}{STYLE}</head><body data-theme="light"><main>{"".join(articles)}</main></body></html>'


def article(folder: Path, name: str, pages: set[str]) -> str:
    """What a page says, folded parts open, with anchors and links of the one page in which all stand."""
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
        return f'href="#{anchor(path, place)}"' if path in pages else ""

    told = re.sub(r"<iframe.*?</iframe>", "", told, flags=re.DOTALL)  # what can be played
    told = re.sub(r"<details(?! open)", "<details open", told).replace("url(#", f"url(#{anchor(name, '')}")
    return f'<article class="bd-article" id="{anchor(name, "")}">{re.sub(ATTRIBUTE, changed, told)}</article>'


ATTRIBUTE = re.compile(r'\b(id|href|src)="([^"]*)"')


def anchor(name: str, place: str) -> str:
    """Where a place of a page stands in the page of all."""
    return f"{name.removesuffix('.html').replace('/', '-')}--{place}"


def print_pdf(pages: list[str], out: Path, folder: Path = HTML) -> None:
    """Print these pages into `out`."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise SystemExit("There is no Chromium to print with; `make chromium` installs it on Debian.")
    page_of_all = folder / "print.html"
    page_of_all.write_text(whole(folder, pages))
    try:
        with sync_playwright() as started:
            browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(color_scheme="light")
            page.set_default_timeout(600_000)
            page.goto(page_of_all.as_uri(), wait_until="load")
            page.evaluate("() => window.MathJax && MathJax.startup ? MathJax.startup.promise : null")
            page.evaluate("() => wmFilms()")
            page.pdf(path=out, format="A4", margin=MARGINS, print_background=True, outline=True, tagged=True)
            browser.close()
    finally:
        page_of_all.unlink()


if __name__ == "__main__":
    if not (HTML / "index.html").exists():
        raise SystemExit("The website is not built yet: `make book` first.")
    print_pdf(sys.argv[1:] or listed(HTML), PDF)
    print(f"{PDF.relative_to(HTML.parent.parent.parent)}: {PDF.stat().st_size / 1e6:.0f} MB")
