"""Returns: of one episode, and of the episodes in a stream of rows."""

from itertools import pairwise

import torch
from torch import Tensor

from wm_tutorial.mistakes.bug import Bug
from wm_tutorial.mistakes.inputs import uniform
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part

# One episode ----------------------------------------------------------------------------------------------------------


def right_discounted_return(reward: Tensor, gamma: float) -> Tensor:
    """The first reward counts fully, each later one gamma times as much as the one before: ()."""
    weight: Tensor = gamma ** torch.arange(len(reward), dtype=reward.dtype)
    return (weight * reward).sum()


def _weighted(weights: Function) -> Function:
    """The same sum with other weights: those of a reward count and a gamma."""

    def discounted_return(reward: Tensor, gamma: float) -> Tensor:
        weight: Tensor = weights(torch.arange(len(reward), dtype=reward.dtype), gamma)
        return (weight * reward).sum()

    return discounted_return


DISCOUNTED_RETURN = Part(
    name="discounted_return",
    right=right_discounted_return,
    cases=(
        {"reward": torch.tensor([8.0, 0.0, 4.0, 16.0]), "gamma": 0.5},
        {"reward": uniform(20, 7, dtype=torch.float64), "gamma": 0.9},
        {"reward": uniform(21, 1, dtype=torch.float32), "gamma": 0.75},
    ),
    mistakes={
        "discounted_once_too_often": Mistake(
            "every reward is multiplied by gamma once too often; the first one must count fully.",
            "the exponent is taken from the index of the row the reward arrives in, which is 1 for the first.",
            (_weighted(lambda k, gamma: gamma ** (k + 1)),),
        ),
        "discount_forgotten": Mistake(
            "rewards are simply summed.",
            "that is the return an evaluation reports; the one that is learned from is discounted.",
            (_weighted(lambda k, gamma: torch.ones_like(k)),),
        ),
        "discounted_backwards": Mistake(
            "the last reward counts most and the first one least.",
            "a loop from the first reward on multiplies what is summed so far; it must begin at the last one.",
            (_weighted(lambda k, gamma: gamma ** k.flip(0)), _weighted(lambda k, gamma: gamma ** (k.flip(0) + 1))),
        ),
        "discounted_once": Mistake(
            "rewards are multiplied by gamma once, however late they come.",
            "gamma stands beside the reward; it belongs beside all that follows.",
            (
                _weighted(lambda k, gamma: torch.where(k > 0, gamma, 1.0).to(k)),
                _weighted(lambda k, gamma: torch.full_like(k, gamma)),
            ),
        ),
        "discount_times_index": Mistake(
            "gamma is multiplied by the place of a reward; it must be raised to that power.",
            "`*` was written for `**`.",
            (_weighted(lambda k, gamma: gamma * k), _weighted(lambda k, gamma: gamma * (k + 1))),
        ),
        "first_reward_lost": Mistake(
            "the first reward is missing.",
            "row 0 of an episode has no reward, but these are the rewards r_1 to r_n, and nothing is to be skipped.",
            (
                _weighted(lambda k, gamma: torch.where(k > 0, gamma**k, 0.0).to(k)),
                _weighted(lambda k, gamma: torch.where(k > 0, gamma ** (k - 1), 0.0).to(k)),
            ),
        ),
        "last_reward_lost": Mistake(
            "the last reward is missing.",
            "range(n - 1), or a slice up to -1, stops one short.",
            (_weighted(lambda k, gamma: torch.where(k < len(k) - 1, gamma**k, 0.0).to(k)),),
        ),
        "mean_for_sum": Mistake(
            "the discounted rewards are averaged; a return is their sum.",
            "losses are averaged everywhere; a long episode is to be worth more than a short one.",
            (_weighted(lambda k, gamma: gamma**k / len(k)),),
        ),
    },
)


# Many episodes in one stream of rows ----------------------------------------------------------------------------------


def right_episode_returns(reward: Tensor, is_first: Tensor, is_last: Tensor) -> Tensor:
    """The return of every episode that both begins and ends within the rows: (E,)."""
    returns: list[Tensor] = []
    running: Tensor | None = None
    for t in range(len(reward)):
        if is_first[t]:
            running = torch.zeros_like(reward[0])
        elif running is not None:
            running = running + reward[t]
        if is_last[t] and running is not None:
            returns.append(running)
            running = None
    return _stacked(returns, reward)


def _stacked(returns: list[Tensor], reward: Tensor) -> Tensor:
    return torch.stack(returns) if returns else reward[:0]


