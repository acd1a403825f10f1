"""One update: what happened is explained, what follows is imagined and judged, and every part takes a step.

batch -> world model's losses, states -> imagined trajectories -> behaviour's losses -> one sum, one backward pass
"""

import math
import time
from typing import Any

import torch
from torch import Tensor, nn

from wm_tutorial.agent import Agent
from wm_tutorial.checkpoint import check_form
from wm_tutorial.config import Config
from wm_tutorial.data import Batch, State
from wm_tutorial.errors import NonFiniteError
from wm_tutorial.imagination import imagine
from wm_tutorial.optim import make_optimizer
from wm_tutorial.pace import ALONE, Alone

PATIENCE = 2.0  # seconds; an update that takes longer is not rehearsed twice


class Learner:
    """An agent's parts, their optimiser, and the weight of each loss.

    parts      what is clipped together: world model, and actor and critic unless a planner acts
    optimizer  one group of parameters for each part, with a learning rate of its own
    company    the processes that learn with this one, each from its share of the batch
    """

    company: Alone = ALONE

    def __init__(self, agent: Agent, config: Config) -> None:
        self.agent, self.config = agent, config
        if config.compile:
            agent.world_model.dynamics.compile_steps()
        self.parts: dict[str, nn.Module] = {"world model": agent.world_model}
        self.learning_rates = [config.world_model_lr]
        if config.behaviour != "planner":
            self.parts |= {"actor": agent.behaviour.actor, "critic": agent.behaviour.critic}
            self.learning_rates += [config.actor_lr, config.critic_lr]
        groups = zip(self.parts.values(), self.learning_rates, strict=True)
        self.optimizer = make_optimizer(config, [{"params": list(part.parameters()), "lr": lr} for part, lr in groups])

    def update(self, batch: Batch, lr_share: float = 1.0) -> tuple[dict[str, float], State]:
        """One gradient update of every part.

        Args:
            batch: real sequences.
            lr_share: what is left of the learning rates, in 0..1.

        Returns:
            The losses and other metrics, and the states (B, T) inferred on the way.

        Raises:
            NonFiniteError: if a loss or gradient is not finite; nothing that this object holds was changed then.
        """
        losses, metrics, states, range_ = self.losses(batch)
        gradients = self.backward(losses)
        numbers = self.company.mean(finite({**losses, **gradients, **metrics}))
        for group, lr in zip(self.optimizer.param_groups, self.learning_rates, strict=True):
            group["lr"] = lr * lr_share
        self.optimizer.step()
        if range_ is not None:
            self.agent.behaviour.normalizer.keep(range_)
            self.agent.behaviour.update_slow_critic()
        return numbers, states

    def optimizer_state(self) -> dict[str, Any]:
        """What `load_optimizer` takes over. A parameter that never had a gradient beside others that had has `{}`."""
        saved = self.optimizer.state_dict()
        for group in saved["param_groups"]:
            if not saved["state"].keys().isdisjoint(group["params"]):
                saved["state"] |= {number: {} for number in group["params"] if number not in saved["state"]}
        return saved

    def load_optimizer(self, saved: dict[str, Any]) -> None:
        """Take over the state of an optimizer of the same parts. Its options stay those of this run's `config`.

        Raises:
            CheckpointError: if it is of other parts or another optimizer, or holds a number that is none.
        """
        probe = torch.nn.Parameter(torch.zeros(1))  # one update of one number shows what is kept of each parameter
        probe.grad = torch.zeros_like(probe)
        shown = make_optimizer(self.config, [{"params": [probe], "lr": 0.0}])
        shown.step()

        def kept(parameter: Tensor) -> dict[str, Any]:
            state = shown.state[probe].items()
            return {k: parameter if isinstance(v, Tensor) and v.shape == probe.shape else v for k, v in state}

        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        groups, state = self.optimizer.state_dict()["param_groups"], saved["state"]
        begun = [group["params"] for group in groups if not state.keys().isdisjoint(group["params"])]
        expected = {  # where chance acts no actor learns; and no gradient reaches what somebody has cut off
            i: {} if state.get(i) == {} else kept(parameters[i]) for numbers in begun for i in numbers
        }
        rates = [{"lr": group["lr"]} for group in saved["param_groups"]]
        check_form(
            {**saved, "param_groups": rates},
            {"state": expected, "param_groups": [{"lr": 0.0} for _ in groups]},
            "optimizer",
        )
        groups = [{**group, **rate} for group, rate in zip(groups, rates, strict=True)]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    def rehearse(self, batch: Batch) -> float:
        """How many seconds an update on such a batch takes here, but for the step itself; nothing is changed by it."""
        took, company = math.inf, self.company
        self.company = ALONE  # the others may need longer, or do it once
        try:
            for _ in range(2):  # the first one also warms up, or compiles
                started = time.perf_counter()
                self.backward(self.losses(batch)[0])
                took = min(took, time.perf_counter() - started)
                if took > PATIENCE and not self.config.compile:
                    break
        finally:
            self.company = company
        self.optimizer.zero_grad()
        return took

    def losses(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor], State, Tensor | None]:
        """Explain real sequences, imagine on from them, and judge what was imagined, in the precision asked for.

        Nothing is changed.

        Returns:
            Every named loss (), other metrics (), the states (B, T) inferred on the way, and the range of returns (2,)
            to go on from; None if no policy learned anything.
        """
        low = torch.autocast(self.config.device, torch.bfloat16, enabled=self.config.precision == "bfloat16")
        with self.company.range_of_all(self.agent), low:
            return self._losses(batch)

    def _losses(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor], State, Tensor | None]:
        config = self.config
        model_losses, states = self.agent.world_model.losses(batch)
        finite(model_losses)  # imagination could not sample from what is no number
        if config.behaviour != "actor-critic":
            return {name: loss.mean() for name, loss in model_losses.items()}, {}, states, None
        behaviour = self.agent.behaviour
        start = states.detach().flatten()
        if 0 < config.imagined_starts < len(start.latent):
            start = start[torch.randperm(len(start.latent))[: config.imagined_starts]]
        differentiable = config.policy_gradient == "dynamics"
        trajectory = imagine(self.agent.world_model, behaviour.actor, start, config.horizon, differentiable)
        real = (batch, states) if config.replay_critic_scale else ()
        behaviour_losses, metrics, range_ = behaviour.losses(trajectory, *real)
        losses = {name: loss.mean() for name, loss in {**model_losses, **behaviour_losses}.items()}
        return losses, metrics, states, range_

    def backward(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute the gradients of the weighted sum of all losses and clip them part by part; returns their norms.

        One backward pass serves all parts: stop-gradients inside the losses keep them apart.
        """
        self.optimizer.zero_grad()
        scales = self.scales
        weighted = [scales[name.partition("/")[0]] * loss for name, loss in losses.items()]  # decoder/camera: decoder
        torch.stack(weighted).sum().backward()  # type: ignore[no-untyped-call]
        self.company.average([p.grad for part in self.parts.values() for p in part.parameters() if p.grad is not None])
        return {
            f"{name} gradient": torch.nn.utils.clip_grad_norm_(part.parameters(), self.config.clip)
            for name, part in self.parts.items()
        }

    @property
    def scales(self) -> dict[str, float]:
        """The weight of each named loss in the sum."""
        c = self.config
        return {
            "decoder": c.decoder_scale, "reward": c.reward_scale, "continue": c.continue_scale,
            "dynamics": c.dynamics_scale, "representation": c.representation_scale, "actor": 1.0, "critic": 1.0,
            "replay critic": c.replay_critic_scale,
        }  # fmt: skip


def finite(tensors: dict[str, Tensor]) -> dict[str, float]:
    """The mean of each tensor; raises NonFiniteError for the first one that is not finite."""
    numbers = {name: float(tensor.detach().mean()) for name, tensor in tensors.items()}
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise NonFiniteError(f"{name} became {number}")
    return numbers
