"""Agents go to a model hub and come back, through its own library; no network: its calls are answered here."""

import re
import shutil
import sys
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import numpy as np
import pytest
import yaml
from scripted import Scripted, tiny, tree

from wm_tutorial import Agent, Trainer, checkpoint
from wm_tutorial.errors import CheckpointError, InputError, OutputError
from wm_tutorial.runs.hub import from_pretrained, push_to_hub, save_pretrained
from wm_tutorial.world_models_2018 import Agent as Agent2018


@pytest.fixture
def agent() -> Agent:
    return Trainer(Scripted, tiny()).agent


def assert_same_agent(one: Agent, other: Agent) -> None:
    state = other.state_dict()
    assert one.spaces == other.spaces and one.config == other.config and state.keys() == one.state_dict().keys()
    assert all(bool((tensor == state[name]).all()) for name, tensor in one.state_dict().items())


def test_an_agent_comes_back_from_a_folder_and_acts_alike(agent: Agent, tmp_path: Path) -> None:
    folder = save_pretrained(agent, tmp_path / "new" / "mine", "Scripted")
    loaded = from_pretrained(folder)
    assert_same_agent(loaded, agent)
    obs = np.array([1.0, 2.0], np.float32)
    assert loaded.act(obs)[0] == agent.eval().act(obs)[0]
    assert set(tree(folder)) == {"agent.safetensors", "README.md"}
    assert_same_agent(Agent.load(folder), agent)  # it is a folder like that of a run


def test_the_page_says_what_the_agent_is(agent: Agent, tmp_path: Path) -> None:
    save_pretrained(agent, tmp_path, "Scripted", "me/mine")
    _, head, text = (tmp_path / "README.md").read_text().split("---\n", 2)
    told = yaml.safe_load(head)
    assert told["library_name"] == "wm_tutorial" and told["pipeline_tag"] == "reinforcement-learning"
    count = sum(parameter.numel() for parameter in agent.parameters())
    assert "for Scripted" in text and f"{count:,}\nparameters, made for {agent.spaces}" in text
    assert 'from_pretrained("me/mine")' in text


def test_a_page_of_ones_own_stays(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    save_pretrained(agent, tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_what_cannot_come_back_is_not_written(tmp_path: Path) -> None:
    ancestor = create_autospec(Agent2018, instance=True)
    for other in (ancestor, "agent", None):
        with pytest.raises(InputError, match=r"give a wm_tutorial\.Agent"):
            save_pretrained(other, tmp_path / "new")  # type: ignore[arg-type]
    assert not tree(tmp_path)


def test_a_damaged_or_missing_agent_is_told(agent: Agent, tmp_path: Path) -> None:
    save_pretrained(agent, tmp_path)
    (tmp_path / "agent.safetensors").write_bytes((tmp_path / "agent.safetensors").read_bytes()[:-5])
    with pytest.raises(CheckpointError, match="cannot be read as an agent"):
        from_pretrained(tmp_path)
    (tmp_path / "agent.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no agent at"):
        from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="a repository of the hub is called OWNER/NAME"):
        from_pretrained(tmp_path / "a" / "b")


@pytest.mark.parametrize("call", [lambda: from_pretrained("me/mine"), lambda: push_to_hub(None, "me/mine")])  # type: ignore[arg-type]
def test_without_the_library_it_says_what_to_install(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=re.escape('pip install "wm_tutorial[hub]"')):
        call()


# --- With the library, its hub a folder -------------------------------------------------------------------------------


class Made(str):
    """The address of a repository, as the library returns it."""

    @property
    def repo_id(self) -> str:
        return str(self)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub in a folder: the library's calls, with its signatures, answered from there."""
    library = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed: no calls to answer")
    home = tmp_path / "hub"

    def create(*, repo_id: str, private: bool, exist_ok: bool) -> Any:
        if not repo_id.startswith("me/"):
            raise library.errors.HFValidationError(f"no rights in {repo_id}\nand more")
        (home / repo_id).mkdir(parents=True, exist_ok=exist_ok)
        (home / "private").write_text(str(private))
        return Made(repo_id)

    def upload(*, repo_id: str, folder_path: str, commit_message: str) -> None:
        shutil.copytree(folder_path, home / repo_id, dirs_exist_ok=True)

    def download(*, repo_id: str, filename: str, revision: str | None, token: str | None) -> str:
        if revision is not None or not (home / repo_id / filename).exists():
            raise library.errors.LocalEntryNotFoundError(f"nothing in {repo_id}")
        return str(home / repo_id / filename)

    api = create_autospec(library.HfApi, instance=True)
    api.create_repo.side_effect, api.upload_folder.side_effect = create, upload
    monkeypatch.setattr(library, "HfApi", create_autospec(library.HfApi, return_value=api))
    monkeypatch.setattr(library, "hf_hub_download", create_autospec(library.hf_hub_download, side_effect=download))
    return home


def test_an_agent_goes_to_the_hub_and_comes_back(
    agent: Agent, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert push_to_hub(agent, "me/mine", "Scripted") == "me/mine"
    assert set(tree(hub / "me" / "mine")) == {"agent.safetensors", "README.md"}
    assert 'from_pretrained("me/mine")' in (hub / "me" / "mine" / "README.md").read_text()
    assert (hub / "private").read_text() == "False"
    assert_same_agent(from_pretrained("me/mine"), agent)
    push_to_hub(agent, "me/mine", private=True)  # again
    assert (hub / "private").read_text() == "True"
    monkeypatch.chdir(tmp_path)
    other = Trainer(Scripted, tiny(seed=1)).agent
    save_pretrained(other, "me/mine")
    assert_same_agent(from_pretrained("me/mine"), other)  # a folder of that name comes first


def test_what_the_hub_refuses_is_one_error(agent: Agent, hub: Path) -> None:
    with pytest.raises(OutputError, match="did not take you/mine: HFValidationError: no rights in you/mine"):
        push_to_hub(agent, "you/mine")
    with pytest.raises(
        CheckpointError, match=r"no folder me/none, and the hub gave no agent\.safetensors of me/none: Lo"
    ):
        from_pretrained("me/none")
    push_to_hub(agent, "me/mine")
    with pytest.raises(CheckpointError, match="nothing in me/mine"):
        from_pretrained("me/mine", revision="v2")


def test_an_agent_of_a_stranger_is_read_with_the_same_care(agent: Agent, hub: Path) -> None:
    (hub / "me" / "odd").mkdir(parents=True)
    checkpoint.write_agent(hub / "me" / "odd" / "agent.safetensors", {"kind": "odd"}, {})
    with pytest.raises(CheckpointError, match="holds no whole agent"):
        from_pretrained("me/odd")
