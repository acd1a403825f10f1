"""What a doctor can know of a run: what its replay holds, how right its model is, and how its agent acts.

Everything is measured in a few seconds, with random numbers of its own, and nothing in the run is changed.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from wm_tutorial.agent import Agent, Carry
from wm_tutorial.data import Array, Batch, Row, State
from wm_tutorial.envs import Environments, EnvSource
from wm_tutorial.randomness import isolated_random
from wm_tutorial.replay import Replay
from wm_tutorial.runs.dream import as_batch, worlds_of
from wm_tutorial.trainer import Trainer
from wm_tutorial.vector import VectorEnvironments

SEQUENCES = 64  # drawn from the replay for each question about the model
LENGTH = 16  # rows of those that may cross from one episode into the next
CONTEXT, HORIZON = 5, 15  # rows seen and dreamed, within one episode
LINE_LEAST, LINE_MOST = 200, 20_000  # rows that a straight line is fitted to
BEGINNINGS = 4  # within the rows of a replay, of which it is asked what is remembered over them
DREAMS = 4  # of each sequence; their mean is the prediction, or chance in them would be counted as error
EPISODES = 32  # lived, of each way to act
LONGEST = 501  # rows of an episode that are lived at most

# --- What the replay holds --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Handed:
    """Sequences that the replay hands out to learn from.

    length   their rows
    torn     share of their rows that are not those which stand at their place, each after the one before it
    reach    from the oldest to the newest of these rows, as a share of those held
    """

    length: int
    torn: float
    reach: float


@dataclass(frozen=True)
class Stored:
    """What the replay of a run holds.

    rows      rows ever added, over all streams
    held      rows held now
    streams   environments they come from
    episodes  of every whole episode held: its steps, the sum of its rewards, and whether its end is a termination
    starts    how many different observations those episodes begin with
    rewards   the lowest and the highest reward
    repeated  share of rows whose observation is exactly that of the row before; None unless observations are vectors
    renewed   share of those episodes whose last observation is exactly the one that the next begins with
    bent      error of a straight line through the rows, which predicts each from two before it and their actions, in
              deviations; None unless observations are vectors
    paying    share of rows, first ones left out, whose reward is not 0
    handed    what it hands out to learn from; None if it holds no sequence of that length
    """

    rows: int
    held: int
    streams: int
    episodes: tuple[tuple[int, float, bool], ...]
    starts: int
    rewards: tuple[float, float]
    repeated: float | None
    renewed: float
    bent: float | None
    paying: float
    handed: Handed | None


def stored(replay: Replay, vectors: bool, length: int) -> Stored:
    """Look through a replay that holds at least one row, and is asked for sequences of `length`.

    vectors: whether observations are some, which hardly ever come twice.
    """
    order = held_rows(replay) % replay.length
    columns = {name: replay.columns[name][:, order] for name in ("is_first", "is_last", "is_terminal", "reward")}
    episodes, begun, renewed = [], [], []
    for stream in range(replay.streams):
        first, last = (np.flatnonzero(columns[name][stream]) for name in ("is_first", "is_last"))
        obs = replay.columns["obs"][stream]
        for end, before in zip(last, np.searchsorted(first, last, side="right") - 1, strict=True):
            if before >= 0:  # or the beginning of this one is no longer held
                start = first[before]
                total = float(columns["reward"][stream, start + 1 : end + 1].sum(dtype=np.float64))
                episodes.append((int(end - start), total, bool(columns["is_terminal"][stream, end])))
                begun.append(obs[order[start]].tobytes())
                if end + 1 < len(order):  # or the next has not begun
                    renewed.append(np.array_equal(obs[order[end]], obs[order[end + 1]]))
    repeated, line = None, None
    if vectors and len(order) > 1:
        obs = replay.columns["obs"][:, order]
        same = (obs[:, 1:] == obs[:, :-1]).all(-1) & ~columns["is_first"][:, 1:]
        repeated = float(same.mean())
        line = straight_line(obs, replay.columns["action"][:, order], columns["is_first"])
    reward = columns["reward"][~columns["is_first"]]
    low, high = (float(reward.min()), float(reward.max())) if reward.size else (0.0, 0.0)
    return Stored(
        rows=replay.added * replay.streams,
        held=len(replay),
        streams=replay.streams,
        episodes=tuple(episodes),
        starts=len(set(begun)),
        rewards=(low, high),
        repeated=repeated,
        renewed=float(np.mean(renewed)) if renewed else 0.0,
        bent=None if line is None else line[1],
        paying=float(np.mean(reward != 0.0)) if reward.size else 0.0,
        handed=handed(replay, length) if len(order) > length else None,
    )


def handed(replay: Replay, length: int) -> Handed:
    """Ask a replay for SEQUENCES of `length` rows, and compare them with what it holds."""
    batch, place = replay.sample(SEQUENCES, length, np.random.default_rng(0))
    number, held = place.number, held_rows(replay)
    rows = replay.sequences(place.stream, number[:, 0] - 1, number.shape[1], "cpu")[0]
    there = (number >= held[0]) & (number <= held[-1])
    same = (batch.obs.cpu() == rows.obs).flatten(2).all(-1).numpy() if batch.obs.shape == rows.obs.shape else False
    follows = np.diff(number, axis=1, prepend=number[:, :1] - 1) == 1
    return Handed(
        length=batch.obs.shape[1],
        torn=float(np.mean(~(there & same & follows))),
        reach=float((number.max() - number.min() + 1) / len(held)),
    )


def held_rows(replay: Replay) -> Array:
    """The numbers of all rows held, oldest first."""
    return np.arange(replay.added - min(replay.added, replay.length), replay.added)


def time_limit(environments: Environments) -> int | None:
    """Steps after which Gymnasium's wrapper cuts an episode short; None without one, or where somebody else steps."""
    env: Any = None if isinstance(environments, VectorEnvironments) else environments.streams[0]
    while isinstance(env, gym.Wrapper):
        if isinstance(env, gym.wrappers.TimeLimit):
            return env._max_episode_steps
        env = env.env
    return None


