"""What the prior of a row is computed from, and how far a prediction is worth having."""

import torch
from torch import Tensor

from wm_tutorial.check.diagnosis import examine
from wm_tutorial.latents import LOGVAR_RANGE
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part, Rule

# The dynamics step ----------------------------------------------------------------------------------------------------

LOW, HIGH = LOGVAR_RANGE


def _bounded(logvar: Tensor) -> Tensor:
    return LOW + (HIGH - LOW) * torch.sigmoid(logvar)


def right_dynamics_step(latent: Tensor, action: Tensor, net: Function) -> tuple[Tensor, Tensor]:
    """Mean and logvar (B, Z) of the next latent, given latent (B, Z), action (B, A) and a network."""
    mean, logvar = net(torch.cat([latent, action], -1)).chunk(2, -1)
    return mean, _bounded(logvar)


def _with_bound(bound: Function) -> Function:
    def step(latent: Tensor, action: Tensor, net: Function) -> tuple[Tensor, Tensor]:
        mean, logvar = net(torch.cat([latent, action], -1)).chunk(2, -1)
        return mean, bound(logvar)

    return step


def _swapped_halves(latent: Tensor, action: Tensor, net: Function) -> tuple[Tensor, Tensor]:
    logvar, mean = net(torch.cat([latent, action], -1)).chunk(2, -1)
    return mean, _bounded(logvar)


def _every_other(latent: Tensor, action: Tensor, net: Function) -> tuple[Tensor, Tensor]:
    raw = net(torch.cat([latent, action], -1))
    return raw[..., ::2], _bounded(raw[..., 1::2])


def _action_first(latent: Tensor, action: Tensor, net: Function) -> tuple[Tensor, Tensor]:
    mean, logvar = net(torch.cat([action, latent], -1)).chunk(2, -1)
    return mean, _bounded(logvar)


def _residual(latent: Tensor, action: Tensor, net: Function) -> tuple[Tensor, Tensor]:
    mean, logvar = right_dynamics_step(latent, action, net)
    return latent + mean, logvar


def _network(seed: int, inputs: int, outputs: int, dtype: torch.dtype) -> Rule:
    into, out = uniform(seed, inputs, 8, dtype=dtype), uniform(seed + 1, 8, outputs, dtype=dtype)
    return Rule(f"(B, {inputs}) -> (B, {outputs})", lambda x: torch.tanh(x @ into) @ out)


def _step_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    batch, size = shape
    size += 1  # with a latent of one number, many mistakes are none
    return {
        "latent": uniform(seed, batch, size, dtype=dtype),
        "action": torch.eye(3, dtype=dtype)[torch.arange(batch) % 3],
        "net": _network(seed + 2, size + 3, 2 * size, dtype),
    }


