"""The chapters in tests: their definitions, their measures, and what is wrong with them.

A test of a chapter takes what the chapter defines without running it:

    recursion = definitions("06_lambda_returns")["lambda_returns"]
"""

import ast
import html
import json
import re
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import nbformat
from course import NOTEBOOKS, RESULTS, bound, chapters, code_cells, has, links, markdown, read, used
from navigate import link_chapter, titles, without_links
from nbformat import NotebookNode
from run_notebooks import normalise

import wm_tutorial

__all__ = ["RULES", "chapters", "definitions"]

HEADING = re.compile(r"^### (Exercise \d+\.\d+)\b", re.MULTILINE)
BOUNDS = {
    "words": (1500, 3000),
    "median cell": (1, 8),
    "longest cell": (1, 40),
    "lines per check": (0, 15),
    "exercises": (3, 6),
    "images": (2, 100),
    "CPU seconds": (0, 90),
    "kilobytes": (0, 1500),
}
COLUMNS = 88  # what a box of code holds on the website; notebooks/ruff.toml has the same number
SLOW = {"08": 360, "12": 360, "13": 360}  # CPU seconds; whole agents learn in chapters 08 and 12, from pictures in 13

DRAWS = ("notebook.figure", "notebook.show", "notebook.table", "notebook.instrument", "check.report")
PREDICT = "Predict, then run"
OPENS = re.compile(r"<details><summary>What happened</summary>\n\n.+?\n\n</details>", re.DOTALL)

SIMPLE = (
    ast.Constant, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.Name, ast.Attribute, ast.BinOp, ast.UnaryOp, ast.Starred,
    ast.operator, ast.unaryop, ast.expr_context,
)  # fmt: skip


NUMBER = re.compile(
    r"(?<![\w.,/#-])\d[\d,]*\.\d+(?!\.?\w)"  # 0.17, but no 0.1.0
    r"|(?<![\w.,/#])\d{1,3}(?:,\d{3})+(?!,?\w)"  # 20,000
    r"|(?<![\w.,/#])\d{3,}(?!,?\w)"  # 776
)
# What no reader looks for in an output: code, formulas, links, headings, exercises, references, years of papers.
UNCOUNTED = re.compile(
    r"^```.*?^```|`[^`\n]+`|\$\$.*?\$\$|\$[^$]+\$|!?\[[^]]*\]\([^)]*\)|^#[^\n]*|<[^>]+>"
    r"|arXiv [\d.]+|[Ee]xercise \d\.\d|\b[A-Z]\w+,? (?:19|20)\d\d\b",
    re.DOTALL | re.MULTILINE,
)
# Numbers that no cell of the chapter prints or holds, and why they may stand in its text all the same.
UNPRINTED: dict[str, dict[str, str]] = {
    "00": {
        "230": "0.997 ** 230 is a half",
        "2,500": "the round number of a step in the output",
        "256": "a default of the preset, in a comment of the code",
        "0.209": "12 degrees in radians",
        "333": "1 / (1 - 0.997), in the sentence",
    },
    "01": {"0.007": "exp(-10 / 2), the bound in the sentence"},
    "04": {"1.44": "1 / ln 2, bits in a nat"},
    "06": {
        "0.99": "a usual discount, as an example",
        "0.997": "the discount of the agent, which this chapter does not build",
        "500": "the time limit of CartPole, a rule of the environment",
    },
    "08": {
        "0.5001": "two probabilities that nearly agree, as an example",
        "0.4999": "two probabilities that nearly agree, as an example",
    },
    "10": {"1,500": "updates of a longer run, of which the text says what it gave"},
    "20": {
        "12,288": "bytes of a picture of 64 x 64 x 3",
        "3080": "the name of a GPU",
        "0.902": "1 - 1 / (512 · 0.02), in the sentence",
    },
}

MACHINE = re.compile(r"(?<![\w/.])/(?:home|root|Users|tmp|work|mnt|opt|var|usr)/\S*|[A-Z]:\\\S+|0x[0-9a-f]{8,}")


# --- What a chapter defines -------------------------------------------------------------------------------------------


def definitions(name: str) -> dict[str, Any]:
    """What the chapter `name`, such as "02_dynamics", defines."""
    return definitions_of(read(NOTEBOOKS / f"{name}.ipynb"))


