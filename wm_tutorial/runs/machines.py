"""Several processes that learn one agent: `torchrun --nproc-per-node N -m wm_tutorial train ENV`.

Each has its own environments, its own replay and its share of the batch; parameters, losses and the range of returns
are those of all. What passes between them:

numbers    steps, episodes, losses, what is asked for (gloo)
gradients  one flat vector for each update (gloo on CPUs, nccl on GPUs)
words      of who lives, what has failed, what is written (the store that torchrun keeps)

Whoever waits asks the store now and then whether the others are still there, so nobody waits for ever.
"""

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from wm_tutorial import checkpoint, chunks
from wm_tutorial.checkpoint import CHECKPOINT
from wm_tutorial.config import Config
from wm_tutorial.data import Array
from wm_tutorial.errors import CheckpointError, InputError, OutputError, ProcessFailure, WorldModelError
from wm_tutorial.pace import ALONE, Alone, files_of
from wm_tutorial.process import AtOnce
from wm_tutorial.runs.life import BEAT, Life

T = TypeVar("T")

# What each process has of its own in a checkpoint; the rest is the same in all.
OWN = ("replay", "random", "environments", "row", "carry", "running")
SHARED = ("envs", "batch_size", "imagined_starts")  # options of which each process has its share

LOST = 60.0  # seconds without a sign of life after which a process counts as gone, while nothing else is wrong
SILENT = 5.0  # the same, once something is
TIMEOUT = timedelta(minutes=30)  # of a single exchange
GRACE = 3.0  # seconds for which those who say nothing let the one who speaks


def rank() -> int:
    """Which of the processes that torchrun has started this one is; 0 without it."""
    return int(os.environ["RANK"]) if together() else 0


def together() -> bool:
    """Whether torchrun has started this process, and others beside it."""
    return distributed.is_torchelastic_launched() and int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def in_company() -> Iterator[Alone]:
    """Inside, this process learns with the others that torchrun has started; without torchrun, alone.

    An error is said by one of them, the first that is left. The others end without a word.
    """
    if not together():
        yield ALONE
        return
    machines = Machines()
    try:
        with ExitStack() as stack:
            if machines.rank:
                stack.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")  # the first has the same ones
            yield machines
            machines.meet()
    except BaseException as error:
        machines.part(error)
        speaks = machines.speaks()
        machines.leave()
        if speaks:
            raise
        machines.let_speak()
        if not isinstance(error, WorldModelError | KeyboardInterrupt):
            raise  # what nobody foresaw is said where it happened
        raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 1) from error
    machines.leave()


@contextmanager
def one_speaks() -> Iterator[None]:
    """Inside, only the first of several processes writes to the terminal."""
    if not rank():
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        try:
            yield
        except SystemExit as end:
            if end.code:
                time.sleep(GRACE)  # torchrun ends all when the first of them ends
            raise


