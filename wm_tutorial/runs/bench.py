"""What one gradient update costs in seconds, arithmetic and memory, and how the cost grows with the work."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from statistics import median
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from wm_tutorial.config import Config, plain
from wm_tutorial.envs import EnvSource
from wm_tutorial.errors import InputError
from wm_tutorial.process import cpu_threads
from wm_tutorial.trainer import Trainer

# Operators that multiply matrices; convolutions are recognised by their name.
MATRIX_PRODUCTS = {f"aten::{name}" for name in ("mm", "addmm", "addmm_", "bmm", "baddbmm", "baddbmm_", "addbmm")}
# What bench doubles, and the options that say how large it is; longer sequences need a larger replay.
SIZES = {
    "sequence length": ("sequence_length", "capacity"),
    "horizon": ("horizon",),
    "batch size": ("batch_size",),
    "widths": ("hidden", "memory_size", "conv_depth"),
}

ActionKind = Literal["continuous", "discrete"]
Update = Callable[[], object]


class Noise(gym.Env[Any, Any]):
    """An environment of random numbers, whatever is done in it, in episodes without end.

    Observations are vectors (O,) or images (H, W, C); so many actions are discrete, or continuous in -1..1.
    """

    def __init__(self, observations: tuple[int, ...], actions: int, action_kind: ActionKind) -> None:
        image, discrete = len(observations) == 3, action_kind == "discrete"
        low, high, dtype = (0, 255, np.uint8) if image else (-1.0, 1.0, np.float32)
        self.observation_space = spaces.Box(low, high, observations, dtype)
        self.action_space = spaces.Discrete(actions) if discrete else spaces.Box(-1.0, 1.0, (actions,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin."""
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Go on."""
        return self.observation_space.sample(), self.np_random.normal(), False, False, {}


def make_trainer(source: EnvSource, config: Config) -> Trainer:
    """A trainer that is ready for `train_step`: its replay holds just the rows that one sequence needs."""
    rows = config.sequence_length + 1
    trainer = Trainer(source, replace(config, capacity=config.envs * rows))
    for _ in range(rows):
        trainer.collect()
    return trainer


def time_in_turn(updates: Mapping[str, Update], rounds: int, device: str = "cpu") -> dict[str, dict[str, float]]:
    """Median seconds of each update, after one round of warm-up: "cpu" of all CPU threads, "wall" on the clock.

    The updates take turns, so that a slow moment of the machine meets all of them alike.
    """
    wait = (lambda: None) if device == "cpu" else getattr(torch, device).synchronize
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in updates}
    for _ in range(1 + rounds):
        for name, update in updates.items():
            wait()
            cpu, wall = time.process_time(), time.perf_counter()
            update()
            wait()
            measured[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return {
        name: {"cpu": median(cpu for cpu, _ in pairs[1:]), "wall": median(wall for _, wall in pairs[1:])}
        for name, pairs in measured.items()
    }


def count_flop(update: Update) -> int:
    """Floating-point operations of an update's matrix products and convolutions, two for each multiply-add."""
    with FlopCounterMode(display=False) as counter:
        update()
    return int(counter.get_total_flops())


@contextmanager
def silent() -> Iterator[None]:
    """Inside, what libraries write to the error output is dropped: the profiler says when it begins and ends."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def matrix_share(update: Update, device: str = "cpu") -> float:
    """Which share of an update's time (on CUDA: the GPU's), in 0..1, goes into matrix products and convolutions.

    The profiler lengthens every operator a little: the share is larger in truth than here.
    """
    cuda = device == "cuda"
    with silent(), profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * cuda]) as profiler:
        update()
    spent = "self_device_time_total" if cuda else "self_cpu_time_total"
    seconds = {e.key: getattr(e, spent) for e in profiler.key_averages() if e.device_type.name == "CPU"}
    products = sum(took for name, took in seconds.items() if name in MATRIX_PRODUCTS or "conv" in name)
    return float(products / sum(seconds.values()))


def matmul_speed(device: str = "cpu", size: int = 1024) -> float:
    """GFLOP/s of this machine (of one core, if it is a CPU) on the product of two square float32 matrices."""
    a, b = torch.rand(2, size, size, device=device)
    seconds = time_in_turn({"product": partial(torch.mm, a, b)}, 20, device)["product"]
    return 2e-9 * size**3 / seconds["cpu" if device == "cpu" else "wall"]


def peak_memory(device: str = "cpu") -> float | None:
    """Most memory held so far in MB (10**6 bytes), by this process or by tensors on the GPU; None where unknown."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    if sys.platform == "win32" or device != "cpu":
        return None
    import resource  # Windows has no such module

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def doubled(config: Config) -> dict[str, Config]:
    """The options with one size at a time doubled."""
    return {
        f"{size} x 2": replace(config, **{name: 2 * getattr(config, name) for name in names})
        for size, names in SIZES.items()
    }


