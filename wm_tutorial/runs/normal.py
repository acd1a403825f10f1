"""Is my run normal? The learning curves of the measured seeds, for a run with the same environment and options."""

import json
from importlib.resources import files
from typing import Any

from wm_tutorial import figures
from wm_tutorial.config import Config, plain
from wm_tutorial.trainer import Trainer

# What does not change how an agent learns: its luck, the machine, and what is looked at on the way.
FREE = ("seed", "threads", "device", "log_every", "checkpoint_every", "eval_every", "eval_episodes")
# Written by `make results` from the raw data in book/results.
MEASURED = "measured.json"


def measured_curves(environment: str, config: Config) -> dict[int, tuple[list[int], list[float]]]:
    """Evaluations of the seeds measured on `environment` with these options: seed -> (steps, mean returns).

    Empty where none was measured, and after a run of another length: learning rates fall with its steps.
    """
    results: list[dict[str, Any]] = json.loads((files("wm_tutorial.runs") / MEASURED).read_text())
    wanted = learning(plain(config))
    for result in results:
        if result["environment"] == environment and result["options"] == wanted:
            return {int(seed): (curve[0], curve[1]) for seed, curve in result["curves"].items()}
    return {}


def measured_beside(trainer: Trainer) -> dict[int, tuple[list[int], list[float]]]:
    """The curves of the seeds measured in the world of a run, with its options; none for a world without an id."""
    return measured_curves(trainer.source, trainer.config) if isinstance(trainer.source, str) else {}


def normal_curve(trainer: Trainer) -> figures.Plot:
    """The returns of a run, and a grey band from the lowest to the highest of the seeds measured with its options.

    Without the band where none was measured (`measured_beside`). Raises InputError if the run has no episodes yet.
    """
    return figures.return_curve(trainer.records, measured_beside(trainer))


def learning(options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options (as `plain` gives them) that change how an agent learns."""
    return {name: value for name, value in options.items() if name not in FREE}
