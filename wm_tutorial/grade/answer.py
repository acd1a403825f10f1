"""Inside the process of a submission: run its cells, and answer what is asked of its function.

Everything here lies within reach of the student's code. That does no harm: only numbers are sent back, which the grader
compares with its own.
"""

import __future__

import importlib
import inspect
import linecache
import random
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wm_tutorial.grade.wire import TEXT, Header, Message, describe, receive, send, unpack


class Finished(BaseException):
    """A finished function of the package was called where it is what the exercise asks for."""


@dataclass
class Submission:
    """The function of one exercise.

    files     the cells by the name that tracebacks show
    answered  what was returned with a slope, and the tensors it may depend on, by the number of the call
    """

    function: Callable[..., Any] = lambda: None
    files: set[str] = field(default_factory=set)
    answered: dict[int, tuple[list[Tensor], list[Tensor]]] = field(default_factory=dict)

    def serve(self, channel: socket.socket) -> None:
        """Answer until nobody asks any more."""
        does = {"load": self.load, "call": self.call, "slopes": self.slopes}
        while True:
            try:
                asked = receive(channel, trusted=True)
            except EOFError:
                return
            try:
                reply = does[asked.header["do"]](asked)
            except Finished as error:
                reply = Message({"finished": str(error)})
            except BaseException as error:  # SystemExit, too
                reply = Message({"raised": self.told(error)})
            send(channel, reply)

    def load(self, asked: Message) -> Message:
        """Run the statements in order; is there a function that can be called as the check does?"""
        for dotted in asked.header["finished"]:
            forbid(dotted)
        space: dict[str, Any] = {"__name__": "__main__"}
        future = 0
        for name, text in asked.header["files"].items():
            linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
            self.files.add(name)
        for statement in asked.header["statements"]:
            padded = "\n" * (statement["line"] - 1) + statement["source"]
            compiled = compile(padded, statement["file"], "exec", future, dont_inherit=True)
            future |= compiled.co_flags & __future__.annotations.compiler_flag  # holds from then on, as in a notebook
            exec(compiled, space)
        function = space.get(asked.header["name"])
        if not callable(function):
            return Message({"loaded": False, "value": describe(function, [])})
        self.function = function
        try:
            inspect.signature(function).bind(*[None] * asked.header["arguments"])
        except TypeError as error:
            return Message({"loaded": True, "refusal": str(error)[:TEXT]})
        except ValueError:
            pass  # functions of torch itself have no signature to look at
        return Message({"loaded": True, "refusal": ""})

    def call(self, asked: Message) -> Message:
        """What the function returns, and which arguments it has changed."""
        *given, state = asked.tensors
        torch.set_rng_state(state)
        np.random.seed(asked.header["number"])
        random.seed(asked.header["number"])
        torch.set_default_dtype(torch.float32)
        tensors = [x.requires_grad_(slope) for x, slope in zip(given, asked.header["tracked"], strict=True)]
        arguments, as_given = unpack(asked.pickled, tensors), [x.detach().clone() for x in tensors]
        with torch.enable_grad():
            returned = self.function(*arguments)
        found: list[Tensor] = []
        told = describe(returned, found)
        outputs = [x for x in found if x.requires_grad]
        self.answered[asked.header["number"]] = outputs, [x for x in tensors if x.is_leaf and x.requires_grad]
        changed = [
            number
            for number, (now, before) in enumerate(zip(tensors, as_given, strict=True))
            if now.shape != before.shape or not torch.equal(now.detach(), before)
        ]
        before_arrays = [x for x in unpack(asked.pickled, as_given) if isinstance(x, np.ndarray)]
        arrays = [x for x in arguments if isinstance(x, np.ndarray)]
        scribbled = any(not np.array_equal(now, before) for now, before in zip(arrays, before_arrays, strict=True))
        drew = not torch.equal(torch.get_rng_state(), state)
        return Message({"answer": told, "changed": changed, "scribbled": scribbled, "drew": drew}, found)

    def slopes(self, asked: Message) -> Message:
        """Gradients of what one call returned, in the arguments that were tracked; zeros where none arrives."""
        outputs, leaves = self.answered[asked.header["number"]]
        found = torch.autograd.grad(
            outputs, leaves, asked.tensors, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        return Message({}, list(found))

    def told(self, error: BaseException) -> Header:
        """Type and message of an error, and the innermost line that stands in a cell."""
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in self.files]
        where: Header = {}
        if isinstance(error, SyntaxError):
            where = {
                "file": str(error.filename),
                "line": error.lineno or 0,
                "in": "",
                "text": (error.text or "").strip(),
            }
        elif frames:
            last = frames[-1]
            where = {"file": last.filename, "line": last.lineno or 0, "in": last.name, "text": (last.line or "")[:TEXT]}
        written = isinstance(error, NotImplementedError) and where.get("text", "").startswith("raise")
        return {"kind": type(error).__name__, "message": str(error).strip()[:TEXT], "stub": written, **where}


def forbid(dotted: str) -> None:
    """Let whoever calls this function of the package be told that it is the finished one; wherever it was imported."""
    owner, name = owner_of(dotted)
    finished = vars(owner).get(name)

    def asked(*given: Any, **options: Any) -> Any:
        raise Finished(dotted)

    trap: Any = property(asked) if isinstance(finished, property) else asked
    setattr(owner, name, trap)
    for module in [module for known, module in sys.modules.items() if known.partition(".")[0] == "wm_tutorial"]:
        for alias in [alias for alias, value in vars(module).items() if value is finished]:
            setattr(module, alias, trap)


def owner_of(dotted: str) -> tuple[Any, str]:
    """The module or class that holds a function of the package, and the function's name in it."""
    words = dotted.split(".")
    for count in range(len(words) - 1, 0, -1):
        try:
            owner: Any = importlib.import_module(".".join(words[:count]))
        except ModuleNotFoundError:
            continue
        for word in words[count:-1]:
            owner = getattr(owner, word)
        return owner, words[-1]
    raise LookupError(dotted)
