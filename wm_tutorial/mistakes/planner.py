"""Planning: what candidates earn in a dream, and mistakes of the search for the best of them."""

from collections.abc import Callable

import torch
from torch import Tensor

from wm_tutorial import planner as package
from wm_tutorial.data import State
from wm_tutorial.latents import OneHot
from wm_tutorial.mistakes.bug import Bug, Replaces, in_the_place_of
from wm_tutorial.mistakes.elites import CROSS_ENTROPY, REFIT, right_cross_entropy, right_refit, search_with
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part, Rule, of_wrong
from wm_tutorial.world_model import WorldModel

# What candidates earn -------------------------------------------------------------------------------------------------


def _candidate_returns(
    paid: Function = lambda left, reached: reached,
    worth: Function = lambda running, reward, continue_: running * reward,
    lasts: Function = lambda running, continue_: running * continue_,
    moved: Function = lambda start, state: state,
    spread: Function = lambda start, count: start.repeat_interleave(count, 0),
    columns: Function = lambda actions: actions.flatten(0, 1).unbind(1),
    first: Function = lambda start, continue_: torch.ones_like(continue_(start)),
    total: Function = lambda numbers: torch.stack(numbers).sum(0),
) -> Function:
    """The right returns with one piece exchanged."""

    def candidate_returns(
        start: Tensor, actions: Tensor, step: Function, reward: Function, continue_: Function
    ) -> Tensor:
        count = actions.shape[1]
        beginning = state = spread(start, count)  # (N J, Z)
        running, earned = first(state, continue_), []
        for action in columns(actions):  # each (N J, A)
            reached = step(moved(beginning, state), action)
            earned.append(worth(running, reward(paid(state, reached)), continue_(reached)))
            running, state = lasts(running, continue_(reached)), reached
        answer: Tensor = total(earned).reshape(len(start), count)
        return answer

    return candidate_returns


right_candidate_returns = _candidate_returns()


def _of_the_states_left(
    start: Tensor, actions: Tensor, step: Function, reward: Function, continue_: Function
) -> Tensor:
    """Rewards and ends alike are asked of the state in hand before it is left."""
    state = start.repeat_interleave(actions.shape[1], 0)
    earned, running = torch.zeros_like(reward(state)), torch.ones_like(reward(state))
    for action in actions.flatten(0, 1).unbind(1):
        earned, running = earned + running * reward(state), running * continue_(state)
        state = step(state, action)
    return earned.reshape(len(start), -1)


def _world(seed: int, dtype: torch.dtype) -> Arguments:
    mover, push, worth, danger = (
        uniform(seed + i, *shape, dtype=dtype) for i, shape in enumerate(((2, 2), (2, 2), (2,), (2,)))
    )
    return {
        "step": Rule("(B, 2), (B, 2) -> (B, 2)", lambda z, a: torch.tanh(z @ mover + a @ push)),
        "reward": Rule("(B, 2) -> (B,)", lambda z: z @ worth + 0.5),
        "continue_": Rule("(B, 2) -> (B,)", lambda z: torch.sigmoid(z @ danger + 1.0)),
    }


def _returns_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    return {
        "start": uniform(seed, shape[0], 2, dtype=dtype),
        "actions": uniform(seed + 1, *shape, 3, 2, dtype=dtype, low=-1.0, high=1.0),
        **_world(seed + 2, dtype),
    }


