"""Every row carries a number of its own, so that whatever comes back can be traced to the row it was."""

import math
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import IMAGES, STANDARD_ERRORS, VECTORS
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from torch import Tensor

from wm_tutorial.chunks import opened, write_rows
from wm_tutorial.data import Array, Batch, Place, Row, Spaces, State
from wm_tutorial.errors import CheckpointError, InputError
from wm_tutorial.replay import Replay

MEMORY, LATENT = 2, 3


def replay_of(capacity: int, streams: int, spaces: Spaces = VECTORS) -> Replay:
    return Replay(capacity, streams, spaces, MEMORY, LATENT)


def row_id(stream: Any, number: Any, streams: int) -> Any:
    """A number that no other row has."""
    return 1 + number * streams + stream


def numbered(ids: Array, flags: Array) -> tuple[Row, Array, State]:
    """Row, action and state of every stream, all of which can be told from `ids` (N,); flags (3, N)."""
    x = ids.astype(np.float32)
    row = Row(np.stack([x, -x, x / 2], 1), x + 0.25, *flags)
    state = State(torch.from_numpy(np.stack([x, -x], 1)), torch.from_numpy(np.stack([x, 2 * x, -x], 1)))
    return row, np.stack([x, -x], 1), state


def fill(replay: Replay, rows: int, flags: Array | None = None) -> None:
    """Add `rows` numbered rows; flags (rows, 3, N) of is_first, is_last, is_terminal."""
    n = replay.streams
    for number in range(replay.added, replay.added + rows):
        now = np.zeros((3, n), bool) if flags is None else flags[number]
        replay.add(*numbered(row_id(np.arange(n), number, n), now))


def assert_same(one: Batch, other: Batch) -> None:
    for field in fields(one):
        if field.name != "start":
            assert torch.equal(getattr(one, field.name), getattr(other, field.name)), field.name
    assert torch.equal(one.start.memory, other.start.memory)
    assert torch.equal(one.start.latent, other.start.latent)


# --- Anything that can happen, against a list of rows -----------------------------------------------------------------


@dataclass
class Remembered:
    """A row as the list remembers it."""

    id: int
    flags: tuple[bool, bool, bool]
    memory: list[float]
    latent: list[float]


