"""Every layer of a whole agent: what stands behind it, and what it begins with."""

import math
from typing import Any

import pytest
import torch
from helpers import IMAGES, STANDARD_ERRORS, VECTORS, random_batch, randomise
from torch import Tensor, nn

from wm_tutorial.agent import Agent
from wm_tutorial.config import PRESETS, make_config
from wm_tutorial.data import Spaces
from wm_tutorial.heads import ImageDecoder
from wm_tutorial.networks import BlockLinear

LAYERS = nn.Linear | nn.Conv2d | BlockLinear
NORMS = nn.LayerNorm | nn.RMSNorm
SIZES: dict[str, Any] = {"hidden": 12, "layers": 2, "memory_size": 16, "memory_blocks": 4, "conv_depth": 2, "bins": 15}
SIZES |= {"latent_size": 4, "latent_classes": 3, "imagined_starts": 0, "free_nats": 0.0}
AGENTS = pytest.mark.parametrize("preset", PRESETS)
BOTH = pytest.mark.parametrize("spaces", [VECTORS, IMAGES], ids=["vectors", "images"])


def agent_of(preset: str, spaces: Spaces, **options: Any) -> Agent:
    torch.manual_seed(0)
    return Agent(spaces, make_config(preset, **{**SIZES, **options}))


def learning(agent: Agent) -> dict[str, nn.Module]:
    """Every layer with weights of its own to learn; the slow critic's are copies."""
    return {
        name: layer for name, layer in agent.named_modules() if isinstance(layer, LAYERS) and "slow_critic" not in name
    }


def last_layers(agent: Agent) -> dict[str, nn.Module]:
    """The last layer of each network: predictions and distributions are made of its outputs as they are."""
    model = agent.world_model
    nets = {
        "posterior": model.dynamics.posterior_net, "prior": model.dynamics.prior_net,
        "decoder": model.decoder.net, "reward": model.reward_head.net, "continue": model.continue_head.net,
    }  # fmt: skip
    if agent.config.behaviour != "planner":  # which has no networks of its own
        nets |= {"actor": agent.behaviour.actor.net, "critic": agent.behaviour.critic.net}
    return {name: [layer for layer in net.modules() if isinstance(layer, LAYERS)][-1] for name, net in nets.items()}


# --- What stands behind it --------------------------------------------------------------------------------------------


def said(agent: Agent) -> dict[str, Tensor]:
    """Everything that the parts of an agent say about one batch."""
    dynamics = agent.world_model.dynamics
    batch = random_batch(agent.spaces, 2, 4, memory=dynamics.memory_size, latent=dynamics.latent_size)
    torch.manual_seed(0)
    with torch.no_grad():
        losses, states = agent.world_model.losses(batch)
        told = {**losses, "memory": states.memory, "latent": states.latent}
        if agent.config.behaviour != "planner":
            behaviour = agent.behaviour
            told |= {
                "entropy": behaviour.actor(states.feature).entropy(),
                "value": behaviour.critic(states.feature).mean,
            }
    return told


def moved_by(agent: Agent, *layers: nn.Module) -> set[str]:
    """What changes when these layers give four times as much: not the smallest digit, or something."""
    before = said(agent)
    parameters = [parameter for layer in layers for parameter in layer.parameters()]
    with torch.no_grad():
        for parameter in parameters:
            parameter.mul_(4.0)  # a power of two rounds nothing
        after = said(agent)
        for parameter in parameters:
            parameter.div_(4.0)
    return {name for name in before if not torch.equal(before[name], after[name])}


@BOTH
@AGENTS
def test_behind_every_hidden_layer_stands_a_normalisation_and_behind_no_other(preset: str, spaces: Spaces) -> None:
    """To which four times as much is the same; to a prediction, a distribution or a gate it is not."""
    agent = randomise(agent_of(preset, spaces))
    for module in agent.modules():
        if isinstance(module, NORMS):
            module.eps = 0.0
    bare = [*last_layers(agent).values(), *([core.gates] if hasattr(core := core_of(agent), "gates") else [])]
    together: list[nn.Module] = []
    if isinstance(agent.world_model.decoder, ImageDecoder):  # what memory and latent say is added, then normalised
        start = agent.world_model.decoder.net.start
        together = [start.from_latent[-1], *([start.from_memory] if start.from_memory is not None else [])]
    hidden = {name: layer for name, layer in learning(agent).items() if not any(layer is x for x in [*bare, *together])}
    assert len(hidden) >= 8
    assert {name: moved for name, layer in hidden.items() if (moved := moved_by(agent, layer))} == {}
    assert not together or not moved_by(agent, *together)
    assert all(moved_by(agent, layer) for layer in bare)


def core_of(agent: Agent) -> nn.Module | None:
    """What moves the memory, if there is one."""
    return getattr(agent.world_model.dynamics, "core", None)


# --- What it begins with ----------------------------------------------------------------------------------------------


def fan_in(layer: nn.Module) -> int:
    """How many numbers each output is a sum of; of a block-diagonal matrix, all blocks together."""
    if isinstance(layer, BlockLinear):
        return layer.weight.shape[0] * layer.weight.shape[1]
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight[0].numel()


@BOTH
@pytest.mark.parametrize("preset", ["guide", "dreamer_v1", "dreamer_v3"])
def test_every_layer_of_a_new_agent_is_as_large_as_its_inputs_ask_for(preset: str, spaces: Spaces) -> None:
    """Deviation 1 / sqrt(fan-in), biases 0 and gains 1; nothing is expected of a reward or value, little of an action.

    Source: danijar/dreamerv3 `embodied/jax/nets.py:144-197`, `dreamerv3/configs.yaml` (outscale).
    """
    agent = agent_of(preset, spaces, hidden=64, memory_size=128, memory_blocks=8, latent_size=16, conv_depth=4)
    ends = last_layers(agent)
    scales = {id(ends["reward"]): 0.0, id(ends["critic"]): 0.0, id(ends["actor"]): 0.01}
    for name, layer in learning(agent).items():
        expected = scales.get(id(layer), 1.0) / math.sqrt(fan_in(layer))
        weight = layer.weight.detach().double()
        assert not layer.bias.any(), name
        assert abs(weight.std(unbiased=False).item() - expected) <= STANDARD_ERRORS * expected / math.sqrt(
            2 * weight.numel()
        ), name
        assert abs(weight.mean().item()) <= STANDARD_ERRORS * expected / math.sqrt(weight.numel()), name
        assert weight.abs().max() <= 2.0 * expected / 0.8796, name  # cut at two deviations of what it is made from
    for module in agent.modules():
        if isinstance(module, NORMS):
            assert (module.weight == 1.0).all() and not getattr(module, "bias", torch.zeros(1)).any()