class Machines(Alone):
    """The processes that torchrun has started, as one of them sees them.

    device      where gradients are: of a GPU each process has one of its own
    generation  how often the state of this process was written
    parts       the number of the file of each process in the last checkpoint
    parted      whether the run has failed somewhere, and nobody answers any more
    """

    connections = 0  # of this process, one after the other

    def __init__(self) -> None:
        environ = os.environ
        self.rank, self.size = int(environ["RANK"]), int(environ["WORLD_SIZE"])
        self.generation, self.parts, self.parted, self.enough = 0, [0] * self.size, False, False
        self.calls = 0  # things that the first has done alone
        self.pending: Any = None  # an exchange that is under way
        hosts = self.rank == 0 and environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        store = TCPStore(environ["MASTER_ADDR"], int(environ["MASTER_PORT"]), is_master=hosts, wait_for_workers=False)
        Machines.connections += 1
        told = [environ.get(f"TORCHELASTIC_{name}", "") for name in ("RUN_ID", "RESTART_COUNT")]
        self.store = PrefixStore("/".join(["wm_tutorial", *told, str(Machines.connections)]), store)
        self.life = Life(self.store, self.rank, self.size)
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
            store=PrefixStore("group", self.store), rank=self.rank, world_size=self.size, timeout=TIMEOUT,
        )  # fmt: skip
        self.meet()  # whoever left before all have met would leave them waiting

    # What is shared out ----------------------------------------------------------------------------------------------

    def share(self, config: Config) -> Config:
        """The options of one process: its share of environments, batch, imagined starts and replay.

        Raises:
            InputError: if something does not divide, or there are fewer GPUs than processes.
        """
        for name in SHARED:
            if (value := getattr(config, name)) % self.size:
                near = max(self.size, value - value % self.size)
                raise InputError(
                    f"{name} is {value}, which does not divide into {self.size} processes of equal shares. Give a "
                    f"multiple of {self.size}, such as {near}."
                )
        self._take_gpu(config.device)
        shares = {name: getattr(config, name) // self.size for name in (*SHARED, "capacity")}
        return replace(config, **shares)

    def _take_gpu(self, device: str) -> None:
        if device != "cuda":
            return
        local, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= there:
            raise InputError(
                f"device is 'cuda', and process {local} of this machine finds {there} GPUs. Start no more processes "
                "than there are GPUs."
            )
        torch.cuda.set_device(local)

    def whole(self, config: Config) -> Config:
        """The options of the run."""
        return replace(config, **{name: getattr(config, name) * self.size for name in (*SHARED, "capacity")})

    def seed(self, seed: int) -> int:
        """The run's own for the first process, one that comes of it for each of the others."""
        if not self.rank:
            return seed
        (high, low) = np.random.SeedSequence([seed, self.rank]).generate_state(2)
        return int(high) << 31 | int(low) >> 1

    # What is agreed on -----------------------------------------------------------------------------------------------

    def everyone(self, values: Array) -> Array:
        """(K, N) of each process -> (K, N of all), in their order."""
        own = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))
        return torch.cat(self._gathered(own), dim=1).numpy()

    def any(self, *asked: bool) -> tuple[bool, ...]:
        """What any of the processes asks for."""
        return tuple(bool(row.any()) for row in self.everyone(np.array([asked]).T))

    def all_have(self, enough: bool) -> bool:
        """Whether each process has enough; asked only until they have."""
        if not self.enough:
            self.enough = bool(self.everyone(np.array([[enough]])).all())
        return self.enough

    def mean(self, numbers: dict[str, float]) -> dict[str, float]:
        """The means of numbers over all processes: those of the whole batch, since the shares are equal."""
        means = self.everyone(np.array([list(numbers.values())]).T).mean(1)
        return dict(zip(numbers, map(float, means), strict=True))

    def average(self, gradients: Sequence[Tensor]) -> None:
        """Replace gradients by their means over all processes, in one exchange.

        Critical: a mean over a whole batch is the mean of the means of its shares only if these are equal.
        """
        if not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        there = _on_the_way(flat)
        self._wait(distributed.all_reduce(there, async_op=True))
        sizes = [gradient.numel() for gradient in gradients]
        means = torch.split((there / self.size).to(flat.device), sizes)
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view_as(gradient))

    @contextmanager
    def range_of_all(self, agent: nn.Module) -> Iterator[None]:
        """Inside, the range of returns is that of the returns of all processes."""
        normalizer: Any = getattr(getattr(agent, "behaviour", None), "normalizer", None)
        if normalizer is None:
            yield
            return
        own = normalizer.after
        normalizer.after = lambda returns: own(torch.cat(self._gathered(returns.float().contiguous())))
        try:
            yield
        finally:
            del normalizer.after

    def first(self, call: Callable[[], T]) -> T | None:
        """What the first process alone does. The others wait, however long it takes, and get None."""
        done: list[T] = []

        def say_so() -> str:
            done.append(call())
            return "done"

        self.word_of_first(say_so)
        return done[0] if done else None

    def word_of_first(self, call: Callable[[], str]) -> str:
        """The word that comes of what the first process alone does."""
        self.calls += 1
        key = f"first/{self.calls}"
        if self.rank == 0:
            word = call()
            self.store.set(key, word)
            return word
        self._until(lambda: self.life.heard(key) is not None)
        return self.life.heard(key) or ""

    def meet(self) -> None:
        """Wait until all are here."""
        self.everyone(np.zeros((1, 1)))

    def _gathered(self, own: Tensor) -> list[Tensor]:
        """A tensor of the same shape from each process, in their order."""
        there = _on_the_way(own)
        gathered = [torch.empty_like(there) for _ in range(self.size)]
        self._wait(distributed.all_gather(gathered, there, async_op=True))
        return [tensor.to(own.device) for tensor in gathered]

    def _wait(self, work: Any) -> None:
        """Until an exchange is done. It fails at once if a process ends, and if one tells of a failure."""
        self.pending = work
        self._until(work.is_completed)
        try:
            work.wait()
        except RuntimeError as error:
            self._explain(error)
        finally:
            self.pending = None

    def _until(self, done: Callable[[], bool]) -> None:
        """Wait in Python, so that signals are heard. The longer it takes, the more seldom one looks."""
        began, looked = time.monotonic(), time.monotonic()
        while not done():
            now = time.monotonic()
            if now - looked > BEAT / 2:
                looked = now
                self._look(LOST)
            time.sleep(min(2e-2, (now - began) / 20))

    # When something goes wrong ---------------------------------------------------------------------------------------

    def _look(self, patience: float) -> None:
        """Raise what has happened elsewhere, if anything has."""
        if self.life.lost:
            self.parted = True
            raise ProcessFailure("torchrun, which has started the processes, has ended.")
        if (failure := self.life.failure()) is None:
            gone = [q for q in range(self.size) if q != self.rank and self.life.gone(q, patience)]
            if not gone:
                return
            self.life.tell_failure(gone[0], "", "")
            failure = self.life.failure() or (gone[0], "", "")
        self.parted = True
        number, kind, text = failure
        if kind == AtOnce.__name__:
            raise AtOnce("Stopped.")
        if kind == OutputError.__name__:
            raise OutputError(text)  # whoever could not write has said where things are
        told = f"{kind}: {text}" if kind else "it has ended without a word (killed, out of memory, or crashed)."
        raise ProcessFailure(f"Process {number} of {self.size} (counted from 0) has failed: {told}")

    def _explain(self, error: RuntimeError) -> None:
        """An exchange has failed: whoever failed says so, or is soon missed."""
        deadline = time.monotonic() + 2 * SILENT
        while time.monotonic() < deadline:
            self._look(SILENT)
            time.sleep(BEAT / 5)
        self.parted = True
        raise ProcessFailure(f"The connection between the processes broke: {str(error).splitlines()[0]}") from error

    def part(self, error: BaseException) -> None:
        """Tell the others of an error; from here on nobody waits for an answer."""
        if not self.parted:
            self.parted = True
            self.life.tell_failure(self.rank, type(error).__name__, str(error))

    def speaks(self) -> bool:
        """Whether this is the process that says what has happened: the first that has not ended without a word."""
        # in this order: who leaves between the two questions has left, and is not taken for one that fell silent
        return not any(not self.life.gone(q, SILENT) or self.life.left(q) for q in range(self.rank))

    def let_speak(self) -> None:
        """Wait until whoever speaks has had the time to: torchrun ends all when the first of them ends."""
        deadline = time.monotonic() + 2 * SILENT
        while time.monotonic() < deadline and not any(self.life.left(q) for q in range(self.rank)):
            time.sleep(BEAT / 5)
        time.sleep(GRACE)

    def leave(self) -> None:
        """Go. An exchange that is under way fails once the others go, too; if they do not, it is left as it is."""
        self.life.leave()
        deadline = time.monotonic() + SILENT
        while self.pending and not self.pending.is_completed() and time.monotonic() < deadline:
            time.sleep(BEAT / 50)
        if not self.pending or self.pending.is_completed():
            distributed.destroy_process_group()

    # To disk and back ------------------------------------------------------------------------------------------------

    @contextmanager
    def saving(self, folder: Path, state: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
        """Inside, the checkpoint is written by one process: the first, or the first that is left.

        The state of each of the others is a file of its own beside it, with a folder for its replay, written before.
        The checkpoint names these files, so that it and they become valid in one moment; those of an earlier one are
        then removed. Of a process that has ended, the one before counts.
        """
        self.generation += 1
        united = not self.parted
        if self.rank:
            own = {name: state[name] for name in OWN}
            own["replay"] = chunks.write_rows(folder / self.replay, state["replay"])
            checkpoint.write(part(folder, self.rank, self.generation), own)
        written = self._written() if united else self._written_by_those_left()
        writer = min(written)
        if self.rank != writer:
            yield None
        else:
            self.parts = [written.get(q, self.parts[q]) for q in range(self.size)]
            told = {"parts": [0, *self.parts[1:]]}
            if writer:
                before = checkpoint.read(folder / CHECKPOINT)  # with the state of the first, which has ended
                state = {**state, **{name: before[name] for name in OWN}}
            yield {**state, "processes": told}
            self._remove_old(folder)
        if united:
            self.meet()
        else:
            self._until_written(writer)
        self.parts = [written.get(q, self.parts[q]) for q in range(self.size)]

    def _written(self) -> dict[int, int]:
        """The number of the file that each process has written."""
        return {q: int(n) for q, n in enumerate(self.everyone(np.array([[self.generation]]))[0])}

    def _written_by_those_left(self) -> dict[int, int]:
        """The same, of the processes that are left; the others are missed."""
        self.life.tell(f"written/{self.rank}", str(self.generation))
        if self.life.lost:  # nothing can be heard: the first writes, and of the others the file before counts
            return {0: self.generation}
        found = {self.rank: self.generation}
        for q in (q for q in range(self.size) if q != self.rank):
            while (word := self.life.heard(f"written/{q}")) is None and not self.life.gone(q, SILENT):
                time.sleep(BEAT / 5)
            if word is not None:
                found[q] = int(word)
        return found

    def _until_written(self, writer: int) -> None:
        if writer == self.rank:
            self.life.tell("checkpoint", "written")
            return
        while self.life.heard("checkpoint") is None and not self.life.gone(writer, SILENT):
            time.sleep(BEAT / 5)

    def _remove_old(self, folder: Path) -> None:
        """Remove the files of processes that the checkpoint does not name, and what only they name."""
        named = {part(folder, q, n): f"replay-{q}" for q, n in enumerate(self.parts) if q}
        for path in folder.glob("process-*.pt"):
            if path not in named:
                with suppress(OSError):
                    path.unlink()
        for path, replay in named.items():
            chunks.tidy(path, name=replay)

    def own(self, folder: Path, state: dict[str, Any]) -> dict[str, Any]:
        """What this process goes on from: what all share, and its own.

        Raises:
            InputError: if the run in `folder` is one of another number of processes.
            CheckpointError: if the file of this process cannot be read.
        """
        processes = state.get("processes")
        self._take_gpu(state["config"].get("device", "cpu") if isinstance(state.get("config"), dict) else "cpu")
        state = super().own(folder, state)
        self.parts = files_of(processes)
        self.generation = max(self.parts)
        if not self.rank:
            return state
        own = checkpoint.read(path := part(folder, self.rank, self.parts[self.rank]))
        if missing := [name for name in OWN if name not in own]:
            raise CheckpointError(f"{path} does not hold the state of a process: {missing[0]} is missing.")
        return {**state, **{name: own[name] for name in OWN}}


def _on_the_way(tensor: Tensor) -> Tensor:
    """A tensor where gloo or nccl can take it from."""
    return tensor if tensor.device.type in ("cpu", "cuda") else tensor.cpu()


def part(folder: Path, rank: int, generation: int) -> Path:
    """The file with the state of one process; that of the first is in the checkpoint itself."""
    return folder / f"process-{rank}-{generation}.pt"
