"""The committed learning results: each comes from the command it names, and the tables say what the files say."""

import dataclasses
import json
import runpy
from pathlib import Path

import pytest

from wm_tutorial.cli import Measure, Zoo, command_line
from wm_tutorial.config import from_plain, plain

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
    assert from_plain(record["config"]) == config and set(record["config"]) == set(plain(config))


def test_the_tables_are_those_of_the_files() -> None:
    for path, text in MAKING["texts"]().items():
        assert path.read_text() == text, f"{path.name} is older than its data: make results"


def test_every_folder_of_results_belongs_to_an_experiment() -> None:
    folders = {path.parent.name for path in FILES if path.parent.parent.name == "results"}
    assert folders <= set(MAKING["ALL"])
