"""What V and M of World Models 2018 learn by: nats that cost nothing, a mixture of Gaussians, and its temperature."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from wm_tutorial.heads import Image
from wm_tutorial.latents import Gaussian
from wm_tutorial.mistakes.bug import Bug, in_the_place_of
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Function, Mistake, Part
from wm_tutorial.world_models_2018 import vision
from wm_tutorial.world_models_2018.memory import Mixture

COMPONENTS = 4

# Nats that cost nothing -----------------------------------------------------------------------------------------------


def _divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(q || N(0, 1)) of each number, (B, Z)."""
    return 0.5 * (mean**2 + logvar.exp() - 1.0 - logvar)


def right_tolerant_divergence(mean: Tensor, logvar: Tensor, tolerance: float) -> Tensor:
    """KL(q || N(0, 1)) of each picture, at least `tolerance` for each of its Z numbers; mean over the batch."""
    return _divergence(mean, logvar).sum(-1).clamp(min=tolerance * mean.shape[-1]).mean()


def _tolerant(change: Function) -> Function:
    """The right loss of another divergence (B, Z)."""
    return lambda m, v, tau: change(m, v).sum(-1).clamp(min=tau * m.shape[-1]).mean()


TOLERANT_DIVERGENCE = Part(
    name="tolerant_divergence",
    right=right_tolerant_divergence,
    gradient_to=("mean", "logvar"),
    cases=(
        # 2 nats of two numbers that may have 1; twice none at all
        {"mean": torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 0.0]]), "logvar": torch.zeros(3, 2), "tolerance": 0.5},
        *(
            {
                "mean": uniform(seed, *shape, dtype=dtype),
                "logvar": uniform(seed + 1, *shape, dtype=dtype, low=-3.0, high=1.0),
                "tolerance": tolerance,
            }
            for (seed, shape, dtype), tolerance in zip(
                variations(), (0.5, 0.5, 0.3, 0.3, 0.2, 0.2, 0.5, 0.5), strict=True
            )
        ),
        {"mean": torch.tensor([[3.0], [1.0]]), "logvar": torch.tensor([[0.5], [-2.0]]), "tolerance": 0.0},
    ),
    mistakes={
        "tolerance_of_one_number": Mistake(
            "the tolerance is compared with the sum over all numbers of z without being multiplied by their count.",
            "it is told for each number, and the divergence is one number for each picture.",
            (lambda m, v, tau: _divergence(m, v).sum(-1).clamp(min=tau).mean(),),
        ),
        "tolerance_of_each_number": Mistake(
            "each number of z has its own floor, so an unused one pays for nothing and a busy one can borrow nothing.",
            "the floor was put before the sum; the authors put it after.",
            (lambda m, v, tau: _divergence(m, v).clamp(min=tau).sum(-1).mean(),),
        ),
        "tolerance_of_the_batch": Mistake(
            "the floor is under the mean of the batch: pictures below it are pushed as long as others lie above.",
            "the loss was averaged first, and its last line is where one thinks of the tolerance.",
            (lambda m, v, tau: _divergence(m, v).sum(-1).mean().clamp(min=tau * m.shape[-1]),),
        ),
        "tolerance_taken_off": Mistake(
            "the tolerance is taken off the divergence; the gradients are right, and the bound reads too good.",
            "relu(KL - free) and max(KL, free) differ by a constant, which no gradient sees.",
            (lambda m, v, tau: (_divergence(m, v).sum(-1) - tau * m.shape[-1]).clamp(min=0.0).mean(),),
        ),
        "tolerance_missing": Mistake(
            "there is no tolerance: every nat costs, and rare things are not worth theirs.",
            "the formula of the bound has none; it stands in the authors' code.",
            (lambda m, v, tau: _divergence(m, v).sum(-1).mean(),),
        ),
        "tolerant_logvar_for_std": Mistake(
            "what the network gives is taken for the standard deviation, where it is the logarithm of the variance.",
            "papers write sigma; code keeps log sigma^2, which may have any sign.",
            (
                _tolerant(lambda m, v: 0.5 * (m**2 + v**2 - 1.0 - (v**2 + 1e-8).log())),
                _tolerant(lambda m, v: 0.5 * (m**2 + v**2 - 1.0 - (v**2).log())),
                _tolerant(lambda m, v: 0.5 * (m**2 + v**2 - 1.0 - 2.0 * v.abs().log())),
            ),
        ),
        "tolerant_log_std": Mistake(
            "the number is taken for the logarithm of the deviation: variances come out squared.",
            "M's mixture keeps log sigma, V keeps log sigma^2.",
            (_tolerant(lambda m, v: 0.5 * (m**2 + (2.0 * v).exp() - 1.0 - 2.0 * v)),),
        ),
        "tolerant_half_missing": Mistake(
            "the factor 1/2 is missing: the divergence is twice what it is.",
            "the four terms are easily remembered, the half in front of them is not.",
            (_tolerant(lambda m, v: 2.0 * _divergence(m, v)),),
        ),
        "tolerant_reversed": Mistake(
            "KL(N(0, 1) || q) instead of KL(q || N(0, 1)).",
            "the two arguments look alike; samples come from q, so q stands first.",
            (_tolerant(lambda m, v: 0.5 * ((1.0 + m**2) * (-v).exp() - 1.0 + v)),),
        ),
        "tolerant_mean_over_numbers": Mistake(
            "the nats of a picture are averaged over its numbers, and not summed: the more numbers z has, the less a"
            " picture pays for all of them.",
            "mean() takes both means at once; the floor for one number looks right beside it.",
            (
                lambda m, v, tau: _divergence(m, v).mean(-1).clamp(min=tau).mean(),
                lambda m, v, tau: _divergence(m, v).mean(-1).clamp(min=tau * m.shape[-1]).mean(),
            ),
        ),
        "tolerant_sum_over_batch": Mistake(
            "the pictures of the batch are summed up: the larger the batch, the more the divergence weighs.",
            "the picture's loss is a mean over the batch, and the two must be counted alike.",
            (lambda m, v, tau: _divergence(m, v).sum(-1).clamp(min=tau * m.shape[-1]).sum(),),
        ),
    },
)  # fmt: skip


