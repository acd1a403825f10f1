"""What C of World Models 2018 lives by: what it may remember, and what a dream counts."""

import torch
from torch import Tensor

from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part, Rule, of_wrong

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
        "memory_one_late": Mistake(
            "C sees the memory of the row before: it does not know its own last action, nor what it saw before it.",
            "the controller was asked first, and M was told afterwards, once more with what is already old.",
            (_late, _late_everywhere),
        ),
        "memory_one_early": Mistake(
            "h of a row has been told that row's action, which C is only about to choose.",
            "M runs over the whole sequence at once in training, and its output t stands in row t there.",
            (_after_its_row,),
        ),
        "memory_never_emptied": Mistake(
            "the memory is not emptied where an episode begins: a new life starts with the end of another.",
            "sequences are cut anywhere, and most of them hold no beginning.",
            (_remembered(lambda z, a, first: (z, a, first & False)),),
        ),
        "memory_emptied_late": Mistake(
            "the memory is emptied after the first row of an episode was acted in.",
            "the reset was put before the step of M, where it belongs, and after C had looked.",
            (_reset_after,),
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
        "dream_end_ignored": Mistake(
            "the end is ignored: whoever dies goes on earning.",
            "M goes on predicting without noticing; an environment would have stopped by itself.",
            (lambda r, d: r.sum(1),),
        ),
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
    },
)  # fmt: skip

PARTS = (REMEMBERED, DREAM_RETURN)
BUGS = ()
