"""`make slides`: a deck for each chapter, made from its notebook: figures, equations, and predictions to bet on.

    python tools/slides.py          build/slides: all chapters, and a page that lists them
    python tools/slides.py 04 06    these alone

A slide has the heading of its section and one thing. A prediction is a slide whose answer is its next fragment, and
what the cells had shown comes after it. Exercises, solutions and the quiz are left out; texts are cut after a whole
sentence, so that they can be read from the last row. The decks need no network: reveal.js and MathJax are copied beside
them from the packages that carry them.
"""

import importlib.util
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from itertools import zip_longest
from pathlib import Path

from course import ROOT, chapters, has, markdown, read
from nbconvert.exporters import SlidesExporter
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

BUILD = ROOT / "build" / "slides"
SIZE = 960, 700  # of a slide, in the pixels of its fonts; a browser scales it to the screen
ROOM = {
    "question": 600,
    "answer": 650,
    "around": 260,
    "built": 700,
}  # characters, as many as fit on such a slide
LINES, COLUMNS = 8, 88  # of what a cell printed
LARGE = 62  # columns of a print or a table that can be shown in large letters
DENSE = 11  # rows from which a table is set in small ones
PREDICT = re.compile(r"\*\*Predict, then run[.:]\*\*")
LAST = "Quiz"  # the section at which a deck ends, but for what the chapter has built
DETAILS = re.compile(r"(<details>.*?</details>)", re.DOTALL)
ANSWER = re.compile(r"<details><summary>What happened</summary>\n\n(.+?)\n\n</details>", re.DOTALL)
CELL = re.compile(r"<t[hd][^>]*>(.*?)</t[hd]>", re.DOTALL)
LINK = re.compile(r"\[([^\]]+)\]\((?:https?:|\.\./|#|[\w/]+\.(?:ipynb|md|py))[^)]*\)")
SENTENCE = re.compile(r"(?:(?<=[.?!])|(?<=[.?!][)”*\"]))\s+(?=[A-Z$`*“(])")
TEMPLATE = """\
{%- extends 'index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}
<script>
MathJax = { tex: { inlineMath: [["$", "$"]], processEscapes: true }, options: { enableMenu: false } };
</script>
<script src="mathjax/tex-svg.js"></script>
<script src="reveal/dist/reveal.js"></script>
{%- endblock -%}
{%- block body_header -%}
<link rel="stylesheet" href="slides.css">
{{ super() }}
{%- endblock -%}
{%- block footer_js -%}
<script>
// A line must not end between a formula and the signs behind it.
const joined = () => document.querySelectorAll("mjx-container:not([display])").forEach((formula) => {
  const signs = formula.nextSibling?.data?.match(/^[.,;:!?)”’"]+/)?.[0];
  if (!signs) return;
  const whole = document.createElement("span");
  whole.className = "whole";
  formula.nextSibling.splitText(signs.length);
  formula.before(whole);
  whole.append(formula, whole.nextSibling);
});
MathJax.startup.promise.then(joined).then(() => Reveal.initialize({
  width: WIDTH, height: HEIGHT, center: false, hash: true, slideNumber: "c/t", transition: "none",
  navigationMode: "linear",
}));
</script>
{%- endblock -%}
"""
STYLE = """\
.reveal { font-size: 26px; --r-heading1-size: 44px; --r-heading2-size: 32px; --r-heading-text-transform: none; }
.reveal .slides { text-align: left; }
.reveal .slides section { padding: 16px 0 0; }
.reveal .jp-RenderedHTMLCommon h1, .reveal .jp-RenderedHTMLCommon h2 { margin: 0 0 16px; }
.reveal .controls { font-size: 7px; }
.reveal .slide-number { right: auto; left: 8px; }
.reveal .jp-InputPrompt, .reveal .jp-InputCollapser, .reveal .jp-OutputCollapser { display: none; }
.reveal .jp-RenderedHTMLCommon { font-family: var(--r-main-font); font-size: 26px; line-height: 1.3; padding: 0; }
.reveal .jp-RenderedHTMLCommon p { margin: 0 0 12px; }
.reveal .jp-Cell, .reveal .jp-Cell-outputWrapper, .reveal .jp-OutputArea-output { padding: 0; margin: 0; border: 0; }
.reveal .jp-OutputArea-output, .reveal .jp-OutputArea-output pre { overflow: hidden; }
.reveal .jp-RenderedHTMLCommon code { font-size: 0.85em; white-space: normal; }
.reveal .whole { white-space: nowrap; }
.reveal .jp-RenderedHTMLCommon ul, .reveal .jp-RenderedHTMLCommon ol { padding-left: 1.2em; margin: 0 0 12px; }
.reveal .fragment .jp-RenderedHTMLCommon { color: #3b3b3b; }
.reveal pre { width: auto; margin: 8px 0; box-shadow: none; line-height: 1.3; }
.reveal .jp-OutputArea-output pre { font-size: 15.5px !important; white-space: pre !important; }
.reveal .celltag_large .jp-OutputArea-output pre { font-size: 22px !important; }
.reveal .jp-RenderedHTMLCommon table { font-size: 18px; margin: 8px auto; }
.reveal .celltag_large .jp-RenderedHTMLCommon table { font-size: 23px; }
.reveal .celltag_dense .jp-RenderedHTMLCommon :is(th, td) { font-size: 15.5px; padding: 3px 8px; }
.reveal .jp-RenderedHTMLCommon th, .reveal .jp-RenderedHTMLCommon td { padding: 4px 10px; }
.reveal .wm-figure { max-width: none !important; margin: 0 !important; }
.reveal .wm-figure img { display: block; max-height: 510px; margin: 0 auto; object-fit: contain; }
.reveal figcaption { margin: 12px 0 0 !important; font-size: 20px !important; line-height: 1.3; }
"""
INDEX = """\
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Slides</title></head>
<body>
<h1>Slides</h1>
<ul>
{decks}
</ul>
<p>Space or an arrow shows the next thing, Esc all slides, F the full screen; ?print-pdf behind the address is for
printing.</p>
</body>
</html>
"""


