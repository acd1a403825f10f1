"""The readers' checks: right answers pass in one line, known mistakes get their names, other slips their own words."""

import copy
import functools
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any
from unittest import mock

import gymnasium as gym
import numpy as np
import pytest
import torch
from helpers import SMALL, VECTORS, Through, random_batch
from torch import Tensor, nn
from torch.nn import functional as F

from wm_tutorial import actor_critic, check, kl, optim, planner, returns, transforms, world_model, zoo
from wm_tutorial.actor_critic import ActorCritic, BoundedNormal
from wm_tutorial.check.asking import gradients, right_answer
from wm_tutorial.check.diagnosis import examine
from wm_tutorial.config import make_config
from wm_tutorial.data import Batch, Place, Row, Spaces, State, Trajectory
from wm_tutorial.dynamics import RSSM, BlockGRU, FeedForward, executed
from wm_tutorial.encoder import ImageEncoder
from wm_tutorial.envs import Environments
from wm_tutorial.heads import Bernoulli, Image, SquaredError, SymlogVector
from wm_tutorial.imagination import imagine
from wm_tutorial.latents import CategoricalLatent, Gaussian, GaussianLatent, OneHot
from wm_tutorial.mistakes.part import Answer
from wm_tutorial.networks import BlockLinear, UpsampleConv
from wm_tutorial.pace import ALONE
from wm_tutorial.replay import Replay
from wm_tutorial.runs import statistics
from wm_tutorial.runs.bench import count_flop
from wm_tutorial.runs.cost import ring_seconds
from wm_tutorial.trainer import Trainer
from wm_tutorial.transforms import TwoHot
from wm_tutorial.world_models_2018 import Memory, Mixture, rollout, vision
from wm_tutorial.world_models_2018.controller import look
from wm_tutorial.worlds import Lighthouse

Function = Callable[..., Any]
Capture = pytest.CaptureFixture[str]


def said(capsys: Capture, part: str, function: Any) -> tuple[bool, str]:
    capsys.readouterr()
    verdict = getattr(check, part)(function)
    return verdict, capsys.readouterr().out


# --- The package's own parts, as a reader's function would be called --------------------------------------------------


def package_two_hot(x: Tensor, bins: Tensor) -> Tensor:
    """The weights of the loss: the part of its gradient that does not come from the softmax."""
    logits = torch.zeros(len(x), len(bins), dtype=x.dtype, requires_grad=True)
    (gradient,) = torch.autograd.grad(TwoHot(logits, bins).loss(x).sum(), logits)
    return 1 / len(bins) - gradient


def package_categorical_kl(logits_q: Tensor, logits_p: Tensor, unimix: float) -> Tensor:
    rule = CategoricalLatent(*logits_q.shape[-2:], unimix)
    return rule(logits_q.flatten(-2)).kl(rule(logits_p.flatten(-2)))


def package_dynamics_step(latent: Tensor, action: Tensor, net: Function) -> tuple[Tensor, Tensor]:
    rule = GaussianLatent(latent.shape[-1])
    dynamics = FeedForward(1, action.shape[-1], rule, hidden=1, layers=1)
    dynamics.prior_net = Through(net)  # type: ignore[assignment]
    prior = dynamics.prior(State(latent[:, :0], latent), action)
    assert isinstance(prior, Gaussian)
    return prior.mean, prior.logvar


