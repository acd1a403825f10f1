"""What a person holds in their hands: `train` an agent, look at the `Run`, go on with it."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch

from wm_tutorial import checkpoint
from wm_tutorial.agent import Agent
from wm_tutorial.checkpoint import CHECKPOINT, SETTINGS
from wm_tutorial.config import Config, make_config, plain
from wm_tutorial.data import Dream, Narrowing
from wm_tutorial.envs import EnvSource
from wm_tutorial.evaluation import Evaluation
from wm_tutorial.pace import Looking
from wm_tutorial.runs.asked import check_learns, tell, whole_number
from wm_tutorial.runs.callbacks import Callbacks
from wm_tutorial.runs.dream import dream
from wm_tutorial.runs.film import Filmed, film
from wm_tutorial.runs.folder import check_unused, existing, locked, new_folder
from wm_tutorial.runs.machines import in_company
from wm_tutorial.runs.plan import narrowing
from wm_tutorial.trainer import Trainer
from wm_tutorial.vector import VectorSource

if TYPE_CHECKING:
    from wm_tutorial.figures import Plot
    from wm_tutorial.runs.doctor.diagnosis import Diagnosis


class Run:
    """A trained agent, its folder and its history; in a `with` block, its environments are closed at the end.

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
        folder = existing(path)
        return cls(Trainer.load(folder, env, company=Looking()), folder)

    def close(self) -> None:
        """Close the environments it was trained in. What was learned stays usable; what acts opens its own."""
        self.trainer.environments.close()

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def evaluate(self, episodes: int = 100, greedy: bool = True, seed: int | None = None) -> Evaluation:
        """Returns of complete episodes on environments and seeds that training never sees.

        Raises:
            InputError: if there is not at least one episode, `seed` is none, or `greedy` is neither True nor False.
        """
        episodes, seed = whole_number("episodes", episodes), None if seed is None else whole_number("seed", seed)
        return self.trainer.evaluate(episodes, greedy, seed)

    def dream(self, context: int = 5, horizon: int = 45, seed: int = 0) -> Dream:
        """One real episode beside the model's prediction of it; see `wm_tutorial.dream.dream`."""
        return dream(self.agent, self.trainer.source, context, horizon, seed)

    def film(
        self, path: str | Path | None = None, episodes: int = 1, greedy: bool = True, seed: int = 0, steps: int = 1000
    ) -> Filmed:
        """Film the real environment while the agent acts; see `wm_tutorial.runs.film.film`.

        path: name.gif or name.mp4; film-SEED.gif in the run folder if None.
        """
        path = self.path / f"film-{seed}.gif" if path is None else path
        return film(self.agent, self.trainer.source, path, episodes, greedy, seed, steps)

    def narrowing(self, context: int = 5, seed: int = 0, entry: int | None = None) -> Narrowing:
        """A plan as it is found; see `wm_tutorial.runs.plan.narrowing`."""
        return narrowing(self.agent, self.trainer.source, context, seed, entry)

    def curve(self) -> "Plot":
        """Is it normal? Its returns, over a grey band of the seeds that were measured with its options, if any were."""
        from wm_tutorial.runs.normal import normal_curve  # here and not above, as in `report`

        return normal_curve(self.trainer)

    def doctor(self) -> "Diagnosis":
        """What looks wrong in it, why that matters and what to try: `print` it. Some seconds, for new episodes."""
        from wm_tutorial.runs.doctor.diagnosis import examine  # here and not above: few runs are asked

        return examine(self.trainer)

    def report(self, evaluation: Evaluation | None = None) -> Path:
        """Draw every figure of the run into its folder, with a page index.html that shows them; returns the page.

        evaluation: what the page says of the agent; the last one of the run if None.
        """
        from wm_tutorial.runs import report  # here and not above: matplotlib is slow to import, and few calls draw

        tell("Drawing the figures of the run.")
        try:
            return report.write(self.path, self.trainer, evaluation)
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(f"Stopped while drawing. The run in {self.path} is complete.") from error

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
    callbacks: Any = (),
    vector: VectorSource | None = None,
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
        callbacks: one or several that are told what happens, and may stop the run: `wm_tutorial.Callback`.
        vector: what steps the environments in which experience is collected: "processes" for one process each, which is
            worth it if `env` is slow; or a `gymnasium.vector.VectorEnv` of `envs` environments, or a callable
            (count, seed) that builds one, such as an engine that steps many environments itself. Evaluations and dreams
            are those of `env`, which must have the same spaces. `wm_tutorial.vector` says more.
        options: any other field of `wm_tutorial.config.Config`, such as `horizon=10`.

    Returns:
        The finished run.

    Raises:
        InputError: for anything that cannot be used, before training begins.
        EnvironmentFailure, CallbackFailure, NonFiniteError, KeyboardInterrupt: after saving what was learned; see
            `resume`.
    """
    options |= {"size": size, "seed": seed} | ({} if steps is None else {"steps": steps})
    with ExitStack() as stack:
        company = stack.enter_context(in_company())
        told = Callbacks(callbacks)
        config = make_config(preset, **options)
        check_learns(config)
        trainer = Trainer(env, company.share(config), vector=vector, company=company)
        stack.enter_context(closed_after_an_error(trainer))
        parts = [trainer.environment_name, config.preset, config.size, f"seed{config.seed}"]
        name = "-".join(part for part in parts if part)
        folder = Path(company.word_of_first(lambda: str(new_folder(out, name))))
        if company.rank == 0:
            stack.enter_context(locked(folder))
            check_unused(folder)  # another run may have ended there since
        return finish(trainer, folder, told, draw)


def resume(
    path: str | Path,
    env: EnvSource | None = None,
    draw: bool = True,
    callbacks: Any = (),
    vector: VectorSource | None = None,
    **changes: Any,
) -> Run:
    """Go on with a run that was stopped, exactly as if it had not been.

    With a `vector` of another engine than "processes" it begins new episodes: what an engine does between two seeds is
    its own matter.

    Args:
        path: the run folder.
        env: the environment, needed only if the run was started with a callable.
        draw: as for `train`.
        callbacks, vector: as for `train`; those of before are not remembered.
        changes: options to change, such as a larger `steps`.

    Raises:
        InputError: if another run is at work in that folder, or an option cannot be used.
        CheckpointError: if there is no checkpoint that can be read.
    """
    with ExitStack() as stack:
        company = stack.enter_context(in_company())
        told = Callbacks(callbacks)
        folder = existing(path)
        if not (folder / CHECKPOINT).exists():
            checkpoint.read(folder / CHECKPOINT)  # which says so
        if company.rank == 0:
            stack.enter_context(locked(folder))
        trainer = Trainer.load(folder, env, vector, company, **changes)
        stack.enter_context(closed_after_an_error(trainer))
        return finish(trainer, folder, told, draw)


@contextmanager
def closed_after_an_error(trainer: Trainer) -> Iterator[Trainer]:
    """Inside, the trainer is used; its environments are closed if that fails."""
    try:
        yield trainer
    except BaseException:
        trainer.environments.close()
        raise


def finish(trainer: Trainer, folder: Path, callbacks: Callbacks, draw: bool = True) -> Run:
    """Run to the end and draw the figures; of several processes, the first has the callbacks, and draws."""
    trainer.folder, speaks = folder, trainer.company.rank == 0
    if speaks:
        trainer.callbacks = callbacks
        write_settings(trainer)
        tell(trainer.replay)
    trainer.run()
    if trainer.config.envs == 1:  # there may be no second simulator: whoever looks at the agent opens one of their own
        trainer.environments.close()
    run = Run(trainer, folder)
    if draw and speaks:
        run.report()
    return run


def write_settings(trainer: Trainer) -> None:
    """config.json: what this run is, for people and scripts."""
    assert trainer.folder is not None
    settings = {
        "environment": trainer.environment_name,
        "wm_tutorial": version("wm_tutorial"),
        "torch": torch.__version__,
        **({"processes": size} if (size := trainer.company.size) > 1 else {}),
        **plain(trainer.company.whole(trainer.config)),
    }
    checkpoint.write_text(trainer.folder / SETTINGS, json.dumps(settings, indent=2, allow_nan=False) + "\n")