class ReplayMachine(RuleBasedStateMachine):
    """Add, sample, write back, save and restore in any order; a plain list says what must come out."""

    @initialize(streams=st.integers(1, 3), length=st.integers(2, 7), spare=st.integers(0, 2))
    def build(self, streams: int, length: int, spare: int) -> None:
        self.capacity = streams * length + min(spare, streams - 1)  # not always divisible by the streams
        self.replay = replay_of(self.capacity, streams)
        self.streams, self.length = streams, length
        self.nbytes = self.replay.nbytes
        self.rows: list[list[Remembered]] = [[] for _ in range(streams)]
        self.written = 0.0

    @rule(data=st.data(), count=st.integers(1, 4))
    def add(self, data: st.DataObject, count: int) -> None:
        for _ in range(count):
            flags = np.array(data.draw(st.lists(st.booleans(), min_size=3 * self.streams, max_size=3 * self.streams)))
            flags = flags.reshape(3, self.streams)
            ids = row_id(np.arange(self.streams), len(self.rows[0]), self.streams)
            self.replay.add(*numbered(ids, flags))
            for s, i in enumerate(ids.tolist()):
                first, last, terminal = flags[:, s].tolist()
                if first and self.rows[s]:
                    before = self.rows[s][-1]
                    before.flags = before.flags[0], True, before.flags[2]
                self.rows[s].append(Remembered(i, (first, last, terminal), [i, -i], [i, 2 * i, -i]))

    @property
    def held(self) -> int:
        return min(len(self.rows[0]), self.length)

    @precondition(lambda self: self.rows[0])
    @rule(data=st.data(), seed=st.integers(0, 1000), batch=st.integers(1, 5))
    def sample(self, data: st.DataObject, seed: int, batch: int) -> None:
        length = data.draw(st.integers(1, self.length), "length")
        if length + 1 > self.held:
            with pytest.raises(InputError, match=f"{self.held} are there"):
                self.replay.sample(batch, length, np.random.default_rng(seed))
            return
        got, place = self.replay.sample(batch, length, np.random.default_rng(seed))
        for b in range(batch):
            self.check_sequence(got, b, place)

        states = State(torch.empty(batch, length, MEMORY), torch.empty(batch, length, LATENT))
        written: dict[tuple[int, int], float] = {}  # a row that comes twice gets the same state both times
        for b, stream in enumerate(place.stream.tolist()):
            for t, number in enumerate(place.number[b].tolist()):
                self.written -= 0.5  # below zero, so that it is the state of no row as it was added
                value = written.setdefault((stream, number), self.written)
                row = self.rows[stream][number]
                row.memory, row.latent = [value] * MEMORY, [value - 0.25] * LATENT
                states.memory[b, t], states.latent[b, t] = value, value - 0.25
        self.replay.write_back(place, states)

    def check_sequence(self, got: Batch, b: int, place: Place) -> None:
        ids = [int(x) for x in got.obs[b, :, 0].tolist()]
        stream, before = (ids[0] - 1) % self.streams, (ids[0] - 1) // self.streams - 1
        assert place.stream[b] == stream
        assert place.number[b].tolist() == list(range(before + 1, before + 1 + len(ids)))
        rows = self.rows[stream]
        assert before >= len(rows) - self.held  # the row before the sequence has not been overwritten either
        start, expected = rows[before], rows[before + 1 : before + 1 + len(ids)]
        assert ids == [row.id for row in expected]  # all of them, in order, and none that is not there yet
        assert got.obs[b].tolist() == [[i, -i, i / 2] for i in ids]
        assert got.reward[b].tolist() == [i + 0.25 for i in ids]
        assert got.action[b].tolist() == [[i, -i] for i in ids]
        assert got.previous_action[b].tolist() == [[i, -i] for i in [start.id, *ids[:-1]]]
        flags = zip(got.is_first[b].tolist(), got.is_last[b].tolist(), got.is_terminal[b].tolist(), strict=True)
        assert list(flags) == [row.flags for row in expected]
        assert got.start.memory[b].tolist() == start.memory
        assert got.start.latent[b].tolist() == start.latent

    @rule()
    def save_and_restore(self) -> None:
        restored = replay_of(self.capacity, self.streams)
        restored.load_state_dict(self.replay.state_dict())
        self.replay = restored

    @invariant()
    def size(self) -> None:
        if hasattr(self, "replay"):
            assert len(self.replay) == self.streams * self.held
            assert self.replay.nbytes == self.nbytes
            assert self.streams * self.length <= self.capacity


TestReplayMachine = ReplayMachine.TestCase
# Without the search for an explanation, which takes minutes, a failure is reported in seconds.
TestReplayMachine.settings = settings(
    stateful_step_count=25, phases=[phase for phase in settings().phases if phase is not Phase.explain]
)


