"""The command line: wm-tutorial train | resume | evaluate | dream | measure | zoo | bench | presets | notebooks."""

import ast
import dataclasses
import inspect
import itertools
import json
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import torch
import tyro
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

from wm_tutorial import checkpoint, figures, lineage
from wm_tutorial.agent import Agent
from wm_tutorial.config import PRESETS, Config, Preset, make_config, section_options, sizes_of
from wm_tutorial.course.copy import copy_course
from wm_tutorial.data import Spaces
from wm_tutorial.errors import InputError, WorldModelError
from wm_tutorial.runs import bench
from wm_tutorial.runs.measure import as_table, measure
from wm_tutorial.runs.run import Run, resume, train
from wm_tutorial.zoo.experiment import as_table as as_table_of_bugs
from wm_tutorial.zoo.experiment import experiment, usable_bugs

# All options of a run, flat: `--horizon 10`. The empty name keeps the field's own out of what is read and shown.
Options = Annotated[tyro.conf.OmitArgPrefixes[tyro.conf.FlagConversionOff[Config]], tyro.conf.arg(name="")]


def announce(run: Run) -> None:
    """Say how good a finished run is, and where it lies."""
    print(f"Greedy evaluation: {run.evaluate(100)}")
    print(f"Run folder: {run.path}  (open {run.path / 'index.html'})")


@dataclasses.dataclass(frozen=True)
class Train:
    """Train an agent on a Gymnasium environment."""

    env: tyro.conf.Positional[str]
    """Id of a Gymnasium environment, such as CartPole-v1."""
    out: Path | None = None
    """The run folder; a new one below runs/ if left out."""
    config: Options = dataclasses.field(default_factory=Config)

    def __call__(self) -> None:
        """Train, evaluate, draw."""
        announce(train(self.env, out=self.out, **dataclasses.asdict(self.config)))


@dataclasses.dataclass(frozen=True)
class Resume:
    """Go on with a run that was stopped, exactly as if it had not been."""

    run: tyro.conf.Positional[Path]
    """A run folder."""
    steps: int | None = None
    """A new budget of environment steps; the old one if left out."""

    def __call__(self) -> None:
        """Train on, evaluate, draw."""
        changes: dict[str, Any] = {} if self.steps is None else {"steps": self.steps}
        announce(resume(self.run, **changes))


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Measure the return of a trained agent on episodes it has never seen."""

    run: tyro.conf.Positional[Path]
    """A run folder."""
    episodes: int = 100
    """How many episodes."""
    actions: Literal["greedy", "sampled"] = "greedy"
    """The most likely actions, or sampled ones."""
    seed: int = 0
    """Seed of the episodes."""

    def __call__(self) -> None:
        """Evaluate."""
        print(Run.load(self.run).evaluate(self.episodes, self.actions == "greedy", self.seed))


@dataclasses.dataclass(frozen=True)
class Dream:
    """Draw a real episode beside the model's prediction of it, as a picture and an animation."""

    run: tyro.conf.Positional[Path]
    """A run folder."""
    context: int = 5
    """Rows the model sees before it goes on from the actions alone."""
    horizon: int = 45
    """Rows it dreams after them."""
    seed: int = 0
    """Seed of the episode."""

    def __call__(self) -> None:
        """Dream."""
        run = Run.load(self.run)
        dream = run.dream(self.context, self.horizon, self.seed)
        picture, film = run.path / f"dream-{self.seed}.png", run.path / f"dream-{self.seed}.gif"
        figures.save(figures.open_loop(dream), picture)
        figures.film(dream, film)
        print(f"{picture}\n{film}")


@dataclasses.dataclass(frozen=True)
class Measure:
    """Train on several seeds and write a result that can be checked: raw data, table, curves, interval."""

    env: tyro.conf.Positional[str]
    """Id of a Gymnasium environment, such as CartPole-v1."""
    out: Path
    """Where the data goes; seeds already measured there are kept."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """One run each."""
    episodes: int = 100
    """Episodes of each final evaluation."""
    config: Options = dataclasses.field(default_factory=Config)

    def __call__(self) -> None:
        """Train, evaluate, summarise."""
        print(as_table(measure(self.env, self.config, self.seeds, self.out, self.episodes)))


@dataclasses.dataclass(frozen=True)
class Zoo:
    """Train with known mistakes, one at a time, and write what each does to losses, open-loop errors and return."""

    env: tyro.conf.Positional[str]
    """Id of a Gymnasium environment, such as CartPole-v1."""
    out: Path
    """Where the data goes; runs already measured there are kept."""
    bugs: tuple[str, ...]
    """Names of mistakes, or `all`; the finished code is always measured beside them."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run each."""
    episodes: int = 100
    """Episodes of each final evaluation."""
    config: Options = dataclasses.field(default_factory=Config)

    def __call__(self) -> None:
        """Train, evaluate, compare."""
        bugs = usable_bugs(self.config) if self.bugs == ("all",) else self.bugs
        print(as_table_of_bugs(experiment(self.env, self.config, bugs, self.seeds, self.out, self.episodes)))


@dataclasses.dataclass(frozen=True)
class Bench:
    """Measure what one gradient update costs, and how the cost grows with the sizes; no environment is needed."""

    updates: int = 10
    """How many updates are timed."""
    observations: tuple[int, ...] = (24,)
    """Shape of an observation: one number for vectors, height, width and channels for images."""
    actions: int = 6
    """How many actions."""
    action_kind: Literal["continuous", "discrete"] = "continuous"
    """Of which kind they are."""
    json: Path | None = None
    """A file that the numbers are also written to."""
    config: Options = dataclasses.field(default_factory=Config)

    def __call__(self) -> None:
        """Measure, print, write."""
        result = bench.bench(self.config, self.updates, self.observations, self.actions, self.action_kind)
        print(bench.as_table(result))
        if self.json:
            checkpoint.write_text(self.json, json.dumps(result, indent=2) + "\n")


