"""The loop: collect -> replay -> world model -> imagination -> behaviour; evaluate, save, resume."""

import copy
import dataclasses
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from wm_tutorial import checkpoint, chunks
from wm_tutorial.agent import Agent, Carry, check_spaces, described
from wm_tutorial.checkpoint import AGENT, CHECKPOINT, METRICS, check_form, read_metrics, user_path, write_metrics
from wm_tutorial.config import Config, builtin, change
from wm_tutorial.data import COLLECT, Row, State
from wm_tutorial.envs import Environments, EnvSource, name_of, spelling, stored_source
from wm_tutorial.errors import (
    CheckpointError,
    EnvironmentFailure,
    InputError,
    NonFiniteError,
    OutputError,
    WorldModelError,
)
from wm_tutorial.evaluation import Evaluation, evaluate
from wm_tutorial.learner import Learner
from wm_tutorial.pace import ALONE, Alone, Pace
from wm_tutorial.process import AtOnce, Request, alone, cpu_threads, devices, interruptible
from wm_tutorial.randomness import Randomness
from wm_tutorial.replay import Replay
from wm_tutorial.spaces import check_actions, warn_of_large_images
from wm_tutorial.vector import VectorEnvironments, VectorSource, environments


class Trainer:
    """An agent, its experience, and everything needed to go on learning.

    Args:
        source: Gymnasium id, or a callable that returns a new environment each time.
        config: all options.
        folder: where metrics and checkpoints go; None keeps everything in memory.
        vector: what steps the environments in which experience is collected; see `vector.environments`.
        company: the processes that learn with this one; `config` is then the share of each.
    """

    def __init__(
        self,
        source: EnvSource,
        config: Config,
        folder: Path | None = None,
        vector: VectorSource | None = None,
        company: Alone = ALONE,
    ) -> None:
        if config.device not in (there := devices()):
            raise InputError(
                f"device is {config.device!r}, which PyTorch does not find on this machine; here it finds "
                f"{', '.join(map(repr, there))}."
            )
        self.source, self.config = builtin(source), config
        self.folder = None if folder is None else user_path(folder)
        self.company, seed = company, company.seed(config.seed)
        self.random = Randomness(config.seed, config.device)
        self.environments = environments(source, config.envs, (COLLECT, seed), vector)
        warn_of_large_images(self.environments.spaces)
        with self.random.active():
            self.agent = Agent(self.environments.spaces, config).to(config.device)
        if seed != config.seed:  # born alike, each process goes on by its own chance
            self.random = Randomness(seed, config.device)
        self.learner = Learner(self.agent, config)
        self.learner.company = company
        dynamics = self.agent.world_model.dynamics
        self.replay = Replay(
            config.capacity, config.envs, self.environments.spaces, dynamics.memory_size, dynamics.latent_size
        )
        self.row = self.environments.reset()
        self.carry = self.agent.initial(config.envs)
        self.running = np.zeros((2, config.envs))  # return and length of the running episodes
        self.steps = self.updates = 0
        self.attended = 0  # the step at which what is due at intervals was last done
        self.seconds = 0.0
        self.sums: dict[str, float] = {}  # of the losses since the last line of metrics
        self.summed = 0
        self.records: list[dict[str, Any]] = []
        self.callbacks: Callable[..., bool] = lambda *_: False  # who is told of events, and may stop the run
        self.stopped = False  # whether one of them did

    # One iteration ---------------------------------------------------------------------------------------------------

    def collect(self) -> None:
        """Take one step in every environment and store the rows."""
        prefilling = self.steps < self.config.prefill
        with self._undone_by_an_error():
            with self.random.active():
                if prefilling and self.config.behaviour == "planner":  # a plan takes long, and would not be followed
                    carry = replace(self.carry, state=self.agent.infer(self.row, self.carry))
                else:
                    carry = self.agent.policy(self.row, self.carry)
            if prefilling:
                random = torch.from_numpy(self.environments.random_action(self.random.numpy))
                carry = replace(carry, action=random.to(carry.action.device))
            action = carry.action.numpy(force=True)
            row = self.environments.step(self.row, action)
            running = self.running + np.where(row.is_first, 0.0, [row.reward, np.ones(len(row.reward))])
            left, ended, returns, lengths = self.company.everyone(np.stack([self.row.is_last, row.is_last, *running]))
        self.replay.add(self.row, action, carry.state)  # only now: a row without a successor is not experience
        self.steps += int((left == 0.0).sum())
        self.row, self.carry, self.running = row, carry, running
        for i in np.flatnonzero(ended):
            self.record("episode", **{"return": float(returns[i]), "length": int(lengths[i])})
        self.running[:, row.is_last] = 0.0

    @contextmanager
    def _undone_by_an_error(self) -> Iterator[None]:
        """Inside, the environments take a step; if one raises, what will be saved is the moment before it.

        The random states go back, and so does where each stream is: resuming lives the running episodes again.
        """
        random = self.random.state_dict()
        streams = [(s, s.episode, s.actions, len(s.actions)) for s in self.environments.streams]
        try:
            yield
        except BaseException:
            self.random.load_state_dict(random)
            for stream, episode, actions, count in streams:
                stream.episode, stream.actions = episode, actions[:count]
            raise

    def train_step(self) -> dict[str, float]:
        """One gradient update of every part on a batch of experience.

        Returns:
            The losses and other metrics.

        Raises:
            NonFiniteError: if a loss or gradient is not finite. Nothing was changed then, with one exception: the
                choice of batches has moved on (NumPy's generator, and which fresh sequences were handed out), so that
                the next attempt, after a resume, too, does not meet the same batch again.
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
                f"{error} in update {self.updates + 1}, environment step {self.steps}. Nothing was changed by this "
                "update, and the next attempt uses another batch. Lower the learning rates or look at the rewards and "
                "observations."
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
        enough = self.company.all_have(len(self.replay) // self.config.envs > self.config.sequence_length)
        return int(max(0, self.steps - self.config.prefill) * self.config.updates_per_step) if enough else 0

    # The run ---------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Go on until the step budget is spent, then evaluate and save.

        Whatever ends it early (Ctrl-C, a closed terminal, an environment that raises, a loss that is not finite, a full
        disk), what was learned is saved first, and the error says where. A second Ctrl-C ends it at once: the
        checkpoint then stays as it was.

        `self.callbacks` (`runs.callbacks`) are told of what happens, and may stop the run as well: it is then saved,
        and nothing is raised.

        Raises:
            InputError: if another run learns or is evaluated in a thread of this process.
        """
        self.stopped = False
        with alone(), cpu_threads(self.config.threads), interruptible() as request, self._progress() as bar:
            if self.folder and self.company.rank == 0:  # what a stopped run wrote after its checkpoint happens again
                write_metrics(self.folder, self.records)
            try:
                with self._saved():
                    try:
                        if self.company.size > 1 and not self.steps:
                            self.save()  # what dies with a process is taken from a file, at the worst from this one
                        self._tell("on_start")
                        self._go_on(request, bar)
                    finally:
                        self._tell("on_end")
            except AtOnce as error:
                there = self.folder and (self.folder / CHECKPOINT).exists()
                kept = f" The checkpoint is as it was; go on from there with: {self.way_on}" if there else ""
                raise KeyboardInterrupt(f"Stopped at once.{kept}") from error

    def _go_on(self, request: Request, bar: "tqdm[Any]") -> None:
        """Iterate to the end of the budget; what a run was stopped in the middle of comes first."""
        pace = Pace(update=self._rehearsed())
        if left := pace.left(self.steps, self.config):
            time_left = f"about {tqdm.format_interval(left)} of learning to go, evaluations not counted."
            self._say(f"One update takes {pace.update:.2g} s on this machine: {time_left}")
        while True:
            started, learned = time.perf_counter(), self.updates
            while self.updates < self.updates_due and not any(self._asked(request)):
                numbers = self.train_step()
                self._add_up(numbers)
                self._tell("on_update", numbers)
            pace.learning += time.perf_counter() - started
            self.seconds += time.perf_counter() - started
            if self._asked(request)[0]:
                raise KeyboardInterrupt("Stopped.")
            if not self.stopped:
                self._at_intervals(request, bar, pace)
            if self.steps >= self.config.steps or self.stopped:
                break
            bar.set_description_str(self._phase(), refresh=False)
            bar.set_postfix_str(self._headline(pace), refresh=False)
            bar.update(min(self.steps, self.config.steps) - bar.n)
            started, before = time.perf_counter(), self.steps
            self.collect()
            self._tell("on_step")
            took = time.perf_counter() - started
            self.seconds += took
            if self.updates > learned or pace.steps:
                pace.steps, pace.learning = pace.steps + self.steps - before, pace.learning + took
        bar.update(min(self.steps, self.config.steps) - bar.n)
        self.save()
        finished = self.attended == self.steps >= self.config.steps
        bar.set_description_str("done" if finished else "stopped")
        if not finished:
            self._say(f"A callback has stopped the run. {self._way_on_from_here}")

    def _asked(self, request: Request) -> tuple[bool, bool]:
        """Whether a signal asks for the end, and whether a callback does."""
        asked, self.stopped = self.company.any(request.asked, self.stopped)
        return asked, self.stopped

    def _say(self, text: str) -> None:
        if sys.stderr and self.company.rank == 0:
            tqdm.write(text, file=sys.stderr)

    def _tell(self, event: str, *what: Any) -> None:
        self.stopped |= self.callbacks(self, event, *what)

    def _rehearsed(self) -> float | None:
        """How many seconds an update will take, tried before the start on rows that never happened.

        None if there will be no update, or if it cannot be told. Neither the networks nor the random states change.
        """
        config = self.config
        if config.steps <= max(self.steps, config.prefill) or not config.updates_per_step:
            return None
        state = self.agent.initial(config.envs).state
        invented = Replay(
            (config.sequence_length + 1) * config.envs,
            config.envs,
            self.agent.spaces,
            state.memory.shape[-1],
            state.latent.shape[-1],
        )
        random = Randomness(config.seed, config.device)
        for _ in range(config.sequence_length + 1):
            invented.add(self.row, self.environments.random_action(random.numpy), state)
        batch, _ = invented.sample(config.batch_size, config.sequence_length, random.numpy, config.device)
        try:
            with random.active():
                return self.learner.rehearse(batch)
        except NonFiniteError:
            return None  # a batch of what happened may do better; if not, its update says so

    @contextmanager
    def _saved(self) -> Iterator[None]:
        """Inside, the run goes on; whatever ends it early, what was learned is saved, and the error says where."""
        try:
            yield
        except BaseException as error:
            self.company.part(error)
            if isinstance(error, AtOnce | OutputError):
                raise  # in the middle of something; or whoever could not write has said where it put things instead
            self.save()
            if isinstance(error, WorldModelError | KeyboardInterrupt):
                raise type(error)(f"{error} {self._way_on_from_here}".strip()) from error
            self._say(self._way_on_from_here)  # before whatever nobody foresaw: it must not cost what was learned
            raise

    @property
    def _way_on_from_here(self) -> str:
        """What is said of a run that has just been saved before its end; nothing if it has no folder."""
        return f"Saved at step {self.steps}; go on with: {self.way_on}" if self.folder else ""

    @property
    def environment_name(self) -> str:
        """A name for folders and titles: the id without its namespace, or the class that a callable has built."""
        if isinstance(self.source, str):
            return name_of(self.source)
        return type(self.environments.streams[0].unwrapped).__name__

    @property
    def way_on(self) -> str:
        """The command that goes on with this run; if its environment has no name that can be imported, the call."""
        name = spelling(self.source)
        if name is None:
            return f"wm_tutorial.resume({self.folder.as_posix() if self.folder else None!r}, env=...)"
        # a file never says what is to be imported: the user does, again
        return self.company.command("resume", self.folder, *(["--env", name] if ":" in name else []))

    def evaluate(self, episodes: int, greedy: bool = True, seed: int | None = None) -> Evaluation:
        """Evaluate on environments and seeds that training never sees.

        Whoever trains in one environment has it evaluated in the same one, too: there may be no second simulator.
        """
        seed = self.config.seed if seed is None else seed
        with alone(), cpu_threads(self.config.threads), self._lent() as environments:
            simulators = 1 if self.config.envs == 1 else None
            return evaluate(self.agent, environments or self.source, episodes, seed, greedy, simulators)

    @contextmanager
    def _lent(self) -> Iterator[Environments | None]:
        """Inside, the only environment may be used for something else; outside, it is where it was, lived again."""
        if self.config.envs > 1 or self.environments.closed or isinstance(self.environments, VectorEnvironments):
            yield None
            return
        state = self.environments.state()
        try:
            yield self.environments
        finally:
            self.row = self.environments.restore(state, self.row)
            self.running = np.where(self.row.is_first | self.row.is_last, 0.0, self.running)

    def record(self, kind: str, **values: Any) -> None:
        """Keep one line of metrics, and append it to metrics.jsonl: a matter of the first process."""
        if self.company.rank:
            return
        self.records.append({"kind": kind, "step": self.steps, **values})
        if self.folder:
            line = json.dumps(self.records[-1], allow_nan=False) + "\n"
            try:
                with (self.folder / METRICS).open("a") as file:
                    file.write(line)
            except OSError as error:
                self.company.part(error)
                self.save()
                raise OutputError(
                    f"Could not write {self.folder / METRICS}: {error}. The checkpoint beside it is saved; free space "
                    f"there and go on with: {self.way_on}"
                ) from error

    def _at_intervals(self, request: Request, bar: "tqdm[Any]", pace: Pace) -> None:
        """Log, evaluate and save whenever a multiple of the interval was passed since the last time.

        A run that is stopped during its evaluation does it again when it goes on.
        """
        if self.attended == self.steps:
            return

        def due(every: int) -> bool:
            return every > 0 and self.steps // every > self.attended // every

        config, over = self.config, self.steps >= self.config.steps
        if self.summed and (due(config.log_every) or over):
            losses = {name: total / self.summed for name, total in self.sums.items()}
            self.record("train", updates=self.updates, seconds=round(self.seconds, 3), losses=losses)
            self.sums, self.summed = {}, 0
        evaluates, evaluation = due(config.eval_every) or over, None
        if evaluates:
            bar.set_description_str("evaluating")
            started = time.perf_counter()
            with request.at_any_moment():
                evaluation = self.company.first(lambda: self.evaluate(config.eval_episodes))
            pace.evaluations, pace.evaluating = pace.evaluations + 1, pace.evaluating + time.perf_counter() - started
        if evaluation:
            self.record("evaluation", mean=evaluation.mean, std=evaluation.std, returns=list(evaluation.returns))
        save = due(config.checkpoint_every)
        self.attended = self.steps
        if save:
            self.save()
        if evaluates:  # last, so that a run which ends here goes on behind it
            self._tell("on_evaluation", evaluation)
            self._asked(request)

    def _add_up(self, numbers: dict[str, float]) -> None:
        self.sums = {name: self.sums.get(name, 0.0) + x for name, x in numbers.items()}
        self.summed += 1

    def _progress(self) -> "tqdm[Any]":
        """A bar that says what is being done, how long it will go on, and the last returns."""
        return tqdm(
            total=self.config.steps,
            initial=min(self.steps, self.config.steps),
            desc=self._phase(),
            mininterval=0.5,
            dynamic_ncols=True,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]",
            disable=sys.stderr is None or self.company.rank > 0,  # closed by whoever called; only one speaks
        )

    def _phase(self) -> str:
        return "random steps" if self.steps < self.config.prefill else "learning"

    def _headline(self, pace: Pace) -> str:
        """What the progress bar shows beside the time passed: the time left, once it is known, and the last returns."""
        left = pace.left(self.steps, self.config)
        returns = [r["return"] for r in self.records[-100:] if r["kind"] == "episode"][-10:]
        told = [f"{tqdm.format_interval(left)} left"] if left is not None else []
        return ", ".join(told + ([f"return {np.mean(returns):.4g}"] if returns else []))

    # To disk and back ------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the checkpoint, and the agent alone beside it; without a folder there is nothing to do.

        Raises:
            OutputError: if the folder cannot be written; the file is then put elsewhere and the error says where.
        """
        if self.folder:
            with self.company.saving(self.folder, self.state_dict()) as state:
                if state is not None:  # another process writes it
                    checkpoint.write_or_rescue(self.folder / CHECKPOINT, state, chunks.write)
                    self.agent.save(self.folder / AGENT)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on as if never stopped."""
        return {
            "environment": self.source if isinstance(self.source, str) else None,
            "config": dataclasses.asdict(self.config),
            "spaces": dataclasses.asdict(self.agent.spaces),
            "agent": self.agent.state_dict(),
            "optimizer": self.learner.optimizer_state(),
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
            "counters": {
                "steps": self.steps,
                "updates": self.updates,
                "attended": self.attended,
                "seconds": self.seconds,
                "summed": self.summed,
            },
            "sums": self.sums,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned, for the same spaces and network sizes.

        Raises:
            CheckpointError: if something is missing, unknown, of another shape, or not finite.
        """
        if isinstance(counters := state.get("counters"), dict):  # older checkpoints are of whole iterations
            counters.setdefault("attended", counters.get("steps", 0))
        self._check(state)
        self.replay.load_state_dict(state["replay"])
        # Of the rest a copy: tensors of a file that is not yet read would hold on to it.
        state = copy.deepcopy({name: value for name, value in state.items() if name != "replay"})
        self.agent.load_state_dict(state["agent"])
        self.learner.load_optimizer(state["optimizer"])
        self.random.load_state_dict(state["random"])
        row = Row(**{name: column.numpy() for name, column in state["row"].items()})
        self.row = self.environments.restore(state["environments"], row)
        carry = {name: tensor.to(self.config.device) for name, tensor in state["carry"].items()}
        self.carry = Carry(State(carry["memory"], carry["latent"]), carry["action"])
        self.running = np.where(self.row.is_first | self.row.is_last, 0.0, state["running"].numpy())
        self.steps, self.updates = state["counters"]["steps"], state["counters"]["updates"]
        self.attended = state["counters"]["attended"]
        self.seconds, self.summed = state["counters"]["seconds"], state["counters"]["summed"]
        self.sums = state["sums"]

    def _check(self, state: dict[str, Any]) -> None:
        """Raise CheckpointError unless `state` is built as what this trainer would save."""
        mine, told_by_files = self.state_dict(), {"format", "version", "wm_tutorial"}
        if different := (state.keys() ^ mine.keys()) - told_by_files:
            raise CheckpointError(f"{min(map(str, different))} is missing, or unknown")
        parts = ("row", "carry", "running", "counters")  # agent, optimizer, replay and generators look for themselves
        check_form({name: state[name] for name in parts}, {name: mine[name] for name in parts}, "state")
        check_form(state["sums"], dict.fromkeys(map(str, state["sums"]), 0.0), "sums")
        episodes = [{**saved, "actions": []} for saved in state["environments"]]
        check_form(episodes, [{"episode": 0, "actions": []} for _ in range(self.config.envs)], "environments")
        for stream, saved in zip(self.environments.streams, state["environments"], strict=True):
            check_actions(stream.action_space, saved["actions"])

    @classmethod
    def load(
        cls,
        folder: Path,
        source: EnvSource | None = None,
        vector: VectorSource | None = None,
        company: Alone = ALONE,
        **changes: Any,
    ) -> "Trainer":
        """Go on with the run in `folder`, exactly as if it had never stopped.

        A run of a device that is not on this machine goes on on the CPU, with a warning.

        Args:
            folder: a run folder.
            source: the environment, needed if the run was started with a callable, or with an id for which Gymnasium
                imports a module: nothing that a file names is imported.
            vector: as for `Trainer`; it is not remembered.
            company: as for `Trainer`; as many processes go on as there were, or one looks at it (`pace.Looking`).
            changes: options to change, such as a larger `steps`; those in `config.CHANGEABLE`.

        Raises:
            CheckpointError: if the checkpoint cannot be read.
            InputError: if `source` is needed, does not fit, or the changes cannot be made.
        """
        path = user_path(folder) / CHECKPOINT
        return chunks.settled(path, lambda: cls._loaded(path, source, vector, company, changes))

    @classmethod
    def _loaded(
        cls,
        path: Path,
        source: EnvSource | None,
        vector: VectorSource | None,
        company: Alone,
        changes: dict[str, Any],
    ) -> "Trainer":
        folder = path.parent
        state = company.own(folder, checkpoint.read(path))
        spaces, stored = described(path, state, state.get("agent"))
        config = change(stored, changes)
        if "device" not in changes and config.device not in devices():
            told = f"The run in {folder} is one of device {config.device!r}, which PyTorch does not find here"
            warnings.warn(f"{told}: it is opened on the CPU.", stacklevel=5)
            config = replace(config, device="cpu")
        source = stored_source(state.get("environment"), folder) if source is None else source
        try:
            if len(state["environments"]) != config.envs:  # before as many are built
                raise CheckpointError(f"it holds {len(state['environments'])} environments instead of {config.envs}")
            done = state["counters"]["steps"]
            if config.steps < min(done, stored.steps):
                raise InputError(
                    f"steps is {config.steps}, and the run in {folder} has made {done} already: give more, or leave it "
                    "out."
                )
            trainer = cls(source, config, folder, vector, company)
            check_spaces(spaces, trainer.agent.spaces)
            trainer.load_state_dict(state | {"replay": chunks.opened(path, state.get("replay"), company.replay)})
        except (InputError, EnvironmentFailure):
            raise
        except Exception as error:  # whatever the state of something else leads to
            raise CheckpointError(
                f"{path} does not hold the whole state of this run: {error}. Use another copy, or train again."
            ) from error
        trainer.records = [record for record in read_metrics(folder) if record["step"] <= trainer.steps]
        return trainer
