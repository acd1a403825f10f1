"""Environments in other processes, or stepped by an engine, return the rows that they would return here."""

import itertools
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, MultiDiscrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from scripted import TINY, Forgetful, Scripted, Seeded, assert_same, snapshot, timeless, tiny, written

from wm_tutorial import Trainer, cli, resume, train
from wm_tutorial.data import Row
from wm_tutorial.envs import Environments
from wm_tutorial.errors import EnvironmentFailure, InputError
from wm_tutorial.vector import Placed, Processes, VectorEnvironments, environments

SEED = (0, 7)
EVENTFUL = {"eval_every": 16, "log_every": 10, "updates_per_step": 0.5}


class Continuous(Seeded):
    def __init__(self) -> None:
        super().__init__(Box(np.array([-1, 0], np.float32), np.array([2, 0.5], np.float32)))


def in_step(source: Any, count: int, _: int) -> SyncVectorEnv:
    """Gymnasium's own loop over environments that are seeded as those of a run."""
    return SyncVectorEnv([lambda i=i: Placed(source(), (*SEED, i)) for i in range(count)])  # type: ignore[misc]


def plain(count: int, seed: int, source: Any = Seeded, **options: Any) -> SyncVectorEnv:
    """An engine that knows nothing of this package."""
    return SyncVectorEnv([source] * count, **options)


def rows(collected: Environments, steps: int = 40) -> list[Row]:
    rng, row = np.random.default_rng(3), collected.reset()
    found = [row]
    for _ in range(steps):
        row = collected.step(row, collected.random_action(rng))
        found.append(row)
    return found


def assert_same_rows(found: list[Row], expected: list[Row]) -> None:
    assert_same([vars(row) for row in found], [vars(row) for row in expected])


@pytest.fixture
def closing() -> Iterator[Callable[[Environments], Environments]]:
    """Closes what it was given."""
    opened: list[Environments] = []
    yield lambda one: opened.append(one) or one  # type: ignore[func-returns-value]
    for one in opened:
        one.close()


# --- The same rows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [Seeded, Continuous, partial(gym.make, "CartPole-v1")], ids=["a", "b", "c"])
@pytest.mark.parametrize("engine", ["processes", "in step"])
def test_the_rows_are_those_of_the_same_seeds_in_this_process(engine: str, source: Any, closing: Any) -> None:
    expected = rows(here := closing(Environments(source, 3, SEED)))
    vector = "processes" if engine == "processes" else partial(in_step, source)
    there = closing(environments(source, 3, SEED, vector))
    assert_same_rows(rows(there), expected)
    assert sum(row.is_last.sum() for row in expected) >= 3  # episodes end on the way
    if engine == "processes":
        assert there.state() == here.state()


def test_what_is_here_can_go_on_there_and_back(closing: Any) -> None:
    here, there = closing(Environments(Seeded, 2, SEED)), closing(Processes(Seeded, 2, SEED))
    for turn in range(1, 6):  # in the middle of episodes, and at their ends
        lived = rows(here, 2 * turn)[-1]
        assert_same(vars(there.restore(here.state(), lived)), vars(lived))
        action = here.random_action(np.random.default_rng(turn))
        assert_same(vars(there.step(lived, action)), vars(here.step(lived, action)))
        assert there.state() == here.state()


def test_an_environment_that_does_not_repeat_itself_begins_a_new_episode(
    closing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Forgetful, "count", itertools.count(100))  # there it counts from 0
    here, there = closing(Environments(Forgetful, 2, SEED)), closing(Processes(Forgetful, 2, SEED))
    lived = rows(here, 3)[-1]
    row = there.restore(here.state(), lived)
    assert row.is_first.all() and not row.is_last.any() and not row.reward.any()
    assert [place["actions"] for place in there.state()] == [[], []]
    assert [p["episode"] for p in there.state()] == [p["episode"] + 1 for p in here.state()]


# --- Runs -------------------------------------------------------------------------------------------------------------


