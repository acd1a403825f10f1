"""The pages around the code say what is so."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from changed import EVERYTHING, SECONDS
from chapters import BOUNDS

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


# --- For people who carry on ------------------------------------------------------------------------------------------

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINNED = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]


def canonical(name: str) -> str:
    """How package registries compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_requirement_is_pinned() -> None:
    pinned = {canonical(name) for name in PINNED}
    asked = PROJECT["dependencies"] + [one for extra in PROJECT["optional-dependencies"].values() for one in extra]
    names = {canonical(re.split(r"[\[<>=;]", requirement)[0]) for requirement in asked}
    assert {"ruff", "pre-commit", "pre-commit-hooks"} <= names <= pinned


def test_hooks_are_programs_of_the_environment_so_that_no_second_set_of_versions_exists() -> None:
    assert [repo["repo"] for repo in HOOKS] == ["local"]
    for hook in HOOKS[0]["hooks"]:
        assert hook["language"] == "system" and hook["entry"].startswith(".venv/bin/")
        assert "additional_dependencies" not in hook


def test_hooks_lint_as_make_check_does_and_let_chapters_be_as_large_as_the_rules() -> None:
    entries = {hook["id"]: hook["entry"] for hook in HOOKS[0]["hooks"]}
    makefile = (ROOT / "Makefile").read_text()
    assert "$(BIN)/ruff check\n" in makefile and entries["ruff-check"].startswith(".venv/bin/ruff check")
    assert "$(BIN)/ruff format --check\n" in makefile and entries["ruff-format"].startswith(".venv/bin/ruff format")
    assert entries["large-files"].endswith(f"--maxkb={BOUNDS['kilobytes'][1]}")
    assert (ROOT / entries["clean-notebooks"].split()[1]).exists()


CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def test_how_to_contribute_is_one_page() -> None:
    assert len(CONTRIBUTING.splitlines()) <= 120


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "README.md"])
def test_every_command_of_a_page_is_a_target(page: str) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    commands = re.findall(r"(?:`|^ *)make ([a-z]+)", (ROOT / page).read_text(), re.MULTILINE)
    assert commands and set(commands) <= set(targets)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("WORLDS", "tests/test_worlds.py"),
        ("FLOORS", "tests/test_architecture.py"),
        ("EXPERIMENTS", "benchmarks/results.py"),
    ],
)
def test_where_something_is_added_is_a_name_there(name: str, file: str) -> None:
    assert f"`{name}`" in CONTRIBUTING and re.search(rf"^{name}\b", (ROOT / file).read_text(), re.MULTILINE)


def test_how_long_everything_takes_is_said_alike() -> None:
    (minutes,) = re.findall(r"about (\d+) minutes", EVERYTHING)
    for page in ("README.md", "CONTRIBUTING.md", "Makefile"):
        (line,) = re.findall(r"^.*make test  .*$|^test:.*## .*$", (ROOT / page).read_text(), re.MULTILINE)
        assert f"about {minutes} minutes" in line, page
    assert SECONDS < 60


def test_what_the_readme_promises_for_an_evening_is_what_it_lists() -> None:
    told = README.split("an evening: ")[1]
    modules, lines = re.match(r"(\d+) modules of ([\d,]+) lines", told).groups()  # type: ignore[union-attr]
    agent = re.findall(r"\]\((wm_tutorial/\w+\.py)\)", told.split("Around it stands")[0])
    assert len(agent) == int(modules)
    written = sum(len((ROOT / path).read_text().splitlines()) for path in agent)
    assert abs(written - int(lines.replace(",", ""))) <= 100


def test_the_readme_lists_every_room_once() -> None:
    rooms = [path.name for path in (ROOT / "wm_tutorial").iterdir() if path.is_dir() or path.suffix == ".py"]
    house = README.split("## The house")[1].split("## From the guide")[0]
    listed = re.findall(r"\]\(wm_tutorial/([\w.]+)\)", house)
    left_out = {"__init__.py", "__main__.py", "__pycache__", "py.typed"}
    assert sorted(listed) == sorted(set(rooms) - left_out)
