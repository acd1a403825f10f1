"""Hidden variants of every check: other numbers, other sizes, from a seed that only the teacher knows.

The inputs of a check stand in the modules of `wm_tutorial.mistakes`, made from `variations()` and `uniform()`. These
modules are imported a second time with other sizes and other numbers in the place of these two, so that a new exercise
has its hidden variants without a line here. What they do not draw is drawn below.
"""

import dataclasses
import importlib
import importlib.util
import random
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wm_tutorial import mistakes
from wm_tutorial.mistakes import testing
from wm_tutorial.mistakes.part import Arguments, Part, Rule

NAME = mistakes.__name__
KEPT = f"{NAME}.part"  # so that a part of either kind is a Part
TOLERANCE = (1e-3, 1e-4)  # what was fitted to the visible inputs is to be seen here, and not a last digit


@cache
def hidden_parts(seed: int, draw: int) -> Mapping[str, Part]:
    """Every part with inputs that nobody has seen; another `draw` gives others.

    A part keeps the visible inputs only if there is nothing about it that could be drawn.
    """
    rng = random.Random(f"{seed}/{draw}")
    parts = _imported_again(_sizes(rng), rng.randrange(2**40))
    return {name: _unseen(part, mistakes.PARTS[name], rng) for name, part in parts.items()}


def _sizes(rng: random.Random) -> tuple[tuple[int, int], ...]:
    """As in `inputs.SHAPES`: any, equal sides, a single step, a single sequence."""
    rows, side = rng.randint(2, 6), rng.randint(3, 6)
    columns = rng.choice([n for n in range(2, 9) if n != rows])
    return (rows, columns), (side, side), (rng.randint(2, 5), 1), (1, rng.randint(6, 20))


def _imported_again(sizes: tuple[tuple[int, int], ...], base: int) -> Mapping[str, Part]:
    """`PARTS` of a second import, with other inputs; the first one is left as it was."""
    before = {name: module for name, module in sys.modules.items() if name.startswith(NAME) and name != KEPT}
    for name in before:
        del sys.modules[name]
    try:
        found = importlib.util.find_spec(NAME)
        assert found is not None and found.submodule_search_locations is not None
        path = f"{found.submodule_search_locations[0]}/inputs.py"
        spec = importlib.util.spec_from_file_location(f"{NAME}.inputs", path)
        assert spec is not None and spec.loader is not None
        inputs: Any = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = inputs
        spec.loader.exec_module(inputs)
        inputs.SHAPES, visible = sizes, inputs.uniform
        inputs.uniform = lambda seed, *shape, **options: visible(base + seed, *shape, **options)
        parts: Mapping[str, Part] = importlib.import_module(NAME).PARTS
        return parts
    finally:
        for name in [name for name in sys.modules if name.startswith(NAME) and name != KEPT]:
            del sys.modules[name]
        sys.modules.update(before)
        setattr(sys.modules["wm_tutorial"], "mistakes", mistakes)  # noqa: B010  # mypy knows the package as closed


def _unseen(part: Part, visible: Part, rng: random.Random) -> Part:
    cases = [case for case in part.cases if not any(_same(case, other) for other in visible.cases)]
    cases += DRAWN[part.name](rng) if part.name in DRAWN else []
    return dataclasses.replace(part, cases=tuple(cases) or part.cases, tolerance=part.tolerance or TOLERANCE)


def _same(case: Arguments, other: Arguments) -> bool:
    return case.keys() == other.keys() and all(_alike(case[name], other[name]) for name in case)


def _alike(x: Any, y: Any) -> bool:
    match x, y:
        case Tensor(), Tensor():
            return x.dtype == y.dtype and torch.equal(x, y)
        case np.ndarray(), np.ndarray():
            return np.array_equal(x, y)
        case (Rule(), Rule()) | (np.random.Generator(), np.random.Generator()):
            return repr(x).partition(" at 0x")[0] == repr(y).partition(" at 0x")[0]
    return bool(x == y)


# --- What the modules do not draw -------------------------------------------------------------------------------------


def _numbers(rng: random.Random, *shape: int, low: float = -2.0, high: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(rng.randrange(2**40))
    dtype = rng.choice((torch.float32, torch.float64))
    return low + (high - low) * torch.rand(*shape, generator=generator, dtype=dtype)


def _flags(rng: random.Random, *shape: int, chance: float) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(rng.randrange(2**40))) < chance


def _streams_of_rows(rng: random.Random) -> list[Arguments]:
    """Rows of episodes, the first one perhaps begun before, the last one perhaps not over."""
    cases = []
    for _ in range(3):
        letters = "".join(rng.choice(("f.l", "f..l", "fl", "f....l")) for _ in range(rng.randint(2, 5)))
        letters = rng.choice(("", "..l", ".l")) + letters + rng.choice(("", "f..", "f"))
        first = torch.tensor([letter == "f" for letter in letters])
        reward = _numbers(rng, len(letters)).masked_fill(first, 0.0)
        last = torch.tensor([letter == "l" for letter in letters])
        cases.append({"reward": reward, "is_first": first, "is_last": last})
    return cases


