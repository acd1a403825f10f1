"""What chapter 15 shows holds for other numbers, its checks judge its own tests, and its story is that of the data."""

import json
import math
import re
import sys
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from chapters import definitions
from course import RESULTS, ROOT
from helpers import uniform

from wm_tutorial.check.diagnosis import judge, problem_of
from wm_tutorial.grade.hidden import hidden_parts
from wm_tutorial.grade.remote import Remote, Stable, Task
from wm_tutorial.grade.sandbox import Limits
from wm_tutorial.kl import gaussian_kl
from wm_tutorial.mistakes import PARTS
from wm_tutorial.mistakes.testing import RIGHT, WRONG
from wm_tutorial.zoo import BUGS

CHAPTER = definitions("15_bug_zoo")
FOLDER = RESULTS.parent / "mistakes" / "cartpole"


# --- The examples -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", range(4, 9))
def test_in_the_corridor_the_wrong_table_dreams_of_more_and_earns_nothing(steps: int) -> None:
    cells, rewards = CHAPTER["CELLS"], CHAPTER["REWARDS"]
    tables = CHAPTER["fitted"](cells, rewards), CHAPTER["fitted"](cells[:-1], rewards[1:])
    assert [loss for _, loss in tables] == [0.0, 0.0]
    worth, lived, dreamt = CHAPTER["worth"], [], []
    for table, _ in tables:
        walk = max(product((-1, 1), repeat=steps), key=lambda walk, table=table: worth(walk, table))
        dreamt.append(worth(walk, table))
        lived.append(worth(walk, tables[0][0]))
    assert lived == [1.0, 0.0] and dreamt[0] == 1.0 < dreamt[1]


@pytest.mark.parametrize(("apart", "spread"), [(1.0, 0.5), (2.0, 0.5), (0.5, 0.25)])
def test_the_bell_that_expects_both_and_the_one_between(apart: float, spread: float) -> None:
    kl, widths = CHAPTER["kl"], np.linspace(0.1, 4.0, 3901)
    right = np.mean([kl(m, spread, 0.0, widths) for m in (-apart, apart)], 0)
    swapped = np.mean([kl(0.0, widths, m, spread) for m in (-apart, apart)], 0)
    assert widths[right.argmin()] == pytest.approx(math.hypot(apart, spread), abs=2e-3)
    assert widths[swapped.argmin()] == pytest.approx(spread, abs=2e-3)


def test_the_divergence_is_that_of_the_package() -> None:
    bells = (0.3, 0.7, -0.2, 1.4)
    given = [torch.tensor([2 * math.log(x) if n % 2 else x]) for n, x in enumerate(bells)]
    assert CHAPTER["kl"](*bells) == pytest.approx(gaussian_kl(*given).item(), rel=1e-5)


def test_a_late_action_seems_to_do_nothing_for_other_draws() -> None:
    learned = CHAPTER["learned"]
    for seed in range(3):
        rng = np.random.default_rng(seed)
        learned.__globals__["action"] = action = rng.choice([-1.0, 1.0], 2000)
        learned.__globals__["place"] = np.concatenate([[0.0], action.cumsum()[:-1]])
        assert learned(0)[0] < 1e-9 and learned(0)[1] == pytest.approx(1.0)
        assert learned(1)[0] == pytest.approx(1.0, abs=0.05) and abs(learned(1)[1]) < 0.1


# --- What readers write -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_solutions_agree_with_the_checks(seed: int) -> None:
    flags = [uniform(30, seed=seed + n) > 0.6 for n in range(3)]
    reward = uniform(30, seed=seed + 7, low=-1.0, high=1.0) * flags[0]
    assert torch.equal(CHAPTER["solved_row_faults"](reward, *flags), PARTS["row_faults"].right(reward, *flags))
    x, other = uniform(2, 5, seed=seed), uniform(2, 5, seed=seed + 1)
    for way in (lambda x: x.cumsum(1), lambda x: x.flip(1), lambda x: x.roll(1, 0) * x):
        assert torch.equal(CHAPTER["solved_reach"](way, x, other), PARTS["reach"].right(way, x, other))


def test_the_table_of_the_solution_is_worked_out_right() -> None:
    """Every candidate that is right is passed, every wrong one is caught."""
    test = CHAPTER["solved_returns_test"]
    for function in RIGHT.values():
        test(function)
    for mistake in WRONG.values():
        for function in mistake.functions:
            with pytest.raises(AssertionError):
                test(function)


def test_the_two_tests_of_the_chapter_are_known_to_the_check() -> None:
    fixed = CHAPTER["test_fixed_point"]
    fixed.__globals__["torch"] = torch
    assert "Known mistake one_number_for_all" in judge(PARTS["returns_test"], fixed)
    given = {name: torch.rand(2, 6) for name in ("REWARD", "DISCOUNT", "VALUE")}
    CHAPTER["test_shapes"].__globals__.update(given)
    words = judge(PARTS["returns_test"], CHAPTER["test_shapes"])
    assert "it lets 25 of 26 mistakes through" in words and "Known mistake shapes_alone" in words


