"""Checks of chapter 17: V, M and C of World Models 2018."""

from wm_tutorial.check.diagnosis import examine
from wm_tutorial.mistakes.controllers import DREAM_RETURN, REMEMBERED
from wm_tutorial.mistakes.mixtures import MIXTURE_LOG_PROB, TEMPERED, TOLERANT_DIVERGENCE
from wm_tutorial.mistakes.part import Function


def tolerant_divergence(function: Function) -> bool:
    """Check `tolerant_divergence(mean, logvar, tolerance)`: V's second loss.

    mean       (B, Z) of the posterior
    logvar     (B, Z) logarithm of its variance
    tolerance  nats for each of the Z numbers of a picture that cost nothing
    ->         a number: KL(posterior || N(0, 1)) of each picture, but at least tolerance times Z; mean over the batch

    check.tolerant_divergence(my_tolerant_divergence)
    """
    return examine(TOLERANT_DIVERGENCE, function)


def mixture_log_prob(function: Function) -> bool:
    """Check `mixture_log_prob(logit, mean, log_std, z)`: how likely M found what came.

    logit    (B, Z, K) weights of K Gaussians before they are normalised, for each number of z
    mean     (B, Z, K)
    log_std  (B, Z, K) logarithm of the standard deviation
    z        (B, Z)
    ->       (B, Z) log-density of each number in nats, also where every component is far away

    check.mixture_log_prob(my_mixture_log_prob)
    """
    return examine(MIXTURE_LOG_PROB, function)


def tempered(function: Function) -> bool:
    """Check `tempered(log_weight, mean, log_std, temperature)`: a mixture, calmer or wilder.

    log_weight   (B, Z, K) logarithms of weights that sum to 1 over K
    mean         (B, Z, K)
    log_std      (B, Z, K) logarithm of the standard deviation
    temperature  tau, above 0
    ->           a tuple (log_weight, mean, log_std): weights to the power 1 / tau, normalised; variances times tau

    check.tempered(my_tempered)
    """
    return examine(TEMPERED, function)


def remembered(function: Function) -> bool:
    """Check `remembered(z, action, is_first, memory_size, step)`: the h that C may see in each row.

    z            (B, T, Z)
    action       (B, T, A) a_t, chosen after seeing row t
    is_first     (B, T) bool, an episode begins in row t: h_t is zeros there, as it is in row 0
    memory_size  D
    step         a function (h_t (B, D), z_t (B, Z), a_t (B, A)) -> h_{t+1} (B, D)
    ->           (B, T, D) h_0 .. h_{T-1}: h_t knows the rows before t, with their actions, and nothing of row t

    check.remembered(my_remembered)
    """
    return examine(REMEMBERED, function)


def dream_return(function: Function) -> bool:
    """Check `dream_return(reward, done)`: what dreams of H steps are worth.

    reward  (N, H) of each step
    done    (N, H) bool, the dream ends with this step; M goes on predicting all the same
    ->      (N,) the sum of the rewards up to the first end, that of the step that ends included

    check.dream_return(my_dream_return)
    """
    return examine(DREAM_RETURN, function)
