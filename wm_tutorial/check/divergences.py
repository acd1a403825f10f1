"""What is done with divergences: estimated from samples, balanced, and left alone below a threshold."""

import torch
from torch import Tensor

from wm_tutorial.check.diagnosis import examine
from wm_tutorial.kl import gaussian_kl as right_gaussian_kl
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part

# A divergence from samples --------------------------------------------------------------------------------------------


def right_sampled_kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """(ratio - 1) - ln(ratio) with ratio = q / p, averaged over the samples (the first axis)."""
    log_ratio = log_q - log_p
    return (log_ratio.exp() - 1.0 - log_ratio).mean(0)


SAMPLED_KL = Part(
    name="sampled_kl",
    right=right_sampled_kl,
    gradient_to=("log_p", "log_q"),
    cases=(
        {"log_p": torch.tensor([[-1.0], [-2.0]]), "log_q": torch.tensor([[-1.5], [-1.0]])},
        *(
            {name: uniform(seed + i, *shape, dtype=dtype, low=-3, high=1) for i, name in enumerate(("log_p", "log_q"))}
            for seed, shape, dtype in variations()
        ),
    ),
    mistakes={
        "estimator_plain": Mistake(
            "this is the mean of log p - log q: right on average, but negative for some draws.",
            "it is the definition itself; the extra term has mean zero and is easily taken for useless.",
            (lambda log_p, log_q: (log_p - log_q).mean(0),),
        ),
        "estimator_ratio_inverted": Mistake(
            "the ratio is p / q; samples of p ask for q / p, whose mean is 1.",
            "p comes first everywhere else.",
            (lambda log_p, log_q: right_sampled_kl(log_q, log_p),),
        ),
        "estimator_one_missing": Mistake(
            "the -1 is missing: two equal distributions get 1 nat in place of 0.",
            "constants have no gradient, so training would not notice.",
            (lambda log_p, log_q: ((log_q - log_p).exp() - (log_q - log_p)).mean(0),),
        ),
        "estimator_log_missing": Mistake(
            "the logarithm of the ratio is missing, and what is left has mean zero whatever p and q are.",
            "the term that was added takes the place of the one it was added to.",
            (lambda log_p, log_q: ((log_q - log_p).exp() - 1.0).mean(0),),
        ),
        "estimator_over_all": Mistake(
            "the mean runs over everything; only the first axis holds samples.",
            "mean() without an axis averages all.",
            (lambda log_p, log_q: right_sampled_kl(log_p, log_q).mean(),
             lambda log_p, log_q: right_sampled_kl(log_p, log_q).mean().expand(log_p.shape[1:])),
        ),
        "estimator_summed": Mistake(
            "the samples are summed; it must be their mean.",
            "latents are summed, samples are averaged.",
            (lambda log_p, log_q: right_sampled_kl(log_p, log_q) * len(log_p),),
        ),
    },
)  # fmt: skip


def sampled_kl(function: Function) -> bool:
    """Check `sampled_kl(log_p, log_q)`: KL(p || q) estimated from N samples of p, never negative.

    log_p  (N, B) log-density of each sample under p
    log_q  (N, B) of the same samples under q
    ->     (B,), the mean over the N samples of (q/p - 1) - ln(q/p)

    check.sampled_kl(my_sampled_kl)
    """
    return examine(SAMPLED_KL, function)


# The balance of DreamerV2 ---------------------------------------------------------------------------------------------


def right_kl_balance(mean_p: Tensor, logvar_p: Tensor, mean_q: Tensor, logvar_q: Tensor, alpha: float) -> Tensor:
    """alpha KL(sg(p) || q) + (1 - alpha) KL(p || sg(q))."""
    teaches_prior = right_gaussian_kl(mean_p.detach(), logvar_p.detach(), mean_q, logvar_q)
    teaches_posterior = right_gaussian_kl(mean_p, logvar_p, mean_q.detach(), logvar_q.detach())
    return alpha * teaches_prior + (1.0 - alpha) * teaches_posterior


def _two(seed: int, shape: tuple[int, ...], dtype: torch.dtype, alpha: float) -> Arguments:
    names = ("mean_p", "logvar_p", "mean_q", "logvar_q")
    return {name: uniform(seed + i, *shape, dtype=dtype) for i, name in enumerate(names)} | {"alpha": alpha}


