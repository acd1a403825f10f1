"""What a doctor says of a run, and what the run tells of itself."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, ParamSpec, Self

import numpy as np

from wm_tutorial.config import Config
from wm_tutorial.data import Spaces

Part = Literal["experience", "training", "world model", "behaviour", "acting", "outcome"]
Asked = ParamSpec("Asked")

ENOUGH = 200  # updates after which something should have been learned


@dataclass(frozen=True)
class Finding:
    """Something that looks wrong in a run.

    name     of the cause
    part     where it lies: in what is lived and stored, in how updates are made, in the world model, in actor and
             critic, or in how the agent acts with what it has learned; an outcome is what all of them lead to
    seen     what was seen, with its numbers
    why      why it matters
    remedy   what to try
    chapter  the chapter of the course about it: the name of its notebook
    hint     whether it is only worth knowing, because sound runs show it, too
    """

    name: str
    part: Part
    seen: str
    why: str
    remedy: str
    chapter: str
    hint: bool = False


def cause(
    name: str, part: Part, why: str, remedy: str, chapter: str, hint: bool = False
) -> Callable[[Callable[Asked, str | None]], Callable[Asked, Finding | None]]:
    """Make a symptom, a function that says what it sees or None, into one that returns the whole finding or None."""

    def made(symptom: Callable[Asked, str | None]) -> Callable[Asked, Finding | None]:
        @wraps(symptom)
        def found(*args: Asked.args, **kwargs: Asked.kwargs) -> Finding | None:
            seen = symptom(*args, **kwargs)
            return None if seen is None else Finding(name, part, seen, why, remedy, chapter, hint)

        return found

    return made


@dataclass(frozen=True)
class Told:
    """What metrics.jsonl and the options tell of a run.

    config   its options
    spaces   what it observes and does; None if no checkpoint says so
    records  the lines of metrics.jsonl
    step     how many steps were made
    updates  how many updates
    limit    steps after which an episode is cut short; None if there is no limit, or it is not known
    """

    config: Config
    spaces: Spaces | None
    records: Sequence[dict[str, Any]]
    step: int
    updates: int
    limit: int | None = None

    @classmethod
    def by_metrics(cls, config: Config, records: Sequence[dict[str, Any]], spaces: Spaces | None = None) -> Self:
        """What is known where there is no checkpoint: steps and updates are those of the last lines."""
        updates = [record["updates"] for record in records if record["kind"] == "train"]
        steps = max((record["step"] for record in records), default=0)
        return cls(config, spaces, records, steps, updates[-1] if updates else 0)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The lines of one kind."""
        return [record for record in self.records if record["kind"] == kind]

    def ever(self, metric: str) -> list[float]:
        """A metric, in all lines that have it."""
        return [line["losses"][metric] for line in self.of("train") if metric in line["losses"]]

    def lately(self, metric: str) -> float | None:
        """Mean of a metric over the last fifth of its lines, of one at least; None if it was not written down."""
        values = self.ever(metric)
        return float(np.mean(values[-max(1, len(values) // 5) :])) if values else None

    def returns(self) -> list[float]:
        """Returns of training, in the last fifth of the steps."""
        return [r["return"] for r in self.of("episode") if r["step"] > max(self.config.prefill, 0.8 * self.step)]

    def chance(self) -> list[float]:
        """Returns of the random steps before learning begins."""
        return [r["return"] for r in self.of("episode") if r["step"] <= self.config.prefill]

    def evaluations(self) -> list[float]:
        """The mean return of each evaluation."""
        return [record["mean"] for record in self.of("evaluation")]


def standard_error(values: Sequence[float]) -> float:
    """Of the mean of several numbers; infinite for fewer than two."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.inf
