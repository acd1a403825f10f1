"""Initialisation against its statistics, layers against their formulas, pixels followed through convolutions."""

import math

import pytest
import torch
from helpers import STANDARD_ERRORS, randomise, uniform
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from wm_tutorial.encoder import conv_channels
from wm_tutorial.networks import (
    MLP,
    TRUNCATION,
    ChannelNorm,
    ConvDecoder,
    ConvEncoder,
    block,
    conv,
    conv_stages,
    flatten_leading,
    frozen,
    halved,
    initialise,
    linear,
)

# (height, width, colours): odd sizes, one stage, four stages, and wider than high
IMAGES = [(17, 23, 2), (64, 64, 3), (8, 8, 1), (84, 96, 4), (5, 31, 3), (3, 3, 1)]

# --- Initialisation ---------------------------------------------------------------------------------------------------


def check_deviation(weight: Tensor, expected: float) -> None:
    """The standard deviation within its error, and no entry beyond the cut."""
    values = weight.detach().double().flatten()
    # The standard error of a deviation is s / sqrt(2 n) for a normal distribution, less for one that is cut.
    error = expected / math.sqrt(2 * len(values))
    assert abs(values.std().item() - expected) < STANDARD_ERRORS * error
    assert abs(values.mean().item()) < STANDARD_ERRORS * expected / math.sqrt(len(values))
    cut = 2 * expected * TRUNCATION
    assert 0.98 * cut < values.abs().max().item() <= cut * (1 + 1e-6)


def test_the_truncation_constant_is_the_deviation_of_a_normal_cut_at_two() -> None:
    density = math.exp(-2.0) / math.sqrt(2 * math.pi)  # at 2
    variance = 1.0 - 4.0 * density / math.erf(math.sqrt(2.0))
    assert pytest.approx(1.0 / math.sqrt(variance), rel=1e-7) == TRUNCATION


@pytest.mark.parametrize(("fan_in", "scale"), [(25, 1.0), (400, 1.0), (100, 0.01)])
def test_initialise_has_the_deviation_it_promises(fan_in: int, scale: float) -> None:
    torch.manual_seed(0)
    weight = torch.empty(300, 400)
    initialise(weight, fan_in, scale)
    check_deviation(weight, scale / math.sqrt(fan_in))


def test_layers_count_their_own_inputs() -> None:
    torch.manual_seed(0)
    check_deviation(linear(100, 900).weight, 1 / 10)
    check_deviation(linear(100, 900, scale=0.5).weight, 0.5 / 10)
    check_deviation(conv(4, 500).weight, 1 / 10)  # 4 colours x 5 x 5 pixels
    check_deviation(conv(9, 900, kernel=3, scale=2.0).weight, 2 / 9)
    assert not linear(3, 4).bias.any()
    bias = conv(3, 4).bias
    assert bias is not None and not bias.any()


def test_scale_zero_makes_the_output_exactly_zero_and_still_learns() -> None:
    x = uniform(5, 7, seed=0, low=-100, high=100)
    net = MLP(7, 16, 2, 3, scale=0.0)
    output = net(x)
    assert torch.equal(output, torch.zeros(5, 3))
    gradient = torch.autograd.grad(output.sum(), net[-1].weight)[0]
    assert gradient.any()


# --- Blocks -----------------------------------------------------------------------------------------------------------


