"""Checks of what a reader builds: each says in one line that a function is right, or what is wrong with it.

from wm_tutorial import check
check.lambda_returns(my_lambda_returns)

Every check prints, and returns whether the function is right. The signature a function must have stands in the
docstring of its check: `help(check.lambda_returns)`. The order of the arguments counts, their names do not.

check.report("06")

says which exercises of a chapter are right, tried or not tried, and keeps the score over all chapters.
"""

from wm_tutorial.check.assembly import clip_by_share, laprop, replay_returns, slow_update, write_back
from wm_tutorial.check.categorical import (
    categorical_kl,
    categorical_sample,
    expected_gradient,
    price_of_independence,
    straight_through,
    unimix,
)
from wm_tutorial.check.continuous import (
    bounded_normal,
    executed_action,
    normal_entropy,
    normal_log_prob,
    pathwise_dream,
    scaled_action,
)
from wm_tutorial.check.costs import (
    averaged_gradient,
    flop_of_dense,
    replay_bytes,
    ring_all_reduce_seconds,
    updates_of_run,
)
from wm_tutorial.check.diagnosis import examine
from wm_tutorial.check.measuring import (
    agents_interval,
    interquartile_mean,
    matched_differences,
    promised_and_kept,
    rank_correlation,
)
from wm_tutorial.check.memory import block_linear, gated_update, linear_probe, observe_sequence, rssm_step
from wm_tutorial.check.own_env import environment, greenhouse, lighthouse_observation, shaped_reward
from wm_tutorial.check.pixels import column_probe, convolution_size, image_loss, planes, upsample_convolve
from wm_tutorial.check.planner import candidate_returns, cross_entropy, refit, shifted_plan
from wm_tutorial.check.progress import report
from wm_tutorial.check.scale import return_range, scaled_advantage, two_hot_slope
from wm_tutorial.check.testing import reach, returns_test, row_faults, silent_mistake
from wm_tutorial.check.world_models import (
    dream_return,
    mixture_log_prob,
    remembered,
    tempered,
    tolerant_divergence,
)
from wm_tutorial.mistakes import PARTS, Mistake, Part
from wm_tutorial.mistakes.alignment import ALIGNMENT
from wm_tutorial.mistakes.balance import KL_BALANCE, SAMPLED_KL, TEACHING_SHARE
from wm_tutorial.mistakes.critic import CRITIC_LOSS
from wm_tutorial.mistakes.dynamics import DYNAMICS_STEP, PRIOR_INPUTS
from wm_tutorial.mistakes.episodes import DISCOUNTED_RETURN, EPISODE_RETURNS
from wm_tutorial.mistakes.heads import CONTINUE_LOSS, CONTINUE_TARGET, FALSE_DEATH_VALUE
from wm_tutorial.mistakes.horizon import USEFUL_HORIZON
from wm_tutorial.mistakes.imagination import IMAGINATION
from wm_tutorial.mistakes.kl import GAUSSIAN_KL
from wm_tutorial.mistakes.latents import SAMPLE, SIGNAL_SHARE
from wm_tutorial.mistakes.n_steps import LAMBDA_WEIGHTS, N_STEP_RETURN
from wm_tutorial.mistakes.part import Function
from wm_tutorial.mistakes.policy import BANDIT_GRADIENT, POLICY_LOSS
from wm_tutorial.mistakes.replay import REPLAY_SAMPLE
from wm_tutorial.mistakes.returns import LAMBDA_RETURNS
from wm_tutorial.mistakes.training import FAIR_MEAN, UPDATES_DUE
from wm_tutorial.mistakes.transforms import SYMEXP, SYMLOG, TWO_HOT, TWO_HOT_MEAN
from wm_tutorial.mistakes.weights import IMAGINED_RETURN, IMAGINED_WEIGHT

