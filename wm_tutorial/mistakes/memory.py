"""The recurrent memory: its gates, one step of the state, and a sequence with resets."""

from typing import Any

import torch
from torch import Tensor

from wm_tutorial.mistakes.bug import Bug
from wm_tutorial.mistakes.dynamics import keep_all
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part, Rule, of_wrong

Pair = tuple[Tensor, Tensor]


# The gates ------------------------------------------------------------------------------------------------------------


def right_gated_update(memory: Tensor, reset: Tensor, candidate: Tensor, update: Tensor) -> Tensor:
    """h_t (B, D) from h_{t-1} and the three numbers that each unit is told, as a network gives them, (B, D) each."""
    share = torch.sigmoid(update - 1.0)
    return (1.0 - share) * memory + share * torch.tanh(torch.sigmoid(reset) * candidate)


def _gated(
    share: Function = lambda update: torch.sigmoid(update - 1.0),
    new: Function = lambda reset, candidate, memory: torch.tanh(torch.sigmoid(reset) * candidate),
    mix: Function = lambda share, memory, new: (1.0 - share) * memory + share * new,
) -> Function:
    """The update, with another share of what is replaced, another candidate, or another mix of both."""

    def gated_update(memory: Tensor, reset: Tensor, candidate: Tensor, update: Tensor) -> Tensor:
        mixed: Tensor = mix(share(update), memory, new(reset, candidate, memory))
        return mixed

    return gated_update


