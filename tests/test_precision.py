"""Half precision, compiled steps, another device: other kernels, the same numbers up to rounding."""

from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from helpers import CONTINUOUS, IMAGES, VECTORS, random_batch, randomise
from scripted import TINY

from wm_tutorial import resume, train
from wm_tutorial.config import PRESETS, make_config
from wm_tutorial.data import Spaces
from wm_tutorial.networks import RMSNorm, widen
from wm_tutorial.play.page import export
from wm_tutorial.trainer import Trainer
from wm_tutorial.world_model import WorldModel

SMALLER = TINY | {"imagined_starts": 0, "memory_size": 8, "memory_blocks": 2, "latent_classes": 3, "bins": 41}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("spaces", [VECTORS, CONTINUOUS, IMAGES], ids=["vectors", "continuous", "images"])
def test_bfloat16_changes_losses_by_its_rounding_only(spaces: Spaces, preset: str) -> None:
    """bfloat16 keeps 8 bits: each loss stays within a few per cent, is float32, and reaches float32 parameters."""
    config = make_config(preset, **SMALLER)
    torch.manual_seed(0)
    model = WorldModel(spaces, config)
    sizes = {"memory": model.dynamics.memory_size, "latent": model.dynamics.latent_size}
    batch = random_batch(spaces, 3, 4, **sizes)

    def losses(half: bool) -> dict[str, torch.Tensor]:
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            found, states = model.losses(batch)
        assert states.memory.dtype == states.latent.dtype == torch.float32
        return found

    whole, half = losses(False), losses(True)
    for name, loss in whole.items():
        assert half[name].dtype == torch.float32
        assert half[name].mean().item() == pytest.approx(loss.mean().item(), rel=0.05, abs=0.01), name
    assert any(not torch.equal(half[name], whole[name]) for name in whole)  # it was really half
    torch.stack([loss.mean() for loss in half.values()]).sum().backward()
    assert all(
        p.grad is None or (p.grad.dtype == torch.float32 and p.grad.isfinite().all()) for p in model.parameters()
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_a_run_in_half_precision_learns_and_stores_float32(preset: str) -> None:
    trainer = Trainer("CartPole-v1", make_config(preset, **SMALLER, precision="bfloat16"))
    trainer.run()
    assert trainer.updates == 10
    assert all(parameter.dtype == torch.float32 for parameter in trainer.agent.parameters())
    assert trainer.replay.columns["latent"].any()


def test_the_root_mean_square_is_taken_in_float32() -> None:
    """In bfloat16 the square of 300 would already be off by hundreds."""
    x = torch.tensor([[300.0, 301.0, -302.0, 1.0]]).bfloat16()
    torch.testing.assert_close(RMSNorm(4, eps=1e-4)(x), RMSNorm(4, eps=1e-4)(x.float()), rtol=0, atol=0)
    assert widen(x).dtype == torch.float32
    assert widen(x.double()).dtype == torch.float64


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch.compile looks at it itself, in passing
@pytest.mark.parametrize("preset", PRESETS)
def test_compiled_steps_draw_the_same_numbers(preset: str) -> None:
    """The compiler's front end, without the code generator that would need a C++ compiler: three updates."""
    found: list[dict[str, Any]] = []
    for compiled in (False, True):
        with patch.object(torch, "compile", partial(torch.compile, backend="aot_eager")):
            trainer = Trainer("CartPole-v1", make_config(preset, **SMALLER, compile=compiled))
        randomise(trainer.agent)
        while len(trainer.replay) < 60:
            trainer.collect()
        found.append({f"{name} {i}": value for i in range(3) for name, value in trainer.train_step().items()})
    assert found[1] == pytest.approx(found[0], rel=1e-4, abs=1e-5)


def test_compiling_is_asked_for_where_steps_repeat() -> None:
    """Nothing is compiled unless it is asked for, and what samples never is."""
    with patch.object(torch, "compile", side_effect=lambda function: function) as compile_:
        Trainer("CartPole-v1", make_config("dreamer_v3", **SMALLER))
        assert compile_.call_count == 0
        Trainer("CartPole-v1", make_config("dreamer_v3", **SMALLER, compile=True))
        compiled = {call.args[0].__name__ for call in compile_.call_args_list}
    assert compiled == {"row", "expect"}


# --- On another device ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["guide", "dreamer_v3", "planet"])
def test_no_part_of_a_run_reads_a_tensor_where_it_lies(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What NumPy does with a tensor on a GPU, it does here: a page, a film or a plan must fetch the numbers first."""

    def refused(tensor: torch.Tensor, *_: Any, **__: Any) -> None:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    monkeypatch.setattr(torch.Tensor, "__array__", refused)
    options = SMALLER | {"horizon": 3, "eval_every": 32, "eval_episodes": 2}
    with train("CartPole-v1", preset=preset, **options, out=tmp_path / "run", draw=False) as run:
        run.report(run.evaluate(2))
        run.doctor()
        run.film(tmp_path / "film.gif", steps=5)
        run.agent.save(tmp_path / "agent.safetensors")
        export(run.path, tmp_path / "dream.html")
    assert (run.path / "imagined.png").exists() == (run.config.behaviour == "actor-critic")
    with resume(run.path, steps=2 * run.config.steps, draw=False) as more:
        assert more.trainer.updates > run.trainer.updates
