"""What cannot be used is refused with a message that says what was given and what is accepted, and leaves no trace."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Graph, Sequence, Text
from scripted import TINY, Fixed, Scripted, Seeded, Space, assert_same, memory, snapshot, tiny, tree

from wm_tutorial import Agent, Run, Trainer, resume, train
from wm_tutorial.checkpoint import CHECKPOINT
from wm_tutorial.config import Config
from wm_tutorial.envs import EnvSource
from wm_tutorial.errors import CheckpointError, EnvironmentFailure, InputError, OutputError, WorldModelError
from wm_tutorial.evaluation import evaluate
from wm_tutorial.runs.dream import dream, open_loop_errors


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, where every trace would be seen."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on CartPole."""
    trainer = Trainer("CartPole-v1", tiny(), tmp_path_factory.mktemp("finished") / "run")
    trainer.run()
    assert trainer.folder
    return trainer.folder


def refused(error: type[WorldModelError], call: Callable[[], Any], *expected: str, below: Path) -> None:
    """`call` raises this error, its message holds all of `expected`, and nothing below a folder has changed."""
    before = tree(below)
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert all(text in message for text in expected), message
    assert tree(below) == before


def tiny_train(env: Any, **options: Any) -> Run:
    return train(env, **{**TINY, **options})


# --- Environments -----------------------------------------------------------------------------------------------------


def raising() -> gym.Env[Any, Any]:
    raise ValueError("the simulator is not installed")


class Sized(Scripted):
    """Every environment has another space."""

    sizes = iter(range(1, 1000))

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = memory(next(self.sizes))


ONE = Scripted()

ENVIRONMENTS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "unknown id": ("NoSuchWorld-v0", ("'NoSuchWorld-v0'", "doesn't exist", "pprint_registry", "callable")),
    "misspelt id": ("cartpole-v1", ("'cartpole-v1'", "CartPole", "callable")),
    "version that is too new": ("CartPole-v99", ("'CartPole-v99'", "`v1`", "callable")),
    "malformed id": ("Cart Pole", ("'Cart Pole'", "-v(version)")),
    "module that is missing": ("no_such_module:World-v0", ("'no_such_module:World-v0'", "import")),
    "number": (3, ("is 3;", "'CartPole-v1'", "callable")),
    "nothing": (None, ("is None;", "'CartPole-v1'", "callable")),
    "environment instead of a callable": (ONE, ("Scripted", "callable", "lambda")),
    "callable that returns a number": (lambda: 3, ("returned int", "gymnasium.Env")),
    "callable that returns nothing": (lambda: None, ("returned NoneType", "gymnasium.Env")),
    "callable that returns several": (
        lambda: gym.make_vec("CartPole-v1", 2),
        ("returned CartPoleVectorEnv", "gymnasium.Env"),
    ),
    "callable that raises": (raising, ("ValueError", "the simulator is not installed", "gymnasium.Env")),
    "callable that wants an argument": (lambda x: Scripted(), ("TypeError", "gymnasium.Env")),
    "the same environment twice": (lambda: ONE, ("one environment twice", "new one each time")),
    "environments of several kinds": (Sized, ("different spaces", "same kind")),
}


@pytest.mark.parametrize("case", ENVIRONMENTS)
def test_environments_that_cannot_be_built(case: str, here: Path) -> None:
    env, expected = ENVIRONMENTS[case]
    refused(InputError, lambda: tiny_train(env), *expected, below=here)


@pytest.mark.filterwarnings("ignore:.*out of date")
def test_an_id_of_an_old_version_names_the_new_one(here: Path) -> None:
    refused(InputError, lambda: tiny_train("Pendulum-v0"), "'Pendulum-v0'", "Pendulum-v1", below=here)


SPACES: dict[str, Space] = {
    "Sequence": Sequence(memory(2)),
    "Graph": Graph(memory(2), None),
    "Text": Text(3),
    "Box([], []": Box(-1.0, 1.0, (0,), np.float32),
    "(0, 8, 3)": Box(0, 255, (0, 8, 3), np.uint8),
}


@pytest.mark.parametrize("name", SPACES)
def test_observation_spaces_that_are_not_supported(name: str, here: Path) -> None:
    def env() -> Fixed:
        return Fixed(SPACES[name], observation=0)

    refused(InputError, lambda: tiny_train(env), name, "observation space", "Box", "Discrete", "Transform", below=here)


