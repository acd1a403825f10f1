"""What a reader of chapter 20 counts is what the package costs, and its small experiments are about the package."""

import dataclasses

import pytest
import torch
from chapters import definitions
from test_check import (
    package_averaged_gradient,
    package_flop_of_dense,
    package_replay_bytes,
    package_ring_all_reduce_seconds,
    package_updates_of_run,
)

from wm_tutorial import check
from wm_tutorial.data import Spaces
from wm_tutorial.networks import BlockLinear
from wm_tutorial.optim import laprop_direction
from wm_tutorial.replay import Replay
from wm_tutorial.returns import ReturnNormalizer
from wm_tutorial.runs import cost

CHAPTER = definitions("20_bigger_machines")
PACKAGE = {
    "flop_of_dense": package_flop_of_dense,
    "updates_of_run": package_updates_of_run,
    "averaged_gradient": package_averaged_gradient,
    "replay_bytes": package_replay_bytes,
    "ring_all_reduce_seconds": package_ring_all_reduce_seconds,
}


@pytest.mark.parametrize("name", PACKAGE)
def test_solutions_agree_with_what_the_package_costs(name: str) -> None:
    for case in check.PARTS[name].cases:
        ours, theirs = CHAPTER[f"solved_{name}"](*case.values()), PACKAGE[name](*case.values())
        torch.testing.assert_close(ours.double(), theirs.double())


@pytest.mark.parametrize("blocks", [1, 2, 8])
def test_the_formula_of_a_memory_step_is_exact_whatever_its_sizes(blocks: int) -> None:
    for sizes in ((3, 16, 5, 2, 7), (1, 64, 12, 1, 4), (9, 24, 3, 6, 10)):
        assert CHAPTER["counted_gru"](*sizes, blocks) == CHAPTER["gru_flop"](*sizes, blocks)


def test_blocks_have_their_share_of_the_weights() -> None:
    """What the formula says of operations the layer says of parameters: an eighth of those of a whole matrix."""
    whole, blocks = BlockLinear(1, 64, 64), BlockLinear(8, 8, 8)
    assert whole.weight.numel() == 8 * blocks.weight.numel()


def test_a_row_of_pictures_has_the_bytes_of_the_table() -> None:
    spaces = CHAPTER["Spaces"]("image", (64, 64, 3), "discrete", 18, (0.0,), (17.0,))
    assert spaces == Spaces("image", (64, 64, 3), "discrete", 18, (0.0,), (17.0,))
    row = Replay(2, 1, spaces, 8192, 2048).nbytes // 2
    assert row == CHAPTER["solved_replay_bytes"](*(torch.tensor([n]) for n in (1, 12288, 1, 18, 8192, 2048))).item()


def test_a_slow_weight_in_float32_goes_where_the_formula_says_and_in_bfloat16_not() -> None:
    assert CHAPTER["followed"](torch.float64)[-1] == pytest.approx(1 - 0.98**300)
    path = CHAPTER["followed"](torch.bfloat16)
    assert path[-1] == path[120] == 0.90625 and path[-1] - 1 / 256 <= 1 - 1 / (512 * 0.02) < path[-1]


def test_an_optimiser_that_divides_by_size_hides_a_sum_of_gradients() -> None:
    """As the chapter says of LaProp: eight times the gradient moves the weights as far."""
    gradient, zero, one = torch.randn(20), torch.zeros(20), 1

    def moved(g: torch.Tensor) -> torch.Tensor:
        return laprop_direction(g, zero, zero, one, (0.9, 0.999), 1e-20)[0]

    torch.testing.assert_close(moved(8 * gradient), moved(gradient))


def test_the_range_that_is_not_to_be_averaged_is_the_packages() -> None:
    returns = torch.cat([torch.rand(64), 10 + torch.rand(64)])
    range_ = ReturnNormalizer(decay=0.0).after(returns)
    assert (range_[1] - range_[0]).item() == pytest.approx(CHAPTER["spread"](returns), rel=1e-5)


def test_the_bill_is_ratio_times_rows_times_the_seconds_of_an_update() -> None:
    CHAPTER["PICTURES"] = Spaces("image", (64, 64, 3), "discrete", 18, (0.0,), (17.0,))  # calls are not run here
    CHAPTER["WALKER"] = Spaces("vector", (24,), "continuous", 6, (-1.0,) * 6, (1.0,) * 6)
    steps, updates, gigabytes, *days = CHAPTER["bill"](400_000, 4, 256, "size200m", "image", 1)
    assert (steps, updates) == ("100,000", "25,000")
    row = CHAPTER["solved_replay_bytes"](*(torch.tensor([n]) for n in (1, 12288, 1, 18, 8192, 2048))).item()
    assert gigabytes == pytest.approx(100_000 * row / 1e9)
    expected = [
        25_000 * m.seconds(cost.counted("size200m", "image")) / 86400 for m in (cost.CORE, cost.H100, cost.GRAPH)
    ]
    assert days == pytest.approx(expected)
    for recipe in CHAPTER["RECIPES"].values():
        asked = torch.tensor([recipe[0]])
        told = CHAPTER["solved_updates_of_run"](asked, *recipe[1:3], 16, 64).item()
        assert CHAPTER["bill"](*recipe)[1] == f"{told:,}"


def test_a_batch_of_its_own_on_each_device_is_learned_as_fast_as_alone_but_for_the_ring() -> None:
    alone = CHAPTER["rows_per_second"]("size50m", 1)
    assert alone == pytest.approx(1024 / cost.GRAPH.seconds(cost.counted("size50m", "image")))
    ring = dataclasses.replace(cost.EIGHT, devices=4).terms(cost.counted("size50m", "image"))["summing"]
    assert CHAPTER["rows_per_second"]("size50m", 4) == pytest.approx(4 * 1024 / (1024 / alone + ring))