def _summed(unfinished: bool = False, headless: bool = False, one_row_early: bool = False) -> Function:
    """The sum in one pass, with slips to choose from."""

    def episode_returns(reward: Tensor, is_first: Tensor, is_last: Tensor) -> Tensor:
        returns: list[Tensor] = []
        running = torch.zeros_like(reward[0])
        begun = headless
        for t in range(len(reward)):
            if is_first[t]:
                running, begun = torch.zeros_like(reward[0]), True
            elif not (one_row_early and is_last[t]):
                running = running + reward[t]
            if is_last[t] and begun:
                returns.append(running)
                running, begun = torch.zeros_like(reward[0]), False
        if unfinished and begun:
            returns.append(running)
        return _stacked(returns, reward)

    return episode_returns


def _never_reset(reward: Tensor, is_first: Tensor, is_last: Tensor) -> Tensor:
    begun = is_first.cumsum(0) > 0
    return (reward * begun).cumsum(0)[is_last & begun]


def _carried_in(reward: Tensor, is_first: Tensor, is_last: Tensor) -> Tensor:
    """Set to zero after an episode that counts, and not where one begins."""
    returns, running, begun = [], torch.zeros_like(reward[0]), False
    for t in range(len(reward)):
        running, begun = running + reward[t], begun or bool(is_first[t])
        if is_last[t] and begun:
            returns.append(running)
            running, begun = torch.zeros_like(reward[0]), False
    return _stacked(returns, reward)


def _stored_at_the_next_first(reward: Tensor, is_first: Tensor, is_last: Tensor) -> Tensor:
    starts = is_first.nonzero().flatten().tolist()
    return _stacked([reward[begin:end].sum() for begin, end in pairwise(starts)], reward)


def _paired(reward: Tensor, is_first: Tensor, is_last: Tensor) -> Tensor:
    pairs = zip(is_first.nonzero().flatten().tolist(), is_last.nonzero().flatten().tolist(), strict=False)
    return _stacked([reward[begin : end + 1].sum() for begin, end in pairs], reward)


def _stream(seed: int, dtype: torch.dtype, letters: str) -> Arguments:
    """Rows, one for each letter: f first, l last, . neither; the reward of a first row is 0, as it always is."""
    reward = uniform(seed, len(letters), dtype=dtype)
    first = torch.tensor([letter == "f" for letter in letters])
    return {
        "reward": reward.masked_fill(first, 0.0),
        "is_first": first,
        "is_last": torch.tensor([letter == "l" for letter in letters]),
    }


EPISODE_RETURNS = Part(
    name="episode_returns",
    right=right_episode_returns,
    cases=(
        {
            "reward": torch.tensor([4.0, 2.0, 0.0, 1.0, 8.0, 0.0, 16.0]),
            "is_first": torch.tensor([False, False, True, False, False, True, False]),
            "is_last": torch.tensor([False, True, False, False, True, False, False]),
        },
        _stream(30, torch.float32, "..lf...lflf..lf."),
        _stream(40, torch.float64, "l" + "f.l" * 3 + "f....."),
        _stream(50, torch.float32, ".lf..lf.l"),  # ends with an episode
    ),
    mistakes={
        "unfinished_counted": Mistake(
            "the episode that has not ended yet is counted with what it has earned so far.",
            "whatever is left in the sum after the loop is appended; its return is not known yet.",
            (_summed(unfinished=True),),
        ),
        "headless_counted": Mistake(
            "an episode that began before these rows is counted with the rest of its rewards.",
            "a return is stored at every last row; only a first row tells that nothing is missing.",
            (_summed(headless=True),),
        ),
        "headless_and_unfinished_counted": Mistake(
            "episodes are counted of which the beginning or the end lies outside of these rows.",
            "the rows are cut wherever a reward is summed; only first to last is an episode.",
            (_summed(unfinished=True, headless=True),),
        ),
        "last_reward_lost": Mistake(
            "the reward of each last row is missing.",
            "the sum stops on seeing `is_last`; the last row carries the reward for the last action.",
            (_summed(one_row_early=True), _summed(one_row_early=True, headless=True)),
        ),
        "sum_never_reset": Mistake(
            "the sum goes on from one episode into the next.",
            "it is set to zero before the loop or after a last row, and not at each first row.",
            (_never_reset, _carried_in),
        ),
        "last_episode_lost": Mistake(
            "an episode that ends in the last row of all is missing.",
            "a return is stored when the next first row arrives; the last row has told already that it is over.",
            (_stored_at_the_next_first,),
        ),
        "pairs_out_of_step": Mistake(
            "the first row of one episode is paired with the last row of another.",
            "the n-th first and the n-th last row belong together only if the rows begin with a first one.",
            (_paired,),
        ),
        "steps_for_rewards": Mistake(
            "the steps of each episode are counted, and not its rewards summed.",
            "in CartPole each step earns 1, and there both are the same.",
            (lambda reward, first, last: right_episode_returns((~first).to(reward), first, last),),
        ),
    },
)

PARTS = (DISCOUNTED_RETURN, EPISODE_RETURNS)

BUGS: tuple[Bug, ...] = ()
