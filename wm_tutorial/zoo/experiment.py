"""What a mistake does to an agent that learns with it: the same losses, perhaps, and another return.

Every mistake is let out for a whole run and its evaluation, as in the code of somebody who has made it. What is
measured of the agent afterwards: its losses, how far its model is from what happens after 1 and after 15 steps
without an observation, its return, and what the doctor says of the run.
"""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wm_tutorial import checkpoint, figures, zoo
from wm_tutorial.config import Config
from wm_tutorial.envs import EnvSource
from wm_tutorial.errors import InputError
from wm_tutorial.runs.asked import check_learns, path_of, whole_number, whole_numbers
from wm_tutorial.runs.dream import kl_both_ways, open_loop_errors
from wm_tutorial.runs.folder import make_folder
from wm_tutorial.runs.jobs import Job, all_of, check_engine, raise_failures
from wm_tutorial.runs.measure import (
    check_found,
    read_record,
    register,
    registered,
    train_and_record,
    write_record,
)
from wm_tutorial.runs.statistics import bootstrap_interval
from wm_tutorial.trainer import Trainer

NONE = "none"  # the finished code, which everything else is compared with
HORIZON = 15
# What only a policy that learns in imagination has a use for.
LEARNING_TO_ACT = ("returns.", "imagination.", "actor_critic.", "data.Trajectory.", "config.Config.imagined_discount")
MODEL_LOSSES = ("decoder", "reward", "continue", "dynamics", "representation")


