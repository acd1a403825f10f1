"""LaProp worked out by hand; tests/test_golden.py compares it with the reference over several updates."""

import inspect
import itertools
import math

import pytest
import torch

from wm_tutorial.config import Config
from wm_tutorial.optim import LaProp, make_optimizer


def updated(start: list[float], *gradients: list[float], **options: float) -> list[list[float]]:
    """The parameter after each update."""
    parameter = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = LaProp([parameter], **{"lr": 0.5, "warmup": 0, **options})
    seen = []
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        seen.append(parameter.detach().tolist())
    return seen


def test_the_first_update_moves_every_number_by_the_learning_rate() -> None:
    """Divided by its own root mean square, the first gradient is its sign, whatever its size."""
    assert updated([3.0, -4.0], [1e-3, -70.0]) == [pytest.approx([2.5, -3.5])]


def test_two_updates_by_hand() -> None:
    # Clipping is out of play: gradients of norm 0.6 and 0.2, parameters of norm 10 and more.
    # averages of g^2, unbiased: 0.36;  (0.75 * 0.09 + 0.04 * 0.25) / 0.4375
    # averages of g / deviation, unbiased: 1;  (0.5 * 0.5 * 1 + 0.5 * 0.2 / deviation) / 0.75
    deviation = math.sqrt((0.75 * 0.09 + 0.25 * 0.04) / 0.4375)
    second = (0.25 + 0.5 * 0.2 / deviation) / 0.75
    found = updated([10.0], [0.6], [0.2], betas=(0.5, 0.75))
    assert found == [pytest.approx([9.5]), pytest.approx([9.5 - 0.5 * second])]


def test_a_gradient_is_cut_to_a_share_of_its_tensors_norm_and_never_enlarged() -> None:
    """The second of two updates shows how large the first gradient was taken to be."""

    def second(norm: float, start: float = 10.0, **options: float) -> float:
        (before,), (after,) = updated([start], [norm], [0.1], betas=(0.5, 0.75), **options)
        return before - after

    assert second(1e6) == pytest.approx(second(3.0))  # 0.3 of a norm of 10
    assert second(3.0) < second(2.9) < second(0.2)  # below, each gradient has the size it has
    assert second(1e6, start=0.0, smallest=2.0, lr=0.0) == 0.0
    assert updated([0.0], [1e6], [0.1], betas=(0.5, 0.75), smallest=2.0)[1] == pytest.approx(
        updated([0.0], [0.6], [0.1], betas=(0.5, 0.75), smallest=2.0)[1]
    )  # a tensor of zeros counts as one of norm 2


def test_eps_is_added_to_the_deviation() -> None:
    assert updated([10.0], [0.5], eps=1.5) == [pytest.approx([10.0 - 0.5 * 0.25])]  # 0.5 / (0.5 + 1.5)


def test_the_learning_rate_rises_linearly_from_nothing_and_then_stays() -> None:
    seen = [10.0, *(x for (x,) in updated([10.0], *[[1.0]] * 5, warmup=3))]
    steps = [before - after for before, after in itertools.pairwise(seen)]
    assert steps == pytest.approx([0.0, 0.5 / 3, 1.0 / 3, 0.5, 0.5])


def test_a_parameter_without_a_gradient_stays() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    LaProp([parameter], warmup=0).step()
    assert parameter.tolist() == [1.0, 1.0]


def test_the_defaults_are_the_references() -> None:
    """danijar/dreamerv3 `dreamerv3/configs.yaml` and `embodied/jax/opt.py:109-164`."""
    defaults = {name: p.default for name, p in inspect.signature(LaProp).parameters.items() if name != "params"}
    assert defaults == {
        "lr": 4e-5, "betas": (0.9, 0.999), "eps": 1e-20, "clip": 0.3, "smallest": 1e-3, "warmup": 1000,
    }  # fmt: skip
    assert LaProp([torch.nn.Parameter(torch.ones(1))]).defaults == defaults


def test_the_configuration_chooses_the_optimiser() -> None:
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.25}]
    laprop = make_optimizer(Config(optimizer="laprop", warmup=7), groups)
    assert isinstance(laprop, LaProp) and laprop.param_groups[0]["warmup"] == 7
    adam = make_optimizer(Config(), groups)
    assert isinstance(adam, torch.optim.Adam)
    for optimizer in (laprop, adam):
        assert optimizer.param_groups[0]["lr"] == 0.25
