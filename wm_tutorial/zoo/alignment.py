"""Off by one: a number that belongs to one row, used in the row before or after it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from wm_tutorial import imagination
from wm_tutorial.data import Batch, Place, State, Trajectory
from wm_tutorial.imagination import Sampled
from wm_tutorial.mistakes.bug import DREAMER_V3, GUIDE, NAVIX, TORCHRL, Bug
from wm_tutorial.replay import Replay
from wm_tutorial.world_model import WorldModel

LOSSES = WorldModel.losses
OBSERVE = WorldModel.observe
IMAGINE = imagination._imagine
SAMPLE = Replay.sample


def earlier(x: Tensor) -> Tensor:
    """(B, T, ...) one row earlier: row t holds what belongs to row t + 1, the last row nothing."""
    return torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], 1)


def later(x: Tensor) -> Tensor:
    """(B, T, ...) one row later: row t holds what belongs to row t - 1, row 0 nothing."""
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)


Change = Callable[[Batch], Batch]


def losses_of(change: Change) -> Callable[[WorldModel, Batch], tuple[dict[str, Tensor], State]]:
    """The world model's losses on batches that a mistake has changed."""
    return lambda model, batch: LOSSES(model, change(batch))


def observing(change: Change) -> tuple[tuple[type, str, object], ...]:
    """A mistake in what the states are inferred from, whoever asks for them."""
    return (
        (WorldModel, "losses", losses_of(change)),
        (WorldModel, "observe", lambda model, batch: OBSERVE(model, change(batch))),
    )


def losses_at_departing_states(model: WorldModel, batch: Batch) -> tuple[dict[str, Tensor], State]:
    """Reward and continue are explained by the state before the one that is arrived at."""
    losses, states = LOSSES(model, batch)
    departing = states.feature[:, :-1]
    nothing = torch.zeros_like(losses["reward"][:, :1])
    reward = model.reward(departing).loss(batch.reward[:, 1:])
    continues = model.continues(departing).loss(1.0 - batch.is_terminal[:, 1:].float())
    shifted = {"reward": torch.cat([nothing, reward], 1), "continue": torch.cat([nothing, continues], 1)}
    return losses | shifted, states


def imagine_rewards_of_departing_states(
    model: WorldModel, policy: Callable[[Tensor], Sampled], start: State, horizon: int, differentiable: bool
) -> Trajectory:
    """The reward head is asked about s_0 .. s_{H-1}, the states that are left."""
    trajectory = IMAGINE(model, policy, start, horizon, differentiable)
    return replace(trajectory, reward=model.reward(trajectory.state.feature).mean[:, :-1])


def imagine_with_actions_one_step_late(
    model: WorldModel, policy: Callable[[Tensor], Sampled], start: State, horizon: int, differentiable: bool
) -> Trajectory:
    """Beside each state stands the action that led to it, not the one that was chosen in it."""
    trajectory = IMAGINE(model, policy, start, horizon, differentiable)
    return replace(trajectory, action=later(trajectory.action))


def discount_of_departing_states(trajectory: Trajectory, gamma: float) -> Tensor:
    """d_0 .. d_{H-1} for d_1 .. d_H."""
    return gamma * trajectory.continue_[:, :-1]


def weight_of_arriving_states(trajectory: Trajectory, gamma: float) -> Tensor:
    """A step is weighed by the probability that the episode goes on after its own outcome."""
    return torch.cumprod(gamma * trajectory.continue_[:, 1:], dim=1)


def sample_from_own_states(
    replay: Replay,
    batch: int,
    length: int,
    rng: np.random.Generator,
    device: str = "cpu",
    fresh_first: bool = False,
) -> tuple[Batch, Place]:
    """A sequence starts from the state stored beside its own first row."""
    sequences, place = SAMPLE(replay, batch, length, rng, device, fresh_first)
    index = place.stream, place.number[:, 0] % replay.length
    memory, latent = (torch.from_numpy(replay.columns[name][index]).to(device) for name in ("memory", "latent"))
    return replace(sequences, start=State(memory, latent)), place


