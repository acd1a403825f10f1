"""What an update costs on paper: counted small, known large; and what each machine would take for it."""

import json
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from wm_tutorial.config import Config, make_config
from wm_tutorial.errors import InputError
from wm_tutorial.runs import cost
from wm_tutorial.runs.cost import (
    CLUSTER,
    CORE,
    EIGHT,
    ETHERNET,
    GRAPH,
    H100,
    Cost,
    Machine,
    Traffic,
    count,
    count_once,
    counted,
    ring_seconds,
)

SMALL: dict[str, Any] = {
    "hidden": 8, "memory_size": 16, "memory_blocks": 2, "latent_size": 2, "latent_classes": 3, "layers": 1, "bins": 5,
}  # fmt: skip


def config(**options: int) -> Config:
    return replace(make_config("dreamer_v3", size="nano"), **(SMALL | options))


def test_eight_small_updates_tell_what_a_large_one_costs() -> None:
    asked = config(batch_size=4, sequence_length=7, horizon=5)
    told, once = count(asked), count_once(asked)
    assert told.flop == pytest.approx(once.flop) and once.flop > 0
    assert told.operators == pytest.approx(once.operators, abs=1)
    assert told.bytes == pytest.approx(once.bytes, rel=1e-3)
    assert told.parameters == once.parameters
    twice = count_once(replace(asked, batch_size=8))
    assert twice.bytes - once.bytes == pytest.approx(told.bytes - told.fixed, rel=1e-3)


def test_operators_move_what_goes_in_and_what_comes_out_and_views_nothing() -> None:
    a, b = torch.zeros(4, 3), torch.zeros(3)
    with Traffic() as traffic:
        a.T.reshape(12)[:1]
        assert (traffic.operators, traffic.bytes) == (1, 2 * 48)  # a transposed array is copied to be reshaped
        a + b
        assert (traffic.operators, traffic.bytes) == (2, 2 * 48 + 48 + 12 + 48)
        a.add_(b)
        assert traffic.operators == 3


def test_a_machine_is_as_slow_as_what_it_has_to_wait_for() -> None:
    one = Cost(flop=6e9, bytes=4e9, operators=1000, parameters=10**6)
    core = Machine("core", flops=1e9, bandwidth=2e9, start=1e-3, overlaps=False)
    assert core.terms(one) == {"arithmetic": 6.0, "moving": 2.0, "starting": 1.0, "summing": 0.0}
    assert core.seconds(one) == 6.0 + 2.0 + 1.0 and core.bound(one) == "arithmetic"
    assert replace(core, overlaps=True).seconds(one) == 6.0
    assert replace(core, overlaps=True, width=2, flops=1e12).seconds(one) == 1.0
    half = replace(core, devices=2, width=2)
    assert half.terms(replace(one, fixed=1e9))["moving"] == (1e9 + 3e9 / 2 / 2) / 2e9  # weights are on both, and wide
    eight = replace(core, devices=8, link=1e6)
    assert eight.seconds(one) == pytest.approx((6.0 + 2.0) / 8 + 1.0 + 2 * 7 / 8 * 4) and eight.bound(one) == "summing"
    assert replace(eight, latency=0.5).seconds(one) == pytest.approx(eight.seconds(one) + 14 * 0.5)


def test_a_small_model_leaves_a_gpu_idle_however_many_there_are() -> None:
    one = count_once(config())
    assert H100.seconds(one) == pytest.approx(one.operators * H100.start) and H100.bound(one) == "starting"
    assert GRAPH.bound(one) == "starting"
    assert 0.98 * GRAPH.seconds(one) < EIGHT.seconds(one) < 1.02 * GRAPH.seconds(one)


# --- Counts that are kept ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("observations", cost.SOURCES)
def test_what_was_counted_is_what_the_code_costs(observations: str) -> None:
    """Sums are taken by other operators on other machines, so bytes and operators are held less tightly."""
    anew, kept = count(make_config("dreamer_v3", size="nano"), observations), counted("nano", observations)
    assert (anew.flop, anew.parameters) == (kept.flop, kept.parameters)
    assert anew.operators == pytest.approx(kept.operators, rel=0.02)
    assert anew.bytes == pytest.approx(kept.bytes, rel=0.02)
    assert anew.fixed == pytest.approx(kept.fixed, rel=0.05) and 0 < kept.fixed < kept.bytes


def test_the_sizes_have_the_parameters_of_the_reference() -> None:
    """Counted from the reference's layers: its walker, and Atari with 18 actions, here in every size."""
    vectors = (640_867, 9_738_019, 21_782_947, 38_612_003, 86_622_499, 153_769_507, 345_473_059)
    images = (688_004, 10_498_772, 23_496_244, 41_659_284, 93_482_068, 165_967_124, 372_924_052)
    for observations, expected in (("vector", vectors), ("image", images)):
        assert tuple(counted(size, observations).parameters for size in cost.SIZES[1:]) == expected


