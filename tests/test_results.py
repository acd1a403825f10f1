"""The committed learning results: each comes from the command it names, and the tables say what the files say."""

import dataclasses
import json
import runpy
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from wm_tutorial import figures
from wm_tutorial.agent import Agent
from wm_tutorial.cli import Measure, Zoo, command_line
from wm_tutorial.config import from_plain, make_config, plain
from wm_tutorial.evaluation import evaluate
from wm_tutorial.figures import alt_text
from wm_tutorial.runs.normal import measured_curves
from wm_tutorial.runs.run import Run
from wm_tutorial.trainer import Trainer

ROOT = Path(__file__).parent.parent
MAKING = runpy.run_path(str(ROOT / "benchmarks" / "results.py"))
FILES = sorted((ROOT / "book" / "results").glob("**/seed-*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-2:]))
def test_the_command_of_a_result_has_the_options_it_was_measured_with(path: Path) -> None:
    record = json.loads(path.read_text())
    program, *words = record["command"].split()
    asked = command_line(words)
    assert program == "wm-tutorial" and isinstance(asked, Measure | Zoo)
    seed = record["config"]["seed"]
    assert path.name == f"seed-{seed}.json" and seed in asked.seeds and asked.env.endswith(record["environment"])
    assert path.is_relative_to(ROOT / asked.out) and len(record["final_returns"]) == asked.episodes
    config = dataclasses.replace(asked.config, seed=seed)
    assert from_plain(record["config"]) == config  # an option that came later is at its default
    assert set(record["config"]) <= set(plain(config))


def test_the_tables_are_those_of_the_files() -> None:
    for path, text in MAKING["texts"]().items():
        assert path.read_text() == text, f"{path.name} is older than its data: make results"


def test_a_run_is_compared_with_the_seeds_that_had_its_options() -> None:
    for path in FILES:
        record = json.loads(path.read_text())
        experiment = MAKING["EXPERIMENTS"].get(str(path.parent.relative_to(ROOT / "book" / "results")))
        if experiment:
            config = dataclasses.replace(from_plain(record["config"]), seed=7, threads=3, eval_every=1000)
            steps, means = measured_curves(experiment.env, config)[record["config"]["seed"]]
            assert [[step, mean] for step, mean in zip(steps, means, strict=True)] == record["evaluations"]
            assert not measured_curves(experiment.env, dataclasses.replace(config, steps=config.steps + 1))
            assert not measured_curves("Unknown-v0", config)


def test_a_run_shows_its_curve_over_the_band_of_its_kind_in_one_call(tmp_path: Path) -> None:
    config = make_config("guide", steps=15_000, seed=7)
    run = Run(Trainer("CartPole-v1", config, tmp_path), tmp_path)
    run.records.append({"kind": "evaluation", "step": 2500, "mean": 40.0, "returns": [30.0, 50.0]})
    measured = measured_curves("CartPole-v1", config)
    alone = figures.return_curve(run.records, measured)
    assert alt_text(run.curve()) == alt_text(alone) and f"{len(measured)} measured seeds" in alt_text(alone)
    other = Run(Trainer("CartPole-v1", make_config("guide", steps=600), tmp_path), tmp_path)
    other.records.append(run.records[-1])
    assert "grey band" in alt_text(run.curve()) and "grey band" not in alt_text(other.curve())


def test_every_folder_of_results_belongs_to_an_experiment() -> None:
    folders = {path.parent.relative_to(ROOT / "book" / "results").as_posix() for path in FILES}
    assert {folder for folder in folders if not folder.startswith(("zoo/", "mistakes/"))} <= set(MAKING["ALL"])
    worlds = runpy.run_path(str(ROOT / "benchmarks" / "zoo.py"))["WORLDS"]
    assert {folder.split("/")[1] for folder in folders if folder.startswith("mistakes/")} <= set(worlds)


def test_the_rows_of_multiplied_rewards_differ_in_nothing_but_what_their_names_say() -> None:
    """One set of options, one set of seeds; and the environment of each pays what the name of the row ends with."""
    rows, usual = MAKING["REWARDS"], make_config("dreamer_v3", "nano", steps=5000, eval_episodes=100)
    assert len({(row.options, row.seeds) for row in [MAKING["EXPERIMENTS"][MAKING["USUAL"]], *rows.values()]}) == 1
    for name, row in rows.items():
        asked = command_line(row.command(name, (7,))[1:])
        assert isinstance(asked, Measure) and asked.config == usual
        assert len(row.seeds) == 5 and asked.episodes == 100
        env = gymnasium.make(asked.env)
        env.reset(seed=0)
        assert env.step(0)[1] == float(name.removeprefix("cartpole-rewards-"))


def test_returns_of_multiplied_rewards_are_divided_and_compared_seed_by_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All numbers were chosen: 200, 300 and 400 at 1, and 10, 20 and 30 less at a million."""
    rewards_row = MAKING["paid_row"]
    monkeypatch.setitem(rewards_row.__globals__, "RESULTS", tmp_path)
    for name, times, less in ((MAKING["USUAL"], 1.0, 0), ("cartpole-rewards-1e6", 1e6, 10)):
        (tmp_path / name).mkdir()
        for nth in (1, 2, 3):
            returns = [times * (100 * (nth + 1) - less * nth + by) for by in (-5, 5)]
            record = {"config": {"seed": nth}, "final_returns": returns}
            (tmp_path / name / f"seed-{nth}.json").write_text(json.dumps(record))
    assert rewards_row("cartpole-v3-5k").startswith("| [1](cartpole-v3-5k) | **300.0**<br>200.0 to 400.0 |")
    paid = rewards_row("cartpole-rewards-1e6").split(" | ")
    assert paid == [
        "| [1e6](cartpole-rewards-1e6)", "**280.0**<br>190.0 to 370.0", "190.0", "-20.0<br>-30.0 to -10.0", "3 |",
    ]  # fmt: skip
    assert "not measured yet" in rewards_row("cartpole-rewards-1e-3")


def test_the_rows_of_planning_differ_in_the_search_and_are_measured_alike() -> None:
    """One set of seeds and steps; shooting has as many candidates for each action as the search, in one iteration."""
    asked = {name: command_line(row.command(name, (7,))[1:]) for name, row in MAKING["PLANNING"].items()}
    assert len({row.seeds for row in MAKING["PLANNING"].values()}) == 1
    configs = {}
    for name, measured in asked.items():
        assert isinstance(measured, Measure) and measured.episodes == 50
        configs[name] = measured.config
        assert measured.config.behaviour == "planner" and measured.config.steps == 10_000
        assert measured.config.eval_every == 0  # evaluated at the end only
    search, shooting = configs["planet-pendulum"], configs["planet-pendulum-shooting"]
    assert shooting.candidates == search.candidates * search.plan_iterations
    same = {"candidates": shooting.candidates, "elites": 1, "plan_iterations": 1}
    assert shooting == dataclasses.replace(search, **same) and search == configs["planet-cartpole"]
    of_v3, nano = configs["planet-pendulum-v3"], make_config("dreamer_v3", "nano", steps=10_000)
    for option in ("memory", "latent", "heads", "latent_size", "horizon", "free_nats", "world_model_lr", "prefill"):
        assert getattr(of_v3, option) == getattr(nano, option)  # only its behaviour is another


def test_a_row_of_planning_says_what_the_search_is_and_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned_row = MAKING["planned_row"]
    monkeypatch.setitem(planned_row.__globals__, "RESULTS", tmp_path)
    assert planned_row("planet-pendulum") == "| planet-pendulum | not measured yet | | -200 in 10,000 | | | 0 |"
    (tmp_path / "planet-pendulum").mkdir()
    config = {"candidates": 64, "plan_iterations": 4, "horizon": 15, "elites": 8}
    for seed, returns, action in ((1300, [-100.0, -200.0], 0.004), (1301, [-200.0, -300.0], 0.006)):
        record = {"config": config, "final_returns": returns, "seconds": {"cpu": 600.0, "action": action}}
        (tmp_path / "planet-pendulum" / f"seed-{seed}.json").write_text(json.dumps(record))
    assert planned_row("planet-pendulum").split(" | ") == [
        "| [planet-pendulum](planet-pendulum)", "**-200.0**<br>-250.0 to -150.0", "-250.0", "-200 in 10,000",
        "64 x 4 x 15, 8", "5.0", "2, 10.0 |",
    ]  # fmt: skip


def test_measuring_keeps_an_agent_of_the_first_table_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = MAKING["measure"]
    monkeypatch.setitem(measure.__globals__, "RESULTS", tmp_path)
    for name in ("cartpole-v3-20k", "cartpole-rewards-1e3"):
        (tmp_path / name).mkdir()
        for seed in MAKING["ALL"][name].seeds:
            for ending in ("json", "safetensors"):
                (tmp_path / name / f"seed-{seed}.{ending}").touch()  # all seeds were measured: nothing is trained
        measure(name, 1)
    assert [path.parent.name for path in tmp_path.glob("*/*.safetensors")] == ["cartpole-v3-20k"]


def test_an_ablation_is_told_by_its_difference_on_the_seeds_of_the_whole_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two seeds of each; one that the whole agent was not measured on does not count."""
    monkeypatch.setitem(MAKING["ablations"].__globals__, "RESULTS", tmp_path)
    assert MAKING["ablations"]() == ""
    runs = {"none": {1: (100.0, 500.0), 2: (200.0, 400.0)}, "unimix": {1: (90.0, 500.0), 2: (170.0, 300.0), 3: (0, 0)}}
    for name, seeds in runs.items():
        (tmp_path / f"ablation-{name}").mkdir()
        for seed, (on_way, at_end) in seeds.items():
            record = {"config": {"seed": seed}, "evaluations": [[1, on_way]], "final_returns": [at_end]}
            (tmp_path / f"ablation-{name}" / f"seed-{seed}.json").write_text(json.dumps(record))
    whole, unimix = MAKING["ablations"]().strip().splitlines()[-2:]
    assert whole == "| [nothing](ablation-none) | 150.0 | - | 450.0 | - | 2 |"
    assert "(ablation-unimix) | 130.0 | -20.0<br>-30.0 to -10.0 | 400.0 | -50.0<br>-100.0 to +0.0 | 2 |" in unimix


def test_measuring_again_throws_no_committed_agent_away() -> None:
    """One of the history plays on the site."""
    results = ROOT / "book" / "results"
    agents = [path.relative_to(results) for path in results.glob("**/seed-*.safetensors")]
    assert {path.parent.as_posix() for path in agents} <= MAKING["KEPT"] and len(agents) > 15
    for path in agents:
        assert path.stem == f"seed-{MAKING['ALL'][path.parent.as_posix()].seeds[0]}"


AGENTS = sorted((ROOT / "book" / "results").glob("*/seed-*.safetensors"))


def test_each_result_of_the_first_table_brings_the_agent_of_its_first_seed() -> None:
    rows = {name: row for name, row in MAKING["EXPERIMENTS"].items() if MAKING["found"](name)}  # as far as measured
    rows |= {name: row for name, row in MAKING["PLANNING"].items() if MAKING["found"](name)}
    wanted = {f"{name}/seed-{experiment.seeds[0]}" for name, experiment in rows.items()}
    assert {f"{path.parent.name}/{path.stem}" for path in AGENTS} == wanted


@pytest.mark.parametrize("path", AGENTS, ids=lambda path: path.parent.name)
def test_the_agent_of_a_result_is_the_one_that_was_measured(path: Path) -> None:
    """It has the options of its file, and plays the same episodes as well again."""
    record, agent = json.loads(path.with_suffix(".json").read_text()), Agent.load(path)
    assert agent.config == from_plain(record["config"])
    if agent.config.behaviour == "planner":
        return  # its 50 episodes take as long as it learned
    again = evaluate(agent, command_line(record["command"].split()[1:]).env, 100, record["config"]["seed"])
    # On another processor a sum may round otherwise, and an episode go another way.
    assert again.mean == pytest.approx(np.mean(record["final_returns"]), rel=0.1)
