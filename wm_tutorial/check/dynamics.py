"""What the prior of a row is computed from, and how far a prediction is worth having."""

import torch
from torch import Tensor

from wm_tutorial.check.asking import Arguments, Function, Mistake, Part
from wm_tutorial.check.diagnosis import examine
from wm_tutorial.check.inputs import uniform, variations

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
