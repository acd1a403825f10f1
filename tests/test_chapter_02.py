"""What chapter 02 defines computes the same as the package."""

from types import SimpleNamespace

import torch
from chapters import definitions
from helpers import Through
from torch import Tensor

from wm_tutorial.data import State
from wm_tutorial.dynamics import FeedForward
from wm_tutorial.latents import Gaussian, GaussianLatent

CHAPTER = definitions("02_dynamics")


def package(net: object = None) -> FeedForward:
    dynamics = FeedForward(7, 2, GaussianLatent(3), hidden=8, layers=1)
    if net is not None:
        dynamics.prior_net = Through(net)  # type: ignore[assignment, arg-type]
    return dynamics


def test_dynamics_step_agrees() -> None:
    weights, latent, action = torch.randn(5, 6), torch.randn(4, 3), torch.eye(2)[[0, 1, 1, 0]]

    def net(x: Tensor) -> Tensor:
        return torch.tanh(x @ weights)

    mean, logvar = CHAPTER["solved_dynamics_step"](latent, action, net)
    prior = package(net).prior(State(latent[:, :0], latent), action)
    assert isinstance(prior, Gaussian)
    torch.testing.assert_close(mean, prior.mean)
    torch.testing.assert_close(logvar, prior.logvar)


def test_dynamics_agree_with_the_same_network() -> None:
    theirs, ours = package(), CHAPTER["Dynamics"](3, 2)
    ours.net = theirs.prior_net
    latent, action = torch.randn(4, 6, 3), torch.eye(2)[torch.randint(2, (4, 6))]
    prior = theirs.prior(State(latent[..., :0], latent), action)
    assert isinstance(prior, Gaussian)
    torch.testing.assert_close(ours(latent, action).mean, prior.mean)
    torch.testing.assert_close(ours(latent, action).logvar, prior.logvar)


def test_prior_inputs_agrees() -> None:
    latent, start, is_first = torch.randn(5, 6, 3), torch.randn(5, 3), torch.rand(5, 6) < 0.4
    action, asked, dynamics = torch.eye(2)[torch.randint(2, (5, 6))], [], package()
    dynamics.posterior = lambda embedding: SimpleNamespace(sample=lambda: latent)  # type: ignore[assignment, method-assign, return-value]
    dynamics.prior = lambda *given: asked.append(given)  # type: ignore[assignment, method-assign, return-value]
    dynamics.observe(latent, action, is_first, State(start[:, :0], start))
    before, taken = CHAPTER["solved_prior_inputs"](latent, action, is_first, start)
    assert torch.equal(before, asked[0][0].latent) and torch.equal(taken, asked[0][1])


def test_rolling_out_feeds_each_prediction_to_the_next_step() -> None:
    latent, action = torch.randn(4, 2), torch.randn(4, 6, 2)
    rolled = CHAPTER["roll_out"](lambda z, a: z + a, latent, action)
    torch.testing.assert_close(rolled, latent[:, None] + action.cumsum(1))
