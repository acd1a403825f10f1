"""The two axes of the lineage, memory and latent, and the heads: what holds for every combination of them."""

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from helpers import IMAGES, VECTORS, assert_independent, depends, random_batch, randomise, receivers, uniform
from helpers import SMALL as SMALL_MODEL
from scripted import Scripted, tiny
from torch import Tensor

from wm_tutorial.actor_critic import ActorCritic
from wm_tutorial.agent import Agent
from wm_tutorial.config import Config, make_config
from wm_tutorial.data import Spaces, State
from wm_tutorial.dynamics import RSSM, BlockGRU, FeedForward, make_dynamics
from wm_tutorial.errors import InputError
from wm_tutorial.imagination import imagine
from wm_tutorial.latents import CategoricalLatent, Categoricals, Gaussian, GaussianLatent
from wm_tutorial.networks import BlockLinear
from wm_tutorial.scan import QuickRSSM
from wm_tutorial.trainer import Trainer
from wm_tutorial.transforms import TwoHot, symexp_bins
from wm_tutorial.world_model import WorldModel

B, T, E, A = 2, 5, 6, 2
LATENTS = {"gaussian": GaussianLatent(4), "categorical": CategoricalLatent(3, 4)}
AXES = list(itertools.product(("feed-forward", "rssm"), ("gaussian", "categorical")))


def dynamics(memory: str, latent: str) -> FeedForward | RSSM:
    rule = LATENTS[latent]
    if memory == "rssm":
        return randomise(RSSM(BlockGRU(8, rule.size, A, hidden=6, blocks=2), E, rule, memory=8, hidden=6))
    return randomise(FeedForward(E, A, rule, hidden=8, layers=1))


def rows(model: FeedForward | RSSM, seed: int = 0) -> dict[str, Tensor | State]:
    return {
        "embedding": uniform(B, T, E, seed=seed),
        "action": uniform(B, T, A, seed=seed + 1),
        "is_first": torch.zeros(B, T, dtype=torch.bool),
        "start": State(uniform(B, model.memory_size, seed=seed + 2), uniform(B, model.latent_size, seed=seed + 3)),
    }


def natural(distribution: Gaussian | Categoricals) -> Tensor:
    """The parameters of a distribution, side by side: (..., P)."""
    if isinstance(distribution, Gaussian):
        return torch.cat([distribution.mean, distribution.logvar], -1)
    return distribution.logits.flatten(-2)


def without_chance(self: Gaussian | Categoricals) -> Tensor:
    """A stand-in for `sample`: the mean of a Gaussian, the probabilities of categoricals, with their gradients."""
    return self.mean if isinstance(self, Gaussian) else self.logits.exp().flatten(-2)


@pytest.fixture
def no_chance() -> object:
    with patch.object(Gaussian, "sample", without_chance), patch.object(Categoricals, "sample", without_chance):
        yield


# --- What depends on what ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("latent", LATENTS)
def test_with_memory_a_row_depends_on_all_rows_before_it_and_on_none_after(latent: str, no_chance: None) -> None:
    model = dynamics("rssm", latent)
    given = rows(model)
    embedding, action = given["embedding"].requires_grad_(), given["action"].requires_grad_()
    states, posterior, prior = model.observe(**given)
    upto, before = [list(range(t + 1)) for t in range(T)], [list(range(t)) for t in range(T)]
    assert depends(natural(posterior), embedding) == upto
    assert depends(natural(prior), embedding) == before  # expected before o_t is seen
    assert depends(natural(prior), action) == upto  # row t holds a_{t-1}
    assert depends(states.memory, embedding) == before


def test_what_a_late_row_needs_is_learned_through_the_memory_alone() -> None:
    """A latent that passes no gradient on closes the other way back, so only h carries it to earlier rows."""
    model = dynamics("rssm", "categorical")
    given = rows(model)
    action = given["action"].requires_grad_()
    with patch.object(Categoricals, "sample", lambda self: self.logits.exp().flatten(-2).detach()):
        states, _, _ = model.observe(**given)
    assert depends(states.memory, action) == [list(range(t + 1)) for t in range(T)]