def definitions_of(notebook: NotebookNode) -> dict[str, Any]:
    """Run the imports, the constants, the functions and the classes of a notebook, and nothing else.

    A constant is a name for numbers, strings, tuples, lists and dicts of them, and arithmetic with constants.
    """
    namespace: dict[str, Any] = {}
    for cell in code_cells(notebook):
        for node in ast.parse(cell.source).body:
            if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef) or _constant(
                node, namespace
            ):
                exec(compile(ast.Module([node], []), f"<cell {cell.id}>", "exec"), namespace)
    return namespace


def _constant(node: ast.stmt, known: dict[str, Any]) -> bool:
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return False
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    value = list(ast.walk(node.value))
    return (
        all(isinstance(target, ast.Name | ast.Tuple) for target in targets)  # and not x.grad = None
        and all(isinstance(part, SIMPLE) for part in value)
        and all(part.id in known for part in value if isinstance(part, ast.Name))
    )


def run_cell(source: str, namespace: dict[str, Any]) -> Any:
    """Run a cell and return the value of its last expression, which a notebook would show."""
    *before, last = ast.parse(source).body
    assert isinstance(last, ast.Expr)
    exec(compile(ast.Module(before, []), "<cell>", "exec"), namespace)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), namespace)


# --- What a chapter measures ------------------------------------------------------------------------------------------


def measures(notebook: NotebookNode, name: str) -> dict[str, float]:
    """One row of the table of chapters; code that draws is not counted among the lines that need checks."""
    code = [cell for cell in code_cells(notebook) if not asked(cell)]  # questions of a quiz are text
    lines = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in code]
    # a cell to write in has nothing to check yet
    stubs = sum(len(cell.source.splitlines()) for cell in code_cells(notebook) if has(cell, "exercise"))
    drawing = sum(_drawing(cell) for cell in code_cells(notebook))
    checks = sum(_checks(cell) for cell in code_cells(notebook))
    recorded = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return {
        "words": len(prose(notebook).split()),
        "code cells": len(lines),
        "median cell": median(lines) if lines else 0,
        "longest cell": max(lines, default=0),
        "lines of code": sum(lines),
        "lines that draw": drawing,
        "checks": checks,
        "lines per check": round((sum(lines) - drawing - stubs) / max(checks, 1), 1),
        "exercises": len(HEADING.findall(markdown(notebook))),
        "images": sum(len(re.findall("<img ", shown)) for shown in shown_html(notebook)),
        "CPU seconds": recorded.get(name, {}).get("cpu_seconds", float("nan")),
        "kilobytes": round(len(nbformat.writes(notebook).encode()) / 1000),
    }


def table(measured: dict[str, float]) -> str:
    """The measures of a chapter beside what they may be."""
    return "\n".join(f"{what:16}{value:8g}   {BOUNDS.get(what, '')}" for what, value in measured.items())


def prose(notebook: NotebookNode) -> str:
    """The words of the text: no code blocks, formulas, tags or addresses."""
    text = without_links(markdown(notebook))
    text = re.sub(r"```.*?```|\$\$.*?\$\$|\$[^$\n]+\$|<[^>]+>|\]\([^)]+\)", " ", text, flags=re.DOTALL)
    return " ".join(word for word in text.split() if re.search(r"\w", word))


def _drawing(cell: NotebookNode) -> int:
    """Lines of `with notebook.figure(...)` blocks, and of what shows figures, tables and the reader's score."""
    drawing = 0
    for node in ast.walk(ast.parse(cell.source)):
        called = [item.context_expr for item in node.items] if isinstance(node, ast.With) else []
        called += [node.value] if isinstance(node, ast.Expr) else []
        if any(ast.unparse(call).startswith(DRAWS) for call in called):
            drawing += node.end_lineno - node.lineno + 1
    return drawing


def asked(cell: NotebookNode) -> int:
    """How many questions a cell puts to the reader: the arguments of its `quiz(...)`."""
    calls = (node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call))
    return sum(len(call.args) for call in calls if ast.unparse(call.func) == "quiz")


def folded(cell: NotebookNode, tag: str, what: str) -> bool:
    """Whether a cell is folded on the website, by the tag, and in JupyterLab, by `what`."""
    return has(cell, tag) and bool(cell.metadata.get("jupyter", {}).get(what))


def _checks(cell: NotebookNode) -> int:
    """Assertions, those of torch and NumPy among them, and the checks of exercises."""
    nodes = list(ast.walk(ast.parse(cell.source)))
    calls = [ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)]
    return (
        sum(isinstance(node, ast.Assert) for node in nodes)
        + sum(".testing.assert_" in call for call in calls)
        + has(cell, "check")
    )


