"""benchmarks/speed.py: two trees in turn, what is said of them, and the share of collecting."""

import json
import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest
from scripted import tiny

from wm_tutorial.config import plain
from wm_tutorial.runs import bench

ROOT = Path(__file__).parent.parent
SPEED = runpy.run_path(str(ROOT / "benchmarks" / "speed.py"))


def test_two_trees_take_turns_on_the_same_options_and_make_the_same_update() -> None:
    """One side is told an option that it does not know: it says so, and goes on without it."""
    options = {**plain(tiny(memory="rssm", memory_size=16, imagined_starts=0)), "never_heard_of": 1}
    sides = SPEED["in_turn"]({"here": ROOT, "again": ROOT}, options, SPEED["SPACES"], updates=2)
    assert sides["here"]["first"] == pytest.approx(sides["again"]["first"], rel=1e-5)  # sums may differ in order
    assert len(sides["here"]["first"]) > 5
    for side in sides.values():
        assert side["unknown"] == ["never_heard_of"]
        assert len(side["seconds"]) == 2 and min(side["seconds"]) > 0
        assert side["peak_mb"] is None or side["peak_mb"] > 50


def test_a_ratio_is_taken_round_by_round() -> None:
    """A slow moment of the machine meets both sides of a round, and leaves the ratio as it is."""
    assert SPEED["ratio"]([1.0, 10.0, 2.0], [2.0, 20.0, 4.0]) == [0.5, 0.5, 0.5]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no repository, no commits")
def test_the_tree_of_a_commit_is_there_and_then_gone() -> None:
    with SPEED["tree_of"]("HEAD") as tree:
        assert (tree / "wm_tutorial" / "learner.py").exists()
    assert not tree.exists()
    listed = subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert str(tree) not in listed.stdout
    with pytest.raises(SystemExit, match="cannot be checked out"), SPEED["tree_of"]("no-such-commit"):
        pass


def test_collecting_is_a_share_of_the_steps_and_the_updates_they_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of 4 environments takes 40 ms, so one environment step 10 ms; with it come 0.3 updates of 300 ms."""
    took = {"4": {"cpu": 0.04}, "16": {"cpu": 0.32}}
    monkeypatch.setattr(bench, "time_in_turn", lambda steps, rounds: {name: took[name] for name in steps})
    found = SPEED["collect"](rounds=3, update=0.3)
    assert found["4"]["steps_per_second"] == pytest.approx(100) and found["4"]["share"] == pytest.approx(0.1)
    assert found["16"]["steps_per_second"] == pytest.approx(50) and found["16"]["share"] == pytest.approx(2 / 11)


def test_the_table_says_what_stands_beside_what() -> None:
    side: dict[str, Any] = {"median": 0.1, "first": {"reward": 4.0}, "peak_mb": 300.0}
    old = {**side, "median": 0.2, "first": {"reward": 4.5}}
    beside = {"same_run": False, "version": "0.14.1", "ratio": [0.65, 0.68, 0.72], "memory_ratio": 0.51}
    text = SPEED["as_table"]({
        "nano": {"sides": {"here": side, SPEED["COMMIT"]: old}, "ratio": [0.49, 0.5, 0.51]},
        "size1m": {"here": side, "torchrl": beside},
        "collect": {str(n): {"steps_per_second": 1234.0, "share": 0.07} for n in SPEED["COUNTS"]},
    })  # fmt: skip
    for line in (
        "| nano, one update | 100 ms | 912dddd: 200 ms | 0.500 (0.490 to 0.510) |",
        "| size1m, one update | 0.100 s | TorchRL 0.14.1, measured before | 0.68 (0.65 to 0.72) |",
        "| size1m, peak memory | 300 MB | TorchRL 0.14.1, measured before | 0.51 |",
        "| collecting, 16 environments | 1,234 steps a second | of a run's time | 0.070 |",
        "| reward | 4 | 4.5 |",
    ):
        assert line in text.splitlines()


def test_the_readme_tells_what_was_measured() -> None:
    """Its sentences about cost are written by hand; their numbers are those of the files."""
    bench_folder = ROOT / "book" / "results" / "bench"
    size1m = json.loads((bench_folder / "size1m.json").read_text())
    beside = json.loads((bench_folder / "torchrl.json").read_text())
    theirs, ours = (beside["sides"][side] for side in ("torchrl", "wm_tutorial"))
    low, middle, high = beside["ratio"]
    told = " ".join((ROOT / "README.md").read_text().split())
    for words in (
        f"{size1m['parameters']:,} parameters",
        f"takes {size1m['costs']['as given']['cpu']:.2f} CPU seconds on one core that multiplies matrices at "
        f"{size1m['matmul_gflop_per_second']:.0f} GFLOP/s",
        f"and {size1m['memory_mb']['peak']:.0f} MB.",
        f"TorchRL {beside['versions']['torchrl']}'s losses",
        f"take {theirs['median']:.2f} s beside our {ours['median']:.2f}: a ratio of {middle:.2f} round by round, "
        f"quartiles {low:.2f} and {high:.2f}, with {ours['peak_mb'] / theirs['peak_mb']:.2f} of its memory",
    ):
        assert words in told
