"""A measured result: the raw data, what is computed from it, and that nothing is trained twice."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wm_tutorial.config import from_plain, make_config
from wm_tutorial.errors import InputError
from wm_tutorial.runs.measure import as_table, bootstrap_interval, imagined_returns, measure, summarise
from wm_tutorial.runs.run import write_settings
from wm_tutorial.trainer import Trainer

TINY = make_config(
    steps=60, prefill=20, hidden=8, layers=1, latent_size=4, batch_size=2, sequence_length=4, imagined_starts=4,
    horizon=2, envs=2, capacity=200, eval_every=30, eval_episodes=2, log_every=20, clip=math.inf,
)  # fmt: skip


def strict(text: str) -> Any:
    """JSON as any reader has it: without infinity and not-a-number."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_measure_writes_what_it_found_and_adds_seeds_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "result"
    measure("CartPole-v1", TINY, [0], folder, episodes=3)
    first = (folder / "seed-0.json").read_bytes()
    summary = measure("CartPole-v1", TINY, [0, 1], folder, episodes=3)

    assert (folder / "seed-0.json").read_bytes() == first  # not trained again
    records = [strict((folder / f"seed-{seed}.json").read_text()) for seed in (0, 1)]
    for seed, record in enumerate(records):
        assert from_plain(record["config"]) == dataclasses.replace(TINY, seed=seed)
        assert len(record["final_returns"]) == 3
        assert [step // 30 for step, _ in record["evaluations"]] == [1, 2]
        assert summary["seeds"][str(seed)]["final"] == pytest.approx(np.mean(record["final_returns"]), abs=0.05)
        assert summary["seeds"][str(seed)]["best_on_the_way"] == max(mean for _, mean in record["evaluations"])
        assert record["command"].startswith("wm-tutorial")
        steps, believed = zip(*record["imagined_returns"], strict=True)
        assert [step // 20 for step in steps] == [2, 3] and all(map(np.isfinite, believed))
    assert summary["mean"] == pytest.approx(np.mean([np.mean(record["final_returns"]) for record in records]))
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert (folder / "curves.png").stat().st_size > 1000
    table = as_table(summary)
    assert table.count("\n") == 4 and f"{summary['mean']:.1f}" in table


def test_the_settings_of_a_run_are_json_that_any_reader_understands(tmp_path: Path) -> None:
    write_settings(Trainer("CartPole-v1", TINY, tmp_path))
    settings = strict((tmp_path / "config.json").read_text())
    assert from_plain({name: settings[name] for name in dataclasses.asdict(TINY)}) == TINY


def test_what_was_believed_comes_from_the_lines_of_losses_that_have_it() -> None:
    records = [
        {"kind": "train", "step": 20, "losses": {"imagined return": 1.26}},
        {"kind": "episode", "step": 25, "return": 9.0},
        {"kind": "train", "step": 40, "losses": {"decoder": 0.1}},  # of a run that acts by chance
    ]
    assert imagined_returns(records) == [[20, 1.3]]


def test_nothing_measured_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no results"):
        summarise(tmp_path)


def test_the_interval_covers_the_mean_as_often_as_it_says_for_many_values() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        low, high = bootstrap_interval(list(rng.normal(3.0, 2.0, 30)))
        covered += low <= 3.0 <= high
    assert 0.90 < covered / 200 < 0.98  # percentile intervals of 30 values are a little narrow


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert bootstrap_interval([7.0] * 5) == (7.0, 7.0)
