"""Mistakes in what is said about a state: observation, reward, continue, value."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wm_tutorial.data import Batch, State
from wm_tutorial.heads import Bernoulli, ScalarHead, SymlogVector, TwoHotHead
from wm_tutorial.mistakes.bug import DREAMER_V3, GUIDE, TORCHRL, Bug
from wm_tutorial.networks import initialise
from wm_tutorial.transforms import TwoHot, symexp, symlog
from wm_tutorial.world_model import WorldModel

LOSSES = WorldModel.losses
TWO_HOT_LOSS = TwoHot.loss
SCALAR_HEAD = ScalarHead.__init__
TWO_HOT_HEAD = TwoHotHead.__init__


def losses_without_decoder(model: WorldModel, batch: Batch) -> tuple[dict[str, Tensor], State]:
    """The decoder is never trained, so nothing makes the latent keep the observation."""
    losses, states = LOSSES(model, batch)
    return losses | {"decoder": torch.zeros_like(losses["decoder"])}, states


def mean_in_symlog_space(prediction: TwoHot) -> Tensor:
    """The expected squashed number, unsquashed: not the expected number."""
    return symexp(torch.softmax(prediction.logits, -1) @ symlog(prediction.bins))


def loss_in_symlog_space(prediction: TwoHot, target: Tensor) -> Tensor:
    """The target is split between two bins as if they were as far apart as their logarithms."""
    return TWO_HOT_LOSS(TwoHot(prediction.logits, symlog(prediction.bins)), symlog(target))


def loss_one_bin_too_high(prediction: TwoHot, target: Tensor) -> Tensor:
    """Each share goes to the bin above the one it belongs to."""
    return TWO_HOT_LOSS(TwoHot(prediction.logits.roll(-1, -1), prediction.bins), target)


def mean_without_symexp(prediction: SymlogVector) -> Tensor:
    """The network's output as it is."""
    return prediction.symlog_mean


def loss_against_raw_target(prediction: SymlogVector, target: Tensor) -> Tensor:
    """A squashed prediction is compared with a number that is not."""
    return ((prediction.symlog_mean - target) ** 2).sum(-1)


def scalar_head_with_an_opinion(head: ScalarHead, *arguments: Any, **options: Any) -> None:
    """The output layer starts like any other."""
    SCALAR_HEAD(head, *arguments, **options)
    start_like_any_other(head.net[-1])


def two_hot_head_with_an_opinion(head: TwoHotHead, *arguments: Any, **options: Any) -> None:
    """The output layer starts like any other."""
    TWO_HOT_HEAD(head, *arguments, **options)
    start_like_any_other(head.net[-1])


def start_like_any_other(layer: nn.Module) -> None:
    """Random weights of the usual size."""
    assert isinstance(layer, nn.Linear)
    initialise(layer.weight, layer.in_features)


def loss_of_a_probability(prediction: Bernoulli, target: Tensor) -> Tensor:
    """The probability is given to a loss that takes a logit, and squashes it again."""
    return F.binary_cross_entropy_with_logits(torch.sigmoid(prediction.logit), target, reduction="none")


