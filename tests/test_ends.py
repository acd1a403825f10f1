"""What benchmarks/ends.py says about the ends of episodes, against a replay counted by hand."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from wm_tutorial import train
from wm_tutorial.runs.run import Run

ENDS = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "ends.py"))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    options = {
        "steps": 600,
        "prefill": 600,
        "updates_per_step": 0.0,
        "hidden": 8,
        "memory_size": 8,
        "latent_size": 2,
        "eval_every": 0,
    }
    return train(
        "CartPole-v1", "dreamer_v3", "nano", out=tmp_path, draw=False, eval_episodes=1, memory_blocks=2, **options
    )


def test_every_long_enough_episode_is_counted_once_and_by_how_it_ended(run: Run) -> None:
    columns = run.trainer.replay.columns
    added = run.trainer.replay.added
    ended = columns["is_terminal"][:, :added]
    lengths = [
        row - np.flatnonzero(first[: row + 1])[-1]
        for first, terminal in zip(columns["is_first"][:, :added], ended, strict=True)
        for row in np.flatnonzero(terminal)
    ]
    fell = ENDS["ends"](run, draws=1)
    assert fell["left the track"].count == 0 and str(fell["left the track"]) == "never"
    assert fell["fell"].count == sum(length >= 8 for length in lengths) > 10
    columns["obs"][..., 0][columns["is_terminal"]] = -2.5  # the same episodes, but the cart was off the track
    left = ENDS["ends"](run, draws=1)
    assert left["fell"].count == 0 and left["left the track"].count == fell["fell"].count


def test_it_is_the_probability_of_the_continue_head_at_the_end(run: Run) -> None:
    model = run.agent.world_model
    head = model.continue_head.net[-1]
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(float(np.log(3.0)))
    found = ENDS["ends"](run, draws=2)["fell"]
    assert found.seen == pytest.approx(0.75) and found.imagined == pytest.approx(0.75)
    assert str(found).startswith(f"{found.count:3} times, continue 0.75 seen, 0.75 imagined, ")


def test_what_is_imagined_follows_the_actions_that_were_taken(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    columns, added = run.trainer.replay.columns, run.trainer.replay.added
    taken = []
    imagine = run.agent.world_model.imagine
    monkeypatch.setattr(run.agent.world_model, "imagine", lambda state, a: taken.append(a) or imagine(state, a))
    count = ENDS["ends"](run, draws=1)["fell"].count
    actions = torch.stack(taken)  # (8, ends, A)
    assert actions.shape[:2] == (8, count)
    last = [
        columns["action"][stream, row - 8 : row]
        for stream, row in np.argwhere(columns["is_terminal"][:, :added])
        if not columns["is_first"][stream, row - 7 : row + 1].any() and row > 8
    ]
    np.testing.assert_array_equal(actions.transpose(0, 1), np.stack(last))
