"""What is said about a reader's function.

Whichever known mistake gives the same answers on all inputs names what went wrong; nothing is guessed from one number.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from wm_tutorial.check.asking import STUB, answers, gradients, kind_of, refusal, right_answer
from wm_tutorial.check.progress import note
from wm_tutorial.mistakes.part import Answer, Arguments, Function, Part, Unusable

Ask: TypeAlias = Callable[[Part, Function, Arguments], Answer]

TOLERANCE = {torch.float32: (1e-4, 1e-5), torch.float64: (1e-6, 1e-7)}  # relative, absolute
READABLE = 16  # larger arguments are shown by their shape
ROW = 8  # longer rows are cut
TOLD = 5  # of what a test lets through


@dataclass(frozen=True)
class Difference:
    """The first thing in which an answer is wrong: what is returned under `name`, and how."""

    name: str
    kind: Literal["shape", "dtype", "not finite", "numbers"]


def examine(part: Part, function: Any) -> bool:
    """Print one line if `function` is right, and otherwise what is wrong with it; returns whether it is right."""
    problem = judge(part, function)
    print(f"{part.name}: {problem or f'right, in all {len(part.cases)} cases.'}")
    note(part.name, function, "right" if not problem else "not tried" if problem == STUB else "tried")
    return not problem


def judge(part: Part, function: Any) -> str:
    """What is wrong with `function`, in words, or nothing; the reader's progress is not touched."""
    if not callable(function):
        return f"this is {kind_of(function)}; hand over the function itself, without calling it."
    return refusal(function, part.cases[0]) or problem_of(part, function)


def problem_of(part: Part, function: Function) -> str:
    """What is wrong with a function that takes the arguments, or nothing."""
    with _as_it_was(), torch.enable_grad():
        return _diagnose(part, function)


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Afterwards generators and default dtype are what they were, whatever the reader's function set."""
    of_python, of_numpy, dtype = random.getstate(), np.random.get_state(), torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)
            torch.set_default_dtype(dtype)


def _diagnose(part: Part, function: Function) -> str:
    """What is wrong with the first answer that is wrong, or nothing."""
    if part.container is NoneType:
        return _of_a_test(part, function)
    expected = [right_answer(part, case) for case in part.cases]
    got = [_attempt(answers, part, function, case) for case in part.cases]
    for case, right, answer in zip(part.cases, expected, got, strict=True):
        if isinstance(answer, Unusable):
            if not answer.raised:
                return str(answer)
            return f"{answer}\n  given     {_given(case)}{_about_sizes(part, function, expected, got)}"
        if difference := compare(part, right, answer):
            if difference.kind == "shape":
                case, right, answer = _largest(part, expected, got, difference)
            text = _describe(part, difference, case, right, answer)
            if difference.kind == "dtype":
                return text
            # preferably a mistake whose gradients agree, too
            asks = (_answers_and_gradients, answers) if part.gradient_to or part.no_gradient_to else (answers,)
            return text + (
                _named(part, function, asks)
                or _about_precision(expected, got)
                or _about_sizes(part, function, expected, got)
            )
    return _diagnose_gradients(part, function) if part.gradient_to or part.no_gradient_to else ""


def _of_a_test(part: Part, test: Function) -> str:
    """Whether a test blames a function that is right, and which wrong ones it lets through."""
    through, wrong = dict[str, None](), {str(one) for case in part.cases for one in case.values() if not one.right}
    for case in part.cases:
        (candidate,) = case.values()
        answer = _attempt(answers, part, test, case)
        raised = isinstance(answer, Unusable) and answer.raised
        if isinstance(answer, Unusable) and not raised:
            return str(answer)
        if raised and candidate.right:
            return f"it blames a function that is right ({candidate}): {answer}{_named(part, test, (answers,))}"
        if not raised and not candidate.right:
            through[str(candidate)] = None  # in one of its forms
    if not through:
        return ""
    told = [*list(through)[:TOLD], *([f".. and {len(through) - TOLD} more"] if len(through) > TOLD else [])]
    lines = "".join(f"\n  {line}" for line in told)
    return f"it lets {len(through)} of {len(wrong)} mistakes through:{lines}{_named(part, test, (answers,))}"


def _largest(
    part: Part, expected: Sequence[Answer], got: Sequence[Answer | Unusable], difference: Difference
) -> tuple[Arguments, Answer, Answer]:
    """The largest case with this difference of shapes: with several sequences no two axes look alike."""
    alike = [
        (case, right, answer)
        for case, right, answer in zip(part.cases, expected, got, strict=True)
        if not isinstance(answer, Unusable) and compare(part, right, answer) == difference
    ]

    def size(asked: tuple[Arguments, Answer, Answer]) -> int:
        shape = asked[1][difference.name].shape
        return shape.numel() if len(set(shape)) == len(shape) and 1 not in shape else 0

    return max(alike, key=size)