BUGS = (
    Bug(
        name="decoder_missing",
        story="The decoder is drawn in the diagram but left out of the loss.",
        symptom="The latent forgets whatever reward and continue do not need; dreams do not look like anything.",
        innocent="KL, reward and continue losses are lower than ever.",
        source=f"{GUIDE}, architecture and training of the world model",
        breaks="world_model.WorldModel.losses, decoder",
        caught_by=(
            "test_world_model.py::test_decoder_loss_is_the_squared_distance_in_symlog_space",
            "test_world_model.py::test_exactly_these_parts_learn_from_each_loss",
        ),
        replaces=((WorldModel, "losses", losses_without_decoder),),
    ),
    Bug(
        name="two_hot_in_symlog",
        story="Targets are split, and means taken, in symlog space: the mean of a squashed distribution, unsquashed.",
        symptom="Wherever a reward is uncertain it is underestimated: 0 or 1,000 with equal chances counts as 31.",
        innocent="Reward and critic losses; wherever rewards are certain also the predictions.",
        source=f"{TORCHRL}4065",
        breaks="transforms.TwoHot, mean and loss",
        caught_by=(
            "test_golden.py::test_golden_twohot",
            "test_axes.py::test_two_hot_weights_are_shared_in_the_units_of_the_number",
        ),
        replaces=((TwoHot, "mean", property(mean_in_symlog_space)), (TwoHot, "loss", loss_in_symlog_space)),
        needs={"heads": "two-hot"},
    ),
    Bug(
        name="two_hot_off_by_one",
        story="The share of each target goes to the bin above the one it belongs to.",
        symptom="Every prediction is too high by one bin, a third of itself with 63 bins and up; returns grow with it.",
        innocent="Reward and critic losses: the cross-entropy is as low as ever.",
        source=f"{TORCHRL}4065",
        breaks="transforms.TwoHot.loss, bins",
        caught_by=(
            "test_golden.py::test_golden_twohot",
            "test_axes.py::test_two_hot_weights_are_shared_in_the_units_of_the_number",
        ),
        replaces=((TwoHot, "loss", loss_one_bin_too_high),),
        needs={"heads": "two-hot"},
    ),
    Bug(
        name="symexp_forgotten",
        story="The decoder's prediction is shown as it leaves the network, in symlog space.",
        symptom="Reconstructions and dreams are too small wherever numbers are large; a fast pole never falls.",
        innocent="Every loss, since losses are computed in symlog space.",
        source=f"{DREAMER_V3}83",
        breaks="heads.SymlogVector.mean, o_t",
        caught_by=(
            "test_heads.py::test_vectors_are_compared_in_symlog_space_and_shown_in_their_own_units",
            "test_world_model.py::test_the_prediction_follows_the_transparent_model_from_its_actions",
        ),
        replaces=((SymlogVector, "mean", property(mean_without_symexp)),),
    ),
    Bug(
        name="symlog_of_target_forgotten",
        story="The decoder's symlog prediction is compared with the observation itself.",
        symptom="One large entry rules the latent, and what is drawn from a dream is exponentially too large.",
        innocent="The decoder loss falls, and for small observations even the pictures are right.",
        source=f"{DREAMER_V3}83",
        breaks="heads.SymlogVector.loss, o_t",
        caught_by=(
            "test_heads.py::test_vectors_are_compared_in_symlog_space_and_shown_in_their_own_units",
            "test_world_model.py::test_decoder_loss_is_the_squared_distance_in_symlog_space",
        ),
        replaces=((SymlogVector, "loss", loss_against_raw_target),),
    ),
    Bug(
        name="heads_start_anywhere",
        story="The output layers of critic and reward head start at random instead of at zero.",
        symptom="The first returns are noise, with two-hot heads of up to a million, and the policy learns it.",
        innocent="The losses after some thousand updates.",
        source="https://github.com/nicklashansen/tdmpc/issues/13",
        breaks="heads.ScalarHead and heads.TwoHotHead, initial value 0",
        caught_by=(
            "test_heads.py::test_the_scalar_head_starts_at_exactly_zero_and_can_leave_it",
            "test_heads.py::test_the_two_hot_head_starts_at_exactly_zero",
            "test_world_model.py::test_a_new_model_expects_no_reward_at_all",
        ),
        replaces=(
            (ScalarHead, "__init__", scalar_head_with_an_opinion),
            (TwoHotHead, "__init__", two_hot_head_with_an_opinion),
        ),
    ),
    Bug(
        name="sigmoid_twice",
        story="The continue head's probability is given to a loss that expects a logit.",
        symptom="No episode seems to end: the smallest probability the loss can see is one half.",
        innocent="The continue loss stands at 0.31 where nothing ends, and looks settled.",
        source="https://github.com/itakurah/focal-loss-pytorch/pull/5",
        breaks="heads.Bernoulli.loss, continue",
        caught_by=("test_heads.py::test_bernoulli_by_hand", "test_golden.py::test_golden_binary_soft"),
        replaces=((Bernoulli, "loss", loss_of_a_probability),),
    ),
)
