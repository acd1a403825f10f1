"""Policies against torch.distributions, losses by hand, and gradients against those that are known exactly."""

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from helpers import CONTINUOUS, SMALL, STANDARD_ERRORS, VECTORS, Through, randomise, receivers, uniform
from torch import Tensor, nn
from torch.distributions import Normal

from wm_tutorial.actor_critic import Actor, ActorCritic, BoundedNormal, actor_loss, critic_loss
from wm_tutorial.data import Spaces, State, Trajectory
from wm_tutorial.heads import SquaredError
from wm_tutorial.imagination import imagine
from wm_tutorial.latents import OneHot
from wm_tutorial.returns import ReturnNormalizer
from wm_tutorial.world_model import WorldModel

BOTH = pytest.mark.parametrize("spaces", [VECTORS, CONTINUOUS], ids=["discrete", "continuous"])

# --- Continuous policies ----------------------------------------------------------------------------------------------

# Made by running danijar/dreamerv3: what the network puts out, and what comes of it.
GOLDEN = {
    "mean_in": [[0.24400125443935394, -0.947364330291748], [1.5498095750808716, -1.2130250930786133]],
    "std_in": [[2.489812135696411, -0.09172648191452026], [-0.4142342209815979, -2.507132053375244]],
    "action": [[-1.8839408159255981, 0.8713569045066833], [0.6138812899589539, -0.3543996214866638]],
    "mean": [[0.23927152156829834, -0.738587498664856], [0.9137539863586426, -0.8375846743583679]],
    "std": [[0.9900116920471191, 0.8837425708770752], [0.8470176458358765, 0.4382794499397278]],
    "log_prob": [[-3.2086265087127686, -2.454707384109497], [-0.8155746459960938, -0.7017477750778198]],
    "entropy": [[1.4089000225067139, 1.29534912109375], [1.2529047727584839, 0.5940399765968323]],
}


def reading_its_input(spaces: Spaces, unimix: float = 0.01) -> Actor:
    """An actor whose network output is its input."""
    actor = Actor(4, spaces, hidden=8, layers=1, unimix=unimix)
    actor.net = nn.Identity()
    return actor


def test_bounded_normal_agrees_with_the_reference_implementation() -> None:
    golden = {name: torch.tensor(value) for name, value in GOLDEN.items()}
    policy = reading_its_input(CONTINUOUS)(torch.cat([golden["mean_in"], golden["std_in"]], -1))
    assert isinstance(policy, BoundedNormal)
    torch.testing.assert_close(policy.mean, golden["mean"])
    torch.testing.assert_close(policy.std, golden["std"])
    torch.testing.assert_close(policy.log_prob(golden["action"]), golden["log_prob"].sum(-1))
    torch.testing.assert_close(policy.entropy(), golden["entropy"].sum(-1))


def test_bounded_normal_agrees_with_torch_distributions() -> None:
    mean, std = uniform(4, 5, 3, seed=0), uniform(4, 5, 3, seed=1, low=0.1)
    action = uniform(4, 5, 3, seed=2, low=-2, high=2)
    ours, theirs = BoundedNormal(mean, std), Normal(mean, std)
    torch.testing.assert_close(ours.log_prob(action), theirs.log_prob(action).sum(-1))
    torch.testing.assert_close(ours.entropy(), theirs.entropy().sum(-1))
    assert torch.equal(ours.mode, mean)


def test_means_and_deviations_stay_in_their_ranges() -> None:
    raw = torch.tensor([[0.0, -1e6, -2.0, 1e6], [1e6, 0.0, -1e6, -2.0]])
    policy = reading_its_input(CONTINUOUS)(raw)
    assert isinstance(policy, BoundedNormal)
    assert policy.mean.tolist() == [[0.0, -1.0], [1.0, 0.0]]
    assert policy.std.flatten().tolist() == pytest.approx([0.55, 1.0, 0.1, 0.55])


