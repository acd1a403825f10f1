"""What a handful of trained agents says: intervals, the middle half, matched differences, chosen options, ranks."""

import torch
from torch import Tensor

from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part

# The interval of a mean over agents -----------------------------------------------------------------------------------


def _interval(
    numbers: Function = lambda returns: returns.mean(1),
    means: Function = lambda numbers, draws: numbers[draws].mean(1),
    shares: Function = lambda level: ((1 - level) / 2, (1 + level) / 2),
) -> Function:
    """The right interval with one piece exchanged."""

    def agents_interval(returns: Tensor, draws: Tensor, level: float) -> tuple[Tensor, Tensor]:
        of_draws = means(numbers(returns), draws)
        low, high = shares(level)
        return of_draws.quantile(low), of_draws.quantile(high)

    return agents_interval


def _by_normal(spread: Function) -> Function:
    """An interval of the mean plus and minus so many standard errors."""

    def agents_interval(returns: Tensor, draws: Tensor, level: float) -> tuple[Tensor, Tensor]:
        middle, error = spread(returns, draws)
        z = torch.special.ndtri(torch.tensor((1 + level) / 2, dtype=returns.dtype))
        return middle - z * error, middle + z * error

    return agents_interval


def _pooled(returns: Tensor, draws: Tensor) -> Tensor:
    """As many episodes as there are, drawn from all of them, with the draws that are there as a start."""
    every = returns.flatten()
    steps = torch.arange(returns.shape[1]) * len(returns)
    which = (draws[:, :, None] + steps + torch.arange(len(draws))[:, None, None]) % len(every)
    return every[which.flatten(1)].mean(1)


def _interval_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    agents, episodes = shape[0] + 3, shape[1] + 1
    generator = torch.Generator().manual_seed(seed)
    levels = uniform(seed + 2, agents, 1, dtype=dtype, low=0.0, high=20.0)  # agents differ more than their episodes
    return {
        "returns": levels + uniform(seed, agents, episodes, dtype=dtype),
        "draws": torch.randint(agents, (40, agents), generator=generator),
        "level": (0.95, 0.9, 0.5)[seed // 10 % 3],
    }


INTERVAL = Part(
    name="agents_interval",
    right=_interval(),
    container=tuple,
    returns=("low", "high"),
    cases=(
        {
            "returns": torch.tensor([[10.0, 14.0], [20.0, 18.0], [33.0, 27.0]]),
            "draws": torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 2], [2, 1, 2], [2, 2, 2]]),
            "level": 0.5,
        },
        *(_interval_case(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "episodes_pooled": Mistake(
            "the episodes of all agents are drawn from one pot: the interval is about the episodes of these agents, "
            "and says nothing about the next agent.",
            "there are many episodes and few agents, and the narrow interval looks like good work.",
            (_interval(numbers=lambda returns: returns, means=_pooled),
             _interval(numbers=lambda returns: returns.flatten()),
             _interval(numbers=lambda returns: returns[:, 0])),
        ),
        "share_not_halved": Mistake(
            "what lies outside is cut off at each end, and not half of it: a level of 0.9 leaves 0.8 inside.",
            "1 - level is the share outside, on both sides together.",
            (_interval(shares=lambda level: (1 - level, level)),
             _interval(shares=lambda level: (0.0, level)),
             _interval(shares=lambda level: (1 - level, 1.0))),
        ),
        "level_ignored": Mistake(
            "the interval is that of 0.95 whatever level is asked for.",
            "2.5 and 97.5 are in every example.",
            (_interval(shares=lambda level: (0.025, 0.975)),),
        ),
        "agents_themselves": Mistake(
            "these are shares of the agents drawn, and not of the means of each draw: it says where agents lie, not "
            "where their mean does.",
            "the mean over the agents of a draw is one short word, and without it the shapes fit as well.",
            (_interval(means=lambda numbers, draws: numbers[draws].flatten()),
             _interval(means=lambda numbers, draws: numbers)),
        ),
        "draw_median": Mistake(
            "the median of each draw is taken; it is the mean.",
            "both are called the middle.",
            (_interval(means=lambda numbers, draws: numbers[draws].median(1).values),
             _interval(numbers=lambda returns: returns.median(1).values)),
        ),
        "means_over_draws": Mistake(
            "the mean runs over the draws and leaves one number for each place in a draw; it runs over the agents.",
            "draws (B, N) have two axes, and mean(0) fits as well.",
            (_interval(means=lambda numbers, draws: numbers[draws].mean(0)),),
        ),
        "bell_of_draws": Mistake(
            "this is the mean plus and minus so many standard deviations of the draws, as of a bell; the shares of the "
            "draws themselves are asked for.",
            "for many agents it comes to the same. Of five, some of whom fail, the draws are no bell.",
            (_by_normal(lambda returns, draws: (returns.mean(), returns.mean(1)[draws].mean(1).std())),
             _by_normal(lambda returns, draws: (returns.mean(), returns.mean(1)[draws].mean(1).std(correction=0))),
             _by_normal(lambda returns, draws: (returns.mean(), returns.mean(1).std() / len(returns) ** 0.5)),
             _by_normal(lambda returns, draws: (returns.mean(), returns.std() / returns.numel() ** 0.5))),
        ),
    },
)  # fmt: skip


