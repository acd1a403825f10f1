"""The divergence of one distribution from another: which way round, over which axes, and of what."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor

from wm_tutorial import kl
from wm_tutorial.kl import balanced_kl as right_balanced_kl
from wm_tutorial.kl import gaussian_kl as right_gaussian_kl
from wm_tutorial.latents import CategoricalLatent, Categoricals, Distribution
from wm_tutorial.mistakes.bug import GUIDE, TORCHRL, Bug, Replaces, in_the_place_of
from wm_tutorial.mistakes.categorical import UNIMIX, without_share
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part, of_wrong

# Whatever the distributions are ---------------------------------------------------------------------------------------


def summed(divergence: Tensor) -> Tensor:
    """The sum over the batch, in every row of it."""
    return divergence.sum().expand_as(divergence)


def prior_first(divergence: Function) -> Function:
    """The divergence of two Gaussians that have changed places."""
    return lambda *given: divergence(*given[2:4], *given[:2], *given[4:])


def _negative(divergence: Function) -> Function:
    return lambda *given: -divergence(*given)


def _detached(right: Function, without_posterior: Function, without_prior: Function) -> dict[str, Mistake]:
    """Gradient is kept from the posterior, from the prior, or from both."""
    balanced = "balancing detaches one side at a time; that belongs around this function, not into it."
    return {
        "kl_posterior_detached": Mistake("no gradient reaches the posterior.", balanced, (without_posterior,)),
        "kl_prior_detached": Mistake(
            "no gradient reaches the prior, so the dynamics would never learn.", balanced, (without_prior,)
        ),
        "kl_detached": Mistake(
            "no gradient flows at all: the KL is logged and never learned from.",
            "detach() or no_grad() was there to log the number.",
            (lambda *given: right(*given).detach(),),
        ),
    }


def _over_batch(divergence: Function) -> tuple[Function, ...]:
    """The numbers of all rows in one."""
    return (
        lambda *given: divergence(*given).sum(),
        lambda *given: divergence(*given).mean(),
        lambda *given: summed(divergence(*given)),
    )


# Gaussians ------------------------------------------------------------------------------------------------------------

TWO_GAUSSIANS = ("posterior_mean", "posterior_logvar", "prior_mean", "prior_logvar")


def two_gaussians(seed: int, shape: tuple[int, ...], dtype: torch.dtype) -> Arguments:
    """Means and log-variances of posterior and prior."""
    return {name: uniform(seed + i, *shape, dtype=dtype) for i, name in enumerate(TWO_GAUSSIANS)}


def kl_teaching_prior(
    posterior_mean: Tensor, posterior_logvar: Tensor, prior_mean: Tensor, prior_logvar: Tensor
) -> Tensor:
    """KL(sg(posterior) || prior)."""
    return right_gaussian_kl(posterior_mean.detach(), posterior_logvar.detach(), prior_mean, prior_logvar)


def kl_teaching_posterior(
    posterior_mean: Tensor, posterior_logvar: Tensor, prior_mean: Tensor, prior_logvar: Tensor
) -> Tensor:
    """KL(posterior || sg(prior))."""
    return right_gaussian_kl(posterior_mean, posterior_logvar, prior_mean.detach(), prior_logvar.detach())


def kl_of_each_gaussian(*given: Tensor) -> Tensor:
    """KL(posterior || prior) of each latent by itself, (..., Z)."""
    return right_gaussian_kl(*(x.unsqueeze(-1) for x in given))


def _mean_gaussian_kl(
    posterior_mean: Tensor, posterior_logvar: Tensor, prior_mean: Tensor, prior_logvar: Tensor
) -> Tensor:
    return kl_of_each_gaussian(posterior_mean, posterior_logvar, prior_mean, prior_logvar).mean(-1)


def _gaussian_kl(
    log_std_of: Function = lambda logvar: 0.5 * logvar,
    half: float = 0.5,
    constant: float = 1.0,
    power: int = 2,
    scale: Function = lambda variance: variance,
    ratio: Function = lambda variances: variances,
    square: Function | None = None,
    logarithm: float = 1.0,
) -> Function:
    """KL(q || p) of posterior and prior, with one piece of the formula exchanged."""

    def divergence(mean_q: Tensor, logvar_q: Tensor, mean_p: Tensor, logvar_p: Tensor) -> Tensor:
        log_q, log_p = log_std_of(logvar_q), log_std_of(logvar_p)
        distance = square(mean_q - mean_p) if square else (mean_q - mean_p) ** power
        widths = logarithm * 2 * (log_p - log_q) + ratio((2 * (log_q - log_p)).exp())
        each: Tensor = widths + distance / scale((2 * log_p).exp()) - constant
        return half * each.sum(-1)

    return divergence


GAUSSIAN_KL = Part(
    name="gaussian_kl",
    right=right_gaussian_kl,
    batched=TWO_GAUSSIANS,
    gradient_to=TWO_GAUSSIANS,
    cases=(
        {
            "posterior_mean": torch.tensor([[0.0, 1.0], [2.0, 0.0]]),
            "posterior_logvar": torch.tensor([[0.0, 1.0], [-1.0, 0.5]]),
            "prior_mean": torch.tensor([[1.0, 1.0], [0.0, 0.0]]),
            "prior_logvar": torch.tensor([[0.0, 0.0], [1.0, 1.0]]),
        },
        *(two_gaussians(*variation) for variation in variations()),
        two_gaussians(99, (2, 3, 4), torch.float64),
    ),
    mistakes={
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
            "the squared distance is divided by the standard deviation of the prior, not by its variance.",
            "exp(0.5 * logvar) is at hand from the sample.",
            (_gaussian_kl(scale=torch.sqrt),),
        ),
        "kl_distance_unscaled": Mistake(
            "the squared distance of the means is not divided by the variance of the prior.",
            "the formula for a standard normal prior has no such division: its variance is 1.",
            (_gaussian_kl(scale=torch.ones_like),),
        ),
        "kl_distance_not_squared": Mistake(
            "the distance of the means is not squared.",
            "the square is one small 2 in a long formula.",
            (_gaussian_kl(power=1), _gaussian_kl(square=torch.abs)),
        ),
        "kl_distance_unhalved": Mistake(
            "the squared distance is not halved.",
            "the bracket behind the 1/2 was closed too early.",
            (_gaussian_kl(square=lambda distance: 2 * distance**2),),
        ),
        "kl_distance_multiplied": Mistake(
            "the squared distance is multiplied by the variance of the prior; it is divided by it.",
            "exp(-logvar) divides, and the minus is easily lost.",
            (_gaussian_kl(scale=torch.reciprocal),),
        ),
        "kl_distance_by_posterior": Mistake(
            "the squared distance is divided by the variance of the posterior; the miss is measured by the width of "
            "what was expected.",
            "two variances stand in the formula, and both have names that end alike.",
            (lambda *given: _gaussian_kl(square=torch.zeros_like)(*given)
             + 0.5 * ((given[0] - given[2]) ** 2 / given[1].exp()).sum(-1),),
        ),
        "kl_log_unhalved": Mistake(
            "the difference of the log-variances is not halved: each is twice the logarithm of a standard deviation.",
            "ln(sigma_p / sigma_q) became logvar_p - logvar_q without its 1/2.",
            (_gaussian_kl(logarithm=2.0),),
        ),
        "kl_log_sign": Mistake(
            "the logarithm of the widths has the other sign, so that a broad prior is paid for being broad.",
            "sigma_p / sigma_q stands in one place of the formula, and sigma_q / sigma_p in the other.",
            (_gaussian_kl(logarithm=-1.0),),
        ),
        "kl_ratio_inverted": Mistake(
            "the ratio of the variances stands on its head; the posterior's is divided by the prior's.",
            "sigma_p / sigma_q stands in one place of the formula, and sigma_q / sigma_p in the other.",
            (_gaussian_kl(ratio=torch.reciprocal),),
        ),
        "kl_ratio_of_deviations": Mistake(
            "the ratio of the standard deviations is there, and not that of the variances.",
            "the deviations were computed first, and their squares are one small 2 each.",
            (_gaussian_kl(ratio=torch.sqrt), _gaussian_kl(ratio=torch.sqrt, scale=torch.sqrt)),
        ),
        "kl_constant_once": Mistake(
            "the constant is subtracted once; each latent has one of its own.",
            "it stands at the end of the formula, behind the bracket that is summed.",
            tuple(lambda *given, c=c: _gaussian_kl(constant=0.0)(*given) - c for c in (0.5, 1.0)),
        ),
        "kl_logvar_for_variance": Mistake(
            "the log-variances are used as if they were variances.",
            "the formula has variances; exp turns a log-variance into one, and any number into something positive.",
            (lambda mean_q, var_q, mean_p, var_p:
             0.5 * ((var_p / var_q).log() + (var_q + (mean_q - mean_p) ** 2) / var_p - 1).sum(-1),
             lambda mean_q, var_q, mean_p, var_p:
             0.5 * (var_p.log() - var_q.log() + (var_q + (mean_q - mean_p) ** 2) / var_p - 1).sum(-1)),
        ),
        "kl_arguments_in_pairs": Mistake(
            "the arguments are read as two means and two log-variances; they come as posterior and prior.",
            "formulas are written down by kinds, distributions are handed over one by one.",
            (lambda mean_q, mean_p, logvar_q, logvar_p: right_gaussian_kl(mean_q, logvar_q, mean_p, logvar_p),),
        ),
        "kl_over_states": Mistake(
            "the sum runs over the first axis, the batch; it must run over the last, the latents.",
            "the batch has the first axis in most losses.",
            (lambda *given: kl_of_each_gaussian(*given).sum(0),),
        ),
        "kl_constant_missing": Mistake(
            "the -1 is missing: two equal distributions must have divergence 0.",
            "constants have no gradient, so training does not notice; free nats do.",
            (_gaussian_kl(constant=0.0),),
        ),
        "kl_prior_ignored": Mistake(
            "the divergence is that from a standard normal, whatever the prior is.",
            "that is the formula of the variational autoencoder; here the prior is predicted.",
            (lambda *given: right_gaussian_kl(*given[:2], *(0 * x for x in given[2:])),),
        ),
        "kl_not_summed": Mistake(
            "every latent has a number of its own: the sum over the last axis is missing.",
            "each latent's divergence is right, and a mean taken later hides that they were never added.",
            (kl_of_each_gaussian,),
        ),
        **_detached(right_gaussian_kl, kl_teaching_prior, kl_teaching_posterior),
    },
)  # fmt: skip


# Categoricals ---------------------------------------------------------------------------------------------------------


def kl_of_each_categorical(log_posterior: Tensor, log_prior: Tensor) -> Tensor:
    """KL(posterior || prior) of each variable by itself: log-probabilities (..., S, K) -> (..., S)."""
    return (log_posterior.exp() * (log_posterior - log_prior)).sum(-1)


def _mean_categorical_kl(log_posterior: Tensor, log_prior: Tensor) -> Tensor:
    return kl_of_each_categorical(log_posterior, log_prior).mean(-1)


def _mixed(logits: Tensor, unimix: float) -> Tensor:
    """Log-probabilities, with a share of the uniform distribution mixed in."""
    return ((1 - unimix) * logits.softmax(-1) + unimix / logits.shape[-1]).log()


def right_categorical_kl(posterior_logits: Tensor, prior_logits: Tensor, unimix: float) -> Tensor:
    """KL(posterior || prior) of S categorical distributions, both mixed with the uniform: (..., S, K) -> (...)."""
    return kl_of_each_categorical(_mixed(posterior_logits, unimix), _mixed(prior_logits, unimix)).sum(-1)


def _mixed_by(mix_posterior: Function, mix_prior: Function | None = None) -> Function:
    """The divergence, with the posterior mixed in another way, and the prior as well if nothing else is said."""
    mix_prior = mix_prior or mix_posterior
    return lambda q, p, unimix: kl_of_each_categorical(mix_posterior(q, unimix), mix_prior(p, unimix)).sum(-1)


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
    batched=("posterior_logits", "prior_logits"),
    gradient_to=("posterior_logits", "prior_logits"),
    cases=(
        {
            "posterior_logits": torch.tensor([[[0.0, 0.0, 3.0], [1.0, 0.0, 0.0]]]),
            "prior_logits": torch.tensor([[[0.0, 0.0, 0.0], [0.0, 2.0, 0.0]]]),
            "unimix": 0.1,
        },
        *(
            {
                "posterior_logits": 2 * uniform(seed, *shape, 3, dtype=dtype),
                "prior_logits": 2 * uniform(seed + 1, *shape, 3, dtype=dtype),
                "unimix": 0.01 + 0.01 * seed,
            }
            for seed, shape, dtype in variations()
        ),
    ),
    mistakes={
        "unimix_on_one_side": Mistake(
            "only one of the two distributions is mixed with the uniform one.",
            "the mixing is seen as part of the posterior's sample; prior and posterior must both be distributions of "
            "that form.",
            (_mixed_by(_mixed, _unmixed), _mixed_by(_unmixed, _mixed)),
        ),
        "unimix_after": Mistake(
            "the mixing happens to logits, log-probabilities or the divergence, not to probabilities.",
            "logits are what is passed on everywhere; only probabilities can be mixed.",
            (_mixed_by(_mixed_logits), _mixed_by(_mixed_log_probabilities),
             lambda q, p, unimix: (1 - unimix) * _mixed_by(_unmixed)(q, p, unimix),
             lambda q, p, unimix: (1 - unimix) * _mixed_by(_unmixed)(q, p, unimix) + unimix / q.shape[-1]),
        ),
        "unimix_not_divided": Mistake(
            "every class gets the whole uniform share: the probabilities sum to more than 1.",
            "the share is added without dividing it by the number of classes.",
            (_mixed_by(_mixed_without_division),),
        ),
        "unimix_exchanged": Mistake(
            "unimix is the share of the network, and the rest is uniform; it is the other way round.",
            "which of two shares a name means is a convention: here it is the one of the uniform distribution.",
            (_mixed_by(lambda logits, unimix: _mixed(logits, 1 - unimix)),),
        ),
        "unimix_added": Mistake(
            "the uniform share is added, and the other one is not made smaller: the probabilities sum to more than 1.",
            "for 1 % the factor 0.99 seems not to matter.",
            (_mixed_by(lambda logits, unimix: (logits.softmax(-1) + unimix / logits.shape[-1]).log()),),
        ),
        "unimix_not_in_the_weights": Mistake(
            "the logarithms are mixed, and the probabilities that weigh them are not.",
            "softmax is at hand; but samples come from the mixed posterior.",
            (lambda q, p, unimix: (q.softmax(-1) * (_mixed(q, unimix) - _mixed(p, unimix))).sum((-2, -1)),),
        ),
        "kl_weights_missing": Mistake(
            "the log-ratios of all classes are added as they are; each counts with the posterior's probability.",
            "the mean over samples needs no weights, the sum over classes does.",
            (lambda q, p, unimix: (_mixed(q, unimix) - _mixed(p, unimix)).sum((-2, -1)),),
        ),
        "softmax_over_everything": Mistake(
            "one softmax runs over all classes of all variables; each variable has one of its own.",
            "the network gives S times K numbers in a row, and a softmax of them works without a complaint.",
            (lambda q, p, unimix: right_categorical_kl(q.flatten(-2)[:, None], p.flatten(-2)[:, None], unimix),),
        ),
        "kl_cross_entropy": Mistake(
            "the cross-entropy is computed: the posterior's entropy is not subtracted, so equal ones do not give 0.",
            "with a fixed posterior both have the same gradient; here it learns too.",
            (lambda q, p, unimix: -(_mixed(q, unimix).exp() * _mixed(p, unimix)).sum((-2, -1)),),
        ),
        "kl_logits_for_log_probabilities": Mistake(
            "the difference of raw logits is taken for the difference of log-probabilities.",
            "logits are logarithms, up to a constant; here the constant matters.",
            (lambda q, p, unimix: (_mixed(q, unimix).exp() * (q - p)).sum((-2, -1)),
             lambda q, p, unimix: (q.softmax(-1) * (q - p)).sum((-2, -1))),
        ),
        "softmax_over_variables": Mistake(
            "the softmax runs over the variables (-2) and not over the classes (-1).",
            "(S, K) and (K, S) look alike, most of all when S equals K.",
            (_mixed_by(_mixed_over_variables),),
        ),
        "kl_not_summed": Mistake(
            "every variable has a number of its own: the sum over the S variables is missing.",
            "the sum over the classes is part of the formula, the one over the variables is not written there.",
            (lambda q, p, unimix: kl_of_each_categorical(_mixed(q, unimix), _mixed(p, unimix)),),
        ),
        **_detached(right_categorical_kl, *(of_wrong(right_categorical_kl, i, torch.detach)[0] for i in (0, 1))),
    },
)  # fmt: skip


# In the package -------------------------------------------------------------------------------------------------------

Terms: TypeAlias = tuple[Tensor, ...]  # what teaches the dynamics, what teaches the representation
CATEGORICAL_LATENT = CategoricalLatent.__call__


def divergence_of(first: Distribution, second: Distribution) -> Tensor:
    """KL(first || second) of two distributions of one kind."""
    return first.kl(second)  # type: ignore[arg-type]


def balancing(wrong: Callable[[Distribution, Distribution, float, bool], Terms]) -> Replaces:
    """A mistake in `balanced_kl`: other terms, from posterior, prior, free nats, and whether these are of the mean."""
    return in_the_place_of(kl, "balanced_kl", wrong)


def without_unimix(latent: CategoricalLatent, raw: Tensor) -> Categoricals:
    """The network's own probabilities, of which some may be almost zero."""
    return CATEGORICAL_LATENT(replace(latent, unimix=0.0), raw)


