"""Mistakes in how the behaviour learns from imagined trajectories, and shapes there that broadcast in silence."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from wm_tutorial import actor_critic, imagination
from wm_tutorial.actor_critic import Actor, ActorCritic, BoundedNormal
from wm_tutorial.data import Batch, State, Trajectory
from wm_tutorial.heads import SquaredError
from wm_tutorial.latents import OneHot
from wm_tutorial.mistakes.bug import DREAMER_V3, GUIDE, Bug
from wm_tutorial.mistakes.part import Part
from wm_tutorial.returns import ReturnNormalizer
from wm_tutorial.transforms import TwoHot
from wm_tutorial.world_model import WorldModel

ACTOR_LOSS = actor_critic.actor_loss
PATHWISE_ACTOR_LOSS = actor_critic.pathwise_actor_loss
CRITIC_LOSS = actor_critic.critic_loss
LOSSES = ActorCritic.losses
RETURNS = ActorCritic.returns
IMAGINE = imagination.imagine
IMAGINE_STEPS = imagination._imagine
ONE_HOT_LOG_PROB = OneHot.log_prob
NORMAL_LOG_PROB = BoundedNormal.log_prob

Policy = Callable[[Tensor], OneHot | BoundedNormal]


def actor_loss_without_log_prob(
    log_prob: Tensor, entropy: Tensor, advantage: Tensor, weight: Tensor, entropy_scale: float
) -> Tensor:
    """Minus the advantage itself: its gradient reaches only the critic, which learns to be low."""
    return -weight.detach() * advantage


def actor_loss_with_open_advantage(
    log_prob: Tensor, entropy: Tensor, advantage: Tensor, weight: Tensor, entropy_scale: float
) -> Tensor:
    """The advantage is a function of the critic's parameters, and the actor's loss lowers it through them."""
    return -weight.detach() * (log_prob * advantage + entropy_scale * entropy)


def actor_loss_against_entropy(
    log_prob: Tensor, entropy: Tensor, advantage: Tensor, weight: Tensor, entropy_scale: float
) -> Tensor:
    """The bonus is a penalty."""
    return ACTOR_LOSS(log_prob, entropy, advantage, weight, -entropy_scale)


def pathwise_actor_loss_against_entropy(
    returns: Tensor, entropy: Tensor, weight: Tensor, entropy_scale: float
) -> Tensor:
    """The bonus is a penalty."""
    return PATHWISE_ACTOR_LOSS(returns, entropy, weight, -entropy_scale)


def actor_loss_of_standard_advantages(
    log_prob: Tensor, entropy: Tensor, advantage: Tensor, weight: Tensor, entropy_scale: float
) -> Tensor:
    """Whatever the advantages are, they get mean 0 and deviation 1."""
    standard = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    return ACTOR_LOSS(log_prob, entropy, standard, weight, entropy_scale)


def imagine_with_probabilities(
    model: WorldModel, policy: Policy, start: State, horizon: int, differentiable: bool = False
) -> Trajectory:
    """The dynamics are fed action probabilities, inputs they never saw: the data has one-hot actions."""

    @dataclass(frozen=True)
    class Soft:
        policy: OneHot | BoundedNormal

        def sample(self) -> Tensor:
            return self.policy.probabilities if isinstance(self.policy, OneHot) else self.policy.mean

        rsample = sample

    return IMAGINE(model, lambda feature: Soft(policy(feature)), start, horizon, differentiable)


def imagine_greedily(
    model: WorldModel, policy: Policy, start: State, horizon: int, differentiable: bool = False
) -> Trajectory:
    """The policy that acts in imagination is not the one that learns: it never tries anything."""

    @dataclass(frozen=True)
    class Greedy:
        policy: OneHot | BoundedNormal

        def sample(self) -> Tensor:
            return self.policy.mode

        rsample = sample

    return IMAGINE(model, lambda feature: Greedy(policy(feature)), start, horizon, differentiable)


def imagine_with_gradient(
    model: WorldModel, policy: Policy, start: State, horizon: int, differentiable: bool = False
) -> Trajectory:
    """Neither is the model frozen nor is gradient switched off."""
    with torch.enable_grad():
        return IMAGINE_STEPS(model, policy, start, horizon, differentiable)


def losses_of_attached_features(
    behaviour: ActorCritic, trajectory: Trajectory, batch: Batch | None = None, states: State | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """The critic's loss on features through which gradient flows back into the model."""
    losses, metrics, range_ = LOSSES(behaviour, trajectory, batch, states)
    feature, config = trajectory.state.feature, behaviour.config
    value, slow_value = behaviour.critic(feature), behaviour.slow_critic(feature).mean
    expected = slow_value if config.bootstrap == "slow critic" else value.mean
    target, weight = behaviour.returns(trajectory, expected), trajectory.weight(config.imagined_discount)
    losses["critic"] = CRITIC_LOSS(value[:, :-1], target, slow_value[:, :-1], weight, config.slow_critic_scale)
    return losses, metrics, range_


