"""Run by the Pythons of the environments that `make engines` has made, for tests/test_engines.py and test_jobs.py.

.venv-envpool/bin/python tests/real_engines.py rows envpool out.npz
.venv-puffer/bin/python tests/real_engines.py learn puffer-Serial folder
"""

import dataclasses
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scripted import TINY

from wm_tutorial import resume, train
from wm_tutorial.runs import jobs
from wm_tutorial.runs.engines import EnvPool, Puffer
from wm_tutorial.runs.jobs import Job
from wm_tutorial.vector import environments

ENVS, SEED, EPISODES, SHORT = 8, 5, 200, 10
POLE = "CartPole-v1"
ENGINES = {
    "envpool": EnvPool(POLE),
    "envpool-short": EnvPool(POLE, {"max_episode_steps": SHORT}),
    "puffer-Serial": Puffer(POLE),
    "puffer-Multiprocessing": Puffer(POLE, "Multiprocessing", 2),
}


def seeded(engine: Any, seed: int, count: int, _: int) -> Any:
    return engine(count, seed)


def rows(engine: Any, seed: int, episodes: int) -> dict[str, Any]:
    """Columns (T, N, ...) of rows under random actions until so many episodes have ended, and the actions between."""
    collected = environments(POLE, ENVS, (0,), partial(seeded, engine, seed))
    rng, row = np.random.default_rng(3), collected.reset()
    found, actions = [row], []
    while sum(int(row.is_last.sum()) for row in found) < episodes:
        actions.append(collected.random_action(rng))
        row = collected.step(row, actions[-1])
        found.append(row)
    collected.close()
    columns = {f.name: np.stack([getattr(row, f.name) for row in found]) for f in dataclasses.fields(row)}
    return columns | {"action": np.stack(actions)}


def learn(engine: Any, folder: Path) -> dict[str, Any]:
    """What a tiny run with the engine has, and one that goes on with it."""
    with train(POLE, out=folder, draw=False, vector=engine, **{**TINY, "envs": ENVS}) as run:
        ended = [record for record in run.records if record["kind"] == "episode"]
        told: dict[str, Any] = {"updates": run.trainer.updates, "rows": len(run.trainer.replay)}
    with resume(folder, draw=False, vector=engine, steps=120) as resumed:
        told |= {"episodes": [[r["length"], r["return"]] for r in ended], "steps": resumed.trainer.steps}
    return told


def threads() -> int:
    return torch.get_num_threads()


def mixed() -> list[Job]:
    """Two that succeed, one that cannot be pickled by its name, three that fail in different ways."""
    number = 3
    return [
        Job("length", partial(len, "abc")),
        Job("closure", lambda: number + 1),
        Job("threads", threads),
        Job("wrong", partial(int, "x")),
        Job("refused", partial(jobs.check_engine, "cloud", 1)),
        Job("dies", partial(os._exit, 7)),
    ]


if __name__ == "__main__":
    what, name, out = sys.argv[1:]
    if what == "rows":
        found = rows(ENGINES[name], SEED, EPISODES)
        for nth, seed in (("again", SEED), ("other", SEED + 1)):
            found[nth] = rows(ENGINES[name], seed, 20)["obs"]
        np.savez(out, **found)
    else:
        print(json.dumps(learn(ENGINES[name], Path(out)), allow_nan=False))