def normalised(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """Mean 0 and variance 1 along the last axis, then a learned gain and shift."""
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * gain + shift


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def test_block_is_linear_then_layer_norm_then_silu() -> None:
    layer = randomise(block(3, 5), seed=1)
    x = uniform(4, 3, seed=0, low=-2, high=2)
    weight, bias, gain, shift = (parameter.detach() for parameter in layer.parameters())
    torch.testing.assert_close(layer(x), silu(normalised(x @ weight.T + bias, gain, shift)))


def test_mlp_has_its_blocks_and_a_linear_output() -> None:
    net = randomise(MLP(3, 5, 2, 4), seed=2)
    x = uniform(2, 6, 3, seed=0)
    hidden = x
    for layer in list(net)[:2]:
        hidden = layer(hidden)
    assert hidden.shape == (2, 6, 5)
    weight, bias = list(net.parameters())[-2:]
    torch.testing.assert_close(net(x), hidden @ weight.T + bias)
    sizes = [3 * 5 + 5 + 5 + 5, 5 * 5 + 5 + 5 + 5, 5 * 4 + 4]  # weights, biases, and gain and shift in each block
    assert sum(parameter.numel() for parameter in net.parameters()) == sum(sizes)


def test_channel_norm_is_layer_norm_over_the_channels_of_each_pixel() -> None:
    norm = ChannelNorm(3)
    gain, shift = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.1, 0.0, -0.3])
    norm.weight.data.copy_(gain)
    norm.bias.data.copy_(shift)
    x = uniform(2, 3, 4, 5, seed=0, low=-3, high=3)
    y = norm(x)
    for n in range(2):
        for i in range(4):
            for j in range(5):
                torch.testing.assert_close(y[n, :, i, j], normalised(x[n, :, i, j], gain, shift))


# --- Convolutions -----------------------------------------------------------------------------------------------------


def test_number_of_stages() -> None:
    assert [conv_stages(size, size) for size in (1, 4, 8, 16, 32, 64, 128)] == [1, 1, 1, 2, 3, 4, 5]
    assert conv_stages(64, 16) == conv_stages(16, 64) == 2  # the short side decides
    assert conv_stages(84, 96) == 4


@given(st.integers(1, 500), st.integers(0, 8))
def test_halved_rounds_up_each_time(size: int, times: int) -> None:
    by_steps = size
    for _ in range(times):
        by_steps = (by_steps + 1) // 2
    assert halved(size, times) == by_steps


def encoder_of(shape: tuple[int, int, int]) -> tuple[ConvEncoder, Tensor]:
    """An encoder and three images (3, C, H, W)."""
    torch.manual_seed(0)
    height, width, colours = shape
    return ConvEncoder(shape, conv_channels(height, width, 2)), uniform(3, colours, height, width, seed=0)


@pytest.mark.parametrize("shape", IMAGES)
def test_every_input_pixel_reaches_the_embedding(shape: tuple[int, int, int]) -> None:
    encoder, images = encoder_of(shape)
    images.requires_grad_()
    embedding = encoder(images)
    assert embedding.shape == (3, encoder.outputs)
    weights = uniform(*embedding.shape, seed=1)
    (gradient,) = torch.autograd.grad((weights * embedding).sum(), images)
    # A pixel that loses every maximum has no influence on one image; over three images all must have some.
    assert gradient.abs().sum(0).bool().all()


@pytest.mark.parametrize("shape", IMAGES)
def test_images_of_a_batch_are_encoded_separately(shape: tuple[int, int, int]) -> None:
    encoder, images = encoder_of(shape)
    together = encoder(images)
    for n in range(3):
        torch.testing.assert_close(encoder(images[n : n + 1])[0], together[n])


def test_an_encoder_stage_is_convolution_maximum_norm_activation() -> None:
    encoder = ConvEncoder((4, 6, 2), [3])
    randomise(encoder, seed=4)
    x = uniform(1, 2, 4, 6, seed=0)
    weight, bias, gain, shift = (parameter.detach() for parameter in encoder.parameters())
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2))
    mapped = torch.stack([
        torch.stack([(weight * padded[:, :, i : i + 5, j : j + 5]).sum((1, 2, 3)) + bias for j in range(6)], -1)
        for i in range(4)
    ], -2)  # fmt: skip
    largest = mapped.reshape(3, 2, 2, 3, 2).amax((2, 4))  # over squares of 2 x 2 pixels
    expected = silu(normalised(largest.movedim(0, -1), gain, shift)).movedim(-1, 0)
    torch.testing.assert_close(encoder(x)[0], expected.flatten())


