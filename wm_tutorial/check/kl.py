"""The divergences of Gaussian and of categorical latents."""

import torch
from torch import Tensor

from wm_tutorial import kl
from wm_tutorial.check.diagnosis import examine
from wm_tutorial.kl import gaussian_kl as right_gaussian_kl
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part
from wm_tutorial.parts import Replacement


def _gaussian_kl(
    log_std_of: Function = lambda logvar: 0.5 * logvar,
    half: float = 0.5,
    constant: float = 1.0,
    power: int = 2,
    scale: Function = lambda variance: variance,
) -> Function:
    """KL(p || q), with one piece of the formula exchanged."""

    def kl(mean_p: Tensor, logvar_p: Tensor, mean_q: Tensor, logvar_q: Tensor) -> Tensor:
        log_p, log_q = log_std_of(logvar_p), log_std_of(logvar_q)
        distance = (mean_p - mean_q) ** power / scale((2 * log_q).exp())
        each: Tensor = 2 * (log_q - log_p) + (2 * (log_p - log_q)).exp() + distance - constant
        return half * each.sum(-1)

    return kl


def _summed(kl: Tensor) -> Tensor:
    """The sum over the batch, in every row of it."""
    return kl.sum().expand_as(kl)


def _elementwise_gaussian_kl(mean_p: Tensor, logvar_p: Tensor, mean_q: Tensor, logvar_q: Tensor) -> Tensor:
    split = (x.unsqueeze(-1) for x in (mean_p, logvar_p, mean_q, logvar_q))
    return right_gaussian_kl(*split)


def _gaussian(seed: int, shape: tuple[int, ...], dtype: torch.dtype) -> Arguments:
    names = ("mean_p", "logvar_p", "mean_q", "logvar_q")
    return {name: uniform(seed + i, *shape, dtype=dtype) for i, name in enumerate(names)}