@dataclasses.dataclass(frozen=True)
class Presets:
    """List the presets: the lineage of world model agents, and the sizes they come in."""

    form: Literal["list", "table", "page"] = "list"
    """A block for each; all values side by side; or the page of the book, with the source of each value."""

    def __call__(self) -> None:
        """Print them."""
        if self.form != "list":
            print(lineage.text() if self.form == "table" else lineage.page().rstrip("\n"))
            return
        told = [field.name for field in dataclasses.fields(Preset) if field.name not in ("options", "paper", "small")]
        for name, preset in PRESETS.items():
            print(name)
            for label, text in [*((label, getattr(preset, label)) for label in told), ("parameters", sizes(name))]:
                print(textwrap.fill(text, 98, initial_indent=f"  {label:<12}", subsequent_indent=" " * 14))
        print("Parameters are those that learn, on CartPole-v1.")


@dataclasses.dataclass(frozen=True)
class Notebooks:
    """Copy the notebooks of the course into a folder of your own, with exercises to solve."""

    folder: tyro.conf.Positional[Path]
    """A folder; no file that is there already is overwritten."""
    solutions: bool = False
    """The exercises are solved."""

    def __call__(self) -> None:
        """Copy, and say how to begin."""
        copied = copy_course(self.folder, self.solutions)
        print(f"{len(copied)} chapters are in {copied[0].parent}. To begin:")
        print(f'  jupyter lab "{copied[0]}"')
        print('If JupyterLab is missing, `pip install "wm_tutorial[notebooks]"` brings it, into this environment.')


def sizes(preset: str) -> str:
    """Each size of a preset with the number of parameters that learn; nothing is allocated for it."""
    cart_pole = Spaces("vector", (4,), "discrete", 2, (0.0,), (1.0,))
    counts = []
    for size in sizes_of(preset) or [""]:
        config = make_config(preset, size or None)
        with torch.device("meta"):
            agent = Agent(cart_pole, config)
        learning = agent.world_model if config.behaviour == "random" else agent
        count = sum(parameter.numel() for parameter in learning.parameters() if parameter.requires_grad)
        counts.append(f"{size} {count:,}".strip())
    return "; ".join(counts)


def sentences() -> dict[str, str]:
    """Each option of `Config` with the sentence below it."""
    (definition,) = ast.parse(inspect.getsource(Config)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for option, below in itertools.pairwise(definition.body):
        match option, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(sentence))):
                found[name] = " ".join(sentence.split())
    return found


SECTIONED = ConstructorRegistry()  # how the command line is told that `Config` has sections


@SECTIONED.struct_rule
def by_section(info: StructTypeInfo) -> StructConstructorSpec | None:
    """`Config` as one group of options for each of its sections; its defaults are those of `info`'s instance."""
    if info.type is not Config:
        return None
    hints, told = get_type_hints(Config), sentences()
    groups = []
    for section, options in section_options().items():
        name = section.lower().replace(" ", "_")
        described = [(option, Annotated[hints[option], tyro.conf.arg(help=told[option])]) for option in options]
        group = dataclasses.make_dataclass(name, described, namespace={"__doc__": ""})
        default = group(**{option: getattr(info.default, option) for option in options})
        groups.append(StructFieldSpec(name=name, type=group, default=default))

    def joined(**chosen: Any) -> Config:
        return Config(**{name: value for group in chosen.values() for name, value in dataclasses.asdict(group).items()})

    return StructConstructorSpec(instantiate=joined, fields=tuple(groups))


def command_line(
    arguments: Sequence[str],
) -> Train | Resume | Evaluate | Dream | Measure | Zoo | Bench | Presets | Notebooks:
    """What was asked for; where options can be given, their defaults are those of the preset and size named."""
    line = " ".join(arguments)
    named = {name: match[1] for name in ("preset", "size") if (match := re.search(rf"--{name}[= ](\S+)", line))}
    config = make_config(**named)
    training = tyro.conf.subcommand("train", default=Train(env=tyro.MISSING, config=config))
    measuring = tyro.conf.subcommand("measure", default=Measure(env=tyro.MISSING, out=tyro.MISSING, config=config))
    breaking = tyro.conf.subcommand("zoo", default=Zoo(tyro.MISSING, tyro.MISSING, tyro.MISSING, config=config))
    benching = tyro.conf.subcommand("bench", default=Bench(config=config))
    commands = (
        Annotated[Train, training]
        | Annotated[Resume, tyro.conf.subcommand("resume")]
        | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
        | Annotated[Dream, tyro.conf.subcommand("dream")]
        | Annotated[Measure, measuring]
        | Annotated[Zoo, breaking]
        | Annotated[Bench, benching]
        | Annotated[Presets, tyro.conf.subcommand("presets")]
        | Annotated[Notebooks, tyro.conf.subcommand("notebooks")]
    )
    words = list(arguments)
    try:
        return tyro.cli(commands, args=words, prog="wm-tutorial", description=DESCRIPTION, registry=SECTIONED)
    except InputError as error:  # of options that do not fit together, or out of their range
        print(f"wm-tutorial {' '.join(words[:1])}: {error}", file=sys.stderr)
        sys.exit(2)


DESCRIPTION = "Train agents that learn inside their own model of the world."


def main() -> None:
    """Entry point of the command line; expected errors are printed as one message."""
    try:
        command_line(sys.argv[1:])()
    except WorldModelError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt as error:
        print(f"\n{error}", file=sys.stderr)
        sys.exit(130)