def outputs(notebook: NotebookNode) -> Iterator[tuple[str, NotebookNode]]:
    """Every output, with the id of its cell."""
    for cell in code_cells(notebook):
        for output in cell.outputs:
            yield cell.id, output


def shown_text(output: NotebookNode) -> str:
    """What an output says, without the bytes of its pictures."""
    said = "\n".join([output.get("text", ""), *map(str, output.get("data", {}).values())])
    return re.sub(r"base64,[^\"]*", "", said)


def shown_html(notebook: NotebookNode) -> list[str]:
    """What the notebook shows as HTML, and its text, which may hold HTML too."""
    shown = [output.data["text/html"] for _, output in outputs(notebook) if "text/html" in output.get("data", {})]
    return [*shown, markdown(notebook)]


# --- What is wrong with a chapter -------------------------------------------------------------------------------------


def bounds(notebook: NotebookNode, name: str) -> Iterator[str]:
    """As long as a chapter should be, in small pieces, and often checked; `make notebooks` records its CPU seconds."""
    measured = measures(notebook, name)
    for what, (low, high) in BOUNDS.items():
        high = SLOW.get(name[:2], high) if what == "CPU seconds" else high
        if not low <= measured[what] <= high:
            yield f"{what}: {measured[what]:g}, and not {low} to {high}"


def opening(notebook: NotebookNode, name: str) -> Iterator[str]:
    """What a reader is told first: what it is, what it takes, and that the right package is there."""
    head = notebook.cells[0].source if notebook.cells[0].cell_type == "markdown" else ""
    text = markdown(notebook)
    if not re.match(rf"# {name[:2]} · \S", head):
        yield f"the first cell does not begin with a title like '# {name[:2]} · Dynamics'"
    bullets = re.search(r"What you will be able to do\W*\n+((?:[-*] .+\n(?:  .+\n)*)+)", text + "\n")
    if not bullets or not 3 <= len(re.findall(r"^[-*] ", bullets[1], re.MULTILINE)) <= 4:
        yield "'What you will be able to do' is not followed by a list of three or four things"
    paragraphs = re.sub(r"(?<!\n)\n(?!\n)", " ", text)
    if not re.search(
        r"\d+ (minutes|min)\b.*·.*\d+ (seconds|minutes)\b.*·.*builds on.*·.*ends in", paragraphs, re.IGNORECASE
    ):
        yield "no line says '.. minutes of study · .. seconds of compute .. · builds on .. · ends in ..'"
    first = next(iter(code_cells(notebook)), nbformat.v4.new_code_cell())
    wanted = f'from wm_tutorial.course import notebook\nnotebook.begin("{wm_tutorial.__version__}")'
    if ast.dump(ast.parse(first.source)) != ast.dump(ast.parse(wanted)):
        yield f"the first code cell is not\n{wanted}"


def closing(notebook: NotebookNode, name: str) -> Iterator[str]:
    """What the chapter built, why it goes on, and where it comes from; and questions on the way."""
    headings = [line for line in markdown(notebook).splitlines() if line.startswith("## ")]
    last = ["## What you built", "## What it still cannot do", "## References"]
    if headings[-3:] != last:
        yield f"it does not end with {', '.join(last)}, but with {', '.join(headings[-3:])}"
    if (times := markdown(notebook).count(PREDICT)) < 2:
        yield f"it asks {times} times to predict, and not at least twice: '{PREDICT}.'"


def predictions(notebook: NotebookNode, name: str) -> Iterator[str]:
    """Who is asked to predict sees no answer before opening it: not in an output, in the text, or in an assertion."""
    for position, cell in enumerate(notebook.cells):
        if cell.cell_type != "markdown" or PREDICT not in cell.source:
            continue
        if cell.source.count(PREDICT) > 1:
            yield f"cell {cell.id} asks for two predictions at once"
        if OPENS.search(cell.source.partition(PREDICT)[2]):
            yield f"cell {cell.id} tells what happened below its own question, before anything ran"
        until = _until_it_opens(notebook.cells[position + 1 :])
        if until is None:
            yield (
                f"after the question of cell {cell.id} no <details><summary>What happened</summary>, "
                "with empty lines around its text, follows"
            )
            continue
        shows = [other for other in until if other.cell_type == "code" and other.outputs]
        if not shows:
            yield f"nothing is shown between the question of cell {cell.id} and its answer"
        for other in shows:
            if not folded(other, "hide-output", "outputs_hidden"):
                yield f"cell {other.id} shows the answer to {cell.id}: it needs the tag hide-output and outputs_hidden"
        for other in until:
            asserts = other.cell_type == "code" and _checks(other)
            if asserts and not other.metadata.get("jupyter", {}).get("source_hidden"):
                yield (
                    f"cell {other.id} asserts the answer to {cell.id} where everybody reads it: move that into a cell "
                    "of its own behind what it is about, with the tag hide-cell and source_hidden"
                )


