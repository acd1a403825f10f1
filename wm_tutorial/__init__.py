"""Learn world models by building one.

from wm_tutorial import train
run = train("CartPole-v1", preset="guide", steps=20_000)
run.evaluate(episodes=100)
"""

from importlib.metadata import version

from wm_tutorial import pixels, worlds  # these register their environments with Gymnasium
from wm_tutorial.agent import Agent
from wm_tutorial.run import Run, resume, train
from wm_tutorial.trainer import Evaluation, Trainer

__version__ = version("wm_tutorial")
__all__ = ["Agent", "Evaluation", "Run", "Trainer", "__version__", "pixels", "resume", "train", "worlds"]
