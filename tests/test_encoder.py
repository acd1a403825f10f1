"""What the networks see of an observation, and that nothing of it is mixed up on the way."""

import math

import pytest
import torch
from helpers import CONTINUOUS, IMAGES, VECTORS, randomise, uniform
from torch import nn

from wm_tutorial.data import Spaces
from wm_tutorial.encoder import ImageEncoder, OneHotEncoder, VectorEncoder, make_encoder
from wm_tutorial.networks import conv_channels


def test_vectors_are_seen_through_symlog() -> None:
    encoder = VectorEncoder(4, hidden=8, layers=1)
    encoder.net = nn.Identity()  # lets through what the network is given
    seen = encoder(torch.tensor([[math.e - 1, -(math.e**2 - 1), 0.0, 1e6]]))
    assert seen.flatten().tolist() == pytest.approx([1.0, -2.0, 0.0, math.log(1e6 + 1)], rel=1e-6)


def test_classes_are_seen_as_they_are() -> None:
    encoder = OneHotEncoder(3, hidden=8, layers=1)
    encoder.net = nn.Identity()
    assert encoder(torch.eye(3)).tolist() == torch.eye(3).tolist()  # symlog would make 0.69 of 1


def test_a_large_entry_does_not_drown_a_small_one() -> None:
    torch.manual_seed(0)
    encoder = VectorEncoder(2, hidden=64, layers=1)

    def change(a: list[float], b: list[float]) -> float:
        return (encoder(torch.tensor([a])) - encoder(torch.tensor([b]))).abs().mean().item()

    # Without symlog the first entry would be 10,000 times the second, and changes of the second invisible.
    assert change([10_000.0, 1.0], [10_000.0, -1.0]) > 0.03 * change([10_000.0, 1.0], [-10_000.0, 1.0])


def test_the_vector_encoder_treats_every_row_alike_and_uses_every_entry() -> None:
    encoder = randomise(VectorEncoder(3, hidden=8, layers=2))
    obs = uniform(2, 4, 3, seed=0, low=-5, high=5).requires_grad_()
    embedding = encoder(obs)
    assert embedding.shape == (2, 4, encoder.outputs)
    for b in range(2):
        for t in range(4):
            torch.testing.assert_close(encoder(obs[b, t]), embedding[b, t])
    (gradient,) = torch.autograd.grad((embedding * uniform(*embedding.shape, seed=1)).sum(), obs)
    assert gradient.all()


def test_images_are_seen_between_minus_and_plus_one_half_with_channels_first() -> None:
    encoder = ImageEncoder((8, 9, 2), depth=2)
    encoder.net = nn.Identity()
    obs = uniform(2, 3, 8, 9, 2, seed=0, low=0, high=256).to(torch.uint8)
    obs[0, 0, 0, 0, 0], obs[0, 0, 0, 1, 0] = 0, 255
    seen = encoder(obs).reshape(2, 3, 2, 8, 9)  # (B, T, C, H, W)
    assert seen[0, 0, 0, 0, :2].tolist() == [-0.5, 0.5]
    torch.testing.assert_close(seen.permute(0, 1, 3, 4, 2), obs.double().div(255).sub(0.5).float())


@pytest.mark.parametrize("leading", [(), (3,), (2, 3)])
def test_the_image_encoder_keeps_leading_axes_in_their_order(leading: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder((8, 9, 2), depth=2)
    obs = uniform(*leading, 8, 9, 2, seed=0, low=0, high=256).to(torch.uint8)
    embedding = encoder(obs)
    assert embedding.shape == (*leading, encoder.outputs)
    singly = [encoder(image.unsqueeze(0))[0] for image in obs.reshape(-1, 8, 9, 2)]
    torch.testing.assert_close(embedding.reshape(-1, encoder.outputs), torch.stack(singly))


def test_channels_grow_with_the_stage_and_with_depth() -> None:
    assert conv_channels(64, 64, 16) == [32, 48, 64, 64]
    assert conv_channels(8, 100, 4) == [8]
    assert conv_channels(128, 128, 1) == [2, 3, 4, 4, 4]


@pytest.mark.parametrize(
    ("spaces", "kind"),
    [
        (VECTORS, VectorEncoder),
        (CONTINUOUS, VectorEncoder),
        (IMAGES, ImageEncoder),
        (Spaces("discrete", (5,), "discrete", 2, (0.0,), (1.0,)), OneHotEncoder),
    ],
)
def test_the_encoder_fits_the_observations(spaces: Spaces, kind: type) -> None:
    encoder = make_encoder(spaces, hidden=8, layers=1, depth=2)
    assert type(encoder) is kind
    dtype = torch.uint8 if spaces.obs_kind == "image" else torch.float32
    assert encoder(torch.zeros(2, 3, *spaces.obs_shape, dtype=dtype)).shape == (2, 3, encoder.outputs)


def test_the_norm_is_that_of_the_configuration() -> None:
    """The root mean square has a gain for each channel; layer normalisation a shift besides."""
    encoders = [make_encoder(spaces, 8, 2, 2, norm) for norm in ("layer", "rms") for spaces in (IMAGES, VECTORS)]
    sizes = [sum(parameter.numel() for parameter in encoder.parameters()) for encoder in encoders]
    of_images, of_vectors = 4, 8 + 8  # one stage of 4 channels; two layers of 8 units
    assert [sizes[0] - sizes[2], sizes[1] - sizes[3]] == [of_images, of_vectors]
