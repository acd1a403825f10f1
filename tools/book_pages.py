"""Pages of the book that are made from what is written elsewhere: the chapters, the results, the README, the tests."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import book_play
import book_results
import book_teachers
import book_zoo

ROOT = Path(__file__).parent.parent
BOOK = ROOT / "book"
RESULTS = BOOK / "results"
ON_CARTPOLE = ("cartpole-guide", "cartpole-v3-5k", "cartpole-v3-20k")  # what is set beside others on that task


def pages(texts: dict[str, str], chapters: list[Path], url: str | None) -> dict[str, str]:
    """The hand-written pages with their blanks filled in, and the ones that are made."""
    told = [Chapter.read(path) for path in chapters]
    install = f'pip install "wm_tutorial @ git+{url}"' if url else "pip install ."
    filled = {
        "contents": contents(told),
        "chapters-taught": chapters_taught(told),
        "dependencies": dependencies(told),
        "minutes": f"{sum(chapter.minutes for chapter in told) / 60:.0f}",
        "number-of-chapters": NUMBERS[len(told)] if len(told) < len(NUMBERS) else str(len(told)),
        "install": install,
        "clone": f"git clone {url}" if url else "# in the folder of the repository:",
        "online": online(url),
        "ways": ways(url),
        "zoo": zoo_size(),
        "version": version(),
        "bibtex": bibtex(url),
        "our-cartpole": "\n".join(map(compared_row, filter(measured, ON_CARTPOLE))),
        "first-475": first_reached("cartpole-v3-20k", 475.0),
        "fell-from-475": fell_from("cartpole-v3-20k", 475.0),
        "our-pendulum": compared_cell("pendulum-v3"),
        "our-acrobot": compared_cell("acrobot-v3"),
        "play-mistakes": book_play.table(),
        **book_teachers.blanks(chapters, {chapter.number: chapter.minutes for chapter in told}, costs()),
    }
    made = {
        "book/results.md": results(),
        "book/zoo.md": book_zoo.page(fill(texts["book/zoo.md"], filled), url),
        "book/zoo_measured.md": book_zoo.measured_page(),
        "book/run_times.md": run_times(told),
        "book/guide.md": guide(),
        "book/paper_map.md": paper_map({chapter.path.stem: chapter for chapter in told}, url),
    }
    return {name: fill(text, filled) for name, text in texts.items() if name not in made} | made


NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
NUMBERS += ["thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"]


def fill(text: str, filled: dict[str, str]) -> str:
    """Put what is between {{ and }} in its place."""
    return re.sub(r"\{\{ ([\w-]+) \}\}", lambda blank: filled[blank[1]], text)


# --- Chapters ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chapter:
    """What the first cell of a chapter promises.

    builds_on  the numbers of other chapters
    ends_in    the modules of the package, as Markdown
    """

    path: Path
    title: str
    goals: list[str]
    minutes: int
    compute: str
    builds_on: list[str]
    ends_in: str

    @property
    def number(self) -> str:
        """Such as 04."""
        return self.path.name[:2]

    @property
    def name(self) -> str:
        """The title without the number."""
        return self.title.partition(" · ")[2] or self.title

    @classmethod
    def read(cls, path: Path) -> "Chapter":
        """From the text before the first code cell."""
        head = []
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "code":
                break
            head.append("".join(cell["source"]))
        text = "\n\n".join(head)
        flat = re.sub(r"(?<!\n)\n(?![\n-])", " ", text)
        title = re.search(r"^# (.+)$", text, re.M)
        after = flat.split("What you will be able to do")[-1]
        goals = [re.sub(r"[;.]$", "", goal.strip()) for goal in re.findall(r"^[-*] (.+)$", after, re.M)]
        facts = re.search(r"^.*minutes? of study.*$", flat, re.M)
        line = facts[0] if facts else ""
        minutes = re.search(r"(\d+)\s+minutes? of study", line)
        compute = re.search(r"·\s*(?:about )?([^·]+?) of compute", line)
        builds = re.search(r"builds on([^·]*)", line)
        ends = re.search(r"ends in (.+?)\.?$", line)
        return cls(
            path=path,
            title=title[1] if title else path.stem,
            goals=goals[:4],
            minutes=int(minutes[1]) if minutes else 0,
            compute=compute[1] if compute else "",
            builds_on=sorted(set(re.findall(r"\b(\d\d)\b", re.sub(r"\]\([^)]*\)", "]", builds[1])))) if builds else [],
            ends_in=ends[1] if ends else "",
        )


def link(chapter: Chapter) -> str:
    """A link to a chapter from a page in book/."""
    return f"[{chapter.title}](../notebooks/{chapter.path.name})"


def contents(chapters: list[Chapter]) -> str:
    """The list on the front page: what each chapter is about, and how long it takes."""
    cards = [
        f":::{{grid-item-card}} [{chapter.number} · {before_colon(chapter)}](../notebooks/{chapter.path.name})\n"
        f"{after_colon(chapter.name)}\n\n*{chapter.minutes} minutes*\n:::"
        for chapter in chapters
    ]
    return (
        "::::{grid} 1 2 2 3\n:gutter: 3\n\n" + "\n\n".join(cards) + "\n\n::::"
        if cards
        else "The first is being written."
    )


def before_colon(chapter: Chapter) -> str:
    """The first half of a title."""
    return chapter.name.partition(":")[0]


def after_colon(name: str) -> str:
    """The second half of a title, beginning with a capital."""
    said = (name.partition(": ")[2] or name).strip()
    return said[0].upper() + said[1:]


def chapters_taught(chapters: list[Chapter]) -> str:
    """For teachers: goals, minutes and prerequisites of each chapter."""
    names = {chapter.number: chapter for chapter in chapters}
    told = []
    for chapter in chapters:
        before = [f"[{n}](../notebooks/{names[n].path.name})" if n in names else n for n in chapter.builds_on]
        ends = re.sub(r"\]\(\.\./", "](../", chapter.ends_in)
        told.append(
            f"### {chapter.title}\n\n"
            f"{chapter.minutes} minutes of study · {chapter.compute} of compute · "
            f"{'after ' + ', '.join(before) if before else 'nothing before it'} · ends in {ends}\n\n"
            + "\n".join(f"- {goal}" for goal in chapter.goals)
        )
    return "\n\n".join(told)


def dependencies(chapters: list[Chapter]) -> str:
    """A drawing of which chapter needs which: one line for each chapter, an arc from each it builds on."""
    row, left, width = 44, 190, 526
    place = {chapter.number: 30 + row * i for i, chapter in enumerate(chapters)}
    spans = [place[c.number] - place[n] for c in chapters for n in c.builds_on if n in place]
    arcs, lines = [], []
    for chapter in chapters:
        y = place[chapter.number]
        for before in (n for n in chapter.builds_on if n in place):
            top = place[before]
            bow = (
                left - 30 - 205 * ((y - top) / max(spans)) ** 0.75
            )  # three quarters of it are seen: none leaves at the left
            arcs.append(
                f'<path d="M {left - 14} {top} C {bow:.0f} {top}, {bow:.0f} {y}, {left - 20} {y}" class="arc" '
                'marker-end="url(#tip)"/>'
            )
        lines.append(
            f'<circle cx="{left}" cy="{y}" r="14" class="dot"/>'
            f'<text x="{left}" y="{y + 5}" text-anchor="middle" class="number">{chapter.number}</text>'
            f'<text x="{left + 24}" y="{y + 5}" class="name">{before_colon(chapter)}</text>'
        )
    said = "; ".join(f"{c.number} needs {', '.join(c.builds_on) or 'nothing'}" for c in chapters)
    return (
        f'<svg class="drawing" viewBox="0 0 {width} {row * len(chapters) + 20}" role="img" '
        f'aria-label="Which chapter builds on which: {said}.">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M 0 0 L 8 4 L 0 8 z" class="tip"/></marker></defs>' + "".join([*arcs, *lines]) + "</svg>"
    )


# --- Results ----------------------------------------------------------------------------------------------------------


def measured(folder: str) -> bool:
    """Whether there is a result of that name; `make results` may still have to make it."""
    return (RESULTS / folder / "summary.json").exists()


def summary_of(folder: str) -> dict[str, Any]:
    """The measured result in a folder of book/results."""
    summary: dict[str, Any] = json.loads((RESULTS / folder / "summary.json").read_text())
    return summary


def compared_row(folder: str) -> str:
    """A result as a row of the page that sets it beside those of others: the worst seed, not only the mean."""
    summary = summary_of(folder)
    finals = [seed["final"] for seed in summary["seeds"].values()]
    minutes = max(seed["cpu_minutes"] for seed in summary["seeds"].values())
    reached = f"{summary['mean']:.0f}, the worst of {len(finals)} seeds {min(finals):.0f}; 100 greedy episodes each"
    told = f"[book/results/{folder}](results.md), at most {minutes:.0f} minutes of one core"
    return f"| **ours**, `{summary['preset']}` | {summary['steps']:,} | **{reached}** | {told} |"


def first_reached(folder: str, mean: float) -> str:
    """After how many steps the seeds of a result first stood at a mean return, from the quickest to the slowest.

    Evaluations are rare, so it is a bound from above; rounded to hundreds, since steps are counted in whole episodes.
    """
    first: list[float] = []
    for path in sorted((RESULTS / folder).glob("seed-*.json")):
        reached = [step for step, found in json.loads(path.read_text())["evaluations"] if found >= mean]
        first.append(round(min(reached), -2) if reached else math.inf)
    ends = sorted({min(first), max(first)})
    return " to ".join(f"{step:,}" if step < math.inf else "more than there were" for step in ends)


def fell_from(folder: str, mean: float) -> str:
    """How many seeds of a result have later stood below a mean return that they had reached, of all: "2 of 10"."""
    seeds = [json.loads(path.read_text())["evaluations"] for path in sorted((RESULTS / folder).glob("seed-*.json"))]
    returns = [[found for _, found in evaluations] for evaluations in seeds]
    fell = [any(max(found[:i]) >= mean > found[i] for i in range(1, len(found))) for found in returns]
    return f"{sum(fell)} of {len(fell)}"


def compared_cell(folder: str) -> str:
    """A result in one cell."""
    summary = summary_of(folder)
    low, high = summary["interval"]
    return f"**{summary['mean']:.0f}** ({low:.0f} to {high:.0f}) at {summary['steps']:,}"


def results() -> str:
    """The page of what was measured."""
    readme = (RESULTS / "README.md").read_text()
    return book_results.page(readme, mistakes())


def mistakes() -> str:
    """What the README says of agents that learned with a mistake, and the numbers of those with the most seeds."""
    if not (RESULTS / "mistakes" / "cartpole" / "summary.json").exists():
        return ""
    said = (ROOT / "README.md").read_text().split("## What a mistake does to an agent")[1].split("\n## ")[0]
    said = re.sub(r"<!--.*?-->\n?", "", said)
    said = book_zoo.figures_of_pages(said.replace("](book/", "]("))
    summary = summary_of("mistakes/cartpole")
    columns = {
        "loss of the model": "loss",
        "error, one step": "error_1",
        "error, 15 steps": "error_15",
        "error of the reward": "reward_error",
        "return": "return",
    }
    most = len(summary["seeds"]["none"])
    rows = [
        f"| {'the finished code' if name == 'none' else f'`{name}`'} | "
        + " | ".join(book_zoo.short(numbers[key]["mean"]) for key in columns.values())
        + " |"
        for name, numbers in summary["bugs"].items()
        if len(summary["seeds"][name]) == most
    ]
    head = f"| learned with | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}\n"
    return (
        "## What mistakes do to an agent\n\n"
        f"{said.strip()}\n\n{head}"
        + "\n".join(rows)
        + f"\n\nMeans of {most} seeds. [The bug zoo](zoo.md) has these mistakes, and all others.\n\n"
        "<details><summary>The command</summary>\n\n```bash\npython benchmarks/zoo.py\n```\n\n</details>\n"
    )


def costs() -> dict[str, dict[str, float]]:
    """What `make notebooks` recorded of each chapter."""
    path = RESULTS / "chapters.json"
    recorded: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}
    return recorded


def run_times(chapters: list[Chapter]) -> str:
    """What each chapter took when it was last executed."""
    measured = costs()
    rows = [
        f"| {link(chapter)} | {cost['cpu_seconds']:.0f} | {cost['wall_seconds']:.0f} | {cost['peak_megabytes']:.0f} |"
        for chapter in chapters
        if (cost := measured.get(chapter.path.stem))
    ]
    about = (
        "# Run times and memory\n\n"
        "What each chapter took the last time `make notebooks` ran it from top to bottom in a fresh kernel, with one "
        "thread. There is no fast mode: what was measured is what you run. CPU seconds depend on the processor; "
        "seconds on the clock also depend on what else the machine does, and can be much more than the CPU seconds on "
        "a busy one. Memory is the most that the kernel held at once, PyTorch included.\n\n"
    )
    if not rows:
        return about + "Nothing has been measured yet: `make notebooks` does it.\n"
    head = "| chapter | CPU seconds | seconds on the clock | memory (MB) |\n|---|---:|---:|---:|\n"
    total = sum(measured[c.path.stem]["cpu_seconds"] for c in chapters if c.path.stem in measured)
    return about + head + "\n".join(rows) + f"\n\nTogether: {total / 60:.0f} CPU minutes.\n"


# --- What stands in the README and in the tests -----------------------------------------------------------------------


def guide() -> str:
    """The table from the guide to the package, as the README has it."""
    readme = (ROOT / "README.md").read_text()
    section = readme.split("## From the guide to the package\n")[1].split("\n## ")[0]
    return "# From the guide to the package\n" + re.sub(
        r"^\| (`?.+?) \| (.+?) \| (.*)\|$",
        lambda row: f"| {row[1]} | {to_reference(row[2])} | {row[3]}|",
        section,
        flags=re.M,
    )


def to_reference(cell: str) -> str:
    """Names such as `kl.gaussian_kl` as links to the reference."""
    return re.sub(
        r"`((\w+)\.(\w+)(?:\.(\w+))?)`",
        lambda n: (
            n[0]
            if n[2] == "metrics"
            else f"[`{n[1]}`](#{'-'.join(filter(None, n.groups()[1:])).lower().replace('_', '-')})"
        ),
        cell,
    )


def paper_map(chapters: dict[str, Chapter], url: str | None) -> str:
    """book/paper_map.json as a page: each equation used in a chapter that exists."""
    text, number = [], 0
    for row in json.loads((BOOK / "paper_map.json").read_text()):
        found = [chapters[name] for name in row["chapters"] if name in chapters]
        if not found:
            continue
        number += 1
        tests = [
            f"[`{test}`]({url}/blob/main/tests/{test.partition('::')[0]})" if url else f"`{test}`"
            for test in row["tests"]
        ]
        reference = [dreamerv3(line) for line in row["reference"]]
        text.append(
            f"## ({number}) {row['name']}\n\n$$\n{row['equation']}\n$$\n\n"
            f"- Paper: {row['paper']}\n"
            f"- Chapter: {', '.join(link(chapter) for chapter in found)}\n"
            f"- Function: {', '.join(to_reference(f'`{name}`') for name in row['functions'])}\n"
            + "- Tests:\n"
            + "".join(f"  - {test}\n" for test in tests)
            + (f"- Reference: {', '.join(reference)}\n" if reference else "")
        )
    head = (BOOK / "paper_map.md").read_text()
    return head + "\n" + "\n".join(text)


COMMIT = "e3f0224"


def dreamerv3(place: str) -> str:
    """A link to lines of the reference implementation at the commit that the package was checked against."""
    file, _, lines = place.partition(":")
    anchor = "#" + "-".join(f"L{line}" for line in lines.split("-")) if lines else ""
    return f"[`{place}`](https://github.com/danijar/dreamerv3/blob/{COMMIT}/{file}{anchor})"


def zoo_size() -> str:
    """How many mistakes the bug zoo holds, from the last count of `make mutants`."""
    return str(json.loads((RESULTS / "mutants.json").read_text())["zoo"]["mistakes"])


def version() -> str:
    """The version of the package."""
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert found
    return found[1]


def bibtex(url: str | None) -> str:
    """CITATION.cff as an entry for BibTeX."""
    cited = dict(re.findall(r'^(title|version): "?(.+?)"?$', (ROOT / "CITATION.cff").read_text(), re.M))
    lines = [
        "@software{wm_tutorial,",
        f"  title   = {{{cited['title']}}},",
        "  author  = {{The wm_tutorial authors}},",
        f"  version = {{{cited['version']}}},",
        *([f"  url     = {{{url}}},"] if url else []),
        "}",
    ]
    return "```bibtex\n" + "\n".join(lines) + "\n```"


def ways(url: str | None) -> str:
    """Cards of the front page: where one can follow; a service that needs the repository's address only with one."""
    cards = {
        "On a laptop": "Two commands, one CPU core is enough. [Install it](how_to_use.md#on-a-laptop).",
        "In Colab or Binder": "Nothing to install. [Open it there](how_to_use.md#in-colab-or-binder).",
        "In a classroom": "Goals, minutes, and notebooks without solutions. [For teachers](teachers.md).",
    }
    if not url:
        del cards["In Colab or Binder"]
    told = "\n\n".join(f":::{{grid-item-card}} {title}\n{said}\n:::" for title, said in cards.items())
    return f"::::{{grid}} 1 1 {len(cards)} {len(cards)}\n:gutter: 3\n\n{told}\n\n::::"


