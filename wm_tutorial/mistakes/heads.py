"""What is said about a state: whether life goes on, what a wrong belief about that costs, and where heads start."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from wm_tutorial.data import Batch, State
from wm_tutorial.heads import Bernoulli, ScalarHead, TwoHotHead
from wm_tutorial.mistakes.bug import GUIDE, Bug
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Function, Mistake, Part
from wm_tutorial.networks import initialise
from wm_tutorial.world_model import WorldModel

# Targets --------------------------------------------------------------------------------------------------------------


def right_continue_target(is_last: Tensor, is_terminal: Tensor, discount: float) -> Tensor:
    """discount (1 - terminal_t): the probability to be learned, with the discount folded in."""
    return discount * (1.0 - is_terminal.float())


def _flags(seed: int, batch: int, length: int) -> dict[str, Tensor]:
    kind = uniform(seed, batch, length, dtype=torch.float32, low=0, high=3).long()  # 0, 1: no end, a time limit
    return {"is_last": kind > 0, "is_terminal": kind > 1}


CONTINUE_TARGET = Part(
    name="continue_target",
    right=right_continue_target,
    batched=("is_last", "is_terminal"),
    cases=(
        {
            "is_last": torch.tensor([[False, False, True, False], [False, True, False, False]]),
            "is_terminal": torch.tensor([[False, False, True, False], [False, False, False, False]]),
            "discount": 0.5,
        },
        *(_flags(seed, *shape) | {"discount": 0.9} for seed, shape, _ in variations()),
        _flags(97, 6, 8) | {"discount": 0.75},
    ),
    mistakes={
        "continue_inverted": Mistake(
            "this is the probability that the episode ends; the head is asked whether it goes on.",
            "the flag that arrives says `terminal`, and the 1 - in front of it is forgotten.",
            (lambda is_last, is_terminal, discount: discount * is_terminal.float(),),
        ),
        "discount_of_the_end": Mistake(
            "an end gets 1 - discount, not 0: what is terminal goes on with no probability at all.",
            "1 - discount * terminal and discount * (1 - terminal) look alike.",
            (lambda is_last, is_terminal, discount: 1.0 - discount * is_terminal.float(),),
        ),
        "truncated_is_certain": Mistake(
            "rows cut off by a time limit are left at 1 without the discount.",
            "a time limit is treated as a case of its own, though it is an ordinary row.",
            (lambda is_last, is_terminal, discount: torch.where(
                is_last & ~is_terminal, torch.ones(()), right_continue_target(is_last, is_terminal, discount)),),
        ),
    },
)  # fmt: skip


# Its loss -------------------------------------------------------------------------------------------------------------


def right_continue_loss(logit: Tensor, target: Tensor) -> Tensor:
    """ln(1 + e^logit) - target logit: the cross-entropy, finite for every logit."""
    return functional.softplus(logit) - target * logit


CONTINUE_LOSS = Part(
    name="continue_loss",
    right=right_continue_loss,
    batched=("logit", "target"),
    gradient_to=("logit",),
    cases=(
        {"logit": torch.tensor([[0.0, 2.0, -2.0]]), "target": torch.tensor([[1.0, 0.0, 0.5]])},
        *(
            {
                "logit": uniform(seed, *shape, dtype=dtype, low=-4, high=4),
                "target": uniform(seed + 1, *shape, dtype=dtype, low=0, high=1),
            }
            for seed, shape, dtype in variations()
        ),
        {"logit": torch.tensor([[200.0, -200.0]]), "target": torch.tensor([[0.0, 1.0]])},
    ),
    mistakes={
        "continue_inverted": Mistake(
            "the two outcomes are exchanged: the loss is lowest for the wrong answer.",
            "the two halves of the formula differ in one 1 -.",
            (lambda logit, target: right_continue_loss(logit, 1 - target), lambda logit, target:
             right_continue_loss(-logit, target)),
        ),
        "logarithm_of_nothing": Mistake(
            "it is right until the head is certain and wrong: then a probability rounds to 0, and its logarithm is "
            "infinite.",
            "the formula is written down as it stands in the book; ln(sigmoid) must be computed in one piece.",
            (lambda logit, target:
             -(target * torch.sigmoid(logit).log() + (1 - target) * (1 - torch.sigmoid(logit)).log()),),
        ),
        "probability_clamped": Mistake(
            "a probability is clamped away from 0 and 1: the loss is finite, but a head that is certain and wrong "
            "learns nothing.",
            "a clamp makes the infinity go away, and with it the gradient.",
            tuple(
                lambda logit, target, tiny=tiny: functional.binary_cross_entropy(
                    torch.sigmoid(logit).clamp(tiny, 1 - tiny), target, reduction="none")
                for tiny in (1e-4, 1e-5, 1e-6, 1e-7)),
        ),
        "second_half_missing": Mistake(
            "only -target ln(p) is there: nothing is paid for saying 1 where the answer is 0.",
            "for classes that are one-hot that half is enough; a single probability needs both.",
            (lambda logit, target: -target * functional.logsigmoid(logit),),
        ),
        "loss_negative": Mistake(
            "the sign is the other one; a loss is low where the probability is right.",
            "the log-likelihood is maximised, the loss is minimised.",
            (lambda logit, target: -right_continue_loss(logit, target),),
        ),
        "loss_averaged": Mistake(
            "the mean is taken; each row keeps a loss of its own.",
            "the functions of torch average unless they are told not to.",
            (lambda logit, target: right_continue_loss(logit, target).mean(),),
        ),
    },
)  # fmt: skip


# A false death --------------------------------------------------------------------------------------------------------


def right_false_death_value(reward: Tensor, limit: Tensor, discount: float) -> Tensor:
    """r / (1 - discount L / (L + 1)): one row in L + 1 is believed to be the last of all."""
    return reward / (1.0 - discount * limit / (limit + 1.0))


FALSE_DEATH_VALUE = Part(
    name="false_death_value",
    right=right_false_death_value,
    batched=("reward", "limit"),
    cases=(
        {"reward": torch.tensor([1.0, 2.0]), "limit": torch.tensor([9.0, 99.0]), "discount": 0.9},
        *(
            {
                "reward": uniform(seed, shape[1], dtype=dtype),
                "limit": uniform(seed + 1, shape[1], dtype=dtype, low=1, high=500),
                "discount": 0.99,
            }
            for seed, shape, dtype in variations()
        ),
    ),
    mistakes={
        "no_death": Mistake(
            "this is the true value; the model that is asked for believes in ends.",
            "r / (1 - discount) is the sum everybody knows.",
            (lambda reward, limit, discount: reward / (1 - discount) + 0 * limit,),
        ),
        "limit_as_horizon": Mistake(
            "this is the sum of the first L rewards, after which nothing is counted.",
            "an agent that knows the clock would think so; this one only knows how often ends come.",
            (lambda reward, limit, discount: reward * (1 - discount**limit) / (1 - discount),),
        ),
        "rows_are_steps": Mistake(
            "the believed chance to go on is (L - 1) / L; an episode of L steps has L + 1 rows, one of them the last.",
            "steps are counted, but the head is taught in rows, and the first row is one of them.",
            (lambda reward, limit, discount: reward / (1 - discount * (limit - 1) / limit),),
        ),
        "end_unpaid": Mistake(
            "a step that is believed to end the episode is not paid; but its reward arrives together with the end.",
            "the continue probability is multiplied to the reward as well as to what follows.",
            (lambda reward, limit, discount:
             reward * limit / (limit + 1) / (1 - discount * limit / (limit + 1)),),
        ),
        "value_discounted": Mistake(
            "the first reward is discounted once; a value counts from the reward that arrives next, at full weight.",
            "discount ** t is counted from the present row, whose reward has been paid already.",
            (lambda reward, limit, discount: discount * right_false_death_value(reward, limit, discount),),
        ),
    },
)  # fmt: skip


# In the package -------------------------------------------------------------------------------------------------------

LOSSES = WorldModel.losses


def losses_without_decoder(model: WorldModel, batch: Batch) -> tuple[dict[str, Tensor], State]:
    """The decoder is never trained, so nothing makes the latent keep the observation."""
    losses, states = LOSSES(model, batch)
    return losses | {"decoder": torch.zeros_like(losses["decoder"])}, states


def _loss_of_a_probability(logit: Tensor, target: Tensor) -> Tensor:
    """The probability is given to a loss that takes a logit, and squashes it again."""
    return right_continue_loss(torch.sigmoid(logit), target)


def with_an_opinion(head: type[ScalarHead] | type[TwoHotHead]) -> tuple[Any, str, Function]:
    """The output layer starts like any other, with random weights of the usual size."""
    start: Function = head.__init__

    def start_anywhere(self: ScalarHead | TwoHotHead, *arguments: Any, **options: Any) -> None:
        start(self, *arguments, **options)
        layer = self.net[-1]
        assert isinstance(layer, nn.Linear)
        initialise(layer.weight, layer.in_features)

    return head, "__init__", start_anywhere


PARTS = (CONTINUE_TARGET, CONTINUE_LOSS, FALSE_DEATH_VALUE)

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
        replaces=(with_an_opinion(ScalarHead), with_an_opinion(TwoHotHead)),
    ),
    Bug(
        name="sigmoid_twice",
        story="The continue head's probability is given to a loss that expects a logit.",
        symptom="No episode seems to end: the smallest probability the loss can see is one half.",
        innocent="The continue loss stands at 0.31 where nothing ends, and looks settled.",
        source="https://github.com/itakurah/focal-loss-pytorch/pull/5",
        breaks="heads.Bernoulli.loss, continue",
        caught_by=("test_heads.py::test_bernoulli_by_hand", "test_golden.py::test_golden_binary_soft"),
        replaces=((Bernoulli, "loss", lambda prediction, target: _loss_of_a_probability(prediction.logit, target)),),
        forms={CONTINUE_LOSS: Mistake(
            "the probability is handed to a function that takes a logit, and is squashed again.",
            "binary_cross_entropy and binary_cross_entropy_with_logits differ in what they are given, not in how.",
            (_loss_of_a_probability,),
        )},
    ),
)  # fmt: skip
