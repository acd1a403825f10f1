"""Where the parts of chapter 12 belong, for `own.PLACES`: from the reader's signature to the package's."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wm_tutorial import optim
from wm_tutorial.actor_critic import ActorCritic
from wm_tutorial.data import Batch, Place, State
from wm_tutorial.mistakes.part import Function
from wm_tutorial.parts import Replacement
from wm_tutorial.replay import Replay


def _replay_returns(mine: Function) -> list[Replacement]:
    def replay_returns(self: ActorCritic, batch: Batch, bootstrap: Tensor) -> Any:
        config = self.config
        return mine(batch.reward, batch.is_last, batch.is_terminal, bootstrap, config.discount, config.lam)

    return [Replacement(ActorCritic, "replay_returns", replay_returns)]


def _slow_update(mine: Function) -> list[Replacement]:
    @torch.no_grad()
    def update(self: ActorCritic) -> None:
        for slow, fast in zip(self.slow_critic.parameters(), self.critic.parameters(), strict=True):
            slow.copy_(mine(slow, fast, self.config.slow_critic_rate))

    return [Replacement(ActorCritic, "update_slow_critic", update)]


def _write_back(mine: Function) -> list[Replacement]:
    def write_back(self: Replay, place: Place, states: State) -> None:
        held = min(self.added, self.length)  # before it is full, a ring of as many rows as it has
        for stream in np.unique(place.stream):
            ours = place.stream == stream
            number = torch.from_numpy(place.number[ours])
            for name, given in (("memory", states.memory), ("latent", states.latent)):
                ring = torch.from_numpy(self.columns[name][stream][:held])
                ring.copy_(mine(ring, number, self.added, given[torch.from_numpy(ours)].detach().cpu()))

    return [Replacement(Replay, "write_back", write_back)]


PLACES: dict[str, Callable[[Function], list[Replacement]]] = {
    "replay_returns": _replay_returns,
    "slow_update": _slow_update,
    "clip_by_share": lambda mine: [Replacement(optim, "clip_by_share", mine)],
    "laprop": lambda mine: [Replacement(optim, "laprop_direction", mine)],
    "write_back": _write_back,
}
