"""Callbacks are told of what happens, may stop a run, and change nothing of it."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scripted import TINY, Scripted, Seeded, assert_same, snapshot, timeless, tiny, written

from wm_tutorial import Callback, Run, Trainer, resume, train
from wm_tutorial.errors import CallbackFailure, EnvironmentFailure, InputError
from wm_tutorial.evaluation import Evaluation
from wm_tutorial.runs.callbacks import EVENTS, Callbacks

EVENTFUL = {"eval_every": 16, "checkpoint_every": 24, "log_every": 10, "updates_per_step": 0.5}


def run_of(folder: Path, callbacks: Any = (), env: Any = Seeded, **options: Any) -> Run:
    return train(env, out=folder, draw=False, callbacks=callbacks, **{**TINY, **EVENTFUL, **options})


class Diary(Callback):
    """Writes down what it is told of."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def on_start(self, trainer: Trainer) -> None:
        self.events.append(("start", trainer.steps, trainer.updates))

    def on_step(self, trainer: Trainer) -> None:
        self.events.append(("step", trainer.steps, trainer.updates))

    def on_update(self, trainer: Trainer, numbers: dict[str, float]) -> None:
        self.events.append(("update", trainer.steps, trainer.updates, numbers))

    def on_evaluation(self, trainer: Trainer, evaluation: Evaluation) -> None:
        self.events.append(("evaluation", trainer.steps, trainer.updates, evaluation))

    def on_end(self, trainer: Trainer) -> None:
        self.events.append(("end", trainer.steps, trainer.updates))


def test_a_callback_is_told_of_every_step_update_and_evaluation_at_its_moment(tmp_path: Path) -> None:
    diary = Diary()
    run = run_of(tmp_path, diary)
    kinds = [kind for kind, *_ in diary.events]
    assert (kinds[0], kinds[-1]) == ("start", "end") and Counter(kinds)["start"] == Counter(kinds)["end"] == 1
    steps = [event[1] for event in diary.events if event[0] == "step"]
    assert steps[0] == 2 and steps[-1] == run.trainer.steps and len(steps) == len(run.trainer.replay) // 2
    assert [e[2] for e in diary.events if e[0] == "update"] == list(range(1, run.trainer.updates + 1))
    told = [(event[1], event[3].mean) for event in diary.events if event[0] == "evaluation"]
    assert told == [(r["step"], r["mean"]) for r in run.records if r["kind"] == "evaluation"] and len(told) == 4
    lines = [record for record in run.records if record["kind"] == "train"]
    updates = [event[3] for event in diary.events if event[0] == "update"][: lines[0]["updates"]]
    assert lines[0]["losses"] == {key: sum(n[key] for n in updates) / len(updates) for key in updates[0]}


