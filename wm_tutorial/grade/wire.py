"""Messages between the grader and the process in which a submission runs.

What the grader sends is trusted: arguments travel as a pickle, and the functions among them as their code. What comes
back is not: it is JSON and raw numbers, is read into a few plain types, and is never unpickled.
"""

import io
import json
import pickle
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import cloudpickle
import numpy as np
import torch
from torch import Tensor

Header: TypeAlias = dict[str, Any]

HEADER = 2**20  # bytes of JSON
NUMBERS = 64 * 2**20  # bytes of tensors
ITEMS = 1000  # of a list, a tuple or a dict
TEXT = 2000  # characters of anything told
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16,
        torch.float32, torch.float64, torch.complex64, torch.complex128,
    )
}  # fmt: skip
SIZES = struct.Struct("!QQQ")  # bytes of header, numbers and pickle


class Garbled(Exception):
    """What came is no message."""


@dataclass
class Message:
    """One message: a header, tensors, and, on the way to a submission only, a pickle that refers to them."""

    header: Header
    tensors: list[Tensor] = field(default_factory=list)
    pickled: bytes = b""


# --- Sending and receiving --------------------------------------------------------------------------------------------


def send(channel: socket.socket, message: Message) -> None:
    """Write a message."""
    told = [{"dtype": str(x.dtype).removeprefix("torch."), "shape": list(x.shape)} for x in message.tensors]
    header = json.dumps(message.header | {"tensors": told}, allow_nan=False).encode()
    numbers = b"".join(map(_bytes, message.tensors))
    channel.sendall(SIZES.pack(len(header), len(numbers), len(message.pickled)) + header + numbers + message.pickled)


def receive(channel: socket.socket, seconds: float | None = None, trusted: bool = False) -> Message:
    """Read a message.

    Raises:
        Garbled: if it is none, or larger than a message may be.
        TimeoutError: if it has not come within `seconds`.
        EOFError: if nobody is there.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    lengths: tuple[int, int, int] = SIZES.unpack(_exactly(channel, SIZES.size, deadline))
    if not trusted and (lengths[0] > HEADER or lengths[1] > NUMBERS or lengths[2]):
        raise Garbled(f"a message of {sum(lengths)} bytes")
    header, numbers, pickled = (_exactly(channel, length, deadline) for length in lengths)
    try:
        read = json.loads(header)
        return Message(read, _tensors(read.pop("tensors"), numbers), pickled)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, RuntimeError) as error:
        raise Garbled(f"{type(error).__name__}: {error}") from error


def _exactly(channel: socket.socket, count: int, deadline: float | None) -> bytes:
    pieces, missing = [], count
    while missing:
        channel.settimeout(None if deadline is None else max(deadline - time.monotonic(), 1e-3))
        piece = channel.recv(min(missing, 2**20))
        if not piece:
            raise EOFError
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutError  # it drips
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def _bytes(x: Tensor) -> bytes:
    flat = x.detach().resolve_conj().resolve_neg().reshape(-1).clone(memory_format=torch.contiguous_format)
    return flat.view(torch.uint8).numpy().tobytes()  # one number alone may have any stride


def _tensors(told: list[Header], numbers: bytes) -> list[Tensor]:
    """The tensors of a message; raises ValueError if bytes and shapes do not fit."""
    tensors, at = [], 0
    for one in told:
        dtype, shape = DTYPES[one["dtype"]], [int(size) for size in one["shape"]]
        if len(shape) > 16 or any(size < 0 for size in shape):
            raise ValueError(f"no shape: {shape}")
        count = 1
        for size in shape:
            count *= size
        end = at + count * dtype.itemsize
        if end > len(numbers):
            raise ValueError("numbers are missing")
        flat = torch.frombuffer(bytearray(numbers[at:end]), dtype=dtype) if count else torch.empty(0, dtype=dtype)
        tensors.append(flat.reshape(shape))
        at = end
    return tensors


# --- Arguments, from the grader to the submission ---------------------------------------------------------------------


class _Packer(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle ships no types
    """A pickler that leaves every tensor out, also those that a function among the arguments remembers."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.tensors: list[Tensor] = []

    def persistent_id(self, value: Any) -> int | None:
        if not isinstance(value, Tensor):
            return None
        for number, known in enumerate(self.tensors):
            if known is value:
                return number
        self.tensors.append(value)
        return len(self.tensors) - 1


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, tensors: Sequence[Tensor]) -> None:
        super().__init__(file)
        self.tensors = tensors

    def persistent_load(self, number: int) -> Tensor:
        return self.tensors[number]