class Replayed(gym.Env[Any, Any]):
    """Lives recorded transitions again."""

    def __init__(self, obs: Tensor, action: Tensor, *outcomes: Tensor) -> None:
        self.obs, self.outcomes, self.now = obs.double().numpy(), [x.numpy() for x in outcomes], 0
        self.observation_space = gym.spaces.Box(-100, 100, obs.shape[1:], np.float64)
        self.action_space = gym.spaces.Box(-1, 1, action.shape[1:], np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        begins = np.append(self.obs, self.outcomes[1][-1:], 0)  # nothing was recorded after the last transition
        return begins[self.now], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward, next_obs, terminated, truncated = (x[self.now] for x in self.outcomes)
        self.now += 1
        return np.float64(next_obs), float(reward), bool(terminated), bool(truncated), {}


def package_alignment(obs: Tensor, action: Tensor, *outcomes: Tensor) -> dict[str, Tensor]:
    """The rows that `Environments` makes when the recorded actions are taken again."""
    environments = Environments(lambda: Replayed(obs, action, *outcomes), 1, (0,))
    nothing, taken = torch.zeros_like(action[0]), iter(action)
    rows, actions, previous = [environments.reset()], [], [nothing]
    for _ in range(len(obs) + int((outcomes[2] | outcomes[3])[:-1].sum())):
        ends = bool(rows[-1].is_last[0])
        actions.append(nothing if ends else next(taken))
        previous.append(actions[-1])
        rows.append(environments.step(rows[-1], actions[-1][None].numpy()))
    names = ("obs", "reward", "is_first", "is_last", "is_terminal")
    columns = {name: torch.stack([torch.from_numpy(getattr(row, name)[0:1]) for row in rows])[:, 0] for name in names}
    columns["obs"], columns["reward"] = columns["obs"].to(obs), columns["reward"].to(obs)
    return columns | {"action": torch.stack([*actions, nothing]), "previous_action": torch.stack(previous)}


class Dream(nn.Module):
    """As much of a world model as imagination needs."""

    def __init__(self, step: Function, reward: Function) -> None:
        super().__init__()
        self.step, self.worth = step, reward

    def imagine(self, state: State, action: Tensor) -> State:
        return State(state.memory, self.step(state.latent, action))

    def reward(self, feature: Tensor) -> SimpleNamespace:
        return SimpleNamespace(mean=self.worth(feature.flatten(0, 1)).reshape(feature.shape[:2]))

    def continues(self, feature: Tensor) -> SimpleNamespace:
        return SimpleNamespace(mean=torch.ones_like(feature[..., 0]))


def package_return_range(range_: Tensor, given: Tensor, decay: float) -> Tensor:
    normalizer = returns.ReturnNormalizer(decay).to(given)
    normalizer.keep(range_)
    return normalizer.after(given)


def package_scaled_advantage(given: Tensor, value: Tensor, range_: Tensor, floor: float) -> Tensor:
    behaviour = ActorCritic(4, VECTORS, replace(SMALL, return_normalization=True))
    behaviour.normalizer.floor = floor
    return behaviour.advantage(given, value, range_)


def package_two_hot_slope(logits: Tensor, x: Tensor, bins: Tensor) -> Tensor:
    with torch.enable_grad():
        logits = logits.clone().requires_grad_()
        return torch.autograd.grad(TwoHot(logits, bins).loss(x).sum(), logits)[0]


def package_imagination(
    start: Tensor, policy: Function, step: Function, reward: Function, horizon: int
) -> dict[str, Tensor]:
    def choose(feature: Tensor) -> Any:
        return SimpleNamespace(sample=lambda: policy(feature))

    state = State(start[:, :0], start)
    trajectory = imagine(Dream(step, reward), choose, state, horizon)  # type: ignore[arg-type]
    return {"latent": trajectory.state.latent, "action": trajectory.action, "reward": trajectory.reward}


def package_policy_loss(
    logits: Tensor, action: Tensor, returns: Tensor, value: Tensor, weight: Tensor, entropy_scale: float
) -> Tensor:
    policy = OneHot.mixed(logits, 0.0)
    return actor_critic.actor_loss(policy.log_prob(action), policy.entropy(), returns - value, weight, entropy_scale)


def package_critic(value: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    return actor_critic.critic_loss(SquaredError(value.squeeze(-1)), target, target, weight, slow_scale=0.0)


def package_replay_sample(
    is_first: np.ndarray, added: int, batch: int, length: int, rng: np.random.Generator
) -> np.ndarray:
    """The replay reads one row in front of each sequence; here it is the sequence's first."""
    spaces = Spaces("vector", (1,), "discrete", 2, (0.0,), (1.0,))
    replay = Replay(len(is_first), 1, spaces, memory_size=0, latent_size=1)
    replay.added = added
    number = replay.sample(batch, length - 1, rng)[1].number
    return np.concatenate([number[:, :1] - 1, number], 1) % len(is_first)


def package_kl_balance(mean_q: Tensor, logvar_q: Tensor, mean_p: Tensor, logvar_p: Tensor, alpha: float) -> Tensor:
    teaches_prior, teaches_posterior = kl.balanced_kl(Gaussian(mean_q, logvar_q), Gaussian(mean_p, logvar_p), 0.0)
    return alpha * teaches_prior + (1 - alpha) * teaches_posterior


def package_teaching_share(divergence: Tensor, free_nats: float) -> Tensor:
    """A state teaches where the gradient of the package's own divergence is not zero.

    At the threshold itself there are two gradients, and a clamp takes the one above; what the state could still save is
    below, a hair away.
    """
    mean = ((2 * divergence).sqrt() * (1 - 1e-6)).requires_grad_()  # of unit variance, so far apart: these divergences
    with torch.enable_grad():
        posterior, prior = Gaussian(mean, mean * 0), Gaussian(mean.detach() * 0, mean.detach() * 0)
        (gradient,) = torch.autograd.grad(kl.balanced_kl(posterior, prior, free_nats)[1].sum(), mean)
    return gradient.any(-1).to(divergence.dtype).mean()


def package_continue_target(is_last: Tensor, is_terminal: Tensor, discount: float) -> Tensor:
    """What the world model hands to its continue head."""
    config = replace(SMALL, discount=discount, discount_in_continue=True)
    batch, heard = random_batch(VECTORS, *is_last.shape), []
    model = world_model.WorldModel(VECTORS, config)

    def hear(target: Tensor) -> Tensor:
        heard.append(target)
        return target * 0

    model.continues = lambda feature: SimpleNamespace(loss=hear)  # type: ignore[assignment,method-assign,return-value]
    model.losses(replace(batch, is_last=is_last, is_terminal=is_terminal))
    return heard[0]


def package_prior_inputs(
    latent: Tensor, previous_action: Tensor, is_first: Tensor, start: Tensor
) -> tuple[Tensor, Tensor]:
    """What the prior is asked, while a sequence is observed whose latents are known."""
    asked = []
    dynamics = FeedForward(1, previous_action.shape[-1], GaussianLatent(latent.shape[-1]), hidden=4, layers=1)
    known = SimpleNamespace(sample=lambda: latent)
    dynamics.posterior = lambda embedding: known  # type: ignore[assignment, method-assign, return-value]
    dynamics.prior = lambda *given: asked.append(given)  # type: ignore[assignment, method-assign, return-value]
    dynamics.observe(latent, previous_action, is_first, State(start[:, :0], start))
    state, action = asked[0]
    return state.latent, action


def package_discounted_return(reward: Tensor, gamma: float) -> Tensor:
    discount = torch.full_like(reward, gamma)
    return returns.lambda_returns(reward[None], discount[None], torch.zeros_like(reward)[None], 1.0)[0, 0]


def package_agents_interval(returns: Tensor, draws: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """With the draws that are given."""
    drawn = SimpleNamespace(choice=lambda values, shape: values[draws.numpy()])
    with mock.patch.object(statistics.np.random, "default_rng", lambda seed: drawn):
        low, high = statistics.bootstrap_interval(returns.mean(1), level=level)
    return torch.tensor(low).to(returns), torch.tensor(high).to(returns)


def package_matched_differences(new_seeds: Tensor, new: Tensor, old_seeds: Tensor, old: Tensor) -> Tensor:
    sides = (dict(zip(s.tolist(), x.tolist(), strict=True)) for s, x in ((new_seeds, new), (old_seeds, old)))
    return torch.from_numpy(statistics.matched_differences(*sides)).to(new)


def promised_and_kept_by_sorting(tuning: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor]:
    *_, (promised, kept) = sorted(zip(tuning.mean(1).tolist(), fresh.mean(1).tolist(), strict=True))
    return torch.tensor(promised).to(tuning), torch.tensor(kept).to(tuning)


def package_updates_due(steps: Tensor, prefill: int, ratio: float, batch: int, length: int) -> Tensor:
    config = make_config(prefill=prefill, updates_per_step=ratio / (batch * length), envs=1, sequence_length=length)
    due = []
    for taken in steps.tolist():
        trainer = SimpleNamespace(config=config, steps=taken, replay=range(10**6), company=ALONE)
        due.append(Trainer.updates_due.fget(trainer))  # type: ignore[attr-defined]
    return torch.tensor(due)


def weights_of_package(horizon: int, lam: float) -> Tensor:
    """How far the return of s_0 moves with the return of each length: reward 0, and a value of 1 in one place."""
    values, nothing = torch.eye(horizon), torch.zeros(horizon, horizon)
    return returns.lambda_returns(nothing, torch.ones_like(nothing), values, lam)[:, 0]


def bandit_gradient_of_package(logits: Tensor, reward: Tensor) -> Tensor:
    """The actor's loss of every action, averaged as often as the policy takes it; a loss is to fall."""
    logits = logits.clone().requires_grad_()
    policy = OneHot.mixed(logits, 0.0)
    for_sure = torch.eye(logits.shape[-1]).to(logits)
    losses = [
        actor_critic.actor_loss(policy.log_prob(action.expand_as(logits)), 0 * r, r, torch.ones_like(r), 0.0)
        for action, r in zip(for_sure, reward.unbind(-1), strict=True)
    ]
    average = (policy.probabilities.detach() * torch.stack(losses, -1)).sum()
    return -torch.autograd.grad(average, logits)[0]


def imagined_return_of_package(reward: Tensor, continue_: Tensor) -> Tensor:
    """Without discount, and with nothing to come after the horizon."""
    return (continue_[:, :1] * returns.lambda_returns(reward, continue_[:, 1:], 0.0 * reward, 1.0))[:, 0]


def imagined_weight_of_package(continue_: Tensor, gamma: float) -> Tensor:
    none = continue_.new_zeros(*continue_.shape, 0)
    return Trajectory(State(none, none), none, continue_[:, 1:], continue_).weight(gamma)


def n_step_of_package(reward: Tensor, discount: Tensor, value: Tensor, n: int) -> Tensor:
    """A lambda of 1 sums all rewards of a horizon of n."""
    return returns.lambda_returns(reward[:, :n], discount[:, :n], value[:, :n], 1.0)[:, 0]


class Given(nn.Module):
    """A layer that gives what it was made with, whatever it is asked."""

    def __init__(self, given: Tensor) -> None:
        super().__init__()
        self.given = given

    def forward(self, x: Tensor) -> Tensor:
        return self.given


def package_gated_update(memory: Tensor, reset: Tensor, candidate: Tensor, update: Tensor) -> Tensor:
    """The gates of a unit of one block, as its network tells them."""
    core = BlockGRU(memory.shape[-1], latent=1, action=1, hidden=1, blocks=1)
    core.gates = Given(torch.cat([reset, candidate, update], -1).unsqueeze(-2))  # type: ignore[assignment]
    return core.gated(memory, memory)


def package_block_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    layer = BlockLinear(*weight.shape)
    given = {"weight": weight, "bias": bias}
    return torch.func.functional_call(layer, given, (x.reshape(len(x), *weight.shape[:2]),)).flatten(1)


def known_rssm(remember: Function, infer: Function) -> RSSM:
    """An RSSM that remembers and infers as it is told."""
    model = RSSM(BlockGRU(1, 1, 1, 1, blocks=1), 1, GaussianLatent(1), 1, hidden=1)
    model.remember = lambda state, action: remember(state.memory, state.latent, action)  # type: ignore[method-assign]
    model.posterior_given = lambda h, e: SimpleNamespace(sample=lambda: infer(h, e))  # type: ignore[assignment, method-assign, return-value]
    model.prior_given = lambda memory: None  # type: ignore[assignment, method-assign, return-value]
    return model


def package_rssm_step(
    memory: Tensor, latent: Tensor, action: Tensor, is_first: Tensor, embedding: Tensor, remember: Function,
    infer: Function,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One row of the package's loop over a sequence."""
    state, _, _ = known_rssm(remember, infer).observe(
        embedding[:, None], action[:, None], is_first[:, None], State(memory, latent)
    )
    return state.memory[:, 0], state.latent[:, 0]


def package_observe_sequence(
    embedding: Tensor, action: Tensor, is_first: Tensor, start: Tensor, before: Tensor, step: Function
) -> Tensor:
    """The whole state as the memory; the step forgets a second time, which changes nothing."""
    rows = iter(zip(is_first.unbind(1), embedding.unbind(1), strict=True))

    def remember(memory: Tensor, latent: Tensor, action: Tensor) -> Tensor:
        return step(memory, action, *next(rows))

    model = known_rssm(remember, lambda memory, embedding: memory[:, :0])
    previous = torch.cat([before[:, None], action[:, :-1]], 1)
    states, _, _ = model.observe(embedding, previous, is_first, State(start, start[:, :0]))
    return states.memory


def linear_probe_with_numpy(known: Tensor, wanted: Tensor, fitted: int) -> Tensor:
    """By the normal equations of what is left when the means are taken away, in double precision."""
    x, y = known.double().numpy(), wanted.double().numpy()
    x0, y0 = x[:fitted].mean(0), y[:fitted].mean(0)
    weights = np.linalg.solve((x[:fitted] - x0).T @ (x[:fitted] - x0), (x[:fitted] - x0).T @ (y[:fitted] - y0))
    left = y[fitted:] - y0 - (x[fitted:] - x0) @ weights
    return torch.from_numpy(1 - (left**2).mean(0) / y[fitted:].var(0)).to(wanted)


@dataclass(frozen=True)
class AlreadyDrawn(OneHot):
    """A distribution whose sample is known."""

    drawn: Tensor

    def sample(self) -> Tensor:
        return self.drawn


def package_categorical_sample(probabilities: Tensor, numbers: Tensor) -> Tensor:
    with mock.patch.object(torch, "rand_like", return_value=numbers.unsqueeze(-1)):
        return OneHot(probabilities).sample()


def gradient_of_table(logits: Tensor, function: Function) -> Tensor:
    """The expectation as a table of all choices, one axis for each variable, that is summed axis by axis."""
    rows, variables, classes = logits.shape
    leaf = logits.clone().requires_grad_()
    grids = torch.meshgrid(*[torch.arange(classes)] * variables, indexing="ij")
    choices = F.one_hot(torch.stack(grids, -1), classes).to(logits).reshape(-1, 1, variables, classes)
    table = torch.stack([function(z.expand_as(logits)) for z in choices], 1).reshape(rows, *[classes] * variables)
    for s in reversed(range(variables)):
        table = (table * leaf[:, s].softmax(-1).reshape(rows, *[1] * s, classes)).sum(-1)
    return torch.autograd.grad(table.sum(), leaf)[0]


def price_as_mutual_information(joint: Tensor) -> Tensor:
    """Only over what happens: joint ln(joint / product)."""
    product = joint.sum(2, keepdim=True) * joint.sum(1, keepdim=True)
    return torch.where(joint > 0, joint * (joint / product.clamp(min=1e-30)).clamp(min=1e-30).log(), 0.0).sum((1, 2))


def package_bounded_normal(raw_mean: Tensor, raw_std: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """The package's bounds are 0.1 and 1; others are the same share of another range."""
    policy = BoundedNormal.bounded(raw_mean, raw_std)
    return policy.mean, low + (policy.std - 0.1) / 0.9 * (high - low)


def package_scaled_action(action: Tensor, low: Tensor, high: Tensor) -> Tensor:
    bounds = tuple(low.double().tolist()), tuple(high.double().tolist())
    spaces = Spaces("vector", (1,), "continuous", len(low), *bounds)
    return torch.from_numpy(spaces.decode_action(action.numpy())).to(action)


def package_pathwise_dream(start: Tensor, policy: Function, step: Function, noise: Tensor) -> dict[str, Tensor]:
    """`imagine`, which draws its noise step by step, given that of the check."""

    def says(feature: Tensor) -> BoundedNormal:
        return BoundedNormal(*policy(feature))

    state = State(start[:, :0], start)
    dream = Dream(step, lambda z: z.sum(-1))
    with mock.patch.object(torch, "randn_like", side_effect=list(noise.unbind(1))):
        trajectory = imagine(dream, says, state, noise.shape[1], differentiable=True)  # type: ignore[arg-type]
    return {"latent": trajectory.state.latent, "action": trajectory.action}


def package_planes(obs: Tensor) -> Tensor:
    """What the encoder hands to its first convolution."""
    encoder, given = ImageEncoder((*obs.shape[1:3], 3), depth=1), []
    encoder.net.register_forward_pre_hook(lambda module, x: given.append(x[0]))
    encoder(obs)
    return given[0]


def package_convolution_size(size: Tensor, kernel: Tensor, stride: Tensor, padding: Tensor) -> Tensor:
    """By torch itself."""
    rows = zip(size.tolist(), kernel.tolist(), stride.tolist(), padding.tolist(), strict=True)
    sides = [F.conv1d(torch.zeros(1, 1, n), torch.zeros(1, 1, k), stride=s, padding=p).shape[-1] for n, k, s, p in rows]
    return torch.tensor(sides)


def package_upsample_convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The package's stage has kernels of 5; a kernel of 3 is one with zeros around it."""
    stage = UpsampleConv(weight.shape[1], weight.shape[0]).to(x)
    around = (5 - weight.shape[-1]) // 2
    given = {"conv.weight": F.pad(weight, (around,) * 4), "conv.bias": bias}
    return torch.func.functional_call(stage, given, (x,))


def column_probe_with_numpy(known: Tensor, column: Tensor, episode: Tensor) -> Tensor:
    """The means are taken away, and given back as the constant."""
    x, y, odd = known.double().numpy(), np.eye(int(column.max()) + 1)[column.numpy()], (episode % 2 == 1).numpy()
    x0, y0 = x[~odd].mean(0), y[~odd].mean(0)
    weights = np.linalg.pinv(x[~odd] - x0) @ (y[~odd] - y0)
    named = ((x[odd] - x0) @ weights + y0).argmax(1)
    return torch.tensor((named == column.numpy()[odd]).mean()).to(known)


def package_replay_returns(
    reward: Tensor, is_last: Tensor, is_terminal: Tensor, bootstrap: Tensor, gamma: float, lam: float
) -> Tensor:
    behaviour = SimpleNamespace(config=replace(SMALL, discount=gamma, lam=lam))
    batch = SimpleNamespace(reward=reward, is_last=is_last, is_terminal=is_terminal)
    return ActorCritic.replay_returns(behaviour, batch, bootstrap)  # type: ignore[arg-type]


def package_slow_update(slow: Tensor, critic: Tensor, rate: float) -> Tensor:
    """Two critics of one tensor each."""
    behaviour = ActorCritic(4, VECTORS, replace(SMALL, slow_critic_rate=rate))
    behaviour.slow_critic, behaviour.critic = (nn.ParameterList([x.clone()]) for x in (slow, critic))  # type: ignore[assignment]
    behaviour.update_slow_critic()
    return next(behaviour.slow_critic.parameters()).detach()


def package_write_back(stored: Tensor, number: Tensor, added: int, states: Tensor) -> Tensor:
    spaces = Spaces("vector", (1,), "discrete", 2, (0.0,), (1.0,))
    replay = Replay(len(stored), 1, spaces, memory_size=stored.shape[1], latent_size=1)
    replay.added, replay.columns["memory"] = added, stored[None].clone().numpy()
    replay.write_back(Place(np.zeros(len(number), int), number.numpy()), State(states, states[..., :1]))
    return torch.from_numpy(replay.columns["memory"][0])


def package_candidate_returns(
    start: Tensor, actions: Tensor, step: Function, reward: Function, continue_: Function
) -> Tensor:
    model = SimpleNamespace(
        imagine=lambda state, action: State(state.memory, step(state.latent, action)),
        reward=lambda feature: SimpleNamespace(mean=reward(feature)),
        continues=lambda feature: SimpleNamespace(mean=continue_(feature)),
    )
    state = State(start[:, :0], start)
    return planner.imagined_returns(planner.step_of(model), state, actions)  # type: ignore[arg-type]


def package_refit(candidates: Tensor, returns: Tensor, elites: int) -> tuple[Tensor, Tensor]:
    best = planner.elites_of(returns, elites)
    start = planner.GaussianPlan(torch.zeros_like(candidates[:, 0]), torch.ones_like(candidates[:, 0]))
    found = start.refit(candidates[torch.arange(len(best)).unsqueeze(1), best])
    return found.mean, found.std


def package_cross_entropy(score: Function, noise: Tensor, elites: int) -> tuple[Tensor, Tensor, Tensor]:
    """A world of one step, whose action is a whole candidate, drawn with the noise that is given."""
    n, count, horizon, size = noise.shape[1:]
    drawn = iter(noise.reshape(len(noise), n, count, horizon, size))

    def returns_of(step: Any, state: State, actions: Tensor) -> Any:
        return score(actions)

    with (
        mock.patch.object(torch, "randn", lambda *shape, **kinds: next(drawn)),
        mock.patch.object(planner, "imagined_returns", returns_of),
    ):
        state = State(noise[0, :, 0, 0, :0], noise[0, :, 0, 0])
        start = planner.GaussianPlan(torch.zeros_like(noise[0, :, 0]), torch.ones_like(noise[0, :, 0]))
        found = planner.plan(lambda *given: None, state, start, count, elites, len(noise))  # type: ignore[arg-type,return-value]
    return found.first, found.mean, found.std


def shifted_plan_by_roll(mean: Tensor, is_first: Tensor) -> Tensor:
    left = mean.roll(-1, 1)
    left[:, -1] = 0.0
    left[is_first] = 0.0
    return left


def package_mixture_log_prob(logit: Tensor, mean: Tensor, log_std: Tensor, z: Tensor) -> Tensor:
    """From what the network would give."""
    raw = torch.stack([logit, mean, log_std], -2).flatten(-3)
    return Mixture.of(raw, logit.shape[-1]).log_prob(z)


def package_tempered(*given: Any) -> tuple[Tensor, ...]:
    calmer = Mixture(*given[:3]).at(given[3])
    return calmer.log_weight, calmer.mean, calmer.log_std


def package_tolerant_divergence(mean: Tensor, logvar: Tensor, tolerance: float) -> Tensor:
    blank = torch.zeros(len(mean), 1, 1, 1, dtype=torch.uint8)
    posterior = Gaussian(mean, logvar)
    return vision.bound(posterior, lambda z: Image(z[:, :1, None, None]), blank, tolerance)["divergence"]


def package_remembered(z: Tensor, action: Tensor, is_first: Tensor, memory_size: int, step: Function) -> Tensor:
    """What C is shown while the package's M lives through episodes whose pictures are z."""
    memory = Memory(z.shape[-1], action.shape[-1], memory_size, components=1).to(z.dtype)
    memory.step = lambda both, z, a: torch.cat([step(both.chunk(2, -1)[0], z, a)] * 2, -1)  # type: ignore[method-assign]
    nothing = np.zeros(len(z), bool)
    rows = iter(
        Row(now.numpy(), nothing.astype(float), first.numpy(), nothing, nothing)
        for now, first in zip(z.unbind(1), is_first.unbind(1), strict=True)
    )
    lives = mock.MagicMock(**{"__len__.return_value": len(z)})
    lives.begin = lives.step = lambda *asked: next(rows)
    known = SimpleNamespace(encode=lambda obs: SimpleNamespace(sample=lambda: obs))
    world = rollout.RealWorld(known, memory, lives, (0,))  # type: ignore[arg-type]
    states = [world.begin(len(z), 0)]
    states += [world.step(did)[0] for did in action[:, :-1].unbind(1)]
    return torch.stack([look(state, "z and h")[:, z.shape[-1] :] for state in states], 1)


def package_dream_return(reward: Tensor, done: Tensor) -> Tensor:
    """The package's loop through a world that was recorded."""
    steps = iter(zip(reward.unbind(1), done.unbind(1), strict=True))
    nothing = State(reward[:, :0], reward[:, :1])
    world = SimpleNamespace(begin=lambda count, seed: nothing, step=lambda action: (nothing, *next(steps)))
    return rollout.play(world, torch.zeros(len(reward), 2, 2), "z", "discrete", reward.shape[1], 0).to(reward)  # type: ignore[arg-type]


def package_lighthouse_observation(oil: Tensor, soot: Tensor, lamp: Tensor, weather: Tensor) -> Tensor:
    """What the world itself shows in these states."""
    world, seen = Lighthouse(), []
    world.reset(seed=0)
    given = (oil.tolist(), soot.tolist(), lamp.tolist(), weather.tolist())
    for world.oil, world.soot, world.lamp, world.weather in zip(*given, strict=True):
        seen.append(torch.from_numpy(world._seen()))
    return torch.stack(seen)


def shaped_in_a_loop(reward: Tensor, potential: Tensor, terminated: Tensor, gamma: float) -> Tensor:
    shaped = torch.empty_like(reward)
    for b in range(len(reward)):
        for t in range(reward.shape[1]):
            hope = 0.0 if terminated[b, t] else gamma * potential[b, t + 1]
            shaped[b, t] = reward[b, t] + hope - potential[b, t]
    return shaped


def greenhouse_of_a_reader(play: Function) -> Any:
    """Written from the words of the check alone; draws and copies in other places."""

    class Bed(gym.Env[Any, Any]):
        observation_space = gym.spaces.Box(0, 1, (2,), np.float32)
        action_space = gym.spaces.Box(0, 2, (1,), np.float32)

        def __init__(self, hours: int) -> None:
            self.left_at_first = hours

        def reset(self, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
            super().reset(seed=seed)
            self.row, self.left = np.array([5, float(self.np_random.random())]), self.left_at_first
            return np.float32(self.row / [10, 1]), {"litres": 5.0}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            water, sun = self.row
            water = min(10, water + min(max(action.item(), 0), 2))
            water = max(0, water - 2 * sun)
            self.row = np.array([water, float(self.np_random.random())])
            self.left -= 1
            reward = (5 - abs(5 - water)) / 5
            return np.float32(self.row / [10, 1]), reward, bool(water <= 0), bool(water > 0 and self.left == 0), {}

    return play(Bed)


def row_faults_one_by_one(reward: Tensor, is_first: Tensor, is_last: Tensor, is_terminal: Tensor) -> Tensor:
    rows = list(zip(reward.tolist(), is_first.tolist(), is_last.tolist(), is_terminal.tolist(), strict=True))
    counts = [0, 0, 0, 0]
    for n, (paid, first, last, terminal) in enumerate(rows):
        counts[0] += first and paid != 0
        counts[1] += terminal and not last
        counts[2] += n > 0 and first and not rows[n - 1][2]
        counts[3] += n + 1 < len(rows) and last and not rows[n + 1][1]
    return torch.tensor(counts)


def reach_by_where(function: Function, x: Tensor, other: Tensor) -> Tensor:
    columns = torch.arange(x.shape[1])
    after = [function(torch.where(columns == i, other, x)) for i in columns]
    return torch.stack([(one != function(x)).sum(0) > 0 for one in after])


def judged_by_the_recursion(lambda_returns: Function) -> None:
    """What is returned must fit itself: every return follows from the next one."""
    for lam in (0.3, 0.8):
        r, d, v = (torch.rand(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(n)) for n in range(3))
        found = lambda_returns(r, d, v, lam)
        assert found.shape == r.shape
        later = torch.cat([found[:, 1:], v[:, -1:]], 1)
        torch.testing.assert_close(found, r + d * ((1 - lam) * v + lam * later))


def nothing_learns(show: Function) -> Any:
    def mistake(log_prob: Tensor, returns: Tensor, value: Tensor) -> Tensor:
        return ((value - returns) * log_prob).detach()

    def test(loss: Function) -> None:
        given = [torch.rand(3, 2, requires_grad=True) for _ in range(3)]
        slopes = torch.autograd.grad(loss(*given).sum(), given, allow_unused=True)
        assert slopes[0] is not None and torch.allclose(slopes[0], given[2] - given[1])
        assert all(x is None or bool((x == 0).all()) for x in slopes[1:])

    return show(mistake, test)


def package_flop_of_dense(rows: Tensor, inputs: Tensor, outputs: Tensor) -> Tensor:
    """What torch's counter sees of a layer that learns, and whose inputs learn, too."""

    def learn(n: int, i: int, o: int) -> None:
        x = torch.zeros(n, i, requires_grad=True)
        nn.Linear(i, o)(x).sum().backward()

    with torch.enable_grad():
        flop = [
            count_flop(functools.partial(learn, *sizes)) for sizes in torch.stack([rows, inputs, outputs], 1).tolist()
        ]
    return torch.tensor(flop)


def package_updates_of_run(frames: Tensor, repeat: int, ratio: int, batch: int, length: int) -> Tensor:
    return package_updates_due(frames // repeat, 0, ratio, batch, length)


def package_replay_bytes(
    rows: Tensor, numbers: Tensor, width: Tensor, action: Tensor, memory: Tensor, latent: Tensor
) -> Tensor:
    """The memory of replays that are really made."""
    found = []
    for n, o, w, a, h, z in torch.stack([rows, numbers, width, action, memory, latent], 1).tolist():
        picture = w == 1
        spaces = Spaces("image" if picture else "vector", (o, 1, 1) if picture else (o,), "discrete", a, (0.0,), (1.0,))
        found.append(Replay(n, 1, spaces, memory_size=h, latent_size=z).nbytes)
    return torch.tensor(found)


def package_averaged_gradient(gradients: Tensor, rows: Tensor) -> Tensor:
    """One process with all rows: the mean of losses whose slopes are those of their process."""
    weight = torch.zeros_like(gradients[0], requires_grad=True)
    with torch.enable_grad():
        losses = torch.repeat_interleave(gradients, rows, dim=0) @ weight
        return torch.autograd.grad(losses.mean(), weight)[0]


def package_ring_all_reduce_seconds(parameters: Tensor, devices: Tensor, gigabits: Tensor) -> Tensor:
    asked = zip(parameters.tolist(), devices.tolist(), gigabits.tolist(), strict=True)
    return torch.tensor([ring_seconds(4 * p, n, 1e9 * g / 8) for p, n, g in asked], dtype=torch.float64)


PACKAGE = {
    "lighthouse_observation": package_lighthouse_observation,
    "shaped_reward": shaped_in_a_loop,
    "greenhouse": greenhouse_of_a_reader,
    "row_faults": row_faults_one_by_one,
    "reach": reach_by_where,
    "returns_test": judged_by_the_recursion,
    "silent_mistake": nothing_learns,
    "tolerant_divergence": package_tolerant_divergence,
    "mixture_log_prob": package_mixture_log_prob,
    "tempered": package_tempered,
    "remembered": package_remembered,
    "dream_return": package_dream_return,
    "bounded_normal": package_bounded_normal,
    "normal_log_prob": lambda mean, std, action: BoundedNormal(mean, std).log_prob(action),
    "normal_entropy": lambda std: BoundedNormal(torch.zeros_like(std), std).entropy(),
    "scaled_action": package_scaled_action,
    "executed_action": executed,
    "pathwise_dream": package_pathwise_dream,
    "planes": package_planes,
    "convolution_size": package_convolution_size,
    "upsample_convolve": package_upsample_convolve,
    "image_loss": lambda mean, target: Image(mean).loss(target),
    "column_probe": column_probe_with_numpy,
    "replay_returns": package_replay_returns,
    "slow_update": package_slow_update,
    "clip_by_share": optim.clip_by_share,
    "laprop": optim.laprop_direction,
    "write_back": package_write_back,
    "categorical_sample": package_categorical_sample,
    "straight_through": lambda probabilities, drawn: AlreadyDrawn(probabilities, drawn).rsample(),
    "unimix": lambda logits, share: OneHot.mixed(logits, share).probabilities,
    "expected_gradient": gradient_of_table,
    "price_of_independence": price_as_mutual_information,
    "symlog": transforms.symlog,
    "symexp": transforms.symexp,
    "two_hot": package_two_hot,
    "two_hot_mean": lambda probabilities, bins: TwoHot(probabilities.log(), bins).mean,
    "two_hot_slope": package_two_hot_slope,
    "return_range": package_return_range,
    "scaled_advantage": package_scaled_advantage,
    "sample": lambda mean, logvar: Gaussian(mean, logvar).sample(),
    "gaussian_kl": kl.gaussian_kl,
    "categorical_kl": package_categorical_kl,
    "dynamics_step": package_dynamics_step,
    "alignment": package_alignment,
    "imagination": package_imagination,
    "lambda_returns": returns.lambda_returns,
    "bandit_gradient": bandit_gradient_of_package,
    "imagined_return": imagined_return_of_package,
    "imagined_weight": imagined_weight_of_package,
    "lambda_weights": weights_of_package,
    "n_step_return": n_step_of_package,
    "policy_loss": package_policy_loss,
    "critic_loss": package_critic,
    "replay_sample": package_replay_sample,
    "continue_target": package_continue_target,
    "continue_loss": lambda logit, target: Bernoulli(logit).loss(target),
    "false_death_value": lambda reward, limit, discount: reward * (1 + limit) / (1 + limit * (1 - discount)),
    "kl_balance": package_kl_balance,
    "sampled_kl": lambda log_q, log_p: ((log_p - log_q).exp() - 1 + log_q - log_p).mean(0),
    "teaching_share": package_teaching_share,
    "prior_inputs": package_prior_inputs,
    "signal_share": lambda mean, logvar: mean.var(0, correction=0) / (mean.var(0, correction=0) + logvar.exp().mean(0)),
    "useful_horizon": lambda model, persistence: (model < persistence).long().cummin(1).values.sum(1),
    "discounted_return": package_discounted_return,
    "episode_returns": lambda *given: episode_returns_by_differences(*given),
    "fair_mean": lambda *given: fair_mean_in_one_pass(*given),
    "updates_due": package_updates_due,
    "flop_of_dense": package_flop_of_dense,
    "updates_of_run": package_updates_of_run,
    "replay_bytes": package_replay_bytes,
    "averaged_gradient": package_averaged_gradient,
    "ring_all_reduce_seconds": package_ring_all_reduce_seconds,
    "agents_interval": package_agents_interval,
    "interquartile_mean": lambda scores: torch.tensor(statistics.interquartile_mean(scores)).to(scores),
    "matched_differences": package_matched_differences,
    "promised_and_kept": promised_and_kept_by_sorting,
    "rank_correlation": lambda one, other: torch.tensor(statistics.rank_correlation(one, other)).to(one),
    "gated_update": package_gated_update,
    "block_linear": package_block_linear,
    "rssm_step": package_rssm_step,
    "observe_sequence": package_observe_sequence,
    "linear_probe": linear_probe_with_numpy,
    "candidate_returns": package_candidate_returns,
    "refit": package_refit,
    "cross_entropy": package_cross_entropy,
    "shifted_plan": shifted_plan_by_roll,
}


# --- The same, as readers may write them ------------------------------------------------------------------------------


def remembered_into_zeros(z: Tensor, action: Tensor, is_first: Tensor, size: int, step: Function) -> Tensor:
    h = torch.zeros(*z.shape[:2], size, dtype=z.dtype)
    for t in range(1, z.shape[1]):
        h[:, t] = step(h[:, t - 1], z[:, t - 1], action[:, t - 1]) * (~is_first[:, t, None]).to(z)
    return h


def remembered_after(z: Tensor, action: Tensor, is_first: Tensor, size: int, step: Function) -> Tensor:
    h, states = torch.zeros(len(z), size, dtype=z.dtype), []
    for t in range(z.shape[1]):
        h = step(h * (~is_first[:, t, None]).to(z), z[:, t], action[:, t])
        states.append(h)
    return torch.stack(states, dim=1)


def remembered_and_emptied(z: Tensor, action: Tensor, is_first: Tensor, size: int, step: Function) -> Tensor:
    """Emptied where it is kept, not where it goes on."""
    h, states = torch.zeros(len(z), size, dtype=z.dtype), []
    for t in range(z.shape[1]):
        h = step(h, z[:, t], action[:, t])
        states.append(torch.where(is_first[:, t, None], torch.zeros_like(h), h))
    return torch.stack(states, dim=1)


def two_hot_in_a_loop(x: Tensor, bins: Tensor) -> Tensor:
    answer = torch.zeros(len(x), len(bins), dtype=x.dtype)
    for i, number in enumerate(x.tolist()):
        number = min(max(number, bins[0].item()), bins[-1].item())
        k = max(j for j in range(len(bins) - 1) if bins[j] <= number)
        share = (number - bins[k]) / (bins[k + 1] - bins[k])
        answer[i, k], answer[i, k + 1] = 1 - share, share
    return answer


def two_hot_as_hats(x: Tensor, bins: Tensor) -> Tensor:
    """Each weight is a hat over its bin: 1 on it, 0 on its neighbours."""
    x, width = x.clamp(bins[0], bins[-1])[:, None], bins.diff()
    rising = torch.cat([torch.ones_like(x), 1 - (bins[1:] - x) / width], 1)
    falling = torch.cat([1 - (x - bins[:-1]) / width, torch.ones_like(x)], 1)
    return torch.minimum(rising, falling).clamp(0, 1)


def sample_with_generator(mean: Tensor, logvar: Tensor) -> Tensor:
    return mean + logvar.exp().sqrt() * torch.empty_like(mean).normal_()


def sample_with_distribution(mean: Tensor, logvar: Tensor) -> Tensor:
    return torch.distributions.Normal(mean, (logvar / 2).exp()).rsample()


def gaussian_kl_with_distributions(mean_q: Tensor, logvar_q: Tensor, mean_p: Tensor, logvar_p: Tensor) -> Tensor:
    q, p = (torch.distributions.Normal(m, (v / 2).exp()) for m, v in ((mean_q, logvar_q), (mean_p, logvar_p)))
    return torch.distributions.kl_divergence(q, p).sum(-1)


def gaussian_kl_in_a_loop(mean_q: Tensor, logvar_q: Tensor, mean_p: Tensor, logvar_p: Tensor) -> Tensor:
    total = torch.zeros_like(mean_q[..., 0])
    for z in range(mean_q.shape[-1]):
        var_q, var_p = logvar_q[..., z].exp(), logvar_p[..., z].exp()
        square = (mean_q[..., z] - mean_p[..., z]).square()
        total = total + (var_p / var_q).log() / 2 + (var_q + square) / (2 * var_p) - 0.5
    return total


def categorical_kl_with_torch(logits_q: Tensor, logits_p: Tensor, unimix: float) -> Tensor:
    q, p = (torch.lerp(x.softmax(-1), torch.full_like(x, 1 / x.shape[-1]), unimix) for x in (logits_q, logits_p))
    return torch.nn.functional.kl_div(p.log(), q, reduction="none").sum(-1).sum(-1)


def categorical_kl_with_distributions(logits_q: Tensor, logits_p: Tensor, unimix: float) -> Tensor:
    mixed = (x.softmax(-1) * (1 - unimix) + unimix / x.shape[-1] for x in (logits_q, logits_p))
    q, p = (torch.distributions.Independent(torch.distributions.Categorical(x), 1) for x in mixed)
    return torch.distributions.kl_divergence(q, p)


def _both_terms(mean_q: Tensor, logvar_q: Tensor, mean_p: Tensor, logvar_p: Tensor) -> tuple[Tensor, Tensor]:
    """What teaches the prior, and what teaches the posterior, with torch's own divergence."""
    return (
        gaussian_kl_with_distributions(mean_q.detach(), logvar_q.detach(), mean_p, logvar_p),
        gaussian_kl_with_distributions(mean_q, logvar_q, mean_p.detach(), logvar_p.detach()),
    )


def kl_balance_of_mixed_inputs(*given: Any) -> Tensor:
    """One divergence, of numbers through which a share of the gradient flows."""
    *numbers, alpha = given
    shares = (1 - alpha, 1 - alpha, alpha, alpha)
    return kl.gaussian_kl(*(x.detach() + w * (x - x.detach()) for x, w in zip(numbers, shares, strict=True)))


def value_by_iteration(reward: Tensor, limit: Tensor, discount: float) -> Tensor:
    value = torch.zeros_like(reward)
    for _ in range(3000):
        value = reward + discount * limit / (limit + 1) * value
    return value


def alignment_in_episodes(
    obs: Tensor, action: Tensor, reward: Tensor, next_obs: Tensor, terminated: Tensor, truncated: Tensor
) -> dict[str, Tensor]:
    """Episode by episode, each with concatenations."""
    ends = (torch.nonzero(terminated | truncated).flatten() + 1).tolist()
    cuts = sorted({0, *ends, len(obs)})
    parts: dict[str, list[Tensor]] = {name: [] for name in check.PARTS["alignment"].returns}
    for begin, end in itertools.pairwise(cuts):
        piece = slice(begin, end)
        none, zero, no = torch.zeros_like(action[:1]), torch.zeros_like(reward[:1]), torch.zeros(1, dtype=torch.bool)
        parts["obs"] += [obs[piece], next_obs[end - 1 : end]]
        parts["action"] += [action[piece], none]
        parts["previous_action"] += [none, action[piece]]
        parts["reward"] += [zero, reward[piece]]
        parts["is_first"] += [~no, no.expand(end - begin)]
        parts["is_last"] += [no, terminated[piece] | truncated[piece]]
        parts["is_terminal"] += [no, terminated[piece]]
    return {name: torch.cat(pieces) for name, pieces in parts.items()}


def imagination_in_place(
    start: Tensor, policy: Function, step: Function, reward: Function, horizon: int
) -> dict[str, Tensor]:
    latent = start.new_zeros(len(start), horizon + 1, start.shape[-1])
    latent[:, 0] = start
    actions, rewards = [], []
    for t in range(horizon):
        actions.append(policy(latent[:, t]))
        latent[:, t + 1] = step(latent[:, t], actions[-1])
        rewards.append(reward(latent[:, t + 1]))
    return {"reward": torch.stack(rewards, 1), "action": torch.stack(actions, 1), "latent": latent}


def lambda_returns_with_numbers(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
    answer = torch.zeros_like(reward)
    for b in range(reward.shape[0]):
        following = value[b, -1].item()
        for t in range(reward.shape[1] - 1, -1, -1):
            mix = (1 - lam) * value[b, t].item() + lam * following
            following = reward[b, t].item() + discount[b, t].item() * mix
            answer[b, t] = following
    return answer


def lambda_returns_as_errors(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
    """R_t = r + d v + d lam (R_{t+1} - v): what is new is carried back."""
    answer, surprise = reward + discount * value, torch.zeros_like(value[:, 0])
    for t in reversed(range(reward.shape[1])):
        answer[:, t] += discount[:, t] * lam * surprise
        surprise = answer[:, t] - value[:, t - 1]
    return answer


def returns_solved(
    links: Function = lambda discount: torch.diag_embed(discount[:, :-1], offset=1),
    last: Function = lambda discount, value, lam: lam * discount * value,
) -> Function:
    """The returns as H equations, with what is left of the last one on the right-hand side."""

    def solve(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
        known = reward + (1 - lam) * discount * value
        known[:, -1] += last(discount[:, -1], value[:, -1], lam)
        matrix = torch.eye(reward.shape[1], dtype=reward.dtype) - lam * links(discount)
        return torch.linalg.inv(matrix).matmul(known[..., None]).squeeze(-1)

    return solve


def n_steps_forwards(
    reward: Tensor, discount: Tensor, value: Tensor, n: int, then: Function = lambda worth, value, n: worth * value
) -> Tensor:
    total, worth = torch.zeros_like(reward[:, 0]), torch.ones_like(reward[:, 0])
    for r, d in zip(reward.T[:n], discount.T[:n], strict=True):
        total, worth = total + worth * r, worth * d
    return total + then(worth, value[:, n - 1], n)


def imagined_weight_in_a_loop(continue_: Tensor, gamma: float) -> Tensor:
    weight = [continue_[:, 0]]
    for column in continue_.T[1:-1]:
        weight.append(weight[-1] * gamma * column)
    return torch.stack(weight, 1)


def lambda_weights_in_a_list(
    horizon: int, lam: float, last: Function = lambda horizon, lam: lam ** (horizon - 1)
) -> Any:
    return torch.tensor([(1 - lam) * lam**n for n in range(horizon - 1)] + [last(horizon, lam)])


def imagination_with(change: Function, start_again: bool = False, extra: bool = False) -> Function:
    """The loop of a reader who writes down what `change` makes of (start, state left, state reached, reward)."""

    def imagination(start: Tensor, policy: Function, step: Function, reward: Function, horizon: int) -> Any:
        state, states, actions, rewards = start, [start], [], []
        for _ in range(horizon):
            action = policy(state)
            after = step(state, action)
            actions.append(action)
            written, paid = change(start, state, after, reward)
            states.append(written)
            rewards.append(paid)
            state = start if start_again else after
        if extra:
            actions.append(policy(state))
        stacked = (torch.stack(x, dim=1) for x in (states, actions, rewards))
        return dict(zip(("latent", "action", "reward"), stacked, strict=True))

    return imagination


def imagination_from_the_last_action(
    start: Tensor, policy: Function, step: Function, reward: Function, horizon: int
) -> dict[str, Tensor]:
    state, action, rows = start, policy(start), []
    for _ in range(horizon):
        state = step(state, action)
        action = policy(state)
        rows.append((state, action, reward(state)))
    states, actions, rewards = zip(*rows, strict=True)
    stacked = [torch.stack(x, 1) for x in ((start, *states), actions, rewards)]
    return dict(zip(("latent", "action", "reward"), stacked, strict=True))


def policy_loss_with_distribution(
    logits: Tensor, action: Tensor, returns: Tensor, value: Tensor, weight: Tensor, entropy_scale: float
) -> Tensor:
    policy = torch.distributions.Categorical(logits=logits)
    with torch.no_grad():
        advantage, weight = returns - value, weight.clone()
    return -weight * policy.log_prob(action.argmax(-1)) * advantage - weight * entropy_scale * policy.entropy()


def critic_loss_of_torch(value: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    return torch.nn.functional.mse_loss(value[:, 0], target.detach(), reduction="none") * weight.detach()


def replay_sample_in_a_loop(is_first: np.ndarray, added: int, batch: int, length: int, rng: Any) -> Any:
    held = min(added, len(is_first))
    offsets = [int(rng.integers(held - length + 1)) for _ in range(batch)]
    return torch.tensor([[(added - held + o + t) % len(is_first) for t in range(length)] for o in offsets])


def dynamics_step_by_index(latent: Tensor, action: Tensor, net: Function) -> tuple[Tensor, Tensor]:
    raw, size = net(torch.hstack([latent, action])), latent.shape[1]
    return raw[:, :size], -10 + 12 / (1 + torch.exp(-raw[:, size:]))


def prior_inputs_in_a_loop(latent: Tensor, action: Tensor, is_first: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    state, states, actions = start, [], []
    for t in range(latent.shape[1]):
        keep = (~is_first[:, t]).to(latent)[:, None]
        states.append(state * keep)
        actions.append(action[:, t] * keep)
        state = latent[:, t]
    return torch.stack(states, 1), torch.stack(actions, 1)


def dynamics_step_by_tanh(latent: Tensor, action: Tensor, net: Function) -> tuple[Tensor, Tensor]:
    """tanh of half of x is the sigmoid, stretched."""
    mean, x = net(torch.cat((latent, action), dim=1)).tensor_split(2, dim=1)
    return mean, -4 + 6 * torch.tanh(x / 2)


def prior_inputs_where(latent: Tensor, action: Tensor, is_first: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    before = torch.roll(latent, 1, dims=1).index_copy(1, torch.tensor([0]), start[:, None])
    begins = is_first.unsqueeze(2)
    return torch.where(begins, torch.zeros_like(before), before), torch.where(begins, torch.zeros_like(action), action)


def useful_horizon_by_argmax(model_error: Tensor, persistence_error: Tensor) -> Tensor:
    """The first failure, with one more row in which everything fails."""
    beyond = torch.ones(len(model_error), 1, dtype=torch.bool)
    return torch.cat([model_error >= persistence_error, beyond], 1).int().argmax(1)


def useful_horizon_in_a_loop(model_error: Tensor, persistence_error: Tensor) -> Tensor:
    counts = []
    for model, persistence in zip(model_error.tolist(), persistence_error.tolist(), strict=True):
        better = [m < p for m, p in zip(model, persistence, strict=True)]
        counts.append(better.index(False) if False in better else len(better))
    return torch.tensor(counts)


def signal_share_of_total(mean: Tensor, logvar: Tensor) -> Tensor:
    """One minus the share of the noise in the variance of all samples."""
    noise = torch.exp(logvar).mean(0)
    return 1 - noise / ((mean**2 + torch.exp(logvar)).mean(0) - mean.mean(0) ** 2)


def episode_returns_by_differences(reward: Tensor, is_first: Tensor, is_last: Tensor) -> Tensor:
    """What was earned up to the end, less what was earned up to the beginning."""
    earned = reward.cumsum(0)
    begin, end = is_first.nonzero()[:, 0], is_last.nonzero()[:, 0]
    end = end[end > begin[0]] if len(begin) else end[:0]
    return earned[end] - earned[begin[: len(end)]]


def episode_returns_by_slices(reward: Tensor, is_first: Tensor, is_last: Tensor) -> Tensor:
    """From each first row to the last row that follows it, if one does."""
    ends = is_last.nonzero()[:, 0].tolist()
    spans = [(t, next((end for end in ends if end > t), None)) for t in is_first.nonzero()[:, 0].tolist()]
    return torch.tensor([float(reward[t : end + 1].sum()) for t, end in spans if end is not None], dtype=reward.dtype)


def alignment_by_index(
    obs: Tensor, action: Tensor, reward: Tensor, next_obs: Tensor, terminated: Tensor, truncated: Tensor
) -> dict[str, Tensor]:
    """Every transition writes into the two rows that it lies between."""
    over = terminated | truncated
    departing = torch.arange(len(obs)) + torch.cat([over.new_zeros(1), over[:-1]]).cumsum(0)
    count = int(departing[-1]) + 2
    flags = {name: torch.zeros(count, dtype=torch.bool) for name in ("is_first", "is_last", "is_terminal")}
    numbers = {name: action.new_zeros(count, action.shape[1]) for name in ("action", "previous_action")}
    rows = flags | numbers | {"obs": obs.new_zeros(count, obs.shape[1]), "reward": reward.new_zeros(count)}
    rows["obs"][departing], rows["obs"][departing + 1] = obs, next_obs
    rows["action"][departing], rows["previous_action"][departing + 1] = action, action
    rows["reward"][departing + 1], rows["is_terminal"][departing + 1] = reward, terminated
    rows["is_last"][departing + 1], rows["is_first"] = over, torch.ones(count, dtype=torch.bool)
    rows["is_first"][departing + 1] = False
    return rows


def discounted_return_from_the_end(reward: Tensor, gamma: float) -> Tensor:
    total = torch.zeros_like(reward[0])
    for one in reward.flip(0):
        total = one + gamma * total
    return total


def fair_mean_in_one_pass(reward: Tensor, is_last: Tensor, quota: int) -> Tensor:
    """Rewards count while their stream still owes episodes."""
    before = is_last.long().cumsum(1) - is_last.long()
    return (reward * (before < quota)).sum() / (quota * len(reward))


def updates_due_with_integers(steps: Tensor, prefill: int, ratio: float, batch: int, length: int) -> Tensor:
    return torch.tensor([max(0, s - prefill) * int(ratio) // (batch * length) for s in steps.tolist()])


def block_linear_as_one_matrix(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A full matrix that is zero outside of its blocks."""
    return x @ torch.block_diag(*weight) + bias.flatten()


def block_linear_in_a_loop(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    pieces = x.split(weight.shape[1], dim=1)
    return torch.hstack([F.linear(p, w.T, b) for p, w, b in zip(pieces, weight, bias, strict=True)])


def rssm_step_by_product(
    memory: Tensor, latent: Tensor, action: Tensor, is_first: Tensor, embedding: Tensor, remember: Function,
    infer: Function,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    keep = 1 - is_first.to(memory)[:, None]
    h = remember(memory * keep, latent * keep, action * keep)
    return h, infer(h, embedding)


def observe_sequence_by_index(
    embedding: Tensor, action: Tensor, is_first: Tensor, start: Tensor, before: Tensor, step: Function
) -> Tensor:
    states = [start]
    for t in range(embedding.shape[1]):
        taken = before if t == 0 else action[:, t - 1]
        states.append(step(states[-1], taken, is_first[:, t], embedding[:, t]))
    return torch.stack(states[1:], dim=1)


def linear_probe_by_inverse(known: Tensor, wanted: Tensor, fitted: int) -> Tensor:
    x = F.pad(known, (0, 1), value=1.0).double()
    y = wanted.double()
    guess = x[fitted:] @ (torch.linalg.pinv(x[:fitted]) @ y[:fitted])
    return (1 - ((guess - y[fitted:]) ** 2).mean(0) / y[fitted:].var(0, unbiased=False)).to(wanted)


def sample_in_a_loop(probabilities: Tensor, numbers: Tensor) -> Tensor:
    answer = torch.zeros_like(probabilities)
    for b, s in itertools.product(*map(range, numbers.shape)):
        k, above = 0, probabilities[b, s, 0].item()
        while above <= numbers[b, s] and k < probabilities.shape[2] - 1:
            k += 1
            above += probabilities[b, s, k].item()
        answer[b, s, k] = 1
    return answer


def sample_by_search(probabilities: Tensor, numbers: Tensor) -> Tensor:
    found = torch.searchsorted(probabilities.cumsum(-1), numbers.unsqueeze(-1), right=True)
    classes = probabilities.shape[-1]
    return torch.eye(classes, dtype=probabilities.dtype)[found.squeeze(-1).clamp(max=classes - 1)]


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, probabilities: Tensor, drawn: Tensor) -> Tensor:
        return drawn.clone()

    @staticmethod
    def backward(ctx: Any, *slope: Tensor) -> Any:
        return slope[0], None


def gradient_in_a_loop(logits: Tensor, function: Function) -> Tensor:
    leaf, total = logits.clone().requires_grad_(), torch.zeros(())
    rows, variables, classes = logits.shape
    for choice in itertools.product(range(classes), repeat=variables):
        z, chance = torch.zeros_like(logits), torch.ones(rows, dtype=logits.dtype)
        for s, k in enumerate(choice):
            z[:, s, k] = 1
            chance = chance * F.softmax(leaf[:, s], -1)[:, k]
        total = total + (chance * function(z)).sum()
    total.backward()
    assert leaf.grad is not None
    return leaf.grad


def return_range_sorted(range_: Tensor, given: Tensor, decay: float) -> Tensor:
    """Percentiles by hand: the place between two of the sorted returns."""
    in_order = sorted(given.flatten().tolist())
    found = []
    for share in (0.05, 0.95):
        place = share * (len(in_order) - 1)
        below = min(int(place), len(in_order) - 2)
        found.append(in_order[below] + (place - below) * (in_order[below + 1] - in_order[below]))
    return range_ + (1 - decay) * (torch.tensor(found, dtype=range_.dtype) - range_)


def normal_log_prob_with_distribution(mean: Tensor, std: Tensor, action: Tensor) -> Tensor:
    normal = torch.distributions.Normal(mean, std)
    return torch.distributions.Independent(normal, 1).log_prob(action)  # type: ignore[no-untyped-call]


def normal_entropy_with_distribution(std: Tensor) -> Tensor:
    one: Tensor = torch.distributions.Normal(torch.zeros_like(std), std).entropy()  # type: ignore[no-untyped-call]
    return one.sum(dim=-1)


def pathwise_dream_into_zeros(start: Tensor, policy: Function, step: Function, noise: Tensor) -> dict[str, Tensor]:
    """Columns put together at the end, the policy's numbers clipped nowhere."""
    latent, columns, chosen = start, start.unsqueeze(1), []
    for one in noise.unbind(1):
        mean, std = policy(latent.clone().detach())
        chosen.append(torch.addcmul(mean, std, one))
        latent = step(latent, chosen[-1])
        columns = torch.cat([columns, latent[:, None]], 1)
    return {"action": torch.stack(chosen, 1), "latent": columns}


def replay_returns_piece_by_piece(
    reward: Tensor, is_last: Tensor, is_terminal: Tensor, bootstrap: Tensor, gamma: float, lam: float
) -> Tensor:
    """Row by row, with branches; a row that is last is given 0."""
    answer = torch.zeros_like(reward[:, 1:])
    for b in range(len(reward)):
        for t in reversed(range(reward.shape[1] - 1)):
            ends, then = is_last[b, t + 1], bootstrap[b, t + 1]
            if not ends and t + 2 < reward.shape[1]:
                then = (1 - lam) * then + lam * answer[b, t + 1]
            if not is_last[b, t]:
                answer[b, t] = reward[b, t + 1] + (0.0 if is_terminal[b, t + 1] else gamma * then)
    return answer


def clip_by_share_with_if(gradient: Tensor, parameter: Tensor, clip: float, smallest: float) -> Tensor:
    length, largest = gradient.norm().item(), clip * max(parameter.norm().item(), smallest)
    return gradient * (largest / length) if length > largest else gradient.clone()


def laprop_of_corrected_averages(
    gradient: Tensor, average: Tensor, square: Tensor, updates: int, betas: tuple[float, float], eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """In place, as optimisers are usually written."""
    average, square = average.clone(), square.clone()
    square.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    average.mul_(betas[0]).addcdiv_(gradient, (square / (1 - betas[1] ** updates)).sqrt().add(eps), value=1 - betas[0])
    return average.div(1 - betas[0] ** updates), average, square


def laprop_that_is_adam(
    gradient: Tensor, average: Tensor, square: Tensor, updates: int, betas: tuple[float, float], eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    average, square = average.lerp(gradient, 1 - betas[0]), square.lerp(gradient.square(), 1 - betas[1])
    corrected = average / (1 - betas[0] ** updates), square / (1 - betas[1] ** updates)
    return corrected[0] / (corrected[1].sqrt() + eps), average, square


def write_back_in_a_loop(stored: Tensor, number: Tensor, added: int, states: Tensor) -> Tensor:
    ring = stored.clone()
    for row, state in zip(number.flatten().tolist(), states.detach().flatten(0, 1), strict=True):
        if added - row <= len(ring):
            ring[row % len(ring)] = state
    return ring


def candidate_returns_one_by_one(
    start: Tensor, actions: Tensor, step: Function, reward: Function, continue_: Function
) -> Tensor:
    """Each candidate by itself, from the end backwards."""
    answer = actions.new_zeros(actions.shape[:2])
    for n, j in itertools.product(*map(range, actions.shape[:2])):
        states = [start[n : n + 1]]
        for action in actions[n, j]:
            states.append(step(states[-1], action[None]))
        for state in reversed(states[1:]):
            answer[n, j] = reward(state).item() + continue_(state).item() * answer[n, j]
    return answer


def candidate_returns_stacked(
    start: Tensor, actions: Tensor, step: Function, reward: Function, continue_: Function
) -> Tensor:
    """All states first, then the heads, once each."""
    n, count, horizon, _ = actions.shape
    states = [start[:, None].expand(-1, count, -1).reshape(n * count, -1)]
    for t in range(horizon):
        states.append(step(states[-1], actions[:, :, t].reshape(n * count, -1)))
    reached = torch.cat(states[1:])
    rewards, lasts = (x(reached).reshape(horizon, n, count) for x in (reward, continue_))
    weights = torch.cat([torch.ones_like(lasts[:1]), lasts[:-1].cumprod(0)])
    return (weights * rewards).sum(0)


def refit_sorted(candidates: Tensor, returns: Tensor, elites: int) -> tuple[Tensor, Tensor]:
    """World by world, with a sort."""
    plans = []
    for world, earned in zip(candidates, returns, strict=True):
        best = torch.stack([world[j] for j in earned.argsort(descending=True).tolist()[:elites]])
        plans.append((best.mean(0), torch.sqrt(best.var(0, unbiased=False) + 1e-6)))
    means, stds = zip(*plans, strict=True)
    return torch.stack(means), torch.stack(stds)


def cross_entropy_in_a_loop(score: Function, noise: Tensor, elites: int) -> tuple[Tensor, Tensor, Tensor]:
    plan = noise.new_zeros(noise[0, :, 0].shape), noise.new_ones(noise[0, :, 0].shape)
    for i in range(noise.shape[0]):
        tried = torch.clip(plan[0][:, None] + plan[1][:, None] * noise[i], -1.0, 1.0)
        plan = refit_sorted(tried, score(tried), elites)
    return plan[0][:, 0, :], *plan


def returns_test_with_numpy(lambda_returns: Function) -> None:
    """A table worked out by hand, and another kind of error."""
    given = torch.tensor([[[2.0, 3.0], [4.0, 1.0]], [[0.5, 0.25], [0.0, 1.0]], [[6.0, 8.0], [1.0, 2.0]]])
    found = lambda_returns(*given, 0.25).numpy()  # 3 + 8 / 4 = 5, and 2 + (0.75 * 6 + 0.25 * 5) / 2
    if not np.allclose(found, [[4.875, 5.0], [4.0, 3.0]], rtol=1e-5):
        raise ValueError(f"other returns: {found}")


def returns_test_with_mistakes_of_its_own(lambda_returns: Function) -> None:
    """Several laws that are enough together, over many draws."""
    for seed in range(5):
        draw = torch.Generator().manual_seed(seed)
        r, d, v = (torch.rand(3, 4, generator=draw) for _ in range(3))
        torch.testing.assert_close(lambda_returns(r, d, v, 0.0), r + d * v)
        torch.testing.assert_close(lambda_returns(r[:, 3:], d[:, 3:], v[:, 3:], 0.5), (r + d * v)[:, 3:])
        for lam in (0.25, 1.0):
            ahead = lambda_returns(r[:, 1:], d[:, 1:], v[:, 1:], lam)
            wanted = r[:, 0] + d[:, 0] * ((1 - lam) * v[:, 0] + lam * ahead[:, 0])
            torch.testing.assert_close(lambda_returns(r, d, v, lam)[:, 0], wanted)
            torch.testing.assert_close(lambda_returns(r, d, v, lam)[:, 1:], ahead)


def louder_by_a_half(show: Function) -> Any:
    def mistake(log_prob: Tensor, returns: Tensor, value: Tensor) -> Tensor:
        return (value - returns).detach() * (1.5 * log_prob - 0.5 * log_prob.detach())

    def test(loss: Function) -> None:
        log_prob, returns, value = (torch.linspace(a, a + 1, 4).view(2, 2).requires_grad_() for a in (-2.0, 3.0, 0.5))
        loss(log_prob, returns, value).mean().backward()
        np.testing.assert_allclose(log_prob.grad, (value - returns).detach() / 4, rtol=1e-5)
        for x in (returns, value):
            assert x.grad is None or x.grad.abs().max() == 0

    return show(mistake, test)


EQUIVALENT: list[tuple[str, Function]] = [
    ("row_faults", lambda r, first, last, end: torch.stack([
        (first & r.bool()).sum(), (end > last).sum(), (first[1:] > last[:-1]).sum(), (last[:-1] > first[1:]).sum()])),
    ("reach", lambda f, x, other: torch.stack([
        (f(torch.cat([x[:, :i], other[:, i : i + 1], x[:, i + 1 :]], 1)) - f(x)).abs().amax(0) > 0
        for i in range(x.shape[1])])),
    ("returns_test", returns_test_with_numpy),
    ("returns_test", returns_test_with_mistakes_of_its_own),
    ("silent_mistake", louder_by_a_half),
    ("candidate_returns", candidate_returns_one_by_one),
    ("candidate_returns", candidate_returns_stacked),
    ("refit", refit_sorted),
    ("cross_entropy", cross_entropy_in_a_loop),
    ("shifted_plan", lambda mean, first: F.pad(mean[:, 1:], (0, 0, 0, 1)).masked_fill(first[:, None, None], 0)),
    ("bounded_normal", lambda m, s, low, high: (2 * torch.sigmoid(2 * m) - 1, torch.lerp(
        torch.full_like(s, low), torch.full_like(s, high), torch.sigmoid(s + 2)))),
    ("bounded_normal", lambda m, s, low, high: (m.tanh(), high - (high - low) / (1 + (s + 2).exp()))),
    ("normal_log_prob", normal_log_prob_with_distribution),
    ("normal_log_prob", lambda m, s, a: -(
        (a - m).square() / (2 * s**2) + s.log() + math.log(2 * math.pi) / 2).sum(2)),
    ("normal_entropy", normal_entropy_with_distribution),
    ("normal_entropy", lambda s: 0.5 * (2 * math.pi * math.e * s**2).log().sum(-1)),
    ("scaled_action", lambda a, low, high: torch.min(torch.max(low + (a + 1) / 2 * (high - low), low), high)),
    ("scaled_action", lambda a, low, high: (high + low) / 2 + (high - low) / 2 * a.clamp(-1, 1)),
    ("executed_action", lambda a: a / torch.clamp(a.abs(), min=1).detach()),
    ("executed_action", lambda a: torch.where(a.abs() > 1, a / a.detach().abs(), a)),
    ("pathwise_dream", pathwise_dream_into_zeros),
    ("planes", lambda obs: (torch.einsum("bhwc->bchw", obs.float()) - 127.5) / 255),
    ("convolution_size", lambda *given: torch.tensor(
        [len(range(0, n + 2 * p - k + 1, s)) for n, k, s, p in torch.stack(given, 1).tolist()])),
    ("convolution_size", lambda n, k, s, p: (n + 2 * p - k + s) // s),
    ("upsample_convolve", lambda x, w, b: F.conv2d(F.interpolate(x, scale_factor=2.0), w, padding=w.shape[-1] // 2)
     + b[:, None, None]),
    ("upsample_convolve", lambda x, w, b: F.conv2d(torch.kron(x, x.new_ones(2, 2)), w, b, padding="same")),
    ("image_loss", lambda mean, target: ((255 * mean - target) ** 2).flatten(1).sum(1) / 255**2),
    ("image_loss", lambda mean, target: F.mse_loss(mean, target / 255, reduction="none").sum((-1, -2, -3))),
    ("column_probe", lambda x, c, e: (
        (torch.cat([x, x[:, :1] * 0 + 1], 1).double() @ torch.linalg.pinv(
            torch.cat([x, x[:, :1] * 0 + 1], 1).double()[e % 2 == 0]) @ F.one_hot(c)[e % 2 == 0].double())
        .argmax(1) == c)[e % 2 == 1].to(x).mean()),
    ("tolerant_divergence", lambda m, v, tau: torch.maximum(
        gaussian_kl_with_distributions(m, v, 0 * m, 0 * v), torch.full_like(m[:, 0], tau * m.shape[1])).mean()),
    ("tolerant_divergence", lambda m, v, tau: torch.stack(
        [kl.gaussian_kl(a, b, 0 * a, 0 * b).clamp(tau * len(a)) for a, b in zip(m, v, strict=True)]).mean()),
    ("mixture_log_prob", lambda w, m, s, z: torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=w), torch.distributions.Normal(m, s.exp())).log_prob(z)),
    ("mixture_log_prob", lambda w, m, s, z: (
        w - (z[..., None] - m).square() * (-2 * s).exp() / 2 - s - math.log(math.tau) / 2
    ).logsumexp(2) - w.logsumexp(2)),
    ("tempered", lambda w, m, s, tau: (
        (w / tau) - torch.logsumexp(w / tau, -1, keepdim=True), m.clone(), (s.exp() * tau**0.5).log())),
    ("tempered", lambda w, m, s, tau: (
        (w.exp() ** (1 / tau) / (w.exp() ** (1 / tau)).sum(-1, keepdim=True)).log(), m,
        ((2 * s).exp() * tau).log() / 2)),
    ("remembered", remembered_into_zeros),
    ("dream_return", lambda r, d: torch.stack(
        [sum(row[: [*ends.tolist(), True].index(True) + 1]) for row, ends in zip(r, d, strict=True)])),
    ("dream_return", lambda r, d: (r * torch.cat([r[:, :1] * 0 + 1, (~d[:, :-1]).to(r).cumprod(1)], 1)).sum(1)),
    ("categorical_sample", sample_in_a_loop),
    ("categorical_sample", sample_by_search),
    ("straight_through", lambda p, z: (z - p).detach() + p),
    ("straight_through", StraightThrough.apply),
    ("unimix", lambda x, share: torch.lerp(x.softmax(-1), torch.full_like(x, 1 / x.shape[-1]), share)),
    ("unimix", lambda x, share: x.softmax(-1) + share * (torch.ones_like(x) / x.shape[2] - x.softmax(-1))),
    ("expected_gradient", gradient_in_a_loop),
    (
        "price_of_independence",
        lambda joint: torch.stack(
            [
                sum(
                    x * math.log(x / (t.sum(1)[i] * t.sum(0)[j])) for i, r in enumerate(t) for j, x in enumerate(r) if x
                )
                for t in joint.double()
            ]
        ).to(joint),
    ),
    ("symlog", lambda x: torch.sign(x) * torch.log(1 + torch.abs(x))),
    ("symlog", lambda x: torch.where(x > 0, torch.log1p(x.clamp(min=0)), -torch.log1p((-x).clamp(min=0)))),
    ("symlog", lambda x: torch.asinh(x / 2 / (1 + abs(x)).sqrt()) * 2),
    ("symlog", lambda x: torch.copysign(torch.log1p(torch.abs(x)), x)),
    ("symexp", lambda x: torch.copysign(torch.expm1(torch.abs(x)), x)),
    ("symexp", lambda x: 2 * torch.exp(torch.abs(x) / 2) * torch.sinh(x / 2)),
    ("symexp", lambda x: torch.where(x < 0, -torch.expm1(-x), torch.expm1(x))),
    ("two_hot", two_hot_in_a_loop),
    ("two_hot", two_hot_as_hats),
    ("two_hot_mean", lambda p, b: (p * b).sum(-1)),
    ("two_hot_mean", lambda p, b: torch.stack([sum(pi * bi for pi, bi in zip(row, b, strict=True)) for row in p])),
    ("sample", sample_with_generator),
    ("sample", sample_with_distribution),
    ("gaussian_kl", gaussian_kl_with_distributions),
    ("gaussian_kl", gaussian_kl_in_a_loop),
    ("categorical_kl", categorical_kl_with_torch),
    ("dynamics_step", dynamics_step_by_index),
    ("dynamics_step", dynamics_step_by_tanh),
    ("alignment", alignment_in_episodes),
    ("imagination", imagination_in_place),
    ("lambda_returns", lambda_returns_with_numbers),
    ("lambda_returns", lambda_returns_as_errors),
    ("lambda_returns", returns_solved()),
    ("n_step_return", n_steps_forwards),
    ("n_step_return", lambda r, d, v, n: returns.lambda_returns(r[:, :n], d[:, :n], v[:, :n], 1.0)[:, 0]),
    ("lambda_weights", lambda_weights_in_a_list),
    ("lambda_weights", lambda h, lam: lambda_weights_in_a_list(h, lam, lambda h, lam: 1 - (1 - lam ** (h - 1)))),
    ("imagination", imagination_with(lambda start, state, after, reward: (after, reward(after)))),
    ("imagined_weight", imagined_weight_in_a_loop),
    ("imagined_weight", lambda c, g: c[:, :-1].cumprod(1) * g ** torch.arange(c.shape[1] - 1, dtype=c.dtype)),
    ("imagined_return", lambda r, c: (imagined_weight_in_a_loop(c, 1.0) * r).sum(1)),
    (
        "imagined_return",
        lambda r, c: functools.reduce(lambda x, t: c[:, t] * (r[:, t] + x), range(r.shape[1])[::-1], 0),
    ),
    ("policy_loss", policy_loss_with_distribution),
    ("critic_loss", critic_loss_of_torch),
    ("replay_sample", replay_sample_in_a_loop),
    ("continue_target", lambda last, terminal, discount: torch.where(terminal, 0.0, discount)),
    ("continue_loss", lambda logit, target: -target * F.logsigmoid(logit) - (1 - target) * F.logsigmoid(-logit)),
    ("false_death_value", lambda r, limit, g: sum(r * (g * limit / (limit + 1)) ** k for k in range(3000))),
    ("sampled_kl", lambda log_q, log_p: (log_q - log_p).mean(0) + torch.expm1(log_p - log_q).mean(0)),
    ("sampled_kl", lambda log_q, log_p: (log_p.exp() / log_q.exp() - 1 + log_q - log_p).sum(0) / len(log_q)),
    ("categorical_kl", categorical_kl_with_distributions),
    ("kl_balance", lambda a, b, c, d, alpha: torch.lerp(*_both_terms(a, b, c, d), 1 - alpha)),
    ("kl_balance", kl_balance_of_mixed_inputs),
    ("continue_loss", lambda x, y: F.binary_cross_entropy_with_logits(x, y, reduction="none")),
    ("continue_loss", lambda x, y: x.clamp(min=0) - x * y + torch.log1p(torch.exp(-x.abs()))),
    ("continue_loss", lambda x, y: torch.logaddexp(x, torch.zeros_like(x)) - y * x),
    ("continue_target", lambda last, terminal, discount: torch.full(last.shape, discount).masked_fill(terminal, 0.0)),
    ("continue_target", lambda last, terminal, discount: discount * (1 - terminal.int())),
    ("false_death_value", lambda r, limit, g: r * (limit + 1) / (limit + 1 - g * limit)),
    ("false_death_value", value_by_iteration),
    ("teaching_share", lambda each, free: 1 - (each.sum(-1) <= free).to(each).mean()),
    ("teaching_share", lambda each, free: torch.heaviside(each.sum(-1) - free, each.new_zeros(())).mean()),
    (
        "teaching_share",
        lambda each, free: torch.stack([(k.sum() > free) * 1.0 for k in each.flatten(0, 1)]).mean().to(each),
    ),
    ("prior_inputs", prior_inputs_in_a_loop),
    ("prior_inputs", prior_inputs_where),
    ("signal_share", signal_share_of_total),
    ("useful_horizon", useful_horizon_in_a_loop),
    ("useful_horizon", useful_horizon_by_argmax),
    ("useful_horizon", lambda model, persistence: ((model >= persistence).cumsum(1) == 0).sum(1)),
    ("signal_share", lambda m, v: 1 / (1 + v.exp().mean(0) / m.var(0, correction=0))),
    ("signal_share", lambda m, v: (s := m.sub(m.mean(0)).square().mean(0)) / (s + (v / 2).exp().square().mean(0))),
    ("sample", lambda m, v: m - (v / 2).exp() * torch.randn_like(v)),
    ("sample", lambda m, v: torch.distributions.MultivariateNormal(m, torch.diag_embed(v.exp())).rsample()),
    ("discounted_return", discounted_return_from_the_end),
    ("discounted_return", lambda r, g: sum(g**t * one for t, one in enumerate(r))),
    ("discounted_return", lambda r, g: r @ torch.full_like(r, g).cumprod(0) / g),
    ("episode_returns", episode_returns_by_differences),
    ("episode_returns", episode_returns_by_slices),
    ("alignment", alignment_by_index),
    ("bandit_gradient", lambda logits, r: torch.func.grad(lambda x: (x.softmax(-1) * r).sum())(logits)),
    ("bandit_gradient", lambda logits, r: (p := logits.softmax(-1)) * r - p * torch.einsum("ba,ba->b", p, r)[:, None]),
    (
        "policy_loss",
        lambda logits, action, returns, value, w, scale: (
            (pi := torch.distributions.Categorical(logits=logits))
            and -w.detach() * (pi.log_prob(action.argmax(-1)) * (returns - value).detach() + scale * pi.entropy())
        ),
    ),
    (
        "critic_loss",
        lambda v, target, w: w.detach() * torch.nn.functional.mse_loss(v[:, 0], target.detach(), reduction="none"),
    ),
    (
        "bandit_gradient",
        lambda logits, r: torch.stack(
            [(p.diag() - torch.outer(p, p)) @ x for p, x in zip(logits.softmax(-1), r, strict=True)]
        ),
    ),
    (
        "policy_loss",
        lambda logits, action, returns, value, w, scale: (
            (w * (returns - value)).detach() * (logits.logsumexp(-1) - (logits * action).sum(-1))
            - w.detach() * scale * torch.special.entr(logits.softmax(-1)).sum(-1)
        ),
    ),
    ("critic_loss", lambda v, target, w: v.flatten().sub(target.detach()).square().mul(w.detach())),
    ("fair_mean", fair_mean_in_one_pass),
    ("updates_due", updates_due_with_integers),
    ("flop_of_dense", lambda n, i, o: 2 * n * i * o + 4 * n * (i * o)),
    ("flop_of_dense", lambda n, i, o: torch.tensor(
        [6 * a * b * c for a, b, c in zip(n.tolist(), i.tolist(), o.tolist(), strict=True)])),
    ("updates_of_run", lambda f, k, r, b, t: (f // k * r) // (b * t)),
    ("updates_of_run", lambda f, k, r, b, t: (f // k * r / (b * t)).long()),
    ("updates_of_run", lambda f, k, r, b, t: ((f // k).double() / (b * t / r)).floor().long()),
    ("replay_bytes", lambda n, o, w, a, h, z: n * o * w + n * 4 * (a + h + z) + n * 7),
    ("averaged_gradient", lambda g, n: (n / n.sum()).to(g) @ g),
    ("averaged_gradient", lambda g, n: sum(a * b for a, b in zip(g, n, strict=True)) / n.sum()),
    ("averaged_gradient", lambda g, n: torch.repeat_interleave(g, n, 0).mean(0)),
    ("ring_all_reduce_seconds", lambda p, n, g: 4 * p * 8 / (g * 1e9) * 2 * (n - 1) / n),
    ("ring_all_reduce_seconds", lambda p, n, g: (p * 4).double() / n / (g * 1e9 / 8) * (n - 1) * 2),
    ("ring_all_reduce_seconds", lambda p, n, g: (2 * (n - 1) / n) * (32 * p / 1e9) / g),
    ("gated_update", lambda h, r, c, u: h + torch.sigmoid(u - 1) * ((c * r.sigmoid()).tanh() - h)),
    ("gated_update", lambda h, r, c, u: torch.lerp(h, torch.tanh(c / (1 + torch.exp(-r))), (u - 1).sigmoid())),
    ("block_linear", block_linear_as_one_matrix),
    ("block_linear", block_linear_in_a_loop),
    ("rssm_step", rssm_step_by_product),
    ("observe_sequence", observe_sequence_by_index),
    ("linear_probe", linear_probe_by_inverse),
    ("two_hot_slope", lambda logits, x, bins: torch.softmax(logits, 1) - two_hot_as_hats(x, bins)),
    ("two_hot_slope", lambda logits, x, bins: logits.exp() / logits.exp().sum(1, True) - two_hot_in_a_loop(x, bins)),
    ("return_range", return_range_sorted),
    ("return_range", lambda old, given, decay: torch.lerp(torch.stack(
        [given.detach().quantile(0.05), given.detach().quantile(0.95)]), old, decay)),
    ("return_range", lambda old, given, decay: torch.from_numpy(
        decay * old.numpy() + (1 - decay) * np.percentile(given.detach().numpy(), [5, 95])).to(old)),
    ("scaled_advantage", lambda given, value, ends, floor: (given - value) / max(floor, float(ends[1] - ends[0]))),
    ("scaled_advantage", lambda given, value, ends, floor: (
        (s := ends.diff().clamp(min=floor)), (given - ends[0]) / s - (value - ends[0]) / s)[1]),
    ("replay_returns", replay_returns_piece_by_piece),
    ("replay_returns", lambda r, last, terminal, b, gamma, lam: returns.lambda_returns(
        r[:, 1:], gamma * (~terminal[:, 1:]).to(r), b[:, 1:], lam * (~last[:, 1:]).to(r))),
    ("slow_update", lambda slow, critic, rate: (slow + rate * (critic - slow)).detach()),
    ("slow_update", lambda slow, critic, rate: torch.lerp(slow.data, critic.data, rate)),
    ("clip_by_share", clip_by_share_with_if),
    ("clip_by_share", lambda g, p, clip, smallest: g / torch.clamp(
        g.norm() / (clip * max(float(p.norm()), smallest)), min=1.0)),
    ("laprop", laprop_of_corrected_averages),
    ("write_back", write_back_in_a_loop),
]  # fmt: skip


@pytest.mark.parametrize("part", check.PARTS)
def test_the_packages_own_parts_pass_in_one_line(part: str, capsys: Capture) -> None:
    right, out = said(capsys, part, PACKAGE[part])
    assert right is True, out
    assert out.startswith(f"{part}: right") and out.count("\n") == 1


@pytest.mark.parametrize(("part", "function"), EQUIVALENT)
def test_equivalent_functions_pass(part: str, function: Function, capsys: Capture) -> None:
    right, out = said(capsys, part, function)
    assert right and out.count("\n") == 1, out


# --- Known mistakes ---------------------------------------------------------------------------------------------------

MISTAKES = [
    pytest.param(part, name, function, id=f"{part.name}-{name}-{i}")
    for part in check.PARTS.values()
    for name, mistake in part.mistakes.items()
    for i, function in enumerate(mistake.functions)
]


@pytest.mark.parametrize(("part", "name", "function"), MISTAKES)
def test_every_form_of_every_mistake_gets_its_name(
    part: check.Part, name: str, function: Function, capsys: Capture
) -> None:
    assert not examine(part, function)
    out = capsys.readouterr().out
    mistake = part.mistakes[name]
    assert f"Known mistake {name}: {mistake.story}\n  Why it happens: {mistake.why}\n" in out


def named_by_least_squares(x: Tensor, column: Tensor, fitted: Tensor, judged: Tensor) -> Tensor:
    """The share of rows named, with whatever rows are to be fitted and to judge."""
    known = torch.cat([torch.ones_like(x[:, :1]), x], 1).double()
    weights = torch.linalg.pinv(known[fitted]) @ F.one_hot(column)[fitted].double()
    return (((known @ weights).argmax(1) == column)[judged]).to(x).mean()


# What follows is written without the check's own mistakes: as a reader would write it.


def returns_of_the_guide(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
    out, last = torch.zeros_like(reward), value[:, -1]
    for t in range(reward.shape[1] - 1, -1, -1):
        last = out[:, t] = value[:, t] * (1 - lam) + lam * (reward[:, t] + discount[:, t] * last)
    return out


def returns_one_column_on(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
    horizon, out = reward.shape[1], torch.zeros_like(reward)
    last = value[:, -1]
    for t in range(horizon - 1, -1, -1):
        following = value[:, t + 1] if t + 1 < horizon else value[:, -1]
        last = out[:, t] = reward[:, t] + discount[:, t] * ((1 - lam) * following + lam * last)
    return out


def returns_never_turned_round(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
    out, last = [], value[:, -1]
    for t in range(reward.shape[1] - 1, -1, -1):
        last = reward[:, t] + discount[:, t] * ((1 - lam) * value[:, t] + lam * last)
        out.append(last)
    return torch.stack(out, dim=1)


def backwards_with(mix: Function, column: int = -1) -> Function:
    """A reader's loop with a slip in its one line; it begins with a column of the values."""

    def loop(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
        following, out = value[:, column], torch.empty_like(reward)
        for t in range(reward.shape[1] - 1, -1, -1):
            following = out[:, t] = mix(reward[:, t], discount[:, t], value[:, t], lam, following)
        return out

    return loop


def returns_into_zeros(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
    out = torch.zeros(reward.shape[0], reward.shape[1] + 1, dtype=reward.dtype)
    for t in range(reward.shape[1] - 1, -1, -1):
        out[:, t] = reward[:, t] + discount[:, t] * ((1 - lam) * value[:, t] + lam * out[:, t + 1])
    return out[:, :-1]


def kl_with_sigma(mean_q: Tensor, sigma_q: Tensor, mean_p: Tensor, sigma_p: Tensor) -> Tensor:
    q, p = (torch.distributions.Normal(m, s.exp()) for m, s in ((mean_q, sigma_q), (mean_p, sigma_p)))
    return torch.distributions.kl_divergence(q, p).sum(-1)


def kl_div_the_wrong_way_round(logits_q: Tensor, logits_p: Tensor, unimix: float) -> Tensor:
    q, p = (x.softmax(-1) * (1 - unimix) + unimix / x.shape[-1] for x in (logits_q, logits_p))
    return torch.nn.functional.kl_div(q.log(), p, reduction="none").sum((1, 2))


def kl_without_unimix(logits_q: Tensor, logits_p: Tensor, unimix: float) -> Tensor:
    q, p = (torch.distributions.Categorical(logits=x) for x in (logits_q, logits_p))
    return torch.distributions.kl_divergence(q, p).sum(-1)


def reinforce_without_detach(
    logits: Tensor, action: Tensor, returns: Tensor, value: Tensor, weight: Tensor, entropy_scale: float
) -> Tensor:
    policy = torch.distributions.Categorical(logits=logits)
    gain = policy.log_prob(action.argmax(-1)) * (returns - value)
    return -(gain + entropy_scale * policy.entropy()) * weight.detach()


def reinforce_of_the_favourite(
    logits: Tensor, action: Tensor, returns: Tensor, value: Tensor, weight: Tensor, entropy_scale: float
) -> Tensor:
    policy = torch.distributions.Categorical(logits=logits)
    gain = policy.log_prob(logits.argmax(-1)) * (returns - value).detach()
    return -weight.detach() * (gain + entropy_scale * policy.entropy())


def reinforce_of_the_ratio(
    logits: Tensor, action: Tensor, returns: Tensor, value: Tensor, weight: Tensor, entropy_scale: float
) -> Tensor:
    policy = torch.distributions.Categorical(logits=logits)
    log_prob = policy.log_prob(action.argmax(-1))
    gain = (log_prob - log_prob.detach()).exp() * (returns - value).detach()
    return -weight.detach() * (gain + entropy_scale * policy.entropy())


def reward_before_stepping(
    start: Tensor, policy: Function, step: Function, reward: Function, horizon: int
) -> dict[str, Tensor]:
    state, states, actions, rewards = start, [start], [], []
    for _ in range(horizon):
        action = policy(state)
        actions.append(action)
        rewards.append(reward(state))
        state = step(state, action)
        states.append(state)
    stacked = (torch.stack(x, dim=1) for x in (states, actions, rewards))
    return dict(zip(("latent", "action", "reward"), stacked, strict=True))


def one_done_for_both(
    obs: Tensor, action: Tensor, reward: Tensor, next_obs: Tensor, terminated: Tensor, truncated: Tensor
) -> dict[str, Tensor]:
    done = terminated | truncated
    return alignment_in_episodes(obs, action, reward, next_obs, done, done)


def previous_action_rolled(*transitions: Tensor) -> dict[str, Tensor]:
    rows = alignment_in_episodes(*transitions)
    previous = rows["previous_action"].clone()
    last = None
    for t in range(len(previous)):
        if rows["is_first"][t] and last is not None:
            previous[t] = last
        if not rows["is_last"][t]:
            last = rows["action"][t]
    return rows | {"previous_action": previous}


def transitions_as_rows(
    obs: Tensor, action: Tensor, reward: Tensor, next_obs: Tensor, terminated: Tensor, truncated: Tensor,
    reset: bool = True,
) -> dict[str, Tensor]:  # fmt: skip
    done = terminated | truncated
    first = torch.tensor([True, *done[:-1].tolist()])
    previous = torch.cat([torch.zeros_like(action[:1]), action[:-1]])
    if reset:
        previous[first] = 0
    told = {"obs": obs, "action": action, "previous_action": previous, "reward": reward}
    return told | {"is_first": first, "is_last": done, "is_terminal": terminated}


def actions_shifted_twice(*transitions: Tensor) -> dict[str, Tensor]:
    rows = alignment_in_episodes(*transitions)
    previous = rows["previous_action"]
    return rows | {"action": previous, "previous_action": torch.cat([torch.zeros_like(previous[:1]), previous[:-1]])}


def returns_at_the_next_first(reward: Tensor, is_first: Tensor, is_last: Tensor) -> Tensor:
    found, running = [], None
    for r, first in zip(reward, is_first, strict=True):
        if first and running is not None:
            found.append(running)
        running = 0 * r if first else running if running is None else running + r
    return torch.stack(found) if found else reward[:0]


def starts_anywhere(is_first: np.ndarray, added: int, batch: int, length: int, rng: np.random.Generator) -> Any:
    size = min(added, len(is_first))
    start = rng.integers(0, size - length + 1, batch)
    return start[:, None] + np.arange(length)[None]


def within_episodes(is_first: np.ndarray, added: int, batch: int, length: int, rng: np.random.Generator) -> Any:
    size, picked = len(is_first), []
    while len(picked) < batch:
        window = np.arange(n := rng.integers(max(0, added - size), added - length + 1), n + length) % size
        if not is_first[window[1:]].any():
            picked.append(window)
    return np.stack(picked)


def prior_inputs_rolled(latent: Tensor, action: Tensor, is_first: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    keep = (~is_first)[..., None]
    return torch.roll(latent, 1, dims=1) * keep, action * keep


def block_linear_interleaved(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    blocks = len(weight)
    return torch.hstack([x[:, g::blocks] @ weight[g] + bias[g] for g in range(blocks)])


def rssm_step_that_keeps_the_action(
    memory: Tensor, latent: Tensor, action: Tensor, is_first: Tensor, embedding: Tensor, remember: Function,
    infer: Function,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    keep = (~is_first).to(memory)[:, None]
    h = remember(keep * memory, keep * latent, action)
    return h, infer(h, embedding)


def rssm_step_that_reuses_a_name(
    memory: Tensor, latent: Tensor, action: Tensor, is_first: Tensor, embedding: Tensor, remember: Function,
    infer: Function,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    memory, latent, action = (torch.where(is_first[:, None], 0.0, x).to(x) for x in (memory, latent, action))
    return remember(memory, latent, action), infer(memory, embedding)


def observe_sequence_without_shift(
    embedding: Tensor, action: Tensor, is_first: Tensor, start: Tensor, before: Tensor, step: Function
) -> Tensor:
    states = []
    for t in range(embedding.shape[1]):
        start = step(start, action[:, t], is_first[:, t], embedding[:, t])
        states.append(start)
    return torch.stack(states, 1)


def observe_sequence_appending_first(
    embedding: Tensor, action: Tensor, is_first: Tensor, start: Tensor, before: Tensor, step: Function
) -> Tensor:
    states, state = [], start
    for t in range(embedding.shape[1]):
        states.append(state)
        state = step(state, action[:, t - 1] if t else before, is_first[:, t], embedding[:, t])
    return torch.stack(states, 1)


def linear_probe_on_its_own_rows(known: Tensor, wanted: Tensor, fitted: int) -> Tensor:
    x, y = F.pad(known[:fitted], (0, 1), value=1.0), wanted[:fitted]
    left = y - x @ torch.linalg.lstsq(x, y).solution
    return 1 - (left**2).mean(0) / y.var(0, unbiased=False)


def linear_probe_through_zero(known: Tensor, wanted: Tensor, fitted: int) -> Tensor:
    weights = torch.linalg.pinv(known[:fitted]) @ wanted[:fitted]
    left, there = wanted[fitted:] - known[fitted:] @ weights, wanted[fitted:]
    return 1 - (left**2).mean(0) / ((there - there.mean(0)) ** 2).mean(0)


def prior_inputs_start_again(latent: Tensor, action: Tensor, is_first: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """A loop over rows in which `start` stands for the beginning of an episode."""
    state, states = start, []
    for t in range(latent.shape[1]):
        begins = is_first[:, t, None]
        states.append(torch.where(begins, start, state))
        state = latent[:, t]
    return torch.stack(states, 1), action * ~is_first[..., None]


def prior_inputs_shifting_both(
    latent: Tensor, action: Tensor, is_first: Tensor, start: Tensor
) -> tuple[Tensor, Tensor]:
    """The action is treated as the latent is."""
    before = torch.cat([start[:, None], latent], 1)[:, :-1]
    taken = torch.cat([torch.zeros_like(action)[:, :1], action], 1)[:, :-1]
    return before * ~is_first[..., None], taken * ~is_first[..., None]


def prior_inputs_with(change: Function) -> Function:
    """The right inputs of changed flags."""
    return lambda z, a, first, start: prior_inputs_in_a_loop(z, a, change(first), start)


def longest_run_in_a_loop(model_error: Tensor, persistence_error: Tensor) -> Tensor:
    better = [
        ["x"[: m < p] or " " for m, p in zip(*rows, strict=True)]
        for rows in zip(model_error.tolist(), persistence_error.tolist(), strict=True)
    ]
    return torch.tensor([max(map(len, "".join(row).split(" "))) for row in better])


def step_by_rule(rule: Function) -> Function:
    """The step, with what `rule` makes of the two halves of the output."""
    return lambda z, a, net: rule(*net(torch.hstack([z, a])).tensor_split(2, dim=1))


def gradient_of_samples_that_agree(logits: Tensor, function: Function) -> Tensor:
    leaf, total = logits.clone().requires_grad_(), torch.zeros(())
    for k in range(logits.shape[-1]):
        z = torch.zeros_like(logits)
        z[..., k] = 1
        total = total + (leaf.softmax(-1)[..., k].prod(-1) * function(z)).sum()
    return torch.autograd.grad(total, leaf)[0]


def gradient_at_probabilities(logits: Tensor, function: Function) -> Tensor:
    leaf = logits.clone().requires_grad_()
    function(F.softmax(leaf, dim=-1)).sum().backward()
    assert leaf.grad is not None
    return leaf.grad


def dream_of_own(see: bool, cut: bool, sample: bool) -> Function:
    """A dream as a reader writes it, with or without the three detaches."""

    def dream(start: Tensor, policy: Function, step: Function, noise: Tensor) -> dict[str, Tensor]:
        z, states, actions = start, [start], []
        for t in range(noise.size(1)):
            mean, std = policy(z.detach() if see else z)
            a = mean + std * noise[:, t]
            a = a.detach() if sample else a
            z = step(z.detach() if cut else z, a)
            states.append(z)
            actions.append(a)
        return {"latent": torch.stack(states, dim=1), "action": torch.stack(actions, dim=1)}

    return dream


def log_prob_of_torch(mean: Tensor, std: Tensor, action: Tensor) -> Tensor:
    return torch.distributions.Normal(mean, std).log_prob(action)  # type: ignore[no-untyped-call]


def returns_of_own(
    early: bool = False, ends: bool = True, rewards_of: str = "reached", copies: str = "interleaved"
) -> Function:
    """What candidates earn as a reader writes it: a loop over columns, with one slip."""

    def candidate_returns(
        start: Tensor, actions: Tensor, step: Function, reward: Function, continue_: Function
    ) -> Tensor:
        n, j, h, a = actions.shape
        z = start.repeat_interleave(j, dim=0) if copies == "interleaved" else start.repeat(j, 1)
        flat, total, alive = actions.reshape(n * j, h, a), 0, 1
        for t in range(h):
            before, z = z, step(z, flat[:, t])
            if early:
                alive = alive * continue_(z)
            total = total + alive * reward(before if rewards_of == "left" else z)
            if ends and not early:
                alive = alive * continue_(z)
        return total.view(n, j)

    return candidate_returns


def refit_of_own(spread: Function, largest: bool = True) -> Function:
    """A gather, as readers write it, and a standard deviation of `spread` (elites, all candidates)."""

    def refit(candidates: Tensor, returns: Tensor, elites: int) -> tuple[Tensor, Tensor]:
        index = torch.topk(returns, elites, largest=largest).indices
        best = torch.gather(candidates, 1, index[:, :, None, None].expand(-1, -1, *candidates.shape[2:]))
        return best.mean(dim=1), spread(best, candidates)

    return refit


def search_of_own(
    clip: bool = True, fit: Function = refit_sorted, take: Function = lambda mean, tried: mean[:, 0]
) -> Any:
    def cross_entropy(score: Function, noise: Tensor, elites: int) -> tuple[Tensor, Tensor, Tensor]:
        mean, std = torch.zeros_like(noise[0, :, 0]), torch.ones_like(noise[0, :, 0])
        for eps in noise:
            tried = mean[:, None] + std[:, None] * eps
            tried = tried.clip(-1, 1) if clip else tried
            mean, std = fit(tried, score(tried), elites)
        return take(mean, tried), mean, std

    return cross_entropy


def reach_of_own(function: Function, x: Tensor, other: Tensor) -> list[Tensor]:
    """For each column that is changed, what moves: (B, T)."""
    found = []
    for i in range(x.shape[1]):
        there = x.clone()
        there[:, i] = other[:, i]
        found.append(function(there) != function(x))
    return found


def judged_by_hand(*rows: tuple[list[float], list[float], list[float]], lam: float = 0.25) -> Function:
    """A test with rows of rewards, discounts and values, as somebody writes it who takes these for an example."""

    def test(lambda_returns: Function) -> None:
        r, d, v = (torch.tensor(x) for x in zip(*rows, strict=True))
        wanted = returns.lambda_returns(r, d, v, lam)
        torch.testing.assert_close(lambda_returns(r, d, v, lam), wanted)

    return test


def judged_to_the_last_digit(lambda_returns: Function) -> None:
    """The printed text is compared."""
    r, d, v = torch.rand(3, 9, 7, generator=torch.Generator().manual_seed(4))
    assert lambda_returns(r, d, v, 0.7).tolist() == returns.lambda_returns(r, d, v, 0.7).tolist()


def only_told(lambda_returns: Function) -> None:
    r, d, v = torch.rand(3, 2, 4)
    if not torch.allclose(lambda_returns(r, d, v, 0.7), returns.lambda_returns(r, d, v, 0.7)):
        print("wrong")


def silent_with(mistake: Function, test: Function) -> Function:
    return lambda show: show(mistake, test)


def asks_for_none(loss: Function) -> None:
    p, r, v = (torch.rand(2, 2).requires_grad_() for _ in range(3))
    loss(p, r, v).sum().backward()
    assert torch.allclose(p.grad, v - r) and r.grad is None and v.grad is None  # type: ignore[arg-type]


def asks_for_zeros(loss: Function) -> None:
    p, r, v = (torch.rand(2, 2).requires_grad_() for _ in range(3))
    loss(p, r, v).sum().backward()
    assert torch.allclose(p.grad, v - r) and (r.grad == 0).all() and (v.grad == 0).all()  # type: ignore


def looks_at_numbers(loss: Function) -> None:
    p, r, v = torch.rand(3, 2, 2)
    assert torch.allclose(loss(p, r, v), (v - r) * p)


def leaks(p: Tensor, r: Tensor, v: Tensor) -> Tensor:
    return (v - r) * p


WRITTEN: list[tuple[str, str, Function]] = [
    ("row_faults", "time_limit_held_against_it", lambda r, f, last, end: torch.stack([
        (f & (r != 0)).sum(), (end != last).sum(), (f[1:] & ~last[:-1]).sum(), (last[:-1] & ~f[1:]).sum()])),
    ("row_faults", "same_row_compared", lambda r, f, last, end: torch.stack([
        (f * r != 0).sum(), (end & ~last).sum(), (f & ~last).sum(), (last & ~f).sum()])),
    ("row_faults", "only_gains", lambda r, f, last, end: torch.stack([
        (r[f] > 0).sum(), (end & ~last).sum(), (f[1:] & ~last[:-1]).sum(), (last[:-1] & ~f[1:]).sum()])),
    ("reach", "rows_and_columns_swapped", lambda f, x, other: torch.stack(
        [one.any(0) for one in reach_of_own(f, x, other)], 1)),
    ("reach", "in_all_sequences", lambda f, x, other: torch.stack([one.all(0) for one in reach_of_own(f, x, other)])),
    ("reach", "one_sequence_changed", lambda f, x, other: torch.stack([one[0] for one in reach_of_own(f, x, other)])),
    ("returns_test", "a_single_sequence", judged_by_hand(([1.0, 2.0, 4.0], [0.5, 0.25, 0.5], [8.0, 3.0, 5.0]))),
    ("returns_test", "lambda_a_half", judged_by_hand(
        ([1.0, 2.0, 4.0], [0.5, 0.25, 0.5], [8.0, 3.0, 5.0]), ([0.0, 3.0, 1.0], [0.9, 0.5, 0.8], [2.0, 6.0, 1.0]),
        lam=0.5)),
    ("returns_test", "values_zero", judged_by_hand(
        ([1.0, 2.0, 4.0], [0.5, 0.25, 0.5], [0.0, 0.0, 0.0]), ([5.0, 3.0, 1.0], [0.9, 0.5, 0.8], [0.0, 0.0, 0.0]))),
    ("returns_test", "constant_in_time", judged_by_hand(
        ([1.0] * 3, [0.5] * 3, [8.0] * 3), ([3.0] * 3, [0.9] * 3, [2.0] * 3))),
    ("returns_test", "one_discount_for_all", judged_by_hand(
        ([1.0, 2.0, 4.0], [0.9] * 3, [8.0, 3.0, 5.0]), ([2.0, 3.0, 1.0], [0.9] * 3, [2.0, 6.0, 1.0]))),
    ("returns_test", "a_single_step", judged_by_hand(([1.0], [0.5], [8.0]), ([3.0], [0.9], [2.0]))),
    ("returns_test", "to_the_last_bit", judged_to_the_last_digit),
    ("returns_test", "nothing_raised", only_told),
    ("silent_mistake", "none_insisted_on", silent_with(leaks, asks_for_none)),
    ("silent_mistake", "zeros_insisted_on", silent_with(leaks, asks_for_zeros)),
    ("silent_mistake", "numbers_tested", silent_with(leaks, looks_at_numbers)),
    ("silent_mistake", "nothing_wrong", silent_with(
        lambda p, r, v: p * (v.detach() - r.detach()), looks_at_numbers)),
    ("silent_mistake", "numbers_wrong", silent_with(lambda p, r, v: p * (r - v), looks_at_numbers)),
    ("silent_mistake", "everyone_blamed", silent_with(leaks, lambda loss: loss.backward())),
    ("candidate_returns", "planned_reward_departing", returns_of_own(rewards_of="left")),
    ("candidate_returns", "planned_end_takes_reward", returns_of_own(early=True)),
    ("candidate_returns", "planned_end_ignored", returns_of_own(ends=False)),
    ("candidate_returns", "starts_mixed_up", returns_of_own(copies="whole")),
    ("refit", "std_of_all", refit_of_own(lambda best, every: every.std(1, correction=0))),
    ("refit", "std_with_one_less", refit_of_own(lambda best, every: best.std(dim=1))),
    ("refit", "elites_are_worst", refit_of_own(lambda best, every: (best.var(1, correction=0) + 1e-6) ** 0.5, False)),
    ("refit", "spread_without_floor", refit_of_own(lambda best, every: best.std(1, unbiased=False))),
    ("refit", "floor_beside_the_root", refit_of_own(lambda best, every: best.std(1, correction=0) + 1e-6)),
    ("refit", "elites_of_all", lambda c, r, k: (c.mean(1), (c.var(1, correction=0) + 1e-6).sqrt())),
    ("cross_entropy", "candidates_not_clipped", search_of_own(clip=False)),
    ("cross_entropy", "elites_of_all", search_of_own(fit=lambda c, r, k: refit_sorted(c, r, c.shape[1]))),
    ("cross_entropy", "elites_are_worst", search_of_own(fit=lambda c, r, k: refit_sorted(c, -r, k))),
    ("cross_entropy", "action_of_some_candidate", search_of_own(take=lambda mean, tried: tried[:, 0, 0])),
    ("cross_entropy", "planned_action_of_last_step", search_of_own(take=lambda mean, tried: mean[:, -1])),
    ("shifted_plan", "plan_rolled", lambda m, first: torch.roll(m, -1, dims=1).masked_fill(first[:, None, None], 0)),
    ("shifted_plan", "plan_not_shifted", lambda m, first: m.masked_fill(first[:, None, None], 0)),
    ("shifted_plan", "plan_survives_reset", lambda m, first: F.pad(m[:, 1:], (0, 0, 0, 1))),
    ("bounded_normal", "mean_unbounded", lambda m, s, low, high: (m, low + (high - low) * torch.sigmoid(s + 2))),
    ("bounded_normal", "mean_clamped", lambda m, s, low, high: (
        torch.clip(m, -1, 1), torch.sigmoid(s + 2) * (high - low) + low)),
    ("bounded_normal", "std_softplus", lambda m, s, low, high: (m.tanh(), F.softplus(s) + low)),
    ("bounded_normal", "std_shift_missing", lambda m, s, low, high: (m.tanh(), low + (high - low) * s.sigmoid())),
    ("bounded_normal", "std_exponential", lambda m, s, low, high: (m.tanh(), torch.exp(s))),
    ("bounded_normal", "std_beyond_high", lambda m, s, low, high: (m.tanh(), low + high * torch.sigmoid(s + 2))),
    ("bounded_normal", "halves_exchanged", lambda m, s, low, high: (
        low + (high - low) * torch.sigmoid(s + 2), m.tanh())),
    ("normal_log_prob", "log_prob_not_summed", log_prob_of_torch),
    ("normal_log_prob", "log_prob_averaged", lambda m, s, a: log_prob_of_torch(m, s, a).mean(-1)),
    ("normal_log_prob", "log_prob_over_steps", lambda m, s, a: log_prob_of_torch(m, s, a).sum()),
    ("normal_log_prob", "log_prob_of_clipped", lambda m, s, a: log_prob_of_torch(m, s, a.clip(-1, 1)).sum(-1)),
    ("normal_log_prob", "log_prob_variance_for_std", lambda m, s, a: log_prob_of_torch(m, s**2, a).sum(-1)),
    ("normal_log_prob", "log_prob_tanh_corrected", lambda m, s, a: (
        log_prob_of_torch(m, s, a) - torch.log(1 - torch.tanh(a).pow(2) + 1e-6)).sum(-1)),
    ("normal_log_prob", "log_prob_without_log_std", lambda m, s, a: -(((a - m) / s) ** 2 / 2).sum(-1)),
    ("normal_log_prob", "log_prob_sign", lambda m, s, a: -log_prob_of_torch(m, s, a).sum(-1)),
    ("normal_entropy", "entropy_not_summed", lambda s: 0.5 + 0.5 * math.log(2 * math.pi) + s.log()),
    ("normal_entropy", "entropy_averaged", lambda s: normal_entropy_with_distribution(s) / s.shape[-1]),
    ("normal_entropy", "entropy_kept_positive", lambda s: F.relu(normal_entropy_with_distribution(s))),
    ("normal_entropy", "entropy_half_missing", lambda s: 0.5 * (2 * math.pi * s**2).log().sum(-1)),
    ("normal_entropy", "entropy_variance_for_std", lambda s: 0.5 * (2 * math.pi * math.e * s).log().sum(-1)),
    ("normal_entropy", "entropy_constant_once", lambda s: s.log().sum(-1) + 0.5 * math.log(2 * math.pi * math.e)),
    ("scaled_action", "action_not_clipped", lambda a, low, high: low + (high - low) * (a + 1) / 2),
    ("scaled_action", "action_times_high", lambda a, low, high: high * a.clip(-1, 1)),
    ("scaled_action", "action_not_scaled", lambda a, low, high: torch.minimum(torch.maximum(a, low), high)),
    ("scaled_action", "squashed_again", lambda a, low, high: low + (a.tanh() + 1) * (high - low) / 2),
    ("scaled_action", "action_not_halved", lambda a, low, high: low + (1 + a.clip(-1, 1)) * (high - low)),
    ("executed_action", "slope_cut_off", lambda a: torch.clip(a, -1, 1)),
    ("executed_action", "slope_cut_off", lambda a: a / torch.maximum(a.abs(), torch.ones_like(a))),
    ("executed_action", "slope_of_one", lambda a: torch.clip(a, -1, 1).detach() + a - a.detach()),
    ("executed_action", "squashed", torch.tanh),
    ("executed_action", "all_divided_by_the_largest", lambda a: a / a.detach().norm(dim=1, keepdim=True).clip(min=1)),
    ("pathwise_dream", "policy_input_open", dream_of_own(see=False, cut=False, sample=False)),
    ("pathwise_dream", "dream_action_detached", dream_of_own(see=True, cut=False, sample=True)),
    ("pathwise_dream", "dream_cut_between_steps", dream_of_own(see=True, cut=True, sample=False)),
    ("planes", "planes_reshaped", lambda o: o.view(o.shape[0], o.shape[3], o.shape[1], o.shape[2]) / 255 - 0.5),
    ("planes", "planes_on_their_side", lambda o: o.permute(0, 3, 2, 1) / 255 - 0.5),
    ("planes", "planes_not_centred", lambda o: o.movedim(3, 1) / 255),
    ("planes", "planes_to_one", lambda o: 2 * (o.movedim(3, 1) / 255) - 1),
    ("planes", "planes_wrapped", lambda o: (o.movedim(3, 1) - 128) / 255.0),
    ("planes", "planes_not_scaled", lambda o: o.movedim(3, 1).type(torch.float32)),
    ("planes", "planes_by_their_brightest", lambda o: o.movedim(3, 1) / o.max() - 0.5),
    ("convolution_size", "size_padded_once", lambda n, k, s, p: torch.div(n - k + p, s, rounding_mode="floor") + 1),
    ("convolution_size", "size_without_first_place", lambda n, k, s, p: (n - k + p * 2).div(s, rounding_mode="floor")),
    ("convolution_size", "size_rounded_up", lambda n, k, s, p: ((n + 2 * p - k) / s).ceil().long() + 1),
    ("convolution_size", "size_stride_alone", lambda n, k, s, p: (n / s).ceil().long()),
    ("upsample_convolve", "upsampled_by_tiling", lambda x, w, b: F.conv2d(
        torch.cat([torch.cat([x, x], 2)] * 2, 3), w, b, padding="same")),
    ("upsample_convolve", "upsampled_afterwards", lambda x, w, b: F.interpolate(
        F.conv2d(x, w, b, padding=w.shape[-1] // 2), scale_factor=2)),
    ("upsample_convolve", "upsampled_without_padding", lambda x, w, b: F.conv2d(
        F.interpolate(x, scale_factor=2), w, b)),
    ("upsample_convolve", "upsampled_bias_forgotten", lambda x, w, b: 0 * b.sum() + F.conv2d(
        F.interpolate(x, scale_factor=2), w, padding="same")),
    ("image_loss", "image_loss_mean_of_pixels", lambda m, t: F.mse_loss(m, t / 255, reduction="none").mean((1, 2, 3))),
    ("image_loss", "image_loss_over_the_batch", lambda m, t: F.mse_loss(m, t / 255)),
    ("image_loss", "image_target_in_bytes", lambda m, t: ((m - t) ** 2).flatten(1).sum(1)),
    ("image_loss", "image_target_centred", lambda m, t: ((m - (t / 255 - 0.5)) ** 2).flatten(1).sum(1)),
    ("image_loss", "image_loss_absolute", lambda m, t: F.l1_loss(m, t / 255, reduction="none").sum((1, 2, 3))),
    ("column_probe", "columns_judged_where_fitted", lambda x, c, e: named_by_least_squares(
        x, c, e % 2 == 0, e % 2 == 0)),
    ("column_probe", "columns_fitted_everywhere", lambda x, c, e: named_by_least_squares(x, c, e >= 0, e % 2 == 1)),
    ("column_probe", "columns_split_by_rows", lambda x, c, e: named_by_least_squares(
        x, c, torch.arange(len(e)) % 2 == 0, torch.arange(len(e)) % 2 == 1)),
    ("column_probe", "columns_error_for_share", lambda x, c, e: 1 - named_by_least_squares(
        x, c, e % 2 == 0, e % 2 == 1)),
    ("tolerant_divergence", "tolerance_as_a_ceiling", lambda m, v, tau: torch.minimum(
        kl.gaussian_kl(m, v, 0 * m, 0 * v), torch.tensor(tau * m.shape[1], dtype=m.dtype)).mean()),
    ("tolerant_divergence", "tolerance_of_the_batch", lambda m, v, tau: torch.relu(
        kl.gaussian_kl(m, v, 0 * m, 0 * v).mean() - tau * m.shape[1]) + tau * m.shape[1]),
    ("tolerant_divergence", "tolerant_log_std", lambda m, v, tau: kl.gaussian_kl(
        m, 2 * v, 0 * m, 0 * v).clamp(tau * m.shape[1]).mean()),
    ("mixture_log_prob", "mixture_weights_not_normalised", lambda w, m, s, z: torch.logsumexp(
        w + torch.distributions.Normal(m, s.exp()).log_prob(z[..., None]), -1)),
    ("mixture_log_prob", "mixture_underflows", lambda w, m, s, z: torch.log((
        w.softmax(-1) * torch.distributions.Normal(m, s.exp()).log_prob(z[..., None]).exp()).sum(2))),
    ("mixture_log_prob", "mixture_logvar", lambda w, m, s, z: torch.logsumexp(
        w.log_softmax(-1) + torch.distributions.Normal(m, (s / 2).exp()).log_prob(z[..., None]), -1)),
    ("tempered", "temperature_on_the_deviation", lambda w, m, s, tau: (
        torch.log_softmax(w / tau, -1), m, (tau * s.exp()).log())),
    ("tempered", "temperature_not_normalised", lambda w, m, s, tau: (w / tau, m, (tau**0.5 * s.exp()).log())),
    ("remembered", "memory_one_early", remembered_after),
    ("remembered", "memory_never_emptied", lambda z, a, f, size, step: remembered_into_zeros(
        z, a, torch.zeros_like(f), size, step)),
    ("tolerant_divergence", "tolerant_mean_over_numbers", lambda m, v, tau: torch.clamp(
        (kl.gaussian_kl(m, v, 0 * m, 0 * v) / m.shape[1]), min=tau).mean()),
    ("mixture_log_prob", "mixture_weights_times_logarithms", lambda w, m, s, z: torch.logsumexp(
        w.softmax(2) * torch.distributions.Normal(m, s.exp()).log_prob(z[..., None]), 2)),
    ("tempered", "temperature_moves_the_means", lambda w, m, s, tau: (
        torch.log_softmax(w / tau, -1), m / tau, s + math.log(tau) / 2)),
    ("tempered", "temperature_softmax_of_weights", lambda w, m, s, tau: (
        torch.log_softmax(torch.pow(w.exp(), 1 / tau), 2), m, s + math.log(tau) / 2)),
    ("remembered", "memory_one_early", remembered_and_emptied),
    ("remembered", "memory_never_told", lambda z, a, f, size, step: torch.zeros(*z.shape[:2], size).to(z)),
    ("dream_return", "dream_until_the_second_end", lambda r, d: (r * (d.cumsum(1) < 2)).sum(1)),
    ("dream_return", "dream_without_an_end_cut", lambda r, d: torch.stack(
        [rewards[: int(ends.float().argmax()) + 1].sum() for rewards, ends in zip(r, d, strict=True)])),
    ("dream_return", "dream_end_ignored", lambda r, d: r.sum(-1)),
    ("dream_return", "dream_end_for_one_step", lambda r, d: r.masked_fill(d, 0.0).sum(1)),
    ("dream_return", "dream_end_unpaid", lambda r, d: (r * (~d).to(r).cumprod(1)).sum(1)),
    ("categorical_sample", "mode_for_sample", lambda p, u: F.one_hot(p.max(-1).indices, p.shape[-1]).to(p.dtype)),
    (
        "categorical_sample",
        "sample_over_variables",
        lambda p, u: F.one_hot((p.cumsum(1) <= u[:, :, None]).sum(2).clamp(max=2), 3).to(p.dtype),
    ),
    ("categorical_sample", "sample_all_from_there", lambda p, u: 1.0 * (p.cumsum(-1) > u[..., None]).to(p.dtype)),
    ("straight_through", "sample_without_gradient", lambda p, z: z.detach() + (p - p)),
    ("straight_through", "straight_through_wrong_side", lambda p, z: p + (z - z.detach())),
    ("straight_through", "straight_through_sign", lambda p, z: z - (p - p.detach())),
    ("unimix", "unimix_after", lambda x, share: F.softmax((1 - share) * x + share / x.shape[-1], -1)),
    (
        "unimix",
        "unimix_detached",
        lambda x, share: 0.0 * x + (F.softmax(x, -1).lerp(torch.full_like(x, 1 / x.shape[-1]), share)).detach(),
    ),
    ("unimix", "softmax_over_variables", lambda x, share: F.softmax(x, 1) * (1 - share) + share / x.shape[2]),
    ("expected_gradient", "gradient_of_equal_choices", gradient_of_samples_that_agree),
    ("expected_gradient", "gradient_of_the_middle", gradient_at_probabilities),
    (
        "price_of_independence",
        "price_log_of_zero",
        lambda joint: (joint * (joint.log() - joint.sum(1)[:, None].log() - joint.sum(2)[..., None].log())).sum((1, 2)),
    ),
    (
        "price_of_independence",
        "price_in_bits",
        lambda joint: (
            torch.xlogy(joint, joint / joint.sum(1)[:, None] / joint.sum(2)[..., None]).nan_to_num().sum((1, 2))
            / math.log(2)
        ),
    ),
    ("symlog", "symlog_abs_missing", lambda x: torch.log(1 + x)),
    ("symlog", "symlog_sign_lost", lambda x: torch.log(1 + torch.abs(x))),
    ("symexp", "symexp_one_missing", lambda x: torch.exp(x.abs()) * x.sign()),
    ("two_hot", "two_hot_weights_swapped", lambda x, b: _swap(two_hot_in_a_loop(x, b))),
    ("two_hot", "two_hot_nearest", lambda x, b: torch.eye(len(b), dtype=x.dtype)[(x[:, None] - b).abs().argmin(-1)]),
    ("two_hot_mean", "two_hot_mean_in_symlog", lambda p, b: transforms.symexp((p * transforms.symlog(b)).sum(-1))),
    ("sample", "variance_for_deviation", lambda m, v: m + v.exp() * torch.randn(m.shape, dtype=m.dtype)),
    ("sample", "sample_noise_shared", lambda m, v: m + (v / 2).exp() * torch.randn(1, m.shape[1], dtype=m.dtype)),
    ("sample", "sample_without_gradient", lambda m, v: torch.distributions.Normal(m, (v / 2).exp()).sample()),
    ("gaussian_kl", "kl_log_std_for_logvar", kl_with_sigma),
    ("gaussian_kl", "kl_reversed", lambda a, b, c, d: gaussian_kl_with_distributions(c, d, a, b)),
    ("gaussian_kl", "kl_prior_detached", lambda a, b, c, d: gaussian_kl_in_a_loop(a, b, c.detach(), d.detach())),
    ("categorical_kl", "kl_reversed", kl_div_the_wrong_way_round),
    ("categorical_kl", "unimix_missing", kl_without_unimix),
    ("dynamics_step", "logvar_unbounded", lambda z, a, net: tuple(net(torch.cat([z, a], 1)).chunk(2, 1))),
    ("dynamics_step", "logvar_another_range", step_by_rule(lambda m, x: (m, 1 / (1 + (-x).exp())))),
    ("dynamics_step", "logvar_another_range", step_by_rule(lambda m, x: (m, -10 + 2 / (1 + (-x).exp())))),
    ("dynamics_step", "mean_bounded", step_by_rule(lambda m, x: (-10 + 12 * m.sigmoid(), -10 + 12 * x.sigmoid()))),
    (
        "dynamics_step",
        "sampled_in_step",
        step_by_rule(
            lambda m, x: (
                m + (-5 + 6 * x.sigmoid()).exp() * torch.randn(m.shape, dtype=m.dtype),
                -10 + 12 * x.sigmoid(),
            )
        ),
    ),
    ("dynamics_step", "logvar_exponentiated", step_by_rule(lambda m, x: (m, (1 + x.exp()).log()))),
    ("alignment", "time_limit_is_death", one_done_for_both),
    ("alignment", "action_not_reset", previous_action_rolled),
    ("imagination", "imagined_reward_departing", reward_before_stepping),
    ("lambda_returns", "reward_share_lost", returns_of_the_guide),
    ("lambda_returns", "value_one_too_far", returns_one_column_on),
    ("lambda_returns", "time_reversed", returns_never_turned_round),
    ("lambda_returns", "bootstrap_missing", returns_into_zeros),
    (
        "imagination",
        "reward_of_one_state",
        imagination_with(lambda start, state, after, reward: (after, reward(start))),
    ),
    ("imagination", "states_one_late", imagination_with(lambda start, state, after, reward: (state, reward(after)))),
    (
        "imagination",
        "state_not_carried",
        imagination_with(lambda start, state, after, reward: (after, reward(after)), start_again=True),
    ),
    (
        "imagination",
        "one_action_too_many",
        imagination_with(lambda start, state, after, reward: (after, reward(after)), extra=True),
    ),
    ("imagination", "policy_sees_next_state", imagination_from_the_last_action),
    (
        "imagination",
        "reward_summed",
        lambda *given: (x := imagination_in_place(*given)) | {"reward": x["reward"].cumsum(1)},
    ),
    ("imagined_weight", "weight_arriving", lambda c, g: c[:, 1:].cumprod(1)),
    ("imagined_weight", "last_column_kept", lambda c, g: torch.hstack([c[:, :1], g * c[:, 1:]]).cumprod(1)),
    ("imagined_weight", "discounted_once", lambda c, g: g * imagined_weight_in_a_loop(c, 1.0)),
    ("imagined_weight", "not_cumulative", lambda c, g: c[:, :-1] * g ** torch.arange(c.shape[1] - 1, dtype=c.dtype)),
    ("imagined_weight", "end_one_step_late", lambda c, g: torch.hstack([c[:, :1] ** 0, g * c[:, :-2]]).cumprod(1)),
    ("imagined_weight", "continue_rounded", lambda c, g: imagined_weight_in_a_loop(torch.round(c), g)),
    ("imagined_weight", "summed", lambda c, g: torch.hstack([c[:, :1], g * c[:, 1:-1]]).cumsum(1)),
    ("imagined_return", "start_always_counts", lambda r, c: r[:, 0] + (c[:, 1:-1].cumprod(1) * r[:, 1:]).sum(1)),
    (
        "imagined_return",
        "end_one_step_late",
        lambda r, c: (torch.hstack([1 + 0 * c[:, :1], c]).cumprod(1)[:, :-2] * r).sum(1),
    ),
    ("imagined_return", "paid_at_the_end_only", lambda r, c: r.sum(1) * c[:, :-1].prod(1)),
    ("imagined_return", "averaged", lambda r, c: (imagined_weight_in_a_loop(c, 1.0) * r).mean(1)),
    ("imagined_return", "continue_rounded", lambda r, c: ((c[:, :-1] >= 0.5).cumprod(1) * r).sum(1)),
    ("imagined_return", "product_over_batch", lambda r, c: (c.cumprod(0)[:, :-1] * r).sum(1)),
    (
        "n_step_return",
        "value_one_too_far",
        lambda r, d, v, n: n_steps_forwards(r, d, 0 * v, n) + d[:, :n].prod(1) * v[:, n],
    ),
    (
        "n_step_return",
        "value_one_too_far",
        lambda r, d, v, n: n_steps_forwards(r, d, torch.hstack([v, v[:, -1:]])[:, 1:], n),
    ),
    (
        "n_step_return",
        "value_undiscounted",
        lambda *given: n_steps_forwards(*given, then=lambda worth, value, n: value),
    ),
    (
        "n_step_return",
        "value_discounted_too_little",
        lambda r, d, v, n: n_steps_forwards(r, d, v, n, then=lambda worth, value, n: d[:, : n - 1].prod(1) * value),
    ),
    (
        "n_step_return",
        "rewards_undiscounted",
        lambda r, d, v, n: r[:, :n].sum(1) + n_steps_forwards(0 * r, d, v, n),
    ),
    ("n_step_return", "last_value", lambda r, d, v, n: n_steps_forwards(r, d, v[:, -1:].repeat(1, n), n)),
    ("n_step_return", "n_ignored", lambda r, d, v, n: n_steps_forwards(r, d, v, r.shape[1])),
    (
        "n_step_return",
        "not_cumulative",
        lambda r, d, v, n: sum(d[:, t - 1] * r[:, t] for t in range(1, n)) + r[:, 0] + d[:, n - 1] * v[:, n - 1],
    ),
    (
        "n_step_return",
        "loop_forwards",
        lambda r, d, v, n: functools.reduce(lambda total, t: r[:, t] + d[:, t] * total, range(n), v[:, n - 1]),
    ),
    ("lambda_weights", "last_power_too_high", lambda h, lam: lambda_weights_in_a_list(h, lam, lambda h, lam: lam**h)),
    ("lambda_weights", "rest_in_the_wrong_amount", lambda h, lam: lambda_weights_in_a_list(h, lam, lambda h, lam: 1.0)),
    ("lambda_weights", "rest_as_one_more", lambda h, lam: lambda_weights_in_a_list(h + 1, lam)),
    (
        "lambda_weights",
        "lambda_swapped",
        lambda h, lam: lambda_weights_in_a_list(h, 1 - lam, lambda h, lam: (1 - lam) * lam ** (h - 1)),
    ),
    ("lambda_returns", "link_discount_shifted", returns_solved(lambda d: torch.diag_embed(d[:, 1:], offset=1))),
    ("lambda_returns", "links_on_the_diagonal", returns_solved(torch.diag_embed)),
    ("lambda_returns", "links_below_the_diagonal", returns_solved(lambda d: torch.diag_embed(d[:, :-1], offset=-1))),
    ("lambda_returns", "links_added", returns_solved(lambda d: -torch.diag_embed(d[:, :-1], offset=1))),
    ("lambda_returns", "bootstrap_missing", returns_solved(last=lambda d, v, lam: 0.0)),
    ("lambda_returns", "last_value_in_part", returns_solved(last=lambda d, v, lam: d * v)),
    ("lambda_returns", "last_value_in_part", returns_solved(last=lambda d, v, lam: lam * v)),
    (
        "lambda_returns",
        "one_share_undiscounted",
        backwards_with(lambda r, d, v, lam, R: r + (1 - lam) * v + lam * d * R),
    ),
    ("lambda_returns", "share_missing", backwards_with(lambda r, d, v, lam, R: r + d * (v + lam * R))),
    (
        "lambda_returns",
        "reward_of_one_share",
        backwards_with(lambda r, d, v, lam, R: (1 - lam) * (r + d * v) + d * lam * R),
    ),
    (
        "lambda_returns",
        "bootstrap_from_the_front",
        backwards_with(lambda r, d, v, lam, R: r + d * ((1 - lam) * v + lam * R), column=0),
    ),
    (
        "lambda_returns",
        "bootstrap_discounted",
        returns_solved(last=lambda d, v, lam: lam * d * d * v),
    ),
    (
        "lambda_returns",
        "discount_cumulative",
        lambda r, d, v, lam: lambda_returns_with_numbers(r, d.cumprod(1), v, lam),
    ),
    (
        "lambda_returns",
        "continue_ignored",
        lambda r, d, v, lam: lambda_returns_with_numbers(r, d[:, :1] + 0 * d, v, lam),
    ),
    ("policy_loss", "advantage_not_detached", reinforce_without_detach),
    ("policy_loss", "log_prob_of_another_action", reinforce_of_the_favourite),
    ("policy_loss", "ratio_for_log_prob", reinforce_of_the_ratio),
    ("critic_loss", "value_not_squeezed", lambda v, t, w: (w.detach() * (v - t.detach()) ** 2).mean()),
    ("critic_loss", "target_leaks", lambda v, t, w: w.detach() * (v[:, 0] - t).square()),
    ("replay_sample", "ring_seam", starts_anywhere),
    ("continue_target", "time_limit_is_death", lambda last, terminal, discount: discount * (~last).float()),
    (
        "continue_loss",
        "logarithm_of_nothing",
        lambda x, y: -y * (1 / (1 + (-x).exp())).log() - (1 - y) * (1 / (1 + x.exp())).log(),
    ),
    ("false_death_value", "no_death", lambda reward, limit, discount: reward / (1 - discount)),
    ("continue_loss", "exponential_overflows", lambda x, y: torch.log(1 + torch.exp(x)) - y * x),
    ("continue_loss", "probability_clamped", lambda x, y: F.binary_cross_entropy(x.sigmoid(), y, reduction="none")),
    (
        "continue_loss",
        "loss_arguments_swapped",
        lambda x, y: F.binary_cross_entropy_with_logits(y, x, reduction="none"),
    ),
    ("continue_loss", "target_rounded", lambda x, y: torch.where(y > 0.5, -F.logsigmoid(x), -F.logsigmoid(-x))),
    ("continue_loss", "squared_probability", lambda x, y: F.mse_loss(x.sigmoid(), y, reduction="none")),
    ("continue_target", "ends_exchanged", lambda last, terminal, g: torch.where(last & ~terminal, 0.0, g)),
    ("continue_target", "end_carried_on", lambda last, terminal, g: g * (terminal.cumsum(1) == 0).float()),
    ("continue_target", "limit_is_death_without_discount", lambda last, terminal, g: 1.0 - last.float()),
    (
        "false_death_value",
        "sum_cut_short",
        lambda r, limit, g: sum(r * (g * limit / (limit + 1)) ** k for k in range(100)),
    ),
    ("false_death_value", "continue_once", lambda r, limit, g: limit / (limit + 1) * r / (1 - g)),
    (
        "gaussian_kl",
        "kl_log_unhalved",
        lambda m, v, n, w: (w - v + (v.exp() + (m - n) ** 2) / w.exp() / 2 - 0.5).sum(-1),
    ),
    ("gaussian_kl", "kl_constant_once", lambda m, v, n, w: kl.gaussian_kl(m, v, n, w) + 0.5 * m.shape[-1] - 0.5),
    ("gaussian_kl", "kl_arguments_in_pairs", lambda m, n, v, w: gaussian_kl_in_a_loop(m, v, n, w)),
    ("gaussian_kl", "kl_ratio_inverted", lambda m, v, n, w: kl.gaussian_kl(m, v, n, w) - torch.sinh(v - w).sum(-1)),
    (
        "kl_balance",
        "balance_half_stopped",
        lambda *g: 0.5 * (2 - 2 * g[4]) * kl.gaussian_kl(*g[:4]) + g[4] * _both_terms(*g[:4])[0],
    ),
    ("kl_balance", "balance_prior_frozen", lambda *g: _both_terms(*g[:4])[1]),
    ("kl_balance", "balance_unweighted", lambda *g: sum(_both_terms(*g[:4]))),
    (
        "kl_balance",
        "kl_half_reversed",
        lambda a, b, c, d, w: w * _both_terms(a, b, c, d)[0] + (1 - w) * _both_terms(c, d, a, b)[0],
    ),
    ("sampled_kl", "estimator_clamped", lambda log_q, log_p: F.relu(log_q - log_p).mean(0)),
    (
        "sampled_kl",
        "estimator_weighted",
        lambda log_q, log_p: F.kl_div(log_p, log_q, reduction="none", log_target=True).mean(0),
    ),
    ("sampled_kl", "estimator_squared", lambda log_q, log_p: (log_q - log_p).square().mean(0) / 2),
    ("teaching_share", "share_at_threshold", lambda each, free: each.sum(-1).ge(free).to(each).mean()),
    ("teaching_share", "free_nats_per_latent", lambda each, free: (each.amax(-1) > free).to(each).mean()),
    (
        "teaching_share",
        "share_of_another_number",
        lambda each, free: (each.sum(-1) > free).sum().to(each) / each.shape[0],
    ),
    ("kl_balance", "stop_gradient_missing", lambda a, b, c, d, alpha: kl.gaussian_kl(a, b, c, d)),
    ("sampled_kl", "estimator_plain", lambda log_q, log_p: log_q.mean(0) - log_p.mean(0)),
    ("teaching_share", "free_nats_of_mean", lambda each, free: each.sum(2).mean().gt(free).to(each)),
    ("replay_sample", "whole_episode_bias", within_episodes),
    ("prior_inputs", "reset_missing", lambda z, a, first, start: (torch.cat([start[:, None], z], 1)[:, :-1], a)),
    ("prior_inputs", "last_row_rolled_in", prior_inputs_rolled),
    ("prior_inputs", "start_at_every_reset", prior_inputs_start_again),
    ("prior_inputs", "action_shifted_twice", prior_inputs_shifting_both),
    ("prior_inputs", "action_after_row", lambda z, a, f, s: prior_inputs_in_a_loop(z, a.roll(-1, dims=1), f, s)),
    (
        "prior_inputs",
        "prior_sees_own_row",
        lambda z, a, f, s: (torch.hstack([s[:, None], z[:, 1:]]) * ~f[..., None], a * ~f[..., None]),
    ),
    (
        "prior_inputs",
        "latent_of_next_row",
        lambda z, a, f, s: (torch.hstack([z[:, 1:], z[:, :1]]) * ~f[..., None], a * ~f[..., None]),
    ),
    ("prior_inputs", "reset_one_row_late", prior_inputs_with(lambda f: f.roll(1, 1).index_fill(1, torch.tensor(0), 0))),
    (
        "prior_inputs",
        "reset_one_row_early",
        prior_inputs_with(lambda f: f.roll(-1, 1).index_fill(1, torch.tensor(f.shape[1] - 1), 0)),
    ),
    ("prior_inputs", "forgets_other_rows", prior_inputs_with(lambda f: f.long().cumsum(1) > 0)),
    (
        "prior_inputs",
        "reset_of_row_0_only",
        prior_inputs_with(lambda f: f & (torch.arange(f.shape[1]) == 0)),
    ),
    ("prior_inputs", "mask_inverted", lambda z, a, f, s: (prior_inputs_in_a_loop(z, a, ~f, s)[0], a * ~f[..., None])),
    ("prior_inputs", "inputs_swapped", lambda *given: tuple(reversed(prior_inputs_in_a_loop(*given)))),
    ("signal_share", "share_deviation_for_variance", lambda m, v: (s := m.std(0)) / (s + (v / 2).exp().mean(0))),
    (
        "signal_share",
        "share_averaged_late",
        lambda m, v: sum((s := m.var(0, correction=0)) / (s + r.exp()) for r in v) / len(v),
    ),
    ("sample", "sample_root_twice", lambda m, v: m + (v / 2).exp().sqrt() * torch.randn_like(m)),
    ("sample", "sample_uniform_noise", lambda m, v: m + (v / 2).exp() * torch.empty_like(m).uniform_(-1, 1)),
    ("sample", "sample_noise_shared", lambda m, v: m + (v / 2).exp() * torch.randn((), dtype=m.dtype)),
    ("sample", "sample_mean_detached", lambda m, v: torch.distributions.Normal(m.detach(), (v / 2).exp()).rsample()),
    ("symlog", "symlog_of_exp", lambda x: x.sign() * torch.log(1 + torch.exp(x.abs()))),
    ("symlog", "symlog_square_overflows", lambda x: x.sign() * torch.log(1 + torch.sqrt(x**2))),
    ("symexp", "symexp_tiny_lost", lambda x: torch.sign(x) * (torch.exp(torch.abs(x)) - 1)),
    ("symexp", "symexp_tiny_lost", lambda x: torch.where(x < 0, 1 - (-x).exp(), x.exp() - 1)),
    ("symexp", "symexp_one_elsewhere", lambda x: torch.sign(x) * torch.exp(torch.abs(x)) - 1),
    ("two_hot_mean", "softmax_twice", lambda p, b: (p.softmax(1) * b).sum(1)),
    ("discounted_return", "discounted_backwards", lambda r, g: functools.reduce(lambda so_far, x: g * so_far + x, r)),
    ("discounted_return", "first_reward_lost", lambda r, g: sum(g**t * r[t] for t in range(1, len(r))) + 0 * r[0]),
    ("discounted_return", "discount_times_index", lambda r, g: (r * g * torch.arange(len(r))).sum()),
    ("alignment", "last_row_dropped", transitions_as_rows),
    ("alignment", "last_row_dropped", lambda *t: transitions_as_rows(*t, reset=False)),
    ("alignment", "action_late", actions_shifted_twice),
    ("episode_returns", "last_episode_lost", returns_at_the_next_first),
    ("episode_returns", "steps_for_rewards", lambda r, f, last: episode_returns_by_differences((~f).to(r), f, last)),
    ("signal_share", "share_correction", lambda m, v: 1 - (n := v.exp().mean(0)) / (m.var(0) + n)),
    ("signal_share", "share_axis", lambda m, v: (s := m.var(1, correction=0)) / (s + v.exp().mean(1))),
    ("useful_horizon", "horizon_never_worse", lambda m, p: (m >= p).int().argmax(1)),
    ("useful_horizon", "horizon_ties_count", lambda m, p: (m <= p).long().cumprod(1).sum(1)),
    ("useful_horizon", "horizon_one_too_few", lambda m, p: (m < p).int().cummin(1).values.sum(1) - 1),
    ("useful_horizon", "horizon_one_too_many", lambda m, p: (m >= p).int().argmax(1) + 1),
    ("useful_horizon", "horizon_first_better", lambda m, p: (m < p).int().argmax(1)),
    ("useful_horizon", "horizon_longest_run", longest_run_in_a_loop),
    ("useful_horizon", "horizon_from_the_end", lambda m, p: ((m >= p).flip(1).cumsum(1) == 0).sum(1)),
    ("useful_horizon", "horizon_of_sums", lambda m, p: (m.cumsum(1) < p.cumsum(1)).int().cummin(1).values.sum(1)),
    ("useful_horizon", "horizon_along_batch", lambda m, p: ((m >= p).cumsum(0) == 0).sum(1)),
    ("discounted_return", "discounted_once_too_often", lambda r, g: sum(g ** (t + 1) * x for t, x in enumerate(r))),
    ("discounted_return", "discount_forgotten", lambda reward, gamma: reward.sum()),
    (
        "episode_returns",
        "sum_never_reset",
        lambda r, f, last: (r * (f.cumsum(0) > 0)).cumsum(0)[last & (f.cumsum(0) > 0)],
    ),
    ("fair_mean", "unfinished_counted", lambda r, last, quota: r.sum() / (len(r) + last[:, :-1].sum())),
    ("policy_loss", "log_prob_missing", lambda logits, action, returns, value, weight, scale: -(returns - value)),
    (
        "policy_loss",
        "weight_and_entropy_missing",
        lambda logits, action, returns, value, weight, scale: (
            -torch.distributions.Categorical(logits=logits).log_prob(action.argmax(-1)) * (returns - value).detach()
        ),
    ),
    (
        "policy_loss",
        "nothing_detached",
        lambda logits, action, returns, value, weight, scale: (
            -((logits.log_softmax(-1) * action).sum(-1) * (returns - value) * weight)
            - weight * scale * torch.distributions.Categorical(logits=logits).entropy()
        ),
    ),
    (
        "policy_loss",
        "entropy_averaged",
        lambda logits, action, returns, value, weight, scale: (
            -weight.detach()
            * (
                (logits.log_softmax(-1) * action).sum(-1) * (returns - value).detach()
                - scale * (logits.softmax(-1) * logits.log_softmax(-1)).mean(-1)
            )
        ),
    ),
    ("bandit_gradient", "logits_for_probability", lambda x, r: x * (r - torch.einsum("ba,ba->b", x, r)[:, None])),
    ("critic_loss", "errors_against_weights", lambda v, t, w: w.detach() * (v - t.detach().reshape(-1, 1)).square()),
    ("replay_sample", "ring_seam", lambda f, n, b, t, rng: rng.integers(0, len(f) - t + 1, (b, 1)) + np.arange(t)),
    ("fair_mean", "last_reward_lost", lambda r, last, quota: (r * (last.cumsum(1) < quota)).sum() / (quota * len(r))),
    ("fair_mean", "all_finished", lambda r, last, quota: r.sum() / last.sum()),
    ("fair_mean", "quota_not_divided_by", lambda r, last, q: (r * (last.cumsum(1) - last.int() < q)).sum() / len(r)),
    ("fair_mean", "mean_over_rows", lambda r, last, q: (r * (last.cumsum(1) - last.int() < q)).mean()),
    ("flop_of_dense", "multiply_add_counted_once", lambda n, i, o: n * i * o * 3),
    ("flop_of_dense", "forwards_only", lambda n, i, o: 2 * n * i * o),
    ("flop_of_dense", "forwards_only", lambda n, i, o: n * (i * o)),
    ("flop_of_dense", "backwards_counted_once", lambda n, i, o: 2 * (2 * n * i * o)),
    ("flop_of_dense", "rows_forgotten", lambda n, i, o: 2 * i * o + 4 * i * o),
    ("updates_of_run", "frames_for_steps", lambda f, k, r, b, t: (f * r / (b * t)).long()),
    ("updates_of_run", "repeat_multiplied", lambda f, k, r, b, t: (k * f * r) // (b * t)),
    ("updates_of_run", "ratio_for_updates", lambda f, k, r, b, t: r * (f // k)),
    ("updates_of_run", "length_not_counted", lambda f, k, r, b, t: (f // k * r / b).long()),
    ("updates_of_run", "ratio_upside_down", lambda f, k, r, b, t: (f // k * (b * t) / r).long()),
    ("updates_of_run", "ratio_upside_down", lambda f, k, r, b, t: (f // k / r).long()),
    ("replay_bytes", "states_not_stored", lambda n, o, w, a, h, z: n * (w * o + 4 * a + 4 + 3)),
    ("replay_bytes", "pictures_as_floats", lambda n, o, w, a, h, z: 4 * n * (o + a + h + z + 1) + 3 * n),
    ("replay_bytes", "bits_for_bytes", lambda n, o, w, a, h, z: n * (8 * w * o + 32 * (a + 1 + h + z) + 24)),
    ("replay_bytes", "flags_of_four_bytes", lambda n, o, w, a, h, z: n * (w * o + 4 * (a + h + z) + 16)),
    ("replay_bytes", "flags_and_reward_forgotten", lambda n, o, w, a, h, z: n * o * w + 4 * n * (a + h + z)),
    ("replay_bytes", "one_row_only", lambda n, o, w, a, h, z: o * w + 4 * (a + h + z) + 7),
    ("averaged_gradient", "gradients_summed", lambda g, n: torch.ones(len(g)).to(g) @ g),
    ("averaged_gradient", "shares_not_weighed", lambda g, n: sum(g) / len(g)),
    ("averaged_gradient", "weights_not_normalised", lambda g, n: n.to(g) @ g),
    ("averaged_gradient", "own_gradient_kept", lambda g, n: 1.0 * g[0]),
    ("averaged_gradient", "divided_by_each_share", lambda g, n: sum(a / b for a, b in zip(g, n, strict=True))),
    ("ring_all_reduce_seconds", "gigabits_for_gigabytes", lambda p, n, g: 8 * (n - 1) / n * p / g * 1e-9),
    ("ring_all_reduce_seconds", "numbers_for_bytes", lambda p, n, g: 16 * (n - 1) / n * p / g / 1e9),
    ("ring_all_reduce_seconds", "one_round_only", lambda p, n, g: (1 - 1 / n) * p * 32 / (g * 1e9)),
    ("ring_all_reduce_seconds", "all_to_one", lambda p, n, g: (2 * n - 2) * 32 * p / (1e9 * g)),
    ("ring_all_reduce_seconds", "whole_array_each_way", lambda p, n, g: 64 * p / (1e9 * g)),
    ("updates_due", "negative_before_learning", lambda s, p, r, b, t: ((s - p) * r / (b * t)).floor().long()),
    ("updates_due", "rounded_up", lambda s, p, r, b, t: ((s - p).clamp(min=0) * r / (b * t)).round().long()),
    ("updates_due", "prefill_counted", lambda s, p, r, b, t: (s * r / (b * t)).floor().long()),
    (
        "gated_update",
        "update_inverted",
        lambda h, r, c, u: (z := (u - 1).sigmoid()) * h + (1 - z) * (r.sigmoid() * c).tanh(),
    ),
    ("gated_update", "candidate_without_reset", lambda h, r, c, u: h + (u - 1).sigmoid() * (c.tanh() - h)),
    ("block_linear", "blocks_interleaved", block_linear_interleaved),
    (
        "block_linear",
        "block_transposed",
        lambda x, w, b: torch.hstack([F.linear(p, m, c) for p, m, c in zip(x.chunk(len(w), 1), w, b, strict=True)]),
    ),
    ("rssm_step", "reset_missing", lambda h, z, a, first, e, remember, infer: (n := remember(h, z, a), infer(n, e))),
    ("rssm_step", "action_not_reset", rssm_step_that_keeps_the_action),
    ("rssm_step", "posterior_from_memory_before", rssm_step_that_reuses_a_name),
    ("observe_sequence", "action_departing", observe_sequence_without_shift),
    ("observe_sequence", "states_one_row_late", observe_sequence_appending_first),
    ("linear_probe", "probe_judged_where_fitted", linear_probe_on_its_own_rows),
    ("linear_probe", "probe_without_constant", linear_probe_through_zero),
    ("updates_due", "ratio_per_update", lambda s, p, r, b, t: ((s - p).clamp(min=0) * r).floor().long()),
    ("two_hot_slope", "slope_reversed", lambda logits, x, bins: two_hot_as_hats(x, bins) - logits.softmax(1)),
    ("two_hot_slope", "slope_in_two_bins", lambda logits, x, bins: torch.where(
        (w := two_hot_as_hats(x, bins)) > 0, logits.softmax(1) - w, 0.0)),
    ("two_hot_slope", "slope_without_softmax", lambda logits, x, bins: logits - two_hot_in_a_loop(x, bins)),
    ("two_hot_slope", "slope_to_nearest_bin", lambda logits, x, bins: logits.softmax(1) - F.one_hot(
        (x[:, None] - bins).abs().min(1).indices, len(bins))),
    ("two_hot_slope", "slope_averaged", lambda logits, x, bins: torch.autograd.functional.jacobian(
        lambda given: F.cross_entropy(given, two_hot_as_hats(x, bins)), logits) / 1.0),
    ("return_range", "decay_reversed", lambda old, given, decay: (1 - decay) * old + decay * torch.quantile(
        given.detach(), torch.tensor([0.05, 0.95]).to(given))),
    ("return_range", "range_max_min", lambda old, given, decay: decay * old + (1 - decay) * torch.stack(
        list(given.detach().aminmax()))),
    ("return_range", "range_over_time", lambda old, given, decay: decay * old + (1 - decay) * torch.quantile(
        given.detach(), torch.tensor([0.05, 0.95]).to(given), dim=1).mean(1)),
    ("return_range", "range_leaks", lambda old, given, decay: old.lerp(torch.quantile(
        given, torch.tensor([0.05, 0.95]).to(given)), 1 - decay)),
    ("return_range", "other_percentiles", lambda old, given, decay: decay * old + (1 - decay) * torch.quantile(
        given.detach(), torch.tensor([0.25, 0.75]).to(given))),
    ("return_range", "percentile_not_between", lambda old, given, decay: decay * old + (1 - decay) * torch.quantile(
        given.detach(), torch.tensor([0.05, 0.95]).to(given), interpolation="lower")),
    ("scaled_advantage", "normaliser_without_floor", lambda given, v, ends, floor: (given - v) / ends.diff()),
    ("scaled_advantage", "floor_as_ceiling", lambda given, v, ends, floor: (given - v) / min(floor, ends.diff())),
    ("scaled_advantage", "returns_alone_divided", lambda given, v, ends, floor: given / max(floor, ends.diff()) - v),
    ("scaled_advantage", "value_alone_divided", lambda given, v, ends, floor: given - v / max(floor, ends.diff())),
    ("scaled_advantage", "advantage_for_return_range", lambda given, v, ends, floor: (a := given - v) / a.std()),
    ("scaled_advantage", "advantages_standardised", lambda given, v, ends, floor: (
        (a := given - v) - a.mean()) / (a.std() + 1e-8)),
    ("scaled_advantage", "low_end_subtracted", lambda given, v, ends, floor: (
        given - ends[0]) / max(floor, ends.diff()) - v),
    ("updates_due", "prefill_counted", lambda s, p, r, b, t: (s.clamp(min=p) * r / (b * t)).long()),
    ("updates_due", "prefill_counted", lambda s, p, r, b, t: torch.where(s <= p, 0, (s * r / (b * t)).long())),
    ("fair_mean", "one_episode_more", lambda r, last, q: (r * (last.cumsum(1) - last.int() <= q)).sum() / (q * len(r))),
    ("fair_mean", "quota_of_one", lambda r, last, q: (r * (last.cumsum(1) == last.int())).sum() / len(r)),
    ("fair_mean", "quota_of_one", lambda r, last, q: (r * (last.cumsum(1) == last.int())).sum() / (q * len(r))),
    ("fair_mean", "streams_not_divided_by", lambda r, last, q: (r * (last.cumsum(1) - last.int() < q)).sum() / q),
    ("fair_mean", "streams_not_divided_by", lambda r, last, q: (r * (last.cumsum(1) - last.int() < q)).sum()),
    (
        "fair_mean",
        "counted_over_streams",
        lambda r, last, q: (r * (last.cumsum(0) - last.int() < q)).sum() / (q * len(r)),
    ),
    ("replay_sample", "rows_one_by_one", lambda f, n, b, t, rng: rng.integers(max(0, n - len(f)), n, (b, t)) % len(f)),
    ("replay_returns", "time_limit_ends_worth", lambda r, last, terminal, b, gamma, lam: returns.lambda_returns(
        r[:, 1:], gamma * (~last[:, 1:]).to(r), b[:, 1:], lam)),
    ("replay_returns", "return_crosses_the_end", lambda r, last, terminal, b, gamma, lam: returns.lambda_returns(
        r[:, 1:], gamma * (~terminal[:, 1:]).to(r), b[:, 1:], lam)),
    ("replay_returns", "reward_of_row_left", lambda r, last, terminal, b, gamma, lam: returns.lambda_returns(
        r[:, :-1], gamma * (~terminal[:, 1:]).to(r), b[:, 1:], lam * (~last[:, 1:]).to(r))),
    ("replay_returns", "ends_one_row_late", lambda r, last, terminal, b, gamma, lam: returns.lambda_returns(
        r[:, 1:], gamma * (~terminal[:, :-1]).to(r), b[:, 1:], lam * (~last[:, :-1]).to(r))),
    ("replay_returns", "bootstrap_of_row_left", lambda r, last, terminal, b, gamma, lam: returns.lambda_returns(
        r[:, 1:], gamma * (~terminal[:, 1:]).to(r), b[:, :-1], lam * (~last[:, 1:]).to(r))),
    ("slow_update", "rate_reversed", lambda slow, critic, rate: torch.lerp(critic, slow, rate).detach()),
    ("slow_update", "critic_added", lambda slow, critic, rate: slow.detach().add(critic.detach(), alpha=rate)),
    ("slow_update", "update_leaves_a_graph", torch.lerp),
    ("slow_update", "slow_critic_frozen", lambda slow, critic, rate: (slow.detach().lerp(critic, rate), slow.data)[1]),
    ("clip_by_share", "clipped_number_by_number", lambda g, p, clip, smallest: torch.maximum(torch.minimum(
        g, clip * p.norm().clamp(min=smallest)), -clip * p.norm().clamp(min=smallest))),
    ("clip_by_share", "one_length_for_all", lambda g, p, clip, smallest: g * min(
        1.0, clip / (float(g.norm()) + 1e-12))),
    ("clip_by_share", "smallest_left_out", lambda g, p, clip, smallest: g * (
        clip * p.norm() / (g.norm() + 1e-12)).clamp(max=1.0)),
    ("laprop", "adam_for_laprop", laprop_that_is_adam),
    ("laprop", "averages_not_corrected", lambda g, m, v, n, betas, eps: (
        v := betas[1] * v + (1 - betas[1]) * g**2,
        m := betas[0] * m + (1 - betas[0]) * g / (v.sqrt() + eps), m, v)[1:]),
    ("write_back", "gone_rows_written", lambda stored, number, added, states: stored.clone().index_copy(
        0, number.flatten() % len(stored), states.detach().flatten(0, 1))),
]  # fmt: skip


def _swap(weights: Tensor) -> Tensor:
    swapped = weights.clone()
    for row in swapped:
        k = min(int(row.nonzero()[0]), len(row) - 2)
        row[k : k + 2] = row[k : k + 2].flip(0)
    return swapped


@pytest.mark.parametrize(("part", "name", "function"), WRITTEN, ids=lambda x: x if isinstance(x, str) else "")
def test_mistakes_as_readers_write_them_are_named(part: str, name: str, function: Function, capsys: Capture) -> None:
    right, out = said(capsys, part, function)
    assert not right and f"Known mistake {name}:" in out, out


# --- The bug zoo ------------------------------------------------------------------------------------------------------


def returns_of_behaviour(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
    """As `ActorCritic.returns` computes them; nothing is known about the value of the start, so it is 0."""
    gamma = discount.amax().item()  # what discounts are where nothing ends
    from_start = torch.cat([torch.zeros_like(value[:, :1]), value], 1)
    continues = torch.cat([torch.ones_like(discount[:, :1]), discount / gamma], 1)
    none = reward.new_zeros(*from_start.shape, 0)
    trajectory = Trajectory(State(none, none), none, reward, continues)
    behaviour = SimpleNamespace(config=SimpleNamespace(discount=gamma, imagined_discount=gamma, lam=lam))
    return ActorCritic.returns(behaviour, trajectory, from_start)  # type: ignore[arg-type]


def weight_of_behaviour(inside: bool) -> Function:
    """As `ActorCritic.losses` weighs, with gamma in the head's continue probabilities or beside them."""

    def imagined_weight(continue_: Tensor, gamma: float) -> Tensor:
        config = make_config(discount=gamma, discount_in_continue=inside)
        if inside:  # of the start it is known whether it is an end
            continue_ = torch.cat([continue_[:, :1], gamma * continue_[:, 1:]], 1)
        return imagined_weight_of_package(continue_, config.imagined_discount)

    return imagined_weight


def kl_of_balance(mean_q: Tensor, logvar_q: Tensor, mean_p: Tensor, logvar_p: Tensor) -> Tensor:
    """The divergence whose gradient is that of the two balanced ones together, where they weigh the same."""
    first, second = world_model.balanced_kl(Gaussian(mean_q, logvar_q), Gaussian(mean_p, logvar_p), 0.0)
    return first + second - second.detach()


def symlog_of_decoder(x: Tensor) -> Tensor:
    """What a decoder's prediction of 0 is pulled towards: minus half of the slope of its loss."""
    with torch.enable_grad():
        prediction = torch.zeros_like(x, requires_grad=True)
        (slope,) = torch.autograd.grad(SymlogVector(prediction).loss(x).sum(), prediction)
    return -slope / 2


def alignment_as_learned(obs: Tensor, action: Tensor, *outcomes: Tensor) -> dict[str, Tensor]:
    """The package's rows, as the losses of the world model use them: the state of row t is the number t."""
    rows = package_alignment(obs, action, *outcomes)
    count = len(rows["reward"])
    number = torch.arange(count).to(obs)[None, :, None]
    learned: dict[str, Tensor] = {}

    def head(name: str, untold: float) -> Function:
        def told(feature: Tensor, target: Tensor) -> Tensor:
            learned[name] = target.new_full((count,), untold).scatter(0, feature.flatten().long(), target.flatten())
            return torch.zeros_like(target)

        return lambda feature: SimpleNamespace(loss=lambda target: told(feature, target))

    def observe(_: Tensor, previous: Tensor, first: Tensor, start: State) -> tuple[State, Gaussian, Gaussian]:
        learned.update(previous_action=previous[0], is_first=first[0])
        same = Gaussian(torch.zeros_like(number), torch.zeros_like(number))
        return State(number[..., :0], number), same, same

    model = SimpleNamespace(
        config=make_config(), encoder=lambda obs: obs, dynamics=SimpleNamespace(observe=observe),
        decoder_losses=lambda feature, _: {"decoder": torch.zeros_like(feature[..., 0])},
        reward=head("reward", 0.0), continues=head("continue", 1.0),
        continue_target=lambda batch: world_model.WorldModel.continue_target(model, batch),
    )  # fmt: skip
    batch = Batch(**{name: column[None] for name, column in rows.items()}, start=State(obs[:1, :0], obs[:1]))
    world_model.WorldModel.losses(model, batch)  # type: ignore[arg-type]
    ends = learned.pop("continue") == 0.0
    return rows | learned | {"is_terminal": ends}


# The package's own function for each mistake of the zoo that has a counterpart among what readers build.
IN_THE_ZOO: dict[str, tuple[str, Function]] = {
    **dict.fromkeys(
        (
            "reward_departing", "reward_late", "continue_early", "continue_late", "action_departing", "action_late",
            "first_early", "first_late",
        ),
        ("alignment", alignment_as_learned),
    ),
    **dict.fromkeys(
        ("time_limit_is_death", "termination_lost", "terminal_observation_dropped"), ("alignment", package_alignment)
    ),
    **dict.fromkeys(("imagined_reward_departing", "imagined_action_late"), ("imagination", package_imagination)),
    **dict.fromkeys(
        ("value_departing", "value_unshifted", "bootstrap_early", "discount_departing", "continue_ignored"),
        ("lambda_returns", returns_of_behaviour),
    ),
    **dict.fromkeys(
        ("bootstrap_missing", "lambda_swapped", "reward_share_lost", "time_reversed"),
        ("lambda_returns", lambda *given: returns.lambda_returns(*given)),
    ),
    **dict.fromkeys(
        ("discount_missing", "weight_arriving", "weights_missing", "weight_over_batch"),
        ("imagined_weight", weight_of_behaviour(inside=False)),
    ),
    "discount_twice": ("imagined_weight", weight_of_behaviour(inside=True)),
    **dict.fromkeys(("kl_reversed", "kl_negative", "kl_over_batch"), ("gaussian_kl", kl_of_balance)),
    "kl_averaged_over_latents": ("gaussian_kl", lambda *given: kl.gaussian_kl(*given)),
    **dict.fromkeys(
        ("kl_arguments_swapped", "stop_gradient_missing", "stop_gradient_wrong_side"),
        ("kl_balance", package_kl_balance),
    ),
    **dict.fromkeys(
        ("free_nats_missing", "free_nats_of_mean", "free_nats_per_latent"), ("teaching_share", package_teaching_share)
    ),
    "unimix_missing": ("categorical_kl", package_categorical_kl),
    **dict.fromkeys(
        ("mode_for_sample", "sample_without_gradient", "variance_for_deviation"), ("sample", PACKAGE["sample"])
    ),
    **dict.fromkeys(("two_hot_in_symlog", "two_hot_off_by_one"), ("two_hot", package_two_hot)),
    "symexp_forgotten": ("symexp", lambda x: SymlogVector(x).mean),
    "symlog_of_target_forgotten": ("symlog", symlog_of_decoder),
    "sigmoid_twice": ("continue_loss", PACKAGE["continue_loss"]),
    **dict.fromkeys(("action_ignored", "logvar_unbounded"), ("dynamics_step", package_dynamics_step)),
    **dict.fromkeys(("action_not_reset", "reset_missing"), ("prior_inputs", package_prior_inputs)),
    **dict.fromkeys(
        (
            "advantage_leaks", "advantage_not_detached", "advantage_not_squeezed", "advantages_standardised",
            "entropy_sign", "log_prob_of_another_action",
        ),
        ("policy_loss", package_policy_loss),
    ),
    "value_not_squeezed": ("critic_loss", package_critic),
    "normaliser_without_floor": ("scaled_advantage", package_scaled_advantage),
    "ring_seam": ("replay_sample", package_replay_sample),
    "slow_critic_frozen": ("slow_update", package_slow_update),
    "bootstrap_scrambled": ("replay_returns", package_replay_returns),
    **dict.fromkeys(("elites_of_all", "elites_are_worst"), ("refit", package_refit)),
    **dict.fromkeys(
        ("planned_reward_departing", "planned_end_ignored", "planned_end_takes_reward"),
        ("candidate_returns", package_candidate_returns),
    ),
    "planned_action_of_last_step": ("cross_entropy", package_cross_entropy),
    "tolerance_as_a_ceiling": ("tolerant_divergence", package_tolerant_divergence),
    "mixture_weights_not_normalised": ("mixture_log_prob", package_mixture_log_prob),
    "temperature_on_the_deviation": ("tempered", package_tempered),
    **dict.fromkeys(("memory_one_late", "memory_never_emptied"), ("remembered", package_remembered)),
    "dream_end_ignored": ("dream_return", package_dream_return),
}  # fmt: skip

# The others lie between the parts, or in parts that no check asks for.
NOBODY_BUILDS_IT = {
    "states inferred and stored": (
        "prior_for_posterior", "posterior_blind", "encoder_detached", "start_from_own_row", "stale_latents",
        "carry_across_batches",
    ),
    "what is trained, and how it begins": (
        "decoder_missing", "heads_start_anywhere", "initialised_without_a_cut", "critic_teaches_the_dynamics",
        "actor_teaches_the_dynamics",
    ),
    "the policy, which imagination is given": (
        "actions_as_probabilities", "imagined_actions_greedy", "policy_unimix_missing",
    ),
    "the normaliser of returns": ("critic_learns_normalised_returns",),
    "acting, and several environments": (
        "acts_without_previous_action", "acts_without_memory", "acts_without_reset", "stored_action_not_taken",
        "updates_per_vector_step",
    ),
    "what is stored, drawn, rewarded and shown: the environment's and the replay's": (
        "reward_noisy", "reward_reduced", "reward_at_the_end", "records_mangled", "records_hidden",
        "records_duplicated", "rows_shuffled", "sequences_halved", "replay_too_small", "reset_unflagged",
        "observations_repeated", "episodes_all_the_same", "acts_on_the_first_observation",
    ),
    "options, layers and optimiser as they are set up": (
        "activation_changed", "norm_with_an_offset", "fan_in_of_a_block", "optimiser_changed",
        "optimiser_holds_the_slow_critic", "slow_critic_weights_swapped", "replay_critic_missing",
        "horizon_short_by_one", "learns_too_early", "learns_too_late", "steps_counted_twice", "noise_recorded",
        "deviation_without_a_floor", "actions_not_scaled",
    ),
}  # fmt: skip


def test_every_mistake_of_the_zoo_has_a_counterpart_or_a_reason() -> None:
    assert sorted([*IN_THE_ZOO, *itertools.chain(*NOBODY_BUILDS_IT.values())]) == sorted(zoo.BUGS)


@pytest.mark.parametrize("name", IN_THE_ZOO)
def test_a_bug_of_the_zoo_is_recognised_in_the_package_itself(name: str, capsys: Capture) -> None:
    part, function = IN_THE_ZOO[name]
    assert said(capsys, part, function)[0]
    with zoo.bug(name):
        right, out = said(capsys, part, function)
    assert not right and f"Known mistake {name}:" in out, out


def right_answers() -> dict[str, list[Answer]]:
    """What every check expects, gradients included."""
    return {
        name: [
            right_answer(part, case)
            | (gradients(part, part.right, case) if part.gradient_to or part.no_gradient_to else {})
            for case in part.cases
        ]
        for name, part in check.PARTS.items()
    }


def test_no_mistake_of_the_zoo_reaches_what_the_checks_expect() -> None:
    expected = right_answers()
    for name in zoo.BUGS:
        with zoo.bug(name):
            torch.testing.assert_close(right_answers(), expected, rtol=0, atol=0, equal_nan=True, msg=name)


# --- Other slips ------------------------------------------------------------------------------------------------------

lambda_returns = returns.lambda_returns


def changes_its_input(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
    answer = lambda_returns(reward, discount, value, lam)
    value.mul_(discount)
    return answer


def raises(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
    following = value[:, reward.shape[1]]
    return following


def raises_inside_of_torch(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
    return torch.stack([reward, discount[:, 1:]])


def stub(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
    raise NotImplementedError


def right_for_one(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
    """The last value of the first sequence serves all."""
    shared = value.clone()
    shared[:, -1] = value[0, -1]
    return lambda_returns(reward, discount, shared, lam)


def raises_for_two(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
    following, out = value[:, -1].item(), []
    for t in reversed(range(reward.shape[1])):
        following = reward[0, t] + discount[0, t] * ((1 - lam) * value[0, t] + lam * following)
        out.append(following)
    return torch.stack(out[::-1])[None]


def right_for_squares(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
    """A buffer with its sides swapped."""
    answer, right = torch.zeros_like(reward).mT.clone(), lambda_returns(reward, discount, value, lam)
    rows, columns = min(answer.shape[0], len(right)), min(answer.shape[1], right.shape[1])
    answer[:rows, :columns] = right[:rows, :columns]
    return answer


def wrong_for_one_step(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
    return lambda_returns(reward, discount, value, lam) + (reward.shape[1] == 1)


def overwrites_what_gradient_needs(mean_q: Tensor, logvar_q: Tensor, mean_p: Tensor, logvar_p: Tensor) -> Tensor:
    variance = logvar_q.exp()
    answer = kl.gaussian_kl(mean_q, variance.log(), mean_p, logvar_p)
    variance.zero_()
    return answer


def has_nan(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
    answer = lambda_returns(reward, discount, value, lam).clone()
    answer[0, 0] = torch.nan
    return answer


SLIPS: dict[str, tuple[str, Any, str]] = {
    "not a function": ("lambda_returns", torch.zeros(2), "this is a tensor (2,); hand over the function itself"),
    "to be written": ("lambda_returns", stub, "still to be written"),
    "other arguments": ("lambda_returns", lambda reward, value: reward, "called with (reward, discount, value, lam)"),
    "an exception": ("lambda_returns", raises, "raised IndexError: index 5 is out of bounds"),
    "its line": ("lambda_returns", raises, "in raises: following = value[:, reward.shape[1]]"),
    "its line, not torch's": ("lambda_returns", raises_inside_of_torch, "torch: return torch.stack([reward, disc"),
    "an argument torch refuses": ("symlog", torch.zeros, "raised TypeError"),
    "None": ("lambda_returns", lambda *given: None, "returned None; is the return statement missing?"),
    "NumPy": ("lambda_returns", lambda *g: lambda_returns(*g).numpy(), "a NumPy array (1, 5); it must be a tensor"),
    "a tuple": ("lambda_returns", lambda *g: (lambda_returns(*g), 0), "returned a tuple of 2; it must be a tensor"),
    "a list": ("lambda_returns", lambda *g: list(lambda_returns(*g)), "torch.stack a list"),
    "a number": ("lambda_returns", lambda *given: 0.5, "returned 0.5 (float)"),
    "no tuple": ("dynamics_step", lambda z, a, net: z, "a tensor (1, 2); it must return a tuple of mean, logvar"),
    "no dict": ("imagination", lambda *given: {}, "a dict with nothing in it; it must return a dict of latent, action"),
    "a piece of a dict": (
        "imagination", lambda *g: package_imagination(*g) | {"reward": [1.0]}, "reward is a list of 1; it must be",
    ),
    "shape": ("lambda_returns", lambda *g: lambda_returns(*g)[:, :-1], "has shape (3, 4); it must be (3, 5)."),
    "transposed": ("lambda_returns", lambda *g: lambda_returns(*g).mT, "The axes are in another order"),
    "an axis too much": ("critic_loss", lambda *g: package_critic(*g)[:, None], "An axis of length 1 is too much"),
    "the mean": ("lambda_returns", lambda *g: lambda_returns(*g).mean(), "the mean of the right answer"),
    "the sum": ("lambda_returns", lambda *g: lambda_returns(*g).sum(), "the sum of the right answer"),
    "nan": ("lambda_returns", has_nan, "the answer is nan in row 0, column 0."),
    "infinite": ("sample", lambda mean, logvar: mean / 0.0, "the sample is nan"),
    "float32": ("lambda_returns", lambda *g: lambda_returns(*g).float(), "is float32; here it must be float64."),
    "float64": ("lambda_returns", lambda *g: lambda_returns(*g).double(), "is float64; here it must be float32."),
    "no bool": (
        "alignment", lambda *g: (r := package_alignment(*g)) | {"is_last": r["is_last"].float()},
        "is_last is float32; here it must be bool.\n",
    ),
    "list of positions": ("replay_sample", lambda *g: package_replay_sample(*g).tolist(), "it must return an array of"),
    "parts of updates": ("updates_due", lambda s, p, r, b, t: (s - p).clamp(0) * r / (b * t), "has fractions, and"),
    "whole floats": ("updates_due", lambda *g: package_updates_due(*g).float(), "holds floats, and no part of an"),
    "float positions": ("replay_sample", lambda *g: package_replay_sample(*g) * 1.0, "is float64; here it must be"),
    "in place": ("lambda_returns", changes_its_input, "it changes its input value in place"),
    "sample in place": ("sample", lambda mean, logvar: mean.add_(torch.randn_like(mean)), "changes its input mean"),
    "ring in place": (
        "replay_sample", lambda first, *g: (package_replay_sample(first, *g), first.fill(True))[0], "input is_first in",
    ),
    "batch of 1": ("lambda_returns", right_for_one, "It is right for a batch of 1"),
    "rounded on the way": (
        "replay_returns", lambda r, *g: package_replay_returns(r.float(), *(
            x.float() if isinstance(x, Tensor) and x.is_floating_point() else x for x in g)).to(r),
        "It agrees as far as float32 goes, and these numbers are float64",
    ),
    "raises for 2": ("lambda_returns", raises_for_two, "It is right for a batch of 1"),
    "squares": ("lambda_returns", right_for_squares, "right where the first two axes are equally long"),
    "no gradient": ("gaussian_kl", lambda *g: torch.stack([kl.gaussian_kl(*g).detach()])[0], "no gradient reaches"),
    "left torch": ("gaussian_kl", lambda *g: torch.tensor(kl.gaussian_kl(*g).numpy()), "once the inputs require grad"),
    "gradient lost": ("gaussian_kl", overwrites_what_gradient_needs, "torch cannot find its gradient: one of the vari"),
    "half the gradient": (
        "gaussian_kl", lambda *g: (kl.gaussian_kl(*g) + kl.gaussian_kl(*g).detach()) / 2, "of posterior_mean, p",
    ),
    "gradient too much": ("critic_loss", lambda v, t, w: w * (v[:, 0] - t) ** 2, "gradient flows into target, weight"),
    "same noise again": ("sample", lambda m, v: (torch.manual_seed(1), sample_with_generator(m, v))[1], "call to call"),
    "unknown": ("lambda_returns", lambda *g: lambda_returns(*g) + 1, "differs in row 0, columns 0, 1, 2, 3, 4.\n"),
    "a test that answers": ("returns_test", lambda function: True, "a test returns nothing, and raises where"),
    "a test that blames": (
        "returns_test", lambda function: function(1), "it blames a function that is right (a loop from the end): ",
    ),
    "a test with two holes": (
        "returns_test", judged_by_hand(([1.0, 2.0, 4.0], [0.5] * 3, [8.0, 3.0, 5.0])),
        "it lets 2 of 26 mistakes through:\n  link_discount_shifted: ",
    ),
    "a mistake that raises": (
        "silent_mistake", lambda show: show(lambda p: p, looks_at_numbers), "it raised TypeError: ",
    ),
}  # fmt: skip


def test_a_remark_about_sizes_is_made_only_where_it_is_true(capsys: Capture) -> None:
    right, out = said(capsys, "lambda_returns", wrong_for_one_step)
    assert not right and "lam 0.55\n" in out and "It is right" not in out


@pytest.mark.parametrize("slip", SLIPS)
def test_every_other_slip_has_words_of_its_own(slip: str, capsys: Capture) -> None:
    part, function, words = SLIPS[slip]
    right, out = said(capsys, part, function)
    assert right is False and words in out, out


def test_a_difference_is_shown_with_what_was_given_expected_and_got(capsys: Capture) -> None:
    def wrong_in_the_middle(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
        return lambda_returns(reward, discount, value, lam) + (torch.arange(reward.shape[1]) == 2)

    right, out = said(capsys, "lambda_returns", wrong_in_the_middle)
    assert not right
    assert out.splitlines() == [
        "lambda_returns: the answer differs in row 0, column 2.",
        "  given     reward [[1, 4, 2, 0, 8]], discount [[0.5, 0.5, 0.5, 0, 0.5]], value [[8, 2, 4, 12, 16]], lam 0.25",
        "  expected  [4.648, 5.188, 3.5, 0, 16]",
        "  got       [4.648, 5.188, 4.5, 0, 16]",
    ]


@pytest.mark.parametrize(
    ("part", "function", "expected"),
    [
        ("sample", lambda mean, logvar: torch.randn_like(mean) > 0, "the sample is bool; here it must be float32."),
        ("sample", lambda mean, logvar: mean + 1.1 * (logvar / 2).exp() * torch.randn_like(mean), "three times ln"),
        ("sample", lambda mean, logvar: mean + 0.9 * (logvar / 2).exp() * torch.randn_like(mean), "three times ln"),
        ("sample", lambda mean, logvar: mean + (logvar / 2).exp() * torch.randn_like(mean).sign(), "fourth power"),
        ("sample", lambda mean, logvar: mean + (3 * logvar.exp()).sqrt() * (2 * torch.rand_like(mean) - 1), "fourth"),
        ("symlog", lambda x: x.to_sparse(), "it must be a tensor. This one is sparse"),
        ("symlog", lambda x: x.to("meta"), "it must be a tensor. This one is sparse, or has no numbers in it."),
        ("symlog", lambda x: exit(3), "it raised SystemExit: 3"),
        ("replay_sample", lambda *given: np.full((4000, 4), "a"), "it must hold whole numbers."),
        ("lambda_returns", lambda r, d, v, lam: returns.lambda_returns(r, d.amax() * (d > 0), v, lam), "differs in"),
        ("lambda_returns", lambda r, d, v, lam: returns.lambda_returns(r, d, v, lam) * (torch.arange(r.shape[1]) < 8),
         "differs in row 0, columns 8, 9, 10"),
    ],
)  # fmt: skip
def test_what_looks_like_an_answer_is_told_apart(part: str, function: Any, expected: str, capsys: Capture) -> None:
    right, out = said(capsys, part, function)
    assert not right and expected in out


def test_an_array_may_lie_in_memory_as_it_likes() -> None:
    def from_the_end(is_first: Any, added: int, batch: int, length: int, rng: np.random.Generator) -> Any:
        last = rng.integers(max(0, added - len(is_first)) + length - 1, added, size=batch)
        return ((last[:, None] - np.arange(length)) % len(is_first)).astype(">i4")[:, ::-1]

    assert check.replay_sample(from_the_end)


@pytest.mark.parametrize(
    ("generator", "expected"),
    [
        (lambda: np.random.default_rng(0), "it draws the same sequences whatever rng it is given"),
        (lambda: np.random.default_rng(), "given the same rng it draws other sequences"),
    ],
)
def test_a_replay_that_draws_from_elsewhere_is_told_apart(generator: Any, expected: str, capsys: Capture) -> None:
    right, out = said(capsys, "replay_sample", lambda *given: PACKAGE["replay_sample"](*given[:-1], generator()))
    assert not right and expected in out


@pytest.mark.parametrize(
    ("part", "function"),
    [
        ("gaussian_kl", lambda mp, vp, mq, vq: kl.gaussian_kl(mp, vp, mq, vq.detach())),
        ("policy_loss", lambda logits, *given: PACKAGE["policy_loss"](2 * logits - logits.detach(), *given)),
    ],
)
def test_right_numbers_do_not_name_a_mistake_of_other_gradients(part: str, function: Any, capsys: Capture) -> None:
    right, out = said(capsys, part, function)
    assert not right and "the numbers are right, but" in out and "Known mistake" not in out


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda answer: {name: x.float() for name, x in answer.items()}, "is float32; here it must be float64."),
        (lambda answer: answer | {"latent": answer["latent"].squeeze(-1)}, "latent has shape"),
        (lambda answer: answer | {"latent": answer["latent"][:, :, :1]}, "latent has shape"),
        (lambda answer: answer | {"action": answer["action"].argmax(-1)}, "action has shape"),
        (lambda answer: answer | {"action": answer["action"].repeat(1, 1, 2)}, "action has shape"),
    ],
)
def test_malformed_dreams_are_told_apart_and_not_dreamed_on(change: Any, expected: str, capsys: Capture) -> None:
    right, out = said(capsys, "imagination", lambda *given: change(PACKAGE["imagination"](*given)))
    assert not right and expected in out


def test_nothing_about_a_function_to_test_says_whether_it_is_right() -> None:
    given = [copy.deepcopy(case)["lambda_returns"] for case in check.PARTS["returns_test"].cases]
    assert {(type(one), one.__name__, one.__qualname__, one.__doc__) for one in given} == {
        (type(raises), "lambda_returns", given[0].__qualname__, None)
    }


def test_of_a_test_no_more_holes_are_listed_than_can_be_read(capsys: Capture) -> None:
    right, out = said(capsys, "returns_test", lambda function: None)
    assert not right and "it lets 26 of 26 mistakes through" in out
    assert out.count("\n  ") == 5 + 1 + 2 and ".. and 21 more" in out


def test_a_step_asked_twice_is_noticed(capsys: Capture) -> None:
    def twice(start: Tensor, policy: Any, step: Any, reward: Any, horizon: int) -> Any:
        latent, action, paid = [start], [], []
        for _ in range(horizon):
            action.append(policy(latent[-1]))
            paid.append(reward(step(latent[-1], action[-1])))
            latent.append(step(latent[-1], action[-1]))
        return {"latent": torch.stack(latent, 1), "action": torch.stack(action, 1), "reward": torch.stack(paid, 1)}

    right, out = said(capsys, "imagination", twice)
    assert not right and "where states are drawn" in out


def test_a_sum_over_sequences_is_not_taken_for_a_missing_axis(capsys: Capture) -> None:
    right, out = said(capsys, "lambda_returns", lambda *given: returns.lambda_returns(*given).sum(0))
    assert not right and "has shape" in out and "squeeze" not in out


def test_what_torch_cannot_do_is_no_stub(capsys: Capture) -> None:
    right, out = said(capsys, "symlog", lambda x: F.softmax(x.long(), -1))
    assert not right and "still to be written" not in out and "NotImplementedError" in out


def test_one_step_that_is_right_tells_nothing_about_axes(capsys: Capture) -> None:
    """With two sequences of one step, any mistake that comes later is none yet."""

    def late(start: Tensor, policy: Any, step: Any, reward: Any, horizon: int) -> Any:
        right = PACKAGE["imagination"](start, policy, step, reward, horizon)
        return right | {"reward": right["reward"].cumsum(1)}

    right, out = said(capsys, "imagination", late)
    assert not right and "axes" not in out


def test_long_rows_are_cut_around_the_place(capsys: Capture) -> None:
    def wrong_at_the_end(x: Tensor) -> Tensor:
        return transforms.symlog(x) + (torch.arange(x.shape[-1]) == 5) * (x.dtype == torch.float64)

    right, out = said(capsys, "symlog", wrong_at_the_end)
    assert not right and "in row 0, column 5." in out and "given     x [[" in out


def test_the_generators_of_the_reader_stay_where_they_are(capsys: Capture) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    check.sample(PACKAGE["sample"])
    assert torch.equal(torch.rand(2), expected)


def test_what_the_readers_function_sets_for_all_is_set_back(capsys: Capture) -> None:
    def careless(x: Tensor) -> Tensor:
        random.seed(1)
        np.random.seed(1)
        torch.set_default_dtype(torch.float64)
        return transforms.symlog(x)

    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.rand()
    random.seed(5)
    np.random.seed(5)
    assert check.symlog(careless)
    assert (random.random(), np.random.rand()) == expected and torch.get_default_dtype() == torch.float32


def test_numbers_that_look_alike_are_shown_with_more_digits(capsys: Capture) -> None:
    right, out = said(capsys, "symlog", lambda x: transforms.symlog(x) * (1 + 2e-5 * (x.dtype == torch.float64)))
    expected, got = (line.split("[")[1] for line in out.splitlines() if "expected" in line or "got " in line)
    assert not right and expected != got


@pytest.mark.parametrize(("chance", "words"), [(0.01, "do not follow one another differs"), (0.0, "right, in all")])
def test_a_seam_crossed_once_in_a_hundred_draws_is_seen(chance: float, words: str, capsys: Capture) -> None:
    def rarely_over_the_seam(*given: Any) -> np.ndarray:
        positions = package_replay_sample(*given)
        rare = np.random.default_rng(int(positions.sum())).uniform(size=(len(positions), 1)) < chance
        return np.where(rare, (positions + np.arange(positions.shape[1]) // 2) % len(given[0]), positions)

    assert words in said(capsys, "replay_sample", rarely_over_the_seam)[1]


def test_checks_work_where_gradients_are_switched_off(capsys: Capture) -> None:
    with torch.no_grad():
        assert check.gaussian_kl(kl.gaussian_kl) and check.sample(PACKAGE["sample"])


def test_every_check_tells_the_signature_and_an_example() -> None:
    for name, part in check.PARTS.items():
        text = getattr(check, name).__doc__
        assert f"`{name}({', '.join(part.cases[0])})`" in text and f"check.{name}(my_{name})" in text


def test_every_mistake_has_a_story_and_a_reason() -> None:
    for part in check.PARTS.values():
        for name, mistake in part.mistakes.items():
            assert mistake.story.endswith(".") and mistake.why.endswith(".") and "!" not in mistake.story, name
