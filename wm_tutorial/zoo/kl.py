"""Mistakes in the divergence between posterior and prior."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor

from wm_tutorial import kl
from wm_tutorial.check import kl as check_kl
from wm_tutorial.latents import CategoricalLatent, Categoricals, Distribution, Gaussian
from wm_tutorial.mistakes.bug import GUIDE, TORCHRL, Bug

BALANCED_KL = kl.balanced_kl
GAUSSIAN_KL = kl.gaussian_kl
CATEGORICAL_KL = kl.categorical_kl
CATEGORICAL_LATENT = CategoricalLatent.__call__

Pair: TypeAlias = tuple[Tensor, Tensor]


def unbalanced_reversed_kl(
    posterior: Distribution, prior: Distribution, free_nats: float, of_mean: bool = False
) -> Pair:
    """KL(prior || posterior), with gradients on both sides and no free nats."""
    divergence = of(prior, posterior)
    return divergence, torch.zeros_like(divergence)


def of(p: Distribution, q: Distribution) -> Tensor:
    """KL(p || q) of two distributions of one kind."""
    divergence: Tensor = p.kl(q)  # type: ignore[arg-type]
    return divergence


def balanced_reversed_kl(posterior: Distribution, prior: Distribution, free_nats: float, of_mean: bool = False) -> Pair:
    """Everything right but the direction."""
    dynamics, representation = of(prior, posterior.detach()), of(prior.detach(), posterior)
    return dynamics.clamp(min=free_nats), representation.clamp(min=free_nats)


def negative_kl(posterior: Distribution, prior: Distribution, free_nats: float, of_mean: bool = False) -> Pair:
    """The term of the evidence lower bound, which is to be maximised, in a loss, which is minimised."""
    dynamics, representation = BALANCED_KL(posterior, prior, free_nats, of_mean)
    return -dynamics, -representation


def stop_gradients_exchanged(
    posterior: Distribution, prior: Distribution, free_nats: float, of_mean: bool = False
) -> Pair:
    """What is meant for the prior teaches the posterior, and the other way round."""
    dynamics, representation = BALANCED_KL(posterior, prior, free_nats, of_mean)
    return representation, dynamics


def without_stop_gradients(
    posterior: Distribution, prior: Distribution, free_nats: float, of_mean: bool = False
) -> Pair:
    """Both sides learn from both terms."""
    divergence = of(posterior, prior).clamp(min=free_nats)
    return divergence, divergence


def per_latent(p: Distribution, q: Distribution) -> Tensor:
    """KL(p || q) of each latent by itself, (..., Z) or (..., S)."""
    if isinstance(p, Gaussian) and isinstance(q, Gaussian):
        return GAUSSIAN_KL(*(x.unsqueeze(-1) for x in (p.mean, p.logvar, q.mean, q.logvar)))
    assert isinstance(p, Categoricals) and isinstance(q, Categoricals)
    return CATEGORICAL_KL(p.logits.unsqueeze(-2), q.logits.unsqueeze(-2))


def free_nats_of_each_latent(
    posterior: Distribution, prior: Distribution, free_nats: float, of_mean: bool = False
) -> Pair:
    """The threshold comes before the sum over latents."""
    dynamics, representation = per_latent(posterior.detach(), prior), per_latent(posterior, prior.detach())
    return dynamics.clamp(min=free_nats).sum(-1), representation.clamp(min=free_nats).sum(-1)


def free_nats_of_the_mean(
    posterior: Distribution, prior: Distribution, free_nats: float, of_mean: bool = False
) -> Pair:
    """The threshold comes after the mean over all states."""
    return BALANCED_KL(posterior, prior, free_nats, of_mean=True)


def no_free_nats(posterior: Distribution, prior: Distribution, free_nats: float, of_mean: bool = False) -> Pair:
    """No threshold."""
    return BALANCED_KL(posterior, prior, 0.0, of_mean)


def summed_over_the_batch(
    posterior: Distribution, prior: Distribution, free_nats: float, of_mean: bool = False
) -> Pair:
    """One sum over latents, rows and sequences."""
    dynamics, representation = BALANCED_KL(posterior, prior, 0.0)
    return tuple(x.sum().clamp(min=free_nats).expand_as(x) for x in (dynamics, representation))  # type: ignore[return-value]


def mean_categorical_kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """The mean over the S variables."""
    return CATEGORICAL_KL(log_p, log_q) / log_p.shape[-2]


def without_unimix(latent: CategoricalLatent, raw: Tensor) -> Categoricals:
    """The network's own probabilities, of which some may be almost zero."""
    return CATEGORICAL_LATENT(replace(latent, unimix=0.0), raw)


def replacing_balanced_kl(
    function: Callable[[Distribution, Distribution, float, bool], Pair],
) -> tuple[tuple[object, str, object], ...]:
    """A mistake in the balancing."""
    return ((kl, "balanced_kl", function),)


GOLDEN = "test_golden.py::test_golden_kl"
WORKED = "test_kl.py::test_both_are_the_divergence_of_the_posterior_from_the_prior"
ONE_SIDE = "test_kl.py::test_each_teaches_exactly_one_side_with_the_exact_gradient"
THRESHOLD = "test_kl.py::test_below_the_threshold_neither_side_learns_and_above_it_both_learn_all"
BY_HAND = "test_world_model.py::test_divergence_is_from_what_the_row_before_and_its_action_led_to_expect"