def pack(arguments: Sequence[Any]) -> tuple[bytes, list[Tensor]]:
    """A pickle of the arguments, and the tensors in it, each once."""
    file = io.BytesIO()
    packer = _Packer(file)
    packer.dump(list(arguments))
    return file.getvalue(), packer.tensors


def unpack(pickled: bytes, tensors: Sequence[Tensor]) -> list[Any]:
    """The arguments."""
    arguments: list[Any] = _Unpacker(io.BytesIO(pickled), tensors).load()
    return arguments


# --- Answers, from the submission to the grader -----------------------------------------------------------------------


def describe(value: Any, tensors: list[Tensor]) -> Header:
    """A value as JSON; its tensors and arrays are appended to `tensors`."""
    match value:
        case Tensor():
            if value.layout is not torch.strided or value.is_meta or value.dtype not in DTYPES.values():
                return {"odd": list(value.shape)}
            tensors.append(value)
            return {"tensor": len(tensors) - 1, "slope": value.requires_grad}
        case np.ndarray() | np.generic():
            if value.dtype.kind not in "biuf":
                return {"other": type(value).__name__, "repr": repr(value)[:TEXT]}
            native = np.array(value, value.dtype.newbyteorder("="), order="C")
            if native.dtype.name not in DTYPES:  # unsigned and long numbers that torch does not have
                native = native.astype(np.float64 if native.dtype.kind == "f" else np.int64)
            tensors.append(torch.from_numpy(native))
            return {"array" if isinstance(value, np.ndarray) else "scalar": len(tensors) - 1}
        case int() if abs(value) >= 2**1024:  # no number of any tensor, and too long for JSON
            return {"other": "int", "repr": "a number of more than 300 digits"}
        case None | bool() | int():
            return {"plain": value}
        case float():
            return {"float": repr(value)}  # also those that JSON has no word for
        case tuple() | list():
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [describe(one, tensors) for one in value[:ITEMS]]}
        case dict():
            pairs = list(value.items())[:ITEMS]
            return {"dict": {str(name)[:TEXT]: describe(one, tensors) for name, one in pairs}}
    return {"other": type(value).__name__[:TEXT], "repr": repr(value)[:TEXT]}


def rebuild(told: Any, tensors: Sequence[Tensor]) -> Any:
    """The value that was described, from tensors that may have been put in the place of those that came.

    Raises:
        Garbled: if nothing was.
    """
    try:
        match told:
            case {"tensor": int(number)}:
                return tensors[number]
            case {"array": int(number)}:
                return tensors[number].detach().numpy()
            case {"scalar": int(number)}:
                return tensors[number].detach().numpy()[()]
            case {"odd": [*shape]}:
                return torch.empty([min(int(size), 2**20) for size in shape], device="meta")
            case {"plain": None | bool() | int() as value}:
                return value
            case {"float": str(text)}:
                return float(text[:TEXT])
            case {"tuple": [*items]}:
                return tuple(rebuild(one, tensors) for one in items)
            case {"list": [*items]}:
                return [rebuild(one, tensors) for one in items]
            case {"dict": dict(pairs)}:
                return {name: rebuild(one, tensors) for name, one in pairs.items()}
            case {"other": str(kind), "repr": str(text)}:
                return type(kind, (), {"__repr__": lambda self: text[:TEXT]})()
    except (IndexError, ValueError, TypeError, RuntimeError, RecursionError) as error:
        raise Garbled(f"{type(error).__name__}: {error}") from error
    raise Garbled("no value")
