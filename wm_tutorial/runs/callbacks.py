"""Callbacks: whoever wants to know what happens in a run while it goes on, and may stop it.

from wm_tutorial import Callback, train

class Enough(Callback):
    def on_evaluation(self, trainer, evaluation):
        return evaluation.mean < 475  # False stops the run

train("CartPole-v1", eval_every=1000, callbacks=[Enough()])
"""

import sys
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import numpy as np

from wm_tutorial.errors import CallbackFailure, InputError
from wm_tutorial.evaluation import Evaluation
from wm_tutorial.trainer import Trainer


class Callback:
    """What a run tells, and to whom: override the methods that you need. Those of any object will do.

    Each may stop the run by returning False; None and True let it go on. A run that is stopped so is saved, and goes on
    with `resume` as if it had not been, bit for bit. Nothing is evaluated for it first. What a callback draws from a
    random generator, or evaluates, does not disturb the run; what it changes in the trainer does.

    The seconds that `on_update` and `on_step` take count as seconds of the run.
    """

    def on_start(self, trainer: Trainer) -> bool | None:
        """The run begins, or goes on after it was stopped."""
        return None

    def on_step(self, trainer: Trainer) -> bool | None:
        """Every environment has taken a step: `trainer.steps` so far, `trainer.row` is what came of it."""
        return None

    def on_update(self, trainer: Trainer, numbers: dict[str, float]) -> bool | None:
        """A gradient update was made; `numbers` are its losses and other metrics."""
        return None

    def on_evaluation(self, trainer: Trainer, evaluation: Evaluation) -> bool | None:
        """The agent was evaluated, on the way or at the end of the run. If a checkpoint was due, it is written."""
        return None

    def on_end(self, trainer: Trainer) -> None:
        """The run is over, finished or not: a place to close what was opened. What it returns is not looked at."""


EVENTS = [name for name in vars(Callback) if name.startswith("on_")]


class Callbacks:
    """Several callbacks as a `Trainer` knows them: called with an event, they say whether the run is to stop.

    Args:
        callbacks: one, or several, which are told in this order.

    Raises:
        InputError: for what has no method of a callback, or one that is never called.
    """

    def __init__(self, callbacks: Any = ()) -> None:
        several = isinstance(callbacks, Iterable) and not _listened_to(callbacks)
        self.callbacks = list(callbacks) if several else [callbacks]
        for callback in self.callbacks:
            _check(callback)

    def __call__(self, trainer: Trainer, event: str, *what: Any) -> bool:
        """Tell all of them of an event.

        Raises:
            CallbackFailure: if one raises, or returns something else than True, False or None.
        """
        underway = sys.exception()  # what ends the run: at its end, nothing else is to be read in its place
        stop = False
        for callback in self.callbacks:
            if (method := getattr(callback, event, None)) is None:
                continue
            name = f"{event} of the callback {type(callback).__name__}"
            try:
                answer = method(trainer, *what)
            except Exception as error:
                if event == "on_end" and underway:
                    continue
                raise CallbackFailure(f"{name} raised {type(error).__name__}: {str(error).rstrip('.')}.") from error
            if event == "on_end":
                continue
            if answer is not None and not isinstance(answer, bool | np.bool_):
                raise CallbackFailure(f"{name} returned {answer!r}; return False to stop the run, True or None if not.")
            stop |= answer is not None and not answer
        return stop


def _listened_to(thing: Any) -> list[str]:
    """The methods of a thing that have the name of an event."""
    return [event for event in EVENTS if callable(getattr(thing, event, None))]


def _check(callback: Any) -> None:
    if isinstance(callback, type):
        raise InputError(f"The callback is the class {callback.__name__}; give an object of it: {callback.__name__}().")
    unknown = [name for name in dir(callback) if name.startswith("on_") and name not in EVENTS]
    if not _listened_to(callback) or unknown:
        told = f"has {unknown[0]}, of which no run tells" if unknown else "has no method that a run would call"
        similar = get_close_matches(unknown[0], EVENTS, n=1, cutoff=0.5) if unknown else []
        hint = f"did you mean {similar[0]}?" if similar else f"there are {', '.join(EVENTS)}."
        raise InputError(f"The callback {callback!r} {told}; {hint}")