def _gates(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    names = ("memory", "reset", "candidate", "update")
    return {name: uniform(seed + i, *shape, dtype=dtype) for i, name in enumerate(names)}


GATED_UPDATE = Part(
    name="gated_update",
    right=right_gated_update,
    batched=("memory", "reset", "candidate", "update"),
    gradient_to=("memory", "reset", "candidate", "update"),
    cases=(
        {
            "memory": torch.tensor([[1.0, 1.0, -1.0]]),
            "reset": torch.tensor([[0.0, 2.0, -2.0]]),
            "candidate": torch.tensor([[1.0, -1.0, 3.0]]),
            "update": torch.tensor([[1.0, 0.0, 4.0]]),
        },
        *(_gates(*variation) for variation in variations()),
    ),
    mistakes={
        "update_inverted": Mistake(
            "the update gate keeps what it should replace, and replaces what it should keep.",
            "in half of the literature z is the share that is kept; here it is the share that is new.",
            (_gated(mix=lambda share, memory, new: share * memory + (1.0 - share) * new),),
        ),
        "update_bias_forgotten": Mistake(
            "1 is not subtracted before the sigmoid, so a new memory is half gone after each row.",
            "it looks like a detail; with it, a new unit keeps 73 % of what it holds from row to row.",
            (_gated(share=torch.sigmoid),),
        ),
        "update_bias_sign": Mistake(
            "1 is added before the sigmoid and not subtracted: at first, 73 % of the memory is replaced in each row.",
            "LSTMs add 1, to the gate that keeps; this gate is the one that replaces.",
            (_gated(share=lambda update: torch.sigmoid(update + 1.0)),),
        ),
        "update_not_squashed": Mistake(
            "the share that is replaced is no share: without its sigmoid it is any number.",
            "the raw output of the network is called update, as the gate is.",
            (_gated(share=lambda update: update), _gated(share=lambda update: update - 1.0)),
        ),
        "candidate_without_reset": Mistake(
            "the reset gate plays no part.",
            "it was computed, and the candidate was taken as it was.",
            (_gated(new=lambda reset, candidate, memory: torch.tanh(candidate)),),
        ),
        "reset_outside_tanh": Mistake(
            "the reset gate multiplies the tanh of the candidate; it belongs inside.",
            "both keep the candidate between -1 and 1; the numbers are others.",
            (_gated(new=lambda reset, candidate, memory: torch.sigmoid(reset) * torch.tanh(candidate)),),
        ),
        "reset_of_the_memory": Mistake(
            "the reset gate multiplies the old memory; here it multiplies the candidate, which has seen the memory.",
            "that is where other gated units have it, torch's GRUCell among them.",
            (
                _gated(new=lambda reset, candidate, memory: torch.tanh(candidate + torch.sigmoid(reset) * memory)),
                _gated(new=lambda reset, candidate, memory: torch.tanh(torch.sigmoid(reset) * memory + candidate)),
                lambda memory, reset, candidate, update: _gated(new=lambda _, c, __: torch.tanh(c))(
                    torch.sigmoid(reset) * memory, reset, candidate, update
                ),
            ),
        ),
        "candidate_unbounded": Mistake(
            "the candidate has no tanh, so nothing keeps the memory between -1 and 1.",
            "it goes well for a few rows; over hundreds the memory may grow without end.",
            (_gated(new=lambda reset, candidate, memory: torch.sigmoid(reset) * candidate),),
        ),
        "memory_never_given_up": Mistake(
            "the new part is added to the whole old memory, of which nothing is given up.",
            "a residual connection is the habit elsewhere; here old and new share one whole.",
            (_gated(mix=lambda share, memory, new: memory + share * new),),
        ),
    },
)


# One step of the state ------------------------------------------------------------------------------------------------


def _reset(is_first: Tensor, x: Tensor) -> Tensor:
    return x.masked_fill(is_first[:, None], 0.0)


def right_rssm_step(
    memory: Tensor, latent: Tensor, action: Tensor, is_first: Tensor, embedding: Tensor, remember: Function,
    infer: Function,
) -> Pair:  # fmt: skip
    """h_t (B, D) and z_t (B, Z) from the row before, forgotten where an episode begins, and from what is seen now."""
    now = remember(_reset(is_first, memory), _reset(is_first, latent), _reset(is_first, action))
    return now, infer(now, embedding)


def step_of(of_memory: Function = _reset, of_latent: Function = _reset, of_action: Function = _reset) -> Function:
    """The step with other resets."""

    def rssm_step(
        memory: Tensor, latent: Tensor, action: Tensor, is_first: Tensor, embedding: Tensor, remember: Function,
        infer: Function,
    ) -> Pair:  # fmt: skip
        given = of_memory(is_first, memory), of_latent(is_first, latent), of_action(is_first, action)
        now = remember(*given)
        return now, infer(now, embedding)

    return rssm_step


def _not_first(is_first: Tensor, x: Tensor) -> Tensor:
    return _reset(~is_first, x)


def _all_or_none(is_first: Tensor, x: Tensor) -> Tensor:
    return _reset(is_first.any().expand_as(is_first), x)


def _posterior_from_before(*given: Any) -> Pair:
    memory, _, _, is_first, embedding, _, infer = given
    return right_rssm_step(*given)[0], infer(_reset(is_first, memory), embedding)


def _posterior_from_kept(*given: Any) -> Pair:
    memory, _, _, _, embedding, _, infer = given
    return right_rssm_step(*given)[0], infer(memory, embedding)


def _memory_of_before(*given: Any) -> Pair:
    memory, _, _, is_first, *_ = given
    return _reset(is_first, memory), right_rssm_step(*given)[1]


def _reset_afterwards(
    memory: Tensor, latent: Tensor, action: Tensor, is_first: Tensor, embedding: Tensor, remember: Function,
    infer: Function,
) -> Pair:  # fmt: skip
    now = _reset(is_first, remember(memory, latent, action))
    return now, infer(now, embedding)


def _mixing(seed: int, sizes: tuple[int, ...], outputs: int, dtype: torch.dtype) -> Rule:
    """A function of several tensors with so many columns, different for each."""
    matrices = [uniform(seed + i, size, outputs, dtype=dtype) for i, size in enumerate(sizes)]
    shift = uniform(seed + 9, outputs, dtype=dtype)

    def mixed(*given: Tensor) -> Tensor:
        total = sum((x @ matrix for x, matrix in zip(given, matrices, strict=True)), shift)
        return torch.tanh(total)

    return Rule(f"{', '.join(f'(B, {size})' for size in sizes)} -> (B, {outputs})", mixed)


def _step_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    batch, d, z, a, e = shape[0] + 1, shape[1] + 2, 3, 2, 4
    return {
        "memory": uniform(seed, batch, d, dtype=dtype, low=0.5),
        "latent": uniform(seed + 1, batch, z, dtype=dtype, low=0.5),
        "action": uniform(seed + 2, batch, a, dtype=dtype, low=0.5, high=1.0),
        "is_first": torch.arange(batch) % 2 == seed // 10 % 2,
        "embedding": uniform(seed + 3, batch, e, dtype=dtype),
        "remember": _mixing(seed + 40, (d, z, a), d, dtype),
        "infer": _mixing(seed + 60, (d, e), z, dtype),
    }


RSSM_STEP = Part(
    name="rssm_step",
    right=right_rssm_step,
    container=tuple,
    returns=("the memory", "the latent"),
    batched=("memory", "latent", "action", "is_first", "embedding"),
    gradient_to=("memory", "latent", "action", "embedding"),
    cases=(
        {
            "memory": torch.tensor([[4.0], [8.0]]),
            "latent": torch.tensor([[1.0], [2.0]]),
            "action": torch.tensor([[0.1], [0.2]]),
            "is_first": torch.tensor([False, True]),
            "embedding": torch.tensor([[3.0], [5.0]]),
            "remember": Rule("h, z, a -> h / 2 + z + a", lambda h, z, a: h / 2 + z + a),
            "infer": Rule("h, e -> h + 100 e", lambda h, e: h + 100 * e),
        },
        *(_step_case(*variation) for variation in variations()),
    ),
    mistakes={
        "memory_survives": Mistake(
            "where an episode begins latent and action are forgotten, the memory is not.",
            "the latent is called the state in much of the text; the memory is the other half of it.",
            (step_of(of_memory=keep_all),),
        ),
        "latent_survives": Mistake(
            "where an episode begins the memory is forgotten, the latent before is not.",
            "a new memory feels like a new beginning; but it is computed from the latent, too.",
            (step_of(of_latent=keep_all), step_of(of_latent=keep_all, of_action=keep_all)),
        ),
        "step_mask_inverted": Mistake(
            "everything is forgotten except where an episode begins.",
            "one ~ too many or too few: masked_fill fills where the mask is true, a product keeps there.",
            (step_of(_not_first, _not_first, _not_first),),
        ),
        "batch_forgets_together": Mistake(
            "one sequence that begins an episode makes all sequences of the batch forget.",
            "`if is_first.any()` works for a batch of one.",
            (step_of(_all_or_none, _all_or_none, _all_or_none),),
        ),
        "reset_after_the_step": Mistake(
            "the memory is set to zero after the step, and so the first row's memory is lost, not the one before it.",
            "is_first was understood as an end; it belongs to the row that is being inferred.",
            (_reset_afterwards,),
        ),
        "posterior_from_memory_before": Mistake(
            "the latent is inferred from h_{t-1}, a memory that does not know the last action yet.",
            "`memory` was at hand under the same name; posterior and prior of row t are both given h_t.",
            (_posterior_from_before, _posterior_from_kept),
        ),
        "memory_of_before_returned": Mistake(
            "h_{t-1} is returned beside z_t: the state is a mixture of two rows.",
            "the new memory was computed inside of the call that infers the latent, and not kept.",
            (_memory_of_before, lambda *given: (given[0], right_rssm_step(*given)[1])),
        ),
    },
)


# A sequence -----------------------------------------------------------------------------------------------------------


def right_observe_sequence(
    embedding: Tensor, action: Tensor, is_first: Tensor, start: Tensor, before: Tensor, step: Function
) -> Tensor:
    """The states s_0 .. s_{T-1}, (B, T, F), each from the one before and from a_{t-1}."""
    return _observed(embedding, _shifted(action, before), is_first, start, step)


def _shifted(action: Tensor, before: Tensor) -> Tensor:
    return torch.cat([before[:, None], action[:, :-1]], 1)


def _observed(embedding: Tensor, previous: Tensor, is_first: Tensor, start: Tensor, step: Function) -> Tensor:
    state, states = start, []
    for t in range(embedding.shape[1]):
        state = step(state, previous[:, t], is_first[:, t], embedding[:, t])
        states.append(state)
    return torch.stack(states, 1)


def _of_actions(previous: Function) -> Function:
    """The loop, with other actions before each row."""

    def observe_sequence(
        embedding: Tensor, action: Tensor, is_first: Tensor, start: Tensor, before: Tensor, step: Function
    ) -> Tensor:
        return _observed(embedding, previous(action, before), is_first, start, step)

    return observe_sequence


observe_departing = _of_actions(lambda action, before: action)


def _each_from_start(
    embedding: Tensor, action: Tensor, is_first: Tensor, start: Tensor, before: Tensor, step: Function
) -> Tensor:
    previous = _shifted(action, before)
    rows = zip(previous.unbind(1), is_first.unbind(1), embedding.unbind(1), strict=True)
    return torch.stack([step(start, *row) for row in rows], 1)


def _states_before(
    embedding: Tensor, action: Tensor, is_first: Tensor, start: Tensor, before: Tensor, step: Function
) -> Tensor:
    states = right_observe_sequence(embedding, action, is_first, start, before, step)
    return torch.cat([start[:, None], states[:, :-1]], 1)


def _begins(is_first: Tensor) -> Tensor:
    """The flags one row late; row 0 begins nothing."""
    return torch.cat([torch.zeros_like(is_first[:, :1]), is_first[:, :-1]], 1)


def _back_to_start(
    embedding: Tensor, action: Tensor, is_first: Tensor, start: Tensor, before: Tensor, step: Function
) -> Tensor:
    state, previous, states = start, _shifted(action, before), []
    for t in range(embedding.shape[1]):
        first = is_first[:, t, None]
        state = step(torch.where(first, start, state), previous[:, t], torch.zeros_like(first[:, 0]), embedding[:, t])
        states.append(state)
    return torch.stack(states, 1)


def _sequence_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    batch, length = shape[0], shape[1] + 2
    mixed = _mixing(seed + 40, (4, 2, 3), 4, dtype)

    def step(state: Tensor, action: Tensor, is_first: Tensor, embedding: Tensor) -> Tensor:
        moved: Tensor = mixed(_reset(is_first, state), _reset(is_first, action), embedding)
        return moved

    chance = uniform(seed + 5, batch, length, dtype=torch.float64, low=0.0, high=1.0)
    return {
        "embedding": uniform(seed, batch, length, 3, dtype=dtype),
        "action": uniform(seed + 1, batch, length, 2, dtype=dtype, low=0.5),
        "is_first": (chance < 0.3) & (torch.arange(length) > 0),
        "start": uniform(seed + 2, batch, 4, dtype=dtype, low=0.5),
        "before": uniform(seed + 3, batch, 2, dtype=dtype, low=0.5),
        "step": Rule("(B, 4), (B, 2), (B,), (B, 3) -> (B, 4)", step),
    }


def _readable_step(state: Tensor, action: Tensor, is_first: Tensor, embedding: Tensor) -> Tensor:
    """Thousands: what is seen; below: the action before, and half of the state."""
    return 1000 * embedding + _reset(is_first, action) + _reset(is_first, state) / 2


OBSERVE_SEQUENCE = Part(
    name="observe_sequence",
    right=right_observe_sequence,
    batched=("embedding", "action", "is_first", "start", "before"),
    gradient_to=("embedding", "start", "before"),
    cases=(
        {
            "embedding": torch.tensor([[[1.0], [2.0], [3.0], [4.0]]]),
            "action": torch.tensor([[[10.0], [20.0], [30.0], [40.0]]]),
            "is_first": torch.tensor([[False, False, True, False]]),
            "start": torch.tensor([[2.0]]),
            "before": torch.tensor([[5.0]]),
            "step": Rule("s, a, first, e -> 1000 e + (0 if first, else a + s / 2)", _readable_step),
        },
        *(_sequence_case(*variation) for variation in variations()),
    ),
    mistakes={
        "state_not_carried": Mistake(
            "every row is inferred from `start`: nothing is handed from row to row.",
            "the state that came out of the step was kept in the list, and not in the loop.",
            (_each_from_start,),
        ),
        "sequence_start_lost": Mistake(
            "the sequence begins with zeros; `start` is what was known one row before it.",
            "sequences are taken for episodes; most begin in the middle of one.",
            of_wrong(right_observe_sequence, 3, torch.zeros_like),
        ),
        "action_before_lost": Mistake(
            "row 0 is told that no action came before it; `before` was the one.",
            "a shifted column has a hole at its beginning, and zeros fill it.",
            of_wrong(right_observe_sequence, 4, torch.zeros_like),
        ),
        "actions_rolled": Mistake(
            "row 0 is given the last action of the sequence.",
            "torch.roll is the shortest way to shift; what falls out at the end comes in at the beginning.",
            (_of_actions(lambda action, before: action.roll(1, 1)),),
        ),
        "first_one_row_late": Mistake(
            "each row is given the is_first of the row before, so it forgets one row after an episode has begun.",
            "the flags were shifted together with the actions; they belong to their own row.",
            of_wrong(right_observe_sequence, 2, _begins),
        ),
        "states_one_row_late": Mistake(
            "in row t stands the state of row t - 1.",
            "the state was put into the list before the step, not after it.",
            (_states_before,),
        ),
        "resets_to_the_start": Mistake(
            "where an episode begins the state goes back to `start`, which belongs to another episode.",
            "a sequence has one start, but a new episode inside it begins with nothing.",
            (_back_to_start,),
        ),
        "resets_ignored": Mistake(
            "the step is never told that an episode begins, so state and action go on into the next one.",
            "a batch of sequences looks like a batch of episodes.",
            of_wrong(right_observe_sequence, 2, torch.zeros_like),
        ),
    },
)

PARTS = (GATED_UPDATE, RSSM_STEP, OBSERVE_SEQUENCE)

BUGS: tuple[Bug, ...] = ()
