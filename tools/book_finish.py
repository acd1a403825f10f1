"""What the theme leaves to be mended in the pages that Jupyter Book has built: `make book` does it last.

The theme brings an icon script of 1.5 MB, MathJax, the index of the search and all of Bootstrap to every page, headings
and lists that a screen reader stumbles over, a search that looks through code, and the chapters for download as they
were rewritten.
Its pages are changed here and not its templates: what is to be taken out stands in templates of three packages.
"""

import html
import re
import shutil
from pathlib import Path

import book_search
from book_css import slim_all

ROOT = Path(__file__).parent.parent
DESCRIPTION = 160  # characters that a search engine shows

FONT = "atkinson-hyperlegible-next.woff2"  # of what is read first: no other is waited for

# What is taken out, whatever the page.
UNUSED = re.compile(
    "|".join(
        [
            # Jupyter Book always includes Thebe, which runs cells on a server far away. It is not offered, and
            # complains.
            r"<script>const THEBE_JS_URL.*?</script>",
            r"<script[^>]*sphinx-thebe\.js[^>]*></script>",
            r"<link[^>]*sphinx-thebe\.css[^>]*>",
            r'<script type="text/x-thebe-config">.*?</script>',
            r"<script>kernelName = .*?</script>",
            # Icons, once as a script; those in use are drawn by book/_static/icons.css.
            r"<script[^>]*fontawesome\.js[^>]*></script>",
            # The second and the third of their kind.
            r'(?<=/>)<meta name="viewport" content="width=device-width, initial-scale=1" />',
            r'<meta name="viewport" content="width=device-width, initial-scale=1"/>',
            # A title for paper, where the page's own is printed, too: two of the first order.
            r'(?<=<div id="jb-print-docs-body" class="onlyprint">)\s*<h1>.*?</h1>',
            # A place for advertisements.
            r'<div class="sidebar-primary-item">\s*<div id="ethical-ad-placement".*?</div>\s*</div>',
        ]
    ),
    re.DOTALL,
)
# Scripts and styles that only some pages need, and what is on those.
NEEDED = {
    r"<script>window\.MathJax.*?</script>|<script[^>]*mathjax/[^>]*></script>": r'class="[^"]*\bmath\b',
    r"<script[^>]*(?:clipboard\.min|copybutton)\.js[^>]*></script>": r'class="highlight"',
    r"<link[^>]*/mystnb\.[^>]*>": r'class="[^"]*\bcell\b',
    r"<script[^>]*/play\.js[^>]*></script>": r'<iframe class="play"',
    r"<script[^>]*/zoo\.js[^>]*></script>": r'<table class="[^"]*\bzoo\b',
    r"<script[^>]*film\.js[^>]*></script>": r'<img [^>]*src="[^"]*(?:data:image/gif|\.gif")|alt="Film',
    r"<script[^>]*design-tabs\.js[^>]*></script>": r'class="[^"]*\bsd-tab',
    r"<script[^>]*sphinx_highlight\.js[^>]*></script>": r"$^",  # marks words that the search of Sphinx was asked for
}
# Scripts that can wait until the page is there; others say what these need, or listen to a frame from its first word.
CAN_WAIT = "clipboard.min copybutton sphinx-book-theme togglebutton design-tabs film progress sideways zoo"
WAITS = re.compile(rf'<script (?=src="[^"]*/(?:{CAN_WAIT.replace(".", "[.]").replace(" ", "|")})[.]js)')
# Style sheets that bring far more than is used.
STYLES = ("styles/pydata-sphinx-theme.css", "sphinx-design.min.css")
SEARCH = re.compile(r'<script[^>]*src="[^"]*(?:searchtools|language_data|searchindex|search)\.js[^"]*"[^>]*></script>')
SEARCHES = '<script src="searchindex.js"></script>\n<script src="_static/search.js"></script>\n'
# A letter with an index, in words: s_t, d_{t+1}. Tags and code stay as they are.
SYMBOL = re.compile(
    r"(<(code|script|title)\b.*?</\2>|<[^>]+>)|\b([A-Za-z])_(?:\{([^{}]+)\}|([a-z]|\d+)(?!\w))", re.DOTALL
)
# What a screen reader is told, and what it should be told.
TOLD = {
    "<summary><span": '<summary aria-label="Show the pages below"><span',
    ' role="doc-biblioentry"': ' role="listitem"',
    '<div id="pst-primary-sidebar" class=': '<div id="pst-primary-sidebar" role="region" aria-label="The site" class=',
    '<th class="head"><p></p></th>': '<td class="head"></td>',
    ' aria-level="2" role="heading"': "",
}
# A formula and the signs behind it, which a line must not end between.
FORMULA = re.compile(r'(<span class="math notranslate nohighlight">[^<]*</span>[.,;:!?)”’"]+)')
# What is folded, in words for readers: the code of the figure, or the figure.
FOLDED = re.compile(r">(Show|Hide) the (source|outputs?)(?: (\w+))?<")


