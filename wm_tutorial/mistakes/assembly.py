"""What chapter 12 adds: returns of real sequences, the critic's slow copy, and states that are stored anew."""

import torch
from torch import Tensor

from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Answer, Arguments, Call, Function, Mistake, Part

# Returns of replayed states -------------------------------------------------------------------------------------------


def right_replay_returns(
    reward: Tensor, is_last: Tensor, is_terminal: Tensor, bootstrap: Tensor, gamma: float, lam: float
) -> Tensor:
    """R_0 .. R_{T-2} of real rows: (B, T) four times -> (B, T - 1)."""
    return _returns(reward, is_last, is_terminal, bootstrap, gamma, lam)


def _returns(reward: Tensor, cut: Tensor, terminal: Tensor, bootstrap: Tensor, gamma: float, lam: float) -> Tensor:
    """The same with flags of one's own: where the mix of short and long breaks off, and where nothing is worth more."""
    discount = gamma * (1.0 - terminal.to(reward))
    share = lam * (1.0 - cut.to(reward))
    following, columns = bootstrap[:, -1], []
    for t in reversed(range(1, reward.shape[1])):
        mixed = (1.0 - share[:, t]) * bootstrap[:, t] + share[:, t] * following
        following = reward[:, t] + discount[:, t] * mixed
        columns.append(following)
    return torch.stack(columns[::-1], 1)


def where_it_counts(call: Call, arguments: Arguments) -> Answer:
    """The returns, and zero for rows that are last: the loss gives these no weight."""
    ((name, answer),) = call(arguments).items()
    left = arguments["is_last"][:, :-1]
    return {name: torch.where(left, 0.0, answer) if answer.shape == left.shape else answer}


def _departing(flags: Tensor) -> Tensor:
    """Flags one row late: those of the row that is left, where the loop looks at the row arrived at."""
    return torch.cat([flags[:, :1], flags[:, :-1]], 1)


def scrambled(bootstrap: Tensor) -> Tensor:
    """States that were flattened batch first, taken apart time first."""
    return bootstrap.reshape(bootstrap.shape[::-1]).T


def _crosses(reward: Tensor, last: Tensor, terminal: Tensor, bootstrap: Tensor, gamma: float, lam: float) -> Tensor:
    return _returns(reward, torch.zeros_like(last), terminal, bootstrap, gamma, lam)


def _row_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    """Sequences of one row more, with ends of both kinds."""
    rows = shape[0], shape[1] + 1
    is_last = uniform(seed, *rows, dtype=torch.float32) > 0.8
    is_terminal = is_last & (uniform(seed + 1, *rows, dtype=torch.float32) > 0.0)
    return {
        "reward": uniform(seed + 2, *rows, dtype=dtype),
        "is_last": is_last,
        "is_terminal": is_terminal,
        "bootstrap": uniform(seed + 3, *rows, dtype=dtype, low=-9.0, high=9.0),
        "gamma": 0.9,
        "lam": 0.95 if seed < 20 else 0.5,
    }


def _rest_at_a_break(
    reward: Tensor, is_last: Tensor, is_terminal: Tensor, bootstrap: Tensor, gamma: float, lam: float
) -> Tensor:
    after = bootstrap[:, -1]
    returns: list[Tensor] = []
    for t in reversed(range(1, reward.shape[1])):
        after = (1 - lam) * bootstrap[:, t] + lam * (~is_last[:, t] * after)
        after = reward[:, t] + gamma * (~is_terminal[:, t] * after)
        returns.insert(0, after)
    return torch.stack(returns, 1)