KL_BALANCE = Part(
    name="kl_balance",
    right=right_kl_balance,
    batched=("mean_p", "logvar_p", "mean_q", "logvar_q"),
    gradient_to=("mean_p", "logvar_p", "mean_q", "logvar_q"),
    cases=(
        {
            "mean_p": torch.tensor([[0.0, 1.0]]), "logvar_p": torch.tensor([[0.0, 1.0]]),
            "mean_q": torch.tensor([[1.0, 1.0]]), "logvar_q": torch.tensor([[0.0, 0.0]]), "alpha": 0.8,
        },
        *(_two(seed, shape, dtype, alpha=0.7) for seed, shape, dtype in variations()),
        _two(99, (2, 3, 4), torch.float64, alpha=0.9),
    ),
    mistakes={
        "stop_gradient_missing": Mistake(
            "no side is stopped, so the number is right and alpha does nothing.",
            "alpha and 1 - alpha add up to 1: the balance shows in the gradients only.",
            (lambda mean_p, logvar_p, mean_q, logvar_q, alpha: right_gaussian_kl(mean_p, logvar_p, mean_q, logvar_q),
             lambda mean_p, logvar_p, mean_q, logvar_q, alpha:
             alpha * right_gaussian_kl(mean_p, logvar_p, mean_q, logvar_q)
             + (1 - alpha) * right_gaussian_kl(mean_p, logvar_p, mean_q, logvar_q)),
        ),
        "stop_gradient_wrong_side": Mistake(
            "alpha weighs what teaches the posterior; it belongs to what teaches the prior.",
            "the side that is detached is the one that does not learn, which is easily read the other way round.",
            (lambda mean_p, logvar_p, mean_q, logvar_q, alpha:
             right_kl_balance(mean_p, logvar_p, mean_q, logvar_q, 1 - alpha),),
        ),
        "kl_reversed": Mistake(
            "KL(q || p) is computed, and no side is stopped.",
            "KL is not symmetric, and which comes first is a convention that texts do not share.",
            (lambda mean_p, logvar_p, mean_q, logvar_q, alpha: right_gaussian_kl(mean_q, logvar_q, mean_p, logvar_p),),
        ),
        "kl_arguments_swapped": Mistake(
            "KL(q || p) is computed: the two distributions are swapped.",
            "one of the two terms is turned round together with its stop-gradient, or both are.",
            (lambda mean_p, logvar_p, mean_q, logvar_q, alpha:
             right_kl_balance(mean_q, logvar_q, mean_p, logvar_p, 1 - alpha),
             lambda mean_p, logvar_p, mean_q, logvar_q, alpha:
             right_kl_balance(mean_q, logvar_q, mean_p, logvar_p, alpha)),
        ),
        "kl_half_reversed": Mistake(
            "the term with 1 - alpha is KL(q || p): only the stop-gradient may change sides, not the direction.",
            "swapping p and q looks like the natural way to write the other half of a balance.",
            (lambda mean_p, logvar_p, mean_q, logvar_q, alpha:
             alpha * right_gaussian_kl(mean_p.detach(), logvar_p.detach(), mean_q, logvar_q)
             + (1 - alpha) * right_gaussian_kl(mean_q.detach(), logvar_q.detach(), mean_p, logvar_p),),
        ),
        "balance_posterior_frozen": Mistake(
            "the posterior never learns: p is stopped in both terms.",
            "p was detached once, at the top of the function.",
            (lambda mean_p, logvar_p, mean_q, logvar_q, alpha:
             right_kl_balance(mean_p.detach(), logvar_p.detach(), mean_q, logvar_q, alpha),),
        ),
        "balance_alpha_twice": Mistake(
            "both terms are weighed by alpha; the second one takes 1 - alpha.",
            "the second line was copied from the first.",
            (lambda mean_p, logvar_p, mean_q, logvar_q, alpha:
             2 * alpha * right_kl_balance(mean_p, logvar_p, mean_q, logvar_q, 0.5),),
        ),
    },
)  # fmt: skip


def kl_balance(function: Function) -> bool:
    """Check `kl_balance(mean_p, logvar_p, mean_q, logvar_q, alpha)`: the balanced KL of DreamerV2, as one number.

    mean_p, logvar_p  (..., Z) the posterior
    mean_q, logvar_q  (..., Z) the prior
    alpha             the share of the gradient that teaches the prior
    ->                (...), alpha KL(sg(p) || q) + (1 - alpha) KL(p || sg(q)), summed over Z

    check.kl_balance(my_kl_balance)
    """
    return examine(KL_BALANCE, function)


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
        "free_nats_per_latent": Mistake(
            "each latent is compared with the threshold by itself; it is their sum that counts.",
            "clamping first and summing afterwards looks like the same thing.",
            (lambda kl, free_nats: (kl > free_nats).to(kl.dtype).mean(),
             lambda kl, free_nats: (kl > free_nats).any(-1).to(kl.dtype).mean()),
        ),
        "free_nats_of_mean": Mistake(
            "the mean over all states is compared with the threshold: then all states teach, or none.",
            "the mean is what is logged, and what the loss is in the end.",
            (lambda kl, free_nats: (kl.sum(-1).mean() > free_nats).to(kl.dtype),),
        ),
        "free_nats_missing": Mistake(
            "there is no threshold: every state whose divergence is not zero is said to teach.",
            "without free nats the loss is the divergence itself, which always has a gradient.",
            (lambda kl, free_nats: (kl.sum(-1) > 0).to(kl.dtype).mean(),
             lambda kl, free_nats: kl.new_ones(())),
        ),
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


def teaching_share(function: Function) -> bool:
    """Check `teaching_share(kl, free_nats)`: the share of states whose divergence is above the free nats.

    kl         (B, T, Z) divergence of each latent by itself
    free_nats  the threshold, in nats per state
    ->         (), from 0 (the KL teaches nobody) to 1

    check.teaching_share(my_teaching_share)
    """
    return examine(TEACHING_SHARE, function)
