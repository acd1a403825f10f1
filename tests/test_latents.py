"""Samples against the moments they should have, gradients against the reparameterisation, entropies by enumeration."""

import math
from unittest.mock import patch

import pytest
import torch
from helpers import STANDARD_ERRORS, assert_independent, uniform
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wm_tutorial.latents import LOGVAR_RANGE, CategoricalLatent, Gaussian, GaussianLatent, OneHot

# --- Gaussian ---------------------------------------------------------------------------------------------------------


def test_gaussian_samples_have_the_mean_and_the_variance_and_are_independent() -> None:
    mean, logvar = torch.tensor([-1.0, 0.5, 4.0]), torch.tensor([-3.0, 0.0, 2.0])
    count = 200_000
    torch.manual_seed(0)
    samples = Gaussian(mean.expand(count, 3), logvar.expand(count, 3)).sample().double()
    variance = logvar.exp().double()
    assert ((samples.mean(0) - mean).abs() < STANDARD_ERRORS * (variance / count).sqrt()).all()
    assert ((samples.var(0) - variance).abs() < STANDARD_ERRORS * variance * math.sqrt(2 / count)).all()
    correlation = torch.corrcoef(samples.T) - torch.eye(3)
    assert (correlation.abs() < STANDARD_ERRORS / math.sqrt(count)).all()  # each latent has noise of its own
    neighbours = torch.corrcoef(torch.stack([samples[:-1, 0], samples[1:, 0]]))[0, 1]
    assert abs(neighbours.item()) < STANDARD_ERRORS / math.sqrt(count)  # and each state


def test_a_gaussian_sample_lies_its_noise_times_the_deviation_above_the_mean() -> None:
    noise = torch.tensor([[-1.0, 0.0, 3.0]])
    with patch("torch.randn_like", lambda like: noise):
        sample = Gaussian(torch.tensor([[5.0, 6.0, 7.0]]), torch.tensor([[0.0, 1.0, math.log(4.0)]])).sample()
    assert sample.tolist() == [pytest.approx([4.0, 6.0, 13.0])]


def test_gaussian_sample_is_differentiable_exactly() -> None:
    mean = uniform(4, 3, seed=0).double().requires_grad_()
    logvar = uniform(4, 3, seed=1).double().requires_grad_()
    sample = Gaussian(mean, logvar).sample()
    assert sample.requires_grad
    sample.sum().backward()
    assert mean.grad is not None and logvar.grad is not None
    assert (mean.grad == 1.0).all()
    # x = mean + exp(logvar / 2) e, so dx / dlogvar = exp(logvar / 2) e / 2 = (x - mean) / 2
    torch.testing.assert_close(logvar.grad, (0.5 * (sample - mean)).detach())


def test_gaussian_mode_is_the_mean_and_detach_keeps_the_numbers() -> None:
    mean, logvar = uniform(2, 3, seed=0).requires_grad_(), uniform(2, 3, seed=1).requires_grad_()
    gaussian = Gaussian(mean, logvar)
    assert torch.equal(gaussian.mode, mean)
    constant = gaussian.detach()
    assert torch.equal(constant.mean, mean) and torch.equal(constant.logvar, logvar)
    assert not constant.mean.requires_grad and not constant.logvar.requires_grad


def test_gaussian_kl_is_of_the_first_from_the_second() -> None:
    p = Gaussian(torch.tensor([[0.0]]), torch.tensor([[0.0]]))
    q = Gaussian(torch.tensor([[1.0]]), torch.tensor([[math.log(4.0)]]))
    assert p.kl(q).tolist() == pytest.approx([math.log(2.0) - 0.25], rel=1e-6)
    assert q.kl(p).tolist() == pytest.approx([2.0 - math.log(2.0)], rel=1e-6)