def no_weight(trajectory: Trajectory, gamma: float) -> Tensor:
    """Steps imagined after a predicted end count fully."""
    return torch.ones_like(trajectory.reward)


def log_prob_of_another_action(policy: OneHot, value: Tensor) -> Tensor:
    """An action is drawn once more, and it is this one that is praised."""
    return ONE_HOT_LOG_PROB(policy, policy.sample())


def log_prob_of_another_continuous_action(policy: BoundedNormal, value: Tensor) -> Tensor:
    """An action is drawn once more, and it is this one that is praised."""
    return NORMAL_LOG_PROB(policy, policy.sample())


def normalised_returns(behaviour: ActorCritic, trajectory: Trajectory, value: Tensor) -> Tensor:
    """The range of returns divides them where they are computed, before the critic learns them."""
    return RETURNS(behaviour, trajectory, value) / behaviour.normalizer.scale


def scale_without_floor(normalizer: ReturnNormalizer, range_: Tensor) -> Tensor:
    """The range of returns, however small."""
    return (range_[1] - range_[0]).clamp(min=1e-8)


def slow_critic_at_rest(behaviour: ActorCritic) -> None:
    """The slow copy is made and never moved."""


def actor_without_unimix(actor: Actor, feature: Tensor) -> OneHot | BoundedNormal:
    """The option is read, and not used."""
    raw = actor.net(feature)
    return OneHot.mixed(raw, 0.0) if actor.discrete else BoundedNormal.bounded(*raw.chunk(2, dim=-1))


BY_HAND = "test_actor_critic.py::test_actor_loss_by_hand"
NUMBERS = "test_actor_critic.py::test_the_losses_treat_advantage_target_and_weight_as_numbers"
ROUTES = "test_actor_critic.py::test_the_actors_loss_moves_the_actor_and_the_critics_the_critic"
SAMPLED = "test_imagination.py::test_imagined_actions_are_drawn_from_the_policy"


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


