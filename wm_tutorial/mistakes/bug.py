"""A mistake as the whole agent meets it: what is known about it, how it is let out, and what readers make of it."""

import inspect
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from wm_tutorial.mistakes.part import Function, Mistake, Part
from wm_tutorial.parts import Replacement, replaced

GUIDE = "the specification this package started from"
DREAMER_V3 = "https://github.com/danijar/dreamerv3/issues/"
NAVIX = "https://github.com/epignatelli/navix/pull/152"
TORCHRL = "https://github.com/pytorch/rl/pull/"
# Mutation operators that were published for reinforcement learning, the second with a description of each in
# https://github.com/FlowSs/RLMutation.
LU = "https://doi.org/10.1016/j.sysarc.2022.102701"
RLMUTATION = "https://arxiv.org/abs/2301.05651"
MUPRL = "https://arxiv.org/abs/2408.15150"

Replaces: TypeAlias = tuple[tuple[Any, str, Any], ...]  # an object, a name in it, and what is put there


def in_the_place_of(owner: Any, attribute: str, function: Function) -> Replaces:
    """`function` stands in for one of the package, and is given what that is, in order, however it is called."""
    signature = inspect.signature(getattr(owner, attribute))

    def stand_in(*given: Any, **named: Any) -> Any:
        bound = signature.bind(*given, **named)
        bound.apply_defaults()
        return function(*bound.args)

    return ((owner, attribute, stand_in),)


@dataclass(frozen=True)
class Bug:
    """One mistake.

    name       what it is called
    story      what is wrong, in one sentence
    symptom    what a person would see
    innocent   the numbers that look fine all the same
    source     a public thread about it, or the section of the guide it stands in
    breaks     the function and the quantity it makes wrong
    caught_by  the tests that fail while it is out, each of them by a wrong number: file::test
    replaces   the object and the name in it that the mistake stands in for, and what it puts there; a function of a
               module is replaced in every module of the package that has imported it
    needs      options without which it does nothing, of `Config`, or of `Settings` if it is one `of_the_ancestor`
    keeps      what it remembers while it is out, forgotten afterwards
    forms      the same mistake in a function that a reader writes, by part
    """

    name: str
    story: str
    symptom: str
    innocent: str
    source: str
    breaks: str
    caught_by: tuple[str, ...]
    replaces: Replaces
    needs: Mapping[str, Any] = field(default_factory=dict)
    keeps: tuple[MutableMapping[Any, Any], ...] = ()
    forms: Mapping[Part, Mistake] = field(default_factory=dict)

    @property
    def of_the_ancestor(self) -> bool:
        """Whether it is made in World Models 2018, which `train_in_stages` trains, and not in what `train` does."""
        return self.breaks.startswith("world_models_2018.")

    @contextmanager
    def out(self) -> Iterator[None]:
        """Inside, the mistake is made; outside, the code is as it was."""
        with replaced(*(Replacement(*wrong) for wrong in self.replaces)):
            try:
                yield
            finally:
                for memory in self.keeps:
                    memory.clear()