REPLAY_RETURNS = Part(
    name="replay_returns",
    right=right_replay_returns,
    batched=("reward", "is_last", "is_terminal", "bootstrap"),
    measure=where_it_counts,
    cases=(
        {
            "reward": torch.tensor([[0.0, 1.0, 1.0, 0.0, 1.0]]),
            "is_last": torch.tensor([[False, False, True, False, False]]),
            "is_terminal": torch.tensor([[False] * 5]),
            "bootstrap": torch.tensor([[8.0, 6.0, 4.0, 9.0, 2.0]]),
            "gamma": 0.5,
            "lam": 0.5,
        },
        {
            "reward": torch.tensor([[0.0, 1.0, 1.0, 0.0, 1.0]]),
            "is_last": torch.tensor([[False, False, True, False, False]]),
            "is_terminal": torch.tensor([[False, False, True, False, False]]),
            "bootstrap": torch.tensor([[8.0, 6.0, 4.0, 9.0, 2.0]]),
            "gamma": 0.5,
            "lam": 0.5,
        },
        *(_row_case(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "time_limit_ends_worth": Mistake(
            "where time ran out the future counts as nothing, as after a true end.",
            "is_last ends the sequence, and ends look alike; only is_terminal says that nothing more can be earned.",
            (lambda r, last, terminal, b, gamma, lam: _returns(r, last, last, b, gamma, lam),),
        ),
        "return_crosses_the_end": Mistake(
            "where time ran out the return goes on into the next episode of the sequence.",
            "a dream has no second episode, so the lambda return of chapter 06 has no word for where one breaks off.",
            (_crosses,),
        ),
        "death_forgotten": Mistake(
            "after a true end the return bootstraps as if the episode went on.",
            "the break at is_last is there, and looks as if it were all.",
            (lambda r, last, terminal, b, gamma, lam: _returns(r, last, terminal & False, b, gamma, lam),
             lambda r, last, terminal, b, gamma, lam: _returns(r, last & False, terminal & False, b, gamma, lam)),
        ),
        "ends_one_row_late": Mistake(
            "the flags are those of the row that is left; those of the row arrived at belong there.",
            "return and flags are given the same index t; the return of row t looks at row t + 1.",
            (lambda r, last, terminal, b, gamma, lam: _returns(
                r, _departing(last), _departing(terminal), b, gamma, lam),
             lambda r, last, terminal, b, gamma, lam: _returns(r, _departing(last), terminal, b, gamma, lam)),
        ),
        "reward_of_row_left": Mistake(
            "the reward is that of the row that is left, which the agent has already.",
            "in textbooks r_t follows a_t; here r_t arrives with o_t, and R_t begins with r_{t+1}.",
            (lambda r, last, terminal, b, gamma, lam: _returns(_departing(r), last, terminal, b, gamma, lam),),
        ),
        "bootstrap_of_row_left": Mistake(
            "it bootstraps from the row that is left, b_t, in place of b_{t+1}.",
            "the paper prints v_t in its formula; what follows r_{t+1} is worth b_{t+1}.",
            (lambda r, last, terminal, b, gamma, lam: _returns(r, last, terminal, _departing(b), gamma, lam),
             lambda r, last, terminal, b, gamma, lam: _returns(
                r, last, terminal, torch.cat([b[:, :1], b[:, :-2], b[:, -1:]], 1), gamma, lam)),
        ),
        "one_step_only": Mistake(
            "lambda is 0 everywhere: one real reward, and then what was imagined.",
            "the imagined return is at hand in every row; the mix with real rewards further on is left out.",
            (lambda r, last, terminal, b, gamma, lam: _returns(r, last, terminal, b, gamma, 0.0),),
        ),
        "imagined_at_the_seam_only": Mistake(
            "lambda is 1: imagined returns come in only where the sequence breaks off.",
            "a return is a sum of rewards; that each row also has an imagined return is easily left unused.",
            (lambda r, last, terminal, b, gamma, lam: _returns(r, last, terminal, b, gamma, 1.0),),
        ),
        "gamma_left_out": Mistake(
            "nothing is discounted.",
            "in this agent gamma may sit inside of the continue head; real rows have flags, and no such head.",
            (lambda r, last, terminal, b, gamma, lam: _returns(r, last, terminal, b, 1.0, lam),),
        ),
        "ends_at_zero": Mistake(
            "what follows the last row of the sequence counts as nothing.",
            "a loop from the end begins with a zero; here it begins with what was imagined.",
            (lambda r, last, terminal, b, gamma, lam: _returns(
                r, last, terminal, torch.cat([b[:, :-1], 0.0 * b[:, -1:]], 1), gamma, lam),),
        ),
        "rest_of_lambda_at_a_break": Mistake(
            "where time ran out the bootstrap keeps its share of 1 - lam; it must get all, as nothing else is known.",
            "lam was set to 0 in the term of the return alone; the two shares must sum to 1.",
            (_rest_at_a_break,),
        ),
    },
)  # fmt: skip


# The critic's slow copy -----------------------------------------------------------------------------------------------


def right_slow_update(slow: Tensor, critic: Tensor, rate: float) -> Tensor:
    """A tensor of the slow critic, a small step nearer to the critic's."""
    return (1.0 - rate) * slow.detach() + rate * critic.detach()


def _moved(step: Function) -> Function:
    return lambda slow, critic, rate: step(slow.detach(), critic.detach(), rate)


SLOW_UPDATE = Part(
    name="slow_update",
    right=right_slow_update,
    no_gradient_to=("slow", "critic"),
    cases=(
        {"slow": torch.tensor([1.0, 0.0, -2.0]), "critic": torch.tensor([3.0, 1.0, -2.0]), "rate": 0.25},
        *(
            {
                "slow": uniform(seed, *shape, dtype=dtype),
                "critic": uniform(seed + 1, *shape, dtype=dtype),
                "rate": 0.02 if seed < 20 else 0.1,
            }
            for seed, shape, dtype in variations()
        ),
    ),
    mistakes={
        "rate_reversed": Mistake(
            "the copy keeps only the rate of itself, and takes nearly all of the critic: it is no longer slow.",
            "the rate is how far it moves; elsewhere the share that stays, 0.98, is given. In published code the two "
            "networks were exchanged, which gives the same numbers.",
            (_moved(lambda slow, critic, rate: rate * slow + (1.0 - rate) * critic),),
        ),
        "copied_at_once": Mistake(
            "the copy becomes the critic: it is pulled towards itself, which changes nothing.",
            "a target network is copied in DQN, every thousand updates and not in every one.",
            (_moved(lambda slow, critic, rate: critic.clone()),),
        ),
        "critic_added": Mistake(
            "a share of the critic is added and nothing is taken away: the copy grows for ever.",
            "one of the two factors of a moving average is easily forgotten.",
            (_moved(lambda slow, critic, rate: slow + rate * critic),
             _moved(lambda slow, critic, rate: (1.0 - rate) * slow + critic)),
        ),
        "moved_away": Mistake(
            "the copy moves away from the critic.",
            "critic - slow and slow - critic differ by the sign alone.",
            (_moved(lambda slow, critic, rate: slow + rate * (slow - critic)),),
        ),
        "update_leaves_a_graph": Mistake(
            "gradient flows through the average into both networks; each update makes the graph longer.",
            "parameters require gradient; without detach(), or torch.no_grad(), arithmetic with them is recorded.",
            (lambda slow, critic, rate: (1.0 - rate) * slow + rate * critic,
             lambda slow, critic, rate: (1.0 - rate) * slow.detach() + rate * critic,
             lambda slow, critic, rate: (1.0 - rate) * slow + rate * critic.detach()),
        ),
    },
)  # fmt: skip


# States stored anew ---------------------------------------------------------------------------------------------------


def right_write_back(stored: Tensor, number: Tensor, added: int, states: Tensor) -> Tensor:
    """The ring (L, D) with the states (B, T, D) of the rows `number` (B, T) that it still holds."""
    return _written(stored, number, added, states)


def _written(stored: Tensor, number: Tensor, added: int, states: Tensor, held: int | None = None) -> Tensor:
    """The same, of rows not older than the newest `held`."""
    ring, length = stored.clone(), len(stored)
    there = number >= added - (length if held is None else held)
    ring[number[there] % length] = states.detach()[there]
    return ring


def _shifted(by: int) -> Function:
    """Each state in the place of the row before, or after."""
    return lambda stored, number, added, states: _written(stored, number + by, added, states)


def _at_number(stored: Tensor, number: Tensor, added: int, states: Tensor) -> Tensor:
    ring, there = stored.clone(), number < len(stored)
    ring[number[there]] = states.detach()[there]
    return ring


def _time_first(stored: Tensor, number: Tensor, added: int, states: Tensor) -> Tensor:
    return _written(stored, number, added, states.reshape(*number.shape[::-1], -1).transpose(0, 1))


def _ring_case(seed: int, length: int, added: int, first: list[int], dtype: torch.dtype) -> Arguments:
    number = torch.tensor(first)[:, None] + torch.arange(3)
    return {
        "stored": uniform(seed, length, 2, dtype=dtype),
        "number": number,
        "added": added,
        "states": uniform(seed + 1, *number.shape, 2, dtype=dtype),
    }


WRITE_BACK = Part(
    name="write_back",
    right=right_write_back,
    no_gradient_to=("states",),
    cases=(
        {
            "stored": torch.tensor([[4.0], [5.0], [2.0], [3.0]]),
            "number": torch.tensor([[1, 2, 3]]),
            "added": 6,
            "states": torch.tensor([[[10.0], [20.0], [30.0]]]),
        },
        _ring_case(0, 8, 6, [0, 3], torch.float32),  # not full yet
        _ring_case(10, 8, 21, [11, 15], torch.float64),  # rows 11 and 12 have been overwritten by 19 and 20
        _ring_case(20, 12, 40, [26, 30, 34], torch.float32),
        _ring_case(30, 5, 17, [10], torch.float64),
    ),
    mistakes={
        "gone_rows_written": Mistake(
            "a row that was overwritten in the meantime gets a state, too: it lands on a row of another time.",
            "number % length always gives a position; who lies there now is another question.",
            (lambda stored, number, added, states: _written(stored, number, added, states, held=added),),
        ),
        "number_for_position": Mistake(
            "the number of a row is used as its position in the ring.",
            "until the ring is full the two are the same.",
            (_at_number,),
        ),
        "written_one_row_off": Mistake(
            "each state is written one row too late, or too early.",
            "a batch begins one row after the context that was read with it, and counts are taken from either.",
            (_shifted(1), _shifted(-1)),
        ),
        "oldest_row_left_out": Mistake(
            "the oldest row that is still held does not get its state.",
            ">= and > differ by one row.",
            (lambda stored, number, added, states: _written(stored, number, added, states, held=len(stored) - 1),),
        ),
        "one_row_too_old": Mistake(
            "the row that was overwritten last counts as held.",
            "added counts rows from 1, numbers count from 0.",
            (lambda stored, number, added, states: _written(stored, number, added, states, held=len(stored) + 1),),
        ),
        "context_alone_written": Mistake(
            "only the first, or the last, state of each sequence is written back.",
            "the next sequence begins from a single state; but every row may be the one before its beginning.",
            (lambda stored, number, added, states: _written(stored, number[:, :1], added, states[:, :1]),
             lambda stored, number, added, states: _written(stored, number[:, -1:], added, states[:, -1:])),
        ),
        "time_and_batch_exchanged": Mistake(
            "the states are taken apart time first, though they were put together batch first.",
            "both orders have the same number of rows, and reshape asks no questions.",
            (_time_first,),
        ),
        "graph_kept_in_the_replay": Mistake(
            "the states keep their gradient: the replay would hold the graph of every update.",
            "they come out of the model's loss, where the gradient is needed.",
            (lambda stored, number, added, states: _with_graph(stored, number, added, states),),
        ),
        "nothing_written": Mistake(
            "nothing is written: the ring stays as it was.",
            "numbers taken out of a tensor by a mask are a copy, and what is done to a copy is lost.",
            (lambda stored, number, added, states: stored.clone(),),
        ),
    },
)  # fmt: skip


def _with_graph(stored: Tensor, number: Tensor, added: int, states: Tensor) -> Tensor:
    there = number >= added - len(stored)
    return stored.index_put((number[there] % len(stored),), states[there])


PARTS = (REPLAY_RETURNS, SLOW_UPDATE, WRITE_BACK)
BUGS = ()
