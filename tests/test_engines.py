"""Engines of others, the real ones: their rows follow the index convention, and a run learns from them.

They are looked for in .venv-envpool and .venv-puffer, where `make engines` installs them, or where the variables
WM_TUTORIAL_ENVPOOL and WM_TUTORIAL_PUFFER say; each name is that of a Python.
"""

import json
import os
import re
import runpy
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from real_engines import ENGINES, ENVS, EPISODES, SEED, SHORT

from wm_tutorial import cli
from wm_tutorial.envs import Environments
from wm_tutorial.errors import InputError
from wm_tutorial.runs.engines import EnvPool, Puffer, called_engine

ROOT = Path(__file__).parent.parent
EACH = pytest.mark.parametrize("name", ENGINES)


def python_of(engine: str) -> Path:
    """The Python that has an engine; the test is skipped where there is none."""
    found = Path(os.environ.get(f"WM_TUTORIAL_{engine.upper()}", ROOT / f".venv-{engine}" / "bin" / "python"))
    if not found.exists():
        pytest.skip(f"{engine} is not installed: `make engines` does it; that engine is not tried")
    return found


def run(engine: str, *words: object, at: Path) -> str:
    """Run tests/real_engines.py where the engine is; warnings of ours are errors there, too."""
    command = [python_of(engine), "-W", "error::UserWarning", ROOT / "tests" / "real_engines.py", *map(str, words)]
    settings = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=at, env=settings, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def rows_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("rows")

    @cache
    def of(name: str) -> dict[str, Any]:
        run(name.split("-")[0], "rows", name, folder / f"{name}.npz", at=folder)
        with np.load(folder / f"{name}.npz") as file:
            return dict(file)

    return of


def fallen(obs: Any) -> Any:
    """Whether the cart of these observations (..., 4) has left its track, or its pole has fallen."""
    return (np.abs(obs[..., 0]) > 2.4) | (np.abs(obs[..., 2]) > 12 * np.pi / 180)


@EACH
def test_rows_of_an_engine_follow_the_index_convention(name: str, rows_of: Any) -> None:
    found = rows_of(name)
    obs, reward, first, last, terminal = (found[of] for of in ("obs", "reward", "is_first", "is_last", "is_terminal"))
    assert last.sum() >= EPISODES and obs.shape == (len(last), ENVS, 4)
    assert first[0].all() and np.array_equal(first[1:], last[:-1])  # after the last row of one, the first of the next
    assert np.array_equal(reward, np.where(first, 0.0, 1.0))  # each step is paid with 1, and a reset with nothing
    assert (np.abs(obs[first]) <= 0.05).all()
    assert not (terminal & ~last).any()
    at_the_limit = last & (age(first) == SHORT) & (name == "envpool-short")
    assert np.array_equal(terminal, fallen(obs) & ~at_the_limit)  # what ends an episode is seen, and nothing else ends


def age(first: Any) -> Any:
    """How many steps each row is after the first one of its episode, (T, N)."""
    moments = np.arange(len(first))[:, None]
    return moments - np.maximum.accumulate(np.where(first, moments, 0))


def lengths(last: Any) -> list[int]:
    """Steps of the complete episodes of all streams: rows from the first to the last, the first not counted."""
    return [int(n) for stream in last.T for n in np.diff([-1, *np.flatnonzero(stream)]) - 1]


@pytest.mark.parametrize("name", ["envpool", "puffer-Serial", "puffer-Multiprocessing"])
def test_every_step_of_an_engine_is_the_step_that_gymnasium_takes(name: str, rows_of: Any) -> None:
    """From each observation with its action: so no row is lost between two, whatever the engine does."""
    found = rows_of(name)
    env, steps = gym.make("CartPole-v1").unwrapped, 0
    env.reset(seed=0)
    for t, n in np.argwhere(~found["is_first"][1:]):
        env.state, env.steps_beyond_terminated = tuple(found["obs"][t, n].astype(np.float64)), None
        obs, _, terminated, _, _ = env.step(int(found["action"][t, n].argmax()))
        np.testing.assert_allclose(found["obs"][t + 1, n], obs, rtol=1e-5, atol=1e-6)
        assert terminated == found["is_terminal"][t + 1, n]
        steps += 1
    assert steps == np.sum(~found["is_first"][1:]) > 20 * ENVS
    assert min(lengths(found["is_last"])) >= 8  # no pole falls sooner


