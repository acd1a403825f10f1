"""The divergence against torch.distributions and against sampling; then who learns from it, and when nobody does."""

import math
import re

import pytest
import torch
from helpers import STANDARD_ERRORS, uniform
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from wm_tutorial.errors import InputError
from wm_tutorial.kl import balanced_kl, categorical_kl, gaussian_kl
from wm_tutorial.latents import Gaussian

# N(0, 1) and N(1, 4):  KL(q || p) = ln 2 + (1 + 1) / 8 - 1 / 2,   KL(p || q) = -ln 2 + (4 + 1) / 2 - 1 / 2
KL_Q_P, KL_P_Q = math.log(2.0) - 0.25, 2.0 - math.log(2.0)


def four(*shape: int, seed: int) -> list[Tensor]:
    """Mean and log-variance of q, then of p."""
    return [uniform(*shape, seed=4 * seed + i, low=-2, high=2).double() for i in range(4)]


def torch_normal(mean: Tensor, logvar: Tensor) -> Independent:
    return Independent(Normal(mean, torch.exp(0.5 * logvar)), 1)


def narrow(*divergences: float, requires_grad: bool = False) -> tuple[Gaussian, Gaussian]:
    """Posterior and prior of unit variance, (1, Z), whose latents are exactly these divergences (squares / 2) apart."""
    mean = torch.tensor([[math.sqrt(2.0 * d) for d in divergences]], dtype=torch.float64)
    posterior = Gaussian(mean, torch.zeros_like(mean))
    prior = Gaussian(torch.zeros_like(mean), torch.zeros_like(mean))
    for tensor in (posterior.mean, posterior.logvar, prior.mean, prior.logvar):
        tensor.requires_grad_(requires_grad)
    return posterior, prior


# --- The closed form --------------------------------------------------------------------------------------------------


def test_worked_example_in_both_directions() -> None:
    q, p = (torch.tensor([0.0]), torch.tensor([0.0])), (torch.tensor([1.0]), torch.tensor([math.log(4.0)]))
    assert gaussian_kl(*q, *p).item() == pytest.approx(KL_Q_P, rel=1e-6)  # 0.4431
    assert gaussian_kl(*p, *q).item() == pytest.approx(KL_P_Q, rel=1e-6)  # 1.3069


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_torch_distributions(seed: int) -> None:
    mean_q, logvar_q, mean_p, logvar_p = four(4, 5, 3, seed=seed)
    ours = gaussian_kl(mean_q, logvar_q, mean_p, logvar_p)
    theirs = kl_divergence(torch_normal(mean_q, logvar_q), torch_normal(mean_p, logvar_p))
    assert ours.shape == (4, 5)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_agrees_with_its_definition_by_sampling() -> None:
    mean_q, logvar_q, mean_p, logvar_p = four(3, seed=7)
    q, p = torch_normal(mean_q, logvar_q), torch_normal(mean_p, logvar_p)
    torch.manual_seed(0)
    x = q.sample((400_000,))
    log_ratio = q.log_prob(x) - p.log_prob(x)  # averaged under the FIRST distribution
    error = log_ratio.std().item() / math.sqrt(len(log_ratio))
    exact = gaussian_kl(mean_q, logvar_q, mean_p, logvar_p).item()
    assert abs(log_ratio.mean().item() - exact) < STANDARD_ERRORS * error
    swapped = gaussian_kl(mean_p, logvar_p, mean_q, logvar_q).item()
    assert abs(log_ratio.mean().item() - swapped) > 100 * error


@given(st.lists(st.floats(-3.0, 3.0), min_size=4, max_size=4))
def test_never_negative_and_zero_only_between_equals(numbers: list[float]) -> None:
    mean_q, logvar_q, mean_p, logvar_p = torch.tensor(numbers, dtype=torch.float64).reshape(4, 1)
    assert gaussian_kl(mean_q, logvar_q, mean_q, logvar_q).item() == 0.0
    divergence = gaussian_kl(mean_q, logvar_q, mean_p, logvar_p).item()
    assert divergence >= -1e-12
    if abs(numbers[0] - numbers[2]) > 0.01 or abs(numbers[1] - numbers[3]) > 0.01:
        assert divergence > 1e-7


def test_each_state_has_a_divergence_of_its_own() -> None:
    arguments = four(2, 3, 4, seed=1)
    together = gaussian_kl(*arguments)
    for b in range(2):
        for t in range(3):
            alone = gaussian_kl(*(argument[b, t] for argument in arguments))
            assert together[b, t].item() == pytest.approx(alone.item(), rel=1e-12)
            by_latent = [gaussian_kl(*(a[b, t, z : z + 1] for a in arguments)).item() for z in range(4)]
            assert together[b, t].item() == pytest.approx(sum(by_latent), rel=1e-12)  # a sum, not a mean


