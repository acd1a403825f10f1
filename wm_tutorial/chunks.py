"""A replay in files of its own beside the checkpoint: saving again writes what is new, a piece of memory at a time.

    checkpoint.pt   everything else of a run, and the names of the files that belong to it
    replay/         the columns of the replay, cut into pieces of some rows; each piece a file in NumPy's format

A file is never changed, and its name ends in the checksum of what it holds: a piece that is as it was before is there
already. The checkpoint is written last and replaced at once, so that whatever ends the process leaves the old one or
the new one, with all its files; files that it does not name are removed afterwards.

Observations, actions, rewards and flags are written once. The stored states are another matter: updates refresh them
all over the replay, so between two checkpoints nearly all of their pieces change, and are written again.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from wm_tutorial import checkpoint
from wm_tutorial.checkpoint import abandoned, atomic, check_form
from wm_tutorial.data import Array
from wm_tutorial.errors import CheckpointError

FOLDER = "replay"
BYTES = 2**24  # of a piece, which is what saving and loading need of memory
NAME = re.compile(r"\w+-\d{4,}-([0-9a-f]{32})\.npy")
T = TypeVar("T")


def write(path: Path, content: dict[str, Any], name: str = FOLDER) -> None:
    """Write `content` to `path` as `checkpoint.write` does, but its replay to files of its own beside it.

    Args:
        name: of the folder for these files; each checkpoint needs one of its own.

    Raises:
        OutputError: if that cannot be done; the old checkpoint is then as it was.
    """
    try:
        kept = write_rows(path.parent / name, content["replay"])
        checkpoint.write(path, {**content, "replay": kept})
    finally:
        tidy(path, name=name)


def write_rows(folder: Path, replay: dict[str, Any]) -> dict[str, Any]:
    """Write what `Replay.state_dict` returned into `folder`; several replays may share one.

    Returns:
        The same with each column replaced by `{"rows": rows in a piece, "files": names}`, for a checkpoint.

    Raises:
        OutputError: if that cannot be done.
    """
    kept: dict[str, Any] = {}
    for name, rings in replay.items():
        if not isinstance(rings, list):  # a counter
            kept[name] = rings
            continue
        size = sum(ring[:1].nbytes for ring in rings)  # of a row of every stream
        rows = max(1, BYTES // max(1, size))
        begins = _begins(len(rings[0]) if size else 0, rows)
        pieces = (np.stack([ring[begin : begin + rows].numpy() for ring in rings]) for begin in begins)
        kept[name] = {"rows": rows, "files": [_write(folder, f"{name}-{i:04}", x) for i, x in enumerate(pieces)]}
    with suppress(OSError):  # the names, too, are to be on the disk before a checkpoint mentions them
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
    return kept


def _begins(held: int, rows: int) -> range:
    """Where the pieces of a ring begin that holds so many rows."""
    return range(0, held, rows)


def _write(folder: Path, name: str, piece: Array) -> str:
    """Write a piece, unless it is there; returns the name of its file."""
    path = folder / f"{name}-{_checksum(piece)}.npy"
    if not (path.is_file() and path.stat().st_size > piece.nbytes):
        with atomic(path, lambda written: _look_at(written, path.name)) as file:
            np.lib.format.write_array(file, piece, allow_pickle=False)
    return path.name


def _checksum(piece: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(piece).data).hexdigest()[:32]


def _look_at(path: Path, name: str, place: Array | None = None) -> Array:
    """A piece as it lies in the file at `path`; no code in it is run.

    Args:
        name: under which it was written, with its checksum.
        place: where it is to go, of the same form.

    Raises:
        CheckpointError: if the file is missing, damaged, another one, of another form, or holds what is no number.
    """
    try:
        piece = np.lib.format.open_memmap(path, mode="c")  # in private: nothing is written to the file
        if place is not None:
            check_form(torch.from_numpy(piece), torch.from_numpy(place), "what it holds")
        if NAME.fullmatch(name)[1] != _checksum(piece):  # type: ignore[index]
            raise ValueError("its checksum is another one")
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} is missing, and belongs to it: a run is moved and copied with everything in its folder"
        ) from error
    except Exception as error:  # whatever damaged bytes lead to
        raise CheckpointError(f"{path} is damaged or another file than was written: {error}") from error
    return piece


# --- Reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """A column of a replay that lies in files.

    rows   of every stream in each file, but for the last one
    files  their names, in the order of the ring
    """

    folder: Path
    rows: int
    files: list[str]

    def read_into(self, column: Array) -> None:
        """Read it into `column` (streams, rows held, ...), piece by piece.

        Raises:
            CheckpointError: at the first file that is missing, damaged, another one, or of another form.
        """
        begins = _begins(column.shape[1] if column.size else 0, self.rows)
        if len(begins) != len(self.files):
            raise CheckpointError(f"it names {len(self.files)} files of a column instead of {len(begins)}")
        for begin, name in zip(begins, self.files, strict=True):
            place = column[:, begin : begin + self.rows]
            place[:] = _look_at(self.folder / name, name, place)  # and not into memory of its own first


def opened(path: Path, replay: Any, name: str = FOLDER) -> Any:
    """What `write_rows` returned and the checkpoint at `path` holds, for `Replay.load_state_dict`; nothing is read yet.

    Older checkpoints hold the columns themselves, which stay as they are.

    Raises:
        CheckpointError: if it names something else than such files.
    """
    if not isinstance(replay, dict):
        return replay
    columns = {column: value for column, value in replay.items() if isinstance(value, dict)}
    for column, told in columns.items():
        files = told.get("files")
        expected = {"rows": 1, "files": [""] * len(files if isinstance(files, list) else [])}
        check_form(told, expected, f"replay.{column}")
        if not told["rows"] or not all(map(NAME.fullmatch, told["files"])):
            raise CheckpointError(f"replay.{column} names no files of a replay")
    return replay | {column: Column(path.parent / name, **told) for column, told in columns.items()}


def settled(path: Path, load: Callable[[], T]) -> T:
    """What `load` returns; again, if a run has replaced the checkpoint at `path`, and its files, while it read them."""
    while True:
        before = _stamp(path)
        try:
            return load()
        except CheckpointError:
            if _stamp(path) == before:
                raise


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file is replaced; None while there is none."""
    with suppress(OSError):
        return (found := path.stat()).st_ino, found.st_mtime_ns
    return None


# --- Leftovers --------------------------------------------------------------------------------------------------------


def tidy(*paths: Path, name: str = FOLDER) -> None:
    """Remove the files of replays in the folder `name` that no checkpoint at `paths`, beside it, names.

    Files of others stay, and so does what another process that lives is writing. Nothing is raised: what cannot be
    removed now is removed after the next save.
    """
    try:
        there = [path for path in paths if path.exists()]
        content = [torch.load(path, map_location="cpu", weights_only=True, mmap=True) for path in there]
        named = set(_named(content))
    except Exception:  # a damaged one may still be mended
        return
    with suppress(OSError):
        for file in list((paths[0].parent / name).iterdir()):
            unfinished = NAME.fullmatch(file.stem.removeprefix("."))
            with suppress(OSError):
                if (NAME.fullmatch(file.name) and file.name not in named) or (unfinished and abandoned(file)):
                    file.unlink()


def _named(nest: Any) -> Iterator[str]:
    """The files that a checkpoint names, wherever in it a replay stands."""
    if isinstance(nest, dict):
        if nest.keys() == {"rows", "files"}:
            yield from nest["files"]
        for value in nest.values():
            yield from _named(value)
    elif isinstance(nest, list | tuple):
        for value in nest:
            yield from _named(value)
