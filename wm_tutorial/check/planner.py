"""Checks of chapter 18: what candidates earn in a dream, and the plan that is made of the best of them."""

from wm_tutorial.check.diagnosis import examine
from wm_tutorial.mistakes.elites import CROSS_ENTROPY, REFIT, SHIFTED_PLAN
from wm_tutorial.mistakes.part import Function
from wm_tutorial.mistakes.planner import CANDIDATE_RETURNS


def candidate_returns(function: Function) -> bool:
    """Check `candidate_returns(start, actions, step, reward, continue_)`: what sequences of actions earn in a dream.

    start      (N, Z) s_0 of N environments
    actions    (N, J, H, A) J candidates for each of them, H actions long
    step       a function: state (B, Z), action (B, A) -> next state (B, Z)
    reward     a function: state (B, Z) -> reward (B,) for arriving in it
    continue_  a function: state (B, Z) -> probability (B,) that the episode goes on after it
    ->         (N, J) r_1 + c_1 r_2 + c_1 c_2 r_3 + ..

    check.candidate_returns(my_candidate_returns)
    """
    return examine(CANDIDATE_RETURNS, function)


def refit(function: Function) -> bool:
    """Check `refit(candidates, returns, elites)`: the plan whose candidates would be like the best ones.

    candidates  (N, J, H, A) actions
    returns     (N, J) what each candidate earns
    elites      K, how many of the best count
    ->          a tuple (mean, std), each (N, H, A): the mean of the K elites of each environment, and the root of their
                mean squared distance from it plus 0.000001

    check.refit(my_refit)
    """
    return examine(REFIT, function)


def cross_entropy(function: Function) -> bool:
    """Check `cross_entropy(score, noise, elites)`: the cross-entropy method, and the action that it takes.

    score   a function: actions (N, J, H, A) -> returns (N, J)
    noise   (I, N, J, H, A) standard normal numbers, those of each iteration
    elites  K, how many of the best candidates the plan is refitted to
    ->      a tuple (action, mean, std): (N, A) the first action of the plan's mean; (N, H, A) each, the plan after I
            iterations. It begins with mean 0 and standard deviation 1; candidates are clipped to -1..1

    check.cross_entropy(my_cross_entropy)
    """
    return examine(CROSS_ENTROPY, function)


def shifted_plan(function: Function) -> bool:
    """Check `shifted_plan(mean, is_first)`: what is left of a plan one step later.

    mean      (N, H, A) the plan that was made one step before
    is_first  (N,) bool, an episode begins now
    ->        (N, H, A) its actions without the first, which has been taken, and 0 at the end; all 0 in a new episode

    check.shifted_plan(my_shifted_plan)
    """
    return examine(SHIFTED_PLAN, function)
