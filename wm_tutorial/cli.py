"""The command line: wm-tutorial train, resume, evaluate, dream, film, doctor, export, measure, zoo and more."""

import ast
import dataclasses
import inspect
import io
import itertools
import json
import os
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import torch
import tyro
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

from wm_tutorial import checkpoint, figures, lineage, zoo
from wm_tutorial.agent import Agent
from wm_tutorial.config import PRESETS, Config, Preset, make_config, section_options, sizes_of
from wm_tutorial.course.copy import copy_course
from wm_tutorial.data import Spaces
from wm_tutorial.envs import EnvSource
from wm_tutorial.errors import InputError, WorldModelError
from wm_tutorial.play import export
from wm_tutorial.runs import bench
from wm_tutorial.runs.asked import path_of, tell
from wm_tutorial.runs.callbacks import Callback
from wm_tutorial.runs.consult import consult
from wm_tutorial.runs.doctor.diagnosis import LOOKS_WRONG
from wm_tutorial.runs.dream import EpisodesTooShort
from wm_tutorial.runs.engines import EnvPool
from wm_tutorial.runs.machines import one_speaks, rank, together
from wm_tutorial.runs.measure import as_table, measure
from wm_tutorial.runs.named import named
from wm_tutorial.runs.run import Run, resume, train
from wm_tutorial.runs.staged import open_run, train_in_stages
from wm_tutorial.runs.tensorboard import TensorBoard
from wm_tutorial.vector import VectorSource
from wm_tutorial.world_models_2018 import STAGES, Settings, Stage
from wm_tutorial.zoo.experiment import as_table as as_table_of_bugs
from wm_tutorial.zoo.experiment import experiment, usable_bugs

# All options of a run, flat: `--horizon 10`. The empty name keeps the field's own out of what is read and shown.
Options = Annotated[tyro.conf.OmitArgPrefixes[tyro.conf.FlagConversionOff[Config]], tyro.conf.arg(name="")]
StageOptions = Annotated[tyro.conf.OmitArgPrefixes[Settings], tyro.conf.arg(name="")]


# What stands in the place of a value in the help.
ENV, RUN, DIR = (tyro.conf.arg(metavar=name) for name in ("ENV", "RUN", "DIR"))


def announce(run: Run) -> None:
    """Say how good a finished run is, draw it with the same number on its page, and say where it lies."""
    if rank():
        return  # the first of several processes does
    tell("Evaluating 100 new episodes.")
    evaluation = run.evaluate(100)
    tell(f"Greedy evaluation: {evaluation}")
    tell(f"Run folder: {run.path}  (open {run.report(evaluation)})")


def watchers(tensorboard: bool) -> list[Callback]:
    """The callbacks that were asked for."""
    return [TensorBoard()] if tensorboard else []


def engine(envs_in: str, env: str = "") -> VectorSource | None:
    """What steps the environments, as `train` takes it."""
    return EnvPool(env) if envs_in == "envpool" else "processes" if envs_in == "processes" else None


def named_or_own(env: str | None) -> EnvSource | None:
    """The environment that the user named, or None for the one that a run names itself."""
    return None if env is None else named(env)


@dataclasses.dataclass(frozen=True)
class Train:
    """Train an agent on a Gymnasium environment."""

    env: Annotated[tyro.conf.Positional[str], ENV]
    """Id of a Gymnasium environment, such as CartPole-v1, or module:callable of your own."""
    out: Annotated[str | None, DIR] = None
    """The run folder; a new one below runs/ if left out."""
    tensorboard: tyro.conf.FlagCreatePairsOff[bool] = False
    """Write the metrics for TensorBoard, too, into `tensorboard` in the run folder."""
    envs_in: Literal["one-process", "processes", "envpool"] = "one-process"
    """Where the environments live in which experience is collected; a process for each is worth it if they are slow,
    and EnvPool (`pip install "wm_tutorial[envpool]"`) has many of its own that are quick."""
    config: Options = dataclasses.field(default_factory=Config)

    def __call__(self) -> None:
        """Train, evaluate, draw."""
        told: dict[str, Any] = {"callbacks": watchers(self.tensorboard), "vector": engine(self.envs_in, self.env)}
        with train(named(self.env), out=self.out, draw=False, **told, **dataclasses.asdict(self.config)) as run:
            announce(run)


