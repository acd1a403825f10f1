"""What a reader builds: the right function, inputs to try one on, and the known ways to get it wrong."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

Function: TypeAlias = Callable[..., Any]
Arguments: TypeAlias = dict[str, Any]
Answer: TypeAlias = dict[str, Tensor]  # what was returned, by name
Call: TypeAlias = Callable[[Arguments], Answer]


class Unusable(Exception):
    """There is no answer to compare: the message says why, `raised` whether the function itself raised."""

    def __init__(self, message: str, raised: bool = False) -> None:
        super().__init__(message)
        self.raised = raised


@dataclass(frozen=True)
class Mistake:
    """A known way to get a part wrong.

    story      what is wrong, in one sentence
    why        why people make it
    functions  the mistake itself, once for each form in which people write it
    """

    story: str
    why: str
    functions: tuple[Function, ...]


@dataclass(frozen=True)
class Rule:
    """A function that the reader's function is given, and how it reads."""

    text: str
    function: Function

    def __call__(self, *given: Tensor) -> Any:
        """What the rule gives."""
        return self.function(*given)

    def __repr__(self) -> str:
        """For messages."""
        return self.text


@dataclass(frozen=True, repr=False)
class Candidate(Rule):
    """A function that a reader's test is tried on: the test must raise, unless it is right.

    Only the function itself is handed over: nothing that a test can look at says which one it is.
    """

    right: bool

    def __reduce__(self) -> Any:
        """A copy, and what another process is given, is the function alone."""
        return _itself, (self.function,)


def _itself(function: Function) -> Function:
    return function


def once(call: Call, arguments: Arguments) -> Answer:
    """The answer itself, for a function that leaves nothing to chance."""
    return call(arguments)


@dataclass(frozen=True, eq=False)
class Part:
    """Something a reader builds.

    name            also what its check is called
    right           the finished function
    cases           arguments by name, in the order of the call; the first are small enough to read in a message
    mistakes        by name; what is in the bug zoo too has the same name there
    container       what it returns: a Tensor, a tuple or a dict of Tensors, or an array of whole numbers; NoneType
                    for a test, whose only argument in each case is a `Candidate`
    returns         names of what it returns
    batched         arguments whose first axis is the batch
    gradient_to     arguments that must receive gradient
    no_gradient_to  arguments that must not
    measure         what is compared; for a function that draws at random, statistics of many answers
    expected        what these statistics must be
    tolerance       relative and absolute, of these statistics
    """

    name: str
    right: Function
    cases: tuple[Arguments, ...]
    mistakes: dict[str, Mistake] = field(default_factory=dict)
    container: type = Tensor
    returns: tuple[str, ...] = ("the answer",)
    batched: tuple[str, ...] = ()
    gradient_to: tuple[str, ...] = ()
    no_gradient_to: tuple[str, ...] = ()
    measure: Callable[[Call, Arguments], Answer] = once
    expected: Callable[[Arguments], Answer] | None = None
    tolerance: tuple[float, float] | None = None


def of_wrong(right: Function, argument: int, *changes: Function) -> tuple[Function, ...]:
    """The right function of one wrong argument, once for each way of changing it."""

    def of(change: Function) -> Function:
        return lambda *given: right(*given[:argument], change(given[argument]), *given[argument + 1 :])

    return tuple(of(change) for change in changes)


def differentiate(total: Tensor, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    """The gradient of `total` in each of `leaves`; raises Unusable if torch cannot tell."""
    try:
        return torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
    except RuntimeError as error:
        raise Unusable(f"torch cannot find its gradient: {error}") from error
