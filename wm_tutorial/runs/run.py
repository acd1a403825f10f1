"""What a person holds in their hands: `train` an agent, look at the `Run`, go on with it."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from wm_tutorial import checkpoint
from wm_tutorial.agent import Agent
from wm_tutorial.checkpoint import CHECKPOINT
from wm_tutorial.config import Config, make_config, plain
from wm_tutorial.data import Dream
from wm_tutorial.envs import EnvSource, name_of
from wm_tutorial.errors import InputError, OutputError
from wm_tutorial.evaluation import Evaluation
from wm_tutorial.runs.dream import dream
from wm_tutorial.trainer import Trainer


class Run:
    """A trained agent, its folder and its history.

    path     the run folder
    agent    the agent, ready to act
    records  the lines of metrics.jsonl
    """

    def __init__(self, trainer: Trainer, path: Path) -> None:
        self.trainer, self.path = trainer, path

    @property
    def agent(self) -> Agent:
        """The agent, ready to act."""
        return self.trainer.agent

    @property
    def config(self) -> Config:
        """All options of the run."""
        return self.trainer.config

    @property
    def records(self) -> list[dict[str, Any]]:
        """Every episode, line of losses and evaluation, in order."""
        return self.trainer.records

    @classmethod
    def load(cls, path: str | Path, env: EnvSource | None = None) -> "Run":
        """Open a run folder; `env` is needed only if the run was started with a callable."""
        return cls(Trainer.load(Path(path), env), Path(path))

    def evaluate(self, episodes: int = 100, greedy: bool = True, seed: int | None = None) -> Evaluation:
        """Returns of complete episodes on environments and seeds that training never sees."""
        return self.trainer.evaluate(episodes, greedy, seed)

    def dream(self, context: int = 5, horizon: int = 45, seed: int = 0) -> Dream:
        """One real episode beside the model's prediction of it; see `wm_tutorial.dream.dream`."""
        return dream(self.agent, self.trainer.source, context, horizon, seed)

    def report(self) -> Path:
        """Draw every figure of the run into its folder, with a page index.html that shows them; returns the page."""
        from wm_tutorial.runs import report  # here and not above: matplotlib is slow to import, and few calls draw

        return report.write(self.path, self.trainer)

    def __repr__(self) -> str:
        """For notebooks."""
        return f"Run({str(self.path)!r}, {self.trainer.steps} of {self.config.steps} steps)"


def train(
    env: EnvSource,
    preset: str = "guide",
    size: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    draw: bool = True,
    **options: Any,
) -> Run:
    """Train an agent on any Gymnasium environment.

    Args:
        env: a Gymnasium id, or a callable that returns a new environment each time.
        preset: a row of the lineage, see `wm_tutorial.config.PRESETS`.
        size: `nano` (the default) and `micro` for CPUs, `size1m` to `size400m`; see `wm_tutorial.config.SIZES`.
        steps: environment steps; the preset's own number if None.
        seed: of everything random in the run.
        out: the run folder; a new one below `runs/` if None.
        draw: whether to draw the figures of the run into its folder at the end, which takes some seconds.
        options: any other field of `wm_tutorial.config.Config`, such as `horizon=10`.

    Returns:
        The finished run.

    Raises:
        InputError: for anything that cannot be used, before training begins.
        EnvironmentFailure, NonFiniteError, KeyboardInterrupt: after saving what was learned; see `resume`.
    """
    options |= {"size": size, "seed": seed} | ({} if steps is None else {"steps": steps})
    config = make_config(preset, **options)
    trainer = Trainer(env, config)
    name = "-".join([name_of(env), preset, *([config.size] if config.size else []), f"seed{seed}"])
    trainer.folder = new_folder(out, name)
    write_settings(trainer)
    return finish(trainer, draw)


def resume(path: str | Path, env: EnvSource | None = None, **changes: Any) -> Run:
    """Go on with a run that was stopped, exactly as if it had not been.

    Args:
        path: the run folder.
        env: the environment, needed only if the run was started with a callable.
        changes: options to change, such as a larger `steps`.
    """
    trainer = Trainer.load(Path(path), env, **changes)
    write_settings(trainer)
    return finish(trainer)


def finish(trainer: Trainer, draw: bool = True) -> Run:
    """Run to the end and draw the figures."""
    assert trainer.folder is not None
    print(trainer.replay)
    trainer.run()
    run = Run(trainer, trainer.folder)
    if draw:
        run.report()
    return run


def new_folder(out: str | Path | None, name: str) -> Path:
    """Make the run folder: `out`, or the first of runs/NAME, runs/NAME-2, ... that does not exist yet.

    Raises:
        InputError: if `out` already holds a run.
        OutputError: if the folder cannot be made.
    """
    if out is not None:
        folder = Path(out)
        if (folder / CHECKPOINT).exists():
            raise InputError(
                f"{folder} already holds a run. Choose another folder, or go on with it: wm-tutorial resume {folder}"
            )
    else:
        number = 1
        while (folder := Path("runs") / (name if number == 1 else f"{name}-{number}")).exists():
            number += 1
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise OutputError(f"Cannot write to the run folder {folder}: {error}. Choose another with out=... .") from error
    return folder


def write_settings(trainer: Trainer) -> None:
    """config.json: what this run is, for people and scripts."""
    assert trainer.folder is not None
    settings = {
        "environment": name_of(trainer.source),
        "wm_tutorial": version("wm_tutorial"),
        "torch": torch.__version__,
        **plain(trainer.config),
    }
    checkpoint.write_text(trainer.folder / "config.json", json.dumps(settings, indent=2, allow_nan=False) + "\n")