def test_a_run_in_processes_is_the_run_and_may_change_between_the_two(tmp_path: Path) -> None:
    whole = Trainer(Seeded, tiny(**EVENTFUL), tmp_path / "whole")
    whole.run()
    moved = Trainer(Seeded, tiny(**EVENTFUL), tmp_path / "moved", "processes")
    moved.callbacks = lambda trainer, event, *_: event == "on_step" and trainer.steps > 30
    moved.run()
    moved.environments.close()
    assert moved.stopped and moved.environment_name == "Seeded"
    back = Trainer.load(tmp_path / "moved", Seeded)
    back.run()
    assert_same(snapshot(back), snapshot(whole))
    assert timeless(written(tmp_path / "moved")) == timeless(whole.records)
    there = Trainer.load(tmp_path / "whole", Seeded, "processes", steps=80)
    here = Trainer.load(tmp_path / "whole", Seeded, steps=80)
    there.folder = here.folder = None
    there.run(), here.run()
    there.environments.close()
    assert_same(snapshot(there), snapshot(here))


def test_an_engine_is_stepped_and_a_resumed_run_begins_new_episodes_of_other_seeds(tmp_path: Path) -> None:
    asked: list[tuple[int, int]] = []

    def engine(count: int, seed: int) -> SyncVectorEnv:
        asked.append((count, seed))
        return plain(count, seed)

    run = train(Seeded, out=tmp_path, draw=False, vector=engine, **{**TINY, **EVENTFUL})
    stored, before = len(run.trainer.replay), run.trainer.row
    run.close()
    resumed = resume(tmp_path, Seeded, draw=False, vector=engine, steps=90)
    numbers = [seed for _, seed in asked]
    assert [count for count, _ in asked] == [2, 2, 2] and all(0 <= seed < 2**31 for seed in numbers)
    assert numbers[0] == numbers[1] != numbers[2]  # begun; opened again; gone on
    assert resumed.trainer.steps >= 90 and len(resumed.trainer.replay) > stored
    assert not np.isin(before.obs[:, 0], resumed.trainer.row.obs[:, 0]).any()
    resumed.close()


def test_an_engine_of_ones_own_is_used_as_it_is() -> None:
    vector = plain(2, 0)
    trainer = Trainer(Seeded, tiny(), vector=vector)
    trainer.run()
    assert trainer.environments.engine is vector
    episodes = [record for record in trainer.records if record["kind"] == "episode"]
    assert {record["length"] for record in episodes} <= set(range(1, 10)) and len(episodes) > 5
    trainer.environments.close()
    assert vector.closed


def test_rows_of_an_engine_know_time_limits_from_ends(closing: Any) -> None:
    """Of episodes of 3 steps that end, and of 2 that are cut: rewards 10 * episode + step, 0 where one begins."""
    source = partial(Scripted, (3, -2))
    found = rows(closing(VectorEnvironments(source, 1, SEED, partial(plain, source=source))), 7)
    assert [float(row.reward[0]) for row in found] == [0, 1, 2, 3, 0, 11, 12, 0]
    assert [bool(row.is_first[0]) for row in found] == [True, False, False, False, True, False, False, True]
    assert [bool(row.is_last[0]) for row in found] == [False, False, False, True, False, False, True, False]
    assert [bool(row.is_terminal[0]) for row in found] == [False, False, False, True, *[False] * 4]
    assert [row.obs[0].tolist() for row in found][3:5] == [[0.0, 3.0], [1.0, 0.0]]  # no observation is lost


def test_the_command_line_asks_for_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    for command in ("train", "resume"):
        for words, expected in (([], None), (["--envs-in", "processes"], "processes")):
            given: list[Any] = []

            def stop(*_: Any, vector: Any, given: list[Any] = given, **__: Any) -> None:
                given.append(vector)
                raise KeyboardInterrupt

            monkeypatch.setattr(cli, command, stop)
            with pytest.raises(KeyboardInterrupt):
                cli.command_line([command, "CartPole-v1", *words])()
            assert given == [expected]


# --- What goes wrong there --------------------------------------------------------------------------------------------


class Breaks(Seeded):
    """Does something at a step of a third episode, once there is a file that says so."""

    file = "break"

    def step(self, action: Any) -> Any:
        if self.moment == 1 and os.path.exists(self.file):
            self.broken()
        return super().step(action)

    def broken(self) -> None:
        raise ConnectionError("lost")


