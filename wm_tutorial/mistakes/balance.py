"""What is done with divergences: estimated from samples, balanced, and left alone below a threshold."""

from typing import Any

import torch
from torch import Tensor

from wm_tutorial.kl import balanced_kl as right_balanced_kl
from wm_tutorial.kl import gaussian_kl as right_gaussian_kl
from wm_tutorial.latents import Distribution, Gaussian
from wm_tutorial.mistakes.bug import GUIDE, TORCHRL, Bug
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.kl import (
    BY_HAND,
    CATEGORICAL_KL,
    GAUSSIAN_KL,
    GOLDEN,
    ONE_SIDE,
    THRESHOLD,
    TWO_GAUSSIANS,
    WORKED,
    balancing,
    divergence_of,
    kl_of_each_categorical,
    kl_of_each_gaussian,
    kl_teaching_posterior,
    kl_teaching_prior,
    prior_first,
    right_categorical_kl,
    two_gaussians,
)
from wm_tutorial.mistakes.part import Mistake, Part, of_wrong

# A divergence from samples --------------------------------------------------------------------------------------------


def right_sampled_kl(log_posterior: Tensor, log_prior: Tensor) -> Tensor:
    """(ratio - 1) - ln(ratio) with ratio = prior / posterior, averaged over the samples (the first axis)."""
    return _divergence_of_samples(log_posterior, log_prior).mean(0)


def _divergence_of_samples(log_posterior: Tensor, log_prior: Tensor) -> Tensor:
    log_ratio = log_prior - log_posterior
    return log_ratio.exp() - 1.0 - log_ratio


TWO_DENSITIES = ("log_posterior", "log_prior")

