"""What chapter 07 builds is what the package has."""

import torch
from chapters import definitions

from wm_tutorial import actor_critic


def test_actor_loss_agrees() -> None:
    given = [torch.randn(4, 7, requires_grad=True) for _ in range(4)]
    mine = definitions("07_actor_critic")["actor_loss"](*given, 0.3)
    package = actor_critic.actor_loss(*given, 0.3)
    torch.testing.assert_close(mine, package)
    slopes = [torch.autograd.grad(loss.sum(), given, allow_unused=True) for loss in (mine, package)]
    assert [slope is None for slope in slopes[0]] == [False, False, True, True]
    torch.testing.assert_close(*slopes)
