"""What an update costs on paper: counted small, known large."""

import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from wm_tutorial.config import Config, make_config

COST = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "cost.py"))
EIGHT, GRAPH, H100 = COST["EIGHT"], COST["GRAPH"], COST["H100"]
Cost, Machine, Traffic, count, count_once = (COST[n] for n in ("Cost", "Machine", "Traffic", "count", "count_once"))

SMALL: dict[str, Any] = {
    "hidden": 8, "memory_size": 16, "memory_blocks": 2, "latent_size": 2, "latent_classes": 3, "layers": 1, "bins": 5,
}  # fmt: skip


def config(**options: int) -> Config:
    return replace(make_config("dreamer_v3", size="nano"), **SMALL, **options)


def test_eight_small_updates_tell_what_a_large_one_costs() -> None:
    asked = config(batch_size=4, sequence_length=7, horizon=5)
    told, counted = count(asked), count_once(asked)
    assert told.flop == pytest.approx(counted.flop) and counted.flop > 0
    assert told.operators == pytest.approx(counted.operators, abs=1)
    assert told.bytes == pytest.approx(counted.bytes, rel=1e-3)
    assert told.parameters == counted.parameters


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
    cost = Cost(flop=6e9, bytes=4e9, operators=1000, parameters=10**6)
    core = Machine("core", flops=1e9, bandwidth=2e9, start=1e-3, overlaps=False)
    assert core.seconds(cost) == 6.0 + 2.0 + 1.0
    assert replace(core, overlaps=True).seconds(cost) == 6.0
    assert replace(core, overlaps=True, width=2, flops=1e12).seconds(cost) == 1.0
    eight = replace(core, devices=8, link=1e6)
    assert eight.seconds(cost) == pytest.approx((6.0 + 2.0) / 8 + 1.0 + 2 * 7 / 8 * 4)


def test_a_small_model_leaves_a_gpu_idle_however_many_there_are() -> None:
    cost = count_once(config())
    assert H100.seconds(cost) == pytest.approx(cost.operators * H100.start)
    assert GRAPH.seconds(cost) == pytest.approx(cost.operators * GRAPH.start)
    assert EIGHT.seconds(cost) >= GRAPH.seconds(cost)
