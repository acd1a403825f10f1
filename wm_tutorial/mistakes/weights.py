"""How much an imagined step counts: discounts, weights, and what a dream pays."""

import torch
from torch import Tensor

from wm_tutorial.config import Config
from wm_tutorial.data import Trajectory
from wm_tutorial.mistakes.bug import GUIDE, TORCHRL, Bug, Replaces
from wm_tutorial.mistakes.critic import CRITIC_LOSS
from wm_tutorial.mistakes.heads import CONTINUE_TARGET, FALSE_DEATH_VALUE
from wm_tutorial.mistakes.inputs import LATER, one_later, uniform, variations
from wm_tutorial.mistakes.n_steps import DISCOUNT, N_STEP_RETURN
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part, of_wrong
from wm_tutorial.mistakes.policy import POLICY_LOSS
from wm_tutorial.mistakes.returns import CRITICS, LAMBDA_RETURNS

# The weight of imagined steps -----------------------------------------------------------------------------------------


def right_imagined_weight(continue_: Tensor, gamma: float) -> Tensor:
    """The discounted probability (B, H) that the episode still runs in s_0 .. s_{H-1}; continue_ (B, H + 1)."""
    return torch.cumprod(torch.cat([continue_[:, :1], gamma * continue_[:, 1:-1]], 1), 1)


def _weight_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    batch, horizon = shape
    return {"continue_": uniform(seed, batch, horizon + 1, dtype=dtype, low=0.3, high=1.0), "gamma": 0.9}


