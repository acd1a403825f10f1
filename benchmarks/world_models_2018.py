"""The two experiments of World Models 2018, at the size of a laptop: what memory is worth, and a dream that is cheated.

For each seed V and M learn once from random play on wm_tutorial/Rockfall-v0; then one C after another is evolved:

    z            in reality, from z alone
    z-h          in reality, from z and h
    z-h-unborn   in reality, from z and the h of an M that was never trained
    dream-TAU    in the dream alone, at each of six temperatures

Each C then plays 100 new episodes in reality on samples of z, on which it was evolved, and as many on V's means; those
of the dream play 100 in their own dream, too. A seed takes five to ten minutes of one core. What is there already is
not measured again: to measure anew, remove its file.

    python benchmarks/world_models_2018.py                  # the five seeds, then the table
    python benchmarks/world_models_2018.py --seeds 1101     # one of them
    python benchmarks/world_models_2018.py --seeds          # only the table

The raw data and the table are in book/results/world-models-2018; what a seed leaves behind on its way, and goes on from
when it is stopped, is in build/world-models-2018.
"""

import dataclasses
import json
import shutil
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from wm_tutorial import worlds
from wm_tutorial.checkpoint import write_text
from wm_tutorial.evaluation import evaluate
from wm_tutorial.randomness import isolated_random
from wm_tutorial.runs.statistics import bootstrap_interval
from wm_tutorial.world_models_2018 import Settings, Stages, make_settings, play

ROOT = Path(__file__).parent.parent
RESULTS, ON_THE_WAY = ROOT / "book" / "results" / "world-models-2018", ROOT / "build" / "world-models-2018"
ENV = "wm_tutorial/Rockfall-v0"
SEEDS = (1100, 1101, 1102, 1103, 1104)  # never used to choose the settings
TEMPERATURES = (0.1, 0.5, 1.0, 1.15, 1.3, 2.0)  # the five of the paper, and one more
EPISODES = 100
DREAMT = 6  # seed of the dreams that judge

# What differs from the settings of the seed, by the name of the experiment.
CONTROL: dict[str, dict[str, Any]] = {
    "z": {"plays_in": "reality", "sees": "z"},
    "z-h": {"plays_in": "reality"},
    "z-h-unborn": {"plays_in": "reality", "memory_updates": 0},
}
DREAMS: dict[str, dict[str, Any]] = {f"dream-{tau:g}": {"temperature": tau} for tau in TEMPERATURES}
EXPERIMENTS = CONTROL | DREAMS
REAL = {"returns": False, "returns_on_means": True}  # of an experiment, in the game: whether V's means were shown
WORDS = {
    "z": "in reality, z alone",
    "z-h": "in reality, z and h",
    "z-h-unborn": "in reality, z and the h of an untrained M",
}


@dataclass(frozen=True)
class Recipe:
    """What is measured.

    seeds     one run of everything each
    results   where the data goes
    way       where V, M and C are kept on the way
    episodes  that judge each C
    settings  other ones than the committed results have, for a try: name=value
    """

    seeds: tuple[int, ...] = SEEDS
    results: Path = RESULTS
    way: Path = ON_THE_WAY
    episodes: int = EPISODES
    settings: dict[str, int] = field(default_factory=dict)


def measure(recipe: Recipe, seed: int) -> None:
    """Everything of one seed that is missing, each result written as soon as it is there."""
    path = recipe.results / f"run-{seed}.json"
    record = json.loads(path.read_text()) if path.exists() else {"seed": seed, "experiments": {}}
    settings = make_settings(**recipe.settings, seed=seed)
    record |= {"environment": ENV, "settings": dataclasses.asdict(settings)}
    record |= {"wm_tutorial": version("wm_tutorial"), "torch": torch.__version__, "cma": version("cma")}
    command = ["python", "benchmarks/world_models_2018.py", "--seeds", str(seed)]
    if recipe.settings:
        command += ["--settings", *(f"{word}" for pair in recipe.settings.items() for word in pair)]
    record["command"] = " ".join(command)
    started = time.process_time()
    learned = recipe.way / f"seed-{seed}" / "learned"
    Stages(ENV, settings, learned, lambda line: print(f"seed {seed}, {line}", flush=True)).run(
        ("experience", "vision", "memory")
    )
    record.setdefault("cpu_seconds", round(time.process_time() - started, 1))
    for name, changes in EXPERIMENTS.items():
        if name not in record["experiments"]:
            record["experiments"][name] = judged(recipe, dataclasses.replace(settings, **changes), learned, name)
            write_text(path, json.dumps(record, indent=2, allow_nan=False) + "\n")


