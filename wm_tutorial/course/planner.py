"""Where the parts of chapter 18 belong in an agent: from the reader's signature to the package's, as in `own`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from wm_tutorial import planner
from wm_tutorial.data import State
from wm_tutorial.mistakes.part import Function
from wm_tutorial.parts import Replacement
from wm_tutorial.world_model import WorldModel


class Steps:
    """A world model as a search sees it, which can be asked for the model as well."""

    def __init__(self, model: WorldModel, step: planner.Step) -> None:
        self.model, self.step = model, step

    def __call__(self, state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        """What the package's own would say."""
        return self.step(state, action)


def _candidate_returns(mine: Function) -> list[Replacement]:
    step_of, package = planner.step_of, planner.imagined_returns

    def imagined_returns(step: planner.Step, state: State, actions: Tensor) -> Any:
        if not isinstance(step, Steps):
            return package(step, state, actions)
        model, memory = step.model, state.memory.shape[-1]
        with torch.no_grad():
            return mine(
                state.feature,
                actions,
                lambda feature, action: model.imagine(State.split(feature, memory), action).feature,
                lambda feature: model.reward(feature).mean,
                lambda feature: model.continues(feature).mean,
            )

    return [
        Replacement(planner, "step_of", lambda model: Steps(model, step_of(model))),
        Replacement(planner, "imagined_returns", imagined_returns),
    ]


def _cross_entropy(mine: Function) -> list[Replacement]:
    package = planner.plan

    def plan(step: planner.Step, state: State, start: Any, candidates: int, elites: int, iterations: int) -> Any:
        if not isinstance(start, planner.GaussianPlan):
            return package(step, state, start, candidates, elites, iterations)
        n, horizon, size = start.mean.shape
        noise = torch.randn(iterations, n, candidates, horizon, size)
        _, mean, std = mine(lambda actions: planner.imagined_returns(step, state, actions), noise, elites)
        return planner.GaussianPlan(mean, std)

    return [Replacement(planner, "plan", plan)]


PLACES: dict[str, Callable[[Function], list[Replacement]]] = {
    "candidate_returns": _candidate_returns,
    "cross_entropy": _cross_entropy,
}
DRAWS = ("cross_entropy",)
