"""Random states of a run, on the CPU and on a device: saved, gone on from, and those outside left alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from scripted import assert_same, tiny
from torch import Tensor

from wm_tutorial.errors import CheckpointError
from wm_tutorial.evaluation import evaluate
from wm_tutorial.randomness import Randomness, isolated_random
from wm_tutorial.runs.dream import dream
from wm_tutorial.trainer import Trainer

CPU_GENERATOR = torch.Generator


class Device:
    """The generator of a device that is not there, behind the functions that PyTorch has for it."""

    def __init__(self) -> None:
        self.generator = CPU_GENERATOR().manual_seed(99)

    def get_rng_state(self) -> Tensor:
        return self.generator.get_state()

    def set_rng_state(self, state: Tensor) -> None:
        self.generator.set_state(state)

    def draw(self) -> float:
        return torch.rand(1, generator=self.generator).item()


@pytest.fixture(params=["cuda", "mps"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Device]:
    """A device and its name. `torch.Generator(name)` is one of the CPU, seeded and asked in the same way."""
    there = Device()
    monkeypatch.setattr(torch, request.param, there)
    monkeypatch.setattr(torch, "Generator", lambda name="cpu": CPU_GENERATOR())
    return request.param, there


def outside(there: Device) -> dict[str, Tensor]:
    return {"cpu": torch.get_rng_state(), "device": there.get_rng_state()}


def test_a_run_draws_from_states_of_its_own_on_its_device_too(device: tuple[str, Device]) -> None:
    name, there = device
    before, one, same, other = outside(there), Randomness(3, name), Randomness(3, name), Randomness(4, name)

    def drawn(randomness: Randomness) -> list[float]:
        with randomness.active():
            return [there.draw(), torch.rand(1).item()]

    first = drawn(one)
    assert first == drawn(same) != drawn(other)
    assert drawn(one) != first  # it has moved on
    assert_same(outside(there), before)


def test_the_state_of_the_device_is_saved_and_gone_on_from(device: tuple[str, Device]) -> None:
    name, there = device
    one, other = Randomness(3, name), Randomness(8, name)
    with one.active():
        there.draw()
    other.load_state_dict(one.state_dict())
    assert set(one.state_dict()) == {"numpy", "torch", name}
    assert_same(other.state_dict(), one.state_dict())
    with one.active():
        drawn = there.draw()
    with other.active():
        assert there.draw() == drawn


def test_a_run_saved_without_the_state_of_its_device_begins_there_anew(device: tuple[str, Device]) -> None:
    name, _ = device
    saved, fresh = Randomness(3).state_dict(), Randomness(8, name)
    before = fresh.state_dict()
    fresh.load_state_dict(saved)
    assert_same(fresh.state_dict(), {**saved, name: before[name]})
    with_device = Randomness(3, name).state_dict()
    cpu = Randomness(8)
    cpu.load_state_dict(with_device)  # of a device that is not used here
    assert_same(cpu.state_dict(), saved)


def test_after_an_error_the_states_are_as_they_were(device: tuple[str, Device]) -> None:
    name, there = device
    one, before = Randomness(3, name), outside(there)
    states = one.state_dict()
    with pytest.raises(KeyError), one.active():
        there.draw(), torch.rand(1)
        raise KeyError
    assert_same(outside(there), before)
    assert_same(one.state_dict(), states)


def test_isolated_random_repeats_itself_and_leaves_every_generator_as_it_was(device: tuple[str, Device]) -> None:
    name, there = device
    before, drawn = outside(there), []
    for seed in (1, 1, 2):
        with isolated_random(name, seed):
            drawn.append((there.draw(), torch.rand(1).item()))
    assert drawn[0] == drawn[1] and not {*drawn[0]} & {*drawn[2]}
    with pytest.raises(KeyError), isolated_random(name, 1):
        raise KeyError
    assert_same(outside(there), before)
    torch.default_generator.manual_seed(5)
    expected = torch.rand(1).item()
    with isolated_random(name, 5):
        assert torch.rand(1).item() == expected  # as with `torch.manual_seed`


LOOKING: dict[str, Callable[[Trainer], Any]] = {
    "evaluate": lambda trainer: evaluate(trainer.agent, "CartPole-v1", 2, seed=0, greedy=False),
    "dream": lambda trainer: dream(trainer.agent, "CartPole-v1", 3, 4),
}


@pytest.mark.parametrize("look", LOOKING)
def test_looking_at_an_agent_seeds_no_generator_of_any_device(look: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer("CartPole-v1", tiny())
    for module in (torch, torch.cuda, torch.mps):
        monkeypatch.setattr(module, "manual_seed", lambda seed: pytest.fail("this seeds the generators outside"))
    before = torch.get_rng_state()
    LOOKING[look](trainer)
    assert_same(torch.get_rng_state(), before)


@pytest.mark.parametrize("state", [{}, {"numpy": "{}"}, {"torch": torch.zeros(3, dtype=torch.uint8)}, {"numpy": None}])
def test_a_state_of_something_else_is_refused(state: dict[str, Any], tmp_path: Path) -> None:
    saved = {**Randomness(3).state_dict(), **state} if state else {}
    with pytest.raises((CheckpointError, KeyError, ValueError)):
        Randomness(3).load_state_dict(saved)
