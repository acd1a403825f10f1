"""Learn world models by building one.

from wm_tutorial import train
run = train("CartPole-v1", preset="guide", steps=20_000)
run.evaluate(episodes=100)
"""

from importlib.metadata import version

from wm_tutorial import worlds  # this tells Gymnasium of them
from wm_tutorial.agent import Agent
from wm_tutorial.evaluation import Evaluation
from wm_tutorial.runs.callbacks import Callback
from wm_tutorial.runs.run import Run, resume, train
from wm_tutorial.runs.shipped import pretrained
from wm_tutorial.runs.staged import StagedRun, train_in_stages
from wm_tutorial.runs.tensorboard import TensorBoard
from wm_tutorial.trainer import Trainer

__version__ = version("wm_tutorial")
__all__ = [
    "Agent", "Callback", "Evaluation", "Run", "StagedRun", "TensorBoard", "Trainer", "__version__", "pretrained",
    "resume", "train", "train_in_stages", "worlds",
]  # fmt: skip