SAMPLED_KL = Part(
    name="sampled_kl",
    right=right_sampled_kl,
    gradient_to=TWO_DENSITIES,
    cases=(
        {"log_posterior": torch.tensor([[-1.0], [-2.0]]), "log_prior": torch.tensor([[-1.5], [-1.0]])},
        *(
            {name: uniform(seed + i, *shape, dtype=dtype, low=-3, high=1) for i, name in enumerate(TWO_DENSITIES)}
            for seed, shape, dtype in variations()
        ),
    ),
    mistakes={
        "estimator_plain": Mistake(
            "this is the mean of log posterior - log prior: right on average, but negative for some draws.",
            "it is the definition itself; the extra term has mean zero and is easily taken for useless.",
            (lambda log_posterior, log_prior: (log_posterior - log_prior).mean(0),),
        ),
        "estimator_ratio_inverted": Mistake(
            "the ratio is posterior / prior; samples of the posterior ask for prior / posterior, whose mean is 1.",
            "the posterior comes first everywhere else.",
            (lambda log_posterior, log_prior: right_sampled_kl(log_prior, log_posterior),),
        ),
        "estimator_one_missing": Mistake(
            "the -1 is missing: two equal distributions get 1 nat in place of 0.",
            "constants have no gradient, so training would not notice.",
            (lambda *given: right_sampled_kl(*given) + 1.0,),
        ),
        "estimator_log_missing": Mistake(
            "the logarithm of the ratio is missing, and what is left has mean zero whatever posterior and prior are.",
            "the term that was added takes the place of the one it was added to.",
            (lambda log_posterior, log_prior: ((log_prior - log_posterior).exp() - 1.0).mean(0),),
        ),
        "estimator_over_all": Mistake(
            "the mean runs over everything; only the first axis holds samples.",
            "mean() without an axis averages all.",
            (lambda *given: right_sampled_kl(*given).mean(),
             lambda *given: (each := right_sampled_kl(*given)).mean().expand_as(each)),
        ),
        "estimator_summed": Mistake(
            "the samples are summed; it must be their mean.",
            "latents are summed, samples are averaged.",
            (lambda *given: right_sampled_kl(*given) * len(given[0]),),
        ),
        "estimator_not_averaged": Mistake(
            "every sample keeps its number, or the mean runs over the last axis; the samples lie along the first.",
            "the last axis is the one that most reductions take.",
            (_divergence_of_samples, lambda *given: _divergence_of_samples(*given).mean(-1)),
        ),
        "estimator_sign": Mistake(
            "this is the mean of log prior - log posterior: minus the divergence.",
            "the logarithm of the ratio is that very difference; the divergence has the posterior in front.",
            (lambda log_posterior, log_prior: (log_prior - log_posterior).mean(0),),
        ),
        "estimator_negative": Mistake(
            "the sign is the other one: (ratio - 1) - ln(ratio) is never negative, and this is never positive.",
            "a divergence that is subtracted from a bound is easily given the minus twice.",
            (lambda *given: -right_sampled_kl(*given),),
        ),
        "estimator_clamped": Mistake(
            "negative terms are cut off or turned round, so that the average is too large.",
            "it makes every number positive, as asked; but only something with mean zero may be added.",
            (lambda log_posterior, log_prior: (log_posterior - log_prior).clamp(min=0).mean(0),
             lambda log_posterior, log_prior: (log_posterior - log_prior).abs().mean(0),
             lambda log_posterior, log_prior: (log_posterior - log_prior).mean(0).clamp(min=0)),
        ),
        "estimator_squared": Mistake(
            "this is the squared log-ratio: never negative, but right on average only where the two nearly agree.",
            "half of it is a known estimator, with little noise and a bias.",
            tuple(lambda log_q, log_p, half=half: (half * (log_p - log_q) ** 2).mean(0) for half in (0.5, 1.0)),
        ),
        "estimator_mixed": Mistake(
            "the ratio and its logarithm belong to different ratios: one has the prior above, the other below.",
            "a minus in front of a logarithm turns its ratio round.",
            (lambda log_q, log_p: ((log_p - log_q).exp() - 1 + (log_p - log_q)).mean(0),
             lambda log_q, log_p: ((log_q - log_p).exp() - 1 + (log_q - log_p)).mean(0)),
        ),
        "estimator_ratio_of_logarithms": Mistake(
            "the logarithms are divided; the ratio of densities is exp of their difference.",
            "the task speaks of a ratio, and logarithms are what is given.",
            (lambda log_q, log_p: (log_p / log_q - 1 - (log_p / log_q).log()).mean(0),
             lambda log_q, log_p: (log_p / log_q - 1 - (log_p - log_q)).mean(0)),
        ),
        "estimator_log_of_mean": Mistake(
            "the ratios are averaged before the logarithm is taken; the logarithm comes first.",
            "the mean was taken where the ratio was computed.",
            (lambda log_q, log_p: (ratio := (log_p - log_q).exp().mean(0)) - 1 - ratio.log(),),
        ),
        "estimator_weighted": Mistake(
            "the samples are weighed by the posterior's density; they already come as often as it says.",
            "the sum over all outcomes has that factor; the mean over samples has it in the samples.",
            (lambda log_q, log_p: (log_q.exp() * (log_q - log_p)).mean(0),
             lambda log_q, log_p: (log_q.exp() * (log_q - log_p)).sum(0),
             lambda *given: (given[0].exp() * _divergence_of_samples(*given)).mean(0),
             lambda *given: (given[0].exp() * _divergence_of_samples(*given)).sum(0)),
        ),
    },
)  # fmt: skip


# The balance of DreamerV2 ---------------------------------------------------------------------------------------------


def right_kl_balance(
    posterior_mean: Tensor, posterior_logvar: Tensor, prior_mean: Tensor, prior_logvar: Tensor, alpha: float
) -> Tensor:
    """alpha KL(sg(posterior) || prior) + (1 - alpha) KL(posterior || sg(prior))."""
    teaches_prior = kl_teaching_prior(posterior_mean, posterior_logvar, prior_mean, prior_logvar)
    teaches_posterior = kl_teaching_posterior(posterior_mean, posterior_logvar, prior_mean, prior_logvar)
    return alpha * teaches_prior + (1.0 - alpha) * teaches_posterior


