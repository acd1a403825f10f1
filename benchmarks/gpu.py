"""One update on an NVIDIA GPU: started operator by operator, with compiled steps, and as one CUDA graph.

    python benchmarks/gpu.py                     # size1m and size12m in bfloat16, below 8 minutes on one GPU
    python benchmarks/gpu.py --precision float32 --sizes size1m   # the same proof with much tighter tolerances

Every way of doing an update is first held against the plain one: from the same parameters, on the same batch, with the
same random numbers, the first losses and gradients must agree within `TOLERANCES`, and so must what three updates
change. Only then is it timed. Without a GPU all of this runs on the CPU with a tiny model, and without the graph.

A graph is recorded once and then replayed, so nothing in it may wait for the device or ask Python for a number again.
In the package four things do, and stand in the way of a graph:

- `learner.finite` reads each loss and gradient to refuse what is not finite. Here they are read after the update.
- `returns.lambda_returns` looks at its inputs to refuse nonsense, and copies lambda to the device.
- `optim.LaProp` counts updates in Python: the bias correction and the warm-up of the recorded update would stay those
  of its first replay. `CapturableLaProp` counts on the device.
- `learner.update` sets learning rates in Python. In these sizes they never change (`final_lr` is 1).

Random numbers are drawn from PyTorch's default generator of the device. That is safe: a graph takes seed and offset
from it at each replay and moves it on, so the same seed gives the numbers of the plain update. A generator that was
made by hand would have to be registered with the graph first.

Sources: PyTorch, "CUDA semantics: CUDA Graphs"; NVIDIA, "CUDA Graph Best Practice for PyTorch", quick checklist.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, cast
from unittest.mock import patch

import torch
import tyro
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from wm_tutorial import learner, returns
from wm_tutorial.config import Config, make_config
from wm_tutorial.data import Batch, State
from wm_tutorial.learner import Learner
from wm_tutorial.optim import LaProp, clip_by_share, laprop_direction
from wm_tutorial.process import devices
from wm_tutorial.runs.bench import Noise, make_trainer, silent, time_in_turn
from wm_tutorial.trainer import Trainer

ROOT = Path(__file__).parent.parent
OUT = ROOT / "book" / "results" / "bench"
SOURCE = partial(Noise, (24,), 6, "continuous")
SIZES = ("size1m", "size12m")
TINY: dict[str, Any] = {
    "hidden": 16, "memory_size": 32, "memory_blocks": 2, "latent_size": 4, "latent_classes": 3, "layers": 1, "bins": 15,
    "batch_size": 3, "sequence_length": 4, "horizon": 3,
}  # fmt: skip
SEED = 7
WARM_UP, PROVEN = 3, 3  # updates before a graph is recorded; updates that must change the same

# Published for size1m, batch 16 x 64, bfloat16, on an NVIDIA GB200: milliseconds, and what a profiler found in one
# update of the compiled scan. Its graph holds losses and gradients; the optimiser and the slow critic stay outside.
PUBLISHED = {"JAX, compiled": 22.0, "TorchRL, compiled scan in a graph": 17.8}
PUBLISHED_LAUNCHES, PUBLISHED_KERNELS = 7500, 14.7
SOURCE_OF_PUBLISHED = "https://github.com/pytorch/rl/pull/4216"

Update = Callable[[Batch], dict[str, float]]


@dataclass(frozen=True)
class Tolerance:
    """How far a way of doing an update may be from the plain one.

    losses     largest difference of a loss, over 1 + its size
    gradients  norm of the difference of a part's gradient, over the norm of the gradient
    change     the same for what three updates change in the parameters
    """

    losses: float
    gradients: float
    change: float


# A graph starts the same kernels, so that only sums in no fixed order may differ. Compiled steps round differently; in
# bfloat16 that is seen in the third digit, and now and then another class is drawn.
TOLERANCES: dict[tuple[bool, str], Tolerance] = {
    (False, "float32"): Tolerance(1e-5, 1e-4, 1e-2),
    (False, "bfloat16"): Tolerance(1e-4, 1e-3, 5e-2),
    (True, "float32"): Tolerance(1e-3, 1e-2, 1e-1),
    (True, "bfloat16"): Tolerance(5e-2, 3e-1, 1.0),
}


@dataclass(frozen=True)
class Way:
    """One way of doing an update."""

    compiled: bool
    graph: bool

    def __str__(self) -> str:
        """Its name in the table."""
        return ("compiled" if self.compiled else "eager") + (" in a graph" if self.graph else "")


# The quick ones first: what is left out when time runs out is what has to be compiled.
WAYS = (Way(False, False), Way(False, True), Way(True, False), Way(True, True))


# --- An update that waits for nothing ---------------------------------------------------------------------------------


class CapturableLaProp(LaProp):
    """LaProp that counts its updates on the device, so that a graph of it goes on counting."""

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:  # in 64 bits: 1 - 0.999 has few digits in 32
            state["updates"] = torch.zeros((), dtype=torch.float64, device=parameter.device)
            state["average"] = torch.zeros_like(parameter)
            state["average_square"] = torch.zeros_like(parameter)
        begun = (state["updates"] / group["warmup"]).clamp(max=1.0) if group["warmup"] else 1.0
        state["updates"] += 1
        gradient = clip_by_share(parameter.grad, parameter, group["clip"], group["smallest"])
        direction, average, average_square = laprop_direction(
            gradient, state["average"], state["average_square"], state["updates"], group["betas"], group["eps"]
        )
        state["average"].copy_(average)  # in place: a graph knows where they lie
        state["average_square"].copy_(average_square)
        parameter -= group["lr"] * begun * direction


@contextmanager
def waiting_for_nothing() -> Iterator[None]:
    """Inside, an update reads no number. Not by `parts.replaced`, under which the readable, slower loop runs."""

    def unread(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.detach().mean() for name, tensor in tensors.items()}

    with (
        patch.object(learner, "finite", unread),
        patch.object(returns, "_check", lambda *given: None),
    ):
        yield


def tensors(batch: Batch) -> list[Tensor]:
    """All tensors of a batch."""
    columns = [getattr(batch, f.name) for f in fields(batch)]
    return [tensor for x in columns for tensor in ((x.memory, x.latent) if isinstance(x, State) else (x,))]


def copied(batch: Batch) -> Batch:
    """The same numbers at places of their own."""
    columns = {f.name: getattr(batch, f.name) for f in fields(batch) if f.name != "start"}
    start = State(batch.start.memory.clone(), batch.start.latent.clone())
    return Batch(start=start, **{name: column.clone() for name, column in columns.items()})


class Captured:
    """The whole update of a learner as one CUDA graph; on a CPU, which has none, the same calls without it.

    What the graph reads and writes stays where it was when it was recorded: a batch is copied there, and the numbers
    are read from there. The parameters and the optimiser are as before once it is recorded.
    """

    def __init__(self, learner: Learner, batch: Batch) -> None:
        self.learner, self.batch = learner, copied(batch)
        groups = [{"params": group["params"], "lr": group["lr"]} for group in learner.optimizer.param_groups]
        learner.optimizer = CapturableLaProp(groups, warmup=learner.config.warmup)
        before = {name: tensor.clone() for name, tensor in learner.agent.state_dict().items()}
        self.replay = record(self._update, learner.config.device)
        learner.agent.load_state_dict(before)  # in place: the graph knows where they lie
        for state in learner.optimizer.state.values():
            for tensor in state.values():
                tensor.zero_()

    def _update(self) -> None:
        with waiting_for_nothing():
            numbers, self.states = self.learner.update(self.batch)
        self.numbers = cast(dict[str, Tensor], numbers)  # not read yet

    def __call__(self, batch: Batch) -> dict[str, float]:
        """One update on a batch; returns what `Learner.update` does."""
        for mine, given in zip(tensors(self.batch), tensors(batch), strict=True):
            mine.copy_(given)
        self.replay()
        values: list[float] = torch.stack(list(self.numbers.values())).tolist()
        return dict(zip(self.numbers, values, strict=True))


def record(update: Callable[[], None], device: str) -> Callable[[], object]:
    """Warm up, and give back what does `update` again: the replay of its graph, or on a CPU the function itself."""
    if device != "cuda":
        for _ in range(WARM_UP):
            update()
        return update
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            update()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        update()
    return graph.replay


# --- Equal ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What the first updates of one way give.

    losses     by name, of the first update
    gradients  by part, all in one vector, of the first update
    change     by part, what `PROVEN` updates change in the parameters
    """

    losses: dict[str, float]
    gradients: dict[str, Tensor]
    change: dict[str, Tensor]


