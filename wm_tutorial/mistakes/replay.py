"""Mistakes in what is stored and which rows are put together."""

import inspect
from collections.abc import Callable
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
from wm_tutorial.mistakes.alignment import (
    ALIGNMENT,
    NEVER_TERMINAL,
    TIME_LIMITS_TERMINAL,
    Edit,
    edited,
    next_reset_for_last,
    previous_of_other_episode,
)
from wm_tutorial.mistakes.bug import DREAMER_V3, GUIDE, TORCHRL, Bug
from wm_tutorial.mistakes.dynamics import PRIOR_INPUTS, inputs_of, keep_all
from wm_tutorial.mistakes.heads import CONTINUE_TARGET
from wm_tutorial.mistakes.memory import RSSM_STEP, step_of
from wm_tutorial.mistakes.part import Answer, Arguments, Call, Function, Mistake, Part, Unusable, of_wrong
from wm_tutorial.replay import Replay
from wm_tutorial.world_model import WorldModel

# Sequences out of a ring ----------------------------------------------------------------------------------------------

DRAWS = 4000
SHARES = (
    "the positions",
    "the share of positions that hold no row",
    "the share of sequences whose rows do not follow one another",
    "the share of sequences that begin at each row held, oldest first,",
    "(1 for yes) that any position holds no row",
    "(1 for yes) that the rows of any sequence do not follow one another",
)


def right_replay_sample(is_first: Array, added: int, batch: int, length: int, rng: np.random.Generator) -> Array:
    """Positions (batch, length) in a ring: sequences of rows in order, every start equally likely."""
    capacity = len(is_first)
    oldest = max(0, added - capacity)
    first = rng.integers(oldest, added - length + 1, size=batch)
    return _positions(first, length, capacity)


def _positions(first: Array, length: int, capacity: int) -> Array:
    positions: Array = (first[:, None] + np.arange(length)) % capacity
    return positions


def shares(call: Call, arguments: Arguments) -> Answer:
    """Where many sequences begin, and whether their rows follow one another."""
    capacity, added, length = len(arguments["is_first"]), arguments["added"], arguments["length"]
    (positions,) = call(arguments).values()
    if positions.is_floating_point() or positions.shape != (DRAWS, length):
        return {"the positions": torch.zeros_like(positions)}
    several = len(np.unique(positions.numpy(), axis=0)) > 1
    if several and torch.equal(positions, *call(arguments | {"rng": np.random.default_rng(1)}).values()):
        raise Unusable("it draws the same sequences whatever rng it is given; draw from rng itself.")
    if not torch.equal(positions, *call(arguments).values()):
        raise Unusable("given the same rng it draws other sequences, so no run can be repeated; draw from rng alone.")
    positions = positions.long()  # any whole numbers will do
    oldest = max(0, added - capacity)
    number = oldest + (positions - oldest) % capacity  # rows are counted from the first ever added
    outside = (positions < 0) | (positions >= capacity) | (number >= added)
    broken = (number.diff(dim=1) != 1).any(1)
    begins = (number[:, :1] == torch.arange(oldest, added)).double().mean(0)
    nowhere, torn = outside.double().mean(), broken.double().mean()
    told = torch.zeros_like(positions), nowhere, torn, begins, outside.any().double(), broken.any().double()
    return dict(zip(SHARES, told, strict=True))


def _expected_shares(arguments: Arguments) -> Answer:
    capacity, added, length = len(arguments["is_first"]), arguments["added"], arguments["length"]
    begins = (torch.arange(max(0, added - capacity), added) <= added - length).double()
    none = torch.zeros((), dtype=torch.float64)
    told = torch.zeros(DRAWS, length, dtype=torch.int64), none, none, begins / begins.sum(), none, none
    return dict(zip(SHARES, told, strict=True))


