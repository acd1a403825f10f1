"""How far a prediction is worth having."""

import torch
from torch import Tensor

from wm_tutorial.mistakes.bug import Bug
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Mistake, Part


def right_useful_horizon(model_error: Tensor, persistence_error: Tensor) -> Tensor:
    """How many rows in a row, from the first on, the model is better: (B, H), (B, H) -> (B,)."""
    return (model_error < persistence_error).long().cumprod(1).sum(1)


def _longest_run(model_error: Tensor, persistence_error: Tensor) -> Tensor:
    """The length of the longest run of rows in which the model is better."""
    better = model_error < persistence_error
    run = longest = torch.zeros(len(model_error), dtype=torch.long)
    for t in range(better.shape[1]):
        run = (run + 1) * better[:, t].long()
        longest = longest.maximum(run)
    return longest


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
            (lambda model, persistence: ((model < persistence) * torch.arange(1, model.shape[1] + 1)).amax(1),
             lambda model, persistence: ((model < persistence) * torch.arange(model.shape[1])).amax(1)),
        ),
        "horizon_never_worse": Mistake(
            "where the model is better in every row the answer is 0, and should be H.",
            "argmax of a mask gives the first True, and 0 if there is none.",
            (lambda model, persistence: (model >= persistence).long().argmax(1),),
        ),
        "horizon_one_too_many": Mistake(
            "the first row in which the model is no longer better is counted, too.",
            "its number and the count of rows before it differ by one.",
            (lambda model, persistence: right_useful_horizon(model, persistence) + 1,
             lambda model, persistence: (right_useful_horizon(model, persistence) + 1).clamp(max=model.shape[1]),
             lambda model, persistence: (model >= persistence).long().argmax(1) + 1),
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
        "horizon_one_too_few": Mistake(
            "this is the index of the last row before the first failure, and not how many rows there are.",
            "rows are counted from 0, so the index is one less than the number; with no good row it would be -1.",
            (lambda model, persistence: right_useful_horizon(model, persistence) - 1,
             lambda model, persistence: (right_useful_horizon(model, persistence) - 1).clamp(min=0)),
        ),
        "horizon_first_better": Mistake(
            "this is the first row in which the model is better, and not the first in which it no longer is.",
            "argmax of a mask gives the first True; the mask of the failures is the other one.",
            (lambda model, persistence: (model < persistence).long().argmax(1),),
        ),
        "horizon_longest_run": Mistake(
            "this is the longest run of good rows, wherever it begins; it must begin with the first row.",
            "a run is easily counted from the last failure; who imagines passes all rows from the first.",
            (_longest_run,),
        ),
        "horizon_from_the_end": Mistake(
            "the good rows are counted from the last row backwards.",
            "one flip too many: a dream begins with its first row.",
            (lambda model, persistence: right_useful_horizon(model.flip(1), persistence.flip(1)),),
        ),
        "horizon_of_sums": Mistake(
            "errors are summed up over the rows before they are compared.",
            "a good beginning then pays for bad rows long after; each row is compared for itself.",
            (lambda model, persistence: right_useful_horizon(model.cumsum(1), persistence.cumsum(1)),),
        ),
        "horizon_along_batch": Mistake(
            "a failure of one sequence ends the horizon of those after it in the batch.",
            "the running product is taken along the first axis, the batch; time is the second.",
            (lambda model, persistence: (model < persistence).long().cumprod(0).sum(1),),
        ),
    },
)  # fmt: skip

PARTS = (USEFUL_HORIZON,)
BUGS: tuple[Bug, ...] = ()