__all__ = [
    "PARTS", "Mistake", "Part", "agents_interval", "alignment", "averaged_gradient", "bandit_gradient",
    "block_linear", "bounded_normal", "candidate_returns", "categorical_kl", "categorical_sample", "clip_by_share",
    "column_probe", "continue_loss", "continue_target", "convolution_size", "critic_loss", "cross_entropy",
    "discounted_return", "dream_return", "dynamics_step", "environment", "episode_returns", "executed_action",
    "expected_gradient", "fair_mean", "false_death_value", "flop_of_dense", "gated_update", "gaussian_kl",
    "greenhouse", "image_loss", "imagination", "imagined_return", "imagined_weight", "interquartile_mean",
    "kl_balance", "lambda_returns", "lambda_weights", "laprop", "lighthouse_observation", "linear_probe",
    "matched_differences", "mixture_log_prob", "n_step_return", "normal_entropy", "normal_log_prob",
    "observe_sequence", "pathwise_dream", "planes", "policy_loss", "price_of_independence", "prior_inputs",
    "promised_and_kept", "rank_correlation", "reach", "refit", "remembered", "replay_bytes", "replay_returns",
    "replay_sample", "report", "return_range", "returns_test", "ring_all_reduce_seconds", "row_faults", "rssm_step",
    "sample", "sampled_kl", "scaled_action", "scaled_advantage", "shaped_reward", "shifted_plan", "signal_share",
    "silent_mistake", "slow_update", "straight_through", "symexp", "symlog", "teaching_share", "tempered",
    "tolerant_divergence", "two_hot", "two_hot_mean", "two_hot_slope", "unimix", "updates_due", "updates_of_run",
    "upsample_convolve", "useful_horizon", "write_back",
]  # fmt: skip


def lambda_returns(function: Function) -> bool:
    """Check `lambda_returns(reward, discount, value, lam)`: the returns of imagined steps.

    reward    (B, H) r_1 .. r_H, on arriving
    discount  (B, H) d_1 .. d_H, gamma times continue of the arriving state
    value     (B, H) v_1 .. v_H, of the arriving state; the last one is the bootstrap
    lam       a number from 0 to 1
    ->        (B, H) R_0 .. R_{H-1}, where R_t = r_{t+1} + d_{t+1} ((1 - lam) v_{t+1} + lam R_{t+1}) and R_H = v_H

    check.lambda_returns(my_lambda_returns)
    """
    return examine(LAMBDA_RETURNS, function)


def n_step_return(function: Function) -> bool:
    """Check `n_step_return(reward, discount, value, n)`: n rewards, then the critic.

    reward    (B, H) r_1 .. r_H, on arriving
    discount  (B, H) d_1 .. d_H, gamma times continue of the arriving state
    value     (B, H) v_1 .. v_H, of the arriving state
    n         from 1 to H
    ->        (B,) r_1 + d_1 r_2 + d_1 d_2 r_3 + .. + d_1 .. d_{n-1} r_n + d_1 .. d_n v_n

    check.n_step_return(my_n_step_return)
    """
    return examine(N_STEP_RETURN, function)


def lambda_weights(function: Function) -> bool:
    """Check `lambda_weights(horizon, lam)`: how much each n-step return counts in the lambda return of s_0.

    horizon  H, at least 1
    lam      a number from 0 to 1
    ->       (H,) float32, the weights of the returns of 1, 2, .. H steps

    check.lambda_weights(my_lambda_weights)
    """
    return examine(LAMBDA_WEIGHTS, function)


def discounted_return(function: Function) -> bool:
    """Check `discounted_return(reward, gamma)`: what an episode is worth at its beginning.

    reward  (n,) the rewards of an episode in order, r_1 .. r_n
    gamma   worth of a reward one step later
    ->      () r_1 + gamma r_2 + gamma^2 r_3 + ...

    check.discounted_return(my_discounted_return)
    """
    return examine(DISCOUNTED_RETURN, function)


def episode_returns(function: Function) -> bool:
    """Check `episode_returns(reward, is_first, is_last)`: the returns of the episodes in a stream of rows.

    reward    (R,) on arriving in each row
    is_first  (R,) bool, an episode begins
    is_last   (R,) bool, an episode ends
    ->        (E,) the return of every episode that both begins and ends within these rows, in order, not discounted

    check.episode_returns(my_episode_returns)
    """
    return examine(EPISODE_RETURNS, function)


def symlog(function: Function) -> bool:
    """Check `symlog(x)`: sign(x) ln(1 + |x|), any shape -> the same shape.

    check.symlog(my_symlog)
    """
    return examine(SYMLOG, function)


