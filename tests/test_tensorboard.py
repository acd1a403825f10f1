"""The events that TensorBoard reads say what metrics.jsonl says."""

import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from scripted import TINY, Scripted, Seeded, tiny

import wm_tutorial.runs.tensorboard as module
from wm_tutorial import Run, TensorBoard, Trainer, resume, train
from wm_tutorial.errors import CallbackFailure, InputError
from wm_tutorial.runs.callbacks import Callback, Callbacks
from wm_tutorial.runs.tensorboard import scalars

EVENTFUL = {"eval_every": 20, "log_every": 10, "updates_per_step": 0.5}
WITHOUT = "tensorboard is not installed: no events to read back"


def test_without_the_library_the_callback_is_refused_before_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=re.escape('Install it: pip install "wm_tutorial[tensorboard]"')):
        TensorBoard()


def test_every_number_of_a_line_has_one_curve() -> None:
    assert scalars({"kind": "episode", "step": 3, "return": 2.5, "length": 7}) == {
        "episode/return": 2.5,
        "episode/length": 7,
    }
    losses = {"kind": "train", "step": 3, "updates": 4, "seconds": 0.5, "losses": {"kl": 1.0, "actor entropy": 0.3}}
    assert scalars(losses) == {
        "train/updates": 4,
        "train/seconds": 0.5,
        "losses/kl": 1.0,
        "losses/actor_entropy": 0.3,
    }
    evaluation = {"kind": "evaluation", "step": 3, "mean": 1.0, "std": 0.0, "returns": [1.0, 1.0]}
    assert scalars(evaluation) == {"evaluation/mean": 1.0, "evaluation/std": 0.0}


# --- With the library -------------------------------------------------------------------------------------------------


def read(folder: Path) -> Any:
    """What TensorBoard reads: every event, none left out by chance."""
    pytest.importorskip("tensorboard", reason=WITHOUT)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return events


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = read(folder)
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def expected(run: Run) -> dict[str, list[tuple[int, Any]]]:
    found: dict[str, list[tuple[int, Any]]] = {}
    for record in run.records:
        for name, number in scalars(record).items():
            found.setdefault(name, []).append((record["step"], pytest.approx(number, rel=1e-6)))
    return found


def run_of(folder: Path, *callbacks: Any, env: Any = Seeded, **options: Any) -> Run:
    return train(env, out=folder, draw=False, callbacks=callbacks, **{**TINY, **EVENTFUL, **options})


def test_the_events_are_the_lines_of_metrics(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason=WITHOUT)
    run = run_of(tmp_path, TensorBoard(films=False))
    found = curves(tmp_path / "tensorboard")
    assert found == expected(run)
    assert {"episode/return", "train/updates", "losses/reward", "evaluation/mean"} <= found.keys()
    assert len(found["evaluation/mean"]) == 3 and not read(tmp_path / "tensorboard").Tags()["images"]


def test_a_run_that_was_stopped_goes_on_in_the_same_curves(tmp_path: Path) -> None:
    """Also after a crash, when lines behind the checkpoint are written again."""
    pytest.importorskip("tensorboard", reason=WITHOUT)

    class Crash(Callback):
        def on_step(self, trainer: Trainer) -> bool:
            if trainer.steps > 45:
                trainer.save = lambda: None  # type: ignore[method-assign]
                return False
            return True

    run_of(tmp_path, TensorBoard(films=False), Crash(), checkpoint_every=30)
    before = curves(tmp_path / "tensorboard")["episode/return"]
    assert before[-1][0] > Trainer.load(tmp_path, Seeded).steps
    run = resume(tmp_path, Seeded, draw=False, callbacks=TensorBoard(films=False))
    assert curves(tmp_path / "tensorboard") == expected(run)


def test_each_evaluation_has_a_film_that_moves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason=WITHOUT)
    run = run_of(tmp_path / "run", TensorBoard(tmp_path / "events"), env="CartPole-v1", eval_every=40)
    images = read(tmp_path / "events").Images("dream")
    assert [image.step for image in images] == [r["step"] for r in run.records if r["kind"] == "evaluation"]
    for image in images:
        with Image.open(io.BytesIO(image.encoded_image_string)) as film:
            assert film.format == "GIF" and film.n_frames > 5  # type: ignore[attr-defined]
            assert (image.width, image.height) == film.size


def test_with_one_simulator_there_is_no_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard", reason=WITHOUT)
    monkeypatch.setattr(module, "_film", lambda trainer: pytest.fail("a second simulator"))
    run_of(tmp_path, TensorBoard(), envs=1)
    assert not read(tmp_path / "tensorboard").Tags()["images"]


def test_a_trainer_without_a_folder_must_be_told_of_one() -> None:
    pytest.importorskip("tensorboard", reason=WITHOUT)
    trainer = Trainer(Scripted, tiny())
    trainer.callbacks = Callbacks(TensorBoard())
    with pytest.raises(CallbackFailure, match=r"say where the events go: TensorBoard\(folder=\.\.\.\)"):
        trainer.run()
