"""benchmarks/world_models_2018.py on a tiny budget: what it writes, that it goes on, and what its table says."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
BENCHMARK = runpy.run_path(str(ROOT / "benchmarks" / "world_models_2018.py"))
TINY = {
    "rows": 160, "envs": 2, "sequence_length": 8, "latent_size": 2, "memory_size": 4, "hidden": 8, "conv_depth": 2,
    "vision_updates": 2, "memory_updates": 2, "generations": 1, "population": 4, "episodes": 1, "limit": 5,
}  # fmt: skip


def test_a_seed_is_measured_once_and_its_table_has_every_experiment(tmp_path: Path) -> None:
    pytest.importorskip("cma")
    recipe = BENCHMARK["Recipe"]((7,), tmp_path / "results", tmp_path / "way", episodes=3, settings=TINY)
    BENCHMARK["main"](recipe)
    path = tmp_path / "results" / "run-7.json"
    record = json.loads(path.read_text())
    assert record["seed"] == 7 and record["settings"]["rows"] == 160 and record["environment"].endswith("Rockfall-v0")
    assert list(record["experiments"]) == list(BENCHMARK["EXPERIMENTS"])
    for name, result in record["experiments"].items():
        assert len(result["returns"]) == len(result["returns_on_means"]) == 3
        assert ("dreamt" in result) == name.startswith("dream")
    page = (tmp_path / "results" / "README.md").read_text()
    assert page == BENCHMARK["table"]([record])
    score = np.mean(record["experiments"]["dream-1.15"]["dreamt"])
    assert f"| 1.15 | **{score:.1f}**<br>" in page and "not measured yet" not in page

    # what is missing is measured, and nothing else
    del record["experiments"]["z"]
    record["experiments"]["z-h"]["returns"] = [1.0, 2.0, 3.0]
    path.write_text(json.dumps(record))
    BENCHMARK["main"](recipe)
    again = json.loads(path.read_text())["experiments"]
    assert len(again["z"]["returns"]) == 3 and again["z-h"]["returns"] == [1.0, 2.0, 3.0]


def test_the_experiments_differ_in_what_their_names_say() -> None:
    control, dreams = BENCHMARK["CONTROL"], BENCHMARK["DREAMS"]
    assert control["z"]["sees"] == "z" and control["z-h-unborn"]["memory_updates"] == 0
    assert all(changes["plays_in"] == "reality" for changes in control.values())
    assert len(dreams) >= 5 and all(set(changes) == {"temperature"} for changes in dreams.values())
    assert len(set(BENCHMARK["SEEDS"])) == 5


def test_the_table_says_what_was_not_measured() -> None:
    page = BENCHMARK["table"]([])
    assert page.count("not measured yet") == 2 * 3 + 3 * len(BENCHMARK["DREAMS"]) and "**" not in page


def test_the_committed_page_is_that_of_the_committed_data() -> None:
    results = BENCHMARK["RESULTS"]
    if records := BENCHMARK["found"](results):
        assert (results / "README.md").read_text() == BENCHMARK["table"](records)


def test_the_readme_tells_what_was_measured() -> None:
    records = [json.loads(path.read_text())["experiments"] for path in sorted(BENCHMARK["RESULTS"].glob("run-*.json"))]
    warm, cold = (
        np.mean([np.mean(record[name]["returns"]) for record in records]) for name in ("dream-1", "dream-0.1")
    )
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert len(records) == 5 and f"survives {warm:.0f} of 100 steps of the game" in readme
    assert f"temperature 0.1 it learns to cheat the dream, and survives {cold:.0f}:" in readme
