"""The page of the player, and the file of weights in it."""

import base64
import dataclasses
import html
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from string import Template

from safetensors.torch import save

from wm_tutorial import checkpoint
from wm_tutorial.agent import Agent
from wm_tutorial.config import plain
from wm_tutorial.data import Spaces
from wm_tutorial.errors import InputError

HERE = Path(__file__).parent
PARTS = ("world_model.", "behaviour.actor.")  # the player judges nothing: no critic


@dataclasses.dataclass(frozen=True)
class Playable:
    """A world that `worlds.js` knows.

    obs_kind, obs_shape, actions  of its spaces, which tell an agent's world
    help                          how it is played
    """

    obs_kind: str
    obs_shape: tuple[int, ...]
    actions: int
    help: str

    def fits(self, spaces: Spaces) -> bool:
        """Whether an agent with these spaces was made for it."""
        told = spaces.obs_kind, spaces.obs_shape, spaces.action_size, spaces.action_kind
        return told == (self.obs_kind, self.obs_shape, self.actions, "discrete")


PLAYABLE = {
    "CartPole-v1": Playable(
        "vector", (4,), 2, "Hold an arrow (key or button) to push the cart yourself; let go, and the agent acts."
    ),
    "wm_tutorial/CatchInTheDark-v0": Playable(
        "image", (16, 16, 3), 3,
        "Hold an arrow (key or button) to move the blue paddle under the ball yourself; let go, and the agent acts. "
        "The ball hides in the dark rows, in reality too.",
    ),
}  # fmt: skip
BUTTONS = (("ArrowLeft", "←", "left"), ("ArrowDown", "•", "stay"), ("ArrowRight", "→", "right"))


def weights(agent: Agent, half: bool = False) -> bytes:
    """What the player reads of an agent, as the bytes of a safetensors file with its spaces and options as JSON.

    Args:
        agent: any with a policy.
        half: 16 bits for each number in place of 32; a dream then differs from the third digit on.

    Raises:
        InputError: if the agent has no policy.
    """
    tensors = {
        name: (tensor.half() if half else tensor.float()).cpu().contiguous()
        for name, tensor in agent.state_dict().items()
        if name.startswith(PARTS)
    }
    if not any(name.startswith(PARTS[1]) for name in tensors):
        raise InputError("This agent has no policy of its own, so there is nobody to play. Give one that has learned.")
    told = {
        "format": "wm_tutorial player",
        "wm_tutorial": version("wm_tutorial"),
        "spaces": dataclasses.asdict(agent.spaces),
        "config": plain(agent.config),
    }
    return save(tensors, {"wm_tutorial": json.dumps(told, allow_nan=False)})


def page(agents: Agent | Mapping[str, Agent], half: bool = True) -> str:
    """A page in which an agent's dream can be played, whole: it needs no other file and no network.

    Args:
        agents: one, or several of one world by what the page calls them, to choose from.
        half: see `weights`.

    Raises:
        InputError: if there is no agent, or one of a world that cannot be played.
    """
    named = {"the agent": agents} if isinstance(agents, Agent) else agents
    worlds = {world_of(agent) for agent in named.values()}
    if len(worlds) != 1:
        raise InputError(f"These agents play in {' and '.join(sorted(worlds)) or 'no world'}; give agents of one.")
    (world,) = worlds
    files = {name: base64.b64encode(weights(agent, half)).decode() for name, agent in named.items()}
    chooser = ""
    if len(files) > 1:
        options = "".join(f"<option>{html.escape(name)}</option>" for name in files)
        chooser = f'<label>Agent <select data-wm="agent">{options}</select></label>'
    moves = "".join(
        f'<button type="button" class="wm-move" data-action="{key}" aria-label="{label}">{sign}</button>'
        for key, sign, label in BUTTONS
    )
    return Template((HERE / "page.html").read_text()).substitute(
        title=html.escape(world.removeprefix("wm_tutorial/")),
        style=(HERE / "player.css").read_text(),
        narrow=" wm-picture" if PLAYABLE[world].obs_kind == "image" else "",
        moves=moves,
        chooser=chooser,
        help=html.escape(PLAYABLE[world].help),
        scripts="\n".join((HERE / f"{name}.js").read_text() for name in ("model", "worlds", "player")),
        files=json.dumps(files).replace("</", "<\\/"),
        world=json.dumps(world),
    )


def world_of(agent: Agent) -> str:
    """The world that an agent was made for, by its spaces; raises InputError if it cannot be played."""
    for name, world in PLAYABLE.items():
        if world.fits(agent.spaces):
            return name
    raise InputError(
        f"The agent was made for {agent.spaces}. No world that can be played in a browser has these spaces: "
        f"{', '.join(PLAYABLE)} can. Its dreams are seen with `wm-tutorial dream`."
    )


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