@dataclass
class Prediction:
    """A question, what the cells below it show, and the answer, once it is found."""

    heading: str
    question: str
    shown: list[NotebookNode] = field(default_factory=list)


# --- Which cells ------------------------------------------------------------------------------------------------------


def deck(notebook: NotebookNode) -> NotebookNode:
    """The slides of a chapter, as a notebook whose cells say which kind of slide they begin."""
    head = notebook.cells[0].source.rpartition("\n\n")[0]  # without the line of minutes
    cells = [_markdown(_plain(head), "slide")]
    section = ""
    for heading, parts in (*_slides(notebook), *_built(notebook)):
        cells += [_markdown(f"## {heading}", "subslide" if heading == section else "slide"), *parts]
        section = heading
    return new_notebook(cells=cells, metadata=notebook.metadata)


def _slides(notebook: NotebookNode) -> Iterator[tuple[str, list[NotebookNode]]]:
    """Heading and cells of each slide, in the order of the chapter."""
    heading, waiting = "", None
    for cell in notebook.cells[1:]:
        if cell.cell_type == "code":
            shown = [] if any(has(cell, tag) for tag in ("exercise", "check", "solution")) else list(_shown(cell))
            if waiting:
                waiting.shown += shown
            else:
                yield from ((heading, [_output(one)]) for one in shown if _is_figure(one))
            continue
        for part in DETAILS.split(cell.source.partition("### Exercise")[0]):
            if answer := ANSWER.fullmatch(part):
                if waiting:
                    yield from _answered(waiting, answer[1])
                waiting = None
            if part.startswith("<details>"):
                continue
            blocks = [block for block in part.strip().split("\n\n") if block]
            for n, block in enumerate(blocks):
                if found := re.match(r"##+ (.+)", block):
                    heading = found[1]
                    if heading == LAST:
                        return
                elif PREDICT.search(block):
                    waiting = Prediction(heading, "\n\n".join(blocks[n:]))
                    break
                elif "$$" in block:
                    yield heading, [_markdown("\n\n".join(_equation(blocks, n)))]


