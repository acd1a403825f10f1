"""The losses in numbers worked out by hand, who learns from each, and a prediction that cannot look ahead."""

import math
from dataclasses import fields, replace
from typing import Literal

import pytest
import torch
from helpers import (
    CONTINUOUS,
    IMAGES,
    SMALL,
    VECTORS,
    Through,
    depends,
    random_batch,
    randomise,
    receivers,
    scripted_noise,
    uniform,
)
from torch import Tensor, nn

from wm_tutorial.data import Batch, Spaces, State
from wm_tutorial.errors import InputError
from wm_tutorial.heads import Bernoulli, SquaredError, SymlogVector
from wm_tutorial.latents import LOGVAR_RANGE
from wm_tutorial.world_model import WorldModel


def small(spaces: Spaces = VECTORS, free_nats: float = 0.0) -> WorldModel:
    """A small model whose parameters are all different from zero."""
    return randomise(WorldModel(spaces, replace(SMALL, free_nats=free_nats)))


# --- The losses by hand -----------------------------------------------------------------------------------------------


def transparent(free_nats: float) -> WorldModel:
    """A model that can be worked out by hand.

    Latent: the observation itself, when there is no noise. Prior: the latent before, its first number moved by the
    first number of the action. All variances are 1. Reward: the first number of the latent; logit of continue: the
    second.
    """
    model = WorldModel(VECTORS, replace(SMALL, latent_size=3, free_nats=free_nats))
    low, high = LOGVAR_RANGE
    share = -low / (high - low)
    variance_one = torch.full((3,), math.log(share / (1 - share)))

    def expected(latent_and_action: Tensor) -> Tensor:
        latent, action = latent_and_action.split([3, 2], dim=-1)
        moved = latent + action[..., :1] * torch.tensor([1.0, 0.0, 0.0])
        return torch.cat([moved, variance_one.expand_as(moved)], -1)

    model.encoder = Through(lambda obs: obs)
    model.dynamics.posterior_net = Through(lambda obs: torch.cat([obs, variance_one.expand_as(obs)], -1))
    model.dynamics.prior_net = Through(expected)
    model.decoder = Through(SymlogVector)
    model.reward_head = Through(lambda feature: SquaredError(feature[..., 0]))
    model.continue_head = Through(lambda feature: Bernoulli(feature[..., 1]))
    return model


LN3 = math.log(3.0)  # a logit of ln 3 is a probability of 3/4
WORKED = Batch(
    obs=torch.tensor([[[1.0, 0.0, 0.0], [2.0, LN3, 1.0], [0.0, LN3, 3.0], [1.0, 0.0, 4.0]]]),
    action=torch.full((1, 4, 2), 50.0),  # a_t has not led anywhere yet: no loss may use it
    previous_action=torch.tensor([[[1.0, 7.0], [0.5, 7.0], [0.25, 7.0], [-1.0, 7.0]]]),
    reward=torch.tensor([[1.0, 1.0, 0.5, -1.0]]),
    is_first=torch.tensor([[False, False, True, False]]),
    is_last=torch.tensor([[False, True, True, False]]),  # row 1 ends an episode, row 2 is cut off by a time limit
    is_terminal=torch.tensor([[False, True, False, False]]),
    start=State(torch.zeros(1, 0), torch.tensor([[0.0, 0.0, 1.0]])),
)
# Half the squared distance between each observation and what was expected:
#   row 0  (1, 0, 0)    from (0, 0, 1) + 1     = (1, 0, 1)
#   row 1  (2, ln3, 1)  from (1, 0, 0) + 0.5   = (1.5, 0, 0)
#   row 2  (0, ln3, 3)  from nothing           = (0, 0, 0)      the first row of an episode
#   row 3  (1, 0, 4)    from (0, ln3, 3) - 1   = (-1, ln3, 3)
DIVERGENCE = [1 / 2, (0.25 + LN3**2 + 1) / 2, (LN3**2 + 9) / 2, (4 + LN3**2 + 1) / 2]


def worked_losses(free_nats: float = 0.0) -> dict[str, list[float]]:
    with scripted_noise(torch.zeros(1, 4, 3)):
        losses, _ = transparent(free_nats).losses(WORKED)
    assert all(loss.shape == (1, 4) for loss in losses.values())  # one number for each row, without any mean
    return {name: loss.flatten().tolist() for name, loss in losses.items()}