ALPHA = 4  # of the arguments


def _stopped(given: tuple[Any, ...], *which: int) -> tuple[Any, ...]:
    return tuple(x.detach() if i in which else x for i, x in enumerate(given))


KL_BALANCE = Part(
    name="kl_balance",
    right=right_kl_balance,
    batched=TWO_GAUSSIANS,
    gradient_to=TWO_GAUSSIANS,
    cases=(
        {
            "posterior_mean": torch.tensor([[0.0, 1.0]]), "posterior_logvar": torch.tensor([[0.0, 1.0]]),
            "prior_mean": torch.tensor([[1.0, 1.0]]), "prior_logvar": torch.tensor([[0.0, 0.0]]), "alpha": 0.8,
        },
        *(two_gaussians(*variation) | {"alpha": 0.7} for variation in variations()),
        two_gaussians(99, (2, 3, 4), torch.float64) | {"alpha": 0.9},
    ),
    mistakes={
        "kl_half_reversed": Mistake(
            "one of the two terms is KL(prior || posterior): only the stop-gradient changes sides.",
            "swapping the two looks like the natural way to write the other half of a balance.",
            (lambda *given: given[ALPHA] * kl_teaching_prior(*given[:ALPHA])
             + (1 - given[ALPHA]) * prior_first(kl_teaching_prior)(*given[:ALPHA]),
             lambda *given: given[ALPHA] * kl_teaching_prior(*given[:ALPHA])
             + (1 - given[ALPHA]) * prior_first(kl_teaching_posterior)(*given[:ALPHA]),
             lambda *given: given[ALPHA] * prior_first(kl_teaching_posterior)(*given[:ALPHA])
             + (1 - given[ALPHA]) * kl_teaching_posterior(*given[:ALPHA]),
             lambda *given: given[ALPHA] * prior_first(kl_teaching_prior)(*given[:ALPHA])
             + (1 - given[ALPHA]) * kl_teaching_posterior(*given[:ALPHA])),
        ),
        "balance_posterior_frozen": Mistake(
            "the posterior never learns: it is stopped in both terms.",
            "it was detached once, at the top of the function.",
            (lambda *given: right_kl_balance(*_stopped(given, 0, 1)),
             lambda *given: kl_teaching_prior(*given[:ALPHA])),
        ),
        "balance_prior_frozen": Mistake(
            "the prior never learns: it is stopped in both terms.",
            "it was detached once, at the top of the function.",
            (lambda *given: right_kl_balance(*_stopped(given, 2, 3)),
             lambda *given: kl_teaching_posterior(*given[:ALPHA])),
        ),
        "balance_half_stopped": Mistake(
            "in one of the two terms no side is stopped, so that it teaches both.",
            "one detach seems enough to make the terms differ; each needs its own.",
            (lambda *given: given[ALPHA] * kl_teaching_prior(*given[:ALPHA])
             + (1 - given[ALPHA]) * right_gaussian_kl(*given[:ALPHA]),
             lambda *given: given[ALPHA] * right_gaussian_kl(*given[:ALPHA])
             + (1 - given[ALPHA]) * kl_teaching_posterior(*given[:ALPHA])),
        ),
        "balance_part_stopped": Mistake(
            "only the means are stopped, or only the log-variances; a side is stopped with both.",
            "a distribution is two tensors here, and one of them is easily left out.",
            tuple(lambda *given, k=k: given[ALPHA] * right_gaussian_kl(*_stopped(given[:ALPHA], k))
                  + (1 - given[ALPHA]) * right_gaussian_kl(*_stopped(given[:ALPHA], 2 + k)) for k in (0, 1)),
        ),
        "balance_result_stopped": Mistake(
            "a divergence itself is detached, so that its term teaches nobody; one side of it must go on learning.",
            "detach() was put behind the call, or no_grad() around it; it belongs to the arguments.",
            (lambda *given: given[ALPHA] * right_gaussian_kl(*given[:ALPHA]).detach()
             + (1 - given[ALPHA]) * right_gaussian_kl(*given[:ALPHA]),
             lambda *given: given[ALPHA] * right_gaussian_kl(*given[:ALPHA])
             + (1 - given[ALPHA]) * right_gaussian_kl(*given[:ALPHA]).detach(),
             lambda *given: right_kl_balance(*given).detach()),
        ),
        "balance_unweighted": Mistake(
            "a term goes without its weight; alpha and 1 - alpha stand in front of one each.",
            "DreamerV3 adds the two with weights from elsewhere; here both weights belong into the function.",
            (lambda *given: kl_teaching_prior(*given[:ALPHA]) + kl_teaching_posterior(*given[:ALPHA]),
             lambda *given: given[ALPHA] * kl_teaching_prior(*given[:ALPHA]) + kl_teaching_posterior(*given[:ALPHA]),
             lambda *given: kl_teaching_prior(*given[:ALPHA])
             + (1 - given[ALPHA]) * kl_teaching_posterior(*given[:ALPHA]),
             lambda *given: kl_teaching_prior(*given[:ALPHA]) + given[ALPHA] * kl_teaching_posterior(*given[:ALPHA])),
        ),
        "balance_half_missing": Mistake(
            "only one of the two terms is there.",
            "the term that teaches the prior is the one that is talked about.",
            (lambda *given: given[ALPHA] * kl_teaching_prior(*given[:ALPHA]),
             lambda *given: (1 - given[ALPHA]) * kl_teaching_posterior(*given[:ALPHA])),
        ),
        "balance_alpha_fixed": Mistake(
            "the weights are written down as numbers, and alpha is not used.",
            "0.8 and 0.2 are DreamerV2's, 1 and 0.1 DreamerV3's.",
            tuple(lambda *given, a=a, b=b: a * kl_teaching_prior(*given[:ALPHA])
                  + b * kl_teaching_posterior(*given[:ALPHA]) for a, b in ((0.8, 0.2), (1.0, 0.1), (0.5, 0.5))),
        ),
        "balance_alpha_twice": Mistake(
            "both terms are weighed by alpha; the second one takes 1 - alpha.",
            "the second line was copied from the first.",
            (lambda *given:
             given[ALPHA] * (kl_teaching_prior(*given[:ALPHA]) + kl_teaching_posterior(*given[:ALPHA])),),
        ),
    },
)  # fmt: skip


