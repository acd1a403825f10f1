"""A reader's parts drive the agent: in every place they have, only after their check, and equal to the package's."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from chapters import chapters
from course import has, read, write
from helpers import CONTINUOUS, randomise

from wm_tutorial import imagination
from wm_tutorial.agent import Agent
from wm_tutorial.check import progress
from wm_tutorial.config import make_config
from wm_tutorial.course import own
from wm_tutorial.data import Place, Spaces, State
from wm_tutorial.errors import InputError
from wm_tutorial.mistakes import PARTS
from wm_tutorial.replay import Replay
from wm_tutorial.trainer import Trainer

GUIDE = make_config("guide", prefill=100, sequence_length=8, batch_size=4, steps=1000)
V3 = make_config("dreamer_v3", "nano", prefill=100, sequence_length=8, batch_size=4, bins=15, steps=1000)
PATHWISE = make_config("guide", policy_gradient="dynamics", prefill=100, sequence_length=8, batch_size=4, steps=1000)
MEMORY = make_config("guide", memory="rssm", prefill=100, sequence_length=8, batch_size=4, steps=1000)
# The parts that each agent has a place for.
OF_GUIDE = {
    "symlog", "symexp", "sample", "dynamics_step", "prior_inputs", "continue_loss", "continue_target", "gaussian_kl",
    "kl_balance", "imagination", "imagined_weight", "lambda_returns", "return_range", "scaled_advantage", "policy_loss",
    "critic_loss", "alignment", "replay_sample", "updates_due",
}  # fmt: skip
OF_V3 = {
    "two_hot", "two_hot_mean", "categorical_kl", "categorical_sample", "straight_through", "unimix",
}  # fmt: skip
OF_MEMORY = {"gated_update", "block_linear", "rssm_step", "observe_sequence"}
# The whole agent, with the optimiser of the reference but not its warm-up: the first update would change nothing.
WHOLE = make_config(
    "dreamer_v3",
    "nano",
    prefill=100,
    sequence_length=8,
    batch_size=4,
    bins=15,
    steps=1000,
    optimizer="laprop",
    warmup=0,
)
OF_WHOLE = {"replay_returns", "slow_update", "clip_by_share", "laprop", "write_back"}
OF_CONTINUOUS = {"bounded_normal", "normal_log_prob", "normal_entropy", "scaled_action", "executed_action"}
OF_PATHWISE = {"pathwise_dream"}
# An agent that plans, from the first row on.
PLANS = make_config(
    "planet", "nano", prefill=0, sequence_length=8, batch_size=4, steps=1000, candidates=12, elites=3, horizon=4
)
OF_PLANS = {"candidate_returns", "cross_entropy"}
OF_PIXELS = {"planes", "upsample_convolve", "image_loss"}
ALL = OF_GUIDE | OF_V3 | OF_MEMORY | OF_CONTINUOUS | OF_PATHWISE | OF_PIXELS | OF_WHOLE | OF_PLANS
PIXELS = "wm_tutorial/CatchInTheDark-v0"


def learned(config: Any, updates: int = 3, source: str = "CartPole-v1") -> tuple[Trainer, list[dict[str, float]]]:
    """An agent after some updates, and what each of them measured."""
    trainer = Trainer(source, config)
    while not trainer.updates_due:
        trainer.collect()
    return trainer, [trainer.train_step() for _ in range(updates)]


def weights(trainer: Trainer) -> torch.Tensor:
    """All parameters in one row."""
    return torch.cat([parameter.detach().flatten() for parameter in trainer.agent.parameters()])


# Those left out draw their noise beforehand, or are asked for by a planner alone: below.
@pytest.mark.parametrize("name", sorted(ALL - OF_PATHWISE - OF_PLANS))
def test_a_finished_part_makes_the_same_first_update_as_the_packages(name: str) -> None:
    """Same rows, same losses, and after one update parameters that differ by rounding only."""
    configs = {V3: OF_V3 | OF_CONTINUOUS | OF_PIXELS, MEMORY: OF_MEMORY, WHOLE: OF_WHOLE}
    config = next((config for config, names in configs.items() if name in names), GUIDE)
    source = "Pendulum-v1" if name in OF_CONTINUOUS else PIXELS if name in OF_PIXELS else "CartPole-v1"
    function = PARTS[name].right if name != "replay_sample" else same_rows
    with own.parts(imagined_weight=PARTS["imagined_weight"].right):  # the readable path, for both
        theirs, told = learned(config, updates=1, source=source)
    with own.parts(**{"imagined_weight": PARTS["imagined_weight"].right, name: function}):
        ours, said = learned(config, updates=1, source=source)
    assert ours.steps == theirs.steps and ours.replay.added == theirs.replay.added
    for column, values in theirs.replay.columns.items():
        assert (abs(ours.replay.columns[column].astype(float) - values) <= 1e-5).all(), column
    for metric, value in told[0].items():
        assert said[0][metric] == pytest.approx(value, rel=1e-4, abs=1e-5), metric
    # Adam's first step is as long for a small gradient as for a large one: all but a few tiny gradients agree.
    apart = (weights(ours) - weights(theirs)).abs()
    assert (apart > 1e-5).float().mean() < 0.01


def same_rows(is_first: Any, added: int, batch: int, length: int, rng: Any) -> Any:
    """As the package draws: the same numbers of the same generator."""
    capacity = len(is_first)
    oldest = max(added - capacity, 0)
    first = rng.integers(oldest, added - length + 1, size=batch)
    return (first[:, None] + range(length)) % capacity


def test_a_dream_of_ones_own_has_the_gradient_of_the_packages() -> None:
    """From one start, with the same noise: the same states, and the same slope of the return in every weight."""
    trainer, _ = learned(PATHWISE, updates=1, source="Pendulum-v1")
    agent = trainer.agent
    size, policy = agent.world_model.dynamics.latent_size, agent.behaviour.actor
    start = State(torch.zeros(5, 0), torch.randn(5, size))
    slopes = []
    for mine in ({}, {"pathwise_dream": PARTS["pathwise_dream"].right}):
        with own.parts(**mine), mock.patch.object(torch, "randn", return_value=torch.full((5, 4, 1), 0.3)):
            same = mock.patch.object(torch, "randn_like", side_effect=lambda x: torch.full_like(x, 0.3))
            with same:
                dreamed = imagination.imagine(agent.world_model, policy, start, 4, differentiable=True)
        slopes.append(torch.autograd.grad(dreamed.reward.sum(), [*policy.parameters()]))
    for ours, theirs in zip(*slopes, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert any(slope.abs().max() > 1e-6 for slope in slopes[0])


def test_a_dream_of_ones_own_is_asked_for_by_the_gradient_through_the_dynamics(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with own.parts(pathwise_dream=PARTS["pathwise_dream"].right):
        learned(PATHWISE, updates=1, source="Pendulum-v1")
    assert capsys.readouterr().out == ""  # nothing is idle
    assert own.compare({}, "Pendulum-v1", PATHWISE) == 0.0


def test_plans_of_ones_own_are_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    """In the same state, with the same noise: the same action of the same plan."""
    agent = Agent(CONTINUOUS, PLANS)
    randomise(agent)
    obs = np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3)
    noise = torch.randn(PLANS.plan_iterations, 5, 12, 4, 2)
    actions = []
    for mine in ((), ("candidate_returns",), ("cross_entropy",), OF_PLANS):
        drawn = iter(noise)

        def randn(*shape: int, **kinds: Any) -> torch.Tensor:
            return noise if len(shape) == 5 else next(drawn)  # noqa: B023  used up before the next turn

        with own.parts(**{name: PARTS[name].right for name in mine}), mock.patch.object(torch, "randn", randn):
            same = mock.patch.object(torch, "randn_like", side_effect=lambda x: torch.full_like(x, 0.3))
            with same:
                actions.append(torch.from_numpy(agent.act(obs)[0]))
    assert capsys.readouterr().out == ""  # none is idle
    for action in actions[1:]:
        torch.testing.assert_close(action, actions[0])
    assert actions[0].std(0).min() > 1e-3


def test_plans_of_ones_own_drive_an_agent_that_plans(capsys: pytest.CaptureFixture[str]) -> None:
    """Finished parts compare bit for bit; rounding is all that may differ."""
    with own.parts(**{name: PARTS[name].right for name in OF_PLANS}):
        ours, _ = learned(PLANS, updates=1, source="Pendulum-v1")
    assert capsys.readouterr().out == "" and ours.updates == 1
    assert own.compare({}, "Pendulum-v1", PLANS) == 0.0
    mine = {"candidate_returns": lambda *given: PARTS["candidate_returns"].right(*given)}
    assert own.compare(mine, "Pendulum-v1", PLANS) < 1e-5


def test_all_finished_parts_together_repeat_digit_for_digit(capsys: pytest.CaptureFixture[str]) -> None:
    for config, of_memory in ((GUIDE, OF_MEMORY), (MEMORY, {"dynamics_step", "prior_inputs"})):
        runs = []
        for _ in range(2):
            with own.parts(**own.finished()):
                runs.append(learned(config))
        (one, said), (other, told) = runs
        assert said == told and torch.equal(weights(one), weights(other))
        # symexp is for looking at dreams, kl_balance computes the divergence itself, and the policy draws classes
        idle = {"symexp", "gaussian_kl"} | of_memory | (OF_V3 - {"categorical_sample", "unimix"})
        idle |= (
            OF_PIXELS | OF_PATHWISE | OF_PLANS | (OF_CONTINUOUS - {"executed_action"})
        )  # one-hot actions pass through it, too
        idle |= {"replay_returns", "clip_by_share", "laprop"}  # no loss on real sequences here, and Adam
        named = ", ".join(name for name in own.PLACES if name in idle)
        assert capsys.readouterr().out == 2 * f"Not asked for by this agent: {named}.\n"
    assert set(own.PLACES) == ALL


def test_parts_for_pictures_drive_an_agent_that_sees_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    """None is idle, finished ones compare bit for bit, and another loss is noticed."""
    with own.parts(**{name: PARTS[name].right for name in OF_PIXELS}):
        learned(V3, 1, PIXELS)
    assert capsys.readouterr().out == ""
    assert own.compare({}, PIXELS, V3) == 0.0

    def larger(mean: torch.Tensor, target: torch.Tensor) -> Any:
        return PARTS["image_loss"].right(mean, target) * (1.0 + (mean.shape[2] == 16))

    assert own.compare({"image_loss": larger}, PIXELS, V3) > 1e-5


def test_the_parts_of_the_whole_agent_are_asked_for_and_repeat_digit_for_digit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = []
    for _ in range(2):
        with own.parts(**own.finished()):
            runs.append(learned(WHOLE))
    (one, said), (other, told) = runs
    assert said == told and torch.equal(weights(one), weights(other))
    assert not OF_WHOLE & set(re.findall(r"\w+", capsys.readouterr().out))
    stored = [trainer.replay.columns["memory"] for trainer in (one, other)]
    assert (stored[0] == stored[1]).all() and stored[0].any()


def test_states_are_written_into_a_ring_that_has_been_round_more_than_once() -> None:
    """Small enough that most of a batch is gone, and with the same row in two sequences."""
    rows = np.random.default_rng(0)
    spaces = Spaces("vector", (1,), "discrete", 2, (0.0,), (1.0,))
    place = Place(rows.integers(2, size=16), rows.integers(0, 9, size=(16, 1)) + np.arange(4))
    states = State(torch.randn(16, 4, 3, requires_grad=True), torch.randn(16, 4, 2))
    columns = []
    for mine in ({}, {"write_back": PARTS["write_back"].right}):
        for added in (13, 6):
            replay = Replay(2 * 8, 2, spaces, 3, 2)
            replay.added = added
            seen = Place(place.stream, np.minimum(place.number, added - 1))
            with own.parts(**mine):
                replay.write_back(seen, states)
            columns.append(replay.columns)
    for column in ("memory", "latent"):
        for ours, theirs in zip(columns[:2], columns[2:], strict=True):
            assert (ours[column] == theirs[column]).all() and ours[column].any()


def test_a_step_and_a_sequence_of_ones_own_work_together_in_whatever_order_they_are_given() -> None:
    """The sequence goes through the step, neither is idle, and the losses are the package's."""
    mine = {name: own.Counted(PARTS[name].right) for name in ("observe_sequence", "rssm_step")}
    with own.parts(imagined_weight=PARTS["imagined_weight"].right):  # the readable path
        trainer, told = learned(MEMORY, updates=1)
    with own.parts(imagined_weight=PARTS["imagined_weight"].right, **mine):
        checked = {name: counted.calls for name, counted in mine.items()}
        _, said = learned(MEMORY, updates=1)
    asked = {name: counted.calls - checked[name] for name, counted in mine.items()}
    collected = trainer.replay.added
    assert asked == {"observe_sequence": 1, "rssm_step": MEMORY.sequence_length + collected}  # while acting, too
    for metric, value in told[0].items():
        assert said[0][metric] == pytest.approx(value, rel=1e-4, abs=1e-5), metric