GOLDEN = "test_golden.py::test_golden_kl"
WORKED = "test_kl.py::test_both_are_the_divergence_of_the_posterior_from_the_prior"
ONE_SIDE = "test_kl.py::test_each_teaches_exactly_one_side_with_the_exact_gradient"
THRESHOLD = "test_kl.py::test_below_the_threshold_neither_side_learns_and_above_it_both_learn_all"
BY_HAND = "test_world_model.py::test_divergence_is_from_what_the_row_before_and_its_action_led_to_expect"

PARTS = (GAUSSIAN_KL, CATEGORICAL_KL)

BUGS = (
    Bug(
        name="kl_negative",
        story="The divergence is subtracted from the loss, as it stands in the evidence lower bound.",
        symptom="Prior and posterior run away from each other; dreams show nothing that ever happened.",
        innocent="The total loss falls faster than ever, and the decoder is excellent.",
        source="https://github.com/wiseodd/generative-models/issues/43",
        breaks="kl.balanced_kl, sign",
        caught_by=(WORKED, ONE_SIDE),
        replaces=balancing(lambda *given: tuple(-term for term in right_balanced_kl(*given))),
        forms={part: Mistake(
            "the sign is the other one; a divergence is never negative.",
            "the bound that is maximised has a minus in front of the KL, the loss that is minimised has a plus.",
            (_negative(part.right),),
        ) for part in PARTS},
    ),
    Bug(
        name="kl_over_batch",
        story="The divergence is summed over rows and sequences, while the other losses are means.",
        symptom="The divergence outweighs everything by the size of the batch: collapse.",
        innocent="The divergence divided by the size of the batch, if somebody thinks of dividing.",
        source=f"{GUIDE}, gaussian_kl",
        breaks="kl.balanced_kl, mean over the batch",
        caught_by=(BY_HAND, THRESHOLD),
        replaces=balancing(lambda posterior, prior, free_nats, of_mean:
            tuple(summed(term).clamp(min=free_nats) for term in right_balanced_kl(posterior, prior, 0.0))),
        forms={part: Mistake(
            "the sum runs over the batch too.",
            "sum() without an axis sums everything; the weight of the KL then grows with the batch.",
            functions,
        ) for part, functions in (
            (GAUSSIAN_KL, (*_over_batch(right_gaussian_kl), lambda *given: kl_of_each_gaussian(*given).mean())),
            (CATEGORICAL_KL, _over_batch(right_categorical_kl)),
        )},
    ),
    Bug(
        name="kl_averaged_over_latents",
        story="The divergence of a state is the mean over its latents instead of their sum.",
        symptom="It stays below the free nats for ever, so the dynamics are never trained.",
        innocent="Decoder, reward and continue losses; the divergence looks admirably small.",
        source="https://github.com/maxhodak/keras-molecules/issues/59",
        breaks="kl.gaussian_kl and kl.categorical_kl, sum over latents",
        caught_by=(
            "test_kl.py::test_each_state_has_a_divergence_of_its_own",
            "test_axes.py::test_the_divergence_is_summed_over_the_variables_and_not_over_the_batch",
            GOLDEN,
        ),
        replaces=((kl, "gaussian_kl", _mean_gaussian_kl), (kl, "categorical_kl", _mean_categorical_kl)),
        forms={
            GAUSSIAN_KL: Mistake(
                "the mean over the latents in place of their sum.",
                "losses are averaged, mostly; but information of independent latents adds up, and free nats count the "
                "sum.",
                (_mean_gaussian_kl,),
            ),
            CATEGORICAL_KL: Mistake(
                "the mean over the variables in place of their sum.",
                "losses are averaged, mostly; but information of independent latents adds up, and free nats count the "
                "sum.",
                (lambda q, p, unimix: _mean_categorical_kl(_mixed(q, unimix), _mixed(p, unimix)),
                 lambda q, p, unimix: _mean_categorical_kl(_mixed(q, unimix), _mixed(p, unimix)) / q.shape[-1]),
            ),
        },
    ),
    Bug(
        name="unimix_missing",
        story="The categorical latents are not mixed with the uniform distribution.",
        symptom="A class the prior thought impossible costs a divergence of a hundred nats: the loss has spikes.",
        innocent="Every loss between two spikes.",
        source=f"{TORCHRL}4073", breaks="latents.CategoricalLatent, unimix",
        caught_by=("test_axes.py::test_samples_are_one_hot_and_follow_the_mixed_probabilities", GOLDEN),
        replaces=((CategoricalLatent, "__call__", without_unimix),), needs={"latent": "categorical"},
        forms={CATEGORICAL_KL: Mistake(
            "no share of the uniform distribution is mixed in.",
            "softmax already gives probabilities; but one that reaches 0 makes the divergence infinite.",
            (_mixed_by(_unmixed),),
        ), UNIMIX: Mistake(
            "no share of the uniform distribution is mixed in.",
            "softmax already gives probabilities; but one that reaches 0 makes the divergence infinite.",
            (without_share,),
        )},
    ),
)  # fmt: skip
