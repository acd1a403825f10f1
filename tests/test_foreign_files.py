"""Files of a run that were damaged, made by hand, or come from elsewhere: one clear error, soon, and no code is run."""

import copy
import os
import re
import shutil
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scripted import assert_same, snapshot, tiny, tree

from wm_tutorial import Run, resume
from wm_tutorial.agent import Agent
from wm_tutorial.checkpoint import AGENT, CHECKPOINT, METRICS, read, read_agent, write, write_agent
from wm_tutorial.chunks import FOLDER
from wm_tutorial.config import make_config
from wm_tutorial.errors import CheckpointError, InputError, OutputError
from wm_tutorial.trainer import Trainer


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run; nobody writes into it."""
    trainer = Trainer("CartPole-v1", tiny(), tmp_path_factory.mktemp("run"))
    trainer.run()
    assert trainer.folder
    return trainer.folder


@pytest.fixture
def content(run: Path, tmp_path: Path) -> dict[str, Any]:
    """What its checkpoint holds, to be changed; the files that it names are there already."""
    shutil.copytree(run / FOLDER, tmp_path / FOLDER)
    loaded: dict[str, Any] = torch.load(run / CHECKPOINT, weights_only=True)
    return loaded


def refused(load: Callable[[], Any], *expected: str) -> None:
    """One error for a file, in one line, that names it."""
    with pytest.raises(CheckpointError) as caught:
        load()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1500
    assert all(text in str(caught.value) for text in expected), str(caught.value)


# --- One bit ----------------------------------------------------------------------------------------------------------


def flips(size: int, count: int) -> Iterator[tuple[int, int]]:
    """Places and masks of single bits: some everywhere, more at the end, where a zip file has its index."""
    rng = np.random.default_rng(0)
    for place in [*rng.integers(size, size=count), *rng.integers(size - 2000, size, size=count)]:
        yield int(place), 1 << int(rng.integers(8))


def test_a_bit_of_a_checkpoint_that_flipped_is_noticed_or_harmless(run: Path, tmp_path: Path) -> None:
    whole, path = (run / CHECKPOINT).read_bytes(), tmp_path / CHECKPOINT
    right, noticed = read(run / CHECKPOINT), 0
    for place, mask in flips(len(whole), 150):
        damaged = bytearray(whole)
        damaged[place] ^= mask
        path.write_bytes(damaged)
        try:
            assert_same(read(path), right)  # a date, or padding
        except CheckpointError:
            noticed += 1
    assert noticed > 150


def test_a_bit_of_an_agent_that_flipped_is_noticed_or_harmless(run: Path, tmp_path: Path) -> None:
    whole, path = (run / AGENT).read_bytes(), tmp_path / AGENT
    right, noticed = Agent.load(run / AGENT), 0
    for place, mask in [*flips(len(whole), 100), *((place, 1) for place in range(8, 3000, 37))]:
        damaged = bytearray(whole)
        damaged[place] ^= mask
        path.write_bytes(damaged)
        try:
            agent = Agent.load(path)
        except CheckpointError:
            noticed += 1
        else:
            assert_same(dict(agent.state_dict()), dict(right.state_dict()))
            assert (agent.config, agent.spaces) == (right.config, right.spaces)
    assert noticed > 250


def test_an_option_that_was_changed_by_hand_is_noticed(run: Path, tmp_path: Path) -> None:
    """It would fit the tensors, and act otherwise."""
    changed = (run / AGENT).read_bytes().replace(b'unimix\\": 0.01', b'unimix\\": 0.61')
    (tmp_path / AGENT).write_bytes(changed)
    refused(lambda: Agent.load(tmp_path), "checksum", str(tmp_path / AGENT))


def test_agents_of_earlier_versions_have_no_checksum(run: Path, tmp_path: Path) -> None:
    without = re.sub(rb', \\"sha256\\": \\"\w+\\"', lambda found: b" " * len(found[0]), (run / AGENT).read_bytes())
    (tmp_path / AGENT).write_bytes(without)
    assert "sha256" not in read_agent(tmp_path / AGENT)[0]
    assert_same(dict(Agent.load(tmp_path).state_dict()), dict(Agent.load(run).state_dict()))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(value: float, content: dict[str, Any], tmp_path: Path) -> None:
    name = next(iter(content["agent"]))
    content["agent"][name].view(-1)[-1] = value
    torch.save(content, tmp_path / CHECKPOINT)
    for load in (Trainer.load, Agent.load):
        refused(lambda: load(tmp_path), str(tmp_path / CHECKPOINT), name, "not finite")  # noqa: B023


# --- Written by hand --------------------------------------------------------------------------------------------------


def wrong(value: Any) -> list[Any]:
    """What a value is not: of another type, shape or size, or no number."""
    match value:
        case torch.Tensor():
            other = [value.double() if value.dtype != torch.float64 else value.float(), value[..., None]]
            if value.numel() > 1:
                other += [value.flatten()[:1].clone().expand(value.shape) if value[0].numel() else 0, value.to_sparse()]
            return [
                *other,
                *([value * np.nan] if value.is_floating_point() and value.numel() else []),
                None,
                "x",
                1.5,
                [value],
            ]
        case bool() | str() | None:
            return [7, ["x"], {"x": 1}, -1.5]
        case int():
            return [-1, "1", None, [1], 1.5]
        case float():
            return [np.nan, -np.inf, "1", None, [1.0]]
        case list() | tuple():
            return [None, {}, 7, [*value, *(value[-1:] or ["x"])], [*value[:-1], None]]
    return [None, [], 7, {**value, "unknown": 1}]


def spoiled(nest: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Everything that is this nest but for one place, with the name of that place."""
    for other in wrong(nest) if depth else []:
        yield f": {other!r:.40}", other
    keys: list[Any] = []
    if isinstance(nest, dict):
        keys = list(nest)
        yield from ((f" without {key}", {k: v for k, v in nest.items() if k != key}) for key in keys)
    elif isinstance(nest, list):
        keys = [*range(min(2, len(nest)))]
    for key in keys[:12] if len(keys) < 40 or depth > 1 else keys[:2]:
        for name, other in spoiled(nest[key], depth + 1):
            changed = copy.copy(nest)
            changed[key] = other
            yield f".{key}{name}", changed


