"""A checkpoint is there or it is not, says when it is broken, runs nobody's code, and acts as what was saved."""

import dataclasses
import errno
import itertools
import json
import math
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from helpers import randomise
from scripted import Fixed, Scripted, Seeded, Space, assert_same, memory, snapshot, tiny, tree

from wm_tutorial import checkpoint, zoo
from wm_tutorial.agent import Agent, told_spaces
from wm_tutorial.checkpoint import AGENT, CHECKPOINT, read, write, write_or_rescue, write_text
from wm_tutorial.config import make_config
from wm_tutorial.data import Spaces
from wm_tutorial.errors import CheckpointError, InputError, OutputError
from wm_tutorial.trainer import Trainer

CONTENT = {
    "tensor": torch.arange(6.0).reshape(2, 3),
    "bytes": torch.tensor([0, 255], dtype=torch.uint8),
    "empty": torch.zeros(0, 3),
    "number": 0.1,
    "integer": 2**62,
    "text": "ä",
    "nothing": None,
    "nested": {"list": [1, {"two": (3, 4.5)}], "flag": True},
}


@pytest.fixture
def rescue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of the system to look into."""
    folder = tmp_path / "system"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """A finished run in a folder."""
    trainer = Trainer("CartPole-v1", tiny(), tmp_path_factory.mktemp("run"))
    trainer.run()
    return trainer


def failing_save(error: BaseException, where: Path | None = None) -> Callable[[Any, BinaryIO], None]:
    """What `torch.save` does when something happens half-way through, anywhere or below `where` only."""
    save = torch.save

    def broken(content: Any, file: BinaryIO) -> None:
        if where is None or Path(file.name).is_relative_to(where):
            file.write(b"PK half of a checkpoint")
            file.flush()
            raise error
        save(content, file)

    return broken


# --- Writing ----------------------------------------------------------------------------------------------------------


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    write(tmp_path / "new" / "folders" / "a.pt", CONTENT)
    content = read(tmp_path / "new" / "folders" / "a.pt")
    assert_same({name: content[name] for name in CONTENT}, CONTENT)
    assert content.keys() - CONTENT.keys() == {"format", "version", "wm_tutorial"}
    assert list(tree(tmp_path)) == ["new", "new/folders", "new/folders/a.pt"]


def test_a_second_write_replaces_the_first(tmp_path: Path) -> None:
    write(tmp_path / "a.pt", {"x": 1, "y": 2})
    write(tmp_path / "a.pt", {"x": 3})
    assert read(tmp_path / "a.pt")["x"] == 3
    assert "y" not in read(tmp_path / "a.pt")
    assert list(tree(tmp_path)) == ["a.pt"]


ERRORS = [
    OSError(errno.ENOSPC, "No space left on device"),
    RuntimeError("PytorchStreamWriter failed writing file data/0"),  # how torch.save reports the same
    KeyboardInterrupt(),
    MemoryError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("existing", [True, False])
def test_a_write_that_fails_half_way_leaves_the_old_file_and_nothing_else(
    error: BaseException, existing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pt"
    if existing:
        write(path, {"x": 1})
    before = tree(tmp_path)
    monkeypatch.setattr(torch, "save", failing_save(error))
    with pytest.raises(OutputError if isinstance(error, OSError | RuntimeError) else type(error)) as caught:
        write(path, {"x": 2})
    if isinstance(caught.value, OutputError):
        assert str(path) in str(caught.value)
        assert str(error) in str(caught.value)
        assert "out=" in str(caught.value)
    assert tree(tmp_path) == before
    assert not existing or read(path)["x"] == 1


def test_the_old_file_is_there_until_the_new_one_is_complete_and_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pt"
    write(path, {"x": 1})
    events: list[tuple[str, int]] = []
    save, fsync = torch.save, os.fsync

    def watched_save(content: Any, file: BinaryIO) -> None:
        save(content, file)
        events.append(("saved", read(path)["x"]))

    def watched_fsync(number: int) -> None:
        fsync(number)
        events.append(("on disk", read(path)["x"]))

    monkeypatch.setattr(torch, "save", watched_save)
    monkeypatch.setattr(os, "fsync", watched_fsync)
    write(path, {"x": 2})
    assert events == [("saved", 1), ("on disk", 1)]
    assert read(path)["x"] == 2


@pytest.mark.parametrize("where", ["file/a.pt", "file/below/a.pt"])
def test_a_path_below_a_file_is_an_output_error(where: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("I am no folder")
    before = tree(tmp_path)
    with pytest.raises(OutputError, match=re.escape(str(tmp_path / where))):
        write(tmp_path / where, {})
    assert tree(tmp_path) == before


def test_a_folder_in_the_place_of_the_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "a.pt" / "precious").mkdir(parents=True)
    before = tree(tmp_path)
    with pytest.raises(OutputError):
        write(tmp_path / "a.pt", {})
    assert tree(tmp_path) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_folder_is_an_output_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match=re.escape(str(tmp_path))):
        write(tmp_path / "a.pt", {})


def test_text_is_written_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "new" / "a.txt", "ä\n")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "ä\n".encode()

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_text(tmp_path / "new" / "a.txt", "b\n")
    assert tree(tmp_path / "new") == {"a.txt": "ä\n".encode()}


# --- A full disk ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", ERRORS[:2], ids=lambda error: type(error).__name__)
def test_on_a_full_disk_the_file_is_put_elsewhere_and_the_error_says_where(
    error: Exception, rescue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    write(folder / "a.pt", {"x": 1})
    monkeypatch.setattr(torch, "save", failing_save(error, folder))
    with pytest.raises(OutputError) as caught:
        write_or_rescue(folder / "a.pt", {"x": 2})
    (saved,) = rescue.rglob("a.pt")
    assert f"saved in {saved.parent} instead" in str(caught.value)
    assert str(folder / "a.pt") in str(caught.value)
    assert (read(saved)["x"], read(folder / "a.pt")["x"]) == (2, 1)


def test_with_enough_space_nothing_is_rescued(rescue: Path, tmp_path: Path) -> None:
    write_or_rescue(tmp_path / "a.pt", {"x": 1})
    assert read(tmp_path / "a.pt")["x"] == 1
    assert not tree(rescue)


def test_what_was_learned_survives_a_full_disk(
    run: Trainer, rescue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last checkpoint cannot be written: the agent and the run go on from where the file was put instead."""
    folder = tmp_path / "run"
    folder.mkdir()
    trainer = Trainer("CartPole-v1", tiny(), folder)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", failing_save(ERRORS[0], folder))
        with pytest.raises(OutputError) as caught:
            trainer.run()
    (saved,) = rescue.rglob(CHECKPOINT)
    assert str(saved.parent) in str(caught.value)
    assert not (folder / CHECKPOINT).exists()
    assert Agent.load(saved.parent)
    resumed = Trainer.load(saved.parent, steps=80)
    assert resumed.steps == trainer.steps == run.steps
    assert_same({**snapshot(resumed), "config": None}, {**snapshot(run), "config": None})
    resumed.run()
    assert resumed.steps >= 80


