"""A measured result: the raw data, what is computed from it, and that nothing is trained twice."""

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted import Seeded, Troupe, tree

from wm_tutorial.config import from_plain, make_config
from wm_tutorial.errors import InputError, OutputError
from wm_tutorial.runs.measure import as_table, imagined_returns, measure, summarise
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
        assert record["command"].startswith("wm-tutorial") and 0 < record["seconds"]["action"] < 1
        steps, believed = zip(*record["imagined_returns"], strict=True)
        assert [step // 20 for step in steps] == [2, 3] and all(map(np.isfinite, believed))
    assert summary["mean"] == pytest.approx(np.mean([np.mean(record["final_returns"]) for record in records]))
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert (folder / "curves.png").stat().st_size > 1000
    table = as_table(summary)
    assert table.count("\n") == 4 and f"{summary['mean']:.1f}" in table


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One seed of CartPole."""
    monkeypatch.chdir(tmp_path)
    measure("CartPole-v1", TINY, [0], tmp_path / "result", episodes=2)
    return tmp_path / "result"


def refused(folder: Path, expected: str, env: Any = "CartPole-v1", episodes: int = 2, **changes: Any) -> None:
    before = tree(folder.parent)
    with pytest.raises(InputError, match=expected):
        measure(env, dataclasses.replace(TINY, **changes), [0, 1], folder, episodes)
    assert tree(folder.parent) == before  # nothing was trained


def test_seeds_of_another_result_are_not_taken_for_this_one(measured: Path) -> None:
    path = re.escape(str(measured / "seed-0.json"))
    refused(measured, f"{path} was measured with environment 'CartPole-v1'; .*'Acrobot-v1'", env="Acrobot-v1")
    refused(measured, f"{path} .*environment 'CartPole-v1'.* is environment 'Seeded'", env=lambda: Seeded())
    refused(measured, "environment 'CartPole-v1'.* is environment 'mine/CartPole-v1'", env="mine/CartPole-v1")
    refused(measured, r"with steps 60, lam 0.95; asked for is steps 62, lam 0.5", steps=62, lam=0.5)
    refused(measured, "with preset 'guide'; asked for is preset 'planet'", preset="planet")
    refused(measured, r"with episodes 2; asked for is episodes 3\. Choose another folder", episodes=3)
    other = dataclasses.replace(TINY, checkpoint_every=7, seed=9)  # which no number depends on
    assert list(measure("CartPole-v1", other, [0], measured, 2)["seeds"]) == ["0"]


@pytest.mark.parametrize("text", ["", '{"environment": "CartPole-v1", "con', "[]", "{}", '{"config": {"horizn": 3}}'])
def test_a_result_that_was_cut_short_is_named(text: str, measured: Path) -> None:
    (measured / "seed-7.json").write_text(text)
    refused(measured, r"seed-7.json cannot be read as a result .*Remove it")
    with pytest.raises(InputError, match=r"seed-7.json cannot be read"):
        summarise(measured)
    (measured / "seed-7.json").write_text((measured / "seed-0.json").read_text())
    refused(measured, r"seed-7.json cannot be read as a result .*it is of seed 0")
    (measured / "seed-7.json").unlink()
    assert summarise(measured)["seeds"].keys() == {"0"}


def test_a_result_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    replace = Path.replace

    def stopped(self: Path, target: Path) -> Path:
        if target.name == "seed-0.json":
            raise KeyboardInterrupt  # just before it is complete
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        measure("CartPole-v1", TINY, [0], tmp_path / "result", episodes=2)
    assert [path.name for path in (tmp_path / "result").iterdir()] == ["seed-0.safetensors"]


def test_one_evaluation_per_seed_gives_a_table_and_a_word_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "result"
    summary = measure("CartPole-v1", dataclasses.replace(TINY, eval_every=0), [0, 1], folder, episodes=2)
    printed = capsys.readouterr().out
    assert printed.startswith("There will be a table, but no curves: they need two evaluations of each seed")
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert as_table(summary).count("\n") == 4
    assert not (folder / "curves.png").exists()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"seeds": []}, r"seeds are empty"),
        ({"seeds": [-1]}, r"seeds is -1; it must be a whole number from 0"),
        ({"seeds": [2**63]}, r"must be a whole number from 0"),
        ({"seeds": ["0"]}, r"seeds is '0'"),
        ({"episodes": 0}, r"episodes is 0"),
        ({"folder": ""}, r"The path is ''"),
        ({"config": dataclasses.replace(TINY, prefill=100)}, r"nothing learned"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_trained(
    asked: dict[str, Any], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"env": "CartPole-v1", "config": TINY, "seeds": [0], "folder": tmp_path / "result", **asked}
    with pytest.raises(InputError, match=expected):
        measure(**given)
    assert not tree(tmp_path)


def test_a_folder_that_cannot_be_written_is_noticed_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("I am no folder")
    with pytest.raises(OutputError, match="Cannot write to file"):
        measure("CartPole-v1", TINY, [0], Path("file"), episodes=2)
    assert set(tree(tmp_path)) == {"file"}


def test_environments_of_a_measurement_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    troupe = Troupe([3, -4])
    measure(troupe, TINY, [0], tmp_path / "result", episodes=2)
    assert troupe.built and all(env.closed for env in troupe.built)


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
