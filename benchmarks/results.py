"""The committed learning results, all with one command: `make results`.

Each experiment trains on five seeds that were never used to choose its options, and leaves its raw data, curves and
summary in a folder below book/results. Seeds that are there already are not trained again: to measure an experiment
anew, remove its folder. The table of all of them is book/results/README.md, and stands in the README, too.

    python benchmarks/results.py                     # everything that is missing, then the table
    python benchmarks/results.py cartpole --jobs 2   # one experiment, two seeds at a time
    python benchmarks/results.py --jobs 0            # only the table
"""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from wm_tutorial.config import from_plain, make_config, plain
from wm_tutorial.runs.measure import summarise
from wm_tutorial.runs.normal import MEASURED, learning
from wm_tutorial.runs.statistics import bootstrap_interval

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "book" / "results"
README = ROOT / "README.md"
BLOCK = re.compile(r"(<!-- make results writes this -->\n).*?(\n<!-- to here -->)", re.DOTALL)
SEEDS = (100, 101, 102, 103, 104)
# Fresh ones wherever options were changed because of what earlier ones had shown.
NEW = (200, 201, 202, 203, 204)
NEWER = (500, 501, 502, 503, 504)
NEWEST = (800, 801, 802, 803, 804)
OF_MEMORY = (900, 901, 902, 903, 904)
FROZEN = (1100, 1101, 1102, 1103, 1104)
TEN = tuple(range(1100, 1110))
MATCHED = (1200, 1201, 1202, 1203, 1204)
OF_PRESETS = (1400, 1401, 1402, 1403, 1404)
OF_PLANS = (1300, 1301, 1302, 1303, 1304)
OF_ENGINES = (1500, 1501, 1502, 1503, 1504)
OF_CHAPTER_19 = (11, 12, 13, 14, 15)


@dataclass(frozen=True)
class Experiment:
    """One row of the table.

    env      Gymnasium id
    options  of `wm-tutorial measure`
    target   what it must show
    seeds    fresh ones
    venv     the virtual environment that has its engine, from `make engines`; of whoever asks, if empty
    """

    env: str
    options: str
    target: str
    seeds: tuple[int, ...] = SEEDS
    venv: str = ""

    def command(self, name: str, seeds: tuple[int, ...]) -> list[str]:
        """The words of the command that measures `seeds`."""
        out = f"book/results/{name}"
        return ["wm-tutorial", "measure", self.env, "--out", out, "--seeds", *map(str, seeds), *self.options.split()]