def test_reward_loss_belongs_to_the_row_that_is_arrived_at() -> None:
    # Predicted in the same row: 1, 2, 0, 1. Shifted by a row, in either direction, each sum is another.
    assert worked_losses()["reward"] == pytest.approx([0.0, 1.0, 0.25, 4.0])


def test_continue_loss_counts_terminal_rows_and_no_time_limits() -> None:
    # Predicted probabilities: 1/2, 3/4, 3/4, 1/2.
    assert worked_losses()["continue"] == pytest.approx([math.log(2), -math.log(1 / 4), -math.log(3 / 4), math.log(2)])


def test_decoder_loss_is_the_squared_distance_in_symlog_space() -> None:
    by_hand = [
        (1 - math.log(2)) ** 2,
        (2 - math.log(3)) ** 2 + (LN3 - math.log(1 + LN3)) ** 2 + (1 - math.log(2)) ** 2,
        (LN3 - math.log(1 + LN3)) ** 2 + (3 - math.log(4)) ** 2,
        (1 - math.log(2)) ** 2 + (4 - math.log(5)) ** 2,
    ]
    assert worked_losses()["decoder"] == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("name", ["dynamics", "representation"])
def test_divergence_is_from_what_the_row_before_and_its_action_led_to_expect(name: str) -> None:
    assert worked_losses()[name] == pytest.approx(DIVERGENCE, rel=1e-5)
    assert worked_losses(free_nats=3.0)[name] == pytest.approx([3.0, 3.0, *DIVERGENCE[2:]], rel=1e-5)


def test_there_are_these_losses_and_no_other() -> None:
    assert set(worked_losses()) == {"decoder", "reward", "continue", "dynamics", "representation"}


# --- Who learns from what ---------------------------------------------------------------------------------------------


def parts(model: WorldModel) -> dict[str, nn.Module]:
    named = {
        "encoder": model.encoder,
        "posterior": model.dynamics.posterior_net,
        "prior": model.dynamics.prior_net,
        "decoder": model.decoder,
        "reward head": model.reward_head,
        "continue head": model.continue_head,
    }
    assert sum(len(list(part.parameters())) for part in named.values()) == len(list(model.parameters()))
    return named


LEARNS = {
    "decoder": {"encoder", "posterior", "decoder"},
    "reward": {"encoder", "posterior", "reward head"},
    "continue": {"encoder", "posterior", "continue head"},
    # The posterior of row t is held fixed, but the prior of row t starts from z_{t-1}, which was inferred.
    "dynamics": {"encoder", "posterior", "prior"},
    "representation": {"encoder", "posterior"},
}


@pytest.mark.parametrize("spaces", [VECTORS, IMAGES, CONTINUOUS], ids=["vectors", "images", "continuous"])
@pytest.mark.parametrize("name", LEARNS)
def test_exactly_these_parts_learn_from_each_loss(name: str, spaces: Spaces) -> None:
    model = small(spaces)
    losses, _ = model.losses(random_batch(spaces, batch=4, length=3))
    assert receivers(losses[name], parts(model)) == LEARNS[name]


def test_where_nothing_was_inferred_before_only_the_prior_learns_from_the_dynamics() -> None:
    model = small()
    one_row = random_batch(VECTORS, batch=4, length=1)
    assert receivers(model.losses(one_row)[0]["dynamics"], parts(model)) == {"prior"}
    firsts = random_batch(VECTORS, batch=4, length=3)
    firsts = replace(firsts, is_first=torch.ones_like(firsts.is_first))
    reached = set()
    for name, part in parts(model).items():
        gradients = torch.autograd.grad(
            model.losses(firsts)[0]["dynamics"].sum(), part.parameters(), allow_unused=True, materialize_grads=True
        )
        reached |= {name} if any(gradient.any() for gradient in gradients) else set()
    assert reached == {"prior"}


def test_below_free_nats_nobody_learns_from_the_divergence() -> None:
    model = small(free_nats=1e6)
    losses, _ = model.losses(random_batch(VECTORS, batch=4, length=3))
    for name in ("dynamics", "representation"):
        assert (losses[name] == 1e6).all()
        assert receivers(losses[name], parts(model)) == set()