def _within(bounds: Callable[[int, int, int], tuple[int, int]]) -> Function:
    """The range of starts is another one; its bounds follow from rows added, capacity and length."""

    def replay_sample(is_first: Array, added: int, batch: int, length: int, rng: np.random.Generator) -> Array:
        low, high = bounds(added, len(is_first), length)
        return _positions(rng.integers(low, high, size=batch), length, len(is_first))

    return replay_sample


def anywhere_once_full(added: int, capacity: int, length: int) -> tuple[int, int]:
    """Right until the ring is full; then any place in it, also where a sequence runs over the newest row."""
    return (added - capacity, added) if added > capacity else (0, added - length + 1)


def _unwrapped(is_first: Array, added: int, batch: int, length: int, rng: np.random.Generator) -> Array:
    """Row numbers in place of positions."""
    first = rng.integers(max(0, added - len(is_first)), added - length + 1, size=batch)
    numbers: Array = first[:, None] + np.arange(length)
    return numbers


def _one_by_one(is_first: Array, added: int, batch: int, length: int, rng: np.random.Generator) -> Array:
    """Any rows that are held."""
    rows: Array = rng.integers(max(0, added - len(is_first)), added, size=(batch, length)) % len(is_first)
    return rows


def _among(allowed: Function) -> Function:
    """Starts that are chosen by where episodes begin; all, if there are none of the kind."""

    def replay_sample(is_first: Array, added: int, batch: int, length: int, rng: np.random.Generator) -> Array:
        capacity = len(is_first)
        starts = np.arange(max(0, added - capacity), added - length + 1)
        kept = [n for n in starts if allowed(is_first[np.arange(n, n + length) % capacity])]
        return _positions(rng.choice(np.array(kept or list(starts)), size=batch), length, capacity)

    return replay_sample


def _episodes_first(is_first: Array, added: int, batch: int, length: int, rng: np.random.Generator) -> Array:
    """An episode first, all equally likely, and then a start in it."""
    capacity = len(is_first)
    starts = np.arange(max(0, added - capacity), added - length + 1)
    episode = np.cumsum(is_first[starts % capacity])
    kinds, counts = np.unique(episode, return_counts=True)
    share = 1.0 / len(kinds) / counts[np.searchsorted(kinds, episode)]
    return _positions(rng.choice(starts, size=batch, p=share), length, capacity)


def _ring(capacity: int, added: int, length: int, *firsts: int) -> Arguments:
    """A ring of `added` rows, with episodes that begin in the rows `firsts`."""
    is_first = np.zeros(capacity, bool)
    is_first[np.array(firsts) % capacity] = True
    rng = np.random.default_rng(capacity)
    return {"is_first": is_first, "added": added, "batch": DRAWS, "length": length, "rng": rng}


REPLAY_SAMPLE = Part(
    name="replay_sample",
    right=right_replay_sample,
    container=np.ndarray,
    returns=("the positions",),
    measure=shares,
    expected=_expected_shares,
    tolerance=(0.0, 0.03),
    cases=(
        _ring(8, 11, 4, 3, 5, 10),  # rows 3 .. 10 are held; the seam lies between positions 2 and 3
        _ring(12, 9, 4, 0, 2, 7),  # not full yet
        _ring(10, 10, 3, 0, 6),  # just full
    ),
    mistakes={
        "last_start_missing": Mistake(
            "the last possible start is never drawn, so the newest row is never learned from.",
            "the upper end of rng.integers is left out already; another -1 leaves out one more.",
            (_within(lambda added, capacity, length: (max(0, added - capacity), added - length)),),
        ),
        "first_start_missing": Mistake(
            "the oldest row is never drawn as a start.",
            "a row is kept back in front of the sequence that nobody asked for.",
            (_within(lambda added, capacity, length: (max(0, added - capacity) + 1, added - length + 1)),),
        ),
        "rows_never_added": Mistake(
            "starts are drawn from the whole array: before it is full there are rows in it that were never added, and "
            "later the seam between newest and oldest row.",
            "the capacity is used where the number of rows held belongs, and positions are taken for row numbers.",
            (
                _within(lambda added, capacity, length: (added - capacity, added - length + 1)),
                _within(lambda added, capacity, length: (0, capacity)),
            ),
        ),
        "ring_not_wrapped": Mistake(
            "positions lie beyond the end of the array: row n is at position n % capacity.",
            "row numbers and positions are the same until the ring is full for the first time.",
            (_unwrapped,),
        ),
        "rows_one_by_one": Mistake(
            "every row is drawn by itself, so that they do not follow one another.",
            "single transitions are enough for other methods; a world model needs sequences: draw where they start.",
            (_one_by_one,),
        ),
        "whole_episode_bias": Mistake(
            "starts are not equally likely: where episodes begin and end decides.",
            "sequences are thought to belong to one episode; here they may run from one into the next, since is_first "
            "tells the model where to forget.",
            (
                _among(lambda first: not first[1:].any()),
                _among(lambda first: first[0]),
                _episodes_first,
                _among(lambda first: not first.any()),
            ),
        ),
    },
)

