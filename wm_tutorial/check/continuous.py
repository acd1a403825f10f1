"""Checks of chapter 14: the density of an action, its bounds, and a dream that a gradient can go back through."""

from wm_tutorial.check.diagnosis import examine
from wm_tutorial.mistakes.bounds import EXECUTED_ACTION, PATHWISE_DREAM, SCALED_ACTION
from wm_tutorial.mistakes.continuous import BOUNDED_NORMAL, NORMAL_ENTROPY, NORMAL_LOG_PROB
from wm_tutorial.mistakes.part import Function


def bounded_normal(function: Function) -> bool:
    """Check `bounded_normal(raw_mean, raw_std, low, high)`: a policy's mean and standard deviation, within bounds.

    raw_mean, raw_std  (N, A) as a network gives them
    low, high          what the standard deviation lies between, 0.1 and 1 in DreamerV3
    ->                 a tuple (mean, std), each (N, A): tanh(raw_mean), and low + (high - low) sigmoid(raw_std + 2);
                       with gradient to both

    check.bounded_normal(my_bounded_normal)
    """
    return examine(BOUNDED_NORMAL, function)


def normal_log_prob(function: Function) -> bool:
    """Check `normal_log_prob(mean, std, action)`: the log-density of the actions of each step.

    mean, std  (N, H, A) of independent normals
    action     (N, H, A) as drawn; some lie outside of -1..1
    ->         (N, H) in nats, summed over A, with gradient to mean and std

    check.normal_log_prob(my_normal_log_prob)
    """
    return examine(NORMAL_LOG_PROB, function)


def normal_entropy(function: Function) -> bool:
    """Check `normal_entropy(std)`: the entropy of the actions of each step.

    std  (N, H, A) of independent normals
    ->   (N, H) in nats, summed over A, with gradient; it may be negative

    check.normal_entropy(my_normal_entropy)
    """
    return examine(NORMAL_ENTROPY, function)


def scaled_action(function: Function) -> bool:
    """Check `scaled_action(action, low, high)`: a policy's actions in the units of the environment.

    action  (N, A) as drawn; some lie outside of -1..1
    low     (A,) what -1 means
    high    (A,) what 1 means
    ->      (N, A) between low and high: clipped to -1..1 first, then evenly spread

    check.scaled_action(my_scaled_action)
    """
    return examine(SCALED_ACTION, function)


def executed_action(function: Function) -> bool:
    """Check `executed_action(action)`: actions cut off at -1 and 1, with a slope beyond.

    action  (N, A)
    ->      (N, A) the numbers of clamp(-1, 1); the slope is 1 inside, and 1 / |action| outside

    check.executed_action(my_executed_action)
    """
    return examine(EXECUTED_ACTION, function)


def pathwise_dream(function: Function) -> bool:
    """Check `pathwise_dream(start, policy, step, noise)`: a dream whose gradient goes back through every step.

    start   (B, Z) s_0
    policy  a function: state (B, Z) -> mean (B, A), std (B, A); it sees states, and no gradient goes back into them
    step    a function: state (B, Z), action (B, A) -> next state (B, Z)
    noise   (B, H, A) standard normal numbers: a_t = mean + std times those of step t
    ->      a dict: "latent" (B, H + 1, Z), s_0 .. s_H; "action" (B, H, A), a_0 .. a_{H-1}

    check.pathwise_dream(my_pathwise_dream)
    """
    return examine(PATHWISE_DREAM, function)