def test_continuous_samples_have_the_mean_and_the_deviation_and_no_gradient() -> None:
    count = 200_000
    mean, std = torch.tensor([0.9, -0.2], requires_grad=True), torch.tensor([0.1, 1.0], requires_grad=True)
    torch.manual_seed(0)
    samples = BoundedNormal(mean.expand(count, 2), std.expand(count, 2)).sample()
    assert not samples.requires_grad
    assert ((samples.mean(0) - mean).abs() < STANDARD_ERRORS * std / math.sqrt(count)).all()
    assert ((samples.std(0) - std).abs() < STANDARD_ERRORS * std / math.sqrt(2 * count)).all()
    assert abs(torch.corrcoef(samples.T)[0, 1].item()) < STANDARD_ERRORS / math.sqrt(count)
    assert (samples.abs() > 1).any()  # not cut off: log_prob is the one of the density that was drawn from


# --- The actor --------------------------------------------------------------------------------------------------------


def test_a_discrete_policy_keeps_a_share_of_every_action() -> None:
    policy = reading_its_input(replace(VECTORS, action_size=4), unimix=0.2)(torch.tensor([[0.0, 0.0, 1e3, 0.0]]))
    assert isinstance(policy, OneHot)
    assert policy.logits.exp().flatten().tolist() == pytest.approx([0.05, 0.05, 0.85, 0.05])
    assert policy.mode.tolist() == [[0.0, 0.0, 1.0, 0.0]]


@BOTH
def test_a_new_actor_is_close_to_undecided(spaces: Spaces) -> None:
    torch.manual_seed(0)
    policy = Actor(6, spaces, hidden=32, layers=2, unimix=0.01)(uniform(100, 6, seed=0, low=-10, high=10))
    if isinstance(policy, OneHot):
        assert (policy.entropy() > 0.999 * math.log(2)).all()
        assert policy.logits.std() > 0  # though the features are not ignored
    else:
        assert policy.mean.abs().max() < 0.05
        assert policy.mean.std() > 0
        torch.testing.assert_close(policy.std.mean().item(), 0.9 / (1 + math.exp(-2)) + 0.1, rtol=0, atol=0.01)


# --- The losses by hand -----------------------------------------------------------------------------------------------


def test_actor_loss_by_hand() -> None:
    log_prob, entropy = torch.tensor([[-2.0, -0.5]]), torch.tensor([[0.7, 0.3]])
    advantage, weight = torch.tensor([[3.0, -4.0]]), torch.tensor([[1.0, 0.5]])
    loss = actor_loss(log_prob, entropy, advantage, weight, entropy_scale=0.1)
    assert loss.flatten().tolist() == pytest.approx([-(-2.0 * 3.0 + 0.07), -0.5 * (-0.5 * -4.0 + 0.03)])


def test_critic_loss_by_hand() -> None:
    value = SquaredError(torch.tensor([[3.0, 1.0]]))
    target, slow, weight = torch.tensor([[1.0, 5.0]]), torch.tensor([[2.0, 1.5]]), torch.tensor([[1.0, 0.5]])
    loss = critic_loss(value, target, slow, weight, slow_scale=0.2)
    assert loss.flatten().tolist() == pytest.approx([4.0 + 0.2 * 1.0, 0.5 * (16.0 + 0.2 * 0.25)])


def test_the_losses_treat_advantage_target_and_weight_as_numbers() -> None:
    log_prob, entropy, advantage, weight, mean, target, slow = (
        uniform(2, 3, seed=seed).requires_grad_() for seed in range(7)
    )
    by_actor = torch.autograd.grad(
        actor_loss(log_prob, entropy, advantage, weight, 0.1).sum(),
        [log_prob, entropy, advantage, weight],
        allow_unused=True,
    )
    torch.testing.assert_close(by_actor[0], (-weight * advantage).detach())
    torch.testing.assert_close(by_actor[1], (-weight * 0.1).detach())
    assert by_actor[2:] == (None, None)
    by_critic = torch.autograd.grad(
        critic_loss(SquaredError(mean), target, slow, weight, 0.5).sum(),
        [mean, target, slow, weight],
        allow_unused=True,
    )
    torch.testing.assert_close(by_critic[0], (weight * (2 * (mean - target) + 0.5 * 2 * (mean - slow))).detach())
    assert by_critic[1:] == (None, None, None)


