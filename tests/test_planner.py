"""Planning: the search is handed worlds that are known exactly, and held against what is best in them."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import CONTINUOUS, STANDARD_ERRORS, VECTORS, random_batch, randomise
from scripted import TINY
from torch import Tensor

from wm_tutorial import agent as agent_module
from wm_tutorial.agent import Agent
from wm_tutorial.config import Config, make_config
from wm_tutorial.data import Row, Spaces, State
from wm_tutorial.errors import InputError, NonFiniteError
from wm_tutorial.learner import Learner
from wm_tutorial.planner import (
    CategoricalPlan,
    GaussianPlan,
    Step,
    imagined_returns,
    no_plan,
    plan,
    search,
    step_of,
)
from wm_tutorial.runs.dream import live
from wm_tutorial.runs.plan import narrowing
from wm_tutorial.runs.run import train
from wm_tutorial.trainer import Trainer
from wm_tutorial.world_model import WorldModel
from wm_tutorial.worlds import Corridor

SIZED = TINY | {"imagined_starts": 0, "memory_size": 8, "memory_blocks": 2, "candidates": 20, "elites": 5}
SEARCHED = {"candidates": 300, "elites": 30, "iterations": 10}


def states(latent: Tensor) -> State:
    """States (N) of a world without memory."""
    return State(latent.new_zeros(len(latent), 0), latent)


def planet(**options: Any) -> Config:
    return make_config("planet", "nano", **(SIZED | {"horizon": 4} | options))


# --- A linear system with quadratic costs: what is best is known in closed form ---------------------------------------

A = torch.tensor([[1.0, 0.3], [-0.2, 0.9]], dtype=torch.float64)
B = torch.tensor([[0.1, 0.4], [0.5, -0.2]], dtype=torch.float64)
Q = torch.tensor([[1.0, 0.2], [0.2, 0.5]], dtype=torch.float64)  # what the state that is arrived in costs
R = torch.tensor([[0.3, 0.0], [0.0, 0.2]], dtype=torch.float64)  # what the action costs
X = torch.tensor([[0.6, -0.3], [-0.5, -0.4], [0.2, 0.7]], dtype=torch.float64)


def quadratic(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
    arrived = state.latent @ A.T + action @ B.T
    cost = ((arrived @ Q) * arrived).sum(-1) + ((action @ R) * action).sum(-1)
    return states(arrived), -cost, torch.ones_like(cost)


def best_actions(x: Tensor, horizon: int) -> Tensor:
    """The best next `horizon` actions (N, H, 2) in the states (N, 2), from Riccati's equation."""
    to_go, gains = torch.zeros_like(Q), []
    for _ in range(horizon):
        ahead = Q + to_go  # what arriving costs, now and later
        gain = torch.linalg.solve(R + B.T @ ahead @ B, B.T @ ahead @ A)
        to_go = A.T @ ahead @ (A - B @ gain)
        gains.append(gain)
    actions = []
    for gain in reversed(gains):
        actions.append(-x @ gain.T)
        x = x @ A.T + actions[-1] @ B.T
    return torch.stack(actions, dim=1)


@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_on_a_linear_system_with_quadratic_costs_the_plan_is_that_of_lqr(horizon: int) -> None:
    """Of 40 searches in each state, every one comes close, and together they are right."""
    exact = best_actions(X, horizon)
    assert exact.abs().max() < 0.9  # inside the bounds, where alone the closed form is true
    assert (exact[:, 0].abs() > 0.1).any(-1).all()
    torch.manual_seed(0)
    many = states(X.repeat_interleave(40, 0))
    found = plan(quadratic, many, no_plan(CONTINUOUS, many, horizon), **SEARCHED)
    error = (found.first - exact[:, 0].repeat_interleave(40, 0)).reshape(3, 40, 2)
    assert error.abs().max() < 0.04
    assert (error.mean(1).abs() < STANDARD_ERRORS * error.std(1) / 40**0.5 + 1e-3).all()
    assert torch.equal(found.first, found.mean[:, 0])
    torch.testing.assert_close(found.mean, exact.repeat_interleave(40, 0), atol=0.1, rtol=0)


