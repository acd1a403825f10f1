"""V, M and C together: what acts, and what dreams."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from wm_tutorial import agent, checkpoint
from wm_tutorial.agent import Carry, told_spaces
from wm_tutorial.data import Batch, Row, Spaces, State
from wm_tutorial.errors import CheckpointError, InputError
from wm_tutorial.world_model import OpenLoop
from wm_tutorial.world_models_2018.controller import Controller
from wm_tutorial.world_models_2018.memory import Memory
from wm_tutorial.world_models_2018.rollout import perceive
from wm_tutorial.world_models_2018.settings import Settings, make_settings
from wm_tutorial.world_models_2018.vision import Vision

FILE = "world_models_2018.safetensors"
KIND = "World Models 2018"


class Agent(agent.Agent):
    """V sees, M remembers, C acts. It is used as every other agent: evaluated, dreamed with, `act`.

    What it carries from step to step: the state, whose memory is h and c of M side by side and whose latent is z, and
    the action taken in it.
    """

    def __init__(self, spaces: Spaces, settings: Settings) -> None:
        nn.Module.__init__(self)  # its parts are other ones than those of an actor-critic
        self.spaces, self.settings = spaces, settings
        self.vision = Vision(spaces, settings.latent_size, settings.hidden, settings.conv_depth)
        self.memory = Memory(settings.latent_size, spaces.action_size, settings.memory_size, settings.components)
        seen = settings.latent_size + (settings.memory_size if settings.sees == "z and h" else 0)
        self.controller = Controller(spaces, seen, settings.sees)

    def initial(self, count: int) -> Carry:
        """What is remembered before anything was seen."""
        memory = self.memory.initial(count)
        return Carry(
            State(memory, memory.new_zeros(count, self.settings.latent_size)),
            memory.new_zeros(count, self.spaces.action_size),
        )

    @torch.no_grad()
    def policy(self, row: Row, carry: Carry, greedy: bool = False) -> Carry:
        """Infer the states of N environments from `row` and choose their actions.

        Critical: M is told z and action of the step before first, so that C sees h of this row, not of the last one.

        Args:
            row: what the environments returned; where it is the first of an episode, `carry` is forgotten.
            carry: from the step before.
            greedy: take the mean of V's z instead of a sample.
        """
        remembered = self.memory.step(carry.state.memory, carry.state.latent, carry.action)
        state = perceive(self.vision, self.memory, row, remembered, greedy)
        return Carry(state, self.controller(state))

    @property
    def world_model(self) -> Any:  # type: ignore[override]
        """V and M as what dreams beside an episode."""
        return SimpleNamespace(open_loop=self.open_loop)

    @torch.no_grad()
    def open_loop(self, batch: Batch, context: int) -> OpenLoop:
        """See the first `context` rows of each sequence, then go on from its actions alone, at temperature 1.

        The rows that are seen are decoded from V's z; what M says of them, it says before they are seen.

        Raises:
            InputError: unless 1 <= context <= T.
        """
        count, length = batch.reward.shape
        if not 1 <= context <= length:
            raise InputError(f"The context is {context} rows; sequences of {length} rows allow 1 to {length}.")
        seen = self.vision.encode(batch.obs[:, :context]).sample()
        memory, z = self.memory.initial(count), list(seen.unbind(1))
        reward, done = [memory.new_zeros(count)], [memory.new_zeros(count)]  # nothing is foreseen of the first row
        for t in range(1, length):
            memory = self.memory.step(memory, z[t - 1], batch.previous_action[:, t])
            predicted = self.memory.predict(memory)
            reward.append(predicted.reward.mean)
            done.append(predicted.done.mean)
            if t >= context:
                z.append(predicted.z.sample())
        pictures: Tensor = self.vision.decode(torch.stack(z, 1)).mean
        return OpenLoop(pictures, torch.stack(reward, 1), 1.0 - torch.stack(done, 1), context)

    def save(self, path: str | Path) -> Path:
        """Write the agent alone to a safetensors file; returns its path.

        Raises:
            InputError: if the name does not end in .safetensors.
            OutputError: if the file cannot be written.
        """
        path = checkpoint.agent_path(path)
        header = {
            "kind": KIND,
            "spaces": dataclasses.asdict(self.spaces),
            "settings": dataclasses.asdict(self.settings),
        }
        checkpoint.write_agent(path, header, self.state_dict())
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Agent":
        """The agent of a run folder, or of a file that `save` wrote, ready to act; needs no environment.

        Raises:
            CheckpointError: if there is no readable agent.
        """
        path = checkpoint.user_path(path)
        if path.is_dir():
            path /= FILE
        told, tensors = checkpoint.read_agent(path)
        if told.get("kind") != KIND:
            raise CheckpointError(f"{path} holds another kind of agent; wm_tutorial.Agent.load reads it.")
        try:
            loaded = cls(told_spaces(told["spaces"]), make_settings(**told["settings"]))
            checkpoint.check_form(tensors, dict(loaded.state_dict()), "agent")
        except Exception as error:  # whatever the description of something else leads to
            raise CheckpointError(f"{path} holds no whole agent: {error}. Use another copy, or train again.") from error
        loaded.load_state_dict(tensors)
        return loaded.eval()
