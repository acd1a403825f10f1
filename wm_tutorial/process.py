"""What a run shares with the rest of its process and machine: signals, threads, PyTorch's generator, memory."""

import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from wm_tutorial.errors import InputError


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Inside, PyTorch uses `count` CPU threads, or its own choice if 0; outside, as many as before."""
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count:
            torch.set_num_threads(before)


def devices() -> list[str]:
    """Where networks can live on this machine."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [name for name, found in there.items() if found]


class AtOnce(KeyboardInterrupt):
    """A second Ctrl-C: stop in the middle of whatever is done."""


class Request:
    """What signals ask of a run: to stop at the next safe point. A second Ctrl-C does not wait for it.

    asked   whether a signal has come
    freely  whether nothing would be lost now, so that the run may stop at any moment
    """

    def __init__(self) -> None:
        self.asked = self.freely = False

    def take(self, number: int, frame: FrameType | None) -> None:
        """The handler. A closed terminal may send its signal twice, and means no more by it."""
        again, self.asked = self.asked and number == signal.SIGINT, True
        if again:
            raise AtOnce("Stopped.")
        if self.freely:
            self.check()

    def check(self) -> None:
        """A safe point: stop here, if that is asked for."""
        if self.asked:
            raise KeyboardInterrupt("Stopped.")

    @contextmanager
    def at_any_moment(self) -> Iterator[None]:
        """Inside, nothing would be lost."""
        self.freely = True
        try:
            self.check()
            yield
        finally:
            self.freely = False


@contextmanager
def interruptible() -> Iterator[Request]:
    """Turn the first Ctrl-C, a request to terminate or a closed terminal into a question asked at safe points.

    A second Ctrl-C raises `AtOnce`. Signals that are ignored stay so (nohup). Outside the main thread none are caught.
    """
    request, names = Request(), ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # the last two: not on every system
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for name in names if (number := getattr(signal, name, None))}
    handlers = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in handlers:
        signal.signal(number, request.take)
    try:
        yield request
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


_one = threading.RLock()


@contextmanager
def alone() -> Iterator[None]:
    """Inside, no other thread of the process learns: PyTorch has one random generator and one number of threads.

    Raises:
        InputError: if another thread does.
    """
    if not _one.acquire(blocking=False):
        raise InputError(
            "Another thread of this process trains or evaluates an agent. PyTorch has one random generator for all "
            "threads, so that each would change the numbers of the other: wait for it, or give each run a process."
        )
    try:
        yield
    finally:
        _one.release()


def amount(nbytes: int) -> str:
    """Bytes as people say them: 1.5 GB."""
    power = min(max(len(str(nbytes)) - 1, 0) // 3, 3)
    return f"{nbytes / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB')[power]}"


def machine_memory() -> int | None:
    """Bytes of memory that this machine has; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no such question
        return None


def check_memory(rows: int, row: int) -> None:
    """Raise InputError if `rows` rows of `row` bytes each are more than the machine has; warn beyond half of it."""
    there, needed = machine_memory(), rows * row
    if there is None or needed <= there // 2:
        return
    text = (
        f"The replay of {rows:,} rows of {amount(row)} each needs {amount(needed)}, and this machine has "
        f"{amount(there)}. Give a smaller capacity, such as {there // 4 // row:,}, or smaller observations "
        "(gymnasium.wrappers.ResizeObservation for images)."
    )
    if needed > there:
        raise InputError(text)
    warnings.warn(text, stacklevel=4)
