"""Each mistake does what its story says while it is out, and nothing once it is back."""

import importlib
import itertools
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from helpers import SMALL, VECTORS, random_batch, randomise
from scripted import TINY, Seeded, differences, snapshot

from wm_tutorial import kl, learner, world_model, zoo
from wm_tutorial.actor_critic import ActorCritic
from wm_tutorial.config import make_config
from wm_tutorial.data import State, Trajectory
from wm_tutorial.envs import Environments, EnvSource
from wm_tutorial.errors import InputError
from wm_tutorial.imagination import imagine
from wm_tutorial.latents import Gaussian, GaussianLatent
from wm_tutorial.mistakes import PARTS
from wm_tutorial.mistakes.bug import GUIDE
from wm_tutorial.parts import any_replaced, places
from wm_tutorial.runs.dream import live
from wm_tutorial.trainer import Trainer
from wm_tutorial.world_model import WorldModel
from wm_tutorial.world_models_2018 import Stages, make_settings
from wm_tutorial.zoo.published import OPERATORS

FEATURES = 4


@pytest.fixture
def model() -> WorldModel:
    return randomise(WorldModel(VECTORS, SMALL))


@pytest.fixture
def behaviour() -> ActorCritic:
    return randomise(ActorCritic(FEATURES, VECTORS, SMALL))


def losses(model: WorldModel, **changes: torch.Tensor) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return model.losses(replace(random_batch(VECTORS, 2, 5), **changes))[0]


def trajectory() -> Trajectory:
    """Three trajectories of two steps; the second one ends on arriving in s_1."""
    latent = torch.linspace(-1, 1, 3 * 3 * FEATURES).reshape(3, 3, FEATURES)
    continue_ = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 0.5, 0.5]])
    action = torch.eye(2)[torch.tensor([[0, 1], [1, 1], [0, 0]])]
    reward = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    return Trajectory(State(torch.zeros(3, 3, 0), latent), action, reward, continue_)


NAMES = pytest.mark.parametrize("name", zoo.BUGS)
OF_THE_ANCESTOR = [name for name, bug in zoo.BUGS.items() if bug.of_the_ancestor]


@NAMES
def test_every_bug_goes_back_even_if_the_block_fails(name: str) -> None:
    looked_up = [
        (place.owner, attribute)
        for owner, attribute, _ in zoo.BUGS[name].replaces
        for place in places(owner, attribute)
    ]
    before = [vars(place).get(attribute) for place, attribute in looked_up]
    with pytest.raises(ZeroDivisionError), zoo.bug(name):
        assert all(vars(p)[a] is not b for (p, a), b in zip(looked_up, before, strict=True))
        raise ZeroDivisionError
    assert all(vars(p).get(a) is b for (p, a), b in zip(looked_up, before, strict=True))


def test_a_function_is_replaced_wherever_the_package_has_imported_it() -> None:
    assert {place.owner.__name__ for place in places(kl, "balanced_kl")} == {
        "wm_tutorial.kl",
        "wm_tutorial.world_model",
    }
    assert [place.owner for place in places(WorldModel, "losses")] == [WorldModel]


def test_every_bug_is_known_by_its_name_and_there_are_many() -> None:
    assert all(name == bug.name for name, bug in zoo.BUGS.items())
    assert len(zoo.BUGS) >= 45
    assert len({bug.story for bug in zoo.BUGS.values()}) == len(zoo.BUGS)


def test_what_readers_make_of_a_bug_stands_in_its_own_entry_only() -> None:
    """A mistake that a part has a name for, and the zoo the same, is one entry: the bug with its `forms`."""
    named = [(part, name) for part in PARTS.values() for name in part.mistakes.keys() & zoo.BUGS.keys()]
    assert not [f"{part.name}: {name}" for part, name in named if part not in zoo.BUGS[name].forms]
    assert len(named) == sum(len(bug.forms) for bug in zoo.BUGS.values())


