"""Several runs at once: the same results as one after the other, failures that stay where they are, safe interruption.

Ray is looked for in .venv-ray (`make engines` installs it there), or where the variable WM_TUTORIAL_RAY says.
"""

import dataclasses
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from real_engines import mixed
from scripted import Seeded, tiny

from wm_tutorial import cli
from wm_tutorial.errors import InputError, JobsFailed
from wm_tutorial.runs import jobs, measure
from wm_tutorial.runs.jobs import Job, outcomes
from wm_tutorial.zoo.experiment import experiment

ROOT = Path(__file__).parent.parent
CONFIG = tiny(eval_every=30)


def ray() -> Path:
    """The Python that has Ray; the test is skipped where there is none."""
    found = Path(os.environ.get("WM_TUTORIAL_RAY", ROOT / ".venv-ray" / "bin" / "python"))
    if not found.exists():
        pytest.skip("Ray is not installed: `make engines` does it; that engine is not tried")
    return found


def settings() -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), "OMP_NUM_THREADS": "1", "COLUMNS": "200",
    }  # fmt: skip


def words(options: dict[str, Any]) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def same_files(found: Path, expected: Path) -> None:
    """Byte for byte, but for times, and for the command that has made them."""
    assert sorted(path.name for path in found.iterdir()) == sorted(path.name for path in expected.iterdir())
    for path in expected.iterdir():
        contents = [(folder / path.name).read_bytes() for folder in (found, expected)]
        if path.suffix == ".json":
            contents = [re.sub(rb'"(seconds|command)": ("[^"]*"|\{[^}]*\})|minutes": [\d.]+', b"", c) for c in contents]
        assert contents[0] == contents[1], path.name


def written_by_cli(command: list[str], at: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=at, env=settings(), capture_output=True, text=True, timeout=500)


# --- Jobs -------------------------------------------------------------------------------------------------------------


def assert_mixed(found: dict[str, tuple[Any, str | None]]) -> None:
    assert {name: result for name, (result, failure) in found.items() if failure is None} == {
        "length": 3, "closure": 4, "threads": 1,
    }  # fmt: skip
    assert found["wrong"][1] == "ValueError: invalid literal for int() with base 10: 'x'"
    assert "InputError: engine is 'cloud'; there are 'local' and 'ray'." in str(found["refused"][1])
    assert found["dies"][1] and found["dies"][0] is None


def test_a_job_that_fails_is_an_outcome_and_the_others_go_on(capfd: pytest.CaptureFixture[str]) -> None:
    found = {done.job.name: (done.result, done.failure) for done in outcomes(mixed(), "local", 3)}
    assert_mixed(found)
    assert "exit code 7" in str(found["dies"][1])
    told = capfd.readouterr().err
    assert "wrong: Traceback" in told and "wrong: ValueError: invalid literal for int() with base 10" in told


def test_one_job_at_a_time_raises_what_it_raises() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        list(outcomes(mixed()[3:]))


def test_whoever_stops_asking_ends_the_rest() -> None:
    asked = outcomes([Job("quick", partial(len, "abc")), Job("slow", partial(time.sleep, 600))], "local", 2)
    assert next(asked).result == 3
    started = time.monotonic()
    asked.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < jobs.PATIENCE


def test_what_cannot_be_kept_ends_the_rest(tmp_path: Path) -> None:
    def keep(job: Job, result: Any) -> None:
        raise OSError("the disk is full")

    waiting = [Job("quick", partial(len, "abc")), Job("slow", partial(time.sleep, 600))]
    with pytest.raises(OSError, match="the disk is full"):
        jobs.all_of(waiting, keep, "local", 2)
    assert not [child for child in multiprocessing.active_children() if child.name == "slow"]


def test_of_a_progress_bar_a_line_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now, told = [0.0], list[str]()
    monkeypatch.setattr(jobs.time, "monotonic", lambda: now[0])
    lines = jobs._Lines(told.append)
    lines.write("Replay of 400 rows\n")
    for second in range(45):
        now[0] = float(second)
        lines.write(f"\rlearning {second}")
    lines.write("\rdone 45\n")
    assert told == ["Replay of 400 rows", "learning 0", "learning 20", "learning 40", "done 45"]


@pytest.mark.parametrize(
    ("engine", "count", "expected"),
    [
        ("cloud", 1, "engine is 'cloud'; there are 'local' and 'ray'"),
        ("local", 0, "jobs is 0; it must be a whole number from 1"),
        ("local", 1.5, "jobs is 1.5"),
        ("ray", 2, 'pip install "wm_tutorial[ray]"'),
    ],
)
def test_what_cannot_be_asked_for_is_told_before_anything_begins(
    engine: str, count: Any, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=re.escape(expected)):
        measure.measure(Seeded, CONFIG, [0], tmp_path / "result", engine=engine, jobs=count)
    assert not (tmp_path / "result").exists()