IMAGINED_WEIGHT = Part(
    name="imagined_weight",
    right=right_imagined_weight,
    batched=("continue_",),
    cases=(
        {"continue_": torch.tensor([[1.0, 0.5, 1.0, 0.0, 1.0, 0.5]]), "gamma": 0.5},
        *(_weight_case(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "start_always_counts": Mistake(
            "the first weight is 1 whatever the start is; a start that is itself an end must count nothing.",
            "a product of no factors is 1; but starts come from real sequences, and some of these rows are the last.",
            (lambda c, gamma: torch.cumprod(torch.cat([torch.ones_like(c[:, :1]), gamma * c[:, 1:-1]], 1), 1),),
        ),
        "start_discounted": Mistake(
            "the start is discounted too; gamma comes in with the first step.",
            "gamma * continue of every state looks simpler.",
            (lambda c, gamma: torch.cumprod(gamma * c[:, :-1], 1),),
        ),
        "continue_missing": Mistake(
            "only gamma counts: steps imagined after an end count nearly fully.",
            "powers of gamma are the usual discount.",
            (lambda c, gamma: gamma ** torch.arange(c.shape[1] - 1).to(c).expand_as(c[:, 1:]),),
        ),
        "not_cumulative": Mistake(
            "each step is weighed by its own continue alone, so the dead rise one step later.",
            "the weight looks like a number of each state; it is one of all the states before it, too.",
            (lambda c, gamma: torch.cat([c[:, :1], gamma * c[:, 1:-1]], 1), lambda c, gamma: c[:, :-1] * gamma,
             lambda c, gamma: c[:, :-1],
             lambda c, gamma: c[:, :-1] * gamma ** torch.arange(c.shape[1] - 1).to(c)),
        ),
        "last_column_kept": Mistake(
            "there are H + 1 weights, one for s_H too; nothing is decided there.",
            "c_H is at hand; drop the last column before the product, or after it.",
            (lambda c, gamma: torch.cumprod(torch.cat([c[:, :1], gamma * c[:, 1:]], 1), 1),
             lambda c, gamma: torch.cumprod(gamma * c, 1), lambda c, gamma: torch.cumprod(c, 1)),
        ),
        "discounted_once": Mistake(
            "gamma is multiplied in once; each step after the start brings another factor.",
            "gamma * cumprod(c) looks like cumprod(gamma * c).",
            (lambda c, gamma: gamma * torch.cumprod(c[:, :-1], 1),
             lambda c, gamma: torch.cat([c[:, :1], gamma * torch.cumprod(c[:, :-1], 1)[:, 1:]], 1)),
        ),
        "summed": Mistake(
            "the factors are added up; that all of these steps are survived is their product.",
            "cumsum and cumprod are neighbours.",
            (lambda c, gamma: torch.cumsum(torch.cat([c[:, :1], gamma * c[:, 1:-1]], 1), 1),),
        ),
        "end_one_step_late": Mistake(
            "the weight of s_t leaves out c_t, so the first state after an end still counts.",
            "a product that begins with 1 is one column behind; c_t tells whether the episode still runs in s_t.",
            (lambda c, gamma: one_later(torch.ones_like)(torch.cumprod(gamma * c[:, :-1], 1)),
             lambda c, gamma: one_later(torch.ones_like)(right_imagined_weight(c, gamma)),
             lambda c, gamma: one_later(torch.ones_like)(torch.cumprod(c[:, :-1], 1))),
        ),
        "continue_rounded": Mistake(
            "continue is made yes or no; it is a probability, and counts as such.",
            "an end is something that happens or not; but the model only knows how likely it is.",
            (lambda c, gamma: right_imagined_weight(c.round(), gamma),
             lambda c, gamma: right_imagined_weight((c >= 0.5).to(c), gamma)),
        ),
    },
)  # fmt: skip


# What a dream pays ----------------------------------------------------------------------------------------------------


def right_imagined_return(reward: Tensor, continue_: Tensor) -> Tensor:
    """What is earned (B,) on average until the dream ends; reward (B, H), continue_ (B, H + 1)."""
    return (continue_[:, :-1].cumprod(1) * reward).sum(1)


def _paid(alive: Function) -> Function:
    """The sum of rewards, each multiplied by what `alive` makes of continue_."""
    return lambda reward, continue_: (alive(continue_) * reward).sum(1)


IMAGINED_RETURN = Part(
    name="imagined_return",
    right=right_imagined_return,
    batched=("reward", "continue_"),
    cases=(
        {
            "reward": torch.tensor([[1.0, 2.0, 4.0, 8.0, 16.0]]),
            "continue_": torch.tensor([[1.0, 1.0, 0.5, 1.0, 0.0, 1.0]]),
        },
        *(
            {"reward": uniform(seed + 1, *shape, dtype=dtype)} | {
                name: value for name, value in _weight_case(seed, shape, dtype).items() if name == "continue_"}
            for seed, shape, dtype in variations()
        ),
    ),
    mistakes={
        "continue_missing": Mistake(
            "rewards after an end count fully.",
            "the sum of the rewards is the usual return; real episodes simply stop, imagined ones go on.",
            (_paid(lambda c: 1.0),),
        ),
        "last_reward_lost": Mistake(
            "the reward on arriving in the last state is lost: whether the episode goes on after it does not matter.",
            "reward and continue of one state look as if they belonged together.",
            (_paid(lambda c: c[:, 1:].cumprod(1)), _paid(lambda c: c.cumprod(1)[:, 1:])),
        ),
        "not_cumulative": Mistake(
            "only the state just before counts, so rewards come back one step after an end.",
            "continue looks like a number of each state; whether the dream still runs depends on all before it.",
            (_paid(lambda c: c[:, :-1]), _paid(lambda c: c[:, 1:])),
        ),
        "start_always_counts": Mistake(
            "c_0 is left out; a dream that starts after an end pays nothing.",
            "the first reward looks certain; but starts come from real sequences, and some of these rows are the last.",
            (_paid(lambda c: torch.cat([torch.ones_like(c[:, :1]), c[:, 1:-1]], 1).cumprod(1)),),
        ),
        "end_one_step_late": Mistake(
            "r_{t+1} is paid as if c_t were unknown, so one reward after an end still counts.",
            "a product that begins with 1 is one column behind; c_t tells whether the episode still runs in s_t.",
            (_paid(lambda c: one_later(torch.ones_like)(c[:, :-1].cumprod(1))),),
        ),
        "paid_at_the_end_only": Mistake(
            "all rewards are multiplied by the chance to come through to the end.",
            "one product for the whole dream is shorter; but what was earned before an end is kept.",
            (_paid(lambda c: c[:, :-1].prod(1, keepdim=True)), _paid(lambda c: c.prod(1, keepdim=True))),
        ),
        "averaged": Mistake(
            "it is the mean over the steps; a return is a sum.",
            "losses are averaged; what is earned adds up.",
            (lambda reward, continue_: right_imagined_return(reward, continue_) / reward.shape[1],),
        ),
        "continue_rounded": Mistake(
            "continue is made yes or no; it is a probability, and counts as such.",
            "an end is something that happens or not; but the model only knows how likely it is.",
            (lambda reward, c: right_imagined_return(reward, c.round()),
             lambda reward, c: right_imagined_return(reward, (c >= 0.5).to(c))),
        ),
        "product_over_batch": Mistake(
            "the product runs along the batch and not along time.",
            "axis 0 is time wherever tensors are time first; here it is the batch.",
            (_paid(lambda c: c[:, :-1].cumprod(0)),),
        ),
    },
)  # fmt: skip


# In the package, and in a reader's functions --------------------------------------------------------------------------

BEYOND_AN_END = "test_imagination.py::test_nothing_counts_after_an_end_or_from_an_end"
BY_HAND = "test_imagination.py::test_weights_by_hand"
DISCOUNTS = "test_imagination.py::test_discounts_belong_to_the_states_arrived_at"
GAMMA_ONCE = "test_axes.py::test_gamma_is_either_in_the_continue_probability_or_beside_it"


def weighing(weight: Function) -> Replaces:
    """A mistake in how steps are weighed: the package asks a trajectory, and readers are given its continue_."""
    return ((Trajectory, "weight", lambda trajectory, gamma: weight(trajectory.continue_, gamma)),)


def discount_of_departing_states(trajectory: Trajectory, gamma: float) -> Tensor:
    """d_0 .. d_{H-1} for d_1 .. d_H."""
    return gamma * trajectory.continue_[:, :-1]


def _weight_arriving(continue_: Tensor, gamma: float) -> Tensor:
    """A step is weighed by the probability that the episode goes on after its own outcome."""
    return torch.cumprod(gamma * continue_[:, 1:], 1)


def _weight_over_batch(continue_: Tensor, gamma: float) -> Tensor:
    """The product runs over axis 0: right for time-major tensors."""
    return torch.cumprod(torch.cat([continue_[:, :1], gamma * continue_[:, 1:-1]], 1), 0)


def _no_weight(continue_: Tensor, gamma: float) -> Tensor:
    """Steps imagined after a predicted end count fully."""
    return torch.ones_like(continue_[:, 1:])


PARTS = (IMAGINED_WEIGHT, IMAGINED_RETURN)

BUGS = (
    Bug(
        name="discount_missing",
        story="Returns are not discounted: gamma is neither in the continue probability nor beside it.",
        symptom="Values grow without a bound wherever episodes are long.",
        innocent="World model losses, and for the first thousand updates everything else.",
        source="https://github.com/juliusfrost/dreamer-pytorch/pull/59",
        breaks="config.Config.imagined_discount, d_{t+1}",
        caught_by=(GAMMA_ONCE, CRITICS),
        replaces=((Config, "imagined_discount", property(lambda config: 1.0)),), needs={"discount_in_continue": False},
        forms={
            **{part: Mistake(
                "the future is not discounted, and goes on after an end.",
                "the discount is the only input that can be left out while everything keeps its size.",
                of_wrong(part.right, DISCOUNT, torch.ones_like),
            ) for part in (LAMBDA_RETURNS, N_STEP_RETURN)},
            CONTINUE_TARGET: Mistake(
                "the discount is left out.",
                "most programs multiply by it later, in the return; here it is asked for in the target.",
                of_wrong(CONTINUE_TARGET.right, 2, lambda discount: 1.0),
            ),
            FALSE_DEATH_VALUE: Mistake(
                "the discount is left out.",
                "the believed end already makes the sum finite.",
                (lambda reward, limit, discount: reward * (limit + 1),),
            ),
            IMAGINED_WEIGHT: Mistake(
                "gamma is missing: a step that comes later counts as much.",
                "continue alone says whether the episode still runs.",
                of_wrong(right_imagined_weight, 1, lambda gamma: 1.0),
            ),
        },
    ),
    Bug(
        name="discount_twice",
        story="gamma is in the target of the continue head, and imagination multiplies with gamma once more.",
        symptom="The agent is as shortsighted as with gamma squared.",
        innocent="Every loss.",
        source="https://github.com/juliusfrost/dreamer-pytorch/pull/59",
        breaks="config.Config.imagined_discount, d_{t+1}",
        caught_by=(GAMMA_ONCE,),
        replaces=((Config, "imagined_discount", property(lambda config: config.discount)),),
        needs={"discount_in_continue": True},
        forms={IMAGINED_WEIGHT: Mistake(
            "gamma counts twice.",
            "it is multiplied into the continue probability, and into the weight once more.",
            (*of_wrong(right_imagined_weight, 1, lambda gamma: gamma**2),
             lambda c, gamma: right_imagined_weight(gamma * c, gamma)),
        )},
    ),
    Bug(
        name="continue_ignored",
        story="The predicted end of an episode does not cut the return.",
        symptom="Dying costs nothing: the agent counts on rewards of a life after death.",
        innocent="Every loss, the continue loss first of all.",
        source="https://github.com/danijar/dreamer/issues/3", breaks="data.Trajectory.discount, d_{t+1}",
        caught_by=(DISCOUNTS,),
        replaces=((Trajectory, "discount", lambda trajectory, gamma: torch.full_like(trajectory.reward, gamma)),),
        forms={LAMBDA_RETURNS: Mistake(
            "the discount is the same everywhere, so a future counts that comes after an end.",
            "a constant gamma is what the formula of an endless task has; here d = gamma * continue, 0 at an end.",
            of_wrong(LAMBDA_RETURNS.right, DISCOUNT, lambda d: d.amax().expand_as(d), lambda d: d[:, :1].expand_as(d)),
        )},
    ),
    Bug(
        name="discount_departing",
        story="The return is cut by the continue probability of the departing state, d_t for d_{t+1}.",
        symptom="The reward and the value behind an end are still counted, once per end.",
        innocent="World model losses, and the critic's loss.",
        source="https://github.com/danijar/dreamerv3/issues/70", breaks="data.Trajectory.discount, d_{t+1}",
        caught_by=(DISCOUNTS,), replaces=((Trajectory, "discount", discount_of_departing_states),),
        forms={LAMBDA_RETURNS: Mistake(
            "the discount is that of the state that is left; it must be that of the one arrived at.",
            "`done` is stored with the state it was noticed in, one row before.",
            of_wrong(LAMBDA_RETURNS.right, DISCOUNT, LATER[0], one_later(torch.ones_like),
                     lambda d: one_later(lambda first: d.amax().expand_as(first))(d)),
        )},
    ),
    Bug(
        name="weight_arriving",
        story="A step counts by the probability that the episode goes on after its outcome, instead of before it.",
        symptom="The action that ends an episode teaches nothing, and the better the model, the less.",
        innocent="World model losses, and both losses of the behaviour.",
        source=f"{TORCHRL}4128", breaks="data.Trajectory.weight, weight of step t",
        caught_by=(BY_HAND, BEYOND_AN_END), replaces=weighing(_weight_arriving),
        forms={IMAGINED_WEIGHT: Mistake(
            "column t is the weight of s_{t+1}; it must be that of s_t, in which the action was taken.",
            "rewards and discounts belong to arriving states; losses belong to the states that are left.",
            (_weight_arriving, lambda c, gamma: c[:, :1] * _weight_arriving(c, gamma),
             lambda c, gamma: torch.cumprod(c[:, 1:], 1)),
        )},
    ),
    Bug(
        name="weights_missing",
        story="Imagined steps after a predicted end count fully.",
        symptom="The agent learns from a life after death.",
        innocent="World model losses.",
        source=f"{GUIDE}, train_actor_critic", breaks="data.Trajectory.weight, weight of step t",
        caught_by=(BEYOND_AN_END, CRITICS), replaces=weighing(_no_weight),
        forms={
            IMAGINED_WEIGHT: Mistake(
                "every step counts fully, also one that is imagined after an end.",
                "nothing looks wrong without weights; the agent learns from a life after death.",
                (_no_weight,),
            ),
            POLICY_LOSS: Mistake(
                "the weights are missing: steps imagined after an end count fully.",
                "nothing looks wrong without them; the agent learns from a life after death.",
                of_wrong(POLICY_LOSS.right, 4, torch.ones_like),
            ),
            CRITIC_LOSS: Mistake(
                "the weights are missing: steps imagined after an end count fully.",
                "nothing looks wrong without them; the critic learns values of a life after death.",
                of_wrong(CRITIC_LOSS.right, 2, torch.ones_like),
            ),
        },
    ),
    Bug(
        name="weight_over_batch",
        story="The product of continue probabilities runs along the batch instead of along time.",
        symptom="Only the first few trajectories of a batch count; training is many times slower and noisy.",
        innocent="Both losses of the behaviour, which are small.",
        source="https://github.com/juliusfrost/dreamer-pytorch/pull/59",
        breaks="data.Trajectory.weight, product over steps",
        caught_by=(BY_HAND, "test_imagination.py::test_where_nothing_ends_a_step_counts_its_discount"),
        replaces=weighing(_weight_over_batch),
        forms={IMAGINED_WEIGHT: Mistake(
            "the product runs along the batch and not along time.",
            "axis 0 is time wherever tensors are time first; here it is the batch.",
            (_weight_over_batch, lambda c, gamma: torch.cumprod(gamma * c[:, :-1], 0),
             lambda c, gamma: torch.cumprod(c[:, :-1], 0)),
        )},
    ),
)  # fmt: skip