PARTS = (
    *("environment", "config", "spaces", "agent", "optimizer", "replay", "random", "environments", "row", "carry"),
    *("running", "counters", "sums"),
)
# What an older file may lack; what nobody takes from a file; and what may be anything of its kind: names of losses, and
# actions, which are lived again and compared with the row they lead to.
ALLOWED = re.compile(
    r"config without|spaces without obs_start|spaces(?: without |\.)native_shape(?:: None)?$|"
    r"optimizer\.param_groups\.\d(:| without|\.(?!lr))|random: {|"
    r"environments\.\d\.actions: \[|sums: {|counters without attended"
)


@pytest.mark.parametrize("part", PARTS)
def test_each_field_of_a_checkpoint_is_looked_at(part: str, content: dict[str, Any], tmp_path: Path) -> None:
    accepted, tried = [], 0
    for where, other in [("", None), *spoiled({part: content[part]})]:
        spoilt = {**content, **other} if other else {name: value for name, value in content.items() if name != part}
        if other == {}:
            continue  # nothing was spoilt
        torch.save(spoilt, tmp_path / CHECKPOINT)
        started, tried = time.perf_counter(), tried + 1
        try:
            Trainer.load(tmp_path)
        except (CheckpointError, InputError) as error:
            assert type(error) is CheckpointError or part in ("environment", "spaces"), (where, error)
            assert "\n" not in str(error) and (str(tmp_path) in str(error) or part == "spaces"), (where, error)
        else:
            accepted.append(f"{part}{where}".replace(f"{part}.{part}", part))
        assert time.perf_counter() - started < 5, where
    assert tried > 4
    assert not [where for where in accepted if not ALLOWED.match(where)]


