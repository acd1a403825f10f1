"""Off by one: a number that belongs to one row, used in the row before or after it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

from wm_tutorial.data import Batch, State
from wm_tutorial.mistakes.bug import DREAMER_V3, GUIDE, NAVIX, Bug, Replaces
from wm_tutorial.mistakes.heads import CONTINUE_TARGET
from wm_tutorial.mistakes.inputs import uniform
from wm_tutorial.mistakes.memory import OBSERVE_SEQUENCE, observe_departing
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part, of_wrong
from wm_tutorial.world_model import WorldModel

# What a row holds too early, too late, or not at all ------------------------------------------------------------------

COLUMNS = ("obs", "action", "previous_action", "reward", "is_first", "is_last", "is_terminal")
Columns: TypeAlias = Mapping[str, Any]  # numbers of R rows by name, (R, ...)
Edit: TypeAlias = Callable[[Columns], Columns]  # the columns that are written down wrongly


def earlier(x: Tensor) -> Tensor:
    """(R, ...) one row earlier: row t holds what belongs to row t + 1, the last row nothing."""
    return torch.cat([x[1:], torch.zeros_like(x[:1])])


def later(x: Tensor) -> Tensor:
    """(R, ...) one row later: row t holds what belongs to row t - 1, row 0 nothing."""
    return torch.cat([torch.zeros_like(x[:1]), x[:-1]])


def row_0(x: Tensor) -> Tensor:
    """(R,) true in the first row of all."""
    return torch.arange(len(x)) == 0


def changed(change: Function, *names: str) -> Edit:
    """Some columns are changed, each by itself."""
    return lambda rows: {name: change(rows[name]) for name in names}


def taken(**sources: str) -> Edit:
    """Some columns hold what belongs in another one."""
    return lambda rows: {name: rows[source] for name, source in sources.items()}


TIME_LIMITS_TERMINAL = taken(is_terminal="is_last")
NEVER_TERMINAL = changed(lambda x: x & False, "is_terminal")
REWARD_LATE = changed(later, "reward")
TERMINAL_EARLY = changed(earlier, "is_terminal")
TERMINAL_LATE = changed(later, "is_terminal")
ACTION_DEPARTING = taken(previous_action="action")
PREVIOUS_ACTION_LATE = changed(later, "previous_action")
FIRST_EARLY = changed(earlier, "is_first")
FIRST_LATE = changed(later, "is_first")


def rewards_late_within_episodes(rows: Columns) -> Columns:
    """Rewards one row late, and none in a first row."""
    return {"reward": later(rows["reward"]).masked_fill(rows["is_first"], 0)}


def one_per_transition(rows: Columns) -> Columns:
    """A row for each transition, as a table of (observation, action, reward, done)."""
    told = {**rows, **changed(earlier, "reward", "is_last", "is_terminal")(rows)}
    return {name: column[earlier(~rows["is_first"])] for name, column in told.items()}


def as_stored(arriving: bool = False, **others: Function) -> Function:
    """A row for each transition, with what was stored in it; some columns otherwise, given what is stored."""

    def alignment(
        obs: Tensor, action: Tensor, reward: Tensor, next_obs: Tensor, terminated: Tensor, truncated: Tensor
    ) -> Columns:
        last = terminated | truncated
        first = later(last) | row_0(last)
        rows = {
            "obs": next_obs if arriving else obs, "action": action, "reward": reward, "is_first": first,
            "previous_action": action if arriving else later(action).masked_fill(first[:, None], 0),
            "is_last": last, "is_terminal": terminated,
        }  # fmt: skip
        return rows | {name: change(rows) for name, change in others.items()}

    return alignment


def previous_of_other_episode(rows: Columns) -> Columns:
    """What was done last in one episode stands before the first row of the next."""
    before = later(later(rows["action"]))  # the row before a first one has no action; the one before that has
    return {"previous_action": torch.where(rows["is_first"][:, None], before, rows["previous_action"])}


def next_reset_for_last(rows: Columns) -> Columns:
    """Each last row shows what the row after it shows."""
    following = torch.cat([rows["obs"][1:], rows["obs"][-1:]])
    return {"obs": torch.where(rows["is_last"][:, None], following, rows["obs"])}


# Alignment ------------------------------------------------------------------------------------------------------------


def right_alignment(
    obs: Tensor, action: Tensor, reward: Tensor, next_obs: Tensor, terminated: Tensor, truncated: Tensor
) -> dict[str, Tensor]:
    """N transitions as rows of the index convention: one more row than transitions for every episode."""
    rows: list[dict[str, Tensor]] = []
    no, yes = torch.tensor(False), torch.tensor(True)
    nothing = {"action": torch.zeros_like(action[0]), "previous_action": torch.zeros_like(action[0])}
    for n in range(len(obs)):
        if n == 0 or terminated[n - 1] or truncated[n - 1]:
            unpaid = torch.zeros_like(reward[0])
            rows.append(nothing | {"obs": obs[n], "reward": unpaid, "is_first": yes, "is_last": no, "is_terminal": no})
        rows[-1]["action"] = action[n]
        rows.append(nothing | {
            "obs": next_obs[n], "previous_action": action[n], "reward": reward[n], "is_first": no,
            "is_last": terminated[n] | truncated[n], "is_terminal": terminated[n],
        })  # fmt: skip
    return {name: torch.stack([row[name] for row in rows]) for name in COLUMNS}


def edited(*edits: Edit) -> Function:
    """The right rows, in which something is written down wrongly."""

    def alignment(*transitions: Tensor) -> Columns:
        rows: dict[str, Any] = right_alignment(*transitions)
        for edit in edits:
            rows = {**rows, **edit(rows)}
        return rows

    return alignment


def _episodes(seed: int, dtype: torch.dtype, *ends: str) -> Arguments:
    """Transitions, one for each letter: t terminated, l time limit, b both, . neither."""
    letters = "".join(ends)
    count = len(letters)
    terminated, truncated = (torch.tensor([letter in kind for letter in letters]) for kind in ("tb", "lb"))
    seen, after = uniform(seed, 2 * count, 2, dtype=dtype).chunk(2)
    ended = (terminated | truncated).roll(1)
    ended[0] = True
    return {
        "obs": torch.where(ended[:, None], seen, after.roll(1, 0)),
        "action": uniform(seed + 1, count, 3, dtype=dtype, low=0.1),
        "reward": uniform(seed + 2, count, dtype=dtype),
        "next_obs": after,
        "terminated": terminated,
        "truncated": truncated,
    }


ALIGNMENT = Part(
    name="alignment",
    right=right_alignment,
    container=dict,
    returns=COLUMNS,
    cases=(
        {
            "obs": torch.tensor([[1.0], [2.0], [5.0], [6.0], [7.0]]),
            "action": torch.tensor([[0.1], [0.2], [0.5], [0.6], [0.7]]),
            "reward": torch.tensor([10.0, 20.0, 50.0, 60.0, 70.0]),
            "next_obs": torch.tensor([[2.0], [3.0], [6.0], [7.0], [8.0]]),
            "terminated": torch.tensor([False, True, False, False, False]),
            "truncated": torch.tensor([False, False, False, False, True]),
        },
        _episodes(0, torch.float32, "..l", "t", "...b", ".."),
        _episodes(10, torch.float64, "t", "l", ".t", "....l", "."),
    ),
    mistakes={
        "time_limit_not_last": Mistake(
            "a time limit is not marked as the last row of its episode.",
            "only `terminated` was looked at; `truncated` ends the sequence too.",
            (edited(taken(is_last="is_terminal")),),
        ),
        "last_row_dropped": Mistake(
            "the last observation of each episode is dropped, so no row shows what an end looks like.",
            "one row per transition is stored; an episode of n transitions has n + 1 observations.",
            (
                edited(one_per_transition),
                edited(one_per_transition, rewards_late_within_episodes),
                edited(lambda rows: {name: column[~rows["is_last"]] for name, column in rows.items()}),
                as_stored(previous_action=lambda rows: later(rows["action"])),
                as_stored(previous_action=lambda rows: rows["action"]),
                as_stored(is_terminal=lambda rows: rows["is_last"]),
            ),
        ),
        "first_row_dropped": Mistake(
            "the first observation of each episode is dropped: only rows that an action led to are there.",
            "one row per transition is stored, the arriving one; reset gives a row, too.",
            (
                edited(lambda rows: {name: column[~rows["is_first"]] for name, column in rows.items()}),
                as_stored(arriving=True),
                as_stored(
                    arriving=True,
                    action=lambda rows: earlier(rows["action"]).masked_fill(rows["is_last"][:, None], 0),
                ),
            ),
        ),
        "first_missing": Mistake(
            "only the first row of all is marked as first: later episodes go on from the one before.",
            "the flag is set at the first reset, and environments that reset themselves do it unseen.",
            (edited(changed(row_0, "is_first")),),
        ),
    },
)

# In the agent ---------------------------------------------------------------------------------------------------------

LOSSES = WorldModel.losses
OBSERVE = WorldModel.observe


def wrong(edit: Edit, batch: Batch) -> Batch:
    """The same mistake in every sequence of a batch."""
    rows = {name: getattr(batch, name).transpose(0, 1) for name in COLUMNS}
    return replace(batch, **{name: column.transpose(0, 1).contiguous() for name, column in edit(rows).items()})


def learning(edit: Edit) -> Replaces:
    """A mistake in what the world model's losses are told."""
    return ((WorldModel, "losses", lambda model, batch: LOSSES(model, wrong(edit, batch))),)


