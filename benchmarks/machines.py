"""One process with the whole batch against two with half of it each: what an update takes, in turn, for several sizes.

    python benchmarks/machines.py                # below 6 minutes on two free cores
    python benchmarks/machines.py --sizes nano   # one size

By the clock an update of two processes takes as long as its slower half and what they exchange. On a machine that does
other things, too, the clock says more of those than of this. Beside it stand CPU seconds, which count work and not
waiting: one process's against those of the busier of the two. That quotient is what two free cores would come to if an
exchange took no time. Everything goes to book/results/bench/machines.json, from which `table` makes the book's table.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from wm_tutorial import checkpoint
from wm_tutorial.config import Config, make_config
from wm_tutorial.pace import ALONE, Alone
from wm_tutorial.process import cpu_threads
from wm_tutorial.runs.bench import Noise
from wm_tutorial.runs.machines import in_company
from wm_tutorial.trainer import Trainer

OUT = Path(__file__).parent.parent / "book" / "results" / "bench" / "machines.json"
SIZES = ("nano", "size1m", "size12m")
SOURCE = partial(Noise, (24,), 6, "continuous")
EXCHANGES = 200  # of a few numbers, timed alone


def config_of(size: str) -> Config:
    """The reference's batch, 16 sequences of 64 rows; two environments, so that each process has one."""
    config = make_config("dreamer_v3", size=size, envs=2, batch_size=16, sequence_length=64, imagined_starts=0)
    return replace(config, prefill=0, warmup=0, capacity=2 * (config.sequence_length + 1))


def ready(config: Config, company: Alone) -> Trainer:
    """A trainer whose replay holds the rows that one sequence needs."""
    trainer = Trainer(SOURCE, config, company=company)
    for _ in range(config.sequence_length + 1):
        trainer.collect()
    return trainer


def timed(update: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of CPU."""
    began = time.perf_counter(), time.process_time()
    update()
    return time.perf_counter() - began[0], time.process_time() - began[1]


def measure(size: str, company: Alone, seconds: float) -> dict[str, Any]:
    """Updates of both kinds in turn, for about so many seconds, and at least two of each after one to warm up."""
    config = config_of(size)
    together = ready(company.share(config), company)
    alone = ready(config, ALONE) if company.rank == 0 else None
    rounds: list[list[float]] = []
    began, over = time.perf_counter(), False
    while not over:
        one = company.first(lambda: timed(alone.train_step) if alone else (0.0, 0.0)) or (0.0, 0.0)
        clock, cpu = timed(together.train_step)
        (both,) = company.everyone(np.array([[cpu]]))
        rounds.append([*one, clock, *map(float, both)])
        (over,) = company.any(company.rank == 0 and len(rounds) > 2 and time.perf_counter() - began > seconds)
    parameters = sum(p.numel() for part in together.learner.parts.values() for p in part.parameters())
    names = ("one by the clock", "one, CPU", "two by the clock", "first of two, CPU", "second of two, CPU")
    columns = zip(names, zip(*rounds[1:], strict=True), strict=True)
    return {"parameters": parameters, "seconds": {name: list(column) for name, column in columns}}


def work(sizes: list[str], seconds: float, out: Path) -> None:
    """What each of the two processes does; the first writes."""
    with in_company() as company, cpu_threads(1):
        exchange = [timed(lambda: company.any(False))[0] for _ in range(EXCHANGES)]
        found = {size: measure(size, company, seconds) for size in sizes}
        if company.rank == 0:
            told = {
                "versions": {name: version(name) for name in ("wm_tutorial", "torch")},
                "cores": os.cpu_count(),
                "load": os.getloadavg()[0],
                "exchange of a few numbers": {"median": median(exchange), "least": min(exchange)},
                "sizes": found,
            }
            checkpoint.write_text(out, json.dumps(told, indent=1, allow_nan=False) + "\n")
            print(table(told))


def quotients(one: list[float], two: list[float]) -> float:
    """How many times as long the first took as the second: the median over rounds."""
    return median(a / b for a, b in zip(one, two, strict=True))


def table(told: dict[str, Any]) -> str:
    """The table of the book."""
    lines = [
        "| size | parameters | one process, CPU s | the busier of two, CPU s | quotient | by the clock |",
        "|---|---|---|---|---|---|",
    ]
    for size, found in told["sizes"].items():
        seconds = found["seconds"]
        busier = list(map(max, seconds["first of two, CPU"], seconds["second of two, CPU"]))
        cpu = quotients(seconds["one, CPU"], busier)
        clock = quotients(seconds["one by the clock"], seconds["two by the clock"])
        lines.append(
            f"| {size} | {found['parameters']:,} | {median(seconds['one, CPU']):.3g} | {median(busier):.3g} "
            f"| {cpu:.2f} | {clock:.2f} |"
        )
    exchange = told["exchange of a few numbers"]
    lines += [
        "",
        f"An exchange of a few numbers took {1e3 * exchange['median']:.2g} ms (median), and "
        f"{1e3 * exchange['least']:.2g} ms at least. {told['cores']} cores, load {told['load']:.0f}.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Start two processes of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), help="of the preset dreamer_v3")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each size")
    parser.add_argument("--json", type=Path, default=OUT, help="a file that all numbers are written to")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        work(asked.sizes, asked.seconds, asked.json)
        return
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    given = ["--sizes", *asked.sizes, "--seconds", str(asked.seconds), "--json", str(asked.json.resolve())]
    subprocess.run([*torchrun, __file__, *given, "--work"], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


if __name__ == "__main__":
    main()
