"""World Models 2018 as a person holds it: train in stages, then evaluate and dream as with every other run."""

import dataclasses
import json
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from wm_tutorial import checkpoint
from wm_tutorial.checkpoint import SETTINGS
from wm_tutorial.data import Dream
from wm_tutorial.envs import EnvSource, name_of, spelling, stored_source
from wm_tutorial.errors import CheckpointError, InputError
from wm_tutorial.evaluation import Evaluation, evaluate
from wm_tutorial.runs.asked import path_of, tell, whole_number
from wm_tutorial.runs.doctor import Diagnosis, examine_agent
from wm_tutorial.runs.dream import dream
from wm_tutorial.runs.folder import cannot_write, check_unused, locked, new_folder
from wm_tutorial.runs.run import Run
from wm_tutorial.world_models_2018 import STAGES, Agent, Stage, Stages, make_settings
from wm_tutorial.world_models_2018.agent import FILE


class StagedRun:
    """A finished run of World Models 2018, with the parts of a `Run` that make sense for it.

    path    the run folder
    agent   V, M and C, ready to act
    source  the environment
    """

    def __init__(self, path: Path, agent: Agent, source: EnvSource) -> None:
        self.path, self.agent, self.source = path, agent, source

    @classmethod
    def load(cls, path: str | Path, env: EnvSource | None = None) -> "StagedRun":
        """Open a run folder; `env` is needed only if the run was started with a callable."""
        folder = path_of(path)
        agent = Agent.load(folder)
        return cls(folder, agent, stored_source(_stored(folder).get("env"), folder) if env is None else env)

    def __enter__(self) -> "StagedRun":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open: what acts opens environments of its own."""

    def evaluate(self, episodes: int = 100, greedy: bool = True, seed: int | None = None) -> Evaluation:
        """Returns of complete episodes on environments and seeds that no stage has seen; as `Run.evaluate`."""
        episodes = whole_number("episodes", episodes)
        return evaluate(self.agent, self.source, episodes, 0 if seed is None else whole_number("seed", seed), greedy)

    def dream(self, context: int = 5, horizon: int = 45, seed: int = 0) -> Dream:
        """One real episode beside M's prediction of it; see `wm_tutorial.dream.dream`."""
        return dream(self.agent, self.source, context, horizon, seed)

    def doctor(self) -> Diagnosis:
        """What looks wrong in how it acts; of its losses and its model no causes are known. See `Run.doctor`."""
        return examine_agent(self.agent, self.source)

    def __repr__(self) -> str:
        """For notebooks."""
        return f"StagedRun({str(self.path)!r})"


def train_in_stages(
    env: EnvSource, out: str | Path | None = None, stages: tuple[Stage, ...] = STAGES, **options: Any
) -> StagedRun:
    """Train World Models 2018 on an environment that shows pictures: random play, V, M, C, one after the other.

    Called again with the same folder, it goes on where it was stopped, and what is finished is not done again.

    Args:
        env: a Gymnasium id, or a callable that returns a new environment each time.
        out: the run folder; a new one below `runs/` if None.
        stages: which ones; all of them unless you want to stop between two.
        options: any field of `wm_tutorial.world_models_2018.Settings`, such as `temperature=1.15`.

    Returns:
        The run; if the last of `stages` is not `controller`, its C does nothing yet, and no agent is saved.

    Raises:
        InputError: for anything that cannot be used: an environment without pictures, a stage without the one before
            it, a folder made with other settings.
        EnvironmentFailure, NonFiniteError, KeyboardInterrupt: what was reached is in the folder.
    """
    settings = make_settings(**options)
    if not stages or set(stages) - set(STAGES):
        raise InputError(f"stages are {stages!r}; give some of {', '.join(STAGES)}, in this order.")
    folder = folder_of(out, f"{name_of(env)}-world_models_2018-seed{settings.seed}")
    trained = Stages(env, settings, folder, tell)
    with locked(folder):
        trained.check(stages)
        told = {"env": spelling(env), "world_models_2018": True, "wm_tutorial": version("wm_tutorial")}
        told |= {"torch": torch.__version__, **dataclasses.asdict(settings)}
        checkpoint.write_text(folder / SETTINGS, json.dumps(told, indent=2, allow_nan=False) + "\n")
        agent = trained.run(stages)
        if stages[-1] == "controller":
            agent.save(folder / FILE)
    return StagedRun(folder, agent.eval(), env)


def folder_of(out: str | Path | None, name: str) -> Path:
    """The folder of a new run, or of one that goes on.

    Raises:
        InputError: if it holds a run of another kind, or files of somebody else.
    """
    if out is None:
        return new_folder(None, name)
    folder = path_of(out)
    if not _stored(folder).get("world_models_2018"):
        check_unused(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return folder


def _stored(folder: Path) -> dict[str, Any]:
    """The config.json of a run of this kind; empty if there is none."""
    try:
        told = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def open_run(path: str | Path, env: EnvSource | None = None) -> Run | StagedRun:
    """Open a run folder of either kind.

    Raises:
        CheckpointError: if there is no finished run.
    """
    folder = path_of(path)
    if not _stored(folder).get("world_models_2018"):
        return Run.load(path, env)
    if not (folder / FILE).exists():
        raise CheckpointError(
            f"The run in {folder} has no controller yet. Give the command that began it once more: it goes on."
        )
    return StagedRun.load(folder, env)