def test_a_time_limit_of_envpool_is_no_end_of_the_future_even_where_both_come_together(rows_of: Any) -> None:
    """Gymnasium tells both of a pole that falls at the very step of the limit; EnvPool tells the limit alone."""
    found = rows_of("envpool-short")
    last, terminal, moment = found["is_last"], found["is_terminal"], age(found["is_first"])
    assert max(lengths(last)) == SHORT and min(lengths(last)) < SHORT
    cut = last & ~terminal
    assert np.array_equal(cut, moment == SHORT) and np.array_equal(terminal, last & (moment < SHORT))
    assert cut.sum() > 50 and terminal.sum() > 5 and (cut & fallen(found["obs"])).any()


@pytest.mark.parametrize("name", ["puffer-Serial", "puffer-Multiprocessing"])
def test_rows_of_pufferlib_are_those_of_the_same_seeds_one_after_the_other(name: str, rows_of: Any) -> None:
    found, here = rows_of(name), Environments("CartPole-v1", ENVS, (SEED,))
    row = here.reset()
    for t in range(len(found["obs"])):
        for column, values in vars(row).items():
            np.testing.assert_array_equal(found[column][t], values)
        row = here.step(row, found["action"][t]) if t < len(found["action"]) else row


@EACH
def test_the_seed_of_an_engine_decides_its_episodes_and_no_two_streams_share_one(name: str, rows_of: Any) -> None:
    found = rows_of(name)
    again, other = found["again"], found["other"]
    assert np.array_equal(again, found["obs"][: len(again)])
    assert not np.isin(other[0, :, 0], found["obs"][0, :, 0]).all()
    starts = found["obs"][found["is_first"]]
    assert len(np.unique(starts, axis=0)) == len(starts) > EPISODES


@pytest.mark.parametrize("name", ["envpool", "puffer-Serial"])
def test_a_run_learns_from_an_engine_and_goes_on_with_new_episodes(name: str, tmp_path: Path) -> None:
    told = json.loads(run(name.split("-")[0], "learn", name, tmp_path / "run", at=tmp_path).splitlines()[-1])
    assert told["updates"] > 0 and told["rows"] >= 60 and told["steps"] >= 120
    assert all(length == paid for length, paid in told["episodes"])


# --- Without the engines ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "library", "expected"),
    [
        (EnvPool("CartPole-v1"), "envpool", 'pip install "wm_tutorial[envpool]"'),
        (Puffer("CartPole-v1"), "pufferlib", "pip install --no-deps pufferlib-core==3.0.23"),
    ],
)
def test_an_engine_that_is_missing_is_told_with_the_line_that_installs_it(
    engine: Any, library: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match=re.escape(expected)):
        engine(2, 0)


class FakePool:
    """Knows two environments, and what it was asked for."""

    asked: dict[str, Any]

    @staticmethod
    def list_all_envs() -> list[str]:
        return ["CartPole-v1", "Pong-v5"]

    @classmethod
    def make(cls, name: str, **options: Any) -> Any:
        cls.asked = {"name": name, **options}
        return gym.make_vec("CartPole-v1", options["num_envs"], vectorization_mode="sync")


def test_envpool_is_asked_for_what_it_has_with_seeds_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "envpool", FakePool)
    with pytest.raises(InputError, match=r"EnvPool has no 'Pong-v3'; it has Pong-v5\."):
        EnvPool("Pong-v3")(2, 0)
    vector = EnvPool("CartPole-v1", {"num_threads": 1})(4, 2**31 - 1)
    assert FakePool.asked == {
        "name": "CartPole-v1", "env_type": "gymnasium", "num_envs": 4, "num_threads": 1, "seed": 3,
    }  # fmt: skip
    vector.reset(seed=7)
    first = vector.reset(seed=7)[0]
    assert not np.array_equal(first, vector.reset(seed=7)[0])  # the seed of a reset is left out
    vector.close()