def test_what_a_reader_changes_is_what_the_agent_does() -> None:
    """A function that is right on the inputs of its check and does something else in the agent: the agent does that."""
    asked = []

    def mine(reward: torch.Tensor, discount: torch.Tensor, value: torch.Tensor, lam: float) -> Any:
        asked.append(tuple(reward.shape))
        return PARTS["lambda_returns"].right(reward, discount, value, lam) + 100.0 * (reward.shape[1] == GUIDE.horizon)

    with own.parts(lambda_returns=mine):
        checked = len(asked)
        _, said = learned(GUIDE, updates=1)
    assert asked[checked:] == [(32, GUIDE.horizon)] and 90.0 < said[0]["imagined return"] < 110.0
    _, after = learned(GUIDE, updates=1)
    assert after[0]["imagined return"] < 50.0


@pytest.mark.parametrize("name", sorted(own.PLACES))
def test_no_known_mistake_drives_the_agent(name: str) -> None:
    mistake = next(iter(PARTS[name].mistakes.values()))
    refused = pytest.raises(InputError, match=rf"Only what its check accepts can drive the agent\. {name}: ")
    with refused, own.parts(**{name: mistake.functions[0]}):
        pytest.fail("a mistake was let in")


def test_parts_without_a_place_are_refused_by_name() -> None:
    refused = pytest.raises(InputError, match=r"'n_step_return' has no place in the agent; .*lambda_returns")
    with refused, own.parts(n_step_return=PARTS["n_step_return"].right):
        pytest.fail("it was let in")


