"""A run folder, shown to the doctor: all of it that is there, whichever kind of run it is."""

import dataclasses
from pathlib import Path
from typing import Any

from wm_tutorial.checkpoint import CHECKPOINT, read_metrics
from wm_tutorial.config import Config, from_plain
from wm_tutorial.envs import EnvSource
from wm_tutorial.errors import CheckpointError, InputError
from wm_tutorial.runs.asked import path_of
from wm_tutorial.runs.doctor.diagnosis import Diagnosis, examine_records
from wm_tutorial.runs.folder import settings_of
from wm_tutorial.runs.staged import open_run

BESIDE_THE_OPTIONS = {"environment", "wm_tutorial", "torch", "processes"}  # what config.json tells, too


def consult(path: str | Path, env: EnvSource | None = None) -> Diagnosis:
    """What looks wrong in the run of a folder. One without a checkpoint that can be read is judged by its metrics.

    Args:
        path: a run folder, or a file in it.
        env: the environment, needed for more than the metrics if the run was started with a callable.

    Raises:
        InputError: if it is no run folder.
        CheckpointError: if neither a checkpoint nor the options can be read.
    """
    folder = path_of(path)
    folder = folder.parent if folder.is_file() else folder
    settings = settings_of(folder)
    if settings is None and not (folder / CHECKPOINT).exists():
        raise InputError(
            f"{folder} is no run folder: there is neither a config.json of this package nor {CHECKPOINT} in it. Give "
            "the folder that training has named as the run folder, such as runs/CartPole-v1-guide-seed0."
        )
    try:
        with open_run(folder, env) as run:
            return run.doctor()
    except (CheckpointError, InputError) as error:
        if settings is None or settings.get("world_models_2018"):
            raise
        return examine_records(options_of(folder, settings), read_metrics(folder), str(error))


def options_of(folder: Path, settings: dict[str, Any]) -> Config:
    """The options that a run's config.json tells; raises CheckpointError if they are of another version."""
    options = {name: value for name, value in settings.items() if name not in BESIDE_THE_OPTIONS}
    try:
        if unknown := options.keys() - {field.name for field in dataclasses.fields(Config)}:
            raise InputError(f"There is no option {min(unknown)!r}.")
        return from_plain(options)
    except InputError as error:
        raise CheckpointError(
            f"{folder} holds the options of a run of another version: {error} Ask the version that wrote them, "
            f"wm_tutorial {settings['wm_tutorial']}."
        ) from error