GAUSSIAN_KL = Part(
    name="gaussian_kl",
    right=right_gaussian_kl,
    place=lambda function: (Replacement(kl, "gaussian_kl", function),),
    batched=("mean_p", "logvar_p", "mean_q", "logvar_q"),
    gradient_to=("mean_p", "logvar_p", "mean_q", "logvar_q"),
    cases=(
        {
            "mean_p": torch.tensor([[0.0, 1.0], [2.0, 0.0]]), "logvar_p": torch.tensor([[0.0, 1.0], [-1.0, 0.5]]),
            "mean_q": torch.tensor([[1.0, 1.0], [0.0, 0.0]]), "logvar_q": torch.tensor([[0.0, 0.0], [1.0, 1.0]]),
        },
        *(_gaussian(seed, shape, dtype) for seed, shape, dtype in variations()),
        _gaussian(99, (2, 3, 4), torch.float64),
    ),
    mistakes={
        "kl_reversed": Mistake(
            "KL(q || p) is computed: the two distributions are swapped.",
            "the bars look symmetric, the divergence is not; the first one is where samples come from.",
            (lambda mean_p, logvar_p, mean_q, logvar_q: right_gaussian_kl(mean_q, logvar_q, mean_p, logvar_p),),
        ),
        "kl_negative": Mistake(
            "the sign is the other one; a divergence is never negative.",
            "the bound that is maximised has a minus in front of the KL, the loss that is minimised has a plus.",
            (lambda *given: -right_gaussian_kl(*given),),
        ),
        "kl_half_missing": Mistake(
            "the factor 1/2 is missing.",
            "it stands in front of a long bracket and applies to all of it.",
            (_gaussian_kl(half=1.0),),
        ),
        "kl_log_std_for_logvar": Mistake(
            "logvar is taken for the logarithm of the standard deviation.",
            "many formulas are written in log sigma; logvar is twice that.",
            (_gaussian_kl(log_std_of=lambda logvar: logvar),),
        ),
        "kl_std_for_variance": Mistake(
            "the squared distance is divided by the standard deviation of q, not by its variance.",
            "exp(0.5 * logvar) is at hand from the sample.",
            (_gaussian_kl(scale=torch.sqrt),),
        ),
        "kl_distance_unscaled": Mistake(
            "the squared distance of the means is not divided by the variance of q.",
            "the formula for a standard normal q has no such division: its variance is 1.",
            (_gaussian_kl(scale=torch.ones_like),),
        ),
        "kl_distance_not_squared": Mistake(
            "the distance of the means is not squared.",
            "the square is one small 2 in a long formula.",
            (_gaussian_kl(power=1),),
        ),
        "kl_constant_missing": Mistake(
            "the -1 is missing: two equal distributions must have divergence 0.",
            "constants have no gradient, so training does not notice; free nats do.",
            (_gaussian_kl(constant=0.0),),
        ),
        "kl_prior_ignored": Mistake(
            "the divergence is that from a standard normal, whatever q is.",
            "that is the formula of the variational autoencoder; here the prior is predicted.",
            (lambda mean_p, logvar_p, mean_q, logvar_q: _gaussian_kl()(mean_p, logvar_p, 0 * mean_q, 0 * logvar_q),),
        ),
        "kl_averaged_over_latents": Mistake(
            "the mean over the latents in place of their sum.",
            "losses are averaged, mostly; but information of independent latents adds up, and free nats count the sum.",
            (lambda *given: _elementwise_gaussian_kl(*given).mean(-1),),
        ),
        "kl_not_summed": Mistake(
            "every latent has a number of its own: the sum over the last axis is missing.",
            "each latent's divergence is right, and a mean taken later hides that they were never added.",
            (_elementwise_gaussian_kl,),
        ),
        "kl_over_batch": Mistake(
            "the sum runs over the batch too.",
            "sum() without an axis sums everything; the weight of the KL then grows with the batch.",
            (lambda *given: right_gaussian_kl(*given).sum(), lambda *given: right_gaussian_kl(*given).mean(),
             lambda *given: _elementwise_gaussian_kl(*given).mean(), lambda *given: _summed(right_gaussian_kl(*given))),
        ),
        "kl_posterior_detached": Mistake(
            "no gradient reaches p.",
            "balancing detaches one side at a time; that belongs around this function, not into it.",
            (lambda mean_p, logvar_p, mean_q, logvar_q:
             right_gaussian_kl(mean_p.detach(), logvar_p.detach(), mean_q, logvar_q),),
        ),
        "kl_prior_detached": Mistake(
            "no gradient reaches q, so the dynamics would never learn.",
            "balancing detaches one side at a time; that belongs around this function, not into it.",
            (lambda mean_p, logvar_p, mean_q, logvar_q:
             right_gaussian_kl(mean_p, logvar_p, mean_q.detach(), logvar_q.detach()),),
        ),
        "kl_detached": Mistake(
            "no gradient flows at all: the KL is logged and never learned from.",
            "detach() or no_grad() was there to log the number.",
            (lambda *given: right_gaussian_kl(*given).detach(),),
        ),
    },
)  # fmt: skip


def gaussian_kl(function: Function) -> bool:
    """Check `gaussian_kl(mean_p, logvar_p, mean_q, logvar_q)`: KL(p || q) in nats of diagonal Gaussians.

    all four  (..., Z)
    ->        (...), summed over Z, with gradient to all four

    check.gaussian_kl(my_gaussian_kl)
    """
    return examine(GAUSSIAN_KL, function)


def _mixed(logits: Tensor, unimix: float) -> Tensor:
    """Log-probabilities, with a share of the uniform distribution mixed in."""
    return ((1 - unimix) * logits.softmax(-1) + unimix / logits.shape[-1]).log()


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(-1)  # of each variable


