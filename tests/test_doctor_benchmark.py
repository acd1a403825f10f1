"""benchmarks/zoo.py on a tiny budget, and what benchmarks/doctor.py counts in what it leaves."""

import json
import re
import runpy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from scripted import TINY, tree

from wm_tutorial import figures, zoo
from wm_tutorial.cli import Zoo, command_line
from wm_tutorial.runs.asked import check_learns
from wm_tutorial.zoo.experiment import MODEL_LOSSES

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
ZOO = runpy.run_path(str(BENCHMARKS / "zoo.py"))
DOCTOR = runpy.run_path(str(BENCHMARKS / "doctor.py"))

# --- The doctor, judged -----------------------------------------------------------------------------------------------


def record(bug: str, seed: int, return_: float, *findings: tuple[str, str, bool]) -> dict[str, Any]:
    """A run in which chance earned 20, and later play 70."""
    return {
        "environment": "CartPole-v1",
        "bug": bug,
        "config": {"seed": seed, "prefill": 100},
        "episodes": [[40, 15.0], [100, 25.0], [150, 70.0]],
        "final_returns": [return_ - 5.0, return_ + 5.0],
        "findings": [[*finding, "seen"] for finding in findings],
    }


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three sound runs, one of them with a false alarm, and seven with a mistake, of which five suffered.

    And two that would count, if nobody had looked at them.
    """
    model, alarm = ("dream worse than persistence", "world model", False), ("return at chance", "outcome", False)
    hint = ("ends underrated", "world model", True)
    looked_at = [("none", 1504, 490.0, model), ("reward_late", 1504, 100.0)]
    monkeypatch.setitem(DOCTOR["LOOKED_AT"], "cartpole", (1504,))
    runs = [
        *looked_at,
        ("none", 1500, 500.0),
        ("none", 1501, 480.0, hint),
        ("none", 1509, 490.0, model),
        ("action_late", 1500, 100.0, model, alarm),  # in the right part
        ("action_late", 1501, 300.0, hint),  # overlooked: a hint is no finding
        ("action_late", 1503, 300.0, model),  # suffered, and does not count: of the others there are three seeds
        ("value_departing", 1500, 200.0, alarm),  # found, and no cause named
        ("value_departing", 1501, 200.0, model),  # found in another part
        ("reward_late", 1500, 470.0, model),  # lost, but less than a quarter
        ("continue_late", 1500, 374.0, model),  # lost less than a quarter of what is earned above chance
    ]
    for bug, seed, return_, *findings in runs:
        path = tmp_path / "cartpole" / bug / f"seed-{seed}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record(bug, seed, return_, *findings)))
    return tmp_path


def test_what_is_counted(results: Path) -> None:
    summary = DOCTOR["summarise"](results)
    counted = {name: (share["count"], share["of"]) for name, share in summary["shares"].items()}
    assert counted == {"found": (3, 4), "right part": (1, 4), "false alarms": (1, 3)}
    assert summary["overlooked"] == ["action_late", "value_departing"]
    assert summary["alarms"] == ["CartPole-v1: dream worse than persistence"]
    assert summary["harmed"] == {"cartpole": 4} and summary["worlds"] == 1
    table = DOCTOR["as_table"](summary)
    assert "did harm (4 runs in cartpole); the sound runs are of 1 world." in table
    assert "| 3 of 4 | 75% | 30% to 95% |" in table and "| 1 of 3 | 33% |" in table


def test_beside_two_sound_runs_nobody_is_said_to_have_suffered() -> None:
    sound, low = [record("none", seed, 500.0) for seed in (1500, 1501, 1502)], record("action_late", 1500, 10.0)
    assert DOCTOR["suffered"](low, sound) and not DOCTOR["suffered"](low, sound[:2])


def test_wilsons_interval() -> None:
    assert DOCTOR["wilson"](8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert DOCTOR["wilson"](0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert DOCTOR["wilson"](0, 0) == (0.0, 1.0)


def test_every_mistake_that_is_let_out_has_a_part() -> None:
    let_out = {bug for world in ZOO["WORLDS"].values() for bug in world.mistakes()}
    assert len(let_out) > 80
    for bug in let_out:
        assert DOCTOR["parts_of"](bug)
    assert DOCTOR["parts_of"]("updates_per_vector_step") == ("training",)
    assert DOCTOR["parts_of"]("acts_without_memory") == ("acting",)


def test_the_page_has_a_place_for_the_table_and_no_table_without_runs(tmp_path: Path) -> None:
    page = DOCTOR["PAGE"].read_text(encoding="utf-8")
    assert len(DOCTOR["BLOCK"].findall(page)) == 1
    assert DOCTOR["as_table"](DOCTOR["summarise"](tmp_path)) == ""
    with pytest.raises(SystemExit, match=r"There are no runs in .*benchmarks/zoo\.py makes them"):
        DOCTOR["main"](results=tmp_path)
    assert not tree(tmp_path) and DOCTOR["PAGE"].read_text(encoding="utf-8") == page


# --- The runs ---------------------------------------------------------------------------------------------------------


def test_the_command_of_a_world_makes_its_runs() -> None:
    """The files of runs name it, and a test of results takes them at their word."""
    for name, world in ZOO["WORLDS"].items():
        asked = command_line(ZOO["command_of"](name, world, world.mistakes()[:2], 1501))
        assert isinstance(asked, Zoo) and asked.config == world.config and asked.env == world.env
        assert asked.bugs == tuple(world.mistakes()[:2]) and asked.seeds == (1501,)


def test_every_world_can_be_learned_in() -> None:
    for world in ZOO["WORLDS"].values():
        gym.spec(world.env)
        check_learns(world.config)
    assert not {*ZOO["SEEDS"], *ZOO["MORE"]} & set(ZOO["THRESHOLDS"])
    assert ZOO["SEEDS"] == DOCTOR["SEEDS"] and not set(ZOO["SEEDS"]) & set(ZOO["MORE"])


def test_each_mistake_is_let_out_where_it_makes_a_difference() -> None:
    let_out = {name: world.mistakes() for name, world in ZOO["WORLDS"].items()}
    assert len(let_out["cartpole"]) > 80 and "reward_late" in let_out["cartpole"]
    assert set(ZOO["TEACH"]) <= set(let_out["cartpole"]) & set(zoo.BUGS) and len(set(ZOO["TEACH"])) == 12
    assert {"acts_without_memory", "kl_reversed"} <= set(let_out["cartpole-v3"])
    assert "reward_late" not in let_out["cartpole-v3"]
    for name in ("corridor", "position-only"):
        assert sorted(let_out[name]) == sorted(ZOO["TEACH"])
    assert not let_out["pendulum"]


def test_each_run_is_made_once_and_told_in_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    class Small(ZOO["World"]):  # type: ignore[misc, name-defined]
        def mistakes(self) -> list[str]:
            return ["reward_late", "entropy_sign"]

    worlds = {"cartpole": Small("CartPole-v1", TINY), "corridor": Small("CartPole-v1", TINY)}
    ZOO["measure"](tmp_path / "runs", worlds, ["cartpole", "corridor"], [1500, 1503])
    made = tree(tmp_path / "runs")
    assert {name for name in made if "seed-" in name} == {
        *(f"{world}/{bug}/seed-1500.json" for world in worlds for bug in ("none", "reward_late", "entropy_sign")),
        *(f"cartpole/{bug}/seed-1503.json" for bug in ("none", "entropy_sign")),
    }
    told = json.loads((tmp_path / "runs" / "cartpole" / "none" / "seed-1500.json").read_text())
    assert told["config"]["seed"] == 1500 and "too early" in " ".join(told["missed"])
    asked = command_line(told["command"].split()[1:])
    assert (asked.seeds, asked.bugs, asked.episodes) == ((1500,), ("reward_late", "entropy_sign"), ZOO["EPISODES"])
    assert asked.config == worlds["cartpole"].config and asked.out == "book/results/mistakes/cartpole"
    ZOO["measure"](tmp_path / "runs", worlds, ["cartpole", "corridor"], [1500, 1503])
    assert tree(tmp_path / "runs") == made
    assert DOCTOR["summarise"](tmp_path / "runs")["shares"]["false alarms"]["of"] == 1  # the others were looked at

    ZOO["main"](worlds=(), results=tmp_path / "runs")
    page = (tmp_path / "runs" / "README.md").read_text()
    assert page.count("\n## ") == 2 and "losses.png" in page
    one = [np.mean(json.loads(p.read_text())["final_returns"]) for p in sorted(tmp_path.glob("runs/cartpole/none/s*"))]
    assert f"| none | **{np.mean(one):.3g}**: {one[0]:.3g}, {one[1]:.3g} |" in page


def test_a_mistake_that_was_never_made_is_told() -> None:
    def run(seed: int, loss: float) -> dict[str, Any]:
        return {"config": {"seed": seed}, "losses": [[10, {"decoder": loss}]]}

    sound = [run(1500, 0.5), run(1501, 0.6)]
    assert ZOO["never_made"]([run(1501, 0.6), run(1500, 0.5)], sound)
    assert not ZOO["never_made"]([run(1501, 0.6), run(1500, 0.51)], sound)
    assert not ZOO["never_made"]([run(1502, 0.6)], sound)


def test_seeds_and_worlds_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="thresholds were set on seed 0"):
        ZOO["main"](seeds=(0,), results=tmp_path)
    with pytest.raises(SystemExit, match="no world 'pong'; there are cartpole, cartpole-v3"):
        ZOO["main"](worlds=("pong",), results=tmp_path)
    ZOO["main"](worlds=(), results=tmp_path)
    assert not tree(tmp_path)


def test_losses_stand_beside_those_of_the_finished_code() -> None:
    def run(decoder: float, reward: float, returns: float) -> dict[str, Any]:
        early, late = {"decoder": 9.0, "reward": 9.0}, {"decoder": decoder, "reward": reward, "representation": 1.0}
        config = {"steps": 100, "seed": decoder > 3.0}
        return {"losses": [[80, early], [81, late], [100, late]], "config": config, "final_returns": [returns]}

    world = {"a": [run(6.0, 0.5, 100.0)], "none": [run(2.0, 1.0, 500.0), run(4.0, 1.0, 300.0)]}
    beside = ZOO["beside_the_sound"](world)
    assert next(iter(beside)) == "none"  # the figure draws its line there
    assert beside == {
        "none": {"return": 400.0, "decoder": 1.0, "reward": 1.0},
        "a": {"return": 100.0, "decoder": 1.5, "reward": 0.5},  # beside the sound run of its seed
    }


def test_the_line_of_the_readme_counts_them() -> None:
    def run(returns: float, seed: int = 1500, **losses: float) -> dict[str, Any]:
        late = {"decoder": 2.0, "reward": 1.0, **losses}
        return {"losses": [[100, late]], "config": {"steps": 100, "seed": seed}, "final_returns": [returns]}

    world = {
        "late": [run(200.0, decoder=3.9)], "loud": [run(100.0, decoder=4.1)], "mild": [run(390.0, reward=0.51)],
        "never": [run(400.0)], "none": [run(400.0), run(400.0, seed=1501)],
    }  # fmt: skip
    assert ZOO["in_a_line"](world) == (
        "4 mistakes, 1 seeds of each or more; 1 of them were never made there; of the other 3, 2 keep every loss of "
        "the model within a factor of two of the finished code's, and 1 of these have lost a quarter of the return"
    )


def one_of(bug: str, seed: int, return_: float, ways: tuple[float, float] | None = None) -> dict[str, Any]:
    """What zoo.experiment writes of a run, as far as the tables of benchmarks/zoo.py read it."""
    config = {"steps": 100, "seed": seed, "preset": "guide", "size": "", **{f"{x}_scale": 1.0 for x in MODEL_LOSSES}}
    return {
        "bug": bug, "environment": "CartPole-v1", "config": config, "final_returns": [return_], "findings": [],
        "losses": [[100, dict.fromkeys(MODEL_LOSSES, float(seed) + (bug != "none"))]],
        "open_loop_errors": {"obs": [0.1, 0.4], "reward": [0.1, 0.1], "persistence": [1.0] * 15},
        **({"divergences": {"forward": ways[0], "backward": ways[1]}} if ways else {}),
    }  # fmt: skip


def test_a_return_is_a_share_of_the_sound_ones_of_the_same_seeds() -> None:
    sound = [one_of("none", seed, 100.0 * (seed - 1499)) for seed in (1500, 1501, 1502)]
    world = {"none": sound, "lambda_swapped": [one_of("lambda_swapped", 1502, 150.0)]}
    assert ZOO["share"](world, "lambda_swapped") == 0.5 and ZOO["share"](world, "none") == 1.0
    assert "| lambda_swapped | **150**: 150 | 50% |" in ZOO["as_table"](world)
    same = one_of("lambda_swapped", 1502, 300.0) | {"losses": sound[2]["losses"]}
    assert "| lambda_swapped | **300**: 300 | never made |" in ZOO["as_table"](
        {"none": sound, "lambda_swapped": [same]}
    )


def test_both_divergences_are_told_of_runs_in_which_they_were_measured() -> None:
    seeds = range(1500, 1506)
    world = {
        "none": [
            *(one_of("none", seed, seed - 1100.0, (10.0, seed - 1480.0)) for seed in seeds),
            one_of("none", 1, 7.0),
        ],
        "kl_arguments_swapped": [one_of("kl_arguments_swapped", n, n - 1090.0, (13.0, 12.0)) for n in seeds],
        "kl_reversed": [one_of("kl_reversed", n, 50.0) for n in seeds],
    }
    drawn = ZOO["both_ways"](world)
    assert list(drawn["bugs"]) == ["none", "kl_arguments_swapped"]
    assert drawn["bugs"]["none"]["backward"] == {"mean": 22.5, "seeds": [20.0, 21.0, 22.0, 23.0, 24.0, 25.0]}
    figure = figures.divergences(drawn)
    forward = figure.axes[0]
    assert [sorted(line.get_xdata()) for line in forward.lines[::2]] == [[10.0] * 6, [13.0] * 6]
    assert "CartPole-v1" in figures.alt_text(figure) and "KL(prior || post.) 12," in figures.alt_text(figure)
    table = ZOO["as_table_of_divergences"]({"cartpole": world, "corridor": {"none": [one_of("none", 1500, 1.0)]}})
    assert table.splitlines()[2:] == [
        "| CartPole-v1, guide, 100 steps | none | 6 | 10 | 22.5 | 0.1 | 0.4 |  |",
        "| CartPole-v1, guide, 100 steps | kl_arguments_swapped | 6 | 13 | 12 | 0.1 | 0.4 | +10 (+10 to +10) |",
    ]
    assert ZOO["divergences_in_a_line"](world) == (
        "KL(posterior, prior) and KL(prior, posterior): 10.0 and 22.5 nats with the finished code, 13.0 and 12.0 with "
        "the arguments swapped; return +10 (+10 to +10) on 6 matched seeds"
    )
    few = {name: records[:3] for name, records in world.items()}
    assert ZOO["ahead"](few, "kl_arguments_swapped") == "+10"  # three seeds are three seeds
    assert ZOO["as_table_of_divergences"]({"corridor": {"none": [one_of("none", 1500, 1.0)]}}) == ""


def test_the_readme_has_the_lines_of_the_committed_runs() -> None:
    readme = ZOO["README"].read_text(encoding="utf-8")
    written = re.findall(r"zoo.py writes this -->\n`(.+)`\n\n`(.+)`\n<!-- to here", readme)
    worlds = ZOO["found"](ZOO["RESULTS"])
    world, corridor = worlds[ZOO["FIRST"]], worlds["corridor"]
    assert "a corridor in which one action is always best forgives it ten" in " ".join(readme.split())
    assert sum(ZOO["share"](corridor, name) > 0.99 for name in ZOO["TEACH"]) == 10
    costly = [
        {name for name in ZOO["TEACH"] if ZOO["share"](worlds[key], name) <= kept}
        for key, kept in (("cartpole-v3", 0.8), ("position-only", 0.6))
    ]
    assert costly[0] == costly[1] and len(costly[0]) == 4
    shares = [
        f"{100 * ZOO['share'](worlds[key], 'terminal_observation_dropped'):.0f} %"
        for key in ("cartpole-v3", ZOO["FIRST"])
    ]
    assert "leaves it {} of the return, where the guide keeps {},".format(*shares) in " ".join(readme.split())
    assert written == [(ZOO["in_a_line"](world), ZOO["divergences_in_a_line"](world))]


def test_which_losses_look_innocent() -> None:
    rows = {
        "none": {"return": 400.0, "decoder": 1.0, "reward": 1.0},
        "seen": {"return": 100.0, "decoder": 2.0, "reward": 0.0},
        "unseen": {"return": 100.0, "decoder": 1.2, "reward": 0.9},
        "harmless": {"return": 390.0, "decoder": 0.9, "reward": 1000.0},
    }
    figure = figures.innocent_losses(rows)
    alt = figures.alt_text(figure)
    assert "1 of them keep every loss within the band, with returns of 100 to 100" in alt
    decoder, reward = figure.axes  # grey: a loss is off, that one or the other
    assert [sorted(line.get_xdata()) for line in decoder.lines[1:]] == [[0.9, 2.0], [1.2]]
    assert [sorted(line.get_xdata()) for line in reward.lines[1:]] == [[0.01, 100.0], [0.9]]  # at the edge, not lost