@dataclasses.dataclass(frozen=True)
class Resume:
    """Go on with a run that was stopped, exactly as if it had not been."""

    run: Annotated[tyro.conf.Positional[str], RUN]
    """A run folder."""
    steps: int | None = None
    """A new budget of environment steps; the old one if left out."""
    env: Annotated[str | None, ENV] = None
    """The environment, where the run cannot name it itself: module:callable, or module:Id-v0."""
    tensorboard: tyro.conf.FlagCreatePairsOff[bool] = False
    """Write the metrics for TensorBoard, too, into `tensorboard` in the run folder."""
    envs_in: Literal["one-process", "processes"] = "one-process"
    """Where the environments live in which experience is collected; a process for each is worth it if they are slow."""

    def __call__(self) -> None:
        """Train on, evaluate, draw."""
        changes: dict[str, Any] = {} if self.steps is None else {"steps": self.steps}
        changes |= {"callbacks": watchers(self.tensorboard), "vector": engine(self.envs_in)}
        with resume(self.run, named_or_own(self.env), draw=False, **changes) as run:
            announce(run)


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Measure the return of a trained agent on episodes it has never seen."""

    run: Annotated[tyro.conf.Positional[str], RUN]
    """A run folder, or the name of an agent that comes with the package, such as cartpole-guide."""
    env: Annotated[str | None, ENV] = None
    """The environment, where the run cannot name it itself: module:callable, or module:Id-v0."""
    episodes: int = 100
    """How many episodes."""
    actions: Literal["greedy", "sampled"] = "greedy"
    """The most likely actions, or sampled ones."""
    seed: int = 0
    """Seed of the episodes."""

    def __call__(self) -> None:
        """Evaluate."""
        with open_run(self.run, named_or_own(self.env)) as run:
            print(run.evaluate(self.episodes, self.actions == "greedy", self.seed))


@dataclasses.dataclass(frozen=True)
class Dream:
    """Draw a real episode beside the model's prediction of it, as a picture and an animation; and how it plans."""

    run: Annotated[tyro.conf.Positional[str], RUN]
    """A run folder, or the name of an agent that comes with the package, such as cartpole-guide."""
    env: Annotated[str | None, ENV] = None
    """The environment, where the run cannot name it itself: module:callable, or module:Id-v0."""
    context: int = 5
    """Rows the model sees before it goes on from the actions alone."""
    horizon: int = 45
    """Rows it dreams after them."""
    seed: int = 0
    """Seed of the episode."""

    def __call__(self) -> None:
        """Dream."""
        with open_run(self.run, named_or_own(self.env)) as run:
            dream = run.dream(self.context, self.horizon, self.seed)
            found = None
            if isinstance(run, Run) and run.config.behaviour == "planner":
                with suppress(EpisodesTooShort):  # greedy actions may end an episode sooner than those of the dream
                    found = run.narrowing(self.context, self.seed)
        picture, film = run.path / f"dream-{self.seed}.png", run.path / f"dream-{self.seed}.gif"
        figures.save(figures.open_loop(dream), picture)
        figures.film(dream, film)
        print(f"{picture}\n{film}")
        if found:
            plan = run.path / f"plan-{self.seed}.png"
            figures.save(figures.narrowing(found), plan)
            print(plan)


@dataclasses.dataclass(frozen=True)
class Film:
    """Film the real environment while the agent acts in it."""

    run: Annotated[tyro.conf.Positional[str], RUN]
    """A run folder, or the name of an agent that comes with the package, such as cartpole-guide."""
    env: Annotated[str | None, ENV] = None
    """The environment, where the run cannot name it itself: module:callable, or module:Id-v0."""
    out: str | None = None
    """The film: name.gif or name.mp4 (which needs imageio-ffmpeg); film-SEED.gif in the run folder if left out."""
    episodes: int = 1
    """How many episodes, one after the other."""
    actions: Literal["greedy", "sampled"] = "greedy"
    """The most likely actions, or sampled ones."""
    seed: int = 0
    """Seed of the episodes; they are those that `evaluate` with this seed begins with."""
    steps: int = 1000
    """An episode that goes on is cut after so many steps."""

    def __call__(self) -> None:
        """Film."""
        with open_run(self.run, named_or_own(self.env)) as run:
            print(run.film(self.out, self.episodes, self.actions == "greedy", self.seed, self.steps))


