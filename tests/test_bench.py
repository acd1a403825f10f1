"""What an update costs: arithmetic that can be counted by hand, shares, tables, and the command."""

import json
import os
import re
import runpy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from scripted import tiny

from wm_tutorial import cli
from wm_tutorial.config import Config, from_plain
from wm_tutorial.errors import InputError
from wm_tutorial.runs import bench

RSSM: dict[str, Any] = {"memory": "rssm", "memory_size": 16, "latent": "categorical", "imagined_starts": 0}
SOURCE = partial(bench.Noise, (5,), 2, "continuous")


def flop(config: Config) -> int:
    """Of one update."""
    return bench.count_flop(bench.make_trainer(SOURCE, config).train_step)


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    return bench.bench(tiny(**RSSM), updates=2, observations=(5,), actions=2)


# --- Counting ---------------------------------------------------------------------------------------------------------


def test_a_multiply_add_counts_twice_forwards_and_backwards() -> None:
    a, b = torch.rand(3, 4), torch.rand(4, 5, requires_grad=True)
    assert bench.count_flop(lambda: a @ b) == 2 * 3 * 4 * 5
    assert bench.count_flop(lambda: (a @ b).sum().backward()) == 2 * (2 * 3 * 4 * 5)


@pytest.mark.parametrize("options", [RSSM, {"imagined_starts": 0}, {**RSSM, "replay_critic_scale": 0.3}])
def test_twice_the_batch_is_twice_the_arithmetic(options: dict[str, Any]) -> None:
    config = tiny(**options)
    assert flop(replace(config, batch_size=4)) == 2 * flop(config)


def test_twice_the_sequence_length_is_twice_the_arithmetic() -> None:
    """Exactly so without memory. With one, no gradient goes back beyond row 0: the first row costs a little less."""
    config = tiny(imagined_starts=0)
    assert flop(replace(config, sequence_length=8)) == 2 * flop(config)
    config = tiny(**RSSM)
    assert 2.0 < flop(replace(config, sequence_length=8)) / flop(config) < 2.1


def test_each_further_imagined_step_is_the_same_arithmetic() -> None:
    one, two, three = (flop(tiny(**RSSM, horizon=horizon)) for horizon in (1, 2, 3))
    assert three - two == two - one > 0


# --- Timing -----------------------------------------------------------------------------------------------------------


def test_updates_take_turns_and_the_first_round_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = 0.0, []

    def takes(name: str, *lengths: float) -> Callable[[], None]:
        left = iter(lengths)

        def update() -> None:
            nonlocal now
            calls.append(name)
            now += next(left)

        return update

    monkeypatch.setattr("time.process_time", lambda: now)
    monkeypatch.setattr("time.perf_counter", lambda: 10.0 * now)
    updates = {"a": takes("a", 900.0, 1.0, 8.0, 2.0), "b": takes("b", 700.0, 4.0, 4.0, 5.0)}
    assert bench.time_in_turn(updates, 3) == {"a": {"cpu": 2.0, "wall": 20.0}, "b": {"cpu": 4.0, "wall": 40.0}}
    assert calls == ["a", "b"] * 4


def test_the_share_of_matrix_products_is_large_where_there_is_little_else() -> None:
    a = torch.rand(300, 300)
    assert bench.matrix_share(lambda: a @ a @ a) > 0.8
    assert bench.matrix_share(lambda: a.exp().sin()) == 0.0
    image, kernel = torch.rand(1, 3, 64, 64), torch.rand(8, 3, 5, 5, requires_grad=True)
    assert bench.matrix_share(lambda: torch.conv2d(image, kernel).sum().backward()) > 0.5


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says it twice")
def test_memory_is_what_the_process_held_at_most() -> None:
    peak = bench.peak_memory()
    kib = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert kib and peak
    assert 0.95 < peak / (int(kib[1]) * 1024 / 1e6) < 10  # more, if whoever started this process was larger


# --- The environment --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("observations", "kind", "obs_space", "action_space"),
    [
        ((5,), "continuous", Box(-1.0, 1.0, (5,), np.float32), Box(-1.0, 1.0, (2,), np.float32)),
        ((8, 9, 3), "discrete", Box(0, 255, (8, 9, 3), np.uint8), Discrete(2)),
    ],
)
def test_noise_has_the_shapes_asked_for(observations: Any, kind: Any, obs_space: Any, action_space: Any) -> None:
    env = bench.Noise(observations, 2, kind)
    assert (env.observation_space, env.action_space) == (obs_space, action_space)
    first, _ = env.reset(seed=3)
    second, reward, terminated, truncated, _ = env.step(env.action_space.sample())
    assert first in obs_space and second in obs_space and (first != second).any()
    assert isinstance(reward, float) and not terminated and not truncated
    assert (env.reset(seed=3)[0] == first).all()


