"""What an update costs, against an older commit and against TorchRL, and what collecting adds to it.

    OMP_NUM_THREADS=1 python benchmarks/speed.py                  # everything; below 4 minutes of CPU
    OMP_NUM_THREADS=1 python benchmarks/speed.py --parts nano --updates 100

nano     one update of this working tree and one of commit 912dddd, with the options that nano has here. Each tree has a
         process of its own, on one thread, and they take turns; what counts is the median over rounds of the ratio of
         their CPU seconds. The losses of the first update stand beside each other: same seed, same batch, same draws.
size1m   CPU seconds and peak memory of one update; against TorchRL by `torchrl_dreamer_v3.py` in the same run if it is
         installed, and otherwise with the ratio that was measured last.
collect  environment steps per second with 4 and with 16 environments, and the share of a run that this makes.

Absolute seconds are of this machine and this moment; ratios are what can be compared.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median, quantiles
from typing import Any

ROOT = Path(__file__).parent.parent
OUT = ROOT / "book" / "results" / "bench"
COMMIT = "912dddd"
PARTS = ("nano", "size1m", "collect")
SPACES: dict[str, Any] = {"observations": (4,), "actions": 2, "action_kind": "discrete"}  # of CartPole
LARGER: dict[str, Any] = {"observations": (24,), "actions": 6, "action_kind": "continuous"}  # as TorchRL is given
COUNTS = (4, 16)  # environments
WARM_UP = 2  # updates; the first is the one whose losses are told

# --- In a process of its own, on the package of some tree -------------------------------------------------------------


def serve() -> None:
    """Be told options, then make one update whenever asked; in the end say what memory it took.

    Nothing is imported before: this runs on the packages of two commits, of which the older has its modules elsewhere.
    """
    torch = import_module("torch")
    torch.set_num_threads(1)
    package = import_module("wm_tutorial")
    try:
        bench = import_module("wm_tutorial.runs.bench")
    except ImportError:
        bench = import_module("wm_tutorial.bench")
    config = import_module("wm_tutorial.config")
    asked = json.loads(sys.stdin.readline())
    known = {name: value for name, value in asked["options"].items() if hasattr(config.Config(), name)}
    known = {name: float(value) if value == "inf" else value for name, value in known.items()}
    spaces = {**asked["spaces"], "observations": tuple(asked["spaces"]["observations"])}
    trainer = bench.make_trainer(partial(bench.Noise, **spaces), config.make_config(**known))
    told: dict[str, Any] = {
        "package": str(Path(str(package.__file__)).parent),
        "unknown": sorted(asked["options"].keys() - known.keys()),
    }
    while True:
        print(json.dumps(told, allow_nan=False), flush=True)
        if sys.stdin.readline().strip() != "update":
            break
        started = time.process_time()
        numbers = trainer.train_step()
        told = {"seconds": time.process_time() - started, "numbers": numbers}
    print(json.dumps({"peak_mb": bench.peak_memory()}, allow_nan=False), flush=True)


class Side:
    """The process of one tree."""

    def __init__(self, tree: Path, options: dict[str, Any], spaces: dict[str, Any]) -> None:
        environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
        words = [sys.executable, str(Path(__file__).resolve()), "--serve"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=environment, cwd=tree)
        self.told = self.ask(json.dumps({"options": options, "spaces": spaces}, allow_nan=False))
        if Path(self.told["package"]).parent.resolve() != tree.resolve():
            self.process.kill()
            raise SystemExit(f"The package of {tree} was asked for, and {self.told['package']} was imported instead.")

    def ask(self, line: str) -> dict[str, Any]:
        """Send a line, and wait for the answer."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("A process that makes updates has ended early; what it said stands above.")
        told: dict[str, Any] = json.loads(answer)
        return told

    def end(self) -> float | None:
        """Let it go; returns its peak memory in MB."""
        peak: float | None = self.ask("stop")["peak_mb"]
        self.process.communicate()
        return peak


