"""The whole zoo measured: what every mistake does to losses, to the errors of the model, and to the return.

    python benchmarks/zoo.py                                   # what is missing, then the table and the figure
    python benchmarks/zoo.py --worlds cartpole --seeds 1500    # a part of it
    python benchmarks/zoo.py --worlds                          # only the table and the figure

In each of WORLDS agents learn with the finished code, and with each mistake that is let out there. It stays out for all
of the run, its evaluation and the doctor's visit, as in the code of somebody who has made it. Three seeds are three
seeds: there is no interval for them. The mistakes that TEACH most are made on ten, in the first world.

What is there already is not measured again: to measure anew, remove its file. Three quarters of a minute of one core
for a run of the guide, three minutes for one of DreamerV3 on CartPole, and up to thirteen in the last world: all of it
takes about 13 hours, and may be stopped at any moment. The raw data and the table are in book/results/mistakes;
`benchmarks/doctor.py` judges the doctor by them.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from wm_tutorial import figures, zoo
from wm_tutorial.checkpoint import write_text
from wm_tutorial.config import Config, make_config
from wm_tutorial.runs.asked import tell
from wm_tutorial.runs.statistics import bootstrap_interval, matched_differences
from wm_tutorial.zoo.experiment import MODEL_LOSSES, NONE, draw, experiment, outcome, summary_of, usable_bugs

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "book" / "results" / "mistakes"
README = ROOT / "README.md"
BLOCK = re.compile(r"(<!-- benchmarks/zoo.py writes this -->\n).*?(<!-- to here -->)", re.DOTALL)
THRESHOLDS = (0,)  # the seed of the runs on which the doctor's thresholds were set
SEEDS = (1500, 1501, 1502)  # never looked at before
MORE = tuple(range(1503, 1510))
EPISODES = 50  # of the final evaluation
FIRST = "cartpole"
# One of each kind: rows put together wrongly, the divergence, returns, ends, the actor, and what the model is taught.
TEACH = (
    "reward_departing", "action_late", "reset_missing", "decoder_missing", "kl_reversed", "kl_arguments_swapped",
    "value_unshifted", "continue_ignored", "time_limit_is_death", "terminal_observation_dropped", "advantage_leaks",
    "entropy_sign",
)  # fmt: skip
KL = ("kl_arguments_swapped", "kl_reversed")  # of which the divergences are drawn
Out = Literal["all", "teach", "teach, and what the guide is too simple for", "none"]


@dataclass(frozen=True)
class World:
    """Where runs are made.

    env       Gymnasium id
    options   with which the finished code learns there
    out       which mistakes are let out
    """

    env: str
    options: dict[str, Any] = field(default_factory=dict)
    out: Out = "none"

    @property
    def config(self) -> Config:
        """The options of its runs, but for their seed."""
        return make_config(**self.options)

    def mistakes(self) -> list[str]:
        """The mistakes that are let out there, in the zoo's order."""
        usable = usable_bugs(self.config)
        taught = [name for name in usable if name in TEACH]
        if self.out == "all":
            return usable
        if self.out == "teach, and what the guide is too simple for":
            return [name for name in usable if name in TEACH or name not in usable_bugs(Config())]
        return taught if self.out == "teach" else []


def nano(steps: int) -> dict[str, Any]:
    """DreamerV3 in its smallest size, with the options of the committed results."""
    return {"preset": "dreamer_v3", "size": "nano", "steps": steps}


# Lengths at which sound agents have learned, or nearly, as the curves of committed results say of these options;
# Corridor was tried on another seed, LinearGaussian is a guess. Fork-v0, in which no action matters, is missing.
WORLDS: dict[str, World] = {
    FIRST: World("CartPole-v1", {"steps": 5_000}, "all"),
    "cartpole-v3": World("CartPole-v1", nano(5_000), "teach, and what the guide is too simple for"),
    "corridor": World("wm_tutorial/Corridor-v0", nano(2_500), "teach"),  # one action is best in each of its cells
    "linear-gaussian": World("wm_tutorial/LinearGaussian-v0", nano(4_000)),
    "paid-cartpole": World("wm_tutorial/PaidCartPole-1e3-v0", nano(5_000)),
    "pendulum": World("Pendulum-v1", nano(8_000)),
    "position-only": World("wm_tutorial/PositionOnlyCartPole-v0", nano(5_000), "teach"),  # needs a memory
    "acrobot": World("Acrobot-v1", nano(5_000)),
    "catch": World("wm_tutorial/CatchInTheDark-v0", nano(15_000)),
}


