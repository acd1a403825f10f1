"""The story of Part I: the agent of chapter 00 is met again in each chapter, broken by the part that is built there.

story.show("03")                 at the start of a chapter: the agent without its part
story.show("03", repaired=True)  at its end: the sound agent, from the same start

Each broken agent has learned with one mistake of the bug zoo let out from its first step to its last, with the options
and the seed of the sound one. `agents` holds them all, and agents.json what they are and how they scored; from a clone,
`python tools/story.py` makes them anew.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from wm_tutorial import figures, zoo
from wm_tutorial.agent import Agent
from wm_tutorial.course import notebook
from wm_tutorial.data import Array
from wm_tutorial.errors import InputError
from wm_tutorial.randomness import isolated_random

ENVIRONMENT = "CartPole-v1"
AGENTS = Path(__file__).with_name("agents")
SOUND = "sound"  # the agent of the finished code
START = 0  # the seed of the episode in every film


@dataclass(frozen=True)
class Chapter:
    """What a chapter breaks and repairs.

    bug       the mistake, by its name in the zoo
    part      what the chapter builds, for the title of the film
    broken    what is wrong with the agent, in words that need no chapter
    repaired  what it can do again
    """

    bug: str
    part: str
    broken: str
    repaired: str


CHAPTERS = {
    "01": Chapter(
        bug="posterior_blind",
        part="the encoder",
        broken="what it observes never reaches its state, in learning and in acting",
        repaired="what it observes reaches its state",
    ),
    "02": Chapter(
        bug="action_ignored",
        part="the dynamics",
        broken="its model predicts the next state from the state alone, and not from the action",
        repaired="its model predicts the next state from state and action",
    ),
    "03": Chapter(
        bug="continue_late",
        part="the heads",
        broken="its continue head has learned each end one row late: it takes the first row of an episode for deadly",
        repaired="its continue head has learned each end in the row in which it comes",
    ),
    "04": Chapter(
        bug="kl_reversed",
        part="the KL",
        broken="its KL runs the other way round, without balance and free nats, and its states say little",
        repaired="its KL asks the prior to expect what the posterior found, and leaves that free nats",
    ),
    "05": Chapter(
        bug="imagined_action_late",
        part="imagination",
        broken="in its dreams each state is written down beside the action that led to it, not the one chosen there",
        repaired="in its dreams each state is written down beside the action chosen there",
    ),
    "06": Chapter(
        bug="bootstrap_missing",
        part="the lambda returns",
        broken="its returns end where the dream ends: what could still be earned after it counts for nothing",
        repaired="its returns end with what the critic expects after the dream",
    ),
    "07": Chapter(
        bug="log_prob_of_another_action",
        part="actor and critic",
        broken="its actor is praised for other actions than those that led to the return",
        repaired="its actor is praised for the actions that led to the return",
    ),
    "08": Chapter(
        bug="terminal_observation_dropped",
        part="the trainer",
        broken="its replay has the start of the next episode in place of the last row of each: it remembers no fall",
        repaired="its replay holds each episode to its last row, the fall included",
    ),
}


def show(chapter: str, repaired: bool = False) -> notebook.Shown:
    """The film of an episode, as the last expression of a cell: the most likely actions in the real CartPole.

    chapter   "01" to "08"
    repaired  the sound agent instead of the broken one, from the same start

    The mistake is let out while the agent acts as well, where it is one of the model or of acting: what acts is the
    code that has learned. The film is computed anew. The mean return over many episodes is not: it comes from
    agents.json, and was measured at the end of the training. Random numbers outside stay as they were.

    Raises:
        InputError: if the story has no such chapter.
    """
    if chapter not in CHAPTERS:
        raise InputError(f"The story has no chapter {chapter!r}; it has {', '.join(CHAPTERS)}.")
    told, name = CHAPTERS[chapter], SOUND if repaired else chapter
    with playing(name) as agent:
        obs = episode(agent)
    record = records()
    steps, mean = len(obs) - 1, record["agents"][name]["mean"]
    scored = (
        f"This episode: {steps} of {figures.CART_POLE_LIMIT} steps. Mean of {record['episodes']} others, measured when "
        f"it had learned for {record['options']['steps']:,} steps: {mean:.0f}."
    )
    if repaired:
        title, caption = f"repaired: {told.part}", f"Repaired: {told.repaired}. Same options, seed and start. {scored}"
    else:
        title = f"broken: {told.part}"
        caption = f"Broken: {told.broken} ({told.bug} in the bug zoo). {scored}"
    film, alt = figures.cart_pole_film(obs, title)
    return notebook.show_svg(film, caption, alt)


def records() -> dict[str, Any]:
    """What agents.json holds: the options of all agents, and the bug and the mean returns of each."""
    read: dict[str, Any] = json.loads((AGENTS / "agents.json").read_text(encoding="utf-8"))
    return read


@contextmanager
def playing(name: str) -> Iterator[Agent]:
    """An agent of the story, "01" or "sound", with its mistake let out for the length of a `with` block."""
    with mistake(bug_of(name)), isolated_random("cpu", 0):
        yield Agent.load(AGENTS / f"{name}.safetensors")


def bug_of(name: str) -> str | None:
    """The mistake that an agent of the story has learned with, by its name in the zoo; None of the sound one."""
    return None if name == SOUND else CHAPTERS[name].bug


@contextmanager
def mistake(bug: str | None) -> Iterator[None]:
    """Let a mistake out, or none."""
    if bug is None:
        yield
    else:
        with zoo.bug(bug):
            yield


def episode(agent: Agent, seed: int = START) -> Array:
    """What happens in a whole episode of the agent's most likely actions: (T + 1, 4).

    It comes from Gymnasium itself, and not from `Environments`, whose rows a mistake may have its way with.
    """
    env, carry, over = gym.make(ENVIRONMENT), None, False
    obs, _ = env.reset(seed=seed)
    seen = [obs]
    while not over:
        action, carry = agent.act(obs, carry)
        obs, _, terminated, truncated, _ = env.step(action)
        seen.append(obs)
        over = terminated or truncated
    env.close()
    return np.stack(seen)
