"""C: one matrix and one vector from [z, h] to the action, found by evolution.

It has so few parameters that nobody needs a gradient: CMA-ES draws candidates around its best guess, lets each of them
play, and moves its guess, and the shape of the cloud around it, towards those that did well.

Source: Ha & Schmidhuber 2018 (arXiv 1803.10122), sections 2.3 and 2.4, equation 1; Hansen 2016 (arXiv 1604.00772).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from wm_tutorial.data import Array, Spaces, State
from wm_tutorial.errors import InputError


def look(state: State, sees: Literal["z", "z and h"]) -> Tensor:
    """What the controller is shown of a state: z (..., Z), or z and h (..., Z + D); c stays inside of M."""
    if sees == "z":
        return state.latent
    h, _ = state.memory.chunk(2, -1)
    return torch.cat([state.latent, h], -1)


def act(weights: Tensor, seen: Tensor, kind: Literal["discrete", "continuous"]) -> Tensor:
    """The action of each of N controllers: a = W [z, h] + b.

    Discrete actions are the one with the highest number, as a one-hot vector; continuous ones go through tanh, to lie
    in -1..1.

    Shapes: weights (N, A, F + 1), the last column is b; seen (N, F) -> (N, A). One controller, (1, A, F + 1), may act
    for all.
    """
    score = (weights[..., :-1] * seen.unsqueeze(-2)).sum(-1) + weights[..., -1]  # (N, A)
    if kind == "continuous":
        return torch.tanh(score)
    return functional.one_hot(score.argmax(-1), score.shape[-1]).to(score.dtype)


class Controller(nn.Module):
    """C: a linear policy. It begins at zero, which is the first action in every situation.

    weight  (A, F + 1), the last column is the bias
    """

    weight: Tensor

    def __init__(self, spaces: Spaces, seen: int, sees: Literal["z", "z and h"]) -> None:
        super().__init__()
        ((self.kind, _),) = spaces.factors
        self.sees = sees
        self.register_buffer("weight", torch.zeros(spaces.action_size, seen + 1))

    @property
    def vector(self) -> Array:
        """All its numbers in one row, as evolution sees them: (A (F + 1),) float64."""
        vector: Array = self.weight.flatten().double().numpy(force=True)
        return vector

    def take(self, vector: Array) -> None:
        """Become the controller that `vector` describes.

        Raises:
            InputError: if it has another length, or holds what is no finite number.
        """
        if vector.shape != (self.weight.numel(),) or not np.isfinite(vector).all():
            raise InputError(
                f"a controller was given numbers of shape {vector.shape}; it takes {self.weight.numel()} finite ones, "
                f"in one row: {self.weight.shape[0]} actions times {self.weight.shape[1] - 1} inputs and a bias."
            )
        self.weight.copy_(torch.from_numpy(vector).reshape(self.weight.shape))

    def forward(self, state: State) -> Tensor:
        """States (N) -> actions (N, A)."""
        return act(self.weight.unsqueeze(0), look(state, self.sees), self.kind)


@dataclass(frozen=True)
class Generation:
    """What evolution knows after one round.

    scores  (P,) of the candidates
    mean    (n,) its best guess, the middle of the cloud
    spread  the size of the cloud, as a standard deviation
    """

    scores: Array
    mean: Array
    spread: float


def evolve(
    score: Callable[[int, Array], Array],
    start: Array,
    spread: float,
    population: int,
    seed: int,
    past: Sequence[Array] = (),
) -> Iterator[Generation]:
    """CMA-ES, one generation after another, without end.

    A search cannot be written to a file, but it can be lived again: it follows from the seed and the scores. That is
    how one that was stopped goes on.

    Args:
        score: the number of a generation and its candidates (P, n) -> how well each did, (P,); more is better.
        start: (n,) the first guess.
        spread: standard deviation of the first candidates around it.
        population: P, how many candidates.
        seed: of the candidates.
        past: scores (P,) of the generations that were lived already; they are not yielded again.

    Raises:
        InputError: if the package cma is missing, or the numbers cannot be used.

    Source: Hansen 2016 (arXiv 1604.00772), in the package cma by its author.
    """
    if population < 4 or not 0.0 < spread < math.inf:
        raise InputError(
            f"evolution was asked for a population of {population} and a spread of {spread}; give at least 4 "
            "candidates (the paper has 64), and a spread above 0 (the paper has 0.1)."
        )
    rng = np.random.default_rng([3, seed])
    options = {"popsize": population, "verbose": -9, "randn": lambda *shape: rng.standard_normal(shape), "seed": np.nan}
    search = _cma().CMAEvolutionStrategy(start, spread, options)
    number = 0
    while True:
        candidates = search.ask()
        scores = past[number] if number < len(past) else score(number, np.array(candidates))
        search.tell(candidates, (-scores).tolist())  # it looks for the smallest
        if number >= len(past):
            yield Generation(scores, np.array(search.mean), float(search.sigma))
        number += 1


def _cma() -> Any:
    try:
        import cma
    except ImportError as error:
        raise InputError(
            "C is evolved by the package cma, which is not installed: pip install 'wm_tutorial[evolution]', "
            "or pip install cma."
        ) from error
    return cma