def test_one_distribution_may_be_compared_with_many() -> None:
    mean_q, logvar_q, mean_p, logvar_p = four(5, 3, seed=2)
    broadcast = gaussian_kl(mean_q, logvar_q, mean_p[0], logvar_p[0])
    repeated = gaussian_kl(mean_q, logvar_q, mean_p[:1].expand(5, 3), logvar_p[:1].expand(5, 3))
    torch.testing.assert_close(broadcast, repeated, rtol=0, atol=0)


# --- Balancing: the same number twice, each teaching one side ---------------------------------------------------------


ODD_ONES_OUT = [[(2, 1) if i == place else (2, 3) for i in range(4)] for place in range(4)]


@pytest.mark.parametrize("shapes", [[(5, 1), (5, 1), (1, 5), (1, 5)], [(3,), (3,), (), ()], *ODD_ONES_OUT])
def test_what_is_summed_over_is_never_broadcast(shapes: list[tuple[int, ...]]) -> None:
    told = (
        f"gaussian_kl got tensors of shapes {', '.join(map(str, shapes))}; the last axis, Z, must be the same in all."
    )
    with pytest.raises(InputError, match=f"^{re.escape(told)}$"):
        gaussian_kl(*[torch.zeros(shape) for shape in shapes])


def test_classes_are_never_broadcast() -> None:
    shapes = "(4, 2, 3), (4, 1, 3)"
    told = f"categorical_kl got tensors of shapes {shapes}; the last two axes, S and K, must be the same in all."
    with pytest.raises(InputError, match=f"^{re.escape(told)}$"):
        categorical_kl(torch.zeros(4, 2, 3), torch.zeros(4, 1, 3))
    assert categorical_kl(torch.zeros(2, 3), torch.zeros(2, 3)).shape == ()  # without a leading axis, too


def test_both_are_the_divergence_of_the_posterior_from_the_prior() -> None:
    posterior = Gaussian(torch.tensor([0.0]), torch.tensor([0.0]))
    prior = Gaussian(torch.tensor([1.0]), torch.tensor([math.log(4.0)]))
    dynamics, representation = balanced_kl(posterior, prior, free_nats=0.0)
    assert dynamics.item() == representation.item() == pytest.approx(KL_Q_P, rel=1e-6)


def test_each_teaches_exactly_one_side_with_the_exact_gradient() -> None:
    mean_q, logvar_q, mean_p, logvar_p = (x.requires_grad_() for x in four(2, 3, 4, seed=3))
    leaves = (mean_q, logvar_q, mean_p, logvar_p)
    dynamics, representation = balanced_kl(Gaussian(mean_q, logvar_q), Gaussian(mean_p, logvar_p), free_nats=0.0)
    by_dynamics = torch.autograd.grad(dynamics.sum(), leaves, allow_unused=True, retain_graph=True)
    by_representation = torch.autograd.grad(representation.sum(), leaves, allow_unused=True)
    assert by_dynamics[:2] == (None, None)  # nothing reaches the posterior
    assert by_representation[2:] == (None, None)  # nothing reaches the prior

    distance, variance_q, variance_p = mean_q - mean_p, logvar_q.exp(), logvar_p.exp()
    expected = (
        distance / variance_p,
        0.5 * (variance_q / variance_p - 1.0),
        -distance / variance_p,
        0.5 * (1.0 - (variance_q + distance**2) / variance_p),
    )
    for found, exact in zip((*by_representation[:2], *by_dynamics[2:]), expected, strict=True):
        torch.testing.assert_close(found, exact.detach(), rtol=1e-10, atol=1e-12)


# --- Free nats --------------------------------------------------------------------------------------------------------


def test_below_the_threshold_neither_side_learns_and_above_it_both_learn_all() -> None:
    """Two states in one batch, 0.5 and 3 nats apart, of which 1 is free."""
    mean_q = torch.tensor([[[1.0], [math.sqrt(6.0)]]], dtype=torch.float64, requires_grad=True)  # (B 1, T 2, Z 1)
    logvar_q, mean_p, logvar_p = (torch.zeros(1, 2, 1, dtype=torch.float64, requires_grad=True) for _ in range(3))
    dynamics, representation = balanced_kl(Gaussian(mean_q, logvar_q), Gaussian(mean_p, logvar_p), free_nats=1.0)
    for loss in (dynamics, representation):
        assert loss.flatten().tolist() == pytest.approx([1.0, 3.0], rel=1e-12)
    (dynamics + representation).sum().backward()
    for leaf, slope in [(mean_q, 6**0.5), (logvar_q, 0.0), (mean_p, -(6**0.5)), (logvar_p, -3.0)]:
        assert leaf.grad is not None
        assert leaf.grad[0, 0].item() == 0.0
        assert leaf.grad[0, 1].item() == pytest.approx(slope, abs=1e-12)  # all of it, not only what exceeds 1


