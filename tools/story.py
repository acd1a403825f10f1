"""Make the agents of the story through Part I anew, and write down what they score: wm_tutorial/course/agents.

    python tools/story.py            all of them: about a CPU minute for each run, two runs for each agent
    python tools/story.py 03 sound   some of them

Every agent has the options of chapter 08's, and learns with the mistake of its chapter let out from the first step to
the end of its evaluation. The seeds were fixed before anything was trained. The agent of the first seed is kept; the
others say whether the mistake, and not the seed, is to blame.
"""

import json
import sys
from typing import Any

import torch

from wm_tutorial.agent import Agent
from wm_tutorial.config import make_config
from wm_tutorial.course import story
from wm_tutorial.evaluation import evaluate
from wm_tutorial.trainer import Trainer

OPTIONS: dict[str, Any] = {"preset": "guide", "steps": 8000}
SEEDS = (0, 1)
EPISODES, EVALUATION_SEED = 100, 0


def learn(name: str, seed: int, **options: Any) -> tuple[Agent, float]:
    """Train an agent of the story, and its mean return over greedy episodes."""
    with story.mistake(story.bug_of(name)):
        trainer = Trainer(story.ENVIRONMENT, make_config(**OPTIONS | {"seed": seed} | options))
        while trainer.steps < trainer.config.steps:
            trainer.collect()
            while trainer.updates < trainer.updates_due:
                trainer.train_step()
        mean = evaluate(trainer.agent, story.ENVIRONMENT, EPISODES, EVALUATION_SEED).mean
    trainer.environments.close()
    return trainer.agent, round(mean, 2)


def described(name: str, means: dict[int, float]) -> dict[str, Any]:
    """What agents.json says about an agent."""
    every = {str(seed): mean for seed, mean in means.items()}
    return {"bug": story.bug_of(name), "mean": means[SEEDS[0]], "means": every}


def write(agents: dict[str, Any]) -> None:
    """Write agents.json, with agents in their order."""
    record = {
        "environment": story.ENVIRONMENT,
        "options": OPTIONS,
        "seed": SEEDS[0],
        "episodes": EPISODES,
        "evaluation_seed": EVALUATION_SEED,
        "agents": {name: agents[name] for name in names() if name in agents},
    }
    (story.AGENTS / "agents.json").write_text(json.dumps(record, indent=2, allow_nan=False) + "\n")


def names() -> list[str]:
    """All agents of the story."""
    return [*story.CHAPTERS, story.SOUND]


def main(asked: list[str]) -> None:
    """Make the agents named, or all of them."""
    if unknown := set(asked) - set(names()):
        raise SystemExit(f"The story has no agent {', '.join(sorted(unknown))}; it has {', '.join(names())}.")
    torch.set_num_threads(1)
    story.AGENTS.mkdir(exist_ok=True)
    for name in asked or names():
        means = {}
        for seed in SEEDS:
            agent, means[seed] = learn(name, seed)
            if seed == SEEDS[0]:
                agent.save(story.AGENTS / f"{name}.safetensors")
            print(f"{name}, seed {seed}: mean return {means[seed]:.1f}", flush=True)
        known = story.records()["agents"] if (story.AGENTS / "agents.json").exists() else {}
        write(known | {name: described(name, means)})


if __name__ == "__main__":
    main(sys.argv[1:])
