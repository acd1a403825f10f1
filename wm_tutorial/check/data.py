"""The alignment of a sequence, and sequences drawn from a replay."""

import numpy as np
import torch
from torch import Tensor

from wm_tutorial.check.diagnosis import examine
from wm_tutorial.data import Array
from wm_tutorial.mistakes.inputs import uniform
from wm_tutorial.mistakes.part import Answer, Arguments, Call, Function, Mistake, Part, Unusable

# Alignment ------------------------------------------------------------------------------------------------------------

Columns = dict[str, Tensor]


def right_alignment(
    obs: Tensor, action: Tensor, reward: Tensor, next_obs: Tensor, terminated: Tensor, truncated: Tensor
) -> Columns:
    """N transitions as rows of the index convention: one more row than transitions for every episode."""
    rows: list[dict[str, Tensor]] = []
    no, yes = torch.tensor(False), torch.tensor(True)
    nothing = {"action": torch.zeros_like(action[0]), "previous_action": torch.zeros_like(action[0])}
    for n in range(len(obs)):
        if n == 0 or terminated[n - 1] or truncated[n - 1]:
            unpaid = torch.zeros_like(reward[0])
            rows.append(nothing | {"obs": obs[n], "reward": unpaid, "is_first": yes, "is_last": no, "is_terminal": no})
        rows[-1]["action"] = action[n]
        rows.append(nothing | {
            "obs": next_obs[n], "previous_action": action[n], "reward": reward[n], "is_first": no,
            "is_last": terminated[n] | truncated[n], "is_terminal": terminated[n],
        })  # fmt: skip
    return {name: torch.stack([row[name] for row in rows]) for name in COLUMNS}


COLUMNS = ("obs", "action", "previous_action", "reward", "is_first", "is_last", "is_terminal")


def _edited(edit: Function) -> Function:
    """The right rows, of which something is written down wrongly."""

    def alignment(*transitions: Tensor) -> Columns:
        rows = right_alignment(*transitions)
        edited: Columns = edit(rows)
        return rows | edited

    return alignment


def _later(x: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(x[:1]), x[:-1]])


def _sooner(x: Tensor) -> Tensor:
    return torch.cat([x[1:], torch.zeros_like(x[:1])])


def _moved(move: Function, *names: str) -> Function:
    return _edited(lambda rows: {name: move(rows[name]) for name in names})


def _per_transition(
    obs: Tensor, action: Tensor, reward: Tensor, next_obs: Tensor, terminated: Tensor, truncated: Tensor
) -> Columns:
    """A row for each transition, as a table of (observation, action, reward, done)."""
    ended = terminated | truncated
    first = torch.cat([torch.ones_like(ended[:1]), ended[:-1]])
    return {
        "obs": obs, "action": action, "previous_action": _later(action).masked_fill(first[:, None], 0),
        "reward": reward, "is_first": first, "is_last": ended, "is_terminal": terminated,
    }  # fmt: skip


def _rewards_arriving(*transitions: Tensor) -> Columns:
    rows = _per_transition(*transitions)
    return rows | {"reward": _later(rows["reward"]).masked_fill(rows["is_first"], 0)}


def _previous_of_other_episode(rows: Columns) -> Columns:
    taken = _later(_later(rows["action"]))  # the row before a first one has no action; the one before that has
    first = rows["is_first"][:, None]
    return {"previous_action": torch.where(first, taken, rows["previous_action"])}


def _without_last_rows(*transitions: Tensor) -> Columns:
    rows = right_alignment(*transitions)
    return {name: column[~rows["is_last"]] for name, column in rows.items()}


def _next_reset_for_last(rows: Columns) -> Columns:
    last = rows["is_last"][:, None]
    return {"obs": torch.where(last, torch.cat([rows["obs"][1:], rows["obs"][-1:]]), rows["obs"])}


def _episodes(seed: int, dtype: torch.dtype, *ends: str) -> Arguments:
    """Transitions, one for each letter: t terminated, l time limit, b both, . neither."""
    letters = "".join(ends)
    count = len(letters)
    flags = {name: torch.tensor([letter in kind for letter in letters]) for name, kind in ENDS.items()}
    obs = uniform(seed, 2 * count, 2, dtype=dtype)
    ended = flags["terminated"] | flags["truncated"]
    after = obs[count:]
    before = torch.where(torch.cat([torch.ones_like(ended[:1]), ended[:-1]])[:, None], obs[:count], after.roll(1, 0))
    return {
        "obs": before,
        "action": uniform(seed + 1, count, 3, dtype=dtype, low=0.1),
        "reward": uniform(seed + 2, count, dtype=dtype),
        "next_obs": after,
        **flags,
    }