def test_results_say_what_has_stepped_the_environments() -> None:
    def own(count: int, seed: int) -> Any: ...

    told = [called_engine(one) for one in (None, "processes", EnvPool("Pong-v5"), Puffer("Pong-v5"), own)]
    assert told == [None, "processes", "envpool", "puffer", "own"]


# --- What they are worth ----------------------------------------------------------------------------------------------

BENCHMARK = runpy.run_path(str(ROOT / "benchmarks" / "engines.py"))
MEASURED = json.loads((ROOT / "book" / "results" / "bench" / "engines.json").read_text())


def test_a_ratio_to_the_first_source_is_taken_within_one_round() -> None:
    """A slow moment of the machine meets both, and leaves the ratio as it is."""
    rounds = [
        {"first": {"rows": 100.0, "wall": wall, "cpu": 0.5}, "second": {"rows": 300.0, "wall": wall, "cpu": 3.0}}
        for wall in (1.0, 10.0, 2.0)
    ]
    told = BENCHMARK["summary"](rounds)
    assert told["first"] == {"rows_per_second": 50.0, "ratio": [1.0, 1.0, 1.0], "cpu_ms_per_row": 5.0}
    assert told["second"] == {"rows_per_second": 150.0, "ratio": [3.0, 3.0, 3.0], "cpu_ms_per_row": 10.0}


def test_the_tables_of_the_page_are_what_was_measured() -> None:
    page = (ROOT / "book" / "engines.md").read_text()
    assert BENCHMARK["with_tables"](page, MEASURED) == page
    assert BENCHMARK["circumstances"](MEASURED) in page
    for world in BENCHMARK["WORLDS"]:
        told = BENCHMARK["table"](MEASURED, world)
        assert f"\n{told}\n" in page and told.count("\n") == (7 if world == "quick" else 6)
    assert MEASURED["seconds"] < 480


def test_what_the_page_says_of_learning_from_envpool_is_what_was_measured() -> None:
    """Evaluated in Gymnasium's CartPole, whatever they have learned from."""
    page = (ROOT / "book" / "engines.md").read_text()
    records = [json.loads(path.read_text()) for path in (ROOT / "book/results/cartpole-envpool").glob("seed-*.json")]
    assert {record["vector"] for record in records} == {"envpool"} and all("envpool" in r["versions"] for r in records)
    means = [float(np.mean(record["final_returns"])) for record in records]
    assert f"{len(means)} seeds earn {np.mean(means):.1f} on average, the worst of them {min(means):.1f}." in page


def test_a_page_gets_what_was_measured_between_its_comments() -> None:
    begin = "<!-- circumstances: benchmarks/engines.py -->\n"
    page = BENCHMARK["with_tables"](f"a\n{begin}old\n<!-- to here -->\nb", {"cores": 4, "load": 0.4, "worlds": {}})
    told = "Measured in turn on 4 cores, while other programs kept a load of 0 on them."
    assert page == f"a\n{begin}{told}\n<!-- to here -->\nb"


def test_the_options_of_a_sweep_and_the_commands_of_the_page_are_understood() -> None:
    page = (ROOT / "book" / "engines.md").read_text()
    commands = re.findall(r"^(?:srun )?wm-tutorial (.+)$", page, re.MULTILINE)
    assert len(commands) == 3
    for words in commands:
        assert isinstance(cli.command_line(words.replace("$SLURM_ARRAY_TASK_ID", "7").split()), cli.Measure)
    code = re.findall(r"```python\n(.+?)```", page, re.DOTALL)
    assert len(code) == 3
    for block in code:
        compile(block, "engines.md", "exec")
        for line in re.findall(r"^from wm_tutorial.+ import .+$", block, re.MULTILINE):
            exec(line, {})
