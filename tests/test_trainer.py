"""The loop: what a run repeats, leaves alone and counts, who learns from what, and what survives when it stops."""

import io
import itertools
import json
import math
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from helpers import randomise, receivers
from scripted import (
    TINY,
    Array,
    Forgetful,
    Scripted,
    Seeded,
    Troupe,
    assert_same,
    copied,
    differences,
    memory,
    snapshot,
    timeless,
    tiny,
    tree,
    written,
)
from torch import Tensor

from wm_tutorial import actor_critic, checkpoint
from wm_tutorial import learner as learner_module
from wm_tutorial.agent import Agent
from wm_tutorial.checkpoint import CHECKPOINT, METRICS
from wm_tutorial.data import Batch, Place, Row
from wm_tutorial.envs import EnvSource
from wm_tutorial.errors import EnvironmentFailure, InputError, NonFiniteError, OutputError
from wm_tutorial.evaluation import Evaluation, evaluate
from wm_tutorial.pace import Pace
from wm_tutorial.trainer import Trainer


def continuous() -> Seeded:
    return Seeded(Box(-1.0, 2.0, (2,), np.float32))


def finished(source: EnvSource = "CartPole-v1", folder: Path | None = None, **options: Any) -> Trainer:
    """A trainer that ran to its end."""
    trainer = Trainer(source, tiny(**options), folder)
    trainer.run()
    return trainer


def ready(updates: int = 0, source: EnvSource = "CartPole-v1", **options: Any) -> Trainer:
    """A trainer that has collected its prefill and made some updates."""
    trainer = Trainer(source, tiny(**options))
    while len(trainer.replay) < 40 or trainer.steps < trainer.config.prefill:
        trainer.collect()
    for _ in range(updates):
        trainer.train_step()
    return trainer


def stop_after(monkeypatch: pytest.MonkeyPatch, iterations: int, stop: Callable[[], Any]) -> None:
    """Call `stop` in the middle of the iteration after `iterations` whole ones."""
    collect, counter = Trainer.collect, iter(range(iterations))

    def counted(self: Trainer) -> None:
        collect(self)
        if next(counter, None) is None:
            stop()

    monkeypatch.setattr(Trainer, "collect", counted)


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


class Crash(BaseException):
    """The process ends without a word, if nobody saves what was learned."""


def crash() -> None:
    raise Crash


# --- Repetition -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["CartPole-v1", continuous], ids=["discrete", "continuous"])
def test_the_same_seed_repeats_a_run_and_another_one_does_not(source: EnvSource) -> None:
    one, same, other = (finished(source, seed=seed, eval_every=25) for seed in (3, 3, 4))
    assert one.updates > 5
    assert_same(snapshot(one), snapshot(same))
    assert timeless(one.records) == timeless(same.records)
    found = list(differences(snapshot(one), snapshot(other)))
    for part in ("/agent", "/replay/obs", "/replay/action", "/random/numpy", "/random/torch"):
        assert any(path.startswith(part) for path in found), part
    assert timeless(one.records) != timeless(other.records)


def global_state() -> dict[str, Any]:
    """All random states of the process, and how many threads PyTorch uses."""
    _, keys, *rest = np.random.get_state()
    return copied(
        {
            "torch": torch.get_rng_state(),
            "numpy": [keys.copy(), *rest],
            "python": list(random.getstate()[1]),
            "threads": torch.get_num_threads(),
        }
    )


@pytest.fixture
def user_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """As many threads as the user has asked PyTorch for."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize(("user_threads", "threads"), [(1, 0), (2, 1)], indirect=["user_threads"])
def test_random_states_and_threads_of_the_user_are_left_alone(
    user_threads: int, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    before, inside = global_state(), []
    stop_after(monkeypatch, 0, lambda: inside.append(torch.get_num_threads()))
    trainer = finished(folder=tmp_path, threads=threads, eval_every=30, updates_per_step=0.05)
    assert trainer.updates == 2
    assert set(inside) == {threads or user_threads}
    assert_same(global_state(), before)
    trainer.evaluate(2, greedy=False)
    Trainer.load(tmp_path)
    assert_same(global_state(), before)


@pytest.mark.parametrize("user_threads", [2], indirect=True)
def test_threads_are_given_back_after_an_error(user_threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_after(monkeypatch, 3, crash)
    with pytest.raises(Crash):
        finished(threads=1)
    assert torch.get_num_threads() == user_threads


def test_a_run_does_not_depend_on_random_states_of_the_user() -> None:
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    one = finished()
    torch.manual_seed(9), np.random.seed(9), random.seed(9)
    assert_same(snapshot(finished()), snapshot(one))


# --- Stopped and resumed ----------------------------------------------------------------------------------------------

EVENTFUL = {"eval_every": 17, "log_every": 7, "checkpoint_every": 13, "updates_per_step": 0.5, "final_lr": 0.3}


REMEMBERING = {"memory": "rssm", "latent": "categorical", "heads": "two-hot", "latent_classes": 3, "bins": 15}
RUNS: dict[str, tuple[EnvSource, dict[str, Any]]] = {
    "discrete": ("CartPole-v1", EVENTFUL),
    "continuous": (continuous, EVENTFUL),
    "with memory": (Seeded, {**EVENTFUL, **REMEMBERING, "memory_size": 8, "memory_blocks": 2}),
}


@pytest.fixture(scope="module", params=RUNS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """A run that is never stopped."""
    source, options = RUNS[request.param]
    return finished(source, tmp_path_factory.mktemp("whole"), **options)


@pytest.mark.parametrize("stop", [4, 11, 17, 28])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    whole: Trainer, stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two environments, 4 lies before the end of prefill; most in the middle of episodes."""
    with monkeypatch.context() as patch:
        stop_after(patch, stop, ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            Trainer(whole.source, whole.config, tmp_path).run()
    resumed = Trainer.load(tmp_path, whole.source)
    assert resumed.steps < whole.steps
    assert (resumed.updates == 0) == (resumed.steps < 22)
    resumed.run()
    assert resumed.steps == whole.steps
    assert_same(snapshot(resumed), snapshot(whole))
    assert timeless(resumed.records) == timeless(whole.records)
    assert whole.folder
    assert timeless(written(tmp_path)) == timeless(written(whole.folder)) == timeless(whole.records)


def test_a_run_can_be_stopped_at_every_iteration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = finished(Seeded, steps=40, **EVENTFUL)
    trainer: Trainer | None = None
    stops = 0
    while trainer is None or trainer.steps < 40:
        with monkeypatch.context() as patch:
            stop_after(patch, 0, ctrl_c)
            if trainer is None:
                trainer = Trainer(Seeded, tiny(steps=40, **EVENTFUL), tmp_path)
            with pytest.raises(KeyboardInterrupt):
                trainer.run()
        trainer, stops = Trainer.load(tmp_path, Seeded), stops + 1
    assert stops >= 20
    trainer.run()
    assert_same(snapshot(trainer), snapshot(whole))
    assert timeless(written(tmp_path)) == timeless(whole.records)


@pytest.mark.parametrize("crashed", [16, 27])
def test_after_a_crash_a_run_goes_on_from_its_last_checkpoint_and_loses_nothing(
    crashed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finished(Seeded, tmp_path / "whole", **EVENTFUL)
    with monkeypatch.context() as patch:
        stop_after(patch, crashed, crash)
        patch.setattr(Trainer, "_saved", lambda self: nullcontext())
        with pytest.raises(Crash):
            finished(Seeded, tmp_path / "parts", **EVENTFUL)
    ahead = max(record["step"] for record in written(tmp_path / "parts"))
    resumed = Trainer.load(tmp_path / "parts", Seeded)
    assert 0 < resumed.steps < ahead  # lines of metrics from after the checkpoint: they will happen again
    assert all(record["step"] <= resumed.steps for record in resumed.records)
    resumed.run()
    assert_same(snapshot(resumed), snapshot(whole))
    assert timeless(written(tmp_path / "parts")) == timeless(whole.records)


def test_a_line_of_metrics_that_was_cut_off_is_no_obstacle(tmp_path: Path) -> None:
    whole = finished(Seeded, tmp_path, steps=40)
    lines = (tmp_path / "metrics.jsonl").read_text()
    (tmp_path / "metrics.jsonl").write_text(lines + '{"kind": "epis')
    resumed = Trainer.load(tmp_path, Seeded, steps=60)
    assert timeless(resumed.records) == timeless(whole.records)
    resumed.run()
    assert timeless(written(tmp_path)) == timeless(resumed.records)


def test_looking_at_a_run_does_not_touch_its_folder(tmp_path: Path) -> None:
    """Another process may be writing to it: what is in metrics.jsonl after the checkpoint must stay."""
    finished(folder=tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"kind": "episode", "step": 10**6, "return": 1.0, "length": 1}) + "\n")
    before = tree(tmp_path)
    Trainer.load(tmp_path).evaluate(2)
    assert tree(tmp_path) == before


