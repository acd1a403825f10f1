"""The files of a replay: only what is new is written, whatever ends the process, and read back to the last bit."""

import errno
import gzip
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from helpers import IMAGES
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from scripted import Array, Seeded, assert_same, copied, snapshot, tiny, tree

from wm_tutorial import checkpoint, chunks
from wm_tutorial.agent import Agent
from wm_tutorial.checkpoint import AGENT, CHECKPOINT
from wm_tutorial.chunks import FOLDER, opened, tidy, write, write_rows
from wm_tutorial.data import Row, State
from wm_tutorial.errors import CheckpointError, OutputError
from wm_tutorial.replay import Replay
from wm_tutorial.trainer import Trainer

HERE = Path(__file__).parent
SMALL = 700  # bytes of a piece: two or three of these images
STREAMS, MEMORY, LATENT = 2, 3, 2
POSIX = pytest.mark.skipif(os.name == "nt", reason="no such signal here")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces so small that a replay of a test has many."""
    monkeypatch.setattr(chunks, "BYTES", SMALL)


def replay_of(length: int, streams: int = STREAMS) -> Replay:
    return Replay(length * streams, streams, IMAGES, MEMORY, LATENT)


def add(replay: Replay, rows: int, seed: int = 0) -> Replay:
    """Rows of noise, no two alike."""
    n = replay.streams
    for number in range(replay.added, replay.added + rows):
        rng = np.random.default_rng([seed, number])
        row = Row(
            rng.integers(0, 256, (n, *IMAGES.obs_shape), np.uint8), noise(rng, n), *rng.integers(0, 2, (3, n)) > 0
        )
        state = State(torch.from_numpy(noise(rng, n, MEMORY)), torch.from_numpy(noise(rng, n, LATENT)))
        replay.add(row, noise(rng, n, IMAGES.action_size), state)
    return replay


def noise(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(size=shape).astype(np.float32)


def refresh(replay: Replay, seed: int) -> None:
    """Write other states to some rows, as an update does."""
    rng = np.random.default_rng(seed)
    _, place = replay.sample(2, 1, rng)
    states = State(torch.from_numpy(noise(rng, 2, 1, MEMORY)), torch.from_numpy(noise(rng, 2, 1, LATENT)))
    replay.write_back(place, states)


def save(replay: Replay, folder: Path) -> None:
    write(folder / CHECKPOINT, {"replay": replay.state_dict()})


def load(folder: Path, length: int, streams: int = STREAMS) -> Replay:
    path, replay = folder / CHECKPOINT, replay_of(length, streams)
    replay.load_state_dict(opened(path, checkpoint.read(path)["replay"]))
    return replay


def files(folder: Path) -> dict[str, int]:
    """The files of replays in a run folder, with their sizes."""
    return {path.name: path.stat().st_size for path in (folder / FOLDER).iterdir()}


def named(folder: Path) -> set[str]:
    """Those that its checkpoint names."""
    replay = checkpoint.read(folder / CHECKPOINT)["replay"]
    return {name for told in replay.values() if isinstance(told, dict) for name in told["files"]}


# --- What comes back --------------------------------------------------------------------------------------------------


class ChunksMachine(RuleBasedStateMachine):
    """Add, refresh, save, load and break off in any order; a second replay, kept in memory only, says what is right."""

    @initialize(length=st.integers(2, 9), streams=st.integers(1, 3), size=st.sampled_from([1, 150, 700, 10**6]))
    def build(self, length: int, streams: int, size: int) -> None:
        self.before, chunks.BYTES = chunks.BYTES, size
        self.folder = Path(os.environ["CHUNKS_TEST"]) / str(next(COUNTER))
        self.length, self.streams = length, streams
        self.replay, self.memory = replay_of(length, streams), replay_of(length, streams)
        self.saved: dict[str, Any] = {}

    @rule(rows=st.integers(1, 4), seed=st.integers(0, 99))
    def add(self, rows: int, seed: int) -> None:
        add(self.replay, rows, seed), add(self.memory, rows, seed)

    @precondition(lambda self: self.memory.added > 1)
    @rule(seed=st.integers(0, 99), fresh=st.booleans())
    def refresh(self, seed: int, fresh: bool) -> None:
        for replay in (self.replay, self.memory):
            replay.sample(1, 1, np.random.default_rng(seed), fresh_first=fresh)
            refresh(replay, seed)

    @rule()
    def save(self) -> None:
        save(self.replay, self.folder)
        self.saved = copied(self.memory.state_dict())
        assert files(self.folder).keys() == named(self.folder) if self.memory.added else True

    @precondition(lambda self: self.saved)
    @rule()
    def load(self) -> None:
        """As the last save left it; what happened since is lost on both sides."""
        self.replay, self.memory = load(self.folder, self.length, self.streams), replay_of(self.length, self.streams)
        self.memory.load_state_dict(self.saved)

    def teardown(self) -> None:
        if hasattr(self, "replay"):
            assert_same(self.replay.state_dict(), self.memory.state_dict())
            chunks.BYTES = self.before


COUNTER = itertools.count()


@pytest.fixture(autouse=True)
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHUNKS_TEST", str(tmp_path))


class TestChunks(ChunksMachine.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(
        max_examples=40, stateful_step_count=15, deadline=None, phases=[x for x in Phase if x is not Phase.explain]
    )


class Pictures(Seeded):
    """What `Seeded` does, seen as noise that its numbers are the seed of."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = Box(0, 255, (8, 8, 3), np.uint8)

    def observation(self) -> Any:
        seed = abs(hash((self.number, self.moment, self.total)))
        return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)