def test_with_memory_greedy_takes_the_most_likely_latent_and_otherwise_a_sample() -> None:
    model = dynamics("rssm", "categorical")
    given = rows(model)
    many = 500  # of the same row: not all samples are the mode
    start, action = given["start"][[0] * many], given["action"][:1, 0].expand(many, A)
    is_first, embedding = torch.zeros(many, dtype=torch.bool), given["embedding"][:1, 0].expand(many, E)
    arguments = (start, action, is_first, embedding)
    torch.manual_seed(0)
    greedy, sampled = model.step(*arguments, greedy=True), model.step(*arguments)
    mode = model.posterior_given(greedy.memory, embedding).mode
    assert torch.equal(greedy.latent, mode)
    assert not torch.equal(sampled.latent, mode) and torch.equal(sampled.memory, greedy.memory)


@pytest.mark.parametrize(("memory", "latent"), AXES)
@pytest.mark.parametrize("first", range(T))
def test_nothing_before_the_first_row_of_an_episode_matters(memory: str, latent: str, first: int) -> None:
    model = dynamics(memory, latent)
    one, other = rows(model), rows(model, seed=50)
    other["embedding"][:, first:] = one["embedding"][:, first:]
    other["action"][:, first + 1 :] = one["action"][:, first + 1 :]

    def observed(given: dict[str, Tensor | State], reset: bool) -> Tensor:
        is_first = torch.zeros(B, T, dtype=torch.bool)
        is_first[:, first] = reset
        torch.manual_seed(0)
        states, posterior, prior = model.observe(**{**given, "is_first": is_first})
        return torch.cat([states.memory, natural(posterior), natural(prior)], -1)[:, first:]

    assert torch.equal(observed(one, True), observed(other, True))
    assert not torch.equal(observed(one, False), observed(other, False))


@pytest.mark.parametrize(("memory", "latent"), AXES)
def test_acting_row_by_row_infers_the_same_as_learning_from_the_sequence(
    memory: str, latent: str, no_chance: None
) -> None:
    model = dynamics(memory, latent)
    given = rows(model)
    given["is_first"][0, 2] = given["is_first"][1, 4] = True
    states, _, _ = model.observe(**given)
    state = given["start"]
    for t in range(T):
        state = model.step(state, given["action"][:, t], given["is_first"][:, t], given["embedding"][:, t])
        torch.testing.assert_close(state.feature, states.feature[:, t])


@pytest.mark.parametrize("prefill", [1000, 0])
@pytest.mark.parametrize(("memory", "latent"), AXES)
def test_acting_infers_the_states_that_learning_infers(memory: str, latent: str, prefill: int, no_chance: None) -> None:
    """Two environments of short episodes: what the agent remembers from step to step is what it learns from later."""
    sizes = {"memory_size": 8, "memory_blocks": 2, "latent_classes": 3, "envs": 2, "prefill": prefill}
    trainer = Trainer(lambda: Scripted([3, -2]), tiny(memory=memory, latent=latent, **sizes))
    randomise(trainer.agent.world_model)
    while trainer.replay.added < 9:
        trainer.collect()
    batch, place = trainer.replay.sample(6, 8, np.random.default_rng(0))
    assert batch.is_first.any() and batch.is_terminal.any()
    observed = trainer.agent.world_model.observe(batch)
    for name in ("memory", "latent"):
        while_acting = trainer.replay.columns[name][place.stream[:, None], place.number]
        torch.testing.assert_close(getattr(observed, name).detach(), torch.from_numpy(while_acting))


@pytest.mark.parametrize(("memory", "latent"), AXES)
def test_imagining_a_step_draws_from_the_prior_of_the_next_row(memory: str, latent: str, no_chance: None) -> None:
    model = dynamics(memory, latent)
    given = rows(model)
    states, _, prior = model.observe(**given)
    imagined = model.imagine(states[:, 1], given["action"][:, 2])
    torch.testing.assert_close(imagined.memory, states.memory[:, 2])
    rule, wanted = LATENTS[latent], natural(prior)[:, 2]
    expected = wanted[..., : rule.size] if latent == "gaussian" else wanted.exp()
    torch.testing.assert_close(imagined.latent, expected)


@pytest.mark.parametrize("how", ["observe", "step", "imagine"])
@pytest.mark.parametrize(("memory", "latent"), AXES)
def test_every_latent_that_is_inferred_or_imagined_has_chance_of_its_own(memory: str, latent: str, how: str) -> None:
    """In a model that knows nothing, nothing but chance is left, and it is the same for no two rows or sequences."""
    sizes = {"memory_size": 8, "memory_blocks": 2, "latent_size": 3, "latent_classes": 2, "hidden": 6}
    model = make_dynamics(Config(memory=memory, latent=latent, **sizes), E, A, QuickRSSM)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    count, length = 60, 61
    embedding, action, never = torch.zeros(count, E), torch.zeros(count, A), torch.zeros(count, dtype=torch.bool)
    state, latents = model.initial(count), []
    torch.manual_seed(0)
    if how == "observe":
        rows_of = (x.unsqueeze(1).expand(count, length, *x.shape[1:]) for x in (embedding, action, never))
        states, _, _ = model.observe(*rows_of, state)
        latents = list(states.latent.detach().unbind(1))
    while len(latents) < length:
        state = model.step(state, action, never, embedding) if how == "step" else model.imagine(state, action)
        latents.append(state.latent.detach())
    assert_independent(torch.stack(latents, 1).unflatten(-1, (3, -1))[..., 0])


