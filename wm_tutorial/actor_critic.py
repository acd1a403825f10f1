"""The behaviour: a policy and a value learned from imagined trajectories."""

import copy
import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from wm_tutorial.composite import Joint
from wm_tutorial.config import Config
from wm_tutorial.data import Batch, Spaces, State, Trajectory
from wm_tutorial.heads import SquaredError, make_scalar_head
from wm_tutorial.latents import OneHot
from wm_tutorial.networks import MLP, Norm, frozen
from wm_tutorial.returns import ReturnNormalizer, lambda_returns
from wm_tutorial.transforms import TwoHot


@dataclass(frozen=True)
class BoundedNormal:
    """A Gaussian policy with mean in -1..1 and standard deviation in 0.1..1.

    Samples may leave -1..1; the environment clips them.

    mean  (..., A)
    std   (..., A)

    Source: danijar/dreamerv3 `embodied/jax/heads.py:146-155`.
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def bounded(cls, mean: Tensor, std: Tensor) -> Self:
        """Bring two raw network outputs (..., A) into their ranges."""
        return cls(torch.tanh(mean), 0.9 * torch.sigmoid(std + 2.0) + 0.1)

    @property
    def mode(self) -> Tensor:
        """The most likely action, (..., A)."""
        return self.mean

    def sample(self) -> Tensor:
        """An action (..., A), without gradient."""
        return self.rsample().detach()

    def rsample(self) -> Tensor:
        """An action (..., A) that is differentiable in mean and std."""
        return self.mean + self.std * torch.randn_like(self.mean)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density (...) of actions (..., A), summed over A."""
        standard = (value - self.mean) / self.std
        return (-0.5 * standard**2 - torch.log(self.std) - 0.5 * math.log(2.0 * math.pi)).sum(-1)

    def entropy(self) -> Tensor:
        """Entropy (...) in nats, summed over A."""
        return (torch.log(self.std) + 0.5 * math.log(2.0 * math.pi * math.e)).sum(-1)


class Actor(nn.Module):
    """The policy: features (..., F) to a distribution over actions (..., A)."""

    def __init__(
        self, features: int, spaces: Spaces, hidden: int, layers: int, unimix: float, norm: Norm = "layer"
    ) -> None:
        super().__init__()
        self.discrete, self.unimix = spaces.action_kind == "discrete", unimix
        outputs = spaces.action_size * (1 if self.discrete else 2)
        self.net = MLP(features, hidden, layers, outputs, scale=0.01, norm=norm)

    def forward(self, feature: Tensor) -> OneHot | BoundedNormal:
        """(..., F) -> distribution over (..., A)."""
        raw = self.net(feature)
        if self.discrete:
            return OneHot.mixed(raw, self.unimix)
        return BoundedNormal.bounded(*raw.chunk(2, dim=-1))


class CompositeActor(nn.Module):
    """The policy over several actions at once. Given the features, each factor is chosen on its own."""

    def __init__(
        self, features: int, spaces: Spaces, hidden: int, layers: int, unimix: float, norm: Norm = "layer"
    ) -> None:
        super().__init__()
        self.factors, self.unimix = spaces.factors, unimix
        self.outputs = [size * (1 if kind == "discrete" else 2) for kind, size in self.factors]
        self.net = MLP(features, hidden, layers, sum(self.outputs), scale=0.01, norm=norm)

    def forward(self, feature: Tensor) -> Joint:
        """(..., F) -> distribution over (..., A)."""
        each = zip(self.factors, self.net(feature).split(self.outputs, -1), strict=True)
        return Joint(
            tuple(
                OneHot.mixed(raw, self.unimix) if kind == "discrete" else BoundedNormal.bounded(*raw.chunk(2, dim=-1))
                for (kind, _), raw in each
            ),
            tuple(size for _, size in self.factors),
        )


def actor_loss(log_prob: Tensor, entropy: Tensor, advantage: Tensor, weight: Tensor, entropy_scale: float) -> Tensor:
    """REINFORCE with an entropy bonus, per imagined step.

    Critical: the advantage is a number here, not a function: without the stop-gradient the actor's loss would
    push the critic up, far above the returns, since log-probabilities are never positive.

    Shapes: all (N, H) -> (N, H).
    Source: Hafner et al. 2023 (arXiv 2301.04104), "Actor learning"; danijar/dreamerv3 `dreamerv3/agent.py:407-415`.
    """
    return -weight.detach() * (log_prob * advantage.detach() + entropy_scale * entropy)


def pathwise_actor_loss(returns: Tensor, entropy: Tensor, weight: Tensor, entropy_scale: float) -> Tensor:
    """Minus the imagined return itself, whose gradient has come back through the dynamics to each action.

    Shapes: all (N, H) -> (N, H).
    Source: Hafner et al. 2020 (arXiv 1912.01603), equation 7.
    """
    return -weight.detach() * (returns + entropy_scale * entropy)


def critic_loss(
    value: SquaredError | TwoHot, target: Tensor, slow_value: Tensor, weight: Tensor, slow_scale: float
) -> Tensor:
    """Pull the value towards the return, and `slow_scale` times as much towards its own slow copy, per imagined step.

    Shapes: all (N, H) -> (N, H).
    Source: Hafner et al. 2023 (arXiv 2301.04104), "Critic learning"; danijar/dreamerv3 `dreamerv3/agent.py:417-422`.
    """
    return weight.detach() * (value.loss(target.detach()) + slow_scale * value.loss(slow_value.detach()))