def right_categorical_kl(logits_p: Tensor, logits_q: Tensor, unimix: float) -> Tensor:
    """KL(p || q) of S independent categorical distributions, both mixed with the uniform one: (..., S, K) -> (...)."""
    return _divergence(_mixed(logits_p, unimix), _mixed(logits_q, unimix)).sum(-1)


def _each_categorical_kl(logits_p: Tensor, logits_q: Tensor, unimix: float) -> Tensor:
    return _divergence(_mixed(logits_p, unimix), _mixed(logits_q, unimix))


def _mixed_by(mix_p: Function, mix_q: Function) -> Function:
    return lambda logits_p, logits_q, unimix: _divergence(mix_p(logits_p, unimix), mix_q(logits_q, unimix)).sum(-1)


def _unmixed(logits: Tensor, unimix: float) -> Tensor:
    return logits.log_softmax(-1)


def _mixed_logits(logits: Tensor, unimix: float) -> Tensor:
    return ((1 - unimix) * logits + unimix / logits.shape[-1]).log_softmax(-1)


def _mixed_log_probabilities(logits: Tensor, unimix: float) -> Tensor:
    return (1 - unimix) * logits.log_softmax(-1) - unimix * torch.tensor(logits.shape[-1]).to(logits).log()


def _mixed_without_division(logits: Tensor, unimix: float) -> Tensor:
    return ((1 - unimix) * logits.softmax(-1) + unimix).log()


def _mixed_over_variables(logits: Tensor, unimix: float) -> Tensor:
    return _mixed(logits.mT, unimix).mT


