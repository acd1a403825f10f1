"""What a reader of chapter 16 builds is what the package measures with, and its story has the numbers of the data."""

import json

import numpy as np
import pytest
import torch
from chapters import definitions
from course import RESULTS
from helpers import uniform

from wm_tutorial.runs.statistics import interquartile_mean, matched_differences, rank_correlation

CHAPTER = definitions("16_measuring_honestly")
SEEDS = range(3)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_middle_half_agrees(seed: int) -> None:
    scores = uniform(3, 5 + seed, seed=seed, low=-9, high=9)
    assert CHAPTER["solved_interquartile_mean"](scores).item() == pytest.approx(float(interquartile_mean(scores)))


@pytest.mark.parametrize("seed", SEEDS)
def test_ranks_agree(seed: int) -> None:
    one, other = uniform(9, seed=seed, low=-2, high=2).round(), uniform(9, seed=seed + 1, low=-2, high=2)
    assert CHAPTER["solved_rank_correlation"](one, other).item() == pytest.approx(rank_correlation(one, other))


def test_matched_differences_agree() -> None:
    new, old = {3: 30.0, 1: 11.0, 2: 25.0}, {1: 10.0, 4: 40.0, 3: 20.0}
    given = [torch.tensor([*part]) for side in (new, old) for part in (side, side.values())]
    found = CHAPTER["solved_differences"](*given)
    np.testing.assert_allclose(found, matched_differences(new, old))


def test_the_interval_agrees_with_numpys_quantiles() -> None:
    returns, draws = uniform(5, 7, seed=0, low=0, high=500), torch.randint(5, (200, 5))
    found = CHAPTER["solved_interval"](returns, draws, 0.9)
    means = returns.numpy().mean(1)[draws.numpy()].mean(1)
    np.testing.assert_allclose([x.item() for x in found], np.percentile(means, (5, 95)), rtol=1e-5)


@pytest.mark.parametrize(
    ("numbers", "folder"),
    [
        (CHAPTER["ENDS"]["inside"], "history/cartpole-inside-20k"),
        (CHAPTER["ENDS"]["beside"], "history/cartpole-beside-20k"),
        ([500.0] * 8 + [499.86, 376.84], "cartpole-v3-20k"),
    ],
)
def test_the_story_has_the_numbers_of_the_raw_data(numbers: list[float], folder: str) -> None:
    """The chapter compares them, too, where the data lies beside it; here it must."""
    files = sorted((RESULTS.parent / folder).glob("seed-*.json"))
    assert len(files) == len(numbers)
    means = [np.mean(json.loads(file.read_text())["final_returns"]) for file in files]
    np.testing.assert_allclose(means, numbers, atol=0.01)