def worked(scale: float = 1.0, unit: float = 1.0, **options: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """One trajectory of two steps through states whose only number is also their value: 3, 1, 6.

    The slow critic thinks half of it. In a state x the policy takes action 1 with probability sigmoid(x).
    The critic counts its errors in multiples of `unit`.
    """
    config = replace(SMALL, discount=0.5, lam=0.5, entropy_scale=0.1, slow_critic_scale=0.5, latent_size=1, **options)
    behaviour = ActorCritic(1, VECTORS, config)
    behaviour.critic = Through(lambda feature: SquaredError(feature[..., 0], unit))
    behaviour.slow_critic = Through(lambda feature: SquaredError(feature[..., 0] / 2))
    behaviour.actor = Through(lambda feature: OneHot.mixed(torch.cat([torch.zeros_like(feature), feature], -1), 0.0))
    behaviour.normalizer = ReturnNormalizer(decay=1.0)  # which does not move
    behaviour.normalizer.high.fill_(scale)
    trajectory = Trajectory(
        state=State(torch.zeros(1, 3, 0), torch.tensor([[[3.0], [1.0], [6.0]]])),
        action=torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]),  # action 0 in s_0, action 1 in s_1
        reward=torch.tensor([[1.0, 2.0]]),
        continue_=torch.tensor([[1.0, 0.8, 0.5]]),
    )
    losses, metrics, _ = behaviour.losses(trajectory)
    return losses, metrics


# R_1 = 2 + 0.5 * 0.5 * 6                        = 3.5      R_0 = 1 + 0.5 * 0.8 * (0.5 * 1 + 0.5 * 3.5) = 1.9
# advantages  1.9 - 3 = -1.1,  3.5 - 1 = 2.5                weights  1 and 0.5 * 0.8 = 0.4


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def entropy_of(p: float) -> float:
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_the_actors_loss_on_a_trajectory(scale: float) -> None:
    losses, metrics = worked(scale)
    in_s_0 = math.log(sigmoid(-3)) * -1.1 / scale + 0.1 * entropy_of(sigmoid(3))
    in_s_1 = math.log(sigmoid(1)) * 2.5 / scale + 0.1 * entropy_of(sigmoid(1))
    assert losses["actor"].flatten().tolist() == pytest.approx([-in_s_0, -0.4 * in_s_1], rel=1e-5)
    assert metrics["entropy"].item() == pytest.approx((entropy_of(sigmoid(3)) + entropy_of(sigmoid(1))) / 2, rel=1e-5)
    assert metrics["return scale"].item() == scale


@pytest.mark.parametrize("scale", [1.0, 10.0])  # which is for advantages only
def test_the_critics_loss_on_a_trajectory(scale: float) -> None:
    losses, metrics = worked(scale)
    in_s_0 = (3 - 1.9) ** 2 + 0.5 * 1.5**2
    in_s_1 = (1 - 3.5) ** 2 + 0.5 * 0.5**2
    assert losses["critic"].flatten().tolist() == pytest.approx([in_s_0, 0.4 * in_s_1], rel=1e-5)
    in_units = worked(scale, unit=10.0)[0]["critic"].flatten().tolist()
    assert in_units == pytest.approx([in_s_0 / 100, 0.4 * in_s_1 / 100], rel=1e-5)
    assert metrics["imagined return"].item() == pytest.approx((1.9 + 3.5) / 2)
    assert metrics["value"].item() == pytest.approx((3 + 1 + 6) / 3)


def test_without_normalisation_the_range_of_returns_neither_counts_nor_is_tracked() -> None:
    plain, _ = worked(scale=1.0)
    losses, metrics = worked(scale=10.0, return_normalization=False)
    for name, loss in losses.items():
        torch.testing.assert_close(loss, plain[name])
    assert metrics["return scale"].item() == 10.0  # as it was
    behaviour = ActorCritic(4, VECTORS, replace(SMALL, return_normalization=False))
    behaviour.losses(lasting())
    assert behaviour.normalizer.scale == 1.0


