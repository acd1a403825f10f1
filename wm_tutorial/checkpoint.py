"""The files of a run folder: written so that they are never half there, read without running any code in them."""

import glob
import hashlib
import json
import math
import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from wm_tutorial.errors import CheckpointError, InputError, OutputError

CHECKPOINT, AGENT, METRICS, SETTINGS = "checkpoint.pt", "agent.safetensors", "metrics.jsonl", "config.json"
FORMAT, AGENT_FORMAT = "wm_tutorial checkpoint", "wm_tutorial agent"
VERSION, AGENT_VERSION = 3, 1
READABLE = (1, 2, VERSION)  # 1 and 2 held the replay themselves: in one piece, oldest row first, and as it lies


def user_path(path: str | Path) -> Path:
    """A path as a person gives it, `~` expanded.

    Raises:
        InputError: for what names no file, such as None.
    """
    try:
        if "\0" in str(path):
            raise ValueError("a file's name cannot hold the character NUL")
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"The path is {path!r}, and that home folder is unknown here. Give the name of a folder or file."
        ) from error
    except (TypeError, ValueError) as error:  # no text; NUL
        raise InputError(f"The path is {path!r}: {error}. Give the name of a folder or file.") from error


# --- Writing ----------------------------------------------------------------------------------------------------------


