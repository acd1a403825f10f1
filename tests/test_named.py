"""Environments named on the command line: modules of the working directory, callables, ids that a module registers."""

import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import pytest

from wm_tutorial.envs import make_env, spelling
from wm_tutorial.errors import InputError
from wm_tutorial.runs.named import Imported, called, named

MODULE = """
import functools
import gymnasium as gym
from gymnasium.envs.classic_control import CartPoleEnv

class Easy(CartPoleEnv):
    pass

class Nest:
    make = staticmethod(lambda: Easy())

def build():
    return gym.wrappers.TimeLimit(Easy(), 10)

easy = functools.partial(Easy, render_mode=None)
number = 3
gym.register("Registered-v3", Easy)
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module in the working directory, which is not on the path yet."""
    (tmp_path / "my_worlds.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "script.py").write_text("import sys; sys.exit(3)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("my_worlds", None)
    gym.registry.pop("Registered-v3", None)


def test_the_working_directory_comes_last_and_only_for_a_module(tmp_path: Path) -> None:
    before = list(sys.path)
    assert named("CartPole-v1") == "CartPole-v1" and sys.path == before
    named("my_worlds:build")
    assert sys.path == [*before, str(tmp_path)]
    named("my_worlds:Easy")
    assert sys.path == [*before, str(tmp_path)]


@pytest.mark.parametrize("name", ["Easy", "build", "easy", "Nest.make"])
def test_a_callable_builds_environments_and_keeps_its_name(name: str) -> None:
    source = named(f"my_worlds:{name}")
    assert isinstance(source, Imported)
    one, other = make_env(source), make_env(source)
    assert one is not other and type(one.unwrapped).__name__ == called(source) == "Easy"
    assert spelling(source) == f"my_worlds:{name}"


@pytest.mark.parametrize("name", ["Registered-v3", "Registered"])
@pytest.mark.filterwarnings("ignore:.*latest versioned")
def test_an_id_that_the_module_registers_is_left_to_gymnasium(name: str) -> None:
    source = named(f"my_worlds:{name}")
    assert source == f"my_worlds:{name}" == spelling(source)
    assert type(make_env(source).unwrapped).__name__ == "Easy"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("my_world:Easy", r"importing 'my_world' raised ModuleNotFoundError"),
        ("my_worlds.py:Easy", r"Leave the \.py out: my_worlds:Easy"),
        ("broken:Easy", r"importing 'broken' raised ZeroDivisionError: division by zero"),
        ("script:Easy", r"importing 'script' raised SystemExit: 3"),
        (":Easy", r"raised ValueError"),
        ("..my_worlds:Easy", r"raised TypeError"),
        ("my_worlds:biuld", r"has no callable 'biuld'.*did you mean my_worlds:build"),
        ("my_worlds:number", r"has no callable 'number'.*give module:callable, or module:Id-v0"),
        ("my_worlds:", r"has no callable ''"),
        ("my_worlds:Registered-v9", r"has no callable 'Registered-v9'"),
    ],
)
def test_what_a_module_does_not_have(name: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        named(name)


def test_what_cannot_be_imported_has_no_spelling() -> None:
    assert spelling(lambda: gym.make("CartPole-v1")) is None
    main = type("Here", (gym.Env,), {"__module__": "__main__"})
    assert spelling(main) is None