def test_more_iterations_raise_the_imagined_return_and_narrow_the_plan() -> None:
    torch.manual_seed(0)
    many = states(X.repeat(30, 1))
    found = list(search(quadratic, many, no_plan(CONTINUOUS, many, 5), 60, 10, 6))
    tried = [iteration.returns.mean().item() for iteration in found]
    assert tried == sorted(tried) and tried[-1] - tried[0] > 1.0
    of_the_plan = [imagined_returns(quadratic, many, i.plan.mean.unsqueeze(1)).mean().item() for i in found]
    assert of_the_plan == sorted(of_the_plan)
    width = [iteration.plan.std.mean().item() for iteration in found]
    assert width == sorted(width, reverse=True) and width[-1] < 0.2 * width[0]


def test_the_elites_are_those_that_earn_most_and_nothing_else_is_kept() -> None:
    torch.manual_seed(0)
    many = states(X)
    (found,) = search(quadratic, many, no_plan(CONTINUOUS, many, 3), 50, 7, 1)
    assert found.candidates.shape == (3, 50, 3, 2)
    torch.testing.assert_close(found.returns, imagined_returns(quadratic, many, found.candidates))
    for n in range(3):
        best = found.returns[n].argsort(descending=True)[:7]
        assert set(found.elites[n].tolist()) == set(best.tolist())
        torch.testing.assert_close(found.plan.mean[n], found.candidates[n][best].mean(0))


def test_with_one_iteration_and_one_elite_it_is_random_shooting() -> None:
    torch.manual_seed(0)
    many = states(X)
    (found,) = search(quadratic, many, no_plan(CONTINUOUS, many, 3), 50, 1, 1)
    best = found.returns.argmax(1)
    torch.testing.assert_close(found.plan.first, torch.stack([found.candidates[n, best[n], 0] for n in range(3)]))


@pytest.mark.parametrize("shift", [-100.0, 3.0])
def test_where_episodes_never_end_the_plan_does_not_change_when_all_rewards_do(shift: float) -> None:
    def shifted(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        arrived, reward, continue_ = quadratic(state, action)
        return arrived, reward + shift, continue_

    found = []
    for step in (quadratic, shifted):
        torch.manual_seed(0)
        found.append(plan(step, states(X), no_plan(CONTINUOUS, states(X), 5), 100, 10, 4))
    torch.testing.assert_close(found[0].mean, found[1].mean, atol=1e-9, rtol=0)
    torch.testing.assert_close(found[0].std, found[1].std, atol=1e-9, rtol=0)


# --- A corridor: every sequence of actions can be tried ---------------------------------------------------------------


def corridor_step(corridor: Corridor) -> Step:
    """The corridor as beliefs: where one is (N, S), if the episode has not ended."""
    transition, reward = torch.from_numpy(corridor.transition), torch.from_numpy(corridor.reward)
    alive = torch.from_numpy(~corridor.terminal).double()

    def step(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        arrived = torch.einsum("ns,sax,na->nx", state.latent, transition, action)
        goes_on = arrived @ alive
        return states(arrived * alive / goes_on.clamp(min=1e-12).unsqueeze(-1)), arrived @ reward, goes_on

    return step


def exhaustively(corridor: Corridor, cell: int, horizon: int) -> dict[tuple[int, ...], float]:
    """What each sequence of actions earns on average from `cell`, in the tables of the corridor themselves."""
    earned = {}
    for actions in itertools.product((0, 1), repeat=horizon):
        there, total = np.eye(len(corridor.reward))[cell], 0.0  # how likely one is still on the way, and where
        for action in actions:
            there = (there * ~corridor.terminal) @ corridor.transition[:, action]
            total += there @ corridor.reward
        earned[actions] = total
    return earned


@pytest.mark.parametrize("horizon", [1, 2, 4, 7])
def test_in_the_corridor_the_plan_is_the_best_of_all_sequences(horizon: int) -> None:
    """Near the left end a short plan takes the small reward; a long one walks all the way, in spite of slips."""
    corridor, cells = Corridor(), torch.arange(1, 5)
    start = states(torch.eye(6, dtype=torch.float64)[cells])
    step, two = corridor_step(corridor), VECTORS
    every = torch.eye(2, dtype=torch.float64)[torch.tensor(list(itertools.product((0, 1), repeat=horizon)))]
    imagined = imagined_returns(step, start, every.expand(4, *every.shape))
    torch.manual_seed(0)
    found = plan(step, start, no_plan(two, start, horizon), **SEARCHED)
    for n, cell in enumerate(cells.tolist()):
        earned = exhaustively(corridor, cell, horizon)
        np.testing.assert_allclose(imagined[n].numpy(), list(earned.values()), atol=1e-12)
        chosen = tuple(found.probabilities[n].argmax(-1).tolist())
        assert earned[chosen] == pytest.approx(max(earned.values()), abs=1e-12)
        first = {actions[0] for actions, value in earned.items() if value > max(earned.values()) - 1e-12}
        assert found.first[n].argmax().item() in first and found.first[n].sum() == 1.0


def test_how_far_a_plan_looks_ahead_decides_where_it_goes() -> None:
    corridor = Corridor(slip=0.05)
    start = states(torch.eye(6, dtype=torch.float64)[[2]])
    torch.manual_seed(0)
    short, long = (
        plan(corridor_step(corridor), start, no_plan(VECTORS, start, h), **SEARCHED).first[0].argmax().item()
        for h in (2, 5)
    )
    assert (short, long) == (0, 1)


# --- Rewards, and ends ------------------------------------------------------------------------------------------------


def scripted_step(reward: list[float], continue_: list[float]) -> Step:
    """The latent counts the steps; what arrives is written down, times the action."""

    def step(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        t = int(state.latent[0, 0])
        return states(state.latent + 1), reward[t] * action[:, 0], torch.full((len(action),), continue_[t])

    return step


def test_a_reward_counts_as_much_as_it_is_likely_that_the_episode_lasts_till_then() -> None:
    """The end that comes with a reward does not take it away; what the last state says of an end plays no part."""
    step = scripted_step([1.0, 2.0, 4.0, 8.0], [0.5, 0.0625, 1.0, 0.3])
    actions = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 1.0, -1.0]]).reshape(1, 2, 4, 1)
    expected = [1 + 0.5 * 2 + 0.5 * 0.0625 * (4 + 8), 1 + 0.5 * 0.0625 * (4 - 8)]
    assert imagined_returns(step, states(torch.zeros(1, 1)), actions)[0].tolist() == expected