CATEGORICAL_KL = Part(
    name="categorical_kl",
    right=right_categorical_kl,
    batched=("logits_p", "logits_q"),
    gradient_to=("logits_p", "logits_q"),
    cases=(
        {
            "logits_p": torch.tensor([[[0.0, 0.0, 3.0], [1.0, 0.0, 0.0]]]),
            "logits_q": torch.tensor([[[0.0, 0.0, 0.0], [0.0, 2.0, 0.0]]]),
            "unimix": 0.1,
        },
        *(
            {
                "logits_p": 2 * uniform(seed, *shape, 3, dtype=dtype),
                "logits_q": 2 * uniform(seed + 1, *shape, 3, dtype=dtype),
                "unimix": 0.01 + 0.01 * seed,
            }
            for seed, shape, dtype in variations()
        ),
    ),
    mistakes={
        "unimix_missing": Mistake(
            "no share of the uniform distribution is mixed in.",
            "softmax already gives probabilities; but one that reaches 0 makes the divergence infinite.",
            (_mixed_by(_unmixed, _unmixed),),
        ),
        "unimix_on_one_side": Mistake(
            "only one of the two distributions is mixed with the uniform one.",
            "the mixing is seen as part of the posterior's sample; prior and posterior must both be distributions of "
            "that form.",
            (_mixed_by(_mixed, _unmixed), _mixed_by(_unmixed, _mixed)),
        ),
        "unimix_after": Mistake(
            "the mixing happens to logits, log-probabilities or the divergence, not to probabilities.",
            "logits are what is passed on everywhere; only probabilities can be mixed.",
            (_mixed_by(_mixed_logits, _mixed_logits),
             _mixed_by(_mixed_log_probabilities, _mixed_log_probabilities),
             lambda p, q, unimix: (1 - unimix) * _mixed_by(_unmixed, _unmixed)(p, q, unimix),
             lambda p, q, unimix: (1 - unimix) * _mixed_by(_unmixed, _unmixed)(p, q, unimix) + unimix / p.shape[-1]),
        ),
        "unimix_not_divided": Mistake(
            "every class gets the whole uniform share: the probabilities sum to more than 1.",
            "the share is added without dividing it by the number of classes.",
            (_mixed_by(_mixed_without_division, _mixed_without_division),),
        ),
        "kl_reversed": Mistake(
            "KL(q || p) is computed: the two distributions are swapped.",
            "the bars look symmetric, the divergence is not; the first one is where samples come from. "
            "torch's kl_div takes the second one first.",
            (lambda p, q, unimix: right_categorical_kl(q, p, unimix),),
        ),
        "kl_negative": Mistake(
            "the sign is the other one; a divergence is never negative.",
            "the bound that is maximised has a minus in front of the KL, the loss that is minimised has a plus.",
            (lambda p, q, unimix: -right_categorical_kl(p, q, unimix),),
        ),
        "kl_cross_entropy": Mistake(
            "the cross-entropy is computed: the entropy of p is not subtracted, and equal distributions do not give 0.",
            "with a fixed p both have the same gradient; here p learns too.",
            (lambda p, q, unimix: -(_mixed(p, unimix).exp() * _mixed(q, unimix)).sum((-2, -1)),),
        ),
        "kl_logits_for_log_probabilities": Mistake(
            "the difference of raw logits is taken for the difference of log-probabilities.",
            "logits are logarithms, up to a constant; here the constant matters.",
            (lambda p, q, unimix: (_mixed(p, unimix).exp() * (p - q)).sum((-2, -1)),
             lambda p, q, unimix: (p.softmax(-1) * (p - q)).sum((-2, -1))),
        ),
        "softmax_over_variables": Mistake(
            "the softmax runs over the variables (-2) and not over the classes (-1).",
            "(S, K) and (K, S) look alike, most of all when S equals K.",
            (_mixed_by(_mixed_over_variables, _mixed_over_variables),),
        ),
        "kl_averaged_over_latents": Mistake(
            "the mean over the variables in place of their sum.",
            "losses are averaged, mostly; but information of independent latents adds up, and free nats count the sum.",
            (lambda p, q, unimix: _each_categorical_kl(p, q, unimix).mean(-1),
             lambda p, q, unimix: _each_categorical_kl(p, q, unimix).mean(-1) / p.shape[-1]),
        ),
        "kl_not_summed": Mistake(
            "every variable has a number of its own: the sum over the S variables is missing.",
            "the sum over the classes is part of the formula, the one over the variables is not written there.",
            (_each_categorical_kl,),
        ),
        "kl_over_batch": Mistake(
            "the sum runs over the batch too.",
            "sum() without an axis sums everything; the weight of the KL then grows with the batch.",
            (lambda p, q, unimix: right_categorical_kl(p, q, unimix).sum(),
             lambda p, q, unimix: right_categorical_kl(p, q, unimix).mean(),
             lambda p, q, unimix: _summed(right_categorical_kl(p, q, unimix))),
        ),
        "kl_posterior_detached": Mistake(
            "no gradient reaches p.",
            "balancing detaches one side at a time; that belongs around this function, not into it.",
            (lambda p, q, unimix: right_categorical_kl(p.detach(), q, unimix),),
        ),
        "kl_prior_detached": Mistake(
            "no gradient reaches q, so the dynamics would never learn.",
            "balancing detaches one side at a time; that belongs around this function, not into it.",
            (lambda p, q, unimix: right_categorical_kl(p, q.detach(), unimix),),
        ),
        "kl_detached": Mistake(
            "no gradient flows at all: the KL is logged and never learned from.",
            "detach() or no_grad() was there to log the number.",
            (lambda p, q, unimix: right_categorical_kl(p, q, unimix).detach(),),
        ),
    },
)  # fmt: skip


def categorical_kl(function: Function) -> bool:
    """Check `categorical_kl(logits_p, logits_q, unimix)`: KL(p || q) in nats of S categorical distributions each.

    logits_p, logits_q  (B, S, K) as a network gives them
    unimix              the share of the uniform distribution that is mixed into both, 0.01 in DreamerV3
    ->                  (B,), summed over the S variables, with gradient to both

    check.categorical_kl(my_categorical_kl)
    """
    return examine(CATEGORICAL_KL, function)