def _until_it_opens(cells: list[NotebookNode]) -> list[NotebookNode] | None:
    """The cells before the fold that says what happened; None if the next question comes first, or none is there."""
    for number, cell in enumerate(cells):
        if cell.cell_type == "markdown" and OPENS.search(cell.source.partition(PREDICT)[0]):
            return cells[:number]
        if cell.cell_type == "markdown" and PREDICT in cell.source:
            return None
    return None


def quizzes(notebook: NotebookNode, name: str) -> Iterator[str]:
    """A quiz of five to eight questions closes the chapter; its source, which has the answers, is folded."""
    headings = [line for line in markdown(notebook).splitlines() if line.startswith("## ")]
    if headings[-4:-3] != ["## Quiz"]:
        yield f"'## Quiz' is not the last section before 'What you built', but {', '.join(headings[-4:-3])!r}"
    cells = [cell for cell in code_cells(notebook) if asked(cell)]
    if len(cells) != 1:
        yield f"{len(cells)} cells call quiz(...), and not one"
    for cell in cells:
        before = "\n".join(other.source for other in notebook.cells[: notebook.cells.index(cell)])
        if not before.rpartition("\n## ")[2].startswith("Quiz"):
            yield f"the quiz, cell {cell.id}, does not stand under '## Quiz'"
        if not 5 <= asked(cell) <= 8:
            yield f"the quiz asks {asked(cell)} questions, and not 5 to 8"
        if not folded(cell, "hide-input", "source_hidden"):
            yield f"the answers of the quiz, cell {cell.id}, can be read: it needs the tag hide-input and source_hidden"
        if "wm-quiz" not in everything(cell).partition(cell.source)[2]:
            yield f"the quiz, cell {cell.id}, shows no questions: quiz(...) is the last expression of its cell"


def exercises(notebook: NotebookNode, name: str) -> Iterator[str]:
    """Task, a cell to write in, its check and a solution, one after the other, each complete."""
    expected, cells = 1, notebook.cells
    for task, *others in zip(cells, cells[1:], cells[2:], cells[3:], strict=False):
        for exercise in HEADING.findall(task.source) if task.cell_type == "markdown" else []:
            if exercise != (wanted := f"Exercise {int(name[:2])}.{expected}"):
                yield f"{exercise} should be {wanted}"
            expected += 1
            to_write, check, solution = others
            faults = (*_task(task.source), *_stub(to_write, exercise, task.source), *_check(check))
            for fault in (*faults, *_solution(solution, to_write, check)):
                yield f"{exercise}: {fault}"
    for tag in ("exercise", "check", "solution"):
        if (tagged := sum(has(cell, tag) for cell in notebook.cells)) != expected - 1:
            yield f"{expected - 1} exercises, but {tagged} cells with the tag {tag}"


def _task(text: str) -> Iterator[str]:
    if not re.search(r"^### Exercise [\d.]+: .+\n+(★☆☆|★★☆|★★★) · \d+ minutes", text, re.MULTILINE):
        yield "no line like '★☆☆ · 5 minutes' follows its title"
    if not re.search(r"```python\n(?:.*\n)*?def \w+\(", text):
        yield "no signature in a block of Python"
    hints = re.findall(r"<details><summary>Hint (\d)</summary>\n\n.+?\n\n</details>", text, re.DOTALL)
    if hints not in (["1", "2"], ["1", "2", "3"]):
        yield f"hints {hints}, and not two or three, each in <details><summary>Hint 1</summary> with empty lines around"


def _stub(cell: NotebookNode, exercise: str, task: str) -> Iterator[str]:
    if not has(cell, "exercise"):
        yield "no cell with the tag exercise, to write in, follows"
        return
    for node in ast.parse(cell.source).body:
        if isinstance(node, ast.FunctionDef):
            *docstring, last = node.body
            if not ast.get_docstring(node) or len(docstring) != 1:
                yield f"{node.name} is to have a docstring and nothing before its last line"
            if ast.unparse(last) != f"raise NotImplementedError({exercise!r})":
                yield f"{node.name} does not end with raise NotImplementedError({exercise!r})"
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            yield f"the cell to write in holds {ast.unparse(node)!r}, which is no import and no function"
    if missing := set(re.findall(r"^def (\w+)\(", task, re.MULTILINE)) - bound(cell.source):
        yield f"the cell to write in has no {', '.join(missing)}"


