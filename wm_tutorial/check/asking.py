"""Putting a question to a function: it is called on copies, and every way of not answering gets its own words."""

import copy
import inspect
import os
import sysconfig
import traceback
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wm_tutorial.mistakes.part import Answer, Arguments, Function, Part, Unusable, differentiate

LIBRARIES = tuple(
    f"{folder}{os.sep}"
    for folder in (Path(__file__).parents[1], sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"))
)
STUB = "still to be written; it raises NotImplementedError."


def right_answer(part: Part, arguments: Arguments) -> Answer:
    """What must be answered; by a test nothing."""
    if part.container is NoneType:
        return {}
    return part.expected(arguments) if part.expected else answers(part, part.right, arguments)


def answers(part: Part, function: Function, arguments: Arguments) -> Answer:
    """What `function` answers, always with the same draws; raises Unusable where it does not answer."""
    torch.default_generator.manual_seed(0)
    return part.measure(partial(_call, part, function), arguments)


def gradients(part: Part, function: Function, arguments: Arguments) -> Answer:
    """The gradient that each argument receives from the answer, zeros where none does."""
    tracked = part.gradient_to + part.no_gradient_to
    given = arguments | {name: arguments[name].clone().requires_grad_() for name in tracked}
    answer = [value for value in _call(part, function, given).values() if value.requires_grad]
    # Weights of their own: errors in two places cannot cancel.
    total = sum((torch.linspace(0.5, 1.5, value.numel()).to(value) * value.flatten()).sum() for value in answer)
    if not isinstance(total, Tensor):
        return {name: torch.zeros_like(arguments[name]) for name in tracked}
    leaves = [given[name] for name in tracked]
    return dict(zip(tracked, differentiate(total, leaves), strict=True))


def refusal(function: Function, arguments: Arguments) -> str:
    """Why `function` cannot be called with these arguments, or nothing."""
    try:
        inspect.signature(function).bind(*arguments.values())
    except TypeError as error:
        return f"it is called with ({', '.join(arguments)}), and does not take that: {error}."
    except ValueError:
        pass  # functions of torch itself have no signature to look at
    return ""


def _call(part: Part, function: Function, arguments: Arguments) -> Answer:
    given = {
        name: value if isinstance(value, Tensor) and value.requires_grad else copy.deepcopy(value)
        for name, value in arguments.items()
    }
    try:
        returned = function(*given.values())
    except Unusable:  # it was asked in another process, where its words were found
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, NotImplementedError) and _is_stub(error):
            raise Unusable(STUB) from error
        raise Unusable(_tell(error), raised=True) from error
    if changed := [name for name, value in given.items() if _differ(value, arguments[name])]:
        raise Unusable(
            f"it changes its input {', '.join(changed)} in place, so whoever called it goes on with other numbers; "
            f"work on a copy, such as {changed[0]}.clone()."
        )
    return _by_name(part, returned)


def _differ(value: Any, before: Any) -> bool:
    if isinstance(value, np.ndarray):
        return not np.array_equal(value, before)
    return isinstance(value, Tensor) and not torch.equal(value, before)


def _is_stub(error: NotImplementedError) -> bool:
    """Whether the reader's own line raised it, and not something that torch does not do."""
    line = traceback.extract_tb(error.__traceback__)[-1].line
    return not line or line.startswith("raise")


def _tell(error: BaseException) -> str:
    """Type, message, and the reader's line: the innermost one that belongs to no library."""
    text = f"it raised {type(error).__name__}: {str(error).strip() or '(no message)'}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(LIBRARIES)]
    if frames:
        text += f"\n  line {frames[-1].lineno} in {frames[-1].name}: {frames[-1].line or '(not to be shown)'}"
    return text


# What was returned ----------------------------------------------------------------------------------------------------


def kind_of(value: Any) -> str:
    """What a value is, in words."""
    match value:
        case None:
            return "None"
        case Tensor():
            return f"a tensor {tuple(value.shape)}"
        case np.ndarray():
            return f"a NumPy array {value.shape}"
        case tuple() | list():
            return f"a {type(value).__name__} of {len(value)}"
        case dict():
            return f"a dict with {', '.join(map(str, value)) or 'nothing in it'}"
    return f"{value!r} ({type(value).__name__})"


def _by_name(part: Part, returned: Any) -> Answer:
    names = part.returns
    if part.container is NoneType:
        if returned is None:
            return {}
        raise Unusable(f"it returned {kind_of(returned)}; a test returns nothing, and raises where something is wrong.")
    if returned is None:
        raise Unusable("it returned None; is the return statement missing?")
    if part.container is Tensor:
        return {names[0]: _tensor(returned, "it")}
    if part.container is np.ndarray:
        if not isinstance(returned, np.ndarray | Tensor):
            raise Unusable(f"it returned {kind_of(returned)}; it must return an array of whole numbers: np.array(...).")
        return {names[0]: _from_numpy(returned) if isinstance(returned, np.ndarray) else _tensor(returned, "it")}
    if part.container is dict and isinstance(returned, dict) and set(returned) == set(names):
        return {name: _tensor(returned[name], name) for name in names}
    if part.container is tuple and isinstance(returned, tuple) and len(returned) == len(names):
        return {name: _tensor(value, name) for name, value in zip(names, returned, strict=True)}
    raise Unusable(
        f"it returned {kind_of(returned)}; it must return a {part.container.__name__} of {', '.join(names)}."
    )


def _from_numpy(array: npt.NDArray[Any]) -> Tensor:
    """An array as a tensor, however it lies in memory."""
    if array.dtype.kind not in "biuf":
        raise Unusable(f"it returned an array of {array.dtype}; it must hold whole numbers.")
    return torch.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))


def _tensor(value: Any, name: str) -> Tensor:
    hint = ""
    if isinstance(value, Tensor):
        if value.layout is torch.strided and not value.is_meta:
            return value
        hint = " This one is sparse, or has no numbers in it."
    if isinstance(value, np.ndarray | np.generic):
        hint = " Stay with torch functions: NumPy loses the gradient."
    if isinstance(value, tuple | list):
        hint = " Return one thing only, and torch.stack a list of tensors."
    raise Unusable(f"{name} {'returned' if name == 'it' else 'is'} {kind_of(value)}; it must be a tensor.{hint}")