# --- What the model knows ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """What the model knows of sequences in the replay. Errors are root mean squares in deviations of what is predicted.

    seen          error of the observation, decoded from the states that were inferred from it
    reward        error of the reward in those states, in its deviation (in its size where it is always the same)
    divergence    mean KL of the posterior from the prior, in nats, before any free nats
    floor         share of states in which it lies below the free nats
    remembered    share of rows from a beginning on whose KL is another one if the episode before was another one, with
                  the same random numbers; None if there are hardly any beginnings, or the KL is that of all rows
    redrawn       share of states whose latent is another one if the same rows are observed once more
    dreamed       error of observations in the HORIZON rows after the last one seen, or fewer; None: episodes too short
    persistence   of the last observation seen, taken for a prediction of the same rows
    misled        as `dreamed`, with the actions of other sequences
    moved         how far the actions of other sequences move a dream, beyond what chance does
    line          `dreamed` and `moved` of a straight line fitted to the replay, which predicts a row from two before it
                  and their actions; None unless observations are vectors
    ends          how many rows at which an episode terminated were looked at
    missed        share of these of which the model says that the episode goes on
    told_apart    how often such a row is thought a likelier end than another row: 1 always, 0.5 as often as by chance
    invented      mean probability of an end, in all other rows
    imagined      mean lambda return of what the policy does in the model, imagined and added up by the doctor; and of
                  random actions; None if nothing is learned there
    spread        from the 5th to the 95th percentile of imagined returns, as tracked; None if they are not normalised
    """

    seen: float
    reward: float
    divergence: float
    floor: float
    redrawn: float
    remembered: float | None
    dreamed: float | None
    persistence: float | None
    misled: float | None
    moved: float | None
    line: tuple[float, float] | None
    ends: int
    missed: float
    told_apart: float
    invented: float
    imagined: tuple[float, float] | None
    spread: float | None


def known(agent: Agent, replay: Replay, seed: int = 0) -> Known | None:
    """Ask the model about sequences of the replay; None if it holds none of LENGTH rows."""
    rng, device = np.random.default_rng(seed), agent.device
    numbers = held_rows(replay)
    if len(numbers) <= LENGTH:
        return None
    with torch.no_grad(), isolated_random(device, seed):
        stream = rng.integers(replay.streams, size=SEQUENCES)
        first = rng.integers(numbers[1], numbers[-1] - LENGTH + 2, size=SEQUENCES)
        batch = replay.sequences(stream, first - 1, LENGTH, str(device))[0]
        model, gamma = agent.world_model, agent.config.discount if agent.config.discount_in_continue else 1.0
        observed = model.encoder(batch.obs), batch.previous_action, batch.is_first, batch.start
        states, posterior, prior = model.dynamics.observe(*observed)
        again = model.dynamics.observe(*observed)[0]
        divergence = posterior.kl(prior)  # type: ignore[arg-type]  # both of the kind that this latent is
        later = ~batch.is_first  # the reward of a first row is none
        going_on = model.continues(states.feature).mean[~batch.is_terminal] / gamma
        dreams = _dreams(agent, replay, rng)
        terminal = _terminal(agent, replay, rng) / gamma
        normalised = agent.config.behaviour == "actor-critic" and agent.config.return_normalization
        low, high = agent.behaviour.normalizer.range.tolist() if normalised else (0.0, 0.0)
        return Known(
            seen=error(model.decode(states.feature).mean, agent.spaces.shown(batch.obs)),
            reward=scalar_error(model.reward(states.feature).mean[later], batch.reward[later]),
            divergence=float(divergence.mean()),
            floor=float((divergence < agent.config.free_nats).float().mean()),
            redrawn=float((again.latent != states.latent).flatten(2).any(-1).float().mean()),
            remembered=_remembered(agent, replay, rng, seed),
            **dreams,
            ends=len(terminal),
            missed=float((terminal > 0.5).float().mean()) if len(terminal) else 0.0,
            told_apart=float((terminal[:, None] < going_on).float().mean()) if len(terminal) else 1.0,
            invented=float(1.0 - going_on.mean()),
            imagined=imagined(agent, states.flatten()) if agent.config.behaviour == "actor-critic" else None,
            spread=high - low if normalised else None,
        )


def _remembered(agent: Agent, replay: Replay, rng: np.random.Generator, seed: int) -> float | None:
    """As in `Known`: whatever stands before a beginning is exchanged, the action that led to it, too."""
    order, half = held_rows(replay), LENGTH // 2
    stream, place = replay.columns["is_first"][:, order % replay.length].nonzero()
    inside = (place > half) & (place + half <= len(order))
    stream, place = stream[inside], place[inside]
    if len(place) < BEGINNINGS or agent.config.free_nats_of == "mean":
        return None
    chosen = rng.permutation(len(place))[:SEQUENCES]
    batch = replay.sequences(stream[chosen], order[place[chosen]] - half - 1, LENGTH, str(agent.device))[0]
    obs, previous_action = batch.obs.clone(), batch.previous_action.clone()
    obs[:, :half], previous_action[:, : half + 1] = obs[:, :half].roll(1, 0), previous_action[:, : half + 1].roll(1, 0)
    start = batch.start[torch.arange(len(obs)).roll(1)]
    changed = Batch(**{**vars(batch), "obs": obs, "previous_action": previous_action, "start": start})
    divergence = []
    for asked in (batch, changed):
        with isolated_random(agent.device, seed):
            divergence.append(agent.world_model.losses(asked)[0]["dynamics"][:, half:])
    return float(((divergence[0] - divergence[1]).abs() > 1e-3).float().mean())


def _dreams(agent: Agent, replay: Replay, rng: np.random.Generator) -> dict[str, Any]:
    """What `Known` says of dreams, of as long a horizon as there is."""
    order = held_rows(replay)
    first = replay.columns["is_first"][:, order % replay.length]
    begun = np.cumsum(first, axis=1)  # which episode each row belongs to, within its stream
    for horizon in range(HORIZON, 1, -1):
        rows = CONTEXT + horizon
        whole = begun[:, rows:] == begun[:, 1 : max(1, len(order) - rows + 1)]  # from the row after each
        stream, place = whole.nonzero()
        if len(place) >= SEQUENCES or (horizon == 2 and len(place)):
            break
    else:
        return dict.fromkeys(("dreamed", "persistence", "misled", "moved", "line"))
    chosen = rng.choice(len(place), SEQUENCES, replace=len(place) < SEQUENCES)
    batch = replay.sequences(stream[chosen], order[place[chosen]], rows, str(agent.device))[0]
    truth = in_units(agent.spaces.shown(batch.obs))
    other = batch.previous_action.clone()
    other[:, CONTEXT:] = other[:, CONTEXT:].roll(1, dims=0)

    def dreamt(actions: Tensor) -> Tensor:
        asked = Batch(**{**vars(batch), "previous_action": actions})
        return torch.stack([agent.world_model.open_loop(asked, CONTEXT).obs for _ in range(DREAMS)]).mean(0)

    def off(one: Tensor, another: Tensor) -> float:
        return error(truth[:, CONTEXT:] + (one - another)[:, CONTEXT:].to(truth), truth[:, CONTEXT:])

    own, again, of_others = dreamt(batch.previous_action), dreamt(batch.previous_action), dreamt(other)
    columns = [replay.columns[name][:, order % replay.length] for name in ("obs", "action", "is_first")]
    line = straight_line(*columns) if agent.spaces.obs_kind == "vector" else None
    lines = () if line is None else [gone_on(line[0], batch.obs, a) for a in (batch.previous_action, other)]
    return {
        "dreamed": off(own, truth),
        "persistence": off(truth[:, CONTEXT - 1 : CONTEXT].expand_as(truth), truth),
        "misled": off(of_others, truth),
        "moved": math.sqrt(max(0.0, off(own, of_others) ** 2 - off(own, again) ** 2)),
        "line": (off(lines[0], truth), off(*lines)) if lines else None,
    }


def straight_line(obs: Array, action: Array, is_first: Array) -> tuple[Array, float] | None:
    """Rows by least squares from two before them, their actions and 1; None of hardly any rows.

    Args:
        obs, action, is_first: of N streams of T rows: (N, T, D), (N, T, A) and (N, T).

    Returns:
        The line (2 D + 2 A + 1, D), and how far it is from these rows, in their deviations.
    """
    obs, action, is_first = (column[:, -LINE_MOST // len(column) :] for column in (obs, action, is_first))
    within = ~(is_first[:, 1:-1] | is_first[:, 2:])  # this row and the one before belong to one episode
    if within.sum() < LINE_LEAST:
        return None
    now, *known = (
        column[within].astype(np.float64)
        for column in (obs[:, 2:], obs[:, 1:-1], obs[:, :-2], action[:, 1:-1], action[:, :-2])
    )
    told = np.concatenate([*known, np.ones((len(now), 1))], axis=1)
    line: Array = np.linalg.lstsq(told, now, rcond=None)[0]
    spread, squares = now.var(0), np.square(now - told @ line).mean(0)
    varies = spread > 1e-12
    return line, float(np.sqrt(np.mean(squares[varies] / spread[varies]))) if varies.any() else 0.0


def gone_on(line: Array, obs: Tensor, previous_action: Tensor) -> Tensor:
    """Observations (B, T, D) until CONTEXT, and then what a straight line makes of the actions (B, T, A)."""
    rows, actions = list(obs[:, :CONTEXT].double().unbind(1)), previous_action.double().unbind(1)
    weight, one = torch.from_numpy(line).to(rows[0]), torch.ones_like(rows[0][:, :1])
    for t in range(CONTEXT, obs.shape[1]):
        rows.append(torch.cat([rows[-1], rows[-2], actions[t], actions[t - 1], one], dim=-1) @ weight)
    return torch.stack(rows, dim=1)


def imagined(agent: Agent, start: State) -> tuple[float, float]:
    """As in `Known`, of steps from `start` (N), with lambda returns as the options ask for them.

    With the parts that were learned, and nothing of how they were put together while they learned.
    """
    config, model, behaviour = agent.config, agent.world_model, agent.behaviour
    critic = behaviour.slow_critic if config.bootstrap == "slow critic" else behaviour.critic
    gamma = 1.0 if config.discount_in_continue else config.discount
    means = []
    for by_chance in (False, True):
        state, arrived, total = start, [], 0.0
        for _ in range(config.horizon):
            chosen = agent.random_action(len(start.latent)) if by_chance else behaviour.actor(state.feature).sample()
            state = model.imagine(state, chosen)
            feature = state.feature
            arrived.append((model.reward(feature).mean, gamma * model.continues(feature).mean, critic(feature).mean))
        following = arrived[-1][2]
        for reward, discount, value in reversed(arrived):
            following = reward + discount * ((1.0 - config.lam) * value + config.lam * following)
            total += float(following.mean())
        means.append(total / config.horizon)
    return means[0], means[1]


def _terminal(agent: Agent, replay: Replay, rng: np.random.Generator) -> Tensor:
    """The probability (N,) that an episode goes on, in up to SEQUENCES rows in which it terminated."""
    order = held_rows(replay)
    stream, place = replay.columns["is_terminal"][:, order % replay.length].nonzero()
    far = place >= LENGTH  # there is a sequence that ends in this row, and a row before
    stream, place = stream[far], place[far]
    if not len(place):
        return torch.zeros(0)
    chosen = rng.permutation(len(place))[:SEQUENCES]
    batch = replay.sequences(stream[chosen], order[place[chosen]] - LENGTH, LENGTH, str(agent.device))[0]
    continues: Tensor = agent.world_model.continues(agent.world_model.observe(batch)[:, -1].feature).mean
    return continues


def in_units(obs: Tensor) -> Tensor:
    """Observations as the decoder predicts them: images in 0..1."""
    return obs / 255.0 if obs.dtype == torch.uint8 else obs


def error(predicted: Tensor, obs: Tensor) -> float:
    """Root mean square error of observations (B, T, ...), in deviations: of each entry of a vector, of all of an image.

    What never changes is left out; 1 is what one gets by always saying the mean.
    """
    truth = in_units(obs)
    squares, spread = (predicted - truth).square().flatten(0, 1).mean(0), truth.flatten(0, 1).var(0, correction=0)
    if truth.dim() > 3 or bool(((truth == 0) | (truth == 1)).all()):  # pixels, classes: many of them hardly ever change
        squares, spread = squares.sum(), spread.sum()
    varies = spread > 1e-12
    return float((squares[varies] / spread[varies]).mean().sqrt()) if bool(varies.any()) else 0.0


def scalar_error(predicted: Tensor, truth: Tensor) -> float:
    """Root mean square error of numbers (N,), in their deviation; where they hardly vary, in their size."""
    if not len(truth):
        return 0.0
    size, spread = truth.square().mean().sqrt(), truth.std(correction=0)
    unit = spread if spread > 0.05 * size else size
    return float((predicted - truth).square().mean().sqrt() / unit) if unit > 0 else 0.0


# --- How the agent acts -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lived:
    """New episodes, in environments and with seeds that training never sees.

    greedy, sampled, chance  the return of each episode, acting in these ways; that of at most LONGEST rows
    starts     how many different observations the sampled ones begin with
    promised   the critic's value, mean over the rows of the sampled ones; None if there is no critic
    paid       what was then earned, discounted, mean over the same rows, with the critic's value where one was cut
    acting     error of the observation, decoded from the states that were inferred while acting; as `Known.seen`
    observing  the same, from the states that are inferred from the same rows as a sequence
    bent       as `Stored.bent`, of that way to act of which a straight line is furthest from the rows
    paying     as `Stored.paying`, lowest and highest of the ways to act
    """

    greedy: tuple[float, ...]
    sampled: tuple[float, ...]
    chance: tuple[float, ...]
    starts: int
    promised: float | None = None
    paid: float | None = None
    acting: float | None = None
    observing: float | None = None
    bent: float | None = None
    paying: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Played:
    """Rows of N streams with what was carried after each, the action taken then, and of each stream's first episode its
    steps and return.
    """

    rows: list[tuple[Row, Carry]]
    actions: list[Array]
    steps: Array
    returns: Array
    over: Array


def lived(agent: Agent, source: EnvSource, simulators: int, longest: int = LONGEST, seed: int = 0) -> Lived:
    """Live an episode in each of `simulators` environments greedily, with sampled actions, and by chance.

    Raises:
        EnvironmentFailure: if an environment raises.
        InputError: if it does not fit the agent, or cannot be built.
    """
    play_ = partial(play, agent, source, simulators, longest, seed)
    greedy, sampled, chance = play_("greedy"), play_("sampled"), play_("chance")
    paying = [paying_rows(played) for played in (greedy, sampled, chance)]
    values: dict[str, float | None] = {}
    if agent.spaces.obs_kind == "vector":
        lines = [straight_line(*columns_of(played)) for played in (greedy, sampled, chance)]
        values["bent"] = max((line[1] for line in lines if line is not None), default=None)
    if hasattr(agent.world_model, "observe"):  # V and M of 2018 are no world model that could be asked so
        rows = sampled.rows[: 4 * LENGTH]
        batch = as_batch(agent, [(row, carry.action) for row, carry in rows])
        acting = torch.stack([carry.state.feature for _, carry in rows], dim=1)
        with torch.no_grad(), isolated_random(agent.device, seed):
            decode, shown = agent.world_model.decode, agent.spaces.shown(batch.obs)
            values["acting"] = error(decode(acting).mean, shown)
            values["observing"] = error(decode(agent.world_model.observe(batch).feature).mean, shown)
        if agent.config.behaviour == "actor-critic":
            values["promised"], values["paid"] = promises(agent, sampled)
    return Lived(
        greedy=tuple(greedy.returns.tolist()),
        sampled=tuple(sampled.returns.tolist()),
        chance=tuple(chance.returns.tolist()),
        starts=len({obs.tobytes() for obs in sampled.rows[0][0].obs}),
        paying=(min(paying), max(paying)),
        **values,
    )


def play(
    agent: Agent,
    source: EnvSource,
    simulators: int,
    longest: int,
    seed: int,
    way: Literal["greedy", "sampled", "chance"],
) -> Played:
    """The first episode of each stream, of at most `longest` rows; streams that are through go on with others."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[Row, Carry]] = []
    actions: list[Array] = []
    steps, returns, over = np.zeros(simulators, int), np.zeros(simulators), np.zeros(simulators, bool)
    with worlds_of(agent, source, simulators, seed) as environments, isolated_random(agent.device, seed):
        row, carry = environments.reset(), agent.initial(simulators)
        while len(rows) < longest:
            if way == "chance":
                action = environments.random_action(rng)
            else:
                carry = agent.policy(row, carry, way == "greedy")
                action = carry.action.numpy(force=True)
            rows.append((row, carry))
            actions.append(action)
            if over.all() and len(rows) >= LENGTH:
                break
            row = environments.step(row, action)
            steps += ~over
            returns += np.where(over, 0.0, row.reward)
            over |= row.is_last
    return Played(rows, actions, steps, returns, over)