def test_the_slow_critic_can_give_the_values_of_returns_and_the_baseline() -> None:
    """It thinks half of 3, 1, 6, so R_1 = 2 + 0.5 * 0.5 * 3 = 2.75 and R_0 = 1 + 0.4 * (0.25 + 1.375) = 1.65."""
    losses, metrics = worked(bootstrap="slow critic")
    in_s_0 = math.log(sigmoid(-3)) * (1.65 - 1.5) + 0.1 * entropy_of(sigmoid(3))
    in_s_1 = math.log(sigmoid(1)) * (2.75 - 0.5) + 0.1 * entropy_of(sigmoid(1))
    assert losses["actor"].flatten().tolist() == pytest.approx([-in_s_0, -0.4 * in_s_1], rel=1e-5)
    in_s_0, in_s_1 = (3 - 1.65) ** 2 + 0.5 * 1.5**2, (1 - 2.75) ** 2 + 0.5 * 0.5**2
    assert losses["critic"].flatten().tolist() == pytest.approx([in_s_0, 0.4 * in_s_1], rel=1e-5)
    assert metrics["value"].item() == pytest.approx((1.5 + 0.5 + 3) / 3)


def test_policy_and_latents_have_shares_of_the_uniform_of_their_own() -> None:
    config = replace(SMALL, latent="categorical", unimix=0.25, policy_unimix=0.5)
    model = WorldModel(VECTORS, config)
    behaviour = ActorCritic(model.features, VECTORS, config)
    assert model.dynamics.latent.unimix == 0.25
    nn.init.constant_(behaviour.actor.net[-1].bias[1:], 1e3)
    assert behaviour.actor(torch.zeros(model.features)).probabilities.tolist() == pytest.approx([0.25, 0.75])


def test_the_scale_of_returns_is_taken_in_before_it_is_used() -> None:
    behaviour = ActorCritic(1, VECTORS, replace(SMALL, discount=0.0001, lam=0.0, entropy_scale=0.0))
    rewards = torch.linspace(-500.0, 500.0, 101).unsqueeze(-1)  # (N 101, H 1); a new critic's values are 0
    trajectory = Trajectory(
        State(torch.zeros(101, 2, 0), torch.zeros(101, 2, 1)),
        torch.tensor([1.0, 0.0]).expand(101, 1, 2),
        rewards,
        torch.ones(101, 2),
    )
    losses, metrics, _ = behaviour.losses(trajectory)
    scale = 0.01 * 900.0  # the first step of a moving average from 0
    assert metrics["return scale"].item() == pytest.approx(scale, rel=1e-5)
    torch.testing.assert_close(losses["actor"], -math.log(0.5) * rewards / scale, rtol=1e-5, atol=1e-4)


def test_the_range_is_that_of_the_returns_of_every_imagined_step() -> None:
    """Not of advantages, nor of the first step's returns alone; here no episode goes on, so returns are rewards."""
    behaviour = ActorCritic(4, VECTORS, SMALL)
    behaviour.normalizer = ReturnNormalizer(decay=0.0)
    behaviour.critic = Through(lambda feature: SquaredError(1000.0 * feature[..., 0]))
    rewards = torch.stack([torch.zeros(101), torch.linspace(-500.0, 500.0, 101)], dim=1)  # (N 101, H 2)
    _, metrics, _ = behaviour.losses(replace(lasting(101, 2), reward=rewards, continue_=torch.zeros(101, 3)))
    low, high = torch.quantile(rewards.flatten(), torch.tensor([0.05, 0.95])).tolist()
    assert metrics["return scale"].item() == pytest.approx(high - low, rel=1e-5)


def test_gamma_counts_once_in_the_weights_wherever_it_stands() -> None:
    inside = worked(discount_in_continue=True)[0]["critic"]  # continue 0.8 is gamma and all: s_1 weighs 0.8
    in_s_1 = (1 - (2 + 0.5 * (0.5 * 6 + 0.5 * 6))) ** 2 + 0.5 * 0.5**2
    assert inside[0, 1].item() == pytest.approx(0.8 * in_s_1, rel=1e-5)


def constant(value: float, behaviour: ActorCritic) -> None:
    """Make both critics say `value` everywhere."""
    for critic in (behaviour.critic, behaviour.slow_critic):
        nn.init.constant_(critic.net[-1].bias, value / critic.unit)


def lasting(n: int = 5, horizon: int = 7) -> Trajectory:
    """Reward 1 in every step of episodes that never end."""
    states = State(torch.zeros(n, horizon + 1, 0), uniform(n, horizon + 1, 4, seed=0))
    action = torch.eye(2)[torch.arange(n * horizon).reshape(n, horizon) % 2]
    return Trajectory(states, action, torch.ones(n, horizon), torch.ones(n, horizon + 1))


