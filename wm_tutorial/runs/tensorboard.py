"""The metrics of a run in TensorBoard, beside metrics.jsonl: a curve for each number, and dreams as moving pictures.

from wm_tutorial import TensorBoard, train

train("CartPole-v1", eval_every=1000, callbacks=[TensorBoard()])

On the command line it is `wm-tutorial train CartPole-v1 --tensorboard`; then `tensorboard --logdir runs` shows all.
It needs the package tensorboard: pip install "wm_tutorial[tensorboard]".
"""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from wm_tutorial.checkpoint import user_path
from wm_tutorial.errors import InputError
from wm_tutorial.evaluation import Evaluation
from wm_tutorial.runs.callbacks import Callback
from wm_tutorial.runs.dream import EpisodesTooShort, dream
from wm_tutorial.trainer import Trainer


class TensorBoard(Callback):
    """Writes what metrics.jsonl holds as events of TensorBoard, one curve for each number, over environment steps.

    The names of the curves are those of the lines: `episode/return`, `train/updates`, `losses/reward`,
    `evaluation/mean`. A run that goes on after it was stopped goes on in the same curves.

    Args:
        folder: where the events go; `tensorboard` in the run folder if None.
        films: whether each evaluation adds a film of a dream, `dream` among the images; about five seconds. Of a run
            with one environment there is none: there may be no second simulator.

    Raises:
        InputError: if the package tensorboard is missing, or there is neither `folder` nor a run folder.
    """

    def __init__(self, folder: str | Path | None = None, films: bool = True) -> None:
        self.folder, self.films = None if folder is None else user_path(folder), films
        self.writer_class = _summary_writer()
        self.written = 0  # of the run's records

    def on_start(self, trainer: Trainer) -> None:
        """Open the events; those that a stopped run wrote after its checkpoint are hidden, for they come again."""
        folder = self.folder or (trainer.folder and trainer.folder / "tensorboard")
        if folder is None:
            raise InputError("The trainer has no folder; say where the events go: TensorBoard(folder=...)")
        first = None if not trainer.steps else trainer.steps + 1
        self.writer = self.writer_class(str(folder), purge_step=first)
        self.written = len(trainer.records)

    def on_step(self, trainer: Trainer) -> None:
        """Write what was recorded since the last time."""
        for record in trainer.records[self.written :]:
            for name, number in scalars(record).items():
                self.writer.add_scalar(name, number, record["step"])
        self.written = len(trainer.records)

    def on_evaluation(self, trainer: Trainer, evaluation: Evaluation) -> None:
        """Write the evaluation, and a film of a dream."""
        self.on_step(trainer)
        if self.films and trainer.config.envs > 1:
            with suppress(EpisodesTooShort):
                self._add_film("dream", _film(trainer), trainer.steps)
        self.writer.flush()

    def on_end(self, trainer: Trainer) -> None:
        """Write the rest and close the events."""
        self.on_step(trainer)
        self.writer.close()

    def _add_film(self, name: str, gif: bytes, step: int) -> None:
        """An animated GIF is an image to TensorBoard, which then moves: no library for videos is needed."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        width, height = (int.from_bytes(gif[at : at + 2], "little") for at in (6, 8))  # where a GIF says so
        image = Summary.Image(encoded_image_string=gif, width=width, height=height, colorspace=3)
        self.writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)


def scalars(record: dict[str, Any]) -> dict[str, float]:
    """The numbers in a line of metrics by the names of their curves."""
    kind = record["kind"]
    named = {f"{kind}/{key}": value for key, value in record.items() if key not in ("kind", "step")}
    named |= {f"losses/{key}": value for key, value in named.pop(f"{kind}/losses", {}).items()}
    return {name.replace(" ", "_"): value for name, value in named.items() if isinstance(value, int | float)}


def _film(trainer: Trainer) -> bytes:
    """A dream of the agent as it is now, always of the same episodes."""
    from wm_tutorial import figures  # here and not above: matplotlib is slow to import

    seen = dream(trainer.agent, trainer.source, filmed=trainer.source not in figures.SKETCHES)
    with TemporaryDirectory() as folder:
        figures.film(seen, path := Path(folder) / "dream.gif")
        return path.read_bytes()


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            f'TensorBoard is not there ({error}). Install it: pip install "wm_tutorial[tensorboard]"'
        ) from error
    return SummaryWriter