@pytest.mark.parametrize(
    ("name", "space"),
    [
        *list(SPACES.items())[:-1],
        ("Box(-inf, inf", memory(2)),
        ("inf", Box(np.array([0.0, 0.0], np.float32), np.array([1.0, np.inf], np.float32))),
        ("(2, 2)", Box(-1.0, 1.0, (2, 2), np.float32)),
        ("int32", Box(0, 5, (2,), np.int32)),  # fractions of a step would be lost on the way
    ],
)
def test_action_spaces_that_are_not_supported(name: str, space: Space, here: Path) -> None:
    def env() -> Fixed:
        return Fixed(memory(1), space)

    refused(InputError, lambda: tiny_train(env), name, "action space", "Discrete", "finite bounds", below=here)


class Failing(Seeded):
    """Raises in a certain call of all its environments together."""

    calls = 0
    at: tuple[str, int] = ("never", 0)

    def count(self, what: str) -> None:
        type(self).calls += what == self.at[0]
        if self.at == (what, self.calls):
            raise ConnectionError("the robot has fallen over")

    def reset(self, **options: Any) -> Any:
        self.count("reset")
        return super().reset(**options)

    def step(self, action: Any) -> Any:
        self.count("step")
        return super().step(action)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], type[Failing]]:
    """An environment that raises at the n-th call of `reset` or `step`, counted from now."""

    def at(what: str, number: int) -> type[Failing]:
        monkeypatch.setattr(Failing, "calls", 0)
        monkeypatch.setattr(Failing, "at", (what, number))
        return Failing

    return at


def test_an_environment_that_raises_at_its_first_reset_leaves_no_folder(
    here: Path, failing: Callable[[str, int], EnvSource]
) -> None:
    env = failing("reset", 2)
    refused(EnvironmentFailure, lambda: tiny_train(env), "ConnectionError", "the robot has fallen over", below=here)


@pytest.mark.parametrize(("what", "number"), [("step", 1), ("step", 7), ("step", 40), ("step", 41), ("reset", 5)])
def test_what_was_learned_before_an_environment_raised_is_saved_and_can_be_resumed(
    what: str, number: int, here: Path, failing: Callable[[str, int], EnvSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EnvironmentFailure) as caught:
        tiny_train(failing(what, number), out="run", updates_per_step=1.0)
    message = str(caught.value)
    assert "ConnectionError: the robot has fallen over" in message
    saved = Trainer.load(here / "run", failing("never", 0))
    way_on = f"wm-tutorial resume run --env {__name__}:Failing"
    assert message.endswith(f"Saved at step {saved.steps}; go on with: {way_on}")
    assert saved.updates == max(0, saved.steps - 20)
    assert len(saved.replay) == 2 * saved.replay.added > 0 or number == 1
    assert Agent.load(here / "run").act(np.zeros(3))
    monkeypatch.setattr("wm_tutorial.runs.report.write", lambda *_: None)
    run = resume("run", failing("never", 0))
    assert run.trainer.steps >= TINY["steps"]
    first, last = (run.trainer.replay.columns[name][:, : run.trainer.replay.added] for name in ("is_first", "is_last"))
    step = run.trainer.replay.columns["obs"][:, : run.trainer.replay.added, 1]
    assert ((step == 0) == first).all()
    assert (first[:, 1:] | ~last[:, :-1]).all()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"observation": np.array([0.0, np.nan])}, ("observation nan",)),
        ({"observation": np.array([-np.inf, 0.0])}, ("observation -inf",)),
        ({"reward": np.nan}, ("reward nan",)),
        ({"reward": np.inf}, ("reward inf",)),
        ({"reward": -1e39}, ("reward -1e+39",)),
    ],
)
def test_numbers_that_are_none_are_refused_before_they_are_remembered(
    options: dict[str, Any], expected: tuple[str, ...], here: Path
) -> None:
    def env(**changes: Any) -> EnvSource:
        return lambda: Fixed(memory(2), **changes)

    with pytest.raises(EnvironmentFailure) as caught:
        tiny_train(env(**options, odd=lambda step: step == 17), out="run")
    assert all(text in str(caught.value) for text in (*expected, "must be a number", "resume('run', env=...)"))
    saved = Trainer.load(here / "run", env())
    assert saved.steps > 20
    assert all(np.isfinite(column).all() for column in saved.replay.columns.values())
    saved.run()