# --- The block GRU ----------------------------------------------------------------------------------------------------


def test_a_block_linear_layer_is_a_block_diagonal_matrix() -> None:
    layer = randomise(BlockLinear(3, 4, 2))
    x = uniform(5, 3, 4, seed=0)
    whole = torch.block_diag(*layer.weight)
    torch.testing.assert_close(layer(x).flatten(1), x.flatten(1) @ whole + layer.bias.flatten())


def test_the_memory_forgets_slowly_at_first() -> None:
    """Untrained and without inputs, the update gate lets in sigmoid(-1) of tanh(0): about a quarter is forgotten."""
    core = BlockGRU(memory=8, latent=3, action=2, hidden=6, blocks=2)
    with torch.no_grad():
        core.gates.weight.zero_()
    memory = uniform(4, 8, seed=0)
    after = core(State(memory, torch.zeros(4, 3)), torch.zeros(4, 2))
    torch.testing.assert_close(after, memory * (1.0 - 1.0 / (1.0 + math.e)))


def test_a_memory_that_does_not_divide_is_refused() -> None:
    with pytest.raises(InputError, match="multiple of 3"):
        BlockGRU(memory=8, latent=3, action=2, hidden=6, blocks=3)


# --- Categorical latents ----------------------------------------------------------------------------------------------


def test_samples_are_one_hot_and_follow_the_mixed_probabilities() -> None:
    latent = CategoricalLatent(2, 3, unimix=0.3)
    raw = torch.tensor([5.0, 0.0, 0.0, 0.0, 1.0, 2.0])
    torch.manual_seed(0)
    samples = latent(raw.expand(20_000, 6)).sample().reshape(-1, 2, 3)
    assert set(samples.unique().tolist()) == {0.0, 1.0} and torch.all(samples.sum(-1) == 1)
    probability = 0.7 * torch.softmax(raw.reshape(2, 3), -1) + 0.1
    error = torch.sqrt(probability * (1 - probability) / 20_000)
    assert torch.all((samples.mean(0) - probability).abs() < 4 * error)


def test_the_gradient_of_a_sample_is_that_of_its_probabilities() -> None:
    latent, direction = CategoricalLatent(2, 3, unimix=0.2), uniform(6, seed=3)
    raw = uniform(6, seed=4).requires_grad_()
    sample = latent(raw).sample()
    assert sample.requires_grad
    (through,) = torch.autograd.grad((sample * direction).sum(), raw)
    probabilities = 0.8 * torch.softmax(raw.reshape(2, 3), -1) + 0.2 / 3
    (direct,) = torch.autograd.grad((probabilities.flatten() * direction).sum(), raw)
    torch.testing.assert_close(through, direct)


def test_the_divergence_is_summed_over_the_variables_and_not_over_the_batch() -> None:
    latent = CategoricalLatent(2, 3, unimix=0.01)
    p, q = latent(uniform(4, 6, seed=0)), latent(uniform(4, 6, seed=1))
    apart = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=p.logits), torch.distributions.Categorical(logits=q.logits)
    )
    assert apart.shape == (4, 2)
    torch.testing.assert_close(p.kl(q), apart.sum(-1))