@contextmanager
def tree_of(commit: str) -> Iterator[Path]:
    """The files of a commit, in a temporary folder, gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        added = subprocess.run(
            ["git", "worktree", "add", "--detach", str(tree), commit], cwd=ROOT, capture_output=True, text=True
        )
        if added.returncode:
            raise SystemExit(
                f"Commit {commit} cannot be checked out: {added.stderr.strip()}. A shallow clone does not hold it: "
                "`git fetch --unshallow`."
            )
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)


# --- The parts --------------------------------------------------------------------------------------------------------


def in_turn(
    trees: dict[str, Path], options: dict[str, Any], spaces: dict[str, Any], updates: int
) -> dict[str, dict[str, Any]]:
    """Of each tree: CPU seconds of every update, the numbers of its first one, unknown options and peak memory."""
    sides = {name: Side(tree, options, spaces) for name, tree in trees.items()}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    first: dict[str, dict[str, float]] = {}
    for _ in range(WARM_UP + updates):
        for name, side in sides.items():
            answer = side.ask("update")
            first.setdefault(name, answer["numbers"])
            seconds[name].append(answer["seconds"])
    return {
        name: {
            "seconds": seconds[name][WARM_UP:], "median": median(seconds[name][WARM_UP:]), "first": first[name],
            "unknown": side.told["unknown"], "peak_mb": side.end(),
        }
        for name, side in sides.items()
    }  # fmt: skip


def ratio(ours: list[float], theirs: list[float]) -> list[float]:
    """Of each round, ours over theirs: lower quartile, median, upper quartile."""
    return quantiles([a / b for a, b in zip(ours, theirs, strict=True)], n=4)


def options_of(size: str, **changes: Any) -> dict[str, Any]:
    """All options of a size of dreamer_v3, as JSON can hold them."""
    config = import_module("wm_tutorial.config")
    options: dict[str, Any] = config.plain(config.make_config("dreamer_v3", size=size, **changes))
    return options


def nano(updates: int) -> dict[str, Any]:
    """This tree against the old commit."""
    with tree_of(COMMIT) as tree:
        sides = in_turn({"here": ROOT, COMMIT: tree}, options_of("nano"), SPACES, updates)
    return {"sides": sides, "ratio": ratio(sides["here"]["seconds"], sides[COMMIT]["seconds"])}


def size1m(updates: int) -> dict[str, Any]:
    """An update here, and what it is of TorchRL's."""
    path = OUT / "torchrl.json"
    if installed := find_spec("torchrl") is not None:
        words = [sys.executable, str(ROOT / "benchmarks" / "torchrl_dreamer_v3.py"), "--json", str(path)]
        subprocess.run(words, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    beside = json.loads(path.read_text())
    memory = {name: side["peak_mb"] for name, side in beside["sides"].items()}
    return {
        **in_turn({"here": ROOT}, options_of("size1m", envs=4), LARGER, updates),
        "torchrl": {
            "same_run": installed, "version": beside["versions"]["torchrl"], "ratio": beside["ratio"],
            "memory_ratio": memory["wm_tutorial"] / memory["torchrl"],
        },
    }  # fmt: skip


def collect(rounds: int, update: float | None = None) -> dict[str, Any]:
    """Steps per second of CPU with so many environments, and their share of the time of a run of nano on CartPole.

    Args:
        rounds: steps of all environments that are timed.
        update: CPU seconds of an update; measured here if it is not known.
    """
    bench, config = import_module("wm_tutorial.runs.bench"), import_module("wm_tutorial.config")
    trainer, process = import_module("wm_tutorial.trainer"), import_module("wm_tutorial.process")
    given = config.make_config("dreamer_v3", size="nano", prefill=0)
    with process.cpu_threads(1):
        if update is None:
            made = bench.make_trainer("CartPole-v1", given)
            update = bench.time_in_turn({"update": made.train_step}, 5)["update"]["cpu"]
        steps = {str(n): trainer.Trainer("CartPole-v1", replace(given, envs=n)).collect for n in COUNTS}
        took = bench.time_in_turn(steps, rounds)
    result: dict[str, Any] = {"update": update}
    for n in COUNTS:
        each = took[str(n)]["cpu"] / n
        result[str(n)] = {"steps_per_second": 1.0 / each, "share": each / (each + given.updates_per_step * update)}
    return result


# --- Told -------------------------------------------------------------------------------------------------------------


def as_table(result: dict[str, Any]) -> str:
    """What was measured, for people."""
    lines = ["| what | here | beside | ratio (quartiles) |", "|---|---|---|---|"]
    if found := result.get("nano"):
        here, old = found["sides"]["here"], found["sides"][COMMIT]
        low, middle, high = found["ratio"]
        lines.append(
            f"| nano, one update | {1e3 * here['median']:.0f} ms | {COMMIT}: {1e3 * old['median']:.0f} ms | "
            f"{middle:.3f} ({low:.3f} to {high:.3f}) |"
        )
    if found := result.get("size1m"):
        here, beside = found["here"], found["torchrl"]
        when = "the same run" if beside["same_run"] else "measured before"
        low, middle, high = beside["ratio"]
        name = f"TorchRL {beside['version']}, {when}"
        held = "unknown" if here["peak_mb"] is None else f"{here['peak_mb']:,.0f} MB"
        lines.append(
            f"| size1m, one update | {here['median']:.3f} s | {name} | {middle:.2f} ({low:.2f} to {high:.2f}) |"
        )
        lines.append(f"| size1m, peak memory | {held} | {name} | {beside['memory_ratio']:.2f} |")
    if found := result.get("collect"):
        lines += [
            f"| collecting, {n} environments | {found[str(n)]['steps_per_second']:,.0f} steps a second | "
            f"of a run's time | {found[str(n)]['share']:.3f} |"
            for n in COUNTS
        ]
    if found := result.get("nano"):
        here, old = (found["sides"][name]["first"] for name in ("here", COMMIT))
        lines += ["", f"| first update | here | {COMMIT} |", "|---|---|---|"]
        lines += [f"| {name} | {number:.6g} | {old.get(name, float('nan')):.6g} |" for name, number in here.items()]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what is measured")
    parser.add_argument("--updates", type=int, default=60, help="how many updates of nano are timed on each side")
    parser.add_argument("--json", type=Path, default=OUT / "speed.json", help="a file that all numbers are written to")
    asked = parser.parse_args()
    if asked.serve:
        serve()
        return
    result: dict[str, Any] = {
        "versions": {name: version(name) for name in ("wm_tutorial", "torch")},
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
    if "nano" in asked.parts:
        result["nano"] = nano(asked.updates)
    if "size1m" in asked.parts:
        result["size1m"] = size1m(max(3, asked.updates // 6))
    if "collect" in asked.parts:
        known = result["nano"]["sides"]["here"]["median"] if "nano" in result else None
        result["collect"] = collect(5 * asked.updates, known)
    print(as_table(result))
    asked.json.parent.mkdir(parents=True, exist_ok=True)
    asked.json.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
