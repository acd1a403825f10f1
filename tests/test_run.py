"""A run and its folder: made for one run only, kept from a second one, found again by whatever name it was given."""

import multiprocessing
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted import TINY, Scripted, Seeded, Troupe, tiny, tree

from wm_tutorial import Run, Trainer, resume, train
from wm_tutorial.checkpoint import CHECKPOINT
from wm_tutorial.errors import CheckpointError, EnvironmentFailure, InputError, OutputError, command
from wm_tutorial.runs import folder as folder_module
from wm_tutorial.runs.asked import check_learns, path_of, whole_number, whole_numbers
from wm_tutorial.runs.folder import LOCK, locked, new_folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and no figures: nobody looks at them here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("wm_tutorial.runs.report.write", lambda *_: None)
    return tmp_path


def tiny_train(env: Any = "CartPole-v1", **options: Any) -> Run:
    return train(env, **{**TINY, **options})


# --- New folders ------------------------------------------------------------------------------------------------------


def test_runs_that_begin_at_once_have_a_folder_each() -> None:
    """Many rounds of threads that wait for each other just before."""
    for turn in range(30):
        together, made = threading.Barrier(8), list[Path]()

        def begin(together: threading.Barrier = together, made: list[Path] = made, turn: int = turn) -> None:
            together.wait()
            made.append(new_folder(None, f"run{turn}"))

        threads = [threading.Thread(target=begin) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        names = {f"run{turn}", *(f"run{turn}-{number}" for number in range(2, 9))}
        assert len(made) == 8 and {path.name for path in made} == names


@pytest.mark.parametrize("name", ["index.html", "config.json", "metrics.jsonl", "agent.safetensors"])
def test_files_of_somebody_else_are_not_written_over(name: str, here: Path) -> None:
    (here / "site").mkdir()
    (here / "site" / name).write_text('{"compilerOptions": {}}')
    before = tree(here)
    with pytest.raises(InputError, match=f"site holds {name}.*Choose a new folder"):
        tiny_train(out="site")
    assert tree(here) == before


def test_other_files_in_a_folder_are_no_obstacle(here: Path) -> None:
    (here / "notes").mkdir()
    (here / "notes" / "ideas.txt").write_text("mine")
    assert tiny_train(out="notes").path == Path("notes")
    assert (here / "notes" / "ideas.txt").read_text() == "mine"


@pytest.mark.parametrize("out", ["", "a\0b", 3, b"runs", ["runs"]])
def test_what_is_no_path_is_refused(out: Any, here: Path) -> None:
    calls: list[Callable[[], Run]] = [lambda: tiny_train(out=out), lambda: Run.load(out), lambda: resume(out)]
    for call in calls:
        with pytest.raises(InputError, match="give a folder"):
            call()
    assert not tree(here)


def test_the_home_of_the_user_is_found_in_every_path(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here / "home"))
    monkeypatch.setenv("USERPROFILE", str(here / "home"))
    assert tiny_train(out="~/runs/a").path == here / "home/runs/a"
    assert Run.load("~/runs/a").path == resume("~/runs/a").path == here / "home/runs/a"
    assert not (here / "~").exists()
    with pytest.raises(InputError, match=r"'~nobody_at_all/a'.*home folder is unknown"):
        path_of("~nobody_at_all/a")


def test_a_run_killed_before_its_first_checkpoint_is_told_from_no_run(here: Path) -> None:
    folder = tiny_train(out="killed run").path
    (folder / CHECKPOINT).unlink()  # as it is until then
    for load in (resume, Run.load):
        with pytest.raises(CheckpointError, match=r"stopped before its first one.*train ENV --out 'killed run'"):
            load(folder)
    assert tiny_train(out=folder).path == folder  # and the advice can be followed
    (here / "stranger").mkdir()
    (here / "stranger" / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="There is no checkpoint at stranger"):
        resume("stranger")


def test_a_file_of_a_run_stands_for_its_folder() -> None:
    folder = tiny_train(out="run").path
    assert Run.load(folder / CHECKPOINT).path == folder


# --- One run at a time ------------------------------------------------------------------------------------------------


def stopped_in(folder: Path, then: Callable[[], Any]) -> None:
    """Do something while a run is at work in a folder."""

    class Calling(Seeded):
        called = False

        def step(self, action: Any) -> Any:
            if not Calling.called:
                Calling.called = True
                then()
            return super().step(action)

    tiny_train(Calling, out=folder)
    assert Calling.called


