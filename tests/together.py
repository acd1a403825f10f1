"""What two processes do together, started by torchrun: `together.py FOLDER`. Each writes what it saw; tests judge.

The environments here go wrong in one of them when they are told to.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from helpers import random_batch, randomise
from scripted import Seeded, snapshot, tiny
from torch import Tensor

from wm_tutorial import Callback, Run, resume, train
from wm_tutorial.agent import Agent
from wm_tutorial.config import Config, make_config
from wm_tutorial.data import Batch, Spaces, State
from wm_tutorial.learner import Learner
from wm_tutorial.pace import ALONE, Alone
from wm_tutorial.runs import machines

RANK = int(os.environ.get("RANK", "0"))
SIZE = int(os.environ.get("WORLD_SIZE", "1"))
TROUBLED = int(os.environ.get("TROUBLED", "1"))  # which process meets the trouble
LENGTH = 5  # rows of a sequence
STEPS = 90

GUIDE = make_config(
    "guide", hidden=8, layers=1, latent_size=4, horizon=3, batch_size=4, imagined_starts=0, clip=1e6, free_nats=0.0
)
DREAMER = make_config(
    "dreamer_v3", size="nano", hidden=8, layers=1, latent_size=4, latent_classes=4, memory_size=16, bins=21, horizon=3,
    batch_size=4, imagined_starts=0, replay_critic_scale=0.3, clip=1e6, free_nats=0.0, warmup=0,
)  # fmt: skip
SPACES = Spaces("vector", (3,), "discrete", 2, (0.0,), (1.0,))


class Troubled(Seeded):
    """In the process TROUBLED, does once what `trouble` says, after so many steps of all its environments."""

    trouble = ""
    after = 25
    taken = 0

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        Troubled.taken += 1
        if RANK == TROUBLED and Troubled.trouble and Troubled.taken == Troubled.after:
            trouble, Troubled.trouble = Troubled.trouble, ""
            if trouble == "raise":
                raise ValueError("the simulator is out of tea")
            if trouble == "reward":
                return self.observation(), 3e38, False, False, {}
            os.kill(os.getpid(), {"terminate": signal.SIGTERM, "kill": signal.SIGKILL}[trouble])
        return super().step(action)


class Killed(Troubled):
    """For the command line: the process TROUBLED is killed in the middle of the run."""

    def __init__(self) -> None:
        super().__init__()
        Troubled.trouble, Troubled.after = os.environ.get("TROUBLE", ""), 30


# --- One update -------------------------------------------------------------------------------------------------------


@contextmanager
def noise_of(rank: int, size: int) -> Iterator[None]:
    """Inside, whatever is drawn for N rows is this process's part of what is drawn for all `size` N rows at once."""
    generator = torch.Generator().manual_seed(5)

    def slicing(draw: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
        def drawn(like: Tensor) -> Tensor:
            whole = draw(len(like) * size, *like.shape[1:], generator=generator)
            return whole[len(like) * rank : len(like) * (rank + 1)]

        return drawn

    with patch("torch.rand_like", slicing(torch.rand)), patch("torch.randn_like", slicing(torch.randn)):
        yield


def rows_of(batch: Batch, rank: int, size: int) -> Batch:
    """This process's part of the sequences."""
    count = len(batch.reward) // size
    own = slice(rank * count, (rank + 1) * count)
    parts = {name: getattr(batch, name)[own] for name in vars(batch) if name != "start"}
    return Batch(**parts, start=State(batch.start.memory[own], batch.start.latent[own]))


def updated(config: Config, company: Alone, rank: int, size: int) -> dict[str, Any]:
    """One update from this process's part: gradients, parameters, numbers and the range of returns after it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        agent = Agent(SPACES, config)
    randomise(agent)
    learner = Learner(agent, config)
    learner.company = company
    dynamics = agent.world_model.dynamics
    batch = random_batch(SPACES, 4, LENGTH, dynamics.memory_size, dynamics.latent_size)
    with noise_of(rank, size):
        numbers, _ = learner.update(rows_of(batch, rank, size))
    parameters = [p for part in learner.parts.values() for p in part.parameters()]
    return {
        "gradients": [p.grad for p in parameters],
        "parameters": [p.detach() for p in parameters],
        "numbers": numbers,
        "range": agent.behaviour.normalizer.range,
    }


def updates() -> dict[str, Any]:
    """Of both kinds of agents: together, as one process from the whole batch, and as one from the share alone."""
    with machines.in_company() as company:
        return {
            name: {
                "together": updated(company.share(config), company, RANK, SIZE),
                "whole": updated(config, ALONE, 0, 1),
                "share": updated(replace(config, batch_size=2), ALONE, RANK, SIZE),
            }
            for name, config in {"guide": GUIDE, "dreamer_v3": DREAMER}.items()
        }


# --- Whole runs -------------------------------------------------------------------------------------------------------


class Until(Callback):
    """Stops the run at a step; the second process has none."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_update(self, trainer: Any, numbers: dict[str, float]) -> bool:
        """In the middle of the updates of a step, if several are due."""
        return bool(trainer.steps < self.step)


def options() -> dict[str, Any]:
    """Of all runs here: evaluations and checkpoints on the way, several updates a step."""
    config = tiny(
        steps=STEPS, envs=4, updates_per_step=0.5, eval_every=40, checkpoint_every=30, batch_size=4, imagined_starts=8
    )
    return {name: value for name, value in vars(config).items() if name != "preset"}


def caught(call: Callable[[], Run]) -> dict[str, Any]:
    """What a run left in this process, or how it ended."""
    Troubled.taken = 0
    try:
        with call() as run:
            return {"state": snapshot(run.trainer), "records": run.records}
    except BaseException as error:
        return {"error": type(error).__name__, "text": str(error)}


def begun(folder: Path, trouble: str = "", **changes: Any) -> dict[str, Any]:
    """A run, in which the second process may meet trouble."""
    Troubled.trouble = trouble
    return caught(lambda: train(Troubled, out=folder, draw=False, **{**options(), **changes}))


def gone_on(folder: Path) -> dict[str, Any]:
    """The rest of it."""
    return caught(lambda: resume(folder, Troubled, draw=False))


def main(folder: Path) -> None:
    """Everything, one after the other."""
    machines.GRACE = 0.1
    seen: dict[str, Any] = {"updates": updates()}
    seen["unbroken"] = begun(folder / "unbroken")
    seen["stopped"] = begun(folder / "stopped", callbacks=[Until(50)])
    seen["stopped, then on"] = gone_on(folder / "stopped")
    for trouble in ("terminate", "raise"):
        seen[trouble] = begun(folder / trouble, trouble)
        seen[f"{trouble}, then on"] = gone_on(folder / trouble)
    seen["reward"] = begun(folder / "reward", "reward")
    seen["odd batch"] = begun(folder / "odd", batch_size=5)
    seen["of one"] = gone_on(folder / "of one")
    torch.save(seen, folder / f"seen-{RANK}.pt")


if __name__ == "__main__":
    import together  # by its name, so that a run can say which environment it is in

    together.main(Path(sys.argv[1]))
