"""Checks of what a reader builds: each says in one line that a function is right, or what is wrong with it.

from wm_tutorial import check
check.lambda_returns(my_lambda_returns)

Every check prints, and returns whether the function is right. The signature a function must have stands in the
docstring of its check: `help(check.lambda_returns)`. The order of the arguments counts, their names do not.
"""

from collections.abc import Mapping

from wm_tutorial.check.asking import Mistake, Part
from wm_tutorial.check.behaviour import (
    CRITIC_LOSS,
    DYNAMICS_STEP,
    IMAGINATION,
    LAMBDA_RETURNS,
    POLICY_LOSS,
    critic_loss,
    dynamics_step,
    imagination,
    lambda_returns,
    policy_loss,
)
from wm_tutorial.check.data import ALIGNMENT, REPLAY_SAMPLE, alignment, replay_sample
from wm_tutorial.check.gradients import (
    BANDIT_GRADIENT,
    IMAGINED_RETURN,
    IMAGINED_WEIGHT,
    bandit_gradient,
    imagined_return,
    imagined_weight,
)
from wm_tutorial.check.mathematics import (
    CATEGORICAL_KL,
    GAUSSIAN_KL,
    SAMPLE,
    SYMEXP,
    SYMLOG,
    TWO_HOT,
    TWO_HOT_MEAN,
    categorical_kl,
    gaussian_kl,
    sample,
    symexp,
    symlog,
    two_hot,
    two_hot_mean,
)
from wm_tutorial.check.returns import LAMBDA_WEIGHTS, N_STEP_RETURN, lambda_weights, n_step_return

PARTS: Mapping[str, Part] = {
    part.name: part
    for part in (
        SYMLOG, SYMEXP, TWO_HOT, TWO_HOT_MEAN, SAMPLE, GAUSSIAN_KL, CATEGORICAL_KL, DYNAMICS_STEP, ALIGNMENT,
        IMAGINATION, LAMBDA_RETURNS, POLICY_LOSS, CRITIC_LOSS, REPLAY_SAMPLE, LAMBDA_WEIGHTS, N_STEP_RETURN,
        BANDIT_GRADIENT, IMAGINED_RETURN, IMAGINED_WEIGHT,
    )
}  # fmt: skip

__all__ = [
    "PARTS", "Mistake", "Part", "alignment", "bandit_gradient", "categorical_kl", "critic_loss", "dynamics_step",
    "gaussian_kl", "imagination", "imagined_return", "imagined_weight", "lambda_returns", "lambda_weights",
    "n_step_return", "policy_loss", "replay_sample", "sample", "symexp", "symlog", "two_hot", "two_hot_mean",
]  # fmt: skip
