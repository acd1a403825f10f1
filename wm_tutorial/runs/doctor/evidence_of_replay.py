"""What a doctor can know of a replay: what it holds, what it hands out, and how straight its world is."""

from dataclasses import dataclass

import numpy as np

from wm_tutorial.data import Array
from wm_tutorial.replay import Replay

SEQUENCES = 64  # drawn for each question about replay and model
LENGTH = 16  # rows of those that may cross from one episode into the next
LINE_LEAST, LINE_MOST = 200, 20_000  # rows that a straight line is fitted to


@dataclass(frozen=True)
class Handed:
    """Sequences that the replay hands out to learn from.

    length   their rows
    torn     share of their rows that are not those which stand at their place, each after the one before it
    reach    from the oldest to the newest of these rows, as a share of those held
    """

    length: int
    torn: float
    reach: float


@dataclass(frozen=True)
class Stored:
    """What the replay of a run holds.

    rows      rows ever added, over all streams
    held      rows held now
    streams   environments they come from
    episodes  of every whole episode held: its steps, the sum of its rewards, and whether its end is a termination
    starts    how many different observations those episodes begin with
    rewards   the lowest and the highest reward
    repeated  share of rows whose observation is exactly that of the row before; None unless observations are vectors
    renewed   share of those episodes whose last observation is exactly the one that the next begins with
    bent      error of a straight line through the rows, which predicts each from two before it and their actions, in
              deviations; None unless observations are vectors
    paying    share of rows, first ones left out, whose reward is not 0
    handed    what it hands out to learn from; None if it holds no sequence of that length
    """

    rows: int
    held: int
    streams: int
    episodes: tuple[tuple[int, float, bool], ...]
    starts: int
    rewards: tuple[float, float]
    repeated: float | None
    renewed: float
    bent: float | None
    paying: float
    handed: Handed | None


def stored(replay: Replay, vectors: bool, length: int) -> Stored:
    """Look through a replay that holds at least one row, and is asked for sequences of `length`.

    vectors: whether observations are some, which hardly ever come twice.
    """
    order = held_rows(replay) % replay.length
    columns = {name: replay.columns[name][:, order] for name in ("is_first", "is_last", "is_terminal", "reward")}
    episodes, begun, renewed = [], [], []
    for stream in range(replay.streams):
        first, last = (np.flatnonzero(columns[name][stream]) for name in ("is_first", "is_last"))
        obs = replay.columns["obs"][stream]
        for end, before in zip(last, np.searchsorted(first, last, side="right") - 1, strict=True):
            if before >= 0:  # or the beginning of this one is no longer held
                start = first[before]
                total = float(columns["reward"][stream, start + 1 : end + 1].sum(dtype=np.float64))
                episodes.append((int(end - start), total, bool(columns["is_terminal"][stream, end])))
                begun.append(obs[order[start]].tobytes())
                if end + 1 < len(order):  # or the next has not begun
                    renewed.append(np.array_equal(obs[order[end]], obs[order[end + 1]]))
    repeated, line = None, None
    if vectors and len(order) > 1:
        obs = replay.columns["obs"][:, order]
        same = (obs[:, 1:] == obs[:, :-1]).all(-1) & ~columns["is_first"][:, 1:]
        repeated = float(same.mean())
        line = line_through(replay)
    reward = columns["reward"][~columns["is_first"]]
    low, high = (float(reward.min()), float(reward.max())) if reward.size else (0.0, 0.0)
    return Stored(
        rows=replay.added * replay.streams,
        held=len(replay),
        streams=replay.streams,
        episodes=tuple(episodes),
        starts=len(set(begun)),
        rewards=(low, high),
        repeated=repeated,
        renewed=float(np.mean(renewed)) if renewed else 0.0,
        bent=None if line is None else line[1],
        paying=paying_rows(columns["reward"], columns["is_first"]),
        handed=handed(replay, length) if len(order) > length else None,
    )


def handed(replay: Replay, length: int) -> Handed:
    """Ask a replay for SEQUENCES of `length` rows, and compare them with what it holds."""
    batch, place = replay.sample(SEQUENCES, length, np.random.default_rng(0))
    number, held = place.number, held_rows(replay)
    rows = replay.sequences(place.stream, number[:, 0] - 1, number.shape[1], "cpu")[0]
    there = (number >= held[0]) & (number <= held[-1])
    same = (batch.obs.cpu() == rows.obs).flatten(2).all(-1).numpy() if batch.obs.shape == rows.obs.shape else False
    follows = np.diff(number, axis=1, prepend=number[:, :1] - 1) == 1
    return Handed(
        length=batch.obs.shape[1],
        torn=float(np.mean(~(there & same & follows))),
        reach=float((number.max() - number.min() + 1) / len(held)),
    )


def paying_rows(reward: Array, is_first: Array) -> float:
    """Share of rows, first ones left out, whose reward is not 0."""
    return 0.0 if is_first.all() else float(np.mean(reward[~is_first] != 0.0))


def held_rows(replay: Replay) -> Array:
    """The numbers of all rows held, oldest first."""
    return np.arange(replay.added - min(replay.added, replay.length), replay.added)


def line_through(replay: Replay) -> tuple[Array, float] | None:
    """The straight line through all rows held, which observe vectors; as `straight_line`."""
    order = held_rows(replay) % replay.length
    obs, action, is_first = (replay.columns[name][:, order] for name in ("obs", "action", "is_first"))
    return straight_line(obs, action, is_first)


def straight_line(obs: Array, action: Array, is_first: Array) -> tuple[Array, float] | None:
    """Rows by least squares from two before them, their actions and 1; None of hardly any rows.

    Args:
        obs, action, is_first: of N streams of T rows: (N, T, D), (N, T, A) and (N, T).

    Returns:
        The line (2 D + 2 A + 1, D), and how far it is from these rows, in their deviations.
    """
    obs, action, is_first = (column[:, -LINE_MOST // len(column) :] for column in (obs, action, is_first))
    within = ~(is_first[:, 1:-1] | is_first[:, 2:])  # this row and the one before belong to one episode
    if within.sum() < LINE_LEAST:
        return None
    now, *known = (
        column[within].astype(np.float64)
        for column in (obs[:, 2:], obs[:, 1:-1], obs[:, :-2], action[:, 1:-1], action[:, :-2])
    )
    told = np.concatenate([*known, np.ones((len(now), 1))], axis=1)
    line: Array = np.linalg.lstsq(told, now, rcond=None)[0]
    spread, squares = now.var(0), np.square(now - told @ line).mean(0)
    varies = spread > 1e-12
    return line, float(np.sqrt(np.mean(squares[varies] / spread[varies]))) if varies.any() else 0.0
