"""What an update of every size costs on paper, on a laptop's core, one GPU and a cluster of them.

Three things take time: arithmetic, bytes moved, and operators started one after the other. All three are counted on the
package's own code, at sizes small enough for any machine. Each is linear in the batch, in the length of its sequences
and in the horizon, so eight small counts give the large one exactly. The sizes of the reference differ by one factor of
all widths, and products of two widths grow with its square: a parabola through three narrow models tells the wide ones.

    counted("size12m")                             what was counted once, and is held to the code by a test
    count(make_config("dreamer_v3", size="nano"))  counted anew
    H100.terms(counted("size200m"))                what each of the three would take there
"""

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from functools import partial
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from wm_tutorial.config import Config, make_config
from wm_tutorial.errors import InputError
from wm_tutorial.runs.bench import Noise, make_trainer, matmul_speed, time_in_turn
from wm_tutorial.trainer import Trainer

PRESET = "dreamer_v3"
# How many times as wide as size1m each size of the reference is.
WIDER = {"size1m": 1, "size12m": 4, "size25m": 6, "size50m": 8, "size100m": 12, "size200m": 16, "size400m": 24}
SIZES = ("nano", *WIDER)
WIDTHS = ("memory_size", "hidden", "latent_classes", "conv_depth")
NARROW = (1, 2, 4)  # counted
SMALL = {"batch_size": (2, 3), "sequence_length": (3, 5), "horizon": (2, 3)}  # of one row, some copies are views
# An update with hardly a number: what it takes is starts.
HOLLOW = {"hidden": 8, "memory_size": 16, "latent_size": 2, "latent_classes": 2, "bins": 15, "batch_size": 1}
SOURCES = {  # those of the reference's walker, and of Atari with all of its actions
    "vector": partial(Noise, (24,), 6, "continuous"),
    "image": partial(Noise, (64, 64, 3), 18, "discrete"),
}
# Written by `python benchmarks/cost.py --save-counts`.
COUNTED = "counted.json"
WEIGHT = 4  # bytes of a parameter and of its gradient, in every precision


@dataclass(frozen=True)
class Cost:
    """What one update asks of a machine.

    flop        floating-point operations of matrix products and convolutions, two for each multiply-add
    bytes       read and written by all operators, each for itself, as without fusion
    operators   started one after the other
    parameters  that learn
    fixed       those bytes that do not depend on the batch: weights, which are read in every step of a sequence,
                gradients, and what the optimiser keeps of them
    """

    flop: float
    bytes: float
    operators: float
    parameters: int
    fixed: float = 0.0


@dataclass(frozen=True)
class Machine:
    """What a machine can do.

    flops       operations a second
    bandwidth   bytes a second
    start       seconds until an operator has begun
    link        bytes a second from each device to the next; 0 for one device
    devices     that share a batch
    width       bytes of a number
    overlaps    whether it computes, moves and starts at the same time: Python starts operators ahead of a GPU; a core,
                and the operators of a recorded graph, do one after the other
    latency     seconds until a message between two devices has begun
    """

    name: str
    flops: float
    bandwidth: float
    start: float
    link: float = 0.0
    devices: int = 1
    width: int = 4
    overlaps: bool = True
    latency: float = 0.0

    def terms(self, cost: Cost) -> dict[str, float]:
        """Seconds of one update that each thing takes by itself.

        Every device holds its share of the batch and all of the model, and starts all operators. What depends on the
        batch is `width` bytes wide; weights and gradients are taken to be float32, though a product reads narrower
        copies of weights. Gradients are summed over the devices in a ring (`ring_seconds`).
        """
        moved = cost.fixed + (cost.bytes - cost.fixed) * self.width / 4 / self.devices
        return {
            "arithmetic": cost.flop / self.flops / self.devices,
            "moving": moved / self.bandwidth,
            "starting": cost.operators * self.start,
            "summing": ring_seconds(cost.parameters * WEIGHT, self.devices, self.link, self.latency),
        }

    def seconds(self, cost: Cost) -> float:
        """Of one update; gradients are summed when all of them are there."""
        *inside, summing = self.terms(cost).values()
        return (max(inside) if self.overlaps else sum(inside)) + summing

    def bound(self, cost: Cost) -> str:
        """What an update waits for longest."""
        terms = self.terms(cost)
        return max(terms, key=terms.__getitem__)


def ring_seconds(size: float, devices: int, link: float, latency: float = 0.0) -> float:
    """Seconds in which `devices` in a ring have summed arrays of `size` bytes, so that each of them has the sum.

    The array is cut into as many pieces as there are devices. In n - 1 rounds each piece goes round and is summed, in
    n - 1 more the sums go round: each device sends 2 (n - 1) / n of the size. 0 without a link.

    Source: Patarasuk and Yuan 2009 (doi 10.1016/j.jpdc.2008.09.002), section 3.
    """
    rounds = 2 * (devices - 1)
    return rounds * (size / devices / link + latency) if link else 0.0