def test_gaussian_latent_takes_means_first_and_log_variances_second() -> None:
    latent = GaussianLatent(3)
    assert latent.parameters == 6
    gaussian = latent(torch.tensor([[1.0, 2.0, 3.0, 0.0, -1e6, 1e6]]))
    assert gaussian.mean.tolist() == [[1.0, 2.0, 3.0]]
    low, high = LOGVAR_RANGE
    assert gaussian.logvar.tolist() == [[(low + high) / 2, low, high]]


def test_log_variance_grows_with_its_input_and_passes_gradient() -> None:
    raw = torch.linspace(-6.0, 6.0, 101, dtype=torch.float64).unsqueeze(-1).requires_grad_()  # (101, 1)
    logvar = GaussianLatent(1)(torch.cat([torch.zeros_like(raw), raw], -1)).logvar
    assert (logvar.diff(dim=0) > 0).all()
    (gradient,) = torch.autograd.grad(logvar.sum(), raw)
    assert (gradient > 0).all()


@pytest.mark.parametrize("extreme", [-1e6, -100.0, 100.0, 1e6])
def test_nothing_explodes_for_extreme_network_outputs(extreme: float) -> None:
    raw = torch.tensor([[0.0, extreme]], requires_grad=True)
    gaussian = GaussianLatent(1)(raw)
    assert LOGVAR_RANGE[0] <= gaussian.logvar.item() <= LOGVAR_RANGE[1]
    standard = Gaussian(torch.zeros(1, 1), torch.zeros(1, 1))
    loss = gaussian.kl(standard) + standard.kl(gaussian) + gaussian.sample().sum()
    loss.sum().backward()
    assert loss.isfinite().all()
    assert raw.grad is not None and raw.grad.isfinite().all()


def test_a_standard_deviation_can_neither_vanish_nor_explode() -> None:
    low, high = (math.exp(logvar / 2) for logvar in LOGVAR_RANGE)
    assert 1e-3 < low < 0.1  # precise enough to be useful, and no infinite density
    assert 1.0 < high < 10.0  # the standard Gaussian lies inside


# --- Both ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [GaussianLatent(4), CategoricalLatent(4, 2, unimix=0.1)], ids=["gaussian", "one-hot"])
def test_every_variable_of_every_state_has_chance_of_its_own(rule: GaussianLatent | CategoricalLatent) -> None:
    """Each of them alone could be drawn rightly, and all with the same number: then worlds are confused in one way."""
    torch.manual_seed(0)
    samples = rule(uniform(rule.parameters, seed=0).expand(100, 101, rule.parameters)).sample()
    assert_independent(samples.unflatten(-1, (4, -1))[..., 0])


# --- One-hot ----------------------------------------------------------------------------------------------------------


@given(
    hnp.arrays("float64", st.tuples(st.integers(1, 3), st.integers(2, 6)), elements=st.floats(-1e3, 1e3)),
    st.floats(0.001, 1.0),
)
def test_mixed_probabilities_sum_to_one_and_none_is_impossible(logits: object, unimix: float) -> None:
    logits = torch.as_tensor(logits)
    classes = logits.shape[-1]
    mixed = OneHot.mixed(logits, unimix).logits.exp()
    torch.testing.assert_close(mixed.sum(-1), torch.ones(len(logits), dtype=torch.float64))
    assert (mixed >= unimix / classes * (1 - 1e-12)).all()
    by_hand = [[(1 - unimix) * p + unimix / classes for p in row] for row in torch.softmax(logits, -1).tolist()]
    torch.testing.assert_close(mixed, torch.tensor(by_hand, dtype=torch.float64))


def test_mixed_worked_example() -> None:
    # softmax(0, ln 3) = (1/4, 3/4); mixed with 0.2 of (1/2, 1/2): (0.3, 0.7)
    distribution = OneHot.mixed(torch.tensor([0.0, math.log(3.0)], dtype=torch.float64), 0.2)
    assert distribution.logits.exp().tolist() == pytest.approx([0.3, 0.7], rel=1e-12)
    assert distribution.entropy().item() == pytest.approx(-0.3 * math.log(0.3) - 0.7 * math.log(0.7), rel=1e-12)
    assert distribution.log_prob(torch.tensor([0.0, 1.0])).item() == pytest.approx(math.log(0.7), rel=1e-12)


