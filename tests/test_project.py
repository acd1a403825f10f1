"""The pages around the code say what is so."""

import ast
import importlib
import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import NoReturn

import pytest
import yaml
from changed import EVERYTHING, SECONDS
from chapters import BOUNDS
from lock import LOCKS, OF_A_BUILD, blocks, wanted, without_builds

import wm_tutorial
from wm_tutorial import cli, zoo
from wm_tutorial.config import PRESETS, SIZES, sizes_of
from wm_tutorial.runs.report import COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_version_stands_the_same_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited and cited[1] == version == wm_tutorial.__version__


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!https:)([^)#]+)\)", README))))
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


# --- What is installed has a hash -------------------------------------------------------------------------------------

EACH_LOCK = pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def locked_in(path: Path) -> dict[str, str]:
    """The versions of a lock by canonical name."""
    return {
        canonical(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", path.read_text(), re.MULTILINE)
    }


@EACH_LOCK
def test_a_lock_has_the_versions_of_the_constraints_and_a_hash_for_each(path: Path) -> None:
    pinned = {canonical(name): version for name, version in PINNED.items()}
    locked = locked_in(path)
    assert {name: pinned.get(name) for name in locked} == locked
    packages = blocks(path.read_text().split("\n", 1)[1])
    assert len(packages) == len(locked) > 90
    for package in packages:
        assert re.fullmatch(r"\S+==\S+( ; [^\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n", package), package


@EACH_LOCK
def test_a_lock_has_all_that_its_extras_ask_for_but_torch(path: Path) -> None:
    asked = {canonical(re.split(r"[\[<>=;]", one)[0]) for one in wanted(LOCKS[path], whole=path.stem == "course")}
    assert asked - {"torch"} <= locked_in(path).keys()
    if path.stem == "course":
        assert {"pip", "hatchling", "numpy", "filelock", "sympy"} <= locked_in(path).keys()  # torch needs the last two


@EACH_LOCK
def test_a_lock_leaves_the_build_of_torch_to_people_and_names_no_address(path: Path) -> None:
    text = path.read_text()
    assert not [package for package in blocks(text) if OF_A_BUILD.match(package)] and "://" not in text


def test_torch_and_the_libraries_of_a_build_are_taken_out_of_a_lock() -> None:
    hashed = " \\\n    --hash=sha256:1\n    --hash=sha256:2\n"
    names = ["a", "cuda-toolkit", "nvidia-cublas", "torch", "torchrl", "triton", "z"]
    lock = "".join(f"{name}==1{hashed}" for name in names)
    assert [package.split("==")[0] for package in blocks(without_builds(lock))] == ["a", "torchrl", "z"]


def test_the_package_is_built_by_the_version_that_is_pinned() -> None:
    system = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]
    assert system["requires"] == [f"hatchling=={PINNED['hatchling']}"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_names_each_action_by_its_commit_and_keeps_no_credentials(path: Path) -> None:
    text = path.read_text()
    assert len(re.findall(r"uses: [\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+\n", text)) == text.count("uses:")
    for job in yaml.safe_load(text)["jobs"].values():
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_new_versions_of_the_actions_are_proposed() -> None:
    (update,) = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    assert update["package-ecosystem"] == "github-actions"


def test_a_system_package_is_installed_by_one_target_only_and_ci_asks_for_it_in_plain_sight() -> None:
    targets = re.findall(r"^([\w-]+):.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [target for target, recipe in targets if "apt-get" in recipe] == ["chromium"]
    ci = [
        line.partition(" #")[0] for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("make")
    ]
    built = ["make book", "make slides"]
    assert ci == ["make locked test", "make mutants ARGS=--mathematics", *built, "make chromium", "make browser"]


# --- Files that other programs read -----------------------------------------------------------------------------------

WRITERS = [path for folder in ("tools", "benchmarks", "wm_tutorial") for path in sorted((ROOT / folder).rglob("*.py"))]


def test_committed_json_is_json_without_the_infinities_of_python() -> None:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    tracked = subprocess.run(["git", "ls-files", "*.json", "*.ipynb"], cwd=ROOT, capture_output=True, text=True)
    found = [ROOT / name for name in tracked.stdout.split()] or sorted((ROOT / "book" / "results").rglob("*.json"))
    assert len(found) > 50
    for path in found:
        try:
            json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
        except ValueError as error:
            pytest.fail(f"{path.relative_to(ROOT)}: {error}")


@pytest.mark.parametrize("path", WRITERS, ids=lambda path: path.stem)
def test_what_writes_json_refuses_what_json_has_no_word_for(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    for call in calls:
        if ast.unparse(call.func) in ("json.dump", "json.dumps"):
            assert "allow_nan=False" in ast.unparse(call), f"line {call.lineno}"


# --- Hooks and pages --------------------------------------------------------------------------------------------------


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


HOW_TO_USE = (ROOT / "book" / "how_to_use.md").read_text()
TROUBLESHOOTING = (ROOT / "book" / "troubleshooting.md").read_text()
NOTEBOOKS = (ROOT / "notebooks" / "README.md").read_text()


@pytest.mark.parametrize(
    "page",
    [README, HOW_TO_USE, TROUBLESHOOTING, NOTEBOOKS, COMMANDS],
    ids=["readme", "use", "trouble", "notebooks", "run"],
)
def test_where_the_command_is_stands_wherever_it_is_used(page: str) -> None:
    assert "source .venv/bin/activate" in page and r".venv\Scripts\activate" in page


@pytest.mark.parametrize("page", [README, HOW_TO_USE], ids=["readme", "use"])
def test_how_much_arrives_is_said_with_the_line_that_makes_it_less(page: str) -> None:
    assert "more than 5 GB" in page and "1.5 GB" in page and f"torch=={PINNED['torch']} --index-url ADDRESS" in page


def test_the_readme_tells_activation_before_the_first_command_that_needs_it() -> None:
    assert README.index("source .venv/bin/activate") < README.index("    wm-tutorial train")


def test_what_make_installs_is_said_stage_by_stage() -> None:
    stages = re.findall(r"Installing into \$\(VENV\), (\d) of (\d)", (ROOT / "Makefile").read_text())
    assert stages == [(str(n), str(len(stages))) for n in range(1, len(stages) + 1)]


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
