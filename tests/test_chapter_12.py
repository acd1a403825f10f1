"""What a reader of chapter 12 builds is what the package has, and its tables have a word for every option."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from chapters import definitions
from torch import Tensor

from wm_tutorial import optim
from wm_tutorial.config import make_config
from wm_tutorial.course import own
from wm_tutorial.lineage import own_values
from wm_tutorial.presets import WIDTHS
from wm_tutorial.trainer import Trainer

CHAPTER = definitions("12_dreamer_v3")
BENCHMARKS = Path(__file__).parent.parent / "benchmarks" / "results.py"
SOLVED = ("replay_returns", "slow_update", "clip_by_share", "laprop", "write_back")
BRIEF: dict[str, Any] = {"prefill": 80, "sequence_length": 8, "batch_size": 4, "bins": 15, "steps": 1000}


@pytest.fixture(scope="module")
def tensors() -> list[Tensor]:
    return [torch.randn(5, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]


def test_clip_by_share_agrees(tensors: list[Tensor]) -> None:
    gradient, parameter, _ = tensors
    for clip in (0.3, 30.0):
        for w in (parameter, 0 * parameter):
            ours = CHAPTER["solved_clip_by_share"](gradient, w, clip, 1e-3)
            torch.testing.assert_close(ours, optim.clip_by_share(gradient, w, clip, 1e-3))


def test_laprop_agrees(tensors: list[Tensor]) -> None:
    gradient, average, square = tensors
    given = gradient, average, square**2, 7, (0.9, 0.999), 1e-20
    for ours, theirs in zip(CHAPTER["solved_laprop"](*given), optim.laprop_direction(*given), strict=True):
        torch.testing.assert_close(ours, theirs)


def grown(config: Any, chapters_own: bool, updates: int = 3) -> tuple[list[Tensor], dict[str, float]]:
    """The tensors of an agent after some updates of the chapter's trainer, or of the package's; the last losses."""
    trainer: Any = (CHAPTER["Whole"] if chapters_own else Trainer)("CartPole-v1", config)
    numbers: dict[str, float] = {}
    while trainer.updates < updates:
        (CHAPTER["collect_rows"](trainer) if chapters_own else trainer.collect())
        while trainer.updates < min(trainer.due if chapters_own else trainer.updates_due, updates):
            numbers = CHAPTER["one_update"](trainer) if chapters_own else trainer.train_step()
    return list(trainer.agent.state_dict().values()), numbers


@pytest.mark.parametrize("optimizer", ["adam", "laprop"])
@pytest.mark.parametrize("exchanged", [False, True])
def test_the_trainer_of_the_chapter_is_the_packages_bit_for_bit(optimizer: str, exchanged: bool) -> None:
    """On the quick path, and on the readable one with the chapter's own solutions."""
    config = make_config("dreamer_v3", "nano", optimizer=optimizer, warmup=0, **BRIEF)
    mine = {name: CHAPTER[f"solved_{name}"] for name in SOLVED} if exchanged else {}
    with torch.random.fork_rng(), own.parts(**mine):
        (ours, said), (theirs, told) = grown(config, chapters_own=True), grown(config, chapters_own=False)
    assert len(said) == 8 and all(told[name] == said[name] for name in said)
    assert all(map(torch.equal, ours, theirs))


def test_the_solutions_make_the_first_gradients_of_the_finished_parts() -> None:
    config = make_config("dreamer_v3", "nano", optimizer="laprop", warmup=0, **BRIEF)
    assert own.compare({name: CHAPTER[f"solved_{name}"] for name in SOLVED}, "CartPole-v1", config) < 1e-5


def test_every_setting_of_nano_that_is_not_the_references_has_a_reason() -> None:
    own_ones = {name for name in own_values("dreamer_v3") if name not in WIDTHS}
    assert own_ones <= set(CHAPTER["REASON"])
    guide, nano = make_config("guide"), make_config("dreamer_v3", "nano")
    differ = {n for n in vars(nano) if getattr(guide, n) != getattr(nano, n)} - {"preset", "size"}
    assert differ <= set(CHAPTER["WHY"])


def test_the_ablations_of_the_chapter_are_those_that_are_measured() -> None:
    there = {name.removeprefix("ablation-") for name in runpy.run_path(str(BENCHMARKS))["ABLATIONS"]}
    assert {"none", *definitions_of_names()} == there


def definitions_of_names() -> list[str]:
    """The list grows in several statements, which no definition is."""
    from course import NOTEBOOKS, code_cells, read

    source = "\n".join(cell.source for cell in code_cells(read(NOTEBOOKS / "12_dreamer_v3.ipynb")))
    space: dict[str, Any] = {}
    exec("\n".join(line for line in source.splitlines() if line.startswith("OUT ")), space)
    names: list[str] = space["OUT"]
    return names
