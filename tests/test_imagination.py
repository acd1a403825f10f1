"""Imagined steps in a world that can be worked out by hand: which reward, action and weight belong to which state."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from helpers import CONTINUOUS, SMALL, STANDARD_ERRORS, VECTORS, randomise, receivers, uniform
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from wm_tutorial.actor_critic import ActorCritic
from wm_tutorial.config import Config
from wm_tutorial.data import Spaces, State, Trajectory
from wm_tutorial.imagination import imagine
from wm_tutorial.latents import OneHot
from wm_tutorial.world_model import WorldModel


@dataclass
class Said:
    """What a head answers."""

    mean: Tensor


class Doubling(nn.Module):
    """A world without chance. Memory h counts steps, z becomes 2 z plus the first number of the action.

    Reward 10 z + h and continue z / 100, both of the state that is arrived at.
    """

    def imagine(self, state: State, action: Tensor) -> State:
        return State(state.memory + 1, 2 * state.latent + action[:, :1])

    def reward(self, feature: Tensor) -> Said:
        h, z = feature.unbind(-1)
        return Said(10 * z + h)

    def continues(self, feature: Tensor) -> Said:
        return Said(feature[..., 1] / 100)


class OneMore:
    """A policy without chance: in (h, z) it does (z + 1, h), and it remembers where it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[list[float]]] = []

    def __call__(self, feature: Tensor) -> "OneMore":
        self.asked.append(feature.tolist())
        self.feature = feature
        return self

    def sample(self) -> Tensor:
        h, z = self.feature.unbind(-1)
        return torch.stack([z + 1, h], -1)


def doubled(horizon: int, policy: OneMore | None = None) -> Trajectory:
    start = State(torch.zeros(2, 1), torch.tensor([[1.0], [-1.0]]))
    return imagine(Doubling(), policy or OneMore(), start, horizon)


# From z = 1:   a_0 = 2, z_1 = 4;    a_1 = 5, z_2 = 13;   a_2 = 14, z_3 = 40
# From z = -1:  a_0 = 0, z_1 = -2;   a_1 = -1, z_2 = -5;  a_2 = -4, z_3 = -14
LATENT = [[1.0, 4.0, 13.0, 40.0], [-1.0, -2.0, -5.0, -14.0]]


def test_states_and_actions_follow_each_other() -> None:
    policy = OneMore()
    trajectory = doubled(3, policy)
    assert trajectory.state.latent.squeeze(-1).tolist() == LATENT
    assert trajectory.state.memory.squeeze(-1).tolist() == [[0, 1, 2, 3]] * 2
    assert trajectory.action.tolist() == [[[2, 0], [5, 1], [14, 2]], [[0, 0], [-1, 1], [-4, 2]]]
    assert policy.asked == [[[h, LATENT[0][h]], [h, LATENT[1][h]]] for h in range(3)]  # in s_0 .. s_{H-1} only


def test_the_reward_belongs_to_the_state_that_is_arrived_at() -> None:
    assert doubled(3).reward.tolist() == [[41.0, 132.0, 403.0], [-19.0, -48.0, -137.0]]  # 10 z + h in s_1, s_2, s_3


def test_continue_is_known_for_the_start_and_for_every_state_arrived_at() -> None:
    torch.testing.assert_close(doubled(3).continue_, torch.tensor(LATENT) / 100)


def test_discounts_belong_to_the_states_arrived_at() -> None:
    expected = 0.5 * torch.tensor(LATENT)[:, 1:] / 100
    torch.testing.assert_close(doubled(3).discount(0.5), expected)


def test_a_longer_horizon_only_adds_steps() -> None:
    long, short = doubled(5), doubled(2)
    assert torch.equal(long.state.latent[:, :3], short.state.latent)
    assert torch.equal(long.reward[:, :2], short.reward)
    assert long.reward.shape == (2, 5) and long.action.shape == (2, 5, 2) and long.continue_.shape == (2, 6)


# --- Weights ----------------------------------------------------------------------------------------------------------


def weights(continue_: list[list[float]], gamma: float) -> Tensor:
    probabilities = torch.tensor(continue_, dtype=torch.float64)
    n, states = probabilities.shape
    nothing = State(torch.zeros(n, states, 0), torch.zeros(n, states, 1))
    return Trajectory(nothing, torch.zeros(n, states - 1, 1), torch.zeros(n, states - 1), probabilities).weight(gamma)


