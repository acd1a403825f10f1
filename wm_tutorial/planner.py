"""Acting without a policy: before each action, search the model for the actions that will earn most, and do the first.

    draw candidates from the plan -> imagine each of them -> keep the elites -> refit the plan to them -> again

The cross-entropy method, as PlaNet acts. Nothing is learned here, and no gradient flows: the search needs nothing of a
world but what arrives after an action. The next action is searched for anew, from what was seen by then.

Shape letters: N environments, J candidates, K elites, H horizon, A action size.

Source: Hafner et al. 2019 (arXiv 1811.04551), section 3 and algorithm 2; google-research/planet
`planet/control/planning.py`. Latent overshooting, the paper's other idea, trains the model over several steps. It is
not here: the authors switched it off for their final agent.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor

from wm_tutorial.config import Config
from wm_tutorial.data import Spaces, State
from wm_tutorial.errors import InputError, NonFiniteError
from wm_tutorial.latents import OneHot
from wm_tutorial.world_model import WorldModel

# All that a search must know of a world: what follows when actions (B, A) are taken in states (B). That is the states
# that are arrived in (B), the reward for arriving there (B), and the probability that the episode goes on after it (B).
Step = Callable[[State, Tensor], tuple[State, Tensor, Tensor]]


def step_of(world_model: WorldModel) -> Step:
    """A world model as a search sees it: a sample of the next latent, and what the heads expect of it."""

    def step(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        arrived = world_model.imagine(state, action)
        return arrived, world_model.reward(arrived.feature).mean, world_model.continues(arrived.feature).mean

    return step


# --- Plans: distributions over the next H actions ---------------------------------------------------------------------


class ActionPlan(Protocol):
    """What is believed about the best next actions: each independent of the others."""

    def sample(self, count: int) -> Tensor:
        """Candidates, (N, J, H, A)."""
        ...

    def refit(self, elites: Tensor) -> Self:
        """The plan whose candidates would be like `elites` (N, K, H, A)."""
        ...

    @property
    def first(self) -> Tensor:
        """The action to take now, (N, A)."""
        ...

    def explored(self, noise: float) -> Tensor:
        """The same with exploration noise, (N, A)."""
        ...


@dataclass(frozen=True)
class GaussianPlan:
    """Continuous actions, each number a Gaussian of its own, cut to the bounds -1..1.

    mean  (N, H, A)
    std   (N, H, A)
    """

    mean: Tensor
    std: Tensor

    def sample(self, count: int) -> Tensor:
        """Candidates (N, J, H, A) within -1..1."""
        n, horizon, size = self.mean.shape
        noise = torch.randn(n, count, horizon, size, dtype=self.mean.dtype, device=self.mean.device)
        return (self.mean.unsqueeze(1) + self.std.unsqueeze(1) * noise).clamp(-1.0, 1.0)

    def refit(self, elites: Tensor) -> Self:
        """Mean and standard deviation of each action over the elites (N, K, H, A).

        The paper writes the mean distance from the mean where its code, as here, has the root of the mean square.
        """
        variance, mean = torch.var_mean(elites, dim=1, correction=0)
        return type(self)(mean, torch.sqrt(variance + 1e-6))

    @property
    def first(self) -> Tensor:
        """The mean of the first action, (N, A)."""
        return self.mean[:, 0]

    def explored(self, noise: float) -> Tensor:
        """The same with Gaussian noise of standard deviation `noise`, within the bounds: (N, A)."""
        return (self.first + noise * torch.randn_like(self.first)).clamp(-1.0, 1.0)


@dataclass(frozen=True)
class CategoricalPlan:
    """Discrete actions, each one-hot, with probabilities of its own: the cross-entropy method's form for choices.

    probabilities  (N, H, A)

    Source: de Boer et al. 2005, "A tutorial on the cross-entropy method"; PlaNet has continuous actions only.
    """

    probabilities: Tensor

    def sample(self, count: int) -> Tensor:
        """Candidates (N, J, H, A), one-hot."""
        return OneHot(self.probabilities.unsqueeze(1).repeat(1, count, 1, 1)).sample()

    def refit(self, elites: Tensor) -> Self:
        """How often each action was taken by the elites (N, K, H, A)."""
        return type(self)(elites.mean(1))

    @property
    def first(self) -> Tensor:
        """The most likely first action, (N, A)."""
        return OneHot(self.probabilities[:, 0]).mode

    def explored(self, noise: float) -> Tensor:
        """The same, or with probability `noise` an action by chance: (N, A)."""
        return OneHot((1.0 - noise) * self.first + noise / self.first.shape[-1]).sample()


def no_plan(spaces: Spaces, state: State, horizon: int) -> GaussianPlan | CategoricalPlan:
    """Where a search begins in `state` (N): mean 0 and standard deviation 1, or every action equally likely.

    Raises:
        InputError: if `horizon` is below 1.
    """
    if horizon < 1:
        raise InputError(f"horizon is {horizon}; plan at least 1 step ahead.")
    zeros = state.latent.new_zeros(len(state.latent), horizon, spaces.action_size)
    (kind, _), *_ = spaces.factors  # no other one: agents that plan have one action
    if kind == "discrete":
        return CategoricalPlan(torch.full_like(zeros, 1.0 / spaces.action_size))
    return GaussianPlan(zeros, torch.ones_like(zeros))


# --- The search -------------------------------------------------------------------------------------------------------

AnyPlan = TypeVar("AnyPlan", bound=ActionPlan)


@dataclass(frozen=True)
class Iteration(Generic[AnyPlan]):
    """One iteration of a search.

    candidates  (N, J, H, A)  the actions that were tried
    returns     (N, J)        what each would earn
    elites      (N, K)        which ones the plan was refitted to, in no order
    plan                      what came of it
    """

    candidates: Tensor
    returns: Tensor
    elites: Tensor
    plan: AnyPlan


@torch.no_grad()
def imagined_returns(step: Step, state: State, actions: Tensor) -> Tensor:
    """What sequences of actions (N, J, H, A), begun in `state` (N), are expected to earn: (N, J).

    The sum of the rewards of all states that are arrived in, not discounted, each times the probability that the
    episode has not ended before. Critical: the reward of the state that is left belongs to the action before.

    Source: Hafner et al. 2019 (arXiv 1811.04551), algorithm 2, line 6, which knows no ends.
    """
    n, count = actions.shape[:2]
    state = State(state.memory.repeat_interleave(count, 0), state.latent.repeat_interleave(count, 0))  # (N J)
    earned, running = actions.new_zeros(n * count), actions.new_ones(n * count)
    for action in actions.flatten(0, 1).unbind(1):  # each (N J, A)
        state, reward, continue_ = step(state, action)
        if not reward.shape == continue_.shape == earned.shape:
            raise InputError(
                f"The world was asked for {len(earned)} steps side by side, and returned rewards of shape "
                f"{tuple(reward.shape)} and continue probabilities of shape {tuple(continue_.shape)}; both must have "
                f"the shape {tuple(earned.shape)}."
            )
        earned = earned + running * reward
        running = running * continue_
    return earned.reshape(n, count)


def elites_of(returns: Tensor, elites: int) -> Tensor:
    """Which of the candidates with `returns` (N, J) earn most: (N, K), in no order."""
    return returns.topk(elites, dim=1, sorted=False).indices


def search(
    step: Step, state: State, start: AnyPlan, candidates: int, elites: int, iterations: int
) -> Iterator[Iteration[AnyPlan]]:
    """Look for the actions that earn most from `state` (N), iteration by iteration; arguments as in `plan`."""
    if not 1 <= elites <= candidates or iterations < 1:
        raise InputError(
            f"A plan was asked for with {candidates} candidates, {elites} elites and {iterations} iterations; give at "
            "least 1 of each, and no more elites than candidates."
        )
    found = start
    for _ in range(iterations):
        actions = found.sample(candidates)
        returns = imagined_returns(step, state, actions)
        if returns.isnan().any():
            raise NonFiniteError(
                "An imagined return became nan, so there is no best plan. Look at the rewards and continue "
                "probabilities that the model predicts; if it is a learned one, lower its learning rate."
            )
        best = elites_of(returns, elites)  # (N, K)
        found = found.refit(actions[torch.arange(len(actions), device=best.device).unsqueeze(1), best])
        yield Iteration(actions, returns, best, found)


def plan(step: Step, state: State, start: AnyPlan, candidates: int, elites: int, iterations: int) -> AnyPlan:
    """The cross-entropy method: the plan that is left when the search has narrowed `iterations` times.

    With one iteration and one elite it is random shooting: the best of J plans by chance.

    Args:
        step: the world, exact or learned.
        state: (N) where to plan from.
        start: the plan that the first candidates are drawn from; it says how far to look ahead, and `no_plan` makes it.
        candidates: J, how many are tried in each iteration.
        elites: K, how many of the best the next plan is fitted to.
        iterations: how often.

    Raises:
        InputError: if a number is below 1, there are more elites than candidates, or `step` returns other shapes.
        NonFiniteError: if a return is not a number.
    """
    found = start
    for iteration in search(step, state, start, candidates, elites, iterations):
        found = iteration.plan
    return found


def planned_action(world_model: WorldModel, state: State, spaces: Spaces, config: Config, greedy: bool) -> Tensor:
    """The first action (N, A) of the best plan that is found in `state` (N); with exploration noise unless `greedy`."""
    start = no_plan(spaces, state, config.horizon)
    best = plan(step_of(world_model), state, start, config.candidates, config.elites, config.plan_iterations)
    return best.first if greedy else best.explored(config.action_noise)