def test_a_parabola_through_narrow_models_tells_a_wider_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here one six times as wide, as size25m is beside size1m; nothing is as wide as in the reference."""
    narrow = {"memory_size": 16, "memory_blocks": 2, "hidden": 8, "latent_classes": 2}
    base = config(batch_size=2, sequence_length=3, horizon=2, **narrow)
    wide = cost.with_options(base, {width: 6 * getattr(base, width) for width in cost.WIDTHS})
    monkeypatch.setattr(cost, "make_config", lambda preset, size: base)
    monkeypatch.setattr(cost, "count", count_once)
    for observations in cost.SOURCES:
        told, once = cost.count_sizes(observations)["size25m"], count_once(wide, observations)
        assert (told.flop, told.parameters) == (pytest.approx(once.flop, rel=1e-9), once.parameters)
        assert told.bytes == pytest.approx(once.bytes, rel=0.02)
        assert told.operators == pytest.approx(once.operators, rel=0.02)


def test_arithmetic_grows_with_the_model_and_the_number_of_operators_does_not() -> None:
    """From size1m on all sizes have the same layers, only wider ones."""
    for observations in cost.SOURCES:
        sizes = [counted(size, observations) for size in cost.SIZES[1:]]
        starts = [one.operators for one in sizes]
        assert max(starts) < 1.03 * min(starts)
        ratios = [one.flop / one.parameters for one in sizes]
        assert max(ratios) < 1.5 * min(ratios)


def test_a_size_that_was_not_counted_is_named() -> None:
    with pytest.raises(InputError, match="size is 'size2m'; counted are nano, size1m"):
        counted("size2m")
    with pytest.raises(InputError, match="observations is 'sound'; counted are vector, image"):
        counted("nano", "sound")


# --- Several devices --------------------------------------------------------------------------------------------------


def passed_round(arrays: list[list[float]]) -> tuple[list[list[float]], list[int]]:
    """A ring that sums: each device has one array, cut into as many pieces as there are devices.

    Returns what each has in the end, and how many numbers each has sent.
    """
    n, held, sent = len(arrays), [list(array) for array in arrays], [0] * len(arrays)
    size = len(arrays[0]) // n
    for turn in range(2 * (n - 1)):
        adds = turn < n - 1
        messages = []
        for device in range(n):
            piece = (device - turn) % n if adds else (device + 1 - (turn - n + 1)) % n
            messages.append((piece, held[device][piece * size : (piece + 1) * size]))
            sent[device] += size
        for device, (piece, numbers) in enumerate(messages):
            after, place = held[(device + 1) % n], slice(piece * size, (piece + 1) * size)
            after[place] = [a + b for a, b in zip(after[place], numbers, strict=True)] if adds else numbers
    return held, sent


@pytest.mark.parametrize("devices", [2, 3, 8])
def test_a_ring_sums_in_the_seconds_that_are_told(devices: int) -> None:
    arrays = [[float(10 * d + i) for i in range(4 * devices)] for d in range(devices)]
    held, sent = passed_round(arrays)
    total = [sum(column) for column in zip(*arrays, strict=True)]
    assert held == [total] * devices
    (numbers,) = set(sent)
    assert ring_seconds(4 * len(total), devices, link=1.0) == pytest.approx(4 * numbers)
    assert ring_seconds(0, devices, link=1.0, latency=0.25) == 2 * (devices - 1) * 0.25
    assert ring_seconds(4 * len(total), devices, link=0.0) == 0.0


def test_starts_are_what_was_measured_on_a_gpu() -> None:
    """Both numbers are read off size1m; an update 15 times as large is then foretold within a twentieth.

    Were the parts of a recorded update to overlap, it would not be: the longest of them is the same for both.
    """
    path = Path(__file__).parent.parent / "book" / "results" / "bench" / "gpu.json"
    sizes = json.loads(path.read_text())["sizes"]
    small, large = counted("size1m"), counted("size12m")
    for machine, way in ((H100, "eager"), (GRAPH, "eager in a graph")):
        took = {size: found["milliseconds"][way] / 1000 for size, found in sizes.items()}
        busy = 0 if machine.overlaps else sum(machine.terms(small)[term] for term in ("arithmetic", "moving"))
        assert machine.start == pytest.approx((took["size1m"] - busy) / small.operators, rel=0.02)
        assert machine.seconds(large) == pytest.approx(took["size12m"], rel=0.05)
    assert replace(GRAPH, overlaps=True).seconds(large) < 0.85 * took["size12m"]


def test_more_machines_help_the_largest_size_and_not_the_smallest() -> None:
    small, large = counted("nano"), counted("size400m")
    assert CLUSTER.seconds(small) > GRAPH.seconds(small) > EIGHT.seconds(small) > 0.98 * GRAPH.seconds(small)
    assert ETHERNET.seconds(small) > GRAPH.seconds(small) and ETHERNET.seconds(large) > GRAPH.seconds(large)
    assert EIGHT.seconds(large) < 0.85 * GRAPH.seconds(large) < CLUSTER.seconds(large)
    assert CORE.seconds(small) < H100.seconds(small) * 4 and CORE.seconds(large) > 100 * H100.seconds(large)


# --- The command ------------------------------------------------------------------------------------------------------


def test_the_command_prints_a_row_for_each_size(capsys: pytest.CaptureFixture[str]) -> None:
    command = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "cost.py"))
    command["main"](sizes=("nano",), measure=1)
    head, columns, _, row = capsys.readouterr().out.splitlines()
    assert head.startswith("one core of this machine: ") and "GFLOP/s" in head
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert len(cells) == columns.count("|") - 1 and cells[:3] == ["nano", "269,667", "3.06"]
    assert cells[-1].endswith(" ms")


def test_counts_are_kept_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "cost.py"))
    one = Cost(flop=1.0, bytes=2.0, operators=3.0, parameters=4)
    monkeypatch.setattr(cost, "count_sizes", lambda observations: {"nano": one})
    (tmp_path / "runs").mkdir()
    monkeypatch.setattr(command["wm_tutorial"], "__file__", str(tmp_path / "__init__.py"))
    command["main"](save_counts=True)
    monkeypatch.setattr(cost, "files", lambda name: tmp_path / "runs")
    assert counted("nano") == counted("nano", "image") == one
