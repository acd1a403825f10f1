"""What is learned, against worlds whose answers are known exactly. These tests train, so they take about a minute."""

import numpy as np
import pytest
import torch

from wm_tutorial.config import make_config
from wm_tutorial.data import Array, State
from wm_tutorial.trainer import Trainer
from wm_tutorial.worlds import Corridor, LinearGaussian, kalman_filter, policy_values, value_iteration


@pytest.fixture(autouse=True)
def one_seed() -> None:
    torch.manual_seed(0)


def random_rows(seed: int, steps: int) -> Trainer:
    """A trainer on LinearGaussian-v0 that has acted at random, and learned nothing."""
    options = {"envs": 10, "latent_size": 8, "decoder_scale": 100.0, "seed": seed}
    trainer = Trainer("wm_tutorial/LinearGaussian-v0", make_config(steps=steps, prefill=steps, **options))
    while trainer.steps < steps:
        trainer.collect()
    return trainer


def fit(trainer: Trainer, updates: int, highest_lr: float) -> None:
    """Train the world model alone, the learning rate falling to zero."""
    model, rng = trainer.agent.world_model, np.random.default_rng(0)
    optimizer = torch.optim.Adam(model.parameters())
    for update in range(updates):
        optimizer.param_groups[0]["lr"] = highest_lr * (1.0 - update / updates)
        batch, place = trainer.replay.sample(32, 16, rng)
        losses, states = model.losses(batch)
        optimizer.zero_grad()
        torch.stack([trainer.learner.scales[name] * loss.mean() for name, loss in losses.items()]).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), trainer.config.clip)
        optimizer.step()
        trainer.replay.write_back(place, states.detach())


def episodes(trainer: Trainer) -> list[tuple[Array, Array]]:
    """Observations (T, O) and actions (T, A) of every complete or cut-off episode held in the replay."""
    columns, held = trainer.replay.columns, trainer.replay.added
    found = []
    for stream in range(trainer.config.envs):
        obs, action = columns["obs"][stream, :held], columns["action"][stream, :held]
        starts = np.flatnonzero(columns["is_first"][stream, :held])
        found += [(obs[a:b], action[a:b]) for a, b in zip(starts, [*starts[1:], held], strict=True)]
    return found


def test_one_step_predictions_of_a_linear_gaussian_world_are_within_a_tenth_of_the_kalman_filter() -> None:
    trainer, unseen = random_rows(seed=0, steps=20_000), random_rows(seed=1, steps=4_000)
    fit(trainer, updates=1500, highest_lr=3e-3)
    model, system = trainer.agent.world_model, LinearGaussian()
    learned, optimal, held = [], [], []
    for obs, action in episodes(unseen):
        with torch.no_grad():
            latent = model.dynamics.posterior(model.encoder(torch.from_numpy(obs))).mode
            state = State(latent.new_zeros(len(obs), 0), latent)
            predicted = model.decode(model.dynamics.prior(state, torch.from_numpy(action)).mode).mean.numpy()
        learned.append((predicted[:-1] - obs[1:]) ** 2)
        optimal.append((kalman_filter(system, obs, action).predicted_mean[1:] - obs[1:]) ** 2)
        held.append((obs[:-1] - obs[1:]) ** 2)
    error, least, persistence = (np.concatenate(x).mean(axis=0) for x in (learned, optimal, held))
    assert np.all(error < 1.10 * least), error / least
    assert np.all(persistence > 5.0 * least)  # so that being near the least error means something


def test_values_and_policy_of_the_corridor_match_the_exact_ones() -> None:
    discount = 0.9
    config = make_config(
        steps=4_000, prefill=500, hidden=32, layers=1, latent_size=8, discount=discount, horizon=10, eval_every=0,
        updates_per_step=0.5, sequence_length=16, imagined_starts=128, world_model_lr=2e-3, actor_lr=1e-3,
        critic_lr=1e-3, slow_critic_rate=0.1,
    )  # fmt: skip
    trainer = Trainer("wm_tutorial/Corridor-v0", config)
    trainer.run()
    model, behaviour = trainer.agent.world_model, trainer.agent.behaviour
    with torch.no_grad():  # averaged over samples of the latent, as the agent meets its states
        features = model.dynamics.posterior(model.encoder(torch.eye(6).expand(200, 6, 6))).sample()
        value = behaviour.critic(features).mean.mean(0).double().numpy()
        policy = behaviour.actor(features).logits.exp().mean(0).double().numpy()

    corridor = Corridor()
    tables = corridor.transition, corridor.reward, corridor.terminal
    best_value, best_action = value_iteration(*tables, discount)
    exact = policy_values(*tables, policy / policy.sum(axis=1, keepdims=True), discount)
    inside = ~corridor.terminal
    assert (policy.argmax(axis=1) == best_action)[inside].all()
    assert np.abs(exact - best_value)[inside].max() < 0.03  # what exploration costs
    assert np.abs(value - exact)[inside].max() < 0.06  # values lie between 0.6 and 1