def test_an_observation_that_is_none_from_the_start_leaves_no_folder(here: Path) -> None:
    def env() -> Fixed:
        return Fixed(memory(2), observation=np.array([0.0, np.nan]))

    refused(EnvironmentFailure, lambda: tiny_train(env), "observation nan", "must be a number", below=here)


# --- Options ----------------------------------------------------------------------------------------------------------

OPTIONS: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"preset": "dreamer_v9"}, ("no preset 'dreamer_v9'", "guide")),
    ({"preset": ""}, ("no preset ''", "guide")),
    ({"horizn": 3}, ("no option 'horizn'", "did you mean 'horizon'")),
    ({"learning_rate": 3}, ("no option 'learning_rate'",)),
    ({"zzz": 3}, ("no option 'zzz'", "--help")),
    ({"steps": "100"}, ("steps is '100'", "int")),
    ({"steps": 1e4}, ("steps is 10000.0", "int")),
    ({"steps": 0}, ("steps is 0", "at least 1")),
    ({"steps": -5}, ("steps is -5", "at least 1")),
    ({"hidden": -1}, ("hidden is -1", "at least 4")),
    ({"hidden": True}, ("hidden is True", "int")),
    ({"latent_size": 0}, ("latent_size is 0", "at least 1")),
    ({"horizon": 0}, ("horizon is 0", "at least 1")),
    ({"batch_size": -2}, ("batch_size is -2", "at least 1")),
    ({"envs": 0}, ("envs is 0", "at least 1")),
    ({"discount": 1.5}, ("discount is 1.5", "between 0 and")),
    ({"discount": float("nan")}, ("discount is nan", "between 0 and")),
    ({"lam": -0.1}, ("lam is -0.1", "between 0 and 1")),
    ({"actor_lr": float("inf")}, ("actor_lr is inf", "between 0 and 1")),
    ({"entropy_scale": -1.0}, ("entropy_scale is -1.0", "0 or more")),
    ({"updates_per_step": float("inf")}, ("updates_per_step is inf", "0 or more, and finite")),
    ({"seed": -1}, ("seed is -1", "between 0 and")),
    ({"seed": 2**64}, ("seed is 18446744073709551616", "between 0 and")),
    ({"threads": 1_000_000}, ("threads is 1000000", "between 0 and 1024")),
    ({"capacity": 10**15}, ("capacity is 1000000000000000", "at most 10**9")),
    ({"layers": 10**7}, ("layers is 10000000", "at most 100")),
    ({"envs": 10**6}, ("envs is 1000000", "at most 10,000")),
    ({"optimizer": np.array(["adam", "laprop"])}, ("optimizer is array", "'adam', 'laprop'")),
    ({"preset": np.array(["guide", "dreamer_v3"])}, ("no preset", "guide")),
    ({"capacity": 9}, ("capacity is 9", "2 environments", "4 rows", "at least 10")),
    ({"capacity": 0}, ("capacity is 0", "at least 1")),
    ({"size": "small"}, ("size is 'small'", "'guide'", "leave it out")),
    ({"device": "tpu"}, ("device is 'tpu'", "'cpu', 'cuda', 'mps'")),
]


