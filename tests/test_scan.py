"""The quick way through a sequence gives what the readable one gives: states, distributions, draws and gradients."""

from typing import Any

import pytest
import torch
from helpers import randomise, uniform
from torch import Tensor

from wm_tutorial import dynamics
from wm_tutorial.config import Config
from wm_tutorial.data import State
from wm_tutorial.dynamics import GRU, RSSM, BlockGRU, make_dynamics
from wm_tutorial.latents import Categoricals, Gaussian
from wm_tutorial.parts import Replacement, replaced
from wm_tutorial.scan import QuickRSSM, action_part, matrices_of, memory_after
from wm_tutorial.world_model import WorldModel

B, T, E, A = 3, 6, 5, 2
CELLS = pytest.mark.parametrize("cell", ["gru", "block-gru"])
LATENTS = pytest.mark.parametrize("latent", ["gaussian", "categorical"])
NORMS = pytest.mark.parametrize("norm", ["layer", "rms"])


def both(cell: str, latent: str, norm: str) -> tuple[RSSM, QuickRSSM]:
    """The readable and the quick model, with the same parameters, in double precision."""
    config = Config(
        memory="rssm", memory_cell=cell, latent=latent, norm=norm, memory_size=8, memory_blocks=2, latent_size=3,
        latent_classes=4, hidden=6,
    )  # fmt: skip
    readable, quick = (make_dynamics(config, E, A, kind) for kind in (RSSM, QuickRSSM))
    assert type(readable) is RSSM and type(quick) is QuickRSSM
    randomise(readable.double())
    quick.double().load_state_dict(readable.state_dict())
    return readable, quick


def sequence(model: RSSM) -> dict[str, Any]:
    """Rows with an episode that begins in the middle, and actions of which some lie outside of -1..1."""
    is_first = torch.zeros(B, T, dtype=torch.bool)
    is_first[0, 0] = is_first[1, 3] = True
    return {
        "embedding": uniform(B, T, E, seed=0).double().requires_grad_(),
        "action": uniform(B, T, A, seed=1, low=-2, high=2).double().requires_grad_(),
        "is_first": is_first,
        "start": State(
            uniform(B, model.memory_size, seed=2).double().requires_grad_(),
            uniform(B, model.latent_size, seed=3).double().requires_grad_(),
        ),
    }


def natural(distribution: Gaussian | Categoricals) -> Tensor:
    if isinstance(distribution, Gaussian):
        return torch.cat([distribution.mean, distribution.logvar], -1)
    return distribution.logits.flatten(-2)


def observed(model: RSSM) -> tuple[list[Tensor], list[Tensor]]:
    """States, posterior and prior of a sequence; and the gradient of a number made of all of them, in everything."""
    given = sequence(model)
    torch.manual_seed(0)
    states, posterior, prior = model.observe(**given)
    numbers = [states.memory, states.latent, natural(posterior), natural(prior)]
    total = sum((torch.linspace(0.5, 1.5, x.numel()).double() * x.flatten()).sum() for x in numbers)
    start = given["start"]
    leaves = [given["embedding"], given["action"], start.memory, start.latent, *model.parameters()]
    return numbers, list(torch.autograd.grad(total, leaves))


@CELLS
@LATENTS
@NORMS
def test_a_sequence_is_inferred_as_by_the_readable_loop_gradients_included(cell: str, latent: str, norm: str) -> None:
    (plain, plain_slopes), (quick, quick_slopes) = (observed(model) for model in both(cell, latent, norm))
    for one, other in zip([*plain, *plain_slopes], [*quick, *quick_slopes], strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-9)
    assert all(slope.any() for slope in quick_slopes)


@CELLS
@LATENTS
def test_acting_and_imagining_are_those_of_the_readable_model(cell: str, latent: str) -> None:
    readable, quick = both(cell, latent, "rms")
    given = sequence(readable)
    state, action, is_first = given["start"], given["action"][:, 0], given["is_first"][:, 0]
    for ask in (
        lambda model: model.step(state, action, is_first, given["embedding"][:, 0]),
        lambda model: model.step(state, action, is_first, given["embedding"][:, 0], greedy=True),
        lambda model: model.imagine(state, action),
    ):
        torch.manual_seed(0)
        one = ask(readable)
        torch.manual_seed(0)
        other = ask(quick)
        torch.testing.assert_close(other.feature, one.feature, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(natural(quick.prior(state, action)), natural(readable.prior(state, action)))


@CELLS
def test_what_is_done_before_the_loop_changes_nothing(cell: str) -> None:
    """Actions embedded for a whole sequence at once memory_after the memory as one after the other does."""
    core = randomise(GRU(8, 3, A, hidden=6) if cell == "gru" else BlockGRU(8, 3, A, hidden=6, blocks=2))
    action, matrices = uniform(5, T, A, seed=3, low=-2, high=2), matrices_of(core)
    said, memory = action_part(core, action, matrices), uniform(5, 8, seed=1)
    for t in range(T):
        state = State(memory, uniform(5, 3, seed=10 + t))
        memory = core(state, action[:, t])
        torch.testing.assert_close(memory_after(core, state, said[:, t], matrices), memory)


def test_agents_are_made_of_the_quick_one() -> None:
    from helpers import SMALL, VECTORS

    model = WorldModel(VECTORS, Config(**{**vars(SMALL), "memory": "rssm", "memory_size": 8, "memory_blocks": 2}))
    assert type(model.dynamics) is QuickRSSM


@CELLS
def test_where_a_part_is_replaced_it_is_the_replacement_that_runs(cell: str) -> None:
    """The quick way knows nothing of `forward`; what stands in its place is asked all the same, in every row."""
    _, model = both(cell, "categorical", "rms")
    kind, asked = type(model.core), []

    def forgetful(core: GRU | BlockGRU, state: State, action: Tensor) -> Tensor:
        asked.append(action)
        return torch.zeros_like(state.memory)

    given = sequence(model)
    with replaced(Replacement(kind, "forward", forgetful)):
        states, _, _ = model.observe(**given)
        imagined = model.imagine(given["start"], given["action"][:, 0])
        acted = model.step(given["start"], given["action"][:, 0], given["is_first"][:, 0], given["embedding"][:, 0])
    assert len(asked) == T + 2
    assert not any(x.memory.any() for x in (states, imagined, acted))
    assert model.observe(**given)[0].memory.any()


def test_a_replaced_function_of_the_dynamics_is_used_too() -> None:
    _, model = both("block-gru", "gaussian", "rms")
    given, is_first = sequence(model), []

    def remembering(first: Tensor, state: State) -> State:
        is_first.append(first)
        return state

    with replaced(Replacement(dynamics, "forget", remembering)):
        model.observe(**given)
    assert torch.equal(torch.stack(is_first, 1), given["is_first"])
