"""What is said about a state: whether life goes on, what a wrong belief about that costs, and where heads start."""

from collections.abc import Callable
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
            (lambda is_last, is_terminal, discount: 1.0 - discount * is_terminal.float(),
             lambda is_last, is_terminal, discount: (discount - is_terminal.float()).abs()),
        ),
        "end_subtracted": Mistake(
            "1 is subtracted where life is over: the target becomes discount - 1, and a probability is never negative.",
            "without a discount, 1 - terminal is right; with it the bracket is needed.",
            (lambda is_last, is_terminal, discount: discount - is_terminal.float(),),
        ),
        "ends_exchanged": Mistake(
            "the two kinds of end are exchanged: a time limit gets 0, and a death goes on.",
            "last and not terminal is how a time limit is recognised; but it needs no case of its own.",
            (lambda is_last, is_terminal, discount: discount * (~is_last | is_terminal).float(),),
        ),
        "end_carried_on": Mistake(
            "whatever comes after an end stays at 0; but the next row begins another episode.",
            "cumprod belongs to imagination, which ends for good; rows of a replay go on.",
            (lambda is_last, is_terminal, discount: discount * (~is_terminal).float().cumprod(1),),
        ),
        "discount_by_row": Mistake(
            "the discount is raised to the power of the row; each target holds one step's discount.",
            "rewards far away are multiplied by its powers, and imagination makes them out of single steps.",
            tuple(
                lambda is_last, is_terminal, discount, first=first: (~is_terminal).float()
                * discount ** torch.arange(first, first + is_last.shape[1])
                for first in (0, 1)),
        ),
        "limit_is_death_without_discount": Mistake(
            "every last row gets 0, time limits too, and the discount is left out.",
            "1 - done is the target of most programs: without a discount, and with one flag for both ends.",
            (lambda is_last, is_terminal, discount: (~is_last).float(),),
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


def _of_probability(probability: Tensor, target: Tensor) -> Tensor:
    """torch's own, which cuts off logarithms below -100."""
    return functional.binary_cross_entropy(probability, target, reduction="none")


def _of_logarithms(logit: Tensor, target: Tensor, log: Callable[[Tensor], Tensor]) -> Tensor:
    """The formula as it stands in the book."""
    probability = torch.sigmoid(logit)
    return -(target * log(probability) + (1 - target) * log(1 - probability))


CONTINUE_LOSS = Part(
    name="continue_loss",
    right=right_continue_loss,
    batched=("logit", "target"),
    gradient_to=("logit",),
    cases=(
        {"logit": torch.tensor([[1.0, 2.0, -2.0]]), "target": torch.tensor([[1.0, 0.0, 0.5]])},  # no kink, as at 0
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
            "it is right until the head is certain and wrong: then a probability rounds to 0, or e^x to infinity, and "
            "the logarithm is infinite.",
            "the formula is written down as it stands in the book; ln(sigmoid) must be computed in one piece.",
            (lambda logit, target: _of_logarithms(logit, target, torch.log),
             lambda logit, target: target * torch.log1p((-logit).exp()) + (1 - target) * torch.log1p(logit.exp())),
        ),
        "exponential_overflows": Mistake(
            "exp of a large logit is infinite, and so is the loss, or it is no number: 0 times infinity.",
            "ln(1 + exp(x)) is the right formula, and breaks on the way; softplus is the same in one piece.",
            (lambda logit, target: torch.log1p(logit.exp()) - target * logit,
             lambda logit, target: torch.log1p((-logit).exp()) + (1 - target) * logit,
             lambda logit, target: target * (e := torch.log1p((-logit).exp())) + (1 - target) * (e + logit)),
        ),
        "probability_clamped": Mistake(
            "a clamp, or a small number inside of the logarithm, keeps the loss finite; but a head that is certain and "
            "wrong learns nothing.",
            "a clamp makes the infinity go away, and with it the gradient; torch's binary_cross_entropy has one.",
            (*(lambda logit, target, tiny=tiny: _of_probability(torch.sigmoid(logit).clamp(tiny, 1 - tiny), target)
               for tiny in (1e-4, 1e-5, 1e-6, 1e-7)),
             *(lambda logit, target, tiny=tiny: _of_logarithms(logit, target, lambda p: (p + tiny).log())
               for tiny in (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-10, 1e-12)),
             *(lambda logit, target, far=far: right_continue_loss(logit.clamp(-far, far), target)
               for far in (5.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0)),
             lambda logit, target: _of_probability(torch.sigmoid(logit), target),
             lambda logit, target: _of_logarithms(logit, target, torch.log).nan_to_num()),
        ),
        "target_ignored": Mistake(
            "the target does not enter: the loss is that of an episode that always goes on, or never does.",
            "softplus(-x) is the whole loss where the target is 1; the other half needs a share of its own.",
            (lambda logit, target: functional.softplus(-logit), lambda logit, target: functional.softplus(logit)),
        ),
        "target_rounded": Mistake(
            "the target is taken for yes or no; it may lie between, as it does with the discount inside.",
            "flags are yes or no, and most targets here come from them.",
            tuple(
                lambda logit, target, yes=yes: right_continue_loss(logit, yes(target).to(target))
                for yes in (lambda y: y > 0.5, lambda y: y >= 0.5, lambda y: y == 1, lambda y: y > 0)),
        ),
        "halves_mixed": Mistake(
            "two pieces of different formulas are added: softplus(x) goes with -target x, softplus(-x) with "
            "(1 - target) x.",
            "ln(1 + e^x) and ln(1 + e^-x) differ by x, which is what the other piece has to make up for.",
            (lambda logit, target: functional.softplus(-logit) - target * logit,
             lambda logit, target: functional.softplus(logit) + (1 - target) * logit,
             lambda logit, target: functional.softplus(logit) + target * logit),
        ),
        "squared_probability": Mistake(
            "this is the squared error of the probability: a head that is certain and wrong has no gradient.",
            "squared errors are what the other heads have; a probability is priced by its logarithm.",
            tuple(lambda logit, target, w=w: w * (torch.sigmoid(logit) - target) ** 2 for w in (1.0, 0.5)),
        ),
        "loss_arguments_swapped": Mistake(
            "logit and target have changed places.",
            "functions of torch take the prediction first, and libraries do not agree on that.",
            (lambda logit, target: right_continue_loss(target, logit),),
        ),
        "second_half_missing": Mistake(
            "only -target ln(p) is there: nothing is paid for saying 1 where the answer is 0.",
            "for classes that are one-hot that half is enough; a single probability needs both.",
            (lambda logit, target: -target * functional.logsigmoid(logit),),  # softplus(-x) alone: target_ignored
        ),
        "loss_negative": Mistake(
            "the sign is the other one; a loss is low where the probability is right.",
            "the log-likelihood is maximised, the loss is minimised.",
            (lambda logit, target: -right_continue_loss(logit, target),),
        ),
        "loss_averaged": Mistake(
            "the mean is taken; each row keeps a loss of its own.",
            "the functions of torch average unless they are told not to.",
            tuple(lambda *given, axis=axis: right_continue_loss(*given).mean(axis) for axis in (None, 0, -1)),
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
            tuple(
                lambda reward, limit, discount, more=more: reward * (1 - discount ** (limit + more)) / (1 - discount)
                for more in (0, 1)),
        ),
        "clock_and_belief": Mistake(
            "the sum stops after L steps, though each step is already believed to be the last with some probability.",
            "who believes in ends does not know when they come: the sum has no last term.",
            tuple(
                lambda reward, limit, discount, more=more: right_false_death_value(reward, limit, discount)
                * (1 - (discount * limit / (limit + 1)) ** (limit + more).floor())
                for more in (0, 1)),
        ),
        "sum_cut_short": Mistake(
            "the sum has a fixed number of terms, and what comes after them still counts.",
            "a loop has to stop somewhere; the formula does not.",
            tuple(
                lambda reward, limit, discount, terms=terms: right_false_death_value(reward, limit, discount)
                * (1 - (discount * limit / (limit + 1)) ** terms)
                for terms in (10, 20, 50, 100, 200, 500, 1000)),
        ),
        "rows_are_steps": Mistake(
            "the believed chance to go on is (L - 1) / L; an episode of L steps has L + 1 rows, one of them the last.",
            "steps are counted, but the head is taught in rows, and the first row is one of them.",
            (lambda reward, limit, discount: reward / (1 - discount * (limit - 1) / limit),),
        ),
        "row_too_many": Mistake(
            "the believed chance to go on is (L + 1) / (L + 2): one row too many is counted.",
            "L steps have L + 1 rows, and the last one is among them.",
            (lambda reward, limit, discount: reward / (1 - discount * (limit + 1) / (limit + 2)),),
        ),
        "end_for_continue": Mistake(
            "1 / (L + 1) is the believed chance of an end; the future is multiplied by the chance to go on.",
            "one row in L + 1 is the one that is talked about.",
            (lambda reward, limit, discount: reward / (1 - discount / (limit + 1)),),
        ),
        "continue_once": Mistake(
            "the chance to go on is multiplied once, to the whole value; it acts anew in every step.",
            "that is what a single step would need.",
            (lambda reward, limit, discount: reward / (1 - discount) * limit / (limit + 1),),
        ),
        "future_only": Mistake(
            "V = discount c (r + V) is solved; the next reward is certain and at full weight, V = r + discount c V.",
            "discount and continue are seen as belonging to the step, and not to what lies behind it.",
            (lambda reward, limit, discount: right_false_death_value(reward, limit, discount) - reward,),
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
        symptom="The latent tells less, and nothing under the full weight of the KL; dreams do not look like anything.",
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