def test_finished_parts_compare_bit_for_bit_and_other_right_ones_within_rounding() -> None:
    def backwards(reward: torch.Tensor, discount: torch.Tensor, value: torch.Tensor, lam: float) -> Any:
        columns = [value[:, -1]]
        for t in reversed(range(reward.shape[1])):
            mixed = value[:, t] + lam * (columns[-1] - value[:, t])
            columns.append(reward[:, t] + discount[:, t] * mixed)
        return torch.stack(columns[:0:-1], 1)

    assert own.compare({}, "CartPole-v1", GUIDE) == 0.0
    assert own.compare({"replay_sample": same_rows}, "CartPole-v1", GUIDE) == 0.0
    assert 0.0 < own.compare({"lambda_returns": backwards}, "CartPole-v1", GUIDE) < 1e-5


def test_what_the_package_does_is_no_progress_of_the_reader() -> None:
    """Parts of the package that are named like the exercise, such as `symlog`, are judged here, too."""
    with mock.patch.dict(progress._noted, clear=True):
        own.compare({}, "CartPole-v1", GUIDE)
        assert not progress._noted


def test_right_functions_that_draw_in_another_order_compare_as_equal() -> None:
    def sample(mean: torch.Tensor, logvar: torch.Tensor) -> Any:
        return mean + (0.5 * logvar).exp() * torch.randn(mean.shape[::-1]).T

    def imagination(start: torch.Tensor, policy: Any, step: Any, reward: Any, horizon: int) -> Any:
        return PARTS["imagination"].right(
            start, lambda latent: (policy(latent), policy(latent))[1], step, reward, horizon
        )

    def rows(is_first: Any, added: int, batch: int, length: int, rng: Any) -> Any:
        return same_rows(is_first, added, batch, length, rng)[::-1]

    for name, mine in {"sample": sample, "imagination": imagination, "replay_sample": rows}.items():
        assert own.compare({name: mine}, "CartPole-v1", GUIDE) < 1e-5, name


