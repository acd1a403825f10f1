"""The committed learning results: each comes from the command it names, and the tables say what the files say."""

import dataclasses
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from wm_tutorial.cli import Measure, Zoo, command_line

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "book" / "results").glob("**/seed-*.json"))


@pytest.fixture(scope="module")
def results() -> ModuleType:
    spec = importlib.util.spec_from_file_location("results", ROOT / "benchmarks" / "results.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-2:]))
def test_the_command_of_a_result_has_the_options_it_was_measured_with(path: Path) -> None:
    record = json.loads(path.read_text())
    program, *words = record["command"].split()
    asked = command_line(words)
    assert program == "wm-tutorial" and isinstance(asked, Measure | Zoo)
    seed = record["config"]["seed"]
    assert path.name == f"seed-{seed}.json" and seed in asked.seeds and asked.env.endswith(record["environment"])
    assert path.is_relative_to(ROOT / asked.out) and len(record["final_returns"]) == asked.episodes
    assert dataclasses.asdict(dataclasses.replace(asked.config, seed=seed)) == record["config"]


def test_the_tables_are_those_of_the_files(results: ModuleType) -> None:
    for path, text in results.texts().items():
        assert path.read_text() == text, f"{path.name} is older than its data: make results"


def test_every_folder_of_results_belongs_to_an_experiment(results: ModuleType) -> None:
    folders = {path.parent.name for path in FILES if path.parent.parent.name == "results"}
    assert folders <= set(results.ALL)