@pytest.mark.parametrize(("options", "expected"), OPTIONS, ids=lambda value: str(value))
def test_options_that_cannot_be_used(options: dict[str, Any], expected: tuple[str, ...], here: Path) -> None:
    refused(InputError, lambda: tiny_train("CartPole-v1", **options), *expected, below=here)


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there(device: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    refused(InputError, lambda: tiny_train("CartPole-v1", device=device), f"'{device}'", "'cpu'", below=here)


def test_bad_options_are_refused_before_the_environment_is_built(here: Path) -> None:
    refused(InputError, lambda: tiny_train(raising, horizon=0), "horizon is 0", below=here)


# --- Folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_that_holds_a_run_is_not_written_over(finished: Path) -> None:
    refused(
        InputError,
        lambda: tiny_train("CartPole-v1", out=finished),
        str(finished), "already holds a run", f"wm-tutorial resume {finished}",
        below=finished,
    )  # fmt: skip


@pytest.mark.parametrize("out", ["file", "file/run", "file/a/b"])
def test_a_folder_below_a_file_cannot_be_made(out: str, here: Path) -> None:
    (here / "file").write_text("I am no folder")
    refused(OutputError, lambda: tiny_train("CartPole-v1", out=out), f"folder {out}", "out=", below=here)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is read-only for root")
@pytest.mark.parametrize("out", ["locked", "locked/run"])
def test_a_folder_that_is_read_only(out: str, here: Path) -> None:
    (here / "locked").mkdir(mode=0o500)
    refused(OutputError, lambda: tiny_train("CartPole-v1", out=out), f"folder {out}", "out=", below=here)


def test_without_a_name_every_run_gets_a_new_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wm_tutorial.runs.report.write", lambda *_: None)
    paths = [tiny_train("CartPole-v1", steps=24).path for _ in range(3)]
    assert paths == [Path("runs") / f"CartPole-v1-guide-seed0{suffix}" for suffix in ("", "-2", "-3")]
    assert tiny_train(Scripted, steps=24, seed=5).path == Path("runs/Scripted-guide-seed5")


# --- Going on ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [resume, Run.load, Agent.load, lambda path: Trainer.load(Path(path))])
@pytest.mark.parametrize("path", ["missing", "missing/deeper", "empty"])
def test_there_is_no_run_to_go_on_with(load: Callable[[str], Any], path: str, here: Path) -> None:
    (here / "empty").mkdir()
    refused(CheckpointError, lambda: load(path), f"no checkpoint at {path}", "run folder", below=here)


@pytest.mark.parametrize("load", [resume, Run.load, Agent.load])
def test_a_corrupt_checkpoint(load: Callable[[Path], Any], finished: Path, here: Path) -> None:
    (here / "run").mkdir()
    (here / "run" / CHECKPOINT).write_bytes((finished / CHECKPOINT).read_bytes()[:-500])
    refused(CheckpointError, lambda: load(here / "run"), f"run/{CHECKPOINT}", "damaged, truncated", below=here)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden": 9},
        {"layers": 2},
        {"latent_size": 5},
        {"envs": 1},
        {"envs": 3},
        {"capacity": 20},
        {"seed": 3},
        {"preset": "dreamer_v3"},
        {"prefill": 0},
        {"updates_per_step": 1.0},
        {"heads": "two-hot"},
    ],
    ids=str,
)
def test_what_a_run_is_cannot_change_in_the_middle_of_it(changes: dict[str, Any], finished: Path) -> None:
    ((name, value),) = changes.items()
    refused(
        InputError,
        lambda: resume(finished, **changes),
        f"{name} is {value!r}, and was", "cannot change in the middle of a run", "What can change is steps",
        below=finished,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"stepz": 100}, ("no option 'stepz'", "'steps'")),
        ({"steps": 0}, ("steps is 0", "at least 1")),
        ({"steps": 10}, ("steps is 10", "has made 6", "leave it out")),
        ({"size": "nano"}, ("size is 'nano'", "leave it out")),
        ({"preset": "unknown"}, ("no preset 'unknown'", "guide")),
    ],
)
def test_a_run_is_not_resumed_with_options_that_cannot_be_used(
    changes: dict[str, Any], expected: tuple[str, ...], finished: Path
) -> None:
    refused(InputError, lambda: resume(finished, **changes), *expected, below=finished)


@pytest.mark.parametrize("other", ["Pendulum-v1", "MountainCar-v0", Scripted])
def test_a_run_is_not_resumed_on_another_environment(other: EnvSource, finished: Path) -> None:
    refused(
        InputError,
        lambda: resume(finished, other),
        "vector observations (4,), 2 discrete actions", "this environment has vector observations",
        below=finished,
    )  # fmt: skip


def test_a_run_with_a_callable_is_not_resumed_without_it(here: Path) -> None:
    Trainer(Scripted, tiny(), here / "run").save()
    for load in (resume, Run.load):
        refused(InputError, lambda: load("run"), "run", "callable", "env=", below=here)  # noqa: B023


def test_a_run_on_an_id_that_is_no_longer_known(here: Path) -> None:
    gym.register("HereToday-v0", Scripted)
    Trainer("HereToday-v0", tiny(), here / "run").save()
    gym.registry.pop("HereToday-v0")
    refused(InputError, lambda: resume("run"), "'HereToday-v0'", "callable", below=here)
    assert Agent.load("run")  # the agent needs no environment


# --- What a finished agent is asked -----------------------------------------------------------------------------------


@pytest.mark.parametrize("episodes", [0, -3])
def test_no_episodes(episodes: int, finished: Path) -> None:
    run = Run.load(finished)
    refused(InputError, lambda: run.evaluate(episodes), f"{episodes} episodes", "at least 1", below=finished)