def experiment(
    env: EnvSource,
    config: Config,
    bugs: Iterable[str],
    seeds: Iterable[int],
    folder: Path,
    episodes: int = 100,
    engine: str = "local",
    jobs: int = 1,
    words: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Train the finished code, and the code with each mistake alone, once per seed, and write everything down.

    Each run leaves NAME/seed-N.json in `folder`; one that is there already is not made again.

    Args:
        env: the environment.
        config: the options of all runs but their seed.
        bugs: names of the zoo; the finished code always comes first.
        seeds: one run of each.
        folder: where the data go.
        episodes: of the final evaluation.
        engine, jobs: where the runs are made, and how many side by side; as for `measure`.
        words: the command that each file names, after `wm-tutorial`; that of this process if None.

    Returns:
        The summary, also written to summary.json, and drawn in figure.png and figure.svg.

    Raises:
        InputError: before anything is trained, for a name that is not in the zoo, a mistake that does nothing with
            these options, episodes too short to predict 15 steps of, or a `folder` with results of something else.
        JobsFailed: after everything else is measured, if runs failed that had a process of their own.
    """
    folder, seeds, episodes = path_of(folder), whole_numbers("seeds", seeds), whole_number("episodes", episodes, 1)
    names = list(dict.fromkeys([NONE, *bugs]))
    for name in names[1:]:
        check_bug(name, config)
    jobs = check_engine(engine, jobs)
    check_learns(config)
    check_found(found_in(folder), env, config, episodes)
    if any(not (folder / name / f"seed-{seed}.json").exists() for name in names for seed in seeds):
        check_episodes(env, config)
    make_folder(folder)
    paths = {f"{name}, seed {n}": folder / name / f"seed-{n}.json" for n in seeds for name in names}
    runs = [
        Job(told, partial(one_run, env, dataclasses.replace(config, seed=seed), name, episodes, registered(env)))
        for seed in seeds
        for name in names
        if not paths[told := f"{name}, seed {seed}"].exists()
    ]
    failures = all_of(runs, lambda job, record: write_record(paths[job.name], record, words), engine, jobs)
    there = list(folder.glob(f"{NONE}/seed-*.json"))
    summary = summarise(folder) if there or not failures else {}
    raise_failures(failures, str(folder))
    return summary


def missing_options(name: str, config: Config) -> dict[str, Any]:
    """The options without which a mistake does nothing, as far as `config` has others; of numbers, 0 or not counts."""

    def kind(value: Any) -> Any:
        return bool(value) if isinstance(value, int | float) else value

    bug = zoo.BUGS[name]
    of_learning_to_act = bug.breaks.startswith(LEARNING_TO_ACT)
    needs = {**bug.needs, **({"behaviour": "actor-critic"} if of_learning_to_act else {})}
    return {option: value for option, value in needs.items() if kind(getattr(config, option, None)) != kind(value)}


def usable_bugs(config: Config) -> list[str]:
    """Every mistake that makes a difference with these options."""
    return [name for name, bug in zoo.BUGS.items() if not (bug.of_the_ancestor or missing_options(name, config))]


def check_bug(name: str, config: Config) -> None:
    """Raise InputError unless there is such a mistake, and it makes a difference with these options."""
    if name not in zoo.BUGS:
        raise InputError(f"There is no bug {name!r} in the zoo; there are {', '.join(zoo.BUGS)}.")
    if zoo.BUGS[name].of_the_ancestor:
        raise InputError(
            f"The bug {name!r} is one of World Models 2018, which is not trained here. Let it out around that: "
            f"with zoo.bug({name!r}): train_in_stages(...)."
        )
    if needed := missing_options(name, config):
        options = ", ".join(f"{option}={value!r}" for option, value in needed.items())
        raise InputError(f"The bug {name!r} does nothing with these options; it needs {options}.")


def found_in(folder: Path) -> list[Path]:
    """The files of all runs in `folder`.

    Raises:
        InputError: if one cannot be read, or is not of the mistake whose name its folder has.
    """
    paths = sorted(folder.glob("*/seed-*.json"))
    for path in paths:
        if (name := read_record(path).get("bug")) != path.parent.name or name not in (NONE, *zoo.BUGS):
            raise InputError(f"{path} is of the mistake {name!r}; its folder must have that name, and the zoo know it.")
    return paths


def check_episodes(env: EnvSource, config: Config) -> None:
    """Raise EpisodesTooShort if those of random actions, which are the same for every agent, cannot be predicted."""
    trainer = Trainer(env, config)
    try:
        open_loop_errors(trainer.agent, env, episodes=100, horizon=HORIZON)
    finally:
        trainer.environments.close()


def one_run(env: EnvSource, config: Config, name: str, episodes: int, known: Any = None) -> dict[str, Any]:
    """Train with one mistake, or none, and measure the agent; the mistake stays out for all of it.

    known: what Gymnasium knows of the id `env`, for a process in which it was not registered.
    """
    register(known)
    with zoo.bug(name) if name != NONE else nullcontext():
        record, run = train_and_record(env, config, episodes)
        with run:
            errors = open_loop_errors(run.agent, env, episodes=100, horizon=HORIZON)
            apart = kl_both_ways(run.agent, env)
            diagnosis = run.doctor()
    logged = [r for r in run.records if r["kind"] == "train"]
    losses = [[r["step"], {key: float(f"{value:.5g}") for key, value in r["losses"].items()}] for r in logged]
    return {
        "bug": name,
        **record,
        "losses": losses,
        "open_loop_errors": dataclasses.asdict(errors),
        "divergences": dataclasses.asdict(apart),
        "findings": [[f.name, f.part, f.hint, f.seen] for f in diagnosis.findings],
        "missed": list(diagnosis.missed),
    }


def summarise(folder: Path) -> dict[str, Any]:
    """Put all runs found in `folder` into one table and figure.

    Raises:
        InputError: if there are none of the finished code, with which all others are compared.
    """
    found = [read_record(path) for path in found_in(folder)]
    if all(record["bug"] != NONE for record in found):
        raise InputError(f"There are no runs of the finished code in {folder}; measure at least one seed first.")
    summary = summary_of(found)
    checkpoint.write_text(folder / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    draw(figures.mistakes(summary), folder / "figure")
    return summary


def draw(figure: figures.Plot, path: Path) -> None:
    """As `path`.png for Markdown, and as `path`.svg for pages, light and dark."""
    checkpoint.write_text(path.with_suffix(".svg"), figures.to_svg(figure) + "\n")
    figures.save(figure, path.with_suffix(".png"))


def summary_of(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The records of runs, the finished code's among them, in one summary: that comes first, the others as in the zoo.

    Of each run: the mean of the world model's weighted losses over the last fifth of it, the open-loop error after
    1 and 15 steps, and the mean return of the final evaluation.
    """
    names = sorted({record["bug"] for record in found}, key=[NONE, *zoo.BUGS].index)
    rows = {name: [outcome(record) for record in found if record["bug"] == name] for name in names}
    sound = [record for record in found if record["bug"] == NONE]  # a mistake may change what is observed, too
    return {
        "environment": found[0]["environment"],
        "preset": found[0]["config"]["preset"],
        "size": found[0]["config"]["size"],
        "steps": found[0]["config"]["steps"],
        "seeds": {name: [r["config"]["seed"] for r in found if r["bug"] == name] for name in names},
        "persistence": {
            f"error_{step}": round(float(np.mean([r["open_loop_errors"]["persistence"][step - 1] for r in sound])), 4)
            for step in (1, HORIZON)
        },
        "bugs": {
            name: {
                key: {
                    "mean": round(float(np.mean(values)), 4),
                    "interval": [round(bound, 4) for bound in bootstrap_interval(values)],
                    "seeds": values,
                }
                for key in outcomes[0]
                if (values := [run[key] for run in outcomes])
            }
            for name, outcomes in rows.items()
        },
    }


def outcome(record: dict[str, Any]) -> dict[str, float]:
    """The four numbers of a run."""
    config, errors = record["config"], record["open_loop_errors"]
    scales = {name: config[f"{name}_scale"] for name in MODEL_LOSSES}
    late = [losses for step, losses in record["losses"] if step > 0.8 * config["steps"]]
    loss = float(np.mean([sum(scales[name] * losses[name] for name in MODEL_LOSSES) for losses in late]))
    return {
        "loss": round(loss, 4),
        "error_1": round(errors["obs"][0], 4),
        f"error_{HORIZON}": round(errors["obs"][-1], 4),
        "reward_error": round(float(np.sqrt(np.mean(np.square(errors["reward"])))), 4),
        "return": round(float(np.mean(record["final_returns"])), 2),
    }


def as_table(summary: dict[str, Any]) -> str:
    """The summary as a Markdown table of means over seeds."""
    titles = {
        "loss": "model loss", "error_1": "1-step error", f"error_{HORIZON}": f"{HORIZON}-step error",
        "reward_error": "reward error", "return": "return",
    }  # fmt: skip
    lines = ["| mistake | " + " | ".join(titles.values()) + " |", "|---" * (len(titles) + 1) + "|"]
    for name, row in summary["bugs"].items():
        low, high = row["return"]["interval"]
        numbers = [f"{row[key]['mean']:.3g}" for key in titles if key != "return"]
        lines.append(f"| {name} | {' | '.join(numbers)} | {row['return']['mean']:.1f} ({low:.1f} to {high:.1f}) |")
    return "\n".join(lines)