ENDS = {"terminated": "tb", "truncated": "lb"}

ALIGNMENT = Part(
    name="alignment",
    right=right_alignment,
    container=dict,
    returns=COLUMNS,
    cases=(
        {
            "obs": torch.tensor([[1.0], [2.0], [5.0], [6.0], [7.0]]),
            "action": torch.tensor([[0.1], [0.2], [0.5], [0.6], [0.7]]),
            "reward": torch.tensor([10.0, 20.0, 50.0, 60.0, 70.0]),
            "next_obs": torch.tensor([[2.0], [3.0], [6.0], [7.0], [8.0]]),
            "terminated": torch.tensor([False, True, False, False, False]),
            "truncated": torch.tensor([False, False, False, False, True]),
        },
        _episodes(0, torch.float32, "..l", "t", "...b", ".."),
        _episodes(10, torch.float64, "t", "l", ".t", "....l", "."),
    ),
    mistakes={
        "reward_departing": Mistake(
            "every reward stands one row early, in the row its action was chosen in.",
            "(observation, action, reward) is how transitions are often stored; here a row holds what arrives "
            "together, so the reward for a_t is in row t + 1.",
            (_moved(_sooner, "reward"), _moved(_sooner, "reward", "is_terminal"),
             _moved(_sooner, "reward", "is_terminal", "is_last")),
        ),
        "reward_late": Mistake(
            "every reward stands one row late; that of an end lands in the next episode.",
            "the reward is shifted although it already arrives with its observation.",
            (_moved(_later, "reward"), _edited(lambda rows: {
                "reward": _later(rows["reward"]).masked_fill(rows["is_first"], 0)})),
        ),
        "continue_early": Mistake(
            "the end is flagged one row early, where the last action was chosen.",
            "`done` comes back from the step with that action, and is stored beside it.",
            (_moved(_sooner, "is_terminal"), _moved(_sooner, "is_terminal", "is_last")),
        ),
        "continue_late": Mistake(
            "the end is flagged one row late, in the first row of the next episode.",
            "the flag is stored with the reset that follows it.",
            (_moved(_later, "is_terminal"), _moved(_later, "is_terminal", "is_last")),
        ),
        "time_limit_is_death": Mistake(
            "a time limit is stored as a termination, so a future that was only cut off counts as worthless.",
            "one variable `done` is used for both; only `terminated` means that nothing more can be earned.",
            (_edited(lambda rows: {"is_terminal": rows["is_last"]}),),
        ),
        "time_limit_not_last": Mistake(
            "a time limit is not marked as the last row of its episode.",
            "only `terminated` was looked at; `truncated` ends the sequence too.",
            (_edited(lambda rows: {"is_last": rows["is_terminal"]}),),
        ),
        "termination_lost": Mistake(
            "no row is terminal: that an episode ended is written down, that nothing more can be earned is not.",
            "one flag is enough to cut sequences apart; what `terminated` says beyond that only returns need.",
            (_edited(lambda rows: {"is_terminal": torch.zeros_like(rows["is_terminal"])}),),
        ),
        "last_row_dropped": Mistake(
            "the last observation of each episode is dropped, so no row shows what an end looks like.",
            "one row per transition is stored; an episode of n transitions has n + 1 observations.",
            (_per_transition, _rewards_arriving, _without_last_rows),
        ),
        "terminal_observation_dropped": Mistake(
            "the last row of an episode holds the first observation of the next one.",
            "environments that reset themselves return the new observation and put the last one elsewhere.",
            (_edited(_next_reset_for_last),),
        ),
        "action_not_reset": Mistake(
            "the first row of an episode has the last action of the episode before as its previous action.",
            "the column is shifted by one as a whole; an episode begins with no action behind it.",
            (_edited(_previous_of_other_episode),),
        ),
        "action_departing": Mistake(
            "previous_action is the action chosen in this row; it must be the one that led to it.",
            "the two columns hold the same numbers, one row apart.",
            (_edited(lambda rows: {"previous_action": rows["action"]}),),
        ),
        "action_late": Mistake(
            "the actions stand one row late: `action` is the one that led to the row, or `previous_action` the one "
            "before that.",
            "the action is stored together with what it brought about, or a column is shifted that already was.",
            (_edited(lambda rows: {"action": rows["previous_action"]}),
             _edited(lambda rows: {"previous_action": _later(rows["previous_action"])})),
        ),
        "first_missing": Mistake(
            "only the first row of all is marked as first: later episodes go on from the one before.",
            "the flag is set at the first reset, and environments that reset themselves do it unseen.",
            (_edited(lambda rows: {"is_first": torch.arange(len(rows["reward"])) == 0}),),
        ),
        "first_early": Mistake(
            "the last row of an episode is marked as first, in place of the row after it.",
            "`done` is stored in the row it arrives with, and taken for the flag of a new beginning.",
            (_moved(_sooner, "is_first"), _edited(lambda rows: {
                "is_first": _sooner(rows["is_first"]) | (torch.arange(len(rows["reward"])) == 0)}),
             _edited(lambda rows: {"is_first": rows["is_last"]})),
        ),
        "first_late": Mistake(
            "the first row is marked one row late.",
            "the flag is taken from `done` of the step before, which is already that of the row.",
            (_moved(_later, "is_first"), _edited(lambda rows: {
                "is_first": _later(rows["is_first"]) | (torch.arange(len(rows["reward"])) == 0)})),
        ),
    },
)  # fmt: skip


