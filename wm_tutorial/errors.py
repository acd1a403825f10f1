"""The errors a user can meet: each says what was given, what is accepted, and what to do next."""

import os
import shlex
import subprocess
from pathlib import Path


def command(*words: object) -> str:
    """`wm-tutorial WORDS` as the shell of this machine takes it, to be typed or pasted: what to do next."""
    # a path that begins like an option would be read as one
    told = [f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word) for word in words]
    line = ["wm-tutorial", *told]
    return subprocess.list2cmdline(line) if os.name == "nt" else shlex.join(line)


class WorldModelError(Exception):
    """Base of every error this package raises on purpose; the command line prints it without a traceback."""


class InputError(WorldModelError, ValueError):
    """An argument, option, space or array that cannot be used."""


class EnvironmentFailure(WorldModelError, RuntimeError):
    """The environment raised, or returned something that is not a number."""


class CallbackFailure(WorldModelError, RuntimeError):
    """A callback of the user raised, or returned something that says neither to stop nor to go on."""


class NonFiniteError(WorldModelError, ArithmeticError):
    """A loss became infinite or not a number, or an imagined return not a number."""


class ProcessFailure(WorldModelError, RuntimeError):
    """Another of the processes that learn together has failed, or ended without a word."""


class CheckpointError(WorldModelError, ValueError):
    """A checkpoint that cannot be read, or that belongs to something else."""


class JobsFailed(WorldModelError, RuntimeError):
    """Of several runs, some failed; the others are kept."""


class OutputError(WorldModelError, OSError):
    """A folder or file that cannot be written."""