def bench(
    config: Config,
    updates: int = 10,
    observations: tuple[int, ...] = (24,),
    actions: int = 6,
    action_kind: ActionKind = "continuous",
) -> dict[str, Any]:
    """Measure `Trainer.train_step` on random data: `updates` of them, for observations and actions of these shapes.

    Returns:
        What was measured, ready for JSON. Memory is the peak of the whole process before and after the first updates:
        equal, if it has held more earlier on.

    Raises:
        InputError: if fewer than one update is asked for, or the shapes make no environment.
    """
    if updates < 1:
        raise InputError(f"bench was asked for {updates} updates; give at least 1.")
    source, device = partial(Noise, observations, actions, action_kind), config.device
    with cpu_threads(config.threads):
        before, given = peak_memory(device), make_trainer(source, config)
        time_in_turn({"given": given.train_step}, 1, device)  # the second has the optimiser's averages beside it
        memory = {"before": before, "peak": peak_memory(device)}
        larger = {name: make_trainer(source, variant).train_step for name, variant in doubled(config).items()}
        steps: dict[str, Update] = {"as given": given.train_step, **larger}
        flop = {name: count_flop(step) for name, step in steps.items()}
        seconds = time_in_turn(steps, updates, device)
        speed, share, threads = matmul_speed(device), matrix_share(given.train_step, device), torch.get_num_threads()
    return {
        "versions": {name: version(name) for name in ("wm_tutorial", "torch")},
        "threads": threads,
        "spaces": {"observations": list(observations), "actions": actions, "action_kind": action_kind},
        "config": plain(config),
        "updates": updates,
        "parameters": sum(p.numel() for part in given.learner.parts.values() for p in part.parameters()),
        "matmul_gflop_per_second": speed,
        "matrix_share": share,
        "memory_mb": memory,
        "clock": "cpu" if device == "cpu" else "wall",  # on a CPU what else it does must not count
        "costs": {name: seconds[name] | {"gflop": 1e-9 * flop[name]} for name in steps},
    }


def as_table(result: dict[str, Any]) -> str:
    """What was measured, for people: a summary, and a Markdown table of how the cost grows."""
    costs, memory, seconds = result["costs"], result["memory_mb"], result["clock"]
    given, speed = costs["as given"], result["matmul_gflop_per_second"]
    held = "unknown here" if memory["peak"] is None else "{peak:,.0f} MB, {before:,.0f} MB before".format(**memory)
    lines = [
        f"machine          {result['config']['device']}, {result['threads']} CPU threads, {speed:.0f} GFLOP/s",
        f"model            {result['parameters']:,} parameters",
        f"one update       {given['cpu']:.3f} s of CPU, {given['wall']:.3f} s on the clock",
        f"matrix products  {result['matrix_share']:.0%} of the time, {given['gflop']:.3g} GFLOP",
        f"peak memory      {held}",
        "",
        f"| | {seconds} seconds | updates per second | GFLOP | time ratio | work ratio | time / work |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, cost in costs.items():
        time_ratio, work_ratio = cost[seconds] / given[seconds], cost["gflop"] / given["gflop"]
        numbers = f"{cost[seconds]:.3f} | {1.0 / cost[seconds]:.2f} | {cost['gflop']:.3g}"
        lines.append(f"| {name} | {numbers} | {time_ratio:.2f} | {work_ratio:.2f} | {time_ratio / work_ratio:.2f} |")
    return "\n".join(lines)