@dataclasses.dataclass(frozen=True)
class Doctor:
    """Say what looks wrong in a run, why, and what to try. Exits with 0 if nothing does, with 3 if something does."""

    run: Annotated[tyro.conf.Positional[str], RUN]
    """A run folder, of a run that is still on its way, too."""
    env: Annotated[str | None, ENV] = None
    """The environment, where the run cannot name it itself: module:callable, or module:Id-v0."""

    def __call__(self) -> None:
        """Look, and say what was found."""
        diagnosis = consult(self.run, named_or_own(self.env))
        print(diagnosis)
        if diagnosis.wrong:
            sys.exit(LOOKS_WRONG)


@dataclasses.dataclass(frozen=True)
class Export:
    """Write an agent for the browser: a page in which its dream can be played, or its weights alone."""

    run: Annotated[tyro.conf.Positional[str], RUN]
    """A run folder, or a file that Agent.save wrote."""
    out: str
    """A file: name.html for the page with all that is in it, name.safetensors for what the page reads."""
    full: bool = False
    """32 bits for each number; 16 are enough for playing."""

    def __call__(self) -> None:
        """Write the file."""
        print(f"Written: {export(self.run, self.out, half=not self.full)}")


@dataclasses.dataclass(frozen=True)
class WorldModels2018:
    """Train the ancestor in stages: random play, V, M, C. The same command again goes on where it was stopped."""

    env: Annotated[tyro.conf.Positional[str], ENV]
    """Id of a Gymnasium environment that shows pictures, such as wm_tutorial/Rockfall-v0, or module:callable."""
    out: Annotated[str | None, DIR] = None
    """The run folder; a new one below runs/ if left out."""
    stages: tuple[Stage, ...] = STAGES
    """Which stages; one that needs an unfinished one says so."""
    settings: StageOptions = dataclasses.field(default_factory=Settings)

    def __call__(self) -> None:
        """Train, evaluate."""
        run = train_in_stages(named(self.env), self.out, self.stages, **dataclasses.asdict(self.settings))
        if self.stages[-1] == "controller":
            tell("Evaluating 100 new episodes, on samples of z, on which C was evolved.")
            tell(f"Evaluation: {run.evaluate(100, greedy=False)}")
        tell(f"Run folder: {run.path}")