def observing(edit: Edit) -> Replaces:
    """A mistake in what the states are inferred from, whoever asks for them."""
    return (*learning(edit), (WorldModel, "observe", lambda model, batch: OBSERVE(model, wrong(edit, batch))))


def losses_at_departing_states(model: WorldModel, batch: Batch) -> tuple[dict[str, Tensor], State]:
    """Reward and continue are explained by the state before the one that is arrived at."""
    losses, states = LOSSES(model, batch)
    departing = states.feature[:, :-1]
    reward = model.reward(departing).loss(batch.reward[:, 1:])
    continues = model.continues(departing).loss(1.0 - batch.is_terminal[:, 1:].float())
    return losses | {"reward": pad(reward, (1, 0)), "continue": pad(continues, (1, 0))}, states


REWARD_ROW = "test_world_model.py::test_reward_loss_belongs_to_the_row_that_is_arrived_at"
TERMINAL_ROW = "test_world_model.py::test_continue_loss_counts_terminal_rows_and_no_time_limits"
EXPECTS = "test_world_model.py::test_divergence_is_from_what_the_row_before_and_its_action_led_to_expect"

PARTS = (ALIGNMENT,)

BUGS = (
    Bug(
        name="reward_departing",
        story="Reward and continue are trained on the departing state and used on the arriving one.",
        symptom="The agent sees an end one step after it could still be avoided.",
        innocent="All losses fall; the departing state and its action often tell the reward almost as well.",
        source=f"{GUIDE}, training of the world model",
        breaks="world_model.WorldModel.losses, reward and continue of row t",
        caught_by=(REWARD_ROW, TERMINAL_ROW), replaces=((WorldModel, "losses", losses_at_departing_states),),
        forms={ALIGNMENT: Mistake(
            "every reward stands one row early, in the row its action was chosen in.",
            "(observation, action, reward) is how transitions are often stored; here a row holds what arrives "
            "together, so the reward for a_t is in row t + 1.",
            (edited(changed(earlier, "reward")), edited(changed(earlier, "reward", "is_terminal")),
             edited(changed(earlier, "reward", "is_terminal", "is_last"))),
        )},
    ),
    Bug(
        name="reward_late",
        story="The reward head of row t learns the reward of row t - 1: the column was padded once too often.",
        symptom="In dreams every reward arrives one step after it was earned, and the last one of an episode never.",
        innocent="All losses; where rewards change slowly the reward loss is as low as ever.",
        source="https://github.com/ray-project/ray/issues/31009",
        breaks="world_model.WorldModel.losses, reward of row t",
        caught_by=(REWARD_ROW,), replaces=learning(REWARD_LATE),
        forms={ALIGNMENT: Mistake(
            "every reward stands one row late; that of an end lands in the next episode.",
            "the reward is shifted although it already arrives with its observation.",
            (edited(REWARD_LATE), edited(rewards_late_within_episodes)),
        )},
    ),
    Bug(
        name="continue_early",
        story="The continue head of row t learns whether row t + 1 ends the episode.",
        symptom="Good states just before an end are taken for the end: the agent gives up one step too soon.",
        innocent="The continue loss, since ends are rare.",
        source=f"{DREAMER_V3}65", breaks="world_model.WorldModel.losses, continue of row t",
        caught_by=(TERMINAL_ROW,), replaces=learning(TERMINAL_EARLY),
        forms={
            ALIGNMENT: Mistake(
                "the end is flagged one row early, where the last action was chosen.",
                "`done` comes back from the step with that action, and is stored beside it.",
                (edited(TERMINAL_EARLY), edited(changed(earlier, "is_terminal", "is_last"))),
            ),
            CONTINUE_TARGET: Mistake(
                "row t is told whether row t + 1 ends the episode.",
                "the departing state is thought of: will it go on from here? But the flag belongs to the arriving one.",
                of_wrong(CONTINUE_TARGET.right, 1, lambda terminal: earlier(terminal.mT).mT),
            ),
        },
    ),
    Bug(
        name="continue_late",
        story="The continue head of row t learns whether row t - 1 ended the episode.",
        symptom="The first states of an episode look deadly and its end looks harmless.",
        innocent="The continue loss, since ends are rare.",
        source=f"{DREAMER_V3}65", breaks="world_model.WorldModel.losses, continue of row t",
        caught_by=(TERMINAL_ROW,), replaces=learning(TERMINAL_LATE),
        forms={
            ALIGNMENT: Mistake(
                "the end is flagged one row late, in the first row of the next episode.",
                "the flag is stored with the reset that follows it.",
                (edited(TERMINAL_LATE), edited(changed(later, "is_terminal", "is_last"))),
            ),
            CONTINUE_TARGET: Mistake(
                "row t is told whether row t - 1 ended the episode.",
                "the flags are shifted although they already arrive with their row.",
                of_wrong(CONTINUE_TARGET.right, 1, lambda terminal: later(terminal.mT).mT),
            ),
        },
    ),
    Bug(
        name="action_departing",
        story="The dynamics of row t are given a_t, the action chosen after it, and not a_{t-1}, which led to it.",
        symptom="The model learns that actions do nothing, or work before they are taken; dreams ignore them.",
        innocent="Decoder, reward and continue losses: the posterior sees the observation anyway.",
        source="https://github.com/danijar/dreamer/issues/8", breaks="world_model.WorldModel.observe, a_{t-1}",
        caught_by=(EXPECTS, "test_world_model.py::test_no_loss_uses_the_action_that_has_not_led_anywhere_yet"),
        replaces=observing(ACTION_DEPARTING),
        forms={
            ALIGNMENT: Mistake(
                "previous_action is the action chosen in this row; it must be the one that led to it.",
                "the two columns hold the same numbers, one row apart.",
                (edited(ACTION_DEPARTING),),
            ),
            OBSERVE_SEQUENCE: Mistake(
                "row t is given a_t, which was chosen after seeing it; a_{t-1} led to it.",
                "both stand in row t of what is stored; only one of them can have caused what the row shows.",
                (observe_departing,),
            ),
        },
    ),
    Bug(
        name="action_late",
        story="The actions are shifted twice, by the replay and by the model: row t is given a_{t-2}.",
        symptom="Dreams answer every action one step late.",
        innocent="Decoder, reward and continue losses; the divergence is a little higher, which nobody can know.",
        source=NAVIX, breaks="world_model.WorldModel.observe, a_{t-1}",
        caught_by=(EXPECTS,), replaces=observing(PREVIOUS_ACTION_LATE),
        forms={ALIGNMENT: Mistake(
            "the actions stand one row late: `action` is the one that led to the row, or `previous_action` the one "
            "before that.",
            "the action is stored together with what it brought about, or a column is shifted that already was.",
            (edited(taken(action="previous_action")), edited(PREVIOUS_ACTION_LATE),
             edited(taken(action="previous_action"), PREVIOUS_ACTION_LATE)),
        )},
    ),
    Bug(
        name="first_early",
        story="The state is forgotten one row before an episode begins, on arriving at the end of the one before.",
        symptom="The model meets every end without a memory; in dreams, where it has one, nothing ever ends.",
        innocent="Every loss: each row is explained well from its observation.",
        source=NAVIX, breaks="world_model.WorldModel.observe, is_first of row t",
        caught_by=(EXPECTS,), replaces=observing(FIRST_EARLY),
        forms={ALIGNMENT: Mistake(
            "the last row of an episode is marked as first, in place of the row after it.",
            "`done` is stored in the row it arrives with, and taken for the flag of a new beginning.",
            (edited(FIRST_EARLY), edited(changed(lambda x: earlier(x) | row_0(x), "is_first")),
             edited(taken(is_first="is_last"))),
        )},
    ),
    Bug(
        name="first_late",
        story="The state is forgotten one row after an episode has begun.",
        symptom="The first row is expected from the episode before, and its state is lost at once.",
        innocent="Every loss, where episodes are long.",
        source="https://github.com/NM512/dreamerv3-torch/pull/14",
        breaks="world_model.WorldModel.observe, is_first of row t",
        caught_by=(EXPECTS,), replaces=observing(FIRST_LATE),
        forms={ALIGNMENT: Mistake(
            "the first row is marked one row late.",
            "the flag is taken from `done` of the step before, which is already that of the row.",
            (edited(FIRST_LATE), edited(changed(lambda x: later(x) | row_0(x), "is_first"))),
        )},
    ),
)  # fmt: skip
