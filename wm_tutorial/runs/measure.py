"""Learning results that can be checked: several seeds, raw data, an interval, and the command that made them."""

import dataclasses
import json
import sys
import time
from collections.abc import Iterable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gymnasium as gym
import numpy as np

from wm_tutorial import checkpoint, figures
from wm_tutorial.config import Config, from_plain, plain
from wm_tutorial.envs import EnvSource
from wm_tutorial.errors import InputError, command
from wm_tutorial.runs.asked import check_learns, path_of, tell, whole_number, whole_numbers
from wm_tutorial.runs.engines import PACKAGES, called_engine
from wm_tutorial.runs.folder import make_folder
from wm_tutorial.runs.jobs import Job, all_of, check_engine, raise_failures
from wm_tutorial.runs.named import called
from wm_tutorial.runs.run import Run, closed_after_an_error, train
from wm_tutorial.runs.statistics import bootstrap_interval
from wm_tutorial.vector import VectorSource

RECORDED = ("environment", "seconds", "evaluations", "final_returns")
UNTOLD = ("seed", "checkpoint_every")  # options in which the runs of one result may differ


def measure(
    env: EnvSource,
    config: Config,
    seeds: Iterable[int],
    folder: Path,
    episodes: int = 100,
    engine: str = "local",
    jobs: int = 1,
    vector: VectorSource | None = None,
) -> dict[str, Any]:
    """Train once per seed, evaluate each agent on `episodes` new episodes, and write everything down.

    Each seed leaves seed-N.json in `folder`, and its agent in seed-N.safetensors; a seed that has been measured is not
    trained again, so that seeds can be added later or trained side by side. The summary covers all seeds found there.

    Args:
        env: the environment.
        config: all options but the seed.
        seeds: one run each.
        folder: where the data go.
        episodes: of the final evaluation of each seed.
        engine: where the seeds are trained, "local" or "ray"; `runs.jobs` says more.
        jobs: how many are trained side by side. With one local job, which is the usual way, they are trained in this
            process, and the first that fails ends it all; otherwise each has a process of its own and one thread, and
            those that fail are told at the end. The numbers are the same either way.
        vector: what steps the environments, as for `train`; its name then stands in each record.

    Returns:
        The summary, also written to summary.json, with the curves drawn in curves.png if each has two evaluations.

    Raises:
        InputError: before anything is trained, for what cannot be used, or if `folder` holds results of something else.
        JobsFailed: after everything else is measured and summarised, if seeds failed that had a process of their own.
    """
    folder, seeds, episodes = path_of(folder), whole_numbers("seeds", seeds), whole_number("episodes", episodes, 1)
    jobs = check_engine(engine, jobs)
    check_learns(config)
    check_found(list(folder.glob("seed-*.json")), env, config, episodes, vector)
    if not 0 < config.eval_every < config.steps:
        tell("There will be a table, but no curves: they need two evaluations of each seed; lower eval_every for them.")
    make_folder(folder)
    missing = {f"seed {n}": n for n in seeds if not (folder / f"seed-{n}.json").exists()}

    def keep(job: Job, measured: tuple[dict[str, Any], bytes]) -> None:
        record, agent = measured
        path = folder / f"seed-{missing[job.name]}.json"
        with checkpoint.atomic(path.with_suffix(".safetensors")) as file:
            file.write(agent)
        write_record(path, record)

    runs = [
        Job(name, partial(one_seed, env, dataclasses.replace(config, seed=seed), episodes, registered(env), vector))
        for name, seed in missing.items()
    ]
    failures = all_of(runs, keep, engine, jobs)
    summary = summarise(folder) if list(folder.glob("seed-*.json")) or not failures else {}
    raise_failures(failures, str(folder))
    return summary


def registered(env: EnvSource) -> Any:
    """What Gymnasium knows of an id in this process, and perhaps not in the one that trains."""
    return gym.registry.get(env) if isinstance(env, str) else None


def register(known: Any) -> None:
    """Make known to Gymnasium here what `registered` has told elsewhere."""
    if known is not None:
        gym.registry.setdefault(known.id, known)


def one_seed(
    env: EnvSource, config: Config, episodes: int, known: Any, vector: VectorSource | None
) -> tuple[dict[str, Any], bytes]:
    """Train and evaluate one seed, anywhere; returns its record and the file of its agent."""
    register(known)
    record, run = train_and_record(env, config, episodes, vector)
    with run, TemporaryDirectory() as folder:
        return record, run.agent.save(Path(folder) / "agent.safetensors").read_bytes()


def write_record(path: Path, record: dict[str, Any], words: Iterable[str] | None = None) -> None:
    """Write what was measured of one run, and its command: the `words`, or those that this process was started with."""
    told = command(*(sys.argv[1:] if words is None else words))
    checkpoint.write_text(path, json.dumps(record | {"command": told}, allow_nan=False) + "\n")


def read_record(path: Path) -> dict[str, Any]:
    """What was measured of one seed.

    Raises:
        InputError: if the file is damaged, or is something else.
    """
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        seed = from_plain(record["config"]).seed
        if missing := [key for key in RECORDED if not record[key]]:
            raise ValueError(f"{missing[0]} is empty")
        if path.stem != f"seed-{seed}":
            raise ValueError(f"it is of seed {seed}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read as a result ({type(error).__name__}: {error}). Remove it, and that seed is "
            "measured again."
        ) from error
    return record