@dataclasses.dataclass(frozen=True)
class Measure:
    """Train on several seeds and write a result that can be checked: raw data, table, curves, interval."""

    env: Annotated[tyro.conf.Positional[str], ENV]
    """Id of a Gymnasium environment, such as CartPole-v1, or module:callable of your own."""
    out: Annotated[str, DIR]
    """Where the data goes; seeds already measured there are kept."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """One run each."""
    episodes: int = 100
    """Episodes of each final evaluation."""
    engine: Literal["local", "ray"] = "local"
    """What the runs are made on: this machine, or Ray (`pip install "wm_tutorial[ray]"`)."""
    jobs: int = 1
    """How many runs side by side, each on one core, in a process of its own if there are several."""
    envs_in: Literal["one-process", "processes", "envpool"] = "one-process"
    """Where the environments live in which experience is collected, as for `train`."""
    config: Options = dataclasses.field(default_factory=Config)

    def __call__(self) -> None:
        """Train, evaluate, summarise."""
        folder = path_of(self.out)
        where: dict[str, Any] = {"engine": self.engine, "jobs": self.jobs, "vector": engine(self.envs_in, self.env)}
        print(as_table(measure(named(self.env), self.config, self.seeds, folder, self.episodes, **where)))


@dataclasses.dataclass(frozen=True)
class Zoo:
    """Train with known mistakes, one at a time, and write what each does to losses, open-loop errors and return."""

    env: Annotated[tyro.conf.Positional[str], ENV]
    """Id of a Gymnasium environment, such as CartPole-v1, or module:callable of your own."""
    out: Annotated[str, DIR]
    """Where the data goes; runs already measured there are kept."""
    bugs: tuple[str, ...]
    """Names of mistakes, or `all`; the finished code is always measured beside them."""
    list: tyro.conf.FlagCreatePairsOff[bool] = False
    """Only list the mistakes; nothing else needs to be given then."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run each."""
    episodes: int = 100
    """Episodes of each final evaluation."""
    engine: Literal["local", "ray"] = "local"
    """What the runs are made on: this machine, or Ray (`pip install "wm_tutorial[ray]"`)."""
    jobs: int = 1
    """How many runs side by side, each on one core, in a process of its own if there are several."""
    config: Options = dataclasses.field(default_factory=Config)

    def __call__(self) -> None:
        """Train, evaluate, compare."""
        if self.list:
            for bug in zoo.BUGS.values():
                print(bug.name)
                print(textwrap.fill(bug.story, 98, initial_indent="  ", subsequent_indent="  "))
            return
        bugs, folder = usable_bugs(self.config) if self.bugs == ("all",) else self.bugs, path_of(self.out)
        where: dict[str, Any] = {"engine": self.engine, "jobs": self.jobs}
        told = experiment(named(self.env), self.config, bugs, self.seeds, folder, self.episodes, **where)
        print(as_table_of_bugs(told))


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
            checkpoint.write_text(self.json, json.dumps(result, indent=2, allow_nan=False) + "\n")


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


@dataclasses.dataclass(frozen=True)
class Grade:
    """Grade what a class has handed in: points, a page for each student, and what the class misunderstood."""

    submissions: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SUBMISSIONS")]
    """A folder of notebooks, of students' folders or zip files, the same as one zip, or a course of nbgrader."""
    out: Annotated[Path, DIR]
    """Where points and pages go; what is graded there already is not run again."""
    settings: Path | None = None
    """A TOML file with points, limits and the seed of the hidden inputs; DIR/grade.toml if left out."""
    jobs: int | None = None
    """How many notebooks are run at a time; one for each core if left out."""

    def __call__(self) -> None:
        """Grade, and say where the pages lie."""
        if os.name == "nt":
            raise InputError(
                "Grading needs processes that can be forked, which Windows has not. Grade in WSL or on Linux."
            )
        from wm_tutorial.grade.run import grade  # which imports what Windows has not

        settings = None if self.settings is None else self.settings.expanduser()
        graded = grade(self.submissions.expanduser(), self.out.expanduser(), settings, self.jobs)
        tell(f"{len(graded)} notebooks are graded: points in {self.out / 'gradebook.csv'}, and for Monday:")
        tell(f"  {self.out / 'class.html'}")


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


Command = (
    Train | Resume | Evaluate | Dream | Film | Doctor | Export | WorldModels2018
    | Measure | Zoo | Bench | Presets | Notebooks | Grade
)  # fmt: skip