# In the agent ---------------------------------------------------------------------------------------------------------

STEP = Environments.step
EPISODE_STEP = SeededEpisodes.step
EPISODE_RESET = SeededEpisodes.reset
LOSSES = WorldModel.losses
MASK = dynamics.mask
SAMPLE = Replay.sample


def arriving(edit: Edit) -> Function:
    """Environments return rows in which something is written down wrongly."""

    def step(environments: Environments, row: Row, action: Array) -> Row:
        arrived = STEP(environments, row, action)
        return replace(arrived, **edit(vars(arrived)))

    return step


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
    return BEGUN.pop(episodes, None) or EPISODE_RESET(episodes)


def without_reset(method: Function) -> Function:
    """One sequence is one episode, as far as the model knows; nothing of one is forgotten in the next."""

    def unaware(*given: Any, **named: Any) -> Any:
        arguments = inspect.signature(method).bind(*given, **named).arguments
        return method(**arguments | {"is_first": torch.zeros_like(arguments["is_first"])})

    return unaware


def forget_the_state_alone(is_first: Tensor, state: State) -> State:
    """Zeros where an episode begins."""
    return State(MASK(~is_first, state.memory), MASK(~is_first, state.latent))


def anywhere_in_the_ring(replay: Replay, batch: int, length: int, rng: np.random.Generator) -> Array:
    """Numbers of rows (B,) to be followed by `length` others."""
    return rng.integers(*anywhere_once_full(replay.added, replay.length, length + 1), size=batch)


def nothing_written_back(replay: Replay, place: Place, states: State) -> None:
    """The states stay as they were when the rows were collected."""


def sample_from_own_states(
    replay: Replay, batch: int, length: int, rng: np.random.Generator, device: str = "cpu", fresh_first: bool = False
) -> tuple[Batch, Place]:
    """A sequence starts from the state stored beside its own first row."""
    sequences, place = SAMPLE(replay, batch, length, rng, device, fresh_first)
    index = place.stream, place.number[:, 0] % replay.length
    memory, latent = (torch.from_numpy(replay.columns[name][index]).to(device) for name in ("memory", "latent"))
    return replace(sequences, start=State(memory, latent)), place


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
FROM_NOTHING = "test_dynamics.py::test_the_first_row_of_an_episode_is_expected_from_nothing"
WRITTEN_BACK = "test_replay.py::test_the_next_sample_starts_from_what_was_written_back"

PARTS = (REPLAY_SAMPLE,)

