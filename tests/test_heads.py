"""What each head predicts and what it pays for it, in numbers worked out by hand."""

import math
from dataclasses import replace

import pytest
import torch
from helpers import CONTINUOUS, IMAGES, SMALL, VECTORS, randomise, uniform
from torch import Tensor

from wm_tutorial.data import Spaces
from wm_tutorial.heads import (
    Bernoulli,
    ContinueHead,
    Image,
    ImageDecoder,
    OneOf,
    ScalarHead,
    SquaredError,
    SymlogVector,
    TwoHotHead,
    VectorDecoder,
    make_decoder,
)


def slope(loss: Tensor, prediction: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(loss.sum(), prediction)
    return gradient


# --- Predictions and their losses -------------------------------------------------------------------------------------


def test_squared_error_by_hand() -> None:
    prediction = SquaredError(torch.tensor([[1.0, -2.0]], requires_grad=True))
    loss = prediction.loss(torch.tensor([[4.0, -2.5]]))
    assert loss.tolist() == [[9.0, 0.25]]  # one number each: neither summed nor halved
    assert slope(loss, prediction.mean).tolist() == [[-6.0, 1.0]]


def test_squared_error_counts_errors_in_units() -> None:
    prediction = SquaredError(torch.tensor([10.0, -20.0]), unit=10.0)
    assert prediction.loss(torch.tensor([40.0, -25.0])).tolist() == [9.0, 0.25]


def test_vectors_are_compared_in_symlog_space_and_shown_in_their_own_units() -> None:
    e = math.e
    prediction = SymlogVector(torch.tensor([[[1.0, -2.0], [0.0, 3.0]]]))  # (B 1, T 2, O 2)
    assert prediction.mean.flatten().tolist() == pytest.approx([e - 1, 1 - e**2, 0, e**3 - 1], rel=1e-6)
    target = torch.tensor([[[e**3 - 1, -(e**2 - 1)], [1 - e, e - 1]]])  # symlog: 3, -2; -1, 1
    loss = prediction.loss(target)
    assert loss.shape == (1, 2)
    assert loss.flatten().tolist() == pytest.approx([2.0**2 + 0.0, 1.0 + 2.0**2], rel=1e-6)
    assert prediction.loss(prediction.mean).flatten().tolist() == pytest.approx([0.0, 0.0], abs=1e-10)


def test_a_large_entry_does_not_drown_a_small_one() -> None:
    """An error of 10% costs a large entry about (0.1)^2, whatever its unit."""
    target = torch.tensor([1e3, 1e6])
    losses = [SymlogVector(torch.log1p(1.1 * x).unsqueeze(-1)).loss(x.unsqueeze(-1)).item() for x in target]
    assert losses == pytest.approx([math.log(1.1) ** 2] * 2, rel=2e-3)


def test_a_class_is_predicted_by_probabilities_and_compared_by_cross_entropy() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])).requires_grad_()
    prediction = OneOf(logits)
    assert prediction.mean.flatten().tolist() == pytest.approx([0.5, 0.25, 0.25, 0.1, 0.8, 0.1])
    loss = prediction.loss(torch.eye(3)[[1, 1]])
    assert loss.tolist() == pytest.approx([-math.log(0.25), -math.log(0.8)])
    assert slope(loss, logits).flatten().tolist() == pytest.approx([0.5, -0.75, 0.25, 0.1, -0.2, 0.1])  # p - one-hot


def test_images_are_compared_between_0_and_1_and_summed_over_pixels_and_channels() -> None:
    mean = torch.full((2, 3, 2, 2, 1), 0.5)  # (B, T, H, W, C)
    mean[1, 2] = torch.tensor([0.0, 1.0, 0.5, 0.25]).reshape(2, 2, 1)
    target = torch.zeros(2, 3, 2, 2, 1, dtype=torch.uint8)
    target[0, 0] = 255
    target[0, 1, 0, 0] = 51  # 0.2
    target[1, 2] = torch.tensor([255, 255, 0, 51], dtype=torch.uint8).reshape(2, 2, 1)
    expected = torch.full((2, 3), 4 * 0.25)
    expected[0, 1] = 3 * 0.25 + 0.3**2
    expected[1, 2] = 1.0 + 0.0 + 0.25 + 0.05**2
    torch.testing.assert_close(Image(mean).loss(target), expected)