# --- The whole --------------------------------------------------------------------------------------------------------


def test_the_result_holds_what_was_measured(result: dict[str, Any]) -> None:
    config = tiny(**RSSM)
    sizes = ["sequence length x 2", "horizon x 2", "batch size x 2", "widths x 2"]
    assert list(result["costs"]) == ["as given", *sizes]
    for cost in result["costs"].values():
        assert cost["cpu"] > 0 and cost["wall"] > 0
    given = result["costs"]["as given"]
    assert given["gflop"] == pytest.approx(1e-9 * flop(config))
    assert result["costs"]["batch size x 2"]["gflop"] == pytest.approx(2 * given["gflop"])
    assert all(result["costs"][size]["gflop"] > given["gflop"] for size in sizes)
    assert 0 < result["matrix_share"] < 1
    assert result["matmul_gflop_per_second"] > 0.1
    assert 0 < result["memory_mb"]["before"] <= result["memory_mb"]["peak"]
    assert from_plain(result["config"]) == config
    parts = bench.make_trainer(SOURCE, config).learner.parts.values()
    assert result["parameters"] == sum(p.numel() for part in parts for p in part.parameters())


def test_the_result_survives_json(result: dict[str, Any]) -> None:
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_the_table_gives_time_over_work() -> None:
    costs = {"as given": {"cpu": 0.5, "wall": 0.7, "gflop": 8.0}, "all x 2": {"cpu": 1.5, "wall": 9.0, "gflop": 16.0}}
    made_up = {
        "costs": costs, "clock": "cpu", "memory_mb": {"before": 270.4, "peak": 1234.6}, "config": {"device": "cpu"},
        "threads": 1, "matmul_gflop_per_second": 99.6, "parameters": 640_867, "matrix_share": 0.456,
    }  # fmt: skip
    text = bench.as_table(made_up)
    for expected in ("100 GFLOP/s", "640,867", "0.500 s of CPU", "46% of the time", "1,235 MB, 270 MB before"):
        assert expected in text
    assert text.splitlines()[-2:] == [
        "| as given | 0.500 | 2.00 | 8 | 1.00 | 1.00 | 1.00 |",
        "| all x 2 | 1.500 | 0.67 | 16 | 3.00 | 2.00 | 1.50 |",
    ]
    made_up["clock"], made_up["memory_mb"] = "wall", {"before": None, "peak": None}
    text = bench.as_table(made_up)
    assert "wall seconds" in text and "9.000" in text and "unknown" in text


@pytest.mark.parametrize(("options", "expected"), [({"updates": 0}, "at least 1"), ({"actions": 0}, "action space")])
def test_what_cannot_be_measured_is_explained(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        bench.bench(tiny(), **options)


def test_the_command_measures_what_it_was_asked_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, result: dict[str, Any]
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(bench, "bench", lambda *arguments: asked.append(arguments) or result)
    words = "bench --updates 7 --observations 8 9 3 --actions 4 --action-kind discrete --horizon 3 --json"
    cli.command_line([*words.split(), str(tmp_path / "new" / "cost.json")])()
    assert asked == [(replace(Config(), horizon=3), 7, (8, 9, 3), 4, "discrete")]
    assert capsys.readouterr().out == bench.as_table(result) + "\n"
    assert json.loads((tmp_path / "new" / "cost.json").read_text()) == result


def test_the_side_by_side_benchmark_measures_the_reference_s_smallest_size() -> None:
    """Its other side needs TorchRL, which the tests do not."""
    benchmark = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "torchrl_dreamer_v3.py"))
    parameters, update = benchmark["this_package"]()
    assert parameters == 640_867
    assert callable(update)


def test_the_profiler_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    a = torch.rand(8, 8)
    with bench.silent():
        os.write(2, b"noise of a library\n")
    bench.matrix_share(lambda: a @ a)
    os.write(2, b"heard again\n")
    assert capfd.readouterr().err == "heard again\n"
