"""The doctor judged like a medical test: which runs with a mistake it finds, in the right part, and which sound ones.

    python benchmarks/zoo.py       # makes the runs that are missing, about 13 hours of one core for all of them
    python benchmarks/doctor.py    # reads what is there, and writes the table

In worlds of several kinds agents have learned with the finished code, and in four of them with mistakes of the zoo;
each stayed out for all of the run, its evaluation and the doctor's visit, as in the code of somebody who has made it.
Every mistake counts with three seeds at most, sound runs with all there are. Runs that were looked at while a symptom
was written or a threshold set (LOOKED_AT, and seed 0 everywhere) do not count.

The raw data are in book/results/mistakes, with the summary; book/troubleshooting.md shows the table.
"""

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from wm_tutorial import zoo
from wm_tutorial.checkpoint import write_text
from wm_tutorial.runs.doctor.finding import Part
from wm_tutorial.zoo.experiment import NONE

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "book" / "results" / "mistakes"
PAGE = ROOT / "book" / "troubleshooting.md"
BLOCK = re.compile(r"(<!-- benchmarks/doctor.py writes this -->\n).*?(<!-- to here -->)", re.DOTALL)
SEEDS = (1500, 1501, 1502)  # of the runs with a mistake that count; some mistakes were made on more
LOOKED_AT = {"cartpole": (1500, 1503, 1504, 1505)}  # by world: seeds of runs by which symptoms were mended
FEWEST = 3  # sound runs in a world; beside fewer nobody can be said to have suffered
LOST = 0.25  # of what sound runs earn above chance; who loses more has suffered

# Which parts a finding may name, by the beginning of what a mistake breaks; the first that fits counts.
PARTS: dict[str, tuple[Part, ...]] = {
    "replay.": ("experience",),
    "envs.": ("experience",),
    "data.Spaces": ("experience", "acting"),
    "trainer.Trainer.collect": ("experience",),
    "trainer.Trainer.updates_due": ("training",),
    "optim.": ("training",),
    "learner.": ("training", "behaviour"),
    "networks.": ("world model", "behaviour"),
    "transforms.TwoHot": ("world model", "behaviour"),
    "heads.ScalarHead": ("world model", "behaviour"),
    "agent.": ("acting",),
    "dynamics.RSSM.step": ("acting",),
    **dict.fromkeys(
        ("world_model.", "kl.", "latents.", "dynamics.", "encoder.", "heads.", "transforms."), ("world model",)
    ),
    **dict.fromkeys(
        ("returns.", "imagination.", "actor_critic.", "config.", "data.Trajectory", "planner."), ("behaviour",)
    ),
}


def parts_of(bug: str) -> tuple[Part, ...]:
    """The parts in which the cause of a mistake lies."""
    breaks = zoo.BUGS[bug].breaks
    for beginning, parts in PARTS.items():
        if breaks.startswith(beginning):
            return parts
    raise KeyError(f"say in PARTS where {breaks} lies")


def wilson(count: int, total: int) -> tuple[float, float]:
    """95 % interval of a share, by Wilson's score; the whole range where nothing was counted."""
    if not total:
        return 0.0, 1.0
    z, share = 1.96, count / total
    middle, spread = share + z * z / (2 * total), z * math.sqrt(share * (1 - share) / total + z * z / (4 * total**2))
    return max(0.0, (middle - spread) / (1 + z * z / total)), min(1.0, (middle + spread) / (1 + z * z / total))


def suffered(record: dict[str, Any], sound: list[dict[str, Any]]) -> bool:
    """Whether a run earns less than every sound one of its world, and LOST of what they earn above chance is lost."""
    earned, own = [earning(run) for run in sound], earning(record)
    if len(earned) < FEWEST:
        return False
    lost, above = np.mean(earned) - own, np.mean(earned) - np.mean([chance(run) for run in sound])
    return bool(own < min(earned) and lost > LOST * above)


def earning(record: dict[str, Any]) -> float:
    """The mean return of the evaluation at the end."""
    return float(np.mean(record["final_returns"]))


def chance(record: dict[str, Any]) -> float:
    """The mean return of its random play before the first update; 0 where no episode ended in it."""
    random = [earned for step, earned in record["episodes"] if step <= record["config"]["prefill"]]
    return float(np.mean(random)) if random else 0.0


def named_parts(record: dict[str, Any]) -> set[str]:
    """The parts in which the doctor saw a cause; an outcome is none."""
    return {part for _, part, hint, _ in record["findings"] if not hint and part != "outcome"}