@pytest.mark.parametrize("shape", IMAGES)
def test_every_output_pixel_depends_on_the_input(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    height, width, colours = shape
    decoder = ConvDecoder(6, shape, conv_channels(height, width, 2))
    x = uniform(4, 6, seed=0)
    images = decoder(x)
    assert images.shape == (4, colours, height, width)
    assert (images != images[:1]).any(0).all()  # some other input makes each pixel another
    for n in range(4):
        torch.testing.assert_close(decoder(x[n : n + 1])[0], images[n])  # and no pixel depends on the batch


def test_what_was_rounded_up_is_cut_off_where_the_encoder_added_it() -> None:
    """Cell (i, j) of the smallest image covers the pixels (2 i, 2 j) to (2 i + 1, 2 j + 1), in encoder and decoder."""
    decoder = ConvDecoder(12, (5, 7, 1), [1])
    decoder.start = nn.Identity()
    last = decoder.stack[-1]
    assert isinstance(last, nn.Conv2d)
    nn.init.dirac_(last.weight)
    cells = torch.arange(12.0)
    image = decoder(cells.unsqueeze(0))[0, 0]
    expected = [[cells.reshape(3, 4)[i // 2, j // 2].item() for j in range(7)] for i in range(5)]
    assert image.tolist() == expected

    encoder = ConvEncoder((5, 7, 1), [1])
    first = encoder[0]
    assert isinstance(first, nn.Conv2d)
    nn.init.dirac_(first.weight)
    pooled = encoder[1](first(image[None, None]))
    assert pooled.flatten().tolist() == cells.tolist()


@pytest.mark.parametrize("shape", [(17, 23, 2), (64, 64, 3)])
def test_the_decoder_uses_every_input_and_every_parameter(shape: tuple[int, int, int]) -> None:
    height, width, _ = shape
    decoder = ConvDecoder(6, shape, conv_channels(height, width, 2))
    x = uniform(4, 6, seed=0).requires_grad_()
    images = decoder(x)
    inputs, *parameters = torch.autograd.grad(
        (images * uniform(*images.shape, seed=1)).sum(), [x, *decoder.parameters()]
    )
    assert inputs.all()
    assert all(gradient.any() for gradient in parameters)


def test_the_decoder_starts_small_and_ends_with_all_channels_at_full_size() -> None:
    decoder = ConvDecoder(6, (64, 48, 3), [2, 3, 4, 5])
    assert decoder.smallest == (5, 4, 3)
    kernels = [p.shape for p in decoder.parameters() if p.dim() == 4]
    assert kernels == [(4, 5, 5, 5), (3, 4, 5, 5), (2, 3, 5, 5), (3, 2, 5, 5)]  # 5 -> 4 -> 3 -> 2 -> colours
    assert (decoder(uniform(20, 6, seed=0)) < 0).any()  # a logit: no activation after the last convolution


@given(st.lists(st.integers(1, 3), min_size=2, max_size=5), st.integers(1, 2))
def test_flatten_leading_merges_in_order_and_remembers_the_shape(shape: list[int], keep: int) -> None:
    x = torch.arange(math.prod(shape)).reshape(shape)
    flat, leading = flatten_leading(x, keep)
    assert flat.shape == (math.prod(shape[:-keep]), *shape[-keep:])
    assert torch.equal(flat.flatten(), x.flatten())
    assert torch.equal(flat.reshape(*leading, *flat.shape[1:]), x)


# --- Freezing ---------------------------------------------------------------------------------------------------------


def test_through_a_frozen_part_gradient_reaches_the_input_and_no_parameter() -> None:
    part, x = nn.Linear(3, 2), uniform(4, 3, seed=0).requires_grad_()
    part.bias.requires_grad_(False)  # by someone else, and it stays so
    with frozen(part):
        part(x).sum().backward()
    assert x.grad is not None and torch.equal(x.grad, part.weight.detach().sum(0).expand(4, 3))
    assert part.weight.grad is None
    assert part.weight.requires_grad and not part.bias.requires_grad


def test_a_part_learns_again_from_what_is_computed_before_and_after_it_was_frozen() -> None:
    part, x = nn.Linear(3, 2), uniform(4, 3, seed=0)
    before = part(x).sum()
    with pytest.raises(ZeroDivisionError), frozen(part):
        raise ZeroDivisionError
    (before + part(x).sum()).backward()
    assert part.weight.grad is not None
    torch.testing.assert_close(part.weight.grad, 2 * x.sum(0).expand(2, 3))
