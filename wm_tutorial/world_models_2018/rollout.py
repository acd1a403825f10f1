"""Where C plays: in reality, seen through V and M, or in the dream, which is M alone. To C both look the same."""

from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from wm_tutorial.data import Row, State
from wm_tutorial.envs import Environments
from wm_tutorial.latents import Gaussian
from wm_tutorial.world_models_2018.controller import act, look
from wm_tutorial.world_models_2018.memory import Memory
from wm_tutorial.world_models_2018.vision import Vision


class World(Protocol):
    """N episodes side by side, as C sees them."""

    def begin(self, count: int, seed: int) -> State:
        """Begin N episodes; returns their first states."""
        ...

    def step(self, action: Tensor) -> tuple[State, Tensor, Tensor]:
        """Take actions (N, A); returns the states after them, rewards (N,), and where an episode is over (N,) bool."""
        ...


class DreamedWorld:
    """M asked again and again for what comes next. No picture is ever made.

    Args:
        memory: M.
        starts: what z may be in the first rows of recorded episodes, (S, Z); each dream begins with one of them.
        temperature: how sure M is of itself; above 0.

    The end of an episode is drawn, too, with probability sigmoid(logit / tau): towards tau = 0 that is what the authors
    do, who end an episode where the logit is above 0.
    """

    def __init__(self, memory: Memory, starts: Gaussian, temperature: float) -> None:
        self.memory, self.starts, self.temperature = memory, starts, temperature
        memory.predict(memory.initial(1)).z.at(temperature)  # a temperature that cannot be used is told at once
        self.state = State(memory.initial(0), starts.mean[:0])

    def begin(self, count: int, seed: int) -> State:
        """Begin N episodes; which first rows they have follows from `seed`, what then happens from PyTorch's."""
        chosen = torch.from_numpy(np.random.default_rng(seed).integers(len(self.starts.mean), size=count))
        z = Gaussian(self.starts.mean[chosen], self.starts.logvar[chosen]).sample()
        self.state = State(self.memory.initial(count), z)
        return self.state

    @torch.no_grad()
    def step(self, action: Tensor) -> tuple[State, Tensor, Tensor]:
        """Dream on."""
        memory = self.memory.step(self.state.memory, self.state.latent, action)
        predicted = self.memory.predict(memory)
        ends = torch.rand_like(predicted.done.logit) < torch.sigmoid(predicted.done.logit / self.temperature)
        self.state = State(memory, predicted.z.at(self.temperature).sample())
        return self.state, predicted.reward.mean, ends


class RealWorld:
    """Environments, seen through V and remembered by M."""

    def __init__(self, vision: Vision, memory: Memory, environments: Environments, seed: tuple[int, ...]) -> None:
        self.vision, self.memory, self.environments, self.seed = vision, memory, environments, seed

    def begin(self, count: int, seed: int) -> State:
        """Begin N episodes; there must be as many environments."""
        assert count == len(self.environments)
        self.row = self.environments.begin((*self.seed, seed))
        self.state = perceive(self.vision, self.memory, self.row, self.memory.initial(count))
        return self.state

    def step(self, action: Tensor) -> tuple[State, Tensor, Tensor]:
        """Live on."""
        with torch.no_grad():
            memory = self.memory.step(self.state.memory, self.state.latent, action)
        self.row = self.environments.step(self.row, action.numpy(force=True))
        self.state = perceive(self.vision, self.memory, self.row, memory)
        return self.state, torch.from_numpy(self.row.reward), torch.from_numpy(self.row.is_last)


@torch.no_grad()
def perceive(vision: Vision, memory: Memory, row: Row, remembered: Tensor, greedy: bool = False) -> State:
    """The state at a row: what M remembers (N, 2 D), emptied where an episode begins, and a sample of V's z.

    greedy: the mean of z instead of a sample.
    """
    code = vision.encode(torch.from_numpy(row.obs))
    begins = torch.from_numpy(row.is_first).unsqueeze(-1)
    return State(remembered.masked_fill(begins, 0.0), code.mode if greedy else code.sample())


def play(
    world: World,
    controllers: Tensor,
    sees: Literal["z", "z and h"],
    kind: Literal["discrete", "continuous"],
    limit: int,
    seed: int,
) -> Tensor:
    """The return of one episode of each of N controllers (N, A, F + 1), of at most `limit` steps: (N,).

    Critical: what comes after the end of an episode does not count. A dream goes on without noticing.
    """
    state = world.begin(len(controllers), seed)
    total, alive = torch.zeros(len(controllers)), torch.ones(len(controllers))
    for _ in range(limit):
        state, reward, over = world.step(act(controllers, look(state, sees), kind))
        total += alive * reward
        alive *= ~over
        if not alive.any():
            break
    return total