def test_the_critics_unit_is_the_value_of_a_reward_of_one_for_ever() -> None:
    behaviour = ActorCritic(4, VECTORS, replace(SMALL, discount=0.98))
    assert not behaviour.critic(uniform(3, 4, seed=0)).mean.any()
    for critic in (behaviour.critic, behaviour.slow_critic):
        nn.init.constant_(critic.net[-1].bias, 1.0)
        assert critic(uniform(3, 4, seed=0)).mean.tolist() == pytest.approx([50.0] * 3)


@pytest.mark.parametrize("lam", [0.0, 0.95, 1.0])
def test_the_value_of_a_constant_reward_is_a_fixed_point(lam: float) -> None:
    behaviour = ActorCritic(4, VECTORS, replace(SMALL, discount=0.9, lam=lam, entropy_scale=0.0))
    constant(1 / (1 - 0.9), behaviour)
    losses, metrics, _ = behaviour.losses(lasting())
    assert metrics["imagined return"].item() == pytest.approx(10.0, rel=1e-5)
    torch.testing.assert_close(losses["critic"], torch.zeros(5, 7), rtol=0, atol=1e-8)
    # No action is better than expected, so the policy has nothing to learn either.
    torch.testing.assert_close(losses["actor"], torch.zeros(5, 7), rtol=0, atol=1e-5)

    for value, direction in ((9.0, 1.0), (11.0, -1.0)):  # from either side the critic is pulled towards it
        constant(value, behaviour)
        (gradient,) = torch.autograd.grad(behaviour.losses(lasting())[0]["critic"].sum(), behaviour.critic.net[-1].bias)
        assert math.copysign(1.0, -gradient.item()) == direction


# --- Who learns -------------------------------------------------------------------------------------------------------


def real(spaces: Spaces) -> tuple[WorldModel, ActorCritic, Trajectory]:
    """World model, behaviour, and what they imagine together."""
    model = randomise(WorldModel(spaces, SMALL))
    behaviour = ActorCritic(model.features, spaces, SMALL)
    for part, seed in ((behaviour.actor, 1), (behaviour.critic, 2), (behaviour.slow_critic, 3)):
        randomise(part, seed)
    start = State(torch.zeros(6, 0), uniform(6, SMALL.latent_size, seed=0))
    torch.manual_seed(0)
    return model, behaviour, imagine(model, behaviour.actor, start, horizon=4)


@BOTH
def test_the_actors_loss_moves_the_actor_and_the_critics_the_critic(spaces: Spaces) -> None:
    _, behaviour, trajectory = real(spaces)
    losses, metrics, _ = behaviour.losses(trajectory)
    parts = {"actor": behaviour.actor, "critic": behaviour.critic}
    assert receivers(losses["actor"], parts) == {"actor"}
    assert receivers(losses["critic"], parts) == {"critic"}
    assert not any(parameter.requires_grad for parameter in behaviour.slow_critic.parameters())
    assert not any(metric.requires_grad for metric in metrics.values())
    learned = {id(p) for part in parts.values() for p in part.parameters()}
    assert {id(p) for p in behaviour.parameters() if p.requires_grad} == learned


@BOTH
def test_nothing_reaches_the_world_model(spaces: Spaces) -> None:
    model, behaviour, trajectory = real(spaces)
    losses, _, _ = behaviour.losses(trajectory)
    sum(loss.sum() for loss in losses.values()).backward()
    assert all(parameter.grad is None for parameter in model.parameters())


@BOTH
def test_nothing_reaches_a_trajectory_that_carries_gradients(spaces: Spaces) -> None:
    """Someone may imagine with gradients; the losses still learn from numbers."""
    _, behaviour, trajectory = real(spaces)
    latent, reward, continue_ = (
        x.detach().requires_grad_() for x in (trajectory.state.latent, trajectory.reward, trajectory.continue_)
    )
    state = State(trajectory.state.memory, latent)
    losses, _, _ = behaviour.losses(Trajectory(state, trajectory.action, reward, continue_))
    for loss in losses.values():
        gradients = torch.autograd.grad(loss.sum(), [latent, reward, continue_], retain_graph=True, allow_unused=True)
        assert gradients == (None, None, None)


