"""The page of the learning results: of each a figure and a sentence, both made from the committed records."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "book" / "results"
# Of the tables that name agent and target, and of all tables those whose cells are numbers.
COLUMNS = ("result and environment", "agent", "steps", "mean return", "worst seed", "target", "seeds", "CPU min")
NUMBERS = ("steps", "mean return", "return / times", "return", "worst seed", "more than at 1", "seeds", "CPU min")
OPENING = """\
# Learning results

What the agents of this course reach, measured. Every agent was trained by the command that stands with it, on seeds
that no option was chosen with; what counts is the mean return of greedy episodes at the end of each. A figure shows
every seed, thin, and their mean; figures of one environment have the same axes. What was tried and did not work is
kept, too: the guide's agent on position-only CartPole shows what happens without a memory.

"""


@dataclass(frozen=True)
class Result:
    """A folder of book/results: what its files and its row in the table say."""

    folder: str
    command: str
    agent: str
    aim: str
    records: list[dict[str, Any]]

    @property
    def first(self) -> bool:
        """Whether it stands in the first table, which is about the agents of now."""
        return bool(self.agent) and not self.folder.startswith("history/")

    @property
    def environment(self) -> str:
        """Its Gymnasium id, without the name of the package."""
        return str(self.records[0]["environment"]).removeprefix("wm_tutorial/")

    @property
    def steps(self) -> int:
        """How long each seed was trained."""
        return int(self.records[0]["config"]["steps"])

    @property
    def finals(self) -> list[float]:
        """The mean return of each seed at the end."""
        return [sum(record["final_returns"]) / len(record["final_returns"]) for record in self.records]

    @property
    def summary(self) -> dict[str, Any]:
        """What `wm-tutorial measure` computed from the seeds."""
        found: dict[str, Any] = json.loads((RESULTS / self.folder / "summary.json").read_text())
        return found

    @property
    def curves(self) -> list[list[tuple[float, float]]]:
        """Of each seed the evaluations on the way."""
        return [[(step, mean) for step, mean in record["evaluations"]] for record in self.records]


def read(readme: str) -> list[Result]:
    """The measured results that the commands of book/results/README.md name, with what its tables say of them."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in readme.splitlines() if line.startswith("| [")]
    rows = {cells[0].partition("](")[2].partition(")")[0]: cells for cells in lines if len(cells) == len(COLUMNS)}
    results = []
    for command, folder in re.findall(r"^ {4}(wm-tutorial measure .*--out book/results/([\w/-]+).*)$", readme, re.M):
        records = [json.loads(path.read_text()) for path in sorted((RESULTS / folder).glob("seed-*.json"))]
        summed_up = (RESULTS / folder / "summary.json").exists()  # not while its first seeds are being measured
        if summed_up and records and all(record["final_returns"] for record in records):
            cells = dict(zip(COLUMNS, rows.get(folder, []), strict=False))
            results.append(Result(folder, command, cells.get("agent", ""), cells.get("target", ""), records))
    return results


# --- The page ---------------------------------------------------------------------------------------------------------


def page(readme: str, mistakes: str) -> str:
    """Tables, then of each result a figure, a sentence, and folded its seeds and its command; at the end the mistakes.

    readme: book/results/README.md. mistakes: what stands on the page about agents that learned with one.
    """
    tables = readme.partition("\n| result")
    tables = aligned((tables[1] + tables[2]).partition("Each with its own command:")[0].strip())
    tables = re.sub(r"\]\(([\w/-]+)\)", lambda to: f"](#{anchor(to[1])})", tables)
    results = read(readme)
    main = [result for result in results if result.first]
    parts = [OPENING + tables]
    for environment in dict.fromkeys(result.environment for result in main):
        parts.append(f"## {environment}")
        parts += [section(result, results) for result in main if result.environment == environment]
    history = [result for result in results if result.folder.startswith("history/")]
    rest = [result for result in results if result not in [*main, *history]]
    for title, group in (("What earlier options reached", history), ("What the other tables are made from", rest)):
        if group:
            parts += [f"## {title}", *(section(result, results) for result in group)]
    return "\n\n".join([*parts, mistakes.strip(), FILES]) + "\n"


FILES = """\
## The files

Every folder of `book/results` holds one file per seed with its options, versions, training episodes, evaluations and
the returns at the end (newer ones also the imagined returns on the way), and `summary.json`; folders of the first table
also hold the agent of the first seed: `Agent.load("book/results/cartpole-guide/seed-100.safetensors")`. `make results`
trains what is missing and writes the tables."""


def anchor(folder: str) -> str:
    """Where a result stands on the page."""
    return folder.removeprefix("history/") + ("-history" if folder.startswith("history/") else "")


def aligned(text: str) -> str:
    """Markdown in which the columns of numbers in tables are right-aligned."""

    def changed(table: re.Match[str]) -> str:
        names = [name.strip() for name in table[1].split("|")[1:-1]]
        marks = ["---:" if name in NUMBERS else "---" for name in names]
        return f"{table[1]}\n|{'|'.join(marks)}|"

    return re.sub(r"^(\|.*\|)\n\|(?:-+\|)+$", changed, text, flags=re.M)


def section(result: Result, others: list[Result]) -> str:
    """What the page has of one result."""
    agent = result.agent.removesuffix("*")
    title = f"{agent}{', options of its own' if agent != result.agent else ''}, {result.steps:,} steps"
    if engine := re.search(r"--envs-in (\w+)", result.command):
        title += f", environments in {engine[1]}"
    if not result.first:
        title = f"`{result.folder.rpartition('/')[2]}`"
    world = [other for other in others if other.environment == result.environment]
    rows = "\n".join(
        f"| {record['config']['seed']} | {sum(returns) / len(returns):.1f} | {min(returns):.0f} | {len(returns)} |"
        for record in result.records
        if (returns := record["final_returns"])
    )
    return (
        f"({anchor(result.folder)})=\n### {title}\n\n{sentence(result)}\n\n"
        f"{figure(result, world)}\n\n"
        "<details><summary>Its seeds, and the command</summary>\n\n"
        f"| seed | mean return | worst episode | episodes |\n|---:|---:|---:|---:|\n{rows}\n\n"
        f"```bash\n{result.command}\n```\n\n</details>"
    )


def sentence(result: Result) -> str:
    """What was found, in one sentence, from the records."""
    low, high = result.summary["interval"]
    finals = result.finals
    return (
        f"After {result.steps:,} steps {len(finals)} seeds earn **{result.summary['mean']:.1f}** on average (95 % "
        f"interval {low:.1f} to {high:.1f}), the worst of them {min(finals):.1f}{verdict(result.aim, finals)}."
    )


def verdict(aim: str, finals: list[float]) -> str:
    """Whether the aim that a row of the table names was reached; nothing where it names no number."""
    if not (number := aimed(aim)):
        return ""
    mean, said = sum(finals) / len(finals), f"{number:g}"
    if aim.startswith("below"):
        return f"; it should stay below {said}, and " + ("does" if mean < number else "does not")
    if "each seed" in aim:
        reached = sum(final >= number for final in finals)
        some = f"{reached or 'none'} of them {'does' if reached == 1 else 'do'}"
        return f"; each should reach {said}, and {'all do' if reached == len(finals) else some}"
    return f"; the mean should reach {said}, and " + ("does" if mean >= number else "does not")


def aimed(aim: str) -> float | None:
    """The return that a target asks for: -160 of "-160 in 10,000"."""
    found = re.search(r"-?\d+(?:\.\d+)?", aim) if not aim.startswith("none") else None
    return float(found[0]) if found else None


# --- Figures ----------------------------------------------------------------------------------------------------------

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 250, 74, 30, 14, 46


def figure(result: Result, world: list[Result]) -> str:
    """The curves of a result as a drawing with the colours of the page, on the axes of all results of its `world`.

    Nothing where agents were evaluated at the end only.
    """
    if min(map(len, result.curves)) < 2:
        return ""
    last = max(other.steps for other in world)
    aim = aimed(result.aim)
    heights = [mean for other in world for curve in other.curves for _, mean in curve] + ([aim] if aim else [])
    low, high = min(0.0, *heights), max(0.0, *heights)

    def at(step: float, mean: float) -> str:
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / last
        return f"{x:.1f},{TOP + (HEIGHT - TOP - BOTTOM) * (high - mean) / (high - low):.1f}"

    drawn = []
    for tick in ticks(low, high):
        x, y = at(0, tick).split(",")
        drawn.append(f'<path class="grid" d="M {x},{y} H {WIDTH - RIGHT}"/>')
        drawn.append(f'<text class="small" x="{LEFT - 8}" y="{float(y) + 4:.1f}" text-anchor="end">{tick:,g}</text>')
    for tick in ticks(0, last):
        x, _ = at(tick, low).split(",")
        drawn.append(f'<text class="small" x="{x}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick:,g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    drawn.append(f'<text class="small" x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">environment steps</text>')
    half = TOP + (HEIGHT - TOP - BOTTOM) // 2
    drawn.append(f'<text class="small" transform="rotate(-90)" x="-{half}" y="13" text-anchor="middle">return</text>')
    if aim is not None:
        x, y = at(0, aim).split(",")
        drawn.append(f'<path class="aim" d="M {x},{y} H {WIDTH - RIGHT}"/>')
    curves = result.curves
    drawn += [f'<polyline class="seed" points="{" ".join(at(*point) for point in curve)}"/>' for curve in curves]
    together = zip(*curves, strict=False)  # the first evaluation of every seed, the second, ...
    mean = [(sum(step for step, _ in row) / len(row), sum(got for _, got in row) / len(row)) for row in together]
    drawn.append(f'<polyline class="mean" points="{" ".join(at(*point) for point in mean)}"/>')
    alt = (
        f"Mean return of evaluations on {result.environment} against environment steps: each of {len(curves)} seeds, "
        f"and their mean, which is {mean[-1][1]:.1f} at the end."
        + (f" A dashed line stands at {aim:g}, the aim." if aim is not None else "")
    )
    head = f'<svg class="drawing curves" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{alt}">'
    return f"<div>{head}{''.join(drawn)}</svg></div>"


def ticks(low: float, high: float) -> list[float]:
    """Up to six round numbers from `low` to `high`."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= rough)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
