"""Random states that are a run's own, and the global ones of PyTorch left as they were."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wm_tutorial.ambient import as_usual
from wm_tutorial.checkpoint import check_form
from wm_tutorial.data import COLLECT
from wm_tutorial.process import alone


def get_states(device: str) -> dict[str, Tensor]:
    """The states of the generators that a network on `device` (cpu, cuda or mps) draws from: the CPU's, and its own."""
    states = {"cpu": torch.get_rng_state()}
    return states if device == "cpu" else {**states, device: getattr(torch, device).get_rng_state()}


def set_states(states: dict[str, Tensor]) -> None:
    """Let these generators go on from these states."""
    for device, state in states.items():
        (torch if device == "cpu" else getattr(torch, device)).set_rng_state(state)


def seeded_states(device: str, seed: int) -> dict[str, Tensor]:
    """The states that those generators have when they are seeded; nothing global is touched."""
    return {name: torch.Generator(name).manual_seed(seed).get_state() for name in dict.fromkeys(["cpu", device])}


@contextmanager
def drawing_from(states: dict[str, Tensor]) -> Iterator[None]:
    """Inside, PyTorch draws from `states`, which move on; outside, every generator is as before.

    If something raises inside, `states` stay as they were, too: they can be used again.
    """
    outside = {name: get_states(name)[name] for name in states}
    set_states(states)
    try:
        yield
        states |= {name: get_states(name)[name] for name in states}
    finally:
        set_states(outside)


@contextmanager
def isolated_random(device: str | torch.device, seed: int) -> Iterator[None]:
    """Inside, PyTorch draws from `seed`, on the CPU and on `device`; outside, every generator is as before.

    Critical: `torch.manual_seed` would seed the generators of all devices, and nobody gives those their states back.
    """
    with drawing_from(seeded_states(torch.device(device).type, seed)):
        yield


class Randomness:
    """The random states of a run, kept apart from those of whoever uses it."""

    def __init__(self, seed: int, device: str = "cpu") -> None:
        self.device = device
        self.numpy = np.random.default_rng([COLLECT, seed])
        self.torch = seeded_states(device, seed)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Inside, PyTorch draws from this run's states, as usual and alone; outside, everything is as before."""
        with alone(), drawing_from(self.torch), as_usual():
            yield

    def state_dict(self) -> dict[str, Any]:
        """The states of NumPy's generator, of PyTorch's on the CPU, and of the device's if it is another one."""
        devices = {name: state for name, state in self.torch.items() if name != "cpu"}
        return {
            "numpy": json.dumps(self.numpy.bit_generator.state, allow_nan=False),
            "torch": self.torch["cpu"],
            **devices,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`; a device that it does not name, as in a run that comes from another one, begins anew.

        Raises:
            CheckpointError, RuntimeError, TypeError, ValueError, KeyError: if these are no states of those generators.
        """
        expected = {name: mine for name, mine in self.state_dict().items() if name in state or name != self.device}
        check_form({name: state.get(name) for name in expected}, expected, "random")
        self.numpy.bit_generator.state = json.loads(state["numpy"])
        states = {"cpu": state["torch"]} | {name: state[name] for name in self.torch if name in state}
        self.torch |= {name: torch.Generator(name).set_state(saved).get_state() for name, saved in states.items()}
