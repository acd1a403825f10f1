"""Keeping pace: with the clock, and with the other processes that a run is shared among. Alone, there are none.

`Pace` knows how long a run will go on. `Alone` is all that a trainer asks of the processes that learn with it: here, of
one process, the answers are what it has itself. `runs.machines` answers for several.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from wm_tutorial.config import Config
from wm_tutorial.data import Array
from wm_tutorial.errors import CheckpointError, InputError, command

T = TypeVar("T")


@dataclass
class Pace:
    """How long things took since the run was begun or resumed: steps on which it learned, and evaluations.

    steps        on which it learned
    learning     seconds that they took
    evaluations  how many there were
    evaluating   seconds that they took
    update       seconds of one update, tried before the start; all there is to judge by while nothing is learned
    """

    steps: int = 0
    learning: float = 0.0
    evaluations: int = 0
    evaluating: float = 0.0
    update: float | None = None

    def left(self, step: int, config: Config) -> float | None:
        """Seconds to go from `step` on; None if nothing is known yet. Random steps are too quick to judge by."""
        if not self.steps:
            updates = max(0, config.steps - max(step, config.prefill)) * config.updates_per_step
            return None if self.update is None else self.update * updates
        every = config.eval_every
        evaluations = config.steps // every - step // every + (config.steps % every > 0) if every else 1
        each = self.evaluating / self.evaluations if self.evaluations else 0.0
        return (config.steps - step) * self.learning / self.steps + evaluations * each


class Alone:
    """One process, which learns by itself: whatever is asked of all processes, it alone answers.

    rank  which process this is. The first, 0, evaluates, draws, keeps the metrics, and is the one that speaks.
    size  how many there are
    """

    rank, size = 0, 1

    @property
    def replay(self) -> str:
        """The folder, in that of the run, with the replay of this process."""
        return f"replay-{self.rank}" if self.rank else "replay"

    def share(self, config: Config) -> Config:
        """The options of one process, of those of the whole run."""
        return config

    def whole(self, config: Config) -> Config:
        """The options of the whole run, of those of one process."""
        return config

    def seed(self, seed: int) -> int:
        """The seed of what is random in this process, of that of the run."""
        return seed

    def everyone(self, values: Array) -> Array:
        """Numbers (K, N) of all processes side by side, (K, N of all)."""
        return values

    def any(self, *asked: bool) -> tuple[bool, ...]:
        """What any of the processes asks for."""
        return asked

    def all_have(self, enough: bool) -> bool:
        """Whether each process has enough; once it has, it always will."""
        return enough

    def mean(self, numbers: dict[str, float]) -> dict[str, float]:
        """The means of numbers over all processes."""
        return numbers

    def average(self, gradients: Sequence[Tensor]) -> None:
        """Replace gradients by their means over all processes."""

    def range_of_all(self, agent: nn.Module) -> AbstractContextManager[None]:
        """Inside, the range of returns is that of the returns of all processes."""
        return nullcontext()

    def first(self, call: Callable[[], T]) -> T | None:
        """What the first process alone does. The others wait for it, and get None."""
        return call()

    def word_of_first(self, call: Callable[[], str]) -> str:
        """The word that comes of what the first process alone does."""
        return call()

    def part(self, error: BaseException) -> None:
        """Tell the others of what has ended the run in this process. From here on, nobody waits for an answer."""

    def saving(self, folder: Path, state: dict[str, Any]) -> AbstractContextManager[dict[str, Any] | None]:
        """Inside, what it gives is written as the checkpoint; None if another process does that."""
        return nullcontext(state)

    def own(self, folder: Path, state: dict[str, Any]) -> dict[str, Any]:
        """What this process goes on from, of a checkpoint.

        Raises:
            InputError: if the run in `folder` is one of another number of processes.
        """
        if (size := len(files_of(state.pop("processes", None)))) != self.size:
            raise InputError(
                f"The run in {folder} is one of {count(size)}, and {count(self.size)} would go on with it: each has "
                f"environments and experience of its own. Go on with: {launched(size, 'resume', folder)}"
            )
        return state

    def command(self, *words: object) -> str:
        """The command that starts as many processes of `wm-tutorial WORDS` as there are now."""
        return launched(self.size, *words)


class Looking(Alone):
    """One process that looks at a run of any number: at the agent, and at what the first process has experienced."""

    def __init__(self) -> None:
        self.of = 1

    def own(self, folder: Path, state: dict[str, Any]) -> dict[str, Any]:
        """The state of the first process."""
        self.of = len(files_of(state.pop("processes", None)))
        return state

    @contextmanager
    def saving(self, folder: Path, state: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
        """Only what is whole is written."""
        if self.of != 1:
            raise InputError(
                f"The run in {folder} is one of {self.of} processes, and was opened to look at. To go on with it: "
                f"{launched(self.of, 'resume', folder)}"
            )
        yield state


ALONE = Alone()


def files_of(processes: Any) -> list[int]:
    """The number of the file of each process, of what a checkpoint tells; of one process, it is the checkpoint.

    Raises:
        CheckpointError: if it is not what several processes write.
    """
    if processes is None:
        return [0]
    parts = processes.get("parts") if isinstance(processes, dict) else None
    if not isinstance(parts, list) or len(parts) < 2 or any(type(n) is not int or n < 0 for n in parts):
        raise CheckpointError(f"processes is {processes!s:.200}, which no run has written")
    return parts


def count(processes: int) -> str:
    """So many processes, in words."""
    return "1 process" if processes == 1 else f"{processes} processes"


def launched(processes: int, *words: object) -> str:
    """The command that starts so many processes of `wm-tutorial WORDS`."""
    line = command(*words)
    if processes == 1:
        return line
    return f"torchrun --nproc-per-node {processes} -m wm_tutorial {line.partition(' ')[2]}"
