"""How often to learn, and how to measure what was learned."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from wm_tutorial.mistakes.bug import Bug
from wm_tutorial.mistakes.inputs import uniform
from wm_tutorial.mistakes.part import Answer, Arguments, Call, Function, Mistake, Part, Unusable

# Train ratio ----------------------------------------------------------------------------------------------------------


def right_updates_due(steps: Tensor, prefill: int, ratio: float, batch: int, length: int) -> Tensor:
    """The whole updates that so many environment steps pay for: (N,)."""
    paid = (steps - prefill).clamp(min=0).double() * ratio / (batch * length)
    return paid.floor().long()


def _paid(after: Tensor, ratio: float, batch: int, length: int) -> Tensor:
    return after.double() * ratio / (batch * length)


def _due(prefilled: bool = True, per_row: bool = True, per_step: bool = False, length_counts: bool = True) -> Function:
    """The same with slips to choose from."""

    def updates_due(steps: Tensor, prefill: int, ratio: float, batch: int, length: int) -> Tensor:
        after = (steps - prefill if prefilled else steps).clamp(min=0).double()
        share = ratio / (batch * (length if length_counts else 1)) if per_row else ratio
        return (after * int(share) if per_step else after * share).floor().long()

    return updates_due


def whole(call: Call, arguments: Arguments) -> Answer:
    """The updates; those that are no whole numbers yet cannot be made."""
    answer = call(arguments)
    (due,) = answer.values()
    if due.is_floating_point():
        slip = "has fractions" if (due != due.floor()).any() else "holds floats"
        raise Unusable(f"the answer {slip}, and no part of an update can be made: round down, then .long().")
    return answer


def _steps(*steps: int, prefill: int, ratio: float, batch: int, length: int) -> Arguments:
    return {"steps": torch.tensor(steps), "prefill": prefill, "ratio": ratio, "batch": batch, "length": length}


UPDATES_DUE = Part(
    name="updates_due",
    right=right_updates_due,
    measure=whole,
    cases=(
        _steps(0, 4, 8, 12, 13, 16, 40, prefill=8, ratio=16, batch=4, length=16),
        _steps(0, 999, 1000, 1004, 5000, 15000, prefill=1000, ratio=128, batch=16, length=32),
        _steps(64, 1024, 1040, 4096, prefill=1024, ratio=1024, batch=16, length=64),
        _steps(1, 2, 100, 511, prefill=0, ratio=96, batch=8, length=8),
    ),
    mistakes={
        "prefill_counted": Mistake(
            "the steps of the prefill are paid for, too: they all fall due at once when learning begins.",
            "the count of steps starts at 0, and learning does not.",
            (
                _due(prefilled=False),
                lambda steps, prefill, *ratio: _paid(steps.clamp(min=prefill), *ratio).long(),
                lambda steps, prefill, *ratio: _paid(steps.where(steps > prefill, 0), *ratio).long(),
            ),
        ),
        "ratio_per_update": Mistake(
            "the ratio is taken for updates per step; it counts replayed rows per step.",
            "both are called train ratio; one update replays batch times length rows.",
            (_due(per_row=False),),
        ),
        "length_forgotten": Mistake(
            "an update is taken to replay one row of each sequence.",
            "the batch size of other methods counts single rows; here it counts sequences.",
            (_due(length_counts=False),),
        ),
        "rounded_at_each_step": Mistake(
            "the updates of each step are rounded down before they are summed, so that fractions are lost.",
            "int() is applied where a step is made; keep the total, and round what is due in all.",
            (_due(per_step=True),),
        ),
        "negative_before_learning": Mistake(
            "during the prefill a negative number of updates is due; it must be 0.",
            "`steps - prefill` is below zero until learning begins.",
            (
                lambda steps, prefill, *ratio: _paid(steps - prefill, *ratio).floor().long(),
                lambda steps, prefill, *ratio: _paid(steps - prefill, *ratio).long(),
            ),
        ),
        "rounded_up": Mistake(
            "updates fall due that are not paid for in full: what is due must be rounded down.",
            "round() and ceil() make whole numbers, too.",
            (
                lambda steps, prefill, *ratio: _paid((steps - prefill).clamp(min=0), *ratio).round().long(),
                lambda steps, prefill, *ratio: _paid((steps - prefill).clamp(min=0), *ratio).ceil().long(),
            ),
        ),
    },
)


# Evaluation -----------------------------------------------------------------------------------------------------------


def right_fair_mean(reward: Tensor, is_last: Tensor, quota: int) -> Tensor:
    """The mean return of the first `quota` episodes of every stream: ()."""
    return _mean_of([returns[:quota] for returns in _finished(reward, is_last)])


def _finished(reward: Tensor, is_last: Tensor, early: bool = False) -> list[list[Tensor]]:
    """The returns of the finished episodes of each stream; early: without the reward of the last row."""
    streams: list[list[Tensor]] = []
    for rewards, lasts in zip(reward, is_last, strict=True):
        ends = [0, *(int(t) + 1 for t in lasts.nonzero())]
        pieces = [rewards[a : b - early] for a, b in pairwise(ends)]
        streams.append([piece.sum() for piece in pieces])
    return streams


def _mean_of(streams: list[list[Tensor]]) -> Tensor:
    return torch.stack([value for returns in streams for value in returns]).mean()


def _first_to_finish(reward: Tensor, is_last: Tensor, quota: int) -> Tensor:
    """As many episodes as asked for, whichever end first."""
    ends = [(int(t), n) for n, lasts in enumerate(is_last) for t in lasts.nonzero()]
    order = [n for _, n in sorted(ends)]
    returns = _finished(reward, is_last)
    picked = [returns[n][order[:k].count(n)] for k, n in enumerate(order)]
    return torch.stack(picked[: quota * len(reward)]).mean()


def _all_finished(reward: Tensor, is_last: Tensor, quota: int) -> Tensor:
    return _mean_of(_finished(reward, is_last))


def _unfinished_too(reward: Tensor, is_last: Tensor, quota: int) -> Tensor:
    """Whatever was earned, divided by the episodes that were begun."""
    begun = len(reward) + int(is_last[:, :-1].sum())
    return reward.sum() / begun


def _per_stream(reward: Tensor, is_last: Tensor, quota: int) -> Tensor:
    return torch.stack([torch.stack(returns).mean() for returns in _finished(reward, is_last)]).mean()


def _without_last(reward: Tensor, is_last: Tensor, quota: int) -> Tensor:
    return _mean_of([returns[:quota] for returns in _finished(reward, is_last, early=True)])


def _counted(reward: Tensor, is_last: Tensor, quota: int) -> Tensor:
    """The sum () of what the first `quota` episodes of every stream earned."""
    return right_fair_mean(reward, is_last, quota) * quota * len(reward)


def _where(counts: Callable[[Tensor, int], Tensor], dim: int = 1) -> Function:
    """Rows count by how many episodes ended before them, along `dim`."""

    def fair_mean(reward: Tensor, is_last: Tensor, quota: int) -> Tensor:
        ended = is_last.long().cumsum(dim) - is_last.long()
        return (reward * counts(ended, quota)).sum() / (quota * len(reward))

    return fair_mean


def _until_last(reward: Tensor, is_last: Tensor, quota: int) -> Tensor:
    """The row in which the last counted episode ends is taken for one after its end."""
    return (reward * (is_last.long().cumsum(1) < quota)).sum() / (quota * len(reward))


def _streams(seed: int, dtype: torch.dtype, quota: int, *letters: str) -> Arguments:
    """A stream for each word: l last row, . any other; the row after a last one is a first one, with reward 0."""
    last = torch.tensor([[letter == "l" for letter in word] for word in letters])
    reward = uniform(seed, *last.shape, dtype=dtype)
    reward[:, 0] = 0.0
    reward[:, 1:] = reward[:, 1:].masked_fill(last[:, :-1], 0.0)
    return {"reward": reward, "is_last": last, "quota": quota}


FAIR_MEAN = Part(
    name="fair_mean",
    right=right_fair_mean,
    cases=(
        {
            "reward": torch.tensor([[0.0, 2.0, 0.0, 2.0, 0.0, 4.0], [0.0, 4.0, 4.0, 4.0, 4.0, 4.0]]),
            "is_last": torch.tensor([[False, True, False, True, False, True], [False] * 5 + [True]]),
            "quota": 1,
        },
        _streams(50, torch.float32, 2, ".l..l.l.l", "....l...l", "..l.l...."),
        _streams(60, torch.float64, 1, "...l...", ".l.l.l.", "......l"),
    ),
    mistakes={
        "first_to_finish": Mistake(
            "the episodes that end first are taken, so short ones are preferred.",
            "collecting until there are enough feels natural, and the long ones are still running then.",
            (_first_to_finish,),
        ),
        "all_finished": Mistake(
            "every finished episode counts, so a stream of short ones counts more often than a stream of long ones.",
            "it seems a waste to leave episodes out.",
            (_all_finished, lambda reward, is_last, quota: reward.sum() / is_last.sum()),
        ),
        "averaged_by_stream": Mistake(
            "all finished episodes count, averaged in each stream first.",
            "it looks fair, since every stream has one vote; which episodes end in time still depends on their length.",
            (_per_stream,),
        ),
        "unfinished_counted": Mistake(
            "episodes that have not ended count with what they earned so far.",
            "all rewards are summed and divided by the number of episodes begun.",
            (_unfinished_too,),
        ),
        "last_reward_lost": Mistake(
            "the reward of each last row is missing.",
            "the sum stops on seeing `is_last`; the last row carries the reward for the last action.",
            (_without_last, _until_last),
        ),
        "quota_not_divided_by": Mistake(
            "the sum is divided by the number of streams; each of them contributes `quota` episodes.",
            "with a quota of 1 the two numbers are the same.",
            (lambda *given: _counted(*given) / len(given[0]),),
        ),
        "streams_not_divided_by": Mistake(
            "the sum is not divided by the number of streams.",
            "the quota is what the task speaks of; every stream contributes as many episodes.",
            (lambda *given: _counted(*given) / given[2], _counted),
        ),
        "one_episode_more": Mistake(
            "each stream contributes one episode more than its quota.",
            "the count of ends begins at 0, so `<=` lets in the rows before which `quota` episodes have ended.",
            (_where(lambda ended, quota: ended <= quota),),
        ),
        "quota_of_one": Mistake(
            "each stream contributes its first episode alone, whatever the quota.",
            "it is right for a quota of 1.",
            (
                _where(lambda ended, quota: ended == 0),
                lambda reward, is_last, quota: right_fair_mean(reward, is_last, 1),
            ),
        ),
        "counted_over_streams": Mistake(
            "ends are counted from stream to stream; time is axis 1.",
            "cumsum(0) runs over the first axis, and that is not time here.",
            (_where(lambda ended, quota: ended < quota, dim=0),),
        ),
        "mean_over_rows": Mistake(
            "the sum is divided by the number of rows: this is a reward per step, and no return.",
            "mean() is at hand, and divides by everything in the array.",
            (lambda *given: _counted(*given) / given[0].numel(),),
        ),
    },
)

PARTS = (
    UPDATES_DUE,
    FAIR_MEAN,
)
BUGS: tuple[Bug, ...] = ()
