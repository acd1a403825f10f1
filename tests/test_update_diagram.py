"""The drawing of an update says about gradients what the code does: arrow by arrow, and loss by loss."""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from helpers import SMALL, VECTORS, random_batch, randomise, receivers
from matplotlib.patches import Circle, FancyBboxPatch
from torch import Tensor, nn

from wm_tutorial import actor_critic, learner, world_model, zoo
from wm_tutorial.agent import Agent
from wm_tutorial.config import Config, make_config
from wm_tutorial.errors import InputError
from wm_tutorial.figures import alt_text, to_svg, update_diagram
from wm_tutorial.figures.update import ARROWS, BOXES, GROUPS, REPLAY_CRITIC, Arrow
from wm_tutorial.learner import Learner

REPLAY = replace(SMALL, replay_critic_scale=0.3, imagined_starts=0)
TABLES = {"guide": (SMALL, ARROWS), "with replay critic": (REPLAY, ARROWS + REPLAY_CRITIC)}


# --- Measured on the code ---------------------------------------------------------------------------------------------


def tensors(x: Any) -> list[Tensor]:
    """All tensors in an object."""
    if isinstance(x, Tensor):
        return [x]
    return [tensor for field in fields(x) for tensor in tensors(getattr(x, field.name))] if is_dataclass(x) else []


def cloned(x: Any) -> Any:
    """The same object of new tensors: the gradient that reaches them has come along this one way."""
    if isinstance(x, Tensor):
        return x.clone()
    return replace(x, **{f.name: cloned(getattr(x, f.name)) for f in fields(x)}) if is_dataclass(x) else x  # type: ignore[type-var]


@dataclass
class Call:
    """What a function was given, the copies that it worked with, and what it gave back."""

    given: list[Any]
    seen: list[Any]
    result: Any


def recorded(function: Callable[..., Any], calls: list[Call]) -> Callable[..., Any]:
    def record(*given: Any, **named: Any) -> Any:
        seen = [cloned(x) for x in given]
        calls.append(Call(list(given), seen, function(*seen, **named)))
        return calls[-1].result

    return record


@dataclass
class Update:
    """One update, with everything that was handed on in it."""

    agent: Agent
    losses: dict[str, Tensor]
    ways: dict[tuple[str, str], tuple[list[Tensor], list[Tensor]]]


