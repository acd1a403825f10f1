"""benchmarks/doctor.py on a tiny budget: what it writes, that it goes on, and what its table counts."""

import json
import runpy
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from scripted import TINY, tree

from wm_tutorial.runs.asked import check_learns

BENCHMARK = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "doctor.py"))


def record(bug: str, return_: float, *findings: tuple[str, str, bool]) -> dict[str, Any]:
    told = [[*finding, "seen"] for finding in findings]
    return {"environment": "CartPole-v1", "bug": bug, "return": return_, "chance": 20.0, "findings": told}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Three sound runs, one of them with a false alarm, and five with a mistake, of which four suffered."""
    model, alarm = ("dream worse than persistence", "world model", False), ("return at chance", "outcome", False)
    hint = ("ends underrated", "world model", True)
    runs = [
        ("none", 0, 500.0),
        ("none", 1, 480.0, hint),
        ("none", 2, 490.0, model),
        ("action_late", 0, 100.0, model, alarm),  # in the right part
        ("action_late", 1, 300.0, hint),  # overlooked: a hint is no finding
        ("value_departing", 0, 200.0, alarm),  # found, and no cause named
        ("value_departing", 1, 200.0, model),  # found in another part
        ("reward_late", 0, 470.0, model),  # lost, but less than a quarter
    ]
    for bug, seed, return_, *findings in runs:
        path = tmp_path / "cartpole" / bug / f"seed-{seed}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record(bug, return_, *findings)))
    return tmp_path


def test_what_is_counted(results: Path) -> None:
    summary = BENCHMARK["summarise"](results)
    counted = {name: (share["count"], share["of"]) for name, share in summary["shares"].items()}
    assert counted == {"found": (3, 4), "right part": (1, 4), "false alarms": (1, 3)}
    assert summary["overlooked"] == ["action_late", "value_departing"]
    assert summary["alarms"] == ["CartPole-v1: dream worse than persistence"]
    table = BENCHMARK["as_table"](summary)
    assert "| 3 of 4 | 75% | 30% to 95% |" in table and "| 1 of 3 | 33% |" in table


def test_wilsons_interval() -> None:
    assert BENCHMARK["wilson"](8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert BENCHMARK["wilson"](0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert BENCHMARK["wilson"](0, 0) == (0.0, 1.0)


def test_every_mistake_that_is_let_out_has_a_part() -> None:
    let_out = {
        bug
        for name, world in BENCHMARK["WORLDS"].items()
        for bug in BENCHMARK["mistakes_in"](name, world.config(seed=0))
    }
    assert len(let_out) > 80
    for bug in let_out:
        assert BENCHMARK["parts_of"](bug)
    assert BENCHMARK["parts_of"]("updates_per_vector_step") == ("training",)
    assert BENCHMARK["parts_of"]("acts_without_memory") == ("acting",)


def test_every_world_can_be_learned_in() -> None:
    for world in BENCHMARK["WORLDS"].values():
        gym.spec(world.env)
        check_learns(world.config(seed=0))
    assert {*BENCHMARK["MISTAKEN"], BENCHMARK["WITH_MEMORY"]} <= set(BENCHMARK["WORLDS"])
    assert not set(BENCHMARK["SEEDS"]) & set(BENCHMARK["THRESHOLDS"])


def test_each_mistake_is_let_out_where_it_makes_a_difference() -> None:
    let_out = {name: BENCHMARK["mistakes_in"](name, world.config(0)) for name, world in BENCHMARK["WORLDS"].items()}
    assert {"reward_late", "value_departing"} <= set(let_out["cartpole"]) & set(let_out["corridor"])
    assert "acts_without_memory" in let_out["cartpole-v3"] and "reward_late" not in let_out["cartpole-v3"]
    assert not let_out["pendulum"]


def test_the_page_has_a_place_for_the_table_and_no_table_without_runs(tmp_path: Path) -> None:
    page = BENCHMARK["PAGE"].read_text(encoding="utf-8")
    assert len(BENCHMARK["BLOCK"].findall(page)) == 1
    assert BENCHMARK["as_table"](BENCHMARK["summarise"](tmp_path)) == ""
    BENCHMARK["main"](worlds=(), results=tmp_path)
    assert not tree(tmp_path) and BENCHMARK["PAGE"].read_text(encoding="utf-8") == page
    with pytest.raises(SystemExit, match="Thresholds were set on seed 0"):
        BENCHMARK["main"](seeds=(0,), results=tmp_path)


def test_each_run_is_made_once(tmp_path: Path) -> None:
    world = {"cartpole": BENCHMARK["World"]("CartPole-v1", TINY)}
    BENCHMARK["measure"](tmp_path, world, ["cartpole"], [7], ["reward_late"])
    made = tree(tmp_path)
    assert {name for name, content in made.items() if content} == {
        f"cartpole/{bug}/seed-7.json" for bug in ("none", "reward_late")
    }
    told = json.loads((tmp_path / "cartpole" / "none" / "seed-7.json").read_text())
    assert told["config"]["seed"] == 7 and told["return"] > 0.0 and "too early" in " ".join(told["missed"])
    BENCHMARK["measure"](tmp_path, world, ["cartpole"], [7], ["reward_late"])
    assert tree(tmp_path) == made
    assert BENCHMARK["summarise"](tmp_path)["shares"]["false alarms"]["of"] == 1