BUGS = (
    Bug(
        name="reward_departing",
        story="Reward and continue are trained on the departing state and used on the arriving one.",
        symptom="The agent sees an end one step after it could still be avoided.",
        innocent="All losses fall; the departing state and its action often tell the reward almost as well.",
        source=f"{GUIDE}, training of the world model",
        breaks="world_model.WorldModel.losses, reward and continue of row t",
        caught_by=(
            "test_world_model.py::test_reward_loss_belongs_to_the_row_that_is_arrived_at",
            "test_world_model.py::test_continue_loss_counts_terminal_rows_and_no_time_limits",
        ),
        replaces=((WorldModel, "losses", losses_at_departing_states),),
    ),
    Bug(
        name="reward_late",
        story="The reward head of row t learns the reward of row t - 1: the column was padded once too often.",
        symptom="In dreams every reward arrives one step after it was earned, and the last one of an episode never.",
        innocent="All losses; where rewards change slowly the reward loss is as low as ever.",
        source="https://github.com/kc-ml2/SimpleDreamer/issues/6",
        breaks="world_model.WorldModel.losses, reward of row t",
        caught_by=("test_world_model.py::test_reward_loss_belongs_to_the_row_that_is_arrived_at",),
        replaces=((WorldModel, "losses", losses_of(lambda b: replace(b, reward=later(b.reward)))),),
    ),
    Bug(
        name="continue_early",
        story="The continue head of row t learns whether row t + 1 ends the episode.",
        symptom="Good states just before an end are taken for the end: the agent gives up one step too soon.",
        innocent="The continue loss, since ends are rare.",
        source=f"{DREAMER_V3}65",
        breaks="world_model.WorldModel.losses, continue of row t",
        caught_by=("test_world_model.py::test_continue_loss_counts_terminal_rows_and_no_time_limits",),
        replaces=((WorldModel, "losses", losses_of(lambda b: replace(b, is_terminal=earlier(b.is_terminal)))),),
    ),
    Bug(
        name="continue_late",
        story="The continue head of row t learns whether row t - 1 ended the episode.",
        symptom="The first states of an episode look deadly and its end looks harmless.",
        innocent="The continue loss, since ends are rare.",
        source=f"{DREAMER_V3}65",
        breaks="world_model.WorldModel.losses, continue of row t",
        caught_by=("test_world_model.py::test_continue_loss_counts_terminal_rows_and_no_time_limits",),
        replaces=((WorldModel, "losses", losses_of(lambda b: replace(b, is_terminal=later(b.is_terminal)))),),
    ),
    Bug(
        name="action_departing",
        story="The dynamics of row t are given a_t, the action chosen after it, and not a_{t-1}, which led to it.",
        symptom="The model learns that actions do nothing, or work before they are taken; dreams ignore them.",
        innocent="Decoder, reward and continue losses: the posterior sees the observation anyway.",
        source="https://github.com/danijar/dreamer/issues/8",
        breaks="world_model.WorldModel.observe, a_{t-1}",
        caught_by=(
            "test_world_model.py::test_divergence_is_from_what_the_row_before_and_its_action_led_to_expect",
            "test_world_model.py::test_no_loss_uses_the_action_that_has_not_led_anywhere_yet",
        ),
        replaces=observing(lambda b: replace(b, previous_action=b.action)),
    ),
    Bug(
        name="action_late",
        story="The actions are shifted twice, by the replay and by the model: row t is given a_{t-2}.",
        symptom="Dreams answer every action one step late.",
        innocent="Decoder, reward and continue losses; the divergence is a little higher, which nobody can know.",
        source=NAVIX,
        breaks="world_model.WorldModel.observe, a_{t-1}",
        caught_by=("test_world_model.py::test_divergence_is_from_what_the_row_before_and_its_action_led_to_expect",),
        replaces=observing(lambda b: replace(b, previous_action=later(b.previous_action))),
    ),
    Bug(
        name="first_early",
        story="The state is forgotten one row before an episode begins, on arriving at the end of the one before.",
        symptom="The model meets every end without a memory; in dreams, where it has one, nothing ever ends.",
        innocent="Every loss: each row is explained well from its observation.",
        source=NAVIX,
        breaks="world_model.WorldModel.observe, is_first of row t",
        caught_by=("test_world_model.py::test_divergence_is_from_what_the_row_before_and_its_action_led_to_expect",),
        replaces=observing(lambda b: replace(b, is_first=earlier(b.is_first))),
    ),
    Bug(
        name="first_late",
        story="The state is forgotten one row after an episode has begun.",
        symptom="The first row is expected from the episode before, and its state is lost at once.",
        innocent="Every loss, where episodes are long.",
        source="https://github.com/NM512/dreamerv3-torch/pull/14",
        breaks="world_model.WorldModel.observe, is_first of row t",
        caught_by=("test_world_model.py::test_divergence_is_from_what_the_row_before_and_its_action_led_to_expect",),
        replaces=observing(lambda b: replace(b, is_first=later(b.is_first))),
    ),
    Bug(
        name="imagined_reward_departing",
        story="In imagination the reward head is asked about the state an action leaves, not the one it leads to.",
        symptom="An action is praised for what was there before it; the last action is never judged at all.",
        innocent="World model losses, and the critic's loss.",
        source="https://github.com/danijar/dreamerv3/issues/70",
        breaks="imagination.imagine, r_{t+1}",
        caught_by=("test_imagination.py::test_the_reward_belongs_to_the_state_that_is_arrived_at",),
        replaces=((imagination, "_imagine", imagine_rewards_of_departing_states),),
    ),
    Bug(
        name="imagined_action_late",
        story="An imagined state is paired with the action that led to it, so the policy is asked about another one.",
        symptom="The policy learns which action was good in the state before.",
        innocent="World model losses, the critic's loss and the entropy.",
        source=NAVIX,
        breaks="imagination.imagine, a_t",
        caught_by=("test_imagination.py::test_states_and_actions_follow_each_other",),
        replaces=((imagination, "_imagine", imagine_with_actions_one_step_late),),
    ),
    Bug(
        name="discount_departing",
        story="The return is cut by the continue probability of the departing state, d_t for d_{t+1}.",
        symptom="The reward and the value behind an end are still counted, once per end.",
        innocent="World model losses, and the critic's loss.",
        source="https://github.com/danijar/dreamerv3/issues/70",
        breaks="data.Trajectory.discount, d_{t+1}",
        caught_by=("test_imagination.py::test_discounts_belong_to_the_states_arrived_at",),
        replaces=((Trajectory, "discount", discount_of_departing_states),),
    ),
    Bug(
        name="weight_arriving",
        story="A step counts by the probability that the episode goes on after its outcome, instead of before it.",
        symptom="The action that ends an episode teaches nothing, and the better the model, the less.",
        innocent="World model losses, and both losses of the behaviour.",
        source=f"{TORCHRL}4128",
        breaks="data.Trajectory.weight, weight of step t",
        caught_by=(
            "test_imagination.py::test_weights_by_hand",
            "test_imagination.py::test_nothing_counts_after_an_end_or_from_an_end",
        ),
        replaces=((Trajectory, "weight", weight_of_arriving_states),),
    ),
    Bug(
        name="start_from_own_row",
        story="A sequence starts from the state stored beside its own first row, not beside the row before.",
        symptom="The first step of every sequence runs twice: the memory it starts from has seen the answer.",
        innocent="Every loss; the divergence of the first row is even lower.",
        source=f"{DREAMER_V3}82",
        breaks="replay.Replay.sample, s_{-1}",
        caught_by=(
            "test_replay.py::test_sequences_run_through_short_episodes",
            "test_replay.py::test_the_next_sample_starts_from_what_was_written_back",
        ),
        replaces=((Replay, "sample", sample_from_own_states),),
    ),
)