def finish(folder: Path, site: str | None) -> None:
    """Mend every page of a built book; site: its address, where pyproject.toml has one."""
    pages = [
        path
        for path in sorted(folder.rglob("*.html"))
        if not path.relative_to(folder).as_posix().startswith(("_static", "_sources"))
    ]
    for path in pages:
        name = path.relative_to(folder).as_posix()
        path.write_text(mended(path.read_text(), name, site))
    (folder / "searchindex.js").write_text(book_search.index(folder, pages))
    for chapter in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        shutil.copy(chapter, folder / "_sources" / "notebooks" / chapter.name)
    slim_all(folder, pages, STYLES)
    if site:
        listed = (f"  <url><loc>{site}/{path.relative_to(folder).as_posix()}</loc></url>\n" for path in pages)
        (folder / "sitemap.xml").write_text(
            '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
            + "".join(listed)
            + "</urlset>\n"
        )


def unfolds(found: re.Match[str]) -> str:
    """The words on a fold: what is shown there, and whether it is that or its code."""
    verb, kind, shown = found.groups()
    if kind == "source":
        return f">{verb} the code{f' of the {shown}' if shown else ''}<"
    return f">{verb} the {shown or 'output'}<"


def mended(page: str, name: str, site: str | None) -> str:
    """One page; name: where it stands in the book, such as api/kl.html."""
    page = UNUSED.sub("", page)
    for script, sign in NEEDED.items():
        if not re.search(sign, page):
            page = re.sub(script, "", page, flags=re.DOTALL)
    page = WAITS.sub("<script defer ", SEARCH.sub("", page))
    if name == "search.html":
        page = page.replace("</head>", f"{SEARCHES}</head>")
    for told, better in TOLD.items():
        page = page.replace(told, better)
    page = FORMULA.sub(r'<span class="whole">\1</span>', FOLDED.sub(unfolds, page))
    if name == "zoo.html":
        page = SYMBOL.sub(lambda found: found[1] or f"<i>{found[3]}</i><sub>{found[4] or found[5]}</sub>", page)
    return page.replace("</title>", f"</title>{head(page, name, site)}", 1)


def head(page: str, name: str, site: str | None) -> str:
    """What search engines, messengers and browsers ask of a page."""
    title = re.search(r"<title>(.*?)</title>", page, re.DOTALL)
    said = {
        "og:title": html.unescape(title[1].partition(" &#8212; ")[0]).strip() if title else "",
        "og:type": "article",
    }
    description = described(page)
    said |= {"og:description": description} if description else {}
    root = f"{site}/" if site else "../" * name.count("/")
    said |= {"og:image": f"{root}_static/cover.png"} | ({"og:url": f"{site}/{name}"} if site else {})
    font = f"{'../' * name.count('/')}_static/fonts/{FONT}"
    lines = [f'<link rel="preload" as="font" type="font/woff2" crossorigin="anonymous" href="{font}" />']
    lines += [f'<meta property="{key}" content="{html.escape(text)}" />' for key, text in said.items()]
    lines += [f'<meta name="description" content="{html.escape(description)}" />'] if description else []
    return "\n    " + "\n    ".join(lines)


def described(page: str) -> str:
    """The first paragraph of a page that is a sentence, cut after a word."""
    article = page.partition('<article class="bd-article">')[2]
    for paragraph in re.findall(r"<p>(?!<em>)(.*?)</p>", article, re.DOTALL):
        text = " ".join(html.unescape(re.sub(r"<[^>]+>|\\[()]", "", paragraph)).split())
        if len(text) > 60 and "." in text:
            return text if len(text) <= DESCRIPTION else text[:DESCRIPTION].rsplit(" ", 1)[0] + " ..."
    return ""