# Free nats ------------------------------------------------------------------------------------------------------------


def right_teaching_share(kl: Tensor, free_nats: float) -> Tensor:
    """The share of the states (B, T) whose divergence, summed over the latents, is above the threshold."""
    return (kl.sum(-1) > free_nats).to(kl.dtype).mean()


TEACHING_SHARE = Part(
    name="teaching_share",
    right=right_teaching_share,
    cases=(
        {"kl": torch.tensor([[[0.25, 0.5], [0.75, 0.75]], [[0.0, 3.0], [0.5, 0.5]]]), "free_nats": 1.0},
        *(
            {"kl": uniform(seed, *shape, 4, dtype=dtype, low=0, high=1), "free_nats": 2.0}
            for seed, shape, dtype in variations()
        ),
        {"kl": uniform(98, 5, 4, 3, dtype=torch.float64, low=0, high=1) ** 3, "free_nats": 0.5},
    ),
    mistakes={
        "kl_mean_over_latents": Mistake(
            "the mean over the latents in place of their sum.",
            "losses are averaged, mostly; but free nats count the information of all latents together.",
            (lambda kl, free_nats: (kl.mean(-1) > free_nats).to(kl.dtype).mean(),),
        ),
        "share_of_the_silent": Mistake(
            "this is the share of the states that teach nothing.",
            "the threshold is a lower clamp, and what is below looks like what is meant.",
            (lambda kl, free_nats: (kl.sum(-1) <= free_nats).to(kl.dtype).mean(),
             lambda kl, free_nats: (kl.sum(-1) < free_nats).to(kl.dtype).mean()),
        ),
        "share_at_threshold": Mistake(
            "a state with exactly the free nats is counted; it pays nothing that it could save.",
            "> and >= seldom differ, except where the first states carry exactly what is free.",
            (lambda kl, free_nats: (kl.sum(-1) >= free_nats).to(kl.dtype).mean(),),
        ),
        "share_not_divided": Mistake(
            "the states are counted; it must be their share.",
            "sum() in place of mean().",
            (lambda kl, free_nats: (kl.sum(-1) > free_nats).to(kl.dtype).sum(),),
        ),
        "share_of_another_number": Mistake(
            "the count is divided by the sequences, the rows or all latents; there are B times T states.",
            "len() gives the first axis, numel() counts the latents too.",
            tuple(lambda kl, free_nats, of=of: (kl.sum(-1) > free_nats).to(kl.dtype).sum() / of(kl)
                  for of in (len, lambda kl: kl.shape[1], torch.numel)),
        ),
        "share_kept_apart": Mistake(
            "there is a share for each sequence or for each row; it must be one number.",
            "mean(-1) or mean(0) leaves an axis.",
            tuple(lambda kl, free_nats, axis=axis: (kl.sum(-1) > free_nats).to(kl.dtype).mean(axis)
                  for axis in (0, 1)),
        ),
        "share_over_rows": Mistake(
            "the divergences of several rows are added; a state is one row, and its latents are added.",
            "the last axis holds the latents, and the one before it the rows.",
            (lambda kl, free_nats: (kl.sum(1) > free_nats).to(kl.dtype).mean(),
             lambda kl, free_nats: (kl.sum((1, 2)) > free_nats).to(kl.dtype).mean()),
        ),
        "share_of_means": Mistake(
            "states are averaged before they are compared; each is compared by itself.",
            "a sequence has one number in many a log.",
            tuple(lambda kl, free_nats, axis=axis: (kl.sum(-1).mean(axis) > free_nats).to(kl.dtype).mean()
                  for axis in (0, 1)),
        ),
        "share_of_every_latent": Mistake(
            "a state is counted if all of its latents are above the threshold; it is their sum that is compared.",
            "all and any make one answer out of those of the latents; but nats add up.",
            (lambda kl, free_nats: (kl > free_nats).all(-1).to(kl.dtype).mean(),),
        ),
        "share_in_nats": Mistake(
            "nats are averaged; the question is how many states there are, not by how much they are above.",
            "the clamped divergence is the loss, and at hand.",
            (lambda kl, free_nats: (kl.sum(-1) - free_nats).clamp(min=0).mean(),
             lambda kl, free_nats: kl.sum(-1).clamp(min=free_nats).mean(),
             lambda kl, free_nats: (total := kl.sum(-1))[total > free_nats].sum() / total.sum()),
        ),
    },
)  # fmt: skip