# The mean of the middle half ------------------------------------------------------------------------------------------


def _middle(scores: Tensor, left_out: Function = lambda count: count // 4) -> Tensor:
    ordered = scores.flatten().sort().values
    out = left_out(len(ordered))
    return ordered[out : len(ordered) - out].mean()


def _within(scores: Tensor) -> Tensor:
    every = scores.flatten()
    low, high = every.quantile(0.25), every.quantile(0.75)
    return every[(every >= low) & (every <= high)].mean()


def _one_sided(scores: Tensor, high: bool) -> Tensor:
    ordered = scores.flatten().sort(descending=high).values
    return ordered[len(ordered) // 4 :].mean()


INTERQUARTILE = Part(
    name="interquartile_mean",
    right=_middle,
    cases=(
        {"scores": torch.tensor([[9.0, 1.0, 4.0], [2.0, 30.0, 5.0]])},
        {"scores": torch.tensor([[3.0, 8.0, 1.0, 90.0], [7.0, 2.0, 60.0, 5.0]])},
        *(
            {"scores": uniform(seed, shape[0] + 1, shape[1] + 2, dtype=dtype).exp()}
            for seed, shape, dtype in variations()
        ),
    ),
    mistakes={
        "task_by_task": Mistake(
            "the middle half of each task is taken, and then the mean over tasks; all numbers are sorted together.",
            "sort and mean along an axis are at hand, and with many seeds it comes close.",
            (lambda scores: torch.stack([_middle(task) for task in scores]).mean(),
             lambda scores: torch.stack([_middle(seed) for seed in scores.T]).mean(),
             lambda scores: _middle(scores.mean(1)), lambda scores: _middle(scores.mean(0))),
        ),
        "not_sorted": Mistake(
            "the first and the last quarter in the order given are left out; the lowest and the highest are meant.",
            "the numbers of an example are often sorted already.",
            (lambda scores: scores.flatten()[scores.numel() // 4 : scores.numel() - scores.numel() // 4].mean(),),
        ),
        "mean_of_all": Mistake(
            "nothing is left out: this is the mean.",
            "it is what the word says without its first half.",
            (lambda scores: scores.mean(),),
        ),
        "median_of_all": Mistake(
            "this is the median: nearly all is left out.",
            "both are deaf to the extremes. The median hears one number, the interquartile mean half of them.",
            (lambda scores: scores.median(), lambda scores: scores.flatten().quantile(0.5)),
        ),
        "between_quartiles": Mistake(
            "the numbers between the quartiles are taken; how many these are depends on how the quartiles were "
            "interpolated. A quarter of the count, rounded down, is left out at each end.",
            "quantile(0.25) sounds like the place where to cut.",
            (_within,),
        ),
        "mean_of_quartiles": Mistake(
            "this is the mean of the two quartiles; the mean of all that lies between them is meant.",
            "the name has both words.",
            (lambda scores: scores.flatten().quantile(torch.tensor([0.25, 0.75], dtype=scores.dtype)).mean(),),
        ),
        "interquartile_range": Mistake(
            "this is the distance of the quartiles, the interquartile range: how wide, not where.",
            "the name differs in one word.",
            (lambda scores: scores.flatten().quantile(0.75) - scores.flatten().quantile(0.25),),
        ),
        "one_end_only": Mistake(
            "only one end is cut off, and the mean is pushed to the other.",
            "the broken runs are the ones one wants to forget; then the lucky ones must go, too.",
            (lambda scores: _one_sided(scores, False), lambda scores: _one_sided(scores, True)),
        ),
        "half_at_each_end": Mistake(
            "more or less than a quarter is left out at each end.",
            "a quarter at each end is a half in all.",
            (lambda scores: _middle(scores, lambda count: count // 8),
             lambda scores: _middle(scores, lambda count: 3 * count // 8),
             lambda scores: _middle(scores, lambda count: count // 10)),
        ),
        "quarter_rounded": Mistake(
            "a quarter of the count is rounded up; it is rounded down.",
            "where the count is no multiple of four, one number more is lost at each end.",
            (lambda scores: _middle(scores, lambda count: -(-count // 4)),),
        ),
    },
)  # fmt: skip


# Seed by seed ---------------------------------------------------------------------------------------------------------


def _matched(difference: Function = lambda new, old: new - old) -> Function:
    def matched_differences(new_seeds: Tensor, new: Tensor, old_seeds: Tensor, old: Tensor) -> Tensor:
        shared = sorted({*new_seeds.tolist()} & {*old_seeds.tolist()})
        pairs = [(new[new_seeds == seed], old[old_seeds == seed]) for seed in shared]
        return torch.cat([difference(*pair) for pair in pairs])

    return matched_differences


def _in_order(new_seeds: Tensor, new: Tensor, old_seeds: Tensor, old: Tensor) -> Tensor:
    count = min(len(new), len(old))
    return new[:count] - old[:count]


def _by_place(order: Function) -> Function:
    return lambda new_seeds, new, old_seeds, old: _in_order(new_seeds, order(new), old_seeds, order(old))


def _from_mean(of_new: bool) -> Function:
    """One side seed by seed, the other by its mean."""

    def matched_differences(new_seeds: Tensor, new: Tensor, old_seeds: Tensor, old: Tensor) -> Tensor:
        shared = sorted({*new_seeds.tolist()} & {*old_seeds.tolist()})
        if of_new:
            return torch.cat([new[new_seeds == seed] - old.mean() for seed in shared])
        return torch.cat([new.mean() - old[old_seeds == seed] for seed in shared])

    return matched_differences


def _first_order(new_seeds: Tensor, new: Tensor, old_seeds: Tensor, old: Tensor) -> Tensor:
    pairs = [(x, old[old_seeds == seed]) for seed, x in zip(new_seeds.tolist(), new, strict=True)]
    return torch.cat([x - other for x, other in pairs if len(other)])


def _missing_as_zero(new_seeds: Tensor, new: Tensor, old_seeds: Tensor, old: Tensor) -> Tensor:
    def of(seed: int, seeds: Tensor, returns: Tensor) -> Tensor:
        return returns[seeds == seed] if (seeds == seed).any() else returns.new_zeros(1)

    every = sorted({*new_seeds.tolist()} | {*old_seeds.tolist()})
    return torch.cat([of(seed, new_seeds, new) - of(seed, old_seeds, old) for seed in every])


def _matched_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    count = shape[1] + 3
    generator = torch.Generator().manual_seed(seed)
    new, old = torch.randperm(count + 2, generator=generator), torch.randperm(count + 2, generator=generator)
    return {
        "new_seeds": 100 + new[:count],
        "new": uniform(seed, count, dtype=dtype, low=0.0, high=500.0),
        "old_seeds": 100 + old[: count + 1],
        "old": uniform(seed + 1, count + 1, dtype=dtype, low=0.0, high=500.0),
    }


def _by_sorted_place(new_seeds: Tensor, new: Tensor, old_seeds: Tensor, old: Tensor) -> Tensor:
    both = int(torch.isin(new_seeds, old_seeds).sum())
    return new[new_seeds.argsort()][:both] - old[old_seeds.argsort()][:both]


MATCHED = Part(
    name="matched_differences",
    right=_matched(),
    cases=(
        {
            "new_seeds": torch.tensor([3, 1, 2]),
            "new": torch.tensor([30.0, 11.0, 25.0]),
            "old_seeds": torch.tensor([1, 4, 3]),
            "old": torch.tensor([10.0, 40.0, 20.0]),
        },
        *(_matched_case(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "matched_by_place": Mistake(
            "returns are matched by their place in the rows; those of one seed belong together.",
            "both rows were written by the same loop. Files come back in another order, and a run was repeated.",
            (_in_order, _by_place(lambda returns: returns.flip(0))),
        ),
        "matched_by_size": Mistake(
            "the best is matched with the best, and so on; those of one seed belong together.",
            "sorted numbers look tidy. Sorting both makes the differences alike, and their interval far too narrow.",
            (_by_place(lambda returns: returns.sort().values),
             _by_place(lambda returns: returns.sort(descending=True).values)),
        ),
        "difference_upside_down": Mistake(
            "the sign is the other way round: a positive difference shall mean that the new one is ahead.",
            "old minus new is the order in which they were measured.",
            (_matched(lambda new, old: old - new),),
        ),
        "relative_difference": Mistake(
            "this is relative to the old return, which has no meaning where returns are negative or near zero.",
            "percentages sell.",
            (_matched(lambda new, old: (new - old) / old), _matched(lambda new, old: new / old)),
        ),
        "difference_from_mean": Mistake(
            "the mean of all old ones is subtracted: what a seed did to both of them stays in the difference.",
            "one number for the old agent is what a table shows.",
            (_from_mean(True), _from_mean(False)),
        ),
        "order_of_first_row": Mistake(
            "the differences come in the order of the first row; they come by ascending seed.",
            "a loop over what was measured gives them so.",
            (_first_order,),
        ),
        "missing_is_zero": Mistake(
            "a seed that only one side has counts as a return of 0 of the other; it is left out.",
            "a table filled up with zeros has no holes.",
            (_missing_as_zero,),
        ),
        "matched_after_sorting": Mistake(
            "both sides are sorted and matched by place: a seed that only one side has shifts all after it.",
            "with the same seeds on both sides it is right.",
            (_by_sorted_place,),
        ),
    },
)  # fmt: skip


# Chosen by some seeds, told by others ---------------------------------------------------------------------------------


def _chosen(
    best: Function = lambda tuning, fresh: tuning.mean(1).argmax(),
    promised: Function = lambda tuning, fresh, i: tuning[i].mean(),
    kept: Function = lambda tuning, fresh, i: fresh[i].mean(),
) -> Function:
    """The right report with one piece exchanged."""

    def promised_and_kept(tuning: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor]:
        i = best(tuning, fresh)
        return promised(tuning, fresh, i), kept(tuning, fresh, i)

    return promised_and_kept


CHOSEN = Part(
    name="promised_and_kept",
    right=_chosen(),
    container=tuple,
    returns=("promised", "kept"),
    cases=(
        {
            "tuning": torch.tensor([[5.0, 6.0], [9.0, 1.0], [7.0, 8.0]]),
            "fresh": torch.tensor([[8.0, 9.0, 7.0], [3.0, 9.0, 9.0], [6.0, 5.0, 4.0]]),
        },
        *(
            {
                "tuning": uniform(seed, shape[0] + 4, shape[1] + 1, dtype=dtype, low=0.0, high=100.0),
                "fresh": uniform(seed + 1, shape[0] + 4, shape[1] + 3, dtype=dtype, low=0.0, high=100.0),
            }
            for seed, shape, dtype in variations()
        ),
    ),
    mistakes={
        "chosen_by_fresh": Mistake(
            "the options are chosen by the fresh seeds: then they are fresh no more, and what they say is flattered.",
            "both tables lie side by side, and the better one is so easily seen.",
            (_chosen(best=lambda tuning, fresh: fresh.mean(1).argmax()),
             _chosen(best=lambda tuning, fresh: fresh.max(1).values.argmax()),
             _chosen(kept=lambda tuning, fresh, i: fresh.mean(1).max())),
        ),
        "chosen_by_both": Mistake(
            "the options are chosen by all seeds together; fresh ones have no say.",
            "more seeds are better, one thinks.",
            (_chosen(best=lambda tuning, fresh: torch.cat([tuning, fresh], 1).mean(1).argmax()),
             _chosen(best=lambda tuning, fresh: (tuning.mean(1) + fresh.mean(1)).argmax())),
        ),
        "chosen_by_best_seed": Mistake(
            "the options with the best single run are chosen; it is the mean over seeds that decides.",
            "the best curve is the one that is remembered.",
            (_chosen(best=lambda tuning, fresh: tuning.max(1).values.argmax()),
             _chosen(best=lambda tuning, fresh: tuning.max(1).values.argmax(),
                     promised=lambda tuning, fresh, i: tuning.max()),
             _chosen(promised=lambda tuning, fresh, i: tuning[i].max())),
        ),
        "seeds_together": Mistake(
            "what is kept is told by tuning seeds and fresh ones together.",
            "all runs of the chosen options are at hand, and leaving some out looks like waste.",
            (_chosen(kept=lambda tuning, fresh, i: torch.cat([tuning[i], fresh[i]]).mean()),
             _chosen(kept=lambda tuning, fresh, i: (tuning[i].mean() + fresh[i].mean()) / 2)),
        ),
        "kept_of_all": Mistake(
            "what is kept is the mean over all options; only the chosen ones are reported.",
            "mean() without an axis is one word.",
            (_chosen(kept=lambda tuning, fresh, i: fresh.mean()),),
        ),
        "tuning_told_twice": Mistake(
            "the tuning seeds speak twice, and the fresh ones never.",
            "two rows of one table have one name too many.",
            (_chosen(kept=lambda tuning, fresh, i: tuning[i].mean()),),
        ),
        "worst_chosen": Mistake(
            "the options with the lowest mean are chosen.",
            "argmin is for losses; these are returns.",
            (_chosen(best=lambda tuning, fresh: tuning.mean(1).argmin()),),
        ),
    },
)  # fmt: skip


# Two orders of the same things ----------------------------------------------------------------------------------------


def _places(values: Tensor) -> Tensor:
    """Places from 0; equal numbers share the mean of theirs."""
    below, same = (values[:, None] > values).sum(1), (values[:, None] == values).sum(1)
    return (below + (same - 1) / 2).to(values)


def _pearson(one: Tensor, other: Tensor) -> Tensor:
    one, other = one - one.mean(), other - other.mean()
    return (one * other).sum() / (one.square().sum() * other.square().sum()).sqrt()


def _ranked(places: Function = _places, compare: Function = _pearson) -> Function:
    return lambda one, other: compare(places(one), places(other))


def _formula(one: Tensor, other: Tensor) -> Tensor:
    count = len(one)
    return 1 - 6 * (one - other).square().sum() / (count * (count**2 - 1))


def _kendall(one: Tensor, other: Tensor) -> Tensor:
    i, j = torch.triu_indices(len(one), len(one), 1)
    return ((one[i] - one[j]).sign() * (other[i] - other[j]).sign()).mean()


def _rank_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    count = shape[1] + 5
    one = uniform(seed, count, dtype=dtype)
    other = (one + uniform(seed + 1, count, dtype=dtype)).exp()
    return {"one": (4 * one).round() / 4 if seed % 20 else one, "other": other}


def _of_argsorts(one: Tensor, other: Tensor) -> Tensor:
    return torch.corrcoef(torch.stack([one.argsort(), other.argsort()]).double())[0, 1].to(one)


RANKS = Part(
    name="rank_correlation",
    right=_ranked(),
    cases=(
        {"one": torch.tensor([1.0, 4.0, 2.0, 9.0]), "other": torch.tensor([10.0, 30.0, 20.0, 25.0])},
        {"one": torch.tensor([2.0, 1.0, 2.0, 5.0, 1.0]), "other": torch.tensor([3.0, -1.0, 40.0, 9.0, 2.0])},
        *(_rank_case(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "values_not_ranks": Mistake(
            "this correlates the numbers themselves; their places in order are meant. One number far out decides all.",
            "corrcoef takes numbers, and ranks are one more line.",
            (_pearson,),
        ),
        "argsort_once": Mistake(
            "argsort says which number comes at each place, and not at which place each number comes; argsort of "
            "argsort does.",
            "the two agree wherever a permutation is its own inverse, as in the smallest examples.",
            (_ranked(lambda values: values.argsort(stable=True).to(values)),
             _ranked(lambda values: values.argsort(descending=True, stable=True).to(values))),
        ),
        "ties_by_place": Mistake(
            "of equal numbers the first gets the lower place; they share the mean of theirs.",
            "argsort has to put them in some order.",
            (_ranked(lambda values: values.argsort(stable=True).argsort().to(values)),
             _ranked(lambda values: values.argsort(stable=True).argsort().to(values), _formula)),
        ),
        "ties_at_the_lowest": Mistake(
            "equal numbers all get the lowest, or the highest, of their places; they share the mean.",
            "counting how many are smaller gives that.",
            (_ranked(lambda values: (values[:, None] > values).sum(1).to(values)),
             _ranked(lambda values: (values[:, None] >= values).sum(1).to(values)),
             _ranked(lambda values: values.unique(return_inverse=True)[1].to(values))),
        ),
        "formula_without_ties": Mistake(
            "1 - 6 sum d^2 / (n (n^2 - 1)) holds only where no two numbers are equal.",
            "it is the formula in most books.",
            (_ranked(compare=_formula),),
        ),
        "kendalls_tau": Mistake(
            "this is Kendall's tau, which counts pairs in the same order; Spearman's correlation is asked for.",
            "both are rank correlations from -1 to 1.",
            (_kendall,),
        ),
        "one_side_ranked": Mistake(
            "only one of the two rows is ranked.",
            "the other one looked like ranks already.",
            (lambda one, other: _pearson(_places(one), other), lambda one, other: _pearson(one, _places(other))),
        ),
        "order_upside_down": Mistake(
            "one row is ranked from below and the other from above: the sign is wrong.",
            "the best comes first in a table, the lowest first in a sort.",
            (lambda one, other: -_pearson(_places(one), _places(other)),),
        ),
        "argsort_for_places": Mistake(
            "argsort says which number comes at each place; the place of each number is the argsort of that.",
            "both are a permutation of 0 .. N - 1, so nothing looks odd.",
            (_of_argsorts,),
        ),
    },
)  # fmt: skip

PARTS = (INTERVAL, INTERQUARTILE, MATCHED, CHOSEN, RANKS)
BUGS = ()