def symexp(function: Function) -> bool:
    """Check `symexp(x)`: sign(x) (exp(|x|) - 1), any shape -> the same shape.

    check.symexp(my_symexp)
    """
    return examine(SYMEXP, function)


def two_hot(function: Function) -> bool:
    """Check `two_hot(x, bins)`: numbers as weights of the two bins beside each.

    x     (B,)  any numbers; those beyond the last bins count as the last bins
    bins  (K,)  rising, in the units of x, at any distances
    ->    (B, K), the weights of a number sum to 1

    check.two_hot(my_two_hot)
    """
    return examine(TWO_HOT, function)


def two_hot_mean(function: Function) -> bool:
    """Check `two_hot_mean(probabilities, bins)`: the expected number.

    probabilities  (B, K)
    bins           (K,) in the units of the number
    ->             (B,)

    check.two_hot_mean(my_two_hot_mean)
    """
    return examine(TWO_HOT_MEAN, function)


def gaussian_kl(function: Function) -> bool:
    """Check `gaussian_kl(posterior_mean, posterior_logvar, prior_mean, prior_logvar)`: KL(posterior || prior) in nats.

    all four  (..., Z), of diagonal Gaussians
    ->        (...), summed over Z, with gradient to all four

    check.gaussian_kl(my_gaussian_kl)
    """
    return examine(GAUSSIAN_KL, function)


def sampled_kl(function: Function) -> bool:
    """Check `sampled_kl(log_posterior, log_prior)`: KL(posterior || prior) estimated from N samples, never negative.

    log_posterior  (N, B) log-density, under the posterior, of each of N samples of the posterior
    log_prior      (N, B) of the same samples under the prior
    ->             (B,), the mean over the N samples of (prior/posterior - 1) - ln(prior/posterior)

    check.sampled_kl(my_sampled_kl)
    """
    return examine(SAMPLED_KL, function)


def kl_balance(function: Function) -> bool:
    """Check `kl_balance(posterior_mean, posterior_logvar, prior_mean, prior_logvar, alpha)`: DreamerV2's balanced KL.

    all four  (..., Z), of diagonal Gaussians
    alpha     the share of the gradient that teaches the prior
    ->        (...), alpha KL(sg(posterior) || prior) + (1 - alpha) KL(posterior || sg(prior)), summed over Z

    check.kl_balance(my_kl_balance)
    """
    return examine(KL_BALANCE, function)


def teaching_share(function: Function) -> bool:
    """Check `teaching_share(kl, free_nats)`: the share of states whose divergence is above the free nats.

    kl         (B, T, Z) divergence of each latent by itself
    free_nats  the threshold, in nats per state
    ->         (), from 0 (the KL teaches nobody) to 1

    check.teaching_share(my_teaching_share)
    """
    return examine(TEACHING_SHARE, function)


def sample(function: Function) -> bool:
    """Check `sample(mean, logvar)`: a reparameterised sample of a diagonal Gaussian.

    mean    (B, Z)
    logvar  (B, Z) natural logarithm of the variance
    ->      (B, Z), with gradient to both, and noise of its own in every number

    Samples are random, so their statistics are compared: a right function passes whatever generator it uses.

    check.sample(my_sample)
    """
    return examine(SAMPLE, function)


def signal_share(function: Function) -> bool:
    """Check `signal_share(mean, logvar)`: how much of a sampled latent the observation decides.

    mean    (B, Z) of the latents of B observations
    logvar  (B, Z) natural logarithm of their variances
    ->      (Z,) the variance of the means over the B rows, divided by itself plus the mean of the B variances;
            every average over rows divides by B

    check.signal_share(my_signal_share)
    """
    return examine(SIGNAL_SHARE, function)


def dynamics_step(function: Function) -> bool:
    """Check `dynamics_step(latent, action, net)`: the prior of the next latent.

    latent  (B, Z)
    action  (B, A)
    net     a function (B, Z + A) -> (B, 2 Z): call it once on latent and action side by side, in this order
    ->      a tuple (mean, logvar), each (B, Z): the first half of the output as it is, and the second half x brought
            between -10 and 2 as -10 + 12 sigmoid(x); with gradient to latent and action

    check.dynamics_step(my_dynamics_step)
    """
    return examine(DYNAMICS_STEP, function)