def test_bernoulli_agrees_with_the_reference_implementation_on_soft_targets() -> None:
    """Made by running danijar/dreamerv3 with the target 332 / 333."""
    logit = torch.tensor([0.2339453399181366, 0.4868336319923401, 1.2264947891235352, 1.1931899785995483])
    loss = Bernoulli(logit).loss(torch.full((4,), 332 / 333))
    assert loss.tolist() == pytest.approx(
        [0.583702802658081, 0.48053011298179626, 0.26089486479759216, 0.26844608783721924], rel=1e-6
    )


def test_bernoulli_by_hand() -> None:
    prediction = Bernoulli(torch.tensor([0.0, math.log(3.0), math.log(3.0), math.log(3.0)], requires_grad=True))
    assert prediction.mean.tolist() == pytest.approx([0.5, 0.75, 0.75, 0.75])
    target = torch.tensor([0.3, 1.0, 0.0, 0.5])
    loss = prediction.loss(target)
    mixed = -0.5 * math.log(0.75) - 0.5 * math.log(0.25)
    assert loss.tolist() == pytest.approx([math.log(2), -math.log(0.75), -math.log(0.25), mixed], rel=1e-6)
    assert slope(loss, prediction.logit).tolist() == pytest.approx([0.2, -0.25, 0.75, 0.25])  # probability - target


def test_bernoulli_stays_finite_when_it_is_certain_and_wrong() -> None:
    prediction = Bernoulli(torch.tensor([200.0, -200.0], requires_grad=True))
    loss = prediction.loss(torch.tensor([0.0, 1.0]))
    assert loss.tolist() == pytest.approx([200.0, 200.0])
    assert slope(loss, prediction.logit).tolist() == pytest.approx([1.0, -1.0])


# --- Heads ------------------------------------------------------------------------------------------------------------


def test_the_scalar_head_starts_at_exactly_zero_and_can_leave_it() -> None:
    torch.manual_seed(0)
    head = ScalarHead(5, hidden=16, layers=2)
    prediction = head(uniform(4, 3, 5, seed=0, low=-100, high=100))
    assert torch.equal(prediction.mean, torch.zeros(4, 3))
    optimiser = torch.optim.SGD(head.parameters(), lr=0.1)
    feature, target = uniform(8, 5, seed=1), uniform(8, seed=2, low=1, high=2)
    for _ in range(3):
        optimiser.zero_grad()
        head(feature).loss(target).mean().backward()
        optimiser.step()
    gradients = [p.grad is not None and bool(p.grad.any()) for p in head.parameters()]
    assert all(gradients)  # after the first step the gradient passes the output layer
    assert head(feature).loss(target).mean() < target.square().mean()


def test_the_two_hot_head_starts_at_exactly_zero() -> None:
    """Random logits would mean numbers of up to a million: the last bins stand for e^20."""
    torch.manual_seed(0)
    head = TwoHotHead(5, hidden=16, layers=2, bins=255)
    feature = uniform(4, 3, 5, seed=0, low=-100, high=100)
    assert torch.equal(head(feature).mean, torch.zeros(4, 3))
    randomise(head)
    assert head(feature).mean.abs().min() > 1e3


def test_the_scalar_head_speaks_in_its_unit() -> None:
    head, plain = (randomise(ScalarHead(5, 8, 1, unit=unit), seed=1) for unit in (100.0, 1.0))
    feature = uniform(3, 5, seed=0)
    prediction = head(feature)
    torch.testing.assert_close(prediction.mean, 100 * plain(feature).mean)
    # A miss by one unit costs 1, and so its gradient does not grow with the unit either.
    torch.testing.assert_close(prediction.loss(prediction.mean.detach() + 100.0), torch.ones(3))


