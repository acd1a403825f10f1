"""Agents on a model hub, through its own library (huggingface_hub), or in a folder of the same form.

from wm_tutorial.runs.hub import from_pretrained, push_to_hub, save_pretrained

push_to_hub(run.agent, "me/cartpole", environment="CartPole-v1")   # whoever has logged in with `hf auth login`
agent = from_pretrained("me/cartpole")

The folder holds agent.safetensors, which `Agent.save` writes, and a page README.md that says what it is. Reading it
runs no code of it: an agent of a stranger can at worst be refused, or act badly. It needs the package huggingface_hub:
pip install "wm_tutorial[hub]"; `save_pretrained`, and `from_pretrained` of a folder, need nothing.
"""

from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from wm_tutorial import checkpoint
from wm_tutorial.agent import Agent
from wm_tutorial.checkpoint import AGENT
from wm_tutorial.errors import CheckpointError, InputError, OutputError
from wm_tutorial.runs.asked import path_of
from wm_tutorial.runs.folder import make_folder

CARD = """---
library_name: wm_tutorial
pipeline_tag: reinforcement-learning
tags:
- reinforcement-learning
- world-model
- {preset}
---

# An agent of wm_tutorial{title}

It learns a model of its world, and acts by what it has learned inside it: preset `{preset}`{size}, {count:,}
parameters, made for {spaces}; written by wm_tutorial {version}.

```python
from wm_tutorial.runs.hub import from_pretrained

agent, carry = from_pretrained("{repo}"), None  # carry is what it remembers; None begins an episode
action, carry = agent.act(obs, carry)
```
"""


def save_pretrained(agent: Agent, folder: str | Path, environment: str = "", repo_id: str = "") -> Path:
    """Write an agent into a folder as a hub keeps it; returns the folder.

    Args:
        agent: of a `Run`, or one that was loaded.
        folder: made if it is missing. What else lies there stays; its README.md is written only if there is none.
        environment: what the page calls the world that it has learned in.
        repo_id: where the page says that it can be had; the folder if left out.

    Raises:
        InputError: if that is no agent that `from_pretrained` could read.
        OutputError: if the folder cannot be written.
    """
    if type(agent) is not Agent:
        raise InputError(
            f"The agent is a {type(agent).__name__} of {type(agent).__module__}; give a wm_tutorial.Agent."
        )
    folder = path_of(folder)
    make_folder(folder)
    agent.save(folder / AGENT)
    if not (folder / "README.md").exists():
        config = agent.config
        card = CARD.format(
            preset=config.preset,
            size=f", size `{config.size}`" if config.size else "",
            title=f" for {environment}" if environment else "",
            count=sum(parameter.numel() for parameter in agent.parameters()),
            spaces=agent.spaces,
            version=version("wm_tutorial"),
            repo=repo_id or folder.as_posix(),
        )
        checkpoint.write_text(folder / "README.md", card)
    return folder


def from_pretrained(where: str | Path, revision: str | None = None, token: str | None = None) -> Agent:
    """The agent in a folder that `save_pretrained` wrote, or in a repository of the hub, ready to act.

    Args:
        where: a folder, or OWNER/NAME. A folder of that name comes first.
        revision: of the repository: a branch, a tag or a commit. With a commit it is always the same agent.
        token: to be let in; the one of `hf auth login` if None.

    Raises:
        InputError: if the package huggingface_hub is needed and missing.
        CheckpointError: if there is no agent, or none that can be read.
    """
    folder = path_of(where)
    if folder.is_dir():
        return Agent.load(folder / AGENT)
    if len(folder.parts) != 2 or not isinstance(where, str):
        raise CheckpointError(f"There is no folder {folder}, and a repository of the hub is called OWNER/NAME.")
    download = _hub().hf_hub_download
    try:
        file = download(repo_id=where, filename=AGENT, revision=revision, token=token)
    except Exception as error:  # of many kinds: no network, no such repository, no right to it
        raise CheckpointError(
            f"There is no folder {where}, and the hub gave no {AGENT} of {where}: {_in_short(error)}."
        ) from error
    return Agent.load(file)


def push_to_hub(
    agent: Agent, repo_id: str, environment: str = "", private: bool = False, token: str | None = None
) -> str:
    """Write an agent, and a page about it, into a repository of the hub; returns its address.

    Args:
        agent: of a `Run`, or one that was loaded.
        repo_id: OWNER/NAME; the repository is made if it is missing. A README.md that is there is written anew.
        environment: what the page calls the world that it has learned in.
        private: whether a repository that is made is seen by its owner only.
        token: to be let in; the one of `hf auth login` if None.

    Raises:
        InputError: if the package huggingface_hub is missing, or that is no agent.
        OutputError: if the hub does not take it.
    """
    api = _hub().HfApi(token=token)
    with TemporaryDirectory() as folder:
        save_pretrained(agent, folder, environment, repo_id)
        try:
            made = api.create_repo(repo_id=repo_id, private=private, exist_ok=True)
            api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message="An agent of wm_tutorial")
        except Exception as error:  # of many kinds: no network, a name that cannot be, no right to it
            raise OutputError(
                f"The hub did not take {repo_id}: {_in_short(error)}. Log in with `hf auth login`, or keep the agent "
                "in a folder: save_pretrained(agent, folder)."
            ) from error
    return str(made)


def _in_short(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise InputError(
            f'The library of the hub is not there ({error}). Install it: pip install "wm_tutorial[hub]". A folder that '
            "save_pretrained wrote can be read without it."
        ) from error
    return huggingface_hub
