"""The cross-entropy method: the plan fitted to the best candidates, the search, and what is left of a plan later."""

import torch
from torch import Tensor

from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part, Rule

# The plan that is fitted to the elites --------------------------------------------------------------------------------


def _refit(
    chosen: Function = lambda returns, elites: returns.topk(elites, dim=1).indices,
    mean: Function = lambda best, all_, returns: best.mean(1),
    spread: Function = lambda best, all_, mean: (((best - mean.unsqueeze(1)) ** 2).mean(1) + 1e-6).sqrt(),
) -> Function:
    """The right plan with one piece exchanged."""

    def refit(candidates: Tensor, returns: Tensor, elites: int) -> tuple[Tensor, Tensor]:
        which = chosen(returns, elites)
        best = candidates[torch.arange(len(candidates)).unsqueeze(1), which]  # (N, K, H, A)
        middle = mean(best, candidates, returns.gather(1, which))
        return middle, spread(best, candidates, middle)

    return refit


right_refit = _refit()


def _distance(best: Tensor, mean: Tensor, power: int = 1) -> Tensor:
    return (best - mean.unsqueeze(1)).abs() ** power


def _elites(shape: tuple[int, int]) -> int:
    return max(2, shape[1] // 2)


def _refit_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    count = shape[1] + 3
    return {
        "candidates": uniform(seed, shape[0], count, 3, 2, dtype=dtype, low=-1.0, high=1.0),
        "returns": uniform(seed + 1, shape[0], count, dtype=dtype),
        "elites": _elites(shape),
    }


REFIT = Part(
    name="refit",
    right=right_refit,
    container=tuple,
    returns=("mean", "std"),
    batched=("candidates", "returns"),
    cases=(
        {
            "candidates": torch.tensor([[[[-0.5]], [[0.2]], [[0.8]], [[0.4]]]]),
            "returns": torch.tensor([[-3.0, 5.0, 1.0, 4.0]]),
            "elites": 2,
        },
        *(_refit_case(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "std_of_all": Mistake(
            "the standard deviation is that of all candidates: the search goes on as widely as it began.",
            "mean and standard deviation are two lines, and one of them was written before the elites were chosen.",
            (_refit(spread=lambda best, all_, mean: (all_.var(1, correction=0) + 1e-6).sqrt()),
             _refit(spread=lambda best, all_, mean: (_distance(all_, mean, 2).mean(1) + 1e-6).sqrt()),
             _refit(spread=lambda best, all_, mean: all_.std(1, correction=0)),
             _refit(spread=lambda best, all_, mean: all_.std(1))),
        ),
        "std_not_refitted": Mistake(
            "only the mean is refitted; the standard deviation stays 1: the plan moves, and never narrows.",
            "the mean is what is acted on; but the next candidates are drawn with the standard deviation.",
            (_refit(spread=lambda best, all_, mean: torch.ones_like(mean)),),
        ),
        "mean_is_the_best": Mistake(
            "the mean is the best candidate; it is the mean of the elites.",
            "the best of many samples is also the one that is most flattered by the noise of the dream.",
            (_refit(mean=lambda best, all_, returns: best[:, 0]),
             _refit(mean=lambda best, all_, returns: best[:, 0],
                    spread=lambda best, all_, mean: (best.var(1, correction=0) + 1e-6).sqrt())),
        ),
        "elites_weighted": Mistake(
            "the elites are weighted by their returns; here they count the same.",
            "that is another planner (MPPI), which weights all candidates by the exponential of their returns.",
            (_refit(mean=lambda best, all_, returns: (returns.softmax(1)[..., None, None] * best).sum(1)),),
        ),
        "elites_of_one_world": Mistake(
            "the elites of the first environment are taken for all; each has its own.",
            "indices (N, K) are used beside a batch index, arange(N) as a column; one row of them fits, too.",
            (_refit(chosen=lambda returns, elites: returns.topk(elites, dim=1).indices[:1].expand(len(returns), -1)),
             _refit(chosen=lambda returns, elites: returns.mean(0, keepdim=True).topk(elites, dim=1).indices.expand(
                 len(returns), -1))),
        ),
        "variance_for_spread": Mistake(
            "this is the variance; the standard deviation is its root.",
            "var_mean is one call; std_mean is another.",
            (_refit(spread=lambda best, all_, mean: best.var(1, correction=0)),
             _refit(spread=lambda best, all_, mean: best.var(1, correction=0) + 1e-6),
             _refit(spread=lambda best, all_, mean: best.var(1))),
        ),
        "std_with_one_less": Mistake(
            "the squares are divided by K - 1, as torch's std does unless told otherwise; here by K.",
            "dividing by K - 1 estimates what samples came from; a plan is to be like its elites. With one it is nan.",
            (_refit(spread=lambda best, all_, mean: best.std(1)),
             _refit(spread=lambda best, all_, mean: (best.var(1) + 1e-6).sqrt())),
        ),
        "mean_distance": Mistake(
            "this is the mean distance from the mean, as the paper prints it; its code, and this check, take the root "
            "of the mean square.",
            "algorithm 2 has absolute values, divided by K - 1.",
            (_refit(spread=lambda best, all_, mean: _distance(best, mean).mean(1)),
             _refit(spread=lambda best, all_, mean: _distance(best, mean).sum(1) / max(1, best.shape[1] - 1))),
        ),
        "spread_without_floor": Mistake(
            "0.000001 is not added under the root: elites that agree leave a plan that cannot move.",
            "a variance is positive nearly always; once it is zero, all further candidates are the same.",
            (_refit(spread=lambda best, all_, mean: best.std(1, correction=0)),),
        ),
        "floor_beside_the_root": Mistake(
            "0.000001 is added to the standard deviation; it belongs to the variance, under the root.",
            "both keep the plan from standing still, and differ where the elites nearly agree.",
            (_refit(spread=lambda best, all_, mean: best.std(1, correction=0) + 1e-6),),
        ),
        "one_action_for_all_steps": Mistake(
            "mean and standard deviation run over the steps as well: the plan has the same action in each.",
            "mean() over two axes is one word, and the result is spread over H again.",
            (_refit(mean=lambda best, all_, returns: best.mean((1, 2)).unsqueeze(1).expand_as(best[:, 0]),
                    spread=lambda best, all_, mean: (best.var((1, 2), correction=0) + 1e-6).sqrt().unsqueeze(1)
                    .expand_as(mean)),
             _refit(mean=lambda best, all_, returns: best.mean((1, 2)).unsqueeze(1).expand_as(best[:, 0]))),
        ),
    },
)  # fmt: skip


# The search -----------------------------------------------------------------------------------------------------------


def search_with(
    drawn: Function = lambda mean, std, noise: (mean.unsqueeze(1) + std.unsqueeze(1) * noise).clamp(-1, 1),
    judged: Function = lambda actions: actions,
    fitted: Function = right_refit,
    rounds: Function = lambda noise: noise,
    taken: Function = lambda mean, candidates, returns: mean[:, 0],
) -> Function:
    """The right search with one piece exchanged."""

    def cross_entropy(score: Function, noise: Tensor, elites: int) -> tuple[Tensor, Tensor, Tensor]:
        mean = torch.zeros_like(noise[0, :, 0])  # (N, H, A)
        std = torch.ones_like(mean)
        for one in rounds(noise):
            candidates = drawn(mean, std, one)  # (N, J, H, A)
            returns = score(judged(candidates))
            mean, std = fitted(candidates, returns, elites)
        return taken(mean, candidates, returns), mean, std

    return cross_entropy


right_cross_entropy = search_with()


def _clipped_at_the_end(outputs: int, judged: Function) -> Function:
    """Candidates go where they like; the action is clipped, and the mean with it if two `outputs` are."""
    search = search_with(drawn=lambda mean, std, noise: mean.unsqueeze(1) + std.unsqueeze(1) * noise, judged=judged)
    return lambda *given: tuple(x.clamp(-1, 1) if i < outputs else x for i, x in enumerate(search(*given)))


def _best(mean: Tensor, candidates: Tensor, returns: Tensor) -> Tensor:
    return candidates[torch.arange(len(candidates)), returns.argmax(1), 0]


def _search_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    aim = uniform(seed, shape[0], 1, 3, 2, dtype=dtype, low=-1.5, high=1.5)  # some of it is out of reach
    generator = torch.Generator().manual_seed(seed + 1)
    return {
        "score": Rule("(N, J, 3, 2) -> (N, J)", lambda actions: -((actions - aim) ** 2).sum((-1, -2))),
        "noise": torch.randn(3, shape[0], shape[1] + 3, 3, 2, generator=generator, dtype=dtype),
        "elites": _elites(shape),
    }


CROSS_ENTROPY = Part(
    name="cross_entropy",
    right=right_cross_entropy,
    container=tuple,
    returns=("action", "mean", "std"),
    cases=(
        {
            "score": Rule("a -> -(a - 0.5)^2", lambda actions: -((actions - 0.5) ** 2).sum((-1, -2))),
            "noise": torch.tensor([[-1.0, 0.2, 0.6, 2.0], [-0.5, 1.5, 0.1, 1.0]]).reshape(2, 1, 4, 1, 1),
            "elites": 2,
        },
        *(_search_case(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "candidates_not_clipped": Mistake(
            "candidates leave -1..1: the plan is fitted to actions that can never be taken.",
            "the environment clips anyway; the model is asked about what it has never seen, or judged by what is not "
            "refitted.",
            (search_with(drawn=lambda mean, std, noise: mean.unsqueeze(1) + std.unsqueeze(1) * noise),
             search_with(drawn=lambda mean, std, noise: mean.unsqueeze(1) + std.unsqueeze(1) * noise,
                            judged=lambda actions: actions.clamp(-1, 1))),
        ),
        "plan_clipped_at_the_end": Mistake(
            "only the plan that is found is clipped, not the candidates.",
            "one clip before acting keeps the bounds, too; until then the search has looked beyond them.",
            tuple(_clipped_at_the_end(outputs, judged) for outputs in (1, 2)
                  for judged in (lambda actions: actions, lambda actions: actions.clamp(-1, 1))),
        ),
        "search_begins_again": Mistake(
            "every iteration draws around 0 with a standard deviation of 1 again: nothing narrows.",
            "the first plan is made inside of the loop.",
            (search_with(drawn=lambda mean, std, noise: noise.clamp(-1, 1)),),
        ),
        "spread_not_carried": Mistake(
            "candidates are always drawn with a standard deviation of 1 around the new mean.",
            "the noise is added, and not multiplied by the new standard deviation.",
            (search_with(drawn=lambda mean, std, noise: (mean.unsqueeze(1) + noise).clamp(-1, 1)),),
        ),
        "mean_not_carried": Mistake(
            "candidates are drawn around 0, only ever more narrowly: the plan is forgotten and its width kept.",
            "noise times std has a mean of 0; the plan's own must be added.",
            (search_with(drawn=lambda mean, std, noise: (std.unsqueeze(1) * noise).clamp(-1, 1)),),
        ),
        "drawn_with_variance": Mistake(
            "the noise is multiplied by the variance, or by the root of the standard deviation.",
            "a normal is written with its variance, and drawn with its standard deviation.",
            tuple(search_with(drawn=lambda mean, std, noise, wrong=wrong: (
                mean.unsqueeze(1) + wrong(std).unsqueeze(1) * noise).clamp(-1, 1))
                for wrong in (torch.square, torch.sqrt)),
        ),
        "iteration_missing": Mistake(
            "one iteration is missing.",
            "the plan after the last draw was not refitted, or the loop began at 1.",
            (search_with(rounds=lambda noise: noise[:-1]), search_with(rounds=lambda noise: noise[1:])),
        ),
        "noise_of_first_iteration": Mistake(
            "all iterations use the same noise.",
            "it was indexed before the loop; then every iteration tries the same pattern, only smaller.",
            (search_with(rounds=lambda noise: [noise[0]] * len(noise)),),
        ),
        "action_of_best_candidate": Mistake(
            "the action is that of the best candidate; it is the mean of the plan.",
            "the best one is at hand, and has the highest return ever seen; part of it is luck.",
            (search_with(taken=_best),),
        ),
        "action_of_some_candidate": Mistake(
            "the action is that of whichever candidate comes first; it is the mean of the plan.",
            "candidates[:, 0] has the right shape after one more index.",
            (search_with(taken=lambda mean, candidates, returns: candidates[:, 0, 0]),),
        ),
        "plan_averaged_over_steps": Mistake(
            "the action is the mean over all steps of the plan; the first one is to be taken.",
            "mean(1) of (N, H, A) has the right shape.",
            (search_with(taken=lambda mean, candidates, returns: mean.mean(1)),),
        ),
    },
)  # fmt: skip


# What is left of a plan one step later --------------------------------------------------------------------------------


def right_shifted_plan(mean: Tensor, is_first: Tensor) -> Tensor:
    """The plan (N, H, A) of the step before as a beginning for this one: without the action that was taken."""
    left = torch.cat([mean[:, 1:], torch.zeros_like(mean[:, :1])], 1)
    return left * ~is_first[:, None, None]


def _shifted(left: Function) -> tuple[Function, ...]:
    """Another remainder, with and without the reset."""
    return (lambda mean, is_first: left(mean) * ~is_first[:, None, None], lambda mean, is_first: left(mean))


def _shift_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    return {
        "mean": uniform(seed, *shape, 2, dtype=dtype, low=-1.0, high=1.0),
        "is_first": torch.arange(shape[0]) % 3 == 1,
    }


SHIFTED_PLAN = Part(
    name="shifted_plan",
    right=right_shifted_plan,
    batched=("mean", "is_first"),
    cases=(
        {"mean": torch.tensor([[[0.1], [0.2], [0.3]], [[0.4], [0.5], [0.6]]]), "is_first": torch.tensor([False, True])},
        *(_shift_case(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "plan_not_shifted": Mistake(
            "the plan is used as it was: every action comes one step late, and the one already taken is tried again.",
            "a plan looks like advice for now; it was advice for then.",
            _shifted(lambda mean: mean),
        ),
        "plan_rolled": Mistake(
            "the action that was taken comes back at the end.",
            "roll keeps the shape; what leaves at the front comes in at the back.",
            _shifted(lambda mean: mean.roll(-1, 1)),
        ),
        "plan_shifted_back": Mistake(
            "the plan is shifted the other way: two steps late.",
            "roll(1) and roll(-1) are easily confused.",
            (*_shifted(lambda mean: torch.cat([torch.zeros_like(mean[:, :1]), mean[:, :-1]], 1)),
             *_shifted(lambda mean: mean.roll(1, 1))),
        ),
        "last_action_held": Mistake(
            "the last action is repeated; of the new last step nothing is known, so it is 0.",
            "holding on is a fair guess in many controllers; a search without an opinion begins at 0.",
            _shifted(lambda mean: torch.cat([mean[:, 1:], mean[:, -1:]], 1)),
        ),
        "plan_shortened": Mistake(
            "the plan has become shorter: each step would look one step less far.",
            "the first action is dropped, and nothing is put at the end.",
            _shifted(lambda mean: mean[:, 1:]),
        ),
        "plan_survives_reset": Mistake(
            "where an episode begins, something is left of a plan for the end of another one.",
            "planners are written for one long life; is_first comes with the second episode.",
            (lambda mean, is_first: torch.cat([mean[:, 1:], torch.zeros_like(mean[:, :1])], 1),),
        ),
        "reset_upside_down": Mistake(
            "the plan is kept where an episode begins, and thrown away where it goes on.",
            "is_first is multiplied where its negation belongs.",
            (lambda mean, is_first: right_shifted_plan(mean, ~is_first),),
        ),
        "plan_thrown_away": Mistake(
            "nothing is left of any plan.",
            "that is how PlaNet plans, anew in each step; here what is known goes on.",
            (lambda mean, is_first: torch.zeros_like(mean),),
        ),
        "plan_kept_at_the_start": Mistake(
            "where an episode begins the plan of the one before is kept; it must be zeros.",
            "the mask chooses whether to shift; a new episode has no plan that could be kept.",
            (lambda mean, first: torch.where(first[:, None, None], mean, right_shifted_plan(mean, first)),),
        ),
    },
)  # fmt: skip

PARTS = (REFIT, CROSS_ENTROPY, SHIFTED_PLAN)
BUGS = ()