@NAMES
def test_every_bug_has_a_story_a_symptom_an_alibi_and_a_source(name: str) -> None:
    bug = zoo.BUGS[name]
    assert min(len(bug.story), len(bug.symptom), len(bug.innocent)) > 10
    assert bug.source.startswith(("https://", GUIDE))
    module, _, attribute = bug.breaks.split(",")[0].split(" and ")[0].partition(".")
    found = importlib.import_module(f"wm_tutorial.{module}")
    for part in attribute.split("."):
        found = getattr(found, part, None) or vars(found)[part]
    assert bug.breaks.split(",")[1].strip()  # and the quantity


@NAMES
def test_every_bug_names_tests_that_exist(name: str) -> None:
    for test in zoo.BUGS[name].caught_by:
        file, function = test.split("::")
        assert f"def {function.split('[')[0]}(" in (Path(__file__).parent / file).read_text(), test
        assert file != "test_zoo.py"  # which knows what the mistake is, and so proves nothing
    assert zoo.BUGS[name].caught_by


def test_published_operators_are_in_the_zoo_or_say_why_not() -> None:
    standing = [standing for found in OPERATORS.values() for standing in found.values()]
    listed = {name for names in standing if isinstance(names, tuple) for name in names}
    assert listed <= set(zoo.BUGS)
    assert all(reason.endswith(".") for reason in standing if isinstance(reason, str))
    operators = {bug.name for bug in zoo.BUGS.values() if bug.source.startswith(tuple(OPERATORS))}
    assert operators - {"reward_at_the_end"} <= listed  # which is of a paper's taxonomy, and no operator


SIZES = {**TINY, "memory_size": 8, "memory_blocks": 2, "latent_classes": 3, "bins": 15, "optimizer": "adam"}
SIZES |= {"capacity": 20, "steps": 32, "slow_critic_rate": 0.5, "candidates": 12, "elites": 3, "plan_iterations": 2}


def pushing() -> Seeded:
    """Whose actions are numbers."""
    return Seeded(Box(-1.0, 2.0, (2,), np.float32))


def trained(preset: str, needs: Mapping[str, Any], knows_something: bool, source: EnvSource) -> dict[str, Any]:
    """A few updates on episodes that end and episodes that are cut off, and what the model predicts afterwards."""
    starts = {"imagined_starts": 0} if preset == "dreamer_v3" else {}  # the real returns of its critic need all
    trainer = Trainer(source, make_config(preset, **{**SIZES, **starts, **needs}))
    if knows_something:  # new heads say zero, which hides what is done with what they say
        randomise(trainer.agent)
    trainer.run()
    assert trainer.updates >= 1
    batch, _ = trainer.replay.sample(2, 4, np.random.default_rng(0))
    torch.manual_seed(0)
    prediction = trainer.agent.world_model.open_loop(batch, 2)
    state = snapshot(trainer)
    return {name: state[name] for name in ("agent", "replay", "counters")} | {"dreamed": prediction.obs}


def without_mistake(preset: str, needs: Mapping[str, Any], knows_something: bool, source: EnvSource) -> dict[str, Any]:
    """The same, trained once for all mistakes that need the same options."""
    key = preset, tuple(needs.items()), knows_something, source
    if key not in RIGHT:
        RIGHT[key] = trained(preset, needs, knows_something, source)
    return RIGHT[key]


RIGHT: dict[Any, dict[str, Any]] = {}


@pytest.mark.parametrize("name", [name for name in zoo.BUGS if name not in OF_THE_ANCESTOR])
def test_every_bug_changes_what_is_learned_and_nobody_is_told(name: str) -> None:
    """No exception, no shape that does not fit, no number that is none; but in the end other numbers.

    Numbers are pushed with only by those that do nothing to a choice.
    """
    needs = zoo.BUGS[name].needs
    changed = False
    for source, preset, knows in itertools.product((Seeded, pushing), ("guide", "dreamer_v3"), (False, True)):
        if not (changed and (knows or source is pushing)):
            with zoo.bug(name):
                wrong = trained(preset, needs, knows, source)
            changed |= any(True for _ in differences(wrong, without_mistake(preset, needs, knows, source)))
    assert changed


STAGED: dict[str, Any] = {
    "rows": 400, "envs": 2, "sequence_length": 24, "latent_size": 3, "memory_size": 5, "hidden": 8, "conv_depth": 2,
    "vision_updates": 4, "vision_batch": 8, "memory_updates": 6, "memory_batch": 4, "generations": 2, "population": 6,
    "episodes": 2, "limit": 40, "spread": 5.0,
}  # fmt: skip