class Dies(Breaks):
    def broken(self) -> None:
        os._exit(7)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Breaks, "The environment raised ConnectionError: lost. Saved at step"),
        (Dies, r"The process of an environment has ended \(exit code 7\): its simulator crashed.*Saved at step"),
    ],
)
def test_a_process_that_fails_is_one_error_and_the_run_is_saved(
    source: type[Breaks], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(updates_per_step=0.5, eval_every=0)  # an evaluation would break here, too
    whole = Trainer(source, config, tmp_path / "whole")
    whole.run()
    monkeypatch.setattr(source, "file", str(tmp_path / "break"))

    def build() -> gym.Env[Any, Any]:
        env = source()
        env.file = str(tmp_path / "break")
        return env

    trainer = Trainer(build, config, tmp_path / "parts", "processes")

    def spoil(trainer: Trainer, event: str, *_: Any) -> bool:
        if event == "on_step" and trainer.steps > 30:
            (tmp_path / "break").touch()
        return False

    trainer.callbacks = spoil
    with pytest.raises(EnvironmentFailure, match=expected):
        trainer.run()
    processes = trainer.environments.engine.processes
    trainer.environments.close()
    assert not any(process.is_alive() for process in processes)
    (tmp_path / "break").unlink()
    resumed = Trainer.load(tmp_path / "parts", source)
    resumed.run()
    assert_same(snapshot(resumed), snapshot(whole))


def test_a_closed_run_leaves_no_process(closing: Any) -> None:
    there = Processes(Seeded, 2, SEED)
    processes = there.engine.processes
    assert all(process.is_alive() for process in processes)
    there.close()
    assert there.closed and not any(process.is_alive() for process in processes)


def other_spaces(count: int, seed: int) -> SyncVectorEnv:
    return plain(count, seed, Scripted)


def silent(count: int, seed: int) -> SyncVectorEnv:
    vector = plain(count, seed)
    del vector.metadata["autoreset_mode"]
    return vector


class Numbers(Seeded):
    """A reward that is none."""

    def step(self, action: Any) -> Any:
        obs, _, *rest = super().step(action)
        return obs, float("nan"), *rest


@pytest.mark.parametrize(
    ("vector", "expected"),
    [
        (
            partial(plain, autoreset_mode=AutoresetMode.SAME_STEP),
            "'SameStep': it begins the next episode in the step",
        ),
        (
            partial(plain, autoreset_mode=AutoresetMode.SAME_STEP),
            "is lost to the model (the mistake terminal_",
        ),
        (
            partial(plain, autoreset_mode=AutoresetMode.DISABLED),
            "'Disabled': it leaves ended episodes to whoever",
        ),
        (silent, "autoreset_mode None: its metadata do not say"),
        (lambda count, seed: plain(3, seed), "steps 3 environments, and envs is 2: give envs=3"),
        (other_spaces, "has vector observations (2,), 2 discrete actions, and the environment that the agent is eval"),
        (lambda count, seed: Seeded(), "The vector is a Seeded; it must be a gymnasium.vector.VectorEnv"),
        (lambda count, seed: 1 / 0, "The callable for a vector of 2 environments raised ZeroDivisionError"),
        ("threads", "vector is 'threads'; give 'processes'"),
        (3, "vector is 3; give 'processes'"),
    ],
)
def test_engines_that_lose_something_are_refused_with_the_reason(vector: Any, expected: str) -> None:
    with pytest.raises(InputError, match=re.escape(expected)):
        environments(Seeded, 2, SEED, vector)


@pytest.mark.parametrize("vector", ["processes", partial(plain, source=lambda: Seeded(MultiDiscrete([2, 3])))])
def test_actions_of_several_parts_are_refused_before_anything_is_stepped(vector: Any) -> None:
    with pytest.raises(InputError, match=r"MultiDiscrete\(\[2 3\]\): leave vector out"):
        environments(lambda: Seeded(MultiDiscrete([2, 3])), 2, SEED, vector)


def test_numbers_that_are_none_are_told(closing: Any) -> None:
    with pytest.raises(EnvironmentFailure, match=r"returned the rewards \[.*nan"):
        rows(closing(VectorEnvironments(Seeded, 2, SEED, partial(plain, source=Numbers))))


def test_an_observation_outside_its_space_is_told(closing: Any) -> None:
    class Odd(Seeded):
        def observation(self) -> Any:
            return np.array([np.nan, 0.0, 0.0], np.float32)

    with pytest.raises(EnvironmentFailure, match="The vector environment returned"):
        rows(closing(VectorEnvironments(Seeded, 2, SEED, partial(plain, source=Odd))), 1)