# One core of the machines that the course was measured on, in round numbers, as `here` measures it.
CORE = Machine("one core", 90e9, 15e9, 7e-6, overlaps=False)
# NVIDIA L4, data sheet of 2023: 121 TFLOP/s in bfloat16, 300 GB/s. NVIDIA H100 SXM, data sheet of 2023: 989 TFLOP/s in
# bfloat16, 3.35 TB/s, 900 GB/s of NVLink in both directions. Taken are half of the first and three quarters of the
# second. Starts were measured on an H200, the same chip with faster memory (book/results/bench/gpu.json): what an
# update of size1m takes there, for each of its operators, with all that Python does between two of them; of a recorded
# one, what is left of it beside arithmetic and moving. We think that a message takes 5 microseconds to begin, 30 over
# Ethernet.
EAGER, RECORDED = 29e-6, 2.5e-6
L4 = Machine("L4, bfloat16, eager", 0.5 * 121e12, 0.75 * 300e9, EAGER, width=2)
H100 = Machine("H100, bfloat16, eager", 0.5 * 989e12, 0.75 * 3.35e12, EAGER, width=2)
GRAPH = replace(H100, name="the same in a CUDA graph", start=RECORDED, overlaps=False)
EIGHT = replace(GRAPH, name="eight of them", devices=8, link=450e9, latency=5e-6)
# NVIDIA DGX H100, data sheet of 2023: a link of 400 Gbit/s to other machines for each of its eight GPUs. A batch of 16
# sequences has work for no more than 16.
CLUSTER = replace(EIGHT, name="16 of them in 2 machines", devices=16, link=400e9 / 8)
ETHERNET = replace(GRAPH, name="two of them, 10 Gbit/s apart", devices=2, link=10e9 / 8, latency=30e-6)


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operators and the bytes of all tensors that go in and come out; a view moves nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
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


def with_options(config: Config, options: dict[str, Any]) -> Config:
    """The options with some of them changed."""
    return replace(config, **options)


def make(config: Config, observations: str = "vector") -> Trainer:
    """A trainer on random data, ready for an update."""
    return make_trainer(SOURCES[observations], replace(config, envs=1, prefill=0, warmup=0))


def count_once(config: Config, observations: str = "vector") -> Cost:
    """Count one update as it is."""
    trainer = make(config, observations)
    trainer.train_step()  # the optimiser's averages begin to exist
    with FlopCounterMode(display=False) as flop, Traffic() as traffic:
        trainer.train_step()
    parameters = sum(p.numel() for part in trainer.learner.parts.values() for p in part.parameters())
    return Cost(flop.get_total_flops(), traffic.bytes, traffic.operators, parameters)


def count(config: Config, observations: str = "vector") -> Cost:
    """Count an update from eight small ones: what is linear in each of three sizes is known from two values of each."""
    corners = {
        sizes: count_once(with_options(config, dict(zip(SMALL, sizes, strict=True))), observations)
        for sizes in itertools.product(*SMALL.values())
    }

    def extended(what: Callable[[Cost], float], **other: int) -> float:
        values = {sizes: what(cost) for sizes, cost in corners.items()}
        for name, (low, high) in reversed(SMALL.items()):
            share = (other.get(name, getattr(config, name)) - low) / (high - low)
            rest = {sizes[:-1] for sizes in values}
            values = {r: values[*r, low] + share * (values[*r, high] - values[*r, low]) for r in rest}
        return values[()]

    any_one = next(iter(corners.values()))
    numbers = (extended(lambda c: c.flop), extended(lambda c: c.bytes), extended(lambda c: c.operators))
    return Cost(*numbers, any_one.parameters, fixed=extended(lambda c: c.bytes, batch_size=0))


def count_sizes(observations: str = "vector") -> dict[str, Cost]:
    """An update of every size: nano as it is, the others from parabolas through the narrow ones."""
    config = make_config(PRESET, size="size1m")
    narrow = [
        count(with_options(config, {width: n * getattr(config, width) for width in WIDTHS}), observations)
        for n in NARROW
    ]
    counts = {"nano": count(make_config(PRESET, size="nano"), observations)}
    for size, times in WIDER.items():
        flop, moved, started, parameters, fixed = (
            _parabola(values, times) for values in zip(*map(astuple, narrow), strict=True)
        )
        counts[size] = Cost(float(flop), float(moved), float(started), parameters, float(fixed))
    return counts


def _parabola(values: tuple[float, ...], at: float) -> int:
    """The value of the parabola that goes through `values` at NARROW; all are whole numbers."""
    shares = [math.prod((at - j) / (i - j) for j in NARROW if j != i) for i in NARROW]
    return round(sum(share * value for share, value in zip(shares, values, strict=True)))


def counted(size: str, observations: str = "vector") -> Cost:
    """An update of a size of DreamerV3, with its batch and horizon, as it was counted once.

    Raises:
        InputError: for a size or observations that were not counted.
    """
    kept: dict[str, dict[str, Any]] = json.loads((files("wm_tutorial.runs") / COUNTED).read_text())
    if observations not in kept:
        raise InputError(f"observations is {observations!r}; counted are {', '.join(kept)}.")
    if size not in kept[observations]:
        raise InputError(f"size is {size!r}; counted are {', '.join(kept[observations])}. Use count() for others.")
    return Cost(**kept[observations][size])


def here() -> Machine:
    """One core of this machine: its speed at matrices, at copying, and at starting the operators of an update.

    A start is what an operator takes in an update that has hardly a number to compute: modules and gradients come with
    it, so it is several times what it is in a bare loop.
    """
    a, b = torch.rand(2, 4 * 2**20)
    copying = time_in_turn({"copy": lambda: b.copy_(a)}, 20)["copy"]["cpu"]
    hollow = make_config(PRESET, size="nano", **HOLLOW)
    starting = measured(hollow, 5) / count_once(hollow).operators
    speed, bandwidth = 1e9 * matmul_speed(), 2 * a.numel() * 4 / copying
    return Machine("one core of this machine", speed, bandwidth, starting, overlaps=False)


def measured(config: Config, updates: int, observations: str = "vector") -> float:
    """CPU seconds of an update."""
    return time_in_turn({"update": make(config, observations).train_step}, updates)["update"]["cpu"]
