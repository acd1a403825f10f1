"""What chapter 05 builds is what the package has."""

import torch
from chapters import definitions
from torch import Tensor

from wm_tutorial.config import make_config
from wm_tutorial.data import Spaces, State
from wm_tutorial.imagination import imagine
from wm_tutorial.latents import OneHot
from wm_tutorial.world_model import WorldModel


def test_dream_slowly_agrees() -> None:
    model = WorldModel(Spaces("vector", (4,), "discrete", 2, (0,), (1,)), make_config("guide"))
    start = State(torch.zeros(3, 0), torch.randn(3, model.features))

    def policy(feature: Tensor) -> OneHot:
        return OneHot.mixed(feature[:, :2], 0.0)

    torch.manual_seed(0)
    feature, action = definitions("05_imagination")["dream_slowly"](model, policy, start, 6)
    torch.manual_seed(0)
    trajectory = imagine(model, policy, start, 6)
    assert torch.equal(trajectory.state.feature, feature) and torch.equal(trajectory.action, action)
