"""Files of a run that were damaged, made by hand, or come from elsewhere: one clear error, soon, and no code is run."""

import copy
import json
import os
import pickle
import re
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from scripted import Scripted, Seeded, assert_same, snapshot, tiny, tree

from wm_tutorial import Run, resume, train
from wm_tutorial.agent import Agent
from wm_tutorial.checkpoint import AGENT, CHECKPOINT, METRICS, read, read_agent, user_path, write, write_agent
from wm_tutorial.config import Config, make_config
from wm_tutorial.errors import CheckpointError, InputError, OutputError, WorldModelError
from wm_tutorial.trainer import Trainer


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run; nobody writes into it."""
    trainer = Trainer("CartPole-v1", tiny(), tmp_path_factory.mktemp("run"))
    trainer.run()
    assert trainer.folder
    return trainer.folder


@pytest.fixture
def content(run: Path) -> dict[str, Any]:
    """What its checkpoint holds, to be changed."""
    loaded: dict[str, Any] = torch.load(run / CHECKPOINT, weights_only=True)
    return loaded


def refused(load: Callable[[], Any], *expected: str) -> None:
    """One error for a file, in one line, that names it."""
    with pytest.raises(CheckpointError) as caught:
        load()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1500
    assert all(text in str(caught.value) for text in expected), str(caught.value)


# --- One bit ----------------------------------------------------------------------------------------------------------


def flips(size: int, count: int) -> Iterator[tuple[int, int]]:
    """Places and masks of single bits: some everywhere, more at the end, where a zip file has its index."""
    rng = np.random.default_rng(0)
    for place in [*rng.integers(size, size=count), *rng.integers(size - 2000, size, size=count)]:
        yield int(place), 1 << int(rng.integers(8))


def test_a_bit_of_a_checkpoint_that_flipped_is_noticed_or_harmless(run: Path, tmp_path: Path) -> None:
    whole, path = (run / CHECKPOINT).read_bytes(), tmp_path / CHECKPOINT
    right, noticed = read(run / CHECKPOINT), 0
    for place, mask in flips(len(whole), 150):
        damaged = bytearray(whole)
        damaged[place] ^= mask
        path.write_bytes(damaged)
        try:
            assert_same(read(path), right)  # a date, or padding
        except CheckpointError:
            noticed += 1
    assert noticed > 150


def test_a_bit_of_an_agent_that_flipped_is_noticed_or_harmless(run: Path, tmp_path: Path) -> None:
    whole, path = (run / AGENT).read_bytes(), tmp_path / AGENT
    right, noticed = Agent.load(run / AGENT), 0
    for place, mask in [*flips(len(whole), 100), *((place, 1) for place in range(8, 3000, 37))]:
        damaged = bytearray(whole)
        damaged[place] ^= mask
        path.write_bytes(damaged)
        try:
            agent = Agent.load(path)
        except CheckpointError:
            noticed += 1
        else:
            assert_same(dict(agent.state_dict()), dict(right.state_dict()))
            assert (agent.config, agent.spaces) == (right.config, right.spaces)
    assert noticed > 250


def test_an_option_that_was_changed_by_hand_is_noticed(run: Path, tmp_path: Path) -> None:
    """It would fit the tensors, and act otherwise."""
    changed = (run / AGENT).read_bytes().replace(b'unimix\\": 0.01', b'unimix\\": 0.61')
    (tmp_path / AGENT).write_bytes(changed)
    refused(lambda: Agent.load(tmp_path), "checksum", str(tmp_path / AGENT))


def test_agents_of_earlier_versions_have_no_checksum(run: Path, tmp_path: Path) -> None:
    without = re.sub(rb', \\"sha256\\": \\"\w+\\"', lambda found: b" " * len(found[0]), (run / AGENT).read_bytes())
    (tmp_path / AGENT).write_bytes(without)
    assert "sha256" not in read_agent(tmp_path / AGENT)[0]
    assert_same(dict(Agent.load(tmp_path).state_dict()), dict(Agent.load(run).state_dict()))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(value: float, content: dict[str, Any], tmp_path: Path) -> None:
    name = next(iter(content["agent"]))
    content["agent"][name].view(-1)[-1] = value
    torch.save(content, tmp_path / CHECKPOINT)
    for load in (Trainer.load, Agent.load):
        refused(lambda: load(tmp_path), str(tmp_path / CHECKPOINT), name, "not finite")  # noqa: B023


# --- Written by hand --------------------------------------------------------------------------------------------------


def wrong(value: Any) -> list[Any]:
    """What a value is not: of another type, shape or size, or no number."""
    match value:
        case torch.Tensor():
            other = [value.double() if value.dtype != torch.float64 else value.float(), value[..., None]]
            if value.numel() > 1:
                other += [value.flatten()[:1].clone().expand(value.shape) if value[0].numel() else 0, value.to_sparse()]
            return [
                *other,
                *([value * np.nan] if value.is_floating_point() and value.numel() else []),
                None,
                "x",
                1.5,
                [value],
            ]
        case bool() | str() | None:
            return [7, ["x"], {"x": 1}, -1.5]
        case int():
            return [-1, "1", None, [1], 1.5]
        case float():
            return [np.nan, -np.inf, "1", None, [1.0]]
        case list() | tuple():
            return [None, {}, 7, [*value, *(value[-1:] or ["x"])], [*value[:-1], None]]
    return [None, [], 7, {**value, "unknown": 1}]


def spoiled(nest: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Everything that is this nest but for one place, with the name of that place."""
    for other in wrong(nest) if depth else []:
        yield f": {other!r:.40}", other
    keys: list[Any] = []
    if isinstance(nest, dict):
        keys = list(nest)
        yield from ((f" without {key}", {k: v for k, v in nest.items() if k != key}) for key in keys)
    elif isinstance(nest, list):
        keys = [*range(min(2, len(nest)))]
    for key in keys[:12] if len(keys) < 40 or depth > 1 else keys[:2]:
        for name, other in spoiled(nest[key], depth + 1):
            changed = copy.copy(nest)
            changed[key] = other
            yield f".{key}{name}", changed