def test_a_new_run_does_not_mix_with_what_an_old_one_left(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"kind": "episode", "step": 1, "return": 777.0, "length": 1}\n')
    trainer = finished(folder=tmp_path)
    assert timeless(written(tmp_path)) == timeless(trainer.records)


def test_more_steps_can_be_added_to_a_finished_run(tmp_path: Path) -> None:
    """The learning rates aside, it is as if the run had been longer from the start."""
    finished(folder=tmp_path, steps=40, final_lr=1.0)
    longer = Trainer.load(tmp_path, steps=80)
    longer.run()
    whole, state = snapshot(finished(steps=80, final_lr=1.0)), snapshot(longer)
    for sums in (whole.pop("sums"), state.pop("sums")):  # a line of metrics was written at the first end
        assert not sums
    whole["environment"] = state["environment"]
    assert_same(state, whole)


def test_a_forgetful_environment_goes_on_with_a_new_episode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 15, ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            finished(Forgetful, tmp_path)
    trainer = Trainer.load(tmp_path, Forgetful)
    assert trainer.row.is_first.all()
    trainer.run()
    obs, action, first, last, reward = (
        trainer.replay.columns[name][:, : trainer.replay.added]
        for name in ("obs", "action", "is_first", "is_last", "reward")
    )
    assert ((obs[..., 1] == 0) == first).all()  # the step within the episode
    assert (first[:, 1:] | ~last[:, :-1]).all()  # whatever follows a last row is a first one
    assert not reward[first].any()
    for record in trainer.records:
        if record["kind"] == "episode":
            assert 1 <= record["length"] <= 9
    weights = np.array([0.25, -0.5])
    total = np.zeros(2)
    for t in range(
        1, trainer.replay.added
    ):  # the environment's own sum over actions, up to its noise of 0 to 0.1 a step
        total = np.where(first[:, t], 0.0, total + weights[action[:, t - 1].argmax(-1)])
        assert ((obs[:, t, 2] >= total - 1e-5) & (obs[:, t, 2] <= total + 0.1 * obs[:, t, 1] + 1e-5)).all()


def test_metrics_that_cannot_be_written_end_the_run_with_a_checkpoint(tmp_path: Path) -> None:
    """What is lost is the episode that could not be written; the next one of that stream begins at zero."""
    options = {"steps": 60, "prefill": 60}
    whole = finished(Seeded, **options)
    trainer = Trainer(Seeded, tiny(**options), tmp_path)
    (tmp_path / METRICS).mkdir()
    with pytest.raises(OutputError, match=re.escape(str(tmp_path / METRICS)) + ".*checkpoint beside it is saved"):
        for _ in range(60):
            trainer.collect()
    (tmp_path / METRICS).rmdir()
    resumed = Trainer.load(tmp_path, Seeded)
    assert resumed.row.is_last.any()
    resumed.run()
    assert_same(snapshot(resumed), snapshot(whole))
    lost = trainer.steps
    assert timeless(resumed.records) == [record for record in timeless(whole.records) if record["step"] > lost]


# --- What is counted --------------------------------------------------------------------------------------------------


def test_steps_are_those_of_the_environments_and_reset_rows_are_none() -> None:
    source = Troupe([1, -2], [-1], [3])
    trainer = Trainer(source, tiny(envs=3, prefill=1000, steps=1000))
    for _ in range(40):
        trainer.collect()
        assert trainer.steps == sum(len(env.taken) for env in source.built)
    assert len(trainer.replay) == 3 * 40 > trainer.steps  # a replay holds reset rows too
    of_whole_episodes = sum(record["length"] for record in trainer.records if record["kind"] == "episode")
    assert of_whole_episodes == trainer.steps - trainer.running[1].sum()


def test_every_training_episode_is_recorded_with_its_return_and_length() -> None:
    trainer = Trainer(Troupe([2, -1], [3]), tiny(prefill=1000))
    for _ in range(12):
        trainer.collect()
    # Stream 0: two steps, reset, one step, reset ...; stream 1: three steps, reset ...
    episodes = [(record["return"], record["length"]) for record in trainer.records]
    assert episodes == [(3.0, 2), (6.0, 3), (11.0, 1), (43.0, 2), (36.0, 3), (31.0, 1), (66.0, 3), (83.0, 2)]
    assert [record["step"] for record in trainer.records] == [4, 5, 6, 11, 11, 13, 16, 17]


def test_a_run_ends_when_its_steps_are_taken() -> None:
    source = Troupe([4], [-3])
    trainer = finished(source, steps=50)
    assert 50 <= trainer.steps < 50 + 2
    assert trainer.steps == sum(len(env.taken) for env in source.built[:2])