# The likelihood of a mixture ------------------------------------------------------------------------------------------

LOG_ROOT = 0.5 * math.log(2.0 * math.pi)


def _of_each(mean: Tensor, log_std: Tensor, z: Tensor) -> Tensor:
    """Log-density of each component, (B, Z, K)."""
    return -0.5 * ((z.unsqueeze(-1) - mean) / log_std.exp()) ** 2 - log_std - LOG_ROOT


def right_mixture_log_prob(logit: Tensor, mean: Tensor, log_std: Tensor, z: Tensor) -> Tensor:
    """Log-density of each number of z under its own mixture: three times (B, Z, K), and (B, Z) -> (B, Z)."""
    return torch.logsumexp(torch.log_softmax(logit, -1) + _of_each(mean, log_std, z), -1)


def _mixed(weigh: Function) -> Function:
    """The likelihood with other weights: `weigh` has the logits and the log-densities of the components."""
    return lambda logit, mean, log_std, z: weigh(logit, _of_each(mean, log_std, z))


def _with(density: Function) -> Function:
    """The likelihood with other densities of the components."""
    return lambda logit, mean, log_std, z: torch.logsumexp(
        torch.log_softmax(logit, -1) + density(mean, log_std, z.unsqueeze(-1)), -1
    )


MIXTURE_LOG_PROB = Part(
    name="mixture_log_prob",
    right=right_mixture_log_prob,
    batched=("logit", "mean", "log_std", "z"),
    gradient_to=("logit", "mean", "log_std"),
    cases=(
        {
            "logit": torch.tensor([[[0.0, 1.0]]]), "mean": torch.tensor([[[-1.0, 1.0]]]),
            "log_std": torch.tensor([[[-0.5, 0.5]]]), "z": torch.tensor([[0.5]]),
        },
        *(
            {
                "logit": uniform(seed, *shape, COMPONENTS, dtype=dtype),
                "mean": uniform(seed + 1, *shape, COMPONENTS, dtype=dtype),
                "log_std": uniform(seed + 2, *shape, COMPONENTS, dtype=dtype, low=-1.0, high=0.5),
                "z": uniform(seed + 3, *shape, dtype=dtype),
            }
            for seed, shape, dtype in variations()
        ),
        # far from every component: the densities themselves are too small for a float
        {
            "logit": torch.tensor([[[0.5, -0.5]]]), "mean": torch.tensor([[[0.0, 1.0]]]),
            "log_std": torch.tensor([[[0.0, 0.0]]]), "z": torch.tensor([[60.0]]),
        },
    ),
    mistakes={
        "mixture_weights_not_logarithms": Mistake(
            "weights are added to logarithms of densities; weights multiply densities, so their logarithms are added.",
            "softmax gives the weights, and everything else here is a logarithm already.",
            (_mixed(lambda logit, p: torch.logsumexp(logit.softmax(-1) + p, -1)),),
        ),
        "mixture_weights_over_numbers": Mistake(
            "the weights are normalised over the numbers of z (-2), and not over the components (-1).",
            "after a reshape the axes are easily taken for each other, and a softmax along either runs.",
            (_mixed(lambda logit, p: torch.logsumexp(torch.log_softmax(logit, -2) + p, -1)),),
        ),
        "mixture_weights_over_batch": Mistake(
            "the weights are normalised over the batch: what one sequence may do depends on the others beside it.",
            "the first axis was taken for that of the components.",
            (_mixed(lambda logit, p: torch.logsumexp(torch.log_softmax(logit, 0) + p, -1)),),
        ),
        "mixture_weights_times_logarithms": Mistake(
            "weights multiply the logarithms of the densities; they multiply densities, so their logarithms are added.",
            "in the formula a weight stands in front of its density, and the density is a logarithm by then.",
            (_mixed(lambda logit, p: torch.logsumexp(logit.softmax(-1) * p, -1)),),
        ),
        "mixture_mean_of_logarithms": Mistake(
            "the logarithms are averaged with the weights; the logarithm of the average is wanted.",
            "expectations of losses are everywhere; here each component would have to explain every z.",
            (_mixed(lambda logit, p: (logit.softmax(-1) * p).sum(-1)),),
        ),
        "mixture_best_only": Mistake(
            "only the most likely component counts.",
            "max is the hard form of logsumexp, and often close to it.",
            (_mixed(lambda logit, p: (torch.log_softmax(logit, -1) + p).amax(-1)),),
        ),
        "mixture_underflows": Mistake(
            "the densities are added up before the logarithm is taken: far away all of them are 0.",
            "that is the formula as it stands in the paper; in float32, exp(-104) is nothing.",
            (
                _mixed(lambda logit, p: (logit.softmax(-1) * p.exp()).sum(-1).log()),
                _mixed(lambda logit, p: ((logit.softmax(-1) * p.exp()).sum(-1) + 1e-8).log()),
            ),
        ),
        "mixture_without_width": Mistake(
            "-log sigma is missing: wide components cost nothing, and M learns to be sure of nothing.",
            "it is what is left of the 1 / sigma in front of the exponential.",
            (_with(lambda m, s, z: -0.5 * ((z - m) / s.exp()) ** 2 - LOG_ROOT),),
        ),
        "mixture_without_constant": Mistake(
            "log(sqrt(2 pi)) is missing: the gradients are right, and the nats are not nats.",
            "constants are left out where only gradients matter.",
            (_with(lambda m, s, z: -0.5 * ((z - m) / s.exp()) ** 2 - s),),
        ),
        "mixture_logvar": Mistake(
            "log sigma is taken for log sigma^2, as V has it: deviations come out as their roots.",
            "two networks, two habits: the authors' V gives logvar, their M logstd.",
            (_with(lambda m, s, z: -0.5 * (z - m) ** 2 / s.exp() - 0.5 * s - LOG_ROOT),),
        ),
        "mixture_std": Mistake(
            "log sigma is taken for sigma itself.",
            "its name was read without its first half.",
            (
                _with(lambda m, s, z: -0.5 * ((z - m) / s) ** 2 - s.log() - LOG_ROOT),
                _with(lambda m, s, z: -0.5 * ((z - m) / s) ** 2 - s.abs().log() - LOG_ROOT),
                _with(lambda m, s, z: -0.5 * ((z - m) / s) ** 2 - s - LOG_ROOT),
            ),
        ),
        "mixture_half_missing": Mistake(
            "the 1/2 in the exponent is missing: components are narrower than they say.",
            "the square catches the eye, the half does not.",
            (_with(lambda m, s, z: -(((z - m) / s.exp()) ** 2) - s - LOG_ROOT),),
        ),
        "mixture_negative": Mistake(
            "this is the loss, the negative of what is asked for.",
            "a loss is what one writes next.",
            (lambda *given: -right_mixture_log_prob(*given),),
        ),
    },
)  # fmt: skip