class ActorCritic(nn.Module):
    """Actor, critic, the critic's slow copy, and the range of returns."""

    def __init__(self, features: int, spaces: Spaces, config: Config) -> None:
        super().__init__()
        self.config = config
        kind = CompositeActor if spaces.action_kind == "composite" else Actor
        self.actor = kind(features, spaces, config.hidden, config.layers, config.policy_unimix, config.norm)
        # A reward of 1 in every step, for ever, is worth 1 / (1 - discount).
        self.critic = make_scalar_head(config, features, config.layers, unit=1.0 / (1.0 - config.discount))
        self.slow_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.normalizer = ReturnNormalizer()

    def losses(
        self, trajectory: Trajectory, batch: Batch | None = None, states: State | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """The actor's and the critic's loss, each (N, H).

        No gradient of these two reaches the world model, and nothing is changed by asking.

        Args:
            trajectory: imagined from N starts.
            batch: the real sequences, for the critic's loss on them; the starts are then all of their B T states.
            states: of these sequences (B, T). Through them, and only there, gradient reaches the world model.

        Returns:
            The losses, what is worth logging, and the range of returns (2,) with this trajectory's taken in, which
            the advantages were divided by: `normalizer.keep(range)` once the update is made.
        """
        config = self.config
        feature = trajectory.state.feature.detach()
        left = feature[:, :-1].contiguous()  # of the states an action was taken in
        value = self.critic(feature)  # predictions (N, H + 1)
        slow_value = self.slow_critic(feature).mean
        expected = slow_value if config.bootstrap == "slow critic" else value.mean
        weight = trajectory.weight(config.imagined_discount).detach()
        returns = self.returns(trajectory, expected).detach()
        range_ = self.normalizer.after(returns) if config.return_normalization else self.normalizer.range
        policy = self.actor(left)
        entropy = policy.entropy()
        if config.policy_gradient == "dynamics":
            sloped = self.advantage(self.sloped_returns(trajectory), torch.zeros_like(returns), range_)
            actor = pathwise_actor_loss(sloped, entropy, weight, config.entropy_scale)
        else:
            advantage = self.advantage(returns, expected[:, :-1], range_)
            actor = self.policy_loss(policy, trajectory.action, advantage, entropy, weight)
        losses = {
            "actor": actor,
            "critic": critic_loss(value[:, :-1], returns, slow_value[:, :-1], weight, config.slow_critic_scale),
        }
        assert all(loss.shape == trajectory.reward.shape for loss in losses.values())
        if batch is not None and states is not None:
            losses["replay critic"] = self.replay_loss(states.feature, batch, returns[:, 0].reshape(batch.reward.shape))
        metrics = {
            "imagined return": returns.mean(), "value": expected.mean(),
            "entropy": entropy.mean(), "return scale": self.normalizer.scale_of(range_),
        }  # fmt: skip
        return losses, {name: metric.detach() for name, metric in metrics.items()}, range_

    def advantage(self, returns: Tensor, value: Tensor, range_: Tensor) -> Tensor:
        """How much better the returns (N, H) are than expected (N, H), in units of their range (2,)."""
        scale = self.normalizer.scale_of(range_) if self.config.return_normalization else 1.0
        return (returns - value) / scale

    def policy_loss(
        self, policy: OneHot | BoundedNormal | Joint, action: Tensor, advantage: Tensor, entropy: Tensor, weight: Tensor
    ) -> Tensor:
        """The loss (N, H) of a policy that took `action` (N, H, A), by how much better it was than expected (N, H)."""
        return actor_loss(policy.log_prob(action), entropy, advantage, weight, self.config.entropy_scale)

    def sloped_returns(self, trajectory: Trajectory) -> Tensor:
        """The same returns (N, H) as numbers, with their gradient in the actions, and none in the critic."""
        critic = self.slow_critic if self.config.bootstrap == "slow critic" else self.critic
        with frozen(critic):
            value = critic(trajectory.state.feature).mean
        return self.returns(trajectory, value)

    def returns(self, trajectory: Trajectory, value: Tensor) -> Tensor:
        """Lambda returns (N, H) of s_0 .. s_{H-1}, given the values (N, H + 1) of s_0 .. s_H."""
        discount = trajectory.discount(self.config.imagined_discount)
        return lambda_returns(trajectory.reward, discount, value[:, 1:], self.config.lam)

    def replay_loss(self, feature: Tensor, batch: Batch, bootstrap: Tensor) -> Tensor:
        """The critic's loss on real sequences, (B, T - 1). The last row of an episode has no return of its own.

        Args:
            feature: (B, T, F) of the inferred states, with their gradient.
            batch: the sequences.
            bootstrap: (B, T) the imagined return of each state.

        Source: danijar/dreamerv3 `dreamerv3/agent.py:219-235, 449-479`.
        """
        left, going_on = feature[:, :-1], 1.0 - batch.is_last[:, :-1].float()
        returns, slow_value = self.replay_returns(batch, bootstrap), self.slow_critic(left.detach()).mean
        return critic_loss(self.critic(left), returns, slow_value, going_on, self.config.slow_critic_scale)

    def replay_returns(self, batch: Batch, bootstrap: Tensor) -> Tensor:
        """Returns (B, T - 1) of real states: real rewards, and beyond them what was imagined, `bootstrap` (B, T).

        Critical: where a sequence is cut by a time limit the return breaks off and bootstraps (lambda is 0 there);
        only a termination makes the future worthless.
        """
        discount = self.config.discount * (1.0 - batch.is_terminal.to(batch.reward))
        lam = self.config.lam * (1.0 - batch.is_last.to(batch.reward))
        return lambda_returns(batch.reward[:, 1:], discount[:, 1:], bootstrap[:, 1:], lam[:, 1:])

    @torch.no_grad()
    def update_slow_critic(self) -> None:
        """Move the slow copy a small step towards the critic."""
        for slow, fast in zip(self.slow_critic.parameters(), self.critic.parameters(), strict=True):
            slow.lerp_(fast, self.config.slow_critic_rate)