# --- Two-hot ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [-1e9, -4321.0, -1.0, 0.0, 0.3, 1.0, 77.0, 1e9])
def test_the_best_two_hot_prediction_has_the_target_as_its_mean(target: float) -> None:
    """Gradient descent on the loss from uniform logits finds it, whatever the size; beyond the bins, the last bin."""
    bins = symexp_bins(41)
    logits = torch.zeros(41, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        TwoHot(logits, bins).loss(torch.tensor(target)).backward()
        optimizer.step()
    wanted = max(min(target, float(bins[-1])), float(bins[0]))
    weight = torch.softmax(logits.detach(), -1)
    beside = torch.topk(weight, 2).indices
    low, high = bins[beside].min().item(), bins[beside].max().item()
    assert weight[beside].sum() > 0.99 and low <= wanted <= high


def test_two_hot_weights_are_shared_in_the_units_of_the_number() -> None:
    """Half-way between bins 1 and 3 is 2, not the middle in symlog space."""
    bins = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0])
    logits = torch.tensor([1.0, 0.0, 0.0, 2.0, 5.0])
    log_p = torch.log_softmax(logits, -1)
    loss = TwoHot(logits, bins).loss(torch.tensor([2.0, 1.0, 1.5, 9.0, -9.0]))
    expected = [-(log_p[3] + log_p[4]) / 2, -log_p[3], -(0.75 * log_p[3] + 0.25 * log_p[4]), -log_p[4], -log_p[0]]
    torch.testing.assert_close(loss, torch.stack(expected))


def test_two_hot_targets_teach_nothing_to_whoever_made_them() -> None:
    target = torch.tensor([1.0], requires_grad=True)
    TwoHot(torch.zeros(1, 5, requires_grad=True), symexp_bins(5)).loss(target).sum().backward()
    assert target.grad is None


# --- Every combination, end to end ------------------------------------------------------------------------------------

SMALL = {"memory_size": 8, "memory_blocks": 2, "bins": 41, "warmup": 5}
OLD = {"heads": "squared-error", "optimizer": "adam"}
NEW = {"heads": "two-hot", "optimizer": "laprop", "norm": "rms", "discount_in_continue": True}
NEW |= {"replay_critic_scale": 0.3, "imagined_starts": 0}
COMBINATIONS = [
    {"memory": memory, "latent": latent, **rest} for (memory, latent), rest in itertools.product(AXES, (OLD, NEW))
]


@pytest.mark.parametrize("options", COMBINATIONS, ids=lambda o: f"{o['memory']}, {o['latent']}, {o['heads']}")
@pytest.mark.parametrize("environment", ["CartPole-v1", "Pendulum-v1"])
def test_every_combination_learns_stops_and_goes_on(environment: str, options: dict[str, Any], tmp_path: Path) -> None:
    config = tiny(**{**SMALL, **options})
    never_stopped = Trainer(environment, config)
    never_stopped.run()
    stopped = Trainer(environment, config, tmp_path)
    while stopped.steps < config.steps // 2:
        stopped.collect()
        while stopped.updates < stopped.updates_due:
            stopped.train_step()
    stopped.save()
    resumed = Trainer.load(tmp_path)
    resumed.run()
    assert never_stopped.updates == resumed.updates > 0
    for name, parameter in never_stopped.agent.state_dict().items():
        assert torch.equal(parameter, resumed.agent.state_dict()[name]), name


def test_the_axes_choose_the_parts() -> None:
    assert isinstance(make_dynamics(Config(), E, A, QuickRSSM), FeedForward)
    rssm = make_dynamics(Config(memory="rssm", latent="categorical", latent_size=5, latent_classes=7), E, A, QuickRSSM)
    assert isinstance(rssm, RSSM) and rssm.latent_size == 35


def test_gamma_is_either_in_the_continue_probability_or_beside_it() -> None:
    for inside, target in ((False, 1.0), (True, 0.9)):
        config = replace(SMALL_MODEL, discount=0.9, discount_in_continue=inside)
        model = randomise(WorldModel(VECTORS, config))
        torch.manual_seed(0)
        losses, states = model.losses(random_batch(VECTORS, 2, 4))
        wanted = model.continues(states.feature).loss(torch.full((2, 4), target))
        torch.testing.assert_close(losses["continue"], wanted)
        assert config.imagined_discount * target == pytest.approx(0.9)


def test_only_the_critics_loss_on_real_sequences_reaches_the_world_model() -> None:
    config = replace(SMALL_MODEL, replay_critic_scale=0.3, imagined_starts=0)
    model, behaviour = randomise(WorldModel(VECTORS, config)), randomise(ActorCritic(4, VECTORS, config), seed=1)
    batch = random_batch(VECTORS, 2, 4)
    _, states = model.losses(batch)
    trajectory = imagine(model, behaviour.actor, states.detach().flatten(), 2)
    losses, _, _ = behaviour.losses(trajectory, batch, states)
    parts = {"encoder": model.encoder, "actor": behaviour.actor, "critic": behaviour.critic}
    assert {name: receivers(loss, parts) for name, loss in losses.items()} == {
        "actor": {"actor"},
        "critic": {"critic"},
        "replay critic": {"encoder", "critic"},
    }