def _transitions(rng: random.Random) -> list[Arguments]:
    count = rng.randint(6, 14)
    terminated, truncated = _flags(rng, count, chance=0.2), _flags(rng, count, chance=0.2)
    seen, after = _numbers(rng, 2 * count, rng.randint(1, 3)).chunk(2)
    ended = (terminated | truncated).roll(1)
    ended[0] = True
    return [{
        "obs": torch.where(ended[:, None], seen, after.roll(1, 0)), "action": _numbers(rng, count, 2, low=0.1).to(seen),
        "reward": _numbers(rng, count).to(seen), "next_obs": after, "terminated": terminated, "truncated": truncated,
    }]  # fmt: skip


def _several_streams(rng: random.Random) -> list[Arguments]:
    """Every stream has as many episodes as are asked for."""
    quota, streams = rng.randint(1, 3), rng.randint(2, 4)
    last = torch.zeros(streams, 6 * quota, dtype=torch.bool)
    for row in last:
        row[rng.sample(range(1, 6 * quota, 2), quota)] = True
    reward = _numbers(rng, *last.shape)
    reward[:, 0] = 0.0
    reward[:, 1:] = reward[:, 1:].masked_fill(last[:, :-1], 0.0)
    return [{"reward": reward, "is_last": last, "quota": quota}]


def _ring(rng: random.Random) -> list[Arguments]:
    cases = []
    for full in (True, False):
        capacity, length = rng.randint(8, 14), rng.randint(2, 4)
        added = capacity + rng.randint(1, 9) if full else capacity - rng.randint(1, 3)
        is_first = np.zeros(capacity, bool)
        is_first[[rng.randrange(capacity) for _ in range(3)]] = True
        batch = mistakes.PARTS["replay_sample"].cases[0]["batch"]
        rows = np.random.default_rng(rng.randrange(2**40))
        cases.append({"is_first": is_first, "added": added, "batch": batch, "length": length, "rng": rows})
    return cases


def _updates(rng: random.Random) -> list[Arguments]:
    """Sizes that divide each other, as everywhere: no fraction decides."""
    batch, length = rng.choice((2, 4, 8)), rng.choice((8, 16, 32))
    prefill, ratio = rng.randrange(0, 200), batch * length // rng.choice((1, 2, 4))
    steps = torch.tensor(sorted(rng.sample(range(500), 6)))
    return [{"steps": steps, "prefill": prefill, "ratio": ratio, "batch": batch, "length": length}]


def _rows_to_write(rng: random.Random) -> list[Arguments]:
    length, added = rng.randint(5, 10), rng.randint(12, 40)
    number = torch.tensor([[added - length - 1], [added - length // 2 - 3]]) + torch.arange(2)
    return [{
        "stored": _numbers(rng, length, 2).float(), "number": number, "added": added,
        "states": _numbers(rng, *number.shape, 2).float(),
    }]  # fmt: skip


def _sizes_of_pictures(rng: random.Random) -> list[Arguments]:
    rows = [(rng.randint(8, 90), rng.randint(2, 6), rng.randint(1, 4), rng.randint(0, 3)) for _ in range(6)]
    return [dict(zip(("size", "kernel", "stride", "padding"), torch.tensor(rows).unbind(1), strict=True))]


def _episodes_alone(rng: random.Random) -> list[Arguments]:
    return [{"reward": _numbers(rng, rng.randint(2, 12)), "gamma": round(rng.uniform(0.5, 0.99), 2)} for _ in range(3)]


def _horizons(rng: random.Random) -> list[Arguments]:
    return [{"horizon": rng.randint(2, 12), "lam": round(rng.uniform(0.1, 0.9), 2)} for _ in range(3)]


def _functions_to_test(rng: random.Random) -> list[Arguments]:
    """One that is right, and one for each input in which that is too small, by a share that nobody knows."""
    names = ("reward", "discount", "value", "lambda")
    wrong = [testing.wrong_by_a_factor(i, name, round(rng.uniform(0.4, 0.8), 3)) for i, name in enumerate(names)]
    return [testing.right_one(rng.choice(list(testing.RIGHT))), *wrong]


def _gaussians(rng: random.Random) -> list[Arguments]:
    """As large as those of the check, whose tolerance is for as many numbers as it draws."""
    cases = []
    for case in mistakes.PARTS["sample"].cases:
        order = torch.tensor(rng.sample(range(5), 5))
        shift = rng.uniform(-1.0, 1.0)
        cases.append({"mean": case["mean"][order] + shift, "logvar": case["logvar"][order]})
    return cases


DRAWN: dict[str, Callable[[random.Random], list[Arguments]]] = {
    "alignment": _transitions,
    "convolution_size": _sizes_of_pictures,
    "discounted_return": _episodes_alone,
    "episode_returns": _streams_of_rows,
    "fair_mean": _several_streams,
    "lambda_weights": _horizons,
    "replay_sample": _ring,
    "returns_test": _functions_to_test,
    "sample": _gaussians,
    "updates_due": _updates,
    "write_back": _rows_to_write,
}
