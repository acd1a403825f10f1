"""Agents that come with the package, by name: one of each learning result, seed and all, ready to act.

from wm_tutorial import pretrained

agent, carry = pretrained("cartpole-guide"), None
action, carry = agent.act(obs, carry)

The command line takes the names, too: `wm-tutorial evaluate cartpole-guide`.
"""

from difflib import get_close_matches
from pathlib import Path

from wm_tutorial.agent import Agent
from wm_tutorial.envs import EnvSource
from wm_tutorial.errors import InputError
from wm_tutorial.runs.alone import AgentAlone

# The environment that each has learned in; a test holds this against the files and their results.
SHIPPED = {
    "acrobot-v3": "Acrobot-v1",
    "cartpole-guide": "CartPole-v1",
    "cartpole-v2": "CartPole-v1",
    "cartpole-v3-20k": "CartPole-v1",
    "cartpole-v3-5k": "CartPole-v1",
    "cartpole-v3-paper": "CartPole-v1",
    "catch-in-the-dark-v3": "wm_tutorial/CatchInTheDark-v0",
    "chapter-18": "Pendulum-v1",
    "lighthouse-guide": "wm_tutorial/Lighthouse-v0",
    "pendulum-v1": "Pendulum-v1",
    "pendulum-v3": "Pendulum-v1",
    "planet-cartpole": "CartPole-v1",
    "planet-pendulum": "Pendulum-v1",
    "planet-pendulum-shooting": "Pendulum-v1",
    "planet-pendulum-v3": "Pendulum-v1",
    "position-only-guide": "wm_tutorial/PositionOnlyCartPole-v0",
    "position-only-memory": "wm_tutorial/PositionOnlyCartPole-v0",
    "position-only-v3": "wm_tutorial/PositionOnlyCartPole-v0",
}


def pretrained(name: str) -> Agent:
    """An agent that comes with the package, ready to act.

    Args:
        name: one of `SHIPPED`, such as "cartpole-guide": a row of the learning results, of which this is one seed. Its
            environment stands there, too.

    Raises:
        InputError: for a name that there is not, with all that there are.
    """
    if name not in SHIPPED:
        raise InputError(f"There is no agent {name!r}; {_hint(str(name))}")
    return Agent.load(_file(name))


def opened(name: str, env: EnvSource | None = None) -> AgentAlone:
    """A shipped agent with its environment, or in `env`; what is drawn of it goes to runs/NAME."""
    return AgentAlone(Path("runs") / name, pretrained(name), SHIPPED[name] if env is None else env)


def is_shipped(path: Path) -> bool:
    """Whether a path is none, but the name of a shipped agent.

    Raises:
        InputError: if it is nearly one.
    """
    if path.exists() or len(path.parts) != 1:
        return False
    if path.name not in SHIPPED and get_close_matches(path.name, SHIPPED, n=1, cutoff=0.8):
        raise InputError(f"There is no run folder {path.name!r}, and no agent of this name; {_hint(path.name)}")
    return path.name in SHIPPED


def _hint(name: str) -> str:
    similar = [known for known in SHIPPED if known.startswith(name)] or get_close_matches(name, SHIPPED, n=1)
    return (f"did you mean {similar[0]}? " if similar else "") + f"There are {', '.join(SHIPPED)}."


def _file(name: str) -> Path:
    """The file of an agent: a wheel brings it along, a clone has it among its results.

    Raises:
        InputError: if neither is so.
    """
    brought, results = Path(__file__).with_name("agents"), Path(__file__).parents[2] / "book" / "results"
    for folder in (brought, results):
        for file in (folder / name).glob("*.safetensors"):
            return file
    raise InputError(
        f"This installation has no agents, neither in {brought} nor in {results}. Install the wheel of wm_tutorial, or "
        "its repository with `pip install -e .`."
    )
