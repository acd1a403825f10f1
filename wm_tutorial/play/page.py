"""Agents for the browser: their page, and the file of weights in it."""

import dataclasses
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from safetensors.torch import save

from wm_tutorial import checkpoint
from wm_tutorial.agent import Agent
from wm_tutorial.config import plain
from wm_tutorial.errors import InputError
from wm_tutorial.play.whole import PLAYABLE, slim, whole_page, world_of


def weights(agent: Agent, half: bool = True) -> bytes:
    """What the player reads of an agent, as the bytes of a safetensors file with its spaces and options as JSON.

    Args:
        agent: any, of whatever world.
        half: 16 bits for each number in place of 32, with three digits left of seven: enough to play.
    """
    return slim(_file(agent), half)


def page(agents: Agent | Mapping[str, Agent], half: bool = True, film: tuple[str, str] | None = None) -> str:
    """A page in which an agent's dream can be played, whole: it needs no other file and no network.

    Args:
        agents: one, or several of one world by what the page calls them, to choose from.
        half: see `weights`.
        film: address and alternative text of a film, for readers without scripts.

    Raises:
        InputError: if there is no agent, or one of a world that cannot be played.
    """
    named = {"the agent": agents} if isinstance(agents, Agent) else agents
    worlds = {_world(agent) for agent in named.values()}
    if len(worlds) != 1:
        raise InputError(f"These agents play in {' and '.join(sorted(worlds)) or 'no world'}; give agents of one.")
    (world,) = worlds
    return whole_page({name: _file(agent) for name, agent in named.items()}, world, half, film)


def export(run: str | Path, out: str | Path, half: bool = True) -> Path:
    """Write the page of an agent (name.html), or its weights alone (name.safetensors); returns where.

    Args:
        run: a run folder, or a file that Agent.save wrote.
        out: the file to write.
        half: see `weights`.

    Raises:
        InputError: if the name ends otherwise, or the agent cannot be played.
        CheckpointError: if there is no agent to read.
        OutputError: if the file cannot be written.
    """
    path = checkpoint.user_path(out)
    if path.suffix not in (".html", ".safetensors"):
        raise InputError(f"out is {path.name!r}; give a name that ends in .html (a page) or .safetensors (weights).")
    agent = Agent.load(run)
    content = page(agent, half).encode() if path.suffix == ".html" else weights(agent, half)
    with checkpoint.atomic(path) as file:
        file.write(content)
    return path


def _world(agent: Agent) -> str:
    if world := world_of(dataclasses.asdict(agent.spaces)):
        return world
    raise InputError(
        f"The agent was made for {agent.spaces}. No world that can be played in a browser has these spaces: "
        f"{', '.join(PLAYABLE)} can. Its dreams are seen with `wm-tutorial dream`."
    )


def _file(agent: Agent) -> bytes:
    """The agent as `Agent.save` would write it."""
    told = {
        "wm_tutorial": version("wm_tutorial"),
        "spaces": dataclasses.asdict(agent.spaces),
        "config": plain(agent.config),
    }
    tensors = {name: tensor.detach().cpu().float().clone() for name, tensor in agent.state_dict().items()}
    return save(tensors, {"wm_tutorial": json.dumps(told, allow_nan=False)})