def test_parts_that_do_something_else_in_the_agent_compare_as_different() -> None:
    def mine(reward: torch.Tensor, *given: Any) -> Any:
        return PARTS["lambda_returns"].right(reward, *given) + 1.0 * reward.sum() * (reward.shape[1] == GUIDE.horizon)

    assert own.compare({"lambda_returns": mine}, "CartPole-v1", GUIDE) > 1e-5


def test_a_lambda_for_each_step_is_what_the_package_makes_of_it() -> None:
    reward, value = torch.randn(2, 4, 6, dtype=torch.float64)
    discount, lam = torch.rand(2, 4, 6, dtype=torch.float64)
    from wm_tutorial import returns

    right = returns.lambda_returns(reward, discount, value, lam)
    with own.parts(lambda_returns=PARTS["lambda_returns"].right):
        torch.testing.assert_close(returns.lambda_returns(reward, discount, value, lam), right)


# --- What a reader has written ----------------------------------------------------------------------------------------


def test_functions_are_found_in_the_notebooks_they_were_written_in(tmp_path: Path) -> None:
    solved = fill(tmp_path, lambda name: True)
    found = own.written(tmp_path)
    assert set(found) == set(solved) and len(found) > 20
    with own.parts(**own.finished({name: found[name] for name in found if name in own.PLACES})):
        pass