# Temperature ----------------------------------------------------------------------------------------------------------


def right_tempered(
    log_weight: Tensor, mean: Tensor, log_std: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights to the power 1 / tau, normalised; variances times tau: (B, Z, K) each."""
    return (
        torch.log_softmax(log_weight / temperature, -1),
        mean,
        log_std + 0.5 * math.log(temperature),
    )


def _weights(change: Callable[[Tensor, float], Tensor]) -> Function:
    return lambda w, m, s, tau: (change(w, tau), m, s + 0.5 * math.log(tau))


def _deviations(change: Callable[[Tensor, float], Tensor]) -> Function:
    return lambda w, m, s, tau: (torch.log_softmax(w / tau, -1), m, change(s, tau))


TEMPERED = Part(
    name="tempered",
    right=right_tempered,
    batched=("log_weight", "mean", "log_std"),
    container=tuple,
    returns=("log_weight", "mean", "log_std"),
    cases=tuple(
        {
            "log_weight": uniform(seed, *shape, COMPONENTS, dtype=dtype).log_softmax(-1),
            "mean": uniform(seed + 1, *shape, COMPONENTS, dtype=dtype),
            "log_std": uniform(seed + 2, *shape, COMPONENTS, dtype=dtype),
            "temperature": temperature,
        }
        for (seed, shape, dtype), temperature in zip(
            variations(), (0.25, 0.5, 1.0, 1.15, 1.3, 2.0, 0.1, 4.0), strict=True
        )
    ),
    mistakes={
        "temperature_on_the_log_deviation": Mistake(
            "the logarithm of the deviation is multiplied, which makes a power of it.",
            "what is at hand is the logarithm; a factor becomes a summand there.",
            (_deviations(lambda s, tau: s * tau), _deviations(lambda s, tau: s * math.sqrt(tau)),
             _deviations(lambda s, tau: s / tau)),
        ),
        "temperature_divides_the_variance": Mistake(
            "the variance is divided by tau: the hotter, the narrower.",
            "the logarithms of the weights are divided, and one hand follows the other.",
            (_deviations(lambda s, tau: s - 0.5 * math.log(tau)),),
        ),
        "temperature_of_weights_alone": Mistake(
            "only the choice of the component is calmed; the noise of the one chosen is as before.",
            "in language models a temperature has nothing else to change.",
            (_deviations(lambda s, tau: s),),
        ),
        "temperature_of_noise_alone": Mistake(
            "only the noise is calmed; the choice between components is as before.",
            "for one Gaussian that would be all.",
            (_weights(lambda w, tau: w),),
        ),
        "temperature_multiplies_the_weights": Mistake(
            "the logarithms are multiplied by tau: a cold dream jumps about, a hot one is sure of itself.",
            "weights are to become more equal as tau grows, so their logarithms are divided.",
            (_weights(lambda w, tau: torch.log_softmax(w * tau, -1)),),
        ),
        "temperature_not_normalised": Mistake(
            "after the power the weights no longer sum to 1.",
            "they did before, and the division looks harmless.",
            (_weights(lambda w, tau: w / tau),),
        ),
        "temperature_normalised_over_numbers": Mistake(
            "the weights are normalised over the numbers of z instead of the components.",
            "-2 and -1 are easily confused, and either runs.",
            (_weights(lambda w, tau: torch.log_softmax(w / tau, -2)),),
        ),
        "temperature_moves_the_means": Mistake(
            "the means change, too: a cold dream would lie elsewhere.",
            "all three are handed over, and all three were divided.",
            (
                lambda w, m, s, tau: (torch.log_softmax(w / tau, -1), m / tau, s + 0.5 * math.log(tau)),
                lambda w, m, s, tau: (torch.log_softmax(w / tau, -1), m * tau, s + 0.5 * math.log(tau)),
            ),
        ),
        "temperature_softmax_of_weights": Mistake(
            "the weights themselves go into the softmax; it takes logarithms, and makes other weights of them.",
            "the formula has powers of weights, so exp is taken first, and the softmax takes it once more.",
            (
                _weights(lambda w, tau: torch.log_softmax(w.exp() ** (1.0 / tau), -1)),
                _weights(lambda w, tau: torch.log_softmax(w.exp() / tau, -1)),
            ),
        ),
        "temperature_weights_not_logarithms": Mistake(
            "weights come back, where logarithms of weights are asked for.",
            "softmax is the nearest function that normalises.",
            (_weights(lambda w, tau: torch.softmax(w / tau, -1)),),
        ),
    },
)  # fmt: skip


# In the package -------------------------------------------------------------------------------------------------------

BOUND, AT = vision.bound, Mixture.at


def bound_with_a_ceiling(
    posterior: Gaussian, decode: Callable[[Tensor], Image], obs: Tensor, tolerance: float
) -> dict[str, Tensor]:
    """The divergence of a picture counts up to the tolerance, and no further."""
    mean, logvar = posterior.mean, posterior.logvar
    divergence = posterior.kl(Gaussian(torch.zeros_like(mean), torch.zeros_like(logvar)))
    right = BOUND(posterior, decode, obs, tolerance)
    return {**right, "divergence": divergence.clamp(max=tolerance * mean.shape[-1]).mean()}


def of_logits(mixture: type[Mixture], raw: Tensor, components: int) -> Mixture:
    """What the network gives, taken for logarithms of weights as it is."""
    return mixture(*raw.reshape(*raw.shape[:-1], -1, 3, components).unbind(-2))


def at_another_deviation(mixture: Mixture, temperature: float) -> Mixture:
    """Deviations times the temperature."""
    right = AT(mixture, temperature)
    return Mixture(right.log_weight, right.mean, mixture.log_std + math.log(temperature))


TESTS = "test_world_models_2018.py::"

PARTS = (TOLERANT_DIVERGENCE, MIXTURE_LOG_PROB, TEMPERED)
BUGS = (
    Bug(
        name="tolerance_as_a_ceiling",
        story="The tolerance is the most that a picture pays for its code, and not the least.",
        symptom="Codes drift apart without end: pictures come back sharp, and M has to foresee numbers of any size.",
        innocent="The picture's loss, which even falls; and the divergence, which stays small and still.",
        source="https://github.com/hardmaru/WorldModelsExperiments/issues/8",
        breaks="world_models_2018.vision.bound, the divergence of a picture",
        caught_by=(f"{TESTS}test_nats_below_the_tolerance_cost_nothing_and_those_above_cost_all",
                   f"{TESTS}test_each_picture_has_a_tolerance_of_its_own"),
        replaces=in_the_place_of(vision, "bound", bound_with_a_ceiling),
        forms={TOLERANT_DIVERGENCE: Mistake(
            "the tolerance is the most a picture pays, and not the least: beyond it nothing holds the codes together.",
            "'clip the KL at the tolerance' can be read both ways; free nats are a floor, a maximum.",
            (lambda m, v, tau: _divergence(m, v).sum(-1).clamp(max=tau * m.shape[-1]).mean(),),
        )},
    ),
    Bug(
        name="mixture_weights_not_normalised",
        story="The logits of M's mixture are taken for logarithms of weights: they do not sum to 1.",
        symptom="M's loss falls below what is possible, and where its Gaussians lie matters ever less to it.",
        innocent="The loss of z, which has never been so low; rewards and ends.",
        source="https://github.com/tonyduan/mixture-density-network/pull/4",
        breaks="world_models_2018.memory.Mixture.of, the weights",
        caught_by=(f"{TESTS}test_the_weights_are_normalised_over_the_components_of_each_number",),
        replaces=((Mixture, "of", classmethod(of_logits)),),
        forms={MIXTURE_LOG_PROB: Mistake(
            "the logits are taken for logarithms of weights: the weights do not sum to 1, and growing logits alone"
            " lower the loss without end.",
            "logsumexp over the sum looks complete; the normalisation is a second logsumexp, over the logits.",
            (_mixed(lambda logit, p: torch.logsumexp(logit + p, -1)),),
        )},
    ),
    Bug(
        name="temperature_on_the_deviation",
        story="The standard deviation is multiplied by the temperature, where the variance should be.",
        symptom="Cold dreams are colder than they say, hot ones hotter: another temperature is best than in the paper.",
        innocent="Every loss, and the dream at temperature 1.",
        source="https://github.com/distillpub/post--handwriting/issues/6",
        breaks="world_models_2018.memory.Mixture.at, the standard deviations",
        caught_by=(f"{TESTS}test_temperature_multiplies_the_variance_and_sharpens_the_weights",),
        replaces=in_the_place_of(Mixture, "at", at_another_deviation), needs={"temperature": 0.25},
        forms={TEMPERED: Mistake(
            "the standard deviation is multiplied by tau; the variance is to be, so the deviation by its root.",
            "the authors' code multiplies the noise by sqrt(tau), and the root is easily lost.",
            (_deviations(lambda s, tau: s + math.log(tau)),),
        )},
    ),
)  # fmt: skip