@pytest.mark.parametrize("head", [ScalarHead(5, 8, 1), ContinueHead(5, 8, 1)])
def test_each_feature_gets_a_number_of_its_own(head: ScalarHead | ContinueHead) -> None:
    randomise(head)
    feature = uniform(2, 3, 5, seed=0)
    means = head(feature).mean
    assert means.shape == (2, 3)
    for b in range(2):
        for t in range(3):
            torch.testing.assert_close(head(feature[b, t]).mean, means[b, t])


def test_a_new_continue_head_has_opinions() -> None:
    """Only rewards and values start at zero."""
    torch.manual_seed(0)
    assert ContinueHead(5, 64, 1)(uniform(100, 5, seed=0)).logit.std() > 0.1


def test_the_continue_head_gives_probabilities() -> None:
    head = ContinueHead(5, 8, 1)
    for logit in (-3.0, 0.0, 3.0):  # nothing cuts a logit off at zero
        torch.nn.init.zeros_(head.net[-1].weight)
        torch.nn.init.constant_(head.net[-1].bias, logit)
        prediction = head(uniform(2, 5, seed=0))
        assert prediction.logit.tolist() == [logit, logit]
        assert prediction.mean.tolist() == pytest.approx([1 / (1 + math.exp(-logit))] * 2)


# --- Decoders ---------------------------------------------------------------------------------------------------------


def test_the_image_decoder_gives_height_width_channels_in_0_to_1() -> None:
    torch.manual_seed(0)
    decoder = ImageDecoder(0, 4, (8, 9, 2), SMALL)
    feature = uniform(2, 3, 4, seed=0, low=-3, high=3)
    image = decoder(feature).mean
    assert image.shape == (2, 3, 8, 9, 2)
    assert ((image > 0) & (image < 1)).all()
    for b in range(2):
        for t in range(3):
            channels_first = torch.sigmoid(decoder.net(feature[b, t : t + 1]))[0]
            torch.testing.assert_close(image[b, t], channels_first.permute(1, 2, 0))


def test_a_feature_is_memory_then_latent_and_both_shape_the_image() -> None:
    torch.manual_seed(0)
    decoder = ImageDecoder(16, 4, (8, 9, 2), replace(SMALL, memory_size=16))
    feature = uniform(3, 20, seed=0)
    image = decoder(feature).mean
    without = {"memory": feature.clone(), "latent": feature.clone()}
    without["memory"][:, :16] = 0.0
    without["latent"][:, 16:] = 0.0
    for name, zeroed in without.items():
        assert (decoder(zeroed).mean != image).all(), name
    # Only the way in of the memory reads the first 16 numbers: without its matrix they change nothing.
    assert decoder.net.start.from_memory is not None
    torch.nn.init.zeros_(decoder.net.start.from_memory.weight)
    torch.testing.assert_close(decoder(without["memory"]).mean, decoder(feature).mean, rtol=0, atol=0)


def test_the_vector_decoder_predicts_in_symlog_space() -> None:
    decoder = randomise(VectorDecoder(4, 8, 1, outputs=3))
    feature = uniform(2, 5, 4, seed=0)
    prediction = decoder(feature)
    torch.testing.assert_close(prediction.symlog_mean, decoder.net(feature))
    raw = prediction.symlog_mean
    torch.testing.assert_close(prediction.mean, torch.where(raw < 0, 1 - torch.exp(-raw), torch.exp(raw) - 1))


@pytest.mark.parametrize(
    ("spaces", "kind"),
    [
        (VECTORS, SymlogVector),
        (CONTINUOUS, SymlogVector),
        (IMAGES, Image),
        (Spaces("discrete", (5,), "discrete", 2, (0.0,), (1.0,)), OneOf),
    ],
)
def test_the_decoder_fits_the_observations(spaces: Spaces, kind: type) -> None:
    prediction = make_decoder(spaces, SMALL, memory=0, latent=4)(uniform(2, 3, 4, seed=0))
    assert type(prediction) is kind
    assert prediction.mean.shape == (2, 3, *spaces.obs_shape)