def check_found(
    paths: list[Path], env: EnvSource, config: Config, episodes: int, vector: VectorSource | None = None
) -> None:
    """Raise InputError if one of these files was made with another environment, engine, options or episodes."""
    asked = {"environment": called(env), "episodes": episodes, **plain(config)} if paths else {}
    asked["vector"] = called_engine(vector)
    for path in paths:
        record = read_record(path)
        options = plain(from_plain(record["config"]))
        held = {"environment": record["environment"], "episodes": len(record["final_returns"]), **options}
        held["vector"] = record.get("vector")
        if isinstance(env, str) and record.get("id"):  # the name leaves the namespace out; older results have no id
            asked["environment"], held["environment"] = env, record["id"]
        if different := [key for key in asked if held[key] != asked[key] and key not in UNTOLD]:
            there, here = (", ".join(f"{key} {told[key]!r}" for key in different) for told in (held, asked))
            raise InputError(f"{path} was measured with {there}; asked for is {here}. Choose another folder (--out).")


def train_and_record(
    env: EnvSource, config: Config, episodes: int, vector: VectorSource | None = None
) -> tuple[dict[str, Any], Run]:
    """Train once, and say all that a reader needs to check or repeat it; `episodes` are those of the evaluation."""
    wall, cpu = time.perf_counter(), time.process_time()
    run = train(env, draw=False, vector=vector, **dataclasses.asdict(config))
    seconds = {"wall": round(time.perf_counter() - wall, 1), "cpu": round(time.process_time() - cpu, 1)}
    tell(f"Evaluating {episodes} new episodes.")
    cpu = time.process_time()
    with closed_after_an_error(run.trainer):
        final = run.evaluate(episodes)
    seconds["action"] = round((time.process_time() - cpu) / sum(final.lengths), 6)  # many environments side by side
    engine = called_engine(vector)
    packages = ["wm_tutorial", "torch", "gymnasium", "numpy", *([PACKAGES[engine]] if engine in PACKAGES else [])]
    record = {
        "environment": run.trainer.environment_name,
        "id": env if isinstance(env, str) else None,
        **({} if engine is None else {"vector": engine}),
        "command": command(*sys.argv[1:]),
        "versions": {name: version(name) for name in packages},
        "config": plain(config),
        "seconds": seconds,
        "episodes": [[r["step"], r["return"]] for r in run.records if r["kind"] == "episode"],
        "evaluations": [[r["step"], r["mean"]] for r in run.records if r["kind"] == "evaluation"],
        "imagined_returns": imagined_returns(run.records),
        "final_returns": final.returns,
    }
    return record, run


def imagined_returns(records: list[dict[str, Any]]) -> list[list[float]]:
    """Step and mean imagined return of every line of losses: what the agent believed while it learned.

    Above the largest reward divided by 1 - gamma it believes more than any world pays.
    """
    lines = [(r["step"], r["losses"]) for r in records if r["kind"] == "train"]
    return [[step, round(losses["imagined return"], 1)] for step, losses in lines if "imagined return" in losses]


def summarise(folder: Path) -> dict[str, Any]:
    """Put the seeds found in `folder` into one table, figure and interval; a curve needs two evaluations.

    Raises:
        InputError: if there are none, or one cannot be read.
    """
    records = {r["config"]["seed"]: r for r in map(read_record, folder.glob("seed-*.json"))}
    if not records:
        raise InputError(f"There are no results in {folder}; measure at least one seed first.")
    records = dict(sorted(records.items()))
    means = [float(np.mean(record["final_returns"])) for record in records.values()]
    low, high = bootstrap_interval(means)
    summary = {
        "environment": next(iter(records.values()))["environment"],
        "preset": next(iter(records.values()))["config"]["preset"],
        "steps": next(iter(records.values()))["config"]["steps"],
        "mean": float(np.mean(means)),
        "interval": [low, high],
        "seeds": {
            str(seed): {
                "final": round(mean, 1),
                "best_on_the_way": round(max(value for _, value in record["evaluations"]), 1),
                "last_on_the_way": round(record["evaluations"][-1][1], 1),
                "minutes": round(record["seconds"]["wall"] / 60, 1),
                "cpu_minutes": round(record["seconds"]["cpu"] / 60, 1),
            }
            for (seed, record), mean in zip(records.items(), means, strict=True)
        },
    }
    checkpoint.write_text(folder / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    curves = {}
    for seed, record in records.items():
        steps, returns = zip(*record["evaluations"], strict=True)
        curves[seed] = (steps, returns)
    if min(len(steps) for steps, _ in curves.values()) > 1:
        figures.save(figures.seed_curves(curves), folder / "curves.png")
    return summary


def as_table(summary: dict[str, Any]) -> str:
    """The summary as a Markdown table."""
    rows = [
        "| seed | final return | best evaluation | last evaluation | minutes | CPU minutes |",
        "|---|---|---|---|---|---|",
        *(
            f"| {seed} | {s['final']} | {s['best_on_the_way']} | {s['last_on_the_way']} | {s['minutes']} "
            f"| {s['cpu_minutes']} |"
            for seed, s in summary["seeds"].items()
        ),
    ]
    low, high = summary["interval"]
    rows.append(f"| **mean** | **{summary['mean']:.1f}** (95 % interval {low:.1f} to {high:.1f}) | | | | |")
    return "\n".join(rows)