def test_a_folder_in_use_is_refused_to_a_second_run_and_to_resume(here: Path) -> None:
    finished = tiny_train(Seeded, out="finished").path
    refused: list[str] = []

    def second() -> None:
        calls: list[Callable[[], Run]] = [lambda: tiny_train(out="one"), lambda: resume("finished", Seeded)]
        for call in calls:
            with pytest.raises(InputError) as caught:
                call()
            refused.append(str(caught.value))

    with locked(finished):
        stopped_in(Path("one"), second)
    assert f"one is in use: process {os.getpid()} on " in refused[0] and "finished is in use" in refused[1]
    assert resume("finished", Seeded, steps=99).trainer.steps >= 99  # free again
    assert not list(here.rglob(LOCK))


def hold(folder: Path, ready: Any) -> None:
    with locked(folder):
        ready.set()
        time.sleep(600)


def test_a_run_killed_without_mercy_blocks_nobody(here: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold, args=(here, ready), daemon=True)
    process.start()
    try:
        assert ready.wait(60)
        with pytest.raises(InputError, match=f"in use: process {process.pid} on"), locked(here):
            pass
    finally:
        process.kill()
        process.join()
    assert (here / LOCK).exists()  # it had no time to tidy up
    with locked(here):
        pass
    assert not (here / LOCK).exists()


