"""What it costs to save and load a replay of 100,000 images, here and in an older commit, in turn.

    OMP_NUM_THREADS=1 python benchmarks/checkpoint.py                 # below 5 minutes, 4 GB of memory and 4 GB of disk
    OMP_NUM_THREADS=1 python benchmarks/checkpoint.py --rows 10000 --rounds 1 --out /tmp/c.json

The rows are those of `dreamer_v3` at size1m on images of 64 x 64 x 3, in four streams of noise. Each tree saves the
replay, adds 1,000 rows, saves again, adds 1,000, lets updates refresh the stored states of half of all rows, and saves
a third time; then it loads the last checkpoint into a new replay. Told are CPU seconds and seconds on the clock, bytes
written, and how far the memory of the process rose above what it was before, the new replay not counted.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parent.parent
OUT = ROOT / "book" / "results" / "bench" / "checkpoint.json"
COMMIT = "7d366c4"  # the last one that kept the replay in the checkpoint
STREAMS, NEW = 4, 1000
SAVES = ("first", "rows added", "states refreshed")

# --- In a process of its own, on the package of some tree -------------------------------------------------------------


def serve(folder: Path, rows: int) -> None:
    """Save three times and load once; print what it cost."""
    np, torch = import_module("numpy"), import_module("torch")
    make_config = import_module("wm_tutorial.config").make_config
    data, path, replay_module = import_module("wm_tutorial.data"), folder / "checkpoint.pt", "wm_tutorial.replay"
    config = make_config("dreamer_v3", "size1m")
    spaces = data.Spaces("image", (64, 64, 3), "discrete", 4, (0.0,), (1.0,))
    latent = config.latent_size * config.latent_classes
    new_replay = partial(import_module(replay_module).Replay, rows, STREAMS, spaces, config.memory_size, latent)
    replay, costs, rng = new_replay(), {}, np.random.default_rng(0)

    def add(count: int) -> None:
        for _ in range(count // STREAMS):
            images = rng.integers(0, 256, (STREAMS, 64, 64, 3), np.uint8)
            row = data.Row(images, np.ones(STREAMS, np.float32), *np.zeros((3, STREAMS), bool))
            state = torch.ones(STREAMS, config.memory_size), torch.ones(STREAMS, latent)
            replay.add(row, np.zeros((STREAMS, 4), np.float32), data.State(*state))

    held = rows // STREAMS - NEW // STREAMS
    for begin in range(0, held, 250):  # noise in small portions: a large one would hide what saving takes
        place = replay.columns["obs"][:, begin : min(begin + 250, held)]
        place[...] = rng.integers(0, 256, place.shape, np.uint8)
    for column in ("reward", "memory", "latent"):
        replay.columns[column][:, :held] = 1.0
    replay.added = held
    for name in SAVES:
        if name != "first":
            add(NEW)
        if name == "states refreshed":
            for column in ("memory", "latent"):
                replay.columns[column][:, ::2] = rng.normal(size=1)
        costs[name] = cost(folder, lambda: save(path, replay))
    other = new_replay()
    costs["load"] = cost(folder, lambda: load(path, other))
    costs["load"]["beyond_bytes"] -= other.nbytes  # its own memory is taken while it is filled
    assert all(np.array_equal(replay.columns[column], other.columns[column]) for column in replay.columns)
    print(json.dumps({"costs": costs, "replay_bytes": replay.nbytes}, allow_nan=False))


def save(path: Path, replay: Any) -> None:
    """As a trainer of either tree does."""
    try:
        write = import_module("wm_tutorial.chunks").write
    except ImportError:
        write = import_module("wm_tutorial.checkpoint").write
    write(path, {"replay": replay.state_dict()})


def load(path: Path, replay: Any) -> None:
    """As a trainer of either tree does."""
    state = import_module("wm_tutorial.checkpoint").read(path)["replay"]
    with suppress(ImportError):
        state = import_module("wm_tutorial.chunks").opened(path, state)
    replay.load_state_dict(state)


def cost(folder: Path, work: Any) -> dict[str, float]:
    """Seconds, bytes of the files that are new or changed, and the highest memory above what there was before."""
    files, memory = stamps(folder), peak_bytes(anew=True)
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    seconds, cpu_seconds = time.perf_counter() - clock, time.process_time() - cpu
    written = sum(stamp[-1] for name, stamp in stamps(folder).items() if files.get(name) != stamp)
    rose = peak_bytes() - memory
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "written_bytes": written, "beyond_bytes": rose}


def stamps(folder: Path) -> dict[str, tuple[int, int, int]]:
    """What changes when a file is written, and its size."""
    found = {str(path): path.stat() for path in folder.rglob("*") if path.is_file()}
    return {name: (stat.st_ino, stat.st_mtime_ns, stat.st_size) for name, stat in found.items()}


def peak_bytes(anew: bool = False) -> int:
    """The most memory that this process has taken so far, or since it was last asked `anew`; on Linux."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


# --- Both trees in turn -----------------------------------------------------------------------------------------------


def one_round(tree: Path, folder: Path, rows: int) -> dict[str, Any]:
    """All costs of a tree."""
    command = [sys.executable, str(Path(__file__)), "--serve", "--rows", str(rows), "--folder", str(folder)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{tree} could not be measured:\n{done.stderr[-3000:]}")
    answer = json.loads(done.stdout)
    return answer["costs"] | {"replay_bytes": answer["replay_bytes"]}


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The medians over rounds."""
    names = [name for name in rounds[0] if name != "replay_bytes"]
    return {name: {key: median(one[name][key] for one in rounds) for key in rounds[0][name]} for name in names}


def main() -> None:
    """Measure both trees in turn and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.folder, asked.rows)
        return
    sides: dict[str, list[dict[str, Any]]] = {"here": [], COMMIT: []}
    with tempfile.TemporaryDirectory() as place:
        old = Path(place) / "tree"
        subprocess.run(["git", "worktree", "add", "-q", "--detach", str(old), COMMIT], cwd=ROOT, check=True)
        try:
            for _ in range(asked.rounds):
                for side, tree in (("here", ROOT), (COMMIT, old)):
                    with tempfile.TemporaryDirectory(dir=place) as folder:
                        sides[side].append(one_round(tree, Path(folder), asked.rows))
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(old)], cwd=ROOT, check=True)
    found = {
        "rows": asked.rows,
        "rounds": asked.rounds,
        "replay_bytes": sides["here"][0]["replay_bytes"],
        "sides": {side: summary(rounds) for side, rounds in sides.items()},
    }
    asked.out.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    print(json.dumps(found, indent=1, allow_nan=False))


if __name__ == "__main__":
    main()
