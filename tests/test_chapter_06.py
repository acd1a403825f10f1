"""What chapter 06 builds is what the package has."""

import pytest
import torch
from chapters import definitions

from wm_tutorial import returns


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.95, 1.0])
def test_lambda_returns_agrees(lam: float) -> None:
    reward, discount, value = torch.randn(4, 7), torch.rand(4, 7), torch.randn(4, 7)
    mine = definitions("06_lambda_returns")["lambda_returns"](reward, discount, value, lam)
    torch.testing.assert_close(mine, returns.lambda_returns(reward, discount, value, lam))