def alignment(function: Function) -> bool:
    """Check `alignment(obs, action, reward, next_obs, terminated, truncated)`: transitions -> rows of the convention.

    obs         (N, O) what the agent saw
    action      (N, A) what it did then
    reward      (N,)   what it got for that
    next_obs    (N, O) what it saw next
    terminated  (N,) bool, nothing more can be earned
    truncated   (N,) bool, a time limit cut the episode off
    ->          a dict of R rows: "obs" (R, O), "action" (R, A), "previous_action" (R, A), "reward" (R,), and bool (R,)
                "is_first", "is_last", "is_terminal"

    The transitions are several episodes, one after another; another one begins after each that is terminated or
    truncated, and the last one may be unfinished. An episode of n transitions has n + 1 rows. Where there is no action
    (before the first row, after the last one) both action columns hold zeros; the first row has reward 0.

    check.alignment(my_alignment)
    """
    return examine(ALIGNMENT, function)


# Replay ---------------------------------------------------------------------------------------------------------------

DRAWS = 4000


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
    begins = torch.arange(oldest, added)
    return {
        "the positions": torch.zeros_like(positions),
        "the share of positions that hold no row": outside.double().mean(),
        "the share of sequences whose rows do not follow one another": broken.double().mean(),
        "the share of sequences that begin at each row held, oldest first,": (number[:, :1] == begins).double().mean(0),
        "(1 for yes) that any position holds no row": outside.any().double(),
        "(1 for yes) that the rows of any sequence do not follow one another": broken.any().double(),
    }


def _expected_shares(arguments: Arguments) -> Answer:
    capacity, added, length = len(arguments["is_first"]), arguments["added"], arguments["length"]
    begins = torch.arange(max(0, added - capacity), added) <= added - length
    return {
        "the positions": torch.zeros(DRAWS, length, dtype=torch.int64),
        "the share of positions that hold no row": torch.zeros((), dtype=torch.float64),
        "the share of sequences whose rows do not follow one another": torch.zeros((), dtype=torch.float64),
        "the share of sequences that begin at each row held, oldest first,": begins.double() / begins.sum(),
        "(1 for yes) that any position holds no row": torch.zeros((), dtype=torch.float64),
        "(1 for yes) that the rows of any sequence do not follow one another": torch.zeros((), dtype=torch.float64),
    }


def _from_all_positions(is_first: Array, added: int, batch: int, length: int, rng: np.random.Generator) -> Array:
    """Any place in the ring, going on beyond its newest row."""
    capacity = len(is_first)
    return _positions(rng.integers(min(added, capacity), size=batch), length, capacity)