def test_weights_by_hand() -> None:
    #  t = 0: c_0,   t = 1: c_0 gamma c_1,   t = 2: c_0 gamma c_1 gamma c_2.   c_3 weighs no step: none is taken in s_3.
    found = weights([[1.0, 0.5, 0.2, 0.9], [0.8, 1.0, 1.0, 0.0]], gamma=0.5)
    assert found[0].tolist() == pytest.approx([1.0, 0.25, 0.025])
    assert found[1].tolist() == pytest.approx([0.8, 0.4, 0.2])


def test_nothing_counts_after_an_end_or_from_an_end() -> None:
    found = weights([[0.0, 1.0, 1.0, 1.0], [1.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 1.0]], gamma=0.9)
    assert found[0].tolist() == [0.0, 0.0, 0.0]  # the start is terminal
    assert found[1].tolist() == pytest.approx([1.0, 0.0, 0.0])  # s_1 is: the step that leads there counts
    assert found[2].tolist() == pytest.approx([1.0, 0.9, 0.0])
    likely_end = weights([[0.01, 1.0, 1.0]], gamma=0.9)
    assert likely_end.max().item() == pytest.approx(0.01)


def test_where_nothing_ends_a_step_counts_its_discount() -> None:
    assert weights([[1.0] * 5], gamma=0.9)[0].tolist() == pytest.approx([1.0, 0.9, 0.81, 0.729])


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.floats(0.01, 1.0))
def test_weights_are_the_probability_of_still_running_times_the_discount(continue_: list[float], gamma: float) -> None:
    found = weights([continue_], gamma)[0].tolist()
    assert found == pytest.approx([gamma**t * math.prod(continue_[: t + 1]) for t in range(len(continue_) - 1)])


def test_without_a_future_only_the_first_step_counts() -> None:
    assert weights([[1.0, 1.0, 1.0]], gamma=0.0)[0].tolist() == [1.0, 0.0]


# --- With real parts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spaces", [VECTORS, CONTINUOUS], ids=["discrete", "continuous"])
def test_a_trajectory_of_the_real_model(spaces: Spaces) -> None:
    model = randomise(WorldModel(spaces, SMALL))
    actor = randomise(ActorCritic(model.features, spaces, SMALL).actor, seed=1)
    start = State(torch.zeros(6, 0), uniform(6, SMALL.latent_size, seed=0).requires_grad_())
    torch.manual_seed(0)
    trajectory = imagine(model, actor, start, horizon=4)
    everything = (trajectory.state.feature, trajectory.action, trajectory.reward, trajectory.continue_)
    assert not any(x.requires_grad for x in everything)  # nothing that is learned from it can reach the world model
    assert torch.equal(trajectory.state.latent[:, 0], start.latent)
    assert trajectory.action.shape == (6, 4, spaces.action_size)
    if spaces.action_kind == "discrete":
        assert (trajectory.action.sum(-1) == 1).all() and set(trajectory.action.flatten().tolist()) == {0.0, 1.0}
    feature = trajectory.state.feature
    for t in range(4):
        torch.testing.assert_close(trajectory.reward[:, t], model.reward(feature[:, t + 1]).mean)
        torch.testing.assert_close(trajectory.continue_[:, t + 1], model.continues(feature[:, t + 1]).mean)
        # Each state lies where the prior of the state and the action before expects it.
        prior = model.dynamics.prior(trajectory.state[:, t], trajectory.action[:, t])
        standard = (trajectory.state.latent[:, t + 1] - prior.mean) / torch.exp(prior.logvar / 2)
        assert standard.abs().max() < 4.5
        assert standard.std() > 0.5  # drawn, not the mean


# --- With gradients ---------------------------------------------------------------------------------------------------

RECURRENT = replace(SMALL, memory="rssm", memory_size=8, memory_blocks=2)
MODELS = pytest.mark.parametrize("config", [SMALL, RECURRENT, replace(RECURRENT, latent="categorical")])


def parts(spaces: Spaces, config: Config) -> tuple[WorldModel, ActorCritic, State]:
    model = randomise(WorldModel(spaces, config))
    behaviour = randomise(ActorCritic(model.features, spaces, config), seed=1)
    sizes = model.dynamics.memory_size, model.dynamics.latent_size
    return model, behaviour, State(uniform(6, sizes[0], seed=0), uniform(6, sizes[1], seed=1))


