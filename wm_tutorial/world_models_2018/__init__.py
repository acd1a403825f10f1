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

CarRacing, the authors' first world, can be chosen and has not been run here. It needs `pip install "gymnasium[box2d]"`:

    wm-tutorial world-models-2018 CarRacing-v3 --latent-size 32 --memory-size 256 --rows 50000 --limit 1000 \\
        --plays-in reality

What it costs, by counting: 28 kilobytes for each recorded row, 1.4 gigabytes for these; pictures of 36 times as many
pixels as Rockfall's, so more than half a second of one core for each update of V; and 96,000 steps of the simulator in
each generation of C, where the authors take a million, for 1,800 generations.

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