def _diagnose_gradients(part: Part, function: Function) -> str:
    """The numbers are right; does gradient reach what it must, and nothing else?"""
    got = [_attempt(gradients, part, function, case) for case in part.cases]
    for case, answer in zip(part.cases, got, strict=True):
        right = gradients(part, part.right, case)
        if isinstance(answer, Unusable):
            return f"the numbers are right, but once the inputs require gradient, {answer}"
        wrong = [name for name in right if not _close(part, right[name], answer[name], _largest_number(right[name]))]
        leaks = [name for name in wrong if not right[name].any()]
        missing = [name for name in wrong if not answer[name].any()]
        if missing:
            problem = f"no gradient reaches {', '.join(missing)}: something was detached, or left torch on the way."
        elif leaks:
            problem = f"gradient flows into {', '.join(leaks)}, where none may flow: .detach() is missing."
        else:
            problem = f"the gradient of {', '.join(wrong)} is another one: a detach() too many, or too few."
        if wrong:
            return f"the numbers are right, but {problem}{_named(part, function, (_answers_and_gradients,))}"
    return ""


def _answers_and_gradients(part: Part, function: Function, case: Arguments) -> Answer:
    return answers(part, function, case) | gradients(part, function, case)


def _attempt(ask: Ask, part: Part, function: Function, case: Arguments) -> Answer | Unusable:
    try:
        return ask(part, function, case)
    except Unusable as unusable:
        return unusable


# Comparing ------------------------------------------------------------------------------------------------------------


def compare(part: Part, right: Answer, answer: Answer) -> Difference | None:
    """What is wrong with an answer, beginning with what would make the next comparison meaningless."""
    for name in answer:
        if answer[name].shape != right[name].shape:
            return Difference(name, "shape")
    for name in answer:
        if answer[name].dtype != right[name].dtype:
            return Difference(name, "dtype")
    for name in answer:
        if not answer[name].isfinite().all():
            return Difference(name, "not finite")
    for name in answer:
        if not _close(part, right[name], answer[name]):
            return Difference(name, "numbers")
    return None


def _far(part: Part, right: Tensor, answer: Tensor, unit: float = 1.0) -> Tensor:
    relative, absolute = part.tolerance or TOLERANCE.get(right.dtype, (0.0, 0.0))
    return ~torch.isclose(answer.double(), right.double(), relative, absolute * unit, equal_nan=True)


def _close(part: Part, right: Tensor, answer: Tensor, unit: float = 1.0) -> bool:
    return not _far(part, right, answer, unit).any()


def _largest_number(gradient: Tensor) -> float:
    """What a small number of a gradient is small beside: it may be a sum of many large ones, in whatever order."""
    return max(1.0, gradient.abs().max().item()) if gradient.numel() else 1.0


def _named(part: Part, function: Function, asks: tuple[Ask, ...]) -> str:
    """The mistake that answers the same in every case, whichever way it is asked, or nothing."""
    for ask in asks:
        got = [_attempt(ask, part, function, case) for case in part.cases]
        for name, mistake in part.mistakes.items():
            if any(_answers_like(part, ask, form, got) for form in mistake.functions):
                return f"\n  Known mistake {name}: {mistake.story}\n  Why it happens: {mistake.why}"
    return ""


def _answers_like(part: Part, ask: Ask, form: Function, got: Sequence[Answer | Unusable]) -> bool:
    return all(
        _same(part, _attempt(ask, part, form, case), answer) for case, answer in zip(part.cases, got, strict=True)
    )


def _same(part: Part, mistaken: Answer | Unusable, answer: Answer | Unusable) -> bool:
    if isinstance(mistaken, Unusable) or isinstance(answer, Unusable):
        return isinstance(mistaken, Unusable) and isinstance(answer, Unusable)
    return mistaken.keys() == answer.keys() and all(
        mistaken[name].shape == answer[name].shape and _close(part, mistaken[name], answer[name]) for name in answer
    )


def _about_precision(expected: Sequence[Answer], got: Sequence[Answer | Unusable]) -> str:
    """Numbers of float64 that are right as far as float32 goes were rounded to it on the way."""

    def near(answer: Answer | Unusable, wanted: Answer) -> bool:
        return not isinstance(answer, Unusable) and all(
            answer[name].shape == right.shape
            and torch.allclose(answer[name].double(), right.double(), *TOLERANCE[torch.float32])
            for name, right in wanted.items()
        )

    if not all(near(answer, wanted) for answer, wanted in zip(got, expected, strict=True)):
        return ""
    return (
        "\n  It agrees as far as float32 goes, and these numbers are float64: something is rounded on the way. "
        "Look for .float(), or for a tensor made without a dtype; y.to(x) has the dtype of x."
    )


