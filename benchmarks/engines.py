"""Rows a second from each source of experience, beside environments that are stepped one after the other.

    python benchmarks/engines.py                     # below 8 minutes; EnvPool and PufferLib after `make engines`

Two worlds, CartPole, a step of which takes microseconds, and the same with a simulator elsewhere that answers in 2 ms;
4, 16 and 64 environments. Every source of a world and a number is at hand at the same time, each in the Python that has
it, and they take turns: what counts is the median over rounds of the ratio to the first. Random actions; rows are made
as in training. CPU seconds are those of all processes of a source, and the load is the mean of before and after: where
others compute, many processes get a larger share of the machine than one, and look better than they are.

The numbers go to book/results/bench/engines.json, and as tables to book/engines.md, between its comments.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from wm_tutorial.runs.engines import EnvPool, Puffer
from wm_tutorial.vector import environments

ROOT = Path(__file__).parent.parent
OUT = ROOT / "book" / "results" / "bench" / "engines.json"
PAGE = ROOT / "book" / "engines.md"
COUNTS = (4, 16, 64)
ROUND, ROUNDS = 0.4, 7  # seconds of each source in a round, and rounds
LEAST = 8  # steps of all environments in a round
LATENCY = 0.002
POLE = "CartPole-v1"


class Waits(gym.Wrapper[Any, Any, Any, Any]):
    """A simulator that answers after a while, in which this processor has nothing to do."""

    def step(self, action: Any) -> Any:
        """Wait, then step."""
        time.sleep(LATENCY)
        return self.env.step(action)


def waiting() -> gym.Env[Any, Any]:
    """CartPole, as if it were simulated elsewhere."""
    return Waits(gym.make(POLE, disable_env_checker=True))


def asynchronous(source: Any, count: int, seed: int) -> AsyncVectorEnv:
    """Gymnasium's own processes, as Gymnasium starts them."""
    builds = [partial(gym.make, source) if isinstance(source, str) else source] * count
    return AsyncVectorEnv(builds, autoreset_mode=AutoresetMode.NEXT_STEP)


WORLDS: dict[str, Any] = {"quick": POLE, "waiting": waiting}
# The Python that has each source (empty for the one that measures), how it is called, and what steps a world there.
SOURCES: dict[str, tuple[str, str, Any]] = {
    "one after the other": ("", "wm_tutorial", lambda world: None),
    "processes": ("", '`vector="processes"`', lambda world: "processes"),
    "AsyncVectorEnv": ("", "Gymnasium's `AsyncVectorEnv`", lambda world: partial(asynchronous, world)),
    "EnvPool": (".venv-envpool", "EnvPool", lambda world: EnvPool(POLE)),
    "Puffer, serial": (".venv-puffer", 'PufferLib, "Serial"', Puffer),
    "Puffer, processes": (
        ".venv-puffer",
        'PufferLib, "Multiprocessing"',
        lambda world: Puffer(world, "Multiprocessing"),
    ),
}

# --- In a process that has the engine ---------------------------------------------------------------------------------


def cpu_of(pid: int) -> float:
    """CPU seconds of a process and of all that it has started, as far as Linux says."""
    total = 0.0
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(cpu_of(int(child)) for child in (task / "children").read_text().split())
    except OSError:
        pass
    return total


def serve() -> None:
    """Be told sources, a world and a number, then step one of them for some seconds whenever asked."""
    held: dict[str, Any] = {}
    for line in sys.stdin:
        asked, answer = json.loads(line), {}
        if "seconds" in asked:
            collected, actions, row = held[asked["source"]]
            begun, cpu, made = time.perf_counter(), cpu_of(os.getpid()), 0
            while time.perf_counter() - begun < asked["seconds"] or made < LEAST:
                row = collected.step(row, actions[made % len(actions)])
                made += 1
            wall = time.perf_counter() - begun
            held[asked["source"]][2] = row
            answer = {"rows": made * len(collected), "wall": wall, "cpu": cpu_of(os.getpid()) - cpu}
        elif "source" in asked:
            world, rng = WORLDS[asked["world"]], np.random.default_rng(0)
            collected = environments(world, asked["count"], (0,), SOURCES[asked["source"]][2](world))
            held[asked["source"]] = [collected, [collected.random_action(rng) for _ in range(64)], collected.reset()]
        else:
            for collected, _, _ in held.values():
                collected.close()
            held = {}
        print(json.dumps(answer, allow_nan=False), flush=True)


