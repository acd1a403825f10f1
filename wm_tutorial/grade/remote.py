"""A function of a submission, as the grader calls it: every call is a question to another process.

    with Stable() as stable, Remote(stable, Limits()) as function:
        if not function.load(task):
            check.diagnosis.problem_of(part, function)

To the checks it looks like any function of tensors, gradients included. Only numbers come back.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import cloudpickle
import torch
from torch import Tensor

from wm_tutorial import mistakes
from wm_tutorial.check.asking import kind_of
from wm_tutorial.grade.sandbox import Limits, Walls
from wm_tutorial.grade.wire import Garbled, Header, Message, pack, rebuild, receive, send
from wm_tutorial.mistakes.part import Unusable

MORE_PATIENCE = 30.0  # seconds in which the warm process must have imported everything, times ten on a busy machine
ENDING = 30.0  # seconds for a process that answers no more to end by itself: on a busy machine that takes a while


class Stable:
    """The warm process, and how to have processes begun and ended in it.

    walls  what there is between a submission and this machine
    """

    def __init__(self, folder: Path | None = None) -> None:
        # functions among the arguments travel as code: where they run, there is no module of mistakes to import
        cloudpickle.register_pickle_by_value(mistakes)
        self.room = tempfile.mkdtemp(prefix="wm-grade-", dir=folder)  # stays empty: it is filled for the other process
        self.control, theirs = socket.socketpair()
        # -P: nothing is imported from the folder in which this was started, where submissions may lie
        command = [sys.executable, "-P", "-m", "wm_tutorial.grade.stable", str(theirs.fileno()), self.room]
        environment = {
            name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH") if name in os.environ
        }
        environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL, start_new_session=True
        )
        theirs.close()
        self.control.settimeout(10 * MORE_PATIENCE)
        self.walls = Walls(**self._told())

    def __enter__(self) -> "Stable":
        return self

    def __exit__(self, *_: object) -> None:
        self.control.close()  # which tells it to end
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        Path(self.room).rmdir()

    def begin(self, limits: Limits) -> tuple[int, socket.socket]:
        """A new process of a submission, and the channel to it."""
        channel, theirs = socket.socketpair()
        asked = json.dumps({"begin": asdict(limits)}, allow_nan=False)
        socket.send_fds(self.control, [asked.encode()], [theirs.fileno()])
        theirs.close()
        return int(self._told()["child"]), channel

    def end(self, child: int, patience: float = 0.1) -> int:
        """End it, if it has not ended by itself in `patience` seconds; returns what `waitpid` says."""
        self.control.sendall(json.dumps({"end": child, "patience": patience}, allow_nan=False).encode())
        return int(self._told()["status"])

    def _told(self) -> Header:
        line = b""
        while not line.endswith(b"\n"):
            piece = self.control.recv(4096)
            if not piece:
                raise EOFError("the warm process of the grader has ended")
            line += piece
        told: Header = json.loads(line)
        return told


@dataclass
class Task:
    """What a submission needs to answer for one exercise.

    name        of its function
    arguments   how many the check gives
    statements  in order: file (as tracebacks show it), line and source of each
    files       the whole cells by these names
    finished    functions of the package that are not to be called
    """

    name: str
    arguments: int
    statements: list[Header]
    files: dict[str, str]
    finished: tuple[str, ...] = ()


@dataclass
class Raised:
    """An error in the student's own code, and where."""

    kind: str
    message: str
    file: str = ""
    line: int = 0
    text: str = ""

    def __str__(self) -> str:
        told = f"it raised {self.kind}: {self.message or '(no message)'}"
        return told + (f"\n  line {self.line} of {self.file}: {self.text or '(not to be shown)'}" if self.line else "")