def _anywhere_once_full(is_first: Array, added: int, batch: int, length: int, rng: np.random.Generator) -> Array:
    """Right until the ring is full; then any place in it."""
    full = added > len(is_first)
    first = (
        rng.integers(added - len(is_first), added, size=batch) if full else rng.integers(added - length + 1, size=batch)
    )
    return _positions(first, length, len(is_first))


def _seam_at_the_array_end(is_first: Array, added: int, batch: int, length: int, rng: np.random.Generator) -> Array:
    """Sequences never run over the end of the array, which is not where the seam is."""
    capacity = len(is_first)
    return _positions(rng.integers(min(added, capacity) - length + 1, size=batch), length, capacity)


def _seam_at_the_array_end_without_last(
    is_first: Array, added: int, batch: int, length: int, rng: np.random.Generator
) -> Array:
    capacity = len(is_first)
    return _positions(rng.integers(min(added, capacity) - length, size=batch), length, capacity)


def _from(low: int, high: int) -> Function:
    """The range of starts is moved at its ends."""

    def replay_sample(is_first: Array, added: int, batch: int, length: int, rng: np.random.Generator) -> Array:
        capacity = len(is_first)
        oldest = max(0, added - capacity)
        return _positions(rng.integers(oldest + low, added - length + 1 + high, size=batch), length, capacity)

    return replay_sample


def _unfilled(is_first: Array, added: int, batch: int, length: int, rng: np.random.Generator) -> Array:
    """As if the ring were full."""
    capacity = len(is_first)
    first = rng.integers(added - capacity, added - length + 1, size=batch)
    return _positions(first, length, capacity)


def _unwrapped(is_first: Array, added: int, batch: int, length: int, rng: np.random.Generator) -> Array:
    """Row numbers in place of positions."""
    first = rng.integers(max(0, added - len(is_first)), added - length + 1, size=batch)
    numbers: Array = first[:, None] + np.arange(length)
    return numbers


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
    for number in firsts:
        is_first[number % capacity] = True
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
        "ring_seam": Mistake(
            "sequences run over the seam of the ring, where the newest row lies beside the oldest.",
            "the seam moves with every row that is added; it is not at the end of the array.",
            (_seam_at_the_array_end, _from_all_positions, _anywhere_once_full, _from(0, 1),
             _seam_at_the_array_end_without_last),
        ),
        "last_start_missing": Mistake(
            "the last possible start is never drawn, so the newest row is never learned from.",
            "the upper end of rng.integers is left out already; another -1 leaves out one more.",
            (_from(0, -1),),
        ),
        "first_start_missing": Mistake(
            "the oldest row is never drawn as a start.",
            "a row is kept back in front of the sequence that nobody asked for.",
            (_from(1, 0),),
        ),
        "rows_never_added": Mistake(
            "rows are drawn that were never added: the ring is not full yet.",
            "the capacity is used where the number of rows held belongs.",
            (_unfilled, lambda is_first, added, batch, length, rng: _from_all_positions(
                is_first, max(added, len(is_first)), batch, length, rng)),
        ),
        "ring_not_wrapped": Mistake(
            "positions lie beyond the end of the array: row n is at position n % capacity.",
            "row numbers and positions are the same until the ring is full for the first time.",
            (_unwrapped,),
        ),
        "whole_episode_bias": Mistake(
            "starts are not equally likely: where episodes begin and end decides.",
            "sequences are thought to belong to one episode; here they may run from one into the next, since is_first "
            "tells the model where to forget.",
            (_among(lambda first: not first[1:].any()), _among(lambda first: first[0]), _episodes_first,
             _among(lambda first: not first.any())),
        ),
    },
)  # fmt: skip


def replay_sample(function: Function) -> bool:
    """Check `replay_sample(is_first, added, batch, length, rng)`: sequences out of a ring of rows.

    is_first  (capacity,) bool array, a column of the ring: where episodes begin
    added     rows ever added, counted from 0; row n lies at position n % capacity, and only the newest are still held
    batch     B, sequences to draw
    length    T, rows in each
    rng       numpy.random.Generator
    ->        (B, T) array of whole numbers: the positions of T rows that follow one another, every start equally likely

    A sequence may run from one episode into the next, but not over the seam, where the newest row lies beside the
    oldest. Draws are random, so their shares are compared.

    check.replay_sample(my_replay_sample)
    """
    return examine(REPLAY_SAMPLE, function)
