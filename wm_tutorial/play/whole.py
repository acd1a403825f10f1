"""The page of the player, from the bytes of agents. It needs the standard library alone: the website is built so."""

import base64
import html
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

HERE = Path(__file__).parent
PARTS = ("world_model.", "behaviour.actor.")  # the player judges nothing: no critic
BUTTONS = (("ArrowLeft", "←", "left"), ("ArrowDown", "•", "stay"), ("ArrowRight", "→", "right"))


@dataclass(frozen=True)
class Playable:
    """A world that `worlds.js` knows.

    spaces  what tells an agent's world: kind and shape of observations, size and kind of actions
    help    how it is played
    """

    spaces: tuple[str, tuple[int, ...], int, str]
    help: str


PLAYABLE = {
    "CartPole-v1": Playable(
        ("vector", (4,), 2, "discrete"),
        "Hold an arrow (key or button) to push the cart yourself; let go, and the agent acts.",
    ),
    "wm_tutorial/CatchInTheDark-v0": Playable(
        ("image", (16, 16, 3), 3, "discrete"),
        "Hold an arrow (key or button) to move the blue paddle under the ball yourself; let go, and the agent acts. "
        "The ball hides in the dark rows, in reality too.",
    ),
}


def world_of(told: Mapping[str, Any]) -> str | None:
    """The world of an agent with these spaces, as a file tells of them; None if it cannot be played."""
    spaces = told["obs_kind"], tuple(told["obs_shape"]), told["action_size"], told["action_kind"]
    return next((name for name, world in PLAYABLE.items() if world.spaces == spaces), None)


def told_in(file: bytes) -> dict[str, Any]:
    """What a safetensors file of an agent tells of it: spaces, options, versions."""
    told: dict[str, Any] = json.loads(_header(file)["__metadata__"]["wm_tutorial"])
    return told


def slim(file: bytes, half: bool) -> bytes:
    """A safetensors file of an agent (float32) with nothing but what is played, in 16 bits a number if `half`."""
    header, begin = _header(file), 8 + int.from_bytes(file[:8], "little")
    told = json.dumps(_told_of_a_part(told_in(file)), allow_nan=False)
    kept: dict[str, Any] = {"__metadata__": {"wm_tutorial": told}}
    numbers, at = [], 0
    for name, entry in header.items():
        if not name.startswith(PARTS):
            continue
        low, high = entry["data_offsets"]
        content = file[begin + low : begin + high]
        if half:
            count = len(content) // 4
            content = struct.pack(f"<{count}e", *struct.unpack(f"<{count}f", content))
        kept[name] = entry | {"dtype": "F16" if half else "F32", "data_offsets": [at, at + len(content)]}
        at += len(content)
        numbers.append(content)
    words = json.dumps(kept, separators=(",", ":"), allow_nan=False).encode()
    words += b" " * (-len(words) % 8)
    return b"".join([len(words).to_bytes(8, "little"), words, *numbers])


def _header(file: bytes) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")])
    return header


def _told_of_a_part(told: dict[str, Any]) -> dict[str, Any]:
    """It is no whole agent any more, and has another checksum."""
    return {name: value for name, value in told.items() if name != "sha256"} | {"format": "wm_tutorial player"}


def whole_page(
    files: Mapping[str, bytes], world: str, half: bool = True, film: tuple[str, str] | None = None, style: str = ""
) -> str:
    """A page that needs no other file and no network: agents (as `Agent.save` writes them) by name, in one world.

    film   address and alternative text of a film that is shown where scripts are off
    style  more CSS, such as the typeface of the website around it
    """
    held = {name: base64.b64encode(slim(file, half)).decode() for name, file in files.items()}
    chooser = ""
    if len(held) > 1:
        options = "".join(f"<option>{html.escape(name)}</option>" for name in held)
        chooser = f'<label>Agent <select data-wm="agent">{options}</select></label>'
    moves = "".join(
        f'<button type="button" class="wm-move" data-action="{key}" aria-label="{label}">{sign}</button>'
        for key, sign, label in BUTTONS
    )
    return Template((HERE / "page.html").read_text()).substitute(
        title=html.escape(world.removeprefix("wm_tutorial/")),
        style=(HERE / "player.css").read_text() + style,
        narrow=" wm-picture" if PLAYABLE[world].spaces[0] == "image" else "",
        moves=moves,
        chooser=chooser,
        help=html.escape(PLAYABLE[world].help),
        still=_without_scripts(film),
        scripts="\n".join((HERE / f"{name}.js").read_text() for name in ("model", "worlds", "player")),
        files=json.dumps(held, allow_nan=False).replace("</", "<\\/"),
        world=json.dumps(world, allow_nan=False),
    )


def _without_scripts(film: tuple[str, str] | None) -> str:
    """What stands in the place of the player where scripts are off."""
    if film is None:
        return "This page is played with JavaScript."
    address, alt = map(html.escape, film)
    return (
        "<style>main { display: none; }</style>"
        f'<img src="{address}" alt="{alt}" style="max-width: 100%; width: 700px">'
        "<p>A film of the dream. With JavaScript it can be played.</p>"
    )
