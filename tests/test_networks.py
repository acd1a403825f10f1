"""Initialisation against its statistics, layers against their formulas, pixels followed through convolutions."""

import math

import pytest
import torch
from helpers import STANDARD_ERRORS, randomise, uniform
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from wm_tutorial.config import make_config
from wm_tutorial.data import Spaces
from wm_tutorial.errors import InputError
from wm_tutorial.networks import (
    MLP,
    TRUNCATION,
    BlockLinear,
    ChannelNorm,
    ConvDecoder,
    ConvEncoder,
    Norm,
    SmallestImage,
    UpsampleConv,
    block,
    conv,
    conv_channels,
    conv_stages,
    flatten_leading,
    frozen,
    halved,
    initialise,
    linear,
)
from wm_tutorial.world_model import WorldModel

# (height, width, colours): odd sizes, one stage, four stages, and wider than high
IMAGES = [(17, 23, 2), (64, 64, 3), (8, 8, 1), (84, 96, 4), (5, 31, 3), (3, 3, 1)]
NORMS: list[Norm] = ["layer", "rms"]

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
    check_deviation(BlockLinear(4, 25, 900).weight, 1 / 10)  # those of all four blocks, though each output sees 25
    assert not BlockLinear(2, 3, 4).bias.any()
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


def normalised(x: Tensor, gain: Tensor, shift: Tensor | None = None) -> Tensor:
    """Along the last axis, with a shift: mean 0 and variance 1, a gain; without one: mean square 1, a gain."""
    if shift is None:
        return x / (x.square().mean(-1, keepdim=True) + 1e-4).sqrt() * gain
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * gain + shift


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


@pytest.mark.parametrize("norm", NORMS)
def test_block_is_linear_then_norm_then_silu(norm: Norm) -> None:
    layer = randomise(block(3, 5, norm), seed=1)
    x = uniform(4, 3, seed=0, low=-2, high=2)
    weight, bias, *gain_and_shift = (parameter.detach() for parameter in layer.parameters())
    torch.testing.assert_close(layer(x), silu(normalised(x @ weight.T + bias, *gain_and_shift)))


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


@pytest.mark.parametrize("norm", NORMS)
def test_channel_norm_normalises_the_channels_of_each_pixel(norm: Norm) -> None:
    layer = randomise(ChannelNorm(3, norm))
    gain_and_shift = [parameter.detach() for parameter in layer.parameters()]
    assert len(gain_and_shift) == {"layer": 2, "rms": 1}[norm]
    x = uniform(2, 3, 4, 5, seed=0, low=-3, high=3)
    y = layer(x)
    for n in range(2):
        for i in range(4):
            for j in range(5):
                torch.testing.assert_close(y[n, :, i, j], normalised(x[n, :, i, j], *gain_and_shift))


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


@pytest.mark.parametrize("norm", NORMS)
def test_an_encoder_stage_is_convolution_maximum_norm_activation(norm: Norm) -> None:
    encoder = ConvEncoder((4, 6, 2), [3], norm)
    randomise(encoder, seed=4)
    x = uniform(1, 2, 4, 6, seed=0)
    weight, bias, *gain_and_shift = (parameter.detach() for parameter in encoder.parameters())
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2))
    mapped = torch.stack([
        torch.stack([(weight * padded[:, :, i : i + 5, j : j + 5]).sum((1, 2, 3)) + bias for j in range(6)], -1)
        for i in range(4)
    ], -2)  # fmt: skip
    largest = mapped.reshape(3, 2, 2, 3, 2).amax((2, 4))  # over squares of 2 x 2 pixels
    expected = silu(normalised(largest.movedim(0, -1), *gain_and_shift)).movedim(-1, 0)
    torch.testing.assert_close(encoder(x)[0], expected.flatten())


def test_what_moves_in_the_image_moves_in_the_encoding() -> None:
    """By one cell for every four pixels where there are two stages, except near the border, where zeros are seen."""
    torch.manual_seed(0)
    encoder = nn.Sequential(*list(ConvEncoder((48, 48, 2), [3, 4]))[:-1])  # without flattening
    image = uniform(1, 2, 48, 48, seed=0)
    cells, moved = encoder(image), encoder(image.roll((4, -8), dims=(2, 3)))
    assert cells.shape == (1, 4, 12, 12)
    inside = (..., slice(4, 8), slice(4, 8))
    torch.testing.assert_close(moved[inside], cells.roll((1, -2), dims=(2, 3))[inside])


