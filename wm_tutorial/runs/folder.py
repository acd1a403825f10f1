"""Run folders: made, told from those of strangers, and kept from a second run."""

import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from wm_tutorial.checkpoint import AGENT, CHECKPOINT, METRICS, SETTINGS
from wm_tutorial.errors import CheckpointError, InputError, OutputError, command
from wm_tutorial.runs.asked import path_of

PAGE, LOCK = "index.html", "run.lock"


def new_folder(out: Any, name: str) -> Path:
    """Make the run folder: `out`, or the first of runs/NAME, runs/NAME-2, ... that does not exist yet.

    Raises:
        InputError: if `out` already holds a run, or files of somebody else that a run would write over.
        OutputError: if the folder cannot be made.
    """
    number = 1
    folder = path_of(out) if out is not None else Path("runs") / name
    try:
        if out is not None:
            check_unused(folder)
            folder.mkdir(parents=True, exist_ok=True)
            return folder
        while True:
            try:
                folder.mkdir(parents=True)  # makes it or fails, so that no other run can have it
                return folder
            except FileExistsError:
                number += 1
                folder = Path("runs") / f"{name}-{number}"
    except OSError as error:
        raise cannot_write(folder, error) from error


def cannot_write(folder: Path, error: OSError) -> OutputError:
    """What to say of a folder that cannot be written to."""
    return OutputError(f"Cannot write to the run folder {folder}: {error}. Choose another with out=... .")


def make_folder(folder: Path) -> None:
    """Make a folder for results, and see that it can be written to; raises OutputError if not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"Cannot write to {folder}: {error}. Choose another folder (--out).") from error


def check_unused(folder: Path) -> None:
    """Raise InputError if a new run in `folder` would write over another one, or over files of somebody else.

    What is left of a run that never came to its first checkpoint may be written over.
    """
    if (folder / CHECKPOINT).exists():
        raise InputError(
            f"{folder} already holds a run. Choose another folder, or go on with it: {command('resume', folder)}"
        )
    foreign = [name for name in (SETTINGS, METRICS, PAGE, AGENT) if (folder / name).exists()]
    if foreign and settings_of(folder) is None:
        raise InputError(
            f"{folder} holds {' and '.join(foreign)}, which no run of this package has left there, and a run would "
            "write over. Choose a new folder."
        )


def settings_of(folder: Path) -> dict[str, Any] | None:
    """The config.json that a run wrote into `folder`, or None."""
    try:
        told = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and "wm_tutorial" in told else None


def existing(path: Any) -> Path:
    """The run folder that was given, or a file in it.

    Raises:
        InputError: if it is no path.
        CheckpointError: if it is the folder of a run that has no checkpoint yet.
    """
    folder = path_of(path)
    if folder.name in (CHECKPOINT, PAGE, SETTINGS) and folder.is_file():
        folder = folder.parent
    if not (folder / CHECKPOINT).exists() and (settings := settings_of(folder)):
        raise CheckpointError(
            f"The run in {folder} has no checkpoint: it was stopped before its first one, or is on its way there "
            f"(checkpoint_every is {settings.get('checkpoint_every')} steps). Wait for it, or begin again in that "
            f"folder: {command('train', 'ENV', '--out', folder)}"
        )
    return folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Inside, no other run writes to `folder`.

    The operating system keeps the lock and gives it back when the process ends, however it ends.

    Raises:
        InputError: if another run is at work there.
        OutputError: if the folder cannot be written to.
    """
    path = folder / LOCK
    file = _hold(path)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # while it is held: nobody can then hold a file that is no longer there
        file.close()
        with suppress(OSError):  # Windows removes no file that is open
            if os.name == "nt":
                path.unlink()


def _hold(path: Path) -> IO[str]:
    while True:
        try:
            file = path.open("a+")
        except OSError as error:
            raise cannot_write(path.parent, error) from error
        if not _try_to_lock(file):
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise InputError(
                f"{path.parent} is in use: {holder} writes to it. Wait for its end, stop it, or choose another folder. "
                f"(If no such run is alive, remove {path}.)"
            )
        with suppress(OSError):  # gone, or another one: whoever held it has just finished
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                file.truncate(0)
                file.write(f"process {os.getpid()} on {platform.node()}\n")
                file.flush()
                return file
        file.close()


def _try_to_lock(file: IO[str]) -> bool:
    """Whether the lock is ours now. Where a file system has none, it counts as ours."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(2**30)  # beyond the text, which others may read
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