@contextmanager
def atomic(path: Path, read_back: Callable[[Path], object] | None = None) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when it is complete.

    It is written beside its place and moved there: whoever looks at `path` sees the old content or the new, and an
    interruption or a full disk leaves the old one. So does a new content that `read_back` cannot read. What killed
    processes have left half-written beside `path` is removed.

    Raises:
        OutputError: if the folder cannot be written, the disk is full, or what was written cannot be read.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in path.parent.glob(glob.escape(f".{path.name}.") + "*"):
            with suppress(OSError):  # another one was quicker, or it cannot be removed: no reason not to write
                if abandoned(leftover):
                    leftover.unlink()
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if read_back:
            read_back(temporary)
        temporary.replace(path)
    except CheckpointError as error:
        raise OutputError(
            f"Could not write {path}: what was written cannot be read back, so the old file, if there was one, stays. "
            f"{error}"
        ) from error
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
        raise OutputError(
            f"Could not write {path}: {error}. "
            "Free space there, or choose a folder that can be written (out=... or --out ...)."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def abandoned(temporary: Path) -> bool:
    """Whether the process that was writing this file beside its place is gone."""
    number = temporary.suffix.removeprefix(".")
    if not number.isdecimal():
        return False
    if os.name == "nt":  # where to ask a process whether it lives is to interrupt it
        return time.time() - temporary.stat().st_mtime > 24 * 3600
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # it belongs to somebody else, and lives
        return False
    return False


def write(path: Path, content: dict[str, Any]) -> None:
    """Write tensors, numbers, strings, lists and dicts to `path`, atomically, once they have been read back.

    Raises:
        OutputError: if the folder cannot be written, the disk is full, or the content is more than a file can keep.
    """
    with atomic(path, read) as file:
        told = {"format": FORMAT, "version": VERSION, "wm_tutorial": version("wm_tutorial")}
        torch.save({**told, **content}, file)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, atomically.

    Raises:
        OutputError: if the folder cannot be written or the disk is full.
    """
    with atomic(path) as file:
        file.write(text.encode())


def write_or_rescue(path: Path, content: dict[str, Any], write: Callable[[Path, dict[str, Any]], None] = write) -> None:
    """Like `write`; if `path` cannot be written, put the file into the system's temporary folder and say where.

    Raises:
        OutputError: if `path` cannot be written, naming the rescued file if there is one.
    """
    try:
        write(path, content)
    except OutputError as error:
        rescue = Path(tempfile.mkdtemp(prefix="wm_tutorial-")) / path.name
        try:
            write(rescue, content)
        except OutputError:
            raise error from None  # the content itself cannot be written, or there is no space there either
        raise OutputError(f"{error} What was learned so far is saved in {rescue.parent} instead.") from error


def agent_path(path: str | Path) -> Path:
    """Where an agent is to be kept alone; raises InputError if the name does not end in .safetensors."""
    path = user_path(path)
    if path.suffix != ".safetensors":
        raise InputError(f"The file is {path.name!r}; agents are kept in files whose name ends in .safetensors.")
    return path


def write_agent(path: Path, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write the tensors of an agent to a safetensors file, as `write` does; its metadata hold `header` as JSON.

    Raises:
        OutputError: if the folder cannot be written, the disk is full, or an agent cannot be read with these tensors.
    """
    told = {"format": AGENT_FORMAT, "version": AGENT_VERSION, "wm_tutorial": version("wm_tutorial"), **header}
    # a tensor of its own for each name: some share their memory, which the format does not allow
    apart = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    told["sha256"] = _digest(told, apart)
    with atomic(path, read_agent) as file:
        file.write(save(apart, {"wm_tutorial": json.dumps(told, allow_nan=False)}))


def _digest(told: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """The checksum of an agent: of its header, and of the name, type, shape and bytes of every tensor."""
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, allow_nan=False).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


# --- Reading ----------------------------------------------------------------------------------------------------------


def read(path: Path) -> dict[str, Any]:
    """Read what `write` wrote. No code in the file is run, and every byte is the one that was written.

    The tensors lie in the file until somebody looks at them: a large replay takes no memory of its own.

    Raises:
        CheckpointError: if the file is missing, truncated, damaged, of another kind, or of another version.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint at {path}; give a run folder, which holds checkpoint.pt.")
    try:
        _check_container(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # whatever damaged bytes lead to
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint (damaged, truncated or something else): "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}. Use another copy, or train again."
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of this package; give the checkpoint.pt of a run folder.")
    if (number := content.get("version")) not in READABLE or type(number) is not int:
        told = f"{', '.join(map(str, READABLE[:-1]))} and {VERSION}"
        raise CheckpointError(
            f"{path} has checkpoint version {number!r}; this package reads version {told}. "
            f"Use the version that wrote it ({written_by(path, content)}), or train again."
        )
    return content


def _check_container(path: Path) -> None:
    """Raise unless every byte of a zip file is the one that was written, and it is as large as what it holds.

    PyTorch packs without compressing, and does not look at the checksums when it reads. One megabyte is held at a time.
    """
    with zipfile.ZipFile(path) as container:
        entries = container.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > path.stat().st_size or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError(f"it would unpack to {unpacked:,} bytes, and checkpoints are not packed")
        if damaged := container.testzip():
            raise ValueError(f"the checksum of {damaged} is another one")


def written_by(path: Path, content: dict[str, Any]) -> str:
    """The version of this package that wrote a checkpoint, for errors: as the file or config.json beside it say."""
    told = content.get("wm_tutorial")
    with suppress(OSError, ValueError, AttributeError):
        told = told or json.loads((path.parent / SETTINGS).read_text(encoding="utf-8")).get("wm_tutorial")
    return f"wm_tutorial {told:.30}" if isinstance(told, str) else "its config.json names it"


def read_agent(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and the tensors that `write_agent` wrote. No code in the file is run.

    Raises:
        CheckpointError: if the file is missing, damaged, of another kind or version, or holds what is no number.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no agent at {path}; give a run folder, or a file that Agent.save wrote.")
    try:
        with safe_open(path, "pt") as file:
            header = dict(json.loads((file.metadata() or {}).get("wm_tutorial", "{}")))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
        wrong = [name for name, tensor in tensors.items() if not is_finite(tensor)]
        digest = _digest({key: value for key, value in header.items() if key != "sha256"}, tensors)
    except Exception as error:  # whatever damaged bytes lead to
        raise CheckpointError(
            f"{path} cannot be read as an agent (damaged, truncated or something else): {error}. Use another copy, or "
            "save the agent again."
        ) from error
    if header.get("format") != AGENT_FORMAT:
        raise CheckpointError(f"{path} holds tensors, but no agent of this package; give a file that Agent.save wrote.")
    if header.get("version") != AGENT_VERSION:
        raise CheckpointError(
            f"{path} has version {header.get('version')}; this package reads version {AGENT_VERSION}. Use the package "
            f"version that wrote it ({header.get('wm_tutorial', 'unknown')})."
        )
    if wrong:
        raise CheckpointError(f"{path} holds a number that is none in {wrong[0]}; use another copy.")
    if header.get("sha256", digest) != digest:  # earlier versions wrote none
        raise CheckpointError(f"{path} is damaged: its checksum is another one. Use another copy.")
    return header, tensors


def is_finite(tensor: Tensor) -> bool:
    """Whether every number is one; nothing of the tensor's size is allocated."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    return all(map(math.isfinite, torch.stack(tensor.aminmax()).tolist()))


def check_form(found: Any, expected: Any, name: str) -> None:
    """Compare what a file holds with what it would hold if it were written now.

    Equal must be the keys of dicts, the lengths of lists, types, and the shapes and types of tensors. Numbers must be
    finite, and integers, which count something, at least 0. `expected` may lie on the meta device.

    Raises:
        CheckpointError: for the first difference, by its name.
    """

    def check(right: bool, given: object, accepted: object) -> None:
        if not right:
            raise CheckpointError(f"{name} is {given!s:.200}; it must be {accepted!s:.200}")

    if isinstance(expected, Tensor):
        check(type(found) is Tensor and found.layout == torch.strided, type(found).__name__, "a tensor")
        check(found.dtype == expected.dtype, found.dtype, expected.dtype)
        check(found.shape == expected.shape, f"of shape {tuple(found.shape)}", f"of shape {tuple(expected.shape)}")
        # an expanded tensor has any size at no cost, until it is copied
        check(found.nbytes <= found.untyped_storage().nbytes(), "an expanded tensor", "all there")
        check(is_finite(found), "not finite", "finite numbers")
    elif isinstance(expected, dict):
        check(isinstance(found, dict), type(found).__name__, "a dict")
        for key in [*(key for key in expected if key not in found), *(key for key in found if key not in expected)]:
            check(False, f"{'a dict with' if key in found else 'a dict without'} {key!r}", "as it was written")
        for key, value in expected.items():
            check_form(found[key], value, f"{name}.{key}")
    elif isinstance(expected, list):
        check(isinstance(found, list), type(found).__name__, "a list")
        check(len(found) == len(expected), f"of length {len(found)}", f"of length {len(expected)}")
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):
            check_form(one, other, f"{name}.{i}")
    elif isinstance(expected, float):
        check(type(found) in (int, float) and -math.inf < found < math.inf, repr(found), "a finite number")
    else:
        check(type(found) is type(expected), type(found).__name__, type(expected).__name__)
        check(type(found) is not int or found >= 0, found, "0 or more")


# --- Metrics ----------------------------------------------------------------------------------------------------------


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; one that was cut off while being written, or is none of ours, is left out."""
    records = []
    text = (folder / METRICS).read_text("utf-8", errors="replace") if (folder / METRICS).exists() else ""
    for line in text.splitlines():
        with suppress(ValueError, RecursionError):
            record = json.loads(line)
            if isinstance(record, dict) and isinstance(record.get("kind"), str) and type(record.get("step")) is int:
                records.append(record)
    return records


def write_metrics(folder: Path, records: list[dict[str, Any]]) -> None:
    """Replace metrics.jsonl."""
    write_text(folder / METRICS, "".join(json.dumps(record, allow_nan=False) + "\n" for record in records))
