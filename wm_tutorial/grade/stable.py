"""The warm process that submissions are forked from: it has imported PyTorch, and knows no solution and no seed.

    python -m wm_tutorial.grade.stable FD ROOM

Reads from the socket FD what to do, one line of JSON at a time, begins and ends the processes of submissions, and says
how each of them ended. ROOM is an empty folder for the root of its own that it takes where it may.
"""

import importlib
import json
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wm_tutorial.grade import calls, sandbox
from wm_tutorial.grade.sandbox import Limits, Walls


def serve(control: socket.socket, walls: Walls) -> None:
    """Begin and end processes until nobody asks any more."""
    living: set[int] = set()
    while True:
        line, given, _, _ = socket.recv_fds(control, 4096, 1)
        if not line:
            for child in living:
                end(child, 0.0)
            return
        asked = json.loads(line)
        if "begin" in asked:
            (channel,) = given
            limits = Limits(**asked["begin"])
            if (child := os.fork()) == 0:
                run(channel, limits, walls)
            os.close(channel)
            living.add(child)
            say(control, {"child": child})
        else:
            living.discard(asked["end"])
            say(control, {"status": end(asked["end"], asked["patience"])})


def say(control: socket.socket, told: dict[str, Any]) -> None:
    """One line of JSON."""
    control.sendall(json.dumps(told, allow_nan=False).encode() + b"\n")


def end(child: int, patience: float) -> int:
    """End a process and whatever it has begun; how it ended, as `waitpid` says it.

    One that ends by itself says more about why: it has `patience` seconds for that.
    """
    deadline = time.monotonic() + patience
    while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < deadline:
        time.sleep(0.005)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    return ended[1] if ended[0] else os.waitpid(child, 0)[1]


def run(channel: int, limits: Limits, walls: Walls) -> None:
    """The process of a submission: build the walls, then answer; never returns."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the grader, which ends this one
        if channel != 3:
            os.dup2(channel, 3)
        null = os.open(os.devnull, os.O_RDWR)  # what is printed does not count, so it goes nowhere
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.closerange(4, 4096)
        sandbox.limit(limits, walls.filtered)
        if walls.filtered:
            calls.filter_calls()
        from wm_tutorial.grade.answer import Submission

        Submission().serve(socket.socket(fileno=3))
        status = 0
    finally:
        os._exit(status)


def main(control: socket.socket, room: Path) -> None:
    """Put up the walls that there are, import, say what stands, serve."""
    walls = Walls()
    reasons = []
    try:
        sandbox.leave()
        walls.apart = True
    except (OSError, AttributeError) as error:
        reasons.append(str(error))
    warm()
    sandbox.measure()
    if walls.apart:
        try:
            sandbox.close_door(room)
        except OSError as error:
            walls.apart = False
            reasons.append(str(error))
    if problem := without_filter():
        reasons.append(problem)
    walls.filtered = not problem
    walls.why_not = "; ".join(reasons)
    say(control, asdict(walls))
    serve(control, walls)


def warm() -> None:
    """Import what submissions import, with one thread. Nothing is differentiated: autograd's threads forbid forks."""
    import torch

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    importlib.import_module("wm_tutorial.grade.answer")

    with suppress(ImportError):
        importlib.import_module(
            "torch.fx.experimental.symbolic_shapes"
        )  # what torch itself imports when the first gradient is asked for

    (torch.ones(2, 2) @ torch.ones(2, 2)).softmax(-1).sum().item()


def without_filter() -> str:
    """Why there is no filter of system calls, or nothing; asked of a process of its own, which keeps it."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            calls.filter_calls()
        except (OSError, AttributeError) as error:
            os.write(writer, str(error).encode()[:200])
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        problem = told.read()
    os.waitpid(child, 0)
    return problem


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2]))
