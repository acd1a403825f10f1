"""What a reader of chapter 17 builds is what the package has."""

import numpy as np
import pytest
import torch
from chapters import definitions
from test_check import package_dream_return, package_remembered, package_tempered, package_tolerant_divergence

from wm_tutorial.mistakes.controllers import DREAM_RETURN, REMEMBERED
from wm_tutorial.mistakes.mixtures import MIXTURE_LOG_PROB, TEMPERED, TOLERANT_DIVERGENCE
from wm_tutorial.world_models_2018 import Mixture

CHAPTER = definitions("17_world_models_2018")


def test_the_second_term_of_v_is_the_packages() -> None:
    for case in TOLERANT_DIVERGENCE.cases:
        ours = CHAPTER["solved_tolerant_divergence"](*case.values())
        torch.testing.assert_close(ours, package_tolerant_divergence(*case.values()))


@pytest.mark.parametrize("case", MIXTURE_LOG_PROB.cases)
def test_the_likelihood_is_the_packages(case: dict[str, torch.Tensor]) -> None:
    logit, mean, log_std, z = case.values()
    finished = Mixture(torch.log_softmax(logit, -1), mean, log_std).log_prob(z)
    torch.testing.assert_close(CHAPTER["solved_mixture_log_prob"](logit, mean, log_std, z), finished)


def test_the_temperature_is_the_packages() -> None:
    for case in TEMPERED.cases:
        ours, finished = CHAPTER["solved_tempered"](*case.values()), package_tempered(*case.values())
        for one, other in zip(ours, finished, strict=True):
            torch.testing.assert_close(one, other)


def test_what_c_remembers_is_what_the_agent_shows_it() -> None:
    for case in REMEMBERED.cases:
        torch.testing.assert_close(CHAPTER["solved_remembered"](*case.values()), package_remembered(*case.values()))


def test_a_dream_is_worth_what_the_packages_loop_counts() -> None:
    for case in DREAM_RETURN.cases:
        torch.testing.assert_close(CHAPTER["solved_dream_return"](*case.values()), package_dream_return(*case.values()))


def test_rocks_and_players_are_found_where_they_are() -> None:
    """What the chapter counts in pictures, compared with the hidden state of the game."""
    kept = CHAPTER["lives"](count=4, rows=40, seed=1)
    pictures = torch.from_numpy(np.stack([row.obs for row, _, _ in kept])) / 255.0
    hidden = np.stack([h for _, _, h in kept])
    assert CHAPTER["rocks"](pictures, torch.ones(hidden.shape[:2]).bool()) == pytest.approx(
        (hidden[..., 0] == 0).mean(), abs=1e-6
    )
    clear = torch.from_numpy(hidden[..., 0] != 7)
    assert torch.equal(CHAPTER["player_cell"](pictures)[clear], torch.from_numpy(hidden[..., 2])[clear])