def test_a_run_is_the_same_with_and_without_callbacks(whole: Run, tmp_path: Path) -> None:
    """Although these draw from every generator, and evaluate."""

    class Busy(Callback):
        def on_step(self, trainer: Trainer) -> None:
            torch.rand(3), np.random.rand(3)

        def on_update(self, trainer: Trainer, numbers: dict[str, float]) -> None:
            trainer.evaluate(1, greedy=False), trainer.agent.random_action(2)

    watched = run_of(tmp_path, Busy())
    assert_same(snapshot(watched.trainer), snapshot(whole.trainer))
    assert timeless(watched.records) == timeless(whole.records)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run without callbacks."""
    return run_of(tmp_path_factory.mktemp("whole"))


class Stops(Callback):
    """Stops the run at the n-th event of a kind."""

    def __init__(self, event: str, number: int, answer: Any = False) -> None:
        self.left, self.answer = number, answer
        setattr(self, event, self.count)

    def count(self, *_: Any) -> Any:
        self.left -= 1
        if self.left:
            return None
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("event", "number"), [("on_start", 1), ("on_step", 3), ("on_step", 17), ("on_update", 5), ("on_evaluation", 2)]
)
@pytest.mark.parametrize("answer", [np.bool_(False), ValueError("no more.")], ids=["False", "raises"])
def test_a_run_that_a_callback_ended_goes_on_as_if_it_had_not(
    event: str, number: int, answer: Any, whole: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, stops = tmp_path, Stops(event, number, answer)
    if isinstance(answer, Exception):
        told = f"{event} of the callback Stops raised ValueError: no more. Saved at step "
        with pytest.raises(CallbackFailure, match=re.escape(told)) as caught:
            run_of(folder, stops)
        assert caught.value.__cause__.__cause__ is answer  # type: ignore[union-attr]
        assert f"go on with: wm-tutorial resume {folder} --env" in str(caught.value)
    else:
        stopped = run_of(folder, stops)
        assert "A callback has stopped the run. Saved at step " in capsys.readouterr().err
        assert stopped.trainer.steps < whole.trainer.steps
    resumed = resume(folder, Seeded, draw=False)
    assert "A callback has stopped" not in capsys.readouterr().err
    assert_same(snapshot(resumed.trainer), snapshot(whole.trainer))
    assert timeless(written(folder)) == timeless(whole.records)


def test_true_lets_a_run_go_on(tmp_path: Path) -> None:
    assert run_of(tmp_path, Stops("on_step", 3, True)).trainer.steps >= 60


def test_stopping_after_the_last_evaluation_is_no_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(tmp_path, Stops("on_evaluation", 4))
    assert run.trainer.steps >= 60 and "stopped the run" not in capsys.readouterr().err


def test_all_callbacks_are_told_though_one_stops_the_run(tmp_path: Path) -> None:
    diary = Diary()
    run_of(tmp_path, [Stops("on_step", 3), diary])
    assert [kind for kind, *_ in diary.events] == ["start", "step", "step", "step", "end"]  # False of Python, too


def test_a_resumed_run_tells_the_callbacks_it_is_given(tmp_path: Path) -> None:
    run_of(tmp_path, Stops("on_step", 12))
    diary = Diary()
    resume(tmp_path, Seeded, draw=False, callbacks=diary)
    steps = [event[1] for event in diary.events]
    assert diary.events[0][0] == "start" and diary.events[-1][0] == "end" and 0 < steps[0] < steps[-1] >= 60


def test_a_trainer_of_ones_own_takes_callbacks_too(capsys: pytest.CaptureFixture[str]) -> None:
    trainer, diary = Trainer(Scripted, tiny()), Diary()
    trainer.callbacks = Callbacks([diary, Stops("on_step", 5)])
    trainer.run()
    assert [kind for kind, *_ in diary.events].count("step") == 5
    assert "A callback has stopped the run.\n" in capsys.readouterr().err.replace(
        " \n", "\n"
    )  # and nothing is promised


@pytest.mark.parametrize("answer", [0.3, 0, "stop", [False]], ids=repr)
def test_an_answer_that_says_nothing_is_an_error(answer: Any, tmp_path: Path) -> None:
    with pytest.raises(CallbackFailure, match=re.escape(f"returned {answer!r}; return False to stop")):
        run_of(tmp_path, Stops("on_update", 2, answer))
    assert (tmp_path / "checkpoint.pt").exists()


def test_the_end_is_told_however_the_run_ends_and_hides_no_error(tmp_path: Path) -> None:
    class Breaks(Seeded):
        def step(self, action: Any) -> Any:
            raise OSError("unplugged")

    class Ends(Diary):
        def on_end(self, trainer: Trainer) -> None:
            super().on_end(trainer)
            raise ValueError("cannot close")

    one, other = Ends(), Diary()
    with pytest.raises(EnvironmentFailure, match="unplugged"):
        run_of(tmp_path / "broken", [one, other], Breaks)
    assert one.events[-1][0] == other.events[-1][0] == "end"
    with pytest.raises(
        CallbackFailure, match=r"on_end of the callback Ends raised ValueError: cannot close\. Saved at"
    ):
        run_of(tmp_path / "whole", Ends())


def test_ctrl_c_in_a_callback_is_ctrl_c(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match="go on with"):
        run_of(tmp_path, Stops("on_update", 2, KeyboardInterrupt("Stopped.")))


# --- What is no callback ----------------------------------------------------------------------------------------------


class Misspelt:
    def on_step(self, trainer: Trainer) -> None: ...

    def on_evaluate(self, trainer: Trainer, evaluation: Evaluation) -> None: ...


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Diary, "is the class Diary; give an object of it: Diary()"),
        ([Diary(), 3], "callback 3 has no method that a run would call; there are on_start, on_step"),
        (lambda trainer: None, "has no method that a run would call"),
        (Misspelt(), "has on_evaluate, of which no run tells; did you mean on_evaluation?"),
        ("on_step", "has no method"),
        (None, "callback None has no method"),
    ],
)
def test_what_no_run_would_call_is_refused_before_anything_begins(given: Any, expected: str, tmp_path: Path) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: run_of(tmp_path / "new", given),
        lambda: resume(tmp_path / "old", callbacks=given),
    ]
    for call in calls:
        with pytest.raises(InputError, match=re.escape(expected)):
            call()
    assert not list(tmp_path.iterdir())


def test_any_object_with_a_method_of_a_callback_will_do(tmp_path: Path) -> None:
    class Simple:
        steps = 0

        def on_step(self, trainer: Trainer) -> None:
            self.steps = trainer.steps

    simple = Simple()
    assert run_of(tmp_path, (simple,)).trainer.steps == simple.steps


def test_the_base_class_has_every_event_and_does_nothing() -> None:
    assert EVENTS == ["on_start", "on_step", "on_update", "on_evaluation", "on_end"]
    trainer = Trainer(Scripted, tiny())
    assert not any(Callbacks(Callback())(trainer, event, *[{}] * (event in EVENTS[2:4])) for event in EVENTS)