def _answered(asked: Prediction, answer: str) -> Iterator[tuple[str, list[NotebookNode]]]:
    """The slide of a question with its answer, and behind it what the cells had shown."""
    said = [_output(one, "fragment") for one in asked.shown if not _is_html(one)]
    before, marked, question = re.split(f"({PREDICT.pattern})", asked.question, maxsplit=1)
    before = shortened(before, ROOM["around"], last=True) if before else ""
    question = f"{before} {marked} {shortened(question.strip(), ROOM['question'])}".strip()
    room = ROOM["answer"] - 70 * sum(cell.outputs[0].get("text", "").count("\n") for cell in said)
    yield asked.heading, [_markdown(_plain(question)), *said, _markdown(shortened(_plain(answer), room), "fragment")]
    yield from ((asked.heading, [_output(one)]) for one in asked.shown if _is_html(one))


def _equation(blocks: list[str], n: int) -> Iterator[str]:
    """An equation, the last words before it, and the first ones after it."""
    room = ROOM["around"]
    if n and blocks[n].startswith("$$") and not blocks[n - 1].startswith(("#", "$$", "|", "```")):
        yield shortened(_plain(blocks[n - 1]), room, last=True)
    yield _plain(blocks[n])
    if blocks[n + 1 :] and not re.match(r"[#|`-]|\$\$", blocks[n + 1]) and not PREDICT.search(blocks[n + 1]):
        yield shortened(_plain(blocks[n + 1]), room)


def _built(notebook: NotebookNode) -> Iterator[tuple[str, list[NotebookNode]]]:
    """The last slide: what the chapter has built."""
    found = re.search(r"^## (What you built)\n+(.+?)(?=\n+## |\Z)", markdown(notebook), re.MULTILINE | re.DOTALL)
    if found:
        yield found[1], [_markdown(shortened(_plain(found[2]), ROOM["built"]))]


def _shown(cell: NotebookNode) -> Iterator[NotebookNode]:
    """What a cell shows and a slide can hold: figures, tables, a few lines of text; nothing that is played."""
    for output in cell.outputs:
        html, text = output.get("data", {}).get("text/html", ""), _text(output)
        lines = [] if html else text.splitlines()
        short = 0 < len(lines) <= LINES and all(len(line) <= COLUMNS for line in lines)
        if "<figure" in html or "<table" in html or short:
            yield output


def _is_html(output: NotebookNode) -> bool:
    return "text/html" in output.get("data", {})


def _is_figure(output: NotebookNode) -> bool:
    return "<figure" in output.get("data", {}).get("text/html", "")


def _text(output: NotebookNode) -> str:
    return str(output.get("text", "") or output.get("data", {}).get("text/plain", ""))