def test_entropy_and_log_prob_by_enumeration() -> None:
    distribution = OneHot.mixed(uniform(3, 4, 5, seed=0, low=-4, high=4).double(), 0.01)
    classes = torch.eye(5, dtype=torch.float64)
    log_probs = torch.stack([distribution.log_prob(classes[k].expand(3, 4, 5)) for k in range(5)], -1)  # (3, 4, 5)
    assert log_probs.shape == (3, 4, 5)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(3, 4, dtype=torch.float64))
    torch.testing.assert_close(distribution.entropy(), -(log_probs.exp() * log_probs).sum(-1))


def test_entropy_agrees_with_the_reference_implementation() -> None:
    """Made by running danijar/dreamerv3: four categoricals of five classes with 1% unimix, entropies summed."""
    logits = torch.tensor(
        [
            [3.0931806564331055, -5.214962959289551, -0.1178046315908432, 3.643165111541748, 3.3446993827819824],
            [1.2279359102249146, -0.7828172445297241, 5.273050308227539, -5.015841484069824, 2.94295597076416],
            [1.5245336294174194, 1.773110032081604, 0.7974264621734619, 0.6155404448509216, 2.7923638820648193],
            [-3.459134578704834, -3.7396559715270996, 0.4873597025871277, 0.15645238757133484, 0.49098050594329834],
        ]
    )
    assert OneHot.mixed(logits, 0.01).entropy().sum().item() == pytest.approx(4.027801990509033, rel=1e-6)


def test_the_policy_gradient_goes_through_the_mixture() -> None:
    """d ln(0.8 p + 0.1) / d logit is 0.8 p (1 - p) / (0.8 p + 0.1), less than the 1 - p of the plain softmax."""
    logits = torch.tensor([0.0, math.log(3.0)], dtype=torch.float64, requires_grad=True)  # p = 1/4, 3/4
    OneHot.mixed(logits, 0.2).log_prob(torch.tensor([1.0, 0.0])).backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == pytest.approx([0.8 * 0.25 * 0.75 / 0.3, -0.8 * 0.25 * 0.75 / 0.3], rel=1e-12)


def test_sample_frequencies() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.05, 0.05, 0.9]], dtype=torch.float64)
    count, classes = 50_000, 3
    distribution = OneHot(probabilities.expand(count, 2, classes))
    torch.manual_seed(0)
    observed = distribution.sample().sum(0)
    chi_square = ((observed - count * probabilities) ** 2 / (count * probabilities)).sum(-1)
    freedom = classes - 1  # a chi-square has mean f and variance 2 f
    assert (chi_square < freedom + STANDARD_ERRORS * math.sqrt(2 * freedom)).all()


def test_samples_follow_the_mixed_distribution() -> None:
    certain = torch.tensor([100.0, 0.0, 0.0]).expand(100_000, 3)
    torch.manual_seed(0)
    share = OneHot.mixed(certain, 0.3).sample().mean(0)
    assert share.tolist() == pytest.approx([0.8, 0.1, 0.1], abs=STANDARD_ERRORS * math.sqrt(0.16 / 100_000))


def test_samples_and_modes_are_one_hot_and_carry_no_gradient() -> None:
    logits = uniform(6, 7, 4, seed=3, low=-3, high=3).requires_grad_()
    distribution = OneHot.mixed(logits, 0.01)
    for value in (distribution.sample(), distribution.mode):
        assert value.shape == logits.shape and value.dtype == logits.dtype
        assert set(value.flatten().tolist()) == {0.0, 1.0}
        assert (value.sum(-1) == 1).all()
        assert not value.requires_grad
    assert torch.equal(distribution.mode.argmax(-1), logits.argmax(-1))