def prior_inputs(function: Function) -> bool:
    """Check `prior_inputs(latent, previous_action, is_first, start)`: what the prior of each row is computed from.

    latent           (B, T, Z) z_t
    previous_action  (B, T, A) a_{t-1}, what led to row t
    is_first         (B, T) bool, an episode begins in row t
    start            (B, Z) the latent one row before the sequence
    ->               a tuple of the latent before, (B, T, Z), and the action before, (B, T, A): what is known of row
                     t - 1, and zeros where an episode begins

    check.prior_inputs(my_prior_inputs)
    """
    return examine(PRIOR_INPUTS, function)


def useful_horizon(function: Function) -> bool:
    """Check `useful_horizon(model_error, persistence_error)`: how many rows a prediction is better than none.

    model_error        (B, H) errors in the first to the H-th predicted row of each sequence
    persistence_error  (B, H) errors of holding the last row seen
    ->                 (B,) int64, 0..H: the rows, counted from the first, before the model's error is for the first
                       time not below that of persistence

    check.useful_horizon(my_useful_horizon)
    """
    return examine(USEFUL_HORIZON, function)


def imagination(function: Function) -> bool:
    """Check `imagination(start, policy, step, reward, horizon)`: the policy acts for H steps inside the model.

    start    (B, Z) s_0
    policy   a function: state (B, Z) -> action (B, A)
    step     a function: state (B, Z), action (B, A) -> next state (B, Z)
    reward   a function: state (B, Z) -> reward (B,) for arriving in it
    horizon  H
    ->       a dict: "latent" (B, H + 1, Z), s_0 .. s_H; "action" (B, H, A), a_0 .. a_{H-1}, a_t chosen in s_t;
             "reward" (B, H), r_1 .. r_H

    check.imagination(my_imagination)
    """
    return examine(IMAGINATION, function)


def imagined_weight(function: Function) -> bool:
    """Check `imagined_weight(continue_, gamma)`: how much each imagined step counts.

    continue_  (B, H + 1) probability that the episode goes on after s_0 .. s_H
    gamma      a number from 0 to 1
    ->         (B, H) for s_0 .. s_{H-1}: c_0, c_0 gamma c_1, c_0 gamma c_1 gamma c_2, ..

    check.imagined_weight(my_imagined_weight)
    """
    return examine(IMAGINED_WEIGHT, function)


def imagined_return(function: Function) -> bool:
    """Check `imagined_return(reward, continue_)`: what a dream pays, without discount, until it ends.

    reward     (B, H) r_1 .. r_H, on arriving
    continue_  (B, H + 1) probability that the episode goes on after s_0 .. s_H
    ->         (B,) the sum of the rewards, each times the probability that the episode came that far

    check.imagined_return(my_imagined_return)
    """
    return examine(IMAGINED_RETURN, function)


def bandit_gradient(function: Function) -> bool:
    """Check `bandit_gradient(logits, reward)`: how the expected reward changes with each logit, exactly.

    logits  (B, A) of the policy
    reward  (B, A) of each action
    ->      (B, A) the slope of the expected reward under softmax(logits), in the logits

    check.bandit_gradient(my_bandit_gradient)
    """
    return examine(BANDIT_GRADIENT, function)


def policy_loss(function: Function) -> bool:
    """Check `policy_loss(logits, action, returns, value, weight, entropy_scale)`: REINFORCE, per imagined step.

    logits         (B, H, A) of the policy in s_0 .. s_{H-1}
    action         (B, H, A) one-hot, the actions taken
    returns        (B, H) R_0 .. R_{H-1}
    value          (B, H) v_0 .. v_{H-1}
    weight         (B, H) how much each step counts
    entropy_scale  a number
    ->             (B, H) -weight (log_prob (returns - value) + entropy_scale entropy), with gradient to logits only

    check.policy_loss(my_policy_loss)
    """
    return examine(POLICY_LOSS, function)


def critic_loss(function: Function) -> bool:
    """Check `critic_loss(value, target, weight)`: the critic's weighted squared error, per state.

    value   (N, 1) as a network with one output gives it
    target  (N,) returns
    weight  (N,) how much each state counts
    ->      (N,) weight (value - target)^2, with gradient to value only

    check.critic_loss(my_critic_loss)
    """
    return examine(CRITIC_LOSS, function)