WEAK = """
def f(lambda_returns):
    import torch
    ones = torch.ones(2, 4)
    assert torch.allclose(lambda_returns(ones, ones / 2, 2 * ones, 0.5), 2 * ones)
"""
STRONG = """
def f(lambda_returns):
    import torch
    for seed in (1, 2):
        torch.manual_seed(seed)
        r, d, v = (torch.rand(3, 5) for _ in range(3))
        later, wanted = v[:, 4], []
        for t in (4, 3, 2, 1, 0):
            later = r[:, t] + d[:, t] * (0.7 * v[:, t] + 0.3 * later)
            wanted = [later] + wanted
        torch.testing.assert_close(lambda_returns(r, d, v, 0.3), torch.stack(wanted, 1))
"""
STUB = "def f(lambda_returns):\n    raise NotImplementedError('15.3')\n"
SILENT = """
def f(show):
    import torch
    def mistake(p, r, v):
        return -(r - v) * p
    def test(loss):
        p, r, v = (torch.rand(2, 3, requires_grad=True) for _ in range(3))
        loss(p, r, v).sum().backward()
        assert torch.allclose(p.grad, v - r)
        for x in (r, v):
            assert x.grad is None or not x.grad.any()
    return show(mistake, test)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="submissions are graded on Linux and macOS")
@pytest.mark.parametrize(
    ("part", "source", "words"),
    [
        ("returns_test", WEAK, "Known mistake one_number_for_all"),
        ("returns_test", STRONG, ""),
        ("returns_test", STUB, "still to be written"),
        (
            "returns_test",
            "def f(lambda_returns):\n    assert 0",
            "it blames a function that is right (a loop from the end)",
        ),
        ("silent_mistake", SILENT, ""),
        ("silent_mistake", SILENT.replace("-(r - v)", "(r - v)"), "Known mistake numbers_wrong"),
    ],
)
def test_a_test_is_tested_in_another_process_as_here(part: str, source: str, words: str) -> None:
    """There it is handed one function at a time, without its name, and only numbers come back."""
    with Stable() as stable, Remote(stable, Limits()) as function:
        assert not function.load(Task("f", 1, [{"file": "cell 1", "line": 1, "source": source}], {"cell 1": source}))
        said = problem_of(PARTS[part], function)
        assert said == words == "" or (words and words in said), said
        if not words:
            assert [problem_of(hidden_parts(4, draw)[part], function) for draw in range(2)] == ["", ""]


# --- What was measured ------------------------------------------------------------------------------------------------


def measured(name: str) -> dict[int, dict[str, Any]]:
    return {run["config"]["seed"]: run for run in (json.loads(p.read_text()) for p in (FOLDER / name).glob("seed-*"))}


def test_every_mistake_of_the_chapter_was_measured_beside_sound_runs_of_the_same_seeds() -> None:
    sound = measured("none")
    assert len(sound) >= 3 and set(CHAPTER["SUSPECTS"][1:]) <= set(CHAPTER["DOZEN"]) <= set(BUGS)
    for name in CHAPTER["DOZEN"]:
        runs = measured(name)
        assert 1503 in runs and runs.keys() <= sound.keys(), name
        assert all(run["bug"] == name and run["environment"] == "CartPole-v1" for run in runs.values())


def test_runs_are_made_anew_with_the_options_of_those_that_were_measured() -> None:
    """Whoever has no data gets one run; it must be one of the same kind."""
    from wm_tutorial.config import make_config, plain

    text = (ROOT / "notebooks" / "15_bug_zoo.ipynb").read_text()
    (options,) = re.findall(r'make_config\(\\"guide\\", (steps=\d+, seed=\d+)\)', text)
    asked = {name: int(value) for name, value in (pair.split("=") for pair in options.split(", "))}
    assert measured("none")[asked["seed"]]["config"] == json.loads(json.dumps(plain(make_config("guide", **asked))))


def test_the_dozen_is_that_of_the_benchmark() -> None:
    source = (ROOT / "benchmarks" / "zoo.py").read_text()
    teach = source.partition("TEACH = (")[2].partition(")")[0]
    assert set(re.findall(r'"(\w+)"', teach)) == set(CHAPTER["DOZEN"])


def test_the_held_out_mistakes_are_those_of_the_record() -> None:
    tried = json.loads((ROOT / "tests" / "heldout" / "first_try.json").read_text())
    counted = {
        f"batch {n}": (sum(bool(one["test"]) for one in batch.values()), len(batch)) for n, batch in tried.items()
    }
    assert counted == CHAPTER["FIRST_TRY"]
