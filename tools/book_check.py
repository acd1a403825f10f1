"""What a built website must not have: links and anchors that lead nowhere, pictures without words, heavy pages."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

HEAVIEST = 3_000_000  # bytes of a page with its pictures
MADE = ("genindex.html", "search.html", "py-modindex.html")  # by Sphinx, without content of ours


class Page(HTMLParser):
    """What a page offers and what it asks for."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.pictures: list[tuple[str, str]] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called for every tag."""
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "img":
            self.pictures.append((given.get("src", ""), given.get("alt", "")))


@cache
def page(path: Path) -> Page:
    """A page, read once."""
    return Page(path)


def html_pages(folder: Path) -> Iterator[Path]:
    """The pages of the book, without the material of the theme."""
    for path in sorted(folder.rglob("*.html")):
        if not path.relative_to(folder).as_posix().startswith(("_static", "_sources")):
            yield path


def faults(folder: Path, url: str | None = None) -> Iterator[str]:
    """What is wrong, one line each."""
    page.cache_clear()
    for path in html_pages(folder):
        name, weight = path.relative_to(folder).as_posix(), path.stat().st_size
        for link in page(path).links:
            if fault := dead(path, link):
                yield f"{name}: {fault}"
        for source, alt in page(path).pictures:
            if not source.startswith(("data:", "http")):
                picture = (path.parent / unquote(urlsplit(source).path)).resolve()
                if not picture.exists():
                    yield f"{name}: the picture {source} is not there"
                else:
                    weight += picture.stat().st_size
            if not alt.strip() and "logo" not in source:
                yield f"{name}: the picture {source[:60]} has no alternative text"
        if weight > HEAVIEST:
            yield f"{name}: {weight / 1e6:.1f} MB with its pictures, and not at most {HEAVIEST / 1e6:.0f}"


def dead(path: Path, link: str) -> str | None:
    """Why a link within the book leads nowhere."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc or link in ("", "#"):
        return None
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.exists():
        return f"the link {link} leads nowhere"
    if parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in page(target).ids:
        return f"the link {link} leads to a page without that anchor"
    return None


def external(folder: Path) -> set[str]:
    """Every address outside of the book that it links to."""
    return {link for path in html_pages(folder) for link in page(path).links if link.startswith(("http:", "https:"))}


def ask(links: list[str]) -> int:
    """Ask each address whether it answers, print those that do not, and return the exit status."""

    def answer(link: str) -> str | None:
        request = urllib.request.Request(link, headers={"User-Agent": "Mozilla/5.0 (link check)"})
        try:
            with urllib.request.urlopen(request, timeout=30):
                return None
        except urllib.error.HTTPError as error:
            # 403 and 429 refuse programs, and say nothing about readers
            return None if error.code in (403, 429) else f"{link}: {error.code} {error.reason}"
        except OSError as error:
            return f"{link}: {error}"

    with ThreadPoolExecutor(8) as pool:
        silent = [reason for reason in pool.map(answer, links) if reason]
    print("\n".join([*silent, f"{len(links) - len(silent)} of {len(links)} addresses answer."]))
    return 1 if silent else 0