def alarmed(record: dict[str, Any]) -> bool:
    """Whether the doctor said that something looks wrong."""
    return any(not hint for _, _, hint, _ in record["findings"])


def summarise(results: Path) -> dict[str, Any]:
    """Sensitivity, the right part, and false alarms, in all runs found."""
    records = [
        (path.parent.parent.name, json.loads(path.read_text())) for path in sorted(results.glob("*/*/seed-*.json"))
    ]
    sound = {name: [r for n, r in records if n == name and r["bug"] == NONE] for name, _ in records}
    fresh = [(name, r) for name, r in records if r["config"]["seed"] not in LOOKED_AT.get(name, ())]
    mistaken = [(name, r) for name, r in fresh if r["bug"] != NONE and r["config"]["seed"] in SEEDS]
    harmed = [(name, r) for name, r in mistaken if suffered(r, sound[name])]
    hurt = [r for _, r in harmed]
    healthy = [r for _, r in fresh if r["bug"] == NONE]
    counts = {
        "found": (sum(map(alarmed, hurt)), len(hurt)),
        "right part": (sum(bool(named_parts(r) & set(parts_of(r["bug"]))) for r in hurt), len(hurt)),
        "false alarms": (sum(map(alarmed, healthy)), len(healthy)),
    }
    return {
        "runs": len(fresh),
        "mistakes": len({r["bug"] for r in hurt}),
        "harmed": dict(Counter(name for name, _ in harmed)),  # runs, by world
        "worlds": len({name for name, r in fresh if r["bug"] == NONE}),  # of sound runs
        "shares": {name: {"count": n, "of": of, "interval": wilson(n, of)} for name, (n, of) in counts.items()},
        "overlooked": sorted({r["bug"] for r in hurt if not named_parts(r) & set(parts_of(r["bug"]))}),
        "alarms": sorted({f"{r['environment']}: {f[0]}" for r in healthy for f in r["findings"] if not f[2]}),
    }


def counted(number: int, what: str) -> str:
    """As in `1 world` and `2 worlds`."""
    return f"{number} {what}{'s' if number != 1 else ''}"


def told_by_world(harmed: dict[str, int]) -> str:
    """As in `70 runs in cartpole, 9 runs in corridor`."""
    return ", ".join(f"{counted(count, 'run')} in {name}" for name, count in harmed.items()) or "no run"


WORDS = {
    "found": "runs with a mistake whose return suffered: something looks wrong",
    "right part": "the same runs: a cause is named in the part where the mistake lies",
    "false alarms": "sound runs: something looks wrong all the same",
}


def as_table(summary: dict[str, Any]) -> str:
    """The summary in Markdown, or nothing if there are no runs."""
    if not summary["runs"]:
        return ""
    lines = ["| | runs | share | 95 % interval |", "|---|---|---|---|"]
    for name, words in WORDS.items():
        share = summary["shares"][name]
        low, high = share["interval"]
        told = f"{share['count'] / share['of']:.0%} | {low:.0%} to {high:.0%}" if share["of"] else " | "
        lines.append(f"| {words} | {share['count']} of {share['of']} | {told} |")
    lines += [
        "",
        f"{counted(summary['mistakes'], 'mistake')} did harm ({told_by_world(summary['harmed'])}); the sound runs are "
        f"of {counted(summary['worlds'], 'world')}. All are of seeds that nobody had looked at when the last symptom "
        "was written (`python benchmarks/doctor.py`). Suffered has who earns less than every sound run of the world, "
        "and has lost a quarter of what those earn above chance; in a single run that may be bad luck. Runs with one "
        "mistake are alike, so the intervals are rather too narrow. No cause in the right part, in one run at least: "
        f"{', '.join(summary['overlooked']) or 'none'}. Alarms in sound runs: "
        f"{', '.join(summary['alarms']) or 'none'}.",
    ]
    return "\n".join(lines)


def main(results: Path = RESULTS) -> None:
    """Write the table.

    Args:
        results: where the runs of benchmarks/zoo.py are.
    """
    summary = summarise(results)
    table = as_table(summary)
    if not table:
        raise SystemExit(f"There are no runs in {results}; python benchmarks/zoo.py makes them.")
    write_text(results / "doctor.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    if results == RESULTS:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(BLOCK.sub(lambda found: f"{found[1]}{table}\n{found[2]}", page), encoding="utf-8")
    print(table)


if __name__ == "__main__":
    tyro.cli(main)
