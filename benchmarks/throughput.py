"""Collecting and learning from pixels, each alone and side by side: rows per second, at so many environments.

    python benchmarks/throughput.py                       # size12m in bfloat16, below 8 minutes on one GPU
    python benchmarks/throughput.py --envs 4 --rounds 2   # shorter

Environments are random pictures of 64 x 64 x 3, which cost next to nothing to step: what is measured is the agent. A
block is `ROWS` rows or more, as many from every environment, and the updates which the preset asks for in that time:
one a row, which an NVIDIA H200 makes in 0.4 s, operator by operator. Collecting, learning and both take turns, so that
a slow moment of the machine meets all of them alike. `overlap` is what the first two take together, over what both in
one loop take: 1 if nothing is won.

Without a GPU a tiny model does the same on the CPU, and its times mean nothing.
"""

import json
import time
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from wm_tutorial.config import Config, make_config
from wm_tutorial.process import devices
from wm_tutorial.runs.bench import Noise, make_trainer, time_in_turn

ROOT = Path(__file__).parent.parent
OUT = ROOT / "book" / "results" / "bench" / "throughput.json"
SOURCE = partial(Noise, (64, 64, 3), 6, "discrete")
ROWS = 32  # in a block, if every environment need not make more than one
TINY: dict[str, Any] = {
    "hidden": 16, "memory_size": 32, "memory_blocks": 2, "latent_size": 4, "latent_classes": 3, "layers": 1, "bins": 15,
    "conv_depth": 2, "batch_size": 2, "sequence_length": 4, "horizon": 3,
}  # fmt: skip


@dataclass(frozen=True)
class Throughput:
    """What a block takes, in seconds on the clock, and how much is in it."""

    envs: int
    rows: int  # that a block collects
    updates: int  # that a block makes
    collecting: float
    learning: float
    both: float

    @property
    def overlap(self) -> float:
        """What the two take one after the other, over what they take in one loop."""
        return (self.collecting + self.learning) / self.both

    def row(self) -> str:
        """Of the table."""
        rates = [self.rows / self.collecting, self.updates / self.learning, self.rows / self.both]
        share = self.collecting / (self.collecting + self.learning)
        return (
            f"| {self.envs} | {rates[0]:,.0f} | {rates[1]:.2f} | {rates[2]:,.1f} | {share:.1%} | {self.overlap:.2f} |"
        )


def options(envs: int, device: str, precision: Literal["bfloat16", "float32"]) -> Config:
    """Of size12m; on a CPU of a tiny model."""
    tiny = {} if device == "cuda" else TINY
    return make_config("dreamer_v3", size="size12m", envs=envs, prefill=0, device=device, precision=precision, **tiny)


def measure(config: Config, rounds: int) -> Throughput:
    """Time blocks of collecting, of learning, and of both in the order of a run."""
    trainer = make_trainer(SOURCE, config)
    each = config.envs * config.updates_per_step  # updates after a step of every environment
    steps = max(1, ROWS // config.envs)
    updates = round(steps * each)

    def collect() -> None:
        for _ in range(steps):
            trainer.collect()

    def learn() -> None:
        for _ in range(updates):
            trainer.train_step()

    def both() -> None:
        made = 0
        for step in range(steps):
            trainer.collect()
            while made < round((step + 1) * each):
                trainer.train_step()
                made += 1

    took = time_in_turn({"collecting": collect, "learning": learn, "both": both}, rounds, config.device)
    return Throughput(config.envs, steps * config.envs, updates, *(took[name]["wall"] for name in took))


def main(
    envs: tuple[int, ...] = (4, 16, 64),
    precision: Literal["bfloat16", "float32"] = "bfloat16",
    rounds: int = 3,
    minutes: float = 6.0,
    json_file: Path | None = None,
) -> None:
    """Measure, print, write.

    Args:
        envs: numbers of environments.
        precision: of matrix products and hidden layers.
        rounds: blocks of each kind that are timed, after one that is not.
        minutes: after which no further number of environments is begun.
        json_file: where the numbers go; without it, book/results/bench/throughput.json if there is a GPU.
    """
    end = time.perf_counter() + 60 * minutes
    device = "cuda" if "cuda" in devices() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    if device == "cpu":
        print("PyTorch finds no GPU here: a tiny model on the CPU. Times mean nothing.")
    path = json_file or (OUT if device == "cuda" else None)
    result: dict[str, Any] = {
        "versions": {package: version(package) for package in ("wm_tutorial", "torch")},
        "device": name, "tiny": device != "cuda", "precision": precision, "measured": [],
    }  # fmt: skip
    print(
        "| environments | rows a second, collecting | updates a second | rows a second, both | collecting | overlap |"
    )
    print("|---|---|---|---|---|---|")
    for count in envs:
        if time.perf_counter() > end:
            print(f"{count} environments: no time was left")
            continue
        found = measure(options(count, device, precision), rounds)
        print(found.row(), flush=True)
        result["measured"].append(asdict(found))
        if path:  # after each: what was measured stays if the next one is cut off
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
