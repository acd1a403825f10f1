"""The bug zoo as a page: a table of every mistake, read from the source, with what was measured of it.

As the reference of the package it is read and not imported, so that a machine that builds the book needs no torch.
"""

import ast
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import book_api
import book_play

ROOT = Path(__file__).parent.parent
MISTAKES = ROOT / "wm_tutorial" / "mistakes"
RESULTS = ROOT / "book" / "results"
# Names of what was measured of an agent that learned with a mistake, as a sentence has them.
MEASURED = {
    "return": "return",
    "loss": "loss of the model",
    "error_1": "error after one step",
    "error_15": "error after 15 steps",
    "reward_error": "error of the reward",
}
# Addresses, and what a reader is shown of them.
SITES = {
    r"https://github\.com/([\w.-]+/[\w.-]+)/(?:issues|pull|discussions)/(\d+)": r"[\1 #\2](\g<0>)",
    r"https://arxiv\.org/abs/(\d{4}\.\d{5})": r"[arXiv \1](\g<0>)",
    r"https://doi\.org/([^\s;,]+)": r"[doi \1](\g<0>)",
    r"https://([\w.-]+)[^\s;,]*": r"[\1](\g<0>)",
}


@dataclass(frozen=True)
class Bug:
    """What `wm_tutorial.mistakes.Bug` says of a mistake in words."""

    name: str
    story: str
    symptom: str
    innocent: str
    source: str
    breaks: str
    caught_by: tuple[str, ...]

    @property
    def place(self) -> tuple[str, str]:
        """The names in the package that it makes wrong, and the quantity."""
        names, _, quantity = self.breaks.partition(", ")
        return names, quantity

    @property
    def room(self) -> str:
        """The module of the package in which the first of these names stands."""
        return self.breaks.partition(".")[0]


# --- Reading ----------------------------------------------------------------------------------------------------------


def bugs() -> list[Bug]:
    """Every mistake, area by area in the order of the alphabet."""
    found = []
    for path in sorted(MISTAKES.glob("*.py")):
        tree, known = ast.parse(path.read_text()), constants(path.stem)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Bug":
                given = {word.arg: word.value for word in node.keywords}
                found.append(Bug(**{name: value(given[name], known) for name in Bug.__dataclass_fields__}))
    return found


@cache
def constants(area: str) -> dict[str, Any]:
    """The strings that a module of the mistakes gives names to, or imports from another one."""
    named: dict[str, Any] = {}
    for node in ast.parse((MISTAKES / f"{area}.py").read_text()).body:
        match node:
            case ast.ImportFrom(module=str(module)) if module.startswith("wm_tutorial.mistakes."):
                there = constants(module.rpartition(".")[2])
                named |= {name.asname or name.name: there[name.name] for name in node.names if name.name in there}
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant() | ast.JoinedStr() as written):
                named[name] = value(written, named)
    return named


def value(node: ast.expr, known: dict[str, Any]) -> Any:
    """What an expression of strings, names of strings, and tuples of both is."""
    match node:
        case ast.Constant(value=text):
            return text
        case ast.Name(id=name):
            return known[name]
        case ast.JoinedStr(values=pieces):
            return "".join(value(piece, known) for piece in pieces)
        case ast.FormattedValue(value=piece):
            return value(piece, known)
        case ast.Tuple(elts=elements):
            return tuple(value(element, known) for element in elements)
    raise ValueError(f"book_zoo.py reads strings, names of strings and tuples of them, not {ast.unparse(node)}")


# --- Writing ----------------------------------------------------------------------------------------------------------


def page(text: str, url: str | None) -> str:
    """The page: what book/zoo.md says, links to the parts of the package, and a table for each."""
    listed = bugs()
    rooms = list(dict.fromkeys(bug.room for bug in listed))
    groups = {title: there for title, there in book_api.grouped(rooms).items() if there}
    parts, tables = [], []
    for title, there in groups.items():
        rows = [bug for room in there for bug in listed if bug.room == room]
        label = f"zoo-of-{there[0].replace('_', '-')}"
        parts.append(f"[{title}](#{label}) ({len(rows)})")
        tables.append(f"({label})=\n## {title}\n\n{table(rows, url)}")
    return "\n\n".join([text.rstrip(), f"{' · '.join(parts)}", *tables]) + "\n"