@dataclass(eq=False)
class Remote:
    """The function that a task is about.

    raised    the first error in the student's code
    finished  the function of the package that was called in place of one's own
    stopped   why there is no process any more
    """

    stable: Stable
    limits: Limits
    raised: Raised | None = None
    finished: str = ""
    stopped: str = ""
    calls: int = 0
    waited: float = 0.0
    told: Any = field(default=None, repr=False)

    def __enter__(self) -> "Remote":
        self.child, self.channel = self.stable.begin(self.limits)
        return self

    def __exit__(self, *_: object) -> None:
        if self.child:
            self._end()

    def load(self, task: Task) -> str:
        """Run the statements; what is wrong with the function before it is called, or nothing."""
        header = asdict(task) | {"do": "load"}
        try:
            reply = self._ask(Message(header)).header
        except Unusable as unusable:
            return str(unusable)
        if not reply.get("loaded"):
            value = reply.get("value")
            if value == {"plain": None}:
                return f"after its cells have run there is no {task.name}."
            return f"{task.name} is {self._kind(value)}; it must be a function."
        refusal = str(reply.get("refusal") or "")
        return f"it is called with {task.arguments} arguments, and does not take that: {refusal}." if refusal else ""

    def __call__(self, *arguments: Any) -> Any:
        """What the submission returns; its gradients reach the arguments, and what functions among them remember.

        Raises:
            Unusable: in the words of the checks, where it does not answer.
        """
        pickled, tensors = pack(arguments)
        self.calls += 1
        tracked = [x.requires_grad for x in tensors]
        header = {"do": "call", "number": self.calls, "tracked": tracked}
        sent = [*tensors, torch.get_rng_state()]  # which the check has seeded: what is drawn there would be drawn here
        if any(tracked) and torch.is_grad_enabled():
            returned = list(_Asked.apply(self, Message(header, sent, pickled), *tensors))  # type: ignore[no-untyped-call]
        else:
            returned = self.ask(Message(header, sent, pickled))
        try:
            return rebuild(self.told, returned)
        except Garbled as error:
            raise self._gone(f"it answered with something that is no answer ({error})") from error

    def ask(self, message: Message) -> list[Tensor]:
        """Call once: the tensors of the answer, whose form is in `told`; arguments it has changed are changed here."""
        reply = self._ask(message)
        self.told = reply.header.get("answer")
        if reply.header.get("drew"):
            torch.default_generator.manual_seed(int(torch.randint(2**62, ())))  # the next call draws others
        with suppress(TypeError, IndexError, RuntimeError), torch.no_grad():
            for number in reply.header.get("changed", []):
                message.tensors[number].copy_(~message.tensors[number].isnan())  # into something else
        if reply.header.get("scribbled"):
            raise Unusable("it changes an array that it was given in place; work on a copy, such as x.copy().")
        return reply.tensors

    def slopes(self, call: int, given: Sequence[Tensor]) -> list[Tensor]:
        """Gradients in the tensors of a call that were tracked."""
        try:
            return self._ask(Message({"do": "slopes", "number": call}, list(given))).tensors
        except Unusable as unusable:
            raise RuntimeError(str(unusable)) from unusable  # as torch itself says it

    # --- One question -------------------------------------------------------------------------------------------------

    def _ask(self, message: Message) -> Message:
        if self.stopped:
            raise Unusable(self.stopped)
        began = time.monotonic()
        try:
            self.channel.settimeout(max(self.limits.wait - self.waited, 0.01))
            send(self.channel, message)
            reply = receive(self.channel, max(self.limits.wait - self.waited, 0.01))
        except TimeoutError:
            raise self._gone(f"it had not answered after {self.limits.wait} seconds; does a loop end?") from None
        except (EOFError, OSError):
            raise self._gone("") from None
        except Garbled as error:
            raise self._gone(f"it answered with something that is no answer ({error})") from error
        finally:
            self.waited += time.monotonic() - began
        match reply.header:
            case {"finished": str(name)}:
                self.finished = name
                raise Unusable(f"it calls {name}, the finished function of the package; the exercise is to write it.")
            case {"raised": {"stub": True}}:
                raise Unusable("still to be written; it raises NotImplementedError.")
            case {"raised": dict(told)}:
                raised = self._raised(told)
                self.raised = self.raised or raised
                raise Unusable(str(raised), raised=True)
        return reply

    def _raised(self, told: Header) -> Raised:
        line = told.get("line")
        words = [str(told.get(name, "")) for name in ("kind", "message", "file", "text")]
        kind, message, file, text = words
        return Raised(kind, message, file, line if isinstance(line, int) else 0, text)

    def _kind(self, value: Any) -> str:
        try:
            return kind_of(rebuild(value, []))
        except Garbled:
            return "something else"

    def _gone(self, why: str) -> Unusable:
        """There is no process any more, or soon; without a reason, it is the one that has hung up."""
        status = self._end() if why else self._end(min(self.limits.wait, ENDING))
        self.stopped = why or _ended(status, self.limits)
        return Unusable(self.stopped)

    def _end(self, patience: float = 0.1) -> int:
        self.channel.close()
        child, self.child = self.child, 0
        return self.stable.end(child, patience)


def _ended(status: int, limits: Limits) -> str:
    """How a process ended, in words."""
    if not os.WIFSIGNALED(status):
        return "it ended the whole process; a function returns and leaves the process alone."
    number = os.WTERMSIG(status)
    if number == signal.SIGXCPU:
        return f"it had not answered after {limits.seconds} seconds of computing; does a loop end?"
    if number == signal.SIGKILL:
        return "its process was stopped by the system, as one that needs too much time or memory is."
    return f"its process crashed ({signal.Signals(number).name})."


class _Asked(torch.autograd.Function):
    """One call, as a step of PyTorch's own graph."""

    @staticmethod
    def forward(ctx: Any, remote: Remote, message: Message, *tensors: Tensor) -> tuple[Tensor, ...]:
        returned = remote.ask(message)
        ctx.remote, ctx.call = remote, message.header["number"]
        ctx.sloped = _sloped(remote.told, len(returned))
        ctx.tracked = [x.requires_grad for x in tensors]
        ctx.mark_non_differentiable(*[x for x, slope in zip(returned, ctx.sloped, strict=True) if not slope])
        return tuple(returned)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> Any:
        asked = [slope for slope, sloped in zip(given, ctx.sloped, strict=True) if sloped]
        found = iter(cast("Remote", ctx.remote).slopes(ctx.call, asked))
        return None, None, *[next(found, None) if tracked else None for tracked in ctx.tracked]


def _sloped(told: Any, count: int) -> list[bool]:
    """Of each tensor of an answer, whether it says that it has a slope."""
    sloped = [False] * count

    def look(part: Any) -> None:
        match part:
            case {"tensor": int(number), "slope": True} if 0 <= number < count:
                sloped[number] = True
            case {"tuple": [*parts]} | {"list": [*parts]}:
                for one in parts:
                    look(one)
            case {"dict": dict(pairs)}:
                for one in pairs.values():
                    look(one)

    look(told)
    return sloped