def test_a_lock_taken_while_its_file_is_removed_is_taken_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that was opened is that of a run which has just ended: holding it would keep nobody out."""
    try_, turns = folder_module._try_to_lock, []

    def late(file: Any) -> bool:
        turns.append(file)
        if len(turns) == 1:
            (here / LOCK).unlink()
        return try_(file)

    monkeypatch.setattr(folder_module, "_try_to_lock", late)
    with locked(here):
        assert len(turns) == 2 and (here / LOCK).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="another kind of lock")
def test_a_file_system_without_locks_is_no_obstacle(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> None:
        raise OSError(45, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", none)
    with locked(here):
        assert (here / LOCK).exists()


def test_a_folder_that_is_gone_cannot_be_locked(here: Path) -> None:
    with pytest.raises(OutputError, match=r"run folder .*gone: "), locked(here / "gone"):
        pass


# --- Environments are closed ------------------------------------------------------------------------------------------


def open_ones(troupe: Troupe) -> int:
    return sum(not env.closed for env in troupe.built)


def test_a_run_closes_its_environments_once_it_is_left() -> None:
    troupe = Troupe([3, -4])
    with tiny_train(troupe) as run:
        assert open_ones(troupe) == TINY["envs"]
        run.evaluate(2), run.dream(1, 2)
    assert open_ones(troupe) == 0 and len(troupe.built) > TINY["envs"]
    run.close()  # again
    assert len(run.evaluate(2).returns) == 2  # in environments of its own


def test_with_one_environment_a_single_simulator_is_enough_from_the_first_step_to_a_dream() -> None:
    most = 0

    class Single(Troupe):
        def __call__(self) -> Scripted:
            nonlocal most
            env = super().__call__()
            most = max(most, open_ones(self))
            return env

    with tiny_train(Single([9, -12]), envs=1, eval_every=30) as run:
        assert run.evaluate(30).mean and run.dream(1, 2).context == 1
    assert most == 1


@pytest.mark.parametrize("error", [EnvironmentFailure("broken"), KeyboardInterrupt(), SystemExit()], ids=repr)
def test_a_run_that_fails_closes_its_environments(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    troupe = Troupe([3, -4])

    def fail(self: Trainer) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", fail)
        with pytest.raises(type(error)):
            tiny_train(troupe, out="run")
    assert troupe.built and not open_ones(troupe)
    folder = tiny_train(Scripted, out="run").path
    again = Troupe([3])
    monkeypatch.setattr(Trainer, "run", fail)
    with pytest.raises(type(error)):
        resume(folder, again)
    assert again.built and not open_ones(again)


def test_a_dream_that_fails_closes_its_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    run, troupe = tiny_train(Scripted), Troupe([3, -4])
    run.trainer.source = troupe
    monkeypatch.setattr("wm_tutorial.agent.Agent.policy", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run.dream()
    assert troupe.built and not open_ones(troupe)


# --- What is asked ----------------------------------------------------------------------------------------------------


def test_numbers_are_whole_and_may_be_those_of_numpy() -> None:
    assert whole_number("seed", np.int64(7)) == 7 and type(whole_number("seed", np.int64(7))) is int
    assert whole_numbers("seeds", np.arange(3)) == [0, 1, 2] == whole_numbers("seeds", (0, 1, 1, 2, 0))
    for value in ("3", 2.5, True, None, 2**64):
        with pytest.raises(InputError, match=r"seed is .*must be a whole number"):
            whole_number("seed", value)
    for values in ("012", 3, [], [1, -1]):
        with pytest.raises(InputError, match=r"seeds? (is|are)"):
            whole_numbers("seeds", values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"episodes": "3"}, "episodes is '3'"),
        ({"episodes": 2.5}, "episodes is 2.5"),
        ({"seed": 2**64}, f"seed is {2**64}"),
        ({"seed": "0"}, "seed is '0'"),
        ({"greedy": "no"}, "greedy is 'no'; give True"),
        ({"greedy": 0}, "greedy is 0; give True"),
    ],
)
def test_evaluations_that_cannot_be_made(asked: dict[str, Any], expected: str) -> None:
    run = tiny_train()
    with pytest.raises(InputError, match=re.escape(expected)):
        run.evaluate(**{"episodes": 2, **asked})


@pytest.mark.parametrize("asked", [{"context": "5"}, {"horizon": 2.5}, {"seed": 2**64}, {"seed": None}])
def test_dreams_that_cannot_be_dreamed(asked: dict[str, Any]) -> None:
    run = tiny_train()
    with pytest.raises(InputError, match=rf"{next(iter(asked))} .*(whole number|2\*\*63)"):
        run.dream(**asked)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"steps": 500, "prefill": 1000}, "steps is 500 and prefill 1000.*nothing learned"),
        ({"steps": 21, "prefill": 20}, "Give more than 24 steps"),
        ({"steps": 30, "prefill": 0, "envs": 8, "sequence_length": 32}, "30, in 8 environments.*at least 256 steps"),
    ],
)
def test_a_run_that_would_learn_nothing_is_refused_before_it_begins(
    options: dict[str, Any], expected: str, here: Path
) -> None:
    with pytest.raises(InputError, match=expected):
        tiny_train(**options)
    assert not tree(here)


def test_a_run_that_learns_a_little_is_not_refused() -> None:
    for options in ({}, {"steps": 24}, {"steps": 10, "updates_per_step": 0.0}):
        check_learns(tiny(**options))
    assert tiny_train(steps=24).trainer.updates == 1


# --- What is printed --------------------------------------------------------------------------------------------------


def test_commands_can_be_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("resume", Path("my runs/a&b"), "--steps", 3)
    assert command(*words) == "wm-tutorial resume 'my runs/a&b' --steps 3"
    if os.name != "nt":
        shown = subprocess.run(["sh", "-c", f"printf '%s|' {command(*words)}"], capture_output=True, text=True)
        assert shown.stdout == "wm-tutorial|resume|my runs/a&b|--steps|3|"
    assert command("resume", Path("-x")) == "wm-tutorial resume ./-x"  # no option
    monkeypatch.setattr(os, "name", "nt")
    assert command("resume", r"C:\my runs\a") == r'wm-tutorial resume "C:\my runs\a"'


def test_every_command_that_an_error_prints_is_quoted(here: Path) -> None:
    folder = tiny_train(out="my run").path
    with pytest.raises(InputError, match=r"already holds a run.*wm-tutorial resume 'my run'$"):
        tiny_train(out=folder)


def test_a_run_is_called_by_the_class_that_a_lambda_builds(here: Path) -> None:
    run = tiny_train(lambda: Seeded())
    assert run.path == Path("runs/Seeded-guide-seed0")
    assert folder_module.settings_of(run.path)["environment"] == "Seeded"  # type: ignore[index]


def test_the_message_about_another_environment_says_which_is_which(here: Path) -> None:
    folder = tiny_train().path
    with pytest.raises(InputError, match=r"made for vector observations \(4,\).*this environment has .*\(3,\)"):
        Run.load(folder, Seeded)
