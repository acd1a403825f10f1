"""Several runs at once: in processes of this machine, or on the machines of a Ray cluster. Their results, as they come.

    for done in outcomes([Job("seed 0", partial(run, 0)), Job("seed 1", partial(run, 1))], "local", 2):
        print(done.job.name, done.failure or done.result)

A job is a call without arguments that can travel to another process, and so can what it returns. Each computes on one
thread, whatever machine it is on, so that a result does not depend on how many others were computed beside it.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from io import TextIOBase
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import cloudpickle
import torch

from wm_tutorial.errors import InputError, JobsFailed, WorldModelError
from wm_tutorial.process import interruptible
from wm_tutorial.runs.asked import tell, whole_number

ENGINES = ("local", "ray")
PATIENCE = 30.0  # seconds in which a run that is stopped saves what it has learned
EVERY = 20.0  # seconds between two lines of the progress of one job


@dataclass(frozen=True)
class Job:
    """One run. `name` is what it is called in messages, such as "seed 3"; `call` makes it."""

    name: str
    call: Callable[[], Any]


@dataclass(frozen=True)
class Outcome:
    """What has become of a job: its `result`, or in one sentence its `failure`."""

    job: Job
    result: Any = None
    failure: str | None = None


def check_engine(engine: str, count: Any) -> int:
    """The number of jobs side by side; raises InputError for an engine that there is not, a bad number, or no Ray."""
    if engine not in ENGINES:
        raise InputError(f"engine is {engine!r}; there are {' and '.join(map(repr, ENGINES))}.")
    if engine == "ray":
        _ray()
    return whole_number("jobs", count, 1)


def outcomes(jobs: Iterable[Job], engine: str = "local", count: int = 1) -> Generator[Outcome, None, None]:
    """Do all jobs, `count` at a time; yields each as it ends.

    One local job at a time is done in this process: its progress bar is this one's, and what it raises is raised here.
    Otherwise a job that fails, or whose process dies, is an outcome with a `failure`, and the others go on. Whoever
    stops asking (or is interrupted) ends those that are on their way; each first saves its run at a safe point.

    Critical: as in everything that starts processes, a script calls this below `if __name__ == "__main__":`.

    Args:
        jobs: what is to be done.
        engine: "local" for processes of this machine; "ray" for Ray: the cluster that RAY_ADDRESS names (`auto` is the
            one that this machine belongs to), or one of `count` workers that is started here.
        count: jobs side by side.

    Raises:
        InputError: for an engine or a number that cannot be used.
        JobsFailed: if Ray does not start.
        KeyboardInterrupt: once all are ended, if it was asked for.
    """
    count = check_engine(engine, count)
    if engine == "ray":
        yield from _on_ray(jobs, count)
    elif count == 1:
        for job in jobs:
            yield Outcome(job, job.call())
    else:
        yield from _in_processes(jobs, count)


def all_of(jobs: Iterable[Job], keep: Callable[[Job, Any], None], engine: str, count: int) -> dict[str, str]:
    """Do all jobs as `outcomes` does and `keep` each result at once; returns the failures by the names of the jobs."""
    failures = {}
    with closing(outcomes(jobs, engine, count)) as all_done:  # what `keep` raises ends those that are on their way
        for done in all_done:
            if done.failure is None:
                keep(done.job, done.result)
            else:
                failures[done.job.name] = done.failure
            if engine != "local" or count > 1:
                tell(f"{done.job.name}: {'done' if done.failure is None else f'failed. {done.failure}'}")
    return failures


def raise_failures(failures: dict[str, str], where: str) -> None:
    """Raise JobsFailed if there are any: which, why, and that all others are kept in `where`."""
    if failures:
        told = "\n".join(f"  {name}: {failure}" for name, failure in failures.items())
        raise JobsFailed(
            f"Of the runs for {where}, {len(failures)} failed; the others are kept there, and the same command makes "
            f"only those that are missing:\n{told}"
        )


# --- In the process that does a job -----------------------------------------------------------------------------------


class _Lines(TextIOBase):
    """Output that is told line by line, of a progress bar only what it shows now and then."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say, self.begun, self.shown = say, "", -EVERY

    def write(self, text: str) -> int:
        """Tell whole lines; a bar writes over its line again and again, each time after a carriage return."""
        *lines, self.begun = (self.begun + text).split("\n")
        for line in lines:
            self._tell(line.split("\r")[-1])
        if "\r" in self.begun:
            shown = self.begun.split("\r")[-1]
            if shown and time.monotonic() - self.shown >= EVERY:
                self._tell(shown)
                self.shown = time.monotonic()
            self.begun = "\r" + shown
        return len(text)

    def _tell(self, line: str) -> None:
        if line.strip():
            with suppress(OSError, ValueError):  # nobody listens any more
                self.say(line.rstrip())


def _work(pickled: bytes, say: Callable[[str], None]) -> tuple[Any, str | None]:
    """Do a job on one thread and tell what it prints; returns its result, or why there is none."""
    torch.set_num_threads(1)
    output: Any = _Lines(say)
    with redirect_stdout(output), redirect_stderr(output):
        try:
            return cloudpickle.loads(pickled)(), None
        except WorldModelError as error:
            return None, f"{type(error).__name__}: {error}"
        except KeyboardInterrupt as error:
            return None, str(error) or "Stopped."
        except BaseException as error:  # whatever it is, whoever waits for the job is told
            traceback.print_exc()
            return None, f"{type(error).__name__}: {error}"


