"""The pages around the code say what is so."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest

import wm_tutorial
from wm_tutorial import cli, zoo
from wm_tutorial.config import PRESETS, SIZES, sizes_of

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_version_stands_the_same_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited and cited[1] == version == wm_tutorial.__version__


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_every_link_of_the_readme_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


def table_of_the_guide() -> list[list[str]]:
    table = README.split("| in the guide |")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


@pytest.mark.parametrize("row", table_of_the_guide(), ids=lambda row: row[0])
def test_every_name_of_the_guide_leads_to_a_name_here(row: list[str]) -> None:
    _, here, corrected = row
    names = re.findall(r"`([\w.]+)`", here)
    assert names
    for module, *path in (name.split(".") for name in names if name not in ("train_step", "metrics.jsonl")):
        found = importlib.import_module(f"wm_tutorial.{module}")
        for attribute in path:
            found = getattr(found, attribute)
    assert set(re.findall(r"`(\w+)`", corrected)) <= set(zoo.BUGS)


def test_all_ten_faults_of_the_guide_are_named_in_its_table() -> None:
    named = {bug for row in table_of_the_guide() for bug in re.findall(r"`(\w+)`", row[2])}
    assert len(named) == 10 and named <= set(zoo.BUGS)


@pytest.mark.parametrize("code", re.findall(r"```python\n(.+?)```", README, re.DOTALL))
def test_the_code_of_the_readme_imports_what_it_uses(code: str) -> None:
    for line in code.splitlines():
        if line.startswith("from wm_tutorial import"):
            exec(line, {})
    assert compile(code, "README.md", "exec")


def test_the_readme_names_every_preset_and_size_and_no_other() -> None:
    told = README.split("The presets\n")[1].split("\n\n")[0]
    presets, sizes = told.split(" are rows ")
    assert ["guide", *re.findall(r"`(\w+)`", presets)] == list(PRESETS)
    first, last = re.findall(r"`(size\w+)` to `(size\w+)`", sizes)[0]
    named = re.findall(r"`(\w+)`", sizes)
    reference = [size for size in SIZES if size.startswith("size")]
    assert (first, last) == (reference[0], reference[-1])
    assert [*named[:2], *reference] == list(SIZES) and named[-1] == "paper"
    assert [name for name in PRESETS if "paper" in sizes_of(name)] == list(PRESETS)[1:4]


@pytest.mark.parametrize("line", re.findall(r"`wm-tutorial (train [^`]*--[^`]*)`", README))
def test_the_training_commands_of_the_readme_are_understood(line: str) -> None:
    command = cli.command_line(line.split())
    assert isinstance(command, cli.Train) and command.config.preset in PRESETS
