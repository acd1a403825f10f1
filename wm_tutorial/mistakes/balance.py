"""What is done with divergences: estimated from samples, balanced, and left alone below a threshold."""

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
    log_ratio = log_prior - log_posterior
    return (log_ratio.exp() - 1.0 - log_ratio).mean(0)


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
            "the term with 1 - alpha is KL(prior || posterior): only the stop-gradient changes sides.",
            "swapping the two looks like the natural way to write the other half of a balance.",
            (lambda *given: given[ALPHA] * kl_teaching_prior(*given[:ALPHA])
             + (1 - given[ALPHA]) * prior_first(kl_teaching_prior)(*given[:ALPHA]),),
        ),
        "balance_posterior_frozen": Mistake(
            "the posterior never learns: it is stopped in both terms.",
            "it was detached once, at the top of the function.",
            (lambda *given: right_kl_balance(*(x.detach() for x in given[:2]), *given[2:]),),
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
        {"kl": torch.tensor([[[0.25, 0.5], [0.75, 0.75]], [[0.0, 3.0], [0.5, 0.0]]]), "free_nats": 1.0},
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
            (lambda kl, free_nats: (kl.sum(-1) <= free_nats).to(kl.dtype).mean(),),
        ),
        "share_not_divided": Mistake(
            "the states are counted; it must be their share.",
            "sum() in place of mean().",
            (lambda kl, free_nats: (kl.sum(-1) > free_nats).to(kl.dtype).sum(),),
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
            "each latent is compared with the threshold by itself; it is their sum that counts.",
            "clamping first and summing afterwards looks like the same thing.",
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