def _serve(pickled: bytes, connection: "Connection[Any, Any]") -> None:
    """The whole life of a local process: one job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a matter of the process that has started this one
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    answer = _work(pickled, lambda line: connection.send((False, line)))
    with suppress(OSError):
        connection.send((True, answer))


def _end_with_the_parent() -> None:
    """A parent that is killed cannot end its children: they do so themselves, as if they were asked to."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _on_worker(name: str, pickled: bytes) -> tuple[Any, str | None]:
    """A job in a worker of Ray, which carries what it prints to the terminal of whoever has asked for it."""
    terminal = sys.stderr
    return _work(pickled, lambda line: print(f"{name}: {line}", file=terminal, flush=True))


# --- Local processes --------------------------------------------------------------------------------------------------


@contextmanager
def _unheard() -> Iterator[None]:
    """Inside, a process is started that does not hear Ctrl-C, not even while it imports what it needs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Crew:
    """The processes that are at work, each known by the connection to it."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("spawn")  # a forked process would lack PyTorch's threads
        self.busy: dict[Any, tuple[Job, BaseProcess]] = {}

    def start(self, job: Job) -> None:
        """Begin a job in a process of its own."""
        ours, theirs = self.context.Pipe(duplex=False)
        process = self.context.Process(target=_serve, args=(cloudpickle.dumps(job.call), theirs), name=job.name)
        with _unheard():
            process.start()
        theirs.close()
        self.busy[ours] = job, process

    def hear(self, timeout: float | None = None) -> list[Any]:
        """The connections to processes that say something, or have ended."""
        return wait(list(self.busy), timeout)

    def outcome(self, connection: Any) -> Outcome | None:
        """Take one message: of a line, pass it on; of an end, say what has become of the job."""
        job, process = self.busy[connection]
        try:
            over, told = connection.recv()
        except (EOFError, OSError):
            process.join()
            over, told = True, (None, _died(process.exitcode))
        except Exception as error:
            over, told = True, (None, f"What it returned cannot be read: {type(error).__name__}: {error}")
        if not over:
            if sys.stderr:
                with suppress(OSError, ValueError):
                    print(f"{job.name}: {told}", file=sys.stderr, flush=True)
            return None
        del self.busy[connection]
        connection.close()
        process.join()
        return Outcome(job, *told)

    def stop(self) -> None:
        """Ask all for their end, wait until they have saved what they learned, and end those that do not."""
        try:
            for _, process in self.busy.values():
                process.terminate()
            until = time.monotonic() + PATIENCE
            while self.busy and (heard := self.hear(max(0.0, until - time.monotonic()))):
                for connection in heard:
                    if (ended := self.outcome(connection)) and ended.failure:
                        tell(f"{ended.job.name}: {ended.failure}")
        finally:  # a second Ctrl-C, too
            for connection, (_, process) in self.busy.items():
                process.kill()
                process.join()
                connection.close()
            self.busy.clear()


def _died(code: int | None) -> str:
    return (
        f"Its process has ended (exit code {code}): it crashed, or was killed, perhaps for want of memory. If none "
        'begins: what starts them must stand below `if __name__ == "__main__":` in a script.'
    )


def _in_processes(jobs: Iterable[Job], count: int) -> Generator[Outcome, None, None]:
    waiting, crew = deque(jobs), _Crew()
    with interruptible() as request:
        try:
            while waiting or crew.busy:
                while waiting and len(crew.busy) < count:
                    crew.start(waiting.popleft())
                with request.at_any_moment():
                    heard = crew.hear()
                for connection in heard:
                    if ended := crew.outcome(connection):
                        yield ended
        finally:
            crew.stop()


# --- Ray --------------------------------------------------------------------------------------------------------------


def _ray() -> Any:
    """Ray, once it is needed.

    Raises:
        InputError: if it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError(
            'The engine "ray" needs Ray, which is not installed: pip install "wm_tutorial[ray]". Without it, the '
            'engine "local" uses the cores of this machine.'
        ) from error
    return ray


def _on_ray(jobs: Iterable[Job], count: int) -> Generator[Outcome, None, None]:
    ray, waiting = _ray(), deque(jobs)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told what is computed here
    ours = not ray.is_initialized()
    there = os.environ.get("RAY_ADDRESS")
    try:
        if ours and there:
            ray.init()
        elif ours:
            ray.init(address="local", num_cpus=count, include_dashboard=False)
    except Exception as error:
        what = f"find the cluster of RAY_ADDRESS={there!r}" if there else "start on this machine"
        raise JobsFailed(
            f"Ray did not {what}: {type(error).__name__}: {error} Its own logs are in /tmp/ray/session_latest/logs. On "
            "a machine that is very busy its parts may come too late: try again, or take the engine 'local'."
        ) from error
    work = ray.remote(num_cpus=1, max_retries=0)(_on_worker)
    busy: dict[Any, Job] = {}
    with interruptible() as request:
        try:
            while waiting or busy:
                while waiting and len(busy) < count:
                    job = waiting.popleft()
                    busy[work.remote(job.name, cloudpickle.dumps(job.call))] = job
                with request.at_any_moment():
                    ready, _ = ray.wait(list(busy), num_returns=1)
                for reference in ready:
                    yield _answered(ray, reference, busy.pop(reference))
        finally:
            for force in (False, True):
                for reference in busy:
                    ray.cancel(reference, force=force)
                if busy and not force:
                    ray.wait(list(busy), num_returns=len(busy), timeout=PATIENCE)
            if ours:
                ray.shutdown()


def _answered(ray: Any, reference: Any, job: Job) -> Outcome:
    try:
        return Outcome(job, *ray.get(reference))
    except ray.exceptions.RayError as error:  # its worker is gone, or the machine that it was on
        return Outcome(job, failure=f"{type(error).__name__}: {error}")