CANDIDATE_RETURNS = Part(
    name="candidate_returns",
    right=right_candidate_returns,
    batched=("start", "actions"),
    cases=(
        {
            "start": torch.tensor([[1.0]]),
            "actions": torch.tensor([[[[1.0], [1.0], [1.0]], [[-1.0], [0.0], [1.0]]]]),
            "step": Rule("z, a -> z + a", lambda z, a: z + a),
            "reward": Rule("z -> 10 z", lambda z: 10 * z[:, 0]),
            "continue_": Rule("z -> 0.5", lambda z: torch.full_like(z[:, 0], 0.5)),
        },
        *(_returns_case(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "start_continue_counted": Mistake(
            "the continue probability of the start counts; the start is where one is, so it has not ended.",
            "in imagination's weights c_0 is a factor; all candidates share it there, and nothing is compared.",
            (_candidate_returns(first=lambda start, continue_: continue_(start)),),
        ),
        "last_reward_alone": Mistake(
            "only the last state pays; every state on the way does.",
            "the reward is asked once, after the loop.",
            (_candidate_returns(total=lambda numbers: numbers[-1]),),
        ),
        "first_reward_alone": Mistake(
            "only the first state that is arrived in pays: a plan that looks one step ahead.",
            "the loop returns from inside.",
            (_candidate_returns(total=lambda numbers: numbers[0]),),
        ),
        "first_reward_dropped": Mistake(
            "the reward of the first state that is arrived in is missing; it belongs to the first action.",
            "the first entry of a list of rewards is often the start's, which is to be dropped.",
            (_candidate_returns(total=lambda numbers: sum(numbers[1:], torch.zeros_like(numbers[0]))),),
        ),
        "last_reward_dropped": Mistake(
            "the reward of the last state is missing: the last action is chosen for nothing.",
            "H states are counted from the start on; there are H + 1.",
            (_candidate_returns(total=lambda numbers: sum(numbers[:-1], torch.zeros_like(numbers[0]))),),
        ),
        "rewards_averaged": Mistake(
            "the rewards are averaged over the steps; a return is their sum.",
            "it ranks candidates of one length the same, and is a number of another size.",
            (_candidate_returns(total=lambda numbers: torch.stack(numbers).mean(0)),),
        ),
        "candidates_never_move": Mistake(
            "every step begins at the start again.",
            "step is called on `start` and not on the state that has been reached.",
            (_candidate_returns(moved=lambda start, state: start),),
        ),
        "starts_mixed_up": Mistake(
            "candidates begin in the state of another environment: with several of them the rows are in another order.",
            "repeat puts whole batches after one another; repeat_interleave keeps the copies of a row together.",
            (_candidate_returns(spread=lambda start, count: start.repeat(count, 1)),),
        ),
        "actions_backwards": Mistake(
            "the last action is taken first.",
            "returns are mostly computed from the end; a dream is not.",
            (_candidate_returns(columns=lambda actions: actions.flatten(0, 1).flip(1).unbind(1)),),
        ),
        "one_action_held": Mistake(
            "the first action is taken in every step.",
            "the loop counts steps, and takes no column.",
            (_candidate_returns(columns=lambda actions: [actions.flatten(0, 1)[:, 0]] * actions.shape[2]),),
        ),
        "end_of_last_step_only": Mistake(
            "each reward counts by the continue probability of the state before it alone; all before it count.",
            "the product is assigned, and not multiplied on.",
            (_candidate_returns(lasts=lambda running, continue_: continue_),),
        ),
        "end_rounded": Mistake(
            "continue probabilities are rounded to yes or no: a risk below one half costs nothing.",
            "an environment says yes or no; a model says how likely.",
            (_candidate_returns(lasts=lambda running, continue_: running * (continue_ > 0.5).to(running)),),
        ),
    },
)  # fmt: skip


# In the package -------------------------------------------------------------------------------------------------------

STEP_OF, IMAGINED_RETURNS = package.step_of, package.imagined_returns


def asking(edit: Callable[[WorldModel, State, State, Tensor, Tensor], tuple[Tensor, Tensor]]) -> Replaces:
    """The model answers a search with other rewards or ends, which `edit` makes of the states left and reached."""

    def step_of(model: WorldModel) -> package.Step:
        right = STEP_OF(model)

        def step(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
            arrived, reward, continue_ = right(state, action)
            return arrived, *edit(model, state, arrived, reward, continue_)

        return step

    return in_the_place_of(package, "step_of", step_of)


def an_end_takes_its_own_reward(step: package.Step, state: State, actions: Tensor) -> Tensor:
    """The reward of a state is counted only if the episode goes on after it."""

    def taking(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        arrived, reward, continue_ = step(state, action)
        return arrived, reward * continue_, continue_

    return IMAGINED_RETURNS(taking, state, actions)


def action_of_the_last_step(plan: package.GaussianPlan | package.CategoricalPlan) -> Tensor:
    """The last action of the plan."""
    if isinstance(plan, package.CategoricalPlan):
        return OneHot(plan.probabilities[:, -1]).mode
    return plan.mean[:, -1]


PLANS = "test_planner.py::"
LQR = f"{PLANS}test_on_a_linear_system_with_quadratic_costs_the_plan_is_that_of_lqr"
ELITES = f"{PLANS}test_the_elites_are_those_that_earn_most_and_nothing_else_is_kept"
ARRIVED = f"{PLANS}test_of_a_world_model_the_reward_and_the_end_are_those_of_the_state_that_is_arrived_in"
ENDS = f"{PLANS}test_a_reward_counts_as_much_as_it_is_likely_that_the_episode_lasts_till_then"
PLANNER = {"behaviour": "planner"}

PARTS = (CANDIDATE_RETURNS,)
BUGS = (
    Bug(
        name="elites_of_all",
        story="A plan is refitted to all of its candidates, not to the best of them.",
        symptom="Plans stay around zero, whatever is rewarded, and the agent acts as if it knew nothing.",
        innocent="Every loss: the model learns as before. Iterations run, and the plan narrows a little by clipping.",
        source="https://github.com/kzl/lifelong_rl/issues/2", breaks="planner.elites_of, the best candidates",
        caught_by=(ELITES, LQR),
        replaces=in_the_place_of(package, "elites_of", lambda returns, elites: returns.argsort(1)), needs=PLANNER,
        forms={
            REFIT: Mistake(
                "mean and standard deviation are those of all candidates, not of the best K.",
                "the elites are chosen, and then not used.",
                (lambda candidates, returns, elites: right_refit(candidates, returns, returns.shape[1]),),
            ),
            CROSS_ENTROPY: Mistake(
                "the plan is refitted to all candidates, not to the best K.",
                "the elites are chosen, and then not used.",
                (lambda score, noise, elites: right_cross_entropy(score, noise, noise.shape[2]),),
            ),
        },
    ),
    Bug(
        name="elites_are_worst",
        story="The candidates with the lowest returns are kept: what a search for costs would do.",
        symptom="The agent does with care what earns least.",
        innocent="Every loss; and plans narrow as they should.",
        source="https://github.com/apourchot/CEM-RL/issues/3", breaks="planner.elites_of, the best candidates",
        caught_by=(ELITES, LQR),
        replaces=in_the_place_of(
            package, "elites_of", lambda returns, elites: returns.topk(elites, 1, largest=False).indices),
        needs=PLANNER,
        forms={
            REFIT: Mistake(
                "the elites are the candidates with the lowest returns.",
                "sorting begins with the smallest, and many libraries minimise costs.",
                of_wrong(right_refit, 1, torch.neg),
            ),
            CROSS_ENTROPY: Mistake(
                "the elites are the candidates with the lowest score.",
                "sorting begins with the smallest, and many libraries minimise costs.",
                (lambda score, *rest: right_cross_entropy(lambda actions: -score(actions), *rest),),
            ),
        },
    ),
    Bug(
        name="planned_reward_departing",
        story="A plan is paid for the states that its actions leave: the start counts, and the last state does not.",
        symptom="The last action of a plan is chosen for nothing, and what a first action leads to counts a step late.",
        innocent="World model losses; returns of long plans are nearly the same.",
        source="https://github.com/danijar/dreamerv3/issues/70", breaks="planner.step_of, r_{t+1}",
        caught_by=(ARRIVED,),
        replaces=asking(lambda model, left, reached, reward, continue_: (model.reward(left.feature).mean, continue_)),
        needs=PLANNER,
        forms={CANDIDATE_RETURNS: Mistake(
            "the reward of the state that is left is counted, that of the start among them; the last one is not.",
            "state and reward come together, and the state in hand is the old one.",
            (_candidate_returns(paid=lambda left, reached: left), _of_the_states_left),
        )},
    ),
    Bug(
        name="planned_end_ignored",
        story="A plan goes on earning after the episode has ended in its dream.",
        symptom="Where every step pays the same, all plans look alike, and falling costs nothing.",
        innocent="Everything where episodes never end, as in Pendulum and in the worlds of the paper.",
        source="https://github.com/pytorch/rl/issues/1660", breaks="planner.step_of, c_{t+1}",
        caught_by=(ARRIVED,),
        replaces=asking(lambda model, left, reached, reward, continue_: (reward, torch.ones_like(continue_))),
        needs=PLANNER,
        forms={CANDIDATE_RETURNS: Mistake(
            "ends are ignored: what would come after one counts in full.",
            "the paper's sum has no ends, as its worlds have none.",
            (_candidate_returns(lasts=lambda running, continue_: running),),
        )},
    ),
    Bug(
        name="planned_end_takes_reward",
        story="The reward of a state counts only if the episode goes on after it.",
        symptom="A goal that ends the episode is worth nothing, so the agent stops in front of it.",
        innocent="Everything where episodes never end, or where the end pays nothing.",
        source="https://github.com/pytorch/rl/issues/1660",
        breaks="planner.imagined_returns, the chance to come that far",
        caught_by=(ENDS,),
        replaces=in_the_place_of(package, "imagined_returns", an_end_takes_its_own_reward), needs=PLANNER,
        forms={CANDIDATE_RETURNS: Mistake(
            "the reward of a state is multiplied by its own continue probability: an end takes its reward away.",
            "the running product is updated one line too early.",
            (_candidate_returns(worth=lambda running, reward, continue_: running * continue_ * reward),),
        )},
    ),
    Bug(
        name="planned_action_of_last_step",
        story="The last action of the plan is taken, not the first.",
        symptom="The agent does now what would be right in H steps.",
        innocent="Every loss, and every imagined return.",
        source="https://github.com/nicklashansen/tdmpc/issues/16", breaks="planner.GaussianPlan.first, a_t",
        caught_by=(LQR,),
        replaces=tuple((plan, "first", property(action_of_the_last_step))
                       for plan in (package.GaussianPlan, package.CategoricalPlan)),
        needs=PLANNER,
        forms={CROSS_ENTROPY: Mistake(
            "the action is the last one of the plan; the first is to be taken now.",
            "[-1] is the last iteration of a list of plans, and was applied to the plan.",
            (search_with(taken=lambda mean, candidates, returns: mean[:, -1]),),
        )},
    ),
)  # fmt: skip