@pytest.mark.parametrize("served", [10**6, -1])
def test_a_replay_that_cannot_be_is_refused(served: int, content: dict[str, Any], tmp_path: Path) -> None:
    content["replay"]["served"] = served
    torch.save(content, tmp_path / CHECKPOINT)
    refused(lambda: Trainer.load(tmp_path), "replay.served", str(tmp_path))


@pytest.mark.parametrize("load", [Trainer.load, Agent.load])
@pytest.mark.parametrize("changes", [{"layers": 10**7}, {"hidden": 10**9}, {"layers": 100}, {"envs": 10**4}], ids=str)
def test_networks_are_as_large_as_the_file_and_not_as_it_says(
    load: Callable[[Path], Any], changes: dict[str, Any], content: dict[str, Any], tmp_path: Path
) -> None:
    content["config"] = {**content["config"], **changes, "capacity": 10**6}
    torch.save(content, tmp_path / CHECKPOINT)
    started = time.perf_counter()
    if load == Agent.load and "envs" in changes:
        assert load(tmp_path)  # whose networks are the same
    else:
        refused(lambda: load(tmp_path), str(tmp_path))
    assert time.perf_counter() - started < 5


def test_a_small_file_that_unpacks_to_a_large_one_is_not_unpacked(run: Path, tmp_path: Path) -> None:
    large = 200_000_000
    with zipfile.ZipFile(tmp_path / CHECKPOINT, "w", zipfile.ZIP_DEFLATED) as packed:
        with zipfile.ZipFile(run / CHECKPOINT) as container:
            for entry in container.infolist():
                packed.writestr(entry.filename, container.read(entry))
        packed.writestr("archive/data/999", bytes(large))
    assert (tmp_path / CHECKPOINT).stat().st_size < 1_000_000
    tracemalloc.start()
    for load in (Trainer.load, Agent.load):
        refused(lambda: load(tmp_path), "would unpack to", str(tmp_path / CHECKPOINT))  # noqa: B023
    assert tracemalloc.get_traced_memory()[1] < large / 20
    tracemalloc.stop()


def test_a_header_of_an_agent_is_looked_at_field_by_field(run: Path, tmp_path: Path) -> None:
    header, tensors = read_agent(run / AGENT)
    del header["sha256"]
    accepted = []
    rest = {name: value for name, value in header.items() if name not in ("spaces", "config")}
    for where, other in spoiled({name: header[name] for name in ("spaces", "config")}):
        try:
            write_agent(tmp_path / AGENT, {**rest, **other}, tensors)
        except ValueError:  # JSON knows neither infinity nor what is no number
            continue
        try:
            Agent.load(tmp_path)
        except CheckpointError as error:
            assert str(tmp_path / AGENT) in str(error) and "\n" not in str(error)
        else:
            accepted.append(where)
    harmless = re.compile(
        r"\.config without|\.spaces without (obs_start|native_shape)|\.spaces\.(obs_start: -1|native_shape: None)"
    )
    assert not [where for where in accepted if not harmless.match(where)]


def test_tensors_that_are_missing_too_many_or_of_another_type_are_refused(run: Path, tmp_path: Path) -> None:
    header, tensors = read_agent(run / AGENT)
    del header["sha256"]
    name = next(iter(tensors))
    for other in (
        {key: value for key, value in tensors.items() if key != name},
        {**tensors, "behaviour.extra": torch.zeros(1)},
        {**tensors, name: tensors[name].double()},
        {**tensors, name: tensors[name][..., None]},
        {},
    ):
        write_agent(tmp_path / AGENT, header, other)
        refused(lambda: Agent.load(tmp_path), "no whole agent", str(tmp_path / AGENT))


# --- Whose code runs --------------------------------------------------------------------------------------------------