# --- Reading ----------------------------------------------------------------------------------------------------------


class Malicious:
    """A pickle may name any function, and unpickling calls it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def save_pickle(path: Path, evil: Malicious) -> None:
    path.write_bytes(pickle.dumps({"format": checkpoint.FORMAT, "version": checkpoint.VERSION, "x": evil}))


def save_old_format(path: Path, evil: Malicious) -> None:
    torch.save({"format": checkpoint.FORMAT, "version": 1, "x": evil}, path, _use_new_zipfile_serialization=False)


def save_checkpoint(path: Path, evil: Malicious) -> None:
    torch.save({"format": checkpoint.FORMAT, "version": checkpoint.VERSION, "x": evil}, path)


@pytest.mark.parametrize("save", [save_pickle, save_old_format, save_checkpoint])
def test_code_in_a_file_is_not_run(save: Callable[[Path, Malicious], None], tmp_path: Path) -> None:
    save(tmp_path / CHECKPOINT, Malicious(tmp_path / "executed"))
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path / CHECKPOINT))):
        Agent.load(tmp_path)
    assert not (tmp_path / "executed").exists()
    if save is save_pickle:  # the same bytes, read carelessly
        pickle.loads((tmp_path / CHECKPOINT).read_bytes())
        assert (tmp_path / "executed").exists()


def refused(path: Path, *expected: str) -> None:
    """Whoever reads the file is told which one it is, in one line, and what to do."""
    for load in (read, Agent.load, lambda path: Trainer.load(path.parent)):
        with pytest.raises(CheckpointError) as caught:
            load(path)
        message = str(caught.value)
        assert str(path) in message
        assert "\n" not in message
        assert all(text in message for text in expected), message


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    refused(tmp_path / CHECKPOINT, "no checkpoint", "run folder")
    refused(tmp_path / "missing" / CHECKPOINT, "no checkpoint")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path / "empty" / CHECKPOINT))):
        Agent.load(tmp_path / "empty")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"not a checkpoint",
        b"PK\x03\x04",
        b"\x80\x02",
        b"\x80\x04.",
        b"\x80\x02K\x01.",
        b"(lp0\n.",
        os.urandom(0),
    ],
)
def test_other_files_are_reported(content: bytes, tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(content)
    refused(tmp_path / CHECKPOINT)


@pytest.mark.parametrize("seed", range(30))
def test_random_bytes_are_reported(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    beginning = (b"", b"\x80\x02", b"\x80\x02}q\x00(X", b"PK\x03\x04")[seed % 4]
    (tmp_path / CHECKPOINT).write_bytes(beginning + rng.bytes(int(rng.integers(1, 3000))))
    refused(tmp_path / CHECKPOINT)


@pytest.mark.parametrize("bug", ["posterior_blind", "encoder_detached"])
def test_a_run_of_which_a_part_never_had_a_gradient_can_be_opened(bug: str, tmp_path: Path) -> None:
    """Who has cut off a part by mistake has learned all the same, and asks the doctor."""
    with zoo.bug(bug):
        trainer = Trainer("CartPole-v1", tiny(), tmp_path)
        trainer.run()
        assert {} in trainer.learner.optimizer_state()["state"].values()
        assert_same(snapshot(Trainer.load(tmp_path)), snapshot(trainer))
    going_on = Trainer.load(tmp_path, steps=trainer.config.steps + 40)  # mended
    going_on.run()
    assert {} not in going_on.learner.optimizer_state()["state"].values()
    whole = going_on.learner.optimizer_state()
    with pytest.raises(CheckpointError, match=r"optimizer\.state is a dict without 0"):
        trainer.learner.load_optimizer({**whole, "state": {k: v for k, v in whole["state"].items() if k}})


def test_a_truncated_checkpoint_is_reported_wherever_it_ends(run: Trainer, tmp_path: Path) -> None:
    assert run.folder
    whole = (run.folder / CHECKPOINT).read_bytes()
    for length in {*range(1, len(whole), len(whole) // 25), len(whole) - 1}:
        (tmp_path / CHECKPOINT).write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=re.escape(str(tmp_path / CHECKPOINT))):
            read(tmp_path / CHECKPOINT)


def test_a_damaged_index_is_reported(run: Trainer, tmp_path: Path) -> None:
    """Wherever the description of the content is hit, the error is still the one that can be understood."""
    assert run.folder
    whole = (run.folder / CHECKPOINT).read_bytes()
    begin = whole.index(b"data.pkl") + 100
    found = 0
    for place in itertools.chain(range(begin, begin + 2000, 40), range(len(whole) - 400, len(whole), 20)):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        (tmp_path / CHECKPOINT).write_bytes(damaged)
        try:
            read(tmp_path / CHECKPOINT)
        except CheckpointError:
            found += 1
    assert found > 20


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"format": "something else", "version": 1},
        {"state_dict": {"weight": torch.ones(2)}},
        [1, 2],
        torch.ones(3),
        7,
    ],
    ids=["empty", "format", "state_dict", "list", "tensor", "number"],
)
def test_what_others_have_saved_is_reported(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / CHECKPOINT)
    refused(tmp_path / CHECKPOINT, "not a checkpoint of this package", "run folder")


@pytest.mark.parametrize("version", [0, checkpoint.VERSION + 1, None, "1", True])
def test_another_version_is_named(version: Any, tmp_path: Path) -> None:
    torch.save({"format": checkpoint.FORMAT, "version": version}, tmp_path / CHECKPOINT)
    refused(tmp_path / CHECKPOINT, f"version {version!r}", "reads version 1, 2 and 3", "config.json")
    torch.save({"format": checkpoint.FORMAT}, tmp_path / CHECKPOINT)
    refused(tmp_path / CHECKPOINT, "version")


# --- The agent that comes back ----------------------------------------------------------------------------------------


def episode(agent: Agent, env: gym.Env[Any, Any], greedy: bool, steps: int = 30) -> list[Any]:
    """What an agent does from the same start, with the same random numbers."""
    torch.manual_seed(0)
    (obs, _), carry, actions = env.reset(seed=3), None, []
    for _ in range(steps):
        action, carry = agent.act(obs, carry, greedy)
        actions.append(action)
        obs, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            break
    return [obs, actions]


@pytest.mark.parametrize("greedy", [True, False])
@pytest.mark.parametrize("from_folder", [True, False])
def test_a_loaded_agent_acts_as_the_trained_one(run: Trainer, greedy: bool, from_folder: bool) -> None:
    assert run.folder
    agent = Agent.load(run.folder if from_folder else str(run.folder / CHECKPOINT))
    env = gym.make("CartPole-v1", disable_env_checker=True)
    assert_same(episode(agent, env, greedy), episode(run.agent, env, greedy))
    assert_same(dict(agent.state_dict()), dict(run.agent.state_dict()))
    assert agent.config == run.config
    assert agent.spaces == run.agent.spaces
    assert not agent.training


def test_a_loaded_agent_needs_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Trainer(Scripted, tiny(), tmp_path).save()
    monkeypatch.setattr(gym, "make", None)
    action, _ = Agent.load(tmp_path).act(np.zeros(2))
    assert action in (0, 1)


def test_a_run_folder_can_be_moved(run: Trainer, tmp_path: Path) -> None:
    assert run.folder
    shutil.copytree(run.folder, tmp_path / "elsewhere")
    resumed = Trainer.load(tmp_path / "elsewhere")
    assert_same(snapshot(resumed), snapshot(run))
    resumed.save()
    assert resumed.folder == tmp_path / "elsewhere"


ACTIONS = {
    "discrete": Discrete(3),
    "discrete from 4": Discrete(3, start=4),
    "discrete from -1": Discrete(2, start=-1),
    "continuous": Box(np.array([-2.0, 0.5], np.float32), np.array([1.0, 0.75], np.float32)),
}
OBSERVATIONS: dict[str, Space] = {
    "vector": memory(3),
    "matrix": Box(-9, 9, (2, 3), np.float32),
    "image": Box(0, 255, (8, 9, 3), np.uint8),
    "grey image": Box(0, 255, (8, 9), np.uint8),
    "discrete from 2": Discrete(5, start=2),
}


@pytest.mark.parametrize("actions", ACTIONS)
@pytest.mark.parametrize("observations", OBSERVATIONS)
def test_actions_never_leave_the_space(actions: str, observations: str) -> None:
    space, torch_seed = ACTIONS[actions], 0
    env = Fixed(OBSERVATIONS[observations], space)
    agent = Trainer(lambda: Fixed(OBSERVATIONS[observations], space), tiny()).agent
    with torch.no_grad():
        agent.behaviour.actor.net[-1].weight.mul_(300.0)  # from one bound to the other
    torch.manual_seed(torch_seed)
    seen, carry = set(), None
    for i in range(60):
        action, carry = agent.act(env.observation_space.sample(), carry, greedy=i % 2 == 0)
        assert space.contains(action), action
        seen.add(str(action))
    assert len(seen) > 1


def test_act_does_what_the_training_policy_does() -> None:
    """The same observations lead to the same actions, in the units of the environment."""
    trainer = Trainer("Pendulum-v1", tiny(envs=1))
    row, carry, act_carry = trainer.environments.reset(), trainer.agent.initial(1), None
    for _ in range(10):
        carry = trainer.agent.policy(row, carry, greedy=True)
        action, act_carry = trainer.agent.act(row.obs[0], act_carry)
        assert action == pytest.approx(2.0 * carry.action.numpy()[0].clip(-1, 1), abs=1e-6)
        row = trainer.environments.step(row, carry.action.numpy())


def test_act_hands_over_what_it_remembers_and_none_forgets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Trainer(Seeded, tiny()).agent
    given: list[dict[str, Any]] = []
    step = agent.world_model.dynamics.step

    def spy(state: Any, action: Any, is_first: Any, embedding: Any, greedy: bool = False) -> Any:
        given.append({"latent": state.latent.clone(), "action": action.clone(), "is_first": is_first.tolist()})
        return step(state, action, is_first, embedding, greedy)

    monkeypatch.setattr(agent.world_model.dynamics, "step", spy)
    _, first = agent.act(np.ones(3))
    _, second = agent.act(np.ones(3), first)
    agent.act(np.ones(3), second)
    agent.act(np.ones(3), None)
    assert [call["is_first"] for call in given] == [[True], [False], [False], [True]]
    for call, carry in ((given[1], first), (given[2], second)):
        assert_same([call["latent"], call["action"]], [carry.state.latent, carry.action])
        assert call["latent"].any() and call["action"].any()
    for call in (given[0], given[3]):
        assert not call["latent"].any() and not call["action"].any()


def test_greedy_actions_repeat_themselves_and_need_no_random_numbers() -> None:
    agent = Trainer(Seeded, tiny()).agent
    before = torch.get_rng_state()
    one, two = agent.act(np.ones(3))[0], agent.act(np.ones(3))[0]
    assert one == two
    assert_same(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("space", "observation"),
    [
        (memory(3), np.zeros(2)),
        (memory(3), np.zeros(6)),  # two observations at once
        (memory(3), np.zeros(0)),
        (memory(3), [0.0, np.nan, 0.0]),
        (memory(3), [0.0, np.inf, 0.0]),
        (memory(3), [0.0, 1e300, 0.0]),
        (memory(3), "three"),
        (memory(3), None),
        (Box(0, 255, (8, 9, 3), np.uint8), np.zeros((9, 9, 3), np.uint8)),
        (Discrete(3), 3),
        (Discrete(3), None),
    ],
)
def test_observations_of_something_else_are_refused(space: Space, observation: Any) -> None:
    agent = Trainer(lambda: Fixed(space), tiny()).agent
    with pytest.raises(InputError) as caught:
        agent.act(observation)
    assert str(agent.spaces) in str(caught.value)
    assert repr(observation) in str(caught.value)


def test_a_discrete_observation_below_the_first_one_is_refused() -> None:
    spaces = Spaces("discrete", (3,), "discrete", 2, (0.0,), (1.0,), obs_start=2)
    with pytest.raises(InputError, match="whole number from 2 to 4"):
        Agent(spaces, tiny()).act(1)


def test_an_agent_that_knew_classes_as_numbers_is_refused() -> None:
    told = dataclasses.asdict(Spaces("discrete", (3,), "discrete", 2, (0.0,), (1.0,)))
    assert told_spaces(told).obs_kind == "discrete"
    del told["native_shape"]
    with pytest.raises(ValueError, match=r"earlier version.*now they are classes"):
        told_spaces(told)


# --- An agent alone ---------------------------------------------------------------------------------------------------

AGENTS = {"CartPole-v1": "guide", "Pendulum-v1": "dreamer_v3", "wm_tutorial/CatchInTheDark-v0": "dreamer_v3"}


@pytest.mark.parametrize(("environment", "preset"), AGENTS.items())
def test_an_agent_alone_acts_as_the_one_that_was_saved(environment: str, preset: str, tmp_path: Path) -> None:
    trainer = Trainer(environment, make_config(preset, capacity=2000, envs=1, conv_depth=2, hidden=8))
    before = randomise(trainer.agent)
    after = Agent.load(before.save(tmp_path / "a.safetensors"))
    assert after.spaces == before.spaces and after.config == before.config
    assert_same(after.state_dict(), before.state_dict())
    obs, one, other = gym.make(environment).reset(seed=0)[0], None, None
    for _ in range(3):
        (left, one), (right, other) = before.act(obs, one), after.act(obs, other)
        assert np.array_equal(left, right) and one is not None and other is not None


def test_an_agent_alone_is_small_and_any_program_can_read_it(tmp_path: Path) -> None:
    agent = Trainer("CartPole-v1", make_config("dreamer_v3", "nano", clip=math.inf, capacity=2000)).agent
    path = agent.save(tmp_path / "a.safetensors")
    numbers = sum(tensor.numel() for tensor in agent.state_dict().values())
    assert 4 * numbers < path.stat().st_size < 4 * numbers + 30_000
    content = path.read_bytes()  # eight bytes of length, JSON, numbers
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length], parse_constant=pytest.fail)
    told = json.loads(header["__metadata__"]["wm_tutorial"], parse_constant=pytest.fail)
    assert told["config"]["clip"] == "inf" and told["spaces"]["obs_shape"] == [4]
    begin, end = header["behaviour.actor.net.0.0.weight"]["data_offsets"]
    raw = np.frombuffer(content[8 + length :][begin:end], np.float32)
    assert np.array_equal(raw, agent.state_dict()["behaviour.actor.net.0.0.weight"].numpy().ravel())


def test_a_run_folder_keeps_its_agent_beside_the_checkpoint(run: Trainer, tmp_path: Path) -> None:
    assert run.folder is not None
    shutil.copytree(run.folder, tmp_path / "run")
    (tmp_path / "run" / CHECKPOINT).write_bytes(b"nothing")  # which is not even looked at
    assert_same(Agent.load(tmp_path / "run").state_dict(), run.agent.state_dict())
    shutil.copytree(run.folder, tmp_path / "older")
    (tmp_path / "older" / AGENT).unlink()  # as folders of earlier versions are
    assert_same(Agent.load(tmp_path / "older").state_dict(), run.agent.state_dict())


def test_an_agent_is_kept_under_a_name_that_says_what_it_is(run: Trainer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'agent.pt'.*\.safetensors"):
        run.agent.save(tmp_path / "agent.pt")


SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "something else": lambda content: b"PK" + content,
    "another kind": lambda content: content.replace(b"wm_tutorial agent", b"wm_tutorial ageng"),
    "another version": lambda content: content.replace(b'version\\": 1,', b'version\\": 7,'),
    "no number": lambda content: content[:-4] + np.float32(np.nan).tobytes(),
    "a tensor missing": lambda content: content.replace(b"actor.net.0.0.bias", b"actor.net.0.0.bios"),
    "another size": lambda content: content.replace(b'hidden\\": 8', b'hidden\\": 9'),
    "an unknown option": lambda content: content.replace(b'hidden\\"', b'hiddem\\"'),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_file_that_holds_no_whole_agent_is_one_error(how: str, run: Trainer, tmp_path: Path) -> None:
    path = run.agent.save(tmp_path / "a.safetensors")
    content = path.read_bytes()
    path.write_bytes(SPOILED[how](content))
    assert path.read_bytes() != content
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        Agent.load(path)


def test_a_full_disk_leaves_the_old_agent(run: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = run.agent.save(tmp_path / "a.safetensors")
    content = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError):
        run.agent.save(path)
    assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]