def command_line(arguments: Sequence[str]) -> Command:
    """What was asked for; where options can be given, their defaults are those of the preset and size named."""
    words = list(arguments)
    given = {name: value for name in ("preset", "size") if (value := value_of(f"--{name}", words)) is not None}
    config = make_config(**given)
    training = tyro.conf.subcommand("train", default=Train(env=tyro.MISSING, config=config))
    measuring = tyro.conf.subcommand("measure", default=Measure(env=tyro.MISSING, out=tyro.MISSING, config=config))
    if words[:1] == ["zoo"] and "--list" in words:
        return Zoo(env="", out="", bugs=(), list=True)
    breaking = tyro.conf.subcommand("zoo", default=Zoo(tyro.MISSING, tyro.MISSING, tyro.MISSING, config=config))
    benching = tyro.conf.subcommand("bench", default=Bench(config=config))
    commands = (
        Annotated[Train, training]
        | Annotated[Resume, tyro.conf.subcommand("resume")]
        | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
        | Annotated[Dream, tyro.conf.subcommand("dream")]
        | Annotated[Film, tyro.conf.subcommand("film")]
        | Annotated[Doctor, tyro.conf.subcommand("doctor")]
        | Annotated[Export, tyro.conf.subcommand("export")]
        | Annotated[WorldModels2018, tyro.conf.subcommand("world-models-2018")]
        | Annotated[Measure, measuring]
        | Annotated[Zoo, breaking]
        | Annotated[Bench, benching]
        | Annotated[Presets, tyro.conf.subcommand("presets")]
        | Annotated[Notebooks, tyro.conf.subcommand("notebooks")]
        | Annotated[Grade, tyro.conf.subcommand("grade")]
    )
    try:
        check_words(words)
        return tyro.cli(commands, args=words, prog="wm-tutorial", description=DESCRIPTION, registry=SECTIONED)
    except InputError as error:  # of options that do not fit together, or out of their range
        print(f"wm-tutorial {' '.join(words[:1])}: {error}", file=sys.stderr)
        sys.exit(2)


def value_of(option: str, words: Sequence[str]) -> str | None:
    """What follows an option on the command line: `--preset guide` or `--preset=guide`."""
    for word, after in itertools.zip_longest(words, words[1:]):
        name, equals, value = word.partition("=")
        if name == option and (equals or after is not None):
            return value if equals else str(after)
    return None


def command_name(kind: type) -> str:
    """How a command is called: `world-models-2018` for WorldModels2018."""
    return re.sub(r"(?<=[a-z])(?=[A-Z0-9])", "-", kind.__name__).lower()


def check_words(words: Sequence[str]) -> None:
    """Raise InputError, with one hint, for a command or an option that does not exist, or an option given twice."""
    kinds = {command_name(kind): kind for kind in get_args(Command)}
    if not words or words[0].startswith("-"):
        return
    if (kind := kinds.get(words[0])) is None:
        raise InputError(f"there is no such command; {hint(words[0], list(kinds))}")
    if together() and kind not in (Train, Resume):
        raise InputError("several processes can train and resume; start this command without torchrun.")
    names = [field.name for field in dataclasses.fields(kind)]
    for group, options in (("config", Config), ("settings", Settings)):
        names += [field.name for field in dataclasses.fields(options)] if group in names else []
    known = [f"--{name.replace('_', '-')}" for name in names if name not in ("config", "settings")]
    given = [word.partition("=")[0].replace("_", "-") for word in words if word.startswith("--") and word != "--"]
    for option, times in Counter(given).items():
        if option not in (*known, "--help") and not option.startswith("--tyro-"):
            raise InputError(f"there is no option {option}; {hint(option, known)}")
        if times > 1:
            raise InputError(f"{option} is given {times} times; give it once.")


def hint(word: str, known: Sequence[str]) -> str:
    """The most similar word that is known, or all of them."""
    similar = get_close_matches(word, known, n=1)
    return f"did you mean {similar[0]}?" if similar else f"there are {', '.join(known)}."


DESCRIPTION = "Train agents that learn inside their own model of the world."


def main() -> None:
    """Entry point of the command line; expected errors are printed as one message."""
    prepare_output()
    try:
        with one_speaks():
            asked = command_line(sys.argv[1:])
        asked()
        if sys.stdout is not None:
            sys.stdout.flush()
    except WorldModelError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt as error:
        print(f"\n{str(error) or 'Stopped.'}", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        pass
    finally:
        with suppress(AttributeError, ValueError, io.UnsupportedOperation):  # none, closed, or not a file
            try:
                sys.stdout.flush()
            except BrokenPipeError:  # whoever read it (`| head`) has seen enough: what is left goes nowhere
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def prepare_output() -> None:
    """Let no output fail: a character that the terminal cannot show becomes a question mark."""
    while (nowhere := os.open(os.devnull, os.O_RDWR)) < 3:
        pass  # an output that the caller has closed (2>&-): the next file opened must not take its number
    os.close(nowhere)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
