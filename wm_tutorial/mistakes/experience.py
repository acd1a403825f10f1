"""Mistakes in what the world returns and what is kept of it: the published operators on rewards, states and records.

They damage the experience that is learned from. The returns that a run reports stay those of the environment, so that
agents can be compared.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from wm_tutorial.agent import Agent, Carry
from wm_tutorial.data import COLLECT as COLLECTING
from wm_tutorial.data import Array, Batch, Place, Row, State
from wm_tutorial.envs import SeededEpisodes
from wm_tutorial.mistakes.bug import DREAMER_V3, LU, MUPRL, RLMUTATION, Bug
from wm_tutorial.mistakes.part import Part
from wm_tutorial.replay import Replay
from wm_tutorial.trainer import Trainer

ADD = Replay.add
SAMPLE = Replay.sample
ANYWHERE = Replay._anywhere
RESET = SeededEpisodes.reset
STEP = SeededEpisodes.step
POLICY = Agent.policy
COLLECT = Trainer.collect

# Rewards and records, on their way into the replay --------------------------------------------------------------------

Stored: TypeAlias = Callable[[Replay, Row, Array, State], None]


def storing(changed: Callable[[Replay, Row], Row]) -> Stored:
    """`Replay.add` of a changed row."""
    return lambda replay, row, action, state: ADD(replay, changed(replay, row), action, state)


def noisy_reward(replay: Replay, row: Row) -> Row:
    """A deviation of a tenth of the reward, and at least of 0.1; the first row of an episode has no reward."""
    noise = np.random.default_rng(replay.added).normal(size=row.reward.shape)
    size = np.where(row.is_first, 0.0, np.maximum(0.1, 0.1 * np.abs(row.reward)))
    return replace(row, reward=(row.reward + size * noise).astype(np.float32))


EARNED: WeakKeyDictionary[Replay, Array] = WeakKeyDictionary()  # so far in the running episode of each stream


def sparse_reward(replay: Replay, row: Row) -> Row:
    """Nothing on the way, and the whole return in the last row."""
    earned = np.where(row.is_first, 0.0, EARNED.get(replay, np.zeros_like(row.reward)) + row.reward)
    EARNED[replay] = earned
    return replace(row, reward=np.where(row.is_last, earned, 0.0).astype(np.float32))


def _earlier(replay: Replay, which: int) -> Array:
    """A row of each stream (N,), drawn from those that are there."""
    held = min(replay.added, replay.length)
    return np.random.default_rng([replay.added, which]).integers(held, size=replay.streams)


def mangled(replay: Replay, row: Row) -> Row:
    """In every fourth row observation and reward are of other rows, and not even of one and the same."""
    if replay.added % 4 != 3:
        return row
    streams = np.arange(replay.streams)
    obs = replay.columns["obs"][streams, _earlier(replay, 0)]
    if replay.classes:
        obs = np.eye(replay.classes, dtype=np.float32)[obs]
    return replace(row, obs=obs, reward=replay.columns["reward"][streams, _earlier(replay, 1)])


def unflagged_after_a_time_limit(replay: Replay, row: Row) -> Row:
    """A first row is one if the row before was terminal, or there is none."""
    if replay.added == 0:
        return row
    return replace(row, is_first=row.is_first & replay.columns["is_terminal"][:, (replay.added - 1) % replay.length])


CALLS: WeakKeyDictionary[Replay, int] = WeakKeyDictionary()


def is_fourth(replay: Replay) -> bool:
    """Whether three rows were on their way into a replay before, since the last time."""
    CALLS[replay] = CALLS.get(replay, 0) + 1
    return CALLS[replay] % 4 == 0


def add_the_fourth_twice(replay: Replay, row: Row, action: Array, state: State) -> None:
    """Every fourth row is stored once more."""
    ADD(replay, row, action, state)
    if is_fourth(replay):
        ADD(replay, row, action, state)


def collect_without_the_fourth(trainer: Trainer) -> None:
    """Every fourth step is taken, and not stored."""
    if not is_fourth(trainer.replay):
        COLLECT(trainer)
        return
    trainer.replay.add = lambda *_: None  # type: ignore[method-assign]
    try:
        COLLECT(trainer)
    finally:
        del trainer.replay.add


def sample_shuffled(replay: Replay, batch: int, length: int, rng: np.random.Generator, *rest: Any) -> Any:
    """The rows of each batch come in random order, as those of methods that learn from single steps may."""
    rows, place = SAMPLE(replay, batch, length, rng, *rest)
    order = rng.permutation(length)
    shuffled = {f.name: getattr(rows, f.name)[:, order] for f in fields(Batch) if f.name != "start"}
    return replace(rows, **shuffled), Place(place.stream, place.number[:, order])


def sample_half(replay: Replay, batch: int, length: int, *rest: Any) -> Any:
    """Half as many rows as asked for."""
    return SAMPLE(replay, batch, max(1, length // 2), *rest)


def anywhere_in_a_share(replay: Replay, batch: int, length: int, rng: np.random.Generator) -> Array:
    """Only what a ring would hold whose capacity was divided by the number of streams twice."""
    if replay.added - length <= (oldest := replay.added - max(length + 1, replay.length // replay.streams)):
        return ANYWHERE(replay, batch, length, rng)
    return rng.integers(max(oldest, replay.added - min(replay.added, replay.length)), replay.added - length, size=batch)


# What is seen ---------------------------------------------------------------------------------------------------------

SEEN: WeakKeyDictionary[SeededEpisodes, Any] = WeakKeyDictionary()


def reset_and_see(stream: SeededEpisodes, **options: Any) -> tuple[Any, dict[str, Any]]:
    """What is seen first is remembered."""
    obs, info = RESET(stream, **options)
    SEEN[stream] = np.array(obs)
    return obs, info


def step_that_repeats(stream: SeededEpisodes, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
    """In every third step of an episode the observation before is returned once more."""
    obs, *rest = STEP(stream, action)
    if len(stream.actions) % 3 == 0 and stream.actions:
        obs = SEEN.get(stream, obs)
    SEEN[stream] = np.array(obs)
    return obs, *rest


def reset_to_the_first(stream: SeededEpisodes, **options: Any) -> tuple[Any, dict[str, Any]]:
    """While experience is collected, every episode has the seed of the first one."""
    if stream.seed[0] != COLLECTING:
        return RESET(stream, **options)
    episode, stream.episode = stream.episode, -1
    begun = RESET(stream, **options)
    stream.episode = episode + 1
    return begun


FIRST_SEEN: WeakKeyDictionary[Agent, Array] = WeakKeyDictionary()


def policy_of_the_first_observation(agent: Agent, row: Row, carry: Carry, greedy: bool = False) -> Carry:
    """The variable with the observation is set where an episode begins, and not renewed after a step."""
    kept = FIRST_SEEN.get(agent, row.obs)
    if kept.shape != row.obs.shape:
        kept = row.obs
    first = row.is_first.reshape(-1, *[1] * (row.obs.ndim - 1))
    FIRST_SEEN[agent] = np.where(first, row.obs, kept)
    return POLICY(agent, replace(row, obs=FIRST_SEEN[agent]), carry, greedy)


BY_HAND = "test_envs.py::test_every_row_of_four_episodes_by_hand"
BATCHES = "test_trainer.py::test_batches_tell_time_limits_from_ends_and_know_the_action_before"
SHORT = "test_replay.py::test_sequences_run_through_short_episodes"

PARTS: tuple[Part, ...] = ()

BUGS = (
    Bug(
        name="reward_noisy",
        story="Noise is added to the rewards that are learned from.",
        symptom="The reward head learns the mean; only where rewards differ by little does the agent learn less.",
        innocent="Every loss but that of the reward, which cannot fall below the noise.",
        source=f"{RLMUTATION} (Reward Noise)", breaks="replay.Replay.add, r_t",
        caught_by=(BATCHES,), replaces=((Replay, "add", storing(noisy_reward)),),
    ),
    Bug(
        name="reward_reduced",
        story="The rewards that are learned from are a hundredth of what they are.",
        symptom="The range of returns stays below its floor of 1: the entropy bonus outweighs what there is to earn.",
        innocent="The reward loss and the critic's, which are smaller than ever.",
        source=f"{LU} (Reward Reduction)", breaks="replay.Replay.add, r_t",
        caught_by=(BATCHES,),
        replaces=((Replay, "add", storing(lambda _, row: replace(row, reward=row.reward / np.float32(100)))),),
    ),
    Bug(
        name="reward_at_the_end",
        story="All rewards of an episode arrive in its last row: dense rewards have become sparse ones.",
        symptom="The horizon no longer reaches what is to be earned; learning is slow, or never begins.",
        innocent="The reward loss, which is zero nearly everywhere.",
        source=f"{MUPRL} (taxonomy, reward function)", breaks="replay.Replay.add, r_t",
        caught_by=(BATCHES,), replaces=((Replay, "add", storing(sparse_reward)),), keeps=(EARNED,),
    ),
    Bug(
        name="records_mangled",
        story="In every fourth row observation and reward are those of other rows: what led to what is lost.",
        symptom="The model blames chance for jumps that never happened, and dreams of them.",
        innocent="The decoder's loss: each observation alone is a real one.",
        source=f"{RLMUTATION} (Mangled, Random)", breaks="replay.Replay.add, o_t and r_t",
        caught_by=(BATCHES,), replaces=((Replay, "add", storing(mangled)),),
    ),
    Bug(
        name="records_hidden",
        story="Every fourth row is lost on its way into the replay.",
        symptom="Actions seem to do twice what they do, now and then; some episodes lack their first or last row.",
        innocent="Every loss, which is a little higher, as in a world with more chance in it.",
        source=f"{LU} (State Record Crash, Fuzzing Buffer)", breaks="trainer.Trainer.collect, rows of a stream",
        caught_by=(BATCHES,), replaces=((Trainer, "collect", collect_without_the_fourth),), keeps=(CALLS,),
    ),
    Bug(
        name="records_duplicated",
        story="Every fourth row is stored twice.",
        symptom="The world seems to stand still now and then, whatever is done; rewards are earned twice.",
        innocent="Every loss: a row that comes again is easily predicted.",
        source=f"{LU} (State Record Crash, Fuzzing Buffer)", breaks="replay.Replay.add, rows of a stream",
        caught_by=(BATCHES,), replaces=((Replay, "add", add_the_fourth_twice),), keeps=(CALLS,),
    ),
    Bug(
        name="rows_shuffled",
        story="The rows of a sequence are handed out in random order, as methods that learn from single steps do.",
        symptom="There is nothing to learn of time: the prior knows no more than how often each latent occurs.",
        innocent="The losses of decoder and reward.",
        source=f"{LU} (Switching Buffer)", breaks="replay.Replay.sample, rows of a sequence",
        caught_by=(SHORT, "test_replay.py::test_the_seam_of_the_ring_is_never_crossed"),
        replaces=((Replay, "sample", sample_shuffled),),
    ),
    Bug(
        name="sequences_halved",
        story="Sequences are half as long as they were asked to be.",
        symptom="What must be remembered for longer than that is never learned.",
        innocent="Every loss.",
        source=f"{MUPRL} (suboptimal number of rollout steps)", breaks="replay.Replay.sample, rows of a sequence",
        caught_by=(SHORT,), replaces=((Replay, "sample", sample_half),),
    ),
    Bug(
        name="replay_too_small",
        story="The capacity is divided by the number of environments twice: of each only a share of it is drawn from.",
        symptom="What was learned long ago is forgotten: returns rise, fall and rise again.",
        innocent="Every loss, which is lower than ever: there is less to explain.",
        source="https://github.com/DLR-RM/stable-baselines3/issues/1885",
        breaks="replay.Replay.sample, where sequences begin",
        caught_by=("test_replay.py::test_every_place_in_every_stream_is_equally_likely",),
        replaces=((Replay, "_anywhere", anywhere_in_a_share),),
    ),
    Bug(
        name="reset_unflagged",
        story="The first row of an episode is flagged after a termination alone, and not after a time limit.",
        symptom="Sequences that run across a time limit teach that the world jumps there.",
        innocent="Every loss, since time limits are rare.",
        source=f"{DREAMER_V3}87", breaks="replay.Replay.add, is_first of row t",
        caught_by=(BATCHES,), replaces=((Replay, "add", storing(unflagged_after_a_time_limit)),),
    ),
    Bug(
        name="observations_repeated",
        story="In every third step of an episode the environment returns the observation before once more.",
        symptom="The agent is blind in every third step; a model with memory learns to do without.",
        innocent="The decoder's loss: what was seen before is easily drawn.",
        source=f"{RLMUTATION} (Repeat)", breaks="envs.SeededEpisodes.step, o_t",
        caught_by=(BY_HAND,),
        replaces=((SeededEpisodes, "step", step_that_repeats), (SeededEpisodes, "reset", reset_and_see)),
        keeps=(SEEN,),
    ),
    Bug(
        name="episodes_all_the_same",
        story="While experience is collected, every episode of an environment begins in the same state.",
        symptom="The agent masters one beginning; in an evaluation it meets others for the first time.",
        innocent="Every loss, which is lower than ever.",
        source="https://github.com/openai/gym/pull/194",
        breaks="envs.SeededEpisodes.reset, seed of an episode",
        caught_by=(
            "test_envs.py::test_every_episode_of_every_stream_is_another_one",
            "test_envs.py::test_training_evaluation_and_dreams_never_meet_the_same_episode",
        ),
        replaces=((SeededEpisodes, "reset", reset_to_the_first),),
    ),
    Bug(
        name="acts_on_the_first_observation",
        story="The variable that holds the observation is not renewed after a step, but only at a reset.",
        symptom="The agent acts as if nothing had happened; what it does makes no difference to what it does next.",
        innocent="Every loss: no loss looks at acting.",
        source=f"{RLMUTATION} (Missing State Update)", breaks="agent.Agent.policy, o_t",
        caught_by=("test_axes.py::test_acting_infers_the_states_that_learning_infers",),
        replaces=((Agent, "policy", policy_of_the_first_observation),), keeps=(FIRST_SEEN,),
    ),
)  # fmt: skip