def table(rows: list[Bug], url: str | None) -> str:
    """The mistakes of one part, in the columns of the page."""
    effects = measured()
    lines = [
        "```{list-table}", ":class: zoo", ":header-rows: 1", ":widths: 22 23 23 17 15", "",
        *item(["Mistake", "What is wrong", "What you would see", "What looks fine", "Source and tests"]),
    ]  # fmt: skip
    for bug in rows:
        names, quantity = bug.place
        places = re.sub(r"[\w.]+\.[\w.]+", lambda name: f"`{name[0]}`", names)
        seen = [book_api.inline(bug.symptom, {}), *effects.get(bug.name, [])]
        lines += item(
            [
                f'<span id="{bug.name}"></span>**`{bug.name}`**\n\n{places}: {book_api.escape(quantity)}',
                book_api.inline(bug.story, {}),
                "\n\n".join(seen),
                book_api.inline(bug.innocent, {}),
                f"{source(bug.source)}\n\n" + "\n\n".join(test(name, url) for name in bug.caught_by),
            ]
        )
    return "\n".join([*lines, "```"])


def item(cells: list[str]) -> list[str]:
    """A row of a list table; what a cell says may have paragraphs."""
    lines = []
    for number, cell in enumerate(cells):
        first, *rest = cell.split("\n")
        lines.append(f"{'* - ' if number == 0 else '  - '}{first}")
        lines += [f"    {line}" if line else "" for line in rest]
    return lines


def measured() -> dict[str, list[str]]:
    """What is known of agents that learned with a mistake: of every committed experiment a sentence."""
    told: dict[str, list[str]] = {}
    for path in sorted((RESULTS / "mistakes").glob("*/summary.json")):
        summary = json.loads(path.read_text())
        for name, numbers in summary["bugs"].items():
            usual = same_seeds(summary, name)
            both = {words: (numbers[key]["mean"], usual[key]) for key, words in MEASURED.items()}
            said = [f"{words} {short(found)} ({short(sound)})" for words, (found, sound) in both.items()]
            told.setdefault(name, []).append(
                f"Measured on {summary['environment']}, and in parentheses without a mistake on the same seeds: "
                f"{', '.join(said)}; means of {len(numbers['return']['seeds'])} seeds."
            )
    agents = book_play.story()
    sound_return = next(agent["mean"] for agent in agents.values() if agent["bug"] is None)
    for agent in agents.values():
        told.setdefault(agent["bug"], []).append(
            f"An agent that learned with it [holds the pole](play.md) for {agent['mean']:.0f} of 500 steps; the same "
            f"seed without it for {sound_return:.0f}."
        )
    return told


def same_seeds(summary: dict[str, Any], name: str) -> dict[str, float]:
    """The means of the finished code on the seeds that a mistake was made on."""
    places = [summary["seeds"]["none"].index(seed) for seed in summary["seeds"][name]]
    sound = summary["bugs"]["none"]
    return {key: sum(sound[key]["seeds"][place] for place in places) / len(places) for key in MEASURED}


def measured_page() -> str:
    """What benchmarks/zoo.py wrote of every mistake, with names that lead to their row in the zoo."""
    found = (RESULTS / "mistakes" / "README.md").read_text()
    found = re.sub(r"^\| (\w+_\w+) \|", r'| <a href="zoo.html#\1"><code>\1</code></a> |', found, flags=re.MULTILINE)
    table = r"^\| mistake .*\n(?:^\|.*\n)+"  # as wide as the page
    found = re.sub(table, lambda rows: f"```{{table}}\n:class: measured\n\n{rows[0]}```\n", found, flags=re.MULTILINE)
    found = re.sub(r"^Written by `(.+?)`\. ", "", found, count=1, flags=re.MULTILINE)
    found = figures_of_pages(re.sub(r"\]\((\w+\.png)\)", r"](results/mistakes/\1)", found))
    command = "The command that goes on with it:\n\n```bash\npython benchmarks/zoo.py\n```\n"
    return f"---\nhtml_theme.sidebar_secondary.remove: true\n---\n\n{found}\n{command}"


def figures_of_pages(text: str) -> str:
    """Committed figures as what stands beside them for pages: sharp, and as dark as the page."""
    return re.sub(r"(\]\(results/mistakes/\w+)\.png\)", r"\1.svg)", text)


def short(number: float) -> str:
    """A number with three digits."""
    return f"{number:#.3g}".rstrip(".")


def source(written: str) -> str:
    """Addresses in short, as links; other words stay."""
    for address, said in SITES.items():
        written = re.sub(rf"(?<!\(){address}", said, written)
    return written[0].upper() + written[1:]


def test(name: str, url: str | None) -> str:
    """A test by its name, in words; a link to its file where the repository has an address."""
    file, _, function = name.partition("::")
    place = f"[`{file}`]({url}/blob/main/tests/{file})" if url else f"`{file}`"
    return f"{function.removeprefix('test_').partition('[')[0].replace('_', ' ')} ({place})"