def test_a_distribution_without_leading_axes_can_be_sampled() -> None:
    assert OneHot.mixed(torch.tensor([0.0, 50.0]), 0.0).sample().tolist() == [0.0, 1.0]


def test_without_unimix_a_certain_policy_is_still_a_number() -> None:
    logits = torch.tensor([0.0, 200.0], requires_grad=True)  # exp(-200) is 0 in single precision, its logarithm -inf
    distribution = OneHot.mixed(logits, 0.0)
    entropy, log_prob = distribution.entropy(), distribution.log_prob(torch.tensor([0.0, 1.0]))
    assert entropy.item() == pytest.approx(0.0, abs=1e-6)
    assert log_prob.item() == pytest.approx(0.0, abs=1e-6)
    (gradient,) = torch.autograd.grad(entropy + log_prob, logits)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("probabilities", "classes"),
    [
        ([0.25, 0.5, 0.25], {0.0: 0, 0.2499: 0, 0.25: 1, 0.7499: 1, 0.75: 2, 0.9999: 2}),
        ([0.0, 0.5, 0.5], {0.0: 1, 0.4999: 1, 0.5: 2}),  # what is impossible is not drawn, not even by a zero
        ([0.5, 0.0, 0.5], {0.4999: 0, 0.5: 2}),
        ([0.3, 0.3, 0.3999], {0.99995: 2}),  # the shares sum to less than 1: beyond them lies the last class
    ],
)
def test_a_uniform_number_picks_the_class_in_whose_share_it_falls(
    probabilities: list[float], classes: dict[float, int]
) -> None:
    numbers = torch.tensor(list(classes), dtype=torch.float64).unsqueeze(-1)
    with patch("torch.rand_like", lambda like: numbers):
        sample = OneHot(torch.tensor(probabilities, dtype=torch.float64).expand(len(classes), 3)).sample()
    assert sample.argmax(-1).tolist() == list(classes.values())


def test_a_sample_with_gradient_is_one_hot_forward_and_its_probabilities_backward() -> None:
    logits = uniform(5, 4, 3, seed=0, low=-2, high=2).double().requires_grad_()
    direction = uniform(5, 4, 3, seed=1).double()
    policy = OneHot.mixed(logits, 0.1)
    torch.manual_seed(0)
    sample = policy.rsample()
    assert set(sample.flatten().tolist()) == {0.0, 1.0} and (sample.sum(-1) == 1).all()
    torch.manual_seed(0)
    assert torch.equal(policy.sample(), sample)
    (through,) = torch.autograd.grad((sample * direction).sum(), logits)
    (direct,) = torch.autograd.grad((OneHot.mixed(logits, 0.1).probabilities * direction).sum(), logits)
    torch.testing.assert_close(through, direct)


@pytest.mark.parametrize("classes", [16, 17])
def test_few_classes_and_many_are_mixed_alike(classes: int) -> None:
    """Up to 16 classes the softmax runs along another axis, which is quicker on a CPU."""
    logits = uniform(2, 3, classes, seed=0, low=-5, high=5)
    expected = 0.99 * torch.softmax(logits, -1) + 0.01 / classes
    torch.testing.assert_close(OneHot.mixed(logits, 0.01).probabilities, expected)


@pytest.mark.parametrize("leading", [(), (4,), (4, 5)])
def test_the_mode_of_several_variables_is_a_one_hot_vector_for_each_side_by_side(leading: tuple[int, ...]) -> None:
    raw = uniform(*leading, 2 * 3, seed=0)
    mode = CategoricalLatent(2, 3)(raw).mode
    classes = raw.unflatten(-1, (2, 3)).argmax(-1)
    assert torch.equal(mode, torch.nn.functional.one_hot(classes, 3).flatten(len(leading)).float())
