"""What a reader of chapter 13 builds is what the package has."""

import numpy as np
import pytest
import torch
from chapters import definitions
from torch import Tensor
from torch.nn import functional as F

from wm_tutorial.encoder import ImageEncoder
from wm_tutorial.heads import Image
from wm_tutorial.networks import UpsampleConv
from wm_tutorial.worlds.pixels import CatchInTheDark

CHAPTER = definitions("13_pixels")


@pytest.fixture
def obs() -> Tensor:
    return torch.randint(256, (3, 9, 14, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def test_planes_are_what_the_encoder_convolves(obs: Tensor) -> None:
    encoder = ImageEncoder((9, 14, 3), depth=2)
    ours = encoder.net(CHAPTER["solved_planes"](obs))
    torch.testing.assert_close(ours, encoder(obs))


@pytest.mark.parametrize("padding", [0, 1, 2])
def test_sizes_are_those_that_torch_makes(padding: int) -> None:
    for size in range(5, 40):
        sides = [F.max_pool1d(torch.zeros(1, 1, size + 2 * padding), k, s).shape[-1] for k in (2, 3) for s in (1, 2, 3)]
        kernel, stride = torch.tensor([(k, s) for k in (2, 3) for s in (1, 2, 3)]).unbind(1)
        given = torch.full_like(kernel, size), kernel, stride, torch.full_like(kernel, padding)
        assert CHAPTER["solved_convolution_size"](*given).tolist() == sides


def test_a_stage_of_the_decoder_is_the_packages() -> None:
    stage, x = UpsampleConv(4, 5), torch.randn(2, 4, 3, 6)
    ours = CHAPTER["solved_upsample_convolve"](x, stage.conv.weight, stage.conv.bias)
    torch.testing.assert_close(ours, stage(x))


def test_the_loss_is_the_packages(obs: Tensor) -> None:
    mean = torch.rand(obs.shape)
    torch.testing.assert_close(CHAPTER["solved_image_loss"](mean, obs), Image(mean).loss(obs))


def test_the_cells_of_paddle_and_ball_are_found_where_they_are() -> None:
    """What counts as drawn rightly in the chapter: the bluest cell of row 7, the reddest of row 1."""
    env = CatchInTheDark()
    obs, rng, told = env.reset(seed=0)[0], np.random.default_rng(0), []
    for _ in range(80):
        told.append((obs, env.row, env.column, env.paddle))
        obs = env.step(np.int64(rng.integers(3)))[0]
    shown = CHAPTER["pictures"](torch.from_numpy(np.stack([row[0] for row in told]))[None])
    rows, columns, paddles = (torch.tensor(x) for x in list(zip(*told, strict=True))[1:])
    assert torch.equal(CHAPTER["cell"](shown, 7, 2)[0], paddles)
    assert torch.equal(CHAPTER["cell"](shown, 1, 0)[0][rows == 1], columns[rows == 1])
