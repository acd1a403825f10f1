"""The arrows of the house run downward only: what each room may know, read from its imports.

Imports inside functions count, too. That a module is loaded late changes nothing about who knows whom.
"""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from changed import ROOT, imported, module_of, modules

# From the ground up. A module may import its own floor and those below; a package counts as all that is in it.
FLOORS = (
    {"errors"},
    {"data", "checkpoint", "chunks", "parts", "presets", "randomness", "process", "ambient"},
    {"networks", "kl", "transforms", "returns", "latents"},  # the mathematics
    {"config", "lineage"},
    {"encoder", "dynamics", "scan", "heads", "composite"},
    {"world_model"},
    {"imagination"},
    {"actor_critic", "planner"},
    {"agent"},
    {"replay", "optim", "spaces", "envs", "vector", "pace"},
    {"learner"},
    {"evaluation"},
    {"trainer", "world_models_2018"},
    {"worlds", "figures", "play"},
    {"instruments"},
    {"runs"},
    {"mistakes"},
    {"course", "check", "zoo"},
    {"grade"},
    {"cli"},
    {"wm_tutorial", "__main__"},  # `from wm_tutorial import train`, `python -m wm_tutorial`
)
WINGS = {"worlds", "figures", "play", "instruments", "runs", "course", "mistakes", "check", "zoo", "grade"}
ABOVE_THE_TRAINER = WINGS | {"cli", "wm_tutorial", "__main__"}

# Wings that stand alone: the rooms that they may know, themselves aside.
ALONE = {"worlds": {"data", "errors"}, "figures": {"data", "errors"}}

# Modules of others that not every room below the wings may know.
GUESTS = {
    "gymnasium": {"envs", "spaces", "vector"},
    "tqdm": {"trainer"},
    "safetensors": {"checkpoint"},
    "matplotlib": set[str](),
    "PIL": set[str](),
}
FILES = {"checkpoint", "chunks", "trainer"}  # rooms below the wings that read and write files
ON_FILES = {"mkdir", "open", "read_bytes", "read_text", "touch", "unlink", "write_bytes", "write_text"}
ON_FILES |= {f"{library}.{does}" for library in ("np", "numpy", "torch") for does in ("load", "save", "savez")}

MODULES = {name: path for name, path in modules().items() if ROOT / "wm_tutorial" in path.parents}
IMPORTS = {name: imported(path) for name, path in MODULES.items()}
EACH = pytest.mark.parametrize("module", MODULES)


def room(module: str) -> str:
    """The room that a module is, or the wing that it stands in: `figures` for wm_tutorial.figures.curves."""
    return [*module.split("."), module][1]


def known_to(module: str) -> set[str]:
    """The modules of the package that a module imports from."""
    return {found for name in IMPORTS[module] if (found := module_of(name, MODULES))}


def below_the_wings(module: str) -> bool:
    return room(module) not in ABOVE_THE_TRAINER


def floor(name: str) -> int:
    """Counted from the ground; a room that has none yet is above all others."""
    return next((height for height, rooms in enumerate(FLOORS) if name in rooms), len(FLOORS))


@EACH
def test_every_module_has_one_floor(module: str) -> None:
    floors = [height for height, rooms in enumerate(FLOORS) if room(module) in rooms]
    assert len(floors) == 1, f"say in FLOORS on which floor {room(module)} stands"


@EACH
def test_arrows_run_downward_only(module: str) -> None:
    upward = {other for other in known_to(module) if floor(room(other)) > floor(room(module))}
    assert not upward, f"{module} stands below {', '.join(sorted(upward))}, and imports from it"


def test_there_is_no_circle() -> None:
    try:
        TopologicalSorter({module: known_to(module) for module in MODULES}).prepare()
    except CycleError as error:
        pytest.fail(f"These import each other in a circle: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("wing", ALONE)
def test_worlds_and_figures_know_the_data_only(wing: str) -> None:
    for module in (module for module in MODULES if room(module) == wing):
        assert {room(other) for other in known_to(module)} <= ALONE[wing] | {wing}, module


@EACH
def test_gymnasium_and_the_progress_bar_stay_in_their_rooms(module: str) -> None:
    met = {name.partition(".")[0] for name in IMPORTS[module]} & GUESTS.keys()
    if below_the_wings(module):
        assert {guest for guest in met if room(module) not in GUESTS[guest]} == set()


def touches_files(path: Path) -> list[str]:
    """Calls in a module that open, make or remove a file."""
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    said = [ast.unparse(call) for call in calls]
    return [call for call in said if call in ON_FILES or call.rpartition(".")[2] in ON_FILES]


@EACH
def test_files_are_opened_by_checkpoint_chunks_and_trainer_and_in_the_wings(module: str) -> None:
    if below_the_wings(module) and room(module) not in FILES:
        assert not touches_files(MODULES[module])


def test_imports_are_written_in_full() -> None:
    """So that a search for `wm_tutorial.kl` finds everyone who knows it."""
    assert not {module for module, names in IMPORTS.items() if any(name.startswith(".") for name in names)}


def test_training_can_be_imported_without_what_draws_and_without_the_libraries_of_extras() -> None:
    code = "import sys, wm_tutorial; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = ast.literal_eval(
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    )
    unneeded = {"matplotlib", "PIL", "tensorboard", "huggingface_hub", "imageio_ffmpeg", "ray", "envpool", "pufferlib"}
    assert "gymnasium" in loaded and not unneeded & set(loaded)


# --- The tests of this file notice what they are there for ------------------------------------------------------------


def test_a_call_on_a_file_is_seen(tmp_path: Path) -> None:
    (tmp_path / "room.py").write_text("open(a)\npath.open()\ntorch.load(b)\nAgent.load(c)\npath.parent.mkdir()\n")
    assert touches_files(tmp_path / "room.py") == ["open", "path.open", "torch.load", "path.parent.mkdir"]


def test_an_import_inside_of_a_function_is_seen(tmp_path: Path) -> None:
    (tmp_path / "room.py").write_text("def f():\n    from wm_tutorial import kl\n    import wm_tutorial.data as d\n")
    assert {module_of(name, MODULES) for name in imported(tmp_path / "room.py")} == {
        "wm_tutorial.kl",
        "wm_tutorial.data",
    }