REMEMBERING = {"memory": "rssm", "latent": "categorical", "latent_classes": 3, "memory_size": 8, "memory_blocks": 2}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("capacity", [44, 400], ids=["wrapped", "not full"])
@pytest.mark.parametrize(
    ("source", "options"),
    [(Seeded, {}), (Pictures, {}), (Pictures, REMEMBERING | {"fresh_sequences_first": True})],
    ids=["vectors", "images", "images, with memory"],
)
def test_a_run_that_is_saved_and_loaded_goes_on_as_if_it_had_not_been(
    source: type[Seeded], options: dict[str, Any], capacity: int, tmp_path: Path
) -> None:
    config = tiny(capacity=capacity, updates_per_step=0.5, **options)
    whole, parts = Trainer(source, config), Trainer(source, config, tmp_path)
    for number in range(36):
        for trainer in (whole, parts):
            trainer.collect()
            while trainer.updates < trainer.updates_due:
                trainer.train_step()
        if number % 5 == 4:  # before and after the ring is full; with and without updates in between
            parts.save()
            assert files(tmp_path).keys() == named(tmp_path)
            parts = Trainer.load(tmp_path, source)
    assert whole.updates > 15 and (whole.replay.added > whole.replay.length) == (capacity == 44)
    assert len(checkpoint.read(tmp_path / CHECKPOINT)["replay"]["action"]["files"]) >= 1
    assert source is Seeded or len(checkpoint.read(tmp_path / CHECKPOINT)["replay"]["obs"]["files"]) > 10
    assert_same(snapshot(parts), snapshot(whole))


@pytest.mark.usefixtures("small")
def test_several_replays_stand_side_by_side(tmp_path: Path) -> None:
    """Each written by whoever has it, into one folder; one checkpoint names the files of all."""
    one, other = add(replay_of(9), 13, seed=1), add(replay_of(9), 5, seed=2)
    kept = [write_rows(tmp_path / FOLDER, replay.state_dict()) for replay in (one, other)]
    stray = write_rows(tmp_path / FOLDER, add(replay_of(9), 4, seed=3).state_dict())
    checkpoint.write(path := tmp_path / CHECKPOINT, {"replays": {"0": kept[0], "1": [kept[1]]}})
    tidy(path)
    assert stray["obs"]["files"][0] not in files(tmp_path)
    read = checkpoint.read(path)["replays"]
    for replay, told in ((one, read["0"]), (other, read["1"][0])):
        again = replay_of(9)
        again.load_state_dict(opened(path, told))
        assert_same(again.state_dict(), replay.state_dict())