@pytest.mark.parametrize("updates_per_step", [0.0, 0.1, 1.0, 2.5])
def test_there_are_as_many_updates_per_step_as_asked_for_and_none_before_the_prefill_is_over(
    updates_per_step: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []  # the environment step of each update
    train_step = Trainer.train_step

    def counted(self: Trainer) -> dict[str, float]:
        made.append(self.steps)
        return train_step(self)

    monkeypatch.setattr(Trainer, "train_step", counted)
    trainer = Trainer(Troupe([4], [-3]), tiny(steps=60, prefill=30, updates_per_step=updates_per_step))
    trainer.run()
    assert all(step > 30 for step in made)
    for step in range(31, 61):
        done = sum(1 for at in made if at <= step)
        assert updates_per_step * (step - 30 - 2) - 1 <= done <= updates_per_step * (step - 30)
    assert trainer.updates == int((trainer.steps - 30) * updates_per_step)


def test_without_prefill_updates_wait_for_the_first_sequence_and_then_catch_up(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    train_step = Trainer.train_step

    def counted(self: Trainer) -> dict[str, float]:
        made.append(self.replay.added)
        return train_step(self)

    monkeypatch.setattr(Trainer, "train_step", counted)
    trainer = finished(Troupe([99]), steps=60, prefill=0, sequence_length=10, updates_per_step=0.5)
    assert min(made) == 11  # a sequence, and the row it starts from
    assert Counter(made)[11] == 11
    assert len(made) == trainer.updates == 30


def test_prefill_is_random_and_afterwards_the_policy_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Troupe([99])
    trainer = Trainer(source, tiny(steps=200, prefill=100, updates_per_step=0.0, policy_unimix=0.0))
    with torch.no_grad():
        trainer.agent.behaviour.actor.net[-1].bias.copy_(torch.tensor([-1e3, 1e3]))  # always 1
    trainer.run()
    for env in source.built[:2]:
        assert 10 < sum(env.taken[:50]) < 40
        assert all(action == 1 for action in env.taken[50:])


def test_every_step_and_every_update_draws_new_random_numbers() -> None:
    """An undecided policy in a world that looks the same for ever."""
    source = Troupe([99])
    trainer = Trainer(source, tiny(prefill=0, steps=1000))
    with torch.no_grad():
        trainer.agent.behaviour.actor.net[-1].weight.zero_()
    for _ in range(60):
        trainer.collect()
    for env in source.built:
        assert 15 < sum(env.taken) < 45
    assert source.built[0].taken != source.built[1].taken
    states = [trainer.random.state_dict()]
    for _ in range(3):
        trainer.train_step()
        states.append(trainer.random.state_dict())
    for one, other in itertools.pairwise(states):
        assert {path.split(":")[0] for path in differences(one, other)} == {"/numpy", "/torch"}


def test_lines_of_losses_are_means_since_the_line_before(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, float]] = []  # (environment step, loss) of each update
    train_step = Trainer.train_step

    def kept(self: Trainer) -> dict[str, float]:
        numbers = train_step(self)
        made.append((self.steps, numbers["decoder"]))
        return numbers

    monkeypatch.setattr(Trainer, "train_step", kept)
    trainer = finished(Troupe([99]), updates_per_step=1.0, log_every=20)
    lines = [record for record in trainer.records if record["kind"] == "train"]
    assert [line["step"] for line in lines] == [40, 60]
    for line, begin in zip(lines, (20, 40), strict=True):
        mean = np.mean([loss for step, loss in made if begin < step <= line["step"]])
        assert line["losses"]["decoder"] == pytest.approx(mean)
    assert [line["updates"] for line in lines] == [20, 40]


def test_evaluations_and_checkpoints_come_at_their_intervals_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    save = Trainer.save
    monkeypatch.setattr(Trainer, "save", lambda self: saved.append(self.steps) or save(self))
    trainer = finished(Troupe([99]), tmp_path, steps=60, eval_every=25, checkpoint_every=14)
    evaluations = [record["step"] for record in trainer.records if record["kind"] == "evaluation"]
    assert evaluations == [26, 50, 60]  # two steps at a time
    assert saved == [14, 28, 42, 56, 60]


# --- Optimisation -----------------------------------------------------------------------------------------------------


def gradients(module: torch.nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]


def parameters(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


@pytest.mark.parametrize("source", ["CartPole-v1", continuous], ids=["discrete", "continuous"])
def test_one_backward_pass_gives_each_part_the_gradient_of_its_own_losses_only(
    source: EnvSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = ready(10, source, clip=1e6, decoder_scale=2.0, representation_scale=0.3)
    world_model, behaviour = trainer.agent.world_model, trainer.agent.behaviour
    own: dict[str, list[Tensor]] = {}
    model_losses, behaviour_losses = world_model.losses, behaviour.losses

    def capture(losses: dict[str, Tensor], owners: dict[str, tuple[str, ...]]) -> None:
        assert losses.keys() == {name for names in owners.values() for name in names}
        for owner, names in owners.items():
            total = sum(trainer.learner.scales[name] * losses[name].mean() for name in names)
            for name, part in trainer.learner.parts.items():
                found = torch.autograd.grad(total, list(part.parameters()), retain_graph=True, allow_unused=True)
                if name == owner:
                    own[name] = list(found)
                else:
                    assert not any(gradient is not None and gradient.any() for gradient in found), (owner, name)

    def model_spy(batch: Batch) -> Any:
        losses, states = model_losses(batch)
        capture(losses, {"world model": ("decoder", "reward", "continue", "dynamics", "representation")})
        return losses, states

    def behaviour_spy(trajectory: Any) -> Any:
        losses, *rest = behaviour_losses(trajectory)
        capture(losses, {"actor": ("actor",), "critic": ("critic",)})
        return losses, *rest

    monkeypatch.setattr(world_model, "losses", model_spy)
    monkeypatch.setattr(behaviour, "losses", behaviour_spy)
    trainer.train_step()
    for name, part in trainer.learner.parts.items():
        assert any(gradient.any() for gradient in own[name])
        torch.testing.assert_close(gradients(part), own[name])
    assert not gradients(behaviour.slow_critic)
    optimised = {id(p) for group in trainer.learner.optimizer.param_groups for p in group["params"]}
    learned = {id(p) for p in trainer.agent.parameters() if p.requires_grad}
    assert optimised == learned


@pytest.mark.parametrize(
    ("scale", "receiver"),
    [
        ("decoder_scale", "decoder"),
        ("reward_scale", "reward_head"),
        ("continue_scale", "continue_head"),
        ("dynamics_scale", "dynamics.prior_net"),
    ],
)
def test_each_scale_weighs_its_own_loss(scale: str, receiver: str) -> None:
    """The receiver learns from one loss only, so that its gradient is proportional to the scale."""
    found = {}
    for value in (0.0, 1.0, 3.0):
        trainer = ready(**{scale: value}, clip=1e6, free_nats=0.0)
        trainer.train_step()
        found[value] = gradients(trainer.agent.world_model.get_submodule(receiver))
    assert any(gradient.any() for gradient in found[1.0])
    assert not any(gradient.any() for gradient in found[0.0])
    torch.testing.assert_close(found[3.0], [3.0 * gradient for gradient in found[1.0]], rtol=1e-4, atol=1e-4)


def test_the_representation_scale_weighs_what_the_posterior_learns_from_the_divergence() -> None:
    found = {}
    for value in (0.0, 1.0, 3.0):
        others = {"decoder_scale": 0.0, "reward_scale": 0.0, "continue_scale": 0.0, "dynamics_scale": 0.0}
        trainer = ready(representation_scale=value, free_nats=0.0, clip=1e6, **others)
        trainer.train_step()
        found[value] = gradients(trainer.agent.world_model.dynamics.posterior_net)
    assert not any(gradient.any() for gradient in found[0.0])
    assert any(gradient.any() for gradient in found[1.0])
    torch.testing.assert_close(found[3.0], [3.0 * gradient for gradient in found[1.0]], rtol=1e-4, atol=1e-4)


def taken_by(optimizer: str, before: Tensor, gradients: list[Tensor], rates: list[float], warmup: int) -> Tensor:
    """Where a parameter goes, from its formulas: those of Adam, or of LaProp with its clipping and its warm-up."""
    value, mean, square = before.double(), torch.zeros_like(before).double(), torch.zeros_like(before).double()
    for n, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        g = gradient.double()
        if optimizer == "laprop":
            g = g * min(1.0, 0.3 * max(1e-3, value.norm().item()) / max(g.norm().item(), 1e-30))
        square = 0.999 * square + 0.001 * g**2
        deviation = (square / (1 - 0.999**n)).sqrt()
        if optimizer == "laprop":
            mean = 0.9 * mean + 0.1 * g / (deviation + 1e-20)
            value = value - rate * min(1.0, (n - 1) / warmup) * mean / (1 - 0.9**n)
        else:
            mean = 0.9 * mean + 0.1 * g
            value = value - rate * (mean / (1 - 0.9**n)) / (deviation + 1e-8)
    return value


@pytest.mark.parametrize("optimizer", ["adam", "laprop"])
def test_every_part_takes_the_steps_of_its_optimiser(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The formula, its numbers, what it remembers from update to update, and the rate of the moment; nothing decays."""
    rates = {"world model": 0.01, "actor": 0.02, "critic": 0.03}
    options = {"world_model_lr": 0.01, "actor_lr": 0.02, "critic_lr": 0.03, "final_lr": 0.25, "warmup": 3}
    trainer = ready(optimizer=optimizer, steps=60, clip=0.5, **options)
    randomise(trainer.agent)
    before = {name: list(parameters(part).values()) for name, part in trainer.learner.parts.items()}
    gradients_of: dict[str, list[list[Tensor]]] = {name: [] for name in rates}
    shares: list[float] = []
    backward = trainer.learner.backward

    def kept(losses: dict[str, Tensor]) -> dict[str, Tensor]:
        norms = backward(losses)
        for name, part in trainer.learner.parts.items():
            gradients_of[name].append([p.grad.clone() for p in part.parameters() if p.grad is not None])
        return norms

    monkeypatch.setattr(trainer.learner, "backward", kept)
    for _ in range(6):
        trainer.collect()
        shares.append(1.0 - 0.75 * trainer.steps / 60)  # as many steps as are made when the update is
        trainer.train_step()
    assert len(set(shares)) == 6
    for name, part in trainer.learner.parts.items():
        for i, after in enumerate(parameters(part).values()):
            gradients_here = [update[i] for update in gradients_of[name]]
            expected = taken_by(optimizer, before[name][i], gradients_here, [rates[name] * s for s in shares], 3)
            assert (expected - before[name][i]).abs().max() > 1e-3
            torch.testing.assert_close(after.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("frozen", ["world_model_lr", "actor_lr", "critic_lr"])
def test_each_learning_rate_belongs_to_one_part(frozen: str) -> None:
    usual, other = ready(), ready(**{frozen: 0.0})
    for trainer in (usual, other):
        randomise(trainer.agent)
    before = {name: parameters(part) for name, part in usual.learner.parts.items()}
    usual.train_step(), other.train_step()
    name_of_rate = {"world model": "world_model_lr", "actor": "actor_lr", "critic": "critic_lr"}
    for name, part in other.learner.parts.items():
        assert list(differences(parameters(usual.learner.parts[name]), before[name]))
        assert_same(
            parameters(part), before[name] if name_of_rate[name] == frozen else parameters(usual.learner.parts[name])
        )


@pytest.mark.parametrize("final_lr", [0.0, 0.25, 1.0])
def test_learning_rates_fall_linearly_to_their_final_share(final_lr: float, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, list[float]]] = []
    rates = {"world_model_lr": 0.01, "actor_lr": 0.02, "critic_lr": 0.03}
    trainer = Trainer(Troupe([99]), tiny(final_lr=final_lr, steps=60, updates_per_step=0.5, **rates))
    step = trainer.learner.optimizer.step
    monkeypatch.setattr(
        trainer.learner.optimizer,
        "step",
        lambda: (
            seen.append((trainer.steps, [group["lr"] for group in trainer.learner.optimizer.param_groups])) or step()
        ),
    )
    trainer.run()
    assert [at for at, _ in seen] == list(range(22, 61, 2))
    for at, now in seen:
        share = 1.0 + (final_lr - 1.0) * at / 60
        assert now == pytest.approx([0.01 * share, 0.02 * share, 0.03 * share], abs=1e-12)


def test_the_gradient_of_each_part_is_clipped_by_itself_and_reported_unclipped() -> None:
    free, clipped = ready(5, clip=1e6), ready(5, clip=1e6)
    norms = {name: norm for name, norm in free.train_step().items() if name.endswith("gradient")}
    limit = sorted(norms.values())[1] * 1.01  # between the second and the largest
    clipped.learner.config = tiny(clip=limit)
    assert {name: norm for name, norm in clipped.train_step().items() if name.endswith("gradient")} == norms
    for name, part in clipped.learner.parts.items():
        norm = torch.cat([gradient.flatten() for gradient in gradients(part)]).norm().item()
        assert norm == pytest.approx(min(norms[f"{name} gradient"], limit), rel=1e-4)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_the_slow_critic_follows_the_updated_critic_at_its_rate(rate: float) -> None:
    trainer = ready(2, slow_critic_rate=rate, critic_lr=0.1)
    behaviour = trainer.agent.behaviour
    before = parameters(behaviour.slow_critic)
    trainer.train_step()
    after, critic = parameters(behaviour.slow_critic), parameters(behaviour.critic)
    for name in before:
        torch.testing.assert_close(after[name], before[name] + rate * (critic[name] - before[name]))
    assert list(differences(critic, before))
    trainer.train_step()  # and at every update, not at every other one
    for name, value in parameters(behaviour.slow_critic).items():
        newer = parameters(behaviour.critic)[name]
        torch.testing.assert_close(value, after[name] + rate * (newer - after[name]))


@pytest.mark.parametrize("memory", ["feed-forward", "rssm"])
def test_inferred_states_are_written_back_to_where_their_rows_lie(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = ready(batch_size=3, sequence_length=5, memory=memory, memory_size=8, memory_blocks=2)
    seen: dict[str, Any] = {}
    sample, losses = trainer.replay.sample, trainer.agent.world_model.losses

    def sampled(*arguments: Any) -> tuple[Batch, Place]:
        seen["batch"], seen["place"] = sample(*arguments)
        return seen["batch"], seen["place"]

    def inferred(batch: Batch) -> Any:
        seen["losses"], seen["states"] = losses(batch)
        return seen["losses"], seen["states"]

    monkeypatch.setattr(trainer.replay, "sample", sampled)
    monkeypatch.setattr(trainer.agent.world_model, "losses", inferred)
    before = {name: trainer.replay.columns[name].copy() for name in ("latent", "memory")}
    trainer.train_step()
    expected = {name: column.copy() for name, column in before.items()}
    for b in range(3):
        for t in range(5):
            stream, number = seen["place"].stream[b], seen["place"].number[b, t]
            assert_same(trainer.replay.columns["obs"][stream, number], seen["batch"].obs[b, t])
            for name, column in expected.items():
                column[stream, number] = getattr(seen["states"], name)[b, t].detach().numpy()
    for name, column in expected.items():
        assert_same(trainer.replay.columns[name], column)
        assert np.array_equal(column, before[name]) == (name == "memory" and memory == "feed-forward")


@pytest.mark.parametrize(("starts", "expected"), [(0, 8), (3, 3), (7, 7), (8, 8), (1000, 8)])
def test_imagination_starts_from_states_of_the_batch_each_at_most_once(
    starts: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = ready(imagined_starts=starts, batch_size=2, sequence_length=4, horizon=5)
    seen: dict[str, Any] = {}
    losses, behave = trainer.agent.world_model.losses, trainer.agent.behaviour.losses

    def inferred(batch: Batch) -> Any:
        found, seen["states"] = losses(batch)
        return found, seen["states"]

    def imagined(trajectory: Any) -> Any:
        seen["trajectory"] = trajectory
        return behave(trajectory)

    monkeypatch.setattr(trainer.agent.world_model, "losses", inferred)
    monkeypatch.setattr(trainer.agent.behaviour, "losses", imagined)
    trainer.train_step()
    states = {tuple(latent) for latent in seen["states"].latent.detach().flatten(0, 1).tolist()}
    chosen = [tuple(latent) for latent in seen["trajectory"].state.latent[:, 0].tolist()]
    assert len(states) == 8
    assert len(chosen) == len(set(chosen)) == expected
    assert set(chosen) <= states
    assert seen["trajectory"].reward.shape == (expected, 5)


def test_which_states_imagination_starts_from_is_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = ready(imagined_starts=2, batch_size=2, sequence_length=4, horizon=1)
    chosen = set()
    imagine = learner_module.imagine

    def spied(world_model: Any, policy: Any, start: Any, *rest: Any) -> Any:
        chosen.update(place[tuple(latent)] for latent in start.latent.tolist())
        return imagine(world_model, policy, start, *rest)

    monkeypatch.setattr(learner_module, "imagine", spied)
    batch, _ = trainer.replay.sample(2, 4, np.random.default_rng(0))
    for seed in range(30):
        torch.manual_seed(seed)
        states = trainer.agent.world_model.observe(batch)
        place = {tuple(latent): n for n, latent in enumerate(states.latent.detach().flatten(0, 1).tolist())}
        monkeypatch.setattr(trainer.agent.world_model, "losses", lambda batch, states=states: ({}, states))
        trainer.learner.losses(batch)
    assert chosen == set(range(8))


def test_what_the_actor_climbs_through_the_dynamics_does_not_bend_the_states_it_starts_from() -> None:
    trainer = ready(policy_gradient="dynamics", imagined_starts=0, batch_size=2, sequence_length=4, horizon=3)
    randomise(trainer.agent)
    batch, _ = trainer.replay.sample(2, 4, np.random.default_rng(0))
    losses, *_ = trainer.learner.losses(batch)
    parts = {"model": trainer.agent.world_model, "actor": trainer.agent.behaviour.actor}
    assert receivers(losses["actor"], parts) == {"actor"}


@pytest.mark.parametrize("preset", ["guide", "dreamer_v3"])
def test_computing_a_loss_changes_nothing(preset: str) -> None:
    starts = {"imagined_starts": 0} if preset == "dreamer_v3" else {}
    trainer = ready(3, preset=preset, **starts) if preset != "guide" else ready(3)
    randomise(trainer.agent)
    batch, _ = trainer.replay.sample(2, 4, np.random.default_rng(0))
    before = snapshot(trainer)
    with torch.random.fork_rng():
        *_, range_ = trainer.learner.losses(batch)
    assert_same(snapshot(trainer), before)
    low, high = trainer.agent.behaviour.normalizer.range.tolist()
    assert range_.tolist() != [low, high]  # the update would have moved it
    trainer.learner.update(batch)
    assert trainer.agent.behaviour.normalizer.range.tolist() != [low, high]


# --- Experience -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefill", [1000, 0], ids=["of chance", "of the policy"])
def test_batches_tell_time_limits_from_ends_and_know_the_action_before(prefill: int) -> None:
    source = Troupe([-3, 2], [1, -2, 4])
    trainer = Trainer(source, tiny(prefill=prefill))
    for _ in range(60):
        trainer.collect()
    batch, place = trainer.replay.sample(60, 6, np.random.default_rng(0))
    given: list[Iterator[Any]] = [iter(env.taken) for env in source.built]
    led: list[dict[tuple[float, float], int]] = [{}, {}]  # which action led to which moment, as the environments saw it
    for i, env in enumerate(source.built):
        for episode in range(env.episode + 1):
            for step in range(1, abs(env.script[episode % len(env.script)]) + 1):
                led[i][episode, step] = next(given[i], -1)
    seen: Counter[str] = Counter()
    for b, stream in enumerate(place.stream):
        script = source.built[stream].script
        for t in range(6):
            episode, step = (int(x) for x in batch.obs[b, t].tolist())
            length = script[episode % len(script)]
            over = step == abs(length)
            assert batch.is_first[b, t].item() == (step == 0)
            assert batch.is_last[b, t].item() == over
            assert batch.is_terminal[b, t].item() == (over and length > 0)
            assert batch.reward[b, t].item() == (10 * episode + step if step else 0)
            if step:
                assert batch.previous_action[b, t].argmax().item() == led[stream][episode, step]
            seen["limit" if over and length < 0 else "end" if over else "first" if step == 0 else "middle"] += 1
    assert min(seen.values()) > 20
    assert len(seen) == 4


class Doors(Scripted):
    """Behind the first door the episode ends, behind the second it is only cut short; one sees where one stands."""

    def __init__(self) -> None:
        super().__init__([3, -3])
        self.observation_space = memory(3)

    def observation(self) -> Array:
        place = np.zeros(3, np.float32)
        place[2 if self.moment < 3 else self.episode % 2] = 3.0
        return place


def test_the_model_learns_that_time_limits_are_no_ends() -> None:
    options = {"world_model_lr": 3e-3, "final_lr": 1.0, "continue_scale": 10.0, "representation_scale": 0.0}
    trainer = Trainer(Doors, tiny(hidden=16, batch_size=16, prefill=1000, steps=10**6, **options))
    for _ in range(150):
        trainer.collect()
    for _ in range(200):
        trainer.train_step()
    model = trainer.agent.world_model
    doors = 3.0 * torch.eye(3)
    goes_on = model.continues(model.dynamics.posterior(model.encoder(doors)).mode).mean
    assert goes_on[0] < 0.3
    assert (goes_on[1:] > 0.7).all()


# --- Evaluation -------------------------------------------------------------------------------------------------------


def worth(episode: int, length: int) -> float:
    """The return of an episode of the scripted environment."""
    return sum(10.0 * episode + step for step in range(1, length + 1))


def agent_for(source: EnvSource) -> Agent:
    return Trainer(source, tiny()).agent


def test_returns_and_lengths_are_exact_and_no_episode_is_missed_or_preferred() -> None:
    """Five environments, one episode of each: whoever takes the first five that finish takes short ones only."""
    agent = agent_for(Scripted)
    scripts = [[1], [40, 1], [-2, 5], [1, 1, 1], [-17]]
    evaluation = evaluate(agent, Troupe(*scripts), 5, seed=0)
    assert sorted(zip(evaluation.lengths, evaluation.returns, strict=True)) == sorted(
        (abs(script[0]), worth(0, abs(script[0]))) for script in scripts
    )


@pytest.mark.parametrize("episodes", [1, 99, 100, 101, 250])
def test_the_number_of_episodes_is_exact_and_spread_evenly(episodes: int) -> None:
    troupe = Troupe([1, -2, 3], [9, 8, -7])
    evaluation = evaluate(agent_for(Scripted), troupe, episodes, seed=0)
    count = min(episodes, 100)
    assert len(troupe.built) == count
    expected = []
    for i in range(count):
        share = episodes // count + (i < episodes % count)
        expected += [(abs(n), worth(k, abs(n))) for k, n in enumerate(([1, -2, 3], [9, 8, -7])[i % 2][:share])]
    assert len(evaluation.returns) == len(evaluation.lengths) == episodes
    assert sorted(zip(evaluation.lengths, evaluation.returns, strict=True)) == sorted(expected)
    assert all(env.closed for env in troupe.built)


class Open(Seeded):
    """Knows how many of its kind are open."""

    now = most = 0

    def __init__(self) -> None:
        super().__init__()
        Open.now += 1
        Open.most = max(Open.most, Open.now)

    def close(self) -> None:
        Open.now -= 1


@pytest.mark.parametrize("envs", [1, 2])
def test_whoever_trains_in_one_simulator_needs_no_second(envs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Open, "now", 0)
    monkeypatch.setattr(Open, "most", 0)
    trainer = Trainer(Open, tiny(envs=envs, eval_every=7, eval_episodes=5))
    trainer.run()
    trainer.evaluate(12)
    assert Open.most == (1 if envs == 1 else 2 + 12)
    other = Trainer(Seeded, tiny(envs=envs, eval_every=0, eval_episodes=5))
    other.run()
    assert [path for path in differences(snapshot(trainer), snapshot(other)) if "eval_every" not in path] == []


@pytest.mark.parametrize("simulators", [1, 2, 5, 7, 100])
def test_fewer_simulators_play_the_same_episodes(simulators: int) -> None:
    agent = agent_for(Seeded)
    all_at_once, in_turns = (evaluate(agent, Seeded, 7, seed=3, simulators=n) for n in (None, simulators))
    np.testing.assert_allclose(sorted(in_turns.returns), sorted(all_at_once.returns), rtol=1e-6)
    assert sorted(in_turns.lengths) == sorted(all_at_once.lengths)


def test_an_evaluation_that_fails_closes_what_it_opened() -> None:
    class Failing(Scripted):
        def step(self, action: Any) -> Any:
            raise OSError("no battery")

    built: list[Scripted] = []

    def source() -> Scripted:
        built.append(Failing() if len(built) > 1 else Scripted())
        return built[-1]

    agent = agent_for(source)
    with pytest.raises(EnvironmentFailure, match="no battery"):
        evaluate(agent, source, 3, seed=0)
    assert all(env.closed for env in built[2:])


@pytest.mark.parametrize("asked", [{"episodes": "3"}, {"episodes": 2.5}, {"episodes": True}, {"seed": 2**64},
                                   {"seed": "a"}, {"simulators": 0}, {"greedy": "no"}])  # fmt: skip
def test_evaluations_nobody_can_make(asked: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        evaluate(agent_for(Seeded), Seeded, **{"episodes": 2, "seed": 0, **asked})


def test_mean_and_standard_deviation() -> None:
    evaluation = Evaluation((1.0, 3.0, 8.0), (1, 1, 1), greedy=False)
    assert (evaluation.mean, evaluation.std) == pytest.approx((4.0, np.sqrt(26 / 3)))
    assert str(evaluation) == "return 4.0 ± 2.9 (mean and standard deviation of 3 episodes, sampled actions)"


@pytest.mark.parametrize("greedy", [True, False])
def test_evaluation_repeats_itself_and_changes_nothing(greedy: bool) -> None:
    trainer = ready(3)
    before, outside = snapshot(trainer), global_state()
    one, same, other = (trainer.evaluate(6, greedy, seed) for seed in (1, 1, 2))
    assert one == same
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        assert trainer.evaluate(6, greedy, 1) == one  # whatever the user has drawn meanwhile
    assert one.returns != other.returns
    assert_same(snapshot(trainer), before)
    assert_same(global_state(), outside)
    assert trainer.evaluate(6, greedy) == trainer.evaluate(6, greedy, seed=trainer.config.seed)


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_an_evaluation_has_the_episodes_of_the_seed_asked_for_whatever_the_run_was_seeded_with(seed: int) -> None:
    """0 is a seed like others, so agents of different runs can be compared on the same episodes."""
    trainer = ready(seed=5)
    assert trainer.evaluate(6, seed=seed) == evaluate(trainer.agent, "CartPole-v1", 6, seed)


def test_an_episode_without_end_is_told_from_a_long_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wm_tutorial.evaluation.LONGEST_EPISODE", 50)
    assert Trainer(Troupe([50]), tiny()).evaluate(2).lengths == (50, 50)
    trainer = Trainer(Troupe([51]), tiny(), tmp_path / "run")
    with pytest.warns(UserWarning, match=r"2 of 2 episodes had not ended after 50 steps.*TimeLimit"):
        trainer.run()  # evaluates at its end, and has not learned for nothing
    assert Trainer.load(tmp_path / "run", Troupe([51])).steps == 60
    with pytest.warns(UserWarning):
        evaluation = trainer.evaluate(3)
    assert (evaluation.lengths, evaluation.cut) == ((50, 50, 50), 3)
    assert "3 of them cut after 50 steps" in str(evaluation)


def test_a_run_is_the_same_with_and_without_evaluations_on_the_way() -> None:
    one, other = snapshot(finished(eval_every=7)), snapshot(finished(eval_every=0))
    assert [path for path in differences(one, other) if not path.startswith("/config/eval_every")] == []


def test_greedy_evaluation_takes_the_most_likely_action_and_sampling_does_not_always() -> None:
    troupe = Troupe([50])
    agent = agent_for(troupe)
    with torch.no_grad():
        agent.behaviour.actor.net[-1].weight.zero_()
        agent.behaviour.actor.net[-1].bias.copy_(torch.tensor([0.0, 0.5]))  # 1 with a probability of about 0.62
    taken = {}
    for greedy in (True, False):
        troupe.built.clear()
        evaluate(agent, troupe, 4, seed=0, greedy=greedy)
        taken[greedy] = np.mean([action for env in troupe.built for action in env.taken])
    assert taken[True] == 1.0
    assert 0.5 < taken[False] < 0.75


def test_evaluation_remembers_state_and_action_of_the_step_before(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = agent_for(troupe := Troupe([6, 9]))
    policy, carried, chosen = agent.policy, [], []

    def spied(row: Any, carry: Any, greedy: bool = False) -> Any:
        carried.append(carry)
        chosen.append(policy(row, carry, greedy))
        return chosen[-1]

    monkeypatch.setattr(agent, "policy", spied)
    evaluate(agent, troupe, 4, seed=0)
    assert len(carried) > 5 and not carried[0].action.any()
    for before, after in zip(chosen, carried[1:], strict=False):
        assert_same([after.state.feature, after.action], [before.state.feature, before.action])


def test_the_actions_of_a_policy_are_whole() -> None:
    """One-hot where they are classes, and up to the bounds where they are numbers."""
    discrete, continuous = agent_for(Troupe([5])), ready(source="Pendulum-v1").agent
    torch.manual_seed(0)
    for greedy in (True, False):
        rows = Row(np.ones((50, 2), np.float32), np.zeros(50, np.float32), *np.zeros((3, 50), bool))
        action = discrete.policy(rows, discrete.initial(50), greedy).action
        assert set(action.flatten().tolist()) == {0.0, 1.0} and (action.sum(-1) == 1.0).all()
    with torch.no_grad():
        continuous.behaviour.actor.net[-1].bias.fill_(10.0)
    row = Row(np.ones((1, 3), np.float32), np.zeros(1, np.float32), *np.zeros((3, 1), bool))
    assert continuous.policy(row, continuous.initial(1), True).action.item() == pytest.approx(1.0, abs=1e-6)


# --- Numbers that are none --------------------------------------------------------------------------------------------


def spoil(trainer: Trainer, what: str, value: float, patch: pytest.MonkeyPatch) -> None:
    """Let one network give `value`, or one loss, or one gradient; everything else is as usual."""
    world_model, behaviour = trainer.agent.world_model, trainer.agent.behaviour
    match what.split():
        case [*part, "gradient"]:
            parameter = next(iter(trainer.learner.parts[" ".join(part)].parameters()))
            handle = parameter.register_hook(lambda gradient: gradient * value)
            patch.setattr(trainer, "spoiled", handle, raising=False)
        case ["actor" | "critic" as name]:
            loss = getattr(actor_critic, f"{name}_loss")
            patch.setattr(actor_critic, f"{name}_loss", lambda *arguments: loss(*arguments) * value)
        case [name]:
            net = {
                "decoder": world_model.decoder.net,
                "reward": world_model.reward_head.net,
                "continue": world_model.continue_head.net,
                "dynamics": world_model.dynamics.prior_net,
                "slow_critic": behaviour.slow_critic.net,
            }[name]
            forward = net.forward
            patch.setattr(net, "forward", lambda x: forward(x) * value)


TERMS = ["decoder", "reward", "continue", "dynamics", "actor", "critic"]
GRADIENTS = ["world model gradient", "actor gradient", "critic gradient"]


@pytest.mark.parametrize(
    ("what", "value", "named", "updates"),
    [
        *((what, math.nan, what, 3) for what in TERMS + GRADIENTS),
        *((what, math.inf, what, 3) for what in GRADIENTS),
        ("slow_critic", math.nan, "critic", 3),
        ("actor", math.nan, "actor", 0),  # the optimizer has no state yet
    ],
)
def test_an_update_with_a_number_that_is_none_changes_nothing(
    what: str, value: float, named: str, updates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, undisturbed = ready(updates), ready(updates)
    before = snapshot(trainer)
    with monkeypatch.context() as patch:
        spoil(trainer, what, value, patch)
        expected = rf"^{named} became (nan|-?inf) in update {updates + 1}, environment step {trainer.steps}\."
        with pytest.raises(NonFiniteError, match=expected):
            trainer.train_step()
        if handle := getattr(trainer, "spoiled", None):
            handle.remove()
    after = snapshot(trainer)
    random_before, random_after = before.pop("random"), after.pop("random")
    assert_same(after, before)  # parameters, optimizer, normaliser, replay, counters
    assert list(differences(random_before, random_after))  # the next attempt uses another batch
    # Given the same random numbers, the next update is as if nothing had happened.
    trainer.random.load_state_dict(random_before)
    assert trainer.train_step() == undisturbed.train_step()
    assert_same(snapshot(trainer), snapshot(undisturbed))


def test_after_a_number_that_is_none_only_the_choice_of_batches_has_moved_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With fresh sequences first, too; and the error says so."""
    trainer = ready(2, fresh_sequences_first=True)
    before = snapshot(trainer)
    with monkeypatch.context() as patch:
        spoil(trainer, "reward", math.nan, patch)
        with pytest.raises(NonFiniteError, match=r"Nothing was changed by this update, .* uses another batch\."):
            trainer.train_step()
    moved = {path.partition(":")[0] for path in differences(before, snapshot(trainer))}
    assert moved == {"/random/numpy", "/replay/served"}


@pytest.mark.parametrize("what", ["reward", "actor gradient"])
def test_what_was_learned_before_a_number_that_is_none_is_saved_and_can_be_resumed(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer("CartPole-v1", tiny(), tmp_path)
    with monkeypatch.context() as patch:
        stop_after(patch, 20, lambda: spoil(trainer, what, math.nan, patch))
        with pytest.raises(NonFiniteError, match=rf"{what} became nan.*resume {re.escape(str(tmp_path))}$"):
            trainer.run()
    assert trainer.updates > 0

    def numbers(nest: Any) -> Iterator[Tensor]:
        if isinstance(nest, Tensor):
            yield nest
        for value in nest.values() if isinstance(nest, dict) else nest if isinstance(nest, list) else []:
            yield from numbers(value)

    saved = list(numbers(checkpoint.read(tmp_path / CHECKPOINT)))
    assert len(saved) > 50
    assert all(tensor.isfinite().all() for tensor in saved)
    resumed = Trainer.load(tmp_path)
    assert resumed.updates == trainer.updates
    resumed.run()
    assert resumed.steps >= TINY["steps"]


def test_rewards_too_large_to_be_squared_are_reported(tmp_path: Path) -> None:
    class Rich(Scripted):
        def step(self, action: Any) -> Any:
            obs, _, *rest = super().step(action)
            return obs, 1e30, *rest

    with pytest.raises(NonFiniteError, match="reward became inf"):
        finished(Rich, tmp_path)
    assert Agent.load(tmp_path)


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@pytest.fixture
def in_a_terminal() -> Iterator[None]:
    """Not under nohup, where a closed terminal is nothing to a process, nor to a run in it."""
    before = {which: signal.signal(which, signal.SIG_DFL) for which in SIGNALS if which != signal.SIGINT}
    yield
    for which, handler in before.items():
        signal.signal(which, handler)


@pytest.mark.usefixtures("in_a_terminal")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_run_after_the_iteration_and_says_how_to_go_on(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {which: signal.getsignal(which) for which in SIGNALS}
    trainer = Trainer("CartPole-v1", tiny(), tmp_path)
    stop_after(monkeypatch, 20, lambda: signal.raise_signal(number))
    with pytest.raises(KeyboardInterrupt) as caught:
        trainer.run()
    assert str(caught.value) == f"Stopped. Saved at step {trainer.steps}; go on with: wm-tutorial resume {tmp_path}"
    assert trainer.steps >= 38
    assert 0 < trainer.updates <= trainer.updates_due
    assert {which: signal.getsignal(which) for which in before} == before


@pytest.mark.parametrize("saved", [True, False], ids=["with a checkpoint", "before the first"])
def test_a_second_ctrl_c_ends_the_run_at_once_and_leaves_the_checkpoint_as_it_was(
    saved: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[str] = []
    checkpoints: list[bytes] = []

    def twice() -> None:
        checkpoints.extend(path.read_bytes() for path in tmp_path.glob(CHECKPOINT))
        ctrl_c()
        reached.append("between")
        ctrl_c()
        reached.append("after")

    options: dict[str, Any] = {**EVENTFUL, "checkpoint_every": 13 if saved else 0}
    with monkeypatch.context() as patch:
        stop_after(patch, 20, twice)
        with pytest.raises(KeyboardInterrupt) as caught:
            finished(Seeded, tmp_path, **options)
    assert reached == ["between"]
    assert [path.read_bytes() for path in tmp_path.glob(CHECKPOINT)] == checkpoints
    if not saved:
        assert (str(caught.value), checkpoints) == ("Stopped at once.", [])
        return
    assert f"The checkpoint is as it was; go on from there with: wm-tutorial resume {tmp_path}" in str(caught.value)
    resumed = Trainer.load(tmp_path, Seeded)
    resumed.run()
    assert_same(snapshot(resumed), snapshot(finished(Seeded, **options)))


def test_a_second_ctrl_c_while_saving_leaves_the_checkpoint_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(Seeded, tmp_path, steps=40, **EVENTFUL)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with monkeypatch.context() as patch:
        stop_after(patch, 3, ctrl_c)
        patch.setattr(torch, "save", lambda *_: ctrl_c())
        trainer = Trainer.load(tmp_path, Seeded, steps=80)
        with pytest.raises(KeyboardInterrupt, match=r"Stopped at once\. The checkpoint is as it was"):
            trainer.run()
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert not list(tmp_path.glob(".*"))


@pytest.mark.usefixtures("in_a_terminal")
@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no such signal here")
def test_a_terminal_that_closes_may_say_so_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)

    stop_after(monkeypatch, 20, twice)
    with pytest.raises(KeyboardInterrupt, match="Saved at step 42"):
        finished(Troupe([99]), tmp_path)


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_a_signal_that_is_ignored_stays_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As below nohup, or in the background of a script."""
    if not (number := getattr(signal, name, None)):
        pytest.skip("no such signal here")
    before = signal.signal(number, signal.SIG_IGN)
    try:
        stop_after(monkeypatch, 5, lambda: signal.raise_signal(number))
        assert finished().steps >= TINY["steps"]
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("which", [0, 1, -1], ids=["first", "second", "last"])
def test_an_evaluation_is_abandoned_by_ctrl_c_and_happens_again(
    which: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finished(Seeded, tmp_path / "whole", **EVENTFUL)
    evaluations = [record["step"] for record in whole.records if record["kind"] == "evaluation"]
    ended: list[int] = []
    evaluate_ = Trainer.evaluate

    def interrupted(self: Trainer, *arguments: Any) -> Evaluation:
        if self.steps == evaluations[which]:
            ctrl_c()
            ended.append(self.steps)
        return evaluate_(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "evaluate", interrupted)
        with pytest.raises(KeyboardInterrupt, match=f"Saved at step {evaluations[which]}"):
            finished(Seeded, tmp_path / "parts", **EVENTFUL)
    assert not ended
    resumed = Trainer.load(tmp_path / "parts", Seeded)
    assert resumed.steps == evaluations[which]
    resumed.run()
    assert_same(snapshot(resumed), snapshot(whole))
    assert timeless(written(tmp_path / "parts")) == timeless(whole.records)


class Flaky(Seeded):
    """Raises once in the life of the process: at the step of all its environments that is counted down to."""

    countdown = -1
    error: BaseException = ConnectionError("the robot has fallen over")

    def step(self, action: Any) -> Any:
        type(self).countdown -= 1
        if self.countdown == 0:
            raise self.error
        return super().step(action)


@pytest.mark.parametrize("number", [7, 8, 46, 61])
@pytest.mark.parametrize(
    "error", [ConnectionError("lost"), SystemExit(3), GeneratorExit()], ids=lambda error: type(error).__name__
)
def test_an_environment_that_raises_once_loses_nothing(
    error: BaseException, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the first or second environment, among random steps or later: the iteration is undone, and made again."""
    whole = finished(Flaky, tmp_path / "whole", updates_per_step=0.5)
    monkeypatch.setattr(Flaky, "error", error)
    monkeypatch.setattr(Flaky, "countdown", number)
    expected = EnvironmentFailure if isinstance(error, Exception) else type(error)
    with pytest.raises(expected):
        finished(Flaky, tmp_path / "parts", updates_per_step=0.5)
    resumed = Trainer.load(tmp_path / "parts", Flaky)
    assert number - 2 <= resumed.steps <= number  # at most a step of each environment is made again
    resumed.run()
    assert_same(snapshot(resumed), snapshot(whole))
    assert timeless(written(tmp_path / "parts")) == timeless(whole.records)


@pytest.mark.parametrize("update", [0, 3, 10])
def test_an_error_between_two_updates_of_an_iteration_loses_nothing(
    update: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {**EVENTFUL, "updates_per_step": 1.5}
    whole = finished(Seeded, **options)
    train_step = Trainer.train_step

    def run_out(self: Trainer) -> dict[str, float]:
        if self.updates == update:
            raise MemoryError("no more")
        return train_step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", run_out)
        with pytest.raises(MemoryError, match="no more"):
            finished(Seeded, tmp_path, **options)
    resumed = Trainer.load(tmp_path, Seeded)
    assert resumed.updates == update
    resumed.run()
    assert_same(snapshot(resumed), snapshot(whole))
    assert timeless(written(tmp_path)) == timeless(whole.records)


def test_what_ends_a_run_unforeseen_says_where_it_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stop_after(monkeypatch, 20, lambda: sys.exit(3))
    with pytest.raises(SystemExit):
        finished(folder=tmp_path)
    assert re.search(rf"Saved at step \d+; go on with: wm-tutorial resume {tmp_path}\n", capsys.readouterr().err)


# --- What is shown on the way -----------------------------------------------------------------------------------------


class Screen(io.StringIO):
    """A terminal of so many columns, that remembers what was drawn on its line."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [80, 100])
def test_the_progress_bar_has_room_and_names_what_is_done(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda _: (columns, 24))
    monkeypatch.setattr(Trainer, "_progress", lambda self, original=Trainer._progress: drawn_always(original(self)))
    finished(steps=300, prefill=100, updates_per_step=0.2, eval_every=100)
    lines = [line.strip() for line in screen.getvalue().split("\r") if "%" in line]
    assert max(map(len, lines)) <= columns
    assert min(len(re.search(r"\|(.*?)\|", line)[1]) for line in lines) >= 20  # type: ignore[index]
    phases = [phase for phase, _ in itertools.groupby(line.partition("  ")[0].partition(" 1")[0] for line in lines)]
    assert phases[0] == "random steps" and phases[-1] == "done"
    assert {"evaluating", "learning"} <= set(phases)
    assert sum("left" not in line for line in lines) <= 3 < 20 < len(lines)  # known before the start


def drawn_always(bar: Any) -> Any:
    bar.mininterval, bar.miniters, bar.dynamic_miniters = 0.0, 0, False
    return bar


def test_the_time_left_is_that_of_learning_and_of_the_evaluations_to_come() -> None:
    config = tiny(steps=1000, prefill=900, eval_every=0)
    assert Pace().left(10, config) is None  # quick random steps are no measure
    assert Pace(steps=10, learning=20.0).left(950, config) == 100.0
    assert Pace(steps=10, learning=20.0, evaluations=2, evaluating=6.0).left(950, config) == 103.0
    every = tiny(steps=1000, eval_every=100)
    assert Pace(10, 20.0, 1, 7.0).left(750, every) == 500.0 + 3 * 7.0  # at 800, 900 and 1000
    assert Pace(10, 20.0, 1, 7.0).left(750, tiny(steps=1050, eval_every=100)) == 600.0 + 4 * 7.0


def test_before_the_start_the_updates_to_come_are_all_there_is_to_judge_by() -> None:
    config = tiny(steps=1000, prefill=900, eval_every=0, updates_per_step=0.25)
    assert Pace(update=0.5).left(0, config) == 100 * 0.25 * 0.5
    assert Pace(update=0.5).left(940, config) == 60 * 0.25 * 0.5
    assert Pace(update=0.5, steps=10, learning=20.0).left(950, config) == 100.0  # what was measured counts


def test_a_run_says_how_long_it_will_take_before_it_starts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[str] = []
    collect = Trainer.collect

    def noted(self: Trainer) -> None:
        began.append(capsys.readouterr().err) if not began else None
        collect(self)

    monkeypatch.setattr(Trainer, "collect", noted)
    finished()
    assert re.search(r"One update takes \S+ s on this machine: about \d\d:\d\d of learning to go", began[0])


def test_trying_an_update_beforehand_changes_nothing() -> None:
    trainer = ready(updates=1)
    before = snapshot(trainer)
    assert (took := trainer._rehearsed()) is not None and took > 0.0
    assert_same(snapshot(trainer), before)


def test_a_run_needs_nobody_who_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert finished().steps >= TINY["steps"]


# --- Two at a time ----------------------------------------------------------------------------------------------------


def test_a_second_run_in_a_thread_is_refused_and_the_first_is_as_if_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch has one random generator for all threads: each would change the numbers of the other."""
    alone, other = finished(), ready()
    refused: list[BaseException] = []

    def try_everything() -> None:
        for call in (other.run, other.collect, other.train_step, lambda: other.evaluate(2)):
            try:
                call()
            except InputError as error:
                refused.append(error)

    def beside() -> None:
        thread = threading.Thread(target=try_everything)
        thread.start()
        thread.join()

    stop_after(monkeypatch, 15, beside)
    first = finished()
    monkeypatch.undo()
    assert len(refused) >= 4 and "give each run a process" in str(refused[0])
    assert_same(snapshot(first), snapshot(alone))
    other.run()  # it was not harmed


# --- Its name, and how to go on ---------------------------------------------------------------------------------------


def test_an_environment_is_called_by_its_id_or_by_the_class_that_was_built() -> None:
    names: dict[EnvSource, str] = {
        "CartPole-v1": "CartPole-v1",
        "wm_tutorial/Corridor-v0": "Corridor-v0",
        Seeded: "Seeded",
    }
    for source, name in names.items():
        assert Trainer(source, tiny()).environment_name == name
    assert Trainer(lambda: Seeded(), tiny()).environment_name == "Seeded"
    assert Trainer(lambda: gym.wrappers.TimeLimit(Seeded(), 5), tiny()).environment_name == "Seeded"
    assert Trainer(Troupe([3]), tiny()).environment_name == "Scripted"


def test_the_way_on_names_what_a_file_must_not_name(tmp_path: Path) -> None:
    folder = tmp_path / "my runs"
    expected = f"wm-tutorial resume '{folder}'"
    assert Trainer("CartPole-v1", tiny(), folder).way_on == expected
    assert Trainer("scripted:CartPole-v1", tiny(), folder).way_on == f"{expected} --env scripted:CartPole-v1"
    assert Trainer(Seeded, tiny(), folder).way_on == f"{expected} --env scripted:Seeded"
    assert Trainer(lambda: Seeded(), tiny(), folder).way_on == f"wm_tutorial.resume({str(folder)!r}, env=...)"


def test_without_a_folder_nothing_is_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_after(monkeypatch, 3, ctrl_c)
    with pytest.raises(KeyboardInterrupt, match=r"^Stopped\.$"):
        finished()


def test_a_run_in_another_thread_works_and_leaves_signals_alone() -> None:
    result: list[Trainer] = []
    thread = threading.Thread(target=lambda: result.append(finished(steps=30)))
    thread.start()
    thread.join()
    assert result[0].steps == 30


def test_ctrl_c_on_the_command_line_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    """A real process and a real signal."""
    given = TINY | {"steps": 10**7}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "wm_tutorial", "train", "CartPole-v1", f"--out={folder}", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 60
        while not (folder / METRICS).exists() or '"train"' not in (folder / METRICS).read_text():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in stderr
    last = stderr.strip().splitlines()[-1]
    step = int(re.fullmatch(rf"Stopped\. Saved at step (\d+); go on with: wm-tutorial resume {folder}", last)[1])  # type: ignore[index]
    resumed = Trainer.load(folder, steps=step + 20)
    assert resumed.steps == step
    resumed.run()
    assert resumed.steps >= step + 20


def test_what_nobody_foresaw_does_not_cost_what_was_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer("CartPole-v1", tiny(), tmp_path)
    step = trainer.train_step

    def run_out_of_memory() -> dict[str, float]:
        if trainer.updates == 3:
            raise MemoryError("no more")
        return step()

    monkeypatch.setattr(trainer, "train_step", run_out_of_memory)
    with pytest.raises(MemoryError, match="no more"):
        trainer.run()
    assert Trainer.load(tmp_path).updates == 3
