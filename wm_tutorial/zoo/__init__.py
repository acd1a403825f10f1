"""The bug zoo: classic mistakes of world model agents, each of which can be let out alone.

with zoo.bug("reward_departing"):
    train("CartPole-v1")

Those of World Models 2018, whose `breaks` begins with `world_models_2018`, are let out around `train_in_stages`.

Every entry replaces one small piece of the finished code while the block lasts, and leaves that code untouched.
Ten of them are the faults of the specification this package started from. `make mutants` shows that the tests catch
each one, by a wrong number and not by a crash. The mutation operators that were published for reinforcement learning
are listed with their entries, or the reason why they have none, in `wm_tutorial.zoo.published`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from wm_tutorial.errors import InputError
from wm_tutorial.mistakes import BUGS, Bug

__all__ = ["BUGS", "Bug", "bug"]


@contextmanager
def bug(name: str) -> Iterator[None]:
    """Let one mistake out for the duration of a `with` block; raises InputError for a name that is not in `BUGS`."""
    if name not in BUGS:
        raise InputError(f"There is no bug {name!r} in the zoo; there are {', '.join(BUGS)}.")
    with BUGS[name].out():
        yield
