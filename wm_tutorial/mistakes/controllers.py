"""What C of World Models 2018 lives by: what it may remember, and what a dream counts."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from wm_tutorial.agent import Carry
from wm_tutorial.data import Row, State
from wm_tutorial.mistakes.bug import Bug, in_the_place_of
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part, Rule, of_wrong
from wm_tutorial.world_models_2018 import rollout
from wm_tutorial.world_models_2018.agent import Agent
from wm_tutorial.world_models_2018.memory import Memory

NUMBERS, ACTIONS, MEMORY = 3, 2, 5  # Z, A, D

# What C may know ------------------------------------------------------------------------------------------------------


def _step(memory: Tensor, z: Tensor, action: Tensor) -> Tensor:
    """Some memory: what came last weighs most, and the order of everything matters."""
    told = z.sum(-1, keepdim=True) + 2.0 * action.sum(-1, keepdim=True)
    return torch.tanh(0.7 * memory.roll(1, -1) + told * torch.linspace(0.2, 1.0, memory.shape[-1]).to(memory))


STEP = Rule("a memory that mixes what it is told into what it knows", _step)


def right_remembered(z: Tensor, action: Tensor, is_first: Tensor, memory_size: int, step: Function) -> Tensor:
    """h_t knows z and a of the rows before t, back to where the episode begins: (B, T, D)."""
    memory, seen = z.new_zeros(len(z), memory_size), []
    for t in range(z.shape[1]):
        memory = memory.masked_fill(is_first[:, t, None], 0.0)
        seen.append(memory)
        memory = step(memory, z[:, t], action[:, t])
    return torch.stack(seen, 1)


def _remembered(change: Function) -> Function:
    """The right memory of other inputs."""

    def remembered(z: Tensor, action: Tensor, is_first: Tensor, memory_size: int, step: Function) -> Tensor:
        z, action, is_first = change(z, action, is_first)
        return right_remembered(z, action, is_first, memory_size, step)

    return remembered


def _after_its_row(z: Tensor, action: Tensor, is_first: Tensor, memory_size: int, step: Function) -> Tensor:
    memory, seen = z.new_zeros(len(z), memory_size), []
    for t in range(z.shape[1]):
        memory = step(memory.masked_fill(is_first[:, t, None], 0.0), z[:, t], action[:, t])
        seen.append(memory)
    return torch.stack(seen, 1)


def _late(z: Tensor, action: Tensor, is_first: Tensor, memory_size: int, step: Function) -> Tensor:
    """At each row the memory of the row before; zeros at the first of an episode."""
    right = right_remembered(z, action, is_first, memory_size, step)
    late = torch.cat([torch.zeros_like(right[:, :1]), right[:, :-1]], 1)
    return late.masked_fill(is_first.unsqueeze(-1), 0.0)


def _late_everywhere(z: Tensor, action: Tensor, is_first: Tensor, memory_size: int, step: Function) -> Tensor:
    right = right_remembered(z, action, is_first, memory_size, step)
    return torch.cat([torch.zeros_like(right[:, :1]), right[:, :-1]], 1)


def _before(x: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)


def _told_then_emptied(z: Tensor, action: Tensor, is_first: Tensor, memory_size: int, step: Function) -> Tensor:
    """The memory after each row, emptied where that row is a first one; what goes on is not emptied."""
    memory, seen = z.new_zeros(len(z), memory_size), []
    for t in range(z.shape[1]):
        memory = step(memory, z[:, t], action[:, t])
        seen.append(memory.masked_fill(is_first[:, t, None], 0.0))
    return torch.stack(seen, 1)


def _emptied_for_the_next(z: Tensor, action: Tensor, is_first: Tensor, memory_size: int, step: Function) -> Tensor:
    """What a first row has told is emptied again, and that row itself sees the episode before."""
    memory, seen = z.new_zeros(len(z), memory_size), []
    for t in range(z.shape[1]):
        seen.append(memory)
        memory = step(memory, z[:, t], action[:, t]).masked_fill(is_first[:, t, None], 0.0)
    return torch.stack(seen, 1)


def _reset_after(z: Tensor, action: Tensor, is_first: Tensor, memory_size: int, step: Function) -> Tensor:
    memory, seen = z.new_zeros(len(z), memory_size), []
    for t in range(z.shape[1]):
        seen.append(memory)
        memory = step(memory.masked_fill(is_first[:, t, None], 0.0), z[:, t], action[:, t])
    return torch.stack(seen, 1)


def _sequences(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    is_first = uniform(seed + 2, *shape, dtype=dtype) > 1.0
    is_first[0, shape[1] // 2] = shape[1] > 1
    return {
        "z": uniform(seed, *shape, NUMBERS, dtype=dtype),
        "action": uniform(seed + 1, *shape, ACTIONS, dtype=dtype),
        "is_first": is_first,
        "memory_size": MEMORY,
        "step": STEP,
    }


REMEMBERED = Part(
    name="remembered",
    right=right_remembered,
    batched=("z", "action", "is_first"),
    cases=tuple(_sequences(seed, shape, dtype) for seed, shape, dtype in variations()),
    mistakes={
        "memory_one_early": Mistake(
            "h of a row has been told that row's action, which C is only about to choose.",
            "M runs over the whole sequence at once in training, and its output t stands in row t there.",
            (_after_its_row, _told_then_emptied),
        ),
        "memory_emptied_late": Mistake(
            "the memory is emptied after the first row of an episode was acted in.",
            "the reset was put before the step of M, where it belongs, and after C had looked.",
            (_reset_after, _emptied_for_the_next),
        ),
        "memory_forgets_the_action": Mistake(
            "M is told z alone.",
            "what one does shows in the next picture, mostly; in the dark it does not.",
            (_remembered(lambda z, a, first: (z, 0.0 * a, first)),),
        ),
        "memory_previous_action": Mistake(
            "z_t goes in with the action that led to it, and not with the one chosen after it.",
            "replays of other agents keep them so.",
            (_remembered(lambda z, a, first: (z, _before(a), first)),
             _remembered(lambda z, a, first: (z, _before(a).masked_fill(first.unsqueeze(-1), 0.0), first))),
        ),
        "memory_never_told": Mistake(
            "the memory stays empty: what step returns is lost.",
            "step looks as if it changed what it is given; it returns a new memory.",
            (lambda z, a, first, size, step: z.new_zeros(*z.shape[:2], size),),
        ),
        "memory_of_one_row": Mistake(
            "each row starts from an empty memory: h knows one row back and no more.",
            "the state that the cell returned was not kept for the next step.",
            (lambda z, a, first, size, step: torch.cat(
                [z.new_zeros(len(z), 1, size), torch.stack(
                    [step(z.new_zeros(len(z), size), z[:, t], a[:, t]) for t in range(z.shape[1])], 1)[:, :-1]], 1
            ).masked_fill(first.unsqueeze(-1), 0.0),),
        ),
    },
)  # fmt: skip


# What a dream counts --------------------------------------------------------------------------------------------------


def right_dream_return(reward: Tensor, done: Tensor) -> Tensor:
    """The rewards up to the first end, the end's own included: (N, H), (N, H) bool -> (N,)."""
    over = torch.cat([torch.zeros_like(done[:, :1]), done[:, :-1]], 1).long().cumsum(1) > 0  # before this step
    return (reward * ~over).sum(1)