# Sizes of memory and latent: without memory, and with one that blocks of a number of their own divide.
DECODED = pytest.mark.parametrize(("memory", "latent"), [(0, 6), (8, 4)], ids=["feed-forward", "memory"])


def decoder_of(shape: tuple[int, int, int], memory: int, latent: int, norm: Norm = "layer") -> ConvDecoder:
    torch.manual_seed(0)
    channels = conv_channels(shape[0], shape[1], 2)
    return ConvDecoder(memory, latent, 5, shape, channels, blocks=4, norm=norm)


@DECODED
@pytest.mark.parametrize("shape", IMAGES)
def test_every_output_pixel_depends_on_the_input(shape: tuple[int, int, int], memory: int, latent: int) -> None:
    height, width, colours = shape
    decoder = decoder_of(shape, memory, latent).double()
    x = uniform(4, memory + latent, seed=0).double()
    images = decoder(x)
    assert images.shape == (4, colours, height, width)
    assert (images != images[:1]).any(0).all()  # some other input makes each pixel another
    for n in range(4):
        torch.testing.assert_close(decoder(x[n : n + 1])[0], images[n])  # and no pixel depends on the batch


def test_what_was_rounded_up_is_cut_off_where_the_encoder_added_it() -> None:
    """Cell (i, j) of the smallest image covers the pixels (2 i, 2 j) to (2 i + 1, 2 j + 1), in encoder and decoder."""
    decoder = ConvDecoder(0, 6, 5, (5, 7, 1), [1])
    decoder.start = nn.Identity()
    last = decoder.stack[-1]
    assert isinstance(last, UpsampleConv)
    nn.init.dirac_(last.conv.weight)
    cells = torch.arange(12.0).reshape(3, 4)
    image = decoder(cells[None, None])[0, 0]
    expected = [[cells[i // 2, j // 2].item() for j in range(7)] for i in range(5)]
    assert image.tolist() == expected

    encoder = ConvEncoder((5, 7, 1), [1])
    first = encoder[0]
    assert isinstance(first, nn.Conv2d)
    nn.init.dirac_(first.weight)
    pooled = encoder[1](first(image[None, None]))
    assert torch.equal(pooled[0, 0], cells)


@DECODED
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(17, 23, 2), (64, 64, 3)])
def test_the_decoder_uses_every_input_and_every_parameter(
    shape: tuple[int, int, int], norm: Norm, memory: int, latent: int
) -> None:
    decoder = decoder_of(shape, memory, latent, norm)
    x = uniform(4, memory + latent, seed=0).requires_grad_()
    images = decoder(x)
    inputs, *parameters = torch.autograd.grad(
        (images * uniform(*images.shape, seed=1)).sum(), [x, *decoder.parameters()]
    )
    assert inputs.all()
    assert all(gradient.any() for gradient in parameters)


def test_the_decoder_starts_small_and_ends_with_all_channels_at_full_size() -> None:
    decoder = ConvDecoder(0, 6, 5, (64, 48, 3), [2, 3, 4, 5])
    assert decoder.start.shape == (5, 4, 3)
    kernels = [p.shape for p in decoder.parameters() if p.dim() == 4]
    assert kernels == [(4, 5, 5, 5), (3, 4, 5, 5), (2, 3, 5, 5), (3, 2, 5, 5)]  # 5 -> 4 -> 3 -> 2 -> colours
    assert (decoder(uniform(20, 6, seed=0)) < 0).any()  # a logit: no activation after the last convolution


@pytest.mark.parametrize("norm", NORMS)
def test_a_decoder_stage_is_upsampling_convolution_norm_activation(norm: Norm) -> None:
    decoder = ConvDecoder(0, 6, 5, (8, 8, 1), [2, 3], norm=norm)
    randomise(decoder)
    x = uniform(4, 6, seed=0)
    first, norm_layer, *_, last = decoder.stack
    gain_and_shift = [parameter.detach() for parameter in norm_layer.parameters()]
    hidden = silu(normalised(first(decoder.start(x)).movedim(1, -1), *gain_and_shift)).movedim(-1, 1)
    torch.testing.assert_close(decoder(x), last(hidden))


def start_of(blocks: int, norm: Norm = "layer") -> SmallestImage:
    """From a memory of 12 numbers and a latent of 5 to an image of 6 channels, 3 x 2 pixels."""
    start = SmallestImage(12, 5, 7, (6, 3, 2), blocks, norm)
    randomise(start, seed=3)
    return start


@pytest.mark.parametrize("norm", NORMS)
def test_the_smallest_image_is_the_normalised_sum_of_what_memory_and_latent_say(norm: Norm) -> None:
    start = start_of(blocks=3, norm=norm)
    memory, latent = uniform(4, 12, seed=0), uniform(4, 5, seed=1)
    hidden, output = start.from_latent
    raw = hidden(latent) @ output.weight.T + output.bias
    assert hidden(latent).shape == (4, 14)  # twice the hidden units
    assert start.from_memory is not None
    for g in range(3):  # block g reads 4 numbers of the memory and paints 2 whole channels, 12 numbers
        weight, bias = start.from_memory.weight[g], start.from_memory.bias[g]
        raw[:, 12 * g : 12 * (g + 1)] += memory[:, 4 * g : 4 * (g + 1)] @ weight + bias
    gain_and_shift = [parameter.detach() for parameter in start.finish.parameters()]
    expected = silu(normalised(raw.reshape(4, 6, 3, 2).movedim(1, -1), *gain_and_shift)).movedim(-1, 1)
    torch.testing.assert_close(start(torch.cat([memory, latent], -1)), expected)


@pytest.mark.parametrize(("blocks", "channels"), [(3, 2), (4, 3), (6, 1), (1, 6)])
def test_each_block_of_the_memory_paints_channels_of_its_own(blocks: int, channels: int) -> None:
    """Four blocks cannot share six channels evenly; two can."""
    start = start_of(blocks)
    start.finish = nn.Identity()
    feature = uniform(1, 17, seed=0)
    changed = feature.clone()
    changed[:, 0] += 1.0  # belongs to the first block
    moved = (start(changed) != start(feature))[0]
    assert moved[:channels].all() and not moved[channels:].any()
    changed = feature.clone()
    changed[:, 12] += 1.0  # the first number of the latent speaks to every channel
    assert (start(changed) != start(feature)).all()


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.integers(0, 100))
def test_upsampling_and_convolving_at_once_is_one_after_the_other(
    inputs: int, outputs: int, height: int, width: int, seed: int
) -> None:
    layer = randomise(UpsampleConv(inputs, outputs), seed).double()
    x = uniform(2, inputs, height, width, seed=seed).double().requires_grad_()
    slow = layer.conv(x.repeat_interleave(2, -2).repeat_interleave(2, -1))
    quick = layer(x)
    torch.testing.assert_close(quick, slow)
    weights = uniform(*slow.shape, seed=seed + 1).double()
    wanted = [x, *layer.parameters()]
    for ours, theirs in zip(*(torch.autograd.grad((y * weights).sum(), wanted) for y in (quick, slow)), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("norm", NORMS)
def test_channels_stay_last_in_memory_from_stage_to_stage(norm: Norm) -> None:
    decoder, image = decoder_of((64, 64, 3), 8, 4, norm), decoder_of((64, 64, 3), 8, 4).start(uniform(2, 12, seed=0))
    for layer in decoder.stack:
        image = layer(image)
        assert image.is_contiguous(memory_format=torch.channels_last), layer
    image = uniform(2, 64, 64, 3, seed=0).movedim(-1, 1)  # as an environment gives it
    for layer in list(ConvEncoder((64, 64, 3), [4, 6, 8, 8], norm))[:-1]:
        image = layer(image)
        assert image.is_contiguous(memory_format=torch.channels_last), layer


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


def test_a_memory_that_the_image_decoder_cannot_divide_is_refused_when_it_is_built() -> None:
    spaces = Spaces("image", (64, 64, 3), "discrete", 2, (0.0,), (1.0,))
    config = make_config("dreamer_v3", "nano", memory_cell="gru", memory_size=30)
    with pytest.raises(InputError, match=r"memory_size is 30.*multiple of 8, or other memory_blocks"):
        WorldModel(spaces, config)
    WorldModel(spaces, make_config("dreamer_v3", "nano", memory_cell="gru", memory_size=30, memory_blocks=1))
