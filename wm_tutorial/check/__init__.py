"""Checks of what a reader builds: each says in one line that a function is right, or what is wrong with it.

from wm_tutorial import check
check.lambda_returns(my_lambda_returns)

Every check prints, and returns whether the function is right. The signature a function must have stands in the
docstring of its check: `help(check.lambda_returns)`. The order of the arguments counts, their names do not.
"""

from collections.abc import Mapping

from wm_tutorial.check import (
    data,
    divergences,
    dreams,
    dynamics,
    episodes,
    gradients,
    heads,
    kl,
    latents,
    losses,
    representation,
    returns,
    training,
    transforms,
)
from wm_tutorial.check.data import alignment, replay_sample
from wm_tutorial.check.divergences import kl_balance, sampled_kl, teaching_share
from wm_tutorial.check.dreams import imagination
from wm_tutorial.check.dynamics import dynamics_step, prior_inputs, useful_horizon
from wm_tutorial.check.episodes import discounted_return, episode_returns
from wm_tutorial.check.gradients import bandit_gradient, imagined_return, imagined_weight
from wm_tutorial.check.heads import continue_loss, continue_target, false_death_value
from wm_tutorial.check.kl import categorical_kl, gaussian_kl
from wm_tutorial.check.latents import sample
from wm_tutorial.check.losses import critic_loss, policy_loss
from wm_tutorial.check.representation import signal_share
from wm_tutorial.check.returns import lambda_returns, lambda_weights, n_step_return
from wm_tutorial.check.training import fair_mean, updates_due
from wm_tutorial.check.transforms import symexp, symlog, two_hot, two_hot_mean
from wm_tutorial.mistakes.part import Mistake, Part

AREAS = (
    data,
    divergences,
    dreams,
    dynamics,
    episodes,
    gradients,
    heads,
    kl,
    latents,
    losses,
    representation,
    returns,
    training,
    transforms,
)
PARTS: Mapping[str, Part] = {
    part.name: part for area in AREAS for part in vars(area).values() if isinstance(part, Part)
}

__all__ = [
    "PARTS", "Mistake", "Part", "alignment", "bandit_gradient", "categorical_kl", "continue_loss",
    "continue_target", "critic_loss", "discounted_return", "dynamics_step", "episode_returns", "fair_mean",
    "false_death_value", "gaussian_kl", "imagination", "imagined_return", "imagined_weight", "kl_balance",
    "lambda_returns", "lambda_weights", "n_step_return", "policy_loss", "prior_inputs", "replay_sample", "sample",
    "sampled_kl", "signal_share", "symexp", "symlog", "teaching_share", "two_hot", "two_hot_mean", "updates_due",
    "useful_horizon",
]  # fmt: skip