def test_the_threshold_counts_the_sum_over_latents_not_each_latent() -> None:
    posterior, prior = narrow(0.3, 0.9, requires_grad=True)
    for loss in balanced_kl(posterior, prior, free_nats=1.0):
        assert loss.item() == pytest.approx(1.2)  # clipped one by one: 2.0
        loss.sum().backward()
    for mean in (posterior.mean, prior.mean):
        assert mean.grad is not None and mean.grad.all()  # clipped one by one, neither latent would learn

    for loss in balanced_kl(*narrow(0.9, 0.9, 0.9), free_nats=1.0):
        assert loss.item() == pytest.approx(2.7)
    for loss in balanced_kl(*narrow(0.2, 0.2, 0.2, 0.2), free_nats=1.0):
        assert loss.item() == 1.0


def test_the_threshold_comes_before_any_mean() -> None:
    means = torch.tensor([[0.2, 3.0]], dtype=torch.float64).mul(2).sqrt().unsqueeze(-1)  # (B 1, T 2, Z 1)
    zeros = torch.zeros_like(means)
    for loss in balanced_kl(Gaussian(means, zeros), Gaussian(zeros, zeros), free_nats=1.0):
        assert loss.mean().item() == pytest.approx(2.0)  # (1 + 3) / 2; clipping the mean would give 1.6


def test_free_nats_of_the_mean_let_all_states_have_the_same() -> None:
    """PlaNet's and DreamerV1's: each state shows the mean over all of them, clipped, and all are pulled alike."""
    means = torch.tensor([[0.2, 3.0]], dtype=torch.float64).mul(2).sqrt().unsqueeze(-1).requires_grad_()
    zeros = torch.zeros_like(means)
    for loss in balanced_kl(Gaussian(means, zeros), Gaussian(zeros, zeros), free_nats=1.0, of_mean=True):
        assert loss.tolist() == [[pytest.approx(1.6), pytest.approx(1.6)]]
    (slope,) = torch.autograd.grad(loss.sum(), means)
    torch.testing.assert_close(slope, means.detach())  # of squares / 2, the mean of two, twice
    for loss in balanced_kl(Gaussian(means, zeros), Gaussian(zeros, zeros), free_nats=1.7, of_mean=True):
        assert loss.tolist() == [[1.7, 1.7]]


@given(st.floats(0.0, 5.0), st.floats(0.0, 5.0))
def test_never_below_free_nats_and_unchanged_above(divergence: float, free_nats: float) -> None:
    for loss in balanced_kl(*narrow(divergence), free_nats=free_nats):
        assert loss.item() == pytest.approx(max(divergence, free_nats), rel=1e-9, abs=1e-12)


def test_weighted_equally_the_two_have_the_gradient_of_the_plain_divergence() -> None:
    leaves = [x.requires_grad_() for x in four(2, 3, 4, seed=5)]
    posterior, prior = Gaussian(*leaves[:2]), Gaussian(*leaves[2:])
    plain = torch.autograd.grad(posterior.kl(prior).sum(), leaves)
    balanced = torch.autograd.grad(sum(balanced_kl(posterior, prior, free_nats=0.0)).sum(), leaves)
    for one, other in zip(plain, balanced, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("free_nats", [1.0, 2.0])
def test_free_nats_of_the_mean_let_all_states_learn_or_none(free_nats: float) -> None:
    """0.5 and 3 nats, 1.75 in the mean. With 1 free the quiet state learns, too; with 2 not even the loud one does."""
    mean_q = torch.tensor([[[1.0], [math.sqrt(6.0)]]], dtype=torch.float64, requires_grad=True)  # (B 1, T 2, Z 1)
    logvar_q, mean_p, logvar_p = (torch.zeros(1, 2, 1, dtype=torch.float64, requires_grad=True) for _ in range(3))
    losses = balanced_kl(Gaussian(mean_q, logvar_q), Gaussian(mean_p, logvar_p), free_nats, of_mean=True)
    for loss in losses:
        assert loss.flatten().tolist() == pytest.approx([max(1.75, free_nats)] * 2, rel=1e-12)
    sum(losses).mean().backward()
    learns = 1.0 if free_nats < 1.75 else 0.0
    assert mean_q.grad is not None and mean_p.grad is not None
    assert mean_q.grad.flatten().tolist() == pytest.approx([learns * 0.5, learns * math.sqrt(6.0) / 2], abs=1e-12)
    torch.testing.assert_close(mean_p.grad, -mean_q.grad)
