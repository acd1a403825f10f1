"""Environments by the names that people give them on the command line."""

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import gymnasium as gym

from wm_tutorial.envs import EnvSource, make_env, name_of
from wm_tutorial.errors import InputError


@dataclass(frozen=True)
class Imported:
    """A callable that was named as module:callable; `spelling` is that name."""

    spelling: str
    build: Callable[[], gym.Env[Any, Any]]

    def __call__(self) -> gym.Env[Any, Any]:
        """A new environment."""
        return self.build()


def named(env: str) -> EnvSource:
    """The environment of a name: Gymnasium's id, `module:Id-v0` of one that the module registers, or `module:callable`.

    A module may lie in the working directory, which then comes last on Python's path.

    Raises:
        InputError: if the module cannot be imported, or has no such thing.
    """
    module, colon, name = env.partition(":")
    if not colon:
        return env
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found: Any = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        hint = f" Leave the .py out: {module[:-3]}:{name}" if module.endswith(".py") else ""
        raise InputError(
            f"The environment is {env!r}, and importing {module!r} raised {type(error).__name__}: {error}.{hint}"
        ) from error
    offered = [thing for thing, value in vars(found).items() if isinstance(value, Callable) and thing[0] != "_"]  # type: ignore[arg-type]
    for part in name.split("."):
        found = getattr(found, part, None)
    if callable(found):
        return Imported(env, found)
    if name not in gym.registry and not any(name == known.rpartition("-v")[0] for known in gym.registry):
        similar = get_close_matches(name, offered, n=1)
        hint = f"did you mean {module}:{similar[0]}?" if similar else "give module:callable, or module:Id-v0."
        raise InputError(f"{module!r} has no callable {name!r}, and registers no environment of that name; {hint}")
    return env


def called(source: EnvSource) -> str:
    """What an environment is called in results: its id without the namespace, or the class that a callable builds."""
    if isinstance(source, str):
        return name_of(source)
    env = make_env(source)
    try:
        return type(env.unwrapped).__name__
    finally:
        env.close()