class Side:
    """A process that steps sources, with the Python of a virtual environment, or with this one."""

    def __init__(self, venv: str) -> None:
        python = ROOT / venv / "bin" / "python" if venv else Path(sys.executable)
        self.process = subprocess.Popen(
            [python, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def ask(self, **asked: Any) -> dict[str, Any]:
        """Its answer."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(asked, allow_nan=False) + "\n")
        self.process.stdin.flush()
        if not (answer := self.process.stdout.readline()):
            raise SystemExit("A process that steps environments has ended early; what it said stands above.")
        told: dict[str, Any] = json.loads(answer)
        return told


# --- In turn ----------------------------------------------------------------------------------------------------------


def usable(source: str, world: str) -> bool:
    """Whether a source is installed, and has the world: EnvPool has only worlds of its own."""
    venv = SOURCES[source][0]
    return (not venv or (ROOT / venv).exists()) and (source != "EnvPool" or world == "quick")


def cell(sides: dict[str, Side], world: str, count: int) -> dict[str, Any]:
    """Of each source: rows per second, CPU milliseconds of a row, and the ratio to the first, round by round."""
    asked = {source: sides[SOURCES[source][0]] for source in SOURCES if usable(source, world)}
    for source, side in asked.items():
        side.ask(source=source, world=world, count=count)
        side.ask(source=source, seconds=ROUND / 4)
    rounds = [{s: side.ask(source=s, seconds=ROUND) for s, side in asked.items()} for _ in range(ROUNDS)]
    for side in sides.values():
        side.ask(close=True)
    print(f"{world}, {count} environments: measured", file=sys.stderr, flush=True)
    return summary(rounds)


def summary(rounds: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Medians over rounds; of ratios with their quartiles, each taken within one round."""
    first = next(iter(rounds[0]))
    told = {}
    for source in rounds[0]:
        rates = [of[source]["rows"] / of[source]["wall"] for of in rounds]
        beside = [rate / (of[first]["rows"] / of[first]["wall"]) for rate, of in zip(rates, rounds, strict=True)]
        cpu = sum(of[source]["cpu"] for of in rounds) / sum(of[source]["rows"] for of in rounds)
        told[source] = {
            "rows_per_second": round(median(rates), 1),
            "ratio": [round(value, 3) for value in quantiles(beside, n=4)],
            "cpu_ms_per_row": round(1e3 * cpu, 4),
        }
    return told


# --- Told -------------------------------------------------------------------------------------------------------------


def table(result: dict[str, Any], world: str) -> str:
    """The ratios of one world, a line for each source; in brackets CPU milliseconds of a row."""
    cells = result["worlds"][world]
    lines = ["| source | " + " | ".join(f"{n} environments" for n in cells) + " |", "|---" * (len(cells) + 1) + "|"]
    for source, (_, called, _) in SOURCES.items():
        if all(source in of for of in cells.values()):
            found = [of[source] for of in cells.values()]
            told = [f"{one['ratio'][1]:.2g} ({one['cpu_ms_per_row']:.2g} ms)" for one in found]
            lines.append(f"| {'one after the other' if called == 'wm_tutorial' else called} | {' | '.join(told)} |")
    return "\n".join(lines)


def circumstances(result: dict[str, Any]) -> str:
    """Where it was measured, in a sentence."""
    load = f"other programs kept a load of {result['load']:.0f} on them"
    return f"Measured in turn on {result['cores']} cores, while {load}."


def with_tables(page: str, result: dict[str, Any]) -> str:
    """The page with what was measured between its comments."""
    blocks = {"circumstances": circumstances(result)} | {world: table(result, world) for world in result["worlds"]}
    for name, text in blocks.items():
        begin = f"<!-- {name}: benchmarks/engines.py -->"
        page = re.sub(rf"({begin}\n).*?(\n<!-- to here -->)", lambda m, t=text: m[1] + t + m[2], page, flags=re.DOTALL)  # type: ignore[misc]
    return page


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, default=OUT, help="a file that all numbers are written to")
    asked = parser.parse_args()
    if asked.serve:
        serve()
        return
    begun, load = time.perf_counter(), os.getloadavg()[0]
    there = {venv for venv, _, _ in SOURCES.values() if not venv or (ROOT / venv).exists()}
    sides = {venv: Side(venv) for venv in sorted(there)}
    worlds = {world: {str(count): cell(sides, world, count) for count in COUNTS} for world in WORLDS}
    for side in sides.values():
        side.process.communicate()
    result = {
        "versions": {name: version(name) for name in ("wm_tutorial", "gymnasium", "numpy")},
        "cores": os.cpu_count(),
        "load": round((load + os.getloadavg()[0]) / 2, 1),
        "seconds": round(time.perf_counter() - begun),
        "worlds": worlds,
    }
    print(circumstances(result), *(table(result, world) for world in worlds), sep="\n\n")
    asked.json.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")
    if asked.json == OUT:
        PAGE.write_text(with_tables(PAGE.read_text(), result))


if __name__ == "__main__":
    main()
