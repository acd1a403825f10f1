"""Checks of chapter 20: what a run costs in operations, updates, bytes, seconds, and gradients of several processes."""

from wm_tutorial.check.diagnosis import examine
from wm_tutorial.mistakes.costs import (
    AVERAGED_GRADIENT,
    FLOP_OF_DENSE,
    REPLAY_BYTES,
    RING_ALL_REDUCE_SECONDS,
    UPDATES_OF_RUN,
)
from wm_tutorial.mistakes.part import Function


def flop_of_dense(function: Function) -> bool:
    """Check `flop_of_dense(rows, inputs, outputs)`: operations of a dense layer, forwards and backwards.

    rows     (N,) int64, how many vectors go through each of N layers
    inputs   (N,) int64
    outputs  (N,) int64
    ->       (N,) int64, of the products alone: two for each multiply-add, the gradient of weights and inputs included

    check.flop_of_dense(my_flop_of_dense)
    """
    return examine(FLOP_OF_DENSE, function)


def updates_of_run(function: Function) -> bool:
    """Check `updates_of_run(frames, repeat, ratio, batch, length)`: how many updates a run makes.

    frames  (N,) int64, of N runs, as tables have them
    repeat  frames in which each action is held: so many are one step of the agent, and one row
    ratio   the train ratio: rows replayed for each step
    batch   sequences in an update
    length  rows in a sequence
    ->      (N,) int64, rounded down

    check.updates_of_run(my_updates_of_run)
    """
    return examine(UPDATES_OF_RUN, function)


def replay_bytes(function: Function) -> bool:
    """Check `replay_bytes(rows, numbers, width, action, memory, latent)`: bytes of each of N replays.

    rows     (N,) int64, that it holds
    numbers  (N,) int64, in an observation
    width    (N,) int64, bytes of each of them: 1 in a picture, 4 in a vector
    action   (N,) int64, numbers in an action
    memory   (N,) int64, numbers of h that are stored
    latent   (N,) int64, numbers of z that are stored
    ->       (N,) int64; action, reward, memory and latent are float32, each of the three flags is one byte

    check.replay_bytes(my_replay_bytes)
    """
    return examine(REPLAY_BYTES, function)


def averaged_gradient(function: Function) -> bool:
    """Check `averaged_gradient(gradients, rows)`: the gradient of the whole batch from those of its shares.

    gradients  (R, P) of R processes: each of its own loss, which is a mean over its own rows
    rows       (R,) int64, how many rows each process had
    ->         (P,) the gradient of the mean over all rows

    check.averaged_gradient(my_averaged_gradient)
    """
    return examine(AVERAGED_GRADIENT, function)


def ring_all_reduce_seconds(function: Function) -> bool:
    """Check `ring_all_reduce_seconds(parameters, devices, gigabits)`: how long the sum of float32 gradients takes.

    parameters  (N,) int64, whose gradients are summed
    devices     (N,) int64, in the ring
    gigabits    (N,) float64, 10**9 bits a second from each device to the next
    ->          (N,) float64, seconds

    check.ring_all_reduce_seconds(my_ring_all_reduce_seconds)
    """
    return examine(RING_ALL_REDUCE_SECONDS, function)