# In the package -------------------------------------------------------------------------------------------------------


def per_latent(posterior: Distribution, prior: Distribution) -> Tensor:
    """KL(posterior || prior) of each latent by itself, (..., Z) or (..., S)."""
    if isinstance(posterior, Gaussian) and isinstance(prior, Gaussian):
        return kl_of_each_gaussian(posterior.mean, posterior.logvar, prior.mean, prior.logvar)
    assert not isinstance(posterior, Gaussian) and not isinstance(prior, Gaussian)
    return kl_of_each_categorical(posterior.logits, prior.logits)


def free_nats_of_each_latent(
    posterior: Distribution, prior: Distribution, free_nats: float, of_mean: bool
) -> tuple[Tensor, ...]:
    """The threshold comes before the sum over latents."""
    terms = per_latent(posterior.detach(), prior), per_latent(posterior, prior.detach())
    return tuple(term.clamp(min=free_nats).sum(-1) for term in terms)


LEARN = "test_world_model.py::test_exactly_these_parts_learn_from_each_loss"

PARTS = (SAMPLED_KL, KL_BALANCE, TEACHING_SHARE)

BUGS = (
    Bug(
        name="kl_reversed",
        story="KL(prior || posterior) instead of KL(posterior || prior), unbalanced and without free nats.",
        symptom="The posterior spreads out until it says nothing: collapse.",
        innocent="The KL falls to zero, which looks like perfect prediction.",
        source=f"{GUIDE}, gaussian_kl and training of the world model",
        breaks="kl.balanced_kl, KL(posterior || prior)",
        caught_by=(WORKED, BY_HAND, GOLDEN),
        replaces=balancing(lambda posterior, prior, free_nats, of_mean:
            (divergence_of(prior, posterior), torch.zeros_like(divergence_of(prior, posterior)))),
        forms={
            GAUSSIAN_KL: Mistake(
                "KL(prior || posterior) is computed: the two distributions are swapped.",
                "the bars look symmetric, the divergence is not; the first one is where samples come from.",
                (prior_first(right_gaussian_kl),),
            ),
            CATEGORICAL_KL: Mistake(
                "KL(prior || posterior) is computed: the two distributions are swapped.",
                "the bars look symmetric, the divergence is not; the first one is where samples come from. "
                "torch's kl_div takes the second one first.",
                (lambda q, p, unimix: right_categorical_kl(p, q, unimix),),
            ),
            KL_BALANCE: Mistake(
                "KL(prior || posterior) is computed, and no side is stopped.",
                "KL is not symmetric, and which comes first is a convention that texts do not share.",
                (lambda *given: prior_first(right_gaussian_kl)(*given[:ALPHA]),),
            ),
        },
    ),
    Bug(
        name="kl_arguments_swapped",
        story="The two arguments of the divergence have changed places; stop-gradients and free nats are right.",
        symptom="The prior is paid for being narrow: dreams repeat the likeliest future and are sure of it.",
        innocent="Every loss; the divergence has about its usual size.",
        source="https://github.com/danijar/dreamerv2/issues/4", breaks="kl.balanced_kl, KL(posterior || prior)",
        caught_by=(WORKED, ONE_SIDE),
        replaces=balancing(lambda posterior, prior, free_nats, of_mean:
            right_balanced_kl(prior, posterior, free_nats)[::-1]),
        forms={KL_BALANCE: Mistake(
            "KL(prior || posterior) is computed: the two distributions are swapped.",
            "one of the two terms is turned round together with its stop-gradient, or both are.",
            (*of_wrong(prior_first(right_kl_balance), ALPHA, lambda alpha: 1 - alpha), prior_first(right_kl_balance)),
        )},
    ),
    Bug(
        name="stop_gradient_wrong_side",
        story="The stop-gradients are on the wrong sides: the large weight pulls the posterior, the small the prior.",
        symptom="The representation is made easy to predict before the dynamics have learned: little is left in it.",
        innocent="The divergence, which is the same number, and falls faster.",
        source="https://github.com/juliusfrost/dreamer-pytorch/pull/78", breaks="kl.balanced_kl, sg",
        caught_by=(ONE_SIDE, LEARN), replaces=balancing(lambda *given: right_balanced_kl(*given)[::-1]),
        forms={KL_BALANCE: Mistake(
            "alpha weighs what teaches the posterior; it belongs to what teaches the prior.",
            "the side that is detached is the one that does not learn, which is easily read the other way round.",
            of_wrong(right_kl_balance, ALPHA, lambda alpha: 1 - alpha),
        )},
    ),
    Bug(
        name="stop_gradient_missing",
        story="Without stop-gradients both terms teach both sides, and the balance is none.",
        symptom="The posterior is pulled towards a prior that knows nothing yet.",
        innocent="The divergence, which is the same number.",
        source=f"{TORCHRL}4073", breaks="kl.balanced_kl, sg",
        caught_by=(ONE_SIDE, LEARN),
        replaces=balancing(lambda posterior, prior, free_nats, of_mean:
            2 * (divergence_of(posterior, prior).clamp(min=free_nats),)),
        forms={KL_BALANCE: Mistake(
            "no side is stopped, so the number is right and alpha does nothing.",
            "alpha and 1 - alpha add up to 1: the balance shows in the gradients only.",
            (lambda *given: right_gaussian_kl(*given[:ALPHA]),
             lambda *given: given[ALPHA] * right_gaussian_kl(*given[:ALPHA])
             + (1 - given[ALPHA]) * right_gaussian_kl(*given[:ALPHA])),
        )},
    ),
    Bug(
        name="free_nats_per_latent",
        story="Every latent has the free nats for itself: the threshold comes before the sum over latents.",
        symptom="With 32 latents 32 nats are free: the prior learns nothing, and dreams dissolve.",
        innocent="The divergence shows the constant it is expected to end at, times the number of latents.",
        source=f"{TORCHRL}4073", breaks="kl.balanced_kl, free nats",
        caught_by=("test_kl.py::test_the_threshold_counts_the_sum_over_latents_not_each_latent",),
        replaces=balancing(free_nats_of_each_latent), needs={"free_nats": 1.0},
        forms={TEACHING_SHARE: Mistake(
            "each latent is compared with the threshold by itself; it is their sum that counts, 1.4 for two of 0.7.",
            "asking whether any latent is above, or clamping before the sum, looks like the same thing.",
            (lambda kl, free_nats: (kl > free_nats).to(kl.dtype).mean(),
             lambda kl, free_nats: (kl > free_nats).any(-1).to(kl.dtype).mean()),
        )},
    ),
    Bug(
        name="free_nats_of_mean",
        story="The threshold is applied to the mean over the batch, not to each state.",
        symptom="One surprising state lets all others be squeezed; or one quiet batch stops all learning.",
        innocent="The divergence.",
        source="https://github.com/weipu-zhang/STORM/issues/12", breaks="kl.balanced_kl, free nats",
        caught_by=("test_kl.py::test_the_threshold_comes_before_any_mean", THRESHOLD),
        replaces=balancing(lambda posterior, prior, free_nats, of_mean:
            right_balanced_kl(posterior, prior, free_nats, of_mean=True)),
        needs={"free_nats": 1.0, "free_nats_of": "state"},
        forms={TEACHING_SHARE: Mistake(
            "the mean over all states is compared with the threshold: then all states teach, or none.",
            "the mean is what is logged, and what the loss is in the end.",
            (lambda kl, free_nats: (kl.sum(-1).mean() > free_nats).to(kl.dtype),),
        )},
    ),
    Bug(
        name="free_nats_missing",
        story="The divergence has no threshold.",
        symptom="Small details leave the latent, because saying nothing about them is cheaper.",
        innocent="The divergence, which is lower than with free nats.",
        source=f"{GUIDE}, training of the world model", breaks="kl.balanced_kl, free nats",
        caught_by=(THRESHOLD, "test_kl.py::test_never_below_free_nats_and_unchanged_above"),
        replaces=balancing(lambda posterior, prior, free_nats, of_mean:
            right_balanced_kl(posterior, prior, 0.0, of_mean)),
        needs={"free_nats": 1.0},
        forms={TEACHING_SHARE: Mistake(
            "there is no threshold: every state whose divergence is not zero is said to teach.",
            "without free nats the loss is the divergence itself, which always has a gradient.",
            (lambda kl, free_nats: (kl.sum(-1) > 0).to(kl.dtype).mean(),
             lambda kl, free_nats: kl.new_ones(())),
        )},
    ),
)  # fmt: skip