def test_the_last_state_is_only_a_bootstrap() -> None:
    """No action is chosen in s_H: it moves the targets, but neither policy nor value are trained on it."""
    _, behaviour, trajectory = real(VECTORS)
    seen: list[Tensor] = []
    hook = behaviour.actor.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    losses, _, _ = behaviour.losses(trajectory)
    hook.remove()
    assert torch.equal(seen[0], trajectory.state.feature[:, :-1])
    assert losses["critic"].shape == losses["actor"].shape == (6, 4)
    other = trajectory.state.latent.clone()
    other[:, -1] += 1.0
    state = State(trajectory.state.memory, other)
    moved, _, _ = behaviour.losses(Trajectory(state, trajectory.action, trajectory.reward, trajectory.continue_))
    assert not torch.isclose(moved["critic"][:, 0], losses["critic"][:, 0]).any()


# --- The slow critic --------------------------------------------------------------------------------------------------


def test_the_slow_critic_starts_equal_and_moves_by_exactly_its_rate() -> None:
    behaviour = ActorCritic(4, VECTORS, replace(SMALL, slow_critic_rate=0.25))
    slow, fast = list(behaviour.slow_critic.parameters()), list(behaviour.critic.parameters())
    assert all(torch.equal(s, f) for s, f in zip(slow, fast, strict=True))
    randomise(behaviour.critic, seed=1)
    assert not any(torch.equal(s, f) for s, f in zip(slow, fast, strict=True))  # a copy, not the same tensors
    before, fast_before = [s.clone() for s in slow], [f.detach().clone() for f in fast]
    behaviour.update_slow_critic()
    for s, old, f, f_old in zip(slow, before, fast, fast_before, strict=True):
        torch.testing.assert_close(s, 0.75 * old + 0.25 * f_old)
        assert torch.equal(f, f_old)
        assert not s.requires_grad
    for _ in range(99):
        behaviour.update_slow_critic()
    for s, f in zip(slow, fast, strict=True):
        torch.testing.assert_close(s, f.detach())


# --- The policy gradient against the exact one ------------------------------------------------------------------------


def estimate(per_sample: Tensor, exact: Tensor) -> None:
    """Compare a sampled gradient (N, ...) with the exact one, within its error."""
    error = per_sample.std(0) / math.sqrt(len(per_sample))
    assert ((per_sample.mean(0) - exact).abs() < STANDARD_ERRORS * error).all()
    assert (error < 0.05 * exact.abs().max()).all()  # so small that a wrong gradient would show


def test_reinforce_estimates_the_exact_gradient_of_a_bandit() -> None:
    """Three arms: descending the loss ascends expected pay + 0.3 * entropy, whatever the baseline."""
    pays, entropy_scale, count = torch.tensor([1.0, -2.0, 4.0]), 0.3, 200_000
    logits = torch.tensor([0.5, -0.3, 0.1], requires_grad=True)
    policy = OneHot.mixed(logits, 0.1)
    probabilities = policy.logits.exp()
    expected = (probabilities * pays).sum() - entropy_scale * (probabilities * policy.logits).sum()
    (exact,) = torch.autograd.grad(-expected, logits)

    repeated = logits.detach().expand(count, 3).clone().requires_grad_()
    policy = OneHot.mixed(repeated, 0.1)
    torch.manual_seed(0)
    action = policy.sample()
    baseline = 0.7
    advantage = (action * pays).sum(-1) - baseline
    loss = actor_loss(policy.log_prob(action), policy.entropy(), advantage, torch.ones(count), entropy_scale)
    loss.sum().backward()
    assert repeated.grad is not None
    estimate(repeated.grad, exact)


def test_reinforce_estimates_the_exact_gradient_for_continuous_actions() -> None:
    """Pay -(a - 0.8)^2, so expected pay -((mean - 0.8)^2 + std^2), and entropy ln std + constant."""
    count, entropy_scale = 400_000, 0.3
    mean = torch.full((count, 1), 0.2, requires_grad=True)
    std = torch.full((count, 1), 0.6, requires_grad=True)
    policy = BoundedNormal(mean, std)
    torch.manual_seed(0)
    action = policy.sample()
    advantage = 0.7 - (action.squeeze(-1) - 0.8) ** 2
    loss = actor_loss(policy.log_prob(action), policy.entropy(), advantage, torch.ones(count), entropy_scale)
    loss.sum().backward()
    assert mean.grad is not None and std.grad is not None
    estimate(mean.grad, torch.tensor([2 * (0.2 - 0.8)]))
    estimate(std.grad, torch.tensor([2 * 0.6 - entropy_scale / 0.6]))