NANO = "--preset dreamer_v3 --size nano"
V3 = f"{NANO} --eval-episodes 100"
POSITION_ONLY = "wm_tutorial/PositionOnlyCartPole-v0"
CATCH = "wm_tutorial/CatchInTheDark-v0"
# What nano was before its critic learned three times as fast, from twice the latents; and before that, when its model
# did not know what ends an episode. The results of then are in history.
SLOW = f"{V3} --critic-lr 0.001"
SMALL = "--latent-size 16"
PACE = "--prefill 1000 --updates-per-step 0.25"
BEFORE = "--free-nats 1 --world-model-lr 0.001 --decoder-scale 10 --continue-scale 1"
BLUNT = f"{SLOW} {BEFORE}"
INSIDE = f"{BLUNT} --discount-in-continue True"
BESIDE = BLUNT
SHARP = f"{SLOW} --free-nats 1"
EXPERIMENTS: dict[str, Experiment] = {
    "cartpole-guide": Experiment("CartPole-v1", "--eval-episodes 100", "500"),
    "cartpole-v3-5k": Experiment("CartPole-v1", f"{V3} --steps 5000", "475 in 5,000, each seed", FROZEN),
    "cartpole-v3-20k": Experiment("CartPole-v1", f"{V3} --steps 20000", "475 still at 20,000", TEN),
    "position-only-v3": Experiment(POSITION_ONLY, f"{V3} --steps 15000", "450 in 15,000, each seed", FROZEN),
    "position-only-guide": Experiment(POSITION_ONLY, "--steps 20000", "below 200"),
    "position-only-memory": Experiment(POSITION_ONLY, "--steps 20000 --memory rssm", "450 in 20,000", OF_MEMORY),
    "pendulum-v3": Experiment("Pendulum-v1", f"{V3} --steps 10000", "-160 in 10,000", FROZEN),
    "acrobot-v3": Experiment("Acrobot-v1", f"{V3} --steps 30000", "-85 in 30,000", FROZEN),
    "catch-in-the-dark-v3": Experiment(CATCH, f"{V3} --steps 25000", "9 of 10", FROZEN),
    # The paper's own settings, LaProp and all, in a size for a laptop: what is cut is the memory (128 of 512), the
    # batch (8 x 32 of 16 x 64) and the run.
    "cartpole-v3-paper": Experiment(
        "CartPole-v1",
        "--preset dreamer_v3 --size size1m --eval-episodes 100 --memory-size 128 --batch-size 8 --sequence-length 32 "
        "--capacity 100000 --steps 12000",
        "none: batch 8 x 32, an update a step",
        OF_PRESETS,
    ),
    "cartpole-v2": Experiment(
        "CartPole-v1", "--preset dreamer_v2 --size nano --eval-episodes 100 --steps 15000", "none", OF_PRESETS
    ),
    "pendulum-v1": Experiment(
        "Pendulum-v1", "--preset dreamer_v1 --size nano --eval-episodes 100 --steps 15000", "none", OF_PRESETS
    ),
    # The agent of chapter 19; options as there.
    "lighthouse-guide": Experiment(
        "wm_tutorial/Lighthouse-v0",
        "--steps 3000 --eval-every 500 --prefill 500 --updates-per-step 0.3 --sequence-length 16 "
        "--imagined-starts 128 --horizon 10 --discount 0.97 --world-model-lr 0.003 --actor-lr 0.001 --critic-lr 0.001 "
        "--decoder-scale 100 --free-nats 0 --continue-scale 10 --entropy-scale 0.03",
        "56.25 in 3,000, each seed",
        OF_CHAPTER_19,
    ),
}
# What earlier options reached, on CartPole first: gamma inside the continue head, as in the reference; beside it; a
# model that learns faster and looks closer ("sharp"); then half the latents and no free nats.
HISTORY: dict[str, Experiment] = {
    "history/cartpole-inside-10k": Experiment("CartPole-v1", f"{INSIDE} {PACE} --steps 10000", "475 in 10,000"),
    "history/cartpole-inside-20k": Experiment("CartPole-v1", f"{INSIDE} {PACE} --steps 20000", "475 still at 20,000"),
    "history/cartpole-beside-10k": Experiment("CartPole-v1", f"{BESIDE} {PACE} --steps 10000", "475 in 10,000", NEW),
    "history/cartpole-beside-20k": Experiment(
        "CartPole-v1", f"{BESIDE} {PACE} --steps 20000", "475 still at 20,000", NEW
    ),
    "history/cartpole-sharp-10k": Experiment("CartPole-v1", f"{SHARP} {PACE} --steps 10000", "475 in 10,000", NEWER),
    "history/cartpole-sharp-20k": Experiment(
        "CartPole-v1", f"{SHARP} {PACE} --steps 20000", "475 still at 20,000", NEWER
    ),
    "history/cartpole-v3-10k": Experiment(
        "CartPole-v1", f"{SLOW} {SMALL} {PACE} --steps 10000", "475 in 10,000", NEWEST
    ),
    "history/cartpole-v3-20k": Experiment(
        "CartPole-v1", f"{SLOW} {SMALL} {PACE} --steps 20000", "475 still at 20,000", NEWEST
    ),
    "history/position-only-v3": Experiment(
        POSITION_ONLY, f"{SLOW} {SMALL} {PACE} --steps 20000", "450 in 30,000", NEWEST
    ),
    "history/acrobot-v3": Experiment(
        "Acrobot-v1", f"{INSIDE} --prefill 1000 --updates-per-step 0.1 --steps 50000", "-90 in 50,000"
    ),
    "history/catch-in-the-dark-v3": Experiment(
        CATCH,
        # A ball takes 8 steps, and nothing further away matters: values of one ball, not of a hundred. Chance catches
        # few balls near the walls, and a policy that has never seen it done stays away: so more chance.
        f"{BLUNT} --steps 25000 --prefill 5000 --policy-unimix 0.1 --entropy-scale 0.03 --discount 0.95 "
        "--discount-in-continue False --latent-size 8 --horizon 10 --updates-per-step 0.5",
        "9 of 10",
        NEW,
    ),
    "history/pendulum-v3": Experiment("Pendulum-v1", f"{SLOW} {SMALL} {PACE} --steps 15000", "-200 in 20,000", NEWEST),
}
# One set of options and the same five seeds for rewards of any size; what each name ends with multiplies them. At 1 it
# is CartPole itself, a row of the first table.
USUAL = "cartpole-v3-5k"
REWARDS: dict[str, Experiment] = {
    f"cartpole-rewards-{times}": Experiment(
        f"wm_tutorial/PaidCartPole-{times}-v0", EXPERIMENTS[USUAL].options, "as at 1", EXPERIMENTS[USUAL].seeds
    )
    for times in ("1e-3", "1e3", "1e6")
}
# Nano on CartPole, with one part taken out at a time, on the seeds of the whole one, which stands first. Many
# evaluations on the way: at the end most agents of CartPole stand at the ceiling.
SHORT = "--steps 5000 --eval-every 500"
CHAPTER_11 = "--preset guide --memory rssm --latent categorical --heads two-hot"
TAKEN_OUT = {
    "none": ("", "nothing"),
    "replay-critic": ("--replay-critic-scale 0", "the critic's loss on real sequences"),
    "return-range": ("--return-normalization False", "the range of returns"),
    "two-hot": ("--heads squared-error", "two-hot heads: squared errors"),
    "categorical": ("--latent gaussian", "categorical latents: Gaussian ones"),
    "memory": ("--memory feed-forward", "the memory"),
    "unimix": ("--unimix 0", "the share of chance in the latents"),
    "policy-chance": ("--policy-unimix 0", "the share of chance in the policy"),
    "slow-critic": ("--slow-critic-scale 0", "the pull of the slow critic"),
    "fresh-first": ("--fresh-sequences-first False", "new sequences first"),
    "decoder-weight": ("--decoder-scale 1", "the decoder's weight: 1, as in the reference"),
    "continue-weight": ("--continue-scale 1", "the continue head's weight: 1, as in the reference"),
    "falling-rates": ("--final-lr 1", "learning rates that fall"),
    "critic-rate": ("--critic-lr 0.001", "two thirds of the critic's learning rate"),
    "half-the-latents": ("--latent-size 16", "half of the latents"),
    "rms-norm": ("--norm layer", "RMS norm: layer norm"),
}
ABLATIONS: dict[str, Experiment] = {
    f"ablation-{name}": Experiment("CartPole-v1", f"{NANO} {SHORT} {options}".strip(), without, MATCHED)
    for name, (options, without) in TAKEN_OUT.items()
} | {
    "ablation-all-of-chapter-12": Experiment(
        "CartPole-v1", f"{CHAPTER_11} {SHORT}", "all that is not in chapters 09 to 11", MATCHED
    )
}
# Agents that plan, on Pendulum if the name says nothing else. The second has as many candidates for each action, and
# draws all of them by chance; the third plans in the model of DreamerV3's `nano`, whose policy stands in the first
# table. Evaluated at the end only: 50 planned episodes take as long as learning.
PLANET = "--preset planet --size nano --steps 10000 --eval-every 0 --eval-episodes 1 --episodes 50"
SHOOTING = "--candidates 256 --elites 1 --plan-iterations 1"
PLANNING: dict[str, Experiment] = {
    "planet-pendulum": Experiment("Pendulum-v1", PLANET, "-200 in 10,000", OF_PLANS),
    "planet-pendulum-shooting": Experiment("Pendulum-v1", f"{PLANET} {SHOOTING}", "how much worse", OF_PLANS),
    "planet-pendulum-v3": Experiment(
        "Pendulum-v1",
        f"{NANO} --behaviour planner --candidates 64 --elites 8 --plan-iterations 4 --steps 10000 --eval-every 0 "
        "--eval-episodes 1 --episodes 50",
        "beside its policy",
        OF_PLANS,
    ),
    "planet-cartpole": Experiment("CartPole-v1", PLANET, "475 in 10,000", OF_PLANS),
}
# The row cartpole-guide with its experience collected in another engine; nothing else differs but the seeds.
ENGINES: dict[str, Experiment] = {
    "cartpole-envpool": Experiment(
        "CartPole-v1", "--eval-episodes 100 --envs-in envpool", "as cartpole-guide", OF_ENGINES, ".venv-envpool"
    )
}
ALL = EXPERIMENTS | HISTORY | REWARDS | ABLATIONS | PLANNING | ENGINES
KEPT = {*EXPERIMENTS, *PLANNING, "history/catch-in-the-dark-v3"}  # results with an agent; the last plays on the site