def update(config: Config) -> Update:
    """Compute the losses of a small agent, and note what each box of the drawing makes of which."""
    torch.manual_seed(0)
    agent = Agent(VECTORS, config)
    randomise(agent)
    model, behaviour = agent.world_model, agent.behaviour
    batch = random_batch(VECTORS, batch=2, length=5, memory=config.memory_size if config.memory == "rssm" else 0,
                         latent=model.dynamics.latent_size)  # fmt: skip
    kl, dreams, actor_losses, critic_losses, heads = [], [], [], [], []  # type: ignore[var-annotated]
    hooks = [
        head.register_forward_hook(lambda *args: heads.append(args[2]))
        for head in (model.decoder, model.reward_head, model.continue_head)
    ]
    with (
        patch.object(world_model, "balanced_kl", recorded(world_model.balanced_kl, kl)),
        patch.object(learner, "imagine", noted(learner.imagine, dreams)),
        patch.object(actor_critic, "actor_loss", recorded(actor_critic.actor_loss, actor_losses)),
        patch.object(actor_critic, "critic_loss", recorded(actor_critic.critic_loss, critic_losses)),
    ):
        losses, _, states, _ = Learner(agent, config).losses(batch)
    for hook in hooks:
        hook.remove()
    losses["predictions"] = losses["decoder"] + losses["reward"] + losses["continue"]
    posterior, prior, *_ = (tensors(x) for x in kl[0].given)
    to_posterior, to_prior, *_ = (tensors(x) for x in kl[0].seen)
    dynamics, representation = kl[0].result
    dream = tensors(dreams[0])
    predicted = [tensor for head in heads[:3] for tensor in tensors(head)]
    state = [states.latent, states.feature]
    log_prob, entropy, advantage, weight, *_ = actor_losses[0].given
    value, returns, slow_value, *_ = critic_losses[0].given
    seen_log_prob, seen_entropy, seen_advantage, seen_weight, *_ = actor_losses[0].seen
    seen_value, seen_returns, seen_slow, seen_weight_too, *_ = critic_losses[0].seen
    actor, critic = list(behaviour.actor.parameters()), list(behaviour.critic.parameters())
    actor_loss, critic_loss = [losses["actor"]], [losses["critic"]]
    ways = {
        ("rows", "posterior"): ([batch.obs], posterior),
        ("rows", "prior"): ([batch.previous_action], prior),
        ("posterior", "states"): (posterior, state),
        ("states", "prior"): (state, prior),
        ("states", "heads"): (state, predicted),
        ("heads", "predictions"): (predicted, [losses["predictions"]]),
        ("posterior", "representation"): (to_posterior, [representation]),
        ("posterior", "dynamics"): (to_posterior, [dynamics]),
        ("prior", "representation"): (to_prior, [representation]),
        ("prior", "dynamics"): (to_prior, [dynamics]),
        ("states", "dream"): (state, dream),
        ("prior", "dream"): (list(model.dynamics.prior_net.parameters()), dream),
        ("heads", "dream"): ([*model.reward_head.parameters(), *model.continue_head.parameters()], dream),
        ("actor", "dream"): (actor, dream),
        ("dream", "actor"): (dream, [log_prob, entropy]),
        ("dream", "weights"): (dream, [weight]),
        ("dream", "returns"): (dream, [returns]),
        ("dream", "critic"): (dream, tensors(value)),
        ("dream", "slow critic"): (dream, [slow_value]),
        ("critic", "returns"): (critic, [returns]),
        ("critic", "advantage"): (critic, [advantage]),
        ("returns", "advantage"): ([returns], [advantage]),
        ("actor", "actor loss"): ([seen_log_prob, seen_entropy], actor_loss),
        ("advantage", "actor loss"): ([seen_advantage], actor_loss),
        ("weights", "actor loss"): ([seen_weight], actor_loss),
        ("weights", "critic loss"): ([seen_weight_too], critic_loss),
        ("returns", "critic loss"): ([seen_returns], critic_loss),
        ("critic", "critic loss"): (tensors(seen_value), critic_loss),
        ("slow critic", "critic loss"): ([seen_slow], critic_loss),
    }
    if config.replay_critic_scale:
        replay_loss = [losses["replay critic"]]
        real_value, _, real_slow, *_ = critic_losses[1].seen
        ways |= {
            ("rows", "replay critic loss"): ([batch.reward], replay_loss),
            ("states", "replay critic loss"): (state, replay_loss),
            ("critic", "replay critic loss"): (tensors(real_value), replay_loss),
            ("returns", "replay critic loss"): ([returns], replay_loss),
            ("slow critic", "replay critic loss"): ([real_slow], replay_loss),
        }
    return Update(agent, losses, ways)


def noted(function: Callable[..., Any], results: list[Any]) -> Callable[..., Any]:
    def note(*given: Any, **named: Any) -> Any:
        results.append(function(*given, **named))
        return results[-1]

    return note


def kind(tail: list[Tensor], head: list[Tensor]) -> str:
    """What an arrow is: numbers, where its tail has no gradient; else whether that of its head reaches it."""
    tail = [tensor for tensor in tail if tensor.requires_grad]
    if not tail:
        return "numbers"
    total = [tensor.square().sum() for tensor in head if tensor.requires_grad]
    if not total:
        return "cut"
    found = torch.autograd.grad(torch.stack(total).sum(), tail, retain_graph=True, allow_unused=True)
    return "gradient" if any(gradient is not None and gradient.any() for gradient in found) else "cut"


def measured(config: Config) -> dict[tuple[str, str], str]:
    return {way: kind(*ends) for way, ends in update(config).ways.items()}


def drawn(arrows: tuple[Arrow, ...]) -> dict[tuple[str, str], str]:
    return {(arrow.tail, arrow.head): arrow.kind for arrow in arrows}


@pytest.mark.parametrize("agent", TABLES)
def test_every_arrow_is_what_the_code_does(agent: str) -> None:
    config, arrows = TABLES[agent]
    assert measured(config) == drawn(arrows)


@pytest.mark.parametrize(
    ("bug", "arrow"),
    [
        ("stop_gradient_missing", ("posterior", "dynamics")),
        ("stop_gradient_wrong_side", ("prior", "dynamics")),
        ("advantage_not_detached", ("advantage", "actor loss")),
        ("critic_teaches_the_dynamics", ("prior", "dream")),
    ],
)
def test_a_lost_stop_gradient_is_noticed(bug: str, arrow: tuple[str, str]) -> None:
    with zoo.bug(bug):
        assert measured(SMALL)[arrow] != drawn(ARROWS)[arrow]


def teaches(arrows: tuple[Arrow, ...], loss: str) -> set[str]:
    """The boxes that one comes to from a loss, against the arrows along which gradient flows back."""
    found, new = set[str](), {loss}
    while new:
        found |= new
        new = {arrow.tail for arrow in arrows if arrow.head in found and arrow.kind == "gradient"} - found
    return found