BUGS = (
    Bug(
        name="kl_reversed",
        story="KL(prior || posterior) instead of KL(posterior || prior), unbalanced and without free nats.",
        symptom="The posterior spreads out until it says nothing: collapse.",
        innocent="The KL falls to zero, which looks like perfect prediction.",
        source=f"{GUIDE}, gaussian_kl and training of the world model",
        breaks="kl.balanced_kl, KL(posterior || prior)",
        caught_by=(WORKED, BY_HAND, GOLDEN),
        replaces=replacing_balanced_kl(unbalanced_reversed_kl),
    ),
    Bug(
        name="kl_arguments_swapped",
        story="The two arguments of the divergence have changed places; stop-gradients and free nats are right.",
        symptom="The prior is paid for being narrow: dreams repeat the likeliest future and are sure of it.",
        innocent="Every loss; the divergence has about its usual size.",
        source="https://github.com/danijar/dreamerv2/issues/4",
        breaks="kl.balanced_kl, KL(posterior || prior)",
        caught_by=(WORKED, ONE_SIDE),
        replaces=replacing_balanced_kl(balanced_reversed_kl),
    ),
    Bug(
        name="kl_negative",
        story="The divergence is subtracted from the loss, as it stands in the evidence lower bound.",
        symptom="Prior and posterior run away from each other; dreams show nothing that ever happened.",
        innocent="The total loss falls faster than ever, and the decoder is excellent.",
        source="https://github.com/wiseodd/generative-models/issues/43",
        breaks="kl.balanced_kl, sign",
        caught_by=(WORKED, ONE_SIDE),
        replaces=replacing_balanced_kl(negative_kl),
    ),
    Bug(
        name="stop_gradient_wrong_side",
        story="The stop-gradients are on the wrong sides: the large weight pulls the posterior, the small the prior.",
        symptom="The representation is made easy to predict before the dynamics have learned: little is left in it.",
        innocent="The divergence, which is the same number, and falls faster.",
        source="https://github.com/juliusfrost/dreamer-pytorch/pull/78",
        breaks="kl.balanced_kl, sg",
        caught_by=(ONE_SIDE, "test_world_model.py::test_exactly_these_parts_learn_from_each_loss"),
        replaces=replacing_balanced_kl(stop_gradients_exchanged),
    ),
    Bug(
        name="stop_gradient_missing",
        story="Without stop-gradients both terms teach both sides, and the balance is none.",
        symptom="The posterior is pulled towards a prior that knows nothing yet.",
        innocent="The divergence, which is the same number.",
        source=f"{TORCHRL}4073",
        breaks="kl.balanced_kl, sg",
        caught_by=(ONE_SIDE, "test_world_model.py::test_exactly_these_parts_learn_from_each_loss"),
        replaces=replacing_balanced_kl(without_stop_gradients),
    ),
    Bug(
        name="free_nats_per_latent",
        story="Every latent has the free nats for itself: the threshold comes before the sum over latents.",
        symptom="With 32 latents 32 nats are free: the prior learns nothing, and dreams dissolve.",
        innocent="The divergence shows the constant it is expected to end at, times the number of latents.",
        source=f"{TORCHRL}4073",
        breaks="kl.balanced_kl, free nats",
        caught_by=("test_kl.py::test_the_threshold_counts_the_sum_over_latents_not_each_latent",),
        replaces=replacing_balanced_kl(free_nats_of_each_latent),
        needs={"free_nats": 1.0},
    ),
    Bug(
        name="free_nats_of_mean",
        story="The threshold is applied to the mean over the batch, not to each state.",
        symptom="One surprising state lets all others be squeezed; or one quiet batch stops all learning.",
        innocent="The divergence.",
        source="https://github.com/weipu-zhang/STORM/issues/12",
        breaks="kl.balanced_kl, free nats",
        caught_by=("test_kl.py::test_the_threshold_comes_before_any_mean", THRESHOLD),
        replaces=replacing_balanced_kl(free_nats_of_the_mean),
        needs={"free_nats": 1.0, "free_nats_of": "state"},
    ),
    Bug(
        name="free_nats_missing",
        story="The divergence has no threshold.",
        symptom="Small details leave the latent, because saying nothing about them is cheaper.",
        innocent="The divergence, which is lower than with free nats.",
        source=f"{GUIDE}, training of the world model",
        breaks="kl.balanced_kl, free nats",
        caught_by=(THRESHOLD, "test_kl.py::test_never_below_free_nats_and_unchanged_above"),
        replaces=replacing_balanced_kl(no_free_nats),
        needs={"free_nats": 1.0},
    ),
    Bug(
        name="kl_over_batch",
        story="The divergence is summed over rows and sequences, while the other losses are means.",
        symptom="The divergence outweighs everything by the size of the batch: collapse.",
        innocent="The divergence divided by the size of the batch, if somebody thinks of dividing.",
        source=f"{GUIDE}, gaussian_kl",
        breaks="kl.balanced_kl, mean over the batch",
        caught_by=(BY_HAND, THRESHOLD),
        replaces=replacing_balanced_kl(summed_over_the_batch),
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
        replaces=(
            *check_kl.GAUSSIAN_KL.made_in_package("kl_averaged_over_latents"),
            (kl, "categorical_kl", mean_categorical_kl),
        ),
    ),
    Bug(
        name="unimix_missing",
        story="The categorical latents are not mixed with the uniform distribution.",
        symptom="A class the prior thought impossible costs a divergence of a hundred nats: the loss has spikes.",
        innocent="Every loss between two spikes.",
        source=f"{TORCHRL}4073",
        breaks="latents.CategoricalLatent, unimix",
        caught_by=("test_axes.py::test_samples_are_one_hot_and_follow_the_mixed_probabilities", GOLDEN),
        replaces=((CategoricalLatent, "__call__", without_unimix),),
        needs={"latent": "categorical"},
    ),
)
