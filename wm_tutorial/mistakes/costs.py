"""What a run costs: operations, updates, bytes, and the gradients of several processes made one."""

import torch
from torch import Tensor

from wm_tutorial.mistakes.bug import Bug
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Arguments, Mistake, Part
from wm_tutorial.mistakes.training import whole


def _count(seed: int, low: int, high: int, size: int = 4) -> Tensor:
    """Whole numbers (size,) from low to high - 1."""
    return uniform(seed, size, dtype=torch.float64, low=low, high=high).long()


# Operations -----------------------------------------------------------------------------------------------------------


def right_flop_of_dense(rows: Tensor, inputs: Tensor, outputs: Tensor) -> Tensor:
    """Forwards, the gradient of the weights, and that of the inputs: three products of 2 rows inputs outputs each."""
    return 6 * rows * inputs * outputs


FLOP_OF_DENSE = Part(
    name="flop_of_dense",
    right=right_flop_of_dense,
    batched=("rows", "inputs", "outputs"),
    measure=whole,
    cases=(
        {"rows": torch.tensor([5]), "inputs": torch.tensor([3]), "outputs": torch.tensor([2])},
        *(
            {"rows": _count(seed, 2, 90), "inputs": _count(seed + 1, 2, 60), "outputs": _count(seed + 2, 2, 60)}
            for seed in (10, 20, 30)
        ),
        {"rows": torch.tensor([1024, 16384]), "inputs": torch.tensor([256, 64]), "outputs": torch.tensor([768, 255])},
    ),
    mistakes={
        "multiply_add_counted_once": Mistake(
            "a multiplication and the addition behind it are counted as one operation.",
            "data sheets of chips and the counter of torch count both; papers on convolutions count one.",
            (lambda n, i, o: 3 * n * i * o,),
        ),
        "forwards_only": Mistake(
            "only the way forwards is counted: learning goes backwards, too, and that is twice as much.",
            "the formula in books is that of a prediction.",
            (lambda n, i, o: 2 * n * i * o, lambda n, i, o: n * i * o),
        ),
        "backwards_counted_once": Mistake(
            "the way backwards is counted as one product; it is two, one for the weights and one for the inputs.",
            "backwards looks like the mirror of forwards; only the first layer of a network has no use for the second.",
            (lambda n, i, o: 4 * n * i * o,),
        ),
        "rows_forgotten": Mistake(
            "the operations of one row are counted, and the layer is asked about all rows.",
            "the formula 6 x parameters is for one row, or one token.",
            (lambda n, i, o: 6 * i * o,),
        ),
    },
)


# Updates --------------------------------------------------------------------------------------------------------------


def right_updates_of_run(frames: Tensor, repeat: int, ratio: int, batch: int, length: int) -> Tensor:
    """The whole updates of a run: (N,)."""
    return frames // repeat * ratio // (batch * length)


def _run(frames: Tensor, repeat: int, ratio: int, batch: int, length: int) -> Arguments:
    return {"frames": frames, "repeat": repeat, "ratio": ratio, "batch": batch, "length": length}