PARTS: tuple[Part, ...] = ()
BUGS = (
    Bug(
        name="actions_as_probabilities",
        story="Imagined actions are softmax probabilities instead of samples.",
        symptom="Dreams drift from reality, because the dynamics never saw such actions.",
        innocent="World model losses: they never see imagination.",
        source=f"{GUIDE}, imagine_ahead",
        breaks="imagination.imagine, a_t",
        caught_by=("test_imagination.py::test_a_trajectory_of_the_real_model[discrete]", SAMPLED),
        replaces=((imagination, "imagine", imagine_with_probabilities),),
    ),
    Bug(
        name="imagined_actions_greedy",
        story="Imagined actions are the most likely ones, not samples.",
        symptom="An action that is not the favourite is never tried in a dream, so the first favourite stays.",
        innocent="World model losses; returns in dreams are higher than with samples.",
        source=f"{DREAMER_V3}133",
        breaks="imagination.imagine, a_t",
        caught_by=(SAMPLED,),
        replaces=((imagination, "imagine", imagine_greedily),),
    ),
    Bug(
        name="advantage_leaks",
        story="The actor's loss is minus the advantage, with no log-probability, no entropy and no stop-gradient.",
        symptom="The policy never changes, and the critic sinks far below the returns.",
        innocent="The actor's loss goes down beautifully.",
        source=f"{GUIDE}, train_actor_critic",
        breaks="actor_critic.actor_loss, log pi(a_t)",
        caught_by=(BY_HAND, ROUTES),
        replaces=((actor_critic, "actor_loss", actor_loss_without_log_prob),),
        needs={"policy_gradient": "reinforce"},
    ),
    Bug(
        name="advantage_not_detached",
        story="The actor's loss sends gradient through the advantage into the critic.",
        symptom="The critic drifts towards whatever makes the actor's loss small; training is unstable.",
        innocent="The actor's loss, and the critic's while its own gradient is larger.",
        source="https://github.com/astariul/encode-attend-navigate-pytorch/issues/2",
        breaks="actor_critic.actor_loss, sg(advantage)",
        caught_by=(NUMBERS, ROUTES),
        replaces=((actor_critic, "actor_loss", actor_loss_with_open_advantage),),
        needs={"policy_gradient": "reinforce"},
    ),
    Bug(
        name="log_prob_of_another_action",
        story="The advantage of one action multiplies the log-probability of another: the loss samples once more.",
        symptom="On average the gradient is zero; the policy wanders.",
        innocent="Every loss has its usual size.",
        source="https://github.com/thu-ml/tianshou/issues/397",
        breaks="actor_critic.ActorCritic.losses, log pi(a_t)",
        caught_by=(
            "test_latents.py::test_entropy_and_log_prob_by_enumeration",
            "test_actor_critic.py::test_bounded_normal_agrees_with_torch_distributions",
        ),
        replaces=(
            (OneHot, "log_prob", log_prob_of_another_action),
            (BoundedNormal, "log_prob", log_prob_of_another_continuous_action),
        ),
        needs={"policy_gradient": "reinforce"},
    ),
    Bug(
        name="entropy_sign",
        story="The entropy is added to the loss instead of subtracted from it.",
        symptom="The policy is certain after a few hundred updates, of the wrong action as of the right one.",
        innocent="World model losses and the critic's.",
        source="https://github.com/MrSyee/pg-is-all-you-need/issues/37",
        breaks="actor_critic.actor_loss, entropy",
        caught_by=(
            BY_HAND,
            "test_actor_critic.py::test_without_an_advantage_the_policy_becomes_less_certain",
        ),
        replaces=(
            (actor_critic, "actor_loss", actor_loss_against_entropy),
            (actor_critic, "pathwise_actor_loss", pathwise_actor_loss_against_entropy),
        ),
    ),
    Bug(
        name="advantages_standardised",
        story="Advantages get mean 0 and deviation 1 in every batch, instead of being divided by the range of returns.",
        symptom="Where nothing depends on the action, noise is blown up to full size and outweighs the entropy.",
        innocent="The actor's loss, whose size is always the same.",
        source=f"{DREAMER_V3}20",
        breaks="actor_critic.ActorCritic.losses, advantage / S",
        caught_by=(BY_HAND,),
        replaces=((actor_critic, "actor_loss", actor_loss_of_standard_advantages),),
        needs={"policy_gradient": "reinforce"},
    ),
    Bug(
        name="critic_learns_normalised_returns",
        story="Returns are divided by their range before the critic learns them, and its values are used undivided.",
        symptom="Values and rewards are in different units, and the unit changes while it is being learned.",
        innocent="The critic's loss, which is lower.",
        source="https://github.com/NM512/dreamerv3-torch/issues/64",
        breaks="actor_critic.ActorCritic.losses, R_t / S",
        caught_by=("test_actor_critic.py::test_the_critics_loss_on_a_trajectory[10.0]",),
        replaces=((ActorCritic, "returns", normalised_returns),),
    ),
    Bug(
        name="normaliser_without_floor",
        story="Advantages are divided by the range of returns even where it is tiny.",
        symptom="Before the first reward is found, noise in the critic is blown up to full size and ends exploration.",
        innocent="Everything, once rewards have been found.",
        source=f"{DREAMER_V3}20",
        breaks="returns.ReturnNormalizer.scale, max(1, S)",
        caught_by=("test_returns.py::test_small_returns_are_never_blown_up", "test_golden.py::test_golden_retnorm"),
        replaces=((ReturnNormalizer, "scale_of", scale_without_floor),),
        needs={"return_normalization": True},
    ),
    Bug(
        name="weights_missing",
        story="Imagined steps after a predicted end count fully.",
        symptom="The agent learns from a life after death.",
        innocent="World model losses.",
        source=f"{GUIDE}, train_actor_critic",
        breaks="data.Trajectory.weight, weight of step t",
        caught_by=(
            "test_imagination.py::test_nothing_counts_after_an_end_or_from_an_end",
            "test_actor_critic.py::test_the_critics_loss_on_a_trajectory",
        ),
        replaces=((Trajectory, "weight", no_weight),),
    ),
    Bug(
        name="slow_critic_frozen",
        story="The slow critic is copied once and never updated.",
        symptom="The critic is held at its first opinion, zero, for ever.",
        innocent="Every loss.",
        source="https://github.com/llSourcell/actor_critic/issues/1",
        breaks="actor_critic.ActorCritic.update_slow_critic, slow values",
        caught_by=(
            "test_actor_critic.py::test_the_slow_critic_starts_equal_and_moves_by_exactly_its_rate",
            "test_trainer.py::test_the_slow_critic_follows_the_updated_critic_at_its_rate",
        ),
        replaces=((ActorCritic, "update_slow_critic", slow_critic_at_rest),),
    ),
    Bug(
        name="critic_teaches_the_dynamics",
        story="Imagination records gradient, and the critic's loss sends it on into the world model.",
        symptom="The model learns to dream of states whose value is easy to tell; dreams leave reality.",
        innocent="The critic's loss is excellent.",
        source="https://github.com/danijar/dreamer/issues/3",
        breaks="imagination.imagine, no gradient",
        caught_by=("test_actor_critic.py::test_nothing_reaches_the_world_model",),
        replaces=(
            (imagination, "imagine", imagine_with_gradient),
            (ActorCritic, "losses", losses_of_attached_features),
        ),
    ),
    Bug(
        name="actor_teaches_the_dynamics",
        story="The gradient that comes back through the dynamics to the actions also moves the dynamics.",
        symptom="The model learns to dream of rewards: imagined returns rise, real ones do not.",
        innocent="The actor's loss falls as it never did.",
        source="https://github.com/danijar/dreamer/issues/3",
        breaks="imagination.imagine, frozen world model",
        caught_by=("test_imagination.py::test_gradients_through_the_dynamics_move_the_policy_and_not_the_model",),
        replaces=((imagination, "frozen", lambda module: nullcontext()),),
        needs={"policy_gradient": "dynamics"},
    ),
    Bug(
        name="policy_unimix_missing",
        story="The policy ignores the share of the uniform distribution it is configured with.",
        symptom="A policy that has become certain too early never tries anything else again.",
        innocent="Every loss.",
        source=f"{DREAMER_V3}219",
        breaks="actor_critic.Actor, unimix",
        caught_by=("test_actor_critic.py::test_a_discrete_policy_keeps_a_share_of_every_action",),
        replaces=((Actor, "forward", actor_without_unimix),),
    ),
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