def _columns(output: NotebookNode) -> int:
    """How many letters wide a print or a table is, with some room between the columns of a table."""
    html = output.get("data", {}).get("text/html", "")
    if "<figure" in html:
        return COLUMNS
    if not html:
        return max(map(len, _text(output).splitlines()), default=0)
    rows = [CELL.findall(row) for row in re.findall(r"<tr.*?</tr>", html, re.DOTALL)]
    cells = [[re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in rows]
    return sum(3 + max(map(len, column)) for column in zip_longest(*cells, fillvalue=""))


def _output(output: NotebookNode, kind: str = "-") -> NotebookNode:
    rows = output.get("data", {}).get("text/html", "").count("</tr>")
    tags = ["dense"] if rows > DENSE else ["large"] if _columns(output) <= LARGE else []
    return new_code_cell(outputs=[output], metadata={"slideshow": {"slide_type": kind}, "tags": tags})


def _markdown(text: str, kind: str = "-") -> NotebookNode:
    return new_markdown_cell(text, metadata={"slideshow": {"slide_type": kind}})


# --- Words ------------------------------------------------------------------------------------------------------------


def _plain(text: str) -> str:
    """Text without its links, which lead to files that are not beside a deck."""
    return LINK.sub(r"\1", text)


def shortened(text: str, room: int, last: bool = False) -> str:
    """The first paragraphs that fit into so many characters, or whole sentences of one; with `last`, the last ones."""
    paragraphs = text.strip().split("\n\n")
    first, *others = paragraphs[::-1] if last else paragraphs
    kept = [_cut(first, room, last)]
    for paragraph in others if kept == [first] else []:
        if len("".join([*kept, paragraph])) > room:
            break
        kept.append(paragraph)
    return "\n\n".join(kept[::-1] if last else kept)


def _cut(paragraph: str, room: int, last: bool) -> str:
    """Whole sentences of a paragraph, or lines of a list, from its beginning or its end; at least one."""
    a_list = re.match(r"(?:[-*]|\d+\.) ", paragraph)
    pieces = re.split(r"\n(?=(?:[-*]|\d+\.) )", paragraph) if a_list else SENTENCE.split(paragraph)
    if len(pieces) > 1 and not last and pieces[-1].endswith(":"):
        del pieces[-1]  # what it announces is not on the slide
    while len(pieces) > 1 and sum(map(len, pieces)) > room:
        del pieces[0 if last else -1]
    return ("\n" if a_list else " ").join(pieces)


# --- Pages ------------------------------------------------------------------------------------------------------------


def page(notebook: NotebookNode, name: str) -> str:
    """A deck as HTML, which reads what `beside` copies."""
    template = TEMPLATE.replace("WIDTH", str(SIZE[0])).replace("HEIGHT", str(SIZE[1]))
    exporter = SlidesExporter(raw_template=template, reveal_url_prefix="reveal", reveal_theme="white")
    exporter.exclude_input = exporter.exclude_output_prompt = exporter.exclude_anchor_links = True
    html, _ = exporter.from_notebook_node(deck(notebook), resources={"metadata": {"name": name}})
    return str(html)


def beside(folder: Path) -> None:
    """Copy what the decks read: reveal.js with a theme and its font, MathJax in one file, and the style.

    Raises:
        SystemExit: if a package that carries them is missing.
    """
    reveal = _package("sphinx_revealjs") / "_static" / "revealjs"
    for part in ("LICENSE", "dist/reveal.js", "dist/reveal.css", "dist/theme/white.css"):
        (folder / "reveal" / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(reveal / part, folder / "reveal" / part)
    shutil.copytree(reveal / "dist/theme/fonts/source-sans-pro", folder / "reveal/dist/theme/fonts/source-sans-pro")
    (folder / "mathjax").mkdir()
    shutil.copy(_package("sphinx-mathjax-offline") / "static" / "mathjax" / "tex-svg.js", folder / "mathjax")
    (folder / "slides.css").write_text(STYLE, encoding="utf-8")


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"{name} is not installed; `make slides` installs what the slides need.")
    return Path(found.submodule_search_locations[0])


def main(names: list[str], folder: Path = BUILD) -> None:
    """Write the decks of some chapters, or of all, into `folder`, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    beside(folder)
    lines = []
    for path in chapters(names):
        notebook = read(path)
        (folder / f"{path.stem}.html").write_text(page(notebook, path.stem), encoding="utf-8")
        title = notebook.cells[0].source.splitlines()[0].lstrip("# ")
        lines.append(f'<li><a href="{path.stem}.html">{escape(title)}</a></li>')
    (folder / "index.html").write_text(INDEX.format(decks="\n".join(lines)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
    print(f"{(BUILD / 'index.html').relative_to(ROOT)}: open it in a browser")
