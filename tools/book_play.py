"""The pages of the website that can be played, each whole in one file, and what is said of the agents in them."""

import ast
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
AGENTS = ROOT / "wm_tutorial" / "course" / "agents"
sys.path.insert(0, str(ROOT / "wm_tutorial" / "play"))
import whole  # noqa: E402 (on its own: the package around it needs torch)

FILM = ("dream.gif", "Film of CartPole: reality on the left, the agent's dream of it on the right.")  # without scripts
CART_POLE = ROOT / "book" / "results" / "cartpole-guide" / "seed-100.safetensors"
TYPEFACE = """@font-face { font-family: "Atkinson Hyperlegible Next"; font-weight: 200 800; font-display: swap;
  src: url("../fonts/atkinson-hyperlegible-next.woff2") format("woff2"); }
body { font-family: "Atkinson Hyperlegible Next", system-ui, sans-serif; }
"""
CATCH = ROOT / "book" / "results" / "history" / "catch-in-the-dark-v3" / "seed-200.safetensors"


def pages() -> dict[str, str]:
    """By the name of the file: the agents of committed results, and those of the course's story with their mistakes."""
    broken = {label(agent): AGENTS / f"{name}.safetensors" for name, agent in story().items()}
    files = {
        "cartpole.html": {"the agent": CART_POLE},
        "catch.html": {"the agent": CATCH},
        "mistakes.html": broken,
    }
    made = {}
    for name, agents in files.items():
        held = {agent: path.read_bytes() for agent, path in agents.items()}
        world = whole.world_of(whole.told_in(next(iter(held.values())))["spaces"])
        assert world is not None, name
        made[name] = whole.whole_page(held, world, film=FILM if world == "CartPole-v1" else None, style=TYPEFACE)
    return made


def story() -> dict[str, dict[str, Any]]:
    """The agents of the story, the sound one first: mistake and mean return."""
    told: dict[str, dict[str, Any]] = json.loads((AGENTS / "agents.json").read_text())["agents"]
    return dict(sorted(told.items(), key=lambda item: item[1]["bug"] is not None))


def label(agent: dict[str, Any]) -> str:
    """What the page calls an agent."""
    return (agent["bug"] or "no mistake").replace("_", " ")


def table() -> str:
    """The agents with a mistake: what is wrong, the chapter that repairs it, and how long the pole stood."""
    tree = ast.parse((ROOT / "wm_tutorial" / "course" / "story.py").read_text())
    wrong = {}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        words = {word.arg: word.value.value for word in call.keywords if isinstance(word.value, ast.Constant)}
        if "bug" in words and "broken" in words:
            wrong[words["bug"]] = words["broken"]
    chapters = {path.name[:2]: path.name for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")}
    lines = ["| mistake | what is wrong | repaired in | steps of 500 |", "|---|---|---|---|"]
    for name, agent in story().items():
        said = wrong.get(agent["bug"], "nothing")
        where = f"[{name}](../notebooks/{chapters[name]})" if name in chapters else ""
        lines.append(f"| {label(agent)} | {said} | {where} | {agent['mean']:.0f} |")
    return "\n".join(lines)