def test_what_is_still_to_be_written_is_left_out(tmp_path: Path) -> None:
    fill(tmp_path, lambda name: name == "lambda_weights")
    assert set(own.written(tmp_path)) == {"lambda_weights"}
    assert own.written(tmp_path / "nowhere") == {}


def test_a_cell_that_a_reader_has_begun_does_no_harm(tmp_path: Path) -> None:
    fill(tmp_path, lambda name: name == "lambda_weights")
    path = tmp_path / "06_lambda_returns.ipynb"
    notebook = json.loads(path.read_text())
    notebook["cells"].append({"cell_type": "code", "metadata": {}, "source": ["if so:\n"], "outputs": []})
    path.write_text(json.dumps(notebook))
    assert set(own.written(tmp_path)) == {"lambda_weights"}


@pytest.mark.parametrize("begun", ["def lambda_weights(horizon, lam):\n    # how?", "my_weights = 1 / 0", "x = 1"])
def test_an_exercise_that_does_not_run_is_named(begun: str, tmp_path: Path) -> None:
    fill(tmp_path, lambda name: name == "lambda_weights")
    path = tmp_path / "06_lambda_returns.ipynb"
    notebook = read(path)
    (cell,) = (cell for cell in notebook.cells if has(cell, "exercise") and "NotImplementedError" not in cell.source)
    cell.source = begun
    write(notebook, path)
    with pytest.raises(
        InputError, match=r"06_lambda_returns\.ipynb: the cell before check\.lambda_weights does not give"
    ):
        own.written(tmp_path)


def fill(folder: Path, wanted: Callable[[str], bool]) -> list[str]:
    """Write the solutions of the checks that are wanted into the exercises, as a reader would; returns their names."""
    names = []
    for path in chapters():
        notebook = read(path)
        cells = notebook.cells
        for exercise, check, solution in zip(cells, cells[1:], cells[2:], strict=False):
            if has(exercise, "exercise"):
                name = check.source.splitlines()[-1].removeprefix("check.").partition("(")[0]
                if wanted(name):
                    names.append(name)
                    source, _, _ = solution.source.rpartition("\n\n\ncheck.")
                    asked = check.source.rpartition("(")[2].rstrip(")")
                    given = exercise.source.rpartition("\ndef ")[0]  # its imports
                    solved = f"solved_{asked.removeprefix('my_')}"
                    exercise.source = f"{given}\n{source.replace(solved, asked)}"
        write(notebook, folder / path.name)
    return names