def measure(results: Path, given: dict[str, World], names: Iterable[str], seeds: Iterable[int]) -> None:
    """Every run that is missing in `results`, each written as soon as it is there."""
    for name in names:
        world, mistakes = given[name], given[name].mistakes()
        for seed in seeds:
            out = [bug for bug in mistakes if bug in TEACH] if seed in MORE else mistakes
            if seed in MORE and name != FIRST:
                continue
            tell(f"{name}, seed {seed}: {len(out)} mistakes, and none.")
            words = command_of(name, world, out, seed)
            experiment(world.env, world.config, out, [seed], results / name, EPISODES, words=words)


def command_of(name: str, world: World, out: Iterable[str], seed: int) -> list[str]:
    """The words after `wm-tutorial` that make the same runs: each file of a run names its command."""
    options = {"seeds": seed, "episodes": EPISODES, **world.options}
    asked = [word for option, value in options.items() for word in (f"--{option.replace('_', '-')}", str(value))]
    return ["zoo", world.env, "--out", (RESULTS / name).relative_to(ROOT).as_posix(), "--bugs", *out, *asked]


def found(results: Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """World -> mistake -> what was measured, one record a seed."""
    there: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for path in sorted(results.glob("*/*/seed-*.json")):
        there.setdefault(path.parent.parent.name, {}).setdefault(path.parent.name, []).append(
            json.loads(path.read_text(encoding="utf-8"))
        )
    return {name: there[name] for name in WORLDS if name in there}


def late_losses(record: dict[str, Any]) -> dict[str, float]:
    """Each loss of the model, its mean over the last fifth of the run."""
    late = [losses for step, losses in record["losses"] if step > 0.8 * record["config"]["steps"]]
    return {name: float(np.mean([losses[name] for losses in late])) for name in MODEL_LOSSES if name in late[0]}


def mean_return(records: list[dict[str, Any]]) -> float:
    """Over seeds and episodes."""
    return float(np.mean([np.mean(record["final_returns"]) for record in records]))


def never_made(records: list[dict[str, Any]], sound: list[dict[str, Any]]) -> bool:
    """Whether every loss is that of the sound run of the same seed, to the last digit written down."""
    of_seed = {record["config"]["seed"]: record["losses"] for record in sound}
    return all(record["losses"] == of_seed.get(record["config"]["seed"]) for record in records)


def said(records: list[dict[str, Any]]) -> str:
    """What the doctor found, and in how many of the runs."""
    told = Counter(name for record in records for name, _, hint, _ in record["findings"] if not hint)
    return "; ".join(f"{name} ({count} of {len(records)})" for name, count in told.most_common()) or "nothing"


def as_table(world: dict[str, list[dict[str, Any]]]) -> str:
    """What was measured in one world, in Markdown, the largest loss of return first."""
    lines = head_of(
        "mistake", "return, each seed", "of the sound", "model loss", "1 step", "15 steps", "the doctor", "tests"
    )
    for name in sorted(world, key=lambda name: (name != NONE, share(world, name))):
        outcomes = [outcome(record) for record in world[name]]
        each = ", ".join(f"{one['return']:.3g}" for one in outcomes)
        loss, near, far = (np.mean([one[key] for one in outcomes]) for key in ("loss", "error_1", "error_15"))
        tests = "" if name == NONE else str(len(zoo.BUGS[name].caught_by))
        made = name == NONE or not never_made(world[name], world[NONE])
        part = f"{share(world, name):.0%}" if made else "never made"
        lines.append(
            f"| {name} | **{mean_return(world[name]):.3g}**: {each} | {part} | {loss:.3g} | {near:.3g} | {far:.3g} | "
            f"{said(world[name])} | {tests} |"
        )
    return "\n".join(lines)


def head_of(*titles: str) -> list[str]:
    """The two lines with which a table in Markdown begins."""
    return ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]


def share(world: dict[str, list[dict[str, Any]]], name: str) -> float:
    """The mean return with a mistake, as a share of that of the finished code on the same seeds."""
    return mean_return(world[name]) / mean_return(same_seeds(world, name))