def online(url: str | None) -> str:
    """How to follow without installing anything."""
    if not url:
        return (
            "Colab, Binder and similar services open notebooks from a public repository. Where your copy of this "
            "course lives in one, name it in `pyproject.toml`:\n\n"
            '```toml\n[project.urls]\nRepository = "https://github.com/you/wm_tutorial"\n```\n\n'
            "and `make book` puts the buttons on every chapter, and an install line here. Without an address they are "
            "left out rather than broken. In any hosted notebook you can also upload the repository's folder and "
            "run\n\n"
            "```bash\npip install ./wm_tutorial_folder\n```"
        )
    return (
        "Every chapter has a rocket at the top, which opens it in Colab or Binder. Binder installs the package by "
        "itself. On Colab, run this in a cell above the first one:\n\n"
        f'```python\n%pip install -q "wm_tutorial @ git+{url}"\n```\n\n'
        "It keeps the PyTorch that is there. A GPU is not needed: the chapters are made for one CPU core."
    )


# --- Glossary ---------------------------------------------------------------------------------------------------------


def terms(glossary: str) -> dict[str, str]:
    """Every spelling of every term, in small letters, and the anchor of its entry.

    An entry is an anchor, a heading and, where a term is also written differently, a line "Also: ...".
    """
    found = {}
    for anchor, name, body in re.findall(r"^\((term-[\w-]+)\)=\n### (.+)\n((?:(?!^\(|^## ).*\n?)*)", glossary, re.M):
        also = re.search(r"^Also: (.+?)\.?$", body, re.M)
        for spelling in [name, *(also[1].split(", ") if also else [])]:
            found[spelling.strip("`* ").lower()] = anchor
    return found