@pytest.mark.parametrize(("continue_", "expected"), [(1.0, 1), (0.6, 1), (0.4, 0), (0.0, 0)])
def test_what_comes_after_a_likely_end_is_not_worth_waiting_for(continue_: float, expected: int) -> None:
    """Action 0 pays 1 at once; action 1 nothing, then 2, if the episode is not over by then."""

    def step(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        t, waits = state.latent[:, 0], action[:, 1]
        reward = torch.where(t == 0, 1.0 - waits, 2.0 * state.latent[:, 1])
        arrived = torch.stack([t + 1, torch.where(t == 0, waits, 0.0)], -1)
        return states(arrived), reward, torch.full_like(reward, continue_)

    torch.manual_seed(0)
    start = states(torch.zeros(3, 2))
    found = plan(step, start, no_plan(VECTORS, start, 3), 50, 10, 5)
    assert found.first.argmax(-1).tolist() == [expected] * 3


def test_of_a_world_model_the_reward_and_the_end_are_those_of_the_state_that_is_arrived_in() -> None:
    torch.manual_seed(0)
    config = planet(latent_size=3)
    model = randomise(WorldModel(CONTINUOUS, config))
    assert isinstance(model, WorldModel)
    state = model.observe(random_batch(CONTINUOUS, 5, 2, memory=8, latent=3))[:, -1]
    action = torch.linspace(-1, 1, 10).reshape(5, 2)
    torch.manual_seed(1)
    arrived, reward, continue_ = step_of(model)(state, action)
    torch.manual_seed(1)
    expected = model.imagine(state, action)
    assert torch.equal(arrived.feature, expected.feature)
    torch.testing.assert_close(reward, model.reward(expected.feature).mean)
    torch.testing.assert_close(continue_, model.continues(expected.feature).mean)
    assert (reward - model.reward(state.feature).mean).abs().min() > 1e-3  # which would be something else
    assert (continue_ - model.continues(state.feature).mean).abs().min() > 1e-5


# --- Plans ------------------------------------------------------------------------------------------------------------


def test_a_gaussian_plan_is_refitted_to_each_action_over_the_elites() -> None:
    """Every axis has another length, so that none can stand for another."""
    elites = torch.randn(2, 7, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = GaussianPlan(torch.zeros(2, 3, 4), torch.ones(2, 3, 4)).refit(elites)
    for n, h, a in itertools.product(range(2), range(3), range(4)):
        column = elites[n, :, h, a].numpy()
        assert found.mean[n, h, a].item() == pytest.approx(column.mean())
        assert found.std[n, h, a].item() == pytest.approx(column.std(), abs=1e-5)


def test_elites_that_agree_leave_a_plan_that_can_still_be_drawn_from() -> None:
    found = GaussianPlan(torch.zeros(1, 2, 1), torch.ones(1, 2, 1)).refit(torch.full((1, 5, 2, 1), 0.5))
    assert (found.std > 0).all() and (found.std < 0.01).all()


def test_a_categorical_plan_is_refitted_to_how_often_the_elites_took_each_action() -> None:
    taken = torch.tensor([[[0, 2], [0, 1], [1, 1], [0, 2]], [[2, 0], [2, 0], [2, 0], [1, 0]]])  # (N, K, H)
    found = CategoricalPlan(torch.full((2, 2, 3), 1 / 3)).refit(torch.eye(3)[taken])
    expected = [[[0.75, 0.25, 0.0], [0.0, 0.5, 0.5]], [[0.0, 0.25, 0.75], [1.0, 0.0, 0.0]]]
    assert found.probabilities.tolist() == expected
    assert found.first.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


def test_candidates_are_spread_as_the_plan_says_and_never_leave_the_bounds() -> None:
    mean = torch.tensor([[[0.0, 0.9], [-3.0, 0.2]]])
    std = torch.tensor([[[0.2, 0.5], [0.5, 0.1]]])
    torch.manual_seed(0)
    drawn = GaussianPlan(mean, std).sample(10_000)
    assert drawn.shape == (1, 10_000, 2, 2) and drawn.abs().max() == 1.0
    assert (drawn[0, :, 1, 0] == -1.0).float().mean() > 0.999
    for h, a in ((0, 0), (1, 1)):  # those that meet no bound
        column = drawn[0, :, h, a]
        assert abs(column.mean() - mean[0, h, a]) < STANDARD_ERRORS * std[0, h, a] / 100
        assert abs(column.std() / std[0, h, a] - 1) < STANDARD_ERRORS / 2**0.5 / 100
    assert abs(torch.corrcoef(torch.stack([drawn[0, :, 0, 0], drawn[0, :, 1, 1]]))[0, 1]) < STANDARD_ERRORS / 100


def test_no_search_leaves_the_bounds_even_where_more_would_be_better() -> None:
    def more(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        return state, action.sum(-1), torch.ones(len(action))

    torch.manual_seed(0)
    start = states(torch.zeros(4, 1))
    found = list(search(more, start, no_plan(CONTINUOUS, start, 3), 300, 30, 8))
    assert all(iteration.candidates.abs().max() <= 1.0 for iteration in found)
    assert found[-1].plan.mean.abs().max() <= 1.0 and found[-1].plan.mean.min() > 0.95


def test_categorical_candidates_are_one_hot_and_as_likely_as_the_plan_says() -> None:
    shares = torch.tensor([[[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]], [[0.0, 0.1, 0.9], [0.4, 0.3, 0.3]]])
    torch.manual_seed(0)
    drawn = CategoricalPlan(shares).sample(10_000)
    assert drawn.shape == (2, 10_000, 2, 3) and set(drawn.flatten().tolist()) == {0.0, 1.0}
    assert (drawn.sum(-1) == 1.0).all()
    assert ((drawn.mean(1) - shares).abs() <= STANDARD_ERRORS * (shares * (1 - shares)).sqrt() / 100).all()


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
def test_exploring_adds_noise_to_the_first_action_within_the_bounds(noise: float) -> None:
    count = 10_000
    torch.manual_seed(0)
    mean = torch.tensor([[0.0, 1.0], [0.5, 0.5]]).expand(count, 2, 2)
    found = GaussianPlan(mean, torch.ones_like(mean)).explored(noise)
    assert found.shape == (count, 2) and found.abs().max() <= 1.0
    around = found[:, 0]
    inside = around[around.abs() < 0.2]
    expected = 0.2 / noise / 2**0.5 if noise else 3.0
    share = torch.erf(torch.tensor(expected)).item()
    assert abs(len(inside) / count - share) <= STANDARD_ERRORS * (share * (1 - share) / count) ** 0.5 + 1e-4
    assert ((found[:, 1] == 1.0).float().mean() - (0.5 if noise else 1.0)).abs() < STANDARD_ERRORS * 0.5 / count**0.5
    if noise:
        assert abs(torch.corrcoef(found.T)[0, 1]) < 2 * STANDARD_ERRORS / count**0.5

    certain = torch.tensor([[0.1, 0.2, 0.7], [1.0, 0.0, 0.0]]).expand(count, 2, 3)
    chosen = CategoricalPlan(certain).explored(noise)
    share = 1.0 - noise + noise / 3
    assert (chosen.sum(-1) == 1.0).all()
    assert abs(chosen[:, 2].mean() - share) <= STANDARD_ERRORS * (share * (1 - share) / count) ** 0.5


# --- What cannot be planned -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((5, 6, 1), "5 candidates, 6 elites and 1 iterations; give at least 1 of each, and no more elites"),
        ((5, 0, 1), "5 candidates, 0 elites"),
        ((0, 0, 1), "0 candidates"),
        ((5, 5, 0), "0 iterations"),
    ],
)
def test_numbers_that_allow_no_search_are_refused(numbers: tuple[int, int, int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        plan(quadratic, states(X), no_plan(CONTINUOUS, states(X), 3), *numbers)


def test_a_plan_looks_at_least_one_step_ahead() -> None:
    with pytest.raises(InputError, match="horizon is 0; plan at least 1 step ahead"):
        no_plan(CONTINUOUS, states(X), 0)
    with pytest.raises(InputError, match="horizon is 0; it must be at least 1"):
        planet(horizon=0)


@pytest.mark.parametrize("part", [1, 2])
def test_a_world_that_answers_in_another_shape_is_refused(part: int) -> None:
    """(N, 1) beside (N) would become (N, N), and every candidate would be paid for all."""

    def wrong(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        answer = list(quadratic(state, action))
        answer[part] = answer[part].unsqueeze(-1)  # type: ignore[union-attr]
        return tuple(answer)  # type: ignore[return-value]

    with pytest.raises(InputError, match=r"rewards of shape .*must have the shape \(12,\)"):
        plan(wrong, states(X), no_plan(CONTINUOUS, states(X), 3), 4, 2, 1)


def test_no_plan_is_made_of_returns_that_are_no_numbers() -> None:
    """A search would take them for the best."""

    def broken(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        arrived, reward, continue_ = quadratic(state, action)
        return arrived, reward.where(torch.arange(len(reward)) != 7, torch.nan), continue_

    with pytest.raises(NonFiniteError, match="An imagined return became nan"):
        plan(broken, states(X), no_plan(CONTINUOUS, states(X), 3), 4, 2, 1)


def test_a_search_records_no_gradient() -> None:
    start = states(X.clone().requires_grad_())
    found = plan(quadratic, start, no_plan(CONTINUOUS, start, 3), 20, 5, 2)
    assert not found.mean.requires_grad and not found.std.requires_grad


# --- An agent that plans ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spaces", [VECTORS, CONTINUOUS], ids=["discrete", "continuous"])
def test_an_agent_takes_the_first_action_of_its_plan_and_explores_only_when_it_is_not_greedy(spaces: Spaces) -> None:
    config = planet(action_noise=0.5)
    agent = Agent(spaces, config)
    randomise(agent)
    obs = np.linspace(-1, 1, 60, dtype=np.float32).reshape(20, 3)
    nothing = np.zeros(20, bool)
    row = Row(obs, np.zeros(20, np.float32), ~nothing, nothing, nothing)
    for greedy in (True, False):
        torch.manual_seed(0)
        _, carry = agent.act(obs, greedy=greedy)
        torch.manual_seed(0)
        state = agent.infer(row, agent.initial(20), greedy)
        start = no_plan(spaces, state, config.horizon)
        best = plan(step_of(agent.world_model), state, start, 20, 5, config.plan_iterations)
        assert torch.equal(carry.state.feature, state.feature)
        assert torch.equal(carry.action, best.first if greedy else best.explored(0.5))
        assert not torch.equal(best.first, best.explored(0.5))


def test_there_is_no_actor_and_no_critic_where_a_planner_acts() -> None:
    config = planet()
    agent = Agent(CONTINUOUS, config)
    assert {name.split(".")[0] for name in agent.state_dict()} == {"world_model"}
    learner = Learner(agent, config)
    assert list(learner.parts) == ["world model"] and len(learner.optimizer.param_groups) == 1
    losses, metrics, _, range_ = learner.losses(random_batch(CONTINUOUS, 2, 4, memory=8, latent=4))
    assert set(losses) == {"decoder", "reward", "continue", "dynamics", "representation"}
    assert not metrics and range_ is None


def test_no_plan_is_made_while_actions_are_random(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = []
    usual = agent_module.planned_action

    def spied(*asked: Any) -> Tensor:
        planned.append(asked[-1])
        return usual(*asked)

    monkeypatch.setattr(agent_module, "planned_action", spied)
    trainer = Trainer("Pendulum-v1", planet(prefill=10, envs=2))
    while trainer.steps < 10:
        before = trainer.carry.state.memory.clone()
        trainer.collect()
        assert not planned and not torch.equal(trainer.carry.state.memory, before)  # what happens is understood
    trainer.collect()
    trainer.collect()
    assert planned == [False, False]  # with noise
    assert trainer.replay.added == 7
    trainer.evaluate(1)
    assert len(planned) == 202 and all(planned[2:])  # without


def test_an_agent_that_plans_learns_dreams_and_acts_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wm_tutorial.figures.film", lambda dream, path: "a film")  # which takes the longest
    with train("CartPole-v1", preset="planet", out=tmp_path, **SIZED) as run:
        assert (tmp_path / "plan.png").exists() and "plan.png" in (tmp_path / "index.html").read_text()
        dream = run.dream(context=3, horizon=4)
        assert len(dream.obs) == 7 and np.isfinite(dream.predicted_reward).all()
    agent = Agent.load(tmp_path)
    assert agent.config.behaviour == "planner"
    obs = np.zeros(4, np.float32)
    actions, carry = [], None
    torch.manual_seed(0)
    for _ in range(3):
        action, carry = agent.act(obs, carry)
        actions.append(action)
    assert set(map(int, actions)) <= {0, 1}


# --- The picture of a plan --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", [None, 2])
def test_a_narrowing_holds_what_the_search_has_imagined_beside_what_the_agent_then_met(entry: int | None) -> None:
    """The paths are those that were judged: the returns are the rewards along them."""
    trainer = Trainer("Pendulum-v1", planet(plan_iterations=3))
    randomise(trainer.agent)
    found = narrowing(trainer.agent, "Pendulum-v1", context=3, seed=5, entry=entry)
    assert found.paths.shape == (3, 20, 5) and found.returns.shape == (3, 20)
    assert (found.row, found.name) == (2, "cos angle" if entry is None else "velocity (rad/s)")
    assert len(np.unique(found.paths[:, :, 0])) == 1  # all begin in the same state
    for returns, elites in zip(found.returns, found.elites, strict=True):
        assert elites.sum() == 5 and returns[elites].min() >= returns[~elites].max()
    lived = live(trainer.agent, "Pendulum-v1", 7, seed=5, greedy=True)
    np.testing.assert_array_equal(found.happened, lived.obs[0, 2:, entry or 0].numpy())
    again = narrowing(trainer.agent, "Pendulum-v1", context=3, seed=5, entry=entry)
    np.testing.assert_array_equal(found.paths, again.paths)


def test_where_there_is_no_vector_a_narrowing_follows_the_rewards_that_make_the_returns() -> None:
    trainer = Trainer("wm_tutorial/Corridor-v0", planet())
    randomise(trainer.agent)
    with torch.no_grad():  # no end is expected, so the returns are plain sums
        trainer.agent.world_model.continue_head.net[-1].weight.zero_()
        trainer.agent.world_model.continue_head.net[-1].bias.fill_(50.0)
    found = narrowing(trainer.agent, "wm_tutorial/Corridor-v0", context=1)
    assert found.name == "reward" and len(found.happened) >= 1
    np.testing.assert_allclose(found.paths[:, :, 1:].sum(2), found.returns, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "asked", "said"),
    [
        ({"behaviour": "random"}, {}, "behaviour is 'random': this agent makes no plans"),
        ({}, {"context": 0}, "context is 0"),
        ({}, {"seed": -1}, "seed -1"),
        ({}, {"entry": 3}, "entry is 3; it must be that of a number in vector observations"),
        ({}, {"entry": 1.5}, "entry is 1.5; it must be a whole number"),
    ],
)
def test_what_cannot_be_drawn_of_a_plan_is_said(options: dict[str, Any], asked: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        narrowing(Agent(VECTORS, planet(**options)), "CartPole-v1", **asked)