BUGS = (
    Bug(
        name="start_from_own_row",
        story="A sequence starts from the state stored beside its own first row, not beside the row before.",
        symptom="The first step of every sequence runs twice: the memory it starts from has seen the answer.",
        innocent="Every loss; the divergence of the first row is even lower.",
        source=f"{DREAMER_V3}82", breaks="replay.Replay.sample, s_{-1}",
        caught_by=("test_replay.py::test_sequences_run_through_short_episodes", WRITTEN_BACK),
        replaces=((Replay, "sample", sample_from_own_states),),
    ),
    Bug(
        name="time_limit_is_death",
        story="A time limit is stored as a termination.",
        symptom="The agent fears states in which nothing happens but the clock; values of good states are too low.",
        innocent="The continue loss, since time limits are rare.",
        source=f"{GUIDE}, ExperienceBatch; {DREAMER_V3}87", breaks="envs.Environments.step, terminal_t",
        caught_by=(BY_HAND, BATCHES), replaces=((Environments, "step", arriving(TIME_LIMITS_TERMINAL)),),
        forms={
            ALIGNMENT: Mistake(
                "a time limit is stored as a termination, so a future that was only cut off counts as worthless.",
                "one variable `done` is used for both; only `terminated` means that nothing more can be earned.",
                (edited(TIME_LIMITS_TERMINAL),),
            ),
            CONTINUE_TARGET: Mistake(
                "every last row counts as the end of all reward; a time limit is last, but not terminal.",
                "`done` used to mean both, and is_last is easily taken for it.",
                (lambda is_last, is_terminal, discount: CONTINUE_TARGET.right(is_last, is_last, discount),),
            ),
        },
    ),
    Bug(
        name="termination_lost",
        story="Only the end of an episode is stored, not that nothing more could be earned: no row is ever terminal.",
        symptom="Death has no consequence: in dreams life goes on, and values are all alike.",
        innocent="The continue loss, which is zero.",
        source=f"{DREAMER_V3}65", breaks="envs.Environments.step, terminal_t",
        caught_by=(BY_HAND, BATCHES), replaces=((Environments, "step", arriving(NEVER_TERMINAL)),),
        forms={
            ALIGNMENT: Mistake(
                "no row is terminal: that an episode ended is written down, that nothing more can be earned is not.",
                "one flag is enough to cut sequences apart; what `terminated` says beyond that only returns need.",
                (edited(NEVER_TERMINAL),),
            ),
            CONTINUE_TARGET: Mistake(
                "life goes on in every row: no end is an end.",
                "the flags are left out, since most rows have none.",
                of_wrong(CONTINUE_TARGET.right, 1, torch.zeros_like),
            ),
        },
    ),
    Bug(
        name="terminal_observation_dropped",
        story="The last observation of an episode is replaced by the first of the next, because of a reset too soon.",
        symptom="Prizes and crashes are learned for harmless first observations; what earns them is never seen.",
        innocent="Every loss except for a small rest in reward and continue.",
        source="https://github.com/openai/gym/issues/3177", breaks="envs.Environments.step, o_t of a last row",
        caught_by=(BY_HAND, BATCHES),
        replaces=((SeededEpisodes, "step", step_into_the_next_episode), (SeededEpisodes, "reset", reset_already_done)),
        keeps=(BEGUN,),
        forms={ALIGNMENT: Mistake(
            "the last row of an episode holds the first observation of the next one.",
            "environments that reset themselves return the new observation and put the last one elsewhere.",
            (edited(next_reset_for_last),),
        )},
    ),
    Bug(
        name="reset_missing",
        story="Sequences cross from one episode into the next, and the model does not forget in between.",
        symptom="The first rows of an episode are explained from the one before; the agent starts confused.",
        innocent="Every loss, where episodes are long.",
        source="https://github.com/NM512/dreamerv3-torch/pull/14",
        breaks="dynamics.RSSM.observe and dynamics.FeedForward.observe, is_first",
        caught_by=(FORGETS, FROM_NOTHING),
        replaces=tuple((model, "observe", without_reset(model.observe)) for model in (FeedForward, RSSM)),
        forms={
            PRIOR_INPUTS: Mistake(
                "nothing is forgotten where an episode begins: its first row is predicted from the end of another one.",
                "a batch of sequences looks like a batch of episodes, and most rows are no first ones.",
                (without_reset(PRIOR_INPUTS.right),),
            ),
            RSSM_STEP: Mistake(
                "nothing is forgotten where an episode begins: the state goes on across the end of the one before.",
                "a step that is tried on rows of one episode never needs to forget.",
                (without_reset(RSSM_STEP.right),),
            ),
        },
    ),
    Bug(
        name="action_not_reset",
        story="Where an episode begins the state is forgotten, but the action before it is not.",
        symptom="The first state of an episode depends on how the one before ended.",
        innocent="Every loss.",
        source=f"{TORCHRL}4128",
        breaks="dynamics.RSSM.observe and dynamics.FeedForward.observe, a_{t-1} of a first row",
        caught_by=(FORGETS, FROM_NOTHING),
        replaces=((dynamics, "mask", keep_all), (dynamics, "forget", forget_the_state_alone)),
        forms={
            ALIGNMENT: Mistake(
                "the first row of an episode has the last action of the episode before as its previous action.",
                "the column is shifted by one as a whole; an episode begins with no action behind it.",
                (edited(previous_of_other_episode),),
            ),
            PRIOR_INPUTS: Mistake(
                "the latent is forgotten where an episode begins, the action is not.",
                "the state is what one thinks of at a reset; the action before it belongs to the other episode, too.",
                (inputs_of(of_action=keep_all),),
            ),
            RSSM_STEP: Mistake(
                "memory and latent are forgotten where an episode begins, the action before it is not.",
                "the state is what one thinks of at a reset; the action before it belongs to the other episode, too.",
                (step_of(of_action=keep_all),),
            ),
        },
    ),
    Bug(
        name="ring_seam",
        story="Sequences are drawn from anywhere in the ring, also across the seam between newest and oldest row.",
        symptom="Now and then the world jumps in the middle of an episode, without a first row.",
        innocent="Every loss; in a large replay one sequence in thousands is wrong.",
        source="https://github.com/le2333/RTRRL/issues/57", breaks="replay.Replay.sample, rows of a sequence",
        caught_by=(
            "test_replay.py::test_the_seam_of_the_ring_is_never_crossed",
            "test_replay.py::test_every_place_in_every_stream_is_equally_likely",
        ),
        replaces=((Replay, "_anywhere", anywhere_in_the_ring),),
        forms={REPLAY_SAMPLE: Mistake(
            "sequences run over the seam of the ring, where the newest row lies beside the oldest.",
            "the seam moves with every row that is added; it is not at the end of the array.",
            (
                _within(lambda added, capacity, length: (0, min(added, capacity) - length + 1)),  # not over its end
                _within(lambda added, capacity, length: (0, min(added, capacity))),
                _within(anywhere_once_full),
                _within(lambda added, capacity, length: (max(0, added - capacity), added - length + 2)),
                _within(lambda added, capacity, length: (0, min(added, capacity) - length)),
                _within(lambda added, capacity, length: (0, capacity - length + 1)),
            ),
        )},
    ),
    Bug(
        name="stale_latents",
        story="The states stored while collecting are never renewed, so sequences start from an old model's states.",
        symptom="The memory of old rows is in a code the model no longer speaks: the first rows of sequences mislead.",
        innocent="Every loss, which is a little higher.",
        source=f"{DREAMER_V3}82", breaks="replay.Replay.write_back, s_{-1}",
        caught_by=(WRITTEN_BACK, "test_trainer.py::test_inferred_states_are_written_back_to_where_their_rows_lie"),
        replaces=((Replay, "write_back", nothing_written_back),),
    ),
    Bug(
        name="carry_across_batches",
        story="A batch starts from the last states of the batch before, though its sequences come from elsewhere.",
        symptom="The first row of every sequence is expected from a life that was never lived.",
        innocent="Every loss: one row in each sequence is wrong.",
        source=f"{DREAMER_V3}82", breaks="world_model.WorldModel.losses, s_{-1}",
        caught_by=("test_world_model.py::test_the_losses_of_a_batch_do_not_depend_on_the_batch_before",),
        replaces=((WorldModel, "losses", losses_from_the_batch_before),),
        keeps=(CARRIED,),
    ),
)  # fmt: skip