DYNAMICS_STEP = Part(
    name="dynamics_step",
    right=right_dynamics_step,
    container=tuple,
    returns=("mean", "logvar"),
    batched=("latent", "action"),
    gradient_to=("latent", "action"),
    cases=(
        {
            "latent": torch.tensor([[1.0, 2.0]]),
            "action": torch.tensor([[0.0, 1.0]]),
            "net": Rule("x -> [x0 + x3, x1 - x3, x0 - x2, x3]", lambda x: torch.stack(
                [x[:, 0] + x[:, 3], x[:, 1] - x[:, 3], x[:, 0] - x[:, 2], x[:, 3]], -1)),
        },
        *(_step_case(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "action_ignored": Mistake(
            "the prediction does not depend on the action, so imagination cannot compare actions.",
            "the loss falls all the same wherever the next state is much like this one.",
            (lambda latent, action, net: right_dynamics_step(latent, torch.zeros_like(action), net),),
        ),
        "dynamics_ignore_latent": Mistake(
            "the prediction does not depend on the latent.",
            "the latent was overwritten, or masked, before it was used.",
            (lambda latent, action, net: right_dynamics_step(torch.zeros_like(latent), action, net),),
        ),
        "action_before_latent": Mistake(
            "the network gets action and latent in the other order.",
            "a network that is trained so would learn it so; one that was trained on (latent, action) cannot know.",
            (_action_first,),
        ),
        "mean_logvar_swapped": Mistake(
            "the first half of the output is the mean, the second one logvar; here they are swapped or interleaved.",
            "both have the same shape, so nothing complains.",
            (_swapped_halves, _every_other),
        ),
        "logvar_unbounded": Mistake(
            f"logvar is whatever the network says; it belongs between {LOW:g} and {HIGH:g}.",
            "it goes well until one batch in which a variance vanishes or explodes.",
            (_with_bound(lambda logvar: logvar),),
        ),
        "logvar_clamped": Mistake(
            "logvar is cut off at the bounds, where it then gets no gradient and stays.",
            "clamp is the shortest way to a bound; low + (high - low) * sigmoid(x) has a slope everywhere.",
            (_with_bound(lambda logvar: logvar.clamp(LOW, HIGH)),),
        ),
        "logvar_tanh": Mistake(
            "tanh in place of the sigmoid: half of the values lie outside of the bounds.",
            "both squash; tanh to -1..1, the sigmoid to 0..1.",
            (_with_bound(lambda logvar: LOW + (HIGH - LOW) * logvar.tanh()),),
        ),
        "logvar_exponentiated": Mistake(
            "the variance or the standard deviation is returned in place of logvar.",
            "the next thing that is needed is a standard deviation; sample and KL take logvar and do that themselves.",
            (_with_bound(lambda logvar: _bounded(logvar).exp()),
             _with_bound(lambda logvar: (0.5 * _bounded(logvar)).exp()),
             _with_bound(torch.exp), _with_bound(lambda logvar: (0.5 * logvar).exp())),
        ),
        "residual_added": Mistake(
            "the latent is added to the predicted mean.",
            "networks that predict a change are common; this one predicts the next latent itself.",
            (_residual,),
        ),
        "latent_detached": Mistake(
            "no gradient reaches the latent, so predicting well never shapes what is predicted from.",
            "the latent was detached as in imagination, where the model must not learn.",
            (lambda latent, action, net: right_dynamics_step(latent.detach(), action, net),),
        ),
    },
)  # fmt: skip


def dynamics_step(function: Function) -> bool:
    """Check `dynamics_step(latent, action, net)`: the prior of the next latent.

    latent  (B, Z)
    action  (B, A)
    net     a function (B, Z + A) -> (B, 2 Z): call it once on latent and action side by side, in this order
    ->      a tuple (mean, logvar), each (B, Z): the first half of the output as it is, and the second half x brought
            between -10 and 2 as -10 + 12 sigmoid(x); with gradient to latent and action

    check.dynamics_step(my_dynamics_step)
    """
    return examine(DYNAMICS_STEP, function)


# What the prior is given ----------------------------------------------------------------------------------------------

Pair = tuple[Tensor, Tensor]


def right_prior_inputs(latent: Tensor, previous_action: Tensor, is_first: Tensor, start: Tensor) -> Pair:
    """The latent one row before and the action that led to the row, zeros where an episode begins: (B, T, ...)."""
    before = torch.cat([start[:, None], latent[:, :-1]], 1)
    return _reset(is_first, before), _reset(is_first, previous_action)


def _reset(is_first: Tensor, x: Tensor) -> Tensor:
    return x.masked_fill(is_first[..., None], 0.0)


def _with_reset(of_latent: Function, of_action: Function) -> Function:
    """The right shift, with other resets."""

    def inputs(latent: Tensor, previous_action: Tensor, is_first: Tensor, start: Tensor) -> Pair:
        before = torch.cat([start[:, None], latent[:, :-1]], 1)
        return of_latent(is_first, before), of_action(is_first, previous_action)

    return inputs


def _with_shift(shift: Function) -> Function:
    """The right reset, of latents shifted otherwise."""

    def inputs(latent: Tensor, previous_action: Tensor, is_first: Tensor, start: Tensor) -> Pair:
        return _reset(is_first, shift(latent, start)), _reset(is_first, previous_action)

    return inputs


def _keep(is_first: Tensor, x: Tensor) -> Tensor:
    return x


def _reset_early(latent: Tensor, previous_action: Tensor, is_first: Tensor, start: Tensor) -> Pair:
    """The reset comes before the shift, so the zeros arrive one row late."""
    before = torch.cat([start[:, None], _reset(is_first, latent)[:, :-1]], 1)
    return before, _reset(is_first, previous_action)


def _from_row_1(is_first: Tensor, x: Tensor) -> Tensor:
    return torch.cat([x[:, :1], _reset(is_first[:, 1:], x[:, 1:])], 1)


def _whole_batch(is_first: Tensor, x: Tensor) -> Tensor:
    return _reset(is_first.any(0, keepdim=True).expand_as(is_first), x)


def _begins(seed: int, shape: tuple[int, int]) -> Tensor:
    """Where episodes begin: about one row in three, and in row 0 of some sequences."""
    return uniform(seed, *shape, dtype=torch.float64, low=0.0, high=1.0) < 0.35


def _rows(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    return {
        "latent": uniform(seed, *shape, 3, dtype=dtype, low=0.5),
        "previous_action": uniform(seed + 1, *shape, 2, dtype=dtype, low=0.5),
        "is_first": _begins(seed + 2, shape),
        "start": uniform(seed + 3, shape[0], 3, dtype=dtype, low=0.5),
    }


PRIOR_INPUTS = Part(
    name="prior_inputs",
    right=right_prior_inputs,
    container=tuple,
    returns=("the latent before", "the action before"),
    batched=("latent", "previous_action", "is_first", "start"),
    gradient_to=("latent",),
    cases=(
        {
            "latent": torch.tensor([[[1.0], [2.0], [3.0], [4.0]]]),
            "previous_action": torch.tensor([[[0.5], [0.6], [0.7], [0.8]]]),
            "is_first": torch.tensor([[False, False, True, False]]),
            "start": torch.tensor([[9.0]]),
        },
        {
            "latent": torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]]),
            "previous_action": torch.tensor([[[0.5], [0.6]], [[0.7], [0.8]]]),
            "is_first": torch.tensor([[True, False], [False, False]]),
            "start": torch.tensor([[9.0], [8.0]]),
        },
        *(_rows(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "reset_missing": Mistake(
            "nothing is forgotten where an episode begins: its first row is predicted from the end of another one.",
            "a batch of sequences looks like a batch of episodes, and most rows are no first ones.",
            (_with_reset(_keep, _keep),),
        ),
        "action_not_reset": Mistake(
            "the latent is forgotten where an episode begins, the action is not.",
            "the state is what one thinks of at a reset; the action before it belongs to the other episode, too.",
            (_with_reset(_reset, _keep),),
        ),
        "latent_not_reset": Mistake(
            "the action is forgotten where an episode begins, the latent is not.",
            "with `start` in row 0 the beginning seems to be taken care of; sequences also cross episodes later on.",
            (_with_reset(_keep, _reset),),
        ),
        "reset_one_row_late": Mistake(
            "latents are set to zero in the first row itself, and then shifted: the reset arrives one row late.",
            "the reset was done before the shift; is_first belongs to the row that is predicted.",
            (_reset_early,),
        ),
        "start_never_forgotten": Mistake(
            "row 0 keeps `start` even where an episode begins in it.",
            "the loop over rows begins with row 1, or the mask is applied before `start` is put in front.",
            (_with_reset(_from_row_1, _reset), _with_reset(_from_row_1, _from_row_1)),
        ),
        "prior_sees_own_row": Mistake(
            "the prior of a row is given the latent of that row, so it predicts what it was told.",
            "the shift by one row is missing; the loss is wonderful.",
            (_with_shift(lambda latent, start: latent), lambda latent, action, is_first, start: (latent, action)),
        ),
        "start_lost": Mistake(
            "row 0 is always predicted from zeros; `start` is what was known one row before the sequence.",
            "sequences are taken for episodes, which begin with nothing.",
            (_with_shift(lambda latent, start: torch.cat([torch.zeros_like(latent[:, :1]), latent[:, :-1]], 1)),),
        ),
        "last_row_rolled_in": Mistake(
            "row 0 is predicted from the last row of the sequence.",
            "torch.roll is the shortest way to shift; what falls out at the end comes in at the beginning.",
            (_with_shift(lambda latent, start: latent.roll(1, 1)),),
        ),
        "mask_inverted": Mistake(
            "everything is forgotten except where an episode begins.",
            "one ~ too many or too few: masked_fill fills where the mask is true, a product keeps there.",
            (_with_reset(lambda is_first, x: _reset(~is_first, x), lambda is_first, x: _reset(~is_first, x)),),
        ),
        "batch_forgets_together": Mistake(
            "one sequence that begins an episode makes all sequences of the batch forget.",
            "`if is_first.any()` works for a batch of one.",
            (_with_reset(_whole_batch, _whole_batch),),
        ),
    },
)


def prior_inputs(function: Function) -> bool:
    """Check `prior_inputs(latent, previous_action, is_first, start)`: what the prior of each row is computed from.

    latent           (B, T, Z) z_t
    previous_action  (B, T, A) a_{t-1}, what led to row t
    is_first         (B, T) bool, an episode begins in row t
    start            (B, Z) the latent one row before the sequence
    ->               a tuple of the latent before, (B, T, Z), and the action before, (B, T, A): what is known of row
                     t - 1, and zeros where an episode begins

    check.prior_inputs(my_prior_inputs)
    """
    return examine(PRIOR_INPUTS, function)


# How far a prediction is worth having ---------------------------------------------------------------------------------


def right_useful_horizon(model_error: Tensor, persistence_error: Tensor) -> Tensor:
    """How many rows in a row, from the first on, the model is better: (B, H), (B, H) -> (B,)."""
    return (model_error < persistence_error).long().cumprod(1).sum(1)


def _last_better(model_error: Tensor, persistence_error: Tensor) -> Tensor:
    better = (model_error < persistence_error).long()
    return (better * torch.arange(1, better.shape[1] + 1)).amax(1)


def _first_worse(model_error: Tensor, persistence_error: Tensor) -> Tensor:
    return (model_error >= persistence_error).long().argmax(1)


USEFUL_HORIZON = Part(
    name="useful_horizon",
    right=right_useful_horizon,
    batched=("model_error", "persistence_error"),
    cases=(
        {
            "model_error": torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]]),
            "persistence_error": torch.tensor([[2.0, 3.0, 3.0, 5.0, 4.0]]),
        },
        {
            "model_error": torch.tensor([[1.0, 1.0], [3.0, 1.0], [1.0, 3.0]]),
            "persistence_error": torch.tensor([[2.0, 2.0], [2.0, 2.0], [2.0, 2.0]]),
        },
        *(
            {
                "model_error": uniform(seed, *shape, dtype=dtype, low=0.0, high=1.5),
                "persistence_error": uniform(seed + 1, *shape, dtype=dtype, low=0.5, high=2.0),
            }
            for seed, shape, dtype in variations()
        ),
    ),
    mistakes={
        "horizon_counts_all": Mistake(
            "all rows in which the model is better are counted, those after its first failure among them.",
            "a sum is the shortest way to count; once a dream has been worse than no model, later rows are luck.",
            (lambda model, persistence: (model < persistence).sum(1),),
        ),
        "horizon_last_better": Mistake(
            "this is the last row in which the model is better, whatever happened before it.",
            "two smooth curves cross once; measured ones touch and cross again.",
            (_last_better,),
        ),
        "horizon_never_worse": Mistake(
            "where the model is better in every row the answer is 0, and should be H.",
            "argmax of a mask gives the first True, and 0 if there is none.",
            (_first_worse,),
        ),
        "horizon_one_too_many": Mistake(
            "the first row in which the model is no longer better is counted, too.",
            "its number and the count of rows before it differ by one.",
            (lambda model, persistence: right_useful_horizon(model, persistence) + 1,
             lambda model, persistence: (right_useful_horizon(model, persistence) + 1).clamp(max=model.shape[1])),
        ),
        "horizon_ties_count": Mistake(
            "a row in which both are equally wrong counts as better.",
            "<= for <; a model that only repeats what it saw would be useful for ever.",
            (lambda model, persistence: (model <= persistence).long().cumprod(1).sum(1),),
        ),
        "horizon_swapped": Mistake(
            "this counts the rows in which persistence is better.",
            "the two errors are easily swapped; the smaller error is the better one.",
            (lambda model, persistence: right_useful_horizon(persistence, model),
             lambda model, persistence: (model > persistence).sum(1)),
        ),
    },
)  # fmt: skip


def useful_horizon(function: Function) -> bool:
    """Check `useful_horizon(model_error, persistence_error)`: how many rows a prediction is better than none.

    model_error        (B, H) errors in the first to the H-th predicted row of each sequence
    persistence_error  (B, H) errors of holding the last row seen
    ->                 (B,) int64, 0..H: the rows, counted from the first, before the model's error is for the first
                       time not below that of persistence

    check.useful_horizon(my_useful_horizon)
    """
    return examine(USEFUL_HORIZON, function)