@pytest.mark.parametrize("inside", [False, True], ids=["gamma beside continue", "gamma inside continue"])
def test_beyond_each_real_step_stands_the_return_imagined_from_there(inside: bool) -> None:
    """With lambda 0 every real return is r_{t+1} + gamma R_{t+1}, and R is the first imagined return of that state.

    Real rows know whether they were an end and ask no head, so gamma stands here wherever it stands in imagination.
    After a termination nothing follows; after a time limit what is imagined does. A last row has no return.
    """
    config = replace(SMALL_MODEL, replay_critic_scale=1.0, imagined_starts=0, lam=0.0, slow_critic_scale=0.0)
    config = replace(config, discount=0.9, discount_in_continue=inside)
    model, behaviour = randomise(WorldModel(VECTORS, config)), randomise(ActorCritic(4, VECTORS, config), seed=1)
    batch = random_batch(VECTORS, 2, 4)
    last, terminal = torch.tensor([[0, 1, 0, 0], [0, 0, 1, 0]]).bool(), torch.tensor([[0, 1, 0, 0], [0] * 4]).bool()
    batch = replace(batch, is_first=last.roll(1, 1), is_last=last, is_terminal=terminal)
    _, states = model.losses(batch)
    trajectory = imagine(model, behaviour.actor, states.detach().flatten(), 3)
    losses, _, _ = behaviour.losses(trajectory, batch, states)
    with torch.no_grad():
        imagined = behaviour.returns(trajectory, behaviour.critic(trajectory.state.feature).mean)
        beyond = torch.where(terminal, 0.0, imagined[:, 0].reshape(2, 4))
        target = batch.reward[:, 1:] + 0.9 * beyond[:, 1:]
        wanted = torch.where(last[:, :-1], 0.0, behaviour.critic(states.feature[:, :-1]).loss(target))
    torch.testing.assert_close(losses["replay critic"].detach(), wanted)


# --- The reference's architecture -------------------------------------------------------------------------------------


WALKER = Spaces("vector", (24,), "continuous", 6, (-1.0,) * 6, (1.0,) * 6)
ATARI = Spaces("image", (64, 64, 3), "discrete", 18, (0.0,), (17.0,))


@pytest.mark.parametrize(
    ("size", "of_vectors", "of_images"),
    [
        ("size1m", 640_867, 688_004),
        ("size12m", 9_738_019, 10_498_772),
        ("size25m", 21_782_947, 23_496_244),
        ("size50m", 38_612_003, 41_659_284),
        ("size100m", 86_622_499, 93_482_068),
        ("size200m", 153_769_507, 165_967_124),
        ("size400m", 345_473_059, 372_924_052),
    ],
)
def test_with_the_reference_s_sizes_there_are_as_many_parameters(size: str, of_vectors: int, of_images: int) -> None:
    """The slow critic is left out, as it learns nothing: danijar/dreamerv3 `dreamerv3/configs.yaml:120-153`."""
    for spaces, parameters in ((WALKER, of_vectors), (ATARI, of_images)):
        with torch.device("meta"):
            agent = Agent(spaces, make_config("dreamer_v3", size))
        parts = (agent.world_model, agent.behaviour.actor, agent.behaviour.critic)
        assert sum(p.numel() for part in parts for p in part.parameters()) == parameters, spaces.obs_kind


@pytest.mark.parametrize("norm", ["layer", "rms"])
@pytest.mark.parametrize("shape", [(16, 16, 1), (17, 23, 2), (6, 30, 3)])
def test_a_model_with_memory_explains_images_of_any_size(shape: tuple[int, int, int], norm: str) -> None:
    """Every parameter of the decoder learns, and a reconstruction depends on the images up to its own row."""
    config = replace(SMALL_MODEL, memory="rssm", latent="categorical", memory_size=24, memory_blocks=8, norm=norm)
    spaces = replace(IMAGES, obs_shape=shape)
    torch.manual_seed(0)
    model = WorldModel(spaces, config)
    latent = model.dynamics.latent_size
    batch = random_batch(spaces, B, T, memory=24, latent=latent)
    embedding = model.encoder(batch.obs).detach().requires_grad_()
    with patch.object(model.encoder, "forward", lambda _: embedding):
        losses, _ = model.losses(batch)
    assert receivers(losses["decoder"], {"decoder": model.decoder}) == {"decoder"}
    assert depends(losses["decoder"], embedding) == [list(range(t + 1)) for t in range(T)]