# --- Which sequences come out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "capacity", "length"), [(9, 100, 3), (23, 20, 3), (10, 20, 9), (5, 8, 1)])
def test_every_place_in_every_stream_is_equally_likely(rows: int, capacity: int, length: int) -> None:
    streams = 2
    replay = replay_of(capacity, streams)
    fill(replay, rows)
    count = 20_000
    _, place = replay.sample(count, length, np.random.default_rng(0))
    observed = Counter(zip(place.stream.tolist(), place.number[:, 0].tolist(), strict=True))
    held = min(rows, capacity // streams)
    starts = range(rows - held + 1, rows - length + 1)  # one row is kept for the state before, and the last row is used
    assert set(observed) == {(stream, start) for stream in range(streams) for start in starts}
    expected = count / len(observed)
    chi_square = sum((n - expected) ** 2 / expected for n in observed.values())
    freedom = len(observed) - 1  # a chi-square has mean f and variance 2 f
    assert chi_square < freedom + STANDARD_ERRORS * math.sqrt(2 * freedom)
    singles = {int(replay.sample(1, length, np.random.default_rng(seed))[1].stream[0]) for seed in range(20)}
    assert singles == set(range(streams))  # also where one sequence is asked for
    # Stream and place are drawn independently, and the sequences of a batch independently of each other.
    neighbours = np.corrcoef(place.number[:-1, 0], place.number[1:, 0])[0, 1] if len(starts) > 1 else 0.0
    assert abs(neighbours) < STANDARD_ERRORS / math.sqrt(count)


def test_sequences_run_through_short_episodes() -> None:
    """Episodes of 1, 2, 1 and 3 rows after each other: flags arrive as they are, and so do actions across borders."""
    first = [True, True, False, True, True, False, False]
    last = [True, False, True, True, False, False, True]
    terminal = [True, False, False, True, False, False, True]
    replay = replay_of(8, 1)
    fill(replay, 7, np.array([first, last, terminal]).T[:, :, None])
    batch, _ = replay.sample(1, 6, np.random.default_rng(0))  # one place only: rows 1 .. 6
    assert batch.is_first[0].tolist() == first[1:]
    assert batch.is_last[0].tolist() == last[1:]
    assert batch.is_terminal[0].tolist() == terminal[1:]
    assert batch.previous_action[0, :, 0].tolist() == [1, 2, 3, 4, 5, 6]  # of the row before, whatever ended there
    assert batch.start.memory.tolist() == [[1, -1]]


def test_an_episode_that_broke_off_is_over_and_not_dead() -> None:
    """One stream begins anew in row 2 though nothing ended in row 1, the other goes on; the ring has been full once."""
    replay = replay_of(6, 2)
    flags = np.zeros((5, 3, 2), bool)
    flags[2, 0, 0] = flags[4, 0, 1] = True
    fill(replay, 5, flags)
    for stream, broken in ((0, False), (1, True)):
        batch = replay.sequences(np.array([stream]), np.array([2]), 2, "cpu")[0]
        assert batch.is_last[0].tolist() == [broken, False]
        assert not batch.is_terminal.any()
    fill(fresh := replay_of(6, 2), 3, flags)
    batch = fresh.sequences(np.array([0, 1]), np.array([0, 0]), 2, "cpu")[0]
    assert batch.is_last.tolist() == [[True, False], [False, False]] and not batch.is_terminal.any()


def test_the_same_generator_gives_the_same_sequences_and_another_gives_others() -> None:
    replay = replay_of(100, 2)
    fill(replay, 50)
    one, other, third = (replay.sample(8, 5, np.random.default_rng(seed))[0] for seed in (3, 3, 4))
    assert_same(one, other)
    assert not torch.equal(one.obs, third.obs)


def test_the_seam_of_the_ring_is_never_crossed() -> None:
    replay = replay_of(5, 1)
    for added in range(1, 18):
        fill(replay, 1)
        if added < 4:
            continue
        ids = replay.sample(200, 3, np.random.default_rng(added))[0].obs[:, :, 0]
        assert (ids.diff(dim=1) == 1).all()
        assert ids.max() == added  # the newest row is used at once
        assert ids.min() == max(1, added - 5 + 1) + 1  # and the oldest serves as the row before


def fresh(replay: Replay, batch: int, length: int, seed: int = 0) -> list[tuple[int, int]]:
    """Stream and first row of each sequence of a batch that begins with fresh ones."""
    _, place = replay.sample(batch, length, np.random.default_rng(seed), fresh_first=True)
    return list(zip(place.stream.tolist(), place.number[:, 0].tolist(), strict=True))


def test_fresh_sequences_come_once_oldest_first_and_the_rest_is_drawn_from_everywhere() -> None:
    replay = replay_of(40, 2)
    fill(replay, 11)  # of each stream three pieces of three rows: one row to start from, and a sequence of two
    assert fresh(replay, 4, 2) == [(0, 1), (1, 1), (0, 4), (1, 4)]
    assert fresh(replay, 4, 2)[:2] == [(0, 7), (1, 7)]  # and two that were drawn
    drawn = [place for seed in range(20) for place in fresh(replay, 4, 2, seed)]
    assert len(set(drawn)) > 12  # nothing is fresh any more
    fill(replay, 1)
    assert fresh(replay, 1, 2) == [(0, 10)]
    assert fresh(replay, 1, 2) == [(1, 10)]


def test_fresh_sequences_that_were_overwritten_are_skipped() -> None:
    replay = replay_of(20, 2)
    fill(replay, 13)  # rows 3 to 12 are held; the piece of rows 0 to 2 is gone, that of rows 3 to 5 is whole
    assert fresh(replay, 3, 2) == [(0, 4), (1, 4), (0, 7)]
    fill(replay, 8)  # rows 11 to 20: of what was not served the first whole piece is that of rows 12 to 14
    assert fresh(replay, 3, 2) == [(0, 13), (1, 13), (0, 16)]


def test_what_was_fresh_stays_served_after_a_restore() -> None:
    replay, restored = replay_of(40, 2), replay_of(40, 2)
    fill(replay, 12)
    assert fresh(replay, 3, 2) == [(0, 1), (1, 1), (0, 4)]
    restored.load_state_dict(replay.state_dict())
    assert fresh(restored, 2, 2) == [(1, 4), (0, 7)]


def test_samples_are_copies() -> None:
    replay = replay_of(6, 1)
    fill(replay, 6)
    batch, _ = replay.sample(1, 5, np.random.default_rng(0))
    before = batch.obs.clone()
    batch.obs.add_(100)
    assert torch.equal(replay.sample(1, 5, np.random.default_rng(0))[0].obs, before)
    fill(replay, 6)
    assert torch.equal(batch.obs, before + 100)


def test_rows_of_a_batch_keep_their_start() -> None:
    replay = replay_of(20, 2)
    fill(replay, 10)
    batch, _ = replay.sample(3, 6, np.random.default_rng(0))
    cut = batch.rows(0, 2)  # fewer than there are numbers in a state
    assert torch.equal(cut.start.latent, batch.start.latent)
    for field in fields(batch):
        if field.name != "start":
            assert torch.equal(getattr(cut, field.name), getattr(batch, field.name)[:, :2])


# --- Fresh sequences first --------------------------------------------------------------------------------------------


@given(
    streams=st.integers(1, 3),
    length=st.integers(1, 4),
    spare=st.integers(0, 8),
    events=st.lists(st.tuples(st.integers(0, 7), st.integers(1, 4), st.booleans()), max_size=12),
)
def test_each_whole_piece_is_handed_out_once_in_order_and_before_any_other(
    streams: int, length: int, spare: int, events: list[tuple[int, int, bool]]
) -> None:
    """Events: rows added, then a batch of so many sequences, then perhaps a stop in between.

    A piece is `length` rows and the one before; a stream is cut into pieces from its first row on. What the ring has
    overwritten before anyone asked for it is lost.
    """
    rows = length + 1
    capacity = streams * (rows + spare)
    replay, handed = replay_of(capacity, streams), set()
    for added, batch, stop in events:
        fill(replay, added)
        oldest = replay.added - len(replay) // streams
        if replay.added - oldest < rows:
            continue
        whole = [(p, s) for p in range(replay.added // rows) for s in range(streams) if p * rows >= oldest]
        expected = [piece for piece in whole if piece not in handed][:batch]
        got, place = replay.sample(batch, length, np.random.default_rng(added), fresh_first=True)
        handed.update(expected)
        first = list(zip(place.number[:, 0].tolist(), place.stream.tolist(), strict=True))
        assert first[: len(expected)] == [(piece * rows + 1, stream) for piece, stream in expected]
        ids = row_id(place.stream[:, None], place.number, streams)
        np.testing.assert_array_equal(got.obs[:, :, 0].numpy(), ids)  # no row has been overwritten
        np.testing.assert_array_equal(got.start.memory[:, 0].numpy(), ids[:, 0] - streams)
        uniform, anywhere = replay.sample(batch, length, np.random.default_rng(added))
        assert torch.equal(got.obs[len(expected) :], uniform.obs[len(expected) :])  # the others are as they would be
        np.testing.assert_array_equal(place.number[len(expected) :], anywhere.number[len(expected) :])
        if stop:
            state, replay = replay.state_dict(), replay_of(capacity, streams)
            replay.load_state_dict(state)


def test_sequences_that_no_one_asked_for_first_stay_fresh() -> None:
    replay = replay_of(20, 1)
    fill(replay, 9)
    for seed in range(5):
        replay.sample(4, 2, np.random.default_rng(seed))
    _, place = replay.sample(4, 2, np.random.default_rng(0), fresh_first=True)
    assert place.number[:3].tolist() == [[1, 2], [4, 5], [7, 8]]


# --- What it costs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spaces", "obs_bytes"), [(VECTORS, 3 * 4), (IMAGES, 8 * 9 * 2)])
def test_memory_is_what_the_rows_need_and_does_not_grow(spaces: Spaces, obs_bytes: int) -> None:
    replay = replay_of(7, 2, spaces)  # three rows of each stream; the seventh has no place
    row = obs_bytes + spaces.action_size * 4 + 4 + 3 + MEMORY * 4 + LATENT * 4
    assert replay.nbytes == 2 * 3 * row
    flags = np.zeros((3, 2), bool)
    for number in range(10):
        numbered_row, action, state = numbered(np.array([number, number]), flags)
        obs = np.full((2, *spaces.obs_shape), number, spaces.obs_dtype)
        replay.add(Row(obs, numbered_row.reward, *flags), action, state)
    assert replay.nbytes == 2 * 3 * row == sum(column.nbytes for column in replay.columns.values())
    assert len(replay) == 6


def test_images_stay_bytes() -> None:
    replay = replay_of(4, 1, IMAGES)
    flags = np.zeros((3, 1), bool)
    images = np.random.default_rng(0).integers(0, 256, (4, 1, *IMAGES.obs_shape), dtype=np.uint8)
    for number, image in enumerate(images):
        row, action, state = numbered(np.array([number]), flags)
        replay.add(Row(image, row.reward, *flags), action, state)
    batch, _ = replay.sample(1, 3, np.random.default_rng(0))
    assert batch.obs.dtype == torch.uint8
    np.testing.assert_array_equal(batch.obs[0].numpy(), images[1:, 0])
    assert {ring.dtype for ring in replay.state_dict()["obs"]} == {torch.uint8}


def test_of_states_with_a_gradient_the_numbers_are_kept() -> None:
    replay = replay_of(4, 1)
    for number in range(2):
        row, action, state = numbered(np.array([5 + number]), np.zeros((3, 1), bool))
        replay.add(row, action, State(state.memory.requires_grad_(), state.latent.requires_grad_()))
    start = replay.sample(1, 1, np.random.default_rng(0))[0].start
    assert start.memory.tolist() == [[5, -5]] and start.latent.tolist() == [[5, 10, -5]]
    assert not start.memory.requires_grad and not start.latent.requires_grad


def test_a_batch_comes_on_the_device_that_was_asked_for() -> None:
    replay = replay_of(4, 1)
    fill(replay, 3)
    for device in ("cpu", "meta"):
        batch, _ = replay.sample(1, 2, np.random.default_rng(0), device=device)
        parts = [getattr(batch, field.name) for field in fields(batch) if field.name != "start"]
        assert {x.device.type for x in (*parts, batch.start.memory, batch.start.latent)} == {device}


def test_each_number_keeps_its_type() -> None:
    replay = replay_of(4, 1)
    fill(replay, 3)
    batch, _ = replay.sample(1, 2, np.random.default_rng(0))
    floats = (batch.obs, batch.action, batch.previous_action, batch.reward, batch.start.memory, batch.start.latent)
    assert {x.dtype for x in floats} == {torch.float32}
    assert {x.dtype for x in (batch.is_first, batch.is_last, batch.is_terminal)} == {torch.bool}


# --- Writing states back ----------------------------------------------------------------------------------------------


def columns(replay: Replay) -> dict[str, Tensor]:
    """A copy of each column, oldest row first."""
    rings = {name: torch.stack(value) for name, value in replay.state_dict().items() if isinstance(value, list)}
    held = len(replay) // replay.streams
    return {name: ring.roll(-(replay.added % held) if held else 0, 1) for name, ring in rings.items()}


def test_write_back_changes_the_states_of_the_named_rows_and_nothing_else() -> None:
    replay = replay_of(20, 2)
    fill(replay, 17)  # the ring of ten has wrapped; the oldest row is number 7
    before = columns(replay)
    place = Place(np.array([1, 0]), np.array([[8, 9], [15, 16]]))
    memory, latent = torch.full((2, 2, MEMORY), 500.0), torch.full((2, 2, LATENT), 600.0)
    memory[1, 1], latent[0, 0] = 501.0, 601.0
    replay.write_back(place, State(memory.requires_grad_(), latent.requires_grad_()))
    after = columns(replay)
    expected_memory, expected_latent = before["memory"].clone(), before["latent"].clone()  # (streams, 10, ...)
    expected_memory[1, 1:3], expected_memory[0, 8], expected_memory[0, 9] = 500.0, 500.0, 501.0
    expected_latent[1, 1], expected_latent[1, 2], expected_latent[0, 8:] = 601.0, 600.0, 600.0
    assert torch.equal(after.pop("memory"), expected_memory)
    assert torch.equal(after.pop("latent"), expected_latent)
    for name, value in after.items():
        assert torch.equal(value, before[name]), name


def test_the_next_sample_starts_from_what_was_written_back() -> None:
    replay = replay_of(6, 1)
    fill(replay, 6)
    _, place = replay.sample(1, 5, np.random.default_rng(0))
    rows = torch.arange(5.0).reshape(1, 5, 1)
    replay.write_back(place, State(100 + rows.expand(1, 5, MEMORY), 200 + rows.expand(1, 5, LATENT)))
    fill(replay, 2)  # row numbers 0 and 1 are gone
    batch, place = replay.sample(50, 2, np.random.default_rng(1))
    for b in range(50):
        before = int(place.number[b, 0]) - 1
        newer = before >= 6  # added after the write
        assert batch.start.memory[b, 0] == (before + 1 if newer else 100 + before - 1)
        assert batch.start.latent[b, 0] == (before + 1 if newer else 200 + before - 1)


def test_a_state_of_a_row_that_is_gone_is_not_written_into_its_successor() -> None:
    replay = replay_of(3, 1)
    fill(replay, 3)
    _, place = replay.sample(1, 2, np.random.default_rng(0))  # rows 1 and 2
    fill(replay, 2)  # row 4 took the place of row 1
    before = columns(replay)
    replay.write_back(place, State(torch.full((1, 2, MEMORY), 9.0), torch.full((1, 2, LATENT), 9.0)))
    assert columns(replay)["memory"][0, 0].tolist() == [9.0, 9.0]  # row 2
    assert torch.equal(columns(replay)["memory"][0, 1:], before["memory"][0, 1:])  # rows 3 and 4


# --- Saving -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["of today", "of version 1"])
@pytest.mark.parametrize("rows", [0, 3, 10, 17, 20])
def test_a_restored_replay_goes_on_as_if_it_had_not_been_saved(rows: int, form: str) -> None:
    replay, restored = replay_of(20, 2), replay_of(20, 2)
    fill(replay, rows)
    oldest = rows - min(rows, 10)
    oldest_first = columns(replay)
    assert oldest_first["reward"][0].tolist() == [row_id(0, number, 2) + 0.25 for number in range(oldest, rows)]
    saved = {**replay.state_dict(), **oldest_first} if form == "of version 1" else replay.state_dict()
    restored.load_state_dict(saved)
    fill(replay, 4)
    assert len(restored) == 2 * min(rows, 10)
    fill(restored, 4)
    for seed in range(5):
        one, one_place = replay.sample(6, 3, np.random.default_rng(seed))
        other, other_place = restored.sample(6, 3, np.random.default_rng(seed))
        assert_same(one, other)
        np.testing.assert_array_equal(one_place.number, other_place.number)


@pytest.mark.parametrize("rows", [3, 11])  # before the ring is full, and after
def test_columns_that_lie_in_files_are_read_into_their_places(tmp_path: Path, rows: int) -> None:
    replay, restored = replay_of(16, 2), replay_of(16, 2)
    fill(replay, rows)
    fill(restored, 5)
    in_files = write_rows(tmp_path / "replay", replay.state_dict())
    restored.load_state_dict(opened(tmp_path / "checkpoint.pt", in_files))
    saved, found = replay.state_dict(), restored.state_dict()
    assert saved.keys() == found.keys()
    for name, column in saved.items():
        if isinstance(column, int):
            assert found[name] == column
        else:
            assert all(torch.equal(*rings) for rings in zip(column, found[name], strict=True)), name


@pytest.mark.parametrize("rows", [3, 10, 17])
def test_saving_copies_nothing(rows: int) -> None:
    replay = replay_of(20, 2)
    fill(replay, rows)
    for name, rings in replay.state_dict().items():
        for ring, column in zip(rings, replay.columns[name], strict=True) if isinstance(rings, list) else []:
            assert ring.data_ptr() == column.__array_interface__["data"][0]
            assert ring.untyped_storage().nbytes() == ring.nbytes  # PyTorch writes a storage as a whole


def test_saving_holds_only_the_rows_there_are() -> None:
    replay = replay_of(1000, 2)
    fill(replay, 3)
    assert all(column.shape[:2] == (2, 3) for column in columns(replay).values())


# --- Errors -----------------------------------------------------------------------------------------------------------


def test_too_little_data_is_refused_with_what_is_there() -> None:
    replay = replay_of(20, 2)
    fill(replay, 4)
    with pytest.raises(InputError, match="5 rows of each stream are needed, of which 4 are there"):
        replay.sample(1, 4, np.random.default_rng(0))
    replay.sample(1, 3, np.random.default_rng(0))


@pytest.mark.parametrize(("batch", "length"), [(0, 2), (2, 0), (-1, 2), (2, -1)])
def test_an_empty_sample_is_refused(batch: int, length: int) -> None:
    replay = replay_of(20, 2)
    fill(replay, 10)
    with pytest.raises(InputError, match="at least 1"):
        replay.sample(batch, length, np.random.default_rng(0))


def test_a_capacity_below_two_rows_of_each_stream_is_refused() -> None:
    for capacity in (0, 1, 7):
        with pytest.raises(InputError, match="at least 8"):
            replay_of(capacity, 4)
    assert replay_of(8, 4).length == 2


@pytest.mark.parametrize(("capacity", "streams"), [(15, 3), (4, 1), (12, 1)])
def test_what_a_replay_of_another_size_saved_is_refused_and_nothing_changes(capacity: int, streams: int) -> None:
    saved, other = replay_of(8, 1), replay_of(capacity, streams)
    fill(saved, 10)  # eight of which are held
    fill(other, 3)
    before = columns(other)
    with pytest.raises(CheckpointError, match=r"replay\.[\w.]+ is of (length|shape).*it must be of"):
        other.load_state_dict(saved.state_dict())
    assert len(other) == 3 * streams
    for name, value in columns(other).items():
        assert torch.equal(value, before[name]), name


def test_a_replay_says_how_much_it_holds_and_costs() -> None:
    row = 3 * 4 + 2 * 4 + 4 + 3 + MEMORY * 4 + LATENT * 4
    assert str(replay_of(2001, 2)) == f"Replay of 2,000 rows in 2 streams, {2 * row} kB"


@pytest.mark.parametrize("name", ["obs", "reward", "is_first", "action", "memory", "latent"])
def test_a_row_of_another_shape_is_refused_and_nothing_is_stored(name: str) -> None:
    replay = replay_of(20, 2)
    fill(replay, 3)
    before = columns(replay)
    row, action, state = numbered(np.array([50, 51]), np.zeros((3, 2), bool))
    parts = {field.name: getattr(row, field.name) for field in fields(row)}
    parts |= {"action": action, "memory": state.memory, "latent": state.latent}
    parts[name] = parts[name][:1]  # one stream too few
    state = State(parts.pop("memory"), parts.pop("latent"))
    action = parts.pop("action")
    with pytest.raises(InputError, match=name):
        replay.add(Row(**parts), action, state)
    assert len(replay) == 6
    for column, value in columns(replay).items():
        assert torch.equal(value, before[column])


def test_a_replay_larger_than_the_machine_is_refused_before_anything_is_allocated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = 3 * 4 + 2 * 4 + 4 + 3 + MEMORY * 4 + LATENT * 4
    monkeypatch.setattr("wm_tutorial.process.machine_memory", lambda: 1000 * row)
    replay_of(500, 2)
    with pytest.warns(UserWarning, match=f"501 rows of {row} bytes each needs 23.5 kB, and this machine has 47 kB"):
        replay_of(501, 1)
    with pytest.raises(InputError, match=r"1,001 rows.*smaller capacity, such as 250, or.*ResizeObservation"):
        replay_of(1001, 1)
    monkeypatch.setattr("wm_tutorial.process.machine_memory", lambda: None)
    replay_of(1001, 1)


@pytest.mark.parametrize(
    ("count", "value", "told"),
    [
        ("added", -1, "replay.added is -1; it must be 0 or more"),
        ("added", None, "replay.added is NoneType; it must be int"),
        ("served", 11, "replay.served is 11; no more than 10 rows were added"),
    ],
)
def test_counts_that_no_replay_has_are_told(count: str, value: int | None, told: str) -> None:
    replay = replay_of(8, 2)
    fill(replay, 5)
    with pytest.raises(CheckpointError, match=f"^{told}$"):
        replay.load_state_dict(replay.state_dict() | {count: value})
    replay.load_state_dict(replay.state_dict() | {"served": 10})  # all of them may have been


def test_classes_are_kept_as_numbers_and_handed_out_as_they_came() -> None:
    spaces = Spaces("discrete", (1000,), "discrete", 2, (0.0,), (1.0,))
    replay = replay_of(8, 2, spaces)
    flags = np.zeros((3, 2), bool)
    for number in range(4):
        row, action, state = numbered(np.array([number, 10 + number]), flags)
        obs = np.eye(1000, dtype=np.float32)[[number, 10 + number]]
        replay.add(Row(obs, row.reward, *flags), action, state)
    assert replay.nbytes < 8 * 100
    batch, place = replay.sample(4, 2, np.random.default_rng(0))
    expected = 10 * torch.from_numpy(place.stream)[:, None] + torch.from_numpy(place.number)
    assert batch.obs.dtype == torch.float32 and torch.equal(batch.obs, torch.eye(1000)[expected])