def _check(cell: NotebookNode) -> Iterator[str]:
    if not (has(cell, "check") and has(cell, "nbval-check-output")):
        yield "no cell with the tags check and nbval-check-output comes after the one to write in"
    elif not re.fullmatch(r".+: still to be written.+\nFalse", shown := _said(cell)):
        yield f"its check shows {shown!r}, and not that it is still to be written"


def _solution(cell: NotebookNode, to_write: NotebookNode, check: NotebookNode) -> Iterator[str]:
    """Its functions have names of their own, so that what a reader wrote stays."""
    hidden = folded(cell, "hide-cell", "source_hidden")
    if not (has(cell, "solution") and has(cell, "nbval-check-output") and hidden):
        yield "no collapsed cell with the tags solution, hide-cell and nbval-check-output comes last"
        return
    wanted = {name: solved(name) for name in bound(to_write.source)}
    if missing := set(wanted.values()) - bound(cell.source):
        yield f"its solution does not define {', '.join(missing)}"
    if taken := set(wanted) & bound(cell.source):
        yield f"its solution takes the place of what the reader wrote: {', '.join(taken)}"
    # the check that is called may have the name of the exercise: check.symlog(symlog)
    asked = re.sub(r"(?<![.\w])\w+", lambda word: wanted.get(word[0], word[0]), check.source.splitlines()[-1])
    if cell.source.splitlines()[-1] != asked:
        yield f"its solution does not end with {asked!r}"
    if not re.fullmatch(r".+: right, in all .+\nTrue", shown := _said(cell)):
        yield f"its solution shows {shown!r}, and not that it is right"


def solved(name: str) -> str:
    """What a solution calls the function that readers call `name`."""
    return f"solved_{name.removeprefix('my_')}"


def _said(cell: NotebookNode) -> str:
    return "".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)


def solutions(notebook: NotebookNode, name: str) -> Iterator[str]:
    """A student finds no solution elsewhere, and the chapter runs without one."""
    solved = [cell for cell in notebook.cells if has(cell, "solution")]
    others = [cell for cell in notebook.cells if not has(cell, "solution")]
    names = {name for cell in solved for name in bound(cell.source)}
    for cell in others:
        if cell.cell_type == "code" and not has(cell, "check") and (needed := names & used(cell.source)):
            yield f"cell {cell.id} needs the solution {', '.join(needed)}"
    said = {squeezed(line) for cell in others for line in everything(cell).splitlines()}
    for cell in solved:
        for line in body_lines(cell.source):
            if line in said:
                yield f"a line of the solution {cell.id} stands elsewhere, too: {line}"


def everything(cell: NotebookNode) -> str:
    """Source and outputs of a cell."""
    return "\n".join([cell.source, *map(shown_text, cell.get("outputs", []))])


def squeezed(line: str) -> str:
    """A line of code without its comment, and with single spaces."""
    return " ".join(line.partition("  # ")[0].split())


def body_lines(source: str) -> list[str]:
    """The lines of a solution that say how; short ones, and the heads of loops and cases, may stand anywhere."""
    lines = source.splitlines()
    bodies = [
        lines[node.body[1].lineno - 1 : node.end_lineno]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.body[1:]
    ]
    code = [squeezed(line) for body in bodies for line in body]
    return [line for line in code if len(line) > 20 and not line.startswith("#") and not line.endswith((":", "("))]


def columns(notebook: NotebookNode, name: str) -> Iterator[str]:
    """No line of code runs out of its box on the website: neither in a cell nor in a block of the text."""
    written = {cell.id: cell.source for cell in code_cells(notebook)}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            written[cell.id] = "\n".join(re.findall(r"^```\w*\n(.*?)^```", cell.source, re.MULTILINE | re.DOTALL))
    for cell_id, code in written.items():
        for line in code.splitlines():
            if len(line) > COLUMNS:
                yield f"cell {cell_id} has a line of {len(line)} columns, and not {COLUMNS} at most: {line.strip()}"


