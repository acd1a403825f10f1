"""benchmarks/throughput.py, as far as a CPU can tell: it counts what a run would do, and says what it could not."""

import json
import runpy
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from wm_tutorial.trainer import Trainer

PATH = Path(__file__).parent.parent / "benchmarks" / "throughput.py"
BENCHMARK = runpy.run_path(str(PATH))
ROWS, Throughput = BENCHMARK["ROWS"], BENCHMARK["Throughput"]


@pytest.mark.parametrize("envs", [2, ROWS + 1])
def test_a_block_collects_and_learns_as_often_as_a_run_does(envs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds of block and the mixed one do as much, each in a warm-up and two rounds."""
    calls: list[str] = []
    for method in ("collect", "train_step"):
        real = getattr(Trainer, method)

        def counted(self: Any, method: str = method, real: Any = real) -> Any:
            calls.append(method)
            return real(self)

        monkeypatch.setattr(Trainer, method, counted)
    config = BENCHMARK["options"](envs, "cpu", "float32")
    found = BENCHMARK["measure"](config, rounds=2)
    assert (found.envs, found.rows) == (envs, max(ROWS, envs))
    assert found.updates == round(found.rows * config.updates_per_step) > 0
    filled = config.sequence_length + 1  # rows that make the first sequence
    assert calls.count("collect") == filled + 2 * 3 * found.rows // envs
    assert calls.count("train_step") == 2 * 3 * found.updates


def test_the_table_says_rates_and_what_is_won() -> None:
    row = Throughput(envs=4, rows=32, updates=8, collecting=0.5, learning=1.5, both=1.0).row()
    assert row == "| 4 | 64 | 5.33 | 32.0 | 25.0% | 2.00 |"


def test_without_a_gpu_the_command_says_so_and_writes_where_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "throughput.json"
    with patch.object(torch.cuda, "is_available", lambda: False):
        BENCHMARK["main"](envs=(1,), precision="float32", rounds=1, json_file=path)
        BENCHMARK["main"](envs=(1,), minutes=-1.0)
    told, result = capsys.readouterr().out, json.loads(path.read_text())
    assert "no GPU" in told.splitlines()[0] and "1 environments: no time was left" in told
    (found,) = result["measured"]
    assert result["tiny"] and min(found["collecting"], found["learning"], found["both"]) > 0
    assert Throughput(**found).row() in told
