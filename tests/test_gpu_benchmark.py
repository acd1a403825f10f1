"""benchmarks/gpu.py, as far as a CPU can tell: every way gives the same update, and the one for a graph never waits."""

import json
import runpy
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from helpers import randomise, uniform
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from wm_tutorial.learner import Learner
from wm_tutorial.optim import LaProp

GPU = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "gpu.py"))
Captured, CapturableLaProp, Tolerance, Way = (GPU[n] for n in ("Captured", "CapturableLaProp", "Tolerance", "Way"))
# What makes Python wait for a device, or a device for Python: none of it fits into a graph.
WAITING = ("_local_scalar_dense", "is_nonzero", "nonzero", "lift_fresh", "equal", "masked_select")


class Waits(TorchDispatchMode):
    """Keeps the names of operators that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").partition(".")[0]
        self.found += [name] * (name in WAITING)
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def without_a_code_generator() -> Iterator[None]:
    """The compiler's front end: a C++ compiler takes a minute, and need not be there."""
    with patch.object(torch, "compile", partial(torch.compile, backend="aot_eager")):
        yield


def prepared(precision: str = "float32") -> tuple[Learner, Any]:
    """A tiny learner, its layers that start at zero filled, and a batch."""
    trainer = GPU["prepare"](GPU["options"]("size1m", "cpu", precision), Way(compiled=False, graph=False))
    randomise(trainer.agent)
    config = trainer.config
    batch, _ = trainer.replay.sample(config.batch_size, config.sequence_length, trainer.random.numpy)
    return trainer.learner, batch


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch.compile looks at it itself, in passing
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_without_a_gpu_the_command_proves_every_way_and_says_what_it_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], precision: str
) -> None:
    path = tmp_path / "new" / "gpu.json"
    with patch.object(torch.cuda, "is_available", lambda: False):
        GPU["main"](sizes=("size1m",), precision=precision, rounds=1, json_file=path)
    told, result = capsys.readouterr().out, json.loads(path.read_text())
    found = result["sizes"]["size1m"]
    ways = [str(way) for way in GPU["WAYS"]]
    assert list(found["milliseconds"]) == ways and min(found["milliseconds"].values()) > 0
    assert list(found["difference"]) == ways[1:]
    exact = found["difference"]["eager in a graph"]
    assert exact["losses"] <= 1e-6 and exact["gradients"] <= 1e-5  # nothing but the counting of updates differs
    assert exact["change"] <= 1e-5
    assert list(found["skipped"]) == ["CUDA graph"]
    assert result["tiny"] and "no GPU" in told.splitlines()[0] and "skipped: CUDA graph: no GPU here" in told
    head, _, published, row = told.splitlines()[1:5]
    assert head.count("|") == published.count("|") == row.count("|")
    assert "22.0" in published and "17.8" in published and "7,500" in published and "14.7" in published
    for milliseconds in found["milliseconds"].values():
        assert f"| {milliseconds:.1f} |" in row


def test_an_optimiser_that_counts_on_the_device_takes_the_same_steps() -> None:
    """Warm-up, both corrections and adaptive clipping included."""
    made = []
    for kind in (LaProp, CapturableLaProp):
        parameters = [nn.Parameter(uniform(4, 3, seed=0)), nn.Parameter(uniform(3, seed=1))]
        optimizer = kind(parameters, lr=0.1, warmup=3)
        for step in range(6):
            for i, parameter in enumerate(parameters):
                parameter.grad = uniform(*parameter.shape, seed=10 * step + i) * 10.0**i
            optimizer.step()
        made.append(parameters)
    for plain, capturable in zip(*made, strict=True):
        torch.testing.assert_close(capturable, plain, rtol=1e-6, atol=1e-7)
        assert not torch.equal(plain, uniform(*plain.shape, seed=plain.dim() % 2))


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_what_a_graph_would_record_never_waits(precision: str) -> None:
    learner, batch = prepared(precision)
    with Waits() as plain:
        learner.update(batch)
    assert "_local_scalar_dense" in plain.found  # the package's own update does
    captured = Captured(learner, batch)
    with Waits() as waits:
        captured.replay()
    assert waits.found == []


def test_recording_changes_nothing_and_the_batch_of_an_update_is_the_one_that_is_given() -> None:
    learner, batch = prepared()
    before = {name: tensor.clone() for name, tensor in learner.agent.state_dict().items()}
    captured = Captured(learner, batch)
    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.agent.state_dict().items())
    assert not any(tensor.any() for state in learner.optimizer.state.values() for tensor in state.values())
    other = replace(batch, reward=batch.reward + 5.0)
    losses = []
    for given in (batch, other):
        torch.manual_seed(0)
        losses.append(captured(given)["reward"])
    assert losses[0] != losses[1]
    assert torch.equal(captured.batch.reward, other.reward)


def test_another_update_is_told_from_the_same_one() -> None:
    learner, batch = prepared()
    plain = GPU["seen"](learner, lambda given: learner.update(given)[0], batch)
    assert GPU["difference"](plain, plain) == Tolerance(0.0, 0.0, 0.0)
    learner, batch = prepared()
    other = GPU["seen"](learner, lambda given: learner.update(replace(given, reward=given.reward + 1.0))[0], batch)
    apart, allowed = GPU["difference"](plain, other), GPU["TOLERANCES"][False, "float32"]
    assert apart.losses > allowed.losses and apart.gradients > allowed.gradients
    assert not GPU["within"](apart, allowed)
    assert not GPU["within"](Tolerance(0.0, float("nan"), 0.0), allowed)


def test_a_way_that_fails_or_has_no_time_is_told_and_the_others_are_measured() -> None:
    config = GPU["options"]("size1m", "cpu", "float32")

    def no_compiler(*_: Any, **__: Any) -> None:
        raise RuntimeError("no compiler\nand much more")

    with patch.object(torch, "compile", no_compiler):
        found = GPU["measure"](config, 1, float("inf"))
    assert list(found["milliseconds"]) == ["eager", "eager in a graph"]
    assert found["skipped"]["compiled"] == found["skipped"]["compiled in a graph"] == "RuntimeError: no compiler"
    found = GPU["measure"](config, 1, 0.0)
    assert found["milliseconds"] == {} and found["skipped"]["eager"] == "no time was left"
    result = {"sizes": {"size1m": found}, "tiny": True, "device": "CPU", "precision": "float32"}
    assert "| - | - | - | - | - | - |" in GPU["as_table"](result)