def test_the_command_line_passes_on_where_the_runs_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    for command, function in (("measure", "measure"), ("zoo", "experiment")):
        given: dict[str, Any] = {}

        def stop(*_: Any, given: dict[str, Any] = given, **options: Any) -> None:
            given.update(options)
            raise KeyboardInterrupt

        monkeypatch.setattr(cli, function, stop)
        more = ["--bugs", "reward_late"] if command == "zoo" else ["--envs-in", "processes"]
        with pytest.raises(KeyboardInterrupt):
            cli.command_line([command, "CartPole-v1", "--out", "x", "--engine", "ray", "--jobs", "3", *more])()
        assert given == {"engine": "ray", "jobs": 3} | ({"vector": "processes"} if command == "measure" else {})


# --- Measuring --------------------------------------------------------------------------------------------------------


@pytest.fixture
def sequential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two seeds of CartPole, one after the other."""
    monkeypatch.chdir(tmp_path)
    measure.measure("CartPole-v1", CONFIG, [0, 1], tmp_path / "one", episodes=3)
    return tmp_path / "one"


def test_seeds_side_by_side_leave_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also where the environment was registered in this process only."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(gym.registry, "Here-v0", gym.envs.registration.EnvSpec("Here-v0", lambda: Seeded()))
    measure.measure("Here-v0", CONFIG, [0, 1], tmp_path / "one", episodes=3)
    capfd.readouterr()
    summary = measure.measure("Here-v0", CONFIG, [0, 1], tmp_path / "two", episodes=3, jobs=2)
    same_files(tmp_path / "two", tmp_path / "one")
    assert list(summary["seeds"]) == ["0", "1"]
    told = capfd.readouterr().err
    for seed in (0, 1):  # what each is doing can be seen
        assert f"seed {seed}: One update takes" in told and re.search(rf"seed {seed}: done 100%.* 60/60", told)


class Poisoned(Seeded):
    """Breaks in the run of seed 1, as long as there is a file that says so."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file
        first = [np.random.SeedSequence([*key, 0]).generate_state(1)[0] for key in ((0, 1, 0), (0, 1, 1))]
        self.bad, self.poisoned = [int(seed) for seed in first], False

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.poisoned |= seed in self.bad
        return super().reset(seed=seed)

    def step(self, action: Any) -> Any:
        if self.poisoned and self.file.exists():
            raise ConnectionError("lost")
        return super().step(action)


def test_a_seed_that_fails_is_reported_and_measured_again_by_the_same_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "break").touch()
    arguments: Any = partial(Poisoned, tmp_path / "break"), CONFIG, [0, 1, 2], tmp_path / "result", 2
    with pytest.raises(
        JobsFailed, match=r"1 failed; .*\n  seed 1: EnvironmentFailure: .* ConnectionError: lost"
    ) as told:
        measure.measure(*arguments, jobs=2)
    assert "seed 0" not in str(told.value) and "result" in str(told.value)
    assert sorted(path.name for path in (tmp_path / "result").glob("seed-*.json")) == ["seed-0.json", "seed-2.json"]
    assert list(json.loads((tmp_path / "result" / "summary.json").read_text())["seeds"]) == ["0", "2"]
    before = (tmp_path / "result" / "seed-0.json").read_bytes()
    (tmp_path / "break").unlink()
    assert list(measure.measure(*arguments, jobs=2)["seeds"]) == ["0", "1", "2"]
    assert (tmp_path / "result" / "seed-0.json").read_bytes() == before


def test_mistakes_of_the_zoo_stay_in_the_process_that_makes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, count in (("one", 1), ("two", 2)):
        experiment("CartPole-v1", CONFIG, ["reward_late"], [0], tmp_path / name, 2, jobs=count)
    for name in ("none", "reward_late"):
        same_files(tmp_path / "two" / name, tmp_path / "one" / name)
    assert (tmp_path / "two" / "summary.json").read_bytes() == (tmp_path / "one" / "summary.json").read_bytes()


def test_results_of_another_engine_are_not_taken_for_these(sequential: Path) -> None:
    with pytest.raises(InputError, match=r"with vector None; asked for is vector 'processes'"):
        measure.measure("CartPole-v1", CONFIG, [0, 1, 2], sequential, episodes=3, vector="processes")


