"""What an update of every size costs on paper, on a laptop's core, one GPU and eight; held against what was measured.

Three things take time: arithmetic, bytes moved, and operators started one after the other. All three are counted on the
package's own code, at sizes small enough for any machine. Each is linear in the batch, in the length of its sequences
and in the horizon, so eight small counts give the large one exactly.

    python benchmarks/cost.py                       # the table of all sizes
    python benchmarks/cost.py --sizes nano size1m --measure 5   # and what these take here, beside what was predicted
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import tyro
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from wm_tutorial.config import Config, make_config
from wm_tutorial.process import cpu_threads
from wm_tutorial.runs.bench import Noise, make_trainer, matmul_speed, time_in_turn
from wm_tutorial.trainer import Trainer

PRESET = "dreamer_v3"
SIZES = ("nano", "size1m", "size12m", "size25m", "size50m", "size100m", "size200m", "size400m")
SMALL = {"batch_size": (2, 3), "sequence_length": (3, 5), "horizon": (2, 3)}  # of one row, some copies are views
SOURCE = partial(Noise, (24,), 6, "continuous")


@dataclass(frozen=True)
class Cost:
    """What one update asks of a machine.

    flop        floating-point operations of matrix products and convolutions, two for each multiply-add
    bytes       read and written by all operators, each for itself, as without fusion
    operators   started one after the other
    parameters  that learn
    """

    flop: float
    bytes: float
    operators: float
    parameters: int


@dataclass(frozen=True)
class Machine:
    """What a machine can do.

    flops       operations a second
    bandwidth   bytes a second
    start       seconds until an operator has begun
    link        bytes a second between its devices; 0 for one device
    devices     that share a batch
    width       bytes of a number
    overlaps    whether it computes, moves and starts at the same time; a core does one after the other
    """

    name: str
    flops: float
    bandwidth: float
    start: float
    link: float = 0.0
    devices: int = 1
    width: int = 4
    overlaps: bool = True

    def seconds(self, cost: Cost) -> float:
        """Of one update.

        Every device holds its share of the batch. Gradients are summed over the devices in a ring: each sends and
        receives nearly twice their size.
        """
        arithmetic = cost.flop / self.flops / self.devices
        moving = cost.bytes * self.width / 4 / self.bandwidth / self.devices
        together = max if self.overlaps else lambda *times: sum(times)
        summing = 2 * (self.devices - 1) / self.devices * cost.parameters * 4 / self.link if self.link else 0.0
        return float(together(arithmetic, moving, cost.operators * self.start)) + summing


# NVIDIA H100 SXM, data sheet of 2023: 989 TFLOP/s in bfloat16, 3.35 TB/s, 900 GB/s of NVLink in both directions. Taken
# are half of the first and three quarters of the second. We think that eager PyTorch starts an operator in 5
# microseconds, and a CUDA graph in 2.
H100 = Machine("H100, bfloat16, eager", 0.5 * 989e12, 0.75 * 3.35e12, 5e-6, width=2)
GRAPH = replace(H100, name="the same in a CUDA graph", start=2e-6)
EIGHT = replace(GRAPH, name="eight of them", devices=8, link=450e9)


class Traffic(TorchDispatchMode):
    """Counts operators and the bytes of all tensors that go in and come out; a view moves nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.operators = self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator, and count it."""
        out = func(*args, **(kwargs or {}))
        read = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        written = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        places = {x.untyped_storage().data_ptr() for x in read}
        in_place = func._schema.is_mutable
        if in_place or any(x.untyped_storage().data_ptr() not in places for x in written):
            self.operators += 1
            self.bytes += sum(x.numel() * x.element_size() for x in (*read, *written))
        return out


def make(config: Config) -> Trainer:
    """A trainer on random data, ready for an update."""
    return make_trainer(SOURCE, replace(config, envs=1, prefill=0, warmup=0))


def count_once(config: Config) -> Cost:
    """Count one update as it is."""
    trainer = make(config)
    trainer.train_step()  # the optimiser's averages begin to exist
    with FlopCounterMode(display=False) as flop:
        trainer.train_step()
    with Traffic() as traffic:
        trainer.train_step()
    parameters = sum(p.numel() for part in trainer.learner.parts.values() for p in part.parameters())
    return Cost(flop.get_total_flops(), traffic.bytes, traffic.operators, parameters)


def count(config: Config) -> Cost:
    """Count an update from eight small ones: what is linear in each of three sizes is known from two values of each."""
    corners = {
        sizes: count_once(replace(config, **dict(zip(SMALL, sizes, strict=True))))
        for sizes in itertools.product(*SMALL.values())
    }

    def extended(what: Callable[[Cost], float]) -> float:
        values = {sizes: what(cost) for sizes, cost in corners.items()}
        for name, (low, high) in reversed(SMALL.items()):
            share = (getattr(config, name) - low) / (high - low)
            rest = {sizes[:-1] for sizes in values}
            values = {r: values[*r, low] + share * (values[*r, high] - values[*r, low]) for r in rest}
        return values[()]

    any_one = next(iter(corners.values()))
    numbers = (extended(lambda c: c.flop), extended(lambda c: c.bytes), extended(lambda c: c.operators))
    return Cost(*numbers, any_one.parameters)


def here() -> Machine:
    """One core of this machine: its speed at matrices, at copying, and at starting an operator that has no work."""
    a, b = torch.rand(2, 4 * 2**20)
    copying = time_in_turn({"copy": lambda: b.copy_(a)}, 20)["copy"]["cpu"]
    tiny, rounds = torch.zeros(1), 1000
    starting = time_in_turn({"start": lambda: [tiny.neg() for _ in range(rounds)]}, 5)["start"]["cpu"] / rounds
    speed, bandwidth = 1e9 * matmul_speed(), 2 * a.numel() * 4 / copying
    return Machine("one core of this machine", speed, bandwidth, starting, overlaps=False)


def measured(config: Config, updates: int) -> float:
    """CPU seconds of an update."""
    return time_in_turn({"update": make(config).train_step}, updates)["update"]["cpu"]


def main(sizes: tuple[str, ...] = SIZES, measure: int = 0) -> None:
    """Print the table.

    Args:
        sizes: of the preset dreamer_v3.
        measure: so many updates of each size are made here; 0 for none.
    """
    with cpu_threads(1):
        core = here()
        machines = (core, H100, GRAPH, EIGHT)
        print(
            f"{core.name}: {core.flops / 1e9:.0f} GFLOP/s, {core.bandwidth / 1e9:.1f} GB/s, {core.start * 1e6:.1f} us"
        )
        print(
            f"| size | parameters | GFLOP | GB | operators | {' | '.join(m.name for m in machines)} | measured here |"
        )
        print("|---|" + "---|" * (len(machines) + 5))
        for size in sizes:
            config = make_config(PRESET, size=size)
            cost = count(config)
            counted = f"{cost.parameters:,} | {cost.flop / 1e9:.3g} | {cost.bytes / 1e9:.3g} | {cost.operators:,.0f}"
            predicted = " | ".join(f"{1e3 * m.seconds(cost):.3g} ms" for m in machines)
            took = f"{1e3 * measured(config, measure):.3g} ms" if measure else "-"
            print(f"| {size} | {counted} | {predicted} | {took} |", flush=True)


if __name__ == "__main__":
    tyro.cli(main)