UPDATES_OF_RUN = Part(
    name="updates_of_run",
    right=right_updates_of_run,
    measure=whole,
    cases=(
        _run(torch.tensor([8000, 64000]), 4, 32, 16, 64),
        _run(16 * _count(40, 100, 4000), 4, 128, 16, 64),
        _run(16 * _count(50, 100, 4000), 2, 64, 8, 32),
        _run(_count(60, 1000, 9000), 1, 512, 16, 64),
        _run(torch.tensor([400_000, 200_000_000]), 4, 32, 16, 64),
    ),
    mistakes={
        "frames_for_steps": Mistake(
            "frames are counted where steps are paid for: with an action repeated, several frames are one step.",
            "tables are in frames, the replay has a row for each step.",
            (lambda f, k, r, b, t: f * r // (b * t),),
        ),
        "repeat_multiplied": Mistake(
            "frames are multiplied by the repeat; a step takes several of them, so there are fewer steps than frames.",
            "a repeated action sounds as if there were more of everything.",
            (lambda f, k, r, b, t: f * k * r // (b * t),),
        ),
        "ratio_for_updates": Mistake(
            "the ratio is taken for updates per step; it counts the rows that are replayed for each step.",
            "other methods mean updates by a ratio, and both have been called train ratio.",
            (lambda f, k, r, b, t: f // k * r,),
        ),
        "length_not_counted": Mistake(
            "an update is taken to replay one row of each sequence; it replays all of them.",
            "the batch size of other methods counts single rows.",
            (lambda f, k, r, b, t: f // k * r // b,),
        ),
        "ratio_upside_down": Mistake(
            "the ratio divides; the more rows are replayed for each step, the more updates are made.",
            "both numbers are called a ratio, and either could be on top.",
            (lambda f, k, r, b, t: f // k * (b * t) // r, lambda f, k, r, b, t: f // k // r),
        ),
    },
)


# Bytes ----------------------------------------------------------------------------------------------------------------


def _row(numbers: Tensor, width: Tensor, action: Tensor, memory: Tensor, latent: Tensor) -> Tensor:
    """Bytes of one row: the observation, 4 for each other number and for the reward, one for each of three flags."""
    return numbers * width + 4 * (action + 1 + memory + latent) + 3


def right_replay_bytes(
    rows: Tensor, numbers: Tensor, width: Tensor, action: Tensor, memory: Tensor, latent: Tensor
) -> Tensor:
    """Bytes of a replay of so many rows: (N,)."""
    return rows * _row(numbers, width, action, memory, latent)


REPLAY_BYTES = Part(
    name="replay_bytes",
    right=right_replay_bytes,
    batched=("rows", "numbers", "width", "action", "memory", "latent"),
    measure=whole,
    cases=(
        dict(
            zip(
                ("rows", "numbers", "width", "action", "memory", "latent"),
                torch.tensor([[10], [4], [4], [2], [8], [6]]).unbind(0),
                strict=True,
            )
        ),
        *(
            {
                "rows": _count(seed, 4, 300),
                "numbers": 3 * _count(seed + 1, 2, 50),
                "width": 1 + 3 * _count(seed + 2, 0, 2),
                "action": _count(seed + 3, 1, 9),
                "memory": _count(seed + 4, 2, 70),
                "latent": _count(seed + 5, 2, 70),
            }
            for seed in (70, 80, 90)
        ),
    ),
    mistakes={
        "states_not_stored": Mistake(
            "memory and latent are left out: each row keeps the state it was seen in, from which sequences begin.",
            "they are not part of what the environment says, and in the larger sizes they are most of a row.",
            (
                lambda n, o, w, a, h, z: n * (o * w + 4 * (a + 1) + 3),
                lambda n, o, w, a, h, z: n * (o * w + 4 * (a + 1 + h) + 3),
                lambda n, o, w, a, h, z: n * (o * w + 4 * (a + 1 + z) + 3),
            ),
        ),
        "pictures_as_floats": Mistake(
            "every number of an observation is given four bytes; a picture's have one each until they are used.",
            "networks take float32, and the conversion is easily made too early.",
            (lambda n, o, w, a, h, z: n * (4 * (o + a + 1 + h + z) + 3),),
        ),
        "bits_for_bytes": Mistake(
            "these are bits, eight times the bytes.",
            "float32 has its bits in its name.",
            (lambda n, o, w, a, h, z: 8 * right_replay_bytes(n, o, w, a, h, z),),
        ),
        "flags_of_four_bytes": Mistake(
            "the three flags are given four bytes each; a bool has one.",
            "everything else in the row has four.",
            (lambda n, o, w, a, h, z: n * (o * w + 4 * (a + 1 + h + z + 3)),),
        ),
        "flags_and_reward_forgotten": Mistake(
            "reward and flags are left out.",
            "they are small; in a world of four numbers they are not.",
            (
                lambda n, o, w, a, h, z: n * (o * w + 4 * (a + h + z)),
                lambda n, o, w, a, h, z: n * (o * w + 4 * (a + 1 + h + z)),
                lambda n, o, w, a, h, z: n * (o * w + 4 * (a + h + z) + 3),
            ),
        ),
        "one_row_only": Mistake(
            "this is one row.",
            "the row takes all the thought.",
            (lambda n, o, w, a, h, z: _row(o, w, a, h, z),),
        ),
        "width_of_everything": Mistake(
            "every number of a row gets the width of the observation's; all others are float32, of four bytes.",
            "with vectors, whose width is four, it is right: pictures show it.",
            (
                lambda rows, numbers, width, action, memory, latent: (
                    rows * (width * (numbers + action + memory + latent + 1) + 3)
                ),
            ),
        ),
    },
)


# Several processes ----------------------------------------------------------------------------------------------------


def right_averaged_gradient(gradients: Tensor, rows: Tensor) -> Tensor:
    """The gradient of the mean over all rows: (P,)."""
    return (gradients * rows[:, None]).sum(0) / rows.sum()


AVERAGED_GRADIENT = Part(
    name="averaged_gradient",
    right=right_averaged_gradient,
    cases=(
        {"gradients": torch.tensor([[1.0, 2.0], [4.0, 8.0]]), "rows": torch.tensor([2, 1])},
        *(
            {"gradients": uniform(seed, *shape, dtype=dtype), "rows": _count(seed + 1, 1, 9, shape[0])}
            for seed, shape, dtype in variations()
        ),
        {"gradients": torch.tensor([[0.5, -1.0], [1.5, 3.0]]), "rows": torch.tensor([8, 8])},
    ),
    mistakes={
        "gradients_summed": Mistake(
            "the gradients are summed: n processes step n times as far, as if the learning rate were n times as high.",
            "an all-reduce sums; the division is a line of its own.",
            (lambda g, n: g.sum(0),),
        ),
        "shares_not_weighed": Mistake(
            "all processes count alike; each must count for as many rows as it had.",
            "with equal shares, which is what one plans for, it is the same; the last batch of an epoch is smaller.",
            (lambda g, n: g.mean(0), lambda g, n: g.sum(0) / len(g)),
        ),
        "weights_not_normalised": Mistake(
            "each gradient is multiplied by its rows, and nothing is divided by the rows of all.",
            "that is the gradient of the sum over all rows, and not of the mean.",
            (lambda g, n: (g * n[:, None]).sum(0), lambda g, n: (g * n[:, None]).mean(0)),
        ),
        "own_gradient_kept": Mistake(
            "the gradient of one process is taken for that of all: the others' rows teach nothing.",
            "without an all-reduce nothing fails; the processes only drift apart.",
            (lambda g, n: g[0].clone(), lambda g, n: g[-1].clone()),
        ),
        "divided_by_each_share": Mistake(
            "each gradient is divided by its rows, though it is a mean over them already.",
            "a mean is a sum divided by a count, and it was not clear who divides.",
            (lambda g, n: (g / n[:, None]).sum(0), lambda g, n: g.sum(0) / n.sum()),
        ),
    },
)


def right_ring_all_reduce_seconds(parameters: Tensor, devices: Tensor, gigabits: Tensor) -> Tensor:
    """Seconds in which a ring of devices has summed float32 gradients: (N,)."""
    return 2 * (devices - 1) / devices * 4 * parameters / (1e9 * gigabits / 8)


def _ring(seed: int) -> Arguments:
    return {
        "parameters": 1000 * _count(seed, 100, 9000),
        "devices": _count(seed + 1, 2, 70),
        "gigabits": uniform(seed + 2, 4, dtype=torch.float64, low=1.0, high=400.0),
    }


RING_ALL_REDUCE_SECONDS = Part(
    name="ring_all_reduce_seconds",
    right=right_ring_all_reduce_seconds,
    batched=("parameters", "devices", "gigabits"),
    cases=(
        {
            "parameters": torch.tensor([250_000_000]),
            "devices": torch.tensor([2]),
            "gigabits": torch.tensor([8.0], dtype=torch.float64),
        },
        _ring(100),
        _ring(110),
    ),
    mistakes={
        "gigabits_for_gigabytes": Mistake(
            "the link is told in bits and the gradients are counted in bytes: it takes eight times as long.",
            "networks are sold in bits, memory in bytes.",
            (lambda p, n, g: 2 * (n - 1) / n * 4 * p / (1e9 * g),),
        ),
        "numbers_for_bytes": Mistake(
            "numbers are sent as if each were one byte; a float32 has four.",
            "parameters are what a model is said to have.",
            (lambda p, n, g: 2 * (n - 1) / n * p / (1e9 * g / 8),),
        ),
        "one_round_only": Mistake(
            "only the summing is counted: the sums must go round as well, so that everybody has them.",
            "a reduce is half of an all-reduce.",
            (lambda p, n, g: (n - 1) / n * 4 * p / (1e9 * g / 8),),
        ),
        "all_to_one": Mistake(
            "all gradients go to one device and back; in a ring the time hardly grows with the number of devices.",
            "it is how one would do it by hand.",
            (lambda p, n, g: 2 * (n - 1) * 4 * p / (1e9 * g / 8),),
        ),
        "whole_array_each_way": Mistake(
            "a device is taken to send everything twice; its own piece stays where it is, which is (n - 1) / n.",
            "for many devices it is nearly so, and for two it is twice as much.",
            (lambda p, n, g: 2 * 4 * p / (1e9 * g / 8),),
        ),
    },
)


PARTS = (FLOP_OF_DENSE, UPDATES_OF_RUN, REPLAY_BYTES, AVERAGED_GRADIENT, RING_ALL_REDUCE_SECONDS)
BUGS: tuple[Bug, ...] = ()
