"""The files of a run folder: written so that they are never half there, read without running any code in them."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from wm_tutorial.errors import CheckpointError, OutputError

CHECKPOINT, AGENT, METRICS = "checkpoint.pt", "agent.safetensors", "metrics.jsonl"
FORMAT, AGENT_FORMAT = "wm_tutorial checkpoint", "wm_tutorial agent"
VERSION = 1


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when it is complete.

    It is written beside its place and moved there: whoever looks at `path` sees the old content or the new, and an
    interruption or a full disk leaves the old one.

    Raises:
        OutputError: if the folder cannot be written or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
        raise OutputError(
            f"Could not write {path}: {error}. "
            "Free space there, or choose a folder that can be written (out=... or --out ...)."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write(path: Path, content: dict[str, Any]) -> None:
    """Write tensors, numbers, strings, lists and dicts to `path`, atomically.

    Raises:
        OutputError: if the folder cannot be written or the disk is full.
    """
    with atomic(path) as file:
        torch.save({"format": FORMAT, "version": VERSION, **content}, file)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, atomically.

    Raises:
        OutputError: if the folder cannot be written or the disk is full.
    """
    with atomic(path) as file:
        file.write(text.encode())


def write_or_rescue(path: Path, content: dict[str, Any]) -> None:
    """Like `write`; if `path` cannot be written, put the file into the system's temporary folder and say where.

    Raises:
        OutputError: if `path` cannot be written, naming the rescued file if there is one.
    """
    try:
        write(path, content)
    except OutputError as error:
        rescue = Path(tempfile.mkdtemp(prefix="wm_tutorial-")) / path.name
        write(rescue, content)
        raise OutputError(f"{error} What was learned so far is saved in {rescue.parent} instead.") from error


def read(path: Path) -> dict[str, Any]:
    """Read what `write` wrote. No code in the file is run.

    Raises:
        CheckpointError: if the file is missing, truncated, damaged, of another kind, or of another version.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint at {path}; give a run folder, which holds checkpoint.pt.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever damaged bytes lead to
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint (damaged, truncated or something else): "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}. Use another copy, or train again."
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of this package; give the checkpoint.pt of a run folder.")
    if content.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has checkpoint version {content.get('version')}; this package reads version {VERSION}. "
            "Use the package version that wrote it (its config.json names it), or train again."
        )
    return content


def write_agent(path: Path, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write the tensors of an agent to a safetensors file, atomically; its metadata hold `header` as JSON.

    Raises:
        OutputError: if the folder cannot be written or the disk is full.
    """
    told = {"format": AGENT_FORMAT, "version": VERSION, **header}
    metadata = {"wm_tutorial": json.dumps(told, allow_nan=False)}
    # a tensor of its own for each name: some share their memory, which the format does not allow
    apart = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    with atomic(path) as file:
        file.write(save(apart, metadata))


def read_agent(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and the tensors that `write_agent` wrote. No code in the file is run.

    Raises:
        CheckpointError: if the file is missing, damaged, of another kind or version, or holds what is no number.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no agent at {path}; give a run folder, or a file that Agent.save wrote.")
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get("wm_tutorial", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read as an agent (damaged, truncated or something else): {error}. Use another copy, or "
            "save the agent again."
        ) from error
    if not isinstance(header, dict) or header.get("format") != AGENT_FORMAT:
        raise CheckpointError(f"{path} holds tensors, but no agent of this package; give a file that Agent.save wrote.")
    if header.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has version {header.get('version')}; this package reads version {VERSION}. Use the package "
            f"version that wrote it ({header.get('wm_tutorial', 'unknown')})."
        )
    if wrong := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise CheckpointError(f"{path} holds a number that is none in {wrong[0]}; use another copy.")
    return header, tensors


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; one that was cut off while being written is left out."""
    records = []
    for line in (folder / METRICS).read_text().splitlines() if (folder / METRICS).exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def write_metrics(folder: Path, records: list[dict[str, Any]]) -> None:
    """Replace metrics.jsonl."""
    write_text(folder / METRICS, "".join(json.dumps(record) + "\n" for record in records))
