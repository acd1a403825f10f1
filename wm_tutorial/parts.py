"""Putting another part in the place of one of the package's, for the length of a `with` block.

with replaced(Replacement(kl, "balanced_kl", my_balanced_kl)):
    train("CartPole-v1")

The bug zoo puts mistakes there, and a reader puts what they have written themselves.
"""

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

PACKAGE = __name__.partition(".")[0]


class Replacement(NamedTuple):
    """What stands in for `attribute` of a class or module.

    A function or class of a module is replaced in every module of the package that has imported it.
    """

    owner: Any
    attribute: str
    part: Any


@dataclass(eq=False)
class Place:
    """One attribute of one object, and what stands there: its own part, and those put over it, the newest last."""

    owner: Any
    attribute: str
    own: Any
    inherited: bool
    over: list[object]

    def show(self) -> None:
        """Let the newest part be what is found there."""
        if self.over:
            setattr(self.owner, self.attribute, self.over[-1])
        elif self.inherited:
            delattr(self.owner, self.attribute)
        else:
            setattr(self.owner, self.attribute, self.own)


_places: dict[tuple[int, str], Place] = {}  # those where something is replaced now


def any_replaced() -> bool:
    """Whether any part of the package is replaced at this moment."""
    return bool(_places)


@contextmanager
def replaced(*replacements: Replacement) -> Iterator[None]:
    """Inside, other parts stand in the place of the package's; outside, everything is as it was.

    Blocks may end in any order: of the parts that stand in one place, the newest that is left is the one that is used.
    """
    import_everything()
    with ExitStack() as stack:
        for owner, attribute, part in replacements:
            for place in places(owner, attribute):
                stack.callback(_take_away, place, part)
                _places[id(place.owner), place.attribute] = place
                place.over.append(part)
                place.show()
        yield


def _take_away(place: Place, part: object) -> None:
    # by identity, the newest first: the same part may stand there twice, and parts need not be comparable
    newest = max(i for i, other in enumerate(place.over) if other is part)
    del place.over[newest]
    place.show()
    if not place.over:
        del _places[id(place.owner), place.attribute]


def places(owner: Any, attribute: str) -> list[Place]:
    """Where `attribute` of `owner` is looked up: there, and, if it is a module, wherever else it was imported to."""
    here = _place(owner, attribute)
    if not isinstance(owner, ModuleType):
        return [here]
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == PACKAGE]
    found = [_place(module, attribute) for module in modules if attribute in vars(module)]
    return [place for place in found if place.own is here.own]


def _place(owner: Any, attribute: str) -> Place:
    if known := _places.get((id(owner), attribute)):
        return known
    inherited = attribute not in vars(owner)
    own = getattr(owner, attribute) if inherited else vars(owner)[attribute]
    return Place(owner, attribute, own, inherited, [])


@cache
def import_everything() -> None:
    """Import the whole package: a module first imported inside a block would keep what stood there then for ever."""
    for module in pkgutil.walk_packages(importlib.import_module(PACKAGE).__path__, f"{PACKAGE}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
