"""Open-loop errors: of the same random episodes for every agent, from a context on, in the units they say."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from scripted import Troupe, tiny

from wm_tutorial.data import Batch, State
from wm_tutorial.errors import InputError
from wm_tutorial.latents import Gaussian
from wm_tutorial.runs.dream import EpisodesTooShort, dream, kl_both_ways, open_loop_errors, random_episodes
from wm_tutorial.trainer import Trainer
from wm_tutorial.world_model import OpenLoop


def two_streams() -> tuple[Trainer, Troupe]:
    """One environment whose episodes have 3 and 7 rows in turn, one with 6 each; observations are (episode, step)."""
    troupe = Troupe([2, -6], [5])
    return Trainer(troupe, tiny()), troupe


def test_random_episodes_are_the_first_long_enough_from_their_first_row_on() -> None:
    trainer, troupe = two_streams()
    batch = random_episodes(trainer.agent, troupe, episodes=2, rows=4, seed=0)
    assert batch.obs.tolist() == [[[1, 0], [1, 1], [1, 2], [1, 3]], [[0, 0], [0, 1], [0, 2], [0, 3]]]
    assert batch.reward.tolist() == [[0, 11, 12, 13], [0, 1, 2, 3]]
    assert batch.is_first.tolist() == [[True, False, False, False]] * 2
    assert not batch.is_last.any()
    lived = [torch.eye(2)[env.taken].tolist() for env in troupe.built[-2:]]
    assert batch.action.tolist()[0][:3] == lived[0][2:5]  # two actions were spent on the episode passed over
    assert batch.action.tolist()[1][:3] == lived[1][:3]
    assert torch.equal(batch.previous_action[:, 1:], batch.action[:, :-1])


def test_a_last_row_counts_as_one_of_the_episode() -> None:
    trainer, troupe = two_streams()
    batch = random_episodes(trainer.agent, troupe, episodes=2, rows=6, seed=0)
    assert batch.obs[1, -1].tolist() == [0, 5] and batch.is_terminal[1].tolist() == [False] * 5 + [True]


def test_episodes_that_are_all_too_short_are_an_error_and_not_a_wait() -> None:
    trainer, troupe = two_streams()
    with pytest.raises(EpisodesTooShort, match="Of 2 streams of random actions 1 have no episode of 7 rows"):
        random_episodes(trainer.agent, troupe, episodes=2, rows=7, seed=0)


def test_errors_are_those_of_each_step_after_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, troupe = two_streams()
    rows = 6
    unit = np.std(np.array([[1.0, 0.0]] * rows).ravel(), ddof=1), np.std(np.tile(np.arange(rows), 2), ddof=1)

    def wrong_by_more_and_more(batch: Batch, context: int) -> OpenLoop:
        late = (torch.arange(rows) - context + 1).clamp(min=0)[:, None]  # 1, 2, ... after the context
        obs = batch.obs + late * torch.tensor([unit[0], -unit[1]])
        return OpenLoop(obs, batch.reward - 3.0, torch.ones_like(batch.reward), context)

    monkeypatch.setattr(trainer.agent.world_model, "open_loop", wrong_by_more_and_more)
    errors = open_loop_errors(trainer.agent, troupe, episodes=2, context=2, horizon=4)
    assert errors.obs == pytest.approx((1.0, 2.0, 3.0, 4.0), rel=1e-5)
    assert errors.reward == pytest.approx((3.0,) * 4)
    # the step goes on by one each row, the episode stays: the mean over both entries is half of that
    assert errors.persistence == pytest.approx([k / unit[1] / np.sqrt(2) for k in (1, 2, 3, 4)], rel=1e-5)


def test_errors_are_of_the_same_episodes_for_every_agent_and_leave_no_trace() -> None:
    one, other = (Trainer("CartPole-v1", tiny(seed=seed)) for seed in (0, 1))
    before = torch.get_rng_state()
    found = [open_loop_errors(agent, "CartPole-v1", 5, 2, 3) for agent in (one.agent, one.agent, other.agent)]
    assert torch.equal(torch.get_rng_state(), before)
    assert found[0] == found[1] != found[2]
    assert found[0].persistence == found[2].persistence
    assert open_loop_errors(one.agent, "CartPole-v1", 5, 2, 3, seed=1).persistence != found[0].persistence


def test_images_are_compared_between_0_and_1() -> None:
    trainer = Trainer("wm_tutorial/CatchInTheDark-v0", tiny(conv_depth=2))
    errors = open_loop_errors(trainer.agent, "wm_tutorial/CatchInTheDark-v0", 3, 2, 3)
    assert min(errors.obs) > 0.1 and max(errors.obs) < 20.0  # in bytes, it would be 255 times as much


@pytest.mark.parametrize("asked", [{"episodes": 0}, {"context": 0}, {"horizon": 0}, {"seed": -1}])
def test_nothing_to_compare_is_refused(asked: dict[str, Any]) -> None:
    trainer, troupe = two_streams()
    with pytest.raises(InputError, match="at least 1 of each"):
        open_loop_errors(trainer.agent, troupe, **asked)


# --- Divergences ------------------------------------------------------------------------------------------------------


def test_divergences_run_both_ways_and_leave_out_the_first_row(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, troupe = two_streams()

    def known(encoded: torch.Tensor, *rest: Any) -> tuple[State, Gaussian, Gaussian]:
        shape = (*encoded.shape[:2], 3)
        posterior = Gaussian(torch.zeros(shape), torch.zeros(shape))
        prior = Gaussian(torch.ones(shape), torch.ones(shape))
        prior.mean[:, 0] = 1000.0  # before a first row there was nothing to predict from
        return trainer.agent.initial(shape[0]).state, posterior, prior

    monkeypatch.setattr(trainer.agent.world_model.dynamics, "observe", known)
    found = kl_both_ways(trainer.agent, troupe, episodes=2, rows=6)
    # of N(0, 1) from N(1, e), and the other way: three latents each
    assert found.forward == pytest.approx(3 * 0.5 * (1 + 2 / np.e - 1), rel=1e-5)
    assert found.backward == pytest.approx(3 * 0.5 * (-1 + np.e + 1 - 1), rel=1e-5)


def test_divergences_are_of_the_same_episodes_for_every_agent_and_leave_no_trace() -> None:
    one, other = (Trainer("CartPole-v1", tiny(seed=seed)) for seed in (0, 1))
    before = torch.get_rng_state()
    found = [kl_both_ways(agent, "CartPole-v1", 5, 6) for agent in (one.agent, one.agent, other.agent)]
    assert torch.equal(torch.get_rng_state(), before)
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("asked", [{"episodes": 0}, {"rows": 1}, {"seed": -1}])
def test_no_divergence_without_rows(asked: dict[str, Any]) -> None:
    trainer, troupe = two_streams()
    with pytest.raises(InputError, match="at least 1 episode, 2 rows"):
        kl_both_ways(trainer.agent, troupe, **asked)


# --- Filmed -----------------------------------------------------------------------------------------------------------


class Painter(gym.Wrapper[Any, Any, Any, Any]):
    """Draws the step of the episode as a brightness, unless it is told to fail at one."""

    def __init__(self, env: gym.Env[Any, Any], fails_at: int = -1) -> None:
        super().__init__(env)
        self.fails_at = fails_at

    @property
    def render_mode(self) -> str:  # type: ignore[override]
        return "rgb_array"

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        self.step_of_episode = 0
        return self.env.reset(**options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.step_of_episode += 1
        return self.env.step(action)

    def render(self) -> Any:
        if self.step_of_episode == self.fails_at:
            raise RuntimeError("no screen")
        return np.full((6, 8, 3), self.step_of_episode, np.uint8)


def test_each_row_is_filmed_in_the_episode_that_is_dreamed() -> None:
    trainer, troupe = two_streams()
    painted = lambda: Painter(troupe())  # noqa: E731
    seen = dream(trainer.agent, painted, context=2, horizon=4, filmed=True)
    assert seen.frames is not None and seen.frames.shape == (6, 6, 8, 3)
    assert seen.frames[:, 0, 0, 0].tolist() == seen.obs[:, 1].tolist() == [0, 1, 2, 3, 4, 5]


def test_filming_changes_nothing_of_what_happens() -> None:
    agent = Trainer("CartPole-v1", tiny()).agent
    plain, filmed = (dream(agent, "CartPole-v1", context=2, horizon=5, filmed=filmed) for filmed in (False, True))
    assert plain.frames is None and filmed.frames is not None and filmed.frames.shape == (7, 400, 600, 3)
    assert np.array_equal(plain.obs, filmed.obs) and np.array_equal(plain.predicted_obs, filmed.predicted_obs)


def test_what_cannot_be_drawn_is_dreamed_without_pictures() -> None:
    trainer, troupe = two_streams()
    for source in (troupe, lambda: Painter(troupe(), fails_at=3)):
        assert dream(trainer.agent, source, context=2, horizon=4, filmed=True).frames is None