def test_no_module_that_a_file_names_is_imported(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gift_payload.py").write_text("import pathlib\npathlib.Path('executed').touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    content["environment"] = "gift_payload:CartPole-v1"
    torch.save(content, tmp_path / CHECKPOINT)
    for load in (Trainer.load, Run.load, resume):
        with pytest.raises(InputError, match=r"'gift_payload:CartPole-v1'.*name it yourself: env=.*--env"):
            load(tmp_path)
    assert Agent.load(tmp_path) and Trainer.load(tmp_path, "CartPole-v1")
    assert "gift_payload" not in sys.modules and not (tmp_path / "executed").exists()
    Trainer.load(tmp_path, "gift_payload:CartPole-v1")  # a person asked for it
    assert sys.modules.pop("gift_payload") and (tmp_path / "executed").exists()


# --- From another machine, or another time ----------------------------------------------------------------------------


def test_a_run_of_a_gpu_opens_on_a_machine_without_one(
    run: Path, content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    content["config"]["device"] = "cuda"
    content["random"]["cuda"] = torch.zeros(16, dtype=torch.uint8)
    torch.save(content, tmp_path / CHECKPOINT)
    with pytest.warns(UserWarning, match=r"'cuda'.*opened on the CPU") as told:
        opened = Run.load(tmp_path)
    assert len(told) == 1 and "\n" not in str(told[0].message)
    assert opened.config.device == "cpu" and opened.evaluate(2) == Run.load(run).evaluate(2)
    with pytest.raises(InputError, match="device is 'cuda'"):
        Trainer.load(tmp_path, device="cuda")  # who asks for one is told that there is none
    with pytest.warns(UserWarning, match="opened on the CPU"):
        resumed = Trainer.load(tmp_path, steps=70)
    resumed.run()
    assert Trainer.load(tmp_path).steps >= 70


def test_a_checkpoint_of_version_1_goes_on_in_the_same_way(content: dict[str, Any], run: Path, tmp_path: Path) -> None:
    """Its replay is in one piece, oldest row first; and it does not know what wrote it."""
    for kept, value in Trainer.load(run).replay.state_dict().items():  # it is not full: the oldest is the first
        content["replay"][kept] = torch.stack(value) if isinstance(value, list) else value
    del content["wm_tutorial"]
    torch.save({**content, "version": 1}, tmp_path / CHECKPOINT)
    old, new = Trainer.load(tmp_path, steps=80), Trainer.load(run, steps=80)
    new.folder = tmp_path / "new"
    new.folder.mkdir()
    old.run()
    new.run()
    assert_same(snapshot(old), snapshot(new))


@pytest.mark.parametrize("version", [0, 4])
def test_another_version_is_named_with_the_package_that_reads_it(
    version: int, content: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"wm_tutorial": "9.8.7"}')
    torch.save({**content, "version": version, "wm_tutorial": None}, tmp_path / CHECKPOINT)
    refused(lambda: Trainer.load(tmp_path), f"version {version}", "wm_tutorial 9.8.7")
    torch.save({**content, "version": version, "wm_tutorial": "6.5.4"}, tmp_path / CHECKPOINT)
    refused(lambda: Agent.load(tmp_path), f"version {version}", "wm_tutorial 6.5.4")


def test_options_of_another_version(content: dict[str, Any], tmp_path: Path) -> None:
    """One that is unknown may mean anything; one that is missing is at the default, which does what was done before."""
    torch.save({**content, "config": {**content["config"], "telepathy": 2}}, tmp_path / CHECKPOINT)
    for load in (Trainer.load, Agent.load):
        refused(lambda: load(tmp_path), "'telepathy'", f"wrote it (wm_tutorial {content['wm_tutorial']})")  # noqa: B023
    content["config"] = {"preset": "dreamer_v3"} | {k: v for k, v in content["config"].items() if k != "norm"}
    del content["config"]["fresh_sequences_first"]
    torch.save(content, tmp_path / CHECKPOINT)
    assert Trainer.load(tmp_path).config.fresh_sequences_first is False


@pytest.mark.parametrize("line", ["5", "[]", '{"kind": "train"}', '{"step": "3", "kind": 1}', "[" * 10**5, "\udcff"])
def test_lines_of_metrics_that_are_none_are_left_out(line: str, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path, dirs_exist_ok=True)
    whole = (run / METRICS).read_bytes()
    (tmp_path / METRICS).write_bytes(line.encode(errors="surrogateescape") + b"\n" + whole)
    assert Trainer.load(tmp_path).records == Trainer.load(run).records


# --- What is written can be read --------------------------------------------------------------------------------------


class Word(StrEnum):
    ADAM = "adam"


class Number(IntEnum):
    SEVEN = 7


class Rate(float):
    pass


PLAIN = {
    "seed": [np.arange(8)[7], np.uint8(7), Number.SEVEN],
    "world_model_lr": [np.logspace(-4, -2, 3)[1], np.float32(0.5), Rate(0.5)],
    "optimizer": [np.str_("adam"), Word.ADAM],
    "compile": [np.bool_(False)],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in PLAIN.items() for value in values])
def test_options_are_of_pythons_own_types_whatever_was_given(name: str, value: Any) -> None:
    given = getattr(make_config(**{name: value}), name)
    assert given == value and type(given) in (bool, int, float, str)


def test_a_run_with_numbers_and_words_of_numpy_can_be_loaded(tmp_path: Path) -> None:
    source = np.str_("CartPole-v1")
    options = {name: values[0] for name, values in PLAIN.items()}
    trainer = Trainer(source, tiny(**options), tmp_path)
    trainer.run()
    assert Agent.load(tmp_path).config == Trainer.load(tmp_path).config == trainer.config
    resumed = Trainer.load(tmp_path, final_lr=np.float64(0.5), steps=np.int64(70))
    resumed.run()
    assert Trainer.load(tmp_path).config.final_lr == 0.5


def test_a_file_that_cannot_be_read_replaces_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.pt", {"x": 1})
    before = tree(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(OutputError, match=r"a\.pt.*cannot be read back.*stays"):
        write(tmp_path / "a.pt", {"x": np.float64(1.0)})
    write_agent(tmp_path / "a.safetensors", {}, {"x": torch.ones(1)})
    whole = (tmp_path / "a.safetensors").read_bytes()
    with pytest.raises(OutputError, match="cannot be read back"):
        write_agent(tmp_path / "a.safetensors", {}, {"x": torch.full((1,), np.nan)})
    assert (tmp_path / "a.safetensors").read_bytes() == whole
    (tmp_path / "a.safetensors").unlink()
    assert tree(tmp_path) == before


def test_a_disk_that_changes_a_bit_is_noticed_while_the_old_file_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.pt", {"x": torch.zeros(1000)})
    before, save = tree(tmp_path), torch.save

    def flipping(content: Any, file: Any) -> None:
        save(content, file)
        file.seek(2000)
        file.write(b"\x01")

    monkeypatch.setattr(torch, "save", flipping)
    with pytest.raises(OutputError, match="checksum"):
        write(tmp_path / "a.pt", {"x": torch.zeros(1000)})
    assert tree(tmp_path) == before


def test_what_killed_processes_left_half_written_goes_with_the_next_write(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    kept = {f".a.pt.{os.getppid()}", ".a.pt.backup", f".b.pt.{gone.pid}", "a.pt"}
    for name in {*kept, f".a.pt.{gone.pid}", f".a.pt.{10**30}"}:
        (tmp_path / name).touch()
    write(tmp_path / "a.pt", {"x": 1})
    assert set(tree(tmp_path)) == kept


# --- Paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [None, 3, b"run", "a\0b", "~nobody-of-this-name/run"], ids=repr)
def test_what_names_no_file_is_refused(path: Any, run: Path) -> None:
    agent = Agent.load(run)
    for call in (Agent.load, Trainer.load, agent.save):
        with pytest.raises(InputError, match=r"^The path is .*Give the name of a folder or file\.$"):
            call(path)


def test_home_is_expanded_in_every_path(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Agent.load(run).save("~/a.safetensors")
    assert Agent.load("~/a.safetensors") and (tmp_path / "a.safetensors").exists()
    trainer = Trainer("CartPole-v1", tiny(), Path("~/run"))
    trainer.save()
    assert Trainer.load(Path("~/run")).folder == tmp_path / "run" and Agent.load("~/run")
    assert not (tmp_path / "~").exists()
