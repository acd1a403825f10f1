"""What chapter 01 defines under a name of the package computes the same."""

import torch
from chapters import definitions

from wm_tutorial import transforms
from wm_tutorial.latents import Gaussian

CHAPTER = definitions("01_encoder")


def test_symlog_agrees() -> None:
    x = 100.0 * torch.randn(50, 7)
    torch.testing.assert_close(CHAPTER["symlog"](x), transforms.symlog(x))


def test_symexp_agrees() -> None:
    x = 3.0 * torch.randn(50, 7)
    torch.testing.assert_close(CHAPTER["solved_symexp"](x), transforms.symexp(x))


def test_sample_agrees() -> None:
    mean, logvar = torch.randn(2, 50, 7)
    torch.manual_seed(0)
    ours = CHAPTER["solved_sample"](mean, logvar)
    torch.manual_seed(0)
    torch.testing.assert_close(ours, Gaussian(mean, logvar).sample())


def test_encoder_is_the_packages_with_the_same_weights() -> None:
    from wm_tutorial.encoder import VectorEncoder

    ours, theirs = CHAPTER["Encoder"](5, 16, 3), VectorEncoder(5, 16, 2)
    theirs.net.load_state_dict(ours.layers.state_dict())
    obs = 10.0 * torch.randn(4, 6, 5)
    belief = ours.rule(ours.output(theirs(obs)))
    torch.testing.assert_close(ours(obs).mean, belief.mean)
    torch.testing.assert_close(ours(obs).logvar, belief.logvar)


def test_symlog_of_the_chapter_has_no_slope_at_zero_and_that_of_the_package_has() -> None:
    x = torch.zeros(1, requires_grad=True)
    for symlog, slope in ((CHAPTER["symlog"], 0.0), (transforms.symlog, 1.0)):
        (gradient,) = torch.autograd.grad(symlog(x).sum(), x)
        assert gradient.item() == slope