@pytest.mark.parametrize("version", [1, 2])
def test_runs_of_earlier_versions_go_on(version: int, tmp_path: Path) -> None:
    """Their replays are in the checkpoint: oldest row first, or as they lie. The ring of these has wrapped."""
    path = tmp_path / CHECKPOINT
    path.write_bytes(gzip.decompress((HERE / "old" / f"checkpoint_v{version}.pt.gz").read_bytes()))
    raw = torch.load(path, weights_only=True)
    assert raw["version"] == version
    trainer = Trainer.load(tmp_path, steps=100)
    replay, (added, length) = trainer.replay, (36, 25)
    assert (replay.added, replay.length) == (added, length)
    numbers = np.arange(added - length, added)
    for name, column in replay.columns.items():
        saved = raw["replay"][name]
        oldest_first = saved if version == 1 else torch.stack(saved).roll(-(added % length), 1)
        assert_same(column[:, numbers % length], oldest_first)
    trainer.run()
    assert checkpoint.read(path)["version"] == 3 and files(tmp_path).keys() == named(tmp_path)
    assert_same(snapshot(Trainer.load(tmp_path)), snapshot(trainer))


# --- What is written --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("held", [10, 40, 97], ids=["growing", "full", "around"])
@pytest.mark.parametrize("rows", [0, 1, 4, 11])
def test_a_second_save_writes_the_new_rows_and_the_piece_they_begin_in(held: int, rows: int, tmp_path: Path) -> None:
    replay = add(replay_of(40), held)
    save(replay, tmp_path)
    before = files(tmp_path)
    add(replay, rows)
    save(replay, tmp_path)
    new = {name: size for name, size in files(tmp_path).items() if name not in before}
    frame = STREAMS * 8 * 9 * 2
    images = {name: size for name, size in new.items() if name.startswith("obs-")}
    pieces = -(-rows // (SMALL // frame)) + 1 + (held == 97)  # one more where the ring ends
    assert (not rows and not new) or 0 < len(images) <= pieces
    assert sum(images.values()) <= pieces * (SMALL + 128)  # of which 128 say what the file is
    assert all((tmp_path / FOLDER / name).stat().st_mtime_ns for name in before if name in files(tmp_path))


@pytest.mark.usefixtures("small")
def test_what_is_there_is_not_touched_and_of_refreshed_rows_only_the_states_are_written(tmp_path: Path) -> None:
    replay = add(replay_of(40), 60)
    save(replay, tmp_path)
    before = {name: (tmp_path / FOLDER / name).stat() for name in files(tmp_path)}
    refresh(replay, 0)
    save(replay, tmp_path)
    for name in files(tmp_path).keys() & before.keys():
        now = (tmp_path / FOLDER / name).stat()
        assert (now.st_ino, now.st_mtime_ns) == (before[name].st_ino, before[name].st_mtime_ns)
    new = {name.partition("-")[0] for name in files(tmp_path) if name not in before}
    assert new == {"memory", "latent"}
    assert_same(load(tmp_path, 40).state_dict(), replay.state_dict())


@pytest.mark.usefixtures("small")
def test_the_checkpoint_is_as_small_with_a_large_replay(tmp_path: Path) -> None:
    """So whoever reads the agent out of it reads no rows; and they need not be there."""
    sizes = []
    for rows in (2, 150):
        (tmp_path / str(rows)).mkdir()
        trainer = Trainer(Pictures, tiny(), tmp_path / str(rows))
        for _ in range(rows):
            trainer.collect()
        trainer.save()
        names = sum(map(len, named(tmp_path / str(rows))))
        sizes.append((tmp_path / str(rows) / CHECKPOINT).stat().st_size - names)
        assert trainer.replay.nbytes > 80_000
    assert sizes[1] - sizes[0] < 10_000 < sum(files(tmp_path / "150").values()) - sum(files(tmp_path / "2").values())
    shutil.rmtree(tmp_path / "150" / FOLDER)
    for path in (tmp_path / "150", tmp_path / "150" / CHECKPOINT):
        assert_same(dict(Agent.load(path).state_dict()), dict(trainer.agent.state_dict()))
    (tmp_path / "150" / CHECKPOINT).unlink()  # the agent alone is enough
    assert Agent.load(tmp_path / "150") and (tmp_path / "150" / AGENT).stat().st_size < 100_000


MEGABYTE = 2**20
MEASURE = """
import json, resource, sys, tracemalloc
from pathlib import Path
import numpy as np
from test_chunks import load, opened, replay_of, save, checkpoint, CHECKPOINT, IMAGES
frame = 8 * 9 * 2
replay = replay_of(200 * 2**20 // frame // 2)
numbers = replay.columns["obs"].reshape(-1)
for begin in range(0, len(numbers), 2**20):
    numbers[begin : begin + 2**20] = np.arange(begin, min(begin + 2**20, len(numbers))) // 251 % 256
for name in ("reward", "memory"):
    replay.columns[name][...] = 1.0
replay.added = replay.length + 5
folder, peak = Path(sys.argv[1]), {}
other = replay_of(replay.length)
for column in other.columns.values():
    column[...] = 1  # all of it is there before
for name in ("save", "load"):
    tracemalloc.start()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if name == "save":
        save(replay, folder)
    else:
        other.load_state_dict(opened(folder / CHECKPOINT, checkpoint.read(folder / CHECKPOINT)["replay"]))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    grown *= 1 if sys.platform == "darwin" else 1024
    peak[name] = {"numpy": tracemalloc.get_traced_memory()[1], "process": grown}
    tracemalloc.stop()
same = all(np.array_equal(replay.columns[name], other.columns[name]) for name in replay.columns)
print(json.dumps({"peak": peak, "same": same, "bytes": int(replay.nbytes)}, allow_nan=False))
"""


@POSIX
def test_saving_and_loading_need_the_memory_of_a_piece_and_not_of_the_replay(tmp_path: Path) -> None:
    found = python(MEASURE, str(tmp_path))
    assert found["same"] and found["bytes"] > 200 * MEGABYTE
    for peak in found["peak"].values():
        assert peak["numpy"] < 2.5 * chunks.BYTES  # a piece, and what it is looked at with
        assert peak["process"] < 4 * chunks.BYTES < found["bytes"] / 3


def python(code: str, *arguments: str) -> dict[str, Any]:
    """What a program says, as JSON, that may import the tests."""
    path = os.pathsep.join([str(HERE), str(HERE.parent)])
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# --- Whatever ends the process ----------------------------------------------------------------------------------------

KILL = """
import json, os, shutil, signal, sys
from pathlib import Path
import numpy as np
from scripted import differences
from test_chunks import add, chunks, load, refresh, replay_of, save, files, named
chunks.BYTES = 700
here = Path(sys.argv[1])
old = add(replay_of(12), 17)
save(old, here / "base")
new = add(load(here / "base", 12), 6)
refresh(new, 0)
seen, moments, kinds = {"old": 0, "new": 0}, 0, ("open", "replace", "unlink", "rename", "fsync")
def watched(kind, function, moment):
    def call(*arguments, **named_):
        moments[0] += 1
        if moments[0] == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named_)
    return call
moment, died = 0, True
while died:
    moment += 1
    folder = here / str(moment)
    shutil.copytree(here / "base", folder)
    if not (child := os.fork()):
        moments = [0]
        for kind in ("open", "replace", "unlink"):
            setattr(Path, kind, watched(kind, getattr(Path, kind), moment))
        os.fsync = watched("fsync", os.fsync, moment)
        save(new, folder)
        os._exit(0)
    died = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    found = load(folder, 12)
    which = [n for n, r in (("old", old), ("new", new)) if not list(differences(found.state_dict(), r.state_dict()))]
    seen[which[0]] += 1  # neither: this raises
    save(found, folder)
    assert files(folder).keys() == named(folder), "leftovers"
    shutil.rmtree(folder)
print(json.dumps({**seen, "moments": moment}, allow_nan=False))
"""


@POSIX
def test_a_process_killed_at_any_moment_of_a_save_leaves_the_old_state_or_the_new(tmp_path: Path) -> None:
    """At every file that is opened, brought to the disk, moved to its place or removed, one after the other."""
    found = python(KILL, str(tmp_path))
    assert found["old"] > 20 and found["new"] > 5 and found["old"] + found["new"] == found["moments"]


TRAIN = """
import json, os, signal, sys, time
from pathlib import Path
import numpy as np
from scripted import differences, snapshot
from test_chunks import CHECKPOINT, Pictures, Trainer, chunks, files, named, tiny
chunks.BYTES = 700
folder, config = Path(sys.argv[1]), tiny(capacity=80, steps=10**6, prefill=20, updates_per_step=0.1)
def iterate(trainer):
    trainer.collect()
    while trainer.updates < trainer.updates_due:
        trainer.train_step()
def live_and_save(trainer):
    while True:
        iterate(trainer)
        trainer.save()
rng, found = np.random.default_rng(0), []
for _ in range(5):
    before = chunks._stamp(folder / CHECKPOINT)
    if not (child := os.fork()):
        try:
            live_and_save(Trainer.load(folder, Pictures) if before else Trainer(Pictures, config, folder))
        finally:
            os._exit(1)
    while chunks._stamp(folder / CHECKPOINT) == before and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.01)
    time.sleep(rng.uniform(0.0, 0.5))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found.append(snapshot(Trainer.load(folder, Pictures)))
Trainer.load(folder, Pictures).save()
assert files(folder).keys() == named(folder)
whole, rows = Trainer(Pictures, config), [0]  # only now: who has learned cannot be forked
for state in found:
    rows.append(state["replay"]["added"])  # not steps: where all environments begin anew at once, nobody takes one
    while whole.replay.added < rows[-1]:
        iterate(whole)
    apart = list(differences(state, snapshot(whole)))
    assert not apart, f"{rows}: {apart}"
print(json.dumps({"rows": rows}, allow_nan=False))
"""


@POSIX
def test_a_run_killed_at_random_moments_goes_on_where_it_was_saved(tmp_path: Path) -> None:
    """It saves after every iteration; after each kill it is as an unbroken run was at that row."""
    rows = python(TRAIN, str(tmp_path))["rows"]
    assert len(rows) == 6 and rows == sorted(set(rows))


@pytest.mark.usefixtures("small")
def test_only_what_was_left_of_replays_is_removed(tmp_path: Path) -> None:
    save(add(replay_of(9), 5), tmp_path)
    digest = "0" * 32
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = {f"obs-0000-{digest}.npy", f".obs-0001-{digest}.npy.{gone.pid}"}
    kept = {f".obs-0001-{digest}.npy.{os.getppid()}", "obs.npy", "notes.txt", f"obs-0000-{digest}.npz"}
    for name in left | kept:
        (tmp_path / FOLDER / name).touch()
    save(add(replay_of(9), 6), tmp_path)
    assert files(tmp_path).keys() == named(tmp_path) | kept
    whole = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(whole[:-9])
    before = tree(tmp_path)
    tidy(tmp_path / CHECKPOINT)  # nobody knows what a damaged one names
    assert tree(tmp_path) == before


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("at", ["first", "later", "checkpoint"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_a_save_that_fails_leaves_everything_as_it_was(
    at: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = add(replay_of(12), 17)
    save(replay, tmp_path)
    before, count = tree(tmp_path), itertools.count()
    write_array = np.lib.format.write_array

    def full(file: Any, piece: Array, **options: Any) -> None:
        if next(count) == (0 if at == "first" else 4):
            file.write(b"half")
            raise error
        write_array(file, piece, **options)

    def no_place(*_: Any) -> None:
        raise error

    monkeypatch.setattr(*(torch, "save", no_place) if at == "checkpoint" else (np.lib.format, "write_array", full))
    with pytest.raises(OutputError if isinstance(error, OSError) else KeyboardInterrupt):
        save(add(replay, 6), tmp_path)
    assert tree(tmp_path) == before


def test_on_a_full_disk_the_whole_run_is_put_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (system := tmp_path / "system").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(system))
    (tmp_path / "run").mkdir()
    trainer = Trainer(Seeded, tiny(), tmp_path / "run")
    trainer.collect()
    write_array = np.lib.format.write_array

    def full(file: Any, *rest: Any, **options: Any) -> None:
        if Path(file.name).is_relative_to(tmp_path / "run"):
            raise OSError(errno.ENOSPC, "No space left on device")
        write_array(file, *rest, **options)

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(OutputError, match=r"No space left.*saved in .* instead") as caught:
        trainer.save()
    (saved,) = system.rglob(CHECKPOINT)
    assert str(saved.parent) in str(caught.value) and not (tmp_path / "run" / CHECKPOINT).exists()
    assert_same(snapshot(Trainer.load(saved.parent, Seeded)), snapshot(trainer))


@pytest.mark.usefixtures("small")
def test_a_disk_that_changes_a_bit_is_noticed_while_the_old_state_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(replay := add(replay_of(12), 5), tmp_path)
    before, write_array = tree(tmp_path), np.lib.format.write_array

    def flipping(file: Any, piece: Array, **options: Any) -> None:
        write_array(file, piece, **options)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([piece.tobytes()[-1] ^ 1]))

    monkeypatch.setattr(np.lib.format, "write_array", flipping)
    with pytest.raises(OutputError, match=r"cannot be read back.*checksum"):
        save(add(replay, 1), tmp_path)
    assert tree(tmp_path) == before


def test_who_looks_while_a_run_saves_sees_the_new_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of the checkpoint that was read are gone before their turn comes."""
    trainer = Trainer(Seeded, tiny(), tmp_path)
    trainer.collect()
    trainer.save()
    times, open_ = itertools.count(), chunks.opened

    def late(*told: Any) -> Any:
        if next(times) < 2:
            trainer.collect()
            trainer.save()
        return open_(*told)

    monkeypatch.setattr(chunks, "opened", late)
    assert_same(snapshot(Trainer.load(tmp_path, Seeded)), snapshot(trainer))
    assert next(times) == 3 and trainer.replay.added == 3


# --- Files that are not what they were --------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, small: None) -> Path:
    """The folder of a run with many pieces."""
    trainer = Trainer(Pictures, tiny(), tmp_path)
    for _ in range(40):
        trainer.collect()
    trainer.save()
    return tmp_path


def missing(one: Path, other: Path) -> None:
    one.unlink()


def cut(one: Path, other: Path) -> None:
    one.write_bytes(one.read_bytes()[:-1])


def empty(one: Path, other: Path) -> None:
    one.write_bytes(b"")


def flipped(one: Path, other: Path) -> None:
    content = bytearray(one.read_bytes())
    content[-7] ^= 4
    one.write_bytes(content)


def swapped(one: Path, other: Path) -> None:
    (between := one.with_name("between")) and one.replace(between)
    other.replace(one), between.replace(other)


def another_type(one: Path, other: Path) -> None:
    np.save(one, np.load(one).astype(np.float32))


def another_shape(one: Path, other: Path) -> None:
    np.save(one, np.load(one)[..., :1])


def code(one: Path, other: Path) -> None:
    np.save(one, np.array([Malicious(one.parent / "executed")]), allow_pickle=True)


def packed(one: Path, other: Path) -> None:
    with one.open("wb") as file:
        np.savez(file, np.zeros(3))


class Malicious:
    """A pickle may name any function, and unpickling calls it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


HOW = [missing, cut, empty, flipped, swapped, another_type, another_shape, code, packed]


@pytest.mark.parametrize("spoil", HOW, ids=lambda spoil: spoil.__name__)
def test_a_file_that_is_not_the_one_that_was_written_is_named(spoil: Callable[[Path, Path], None], run: Path) -> None:
    one, other, *_ = sorted((run / FOLDER).glob("obs-*"))
    assert one.read_bytes() != other.read_bytes()
    spoil(one, other)
    told = "missing, and belongs to it: a run is moved and copied with everything in its folder"
    with pytest.raises(CheckpointError) as caught:
        Trainer.load(run, Pictures)
    message = str(caught.value)
    assert str(run / CHECKPOINT) in message and str(one) in message and "\n" not in message
    assert (told if spoil is missing else "damaged or another file than was written") in message
    assert message.endswith("Use another copy, or train again.")
    assert Agent.load(run) and not (one.parent / "executed").exists()


def test_a_bit_that_flipped_is_noticed_or_harmless(run: Path) -> None:
    right, noticed = snapshot(Trainer.load(run, Pictures)), 0
    rng = np.random.default_rng(0)
    paths = sorted((run / FOLDER).iterdir())
    for path in [paths[i] for i in rng.choice(len(paths), 12, replace=False)]:
        whole = path.read_bytes()
        for place in (*rng.integers(0, 128, 2), *rng.integers(128, len(whole), 1)):  # what it is, and what it holds
            damaged = bytearray(whole)
            damaged[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(damaged)
            try:
                assert_same(snapshot(Trainer.load(run, Pictures)), right)
            except CheckpointError as error:
                assert str(path) in str(error)
                noticed += 1
        path.write_bytes(whole)
    assert noticed > 20


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"rows": 0}, "replay.obs names no files"),
        ({"rows": 3}, "names [0-9]+ files of a column instead of"),
        ({"files": []}, "names 0 files"),
        ({"files": ["../../elsewhere.npy"]}, "replay.obs names no files"),
        ({"files": ["/etc/passwd"]}, "replay.obs names no files"),
        ({"files": 7}, "replay.obs.files is int; it must be a list"),
        ({"files": [7]}, "replay.obs.files.0 is int"),
        ({"more": 1}, "a dict with 'more'"),
    ],
    ids=str,
)
def test_a_checkpoint_that_names_something_else_is_refused(change: dict[str, Any], expected: str, run: Path) -> None:
    content = torch.load(run / CHECKPOINT, weights_only=True)
    content["replay"]["obs"] |= change
    torch.save(content, run / CHECKPOINT)
    with pytest.raises(CheckpointError, match=expected):
        Trainer.load(run, Pictures)


def test_a_number_that_is_none_in_a_file_is_refused(run: Path) -> None:
    """Whoever wrote it had right checksums, and no numbers."""
    trainer = Trainer.load(run, Pictures)
    trainer.replay.columns["reward"][1, 3] = np.nan
    trainer.save()
    with pytest.raises(CheckpointError, match=rf"{FOLDER}/reward-0000-\w+\.npy.*finite"):
        Trainer.load(run, Pictures)


def test_pieces_can_be_read_by_any_program(run: Path) -> None:
    """NumPy's own format, all streams of some rows in each, in the order of the ring."""
    trainer, told = Trainer.load(run, Pictures), checkpoint.read(run / CHECKPOINT)["replay"]
    for name, column in trainer.replay.columns.items():
        pieces = [np.load(run / FOLDER / file, allow_pickle=False) for file in told[name]["files"]]
        held = column[:, : trainer.replay.added]
        assert_same(np.concatenate(pieces, 1) if pieces else held, held)
        assert bool(pieces) == bool(held.size)