def trained_in_stages(needs: Mapping[str, Any]) -> dict[str, Any]:
    """V, M and C after a little of each, what candidates were worth, and what C does in one life."""
    with tempfile.TemporaryDirectory() as folder:
        stages = Stages(
            "wm_tutorial/Rockfall-v0", make_settings(**{**STAGED, **needs}), Path(folder), lambda line: None
        )
        agent = stages.run()
        scores = stages._read("controller")["scores"]
        lived = live(agent, "wm_tutorial/Rockfall-v0", 30, seed=0)
    return {"agent": dict(agent.state_dict()), "scores": scores, "actions": lived.previous_action}


@pytest.mark.parametrize("name", OF_THE_ANCESTOR)
def test_every_bug_of_the_ancestor_changes_what_its_stages_come_to_and_nobody_is_told(name: str) -> None:
    pytest.importorskip("cma")
    needs = zoo.BUGS[name].needs
    with zoo.bug(name):
        wrong = trained_in_stages(needs)
    assert list(differences(wrong, trained_in_stages(needs)))
    assert all(tensor.isfinite().all() for tensor in (*wrong["agent"].values(), *wrong["scores"]))


def test_there_are_mistakes_of_both_ancestors() -> None:
    """At least six, which both systems share; those of the planner are let out around `train`."""
    assert len(OF_THE_ANCESTOR) >= 6
    assert sum(bug.needs.get("behaviour") == "planner" for bug in zoo.BUGS.values()) >= 6


def test_decoder_missing_leaves_the_decoder_without_a_loss(model: WorldModel) -> None:
    right = losses(model)
    with zoo.bug("decoder_missing"):
        wrong = losses(model)
    assert right["decoder"].min() > 0 and wrong["decoder"].max() == 0
    assert torch.equal(right["reward"], wrong["reward"])


@pytest.mark.parametrize(("loss", "column"), [("reward", "reward"), ("continue", "is_terminal")])
def test_reward_departing_explains_a_row_by_the_state_before_it(model: WorldModel, loss: str, column: str) -> None:
    """An observation belongs to its own row: whose loss does it move, that row's or the next one's?"""
    batch = random_batch(VECTORS, 2, 5)
    obs = batch.obs.clone()
    obs[:, 3] += 1.0

    def rows_moved() -> set[int]:
        difference = (losses(model, obs=obs)[loss] - losses(model)[loss]).abs().sum(0)
        return set(np.flatnonzero(difference.detach().numpy()).tolist())

    assert rows_moved() == {3}
    with zoo.bug("reward_departing"):
        assert rows_moved() == {4}


def test_kl_reversed_swaps_the_arguments_and_drops_the_free_nats() -> None:
    posterior = Gaussian(torch.zeros(1, 1), torch.zeros(1, 1))
    prior = Gaussian(torch.full((1, 1), 0.1), torch.full((1, 1), 0.2))
    with zoo.bug("kl_reversed"):
        divergence, nothing = world_model.balanced_kl(posterior, prior, free_nats=1.0)
    assert torch.equal(divergence, prior.kl(posterior)) and not torch.equal(divergence, posterior.kl(prior))
    assert divergence.item() < 1.0 and nothing.item() == 0.0


def test_actions_as_probabilities_feeds_the_dynamics_something_between_zero_and_one(
    model: WorldModel, behaviour: ActorCritic
) -> None:
    start = State(torch.zeros(6, 0), torch.linspace(-1, 1, 24).reshape(6, 4))
    actions = learner.imagine(model, behaviour.actor, start, 3).action
    assert set(actions.unique().tolist()) == {0.0, 1.0}
    with zoo.bug("actions_as_probabilities"):
        actions = learner.imagine(model, behaviour.actor, start, 3).action
    assert actions.max() < 1.0 and torch.allclose(actions.sum(-1), torch.ones(6, 3))
    assert learner.imagine is imagine


