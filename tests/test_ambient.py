"""What the user has set for PyTorch around a call changes no number of it, and is set again afterwards."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import pytest
import torch
from scripted import Seeded, assert_same, snapshot, tiny

from wm_tutorial.trainer import Trainer


@contextmanager
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@contextmanager
def coarse() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision("highest")


SETTINGS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "float64": float64,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "meta": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "medium": coarse,
}


def lived() -> dict[str, object]:
    trainer = Trainer(Seeded, tiny(updates_per_step=0.5))
    trainer.run()
    action, carry = trainer.agent.act(np.ones(3))
    return {"run": snapshot(trainer), "returns": trainer.evaluate(3).returns, "action": action, "carry": carry.action}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_run_an_evaluation_and_an_action_are_the_same_under_any_setting(name: str) -> None:
    expected = lived()
    with SETTINGS[name]():
        before = state()
        found = lived()
        assert state() == before
    assert_same(found, expected)


def state() -> tuple[object, ...]:
    return (
        torch.get_default_dtype(), torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
        torch.get_default_device(), torch.is_autocast_enabled("cpu"), torch.get_float32_matmul_precision(),
    )  # fmt: skip
