"""The rows of the lineage from end to end: every one learns, stops and goes on, and acts from its checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import CONTINUOUS, STANDARD_ERRORS, VECTORS, randomise
from scripted import TINY, assert_same, copied, snapshot

from wm_tutorial.agent import Agent
from wm_tutorial.config import PRESETS, Config, make_config
from wm_tutorial.data import Batch, Place, Row, Spaces
from wm_tutorial.envs import make_env
from wm_tutorial.replay import Replay
from wm_tutorial.runs.report import imagined_trajectory
from wm_tutorial.runs.run import train
from wm_tutorial.trainer import Trainer

LINEAGE = [name for name in PRESETS if name != "guide"]
SMALLER = TINY | {"imagined_starts": 0, "memory_size": 8, "memory_blocks": 2, "latent_classes": 3, "bins": 41}


def small(preset: str, **options: Any) -> Config:
    """The nano size of a preset, smaller still: ten updates."""
    return make_config(preset, "nano", **(SMALLER | options))


@pytest.mark.parametrize("preset", LINEAGE)
@pytest.mark.parametrize("environment", ["CartPole-v1", "Pendulum-v1"])
def test_every_preset_learns_stops_and_goes_on(environment: str, preset: str, tmp_path: Path) -> None:
    config = small(preset)
    never_stopped = Trainer(environment, config)
    before = copied(never_stopped.agent.state_dict())
    never_stopped.run()
    stopped = Trainer(environment, config, tmp_path)
    while stopped.updates < 5:
        stopped.collect()
        while stopped.updates < stopped.updates_due:
            stopped.train_step()
    stopped.save()
    resumed = Trainer.load(tmp_path)
    assert resumed.config == config and resumed.config.size == "nano"
    resumed.run()
    assert resumed.updates == 10
    assert_same(snapshot(resumed), snapshot(never_stopped))

    after = never_stopped.agent.state_dict()
    learned = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    moved = {".".join(name.split(".")[:2]) for name in after if not torch.equal(after[name], before[name])}
    model = {f"world_model.{part}" for part in ("encoder", "dynamics", "decoder", "reward_head", "continue_head")}
    assert model <= moved
    if preset == "planet":
        assert learned == {"world_model"} == {name.split(".")[0] for name in after}  # there is nothing else
    else:
        assert {"behaviour.actor", "behaviour.critic", "behaviour.slow_critic"} <= moved
    assert (never_stopped.replay.served > 0) == (preset == "dreamer_v3")

    loaded = Agent.load(tmp_path)
    assert loaded.config == config
    assert_same(loaded.state_dict(), resumed.agent.state_dict())
    with make_env(environment) as env:
        obs, _ = env.reset(seed=0)
        action, carry = loaded.act(obs)
        assert env.action_space.contains(action)
        assert env.action_space.contains(loaded.act(obs, carry)[0])


@pytest.mark.parametrize("preset", ["guide", "dreamer_v3"])
def test_the_run_folder_is_named_after_the_size_if_there_is_one(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("wm_tutorial.runs.report.write", lambda folder, *_: folder)
    sized = SMALLER if preset == "dreamer_v3" else TINY
    run = train("CartPole-v1", preset=preset, **(sized | {"steps": 30}), seed=3)
    assert run.path == Path("runs") / {"guide": "CartPole-v1-guide-seed3"}.get(
        preset, f"CartPole-v1-{preset}-nano-seed3"
    )


# --- Fresh sequences --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False])
def test_the_trainer_learns_from_every_fresh_sequence_when_it_is_asked_to(
    first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces of 5 rows (four, and the one before) begin in rows 0, 5, 10 ... of both streams."""
    sampled: set[tuple[int, int]] = set()
    sample = Replay.sample

    def spied(self: Replay, *args: Any) -> tuple[Batch, Place]:
        batch, place = sample(self, *args)
        sampled.update(zip(place.stream.tolist(), (place.number[:, 0] - 1).tolist(), strict=True))
        return batch, place

    monkeypatch.setattr(Replay, "sample", spied)
    trainer = Trainer("CartPole-v1", small("dreamer_v3", fresh_sequences_first=first, updates_per_step=0.5))
    trainer.run()
    pieces = {(stream, 5 * k) for stream in range(2) for k in range((trainer.replay.added - 2) // 5)}
    assert len(pieces) >= 10 and (pieces <= sampled) == first


# --- Acting by chance -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("greedy", [True, False])
@pytest.mark.parametrize("spaces", [VECTORS, CONTINUOUS], ids=["discrete", "continuous"])
def test_chance_takes_every_action_equally_often(spaces: Spaces, greedy: bool) -> None:
    """Greedy or not: there is no action that chance thinks best."""
    count = 20_000
    agent = Agent(spaces, small("planet", behaviour="random"))
    nothing = np.zeros(count, bool)
    row = Row(np.ones((count, 3), np.float32), np.zeros(count, np.float32), ~nothing, nothing, nothing)
    torch.manual_seed(0)
    carry = agent.policy(row, agent.initial(count), greedy)
    assert carry.state.memory.any()  # what happens is still understood
    if spaces.action_kind == "discrete":
        assert set(carry.action.flatten().tolist()) == {0.0, 1.0} and (carry.action.sum(-1) == 1).all()
        assert abs(carry.action[:, 0].mean().item() - 0.5) < STANDARD_ERRORS * 0.5 / count**0.5
    else:
        shares = torch.histc(carry.action[:, 0], bins=10, min=-1.0, max=1.0) / count
        assert carry.action.abs().max() <= 1.0 and shares.sum() == pytest.approx(1.0)
        assert (shares - 0.1).abs().max() < STANDARD_ERRORS * (0.1 * 0.9 / count) ** 0.5
        assert abs(torch.corrcoef(carry.action.T)[0, 1].item()) < STANDARD_ERRORS / count**0.5


@pytest.mark.parametrize("behaviour", ["planner", "random"])
def test_a_run_without_a_policy_reports_what_it_learned(
    behaviour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of actor and critic there is nothing to say; the figures, the page and the evaluation are there all the same."""
    monkeypatch.setattr("wm_tutorial.figures.film", lambda dream, path: "a film")  # which takes the longest
    run = train("CartPole-v1", preset="planet", behaviour=behaviour, out=tmp_path, **SMALLER)
    page = (tmp_path / "index.html").read_text()
    assert "preset planet, size nano, seed 0" in page
    assert "losses.png" in page and "imagined.png" not in page  # no one has learned to act in imagination
    lines = [set(record["losses"]) for record in run.records if record["kind"] == "train"]
    assert lines and all({"decoder", "reward", "dynamics"} <= line for line in lines)
    assert not any({"actor", "critic"} & line for line in lines)
    assert len(run.evaluate(3).returns) == 3


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("preset", ["guide", "dreamer_v3"])
def test_the_figure_of_an_imagined_trajectory_shows_the_returns_that_are_learned_from(
    preset: str, inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gamma counts once, whether it stands beside the continue probability or is inside."""
    shown: list[Any] = []
    monkeypatch.setattr("wm_tutorial.figures.imagined_trajectory", lambda *drawn: shown.extend(drawn))
    trainer = Trainer("CartPole-v1", make_config(preset, **SMALLER, discount=0.5, lam=1.0, discount_in_continue=inside))
    randomise(trainer.agent)
    imagined_trajectory(trainer)
    reward, continue_, value, returns = (torch.from_numpy(x[0]).double() for x in shown)
    expected, gamma = value[-1], 1.0 if inside else 0.5
    for t in reversed(range(len(reward))):
        expected = reward[t] + gamma * continue_[t + 1] * expected
    assert returns[0].item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-6)
    assert returns.abs().max() > 0