def test_value_departing_mixes_in_the_value_of_the_state_that_is_left(behaviour: ActorCritic) -> None:
    """Raising v_0 alone must change nothing; with the bug it changes R_0 by 1 - lambda."""
    value = torch.zeros(3, 3)
    raised = torch.tensor([1.0, 0.0, 0.0]).expand(3, 3)

    def change() -> torch.Tensor:
        return behaviour.returns(trajectory(), raised) - behaviour.returns(trajectory(), value)

    assert change().abs().max() == 0.0
    with zoo.bug("value_departing"):
        torch.testing.assert_close(change()[:, 0], torch.full((3,), 1.0 - SMALL.lam))


def test_bootstrap_early_never_asks_for_the_last_value(behaviour: ActorCritic) -> None:
    value = torch.zeros(3, 3)
    raised = torch.tensor([0.0, 0.0, 1.0]).expand(3, 3)
    assert (behaviour.returns(trajectory(), raised) - behaviour.returns(trajectory(), value)).abs().max() > 0.5
    with zoo.bug("bootstrap_early"):
        assert torch.equal(behaviour.returns(trajectory(), raised), behaviour.returns(trajectory(), value))


def test_advantage_leaks_into_the_critic_and_not_into_the_actor(behaviour: ActorCritic) -> None:
    def moved() -> tuple[bool, bool]:
        behaviour.zero_grad()
        behaviour.losses(trajectory())[0]["actor"].sum().backward()
        actor, critic = (
            any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
            for part in (behaviour.actor, behaviour.critic)
        )
        return actor, critic

    assert moved() == (True, False)
    with zoo.bug("advantage_leaks"):
        assert moved() == (False, True)


def test_weights_missing_counts_the_life_after_death() -> None:
    assert trajectory().weight(0.9)[1].tolist() == [1.0, 0.0]
    with zoo.bug("weights_missing"):
        assert trajectory().weight(0.9)[1].tolist() == [1.0, 1.0]


def test_time_limit_is_death_takes_a_truncation_for_a_termination() -> None:
    def terminal_at_the_time_limit() -> bool:
        environments = Environments("wm_tutorial/LinearGaussian-v0", 1, (0,))
        row, action = environments.reset(), np.zeros((1, 1), np.float32)
        while not row.is_last[0]:
            row = environments.step(row, action)
        return bool(row.is_terminal[0])

    assert not terminal_at_the_time_limit()
    with zoo.bug("time_limit_is_death"):
        assert terminal_at_the_time_limit()


def test_logvar_unbounded_lets_the_network_choose_any_variance() -> None:
    raw = torch.tensor([0.0, 50.0])
    assert GaussianLatent(1)(raw).logvar.item() < 3.0
    with zoo.bug("logvar_unbounded"):
        assert GaussianLatent(1)(raw).logvar.item() == 50.0


def test_an_unknown_bug_is_refused() -> None:
    with pytest.raises(InputError, match=r"'moth'.*decoder_missing"), zoo.bug("moth"):
        pass


def test_what_is_first_imported_while_a_mistake_is_out_does_not_keep_it() -> None:
    code = (
        "from wm_tutorial import zoo\n"
        "with zoo.bug('bootstrap_missing'):\n"
        "    from wm_tutorial import check\n"
        "from wm_tutorial.returns import lambda_returns\n"
        "assert check.lambda_returns(lambda_returns)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("name", ["terminal_observation_dropped", "stored_action_not_taken", "carry_across_batches"])
def test_nothing_of_a_mistake_stays_on_what_was_used_inside(name: str) -> None:
    trainer = Trainer("CartPole-v1", make_config(**TINY))
    untouched = set(vars(trainer.environments))
    with zoo.bug(name):
        while trainer.updates < 3:
            trainer.collect()
            while trainer.updates < trainer.updates_due:
                trainer.train_step()
        assert any(zoo.BUGS[name].keeps)
    assert not any(zoo.BUGS[name].keeps)
    assert set(vars(trainer.environments)) == untouched


def test_two_mistakes_let_back_out_of_order_leave_none_behind() -> None:
    one, other = zoo.bug("kl_reversed"), zoo.bug("reward_late")
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert any_replaced()
    other.__exit__(None, None, None)
    assert not any_replaced()
