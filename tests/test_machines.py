"""Several processes learn one agent: what they compute is what one would, and whatever ends one ends all, saved."""

import json
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from scripted import assert_same, timeless, tiny, written
from together import STEPS, Troubled, options
from torch import Tensor

from wm_tutorial import Agent, Run, resume, train
from wm_tutorial.checkpoint import CHECKPOINT, SETTINGS
from wm_tutorial.errors import CheckpointError, InputError
from wm_tutorial.pace import files_of
from wm_tutorial.runs.consult import options_of
from wm_tutorial.runs.folder import settings_of
from wm_tutorial.runs.life import Life
from wm_tutorial.runs.machines import OWN, SILENT, Machines

TESTS = Path(__file__).parent
ROOT = TESTS.parent


def launched(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Two processes of `python WORDS`, started by torchrun, with what they said."""
    path = os.pathsep.join([str(ROOT), str(TESTS)])
    environ = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default", **environment}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*command, *map(str, words)], env=environ, cwd=ROOT, capture_output=True, text=True, timeout=400
    )


Seen = Sequence[dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have done all that `together.main` has."""
    folder = tmp_path_factory.mktemp("together")
    train(Troubled, out=folder / "of one", draw=False, **options()).close()
    done = launched(TESTS / "together.py", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def seen(folder: Path) -> Seen:
    """What each of the two saw."""
    return [torch.load(folder / f"seen-{rank}.pt", weights_only=False) for rank in range(2)]


# --- One update -------------------------------------------------------------------------------------------------------


def largest_difference(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """In units of the largest number of each tensor, or of 1."""
    return max(float(((a - b).abs() / b.abs().max().clamp(min=1.0)).max()) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("agent", ["guide", "dreamer_v3"])
def test_two_halves_have_the_gradients_of_the_whole_batch(agent: str, seen: Seen) -> None:
    for one in seen:
        found = one["updates"][agent]
        together, whole, share = found["together"], found["whole"], found["share"]
        assert largest_difference(together["gradients"], whole["gradients"]) < 1e-5
        assert largest_difference(together["parameters"], whole["parameters"]) < 1e-5
        assert together["numbers"] == pytest.approx(whole["numbers"], abs=1e-5, rel=1e-5)
        assert largest_difference(share["gradients"], whole["gradients"]) > 1e-2  # a half alone has other ones


@pytest.mark.parametrize("agent", ["guide", "dreamer_v3"])
def test_the_range_of_returns_is_that_of_both(agent: str, seen: Seen) -> None:
    whole = seen[0]["updates"][agent]["whole"]["range"]
    assert whole[1] > whole[0] + 1e-3
    for one in seen:
        found = one["updates"][agent]
        torch.testing.assert_close(found["together"]["range"], whole, atol=1e-6, rtol=1e-5)
    # percentiles are no means: those of the halves, averaged, would be another range
    halves = torch.stack([one["updates"][agent]["share"]["range"] for one in seen])
    assert (halves.mean(0) - whole).abs().max() > 1e-4


def test_a_mean_of_means_is_the_mean_for_equal_shares_only() -> None:
    losses = torch.arange(6.0)
    equal, unequal = losses.split([3, 3]), losses.split([2, 4])
    assert torch.stack([share.mean() for share in equal]).mean() == losses.mean()
    assert torch.stack([share.mean() for share in unequal]).mean() != losses.mean()


# --- Whole runs -------------------------------------------------------------------------------------------------------


def test_both_have_one_agent_and_each_its_own_experience(seen: Seen) -> None:
    one, other = (found["unbroken"]["state"] for found in seen)
    assert one["counters"]["updates"] > 20
    for name in ("agent", "optimizer", "counters", "sums", "config"):
        assert_same(one[name], other[name])
    for name in ("obs", "action", "reward", "latent"):
        assert not torch.equal(one["replay"][name][0], other["replay"][name][0]), name
    assert one["random"]["numpy"] != other["random"]["numpy"]
    assert not torch.equal(one["random"]["torch"], other["random"]["torch"])


def test_steps_and_episodes_of_both_are_counted_and_kept(seen: Seen, folder: Path) -> None:
    state, records = seen[0]["unbroken"]["state"], written(folder / "unbroken")
    assert STEPS <= state["counters"]["steps"] < STEPS + 4
    finished = sum(
        int(torch.stack(found["unbroken"]["state"]["replay"]["is_last"]).sum()) for found in seen
    )  # but for those that end in the newest row, which is no experience yet
    newest = sum(int(found["unbroken"]["state"]["row"]["is_last"].sum()) for found in seen)
    episodes = [record for record in records if record["kind"] == "episode"]
    assert len(episodes) == finished + newest > 5
    assert [record["step"] // 10 for record in records if record["kind"] == "evaluation"] == [4, 8, 9]
    assert seen[1]["unbroken"]["records"] == []


@pytest.mark.parametrize("ended", ["stopped", "terminate", "raise"])
def test_a_run_that_goes_on_equals_one_that_was_not_broken(ended: str, seen: Seen, folder: Path) -> None:
    for found in seen:
        assert_same(found[f"{ended}, then on"]["state"], found["unbroken"]["state"])
    assert_same(timeless(written(folder / ended)), timeless(written(folder / "unbroken")))


def test_a_callback_of_the_first_stops_both(seen: Seen) -> None:
    for found in seen:
        counters = found["stopped"]["state"]["counters"]
        assert 50 <= counters["steps"] < STEPS
    assert_same(seen[0]["stopped"]["state"]["agent"], seen[1]["stopped"]["state"]["agent"])


def test_a_signal_to_one_stops_both_and_one_of_them_says_how_to_go_on(seen: Seen, folder: Path) -> None:
    assert seen[0]["terminate"]["error"] == "KeyboardInterrupt" and seen[1]["terminate"]["error"] == "SystemExit"
    way_on = f"torchrun --nproc-per-node 2 -m wm_tutorial resume {folder / 'terminate'}"
    assert "Stopped. Saved at step" in seen[0]["terminate"]["text"] and way_on in seen[0]["terminate"]["text"]


def test_an_environment_that_fails_in_one_ends_both_with_its_error(seen: Seen) -> None:
    assert seen[0]["raise"]["error"] == "ProcessFailure" and seen[1]["raise"]["error"] == "SystemExit"
    text = seen[0]["raise"]["text"]
    assert "Process 1 of 2" in text and "EnvironmentFailure" in text and "out of tea" in text
    assert "Saved at step" in text and "torchrun --nproc-per-node 2" in text


def test_a_loss_that_is_not_finite_in_one_stops_both_before_anything_is_changed(seen: Seen, folder: Path) -> None:
    assert seen[0]["reward"]["error"] == "ProcessFailure" and seen[1]["reward"]["error"] == "SystemExit"
    assert "NonFiniteError" in seen[0]["reward"]["text"] and "Nothing was changed" in seen[0]["reward"]["text"]
    with Run.load(folder / "reward", Troubled) as run:
        assert all(bool(p.isfinite().all()) for p in run.agent.parameters())


def test_what_does_not_divide_is_named(seen: Seen) -> None:
    assert seen[0]["odd batch"] == {
        "error": "InputError",
        "text": "batch_size is 5, which does not divide into 2 processes of equal shares. Give a multiple of 2, such "
        "as 4.",
    }
    assert seen[1]["odd batch"]["error"] == "SystemExit"


@pytest.mark.parametrize("name", ["envs", "batch_size", "imagined_starts"])
def test_each_share_is_equal_or_refused(name: str) -> None:
    machines = Machines.__new__(Machines)
    machines.rank, machines.size = 2, 3
    config = tiny(**{"envs": 6, "batch_size": 9, "imagined_starts": 3, "capacity": 600})
    share = machines.share(config)
    assert (share.envs, share.batch_size, share.imagined_starts, share.capacity) == (2, 3, 1, 200)
    assert machines.whole(share) == config
    with pytest.raises(InputError, match=f"{name} is 7, which does not divide into 3 processes.*such as 6"):
        machines.share(tiny(**{"envs": 6, "batch_size": 9, "imagined_starts": 3, name: 7}))


def test_each_process_has_a_seed_of_its_own_and_the_first_that_of_the_run() -> None:
    machines = Machines.__new__(Machines)
    seeds = []
    for machines.rank in range(64):
        seeds += [machines.seed(seed) for seed in range(20)]
    assert seeds[:20] == list(range(20)) and len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


class Words(dict[str, bytes]):
    """A store of words, in which the first process leaves after it was asked for so many times."""

    def __init__(self, leaves_after: int) -> None:
        super().__init__({"life/0": b"1"})
        self.leaves_after = leaves_after

    def set(self, key: str, word: str) -> None:
        """Say a word."""
        self[key] = word.encode()

    def check(self, keys: list[str]) -> bool:
        """Whether they were said."""
        if keys == ["left/0"]:
            self.leaves_after -= 1
            if self.leaves_after < 0:
                self.set("left/0", "yes")
        return all(key in self for key in keys)


def test_whoever_leaves_while_the_next_one_looks_is_not_taken_for_dead() -> None:
    machines = Machines.__new__(Machines)
    machines.rank = 1
    for leaves_after in range(4):
        machines.life = Life(Words(leaves_after), 1, 2)
        assert not machines.speaks(), leaves_after
    machines.life = Life(Words(1000), 1, 2)
    machines.life.seen[0] = "1", time.monotonic() - 2 * SILENT  # no new sign since then, and no farewell
    assert machines.speaks()


# --- The folder of such a run -----------------------------------------------------------------------------------------


def test_the_folder_holds_one_checkpoint_and_a_file_for_each_other_process(folder: Path) -> None:
    run = folder / "unbroken"
    (part,) = run.glob("process-*.pt")
    state, own = (torch.load(path, weights_only=True) for path in (run / CHECKPOINT, part))
    assert part.name == f"process-1-{state['processes']['parts'][1]}.pt"
    assert own.keys() >= set(OWN)


def test_the_options_are_told_as_they_were_given(folder: Path) -> None:
    settings = settings_of(folder / "unbroken")
    assert settings and settings["processes"] == 2
    assert {name: settings[name] for name in ("envs", "batch_size", "imagined_starts", "capacity")} == {
        name: options()[name] for name in ("envs", "batch_size", "imagined_starts", "capacity")
    }
    assert options_of(folder, settings).envs == 4
    assert "processes" not in (settings_of(folder / "of one") or {})


def test_one_process_can_look_at_a_run_of_two_and_not_go_on_with_it(folder: Path) -> None:
    with Run.load(folder / "unbroken", Troubled) as run:
        assert len(run.evaluate(3).returns) == 3
        assert_same(run.agent.state_dict(), Agent.load(folder / "unbroken" / CHECKPOINT).state_dict())
        with pytest.raises(InputError, match="one of 2 processes, and was opened to look at"):
            run.trainer.save()
    with pytest.raises(InputError, match=r"is one of 2 processes, and 1 process would go on with it: .*node 2 -m"):
        resume(folder / "unbroken", Troubled)


def test_two_processes_do_not_go_on_with_a_run_of_one(seen: Seen) -> None:
    assert seen[0]["of one"]["error"] == "InputError" and seen[1]["of one"]["error"] == "SystemExit"
    assert "is one of 1 process, and 2 processes would go on" in seen[0]["of one"]["text"]
    assert "wm-tutorial resume" in seen[0]["of one"]["text"]


@pytest.mark.parametrize("told", [3, {}, {"parts": 2}, {"parts": [0]}, {"parts": [0, -1]}, {"parts": [0, "1"]}])
def test_a_file_that_tells_nonsense_of_its_processes_is_refused(told: Any) -> None:
    with pytest.raises(CheckpointError, match="which no run has written"):
        files_of(told)
    assert files_of(None) == [0] and files_of({"parts": [0, 4, 2]}) == [0, 4, 2]


def test_the_table_of_the_page_is_what_was_measured() -> None:
    table = runpy.run_path(str(ROOT / "benchmarks" / "machines.py"))["table"]
    measured = json.loads((ROOT / "book" / "results" / "bench" / "machines.json").read_text())
    assert table(measured) in (ROOT / "book" / "machines.md").read_text()
    parts = ("one by the clock", "one, CPU", "two by the clock", "first of two, CPU", "second of two, CPU")
    seconds = dict(zip(parts, ([9.0], [8.0], [6.0], [4.0], [5.0]), strict=True))
    known = {
        "sizes": {"nano": {"parameters": 1000, "seconds": seconds}},
        "exchange of a few numbers": {"median": 0.002, "least": 0.0005}, "cores": 4, "load": 0.6,
    }  # fmt: skip
    assert "\n| nano | 1,000 | 8 | 5 | 1.60 | 1.50 |\n" in table(known)  # the busier counts
    assert table(known).endswith("took 2 ms (median), and 0.5 ms at least. 4 cores, load 1.")


# --- A process that dies ----------------------------------------------------------------------------------------------


def test_a_process_that_is_killed_ends_the_other_with_one_error_and_what_it_had_is_taken_from_its_last_file(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    given = [f"--{name.replace('_', '-')}={value}" for name, value in options().items() if value is not None]
    command = ["-m", "wm_tutorial", "train", "together:Killed", f"--out={run}", *given]
    began = time.monotonic()
    done = launched(*command, TROUBLE="kill")
    took = time.monotonic() - began
    assert done.returncode != 0 and took < 200
    said = [line for line in done.stderr.splitlines() if line.startswith("ProcessFailure:")]
    assert len(said) == 1 and "Process 1 of 2" in said[0] and "ended without a word" in said[0], done.stderr
    way_on = f"torchrun --nproc-per-node 2 -m wm_tutorial resume {run} --env together:Killed"
    assert way_on in said[0]
    assert done.stdout.count("Replay of") == 1
    checkpoint = torch.load(run / CHECKPOINT, weights_only=True)
    assert checkpoint["counters"]["steps"] > 50 and checkpoint["counters"]["updates"] > 0
    lost = torch.load(run / f"process-1-{checkpoint['processes']['parts'][1]}.pt", weights_only=True)
    assert 0 < lost["replay"]["added"] < checkpoint["replay"]["added"]
    assert (run / SETTINGS).exists() and Agent.load(run)

    done = launched("-m", "wm_tutorial", "resume", run, "--env=together:Killed")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Greedy evaluation") == 1
    assert torch.load(run / CHECKPOINT, weights_only=True)["counters"]["steps"] >= STEPS