def execution(notebook: NotebookNode, name: str) -> Iterator[str]:
    """It ran from top to bottom without a complaint, as `make notebooks` leaves it."""
    counts = [cell.execution_count for cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"its cells did not run from top to bottom: {counts}"
    for cell_id, output in outputs(notebook):
        if output.output_type == "error":
            yield f"cell {cell_id} shows an error: {output.ename}: {output.evalue}"
        if output.get("name") == "stderr":
            yield f"cell {cell_id} complains: {output.text}"
        shown = " ".join([output.get("text", ""), *map(str, output.get("data", {}).values())])
        if found := re.search(
            r"(?<![\w/.])/(?:home|root|Users|tmp|work|mnt|var|usr)/\S*|[A-Z]:\\\S+|0x[0-9a-f]{8,}", shown
        ):
            yield f"cell {cell_id} shows a place on one machine: {found[0]}"
    tidy = nbformat.from_dict(notebook)
    normalise(tidy, name[:2])
    if tidy != notebook:
        yield "its metadata or cell ids are not as `make notebooks` writes them"


def pictures(notebook: NotebookNode, name: str) -> Iterator[str]:
    """Who cannot see a picture can read what it shows."""
    for cell_id, output in outputs(notebook):
        for kind in output.get("data", {}):
            if kind.startswith("image/"):
                yield f"cell {cell_id} shows a bare {kind}: use notebook.show(figure, caption=..., alt=...)"
    for shown in shown_html(notebook):
        for tag in re.findall(r"<img [^>]*>", shown):
            if not re.search(r'alt="[^"]{20,}"', tag):
                yield f"a picture has no alternative text: {html.escape(tag[:60])}"
        for figure in re.findall(r"<figure.*?</figure>", shown, re.DOTALL):
            if not re.search(r"<figcaption[^>]*>[^<]+</figcaption>", figure):
                yield "a figure has no caption"
    if "![](" in markdown(notebook):
        yield "a picture in the text has no alternative text"


def navigation(notebook: NotebookNode, name: str) -> Iterator[str]:
    """In JupyterLab, too, one comes from a chapter to the next."""
    linked = nbformat.from_dict(notebook)
    link_chapter(linked, name, titles())
    if linked != notebook:
        yield "it does not end with the links to the other chapters: `python tools/navigate.py` writes them"


def plain(notebook: NotebookNode, name: str) -> Iterator[str]:
    """The text reads the same in JupyterLab and in the book, and its links lead somewhere."""
    for link in sorted(links(notebook)):
        if not (NOTEBOOKS / link).exists():
            yield f"the link {link} leads nowhere"
    if found := re.search(r"^(```|:::)\{.*|\{\w+\}`", markdown(notebook), re.MULTILINE):
        yield f"plain Jupyter shows directives and roles as they are: {found[0]}"


def numbers(notebook: NotebookNode, name: str) -> Iterator[str]:
    """A decimal number, or one of three digits and more, stands in an output or in the code, rounded or not."""
    known = list(_known(notebook))
    for cell in notebook.cells[1:]:  # the first is the head, with the minutes
        if cell.cell_type != "markdown":
            continue
        text = UNCOUNTED.sub(" ", cell.source.partition("## References")[0])
        for number in NUMBER.findall(text):
            if number not in UNPRINTED.get(name[:2], {}) and not any(_says(number, value) for value in known):
                yield f"cell {cell.id} says {number}, which no output shows and no code holds: print it or drop it"


def _known(notebook: NotebookNode) -> Iterator[float]:
    """The numbers in the outputs and in the code; questions of a quiz are text, and prove nothing."""
    for cell in code_cells(notebook):
        if asked(cell):
            continue
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
                yield abs(float(node.value))
        for output in cell.outputs:
            said = output.get("text", "") + output.get("data", {}).get("text/plain", "")
            for number in re.findall(r"\d[\d,]*(?:\.\d*)?(?:e[+-]?\d+)?", said):
                yield float(number.replace(",", ""))


def _says(number: str, value: float) -> bool:
    """Whether `number`, as the text has it, is `value`, or what rounding leaves of it."""
    written = float(number.replace(",", ""))
    half_a_digit = 0.5 * 10.0 ** -len(number.partition(".")[2])
    return abs(written - value) <= half_a_digit * (1 + 1e-9)


RULES: tuple[Callable[[NotebookNode, str], Iterator[str]], ...] = (
    bounds, opening, closing, predictions, quizzes, exercises, solutions, columns, execution, pictures,
    navigation, plain, numbers,
)  # fmt: skip