def measure(name: str, jobs: int) -> None:
    """Train the seeds of an experiment that are missing, `jobs` at a time."""
    experiment = ALL[name]
    missing = [seed for seed in experiment.seeds if not (RESULTS / name / f"seed-{seed}.json").exists()]
    programs = ROOT / experiment.venv / "bin" if experiment.venv else Path(sys.executable).parent
    if missing and not programs.exists():
        print(f"{name}: not measured, since there is no {experiment.venv}; `make engines` makes it")
        return

    def train(seed: int) -> None:
        program, *words = experiment.command(name, (seed,))
        subprocess.run([programs / program, *words], cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
        print(f"{name}, seed {seed}: measured", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(train, missing))
    for seed in experiment.seeds[1 if name in KEPT else 0 :]:  # one agent is enough
        (RESULTS / name / f"seed-{seed}.safetensors").unlink(missing_ok=True)
    if missing:
        summarise(RESULTS / name)


def found(name: str) -> list[dict[str, Any]]:
    """What was measured of an experiment, one record a seed; empty if nothing was."""
    return [json.loads(path.read_text()) for path in sorted((RESULTS / name).glob("seed-*.json"))]


def row(name: str) -> str:
    """The line of the table for an experiment that was measured."""
    experiment = ALL[name]
    records = found(name)
    means = [float(np.mean(record["final_returns"])) for record in records]
    low, high = bootstrap_interval(means)
    minutes = np.mean([record["seconds"]["cpu"] / 60 for record in records])
    config = records[0]["config"]
    length = {name: config[name] for name in ("steps", "seed", "eval_episodes")}
    usual = make_config(config["preset"], config["size"], **length)
    agent = " ".join(part for part in (config["preset"], config["size"]) if part) + (
        "*" if from_plain(config) != usual else ""
    )
    world = experiment.env.removeprefix("wm_tutorial/")
    return (
        f"| [{name.removeprefix('history/')}]({name})<br>{world} | {agent} | {config['steps']:,} | "
        f"**{np.mean(means):.1f}**<br>{low:.1f} to {high:.1f} | {min(means):.1f} | {experiment.target} | "
        f"{len(means)} | {minutes:.1f} |"
    )


def times_of(name: str) -> str:
    """What the rewards of an experiment are multiplied with."""
    return "1" if name == USUAL else name.removeprefix("cartpole-rewards-")


def paid(name: str) -> dict[int, float]:
    """Seed -> mean return of an experiment of REWARDS, divided by what its rewards are multiplied with."""
    times = float(times_of(name))
    return {record["config"]["seed"]: float(np.mean(record["final_returns"])) / times for record in found(name)}


def paid_row(name: str) -> str:
    """The line of an experiment of REWARDS, also where it is not measured yet."""
    times, divided = times_of(name), paid(name)
    base = paid(USUAL) if name != USUAL else {}
    if not divided:
        return f"| {times} | not measured yet | | | 0 |"
    means = list(divided.values())
    low, high = bootstrap_interval(means)
    more = [mean - base[seed] for seed, mean in divided.items() if seed in base]
    beside = "{:+.1f}<br>{:+.1f} to {:+.1f}".format(np.mean(more), *bootstrap_interval(more)) if more else ""
    return (
        f"| [{times}]({name}) | **{np.mean(means):.1f}**<br>{low:.1f} to {high:.1f} | {min(means):.1f} | "
        f"{beside} | {len(means)} |"
    )


def planned_row(name: str) -> str:
    """The line of an experiment of PLANNING, also where it is not measured yet."""
    experiment, records = PLANNING[name], found(name)
    if not records:
        return f"| {name} | not measured yet | | {experiment.target} | | | 0 |"
    config = records[0]["config"]
    means = [float(np.mean(record["final_returns"])) for record in records]
    low, high = bootstrap_interval(means)
    search = " x ".join(str(config[option]) for option in ("candidates", "plan_iterations", "horizon"))
    milliseconds = 1000 * np.mean([record["seconds"]["action"] for record in records])
    minutes = np.mean([record["seconds"]["cpu"] / 60 for record in records])
    return (
        f"| [{name}]({name}) | **{np.mean(means):.1f}**<br>{low:.1f} to {high:.1f} | {min(means):.1f} | "
        f"{experiment.target} | {search}, {config['elites']} | {milliseconds:.1f} | {len(means)}, {minutes:.1f} |"
    )


def seeds_of(name: str) -> dict[int, tuple[float, float]]:
    """By seed: the mean return of all evaluations on the way, and that of the episodes at the end."""
    return {
        record["config"]["seed"]: (
            float(np.mean([mean for _, mean in record["evaluations"]])), float(np.mean(record["final_returns"]))
        )
        for record in found(name)
    }  # fmt: skip


def ablations() -> str:
    """The section of the ablations that were measured: what each part makes, on the same seeds; empty if none was."""
    base, lines = seeds_of("ablation-none"), []
    for name in ABLATIONS:
        runs = {seed: numbers for seed, numbers in seeds_of(name).items() if seed in base}
        cells = []
        for i in (0, 1) if runs else ():
            mean = np.mean([numbers[i] for numbers in runs.values()])
            differences = [numbers[i] - base[seed][i] for seed, numbers in runs.items()]
            low, high = bootstrap_interval(differences)
            told = f"{np.mean(differences):+.1f}<br>{low:+.1f} to {high:+.1f}" if name != "ablation-none" else "-"
            cells += [f"{mean:.1f}", told]
        if runs:
            lines.append(f"| [{ABLATIONS[name].target}]({name}) | {' | '.join(cells)} | {len(runs)} |")
    return ABLATED.format(rows="\n".join(lines)) if lines else ""


def curves() -> str:
    """The curves that the page of a run compares with, as JSON: of each result of the first table."""
    lines = []
    for name, experiment in EXPERIMENTS.items():
        records = found(name)
        seeds = {
            record["config"]["seed"]: [list(column) for column in zip(*record["evaluations"], strict=True)]
            for record in records
        }
        if records:
            options = learning(plain(from_plain(records[0]["config"])))
            result = {"environment": experiment.env, "options": options, "curves": seeds}
            lines.append(json.dumps(result, allow_nan=False))
    return "[\n" + ",\n".join(lines) + "\n]\n"


def texts() -> dict[Path, str]:
    """What was measured, as tables: for book/results/README.md, with the commands, and for the README; as curves."""
    done = [name for name in ALL if len(found(name)) == len(ALL[name].seeds)]  # not while seeds are missing
    commands = "\n".join("    " + " ".join(ALL[name].command(name, ALL[name].seeds)) for name in done)
    table, history = ("\n".join([HEAD, *(row(name) for name in done if name in of)]) for of in (EXPERIMENTS, HISTORY))
    linked = re.sub(r"\]\(([\w-]+)\)", r"](book/results/\1)", table)
    return {
        RESULTS / "README.md": TEXT.format(
            table=table,
            history=history,
            rewards="\n".join(map(paid_row, (USUAL, *REWARDS))),
            ablations=ablations(),
            planning="\n".join(map(planned_row, PLANNING)),
            engines="\n".join([HEAD, *(row(name) for name in done if name in ENGINES)]),
            commands=commands,
        ),
        README: BLOCK.sub(lambda block: f"{block[1]}{linked}{block[2]}", README.read_text()),
        ROOT / "wm_tutorial" / "runs" / MEASURED: curves(),
    }


HEAD = """\
| result and environment | agent | steps | mean return | worst seed | target | seeds | CPU min |
|---|---|---|---|---|---|---|---|"""

ABLATED = """
Each part of `nano` taken out in turn, on CartPole, 5,000 steps: the mean return of all evaluations on the way, and of
the episodes at the end. Differences from the whole agent are taken seed by seed; below them stands a 95 % interval, a
percentile bootstrap over seeds. Seeds 1200 and 1201 were run on another processor and with PyTorch 2.11, as their
records say: all runs of one seed on one machine.

| taken out | on the way | difference | at the end | difference | seeds |
|---|---|---|---|---|---|
{rows}
"""

TEXT = """# Learning results

Written by `make results`, which trains what is missing. In every folder: one file per seed with its options, versions,
training episodes, evaluations and the returns of 100 greedy episodes at the end (newer ones also with the imagined
returns on the way); `summary.json`; `curves.png`; and, of the results in the first table, the agent of the first seed:
`Agent.load("book/results/cartpole-guide/seed-100.safetensors")`.

{table}

A star: the agent has options of its own.

What earlier options of `nano` reached: gamma learned inside the continue head, as in the reference; beside it; beside
it with a model that learns faster and looks closer ("sharp"), all with 32 latents; and what `nano` was with half of
them and a critic that learned a third as fast. Acrobot and the pixel game had options of their own then, the
latter far more chance.

{history}

CartPole with its rewards multiplied, dreamer_v3 nano, 5,000 steps: one set of options and the same seeds in every row.
Returns are divided by what the rewards were multiplied with; beside them, how much more that is than the same seed had
with rewards of 1.

| rewards times | return / times | worst seed | more than at 1 | seeds |
|---|---|---|---|---|
{rewards}
{ablations}
Agents that plan, 10,000 steps, the mean of 50 greedy episodes at the end. `planet-pendulum-shooting` draws as many
candidates for each action, all by chance; `planet-pendulum-v3` plans in the model of DreamerV3's `nano`, whose policy
stands in the first table. The search: candidates x iterations x horizon, and elites. CPU milliseconds of an action are
those of the evaluation, 50 environments side by side.

| planning | return | worst seed | target | the search | ms an action | seeds, CPU min |
|---|---|---|---|---|---|---|
{planning}

The agent of `cartpole-guide`, which learns from what EnvPool's CartPole returns instead of Gymnasium's, and is
evaluated in Gymnasium's:

{engines}

The mean is over seeds, of 100 greedy episodes each; below it stands its 95 % interval, a percentile bootstrap over
seeds, too narrow for as few as five. CPU minutes are of one run on one core, and depend on the machine and on what else
it does.

Each with its own command:

{commands}

What mistakes of the bug zoo do to losses, errors and return is in [mistakes](mistakes), from

    python benchmarks/zoo.py
"""


def main(names: tyro.conf.Positional[tuple[str, ...]] = tuple(ALL), jobs: int = 1) -> None:
    """Measure what is missing and write the table.

    Args:
        names: experiments; all of them if none is named.
        jobs: runs side by side, each on one core; 0 only writes the table.
    """
    for name in names if jobs else ():
        measure(name, jobs)
    for path, text in texts().items():
        path.write_text(text)


if __name__ == "__main__":
    tyro.cli(main)
