"""What happened, kept as streams of rows, and handed out as sequences."""

import math
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from wm_tutorial.checkpoint import check_form
from wm_tutorial.chunks import Column
from wm_tutorial.data import Array, Batch, Place, Row, Spaces, State
from wm_tutorial.errors import CheckpointError, InputError
from wm_tutorial.process import amount, check_memory


class Replay:
    """A ring of rows for each environment stream, preallocated.

    A sequence may cross from one episode into the next: its `is_first` flags tell the model where to forget. It never
    crosses the seam of the ring, where the newest row lies beside the oldest.

    Args:
        capacity: rows held, over all streams.
        streams: environments stepped side by side.
    """

    def __init__(self, capacity: int, streams: int, spaces: Spaces, memory_size: int, latent_size: int) -> None:
        self.length = capacity // streams
        if self.length < 2:
            raise InputError(
                f"A replay of {capacity} rows for {streams} streams holds fewer than two rows of each; "
                f"give a capacity of at least {2 * streams}."
            )
        self.streams = streams
        self.classes = spaces.obs_shape[0] if spaces.obs_kind == "discrete" else 0  # kept as numbers, not as one-hot
        kinds: dict[str, tuple[tuple[int, ...], Any]] = {
            "obs": ((), np.int64) if self.classes else (spaces.obs_shape, spaces.obs_dtype),
            "action": ((spaces.action_size,), np.float32),
            "reward": ((), np.float32),
            "is_first": ((), bool),
            "is_last": ((), bool),
            "is_terminal": ((), bool),
            "memory": ((memory_size,), np.float32),
            "latent": ((latent_size,), np.float32),
        }
        check_memory(capacity, sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in kinds.values()))
        self.columns: dict[str, Array] = {
            name: np.zeros((streams, self.length, *shape), dtype) for name, (shape, dtype) in kinds.items()
        }
        self.added = 0  # rows ever added to each stream
        self.served = 0  # fresh sequences ever handed out

    def __len__(self) -> int:
        """Rows held, over all streams."""
        return self.streams * min(self.added, self.length)

    def __str__(self) -> str:
        """For people: its capacity and what that costs."""
        rows = self.streams * self.length
        return f"Replay of {rows:,} rows in {self.streams} streams, {amount(self.nbytes)}"

    @property
    def nbytes(self) -> int:
        """Memory taken, in bytes; it does not grow."""
        return sum(column.nbytes for column in self.columns.values())

    def add(self, row: Row, action: Array, state: State) -> None:
        """Append one row to every stream, with the action (N, A) chosen after it and the state (N) it was chosen in."""
        values = {
            **{f.name: getattr(row, f.name) for f in fields(row)},
            "action": action,
            "memory": state.memory.numpy(force=True),
            "latent": state.latent.numpy(force=True),
        }
        for name, value in values.items():
            expected = self.columns[name][:, 0].shape
            expected += (self.classes,) if name == "obs" and self.classes else ()
            if value.shape != expected:
                raise InputError(f"replay.add got {name} of shape {value.shape}; this replay holds {expected}.")
        if self.classes:
            values["obs"] = values["obs"].argmax(-1)
        # What began anew without having ended (a run went on, and the environment does not repeat itself) broke off.
        self.columns["is_last"][:, (self.added - 1) % self.length] |= row.is_first
        for name, value in values.items():
            self.columns[name][:, self.added % self.length] = value
        self.added += 1

    def sample(
        self, batch: int, length: int, rng: np.random.Generator, device: str = "cpu", fresh_first: bool = False
    ) -> tuple[Batch, Place]:
        """Sequences of `length` rows, every place in every stream equally likely.

        One more row is read before each sequence: the state and the action it starts from.

        Args:
            fresh_first: begin with sequences that were never handed out: the streams cut end to end, oldest first.

        Source of fresh_first: danijar/dreamerv3 `embodied/core/replay.py`, the online queue.

        Raises:
            InputError: if a sequence is empty or no stream holds `length` + 1 rows yet.
        """
        held = min(self.added, self.length)
        if batch < 1 or length < 1 or held < length + 1:
            raise InputError(
                f"replay.sample was asked for {batch} sequences of {length} rows; both must be at least 1, and "
                f"{length + 1} rows of each stream are needed, of which {held} are there."
            )
        stream = rng.integers(self.streams, size=batch)
        first = self._anywhere(batch, length, rng)
        if fresh_first:
            fresh = self._fresh(batch, length + 1)
            stream[: len(fresh)], first[: len(fresh)] = fresh % self.streams, fresh // self.streams * (length + 1)
        return self.sequences(stream, first, length, device)

    def sequences(self, stream: Array, first: Array, length: int, device: str) -> tuple[Batch, Place]:
        """The `length` rows after each of the rows `first` (B,) of the streams (B,); all of them must be held."""
        number = first[:, None] + np.arange(length + 1)  # (B, T + 1)
        taken = {name: self._take(name, stream, number, device) for name in self.columns}
        start = State(taken.pop("memory")[:, 0], taken.pop("latent")[:, 0])
        action = taken.pop("action")
        rest = {name: column[:, 1:] for name, column in taken.items()}
        batch_ = Batch(action=action[:, 1:], previous_action=action[:, :-1], start=start, **rest)
        return batch_, Place(stream, number[:, 1:])

    def write_back(self, place: Place, states: State) -> None:
        """Replace the stored states of a batch, where the rows are still held, by ones of newer parameters."""
        still = place.number >= self.added - self.length  # (B, T)
        stream = np.broadcast_to(place.stream[:, None], place.number.shape)
        index = stream[still], place.number[still] % self.length
        self.columns["memory"][index] = states.memory.numpy(force=True)[still]
        self.columns["latent"][index] = states.latent.numpy(force=True)[still]

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on: of each column, the ring of each stream as it lies, with nothing copied."""
        held = min(self.added, self.length)
        rings = {name: [torch.from_numpy(ring[:held]) for ring in column] for name, column in self.columns.items()}
        return {"added": self.added, "served": self.served, **rings}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned, or the older form of it: one tensor a column, oldest row first.

        A column that lies in files (`chunks.Column`) is read straight into its place.

        Raises:
            CheckpointError: if it is of another size, or holds what no replay does; nothing is changed then, but that
                some columns may have been read from files.
        """
        added: Any = state.get("added")
        check_form(added, 0, "replay.added")
        held = min(added, self.length)
        here = {name: column for name, column in self.columns.items() if not isinstance(state.get(name), Column)}
        check_form(
            {
                name: list(saved) if isinstance(saved, Tensor) else saved
                for name, saved in state.items()
                if name not in self.columns.keys() - here.keys()
            },
            {
                **{name: [torch.from_numpy(ring[:held]) for ring in column] for name, column in here.items()},
                **{"added": 0, "served": 0},
            },
            "replay",
        )
        if (served := state["served"]) > self.streams * added:
            raise CheckpointError(f"replay.served is {served}; no more than {self.streams * added} rows were added")
        rows = np.arange(added - held, added) % self.length
        for name, column in self.columns.items():
            if isinstance(saved := state[name], Column):
                saved.read_into(column[:, :held])
            elif isinstance(saved, Tensor):
                column[:, rows] = saved.numpy()
            else:
                for ring, stream in zip(column, saved, strict=True):
                    ring[:held] = stream.numpy()
        self.added, self.served = added, served

    def _anywhere(self, batch: int, length: int, rng: np.random.Generator) -> Array:
        """Numbers of rows (B,) that are followed by `length` others, none of them beyond the newest row."""
        oldest = self.added - min(self.added, self.length)
        return rng.integers(oldest, self.added - length, size=batch)

    def _fresh(self, most: int, rows: int) -> Array:
        """Up to `most` pieces of `rows` rows that were never handed out; number k is piece k // N of stream k % N."""
        oldest = self.added - min(self.added, self.length)
        whole = self.streams * -(-oldest // rows)  # pieces before have been overwritten, at least in part
        begin = max(self.served, whole)
        self.served = max(begin, min(begin + most, self.streams * (self.added // rows)))
        return np.arange(begin, self.served)

    def _take(self, name: str, stream: Array, number: Array, device: str) -> Tensor:
        taken = torch.from_numpy(self.columns[name][stream[:, None], number % self.length]).to(device)
        return functional.one_hot(taken, self.classes).float() if name == "obs" and self.classes else taken