V3 = make_config("dreamer_v3", "nano", memory_size=16, hidden=16, free_nats=0.0)


@pytest.mark.parametrize("config", [SMALL, REPLAY, V3], ids=["guide", "with replay critic", "dreamer_v3"])
def test_every_loss_teaches_the_parts_that_the_arrows_lead_back_to(config: Config) -> None:
    arrows = ARROWS + (REPLAY_CRITIC if config.replay_critic_scale else ())
    seen = update(config)
    model, behaviour = seen.agent.world_model, seen.agent.behaviour
    parts: dict[str, list[nn.Module]] = {
        "posterior": [model.encoder, model.dynamics.posterior_net],
        "prior": [model.dynamics.prior_net],
        "heads": [model.decoder, model.reward_head, model.continue_head],
        "actor": [behaviour.actor],
        "critic": [behaviour.critic],
    }
    assert not any(parameter.requires_grad for parameter in behaviour.slow_critic.parameters())
    named = {f"{name} {i}": part for name, inside in parts.items() for i, part in enumerate(inside)}
    behaviours = {"actor loss": "actor", "critic loss": "critic", "replay critic loss": "replay critic"}
    for loss in [box for box in GROUPS["losses"] if any(arrow.head == box for arrow in arrows)]:
        taught = {name for name in named if name.rpartition(" ")[0] in teaches(arrows, loss)}
        assert receivers(seen.losses[behaviours.get(loss, loss)], named) == taught, loss


# --- The picture ------------------------------------------------------------------------------------------------------


def test_there_are_scissors_on_every_cut_arrow_and_nowhere_else() -> None:
    (axes,) = update_diagram(replay_critic=True).axes
    grips = [patch for patch in axes.patches if isinstance(patch, Circle) and patch.radius < 5]
    cut = [arrow for arrow in ARROWS + REPLAY_CRITIC if arrow.kind == "cut"]
    assert len(grips) == 2 * (len(cut) + 1)  # and in the legend


def test_the_arrows_begin_and_end_at_their_boxes() -> None:
    for arrow in ARROWS:
        for name, (x, y) in ((arrow.tail, arrow.path[0]), (arrow.head, arrow.path[-1])):
            (middle, height), box = BOXES[name].middle, BOXES[name]
            assert abs(x - middle) <= box.width / 2 + 1 and abs(y - height) <= box.height / 2 + 1, arrow


def faces(*highlight: str) -> dict[str, tuple[float, ...]]:
    """The colour that each box is filled with."""
    (axes,) = update_diagram(highlight).axes
    boxes = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)][2:]
    return {name: box.get_facecolor() for name, box in zip(BOXES, boxes, strict=True)}


@pytest.mark.parametrize(
    ("highlight", "lit"),
    [
        (set(), set()),
        ({"dream"}, {"dream"}),
        ({"returns", "weights"}, {"returns", "weights"}),
        ({"losses"}, set(GROUPS["losses"]) & set(BOXES)),
        ({"scissors"}, set()),
    ],
)
def test_exactly_the_parts_asked_for_are_lit(highlight: set[str], lit: set[str]) -> None:
    plain, shown = faces(), faces(*highlight)
    assert {name for name in BOXES if plain[name] != shown[name]} == lit


def test_the_alternative_text_says_what_is_lit_and_which_agent_it_is() -> None:
    assert "Highlighted" not in alt_text(update_diagram())
    assert alt_text(update_diagram({"returns", "dream"})).endswith("Highlighted: dream, returns.")
    assert "teaches the critic and, uncut, the world model" in alt_text(update_diagram(replay_critic=True))


def test_every_word_stays_within_the_picture_and_its_box() -> None:
    figure = update_diagram(replay_critic=True)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    inside = axes.get_window_extent()
    for text in axes.texts:
        extent = text.get_window_extent()
        assert inside.contains(extent.x0, extent.y0) and inside.contains(extent.x1, extent.y1), text.get_text()
    patches = [patch.get_window_extent() for patch in axes.patches if isinstance(patch, FancyBboxPatch)][2:]
    written = {text.get_text(): text.get_window_extent() for text in axes.texts}
    for box, extent in zip(BOXES.values(), patches, strict=False):
        if box.text:
            assert extent.x0 < written[box.text].x0 and written[box.text].x1 < extent.x1, box.text


def test_it_follows_the_page() -> None:
    assert "prefers-color-scheme:dark" in to_svg(update_diagram({"dream"}))


def test_a_part_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="no 'planner' in the drawing of an update; there are rows"):
        update_diagram({"planner"})
