"""A plan as it is found: what its candidates would lead to, iteration by iteration, beside what then happened."""

import numpy as np
import torch

from wm_tutorial.agent import Agent
from wm_tutorial.config import LARGEST_SEED, integers
from wm_tutorial.data import Array, Narrowing, Spaces, State
from wm_tutorial.envs import EnvSource
from wm_tutorial.errors import InputError
from wm_tutorial.planner import Step, no_plan, search, step_of
from wm_tutorial.randomness import isolated_random
from wm_tutorial.runs.dream import EPISODES_TRIED, OBSERVATION_NAMES, EpisodesTooShort, live


def narrowing(agent: Agent, source: EnvSource, context: int = 5, seed: int = 0, entry: int | None = None) -> Narrowing:
    """Search for a plan in the last of the first `context` rows of an episode in which the agent acts greedily.

    Args:
        agent: one that plans.
        source: the environment.
        context: rows seen before, the row that is planned in among them, at least 1.
        seed: of the episode; never one of training.
        entry: which number of the observation is followed. If None it is the first of a vector; of other observations
            it is the reward.

    Raises:
        InputError: if the agent has no planner, or an argument is out of its range.
        EpisodesTooShort: if every episode ends before that row.
    """
    context, seed = integers(context=context, seed=seed)
    config, spaces = agent.config, agent.spaces
    if config.behaviour != "planner":
        raise InputError(f"behaviour is {config.behaviour!r}: this agent makes no plans. Give one of preset 'planet'.")
    if context < 1 or not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"context is {context} and seed {seed}; give at least 1 row, and a seed in 0 .. 2**63 - 1.")
    entry = entry_of(spaces, entry)
    batch = live(agent, source, context + config.horizon, seed, greedy=True)
    if (rows := batch.obs.shape[1]) < context:
        raise EpisodesTooShort(
            f"The longest of {EPISODES_TRIED} episodes has {rows} rows; give a context of at most {rows}."
        )
    with torch.no_grad(), isolated_random(agent.device, seed):
        state = agent.world_model.observe(batch.rows(0, context))[:, -1]
        arrived: list[State] = []
        start = no_plan(spaces, state, config.horizon)
        step = remembered(step_of(agent.world_model), arrived)
        found = list(search(step, state, start, config.candidates, config.elites, config.plan_iterations))
        beginning = state.feature.expand(config.candidates, -1)
        paths = []
        for i in range(config.plan_iterations):
            steps = arrived[i * config.horizon : (i + 1) * config.horizon]
            paths.append(followed(agent, torch.stack([beginning, *(s.feature for s in steps)], dim=1), entry))
    elites = np.zeros((config.plan_iterations, config.candidates), bool)
    for chosen, iteration in zip(elites, found, strict=True):
        chosen[iteration.elites[0].numpy(force=True)] = True
    met = batch.reward[0] if entry is None else batch.obs[0, :, entry]
    environment = source if isinstance(source, str) else ""
    names = OBSERVATION_NAMES.get(environment, ())
    name = "reward" if entry is None else (*names, *(f"entry {i}" for i in range(len(names), entry + 1)))[entry]
    return Narrowing(
        paths=np.stack(paths),
        returns=np.stack([iteration.returns[0].numpy(force=True) for iteration in found]),
        elites=elites,
        happened=met[context - 1 :].numpy(force=True),
        row=context - 1,
        name=name,
        environment=environment,
    )


def entry_of(spaces: Spaces, entry: int | None) -> int | None:
    """Which number of a vector is followed; None for other observations. Raises InputError if there is no such one."""
    if entry is None:
        return 0 if spaces.obs_kind == "vector" else None
    (entry,) = integers(entry=entry)
    if spaces.obs_kind != "vector" or not 0 <= entry < spaces.obs_shape[0]:
        raise InputError(f"entry is {entry}; it must be that of a number in {spaces}, or None.")
    return entry


def remembered(step: Step, arrived: list[State]) -> Step:
    """The same steps, whose states are kept in `arrived`."""

    def keeping(state: State, action: torch.Tensor) -> tuple[State, torch.Tensor, torch.Tensor]:
        answer = step(state, action)
        arrived.append(answer[0])
        return answer

    return keeping


def followed(agent: Agent, feature: torch.Tensor, entry: int | None) -> Array:
    """What the model expects of one number of the observation, or of the reward: (J, H + 1, F) -> (J, H + 1)."""
    model = agent.world_model
    expected = model.reward(feature).mean if entry is None else model.decode(feature).mean[..., entry]
    numbers: Array = expected.numpy(force=True)
    return numbers
