"""Checks of what a reader builds: each says in one line that a function is right, or what is wrong with it.

from wm_tutorial import check
check.lambda_returns(my_lambda_returns)

Every check prints, and returns whether the function is right. The signature a function must have stands in the
docstring of its check: `help(check.lambda_returns)`. The order of the arguments counts, their names do not.
"""

from wm_tutorial.check.checks import (
    alignment,
    bandit_gradient,
    categorical_kl,
    continue_loss,
    continue_target,
    critic_loss,
    discounted_return,
    dynamics_step,
    episode_returns,
    fair_mean,
    false_death_value,
    gaussian_kl,
    imagination,
    imagined_return,
    imagined_weight,
    kl_balance,
    lambda_returns,
    lambda_weights,
    n_step_return,
    policy_loss,
    prior_inputs,
    replay_sample,
    sample,
    sampled_kl,
    signal_share,
    symexp,
    symlog,
    teaching_share,
    two_hot,
    two_hot_mean,
    updates_due,
    useful_horizon,
)
from wm_tutorial.mistakes import PARTS, Mistake, Part

__all__ = [
    "PARTS", "Mistake", "Part", "alignment", "bandit_gradient", "categorical_kl", "continue_loss",
    "continue_target", "critic_loss", "discounted_return", "dynamics_step", "episode_returns", "fair_mean",
    "false_death_value", "gaussian_kl", "imagination", "imagined_return", "imagined_weight", "kl_balance",
    "lambda_returns", "lambda_weights", "n_step_return", "policy_loss", "prior_inputs", "replay_sample", "sample",
    "sampled_kl", "signal_share", "symexp", "symlog", "teaching_share", "two_hot", "two_hot_mean", "updates_due",
    "useful_horizon",
]  # fmt: skip