def flat(found: Iterator[Tensor] | list[Tensor]) -> Tensor:
    """Many tensors as one vector, a copy."""
    return torch.cat([tensor.detach().flatten().float() for tensor in found])


def seen(learner: Learner, update: Update, batch: Batch) -> Seen:
    """Make the first updates, from a seed."""
    parts = learner.parts
    before = {name: flat(part.parameters()) for name, part in parts.items()}
    torch.manual_seed(SEED)
    numbers = update(batch)
    gradients = {name: flat([p.grad for p in part.parameters() if p.grad is not None]) for name, part in parts.items()}
    for _ in range(PROVEN - 1):
        update(batch)
    change = {name: flat(part.parameters()) - before[name] for name, part in parts.items()}
    losses = {name: numbers[name] for name in learner.scales if name in numbers}
    return Seen(losses, gradients, change)


def difference(plain: Seen, other: Seen) -> Tolerance:
    """How far the other is from the plain one; infinite if it has a number that is none."""

    def relative(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
        return max(float((b[name] - a[name]).norm() / a[name].norm().clamp(min=1e-30)) for name in a)

    losses = max(abs(other.losses[name] - loss) / (1.0 + abs(loss)) for name, loss in plain.losses.items())
    return Tolerance(losses, relative(plain.gradients, other.gradients), relative(plain.change, other.change))


def within(found: Tolerance, allowed: Tolerance) -> bool:
    """Whether every difference is at most what is allowed; one that is no number is not."""
    return all(getattr(found, f.name) <= getattr(allowed, f.name) for f in fields(Tolerance))


# --- Measured ---------------------------------------------------------------------------------------------------------


def kernels(update: Callable[[], object], device: str) -> tuple[int, float]:
    """How many kernels one update starts, and how many milliseconds they take; on a CPU, of operators."""
    cuda = device == "cuda"
    with silent(), profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * cuda]) as profiler:
        update()
    spent = "self_device_time_total" if cuda else "self_cpu_time_total"
    events = [event for event in profiler.key_averages() if event.device_type.name == ("CUDA" if cuda else "CPU")]
    return sum(event.count for event in events), sum(getattr(event, spent) for event in events) / 1e3


