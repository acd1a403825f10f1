"""Mistakes in how acting, storing and counting go together with learning."""

from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from wm_tutorial import networks
from wm_tutorial.agent import Agent, Carry
from wm_tutorial.data import Array, Row
from wm_tutorial.dynamics import RSSM
from wm_tutorial.envs import Environments
from wm_tutorial.mistakes.bug import DREAMER_V3, NAVIX, Bug
from wm_tutorial.mistakes.part import Part
from wm_tutorial.mistakes.replay import without_reset
from wm_tutorial.networks import TRUNCATION
from wm_tutorial.trainer import Trainer

POLICY = Agent.policy
STEP = Environments.step
UPDATES_DUE = Trainer.updates_due


def policy_without_previous_action(agent: Agent, row: Row, carry: Carry, greedy: bool = False) -> Carry:
    """The state is handed on from step to step, the action is not."""
    return POLICY(agent, row, replace(carry, action=torch.zeros_like(carry.action)), greedy)


def policy_without_memory(agent: Agent, row: Row, carry: Carry, greedy: bool = False) -> Carry:
    """Every step is treated as the first of an episode."""
    return POLICY(agent, row, replace(carry, state=agent.world_model.dynamics.initial(len(row.reward))), greedy)


NOISE: WeakKeyDictionary[Environments, np.random.Generator] = WeakKeyDictionary()


def step_with_another_action(environments: Environments, row: Row, action: Array) -> Row:
    """A random action is taken in every fourth step, after the other one was written down."""
    noise = NOISE.setdefault(environments, np.random.default_rng(0))
    random = environments.random_action(noise)
    taken = np.where(noise.uniform(size=(len(action), 1)) < 0.25, random, action)
    return STEP(environments, row, taken)


def updates_of_vector_steps(trainer: Trainer) -> int:
    """One step of all environments together is counted once."""
    due: Any = UPDATES_DUE.fget  # type: ignore[attr-defined]
    return int(due(trainer)) // trainer.config.envs


def initialise_cut_at_two(weight: Tensor, fan_in: int, scale: float = 1.0) -> None:
    """Cut at -2 and 2, not at two standard deviations: where weights are small nothing is cut at all."""
    if scale == 0.0:
        nn.init.zeros_(weight)
        return
    nn.init.trunc_normal_(weight, std=TRUNCATION * scale / fan_in**0.5, a=-2.0, b=2.0)


REMEMBERS = "test_checkpoint.py::test_act_hands_over_what_it_remembers_and_none_forgets_it"
AS_IN_LEARNING = "test_axes.py::test_acting_infers_the_states_that_learning_infers"

PARTS: tuple[Part, ...] = ()

BUGS = (
    Bug(
        name="acts_without_previous_action",
        story="While acting the model is told that the action before was none; while learning it is told the truth.",
        symptom="The states the policy acts in are none it has learned in; dreams are right and scores are not.",
        innocent="Every loss: no loss looks at acting.",
        source=NAVIX, breaks="agent.Agent.policy, a_{t-1}",
        caught_by=(REMEMBERS, AS_IN_LEARNING), replaces=((Agent, "policy", policy_without_previous_action),),
        needs={"memory": "rssm"},
    ),
    Bug(
        name="acts_without_memory",
        story="While acting the state is created anew at each step.",
        symptom="The agent acts as if every observation were the first: whatever must be remembered is lost.",
        innocent="Every loss: no loss looks at acting.",
        source=f"{DREAMER_V3}82", breaks="agent.Agent.policy, s_{t-1}",
        caught_by=(REMEMBERS, AS_IN_LEARNING), replaces=((Agent, "policy", policy_without_memory),),
        needs={"memory": "rssm"},
    ),
    Bug(
        name="acts_without_reset",
        story="While acting the state is not forgotten where an episode begins.",
        symptom="The first episode of an evaluation is good, the later ones are worse.",
        innocent="Every loss: no loss looks at acting.",
        source="https://github.com/NM512/dreamerv3-torch/pull/14", breaks="dynamics.RSSM.step, is_first",
        caught_by=(
            "test_axes.py::test_acting_row_by_row_infers_the_same_as_learning_from_the_sequence",
            AS_IN_LEARNING,
            "test_golden.py::test_golden_rssm_step",
        ),
        replaces=((RSSM, "step", without_reset(RSSM.step)),),
        needs={"memory": "rssm"},
    ),
    Bug(
        name="stored_action_not_taken",
        story="Exploration changes the action after it was stored: the replay tells of actions that were never taken.",
        symptom="The model learns that actions work most of the time, and blames chance for the rest.",
        innocent="Every loss, which is a little higher, as in a world with more chance in it.",
        source="https://github.com/DLR-RM/stable-baselines3/issues/1376", breaks="trainer.Trainer.collect, a_t",
        caught_by=(
            "test_trainer.py::test_batches_tell_time_limits_from_ends_and_know_the_action_before",
            "test_envs.py::test_each_stream_gets_its_own_action",
        ),
        replaces=((Environments, "step", step_with_another_action),),
        keeps=(NOISE,),
    ),
    Bug(
        name="updates_per_vector_step",
        story="The train ratio is counted in steps of all environments together instead of steps of each.",
        symptom="With 16 environments the agent learns 16 times less from the same experience.",
        innocent="Every loss, at the same number of updates.",
        source=f"{DREAMER_V3}154", breaks="trainer.Trainer.updates_due, updates per step",
        caught_by=(
            "test_trainer.py::test_there_are_as_many_updates_per_step_as_asked_for_and_none_before_the_prefill_is_over",
        ),
        replaces=((Trainer, "updates_due", property(updates_of_vector_steps)),),
    ),
    Bug(
        name="initialised_without_a_cut",
        story="Initial weights are cut at -2 and 2 instead of at two standard deviations, that is, not at all.",
        symptom="Weights start 14 % too large, with outliers; hardly anyone would notice.",
        innocent="Every loss.",
        source="https://github.com/NM512/dreamerv3-torch/issues/16", breaks="networks.initialise, standard deviation",
        caught_by=("test_networks.py::test_initialise_has_the_deviation_it_promises",),
        replaces=((networks, "initialise", initialise_cut_at_two),),
    ),
)  # fmt: skip