def test_negative_seeds(finished: Path) -> None:
    run = Run.load(finished)
    refused(InputError, lambda: run.evaluate(3, seed=-1), "seed -1", "0 or more", below=finished)
    refused(InputError, lambda: run.evaluate(3, seed=2**64), "18446744073709551616", "2**63 - 1", below=finished)
    refused(InputError, lambda: run.dream(seed=2**64), "18446744073709551616", "2**63 - 1", below=finished)
    refused(InputError, lambda: run.dream(seed=-1), "seed -1", "0 or more", below=finished)


@pytest.mark.parametrize("number", ["3", 3.0, None, True, np.arange(2)])
def test_numbers_that_are_not_whole(number: Any, finished: Path) -> None:
    run, says = Run.load(finished), "must be a whole number"
    refused(InputError, lambda: run.evaluate(number), f"episodes is {number!r}", says, below=finished)
    refused(InputError, lambda: run.evaluate(3, seed=[number]), f"seed is {[number]!r}", says, below=finished)
    refused(InputError, lambda: run.dream(number), f"context is {number!r}", says, below=finished)
    refused(InputError, lambda: open_loop_errors(run.agent, "CartPole-v1", number), "episodes is", says, below=finished)


def test_numpy_counts_as_well(finished: Path) -> None:
    run, (one, two) = Run.load(finished), np.arange(1, 3)
    assert run.evaluate(two, seed=one) == run.evaluate(2, seed=1)
    assert np.array_equal(run.dream(two, two, one).obs, run.dream(2, 2, 1).obs)


@pytest.mark.parametrize(("context", "horizon"), [(0, 5), (-1, 5), (5, 0), (5, -2)])
def test_dreams_without_a_beginning_or_an_end(context: int, horizon: int, finished: Path) -> None:
    run, expected = Run.load(finished), (f"context of {context}", f"horizon of {horizon}", "at least 1")
    refused(InputError, lambda: run.dream(context, horizon), *expected, below=finished)


def test_a_context_longer_than_every_episode_names_the_longest(here: Path) -> None:
    source: Callable[[], Scripted] = lambda: Scripted([2, 3, 1])  # noqa: E731
    agent = Trainer(source, tiny()).agent
    refused(InputError, lambda: dream(agent, source, context=4), "4 rows", "below 4", below=here)
    assert len(dream(agent, source, context=3).obs) == 4


def test_an_agent_is_not_used_on_another_environment(here: Path) -> None:
    agent = Trainer("CartPole-v1", tiny()).agent
    expected = ("vector observations (4,), 2 discrete actions", "vector observations (3,), 1 continuous actions")
    refused(InputError, lambda: evaluate(agent, "Pendulum-v1", 2, seed=0), *expected, below=here)
    refused(InputError, lambda: dream(agent, "Pendulum-v1"), *expected, below=here)


def test_an_agent_is_not_used_with_actions_in_other_units(here: Path) -> None:
    """The shapes fit, but -1 and 1 would mean something else."""

    def env(high: float) -> EnvSource:
        return lambda: Fixed(memory(1), Box(-1.0, high, (1,), np.float32))

    agent = Trainer(env(1.0), tiny()).agent
    with pytest.raises(InputError, match=r"made for .*, but action_high \(2.0,\) instead of \(1.0,\)"):
        evaluate(agent, env(2.0), 2, seed=0)


@pytest.mark.parametrize(
    "observation", [np.zeros(3), np.zeros((1, 2, 4)), np.zeros(8), [0.0, 0.0, np.nan, 0.0], "left", None]
)
def test_an_observation_of_something_else(observation: Any, finished: Path) -> None:
    agent = Agent.load(finished)
    refused(InputError, lambda: agent.act(observation), repr(observation), "vector observations (4,)", below=finished)


# --- And what is accepted ---------------------------------------------------------------------------------------------


def test_the_refused_run_is_as_it_was(finished: Path) -> None:
    """After everything above, the run that was to be spoilt goes on as ever."""
    trainer = Trainer.load(finished)
    fresh = Trainer("CartPole-v1", tiny())
    fresh.run()
    assert_same(snapshot(trainer), snapshot(fresh))


def test_errors_are_what_python_would_call_them() -> None:
    """Whoever catches ValueError or OSError catches these too."""
    with pytest.raises(ValueError, match=re.escape("horizon is 0")):
        Config(horizon=0)
    assert issubclass(OutputError, OSError)
    assert issubclass(EnvironmentFailure, RuntimeError)
    assert issubclass(CheckpointError, ValueError)
