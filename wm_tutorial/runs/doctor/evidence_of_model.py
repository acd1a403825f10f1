"""What a doctor can know of a model: how right it is about sequences of the replay, and what is dreamed in it.

It takes a few seconds, with random numbers of its own, and changes nothing in the run.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wm_tutorial.agent import Agent
from wm_tutorial.data import Array, Batch, State
from wm_tutorial.randomness import isolated_random
from wm_tutorial.replay import Replay
from wm_tutorial.runs.doctor.evidence_of_replay import LENGTH, SEQUENCES, held_rows, line_through

CONTEXT, HORIZON = 5, 15  # rows seen and dreamed, within one episode
DREAMS = 4  # of each sequence; their mean is the prediction, or chance in them would be counted as error
BEGINNINGS = 4  # within the rows of a replay, of which it is asked what is remembered over them


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
    lines = []
    if agent.spaces.obs_kind == "vector" and (line := line_through(replay)) is not None:
        lines = [gone_on(line[0], batch.obs, actions) for actions in (batch.previous_action, other)]
    return {
        "dreamed": off(own, truth),
        "persistence": off(truth[:, CONTEXT - 1 : CONTEXT].expand_as(truth), truth),
        "misled": off(of_others, truth),
        "moved": math.sqrt(max(0.0, off(own, of_others) ** 2 - off(own, again) ** 2)),
        "line": (off(lines[0], truth), off(*lines)) if lines else None,
    }


def gone_on(line: Array, obs: Tensor, previous_action: Tensor) -> Tensor:
    """Observations (B, T, D) until CONTEXT, and then what a straight line makes of the actions (B, T, A)."""
    rows, actions = list(obs[:, :CONTEXT].cpu().double().unbind(1)), previous_action.cpu().double().unbind(1)
    weight, one = torch.from_numpy(line), torch.ones_like(rows[0][:, :1])
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