def _one_too_many(reward: Tensor, done: Tensor) -> Tensor:
    none = torch.zeros_like(done[:, :1])
    ended = torch.cat([none, none, done], 1)[:, : done.shape[1]]
    return (reward * (ended.long().cumsum(1) == 0)).sum(1)


def _ends(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    return {"reward": uniform(seed, *shape, dtype=dtype), "done": uniform(seed + 1, *shape, dtype=dtype) > 1.0}


DREAM_RETURN = Part(
    name="dream_return",
    right=right_dream_return,
    batched=("reward", "done"),
    cases=(
        {
            "reward": torch.tensor([[1.0, 2.0, 4.0, 8.0, 16.0], [1.0, 2.0, 4.0, 8.0, 16.0]]),
            "done": torch.tensor([[False, True, False, True, False], [False] * 5]),
        },
        *(_ends(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "dream_end_for_one_step": Mistake(
            "only the steps that end count nothing, and those after them count again.",
            "reward * (1 - done) is right for one step of a return, not for what comes after.",
            (lambda r, d: (r * ~d).sum(1),),
        ),
        "dream_end_unpaid": Mistake(
            "the reward of the step that ends is missing.",
            "the mask was made from the ends up to this step, this one included.",
            (lambda r, d: (r * (d.long().cumsum(1) == 0)).sum(1),),
        ),
        "dream_counts_one_too_many": Mistake(
            "one step after the end is still counted.",
            "the mask was moved by one step twice.",
            (_one_too_many,),
        ),
        "dream_until_the_second_end": Mistake(
            "what lies between the first end and the second counts, too.",
            "the ends are counted with this step's own, and the first one is let through by <= 1.",
            (lambda r, d: (r * (d.long().cumsum(1) <= 1)).sum(1),),
        ),
        "dream_without_an_end_cut": Mistake(
            "a dream that never ends counts one step alone.",
            "argmax of no end at all is 0, as it is of an end in the first step.",
            (lambda r, d: (r * (torch.arange(r.shape[1]) <= d.long().argmax(1, keepdim=True))).sum(1),),
        ),
        "dream_until_the_last_end": Mistake(
            "what lies before the last end counts, and not what lies before the first.",
            "the steps were counted from the back.",
            (lambda r, d: (r * ((d.flip(1).long().cumsum(1).flip(1) > 0) | ~d.any(1, keepdim=True))).sum(1),),
        ),
        "dream_mean": Mistake(
            "this is a mean over the steps: a long life is worth no more than a short one.",
            "means do not depend on the horizon; that is what is wrong with them here.",
            (lambda r, d: right_dream_return(r, d) / r.shape[1],),
        ),
        "dream_steps_counted": Mistake(
            "steps are counted and the rewards left out.",
            "in a game of survival both are the same.",
            of_wrong(right_dream_return, 0, torch.ones_like),
        ),
        "dream_stops_for_all": Mistake(
            "all dreams stop where the first of them ends.",
            "the loop asked any() and not each dream.",
            (lambda r, d: right_dream_return(r, d.any(0, keepdim=True).expand_as(d)),),
        ),
        "dream_comes_back_to_life": Mistake(
            "only the step after an end counts nothing; later rewards come back.",
            "the flag was shifted by one step, and not kept from there on: what is over stays over.",
            (lambda r, d: r[:, 0] + (r[:, 1:] * ~d[:, :-1]).sum(1),),
        ),
    },
)  # fmt: skip


# In the package -------------------------------------------------------------------------------------------------------

POLICY, PERCEIVE, PLAY, LOSSES = Agent.policy, rollout.perceive, rollout.play, Memory.losses
LIVE = rollout.RealWorld.step


def shown_late(memory: Tensor, begins: Any, state: State) -> State:
    """A state whose memory is that of the row before."""
    return replace(state, memory=memory.masked_fill(torch.from_numpy(begins).unsqueeze(-1), 0.0))


def policy_one_late(agent: Agent, row: Row, carry: Carry, greedy: bool) -> Carry:
    """C is asked before M is told of the last step."""
    right = POLICY(agent, row, carry, greedy)
    return replace(right, action=agent.controller(shown_late(carry.state.memory, row.is_first, right.state)))


def live_one_late(world: rollout.RealWorld, action: Tensor) -> tuple[State, Tensor, Tensor]:
    """The same where C is evolved."""
    memory = world.state.memory
    state, reward, over = LIVE(world, action)
    return shown_late(memory, world.row.is_first, state), reward, over


def perceive_without_beginnings(vision: Any, memory: Memory, row: Row, remembered: Tensor, greedy: bool) -> State:
    """What is remembered stays, whatever begins."""
    return PERCEIVE(vision, memory, replace(row, is_first=row.is_first & False), remembered, greedy)


def losses_across_beginnings(
    memory: Memory, z: Tensor, action: Tensor, reward: Tensor, is_first: Tensor, is_terminal: Tensor
) -> dict[str, Tensor]:
    """All rows are of one life."""
    return LOSSES(memory, z, action, reward, is_first & False, is_terminal)


def play_on(world: rollout.World, controllers: Tensor, sees: Any, kind: Any, limit: int, seed: int) -> Tensor:
    """Nobody is told that an episode is over."""

    def endless(action: Tensor) -> tuple[State, Tensor, Tensor]:
        state, reward, over = world.step(action)
        return state, reward, over & False

    return PLAY(SimpleNamespace(begin=world.begin, step=endless), controllers, sees, kind, limit, seed)


TESTS = "test_world_models_2018.py::"
STAGED = "test_staged.py::"
OWN_ROW = f"{STAGED}test_c_sees_h_of_its_own_row"

PARTS = (REMEMBERED, DREAM_RETURN)
BUGS = (
    Bug(
        name="memory_one_late",
        story="C is asked before M is told of the last step: it sees the memory of the row before.",
        symptom="C does not know what it has just done, and reacts to everything a step late.",
        innocent="Every loss of V and M, and whatever is dreamed.",
        source="https://github.com/worldmodels/worldmodels.github.io/issues/2",
        breaks="world_models_2018.agent.Agent.policy, h_t",
        caught_by=(OWN_ROW, f"{STAGED}test_where_c_is_evolved_in_reality_h_knows_the_action_that_led_there"),
        replaces=(*in_the_place_of(Agent, "policy", policy_one_late),
                  *in_the_place_of(rollout.RealWorld, "step", live_one_late)),
        needs={"plays_in": "reality"},
        forms={REMEMBERED: Mistake(
            "C sees the memory of the row before: it does not know its own last action, nor what it saw before it.",
            "the controller was asked first, and M was told afterwards, once more with what is already old.",
            (_late, _late_everywhere),
        )},
    ),
    Bug(
        name="memory_never_emptied",
        story="M's memory is not emptied where an episode begins, neither when it learns nor when it acts.",
        symptom="A new episode begins with what is left of the last one, so C acts on rocks that fell long ago.",
        innocent="Nearly every row: few of them begin an episode. Dreams begin with an empty memory all the same.",
        source="https://github.com/ctallec/world-models/issues/15",
        breaks="world_models_2018.memory.Memory.losses, h_t",
        caught_by=(OWN_ROW, f"{TESTS}test_an_episode_that_begins_forgets_what_was_before"),
        replaces=(*in_the_place_of(rollout, "perceive", perceive_without_beginnings),
                  *in_the_place_of(Memory, "losses", losses_across_beginnings)),
        forms={REMEMBERED: Mistake(
            "the memory is not emptied where an episode begins: a new life starts with the end of another.",
            "sequences are cut anywhere, and most of them hold no beginning.",
            (_remembered(lambda z, a, first: (z, a, first & False)),),
        )},
    ),
    Bug(
        name="dream_end_ignored",
        story="A dream goes on earning after its end, as M goes on predicting.",
        symptom="All candidates are worth the same in a game of survival, and evolution finds nothing.",
        innocent="Every loss of V and M, and C's returns in its dream, which are the highest possible.",
        source="https://github.com/pytorch/rl/issues/1660",
        breaks="world_models_2018.rollout.play, the return",
        caught_by=(f"{TESTS}test_a_dream_counts_nothing_after_its_end",
                   f"{TESTS}test_temperature_reaches_the_end_of_the_dream"),
        replaces=in_the_place_of(rollout, "play", play_on),
        forms={DREAM_RETURN: Mistake(
            "the end is ignored: whoever dies goes on earning.",
            "M goes on predicting without noticing; an environment would have stopped by itself.",
            (lambda r, d: r.sum(1),),
        )},
    ),
)  # fmt: skip
