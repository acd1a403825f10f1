"""Mistakes in what is stored and which rows are put together."""

from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from wm_tutorial import dynamics
from wm_tutorial.data import Array, Batch, Place, Row, State
from wm_tutorial.dynamics import RSSM, FeedForward
from wm_tutorial.envs import Environments, SeededEpisodes
from wm_tutorial.latents import Distribution
from wm_tutorial.mistakes.bug import DREAMER_V3, GUIDE, TORCHRL, Bug
from wm_tutorial.replay import Replay
from wm_tutorial.world_model import WorldModel

STEP = Environments.step
EPISODE_STEP = SeededEpisodes.step
EPISODE_RESET = SeededEpisodes.reset
LOSSES = WorldModel.losses
FEED_FORWARD_OBSERVE = FeedForward.observe
RSSM_OBSERVE = RSSM.observe
MASK = dynamics.mask
ANYWHERE = Replay._anywhere


def step_with_terminal_time_limits(environments: Environments, row: Row, action: Array) -> Row:
    """A time limit is taken for a death."""
    arrived = STEP(environments, row, action)
    return replace(arrived, is_terminal=arrived.is_last)


def step_without_terminations(environments: Environments, row: Row, action: Array) -> Row:
    """That an episode ended is stored, why it ended is not."""
    arrived = STEP(environments, row, action)
    return replace(arrived, is_terminal=np.zeros_like(arrived.is_last))


BEGUN: WeakKeyDictionary[SeededEpisodes, tuple[Any, dict[str, Any]]] = WeakKeyDictionary()


