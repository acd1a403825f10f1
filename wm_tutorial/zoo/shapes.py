"""Shapes that do not fit and broadcast all the same."""

import torch
from torch import Tensor

from wm_tutorial import actor_critic
from wm_tutorial.actor_critic import ActorCritic
from wm_tutorial.data import Batch, Trajectory
from wm_tutorial.heads import SquaredError
from wm_tutorial.mistakes.bug import Bug
from wm_tutorial.transforms import TwoHot

ACTOR_LOSS = actor_critic.actor_loss
CRITIC_LOSS = actor_critic.critic_loss
REPLAY_LOSS = ActorCritic.replay_loss


def critic_loss_of_all_pairs(
    value: SquaredError | TwoHot, target: Tensor, slow_value: Tensor, weight: Tensor, slow_scale: float
) -> Tensor:
    """Values (M, 1) against targets (M,): every value is pulled towards every target.

    The mean over the second axis of the (M, M) errors, computed without them: the mean of (v - R)^2 over all R is
    (v - mean R)^2 + var R.
    """
    if not isinstance(value, SquaredError):
        return CRITIC_LOSS(value, target, slow_value, weight, slow_scale)

    def against_all(targets: Tensor) -> Tensor:
        targets = targets.detach()
        return value.loss(targets.mean().expand_as(targets)) + targets.var(correction=0) / value.unit**2

    return weight.detach() * (against_all(target) + slow_scale * against_all(slow_value))


def actor_loss_of_all_pairs(
    log_prob: Tensor, entropy: Tensor, advantage: Tensor, weight: Tensor, entropy_scale: float
) -> Tensor:
    """Log-probabilities (M,) times advantages (M, 1): every action is praised for every advantage.

    The mean over the second axis of the (M, M) products, computed without them.
    """
    return ACTOR_LOSS(log_prob, entropy, advantage.mean().expand_as(advantage), weight, entropy_scale)


def weight_along_the_batch(trajectory: Trajectory, gamma: float) -> Tensor:
    """The product runs over axis 0: right for time-major tensors."""
    start, following = trajectory.continue_[:, :1], gamma * trajectory.continue_[:, 1:-1]
    return torch.cumprod(torch.cat([start, following], dim=1), dim=0)


def replay_loss_with_scrambled_bootstrap(
    behaviour: ActorCritic, feature: Tensor, batch: Batch, bootstrap: Tensor
) -> Tensor:
    """The states were flattened batch first and are taken apart time first."""
    return REPLAY_LOSS(behaviour, feature, batch, bootstrap.reshape(bootstrap.shape[::-1]).T)


BUGS = (
    Bug(
        name="value_not_squeezed",
        story="The critic's output is (M, 1), its target (M,): the difference is (M, M), and the mean hides it.",
        symptom="All values become the mean return; the policy is left without a baseline.",
        innocent="The critic's loss settles at the variance of the returns, which looks like noise.",
        source="https://github.com/openai/spinningup/issues/339",
        breaks="actor_critic.critic_loss, v_t - R_t",
        caught_by=(
            "test_actor_critic.py::test_critic_loss_by_hand",
            "test_actor_critic.py::test_the_critics_loss_on_a_trajectory",
        ),
        replaces=((actor_critic, "critic_loss", critic_loss_of_all_pairs),),
        needs={"heads": "squared-error"},
    ),
    Bug(
        name="advantage_not_squeezed",
        story="The advantage is (M, 1), the log-probability (M,): every action is praised for every advantage.",
        symptom="All sampled actions become more or less likely together; the policy learns nothing about any of them.",
        innocent="The actor's loss, whose size is plausible.",
        source="https://github.com/openai/spinningup/issues/339",
        breaks="actor_critic.actor_loss, log pi(a_t) A_t",
        caught_by=(
            "test_actor_critic.py::test_actor_loss_by_hand",
            "test_actor_critic.py::test_the_actors_loss_on_a_trajectory",
        ),
        replaces=((actor_critic, "actor_loss", actor_loss_of_all_pairs),),
        needs={"policy_gradient": "reinforce"},
    ),
    Bug(
        name="weight_over_batch",
        story="The product of continue probabilities runs along the batch instead of along time.",
        symptom="Only the first few trajectories of a batch count; training is many times slower and noisy.",
        innocent="Both losses of the behaviour, which are small.",
        source="https://github.com/juliusfrost/dreamer-pytorch/pull/59",
        breaks="data.Trajectory.weight, product over steps",
        caught_by=(
            "test_imagination.py::test_weights_by_hand",
            "test_imagination.py::test_where_nothing_ends_a_step_counts_its_discount",
        ),
        replaces=((Trajectory, "weight", weight_along_the_batch),),
    ),
    Bug(
        name="bootstrap_scrambled",
        story="Imagined returns of (B, T) states, flattened, are given back the shape (T, B) and transposed.",
        symptom="Real sequences bootstrap from the returns of other rows, and the critic learns their average.",
        innocent="Every loss; with equal B and T no shape complains.",
        source="https://github.com/HHTseng/video-classification/issues/42",
        breaks="actor_critic.ActorCritic.replay_loss, bootstrap of row t",
        caught_by=("test_golden.py::test_golden_repl_loss",),
        replaces=((ActorCritic, "replay_loss", replay_loss_with_scrambled_bootstrap),),
        needs={"replay_critic_scale": 0.3, "imagined_starts": 0},
    ),
)
