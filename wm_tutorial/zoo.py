"""The bug zoo: classic mistakes of world model agents, each of which can be let out alone.

with zoo.bug("reward_departing"):
    train("CartPole-v1")

Every entry replaces one small piece of the finished code while the block lasts, and leaves that code untouched.
The first ten are the faults of the specification this package started from.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from wm_tutorial import actor_critic, envs, imagination, latents, trainer, world_model
from wm_tutorial.actor_critic import ActorCritic
from wm_tutorial.dynamics import State
from wm_tutorial.errors import InputError
from wm_tutorial.imagination import Trajectory
from wm_tutorial.latents import Gaussian, GaussianLatent
from wm_tutorial.replay import Batch
from wm_tutorial.rows import Array, Row
from wm_tutorial.world_model import WorldModel


@dataclass(frozen=True)
class Bug:
    """One mistake.

    story     what is wrong, in one sentence
    symptom   what a person would see
    innocent  the numbers that look fine all the same
    replaces  the object and the name in it that the mistake stands in for, and what it puts there
    """

    story: str
    symptom: str
    innocent: str
    replaces: tuple[tuple[Any, str, Any], ...]


@contextmanager
def bug(name: str) -> Iterator[None]:
    """Let one mistake out for the duration of a `with` block; raises InputError for a name that is not in `BUGS`."""
    if name not in BUGS:
        raise InputError(f"There is no bug {name!r} in the zoo; there are {', '.join(BUGS)}.")
    with ExitStack() as stack:
        for owner, attribute, replacement in BUGS[name].replaces:
            stack.enter_context(patch.object(owner, attribute, replacement))
        yield


# World model --------------------------------------------------------------------------------------------------------


def losses_without_decoder(model: WorldModel, batch: Batch) -> tuple[dict[str, Tensor], State]:
    """The decoder is never trained, so nothing makes the latent keep the observation."""
    losses, states = WORLD_MODEL_LOSSES(model, batch)
    return losses | {"decoder": torch.zeros_like(losses["decoder"])}, states


def losses_at_departing_states(model: WorldModel, batch: Batch) -> tuple[dict[str, Tensor], State]:
    """Reward and continue are explained by the state before the one that is arrived at."""
    losses, states = WORLD_MODEL_LOSSES(model, batch)
    departing = states.feature[:, :-1]
    nothing = torch.zeros_like(losses["reward"][:, :1])
    reward = model.reward(departing).loss(batch.reward[:, 1:])
    continues = model.continues(departing).loss(1.0 - batch.is_terminal[:, 1:].float())
    shifted = {"reward": torch.cat([nothing, reward], 1), "continue": torch.cat([nothing, continues], 1)}
    return losses | shifted, states


def unbalanced_reversed_kl(
    posterior: Gaussian, prior: Gaussian, free_nats: float, of_mean: bool = False
) -> tuple[Tensor, Tensor]:
    """KL(prior || posterior), with gradients on both sides and no free nats."""
    divergence = prior.kl(posterior)
    return divergence, torch.zeros_like(divergence)


def unbounded_gaussian(latent: GaussianLatent, raw: Tensor) -> Gaussian:
    """The log-variance is whatever the network says."""
    return Gaussian(*raw.chunk(2, dim=-1))


# Behaviour ----------------------------------------------------------------------------------------------------------


def imagine_with_probabilities(
    model: WorldModel,
    policy: Callable[[Tensor], latents.OneHot],
    start: State,
    horizon: int,
    differentiable: bool = False,
) -> Trajectory:
    """The dynamics are fed action probabilities, inputs they never saw: the data has one-hot actions."""

    @dataclass(frozen=True)
    class Soft:
        logits: Tensor

        def sample(self) -> Tensor:
            return self.logits.exp()

        rsample = sample

    return imagination.imagine(model, lambda feature: Soft(policy(feature).logits), start, horizon, differentiable)


def returns_of_departing_values(behaviour: ActorCritic, trajectory: Trajectory, value: Tensor) -> Tensor:
    """The recursion mixes in v_t for v_{t+1}, and with it loses the share 1 - lambda of every reward."""
    discount, lam = trajectory.discount(behaviour.config.imagined_discount), behaviour.config.lam
    following, returns = value[:, -1], []
    for t in reversed(range(trajectory.reward.shape[1])):
        following = (1.0 - lam) * value[:, t] + lam * (trajectory.reward[:, t] + discount[:, t] * following)
        returns.append(following)
    return torch.stack(returns[::-1], dim=1)


def returns_bootstrapped_early(behaviour: ActorCritic, trajectory: Trajectory, value: Tensor) -> Tensor:
    """The last state reached is never valued: its place is taken by the value of the one before."""
    return ACTOR_CRITIC_RETURNS(behaviour, trajectory, torch.cat([value[:, :-1], value[:, -2:-1]], dim=1))


def actor_loss_without_log_prob(
    log_prob: Tensor, entropy: Tensor, advantage: Tensor, weight: Tensor, entropy_scale: float
) -> Tensor:
    """Minus the advantage itself: its gradient reaches only the critic, which learns to be low."""
    return -weight.detach() * advantage


def no_weight(trajectory: Trajectory, gamma: float) -> Tensor:
    """Steps imagined after a predicted end count fully."""
    return torch.ones_like(trajectory.reward)


# Data ---------------------------------------------------------------------------------------------------------------


def step_with_terminal_time_limits(environments: envs.Environments, row: Row, action: Array) -> Row:
    """A time limit is taken for a death."""
    arrived = ENVIRONMENTS_STEP(environments, row, action)
    return replace(arrived, is_terminal=arrived.is_last)


WORLD_MODEL_LOSSES = WorldModel.losses
ACTOR_CRITIC_RETURNS = ActorCritic.returns
ENVIRONMENTS_STEP = envs.Environments.step

BUGS: Mapping[str, Bug] = {
    "decoder_missing": Bug(
        story="The decoder is drawn in the diagram but left out of the loss.",
        symptom="The latent forgets whatever reward and continue do not need; dreams do not look like anything.",
        innocent="KL, reward and continue losses are lower than ever.",
        replaces=((WorldModel, "losses", losses_without_decoder),),
    ),
    "reward_departing": Bug(
        story="Reward and continue are trained on the departing state and used on the arriving one.",
        symptom="The agent sees an end one step after it could still be avoided.",
        innocent="All losses fall; the departing state and its action often tell the reward almost as well.",
        replaces=((WorldModel, "losses", losses_at_departing_states),),
    ),
    "kl_reversed": Bug(
        story="KL(prior || posterior) instead of KL(posterior || prior), unbalanced and without free nats.",
        symptom="The posterior spreads out until it says nothing: collapse.",
        innocent="The KL falls to zero, which looks like perfect prediction.",
        replaces=((world_model, "balanced_kl", unbalanced_reversed_kl),),
    ),
    "actions_as_probabilities": Bug(
        story="Imagined actions are softmax probabilities instead of samples.",
        symptom="Dreams drift from reality, because the dynamics never saw such actions.",
        innocent="World model losses: they never see imagination.",
        replaces=((trainer, "imagine", imagine_with_probabilities),),
    ),
    "value_departing": Bug(
        story="The lambda return mixes v_t where v_{t+1} belongs and loses (1 - lambda) of each reward.",
        symptom="Values are too low, and an action is credited with what was there before it.",
        innocent="The critic's loss: it fits the wrong target well.",
        replaces=((ActorCritic, "returns", returns_of_departing_values),),
    ),
    "bootstrap_early": Bug(
        story="The return bootstraps from the value before the last state.",
        symptom="The consequence of the last action is invisible; short horizons learn badly.",
        innocent="Every loss.",
        replaces=((ActorCritic, "returns", returns_bootstrapped_early),),
    ),
    "advantage_leaks": Bug(
        story="The actor's loss is minus the advantage, with no log-probability, no entropy and no stop-gradient.",
        symptom="The policy never changes, and the critic falls without end.",
        innocent="The actor's loss goes down beautifully.",
        replaces=((actor_critic, "actor_loss", actor_loss_without_log_prob),),
    ),
    "weights_missing": Bug(
        story="Imagined steps after a predicted end count fully.",
        symptom="The agent learns from a life after death.",
        innocent="World model losses.",
        replaces=((Trajectory, "weight", no_weight),),
    ),
    "time_limit_is_death": Bug(
        story="A time limit is stored as a termination.",
        symptom="The agent fears states in which nothing happens but the clock; values of good states are too low.",
        innocent="The continue loss, since time limits are rare.",
        replaces=((envs.Environments, "step", step_with_terminal_time_limits),),
    ),
    "logvar_unbounded": Bug(
        story="Log-variances are unbounded.",
        symptom="A standard deviation vanishes or explodes, and one batch ends the run with a loss that is no number.",
        innocent="Everything, until that batch.",
        replaces=((GaussianLatent, "__call__", unbounded_gaussian),),
    ),
}