@MODELS
@pytest.mark.parametrize("spaces", [VECTORS, CONTINUOUS], ids=["discrete", "continuous"])
def test_recording_gradients_changes_no_number(spaces: Spaces, config: Config) -> None:
    model, behaviour, start = parts(spaces, config)
    found = []
    for differentiable in (False, True):
        torch.manual_seed(0)
        found.append(imagine(model, behaviour.actor, start, 3, differentiable))
    for one, other in zip(*((t.state.feature, t.action, t.reward, t.continue_) for t in found), strict=True):
        assert torch.equal(one, other)
        assert other.requires_grad and not one.requires_grad


@MODELS
@pytest.mark.parametrize("spaces", [VECTORS, CONTINUOUS], ids=["discrete", "continuous"])
def test_each_action_moves_all_that_follows_and_the_model_is_not_taught(spaces: Spaces, config: Config) -> None:
    model, behaviour, start = parts(spaces, config)
    torch.manual_seed(0)
    trajectory = imagine(model, behaviour.actor, start, 3, differentiable=True)
    learning = {"actor": behaviour.actor, "encoder": model.encoder, "dynamics": model.dynamics, "heads": model}
    for what in (trajectory.reward, trajectory.continue_):
        assert receivers(what[:, -1], learning) == {"actor"}
    assert all(parameter.requires_grad for parameter in model.parameters())  # only imagination froze it


@pytest.mark.parametrize("spaces", [VECTORS, CONTINUOUS], ids=["discrete", "continuous"])
def test_a_policy_does_not_bend_the_states_it_sees(spaces: Spaces) -> None:
    model, behaviour, start = parts(spaces, SMALL)
    seen: list[Tensor] = []

    def policy(feature: Tensor) -> object:
        seen.append(feature)
        return behaviour.actor(feature)

    imagine(model, policy, start, 3, differentiable=True)
    assert len(seen) == 3 and not any(feature.requires_grad for feature in seen)


def test_imagined_actions_are_drawn_from_the_policy() -> None:
    """Neither the favourite nor the average: each action as often as the policy says, and independently."""
    model, probabilities = randomise(WorldModel(VECTORS, SMALL)), torch.tensor([0.8, 0.2])
    start = State(torch.zeros(4000, 0), torch.zeros(4000, SMALL.latent_size))
    torch.manual_seed(0)
    action = imagine(model, lambda feature: OneHot(probabilities.expand(len(feature), 2)), start, horizon=2).action
    assert set(action.unique().tolist()) == {0.0, 1.0}
    error = STANDARD_ERRORS * math.sqrt(0.8 * 0.2 / 4000)
    assert action[..., 0].mean(0).tolist() == pytest.approx([0.8, 0.8], abs=error)
    assert action[..., 0].prod(1).mean().item() == pytest.approx(0.64, abs=error)


@pytest.mark.parametrize("spaces", [VECTORS, CONTINUOUS], ids=["discrete", "continuous"])
def test_gradients_through_the_dynamics_move_the_policy_and_not_the_model(spaces: Spaces) -> None:
    """DreamerV1's policy climbs the imagined return; a model that climbed it, too, would dream of rewards."""
    model, config = randomise(WorldModel(spaces, SMALL)), replace(SMALL, policy_gradient="dynamics")
    behaviour = ActorCritic(model.features, spaces, config)
    for part, seed in ((behaviour.actor, 1), (behaviour.critic, 2), (behaviour.slow_critic, 3)):
        randomise(part, seed)
    start = State(torch.zeros(6, 0), uniform(6, SMALL.latent_size, seed=0))
    torch.manual_seed(0)
    trajectory = imagine(model, behaviour.actor, start, horizon=3, differentiable=True)
    losses, _, _ = behaviour.losses(trajectory)
    parts = {"model": model, "actor": behaviour.actor, "critic": behaviour.critic}
    reached = {name: moved(losses["actor"], part) for name, part in parts.items()}
    assert reached == {"model": False, "actor": True, "critic": False}


def moved(loss: Tensor, part: nn.Module) -> bool:
    """Whether any parameter of `part` receives gradient from `loss`."""
    gradients = torch.autograd.grad(loss.sum(), list(part.parameters()), retain_graph=True, allow_unused=True)
    return any(gradient is not None and bool(gradient.any()) for gradient in gradients)