@pytest.mark.parametrize("free_nats_of", ["state", "mean"])
def test_free_nats_are_those_of_each_state_or_of_the_mean(free_nats_of: Literal["state", "mean"]) -> None:
    """Free nats a little below the mean of all states cut the states that lie lower, or leave that mean alone."""
    batch, model = random_batch(VECTORS, batch=4, length=3), small()
    torch.manual_seed(0)
    kl = model.losses(batch)[0]["dynamics"].detach()
    free = 0.9 * kl.mean().item()
    assert (kl < free).any()
    model.config = replace(model.config, free_nats=free, free_nats_of=free_nats_of)
    torch.manual_seed(0)
    losses, _ = model.losses(batch)
    for name in ("dynamics", "representation"):
        wanted = kl.mean().expand_as(kl) if free_nats_of == "mean" else kl.clamp(min=free)
        torch.testing.assert_close(losses[name].detach(), wanted)


def test_each_row_teaches_the_observations_it_may() -> None:
    """Gradients of the loss of row t with respect to the embedding of every row."""
    model, batch = small(), random_batch(VECTORS, batch=2, length=4)
    embedding = model.encoder(batch.obs).detach().requires_grad_()
    model.encoder = Through(lambda _: embedding)
    losses, states = model.losses(batch)
    own_row, row_before = [[0], [1], [2], [3]], [[], [0], [1], [2]]
    assert {name: depends(loss, embedding) for name, loss in losses.items()} == {
        "decoder": own_row, "reward": own_row, "continue": own_row,
        "representation": own_row,  # sg(prior): the row before is not taught to be predictable from
        "dynamics": row_before,  # sg(posterior): its own observation is not taught
    }  # fmt: skip
    assert depends(states.latent, embedding) == own_row  # the states carry their gradient to whoever asks


def test_no_loss_uses_the_action_that_has_not_led_anywhere_yet() -> None:
    model, batch = small(), random_batch(VECTORS, batch=2, length=4)
    torch.manual_seed(0)
    before, _ = model.losses(batch)
    torch.manual_seed(0)
    after, _ = model.losses(replace(batch, action=batch.action + 100))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_losses_of_a_batch_do_not_depend_on_the_batch_before() -> None:
    """Each sequence starts from the state that comes with it; the next batch lies elsewhere in the replay."""
    model, batch = small(), random_batch(VECTORS, batch=2, length=4)
    with scripted_noise(uniform(2, 4, 4, seed=9)):
        alone, _ = model.losses(batch)
    model.losses(random_batch(VECTORS, batch=2, length=4, seed=40))
    with scripted_noise(uniform(2, 4, 4, seed=9)):
        afterwards, _ = model.losses(batch)
    for name, loss in alone.items():
        torch.testing.assert_close(afterwards[name], loss, rtol=0, atol=0)


# --- Observing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spaces", [VECTORS, IMAGES], ids=["vectors", "images"])
def test_observing_gives_the_states_of_the_losses(spaces: Spaces) -> None:
    model, batch = small(spaces), random_batch(spaces, batch=2, length=3)
    torch.manual_seed(0)
    observed = model.observe(batch)
    torch.manual_seed(0)
    _, states = model.losses(batch)
    assert torch.equal(observed.latent, states.latent) and torch.equal(observed.memory, states.memory)


def test_a_later_row_changes_nothing_about_an_earlier_one() -> None:
    model, batch = small(), random_batch(VECTORS, batch=2, length=5)
    other = random_batch(VECTORS, batch=2, length=5, seed=40)

    def losses_and_states(rows: Batch) -> Tensor:
        with scripted_noise(uniform(2, 5, 4, seed=9)):
            losses, states = model.losses(rows)
        return torch.cat([torch.stack(list(losses.values()), -1), states.feature], -1)

    before = losses_and_states(batch)
    for row in range(1, 5):
        mixed = {
            field.name: torch.cat([getattr(batch, field.name)[:, :row], getattr(other, field.name)[:, row:]], 1)
            for field in fields(batch)
            if field.name != "start"
        }
        after = losses_and_states(replace(batch, **mixed))
        assert torch.equal(after[:, :row], before[:, :row])
        assert not torch.equal(after[:, row:], before[:, row:])


# --- Predicting with closed eyes --------------------------------------------------------------------------------------


