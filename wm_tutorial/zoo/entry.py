"""What is known about a mistake, and how it is let out."""

import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any
from unittest.mock import patch

GUIDE = "the specification this package started from"
DREAMER_V3 = "https://github.com/danijar/dreamerv3/issues/"
NAVIX = "https://github.com/epignatelli/navix/pull/152"
TORCHRL = "https://github.com/pytorch/rl/pull/"


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
    needs      options without which it does nothing
    keeps      what it remembers while it is out, forgotten afterwards
    """

    name: str
    story: str
    symptom: str
    innocent: str
    source: str
    breaks: str
    caught_by: tuple[str, ...]
    replaces: tuple[tuple[Any, str, Any], ...]
    needs: Mapping[str, Any] = field(default_factory=dict)
    keeps: tuple[MutableMapping[Any, Any], ...] = ()

    @contextmanager
    def out(self) -> Iterator[None]:
        """Inside, the mistake is made; outside, the code is as it was."""
        with ExitStack() as stack:
            for owner, attribute, replacement in self.replaces:
                for place in places(owner, attribute):
                    stack.enter_context(patch.object(place, attribute, replacement))
            for memory in self.keeps:
                stack.callback(memory.clear)
            yield


def places(owner: Any, attribute: str) -> list[Any]:
    """Everything in the package that looks up `attribute` of `owner` under that name: `from ... import` makes more."""
    if not isinstance(owner, ModuleType):
        return [owner]
    original, package = getattr(owner, attribute), __name__.partition(".")[0]
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == package]
    return [module for module in modules if vars(module).get(attribute) is original]
