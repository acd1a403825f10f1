"""What a reader of chapter 06 builds is what the package has."""

import pytest
import torch
from chapters import definitions

from wm_tutorial import returns


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.95, 1.0])
def test_lambda_returns_agrees(lam: float) -> None:
    reward, discount, value = torch.randn(4, 7), torch.rand(4, 7), torch.randn(4, 8)
    package = returns.lambda_returns(reward, discount, value[:, 1:], lam)
    chapter = definitions("06_lambda_returns")
    solved = chapter["solved_lambda_returns"](reward, discount, value[:, 1:], lam)
    torch.testing.assert_close(solved, package)
    if lam < 1.0:  # otherwise its system is no harder, but there is nothing of the values left to compare
        torch.testing.assert_close(
            chapter["solved_returns_without_a_loop"](reward, discount, value[:, 1:], lam), package
        )