def without_plurals(glossary: str) -> str:
    """The glossary for reading: of what a term is also called, only what is not its plural."""

    def shortened(found: re.Match[str]) -> str:
        name, body, also = found.groups()
        others = [word for word in also.split(", ") if word not in (f"{name}s", f"{name[:-1]}ies")]
        return f"### {name}\n{body}" + (f"Also: {', '.join(others)}.\n" if others else "")

    return re.sub(r"^### (.+)\n((?:(?!^#|^Also: ).*\n)*)Also: (.+)\.\n", shortened, glossary, flags=re.M)


def glossary(text: str, met: dict[str, list[str]]) -> str:
    """The glossary as a compact list with a bar of letters, and at each term the chapters in which it is first met.

    met: anchor of an entry -> links to chapters.
    """
    letters = re.findall(r"^## (\w)$", text, re.M)
    bar = "".join(f'<a href="#{letter.lower()}">{letter}</a>' for letter in letters)

    def entry(found: re.Match[str]) -> str:
        anchor, name, body = found.groups()
        paragraphs = [" ".join(paragraph.split("\n")) for paragraph in body.strip().split("\n\n")]
        if places := met.get(anchor):
            paragraphs.append(f"Chapter{'s' if len(places) > 1 else ''} {', '.join(places)}.")
        first, *rest = paragraphs
        also = "".join(f"\n\n  {paragraph}" for paragraph in rest)
        return f"({anchor})=\n**{name}**\n: {first}{also}\n\n"

    entries = re.compile(r"^\((term-[\w-]+)\)=\n### (.+)\n((?:(?!^\(|^## ).*\n?)*)", re.M)
    head, first, rest = without_plurals(text).partition("\n## ")
    bar = f'<nav class="letters" aria-label="Letters">{bar}</nav>'
    return f"{head}\n{bar}\n{first}{entries.sub(entry, rest)}"