@BOTH
def test_without_an_advantage_the_policy_becomes_less_certain(spaces: Spaces) -> None:
    actor = randomise(Actor(4, spaces, hidden=8, layers=1, unimix=0.01))
    feature = uniform(64, 4, seed=0)
    before = actor(feature).entropy().mean()
    loss = actor_loss(torch.zeros(64), actor(feature).entropy(), torch.zeros(64), torch.ones(64), entropy_scale=1.0)
    loss.mean().backward()
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter -= 0.01 * parameter.grad
    assert actor(feature).entropy().mean() > before


@BOTH
def test_an_action_better_than_expected_becomes_more_likely(spaces: Spaces) -> None:
    actor = randomise(Actor(4, spaces, hidden=8, layers=1, unimix=0.01))
    feature = uniform(64, 4, seed=0)
    torch.manual_seed(0)
    action = actor(feature).sample()
    sign = torch.where(torch.arange(64) % 2 == 0, 1.0, -1.0)
    before = actor(feature).log_prob(action)
    actor_loss(before, torch.zeros(64), sign, torch.ones(64), entropy_scale=0.0).mean().backward()
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter -= 0.01 * parameter.grad
    gained = actor(feature).log_prob(action) - before
    assert gained[sign > 0].mean() > gained[sign < 0].mean()


# --- The gradient through the dynamics --------------------------------------------------------------------------------


@dataclass
class Exactly:
    """A head that is sure, or a policy without chance."""

    mean: Tensor

    def rsample(self) -> Tensor:
        return self.mean

    def loss(self, target: Tensor) -> Tensor:
        return (self.mean - target) ** 2

    def __getitem__(self, index: Any) -> "Exactly":
        return Exactly(self.mean[index])

    def entropy(self) -> Tensor:
        return torch.zeros(self.mean.shape[:-1])


class Line(nn.Module):
    """A world on a line: z becomes 0.9 z + the first number of a, pays 2 z on arriving, and goes on 8 times in 10."""

    def imagine(self, state: State, action: Tensor) -> State:
        return State(state.memory, 0.9 * state.latent + action[:, :1])

    def reward(self, feature: Tensor) -> Exactly:
        return Exactly(2.0 * feature[..., 0])

    def continues(self, feature: Tensor) -> Exactly:
        return Exactly(torch.full(feature.shape[:-1], 0.8))


class Always(nn.Module):
    """A policy with one parameter: what it always does."""

    def __init__(self, action: float) -> None:
        super().__init__()
        self.action = nn.Parameter(torch.tensor(action))

    def forward(self, feature: Tensor) -> Exactly:
        return Exactly(self.action.expand(*feature.shape[:-1], 1))


@pytest.mark.parametrize("scale", [1.0, 10.0])
@pytest.mark.parametrize("bootstrap", ["critic", "slow critic"])
def test_the_slope_of_the_return_through_a_linear_world(bootstrap: str, scale: float) -> None:
    """Of two steps with a_0 = a_1 = a from z_0 = 1, under a critic that says 3 z, and a slow one that says 5 z."""
    config = replace(
        SMALL, latent_size=1, discount=0.5, lam=0.7, policy_gradient="dynamics", bootstrap=bootstrap, entropy_scale=0.0
    )
    behaviour = ActorCritic(1, CONTINUOUS, config)
    behaviour.actor = Always(0.25)
    behaviour.critic = Through(lambda feature: Exactly(3.0 * feature[..., 0]))
    behaviour.slow_critic = Through(lambda feature: Exactly(5.0 * feature[..., 0]))
    behaviour.normalizer = ReturnNormalizer(decay=1.0)
    behaviour.normalizer.high.fill_(scale)
    start = State(torch.zeros(1, 0), torch.ones(1, 1))
    losses, _, _ = behaviour.losses(imagine(Line(), behaviour.actor, start, 2, differentiable=True))

    worth, d = (3.0 if bootstrap == "critic" else 5.0), 0.5 * 0.8
    z_1, z_2 = 0.9 + 0.25, 0.9 * (0.9 + 0.25) + 0.25
    slope_1, slope_2 = 1.0, 0.9 + 1.0  # of z_1 and z_2 in a
    late, slope_late = (factor * (2 + d * worth) for factor in (z_2, slope_2))
    early, slope_early = (2 * x + d * (0.3 * worth * x + 0.7 * y) for x, y in ((z_1, late), (slope_1, slope_late)))
    weights = 0.8, 0.8 * d
    assert losses["actor"].flatten().tolist() == pytest.approx(
        [-weights[0] * early / scale, -weights[1] * late / scale], rel=1e-5
    )
    losses["actor"].sum().backward()
    expected = -(weights[0] * slope_early + weights[1] * slope_late) / scale
    assert behaviour.actor.action.grad.item() == pytest.approx(expected, rel=1e-5)


