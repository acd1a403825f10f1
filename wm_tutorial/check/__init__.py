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
from wm_tutorial.check.divergences import (
    KL_BALANCE,
    SAMPLED_KL,
    TEACHING_SHARE,
    kl_balance,
    sampled_kl,
    teaching_share,
)
from wm_tutorial.check.dynamics import PRIOR_INPUTS, USEFUL_HORIZON, prior_inputs, useful_horizon
from wm_tutorial.check.episodes import DISCOUNTED_RETURN, EPISODE_RETURNS, discounted_return, episode_returns
from wm_tutorial.check.heads import (
    CONTINUE_LOSS,
    CONTINUE_TARGET,
    FALSE_DEATH_VALUE,
    continue_loss,
    continue_target,
    false_death_value,
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
from wm_tutorial.check.representation import SIGNAL_SHARE, signal_share
from wm_tutorial.check.training import FAIR_MEAN, UPDATES_DUE, fair_mean, updates_due

PARTS: Mapping[str, Part] = {
    part.name: part
    for part in (
        SYMLOG, SYMEXP, TWO_HOT, TWO_HOT_MEAN, SAMPLE, GAUSSIAN_KL, CATEGORICAL_KL, DYNAMICS_STEP, ALIGNMENT,
        IMAGINATION, LAMBDA_RETURNS, POLICY_LOSS, CRITIC_LOSS, REPLAY_SAMPLE,
        KL_BALANCE, SAMPLED_KL, TEACHING_SHARE,
        CONTINUE_LOSS, CONTINUE_TARGET, FALSE_DEATH_VALUE,
        PRIOR_INPUTS, SIGNAL_SHARE, USEFUL_HORIZON,
        IMAGINATION, LAMBDA_RETURNS, POLICY_LOSS, CRITIC_LOSS, REPLAY_SAMPLE, DISCOUNTED_RETURN, EPISODE_RETURNS,
        FAIR_MEAN, UPDATES_DUE,
    )
}  # fmt: skip

__all__ = [
    "PARTS", "Mistake", "Part", "alignment", "categorical_kl", "continue_loss", "continue_target", "critic_loss",
    "discounted_return", "dynamics_step", "episode_returns", "fair_mean", "false_death_value", "gaussian_kl",
    "imagination", "kl_balance", "lambda_returns", "policy_loss", "prior_inputs", "replay_sample", "sample",
    "sampled_kl", "signal_share", "symexp", "symlog", "teaching_share", "two_hot", "two_hot_mean", "updates_due",
    "useful_horizon",
]  # fmt: skip