def step_into_the_next_episode(episodes: SeededEpisodes, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
    """The step that ends an episode returns the first observation of the next one, and nobody asks for the last."""
    obs, reward, terminated, truncated, info = EPISODE_STEP(episodes, action)
    if terminated or truncated:
        obs, info = EPISODE_RESET(episodes)
        BEGUN[episodes] = obs, info
    return obs, reward, terminated, truncated, info


def reset_already_done(episodes: SeededEpisodes, **options: Any) -> tuple[Any, dict[str, Any]]:
    """Where `step` has begun the next episode, it goes on from there."""
    begun = BEGUN.pop(episodes, None)
    return begun if begun else EPISODE_RESET(episodes)


def feed_forward_observe_without_reset(
    model: FeedForward, embedding: Tensor, action: Tensor, is_first: Tensor, start: State
) -> tuple[State, Distribution, Distribution]:
    """One sequence is one episode, as far as the model knows."""
    return FEED_FORWARD_OBSERVE(model, embedding, action, torch.zeros_like(is_first), start)


def rssm_observe_without_reset(
    model: RSSM, embedding: Tensor, action: Tensor, is_first: Tensor, start: State
) -> tuple[State, Distribution, Distribution]:
    """One sequence is one episode, as far as the model knows."""
    return RSSM_OBSERVE(model, embedding, action, torch.zeros_like(is_first), start)


def keep_all(keep: Tensor, x: Tensor) -> Tensor:
    """The action before an episode is used as if it had led to its first row."""
    return x


def forget_the_state_alone(is_first: Tensor, state: State) -> State:
    """Zeros where an episode begins."""
    return State(MASK(~is_first, state.memory), MASK(~is_first, state.latent))


def anywhere_in_the_ring(replay: Replay, batch: int, length: int, rng: np.random.Generator) -> Array:
    """Every place of the ring, also those from which a sequence runs over the newest row into the oldest."""
    if replay.added <= replay.length:  # there is no seam yet
        return ANYWHERE(replay, batch, length, rng)
    return rng.integers(replay.added - replay.length, replay.added, size=batch)


def nothing_written_back(replay: Replay, place: Place, states: State) -> None:
    """The states stay as they were when the rows were collected."""


CARRIED: WeakKeyDictionary[WorldModel, State] = WeakKeyDictionary()


def losses_from_the_batch_before(model: WorldModel, batch: Batch) -> tuple[dict[str, Tensor], State]:
    """Each sequence starts where another one, anywhere in the replay, has ended."""
    start = CARRIED.get(model, batch.start)
    losses, states = LOSSES(model, replace(batch, start=start) if len(start.latent) == len(batch.obs) else batch)
    CARRIED[model] = states[:, -1].detach()
    return losses, states


BY_HAND = "test_envs.py::test_every_row_of_four_episodes_by_hand"
BATCHES = "test_trainer.py::test_batches_tell_time_limits_from_ends_and_know_the_action_before"
FORGETS = "test_axes.py::test_nothing_before_the_first_row_of_an_episode_matters"

BUGS = (
    Bug(
        name="time_limit_is_death",
        story="A time limit is stored as a termination.",
        symptom="The agent fears states in which nothing happens but the clock; values of good states are too low.",
        innocent="The continue loss, since time limits are rare.",
        source=f"{GUIDE}, ExperienceBatch; {DREAMER_V3}87",
        breaks="envs.Environments.step, terminal_t",
        caught_by=(BY_HAND, BATCHES),
        replaces=((Environments, "step", step_with_terminal_time_limits),),
    ),
    Bug(
        name="termination_lost",
        story="Only the end of an episode is stored, not that nothing more could be earned: no row is ever terminal.",
        symptom="Death has no consequence: in dreams life goes on, and values are all alike.",
        innocent="The continue loss, which is zero.",
        source=f"{DREAMER_V3}65",
        breaks="envs.Environments.step, terminal_t",
        caught_by=(BY_HAND, BATCHES),
        replaces=((Environments, "step", step_without_terminations),),
    ),
    Bug(
        name="terminal_observation_dropped",
        story="The last observation of an episode is replaced by the first of the next, because of a reset too soon.",
        symptom="Prizes and crashes are learned for harmless first observations; what earns them is never seen.",
        innocent="Every loss except for a small rest in reward and continue.",
        source="https://github.com/openai/gym/issues/3177",
        breaks="envs.Environments.step, o_t of a last row",
        caught_by=(BY_HAND, BATCHES),
        replaces=((SeededEpisodes, "step", step_into_the_next_episode), (SeededEpisodes, "reset", reset_already_done)),
        keeps=(BEGUN,),
    ),
    Bug(
        name="reset_missing",
        story="Sequences cross from one episode into the next, and the model does not forget in between.",
        symptom="The first rows of an episode are explained from the one before; the agent starts confused.",
        innocent="Every loss, where episodes are long.",
        source="https://github.com/NM512/dreamerv3-torch/pull/14",
        breaks="dynamics.RSSM.observe and dynamics.FeedForward.observe, is_first",
        caught_by=(FORGETS, "test_dynamics.py::test_the_first_row_of_an_episode_is_expected_from_nothing"),
        replaces=(
            (FeedForward, "observe", feed_forward_observe_without_reset),
            (RSSM, "observe", rssm_observe_without_reset),
        ),
    ),
    Bug(
        name="action_not_reset",
        story="Where an episode begins the state is forgotten, but the action before it is not.",
        symptom="The first state of an episode depends on how the one before ended.",
        innocent="Every loss.",
        source=f"{TORCHRL}4128",
        breaks="dynamics.RSSM.observe and dynamics.FeedForward.observe, a_{t-1} of a first row",
        caught_by=(FORGETS, "test_dynamics.py::test_the_first_row_of_an_episode_is_expected_from_nothing"),
        replaces=((dynamics, "mask", keep_all), (dynamics, "forget", forget_the_state_alone)),
    ),
    Bug(
        name="ring_seam",
        story="Sequences are drawn from anywhere in the ring, also across the seam between newest and oldest row.",
        symptom="Now and then the world jumps in the middle of an episode, without a first row.",
        innocent="Every loss; in a large replay one sequence in thousands is wrong.",
        source="https://github.com/le2333/RTRRL/issues/57",
        breaks="replay.Replay.sample, rows of a sequence",
        caught_by=(
            "test_replay.py::test_the_seam_of_the_ring_is_never_crossed",
            "test_replay.py::test_every_place_in_every_stream_is_equally_likely",
        ),
        replaces=((Replay, "_anywhere", anywhere_in_the_ring),),
    ),
    Bug(
        name="stale_latents",
        story="The states stored while collecting are never renewed, so sequences start from an old model's states.",
        symptom="The memory of old rows is in a code the model no longer speaks: the first rows of sequences mislead.",
        innocent="Every loss, which is a little higher.",
        source=f"{DREAMER_V3}82",
        breaks="replay.Replay.write_back, s_{-1}",
        caught_by=(
            "test_replay.py::test_the_next_sample_starts_from_what_was_written_back",
            "test_trainer.py::test_inferred_states_are_written_back_to_where_their_rows_lie",
        ),
        replaces=((Replay, "write_back", nothing_written_back),),
    ),
    Bug(
        name="carry_across_batches",
        story="A batch starts from the last states of the batch before, though its sequences come from elsewhere.",
        symptom="The first row of every sequence is expected from a life that was never lived.",
        innocent="Every loss: one row in each sequence is wrong.",
        source=f"{DREAMER_V3}82",
        breaks="world_model.WorldModel.losses, s_{-1}",
        caught_by=("test_world_model.py::test_the_losses_of_a_batch_do_not_depend_on_the_batch_before",),
        replaces=((WorldModel, "losses", losses_from_the_batch_before),),
        keeps=(CARRIED,),
    ),
)