def test_climbing_through_the_dynamics_the_scale_of_returns_leaves_the_entropy_as_it_is() -> None:
    one, ten = (worked(scale, policy_gradient="dynamics")[0]["actor"] for scale in (1.0, 10.0))
    bonus = torch.tensor([0.1 * entropy_of(sigmoid(3)), 0.4 * 0.1 * entropy_of(sigmoid(1))])
    torch.testing.assert_close(ten + bonus, (one + bonus) / 10.0)


@BOTH
@pytest.mark.parametrize("bootstrap", ["critic", "slow critic"])
def test_climbing_through_the_dynamics_moves_the_actor_alone(spaces: Spaces, bootstrap: str) -> None:
    config = replace(SMALL, policy_gradient="dynamics", bootstrap=bootstrap, entropy_scale=0.1)
    model = randomise(WorldModel(spaces, config))
    behaviour = randomise(ActorCritic(model.features, spaces, config), seed=1)
    start = State(torch.zeros(6, 0), uniform(6, SMALL.latent_size, seed=0))
    torch.manual_seed(0)
    losses, _, _ = behaviour.losses(imagine(model, behaviour.actor, start, 3, differentiable=True))
    learning = {"actor": behaviour.actor, "critic": behaviour.critic, "model": model}
    assert receivers(losses["actor"], learning) == {"actor"}
    assert receivers(losses["critic"], learning) == {"critic"}
    sum(loss.sum() for loss in losses.values()).backward()
    assert all(p.grad is None for part in (model, behaviour.slow_critic) for p in part.parameters())


class Target(Line):
    """A line where z becomes the first number of the action, and 1 - (z - 0.6)^2 is paid."""

    def imagine(self, state: State, action: Tensor) -> State:
        return State(state.memory, action[:, :1])

    def reward(self, feature: Tensor) -> Exactly:
        return Exactly(1.0 - (feature[..., 0] - 0.6) ** 2)


@pytest.mark.parametrize(
    ("spaces", "world"), [(VECTORS, Line()), (CONTINUOUS, Target())], ids=["discrete", "continuous"]
)
def test_climbing_through_the_dynamics_finds_what_pays(spaces: Spaces, world: Line) -> None:
    """Straight through a discrete sample the slope is the right one where what is paid is linear, as on the line."""
    config = replace(
        SMALL, latent_size=1, policy_gradient="dynamics", discount=0.5, entropy_scale=0.0, policy_unimix=0.0
    )
    torch.manual_seed(0)
    behaviour = ActorCritic(1, spaces, config)
    optimizer = torch.optim.Adam(behaviour.actor.parameters(), lr=0.03)
    start = State(torch.zeros(64, 0), torch.zeros(64, 1))
    for _ in range(60):
        losses, _, _ = behaviour.losses(imagine(world, behaviour.actor, start, 2, differentiable=True))
        optimizer.zero_grad()
        losses["actor"].mean().backward()
        optimizer.step()
    policy = behaviour.actor(torch.zeros(1, 1))
    if isinstance(policy, OneHot):
        assert policy.probabilities[0, 0] > 0.9
    else:
        assert abs(policy.mean[0, 0].item() - 0.6) < 0.1
        assert policy.std[0, 0] < 0.5 < policy.std[0, 1]  # chance costs something in the first number only