def continue_target(function: Function) -> bool:
    """Check `continue_target(is_last, is_terminal, discount)`: what the continue head learns, the discount folded in.

    is_last      (B, T) bool, an episode ends in this row, for whatever reason
    is_terminal  (B, T) bool, it ends because nothing more can be earned
    discount     what a reward one step later is worth
    ->           (B, T) float32: the discount where life goes on, 0 where it is over

    check.continue_target(my_continue_target)
    """
    return examine(CONTINUE_TARGET, function)


def continue_loss(function: Function) -> bool:
    """Check `continue_loss(logit, target)`: binary cross-entropy in nats, finite for every logit.

    logit   (B, T) of the probability that the episode goes on
    target  (B, T) in 0..1
    ->      (B, T), with gradient to the logit

    check.continue_loss(my_continue_loss)
    """
    return examine(CONTINUE_LOSS, function)


def false_death_value(function: Function) -> bool:
    """Check `false_death_value(reward, limit, discount)`: the value a model believes in that takes limits for deaths.

    reward    (B,) what every step pays, for ever
    limit     (B,) steps after which episodes are cut off, and stored as terminal
    discount  what a reward one step later is worth
    ->        (B,) r + discount c (r + discount c (r + ...)), with the c that its continue head learns

    check.false_death_value(my_false_death_value)
    """
    return examine(FALSE_DEATH_VALUE, function)


def alignment(function: Function) -> bool:
    """Check `alignment(obs, action, reward, next_obs, terminated, truncated)`: transitions -> rows of the convention.

    obs         (N, O) what the agent saw
    action      (N, A) what it did then
    reward      (N,)   what it got for that
    next_obs    (N, O) what it saw next
    terminated  (N,) bool, nothing more can be earned
    truncated   (N,) bool, a time limit cut the episode off
    ->          a dict of R rows: "obs" (R, O), "action" (R, A), "previous_action" (R, A), "reward" (R,), and bool (R,)
                "is_first", "is_last", "is_terminal"

    The transitions are several episodes, one after another; another one begins after each that is terminated or
    truncated, and the last one may be unfinished. An episode of n transitions has n + 1 rows. Where there is no action
    (before the first row, after the last one) both action columns hold zeros; the first row has reward 0.

    check.alignment(my_alignment)
    """
    return examine(ALIGNMENT, function)


def replay_sample(function: Function) -> bool:
    """Check `replay_sample(is_first, added, batch, length, rng)`: sequences out of a ring of rows.

    is_first  (capacity,) bool array, a column of the ring: where episodes begin
    added     rows ever added, counted from 0; row n lies at position n % capacity, and only the newest are still held
    batch     B, sequences to draw
    length    T, rows in each
    rng       numpy.random.Generator
    ->        (B, T) array of whole numbers: the positions of T rows that follow one another, every start equally likely

    A sequence may run from one episode into the next, but not over the seam, where the newest row lies beside the
    oldest. Draws are random, so their shares are compared.

    check.replay_sample(my_replay_sample)
    """
    return examine(REPLAY_SAMPLE, function)


def updates_due(function: Function) -> bool:
    """Check `updates_due(steps, prefill, ratio, batch, length)`: how many updates should have been made by now.

    steps    (N,) int64, environment steps taken so far, at N moments of a run
    prefill  steps before learning begins
    ratio    train ratio: rows replayed for every environment step after the prefill
    batch    B, sequences in a batch
    length   T, rows in a sequence; one update replays B T rows
    ->       (N,) int64, whole updates that are due since the beginning

    check.updates_due(my_updates_due)
    """
    return examine(UPDATES_DUE, function)


def fair_mean(function: Function) -> bool:
    """Check `fair_mean(reward, is_last, quota)`: the mean return of episodes run side by side, without bias.

    reward   (N, T) on arriving in each row of N streams; every stream begins with the first row of an episode
    is_last  (N, T) bool, an episode ends; the next row of the stream is the first of another one, with reward 0
    quota    episodes that every stream contributes: its first ones, whatever their length; each stream has that many
    ->       () their mean return, not discounted

    check.fair_mean(my_fair_mean)
    """
    return examine(FAIR_MEAN, function)