def prepare(config: Config, way: Way) -> Trainer:
    """A trainer with the parameters that its seed gives, whatever the way."""
    return make_trainer(SOURCE, replace(config, compile=way.compiled))


def measure(config: Config, rounds: int, end: float) -> dict[str, Any]:
    """Prove and time every way of doing an update of one size, as long as it is not later than `end`.

    Returns:
        Ready for JSON: by the name of the way milliseconds, differences and what was skipped; kernels of the plain one.
    """
    device = config.device
    result: dict[str, Any] = {"milliseconds": {}, "difference": {}, "allowed": {}, "skipped": {}}
    plain: Seen | None = None
    updates: dict[str, Callable[[], object]] = {}
    batch: Batch | None = None
    for way in WAYS:
        name = str(way)
        if time.perf_counter() > end:
            result["skipped"][name] = "no time was left"
            continue
        try:
            trainer = prepare(config, way)
            if batch is None:
                sizes = trainer.config.batch_size, trainer.config.sequence_length
                batch, _ = trainer.replay.sample(*sizes, trainer.random.numpy, device)
            update = update_of(trainer.learner, way, batch)
            found = seen(trainer.learner, update, batch)
        except Exception as error:  # no compiler, or an operator that a graph cannot hold: the others are still told
            result["skipped"][name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
            continue
        if plain is None:
            plain = found
            result["launches"], result["kernel_milliseconds"] = kernels(partial(update, batch), device)
            result["parameters"] = sum(p.numel() for part in trainer.learner.parts.values() for p in part.parameters())
        else:
            apart, allowed = difference(plain, found), TOLERANCES[way.compiled, config.precision]
            result["difference"][name], result["allowed"][name] = vars(apart), vars(allowed)
            if not within(apart, allowed):
                result["skipped"][name] = f"differs from eager by more than is allowed: {apart}"
                continue
        updates[name] = partial(update, batch)
    seconds = time_in_turn(updates, rounds, device)
    result["milliseconds"] = {name: 1e3 * took["wall"] for name, took in seconds.items()}
    if device != "cuda":
        result["skipped"]["CUDA graph"] = "no GPU here: what a graph would record was called step by step"
    return result


def update_of(learner: Learner, way: Way, batch: Batch) -> Update:
    """The update of a learner in one way."""
    return Captured(learner, batch) if way.graph else lambda given: learner.update(given)[0]


def options(size: str, device: str, precision: Literal["bfloat16", "float32"]) -> Config:
    """Of one size; on a CPU of a tiny one."""
    tiny = {} if device == "cuda" else TINY
    return make_config("dreamer_v3", size=size, envs=4, prefill=0, device=device, precision=precision, **tiny)


def as_table(result: dict[str, Any]) -> str:
    """One row for each size, below what is published."""
    ways = [str(way) for way in WAYS]
    lines = [
        f"| update, batch 16 x 64 | {' | '.join(f'{way}, ms' for way in ways)} | kernels | they take, ms | source |",
        "|---|" + "---|" * (len(ways) + 3),
        f"| size1m, GB200, published | JAX, compiled: {PUBLISHED['JAX, compiled']} | - | - | TorchRL, compiled scan: "
        f"{PUBLISHED['TorchRL, compiled scan in a graph']} | {PUBLISHED_LAUNCHES:,} | {PUBLISHED_KERNELS} | "
        f"{SOURCE_OF_PUBLISHED} |",
    ]
    for size, found in result["sizes"].items():
        took = " | ".join(f"{found['milliseconds'][w]:.1f}" if w in found["milliseconds"] else "-" for w in ways)
        known = f"{found['launches']:,} | {found['kernel_milliseconds']:.1f}" if "launches" in found else "- | -"
        what = f"{'a tiny model' if result['tiny'] else size}, {result['device']}, {result['precision']}"
        lines.append(f"| {what} | {took} | {known} | benchmarks/gpu.py |")
    for size, found in result["sizes"].items():
        lines += [f"{size}, skipped: {name}: {why}" for name, why in found["skipped"].items()]
        lines += [
            f"{size}, {name}: losses differ by {apart['losses']:.1e}, gradients by {apart['gradients']:.1e}, three "
            f"updates by {apart['change']:.1e}"
            for name, apart in found["difference"].items()
        ]
    return "\n".join(lines)


def main(
    sizes: tuple[str, ...] = SIZES,
    precision: Literal["bfloat16", "float32"] = "bfloat16",
    rounds: int = 20,
    minutes: float = 6.0,
    json_file: Path | None = None,
) -> None:
    """Measure, print, write.

    Args:
        sizes: of the preset dreamer_v3.
        precision: of matrix products and hidden layers.
        rounds: how many updates of each way are timed.
        minutes: after which no further way is begun; one that is begun ends within about two.
        json_file: where the numbers go; without it, book/results/bench/gpu.json if there is a GPU.
    """
    started = time.perf_counter()
    device = "cuda" if "cuda" in devices() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    if device == "cpu":
        print("PyTorch finds no GPU here: a tiny model on the CPU, without the graph. Times mean nothing.")
    result: dict[str, Any] = {
        "versions": {package: version(package) for package in ("wm_tutorial", "torch")},
        "cuda": torch.version.cuda, "device": name, "tiny": device != "cuda", "precision": precision, "sizes": {},
    }  # fmt: skip
    path = json_file or (OUT / "gpu.json" if device == "cuda" else None)
    for size in sizes:
        result["sizes"][size] = measure(options(size, device, precision), rounds, started + 60 * minutes)
        if path:  # after each size: what was measured stays if the next one is cut off
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")
    print(as_table(result))


if __name__ == "__main__":
    tyro.cli(main)