PARTS = (
    *("environment", "config", "spaces", "agent", "optimizer", "replay", "random", "environments", "row", "carry"),
    *("running", "counters", "sums"),
)
# What an older file may lack; what nobody takes from a file; and what may be anything of its kind: names of losses, and
# actions, which are lived again and compared with the row they lead to.
ALLOWED = re.compile(
    r"config without|spaces without obs_start|optimizer\.param_groups\.\d(:| without|\.(?!lr))|random: {|"
    r"environments\.\d\.actions: \[|sums: {"
)


@pytest.mark.parametrize("part", PARTS)
def test_each_field_of_a_checkpoint_is_looked_at(part: str, content: dict[str, Any], tmp_path: Path) -> None:
    accepted, tried = [], 0
    for where, other in [("", None), *spoiled({part: content[part]})]:
        spoilt = {**content, **other} if other else {name: value for name, value in content.items() if name != part}
        if other == {}:
            continue  # nothing was spoilt
        torch.save(spoilt, tmp_path / CHECKPOINT)
        started, tried = time.perf_counter(), tried + 1
        try:
            Trainer.load(tmp_path)
        except (CheckpointError, InputError) as error:
            assert type(error) is CheckpointError or part in ("environment", "spaces"), (where, error)
            assert "\n" not in str(error) and (str(tmp_path) in str(error) or part == "spaces"), (where, error)
        else:
            accepted.append(f"{part}{where}".replace(f"{part}.{part}", part))
        assert time.perf_counter() - started < 5, where
    assert tried > 4
    assert not [where for where in accepted if not ALLOWED.match(where)]