def test_what_steps_the_environments_stands_in_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And, since it is processes here, the numbers are those of one process."""
    monkeypatch.chdir(tmp_path)
    config = dataclasses.replace(CONFIG, seed=4)
    records = [measure.train_and_record(Seeded, config, 2, vector) for vector in (None, "processes")]
    for _, run in records:
        run.close()
    (plain, _), (processes, _) = records
    assert processes.pop("vector") == "processes" and "vector" not in plain
    assert {**processes, "seconds": 0} == {**plain, "seconds": 0}


# --- Interruption -----------------------------------------------------------------------------------------------------

WORLD = '''
import time
from scripted import Seeded

SLOW = None

class World(Seeded):
    """Quick in the process that comes first, and slow in all others."""

    def __init__(self):
        global SLOW
        super().__init__()
        if SLOW is None:
            try:
                SLOW = bool(open("first", "x").close())
            except FileExistsError:
                SLOW = True

    def step(self, action):
        time.sleep(2.0 * SLOW)
        return super().step(action)
'''


@pytest.fixture
def at_work(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A measurement of three seeds, two at a time, in a group of processes of its own: one done, two on their way."""
    (tmp_path / "my_world.py").write_text(WORLD)
    command = ["measure", "my_world:World", "--out", "result", "--seeds", "0", "1", "2", "--jobs", "2"]
    config = dataclasses.replace(CONFIG, steps=600, updates_per_step=0.05, eval_every=0)  # long, and little work
    options = words({**vars_of(config), "episodes": 2})
    process = subprocess.Popen(
        [sys.executable, "-m", "wm_tutorial", *command, *options], cwd=tmp_path, env=settings(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    assert process.stdout
    begun = set()
    for line in process.stdout:
        if "One update takes" in line:
            begun.add(line.split(":")[0])
        if len(begun) == 3:
            break
    yield process
    if alive(process.pid):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def vars_of(config: Any) -> dict[str, Any]:
    """The options that are not at their defaults, and that a command line can have."""
    usual = type(config)()
    return {name: value for name, value in dataclasses.asdict(config).items() if value != getattr(usual, name)}


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("how", ["Ctrl-C", "killed"])
def test_what_is_finished_is_kept_and_what_is_on_its_way_is_ended(
    how: str, at_work: subprocess.Popen[str], tmp_path: Path
) -> None:
    if how == "Ctrl-C":  # a terminal tells all of them
        os.killpg(at_work.pid, signal.SIGINT)
    else:
        at_work.kill()
    assert at_work.stdout
    told = at_work.stdout.read()
    assert at_work.wait(60) == (130 if how == "Ctrl-C" else -signal.SIGKILL)
    until = time.monotonic() + 60
    while alive(at_work.pid) and time.monotonic() < until:
        time.sleep(0.1)
    assert not alive(at_work.pid)
    (finished,) = (tmp_path / "result").glob("seed-*.json")
    assert finished.with_suffix(".safetensors").exists()
    assert len(list(tmp_path.glob("runs/*/checkpoint.pt"))) == 3  # the other two saved what they had learned
    if how == "Ctrl-C":
        assert len(re.findall(r"^seed \d: Stopped\. Saved at step \d+; go on with: ", told, re.MULTILINE)) == 2
        assert "Stopped." in told and "Traceback" not in told


# --- Ray --------------------------------------------------------------------------------------------------------------

ON_RAY = """
import json, os, time
from functools import partial
from real_engines import mixed
from wm_tutorial.runs.jobs import Job, outcomes

def where():
    time.sleep(2)
    return os.getpid()

places = [Job(f"where {n}", where) for n in range(4)]
found = {done.job.name: [done.result, done.failure] for done in outcomes([*mixed(), *places], "ray", 2)}
print(json.dumps(found))
"""


def test_jobs_on_ray_end_as_local_ones_do(tmp_path: Path) -> None:
    (tmp_path / "on_ray.py").write_text(ON_RAY)
    done = written_by_cli([str(ray()), "on_ray.py"], tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    workers = [found.pop(f"where {n}")[0] for n in range(4)]
    assert_mixed(found)
    assert len(set(workers)) == 2  # two workers have done the four


def test_seeds_on_ray_leave_the_same_files(sequential: Path) -> None:
    command = [str(ray()), "-m", "wm_tutorial", "measure", "CartPole-v1", "--out", "two", "--seeds", "0", "1"]
    options = words({**vars_of(CONFIG), "episodes": 3, "engine": "ray", "jobs": 2})
    done = written_by_cli([*command, *options], sequential.parent)
    assert done.returncode == 0, done.stderr[-3000:]
    same_files(sequential.parent / "two", sequential)
    assert "seed 0: done" in done.stdout and "seed 1: done" in done.stdout
    assert "| 0 |" in done.stdout and "seed 1: One update takes" in done.stdout + done.stderr
