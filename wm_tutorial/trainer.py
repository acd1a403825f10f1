"""The loop: collect -> replay -> world model -> imagination -> behaviour; evaluate, save, resume."""

import dataclasses
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from wm_tutorial import checkpoint
from wm_tutorial.agent import Agent, Carry, agent_spaces
from wm_tutorial.ambient import as_usual
from wm_tutorial.checkpoint import AGENT, CHECKPOINT, METRICS, read_metrics, write_metrics
from wm_tutorial.config import Config, make_config
from wm_tutorial.data import COLLECT, Row, State
from wm_tutorial.envs import Environments, EnvSource
from wm_tutorial.errors import (
    CheckpointError,
    InputError,
    NonFiniteError,
    OutputError,
    WorldModelError,
)
from wm_tutorial.evaluation import Evaluation, evaluate
from wm_tutorial.learner import Learner
from wm_tutorial.replay import Replay
from wm_tutorial.spaces import warn_of_large_images


class Randomness:
    """The random states of a run, kept apart from those of whoever uses it."""

    def __init__(self, seed: int) -> None:
        self.numpy = np.random.default_rng([COLLECT, seed])
        self.torch = torch.Generator().manual_seed(seed).get_state()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Inside, PyTorch draws from this run's state; outside, everything is as before."""
        with torch.random.fork_rng(devices=[]), as_usual():
            torch.set_rng_state(self.torch)
            yield
            self.torch = torch.get_rng_state()

    def state_dict(self) -> dict[str, Any]:
        """Both states."""
        return {"numpy": json.dumps(self.numpy.bit_generator.state), "torch": self.torch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.numpy.bit_generator.state = json.loads(state["numpy"])
        self.torch = state["torch"]


class Trainer:
    """An agent, its experience, and everything needed to go on learning.

    Args:
        source: Gymnasium id, or a callable that returns a new environment each time.
        config: all options.
        folder: where metrics and checkpoints go; None keeps everything in memory.
    """

    def __init__(self, source: EnvSource, config: Config, folder: Path | None = None) -> None:
        there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if not there[config.device]:
            raise InputError(
                f"device is {config.device!r}, which PyTorch does not find on this machine; here it finds "
                f"{', '.join(repr(name) for name, found in there.items() if found)}."
            )
        self.source, self.config, self.folder = source, config, folder
        self.random = Randomness(config.seed)
        self.environments = Environments(source, config.envs, (COLLECT, config.seed))
        warn_of_large_images(self.environments.spaces)
        with self.random.active():
            self.agent = Agent(self.environments.spaces, config).to(config.device)
        self.learner = Learner(self.agent, config)
        dynamics = self.agent.world_model.dynamics
        self.replay = Replay(
            config.capacity, config.envs, self.environments.spaces, dynamics.memory_size, dynamics.latent_size
        )
        self.row = self.environments.reset()
        self.carry = self.agent.initial(config.envs)
        self.running = np.zeros((2, config.envs))  # return and length of the running episodes
        self.steps = self.updates = 0
        self.seconds = 0.0
        self.sums: dict[str, float] = {}  # of the losses since the last line of metrics
        self.summed = 0
        self.records: list[dict[str, Any]] = []

    # One iteration ---------------------------------------------------------------------------------------------------

    def collect(self) -> None:
        """Take one step in every environment and store the rows."""
        with self.random.active():
            carry = self.agent.policy(self.row, self.carry)
        if self.steps < self.config.prefill:
            random = torch.from_numpy(self.environments.random_action(self.random.numpy))
            carry = replace(carry, action=random.to(carry.action.device))
        action = carry.action.numpy(force=True)
        row = self.environments.step(self.row, action)
        self.replay.add(self.row, action, carry.state)  # only now: a row without a successor is not experience
        self.steps += int((~self.row.is_last).sum())
        self.row, self.carry = row, carry
        self.running += np.where(row.is_first, 0.0, [row.reward, np.ones(len(row.reward))])
        for i in np.flatnonzero(row.is_last):
            self.record("episode", **{"return": float(self.running[0, i]), "length": int(self.running[1, i])})
        self.running[:, row.is_last] = 0.0

    def train_step(self) -> dict[str, float]:
        """One gradient update of world model, actor and critic on a batch of experience.

        Returns:
            The losses and other metrics.

        Raises:
            NonFiniteError: if a loss or gradient is not finite. Nothing that was learned has changed then, and the next
                attempt uses another batch.
        """
        try:
            with self.random.active():
                batch, place = self.replay.sample(
                    self.config.batch_size,
                    self.config.sequence_length,
                    self.random.numpy,
                    self.config.device,
                    self.config.fresh_sequences_first,
                )
                numbers, states = self.learner.update(batch, self.lr_share)
        except NonFiniteError as error:
            raise NonFiniteError(
                f"{error} in update {self.updates + 1}, environment step {self.steps}. "
                "Lower the learning rates or look at the rewards and observations."
            ) from error
        self.replay.write_back(place, states)
        self.updates += 1
        return numbers

    @property
    def lr_share(self) -> float:
        """What is left of the learning rates at this step."""
        return 1.0 - (1.0 - self.config.final_lr) * min(1.0, self.steps / self.config.steps)

    @property
    def updates_due(self) -> int:
        """How many updates should have been made by now: none before the prefill is over."""
        enough = len(self.replay) // self.config.envs > self.config.sequence_length
        return int(max(0, self.steps - self.config.prefill) * self.config.updates_per_step) if enough else 0

    # The run ---------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Go on until the step budget is spent, then evaluate and save.

        Whatever ends it early (Ctrl-C, an environment that raises, a loss that is not finite, a full disk), what was
        learned is saved first, and the error says where.
        """
        if self.folder:  # what a stopped run wrote after its checkpoint will happen again
            write_metrics(self.folder, self.records)
        with cpu_threads(self.config.threads), interruptible() as interrupted, self._progress() as bar:
            try:
                while self.steps < self.config.steps:
                    before, started = self.steps, time.perf_counter()
                    self.collect()
                    while self.updates < self.updates_due:
                        self._add_up(self.train_step())
                    self.seconds += time.perf_counter() - started
                    self._at_intervals(before)
                    bar.set_postfix(self._headline(), refresh=False)
                    bar.update(min(self.steps, self.config.steps) - bar.n)
                    if interrupted():
                        raise KeyboardInterrupt("Stopped.")
                self.save()
            except OutputError:
                raise  # whoever could not write has said where it put things instead
            except (WorldModelError, KeyboardInterrupt) as error:
                self.save()
                saved = (
                    f"Saved at step {self.steps}; go on with: wm-tutorial resume {self.folder}" if self.folder else ""
                )
                raise type(error)(f"{error} {saved}".strip()) from error
            except Exception:
                self.save()  # whatever nobody foresaw, too, must not cost what was learned
                raise

    def evaluate(self, episodes: int, greedy: bool = True, seed: int | None = None) -> Evaluation:
        """Evaluate on environments and seeds that training never sees.

        Whoever trains in one environment has it evaluated in the same one, too: there may be no second simulator.
        """
        seed = self.config.seed if seed is None else seed
        with cpu_threads(self.config.threads), self._lent() as environments:
            simulators = 1 if self.config.envs == 1 else None
            return evaluate(self.agent, environments or self.source, episodes, seed, greedy, simulators)

    @contextmanager
    def _lent(self) -> Iterator[Environments | None]:
        """Inside, the only environment may be used for something else; outside, it is where it was, lived again."""
        if self.config.envs > 1 or self.environments.closed:
            yield None
            return
        state = self.environments.state()
        try:
            yield self.environments
        finally:
            self.row = self.environments.restore(state, self.row)
            self.running = np.where(self.row.is_first | self.row.is_last, 0.0, self.running)

    def record(self, kind: str, **values: Any) -> None:
        """Keep one line of metrics, and append it to metrics.jsonl."""
        self.records.append({"kind": kind, "step": self.steps, **values})
        if self.folder:
            line = json.dumps(self.records[-1]) + "\n"
            try:
                with (self.folder / METRICS).open("a") as file:
                    file.write(line)
            except OSError as error:
                self.save()
                raise OutputError(
                    f"Could not write {self.folder / METRICS}: {error}. The checkpoint beside it is saved; free space "
                    f"there and go on with: wm-tutorial resume {self.folder}"
                ) from error

    def _at_intervals(self, before: int) -> None:
        """Log, evaluate and save whenever a multiple of the interval was passed since step `before`."""

        def due(every: int) -> bool:
            return every > 0 and self.steps // every > before // every

        config, over = self.config, self.steps >= self.config.steps
        if self.summed and (due(config.log_every) or over):
            losses = {name: total / self.summed for name, total in self.sums.items()}
            self.record("train", updates=self.updates, seconds=round(self.seconds, 3), losses=losses)
            self.sums, self.summed = {}, 0
        if due(config.eval_every) or over:
            evaluation = self.evaluate(config.eval_episodes)
            self.record("evaluation", mean=evaluation.mean, std=evaluation.std, returns=list(evaluation.returns))
        if due(config.checkpoint_every):
            self.save()

    def _add_up(self, numbers: dict[str, float]) -> None:
        self.sums = {name: self.sums.get(name, 0.0) + x for name, x in numbers.items()}
        self.summed += 1

    def _progress(self) -> "tqdm[Any]":
        """A bar with the time left, the return and the losses."""
        return tqdm(total=self.config.steps, initial=self.steps, unit="step", mininterval=0.5, dynamic_ncols=True)

    def _headline(self) -> dict[str, str]:
        """What the progress bar shows beside the time left."""
        returns = [r["return"] for r in self.records[-100:] if r["kind"] == "episode"][-10:]
        shown = {"return": f"{np.mean(returns):.0f}"} if returns else {}
        if self.summed:
            told = [name for name in ("decoder", "dynamics", "critic") if name in self.sums]  # chance has no critic
            shown |= {name: f"{self.sums[name] / self.summed:.2g}" for name in told}
        return shown

    # To disk and back ------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the checkpoint, and the agent alone beside it; without a folder there is nothing to do.

        Raises:
            OutputError: if the folder cannot be written; the file is then put elsewhere and the error says where.
        """
        if self.folder:
            checkpoint.write_or_rescue(self.folder / CHECKPOINT, self.state_dict())
            self.agent.save(self.folder / AGENT)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on as if never stopped."""
        return {
            "environment": self.source if isinstance(self.source, str) else None,
            "config": dataclasses.asdict(self.config),
            "spaces": dataclasses.asdict(self.agent.spaces),
            "agent": self.agent.state_dict(),
            "optimizer": self.learner.optimizer.state_dict(),
            "replay": self.replay.state_dict(),
            "random": self.random.state_dict(),
            "environments": self.environments.state(),
            "row": {f.name: torch.from_numpy(getattr(self.row, f.name)) for f in fields(Row)},
            "carry": {
                "memory": self.carry.state.memory,
                "latent": self.carry.state.latent,
                "action": self.carry.action,
            },
            "running": torch.from_numpy(self.running),
            "counters": {"steps": self.steps, "updates": self.updates, "seconds": self.seconds, "summed": self.summed},
            "sums": self.sums,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned, for the same spaces and network sizes."""
        self.agent.load_state_dict(state["agent"])
        self.learner.optimizer.load_state_dict(state["optimizer"])
        self.replay.load_state_dict(state["replay"])
        self.random.load_state_dict(state["random"])
        row = Row(**{name: column.numpy() for name, column in state["row"].items()})
        self.row = self.environments.restore(state["environments"], row)
        carry = {name: tensor.to(self.config.device) for name, tensor in state["carry"].items()}
        self.carry = Carry(State(carry["memory"], carry["latent"]), carry["action"])
        self.running = np.where(self.row.is_first | self.row.is_last, 0.0, state["running"].numpy())
        self.steps, self.updates = state["counters"]["steps"], state["counters"]["updates"]
        self.seconds, self.summed = state["counters"]["seconds"], state["counters"]["summed"]
        self.sums = state["sums"]

    @classmethod
    def load(cls, folder: Path, source: EnvSource | None = None, **changes: Any) -> "Trainer":
        """Go on with the run in `folder`, exactly as if it had never stopped.

        Args:
            folder: a run folder.
            source: the environment, needed if the run was started with a callable.
            changes: options to change, such as a larger `steps`.

        Raises:
            CheckpointError: if the checkpoint cannot be read or does not fit the environment or the changes.
        """
        state = checkpoint.read(folder / CHECKPOINT)
        source = state["environment"] if source is None else source
        if source is None:
            raise InputError(f"The run in {folder} was started with a callable; give the environment again (env=...).")
        trainer = cls(source, make_config(**{**state["config"], **changes}), folder)
        trainer.agent.check_fits(agent_spaces(state))
        try:
            trainer.load_state_dict(state)
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"The checkpoint in {folder} does not fit these options: {error}. Options that change the shape of "
                "networks or replay cannot change in the middle of a run."
            ) from error
        trainer.records = [record for record in read_metrics(folder) if record["step"] <= trainer.steps]
        return trainer


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Inside, PyTorch uses `count` CPU threads, or its own choice if 0; outside, as many as before."""
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count:
            torch.set_num_threads(before)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C (or a request to terminate) into a question that can be asked at a safe point.

    A second one interrupts at once. Outside the main thread signals cannot be caught, and the answer is always no.
    """
    asked = False

    def ask(signum: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.signal(signum, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    handlers = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