def judged(recipe: Recipe, settings: Settings, learned: Path, name: str) -> dict[str, Any]:
    """Evolve one C, and let it play."""
    folder, started = learned.parent / name, time.process_time()
    folder.mkdir(exist_ok=True)
    for stage in ("experience", "vision", *(["memory"] if settings.memory_updates else [])):
        if not (folder / f"{stage}.pt").exists():
            shutil.copy(learned / f"{stage}.pt", folder)
    stages = Stages(ENV, settings, folder, lambda line: print(f"  {name}, {line}", flush=True))
    agent = stages.run(("memory", "controller")).eval()
    result: dict[str, Any] = {
        which: evaluate(agent, ENV, recipe.episodes, settings.seed, greedy).returns for which, greedy in REAL.items()
    }
    if settings.plays_in == "dream":
        weights = agent.controller.weight.expand(recipe.episodes, -1, -1)
        with isolated_random("cpu", DREAMT), torch.no_grad():
            dreamt = play(stages.dream(), weights, settings.sees, agent.controller.kind, settings.limit, DREAMT)
        result["dreamt"] = [round(score, 3) for score in dreamt.tolist()]
    real = float(np.mean(result["returns"]))
    dreamt_of = f", {np.mean(result['dreamt']):.1f} dreamt" if "dreamt" in result else ""
    print(f"  {name}: {real:.1f} in reality{dreamt_of}", flush=True)
    shutil.rmtree(folder)
    return {**result, "cpu_seconds": round(time.process_time() - started, 1)}


def found(results: Path) -> list[dict[str, Any]]:
    """What was measured, one record a seed."""
    return [json.loads(path.read_text()) for path in sorted(results.glob("run-*.json"))]


def means(records: list[dict[str, Any]], name: str, which: str) -> list[float]:
    """The mean score of each seed that has this experiment."""
    return [float(np.mean(r["experiments"][name][which])) for r in records if name in r["experiments"]]


def cell(values: list[float]) -> str:
    """The mean over seeds with its interval, or that there is none."""
    if not values:
        return "not measured yet"
    low, high = bootstrap_interval(values)
    return f"**{np.mean(values):.1f}**<br>{low:.1f} to {high:.1f}"


def table(records: list[dict[str, Any]]) -> str:
    """The page of the results, in Markdown."""
    random = worlds.policy_survival(np.full((9, 8, 8, 3), 1 / 3))
    half = (random + 100.0) / 2.0
    columns = {name: " | ".join(cell(means(records, name, which)) for which in REAL) for name in EXPERIMENTS}
    rows = [f"| {WORDS[name]} | {columns[name]} |" for name in CONTROL]
    sweep = [
        f"| {tau:g} | {cell(means(records, name, 'dreamt'))} | {columns[name]} |"
        for tau, name in zip(TEMPERATURES, DREAMS, strict=True)
    ]
    return PAGE.format(
        random=random, memoryless=worlds.memoryless_survival(), half=half, seeds=len(records),
        control="\n".join(rows), dreams="\n".join(sweep),
    )  # fmt: skip


PAGE = """\
# World Models 2018 on Rockfall

Written by `python benchmarks/world_models_2018.py`, with its settings and raw data in the files beside this page.
Returns are steps survived, of 100: random play survives {random:.1f}, no player who acts on the latest picture alone
and makes no chance moves more than {memoryless:.1f}, the best player all 100. Half-way is {half:.1f}.
Each number is the mean, over the seeds measured so far ({seeds} of 5), of the mean of 100 episodes; below it a 95 %
bootstrap interval of that mean, which says nothing where there is one seed. C is evolved on samples of V's z, and plays
on samples; the last column shows it V's means instead.

## What memory is worth

| C is evolved | steps in reality | on V's means |
|---|---|---|
{control}

## Learned in the dream alone

| temperature | steps in the dream it learned in | steps in reality | on V's means |
|---|---|---|---|
{dreams}
"""


def main(recipe: Recipe) -> None:
    """Measure what is missing, and write the table."""
    for seed in recipe.seeds:
        measure(recipe, seed)
    write_text(recipe.results / "README.md", table(found(recipe.results)))


if __name__ == "__main__":
    main(tyro.cli(Recipe, description=__doc__))
