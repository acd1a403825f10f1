"""DreamerV3's optimiser: gradients clipped by a share of what they change, and normalised before they are averaged."""

import torch
from torch import Tensor

from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part

# Clipping by a share --------------------------------------------------------------------------------------------------


def right_clip_by_share(gradient: Tensor, parameter: Tensor, clip: float, smallest: float) -> Tensor:
    """The gradient, shortened where it is longer than a share of its parameter."""
    largest: Tensor = clip * parameter.norm().clamp(min=smallest)
    return _shortened(gradient, largest)


def _shortened(gradient: Tensor, largest: Tensor) -> Tensor:
    shortened: Tensor = gradient * (largest / gradient.norm().clamp(min=1e-30)).clamp(max=1.0)
    return shortened


def _to(largest: Function) -> Function:
    """Clipped to another length."""
    return lambda gradient, parameter, clip, smallest: _shortened(gradient, largest(parameter, clip, smallest))


def _by_row(gradient: Tensor, parameter: Tensor, clip: float, smallest: float) -> Tensor:
    if gradient.dim() < 2:
        return right_clip_by_share(gradient, parameter, clip, smallest)
    rows = zip(gradient, parameter, strict=True)
    return torch.stack([right_clip_by_share(g, p, clip, smallest) for g, p in rows])


def _by_number(gradient: Tensor, parameter: Tensor, clip: float, smallest: float) -> Tensor:
    largest = float(clip * parameter.norm().clamp(min=smallest))
    return gradient.clamp(-largest, largest)


def _each_by_its_own(gradient: Tensor, parameter: Tensor, clip: float, smallest: float) -> Tensor:
    largest = clip * parameter.abs().clamp(min=smallest)
    return gradient.clamp(-largest, largest)


def _clip_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    return {
        "gradient": uniform(seed, *shape, dtype=dtype, high=3.0),
        "parameter": uniform(seed + 1, *shape, dtype=dtype) * (0.0 if seed == 10 else 1.0),
        "clip": 0.3 if seed < 20 else 5.0,
        "smallest": 1e-3,
    }