def _about_sizes(part: Part, function: Function, expected: Sequence[Answer], got: Sequence[Answer | Unusable]) -> str:
    """A wrong function can be right for some sizes, which tells that it mixes two axes."""

    def right(answer: Answer | Unusable, wanted: Answer) -> bool:
        return not isinstance(answer, Unusable) and compare(part, wanted, answer) is None

    verdicts = [right(answer, wanted) for answer, wanted in zip(got, expected, strict=True)]
    shapes = [next(iter(wanted.values())).shape for wanted in expected]
    square = [len(shape) > 1 and shape[0] == shape[1] > 2 for shape in shapes]  # not (2, 2): one step is too easy
    several = [len(shape) > 1 and shape[0] > 1 for shape in shapes]
    if any(square) and all(v == s for v, s, many in zip(verdicts, square, several, strict=True) if many):
        return "\n  It is right where the first two axes are equally long: two axes are mixed up, and only then fit."
    alone = [
        case | {name: case[name][i : i + 1] for name in part.batched}
        for case in part.cases
        if part.batched
        for i in range(len(case[part.batched[0]]))
    ]
    if alone and all(right(_attempt(answers, part, function, case), right_answer(part, case)) for case in alone):
        return (
            "\n  It is right for a batch of 1: with more, the sequences mix. "
            "Look for (B,) against (B, 1), a missing axis, or a sum over the batch."
        )
    return ""


# Wording --------------------------------------------------------------------------------------------------------------


def _describe(part: Part, difference: Difference, case: Arguments, rights: Answer, answer: Answer) -> str:
    name, right, got = difference.name, rights[difference.name], answer[difference.name]
    match difference.kind:
        case "shape":
            hint = _about_shape(part, right, got)
            return f"{name} has shape {tuple(got.shape)}; it must be {tuple(right.shape)}.{hint}"
        case "dtype":
            hint = " Make new tensors with zeros_like(x) or x.new_zeros(...), which keep the dtype of x."
            wanted, given = (str(x.dtype).removeprefix("torch.") for x in (right, got))
            return f"{name} is {given}; here it must be {wanted}.{hint if right.is_floating_point() else ''}"
    if right.dim() > 1 and right.shape[-1] == 1:
        right, got = right.squeeze(-1), got.squeeze(-1)
    wrong = _far(part, right, got) if difference.kind == "numbers" else ~got.isfinite()
    index = wrong.nonzero()[0].tolist()
    what = "differs" if difference.kind == "numbers" else f"is {got[tuple(index)].item()}"
    place = "" if part.expected else _place(index, wrong)  # statistics are shown as a whole
    lines = [f"{name} {what}{place}.", f"given     {_given(case)}"]
    digits = 4 if _row(right, index, 4) != _row(got, index, 4) else 9  # they differ, so the difference is to be seen
    lines += [f"expected  {_row(right, index, digits)}", f"got       {_row(got, index, digits)}"]
    return "\n  ".join(lines)


def _about_shape(part: Part, right: Tensor, got: Tensor) -> str:
    if got.shape == right.shape[::-1] or (right.dim() > 1 and got.shape == right.transpose(0, 1).shape):
        return " The axes are in another order."
    if got.numel() == right.numel() and got.squeeze().shape == right.squeeze().shape:
        return " An axis of length 1 is too much, or missing: see squeeze and unsqueeze."
    for name, reduced in (("mean", right.double().mean()), ("sum", right.double().sum())):
        if got.dim() == 0 and _close(part, reduced, got):
            return f" This is the {name} of the right answer: keep the numbers apart."
    return ""


def _place(index: list[int], wrong: Tensor) -> str:
    """The first row that is wrong, and where."""
    match index:
        case []:
            return ""
        case [row]:
            return f" in row {row}"
        case [row, _]:
            columns = wrong[row].nonzero().flatten().tolist()
            return f" in row {row}, {'columns' if columns[1:] else 'column'} {', '.join(map(str, columns[:ROW]))}"
    return f" at index {tuple(index)}"


def _row(x: Tensor, index: list[int], digits: int) -> str:
    """The row in which something differs, or a piece of it around the place if it is long."""
    if x.dim() == 0:
        return _numbers(x, digits)
    begin = max(0, index[-1] - ROW // 2) if x.shape[-1] > ROW else 0
    numbers = _numbers(x[tuple(index[:-1])][begin : begin + ROW], digits)
    return numbers + (f" from column {begin} on" if begin else "")


def _numbers(x: Any, digits: int = 4) -> str:
    values = x.tolist() if isinstance(x, Tensor) else x
    if isinstance(values, list):
        return f"[{', '.join(_numbers(value, digits) for value in values)}]"
    return f"{values:.{digits}g}" if isinstance(values, float) else str(values)


def _given(case: Arguments) -> str:
    return ", ".join(f"{name} {_argument(value)}" for name, value in case.items())


def _argument(value: Any) -> str:
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
    if not isinstance(value, Tensor):
        return _numbers(value)
    if value.numel() > READABLE:
        return str(tuple(value.shape))
    return _numbers(value[:, 0] if value.dim() == 2 and value.shape[1] == 1 else value)