def beside_the_sound(world: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """Of every mistake: its return, and each loss of the model, as multiples of those of the finished code, the first.

    On the same seeds. The divergence once, as the dynamics learn it: for the representation it is the same number.
    """
    beside = {}
    for name in sorted(world, key=lambda name: name != NONE):
        found = {key: np.mean([late_losses(r)[key] for r in world[name]]) for key in late_losses(world[NONE][0])}
        usual = {key: np.mean([late_losses(r)[key] for r in same_seeds(world, name)]) for key in found}
        multiples = {key: float(found[key] / usual[key]) for key in found if key != "representation"}
        beside[name] = {"return": mean_return(world[name]), **multiples}
    return beside


def same_seeds(world: dict[str, list[dict[str, Any]]], name: str) -> list[dict[str, Any]]:
    """The sound runs of the seeds that a mistake was made on."""
    seeds = {record["config"]["seed"] for record in world[name]}
    return [record for record in world[NONE] if record["config"]["seed"] in seeds]


def in_a_line(world: dict[str, list[dict[str, Any]]]) -> str:
    """How many mistakes the losses of the model do not show, and what these have cost."""
    beside = beside_the_sound(world)
    del beside[NONE]
    never = [name for name in beside if never_made(world[name], world[NONE])]
    low, high = figures.INNOCENT
    quiet = [
        name
        for name, row in beside.items()
        if name not in never and all(low < multiple < high for loss, multiple in row.items() if loss != "return")
    ]
    lost = sum(share(world, name) < 0.75 for name in quiet)
    fewest = min(map(len, world.values()))
    return (
        f"{len(beside)} mistakes, {fewest} seeds of each or more; {len(never)} of them were never made there; of the "
        f"other {len(beside) - len(never)}, {len(quiet)} keep every loss of the model within a factor of two of the "
        f"finished code's, and {lost} of these have lost a quarter of the return"
    )


def both_ways(world: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """What `figures.divergences` draws: the finished code and KL, of which both divergences were measured."""
    measured = {
        name: records
        for name in (NONE, *KL)
        if (records := [record for record in world.get(name, []) if "divergences" in record])
    }
    if not measured.keys() > {NONE}:
        return {}
    some, rows = measured[NONE][0], {}
    for name, records in measured.items():
        runs = [record["divergences"] | outcome(record) for record in records]
        numbers = {key: [run[key] for run in runs] for key in runs[0]}
        rows[name] = {key: {"mean": float(np.mean(seeds)), "seeds": seeds} for key, seeds in numbers.items()}
    return {"environment": some["environment"], "steps": some["config"]["steps"], "bugs": rows}


def ahead(world: dict[str, list[dict[str, Any]]], name: str) -> str:
    """By how much the return lies above the finished code's on the same seeds; from five seeds on with an interval."""
    new, old = ({r["config"]["seed"]: outcome(r)["return"] for r in world[one]} for one in (name, NONE))
    differences = matched_differences(new, old)
    low, high = bootstrap_interval(differences)
    interval = f" ({low:+.0f} to {high:+.0f})" if len(differences) >= 5 else ""
    return f"{np.mean(differences):+.0f}{interval}"


def as_table_of_divergences(there: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    """The same in every world where it was measured, in Markdown; nothing if nowhere."""
    divergences, beside_it = ("KL(posterior, prior)", "KL(prior, posterior)"), "return beside the finished code's"
    lines = head_of("world", "what is learned", "seeds", *divergences, "1 step", "15 steps", beside_it)
    for world in there.values():
        for name, row in both_ways(world).get("bugs", {}).items():
            numbers = [f"{row[key]['mean']:.3g}" for key in ("forward", "backward", "error_1", "error_15")]
            beside = "" if name == NONE else ahead(world, name)
            seeds = str(len(row["forward"]["seeds"]))
            lines.append("| " + " | ".join([agent_of(world), name, seeds, *numbers, beside]) + " |")
    return "\n".join(lines) if len(lines) > 2 else ""


def divergences_in_a_line(world: dict[str, list[dict[str, Any]]]) -> str:
    """Both divergences of the finished code and with the arguments swapped, and what the swap does to the return."""
    rows, swapped = both_ways(world)["bugs"], KL[0]
    both = [f"{rows[name]['forward']['mean']:.1f} and {rows[name]['backward']['mean']:.1f}" for name in (NONE, swapped)]
    return (
        f"KL(posterior, prior) and KL(prior, posterior): {both[0]} nats with the finished code, {both[1]} with the "
        f"arguments swapped; return {ahead(world, swapped)} on {len(rows[swapped]['forward']['seeds'])} matched seeds"
    )


def agent_of(world: dict[str, list[dict[str, Any]]]) -> str:
    """Environment, agent and steps, in words."""
    some = next(iter(world.values()))[0]
    agent = " ".join(part for part in (some["config"]["preset"], some["config"]["size"]) if part)
    return f"{some['environment']}, {agent}, {some['config']['steps']:,} steps"


def write(results: Path) -> None:
    """The page of what was found, and the figures of the first world; nothing if nothing was.

    Of the committed results two lines in the README, too.
    """
    there = found(results)
    if not there:
        return
    pages = ["# What every mistake does", PAGE.format(command="python benchmarks/zoo.py").strip()]
    first = there.get(FIRST, {})
    if len(first) > 1:
        beside = beside_the_sound(first)
        made = {name: row for name, row in beside.items() if name == NONE or not never_made(first[name], first[NONE])}
        draw(figures.innocent_losses(made), results / "losses")
        pages += ["![Each loss of the model against the return, a dot for every mistake](losses.png)", CAPTION.strip()]
        taught = [record for name, records in first.items() if name in (NONE, *TEACH) for record in records]
        draw(figures.mistakes(summary_of(taught)), results / "dozen")
        pages += ["![Losses, errors and return of the dozen that teach most](dozen.png)", DOZEN.strip()]
    if compared := as_table_of_divergences(there):
        pages += ["## Which way the divergence runs", DIVERGENCES.strip()]
        if drawn := both_ways(first):
            draw(figures.divergences(drawn), results / "divergences")
            pages.append("![Both divergences, a dot for every seed](divergences.png)")
        pages.append(compared)
    for world in there.values():
        pages += [f"## {agent_of(world)}", *([ALONE.strip()] if set(world) == {NONE} else []), as_table(world)]
    write_text(results / "README.md", "\n\n".join(pages) + "\n")
    if results == RESULTS:
        lines = f"`{in_a_line(first)}`\n\n`{divergences_in_a_line(first)}`"
        write_text(
            README, BLOCK.sub(lambda found: f"{found[1]}{lines}\n{found[2]}", README.read_text(encoding="utf-8"))
        )


PAGE = """
Written by `{command}`. Of each run: the mean return of 50 greedy episodes at the end, for every seed, and the mean as a
share of the finished code's on the same seeds; the weighted losses of the world model over the last fifth; how far the
model is from what happens after 1 and after 15 steps without an observation, in standard deviations; what
`wm-tutorial doctor` says, hints left out; and how many tests catch the mistake. *Never made* stands where every loss is
that of the sound run, to the last digit: the moment in which the code is wrong did not come, because no ring came
round, no episode reached its limit, nothing lay below a floor, or no action was a number. One of them,
`symexp_forgotten`, changes what the model shows, and so its errors, but nothing that it learns.

The raw data, each loss on the way among them, are in the folders beside this page. Where three seeds were measured, or
one, that is all there is: no interval.
"""

CAPTION = """
A dot is a mistake that was made, the line the return of the finished code. In the band a loss lies within a factor of
two of that of the finished code on the same seeds; what lies beyond the edge is drawn at it. Orange: in the band in
every panel.
"""

DOZEN = """
The dozen that teach most, a dot for every seed. The band holds the seeds of the finished code; dotted is what one gets
by expecting no change.
"""

DIVERGENCES = """
The model is to learn by KL(posterior || prior). `kl_arguments_swapped` lets it learn by KL(prior || posterior), and
nothing else is changed; `kl_reversed` does that and leaves out the balance and the free nats. Their losses cannot be
compared, each is of its own kind. So here both divergences are measured of all agents, before any free nats, on the
same new episodes of random actions: means over states, in nats.
"""

ALONE = """
Here the finished code alone has run, for the doctor to blame or not.
"""


def main(
    worlds: tuple[str, ...] = tuple(WORLDS), seeds: tuple[int, ...] = (*SEEDS, *MORE), results: Path = RESULTS
) -> None:
    """Measure what is missing and write the page.

    Args:
        worlds: which of the worlds; none for the page alone.
        seeds: one run of each; from the fourth on, of the mistakes that teach most, in the first world.
        results: where the data goes.
    """
    if unknown := set(worlds) - set(WORLDS):
        raise SystemExit(f"There is no world {min(unknown)!r}; there are {', '.join(WORLDS)}.")
    if used := set(seeds) & set(THRESHOLDS):
        raise SystemExit(f"The doctor's thresholds were set on seed {min(used)}; give others.")
    measure(results, WORLDS, worlds, seeds)
    write(results)


if __name__ == "__main__":
    tyro.cli(main)