def predicted(model: WorldModel, batch: Batch, context: int) -> Tensor:
    """Observation, reward and continue of every row, side by side: (B, T, ...)."""
    torch.manual_seed(0)
    prediction = model.open_loop(batch, context)
    assert prediction.context == context
    assert prediction.obs.shape == batch.obs.shape
    assert prediction.reward.shape == prediction.continue_.shape == batch.reward.shape
    assert not prediction.obs.requires_grad
    return torch.cat([prediction.obs.flatten(2), prediction.reward[..., None], prediction.continue_[..., None]], -1)


@pytest.mark.parametrize("context", [1, 3, 6])
@pytest.mark.parametrize("spaces", [VECTORS, IMAGES], ids=["vectors", "images"])
def test_nothing_that_arrives_after_the_context_changes_the_prediction(spaces: Spaces, context: int) -> None:
    model, batch = small(spaces), random_batch(spaces, batch=2, length=6)
    other = random_batch(spaces, batch=2, length=6, seed=40)
    later = {"action": other.action}  # of which `previous_action` is all that is given away
    for name in ("obs", "reward"):
        later[name] = torch.cat([getattr(batch, name)[:, :context], getattr(other, name)[:, context:]], 1)
    assert torch.equal(predicted(model, batch, context), predicted(model, replace(batch, **later), context))
    unlike = torch.cat([other.obs[:, :1], batch.obs[:, 1:]], 1)  # while the context does change it
    assert not torch.equal(predicted(model, batch, context), predicted(model, replace(batch, obs=unlike), context))


@pytest.mark.parametrize("row", [3, 4, 5])
def test_an_action_changes_the_rows_it_leads_to(row: int) -> None:
    model, batch = small(), random_batch(VECTORS, batch=2, length=6)
    action = batch.previous_action.clone()
    action[1, row] += 1.0
    changed = predicted(model, batch, 3) != predicted(model, replace(batch, previous_action=action), 3)
    assert changed.any(-1).tolist() == [[False] * 6, [t >= row for t in range(6)]]


@pytest.mark.parametrize("spaces", [VECTORS, IMAGES], ids=["vectors", "images"])
def test_the_rows_of_the_context_are_reconstructions(spaces: Spaces) -> None:
    model, batch = small(spaces), random_batch(spaces, batch=2, length=6)
    prediction = predicted(model, batch, 4)
    torch.manual_seed(0)
    feature = model.observe(batch.rows(0, 4)).feature
    torch.testing.assert_close(prediction[:, :4, :-2], model.decode(feature).mean.flatten(2))
    torch.testing.assert_close(prediction[:, :4, -2], model.reward(feature).mean)
    torch.testing.assert_close(prediction[:, :4, -1], model.continues(feature).mean)


def test_the_prediction_follows_the_transparent_model_from_its_actions() -> None:
    """Without noise: the last observed latent, (2, ln3, 1), moved by 1/4 and then by -1 (no observation is used)."""
    with scripted_noise(torch.zeros(1, 2, 3)):
        model = transparent(0.0)
        model.dynamics.imagine = lambda state, action: State(state.memory, model.dynamics.prior(state, action).mean)
        prediction = model.open_loop(WORKED, context=2)
    assert prediction.reward.flatten().tolist() == pytest.approx([1.0, 2.0, 2.25, 1.25])
    assert prediction.continue_.flatten().tolist() == pytest.approx([0.5, 0.75, 0.75, 0.75])
    # In the units of the observation: symexp of the decoder's symlog prediction.
    assert prediction.obs[0, 2, 2].item() == pytest.approx(math.e - 1)


def test_imagining_is_the_dynamics() -> None:
    model = small()
    state, action = State(torch.zeros(3, 0), uniform(3, 4, seed=0)), uniform(3, 2, seed=1)
    torch.manual_seed(0)
    ours = model.imagine(state, action)
    torch.manual_seed(0)
    assert torch.equal(ours.latent, model.dynamics.imagine(state, action).latent)


# --- Starting values --------------------------------------------------------------------------------------------------


def test_a_new_model_expects_no_reward_at_all() -> None:
    torch.manual_seed(0)
    model = WorldModel(VECTORS, SMALL)
    prediction = model.open_loop(random_batch(VECTORS, batch=2, length=5), 2)
    assert torch.equal(prediction.reward, torch.zeros(2, 5))


@pytest.mark.parametrize("context", [-1, 0, 6])
def test_a_context_that_is_none_is_refused(context: int) -> None:
    with pytest.raises(InputError, match="1 to 5"):
        small().open_loop(random_batch(VECTORS, batch=2, length=5), context)
