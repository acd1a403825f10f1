"""The critic: its loss, on dreams and on real sequences, its slow copy, and the range of the returns it learns."""

import torch
from torch import Tensor

from wm_tutorial import actor_critic, imagination
from wm_tutorial.actor_critic import ActorCritic
from wm_tutorial.data import Batch, State, Trajectory
from wm_tutorial.heads import SquaredError
from wm_tutorial.mistakes.assembly import REPLAY_RETURNS, SLOW_UPDATE, right_replay_returns, scrambled
from wm_tutorial.mistakes.bug import DREAMER_V3, Bug, in_the_place_of
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part
from wm_tutorial.mistakes.scale import SCALED_ADVANTAGE
from wm_tutorial.returns import ReturnNormalizer
from wm_tutorial.transforms import TwoHot


def right_critic_loss(value: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted squared error of N predictions: (N, 1), (N,), (N,) -> (N,)."""
    return weight.detach() * (value.squeeze(-1) - target.detach()) ** 2


def _critic_loss(error: Function) -> Function:
    return lambda value, target, weight: weight.detach() * error(value.squeeze(-1) - target.detach())


def _critic_case(seed: int, states: int, dtype: torch.dtype) -> Arguments:
    return {
        "value": uniform(seed, states, 1, dtype=dtype),
        "target": uniform(seed + 1, states, dtype=dtype),
        "weight": uniform(seed + 2, states, dtype=dtype, low=0.1, high=0.9),
    }


CRITIC_LOSS = Part(
    name="critic_loss",
    right=right_critic_loss,
    batched=("value", "target", "weight"),
    gradient_to=("value",),
    no_gradient_to=("target", "weight"),
    cases=(
        {
            "value": torch.tensor([[1.0], [2.0], [0.0], [4.0], [3.0]]),
            "target": torch.tensor([2.0, 2.0, 3.0, 3.0, 5.0]),
            "weight": torch.tensor([1.0, 1.0, 0.5, 0.5, 0.25]),
        },
        *(_critic_case(seed, shape[0], dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "target_leaks": Mistake(
            "the target is not detached: it moves towards the prediction as much as the other way round.",
            "the target was computed from the critic's own values, with their gradient.",
            (lambda value, target, weight: weight.detach() * (value.squeeze(-1) - target) ** 2,),
        ),
        "weight_leaks": Mistake(
            "the weight is not detached: the loss can be lowered by predicting an end.",
            "the weight comes out of the model, with its gradient.",
            (lambda value, target, weight: weight * (value.squeeze(-1) - target.detach()) ** 2,),
        ),
        "target_and_weight_leak": Mistake(
            "neither target nor weight is detached.",
            "both come out of networks, with their gradient; here they are numbers.",
            (lambda value, target, weight: weight * (value.squeeze(-1) - target) ** 2,),
        ),
        "weight_squared": Mistake(
            "the weight is inside of the square, so it counts twice.",
            "weighting the error looks the same as weighting its square.",
            (lambda value, target, weight: (weight.detach() * (value.squeeze(-1) - target.detach())) ** 2,),
        ),
        "error_not_squared": Mistake(
            "the error is not squared.",
            "the sign of an error has nothing to descend to; its size leads to the median, not to the mean.",
            (_critic_loss(lambda error: error), _critic_loss(lambda error: -error), _critic_loss(torch.abs)),
        ),
        "error_halved": Mistake(
            "the squared error is halved.",
            "many texts do, so that the derivative has no 2; here it is left out, to compare numbers.",
            (_critic_loss(lambda error: 0.5 * error**2),),
        ),
        "error_clipped": Mistake(
            "large errors count linearly (Huber's loss): the critic learns something between mean and median.",
            "DQN clips errors so, and Huber's loss is known to be robust; a return is to be met on average.",
            (lambda value, target, weight: weight.detach() * torch.nn.functional.smooth_l1_loss(
                value.squeeze(-1), target.detach(), reduction="none"),
             lambda value, target, weight: 2.0 * weight.detach() * torch.nn.functional.huber_loss(
                value.squeeze(-1), target.detach(), reduction="none")),
        ),
        "minus_forgotten": Mistake(
            "the sign is the other one: the critic is driven away from the returns.",
            "the actor's loss begins with a minus; the critic's is an error, to be made small.",
            (lambda *given: -right_critic_loss(*given),),
        ),
        "averaged_too_early": Mistake(
            "the squared errors are averaged before they are weighted.",
            "mse_loss averages unless it is told reduction='none'.",
            (lambda value, target, weight: weight.detach() * ((value.squeeze(-1) - target.detach()) ** 2).mean(),),
        ),
        "errors_against_weights": Mistake(
            "errors (N, 1) times weights (N,) give (N, N): every error is weighted with every weight.",
            "the target was given the value's axis, and the weight was forgotten.",
            (lambda value, target, weight: weight.detach() * (value - target.detach().unsqueeze(-1)) ** 2,
             lambda value, target, weight: (weight.detach() * (value - target.detach().unsqueeze(-1)) ** 2).mean()),
        ),
        "value_detached": Mistake(
            "no gradient reaches the value: the critic never learns.",
            "the wrong side was detached.",
            (lambda value, target, weight: weight * (value.squeeze(-1).detach() - target) ** 2,
             lambda value, target, weight: weight.detach() * (value.squeeze(-1).detach() - target) ** 2,
             lambda *given: right_critic_loss(*given).detach()),
        ),
    },
)  # fmt: skip


# In the package, and in a reader's loss -------------------------------------------------------------------------------

LOSS = actor_critic.critic_loss
LOSSES = ActorCritic.losses
RETURNS = ActorCritic.returns
RETURNS_OF_REPLAY = ActorCritic.replay_returns


def error_against_all(value: Tensor, target: Tensor) -> Tensor:
    """Values (M, 1) against targets (M,): every value (M,) is pulled towards every target.

    The mean over the second axis of the (M, M) squared errors, computed without them: the mean of (v - R)^2 over all R
    is (v - mean R)^2 + var R.
    """
    return (value - target.mean()) ** 2 + target.var(correction=0)


def critic_loss_of_all_pairs(
    value: SquaredError | TwoHot, target: Tensor, slow_value: Tensor, weight: Tensor, slow_scale: float
) -> Tensor:
    """The targets are the returns, and the slow critic's values."""
    if not isinstance(value, SquaredError):
        return LOSS(value, target, slow_value, weight, slow_scale)
    errors = [error_against_all(value.mean, numbers.detach()) / value.unit**2 for numbers in (target, slow_value)]
    return weight.detach() * (errors[0] + slow_scale * errors[1])


def _against_all(value: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    return weight.detach() * (value - target.detach()) ** 2


def losses_of_attached_features(
    behaviour: ActorCritic, trajectory: Trajectory, batch: Batch | None = None, states: State | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """The critic's loss on features through which gradient flows back into the model."""
    losses, metrics, range_ = LOSSES(behaviour, trajectory, batch, states)
    feature, config = trajectory.state.feature, behaviour.config
    value, slow_value = behaviour.critic(feature), behaviour.slow_critic(feature).mean
    expected = slow_value if config.bootstrap == "slow critic" else value.mean
    target, weight = behaviour.returns(trajectory, expected), trajectory.weight(config.imagined_discount)
    losses["critic"] = LOSS(value[:, :-1], target, slow_value[:, :-1], weight, config.slow_critic_scale)
    return losses, metrics, range_


def normalised_returns(behaviour: ActorCritic, trajectory: Trajectory, value: Tensor) -> Tensor:
    """The range of returns divides them where they are computed, before the critic learns them."""
    return RETURNS(behaviour, trajectory, value) / behaviour.normalizer.scale


def scale_without_floor(normalizer: ReturnNormalizer, range_: Tensor) -> Tensor:
    """The range of returns, however small."""
    return (range_[1] - range_[0]).clamp(min=1e-8)


def replay_returns_with_scrambled_bootstrap(behaviour: ActorCritic, batch: Batch, bootstrap: Tensor) -> Tensor:
    """The states were flattened batch first and are taken apart time first."""
    return RETURNS_OF_REPLAY(behaviour, batch, scrambled(bootstrap))


PARTS = (CRITIC_LOSS,)

BUGS = (
    Bug(
        name="critic_learns_normalised_returns",
        story="Returns are divided by their range before the critic learns them, and its values are used undivided.",
        symptom="Values and rewards are in different units, and the unit changes while it is being learned.",
        innocent="The critic's loss, which is lower.",
        source="https://github.com/NM512/dreamerv3-torch/issues/64",
        breaks="actor_critic.ActorCritic.losses, R_t / S",
        caught_by=("test_actor_critic.py::test_the_critics_loss_on_a_trajectory[10.0]",),
        replaces=((ActorCritic, "returns", normalised_returns),),
    ),
    Bug(
        name="normaliser_without_floor",
        story="Advantages are divided by the range of returns even where it is tiny.",
        symptom="Before the first reward is found, noise in the critic is blown up to full size and ends exploration.",
        innocent="Everything, once rewards have been found.",
        source=f"{DREAMER_V3}20", breaks="returns.ReturnNormalizer.scale, max(1, S)",
        caught_by=("test_returns.py::test_small_returns_are_never_blown_up", "test_golden.py::test_golden_retnorm"),
        replaces=((ReturnNormalizer, "scale_of", scale_without_floor),), needs={"return_normalization": True},
        forms={SCALED_ADVANTAGE: Mistake(
            "the floor is missing: a tiny range blows small advantages up.",
            "division by the range is the idea; the floor is for the time before any reward is found.",
            (lambda returns, value, range_, floor: (returns - value) / (range_[1] - range_[0]),
             lambda returns, value, range_, floor: (returns - value) / (range_[1] - range_[0] + 1e-8),
             lambda returns, value, range_, floor: (returns - value) / (range_[1] - range_[0]).clamp(min=1e-8)),
        )},
    ),
    Bug(
        name="slow_critic_frozen",
        story="The slow critic is copied once and never updated.",
        symptom="The critic is held at its first opinion, zero, for ever.",
        innocent="Every loss.",
        source="https://github.com/llSourcell/actor_critic/issues/1",
        breaks="actor_critic.ActorCritic.update_slow_critic, slow values",
        caught_by=(
            "test_actor_critic.py::test_the_slow_critic_starts_equal_and_moves_by_exactly_its_rate",
            "test_trainer.py::test_the_slow_critic_follows_the_updated_critic_at_its_rate",
        ),
        replaces=((ActorCritic, "update_slow_critic", lambda behaviour: None),),
        forms={SLOW_UPDATE: Mistake(
            "the slow critic stays where it was.",
            "the update was left out, or its result thrown away: lerp makes a new tensor, lerp_ changes the old one.",
            (lambda slow, critic, rate: slow.detach().clone(),),
        )},
    ),
    Bug(
        name="critic_teaches_the_dynamics",
        story="Imagination records gradient, and the critic's loss sends it on into the world model.",
        symptom="The model learns to dream of states whose value is easy to tell; dreams leave reality.",
        innocent="The critic's loss is excellent.",
        source="https://github.com/danijar/dreamer/issues/3", breaks="imagination.imagine, no gradient",
        caught_by=("test_actor_critic.py::test_nothing_reaches_the_world_model",),
        replaces=(
            # neither is the model frozen nor is gradient switched off
            *in_the_place_of(imagination, "imagine", torch.enable_grad()(imagination._imagine)),
            (ActorCritic, "losses", losses_of_attached_features),
        ),
    ),
    Bug(
        name="value_not_squeezed",
        story="The critic's output is (M, 1), its target (M,): the difference is (M, M), and the mean hides it.",
        symptom="All values become the mean return; the policy is left without a baseline.",
        innocent="The critic's loss settles at the variance of the returns, which looks like noise.",
        source="https://github.com/openai/spinningup/issues/339", breaks="actor_critic.critic_loss, v_t - R_t",
        caught_by=(
            "test_actor_critic.py::test_critic_loss_by_hand",
            "test_actor_critic.py::test_the_critics_loss_on_a_trajectory",
        ),
        replaces=((actor_critic, "critic_loss", critic_loss_of_all_pairs),), needs={"heads": "squared-error"},
        forms={CRITIC_LOSS: Mistake(
            "(N, 1) against (N,) gives (N, N): every value is compared with every target.",
            "a network for one number gives an axis of length 1; torch broadcasts it in silence, and a mean hides it.",
            (_against_all, lambda *given: _against_all(*given).mean(), lambda *given: _against_all(*given).mean(0),
             lambda *given: _against_all(*given).mean(1),
             lambda value, target, weight: weight.detach() * error_against_all(value.squeeze(-1), target.detach()),
             lambda value, target, weight: weight.detach() * ((value - target.detach()) ** 2).mean(),
             lambda value, target, weight: ((value - target.detach()) ** 2).mean()),
        )},
    ),
    Bug(
        name="bootstrap_scrambled",
        story="Imagined returns of (B, T) states, flattened, are given back the shape (T, B) and transposed.",
        symptom="Real sequences bootstrap from the returns of other rows, and the critic learns their average.",
        innocent="Every loss; with equal B and T no shape complains.",
        source="https://github.com/HHTseng/video-classification/issues/42",
        breaks="actor_critic.ActorCritic.replay_returns, bootstrap of row t",
        caught_by=("test_golden.py::test_golden_repl_loss",),
        replaces=((ActorCritic, "replay_returns", replay_returns_with_scrambled_bootstrap),),
        needs={"replay_critic_scale": 0.3, "imagined_starts": 0},
        forms={REPLAY_RETURNS: Mistake(
            "the imagined returns belong to other rows: they were flattened batch first and taken apart time first.",
            "both orders have the same number of rows, and reshape asks no questions.",
            (lambda reward, is_last, is_terminal, bootstrap, gamma, lam: right_replay_returns(
                reward, is_last, is_terminal, scrambled(bootstrap), gamma, lam),),
        )},
    ),
)  # fmt: skip
