"""The experiment with the zoo: every mistake is out for its own runs and no others, and the numbers are those found."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted import Troupe, assert_same, differences, snapshot, tiny, tree

from wm_tutorial import figures, zoo
from wm_tutorial.config import make_config
from wm_tutorial.errors import InputError
from wm_tutorial.parts import Replacement, replaced
from wm_tutorial.runs import measure
from wm_tutorial.runs.dream import EpisodesTooShort, kl_both_ways
from wm_tutorial.trainer import Trainer
from wm_tutorial.zoo.experiment import as_table, experiment, missing_options, summarise, usable_bugs

BUGS = ["reward_late", "reset_missing"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two mistakes, two seeds."""
    folder = tmp_path_factory.mktemp("zoo")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        experiment("CartPole-v1", tiny(), BUGS, [0, 1], folder / "result", episodes=3)
    return folder / "result"


def runs(folder: Path) -> dict[tuple[str, int], dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in folder.glob("*/seed-*.json")]
    return {(record["bug"], record["config"]["seed"]): record for record in found}


def test_every_mistake_is_made_in_its_own_runs_only(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    found = runs(folder)
    assert set(found) == {(name, seed) for name in ["none", *BUGS] for seed in (0, 1)}
    for seed in (0, 1):
        plain, run = measure.train_and_record("CartPole-v1", tiny(seed=seed), episodes=3)
        assert found["none", seed]["final_returns"] == list(plain["final_returns"])
        assert found["none", seed]["divergences"] == vars(kl_both_ways(run.agent, "CartPole-v1"))
    for name in BUGS:
        assert [found[name, seed]["losses"] for seed in (0, 1)] != [found["none", seed]["losses"] for seed in (0, 1)]


def test_the_summary_is_of_what_was_found(folder: Path) -> None:
    summary, found = json.loads((folder / "summary.json").read_text()), runs(folder)
    assert list(summary["bugs"]) == ["none", "reward_late", "reset_missing"]
    for name, row in summary["bugs"].items():
        records = [found[name, seed] for seed in (0, 1)]
        assert row["return"]["seeds"] == pytest.approx([np.mean(r["final_returns"]) for r in records], abs=0.01)
        assert row["error_1"]["seeds"] == pytest.approx([r["open_loop_errors"]["obs"][0] for r in records], abs=1e-4)
        assert row["error_15"]["seeds"] == pytest.approx([r["open_loop_errors"]["obs"][14] for r in records], abs=1e-4)
        config = records[0]["config"]
        losses = [r["losses"][-1][1] for r in records]  # one line is logged in the last fifth of these short runs
        weighted = [sum(config[f"{k}_scale"] * loss[k] for k in loss if f"{k}_scale" in config and k != "replay critic")
                    for loss in losses]  # fmt: skip
        assert row["loss"]["seeds"] == pytest.approx(weighted, rel=1e-3)
        assert row["return"]["mean"] == pytest.approx(np.mean(row["return"]["seeds"]), abs=1e-3)
    usual = np.mean([found["none", seed]["open_loop_errors"]["persistence"] for seed in (0, 1)], axis=0)
    assert list(summary["persistence"].values()) == pytest.approx([usual[0], usual[14]], abs=1e-4)
    assert summary["seeds"] == {name: [0, 1] for name in summary["bugs"]}
    table = as_table(summary)
    assert table.count("\n") == 4 and f"| none | {summary['bugs']['none']['loss']['mean']:.3g} |" in table
    assert (folder / "figure.png").exists()
    assert (folder / "figure.svg").read_text() == figures.to_svg(figures.mistakes(summary)) + "\n"
    alt = figures.alt_text(figures.mistakes(summary))
    assert "reset_missing" in alt and "CartPole-v1" in alt


def test_what_lies_far_beyond_the_sound_runs_is_an_arrowhead_at_the_edge(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    for name, seeds in (("none", [1.0, 1.2]), ("reward_late", [3.0, 18.1]), ("reset_missing", [-2.0, 17.9])):
        summary["bugs"][name]["loss"] |= {"seeds": seeds, "mean": sum(seeds) / 2}
    for name, seeds in (("none", [-150.0, -170.0]), ("reward_late", [-1500.0, -3000.0]), ("reset_missing", [9.0, 9.0])):
        summary["bugs"][name]["return"] |= {"seeds": seeds, "mean": sum(seeds) / 2}
    panel, *_, returns = figures.mistakes(summary).axes
    shown = [tuple(line.get_xdata()) for line in returns.lines if line.get_marker() in "o<>"]
    assert shown == [(-150.0, -170.0), (-1500.0,), (-1500.0,), (9.0, 9.0)]  # returns may be below 0
    drawn = [(line.get_marker(), tuple(line.get_xdata())) for line in panel.lines if line.get_marker() != "|"]
    assert drawn == [("o", (1.0, 1.2)), ("o", (3.0,)), (">", (17.9,)), ("o", (17.9,)), ("<", (0.0,))]


def test_nothing_is_trained_twice(folder: Path) -> None:
    before = tree(folder)
    experiment("CartPole-v1", tiny(), ["reward_late"], [1], folder, episodes=3)
    assert tree(folder) == before


def test_runs_of_another_experiment_are_not_taken_for_this_one(folder: Path) -> None:
    before = tree(folder)
    for env, steps, episodes, expected in (
        ("Acrobot-v1", 60, 3, r"none/seed-0.json was measured with environment 'CartPole-v1'; .*'Acrobot-v1'"),
        ("CartPole-v1", 99, 3, r"with steps 60; asked for is steps 99"),
        ("CartPole-v1", 60, 4, r"with episodes 3; asked for is episodes 4"),
    ):
        with pytest.raises(InputError, match=expected):
            experiment(env, tiny(steps=steps), BUGS, [0, 1], folder, episodes)
    assert tree(folder) == before


@pytest.mark.parametrize("text", ['{"bug": "reward_late", "co', "{}"])
def test_a_run_that_was_cut_short_or_lies_in_another_place_is_named(text: str, folder: Path, tmp_path: Path) -> None:
    result = Path(shutil.copytree(folder, tmp_path / "result"))
    path = result / "reward_late" / "seed-0.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"reward_late/seed-0.json cannot be read"):
        experiment("CartPole-v1", tiny(), BUGS, [0], result, 3)
    with pytest.raises(InputError, match=r"reward_late/seed-0.json cannot be read"):
        summarise(result)
    path.write_text((folder / "none" / "seed-0.json").read_text())
    with pytest.raises(InputError, match=r"reward_late/seed-0.json is of the mistake 'none'"):
        experiment("CartPole-v1", tiny(), BUGS, [0], result, 3)


def test_episodes_too_short_to_predict_are_noticed_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    troupe = Troupe([3, -4])
    with pytest.raises(EpisodesTooShort, match="have no episode of 20 rows"):
        experiment(troupe, tiny(), BUGS, [0], tmp_path / "result")
    assert not tree(tmp_path)
    assert troupe.built and all(env.closed for env in troupe.built)


def test_names_that_do_nothing_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no bug 'reward_lost'"):
        experiment("CartPole-v1", tiny(), ["reward_late", "reward_lost"], [0], tmp_path)
    with pytest.raises(InputError, match="does nothing with these options; it needs memory='rssm'"):
        experiment("CartPole-v1", tiny(), [next(n for n, b in zoo.BUGS.items() if "memory" in b.needs)], [0], tmp_path)
    with pytest.raises(InputError, match=r"one of World Models 2018.*zoo\.bug\('memory_one_late'\): train_in_stages"):
        experiment("CartPole-v1", tiny(), ["reward_late", "memory_one_late"], [0], tmp_path)
    with pytest.raises(InputError, match="no runs of the finished code"):
        summarise(tmp_path)
    assert not list(tmp_path.iterdir())


PLANS = {"preset": "planet", "imagined_starts": 0, "memory_size": 8, "candidates": 8, "elites": 2, "steps": 40}
TO_ACT = [name for name in zoo.BUGS if "behaviour" in missing_options(name, tiny(**PLANS))]


@pytest.fixture(scope="module")
def planned() -> dict[str, Any]:
    """What a short run comes to, with a part in its own place: where one is replaced, no quick way is taken."""
    with replaced(Replacement(Trainer, "collect", Trainer.collect)):
        return short_run()


def short_run() -> dict[str, Any]:
    """An agent that plans learns a little, acts, and learns again."""
    trainer = Trainer("CartPole-v1", tiny(**PLANS))
    for _ in range(2):
        for _ in range(12):
            trainer.collect()
        trainer.train_step()
    assert trainer.steps > trainer.config.prefill + 10
    return snapshot(trainer)


@pytest.mark.parametrize("name", TO_ACT)
def test_a_mistake_in_learning_to_act_is_none_where_a_planner_acts(name: str, planned: dict[str, Any]) -> None:
    """So it is refused there, rather than measured for nothing."""
    assert len(TO_ACT) > 20
    with zoo.bug(name):
        assert_same(short_run(), planned)


def test_mistakes_of_the_model_matter_where_a_planner_acts_too(planned: dict[str, Any]) -> None:
    usable = set(usable_bugs(tiny(**PLANS)))
    assert {"reward_late", "kl_reversed", "time_limit_is_death", "acts_without_memory"} <= usable
    assert not usable & set(TO_ACT)
    assert not any(zoo.BUGS[name].of_the_ancestor for name in usable)
    with zoo.bug("reward_late"):
        assert list(differences(short_run(), planned))


def test_what_a_mistake_needs_of_numbers_is_to_be_zero_or_not() -> None:
    small = make_config("dreamer_v3", "nano")  # its replay critic loss has another weight than the reference's
    name = next(n for n, b in zoo.BUGS.items() if "replay_critic_scale" in b.needs)
    assert missing_options(name, small) == {}
    assert missing_options(name, make_config("guide")) != {}
    for config in (small, make_config("guide")):
        usable = usable_bugs(config)
        assert 40 < len(usable) < len(zoo.BUGS)
        assert {"reward_late", "value_unshifted", "kl_reversed", "time_limit_is_death", "reset_missing"} <= set(usable)