CLIP_BY_SHARE = Part(
    name="clip_by_share",
    right=right_clip_by_share,
    cases=(
        {
            "gradient": torch.tensor([[6.0, 8.0]]),
            "parameter": torch.tensor([[0.0, 4.0]]),
            "clip": 0.5,
            "smallest": 0.001,
        },
        {"gradient": torch.tensor([0.3, 0.4]), "parameter": torch.tensor([3.0, 4.0]), "clip": 0.5, "smallest": 0.001},
        {"gradient": torch.tensor([3.0, 4.0]), "parameter": torch.zeros(2), "clip": 0.5, "smallest": 0.001},
        {"gradient": torch.zeros(3), "parameter": torch.tensor([1.0, 2.0, 2.0]), "clip": 0.3, "smallest": 0.001},
        *(_clip_case(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "always_stretched": Mistake(
            "every gradient is brought to the largest length, short ones are made longer.",
            "to clip is to divide by the length and multiply by the limit, if the length is above it.",
            (lambda gradient, parameter, clip, smallest: gradient
                * (clip * parameter.norm().clamp(min=smallest) / gradient.norm().clamp(min=1e-30)),),
        ),
        "smallest_left_out": Mistake(
            "a parameter of zeros can never move: a share of nothing is nothing.",
            "biases and last layers begin at zero; the floor is for them.",
            (_to(lambda parameter, clip, smallest: clip * parameter.norm()),),
        ),
        "smallest_added": Mistake(
            "the floor is added to the length of the parameter; it is a least length.",
            "a small number is added to most things one divides by.",
            (_to(lambda parameter, clip, smallest: clip * (parameter.norm() + smallest)),),
        ),
        "floor_outside_of_share": Mistake(
            "the share is taken before the floor: a small parameter may move by all of the floor.",
            "clip * norm reads as one thing, and is clamped as one.",
            (_to(lambda parameter, clip, smallest: (clip * parameter.norm()).clamp(min=smallest)),),
        ),
        "one_length_for_all": Mistake(
            "the gradient is clipped to a fixed length, however large its parameter is.",
            "this is the clipping of chapter 08; its limit had to fit every part of the agent.",
            (_to(lambda parameter, clip, smallest: parameter.new_tensor(clip)),),
        ),
        "clipped_number_by_number": Mistake(
            "each number is clipped by itself, which turns the gradient into another direction.",
            "clamp clips numbers, and the length of a gradient has no function of that name.",
            (_by_number, _each_by_its_own),
        ),
        "clipped_row_by_row": Mistake(
            "each row of a matrix is clipped by its own length; here a tensor has one.",
            "the paper that introduced it has a length for each unit; DreamerV3 takes whole tensors.",
            (_by_row,),
        ),
        "lengths_exchanged": Mistake(
            "the lengths have changed places: large parameters are held, small ones thrown.",
            "a ratio of two lengths is easily turned over.",
            (lambda gradient, parameter, clip, smallest: gradient
                * (clip * gradient.norm() / parameter.norm().clamp(min=smallest)).clamp(max=1.0),),
        ),
        "length_squared": Mistake(
            "the sums of squares are compared; their roots are the lengths.",
            "the root is left out where only an order is asked; here a share is.",
            (lambda gradient, parameter, clip, smallest: gradient * (
                clip * parameter.square().sum().clamp(min=smallest) / gradient.square().sum().clamp(min=1e-30)
             ).clamp(max=1.0),),
        ),
        "largest_number_for_length": Mistake(
            "the largest number of a tensor stands for its length.",
            "it is a norm, too, and another one.",
            (lambda gradient, parameter, clip, smallest: gradient * (
                clip * parameter.abs().max().clamp(min=smallest) / gradient.abs().max().clamp(min=1e-30)
             ).clamp(max=1.0),),
        ),
    },
)  # fmt: skip


# LaProp ---------------------------------------------------------------------------------------------------------------


def right_laprop(
    gradient: Tensor, average: Tensor, square: Tensor, updates: int, betas: tuple[float, float], eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Direction, new average, and new average square, each of the shape of the gradient."""
    beta, beta_square = betas
    square = beta_square * square + (1.0 - beta_square) * gradient**2
    deviation = (square / (1.0 - beta_square**updates)).sqrt()
    average = beta * average + (1.0 - beta) * gradient / (deviation + eps)
    return average / (1.0 - beta**updates), average, square


def _laprop(
    root: Function = torch.sqrt, of_average: bool = True, of_square: bool = True, count: int = 0, old: bool = False,
    keep: bool = False,
) -> Function:  # fmt: skip
    """LaProp with something else in one place."""

    def step(
        gradient: Tensor, average: Tensor, square: Tensor, updates: int, betas: tuple[float, float], eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        (beta, beta_square), updates = betas, updates + count
        new = beta_square * square + (1.0 - beta_square) * gradient**2
        spread = square if old else new
        deviation = root(spread / (1.0 - beta_square**updates if of_square else 1.0))
        average = beta * average + (1.0 - beta) * gradient / (deviation + eps)
        direction = average / (1.0 - beta**updates if of_average else 1.0)
        return direction, direction if keep else average, new

    return step


def _adam(
    gradient: Tensor, average: Tensor, square: Tensor, updates: int, betas: tuple[float, float], eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    beta, beta_square = betas
    average = beta * average + (1.0 - beta) * gradient
    square = beta_square * square + (1.0 - beta_square) * gradient**2
    deviation = (square / (1.0 - beta_square**updates)).sqrt()
    return average / (1.0 - beta**updates) / (deviation + eps), average, square


def _of_betas(change: Function) -> Function:
    return lambda gradient, average, square, updates, betas, eps: right_laprop(
        gradient, average, square, updates, change(*betas), eps
    )


def _eps_inside(
    gradient: Tensor, average: Tensor, square: Tensor, updates: int, betas: tuple[float, float], eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    inside = _laprop(root=lambda spread: (spread + eps).sqrt())
    direction, average, square = inside(gradient, average, square, updates, betas, 0.0)
    return direction, average, square


def _step_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    return {
        "gradient": uniform(seed, *shape, dtype=dtype),
        "average": uniform(seed + 1, *shape, dtype=dtype),
        "square": uniform(seed + 2, *shape, dtype=dtype, low=0.1, high=4.0),
        "updates": 2 + seed,
        "betas": (0.9, 0.99) if seed < 20 else (0.5, 0.999),
        "eps": 1e-20 if seed < 10 else 0.1,
    }


def _hats_kept(
    gradient: Tensor, average: Tensor, square: Tensor, updates: int, betas: tuple[float, float], eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    direction, average, square = right_laprop(gradient, average, square, updates, betas, eps)
    return direction, average / (1 - betas[0] ** updates), square / (1 - betas[1] ** updates)


LAPROP = Part(
    name="laprop",
    right=right_laprop,
    container=tuple,
    returns=("the direction", "the average", "the average square"),
    cases=(
        {
            "gradient": torch.tensor([4.0, -1.0]),
            "average": torch.zeros(2),
            "square": torch.zeros(2),
            "updates": 1,
            "betas": (0.5, 0.75),
            "eps": 0.0,
        },
        {
            "gradient": torch.tensor([2.0, -2.0]),
            "average": torch.tensor([0.5, -0.5]),
            "square": torch.tensor([4.0, 0.25]),
            "updates": 2,
            "betas": (0.5, 0.75),
            "eps": 0.0,
        },
        *(_step_case(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "adam_for_laprop": Mistake(
            "the gradient is averaged first and divided afterwards: this is Adam.",
            "the two differ in the order of two lines, and begin with the same step.",
            (_adam,),
        ),
        "averages_not_corrected": Mistake(
            "an average that began at zero is used as it is: too small at first.",
            "its correction, 1 - beta ** updates, soon is 1, and one of the two is easily forgotten.",
            (_laprop(of_average=False), _laprop(of_square=False), _laprop(of_average=False, of_square=False)),
        ),
        "updates_counted_otherwise": Mistake(
            "the correction counts one update too many, or too few; this update is the first if none came before.",
            "a counter may be raised before the correction or after it.",
            (_laprop(count=1), _laprop(count=-1)),
        ),
        "square_of_before": Mistake(
            "the gradient is divided by the average of the updates before, without its own share.",
            "the average is updated one line too late; a first gradient is then divided by nothing.",
            (_laprop(old=True),),
        ),
        "root_left_out": Mistake(
            "the gradient is divided by its average square, and not by the root of it.",
            "a square in place of a size makes small gradients huge, and large ones tiny.",
            (_laprop(root=lambda spread: spread),),
        ),
        "betas_exchanged": Mistake(
            "the two betas have changed places.",
            "both are numbers below 1; the longer memory belongs to the square.",
            (_of_betas(lambda beta, beta_square: (beta_square, beta)),),
        ),
        "betas_as_rates": Mistake(
            "a beta is taken as the share of what is new.",
            "lerp(new, 1 - beta) is often written as lerp(new, beta).",
            (_of_betas(lambda beta, beta_square: (1.0 - beta, 1.0 - beta_square)),
             _of_betas(lambda beta, beta_square: (1.0 - beta, beta_square)),
             _of_betas(lambda beta, beta_square: (beta, 1.0 - beta_square))),
        ),
        "averages_added_up": Mistake(
            "the old average stays in full: it grows for ever.",
            "one of the two factors of a moving average is easily forgotten.",
            (lambda gradient, average, square, updates, betas, eps: right_laprop(
                gradient, average / betas[0], square / betas[1], updates, betas, eps),),
        ),
        "corrected_average_kept": Mistake(
            "the corrected average is what goes on to the next update, where it is corrected again.",
            "both have one name in a hurry; the correction is for this update alone.",
            (_laprop(keep=True),),
        ),
        "eps_inside_of_root": Mistake(
            "eps is added before the root is taken.",
            "other optimisers have it there; with an eps of 1e-20 nobody would see.",
            (_eps_inside,),
        ),
        "hats_kept": Mistake(
            "the corrected averages are handed on to the next update, where they are corrected once more.",
            "the hats are for the direction alone; what is kept has none.",
            (_hats_kept,),
        ),
    },
)  # fmt: skip

PARTS = (CLIP_BY_SHARE, LAPROP)
BUGS = ()
