"""World Models, 2018: three small networks, trained one after the other.

    V   vision.py      a picture o_t becomes a few numbers z_t, and back
    M   memory.py      from z_t, the action and what it remembers, M says what may come next
    C   controller.py  the action, a linear function of [z_t, h_t], found by evolution

    rollout.py   C plays in reality, through V and M, or in the dream, which is M alone
    agent.py     V, M and C together, used as every other agent
    stages.py    random play -> V -> M -> C, each stage kept in a file
    settings.py  every number that can be turned

Unlike in PlaNet and the Dreamers, no part teaches another: V does not know what M finds hard to foresee, M does not
know what C needs, and all that C will ever see was recorded by chance.

Source: Ha & Schmidhuber 2018, "World Models" (arXiv 1803.10122), and hardmaru/WorldModelsExperiments.
"""

from wm_tutorial.world_models_2018.agent import Agent
from wm_tutorial.world_models_2018.controller import Controller, evolve
from wm_tutorial.world_models_2018.memory import Memory, Mixture, Prediction
from wm_tutorial.world_models_2018.rollout import DreamedWorld, RealWorld, World, play
from wm_tutorial.world_models_2018.settings import Settings, make_settings
from wm_tutorial.world_models_2018.stages import STAGES, Stage, Stages
from wm_tutorial.world_models_2018.vision import Vision, bound

__all__ = [
    "STAGES", "Agent", "Controller", "DreamedWorld", "Memory", "Mixture", "Prediction", "RealWorld", "Settings",
    "Stage", "Stages", "Vision", "World", "bound", "evolve", "make_settings", "play",
]  # fmt: skip