def paying_rows(played: Played) -> float:
    """Share of rows, first ones left out, whose reward is not 0."""
    reward, is_first = (np.stack([getattr(row, name) for row, _ in played.rows]) for name in ("reward", "is_first"))
    return float(np.mean(reward[~is_first] != 0.0)) if not is_first.all() else 0.0


def columns_of(played: Played) -> tuple[Array, Array, Array]:
    """Observations, actions and first rows, (N, T, ...)."""
    rows = [row for row, _ in played.rows]
    obs, action, is_first = [row.obs for row in rows], played.actions, [row.is_first for row in rows]
    return np.stack(obs, axis=1), np.stack(action, axis=1), np.stack(is_first, axis=1)


@torch.no_grad()
def promises(agent: Agent, played: Played) -> tuple[float, float]:
    """The critic's value and the discounted return, each a mean over the rows of the first episode of each stream."""
    value = torch.stack([agent.behaviour.critic(c.state.feature).mean for _, c in played.rows]).numpy(force=True)
    reward = np.stack([row.reward for row, _ in played.rows])
    terminal = np.stack([row.is_terminal for row, _ in played.rows])
    promised, paid = [], []
    for i, count in enumerate(played.steps):
        count = min(count, len(value) - 1)
        following = 0.0 if terminal[count, i] else float(value[count, i])
        for t in reversed(range(count)):
            following = float(reward[t + 1, i]) + agent.config.discount * following
            paid.append(following)
            promised.append(float(value[t, i]))
    return float(np.mean(promised)), float(np.mean(paid))


def at_once(trainer: Trainer) -> tuple[int, int]:
    """How many environments may be open for a look, and for how many rows: there may be but one, and a plan is slow."""
    many = EPISODES if trainer.config.envs > 1 else 1
    return (min(many, 4), 5 * LENGTH) if trainer.config.behaviour == "planner" else (many, LONGEST)
