"""`make book`: gather the pages of the website, build them with Jupyter Book, and check what came out.

    python tools/book.py            build into book/_build/html; a warning is an error
    python tools/book.py --links    ask every external address of the built book whether it answers (needs a network)

Jupyter Book reads a folder of Markdown and notebooks. This gathers it in book/_build/source: the notebooks as they were
last executed, the pages in book/, two from the root, and pages made from what is written elsewhere (docstrings, the
README, results), so that nothing stands in two places. Links lead to files of the repository, and are turned here into
links to pages.
Chapters in book/_toc.yml that are not written yet are left out, and so are buttons while no address of the repository
stands in pyproject.toml. A `Documentation` there is the address of the website: with it there is a sitemap, too.
"""

import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import book_api
import book_check
import book_finish
import book_pages
import book_play
import yaml
from navigate import without_links

ROOT = Path(__file__).parent.parent
BOOK = ROOT / "book"
BUILD = BOOK / "_build"
SOURCE = BUILD / "source"
HTML = BUILD / "html"

# Pages of the book that stand at the root of the repository, where people look for them.
AT_THE_ROOT = {"CONTRIBUTING.md": "contribute.md", "CHANGELOG.md": "changelog.md"}
PAGES = AT_THE_ROOT | {
    "README.md": "index.md",
    "notebooks": "how_to_use.md",
    "notebooks/README.md": "how_to_use.md",
    "book/results": "results.md",
    "book/results/README.md": "results.md",
    "book/results/mistakes": "zoo_measured.md",
    "book/results/mistakes/README.md": "zoo_measured.md",
    "benchmarks": "results.md",
}
LINK = re.compile(r"(?<!\\)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
ANSWERS = ("True", "False")  # of a check, which has said the same in words
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
CODE = re.compile(r"(^ {0,3}(```+|~~~+).*?^ {0,3}\2[^\n]*$|\$\$.*?\$\$|`+[^`\n]+`+|\$[^$\n]+\$)", re.M | re.S)


def address(of: str = "repository") -> str | None:
    """Where the repository is, as pyproject.toml has it, or None: every button and link is derived from this.

    of: the name of the address; "documentation" is that of the website, for links that must be whole.
    """
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get("urls", {})
    found = {name.lower(): url.rstrip("/") for name, url in urls.items()}
    return found.get(of)


# --- Which pages there are --------------------------------------------------------------------------------------------


def table_of_contents(source: Path) -> dict[str, Any]:
    """book/_toc.yml, with what it lists and is there; a part of which nothing is there is left out."""
    contents: dict[str, Any] = yaml.safe_load((BOOK / "_toc.yml").read_text())

    def there(entry: dict[str, str]) -> bool:
        return any((source / (entry["file"] + end)).exists() for end in (".md", ".ipynb"))

    for part in contents["parts"]:
        part["chapters"] = [entry for entry in part["chapters"] if there(entry)]
        for entry in part["chapters"]:
            if entry["file"] == "api/index":
                rooms = sorted(path.stem for path in (source / "api").glob("*.md") if path.stem != "index")
                listed = [room for group in book_api.grouped(rooms).values() for room in group]
                entry["sections"] = [{"file": f"api/{room}"} for room in listed]
    contents["parts"] = [part for part in contents["parts"] if part["chapters"]]
    return contents


def page_of(path: str) -> str:
    """Where a file of the repository stands in the gathered source: book/ is its root."""
    return AT_THE_ROOT.get(path) or path.removeprefix("book/")


# --- Links ------------------------------------------------------------------------------------------------------------


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """`change` what is neither code nor mathematics."""
    pieces, end = [], 0
    for found in CODE.finditer(text):
        pieces += [change(text[end : found.start()]), found[0]]
        end = found.end()
    return "".join([*pieces, change(text[end:])])


def relink(text: str, path: str, source: Path, url: str | None) -> str:
    """Links of the file at `path` of the repository, to files of the repository, as links between pages.

    A module becomes its page of the reference; another file a link to the repository, or plain text without one. A
    chapter that is not there yet leaves its name.

    Raises:
        SystemExit: if a link leads nowhere.
    """
    here = posixpath.dirname(page_of(path))

    def page(target: str) -> str | None:
        if target in PAGES:
            return PAGES[target]
        if (source / page_of(target)).is_file() and (target.startswith(("book/", "notebooks/"))):
            return page_of(target)
        if module := re.fullmatch(r"wm_tutorial/(\w+)(?:\.py|/\w+\.py|/?)", target):
            return f"api/{module[1]}.md" if module[1] != "__init__" else "api/index.md"
        return None

    def changed(link: re.Match[str]) -> str:
        label, target = link.groups()
        if re.match(r"[a-z]+:|#", target):
            return link[0]
        file, _, anchor = target.partition("#")
        file = posixpath.normpath(posixpath.join(posixpath.dirname(path), file))
        if found := page(file):
            whole_page = file.startswith(("book/", "notebooks/")) or file in AT_THE_ROOT
            keep = f"#{anchor}" if anchor and whole_page else ""
            return f"[{label}]({posixpath.relpath(found, here or '.')}{keep})"
        if re.fullmatch(r"notebooks/\d\d_\w+\.ipynb", file):
            return label
        if (ROOT / file).exists():
            return f"[{label}]({url}/blob/main/{file})" if url else label
        raise SystemExit(f"{path}: the link {target} leads nowhere")

    whole = CODE.sub(lambda code: f"\x00{keep(code[0])}\x00", text)
    return re.sub("\x00(\\d+)\x00", lambda number: kept[int(number[1])], LINK.sub(changed, whole))


kept: list[str] = []


def keep(code: str) -> str:
    """Set a piece of code aside, under a number."""
    kept.append(code)
    return str(len(kept) - 1)


# --- Terms ------------------------------------------------------------------------------------------------------------


# Also words of everyday language, or too common to be linked anywhere but where they are defined.
EVERYDAY = {"action", "agent", "arriving", "both", "context", "departing", "probe", "return", "row", "state", "value"}
TITLE = re.compile(r"(?<!\*)\*(?! )[^*\n]+ [^*\n]+ [^*\n]+\*(?!\*)")  # three words at least: fewer are only stressed
LINKED = re.compile(r"\[[^\]]*\]\([^)]*\)")
PAPER = re.compile(rf"{LINKED.pattern}|\barXiv (?P<arxiv>\d{{4}}\.\d{{4,5}})|\bdoi (?P<doi>10\.\d{{4,}}/[^\s,;()]*\w)")
EVERYDAY |= {f"{word}s" for word in EVERYDAY} | {"belief", "beliefs", "head", "heads", "model", "surprise", "variance"}


def link_terms(texts: list[str], terms: dict[str, str]) -> list[str]:
    """Link the first use of each term in the texts of one page to the glossary; the definition, where it is in bold.

    Headings, links, code, mathematics, HTML, tables and titles in italics stay as they are.
    """
    spellings = "|".join(sorted(map(re.escape, terms), key=len, reverse=True))
    spelled = re.compile(rf"(?<![\w\-/.])({spellings})(?![\w/]|-\w)", re.IGNORECASE)
    bold = re.compile(rf"(?<=\*\*)({spellings})(?=\*\*)", re.IGNORECASE)
    done: set[str] = set()

    def linked(found: re.Match[str]) -> str:
        label = terms[found[1].lower()]
        if label in done or (found.re is spelled and found[1].lower() in EVERYDAY):
            return found[0]
        done.add(label)
        return f"[{found[0]}](#{label})"

    def prose(text: str, which: re.Pattern[str]) -> str:
        lines = []
        for line in text.split("\n"):
            if not line.startswith(("#", "|", "    ", "(")) and not re.match(r"\s*<", line):
                parts = re.split(rf"({LINKED.pattern}|<[^>]+>|https?://\S+|{TITLE.pattern})", line)
                line = "".join(part if i % 2 else which.sub(linked, part) for i, part in enumerate(parts))
            lines.append(line)
        return "\n".join(lines)

    defined = [outside_code(text, lambda text: prose(text, bold)) for text in texts]
    return [outside_code(text, lambda text: prose(text, spelled)) for text in defined]


def link_papers(text: str) -> str:
    """Text in which arXiv 2301.04104 and doi 10.1038/nature14236 lead to the paper."""

    def linked(found: re.Match[str]) -> str:
        if number := found["arxiv"]:
            return f"[{found[0]}](https://arxiv.org/abs/{number})"
        return f"[{found[0]}](https://doi.org/{found['doi']})" if found["doi"] else found[0]

    return outside_code(text, lambda prose: PAPER.sub(linked, prose))


# --- Gathering --------------------------------------------------------------------------------------------------------


def gather(source: Path = SOURCE) -> None:
    """Everything Jupyter Book reads, in `source`."""
    url = address()
    shutil.rmtree(source, ignore_errors=True)
    for folder in ("_static", "images", "results"):
        shutil.copytree(BOOK / folder, source / folder)
    (source / "_static" / "play").mkdir()
    for name, text in book_play.pages().items():
        (source / "_static" / "play" / name).write_text(text)
    shutil.copy(BOOK / "images" / book_play.FILM[0], source / "_static" / "play")
    shutil.copy(BOOK / "references.bib", source)
    chapters = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    texts = {f"book/{path.name}": path.read_text() for path in sorted(BOOK.glob("*.md"))}
    texts |= {name: (ROOT / name).read_text() for name in AT_THE_ROOT}
    terms = book_pages.terms(texts["book/glossary.md"])
    texts |= book_pages.pages(texts, chapters, url)
    reference = {f"book/api/{name}": text for name, text in book_api.pages(ROOT / "wm_tutorial").items()}
    for path in (*texts, *reference, *(f"notebooks/{chapter.name}" for chapter in chapters)):
        (source / page_of(path)).parent.mkdir(parents=True, exist_ok=True)
        (source / page_of(path)).touch()  # so that links to pages still to come are not dead
    notebooks = {chapter: chapter_of_the_book(chapter, source, url, terms) for chapter in chapters}
    texts["book/glossary.md"] = book_pages.glossary(texts["book/glossary.md"], met(notebooks))
    for path, text in (texts | reference).items():
        text = link_papers(relink(text, path, source, url))
        if path == "book/convention.md":
            (text,) = link_terms([text], terms)
        (source / page_of(path)).write_text(text)
    for chapter, notebook in notebooks.items():
        (source / "notebooks" / chapter.name).write_text(json.dumps(notebook, allow_nan=False))
    (source / "_toc.yml").write_text(yaml.safe_dump(table_of_contents(source), sort_keys=False))
    (source / "_config.yml").write_text(yaml.safe_dump(configuration(url), sort_keys=False))


def chapter_of_the_book(path: Path, source: Path, url: str | None, terms: dict[str, str]) -> dict[str, Any]:
    """A notebook with its links and terms as the book needs them."""
    notebook: dict[str, Any] = json.loads(path.read_text())
    notebook["metadata"] = {"kernelspec": KERNEL, "language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    cells[-1]["source"] = without_links("".join(cells[-1]["source"]))  # the book has its own
    texts = [link_papers(relink("".join(cell["source"]), f"notebooks/{path.name}", source, url)) for cell in cells]
    for cell, text in zip(cells, link_terms(texts, terms), strict=True):
        cell["source"] = text
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code" and (folded := what_is_folded(cell)):  # many folds in a row say what is in each
            prompts = {f"code_prompt_{verb}": f"{verb.title()} the {folded}" for verb in ("show", "hide")}
            cell["metadata"].setdefault("mystnb", {}).update(prompts)
        if len(outputs := cell.get("outputs", [])) > 1:  # what a check returns, below the sentence it has printed
            outputs[:] = [o for o in outputs if "".join(o.get("data", {}).get("text/plain", "")) not in ANSWERS]
        for output in outputs:
            if "text/html" in (data := output.get("data", {})):
                data["text/html"] = phone_ready("".join(data["text/html"]))
    return notebook


def what_is_folded(cell: dict[str, Any]) -> str:
    """A solution, or assertions; or the `{type}`, source or output, of a figure, table, film or quiz; or nothing."""
    tags = cell["metadata"].get("tags", [])
    if "solution" in tags:
        return "solution"
    if "hide-cell" in tags:
        return "assertions"
    last = "".join(cell["outputs"][-1].get("data", {}).get("text/html", "")) if cell.get("outputs") else ""
    signs = {"quiz": "wm-quiz", "film": "image/gif", "table": "<table", "figure": "wm-figure"}
    return next((f"{{type}} {name}" for name, sign in signs.items() if sign in last), "")


def met(notebooks: dict[Path, dict[str, Any]]) -> dict[str, list[str]]:
    """Where each term of the glossary is linked: its anchor, and links to the chapters."""
    found: dict[str, list[str]] = {}
    for chapter, notebook in notebooks.items():
        text = "".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
        for label in dict.fromkeys(re.findall(r"\]\(#(term-[\w-]+)\)", text)):
            found.setdefault(label, []).append(f"[{chapter.name[:2]}](../notebooks/{chapter.name})")
    return found


def phone_ready(html: str) -> str:
    """Wide tables scroll inside themselves; pictures are decoded when they come into view."""
    html = re.sub(r"(<table.*?</table>)", r'<div class="wide">\1</div>', html, flags=re.S)
    return html.replace("<img ", '<img decoding="async" ')


def configuration(url: str | None) -> dict[str, Any]:
    """book/_config.yml and what follows from the address of the repository."""
    config: dict[str, Any] = yaml.safe_load((BOOK / "_config.yml").read_text())
    if url:
        config["sphinx"]["config"]["html_theme_options"] |= {
            "repository_provider": "github",
            "repository_url": url,
            "repository_branch": "main",
            "path_to_docs": "",
            "use_repository_button": True,
            "use_issues_button": True,
            "launch_buttons": {
                "notebook_interface": "jupyterlab",
                "colab_url": "https://colab.research.google.com",
                "binderhub_url": "https://mybinder.org",
            },
        }
    return config


# --- Building ---------------------------------------------------------------------------------------------------------


def build() -> int:
    """Gather, build and check; the exit status."""
    gather()
    shutil.rmtree(SOURCE / "_build", ignore_errors=True)
    command = [
        str(Path(sys.executable).parent / "jupyter-book"),
        "build",
        str(SOURCE),
        "-W",
        "--keep-going",
        "-q",
        "--all",
    ]
    settings = {"PYTHONWARNINGS": "ignore", "JUPYTER_PLATFORM_DIRS": "1"}
    built = subprocess.run(command, cwd=SOURCE, env=os.environ | settings)
    if built.returncode:
        print("The book was not built: see the warnings above, each of which counts as an error.", file=sys.stderr)
        return 1
    shutil.rmtree(HTML, ignore_errors=True)
    shutil.move(SOURCE / "_build" / "html", HTML)
    book_finish.finish(HTML, address("documentation"))
    faults = list(book_check.faults(HTML, address()))
    for fault in faults:
        print(fault, file=sys.stderr)
    (BUILD / "links.txt").write_text("".join(f"{link}\n" for link in sorted(book_check.external(HTML))))
    pages = len(list(book_check.html_pages(HTML)))
    print(f"{pages} pages, {len(faults)} faults. Open {(HTML / 'index.html').relative_to(ROOT)}")
    return 1 if faults else 0


def external_links() -> Iterator[str]:
    """What the last build found in the book that leads out of it."""
    yield from (BUILD / "links.txt").read_text().split()


if __name__ == "__main__":
    sys.exit(book_check.ask(list(external_links())) if "--links" in sys.argv[1:] else build())
